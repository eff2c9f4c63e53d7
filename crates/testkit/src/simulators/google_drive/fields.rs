//! Partial replies (Drive API guide, "Return specific fields"): a client gets what it asked for and nothing else.

use serde_json::{Map, Value};

/// A parsed `fields` parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Option<Fields>)>);

impl Fields {
    /// Reads `a,b(c,d/e)`; `None` when it breaks the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let fields = Self::list(&mut rest)?;
        rest.is_empty().then_some(fields)
    }

    fn list(rest: &mut &str) -> Option<Self> {
        let mut fields = Vec::new();
        loop {
            let end = rest.find([',', '(', ')', '/']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if name.is_empty() {
                return None;
            }
            *rest = after;
            let inner = if let Some(after) = rest.strip_prefix('(') {
                *rest = after;
                let inner = Self::list(rest)?;
                *rest = rest.strip_prefix(')')?;
                Some(inner)
            } else if let Some(after) = rest.strip_prefix('/') {
                *rest = after;
                // A path has one field at each step.
                let end = rest.find([',', ')', '(']).unwrap_or(rest.len());
                let (mut path, after) = rest.split_at(end);
                *rest = after;
                Some(Self::list(&mut path)?)
            } else {
                None
            };
            fields.push((name.trim().to_owned(), inner));
            match rest.strip_prefix(',') {
                Some(after) => *rest = after,
                None => return Some(Self(fields)),
            }
        }
    }

    /// Keeps of `value` what was asked for.
    pub fn pick(&self, value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.pick(item)).collect(),
            Value::Object(mut object) => {
                if self.0.iter().any(|(name, _)| name == "*") {
                    return Value::Object(object);
                }
                let mut picked = Map::new();
                for (name, inner) in &self.0 {
                    if let Some(found) = object.remove(name) {
                        let found = match inner {
                            Some(inner) => inner.pick(found),
                            None => found,
                        };
                        picked.insert(name.clone(), found);
                    }
                }
                Value::Object(picked)
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn picks_what_was_asked_for() {
        let value = json!({"a": 1, "files": [{"id": "x", "name": "n", "size": "1"}], "q": {"r": 1, "s": 2}});
        let pick = |text| Fields::parse(text).map(|fields| fields.pick(value.clone()));
        assert_eq!(
            pick("files(id,size),q/r"),
            Some(json!({"files": [{"id": "x", "size": "1"}], "q": {"r": 1}}))
        );
        assert_eq!(pick("*"), Some(value.clone()));
        for bad in ["", "a(", "a(b", "a)", ",a"] {
            assert_eq!(pick(bad), None, "{bad}");
        }
    }
}
