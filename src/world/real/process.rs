//! Processes of a run: children that never outlive their parent, and what processes cost. Knows
//! nothing of what the children do.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, BufRead, Read},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use futures_util::FutureExt as _;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout, Command},
    sync::oneshot,
};

/// How a child's line begins that says that it is ready; what follows is its report.
pub const READY: &str = "ready ";
/// Clock ticks in a second as `/proc` counts them: a constant of Linux's interface to programs.
const TICKS_PER_S: u64 = 100;

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Whether a task of a real world panicked: nobody waits for tasks, so it is noted here.
pub fn tasks_panicked() -> bool {
    PANICKED.load(Ordering::Relaxed)
}

/// Runs a task's future; a panic in it is noted, and ends that task alone.
pub(super) async fn noting_panics(task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        PANICKED.store(true, Ordering::Relaxed);
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Order {
    /// The program; [`own_program`] for another process of this one.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables beside those of this process.
    pub env: Vec<(OsString, OsString)>,
    /// The first line of its stdin, which stays open behind it.
    pub first_line: String,
    /// Where its stdout and stderr are appended.
    pub log: PathBuf,
}

/// The program of this process.
pub fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// A running child. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    process: tokio::process::Child,
    stdin: Option<ChildStdin>,
    ready: Option<oneshot::Receiver<String>>,
}

impl Child {
    /// Starts the process. Call it on a thread that lives as long as the run (the main thread): the
    /// kernel sends a parent-death signal when the *thread* that started the child ends.
    pub async fn start(order: &Order) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&order.log)?;
        let (mut child, stdout, mut stdin) = Self::spawn(order, &log)?;
        let (ready, report) = oneshot::channel();
        tokio::task::spawn_local(copy_lines(stdout, log, ready));
        // One that died already is told by its exit, not by a broken pipe.
        match stdin.write_all(format!("{}\n", order.first_line).as_bytes()).await {
            Err(why) if why.kind() != io::ErrorKind::BrokenPipe => return Err(why),
            _ => {}
        }
        (child.stdin, child.ready) = (Some(stdin), Some(report));
        Ok(child)
    }

    /// Starts a process to talk with: its stdout and its stdin are the caller's, no first line is
    /// written, and only its stderr is logged. The rest is as in [`Self::start`].
    pub fn start_talking(order: &Order) -> io::Result<(Self, BufReader<ChildStdout>, ChildStdin)> {
        let log = OpenOptions::new().create(true).append(true).open(&order.log)?;
        let (child, stdout, stdin) = Self::spawn(order, &log)?;
        Ok((child, BufReader::new(stdout), stdin))
    }

    fn spawn(order: &Order, log: &File) -> io::Result<(Self, ChildStdout, ChildStdin)> {
        let mut process = Command::new(&order.program)
            .args(&order.args)
            .envs(order.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log.try_clone()?))
            .kill_on_drop(true)
            // A group of its own: Ctrl-C in a terminal is for the parent, which ends its children
            // when it has healed and signed off.
            .process_group(0)
            .spawn()?;
        let gone = || io::Error::other("the process ended at once");
        let pid = process.id().ok_or_else(gone)?;
        let stdin = process.stdin.take().ok_or_else(gone)?;
        let stdout = process.stdout.take().ok_or_else(gone)?;
        Ok((Self { pid, process, stdin: None, ready: None }, stdout, stdin))
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the line that begins with [`READY`]; the report behind that word. `None` when
    /// stdout ends without it, or when it was asked for before.
    pub async fn ready(&mut self) -> Option<String> {
        self.ready.take()?.await.ok()
    }

    /// How the process ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits until the process has ended and is reaped.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Closes the child's stdin, which asks it to end, and waits until it has.
    pub async fn let_go(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.wait().await
    }

    /// SIGKILL, and waits until the process is reaped: its ports and files are free then. One that
    /// has ended before is no error.
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.process.start_kill()?;
        self.wait().await
    }
}

/// Appends the child's lines to its log until it closes its stdout; tells the first ready line.
async fn copy_lines(stdout: ChildStdout, mut log: File, ready: oneshot::Sender<String>) {
    let mut ready = Some(ready);
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line).await, Ok(1..)) {
        // A log that cannot be written must not stop the child.
        let _ = io::Write::write_all(&mut log, &line);
        let text = String::from_utf8_lossy(&line);
        if let Some(report) = text.trim_end_matches(['\r', '\n']).strip_prefix(READY)
            && let Some(ready) = ready.take()
        {
            let _ = ready.send(report.to_owned());
        }
        line.clear();
    }
}

