//! What a frame costs beside the VM's own limit, as ratios measured in one run.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench speed
//! ```
//!
//! Each row times two things by turns, ours and what bounds it, and gives the median of the rounds' ratios:
//! the machine's noise meets both alike. A ratio is what to look at; a time is worth nothing on another machine.
//! A word after `--` picks the rows that contain it; `--ours` or `--limit` runs one side
//! alone, for a profiler.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

mod harness;

use bevy_ecs::world::World;
use bluetick::{Library, Script, ScriptHost};
use bluetick_scripting::{OwnerId, SliceLimit, Vm, VmConfig};
use harness::{RawCoroutines, Row};
use std::time::Duration;

fn main() {
    harness::run(&[
        ("tick of 10 000 tasklets that yield, an entity each", tick_of_yielders),
        ("tick with 100 000 asleep and nobody due, to one with none", tick_among_sleepers),
        ("schedule() round trip, 2 tasklets", schedule_hot),
        ("schedule() round trip, 10 000 tasklets", schedule_many),
        ("channel hand-over, two switches, to two raw ones", hand_over),
        ("channel hand-over, 1 000 pairs, to as many raw switches", hand_over_many),
        ("interruptible by a timer, calls and loops, to not", interruptible_by_time),
        ("interruptible by ticks, calls and loops, to not", interruptible_by_ticks),
    ]);
}

/// A world whose entities all run one script.
fn host(script: &str, entities: usize) -> (World, ScriptHost) {
    let mut world = World::new();
    let library = Library::in_memory([("it", script)]);
    let mut host = ScriptHost::builder().library(library).build(&mut world).expect("a host");
    for _ in 0..entities {
        world.spawn(Script::new("it"));
    }
    for _ in 0..3 {
        let report = host.tick(&mut world, 0.01);
        assert!(report.failures.is_empty(), "{:?}", report.failures);
    }
    (world, host)
}

fn tick_of_yielders() -> Row {
    const N: usize = 10_000;
    let (mut world, mut host) =
        host("local It = {} function It.run(self) while true do synchro.yield() end end return It", N);
    let raw = RawCoroutines::new(N);
    Row {
        goal: 2.0,
        operations: N,
        ours: Box::new(move || {
            let report = host.tick(&mut world, 0.01);
            assert_eq!(report.slices, N as u64);
        }),
        limit: Box::new(move || raw.resume_all()),
    }
}

fn tick_among_sleepers() -> Row {
    const TICKS: usize = 1_000;
    let script = "local It = {} function It.run(self) synchro.sleep(80000) end return It";
    let (mut world, mut among) = host(script, 100_000);
    let (mut empty_world, mut alone) = host(script, 0);
    let ticks = |host: &mut ScriptHost, world: &mut World| {
        for _ in 0..TICKS {
            host.tick(world, 0.001);
        }
    };
    Row {
        goal: 1.2,
        operations: TICKS,
        ours: Box::new(move || ticks(&mut among, &mut world)),
        limit: Box::new(move || ticks(&mut alone, &mut empty_world)),
    }
}

/// Tasklets that switch for ever, so many slices of them.
fn scheduled(tasklets: usize, slices: usize) -> Box<dyn FnMut()> {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let text = "local schedule = scheduler.schedule while true do schedule() end";
    let body = vm.load("body", text).expect("a body");
    for _ in 0..tasklets {
        vm.spawn(&body, (), OwnerId::default()).expect("a tasklet");
    }
    Box::new(move || {
        let mut left = slices;
        vm.run_ready(|| {
            let go_on = left > 0;
            left = left.saturating_sub(1);
            go_on
        });
    })
}

/// The same number of raw round trips.
fn raw_rounds(coroutines: usize, rounds: usize) -> Box<dyn FnMut()> {
    let raw = RawCoroutines::new(coroutines);
    Box::new(move || {
        for _ in 0..rounds {
            raw.resume_all();
        }
    })
}

fn schedule_hot() -> Row {
    Row { goal: 1.35, operations: 2 * 5_000, ours: scheduled(2, 2 * 5_000), limit: raw_rounds(2, 5_000) }
}

fn schedule_many() -> Row {
    Row { goal: 1.35, operations: 10_000, ours: scheduled(10_000, 10_000), limit: raw_rounds(10_000, 1) }
}

/// Pairs of tasklets, each with a channel of its own, and a turn about: so many values each.
fn hand_overs(pairs: usize, values: usize) -> Box<dyn FnMut()> {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
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
    Box::new(move || {
        vm.spawn(&starter, vm.lua().create_sequence_from(starts.clone()), OwnerId::default())
            .expect("a tasklet");
        vm.run_ready(|| true);
    })
}

fn hand_over() -> Row {
    const VALUES: usize = 5_000;
    Row { goal: 1.6, operations: VALUES, ours: hand_overs(1, VALUES), limit: raw_rounds(2, VALUES) }
}

fn hand_over_many() -> Row {
    const PAIRS: usize = 1_000;
    Row { goal: 1.6, operations: PAIRS, ours: hand_overs(PAIRS, 1), limit: raw_rounds(2 * PAIRS, 1) }
}

/// A tasklet that computes for a while, in a VM with this limit on slices.
fn computing(slice: SliceLimit) -> Box<dyn FnMut()> {
    let vm = Vm::new(VmConfig { slice, ..VmConfig::default() }).expect("a VM");
    let text = "
        local function fib(n) return if n < 2 then n else fib(n - 1) + fib(n - 2) end
        local sum = 0
        for i = 1, 10000 do sum += i % 7 end
        return fib(15) + sum";
    let body = vm.load("body", text).expect("a body");
    Box::new(move || {
        vm.spawn(&body, (), OwnerId::default()).expect("a tasklet");
        vm.run_ready(|| true);
    })
}

fn interruptible_by_time() -> Row {
    let slice = SliceLimit::time(Duration::from_millis(5));
    Row { goal: 1.03, operations: 1, ours: computing(slice), limit: computing(SliceLimit::default()) }
}

fn interruptible_by_ticks() -> Row {
    let slice = SliceLimit::ticks(1_000_000);
    Row { goal: 1.3, operations: 1, ours: computing(slice), limit: computing(SliceLimit::default()) }
}
