//! Rust functions that scripts call: plain ones, in modules, and such that wait (`ecs.md`).

use bevy_ecs::prelude::*;
use bluetick::ecs::{Functions, Handle, WorldAccess};
use bluetick::{Error, ErrorKind};
use bluetick_tests::{Game, Health, script};
use std::convert::Infallible;
use std::fmt;

/// An error with a source, as those of libraries are.
#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such road")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn parse(text: String) -> Result<i64, Outer> {
    text.parse().map_err(Outer)
}

fn game(body: &str) -> Game {
    let roads = Functions::new()
        .plain("parse", parse)
        .view("health", |world: &World, entity: Handle| {
            Ok::<_, Infallible>(world.get::<Health>(entity.0).map(|health| health.current))
        })
        .function("hurt", |world: &mut World, (entity, amount): (Handle, f32)| {
            let mut health = world.get_mut::<Health>(entity.0).ok_or("nobody there")?;
            health.current -= amount;
            Ok::<_, &str>(health.current)
        })
        .blocking("later", |world: &WorldAccess<'_>, n: i64| {
            world.scheduler().schedule()?;
            Ok::<_, Error>(n + 1)
        });
    let mut game = Game::build([("it", script(body))], |host| {
        host.module("roads", roads)
            .view("population", |world: &World, _: ()| {
                Ok::<_, Infallible>(
                    world.iter_entities().filter(|entity| entity.contains::<Health>()).count(),
                )
            })
            .blocking("drain", |world: &WorldAccess<'_>, (entity, times): (Handle, u32)| {
                for _ in 0..times {
                    world.with(|world| {
                        let mut health = world.get_mut::<Health>(entity.0).ok_or("nobody there")?;
                        health.current -= 1.0;
                        Ok::<_, &str>(())
                    })??;
                    world.scheduler().schedule()?;
                }
                Ok::<_, Box<dyn std::error::Error>>(times)
            })
            .blocking("greedy", |world: &WorldAccess<'_>, _: ()| {
                let never = world.scheduler().channel::<i64>();
                let inside = world.with(|_| never.receive())?;
                let kind = inside.err().map(|error| error.kind);
                // What is not possible inside is possible again afterwards.
                world.scheduler().schedule()?;
                Ok::<_, Error>(kind == Some(ErrorKind::Boundary))
            })
    });
    let entity = game.spawn("it");
    game.world.entity_mut(entity).insert(Health { current: 5.0, max: 9.0 });
    game
}

#[test]
fn functions_of_a_module_are_called_with_a_dot_and_get_what_they_ask_for() {
    let mut game = game(
        "print(roads.parse('12'), roads.health(self), roads.hurt(self, 2), self.Health.current, world:population())
         print(pcall(function() roads.parse = nil end), rawequal(roads, roads))",
    );
    game.frames(1);
    assert_eq!(game.host.take_printed()[0], "12\t5\t3\t3\t1");
}

#[test]
fn errors_carry_their_sources_and_the_name_of_the_function() {
    for (line, parts) in [
        ("roads.parse('x')", &["roads.parse: no such road: invalid digit found in string", "it.luau:1"][..]),
        ("roads.hurt(world:spawn {}, 1)", &["roads.hurt: nobody there"]),
        ("roads.hurt(3, 1)", &["roads.hurt", "expected an entity"]),
        ("world:drain(world:spawn {}, 3)", &["world:drain: nobody there"]),
        ("world:drain('x', 3)", &["world:drain", "expected an entity"]),
        ("world.drain(self, 3)", &["world:drain(...), with a colon"]),
        ("world.population()", &["world:population(...), with a colon"]),
        ("roads.later('x')", &["roads.later"]),
        ("world:poplation()", &["no method 'poplation'", "population"]),
    ] {
        let mut game =
            game(&format!("local ok, err = pcall(function() {line} end) print(err.kind, err.message)"));
        game.frames(2);
        let printed = game.printed();
        for part in parts {
            assert!(printed.contains(part), "{line}: {printed} does not say {part}");
        }
    }
}

#[test]
fn a_function_that_waits_lets_others_run_and_sees_the_world_as_they_left_it() {
    let body = r#"
        self:spawn(function() for i = 1, 3 do print("other", self.Health.current) scheduler.schedule() end end)
        print(world:drain(self, 3), self.Health.current, roads.later(4), pcall(roads.later, 5))
        print(world:greedy())
    "#;
    let mut game = game(body);
    game.frames(3);
    let printed = game.printed();
    assert!(
        printed.contains("other\t4") && printed.contains("other\t3") && printed.contains("other\t2"),
        "{printed}"
    );
    assert!(printed.contains("3\t2\t5\ttrue\t6 true"), "{printed}");
}

#[test]
fn whoever_is_killed_in_a_function_that_waits_leaves_nothing_behind() {
    let mut game = game("world:drain(self, 1000000)");
    game.frames(1);
    let entity = game.world.query_filtered::<Entity, With<Health>>().single(&game.world).unwrap();
    game.world.despawn(entity);
    game.frames(2);
    assert_eq!(game.host.vm().stats().tasklets, 0);
}
