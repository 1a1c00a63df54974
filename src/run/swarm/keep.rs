//! Plays a failure once more with its folder kept, so that it can be read, judged again, replayed.

use std::path::{Path, PathBuf};

use super::{
    trial::{Trial, attempt},
    vary::Base,
};
use crate::run::{outputs, virtual_};

/// A failure that was kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its run's folder.
    pub folder: PathBuf,
    /// It came out as it did the first time, as it must.
    pub same: bool,
}

/// Plays that seed again, in a folder below `out`, and leaves there what a run leaves.
pub fn keep(base: &Base, trial: &Trial, out: &Path) -> anyhow::Result<Kept> {
    let plan = base.plan_of(trial.seed)?;
    let (folder, city) = virtual_::open(&plan, out)?;
    let played = attempt(&plan, &city, Some(folder.path()));
    if let Ok(played) = &played {
        outputs::write(&folder, &played.judged.summary, &played.judged.figures)?;
        folder.make_latest()?;
    }
    let same = Trial::of(trial.seed, &plan, &played).same_as(trial);
    Ok(Kept { folder: folder.path().to_owned(), same })
}
