//! Python's greenlets: `greenlets.py`, run by the `python3` that is installed.

use super::{asked, started};
use crate::harness::{Program, Side};
use std::process::Command;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/greenlets.py");

thread_local! {
    static PYTHON: Option<Program> =
        started(Program::start(Command::new("python3").arg(SOURCE)), "greenlet", "`pip install greenlet`");
}

/// Values from one greenlet to another.
pub fn hand_over(values: usize) -> Option<Side> {
    asked(PYTHON.with(Clone::clone), "switch_and_back", &values.to_string(), values)
}
