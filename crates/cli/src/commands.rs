//! The verbs.

mod aescrypt;
mod backup;
mod destination;
mod listing;
mod old_names;
mod recovery;
mod restore;
mod sign_in;
mod test_filters;
mod upkeep;

use std::ffi::OsString;

use larder_engine::Level;
use larder_options::render::{
    bash_completion, fish_completion, json_listing, man_page, settings_listing, zsh_completion,
};
use larder_options::{Origin, engine as opt};

use crate::failure::{FAILED, Failure, USAGE};
use crate::help;
use crate::invocation::{Invocation, shape_of};
use crate::logging::LogFile;
use crate::paths::shown;
use crate::tables::tables;
use crate::terminal::{note, output_failure, print, print_text};

/// Runs the program; gives its exit code.
pub fn run(mut args: Vec<OsString>) -> i32 {
    let program = args
        .first()
        .map(std::path::PathBuf::from)
        .unwrap_or_default();
    let words =
        old_names::words_of_name(&program.file_name().unwrap_or_default().to_string_lossy());
    args.splice(
        args.len().min(1)..args.len().min(1),
        words.iter().map(OsString::from),
    );
    let mut call = match Invocation::read(&args) {
        Ok(call) => call,
        Err(failure) => {
            let verb = args.get(1).and_then(|arg| arg.to_str());
            let failure = failure.or_hint(|| help_hint("larder", verb.unwrap_or_default()));
            failure.print(shape_of(&args), "");
            return failure.code;
        }
    };
    let code = if let Some(topic) = help_topic(&call) {
        match topic.as_deref() {
            // What forms of other programs are built from.
            Some("options") if call.json() => print_text(&json_listing(&tables())),
            topic => help::print_help(&call.program, topic),
        }
        0
    } else if call.verb.is_empty() || call.verb == "version" {
        print(concat!("larder ", env!("CARGO_PKG_VERSION")));
        0
    } else {
        run_verb(&mut call)
    };
    code_after_output(&call, code)
}

/// The topic that help is asked about; the inner `None` is the overview.
fn help_topic(call: &Invocation) -> Option<Option<String>> {
    let alone = call.verb.is_empty();
    let asks_version = alone && !call.wants_help && call.first_option.as_deref() == Some("version");
    if asks_version || !(call.wants_help || alone || call.verb == "help") {
        return None;
    }
    Some(match call.verb.as_str() {
        "" | "help" => match call.arguments.first() {
            Some(argument) => Some(shown(&argument.value)),
            None => call
                .first_option
                .clone()
                .filter(|name| name != "help" && name != "usage"),
        },
        verb => Some(verb.to_owned()),
    })
}

fn run_verb(call: &mut Invocation) -> i32 {
    let operation = operation(&call.verb);
    let result = execute(call);
    let code = match &result {
        Ok(code) => *code,
        Err(failure) => failure.code,
    };
    match result {
        Ok(code) => say(
            call,
            Level::Information,
            "CompletedOperation",
            &format!("the operation {operation} has ended with exit code {code}"),
        ),
        Err(failure) => {
            let failure = explained(call, failure);
            say(
                call,
                Level::Error,
                failure.id().unwrap_or("FailedOperation"),
                &format!(
                    "the operation {operation} has failed with exit code {code}: {}",
                    failure.message()
                ),
            );
            failure.print(call.shape(), operation);
        }
    }
    code
}

