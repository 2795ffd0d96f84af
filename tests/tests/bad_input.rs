//! Bad input: each is a clear error with its place, and host, world and all other tasklets go on.

use bevy_ecs::prelude::*;
use bluetick::{Library, Scene, Script, ScriptFailure, ScriptHost, ScriptStatus};
use bluetick_tests::{Game, Health, Position, script};
use std::time::Duration;

/// Counts frames in its state, whatever others do.
const WITNESS: &str = "while true do self.state.frames = (self.state.frames or 0) + 1 synchro.yield() end";

/// A game with a script `bad` on an entity `bad` with components, and with witnesses before and after it.
struct Trial {
    game: Game,
    bad: Entity,
    witnesses: [Entity; 2],
    frames: u32,
}

impl Trial {
    fn new(body: &str) -> Self {
        Self::with(body, &[], |builder| builder)
    }

    fn with(
        body: &str,
        more: &[(&str, &str)],
        add: impl FnOnce(bluetick::HostBuilder) -> bluetick::HostBuilder,
    ) -> Self {
        let mut scripts = vec![("bad".to_owned(), script(body)), ("witness".to_owned(), script(WITNESS))];
        scripts.extend(more.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        let mut game = Game::build(scripts, add);
        let first = game.spawn("witness");
        let health = Health { current: 5.0, max: 10.0 };
        let bad = game.world.spawn((Name::new("bad"), health, Position::default(), Script::new("bad"))).id();
        let second = game.spawn("witness");
        Self { game, bad, witnesses: [first, second], frames: 0 }
    }

    /// Runs a frame; the witnesses have to be well.
    #[track_caller]
    fn frame(&mut self) -> Vec<ScriptFailure> {
        self.frames += 1;
        let report = self.game.frame();
        for witness in self.witnesses {
            let state = self.game.host.state(witness).expect("a witness has a state");
            assert_eq!(state.get::<u32>("frames").unwrap(), self.frames, "{:#?}", report.failures);
        }
        report.failures
    }

    /// The next frame has one failure, of the bad script, and those after it have none.
    #[track_caller]
    fn fails(mut self) -> ScriptFailure {
        let mut failures = self.frame();
        let text = self.game.library.read("bad").unwrap().text.clone();
        assert_eq!(failures.len(), 1, "of {text}: {failures:#?}");
        for _ in 0..3 {
            assert_eq!(self.frame(), []);
        }
        let failure = failures.remove(0);
        assert_eq!((failure.entity, &*failure.script), (Some(self.bad), "bad"));
        if self.game.world.get_entity(self.bad).is_ok() {
            let status = self.game.status(self.bad);
            assert!(matches!(&status, ScriptStatus::Failed { message, .. } if *message == failure.message));
        }
        failure
    }
}

/// A body whose second line is at fault; the error has to begin with its place, and say all this.
#[track_caller]
fn wrong(line: &str, words: &[&str]) {
    let failure = Trial::new(&format!("\n{line}")).fails();
    assert!(failure.message.starts_with("bad.luau:2: "), "{line}: {failure}");
    for word in words {
        assert!(failure.message.contains(word), "{line}: expected {word:?} in: {failure}");
    }
    assert!(failure.traceback.starts_with("bad.luau:2 in function 'run'"), "{failure}");
    assert!(failure.excerpt.contains(line), "{failure}");
}

#[test]
fn a_missing_script_folder_keeps_the_host_from_being_built() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no/such/folder");
    let error = ScriptHost::builder().scripts(&missing).build(&mut World::new()).err().unwrap().to_string();
    assert_eq!(error, format!("there is no folder `{}`", missing.display()));
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = ScriptHost::builder().scripts(&file).build(&mut World::new()).err().unwrap().to_string();
    assert_eq!(error, format!("`{}` is not a folder", file.display()));
}

#[test]
fn a_missing_script_is_named_with_what_comes_nearest() {
    let mut trial = Trial::new("world:spawn { Script = 'bda' }");
    let [failure] = &trial.frame()[..] else { panic!() };
    assert!(failure.message.contains("bad.luau:1: "), "{failure}");
    assert!(failure.message.contains("there is no script `bda`; did you mean `bad`?"), "{failure}");
    trial.game.world.spawn(Script::new("../etc/passwd"));
    let [failure] = &trial.frame()[..] else { panic!() };
    assert!(failure.message.contains("there is no script `../etc/passwd`"), "{failure}");
}

