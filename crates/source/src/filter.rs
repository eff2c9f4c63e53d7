//! Include and exclude rules: an ordered list where the first match decides.
//!
//! The rules are those of docs/guide/filters.md: a filter is a literal path, a glob, a regular
//! expression in brackets, a group in braces, or a literal after `@`; the whole path must match;
//! without a match a path is in, except when the list has only includes.

mod expression;
mod glob;
mod groups;
mod select;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

pub use groups::{Places, System, group_names, group_patterns};
pub use select::{Selection, rewrite_argument, search_argument};

use expression::Expression;
use glob::Glob;

/// What a filter does with the paths it matches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Matching paths are taken.
    Include,
    /// Matching paths are left out.
    Exclude,
}

/// What a filter list says about one path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The path is taken.
    Included,
    /// The path is left out.
    Excluded,
}

/// The answer of a filter list with its reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evaluation {
    /// The answer.
    pub verdict: Verdict,
    /// The rule that decided, as an index into the list; `None` when no rule matched.
    pub rule: Option<usize>,
    /// A rule before that one whose expression needed too many steps on this path and was passed
    /// over; the answer may therefore be wrong.
    pub gave_up: Option<usize>,
}

/// A filter that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// A group name that does not exist.
    #[error("filter {text}: there is no filter group named \"{name}\"")]
    UnknownGroup {
        /// The filter as it was given.
        text: String,
        /// The name that is not known.
        name: String,
    },
    /// A regular expression with an error or with a construct that is not supported.
    #[error("filter {text}: {detail}")]
    BadExpression {
        /// The filter as it was given.
        text: String,
        /// What is wrong, with the place.
        detail: String,
    },
}

/// A compiled list of filters; cloning is cheap.
#[derive(Clone, Debug)]
pub struct Filter {
    list: Arc<List>,
}

#[derive(Debug)]
struct List {
    rules: Vec<Rule>,
    case_sensitive: bool,
    index: Index,
    only_includes: bool,
    /// How many of the rules were put before those that were given.
    prepended: usize,
}

#[derive(Clone, Debug)]
struct Rule {
    action: Action,
    text: String,
    patterns: Arc<[Pattern]>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Literal(Vec<u8>),
    Glob(Glob),
    Expression(Expression),
}

/// The patterns of all rules, arranged so that few of them are looked at for one path. Literals and
/// globs of the form `*text` are found by hash; the rest is tried in order of the rules.
#[derive(Debug, Default)]
struct Index {
    literals: HashMap<Vec<u8>, usize>,
    suffixes: HashMap<Vec<u8>, usize>,
    suffix_lens: Vec<usize>,
    scanned: Vec<(usize, Pattern)>,
}

impl Filter {
    /// Compiles a list. Groups are those of this system with no knowledge of its folders; use
    /// [`Filter::parse_with`] to tell where they are.
    ///
    /// A filter without text matches nothing and does not count as a rule.
    ///
    /// # Errors
    ///
    /// An unknown group or an expression that cannot be compiled.
    pub fn parse(list: &[(Action, String)], case_sensitive: bool) -> Result<Filter, FilterError> {
        Filter::parse_with(list, case_sensitive, &Places::default())
    }

    /// Compiles a list with the folders that the groups refer to.
    ///
    /// # Errors
    ///
    /// As for [`Filter::parse`].
    pub fn parse_with(
        list: &[(Action, String)],
        case_sensitive: bool,
        places: &Places,
    ) -> Result<Filter, FilterError> {
        let mut rules = Vec::with_capacity(list.len());
        for (action, text) in list {
            let patterns = compile(text, case_sensitive, places)?;
            rules.push(Rule {
                action: *action,
                text: text.clone(),
                patterns: patterns.into(),
            });
        }
        Ok(Filter::of_rules(rules, case_sensitive, 0))
    }

    /// The list without rules: every path is in.
    pub fn empty() -> Filter {
        Filter::of_rules(Vec::new(), true, 0)
    }

