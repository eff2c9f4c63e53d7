//! Compares the dependencies of each crate with the arrows of `ARCHITECTURE.md`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::findings::Findings;
use crate::metadata::{self, Package};
use crate::rust_text;
use crate::sources::{self, Source};

/// Each layer with the layers it may use; nothing else is allowed.
///
/// The suites (`conformance`, `xtask`) may name the seam they exercise. The same list stands in `ARCHITECTURE.md`,
/// which `check` compares.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["engine", "registry", "options", "render"]),
    ("server", &["engine", "registry", "options", "render"]),
    ("render", &["engine", "options"]),
    ("registry", &["destinations/*", "destination", "options"]),
    (
        "destinations/*",
        &[
            "destination",
            "options",
            "httpkit",
            "sshkit",
            "drives",
            "flat",
            "files",
        ],
    ),
    ("drives", &["destination"]),
    ("flat", &["destination"]),
    ("httpkit", &["destination", "options"]),
    ("sshkit", &["destination", "options"]),
    (
        "engine",
        &["volume", "destination", "catalog", "source", "options"],
    ),
    ("catalog", &["volume"]),
    ("destination", &["options"]),
    ("volume", &[]),
    ("source", &["files"]),
    ("files", &[]),
    ("options", &[]),
    ("testkit", &["destination", "volume"]),
    (
        "conformance",
        &["registry", "testkit", "destination", "options"],
    ),
    ("xtask", &["engine", "registry", "options", "cli"]),
];

/// Layers that others may use for their tests only.
const DEV_ONLY: &[&str] = &["testkit"];

/// Suites and tools that are never shipped; they may use a `DEV_ONLY` layer outright.
const NEVER_SHIPPED: &[&str] = &["conformance", "xtask", "testkit"];

/// Foreign crates that only these layers may use, with the reason that is printed.
const RESERVED: &[(&[&str], &[&str], &str)] = &[
    (
        &["rusqlite", "libsqlite3-sys"],
        &["catalog"],
        "the catalog is the only user of SQL",
    ),
    (
        &["reqwest", "hyper", "rustls"],
        &["httpkit", "destinations/*"],
        "HTTP belongs to httpkit and the providers",
    ),
    (
        &["russh"],
        &["sshkit"],
        "the library changes with each version, so one crate hides it",
    ),
    (
        &["indicatif", "rpassword", "lexopt"],
        &["cli", "server"],
        "only the programs talk to a terminal",
    ),
];

/// Layers that are synchronous, and what they must therefore not use.
const SYNCHRONOUS: &[&str] = &["volume", "options", "files", "source", "catalog"];
const ASYNCHRONOUS: &[&str] = &[
    "tokio",
    "tokio-util",
    "futures-util",
    "async-trait",
    "reqwest",
];

/// Calls that only the programs may make; a library gets what it needs as an argument.
const AMBIENT: &[&str] = &[
    "env::var",
    "env::args",
    "env::home_dir",
    "env::current_dir",
    "io::stdin(",
];
const PROGRAMS: &[&str] = &["cli", "server"];

/// A second TLS or crypto back end, which must not come in through any dependency.
const SECOND_BACK_ENDS: &[&str] = &[
    "native-tls",
    "openssl-sys",
    "aws-lc-sys",
    "aws-lc-rs",
    "mbedtls",
    "boring-sys",
];

/// Runs the check on the workspace at `root`.
pub fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let packages = metadata::load(root)?;
    check_packages(&packages, findings);
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("reading Cargo.lock")?;
    check_lock(&lock, findings);
    let map =
        std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    check_map(&map, findings);
    for source in sources::shipped(root)? {
        check_ambient(&source, findings);
    }
    findings.note(format!("layers: {} packages", packages.len()));
    Ok(())
}

/// Returns the layer of a package folder: the folder's name, or one layer for all providers.
fn layer(folder: &str) -> &str {
    match folder.split_once('/') {
        Some(("destinations", _)) => "destinations/*",
        Some((_, name)) => name,
        None => folder,
    }
}

fn check_packages(packages: &[Package], findings: &mut Findings) {
    for package in packages {
        let layer = layer(&package.folder);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == layer) else {
            findings.error(format!(
                "{}: layer {layer} is not on the list of arrows",
                package.folder
            ));
            continue;
        };
        if package.name
            != format!(
                "larder-{}",
                package.folder.rsplit('/').next().unwrap_or_default()
            )
        {
            findings.error(format!(
                "{}: the package is called {}",
                package.folder, package.name
            ));
        }
        for dependency in &package.dependencies {
            match &dependency.folder {
                Some(folder) => {
                    check_ours(package, layer, allowed, folder, dependency.is_dev, findings)
                }
                None => check_foreign(
                    package,
                    layer,
                    &dependency.name,
                    dependency.is_dev,
                    findings,
                ),
            }
        }
    }
}