#[test]
fn a_require_of_what_is_not_there_says_who_wants_what() {
    for (specifier, expected) in [
        ("./nothing", "there is no `nothing.luau`"),
        ("nothing", "a module is named by"),
        ("../../etc/passwd", ""),
        ("/etc/passwd", "a module is named by"),
        ("", "a module is named by"),
        ("@other/x", "a module is named by"),
    ] {
        let failure = Trial::new(&format!("\nrequire('{specifier}')")).fails();
        assert!(failure.message.starts_with("bad.luau:2: `bad` cannot require"), "{failure}");
        assert!(failure.message.contains(expected), "{failure}");
    }
    wrong("require(nil)", &["require"]);
    wrong("require()", &["require"]);
    wrong("require({})", &["require"]);
}

#[test]
fn modules_that_require_each_other_are_told_the_circle() {
    let more = [
        ("a", "local b = require('./b') return { b = b }"),
        ("b", "local c = require('./c') return { c = c }"),
        ("c", "local a = require('./a') return { a = a }"),
    ];
    let failure = Trial::with("\nrequire('./a')", &more, |builder| builder).fails();
    assert!(failure.message.contains("a -> b -> c -> a"), "{failure}");
    assert!(failure.message.contains("c.luau:1"), "{failure}");
}

#[test]
fn an_error_in_a_required_file_is_told_with_its_place_there() {
    let more = [("lib", "\n\nlocal x = nil + 1\nreturn {}")];
    let failure = Trial::with("\nrequire('./lib')", &more, |builder| builder).fails();
    assert!(failure.message.contains("lib.luau:3: attempt to perform arithmetic"), "{failure}");
    let more = [("lib", "\n\nlocal x = = 1\nreturn {}")];
    let failure = Trial::with("\nrequire('./lib')", &more, |builder| builder).fails();
    assert!(failure.message.contains("lib.luau:3: "), "{failure}");
}

#[test]
fn an_unknown_component_is_named_with_what_comes_nearest() {
    wrong("self.Heatlh.current = 1", &["Heatlh", "Health"]);
    wrong("self.Heatlh = { current = 1 }", &["Heatlh", "Health"]);
    wrong("self:insert('Heatlh', {})", &["there is no component 'Heatlh'", "Health"]);
    wrong("self:remove('Heatlh')", &["there is no component 'Heatlh'", "Health"]);
    wrong("self:has('Heatlh')", &["there is no component 'Heatlh'", "Health"]);
    wrong("self:get('Heatlh')", &["there is no component 'Heatlh'", "Health"]);
    wrong("world:spawn { Heatlh = {} }", &["there is no component 'Heatlh'", "Health"]);
    wrong("for _ in world:query('Heatlh') do end", &["there is no component 'Heatlh'", "Health"]);
    wrong("world:query('Health', { without = 'Heatlh' })", &["there is no component 'Heatlh'", "Health"]);
    wrong("world:resource('Score')", &["there is no resource 'Score'"]);
    wrong("world:spwan {}", &["world has no method 'spwan'", "spawn"]);
    wrong("self:despwan()", &["despwan", "despawn"]);
    wrong("self.state = 7", &["'state'", "can't be assigned to"]);
    wrong(
        "self.target = world",
        &[
            "no component, field or method 'target'; what a script keeps for itself is in self.state.target; entity",
        ],
    );
    wrong("self.inbox = 7", &["'inbox'", "can't be assigned to"]);
    wrong("self.id = 7", &["'id'", "can't be assigned to"]);
}

#[test]
fn an_unknown_field_is_named_with_what_comes_nearest_and_what_there_is() {
    wrong("self.Health.curent = 1", &["Health", "curent", "current", "max"]);
    wrong("print(self.Health.curent)", &["Health", "curent", "current", "max"]);
    wrong("self.Health = { curent = 1 }", &["Health", "curent", "current", "max"]);
    wrong("world:spawn { Health = { curent = 1 } }", &["Health", "curent", "current", "max"]);
    wrong("self.Position.at.w = 1", &[]);
}

