//! The scenarios of the design of hot reload that take a whole game, each with its number. Those of the VM alone are
//! in `scripting/tests/reload_*.rs`, those of files in `assets/tests/files.rs` and `reload_files.rs`.

use bevy_ecs::message::Messages;
use bevy_ecs::prelude::*;
use bluetick::{Library, ReloadReport, Script, ScriptHost, ScriptReload, ScriptStatus};
use bluetick_tests::{Game, looping};
use mlua::{Function, UserData, UserDataMethods};
use std::cell::RefCell;
use std::rc::Rc;

/// The next frame reloads; nothing else may fail.
#[track_caller]
fn reloaded(game: &mut Game) -> ReloadReport {
    let report = game.frame();
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
    let reload = report.reload.expect("something was reloaded");
    assert!(!reload.is_refused(), "{reload}");
    assert!(reload.hook_errors.is_empty(), "{reload}");
    reload
}

/// A game with one entity that runs `m`, after a frame.
fn playing(text: &str) -> Game {
    let mut game = Game::edited([("m", text)]);
    game.spawn("m");
    game.frames(1);
    game
}

#[test]
fn s03_comments_above_move_the_tasklet_and_lines_of_errors_are_those_of_the_new_text() {
    let text = looping("local n = 0", "n += 1\nprint(n)\nif n == 3 then error('here') end");
    let mut game = playing(&text);
    game.save("m", format!("{}{text}", "-- a comment\n".repeat(200)));
    let report = reloaded(&mut game);
    assert_eq!((report.moved, report.stale), (1, 0), "{report}");
    let failure = game.failure();
    assert_eq!(failure.message, "m.luau:207: here");
    assert!(failure.excerpt.contains("207 | if n == 3"), "{failure}");
    assert_eq!(game.printed(), "1 2 3");
}

#[test]
fn s06_who_was_stale_moves_at_a_later_version_that_fits() {
    let text = |word: &str, above: &str| {
        looping(&format!("{above}\nlocal n = 0"), &format!("n += 1\nprint('{word}', n)"))
    };
    let mut game = playing(&text("one", ""));
    game.save("m", text("two", "local t = os.clock()"));
    let report = reloaded(&mut game);
    assert_eq!((report.moved, report.stale, report.pins[0].reason.code.as_str()), (0, 1, "RL104"));
    let told = report.to_string();
    assert!(told.contains("1 tasklet finishes on old text"), "{told}");
    assert!(
        told.contains("old   1 x m.luau#1:8 in run: RL104 new local 't' has no value at this wait"),
        "{told}"
    );
    assert!(told.contains("give it a constant ('local t = nil'), or restart m.luau"), "{told}");
    let stuck = game.host.stuck();
    assert_eq!((stuck.len(), stuck[0].tasklets.len(), stuck[0].is_parked()), (1, 1, false));
    assert!(stuck[0].excerpt.contains("synchro.yield()"), "the text that it runs: {}", stuck[0]);
    game.save("m", text("three", "local t = 1"));
    let report = reloaded(&mut game);
    assert_eq!((report.moved, report.stale), (1, 0), "{report}");
    assert_eq!(game.printed(), "one\t1 one\t2 three\t3");
    assert!(game.host.stuck().is_empty());
}

/// Something of Rust's that scripts hold, with a function of theirs in it.
struct Holder(Function);

impl UserData for Holder {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("call", |_, this, ()| this.0.call::<String>(()));
        methods.add_method("get", |_, this, ()| Ok(this.0.clone()));
    }
}

