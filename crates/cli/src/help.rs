//! `larder help`: the commands with their main options, topics, and every option, all from declarations.

mod topics;

use larder_options::render::{Verb, help_topic};
use larder_options::{OptionDecl, find_decl};

use crate::tables::tables;
use crate::terminal::{print, print_text};

/// One command.
#[derive(Debug)]
pub struct Command {
    /// Name, arguments and one sentence, as the manual page and the completion show them.
    pub verb: Verb,
    /// Further names.
    pub aliases: &'static [&'static str],
    /// Whether the first argument is a storage URL.
    pub has_url: bool,
    /// Whether it changes files, here or at the destination; a misspelt option then stops it.
    pub changes_files: bool,
    /// What else is to be said: paragraphs, divided by empty lines.
    about: &'static str,
    /// Names of the options that matter most for it.
    options: &'static [&'static str],
}

/// The commands of this version.
pub const COMMANDS: &[Command] = &[
    Command {
        verb: Verb {
            name: "backup",
            arguments: "<storage-URL> <source>…",
            help: "Makes a new version of the source folders.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "The first backup creates the folder of the storage URL. Later ones store only what has changed; when nothing \
                has, no version is written and the exit code is 1. A file that cannot be read is reported and counted, and \
                what the previous version has of it is kept.\n\n\
                Ctrl-C ends the backup after the files that are being read, and what was read becomes a partial version, with \
                the rest as in the version before. A second Ctrl-C stops it within two seconds; what was uploaded is used by \
                the next run. A backup that lasts long stores a partial version every quarter of an hour, which goes when the \
                next one or the whole version is there.",
        options: &[
            "passphrase",
            "no-encryption",
            "exclude",
            "include",
            "dry-run",
            "dblock-size",
            "blocksize",
            "skip-files-larger-than",
            "symlink-policy",
            "upload-unchanged-backups",
            "checkpoint-interval",
            "throttle-upload",
        ],
    },
    Command {
        verb: Verb {
            name: "restore",
            arguments: "<storage-URL> [pattern…]",
            help: "Writes files of a version back.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "Without a pattern everything is restored. A name without separator and wildcard means files of that name in any \
                folder. Files go back to where they were, or below --restore-path, where the folders that all have in common are \
                left out. A file that exists with other content is kept, and the restored one gets the date of its version \
                in its name, unless --overwrite is given.",
        options: &[
            "restore-path",
            "overwrite",
            "version",
            "time",
            "restore-permissions",
            "dont-compress-restore-paths",
            "passphrase",
            "dry-run",
            "control-files",
            "no-local-db",
        ],
    },
    Command {
        verb: Verb {
            name: "list",
            arguments: "<storage-URL> [pattern…|version|time]",
            help: "Lists versions, or files of one version.",
        },
        aliases: &[],
        has_url: true,
        changes_files: false,
        about: "Without an argument the versions are listed, the newest being 0. A number or a time lists all files of that \
                version; a time is counted backwards from now (1D is yesterday). Patterns list the matching files of the newest \
                version, or of those that --version, --time or --all-versions choose.",
        options: &[
            "version",
            "time",
            "all-versions",
            "passphrase",
            "json",
            "control-files",
            "list-folder-contents",
            "list-prefix-only",
            "list-sets-only",
        ],
    },
    Command {
        verb: Verb {
            name: "find",
            arguments: "<storage-URL> [pattern…]",
            help: "Searches files in all versions.",
        },
        aliases: &[],
        has_url: true,
        changes_files: false,
        about: "As list, but in all versions unless --version or --time is given.",
        options: &["version", "time", "passphrase", "json"],
    },
    Command {
        verb: Verb {
            name: "list-filesets",
            arguments: "<storage-URL>",
            help: "Lists versions with all their entries counted.",
        },
        aliases: &[],
        has_url: true,
        changes_files: false,
        about: "Files, folders and links are counted together. A version whose backup was stopped is marked partial.",
        options: &["passphrase", "json"],
    },
    Command {
        verb: Verb {
            name: "list-folder-content",
            arguments: "<storage-URL> [folder…]",
            help: "Lists what lies directly in folders of a version.",
        },
        aliases: &["list-folder-contents"],
        has_url: true,
        changes_files: false,
        about: "Folders are named as they were backed up; without one what was backed up is listed. The version is the newest \
                unless --version or --time names another.",
        options: &["version", "time", "passphrase", "json"],
    },
    Command {
        verb: Verb {
            name: "list-file-versions",
            arguments: "<storage-URL> <path>…",
            help: "Lists the versions that have a file or folder.",
        },
        aliases: &[],
        has_url: true,
        changes_files: false,
        about: "Paths are named whole, as they were backed up. Behind each version stands added or modified where the content is \
                another than in the next older one. All versions are looked at unless --version or --time names some.",
        options: &["version", "time", "passphrase", "json"],
    },
    Command {
        verb: Verb {
            name: "search-files",
            arguments: "<storage-URL> [word|pattern|folder…]",
            help: "Searches paths in all versions, in any letter case.",
        },
        aliases: &["search", "search-entries"],
        has_url: true,
        changes_files: false,
        about: "A word is looked for anywhere in the names of files and folders, a piece of a path anywhere in the path; a pattern with \
                wildcards, or an expression in brackets, must match the whole path. The whole path of a folder limits the search to what is \
                in it, in its own letter case. --include and --exclude choose paths, too. Behind each version stands added or modified \
                where the content is another than in the next older one.",
        options: &[
            "include",
            "exclude",
            "version",
            "time",
            "passphrase",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "compare",
            arguments: "<storage-URL> [version [version]]",
            help: "Shows what differs between two versions.",
        },
        aliases: &[],
        has_url: true,
        changes_files: false,
        about: "A version is a number, the newest being 0, or a time counted backwards from now (1D is yesterday). One alone is \
                compared with the newest, none means the two newest. --include and --exclude choose paths. Eleven paths of each kind \
                are named, with --full-result all.",
        options: &["include", "exclude", "full-result", "passphrase", "json"],
    },
    Command {
        verb: Verb {
            name: "affected",
            arguments: "<storage-URL> <remote-file>…",
            help: "Shows which versions and files use a remote file.",
        },
        aliases: &[],
        has_url: true,
        changes_files: false,
        about: "Remote files are named as the destination has them. Of a data file it is told how many of the files could not be \
                restored without it, since no other data file has the same blocks. Several are looked at as if all of them were gone. \
                Eleven paths are named, with --full-result all.",
        options: &["full-result", "passphrase", "no-local-db", "json"],
    },
    Command {
        verb: Verb {
            name: "test",
            arguments: "<storage-URL> [samples|all]",
            help: "Verifies stored volumes.",
        },
        aliases: &["verify"],
        has_url: true,
        changes_files: false,
        about: "A sample is one list, one index and one data volume; those checked least often come first, so that repeated runs \
                reach all of them. Damage does not end the check: every damaged volume is named, with the versions and files it \
                hurts, and the exit code is 3.",
        options: &[
            "full-remote-verification",
            "full-result",
            "version",
            "passphrase",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "delete",
            arguments: "<storage-URL>",
            help: "Deletes versions.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "Deletes the versions that --version names, and those that --keep-versions, --keep-time or --retention-policy let \
                go; backup does the latter too when one of these options is set. Their lists are removed; then the space that only \
                they needed is freed as by compact, unless --no-auto-compact is given. The last version stays unless --allow-full-removal is given. With --dry-run it is said \
                what would go.",
        options: &[
            "version",
            "keep-versions",
            "keep-time",
            "retention-policy",
            "allow-full-removal",
            "no-auto-compact",
            "dry-run",
            "passphrase",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "compact",
            arguments: "<storage-URL>",
            help: "Frees the space that no version needs.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "Data volumes that no version uses are removed. What is used of wasteful ones (--threshold) moves to new volumes, and \
                so do small ones when they are many; the old volumes go when the new ones are stored. backup and delete do the same \
                afterwards unless --no-auto-compact is given. Nothing goes while a version list cannot be read. With --dry-run it \
                is said what would go, and nothing is downloaded.",
        options: &[
            "threshold",
            "small-file-size",
            "small-file-max-count",
            "compact-max-bytes",
            "compact-max-time",
            "dry-run",
            "passphrase",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "purge",
            arguments: "<storage-URL> <path>… | --include=…",
            help: "Takes files out of versions.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "The lists of all versions, or of those that --version or --time (the version of then and all older ones) name, are \
                written anew without these files; a folder stands for all that is in it. A list is stored before the old one is \
                removed, at a time a second later or where there is room. The data stay until they are worth a compact, or until \
                --threshold=0 says that no waste is wanted. With --dry-run it is said what would go.",
        options: &[
            "version",
            "time",
            "include",
            "exclude",
            "threshold",
            "no-auto-compact",
            "dry-run",
            "passphrase",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "list-broken-files",
            arguments: "<storage-URL>",
            help: "Names files of which something is lost.",
        },
        aliases: &["broken-files", "broken"],
        has_url: true,
        changes_files: false,
        about: "What is lost is known from the data files that are missing, and from those that a test, a restore or a backup found \
                damaged: `larder test … all` looks at everything. Five files of each version are named, with --full-result all.",
        options: &["full-result", "passphrase", "json"],
    },
    Command {
        verb: Verb {
            name: "purge-broken-files",
            arguments: "<storage-URL>",
            help: "Takes files of which something is lost out of the versions.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "Run a backup first: it stores again what the sources still have, and heals old versions with it. What is left of \
                the damage cannot be restored; this command takes these files out of the versions, so that nothing complains of \
                them any more. Where only times and permissions are lost, the file stays without them. With --dry-run it is said \
                what would go.",
        options: &[
            "disable-replace-missing-metadata",
            "no-auto-compact",
            "dry-run",
            "passphrase",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "repair",
            arguments: "<storage-URL>",
            help: "Stores again what is missing and known here, and rebuilds the local catalog.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "The local catalog is rebuilt and missing index files are written, as other commands do unasked when they have to. Version \
                lists that are gone or damaged are stored again from what the catalog knows of them, and with \
                --rebuild-missing-dblock-files lost data from files that still exist. Nothing is removed that is not known; damaged files of no version get other \
                names with --move-unreadable-aside. The exit code is 3 while something is still missed.",
        options: &[
            "rebuild-missing-dblock-files",
            "disable-partial-dblock-recovery",
            "move-unreadable-aside",
            "delete-aside-after",
            "passphrase",
            "dry-run",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "vacuum",
            arguments: "<storage-URL>",
            help: "Makes the local catalog as small as its content.",
        },
        aliases: &[],
        has_url: true,
        changes_files: true,
        about: "Seldom needed: the room that deleted versions leave is used again. The catalog is written anew, for which there must be \
                room for two more of its size, one in the folder for temporary files. The destination is not asked, and nothing comes \
                into being where there is no catalog. backup does the same with --auto-vacuum.",
        options: &["dry-run", "auto-vacuum", "auto-vacuum-interval", "json"],
    },
    Command {
        verb: Verb {
            name: "set-locks",
            arguments: "<storage-URL>",
            help: "Locks the files of versions against deletion for a time.",
        },
        aliases: &["setlocks"],
        has_url: true,
        changes_files: true,
        about: "All files that the versions need which --version, --time or --all-versions=true name are locked from now on, for \
                --remote-file-lock-duration; a lock that lasts longer stays. Until then nobody can delete or replace them, and \
                delete, compact and purge leave them alone. backup does the same for its newest version when the option is given. \
                Needs a destination with object locks.",
        options: &[
            "remote-file-lock-duration",
            "version",
            "time",
            "all-versions",
            "passphrase",
            "dry-run",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "read-lock-info",
            arguments: "<storage-URL>",
            help: "Tells how many files are locked, and until when.",
        },
        aliases: &["readlockinfo"],
        has_url: true,
        changes_files: false,
        about: "The destination is asked for each file of the backup. With --console-log-level=Verbose each locked one is named. \
                Needs a destination with object locks.",
        options: &["passphrase", "json"],
    },
    Command {
        verb: Verb {
            name: "test-filters",
            arguments: "<source>…",
            help: "Shows what the filters let through.",
        },
        aliases: &["test-filter"],
        has_url: false,
        changes_files: false,
        about: "With --console-log-level=Verbose every path is shown with the rule that decided.",
        options: &[
            "include",
            "exclude",
            "exclude-files-attributes",
            "skip-files-larger-than",
            "symlink-policy",
        ],
    },
    Command {
        verb: Verb {
            name: "destination",
            arguments: "test|list|get|put|delete|create-folder <storage-URL> [file]",
            help: "Tests a destination, or works with its files.",
        },
        aliases: &["backend-tool"],
        has_url: false,
        changes_files: true,
        about: "destination test does everything once that a backup does, with files of its own that it removes again: it stores, lists, \
                fetches and compares them, and tries to replace one. A size after the storage URL is that of the largest file \
                (10mb). A folder that does not exist is created.\n\n\
                The other words work with files as they are, without encryption. get and put take the path of a local file; at the \
                destination it has the same name without its folders. Neither replaces a file unless --overwrite is given.\n\n\
                Started as duplicati-backend-tool or duplicati-backend-tester, the program takes the same words.",
        options: &[
            "overwrite",
            "auth-username",
            "auth-password",
            "throttle-upload",
            "throttle-download",
        ],
    },
    Command {
        verb: Verb {
            name: "recovery",
            arguments: "download <storage-URL> <folder> | index|list|restore <folder> [version]",
            help: "Gets files back step by step, past damage and without a catalog.",
        },
        aliases: &["recovery-tool"],
        has_url: false,
        changes_files: true,
        about: "For a backup that restore cannot read, or to have each step in hand. Damage costs only what was in the damaged \
                part: everything else is restored, and what is lost is named.\n\n\
                download fetches the lists and data of all versions into a folder, decrypted. Run again, it fetches only \
                what is missing. Of a file that is damaged, what is left is kept as NAME.damaged and used where it can be verified. \
                index writes index.txt there, which says where each block is. list shows the versions, or with a version its \
                files. restore writes them below --restore-path (also called \
                --targetpath) and replaces nothing that is there.\n\n\
                A version is a number, the newest being 0, the name of its file, or a time counted backwards from now (1D is \
                yesterday). Without one the newest that is whole is restored. What download wrote is not encrypted any more: \
                remove the folder when the files are back.",
        options: &[
            "passphrase",
            "restore-path",
            "indexfile",
            "include",
            "exclude",
            "prefix",
            "restore-permissions",
            "skip-restore-verification",
            "json",
        ],
    },
    Command {
        verb: Verb {
            name: "aescrypt",
            arguments: "e|d|do|dc <passphrase|-> <file> <new-file>",
            help: "Encrypts or decrypts a file of AES Crypt.",
        },
        aliases: &["sharpaescrypt"],
        has_url: false,
        changes_files: true,
        about: "e encrypts and d decrypts. do keeps what can be decrypted of a damaged file: it says so, and the exit code is 3. dc \
                takes files of other programs, which may fill the last block in another way. Volumes and exported jobs are \
                such files.\n\n\
                A passphrase on the command line can be seen by everybody on this machine. With - or nothing in its place it is \
                taken from --passphrase, the variable PASSPHRASE or --force-passphrase-from-stdin, or asked for. One that begins \
                with - or is a word like help can only be given so.\n\n\
                The new file gets its name when all of the old one was verified. One that is there is replaced only with --overwrite.",
        options: &[
            "passphrase",
            "overwrite",
            "aes-version",
            "aes-minimal-header",
        ],
    },
    Command {
        verb: Verb {
            name: "help",
            arguments: "[topic]",
            help: "Explains a command, an option or a topic.",
        },
        aliases: &["example", "examples"],
        has_url: false,
        changes_files: false,
        about: "",
        options: &[],
    },
    Command {
        verb: Verb {
            name: "sign-in",
            arguments: "<storage-URL>",
            help: "Signs in to a service and prints the option that keeps the sign-in.",
        },
        aliases: &[],
        has_url: true,
        changes_files: false,
        about: "For services with OAuth, with an application that you registered there: give --oauth-client-id and \
                --oauth-client-secret. The address to open is printed, and a browser on this machine comes back to a port of it. \
                With --device a code is printed, which is typed in a browser anywhere else.\n\n\
                The result goes to standard output once and is stored nowhere. Without --device ten minutes are waited for \
                you, with it as long as the service allows.",
        options: &["device", "oauth-client-id", "oauth-client-secret", "json"],
    },
    Command {
        verb: Verb {
            name: "completion",
            arguments: "bash|zsh|fish",
            help: "Prints a completion script for a shell.",
        },
        aliases: &[],
        has_url: false,
        changes_files: false,
        about: "For bash: larder completion bash > ~/.local/share/bash-completion/completions/larder\n\n\
                The script completes duplicati-cli, too.",
        options: &[],
    },
    Command {
        verb: Verb {
            name: "man",
            arguments: "",
            help: "Prints the manual page.",
        },
        aliases: &[],
        has_url: false,
        changes_files: false,
        about: "To read it: larder man | man -l -",
        options: &[],
    },
];

/// Commands of Duplicati that this version does not have (commands spec 1.3).
pub const NOT_YET: &[&str] = &[
    "changelog",
    "controller-server",
    "create-report",
    "send-mail",
    "sync",
    "system-info",
    "systeminfo",
];

/// The command of a name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.verb.name == name)
}

/// The name of the command that a word in any letter case means.
pub fn canonical(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    COMMANDS
        .iter()
        .find(|c| c.verb.name == word || c.aliases.contains(&word.as_str()))
        .map(|c| c.verb.name)
}

/// The commands as the manual page and the completion take them.
pub fn verbs() -> Vec<Verb> {
    COMMANDS.iter().map(|c| c.verb).collect()
}

/// The command whose name is nearest to a word, when it is near enough to be meant.
pub fn near(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    COMMANDS
        .iter()
        .filter(|_| word.len() > 1)
        .filter_map(|c| {
            let name = c.verb.name;
            larder_options::near(&word, name, 1 + name.len() / 5).map(|away| (away, name))
        })
        .min()
        .map(|(_, name)| name)
}

/// What `help` explains beside options: commands, topics and destinations.
pub fn topic_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = COMMANDS.iter().map(|command| command.verb.name).collect();
    names.extend(topics::NAMES);
    names.extend(
        larder_registry::providers()
            .iter()
            .flat_map(|provider| provider.schemes),
    );
    names
}

/// Prints help on a topic, or the overview.
pub fn print_help(program: &str, topic: Option<&str>) {
    let topic = topic.map(|t| t.trim_start_matches('-').to_ascii_lowercase());
    let Some(topic) = topic.filter(|t| !t.is_empty()) else {
        print_text(&overview(program));
        return;
    };
    match text_of(program, &topic) {
        Some(text) => print_text(text.trim_end().trim_start_matches('\n')),
        None => {
            print(&format!("Topic not found: {topic}"));
            print_text(&format!("\n{}", overview(program)));
        }
    }
}

fn text_of(program: &str, topic: &str) -> Option<String> {
    if topic == "help" {
        return Some(overview(program));
    }
    if let Some(command) = canonical(topic).and_then(find) {
        return Some(command_help(program, command));
    }
    if NOT_YET.contains(&topic) {
        return Some(format!(
            "The command {topic} is not in this version of Larder."
        ));
    }
    if let Some(text) = topics::text(topic) {
        return Some(text);
    }
    help_topic(topic, &tables())
        .or_else(|| topics::provider(topic))
        .or_else(|| topics::missing_provider(topic))
        .or_else(|| topics::options_named(topic))
}

fn overview(program: &str) -> String {
    let mut text = format!(
        "Larder {}: backups in Duplicati's format\n\n\
         Usage: {program} <command> <storage-URL> [arguments…] [--option=value]…\n\n",
        env!("CARGO_PKG_VERSION")
    );
    let width = COMMANDS.iter().map(|command| command.verb.name.len());
    let width = width.max().unwrap_or(0);
    for command in COMMANDS {
        text.push_str(&format!(
            "  {:<width$} {}\n",
            command.verb.name, command.verb.help
        ));
    }
    text.push_str(&format!(
        "\nFor example:\n\n  \
         {program} backup file:///mnt/disk/backup /home/ann --passphrase=… --exclude='*.tmp'\n  \
         {program} restore file:///mnt/disk/backup '*/letter.odt' --restore-path=/tmp/x --passphrase=…\n\n\
         More: {program} help <command>, {program} help <option>, {program} help <destination>, and the topics\n{}",
        topics::wrap(&topics::NAMES.join(", "), "  ")
    ));
    text
}

fn command_help(program: &str, command: &Command) -> String {
    let Verb {
        name,
        arguments,
        help,
    } = command.verb;
    if name == "help" {
        return overview(program);
    }
    let space = if arguments.is_empty() { "" } else { " " };
    let mut text = format!("{program} {name}{space}{arguments} [--option=value]…\n\n");
    for paragraph in std::iter::once(help)
        .chain(command.about.split("\n\n"))
        .filter(|p| !p.is_empty())
    {
        text.push_str(&topics::wrap(paragraph, "  "));
        text.push('\n');
    }
    if !command.aliases.is_empty() {
        text.push_str(&format!("  Also: {}\n\n", command.aliases.join(", ")));
    }
    let tables = tables();
    let decls: Vec<&'static OptionDecl> = command
        .options
        .iter()
        .filter_map(|name| find_decl(name, &tables))
        .collect();
    if !decls.is_empty() {
        text.push_str("Main options:\n\n");
        for decl in decls {
            text.push_str(&topics::option_line(decl));
        }
        text.push_str(&format!(
            "\nAll options: {program} help options; one of them: {program} help <option>\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_names_of_commands_exist() {
        let tables = tables();
        for command in COMMANDS {
            for option in command.options {
                let decl = find_decl(option, &tables).expect(option);
                assert_eq!(decl.name, *option, "the main name is used");
            }
            assert!(command.verb.help.ends_with('.'));
            assert!(!NOT_YET.contains(&command.verb.name));
        }
    }

    #[test]
    fn misspelt_commands_are_recognised() {
        for (word, meant) in [
            ("bakcup", Some("backup")),
            ("restroe", Some("restore")),
            ("lst", Some("list")),
            ("list-fileset", Some("list-filesets")),
            ("tset", Some("test")),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(near(word), meant, "{word}");
        }
        assert_eq!(canonical("VERIFY"), Some("test"));
        assert_eq!(canonical("sync"), None);
    }

    #[test]
    fn every_topic_has_a_text() {
        for topic in topics::NAMES {
            assert!(text_of("larder", topic).is_some(), "{topic}");
        }
        let destinations = larder_registry::providers().iter().flat_map(|p| p.schemes);
        for name in destinations.chain(&["--dblock-size", "verify", "delete"]) {
            assert!(
                text_of("larder", name.trim_start_matches('-')).is_some(),
                "{name}"
            );
        }
        for name in topic_names() {
            assert!(text_of("larder", name).is_some(), "{name}");
        }
        for (name, text) in [
            (
                "tahoe",
                "The destination tahoe (Tahoe-LAFS) is not in this version",
            ),
            ("mail", "--send-mail-to"),
            ("retention", "--retention-policy"),
        ] {
            let told = text_of("larder", name).expect(name);
            assert!(told.contains(text), "{name}: {told}");
        }
        assert!(text_of("larder", "nothing").is_none());
    }
}
