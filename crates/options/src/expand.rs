//! Environment variables in filters, sources and the restore path.

/// Replaces `%NAME%`, and except on Windows `$NAME` and `${NAME}`, by what `lookup` knows about the name.
///
/// What it does not know stays as typed.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        match variable(from).and_then(|(name, len)| lookup(name).zip(from.get(len..))) {
            Some((value, tail)) => {
                expanded.push_str(&value);
                rest = tail;
            }
            None => {
                // Both signs are one byte long.
                let (sign, tail) = from.split_at(1);
                expanded.push_str(sign);
                rest = tail;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

/// The name at the start of `text`, which begins with `%` or `$`, and the length of the whole form in bytes.
fn variable(text: &str) -> Option<(&str, usize)> {
    let name_end = |tail: &str| {
        tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(tail.len())
    };
    if let Some(tail) = text.strip_prefix('%') {
        let end = tail.find('%')?;
        return tail
            .get(..end)
            .filter(|name| !name.is_empty())
            .map(|name| (name, end + 2));
    }
    if cfg!(windows) {
        return None;
    }
    if let Some(tail) = text.strip_prefix("${") {
        let end = tail.find('}')?;
        return tail
            .get(..end)
            .filter(|name| !name.is_empty())
            .map(|name| (name, end + 3));
    }
    let tail = text.strip_prefix('$')?;
    let end = name_end(tail);
    tail.get(..end)
        .filter(|name| !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()))
        .map(|name| (name, end + 1))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_replaced_and_unknown_ones_stay() {
        let lookup = |name: &str| match name {
            "HOME" => Some("/home/ann".to_owned()),
            "A_1" => Some("%HOME%".to_owned()),
            _ => None,
        };
        for (text, expanded) in [
            ("%HOME%/x", "/home/ann/x"),
            ("$HOME/x", "/home/ann/x"),
            ("${HOME}x", "/home/annx"),
            ("$HOMEx/$A_1", "$HOMEx/%HOME%"),
            ("%NONE%/%HOME%", "%NONE%//home/ann"),
            ("100% of $5", "100% of $5"),
            ("%%", "%%"),
            ("${HOME", "${HOME"),
            ("a$", "a$"),
            ("é%HOME%é", "é/home/anné"),
        ] {
            assert_eq!(expand(text, lookup), expanded, "{text}");
        }
    }
}
