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
    let mut text = String::new();
    if let Some(damage) = &cleaned.damage {
        text += &format!("the history ends early ({damage}): all robots of the plan were asked\n");
    }
    text += &format!("{} robots signed off, {} jobs ended", cleaned.signed_off, cleaned.ended);
    if cleaned.left.is_empty() && cleaned.unproven.is_empty() {
        return text + ", nothing left\n";
    }
    text.push('\n');
    for why in &cleaned.unproven {
        text += &format!("cannot be proven: {why}\n");
    }
    for left in cleaned.left.iter().take(LINES_MAX) {
        text += &format!("left: {left}\n");
    }
    if cleaned.left.len() > LINES_MAX {
        text += &format!("and {} more\n", cleaned.left.len() - LINES_MAX);
    }
    text
}
