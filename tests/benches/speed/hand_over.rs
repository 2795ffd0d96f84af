//! A value from one to another, which both give control away for: two switches.

use super::schedule::raw;
use crate::harness::{RawCoroutines, Row, vm};
use crate::peers::{self, bare};
use bluetick_scripting::{Channel, Error, OwnerId, Vm};

/// Values in one call.
const VALUES: usize = 5_000;

const TWO_RAW: &str = "two raw resumes and yields";

/// At least so much faster than what people would use instead.
const PEERS: f64 = 2.0;

pub fn luau() -> Row {
    beside_peers(Row::new(VALUES, pairs(1, VALUES)).limit(TWO_RAW, 1.6, raw(2, VALUES)))
}

pub fn luau_pairs() -> Row {
    const PAIRS: usize = 1_000;
    // One that starts the pair, and its own.
    const EACH: usize = 2;
    Row::new(EACH * PAIRS, pairs(PAIRS, 1)).limit(TWO_RAW, 1.6, raw(2 * PAIRS, EACH))
}

pub fn rust() -> Row {
    let limit = bare::switches(2, VALUES);
    beside_peers(Row::new(VALUES, rust_pair(VALUES as u64)).limit(
        "two corosensei resumes and suspends",
        3.0,
        limit,
    ))
}

pub fn mixed() -> Row {
    let (raw, mut bare) = (RawCoroutines::new(1), bare::switches(1, 1));
    let limit = move || {
        for _ in 0..VALUES {
            raw.resume_all();
            bare();
        }
    };
    beside_peers(Row::new(VALUES, mixed_pair(VALUES as u64)).limit("one of either", 1.6, limit))
}

fn beside_peers(row: Row) -> Row {
    peers::hand_overs(VALUES).into_iter().fold(row, |row, peer| row.peer(peer, PEERS))
}

/// Pairs of tasklets, each with a channel of its own, and a turn about: so many values each.
fn pairs(pairs: usize, values: usize) -> impl FnMut() {
    let vm = vm();
    let text = "
        local values, start = ...
        local c = channel()
        tasklet(function() while true do c:receive() end end)()
        while true do
            start:receive()
            for i = 1, values do c:send(i) end
        end";
    let body = vm.load("body", text).expect("a body");
    let make: mlua::Function = vm.lua().globals().get("channel").expect("channels");
    let starts: Vec<mlua::AnyUserData> = (0..pairs).map(|_| make.call(()).expect("a channel")).collect();
    for start in &starts {
        vm.spawn(&body, (values, start), OwnerId::default()).expect("a tasklet");
    }
    let text = "local starts = ... for _, start in starts do start:send() end";
    let starter = vm.load("starter", text).expect("a starter");
    move || {
        vm.spawn(&starter, vm.lua().create_sequence_from(starts.clone()), OwnerId::default())
            .expect("a tasklet");
        vm.run_ready(|| true);
    }
}

/// A receiver that stays, and for each call a sender of so many values.
fn rust_pair(values: u64) -> impl FnMut() {
    let vm = vm();
    let channel = receiver(&vm);
    move || {
        let channel = channel.clone();
        let send = move || (0..values).try_for_each(|value| channel.send(value));
        vm.scheduler().spawn(send).expect("a tasklet");
        vm.run_ready(|| true);
    }
}

/// The same with a sender in Luau.
fn mixed_pair(values: u64) -> impl FnMut() {
    let vm = vm();
    let channel = receiver(&vm);
    let body = vm.load("body", "local c, values = ... for i = 1, values do c:send(i) end").expect("a body");
    move || {
        vm.spawn(&body, (&channel, values), OwnerId::default()).expect("a tasklet");
        vm.run_ready(|| true);
    }
}

/// The channel of a Rust tasklet that receives for ever.
fn receiver(vm: &Vm) -> Channel<u64> {
    let channel = vm.scheduler().channel::<u64>();
    let inbox = channel.clone();
    let receive = move || -> Result<(), Error> {
        loop {
            std::hint::black_box(inbox.receive()?);
        }
    };
    vm.scheduler().spawn(receive).expect("a tasklet");
    channel
}
