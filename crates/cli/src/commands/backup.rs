//! `backup`, and what it shares with `test-filters`: sources and filters.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use larder_engine::source::{
    Filter, HardlinkPolicy, OwnFiles, Places, SymlinkPolicy, WalkOptions, is_empty_folder,
    prepare_sources,
};
use larder_engine::{BackupRequest, Event, Level, Message, Monitor};
use larder_options::engine::choices::{HardlinkChoice, SnapshotChoice, SymlinkChoice};
use larder_options::{Opt, Values, engine as opt};
use larder_registry::destination::Url;

use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::open::{Access, Forward, Session};
use crate::output;
use crate::paths::{absolute, expand_path, folder_of_url, shown};
use crate::secrets::{self, Times};
use crate::state;
use crate::words::now;

/// Runs the command; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    if call.url.is_none() || call.arguments.is_empty() {
        return Err(Failure::usage(
            "backup needs a storage URL and at least one source",
        ));
    }
    let values = &call.values;
    let plain = values.get(opt::NO_ENCRYPTION)?;
    let mut passphrase = secrets::given(values)?;
    if plain && passphrase.is_some() && is_empty(values, opt::NO_ENCRYPTION) {
        return Err(Failure::known(
            "OptionValidationError",
            "option --no-encryption= has no value, which would mean yes, and a passphrase is given; a variable in a script may not be set",
            "write --no-encryption=false to encrypt, or --no-encryption=true not to",
        ));
    }
    if passphrase.is_none() && !plain {
        passphrase = secrets::ask(values, Times::Twice)?;
    }
    let session = Session::new(call, RunKind::Backup)?;
    session
        .console
        .line(&format!("Backup started at {}", now()));
    let opened = session.open(Access::Writes, passphrase)?;
    let request = sources(call, &Forward(&opened.run)).and_then(|mut request| {
        request.options.own_files = own_files(call, &opened.catalog)?;
        Ok(request)
    });
    let result = match request {
        Ok(request) => opened.run.backup(&request),
        Err(failure) => {
            session.finish(opened, Ok(()))?;
            return Err(failure);
        }
    };
    let report = session.finish(opened, result)?;
    output::backup(&report, call)
}

/// True for a yes/no option that has an equals sign and nothing behind it.
fn is_empty(values: &Values, option: Opt<bool>) -> bool {
    let given = values
        .setting(option.decl)
        .and_then(|setting| setting.value);
    given.is_some_and(|text| text.trim().is_empty())
}

/// Sources as folders to walk, with the messages about those that are not there.
pub fn sources(call: &Invocation, told: &dyn Monitor) -> Result<BackupRequest, Failure> {
    let values = &call.values;
    let given: Vec<PathBuf> = call
        .arguments
        .iter()
        .map(|a| {
            a.value
                .to_str()
                .map_or_else(|| PathBuf::from(&a.value), |text| expand_path(text).into())
        })
        .collect();
    let places: Vec<PathBuf> = given
        .iter()
        .map(|path| absolute(path))
        .collect::<Result<_, _>>()?;
    let warn = |id: &'static str, text: String| {
        told.event(&Event::Message(Message {
            level: Level::Warning,
            id,
            text,
        }));
    };
    let filter = compile(call)?;
    if let Some(rule) = filter.excludes_everything() {
        warn(
            "FilterExcludesEverything",
            format!(
                "the filter {} leaves out everything below the sources",
                filter.text(rule)
            ),
        );
    }
    let prepared = prepare_sources(&places, Path::new("/"), &filter);
    let allowed = values.get(opt::ALLOW_MISSING_SOURCE)?;
    let kept = match values.get(opt::ACCEPT_SOURCE_CHANGES)? {
        true => format!(
            "the new version is without it, as --{} says",
            opt::ACCEPT_SOURCE_CHANGES.decl.name
        ),
        false => format!(
            "what the last version has of it, if anything, is kept; --{} says that it may be away",
            opt::ALLOW_MISSING_SOURCE.decl.name
        ),
    };
    for missing in &prepared.missing {
        // As it was typed, not as it was resolved.
        let at = places.iter().position(|place| place == missing);
        let missing = at.and_then(|at| given.get(at)).unwrap_or(missing);
        let hint = hint(call, missing);
        if values.get(opt::ABORT_IF_SOURCE_MISSING)? {
            return Err(Failure::known(
                "SourceIsMissing",
                format!(
                    "the source {} does not exist{hint}",
                    shown(missing.as_os_str())
                ),
                "mount or create it, or leave --abort-if-source-missing out",
            ));
        }
        if !allowed {
            // A value of an option was never a source.
            let helps = match hint.as_str() {
                "" => format!("; {kept}"),
                hint => hint.to_owned(),
            };
            warn(
                "SourceIsMissing",
                format!(
                    "the source {} does not exist{helps}",
                    shown(missing.as_os_str())
                ),
            );
        }
    }
    for root in &prepared.roots {
        if let Some(kind) = special_kind(root) {
            warn(
                "SourceIsSpecial",
                format!(
                    "the source {} is a {kind}, which holds nothing to back up; it is passed over",
                    shown(root.as_os_str())
                ),
            );
        }
    }
    if values.get(opt::PREVENT_EMPTY_SOURCE)? {
        for root in &prepared.roots {
            if root.is_dir() && is_empty_folder(root).unwrap_or(false) {
                return Err(Failure::known(
                    "SourceIsEmpty",
                    format!("the source folder {} is empty", root.display()),
                    "mount it, or leave --prevent-empty-source out",
                ));
            }
        }
    }
    snapshot(values, told)?;
    Ok(BackupRequest {
        sources: prepared.roots,
        no_roots: prepared.no_roots,
        options: walk_options(values, prepared.filter)?,
    })
}

