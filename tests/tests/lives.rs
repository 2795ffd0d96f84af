//! Lives of scripts: when they start, when they end, what becomes of those that fail (`ecs.md`, Lives).

use bevy_ecs::prelude::*;
use bluetick::{Script, ScriptStatus};
use bluetick_tests::{Game, Health, Marked, script};

/// Says when it starts, and when it ends in whatever way; waits for ever.
const LODGER: &str = r#"
    scheduler.defer(function() print("out", self.id) end)
    print("in", self.id)
    while true do synchro.yield() end
"#;

/// `in`, the ids of the entities, in order.
fn words(word: &str, entities: &[Entity]) -> String {
    entities.iter().map(|entity| format!("{word}\t{entity}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn scripts_start_in_the_next_tick_in_the_order_in_which_they_were_added() {
    let mut game = Game::new([("lodger", script(LODGER))]);
    let blank: Vec<Entity> = (0..5).map(|_| game.world.spawn_empty().id()).collect();
    let order = [blank[3], blank[0], blank[4], blank[2], blank[1]];
    for entity in order {
        game.world.entity_mut(entity).insert(Script::new("lodger"));
        assert_eq!(game.status(entity), ScriptStatus::Starting);
    }
    game.frames(1);
    assert_eq!(game.printed(), words("in", &order));
    assert_eq!(game.status(blank[0]), ScriptStatus::Running);
    assert_eq!(game.host.script_counts(), (5, 0));
}

#[test]
fn scripts_of_entities_that_are_older_than_the_host_start_too() {
    let mut world = World::new();
    let entities: Vec<Entity> = (0..3).map(|_| world.spawn(Script::new("lodger")).id()).collect();
    let library = bluetick::Library::in_memory([("lodger", script(LODGER))]);
    let mut host = bluetick::ScriptHost::builder().library(library).keep_printed().build(&mut world).unwrap();
    host.tick(&mut world, 0.1);
    assert_eq!(host.take_printed().join(" "), words("in", &entities));
}

#[test]
fn what_a_script_spawns_starts_in_the_next_tick() {
    let nest = r#"
        print("nest")
        world:spawn { Script = "lodger" }
        world:spawn { Script = "lodger" }
    "#;
    let mut game = Game::new([("lodger", script(LODGER)), ("nest", script(nest))]);
    let nest = game.spawn("nest");
    game.frames(1);
    assert_eq!(game.printed(), "nest");
    assert_eq!(game.status(nest), ScriptStatus::Finished);
    game.frames(1);
    assert_eq!(game.printed().matches("in\t").count(), 2);
}

#[test]
fn a_script_ends_in_the_tick_after_rust_has_despawned_its_entity_removed_or_replaced_it() {
    let mut game = Game::new([("lodger", script(LODGER)), ("heir", script("print('heir')"))]);
    let [gone, freed, changed] = [(); 3].map(|()| game.spawn("lodger"));
    game.frames(2);
    game.printed();
    game.world.despawn(gone);
    game.world.entity_mut(freed).remove::<Script>();
    game.world.entity_mut(changed).insert(Script::new("heir"));
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), format!("{} heir", words("out", &[gone, freed, changed])));
    assert_eq!(game.host.script_counts(), (0, 0));
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn a_script_that_comes_and_goes_between_two_ticks_never_runs() {
    let mut game = Game::new([("lodger", script(LODGER))]);
    let entity = game.spawn("lodger");
    game.world.entity_mut(entity).remove::<Script>();
    let other = game.spawn("lodger");
    game.world.despawn(other);
    let last = game.spawn("lodger");
    game.world.entity_mut(last).insert(Script::new("lodger"));
    game.frames(1);
    assert_eq!(game.printed(), words("in", &[last]));
    assert_eq!(game.host.vm().stats().tasklets, 1);
}

#[test]
fn a_script_that_despawns_its_own_entity_runs_on_to_its_next_wait_and_ends_in_the_same_tick() {
    let suicide = r#"
        scheduler.defer(function() print("out", self.alive, self.Health.current) end)
        synchro.yield()
        self:despawn()
        print("despawned", self.alive)
        scheduler.defer(function() print("late", self.alive) end)
        synchro.yield()
        print("never")
    "#;
    let mut game = Game::new([("suicide", script(suicide))]);
    let health = Health { current: 3.0, max: 9.0 };
    let entity = game.world.spawn((health, Script::new("suicide"))).id();
    game.frames(1);
    assert_eq!(game.printed(), "");
    game.frames(1);
    // What was deferred still finds the entity, so it comes first.
    assert_eq!(game.printed(), "out\ttrue\t3 despawned\tfalse late\tfalse");
    assert!(game.world.get_entity(entity).is_err());
    assert_eq!(game.host.vm().stats().tasklets, 0);
    game.frames(1);
    assert_eq!(game.printed(), "");
}

#[test]
fn a_script_that_removes_or_replaces_its_own_script_ends_in_the_same_tick() {
    let leaver = r#"
        scheduler.defer(function() print("out") end)
        self:remove("Script")
        synchro.yield()
        print("never")
    "#;
    let changer = r#"
        scheduler.defer(function() print("changed") end)
        self.Script = "heir"
        synchro.yield()
        print("never")
    "#;
    let mut game = Game::new([
        ("leaver", script(leaver)),
        ("changer", script(changer)),
        ("heir", script("print('heir') synchro.sleep(9)")),
    ]);
    let leaver = game.spawn("leaver");
    let changer = game.spawn("changer");
    game.frames(1);
    assert_eq!(game.printed(), "out changed");
    assert!(game.world.get::<Script>(leaver).is_none());
    game.frames(1);
    assert_eq!(game.printed(), "heir");
    assert_eq!(game.status(changer), ScriptStatus::Running);
}

#[test]
fn a_script_that_another_despawns_ends_in_the_same_tick_whoever_of_them_runs_first() {
    let killer = r#"
        synchro.yield()
        for name in { "first", "second" } do end
        world:named("first"):despawn()
        world:named("second"):despawn()
        print("done")
    "#;
    let mut game = Game::new([("lodger", script(LODGER)), ("killer", script(killer))]);
    let first = game.world.spawn((Name::new("first"), Script::new("lodger"))).id();
    game.spawn("killer");
    let second = game.world.spawn((Name::new("second"), Script::new("lodger"))).id();
    game.frames(1);
    game.printed();
    game.frames(1);
    assert_eq!(game.printed(), format!("{} done", words("out", &[first, second])));
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn a_script_may_despawn_everything_that_a_query_finds_itself_included() {
    let judge = r#"
        synchro.sleep(1)
        local count = 0
        for entity in world:query("Health") do
            entity:despawn()
            count += 1
        end
        print(count)
        synchro.yield()
        print("never")
    "#;
    let victim = r#"
        scheduler.defer(function() print("out") end)
        channel():receive()
    "#;
    let mut game = Game::new([("judge", script(judge)), ("victim", script(victim))]);
    for index in 0..100 {
        let name = if index == 50 { "judge" } else { "victim" };
        game.world.spawn((Health::default(), Script::new(name)));
    }
    game.frames(4);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), format!("{}100", "out ".repeat(99)));
    assert_eq!(game.host.script_counts(), (0, 0));
    assert_eq!(game.host.vm().stats().tasklets, 0);
    assert_eq!(game.world.query::<&Health>().iter(&game.world).count(), 0);
}

