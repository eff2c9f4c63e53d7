//! How the C library's allocator gives memory back.
//!
//! glibc raises two thresholds by itself, to 32 MiB and more, when a large piece of memory is freed: pieces below the
//! first come from its arenas from then on, and arenas keep what is free at their ends up to the second. Volumes and
//! lists of many MiB come and go in several threads here, and the holes they leave took as much memory as was in use
//! (docs/guide/proofs.md, "A million files"). Fixed thresholds end that. glibc reads them from the environment when a
//! program starts, so the program starts itself once more with them: some milliseconds.

/// Fixes the thresholds, unless somebody did already. Gives up silently: the program works without.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn settle() {
    use std::os::unix::process::CommandExt as _;

    let before = std::env::var_os(TUNABLES).unwrap_or_default();
    let mut wanted = before.clone();
    // What is set already counts, and says after the start below that it was made.
    if before.to_string_lossy().contains("glibc.malloc.") {
        return;
    }
    if !before.is_empty() {
        wanted.push(":");
    }
    wanted.push(THRESHOLDS);
    let mut arguments = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) else {
        return;
    };
    // Comes back only when it fails.
    let _ = std::process::Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(TUNABLES, wanted)
        .exec();
}

/// Other allocators need nothing.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn settle() {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TUNABLES: &str = "GLIBC_TUNABLES";
/// More than a block of the default size takes, so that blocks do not cost a mapping each; and some of these.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const THRESHOLDS: &str = "glibc.malloc.mmap_threshold=2097152:glibc.malloc.trim_threshold=8388608";
