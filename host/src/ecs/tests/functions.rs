use super::*;
use std::io;

fn game() -> Game {
    let add = |builder: RegistryBuilder| {
        builder
            .function("heal", |world: &mut World, (entity, amount): (Handle, f32)| {
                let mut health = world.get_mut::<Health>(entity.0).ok_or("it has no Health")?;
                health.current += amount;
                Ok::<_, Box<dyn std::error::Error>>(health.current)
            })
            .function("youngest", |world: &mut World, ()| {
                let entity = world.query_filtered::<Entity, With<Health>>().iter(world).max();
                Ok::<_, io::Error>(entity.map(Handle))
            })
            .function("echo", |_: &mut World, value: Value| Ok::<_, io::Error>(value))
            .function("broken", |_: &mut World, ()| {
                let inner = io::Error::other("the disk is full");
                Err::<(), _>(Box::<dyn std::error::Error>::from(Outer(inner)))
            })
            .function("panics", |_: &mut World, ()| -> Result<(), io::Error> { panic!("oh no") })
            .function("call", |_: &mut World, f: mlua::Function| f.call::<mlua::Value>(()))
            .function("swap", |world: &mut World, ()| {
                *world = World::new();
                Ok::<_, io::Error>(())
            })
    };
    Game::with(add, true)
}

#[derive(Debug, thiserror::Error)]
#[error("could not save")]
struct Outer(#[source] io::Error);

#[test]
fn a_function_gets_the_world_and_typed_arguments() {
    let mut game = game();
    let e = game.world.spawn(Health::default()).id();
    game.run::<()>(
        e,
        "assert(world:heal(e, 3) == 3 and e.Health.current == 3 and world:youngest() == e)
         local t = world:echo({ 1, { a = vector.one, b = e, c = e.Health } })
         assert(t[1] == 1 and t[2].a == vector.one and t[2].b == e and t[2].c.current == 3)",
    );
}

#[test]
fn an_error_of_a_function_has_its_sources_and_place() {
    let mut game = game();
    let e = game.world.spawn_empty().id();
    game.fails(e, "world:broken()", "type", &["test:1: world:broken: could not save: the disk is full"]);
    game.fails(e, "world:heal(e, 1)", "type", &["world:heal: it has no Health"]);
    game.fails(e, "world:heal(1, 1)", "type", &["world:heal: ", "expected an entity, got integer"]);
    game.fails(e, "world:heal(e, 'x')", "type", &["world:heal: "]);
    game.fails(e, "world:heal()", "type", &["expected an entity, got nil"]);
    game.fails(e, "world.heal(e, 1)", "type", &["with a colon"]);
    game.fails(e, "world:echo(print)", "type", &["a function is no plain value"]);
    game.fails(e, "world:haal(e)", "type", &["did you mean 'heal'?"]);
}

#[test]
fn a_panic_of_a_function_is_an_error_of_the_script() {
    let mut game = game();
    let e = game.world.spawn_empty().id();
    game.fails(e, "world:panics()", "type", &["world:panics: Rust code panicked: oh no"]);
    game.run::<()>(e, "assert(e.alive and world:count() == 1)");
}

#[test]
fn a_script_that_a_function_calls_does_not_get_the_world_a_second_time() {
    let mut game = game();
    let e = game.world.spawn(Health::default()).id();
    let cant = "the world can't be used by a script which Rust code calls";
    game.fails(e, "world:call(function() return e.Health end)", "type", &[cant]);
    game.fails(e, "world:call(function() return world:echo(1) end)", "type", &[cant]);
    game.run::<()>(e, "assert(world:call(function() return e.alive end) == false) assert(e.alive)");
}

#[test]
fn a_world_that_is_swapped_is_refused() {
    let mut game = game();
    let e = game.world.spawn(Health::default()).id();
    game.fails(e, "world:swap()", "type", &["the world was swapped for another one"]);
    let error = "the world can only be used while the game runs a frame";
    let run = |game: &mut Game| {
        let script = "local ok, err = pcall(function() return world:swap() end)
             local ok, err = pcall(function() return e.Health end) return err.message";
        let Game { vm, .. } = game;
        vm.lua().load(script).eval::<String>().unwrap()
    };
    assert!(run(&mut game).contains(error));
}

#[test]
fn an_opaque_type_is_used_by_its_conversion() {
    #[derive(Reflect, Clone, Default, Debug, PartialEq)]
    #[reflect(opaque)]
    #[reflect(Default)]
    struct Celsius(f64);

    #[derive(Component, Reflect, Default)]
    #[reflect(Default)]
    struct Oven {
        heat: Celsius,
        secret: Secret,
    }

    #[derive(Reflect, Clone, Default)]
    #[reflect(opaque)]
    #[reflect(Default)]
    struct Secret;

    let add = |builder: RegistryBuilder| {
        builder.component::<Oven>().conversion::<Celsius>(
            |celsius| Value::Number(celsius.0),
            |value| match value {
                Value::Number(number) => Ok(Celsius(*number)),
                other => Err(format!("expected degrees, got {other}")),
            },
        )
    };
    let mut game = Game::with(add, true);
    let e = game.world.spawn(Oven::default()).id();
    game.run::<()>(
        e,
        "e.Oven.heat = 200 assert(e.Oven.heat == 200)
         e.Oven = { heat = 180 } assert(e:get('Oven').heat == 180 and e:get('Oven').secret == nil)",
    );
    game.fails(e, "e.Oven.heat = 'hot'", "type", &["Oven.heat: expected degrees, got \"hot\""]);
    game.fails(e, "return e.Oven.secret", "type", &["Oven.secret: Secret is opaque"]);
    game.fails(e, "e.Oven.secret = 1", "type", &["Oven.secret: Secret is opaque"]);
}

#[test]
fn a_component_that_can_not_be_made_up_is_found_by_reflection() {
    #[derive(Reflect, Clone)]
    #[reflect(opaque)]
    struct Opaque;

    #[derive(Component, Reflect)]
    struct Odd {
        opaque: Opaque,
        count: u32,
        list: Vec<u8>,
    }

    let mut game = Game::with(|builder| builder.component::<Odd>(), true);
    let e = game.world.spawn(Odd { opaque: Opaque, count: 1, list: vec![] }).id();
    game.run::<()>(
        e,
        "e.Odd.count += 1 e.Odd.list[1] = 7 assert(e.Odd.count == 2 and e.Odd.list[1] == 7)
         for entity, odd in world:query('Odd') do assert(odd.count == 2) end",
    );
    game.fails(e, "e.Odd.count = -1", "type", &["Odd.count: expected a whole number"]);
    assert_eq!(game.world.get::<Odd>(e).unwrap().list, [7]);
}