/// In a child, first of all: the kernel kills this process when its parent dies. An error when the
/// parent is not (any more) `parent`: it died before it could be said.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = getppid().map(rustix::process::Pid::as_raw_pid);
    if now.and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
        return Err(io::Error::other(format!("the parent process {parent} is gone")));
    }
    Ok(())
}

/// In a child: the first line of stdin, [`Order::first_line`]. Blocks.
pub fn first_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// In a child: ends this process at the end of its stdin, which the parent holds open. It works
/// where no parent-death signal exists, and when the parent lets go of it. A thread of its own, so
/// that it works also while the runtime is stuck.
pub fn end_with_stdin() -> io::Result<()> {
    std::thread::Builder::new().name("stdin".into()).spawn(|| {
        let mut rest = [0; 256];
        // An error counts as the end: the parent cannot be seen any more.
        while matches!(io::stdin().lock().read(&mut rest), Ok(1..)) {}
        std::process::exit(0);
    })?;
    Ok(())
}

/// A process that outlives this one: it is told a first line, and learns by the end of its stdin
/// that this process has ended, however that was.
#[derive(Debug)]
pub struct Watcher {
    process: std::process::Child,
}

impl Watcher {
    /// Starts it, in a group of its own.
    pub fn start(order: &Order) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let log = OpenOptions::new().create(true).append(true).open(&order.log)?;
        let mut process = std::process::Command::new(&order.program)
            .args(&order.args)
            .envs(order.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .process_group(0)
            .spawn()?;
        if let Some(stdin) = &mut process.stdin {
            io::Write::write_all(stdin, format!("{}\n", order.first_line).as_bytes())?;
        }
        Ok(Self { process })
    }

    /// Lets it know that this process is through, and waits no longer than `within` until it has
    /// ended; it may go on by itself.
    pub async fn let_go(mut self, within: Duration) {
        drop(self.process.stdin.take());
        let until = tokio::time::Instant::now() + within;
        while matches!(self.process.try_wait(), Ok(None)) && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// In a [`Watcher`]: the one who started it, seen through this process's stdin.
pub struct Watched(mpsc::Receiver<()>);

impl Watched {
    /// Watches from a thread of its own.
    pub fn begin() -> io::Result<Self> {
        let (hold, watched) = mpsc::channel();
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let _hold: mpsc::Sender<()> = hold;
            let mut rest = [0; 256];
            // An error counts as the end: whoever is watched cannot be seen any more.
            while matches!(io::stdin().lock().read(&mut rest), Ok(1..)) {}
        })?;
        Ok(Self(watched))
    }

    /// Waits for its end, no longer than that; true when it has ended.
    pub fn ends_within(&self, span: Duration) -> bool {
        matches!(self.0.recv_timeout(span), Err(mpsc::RecvTimeoutError::Disconnected))
    }
}

/// Starts a program that is nobody's child to look after: it stays when this process goes, in a
/// group of its own, and what it prints goes nowhere.
pub fn start_to_stay(command: &[String]) -> io::Result<Identity> {
    use std::os::unix::process::CommandExt as _;
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let child = std::process::Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Identity::of(child.id()).ok_or_else(|| io::Error::other("it ended at once"))
}

/// Waits, on a thread that has no runtime.
pub fn rest(span: Duration) {
    std::thread::sleep(span);
}

/// One process and no other: its id may become another's, and then it began at another moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Its id.
    pub pid: u32,
    /// When it began, in clock ticks since the machine's start.
    pub began: u64,
}

impl Identity {
    /// The process that has that id now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, began: stat_field(&stat, 19)? })
    }

    /// Its state, by its letter in `/proc`; `None` when it is gone. `Z`: it has ended and waits to
    /// be reaped.
    pub fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let same = stat_field(&stat, 19) == Some(self.began);
        stat.rsplit_once(')')?.1.trim_start().chars().next().filter(|_| same)
    }

    /// Whether it is still there, and has not ended.
    pub fn lives(&self) -> bool {
        self.state().is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    /// Tells it something: never another process, whatever became of the id in between.
    pub fn tell(&self, word: Word) -> io::Result<()> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the process has ended");
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        // The handle is of whoever has the id at this moment, and of nobody else from then on.
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        if !self.lives() {
            return Err(gone());
        }
        Ok(pidfd_send_signal(handle, word.signal())?)
    }
}

