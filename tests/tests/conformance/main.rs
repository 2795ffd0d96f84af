//! Scenarios whose traces were recorded on Stackless Python, played by tasklets whose bodies are Rust,
//! Luau, or either by a seeded choice: the traces have to be the same.
//!
//! The scenarios lie beside the repository, in `../shared/conformance`; the environment variable
//! `BLUETICK_CONFORMANCE` names another folder. Where there is none, the tests say so and pass.

mod item;
mod luau;
mod rust;
mod scenario;
mod stage;

use luau::Actors;
use scenario::Scenario;
use stage::{Language, Stage, Style};
use std::path::PathBuf;

/// Seeds of the tests that make choices.
const SEEDS: std::ops::Range<u64> = 1..5;

/// What can't be said in Rust at all.
const NOT_IN_RUST: [(&str, &str); 1] =
    [("T29f misuse: binding what is not a function", "in Rust, binding a number does not compile")];

fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("BLUETICK_CONFORMANCE") {
        let folder = PathBuf::from(folder);
        assert!(folder.is_dir(), "BLUETICK_CONFORMANCE: there is no folder {}", folder.display());
        return Some(folder);
    }
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance"));
    if !folder.is_dir() {
        eprintln!("skipped: there is no folder {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Plays all scenarios in one VM; those in `except` are left out.
fn play(style: Style, except: &[(&str, &str)]) {
    let Some(folder) = folder() else { return };
    let vm = bluetick_scripting::Vm::new(Default::default()).expect("a VM can be made");
    let actors = Actors::new(&vm);
    let mut failures = Vec::new();
    let (mut played, mut left_out) = (0, 0);
    for file in ["handwritten.luau", "generated.luau"] {
        for scenario in Scenario::read_all(&vm, &folder.join(file)) {
            if except.iter().any(|(name, _)| *name == scenario.name) {
                left_out += 1;
                continue;
            }
            if std::env::var("BLUETICK_SCENARIO").is_ok_and(|part| !scenario.name.contains(&part)) {
                continue;
            }
            let (name, expected) = (scenario.name.clone(), scenario.expect.clone());
            let (trace, left) = Stage::play(&vm, &actors, scenario, style);
            played += 1;
            if trace != expected || left.is_some() {
                let left = left.map(|left| format!("\n  afterwards: {left}")).unwrap_or_default();
                failures.push(format!("{name}\n  expected {expected}\n  got      {trace}{left}"));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{style:?}: {} of {played} scenarios failed\n{}",
        failures.len(),
        failures[..failures.len().min(10)].join("\n")
    );
    let filtered = std::env::var_os("BLUETICK_SCENARIO").is_some();
    assert!(filtered || left_out == except.len(), "an exception names no scenario");
    println!("{style:?}: {played} scenarios played, {left_out} left out");
}

#[test]
fn bodies_in_luau_make_the_traces_of_stackless() {
    play(Style { bodies: Some(Language::Luau), main: Language::Luau, crossing: 0, seed: 0 }, &[]);
}

#[test]
fn bodies_in_luau_make_them_when_main_is_the_thread_itself() {
    play(Style { bodies: Some(Language::Luau), main: Language::Rust, crossing: 0, seed: 0 }, &NOT_IN_RUST);
}

#[test]
fn bodies_in_rust_make_the_traces_of_stackless() {
    play(Style { bodies: Some(Language::Rust), main: Language::Rust, crossing: 0, seed: 0 }, &NOT_IN_RUST);
}

#[test]
fn bodies_in_rust_make_them_when_main_is_a_script() {
    play(Style { bodies: Some(Language::Rust), main: Language::Luau, crossing: 0, seed: 0 }, &[]);
}

#[test]
fn bodies_in_luau_and_rust_mixed_make_the_traces_of_stackless() {
    for seed in SEEDS {
        play(Style { bodies: None, main: Language::Rust, crossing: 0, seed }, &NOT_IN_RUST);
        play(Style { bodies: None, main: Language::Luau, crossing: 0, seed }, &NOT_IN_RUST);
    }
}

#[test]
fn operations_that_cross_from_one_language_to_the_other_make_the_traces_of_stackless() {
    for seed in SEEDS {
        play(Style { bodies: None, main: Language::Rust, crossing: 25, seed }, &NOT_IN_RUST);
        play(Style { bodies: None, main: Language::Luau, crossing: 25, seed }, &NOT_IN_RUST);
    }
}
