//! The guardian of a run: a small process beside it that does nothing but wait for its end. When the
//! run is gone, however that was, it puts back what is still in force, ends what still runs, and takes
//! the robots home. It learns the run's end from a pipe, so no process that took the run's id over can
//! deceive it; it asks the run nothing, and secrets reach it as they reached the run: in its
//! environment and in files that the target's own file names.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    folder::Folder,
    heal::{self, Found},
    ledger::By,
};
use crate::world::real::process::{self, Order, Watched, Watcher};

/// Where it writes what it did.
const LOG: &str = "guardian.log";
/// Between two looks for leases that the run has let expire.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The run's lock is free that soon after its death.
const PATIENCE: Duration = Duration::from_secs(2);
/// A run that is through waits no longer for its guardian than that.
const LET_GO_WITHIN: Duration = Duration::from_secs(30);

/// What it is told, on one line.
#[derive(Debug, Serialize, Deserialize)]
struct Duty {
    folder: PathBuf,
}

/// A run's guardian, as the run sees it.
pub struct Guardian(Watcher);

impl Guardian {
    /// Starts one for the run in that folder.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        let duty = Duty { folder: folder.path().canonicalize()? };
        let order = Order {
            program: process::own_program()?,
            args: vec!["guard".into()],
            env: Vec::new(),
            first_line: serde_json::to_string(&duty)?,
            log: folder.file(LOG),
        };
        Ok(Self(Watcher::start(&order)?))
    }

    /// The run is through. Where nothing is left to do, the guardian ends at once.
    pub async fn let_go(self) {
        self.0.let_go(LET_GO_WITHIN).await;
    }
}

/// Watches until the run has ended, and puts back what it left.
pub fn guard() -> anyhow::Result<u8> {
    let duty: Duty = serde_json::from_str(&process::first_line()?)?;
    let folder = Folder::open(&duty.folder)?;
    let watched = Watched::begin()?;
    while !watched.ends_within(LOOK_EVERY) {
        heal::heal_expired(&folder);
    }
    let found = heal::put_back(&folder, By::Guardian, PATIENCE)?;
    let Found::Dead(outcome) = found else { return Ok(0) };
    for text in &outcome.healed {
        println!("healed: {text}");
    }
    for text in &outcome.left {
        println!("left: {text}");
    }
    Ok(outcome.exit().code())
}
