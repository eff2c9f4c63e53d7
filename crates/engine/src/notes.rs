//! What is noted in the catalog beside volumes, blocks and versions: parameters that more than one part reads.

use larder_catalog::Catalog;

use crate::Result;
use crate::run::Run;

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
    /// Whether the blocks that known versions use are stored.
    pub(crate) fn presence(&self) -> Result<Presence> {
        self.catalog(|c| Presence::of(c))
    }
}
