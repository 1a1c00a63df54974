//! What a run writes down so that others can put back what it broke, when it is dead: leases, the
//! processes that it started, whether its robots are at a target, and every act in the audit log.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{folder::Folder, plan::now};
use crate::{
    base::lock::{FileLock, Refused},
    chaos::lease::{Act, Lease, Ledger},
    world::real::process::Identity,
};

/// The folder of leases, in a run's folder: there as long as something is to be put back.
const LEASES: &str = "leases";
/// In that folder, while robots of the run are, or may be, at a target that it did not start.
const ROBOTS: &str = "robots.json";
/// In a run's folder: the processes that it started, one a line.
const PROCESSES: &str = "processes.jsonl";
/// In a run's folder: held by whoever may act for the run.
const OWNER: &str = "owner.lock";
/// In the folder of all runs: every act on a fault, one a line, of all runs.
pub const AUDIT: &str = "audit.jsonl";

/// Who does something to a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The run itself.
    Run,
    /// The run's guardian.
    Guardian,
    /// `robot-city heal`.
    Heal,
    /// The sweep at the start of a later run.
    Sweep,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, RFC 3339 in UTC.
    pub at: jiff::Timestamp,
    /// The run's folder, below that of all runs.
    pub run: PathBuf,
    /// Who.
    pub by: By,
    /// What.
    #[serde(flatten)]
    pub act: Act,
}

/// A process that the run started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// What it is called.
    pub name: String,
    /// Which it is.
    #[serde(flatten)]
    pub identity: Identity,
}

/// The books of one run.
#[derive(Debug, Clone)]
pub struct Books {
    folder: Folder,
    by: By,
}

impl Books {
    /// Those in that folder, kept by `by`.
    pub fn of(folder: &Folder, by: By) -> Self {
        Self { folder: folder.clone(), by }
    }

    /// The run's folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Makes their own folder.
    pub fn open(&self) -> io::Result<()> {
        fs::create_dir_all(self.folder.file(LEASES))
    }

    /// Removes their own folder where nothing is left to be put back; true when it is gone.
    pub fn close(&self) -> bool {
        // Half of a lease: its fault was never injected.
        for path in self.papers().filter(|path| path.extension().is_some_and(|end| end == "tmp")) {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir(self.folder.file(LEASES));
        !self.folder.file(LEASES).exists()
    }

    /// Whether something is, or may be, left to be put back.
    pub fn is_open(run: &Path) -> bool {
        run.join(LEASES).exists()
    }

    /// Becomes the one who acts for the run; the text is who does so already.
    pub fn own(&self) -> Result<FileLock, Refused> {
        let who = format!("process {}", std::process::id());
        FileLock::take(&self.folder.file(OWNER), &who)
    }

    /// Everything in their folder.
    fn papers(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(self.folder.file(LEASES)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    }

    /// The leases that are not given back, in the order of the plan. One that cannot be read is an
    /// error in its place: it is not known what it is about.
    pub fn leases(&self) -> Vec<Result<Lease, String>> {
        let mut paths: Vec<PathBuf> = self.papers().collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default();
            name != ROBOTS && path.extension().is_some_and(|end| end == "json")
        });
        paths.sort();
        let read = |path: &PathBuf| {
            let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
            let text = fs::read(path).map_err(|why| wrong(&why))?;
            serde_json::from_slice(&text).map_err(|why| wrong(&why))
        };
        paths.iter().map(read).collect()
    }

    /// Robots come to a target that stays when the run goes.
    pub fn robots_come(&self) -> anyhow::Result<()> {
        self.open()?;
        Ok(self.folder.write(&format!("{LEASES}/{ROBOTS}"), b"{}\n")?)
    }

    /// None of them is there any more.
    pub fn robots_left(&self) {
        let _ = fs::remove_file(self.folder.file(LEASES).join(ROBOTS));
    }

    /// Whether robots are, or may be, at a target.
    pub fn has_robots(&self) -> bool {
        self.folder.file(LEASES).join(ROBOTS).exists()
    }

    /// A process was started. Where it cannot be written it still ends with its parent, as all do.
    pub fn note_process(&self, name: &str, pid: u32) {
        let Some(identity) = Identity::of(pid) else { return };
        let started = Started { name: name.to_owned(), identity };
        let _ = append(&self.folder.file(PROCESSES), &started);
    }

