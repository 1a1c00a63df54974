//! What a kind of fault is, and the list of all kinds: one more kind is one more file here and one
//! more word in [`FAULTS`].

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::{self, LocalBoxFuture};

use super::{
    bad_version, bandwidth, crash_loop, disconnect, dns, error_answers, fill_queue, flapping,
    full_disk, inject,
    keys::Keys,
    kill, latency, limit_data, limit_time,
    load::Crowd,
    log_in, message_delay, message_drop, message_duplicate, message_reorder, partition, pause,
    phone_network,
    provider::{LinkName, Provider, ProviderError, Strike, Toxicity},
    reset, restart, rolling_restart, scale_in, skew, slicer, slow_close, slow_disk, slow_handler,
    spike, swizzle, terminate, timeout, torn_write, wrong_names,
};
use crate::{
    base::{file::FileError, name::NodeName, rng::Rng},
    world::Env,
};

/// What a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hits {
    /// Nodes: aimed with `nodes` or `select`.
    Nodes,
    /// Links: aimed with `links`.
    Links,
    /// The load itself: not aimed at all.
    Load,
}

/// The worlds in which a run can be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum World {
    /// Processes, sockets, the machine's clock.
    Real,
    /// One thread, deterministic.
    Virtual,
}

impl World {
    /// Where a fault has meaning that has one everywhere.
    pub const BOTH: &'static [Self] = &[Self::Real, Self::Virtual];

    /// The word in files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        }
    }
}

/// A key of a kind, for lists and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key.
    pub name: &'static str,
    /// What it means, and what holds when it is left out.
    pub means: &'static str,
}

/// One kind in the list.
#[derive(Debug)]
pub struct FaultEntry {
    /// Its word in plans.
    pub name: &'static str,
    /// What it does, in a line.
    pub means: &'static str,
    /// How it shows that it bit.
    pub bites: &'static str,
    /// What it hits.
    pub hits: Hits,
    /// The roles of the reference backend's nodes that it has a meaning for, and for no others; none
    /// where it has one for all nodes of all targets.
    pub roles: &'static [&'static str],
    /// The worlds in which it has a meaning; in any other a plan with it is refused.
    pub worlds: &'static [World],
    /// Its own keys, beside those that every fault has.
    pub keys: &'static [KeyEntry],
    /// A whole fault of this kind, as a plan writes it.
    pub example: &'static str,
    /// Reads its own keys.
    pub(super) read: fn(&mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError>,
    /// Draws its own settings, for a run that varies what it breaks: enough to bite, and no more
    /// than a healthy target gets over.
    pub(super) draw: fn(&mut Rng) -> Arc<dyn Fault>,
}

/// Every kind of fault.
pub const FAULTS: &[FaultEntry] = &[
    kill::ENTRY,
    terminate::ENTRY,
    pause::ENTRY,
    restart::ENTRY,
    crash_loop::ENTRY,
    rolling_restart::ENTRY,
    scale_in::ENTRY,
    disconnect::ENTRY,
    inject::ENTRY,
    latency::ENTRY,
    phone_network::ENTRY,
    bandwidth::ENTRY,
    slicer::ENTRY,
    partition::ENTRY,
    flapping::ENTRY,
    swizzle::ENTRY,
    timeout::ENTRY,
    reset::ENTRY,
    limit_data::ENTRY,
    limit_time::ENTRY,
    slow_close::ENTRY,
    dns::ENTRY,
    message_delay::ENTRY,
    message_drop::ENTRY,
    message_duplicate::ENTRY,
    message_reorder::ENTRY,
    error_answers::ENTRY,
    slow_handler::ENTRY,
    wrong_names::ENTRY,
    bad_version::ENTRY,
    fill_queue::ENTRY,
    slow_disk::ENTRY,
    full_disk::ENTRY,
    torn_write::ENTRY,
    skew::ENTRY,
    spike::ENTRY,
    log_in::ENTRY,
];

/// The kind of that name.
pub fn entry(name: &str) -> Option<&'static FaultEntry> {
    FAULTS.iter().find(|entry| entry.name == name)
}

impl FaultEntry {
    /// Whether it has a meaning for that node.
    pub fn suits(&self, node: &NodeName) -> bool {
        self.roles.is_empty() || self.roles.contains(&node.role())
    }

    /// Why a fault of this kind cannot be played in `world`, and what to do; none where it can.
    pub(super) fn refusal(&self, world: World) -> Option<String> {
        if self.worlds.contains(&world) {
            return None;
        }
        let words: Vec<&str> = self.worlds.iter().map(|world| world.word()).collect();
        let others = FAULTS.iter().filter(|entry| entry.worlds.contains(&world));
        let others: Vec<&str> = others.map(|entry| entry.name).collect();
        Some(format!(
            "`{}` has no meaning in the {} world: run it with --time {}, or take another fault \
             (one of {})",
            self.name,
            world.word(),
            words.join(" or "),
            others.join(", ")
        ))
    }
}

/// The kinds as a table in Markdown: what `docs/chaos.md` shows.
pub fn kinds_table() -> String {
    let mut table = String::from(
        "| kind | what it does | hits | worlds | keys of its own | how it shows that it bit |\n\
         |---|---|---|---|---|---|\n",
    );
    for entry in FAULTS {
        let hits = match entry.hits {
            Hits::Nodes => "nodes",
            Hits::Links => "links",
            Hits::Load => "the load",
        };
        let keys: Vec<String> =
            entry.keys.iter().map(|key| format!("`{}`: {}", key.name, key.means)).collect();
        let keys = if keys.is_empty() { "none".to_owned() } else { keys.join("<br>") };
        let worlds: Vec<&str> = entry.worlds.iter().map(|world| world.word()).collect();
        let (name, worlds) = (format!("`{}`", entry.name), worlds.join(", "));
        let row = [&name, entry.means, hits, &worlds, &keys, entry.bites];
        table.extend(["| ", &row.join(" | "), " |\n"]);
    }
    table
}

