//! What an option is: its name, kind, default, group, status and help.

/// One declared option.
///
/// Write declarations as constants with `..OptionDecl::BASE`, so that only what differs is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionDecl {
    /// The name without dashes in front, lower-case letters, digits and single hyphens.
    pub name: &'static str,
    /// Further accepted names with the same meaning.
    pub aliases: &'static [&'static str],
    /// What values look like.
    pub kind: Kind,
    /// The value used when none is given, in the option's own syntax.
    pub default: Option<&'static str>,
    /// Where the option stands in listings.
    pub group: Group,
    /// True for options that most people never need.
    pub advanced: bool,
    /// True when the value may be a secret although it usually is none, so that it is never shown.
    pub secret: bool,
    /// Whether the option has an effect.
    pub status: Status,
    /// The short help: one sentence with a full stop.
    pub help: &'static str,
    /// The rest of the help: whole sentences, may be empty.
    pub long: &'static str,
}

impl OptionDecl {
    /// A start for declarations: an active plain text option without default.
    pub const BASE: OptionDecl = OptionDecl {
        name: "",
        aliases: &[],
        kind: Kind::Text,
        default: None,
        group: Group::General,
        advanced: false,
        secret: false,
        status: Status::Active,
        help: "",
        long: "",
    };

    /// Tells whether `name`, already [normalized](normalize_name), is the name or an alias of this option.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// Tells whether the value must never be shown.
    pub const fn is_secret(&self) -> bool {
        self.secret || matches!(self.kind, Kind::Password)
    }
}

/// What values of an option look like, and with that the type they are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text; read as `String`.
    Text,
    /// A secret; read as [`Secret`](crate::Secret).
    Password,
    /// A path of the local file system; read as `String`.
    Path,
    /// Paths joined with the platform's list separator (`:`, on Windows `;`); read as `Vec<String>`.
    PathList,
    /// Texts joined with commas; read as `Vec<String>`, blanks around items and empty items dropped.
    List,
    /// Yes or no; read as `bool`. Given without a value it means yes.
    Bool,
    /// A whole number; read as `i64`.
    Integer {
        /// Smallest sensible value.
        min: i64,
        /// Largest sensible value.
        max: i64,
    },
    /// A number with a decimal point; read as `f64`.
    Decimal,
    /// A number of bytes; read as `u64`.
    Size {
        /// The unit of a number without one.
        unit: SizeUnit,
    },
    /// A span of time; read as `i64` seconds.
    Timespan,
    /// A point in time; read as `String`, because it depends on the time of the run: see
    /// [`parse_time`](crate::value::parse_time).
    Time,
    /// One of the names in any letter case; read as `String` in the spelling of the list. A wrong name gives a
    /// warning and the default. When `True` is among the names, the option without a value means `True`, and the words
    /// for yes and no are understood.
    Choice(&'static [&'static str]),
    /// As [`Kind::Choice`], but a wrong name is an error: the default would do something else than was asked for.
    StrictChoice(&'static [&'static str]),
    /// Several of the names, joined with commas; read as `Vec<String>`. Unknown names give a warning.
    Flags(&'static [&'static str]),
    /// Versions as in `0,2-4`; read as `String`: see [`parse_versions`](crate::value::parse_versions).
    Versions,
    /// A retention policy; read as `String`: see [`parse_retention`](crate::value::parse_retention).
    Retention,
    /// A filter expression; kept apart from the other options because order matters.
    Filter,
}

impl Kind {
    /// The names to choose from, empty for other kinds.
    pub const fn choices(self) -> &'static [&'static str] {
        match self {
            Kind::Choice(names) | Kind::StrictChoice(names) | Kind::Flags(names) => names,
            _ => &[],
        }
    }

    /// The word for the kind in help texts and form descriptions.
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Password => "password",
            Kind::Path => "path",
            Kind::PathList => "path list",
            Kind::List => "list",
            Kind::Bool => "boolean",
            Kind::Integer { .. } => "integer",
            Kind::Decimal => "decimal",
            Kind::Size { .. } => "size",
            Kind::Timespan => "timespan",
            Kind::Time => "time",
            Kind::Choice(_) | Kind::StrictChoice(_) => "choice",
            Kind::Flags(_) => "flags",
            Kind::Versions => "versions",
            Kind::Retention => "retention policy",
            Kind::Filter => "filter",
        }
    }

    /// One bit per kind, for the check in [`Opt::new`].
    pub(crate) const fn bit(self) -> u32 {
        match self {
            Kind::Text => 1,
            Kind::Password => 1 << 1,
            Kind::Path => 1 << 2,
            Kind::PathList => 1 << 3,
            Kind::List => 1 << 4,
            Kind::Bool => 1 << 5,
            Kind::Integer { .. } => 1 << 6,
            Kind::Decimal => 1 << 7,
            Kind::Size { .. } => 1 << 8,
            Kind::Timespan => 1 << 9,
            Kind::Time => 1 << 10,
            Kind::Choice(_) => 1 << 11,
            Kind::StrictChoice(_) => 1 << 12,
            Kind::Flags(_) => 1 << 13,
            Kind::Versions => 1 << 14,
            Kind::Filter => 1 << 15,
            Kind::Retention => 1 << 16,
        }
    }
}

