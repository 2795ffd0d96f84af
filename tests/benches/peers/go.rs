//! Go's goroutines and channels, on one thread: `go/main.go`, built with the `go` that is installed.

use super::{asked, started};
use crate::harness::{Program, Side, built_here};
use std::io;
use std::process::Command;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/go/main.go");

thread_local! {
    static GO: Option<Program> = started(start(), "Go", "`apt install golang-go`, or https://go.dev");
}

fn start() -> io::Result<Program> {
    let program = built_here("go-peer");
    let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(SOURCE).output()?;
    if !built.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&built.stderr).into_owned()));
    }
    Program::start(&mut Command::new(program))
}

/// The program, if there is one.
pub fn program() -> Option<Program> {
    GO.with(Clone::clone)
}

/// Values through a channel without a buffer.
pub fn hand_over(values: usize) -> Option<Side> {
    asked(program(), "unbuffered_channel", &values.to_string(), values)
}

/// Two goroutines that each give way so often.
pub fn gosched(rounds: usize) -> Option<Side> {
    asked(program(), "Gosched", &rounds.to_string(), 2 * rounds)
}

/// Goroutines that give way once and end, one after the other.
pub fn spawn(count: usize) -> Option<Side> {
    asked(program(), "goroutine", &count.to_string(), count)
}
