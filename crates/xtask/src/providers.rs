//! Keeps the providers alike: the same files, a bounded size, and few places elsewhere that name one.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::findings::Findings;
use crate::metadata;
use crate::sources::{self, Source};
use crate::{rust_text, tree};

/// The files of a provider: descriptor and options; requests and replies; the trait in terms of them.
const STANDARD: &[&str] = &["lib.rs", "api.rs", "store.rs"];

/// Lines of a provider without tests: what is allowed, and the most that its manifest may ask for with a reason.
const LINES: (usize, usize) = (700, 1400);

/// Places outside its folder that may name a provider: the registration, its place in the suite, its servers or the
/// proofs of its simulator, its guide page.
const NAMED_IN: usize = 4;

/// The servers for tests and the proofs of simulators, which are started by rule: one place each.
const BY_RULE: &[&str] = &["scripts/test-servers/", "scripts/prove/simulators/"];

/// The guide pages of the providers.
const PAGES: &str = "docs/guide/destinations/";

/// What makes a provider one that talks HTTP; its tests then run [`SUITE`].
const HTTP: &str = "larder-httpkit";

/// The call that gives every trouble to every verb, and the most lines of the file that makes it and describes the
/// protocol for it.
const SUITE: (&str, usize) = ("misbehaviour::run(", 70);

/// This file, whose own tests and lists do not count.
const THIS: &str = "crates/xtask/src/providers.rs";

/// A written reason has more letters than this.
const SHORTEST_REASON: usize = 20;

/// Scheme keys that are common words too: only the crate's name counts.
const WORDS: &[&str] = &["file"];

/// Files that may hold a scheme key without knowing a provider, each with the reason.
const NOT_NAMING: &[(&str, &str)] = &[
    (
        "crates/destination/src/url.rs",
        "a path without a scheme is a file URL: that is grammar",
    ),
    (
        "crates/registry/src/schemes.rs",
        "the list of all keys of Duplicati, built or not",
    ),
    (
        "crates/sshkit/src/link.rs",
        "a subsystem of SSH has the name of a scheme: that is the protocol",
    ),
];

/// What a provider's manifest says under `[package.metadata.larder]`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Excuses {
    /// Further files and the reason for each.
    files: Vec<(String, String)>,
    /// Another limit and its reason.
    lines: Option<(usize, String)>,
}

/// Runs the checks on the workspace at `root`.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let packages = metadata::load(root)?;
    let sources = sources::shipped(root)?;
    let texts = texts(root)?;
    for package in packages
        .iter()
        .filter(|package| package.folder.starts_with("destinations/"))
    {
        let name = package.folder.trim_start_matches("destinations/");
        let mut found = Findings::default();
        let excuses = excuses(&package.metadata)
            .with_context(|| format!("{}/Cargo.toml: package.metadata.larder", package.folder))?;
        let own: Vec<&Source> = sources
            .iter()
            .filter(|source| source.package == package.folder)
            .collect();
        check_files(&package.folder, &own, &excuses, &mut found);
        let is_lib = |source: &&&Source| source.path.ends_with("src/lib.rs");
        if let Some(lib) = own.iter().find(is_lib) {
            check_order(&package.folder, &lib.code, &mut found);
        }
        let lines = check_lines(&package.folder, &own, &excuses, &mut found);
        if package.dependencies.iter().any(|d| d.name == HTTP) {
            check_suite(
                &package.folder,
                &tests_of(root, &package.folder)?,
                &mut found,
            );
        }
        let schemes = schemes_of(name);
        if schemes.is_empty() {
            found.error(format!(
                "{}: no provider of crates/registry has the scheme key {name}",
                package.folder
            ));
        }
        let places = named_in(name, &schemes, &texts);
        if places.len() > NAMED_IN {
            found.error(format!(
                "{}: {} places outside its folder name it, {NAMED_IN} at most: {}",
                package.folder,
                places.len(),
                places.join(", ")
            ));
        }
        found.note(format!(
            "providers: {name}: {} files, {lines} lines without tests, named in {} places elsewhere",
            own.len(),
            places.len()
        ));
        findings.notes.append(&mut found.notes);
        findings.errors.append(&mut found.errors);
    }
    Ok(())
}

/// The places elsewhere that name each provider, for people: `cargo xtask providers --where`.
pub fn print_where(root: &Path, findings: &mut Findings) -> Result<()> {
    let texts = texts(root)?;
    for package in metadata::load(root)? {
        if let Some(name) = package.folder.strip_prefix("destinations/") {
            for place in named_in(name, &schemes_of(name), &texts) {
                findings.note(format!("{name}: {place}"));
            }
        }
    }
    Ok(())
}

