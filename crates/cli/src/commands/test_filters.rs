//! `test-filters`: the walk of a backup without the backup.

use larder_engine::source::{Action, FileKind, Filter, SkipReason, Walk, WalkItem};
use larder_engine::{Event, Level, Monitor};
use larder_options::value::format_size;

use super::backup::sources;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::logging::Chooser;
use crate::terminal::{note, print, print_item, print_text};
use crate::words::counted;

/// Prints warnings; there is no engine to count them.
struct Plain;

impl Monitor for Plain {
    fn event(&self, event: &Event) {
        if let Event::Message(message) = event {
            note(&larder_render::message(message));
        }
    }
}

/// Runs the command; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    if call.arguments.is_empty() {
        return Err(Failure::usage("test-filters needs at least one source"));
    }
    for problem in &call.problems {
        note(&format!("Warning [{}]: {}", problem.id, problem.message));
    }
    let request = sources(call, &Plain)?;
    if request.sources.is_empty() {
        return Err(Failure::known(
            "NoSources",
            "none of the sources exists",
            "check the source paths",
        ));
    }
    let verbose = Chooser::console(&call.values)?.shows(Level::Verbose) && !call.json();
    let filter = request.options.filter.clone();
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for item in Walk::new(request.sources, request.options) {
        match item {
            WalkItem::Entry(entry) => {
                if entry.facts.kind == FileKind::File {
                    files += 1;
                    bytes += entry.facts.size;
                }
                if verbose {
                    let rule = filter.first_match(&entry.path).map(|(_, rule)| rule);
                    print_item(&format!(
                        "Including {} ({})",
                        String::from_utf8_lossy(&entry.path),
                        rule_text(&filter, rule)
                    ));
                }
            }
            WalkItem::Skipped { path, why } if verbose => print_item(&format!(
                "Excluding {} ({})",
                String::from_utf8_lossy(&path),
                reason(&filter, why)
            )),
            WalkItem::Skipped { .. } => {}
            WalkItem::Vanished { path } => note(&format!(
                "Warning [PathProcessingErrorNotFound]: {} vanished",
                String::from_utf8_lossy(&path)
            )),
            WalkItem::FilterGaveUp { path, filter } => note(&format!(
                "Warning [FilterGaveUp]: {}: the filter {filter} took too many steps and was passed over",
                String::from_utf8_lossy(&path)
            )),
            WalkItem::Problem { path, error } => note(&format!(
                "Warning [PathProcessingError]: {}: {error}",
                String::from_utf8_lossy(&path)
            )),
        }
    }
    if call.json() {
        let value = serde_json::json!({
            "MainOperation": "TestFilters", "MatchedFiles": files, "SizeOfMatchedFiles": bytes,
        });
        print_text(&serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string()));
    } else {
        print(&format!(
            "Matched {} ({})",
            counted(files, "file"),
            format_size(bytes)
        ));
    }
    Ok(0)
}

/// The rule as it was given.
fn rule_text(filter: &Filter, rule: Option<usize>) -> String {
    let Some(rule) = rule else {
        return "no filter matches".into();
    };
    let option = match filter.action(rule) {
        Some(Action::Exclude) => "exclude",
        Some(Action::Include) | None => "include",
    };
    format!("--{option}={}", filter.text(rule))
}

fn reason(filter: &Filter, why: SkipReason) -> String {
    match why {
        SkipReason::Filter(rule) => rule_text(filter, rule),
        SkipReason::TooLarge => "it is larger than --skip-files-larger-than".into(),
        SkipReason::Marker => "it holds a file named in --ignore-filenames".into(),
        other => other.to_string(),
    }
}
