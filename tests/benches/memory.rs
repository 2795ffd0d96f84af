//! What a tasklet that waits takes of memory, with all records that there are of it.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench memory
//! ```
//!
//! Each is measured in a process of its own, which makes them all and tells how far its resident memory has grown.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

mod harness;
mod peers;

use bevy_ecs::world::World;
use bluetick::{Library, Script, ScriptHost, SliceLimit};
use bluetick_scripting::{Error, OwnerId, VmConfig};
use harness::{Against, Kind, MEMORY, Measured, Options, RawCoroutines, Report};
use std::process::{Command, ExitCode};
use std::time::Duration;

const MANY: usize = 1_000_000;
const MANY_RUST: usize = 100_000;

const PAGE: f64 = 4096.0;

/// Makes so many, and leaks them.
type Make = fn(usize);

/// How each is asked for on the command line of the process that measures it.
const MADE: [(&str, Make); 6] = [
    ("luau", luau),
    ("asleep", asleep),
    ("raw", raw),
    ("mlua", |count| std::mem::forget(peers::mlua::started(count))),
    ("rust", rust),
    ("tokio", |count| std::mem::forget(peers::tokio::waiting(count))),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, mode, what, count, ..] = &words[..]
        && mode == "--make"
    {
        let (_, make) = MADE.iter().find(|(name, _)| name == what).expect("something of the table");
        let count = count.parse().expect("a number");
        let before = resident();
        make(count);
        println!("{}", (resident() - before) / count as f64);
        return ExitCode::SUCCESS;
    }
    let options = Options::from_command_line();
    let mut report = Report::new("memory", &options);
    if resident() == 0.0 {
        Report::skip("memory: this system does not tell how much of it is resident".into());
        return report.finish();
    }
    for (what, row) in [
        ("Luau tasklet that waits, 1 000 000 of them", luau_row as fn() -> Measured),
        ("Luau tasklet that sleeps, 1 000 000 of them", asleep_row),
        ("Rust tasklet that waits, 100 000 of them", rust_row),
    ] {
        if options.asks_for(what) {
            report.add(Measured { what: what.into(), ..row() });
        }
    }
    report.finish()
}

fn row(ours: f64, most: Option<f64>, against: Vec<Against>) -> Measured {
    Measured { what: String::new(), unit: "B", ours, most, against, rounds: 1 }
}

fn luau_row() -> Measured {
    let ours = made("luau", MANY);
    let mut against = vec![
        Against::once(Kind::Limit, "raw coroutine, started", ours, made("raw", MANY), Some(1.15)),
        // Its handles are references on one stack, which has room for a million at most.
        Against::once(Kind::Peer, "mlua Thread, started", ours, made("mlua", 990_000), None),
    ];
    against.extend(without_vm(ours, MANY));
    row(ours, None, against)
}

fn asleep_row() -> Measured {
    let ours = made("asleep", MANY);
    let limit = Against::once(Kind::Limit, "raw coroutine, started", ours, made("raw", MANY), None);
    row(ours, None, vec![limit])
}

fn rust_row() -> Measured {
    let ours = made("rust", MANY_RUST);
    let mut against = vec![Against::once(Kind::Limit, "one page of a stack", ours, PAGE, None)];
    against.extend(without_vm(ours, MANY_RUST));
    row(ours, Some(2.0 * PAGE + 256.0), against)
}

/// Goroutines and tasks, with the same three numbers that they need after the wait.
fn without_vm(ours: f64, count: usize) -> Vec<Against> {
    let tokio = Against::once(Kind::Peer, "tokio task", ours, made("tokio", count), None);
    let go = peers::go::program()
        .map(|go| Against::once(Kind::Peer, go.name(), ours, go.ask(&format!("memory {count}")), None));
    std::iter::once(tokio).chain(go).collect()
}

/// Bytes of each of so many, made by another process.
fn made(what: &str, count: usize) -> f64 {
    let program = std::env::current_exe().expect("this very program");
    let output = Command::new(program).args(["--make", what, &count.to_string()]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().unwrap_or_else(|_| panic!("{what}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Bytes of memory that the process has, where the system tells; else 0.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * PAGE
}

const BODY: &str = "local wait, a, b, c = ... wait() return a + b + c";

fn luau(count: usize) {
    let vm = harness::vm();
    let text = "local never, a, b, c = ... never:receive() return a + b + c";
    let body = vm.load("body", text).expect("a body");
    let make: mlua::Function = vm.lua().globals().get("channel").expect("channels");
    let never: mlua::AnyUserData = make.call(()).expect("a channel");
    for i in 0..count {
        vm.spawn(&body, (&never, i, i + 1, i + 2), OwnerId::default()).expect("a tasklet");
    }
    vm.run_ready(|| true);
    vm.lua().gc_collect().expect("collected");
    assert_eq!(vm.stats().waiting, count);
    std::mem::forget(vm);
}

fn asleep(count: usize) {
    let script = format!(
        "local It = {{}}
         function It.run(self)
             local function body(a, b, c) synchro.sleep(80000 + a / 1000) return a + b + c end
             for i = 1, {count} do tasklet(body)(i, i + 1, i + 2) end
             channel():receive()
         end
         return It"
    );
    let mut world = World::new();
    let mut host = ScriptHost::builder()
        .library(Library::in_memory([("it", script)]))
        .memory_limit(MEMORY)
        .budget(Duration::MAX)
        .slice(SliceLimit::default())
        .build(&mut world)
        .expect("a host");
    world.spawn(Script::new("it"));
    for _ in 0..3 {
        let report = host.tick(&mut world, 0.01);
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
    }
    host.vm().lua().gc_collect().expect("collected");
    assert_eq!(host.vm().stats().parked, count);
    std::mem::forget((world, host));
}

fn raw(count: usize) {
    let raw = RawCoroutines::with(count, BODY, |_| mlua::Value::Integer(1));
    raw.vm().lua().gc_collect().expect("collected");
    std::mem::forget(raw);
}

fn rust(count: usize) {
    let config = VmConfig { stack_limit: count, ..VmConfig::default() };
    let vm = bluetick_scripting::Vm::new(config).expect("a VM");
    let never = vm.scheduler().channel::<u64>();
    for i in 0..count as u64 {
        let inbox = never.clone();
        let body = move || -> Result<(), Error> {
            let numbers = std::hint::black_box([i, i + 1, i + 2]);
            let value = inbox.receive()?;
            std::hint::black_box(numbers.iter().sum::<u64>() + value);
            Ok(())
        };
        vm.scheduler().spawn(body).expect("a tasklet");
    }
    vm.run_ready(|| true);
    assert_eq!(vm.stats().waiting, count);
    std::mem::forget(vm);
}
