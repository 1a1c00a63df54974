//! The files of a shrunk run: a scenario, a fault plan and a city that stand alone. They name each
//! other by `./`, so the folder can be moved, mailed and kept as a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    base::file::FileError,
    run::{
        folder::Folder,
        plan::{RunPlan, Wishes},
    },
};

/// The folder below that of the run.
pub const FOLDER: &str = "shrunk";

/// The known failures of the run, which are none of what it broke.
const KNOWN: &str = "known.toml";

/// Writes the files of `plan`, which breaks `law`; the scenario's path is handed back.
pub fn write(folder: &Folder, plan: &RunPlan, law: &str) -> anyhow::Result<PathBuf> {
    let within = folder.file(FOLDER);
    fs::create_dir_all(&within)?;
    let city = within.join("city");
    plan.city(&city)?;
    let about = format!("The smallest found that breaks {law}. {}", plan.scenario.about);
    let mut scenario = plan.scenario.clone();
    scenario.city = format!("./city/{}", plan.city_file());
    scenario.chaos = String::from("./chaos.toml");
    scenario.about = String::from(about.trim());
    let text = format!(
        "# Run it with `{}`.\n# `./` is the folder of this file, wherever it is.\n\n{}",
        command("scenario.toml", plan),
        toml::to_string(&scenario)?
    );
    folder.write(&format!("{FOLDER}/chaos.toml"), plan.faults.to_plan(&about).as_bytes())?;
    folder.write(&format!("{FOLDER}/scenario.toml"), text.as_bytes())?;
    if let Some(known) = &plan.known {
        folder.write(&format!("{FOLDER}/{KNOWN}"), known.text.as_bytes())?;
    }
    Ok(within.join("scenario.toml"))
}

/// The plan that the written files resolve to.
pub fn read(scenario: &Path, plan: &RunPlan) -> Result<RunPlan, FileError> {
    let wishes = Wishes {
        seed: Some(plan.seed.clone()),
        plants: plan.plants.clone(),
        time: plan.time,
        ..Wishes::default()
    };
    // The day of the run stays: what had not expired then is still known.
    Ok(RunPlan { known: plan.known.clone(), ..RunPlan::resolve(scenario, &wishes)? })
}

/// The command that runs a scenario's file as `plan` was run.
pub fn command(scenario: &str, plan: &RunPlan) -> String {
    let mut words = vec!["robot-city".to_owned(), "run".to_owned(), shell(scenario)];
    words.extend(["--seed".to_owned(), shell(&plan.seed)]);
    words.extend(["--time".to_owned(), plan.time.word().to_owned()]);
    for plant in &plan.plants {
        words.extend(["--plant".to_owned(), shell(plant)]);
    }
    if plan.known.is_some() {
        let beside = Path::new(scenario).with_file_name(KNOWN);
        words.extend(["--known".to_owned(), shell(&beside.to_string_lossy())]);
    }
    words.join(" ")
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_every_seed() {
        assert_eq!(shell("a3a9b65"), "a3a9b65");
        assert_eq!(shell("an evening; rm"), "'an evening; rm'");
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell(""), "''");
    }
}
