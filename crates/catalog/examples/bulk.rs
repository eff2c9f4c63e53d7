//! Measures the catalog: bulk loading, normal adding, versions, fingerprints, opening. Prints rates and peak memory.
//!
//! `cargo run --release -p larder-catalog --example bulk [blocks] [entries] [versions]` (default a million, a million and a
//! hundred). One entry in a hundred, evenly spread, is changed from version to version. Works in a temporary folder.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Instant;

use larder_catalog::{BlockRules, Catalog, Counts, StoredEntry, VolumeState};
use larder_volume::{EntryKind, FileEntry, Hash, VolumeKind, VolumeTime};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let block_count: u64 = arguments.next().unwrap_or(1_000_000);
    let entry_count: u64 = arguments.next().unwrap_or(1_000_000);
    let version_count: u64 = arguments.next().unwrap_or(100);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path)?;
    bulk(&catalog, block_count)?;
    println!("peak memory after bulk loading: {} MiB", peak_mib());
    everyday(&catalog, block_count)?;
    catalog.close()?;
    let before = std::fs::metadata(&path)?.len();
    println!("without versions: {} MiB on disk", before >> 20);
    let (catalog, _) = Catalog::open(&path)?;
    let filesets = versions(&catalog, entry_count, version_count)?;
    println!("peak memory after taking in versions: {} MiB", peak_mib());
    timed("closing", || catalog.close())?;
    let len = std::fs::metadata(&path)?.len();
    println!("all versions: {} MiB on disk", (len - before) >> 20);
    let (catalog, _) = timed("opening after closing", || Catalog::open(&path))?;
    questions(&catalog, &filesets, entry_count)?;
    catalog.close()?;
    std::fs::remove_file(format!("{}.sum", path.display()))?;
    timed("opening after a crash", || Catalog::open(&path).map(drop))?;
    println!("peak memory of all: {} MiB", peak_mib());
    Ok(())
}

/// The blocks of a rebuild: volumes of 500.
fn bulk(catalog: &Catalog, block_count: u64) -> Outcome {
    let mut volumes = Vec::new();
    catalog.batch(|catalog| {
        for number in 0..block_count.div_ceil(500) {
            let name = format!("p-b{number:032x}.dblock.zip");
            volumes.push(catalog.add_volume(
                &name,
                VolumeKind::Blocks,
                VolumeState::Verified,
                None,
                None,
            )?);
        }
        Ok(())
    })?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut loader = catalog.bulk()?;
    for (volume, first) in volumes.iter().zip((0..block_count).step_by(500)) {
        loader.add_blocks(*volume, &blocks(first..block_count.min(first + 500)))?;
    }
    let totals = loader.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "bulk load: {seconds:.2} s ({:.2} s CPU), {totals:?}",
        cpu_seconds() - cpu
    );
    Ok(())
}

/// Takes in versions: the first in the unsorted order of Duplicati's lists, the others in path order.
fn versions(catalog: &Catalog, count: u64, versions: u64) -> larder_catalog::Result<Vec<i64>> {
    let mut filesets = Vec::new();
    for version in 0..versions {
        let fileset = fileset(catalog, 1000 + version as i64)?;
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut writer = catalog.begin_entries()?;
        if version == 0 {
            for n in 0..count {
                // A multiplication by an odd number modulo a power of two visits every number once, in no useful order.
                let n = n.wrapping_mul(0x9e37_79b1) % count.next_power_of_two();
                if n < count {
                    writer.add(&entry_of(n, version))?;
                }
            }
        } else {
            (0..count).try_for_each(|n| writer.add(&entry_of(n, version)))?;
        }
        let totals = writer.finish(fileset, None)?;
        if version < 3 || version + 1 == versions {
            println!(
                "take in version {version}: {:?} ({:.2} s CPU), {totals:?}",
                start.elapsed(),
                cpu_seconds() - cpu
            );
        }
        filesets.push(fileset);
    }
    Ok(filesets)
}

/// What commands ask of a catalog with many versions.
fn questions(catalog: &Catalog, filesets: &[i64], entry_count: u64) -> larder_catalog::Result<()> {
    let (Some(first), Some(last)) = (filesets.first().copied(), filesets.last().copied()) else {
        return Ok(());
    };
    let middle = filesets.get(filesets.len() / 2).copied().unwrap_or(first);
    for folder in [
        "/home/somebody/projects/",
        "/home/somebody/projects/folder00007/source/",
    ] {
        for (name, fileset) in [("first", first), ("middle", middle), ("last", last)] {
            timed(&format!("list {folder} of the {name} version"), || {
                let items = catalog.folder(fileset, folder.as_bytes(), b'/')?;
                println!("  {} items", items.len());
                Ok(())
            })?;
        }
    }
    timed("the versions of a path", || {
        let states = catalog.history(&entry_of(entry_count / 3, 0).entry.path)?;
        println!("  {} states", states.len());
        Ok(())
    })?;
    timed("every state of every path in all versions", || {
        let mut count = 0;
        catalog.each_entry(filesets, &mut |_, _| {
            count += 1;
            Ok(())
        })?;
        println!("  {count} states");
        Ok(())
    })?;
    timed("read the middle version in order", || {
        catalog
            .entries(middle)?
            .try_for_each(|entry| entry.map(drop))
    })?;
    let before = filesets.iter().rev().nth(1).copied().unwrap_or(first);
    for (name, old) in [("the one before", before), ("the first", first)] {
        timed(&format!("compare the last version with {name}"), || {
            let mut count = 0;
            catalog.differences(old, last, &mut |_| {
                count += 1;
                Ok(())
            })?;
            println!("  {count} paths differ");
            Ok(())
        })?;
    }
    let (_, kept) = filesets.split_at(filesets.len() / 2);
    timed("delete half of the versions and plan a compact", || {
        catalog.batch(|catalog| {
            let gone = filesets.iter().take(filesets.len() - kept.len());
            gone.copied()
                .try_for_each(|fileset| catalog.remove_fileset(fileset))
        })?;
        let rules = BlockRules {
            blocksize: 102_400,
            hash_len: 32,
            one_algorithm: true,
        };
        let used = catalog.used_blocks(kept, rules)?;
        let usage = catalog.volume_usage(&used)?;
        let wasted: u64 = usage
            .iter()
            .map(|usage| usage.blocks - usage.used_blocks)
            .sum();
        println!(
            "  {} blocks in use (complete: {}), {wasted} unused in {} volumes",
            used.len(),
            used.is_complete(),
            usage.len()
        );
        Ok(())
    })?;
    println!("peak memory with the plan: {} MiB", peak_mib());
    timed("drop unused entries", || {
        catalog
            .drop_unused_entries()
            .map(|dropped| println!("  {dropped} of {entry_count} and their states"))
    })?;
    timed("write it anew without unused room", || {
        let shrunk = catalog.vacuum()?;
        println!(
            "  {} MiB, {} before",
            shrunk.after >> 20,
            shrunk.before >> 20
        );
        Ok(())
    })
}

