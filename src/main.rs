//! The thin binary: parse, call, exit code; nothing else.

use std::process::ExitCode;

/// A robot's op and a node's answer are a hundred small allocations each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    robot_city::cli::main()
}