fn excuses(metadata: &Value) -> Result<Excuses> {
    let ours = &metadata["larder"];
    let mut excuses = Excuses::default();
    for (file, reason) in ours["files"].as_object().into_iter().flatten() {
        let reason = reason.as_str().context("a reason has to be a text")?;
        excuses.files.push((file.clone(), reason.to_owned()));
    }
    if let Some(lines) = ours["lines"].as_object() {
        let limit = lines.get("limit").and_then(Value::as_u64);
        let limit = limit.context("lines.limit has to be a number")?;
        let reason = lines.get("reason").and_then(Value::as_str);
        let reason = reason.context("lines.reason has to be a text")?;
        excuses.lines = Some((usize::try_from(limit)?, reason.to_owned()));
    }
    Ok(excuses)
}

fn check_files(folder: &str, own: &[&Source], excuses: &Excuses, findings: &mut Findings) {
    let prefix = format!("{folder}/src/");
    let found: BTreeSet<String> = own
        .iter()
        .filter_map(|source| {
            let path = source.path.to_string_lossy().replace('\\', "/");
            Some(path.strip_prefix(&prefix)?.to_owned())
        })
        .collect();
    for file in STANDARD {
        if !found.contains(*file) {
            findings.error(format!("{folder}: src/{file} is missing"));
        }
    }
    for file in &found {
        let excused = excuses.files.iter().any(|(excused, _)| excused == file);
        if !STANDARD.contains(&file.as_str()) && !excused {
            findings.error(format!(
                "{folder}: src/{file} is none of {}; its manifest gives no reason under [package.metadata.larder.files]",
                STANDARD.join(", ")
            ));
        }
    }
    for (file, reason) in &excuses.files {
        if !found.contains(file) {
            findings.error(format!(
                "{folder}: gives a reason for src/{file}, which does not exist"
            ));
        }
        check_reason(folder, reason, findings);
    }
}

/// What every `lib.rs` has, in the same order.
fn check_order(folder: &str, code: &str, findings: &mut Findings) {
    let mut last = 0;
    for part in [
        "pub const PROVIDER: Provider",
        "fn identity(",
        "fn open(",
        "const SCHEME: ",
    ] {
        match code.find(part) {
            None => findings.error(format!("{folder}: src/lib.rs has no `{part}`")),
            Some(at) if at < last => findings.error(format!(
                "{folder}: src/lib.rs has `{part}` too early: the order is PROVIDER, identity, open, SCHEME"
            )),
            Some(at) => last = at,
        }
    }
}

/// The code of the tests below `folder/tests`, without comments and literals.
fn tests_of(root: &Path, folder: &str) -> Result<Vec<String>> {
    let prefix = Path::new(folder).join("tests");
    let files = tree::files(root, "rs")?.into_iter();
    files
        .filter(|path| path.starts_with(&prefix))
        .map(|path| Ok(rust_text::code_only(&tree::read(root, &path)?)))
        .collect()
}

fn check_suite(folder: &str, tests: &[String], findings: &mut Findings) {
    let (call, most) = SUITE;
    let Some(file) = tests.iter().find(|code| code.contains(call)) else {
        findings.error(format!(
            "{folder}: no test calls larder_testkit::{call}…), which gives every trouble to every verb"
        ));
        return;
    };
    let lines = file.lines().count();
    if lines > most {
        findings.error(format!(
            "{folder}: its protocol for larder_testkit::misbehaviour takes {lines} lines, {most} at most: what others \
             need too belongs into the suite"
        ));
    }
}

fn check_lines(folder: &str, own: &[&Source], excuses: &Excuses, findings: &mut Findings) -> usize {
    let lines = own
        .iter()
        .map(|source| lines_without_tests(&source.code))
        .sum();
    let limit = match &excuses.lines {
        Some((limit, reason)) => {
            check_reason(folder, reason, findings);
            if *limit > LINES.1 {
                findings.error(format!(
                    "{folder}: asks for {limit} lines, {} at most",
                    LINES.1
                ));
            }
            (*limit).min(LINES.1)
        }
        None => LINES.0,
    };
    if lines > limit {
        findings.error(format!(
            "{folder}: {lines} lines without tests, {limit} at most"
        ));
    }
    lines
}

fn check_reason(folder: &str, reason: &str, findings: &mut Findings) {
    if reason.chars().filter(|c| c.is_alphabetic()).count() <= SHORTEST_REASON {
        findings.error(format!("{folder}: {reason:?} is no reason"));
    }
}

fn lines_without_tests(code: &str) -> usize {
    let marks = rust_text::test_lines(code);
    marks.iter().filter(|is_test| !**is_test).count()
}

/// The scheme keys of the provider of this folder, which is called like one of them.
fn schemes_of(name: &str) -> Vec<&'static str> {
    larder_registry::providers()
        .iter()
        .find(|provider| provider.schemes.contains(&name))
        .map(|provider| provider.schemes.to_vec())
        .unwrap_or_default()
}