    /// A list with rules for exactly these paths put before the rules of this one. Their indices
    /// come first; the indices of the present rules grow by as many.
    pub fn prepend(&self, action: Action, paths: &[Vec<u8>]) -> Filter {
        let case_sensitive = self.list.case_sensitive;
        let literal = |path: &Vec<u8>| Rule {
            action,
            text: format!("@{}", String::from_utf8_lossy(path)),
            patterns: [Pattern::Literal(folded(path, case_sensitive).into_owned())].into(),
        };
        let rules = paths
            .iter()
            .map(literal)
            .chain(self.list.rules.iter().cloned())
            .collect();
        Filter::of_rules(rules, case_sensitive, self.list.prepended + paths.len())
    }

    /// Actions and texts of the rules as they were given, without those that were put before them.
    pub fn given(&self) -> impl Iterator<Item = (Action, &str)> {
        let given = self.list.rules.iter().skip(self.list.prepended);
        given.map(|rule| (rule.action, rule.text.as_str()))
    }

    /// This list followed by the rules of another.
    pub fn append(&self, other: &Filter) -> Filter {
        let rules = self
            .list
            .rules
            .iter()
            .chain(&other.list.rules)
            .cloned()
            .collect();
        Filter::of_rules(rules, self.list.case_sensitive, self.list.prepended)
    }

    fn of_rules(rules: Vec<Rule>, case_sensitive: bool, prepended: usize) -> Filter {
        let mut counted = rules.iter().filter(|rule| !rule.text.is_empty()).peekable();
        let only_includes =
            counted.peek().is_some() && counted.all(|rule| rule.action == Action::Include);
        let index = Index::of(&rules);
        Filter {
            list: Arc::new(List {
                rules,
                case_sensitive,
                index,
                only_includes,
                prepended,
            }),
        }
    }

    /// Whether the path is taken. Folders must be given with their separator at the end.
    pub fn matches(&self, path: &[u8]) -> Verdict {
        self.evaluate(path).verdict
    }

    /// Whether the path is taken, and why.
    pub fn evaluate(&self, path: &[u8]) -> Evaluation {
        let (rule, gave_up) = self.find(path);
        let action = rule
            .and_then(|rule| self.list.rules.get(rule))
            .map(|rule| rule.action);
        let verdict = match action {
            Some(Action::Include) => Verdict::Included,
            Some(Action::Exclude) => Verdict::Excluded,
            None if self.list.only_includes => Verdict::Excluded,
            None => Verdict::Included,
        };
        Evaluation {
            verdict,
            rule,
            gave_up,
        }
    }

    /// The first rule that matches the path.
    pub fn first_match(&self, path: &[u8]) -> Option<(Action, usize)> {
        let rule = self.find(path).0?;
        Some((self.list.rules.get(rule)?.action, rule))
    }

    fn find(&self, path: &[u8]) -> (Option<usize>, Option<usize>) {
        if self.list.rules.is_empty() {
            return (None, None);
        }
        self.list
            .index
            .find(path, &folded(path, self.list.case_sensitive))
    }

    /// Whether the list has no rules.
    pub fn is_empty(&self) -> bool {
        self.list.rules.iter().all(|rule| rule.text.is_empty())
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.list.rules.len()
    }

    /// Whether the list has rules and all of them are includes, so that a path without a match is
    /// left out and folders on the way to a match are entered without being recorded.
    pub fn only_includes(&self) -> bool {
        self.list.only_includes
    }

    /// Whether an exclude is among the rules.
    pub fn has_excludes(&self) -> bool {
        self.list
            .rules
            .iter()
            .any(|rule| rule.action == Action::Exclude)
    }

    /// The text of a rule as it was given; empty for an index out of range.
    pub fn text(&self, index: usize) -> &str {
        self.list
            .rules
            .get(index)
            .map_or("", |rule| rule.text.as_str())
    }

    /// The action of a rule.
    pub fn action(&self, index: usize) -> Option<Action> {
        self.list.rules.get(index).map(|rule| rule.action)
    }

    /// The first rule that excludes everything (`*` or `[.*]`) while no include stands before it.
    /// Such a list stores nothing below the sources, which deserves a warning.
    pub fn excludes_everything(&self) -> Option<usize> {
        let first = self
            .list
            .rules
            .iter()
            .position(|rule| !rule.text.is_empty())?;
        let mut rules = self.list.rules.iter().enumerate().skip(first);
        rules
            .find_map(|(at, rule)| match (rule.action, rule.text.as_str()) {
                (Action::Include, _) => Some(None),
                (Action::Exclude, "*" | "[.*]") => Some(Some(at)),
                (Action::Exclude, _) => None,
            })
            .flatten()
    }
}