#[test]
fn a_component_value_of_the_wrong_type_says_what_was_expected() {
    wrong("self.Health.current = 'full'", &["Health.current", "expected", "number", "\"full\""]);
    wrong("self.Health.current = nil", &["Health.current", "expected", "number", "nil"]);
    wrong("self.Health.current = {}", &["Health.current", "expected", "number"]);
    wrong("self.Health = 7", &["Health", "expected", "7"]);
    wrong("self.Health = { current = true }", &["Health", "current", "expected", "number", "true"]);
    wrong("self.Position.at = 7", &["Position.at", "expected", "vector"]);
    wrong("self.Position = { at = 'here' }", &["at", "expected", "\"here\""]);
    wrong("world:spawn { Position = { at = { w = 1 } } }", &["at", "'w'"]);
    wrong("world:spawn(7)", &["world:spawn", "expected"]);
    wrong("world:spawn { Script = 7 }", &["Script", "expected"]);
    wrong("world:spawn { Name = {} }", &["Name", "expected"]);
    wrong("self.Health.current += self.name", &[]);
    wrong("self:spawn(7)", &["spawn: expected a function"]);
    wrong("self:spawn()", &["spawn: expected a function"]);
    wrong("self.spawn(function() end)", &[]);
    wrong("world.spawn {}", &["colon"]);
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut trial = Trial::new(
        r#"
        local before = world:count("Health")
        print(pcall(world.spawn, world, { Health = { current = 1 }, Position = { at = "nowhere" } }))
        print(world:count("Health") == before)
        pcall(function() self.Health = { current = 99, max = "much" } end)
        print(self.Health.current)
        "#,
    );
    assert_eq!(trial.frame(), []);
    let printed = trial.game.printed();
    assert!(printed.starts_with("false\t"), "{printed}");
    assert!(printed.ends_with("true 5"), "{printed}");
}

#[test]
fn what_is_gone_is_named_when_it_is_used() {
    wrong("local e = world:spawn { Health = {} } e:despawn() e.Health.current = 1", &["Health", "gone"]);
    wrong("local h = self.Health self:remove('Health') h.current = 1", &["Health"]);
    wrong("local e = world:spawn {} e:despawn() e:despawn() e:insert('Health', {})", &["gone"]);
    wrong("local e = world:spawn {} local s = e.state", &["state", "no script"]);
    wrong("local e = world:spawn {} e.inbox:send(1)", &["inbox", "no script"]);
}

#[test]
fn a_script_that_kills_itself_ends_quietly() {
    for body in [
        "scheduler.getcurrent():kill() print('never')",
        "scheduler.getcurrent():kill(true) synchro.yield() print('never')",
        "error(scheduler.TaskletExit)",
        "pcall(function() scheduler.getcurrent():kill() end) print('never')",
        "local me = scheduler.getcurrent() tasklet(function() me:kill() end)() synchro.sleep(9) print('never')",
        "coroutine.wrap(function() scheduler.getcurrent():kill() end)() print('never')",
    ] {
        let mut trial = Trial::new(&format!("scheduler.defer(function() print('out') end) {body}"));
        for _ in 0..4 {
            assert_eq!(trial.frame(), [], "{body}");
        }
        assert_eq!(trial.game.printed(), "out", "{body}");
        assert_eq!(trial.game.status(trial.bad), ScriptStatus::Finished);
    }
}

#[test]
fn a_script_that_despawns_itself_and_goes_on_fails_where_it_uses_what_is_gone() {
    let mut trial = Trial::new("\nself:despawn()\nprint(self.alive)\nself.Health.current = 1");
    let failures = trial.frame();
    assert_eq!(trial.game.printed(), "false");
    let [failure] = &failures[..] else { panic!("{failures:?}") };
    assert!(failure.message.starts_with("bad.luau:4: "), "{failure}");
    assert!(failure.message.contains("gone"), "{failure}");
    assert_eq!((failure.entity, &*failure.script), (Some(trial.bad), "bad"));
    assert_eq!(trial.frame(), []);
}

#[test]
fn a_script_that_despawns_all_leaves_an_empty_world_in_which_others_can_start() {
    let mut trial = Trial::new("for e in world:query() do e:despawn() end print('all')");
    let report = trial.game.frame();
    assert_eq!(report.failures, []);
    assert_eq!(trial.game.printed(), "all");
    assert_eq!(trial.game.host.script_counts(), (0, 0));
    assert_eq!(trial.game.host.vm().stats().tasklets, 0);
    let late = trial.game.spawn("witness");
    trial.game.frames(2);
    assert_eq!(trial.game.host.state(late).unwrap().get::<u32>("frames").unwrap(), 2);
}

#[test]
fn recursion_without_end_is_an_error_at_its_place() {
    let failure = Trial::new("\nlocal function f(n) return 1 + f(n + 1) end\nf(1)").fails();
    assert!(failure.message.starts_with("bad.luau:2: stack overflow"), "{}", failure.message);
    assert!(failure.traceback.lines().count() < 100, "{}", failure.traceback.lines().count());
    assert!(failure.excerpt.contains("1 + f(n + 1)"), "{failure}");
}

