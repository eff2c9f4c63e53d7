//! From options to an open engine: destination with its wrappers, local catalog, console, signals.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_engine::{
    AesCrypt, Cancel, Error, Event, Level, Message, Monitor, Recovery, RecoveryReport, Repository,
    Run, Setup, SystemClock, SystemRandom, ToolSetup, network_runtime,
};
use larder_options::{Choice, Opt, Problem, Secret, Values, check, engine as opt, find_decl};
use larder_registry::destination::wrap::{RateLimit, ReadOnly, Throttle};
use larder_registry::destination::{Destination, Place, Tools, Url};
use larder_registry::{Configured, Found};
use tokio::runtime::Runtime;

use crate::console::{Console, RunKind, Style};
use crate::failure::Failure;
use crate::invocation::{Invocation, changes_files, weigh};
use crate::logging::Chooser;
use crate::paths::folder_of_url;
use crate::secrets::{self, Times};
use crate::signals;
use crate::state::{self, Lookup, TemporaryState, Waiting};
use crate::tables::tables;
use crate::terminal::note;
use crate::tokens::TokenFiles;

/// What a command may do to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Lists, restores, checks.
    Reads,
    /// Backup and repair.
    Writes,
}

/// What stays the same for all attempts of one command.
pub struct Session<'a> {
    /// The call.
    pub call: &'a Invocation,
    /// What people see.
    pub console: Arc<Console>,
    cancel: Cancel,
    /// Where remote calls run.
    runtime: Runtime,
}

/// An open backup, a run on it, and what must outlive them.
pub struct Opened {
    /// The run.
    pub run: Run,
    console: Arc<Console>,
    /// The catalog's file.
    pub catalog: PathBuf,
    /// Removed when the run is over.
    state: Option<TemporaryState>,
}

/// An open backup of which only the catalog is worked on.
pub struct OnCatalog {
    /// The run.
    pub opened: Opened,
    /// The lasting catalog, when there is one.
    pub lasting: Option<PathBuf>,
}

/// A destination with its wrappers.
struct Reached {
    destination: Arc<dyn Destination>,
    /// Complaints about options.
    problems: Vec<Problem>,
    /// What local state is kept by.
    place: Place,
}

/// Where the local catalog of a run lies.
struct State {
    path: PathBuf,
    temporary: Option<TemporaryState>,
}

impl<'a> Session<'a> {
    /// Prepares console, log file and signals.
    pub fn new(call: &'a Invocation, run: RunKind) -> Result<Self, Failure> {
        let style = Style {
            quiet: call.values.get(opt::QUIET_CONSOLE)?,
            json: call.json(),
            run,
        };
        let console = Arc::new(Console::new(
            &style,
            Chooser::console(&call.values)?,
            call.log.clone(),
        ));
        for remark in &call.remarks {
            console.message(&Message {
                level: Level::Information,
                id: remark.id,
                text: remark.message.clone(),
            });
        }
        let cancel = signals::cancel(&console);
        Ok(Self {
            call,
            console,
            cancel,
            runtime: network_runtime().map_err(Failure::from)?,
        })
    }

    /// The destination alone, for commands that are not about a backup.
    pub fn reach(&self, access: Access) -> Result<Arc<dyn Destination>, Failure> {
        let reached = self.destination(access)?;
        for problem in reached.problems {
            self.console.message(&Message {
                level: Level::Warning,
                id: problem.id,
                text: problem.message,
            });
        }
        Ok(reached.destination)
    }

    /// What works on files of this machine alone.
    fn tool(&self, passphrase: Option<Secret>) -> ToolSetup {
        ToolSetup {
            values: self.call.values.clone(),
            passphrase,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            monitor: self.console.clone(),
            cancel: self.cancel.clone(),
        }
    }

    /// A recovery.
    pub fn recovery(&self, passphrase: Option<Secret>) -> Result<Recovery, Failure> {
        Ok(Recovery::new(self.tool(passphrase))?)
    }

    /// The file tool of AES Crypt.
    pub fn aescrypt(&self, passphrase: Secret) -> Result<AesCrypt, Failure> {
        for problem in &self.call.problems {
            self.console.message(&Message {
                level: Level::Warning,
                id: problem.id,
                text: problem.message.clone(),
            });
        }
        Ok(AesCrypt::new(self.tool(Some(passphrase)))?)
    }

