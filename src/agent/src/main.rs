//! The agent's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    backstay_agent::cli::main()
}
