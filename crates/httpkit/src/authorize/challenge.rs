//! What a server asks for in `WWW-Authenticate` (RFC 9110, section 11.6.1).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One offered way of signing in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The scheme in lower case.
    pub scheme: String,
    /// The parameters, names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// One parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All challenges of a reply; a header may hold several, and a reply several headers.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .flat_map(parse)
        .collect()
}

/// Reads one header. What makes no sense is passed over: the worst that follows is that a challenge is not understood.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return found;
        }
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let value = after.trim_start().strip_prefix('=');
        match value {
            // A word followed by one equals sign is a parameter; padding of a token is passed over with it.
            Some(value) if !word.is_empty() => {
                let (value, after) = parameter(value.trim_start());
                if let Some(challenge) = found.last_mut() {
                    challenge
                        .parameters
                        .push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            Some(value) => rest = value,
            None => {
                found.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: Vec::new(),
                });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn several_challenges_in_one_header() {
        let text = r#"Digest realm="a, \"b\"", nonce="n=1", qop="auth,auth-int", stale=FALSE, Basic realm="x", Negotiate,NTLM abc=="#;
        let found = parse(text);
        let schemes: Vec<_> = found.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(
            schemes.get(..3),
            Some(&["digest", "basic", "negotiate"][..])
        );
        let digest = &found[0];
        assert_eq!(digest.get("realm"), Some("a, \"b\""));
        assert_eq!(digest.get("nonce"), Some("n=1"));
        assert_eq!(digest.get("qop"), Some("auth,auth-int"));
        assert_eq!(digest.get("stale"), Some("FALSE"));
        assert_eq!(found[1].get("realm"), Some("x"));
    }

    /// A challenge with parameters whose values need quotes, and one way to write it.
    fn challenge() -> impl Strategy<Value = (Challenge, String)> {
        let parameter = ("[a-z]{1,8}", "[ -~\u{e4}]{0,12}");
        let parameters = prop::collection::vec(parameter, 1..4);
        ("[A-Z][a-z]{1,8}", parameters).prop_map(|(scheme, parameters)| {
            let quoted = |(name, value): &(String, String)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                format!("{name}=\"{value}\"")
            };
            let all: Vec<String> = parameters.iter().map(quoted).collect();
            let text = format!("{scheme} {}", all.join(", "));
            let scheme = scheme.to_ascii_lowercase();
            (Challenge { scheme, parameters }, text)
        })
    }

    proptest! {
        #[test]
        fn challenges_are_read_as_they_were_written(offered in prop::collection::vec(challenge(), 0..4)) {
            let (expected, texts): (Vec<_>, Vec<_>) = offered.into_iter().unzip();
            prop_assert_eq!(parse(&texts.join(", ")), expected);
        }

        #[test]
        fn any_text_ends(text in "\\PC{0,40}|[a-c=\", \\\\]{0,40}") {
            for challenge in parse(&text) {
                prop_assert!(!challenge.scheme.is_empty());
                prop_assert!(!challenge.scheme.contains([' ', ',', '=']));
            }
        }
    }
}
