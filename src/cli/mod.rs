//! One file a subcommand.

use std::process::ExitCode;

/// Parses, calls, and tells the exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
