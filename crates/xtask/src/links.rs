//! Looks for links, paths and commands in the documents that lead nowhere.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use crate::findings::Findings;
use crate::{markdown, metadata, tree};

/// Folders of the workspace: a word in code that begins with one of them is taken for a path.
const ROOTS: &[&str] = &[
    "crates/",
    "destinations/",
    "docs/",
    "scripts/",
    "fixtures/",
    "fuzz/",
    "changelog/",
    ".ci/",
    ".cargo/",
];

/// Programs that documents may call as `cargo <word>`; others must be in this list to be noticed when misspelt.
const CARGO_WORDS: &[&str] = &[
    "build", "check", "clippy", "doc", "fmt", "install", "metadata", "run", "test", "tree",
];

/// What the documents may refer to.
struct Known {
    tasks: Vec<&'static str>,
    packages: BTreeSet<String>,
    /// Names of the program's options, without hyphens.
    options: BTreeSet<String>,
}

/// The generated page that names every option in a heading.
const OPTIONS: &str = "docs/reference/options.md";
/// Folders whose pages name options of other programs, or are generated from the options themselves.
const FOREIGN_OPTIONS: &[&str] = &["docs/decisions", "docs/format", "docs/reference", "fuzz"];
/// Pages of the format that describe no file.
const WITHOUT_SOURCE: &[&str] = &["README.md", "glossary.md"];

/// Runs the check on the workspace at `root`.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let known = Known {
        tasks: crate::TASKS.iter().map(|(name, _)| *name).collect(),
        packages: metadata::load(root)?
            .into_iter()
            .map(|package| package.name)
            .collect(),
        options: options_in(&tree::read(root, Path::new(OPTIONS))?),
    };
    let documents = tree::files(root, "md")?;
    for document in &documents {
        let text = tree::read(root, document)?;
        check_document(root, document, &text, &known, findings)?;
        if lacks_source(document, &text) {
            findings.error(format!(
                "{}: no line `Source: …` says where its facts come from",
                document.display()
            ));
        }
    }
    let mut sources = 0;
    for source in tree::files(root, "rs")? {
        let text = tree::read(root, &source)?;
        sources += 1;
        for (line, path) in pages_named(&text) {
            if !root.join(path).is_file() {
                findings.error(format!("{}:{line}: no such page: {path}", source.display()));
            }
        }
    }
    findings.note(format!(
        "links: {} documents, {sources} source files",
        documents.len()
    ));
    Ok(())
}

fn check_document(
    root: &Path,
    document: &Path,
    text: &str,
    known: &Known,
    findings: &mut Findings,
) -> Result<()> {
    for (line, target) in markdown::links(text) {
        if let Some(problem) = broken_link(root, document, text, &target)? {
            findings.error(format!("{}:{line}: {problem}", document.display()));
        }
    }
    for (line, code) in markdown::code(text) {
        let names_ours = !FOREIGN_OPTIONS
            .iter()
            .any(|folder| document.starts_with(folder));
        let unknown = unknown_options(&code, known)
            .filter(|_| names_ours)
            .map(|option| format!("no such option: --{option}"));
        for problem in broken_mentions(root, document, &code, known)
            .into_iter()
            .chain(unknown)
        {
            findings.error(format!("{}:{line}: {problem}", document.display()));
        }
    }
    Ok(())
}

/// Returns what is wrong with a link, or nothing. Addresses on the web are not followed.
fn broken_link(root: &Path, document: &Path, text: &str, target: &str) -> Result<Option<String>> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = document.parent().unwrap_or(Path::new(""));
    let Some(file) = (if path.is_empty() {
        Some(document.to_owned())
    } else {
        normal(&folder.join(path))
    }) else {
        return Ok(Some(format!("link leaves the repository: {target}")));
    };
    if !path.is_empty() && !root.join(&file).exists() {
        return Ok(Some(format!("broken link: {target}")));
    }
    if anchor.is_empty() || file.extension().is_none_or(|e| e != "md") {
        return Ok(None);
    }
    let anchors = if path.is_empty() {
        markdown::anchors(text)
    } else {
        markdown::anchors(&tree::read(root, &file)?)
    };
    Ok((!anchors.iter().any(|a| a == anchor)).then(|| format!("no such heading: {target}")))
}

/// Resolves `.` and `..` in a relative path; nothing when it climbs above the root.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir if out.pop() => {}
            _ => return None,
        }
    }
    Some(out)
}

/// Returns what a piece of code names that does not exist: paths, tasks, packages.
fn broken_mentions(root: &Path, document: &Path, code: &str, known: &Known) -> Vec<String> {
    let mut problems = Vec::new();
    let words: Vec<&str> = code.split_whitespace().map(bare).collect();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied().unwrap_or_default();
        match *word {
            "cargo" if next == "xtask" => {
                let task = words.get(at + 2).copied().unwrap_or("help");
                if task != "help" && !is_placeholder(task) && !known.tasks.contains(&task) {
                    problems.push(format!("no such task: cargo xtask {task}"));
                }
            }
            "cargo" if is_misspelt(next) => problems.push(format!("unknown command: cargo {next}")),
            "-p" | "--package" if names_missing_package(next, known) => {
                problems.push(format!("no such package: {next}"))
            }
            _ => {}
        }
        if let Some(path) = path_named(word)
            && !exists(root, document, &path)
        {
            problems.push(format!("no such path: {path}"));
        }
    }
    problems
}

/// Names of the options in the headings of the generated page.
fn options_in(page: &str) -> BTreeSet<String> {
    let named = |line: &&str| line.starts_with('#') || line.starts_with("- Also: ");
    let lines = page.lines().filter(named);
    let names = lines.flat_map(|line| line.split("`--").skip(1));
    let names = names.filter_map(|rest| rest.split('`').next());
    names.map(str::to_owned).collect()
}