#[test]
fn s20_callbacks_keep_their_identity_and_run_new_code_wherever_they_are() {
    let text = |word: &str| {
        format!(
            "local M = {{ held = {{}} }}
local function callback() return '{word}' end
function M.run(self)
    local post = channel()
    world:keep(callback)
    M.held.list = {{ callback }}
    M.held.keys = {{ [callback] = true }}
    M.held.userdata = world:hold(callback)
    tasklet(function() post:send(callback) end)()
    M.held.post = post
    M.original = callback
    synchro.yield()
    while clock.frame() < 3 do synchro.yield() end
    local held = M.held
    local sent = held.post:receive()
    print(held.list[1](), next(held.keys)(), held.userdata:call(), sent(), callback())
    print(held.list[1] == M.original, next(held.keys) == M.original, held.userdata:get() == M.original,
        sent == M.original, callback == M.original, held.keys[callback])
end
return M"
        )
    };
    let kept: Rc<RefCell<Option<Function>>> = Rc::default();
    let keeper = kept.clone();
    let mut game = Game::build([("m", text("old"))], |builder| {
        builder
            .park_failed(true)
            .function("keep", move |_: &mut World, f: Function| {
                *keeper.borrow_mut() = Some(f);
                Ok::<_, String>(())
            })
            .function("hold", |_: &mut World, f: Function| Ok::<_, String>(Holder(f)))
    });
    game.spawn("m");
    game.frames(1);
    game.save("m", text("new"));
    reloaded(&mut game);
    game.frames(1);
    assert_eq!(game.printed(), "new\tnew\tnew\tnew\tnew true\ttrue\ttrue\ttrue\ttrue\ttrue");
    let held = kept.borrow().clone().expect("Rust holds it");
    assert_eq!(held.call::<String>(()).expect("it runs"), "new");
    kept.take();
}

#[test]
fn s26_s27_s28_the_game_keeps_what_it_changed_and_random_constants_stay() {
    let text = |score: u32, list: &str, touched: &str| {
        format!(
            "local seed = math.random()
local M = {{ score = {score}, list = {{ {list} }}, touched = {{ {touched} }} }}
function M.run(self)
    M.score = 42
    table.insert(M.touched, 'game')
    local list, before = M.list, seed
    while true do
        print(M.score, table.concat(M.list, '+'), table.concat(M.touched, '+'), M.list == list, seed == before)
        synchro.yield()
    end
end
return M"
        )
    };
    let mut game = playing(&text(0, "1, 2", "'a'"));
    game.save("m", text(7, "3, 4, 5", "'b'"));
    let report = reloaded(&mut game).to_string();
    assert_eq!(game.printed(), "42\t1+2\ta+game\ttrue\ttrue 42\t3+4+5\ta+game\ttrue\ttrue");
    assert!(report.contains("kept  M.score = 42 (the game changed it; file says 7)"), "{report}");
    assert!(report.contains("kept  M.touched"), "{report}");
    assert!(!report.contains("seed"), "{report}");
}

#[test]
fn s29_bad_saves_are_refused_and_the_next_good_one_is_taken() {
    let text = |n: u32| looping("", &format!("print({n})"));
    let mut game = playing(&text(1));
    for (bad, code) in [
        ("local M = {", "RL001"),
        ("error('no')", "RL002"),
        ("return nil", "RL003"),
        ("return 5", "RL003"),
        ("", "RL004"),
    ] {
        game.save("m", bad);
        let report = game.frame();
        let reload = report.reload.expect("it was refused");
        assert!(reload.is_refused() && reload.to_string().contains(code), "{bad}: {reload}");
        assert!(report.failures.is_empty());
    }
    game.save("m", text(2));
    assert_eq!(reloaded(&mut game).modules[0].to, 2);
    assert_eq!(game.printed(), "1 1 1 1 1 1 2");
}

#[test]
fn s30_functions_deleted_and_brought_back_find_state_and_tasklets_as_before() {
    let full = "local M = { count = 0 }
local hidden = 0
function M.run(self)
    while true do
        M.step()
        synchro.yield()
    end
end
function M.step()
    hidden += 1
    M.count += 1
    print(M.count, hidden)
end
return M";
    let mut game = playing(full);
    game.save("m", "local M = { count = 0 }\nreturn M");
    let report = game.frame();
    assert!(!report.reload.expect("a reload").is_refused());
    // The loop finishes on its old text, in which `M.step` is gone.
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].parked.as_ref().map(|parked| parked.line), Some(5));
    game.save("m", full);
    let report = reloaded(&mut game);
    assert_eq!((report.resumed, report.parked), (1, 0), "{report}");
    game.frames(1);
    assert_eq!(game.printed(), "1\t1 2\t2 3\t3");
}

