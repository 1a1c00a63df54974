//! Keeps two runs apart: each would see the other's jobs, offers and drivers, and blame the target
//! for them. One lock for each target and city, held from before the load to the end. It reaches as
//! far as this user on this machine; a target that the run starts by itself needs none.

use std::{
    fmt,
    path::{Path, PathBuf},
    process,
};

use serde::{Deserialize, Serialize};

use super::{RunError, folder::Folder, plan::sha256};
use crate::base::lock::{self, FileLock, Refused};

/// Letters of a name that a file's name takes.
const NAME_MAX: usize = 60;

/// Who holds a lock, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run's id.
    pub run: String,
    /// Its process.
    pub pid: u32,
    /// Its folder.
    pub folder: PathBuf,
    /// RFC 3339, UTC.
    pub started: String,
}

impl Holder {
    /// This process, for a run.
    pub fn this(run: &str, folder: &Folder, started: &str) -> Self {
        let path = folder.path();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self { run: run.to_owned(), pid: process::id(), folder: path, started: started.to_owned() }
    }
}

/// The lock of a target and a city; given back when it is dropped, or when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: FileLock,
}

/// No run may begin here now.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run is at it.
    #[error("{0}")]
    Held(Box<Held>),
    /// The lock's file cannot be used.
    #[error(
        "{}: whether another run is at this target cannot be known: {why}. Make that folder usable, \
         or name another one in TMPDIR", path.display()
    )]
    Unusable {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
}

/// Another run that is at a target and a city.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The target.
    pub target: String,
    /// The city.
    pub city: String,
    /// Who it is; unknown in the moment in which it has just come or is about to leave.
    pub by: Option<Holder>,
}

impl Lock {
    /// Takes the lock, or tells who has it. `target` is whatever is the same for two runs that would
    /// disturb each other: the address that requests go to says more than a file's name.
    pub fn take(target: &str, city: &str, own: &Holder) -> Result<Self, LockError> {
        let folder = lock::folder()
            .map_err(|why| LockError::Unusable { path: std::env::temp_dir(), why })?;
        Self::take_in(&folder, target, city, own)
    }

    /// The same with locks in another folder.
    pub fn take_in(
        folder: &Path,
        target: &str,
        city: &str,
        own: &Holder,
    ) -> Result<Self, LockError> {
        let path = folder.join(file_name(target, city));
        // A struct of texts and a number is always TOML; who is not told is not less locked out.
        let text = toml::to_string(own).unwrap_or_default();
        match FileLock::take(&path, &text) {
            Ok(file) => Ok(Self { _file: file }),
            Err(Refused::Unusable(path, why)) => Err(LockError::Unusable { path, why }),
            Err(Refused::Held(text)) => {
                let by = toml::from_str(&text).ok();
                let (target, city) = (target.to_owned(), city.to_owned());
                Err(LockError::Held(Box::new(Held { target, city, by })))
            }
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, city, by } = self;
        write!(f, "another run is at target {target}, city {city}: ")?;
        let Some(Holder { run, pid, folder, started }) = by else {
            return f.write_str(
                "it is just beginning or ending. Two at once would blame the target for each \
                 other's jobs: try again in a moment",
            );
        };
        write!(
            f,
            "{run} (process {pid}, since {started}, in {}). Two at once would blame the target for \
             each other's jobs: wait until it ends, end it with `kill -INT {pid}` (it signs off and \
             reports first), or take another target or city",
            folder.display()
        )
    }
}

/// Nothing is wrong with the command, which will work later, so it is no matter of usage: the target
/// is unfit for a run as long as another is at it.
impl From<LockError> for RunError {
    fn from(error: LockError) -> Self {
        Self::Unfit(error.to_string())
    }
}

/// Readable, and another one for every other pair: the names may hold anything.
fn file_name(target: &str, city: &str) -> String {
    let word = |text: &str| -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
        text.chars().map(plain).take(NAME_MAX).collect()
    };
    let hash = sha256(&format!("{}\n{target}\n{city}", target.len()));
    format!("{}-{}-{}.lock", word(target), word(city), &hash[..12])
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use super::*;
    use crate::report::verdict::Exit;

    const TARGET: &str = "https://staging.example";

    fn holder(run: &str) -> Holder {
        let (folder, started) = ("reports/smoke/one".into(), "2026-11-21T01:38:38Z".into());
        Holder { run: run.into(), pid: process::id(), folder, started }
    }

    fn held(error: LockError) -> Held {
        match error {
            LockError::Held(held) => *held,
            LockError::Unusable { .. } => panic!("{error}"),
        }
    }

    #[test]
    fn a_second_run_is_refused_and_told_by_whom() {
        let root = tempfile::tempdir().unwrap();
        let take = |target, city, run| Lock::take_in(root.path(), target, city, &holder(run));
        let first = take(TARGET, "dublin", "one").unwrap();
        let error = take(TARGET, "dublin", "two").unwrap_err();
        let told = error.to_string();
        for part in [TARGET, "dublin", "one", "reports/smoke/one", "since 2026-11-21T01:38:38Z"] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
        assert!(told.contains(&format!("`kill -INT {}`", process::id())), "{told}");
        assert_eq!(RunError::from(error).exit(), Exit::Unfit);
        // Neither another city nor another target is locked.
        take(TARGET, "cork", "two").unwrap();
        take("https://other.example", "dublin", "two").unwrap();
        drop(first);
        take(TARGET, "dublin", "two").unwrap();
    }

    #[test]
    fn names_that_look_alike_are_different_locks() {
        let names = [("a/b", "c"), ("a_b", "c"), ("a", "b/c"), ("a", "b_c"), ("a\nb", "c")];
        let files: std::collections::BTreeSet<_> =
            names.iter().map(|(target, city)| file_name(target, city)).collect();
        assert_eq!(files.len(), names.len());
        assert!(files.iter().all(|file| !file.contains(['/', '\n'])), "{files:?}");
        assert!(file_name(&"x".repeat(5_000), &"y".repeat(5_000)).len() < 255);
    }

    /// Where the child below finds the folder of its lock.
    const FOLDER: &str = "ROBOT_CITY_TEST_LOCK_FOLDER";

    /// Not a test of its own: the child of the one below, which ends it.
    #[test]
    #[ignore = "plays the other process in the test below"]
    fn child_that_holds_the_lock() {
        let folder = std::env::var_os(FOLDER).expect("the test below sets it");
        let _lock = Lock::take_in(Path::new(&folder), TARGET, "dublin", &holder("child")).unwrap();
        println!("\nholding");
        // Until it is killed, or the parent is gone.
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test of processes")]
    fn the_lock_of_a_process_that_is_killed_is_free() {
        let root = tempfile::tempdir().unwrap();
        let name = "run::lock::tests::child_that_holds_the_lock";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(FOLDER, root.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"), "the child took no lock");
        let again = || Lock::take_in(root.path(), TARGET, "dublin", &holder("parent"));
        let by = held(again().unwrap_err()).by.unwrap();
        assert_eq!((by.run.as_str(), by.pid), ("child", child.id()));
        // SIGKILL: nothing of the child runs any more, its `Drop` least of all.
        child.kill().unwrap();
        child.wait().unwrap();
        again().unwrap();
    }
}
