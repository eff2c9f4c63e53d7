//! Options that Duplicati has and this version does not: those of destinations and programs that are not built. Such a
//! name in a script is no slip, however near it is to another one.
//!
//! `elsewhere.txt` names who has them and then what they are called: from Duplicati's sources of August 2026 (revision
//! 66cfb242d), with the destinations that it has dropped since and the names of its first version.

use crate::decl::normalize_name;

/// Whether Duplicati has an option of this name, though no table here may have it.
pub fn has(name: &str) -> bool {
    let name = normalize_name(name);
    names().any(|known| known == name)
}

fn names() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("elsewhere.txt").lines();
    lines
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, names)| names.split(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_written_once_and_in_no_table() {
        let lines = include_str!("elsewhere.txt").lines();
        assert!(lines.clone().all(|line| line.contains(": ")));
        let mut seen: Vec<&str> = Vec::new();
        for name in names() {
            assert!(!seen.contains(&name), "{name} is there twice");
            assert_eq!(normalize_name(name), name);
            seen.push(name);
        }
        assert!(has("B2_Lock_Mode") && !has("s3-lock-mode") && !has(""));
        assert!(seen.len() > 150, "{} names", seen.len());
    }
}
