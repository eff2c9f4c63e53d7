//! Runs the behaviour cases for each provider and prints what was left out, which the usual harness would swallow.

mod sites;

use std::process::ExitCode;
use std::sync::Arc;

use larder_testkit::behaviour::{self, Site};

use sites::{Folders, LocalFolder, Memory, Remote};

/// What is to be run for one provider.
enum Plan {
    Run(Arc<dyn Site>),
    LeftOut(&'static str),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
#[expect(
    clippy::print_stdout,
    reason = "this is a program; printing the outcome is its purpose"
)]
async fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        // Tools that list tests get an empty list: the cases are not tests of the usual harness.
        return ExitCode::SUCCESS;
    }
    let requires_all =
        std::env::var_os("LARDER_TEST_REQUIRE_ALL").is_some_and(|value| value == "1");
    let mut is_fine = true;
    for (name, plan) in plans() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        match plan {
            Plan::Run(site) => {
                let mut summary = behaviour::run(site).await;
                for (site, case, reason) in KNOWN_LACKS {
                    let lacks = |(failed, _): &(&str, String)| *site == name && failed == case;
                    if let Some(at) = summary.failed.iter().position(lacks) {
                        let (case, _) = summary.failed.remove(at);
                        summary.skipped.push((case, reason));
                    }
                }
                print!("{name}: {summary}");
                is_fine &= summary.failed.is_empty() && !summary.passed.is_empty();
            }
            Plan::LeftOut(reason) => {
                println!("{name}: LEFT OUT: {reason}");
                is_fine &= !requires_all;
            }
        }
    }
    if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One entry per provider of the registry, and the destination in memory.
fn plans() -> Vec<(&'static str, Plan)> {
    let mut plans = vec![("memory", Plan::Run(Arc::new(Memory::default())))];
    for provider in larder_registry::providers() {
        let name = provider.schemes.first().copied().unwrap_or_default();
        let plan = match name {
            "file" => {
                LocalFolder::create().map_or(Plan::LeftOut("there is no temporary folder"), run)
            }
            "s3" => match std::env::var("LARDER_TEST_S3_URL") {
                Ok(url) => run(Remote::new(url)),
                Err(_) => Plan::LeftOut("LARDER_TEST_S3_URL is not set"),
            },
            "webdav" => {
                plans.extend(dav_servers());
                continue;
            }
            _ => Plan::LeftOut("crates/conformance/tests/it/main.rs has no line for it"),
        };
        plans.push((name, plan));
    }
    plans
}

/// The WebDAV servers that are running.
fn dav_servers() -> Vec<(&'static str, Plan)> {
    DAV_SERVERS
        .iter()
        .map(|(name, variable)| match std::env::var(variable) {
            Ok(url) => (*name, run(Folders::new(url))),
            Err(_) => (
                *name,
                Plan::LeftOut("its LARDER_TEST_WEBDAV…_URL is not set"),
            ),
        })
        .collect()
}

const DAV_SERVERS: &[(&str, &str)] = &[
    ("webdav (Apache, Basic)", "LARDER_TEST_WEBDAV_URL"),
    ("webdav (Apache, Digest)", "LARDER_TEST_WEBDAV_DIGEST_URL"),
    ("webdav (Apache, TLS)", "LARDER_TEST_WEBDAV_TLS_URL"),
    ("webdav (nginx)", "LARDER_TEST_WEBDAV_NGINX_URL"),
    ("webdav (lighttpd)", "LARDER_TEST_WEBDAV_LIGHTTPD_URL"),
    ("webdav (WsgiDAV)", "LARDER_TEST_WEBDAV_WSGIDAV_URL"),
];

/// What servers cannot do, through no fault of the provider: server, case, reason.
const KNOWN_LACKS: &[(&str, &str, &str)] = &[(
    "webdav (WsgiDAV)",
    "keeps unusual names",
    "WsgiDAV drops what follows a semicolon in a name (observed with 4.4.0)",
)];

fn run(site: impl Site + 'static) -> Plan {
    Plan::Run(Arc::new(site))
}
