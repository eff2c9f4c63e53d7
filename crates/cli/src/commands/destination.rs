//! `destination`: the verbs of a destination for people, as in Duplicati's backend tool, and a test of all of them.
//!
//! Files go as they are: no encryption, no catalog.

mod trial;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use larder_engine::Error;
use larder_registry::destination::{self as remote, Body, Destination, Existing};

use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::{Argument, Invocation};
use crate::open::{Access, Session};
use crate::output::local_time;
use crate::paths::{shown, storage_url};
use crate::terminal::{print, print_item};

/// Takes the storage URL from behind the name of the verb, where other commands do not have it.
pub fn take_url(call: &mut Invocation) -> Result<(), Failure> {
    if call.arguments.len() < 2 {
        return Ok(());
    }
    let Argument { value, .. } = call.arguments.remove(1);
    let text = value
        .into_string()
        .map_err(|raw| Failure::usage(format!("the storage URL {} is not UTF-8", shown(&raw))))?;
    call.url = Some(storage_url(&text)?);
    Ok(())
}

/// Runs `destination`; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    let verb = call.texts()?.first().map(|verb| verb.to_ascii_lowercase());
    let verb = verb.unwrap_or_default();
    let (access, arguments) = match verb.as_str() {
        "list" => (Access::Reads, 0),
        "get" => (Access::Reads, 1),
        "put" | "delete" => (Access::Writes, 1),
        "createfolder" | "create-folder" => (Access::Writes, 0),
        "test" => (Access::Writes, 1),
        _ => {
            return Err(Failure::usage(
                "destination needs one of list, get, put, delete, create-folder and test, then a storage URL",
            ));
        }
    };
    call.need_url()?;
    let (given, least) = (
        call.arguments.len() - 1,
        if verb == "test" { 0 } else { arguments },
    );
    if given < least || given > arguments {
        let wanted = if arguments == 0 {
            "nothing"
        } else {
            "the name of one file"
        };
        return Err(Failure::usage(format!(
            "destination {verb} takes {wanted} after the storage URL"
        )));
    }
    let session = Session::new(call, RunKind::Listing)?;
    let store = session.reach(access)?;
    let file = call
        .arguments
        .get(1)
        .map(|argument| PathBuf::from(&argument.value));
    let file = file.unwrap_or_default();
    session.wait(async {
        match verb.as_str() {
            "list" => list(store.as_ref()).await,
            "get" => get(store.as_ref(), &file, replaces(call)?).await,
            "put" => put(store.as_ref(), &file, replaces(call)?).await,
            "delete" => delete(store.as_ref(), &file).await,
            "test" => trial::run(store.as_ref(), &file.to_string_lossy()).await,
            _ => store.create_folder().await.map_err(failed),
        }
    })?;
    Ok(0)
}

/// Whether a file that is there already may be replaced.
fn replaces(call: &Invocation) -> Result<Existing, Failure> {
    match call.values.get(larder_options::engine::OVERWRITE)? {
        true => Ok(Existing::Replace),
        false => Ok(Existing::Refuse),
    }
}

/// A failure of the destination.
fn failed(error: remote::Error) -> Failure {
    Failure::from_engine(&Error::Destination(error))
}

async fn list(store: &dyn Destination) -> Result<(), Failure> {
    print("Name\tDir/File\tLastChange\tSize");
    let mut files = store.list();
    while let Some(file) = files.next().await {
        let file = file.map_err(failed)?;
        let kind = if file.is_folder { "Dir" } else { "File" };
        let time = file.modified.map(local_time).unwrap_or_default();
        let size = file.size.map(|size| size.to_string()).unwrap_or_default();
        print_item(&format!("{}\t{kind}\t{time}\t{size}", file.name));
    }
    Ok(())
}

/// The name of a file at the destination: that of the local one.
fn remote_name(file: &Path) -> Result<&str, Failure> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| Failure::usage(format!("{} is no name of a file", shown(file.as_os_str()))))
}

/// Fetches a file to a temporary one beside its place, which takes the name when all of it has come.
async fn get(store: &dyn Destination, file: &Path, existing: Existing) -> Result<(), Failure> {
    let name = remote_name(file)?;
    let local = |error: std::io::Error| {
        Failure::general(format!(
            "{} cannot be written: {error}",
            shown(file.as_os_str())
        ))
    };
    if existing == Existing::Refuse && file.symlink_metadata().is_ok() {
        return Err(Failure::known(
            "FileExists",
            format!("{} exists and is kept", shown(file.as_os_str())),
            "name another file, or say --overwrite",
        ));
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut content = store.get(name).await.map_err(failed)?.stream;
    let folder = folder.unwrap_or(Path::new("."));
    // As open as any new file: the umask is taken away by the system.
    let mut target = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(local)?;
    while let Some(piece) = content.next().await {
        target.write_all(&piece.map_err(failed)?).map_err(local)?;
    }
    target.as_file().sync_all().map_err(local)?;
    let kept = match existing {
        Existing::Replace => target.persist(file),
        Existing::Refuse => target.persist_noclobber(file),
    };
    kept.map(drop).map_err(|error| local(error.error))
}

async fn put(store: &dyn Destination, file: &Path, existing: Existing) -> Result<(), Failure> {
    let name = remote_name(file)?;
    let facts = file.metadata().map_err(|error| {
        Failure::general(format!(
            "{} cannot be read: {error}",
            shown(file.as_os_str())
        ))
    })?;
    if !facts.is_file() {
        return Err(Failure::general(format!(
            "{} is not a file",
            shown(file.as_os_str())
        )));
    }
    let body = Body::from_file(file.to_path_buf(), facts.len());
    match store.put(name, body, existing).await {
        Err(error) if *error.kind() == remote::ErrorKind::Exists => {
            Err(failed(error).with_hint("name another file, or say --overwrite"))
        }
        put => put.map_err(failed),
    }
}

async fn delete(store: &dyn Destination, file: &Path) -> Result<(), Failure> {
    store.delete(remote_name(file)?).await.map_err(failed)
}
