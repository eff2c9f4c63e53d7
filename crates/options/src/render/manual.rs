//! The manual page in roff (man macros).

use super::shared::{Verb, by_group, describe_kind, describe_status, placeholder};
use crate::decl::OptionDecl;

/// The manual page of the program: name, synopsis, commands, options by group. Retired names are left out.
///
/// `about` is one sentence about the program, `version` goes into the footer.
pub fn man_page(
    program: &str,
    version: &str,
    about: &str,
    verbs: &[Verb],
    tables: &[&[&'static OptionDecl]],
) -> String {
    let mut page = format!(
        ".TH {} 1 \"\" \"{} {}\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n.I command\n[\\fIargument\\fR ...] [\\-\\-\\fIoption\\fR[=\\fIvalue\\fR] ...]\n",
        escape(&program.to_uppercase()),
        escape(program),
        escape(version),
        escape(program),
        escape(about.trim_end_matches('.')),
        escape(program),
    );
    page.push_str(".SH COMMANDS\n");
    for verb in verbs {
        page.push_str(&format!(
            ".TP\n.BR {} \" {}\"\n{}\n",
            escape(verb.name),
            escape(verb.arguments),
            line(verb.help)
        ));
    }
    page.push_str(".SH OPTIONS\n");
    page.push_str(&line(
        "Options may stand anywhere. A value always stands behind an equals sign.",
    ));
    page.push('\n');
    for (group, members) in by_group(tables) {
        if group == crate::Group::Retired {
            continue;
        }
        page.push_str(&format!(".SS {}\n", escape(group.title())));
        for decl in members {
            page.push_str(&entry(decl));
        }
    }
    page
}

fn entry(decl: &OptionDecl) -> String {
    let mut text = format!(
        ".TP\n.B {}\n{}\n",
        escape(&format!("--{}{}", decl.name, placeholder(decl.kind))),
        line(decl.help)
    );
    if !decl.long.is_empty() {
        text.push_str(&format!("{}\n", line(decl.long)));
    }
    if let Some(status) = describe_status(decl) {
        text.push_str(&format!("{}\n", line(&status)));
    }
    let mut facts = format!("Kind: {}.", describe_kind(decl));
    if let Some(default) = decl.default.filter(|default| !default.is_empty()) {
        facts.push_str(&format!(" Default: {default}."));
    }
    if !decl.aliases.is_empty() {
        let aliases: Vec<String> = decl
            .aliases
            .iter()
            .map(|alias| format!("--{alias}"))
            .collect();
        facts.push_str(&format!(" Also: {}.", aliases.join(", ")));
    }
    text.push_str(&format!("{}\n", line(&facts)));
    text
}

/// A line of text, which must not start with a sign that roff takes for a request.
fn line(text: &str) -> String {
    let text = escape(text);
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '"' => escaped.push_str("\\(dq"),
            '…' => escaped.push_str("..."),
            c if c.is_ascii() => escaped.push(c),
            c => escaped.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::shared::examples::{VERBS, tables};
    use super::*;

    #[test]
    fn the_page_has_commands_and_options() {
        let page = man_page("larder", "0.1.0", "Backs up files.", VERBS, &tables());
        assert!(
            page.starts_with(
                ".TH LARDER 1 \"\" \"larder 0.1.0\"\n.SH NAME\nlarder \\- Backs up files\n"
            ),
            "{page}"
        );
        assert!(page.contains(".TP\n.BR backup \" URL source...\"\nCreates a new version.\n"));
        assert!(page.contains(".TP\n.B \\-\\-tool\\-part=<size>\nSets the length of a part.\nKind: size (mb without a unit). Default: 8mb.\n"));
        assert!(page.contains("It is \\(dqbetter\\(dq."));
    }

    #[test]
    fn no_text_is_taken_for_a_request() {
        assert_eq!(line(".x and 'y"), "\\&.x and 'y");
        let page = man_page("larder", "0.1.0", "x", VERBS, &[crate::engine::TABLE]);
        let requests = [".TH", ".SH", ".SS", ".TP", ".B ", ".BR", ".I "];
        assert!(page.is_ascii());
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(
                requests.iter().any(|request| line.starts_with(request)),
                "{line}"
            );
        }
    }
}
