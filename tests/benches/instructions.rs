//! Instructions per operation, counted under valgrind: unlike times, they are the same on every run.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench instructions                # the table, beside the baseline
//! cargo bench -p bluetick-tests --bench instructions -- --check     # fails if one grew by more than 10 %
//! cargo bench -p bluetick-tests --bench instructions -- --write     # the table becomes the baseline
//! ```
//!
//! Each operation runs in a process of its own, few times and many times; the difference is what the
//! further ones took. What is compared with the baseline is how many times the limit of the same run an
//! operation takes, so that another compiler, which moves both, is no failure. `--run OPERATION COUNT` runs
//! one, for a profiler.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::ecs::{Bridge, BridgeConfig, Handle, Registry};
use bluetick::{Library, Script, ScriptHost};
use bluetick_scripting::raw::*;
use bluetick_scripting::{OwnerId, Vm, VmConfig};
use corosensei::Coroutine;
use std::ffi::c_int;
use std::process::{Command, ExitCode};
use std::rc::Rc;

/// Where the counts of the last accepted change are kept: `operation<TAB>instructions`.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.tsv");

/// By how much an operation may grow, beside its limit.
const TOLERANCE: f64 = 1.10;

/// Operations in the two runs of each: enough that steps of the collector are spread evenly.
const FEW: usize = 2_000;
const MANY: usize = 52_000;

/// What is counted.
struct Operation {
    name: &'static str,
    run: fn(usize),
    /// The operation that bounds it, and how many of those it is at the least.
    limit: Option<(&'static str, f64)>,
}

const RAW_SWITCH: &str = "raw: resume and yield of a Luau coroutine";
const RAW_SUSPEND: &str = "raw: resume and suspend of a corosensei coroutine";
const RAW_SPAWN: &str = "raw: new coroutine and two resumes";

const RAW_READ: &str = "raw: read of a field by a C function";

const OPERATIONS: [Operation; 16] = [
    Operation { name: RAW_SWITCH, run: raw_yield, limit: None },
    Operation { name: RAW_SUSPEND, run: raw_suspend, limit: None },
    Operation { name: RAW_SPAWN, run: raw_spawn, limit: None },
    Operation { name: RAW_READ, run: raw_read, limit: None },
    Operation { name: "schedule, Luau", run: |n| scheduled(SCHEDULE, 2, n), limit: Some((RAW_SWITCH, 1.0)) },
    Operation {
        name: "hand-over on a channel, Luau to Luau",
        run: |n| scheduled(HAND_OVER, 1, 2 * n),
        limit: Some((RAW_SWITCH, 2.0)),
    },
    Operation { name: "schedule, Rust", run: rust_schedule, limit: Some((RAW_SUSPEND, 1.0)) },
    Operation {
        name: "hand-over on a channel, Rust to Rust",
        run: rust_hand_over,
        limit: Some((RAW_SUSPEND, 2.0)),
    },
    Operation {
        name: "hand-over on a channel, Luau to Rust",
        run: mixed_hand_over,
        limit: Some((RAW_SWITCH, 1.0)),
    },
    Operation {
        name: "spawn, one switch, end, Luau",
        run: |n| scheduled(SPAWN, 1, 3 * n),
        limit: Some((RAW_SPAWN, 1.0)),
    },
    Operation {
        name: "spawn, block, kill, Luau",
        run: |n| scheduled(KILL, 1, 4 * n),
        limit: Some((RAW_SPAWN, 1.0)),
    },
    Operation { name: "spawn, one switch, end, Rust", run: rust_spawn, limit: Some((RAW_SPAWN, 1.0)) },
    Operation {
        name: "sleep until the next frame, with its share of the tick",
        run: |n| frames("synchro.sleep(0.01)", n),
        limit: Some((RAW_SWITCH, 1.0)),
    },
    Operation {
        name: "yield until the next frame, with its share of the tick",
        run: |n| frames("synchro.yield()", n),
        limit: Some((RAW_SWITCH, 1.0)),
    },
    Operation {
        name: "read of a component's field by a held reference",
        run: |n| read("x = h.current", n),
        limit: Some((RAW_READ, 1.0)),
    },
    Operation {
        name: "read of self.Health.current",
        run: |n| read("x = self.Health.current", n),
        limit: Some((RAW_READ, 1.0)),
    },
];

const SCHEDULE: &str = "local schedule = scheduler.schedule while true do schedule() end";
const HAND_OVER: &str = "
    local c = channel()
    tasklet(function() while true do c:receive() end end)()
    while true do c:send(1) end";
const SPAWN: &str = "
    local schedule = scheduler.schedule
    local function body() schedule() end
    while true do tasklet(body)() schedule() schedule() end";
const KILL: &str = "
    local c = channel()
    local function body() c:receive() end
    local schedule = scheduler.schedule
    while true do local t = tasklet(body)() schedule() t:kill() end";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--run", name, count] => {
            let operation = OPERATIONS.iter().find(|operation| operation.name == name);
            (operation.expect("an operation of the table").run)(count.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        ["--write"] => table(true, false),
        ["--check"] => table(false, true),
        ["--quick", ..] => {
            println!("instructions: left out of a quick run");
            ExitCode::SUCCESS
        }
        [] | ["--strict" | "--readme", ..] => table(false, false),
        _ => {
            eprintln!("usage: instructions [--check | --write | --run OPERATION COUNT]");
            ExitCode::from(2)
        }
    }
}

