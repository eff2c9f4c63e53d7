//! What the server does with files: each request with what its answers mean.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    Abilities, About, Body, Call, Capacity, Download, Error, ErrorKind, Existing, RemoteFile,
    Result, Tools,
};
use larder_flat::{Files, Line, NO_FOLDER, Renamed, Renaming, Store, is_temporary};
use larder_sshkit::{
    Attributes, Entry, Failure, How, Opened, Outcome, Settings, Sftp, Status, Unwritten,
};

use crate::SCHEME;
use crate::api::{Kind, SHAPE, Session, remote_file};

/// The store in the folder at `path`, whose operations take no longer than `longest`.
pub(crate) fn store(
    settings: Settings,
    path: String,
    display: String,
    longest: Option<Duration>,
    tools: &Tools,
) -> Store<Server> {
    let abilities = Abilities {
        atomic_put: true,
        // True of OpenSSH, whose rename makes a link first; other servers may replace the file of another program.
        exclusive_put: false,
        consistent_list: true,
        unique_names: true,
        checksummed_put: false,
    };
    let longest_list = settings.times.list;
    let server = Server {
        line: Line::new(Arc::new(settings), SHAPE),
        path,
    };
    let about = About::new(SCHEME, display).with_abilities(abilities);
    Store::new(server, about, Arc::clone(&tools.random))
        .no_longer_than(longest)
        .lists_no_longer_than(longest_list)
}

/// One folder on one server.
pub(crate) struct Server {
    line: Line<Session>,
    /// The path of the folder.
    path: String,
}

impl Server {
    /// A channel to the server.
    async fn session(&self, call: &Call) -> Result<Arc<Sftp>> {
        Ok(self.line.channel(call).await?.shared())
    }

    fn file(&self, name: &str) -> String {
        match self.path.as_str() {
            "." => name.to_owned(),
            path => format!("{}/{name}", path.trim_end_matches('/')),
        }
    }

    /// The error for a file that cannot be reached: most servers say no more of a missing folder than of a missing file,
    /// some that it is denied or failed.
    async fn explain(&self, call: &Call, failure: Failure) -> Error {
        if !failure.is_missing() && !may_mean_anything(&failure) {
            return failure.into_error(call);
        }
        match self.has_folder(call).await {
            Ok(true) if failure.is_missing() => call.not_found(),
            Ok(true) => failure.into_error(call),
            Ok(false) => call.folder_missing(NO_FOLDER),
            // Who may not look at the folder hears what was refused first.
            Err(error) if *error.kind() == ErrorKind::Denied => failure.into_error(call),
            Err(error) => error,
        }
    }

    /// The error for bytes that were not stored: most servers say no more than that of a full disk.
    async fn unwritten(&self, call: &Call, sftp: &Sftp, failure: Failure, len: u64) -> Error {
        if failure.is(Status::FAILURE)
            && let Ok(Some(space)) = sftp.space(&self.path).await
            && space.free.is_some_and(|free| free < len)
        {
            return call.error(ErrorKind::Quota, "the disk of the server is full");
        }
        self.explain(call, failure).await
    }

    /// The next files of a listing. Links are followed; those that lead nowhere, or where this user may not look, are no
    /// files. What the server cannot tell ends the listing, since a file that it left out would count as lost.
    async fn next_files(&self, call: &Call, folder: &Opened) -> Result<Option<Vec<RemoteFile>>> {
        let entries = folder.next_entries().await;
        let entries = entries.map_err(|failure| failure.into_error(call))?;
        let Some(entries) = entries else {
            return Ok(None);
        };
        let mut files = Vec::with_capacity(entries.len());
        for Entry { name, attributes } in entries {
            // No file in this folder has such a name; it could be asked for only somewhere else.
            if Call::on_file(call.provider, call.operation, &name).is_err() {
                continue;
            }
            let found = self.entry(folder.sftp(), &name, attributes).await;
            let found = found.map_err(|failure| failure.into_error(call).object(&name))?;
            files.extend(found.map(|(facts, is_folder)| remote_file(name, &facts, is_folder)));
        }
        Ok(Some(files))
    }

    /// What an entry of a listing is, and whether it is a folder; nothing when it is neither folder nor file.
    async fn entry(
        &self,
        sftp: &Arc<Sftp>,
        name: &str,
        attributes: Attributes,
    ) -> Outcome<Option<(Attributes, bool)>> {
        let path = self.file(name);
        let facts = match Kind::of(&attributes) {
            Kind::Link => match sftp.stat(&path).await {
                Err(failure) if failure.is(Status::PERMISSION_DENIED) => None,
                found => found?,
            },
            _ => Some(attributes),
        };
        let Some(facts) = facts else {
            return Ok(None);
        };
        let is_folder = match is_folder(sftp, &path, &facts).await {
            // A file that is named may be asked for; one that is left out looks lost.
            Err(failure) if failure.is(Status::PERMISSION_DENIED) => Some(false),
            found => found?,
        };
        Ok(is_folder.map(|is_folder| (facts, is_folder)))
    }

