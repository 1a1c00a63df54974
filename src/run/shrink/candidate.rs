//! A smaller version of a recorded plan: which of its faults are left, and how large the city is.

use std::fmt;

use crate::{base::span::Span, run::plan::RunPlan};

/// What is left of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Numbers of the recorded plan's faults.
    pub faults: Vec<usize>,
    /// How long the demand runs.
    pub duration: Span,
    /// Drivers on shift; each keeps the cadence of its updates.
    pub drivers: u32,
    /// Passengers that are signed on.
    pub passengers: u32,
    /// Requests.
    pub jobs_per_hour: f64,
    /// Planted bugs.
    pub plants: Vec<String>,
}

impl Candidate {
    /// The whole plan.
    pub fn whole(plan: &RunPlan) -> Self {
        let load = &plan.scenario.load;
        Self {
            faults: (0..plan.faults.faults.len()).collect(),
            duration: plan.scenario.time.duration,
            drivers: load.drivers,
            passengers: load.passengers,
            jobs_per_hour: load.jobs_per_hour,
            plants: plan.plants.clone(),
        }
    }

    /// When its last fault ends.
    pub fn faults_end(&self, plan: &RunPlan) -> Span {
        let ends = plan.faults.faults.iter().enumerate().filter(|(n, _)| self.faults.contains(n));
        ends.map(|(_, fault)| Span(fault.at.0.saturating_add(fault.lasts.0)))
            .max()
            .unwrap_or_default()
    }

    /// The plan with nothing but this in it.
    pub fn of(&self, plan: &RunPlan) -> RunPlan {
        let mut small = plan.clone();
        let faults = plan.faults.faults.iter().enumerate();
        let left = faults.filter(|(n, _)| self.faults.contains(n)).map(|(_, fault)| fault.clone());
        small.faults.faults = left.collect();
        small.plants.clone_from(&self.plants);
        small.scenario.time.duration = self.duration;
        let (load, whole) = (&mut small.scenario.load, &plan.scenario.load);
        if self.drivers != whole.drivers {
            // The cadence of each driver stays, so that it behaves as before.
            let share = f64::from(self.drivers) / f64::from(whole.drivers);
            load.updates_per_second = whole.updates_per_second * share;
        }
        load.drivers = self.drivers;
        load.passengers = self.passengers;
        load.jobs_per_hour = self.jobs_per_hour;
        small
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults, {}, {} drivers, {} passengers, {} jobs/h, {} planted bugs",
            self.faults.len(),
            self.duration,
            self.drivers,
            self.passengers,
            self.jobs_per_hour,
            self.plants.len(),
        )
    }
}

/// One size of a candidate, as a whole number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// In tenths of a second.
    Duration,
    /// Each.
    Drivers,
    /// Each.
    Passengers,
    /// Each an hour.
    Jobs,
}

impl Size {
    /// Every size, in the order in which they are made smaller: what makes a run cheap first.
    pub const ALL: [Self; 4] = [Self::Duration, Self::Drivers, Self::Passengers, Self::Jobs];

    /// How large it is.
    pub fn get(self, of: &Candidate) -> u64 {
        match self {
            Self::Duration => (of.duration.0.as_millis() / 100) as u64,
            Self::Drivers => u64::from(of.drivers),
            Self::Passengers => u64::from(of.passengers),
            Self::Jobs => of.jobs_per_hour as u64,
        }
    }

    /// The same candidate with another size.
    #[must_use]
    pub fn set(self, of: &Candidate, size: u64) -> Candidate {
        let mut other = of.clone();
        let count = u32::try_from(size).unwrap_or(u32::MAX);
        match self {
            Self::Duration => other.duration = Span::millis(size * 100),
            Self::Drivers => other.drivers = count,
            Self::Passengers => other.passengers = count,
            Self::Jobs => other.jobs_per_hour = size as f64,
        }
        other
    }

    /// That share of it, and smaller in any case; none where nothing smaller is left.
    pub fn cut(self, of: &Candidate, (part, whole): (u64, u64)) -> Option<Candidate> {
        let now = self.get(of);
        let size = (now * part / whole).min(now.saturating_sub(1)).max(1);
        (size < now).then(|| self.set(of, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate() -> Candidate {
        Candidate {
            faults: vec![0, 2],
            duration: Span::secs(12),
            drivers: 60,
            passengers: 1,
            jobs_per_hour: 3_600.5,
            plants: Vec::new(),
        }
    }

    #[test]
    fn a_cut_is_always_smaller_and_never_nothing() {
        let of = candidate();
        assert_eq!(Size::Duration.cut(&of, (1, 2)).unwrap().duration, Span::secs(6));
        assert_eq!(Size::Drivers.cut(&of, (9, 10)).unwrap().drivers, 54);
        assert_eq!(Size::Jobs.get(&Size::Jobs.cut(&of, (1, 2)).unwrap()), 1_800);
        assert!(Size::Passengers.cut(&of, (1, 2)).is_none());
        let mut few = Size::Drivers.set(&of, 5);
        let mut steps = 0;
        while let Some(fewer) = Size::Drivers.cut(&few, (9, 10)) {
            (few, steps) = (fewer, steps + 1);
        }
        assert_eq!((few.drivers, steps), (1, 4));
    }
}
