//! `sign-in`: a user signs in to a service for the first time and gets the option that keeps the sign-in.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use larder_engine::{Error, Level, Message};
use larder_options::engine as opt;
use larder_registry::destination::{AskConsent, Consent, SignInWay, Tools};

use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::open::{Session, option_problems};
use crate::paths::folder_of_url;
use crate::terminal::{note, print, print_text};
use crate::tokens::TokenFiles;

/// Runs `sign-in`; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    let session = Session::new(call, RunKind::Listing)?;
    let text = call.need_url()?;
    let failed = |error| Failure::from_engine(&Error::Destination(error));
    let configured = larder_registry::configure(text, &call.values, &folder_of_url(text)?);
    let configured = configured.map_err(failed)?;
    let provider = configured.found.provider;
    let scheme = provider.schemes.first().copied().unwrap_or_default();
    let sign_in = provider.sign_in.ok_or_else(|| {
        Failure::known(
            "NoSignIn",
            format!(
                "the destination {scheme} has no sign-in of this kind: its options say who you are"
            ),
            format!("see `larder help {scheme}`"),
        )
    })?;
    for problem in option_problems(call, &configured) {
        session.console.message(&Message {
            level: Level::Warning,
            id: problem.id,
            text: problem.message,
        });
    }
    let tools = Tools {
        waits: session.console.clone(),
        tokens: Arc::new(TokenFiles::new(&call.values)),
        ..Tools::system()
    };
    let way = match call.values.get(opt::DEVICE)? {
        true => SignInWay::Device,
        false => SignInWay::Browser,
    };
    let signed_in = session.wait(async {
        let signed_in = sign_in(&configured.config, &tools, way, &Screen).await;
        signed_in.map_err(failed)
    })?;
    // The one place where this secret is shown, because it was asked for: on standard output, never in a log.
    let (option, value) = (signed_in.option, signed_in.value.expose());
    if call.json() {
        let told = serde_json::json!({"MainOperation": "SignIn", "Option": option, "Value": value});
        print_text(&serde_json::to_string_pretty(&told).unwrap_or_default());
    } else {
        note(
            "You are signed in. Keep this option secret, in a file that only you can read, and name that with --parameters-file:",
        );
        print(&format!("--{option}={value}"));
    }
    Ok(0)
}

/// Asks on standard error, so that standard output holds the result alone.
struct Screen;

impl AskConsent for Screen {
    fn ask(&self, consent: &Consent<'_>) {
        match consent {
            Consent::Browser { address } => {
                note("Open this address in a browser on this machine and agree; Ctrl-C gives up:");
                note(address);
                open_browser(address);
            }
            Consent::Device {
                address,
                code,
                lacks,
            } => {
                // Said before the user agrees, since an old backup may be what is missing afterwards.
                if !lacks.is_empty() {
                    note(lacks);
                }
                note(&format!(
                    "Open {address} on any device, type the code {code} and agree; Ctrl-C gives up."
                ));
            }
        }
    }
}

/// Opens the address for a user who sits before this machine; who sees no browser has the address on the screen.
fn open_browser(address: &str) {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if !has_screen || !std::io::stderr().is_terminal() {
        return;
    }
    let mut opener = Command::new("xdg-open");
    opener.arg(address).stdin(Stdio::null());
    let _ = opener.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}