/// What was measured before a fault: what it is judged against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Nodes that were not well already, and what was seen.
    pub nodes_down: BTreeMap<NodeName, String>,
    /// Round trips; links that could not be measured are not in it.
    pub round_trips: BTreeMap<LinkName, Duration>,
    /// How far wall clocks were ahead of the run's own, in ms; nodes that could not be asked are
    /// not in it.
    pub ahead_ms: BTreeMap<NodeName, i64>,
}

/// What a look at the victims showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What was looked for is so.
    pub holds: bool,
    /// What was measured, for people.
    pub what: String,
}

/// What a fault acts on.
pub struct Stage<'a> {
    /// Time.
    pub env: &'a Env,
    /// The way to the victims.
    pub provider: &'a dyn Provider,
    /// The robots.
    pub crowd: &'a dyn Crowd,
    /// The nodes to hit.
    pub nodes: &'a [NodeName],
    /// The links to hit.
    pub links: &'a [LinkName],
    /// For how long the plan wants it.
    pub lasts: Duration,
    /// How much of what passes them is hit; none: all.
    pub toxicity: Option<Toxicity>,
    /// True for a node that another fault keeps down: nothing can be measured there.
    pub is_down: &'a dyn Fn(&NodeName) -> bool,
}

/// A fault of one kind with its settings. Any of these futures may be dropped at any moment; `heal`
/// puts everything back whatever state it is in, as often as it is called.
pub trait Fault: fmt::Debug + Send + Sync {
    /// Its kind's word.
    fn kind(&self) -> &'static str;

    /// Its settings, as a plan writes them: reading them gives the same fault again.
    fn settings(&self) -> toml::Table;

    /// True when its nodes are down while it is in force: nothing can be measured there.
    fn keeps_down(&self) -> bool {
        false
    }

    /// What it does to its nodes; none of one that hits links, or nodes in a way of its own.
    fn strike(&self) -> Option<Strike> {
        None
    }

    /// True when it strikes its nodes one after the other: never is more than one of them down.
    fn one_by_one(&self) -> bool {
        false
    }

    /// True when it has a meaning only where services talk over brokers.
    fn on_brokers(&self) -> bool {
        false
    }

    /// True when nothing comes through its links, for a while at least.
    fn cuts(&self) -> bool {
        false
    }

    /// How long it needs at least, with that many victims, to do all that it does and be measured;
    /// a plan that gives it less is refused.
    fn needs(&self, _victims: usize) -> Duration {
        Duration::ZERO
    }

    /// Location updates a second that it has sent beside those of the load.
    fn more_updates_per_s(&self, _: &Stage<'_>) -> f64 {
        0.0
    }

    /// True when it can be drawn for one request and not for the next of the same connection.
    fn of_requests(&self) -> bool {
        true
    }

    /// Measures the victims while they are well.
    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline>;

    /// Breaks the victims; the text is what was done.
    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>>;

    /// Measures whether it had its effect.
    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen>;

    /// What goes on once its effect was measured, and until it is to be put back: it is dropped
    /// then. Most faults do nothing more.
    fn go_on<'a>(&'a self, _: &'a Stage<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(future::pending())
    }

    /// Puts everything back, and measures whether all is well again.
    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen>;
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::chaos::Plan;

    const BEGIN: &str = "<!-- kinds: begin -->\n";
    const END: &str = "<!-- kinds: end -->";

    #[test]
    fn each_example_is_a_plan_of_its_kind() {
        for entry in FAULTS {
            let plan = Plan::parse(entry.example, Path::new("example.toml"))
                .unwrap_or_else(|error| panic!("{}: {error}", entry.name));
            assert_eq!(plan.kinds().collect::<Vec<_>>(), [entry.name]);
        }
    }

    #[test]
    fn the_documented_keys_are_those_that_are_read() {
        for entry in FAULTS {
            let wrong = format!("{}nonsense = 1\n", entry.example);
            let error = Plan::parse(&wrong, Path::new("example.toml")).unwrap_err().to_string();
            for key in entry.keys {
                assert!(error.contains(key.name), "{}: {error}", entry.name);
                assert!(entry.example.contains(key.name), "{} is not shown", key.name);
            }
            let common = [
                "kind",
                "nodes",
                "select",
                "links",
                "mode",
                "value",
                "at",
                "for",
                "every",
                "poisson",
                "times",
                "after",
                "until",
                "toxicity",
                "toxicity_per",
            ];
            let (_, known) = error.split_once("must be one of ").unwrap();
            let is_own =
                |key: &&str| !common.contains(key) || entry.keys.iter().any(|own| own.name == *key);
            let own = known.split(", ").filter(is_own).count();
            assert_eq!(own, entry.keys.len(), "{}: {error}", entry.name);
        }
    }

    #[test]
    fn the_docs_show_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/chaos.md");
        let text = fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once(BEGIN).unwrap();
        let (old, tail) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", kinds_table())).unwrap();
            return;
        }
        assert_eq!(old, kinds_table(), "run the tests with UPDATE_DOCS=1 to bring it up to date");
    }
}
