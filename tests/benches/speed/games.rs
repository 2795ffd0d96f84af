//! Worlds whose entities all run one script.

use crate::harness::MEMORY;
use bevy_ecs::world::World;
use bluetick::{Library, Script, ScriptHost, SliceLimit};
use std::time::Duration;

/// Simulated seconds of a frame.
pub const FRAME: f64 = 0.01;

/// A world and its host.
pub struct Crowd {
    world: World,
    host: ScriptHost,
}

impl Crowd {
    /// So many entities whose `run` has this body and then waits for ever, after three frames.
    pub fn new(body: &str, entities: usize) -> Self {
        let mut world = World::new();
        // Whoever returns takes the tasklets along that it has made.
        let script =
            format!("local It = {{}} function It.run(self) {body} channel():receive() end return It");
        let mut host = ScriptHost::builder()
            .library(Library::in_memory([("it", script)]))
            .memory_limit(MEMORY)
            // A frame ends when everybody has had a turn.
            .budget(Duration::MAX)
            .slice(SliceLimit::default())
            .seed(1)
            .build(&mut world)
            .expect("a host");
        for _ in 0..entities {
            world.spawn(Script::new("it"));
        }
        for _ in 0..3 {
            let report = host.tick(&mut world, FRAME);
            assert!(report.failures.is_empty(), "{:?}", report.failures);
        }
        // What the making has left over is collected here, and in no frame that is measured.
        host.vm().lua().gc_collect().expect("collected");
        Self { world, host }
    }

    /// A frame, in which there are so many slices, or any number.
    pub fn tick(&mut self, slices: Option<usize>) {
        let report = self.host.tick(&mut self.world, FRAME);
        if let Some(slices) = slices {
            assert_eq!(report.slices, slices as u64);
        }
    }
}
