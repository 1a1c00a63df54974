//! From figures and judgements to one verdict, with reasons. Used by a run, and by `check` later:
//! the same inputs give the same verdict.

use std::collections::BTreeMap;

use super::{
    evidence,
    figures::Figures,
    gate::{Gate, GateVerdict, NotAGate},
    meter::Meters,
    summary::{
        AdequacySummary, FaultSummary, GateSummary, LawSummary, LoadSummary, OpSummary, RunVerdict,
        SCHEMA, Summary, TargetSummary,
    },
};
use crate::{
    history::{
        op::{OpKind, Outcome},
        record::{Header, Phase},
    },
    law::{
        Verdict,
        known::{Entry, times},
        races::RaceCounts,
        registry,
    },
    scenario::{Adequacy, Laws},
};

/// Below this share of planned updates sent, the generator failed.
const SENT_MIN: f64 = 0.99;
/// Below this share of acknowledged jobs read back, the run proves nothing.
const READ_BACK_MIN: f64 = 0.999;
/// Above this share of ops with an unknown outcome, the run proves nothing.
const INFO_MAX: f64 = 0.01;

/// Everything that a verdict is made from.
pub struct Evidence<'a> {
    /// The figures.
    pub figures: &'a Figures,
    /// What each law says.
    pub laws: Vec<LawSummary>,
    /// The known failures that the run was told of.
    pub known: &'a [Entry],
    /// How often accepts raced, offers doubled, repeats were recognised.
    pub races: RaceCounts,
    /// What the scenario asks of laws.
    pub asked: &'a Laws,
    /// What the scenario asks to have been seen.
    pub adequacy: &'a Adequacy,
    /// Gates of the scenario.
    pub gates: &'a Meters,
    /// Share of the acknowledged jobs that the read-back showed.
    pub read_back: Option<f64>,
    /// Faults that the plan holds.
    pub faults_planned: usize,
    /// The history was read to its end.
    pub complete: bool,
}

/// Parses the gates of a scenario.
pub fn parse_gates(texts: &[String]) -> Result<Vec<Gate>, NotAGate> {
    texts.iter().map(|text| Gate::parse(text)).collect()
}