/// The unit of a size that is written without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeUnit {
    /// Single bytes.
    Bytes,
    /// 1024 bytes.
    Kib,
    /// 1024² bytes.
    Mib,
    /// 1024³ bytes.
    Gib,
    /// 1024⁴ bytes.
    Tib,
}

impl SizeUnit {
    /// How many bytes one of it is.
    pub const fn bytes(self) -> u64 {
        match self {
            SizeUnit::Bytes => 1,
            SizeUnit::Kib => 1 << 10,
            SizeUnit::Mib => 1 << 20,
            SizeUnit::Gib => 1 << 30,
            SizeUnit::Tib => 1 << 40,
        }
    }

    /// The suffix as users write it.
    pub const fn suffix(self) -> &'static str {
        match self {
            SizeUnit::Bytes => "b",
            SizeUnit::Kib => "kb",
            SizeUnit::Mib => "mb",
            SizeUnit::Gib => "gb",
            SizeUnit::Tib => "tb",
        }
    }
}

/// Whether an option has an effect. What is told when it is used stands beside each; nothing is told when the value
/// asks for nothing: an empty text, a no, or what is the default anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Works.
    Active,
    /// Still works, but another one should be used. Warning.
    Deprecated {
        /// The name of the option to use.
        instead: &'static str,
    },
    /// Was an option of Duplicati once; has no effect. Warning.
    Retired,
    /// Known, but without effect here, e.g. because it belongs to another system. Warning.
    NoEffect {
        /// Why, as the end of a sentence: "it has no effect: …".
        why: &'static str,
    },
    /// What it asks for happens anyway, or it only changes how the work is done. Information.
    NotNeeded {
        /// Why, as the end of a sentence: "it is not needed: …".
        why: &'static str,
    },
    /// Known and accepted, but what it asks for is not built in this version. Warning.
    NotYet,
    /// As [`Status::NotYet`], but it only says more about other options and asks for nothing without them. Nothing is
    /// told: the others are.
    PartOf {
        /// The names of the options that it says more about.
        options: &'static [&'static str],
    },
    /// What it asks for is not built in this version, and going on without it would do something else than was asked
    /// for. The run does not start.
    Refused {
        /// What would happen, as the end of a sentence: "without it …".
        why: &'static str,
        /// True when commands that only read are refused, too.
        reading: bool,
    },
}

/// Where an option stands in listings, in the order of listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Keys and encryption of volumes.
    Encryption,
    /// Compression of volumes.
    Compression,
    /// Sizes, names and make of volumes.
    Volumes,
    /// What is backed up and how changes are found.
    Sources,
    /// Which versions are kept or meant.
    Versions,
    /// Dealing with the destination in general.
    Remote,
    /// Options of one provider.
    Destination,
    /// Speed and parallel work.
    Throughput,
    /// Repacking volumes.
    Compacting,
    /// The local database and repair.
    Database,
    /// Restoring.
    Restore,
    /// Listings.
    Listing,
    /// Messages and identity.
    Logging,
    /// Everything else.
    General,
    /// Secret providers.
    Secrets,
    /// Plain mirror and extra destinations.
    Sync,
    /// Scripts run around an operation.
    Scripts,
    /// Reports sent after an operation.
    Reports,
    /// Names of former versions.
    Retired,
}

impl Group {
    /// All groups in the order of listings.
    pub const ALL: &'static [Group] = &[
        Group::Encryption,
        Group::Compression,
        Group::Volumes,
        Group::Sources,
        Group::Versions,
        Group::Remote,
        Group::Destination,
        Group::Throughput,
        Group::Compacting,
        Group::Database,
        Group::Restore,
        Group::Listing,
        Group::Logging,
        Group::General,
        Group::Secrets,
        Group::Sync,
        Group::Scripts,
        Group::Reports,
        Group::Retired,
    ];

    /// The heading in listings.
    pub const fn title(self) -> &'static str {
        match self {
            Group::Encryption => "Encryption",
            Group::Compression => "Compression",
            Group::Volumes => "Volumes",
            Group::Sources => "Sources and change detection",
            Group::Versions => "Versions and retention",
            Group::Remote => "Remote access and verification",
            Group::Destination => "Destination",
            Group::Throughput => "Throughput and concurrency",
            Group::Compacting => "Compacting",
            Group::Database => "Local database and repair",
            Group::Restore => "Restore",
            Group::Listing => "Listing",
            Group::Logging => "Messages and identity",
            Group::General => "General",
            Group::Secrets => "Secret providers",
            Group::Sync => "Mirror and extra destinations",
            Group::Scripts => "Scripts",
            Group::Reports => "Reports",
            Group::Retired => "Retired names",
        }
    }
}

/// The form in which names are compared: lower case, `-` for `_`, no blanks around. The dashes of the command line are
/// not part of a name.
pub fn normalize_name(name: &str) -> String {
    name.trim().to_lowercase().replace('_', "-")
}

/// Finds the declaration that answers to a name, in any letter case.
pub fn find_decl(name: &str, tables: &[&[&'static OptionDecl]]) -> Option<&'static OptionDecl> {
    let name = normalize_name(name);
    tables
        .iter()
        .flat_map(|table| table.iter())
        .find(|decl| decl.answers_to(&name))
        .copied()
}
