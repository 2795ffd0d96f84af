//! What switches, values on channels, tasklets' lives and ticks cost, beside what bounds them and beside what
//! people would use instead.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench speed
//! ```
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../peers/mod.rs"]
mod peers;

mod games;
mod hand_over;
mod lives;
mod schedule;
mod slices;
mod storm;
mod ticks;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::run(
        "speed",
        &[
            ("schedule(), 2 tasklets", schedule::two),
            ("schedule(), 10 000 tasklets in a ring", schedule::ten_thousand),
            ("schedule(), 1 000 000 tasklets in a ring", schedule::a_million),
            ("schedule(), Rust, 2 tasklets", schedule::rust),
            ("value over a channel, Luau to Luau", hand_over::luau),
            ("value over a channel, Luau to Luau, 1 000 pairs", hand_over::luau_pairs),
            ("value over a channel, Rust to Rust", hand_over::rust),
            ("value over a channel, Luau to Rust", hand_over::mixed),
            ("spawn, one switch, end", lives::end),
            ("spawn, block, kill", lives::kill),
            ("spawn, one switch, end, Rust", lives::rust_end),
            ("spawn, block, kill, Rust", lives::rust_kill),
            ("tick of 10 000 entities that yield", ticks::of_yielders),
            ("idle tick, 1 000 000 asleep and as many blocked", ticks::idle),
            ("tick of 1 000 that yield, 1 000 000 asleep", ticks::among_sleepers),
            ("tick of 1 000 that sleep a frame, 1 000 000 asleep", ticks::among_sleepers_by_time),
            ("sleep storm of 100 000, a sleep", storm::sleeps),
            ("calls and loops that a timer may interrupt", slices::by_time),
            ("calls and loops that count ticks", slices::by_ticks),
        ],
    )
}
