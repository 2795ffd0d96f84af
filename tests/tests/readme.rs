//! What the README shows is true.

use std::path::Path;

#[path = "../../host/examples/plain_loop.rs"]
mod plain_loop;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README")
}

/// The code blocks of the README in a language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    text.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_embedding_in_the_readme_is_the_example_that_compiles_and_runs() {
    let example = include_str!("../../host/examples/plain_loop.rs");
    let shown = example.split("from here on ---\n").nth(1).expect("the mark");
    // Public only so that this test can call it.
    let shown = shown.replace("pub fn main", "fn main");
    assert!(blocks("rust").contains(&shown), "README.md does not show host/examples/plain_loop.rs");
    assert!(shown.lines().filter(|line| !line.is_empty()).count() <= 30);
    // The example speaks of files by their path from the workspace.
    std::env::set_current_dir(root()).expect("the workspace");
    plain_loop::main().expect("the example runs");
}

#[test]
fn every_script_in_the_readme_compiles() {
    let vm = bluetick_scripting::Vm::new(Default::default()).expect("a VM");
    let scripts = blocks("lua");
    assert!(!scripts.is_empty());
    for script in scripts {
        vm.load("README.luau", &script).expect("a script that compiles");
    }
}

#[test]
fn every_scene_in_the_readme_can_be_read() {
    let scenes: Vec<_> = blocks("toml").into_iter().filter(|block| block.contains("[[entity]]")).collect();
    assert!(!scenes.is_empty());
    for scene in scenes {
        bluetick::Scene::parse(&scene, "README.toml").expect("a scene");
    }
}

#[test]
fn the_build_flags_in_the_readme_are_those_of_this_repository() {
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).expect("the configuration");
    let flags = blocks("toml").into_iter().find(|block| block.contains("LUAU_CXXFLAGS")).expect("a block");
    assert!(config.contains(&*flags), "the README shows {flags}");
}

#[test]
fn the_readme_names_the_two_commands_and_ci_runs_the_second() {
    assert!(readme().contains("cargo run --release") && readme().contains("cargo test --workspace"));
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect("what CI runs");
    assert!(ci.contains("cargo test --workspace"));
}
