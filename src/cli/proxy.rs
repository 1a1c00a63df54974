//! `robot-city proxy`: the fault proxy alone, with Toxiproxy's HTTP API.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args as ClapArgs;

use crate::chaos::proxy::toxiproxy::{self, PORT, Settings};

/// Options of `proxy`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The API's port; 0 takes any that is free.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Proxies to begin with: a JSON file as Toxiproxy takes it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The seed of all random draws.
    #[arg(long, default_value = "1")]
    seed: String,
    /// A host beyond loopback that may be listened on or connected to; once for each.
    #[arg(long, value_name = "HOST")]
    allow: Vec<String>,
}

/// Serves until Ctrl-C.
pub fn main(args: Args) -> anyhow::Result<u8> {
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))
    };
    let proxies = args.config.as_ref().map(read).transpose()?.map(Into::into);
    let Args { host, port, seed, allow, .. } = args;
    let settings = Settings { host, port, allowed: allow.into_iter().collect(), seed, proxies };
    toxiproxy::serve(&settings, |address| {
        println!("Toxiproxy's API at http://{address}, seed {}", settings.seed);
    })?;
    Ok(0)
}
