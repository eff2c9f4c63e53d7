//! What a restore would do, entry by entry.

use std::collections::BTreeSet;

use larder_options::value::format_size;
use larder_source::TargetRoot;
use larder_volume::{EntryKind, FileEntry};

use super::Rules;
use super::layout::Layout;
use super::plan::{Cursor, Item, Mark, Origin, Origins, Plan};
use super::selected::Selected;
use super::target::place_of_copy;
use crate::phases::Ready;
use crate::words::counted;
use crate::{Level, Result};

/// Shows a plan; changes nothing.
pub(super) fn show(
    ready: &Ready<'_>,
    selected: &Selected<'_>,
    (layout, plan): (&Layout, &Plan),
    root: Option<&TargetRoot>,
    rules: &Rules,
) -> Result<()> {
    let say = |text: String| ready.reporter.say(Level::DryRun, "DryRun", text);
    let mut cursor = Cursor::new(plan, ready.format(), rules);
    let (mut files, mut volumes) = (0_u64, BTreeSet::new());
    selected.each(|number, entry| {
        let Some(item) = plan.items.get(number as usize) else {
            return Ok(());
        };
        let origins = cursor.next(item, entry);
        let Some(place) = layout.place(&entry.path) else {
            return Ok(());
        };
        let path = |copy: u8| {
            let place = place_of_copy(&place, &plan.date, copy);
            let text = String::from_utf8_lossy(&place).into_owned();
            layout.folder.join(text).display().to_string()
        };
        let present = || root.is_some_and(|root| matches!(root.stat(&place), Ok(Some(_))));
        match entry.kind {
            EntryKind::Folder => {
                if !present() {
                    say(format!("would create the folder {}", path(0)));
                }
            }
            EntryKind::Symlink => say(format!("would create the link {}", path(0))),
            EntryKind::File => {
                files += u64::from(!item.is(Mark::Right));
                let from = volumes_of(plan, origins);
                say(told(entry, item, &path, from.len()));
                volumes.extend(from);
            }
        }
        Ok(())
    })?;
    say(format!(
        "would restore {} and fetch {} for that",
        counted(files, "file"),
        counted(volumes.len() as u64, "data file")
    ));
    Ok(())
}

/// One sentence about a file.
fn told(entry: &FileEntry, item: &Item, path: &impl Fn(u8) -> String, volumes: usize) -> String {
    let size = format_size(entry.size);
    let from = format!("{size}, parts in {}", counted(volumes as u64, "data file"));
    if item.is(Mark::Refused) || item.is(Mark::Failed) {
        format!("cannot restore {}", path(0))
    } else if item.is(Mark::Right) {
        format!("{} is right already", path(item.copy))
    } else if item.copy > 0 {
        format!(
            "would keep {} and restore to {} ({from})",
            path(0),
            path(item.copy)
        )
    } else if item.is(Mark::Replaces) {
        format!("would replace {} ({from})", path(0))
    } else {
        format!("would restore {} ({from})", path(0))
    }
}

fn volumes_of(plan: &Plan, origins: Origins) -> BTreeSet<u32> {
    let all = origins.first..origins.first + origins.blocks;
    all.filter_map(|at| match plan.origin(at) {
        Origin::Volume(volume) => Some(volume),
        _ => None,
    })
    .collect()
}
