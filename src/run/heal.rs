//! Puts back what a dead run left: faults in force, processes, robots at a target. From the run's
//! folder alone, as often as one likes. The run's guardian, `heal` and the sweep at the start of a
//! run all go through here.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::join_all;

use super::{
    clean,
    folder::Folder,
    ledger::{Books, By},
    plan::{RunPlan, now},
    victims,
};
use crate::{
    base::{
        lock::{FileLock, Refused},
        name::NodeName,
    },
    chaos::{
        lease::{Act, Deed, Lease, Ledger as _},
        provider::{Health, Provider},
    },
    report::verdict::Exit,
    world::real::{
        process::{Word, rest},
        run_local,
    },
};

/// Processes of a dead run end by themselves within that; what is there then is ended.
const END_WITHIN: Duration = Duration::from_millis(500);
/// What was ended has to be gone within that.
const GONE_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A victim may take that long to be put back, and to be seen to be well.
const HEAL_WITHIN: Duration = Duration::from_secs(30);
/// A last look at one that was not, to say what is wrong.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// What came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was put back, in words.
    pub healed: Vec<String>,
    /// What could not be, or not be seen to be, and why.
    pub left: Vec<String>,
}

impl Outcome {
    /// The exit code: pass only where nothing is left.
    pub fn exit(&self) -> Exit {
        if self.left.is_empty() { Exit::Pass } else { Exit::LeftBehind }
    }
}

/// What was found of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It goes on, or somebody is healing it: who.
    Busy(String),
    /// It was dead.
    Dead(Outcome),
}

/// Heals what the run in that folder left, unless somebody acts for it and does not stop to within
/// `patience`.
pub fn put_back(folder: &Folder, by: By, patience: Duration) -> anyhow::Result<Found> {
    let books = Books::of(folder, by);
    let _owner = match own(&books, patience) {
        Ok(owner) => owner,
        Err(Refused::Held(who)) => return Ok(Found::Busy(who)),
        Err(unusable) => return Err(unusable.into()),
    };
    let mut outcome = Outcome::default();
    end_processes(&books, &mut outcome);
    if Books::is_open(folder.path()) {
        heal_leases(&books, &mut outcome);
        take_robots_home(&books, &mut outcome);
        if !books.close() && outcome.left.is_empty() {
            outcome.left.push(format!("{}: is not empty", folder.file("leases").display()));
        }
    }
    Ok(Found::Dead(outcome))
}

/// The folders of runs below `root` in which something is left.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path())
    };
    let mut runs: Vec<PathBuf> = below(root).flat_map(|scenario| below(&scenario)).collect();
    runs.retain(|run| Books::is_open(run));
    runs.sort();
    runs
}

/// Heals the leases of a run that goes on but has not healed them in time: those only that can be
/// healed without it.
pub fn heal_expired(folder: &Folder) {
    let books = Books::of(folder, By::Guardian);
    let is_over = |lease: &Lease| lease.expires < now();
    let expired: Vec<Lease> = books.leases().into_iter().flatten().filter(is_over).collect();
    if !expired.is_empty()
        && let Ok(Some(victims)) = victims_of(folder)
    {
        // What is left is tried again at the run's end.
        heal_all(&books, &*victims, &expired, &mut Outcome::default());
    }
}

fn own(books: &Books, patience: Duration) -> Result<FileLock, Refused> {
    let mut waited = Duration::ZERO;
    loop {
        match books.own() {
            // The lock of a process that has just died may be held for a moment by a child of it.
            Err(Refused::Held(_)) if waited < patience => {
                rest(LOOK_EVERY);
                waited += LOOK_EVERY;
            }
            owned => return owned,
        }
    }
}

