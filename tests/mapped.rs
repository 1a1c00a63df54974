//! A backend behind a mapping file: the reference backend, described in the same language as any
//! other, is observed as the built-in adapter observes it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Plays the smallest evening in virtual time through `target`; answers the records of its history
/// but for the first, which says what ran.
fn played(target: &str, out: &Path) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["run", "scenarios/smoke.toml", "--target", target, "--seed", "7"])
        .args(["--set", "robots.mishaps.second_phones=0.5"])
        .args(["--time", "virtual", "--ui", "none", "--out"])
        .arg(out)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let folder = out.join("latest/history");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "zst")).collect();
    segments.sort();
    let unpack = |path: &PathBuf| zstd::decode_all(&std::fs::read(path).unwrap()[..]).unwrap();
    let text = String::from_utf8(segments.iter().flat_map(unpack).collect()).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_mapping_observes_what_the_built_in_adapter_does() {
    let (built_in, mapped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let built_in = played("embedded", built_in.path());
    let mapped = played("targets/embedded.toml", mapped.path());
    let differs = built_in.iter().zip(&mapped).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!("record {at}:\n{}\n{}", built_in[at], mapped[at]);
    }
    assert_eq!(built_in.len(), mapped.len());
    // Two histories of nothing would be the same, too.
    for op in ["driver.drop_off", "driver.decline", "passenger.pay", "audit.charges"] {
        let op = format!("\"op\":\"{op}\"");
        assert!(built_in.iter().any(|record| record.contains(&op)), "no {op} in the history");
    }
    assert!(built_in.iter().any(|record| record.contains("\"phone\":2")), "no second phone");
}
