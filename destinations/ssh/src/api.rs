//! What the server does with files: each request with what its answers mean.

use std::sync::Arc;

use async_trait::async_trait;
use larder_destination::{Body, Call, Error, ErrorKind, Existing, Random, RemoteFile, Result};
use larder_flat::{Files, Renaming, is_temporary, temporary_name};
use larder_sshkit::{
    Failure, File, FileAttributes, How, Link, Opened, Outcome, Settings, Sftp, StatusCode,
    Unwritten,
};
use tokio::sync::Mutex;

/// What the server does with files.
pub(crate) struct Server {
    settings: Arc<Settings>,
    /// The path of the folder.
    pub(crate) path: String,
    state: Mutex<State>,
    /// One file at a time is replaced where that takes several steps.
    replacing: Mutex<()>,
    random: Arc<dyn Random>,
}

/// The one connection that all operations share.
#[derive(Default)]
struct State {
    link: Option<Link>,
    /// The server's last word: the sign-in or its host key was refused. It is not asked again, lest it lock the account.
    refused: Option<Error>,
}

impl Server {
    /// The folder at `path`; `random` is for temporary names.
    pub(crate) fn new(settings: Settings, path: String, random: Arc<dyn Random>) -> Self {
        Self {
            settings: Arc::new(settings),
            path,
            state: Mutex::default(),
            replacing: Mutex::default(),
            random,
        }
    }