fn check_ours(
    package: &Package,
    from: &str,
    allowed: &[&str],
    folder: &str,
    is_dev: bool,
    findings: &mut Findings,
) {
    let to = layer(folder);
    if DEV_ONLY.contains(&to) {
        if !is_dev && !NEVER_SHIPPED.contains(&from) {
            findings.error(format!("{}: uses {to} outside its tests", package.folder));
        }
    } else if !allowed.contains(&to) {
        let allowed = if allowed.is_empty() {
            "nothing of ours".to_owned()
        } else {
            allowed.join(", ")
        };
        findings.error(format!(
            "{}: uses {to}; {from} may use {allowed}",
            package.folder
        ));
    }
}

fn check_foreign(
    package: &Package,
    layer: &str,
    name: &str,
    is_dev: bool,
    findings: &mut Findings,
) {
    for (crates, layers, reason) in RESERVED {
        if crates.contains(&name) && !layers.contains(&layer) && !NEVER_SHIPPED.contains(&layer) {
            findings.error(format!("{}: uses {name}; {reason}", package.folder));
        }
    }
    if !is_dev && SYNCHRONOUS.contains(&layer) && ASYNCHRONOUS.contains(&name) {
        findings.error(format!(
            "{}: uses {name}; this layer is synchronous",
            package.folder
        ));
    }
}

fn check_lock(lock: &str, findings: &mut Findings) {
    for name in lock_names(lock) {
        if SECOND_BACK_ENDS.contains(&name) {
            findings.error(format!(
                "Cargo.lock: {name} is a second TLS or crypto back end"
            ));
        }
    }
}

/// Yields the package names of a lock file.
fn lock_names(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
}

/// Reports a library that reads the environment, the working folder or the terminal.
fn check_ambient(source: &Source, findings: &mut Findings) {
    let layer = layer(&source.package);
    // A build script has nothing but the environment to ask.
    if source.path.ends_with("build.rs")
        || PROGRAMS.contains(&layer)
        || NEVER_SHIPPED.contains(&layer)
        || !ARROWS.iter().any(|(name, _)| *name == layer)
    {
        return;
    }
    let marks = rust_text::test_lines(&source.code);
    for (at, (line, _)) in source
        .code
        .lines()
        .zip(marks)
        .enumerate()
        .filter(|(_, (_, is_test))| !is_test)
    {
        if let Some(call) = AMBIENT.iter().find(|call| line.contains(*call)) {
            let call = call.trim_end_matches('(');
            findings.error(format!(
                "{}:{}: {call} in a library",
                source.path.display(),
                at + 1
            ));
        }
    }
}

/// Compares the arrows drawn in `ARCHITECTURE.md` with the list above.
fn check_map(map: &str, findings: &mut Findings) {
    let drawn = arrows_of(map);
    let known: BTreeSet<(String, String)> = ARROWS
        .iter()
        .flat_map(|(from, to)| to.iter().map(|to| ((*from).to_owned(), (*to).to_owned())))
        .collect();
    for (from, to) in drawn.difference(&known) {
        findings.error(format!(
            "ARCHITECTURE.md: {from} -> {to} is drawn but not allowed by `cargo xtask layers`"
        ));
    }
    for (from, to) in known.difference(&drawn) {
        findings.error(format!(
            "ARCHITECTURE.md: {from} -> {to} is allowed by `cargo xtask layers` but not drawn"
        ));
    }
}

