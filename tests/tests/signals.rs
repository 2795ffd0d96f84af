//! What scripts hear of the world: messages both ways, components that come, go and change (`ecs.md`).

use bevy_ecs::message::{MessageCursor, Messages};
use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::{Script, ScriptStatus};
use bluetick_tests::{Game, Health, Marked, Position, script};
use glam::Vec3;

/// Meant for one entity.
#[derive(Message, Reflect, Debug, Clone, PartialEq)]
struct Damage {
    to: Entity,
    amount: f32,
}

/// Meant for everybody, or for one.
#[derive(Message, Reflect, Default, Debug, Clone, PartialEq)]
#[reflect(Default)]
struct Noise {
    to: Option<Entity>,
    at: Vec3,
    words: Vec<String>,
}

/// Never meant for one entity.
#[derive(Message, Reflect, Default, Debug, Clone, PartialEq)]
#[reflect(Default)]
struct Wave {
    number: u32,
}

fn game<const N: usize>(scripts: [(&str, &str); N]) -> Game {
    Game::build(scripts.map(|(name, body)| (name, script(body))), |host| {
        host.message::<Damage>().message::<Noise>().message::<Wave>()
    })
}

#[test]
fn what_rust_writes_between_two_ticks_reaches_a_listening_script_in_order_in_the_next() {
    let body = r#"
        for wave in world:messages("Wave") do
            print(wave.number)
        end
    "#;
    let mut game = game([("ear", body)]);
    game.world.write_message(Wave { number: 1 }); // nobody listens yet
    game.spawn("ear");
    game.frames(1);
    assert_eq!(game.printed(), "");
    game.world.write_message(Wave { number: 2 });
    game.world.write_message(Wave { number: 3 });
    game.frames(1);
    assert_eq!(game.printed(), "2 3");
    game.frames(3);
    assert_eq!(game.printed(), "");
    game.world.write_message(Wave { number: 4 });
    game.frames(1);
    assert_eq!(game.printed(), "4");
}

#[test]
fn what_a_script_sends_reaches_rust_and_other_scripts_in_the_same_frame() {
    let ear = r#"
        for noise in world:messages("Noise") do
            print(noise.at.x, #noise.words, noise.words[1], noise.to)
        end
    "#;
    let mouth = r#"
        synchro.yield()
        world:send("Noise", { at = vector.create(1, 2, 3), words = { "a", "b" } })
        world:send("Noise")
        print("sent")
    "#;
    let mut game = game([("ear", ear), ("mouth", mouth)]);
    game.spawn("ear");
    game.spawn("mouth");
    game.frames(1);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), "sent 1\t2\ta\tnil 0\t0\tnil\tnil");
    let mut cursor = MessageCursor::default();
    let heard: Vec<Noise> = cursor.read(game.world.resource::<Messages<Noise>>()).cloned().collect();
    assert_eq!(heard.len(), 2);
    assert_eq!(
        heard[0],
        Noise { to: None, at: Vec3::new(1.0, 2.0, 3.0), words: vec!["a".into(), "b".into()] }
    );
}

#[test]
fn messages_that_nobody_else_keeps_in_order_are_dropped_after_two_frames() {
    let mut game = game([("mouth", "while true do world:send('Wave', { number = 1 }) synchro.yield() end")]);
    game.spawn("mouth");
    game.frames(100);
    let kept = game.world.resource::<Messages<Wave>>().len();
    assert!((1..=2).contains(&kept), "{kept}");
}

#[test]
fn messages_that_the_game_keeps_itself_are_left_to_it() {
    let mut world = World::new();
    world.init_resource::<Messages<Wave>>();
    let library = bluetick::Library::in_memory([] as [(&str, &str); 0]);
    let mut host =
        bluetick::ScriptHost::builder().library(library).message::<Wave>().build(&mut world).unwrap();
    for number in 0..5 {
        world.write_message(Wave { number });
        host.tick(&mut world, 0.1);
    }
    assert_eq!(world.resource::<Messages<Wave>>().len(), 5);
}

#[test]
fn a_message_to_one_entity_reaches_whoever_waits_for_it_there_and_nobody_else() {
    let target = r#"
        while true do
            local hit = self:wait_for("Damage")
            print(self.name, hit.amount, hit.to == self)
        end
    "#;
    let mut game = game([("target", target)]);
    let spawn =
        |game: &mut Game, name: &'static str| game.world.spawn((Name::new(name), Script::new("target"))).id();
    let (a, b) = (spawn(&mut game, "a"), spawn(&mut game, "b"));
    game.frames(1);
    game.world.write_message(Damage { to: b, amount: 1.5 });
    game.frames(1);
    assert_eq!(game.printed(), "b\t1.5\ttrue");
    // Both in one frame: while the first is dealt with, nobody waits for the second.
    game.world.write_message(Damage { to: a, amount: 2.0 });
    game.world.write_message(Damage { to: a, amount: 3.0 });
    game.frames(2);
    assert_eq!(game.printed(), "a\t2\ttrue");
}