/// The options that a piece of code gives to this program, or that it names alone, and that do not exist.
fn unknown_options<'a>(code: &'a str, known: &'a Known) -> impl Iterator<Item = &'a str> {
    let is_ours = code.starts_with("larder ") || code.starts_with("--");
    let words = code.split_whitespace().filter(move |_| is_ours);
    let names = words.filter_map(|word| {
        let name = bare(word).trim_start_matches('[').strip_prefix("--")?;
        name.split(['=', ']', '|']).next()
    });
    names.filter(|name| {
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && !is_placeholder(name);
        is_name && !name.contains('*') && !known.options.contains(*name)
    })
}

/// True for a page of the format that does not say where its facts come from.
fn lacks_source(document: &Path, text: &str) -> bool {
    let name = document.file_name().unwrap_or_default().to_string_lossy();
    document.starts_with("docs/format")
        && !WITHOUT_SOURCE.contains(&&*name)
        && !text.lines().any(|line| line.starts_with("Source: "))
}

/// True for a word that looks like a cargo command and is none that the documents use.
fn is_misspelt(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()) && !CARGO_WORDS.contains(&word)
}

fn names_missing_package(word: &str, known: &Known) -> bool {
    word.starts_with("larder-") && !is_placeholder(word) && !known.packages.contains(word)
}

/// Takes punctuation off the ends of a word.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| "\"'(),;:[]".contains(c))
        .trim_end_matches('.')
}

fn is_placeholder(word: &str) -> bool {
    word.contains(['<', '>', '…', '{', '$']) || word.contains("NNNN")
}

/// Returns the path that a word names, up to the first wildcard and without a line number.
fn path_named(word: &str) -> Option<String> {
    let word = word.strip_prefix("./").unwrap_or(word);
    if is_placeholder(word) || !ROOTS.iter().any(|root| word.starts_with(root)) {
        return None;
    }
    let path = word.split(':').next().unwrap_or(word);
    let fixed = match path.find('*') {
        Some(star) => path[..star]
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder),
        None => path,
    };
    Some(fixed.trim_end_matches('/').to_owned())
}

fn exists(root: &Path, document: &Path, path: &str) -> bool {
    let beside = document.parent().unwrap_or(Path::new("")).join(path);
    root.join(path).exists() || root.join(beside).exists()
}

/// Returns the pages below `docs` that a source file names, with line numbers.
fn pages_named(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("docs/") {
            let starts_word =
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
            let rest = &line[at..];
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c)))
                .unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches('.');
            if starts_word && path.ends_with(".md") && !is_placeholder(path) {
                found.push((number + 1, path));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("workspace folder")
    }

    fn known() -> Known {
        Known {
            tasks: vec!["layers"],
            packages: BTreeSet::from(["larder-volume".to_owned()]),
            options: options_in("### `--dbpath`\n#### `--dry-run`\n"),
        }
    }

    #[test]
    fn links_are_resolved_from_the_document() {
        let document = Path::new("crates/xtask/README.md");
        let broken = |target| {
            broken_link(root(), document, "# Here\n", target)
                .expect("readable")
                .is_some()
        };
        assert!(!broken("src/main.rs"));
        assert!(!broken("../../Cargo.toml"));
        assert!(!broken("#here"));
        assert!(!broken("https://example.com/x"));
        assert!(broken("src/none.rs"));
        assert!(broken("../../../outside"));
        assert!(broken("#there"));
    }

    #[test]
    fn commands_and_paths_are_looked_up() {
        let document = Path::new("README.md");
        let problems = |code: &str| broken_mentions(root(), document, code, &known()).len();
        assert_eq!(problems("cargo xtask layers"), 0);
        assert_eq!(problems("cargo xtask <task>"), 0);
        assert_eq!(problems("cargo xtask lairs"), 1);
        assert_eq!(problems("cargo tset -p larder-volume"), 1);
        assert_eq!(problems("cargo test -p larder-volumes"), 1);
        assert_eq!(problems("cargo test -p larder-<crate>"), 0);
        assert_eq!(problems("crates/xtask/src/main.rs:12"), 0);
        assert_eq!(problems("crates/*/Cargo.toml, crates/xtask/"), 0);
        assert_eq!(problems("./scripts/none-such.sh"), 1);
        assert_eq!(problems("docs/decisions/NNNN-title.md"), 0);
    }

    #[test]
    fn options_are_looked_up() {
        let unknown = |code: &str| unknown_options(code, &known()).count();
        for good in [
            "larder backup URL --dbpath=x [--dry-run]",
            "--dbpath",
            "--dbpath=<file>",
            "--<option>",
            "cargo build --locked",
            "--s3-*",
        ] {
            assert_eq!(unknown(good), 0, "{good}");
        }
        assert_eq!(unknown("larder test URL --db-path=x --dryrun"), 2);
        assert_eq!(unknown("--dryrun"), 1);
    }

    #[test]
    fn pages_of_the_format_name_their_source() {
        let page = Path::new("docs/format/dlist.md");
        assert!(lacks_source(page, "# dlist"));
        assert!(!lacks_source(page, "# dlist\n\nSource: a set.\n"));
        assert!(!lacks_source(Path::new("docs/format/README.md"), "# All"));
        assert!(!lacks_source(
            Path::new("docs/guide/filters.md"),
            "# Filters"
        ));
    }

    #[test]
    fn pages_are_found_in_comments() {
        let text = "/// See docs/format/manifest.md, and\n//! `docs/format/dlist.md`.\n// other-docs/a.md docs/format/\n";
        assert_eq!(
            pages_named(text),
            [(1, "docs/format/manifest.md"), (2, "docs/format/dlist.md")]
        );
    }
}