    /// Those of the run's processes that have not ended.
    pub fn processes(&self) -> Vec<Started> {
        let text = fs::read_to_string(self.folder.file(PROCESSES)).unwrap_or_default();
        // The last line may be half of one.
        let started = text.lines().filter_map(|line| serde_json::from_str::<Started>(line).ok());
        started.filter(|started| started.identity.lives()).collect()
    }
}

impl Ledger for Books {
    fn take(&self, lease: &Lease) -> Result<(), String> {
        self.open().map_err(|why| why.to_string())?;
        let text = serde_json::to_vec_pretty(lease).map_err(|why| why.to_string())?;
        self.folder.write(&file_of(lease.fault), &text).map_err(|why| why.to_string())
    }

    fn give_back(&self, fault: u32) {
        // One that stays is healed once more, which changes nothing.
        let _ = fs::remove_file(self.folder.file(&file_of(fault)));
    }

    fn tell(&self, act: &Act) {
        let root = self.folder.root();
        let run = self.folder.path().strip_prefix(root).unwrap_or(self.folder.path()).to_owned();
        let line = Line { at: now(), run, by: self.by, act: act.clone() };
        // The run's history has the same; a full disk shows there.
        let _ = append(&root.join(AUDIT), &line);
    }
}

fn file_of(fault: u32) -> String {
    format!("{LEASES}/{fault:04}.json")
}

/// One line at the end of a file, in one piece: others may append to it at the same time.
fn append(path: &Path, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    OpenOptions::new().create(true).append(true).open(path)?.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::lease::Deed;

    fn books(by: By) -> (tempfile::TempDir, Books) {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::create(root.path(), "smoke", "one").unwrap();
        (root, Books::of(&folder, by))
    }

    fn lease(fault: u32) -> Lease {
        Lease {
            fault,
            kind: "pause".into(),
            nodes: [("a/core-1".into(), "17 4".to_owned())].into(),
            links: vec!["robots -> a/api-1".parse().unwrap()],
            taken: now(),
            expires: now(),
        }
    }

    #[test]
    fn a_lease_is_there_until_it_is_given_back() {
        let (_root, books) = books(By::Run);
        let path = books.folder().path().to_owned();
        assert!(!Books::is_open(&path));
        for fault in [10, 2] {
            books.take(&lease(fault)).unwrap();
        }
        books.robots_come().unwrap();
        let found: Vec<Lease> = books.leases().into_iter().map(Result::unwrap).collect();
        assert_eq!(found.iter().map(|lease| lease.fault).collect::<Vec<_>>(), [2, 10]);
        assert_eq!(found[0].victims(), ["a/core-1", "robots -> a/api-1"]);
        books.give_back(2);
        books.give_back(10);
        assert!(!books.close() && books.has_robots() && Books::is_open(&path));
        books.robots_left();
        // The run was killed while it wrote one.
        fs::write(books.folder().file("leases/0011.json.tmp"), "{").unwrap();
        assert!(books.leases().is_empty());
        assert!(books.close() && !Books::is_open(&path));
    }

    #[test]
    fn a_lease_that_cannot_be_read_is_not_overlooked() {
        let (_root, books) = books(By::Heal);
        books.open().unwrap();
        fs::write(books.folder().file("leases/0003.json"), "{").unwrap();
        assert!(books.leases()[0].as_ref().unwrap_err().contains("0003.json"));
        assert!(!books.close());
    }

    #[test]
    fn every_act_is_a_line_that_says_whose_it_is() {
        let (root, books) = books(By::Guardian);
        let act = Act {
            act: Deed::HealVerified,
            fault: 3,
            kind: "kill".into(),
            victims: vec!["b/core-1".into()],
            what: "healthy".into(),
        };
        books.tell(&act);
        books.tell(&act);
        let text = fs::read_to_string(root.path().join(AUDIT)).unwrap();
        let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[1].by, &lines[1].act), (By::Guardian, &act));
        assert_eq!(lines[1].run, Path::new("smoke/one"));
        assert!(text.contains("\"act\":\"heal_verified\""), "{text}");
    }

    #[test]
    fn a_process_is_listed_while_it_lives_and_one_acts_for_a_run() {
        let (_root, books) = books(By::Run);
        books.note_process("this", std::process::id());
        append(
            &books.folder().file(PROCESSES),
            &Started {
                name: "another with its id".into(),
                identity: Identity { pid: std::process::id(), began: 1 },
            },
        )
        .unwrap();
        let names: Vec<String> = books.processes().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["this"]);
        let owner = books.own().unwrap();
        assert!(matches!(books.own(), Err(Refused::Held(who)) if who.contains("process")));
        drop(owner);
        books.own().unwrap();
    }
}
