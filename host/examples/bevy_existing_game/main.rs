//! Adding scripts to a Bevy game that is there already.
//!
//! `game` is that game: it knows nothing of scripts. `scripts` is all that is added.
//!
//! ```sh
//! cargo run -p bluetick --features bevy --example bevy_existing_game
//! ```

use bevy_app::{AppExit, ScheduleRunnerPlugin, prelude::*};
use bevy_ecs::prelude::*;
use bevy_time::{TimePlugin, TimeUpdateStrategy};
use std::time::Duration;

/// The game as it was.
mod game {
    use bevy_app::prelude::*;
    use bevy_ecs::prelude::*;
    use bevy_reflect::prelude::*;
    use bevy_time::Time;

    #[derive(Component, Reflect, Default, Clone, Copy)]
    #[reflect(Default)]
    pub struct Place {
        pub x: f32,
    }

    #[derive(Component, Reflect, Default)]
    #[reflect(Default)]
    pub struct Intruder {
        pub health: f32,
        pub speed: f32,
    }

    #[derive(Message, Reflect)]
    pub struct Damage {
        pub to: Entity,
        pub amount: f32,
    }

    #[derive(Resource, Reflect, Default)]
    #[reflect(Default)]
    pub struct Score {
        pub fallen: u32,
        pub arrived: u32,
    }

    #[derive(Resource, Default, PartialEq, Eq)]
    pub struct Paused(pub bool);

    #[derive(SystemSet, Clone, Debug, PartialEq, Eq, Hash)]
    pub struct Moving;

    #[derive(SystemSet, Clone, Debug, PartialEq, Eq, Hash)]
    pub struct Fighting;

    pub fn plugin(app: &mut App) {
        app.add_message::<Damage>()
            .init_resource::<Score>()
            .init_resource::<Paused>()
            .configure_sets(Update, (Moving, Fighting).chain().run_if(|paused: Res<Paused>| !paused.0))
            .add_systems(Startup, spawn)
            .add_systems(Update, (walk.in_set(Moving), hurt.in_set(Fighting)));
    }

    fn spawn(mut commands: Commands) {
        for number in 0..12u8 {
            let place = Place { x: -10.0 - 3.0 * f32::from(number) };
            commands.spawn((
                Name::new(format!("intruder {number}")),
                place,
                Intruder { health: 10.0, speed: 3.0 },
            ));
        }
    }

    fn walk(
        mut commands: Commands,
        time: Res<Time>,
        mut score: ResMut<Score>,
        mut intruders: Query<(Entity, &mut Place, &Intruder)>,
    ) {
        for (entity, mut place, intruder) in &mut intruders {
            place.x += intruder.speed * time.delta_secs();
            if place.x > 10.0 {
                score.arrived += 1;
                commands.entity(entity).remove::<Place>();
            }
        }
    }

    fn hurt(mut commands: Commands, mut hits: MessageReader<Damage>, mut intruders: Query<&mut Intruder>) {
        for hit in hits.read() {
            if let Ok(mut intruder) = intruders.get_mut(hit.to) {
                intruder.health -= hit.amount;
                if intruder.health <= 0.0 {
                    commands.entity(hit.to).despawn();
                }
            }
        }
    }
}

/// All that scripts need.
mod scripts {
    use crate::game::{Damage, Fighting, Intruder, Moving, Paused, Place, Score};
    use bevy_app::prelude::*;
    use bevy_ecs::prelude::*;
    use bluetick::ecs::Handle;
    use bluetick::{BluetickPlugin, Script, ScriptFailed, ScriptSystems};
    use std::convert::Infallible;

    pub fn plugin(app: &mut App) {
        app.add_plugins(
            BluetickPlugin::new("scripts")
                .asset_root("examples/bevy_existing_game") // most games have `assets`, and leave this out
                .component::<Place>()
                .component::<Intruder>()
                .resource::<Score>()
                .message::<Damage>()
                .function("intruder_near", intruder_near),
        )
        // Scripts see where everybody has gone, and what they do to others counts in the same frame.
        .configure_sets(
            Update,
            ScriptSystems.after(Moving).before(Fighting).run_if(|paused: Res<Paused>| !paused.0),
        )
        .add_systems(Startup, |mut commands: Commands| {
            commands.spawn((Name::new("sentry"), Place { x: 0.0 }, Script::new("sentry")));
        })
        .add_systems(Last, |mut failures: MessageReader<ScriptFailed>| {
            for ScriptFailed(failure) in failures.read() {
                eprintln!("{failure}");
            }
        });
    }

    /// `world:intruder_near(entity, range)`: the nearest intruder within the range, or nil.
    fn intruder_near(world: &mut World, (from, range): (Handle, f32)) -> Result<Option<Handle>, Infallible> {
        let Some(&Place { x: from }) = world.get::<Place>(from.0) else { return Ok(None) };
        let mut intruders = world.query_filtered::<(Entity, &Place), With<Intruder>>();
        let near = intruders
            .iter(world)
            .map(|(entity, place)| (entity, (place.x - from).abs()))
            .filter(|&(_, distance)| distance <= range)
            .min_by(|(_, a), (_, b)| a.total_cmp(b));
        Ok(near.map(|(entity, _)| Handle(entity)))
    }
}

fn main() -> AppExit {
    let frame = Duration::from_secs_f64(1.0 / 60.0);
    App::new()
        // Without a window, and without waiting for the next frame.
        .add_plugins((TimePlugin, ScheduleRunnerPlugin::run_loop(Duration::ZERO)))
        .insert_resource(TimeUpdateStrategy::ManualDuration(frame))
        .add_plugins((game::plugin, scripts::plugin))
        .add_systems(Last, end)
        .run()
}

/// After twenty seconds, or when scripts have done nothing by then.
fn end(mut frames: Local<u32>, score: Res<game::Score>, mut exit: MessageWriter<AppExit>) {
    *frames += 1;
    if *frames == 20 * 60 {
        println!("{} intruders fell, {} got through", score.fallen, score.arrived);
        exit.write(if score.fallen > 0 { AppExit::Success } else { AppExit::error() });
    }
}