fn execute(call: &mut Invocation) -> Result<i32, Failure> {
    call.log = LogFile::open(&call.values)?.map(std::sync::Arc::new);
    let begin = format!("the operation {} has started", operation(&call.verb));
    say(call, Level::Information, "StartingOperation", &begin);
    call.refuse(&call.problems)?;
    if call.values.get(opt::DEBUG_OUTPUT).unwrap_or(false) {
        echo(call);
    }
    if let Some(folder) = call.values.find(opt::TEMPDIR)?.filter(|f| !f.is_empty()) {
        // All temporary files of this process, whichever part makes them.
        let _ = tempfile::env::override_temp_dir(std::path::Path::new(&folder));
    }
    if call.verb == "destination" || recovery::has_url(call) {
        destination::take_url(call)?;
    }
    if matches!(
        call.verb.as_str(),
        "repair" | "delete" | "compact" | "purge" | "purge-broken-files" | "set-locks"
    ) {
        // The folder of a mistyped URL must not come into being; only a backup makes one.
        let option = opt::DISABLE_AUTOCREATE_FOLDER.decl.name;
        call.values.set(option, Some("true"), Origin::CommandLine);
    }
    dispatch(call)
}

/// Puts a message of the program itself into the log file.
fn say(call: &Invocation, level: Level, id: &'static str, text: &str) {
    if let Some(log) = &call.log {
        log.say(level, id, text);
    }
}

/// Adds what this call knows to a failure.
fn explained(call: &Invocation, failure: Failure) -> Failure {
    let refused = matches!(failure.id(), Some("DestinationDenied" | "SignInNeeded"));
    if refused && holds_raw_plus(call.url.as_deref().unwrap_or_default()) {
        return failure.with_hint(
            "a + in the query of a storage URL means a blank: write %2B for a plus sign in a name or password",
        );
    }
    if failure.code == USAGE {
        return failure.or_hint(|| help_hint(&call.program, &call.verb));
    }
    failure
}

/// True for a storage URL with a plus sign in its query, as keys of services often have one.
fn holds_raw_plus(url: &str) -> bool {
    url.split_once('?')
        .is_some_and(|(_, query)| query.contains('+'))
}

/// Where wrong use of a command is explained.
fn help_hint(program: &str, verb: &str) -> String {
    match help::canonical(verb) {
        Some(verb) => format!("see `{program} help {verb}`"),
        None => format!("see `{program} help`"),
    }
}

/// The exit code when standard output or the log file could not be written.
///
/// What a backup or a restore did is done, so that is a warning; of the others the output is the result.
fn code_after_output(call: &Invocation, code: i32) -> i32 {
    let log = call.log.as_ref().and_then(|log| log.failure());
    let output = output_failure();
    if let Some(error) = &log {
        note(&format!("Warning [LogFileNotWritten]: {error}"));
    }
    if let Some(error) = &output {
        note(&format!(
            "Error [OutputNotWritten]: standard output cannot be written: {error}"
        ));
    }
    let keeps = matches!(
        call.verb.as_str(),
        "backup"
            | "restore"
            | "repair"
            | "delete"
            | "compact"
            | "purge"
            | "purge-broken-files"
            | "set-locks"
            | "recovery"
            | "aescrypt"
    );
    match code {
        0 | 1 if output.is_some() && !keeps => FAILED,
        0 | 1 if output.is_some() || log.is_some() => 2,
        code => code,
    }
}

fn dispatch(call: &Invocation) -> Result<i32, Failure> {
    match call.verb.as_str() {
        "backup" => backup::run(call),
        "restore" => restore::run(call),
        "list" => listing::list(call),
        "find" => listing::find(call),
        "list-filesets" => listing::list_filesets(call),
        "list-folder-content" => listing::list_folder_content(call),
        "list-file-versions" => listing::list_file_versions(call),
        "search-files" => listing::search_files(call),
        "compare" => listing::compare(call),
        "affected" => listing::affected(call),
        "test" => upkeep::test(call),
        "repair" => upkeep::repair(call),
        "delete" => upkeep::delete(call),
        "compact" => upkeep::compact(call),
        "vacuum" => upkeep::vacuum(call),
        "set-locks" => upkeep::set_locks(call),
        "read-lock-info" => upkeep::read_lock_info(call),
        "purge" => upkeep::purge(call),
        "list-broken-files" => listing::list_broken_files(call),
        "purge-broken-files" => upkeep::purge_broken_files(call),
        "test-filters" => test_filters::run(call),
        "destination" => destination::run(call),
        "recovery" => recovery::run(call),
        "aescrypt" => aescrypt::run(call),
        "sign-in" => sign_in::run(call),
        "completion" => completion(call),
        "man" => {
            print_text(&man_page(
                "larder",
                env!("CARGO_PKG_VERSION"),
                "backups in Duplicati's format",
                &help::verbs(),
                &tables(),
            ));
            Ok(0)
        }
        other => Err(unknown(call, other)),
    }
}

