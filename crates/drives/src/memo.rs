//! What is remembered of the files in a folder, within a bound: a folder may hold any number of files, those of other
//! programs and duplicates among them.

use std::collections::HashMap;

use crate::Node;

/// The files of some names. Of a name all files are known, or it is asked for when it is needed: to know some of several
/// files of one name would be to read an old one, or to delete one and leave the other.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    /// A name with too many files stands here without any.
    names: HashMap<String, Vec<Node>>,
    /// An estimate of what `names` holds, at most [`MOST_BYTES`].
    bytes: usize,
    /// The listing showed more than there is room for: a name that is not here may have been shown before.
    is_full: bool,
}

impl Memo {
    /// The files of a name; none for one that has to be asked for.
    pub(crate) fn get(&self, name: &str) -> Vec<Node> {
        self.names.get(name).cloned().unwrap_or_default()
    }

    /// Forgets everything: a listing begins.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds one file that a listing showed.
    pub(crate) fn note(&mut self, name: &str, node: Node) {
        let mut nodes = match self.names.get(name) {
            None if self.is_full => return,
            None => Vec::new(),
            Some(nodes) if nodes.is_empty() => return,
            Some(_) => self.take(name),
        };
        nodes.retain(|known| known.id != node.id);
        nodes.push(node);
        self.keep(name, nodes);
    }

    /// From now on `name` is these files, and no others.
    pub(crate) fn keep(&mut self, name: &str, mut nodes: Vec<Node>) {
        self.take(name);
        if nodes.is_empty() {
            return;
        }
        if nodes.len() > MOST_OF_A_NAME {
            nodes = Vec::new();
        }
        let bytes = cost(name, &nodes);
        if self.bytes + bytes > MOST_BYTES {
            self.is_full = true;
            return;
        }
        self.bytes += bytes;
        self.names.insert(name.to_owned(), nodes);
    }

    fn take(&mut self, name: &str) -> Vec<Node> {
        let Some(nodes) = self.names.remove(name) else {
            return Vec::new();
        };
        self.bytes -= cost(name, &nodes);
        nodes
    }
}

/// Bytes that a name and its files take, roughly.
fn cost(name: &str, nodes: &[Node]) -> usize {
    let texts = nodes.iter().map(|node| node.id.len() + node.hash.len());
    PLACE_BYTES + name.len() + size_of_val(nodes) + texts.sum::<usize>()
}

/// A place in the table.
const PLACE_BYTES: usize = 64;
/// Room for 60,000 volumes; the files of further names are asked for, which costs one request each.
pub(crate) const MOST_BYTES: usize = 16 << 20;
/// More files of one name are not remembered. Each that a listing shows is compared with all that are.
const MOST_OF_A_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> Node {
        Node {
            id: id.to_owned(),
            size: Some(1),
            hash: vec![0; 16],
            made: 0,
        }
    }

    fn ids(memo: &Memo, name: &str) -> Vec<String> {
        memo.get(name).into_iter().map(|node| node.id).collect()
    }

    #[test]
    fn a_folder_of_any_size_takes_a_bounded_memory() {
        let mut memo = Memo::default();
        memo.note("ours", node("1"));
        let long = "x".repeat(30_000);
        for number in 0..1_000 {
            memo.note(&format!("{number}{long}"), node(&number.to_string()));
        }
        assert!(memo.is_full && memo.bytes <= MOST_BYTES, "{}", memo.bytes);
        let held: usize = memo.names.iter().map(|(name, n)| cost(name, n)).sum();
        assert_eq!(held, memo.bytes);
        assert_eq!(ids(&memo, "ours"), ["1"]);
        memo.clear();
        assert_eq!(memo.bytes, 0);
        memo.note("later", node("2"));
        assert_eq!(ids(&memo, "later"), ["2"]);
    }

    #[test]
    fn of_several_files_of_a_name_all_are_known_or_none() {
        let mut memo = Memo::default();
        let large = "y".repeat(MOST_BYTES / 2);
        memo.note("double", node("1"));
        memo.note(&large, node("2"));
        // The second file of this name is not the only one.
        memo.note("lost", node(&large));
        memo.note("lost", node("3"));
        assert_eq!(ids(&memo, "lost"), [""; 0]);
        memo.note("double", node("4"));
        assert_eq!(ids(&memo, "double"), ["1", "4"]);
        memo.note("double", node(&large));
        assert_eq!(ids(&memo, "double"), [""; 0]);
        memo.note("double", node("5"));
        assert_eq!(ids(&memo, "double"), [""; 0]);
        // What was asked for is whole.
        memo.keep("lost", vec![node("3"), node("6")]);
        assert_eq!(ids(&memo, "lost"), ["3", "6"]);
    }

    #[test]
    fn many_files_of_one_name_are_not_remembered() {
        let mut memo = Memo::default();
        for number in 0..100_000 {
            memo.note("double", node(&number.to_string()));
        }
        assert_eq!(ids(&memo, "double"), [""; 0]);
        assert!(memo.bytes < 1_000, "{}", memo.bytes);
        memo.keep("double", vec![node("1")]);
        memo.note("double", node("1"));
        assert_eq!(ids(&memo, "double"), ["1"]);
        memo.keep("double", Vec::new());
        assert_eq!(memo.bytes, 0);
    }
}
