//! What people and tools are told of a swarm: the line while it goes on, the tally at its end, and
//! `swarm.json`.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    Order,
    keep::Kept,
    seeds::Seeds,
    tally::{LawTally, Tally, word},
    trial::Trial,
    vary::Base,
};
use crate::{report::verdict::Exit, run::outputs::replay_command};

/// The version of `swarm.json`.
const SCHEMA: u32 = 1;
/// Failures that the terminal shows; the file has more.
const SHOWN_MAX: usize = 20;
/// Reasons of inconclusive seeds that the terminal shows.
const REASONS_MAX: usize = 8;
/// Every verdict, in the order in which people read them.
const VERDICTS: [Exit; 8] = [
    Exit::Pass,
    Exit::Inconclusive,
    Exit::GateMissed,
    Exit::Broken,
    Exit::LeftBehind,
    Exit::Crash,
    Exit::Unfit,
    Exit::Usage,
];

/// `swarm.json`, and what the terminal shows of it.
#[derive(Debug, Serialize)]
pub struct Told {
    schema: u32,
    tool: String,
    scenario: String,
    seeds: String,
    plants: Vec<String>,
    keep_going: bool,
    threads: usize,
    interrupted: bool,
    seconds: f64,
    seeds_per_minute: f64,
    #[serde(serialize_with = "as_code")]
    /// The exit code of the swarm.
    pub exit: Exit,
    #[serde(flatten)]
    tally: Tally,
    never_seen: Vec<String>,
    /// The shortest history first.
    failures: Vec<Failure>,
}

/// One failure.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// A text, like every seed.
    seed: String,
    #[serde(serialize_with = "as_code")]
    exit: Exit,
    /// The laws that it broke.
    laws: Vec<String>,
    evidence: String,
    records: u64,
    drivers: u32,
    faults: Vec<String>,
    /// The command that plays it again.
    replay: String,
    /// Where it is kept; only the shortest are.
    folder: Option<String>,
    /// Why it could not be kept.
    not_kept: Option<String>,
    /// It came out otherwise when it was played again to be kept.
    changed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn as_code<S: serde::Serializer>(exit: &Exit, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u8(exit.code())
}

