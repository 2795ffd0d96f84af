//! lune's scheduler, mlua-luau-scheduler: `lune/`, a crate in a workspace of its own, with the same version of mlua
//! and so of the VM, and the same flags.

use super::{asked, started};
use crate::harness::{Program, Side, built_here};
use std::io;
use std::process::{Command, Stdio};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/lune/Cargo.toml");

thread_local! {
    static LUNE: Option<Program> = started(start(), "lune's scheduler", "it is built from crates.io");
}

fn start() -> io::Result<Program> {
    let folder = built_here("lune-peer");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--locked", "--manifest-path", MANIFEST, "--target-dir"]).arg(&folder);
    // Below the workspace, so that its `.cargo/config.toml` is obeyed.
    build.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    if !build.status()?.success() {
        return Err(io::Error::other("its build fails"));
    }
    Program::start(&mut Command::new(folder.join("release/bluetick-peer-lune")))
}

/// So many coroutines that give way to each other so often.
pub fn schedule(tasks: usize, rounds: usize) -> Option<Side> {
    // Its handles are references on one stack, which has room for a million at most.
    let tasks = tasks.min(490_000);
    asked(LUNE.with(Clone::clone), "wait_for_the_next_turn", &format!("{tasks} {rounds}"), tasks * rounds)
}
