//! `robot-city target`: mapping files: whether one fits its backend, and a first one.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::run::target_check;

/// Options of `target`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Walk one job through a backend, and say what its mapping is good for.
    Check {
        /// The mapping file.
        file: PathBuf,
        /// The city where the journey is.
        #[arg(long, value_name = "FILE", default_value = "cities/dublin.toml")]
        city: PathBuf,
        /// Override a key of the mapping.
        #[arg(long, value_name = "key=value")]
        set: Vec<String>,
    },
}

/// Does it.
pub fn main(args: Args) -> anyhow::Result<u8> {
    match args.what {
        What::Check { file, city, set } => Ok(target_check::check(&file, &city, &set)?.code()),
    }
}
