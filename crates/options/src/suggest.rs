//! "Did you mean": the option nearest to a misspelt name.

use crate::decl::{OptionDecl, Status, normalize_name};

/// Whether a word that was typed is near enough to `name` to mean it: how many letters would have to be inserted,
/// dropped, changed or swapped with their neighbour, at most `limit`.
pub fn near(typed: &str, name: &str, limit: usize) -> Option<usize> {
    Some(strsim::osa_distance(typed, name)).filter(|distance| *distance <= limit)
}

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
                Some(0)
            } else if name.len() >= BEGINNING && candidate.starts_with(&name) {
                Some(limit)
            } else {
                near(&name, candidate, limit)
            };
            if let Some(distance) = distance
                && best.is_none_or(|(least, _)| distance < least)
            {
                best = Some((distance, candidate));
            }
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// From so many letters on the beginning of a name means it.
const BEGINNING: usize = 8;

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
            ("skip-files-larger", Some("skip-files-larger-than")),
            ("volsize", None),
            ("x", None),
            ("", None),
            ("completely-different-thing", None),
        ] {
            assert_eq!(suggest(typed, &[TABLE]), meant, "{typed}");
        }
    }
}
