//! Help topics that are neither a command nor an option.

use larder_engine::source::{Places, System, group_names, group_patterns};
use larder_options::OptionDecl;
use larder_options::render::{describe_kind, describe_status, help_listing};

use crate::tables::tables;

/// The topics that the overview names.
pub const NAMES: &[&str] = &[
    "options",
    "exitcodes",
    "filters",
    "filter-groups",
    "sizes",
    "times",
    "encryption",
    "compression",
    "destinations",
    "passwords",
    "logging",
    "parameters",
    "mail",
    "scripts",
];

/// Letters in a line.
const WIDTH: usize = 100;

/// The text of a topic, under any of its names.
pub fn text(topic: &str) -> Option<String> {
    Some(match topic {
        "advanced" | "option" | "options" => help_listing(&tables(), true),
        "returncodes" | "exitcodes" | "statuscodes" | "errorlevel" => EXIT_CODES.to_owned(),
        "filter" | "filters" => FILTERS.to_owned(),
        "filter-group" | "filter-groups" => filter_groups(),
        "size" | "sizes" | "decimal" => SIZES.to_owned(),
        "date" | "dates" | "time" | "times" => TIMES.to_owned(),
        "encryption" | "aes" | "gpg" => ENCRYPTION.to_owned(),
        "compression" | "zip" | "tzstd" | "tgz" => COMPRESSION.to_owned(),
        "destination" | "destinations" | "backend" | "backends" => destinations(),
        "password" | "passwords" | "secret" | "secrets" => PASSWORDS.to_owned(),
        "debug" | "logging" | "log" => LOGGING.to_owned(),
        "parameters" | "parameter-file" => PARAMETERS.to_owned(),
        "mail" | "email" => options_named("send-mail")?,
        "script" | "scripts" => options_named("run-script")?,
        _ => return None,
    })
}

/// Help on a provider: what it is and all its options.
pub fn provider(scheme: &str) -> Option<String> {
    let provider = larder_registry::find(scheme)?.provider;
    Some(format!(
        "{} ({}://)\n\n{}\n{}",
        provider.name,
        provider.schemes.join("://, "),
        wrap(provider.help, "  "),
        help_listing(&[provider.options], true)
    ))
}

/// What is to be said about a destination that only Duplicati has.
pub fn missing_provider(scheme: &str) -> Option<String> {
    let planned = larder_registry::planned(scheme.trim_end_matches("://"))?;
    let known: Vec<&str> = larder_registry::providers()
        .iter()
        .flat_map(|provider| provider.schemes.iter().copied())
        .collect();
    Some(format!(
        "The destination {} ({}) is not in this version of Larder. There are: {}",
        planned.scheme,
        planned.name,
        known.join(", ")
    ))
}

/// All options whose name holds a word.
pub fn options_named(word: &str) -> Option<String> {
    let named: Vec<&'static OptionDecl> = tables()
        .into_iter()
        .flatten()
        .copied()
        .filter(|decl| word.len() > 2 && decl.name.contains(word))
        .collect();
    (!named.is_empty()).then(|| {
        let lines: String = named.iter().map(|decl| option_line(decl)).collect();
        format!("Options with {word} in their name:\n\n{lines}")
    })
}

/// One line, or two, for an option.
pub fn option_line(decl: &OptionDecl) -> String {
    let head = format!("  --{} ({})", decl.name, describe_kind(decl));
    let status = describe_status(decl)
        .map(|status| format!(" {status}"))
        .unwrap_or_default();
    format!(
        "{head}\n{}",
        wrap(&format!("{}{status}", decl.help), "      ")
    )
}

/// Breaks a text into lines with something in front of each.
pub fn wrap(text: &str, indent: &str) -> String {
    let mut wrapped = String::new();
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line != indent {
            wrapped.push_str(&line);
            wrapped.push('\n');
            line = indent.to_owned();
        }
        if line != indent {
            line.push(' ');
        }
        line.push_str(word);
    }
    wrapped.push_str(&line);
    wrapped.push('\n');
    wrapped
}

fn destinations() -> String {
    let mut text = wrap(
        "A storage URL has the form scheme://user:password@host:port/path?option=value, where most parts may be missing. \
         Special characters in it are written as % and two hexadecimal digits. What is not of this form is a local folder.",
        "  ",
    );
    text.push('\n');
    let mut pages = Vec::new();
    for provider in larder_registry::providers() {
        let key = provider.schemes.first().copied().unwrap_or_default();
        text.push_str(&format!("  {key:<12} {}\n", provider.help));
        pages.push(format!("larder help {key}"));
    }
    text.push('\n');
    let pages = format!("The options of each: {}", pages.join(", "));
    text.push_str(&wrap(&pages, "  "));
    text.push('\n');
    text.push_str(&wrap(
        "In the query of a storage URL a + means a blank: write %2B for a plus sign, which passwords and secret keys may hold. A question \
         mark in a path is written %3F. A ~ in front of a path is the home folder.",
        "  ",
    ));
    text
}