impl Evidence<'_> {
    /// The summary, verdict included.
    pub fn summary(mut self) -> Summary {
        let figures = self.figures;
        evidence::attach(&mut self.laws, figures);
        let load = LoadSummary::of(figures);
        let faults: Vec<_> =
            figures.faults.values().map(|fault| FaultSummary::of(fault, figures)).collect();
        let adequacy = self.adequacy(&load, &faults);
        let generator_failed = self.generator_failed(&load);
        let cut_off = self.figures.end.is_none();
        // Neither under a failing generator nor of a part of a run does a gate say anything of the
        // target.
        let gates = self.gates.judge(figures, generator_failed.is_none() && !cut_off);
        let (verdict, reasons) = self.decide(&adequacy, &gates, generator_failed);
        let header = figures.header.clone().unwrap_or_else(unknown_header);
        let end = figures.end.clone().unwrap_or_default();
        Summary {
            schema: SCHEMA,
            target: TargetSummary::of(&header),
            tool: header.tool,
            scenario: header.scenario,
            run: header.run,
            seed: header.seed,
            time: header.time,
            labels: header.labels,
            started_at: header.started_at,
            complete: self.complete,
            plan_sha256: header.plan_sha256,
            plants: header.plants,
            verdict,
            reasons,
            known_unseen: self.known_unseen(),
            left_behind: end.left_behind,
            wall_s: end.at.as_secs_f64(),
            city_s: figures.load_s() * header.time_scale,
            load,
            ops: OpSummary::all(figures),
            laws: self.laws,
            races: BTreeMap::from([
                ("raced_accepts".into(), self.races.raced_accepts),
                ("doubled_offers".into(), self.races.doubled_offers),
                ("deduplicated".into(), self.races.deduplicated),
            ]),
            faults,
            adequacy,
            gates,
            services: end.services,
            traces: None,
        }
    }

    fn decide(
        &self,
        adequacy: &[AdequacySummary],
        gates: &[GateSummary],
        generator_failed: Option<String>,
    ) -> (RunVerdict, Vec<String>) {
        let broken: Vec<String> =
            self.laws.iter().filter(|law| law.verdict == Verdict::Broken).map(broken_by).collect();
        if !broken.is_empty() {
            return (RunVerdict::Broken, broken);
        }
        let missed: Vec<String> = gates
            .iter()
            .filter(|gate| gate.verdict == GateVerdict::Missed)
            .map(|gate| format!("gate missed: {} ({})", gate.gate, gate.measured()))
            .collect();
        if !missed.is_empty() {
            return (RunVerdict::GateMissed, missed);
        }
        let measured = generator_failed.is_none();
        let mut doubts: Vec<String> = generator_failed.into_iter().collect();
        doubts.extend(
            gates
                .iter()
                .filter(|gate| measured && gate.verdict == GateVerdict::Unknown)
                .map(|gate| format!("gate not measured: {}", gate.gate)),
        );
        let called_off = self.figures.end.iter().flat_map(|end| &end.called_off);
        doubts.extend(called_off.map(|why| format!("called off: {why}")));
        let lost = self.figures.end.iter().flat_map(|end| &end.lost);
        doubts.extend(lost.map(|node| format!("{node} ended by itself; see its log")));
        doubts.extend(self.unknown_laws());
        doubts.extend(
            adequacy
                .iter()
                .filter(|asked| asked.required && !asked.enough)
                .map(|asked| format!("not enough seen: {} ({})", asked.what, asked.seen)),
        );
        if !self.complete {
            doubts.push("the history ends before the run did".into());
        }
        if doubts.is_empty() {
            (RunVerdict::Pass, self.known_failures())
        } else {
            (RunVerdict::Inconclusive, doubts)
        }
    }

    /// The known failures that were seen.
    fn known_failures(&self) -> Vec<String> {
        let of_law = |law: &LawSummary| -> Vec<String> {
            let name = &law.law;
            law.shown().map(|known| format!("known failure: {name} {}", known.tell())).collect()
        };
        self.laws.iter().flat_map(of_law).collect()
    }

    /// The known failures that were not seen, and what to do about them.
    fn known_unseen(&self) -> Vec<String> {
        let tell = |entry: &Entry| {
            let Entry { law: name, pattern, issue, .. } = entry;
            let law = self.laws.iter().find(|law| law.law == *name);
            let seen = |law: &LawSummary| law.known.iter().any(|known| known.shows(entry));
            let why = match law.map(|law| (law.verdict, seen(law))) {
                Some((_, true)) => return None,
                Some((Verdict::Pass | Verdict::Broken, _)) => {
                    "matched nothing: fixed? then remove it"
                }
                Some(_) => "says nothing here: its law could not be judged",
                None => "says nothing here: its law is skipped",
            };
            Some(format!("known failure `{pattern}` of {name} ({issue}) {why}"))
        };
        self.known.iter().filter_map(tell).collect()
    }

    fn unknown_laws(&self) -> impl Iterator<Item = String> {
        let usual = |name: &str| registry::entry(name).is_none_or(|law| !law.rare);
        let required = move |name: &String| match &self.asked.require {
            Some(named) => named.contains(name),
            None => usual(name),
        };
        self.laws
            .iter()
            .filter(move |law| law.verdict == Verdict::Unknown && required(&law.law))
            .map(|law| format!("required law unknown: {} ({})", law.law, law.note))
    }

    /// Why the figures say more of the generator than of the target, if they do.
    fn generator_failed(&self, load: &LoadSummary) -> Option<String> {
        let updates = &load.updates;
        let planned = self.figures.updates.sent + self.figures.updates.skipped;
        if planned > 0 && (updates.count as f64) < SENT_MIN * planned as f64 {
            return Some(format!("only {} of {planned} planned updates were sent", updates.count));
        }
        let (asked, came) = (updates.target_per_s, updates.planned_per_s);
        if came < SENT_MIN * asked && self.figures.began(Phase::Drain).is_some() {
            return Some(format!("only {came:.1} of {asked:.1} updates/s were planned"));
        }
        let limit_us = super::timeline::micros(self.adequacy.lag_p99.0);
        (load.lag_us.p99 > limit_us).then(|| {
            format!("the generator lagged: p99 {} µs, limit {limit_us} µs", load.lag_us.p99)
        })
    }

    fn adequacy(&self, load: &LoadSummary, faults: &[FaultSummary]) -> Vec<AdequacySummary> {
        let asked = self.adequacy;
        let mut all = vec![
            at_least("jobs completed", asked.completed_jobs, load.jobs.completed),
            at_least("accepts that raced", asked.raced_accepts, self.races.raced_accepts),
            at_least(
                "jobs offered to two at once",
                asked.doubled_offers,
                self.races.doubled_offers,
            ),
            at_least("repeats recognised", asked.deduplicated, self.races.deduplicated),
            at_least(
                "faults injected that bit",
                self.faults_planned as u64,
                faults.iter().filter(|fault| fault.bit).count() as u64,
            ),
            at_least(
                "faults verified healed",
                faults.iter().filter(|fault| fault.injected_s.is_some()).count() as u64,
                faults.iter().filter(|fault| fault.healed_s.is_some()).count() as u64,
            ),
        ];
        if let Some(share) = self.read_back {
            all.push(share_at_least("acknowledged jobs read back", READ_BACK_MIN, share));
        }
        all.push(AdequacySummary {
            what: "unknown outcomes of the job flow, share at most".into(),
            required: true,
            needed: Some(INFO_MAX),
            seen: self.info_share(),
            enough: self.info_share() <= INFO_MAX,
        });
        all.extend(self.gaps(faults));
        all.extend(self.baseline());
        all
    }

    /// Robots that missed something took fewer offers than they were made. No law rests on what is
    /// told unasked; how much was driven does. Faults of ours explain it.
    fn gaps(&self, faults: &[FaultSummary]) -> Option<AdequacySummary> {
        let missed = self.figures.missed;
        (missed > 0).then(|| AdequacySummary {
            what: "gaps in what is told unasked".into(),
            required: faults.is_empty(),
            needed: Some(0.0),
            seen: missed as f64,
            enough: false,
        })
    }

    /// Share of ops (pings aside: the last one wins) whose outcome nobody knows.
    fn info_share(&self) -> f64 {
        let flow = OpKind::ALL.iter().filter(|op| **op != OpKind::DriverPing);
        let (info, all) = flow
            .filter_map(|op| self.figures.op(*op))
            .fold((0, 0), |(i, n), op| (i + op.outcomes[Outcome::Info as usize], n + op.count()));
        if all == 0 { 0.0 } else { info as f64 / all as f64 }
    }

    /// A healthy stretch before the first fault: without it nobody knows what the fault changed.
    fn baseline(&self) -> Option<AdequacySummary> {
        let header = self.figures.header.as_ref();
        if header.is_some_and(|header| !header.declares.asked().has(OpKind::DriverPing)) {
            // A target without a place for positions: there are no updates to be well.
            return None;
        }
        let first = self.figures.faults.values().filter_map(|fault| fault.injected).min()?;
        let zero = self.figures.began(Phase::Load)?;
        let share = self.figures.ok_between(zero, first).map_or(0.0, |(share, _)| share);
        Some(share_at_least("updates ok before the first fault", 0.99, share))
    }
}

