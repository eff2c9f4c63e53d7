//! The language of `files.list?q=…` (Drive API guide, "Search query terms and operators"), as far as clients use it.

use super::Item;

/// A condition on an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Query {
    All(Vec<Query>),
    Any(Vec<Query>),
    Not(Box<Query>),
    In(String),
    Name(Comparison, String),
    Mime(Comparison, String),
    Trashed(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Is,
    IsNot,
    Contains,
}

impl Comparison {
    fn holds(self, found: &str, wanted: &str) -> bool {
        match self {
            Self::Is => found == wanted,
            Self::IsNot => found != wanted,
            // For names the service matches the beginnings of words only; that is enough here.
            Self::Contains => found.starts_with(wanted),
        }
    }
}

impl Query {
    /// Reads a query; `None` when it breaks the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            at: 0,
        };
        let query = parser.any()?;
        (parser.at == parser.tokens.len()).then_some(query)
    }

    /// True for an item that fulfils it; `parent` says which id an alias stands for.
    pub fn holds(&self, item: &Item, parent: &dyn Fn(&str) -> String) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(item, parent)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(item, parent)),
            Self::Not(part) => !part.holds(item, parent),
            Self::In(id) => item.parent == parent(id),
            Self::Name(comparison, name) => comparison.holds(&item.name, name),
            Self::Mime(comparison, mime) => comparison.holds(&item.mime, mime),
            Self::Trashed(wanted) => item.is_trashed == *wanted,
        }
    }

    /// The folders it asks for.
    pub fn folders(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::folders).collect(),
            Self::In(id) => vec![id],
            _ => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

/// Cuts a query into words, texts in quotes and signs.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => {}
            '\'' => {
                let mut value = String::new();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        '\\' => match chars.next()? {
                            escaped @ ('\'' | '\\') => value.push(escaped),
                            _ => return None,
                        },
                        other => value.push(other),
                    }
                }
                tokens.push(Token::Text(value));
            }
            '(' | ')' | '=' => tokens.push(Token::Sign(c.to_string())),
            '!' => {
                chars.next_if_eq(&'=')?;
                tokens.push(Token::Sign("!=".to_owned()));
            }
            c if c.is_ascii_alphabetic() => {
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(char::is_ascii_alphanumeric) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            _ => return None,
        }
    }
    Some(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn any(&mut self) -> Option<Query> {
        let mut parts = vec![self.all()?];
        while self.take_word("or") {
            parts.push(self.all()?);
        }
        Some(one_or(parts, Query::Any))
    }

    fn all(&mut self) -> Option<Query> {
        let mut parts = vec![self.part()?];
        while self.take_word("and") {
            parts.push(self.part()?);
        }
        Some(one_or(parts, Query::All))
    }

    fn part(&mut self) -> Option<Query> {
        if self.take_word("not") {
            return Some(Query::Not(Box::new(self.part()?)));
        }
        match self.next()? {
            Token::Sign(sign) if sign == "(" => {
                let inner = self.any()?;
                (self.next()? == Token::Sign(")".to_owned())).then_some(inner)
            }
            Token::Text(id) => {
                let rest = (self.next()?, self.next()?);
                let word = |text: &str| Token::Word(text.to_owned());
                (rest == (word("in"), word("parents"))).then_some(Query::In(id))
            }
            Token::Word(field) => self.comparison(&field),
            Token::Sign(_) => None,
        }
    }

    fn comparison(&mut self, field: &str) -> Option<Query> {
        let comparison = match self.next()? {
            Token::Sign(sign) if sign == "=" => Comparison::Is,
            Token::Sign(sign) if sign == "!=" => Comparison::IsNot,
            Token::Word(word) if word == "contains" => Comparison::Contains,
            _ => return None,
        };
        match (field, self.next()?) {
            ("name", Token::Text(name)) => Some(Query::Name(comparison, name)),
            ("mimeType", Token::Text(mime)) => Some(Query::Mime(comparison, mime)),
            ("trashed", Token::Word(word)) => {
                let value = match word.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return None,
                };
                match comparison {
                    Comparison::Is => Some(Query::Trashed(value)),
                    Comparison::IsNot => Some(Query::Trashed(!value)),
                    Comparison::Contains => None,
                }
            }
            _ => None,
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        Some(token)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_next = self.tokens.get(self.at) == Some(&Token::Word(word.to_owned()));
        self.at += usize::from(is_next);
        is_next
    }
}

fn one_or(mut parts: Vec<Query>, many: fn(Vec<Query>) -> Query) -> Query {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => many(parts.into_iter().chain(last).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send_and_refuses_the_rest() {
        for good in [
            "'root' in parents and trashed = false",
            "trashed=false and ('a' in parents or 'b' in parents) and name='it\\'s \\\\ here'",
            "not mimeType='x/y' and name contains 'dup'",
            "mimeType != 'application/vnd.google-apps.folder'",
        ] {
            assert!(Query::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "name='it's'",
            "name=\"a\"",
            "'a' in owners",
            "trashed=maybe",
            "name='a' and",
            "name='a' trashed=false",
            "(name='a'",
            "title='a'",
            "name='\\x'",
        ] {
            assert_eq!(Query::parse(bad), None, "{bad}");
        }
    }
}
