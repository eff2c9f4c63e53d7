//! Checks and generators for the workspace, started as `cargo xtask <task>`.
//!
//! Each check looks at the tree as it lies on disk and reports findings; an error makes the exit code non-zero, a
//! warning does not. The rules themselves are written down in `CONTRIBUTING.md` and `ARCHITECTURE.md`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool for developers"
)]

mod contract;
mod findings;
mod guide;
mod layers;
mod links;
mod markdown;
mod metadata;
mod providers;
mod reference;
mod rust_text;
mod sizes;
mod skips;
mod sources;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::findings::Findings;

/// The tasks in the order in which `all` runs them, with what `cargo xtask help` says about each.
const TASKS: &[(&str, &str)] = &[
    (
        "layers",
        "compare the dependencies of each crate with the arrows in ARCHITECTURE.md",
    ),
    (
        "sizes",
        "report long files and functions, and code that may panic",
    ),
    (
        "links",
        "look for links, paths and commands in the documents that lead nowhere",
    ),
    (
        "providers",
        "check files, size and registration of each provider (--where: what names it)",
    ),
    (
        "contract",
        "compare the promises of the destination trait with the cases that hold them",
    ),
    ("skips", "look for tests that pass something over unnoticed"),
    (
        "guide",
        "write the generated part of each page in docs/guide/destinations (--check: only compare)",
    ),
    (
        "options-reference",
        "write docs/reference/options.md (--check: only compare)",
    ),
    ("all", "run every check"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(findings) => findings.print(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the task named by the arguments and returns what it found.
fn run(arguments: &[String]) -> Result<Findings> {
    // cargo sets the variable for what it runs; a binary that was copied elsewhere falls back to where it was built.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package)
        .ancestors()
        .nth(2)
        .context("the workspace folder is two levels above this crate")?;
    let mut findings = Findings::default();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["layers"] => layers::check(root, &mut findings)?,
        ["sizes"] => sizes::check(root, &mut findings)?,
        ["links"] => links::check(root, &mut findings)?,
        ["providers"] => providers::check(root, &mut findings)?,
        ["providers", "--where"] => providers::print_where(root, &mut findings)?,
        ["guide"] => guide::write(root)?,
        ["guide", "--check"] => guide::check(root, &mut findings)?,
        ["contract"] => contract::check(root, &mut findings)?,
        ["skips"] => skips::check(root, &mut findings)?,
        ["options-reference"] => reference::write(root)?,
        ["options-reference", "--check"] => reference::check(root, &mut findings)?,
        ["all"] => {
            layers::check(root, &mut findings)?;
            sizes::check(root, &mut findings)?;
            links::check(root, &mut findings)?;
            providers::check(root, &mut findings)?;
            contract::check(root, &mut findings)?;
            skips::check(root, &mut findings)?;
            guide::check(root, &mut findings)?;
            reference::check(root, &mut findings)?;
        }
        [] | ["help" | "--help" | "-h"] => {
            for (name, help) in TASKS {
                println!("cargo xtask {name:<18} {help}");
            }
        }
        other => bail!(
            "unknown task: {}; `cargo xtask help` lists them",
            other.join(" ")
        ),
    }
    Ok(findings)
}
