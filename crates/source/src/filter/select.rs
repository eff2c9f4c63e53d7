//! Choosing entries of a stored version by the arguments of restore, list and find.

use crate::filter::{Action, Filter, FilterError, Places, Verdict};

/// What a user selected: patterns given as arguments, and filters given as options.
///
/// The first option filter that matches decides; an exclude that names a folder (it ends with the
/// separator) also matches all that is in it. Without a match, a path is selected when a pattern
/// matches; if no pattern was given, the default of the option filters holds.
#[derive(Clone, Debug)]
pub struct Selection {
    patterns: Filter,
    options: Filter,
    separator: u8,
}

impl Selection {
    /// Compiles arguments (rewritten by [`rewrite_argument`]) and option filters.
    /// `separator` is that of the paths in the version: `/`, or `\` for a backup from Windows.
    ///
    /// # Errors
    ///
    /// An unknown group or an expression that cannot be compiled.
    pub fn parse<S: AsRef<str>>(
        arguments: &[S],
        options: &[(Action, String)],
        case_sensitive: bool,
        separator: char,
    ) -> Result<Selection, FilterError> {
        let rewritten: Vec<_> = arguments
            .iter()
            .map(|argument| {
                (
                    Action::Include,
                    rewrite_argument(argument.as_ref(), separator),
                )
            })
            .collect();
        Ok(Selection {
            patterns: Filter::parse(&rewritten, case_sensitive)?,
            options: Filter::parse_with(options, case_sensitive, &Places::default())?,
            separator: if separator == '\\' { b'\\' } else { b'/' },
        })
    }

    /// Whether the entry with this stored path is selected.
    pub fn selects(&self, path: &[u8]) -> bool {
        let own = self.options.first_match(path);
        if let Some(rule) = self.excluded_folder(path)
            && own.is_none_or(|(_, own)| rule < own)
        {
            return false;
        }
        match own {
            Some((Action::Include, _)) => true,
            Some((Action::Exclude, _)) => false,
            None if !self.patterns.is_empty() => self.patterns.matches(path) == Verdict::Included,
            None => self.options.matches(path) == Verdict::Included,
        }
    }

    /// The first rule that excludes a folder the path lies in.
    fn excluded_folder(&self, path: &[u8]) -> Option<usize> {
        if !self.options.has_excludes() {
            return None;
        }
        let inner = path.strip_suffix(&[self.separator]).unwrap_or(path);
        let ends = inner
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == self.separator)
            .map(|(at, _)| at + 1);
        let rules = ends.filter_map(|end| match self.options.first_match(path.get(..end)?)? {
            (Action::Exclude, rule) => Some(rule),
            (Action::Include, _) => None,
        });
        rules.filter(|rule| self.names_folders(*rule)).min()
    }

    fn names_folders(&self, rule: usize) -> bool {
        let text = self.options.text(rule);
        let text = text.strip_suffix(']').unwrap_or(text);
        text.ends_with(char::from(self.separator)) || text.ends_with('}')
    }

    /// Whether nothing was asked for, which selects everything.
    pub fn is_everything(&self) -> bool {
        self.patterns.is_empty() && self.options.is_empty()
    }
}

impl Default for Selection {
    /// Everything.
    fn default() -> Self {
        Selection {
            patterns: Filter::empty(),
            options: Filter::empty(),
            separator: b'/',
        }
    }
}

/// Rewrites an argument of restore, list or find into a filter.
///
/// A name without separator and wildcard is looked for in every folder, `@name` likewise but
/// literally, a folder (with its separator at the end) stands for all that is in it. Everything
/// else is left alone.
pub fn rewrite_argument(argument: &str, separator: char) -> String {
    let bracketed = |open, close| argument.starts_with(open) && argument.ends_with(close);
    if argument.is_empty() || bracketed('[', ']') || bracketed('{', '}') {
        return argument.to_owned();
    }
    if let Some(name) = argument.strip_prefix('@') {
        if name.contains(separator) {
            return argument.to_owned();
        }
        let separator = regex::escape(&separator.to_string());
        return format!("[.*{separator}{}]", regex::escape(name));
    }
    if argument.contains(['*', '?']) {
        return argument.to_owned();
    }
    if argument.ends_with(separator) {
        return format!("{argument}*");
    }
    if argument.contains(separator) {
        return argument.to_owned();
    }
    format!("*{separator}{argument}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_rewritten() {
        let rows = [
            ("a.txt", "*/a.txt"),
            ("*.txt", "*.txt"),
            ("/R/docs/", "/R/docs/*"),
            ("/R/docs", "/R/docs"),
            ("docs/", "docs/*"),
            ("@a?b", r"[.*/a\?b]"),
            ("@/R/[x].txt", "@/R/[x].txt"),
            ("[.*]", "[.*]"),
            ("{Temp}", "{Temp}"),
            ("", ""),
        ];
        for (argument, filter) in rows {
            assert_eq!(rewrite_argument(argument, '/'), filter, "{argument}");
        }
        assert_eq!(rewrite_argument(r"C:\x\", '\\'), r"C:\x\*");
        assert_eq!(rewrite_argument("a.txt", '\\'), r"*\a.txt");
    }

    #[test]
    fn option_filters_decide_before_patterns() -> Result<(), FilterError> {
        let exclude = [(Action::Exclude, "*.jpg".to_owned())];
        let selection = Selection::parse(&["/R/"], &exclude, true, '/')?;
        assert!(selection.selects(b"/R/a"));
        assert!(!selection.selects(b"/R/a.jpg"));
        assert!(!selection.selects(b"/S/a"));
        let folder = [
            (Action::Include, "*.txt".to_owned()),
            (Action::Exclude, "/R/docs/".to_owned()),
        ];
        let selection = Selection::parse(&["*"], &folder, true, '/')?;
        for (path, expected) in [
            ("/R/docs/", false),
            ("/R/docs/a", false),
            ("/R/docs/a/b/", false),
            ("/R/docs/a/b.txt", true),
            ("/R/docs2", true),
        ] {
            assert_eq!(selection.selects(path.as_bytes()), expected, "{path}");
        }
        let selection = Selection::parse::<&str>(&[], &exclude, true, '/')?;
        assert!(selection.selects(b"/S/a"));
        assert!(!selection.is_everything());
        assert!(Selection::default().selects(b"/x") && Selection::default().is_everything());
        Ok(())
    }
}
