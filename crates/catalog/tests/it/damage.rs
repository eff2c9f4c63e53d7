//! Flipped bits, cut files, mixed-up parts: opening replaces the catalog, or its content is what it was.

use std::path::Path;

use larder_catalog::{Catalog, Error, Opened};

use crate::support::{Numbers, copy, dump, fill, side};

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Replaced,
    Damaged,
    Intact,
}

/// Opens a damaged copy and insists that nothing false is believed.
fn judge(path: &Path, truth: &[String], what: &str) -> Outcome {
    let (catalog, opened) = Catalog::open(path).unwrap_or_else(|error| panic!("{what}: {error}"));
    match opened {
        Opened::Replaced { kept_as, .. } => {
            assert!(kept_as.exists(), "{what}");
            assert!(catalog.volumes().unwrap().is_empty(), "{what}");
            Outcome::Replaced
        }
        Opened::Existing => match dump(&catalog) {
            Ok(found) => {
                assert!(
                    truth.contains(&found),
                    "{what}: the content changed unnoticed"
                );
                Outcome::Intact
            }
            Err(Error::Damaged { .. }) => Outcome::Damaged,
            Err(error) => panic!("{what}: {error}"),
        },
        Opened::Created => panic!("{what}: the file was overlooked"),
    }
}

#[test]
fn every_flip_in_a_closed_catalog_is_found_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["good.db", "bad.db"].map(|name| folder.path().join(name));
    let (catalog, _) = Catalog::open(&good).unwrap();
    fill(&catalog, 3000, 1000);
    drop(catalog);
    let bytes = std::fs::read(&good).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 50, "{pages}");
    let mut numbers = Numbers(0x5eed);
    for page in 0..pages {
        let at = page * 4096 + numbers.below(4096) as usize;
        let bit = numbers.below(8);
        copy(&good, &bad);
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        std::fs::write(&bad, changed).unwrap();
        let what = format!("byte {at} bit {bit}");
        assert_eq!(judge(&bad, &[], &what), Outcome::Replaced, "{what}");
    }
}

#[test]
fn no_flip_in_a_catalog_left_open_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["good.db", "bad.db"].map(|name| folder.path().join(name));
    let (catalog, _) = Catalog::open(&good).unwrap();
    fill(&catalog, 3000, 1000);
    let truth = [dump(&catalog).unwrap()];
    drop(catalog);
    // Without the checksum file the catalog counts as left open.
    std::fs::remove_file(side(&good, ".sum")).unwrap();
    let bytes = std::fs::read(&good).unwrap();
    let mut numbers = Numbers(0xbad_5eed);
    let mut counts = [0; 3];
    for round in 0..360 {
        let page = round % (bytes.len() / 4096);
        let at = page * 4096 + numbers.below(if round % 2 == 0 { 4096 } else { 64 }) as usize;
        let bit = numbers.below(8);
        copy(&good, &bad);
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        std::fs::write(&bad, changed).unwrap();
        counts[judge(&bad, &truth, &format!("byte {at} bit {bit}")) as usize] += 1;
    }
    // Most bytes mean something, so most flips are found, and all of them when opening.
    assert!(counts[0] > 180, "{counts:?}");
    assert_eq!(counts[1], 0, "{counts:?}");
}

#[test]
fn a_damaged_log_loses_at_most_the_last_changes() {
    let folder = tempfile::tempdir().unwrap();
    let [good, left, bad] = ["good.db", "left.db", "bad.db"].map(|name| folder.path().join(name));
    let (catalog, _) = Catalog::open(&good).unwrap();
    let mut truth = vec![dump(&catalog).unwrap()];
    for n in 0..12u64 {
        let name = format!("p-b{n:02}.dblock.zip");
        let kind = larder_volume::VolumeKind::Blocks;
        let id = catalog
            .add_volume(
                &name,
                kind,
                larder_catalog::VolumeState::Uploading,
                None,
                None,
            )
            .unwrap();
        truth.push(dump(&catalog).unwrap());
        catalog
            .add_blocks(id, &crate::support::blocks(n * 30..n * 30 + 40))
            .unwrap();
        truth.push(dump(&catalog).unwrap());
    }
    copy(&good, &left);
    drop(catalog);
    let log = std::fs::read(side(&left, "-wal")).unwrap();
    let mut numbers = Numbers(77);
    let mut last = 0;
    for round in 0..150 {
        let mut changed = log.clone();
        let at = numbers.below(log.len() as u64) as usize;
        match round % 3 {
            0 => changed.truncate(at),
            _ => changed[at] ^= 1 << numbers.below(8),
        }
        copy(&left, &bad);
        std::fs::write(side(&bad, "-wal"), changed).unwrap();
        if judge(&bad, &truth, &format!("log byte {at}, round {round}")) == Outcome::Intact {
            last += 1;
        }
    }
    assert!(last > 100, "{last}");
}

