//! The command line of nnc.
//!
//! Exit codes: 0 success, 2 a fault in what was given (files, arguments, models), 1 anything else.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
