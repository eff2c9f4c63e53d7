//! Options of `recovery`, which works on a folder of volumes.

use crate::{Group, Kind, Status};

table! { Group::Restore;
    INDEXFILE: String = "indexfile", Kind::Path,
        "Names the file that says which data volume holds which block.",
        long: "For recovery. Without it index.txt in the folder with the volumes.";
    REDUCE_MEMORY_USE: bool = "reduce-memory-use", Kind::Bool,
        "Looks blocks up in the index file instead of in memory.",
        advanced: true,
        status: Status::NotNeeded { why: "the index file is never read into memory" };
    MAX_OPEN_ARCHIVES: i64 = "max-open-archives", Kind::Integer { min: 0, max: i64::MAX },
        "Limits how many volumes are open at a time.",
        default: Some("200"),
        advanced: true,
        status: Status::NotNeeded { why: "memory and open files are bounded" };
    DISABLE_WRAPPED_ZIP: bool = "disable-wrapped-zip", Kind::Bool,
        "Does not keep the directories of zip files in memory.",
        advanced: true,
        status: Status::NotNeeded { why: "memory is bounded" };
    OFFSET: i64 = "offset", Kind::Integer { min: 0, max: i64::MAX },
        "Begins a restore with a later file.",
        default: Some("0"),
        advanced: true,
        status: Status::NotNeeded { why: "files that are there already are recognised, so a restore goes on where it ended" };
}