#[test]
fn cut_grown_and_overwritten_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["good.db", "bad.db"].map(|name| folder.path().join(name));
    let (catalog, _) = Catalog::open(&good).unwrap();
    fill(&catalog, 2000, 500);
    let truth = [dump(&catalog).unwrap()];
    drop(catalog);
    let bytes = std::fs::read(&good).unwrap();
    for closed in [true, false] {
        let case = |what: &str, content: &[u8]| {
            copy(&good, &bad);
            if !closed {
                std::fs::remove_file(side(&bad, ".sum")).unwrap();
            }
            std::fs::write(&bad, content).unwrap();
            assert_eq!(
                judge(&bad, &truth, what),
                Outcome::Replaced,
                "{what}, closed: {closed}"
            );
        };
        for len in [
            1,
            99,
            100,
            4095,
            4096,
            8192,
            bytes.len() / 2 / 4096 * 4096,
            bytes.len() - 4096,
            bytes.len() - 1,
        ] {
            case(&format!("cut to {len}"), &bytes[..len]);
        }
        case("grown by some bytes", &[&bytes[..], b"tail"].concat());
        case("zeros", &vec![0; bytes.len()]);
        case("text", "plain text\n".repeat(1000).as_bytes());
        for start in (4096..bytes.len() - 8192).step_by(16 * 4096) {
            let mut changed = bytes.clone();
            changed[start..start + 8192].fill(0);
            case(&format!("hole at {start}"), &changed);
        }
    }
}

#[test]
fn a_page_from_another_time_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["good.db", "bad.db"].map(|name| folder.path().join(name));
    let (catalog, _) = Catalog::open(&good).unwrap();
    fill(&catalog, 2000, 500);
    drop(catalog);
    let before = std::fs::read(&good).unwrap();
    let (catalog, _) = Catalog::open(&good).unwrap();
    catalog
        .add_blocks(2, &crate::support::blocks(90_000..91_000))
        .unwrap();
    let truth = [dump(&catalog).unwrap()];
    drop(catalog);
    let after = std::fs::read(&good).unwrap();
    let changed_pages: Vec<usize> = (0..before.len().min(after.len()) / 4096)
        .filter(|page| {
            before[page * 4096..(page + 1) * 4096] != after[page * 4096..(page + 1) * 4096]
        })
        .collect();
    assert!(changed_pages.len() > 10, "{}", changed_pages.len());
    for closed in [true, false] {
        for page in &changed_pages {
            let mut mixed = after.clone();
            mixed[page * 4096..(page + 1) * 4096]
                .copy_from_slice(&before[page * 4096..(page + 1) * 4096]);
            copy(&good, &bad);
            if !closed {
                std::fs::remove_file(side(&bad, ".sum")).unwrap();
            }
            std::fs::write(&bad, mixed).unwrap();
            let outcome = judge(
                &bad,
                &truth,
                &format!("stale page {page}, closed: {closed}"),
            );
            assert!(outcome == Outcome::Replaced || !closed, "page {page}");
        }
    }
}

#[test]
fn damage_during_use_is_reported_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 20_000, 5000);
    drop(catalog);
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    // Behind the back of the open catalog.
    let mut bytes = std::fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[16 * 4096..len]
        .iter_mut()
        .step_by(50)
        .for_each(|byte| *byte ^= 0x55);
    std::fs::write(&path, bytes).unwrap();
    let error = dump(&catalog).unwrap_err();
    assert!(error.is_damage(), "{error}");
    drop(catalog);
    assert!(!side(&path, ".sum").exists());
    assert!(matches!(
        Catalog::open(&path).unwrap().1,
        Opened::Replaced { .. }
    ));
}