/// What an ordinary backup of 40,000 files does.
fn everyday(catalog: &Catalog, block_count: u64) -> Outcome {
    let volume = catalog.add_volume(
        "new",
        VolumeKind::Blocks,
        VolumeState::Uploading,
        None,
        None,
    )?;
    let new = blocks(block_count..block_count + 80_000);
    timed("add 80,000 blocks to them", || {
        catalog.add_blocks(volume, &new)
    })?;
    timed("find 80,000 blocks", || {
        new.iter()
            .try_for_each(|(hash, size)| catalog.find_block(hash, *size).map(drop))
    })?;
    timed("find 80,000 blocks at once", || {
        catalog.find_blocks(&new).map(drop)
    })?;
    timed("load the fingerprints", || {
        catalog
            .fingerprints()
            .map(|set| println!("  {} of them in {} MiB", set.len(), set.memory() >> 20))
    })?;
    let fileset = fileset(catalog, 2)?;
    let entries: Vec<StoredEntry> = (0..40_000).map(|n| entry_of(n, 0)).collect();
    for what in ["write 40,000 entries", "write 40,000 unchanged entries"] {
        timed(what, || {
            let mut writer = catalog.begin_entries()?;
            entries.iter().try_for_each(|entry| writer.add(entry))?;
            writer.finish(fileset, None)
        })?;
    }
    timed("read 40,000 entries", || {
        catalog
            .previous_entries()?
            .try_for_each(|entry| entry.map(drop))
    })?;
    catalog.remove_fileset(fileset)?;
    catalog.drop_unused_entries()?;
    timed("1000 small transactions", || {
        (0..1000).try_for_each(|n| catalog.set_param("n", &n.to_string()))
    })?;
    timed("20 durable transactions", || {
        (0..20).try_for_each(|n| catalog.durable(|catalog| catalog.set_param("n", &n.to_string())))
    })?;
    timed("remove a volume of 80,000 blocks", || {
        catalog.remove_volume(volume)
    })?;
    Ok(())
}

/// Prints how long something took, and the processor time of it.
fn timed<R>(
    what: &str,
    work: impl FnOnce() -> larder_catalog::Result<R>,
) -> larder_catalog::Result<R> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let result = work()?;
    println!(
        "{what}: {:?} ({:.2} s CPU)",
        start.elapsed(),
        cpu_seconds() - cpu
    );
    Ok(result)
}

/// Processor time so far, from the system's own count; 0 where there is none.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
    nanos.unwrap_or(0.0) / 1e9
}

fn fileset(catalog: &Catalog, time: i64) -> larder_catalog::Result<i64> {
    let name = format!("list {time}");
    let list = catalog.add_volume(&name, VolumeKind::List, VolumeState::Verified, None, None)?;
    catalog.add_fileset(list, time, true, Counts::default())
}

fn blocks(range: std::ops::Range<u64>) -> Vec<(Hash, u64)> {
    range.map(|n| (hash(n), BLOCK_LEN)).collect()
}

/// Looks random, costs nothing.
fn hash(n: u64) -> Hash {
    let mut state = n;
    let mut bytes = Vec::with_capacity(32);
    for _ in 0..4 {
        // splitmix64 (public domain constants).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        state = state.rotate_left(17) ^ n;
    }
    Hash::from_bytes(&bytes).unwrap_or_else(|_| unreachable!("32 bytes are a hash"))
}

/// Entry `n` of a version; every hundredth is another one in each version.
fn entry_of(n: u64, version: u64) -> StoredEntry {
    let changes =
        version.saturating_sub(n % 100) / 100 + u64::from((1..=version).contains(&(n % 100)));
    let path = format!(
        "/home/somebody/projects/folder{:05}/source/file{:03}.txt",
        n / 40,
        n % 40
    );
    let mut entry = FileEntry::new(EntryKind::File, path);
    entry.hash = Some(hash(n ^ changes << 40));
    entry.size = BLOCK_LEN;
    entry.time = Some(VolumeTime(1_700_000_000 + changes as i64));
    entry.metahash = Some(hash(n ^ 1 << 60 ^ changes << 40));
    entry.metasize = 189;
    StoredEntry { entry, seen: None }
}

const BLOCK_LEN: u64 = 60_000;

/// Highest resident size so far, from the system's own count; 0 where there is none.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        >> 10
}