#[test]
fn recursion_without_end_through_c_functions_is_an_error() {
    for body in [
        "\nlocal function f() return pcall(f) end\nlocal ok, err = f() error(tostring(err))",
        "\nlocal function f() local ok, err = pcall(f) if not ok then error(err, 0) end return ok end\nf() error('x')",
        "\nlocal function f() return xpcall(f, function(e) return e end) end\nf() error('x')",
        "\nlocal function f() return scheduler.pcall(f) end\nf() error('x')",
        "\nlocal function f() coroutine.wrap(f)() end\nf() error('x')",
        "\nlocal t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k .. 'x'] end\nprint(t.x)",
        "\nlocal function f(a, b) table.sort({ 2, 1 }, f) return false end\nf()",
        "\nlocal function f() return string.gsub('a', 'a', f) end\nf() error('x')",
        "\nlocal function f() tasklet(f)():run() end\nf() error('x')",
    ] {
        let failures = {
            let mut trial =
                Trial::with(body, &[], |builder| builder.budget(Duration::MAX).memory_limit(96 << 20));
            let failures = trial.frame();
            trial.frame();
            failures
        };
        assert!(!failures.is_empty(), "{body}");
        assert!(failures.iter().all(|failure| failure.message.len() < 10_000), "{}", failures[0]);
    }
}

/// Only who writes a field like a variable's meant one of his own.
#[test]
fn what_is_no_field_of_a_scripts_own_is_not_looked_for_in_its_state() {
    for body in
        ["self:target()", "local x = self[{}]", "local x = self['two words']", "local x = self.Target"]
    {
        let failure = Trial::with(&format!("\n{body}"), &[], |builder| builder).fails();
        let message = &failure.message;
        assert!(message.contains("there is no component") && !message.contains("state"), "{body}: {message}");
    }
}

#[test]
fn allocation_without_end_meets_the_memory_limit_and_harms_only_who_asked() {
    for body in [
        "\nlocal all = {} while true do table.insert(all, { 1, 2, 3 }) end",
        "\nlocal s = 'x' while true do s ..= s end",
        "\nlocal all = {} while true do table.insert(all, buffer.create(1000000)) end",
        "\ntable.create(6e7)",
        "\nbuffer.create(1e9)",
        "\nstring.rep('x', 1e9)",
        "\nlocal all = {} while true do table.insert(all, coroutine.create(function() end)) end",
        "\nlocal all = {} while true do table.insert(all, channel()) end",
        "\nlocal all = {} while true do table.insert(all, tasklet(function() end)) end",
    ] {
        let failure = Trial::with(body, &[], |builder| builder.memory_limit(8 << 20)).fails();
        assert!(failure.message.contains("not enough memory"), "{body}: {failure}");
        assert!(failure.message.starts_with("bad.luau:2: "), "a place, after {body}: {failure}");
    }
}

#[test]
fn what_a_script_that_ran_out_of_memory_held_is_free_again() {
    let body = "\nself.state.ok = true local all = {} while true do table.insert(all, { 1, 2, 3 }) end";
    let mut trial = Trial::with(body, &[], |builder| builder.memory_limit(8 << 20));
    assert_eq!(trial.frame().len(), 1);
    trial.game.host.vm().lua().gc_collect().unwrap();
    assert!(trial.game.host.vm().memory() < 4 << 20, "{}", trial.game.host.vm().memory());
    for _ in 0..20 {
        trial.game.world.spawn(Script::new("bad"));
        assert_eq!(trial.frame().len(), 1);
    }
}

#[test]
fn a_script_can_catch_that_memory_has_run_out() {
    let body = "
        local ok, err = pcall(function() local all = {} while true do table.insert(all, {}) end end)
        print(ok, err.kind, string.find(err.message, 'memory limit') ~= nil)
        synchro.yield()
        print('on')";
    let mut trial = Trial::with(body, &[], |builder| builder.memory_limit(8 << 20));
    assert_eq!(trial.frame(), []);
    assert_eq!(trial.frame(), []);
    assert_eq!(trial.game.printed(), "false\tmemory\ttrue on");
}

