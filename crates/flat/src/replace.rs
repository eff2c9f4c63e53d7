//! Replacing a file where the server cannot do that in one step.
//!
//! The old file is moved aside, the new one takes its name, the old one goes. Between the steps no file has the name; a run
//! that ends there leaves the old one under a name that says whose place it left ([`Aside`]), and the next listing moves it
//! back, or shows it under its name where this user may only read. Nothing is ever moved over a file: all of these servers refuse that, and each step looks before it.

use std::sync::Arc;

use larder_destination::{Call, ErrorKind, Existing, Operation, Random, RemoteFile, Result};

use crate::files::{Files, Renamed, Renaming};
use crate::names::Aside;

/// A file that is to take the place of another.
pub(crate) struct Replacement<F> {
    files: Arc<F>,
    random: Arc<dyn Random>,
    call: Call,
    from: String,
    to: String,
    len: Option<u64>,
    since: i64,
}

impl<F: Files> Replacement<F> {
    /// What is to be renamed so; `since` is the server's time.
    pub fn new(
        files: Arc<F>,
        random: Arc<dyn Random>,
        call: &Call,
        renaming: &Renaming<'_>,
        since: i64,
    ) -> Self {
        Self {
            files,
            random,
            call: call.clone(),
            from: renaming.from.to_owned(),
            to: renaming.to.to_owned(),
            len: renaming.len,
            since,
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// Those of the requests. The old file has its name then, or gets it with the next listing.
    pub async fn run(self) -> Result<()> {
        let mut asides = Vec::new();
        // Others may take the name meanwhile: another writer, or a listing that moves the old file back.
        for _ in 0..ATTEMPTS {
            if self.files.find(&self.call, &self.to).await?.is_some() {
                let (random, call) = (self.random.as_ref(), &self.call);
                let aside = Aside::new(call, random, self.since, &self.to)?;
                self.move_aside(&aside).await?;
                asides.push(aside);
            }
            let renamed = self.files.rename(&self.call, &self.renaming()).await;
            match renamed {
                Ok(Renamed::Done) => return self.remove(asides).await,
                Ok(Renamed::Taken) => continue,
                Ok(Renamed::Impossible) | Err(_) => {}
            }
            let found = self.files.find(&self.call, &self.to).await?;
            if found.is_some() && self.has_happened().await? {
                return self.remove(asides).await;
            }
            if let (None, Some(aside)) = (found, asides.last()) {
                find_back(&*self.files, &self.call, aside).await?;
            }
            return match renamed {
                Err(error) => Err(error),
                Ok(_) => Err(self.call.error(
                    ErrorKind::Unsupported,
                    "the server renames some files and not others",
                )),
            };
        }
        let text = "others take the name each time that it is free";
        Err(self.call.error(ErrorKind::Exists, text))
    }

    fn renaming(&self) -> Renaming<'_> {
        Renaming {
            from: &self.from,
            to: &self.to,
            existing: Existing::Replace,
            len: self.len,
        }
    }

    async fn has_happened(&self) -> Result<bool> {
        match self.renaming().has_happened(&*self.files, &self.call).await {
            // Another file took the name, and the new one is gone too: what is told is that the rename failed.
            Err(error) if *error.kind() == ErrorKind::Exists => Ok(false),
            happened => happened,
        }
    }

    /// Makes room. What is there afterwards decides, not the answer, which may be lost.
    async fn move_aside(&self, aside: &Aside) -> Result<()> {
        let moving = Renaming {
            from: &self.to,
            to: &aside.name,
            existing: Existing::Refuse,
            len: None,
        };
        let moved = self.files.rename(&self.call, &moving).await;
        let text = match &moved {
            Ok(Renamed::Done) => return Ok(()),
            Ok(_) => "the server does not make room for the file that is to replace this one",
            Err(_) => "",
        };
        let is_gone = self.files.find(&self.call, &self.to).await?.is_none();
        match moved {
            _ if is_gone => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(self.call.error(ErrorKind::Denied, text)),
        }
    }

    /// Removes what was replaced. What stays is a leftover.
    async fn remove(&self, asides: Vec<Aside>) -> Result<()> {
        let removing = Call::new(self.call.provider, Operation::Delete);
        for aside in asides {
            let _ = self.files.remove(&removing, &aside.name).await;
        }
        Ok(())
    }
}

/// What became of a file that was moved aside.
pub(crate) enum Found {
    /// It has its name again.
    Back(RemoteFile),
    /// It cannot have it, since this user may not rename or the server does not; it is what belongs under that name.
    Aside(RemoteFile),
    /// Another file has the name, or somebody else took care of it at this moment.
    Nothing,
}

/// Moves a file back whose place is free.
///
/// # Errors
/// Those of the requests, but for what this user may not do, and for what another program did at this moment.
pub(crate) async fn find_back<F: Files>(files: &F, call: &Call, aside: &Aside) -> Result<Found> {
    if files.find(call, &aside.target).await?.is_some() {
        return Ok(Found::Nothing);
    }
    let moving = Renaming {
        from: &aside.name,
        to: &aside.target,
        existing: Existing::Refuse,
        len: None,
    };
    match files.rename(call, &moving).await {
        Ok(Renamed::Done) => {
            let found = files.find(call, &aside.target).await?;
            return Ok(found.map_or(Found::Nothing, Found::Back));
        }
        Ok(Renamed::Taken) => return Ok(Found::Nothing),
        Ok(Renamed::Impossible) => {}
        Err(error) => match error.kind() {
            ErrorKind::Network | ErrorKind::Busy(_) | ErrorKind::SignInNeeded => return Err(error),
            ErrorKind::NotFound | ErrorKind::Exists => return Ok(Found::Nothing),
            _ => {}
        },
    }
    let found = files.find(call, &aside.name).await?;
    Ok(found.map_or(Found::Nothing, |file| {
        let name = aside.target.clone();
        Found::Aside(RemoteFile { name, ..file })
    }))
}

const ATTEMPTS: usize = 5;
