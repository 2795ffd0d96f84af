//! Frames of few that do something among many that don't.

use super::games::{Crowd, FRAME};
use crate::harness::{RawCoroutines, Row};
use crate::peers::tokio;

/// Tasklets of an entity that sleep till long after the bench, all at times of their own.
const ASLEEP: &str = "
    for i = 1, 1000000 do tasklet(function() synchro.sleep(80000 + (i * 7919 % 1000003) / 1000) end)() end";

const BLOCKED: &str = "
    local never = channel()
    for i = 1, 1000000 do tasklet(function() never:receive() end)() end";

const ALONE: &str = "the same without those";

pub fn of_yielders() -> Row {
    const N: usize = 10_000;
    let mut crowd = Crowd::new("while true do synchro.yield() end", N);
    let raw = RawCoroutines::new(N);
    Row::new(N, move || crowd.tick(Some(N)))
        .limit("raw lua_resume and C yield", 2.0, move || raw.resume_all())
}

pub fn idle() -> Row {
    const TICKS: usize = 1_000;
    let ticks = |body: &str| {
        let mut crowd = Crowd::new(body, 1);
        move || (0..TICKS).for_each(|_| crowd.tick(Some(0)))
    };
    Row::new(TICKS, ticks(&format!("{ASLEEP} {BLOCKED}"))).limit(ALONE, 1.2, ticks(""))
}

/// Tasklets that do something in every frame.
const AWAKE: usize = 1_000;

pub fn among_sleepers() -> Row {
    among("synchro.yield()")
}

pub fn among_sleepers_by_time() -> Row {
    among(&format!("synchro.sleep({FRAME})")).peer(tokio::ticks(1_000_000, AWAKE), None)
}

/// A tick, in which those that are awake do this once.
fn among(line: &str) -> Row {
    let awake = format!("for i = 1, {AWAKE} do tasklet(function() while true do {line} end end)() end");
    let tick = |others: &str| {
        let mut crowd = Crowd::new(&format!("{awake} {others}"), 1);
        move || crowd.tick(Some(AWAKE))
    };
    Row::new(1, tick(ASLEEP)).limit(ALONE, 1.2, tick(""))
}
