//! What is noted in the catalog beside volumes, blocks and versions: parameters that more than one part reads.

use larder_catalog::{Catalog, VolumeRow, VolumeState};
use larder_volume::VolumeKind;

use crate::Result;
use crate::run::Run;
use crate::settle::is_stored;

/// The program that wrote the newest list that was read.
pub(crate) const LIST_WRITER: &str = "list-writer";
/// The version of which more than the entries is known, since it was the newest when its list was read or written. Another
/// one may have its entries in the catalog only because somebody looked into it.
pub(crate) const COMPARED: &str = "compared-version";
/// How the newest volumes are packed.
pub(crate) const ZIP_METHOD: &str = "zip-method";
/// The `--dblock-size` that the last backup was given, in bytes.
pub(crate) const VOLUME_SIZE: &str = "volume-size";
/// When volumes of another machine were last taken in, in seconds since 1970.
pub(crate) const TAKEN_IN: &str = "others-taken-in";
/// When the last run was begun that could look at every entry of its sources but for those that looked lost, in seconds
/// since 1970. Before there is one: when the first reading was begun of what a partial version holds.
pub(crate) const SOURCES_READ: &str = "sources-read";
/// When the last version was deleted on purpose, in seconds since 1970, until there is one again.
const ALL_DELETED: &str = "all-versions-deleted";
/// The lists that were listed and not read when this catalog was begun, one a line. Any of them may have been a version.
const FIRST_UNREAD: &str = "first-unread-lists";
/// The lists that were seen not to be there, and of whose transfer the end is not known: one a line, with the time in
/// seconds since 1970 before the name.
const UNDER_WAY: &str = "lists-under-way";
/// How long such a list is waited for: requests wait in servers and proxies for minutes, and listings lag.
const UNDER_WAY_SECONDS: i64 = 3600;
/// Holds a [`Presence`].
const PRESENCE: &str = "blocks-may-be-missing";

/// Whether the blocks that known versions use are stored, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A run found every block of the newest version.
    Seen,
    /// Some may be nowhere.
    InDoubt,
    /// Nothing is known to be missing, but nobody looked: the newest version was not written from here.
    NotLookedAt,
}

impl Presence {
    /// What the catalog knows; nothing noted means that nothing was ever doubted.
    fn of(catalog: &Catalog) -> larder_catalog::Result<Self> {
        Ok(match catalog.param(PRESENCE)?.as_deref() {
            Some("1") => Self::InDoubt,
            Some("2") => Self::NotLookedAt,
            _ => Self::Seen,
        })
    }

    /// Notes it in the catalog.
    pub(crate) fn note(self, catalog: &Catalog) -> larder_catalog::Result<()> {
        let text = match self {
            Self::Seen => "0",
            Self::InDoubt => "1",
            Self::NotLookedAt => "2",
        };
        catalog.set_param(PRESENCE, text)
    }
}

impl Run {
    /// Notes that no version is left, on purpose.
    pub(crate) fn note_all_deleted(&self) -> Result<()> {
        let now = self.clock.seconds().to_string();
        self.durable(|c| c.set_param(ALL_DELETED, &now))
    }

    /// Notes that there is a version.
    pub(crate) fn forget_all_deleted(&self) -> Result<()> {
        match self.catalog(|c| c.param(ALL_DELETED))? {
            Some(_) => self.catalog(|c| c.remove_param(ALL_DELETED)),
            None => Ok(()),
        }
    }

    /// Whether all versions were deleted on purpose, and nothing of another machine came since.
    pub(crate) fn are_all_deleted(&self) -> Result<bool> {
        let time = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
        let (deleted, taken_in) =
            self.catalog(|c| Ok((c.param(ALL_DELETED)?, c.param(TAKEN_IN)?)))?;
        Ok(
            time(deleted)
                .is_some_and(|deleted| time(taken_in).is_none_or(|taken| taken <= deleted)),
        )
    }

    /// Notes that a list was sent and is not there yet.
    pub(crate) fn note_under_way(&self, name: &str) -> Result<()> {
        let now = self.clock.seconds();
        let mut lines: Vec<String> = self
            .under_way()?
            .into_iter()
            .filter(|(_, known)| known != name)
            .map(|(since, known)| format!("{since} {known}"))
            .collect();
        lines.push(format!("{now} {name}"));
        self.catalog(|c| c.set_param(UNDER_WAY, &lines.join("\n")))
    }

    /// The lists of interrupted runs that may still arrive: a server may go on with a request after its client gave up. What
    /// they use has to be there then.
    pub(crate) fn lists_under_way(&self) -> Result<Vec<String>> {
        let lists = self.under_way()?.into_iter();
        Ok(lists.map(|(_, name)| name).collect())
    }

    /// Those that are young enough, with the times when they were missed.
    fn under_way(&self) -> Result<Vec<(i64, String)>> {
        let noted = self.catalog(|c| c.param(UNDER_WAY))?.unwrap_or_default();
        let now = self.clock.seconds();
        let young = noted.lines().filter_map(|line| {
            let (since, name) = line.split_once(' ')?;
            let since = since.parse::<i64>().ok()?;
            // A clock that was set back must not end it for ever.
            let is_young = (since..since.saturating_add(UNDER_WAY_SECONDS)).contains(&now);
            is_young.then(|| (since, name.to_owned()))
        });
        Ok(young.collect())
    }

    /// Whether the catalog ever knew a version, or a list that may have been one.
    pub(crate) fn knew_versions(&self) -> Result<bool> {
        self.catalog(|c| {
            let rows = c.volumes()?;
            let is_list = |kind| kind == VolumeKind::List;
            // One that was never stored whole was no version.
            let is_version = |row: &VolumeRow| {
                is_list(row.kind) && (is_stored(row) || row.state == VolumeState::Deleted)
            };
            Ok(c.param(COMPARED)?.is_some()
                || c.param(LIST_WRITER)?.is_some()
                || c.param(ALL_DELETED)?.is_some()
                || rows.iter().any(is_version)
                || c.losses()?.iter().any(|loss| is_list(loss.kind)))
        })
    }

    /// Whether all that the catalog knows was stored from here.
    pub(crate) fn is_all_own(&self) -> Result<bool> {
        self.catalog(|c| Ok(c.param(TAKEN_IN)?.is_none() && !c.volumes()?.is_empty()))
    }

    /// Notes the lists that a catalog that is new finds and does not read.
    pub(crate) fn note_first_unread(&self, unread: &[(String, u64)]) -> Result<()> {
        let names: Vec<&str> = unread.iter().map(|(name, _)| name.as_str()).collect();
        self.catalog(|c| match c.param(FIRST_UNREAD)? {
            Some(_) => Ok(()),
            None => c.set_param(FIRST_UNREAD, &names.join("\n")),
        })
    }

    /// Whether a list came while this catalog was at work, as far as that is known.
    pub(crate) fn came_later(&self, list: &str) -> Result<bool> {
        let first = self.catalog(|c| c.param(FIRST_UNREAD))?;
        Ok(first.is_some_and(|first| first.lines().all(|name| name != list)))
    }

    /// Whether the blocks that known versions use are stored.
    pub(crate) fn presence(&self) -> Result<Presence> {
        self.catalog(|c| Presence::of(c))
    }
}
