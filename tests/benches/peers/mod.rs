//! What people would use instead, and what bounds us: a file each.
//!
//! Those in this language run in the bench's process. The others are programs, which measure themselves in the
//! same rounds; one that can't be built or started here is left out, with a line that says what to install.
#![allow(dead_code)] // each bench uses its own part

pub mod bare;
pub mod go;
pub mod greenlets;
pub mod lune;
pub mod mlua;
pub mod smol;
pub mod tokio;

use crate::harness::{Program, Report, Side};
use std::io;

/// All that hand over values from one to another: so many in a call.
pub fn hand_overs(values: usize) -> Vec<Side> {
    let mut sides =
        vec![tokio::mpsc(values), tokio::oneshot(values), smol::flume(values), smol::async_channel(values)];
    sides.extend(go::hand_over(values));
    sides.extend(greenlets::hand_over(values));
    sides
}

/// The program, or else a line that says what to do about it.
fn started(program: io::Result<Program>, name: &str, install: &str) -> Option<Program> {
    program.map_err(|error| Report::skip(format!("{name} ({error}): {install}"))).ok()
}

/// A side that the program does: it is asked for `what` so often, and answers with nanoseconds.
fn asked(program: Option<Program>, what: &str, details: &str, operations: usize) -> Option<Side> {
    let program = program?;
    let question = format!("{what} {details}");
    let name = format!("{} {}", program.name(), what.replace('_', " "));
    Some(Side::timing_itself(name, operations, move || program.ask(&question)))
}