/// Nodes, brokers and proxies end with their run by themselves; whatever does not is ended.
fn end_processes(books: &Books, outcome: &mut Outcome) {
    let wait = |span: Duration| {
        let mut waited = Duration::ZERO;
        while waited < span && !books.processes().is_empty() {
            rest(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        books.processes()
    };
    let lingering = wait(END_WITHIN);
    for process in &lingering {
        // One that has ended meanwhile is as good.
        let _ = process.identity.tell(Word::Kill);
    }
    let there = if lingering.is_empty() { Vec::new() } else { wait(GONE_WITHIN) };
    for process in lingering {
        let what = format!("{} (process {})", process.name, process.identity.pid);
        if there.contains(&process) {
            outcome.left.push(format!("{what}: it does not end"));
        } else {
            outcome.healed.push(format!("{what}: it had outlived its run, and was ended"));
        }
    }
}

fn heal_leases(books: &Books, outcome: &mut Outcome) {
    let mut leases = Vec::new();
    for lease in books.leases() {
        match lease {
            Ok(lease) => leases.push(lease),
            Err(why) => outcome.left.push(format!("a lease that cannot be read: {why}")),
        }
    }
    if leases.is_empty() {
        return;
    }
    match victims_of(books.folder()) {
        Ok(Some(victims)) => heal_all(books, &*victims, &leases, outcome),
        Ok(None) => ended_with_the_run(books, &leases, outcome),
        Err(why) => {
            outcome.left.extend(leases.iter().map(|lease| format!("{}: {why:#}", told(lease))));
        }
    }
}

/// How the victims of that run are reached; none where they were its own processes.
fn victims_of(folder: &Folder) -> anyhow::Result<Option<std::rc::Rc<dyn Provider>>> {
    let plan = RunPlan::load(&folder.file("plan.toml"))?;
    victims::of(&plan)
}

/// Victims that the run had started itself, and links through its own proxy.
fn ended_with_the_run(books: &Books, leases: &[Lease], outcome: &mut Outcome) {
    let there: Vec<String> = books.processes().into_iter().map(|process| process.name).collect();
    for lease in leases {
        begin(books, lease);
        if there.is_empty() {
            let what =
                "the run had started it, and it ended with the run: no process of it is left";
            done(books, lease, Ok(what.to_owned()), outcome);
        } else {
            done(books, lease, Err(format!("still there: {}", there.join(", "))), outcome);
        }
    }
}

fn heal_all(books: &Books, victims: &dyn Provider, leases: &[Lease], outcome: &mut Outcome) {
    let healed = run_local(join_all(leases.iter().map(|lease| async move {
        begin(books, lease);
        heal_one(victims, lease).await
    })));
    let healed = match healed {
        Ok(healed) => healed,
        Err(why) => leases.iter().map(|_| Err(why.to_string())).collect(),
    };
    for (lease, healed) in leases.iter().zip(healed) {
        done(books, lease, healed, outcome);
    }
}

async fn heal_one(victims: &dyn Provider, lease: &Lease) -> Result<String, String> {
    let nodes = lease.nodes.iter().map(|(node, tag)| async move {
        victims.recall(node, tag);
        let healed = within(HEAL_WITHIN, insist(victims, node)).await;
        match healed {
            Some(text) => Ok(format!("{node}: {text}")),
            None => Err(format!(
                "{node}: not well within {HEAL_WITHIN:?}: {}",
                seen(victims, node).await
            )),
        }
    });
    let mut texts = Vec::new();
    let mut wrong = Vec::new();
    for healed in join_all(nodes).await {
        match healed {
            Ok(text) => texts.push(text),
            Err(text) => wrong.push(text),
        }
    }
    if !lease.links.is_empty() {
        texts.push("its links were sick in the run's own proxy, which ended with it".to_owned());
    }
    if lease.nodes.is_empty() && lease.links.is_empty() {
        texts.push("what its robots did, they did in the run, and it is over".to_owned());
    }
    if wrong.is_empty() { Ok(texts.join("; ")) } else { Err(wrong.join("; ")) }
}

/// Tries until it is put back, and seen to be well.
async fn insist(victims: &dyn Provider, node: &NodeName) -> String {
    loop {
        if let Ok(text) = victims.start(node).await
            && let Ok(Health::Up) = victims.health(node).await
        {
            return text;
        }
        rest_local(TRY_EVERY).await;
    }
}

/// What is wrong with a victim that does not become well: why it cannot be started, or what a look
/// shows.
async fn seen(victims: &dyn Provider, node: &NodeName) -> String {
    let look = async {
        match within(LOOK_WITHIN, victims.start(node)).await {
            Some(Err(error)) => error.why,
            _ => match victims.health(node).await {
                Ok(Health::Down(why)) => why,
                Ok(Health::Up) => "it is well only now".to_owned(),
                Err(error) => error.why,
            },
        }
    };
    within(LOOK_WITHIN * 2, look).await.unwrap_or_else(|| "it does not answer".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "there is no run any more, and no world of it")]
async fn within<T>(span: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(span, work).await.ok()
}

#[expect(clippy::disallowed_methods, reason = "there is no run any more, and no world of it")]
async fn rest_local(span: Duration) {
    tokio::time::sleep(span).await;
}

fn begin(books: &Books, lease: &Lease) {
    tell(books, lease, Deed::Heal, String::new());
}

fn done(books: &Books, lease: &Lease, healed: Result<String, String>, outcome: &mut Outcome) {
    match healed {
        Ok(what) => {
            tell(books, lease, Deed::HealVerified, what.clone());
            books.give_back(lease.fault);
            outcome.healed.push(format!("{}: {what}", told(lease)));
        }
        Err(why) => {
            tell(books, lease, Deed::HealUnverified, why.clone());
            outcome.left.push(format!("{}: {why}", told(lease)));
        }
    }
}

fn tell(books: &Books, lease: &Lease, act: Deed, what: String) {
    let (fault, kind, victims) = (lease.fault, lease.kind.clone(), lease.victims());
    books.tell(&Act { act, fault, kind, victims, what });
}

fn told(lease: &Lease) -> String {
    format!("{} of {}", lease.kind, lease.victims().join(", "))
}

fn take_robots_home(books: &Books, outcome: &mut Outcome) {
    if !books.has_robots() {
        return;
    }
    match clean::clean(books.folder().path()) {
        Ok(cleaned) if cleaned.exit() == Exit::Pass => {
            books.robots_left();
            let (robots, jobs) = (cleaned.signed_off, cleaned.ended);
            outcome.healed.push(format!("{robots} robots signed off, {jobs} jobs ended"));
        }
        Ok(cleaned) => outcome.left.extend(cleaned.left.into_iter().chain(cleaned.unproven)),
        Err(why) => outcome.left.push(format!("robots at the target: {why:#}")),
    }
}