/// A script that keeps half of what there may be, and twenty that leave garbage behind in each frame.
#[test]
fn garbage_beside_a_heap_that_is_half_full_costs_nobody_his_memory() {
    for limit in [16 << 20, 12 << 20] {
        let keeper = "local It = {} function It.run(self)
            self.state.kept = {}
            for i = 1, 80000 do self.state.kept[i] = { i, i, i } end
            synchro.sleep(80000)
        end return It";
        let user = "local It = {} function It.run(self)
            while true do
                local all = {}
                for i = 1, 10 do all[i] = { i } end
                synchro.yield()
            end
        end return It";
        let mut world = World::new();
        let library = Library::in_memory([("keeper", keeper), ("user", user)]);
        let builder = ScriptHost::builder().library(library).budget(Duration::MAX).memory_limit(limit);
        let mut host = builder.build(&mut world).expect("a host");
        world.spawn(Script::new("keeper"));
        for _ in 0..20 {
            world.spawn(Script::new("user"));
        }
        for frame in 0..1500 {
            let report = host.tick(&mut world, 0.01);
            assert!(report.failures.is_empty(), "{limit}, frame {frame}: {}", report.failures[0]);
        }
    }
}

#[test]
fn a_world_too_large_for_the_memory_limit_is_reported_and_what_runs_goes_on() {
    let mut trial = Trial::with("synchro.sleep(1000)", &[], |builder| builder.memory_limit(6 << 20));
    assert_eq!(trial.frame(), []);
    let crowd: Vec<Entity> = (0..20_000).map(|_| trial.game.spawn("bad")).collect();
    let failures = trial.frame();
    assert!(!failures.is_empty());
    assert!(failures.iter().all(|failure| failure.message.contains("memory")), "{}", failures[0]);
    assert!(failures.len() < 10, "{} messages", failures.len());
    let failed =
        crowd.iter().filter(|&&e| matches!(trial.game.status(e), ScriptStatus::Failed { .. })).count();
    let (_, counted) = trial.game.host.script_counts();
    assert!(failed > 1000, "{failed}");
    assert_eq!(failed, counted);
    for entity in crowd {
        trial.game.world.despawn(entity);
    }
    assert_eq!(trial.frame(), []);
    trial.game.host.vm().lua().gc_collect().unwrap();
    trial.game.spawn("bad");
    assert_eq!(trial.frame(), []);
}

#[test]
fn odd_values_can_be_thrown_and_are_described() {
    for (thrown, expected) in [
        ("'text'", "bad.luau:2: text"),
        ("'text', 0", "text"),
        ("7", "bad.luau:2: 7"),
        ("nil", "an error value that is nil"),
        ("true", "true"),
        ("{}", "an error value that is a table: {}"),
        (
            "{ code = 3, who = 'me', [1] = true, more = {} }",
            "an error value that is a table: { [1] = true, code = 3, more = <table>, who = \"me\" }",
        ),
        ("{ message = 'inside' }", "inside"),
        ("{ message = {} }", "an error value that is a table"),
        ("setmetatable({}, { __tostring = function() error('no') end })", "an error value that is a table"),
        (
            "setmetatable({}, { __tostring = function() while true do end end })",
            "an error value that is a table",
        ),
        ("setmetatable({}, { __index = function() error('no') end })", "an error value that is a table"),
        ("print", "an error value that is function"),
        ("self", "an error value that is a userdata"),
        ("vector.one", "an error value that is vector"),
        ("coroutine.create(print)", "an error value that is thread"),
        ("buffer.create(1)", "an error value that is buffer"),
        ("scheduler.StopIteration", "StopIteration"),
        ("'\\0\\255\\27[31m'", "bad.luau:2: "),
        ("string.rep('x', 1000000)", "bad.luau:2: xxx"),
    ] {
        let failure = Trial::new(&format!("\nerror({thrown})")).fails();
        assert!(failure.message.starts_with(expected), "error({thrown}): {:.200}", failure.message);
        assert!(failure.traceback.contains("bad.luau:2 in function 'run'"), "error({thrown}): {failure}");
    }
}

#[test]
fn errors_in_deferred_functions_are_reported_and_the_others_run() {
    let body = r#"
        scheduler.defer(function() print("first") end)
        scheduler.defer(function() error("in defer") end)
        scheduler.defer(function() print("last") end)
        synchro.sleep(1000)
    "#;
    let mut trial = Trial::new(body);
    assert_eq!(trial.frame(), []);
    trial.game.world.despawn(trial.bad);
    let failures = trial.frame();
    let [failure] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!(failure.message, "bad.luau:3: in defer");
    assert_eq!((failure.entity, &*failure.script), (Some(trial.bad), "bad"));
    assert!(failure.excerpt.contains("error(\"in defer\")"), "{failure}");
    assert_eq!(trial.game.printed(), "last first");
    assert_eq!(trial.game.host.vm().stats().tasklets, 2);
}