#[test]
fn a_channel_for_one_entity_gets_what_is_meant_for_it_or_for_nobody_in_particular() {
    let ear = r#"
        for noise in world:messages("Noise", { to = self, capacity = 8 }) do
            print(noise.at.x)
        end
    "#;
    let mut game = game([("ear", ear)]);
    let ear = game.spawn("ear");
    let other = game.world.spawn_empty().id();
    game.frames(1);
    for (x, to) in [(1.0, None), (2.0, Some(other)), (3.0, Some(ear))] {
        game.world.write_message(Noise { to, at: Vec3::new(x, 0.0, 0.0), words: Vec::new() });
    }
    game.frames(1);
    assert_eq!(game.printed(), "1 3");
}

#[test]
fn waiting_for_a_message_or_a_change_may_end_by_time() {
    let body = r#"
        print(self:wait_for("Wave", 0.5), clock.sim())
        print(self:changed("Health", 0.5), clock.sim())
        print(self:wait_for("Wave", 5).number, clock.sim())
        print(self:changed("Health", "Position", 5), clock.sim())
        synchro.sleep(10)
        print("slept", clock.sim())
    "#;
    let mut game = game([("waiter", body)]);
    let entity = game.world.spawn((Script::new("waiter"), Health::default(), Position::default())).id();
    game.frames(6);
    assert_eq!(game.printed(), "nil\t0.75 nil\t1.25");
    game.world.write_message(Wave { number: 7 });
    game.frames(1);
    game.world.get_mut::<Position>(entity).unwrap().at.x = 1.0;
    game.frames(1);
    assert_eq!(game.printed(), "7\t1.75 Position\t2");
    // The deadlines of the waits that ended early wake nobody.
    game.frames(39);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), "slept\t12");
}

#[test]
fn changed_waits_for_writes_of_rust_and_of_scripts_but_not_for_reads_or_earlier_writes() {
    let watcher = r#"
        self.Health.current = 1
        while true do
            print(self:changed("Health"), self.Health and self.Health.current)
        end
    "#;
    let meddler = r#"
        synchro.sleep(1)
        local x = world:named("w").Health.current
        synchro.sleep(1)
        world:named("w").Health.current = 5
        synchro.sleep(1)
        world:named("w").Health = nil
        synchro.sleep(1)
        world:named("w").Health = { current = 9 }
    "#;
    let mut game = game([("watcher", watcher), ("meddler", meddler)]);
    let entity = game.world.spawn((Name::new("w"), Script::new("watcher"), Health::default())).id();
    game.frames(3);
    assert_eq!(game.printed(), "");
    game.world.get_mut::<Health>(entity).unwrap().current = 3.0;
    game.frames(2);
    assert_eq!(game.printed(), "Health\t3");
    game.spawn("meddler");
    game.frames(6);
    assert_eq!(game.printed(), "");
    game.frames(4);
    assert_eq!(game.printed(), "Health\t5");
    game.frames(4);
    assert_eq!(game.printed(), "Health\tnil");
    game.frames(4);
    assert_eq!(game.printed(), "Health\t9");
}

#[test]
fn a_write_in_the_same_frame_after_the_wait_has_begun_is_a_change() {
    let watcher = "print(self:changed('Health'))";
    let meddler = "world:named('w').Health.current = 5";
    let mut game = game([("watcher", watcher), ("meddler", meddler)]);
    game.world.spawn((Name::new("w"), Script::new("watcher"), Health::default()));
    game.spawn("meddler");
    game.frames(1);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), "Health");
}