/// A file that a new provider might have to change, with what counts in it.
struct Text {
    path: String,
    lines: Vec<String>,
}

/// Documents that users read first: none may need a line for each provider.
const PAGES_READ: &[&str] = &["README.md", "docs/guide/"];

/// All manifests, scripts, the pages that users read, and the Rust source without comments and tests.
fn texts(root: &Path) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for extension in ["toml", "sh", "md", "yml"] {
        for path in tree::files(root, extension)? {
            let shown = path.display().to_string();
            if extension == "md" && !PAGES_READ.iter().any(|page| shown.starts_with(page)) {
                continue;
            }
            let text = tree::read(root, &path)?;
            let lines = text.lines().map(str::to_owned).collect();
            texts.push(Text { path: shown, lines });
        }
    }
    for source in sources::shipped(root)? {
        let text = tree::read(root, &source.path)?;
        let marks = rust_text::test_lines(&source.code);
        let lines = text
            .lines()
            .zip(marks)
            .filter(|(line, is_test)| !is_test && !line.trim_start().starts_with("//"))
            .map(|(line, _)| line.to_owned())
            .collect();
        texts.push(Text {
            path: source.path.display().to_string(),
            lines,
        });
    }
    // The suite is made of tests, and the place where a provider enters it counts.
    for path in tree::files(root, "rs")? {
        let shown = path.display().to_string();
        if shown.starts_with("crates/conformance/tests/") {
            let lines = tree::read(root, &path)?
                .lines()
                .map(str::to_owned)
                .collect();
            texts.push(Text { path: shown, lines });
        }
    }
    Ok(texts)
}

/// The files outside the provider's folder that name it.
fn named_in(name: &str, schemes: &[&str], texts: &[Text]) -> Vec<String> {
    let marks = marks_of(name, schemes);
    let words = schemes.iter().filter(|scheme| WORDS.contains(scheme));
    let words: Vec<String> = words.map(|scheme| format!("\"{scheme}\"")).collect();
    let own = format!("destinations/{name}/");
    texts
        .iter()
        .filter(|text| !text.path.starts_with(&own) && text.path != THIS)
        .filter(|text| !NOT_NAMING.iter().any(|(path, _)| *path == text.path))
        .filter(|text| {
            let is_page = text.path == format!("{PAGES}{name}.md");
            let has = |marks: &[String]| {
                let lines = &text.lines;
                lines
                    .iter()
                    .any(|line| marks.iter().any(|mark| holds(line, mark)))
            };
            let is_list = LISTS.iter().any(|list| text.path.starts_with(list));
            is_page || has(&marks) || (is_list && has(&words))
        })
        // The servers of one provider are one thing, however many there are.
        .map(|text| {
            let folder = BY_RULE
                .iter()
                .find(|folder| text.path.starts_with(**folder));
            folder.map_or(text.path.clone(), |folder| (*folder).to_owned())
        })
        .collect::<BTreeSet<String>>()
        .into_iter()
        .collect()
}

/// Folders in which a scheme key that is a common word names the provider.
const LISTS: &[&str] = &["crates/registry/", "crates/conformance/"];

/// What names a provider: its crate, its folder, its variables, and its scheme keys as literals of code.
fn marks_of(name: &str, schemes: &[&str]) -> Vec<String> {
    let mut marks = vec![
        format!("larder-{name}"),
        format!("larder_{}", name.replace('-', "_")),
        format!("destinations/{name}"),
    ];
    for scheme in schemes.iter().filter(|scheme| !WORDS.contains(scheme)) {
        marks.push(format!("\"{scheme}\""));
        marks.push(format!("LARDER_TEST_{}_", scheme.to_ascii_uppercase()));
    }
    marks
}