/// What a source is that is neither file nor folder nor link.
fn special_kind(path: &Path) -> Option<&'static str> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_fifo() {
        Some("FIFO")
    } else if kind.is_socket() {
        Some("socket")
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("device")
    } else {
        None
    }
}

/// What to say when a missing source was probably meant as the value of the option before it.
fn hint(call: &Invocation, missing: &Path) -> String {
    call.arguments
        .iter()
        .find(|a| Path::new(&a.value) == missing)
        .and_then(|a| a.after)
        .map(|name| format!("; a value needs an equals sign: --{name}=…"))
        .unwrap_or_default()
}

/// There are no snapshots yet: a wish falls back, a demand ends the run.
fn snapshot(values: &Values, told: &dyn Monitor) -> Result<(), Failure> {
    let text = "file system snapshots are not in this version of Larder";
    match values.get(opt::SNAPSHOT_POLICY)? {
        SnapshotChoice::Required => Err(Failure::known(
            "SnapshotFailed",
            text,
            "choose another --snapshot-policy",
        )),
        SnapshotChoice::On => {
            told.event(&Event::Message(Message {
                level: Level::Warning,
                id: "SnapshotFailed",
                text: format!("{text}; files are read as they are"),
            }));
            Ok(())
        }
        SnapshotChoice::Auto | SnapshotChoice::Off => Ok(()),
    }
}

fn walk_options(values: &Values, filter: Filter) -> Result<WalkOptions, Failure> {
    let symlinks = match values.get(opt::SYMLINK_POLICY)? {
        SymlinkChoice::Follow => SymlinkPolicy::Follow,
        SymlinkChoice::Ignore => SymlinkPolicy::Ignore,
        SymlinkChoice::Store => SymlinkPolicy::Store,
    };
    let hardlinks = match values.get(opt::HARDLINK_POLICY)? {
        HardlinkChoice::First => HardlinkPolicy::First,
        HardlinkChoice::None => HardlinkPolicy::None,
        HardlinkChoice::All => HardlinkPolicy::All,
    };
    Ok(WalkOptions {
        filter,
        exclude_attributes: values.get(opt::EXCLUDE_FILES_ATTRIBUTES)?,
        max_size: values
            .find(opt::SKIP_FILES_LARGER_THAN)?
            .filter(|size| *size > 0),
        ignore_names: values.get(opt::IGNORE_FILENAMES)?,
        symlinks,
        hardlinks,
        exclusion_xattrs: !values.get(opt::DISABLE_BACKUP_EXCLUSION_XATTR)?,
        exclude_empty_folders: values.get(opt::EXCLUDE_EMPTY_FOLDERS)?,
        own_files: Vec::new(),
        own_databases: None,
    })
}

/// What this backup itself keeps in local folders: its catalog, with the files beside it, and at a local destination its
/// volumes. Backed up, they would change at every run.
fn own_files(call: &Invocation, catalog: &Path) -> Result<Vec<OwnFiles>, Failure> {
    let mut own = Vec::new();
    if let (Some(folder), Some(name)) = (catalog.parent(), catalog.file_name()) {
        own.push(OwnFiles {
            folder: folder.to_owned(),
            begins_with: name.as_bytes().to_vec(),
            rest: larder_engine::is_companion_of_catalog,
        });
    }
    let text = call.need_url()?;
    let url = Url::parse(text, &folder_of_url(text)?);
    if let Some(folder) = url.ok().as_ref().and_then(Url::local_path) {
        own.push(OwnFiles {
            folder: folder.to_owned(),
            begins_with: format!("{}-", call.values.get(opt::PREFIX)?).into_bytes(),
            rest: larder_engine::is_stored_name,
        });
    }
    Ok(own)
}

/// The filters of the call, with the folders that groups refer to.
fn compile(call: &Invocation) -> Result<Filter, Failure> {
    let sensitive = std::env::var("FILESYSTEM_CASE_SENSITIVE")
        .ok()
        .is_none_or(|text| larder_options::value::parse_bool(&text, true));
    let text = |path: PathBuf| path.into_os_string().into_string().ok();
    let places = Places {
        temp_folder: text(std::env::temp_dir()),
        data_folder: state::data_folder(&call.values).ok().and_then(text),
        cache_home: std::env::var("XDG_CACHE_HOME")
            .ok()
            .filter(|folder| !folder.is_empty()),
        windows: Vec::new(),
    };
    Filter::parse_with(&call.filters, sensitive, &places).map_err(|error| {
        Failure::known(
            "InvalidFilter",
            error.to_string(),
            "see `larder help filters`",
        )
    })
}
