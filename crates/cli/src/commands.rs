//! The verbs.

mod backup;
mod listing;
mod restore;
mod test_filters;
mod upkeep;

use std::ffi::OsString;

use larder_options::engine as opt;
use larder_options::render::{
    bash_completion, fish_completion, man_page, settings_listing, zsh_completion,
};

use crate::console::{note, print};
use crate::failure::Failure;
use crate::help;
use crate::invocation::{Invocation, expand, shape_of, shown, tables};

/// Runs the program; gives its exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    let call = match Invocation::read(&args) {
        Ok(call) => call,
        Err(failure) => {
            failure.print(shape_of(&args), "");
            return failure.code;
        }
    };
    if call.wants_help || call.verb.is_empty() || call.verb == "help" {
        let topic = match call.verb.as_str() {
            "" => None,
            "help" => match call.arguments.first() {
                Some(argument) => Some(shown(&argument.value)),
                None => call.first_option.clone(),
            },
            verb => Some(verb.to_owned()),
        };
        help::print_help(&call.program, topic.as_deref());
        return 0;
    }
    if call.values.get(opt::DEBUG_OUTPUT).unwrap_or(false) {
        echo(&call);
    }
    match dispatch(&call) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(call.shape(), operation(&call.verb));
            failure.code
        }
    }
}

fn dispatch(call: &Invocation) -> Result<i32, Failure> {
    match call.verb.as_str() {
        "backup" => backup::run(call),
        "restore" => restore::run(call),
        "list" => listing::list(call),
        "find" => listing::find(call),
        "list-filesets" => listing::list_filesets(call),
        "test" => upkeep::test(call),
        "repair" => upkeep::repair(call),
        "test-filters" => test_filters::run(call),
        "completion" => completion(call),
        "man" => {
            print(&man_page(
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
        "test" => "Test",
        "repair" => "Repair",
        "test-filters" => "TestFilters",
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
    for argument in &call.arguments {
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
    let (tables, verbs) = (tables(), help::verbs());
    let text = match call.texts()?.as_slice() {
        [shell] if shell == "bash" => bash_completion("larder", &verbs, &tables),
        [shell] if shell == "zsh" => zsh_completion("larder", &verbs, &tables),
        [shell] if shell == "fish" => fish_completion("larder", &verbs, &tables),
        _ => {
            return Err(Failure::usage(
                "completion needs the name of the shell: bash, zsh or fish",
            ));
        }
    };
    print(&text);
    Ok(0)
}

/// The time as a line of progress shows it.
fn now() -> String {
    jiff::Zoned::now()
        .strftime("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// Text arguments with variables expanded.
fn expanded(texts: Vec<String>) -> Vec<String> {
    texts.iter().map(|text| expand(text)).collect()
}