impl Failure {
    /// A failure, and what became of keeping it if that was tried.
    pub fn new(trial: &Trial, kept: Option<Result<Kept, String>>, order: &Order) -> Self {
        let changed = matches!(&kept, Some(Ok(kept)) if !kept.same);
        let (folder, not_kept) = match kept {
            Some(Ok(kept)) => (Some(kept.folder), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let again = || play_command(order, trial.seed);
        let replay = folder.as_deref().map_or_else(again, replay_command);
        Self {
            seed: trial.seed.to_string(),
            exit: trial.exit,
            laws: trial.broken().map(str::to_owned).collect(),
            evidence: trial.evidence.clone(),
            records: trial.records,
            drivers: trial.drivers,
            faults: trial.faults.clone(),
            replay,
            folder: folder.map(|folder| folder.display().to_string()),
            not_kept,
            changed,
        }
    }
}

impl Told {
    /// Puts it together.
    pub fn new(
        base: &Base,
        order: &Order,
        threads: usize,
        seconds: f64,
        interrupted: Option<Exit>,
        tally: Tally,
        failures: Vec<Failure>,
    ) -> Self {
        let mut exit = tally.exit(interrupted);
        if failures.iter().any(|failure| failure.changed) {
            exit = exit.worse(Exit::Crash);
        }
        Self {
            schema: SCHEMA,
            tool: format!("robot-city {}", env!("CARGO_PKG_VERSION")),
            scenario: base.plan.name.clone(),
            seeds: order.seeds.to_string(),
            plants: base.plan.plants.clone(),
            keep_going: order.keep_going,
            threads,
            interrupted: interrupted.is_some(),
            seconds,
            seeds_per_minute: per_minute(tally.played, seconds),
            exit,
            never_seen: tally.never_seen().map(str::to_owned).collect(),
            tally,
            failures,
        }
    }

    /// The text of `swarm.json`.
    pub fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn laws(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  █ LAWS (opportunities over all seeds)\n")?;
        for (name, law) in self.tally.laws_in_order() {
            writeln!(f, "{}", law_line(name, law))?;
        }
        Ok(())
    }

    fn known(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tally.known.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  █ KNOWN FAILURES\n")?;
        for (name, known) in &self.tally.known {
            match known.seeds {
                0 => writeln!(f, "    - {name}: in no seed: fixed? then remove it")?,
                seeds => writeln!(f, "    ~ {name}: {} in {seeds} seeds", known.excused)?,
            }
        }
        Ok(())
    }

    fn reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tally.reasons.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  █ WHY SEEDS PROVED NOTHING, OR MISSED A GATE\n")?;
        let mut reasons: Vec<_> = self.tally.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in reasons.iter().take(REASONS_MAX) {
            writeln!(f, "    {count:>6}  {reason}")?;
        }
        rest(f, reasons.len() as u64, REASONS_MAX)
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  █ FAILURES, THE SHORTEST HISTORY FIRST")?;
        for (number, failure) in self.failures.iter().take(SHOWN_MAX).enumerate() {
            let which = if number == 0 { " (the shortest)" } else { "" };
            writeln!(
                f,
                "\n    seed {}{which}: {}, {} records, {} drivers, {}",
                failure.seed,
                word(failure.exit),
                failure.records,
                failure.drivers,
                in_words(&failure.faults)
            )?;
            writeln!(f, "      {}", failure.evidence)?;
            if let Some(why) = &failure.not_kept {
                writeln!(f, "      its folder could not be kept: {why}")?;
            }
            writeln!(f, "      {}", failure.replay)?;
        }
        rest(f, self.tally.failed(), SHOWN_MAX)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  █ SWARM of {}, seeds {}\n", self.scenario, self.seeds)?;
        for exit in VERDICTS {
            let count = self.tally.count(exit);
            if count > 0 || exit == Exit::Pass {
                writeln!(f, "    {:.<34}: {count}", word(exit))?;
            }
        }
        writeln!(
            f,
            "    {:.<34}: {} in {:.1} s, {:.0} a minute on {} threads",
            "seeds played", self.tally.played, self.seconds, self.seeds_per_minute, self.threads
        )?;
        self.laws(f)?;
        self.known(f)?;
        self.reasons(f)?;
        self.failures(f)?;
        if self.interrupted {
            writeln!(f, "\n  interrupted: the seeds in work were played to their end")?;
        }
        for failure in self.failures.iter().filter(|failure| failure.changed) {
            writeln!(
                f,
                "\n  seed {} came out otherwise when it was played again: something in it is not \
                 of its seed alone. Please report this with its folder",
                failure.seed
            )?;
        }
        writeln!(f, "\n  swarm: {}", word(self.exit).to_uppercase())
    }
}

/// The line of one law. One that no seed saw to hold is as unknown as in a run.
fn law_line(name: &str, law: &LawTally) -> String {
    let LawTally { opportunities, seeds, passed, broken, known } = law;
    let seen = format!("{opportunities} in {seeds} seeds");
    match (broken, passed, opportunities) {
        (0, 0, 0) => format!("    ? {name:.<34}: no seed gave it an opportunity"),
        (0, 0, _) => format!("    ? {name:.<34}: {seen}, enough of them in none"),
        (0, ..) if *known > 0 => format!("    ~ {name:.<34}: {seen}"),
        (0, ..) => format!("    ✓ {name:.<34}: {seen}"),
        _ => format!("    ✗ {name:.<34}: {seen}, broken in {broken}"),
    }
}

/// How many more there are than are shown.
fn rest(f: &mut fmt::Formatter<'_>, all: u64, shown: usize) -> fmt::Result {
    match all.checked_sub(shown as u64) {
        Some(more @ 1..) => writeln!(f, "\n    … and {more} more"),
        _ => Ok(()),
    }
}

/// The lines for a failure at the moment when it is found.
pub fn found(trial: &Trial, order: &Order) -> String {
    let (seed, again) = (trial.seed, play_command(order, trial.seed));
    format!("seed {seed}: {}: {}\n  {again}", word(trial.exit), trial.evidence)
}

/// The command that plays one seed of a swarm again.
fn play_command(order: &Order, seed: u64) -> String {
    format!("{} --seeds {seed}..{seed}", order.command)
}

/// The line while the swarm goes on.
pub fn line(tally: &Tally, seeds: Seeds, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let counts: Vec<String> = VERDICTS
        .into_iter()
        .filter(|exit| tally.count(*exit) > 0)
        .map(|exit| format!("{} {}", word(exit), tally.count(exit)))
        .collect();
    let (played, rate) = (tally.played, per_minute(tally.played, seconds));
    let count = seeds.count();
    let line =
        format!("{seconds:6.1}s  {played} of {count} seeds, {rate:.0}/min  {}", counts.join(", "));
    line.trim_end().to_owned()
}

fn per_minute(played: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { played as f64 / seconds * 60.0 } else { 0.0 }
}

/// `kill, latency ×2`.
fn in_words(faults: &[String]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for fault in faults {
        match kinds.iter_mut().find(|(kind, _)| kind == fault) {
            Some((_, count)) => *count += 1,
            None => kinds.push((fault, 1)),
        }
    }
    let words = kinds.iter().map(|(kind, count)| match count {
        1 => (*kind).to_owned(),
        _ => format!("{kind} ×{count}"),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "no faults".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_that_no_seed_saw_to_hold_is_unknown() {
        let line = |opportunities, seeds, passed, broken| {
            let law = LawTally { opportunities, seeds, passed, broken, known: 0 };
            law_line("charged-once", &law).trim_start().to_owned()
        };
        assert!(line(0, 0, 0, 0).starts_with("? charged-once..."));
        assert!(line(3, 2, 0, 0).ends_with(": 3 in 2 seeds, enough of them in none"));
        assert!(line(3, 2, 0, 0).starts_with('?'));
        assert!(line(3, 2, 1, 0).starts_with('✓'));
        assert!(line(3, 2, 1, 1).starts_with('✗'));
    }
}
