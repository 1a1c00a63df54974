//! `robot-city clean`: put a target in order after a run.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::run::{self, clean::Cleaned};

/// Lines of what is left.
const LINES_MAX: usize = 20;

/// Options of `clean`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run's folder (`reports/latest`); that of a run that died will do.
    run: PathBuf,
}

/// Cleans, and tells what is left.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let cleaned = run::clean::clean(&args.run)?;
    print!("{}", told(&cleaned));
    Ok(cleaned.exit().code())
}

fn told(cleaned: &Cleaned) -> String {
    if cleaned.went_with_the_run {
        return "the run started its backend itself, and it went with the run: nothing left\n"
            .into();
    }
    let damage = cleaned.damage.iter();
    let early = damage.map(|why| format!("the history ends early, so all were asked: {why}"));
    let (robots, jobs) = (cleaned.signed_off, cleaned.ended);
    let proven = cleaned.left.is_empty() && cleaned.unproven.is_empty();
    let done = format!(
        "{robots} robots signed off, {jobs} jobs ended{}",
        if proven { ", nothing left" } else { "" }
    );
    let unproven = cleaned.unproven.iter().map(|why| format!("cannot be proven: {why}"));
    let left = cleaned.left.iter().take(LINES_MAX).map(|left| format!("left: {left}"));
    let more = cleaned.left.len().saturating_sub(LINES_MAX);
    let more = (more > 0).then(|| format!("and {more} more"));
    let lines = early.chain([done]).chain(unproven).chain(left).chain(more);
    lines.map(|line| line + "\n").collect()
}