#[test]
fn s31_a_typo_in_ten_thousand_tasklets_is_one_report_and_none_is_lost() {
    let text = |line: &str| {
        looping("local n = 0", &format!("n += 1\nself.state.before = n\n{line}\nself.state.after = n"))
    };
    let mut game = Game::edited([("m", text(""))]);
    let entities: Vec<Entity> = (0..10_000).map(|_| game.spawn("m")).collect();
    game.frames(1);
    game.save("m", text("self.state.x = self.postion.x"));
    let report = game.frame();
    let [failure] = &report.failures[..] else { panic!("{report:#?}") };
    assert_eq!((failure.count, report.parked), (10_000, 10_000));
    let parked = failure.parked.as_ref().expect("it is parked");
    assert_eq!((parked.code.as_str(), parked.line, parked.function.as_str()), ("RL201", 7, "run"));
    assert!(
        parked.advice.starts_with("it goes on from line 7 when m.luau is saved again;  locals: "),
        "{}",
        parked.advice
    );
    assert!(parked.advice.contains("n=2"), "{}", parked.advice);
    assert!(failure.excerpt.contains("7 | self.state.x = self.postion.x"), "{failure}");
    assert_eq!((failure.entity, failure.script.as_str()), (Some(entities[0]), "m"));
    assert!(failure.to_string().contains("and 9999 more"), "{failure}");
    assert!(matches!(game.status(entities[5000]), ScriptStatus::Parked { .. }));
    assert_eq!(game.host.script_counts(), (0, 10_000));

    let stuck = game.host.stuck();
    assert_eq!((stuck.len(), stuck[0].tasklets.len(), stuck[0].code()), (1, 10_000, "RL201"));
    let quiet = game.frame();
    assert!(quiet.failures.is_empty(), "it is told once");
    assert_eq!(quiet.parked, 10_000);

    game.save("m", text("self.state.x = 1"));
    let report = reloaded(&mut game);
    assert_eq!((report.resumed, report.parked), (10_000, 0));
    assert_eq!(game.host.script_counts(), (10_000, 0));
    for entity in entities {
        assert_eq!(game.status(entity), ScriptStatus::Running);
        let state = game.host.state(entity).expect("a state");
        assert_eq!((state.get::<u32>("before").ok(), state.get::<u32>("after").ok()), (Some(2), Some(2)));
    }
    assert!(game.host.stuck().is_empty());
}

#[test]
fn s31_a_typo_in_the_first_statement_of_a_function_is_mended_like_any_other() {
    let text = |line: &str| {
        format!(
            "local M = {{}}
function M.stop(self) self.Health.current = 9 end
function M.steer(self)
    {line}
    self.state.steps = (self.state.steps or 0) + 1
end
function M.run(self)
    while true do
        M.steer(self)
        synchro.yield()
    end
end
return M"
        )
    };
    for (broken, mended, health) in [
        ("self.Helth.current += 1", "self.Health.current += 1", 11.0),
        ("self.Helth.current = 9", "self.Health.current = 9", 9.0),
        ("local h = self.Helth", "local h = self.Health h.current = 9", 9.0),
        ("if self.Helth then self.state.x = 1 end", "if self.Health then self.Health.current = 9 end", 9.0),
        (
            "if self.Health then self.Helth.current = 9 end",
            "if self.Health then self.Health.current = 9 end",
            9.0,
        ),
        ("task.wait(1)", "self.Health.current = 9", 9.0),
        ("M.stpo(self)", "M.stop(self)", 9.0),
    ] {
        let mut game = Game::edited([("m", text(broken))]);
        let script = (bluetick_tests::Health { current: 10.0, max: 10.0 }, Script::new("m"));
        let entity = game.world.spawn(script).id();
        assert_eq!(game.frame().parked, 1, "{broken}");
        game.save("m", text(mended));
        let report = game.frame();
        assert!(report.failures.is_empty() && report.parked == 0, "{broken}: {report:#?}");
        let report = report.reload.expect("it was reloaded");
        assert_eq!((report.resumed, report.pins.len()), (1, 0), "{broken}: {report}");
        let now = game.world.get::<bluetick_tests::Health>(entity).expect("it has health");
        assert_eq!(now.current, health, "{broken}");
    }
}

#[test]
fn s33_what_was_done_before_the_failing_statement_is_not_done_again() {
    let text = |line: &str| looping("", &format!("world:send('x')\n{line}"));
    let text = |line: &str| text(line).replace("world:send('x')", "self.Health.current -= 1");
    let mut game = Game::edited([("m", text(""))]);
    let entity =
        game.world.spawn((bluetick_tests::Health { current: 10.0, max: 10.0 }, Script::new("m"))).id();
    game.frames(1);
    game.save("m", text("error('oh')"));
    assert_eq!(game.frame().parked, 1);
    game.frames(3);
    game.save("m", text(""));
    reloaded(&mut game);
    let health = game.world.get::<bluetick_tests::Health>(entity).expect("it has health");
    assert_eq!(health.current, 8.0, "once in each frame that ran, and not again for the fix");
}

