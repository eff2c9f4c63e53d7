//! The command line: arguments to engine calls, results to text or JSON, exit codes.
//!
//! The way of a call: [`invocation`] collects command, URL, options and filters; [`commands`] chooses the verb;
//! [`open`] turns options into an engine with its destination, local catalog and console; [`output`] prints the
//! result. Everything that is shown passes through [`terminal`]. Nothing else in the program reads environment, home
//! folder or terminal.

mod allocator;
mod applies;
mod commands;
mod console;
mod failure;
mod help;
mod invocation;
mod logging;
mod open;
mod output;
mod paths;
mod private_file;
mod progress;
mod secrets;
mod signals;
mod state;
mod tables;
mod terminal;
mod tokens;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::settle();
    let code = commands::run(std::env::args_os().collect());
    ExitCode::from(u8::try_from(code).unwrap_or(100))
}
