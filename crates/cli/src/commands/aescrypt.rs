//! `aescrypt`: AES Crypt files, as with Duplicati's tool for them.

use std::path::{Path, PathBuf};

use larder_engine::Decrypting;
use larder_options::{Secret, engine as opt};

use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::open::Session;
use crate::paths::{absolute, expand_path};
use crate::secrets::{self, Times};
use crate::terminal::note;

/// Runs the command; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    let [word, passphrase, from, to] = call.arguments.as_slice() else {
        return Err(Failure::usage(
            "aescrypt needs one of e, d, do and dc, then a passphrase (or - to be asked for it), a file and the new file",
        ));
    };
    let how = match word.value.to_string_lossy().to_ascii_lowercase().as_str() {
        "e" => None,
        "d" => Some(Decrypting::Strict),
        "do" => Some(Decrypting::KeepDamaged),
        "dc" => Some(Decrypting::AnyPadding),
        _ => {
            return Err(Failure::usage(
                "the first word of aescrypt is e (encrypt), d (decrypt), do (decrypt what can be) or dc (decrypt files of other programs)",
            ));
        }
    };
    if call.values.get(opt::DRY_RUN)? {
        return Err(Failure::known(
            "OptionNotImplemented",
            "aescrypt cannot be tried without being done",
            "leave --dry-run out; nothing that is there is replaced",
        ));
    }
    let (from, to) = (path(&from.value)?, path(&to.value)?);
    let session = Session::new(call, RunKind::Other)?;
    session.console.pause();
    let passphrase = secret(call, &passphrase.value, how.is_none())?;
    session.console.resume();
    let tool = session.aescrypt(passphrase)?;
    let replace = call.values.get(opt::OVERWRITE)?;
    let result = match how {
        None => tool.encrypt(&from, &to, replace).map(|()| None),
        Some(how) => tool.decrypt(&from, &to, how, replace),
    };
    session.console.end();
    let Some(damage) = result? else {
        return Ok(0);
    };
    note(&format!(
        "Error [DamagedFile]: {} is damaged: {damage}; what could be decrypted is in {} and may be wrong anywhere",
        from.display(),
        to.display()
    ));
    Ok(3)
}

/// The passphrase: the argument, or that of the option, the environment or the terminal where it is empty or `-`.
fn secret(call: &Invocation, argument: &std::ffi::OsStr, is_new: bool) -> Result<Secret, Failure> {
    if !argument.is_empty() && argument != "-" {
        let text = argument.to_str().map(Secret::new);
        return text.ok_or_else(|| Failure::usage("the passphrase is not UTF-8"));
    }
    if let Some(given) = secrets::given(&call.values)? {
        return Ok(given);
    }
    let times = match is_new {
        true => Times::Twice,
        false => Times::Once,
    };
    secrets::ask(&call.values, times)?.ok_or_else(|| {
        Failure::known(
            "PassphraseMissing",
            "no passphrase was given, and there is no terminal to ask for it",
            "set the environment variable PASSPHRASE, or give --passphrase=…",
        )
    })
}

fn path(text: &std::ffi::OsStr) -> Result<PathBuf, Failure> {
    if text.is_empty() {
        return Err(Failure::usage("the name of a file is empty"));
    }
    match text.to_str() {
        Some(text) => absolute(Path::new(&expand_path(text))),
        None => absolute(Path::new(text)),
    }
}