    async fn rename_once(&self, call: &Call, renaming: &Renaming<'_>) -> Result<Outcome<Renamed>> {
        let (from, to) = (self.file(renaming.from), self.file(renaming.to));
        let sftp = self.session(call).await?;
        let replaces = renaming.existing == Existing::Replace;
        if replaces && sftp.renames_over() {
            match sftp.rename_over(&from, &to).await {
                Err(failure) if failure.is(Status::OP_UNSUPPORTED) => {}
                renamed => return Ok(renamed.map(|()| Renamed::Done)),
            }
        }
        if !replaces && self.find(call, renaming.to).await?.is_some() {
            return Ok(Ok(Renamed::Taken));
        }
        let renamed = sftp.rename(&from, &to).await;
        // Servers say no more than that of a name that is taken.
        if renamed.as_ref().is_err_and(may_be_taken)
            && self.find(call, renaming.to).await?.is_some()
            && self.find(call, renaming.from).await?.is_some()
        {
            return Ok(Ok(Renamed::Taken));
        }
        Ok(renamed.map(|()| Renamed::Done))
    }
}

#[async_trait]
impl Files for Server {
    async fn list(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>> {
        let sftp = self.session(call).await?;
        let folder = match sftp.open(&self.path, How::List).await {
            Ok(folder) => folder,
            Err(failure) => return Err(self.explain(call, failure).await),
        };
        let call = call.clone();
        let batches = stream::try_unfold((folder, 0_usize), move |(folder, empty)| {
            let call = call.clone();
            async move {
                let Some(files) = self.next_files(&call, &folder).await? else {
                    return Ok(None);
                };
                let empty = if files.is_empty() { empty + 1 } else { 0 };
                if empty > MOST_EMPTY {
                    return Err(call.error(ErrorKind::Other, "the listing has no end"));
                }
                let files = stream::iter(files.into_iter().map(Ok));
                Ok(Some((files, (folder, empty))))
            }
        });
        Ok(batches.try_flatten().boxed())
    }

    async fn get(&self, call: &Call, name: &str) -> Result<Download> {
        let sftp = self.session(call).await?;
        let file = match sftp.open(&self.file(name), How::Read).await {
            Ok(file) => file,
            Err(failure) => return Err(self.explain(call, failure).await),
        };
        let facts = file.facts().await;
        let facts = facts.map_err(|failure| failure.into_error(call))?;
        let len = facts.size.ok_or_else(|| {
            let text = "the server does not tell the size of the file";
            call.error(ErrorKind::Unsupported, text)
        })?;
        let (pieces, call) = (file.read(len), call.clone());
        Ok(Download {
            len: Some(len),
            stream: pieces
                .map_err(move |failure| failure.into_error(&call))
                .boxed(),
        })
    }

    async fn has_folder(&self, call: &Call) -> Result<bool> {
        let sftp = self.session(call).await?;
        let found = match sftp.stat(&self.path).await {
            Ok(None) => return Ok(false),
            Ok(Some(found)) => is_folder(&sftp, &self.path, &found).await,
            Err(failure) => Err(failure),
        };
        match found.map_err(|failure| failure.into_error(call))? {
            Some(true) => Ok(true),
            _ => Err(call.error(ErrorKind::Config, NO_FOLDER_BUT_FILE)),
        }
    }

    async fn find(&self, call: &Call, name: &str) -> Result<Option<RemoteFile>> {
        let found = self.session(call).await?.stat(&self.file(name)).await;
        let found = found.map_err(|failure| failure.into_error(call))?;
        Ok(found.map(|facts| {
            let is_folder = Kind::of(&facts) == Kind::Folder;
            remote_file(name.to_owned(), &facts, is_folder)
        }))
    }

    async fn send(&self, call: &Call, name: &str, body: Body, existing: Existing) -> Result<()> {
        let sftp = self.session(call).await?;
        let path = self.file(name);
        let fresh = existing == Existing::Refuse;
        let how = How::Create {
            fresh,
            // A new file is nobody else's.
            goes: fresh || is_temporary(name),
        };
        let file = match sftp.open(&path, how).await {
            Ok(file) => file,
            Err(failure) if fresh && may_be_taken(&failure) => {
                return Err(match self.find(call, name).await? {
                    Some(_) => call.exists().caused_by(failure.into_error(call)),
                    None => self.unwritten(call, &sftp, failure, body.len()).await,
                });
            }
            Err(failure) => return Err(self.unwritten(call, &sftp, failure, body.len()).await),
        };
        match file.store(&body).await {
            Ok(()) => Ok(()),
            Err(Unwritten::Server(failure)) => {
                Err(self.unwritten(call, &sftp, failure, body.len()).await)
            }
            Err(Unwritten::Body(error)) => {
                let text = format!("the content to send cannot be read: {error}");
                Err(call.error(ErrorKind::Other, text).caused_by(error))
            }
        }
    }

    async fn rename(&self, call: &Call, renaming: &Renaming<'_>) -> Result<Renamed> {
        let failure = match self.rename_once(call, renaming).await? {
            Ok(renamed) => return Ok(renamed),
            Err(failure) => failure,
        };
        if failure.is(Status::OP_UNSUPPORTED) {
            // At its name at once, half a file could be taken for a whole one.
            return Err(call.error(ErrorKind::Unsupported, NO_RENAME));
        }
        if failure.is_loss() && matches!(renaming.has_happened(self, call).await, Ok(true)) {
            return Ok(Renamed::Done);
        }
        Err(self.explain(call, failure).await)
    }

    async fn remove(&self, call: &Call, name: &str) -> Result<()> {
        let sftp = self.session(call).await?;
        match sftp.remove(&self.file(name)).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.explain(call, failure).await),
        }
    }

    async fn make_folder(&self, call: &Call) -> Result<()> {
        let sftp = self.session(call).await?;
        let fail = |failure: Failure| failure.into_error(call);
        // From the innermost that is there; the upper ones may be closed to us.
        let mut missing = Vec::new();
        let mut path = self.path.as_str();
        while !matches!(path, "" | "." | "/") {
            match sftp.stat(path).await.map_err(fail)? {
                Some(found) => match is_folder(&sftp, path, &found).await.map_err(fail)? {
                    Some(true) => break,
                    _ => {
                        let text = format!("{path} is a file, not a folder");
                        return Err(call.error(ErrorKind::Exists, text));
                    }
                },
                None => missing.push(path),
            }
            path = path.rsplit_once('/').map_or("", |(upper, _)| upper);
        }
        for path in missing.into_iter().rev() {
            let Err(failure) = sftp.make_folder(path).await else {
                continue;
            };
            // Somebody else may have made it at this moment.
            let is_made = match sftp.stat(path).await.map_err(fail)? {
                Some(found) => is_folder(&sftp, path, &found).await.map_err(fail)?,
                None => None,
            };
            if is_made != Some(true) {
                return Err(failure.into_error(call));
            }
        }
        Ok(())
    }

    async fn space(&self, call: &Call) -> Result<Option<Capacity>> {
        if !self.has_folder(call).await? {
            return Err(call.folder_missing(NO_FOLDER));
        }
        let space = self.session(call).await?.space(&self.path).await;
        space.map_err(|failure| failure.into_error(call))
    }
}