    /// Downloads a backup; when it turns out that a passphrase is needed, asks for it and goes on.
    pub fn download(&self, folder: &Path) -> Result<RecoveryReport, Failure> {
        let reached = self.destination(Access::Reads)?;
        let download = |passphrase| {
            let recovery = self.recovery(passphrase)?;
            for problem in &reached.problems {
                recovery.warn(problem.id, problem.message.clone());
            }
            let destination = Arc::clone(&reached.destination);
            let runtime = self.runtime.handle().clone();
            Ok::<_, Failure>(recovery.download(destination, runtime, folder))
        };
        let passphrase = secrets::given(&self.call.values)?;
        let known = passphrase.is_some();
        let mut result = download(passphrase)?;
        let missing = matches!(&result, Err(error) if error.id() == Some("PassphraseMissing"));
        if missing && !known {
            self.console.pause();
            if let Some(passphrase) = secrets::ask(&self.call.values, Times::Once)? {
                self.console.resume();
                result = download(Some(passphrase))?;
            }
        }
        self.console.end();
        Ok(result?)
    }

    /// Waits for remote calls; a signal ends them.
    pub fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let outcome = self.runtime.block_on(self.cancel.race(work));
        self.console.end();
        outcome.map_err(|error| Failure::from_engine(&error))?
    }

    /// Opens a run. Nothing remote is touched yet.
    ///
    /// A command that only reads does without the lasting catalog when that cannot be had: another run holds it, or
    /// its folder cannot be written.
    pub fn open(&self, access: Access, passphrase: Option<Secret>) -> Result<Opened, Failure> {
        let Reached {
            destination,
            problems,
            place,
        } = self.destination(access)?;
        let complain = |failure: Failure| {
            for problem in &problems {
                note(&format!("Warning [{}]: {}", problem.id, problem.message));
            }
            failure
        };
        let state = self.state(&place, access).map_err(complain)?;
        let lasting = state.temporary.is_none();
        let path = state.path.clone();
        let opened = match self.begin(&destination, state, access, passphrase.clone()) {
            Err(error) if access == Access::Reads && lasting && may_do_without(&error) => {
                let why = Failure::from_engine(&error);
                let state = TemporaryState::new(&self.call.values)?;
                // What the other run knows need not be read again; without it everything is.
                if error.id() == Some(IN_USE) {
                    let _ = Repository::copy_catalog(&path, &state.catalog());
                }
                let state = State {
                    path: state.catalog(),
                    temporary: Some(state),
                };
                let opened = self
                    .begin(&destination, state, access, passphrase)
                    .map_err(Failure::from)?;
                self.say_temporary(why.message());
                opened
            }
            other => other.map_err(|error| complain(failed_at(&error, &path)))?,
        };
        for problem in problems {
            opened.run.warn(problem.id, problem.message);
        }
        Ok(opened)
    }

    /// Opens a run on the lasting catalog without asking the destination, for what concerns that catalog alone. For a dry run
    /// it is a copy; when there is none, an empty one that goes away with the run, and none comes into being.
    pub fn open_lasting(&self) -> Result<OnCatalog, Failure> {
        let values = &self.call.values;
        let Reached {
            destination, place, ..
        } = self.destination(Access::Reads)?;
        let waiting = Waiting::new(&self.cancel, &|_| {});
        let lasting = state::catalog_path(values, &place, Lookup::FindOnly, &waiting)?;
        let lasting = lasting.filter(|path| path.is_file());
        let temporary = match &lasting {
            None => Some(TemporaryState::new(values)?),
            Some(path) if values.get(opt::DRY_RUN)? => Some(TemporaryState::copy_of(path, values)?),
            Some(path) if state::is_of_another_user(values)? => {
                return Err(Failure::known(
                    "CatalogOfAnotherUser",
                    format!(
                        "the local catalog {} is not that of root, and what root writes there would be closed to its owner",
                        path.display()
                    ),
                    "run the command as that user",
                ));
            }
            Some(_) => None,
        };
        let path = match (&temporary, &lasting) {
            (Some(temporary), _) => temporary.catalog(),
            (None, lasting) => lasting.clone().unwrap_or_default(),
        };
        let state = State { path, temporary };
        let catalog = state.path.clone();
        let opened = self
            .begin(&destination, state, Access::Reads, None)
            .map_err(|error| failed_at(&error, &catalog))?;
        Ok(OnCatalog { opened, lasting })
    }

    /// Runs a reading operation; when it turns out that a passphrase is needed, asks for it and tries again.
    pub fn reading<T>(
        &self,
        access: Access,
        work: impl Fn(&Run) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let passphrase = secrets::given(&self.call.values)?;
        let known = passphrase.is_some();
        let opened = self.open(access, passphrase)?;
        let result = work(&opened.run);
        let missing = matches!(&result, Err(error) if error.id() == Some("PassphraseMissing"));
        if !missing || known {
            return self.finish(opened, result);
        }
        // The question must not be drawn over.
        self.console.pause();
        match secrets::ask(&self.call.values, Times::Once)? {
            None => self.finish(opened, result),
            Some(passphrase) => {
                drop(opened);
                self.console.resume();
                let opened = self.open(access, Some(passphrase))?;
                let result = work(&opened.run);
                self.finish(opened, result)
            }
        }
    }

    /// Ends a run and gives its result.
    pub fn finish<T>(&self, opened: Opened, result: Result<T, Error>) -> Result<T, Failure> {
        self.console.end();
        let closed = opened.run.repository().close();
        drop(opened.state);
        let value = result.map_err(|error| failed_at(&error, &opened.catalog))?;
        if let Err(error) = closed {
            // The catalog is a cache: what was done is done, and the next run mends it.
            opened.console.message(&Message {
                level: Level::Warning,
                id: "CatalogNotClosed",
                text: Failure::from_engine(&error).message().to_owned(),
            });
        }
        Ok(value)
    }

    fn begin(
        &self,
        destination: &Arc<dyn Destination>,
        state: State,
        access: Access,
        passphrase: Option<Secret>,
    ) -> Result<Opened, Error> {
        let dry = self.call.values.get(opt::DRY_RUN)?;
        let catalog = state.path.clone();
        let repository = Repository::open(Setup {
            destination: Arc::clone(destination),
            values: self.call.values.clone(),
            passphrase,
            state_path: state.path,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            runtime: self.runtime.handle().clone(),
            writes: access == Access::Writes && !dry,
            foreign_database: state::foreign_database(&catalog),
        })?;
        Ok(Opened {
            run: repository.run(self.console.clone(), self.cancel.clone())?,
            console: Arc::clone(&self.console),
            catalog,
            state: state.temporary,
        })
    }

    /// The destination with its wrappers, and all complaints about options.
    fn destination(&self, access: Access) -> Result<Reached, Failure> {
        let values = &self.call.values;
        let text = self.call.need_url()?;
        let remote = |error| Failure::from_engine(&Error::Destination(error));
        let configured = larder_registry::configure(text, values, &folder_of_url(text)?);
        let configured = configured.map_err(remote)?;
        let (found, config) = (configured.found, &configured.config);
        let scheme = found.provider.schemes.first().copied().unwrap_or_default();
        permitted(values, opt::ALLOWED_BACKEND_MODULES, "destination", scheme)?;
        if !values.get(opt::NO_ENCRYPTION)? {
            let module = values.get(opt::ENCRYPTION_MODULE)?.name();
            permitted(
                values,
                opt::ALLOWED_ENCRYPTION_MODULES,
                "encryption",
                module,
            )?;
        }
        let module = values.get(opt::COMPRESSION_MODULE)?.name();
        permitted(
            values,
            opt::ALLOWED_COMPRESSION_MODULES,
            "compression",
            module,
        )?;
        let problems = option_problems(self.call, &configured);
        self.call.refuse(&problems)?;
        let place = (found.provider.identity)(config).map_err(remote)?;
        let tools = Tools {
            waits: self.console.clone(),
            tokens: Arc::new(TokenFiles::new(values)),
            ..Tools::system()
        };
        let opened = (found.provider.open)(config, &tools).map_err(remote)?;
        for notice in opened.notices {
            self.console.message(&Message {
                level: Level::Notice,
                id: notice.id,
                text: notice.text,
            });
        }
        let mut destination = opened.destination;
        let free = values.get(opt::THROTTLE_DISABLED_BACKENDS)?;
        if !values.get(opt::THROTTLE_DISABLED)?
            && !free.iter().any(|s| s.eq_ignore_ascii_case(scheme))
        {
            let up = values.get(opt::THROTTLE_UPLOAD)?;
            let down = values.get(opt::THROTTLE_DOWNLOAD)?;
            if up > 0 || down > 0 {
                let limit = |rate| Arc::new(RateLimit::new(rate));
                destination = Arc::new(Throttle::new(destination, limit(up), limit(down)));
            }
        }
        if access == Access::Reads || values.get(opt::DRY_RUN)? {
            destination = Arc::new(ReadOnly::new(destination));
        }
        Ok(Reached {
            destination,
            problems,
            place,
        })
    }

    /// Chooses the catalog: the lasting one, a copy of it for a dry run, or an empty one.
    fn state(&self, place: &Place, access: Access) -> Result<State, Failure> {
        let values = &self.call.values;
        let reads = access == Access::Reads;
        let temporary = |state: TemporaryState| State {
            path: state.catalog(),
            temporary: Some(state),
        };
        if reads && values.get(opt::NO_LOCAL_DB)? {
            return TemporaryState::new(values).map(temporary);
        }
        let tell = |text| {
            self.console.message(&Message {
                level: Level::Notice,
                id: "WaitingForLock",
                text,
            });
        };
        let waiting = Waiting::new(&self.cancel, &tell);
        let is_foreign = reads && state::is_of_another_user(values)?;
        if is_foreign || values.get(opt::DRY_RUN)? {
            return match state::catalog_path(values, place, Lookup::FindOnly, &waiting) {
                Ok(Some(path)) => TemporaryState::copy_of(&path, values).map(temporary),
                _ => TemporaryState::new(values).map(temporary),
            };
        }
        match state::catalog_path(values, place, Lookup::FindOrMake, &waiting) {
            Ok(Some(path)) => Ok(State {
                path,
                temporary: None,
            }),
            Ok(None) => TemporaryState::new(values).map(temporary),
            Err(failure) if reads && !matches!(failure.id(), Some("NotACatalog" | "Cancelled")) => {
                let state = TemporaryState::new(values)?;
                self.say_temporary(failure.message());
                Ok(temporary(state))
            }
            Err(failure) => Err(failure),
        }
    }

    fn say_temporary(&self, why: &str) {
        self.console.message(&Message {
            level: Level::Information,
            id: "TemporaryCatalog",
            text: format!("{why}; a temporary catalog is used instead"),
        });
    }
}