/// Why that law is broken, and what of it is known.
fn broken_by(law: &LawSummary) -> String {
    let mut why = vec![times(law.violations_total)];
    let over = law.known.iter().filter(|known| known.expired && known.total > 0);
    why.extend(over.map(|known| {
        let (total, issue, expires) = (known.total, &known.issue, known.expires);
        format!("{total} of them known as {issue}, which expired on {expires}")
    }));
    let excused = law.excused();
    why.extend((excused > 0).then(|| format!("{excused} more are known")));
    format!("law broken: {} ({})", law.law, why.join("; "))
}

fn at_least(what: &str, needed: u64, seen: u64) -> AdequacySummary {
    AdequacySummary {
        what: what.into(),
        required: needed > 0,
        needed: Some(needed as f64),
        seen: seen as f64,
        enough: seen >= needed,
    }
}

fn share_at_least(what: &str, needed: f64, seen: f64) -> AdequacySummary {
    AdequacySummary {
        what: format!("{what}, share at least"),
        required: true,
        needed: Some(needed),
        seen,
        enough: seen >= needed,
    }
}

/// A history without its first line: judged, and said to be incomplete.
fn unknown_header() -> Header {
    Header {
        schema: SCHEMA,
        tool: String::new(),
        scenario: String::new(),
        run: String::new(),
        seed: String::new(),
        time: String::new(),
        started_at: String::new(),
        labels: BTreeMap::new(),
        declares: crate::history::declares::Declares::default(),
        plants: Vec::new(),
        updates_per_s: 0.0,
        time_scale: 1.0,
        plan_sha256: String::new(),
    }
}

