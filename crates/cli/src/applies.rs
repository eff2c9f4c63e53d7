//! Options that ask for something the command does not do.

use larder_options::{
    Group, OptionDecl, Origin, Problem, Severity, Status, Values, check, find_decl,
};

use crate::tables::tables;

/// The commands that an option is for; `None` when it does no harm anywhere.
///
/// Only options are listed that let a user expect something else than what happens: where to restore to, which version
/// is meant. What sources and volumes look like may stand in a script for all commands.
fn commands(decl: &OptionDecl) -> Option<&'static [&'static str]> {
    match decl.name {
        "full-result" => None,
        "json" => Some(&[
            "affected",
            "backup",
            "compact",
            "compare",
            "delete",
            "find",
            "list",
            "list-broken-files",
            "list-file-versions",
            "list-filesets",
            "list-folder-content",
            "purge",
            "purge-broken-files",
            "read-lock-info",
            "recovery",
            "repair",
            "restore",
            "search-files",
            "set-locks",
            "sign-in",
            "test",
            "test-filters",
            "vacuum",
        ]),
        "version" => Some(&[
            "delete",
            "find",
            "list",
            "list-file-versions",
            "list-filesets",
            "list-folder-content",
            "purge",
            "restore",
            "search-files",
            "set-locks",
            "test",
        ]),
        "time" => Some(&[
            "find",
            "list",
            "list-file-versions",
            "list-filesets",
            "list-folder-content",
            "purge",
            "restore",
            "search-files",
            "set-locks",
            "test",
        ]),
        "all-versions" => Some(&[
            "find",
            "list",
            "list-file-versions",
            "list-filesets",
            "list-folder-content",
            "restore",
            "search-files",
            "set-locks",
            "test",
        ]),
        "no-local-db" => Some(&[
            "affected",
            "find",
            "list",
            "list-file-versions",
            "list-filesets",
            "list-folder-content",
            "restore",
            "search-files",
            "test",
        ]),
        "overwrite" => Some(&["restore", "destination", "aescrypt"]),
        "indexfile" => Some(&["recovery"]),
        "restore-path"
        | "restore-permissions"
        | "restore-symlink-metadata"
        | "restore-sync"
        | "skip-restore-verification"
        | "dont-compress-restore-paths" => Some(&["restore", "recovery"]),
        "device" => Some(&["sign-in"]),
        "upload-unchanged-backups" | "accept-source-changes" => Some(&["backup"]),
        _ => match decl.group {
            Group::Restore => Some(&["restore"]),
            Group::Listing => Some(&["find", "list"]),
            _ => None,
        },
    }
}

/// Complaints about options of the command line that belong to other commands. Those of a parameters file or of the
/// environment are meant for several commands.
pub fn problems(values: &Values, verb: &str) -> Vec<Problem> {
    let tables = tables();
    values
        .settings()
        .filter(|setting| setting.origin == Origin::CommandLine)
        .filter_map(|setting| {
            let decl = find_decl(setting.name, &tables)
                .filter(|decl| matches!(decl.status, Status::Active))?;
            let commands = commands(decl).filter(|commands| !commands.contains(&verb))?;
            Some(Problem {
                id: check::NO_EFFECT,
                option: setting.name.to_owned(),
                message: format!(
                    "option --{} has no effect on {verb}, it belongs to {}",
                    setting.name,
                    commands.join(", ")
                ),
                severity: Severity::Warning,
            })
        })
        .collect()
}
