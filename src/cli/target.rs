//! `robot-city target`: mapping files: whether one fits its backend, and a first one.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::run::{target_check, target_init};

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
    /// Write a first mapping file.
    Init {
        /// The file to write; one that is there is left alone.
        file: PathBuf,
        /// An OpenAPI 3 document (JSON or YAML) that fills paths and bodies as far as it can.
        #[arg(long, value_name = "FILE")]
        openapi: Option<PathBuf>,
    },
}

/// Does it.
pub fn main(args: Args) -> anyhow::Result<u8> {
    match args.what {
        What::Check { file, city, set } => Ok(target_check::check(&file, &city, &set)?.code()),
        What::Init { file, openapi } => target_init::init(&file, openapi.as_deref()).map(|()| 0),
    }
}