#[test]
fn what_a_deferred_function_may_not_do_is_an_error() {
    for body in ["synchro.sleep(1)", "synchro.yield()", "channel():receive()", "scheduler.schedule()"] {
        let body = format!("\nscheduler.defer(function()\n{body} end)");
        let failure = Trial::new(&body).fails();
        assert!(failure.message.starts_with("bad.luau:3: "), "{failure}");
    }
    let endless = "scheduler.defer(function() local function f() return 1 + f() end f() end)";
    let failure = Trial::new(endless).fails();
    assert!(failure.message.contains("stack overflow"), "{failure}");
    let hungry = "scheduler.defer(function() local s = 'x' while true do s ..= s end end)";
    let failure = Trial::with(hungry, &[], |builder| builder.memory_limit(8 << 20)).fails();
    assert!(failure.message.contains("not enough memory"), "{failure}");
}

#[test]
fn what_a_script_leaves_set_in_the_scheduler_does_not_harm_others() {
    for body in [
        "scheduler.switch_trap(1)",
        "scheduler.switch_trap(1) synchro.yield()",
        "scheduler.switch_trap(-5) error('x')",
        "scheduler.set_schedule_callback(function() error('x') end)",
        "scheduler.set_channel_callback(function() error('x') end) channel():receive()",
        "scheduler.getmain():kill()",
        "pcall(scheduler.getmain().throw, scheduler.getmain(), 'x')",
        "pcall(scheduler.getmain().bind, scheduler.getmain(), print, {})",
        "pcall(scheduler.getmain().remove, scheduler.getmain())",
        "scheduler.run()",
        "scheduler.run(10)",
        "scheduler.run({ timeout = 100, soft = true })",
        "scheduler.getcurrent().block_trap = true synchro.yield()",
        "scheduler.getcurrent():set_atomic(true)",
        "scheduler.schedule_remove()",
        "scheduler.getcurrent():remove()",
    ] {
        let mut trial = Trial::new(body);
        for _ in 0..3 {
            let failures = trial.frame();
            assert!(failures.iter().all(|failure| failure.script == "bad"), "{body}: {failures:#?}");
        }
    }
}

#[test]
fn a_script_that_makes_main_runnable_only_ends_the_frame_early() {
    for body in ["scheduler.getmain():insert()", "scheduler.getmain():run()", "scheduler.getmain():switch()"]
    {
        let mut game = Game::new([("bad", script(body)), ("witness", script(WITNESS))]);
        let first = game.spawn("witness");
        game.spawn("bad");
        let second = game.spawn("witness");
        for _ in 0..4 {
            game.frame();
        }
        for witness in [first, second] {
            let frames: u32 = game.host.state(witness).unwrap().get("frames").unwrap();
            assert!(frames >= 3, "{body}: {frames}");
        }
    }
}

#[test]
fn globals_and_libraries_cannot_be_changed() {
    for line in [
        "synchro.sleep = nil",
        "scheduler.run = nil",
        "math.huge = 1",
        "string.format = nil",
        "world.spawn = nil",
        "clock.sim = nil",
        "scheduler.TaskletExit.kind = 'x'",
        "getmetatable('').__index = nil",
    ] {
        wrong(line, &[]);
    }
    let mut trial = Trial::new("print = nil pcall = nil world = nil self.state.ok = true");
    assert_eq!(trial.frame(), []);
    let late = trial.game.spawn("witness");
    assert_eq!(trial.frame(), []);
    assert!(trial.game.host.state(late).is_some());
}

#[test]
fn what_could_reach_out_of_the_sandbox_is_not_there() {
    for name in [
        "io",
        "os.execute",
        "os.exit",
        "os.getenv",
        "loadstring",
        "load",
        "dofile",
        "debug.sethook",
        "package",
        "collectgarbage('collect')",
    ] {
        let trial = Trial::new(&format!(
            "\nlocal ok, found = pcall(function() return {name} end) print(ok and found)"
        ));
        let mut trial = trial;
        assert_eq!(trial.frame(), []);
        let printed = trial.game.printed();
        assert!(printed == "nil" || printed == "false", "{name}: {printed}");
    }
}