#[test]
fn with_a_script_end_all_tasklets_that_it_has_made_wherever_they_wait() {
    let family = r#"
        local function child(name, wait, ...)
            scheduler.defer(function() print(name) end)
            wait(...)
        end
        local c = channel()
        tasklet(child)("tasklet", c.receive, c)
        tasklet(child)("sender", function() channel():send(1) end)
        self:spawn(child, "spawned", synchro.sleep, 1000)
        self:spawn(child, "yielder", function() while true do synchro.yield() end end)
        self:spawn(child, "inbox", function() self.inbox:receive() end)
        self:spawn(child, "paused", scheduler.schedule_remove)
        self:spawn(child, "nested", coroutine.wrap(function() synchro.sleep(1000) end))
        self:spawn(child, "caught", function() pcall(synchro.sleep, 1000) print("wrong") end)
        tasklet(function()
            tasklet(child)("grandchild", synchro.sleep, 1000)
        end)()
        tasklet(child):bind(nil, table.pack("unstarted")) -- paused, never ran: has deferred nothing
        self.state.kept = tasklet(child)
    "#;
    let mut game = Game::new([("family", script(family))]);
    let entity = game.spawn("family");
    game.frames(3);
    assert_eq!(game.status(entity), ScriptStatus::Finished);
    assert!(game.host.vm().stats().tasklets >= 10);
    game.world.despawn(entity);
    game.frames(1);
    let printed = game.printed();
    let mut names: Vec<&str> = printed.split(' ').collect();
    names.sort_unstable();
    let all = "caught grandchild inbox nested paused sender spawned tasklet yielder";
    assert_eq!(names.join(" "), all);
    game.host.vm().lua().gc_collect().unwrap();
    game.frames(1);
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn what_a_dying_script_despawns_ends_in_the_same_tick() {
    let domino = r#"
        self.state.next = tonumber(self.name) + 1
        scheduler.defer(function()
            print(self.state.next)
            local after = world:named(tostring(self.state.next))
            if after then after:despawn() end
        end)
        synchro.sleep(1000)
    "#;
    let mut game = Game::new([("domino", script(domino))]);
    let mut domino = |n: u32| game.world.spawn((Name::new(n.to_string()), Script::new("domino"))).id();
    let [first, ..] = [1, 2, 3, 4, 5].map(&mut domino);
    game.frames(1);
    game.world.despawn(first);
    game.frames(1);
    assert_eq!(game.printed(), "2 3 4 5 6");
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn a_tasklet_that_stops_its_own_exit_is_killed_again_and_given_up_on_in_the_end() {
    let ghost = r#"
        local kills = 0
        while true do
            local ok, err = scheduler.pcall(synchro.yield)
            if not ok then kills += 1 print(kills, err == scheduler.TaskletExit) end
        end
    "#;
    let mut game = Game::new([("ghost", script(ghost)), ("lodger", script(LODGER))]);
    let ghost = game.spawn("ghost");
    let lodger = game.spawn("lodger");
    game.frames(1);
    game.world.despawn(ghost);
    game.frames(30);
    let printed = game.printed();
    let kills = printed.matches("\ttrue").count();
    assert!((2..=200).contains(&kills), "{kills} kills");
    game.frames(30);
    assert_eq!(game.printed(), "", "it is left alone");
    assert_eq!(game.status(lodger), ScriptStatus::Running);
}

#[test]
fn endings_do_not_wait_for_the_budget_and_do_not_spend_it_on_others() {
    let busy = "while true do scheduler.schedule() end";
    let murder = r#"
        local victim = world:named("victim")
        victim:despawn()
        print("despawned")
    "#;
    let mut game = Game::build(
        [("busy", script(busy)), ("lodger", script(LODGER)), ("murder", script(murder))],
        |builder| builder.budget(bluetick::Budget::Ticks(2_000)),
    );
    let victim = game.world.spawn((Name::new("victim"), Script::new("lodger"))).id();
    for _ in 0..10 {
        game.spawn("busy");
    }
    game.frames(1);
    game.printed();
    game.spawn("murder");
    game.frames(1);
    assert_eq!(game.printed(), format!("out\t{victim} despawned"));
    // The same from outside.
    let victim = game.world.spawn((Name::new("victim"), Script::new("lodger"))).id();
    game.frames(1);
    game.printed();
    game.world.despawn(victim);
    game.frames(1);
    assert_eq!(game.printed(), format!("out\t{victim}"));
}

#[test]
fn several_scripts_of_an_entity_have_a_state_each_and_share_the_inbox() {
    let counter = r#"
        self.state.count = (self.state.count or 0) + 1
        for value in self.inbox do
            self.state.count += value
            print(self.state.count)
        end
    "#;
    let sender = r#"
        self.state.count = 100
        self.inbox:send(5)
        synchro.yield()
        print(self.state.count)
    "#;
    let mut game = Game::new([("counter", script(counter)), ("sender", script(sender))]);
    let entity = game.world.spawn(Script::many(["counter", "sender", "counter"])).id();
    game.frames(2);
    assert_eq!(game.printed(), "6 100");
    assert_eq!(game.host.state(entity).unwrap().get::<u32>("count").unwrap(), 6);
    let statuses: Vec<_> = game.world.get::<Script>(entity).unwrap().statuses().cloned().collect();
    assert_eq!(statuses, [ScriptStatus::Running, ScriptStatus::Finished, ScriptStatus::Running]);
    assert!(game.host.send(entity, 7).unwrap());
    game.frames(1);
    assert_eq!(game.printed(), "8");
    game.world.despawn(entity);
    game.frames(1);
    assert_eq!(game.host.vm().stats().tasklets, 0);
    assert!(!game.host.send(entity, 7).unwrap());
    assert!(game.host.state(entity).is_none());
}

#[test]
fn nobody_is_left_waiting_for_the_inbox_of_an_entity_that_is_gone() {
    let eavesdropper = r#"
        local other = world:named("other")
        local ok, err = pcall(other.inbox.receive, other.inbox)
        print(ok, err.kind)
        print(pcall(function() return other.inbox end))
    "#;
    let mut game = Game::new([("eavesdropper", script(eavesdropper)), ("lodger", script(LODGER))]);
    let other = game.world.spawn((Name::new("other"), Script::new("lodger"))).id();
    let waits = game.spawn("eavesdropper");
    game.frames(1);
    game.printed();
    game.world.despawn(other);
    game.frames(2);
    let printed = game.printed();
    assert!(printed.starts_with(&format!("{} false\tgone", words("out", &[other]))), "{printed}");
    assert!(printed.contains("has no script any more"), "{printed}");
    assert_eq!(game.status(waits), ScriptStatus::Finished);
}

#[test]
fn an_error_is_reported_once_with_place_traceback_entity_tasklet_and_excerpt() {
    let faulty = r#"
        local function helper(target)
            return target.x.y
        end
        synchro.yield()
        print("about to fail")
        helper({})
    "#;
    let mut game = Game::new([("ai/faulty", script(faulty)), ("lodger", script(LODGER))]);
    let lodger = game.spawn("lodger");
    let entity = game.world.spawn((Name::new("bob"), Script::new("ai/faulty"))).id();
    game.frames(1);
    let failure = game.failure();
    assert_eq!(failure.entity, Some(entity));
    assert_eq!(failure.script, "ai/faulty");
    assert_eq!(failure.tasklet, format!("tasklet 'ai/faulty of entity {entity} \"bob\"'"));
    assert_eq!(failure.message, "ai/faulty.luau:3: attempt to index nil with 'y': 'target' has no 'x'");
    let traceback: Vec<&str> = failure.traceback.lines().collect();
    assert_eq!(traceback, ["ai/faulty.luau:3 in function 'helper'", "ai/faulty.luau:7 in function 'run'"]);
    assert!(failure.excerpt.contains("return target.x.y"), "{}", failure.excerpt);
    match game.status(entity) {
        ScriptStatus::Failed { message, traceback } => {
            assert_eq!((message, traceback), (failure.message, failure.traceback));
        }
        status => panic!("{status:?}"),
    }
    assert_eq!(game.host.script_counts(), (1, 1));
    game.frames(3);
    assert_eq!(game.status(lodger), ScriptStatus::Running);
}

#[test]
fn the_error_of_a_tasklet_that_a_script_made_is_reported_and_leaves_the_script_running() {
    let parent = r#"
        local child = self:spawn(function(what) error(what .. "!") end, "bad")
        child_is = typeof(child)
        tasklet(function() error({ code = 7 }) end)()
        synchro.yield()
        print("goes on")
        synchro.sleep(9)
    "#;
    let mut game = Game::new([("parent", script(parent))]);
    let entity = game.spawn("parent");
    let report = game.frame();
    let messages: Vec<&str> = report.failures.iter().map(|failure| &*failure.message).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[0], "parent.luau:2: bad!");
    assert!(report.failures.iter().all(|failure| failure.entity == Some(entity)));
    assert!(report.failures.iter().all(|failure| failure.script == "parent"));
    game.frames(1);
    assert_eq!(game.printed(), "goes on");
    assert_eq!(game.status(entity), ScriptStatus::Running);
}

#[test]
fn a_failed_script_starts_again_with_its_state_when_its_file_changes() {
    let version = |n: u32, rest: &str| {
        script(&format!(
            "self.state.starts = (self.state.starts or 0) + 1 print({n}, self.state.starts) {rest}"
        ))
    };
    let mut game =
        Game::new([("guard", version(1, "error('no')")), ("other", script("error('never mind')"))]);
    let guard = game.spawn("guard");
    let other = game.spawn("other");
    game.frame();
    game.frames(5);
    assert_eq!(game.printed(), "1\t1");
    game.save("guard", version(2, "synchro.sleep(100)"));
    game.frames(1);
    assert_eq!(game.printed(), "2\t2");
    assert_eq!(game.status(guard), ScriptStatus::Running);
    assert!(matches!(game.status(other), ScriptStatus::Failed { .. }));
    assert_eq!(game.host.script_counts(), (1, 1));
    game.save("guard", version(3, "error('again')"));
    game.frames(3);
    assert_eq!(game.printed(), "", "it runs, so it isn't started again");
}

#[test]
fn a_failed_script_starts_again_when_a_file_that_it_requires_changes() {
    let guard = r#"
        local util = require("./ai/util")
        local Guard = {}
        function Guard.run(self)
            print(util.half(10))
            synchro.sleep(100)
        end
        return Guard
    "#;
    let mut game = Game::new([
        ("guard", guard),
        (
            "ai/util",
            "local basis = require('./basis') return { half = function(n) return n / basis.two end }",
        ),
        ("ai/basis", "return { two = {} }"),
    ]);
    let guard = game.spawn("guard");
    let failure = game.failure();
    assert!(failure.message.starts_with("ai/util.luau:1: attempt to perform arithmetic"), "{failure}");
    game.save("ai/basis", "return { two = 2 }");
    game.frames(1);
    assert_eq!(game.printed(), "5");
    assert_eq!(game.status(guard), ScriptStatus::Running);
}

#[test]
fn a_failed_script_does_not_start_again_because_of_a_save_that_is_refused() {
    let mut game = Game::new([("guard", script("print('start') error('no')"))]);
    let guard = game.spawn("guard");
    game.frame();
    assert_eq!(game.printed(), "start");
    game.save("guard", "this is no Luau");
    let report = game.frame();
    assert!(report.reload.as_ref().is_some_and(|reload| reload.is_refused()), "{report:#?}");
    assert_eq!(game.printed(), "");
    assert!(matches!(game.status(guard), ScriptStatus::Failed { message, .. } if message.contains("no")));
    game.save("guard", script("print('better')"));
    game.frames(1);
    assert_eq!(game.printed(), "better");
    assert_eq!(game.status(guard), ScriptStatus::Finished);
}

#[test]
fn a_script_without_a_file_is_reported_and_starts_when_the_file_appears() {
    let mut game = Game::new([("goblin", script("print('goblin')"))]);
    let entities = [game.spawn("goblim"), game.spawn("goblim")];
    let failure = game.failure();
    assert_eq!(failure.entity, Some(entities[0]));
    assert_eq!(failure.script, "goblim");
    assert_eq!(failure.message, "there is no script `goblim`; did you mean `goblin`?");
    assert!(
        matches!(game.status(entities[1]), ScriptStatus::Failed { message, .. } if message == failure.message)
    );
    game.frames(5);
    game.save("goblim", script("print('here')"));
    let report = game.frame();
    assert_eq!(report.recovered, ["goblim"], "once, though two entities have it");
    assert!(report.failures.is_empty());
    assert_eq!(game.printed(), "here here");
    assert_eq!(game.host.script_counts(), (0, 0));
}

#[test]
fn a_script_that_requires_a_file_which_is_not_there_starts_when_that_appears() {
    let mut game = Game::new([("goblin", "local util = require('./util') return { run = util.run }")]);
    let goblin = game.spawn("goblin");
    let failure = game.failure();
    assert!(failure.message.starts_with("goblin.luau:1: `goblin` cannot require \"./util\""), "{failure}");
    game.save("util", "return { run = function() print('util') end }");
    game.frames(1);
    assert_eq!(game.printed(), "util");
    assert_eq!(game.status(goblin), ScriptStatus::Finished);
}

#[test]
fn a_script_that_does_not_parse_or_load_is_reported_with_an_excerpt_and_starts_when_mended() {
    for (broken, expected, line) in [
        ("local M = {}\nfunction M.run(self)\n    while true do\nreturn M", "bad.luau:4: ", "while true do"),
        (
            "local M = {}\nM.x = nothing.at.all\nreturn M",
            "bad.luau:2: attempt to index nil with 'at': there is no global 'nothing'",
            "M.x =",
        ),
        (
            "local M = {}\nprnt('hello')\nreturn M",
            "bad.luau:2: attempt to call a nil value: there is no global 'prnt' (did you mean 'print'?)",
            "prnt('hello')",
        ),
        (
            "local M = {}\ntask.wait(1)\nreturn M",
            "bad.luau:2: attempt to index nil with 'wait': there is no global 'task'; here that is synchro.sleep",
            "task.wait",
        ),
    ] {
        let mut game = Game::new([("bad", broken), ("lodger", &script(LODGER))]);
        let lodger = game.spawn("lodger");
        let bad = game.spawn("bad");
        let failure = game.failure();
        assert_eq!(failure.entity, Some(bad));
        assert!(failure.message.starts_with(expected), "{failure}");
        let text = failure.to_string();
        assert!(text.contains(line), "an excerpt: {text}");
        assert_eq!(text.matches("return M").count(), 1, "one excerpt: {text}");
        assert_eq!(game.status(lodger), ScriptStatus::Running);
        game.printed();
        game.save("bad", script("print('mended')"));
        game.frames(1);
        assert_eq!(game.printed(), "mended");
    }
}

#[test]
fn a_script_that_is_no_behaviour_says_what_is_missing() {
    for (text, expected) in [
        ("return 7", "odd.luau: a script of an entity has to return its table, but it returns a number"),
        ("local x = 1", "odd.luau: "),
        ("return", "odd.luau: "),
        ("", "odd.luau: "),
        (
            "return { start = function() end }",
            "odd.luau: a script of an entity needs a function 'run', as in: function Odd.run(self) ... end",
        ),
        (
            "return { run = 'walk' }",
            "odd.luau: a script of an entity needs a function 'run', as in: function Odd.run(self) ... end",
        ),
    ] {
        let mut game = Game::new([("odd", text)]);
        let odd = game.spawn("odd");
        let failure = game.failure();
        assert!(failure.message.starts_with(expected), "{text:?}: {failure}");
        assert!(matches!(game.status(odd), ScriptStatus::Failed { .. }));
        game.frames(2);
        game.save("odd", script("print('mended')"));
        game.frame();
        assert_eq!(game.printed(), "mended", "after {text:?}");
    }
}

#[test]
fn a_script_component_without_names_is_no_harm() {
    let mut game = Game::new([("lodger", script(LODGER))]);
    let entity = game.world.spawn(Script::many([] as [&str; 0])).id();
    game.frames(2);
    assert!(game.host.state(entity).is_none());
    assert!(!game.host.send(entity, 1).unwrap() || game.host.send(entity, 1).unwrap());
    game.world.despawn(entity);
    game.frames(1);
}

#[test]
fn a_hundred_thousand_lives_leave_nothing_behind() {
    let mayfly = r#"
        self.state.name = "mayfly"
        self.inbox:send({})
        scheduler.defer(function() end)
        self:spawn(function() synchro.sleep(10000) end)
        tasklet(function() channel():receive() end)()
        synchro.sleep(20000)
    "#;
    let mut game = Game::new([("mayfly", script(mayfly))]);
    let generation = |game: &mut Game, count: usize| {
        let entities: Vec<Entity> = (0..count).map(|_| game.spawn("mayfly")).collect();
        game.frames(1);
        for entity in entities {
            game.world.despawn(entity);
        }
        game.frames(1);
    };
    // A channel that the collector has found lets go of its values in the next frame.
    let memory = |game: &mut Game| {
        game.host.vm().lua().gc_collect().unwrap();
        game.frames(1);
        game.host.vm().lua().gc_collect().unwrap();
        game.host.vm().memory()
    };
    // How full the kept bodies and tables are differs a little between generations; what stayed of
    // each life would add up.
    let mut fullest = 0;
    for _ in 0..20 {
        generation(&mut game, 1000);
        fullest = fullest.max(memory(&mut game));
    }
    for _ in 0..60 {
        generation(&mut game, 1000);
        assert_eq!(game.host.script_counts(), (0, 0));
    }
    let mut emptiest = usize::MAX;
    for _ in 0..20 {
        generation(&mut game, 1000);
        emptiest = emptiest.min(memory(&mut game));
    }
    let a_little = 80_000 * 8;
    assert!(emptiest < fullest + a_little, "at first at most {fullest} bytes, at last at least {emptiest}");
    assert_eq!(game.host.vm().stats().tasklets, 0);
    let report = game.frame();
    assert_eq!((report.sleeping, report.yielding, report.left_over), (0, 0, 0));
}

#[test]
fn ten_thousand_entities_that_all_go_at_once_end_at_once() {
    let mut game = Game::new([("lodger", script("self.state.x = 1 synchro.sleep(1000)"))]);
    for _ in 0..10_000 {
        game.world.spawn((Marked, Script::new("lodger")));
    }
    game.frames(1);
    assert_eq!(game.host.script_counts(), (10_000, 0));
    let all: Vec<Entity> = game.world.query_filtered::<Entity, With<Marked>>().iter(&game.world).collect();
    for entity in all {
        game.world.despawn(entity);
    }
    game.frames(1);
    assert_eq!(game.host.script_counts(), (0, 0));
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn one_script_may_make_a_hundred_thousand_tasklets() {
    let crowd = r#"
        local done = 0
        for _ = 1, 100000 do
            tasklet(function() synchro.yield() done += 1 end)()
        end
        while done < 100000 do synchro.yield() end
        print(done)
    "#;
    let mut game =
        Game::build([("crowd", script(crowd))], |builder| builder.budget(std::time::Duration::MAX));
    game.spawn("crowd");
    game.frames(4);
    assert_eq!(game.printed(), "100000");
}

#[test]
fn an_entity_that_is_gone_is_only_gone_wherever_a_script_still_has_it() {
    let holder = r#"
        local other = world:named("other")
        self.state.other = other
        local c = channel()
        tasklet(function() c:send(other) end)()
        self.inbox:send(other)
        self.inbox:send({ health = other.Health })
        synchro.sleep(1)
        local kinds = {}
        local function note(f, ...)
            local ok, err = pcall(f, ...)
            table.insert(kinds, ok and "fine" or err.kind)
        end
        local received, posted, reference = c:receive(), self.inbox:receive(), self.inbox:receive().health
        assert(received == other and posted == other and self.state.other == other)
        print(other.alive, received.id == other.id, typeof(posted))
        note(function() return received.Health end)
        note(function() posted.Health = {} end)
        note(function() return self.state.other.name end)
        note(function() return reference.current end)
        note(function() reference.current = 1 end)
        note(function() return other:has("Health") end)
        note(function() return other.inbox end)
        note(function() return other.state end)
        note(function() other:spawn(print) end)
        note(function() other.enabled = false end)
        note(other.despawn, other)
        print(table.concat(kinds, " "))
        local keys = { [other] = "still a key" }
        print(keys[self.state.other], tostring(other))
        local young = world:spawn { Name = "other", Health = {} }
        print(young == other, world:named("other") == young, keys[young])
    "#;
    let mut game = Game::new([("holder", script(holder)), ("lodger", script("synchro.sleep(1000)"))]);
    let other = game.world.spawn((Name::new("other"), Health::default(), Script::new("lodger"))).id();
    game.spawn("holder");
    game.frames(2);
    game.world.despawn(other);
    game.frames(5);
    let expected = [
        "false\ttrue\tentity".to_owned(),
        "gone ".repeat(11).trim_end().to_owned(),
        format!("still a key\tentity {other}"),
        "false\ttrue\tnil".to_owned(),
    ];
    assert_eq!(game.host.take_printed(), expected);
}

#[test]
fn whoever_waits_for_a_script_that_ends_is_released() {
    // Each of these waits for something that only the entity's script would have given.
    let lodger = r#"
        self.state.worker = uthread.new(function() synchro.sleep(1000) end)
        synchro.sleep(1000)
    "#;
    let waiter = r#"
        local other = world:named("other")
        local state = other.state
        local function wait(name, f)
            tasklet(function()
                local ok, err = pcall(f)
                print(name, ok, type(err) == "userdata" and err.kind or err)
            end)()
        end
        wait("inbox", function() return other.inbox:receive() end)
        wait("changed", function() return other:changed("Health") end)
        wait("join", function() return uthread.join(state.worker) end)
        synchro.sleep(1000)
    "#;
    let mut game = Game::new([("lodger", script(lodger)), ("waiter", script(waiter))]);
    let other = game.world.spawn((Name::new("other"), Health::default(), Script::new("lodger"))).id();
    game.frames(1);
    game.spawn("waiter");
    game.frames(2);
    assert_eq!(game.printed(), "");
    game.world.despawn(other);
    game.frames(2);
    let mut words: Vec<String> =
        game.host.take_printed().iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
    words.sort();
    assert_eq!(words, ["changed", "inbox", "join"], "nobody hangs");
}

#[test]
fn what_an_entity_spawns_is_returned_and_gets_a_copy_of_what_its_creator_stores() {
    let mut game = Game::build(
        [(
            "it",
            script(
                "local me = scheduler.getcurrent()
                 me.storage.shift = 'night'
                 local child = self:spawn(function(...)
                     local storage = scheduler.getcurrent().storage
                     print(storage.shift, ...)
                     storage.shift = 'day'
                     return 7
                 end, 1, nil, 3)
                 me.storage.shift = 'evening'
                 print(typeof(child), child.alive, child.parent_callsite)
                 print(uthread.join(child), me.storage.shift)
                 self:spawn(synchro.sleep, 100):kill()",
            ),
        )],
        |builder| builder.accounting(true),
    );
    game.spawn("it");
    game.frames(2);
    assert_eq!(game.printed(), "tasklet\ttrue\tit.luau:3 night\t1\tnil\t3 7\tevening");
}
