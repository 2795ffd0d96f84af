//! Editing a game while it runs (`hot-reload.md`), through the host.

use bevy_ecs::prelude::*;
use bluetick::{Library, ReloadReport, Script, ScriptHost, ScriptStatus};
use bluetick_tests::{Game, script};
use std::time::{Duration, Instant};

/// The next frame reloads; nothing else may fail.
#[track_caller]
fn reloaded(game: &mut Game) -> ReloadReport {
    let report = game.frame();
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
    let reload = report.reload.expect("something was reloaded");
    assert!(!reload.is_refused(), "{reload}");
    reload
}

/// The next frame refuses what was saved; what it says.
#[track_caller]
fn refused(game: &mut Game) -> String {
    let report = game.frame();
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
    let reload = report.reload.expect("something was refused");
    assert!(reload.is_refused(), "{reload}");
    reload.to_string()
}

/// A guard that patrols: `patrol` is what its tasklet calls over and over.
fn guard(patrol: &str) -> String {
    format!(
        "local Guard = {{ score = 0 }}
local visits = 0
function Guard.run(self)
    self.state.born = clock.frame()
    while true do
        Guard.patrol(self)
        synchro.yield()
    end
end
function Guard.patrol(self)
    visits += 1
    {patrol}
end
return Guard"
    )
}

#[test]
fn running_tasklets_run_new_functions_from_their_next_call_and_keep_state_and_place() {
    let mut game = Game::new([("guard", guard("print('old', visits)"))]);
    let entity = game.spawn("guard");
    game.frames(3);
    assert_eq!(game.printed(), "old\t1 old\t2 old\t3");
    game.save("guard", guard("print('new', visits, self.state.born)"));
    let report = reloaded(&mut game);
    assert_eq!((report.modules.len(), report.modules[0].from, report.modules[0].to), (1, 1, 2));
    assert!(report.to_string().starts_with("reload  guard.luau #1 -> #2"), "{report}");
    assert_eq!(game.printed(), "new\t4\t1", "in the frame that sees the save, with all values kept");
    assert_eq!(game.status(entity), ScriptStatus::Running);
    assert_eq!(game.host.script_counts(), (1, 0));
}

#[test]
fn all_entities_of_a_script_change_in_one_frame_and_new_ones_start_with_the_new_text() {
    let mut game = Game::new([("guard", guard("print(1)"))]);
    for _ in 0..100 {
        game.spawn("guard");
    }
    game.frames(1);
    assert_eq!(game.printed(), vec!["1"; 100].join(" "));
    game.save("guard", guard("print(2)"));
    game.spawn("guard");
    reloaded(&mut game);
    assert_eq!(game.printed(), vec!["2"; 101].join(" "));
}

#[test]
fn values_that_the_game_changed_stay_and_others_follow_the_file() {
    let text = |speed: u32, score: u32, local: u32, names: &str| {
        format!(
            "local M = {{ speed = {speed}, score = {score}, tune = {{ jump = {speed} }}, names = {{ {names} }} }}
            local limit = {local}
            local hits = {local}
            function M.run(self)
                while true do M.step(self) synchro.yield() end
            end
            function M.step(self)
                if clock.frame() == 1 then M.score += 1 hits += 1 end
                print(M.speed, M.score, M.tune.jump, limit, hits, table.concat(M.names, '+'))
            end
            return M"
        )
    };
    let mut game = Game::new([("m", text(5, 0, 10, "'a'"))]);
    game.spawn("m");
    game.frames(1);
    assert_eq!(game.printed(), "5\t1\t5\t10\t11\ta");
    game.save("m", text(8, 7, 20, "'a', 'b'"));
    let report = reloaded(&mut game);
    assert_eq!(game.printed(), "8\t1\t8\t20\t11\ta+b");
    let mut kept: Vec<&str> =
        report.differences.iter().filter(|one| one.kept).map(|one| &*one.path).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["M.score", "local hits"]);
    assert!(report.to_string().contains("now   M.speed 5 -> 8"), "{report}");
    assert!(report.to_string().contains("kept  M.score = 1 (the game changed it; file says 7)"), "{report}");
}