/// True when the line holds the mark and no letter goes on at its end.
fn holds(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let next = line[at + mark.len()..].chars().next();
        mark.ends_with(['"', '_'])
            || !next.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, lines: usize) -> Source {
        Source {
            path: path.into(),
            package: "destinations/x".into(),
            code: "a\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n    b\n}\n",
        }
    }

    fn errors(sources: &[Source], excuses: &Excuses) -> Vec<String> {
        let own: Vec<&Source> = sources.iter().collect();
        let mut findings = Findings::default();
        check_files("destinations/x", &own, excuses, &mut findings);
        check_lines("destinations/x", &own, excuses, &mut findings);
        findings.errors
    }

    fn standard(lines: usize) -> Vec<Source> {
        ["lib", "api", "store"]
            .map(|name| source(&format!("destinations/x/src/{name}.rs"), lines))
            .into()
    }

    #[test]
    fn further_files_and_lines_need_a_reason() {
        let reason = "signatures of the service are a page of rules for themselves";
        let none = Excuses::default();
        assert_eq!(errors(&standard(233), &none), [""; 0]);
        assert_eq!(errors(&standard(234), &none).len(), 1);
        let more = Excuses {
            lines: Some((1400, reason.to_owned())),
            ..Excuses::default()
        };
        assert_eq!(errors(&standard(466), &more), [""; 0]);
        assert_eq!(errors(&standard(467), &more).len(), 1);
        let too_many = Excuses {
            lines: Some((1401, reason.to_owned())),
            ..Excuses::default()
        };
        assert_eq!(errors(&standard(1), &too_many).len(), 1);
        let mut sources = standard(1);
        sources.push(source("destinations/x/src/sign.rs", 1));
        assert_eq!(errors(&sources, &none).len(), 1);
        let with = |reason: &str| Excuses {
            files: vec![("sign.rs".to_owned(), reason.to_owned())],
            ..Excuses::default()
        };
        assert_eq!(errors(&sources, &with(reason)), [""; 0]);
        assert_eq!(errors(&sources, &with("it is needed")).len(), 1);
        assert_eq!(
            errors(&standard(1), &with(reason)).len(),
            1,
            "a reason without its file"
        );
        sources.remove(1);
        assert_eq!(
            errors(&sources, &with(reason)).len(),
            1,
            "api.rs is missing"
        );
    }

    #[test]
    fn the_parts_of_a_provider_stand_in_one_order() {
        let errors = |code: &str| {
            let mut findings = Findings::default();
            check_order("destinations/x", code, &mut findings);
            findings.errors.len()
        };
        let parts = [
            "pub const PROVIDER: Provider",
            "fn identity(",
            "pub fn open(",
            "const SCHEME: &str",
        ];
        assert_eq!(errors(&parts.join("\n")), 0);
        assert_eq!(
            errors(&[parts[0], parts[2], parts[1], parts[3]].join("\n")),
            1
        );
        assert_eq!(errors(&parts[..3].join("\n")), 1);
    }

    #[test]
    fn a_test_that_runs_the_misbehaviour_suite_is_looked_for() {
        let errors = |text: &str| {
            let mut findings = Findings::default();
            let tests = [
                rust_text::code_only("fn a() {}"),
                rust_text::code_only(text),
            ];
            check_suite("destinations/x", &tests, &mut findings);
            findings.errors.len()
        };
        let call = "misbehaviour::run(Arc::new(X)).await;";
        assert_eq!(errors(call), 0);
        assert_eq!(errors(&format!("// {call}")), 1);
        assert_eq!(errors(&format!("let a = \"{call}\";")), 1);
        assert_eq!(errors(&format!("{call}{}", "\n".repeat(SUITE.1 - 1))), 0);
        assert_eq!(errors(&format!("{call}{}a", "\n".repeat(SUITE.1))), 1);
    }

    #[test]
    fn files_that_name_a_provider_are_counted() {
        let text = |path: &str, line: &str| Text {
            path: path.to_owned(),
            lines: vec![line.to_owned()],
        };
        let texts = [
            text("destinations/x/src/lib.rs", "larder_x"),
            text("a.toml", "larder-x = 1"),
            text("b.toml", "larder-xy = 1"),
            text("c.rs", "scheme: \"x\","),
            text("d.rs", "scheme: \"xx\","),
            text("scripts/test-servers/e.sh", "LARDER_TEST_X_URL=1"),
            text("scripts/test-servers/f.sh", "LARDER_TEST_X_TLS_URL=1"),
            text("scripts/prove/simulators/x.sh", "destinations/x"),
            text("scripts/prove/simulators/y.sh", "destinations/x"),
            text(&format!("{PAGES}x.md"), ""),
            text("crates/registry/src/schemes.rs", "\"x\""),
        ];
        let page = format!("{PAGES}x.md");
        assert_eq!(
            named_in("x", &["x"], &texts),
            ["a.toml", "c.rs", page.as_str(), BY_RULE[1], BY_RULE[0]]
        );
    }

    #[test]
    fn manifests_are_read() {
        let metadata = serde_json::json!({"larder": {
            "files": {"sign.rs": "why"}, "lines": {"limit": 900, "reason": "because"}}});
        let found = excuses(&metadata).expect("it is well formed");
        assert_eq!(found.files, [("sign.rs".to_owned(), "why".to_owned())]);
        assert_eq!(found.lines, Some((900, "because".to_owned())));
        assert_eq!(excuses(&Value::Null).expect("nothing"), Excuses::default());
        assert!(excuses(&serde_json::json!({"larder": {"lines": {"limit": 900}}})).is_err());
    }
}
