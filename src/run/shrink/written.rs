//! The files of a shrunk run: a scenario, a fault plan and a city that stand alone. They name each
//! other by `./`, so the folder can be moved, mailed and kept as a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    base::{file::FileError, shell},
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
    let mut words = vec!["robot-city".to_owned(), "run".to_owned(), shell::word(scenario)];
    // In one word: a seed may begin with a hyphen.
    words.push(shell::word(&format!("--seed={}", plan.seed)));
    words.extend(["--time".to_owned(), plan.time.word().to_owned()]);
    for plant in &plan.plants {
        words.extend(["--plant".to_owned(), shell::word(plant)]);
    }
    if plan.known.is_some() {
        let beside = Path::new(scenario).with_file_name(KNOWN);
        words.extend(["--known".to_owned(), shell::word(&beside.to_string_lossy())]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::Time;

    #[test]
    fn the_command_takes_every_seed() {
        let wishes = Wishes { seed: Some("-5".into()), time: Time::Virtual, ..Wishes::default() };
        let mut plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap();
        let told = command("a b/scenario.toml", &plan);
        assert_eq!(told, "robot-city run 'a b/scenario.toml' --seed=-5 --time virtual");
        plan.seed = "rain; rm".into();
        assert!(command("s.toml", &plan).contains(" '--seed=rain; rm' "));
    }
}
