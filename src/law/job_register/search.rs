//! Is there an order? The search of Wing and Gong with Lowe's memory of what was tried before: ops
//! that must have taken effect are put one after another, each only when no other that is still to
//! come was done before it was sent; ops of unknown outcome anywhere after they were sent, or nowhere;
//! moves of the backend's own anywhere. Steps are counted, never time: the same history gives the same
//! answer on every machine.

use std::collections::HashSet;

use super::model::{Model, Register, What};
use crate::base::time::Time;

/// Places that are looked at for one job; beyond it nobody knows.
pub const STEPS_MAX: usize = 20_000;
/// Ops at once that are all under way with one of them.
const WINDOW: usize = 64;
/// Ops of unknown outcome about one job.
pub const VAGUE_MAX: usize = 32;

/// One op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// It took effect no earlier.
    pub sent: Time,
    /// It took effect no later; [`Time::MAX`] where it may still.
    pub done: Time,
    /// What it does.
    pub what: What,
    /// It took effect: its answer says so.
    pub must: bool,
}

/// What the search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Some order explains everything.
    Order,
    /// None does.
    None,
    /// It was given up.
    Limit,
}

/// How far an order has come: `base` ops that must be in it, in the order in which they were sent,
/// those of the next 64 that `ahead` marks, and of the vague ones those that `vague` marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    base: u32,
    ahead: u64,
    vague: u32,
    state: Register,
}

/// The search, with room that is used again.
#[derive(Default)]
pub struct Search {
    must: Vec<Step>,
    vague: Vec<Step>,
    open: Vec<Place>,
    // Never iterated.
    seen: HashSet<Place>,
    next: Vec<usize>,
    alone: Vec<Register>,
    after: Vec<Register>,
}

impl Search {
    /// Looks for an order of these steps.
    pub fn run(&mut self, model: &Model, steps: &[Step]) -> Found {
        self.must.clear();
        self.must.extend(steps.iter().filter(|step| step.must));
        self.must.sort_by_key(|step| (step.sent, step.done));
        self.vague.clear();
        self.vague.extend(steps.iter().filter(|step| !step.must));
        if self.vague.len() > VAGUE_MAX {
            return Found::Limit;
        }
        self.open.clear();
        self.seen.clear();
        self.open.push(Place { base: 0, ahead: 0, vague: 0, state: Register::BORN });
        while let Some(place) = self.open.pop() {
            if place.base as usize == self.must.len() {
                return Found::Order;
            }
            if !self.seen.insert(place) {
                continue;
            }
            if self.seen.len() > STEPS_MAX || !self.go_on(model, place) {
                return Found::Limit;
            }
        }
        Found::None
    }

    /// Opens every place that can follow; false when too many ops overlap.
    fn go_on(&mut self, model: &Model, place: Place) -> bool {
        let Some(first_done) = self.look_ahead(place) else { return false };
        // A read that fits here changes nothing: whatever order there is, it may as well be now.
        for at in 0..self.next.len() {
            let index = self.next[at];
            let what = self.must[index].what;
            if what.is_read() {
                model.after(place.state, what, &mut self.after);
                if !self.after.is_empty() {
                    self.open.push(self.with(place, index, place.state));
                    return true;
                }
            }
        }
        let mut alone = std::mem::take(&mut self.alone);
        model.alone(place.state, &mut alone);
        for now in alone.iter().rev() {
            for index in 0..self.vague.len() {
                let step = self.vague[index];
                if place.vague & (1 << index) != 0 || step.sent > first_done {
                    continue;
                }
                model.after(*now, step.what, &mut self.after);
                for state in self.after.iter().filter(|state| *state != now) {
                    let vague = place.vague | 1 << index;
                    self.open.push(Place { vague, state: *state, ..place });
                }
            }
        }
        for now in alone.iter().rev() {
            for at in (0..self.next.len()).rev() {
                let index = self.next[at];
                model.after(*now, self.must[index].what, &mut self.after);
                for state in 0..self.after.len() {
                    self.open.push(self.with(place, index, self.after[state]));
                }
            }
        }
        self.alone = alone;
        true
    }

    /// Fills `next` with the ops that can be next, and says when the first of the rest was done.
    fn look_ahead(&mut self, place: Place) -> Option<Time> {
        self.next.clear();
        let (base, mut first_done) = (place.base as usize, Time::MAX);
        for (index, step) in self.must.iter().enumerate().skip(base) {
            if step.sent > first_done {
                break;
            }
            if index - base >= WINDOW {
                return None;
            }
            if place.ahead & (1 << (index - base)) == 0 {
                first_done = first_done.min(step.done);
                self.next.push(index);
            }
        }
        let must = &self.must;
        self.next.retain(|index| must[*index].sent <= first_done);
        Some(first_done)
    }

    /// The place after op `index` took effect too.
    fn with(&self, place: Place, index: usize, state: Register) -> Place {
        let Place { mut base, mut ahead, .. } = place;
        ahead |= 1 << (index - base as usize);
        while ahead & 1 != 0 && (base as usize) < self.must.len() {
            base += 1;
            ahead >>= 1;
        }
        Place { base, ahead, state, ..place }
    }
}

