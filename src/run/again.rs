//! From a run's folder to its verdict, without running anything: `check` and `report`. The live run
//! ends in the same room, so that both say the same.

use std::path::Path;

use super::{folder::Folder, plan::RunPlan};
use crate::{
    history::{declares::Declares, reader::Reader, record::Record},
    law::{Verdict, judge::Judge, races::Races},
    report::{
        figures::Figures,
        summary::{LawSummary, Summary},
        verdict::{self, Evidence, Exit},
    },
};

/// A judged run.
pub struct Judged {
    /// The summary, verdict included.
    pub summary: Summary,
    /// The figures behind it.
    pub figures: Figures,
}

impl Judged {
    /// Judges what was seen.
    pub fn new(
        plan: &RunPlan,
        figures: Figures,
        judge: &Judge,
        races: &Races,
        complete: bool,
    ) -> anyhow::Result<Self> {
        let gates = verdict::parse_gates(&plan.scenario.gates)?;
        let laws = judge.verdicts(complete);
        let laws = laws.iter().map(|(law, said)| LawSummary::of(law.name, said)).collect();
        let summary = Evidence {
            figures: &figures,
            laws,
            known: plan.known()?.entries(),
            races: races.counts(),
            asked: &plan.scenario.laws,
            adequacy: &plan.scenario.adequacy,
            gates: &gates,
            read_back: figures.read_back(),
            faults_planned: plan.faults.faults.len(),
            complete,
        }
        .summary();
        Ok(Self { summary, figures })
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

/// Judges a recorded run.
pub fn judge(run: &Path) -> anyhow::Result<Judged> {
    let folder = Folder::open(run)?;
    let plan = RunPlan::load(&folder.file("plan.toml"))?;
    let mut reader = Reader::open(folder.path())?;
    let mut figures = Figures::default();
    let mut races = Races::default();
    let known = plan.known()?;
    let mut judge = None;
    for record in &mut reader {
        let record = record?;
        let judge = judge.get_or_insert_with(|| {
            let declares = match &record {
                Record::Run(header) => header.declares.clone(),
                _ => Declares::default(),
            };
            Judge::new(&declares, &plan.scenario.laws.skip, &known)
        });
        figures.see(&record);
        judge.see(&record);
        races.see(&record);
    }
    let judge = judge.unwrap_or_else(|| Judge::new(&Declares::default(), &[], &known));
    // A history that ends before its last record is of a run that was cut off; so is one whose last
    // record says so.
    let through = figures.end.as_ref().is_some_and(|end| !end.cut_short);
    let complete = reader.complete() && through;
    let mut judged = Judged::new(&plan, figures, &judge, &races, complete)?;
    super::traces::attach(&mut judged, folder.path())?;
    Ok(judged)
}
