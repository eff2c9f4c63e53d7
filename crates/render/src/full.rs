//! `--full-result`: the whole report as `Name: value` lines.

use serde::Serialize;
use serde_json::Value;

/// A report as text: one fact in a line, reports inside it indented, lists in brackets.
///
/// # Errors
/// Those of the encoder, which come from no report of the engine.
pub fn full_result<T: Serialize>(report: &T) -> serde_json::Result<String> {
    let value = serde_json::to_value(report)?;
    let mut text = String::new();
    if let Value::Object(facts) = &value {
        for (name, value) in facts {
            add(name, value, 0, &mut text);
        }
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

fn add(name: &str, value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(facts) => {
            text.push_str(&format!("{indent}{name}:\n"));
            for (name, value) in facts {
                add(name, value, depth + 1, text);
            }
        }
        Value::Array(items) if items.is_empty() => {
            text.push_str(&format!("{indent}{name}: []\n"));
        }
        Value::Array(items) => {
            text.push_str(&format!("{indent}{name}: [\n"));
            for item in items {
                add_item(item, depth + 1, text);
            }
            text.push_str(&format!("{indent}]\n"));
        }
        plain => text.push_str(&format!("{indent}{name}: {}\n", word(plain))),
    }
}

fn add_item(item: &Value, depth: usize, text: &mut String) {
    match item {
        Value::Object(facts) => {
            for (name, value) in facts {
                add(name, value, depth, text);
            }
        }
        plain => text.push_str(&format!("{}{}\n", "  ".repeat(depth), word(plain))),
    }
}

/// One value; yes and no are `True` and `False` as in Duplicati.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_lists_and_inner_reports() {
        let report = serde_json::json!({
            "A": 1, "B": true, "C": null, "D": ["x", "y"], "E": [], "F": { "G": "g" },
        });
        assert_eq!(
            full_result(&report).expect("text"),
            "A: 1\nB: True\nC: \nD: [\n  x\n  y\n]\nE: []\nF:\n  G: g"
        );
    }
}
