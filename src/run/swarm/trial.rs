//! One seed, played to its verdict in memory, and what is worth knowing of it afterwards. Whatever
//! goes wrong in a world is that seed's result, and nobody else's.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    rc::Rc,
    sync::Arc,
};

use super::vary::Base;
use crate::{
    city::City,
    law::{Verdict, known::KnownFailure},
    report::{
        summary::{LawSummary, Summary},
        verdict::Exit,
    },
    run::{
        RunError, Ui,
        plan::RunPlan,
        show::Played,
        signals::Stops,
        virtual_::{self, panic_words},
    },
};

/// How a seed came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub exit: Exit,
    /// Records of its history; none where it came to no verdict.
    pub records: u64,
    /// The sum over them.
    pub sum: u64,
    /// Drivers of its city.
    pub drivers: u32,
    /// The kinds of its faults, in order.
    pub faults: Vec<String>,
    /// What each law saw.
    pub laws: Vec<LawSeen>,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    /// The first evidence against it, in one line.
    pub evidence: String,
}

/// What a law saw in one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LawSeen {
    /// Its name.
    pub law: String,
    /// Chances that a wrong backend would have had to be caught.
    pub opportunities: u64,
    /// Breaches that break it.
    pub violations: u64,
    /// What it said.
    pub verdict: Verdict,
    /// Its known failures, and the breaches that each fitted and excused.
    pub known: Vec<KnownSeen>,
}

/// What a known failure was in one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSeen {
    /// What it looks like, and where it is followed up.
    pub name: String,
    /// Breaches whose words it fits.
    pub matched: u64,
    /// Breaches that break nothing because of it.
    pub excused: u64,
}

impl Trial {
    /// Plays a seed. Its folder is not kept, nothing is shown.
    pub fn play(base: &Base, city: &Rc<City>, seed: u64) -> Self {
        let plan = catch_unwind(AssertUnwindSafe(|| base.plan_of(seed)));
        let (plan, played) = match plan {
            Ok(Ok(plan)) => {
                let played = attempt(&plan, city, None);
                (plan, played)
            }
            Ok(Err(error)) => (nothing(base), Err(error.into())),
            Err(why) => (nothing(base), Err(crash(&panic_words(why.as_ref())))),
        };
        Self::of(seed, &plan, &played)
    }

    /// What a seed's run came to.
    pub fn of(seed: u64, plan: &RunPlan, played: &anyhow::Result<Played>) -> Self {
        let faults = plan.faults.faults.iter().map(|fault| fault.kind().to_owned()).collect();
        let mut trial = Self {
            seed,
            exit: Exit::Pass,
            records: 0,
            sum: 0,
            drivers: plan.scenario.load.drivers,
            faults,
            laws: Vec::new(),
            reasons: Vec::new(),
            evidence: String::new(),
        };
        match played {
            Ok(Played { judged, exit, records, sum, .. }) => {
                let summary = &judged.summary;
                (trial.exit, trial.records, trial.sum) = (*exit, *records, *sum);
                trial.reasons.clone_from(&summary.reasons);
                trial.laws = summary.laws.iter().map(LawSeen::of).collect();
                trial.evidence = evidence(summary);
            }
            Err(error) => {
                trial.exit = RunError::exit_of(error);
                trial.evidence = format!("{error:#}");
            }
        }
        trial
    }

    /// Whether the swarm was looking for this: anything but a pass, and but a run that proves
    /// nothing or missed a gate.
    pub fn is_failure(&self) -> bool {
        !matches!(self.exit, Exit::Pass | Exit::Inconclusive | Exit::GateMissed)
    }

    /// The laws that it broke, in the order of the registry.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        let broken = self.laws.iter().filter(|seen| seen.verdict == Verdict::Broken);
        broken.map(|seen| seen.law.as_str())
    }

    /// Whether two plays of one seed came to the same, record by record.
    pub fn same_as(&self, other: &Self) -> bool {
        (self.exit, self.records, self.sum) == (other.exit, other.records, other.sum)
            && self.laws == other.laws
    }
}

impl LawSeen {
    fn of(law: &LawSummary) -> Self {
        Self {
            law: law.law.clone(),
            opportunities: law.opportunities,
            violations: law.violations_total,
            verdict: law.verdict,
            known: law.known.iter().map(|known| KnownSeen::of(&law.law, known)).collect(),
        }
    }
}

impl KnownSeen {
    fn of(law: &str, known: &KnownFailure) -> Self {
        let name = format!("{law} `{}` ({})", known.pattern, known.issue);
        Self { name, matched: known.matched, excused: known.excuses() }
    }
}

/// Plays a plan, in the folder `kept` or in memory; a panic is an error like any other. Nobody can
/// interrupt it: whoever wants the swarm to end waits for the seeds in work.
pub fn attempt(plan: &RunPlan, city: &Rc<City>, kept: Option<&Path>) -> anyhow::Result<Played> {
    let nobody = Arc::new(Stops::default());
    let whole = || virtual_::play(plan, city, kept, Ui::None, nobody);
    catch_unwind(AssertUnwindSafe(whole))
        .unwrap_or_else(|why| Err(crash(&panic_words(why.as_ref()))))
}

/// The plan of a seed that has none.
fn nothing(base: &Base) -> RunPlan {
    let mut plan = base.plan.clone();
    plan.scenario.load.drivers = 0;
    plan.faults.faults.clear();
    plan
}

fn crash(why: &str) -> anyhow::Error {
    RunError::Crash(why.to_owned()).into()
}

/// The first breach of the first broken law, or else the first reason.
fn evidence(summary: &Summary) -> String {
    if let Some(left) = summary.left_behind.first() {
        return left.clone();
    }
    let broken = summary.laws.iter().find(|law| law.verdict == Verdict::Broken);
    let breach = broken.and_then(|law| Some((law, law.violations.first()?)));
    if let Some((law, breach)) = breach {
        let first = breach.what.lines().map(str::trim).find(|line| !line.is_empty());
        return format!("{}: {}", law.law, first.unwrap_or_default());
    }
    summary.reasons.first().cloned().unwrap_or_default()
}
