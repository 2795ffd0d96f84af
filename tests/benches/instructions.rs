//! Instructions per operation, counted under valgrind: unlike times, they are the same on every run.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench instructions                # the table, beside the baseline
//! cargo bench -p bluetick-tests --bench instructions -- --check     # fails if one grew by more than 10 %
//! cargo bench -p bluetick-tests --bench instructions -- --write     # the table becomes the baseline
//! ```
//!
//! Each operation runs in a process of its own, few times and many times; the difference is what the
//! further ones took. `--run OPERATION COUNT` runs one, for a profiler.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

use bevy_ecs::prelude::*;
use bluetick::{Library, Script, ScriptHost};
use bluetick_scripting::raw::*;
use bluetick_scripting::{OwnerId, Vm, VmConfig};
use corosensei::Coroutine;
use std::ffi::c_int;
use std::process::{Command, ExitCode};
use std::rc::Rc;

/// Where the counts of the last accepted change are kept: `operation<TAB>instructions`.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.tsv");

/// By how much an operation may grow.
const TOLERANCE: f64 = 1.10;

/// Operations in the two runs of each.
const FEW: usize = 2_000;
const MANY: usize = 12_000;

type Operation = (&'static str, fn(usize));

/// Those that begin with "raw" are the limits of the ones above or below them.
const OPERATIONS: [Operation; 12] = [
    ("raw: resume and yield of a Luau coroutine", raw_yield),
    ("schedule, Luau", |n| scheduled(SCHEDULE, 2, n)),
    ("hand-over on a channel, Luau to Luau", |n| scheduled(HAND_OVER, 1, 2 * n)),
    ("raw: resume and suspend of a corosensei coroutine", raw_suspend),
    ("schedule, Rust", rust_schedule),
    ("hand-over on a channel, Rust to Rust", rust_hand_over),
    ("hand-over on a channel, Luau to Rust", mixed_hand_over),
    ("raw: new coroutine and two resumes", raw_spawn),
    ("spawn, one switch, end, Luau", |n| scheduled(SPAWN, 1, 3 * n)),
    ("spawn, block, kill, Luau", |n| scheduled(KILL, 1, 4 * n)),
    ("spawn, one switch, end, Rust", rust_spawn),
    ("sleep until the next frame, with its share of the tick", sleep),
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
            let found = OPERATIONS.iter().find(|(operation, _)| *operation == name);
            let (_, operation) = found.expect("an operation of the table");
            operation(count.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        ["--write"] => table(true, false),
        ["--check"] => table(false, true),
        [] => table(false, false),
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
    let known = |name: &str| -> Option<f64> {
        baseline
            .lines()
            .find_map(|line| line.split_once('\t').filter(|(known, _)| *known == name)?.1.parse().ok())
    };
    let (mut lines, mut grown) = (String::new(), 0);
    println!("{:<58} {:>9} {:>9}", "operation", "now", "baseline");
    for (name, _) in OPERATIONS {
        let now = (collected(name, MANY) - collected(name, FEW)) as f64 / (MANY - FEW) as f64;
        let before = known(name);
        let mark = match before {
            Some(before) if now > before * TOLERANCE => {
                grown += 1;
                "  grown"
            }
            _ => "",
        };
        let before = before.map_or("-".into(), |before| format!("{before:.0}"));
        println!("{name:<58} {now:>9.0} {before:>9}{mark}");
        lines += &format!("{name}\t{now:.0}\n");
    }
    if write {
        std::fs::write(BASELINE, lines).expect("the baseline can be written");
    }
    if check && grown > 0 {
        eprintln!("{grown} operations take over 10 % more instructions than {BASELINE} says");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
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
    vm.lua().globals().set("c", &channel).expect("a channel");
    let receive = move || -> Result<(), bluetick_scripting::Error> {
        loop {
            std::hint::black_box(channel.receive()?);
        }
    };
    vm.scheduler().spawn(receive).expect("a tasklet");
    let body = vm.load("body", "while true do c:send(1) end").expect("a body");
    vm.spawn(&body, (), OwnerId::default()).expect("a tasklet");
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

fn sleep(count: usize) {
    const ENTITIES: usize = 100;
    let mut world = World::new();
    let text = "local It = {} function It.run(self) while true do synchro.sleep(0.01) end end return It";
    let library = Library::in_memory([("it", text)]);
    let mut host = ScriptHost::builder().library(library).build(&mut world).expect("a host");
    for _ in 0..ENTITIES {
        world.spawn(Script::new("it"));
    }
    for _ in 0..count / ENTITIES {
        host.tick(&mut world, 0.02);
    }
    std::process::exit(0);
}
