//! Who plays a candidate: in memory in the virtual world, or for real in a folder that is thrown
//! away. Says which laws broke, and nothing else.

use std::{path::PathBuf, rc::Rc, sync::Arc};

use crate::{
    city::City,
    run::{RunError, Ui, plan::RunPlan, real, show::Played, signals::Stops, virtual_},
};

/// What a run said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The laws that it broke, by name.
    Broke(Vec<String>),
    /// A person wants to stop.
    Interrupted,
}

/// Plays a plan once.
pub trait Player {
    /// Once, to the verdict. A plan that is unfit for a run breaks nothing.
    fn play(&mut self, plan: &RunPlan) -> anyhow::Result<Heard>;
}

/// Plays in the virtual world and keeps nothing.
pub struct InMemory {
    city: Rc<City>,
    signals: Arc<Stops>,
}

impl InMemory {
    /// A player of plans of one city; `signals` are the wishes of people to stop.
    pub fn new(plan: &RunPlan, signals: Arc<Stops>) -> anyhow::Result<Self> {
        Ok(Self { city: Rc::new(plan.city_in_memory()?), signals })
    }
}

impl Player for InMemory {
    fn play(&mut self, plan: &RunPlan) -> anyhow::Result<Heard> {
        let signals = Arc::clone(&self.signals);
        heard(virtual_::play(plan, &self.city, None, Ui::None, signals))
    }
}

/// Plays with real processes, below a folder of its own: no report, nothing kept.
pub struct InScratch {
    /// Where.
    pub scratch: PathBuf,
}

impl Player for InScratch {
    fn play(&mut self, plan: &RunPlan) -> anyhow::Result<Heard> {
        let played = real::trial(plan, &self.scratch);
        // What cannot be thrown away takes room and does no other harm.
        let _ = std::fs::remove_dir_all(&self.scratch);
        heard(played)
    }
}

fn heard(played: anyhow::Result<Played>) -> anyhow::Result<Heard> {
    let played = match played {
        Ok(played) => played,
        Err(error) => {
            return match error.downcast_ref::<RunError>() {
                Some(RunError::Unfit(_)) => Ok(Heard::Broke(Vec::new())),
                Some(RunError::Interrupted) => Ok(Heard::Interrupted),
                _ => Err(error),
            };
        }
    };
    if played.interrupted() {
        return Ok(Heard::Interrupted);
    }
    Ok(Heard::Broke(played.broken()))
}
