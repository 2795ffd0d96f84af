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

use bevy_ecs::world::World;
use bluetick::{Library, Script, ScriptHost};
use bluetick_scripting::raw::*;
use bluetick_scripting::{OwnerId, SliceLimit, Vm, VmConfig};
use std::ffi::c_int;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Rounds of each row; every round times both sides once. A side takes a millisecond at most, so that
/// few rounds are interrupted by other processes.
const ROUNDS: usize = 201;

/// What a row compares.
struct Row {
    /// The most that the ratio is meant to be.
    goal: f64,
    /// Operations in one call of either side.
    operations: usize,
    ours: Box<dyn FnMut()>,
    limit: Box<dyn FnMut()>,
}

/// A row's short name, and what makes it.
type Named = (&'static str, fn() -> Row);

fn main() {
    println!("Luau {}, {ROUNDS} rounds, medians, ns an operation", mlua::ffi::luau_version().unwrap_or("?"));
    println!("{:<58} {:>9} {:>9} {:>7} {:>7}", "what", "ours", "limit", "ratio", "goal");
    let rows: [Named; 8] = [
        ("tick of 10 000 tasklets that yield, an entity each", tick_of_yielders),
        ("tick with 100 000 asleep and nobody due, to one with none", tick_among_sleepers),
        ("schedule() round trip, 2 tasklets", schedule_hot),
        ("schedule() round trip, 10 000 tasklets", schedule_many),
        ("channel hand-over, two switches, to two raw ones", hand_over),
        ("channel hand-over, 1 000 pairs, to as many raw switches", hand_over_many),
        ("interruptible by a timer, calls and loops, to not", interruptible_by_time),
        ("interruptible by ticks, calls and loops, to not", interruptible_by_ticks),
    ];
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (sides, words): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
    for (what, row) in rows {
        if !words.iter().all(|word| what.contains(&***word)) {
            continue;
        }
        let mut row = row();
        match sides.first().map(|side| &***side) {
            Some("--ours") => (0..ROUNDS * 5).for_each(|_| (row.ours)()),
            Some("--limit") => (0..ROUNDS * 5).for_each(|_| (row.limit)()),
            _ => report(what, row),
        }
    }
}

fn report(what: &str, mut row: Row) {
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 3 {
        let (ours_took, limit_took) = (time(&mut row.ours), time(&mut row.limit));
        // The first rounds warm up.
        if round >= 3 {
            ours.push(ours_took / row.operations as f64);
            limits.push(limit_took / row.operations as f64);
        }
    }
    // Of each round, so that what slows a whole round down does not count.
    let ratio = median(ours.iter().zip(&limits).map(|(ours, limit)| ours / limit).collect());
    let (ours, limit) = (median(ours), median(limits));
    let mark = if ratio <= row.goal { "" } else { "  over its goal" };
    println!("{what:<58} {ours:>9.1} {limit:>9.1} {ratio:>7.2} {:>7.2}{mark}", row.goal);
}

fn time(f: &mut Box<dyn FnMut()>) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_nanos() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
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

/// Coroutines that do nothing but yield, resumed by the VM's own call.
struct RawCoroutines {
    vm: Rc<Vm>,
    threads: Vec<*mut lua_State>,
}

impl RawCoroutines {
    fn new(count: usize) -> Self {
        unsafe extern "C-unwind" fn raw_yield(L: *mut lua_State) -> c_int {
            // SAFETY: a C function called by the VM in a coroutine.
            unsafe { lua_yield(L, 0) }
        }
        let vm = Vm::new(VmConfig::default()).expect("a VM");
        let body = vm.load("raw", "local yield = ... while true do yield() end").expect("a body");
        let mut threads = Vec::new();
        let registry = vm.lua().create_table().expect("a table");
        for _ in 0..count {
            // SAFETY: protected by mlua, which has pushed the table and the body; the table keeps each
            // coroutine alive.
            unsafe {
                vm.lua()
                    .exec_raw::<()>((&registry, &body), |L| {
                        let thread = lua_newthread(L);
                        lua_xpush(L, thread, 2);
                        lua_pushcfunctiond(thread, raw_yield, c"yield".as_ptr());
                        lua_rawseti_(L, 1, threads.len() as c_int + 1);
                        threads.push(thread);
                        lua_settop(L, 0);
                    })
                    .expect("a coroutine");
            }
        }
        vm.lua().set_named_registry_value("threads", registry).expect("kept");
        for &thread in &threads {
            // SAFETY: the coroutine has its function and one argument.
            let status = unsafe { lua_resume_(thread, std::ptr::null_mut(), 1) };
            assert_eq!(status, LUA_YIELD);
        }
        Self { vm, threads }
    }

    fn resume_all(&self) {
        let _ = &self.vm;
        for &thread in &self.threads {
            // SAFETY: the coroutine has yielded.
            unsafe { lua_resume_(thread, std::ptr::null_mut(), 0) };
        }
    }
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
