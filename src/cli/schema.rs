//! `robot-city schema`: the JSON Schema of a file that people write, for their editors.

use clap::{Args as ClapArgs, ValueEnum};

use crate::{history, target::mapped::grammar::Mapping};

/// Options of `schema`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Of which file.
    #[arg(value_enum)]
    what: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// `scenarios/*.toml`.
    Scenario,
    /// `cities/*.toml`.
    City,
    /// `chaos/*.toml`.
    Chaos,
    /// `targets/*.toml`.
    Target,
    /// `summary.json`.
    Summary,
    /// A line of the history.
    History,
}

/// Prints it.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let schema = match args.what {
        What::Target => schemars::schema_for!(Mapping),
        What::History => history::schema::schema(),
        What::Scenario | What::City | What::Chaos | What::Summary => {
            let word = args.what.to_possible_value();
            let word = word.as_ref().map_or("this", |word| word.get_name());
            anyhow::bail!(
                "there is no JSON Schema of `{word}` yet; of `target` and `history` there is"
            )
        }
    };
    println!("{}", serde_json::to_string_pretty(&schema)?);
    Ok(0)
}