#[test]
fn s34_a_reload_asked_for_by_a_script_takes_effect_when_the_next_frame_begins() {
    let text = |n: u32| {
        looping(
            "local me = scheduler.getcurrent()",
            &format!(
                "print({n}, me.version)\nif {n} == 2 then reload.rollback('m.luau') end\nprint('same frame')"
            ),
        )
    };
    let mut game = playing(&text(1));
    game.save("m", text(2));
    reloaded(&mut game);
    reloaded(&mut game);
    assert_eq!(game.printed(), "1\t1 same frame 2\t2 same frame 1\t3 same frame");
    assert_eq!(game.host.vm().module_version("m"), 3);
}

#[test]
fn s35_s38_forty_versions_with_live_tasklets_and_collections_end_on_the_last_with_flat_memory() {
    let text = |n: u32| looping(&format!("local extra{} = {n}", n % 3), &format!("self.state.seen = {n}"));
    let mut game = Game::edited([("m", text(0))]);
    let entities: Vec<Entity> = (0..50).map(|_| game.spawn("m")).collect();
    game.frames(1);
    let mut memory = Vec::new();
    for n in 1..=40 {
        game.save("m", text(n));
        let report = reloaded(&mut game);
        assert_eq!(report.stale, 0, "{report}");
        game.host.vm().lua().gc_collect().expect("garbage can be collected");
        game.host.vm().validate_heap();
        memory.push(game.host.vm().memory());
    }
    for entity in entities {
        let seen: u32 = game.host.state(entity).expect("a state").get("seen").expect("a number");
        assert_eq!(seen, 40);
    }
    assert!(memory[39] < memory[9] + memory[9] / 20, "{memory:?}");
}

#[test]
fn s36_pinned_tasklets_go_on_through_collections_and_their_text_is_kept_meanwhile() {
    let text = |word: &str, above: &str| looping(above, &format!("print('{word}')"));
    let mut game = playing(&text("old", ""));
    game.save("m", text("new", "local t = os.clock()"));
    reloaded(&mut game);
    for _ in 0..3 {
        game.host.vm().lua().gc_collect().expect("garbage can be collected");
        game.host.vm().validate_heap();
        game.frames(1);
    }
    assert_eq!(game.printed(), "old old old old old");
    assert!(game.host.excerpt("m.luau#1", 5).contains("print('old')"));
    assert!(game.host.excerpt("m.luau", 5).contains("print('new')"));
}

#[test]
fn s40_an_api_renamed_here_and_there_in_one_save_is_never_seen_by_half() {
    let user = |name: &str| {
        format!(
            "local lib = require('./lib')
local M = {{}}
function M.run(self)
    while true do
        print(lib.{name}())
        synchro.yield()
    end
end
return M"
        )
    };
    let lib = |name: &str| format!("return {{ {name} = function() return '{name}' end }}");
    let mut game = Game::edited([("user", user("before")), ("lib", lib("before"))]);
    for _ in 0..3 {
        game.spawn("user");
    }
    game.frames(1);
    game.save("user", user("after"));
    game.save("lib", lib("after"));
    let report = reloaded(&mut game);
    assert_eq!((report.modules.len(), report.moved), (2, 3), "{report}");
    assert_eq!(game.printed(), "before before before after after after");
}

#[test]
fn s41_what_a_dependent_has_copied_follows_if_the_game_did_not_touch_it() {
    let mut game = Game::edited([
        ("cfg", "return { speed = 5, fear = 1 }"),
        (
            "m",
            "local cfg = require('./cfg')
local M = { speed = cfg.speed, fear = cfg.fear }
function M.run(self)
    M.fear = 100
    while true do print(M.speed, M.fear) synchro.yield() end
end
return M",
        ),
    ]);
    game.spawn("m");
    game.frames(1);
    game.save("cfg", "return { speed = 8, fear = 2 }");
    reloaded(&mut game);
    assert_eq!(game.printed(), "5\t100 8\t100");
}