#[test]
fn components_that_come_and_go_are_told_whoever_moves_them() {
    let ear = r#"
        local added, removed = world:added("Marked"), world:removed("Marked")
        tasklet(function() for e in added do print("+", e.id, e.alive) end end)()
        for e in removed do print("-", e.id, e.alive) end
    "#;
    let hand = r#"
        synchro.yield()
        local e = world:spawn { Marked = {} }
        e.Marked = nil
        e.Marked = {}
        e.Marked = {}
        e:despawn()
        print("done")
    "#;
    let mut game = game([("ear", ear), ("hand", hand)]);
    game.spawn("ear");
    game.frames(1);
    let entity = game.world.spawn(Marked).id();
    game.world.entity_mut(entity).insert(Marked);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), format!("+\t{entity}\ttrue"));
    game.world.despawn(entity);
    game.frames(1);
    assert_eq!(game.printed(), format!("-\t{entity}\tfalse"));
    game.spawn("hand");
    game.frames(1);
    game.frames(1);
    let printed = game.printed();
    let words: Vec<&str> = printed.split(' ').map(|word| &word[..1]).collect();
    assert_eq!(words.join(""), "d++--", "{printed}");
}

#[test]
fn nobody_listening_leaves_no_observer_and_reads_no_message() {
    let body = r#"
        local added = world:added("Marked")
        synchro.sleep(1)
        added:close()
        synchro.sleep(100)
    "#;
    let mut game = game([("ear", body)]);
    let observers = |game: &mut Game| game.world.query::<&Observer>().iter(&game.world).count();
    let before = observers(&mut game);
    game.spawn("ear");
    game.frames(1);
    assert_eq!(observers(&mut game), before + 1);
    assert_eq!(game.world.query::<&Script>().iter(&game.world).count(), 1);
    game.frames(6);
    assert_eq!(observers(&mut game), before);
}