/// An error of a run; one of the catalog gets its place, because what helps is done there.
fn failed_at(error: &Error, catalog: &Path) -> Failure {
    let failure = Failure::from_engine(error);
    if !matches!(error, Error::Catalog(_)) {
        return failure;
    }
    Failure::known(
        "LocalCatalogFailed",
        format!("{} ({})", failure.message(), catalog.display()),
        "make room and check the permissions there, or say --dbpath=…",
    )
}

/// The error of a catalog that another process holds.
const IN_USE: &str = "BackupInUse";

/// Failures of the lasting catalog that a temporary one helps against.
fn may_do_without(error: &Error) -> bool {
    match error {
        Error::Catalog(_) | Error::Io { .. } => true,
        other => other.id() == Some(IN_USE),
    }
}

/// `--allowed-…-modules`: an empty list permits everything.
fn permitted(
    values: &Values,
    option: Opt<Vec<String>>,
    what: &str,
    module: &str,
) -> Result<(), Failure> {
    let allowed = values.get(option)?;
    if allowed.is_empty() || allowed.iter().any(|a| a.eq_ignore_ascii_case(module)) {
        return Ok(());
    }
    Err(Failure::known(
        "ModuleNotAllowed",
        format!("the {what} {module} is not among those that are allowed"),
        format!("see --{}", option.decl.name),
    ))
}

