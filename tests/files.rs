//! Every checked-in city and scenario loads, and every bad one is refused with the error that
//! stands beside it. `ROBOT_CITY_UPDATE=1 cargo test --test files` writes the errors anew: read
//! the difference before you commit it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use robot_city::{
    base::file::{FileError, Source},
    city::City,
    run::target_check::compile,
    scenario::Scenario,
};

/// The TOML files of a folder of the project, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no TOML file", folder.display());
    files
}

/// Loads a file as what the first word of its name says: `city-…`, `scenario-…` or `target-…`.
fn load(path: &Path) -> Result<(), FileError> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    match name.split_once('-').map(|(kind, _)| kind) {
        Some("city") => City::load(path).map(drop),
        Some("scenario") => load_scenario(path).map(drop),
        Some("target") => compile(&Source::read(path)?, "test").map(drop),
        _ => panic!("{name}: the name must begin with city-, scenario- or target-"),
    }
}

fn load_scenario(path: &Path) -> Result<Scenario, FileError> {
    let source = Source::read(path)?;
    let scenario = Scenario::from_source(&source)?;
    let city = City::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(&scenario.city))?;
    scenario.check_city(&source, &city)?;
    Ok(scenario)
}

#[test]
fn checked_in_cities_load() {
    for path in files("cities") {
        if let Err(error) = City::load(&path) {
            panic!("{error}");
        }
    }
}

#[test]
fn checked_in_scenarios_load() {
    for path in files("scenarios") {
        let scenario = load_scenario(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(!scenario.about.is_empty(), "{}: say what it is for", path.display());
    }
}

#[test]
fn good_files_load() {
    for path in files("tests/valid") {
        if let Err(error) = load(&path) {
            panic!("{error}");
        }
    }
}

#[test]
fn bad_files_are_refused_with_the_error_beside_them() {
    let update = env::var_os("ROBOT_CITY_UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in files("tests/invalid") {
        let error = match load(&path) {
            Ok(()) => panic!("{}: loads, and should not", path.display()),
            Err(error) => error.to_string(),
        };
        // Without the folder of this checkout.
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let error = format!("{}\n", error.replace(root, ""));
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &error).unwrap();
        } else if fs::read_to_string(&golden).ok().as_deref() != Some(error.as_str()) {
            wrong.push(format!("{}:\n  {error}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "these errors are not as written:\n{}", wrong.concat());
}
