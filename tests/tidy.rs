//! The house rules that a machine can check: layers, headers, lengths, checked files.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Layers from the ground up. A module may import its own layer and those below it…
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["world"],
    &["city", "scenario"],
    &["backend"],
    &["history"],
    &["law"],
    &["robot"],
    &["engine"],
    &["chaos"],
    &["target"],
    &["report"],
    &["run"],
    &["cli"],
];

/// … but for these, which must not see more than they are handed.
const MUST_NOT_SEE: &[(&str, &[&str])] = &[
    ("backend", &["city", "scenario"]),
    ("law", &["backend", "world", "city"]),
    ("robot", &["world", "backend", "law"]),
    ("city", &["world"]),
    ("scenario", &["world"]),
    ("history", &["world", "backend", "city", "scenario"]),
    ("engine", &["backend", "law"]),
    ("chaos", &["backend", "law", "robot"]),
    ("target", &["backend", "law", "chaos"]),
    ("report", &["backend", "world", "robot", "engine", "chaos", "target", "city"]),
];

/// Lines of a file, tests aside.
const LINES_MAX: usize = 700;

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("src")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn rank() -> BTreeMap<&'static str, usize> {
    let ranked = LAYERS.iter().enumerate();
    ranked.flat_map(|(n, layer)| layer.iter().map(move |name| (*name, n))).collect()
}

/// The top module that a file belongs to: `law` for `src/law/judge.rs`.
fn module_of(path: &Path) -> String {
    let part = path.components().nth(1).unwrap().as_os_str().to_string_lossy();
    part.trim_end_matches(".rs").to_owned()
}

/// Every `crate::name` of a file, comments and test modules aside.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    // `use crate::{a::x, b::y};` over several lines.
    for block in code.split("use crate::{").skip(1) {
        let block = block.split(';').next().unwrap_or_default();
        let (mut depth, mut fresh, mut word) = (0, true, String::new());
        for c in block.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ if depth > 0 => {}
                c if fresh && (c.is_alphanumeric() || c == '_') => word.push(c),
                ':' | ',' => {
                    if !word.is_empty() {
                        names.push(std::mem::take(&mut word));
                    }
                    // Only the first word of an entry is a module of ours.
                    fresh = c == ',';
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn imports_go_downward_only() {
    let rank = rank();
    let mut wrong = Vec::new();
    for path in sources() {
        let module = module_of(&path);
        let Some(own) = rank.get(module.as_str()) else { continue };
        for seen in imports(&fs::read_to_string(&path).unwrap()) {
            let Some(other) = rank.get(seen.as_str()) else { continue };
            let forbidden = MUST_NOT_SEE
                .iter()
                .any(|(who, whom)| *who == module && whom.contains(&seen.as_str()));
            if other > own || forbidden {
                wrong.push(format!("{} imports {seen}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that look up:\n{}", wrong.join("\n"));
}

#[test]
fn every_layer_is_a_module_and_every_module_has_a_layer() {
    let rank = rank();
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    for module in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = module.trim_end_matches(';');
        assert!(rank.contains_key(module), "{module} has no layer in tests/tidy.rs");
    }
}

#[test]
fn every_file_says_what_its_room_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} has no `//!` header", path.display());
    }
}

#[test]
fn no_file_grows_beyond_reading() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines: split it by noun", path.display());
    }
}

#[test]
fn what_is_optimised_for_tests_is_there() {
    let read = |file| toml::from_str::<toml::Table>(&fs::read_to_string(file).unwrap()).unwrap();
    let (manifest, lock) = (read("Cargo.toml"), read("Cargo.lock"));
    let there: Vec<&str> =
        lock["package"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    for name in manifest["profile"]["dev"]["package"].as_table().unwrap().keys() {
        assert!(there.contains(&name.as_str()), "Cargo.toml: profile.dev.package: no {name} here");
    }
}

#[test]
fn the_reader_of_imports_reads_all_forms() {
    let text = "use crate::law::Verdict;\nuse crate::{\n    base::{id::Id, time::Time},\n    run::Ui,\n};\n\
                fn f() { crate::cli::main(); }\n// crate::ghost\n#[cfg(test)]\nmod t { use crate::late::X; }";
    let mut seen = imports(text);
    seen.retain(|name| !name.is_empty());
    seen.sort();
    assert_eq!(seen, ["base", "cli", "law", "run"]);
}
