//! From a run's folder to its verdict, without running anything: `check` and `report`. The live run
//! ends in the same room, so that both say the same.

use std::path::Path;

use super::{folder::Folder, plan::RunPlan};
use crate::{
    history::{
        declares::Declares, foreign::Lines, manifest::HistoryError, reader::Reader, record::Record,
    },
    law::{Verdict, judge::Judge, known::Known, races::Races},
    report::{
        figures::Figures,
        meter::Meters,
        summary::{LawSummary, Summary},
        verdict::{self, Evidence, Exit},
    },
    scenario::{Adequacy, Laws},
};

/// A judged run.
pub struct Judged {
    /// The summary, verdict included.
    pub summary: Summary,
    /// The figures behind it.
    pub figures: Figures,
}

/// By what a history is judged.
struct Terms<'a> {
    laws: &'a Laws,
    adequacy: &'a Adequacy,
    known: &'a Known,
    faults_planned: usize,
}

impl Judged {
    /// Judges what was seen.
    pub fn new(
        plan: &RunPlan,
        figures: Figures,
        judge: &Judge,
        races: &Races,
        gates: &Meters,
        complete: bool,
    ) -> anyhow::Result<Self> {
        let known = plan.known()?;
        let terms = Terms {
            laws: &plan.scenario.laws,
            adequacy: &plan.scenario.adequacy,
            known: &known,
            faults_planned: plan.faults.faults.len(),
        };
        Ok(Self::by(&terms, figures, judge, (races, gates), complete))
    }

    fn by(
        terms: &Terms<'_>,
        figures: Figures,
        judge: &Judge,
        (races, gates): (&Races, &Meters),
        complete: bool,
    ) -> Self {
        let laws = judge.verdicts(complete);
        let laws = laws.iter().map(|(law, said)| LawSummary::of(law.name, said)).collect();
        let summary = Evidence {
            figures: &figures,
            laws,
            known: terms.known.entries(),
            races: races.counts(),
            asked: terms.laws,
            adequacy: terms.adequacy,
            gates,
            read_back: figures.read_back(),
            faults_planned: terms.faults_planned,
            complete,
        }
        .summary();
        Self { summary, figures }
    }

    /// The laws that it broke, by name.
    pub fn broken(&self) -> Vec<String> {
        let broken = self.summary.laws.iter().filter(|law| law.verdict == Verdict::Broken);
        broken.map(|law| law.law.clone()).collect()
    }

    /// The exit code of the run.
    pub fn exit(&self) -> Exit {
        let signal = self.figures.end.as_ref().and_then(|end| end.signal.as_deref());
        Exit::of(&self.summary, signal)
    }
}

/// Judges a recorded run; or a history from elsewhere: a file of lines, or a folder without a plan.
pub fn judge(run: &Path) -> anyhow::Result<Judged> {
    if run.is_file() {
        let mut lines = Lines::open(run)?;
        return judge_foreign(&mut lines, Lines::complete);
    }
    let folder = Folder::open(run)?;
    let mut reader = Reader::open(folder.path())?;
    if !folder.file(PLAN).exists() {
        return judge_foreign(&mut reader, Reader::complete);
    }
    let plan = RunPlan::load(&folder.file(PLAN))?;
    let known = plan.known()?;
    let terms = Terms {
        laws: &plan.scenario.laws,
        adequacy: &plan.scenario.adequacy,
        known: &known,
        faults_planned: plan.faults.faults.len(),
    };
    let gates = Meters::new(verdict::parse_gates(&plan.scenario.gates)?);
    let mut judged = judge_records(&mut reader, Reader::complete, &terms, gates)?;
    super::traces::attach(&mut judged, folder.path())?;
    Ok(judged)
}

const PLAN: &str = "plan.toml";

/// Nothing but the laws is asked of a history that has no plan, and of them only that none is broken.
fn judge_foreign<R>(records: &mut R, complete: fn(&R) -> bool) -> anyhow::Result<Judged>
where
    R: Iterator<Item = Result<Record, HistoryError>>,
{
    let laws = Laws { require: Some(Vec::new()), ..Laws::default() };
    let adequacy = Adequacy { completed_jobs: 0, ..Adequacy::default() };
    let known = Known::default();
    let terms = Terms { laws: &laws, adequacy: &adequacy, known: &known, faults_planned: 0 };
    judge_records(records, complete, &terms, Meters::default())
}

fn judge_records<R>(
    records: &mut R,
    whole: fn(&R) -> bool,
    terms: &Terms<'_>,
    mut gates: Meters,
) -> anyhow::Result<Judged>
where
    R: Iterator<Item = Result<Record, HistoryError>>,
{
    let laws = terms.laws;
    let (mut figures, mut races) = (Figures::within(laws.horizon.0), Races::default());
    let start = |declares: &Declares| Judge::new(declares, &laws.skip, terms.known, laws.horizon.0);
    let mut judge = None;
    for record in &mut *records {
        let record = record?;
        let judge = judge.get_or_insert_with(|| match &record {
            Record::Run(header) => start(&header.declares),
            _ => start(&Declares::default()),
        });
        figures.see(&record);
        judge.see(&record);
        races.see(&record);
        gates.see(&record);
    }
    let judge = judge.unwrap_or_else(|| start(&Declares::default()));
    // A history that ends before its last record is of a run that was cut off; so is one whose last
    // record says so.
    let through = figures.end.as_ref().is_some_and(|end| !end.cut_short);
    let complete = whole(records) && through;
    Ok(Judged::by(terms, figures, &judge, (&races, &gates), complete))
}
