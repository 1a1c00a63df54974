//! The thin binary: parse, call, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    robot_city::cli::main()
}
