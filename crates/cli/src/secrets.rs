//! The passphrase: option, environment, standard input, or asked for on the terminal.

use std::io::{BufRead, IsTerminal};

use larder_options::{Secret, Values, engine as opt};

use crate::output::Failure;

/// The passphrase as far as it was given without asking.
pub fn given(values: &Values) -> Result<Option<Secret>, Failure> {
    let usage = |e: larder_options::Error| Failure::usage(e.to_string());
    if values
        .get(opt::FORCE_PASSPHRASE_FROM_STDIN)
        .map_err(usage)?
    {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(|e| {
            Failure::general(format!(
                "the passphrase cannot be read from standard input: {e}"
            ))
        })?;
        return Ok(Some(Secret::new(line.trim_end_matches(['\r', '\n']))));
    }
    Ok(values
        .find(opt::PASSPHRASE)
        .map_err(usage)?
        .filter(|s| !s.is_empty()))
}

/// Asks on the terminal; `None` when there is none or asking was forbidden.
pub fn ask(values: &Values, twice: bool) -> Result<Option<Secret>, Failure> {
    let usage = |e: larder_options::Error| Failure::usage(e.to_string());
    let forbidden = values
        .find(opt::DISABLE_MODULE)
        .map_err(usage)?
        .is_some_and(|modules| modules.iter().any(|m| m == "console-password-input"));
    if forbidden || !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let read = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|e| {
            Failure::general(format!(
                "the passphrase cannot be read from the terminal: {e}"
            ))
        })
    };
    let first = read("Passphrase: ")?;
    if first.is_empty() {
        return Err(Failure::general(
            "an empty passphrase cannot be used".into(),
        ));
    }
    if twice && read("Passphrase again: ")? != first {
        return Err(Failure::general("the two passphrases differ".into()));
    }
    Ok(Some(Secret::new(first)))
}
