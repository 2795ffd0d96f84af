//! Scripts that are paused, that start again by themselves, and that end with their parents (`ecs.md`, Lives).

use bevy_ecs::hierarchy::ChildOf;
use bevy_ecs::prelude::*;
use bluetick::{Dormant, Restart, Script, ScriptStatus};
use bluetick_tests::{Game, script};

const COUNTER: &str = "while true do self.state.n = (self.state.n or 0) + 1 synchro.yield() end";

fn count(game: &Game, entity: Entity) -> u32 {
    game.host.state(entity).unwrap().get::<Option<u32>>("n").unwrap().unwrap_or(0)
}

#[test]
fn a_dormant_script_keeps_its_place_and_goes_on_from_there() {
    let mut game = Game::new([("counter", script(COUNTER))]);
    let entity = game.spawn("counter");
    let other = game.spawn("counter");
    game.frames(3);
    game.world.entity_mut(entity).insert(Dormant::all());
    game.frames(5);
    assert_eq!((count(&game, entity), count(&game, other)), (3, 8));
    assert_eq!(game.status(entity), ScriptStatus::Running);
    game.world.entity_mut(entity).remove::<Dormant>();
    game.frames(2);
    assert_eq!((count(&game, entity), count(&game, other)), (5, 10));
}

#[test]
fn a_dormant_script_gets_what_it_was_sent_and_overslept_when_it_wakes() {
    let body = r#"
        self:spawn(function() synchro.sleep(0.5) print("slept", clock.sim()) end)
        self:spawn(function() print("changed", self:changed("Health"), clock.sim()) end)
        self:spawn(function() for word in self.inbox do print(word, clock.sim()) end end)
        synchro.sleep(100)
    "#;
    let mut game = Game::new([("it", script(body))]);
    let entity = game.world.spawn((Script::new("it"), bluetick_tests::Health::default())).id();
    game.frames(1);
    game.world.entity_mut(entity).insert(Dormant::all());
    game.frames(1);
    game.host.send(entity, "one").unwrap();
    game.host.send(entity, "two").unwrap();
    game.world.get_mut::<bluetick_tests::Health>(entity).unwrap().current = 1.0;
    game.frames(6);
    assert_eq!(game.printed(), "");
    game.world.entity_mut(entity).remove::<Dormant>();
    game.frames(1);
    assert_eq!(game.printed(), "slept\t2.25 changed\tHealth\t2.25 one\t2.25 two\t2.25");
}

#[test]
fn scripts_switch_each_other_on_and_off_at_once() {
    let switcher = r#"
        local other = world:named("other")
        print(other.enabled)
        other.enabled = false
        print(other.enabled)
        synchro.sleep(1)
        other.enabled = true
        local ok, err = pcall(function() other.enabled = 3 end)
        print(other.enabled, err.kind)
    "#;
    let mut game = Game::new([("counter", script(COUNTER)), ("switcher", script(switcher))]);
    game.spawn("switcher");
    let other = game.world.spawn((Name::new("other"), Script::new("counter"))).id();
    game.frames(1);
    // It was queued for its first turn already.
    assert_eq!(count(&game, other), 0);
    game.frames(3);
    assert_eq!(count(&game, other), 0);
    assert_eq!(game.printed(), "true false");
    game.frames(4);
    assert_eq!(game.printed(), "true\ttype");
    assert_eq!(count(&game, other), 4);
}

#[test]
fn a_script_that_switches_itself_off_stops_at_its_next_wait() {
    let body = "self.enabled = false print('still') synchro.yield() print('again')";
    let mut game = Game::new([("it", script(body))]);
    let entity = game.spawn("it");
    game.frames(3);
    assert_eq!(game.printed(), "still");
    game.world.entity_mut(entity).remove::<Dormant>();
    game.frames(1);
    assert_eq!(game.printed(), "again");
}

