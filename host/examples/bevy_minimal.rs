//! The smallest Bevy app with scripts in it.
//!
//! ```sh
//! cargo run -p bluetick --features bevy --example bevy_minimal
//! ```

use bevy_app::{AppExit, ScheduleRunnerPlugin, prelude::*};
use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bevy_time::{TimePlugin, TimeUpdateStrategy};
use bluetick::{BluetickPlugin, LastFrame, Script, ScriptFailed};
use std::time::Duration;

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Health {
    current: f32,
    max: f32,
}

fn main() -> AppExit {
    let frame = Duration::from_secs_f64(1.0 / 60.0);
    App::new()
        // A game has `DefaultPlugins` here, or `MinimalPlugins`; this one has no window and no waiting.
        .add_plugins((TimePlugin, ScheduleRunnerPlugin::run_loop(Duration::ZERO)))
        .insert_resource(TimeUpdateStrategy::ManualDuration(frame))
        // `assets/scripts`; the assets of this repository are beside the crate, not in it.
        .add_plugins(BluetickPlugin::new("scripts").asset_root("../assets").component::<Health>())
        .add_systems(Startup, |mut commands: Commands| {
            commands.spawn((Health { current: 3.0, max: 10.0 }, Script::new("troll")));
        })
        .add_systems(Last, look)
        .run()
}

/// Tells what became of it after ten seconds.
fn look(
    frame: Res<LastFrame>,
    trolls: Query<&Health, With<Script>>,
    mut failures: MessageReader<ScriptFailed>,
    mut exit: MessageWriter<AppExit>,
) {
    for ScriptFailed(failure) in failures.read() {
        eprintln!("{failure}"); // file, line, traceback, entity; all others go on
        exit.write(AppExit::error());
    }
    if frame.0.frame == 600 {
        for troll in &trolls {
            println!("after {:.1} s the troll has {} health", frame.0.sim_time, troll.current);
        }
        exit.write(AppExit::Success);
    }
}