/// The field of `/proc/PID/stat` at that place behind the process's name and state.
fn stat_field(stat: &str, place: usize) -> Option<u64> {
    // The name stands in brackets and may hold anything, brackets too.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(place)?.parse().ok()
}

/// What a process can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// SIGTERM: end, when you have said goodbye.
    Terminate,
    /// SIGSTOP: stand still. It cannot be refused.
    Pause,
    /// SIGCONT: go on.
    Resume,
    /// SIGKILL: end at once. It cannot be refused.
    Kill,
}

impl Word {
    fn signal(self) -> rustix::process::Signal {
        use rustix::process::Signal;
        match self {
            Self::Terminate => Signal::TERM,
            Self::Pause => Signal::STOP,
            Self::Resume => Signal::CONT,
            Self::Kill => Signal::KILL,
        }
    }
}

/// Tells the process `pid` something. The caller knows that the id is still that of its process: one
/// that has ended and was not waited for keeps it.
pub fn tell(pid: u32, word: Word) -> io::Result<()> {
    use rustix::process::{Pid, kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("that is no process"))?;
    Ok(kill_process(pid, word.signal())?)
}

/// What a process has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU, user and system, of all its threads.
    pub cpu: Duration,
    /// Memory in use.
    pub rss_bytes: u64,
    /// The most memory that was ever in use.
    pub rss_peak_bytes: u64,
}

/// What the process `pid` has cost; `None` when it is gone (or the system has no `/proc`).
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage {
        cpu: cpu_of(&stat)?,
        // A process that ended and waits to be reaped has no memory.
        rss_bytes: status_bytes(&status, "VmRSS:").unwrap_or(0),
        rss_peak_bytes: status_bytes(&status, "VmHWM:").unwrap_or(0),
    })
}

/// What this process has cost; memory counts as zero where the system does not tell it.
pub fn own_usage() -> Usage {
    use rustix::time::{ClockId, clock_gettime};
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Usage {
        cpu: Duration::new(cpu.tv_sec.try_into().unwrap_or(0), cpu.tv_nsec.try_into().unwrap_or(0)),
        rss_bytes: status_bytes(&status, "VmRSS:").unwrap_or(0),
        rss_peak_bytes: status_bytes(&status, "VmHWM:").unwrap_or(0),
    }
}

fn cpu_of(stat: &str) -> Option<Duration> {
    let (user, system) = (stat_field(stat, 11)?, stat_field(stat, 12)?);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_S))
}

