//! Help for the terminal.

use super::shared::{by_group, describe_kind, describe_status, placeholder, wrap};
use crate::decl::{OptionDecl, Status, find_decl};
use crate::secrecy::is_secret_in;
use crate::values::{Setting, Values};

/// Letters in a line.
const WIDTH: usize = 100;

/// The help for one option, with or without dashes in front of its name; `None` when no table has it.
pub fn help_topic(name: &str, tables: &[&[&'static OptionDecl]]) -> Option<String> {
    let decl = find_decl(name.trim().trim_start_matches('-'), tables)?;
    let mut text = format!("--{}{}\n\n", decl.name, placeholder(decl.kind));
    for paragraph in [decl.help, decl.long] {
        if !paragraph.is_empty() {
            text.push_str(&wrap(paragraph, WIDTH, 2));
            text.push_str("\n\n");
        }
    }
    if let Some(status) = describe_status(decl) {
        text.push_str(&format!("{}\n\n", wrap(&status, WIDTH, 2)));
    }
    let mut fact = |label: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!(
                "  {:<10}{}\n",
                format!("{label}:"),
                wrap(value, WIDTH, 12).trim_start()
            ));
        }
    };
    fact("Kind", &describe_kind(decl));
    fact("Default", decl.default.unwrap_or_default());
    let aliases: Vec<String> = decl
        .aliases
        .iter()
        .map(|alias| format!("--{alias}"))
        .collect();
    fact("Also", &aliases.join(", "));
    fact("Group", decl.group.title());
    Some(text)
}

/// All options with their short help, by group. Advanced ones and those without effect only when `all` is set.
pub fn help_listing(tables: &[&[&'static OptionDecl]], all: bool) -> String {
    let mut text = String::new();
    for (group, members) in by_group(tables) {
        let shown: Vec<_> = members
            .into_iter()
            .filter(|decl| all || (!decl.advanced && matches!(decl.status, Status::Active)))
            .collect();
        if shown.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{}\n", group.title()));
        for decl in shown {
            text.push_str(&line(decl));
        }
    }
    text
}

/// The given options in the order of names, one in a line, with the origin of each. Secrets are hidden, and so is what
/// follows the scheme of a URL.
pub fn settings_listing(values: &Values, tables: &[&[&'static OptionDecl]]) -> String {
    values
        .settings()
        .map(|setting| {
            let origin = setting.origin.label();
            format!(
                "--{}{} ({origin})\n",
                setting.name,
                shown_value(setting, tables)
            )
        })
        .collect()
}

fn shown_value(setting: Setting<'_>, tables: &[&[&'static OptionDecl]]) -> String {
    match setting.value {
        None => String::new(),
        Some(_) if is_secret_in(setting.name, tables) => "=***".to_owned(),
        Some(text) => match text.split_once("://") {
            Some((scheme, _)) => format!("={scheme}://***"),
            None => format!("={text}"),
        },
    }
}

/// The synopsis and the short help, side by side where there is room.
fn line(decl: &OptionDecl) -> String {
    const COLUMN: usize = 36;
    let synopsis = format!("  --{}{}", decl.name, placeholder(decl.kind));
    let note = describe_status(decl)
        .map(|status| format!(" {status}"))
        .unwrap_or_default();
    let help = wrap(&format!("{}{note}", decl.help), WIDTH, COLUMN);
    if synopsis.len() < COLUMN - 1 {
        format!("{synopsis:<COLUMN$}{}\n", help.trim_start())
    } else {
        format!("{synopsis}\n{help}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared::examples::tables;
    use super::*;

    #[test]
    fn a_topic_tells_everything() {
        let text = help_topic("--Tool_Kind", &tables()).expect("known");
        assert_eq!(
            text,
            "--tool-mode=<choice>\n\n  Chooses <the> mode's [kind]: fast | safe.\n\n  Safe is slower. It is \"better\".\n\n  \
             Kind:     choice (Fast, Safe)\n  Default:  Safe\n  Also:     --tool-kind\n  Group:    Destination\n"
        );
        assert_eq!(help_topic("nothing", &tables()), None);
    }

    #[test]
    fn the_listing_shows_what_most_people_need() {
        let text = help_listing(&tables(), false);
        assert!(
            text.starts_with("Destination\n  --tool-folder=<path>              Names a folder.\n"),
            "{text}"
        );
        assert!(!text.contains("tool-quick") && !text.contains("tool-old"));
        let all = help_listing(&tables(), true);
        assert!(all.contains("--tool-quick ") && all.contains("Did something once. Retired: "));
    }

    #[test]
    fn given_options_are_shown_without_secrets() {
        use crate::values::Origin;
        let mut values = Values::new();
        values.set("Tool_Key", Some("geheim"), Origin::Environment);
        values.set("unknown-password", Some("geheim"), Origin::Url);
        values.set("tool-mode", Some("Fast"), Origin::CommandLine);
        values.set("tool-quick", None, Origin::ParametersFile);
        values.set("tool-folder", Some("x://u:geheim@h"), Origin::CommandLine);
        assert_eq!(
            settings_listing(&values, &tables()),
            "--tool-folder=x://*** (command line)\n--tool-key=*** (environment)\n--tool-mode=Fast (command line)\n\
             --tool-quick (parameters file)\n--unknown-password=*** (storage URL)\n"
        );
    }

    #[test]
    fn no_line_is_too_long() {
        let text = help_listing(&[crate::engine::TABLE], true);
        let long: Vec<&str> = text
            .lines()
            .filter(|line| line.chars().count() > WIDTH)
            .collect();
        assert_eq!(long, Vec::<&str>::new());
    }
}