impl Default for Filter {
    fn default() -> Self {
        Filter::empty()
    }
}

impl Index {
    fn of(rules: &[Rule]) -> Index {
        let mut index = Index::default();
        for (at, rule) in rules.iter().enumerate() {
            for pattern in rule.patterns.iter() {
                match pattern {
                    Pattern::Literal(text) => {
                        index.literals.entry(text.clone()).or_insert(at);
                    }
                    Pattern::Glob(glob) => match glob.suffix() {
                        Some(suffix) => {
                            index.suffixes.entry(suffix).or_insert(at);
                        }
                        None => index.scanned.push((at, pattern.clone())),
                    },
                    Pattern::Expression(_) => index.scanned.push((at, pattern.clone())),
                }
            }
        }
        index.suffix_lens = index.suffixes.keys().map(Vec::len).collect();
        index.suffix_lens.sort_unstable();
        index.suffix_lens.dedup();
        index
    }

    /// The lowest rule that matches, and a rule before it that gave up.
    fn find(&self, path: &[u8], folded: &[u8]) -> (Option<usize>, Option<usize>) {
        let mut best = self.literals.get(folded).copied();
        for len in &self.suffix_lens {
            let Some(start) = folded.len().checked_sub(*len) else {
                break;
            };
            if let Some(rule) = folded
                .get(start..)
                .and_then(|suffix| self.suffixes.get(suffix))
            {
                best = Some(best.map_or(*rule, |known| known.min(*rule)));
            }
        }
        let mut gave_up = None;
        let mut text: Option<Cow<'_, str>> = None;
        for (rule, pattern) in &self.scanned {
            if best.is_some_and(|best| best <= *rule) {
                break;
            }
            let matched = match pattern {
                Pattern::Glob(glob) => glob.matches(folded),
                Pattern::Expression(expression) => {
                    let text = text.get_or_insert_with(|| String::from_utf8_lossy(path));
                    expression.matches(text).unwrap_or_else(|| {
                        gave_up = gave_up.or(Some(*rule));
                        false
                    })
                }
                Pattern::Literal(literal) => literal == folded,
            };
            if matched {
                return (Some(*rule), gave_up);
            }
        }
        (best, gave_up)
    }
}

/// The patterns that one filter text stands for.
fn compile(text: &str, case_sensitive: bool, places: &Places) -> Result<Vec<Pattern>, FilterError> {
    let literal =
        |text: &str| Pattern::Literal(folded(text.as_bytes(), case_sensitive).into_owned());
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(path) = text.strip_prefix('@') {
        return Ok(vec![literal(path)]);
    }
    if let Some(expression) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let compiled = Expression::compile(expression, case_sensitive).map_err(|detail| {
            FilterError::BadExpression {
                text: text.to_owned(),
                detail,
            }
        })?;
        return Ok(vec![Pattern::Expression(compiled)]);
    }
    let plain = |text: &str| {
        if text.contains(['*', '?']) {
            Pattern::Glob(Glob::compile(&folded(text.as_bytes(), case_sensitive)))
        } else {
            literal(text)
        }
    };
    if let Some(names) = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        let mut patterns = Vec::new();
        for name in names
            .split([',', ';', ':', '|'])
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let group = group_patterns(name, System::CURRENT, places).ok_or_else(|| {
                FilterError::UnknownGroup {
                    text: text.to_owned(),
                    name: name.to_owned(),
                }
            })?;
            patterns.extend(group.iter().map(|pattern| plain(pattern)));
        }
        return Ok(patterns);
    }
    Ok(vec![plain(text)])
}

/// The form of a path in which case does not matter, or the path itself when it does.
fn folded(path: &[u8], case_sensitive: bool) -> Cow<'_, [u8]> {
    if case_sensitive {
        return Cow::Borrowed(path);
    }
    if path.is_ascii() {
        return Cow::Owned(path.to_ascii_lowercase());
    }
    let mut out = Vec::with_capacity(path.len());
    let mut utf8 = [0; 4];
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars().flat_map(char::to_lowercase) {
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
