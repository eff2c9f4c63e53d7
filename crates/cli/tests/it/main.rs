//! Tests of the real program: its exit codes, its output, what a signal or a kill leaves behind.

#![expect(
    clippy::print_stdout,
    reason = "seeds, figures and skipped cases are for whoever reads the output"
)]

mod aescrypt;
mod affected;
mod answers;
mod arguments;
mod backup;
mod browse;
mod coming;
mod compact;
mod compare;
mod declared_options;
mod delete;
mod destination;
mod documents;
mod dry_run;
mod files;
mod help;
mod json;
mod kill;
mod listing;
mod local_state;
mod locks;
mod output;
mod purge;
mod recovery;
mod repair_kill;
mod restore;
mod restore_kill;
mod secrets;
mod sign_in;
mod signals;
mod support;
mod trouble;
mod usage;
mod vacuum;
mod verify;