fn filter_groups() -> String {
    let mut text =
        "Built-in groups of filters, used as --exclude={CacheFiles,TemporaryFiles}. On this system:\n"
            .to_owned();
    let places = Places::default();
    for names in group_names() {
        let Some((name, aliases)) = names.split_first() else {
            continue;
        };
        text.push_str(&format!("\n  {name}"));
        if !aliases.is_empty() {
            text.push_str(&format!(" (also {})", aliases.join(", ")));
        }
        text.push('\n');
        for pattern in group_patterns(name, System::CURRENT, &places).unwrap_or_default() {
            text.push_str(&format!("    {pattern}\n"));
        }
    }
    text
}

/// The table of docs/reference/exit-codes.md in short.
const EXIT_CODES: &str = "
  0    success
  1    backup: success, and nothing had to be uploaded
  2    backup, restore: finished, with warnings (restore: or with files that could not be restored)
  3    backup: finished, with errors; test: damaged volumes were found
  50   backup: stopped on request after something was uploaded
  51   backup: a source is missing, empty, or lost or changed most of its files; what was known of it is kept
  100  failure: nothing was done, or not all of it
  130  ended at once: Ctrl-C once more while it was stopping
  200  the command line is wrong

  A known failure prints a line ErrorID: <id> on standard error, then one sentence.";

const FILTERS: &str = "
  --include=FILTER and --exclude=FILTER form one list in the order given; the first that matches decides.

  text            the whole path; a folder's path ends with a separator
  *  ?            any run of characters, one character; separators included
  [expression]    a regular expression that must match the whole path
  {Group,Group}   built-in groups, see larder help filter-groups
  @text           the whole path, with *, ?, [ and { taken literally

  Without a match a path is taken, unless there are only includes. An excluded folder is not entered.
  To try filters without a backup: larder test-filters <source>… --console-log-level=Verbose";

const SIZES: &str = "
  A size is a whole number and a unit: b, kb, mb, gb, tb (or kib, mib, gib, tib), always in steps of 1024,
  in any letter case: --dblock-size=100mb. Without a unit the option's own is taken, with a warning.
  A speed is a size for each second.";

const TIMES: &str = "
  A span of time is a sum of whole numbers with units: s, m (minutes), h, D, W, M (months), Y; letter case
  matters: 1D12h. A plain number means seconds.

  A point in time is a date (2024-02-29, 2024-02-29T12:30:45, with a zone or without), now, or a span counted from now.
  As an argument of list a span is counted backwards: larder list URL 2M is two months ago.
  For --time a minus sign means the past: --time=-2M.";

const ENCRYPTION: &str = "
  Volumes are encrypted before they leave this computer, with the passphrase, unless --no-encryption is given.

  aes   AES Crypt files: AES-256 and an HMAC over the whole volume (the usual way)
  gpg   the GnuPG program, with a passphrase or, by its switches, a public key

  Chosen with --encryption-module. Existing volumes are read by the ending of their name. A backup keeps its passphrase
  for life; there is no way to read one whose passphrase is lost.
  Options: --aes-version, --gpg-program-path and others, see larder help options";

const COMPRESSION: &str = "
  zip     the usual container; --zip-compression-method=Zstandard, Deflate or None. Without it a new backup uses Zstandard,
          and an existing one goes on as its newest volumes were written.
  tzstd   a tar archive packed with Zstandard
  tgz     a tar archive packed with gzip

  Chosen with --compression-module. Existing volumes are read by the ending of their name.

  Duplicati itself reads Zstandard with one warning for each volume. Its recovery tool and its Python restore script do not:
  who wants to keep them as a way out chooses Deflate when the backup is begun.";

const PASSWORDS: &str = "
  The passphrase comes from --passphrase, else from the environment variable PASSPHRASE, else the terminal is asked.
  --force-passphrase-from-stdin reads it from standard input; --disable-module=console-password-input forbids asking.

  The password of a destination comes from the storage URL, else from --auth-password, else from AUTH_PASSWORD; the user name
  alike from the URL, --auth-username or AUTH_USERNAME.

  Other users of the computer can see a command line. Secrets are safer in the environment or in a --parameters-file.";

const LOGGING: &str = "
  --console-log-level and --log-file with --log-file-log-level choose what is told: a level and all that follow it in
  ExplicitOnly, Profiling, Verbose, Retry, Information, DryRun, Warning, Error. In the log file, Information holds the start,
  the end and the result of a run and each transfer, Verbose the paths.

  --console-log-filter and --log-file-log-filter decide by the id of a message, whatever its level: -Larder-PathSkipped
  --console-log-ignore and --log-file-log-ignore name ids to leave out.
  --suppress-warnings names ids of warnings that shall not count.
  --debug-output shows all causes of a failure, and the options as they were understood. Secrets are never shown.";

const PARAMETERS: &str = "
  --parameters-file=PATH names a file with one option in a line; other lines are comments. Its options are stronger than those
  of the command line. Further lines that it may hold:

  --source=PATH      a source, for backup and test-filters; may be repeated
  --target=URL       stands instead of the storage URL of the command line
  --prepend-filter=, --append-filter=, --replace-filter=   filter lists such as +*.txt:-*/tmp/

  The storage URL is stronger than the file, the file than the command line, the command line than the environment.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_not_too_long() {
        for topic in NAMES.iter().filter(|t| **t != "filter-groups") {
            let text = text(topic).unwrap_or_default();
            for line in text.lines() {
                assert!(line.chars().count() <= 130, "{topic}: {line}");
            }
        }
    }
}
