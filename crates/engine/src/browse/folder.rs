//! What lies directly in folders of one version.

use crate::browse::{as_folder, separator_of};
use crate::pages::{Changes, Collected, Page};
use crate::phases::Ready;
use crate::report::FolderReport;
use crate::run::Run;
use crate::sync::{Mode, Need};
use crate::versions::{DefaultVersions, Version};
use crate::{Error, Result};

/// Which folders to list.
#[derive(Clone, Debug, Default)]
pub struct FolderRequest {
    /// Their stored paths, with the separator at the end or without; none asks for what was backed up.
    pub folders: Vec<String>,
    /// The part of the list that is wanted.
    pub page: Page,
}

impl Run {
    /// Lists what lies directly in folders of the newest version, or of the one that `--version` or `--time` names.
    ///
    /// The cost depends on what lies there, not on the size of the version, once the catalog has its entries.
    ///
    /// # Errors
    /// A folder that is not in the version, more versions than one, and a list that cannot be read.
    pub fn list_folder(&self, request: &FolderRequest) -> Result<FolderReport> {
        self.with_healing(|| self.ready(Mode::Reading, Need::Lists)?.list_folder(request))
    }
}

impl Ready<'_> {
    fn list_folder(&self, request: &FolderRequest) -> Result<FolderReport> {
        let version = self.one_version()?;
        let chosen = self.open_versions(std::slice::from_ref(&version))?;
        let mut found = self.collect(&chosen, Changes::LeftOut)?;
        for (fileset, place) in &chosen.filesets {
            if request.folders.is_empty() {
                let read = self.catalog(|c| {
                    c.each_root(*fileset, &mut |stored| {
                        self.go_on()?;
                        found.push_stored(&stored, &[*place])
                    })
                });
                self.cancel.check()?;
                read?;
            }
            for folder in &request.folders {
                self.add_folder(&version, (*fileset, *place), folder, &mut found)?;
            }
        }
        Ok(FolderReport {
            entries: found.finish(request.page)?,
            common: self.common("ListFolderContent", false),
        })
    }

    /// The only version that is meant.
    fn one_version(&self) -> Result<Version> {
        let mut chosen = self.chosen_versions(DefaultVersions::Newest)?;
        match (chosen.pop(), chosen.len() as u64) {
            (Some(version), 0) => Ok(version),
            (_, others) => Err(Error::user(
                "MultipleFilesetsFound",
                format!(
                    "{} versions are named, but a folder is listed in one",
                    others + 1
                ),
                "name one with --version=… or --time=…; `larder list-file-versions` shows a path in all",
            )),
        }
    }

    fn add_folder(
        &self,
        version: &Version,
        (fileset, place): (i64, usize),
        folder: &str,
        found: &mut Collected,
    ) -> Result<()> {
        let path = as_folder(folder);
        let separator = separator_of(&path);
        let mut is_there = false;
        let read = self.catalog(|c| {
            c.each_in_folder(fileset, &path, separator, &mut |item| {
                self.go_on()?;
                is_there = true;
                match &item.entry {
                    Some(stored) => found.push_stored(stored, &[place]),
                    None => found.push_folder(&item.path, place),
                }
            })
        });
        self.cancel.check()?;
        read?;
        if is_there || self.catalog(|c| c.entry(fileset, &path))?.is_some() {
            return Ok(());
        }
        let inner = path.strip_suffix(&[separator]).unwrap_or(&path);
        let what = match self.catalog(|c| c.entry(fileset, inner))? {
            Some(_) => "is no folder",
            None => "is not",
        };
        Err(Error::user(
            "FolderNotInVersion",
            format!(
                "{folder} {what} in version {} of {}",
                version.number, version.time
            ),
            "see `larder list-folder-content` without a folder for what was backed up, or `larder list-file-versions` for the versions of a path",
        ))
    }
}