/// Whether it is a folder or a file; nothing when it is neither. Of a server that tells no types only a folder can be opened
/// as one; where it does not say why not, what can be opened as a file is one.
async fn is_folder(sftp: &Arc<Sftp>, path: &str, facts: &Attributes) -> Outcome<Option<bool>> {
    let failure = match Kind::of(facts) {
        Kind::Folder => return Ok(Some(true)),
        Kind::File => return Ok(Some(false)),
        Kind::Other | Kind::Link => return Ok(None),
        Kind::Unknown => match sftp.open(path, How::List).await {
            Ok(_) => return Ok(Some(true)),
            Err(failure) => failure,
        },
    };
    // OpenSSH says of a file only that there is no such folder.
    let is_file = failure.is_missing()
        || failure.is(Status::NOT_A_DIRECTORY)
        || (may_mean_anything(&failure) && sftp.open(path, How::Read).await.is_ok());
    match is_file {
        true => Ok(Some(false)),
        false => Err(failure),
    }
}

/// What servers answer when a name is taken.
fn may_be_taken(failure: &Failure) -> bool {
    failure.is(Status::FILE_ALREADY_EXISTS) || may_mean_anything(failure)
}

/// What servers answer to many things that are wrong.
fn may_mean_anything(failure: &Failure) -> bool {
    failure.is(Status::FAILURE) || failure.is(Status::PERMISSION_DENIED)
}

/// Parts of a listing in a row without a file in them. OpenSSH has a hundred names in each.
const MOST_EMPTY: usize = 1_000;
const NO_RENAME: &str = "the server cannot rename files, without which a file could not appear whole or not at all; use another \
     SFTP server";
const NO_FOLDER_BUT_FILE: &str = "what the URL names is a file, not a folder";
