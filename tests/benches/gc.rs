//! What the garbage collector takes of frames.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench gc
//! ```
//!
//! Tasklets that sleep, and some that make garbage in every frame: how long the collector takes of each frame,
//! and how far memory grows beyond what is live.

use bevy_ecs::world::World;
use bluetick::{Library, Script, ScriptHost};

const FRAMES: usize = 2_000;

fn main() {
    println!("GC time of {FRAMES} frames, ms");
    println!("{:<44} {:>7} {:>7} {:>7} {:>9} {:>8}", "what", "mean", "p99", "max", "live MB", "peak MB");
    for (sleepers, makers, tables) in
        [(10_000, 1, 1_000), (100_000, 1, 1_000), (100_000, 1, 10_000), (100_000, 1_000, 10)]
    {
        measure(sleepers, makers, tables);
    }
}

fn measure(sleepers: usize, makers: usize, tables: usize) {
    let maker = format!(
        "local M = {{}} function M.run(self) while true do
            local last for i = 1, {tables} do last = {{ i, last and i or nil, name = i }} end
            synchro.yield() end end return M"
    );
    let sleeper = "local M = {} function M.run(self) local mine = { 1, 2, 3 } synchro.sleep(80000) return mine end return M";
    let library = Library::in_memory([("maker", &*maker), ("sleeper", sleeper)]);
    let mut world = World::new();
    let mut host = ScriptHost::builder().library(library).build(&mut world).expect("a host");
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
    for _ in 0..FRAMES {
        times.push(host.tick(&mut world, 0.001).gc_time.as_secs_f64() * 1e3);
        peak = peak.max(host.vm().memory());
    }
    times.sort_by(f64::total_cmp);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    let (p99, max) = (times[times.len() * 99 / 100], times[times.len() - 1]);
    let what = format!("{sleepers} asleep, {makers} making {tables} tables each");
    let mb = |bytes: usize| bytes as f64 / 1e6;
    println!("{what:<44} {mean:>7.3} {p99:>7.3} {max:>7.3} {:>9.1} {:>8.1}", mb(live), mb(peak));
}
