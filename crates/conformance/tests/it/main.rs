//! Runs the behaviour cases for each provider and prints what was left out, which the usual harness would swallow.

mod sites;
mod start;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use larder_testkit::behaviour::{self, Folders, Summary};

use sites::SITES;
use start::{BelowUrl, Memory, Site, Start, Started};

/// What the environment asks for.
struct Wishes {
    /// Words of which the name of a server must hold one; empty for all.
    servers: Vec<String>,
    /// What the name of a case must hold; empty for all.
    case: String,
    requires_all: bool,
    writes_table: bool,
    /// All variables `LARDER_TEST_…_URL`, by what stands in the middle.
    urls: BTreeMap<String, String>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
#[expect(
    clippy::print_stdout,
    reason = "this is a program; printing the outcome is its purpose"
)]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        // Tools that list tests get an empty list: the cases are not tests of the usual harness.
        return ExitCode::SUCCESS;
    }
    let wishes = wishes();
    let mut problems = check_list(&wishes);
    let mut outcomes: Vec<(String, Summary)> = Vec::new();
    if let Some(summary) = run("memory", Arc::new(Memory), &[], &wishes).await {
        outcomes.push(("memory".to_owned(), summary));
    }
    for site in SITES {
        for (name, which, started) in starts(site, &wishes).await {
            let skips: Vec<_> = site
                .skips
                .iter()
                .filter(|skip| skip.server.is_empty() || skip.server == which)
                .map(|skip| (skip.case, skip.reason))
                .collect();
            match started {
                Err(reason) => {
                    println!("{name}: LEFT OUT: {reason}");
                    problems.extend(wishes.requires_all.then(|| format!("{name}: {reason}")));
                }
                Ok(started) => {
                    let folders = Arc::new(BelowUrl::new(started, &site.missing));
                    if let Some(summary) = run(&name, folders, &skips, &wishes).await {
                        outcomes.push((name, summary));
                    }
                }
            }
        }
    }
    print!("{}", table::text(&outcomes));
    problems.extend(table::compare(&outcomes, &wishes));
    for problem in &problems {
        println!("PROBLEM: {problem}");
    }
    let is_fine = |(_, summary): &(String, Summary)| {
        summary.failed.is_empty() && !(summary.passed.is_empty() && summary.skipped.is_empty())
    };
    if problems.is_empty() && outcomes.iter().all(is_fine) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn wishes() -> Wishes {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_set = |name| std::env::var_os(name).is_some_and(|value| value == "1");
    let case = arguments
        .iter()
        .find_map(|text| text.strip_prefix("--case="));
    let servers = arguments.iter().filter(|text| !text.starts_with('-'));
    let urls = std::env::vars().filter_map(|(name, value)| {
        let middle = name.strip_prefix("LARDER_TEST_")?.strip_suffix("_URL")?;
        Some((middle.to_owned(), value))
    });
    Wishes {
        servers: servers.cloned().collect(),
        case: case.unwrap_or_default().to_owned(),
        requires_all: is_set("LARDER_TEST_REQUIRE_ALL"),
        writes_table: is_set("LARDER_TEST_WRITE_TABLE"),
        urls: urls.collect(),
    }
}

impl Wishes {
    /// True when everything is to be run.
    fn is_whole(&self) -> bool {
        self.servers.is_empty() && self.case.is_empty()
    }
}

/// A provider without a site, a site without a provider, and a variable that nobody reads are mistakes.
fn check_list(wishes: &Wishes) -> Vec<String> {
    let mut problems = Vec::new();
    let keys = || {
        larder_registry::providers()
            .iter()
            .filter_map(|provider| provider.schemes.first().copied())
    };
    for key in keys() {
        if !SITES.iter().any(|site| site.scheme == key) {
            problems.push(format!(
                "{key} has no entry in crates/conformance/tests/it/sites.rs"
            ));
        }
    }
    for site in SITES {
        if !keys().any(|key| key == site.scheme) {
            problems.push(format!("there is no provider {}", site.scheme));
        }
    }
    for middle in wishes.urls.keys() {
        let is_read =
            |site: &Site| matches!(site.start, Start::Server) && which(site, middle).is_some();
        if !SITES.iter().any(is_read) {
            problems.push(format!("no provider reads LARDER_TEST_{middle}_URL"));
        }
    }
    problems
}

/// The `WHICH` of a variable that belongs to the site; empty for the first server.
fn which<'v>(site: &Site, middle: &'v str) -> Option<&'v str> {
    let rest = middle.strip_prefix(&site.scheme.to_ascii_uppercase())?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('_')
}

/// Name, `WHICH` and URL of each server of a site.
async fn starts(site: &Site, wishes: &Wishes) -> Vec<(String, String, Result<Started, String>)> {
    if let Start::Here(start) = site.start {
        let started = start().await.map_err(|error| error.to_string());
        return vec![(site.scheme.to_owned(), String::new(), started)];
    }
    let mut found = Vec::new();
    for (middle, url) in &wishes.urls {
        if let Some(which) = which(site, middle) {
            let name = middle.to_ascii_lowercase().replace('_', "-");
            let started = Started {
                url: url.clone(),
                keep: Box::new(()),
            };
            found.push((name, which.to_owned(), Ok(started)));
        }
    }
    if found.is_empty() {
        let variable = format!("LARDER_TEST_{}_URL", site.scheme.to_ascii_uppercase());
        let reason = format!("{variable} is not set (scripts/test.sh starts the servers)");
        found.push((site.scheme.to_owned(), String::new(), Err(reason)));
    }
    found
}

/// Runs the cases on one server; nothing when it is not asked for.
#[expect(
    clippy::print_stdout,
    reason = "the outcome of each server as soon as it is there"
)]
async fn run(
    name: &str,
    folders: Arc<dyn Folders>,
    skips: &[(&str, &str)],
    wishes: &Wishes,
) -> Option<Summary> {
    let servers = &wishes.servers;
    if !servers.is_empty() && !servers.iter().any(|wanted| name.contains(wanted.as_str())) {
        return None;
    }
    let summary = if wishes.case.is_empty() {
        behaviour::run(folders, skips).await
    } else {
        let mut summary = Summary::default();
        for case in behaviour::cases() {
            if case.name.contains(&wishes.case) {
                behaviour::run_case(case, Arc::clone(&folders), &mut summary).await;
            }
        }
        summary
    };
    print!("{name}: {summary}");
    Some(summary)
}

/// The folder of the workspace.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}