#[test]
fn a_syntax_error_changes_nothing_and_is_reported_with_file_line_and_excerpt() {
    let mut game = Game::new([("ai/guard", guard("print('old')"))]);
    game.spawn("ai/guard");
    game.frames(1);
    game.save("ai/guard", guard("print('new'"));
    let report = refused(&mut game);
    assert!(
        report.starts_with("reload refused  ai/guard (still #1)\n  RL001  ai/guard.luau:13: "),
        "{report}"
    );
    assert!(report.contains("print('new'"), "an excerpt: {report}");
    assert_eq!(game.printed(), "old old");
    game.frames(2);
    assert_eq!(game.printed(), "old old");
    // Another bad save, then the mended file.
    game.save("ai/guard", guard("print('newer'"));
    refused(&mut game);
    game.save("ai/guard", guard("print('mended')"));
    let report = reloaded(&mut game);
    assert_eq!((report.modules[0].from, report.modules[0].to), (1, 2));
    assert_eq!(game.printed(), "old mended");
}

#[test]
fn a_top_level_that_fails_changes_nothing_and_is_reported_with_file_line_and_excerpt() {
    for (line, expected) in [
        ("local x = nothing.at.all", "RL002  guard.luau:15: attempt to index nil with 'at'"),
        ("error('on purpose')", "RL002  guard.luau:15: on purpose"),
        ("while true do end", "RL002  guard.luau:15: the top level of a script only defines"),
        ("local function f() return 1 + f() end f()", "RL002  guard.luau:15: stack overflow"),
        ("world:spawn {}", "RL002  guard.luau:15: "),
        ("synchro.sleep(1)", "RL002  guard.luau:15: synchro.sleep is only possible in a tasklet"),
        ("require('./nothing')", "RL002  guard.luau:15: `guard` cannot require \"./nothing\""),
        ("do return end", "RL003  guard.luau"),
        ("do return nil end", "RL003  guard.luau"),
        ("do return 7 end", "RL003  guard.luau: returned a table before and returns a number now"),
        ("do return Guard.run end", "RL003  guard.luau: returned a table before and returns a function now"),
    ] {
        let mut game = Game::new([("guard", guard("print('old', Guard.score, visits)"))]);
        game.spawn("guard");
        game.frames(1);
        let text = guard("Guard.score += 1 print('new')")
            .replace("return Guard", &format!("Guard.score = 5\n{line}\nreturn Guard"));
        game.save("guard", text);
        let report = refused(&mut game);
        assert!(
            report.starts_with(&format!("reload refused  guard (still #1)\n  {expected}")),
            "{line}: {report}"
        );
        if expected.contains(":15:") {
            assert!(report.contains(&format!("15 | {line}")), "{line}: {report}");
        }
        assert_eq!(game.printed(), "old\t0\t1 old\t0\t2", "{line}");
        game.save("guard", guard("print('mended', visits)"));
        reloaded(&mut game);
        assert_eq!(game.printed(), "mended\t3", "{line}");
    }
}

#[test]
fn an_empty_file_is_refused() {
    for text in ["", "\n\n", "-- nothing yet\n"] {
        let mut game = Game::new([("guard", guard("print('old')"))]);
        game.spawn("guard");
        game.frames(1);
        game.save("guard", text);
        let report = refused(&mut game);
        assert!(report.contains("RL003") || report.contains("RL004"), "{report}");
        assert_eq!(game.printed(), "old old");
    }
}

#[test]
fn a_save_without_a_change_is_no_reload() {
    let mut game = Game::new([("guard", guard("print(1)"))]);
    game.spawn("guard");
    game.frames(1);
    game.save("guard", guard("print(1)"));
    assert!(game.frame().reload.is_none());
    game.save("guard", guard("print(2)"));
    game.save("guard", guard("print(3)"));
    let report = reloaded(&mut game);
    assert_eq!(report.modules[0].to, 2, "the newest text, once");
    assert_eq!(game.printed(), "1 1 3");
}