#[test]
fn one_of_several_scripts_can_be_dormant_and_new_tasklets_of_it_are_too() {
    let a = "while true do print('a') synchro.yield() end";
    let b = "while true do print('b') synchro.yield() end";
    let mut game = Game::new([("a", script(a)), ("b", script(b))]);
    let entity = game.world.spawn((Script::many(["a", "b"]), Dormant::only(["a"]))).id();
    game.frames(2);
    assert_eq!(game.printed(), "b b");
    game.world.entity_mut(entity).insert(Dormant::only(["b"]));
    game.frames(2);
    assert_eq!(game.printed(), "a a");
    game.world.entity_mut(entity).insert(Dormant::all());
    let spawner = "world:entity(\"ID\"):spawn(function() print('child') end)";
    game.save("spawner", script(&spawner.replace("ID", &entity.to_string())));
    game.spawn("spawner");
    game.frames(3);
    assert_eq!(game.printed(), "");
    game.world.entity_mut(entity).remove::<Dormant>();
    game.frames(1);
    assert_eq!(game.printed(), "a child b");
}

#[test]
fn dormant_scripts_end_with_their_entity_and_run_what_they_have_deferred() {
    let body = "scheduler.defer(function() print('out', self.alive) end) while true do synchro.yield() end";
    let mut game = Game::new([("it", script(body))]);
    let entity = game.spawn("it");
    game.frames(2);
    game.world.entity_mut(entity).insert(Dormant::all());
    game.frames(2);
    game.world.despawn(entity);
    game.frames(1);
    assert_eq!(game.printed(), "out\tfalse");
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn children_end_with_their_parent_whoever_despawns_it_and_so_do_theirs() {
    let lodger = "scheduler.defer(function() print('out', self.id) end) channel():receive()";
    let killer = "synchro.sleep(1) world:named('b'):despawn() print('done')";
    let mut game = Game::build([("lodger", script(lodger)), ("killer", script(killer))], |host| {
        host.component::<ChildOf>()
    });
    let spawn = |game: &mut Game, name: &'static str, parent: Option<Entity>| {
        let entity = game.world.spawn((Name::new(name), Script::new("lodger"))).id();
        if let Some(parent) = parent {
            game.world.entity_mut(entity).insert(ChildOf(parent));
        }
        entity
    };
    for root in ["a", "b"] {
        let root = spawn(&mut game, root, None);
        let child = spawn(&mut game, "child", Some(root));
        spawn(&mut game, "grandchild", Some(child));
    }
    game.frames(1);
    let a = game.world.query::<(Entity, &Name)>().iter(&game.world).find(|(_, name)| name.as_str() == "a");
    let a = a.map(|(entity, _)| entity).unwrap();
    game.world.despawn(a);
    game.frames(1);
    let mut out: Vec<String> = game.host.take_printed();
    assert_eq!(out.len(), 3, "{out:?}");
    game.spawn("killer");
    game.frames(5);
    out = game.host.take_printed();
    assert_eq!(out.len(), 4, "{out:?}");
    assert_eq!(out[3], "done");
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn a_script_makes_children_where_the_game_offers_the_component() {
    let body = r#"
        local child = world:spawn { ChildOf = self, Name = "child" }
        print(child.ChildOf == self)
        self:despawn()
        print(child.alive)
    "#;
    let mut game = Game::build([("parent", script(body))], |host| host.component::<ChildOf>());
    game.spawn("parent");
    game.frames(1);
    assert_eq!(game.printed(), "true false");
}

#[test]
fn a_script_that_is_always_to_run_starts_again_later_and_later() {
    let body = "print(clock.sim()) if clock.sim() < 20 then error('oh') end synchro.sleep(5) error('late')";
    let mut game = Game::new([("phoenix", script(body))]);
    let policy = Restart::Always { first: 1.0, longest: 4.0 };
    let entity = game.world.spawn(Script::new("phoenix").restart(policy)).id();
    let mut failures = 0;
    for _ in 0..(33 * 4) {
        failures += game.frame().failures.len();
    }
    // 0.25, then 1, 2, 4, 4 ... seconds later; after five good seconds, one second again.
    let starts = game.printed();
    assert_eq!(starts, "0.25 1.25 3.25 7.25 11.25 15.25 19.25 23.25 29.25", "{failures}");
    assert!(matches!(game.status(entity), ScriptStatus::Running | ScriptStatus::Failed { .. }));
    game.world.despawn(entity);
    game.frames(40);
    assert_eq!(game.printed(), "");
}

#[test]
fn a_script_that_is_never_to_start_again_does_not_when_its_file_changes() {
    let mut game = Game::new([("it", script("error('oh')"))]);
    let never = game.world.spawn(Script::new("it").restart(Restart::Never)).id();
    let on_change = game.spawn("it");
    game.frame();
    game.save("it", script("print('well')"));
    game.frames(2);
    assert_eq!(game.printed(), "well");
    assert!(matches!(game.status(never), ScriptStatus::Failed { .. }));
    assert_eq!(game.status(on_change), ScriptStatus::Finished);
}

#[test]
fn an_always_script_without_a_file_starts_when_it_is_tried_again() {
    let mut game = Game::new([("other", script(""))]);
    let policy = Restart::Always { first: f64::NAN, longest: -3.0 };
    game.world.spawn(Script::new("late").restart(policy));
    assert_eq!(game.frame().failures.len(), 1);
    game.save("late", script("print('here')"));
    game.frames(6);
    assert_eq!(game.printed(), "here");
}

#[test]
fn scripts_of_a_world_that_was_cleared_end_and_new_ones_start() {
    let mut game = Game::new([("counter", script(COUNTER)), ("new", script("print('new', self.id)"))]);
    for _ in 0..10 {
        game.spawn("counter");
    }
    game.frames(2);
    assert_eq!(game.host.script_counts(), (10, 0));
    game.world.clear_entities();
    game.frames(1);
    assert_eq!(game.host.script_counts(), (0, 0));
    assert_eq!(game.host.vm().stats().tasklets, 0);
    let entity = game.spawn("new");
    game.frames(2);
    assert_eq!(game.printed(), format!("new\t{entity}"));
    let counter = game.spawn("counter");
    game.frames(2);
    game.world.despawn(counter);
    game.frames(1);
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn what_is_deferred_still_finds_the_entity_that_a_script_or_the_host_despawns_with_its_children() {
    let lodger = r#"
        scheduler.defer(function()
            print(self.name, self.Health and self.Health.current, pcall(synchro.yield))
            if self.name == "b" then error("oh") end
        end)
        self:spawn(function() scheduler.defer(function() print("inner", self.alive) end) channel():receive() end)
        channel():receive()
    "#;
    let killer = "world:named('b'):despawn() print('done', world:named('b'))";
    let mut game = Game::build([("lodger", script(lodger)), ("killer", script(killer))], |host| host);
    let mut spawn = |name: &'static str| {
        let health = bluetick_tests::Health { current: 7.0, max: 9.0 };
        game.world.spawn((Name::new(name), health, Script::new("lodger"))).id()
    };
    let (a, b, child) = (spawn("a"), spawn("b"), spawn("child"));
    game.world.entity_mut(child).insert(ChildOf(a));
    game.frames(1);
    assert!(game.host.despawn(&mut game.world, a));
    assert!(!game.host.despawn(&mut game.world, a));
    let printed = game.host.take_printed();
    assert_eq!(printed.len(), 4, "{printed:?}");
    assert!(printed[0].starts_with("a\t7\tfalse"), "{printed:?}");
    assert_eq!(printed[1], "inner\ttrue");
    assert!(printed[2].starts_with("child\t7\tfalse"), "{printed:?}");
    game.spawn("killer");
    let failure = game.failure();
    assert!(failure.message.contains("oh"), "{failure}");
    assert_eq!(failure.entity, Some(b));
    let printed = game.host.take_printed();
    assert!(printed[0].starts_with("b\t7\tfalse"), "{printed:?}");
    assert_eq!(printed[1..], ["inner\ttrue", "done\tnil"]);
    // Ended ones that a script had a handle of are known until that is collected.
    game.host.vm().lua().gc_collect().unwrap();
    game.frames(1);
    assert_eq!(game.host.vm().stats().tasklets, 0);
    assert_eq!(game.printed(), "");
}

#[test]
fn scenes_and_scripts_say_how_a_script_starts_again_and_whether_it_runs() {
    use bluetick::Scene;
    let mut game = Game::new([
        ("phoenix", script("print('phoenix', clock.sim()) error('oh')")),
        ("mortal", script("print('mortal') error('oh')")),
        ("lodger", script("print('lodger', self.name) while true do synchro.yield() end")),
        (
            "mother",
            script(
                "local e = world:spawn { Name = 'd', Scripts = { 'lodger', { name = 'mortal', enabled = false } } }
                 synchro.sleep(1)
                 print(e.enabled, e.Script, table.concat(e.Scripts, ' '))
                 e.Script = { name = 'lodger', restart = 'never', enabled = true }
                 print(e.enabled, table.concat(e.Scripts, ' '))",
            ),
        ),
    ]);
    let scene = Scene::parse(
        "[[entity]]
         name = 'a'
         script = { name = 'phoenix', restart = { first = 1, longest = 2 } }
         [[entity]]
         name = 'b'
         scripts = ['lodger', { name = 'mortal', restart = 'never' }]
         [[entity]]
         name = 'c'
         script = { name = 'lodger', enabled = false }",
        "s.toml",
    )
    .unwrap();
    let entities = scene.spawn(&mut game.world, game.host.registry(), 1).unwrap();
    let mut failures = 0;
    for _ in 0..13 {
        failures += game.frame().failures.len();
    }
    // At once, a second later, and two after that; the mortal one not even when its file is better.
    assert_eq!(game.printed(), "phoenix\t0.25 lodger\tb mortal phoenix\t1.25 phoenix\t3.25");
    assert_eq!(failures, 4);
    assert_eq!(game.world.get::<Dormant>(entities[2]), Some(&Dormant::all()));
    game.save("mortal", script("print('immortal')"));
    game.frames(1);
    assert_eq!(game.printed(), "");
    game.world.despawn(entities[0]);
    game.world.entity_mut(entities[2]).remove::<Dormant>();
    game.frames(1);
    assert_eq!(game.printed(), "lodger\tc");
    game.spawn("mother");
    game.frames(2);
    assert_eq!(game.printed(), "lodger\td");
    game.frames(4);
    assert_eq!(game.printed(), "false\tlodger\tlodger mortal true\tlodger lodger\td");
}

#[test]
fn entities_that_are_each_others_children_end_once() {
    let body = r#"
        local a = world:spawn { Name = "a", Script = "lodger" }
        local b = world:spawn { Name = "b", Script = "lodger", ChildOf = a }
        local c = world:spawn { Name = "c", Script = "lodger", ChildOf = b }
        synchro.yield()
        pcall(function() a.ChildOf = c end)
        pcall(function() a.ChildOf = a end)
        a:despawn()
        print("despawned", a.alive, world:count())
    "#;
    let lodger = "scheduler.defer(function() print('out') end) channel():receive()";
    let mut game = Game::build([("tangle", script(body)), ("lodger", script(lodger))], |host| {
        host.component::<ChildOf>()
    });
    game.spawn("tangle");
    game.frames(4);
    let printed = game.host.take_printed();
    assert!(printed.iter().any(|line| line.starts_with("despawned\tfalse\t")), "{printed:?}");
    // However the world takes it, nobody's tasklets stay behind.
    let all: Vec<Entity> = game.world.query_filtered::<Entity, With<Script>>().iter(&game.world).collect();
    for entity in all {
        let _ = game.world.try_despawn(entity);
    }
    game.frames(2);
    assert_eq!(game.host.vm().stats().tasklets, 0);
}