#[test]
fn a_top_level_that_never_ends_or_uses_the_game_is_refused_with_its_place() {
    for (text, expected) in [
        ("local n = 0\nwhile true do n += 1 end\nreturn {}", "top.luau:2: "),
        ("local x = 1\nworld:spawn {}\nreturn {}", "top.luau:2: "),
        ("local x = 1\nlocal function f() return 1 + f() end f()\nreturn {}", "top.luau:2: stack overflow"),
        ("local x = 1\nerror({ code = 1 })\nreturn {}", "an error value that is a table"),
        ("local x = 1\nchannel():receive()\nreturn {}", "top.luau:2: "),
        ("local x = 1\nscheduler.schedule()\nreturn {}", "top.luau:2: "),
        ("local x = 1\nscheduler.getcurrent():kill()\nreturn {}", "TaskletExit"),
        ("local x = 1\ncoroutine.yield()\nreturn {}", "attempt to yield"),
    ] {
        let mut trial = Trial::with("synchro.sleep(9)", &[("top", text)], |builder| builder);
        assert_eq!(trial.frame(), []);
        trial.game.spawn("top");
        let failures = trial.frame();
        let [failure] = &failures[..] else { panic!("{text}: {failures:#?}") };
        assert!(failure.message.starts_with(expected), "{text}: {failure}");
        assert_eq!(failure.script, "top");
        assert_eq!(trial.frame(), []);
    }
}

#[test]
fn a_file_that_cannot_be_loaded_is_tried_once_however_many_entities_have_it() {
    let text = "local n = 0 print('tried')\nwhile true do n += 1 end\nreturn {}";
    let mut trial = Trial::with("synchro.sleep(9)", &[("top", text)], |builder| builder);
    for _ in 0..500 {
        trial.game.spawn("top");
    }
    trial.game.printed();
    assert_eq!(trial.frame().len(), 1);
    assert_eq!(trial.game.printed(), "tried");
    assert_eq!(trial.game.host.script_counts().1, 500);
}

#[test]
fn files_of_odd_content_are_refused_and_nothing_else_happens() {
    for text in [
        "\0\0\0",
        "return {}\0",
        "\u{feff}return { run = function() print('bom') end }",
        "#!/usr/bin/env luau\nreturn { run = function() end }",
        "return {} return {}",
        "\u{1b}Lua",
        "((((((((((",
        "--[[ unfinished",
        "return 'unfinished",
        "local 変数 = 1 return {}",
    ] {
        let mut trial = Trial::with("synchro.sleep(9)", &[("odd", text)], |builder| builder);
        trial.game.spawn("odd");
        trial.frame();
        trial.frame();
    }
    let deep = format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let mut trial = Trial::with("synchro.sleep(9)", &[("odd", &deep)], |builder| builder);
    trial.game.spawn("odd");
    assert_eq!(trial.frame().len(), 1);
    let long = format!("return {{ run = function() print(#'{}') end }}", "x".repeat(1 << 20));
    let mut trial = Trial::with("synchro.sleep(9)", &[("odd", &long)], |builder| builder);
    trial.game.spawn("odd");
    assert_eq!(trial.frame(), []);
    assert_eq!(trial.game.printed(), "1048576");
}

#[test]
fn a_host_function_that_fails_or_panics_is_an_error_of_its_caller() {
    let mut trial = Trial::with("\nworld:fail()", &[], |builder| {
        builder.function("fail", |_: &mut World, (): ()| Err::<(), _>("the gate is stuck"))
    });
    let failures = trial.frame();
    assert_eq!(failures[0].message, "bad.luau:2: world:fail: the gate is stuck");
    let mut trial = Trial::with("\nworld:panic()", &[], |builder| {
        builder.function("panic", |_: &mut World, (): ()| -> Result<(), String> { panic!("on purpose") })
    });
    let failures = trial.frame();
    assert!(failures[0].message.starts_with("bad.luau:2: world:panic: "), "{}", failures[0]);
    assert!(failures[0].message.contains("on purpose"), "{}", failures[0]);
    assert_eq!(trial.frame(), []);
}

#[test]
fn a_host_without_scripts_ticks() {
    let mut world = World::new();
    let mut host = ScriptHost::builder().build(&mut world).unwrap();
    assert_eq!(host.tick(&mut world, 0.1).failures, []);
    world.spawn(Script::new("nobody"));
    let report = host.tick(&mut world, 0.1);
    assert_eq!(report.failures[0].message, "there is no script `nobody`");
    let library = Library::in_memory([("a", "return {}")]);
    let other = ScriptHost::builder().library(library).build(&mut World::new());
    assert!(other.is_ok());
}

