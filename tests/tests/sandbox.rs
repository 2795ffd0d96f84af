//! What scripts may not do: leave the sandbox, harm each other, or use what their profile does not grant
//! (`ecs.md`, Capabilities).

use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::{Grant, Profile, Profiles, Script};
use bluetick_tests::{Game, Health, Marked, Position, script};
use std::convert::Infallible;

#[derive(Message, Reflect, Default)]
#[reflect(Default)]
struct Wave {
    number: u32,
}

/// `mods/*` may little; everybody else everything.
fn game(line: &str) -> Game {
    let mut guest = Profile::new("guest", ["mods/*"]);
    guest.read = Grant::only(["Health", "Position", "Script"]);
    guest.write = Grant::only(["Position"]);
    guest.functions = Grant::only(["double", "maths.*"]);
    guest.modules = Grant::only(["lib/*"]);
    guest.messages = Grant::only([] as [&str; 0]);
    (guest.spawn, guest.despawn) = (false, false);
    let mut profiles = Profiles::default();
    profiles.add(guest);
    let scripts = [
        ("mods/guest", script(line)),
        ("lib/open", "return { limit = 3 }".into()),
        ("secret", "return { key = 7 }".into()),
        ("busy", script("for i = 1, 5 do synchro.yield() end print('busy to the end')")),
        (
            "lodger",
            script(
                "self.state.secret = 1 scheduler.defer(function() print(self.state.secret) end) synchro.sleep(99)",
            ),
        ),
    ];
    let double = |number: f64| Ok::<_, Infallible>(2.0 * number);
    let mut game = Game::build(scripts, |host| {
        host.profiles(profiles)
            .message::<Wave>()
            .function("double", move |_: &mut World, number: f64| double(number))
            .function("drop_all", |_: &mut World, _: ()| Ok::<_, Infallible>(()))
            .module("maths", bluetick::ecs::Functions::new().plain("double", double))
            .module("danger", bluetick::ecs::Functions::new().plain("double", double))
    });
    let health = Health { current: 5.0, max: 9.0 };
    game.world.spawn((Name::new("lodger"), health, Marked, Position::default(), Script::new("lodger")));
    game.world.spawn((Name::new("guest"), health, Marked, Position::default(), Script::new("mods/guest")));
    game
}