#[test]
fn files_that_nobody_runs_change_without_a_word() {
    let mut game = Game::new([("guard", guard("print(1)")), ("idle", guard("print('idle')"))]);
    game.spawn("guard");
    game.frames(1);
    game.save("idle", "this is no Luau");
    let report = game.frame();
    assert!(report.reload.is_none() && report.failures.is_empty(), "{report:#?}");
    game.save("idle", guard("print('idle 2')"));
    game.spawn("idle");
    game.frames(1);
    assert_eq!(game.printed(), "1 1 idle 2 1", "what starts goes before those who are woken");
}

#[test]
fn two_files_saved_together_change_together_or_not_at_all() {
    let user = |call: &str| {
        format!(
            "local lib = require('./lib')
            local M = {{}}
            function M.run(self) while true do M.step() synchro.yield() end end
            function M.step() print({call}) end
            return M"
        )
    };
    let mut game = Game::new([
        ("user", user("lib.old()")),
        ("lib", "return { old = function() return 'old' end }".into()),
    ]);
    game.spawn("user");
    game.frames(1);
    // An API is renamed here and there; one of the two is broken.
    game.save("lib", "return { new = function() return 'new' end }");
    game.save("user", user("lib.new("));
    let report = refused(&mut game);
    assert!(report.contains("reload refused  user (still #1)\n  RL001  user.luau:4: "), "{report}");
    assert!(report.contains("RL006  lib was saved with it and waits for it"), "{report}");
    assert_eq!(game.printed(), "old old", "no frame sees half");
    game.frames(1);
    game.save("user", user("lib.new()"));
    let report = reloaded(&mut game);
    let mut modules: Vec<&str> = report.modules.iter().map(|module| &*module.module).collect();
    modules.sort_unstable();
    assert_eq!(modules, ["lib", "user"], "the mended file brings the other with it");
    assert_eq!(game.printed(), "old new");
}

#[test]
fn a_file_that_was_broken_before_does_not_hold_up_others() {
    let mut game = Game::new([("broken", guard("print('b1')")), ("fine", guard("print('f1')"))]);
    game.spawn("broken");
    game.spawn("fine");
    game.frames(1);
    game.save("broken", "this is no Luau");
    refused(&mut game);
    game.printed();
    game.save("fine", guard("print('f2')"));
    let report = reloaded(&mut game);
    assert_eq!(report.modules.len(), 1);
    assert_eq!(game.printed(), "b1 f2");
}

