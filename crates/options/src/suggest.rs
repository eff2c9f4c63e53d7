//! "Did you mean": the option nearest to a misspelt name.

use crate::decl::{OptionDecl, Status, normalize_name};

/// The name or alias of the tables that is nearest to `name`, when it is near enough to be meant.
pub fn suggest(name: &str, tables: &[&[&'static OptionDecl]]) -> Option<&'static str> {
    let name = normalize_name(name);
    if name.len() > 80 {
        return None;
    }
    let limit = (name.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, &'static str)> = None;
    for decl in tables.iter().flat_map(|table| table.iter()) {
        if matches!(decl.status, Status::Retired) {
            continue;
        }
        for candidate in std::iter::once(&decl.name).chain(decl.aliases) {
            // A forgotten hyphen, or one too many, is the likeliest slip.
            let distance = if name.replace('-', "") == candidate.replace('-', "") {
                0
            } else {
                distance(&name, candidate)
            };
            if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, candidate));
            }
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Counts the letters to insert, drop, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &ca) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for (j, &cb) in b.iter().enumerate() {
            let mut cost = (last[j + 1] + 1)
                .min(row[j] + 1)
                .min(last[j] + usize::from(ca != cb));
            if i > 0 && j > 0 && ca == b[j - 1] && cb == a[i - 1] {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TABLE;

    #[test]
    fn near_names_are_found() {
        for (typed, meant) in [
            ("block-size", Some("blocksize")),
            ("no-encrpytion", Some("no-encryption")),
            ("Keep_Verson", Some("keep-versions")),
            ("passprase", Some("passphrase")),
            ("dry-runn", Some("dry-run")),
            ("volsize", None),
            ("x", None),
            ("", None),
            ("completely-different-thing", None),
        ] {
            assert_eq!(suggest(typed, &[TABLE]), meant, "{typed}");
        }
    }
}