#[test]
fn values_of_odd_kinds_go_through_inboxes_and_channels() {
    let mut trial = Trial::new(
        r#"
        local got = 0
        for value in self.inbox do
            got += 1
            print(typeof(value))
        end
        "#,
    );
    assert_eq!(trial.frame(), []);
    assert!(trial.game.host.send(trial.bad, f64::NAN).unwrap());
    assert!(trial.game.host.send(trial.bad, "text").unwrap());
    assert!(trial.game.host.send(trial.bad, vec![1, 2, 3]).unwrap());
    assert_eq!(trial.frame(), []);
    assert_eq!(trial.game.printed(), "number string table");
    // Nil ends the loop, as it does with any iterator.
    assert!(trial.game.host.send(trial.bad, mlua::Value::Nil).unwrap());
    assert_eq!(trial.frame(), []);
    assert_eq!(trial.game.status(trial.bad), ScriptStatus::Finished);
}

#[test]
fn an_inbox_that_nobody_reads_keeps_its_newest_values() {
    let mut trial = Trial::new(
        "synchro.sleep(1) local n, first = 0, nil
        while self.inbox.balance > 0 do local v = self.inbox:receive() first = first or v n += 1 end print(n, first)",
    );
    assert_eq!(trial.frame(), []);
    for value in 0..5000 {
        trial.game.host.send(trial.bad, value).unwrap();
    }
    for _ in 0..4 {
        assert_eq!(trial.frame(), []);
    }
    assert_eq!(trial.game.printed(), "1024\t3976");
}

#[test]
fn a_malformed_scene_is_an_error_with_its_place_and_spawns_nothing() {
    let good = "[[entity]]\nname = 'good'\nscript = 'bad'\n";
    for (bad, expected) in [
        ("[[entity]\nname = 'x'", "4:"),
        ("[[entity]]\nname = 'x", "5:"),
        ("[[entity]]\nname = 'x'\nname = 'y'", "6:"),
        ("[entities]\nname = 'x'", "4:2: a scene has no 'entities'; it has [[entity]]"),
        (
            "[[entity]]\nHeatlh = { max = 1 }",
            "5:1: entity 2: there is no component 'Heatlh' (did you mean 'Health'?)",
        ),
        ("[[entity]]\nHealth = { maximum = 1 }", "5:12: entity 2: Health: "),
        ("[[entity]]\nHealth = { max = 'much' }", "5:"),
        ("[[entity]]\nHealth = 7", "5:"),
        ("[[entity]]\nPosition = { at = [1, 2] }", "5:"),
        ("[[entity]]\nPosition = { at = [1, 2, 3, 4] }", "5:"),
        ("[[entity]]\nscript = 'goblin'", "5:"),
        ("[[entity]]\nscript = 7", "5:"),
        ("[[entity]]\nname = 7", "5:"),
        ("[[entity]]\ncount = -1", "5:"),
        ("[[entity]]\ncount = 1000000000", "5:"),
        ("[[entity]]\ncount = 'many'", "5:"),
        ("[[entity]]\nrandom.Health.current = [9, 1]", "5:"),
        ("[[entity]]\nrandom.Health.current = 7", "5:"),
        ("[[entity]]\nrandom.Health.curent = [1, 9]", "5:"),
        ("[[entity]]\nrandom.Nothing.at = [1, 9]", "5:16: entity 2: there is no component 'Nothing'"),
    ] {
        let mut trial = Trial::new("synchro.sleep(1000)");
        assert_eq!(trial.frame(), []);
        let before = trial.game.world.entities().count_spawned();
        let text = format!("{good}{bad}\n");
        let spawned = Scene::parse(&text, "arena.toml")
            .and_then(|scene| scene.spawn(&mut trial.game.world, trial.game.host.registry(), 1));
        let error = spawned.expect_err(bad);
        assert_eq!(error.file, "arena.toml");
        let error = error.to_string();
        assert!(error.starts_with(&format!("arena.toml:{expected}")), "{bad}: {error}");
        assert!(error.lines().count() > 1, "an excerpt: {error}");
        assert_eq!(trial.game.world.entities().count_spawned(), before, "{bad}");
        assert_eq!(trial.frame(), []);
        assert_eq!(trial.game.host.script_counts(), (3, 0), "{bad}");
    }
}

#[test]
fn a_scene_is_spawned_into_a_running_game() {
    let text = "[[entity]]\nname = 'new'\nscript = 'witness'\nHealth = { current = 2 }\ncount = 3\n";
    let mut trial = Trial::new("synchro.sleep(1000)");
    assert_eq!(trial.frame(), []);
    let scene = Scene::parse(text, "arena.toml").unwrap();
    let entities = scene.spawn(&mut trial.game.world, trial.game.host.registry(), 1).unwrap();
    assert_eq!(trial.frame(), []);
    assert_eq!(trial.game.host.script_counts(), (6, 0));
    assert_eq!(trial.game.world.get::<Health>(entities[2]).unwrap().current, 2.0);
}