#[test]
fn an_observer_is_no_entity_that_a_query_finds() {
    let body = r#"
        local before = world:count()
        local added = world:added("Marked")
        print(world:count() - before, #world:query())
    "#;
    let mut game = game([("ear", body)]);
    game.spawn("ear");
    game.frames(1);
    assert_eq!(game.printed(), "0\t1");
}

#[test]
fn a_slow_listener_keeps_the_newest_values_and_is_reported() {
    let slow = r#"
        local waves = world:messages("Wave", { capacity = 3 })
        synchro.sleep(1)
        for wave in waves do print(wave.number) end
    "#;
    let mut game = game([("slow", slow)]);
    let entity = game.spawn("slow");
    game.frames(1);
    for number in 0..10 {
        game.world.write_message(Wave { number });
    }
    let report = game.frame();
    assert_eq!(report.slow_listeners.len(), 1, "{report:?}");
    let told = &report.slow_listeners[0];
    assert_eq!((&*told.topic, told.entity, &*told.script, told.lost), ("Wave", Some(entity), "slow", 7));
    assert!(game.frame().slow_listeners.is_empty());
    game.frames(3);
    assert_eq!(game.printed(), "7 8 9");
}

#[test]
fn a_slow_listener_that_asks_for_errors_gets_one_and_goes_on_with_the_oldest_values() {
    let slow = r#"
        local waves = world:messages("Wave", { capacity = 3, overflow = "error" })
        synchro.sleep(0.5)
        local ok, err = pcall(waves.receive, waves)
        print(err.kind, string.match(err.message, "(%d+) values were lost"))
        for wave in waves do print(wave.number) end
    "#;
    let mut game = game([("slow", slow)]);
    game.spawn("slow");
    game.frames(1);
    for number in 0..10 {
        game.world.write_message(Wave { number });
    }
    game.frames(3);
    assert_eq!(game.printed(), "overflow\t7 0 1 2");
}

#[test]
fn listeners_end_with_their_script_and_with_their_channel() {
    let ear = r#"
        self.state.waves = world:messages("Wave", { capacity = 1 })
        world:messages("Wave", { capacity = 1 })
        synchro.sleep(1000)
    "#;
    let mut game = game([("ear", ear)]);
    let entity = game.spawn("ear");
    game.frames(1);
    game.world.despawn(entity);
    game.frames(2);
    for _ in 0..3 {
        for number in 0..5 {
            game.world.write_message(Wave { number });
        }
        assert!(game.frame().slow_listeners.is_empty());
    }
}

#[test]
fn who_waits_on_an_entity_that_goes_gets_an_error_and_whoever_is_killed_waits_no_more() {
    let waiter = r#"
        local other = world:named("other")
        tasklet(function()
            local ok, err = pcall(other.wait_for, other, "Wave")
            print("wait_for", err.kind, err.message)
        end)()
        local ok, err = pcall(other.changed, other, "Health")
        print("changed", err.kind, err.message)
    "#;
    let mut game = game([("waiter", waiter)]);
    let other = game.world.spawn((Name::new("other"), Health::default())).id();
    let waiter = game.spawn("waiter");
    game.frames(1);
    assert_eq!(game.frame().listening, 2);
    game.world.despawn(other);
    game.frames(1);
    let printed = game.printed();
    for part in [
        format!("changed\tgone\tchanged: entity {other} is gone"),
        format!("wait_for\tgone\twait_for: entity {other} is gone"),
    ] {
        assert!(printed.contains(&part), "{printed}");
    }
    assert_eq!(game.status(waiter), ScriptStatus::Finished);
    let body = "self:wait_for('Wave')";
    game.save("waiter", script(body));
    let doomed = game.spawn("waiter");
    game.frames(2);
    assert_eq!(game.frame().listening, 1);
    game.world.despawn(doomed);
    game.frames(1);
    assert_eq!(game.frame().listening, 0);
    game.world.write_message(Wave::default());
    game.frames(1);
}

#[test]
fn a_query_for_changes_finds_each_change_once() {
    let body = r#"
        local function names(query)
            local all = {}
            for e in query do table.insert(all, e.name) end
            return table.concat(all, "")
        end
        while true do
            print(names(world:query("Health", { changed = "Health" })) .. "|"
                .. names(world:query("Health", { added = "Health" })))
            synchro.yield()
        end
    "#;
    let mut game = game([("clerk", body)]);
    let spawn =
        |game: &mut Game, name: &'static str| game.world.spawn((Name::new(name), Health::default())).id();
    let a = spawn(&mut game, "a");
    let b = spawn(&mut game, "b");
    game.spawn("clerk");
    game.frames(2);
    assert_eq!(game.printed(), "ab|ab |");
    game.world.get_mut::<Health>(b).unwrap().max = 2.0;
    game.frames(2);
    assert_eq!(game.printed(), "b| |");
    spawn(&mut game, "c");
    game.world.get_mut::<Health>(a).unwrap().max = 2.0;
    game.frames(2);
    assert_eq!(game.printed(), "ac|c |");
    game.world.get::<Health>(a).unwrap();
    game.frames(1);
    assert_eq!(game.printed(), "|");
}

#[test]
fn mistakes_about_messages_say_what_was_meant() {
    for (line, kind, parts) in [
        ("world:send('Damag', {})", "type", &["there is no message 'Damag'", "did you mean 'Damage'"][..]),
        ("world:send('Damage', {})", "type", &["Damage", "to"]),
        (
            "world:send('Damage', { to = self, amount = 'x' })",
            "type",
            &["Damage.amount", "a number", "string \"x\""],
        ),
        ("world:send('Damage', { to = self, amuont = 1 })", "type", &["amuont", "did you mean 'amount'"]),
        ("world:send('Wave', { number = -1 })", "type", &["Wave.number", "from 0"]),
        ("world:send(7)", "type", &["send: the name of a message", "a string"]),
        ("world.send('Wave')", "type", &["world:send(...), with a colon"]),
        ("world:messages('Wave', { to = self })", "type", &["Wave", "never meant for one entity"]),
        ("world:messages('Damage', { to = 3 })", "type", &["Damage.to", "an entity"]),
        ("world:messages('Wave', { capacity = 0 })", "type", &["Wave.capacity", "from 1 to 65536"]),
        ("world:messages('Wave', { overflow = 'block' })", "type", &["drop_oldest", "error"]),
        ("world:messages('Wave', { capasity = 1 })", "type", &["no option 'capasity'", "capacity"]),
        ("world:added('Helth')", "type", &["no component 'Helth'", "Health"]),
        ("self:wait_for('Wav')", "type", &["no message 'Wav'", "Wave"]),
        ("self:wait_for('Wave', -1)", "type", &["time-out", "from 0"]),
        ("self:wait_for('Wave', 0/0)", "type", &["time-out"]),
        ("self:changed()", "type", &["changed: the name of a component"]),
        ("self:changed('Helth')", "type", &["no component 'Helth'"]),
        ("world:query('Health', { chnged = 'Health' })", "type", &["did you mean 'changed'"]),
        ("table.sort({2, 1}, function() self:wait_for('Wave') end)", "boundary", &["wait_for", "sort"]),
    ] {
        let body = format!("local ok, err = pcall(function() {line} end) print(err.kind, err.message)");
        let mut game = game([("wrong", &body)]);
        game.spawn("wrong");
        game.frames(1);
        let printed = game.printed();
        assert!(printed.starts_with(&format!("{kind}\t")), "{line}: {printed}");
        for part in parts {
            assert!(printed.contains(part), "{line}: {printed} does not say {part}");
        }
        assert!(game.world.resource::<Messages<Damage>>().is_empty());
    }
}
