//! The command line: arguments to engine calls, results to text or JSON, exit codes.

mod commands;
mod console;
mod help;
mod invocation;
mod logfile;
mod output;
mod secrets;
mod signals;
mod state;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = commands::run(std::env::args_os().collect());
    ExitCode::from(u8::try_from(code).unwrap_or(100))
}