/// Exit codes of the contract, in the order in which the first that holds is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Usage or configuration.
    Usage = 64,
    /// The target was unfit before the load began.
    Unfit = 69,
    /// Something was left behind.
    LeftBehind = 4,
    /// A law was broken.
    Broken = 1,
    /// Our own crash.
    Crash = 70,
    /// SIGINT, healed and reported first.
    Interrupted = 130,
    /// SIGTERM, healed and reported first.
    Terminated = 143,
    /// A gate was missed.
    GateMissed = 3,
    /// The run proves nothing.
    Inconclusive = 2,
    /// Pass.
    Pass = 0,
}

impl Exit {
    /// The code of a finished run.
    pub fn of(summary: &Summary, signal: Option<&str>) -> Self {
        if !summary.left_behind.is_empty() {
            return Self::LeftBehind;
        }
        match (summary.verdict, signal) {
            (RunVerdict::Broken, _) => Self::Broken,
            (_, Some("TERM")) => Self::Terminated,
            (_, Some(_)) => Self::Interrupted,
            (RunVerdict::GateMissed, None) => Self::GateMissed,
            (RunVerdict::Inconclusive, None) => Self::Inconclusive,
            (RunVerdict::Pass, None) => Self::Pass,
        }
    }

    /// Whichever comes first in the contract.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |exit: Self| Self::ORDER.iter().position(|known| *known == exit);
        if rank(other) < rank(self) { other } else { self }
    }

    /// True when a person, or a supervisor, ended the run.
    pub fn is_signal(self) -> bool {
        matches!(self, Self::Interrupted | Self::Terminated)
    }

    /// The order of the contract.
    const ORDER: [Self; 10] = [
        Self::Usage,
        Self::Unfit,
        Self::LeftBehind,
        Self::Broken,
        Self::Crash,
        Self::Interrupted,
        Self::Terminated,
        Self::GateMissed,
        Self::Inconclusive,
        Self::Pass,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{id::RobotId, time::Time},
        history::{
            answer::Answer,
            op::{Ask, Attempt, Op},
            record::{Ending, Record},
        },
        law::known::{KnownFailure, KnownFile},
        report::{console, html, junit},
    };

    const SECOND: u64 = 1_000_000_000;

    /// Ten seconds of load with one ping a second, all with the same outcome.
    fn figures(outcome: Outcome) -> Figures {
        let mut figures = Figures::default();
        figures.see(&Record::Phase { phase: Phase::Load, at: Time::ZERO });
        for second in 0..10 {
            let (at, done) = (Time(second * SECOND), Time(second * SECOND + 1_000_000));
            let attempt =
                Attempt { sent: at, done, outcome, node: None, status: None, error: None };
            figures.see(&Record::Op(std::rc::Rc::new(Op {
                id: second,
                robot: RobotId::driver(0),
                ask: Ask::new(OpKind::DriverPing),
                planned: at,
                sent: at,
                done,
                outcome,
                attempts: vec![attempt],
                answer: Answer::default(),
            })));
        }
        figures.see(&Record::Phase { phase: Phase::Drain, at: Time(10 * SECOND) });
        figures.see(&Record::End(Ending::default()));
        figures
    }

    fn law(verdict: Verdict) -> LawSummary {
        LawSummary {
            law: "charged-once".into(),
            verdict,
            observed: 1,
            opportunities: 1,
            forgotten: 0,
            violations_total: u64::from(verdict == Verdict::Broken),
            violations: Vec::new(),
            note: String::new(),
            known: Vec::new(),
        }
    }

    fn judged(figures: &Figures, verdict: Verdict, asked: &Adequacy, gates: &[&str]) -> Summary {
        let gates: Vec<String> = gates.iter().map(ToString::to_string).collect();
        Evidence {
            figures,
            laws: vec![law(verdict)],
            known: &[],
            races: RaceCounts::default(),
            asked: &Laws::default(),
            adequacy: asked,
            gates: &Meters::new(parse_gates(&gates).unwrap()),
            read_back: Some(1.0),
            faults_planned: 0,
            complete: true,
        }
        .summary()
    }

    fn nothing_asked() -> Adequacy {
        Adequacy { completed_jobs: 0, ..Adequacy::default() }
    }

    #[test]
    fn all_seen_to_hold_is_a_pass() {
        let summary = judged(&figures(Outcome::Ok), Verdict::Pass, &nothing_asked(), &[]);
        assert_eq!(summary.verdict, RunVerdict::Pass, "{:?}", summary.reasons);
        assert_eq!(Exit::of(&summary, None), Exit::Pass);
        assert_eq!(summary.load.updates.count, 10);
    }

    #[test]
    fn a_broken_law_stands_whatever_else_is_wrong() {
        let asked = Adequacy { completed_jobs: 5, ..Adequacy::default() };
        let gates = ["driver.ping rate(ok) > 95%"];
        let summary = judged(&figures(Outcome::Info), Verdict::Broken, &asked, &gates);
        assert_eq!(summary.verdict, RunVerdict::Broken);
        assert_eq!(Exit::of(&summary, Some("INT")), Exit::Broken);
    }

    #[test]
    fn a_missed_gate_and_an_unknown_law_are_told_apart() {
        let gates = ["driver.ping rate(ok) > 95%"];
        let missed = judged(&figures(Outcome::Fail), Verdict::Pass, &nothing_asked(), &gates);
        assert_eq!(Exit::of(&missed, None), Exit::GateMissed);
        let unknown = judged(&figures(Outcome::Ok), Verdict::Unknown, &nothing_asked(), &gates);
        assert_eq!(Exit::of(&unknown, None), Exit::Inconclusive);
        assert_eq!(Exit::of(&unknown, Some("INT")), Exit::Interrupted);
    }

    #[test]
    fn too_little_seen_is_inconclusive_and_named() {
        let asked = Adequacy { completed_jobs: 5, ..Adequacy::default() };
        let summary = judged(&figures(Outcome::Ok), Verdict::Pass, &asked, &[]);
        assert_eq!(summary.verdict, RunVerdict::Inconclusive);
        assert!(summary.reasons[0].contains("jobs completed"), "{:?}", summary.reasons);
    }

    #[test]
    fn a_gate_under_a_failing_generator_is_unknown() {
        let mut figures = figures(Outcome::Fail);
        let why = "too much in flight".to_owned();
        figures.see(&Record::Skipped { at: Time(SECOND), count: 5, why });
        let gates = ["driver.ping rate(ok) > 95%"];
        let summary = judged(&figures, Verdict::Pass, &nothing_asked(), &gates);
        assert_eq!(summary.gates[0].verdict, GateVerdict::Unknown);
        assert_eq!(summary.verdict, RunVerdict::Inconclusive);
    }

    /// A law with one known failure that was seen so often, and so many breaches beside it.
    fn knowing(seen: u64, expired: bool, breaches: u64) -> LawSummary {
        let known = KnownFailure {
            pattern: "twice".into(),
            issue: "https://issues/1".into(),
            expires: "2026-06-18".parse().unwrap(),
            expired,
            matched: seen,
            total: seen,
            violations: Vec::new(),
        };
        let verdict = if breaches > 0 { Verdict::Broken } else { Verdict::Pass };
        LawSummary { violations_total: breaches, known: vec![known], ..law(verdict) }
    }

    fn judged_knowing(laws: Vec<LawSummary>) -> Summary {
        let text = "[[known]]\nlaw = 'charged-once'\nmatch = 'twice'\n\
                    issue = 'https://issues/1'\nexpires = '2026-06-18'\n";
        let (file, on) = ("known.toml".into(), "2026-06-19".parse().unwrap());
        let known = KnownFile { file, on, text: text.into() }.parse().unwrap();
        Evidence {
            figures: &figures(Outcome::Ok),
            laws,
            known: known.entries(),
            races: RaceCounts::default(),
            asked: &Laws::default(),
            adequacy: &nothing_asked(),
            gates: &Meters::default(),
            read_back: Some(1.0),
            faults_planned: 0,
            complete: true,
        }
        .summary()
    }

    #[test]
    fn known_failures_alone_are_a_pass_that_names_them() {
        let summary = judged_knowing(vec![knowing(3, false, 0)]);
        assert_eq!(Exit::of(&summary, None), Exit::Pass);
        let told = "known failure: charged-once 3 times: https://issues/1 (known until 2026-06-18)";
        assert_eq!(summary.reasons, [told]);
        assert!(summary.known_unseen.is_empty());
        let text = console::render(&summary);
        assert!(text.contains("~ charged-once"), "{text}");
        assert!(text.contains("1 opportunities, 3 violations, all known"), "{text}");
        let html = html::render(&summary, &figures(Outcome::Ok)).unwrap();
        assert!(html.contains("known until 2026-06-18</b>: https:&#x2f;&#x2f;issues"), "{html}");
        let junit = junit::render(&summary).unwrap();
        assert!(junit.contains("failures=\"0\"") && junit.contains("type=\"known\""), "{junit}");
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["laws"][0]["known"][0]["issue"], "https://issues/1");
        assert_eq!(json["laws"][0]["known"][0]["expires"], "2026-06-18");
        assert_eq!(json["laws"][0]["verdict"], "pass");
    }

    #[test]
    fn what_has_expired_is_a_failure_that_says_so() {
        let summary = judged_knowing(vec![knowing(2, true, 5)]);
        assert_eq!(Exit::of(&summary, None), Exit::Broken);
        assert_eq!(
            summary.reasons,
            [
                "law broken: charged-once (5 times; 2 of them known as https://issues/1, which expired \
              on 2026-06-18)"
            ]
        );
        let more = judged_knowing(vec![knowing(2, false, 1)]);
        assert_eq!(more.reasons, ["law broken: charged-once (once; 2 more are known)"]);
        let junit = junit::render(&more).unwrap();
        assert!(junit.contains("known: 2 times: https://issues/1"), "{junit}");
    }

    #[test]
    fn a_known_failure_that_was_not_seen_is_told() {
        let unseen = |laws| judged_knowing(laws).known_unseen.join("\n");
        let gone = unseen(vec![knowing(0, false, 0)]);
        assert_eq!(
            gone,
            "known failure `twice` of charged-once (https://issues/1) matched nothing: fixed? then \
             remove it"
        );
        assert!(unseen(Vec::new()).ends_with("its law is skipped"));
        let unknown = LawSummary { verdict: Verdict::Unknown, ..knowing(0, false, 0) };
        assert!(unseen(vec![unknown]).ends_with("its law could not be judged"));
        let summary = judged_knowing(vec![knowing(0, false, 0)]);
        assert!(summary.reasons.is_empty(), "{:?}", summary.reasons);
        assert!(console::render(&summary).contains(&gone));
        assert!(junit::render(&summary).unwrap().contains("matched nothing"));
        assert!(html::render(&summary, &figures(Outcome::Ok)).unwrap().contains("matched nothing"));
    }

    #[test]
    fn what_is_left_behind_comes_first() {
        let mut summary = judged(&figures(Outcome::Ok), Verdict::Broken, &nothing_asked(), &[]);
        summary.left_behind.push("latency on a link".into());
        assert_eq!(Exit::of(&summary, None), Exit::LeftBehind);
    }
}
