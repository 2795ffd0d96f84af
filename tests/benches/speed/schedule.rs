//! Giving control to the next one.

use crate::harness::{RawCoroutines, Row, vm};
use crate::peers::{self, bare, go, lune, tokio};
use bluetick_scripting::{Error, OwnerId, Vm};
use std::rc::Rc;

/// Round trips in one call, where there are few tasklets.
const HOT: usize = 10_000;

pub fn two() -> Row {
    of(2, HOT / 2, 1.35)
}

pub fn ten_thousand() -> Row {
    of(10_000, 1, 1.35)
}

pub fn a_million() -> Row {
    of(1_000_000, 1, 1.25)
}

/// So many tasklets, each resumed so often in one call.
fn of(tasklets: usize, rounds: usize, goal: f64) -> Row {
    Row::new(tasklets * rounds, luau(tasklets, tasklets * rounds))
        .limit("raw lua_resume and C yield", goal, raw(tasklets, rounds))
        .peer(peers::mlua::resume(tasklets, rounds), None)
        .peer(lune::schedule(tasklets, rounds), None)
}

pub fn rust() -> Row {
    Row::new(HOT, rust_slices(HOT))
        .limit("corosensei resume and suspend", 2.0, bare::switches(2, HOT / 2))
        .peer(tokio::yield_now_in_turn(2, HOT / 2), None)
        .peer(go::gosched(HOT / 2), None)
}

/// Runs so many slices.
pub fn slices(vm: &Vm, count: usize) {
    let mut left = count;
    vm.run_ready(|| {
        let go_on = left > 0;
        left = left.saturating_sub(1);
        go_on
    });
}

/// Tasklets that switch for ever, so many slices of them.
fn luau(tasklets: usize, count: usize) -> impl FnMut() {
    let vm = vm();
    let text = "local schedule = scheduler.schedule while true do schedule() end";
    let body = vm.load("body", text).expect("a body");
    for _ in 0..tasklets {
        vm.spawn(&body, (), OwnerId::default()).expect("a tasklet");
    }
    move || slices(&vm, count)
}

/// The same number of raw round trips.
pub fn raw(coroutines: usize, rounds: usize) -> impl FnMut() {
    let raw = RawCoroutines::new(coroutines);
    move || (0..rounds).for_each(|_| raw.resume_all())
}

/// Two Rust tasklets that switch for ever, so many slices of them.
fn rust_slices(count: usize) -> impl FnMut() {
    let vm: Rc<Vm> = vm();
    for _ in 0..2 {
        let scheduler = vm.scheduler();
        let body = move || -> Result<(), Error> {
            loop {
                scheduler.schedule()?;
            }
        };
        vm.scheduler().spawn(body).expect("a tasklet");
    }
    move || slices(&vm, count)
}
