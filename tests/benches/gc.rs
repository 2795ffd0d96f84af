//! What the garbage collector takes of frames.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench gc
//! ```
//!
//! Tasklets that sleep, and some that make garbage in every frame: how long the collector takes of each frame,
//! and how far memory grows beyond what is live. Times are those that this process has had a processor; the host paces
//! by them as well.

mod harness;

use bevy_ecs::world::World;
use bluetick::{Library, Script, ScriptHost};
use harness::{Measured, Options, Report, clock, quantile};
use std::process::ExitCode;
use std::time::Duration;

/// No frame is to give the collector more than this, in nanoseconds.
const MOST: f64 = 4e6;

fn main() -> ExitCode {
    let options = Options::from_command_line();
    let mut report = Report::new("gc", &options);
    for (sleepers, makers, tables) in [
        (10_000, 1, 1_000),
        (100_000, 1, 1_000),
        (100_000, 1, 10_000),
        (100_000, 1_000, 10),
        (100_000, 10_000, 1),
    ] {
        let what = format!("longest GC of a frame, {sleepers} asleep, {makers} making {tables} tables each");
        if options.asks_for(&what) {
            report.add(measure(what, sleepers, makers, tables, &options));
        }
    }
    report.finish()
}

fn measure(what: String, sleepers: usize, makers: usize, tables: usize, options: &Options) -> Measured {
    let frames = if options.quick { 500 } else { 2_000 };
    let maker = format!(
        "local M = {{}} function M.run(self) while true do
            local last for i = 1, {tables} do last = {{ i, last and i or nil, name = i }} end
            synchro.yield() end end return M"
    );
    let sleeper = "local M = {} function M.run(self) local mine = { 1, 2, 3 } synchro.sleep(80000) return mine end return M";
    let library = Library::in_memory([("maker", &*maker), ("sleeper", sleeper)]);
    let mut world = World::new();
    let time = || Duration::from_nanos(clock::nanoseconds() as u64);
    let mut host =
        ScriptHost::builder().library(library).time_source(time).build(&mut world).expect("a host");
    for _ in 0..sleepers {
        world.spawn(Script::new("sleeper"));
    }
    for _ in 0..makers {
        world.spawn(Script::new("maker"));
    }
    for _ in 0..20 {
        host.tick(&mut world, 0.001);
    }
    host.vm().lua().gc_collect().expect("a cycle");
    let live = host.vm().memory();
    let (mut times, mut peak) = (Vec::new(), live);
    for _ in 0..frames {
        times.push(host.tick(&mut world, 0.001).gc_time.as_secs_f64() * 1e9);
        peak = peak.max(host.vm().memory());
    }
    let mean = times.iter().sum::<f64>() / frames as f64 / 1e6;
    let longest = quantile(&mut times, 1.0);
    let most_but_few = quantile(&mut times, 0.99) / 1e6;
    let mb = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "\n    of {frames} frames: mean {mean:.3} ms, 99 % below {most_but_few:.3} ms, live {:.0} MB, at most {:.0} MB",
        mb(live),
        mb(peak)
    );
    Measured { what, unit: "ns", ours: longest, most: Some(MOST), against: Vec::new(), rounds: 1 }
}