#[test]
fn who_requires_a_changed_file_follows_it() {
    let mut game = Game::new([
        ("config", "return { speed = 5, list = { 1 } }".to_owned()),
        ("middle", "local config = require('./config') return { twice = config.speed * 2 }".to_owned()),
        (
            "user",
            "local config = require('./config')
            local middle = require('./middle')
            local copied = config.speed
            local M = { also = config.speed }
            function M.run(self) while true do M.step() synchro.yield() end end
            function M.step() print(config.speed, copied, M.also, middle.twice, #config.list) end
            return M"
                .to_owned(),
        ),
        ("other", guard("")),
    ]);
    game.spawn("user");
    game.spawn("other");
    game.frames(1);
    game.save("config", "return { speed = 8, list = { 1, 2 } }");
    let report = reloaded(&mut game);
    assert_eq!(game.printed(), "5\t5\t5\t10\t1 8\t8\t8\t16\t2");
    let mut modules: Vec<&str> = report.modules.iter().map(|module| &*module.module).collect();
    modules.sort_unstable();
    assert_eq!(modules, ["config", "middle", "user"]);
    // A dependent that can no longer be loaded holds all of them.
    game.save("config", "return { list = {} }");
    let report = refused(&mut game);
    assert!(report.contains("RL002  middle.luau:1: "), "{report}");
    assert_eq!(game.printed(), "8\t8\t8\t16\t2");
}

#[test]
fn a_deleted_file_stops_nothing_and_may_come_back() {
    let mut game = Game::new([("guard", guard("print(1)"))]);
    let entity = game.spawn("guard");
    game.frames(1);
    // With a text that was refused: nobody waits for that any more.
    game.save("guard", "return {");
    refused(&mut game);
    game.library.remove("guard");
    let report = game.frame();
    assert!(report.failures.is_empty());
    assert_eq!(report.gone, ["guard"]);
    assert!(
        report.notes.iter().any(|note| note.contains("RL005") && note.contains("guard")),
        "{:?}",
        report.notes
    );
    game.spawn("guard");
    game.frames(1);
    assert_eq!(game.printed(), "1 1 1 1 1", "starting uses the last good version");
    assert_eq!(game.status(entity), ScriptStatus::Running);
    game.save("guard", guard("print(2)"));
    reloaded(&mut game);
    assert_eq!(game.printed(), "2 2");
}

#[test]
fn channels_that_a_top_level_makes_survive_and_those_who_wait_on_them_are_served() {
    let bell = |word: &str| {
        format!(
            "local Bell = {{ rung = channel(), queue = channel() }}
            local quiet = channel()
            function Bell.run(self)
                self:spawn(Bell.clerk)
                while true do
                    synchro.sleep(1)
                    Bell.ring()
                end
            end
            function Bell.clerk()
                for customer in Bell.queue do print('{word}-served', customer) end
            end
            function Bell.ring()
                while Bell.rung.balance < 0 do Bell.rung:send('{word}') end
                while quiet.balance < 0 do quiet:send('quiet-{word}') end
            end
            function Bell.listen() return quiet:receive() end
            return Bell"
        )
    };
    let listener = "local Bell = require('./bell')
        local Listener = {}
        function Listener.run(self)
            self:spawn(function() print(Bell.listen()) end)
            print(Bell.rung:receive())
            Bell.queue:send(self.name)
        end
        return Listener";
    let mut game = Game::new([("bell", bell("old")), ("listener", listener.to_owned())]);
    game.spawn("bell");
    for name in ["x", "y"] {
        game.world.spawn((Name::new(name), Script::new("listener")));
    }
    game.frames(1);
    game.save("bell", bell("new"));
    reloaded(&mut game);
    assert_eq!(game.printed(), "");
    game.frames(4);
    let printed = game.printed();
    let count = |word: &str| printed.split(' ').filter(|there| *there == word).count();
    assert_eq!((count("new"), count("quiet-new")), (2, 2), "{printed}");
    // The clerk waits in its loop, which goes on in the new text.
    assert_eq!((count("new-served\tx"), count("new-served\ty")), (1, 1), "{printed}");
    assert_eq!(count("old"), 0, "{printed}");
}

#[test]
fn failed_scripts_start_again_with_the_mended_text_and_none_is_lost() {
    let mut game = Game::new([("guard", guard("if visits > 100 then error('typo') end"))]);
    let entities: Vec<Entity> = (0..100).map(|_| game.spawn("guard")).collect();
    game.frames(1);
    let report = game.frame();
    assert_eq!((report.failures.len(), report.failures[0].count), (1, 100));
    assert_eq!(game.host.script_counts(), (0, 100));
    game.frames(3);
    game.save("guard", guard("print(self.state.born)"));
    reloaded(&mut game);
    assert_eq!(game.host.script_counts(), (100, 0));
    assert_eq!(game.printed().split(' ').count(), 100);
    assert!(entities.iter().all(|&entity| game.status(entity) == ScriptStatus::Running));
}

#[test]
fn new_text_that_raises_ends_the_tasklets_that_run_it_and_the_next_save_starts_them_again() {
    let mut game = Game::new([("guard", guard("print(1)")), ("other", guard("print('other')"))]);
    let guard_entity = game.spawn("guard");
    game.spawn("other");
    game.frames(1);
    game.save("guard", guard("print(self.postion.x)"));
    let report = game.frame();
    assert!(report.reload.is_some_and(|reload| !reload.is_refused()));
    let [failure] = &report.failures[..] else { panic!() };
    assert!(failure.message.starts_with("guard.luau:12: "), "{failure}");
    assert!(failure.message.contains("postion"), "{failure}");
    assert!(failure.excerpt.contains("print(self.postion.x)"), "{failure}");
    game.printed();
    game.save("guard", guard("print(3)"));
    reloaded(&mut game);
    assert_eq!(game.printed(), "3 other");
    assert_eq!(game.status(guard_entity), ScriptStatus::Running);
}

#[test]
fn callbacks_that_were_stored_before_run_the_new_text_if_they_go_through_the_module() {
    let text = |word: &str| {
        format!(
            "local M = {{}}
            local Class = {{}}
            Class.__index = Class
            function Class.name() return '{word}' end
            function M.run(self)
                local object = setmetatable({{}}, Class)
                local stored = function() return M.word() end
                while true do print(stored(), object.name()) synchro.yield() end
            end
            function M.word() return '{word}' end
            M.Class = Class
            return M"
        )
    };
    let mut game = Game::new([("m", text("old"))]);
    game.spawn("m");
    game.frames(1);
    game.save("m", text("new"));
    reloaded(&mut game);
    assert_eq!(game.printed(), "old\told new\tnew");
}

#[test]
fn hooks_are_called_after_a_reload_and_an_error_in_one_undoes_nothing() {
    let hook =
        "function Guard.on_reload(info) print('reloaded', info.module) error('in hook') end\nreturn Guard";
    let mut game = Game::new([("guard", guard("print(1)"))]);
    game.spawn("guard");
    game.frames(1);
    game.save("guard", guard("print(2)").replace("return Guard", hook));
    let report = reloaded(&mut game);
    assert_eq!(game.printed(), "1 reloaded\tguard 2");
    assert_eq!(report.hook_errors.len(), 1);
    assert!(report.to_string().contains("in hook"), "{report}");
}

#[test]
fn forty_versions_in_a_row_leave_the_memory_flat_and_everyone_on_the_last() {
    let mut game = Game::new([("guard", guard("print(0)"))]);
    for _ in 0..20 {
        game.spawn("guard");
    }
    let mut memory = 0;
    for version in 1..=40 {
        game.save("guard", guard(&format!("print({version})")));
        game.frames(1);
        if version == 5 {
            game.host.vm().lua().gc_collect().unwrap();
            memory = game.host.vm().memory();
        }
        game.host.take_printed();
    }
    game.frames(1);
    assert_eq!(game.printed(), vec!["40"; 20].join(" "));
    game.host.vm().lua().gc_collect().unwrap();
    let after = game.host.vm().memory();
    assert!(after < memory + memory / 10, "{memory} bytes, then {after}");
}

#[test]
fn a_reload_in_the_middle_of_a_crowd_of_leftovers_loses_nobody() {
    let mut game = Game::build([("guard", guard("print(1)"))], |builder| builder.budget(Duration::ZERO));
    for _ in 0..60 {
        game.spawn("guard");
    }
    game.frames(3);
    assert!(game.host.vm().runnable() > 0);
    game.printed();
    game.save("guard", guard("self.state.seen = (self.state.seen or 0) + 1 print(2)"));
    game.frames(60);
    assert!(!game.printed().contains('1'));
    assert_eq!(game.host.script_counts(), (60, 0));
}

#[test]
fn a_module_that_two_scripts_share_is_one_before_and_after() {
    let shared = |n: u32| {
        format!(
            "local Shared = {{ count = 0 }} function Shared.add() Shared.count += {n} return Shared.count end return Shared"
        )
    };
    let user = "local Shared = require('./shared')
        local M = {}
        function M.run(self) while true do print(Shared.add()) synchro.yield() end end
        return M";
    let mut game = Game::new([("shared", shared(1)), ("a", user.to_owned()), ("b", user.to_owned())]);
    game.spawn("a");
    game.spawn("b");
    game.frames(1);
    game.save("shared", shared(10));
    reloaded(&mut game);
    game.frames(1);
    assert_eq!(game.printed(), "1 2 12 22 32 42");
}

#[test]
fn a_new_require_of_a_new_file_saved_together_works() {
    let mut game = Game::new([("guard", guard("print(1)"))]);
    game.spawn("guard");
    game.frames(1);
    game.save("helper", "return { word = function() return 'help' end }");
    game.save("guard", format!("local helper = require('./helper')\n{}", guard("print(helper.word())")));
    reloaded(&mut game);
    assert_eq!(game.printed(), "1 help");
    game.save("helper", "return { word = function() return 'more help' end }");
    reloaded(&mut game);
    assert_eq!(game.printed(), "more help");
}

#[test]
fn files_on_disk_are_watched_and_taken_in_when_an_editor_saves_them() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("ai")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("guard.luau", &format!("local lib = require('@scripts/ai/lib')\n{}", guard("print(lib.word())")));
    write("ai/lib.luau", "return { word = function() return 'old' end }");
    let mut world = World::new();
    let mut host = ScriptHost::builder().scripts(dir.path()).keep_printed().build(&mut world).unwrap();
    world.spawn(Script::new("guard"));
    host.tick(&mut world, 0.01);
    assert_eq!(host.take_printed(), ["old"]);

    // Events come when the system sends them: there is no clock to drive.
    let mut until = |world: &mut World, done: &dyn Fn(&bluetick::FrameReport) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let report = host.tick(world, 0.01);
            if done(&report) {
                return (report, host.take_printed().pop().unwrap_or_default());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("no event came");
    };
    let reloads = |report: &bluetick::FrameReport| report.reload.is_some();

    // In place.
    write("ai/lib.luau", "return { word = function() return 'in place' end }");
    let (report, printed) = until(&mut world, &reloads);
    assert!(!report.reload.unwrap().is_refused());
    assert_eq!(printed, "in place");

    // A bad save.
    write("ai/lib.luau", "return { word = function( }");
    let (report, printed) = until(&mut world, &reloads);
    let reload = report.reload.unwrap().to_string();
    assert!(reload.contains("RL001  ai/lib.luau:1: "), "{reload}");
    assert_eq!(printed, "in place");

    // By a file that takes its place, as many editors do.
    write("ai/lib.luau.tmp", "return { word = function() return 'renamed' end }");
    std::fs::rename(dir.path().join("ai/lib.luau.tmp"), dir.path().join("ai/lib.luau")).unwrap();
    let (report, printed) = until(&mut world, &reloads);
    assert!(!report.reload.unwrap().is_refused());
    assert_eq!(printed, "renamed");

    // Gone.
    std::fs::remove_file(dir.path().join("ai/lib.luau")).unwrap();
    let (report, printed) = until(&mut world, &|report| !report.notes.is_empty());
    assert!(report.notes[0].contains("RL005"), "{:?}", report.notes);
    assert_eq!((printed.as_str(), report.failures.len()), ("renamed", 0));

    // New: a script that an entity waits for.
    let late = world.spawn(Script::new("late")).id();
    let (report, _) = until(&mut world, &|report| !report.failures.is_empty());
    assert_eq!(report.failures[0].message, "there is no script `late`");
    write("late.luau", &script("synchro.sleep(1000)"));
    until(&mut world, &|report| report.sleeping == 1);
    let script = world.get::<Script>(late).unwrap();
    assert_eq!(script.statuses().next(), Some(&ScriptStatus::Running));
}

#[test]
fn a_host_can_be_told_not_to_watch() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("guard.luau"), guard("print(1)")).unwrap();
    let library = Library::open(dir.path()).unwrap();
    let mut world = World::new();
    let _host = ScriptHost::builder().library(library.clone()).watch(false).build(&mut world).unwrap();
    assert!(matches!(library.watch_state(), bluetick_assets::WatchState::Off));
}
