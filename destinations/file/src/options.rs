//! The options of the local folder.

use larder_options::{Group, Kind, Opt, OptionDecl, Status};

/// `--alternate-target-paths`: folders to try when the one in the URL does not exist.
pub const ALTERNATE_TARGET_PATHS: Opt<String> = Opt::new(&OptionDecl {
    name: "alternate-target-paths",
    kind: Kind::Text,
    group: Group::Destination,
    help: "Names further folders to use when the one in the URL does not exist.",
    long: "Useful for a disk that is mounted in different places. The first folder that exists is used, beginning \
           with the one in the URL. Paths are divided by a semicolon, on Linux and macOS also by a colon.",
    ..OptionDecl::BASE
});

/// `--alternate-destination-marker`: a file that marks the right folder.
pub const ALTERNATE_DESTINATION_MARKER: Opt<String> = Opt::new(&OptionDecl {
    name: "alternate-destination-marker",
    kind: Kind::Text,
    group: Group::Destination,
    help: "Names a file that must lie in the destination folder.",
    long: "Has an effect only together with alternate-target-paths. Only a folder with that file is used, be it the one \
           in the URL or another; its content does not matter. This protects against writing to an empty mount point \
           and tells several disks apart.",
    ..OptionDecl::BASE
});

/// `--use-move-for-put`: move finished volumes instead of copying them.
pub const USE_MOVE_FOR_PUT: Opt<bool> = Opt::new(&OptionDecl {
    name: "use-move-for-put",
    kind: Kind::Bool,
    group: Group::Destination,
    advanced: true,
    help: "Moves finished volumes to the folder instead of copying them.",
    long: "Has an effect only together with disable-streaming-transfers. Saves writing twice when the temporary \
           folder lies on the same disk. After a failure there may be nothing left to try again with.",
    ..OptionDecl::BASE
});

/// `--disable-length-verification`: no check of the length after writing.
pub const DISABLE_LENGTH_VERIFICATION: Opt<bool> = Opt::new(&OptionDecl {
    name: "disable-length-verification",
    kind: Kind::Bool,
    group: Group::Destination,
    advanced: true,
    help: "Does not ask the file system for the length of a file after writing it.",
    long: "For network mounts that report lengths late.",
    ..OptionDecl::BASE
});

const DISABLE_FILENAME_SANITATION: &OptionDecl = &OptionDecl {
    name: "disable-filename-sanitation",
    kind: Kind::Bool,
    group: Group::Destination,
    advanced: true,
    status: Status::NoEffect {
        why: "names on this system never end in NUL characters",
    },
    help: "Keeps NUL characters at the end of listed names.",
    ..OptionDecl::BASE
};

const FORCE_SMB_AUTHENTICATION: &OptionDecl = &OptionDecl {
    name: "force-smb-authentication",
    kind: Kind::Bool,
    group: Group::Destination,
    advanced: true,
    status: Status::NoEffect {
        why: "it belongs to Windows",
    },
    help: "Ends an existing connection to the network share before connecting.",
    ..OptionDecl::BASE
};

/// All options of the local folder.
pub const TABLE: &[&OptionDecl] = &[
    ALTERNATE_TARGET_PATHS.decl,
    ALTERNATE_DESTINATION_MARKER.decl,
    USE_MOVE_FOR_PUT.decl,
    DISABLE_LENGTH_VERIFICATION.decl,
    DISABLE_FILENAME_SANITATION,
    FORCE_SMB_AUTHENTICATION,
];
