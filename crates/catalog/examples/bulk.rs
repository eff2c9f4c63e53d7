//! Measures the catalog: bulk loading, normal adding, entries, fingerprints, opening. Prints rates and peak memory.
//!
//! `cargo run --release -p larder-catalog --example bulk [blocks] [entries]` (default a million of each). Works in a
//! temporary folder.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Instant;

use larder_catalog::{Catalog, Counts, StoredEntry, VolumeState};
use larder_volume::{EntryKind, FileEntry, Hash, VolumeKind, VolumeTime};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let block_count: u64 = arguments.next().unwrap_or(1_000_000);
    let entry_count: u64 = arguments.next().unwrap_or(1_000_000);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path)?;
    bulk(&catalog, block_count, entry_count)?;
    println!("peak memory after bulk loading: {} MiB", peak_mib());
    everyday(&catalog, block_count)?;
    let start = Instant::now();
    catalog.close()?;
    println!(
        "closing: {:?}, {} MiB on disk",
        start.elapsed(),
        std::fs::metadata(&path)?.len() >> 20
    );
    let start = Instant::now();
    let (catalog, opened) = Catalog::open(&path)?;
    println!("opening after closing: {:?} ({opened:?})", start.elapsed());
    drop(catalog);
    std::fs::remove_file(format!("{}.sum", path.display()))?;
    let start = Instant::now();
    let (_, opened) = Catalog::open(&path)?;
    println!("opening after a crash: {:?} ({opened:?})", start.elapsed());
    Ok(())
}

/// A rebuild: volumes of 500 blocks, entries in the order Duplicati writes them (folders, then files unsorted).
fn bulk(catalog: &Catalog, block_count: u64, entry_count: u64) -> Outcome {
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
    let fileset = fileset(catalog, 1)?;
    let start = Instant::now();
    let mut loader = catalog.bulk()?;
    for (volume, first) in volumes.iter().zip((0..block_count).step_by(500)) {
        loader.add_blocks(*volume, &blocks(first..block_count.min(first + 500)))?;
    }
    println!("bulk blocks given: {:?}", start.elapsed());
    for n in 0..entry_count {
        // A multiplication by an odd number modulo a power of two visits every number once, in no useful order.
        let n = n.wrapping_mul(0x9e37_79b1) % entry_count.next_power_of_two();
        if n < entry_count {
            loader.add_entry(&entry(n))?;
        }
    }
    println!("bulk entries given: {:?}", start.elapsed());
    let totals = loader.finish(Some(fileset))?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "bulk load in all: {seconds:.2} s, {:.0} rows/s, {totals:?}",
        (block_count + entry_count) as f64 / seconds
    );
    Ok(())
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
    let entries: Vec<StoredEntry> = (0..40_000).map(entry).collect();
    timed("write 40,000 entries", || {
        let mut writer = catalog.begin_entries()?;
        entries.iter().try_for_each(|entry| writer.add(entry))?;
        writer.finish(fileset)
    })?;
    timed("write 40,000 entries again", || {
        let mut writer = catalog.begin_entries()?;
        entries.iter().try_for_each(|entry| writer.add(entry))?;
        writer.finish(fileset)
    })?;
    timed("read 40,000 entries", || {
        catalog
            .previous_entries()?
            .try_for_each(|entry| entry.map(drop))
    })?;
    let times: Vec<(&[u8], i64)> = entries
        .iter()
        .map(|entry| (entry.entry.path.as_slice(), 5))
        .collect();
    timed("change 40,000 times", || {
        catalog.update_entry_times(&times).map(drop)
    })?;
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

fn timed<R>(
    what: &str,
    work: impl FnOnce() -> larder_catalog::Result<R>,
) -> larder_catalog::Result<R> {
    let start = Instant::now();
    let result = work()?;
    println!("{what}: {:?}", start.elapsed());
    Ok(result)
}

fn fileset(catalog: &Catalog, time: i64) -> larder_catalog::Result<i64> {
    let name = format!("list {time}");
    let list = catalog.add_volume(&name, VolumeKind::List, VolumeState::Verified, None, None)?;
    catalog.add_fileset(list, time, true, Counts::default())
}

fn blocks(range: std::ops::Range<u64>) -> Vec<(Hash, u64)> {
    range.map(|n| (hash(n), 102_400)).collect()
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

fn entry(n: u64) -> StoredEntry {
    let path = format!(
        "/home/somebody/projects/folder{:05}/source/file{:03}.txt",
        n / 40,
        n % 40
    )
    .into_bytes();
    let entry = FileEntry {
        kind: EntryKind::File,
        path,
        hash: Some(hash(n)),
        size: n,
        time: Some(VolumeTime(1_700_000_000)),
        metahash: Some(hash(n ^ 1 << 40)),
        metasize: 189,
        metablockhash: None,
        metablocklists: Vec::new(),
        blocklists: Vec::new(),
        blockhash: None,
        blocksize: None,
    };
    StoredEntry {
        entry,
        mtime_ticks: Some(638_396_640_000_000_000),
    }
}

/// Highest resident size so far, from the system's own count; 0 where there is none.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        >> 10
}