/// All complaints about the options of a call, with those of its storage URL.
pub fn option_problems(call: &Invocation, configured: &Configured) -> Vec<Problem> {
    let Configured {
        found,
        config,
        values,
    } = configured;
    let mut problems = call.problems.clone();
    problems.extend(url_problems(&config.url, values, *found));
    problems.extend(foreign_options(&call.values, *found));
    let changes = changes_files(&call.verb, &call.arguments);
    weigh(&call.values, changes, &mut problems);
    problems
}

/// Options in the storage URL that nobody knows, or that have no effect there (commands spec 9, Q13).
fn url_problems(url: &Url, values: &Values, found: Found) -> Vec<Problem> {
    let tables = tables();
    let mut problems = check::check_url(values, found.provider.options, &tables);
    let in_url = |name: &str| url.query_value(name).is_some();
    problems.extend(
        check::check(values, &tables)
            .into_iter()
            .filter(|p| p.id == check::UNSUPPORTED && in_url(&p.option)),
    );
    problems
}

/// Options of other providers than the one in use: without effect, so the user is told.
fn foreign_options(values: &Values, found: Found) -> Vec<Problem> {
    let engine_or_own = [opt::TABLE, found.provider.options];
    values
        .names()
        .filter(|name| find_decl(name, &engine_or_own).is_none())
        .filter_map(|name| {
            let owner = larder_registry::providers()
                .iter()
                .find(|p| find_decl(name, &[p.options]).is_some())?;
            Some(Problem {
                id: check::NO_EFFECT,
                option: name.to_owned(),
                message: format!(
                    "option --{name} belongs to the destination {} and has no effect on this one",
                    owner.schemes.first().copied().unwrap_or_default()
                ),
                severity: larder_options::Severity::Warning,
            })
        })
        .collect()
}

/// Hands messages to the engine's reporter, so that they count.
pub struct Forward<'a>(pub &'a Run);

impl Monitor for Forward<'_> {
    fn event(&self, event: &Event) {
        if let Event::Message(message) = event {
            self.0.warn(message.id, message.text.clone());
        }
    }
}