/// Of steps without an order the few that have none: by their places, the rest left out (or taken
/// for ops of unknown outcome) one by one while there is still none; reads first, since writes tell
/// people more.
pub fn core_of(search: &mut Search, model: &Model, steps: &[Step]) -> Vec<usize> {
    let mut left = steps.to_vec();
    let mut kept: Vec<bool> = steps.iter().map(|step| step.must).collect();
    let reads = (0..left.len()).filter(|at| steps[*at].what.is_read());
    let writes = (0..left.len()).filter(|at| !steps[*at].what.is_read());
    for at in reads.chain(writes).filter(|at| steps[*at].must) {
        let was = left[at];
        left[at].must = false;
        // What only looks says nothing once it is in doubt.
        if was.what.is_read() {
            left[at].what = What::Cancel { told: false };
            left[at].sent = Time::MAX;
        }
        let without: Vec<Step> =
            left.iter().filter(|step| step.must || step.sent < Time::MAX).copied().collect();
        if search.run(model, &without) == Found::None {
            kept[at] = false;
        } else {
            left[at] = was;
        }
    }
    (0..steps.len()).filter(|at| kept[*at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::rng::Rng,
        history::{answer::JobState, declares::Declares},
    };

    /// Every order, one after the other, with nothing remembered and nothing clever.
    fn oracle(model: &Model, left: &[Step], states: &[Register]) -> bool {
        if states.is_empty() {
            return false;
        }
        if left.iter().all(|step| !step.must) {
            return true;
        }
        let first_done =
            left.iter().filter(|step| step.must).map(|step| step.done).min().unwrap_or(Time::MAX);
        (0..left.len()).filter(|at| left[*at].sent <= first_done).any(|at| {
            let mut rest = left.to_vec();
            let step = rest.remove(at);
            let (mut next, mut alone, mut after) = (Vec::new(), Vec::new(), Vec::new());
            for state in states {
                model.alone(*state, &mut alone);
                for now in &alone {
                    model.after(*now, step.what, &mut after);
                    next.extend(after.iter().copied());
                }
            }
            oracle(model, &rest, &next)
        }) || left.iter().any(|step| !step.must) && {
            let must: Vec<Step> = left.iter().filter(|step| step.must).copied().collect();
            oracle(model, &must, states)
        }
    }

    fn draw(rng: &mut Rng, deed: bool) -> What {
        let driver = 1 + rng.below(2) as u32;
        let number = rng.below(3) as u32;
        match if deed { rng.below(6) } else { 6 } {
            0 | 1 => What::Accept { driver, number },
            2 => {
                let to = [JobState::Arrived, JobState::PickedUp, JobState::Completed];
                What::Move { driver, number, to: to[rng.below(3)] }
            }
            3 => What::Release { driver, number },
            4 | 5 => What::Cancel { told: rng.chance(0.5) },
            _ => {
                let state = JobState::ALL[rng.below(8)];
                let driver = rng.chance(0.5).then_some(driver);
                What::Read { state, number, driver }
            }
        }
    }

    #[test]
    fn it_agrees_with_a_search_that_tries_everything() {
        let mut rng = Rng::from_seed("orders");
        let mut declares = Declares::default();
        let (mut search, mut counts) = (Search::default(), [0_u32; 2]);
        for round in 0..6_000 {
            declares.releases_alone = round % 5 == 0;
            let model = Model::new(&declares);
            let steps: Vec<Step> = (0..=rng.below(6))
                .map(|_| {
                    let sent = rng.below(12) as u64;
                    let deed = rng.chance(0.6);
                    let must = !deed || rng.chance(0.75);
                    let done = if must { Time(sent + rng.below(5) as u64) } else { Time::MAX };
                    Step { sent: Time(sent), done, what: draw(&mut rng, deed), must }
                })
                .collect();
            let expected = oracle(&model, &steps, &[Register::BORN]);
            counts[usize::from(expected)] += 1;
            let found = if expected { Found::Order } else { Found::None };
            assert_eq!(search.run(&model, &steps), found, "round {round}: {steps:?}");
            if !expected {
                let core = core_of(&mut search, &model, &steps);
                assert!(!core.is_empty() && core.iter().all(|at| steps[*at].must));
            }
        }
        assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
    }

    #[test]
    fn what_is_too_tangled_is_given_up() {
        let model = Model::new(&Declares::default());
        let read = What::Read { state: JobState::Expired, number: 0, driver: None };
        let at = |sent| Step { sent: Time(sent), done: Time(1_000), what: read, must: true };
        let mut steps: Vec<Step> = (0..64).map(at).collect();
        assert_eq!(Search::default().run(&model, &steps), Found::Order);
        steps.extend((0..40).map(|sent| Step {
            sent: Time(sent),
            done: Time::MAX,
            what: What::Cancel { told: true },
            must: false,
        }));
        assert_eq!(Search::default().run(&model, &steps), Found::Limit);
    }
}