/// Reads lines of the form `a, b -> c, d` inside fences; `(nothing of ours)` and other remarks in brackets are dropped.
fn arrows_of(map: &str) -> BTreeSet<(String, String)> {
    let mut arrows = BTreeSet::new();
    for (_, line) in crate::markdown::fenced_lines(map) {
        let Some((left, right)) = line.split_once("->") else {
            continue;
        };
        let right = right.split('(').next().unwrap_or_default();
        for from in left.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            for to in right.split(',').map(str::trim).filter(|s| !s.is_empty()) {
                arrows.insert((from.to_owned(), to.to_owned()));
            }
        }
    }
    arrows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn package(folder: &str, dependencies: &[(&str, bool, Option<&str>)]) -> Package {
        Package {
            name: format!("larder-{}", folder.rsplit('/').next().unwrap_or_default()),
            folder: folder.to_owned(),
            dependencies: dependencies
                .iter()
                .map(|(name, is_dev, folder)| Dependency {
                    name: (*name).to_owned(),
                    is_dev: *is_dev,
                    folder: folder.map(str::to_owned),
                })
                .collect(),
            metadata: serde_json::Value::Null,
        }
    }

    fn errors(packages: &[Package]) -> Vec<String> {
        let mut findings = Findings::default();
        check_packages(packages, &mut findings);
        findings.errors
    }

    #[test]
    fn allowed_arrows_pass() {
        let packages = [
            package(
                "crates/catalog",
                &[
                    ("larder-volume", false, Some("crates/volume")),
                    ("rusqlite", false, None),
                ],
            ),
            package(
                "destinations/s3",
                &[
                    ("reqwest", false, None),
                    ("larder-httpkit", false, Some("crates/httpkit")),
                ],
            ),
            package(
                "crates/engine",
                &[("larder-testkit", true, Some("crates/testkit"))],
            ),
            package(
                "crates/registry",
                &[("larder-file", false, Some("destinations/file"))],
            ),
            package(
                "crates/conformance",
                &[("larder-testkit", false, Some("crates/testkit"))],
            ),
        ];
        assert_eq!(errors(&packages), Vec::<String>::new());
    }

    #[test]
    fn forbidden_arrows_are_named() {
        let cases = [
            package(
                "crates/volume",
                &[("larder-options", false, Some("crates/options"))],
            ),
            package(
                "crates/engine",
                &[("larder-file", false, Some("destinations/file"))],
            ),
            package(
                "crates/engine",
                &[("larder-file", true, Some("destinations/file"))],
            ),
            package(
                "crates/engine",
                &[("larder-testkit", false, Some("crates/testkit"))],
            ),
            package(
                "destinations/file",
                &[("larder-volume", false, Some("crates/volume"))],
            ),
            package("crates/engine", &[("rusqlite", false, None)]),
            package("crates/engine", &[("reqwest", false, None)]),
            package("crates/source", &[("tokio", false, None)]),
            package("crates/engine", &[("rpassword", false, None)]),
            package("crates/novelty", &[]),
            Package {
                name: "other".into(),
                ..package("crates/volume", &[])
            },
        ];
        for case in cases {
            let found = errors(std::slice::from_ref(&case));
            assert_eq!(found.len(), 1, "{case:?}: {found:?}");
        }
    }

    #[test]
    fn second_back_end_is_found_in_the_lock_file() {
        let mut findings = Findings::default();
        check_lock(
            "[[package]]\nname = \"ring\"\n\n[[package]]\nname = \"openssl-sys\"\n",
            &mut findings,
        );
        assert_eq!(findings.errors.len(), 1);
    }

    #[test]
    fn libraries_do_not_read_the_environment() {
        let errors = |package: &str| {
            let code = "fn a() {\n    std::env::var(X);\n}\n#[cfg(test)]\nmod tests {\n    std::env::var(X);\n}\n";
            let source = Source {
                path: "a.rs".into(),
                package: package.into(),
                code: code.into(),
            };
            let mut findings = Findings::default();
            check_ambient(&source, &mut findings);
            findings.errors
        };
        assert_eq!(errors("crates/engine"), ["a.rs:2: env::var in a library"]);
        assert_eq!(errors("destinations/s3").len(), 1);
        assert_eq!(errors("crates/cli"), Vec::<String>::new());
        assert_eq!(errors("fuzz"), Vec::<String>::new());
    }

    #[test]
    fn arrows_are_read_from_fences_only() {
        let map = "a -> b\n```text\ncli, server -> engine, options\nvolume -> (nothing of ours)\n```\nx -> y\n";
        let arrows: Vec<_> = arrows_of(map).into_iter().collect();
        let expected = [
            ("cli", "engine"),
            ("cli", "options"),
            ("server", "engine"),
            ("server", "options"),
        ];
        assert_eq!(arrows, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn drawn_and_known_arrows_are_compared_both_ways() {
        let mut findings = Findings::default();
        check_map("```text\nvolume -> options\n```\n", &mut findings);
        assert!(
            findings
                .errors
                .iter()
                .any(|e| e.contains("volume -> options is drawn"))
        );
        assert!(
            findings
                .errors
                .iter()
                .any(|e| e.contains("cli -> engine is allowed"))
        );
    }
}
