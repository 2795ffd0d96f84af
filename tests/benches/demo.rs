//! A frame of the demo: the scripts of `assets`, in the world that `bluetick run` plays.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench demo
//! ```
//!
//! The larger one is many valleys side by side: each has the creatures of the scene that there are several of, on
//! ground of its own, so that nobody has more neighbours than in the demo.

mod harness;

use bevy_ecs::prelude::*;
use bluetick::{Library, Scene, ScriptHost};
use bluetick_tools::arena::{self, Arena, Said, Transform};
use bluetick_tools::session::TICK;
use glam::Vec3;
use harness::{MEMORY, Row};
use std::process::ExitCode;
use std::time::Duration;

/// Frames that are played before any is measured: everybody has found its place.
const BEFORE: usize = 120;

fn main() -> ExitCode {
    harness::run(
        "demo",
        &[
            ("frame of the demo, 300 creatures", || frames(1)),
            ("frame of the demo, 10 000 creatures", || frames(33)),
        ],
    )
}

/// Frames of so many valleys, one at a time.
fn frames(valleys: usize) -> Row {
    let mut game = Game::new(valleys);
    for _ in 0..BEFORE {
        game.frame();
    }
    Row::new(1, move || game.frame())
}

struct Game {
    world: World,
    host: ScriptHost,
}

impl Game {
    fn new(valleys: usize) -> Self {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets");
        let library =
            Library::builder().scripts(format!("{demo}/scripts")).scenes(format!("{demo}/scenes")).open();
        let library = library.expect("the demo");
        let scene = library.scene("valley").expect("the demo's scene");
        let mut world = World::new();
        arena::set_up(&mut world);
        let builder = ScriptHost::builder()
            .library(library)
            .watch(false)
            .seed(1)
            .memory_limit(MEMORY)
            .budget(Duration::MAX);
        let host = arena::register(builder, &Said::default()).build(&mut world).expect("a host");

        let size = world.resource::<Arena>().max;
        let in_a_row = (valleys as f32).sqrt().ceil() as usize;
        for valley in 0..valleys {
            let text = if valley == 0 { scene.text.to_string() } else { only_crowds(&scene.text) };
            let scene = Scene::parse(&text, "valley").expect("a scene");
            let spawned = scene.spawn(&mut world, host.registry(), valley as u64).expect("spawned");
            let place = Vec3::new((valley % in_a_row) as f32, (valley / in_a_row) as f32, 0.0) * size;
            for entity in spawned {
                if let Some(mut transform) = world.get_mut::<Transform>(entity) {
                    transform.translation += place;
                }
            }
        }
        let rows = valleys.div_ceil(in_a_row);
        world.resource_mut::<Arena>().max = size * Vec3::new(in_a_row as f32, rows as f32, 1.0);
        Self { world, host }
    }

    fn frame(&mut self) {
        let report = arena::step(&mut self.world, &mut self.host, TICK);
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
        self.host.take_printed();
    }
}

/// What a scene has several of.
fn only_crowds(scene: &str) -> String {
    let entities = scene.split("[[entity]]").skip(1).filter(|entity| entity.contains("count ="));
    entities.map(|entity| format!("[[entity]]{entity}")).collect()
}
