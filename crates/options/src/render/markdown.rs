//! The reference page.

use super::shared::{by_group, describe_kind, describe_status, wrap};
use crate::decl::OptionDecl;

/// The whole reference: the engine's tables by group, then one section for each provider with its title.
pub fn markdown_reference(
    tables: &[&[&'static OptionDecl]],
    providers: &[(&str, &[&'static OptionDecl])],
) -> String {
    let mut page = String::from(
        "# Options\n\n<!-- Generated from the declarations; do not edit. -->\n\n\
         Options have the form `--name=value`, yes or no options also `--name`. Letter case does not matter in names, and\n\
         `_` may stand for `-`. A size is a number with one of `b kb mb gb tb`, a time span a sum such as `1D12h` of the units\n\
         `s m h D W M Y`.\n",
    );
    for (group, members) in by_group(tables) {
        page.push_str(&section(group.title(), &members, 2));
    }
    if !providers.is_empty() {
        page.push_str("\n## Options of providers\n");
    }
    for (title, table) in providers {
        page.push_str(&section(title, table, 3));
    }
    page
}

/// One section with a heading and the options of one table, in the order of the table.
pub fn markdown_section(title: &str, table: &[&'static OptionDecl]) -> String {
    section(title, table, 2)
}

fn section(title: &str, members: &[&'static OptionDecl], level: usize) -> String {
    let mut text = format!("\n{} {}\n", "#".repeat(level), escape(title));
    for decl in members {
        text.push_str(&format!(
            "\n{} `--{}`\n\n",
            "#".repeat(level + 1),
            decl.name
        ));
        let status = describe_status(decl)
            .map(|status| format!(" **{}**", escape(&status)))
            .unwrap_or_default();
        let help = format!("{} {}{status}", escape(decl.help), escape(decl.long));
        text.push_str(&format!("{}\n\n", wrap(&help, 120, 0)));
        text.push_str(&format!("- Kind: {}\n", escape(&describe_kind(decl))));
        if let Some(default) = decl.default.filter(|default| !default.is_empty()) {
            text.push_str(&format!("- Default: `{default}`\n"));
        }
        if !decl.aliases.is_empty() {
            let aliases: Vec<String> = decl
                .aliases
                .iter()
                .map(|alias| format!("`--{alias}`"))
                .collect();
            text.push_str(&format!("- Also: {}\n", aliases.join(", ")));
        }
        if decl.advanced {
            text.push_str("- Advanced\n");
        }
    }
    text
}

/// Keeps signs of the text from being taken for markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '|') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::shared::examples::tables;
    use super::*;

    #[test]
    fn a_section_has_all_facts() {
        let [table] = tables();
        let text = markdown_section("The tool", &table[1..2]);
        assert_eq!(
            text,
            "\n## The tool\n\n### `--tool-mode`\n\nChooses \\<the\\> mode's \\[kind\\]: fast \\| safe. Safe is slower. It is \
             \"better\".\n\n- Kind: choice (Fast, Safe)\n- Default: `Safe`\n- Also: `--tool-kind`\n"
        );
    }

    #[test]
    fn the_reference_names_every_option_once() {
        let page = markdown_reference(&[crate::engine::TABLE], &[("Tool", tables()[0])]);
        for decl in crate::engine::TABLE.iter().chain(tables()[0]) {
            assert_eq!(
                page.matches(&format!("# `--{}`\n", decl.name)).count(),
                1,
                "{}",
                decl.name
            );
        }
        assert!(page.ends_with('\n') && !page.contains(" \n"));
    }
}
