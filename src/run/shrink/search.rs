//! What to try next. Each candidate is smaller than the best so far; one that still breaks the law
//! takes its place. The search is over when no single fault, robot, job or tenth of a second can go.

use std::sync::Arc;

use super::{
    candidate::{Candidate, Size},
    ddmin,
    player::{Heard, Player},
};
use crate::run::{plan::RunPlan, signals::Stops};

/// Shares that are tried of the whole city, and of a size the first time: a run of a sixteenth costs
/// next to nothing, and saves the most where it works.
const LEAPS: [(u64, u64); 2] = [(1, 16), (1, 4)];
/// Shares that are tried of a size until none of them breaks the law.
const STEPS: [(u64, u64); 3] = [(1, 2), (3, 4), (9, 10)];

/// Why a search ended before it was through.
#[derive(Debug)]
pub enum Stop {
    /// As many runs as were allowed.
    Limit,
    /// A person wants to stop.
    Interrupted,
    /// A run could not be played.
    Failed(anyhow::Error),
}

/// The search for the smallest candidate that breaks one law.
pub struct Search<'a> {
    plan: &'a RunPlan,
    law: &'a str,
    player: &'a mut dyn Player,
    /// Runs of one candidate: it breaks the law where one of them does.
    times: u32,
    limit: u32,
    signals: Arc<Stops>,
    best: Candidate,
    /// The best was seen to break the law.
    confirmed: bool,
    known: Vec<(Candidate, bool)>,
    runs: u32,
}

impl<'a> Search<'a> {
    /// A search from the whole plan on, with `limit` runs at most.
    pub fn new(
        plan: &'a RunPlan,
        law: &'a str,
        player: &'a mut dyn Player,
        (times, limit): (u32, u32),
        signals: Arc<Stops>,
    ) -> Self {
        let best = Candidate::whole(plan);
        Self {
            plan,
            law,
            player,
            times,
            limit,
            signals,
            best,
            confirmed: false,
            known: Vec::new(),
            runs: 0,
        }
    }

    /// The smallest so far that breaks the law.
    pub fn best(&self) -> &Candidate {
        &self.best
    }

    /// Whether the best was seen to break the law: before that it is only what was recorded.
    pub fn confirmed(&self) -> bool {
        self.confirmed
    }

    /// Runs so far.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Whether the whole plan breaks the law at all. Before anything else.
    pub fn begins(&mut self) -> Result<bool, Stop> {
        self.breaks(&Candidate::whole(self.plan))
    }

    /// Searches until nothing can go any more; [`Self::best`] holds whatever ends it.
    pub fn run(&mut self) -> Result<(), Stop> {
        self.leap()?;
        let mut first = true;
        loop {
            let before = self.best.clone();
            self.lose_faults()?;
            for size in Size::ALL {
                self.cut(size, first)?;
            }
            self.lose_plants()?;
            first = false;
            if self.best == before {
                return Ok(());
            }
        }
    }

    /// How often a plan breaks the law, and in how many more runs: they count beyond the limit.
    pub fn odds(&mut self, plan: &RunPlan) -> Result<(u32, u32), Stop> {
        let mut broke = 0;
        for _ in 0..self.times {
            broke += u32::from(self.play(plan)?);
        }
        Ok((broke, self.times))
    }

    /// The whole city at once: as many robots for each job as before.
    fn leap(&mut self) -> Result<(), Stop> {
        for share in LEAPS.into_iter().chain([STEPS[0]]) {
            loop {
                let sizes = [Size::Drivers, Size::Passengers, Size::Jobs];
                let cut = |of: Candidate, size: Size| size.cut(&of, share).unwrap_or(of);
                let smaller = sizes.into_iter().fold(self.best.clone(), cut);
                if smaller == self.best || !self.breaks(&smaller)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn lose_faults(&mut self) -> Result<(), Stop> {
        let of = self.best.clone();
        ddmin::minimise(&of.faults, |faults| {
            self.breaks(&Candidate { faults: faults.to_vec(), ..of.clone() })
        })?;
        Ok(())
    }

    /// A law that breaks without the planted bug was broken by something else.
    fn lose_plants(&mut self) -> Result<(), Stop> {
        let of = self.best.clone();
        ddmin::minimise(&of.plants, |plants| {
            self.breaks(&Candidate { plants: plants.to_vec(), ..of.clone() })
        })?;
        Ok(())
    }

    fn cut(&mut self, size: Size, first: bool) -> Result<(), Stop> {
        if size == Size::Duration {
            // No fault may be lost, so the end of the last one is the least.
            let tenths = self.best.faults_end(self.plan).0.as_millis().div_ceil(100) as u64;
            if tenths > 0 && tenths < size.get(&self.best) {
                self.breaks(&size.set(&self.best, tenths))?;
            }
        }
        let leaps = if first { &LEAPS[..] } else { &[] };
        for share in leaps.iter().chain(&STEPS) {
            while let Some(smaller) = size.cut(&self.best, *share)
                && self.breaks(&smaller)?
            {}
        }
        self.narrow(size)
    }

    /// Between a size that breaks the law and a smaller one that does not: until they are one apart,
    /// so that not even one can go.
    fn narrow(&mut self, size: Size) -> Result<(), Stop> {
        let mut holds = size.cut(&self.best, STEPS[STEPS.len() - 1]).map_or(0, |of| size.get(&of));
        while size.get(&self.best) > holds + 1 {
            let middle = u64::midpoint(holds, size.get(&self.best));
            if !self.breaks(&size.set(&self.best, middle))? {
                holds = middle;
            }
        }
        Ok(())
    }

    /// Whether a candidate breaks the law; where it does, it is the best so far.
    fn breaks(&mut self, candidate: &Candidate) -> Result<bool, Stop> {
        if candidate.faults_end(self.plan) > candidate.duration {
            return Ok(false);
        }
        if let Some((_, breaks)) = self.known.iter().find(|(known, _)| known == candidate) {
            return Ok(*breaks);
        }
        let plan = candidate.of(self.plan);
        let mut breaks = false;
        for _ in 0..self.times {
            if self.runs >= self.limit {
                return Err(Stop::Limit);
            }
            breaks = self.play(&plan)?;
            println!("  run {:>3}  {}  {candidate}", self.runs, word(breaks));
            if breaks {
                break;
            }
        }
        self.known.push((candidate.clone(), breaks));
        if breaks {
            self.best = candidate.clone();
            self.confirmed = true;
        }
        Ok(breaks)
    }

    /// One run.
    fn play(&mut self, plan: &RunPlan) -> Result<bool, Stop> {
        let heard = self.player.play(plan).map_err(Stop::Failed)?;
        self.runs += 1;
        match heard {
            Heard::Broke(laws) if self.signals.count() == 0 => {
                Ok(laws.iter().any(|law| law == self.law))
            }
            _ => Err(Stop::Interrupted),
        }
    }
}

fn word(breaks: bool) -> &'static str {
    if breaks { "breaks" } else { "holds " }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