/// `MainOperation` of a failed command, as in the reports of those that succeed (docs/guide/json.md).
fn operation(verb: &str) -> &'static str {
    match verb {
        "backup" => "Backup",
        "restore" => "Restore",
        "list" | "find" => "List",
        "list-filesets" => "ListFilesets",
        "list-folder-content" => "ListFolderContent",
        "list-file-versions" => "ListFileVersions",
        "search-files" => "SearchFiles",
        "compare" => "Compare",
        "affected" => "ListAffected",
        "test" => "Test",
        "repair" => "Repair",
        "delete" => "Delete",
        "compact" => "Compact",
        "vacuum" => "Vacuum",
        "set-locks" => "SetLocks",
        "read-lock-info" => "ReadLockInfo",
        "purge" => "PurgeFiles",
        "list-broken-files" => "ListBrokenFiles",
        "purge-broken-files" => "PurgeBrokenFiles",
        "test-filters" => "TestFilters",
        "recovery" => "Recovery",
        "sign-in" => "SignIn",
        _ => "",
    }
}

fn unknown(call: &Invocation, verb: &str) -> Failure {
    let program = &call.program;
    if help::NOT_YET.contains(&verb.to_ascii_lowercase().as_str()) {
        return Failure::usage_with(
            format!("the command {verb} is not in this version of Larder"),
            format!("see `{program} help` for the commands there are"),
        );
    }
    // A URL in the place of the command may hold a password.
    let word = shown(verb.as_ref());
    let hint = help::near(verb).map_or_else(
        || format!("see `{program} help`"),
        |near| format!("did you mean `{program} {near}`?"),
    );
    Failure::usage_with(format!("Command not supported: {word}"), hint)
}

/// `--debug-output`: the call as it was understood, without secrets.
fn echo(call: &Invocation) {
    note(&format!("Command: {}", call.verb));
    if let Some(url) = &call.url {
        note(&format!("Storage URL: {}", shown(url.as_ref())));
    }
    for argument in call.arguments.iter().filter(|_| call.verb != "aescrypt") {
        // One of those of aescrypt is a passphrase.
        note(&format!("Argument: {}", shown(&argument.value)));
    }
    for (action, text) in &call.filters {
        note(&format!("Filter: {action:?} {text}"));
    }
    for line in settings_listing(&call.values, &tables()).lines() {
        note(&format!("Option: {line}"));
    }
}

fn completion(call: &Invocation) -> Result<i32, Failure> {
    let (tables, verbs, topics) = (tables(), help::verbs(), help::topic_names());
    let programs = ["larder", "duplicati-cli"];
    let text = match call.texts()?.as_slice() {
        [shell] if shell == "bash" => bash_completion(&programs, &verbs, &topics, &tables),
        [shell] if shell == "zsh" => zsh_completion(&programs, &verbs, &topics, &tables),
        [shell] if shell == "fish" => fish_completion(&programs, &verbs, &topics, &tables),
        _ => {
            return Err(Failure::usage(
                "completion needs the name of the shell: bash, zsh or fish",
            ));
        }
    };
    print_text(&text);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_sign_in_a_query_is_found() {
        assert!(holds_raw_plus("s3://b/x?aws-secret-access-key=a+b"));
        assert!(!holds_raw_plus("s3://b/x?aws-secret-access-key=a%2Bb"));
        assert!(!holds_raw_plus("file:///a+b"));
    }
}
