//! Compares the oldest and the newest version of a catalog, and counts what differs.
//!
//! `cargo run --release -p larder-catalog --example compare <catalog>`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use larder_catalog::Catalog;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which catalog?")?;
    let catalog = Catalog::open_for_reading(path.as_ref())?;
    let mut filesets = catalog.filesets()?;
    filesets.sort_by_key(|fileset| fileset.time);
    let (Some(oldest), Some(newest)) = (filesets.first(), filesets.last()) else {
        return Err("it has no version".into());
    };
    let mut differences = 0_u64;
    catalog.differences(oldest.id, newest.id, &mut |_| {
        differences += 1;
        Ok(())
    })?;
    println!(
        "{} versions; {differences} paths differ between the oldest and the newest",
        filesets.len()
    );
    Ok(())
}
