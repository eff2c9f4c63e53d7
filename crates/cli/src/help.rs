//! `larder help`.

use larder_options::render::{Verb, help_listing, help_topic};

use crate::console::print;
use crate::invocation::tables;

/// The commands of this version.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "backup",
        arguments: "<storage-URL> <source>…",
        help: "Make a new version of the source folders.",
    },
    Verb {
        name: "restore",
        arguments: "<storage-URL> [pattern…]",
        help: "Write files of a version back.",
    },
    Verb {
        name: "list",
        arguments: "<storage-URL> [pattern…|version|time]",
        help: "List versions, or files of the newest version.",
    },
    Verb {
        name: "find",
        arguments: "<storage-URL> [pattern…]",
        help: "Search files in all versions.",
    },
    Verb {
        name: "list-filesets",
        arguments: "<storage-URL>",
        help: "List versions with their figures.",
    },
    Verb {
        name: "test",
        arguments: "<storage-URL> [samples|all]",
        help: "Verify stored volumes.",
    },
    Verb {
        name: "repair",
        arguments: "<storage-URL>",
        help: "Rebuild the local catalog and missing index files.",
    },
    Verb {
        name: "help",
        arguments: "[topic]",
        help: "Explain a command or an option.",
    },
    Verb {
        name: "completion",
        arguments: "bash|zsh|fish",
        help: "Print a completion script for a shell.",
    },
    Verb {
        name: "man",
        arguments: "",
        help: "Print the manual page.",
    },
];

/// Prints help on a topic, or the overview.
pub fn print_help(topic: Option<&str>) {
    let topic = topic.map(|t| t.trim_start_matches('-').to_ascii_lowercase());
    match topic.as_deref() {
        None | Some("" | "help") => overview(),
        Some("advanced" | "options" | "option") => print(&help_listing(&tables(), true)),
        Some("returncodes" | "exitcodes" | "statuscodes" | "errorlevel") => print(EXIT_CODES),
        Some("filter" | "filters") => print(FILTERS),
        Some(topic) => {
            if let Some(verb) = VERBS.iter().find(|v| v.name == topic) {
                print(&format!(
                    "larder {} {} [--option=value]…\n\n  {}",
                    verb.name, verb.arguments, verb.help
                ));
            } else if let Some(text) = help_topic(topic, &tables()) {
                print(&text);
            } else {
                print(&format!("Topic not found: {topic}\n"));
                overview();
            }
        }
    }
}

fn overview() {
    print(&format!(
        "Larder {}: backups in Duplicati's format\n",
        env!("CARGO_PKG_VERSION")
    ));
    print("Usage: larder <command> <storage-URL> [arguments…] [--option=value]…\n");
    for verb in VERBS {
        print(&format!("  {:<14} {}", verb.name, verb.help));
    }
    print(
        "\nMore: larder help <command>, larder help <option>, larder help options, larder help filters, larder help exitcodes",
    );
}

const EXIT_CODES: &str = "\
  0    success
  1    backup: success, nothing had to be uploaded
  2    finished with warnings (backup, restore)
  3    finished with errors (backup), or damaged volumes were found (test)
  50   the backup was stopped after something was uploaded
  100  failure
  200  the command line is wrong";

const FILTERS: &str = "\
  --include=FILTER and --exclude=FILTER are tried in their order, the first that matches decides.
  text            the whole path, folders with a separator at the end
  *  ?            any run of characters, one character; separators included
  [expression]    a regular expression that must match the whole path
  {Group,Group}   built-in groups: SystemFiles, OperatingSystem, CacheFiles, TemporaryFiles, Applications, DefaultExcludes
  @text           the whole path, with *, ?, [ and { taken literally
  Without a match: left out when there are only includes, otherwise kept.";