#[test]
fn what_a_profile_grants_works() {
    let line = r#"
        local other = world:named("lodger")
        self.Position.at += vector.one
        other.Position = { at = vector.create(0, 7, 0) }
        for e, position, health in world:query("Position", "Health") do position.at *= 2 end
        print(other.Health.current, self:get("Health").max, self:has("Health"), other.Position.at.y, #world:query("Health"))
        print(world:double(4), maths.double(5), require("@scripts/lib/open").limit, self.Script, self.state ~= nil)
        other.inbox:send("hello")
    "#;
    let mut game = game(line);
    game.frames(1);
    assert_eq!(game.printed(), "5\t9\ttrue\t14\t2 8\t10\t3\tmods/guest\ttrue");
}

#[test]
fn what_a_profile_does_not_grant_is_an_error_that_names_it_and_the_capability() {
    for (line, capability) in [
        ("local x = self.Marked", "read Marked"),
        ("local x = self:has('Marked')", "read Marked"),
        ("local x = self:get('Marked')", "read Marked"),
        ("local x = world:query('Health', 'Marked')", "read Marked"),
        ("local x = world:query('Health', { without = 'Marked' })", "read Marked"),
        ("local x = world:count('Marked')", "read Marked"),
        ("local x = world:added('Marked')", "read Marked"),
        ("local x = self:changed('Marked', 1)", "read Marked"),
        ("self.Health.current = 3", "write Health"),
        ("self.Health = { max = 3 }", "write Health"),
        ("self.Health = nil", "write Health"),
        ("self:insert('Health')", "write Health"),
        ("self:remove('Marked')", "write Marked"),
        ("self.Marked = {}", "write Marked"),
        ("self.name = 'x'", "write Name"),
        ("self.Script = 'lodger'", "write Script"),
        ("world:named('lodger').enabled = false", "write Script"),
        ("world:spawn { Position = {} }", "spawn"),
        ("world:named('lodger'):despawn()", "despawn"),
        ("world:drop_all()", "function drop_all"),
        ("danger.double(2)", "function danger.double"),
        ("require('@scripts/secret')", "module secret"),
        ("world:send('Wave')", "messages Wave"),
        ("world:messages('Wave')", "messages Wave"),
        ("self:wait_for('Wave', 1)", "messages Wave"),
        ("local x = world:named('lodger').state", "state of scripts with another profile"),
        ("world:named('lodger'):spawn(print)", "spawn tasklets of scripts with another profile"),
        ("scheduler.getmain():kill()", "kill tasklets of scripts with another profile"),
        ("scheduler.set_schedule_callback(print)", "function scheduler"),
        ("scheduler.set_channel_callback(print)", "function scheduler"),
        ("clock.scale('sim', 2)", "function clock"),
        ("clock.pause('sim')", "function clock"),
        ("clock.resume('sim')", "function clock"),
        ("reload.now()", "function reload"),
    ] {
        let body = format!(
            "local ok, err = pcall(function() {line} end) print(err and err.kind, err and err.message)"
        );
        let mut game = game(&body);
        game.frames(1);
        let printed = game.printed();
        assert!(printed.starts_with("denied\t"), "{line}: {printed}");
        let expected = format!("the profile 'guest' of this script does not grant: {capability}");
        assert!(printed.ends_with(&expected), "{line}: {printed}");
        assert_eq!(game.world.query::<&Health>().iter(&game.world).count(), 2, "{line}");
        assert!(
            game.world.query::<&Health>().iter(&game.world).all(|health| health.current == 5.0),
            "{line}"
        );
    }
}

#[test]
fn references_that_a_trusted_script_hands_over_are_not_worth_more() {
    let line = r#"
        local health = nil
        self:spawn(function() health = self.inbox:receive() end)
        synchro.sleep(0.5)
        print(health.current, pcall(function() health.current = 99 end))
    "#;
    let mut game = game(line);
    game.save("giver", script("world:named('guest').inbox:send(world:named('lodger').Health)"));
    game.frames(1);
    game.spawn("giver");
    game.frames(4);
    let printed = game.printed();
    assert!(printed.starts_with("5\tfalse\t") && printed.contains("write Health"), "{printed}");
}

#[test]
fn a_guest_does_what_it_likes_with_its_own_tasklets_and_nothing_with_those_of_others() {
    let line = r#"
        local mine = tasklet(function() synchro.sleep(9) end)()
        synchro.yield()
        mine.name = "mine"
        mine:kill()
        local strange = scheduler.getcurrent().next
        local verbs = { "setup", "bind", "insert", "remove", "run", "switch", "kill", "throw", "raise_exception",
            "set_atomic", "set_ignore_nesting", "retry", "restart" }
        local refused = 0
        for _, verb in verbs do
            local ok, err = pcall(function() strange[verb](strange, true) end)
            if not ok and err.kind == "denied" and err.message:find(verb) then refused += 1 end
        end
        for _, field in { "name", "block_trap", "background", "tempval", "anything" } do
            local ok, err = pcall(function() strange[field] = true end)
            if not ok and err.kind == "denied" then refused += 1 end
        end
        print(mine.alive, refused == #verbs + 5, strange.alive, strange ~= scheduler.getcurrent())
    "#;
    let mut game = game(line);
    game.spawn("busy");
    game.frames(8);
    assert_eq!(game.printed(), "false\ttrue\ttrue\ttrue busy to the end");
}

#[test]
fn whether_scripts_are_paused_is_read_with_them() {
    let mut guest = Profile::new("guest", ["guest"]);
    guest.read = Grant::only(["Health"]);
    let mut profiles = Profiles::default();
    profiles.add(guest);
    let line =
        "print(self.Health.current, self.name, select(2, pcall(function() return self.enabled end)).message)";
    let mut game = Game::build([("guest", script(line))], |host| host.profiles(profiles));
    game.world.spawn((Name::new("Al"), Health { current: 5.0, max: 9.0 }, Script::new("guest")));
    game.frames(1);
    let printed = game.printed();
    assert!(printed.starts_with("5\tAl\t") && printed.ends_with("does not grant: read Script"), "{printed}");
}

#[test]
fn what_a_guest_defers_runs_with_its_own_profile_even_if_a_trusted_script_despawns_it() {
    let line = r#"
        scheduler.defer(function() print(pcall(function() self.Health.current = 99 end)) end)
        synchro.sleep(99)
    "#;
    let mut game = game(line);
    game.save("killer", script("world:named('guest'):despawn()"));
    game.frames(1);
    game.spawn("killer");
    game.frames(1);
    let printed = game.printed();
    assert!(printed.contains("write Health"), "{printed}");
}

/// Runs a line in one script, then asks in another whether all is as it was; what either prints.
fn escape(line: &str, witness: &str) -> String {
    let attacker = format!(
        "local function say(ok, value) local _, text = pcall(tostring, value) print(ok, text) end
         say(pcall(function() {line} end))"
    );
    let mut game = Game::new([
        ("attacker", script(&attacker)),
        ("witness", script(witness)),
        ("lib", "local Lib = { list = {} } function Lib.hello() return 'hello' end return Lib".into()),
    ]);
    game.world.spawn((Name::new("attacker"), Health::default(), Script::new("attacker")));
    game.frames(1);
    game.world.spawn((Name::new("witness"), Health::default(), Script::new("witness")));
    game.frames(2);
    game.printed()
}

#[test]
fn metatables_of_shared_values_are_locked() {
    for value in
        ["self", "self.Health", "world", "world:query()", "channel()", "tasklet(print)", "self.inbox"]
    {
        for attack in [
            format!("return getmetatable({value})"),
            format!("return (setmetatable({value}, {{}}))"),
            format!("return rawset({value}, 'x', 1)"),
            format!("return rawget({value}, '__index')"),
        ] {
            let said = escape(&attack, "print(self.alive, self.Health.current)");
            let (attacked, witness) = said.rsplit_once(' ').unwrap();
            assert_eq!(witness, "true\t0", "{attack}: {said}");
            assert!(!attacked.contains("table: 0x"), "{attack}: {said}");
        }
    }
}

#[test]
fn environments_are_out_of_reach_and_what_a_script_sets_there_is_its_own() {
    for attack in [
        "getfenv(print).print = nil",
        "setfenv(print, {})",
        "setfenv(0, {})",
        "getfenv(0).pcall = nil",
        "getfenv(1).print = nil",
        "_G.print = function() end",
        "rawset(_G, 'print', 1)",
        "getfenv(require('./lib').hello).print = nil",
        "setfenv(require('./lib').hello, { })",
        "rawset(getfenv(1), 'world', nil)",
    ] {
        let said = escape(attack, "print(type(world), require('./lib').hello())");
        assert!(said.ends_with("table\thello"), "{attack}: {said}");
    }
}

#[test]
fn the_string_metatable_is_the_same_for_all_and_locked() {
    for attack in [
        "getmetatable('').__index = function() return 'evil' end",
        "getmetatable('').__add = function() return 'evil' end",
        "rawset(getmetatable(''), '__index', nil)",
        "setmetatable('', {})",
        "string.upper = function() return 'evil' end",
        "rawset(string, 'upper', nil)",
    ] {
        let said = escape(attack, "print(('ok'):upper(), pcall(function() return 'a' + 1 end))");
        assert!(said.contains("OK\tfalse"), "{attack}: {said}");
    }
}

#[test]
fn scheduler_and_world_and_their_values_cannot_be_tampered_with() {
    for attack in [
        "scheduler.run = nil",
        "rawset(scheduler, 'getcurrent', nil)",
        "setmetatable(scheduler, { __index = function() return nil end })",
        "world.spawn = nil",
        "rawset(world, 'spawn', nil)",
        "table.clear(world)",
        "table.insert(scheduler, 1)",
        "scheduler.TaskletExit.kind = 'x'",
        "synchro.sleep = nil",
        "table.clear(synchro)",
        "table.freeze(self)",
        "rawset(tasklet, 'x', 1)",
        "clock.sim = nil",
        "table.clone(world).spawn = nil",
    ] {
        let witness =
            "synchro.sleep(0) print(world:spawn({}).alive, scheduler.getcurrent() ~= nil, clock.sim() > 0)";
        let said = escape(attack, witness);
        assert!(said.ends_with("true\ttrue\ttrue"), "{attack}: {said}");
    }
}

#[test]
fn functions_of_the_host_do_not_trust_what_they_are_called_with() {
    for attack in [
        "world.spawn()",
        "world.query(nil, 'Health')",
        "world.spawn(self)",
        "self.despawn()",
        "self.despawn(world)",
        "self.has({}, 'Health')",
        "self.wait_for(world, 'x')",
        "self.changed(3, 'Health')",
        "self.spawn(nil, print)",
        "self.inbox.send()",
        "self.inbox.send(self, 1)",
        "channel().receive(world)",
        "local f = world:query('Health') f = nil f()",
        "for a in next, self do end",
        "buffer.create(-1)",
        "string.rep('x', 1e12)",
        "table.create(1e12)",
        "string.pack('i999', 1)",
        "table.concat(self)",
        "debug.info(1e9, 's')",
        "coroutine.resume(self)",
        "coroutine.wrap(self)()",
        "error(self)",
        "error(setmetatable({}, { __tostring = function() error('x') end }))",
        "xpcall(error, function() error('again') end)",
        "select(-1e9, 1)",
        "('x'):rep(1e9):rep(1e9)",
    ] {
        let said = escape(attack, "print(self.alive)");
        assert!(said.ends_with(" true"), "{attack}: {said}");
    }
}