fn status_bytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Whether a process of that id exists (one that waits to be reaped counts).
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::real::run_local;

    const ROLE: &str = "ROBOT_CITY_TEST_ROLE";
    const LOG: &str = "ROBOT_CITY_TEST_LOG";

    /// This test's own program in another role: the harness runs `the_other_process` alone.
    fn order(role: &str, log: &Path) -> Order {
        let test = "world::real::process::tests::the_other_process";
        Order {
            program: own_program().unwrap(),
            args: ["--exact", test, "--nocapture", "--test-threads=1"].map(Into::into).to_vec(),
            env: vec![(ROLE.into(), role.into()), (LOG.into(), log.into())],
            first_line: format!("from {}", std::process::id()),
            log: log.to_owned(),
        }
    }

    /// Not a test of its own: what the started processes do. Without a role it does nothing.
    #[test]
    fn the_other_process() {
        let Ok(role) = std::env::var(ROLE) else { return };
        let line = first_line().unwrap();
        let parent = line.strip_prefix("from ").unwrap().parse().unwrap();
        match role.as_str() {
            // The harness has written a piece of a line before.
            "report" => println!("\n{READY}{line}\nafter"),
            "stdin" => {
                end_with_stdin().unwrap();
                println!("\n{READY}");
                loop {
                    std::thread::park();
                }
            }
            // The harness runs a test on a thread of its own, and so on: the parent of a child
            // that it starts is the process all the same.
            "parent" => {
                let log = PathBuf::from(std::env::var_os(LOG).unwrap());
                run_local(async {
                    let mut child = Child::start(&order("signal", &log)).await.unwrap();
                    child.ready().await.unwrap();
                    println!("\n{READY}{}", child.pid());
                    std::future::pending::<()>().await;
                })
                .unwrap();
            }
            "signal" => {
                die_with_parent(parent).unwrap();
                println!("\n{READY}");
                loop {
                    std::thread::park();
                }
            }
            other => panic!("no role {other}"),
        }
    }

    fn with_log<T>(work: impl AsyncFnOnce(&Path) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        run_local(work(&folder.path().join("log"))).unwrap()
    }

    #[test]
    fn a_child_reports_and_its_words_are_logged() {
        with_log(async |log| {
            let mut child = Child::start(&order("report", log)).await.unwrap();
            let report = child.ready().await.unwrap();
            assert_eq!(report, format!("from {}", std::process::id()));
            assert!(child.wait().await.unwrap().success());
            assert!(std::fs::read_to_string(log).unwrap().contains(READY));
        });
    }

    #[test]
    fn a_child_ends_with_its_stdin() {
        with_log(async |log| {
            let mut child = Child::start(&order("stdin", log)).await.unwrap();
            child.ready().await.unwrap();
            assert_eq!(child.try_wait().unwrap(), None);
            assert!(child.let_go().await.unwrap().success());
        });
    }

    #[test]
    fn a_killed_child_is_reaped_and_killing_again_is_no_error() {
        use std::os::unix::process::ExitStatusExt;
        with_log(async |log| {
            let mut child = Child::start(&order("stdin", log)).await.unwrap();
            child.ready().await.unwrap();
            assert!(usage(child.pid()).unwrap().rss_bytes > 0);
            assert_eq!(child.kill().await.unwrap().signal(), Some(9));
            assert!(!exists(child.pid()));
            assert_eq!(usage(child.pid()), None);
            assert_eq!(child.kill().await.unwrap().signal(), Some(9));
        });
    }

    #[test]
    fn a_child_stands_still_and_goes_on_and_ends_when_told_to() {
        use std::os::unix::process::ExitStatusExt;
        with_log(async |log| {
            let mut child = Child::start(&order("stdin", log)).await.unwrap();
            child.ready().await.unwrap();
            // A signal is handled when the kernel comes to it.
            let comes_to = async |pid, stopped: bool| {
                while (state(pid) == Some('T')) != stopped {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tell(child.pid(), Word::Pause).unwrap();
            comes_to(child.pid(), true).await;
            tell(child.pid(), Word::Resume).unwrap();
            comes_to(child.pid(), false).await;
            tell(child.pid(), Word::Terminate).unwrap();
            assert_eq!(child.wait().await.unwrap().signal(), Some(15));
        });
    }

    #[test]
    fn a_child_dies_with_a_parent_that_is_killed() {
        with_log(async |log| {
            let mut parent = Child::start(&order("parent", log)).await.unwrap();
            let child: u32 = parent.ready().await.unwrap().parse().unwrap();
            assert!(exists(child));
            parent.kill().await.unwrap();
            // Whoever adopts the dead child reaps it when it likes: dead is enough. A child that
            // lives on makes this loop, and so the test, run until the harness is stopped.
            while state(child).is_some_and(|state| state != 'Z') {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }

    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.trim().chars().next()
    }

    #[test]
    fn a_wrong_parent_is_found_out() {
        // In a thread: the signal is set for the process, but this parent stays alive.
        let why = die_with_parent(1).unwrap_err();
        assert!(why.to_string().contains("parent process 1"), "{why}");
        rustix::process::set_parent_process_death_signal(None).unwrap();
    }

    #[test]
    fn cpu_time_is_read_from_behind_the_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 9 0 0 0 150 25 7 8 20 0 1 0 99 1 2";
        assert_eq!(cpu_of(stat), Some(Duration::from_millis(1_750)));
    }

    #[test]
    fn a_process_is_told_from_another_with_its_id() {
        with_log(async |log| {
            let mut child = Child::start(&order("stdin", log)).await.unwrap();
            child.ready().await.unwrap();
            let it = Identity::of(child.pid()).unwrap();
            let another = Identity { began: it.began + 1, ..it };
            assert!(it.lives() && !another.lives());
            assert_eq!(another.tell(Word::Kill).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert!(it.lives());
            it.tell(Word::Kill).unwrap();
            child.wait().await.unwrap();
            assert!(!it.lives() && it.tell(Word::Kill).is_err());
        });
    }

    #[test]
    fn this_process_costs_something() {
        let usage = own_usage();
        assert!(usage.cpu > Duration::ZERO);
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes);
    }
}
