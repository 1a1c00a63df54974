//! A process of this machine, by its id, by a file that holds it, or by its command line. Never
//! another one that got its id: each is known by the moment at which it began.

use std::{cell::Cell, rc::Rc};

use futures_util::future::{LocalBoxFuture, ready};
use serde::Deserialize;

use super::{Done, ProviderEntry, Reach, cannot, hands::Hands};
use crate::{
    chaos::provider::{Health, Strike},
    world::real::process::{Identity, Word},
};

/// Its place in the list.
pub(super) const ENTRY: ProviderEntry = ProviderEntry {
    name: "process",
    means: "a process of this machine: kill, terminate, pause; `start` brings one that has ended back",
};

/// As the file says it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Its id.
    pid: Option<u32>,
    /// A file that holds its id.
    pid_file: Option<String>,
    /// A text in its command line, and in no other's.
    command: Option<String>,
    /// The program that it is, or that starts it, with its arguments.
    start: Vec<String>,
}

impl Process {
    pub(super) fn check(&self) -> Result<(), String> {
        let given = [self.pid.is_some(), self.pid_file.is_some(), self.command.is_some()]
            .iter()
            .filter(|g| **g)
            .count();
        if given == 1 {
            return Ok(());
        }
        Err("`process` needs one of `pid`, `pid_file` and `command`".to_owned())
    }

    pub(super) fn reach(self, hands: Rc<dyn Hands>) -> Box<dyn Reach> {
        Box::new(Reached { wanted: self, hands, known: Cell::default() })
    }
}

struct Reached {
    wanted: Process,
    hands: Rc<dyn Hands>,
    /// Which it is, or was when it was looked for last.
    known: Cell<Option<Identity>>,
}

impl Reached {
    /// The process, now.
    fn find(&self) -> Done<Identity> {
        if let Some(known) = self.known.get().filter(Identity::lives) {
            return Ok(known);
        }
        let found = self.seek()?;
        let own = std::process::id();
        if found.pid <= 1 || found.pid == own || Some(found.pid) == parent() {
            return Err(format!("process {} is not one to be hit", found.pid));
        }
        if self.known.get().is_some_and(|known| known.pid == found.pid && known != found) {
            return Err(format!("process {} has ended, and its id is another's now", found.pid));
        }
        self.known.set(Some(found));
        Ok(found)
    }

    fn seek(&self) -> Done<Identity> {
        let is = |pid: u32| {
            let found = Identity::of(pid).filter(Identity::lives);
            found.ok_or_else(|| format!("there is no process {pid}"))
        };
        let Process { pid, pid_file, command, .. } = &self.wanted;
        if let Some(pid) = pid {
            return is(*pid);
        }
        if let Some(file) = pid_file {
            let text = std::fs::read_to_string(file)
                .map_err(|why| format!("pid_file {file}: cannot be read: {why}"))?;
            let pid = text.trim().parse().map_err(|_| format!("pid_file {file}: holds no id"))?;
            return is(pid);
        }
        let text = command.clone().unwrap_or_default();
        let found: Vec<Identity> = all_with(&text);
        match found[..] {
            [one] => Ok(one),
            [] => Err(format!("no process has `{text}` in its command line")),
            _ => Err(format!("{} processes have `{text}` in their command line", found.len())),
        }
    }

    async fn tell(&self, word: Word, until: impl Fn(&Identity) -> bool) -> Done<String> {
        let it = self.find()?;
        it.tell(word).map_err(|why| format!("process {}: {why}", it.pid))?;
        while !until(&it) {
            self.hands.rest().await;
        }
        Ok(match word {
            Word::Pause => format!("process {} stands still", it.pid),
            _ => format!("process {} has ended", it.pid),
        })
    }
}

/// The process that started this one.
fn parent() -> Option<u32> {
    rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_pid()).ok())
}

/// Every process but this one and its parent with that text in its command line.
fn all_with(text: &str) -> Vec<Identity> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id() && Some(*pid) != parent());
    let mut found: Vec<Identity> = others
        .filter(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<u8> = words.iter().map(|b| if *b == 0 { b' ' } else { *b }).collect();
            String::from_utf8_lossy(&words).contains(text)
        })
        .filter_map(Identity::of)
        .filter(Identity::lives)
        .collect();
    found.sort_by_key(|identity| identity.pid);
    found
}

fn stands_still(it: &Identity) -> bool {
    it.state() == Some('T')
}

impl Reach for Reached {
    fn check(&self) -> LocalBoxFuture<'_, Done<()>> {
        Box::pin(ready(self.find().map(drop)))
    }

    fn can(&self, how: Strike) -> bool {
        match how {
            Strike::Pause => true,
            Strike::Kill | Strike::Terminate => !self.wanted.start.is_empty(),
            Strike::Disconnect | Strike::Inject => false,
        }
    }

    fn tag(&self) -> String {
        let known = self.find().ok().or(self.known.get());
        known.map(|known| format!("{} {}", known.pid, known.began)).unwrap_or_default()
    }

    fn recall(&self, tag: &str) {
        let words = tag.split_once(' ');
        let known = words.and_then(|(pid, began)| {
            Some(Identity { pid: pid.parse().ok()?, began: began.parse().ok()? })
        });
        self.known.set(known);
    }

    fn strike(&self, how: Strike) -> LocalBoxFuture<'_, Done<String>> {
        if !self.can(how) {
            return cannot(how);
        }
        Box::pin(async move {
            match how {
                Strike::Pause => self.tell(Word::Pause, |it| stands_still(it) || !it.lives()).await,
                Strike::Terminate => self.tell(Word::Terminate, |it| !it.lives()).await,
                _ => self.tell(Word::Kill, |it| !it.lives()).await,
            }
        })
    }

    fn heal(&self) -> LocalBoxFuture<'_, Done<String>> {
        let heal = || {
            if let Some(known) = self.known.get().filter(Identity::lives) {
                // To one that runs it is nothing.
                known.tell(Word::Resume).map_err(|why| format!("process {}: {why}", known.pid))?;
                return Ok(format!("process {} goes on", known.pid));
            }
            if self.wanted.pid.is_none()
                && let Ok(found) = self.find()
            {
                return Ok(format!("process {} runs", found.pid));
            }
            if self.wanted.start.is_empty() {
                return Err("it has ended, and there is no `start` to bring it back".to_owned());
            }
            let started = self.hands.start(&self.wanted.start)?;
            if self.wanted.pid.is_some() {
                self.known.set(Some(started));
            }
            Ok(format!("started by process {}", started.pid))
        };
        Box::pin(ready(heal()))
    }

    fn look(&self) -> LocalBoxFuture<'_, Done<Health>> {
        let seen = match self.find() {
            Ok(it) if stands_still(&it) => Health::Down(format!("process {} stands still", it.pid)),
            Ok(_) => Health::Up,
            Err(why) => Health::Down(why),
        };
        Box::pin(ready(Ok(seen)))
    }
}