/// Counts everything, and compares it with the baseline.
fn table(write: bool, check: bool) -> ExitCode {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!(
            "valgrind is not installed: `apt install valgrind` (or your system's package) and try again"
        );
        return if check { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let baseline = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let before: Vec<(&str, f64)> = baseline
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    let counted = |counts: &[(&str, f64)], name: &str| -> Option<f64> {
        counts.iter().find_map(|&(known, count)| (known == name).then_some(count))
    };
    let times_limit = |counts: &[(&str, f64)], operation: &Operation| -> Option<f64> {
        let (limit, least) = operation.limit?;
        Some(counted(counts, operation.name)? / (least * counted(counts, limit)?))
    };
    let mut now: Vec<(&str, f64)> = Vec::new();
    let (mut grown, mut unknown) = (0, 0);
    println!("{:<56} {:>8} {:>8} {:>8} {:>8}", "operation", "now", "baseline", "x limit", "baseline");
    for operation in &OPERATIONS {
        let name = operation.name;
        now.push((name, instructions(name)));
        let (ratio, ratio_before) = (times_limit(&now, operation), times_limit(&before, operation));
        let grew = matches!((ratio, ratio_before), (Some(now), Some(before)) if now > before * TOLERANCE);
        grown += usize::from(grew);
        unknown += usize::from(ratio.is_some() && ratio_before.is_none());
        let count = |count: Option<f64>| count.map_or("-".into(), |count| format!("{count:.0}"));
        let times = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        println!(
            "{name:<56} {:>8} {:>8} {:>8} {:>8}{}",
            count(counted(&now, name)),
            count(counted(&before, name)),
            times(ratio),
            times(ratio_before),
            if grew { "  grown" } else { "" }
        );
    }
    let lines: String = now.iter().map(|(name, count)| format!("{name}\t{count:.0}\n")).collect();
    if write {
        std::fs::write(BASELINE, lines).expect("the baseline can be written");
    }
    if check && grown > 0 {
        eprintln!("{grown} operations take over 10 % more instructions than {BASELINE} says");
    }
    if check && unknown > 0 {
        eprintln!("{unknown} operations are not in {BASELINE}: `-- --write` puts them there");
    }
    if check && grown + unknown > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Instructions of one operation: what many take more than few.
fn instructions(name: &str) -> f64 {
    let (few, many) = std::thread::scope(|scope| {
        let few = scope.spawn(|| collected(name, FEW));
        let many = collected(name, MANY);
        (few.join(), many)
    });
    (many - few.expect("counted")) as f64 / (MANY - FEW) as f64
}

/// Instructions of a whole process that runs an operation so many times.
fn collected(name: &str, count: usize) -> i64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("this very program"))
        .args(["--run", name, &count.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    line.and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("{name}: no count in {said}"))
}

/// Runs so many slices of tasklets that all have this body.
fn scheduled(text: &str, tasklets: usize, slices: usize) {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let body = vm.load("body", text).expect("a body");
    for _ in 0..tasklets {
        vm.spawn(&body, (), OwnerId::default()).expect("a tasklet");
    }
    let mut left = slices;
    vm.run_ready(|| {
        let go_on = left > 0;
        left = left.saturating_sub(1);
        go_on
    });
    // What is left of the tasklets is no part of the operation.
    std::process::exit(0);
}

unsafe extern "C-unwind" fn c_yield(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM in a coroutine.
    unsafe { lua_yield(L, 0) }
}

fn raw_yield(count: usize) {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let body = vm.load("raw", "local yield = ... while true do yield() end").expect("a body");
    // SAFETY: protected by mlua, which has pushed the body; the stack keeps the coroutine alive.
    unsafe {
        vm.lua()
            .exec_raw::<()>(body, |L| {
                let thread = lua_newthread(L);
                lua_xpush(L, thread, 1);
                lua_pushcfunctiond(thread, c_yield, c"yield".as_ptr());
                lua_resume_(thread, std::ptr::null_mut(), 1);
                for _ in 0..count {
                    lua_resume_(thread, std::ptr::null_mut(), 0);
                }
                lua_settop(L, 0);
            })
            .expect("it runs");
    }
}

fn raw_spawn(count: usize) {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let body = vm.load("raw", "local yield = ... yield()").expect("a body");
    // SAFETY: as `raw_yield`.
    unsafe {
        vm.lua()
            .exec_raw::<()>(body, |L| {
                for _ in 0..count {
                    let thread = lua_newthread(L);
                    lua_xpush(L, thread, 1);
                    lua_pushcfunctiond(thread, c_yield, c"yield".as_ptr());
                    lua_resume_(thread, std::ptr::null_mut(), 1);
                    lua_resume_(thread, std::ptr::null_mut(), 0);
                    lua_settop(L, 1);
                }
                lua_settop(L, 0);
            })
            .expect("it runs");
    }
}

fn raw_suspend(count: usize) {
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    for _ in 0..count {
        std::hint::black_box(coroutine.resume(()));
    }
    std::process::exit(0);
}

/// A VM without any tasklet of a script.
fn vm() -> Rc<Vm> {
    Vm::new(VmConfig::default()).expect("a VM")
}

/// Runs so many slices.
fn slices(vm: &Vm, count: usize) -> ! {
    let mut left = count;
    vm.run_ready(|| {
        let go_on = left > 0;
        left = left.saturating_sub(1);
        go_on
    });
    std::process::exit(0)
}

fn rust_schedule(count: usize) {
    let vm = vm();
    for _ in 0..2 {
        let scheduler = vm.scheduler();
        let body = move || -> Result<(), bluetick_scripting::Error> {
            loop {
                scheduler.schedule()?;
            }
        };
        vm.scheduler().spawn(body).expect("a tasklet");
    }
    slices(&vm, count)
}

fn rust_hand_over(count: usize) {
    let vm = vm();
    let channel = vm.scheduler().channel::<u64>();
    let inbox = channel.clone();
    let receive = move || -> Result<(), bluetick_scripting::Error> {
        loop {
            std::hint::black_box(inbox.receive()?);
        }
    };
    vm.scheduler().spawn(receive).expect("a tasklet");
    let send = move || -> Result<(), bluetick_scripting::Error> {
        loop {
            channel.send(1)?;
        }
    };
    vm.scheduler().spawn(send).expect("a tasklet");
    slices(&vm, 2 * count)
}

fn mixed_hand_over(count: usize) {
    let vm = vm();
    let channel = vm.scheduler().channel::<u64>();
    let inbox = channel.clone();
    let receive = move || -> Result<(), bluetick_scripting::Error> {
        loop {
            std::hint::black_box(inbox.receive()?);
        }
    };
    vm.scheduler().spawn(receive).expect("a tasklet");
    let body = vm.load("body", "local c = ... while true do c:send(1) end").expect("a body");
    vm.spawn(&body, &channel, OwnerId::default()).expect("a tasklet");
    slices(&vm, 2 * count)
}

fn rust_spawn(count: usize) {
    let vm = vm();
    let scheduler = vm.scheduler();
    let body = move || -> Result<(), bluetick_scripting::Error> {
        loop {
            let inner = scheduler.clone();
            drop(scheduler.spawn(move || inner.schedule())?);
            scheduler.schedule()?;
            scheduler.schedule()?;
        }
    };
    vm.scheduler().spawn(body).expect("a tasklet");
    slices(&vm, 3 * count)
}

/// Scripts that do this in each frame.
fn frames(line: &str, count: usize) {
    const ENTITIES: usize = 100;
    let mut world = World::new();
    let text = format!("local It = {{}} function It.run(self) while true do {line} end end return It");
    let library = Library::in_memory([("it", text.as_str())]);
    let mut host = ScriptHost::builder().library(library).build(&mut world).expect("a host");
    for _ in 0..ENTITIES {
        world.spawn(Script::new("it"));
    }
    for _ in 0..count / ENTITIES {
        host.tick(&mut world, 0.02);
    }
    std::process::exit(0);
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Health {
    current: f32,
}

/// Runs this line so many times, in which `self` is an entity and `h` its health.
fn read(line: &str, count: usize) {
    let mut world = World::new();
    let registry = Registry::builder().component::<Health>().build(&mut world).expect("a registry");
    let vm = vm();
    let bridge = Bridge::install(&vm, Rc::new(registry), BridgeConfig::default()).expect("a bridge");
    let entity = world.spawn(Health::default()).id();
    let text = format!("local self, n = ... local h, x = self.Health for i = 1, n do {line} end");
    let run = vm.load("it", &text).expect("a loop");
    bridge.lend(&mut world, || run.call::<()>((Handle(entity), count))).expect("it runs");
    std::process::exit(0)
}

fn raw_read(count: usize) {
    unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
        // SAFETY: called by the VM as a metamethod of the userdata below.
        unsafe {
            lua_pushnumber(L, f64::from(*lua_touserdata(L, 1).cast::<f32>()));
            1
        }
    }
    let vm = vm();
    // SAFETY: protected by mlua, which takes the one value that is left.
    let userdata: mlua::Value = unsafe {
        vm.lua()
            .exec_raw((), |L| {
                lua_newuserdata(L, size_of::<f32>()).cast::<f32>().write(1.0);
                lua_createtable(L, 0, 1);
                lua_pushcfunctiond(L, index, c"__index".as_ptr());
                lua_rawsetfield(L, -2, c"__index".as_ptr());
                lua_setmetatable(L, -2);
            })
            .expect("a userdata")
    };
    let run = vm.load("raw", "local u, n = ... local x for i = 1, n do x = u.x end").expect("a loop");
    run.call::<()>((userdata, count)).expect("it runs");
    std::process::exit(0)
}