#[test]
fn s45_a_renamed_file_takes_its_state_and_its_tasklets_along() {
    let text = "local M = { count = 0 }
function M.run(self)
    while true do
        M.count += 1
        print(M.count)
        synchro.yield()
    end
end
return M";
    let mut game = playing(text);
    game.library.remove("m");
    game.library.set("ai/n", text);
    let report = game.frame();
    assert!(report.notes.iter().any(|note| note == "m.luau is ai/n.luau now"), "{:?}", report.notes);
    let reload = report.reload.expect("a reload");
    assert_eq!((reload.moved, reload.modules[0].file.as_str()), (1, "ai/n.luau"), "{reload}");
    game.save("ai/n", text.replace("print(M.count)", "print('new', M.count)"));
    reloaded(&mut game);
    // Whoever starts it later finds it under its new name.
    let mut query = game.world.query::<&Script>();
    let names: Vec<String> = query.iter(&game.world).flat_map(Script::names).map(str::to_owned).collect();
    assert_eq!(names, ["ai/n"]);
    assert_eq!(game.printed(), "1 2 new\t3");
}

#[test]
fn s45_new_and_deleted_files_that_nobody_uses_are_told_in_a_line() {
    let mut game = playing(&looping("", ""));
    game.save("late", "return {}");
    assert_eq!(game.frame().notes, ["late.luau is new"]);
    game.library.remove("late");
    assert_eq!(game.frame().notes, ["late.luau was deleted; nobody has used it"]);
}

#[test]
fn s47_a_rollback_is_the_text_before_as_a_new_version() {
    let text = |n: u32| looping("local n = 0", &format!("n += 1\nprint({n}, n)"));
    let mut game = playing(&text(1));
    assert!(game.host.rollback(&mut game.world, "m").is_err(), "it has no earlier text");
    assert!(game.host.rollback(&mut game.world, "nobody").is_err());
    game.save("m", text(2));
    reloaded(&mut game);
    let report = game.host.rollback(&mut game.world, "m.luau").expect("it has an earlier text");
    assert_eq!((report.modules[0].from, report.modules[0].to, report.moved), (2, 3, 1), "{report}");
    game.frames(1);
    assert_eq!(game.printed(), "1\t1 2\t2 1\t3");
    let mut messages = game.world.resource_mut::<Messages<ScriptReload>>();
    assert!(messages.drain().any(|message| message.0.modules[0].to == 3), "the world is told");
    // What is saved next wins.
    game.save("m", text(4));
    reloaded(&mut game);
    assert_eq!(game.printed(), "4\t4");
}

#[test]
fn s48_a_vm_of_another_build_still_runs_new_functions_with_the_same_report() {
    let text = |word: &str| {
        format!(
            "local M = {{ speed = {} }}
function M.run(self)
    while true do
        M.step()
        synchro.yield()
    end
end
function M.step() print('{word}', M.speed) end
return M",
            word.len()
        )
    };
    let mut game = Game::edited([("m", text("old"))]);
    game.host.vm().pretend_self_check_failed();
    game.spawn("m");
    game.frames(1);
    game.save("m", text("newer"));
    let report = reloaded(&mut game);
    assert_eq!((report.moved, report.differences[0].path.as_str()), (0, "M.speed"));
    assert!(report.to_string().starts_with("reload  m.luau #1 -> #2\n"), "{report}");
    assert_eq!(game.printed(), "old\t3 newer\t5");
    // Failed tasklets can't be parked there: they end, as they would without parking.
    game.save("m", text("x").replace("print(", "error("));
    let report = game.frame();
    assert_eq!((report.failures.len(), report.parked), (1, 0));
    assert_eq!(report.failures[0].parked, None);
}

#[test]
fn reload_now_does_not_wait_for_quiet() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("m.luau");
    let text = |n: u32| looping("", &format!("print({n})"));
    std::fs::write(&file, text(1)).expect("it can be written");
    let library = Library::open(dir.path()).expect("a library");
    let mut world = World::new();
    let mut host =
        ScriptHost::builder().library(library).watch(false).keep_printed().build(&mut world).expect("a host");
    world.spawn(Script::new("m"));
    host.tick(&mut world, 0.1);
    assert!(host.reload_now(&mut world).is_none(), "nothing has changed");
    std::fs::write(&file, text(22)).expect("it can be written");
    let report = host.reload_now(&mut world).expect("it has changed");
    assert_eq!(report.modules[0].to, 2, "{report}");
    host.tick(&mut world, 0.1);
    assert_eq!(host.take_printed(), ["1", "22"]);
}
