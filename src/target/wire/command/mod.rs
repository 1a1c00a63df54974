//! Probes that are commands (`psql`, `sqlite3`, `redis-cli`, a script): an argument vector in, rows
//! out, within a time and a size. There is no shell unless somebody writes one. Secrets that a
//! command is given never come back in an error.
//!
//! A command runs in a process group of its own, which is killed as a whole at the time limit, at
//! the output limit, and when the caller goes away. A process that leaves that group is on its own,
//! and so is one that is left in the background without a hold on stdout and stderr.

#![allow(
    clippy::disallowed_methods,
    reason = "a transport to somebody else's program: the real world"
)]

mod redact;
mod rows;

use std::{
    fmt, io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};

pub use rows::Format;

use redact::{Redact, Tail};

/// A row: names of columns or fields, and what they hold.
pub type Row = Map<String, Value>;

/// Lines of stderr in an error.
const STDERR_LINES: usize = 10;
/// Bytes of stderr that are kept for it.
const STDERR_BYTES: usize = 8 << 10;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// A command and how to run it.
#[derive(Clone, PartialEq, Eq)]
pub struct Probe {
    /// The program, sought in `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// Variables beside those of this process.
    pub env: Vec<(String, String)>,
    /// How its stdout is read.
    pub format: Format,
    /// How long it may take.
    pub within: Duration,
    /// Bytes that it may write to stdout.
    pub output_bytes: usize,
    /// Values that must never be seen: `***` stands for them in an error.
    pub redact: Vec<String>,
}

/// What went wrong. The words hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is nothing to run.
    #[error("a command needs at least the name of a program")]
    Empty,
    /// It could not be started.
    #[error("`{command}` could not be started: {why}")]
    Start {
        /// The command.
        command: String,
        /// Why not.
        why: String,
    },
    /// It took too long, and was killed.
    #[error("`{command}` took longer than {within:?} and was killed{stderr}")]
    Late {
        /// The command.
        command: String,
        /// The limit.
        within: Duration,
        /// The end of its stderr.
        stderr: Stderr,
    },
    /// It wrote too much, and was killed.
    #[error("`{command}` wrote more than {most} bytes and was killed: ask it for less")]
    TooMuch {
        /// The command.
        command: String,
        /// The limit.
        most: usize,
    },
    /// It said itself that it failed.
    #[error("`{command}` failed ({how}){stderr}")]
    Failed {
        /// The command.
        command: String,
        /// Its exit code or signal.
        how: String,
        /// The end of its stderr.
        stderr: Stderr,
    },
    /// Its stdout is not what was declared.
    #[error("the output of `{command}` {why}")]
    Rows {
        /// The command.
        command: String,
        /// What is wrong with it.
        why: String,
    },
    /// The system failed between us and it.
    #[error("`{command}`: {why}")]
    Io {
        /// The command.
        command: String,
        /// The system's words.
        why: String,
    },
}

/// The last lines of a command's stderr.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stderr(pub Vec<String>);

impl fmt::Display for Stderr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("; it said nothing on stderr");
        }
        f.write_str("; the end of its stderr:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Probe {
    /// A command that answers within 10 seconds with at most 16 MiB of JSON.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            format: Format::Json,
            within: Duration::from_secs(10),
            output_bytes: 16 << 20,
            redact: Vec::new(),
        }
    }

    /// Runs it to its end; its rows.
    pub async fn run(&self) -> Result<Vec<Row>, CommandError> {
        let stdout = self.output().await?;
        let redact = Redact::new(&self.redact);
        let rows = rows::read(&stdout, &self.format);
        rows.map_err(|why| CommandError::Rows { command: self.shown(), why: redact.text(&why) })
    }

    /// Runs it to its end; its stdout.
    pub async fn output(&self) -> Result<Vec<u8>, CommandError> {
        let mut group = self.start()?;
        let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
        let mut tail = Tail::new(&self.redact, STDERR_BYTES);
        let run = async {
            // The process is reaped last: until then nobody else can have its group's id.
            let (stdout, ()) =
                futures_util::future::try_join(async { self.take(stdout).await }, async {
                    tail.fill(stderr).await.map_err(|why| self.io(&why))
                })
                .await?;
            let status = group.child.wait().await.map_err(|why| self.io(&why))?;
            Ok((stdout, status))
        };
        let done = timeout(self.within, run).await;
        let stderr = |tail: Tail| Stderr(tail.lines(STDERR_LINES));
        match done {
            Ok(Ok((stdout, status))) if status.success() => Ok(stdout),
            Ok(Ok((_, status))) => Err(CommandError::Failed {
                command: self.shown(),
                how: how(status),
                stderr: stderr(tail),
            }),
            Ok(Err(why)) => {
                group.end().await;
                Err(why)
            }
            Err(_) => {
                group.end().await;
                let (command, within) = (self.shown(), self.within);
                Err(CommandError::Late { command, within, stderr: stderr(tail) })
            }
        }
    }

    fn start(&self) -> Result<Group, CommandError> {
        let (program, args) = self.argv.split_first().ok_or(CommandError::Empty)?;
        let child = Command::new(program)
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|why| CommandError::Start {
                command: self.shown(),
                why: match why.kind() {
                    io::ErrorKind::NotFound => format!("there is no program `{program}` in PATH"),
                    _ => why.to_string(),
                },
            })?;
        Ok(Group { child })
    }

    async fn take(&self, stdout: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, CommandError> {
        let mut taken = Vec::new();
        let Some(stdout) = stdout else { return Ok(taken) };
        let most = u64::try_from(self.output_bytes).unwrap_or(u64::MAX);
        let mut stdout = stdout.take(most.saturating_add(1));
        stdout.read_to_end(&mut taken).await.map_err(|why| self.io(&why))?;
        if taken.len() > self.output_bytes {
            return Err(CommandError::TooMuch { command: self.shown(), most: self.output_bytes });
        }
        Ok(taken)
    }

    fn io(&self, why: &io::Error) -> CommandError {
        CommandError::Io { command: self.shown(), why: why.to_string() }
    }

    /// The command as one may show it.
    pub fn shown(&self) -> String {
        Redact::new(&self.redact).text(&self.argv.join(" "))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of variables are where secrets are.
        write!(f, "Probe(`{}`, {:?})", self.shown(), self.format)
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A command and all that it started, as far as it stayed in the group. Dropping it kills them.
struct Group {
    child: Child,
}

impl Group {
    fn kill(&self) {
        // No id any more: it is reaped, and its number may be somebody else's.
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // A group that is gone needs no killing.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Kills the group and reaps the command.
    async fn end(&mut self) {
        self.kill();
        let _ = self.child.wait().await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests;
