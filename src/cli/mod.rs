//! The command line: one file a subcommand. Parses, calls `run` and `report`, and tells the exit
//! code; decides nothing else.

mod backend;
mod check;
mod clean;
mod guard;
mod heal;
mod links;
mod list;
mod node;
mod proxy;
mod rehearse;
mod replay;
mod report;
mod run;
mod schema;
mod shrink;
mod target;
mod trace;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{report::verdict::Exit, world::real::process};

/// Robots live in a city, drive a backend's whole job flow at a rate, while faults are injected and
/// the laws of the city are checked: one verdict, with evidence.
#[derive(Debug, Parser)]
#[command(name = "robot-city", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: robots, faults, laws, verdict.
    Run(Box<run::Args>),
    /// The load that a scenario would send, in seconds; no target is touched.
    Rehearse(rehearse::Args),
    /// Judge a recorded history again.
    Check(check::Args),
    /// Render the reports of a recorded run again.
    Report(report::Args),
    /// Run a recorded run again: same seed, faults, victims and offsets.
    Replay(replay::Args),
    /// Sign off the robots and end the jobs that a run left at a target.
    Clean(clean::Args),
    /// Put back what dead runs left: faults in force, processes, robots at a target.
    Heal(heal::Args),
    /// The smallest fault plan and city that still break the law of a run.
    Shrink(shrink::Args),
    /// The embedded backend alone.
    Backend(backend::Args),
    /// Mapping files: whether one fits its backend, and a first one.
    Target(target::Args),
    /// One request through the services.
    Trace(trace::Args),
    /// What there is: faults, laws, robots, targets, bugs, outputs.
    List(list::Args),
    /// The JSON Schema of a file that people write.
    Schema(schema::Args),
    /// One node of the embedded backend (started by `run`).
    #[command(hide = true)]
    Node,
    /// The guardian of a run (started by `run`).
    #[command(hide = true)]
    Guard,
    /// The fault proxy alone, with Toxiproxy's HTTP API.
    Proxy(proxy::Args),
    /// The fault proxy of a run (started by `run`).
    #[command(hide = true)]
    Links(links::Args),
}

/// Parses, calls, and tells the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints each to the right stream.
            let _ = error.print();
            let code = if error.use_stderr() { Exit::Usage.code() } else { 0 };
            return ExitCode::from(code);
        }
    };
    let Some(command) = cli.command else {
        let _ = Cli::command().print_help();
        return ExitCode::from(Exit::Usage.code());
    };
    ExitCode::from(watched(|| dispatch(command)))
}

/// A panic anywhere, in a task that nobody waits for too, ends with our own crash's code, unless
/// what comes before it in the contract was found.
fn watched(work: impl FnOnce() -> u8) -> u8 {
    let crash = Exit::Crash.code();
    let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(crash);
    let first = [Exit::Usage, Exit::Unfit, Exit::LeftBehind, Exit::Broken].map(Exit::code);
    if process::tasks_panicked() && !first.contains(&code) {
        eprintln!("robot-city: a task panicked (see above); the run proves nothing");
        return crash;
    }
    code
}

fn dispatch(command: Command) -> u8 {
    let done = match command {
        Command::Run(args) => run::main(&args),
        Command::Rehearse(args) => rehearse::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Report(args) => report::main(&args),
        Command::Replay(args) => replay::main(&args),
        Command::Clean(args) => clean::main(&args),
        Command::Heal(args) => heal::main(&args),
        Command::Shrink(args) => shrink::main(&args),
        Command::Backend(args) => backend::main(args),
        Command::Target(args) => target::main(args),
        Command::Trace(args) => trace::main(&args),
        Command::List(args) => list::main(&args),
        Command::Schema(args) => schema::main(&args),
        Command::Node => node::main(),
        Command::Guard => guard::main(),
        Command::Proxy(args) => proxy::main(args),
        Command::Links(args) => links::main(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("robot-city: {error:#}");
        crate::run::RunError::exit_of(&error).code()
    })
}
