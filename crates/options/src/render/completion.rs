//! Completion scripts for shells: commands, help topics, option names, and choices and paths behind the equals sign.
//! A script serves one program under all its names; the first one names the functions.
//!
//! Retired options and those without effect are not offered.

use super::shared::{Verb, offered};
use crate::decl::{Kind, OptionDecl};

/// What can be completed behind the equals sign.
enum Completes {
    Nothing,
    Words(&'static [&'static str]),
    Paths,
}

fn completes(decl: &OptionDecl) -> Completes {
    match decl.kind {
        Kind::Choice(names) | Kind::StrictChoice(names) | Kind::Flags(names) => {
            Completes::Words(names)
        }
        Kind::Path | Kind::PathList => Completes::Paths,
        Kind::Bool => Completes::Words(&["true", "false"]),
        _ => Completes::Nothing,
    }
}

/// The completion script for bash.
pub fn bash_completion(
    programs: &[&str],
    verbs: &[Verb],
    topics: &[&str],
    tables: &[&[&'static OptionDecl]],
) -> String {
    let program = programs.first().copied().unwrap_or_default();
    let function = format!(
        "_{}",
        program.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    );
    let options = offered(tables);
    let mut values = String::new();
    for decl in &options {
        let action = match completes(decl) {
            Completes::Words(words) => format!(
                "COMPREPLY=($(compgen -W \"{}\" -- \"$cur\"))",
                words.join(" ")
            ),
            Completes::Paths => {
                "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))".to_owned()
            }
            Completes::Nothing => continue,
        };
        values.push_str(&format!("            --{}) {action} ;;\n", decl.name));
    }
    let names: Vec<String> = options
        .iter()
        .map(|decl| {
            format!(
                "--{}{}",
                decl.name,
                if matches!(decl.kind, Kind::Bool) {
                    ""
                } else {
                    "="
                }
            )
        })
        .collect();
    let verbs: Vec<&str> = verbs.iter().map(|verb| verb.name).collect();
    format!(
        "# bash completion for {program}; generated, do not edit.\n\
         {function}() {{\n    \
             local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" option=\"\"\n    \
             COMPREPLY=()\n    \
             if [[ $cur == \"=\" ]]; then\n        \
                 option=\"${{COMP_WORDS[COMP_CWORD-1]}}\" cur=\"\"\n    \
             elif (( COMP_CWORD > 1 )) && [[ ${{COMP_WORDS[COMP_CWORD-1]}} == \"=\" ]]; then\n        \
                 option=\"${{COMP_WORDS[COMP_CWORD-2]}}\"\n    \
             fi\n    \
             if [[ -n $option ]]; then\n        \
                 case $option in\n{values}        \
                 esac\n    \
             elif [[ $cur == -* ]]; then\n        \
                 COMPREPLY=($(compgen -W \"{names}\" -- \"$cur\"))\n        \
                 [[ ${{COMPREPLY[0]-}} == *= ]] && compopt -o nospace\n    \
             elif (( COMP_CWORD == 1 )); then\n        \
                 COMPREPLY=($(compgen -W \"{verbs}\" -- \"$cur\"))\n    \
             elif [[ ${{COMP_WORDS[1]}} == \"help\" ]]; then\n        \
                 COMPREPLY=($(compgen -W \"{topics}\" -- \"$cur\"))\n    \
             elif [[ ${{COMP_WORDS[1]}} == \"completion\" ]]; then\n        \
                 COMPREPLY=($(compgen -W \"bash zsh fish\" -- \"$cur\"))\n    \
             else\n        \
                 compopt -o filenames\n        \
                 COMPREPLY=($(compgen -f -- \"$cur\"))\n    \
             fi\n\
         }}\n\
         complete -F {function} {programs}\n",
        programs = programs.join(" "),
        topics = topics.join(" "),
        names = names.join(" "),
        verbs = verbs.join(" "),
    )
}

/// The completion script for zsh.
pub fn zsh_completion(
    programs: &[&str],
    verbs: &[Verb],
    topics: &[&str],
    tables: &[&[&'static OptionDecl]],
) -> String {
    let mut script = format!(
        "#compdef {}\n# generated, do not edit.\n\
         if [[ ${{words[2]}} == help ]] && (( CURRENT == 3 )); then\n  compadd {}\n  return\nfi\n\
         _arguments -S \\\n",
        programs.join(" "),
        topics.join(" "),
    );
    for decl in offered(tables) {
        let action = match completes(decl) {
            Completes::Words(words) => format!("({})", words.join(" ")),
            Completes::Paths => "_files".to_owned(),
            Completes::Nothing => " ".to_owned(),
        };
        let help = zsh_escape(decl.help.trim_end_matches('.'));
        let repeat = if matches!(decl.kind, Kind::Filter) {
            "*"
        } else {
            ""
        };
        let value = match decl.kind {
            Kind::Bool => format!("=-[{help}]::{}:{action}", decl.kind.label()),
            _ => format!("=-[{help}]:{}:{action}", decl.kind.label()),
        };
        script.push_str(&format!("  '{repeat}--{}{value}' \\\n", decl.name));
    }
    let verbs: Vec<String> = verbs
        .iter()
        .map(|verb| {
            format!(
                "{}\\:\"{}\"",
                verb.name,
                zsh_escape_verb(verb.help.trim_end_matches('.'))
            )
        })
        .collect();
    script.push_str(&format!(
        "  '1:command:(({}))' \\\n  '*:file:_files'\n",
        verbs.join(" ")
    ));
    script
}

/// The completion script for fish.
pub fn fish_completion(
    programs: &[&str],
    verbs: &[Verb],
    topics: &[&str],
    tables: &[&[&'static OptionDecl]],
) -> String {
    let program = programs.first().copied().unwrap_or_default();
    let mut script = format!("# fish completion for {program}; generated, do not edit.\n");
    for other in programs.iter().skip(1) {
        script.push_str(&format!("complete -c {other} -w {program}\n"));
    }
    script.push_str(&format!(
        "complete -c {program} -n '__fish_seen_subcommand_from help' -f -a '{}'\n",
        topics.join(" ")
    ));
    for verb in verbs {
        script.push_str(&format!(
            "complete -c {program} -n __fish_use_subcommand -f -a {} -d '{}'\n",
            verb.name,
            fish_escape(verb.help.trim_end_matches('.'))
        ));
    }
    for decl in offered(tables) {
        let value = match completes(decl) {
            Completes::Words(_) if matches!(decl.kind, Kind::Bool) => String::new(),
            Completes::Words(words) => format!(" -x -a '{}'", fish_escape(&words.join(" "))),
            Completes::Paths => " -r -F".to_owned(),
            Completes::Nothing => " -x".to_owned(),
        };
        let help = fish_escape(decl.help.trim_end_matches('.'));
        script.push_str(&format!(
            "complete -c {program} -l {}{value} -d '{help}'\n",
            decl.name
        ));
    }
    script
}

/// For the explanation of an option, inside brackets inside single quotes.
fn zsh_escape(text: &str) -> String {
    zsh_quoted(text, &['\\', '[', ']', ':'])
}

/// For the explanation of a command, inside double quotes inside single quotes.
fn zsh_escape_verb(text: &str) -> String {
    zsh_quoted(text, &['\\', ':', '"', '`', '$'])
}

fn zsh_quoted(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' => escaped.push_str("'\\''"),
            c if special.contains(&c) => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For a text inside single quotes.
fn fish_escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

#[cfg(test)]
mod tests {
    use super::super::shared::examples::{VERBS, tables};
    use super::*;

    #[test]
    fn bash_offers_names_choices_and_paths() {
        let script = bash_completion(&["larder-cli", "other"], VERBS, &["sizes"], &tables());
        for part in [
            "_larder_cli() {\n    local cur=",
            "compgen -W \"backup restore\" --",
            "compgen -W \"--tool-folder= --tool-key= --tool-mode= --tool-part= --tool-quick\" --",
            "            --tool-mode) COMPREPLY=($(compgen -W \"Fast Safe\" -- \"$cur\")) ;;\n",
            "            --tool-folder) compopt -o filenames;",
            "[[ ${COMP_WORDS[1]} == \"help\" ]]; then\n        COMPREPLY=($(compgen -W \"sizes\" --",
            "complete -F _larder_cli larder-cli other\n",
        ] {
            assert!(script.contains(part), "{part}\n{script}");
        }
        assert!(!script.contains("tool-old"));
    }

    #[test]
    fn zsh_and_fish_escape_help_texts() {
        let script = zsh_completion(&["larder"], VERBS, &["sizes"], &tables());
        assert!(script.contains("'--tool-mode=-[Chooses <the> mode'\\''s \\[kind\\]\\: fast | safe]:choice:(Fast Safe)' \\\n"), "{script}");
        assert!(script.contains(
            "'1:command:((backup\\:\"Creates a new version\" restore\\:\"Brings files back\"))'"
        ));
        let script = fish_completion(&["larder", "other"], VERBS, &["sizes"], &tables());
        assert!(
            script.contains("complete -c larder -l tool-mode -x -a 'Fast Safe' -d 'Chooses <the> mode\\'s [kind]: fast | safe'\n"),
            "{script}"
        );
        assert!(script.contains("-l tool-quick -d 'Makes it quick'\n"));
    }
}
