//! The passphrase: option, environment, standard input, or asked for on the terminal.

use std::io::{BufRead, IsTerminal};

use larder_options::{Secret, Values, engine as opt};

use crate::failure::Failure;

/// The passphrase as far as it was given without asking.
pub fn given(values: &Values) -> Result<Option<Secret>, Failure> {
    if values.get(opt::FORCE_PASSPHRASE_FROM_STDIN)? {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(|e| {
            Failure::general(format!(
                "the passphrase cannot be read from standard input: {e}"
            ))
        })?;
        let secret = Secret::new(line.trim_end_matches(['\r', '\n']));
        return Ok(Some(secret).filter(|s| !s.is_empty()));
    }
    Ok(values.find(opt::PASSPHRASE)?.filter(|s| !s.is_empty()))
}

/// Asks on the terminal; `None` when there is none or asking was forbidden.
pub fn ask(values: &Values, times: Times) -> Result<Option<Secret>, Failure> {
    let forbidden = values.get(opt::DISABLE_MODULE)?.iter().any(|m| m == MODULE);
    if forbidden || !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let read = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Secret::new)
            .map_err(|e| {
                Failure::general(format!(
                    "the passphrase cannot be read from the terminal: {e}"
                ))
            })
    };
    let first = read("Passphrase: ")?;
    if first.is_empty() {
        return Err(Failure::known(
            "EmptyPassphrase",
            "an empty passphrase cannot be used",
            "type one, or say --no-encryption for a plain backup",
        ));
    }
    if times == Times::Twice && read("Passphrase again: ")?.expose() != first.expose() {
        return Err(Failure::known(
            "PassphrasesDiffer",
            "the two passphrases differ",
            "",
        ));
    }
    Ok(Some(first))
}

/// How often a passphrase is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// To read what exists.
    Once,
    /// To write: nobody could read a backup whose passphrase was mistyped.
    Twice,
}

/// The module whose switching off forbids asking.
const MODULE: &str = "console-password-input";