    /// A channel to the server, over the connection that there is or a new one.
    pub(crate) async fn session(&self, call: &Call) -> Result<Arc<Sftp>> {
        let mut state = self.state.lock().await;
        if let Some(refused) = &state.refused {
            let error = call.error(refused.kind().clone(), refused.message());
            return Err(match refused.advised() {
                Some(advice) => error.advice(advice),
                None => error,
            });
        }
        if let Some(link) = &mut state.link {
            match link.channel(call).await {
                Ok(Some(sftp)) => return Ok(sftp),
                Err(error) if *error.kind() != ErrorKind::Network => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        state.link = None;
        let mut link = match Link::open(call, &self.settings).await {
            Ok(link) => link,
            Err(error) => {
                if matches!(
                    error.kind(),
                    ErrorKind::SignInNeeded | ErrorKind::Untrusted(_)
                ) {
                    let refused = call.error(error.kind().clone(), error.message());
                    let advice = error.advised();
                    state.refused = Some(match advice {
                        Some(advice) => refused.advice(advice),
                        None => refused,
                    });
                }
                return Err(error);
            }
        };
        let sftp = link.channel(call).await?;
        state.link = Some(link);
        sftp.ok_or_else(|| {
            let text = "the connection to the server was lost at once";
            call.error(ErrorKind::Network, text).unanswered()
        })
    }

    pub(crate) fn file(&self, name: &str) -> String {
        match self.path.as_str() {
            "." => name.to_owned(),
            path => format!("{}/{name}", path.trim_end_matches('/')),
        }
    }

    /// The error for a folder that cannot be listed.
    pub(crate) async fn no_folder(&self, call: &Call, sftp: &Sftp, failure: Failure) -> Error {
        match sftp.stat(&self.path).await {
            Ok(Some(found)) if !is_folder(&found) => {
                call.error(ErrorKind::Config, NO_FOLDER_BUT_FILE)
            }
            _ => failure.into_error(call),
        }
    }

    /// The error for a file that is not there, or cannot be reached.
    pub(crate) async fn explain(&self, call: &Call, failure: Failure) -> Error {
        if !failure.is(StatusCode::NoSuchFile) {
            return failure.into_error(call);
        }
        match self.has_folder(call).await {
            Ok(true) => call.not_found(),
            Ok(false) => failure.into_error(call),
            Err(error) => error,
        }
    }

    /// The next files of a listing. Links are followed; those that lead nowhere are no files.
    pub(crate) async fn next_files(&self, folder: &Opened) -> Outcome<Option<Vec<RemoteFile>>> {
        let Some(entries) = folder.next_entries().await? else {
            return Ok(None);
        };
        let mut files = Vec::with_capacity(entries.len());
        for File {
            filename, attrs, ..
        } in entries
        {
            if matches!(filename.as_str(), "." | "..") {
                continue;
            }
            let facts =
                match attrs.permissions.is_some() && attrs.file_type().is_symlink() {
                    true => folder
                        .stat(&self.file(&filename))
                        .await
                        .or_else(|failure| match failure {
                            Failure::Status(..) => Ok(None),
                            failure => Err(failure),
                        })?,
                    false => Some(attrs),
                };
            files.extend(facts.map(|facts| remote_file(filename, &facts)));
        }
        Ok(Some(files))
    }

    /// The error for bytes that were not stored: most servers say no more than that.
    async fn unwritten(&self, call: &Call, sftp: &Sftp, failure: Failure, len: u64) -> Error {
        if failure.is(StatusCode::Failure)
            && let Ok(Some(space)) = sftp.space(&self.path).await
            && space.free.is_some_and(|free| free < len)
        {
            return call.error(ErrorKind::Quota, "the disk of the server is full");
        }
        failure.into_error(call)
    }

    /// Renames where the server cannot replace a file in one step: the old one is moved aside, and back if the new one does
    /// not take its place.
    async fn replace(&self, call: &Call, from: &str, to: &str) -> Result<Outcome<()>> {
        let _one = self.replacing.lock().await;
        let sftp = self.session(call).await?;
        let failure = match sftp.rename(from, to).await {
            Err(failure) if !failure.is_loss() => failure,
            renamed => return Ok(renamed),
        };
        let aside = self.file(&temporary_name(call, self.random.as_ref())?);
        // That is all that servers say of a name that is taken; what cannot be moved aside is not in the way.
        if sftp.rename(to, &aside).await.is_err() {
            return Ok(Err(failure));
        }
        let renamed = sftp.rename(from, to).await;
        match &renamed {
            Ok(()) => drop(sftp.remove(&aside).await),
            // Over a new connection if this one is lost.
            Err(_) => drop(self.session(call).await?.rename(&aside, to).await),
        }
        Ok(renamed)
    }

    async fn rename_once(&self, call: &Call, renaming: &Renaming<'_>) -> Result<Outcome<()>> {
        let (from, to) = (self.file(renaming.from), self.file(renaming.to));
        let sftp = self.session(call).await?;
        if renaming.existing == Existing::Replace {
            return match sftp.renames_over() {
                true => Ok(sftp.rename_over(&from, &to).await),
                false => self.replace(call, &from, &to).await,
            };
        }
        if self.find(call, renaming.to).await?.is_some() {
            return Err(call.exists());
        }
        let renamed = sftp.rename(&from, &to).await;
        // OpenSSH says no more than that of a name that was taken meanwhile.
        if renamed.as_ref().is_err_and(|f| f.is(StatusCode::Failure))
            && self.find(call, renaming.to).await?.is_some()
        {
            return Err(call.exists());
        }
        Ok(renamed)
    }
}

#[async_trait]
impl Files for Server {
    async fn has_folder(&self, call: &Call) -> Result<bool> {
        let found = self.session(call).await?.stat(&self.path).await;
        match found.map_err(|failure| failure.into_error(call))? {
            None => Ok(false),
            Some(found) if is_folder(&found) => Ok(true),
            Some(_) => Err(call.error(ErrorKind::Config, NO_FOLDER_BUT_FILE)),
        }
    }

    async fn find(&self, call: &Call, name: &str) -> Result<Option<RemoteFile>> {
        let found = self.session(call).await?.stat(&self.file(name)).await;
        let found = found.map_err(|failure| failure.into_error(call))?;
        Ok(found.map(|facts| remote_file(name.to_owned(), &facts)))
    }

    async fn send(&self, call: &Call, name: &str, body: Body, existing: Existing) -> Result<()> {
        let sftp = self.session(call).await?;
        let path = self.file(name);
        let fresh = existing == Existing::Refuse;
        let mut file = match sftp.open(&path, How::Create { fresh }).await {
            Ok(file) => file,
            Err(failure) if failure.is(StatusCode::NoSuchFile) => {
                return Err(self.no_folder(call, &sftp, failure).await);
            }
            Err(failure) if fresh && self.find(call, name).await?.is_some() => {
                return Err(call.exists().caused_by(failure.into_error(call)));
            }
            Err(failure) => return Err(self.unwritten(call, &sftp, failure, body.len()).await),
        };
        if is_temporary(name) {
            file = file.unless_finished(path);
        }
        match file.write(&body).await {
            Ok(()) => {}
            Err(Unwritten::Server(failure)) => {
                return Err(self.unwritten(call, &sftp, failure, body.len()).await);
            }
            Err(Unwritten::Body(error)) => {
                let text = format!("the content to send cannot be read: {error}");
                return Err(call.error(ErrorKind::Other, text).caused_by(error));
            }
        }
        let finished = file.finish().await;
        match finished {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.unwritten(call, &sftp, failure, body.len()).await),
        }
    }

    async fn rename(&self, call: &Call, renaming: &Renaming<'_>) -> Result<()> {
        let failure = match self.rename_once(call, renaming).await? {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if failure.is_loss() && matches!(renaming.has_happened(self, call).await, Ok(true)) {
            return Ok(());
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
}

pub(crate) fn is_folder(facts: &FileAttributes) -> bool {
    facts.permissions.is_some() && facts.file_type().is_dir()
}

fn remote_file(name: String, facts: &FileAttributes) -> RemoteFile {
    let is_folder = is_folder(facts);
    RemoteFile {
        name,
        size: facts.size.filter(|_| !is_folder),
        modified: facts.mtime.map(i64::from),
        is_folder,
        is_archived: false,
    }
}

const NO_FOLDER_BUT_FILE: &str = "what the URL names is a file, not a folder";
