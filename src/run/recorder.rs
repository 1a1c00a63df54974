//! Where every record of a run goes: to the disk, the figures, the laws. The only path, live.

use std::{
    cell::{Cell, Ref, RefCell},
    fs::File,
    hash::{DefaultHasher, Hasher as _},
    io::Write as _,
    path::Path,
};

use super::{again::Judged, plan::RunPlan};
use crate::{
    history::{
        declares::Declares, manifest::HistoryError, record::Record, thinner::Thinner,
        writer::Writer,
    },
    law::{judge::Judge, races::Races},
    report::{figures::Figures, meter::Meters, verdict::parse_gates},
    scenario::Pings,
};

/// The log of a run in its folder.
const LOG: &str = "log.jsonl";

/// Everything that watches a run.
pub struct Recorder {
    thinner: Option<RefCell<Thinner>>,
    inner: RefCell<Watchers>,
    failed: Cell<bool>,
    records: Cell<u64>,
}

struct Watchers {
    writer: Option<Writer>,
    /// `log.jsonl`: the records of the run that are no ops, to follow it with `tail -f`.
    log: Option<File>,
    error: Option<HistoryError>,
    sum: DefaultHasher,
    figures: Figures,
    judge: Judge,
    races: Races,
    gates: Meters,
}

impl Recorder {
    /// Starts the history in the run's folder; without one, records are judged and not kept.
    pub fn create(
        folder: Option<&Path>,
        plan: &RunPlan,
        declares: &Declares,
    ) -> anyhow::Result<Self> {
        let laws = &plan.scenario.laws;
        let watchers = Watchers {
            writer: folder.map(Writer::create).transpose()?,
            log: folder.map(|folder| File::create(folder.join(LOG))).transpose()?,
            error: None,
            sum: DefaultHasher::new(),
            figures: Figures::within(laws.horizon.0),
            judge: Judge::new(declares, &laws.skip, &plan.known()?, laws.horizon.0),
            races: Races::default(),
            gates: Meters::new(parse_gates(&plan.scenario.gates)?),
        };
        let counted = plan.scenario.history.pings == Pings::Counted;
        Ok(Self {
            thinner: counted.then(|| RefCell::new(Thinner::new(declares))),
            inner: RefCell::new(watchers),
            failed: Cell::new(false),
            records: Cell::new(0),
        })
    }

    /// Takes one record. Once the disk fails nothing more is written, the run is told through
    /// [`Self::failed`], and the verdict says that the history is cut off.
    pub fn record(&self, record: &Record) {
        match &self.thinner {
            Some(thinner) => thinner.borrow_mut().take(record, &mut |record| self.keep(record)),
            None => self.keep(record),
        }
    }

    fn keep(&self, record: &Record) {
        let mut watchers = self.inner.borrow_mut();
        watchers.figures.see(record);
        watchers.judge.see(record);
        watchers.races.see(record);
        watchers.gates.see(record);
        record.sum_into(&mut watchers.sum);
        watchers.write(|writer| writer.append(record));
        self.records.set(self.records.get() + 1);
        let many = matches!(
            record,
            Record::Op(_) | Record::Pings(_) | Record::Recalled(_) | Record::Told(_)
        );
        if !many {
            watchers.log(record);
        }
        self.failed.set(watchers.error.is_some());
    }

    /// Ends a frame, so that a reader finds everything up to here. Once a second.
    pub fn flush(&self) {
        let mut watchers = self.inner.borrow_mut();
        watchers.write(Writer::flush);
        self.failed.set(watchers.error.is_some());
    }

    /// True when the history can no longer be written.
    pub fn failed(&self) -> bool {
        self.failed.get()
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records.get()
    }

    /// What two plays of one virtual run have in common: a sum over all records so far.
    pub fn sum(&self) -> u64 {
        self.inner.borrow().sum.finish()
    }

    /// The figures so far.
    pub fn figures(&self) -> Ref<'_, Figures> {
        Ref::map(self.inner.borrow(), |watchers| &watchers.figures)
    }

    /// Laws that are broken so far.
    pub fn broken(&self) -> Vec<&'static str> {
        let watchers = self.inner.borrow();
        let verdicts = watchers.judge.verdicts(false);
        let broken = |j: &crate::law::Judgement| j.verdict == crate::law::Verdict::Broken;
        verdicts.iter().filter(|(_, j)| broken(j)).map(|(law, _)| law.name).collect()
    }

    /// Why the demand is to end now, where a gate that was missed says so.
    pub fn abort(&self) -> Option<String> {
        self.inner.borrow().gates.abort()
    }

    /// True when some gate may say so.
    pub fn may_abort(&self) -> bool {
        self.inner.borrow().gates.may_abort()
    }

    /// True when the city leaks: nobody goes on then.
    pub fn leaks(&self) -> bool {
        self.inner.borrow().judge.is_broken("city-is-sealed")
    }

    /// Ends the history and judges the run. Nothing is recorded after that.
    pub fn finish(&self, plan: &RunPlan, complete: bool) -> anyhow::Result<Judged> {
        let mut watchers = self.inner.borrow_mut();
        if let Some(Err(error)) = watchers.writer.take().map(Writer::finish) {
            watchers.error.get_or_insert(error);
        }
        let cut = watchers.error.as_ref().map(ToString::to_string);
        let complete = complete && cut.is_none();
        let figures = std::mem::take(&mut watchers.figures);
        let mut judged = Judged::new(
            plan,
            figures,
            &watchers.judge,
            &watchers.races,
            &watchers.gates,
            complete,
        )?;
        judged.summary.reasons.extend(cut);
        Ok(judged)
    }
}

impl Watchers {
    /// The history has the same: where the log cannot be written, nothing is lost.
    fn log(&mut self, record: &Record) {
        let Some(log) = &mut self.log else { return };
        if let Ok(line) = serde_json::to_string(record) {
            let _ = writeln!(log, "{line}");
        }
    }

    fn write(&mut self, work: impl FnOnce(&mut Writer) -> Result<(), HistoryError>) {
        if self.error.is_some() {
            return;
        }
        if let Some(writer) = &mut self.writer {
            self.error = work(writer).err();
        }
    }
}
