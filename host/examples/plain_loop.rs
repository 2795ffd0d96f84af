//! A game loop with scripts in it.
//!
//! ```sh
//! cargo run -p bluetick --example plain_loop
//! ```
#![allow(missing_docs)] // what follows is shown as it is

// --- shown in the README from here on ---
use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::{Script, ScriptHost};

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Health {
    current: f32,
    max: f32,
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut world = World::new();
    let mut host = ScriptHost::builder()
        .scripts("assets/scripts") // a folder, watched: save a file, and it runs a moment later
        .component::<Health>() // what scripts see as entity.Health
        .build(&mut world)?;
    let troll = world.spawn((Health { current: 3.0, max: 10.0 }, Script::new("troll"))).id();
    for _ in 0..600 {
        let report = host.tick(&mut world, 1.0 / 60.0); // seconds of simulated time
        for failure in &report.failures {
            eprintln!("{failure}"); // file, line, traceback, entity; all others go on
        }
        world.clear_trackers(); // bevy_ecs: what was removed in earlier frames is forgotten
    }
    println!("the troll has {} health", world.get::<Health>(troll).map_or(0.0, |health| health.current));
    Ok(())
}
