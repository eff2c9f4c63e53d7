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
    /// Each pattern by itself with its text, to tell which of them match nothing.
    single: Vec<(String, Filter)>,
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
        let include = |text: String| (Action::Include, text);
        let mut rewritten = Vec::with_capacity(arguments.len());
        let mut single = Vec::with_capacity(arguments.len());
        for argument in arguments.iter().map(AsRef::as_ref) {
            let mut own = vec![include(rewrite_argument(argument, separator))];
            own.extend(as_folder(argument, separator).map(include));
            single.push((argument.to_owned(), Filter::parse(&own, case_sensitive)?));
            rewritten.extend(own);
        }
        Ok(Selection {
            patterns: Filter::parse(&rewritten, case_sensitive)?,
            single,
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

    /// Whether a pattern or an include rule selects the entry: what no rule speaks of is not, also when there are rules
    /// that exclude others.
    pub fn names(&self, path: &[u8]) -> bool {
        let is_included = matches!(self.options.first_match(path), Some((Action::Include, _)));
        (is_included || !self.patterns.is_empty()) && self.selects(path)
    }

    /// The patterns that were given as arguments.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.single.iter().map(|(text, _)| text.as_str())
    }

    /// Whether the pattern of this number matches the path by itself, whatever the other rules say of it.
    pub fn pattern_matches(&self, number: usize, path: &[u8]) -> bool {
        let single = self.single.get(number);
        single.is_some_and(|(_, filter)| filter.matches(path) == Verdict::Included)
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
            single: Vec::new(),
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

/// Rewrites an argument of a search into a filter: a bare word is looked for anywhere in the name of an entry, a piece of a
/// path anywhere in the path. Everything else is a filter already.
pub fn search_argument(argument: &str, separator: char) -> String {
    if argument.is_empty() || argument.starts_with(['@', '[', '{']) || argument.contains(['*', '?'])
    {
        return argument.to_owned();
    }
    if argument.contains(separator) {
        return format!("*{argument}*");
    }
    let separator = regex::escape(&separator.to_string());
    let word = regex::escape(argument);
    format!("[(?:.*{separator})?[^{separator}]*{word}[^{separator}]*{separator}?]")
}

/// A path without wildcards may be that of a folder, written without its separator: then what is in it is meant.
fn as_folder(argument: &str, separator: char) -> Option<String> {
    let is_plain_path = argument.contains(separator)
        && !argument.ends_with(separator)
        && !argument.starts_with(['@', '[', '{'])
        && !argument.contains(['*', '?']);
    is_plain_path.then(|| format!("{argument}{separator}*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_search_are_looked_for_in_names() {
        let rows: [(&str, char, &str, bool); 14] = [
            ("one", '/', "/R/One.txt", true),
            ("one", '/', "/R/stone", true),
            ("one", '/', "/R/stones/", true),
            ("one", '/', "/R/stones/x", false),
            ("one", '/', "/R/on/e", false),
            ("a.b", '/', "/R/a.b", true),
            ("a.b", '/', "/R/axb", false),
            ("s/x", '/', "/R/stones/xyz", true),
            ("*.TXT", '/', "/R/one.txt", true),
            ("@/R/a?b", '/', "/R/a?b", true),
            ("@/R/a?b", '/', "/R/axb", false),
            ("one", '\\', r"C:\R\Stone.txt", true),
            ("one", '\\', r"C:\stones\R", false),
            ("b-#&~", '/', "/R/b-#&~c", true),
        ];
        for (argument, separator, path, expected) in rows {
            let pattern = search_argument(argument, separator);
            let selection = Selection::parse(&[&pattern], &[], false, separator).expect("a filter");
            assert_eq!(
                selection.selects(path.as_bytes()),
                expected,
                "{argument} {path}"
            );
        }
    }

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
    fn the_name_of_a_folder_stands_for_what_is_in_it() -> Result<(), FilterError> {
        let arguments = ["/R/docs", "note", "/R/a*"];
        let selection = Selection::parse(&arguments, &[], true, '/')?;
        for (path, expected) in [
            ("/R/docs", true),
            ("/R/docs/", true),
            ("/R/docs/sub/x", true),
            ("/R/docs2", false),
            ("/R/docs2/x", false),
            ("/R/note", true),
            ("/R/note/x", false),
        ] {
            assert_eq!(selection.selects(path.as_bytes()), expected, "{path}");
        }
        assert!(selection.pattern_matches(0, b"/R/docs/x"));
        assert!(!selection.pattern_matches(1, b"/R/docs/x"));
        assert!(!selection.pattern_matches(3, b"/R/docs/x"));
        assert_eq!(selection.patterns().collect::<Vec<_>>(), arguments);
        Ok(())
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
