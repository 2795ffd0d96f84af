//! Whoever holds a function of edited text, and whatever its outer variables are.

mod live;
use bluetick_scripting::{Difference, ReloadReport};
use live::script::Files;
use live::{Stage, forever};
use mlua::{AnyUserData, Function, UserData};

struct Holder;
impl UserData for Holder {}

/// What changed and what was kept: path, value before, value of the file.
fn told(report: &ReloadReport) -> Vec<String> {
    let tell = |d: &Difference| {
        format!("{} {} {} -> {}", if d.kept { "kept" } else { "now" }, d.path, d.before, d.after)
    };
    report.differences.iter().map(tell).collect()
}

#[test]
fn s20_a_callback_is_the_same_and_runs_the_new_code_whoever_holds_it() {
    let text = |say: &str| {
        format!(
            "local M = {{ calls = 0 }}
             function M.callback() M.calls += 1 return '{say}', M.calls end
             function M.make() return function() return '{say}' end end
             return M"
        )
    };
    let stage =
        Stage::new([("m", &text("old")), ("game", "return { keys = {}, pipe = channel(), list = {} }")]);
    stage.run(
        "local m, game = require('./m'), require('./game')
        game.list[1] = m.callback
        game.list[2] = m.make()
        game.keys[m.callback] = 'found'
        game.bound = setmetatable({}, { __call = m.callback, __index = m.callback })
        tasklet(function() game.pipe:send(m.callback) end)()
        tasklet(function(f) wait() note('argument', f()) end)(m.callback)
        game.wrapped = coroutine.wrap(function(f) while true do coroutine.yield(f()) end end)
        eq(game.wrapped(m.callback), 'old')",
    );
    stage.step();
    let module = match stage.vm.require("m") {
        Ok(mlua::Value::Table(module)) => module,
        _ => panic!("it is a table"),
    };
    let held: Function = module.get("callback").expect("a function");
    let data: AnyUserData = stage.vm.lua().create_userdata(Holder).expect("memory");
    data.set_user_value(held.clone()).expect("memory");
    let before = held.to_pointer();
    let report = stage.save(&text("new"));
    assert_eq!(told(&report), Vec::<String>::new());
    assert_eq!(module.get::<Function>("callback").expect("a function").to_pointer(), before);
    assert_eq!(held.call::<String>(()).expect("it runs"), "new");
    let kept: Function = data.user_value().expect("it is there");
    assert_eq!(kept.call::<String>(()).expect("it runs"), "new");
    stage.run(
        "local m, game = require('./m'), require('./game')
        eq(game.list[1], m.callback)
        eq(game.list[1](), 'new')
        eq(game.list[2](), 'new')
        eq(game.keys[m.callback], 'found')
        eq(game.bound(), 'new')
        eq(game.bound.anything, 'new')
        eq(game.pipe:receive(), m.callback)
        eq(game.wrapped(), 'new')",
    );
    stage.notes();
    stage.step();
    assert_eq!(stage.notes(), "argument:new:8");
}

#[test]
fn s21_each_closure_keeps_its_own_private_variables() {
    let text = |step: u32| {
        format!(
            "local M = {{}}
             function M.counter(from) local n = from return function() n += {step} return n end end
             return M"
        )
    };
    let stage = Stage::new([("m", &text(1)), ("game", "return {}")]);
    stage.run(
        "local m, game = require('./m'), require('./game')
        game.a, game.b = m.counter(0), m.counter(100) game.a() game.b() game.b()",
    );
    stage.save(&text(10));
    stage.run(
        "local game = require('./game') eq(game.a(), 11) eq(game.b(), 112) eq(require('./m').counter(5)(), 15)",
    );
}

#[test]
fn s23_many_new_outer_variables_at_once() {
    let text = |count: usize, assigns: bool| {
        let names: Vec<String> = (1..=count).map(|i| format!("v{i}")).collect();
        let values: Vec<String> = (1..=count).map(|i| i.to_string()).collect();
        let declare = match count {
            0 => String::new(),
            _ => format!("local {} = {}", names.join(", "), values.join(", ")),
        };
        let sum = if count == 0 { "0".into() } else { names.join(" + ") };
        let assign = if assigns { "v1 += 1000" } else { "" };
        format!(
            "local M = {{}} {declare}
             function M.sum() return {sum} end
             function M.touch() {assign} end
             function M.run() local own = 0 local function inner() own += 1 return own + {sum} end
             while true do note(inner(), M.sum()) wait() end end return M"
        )
    };
    let stage = Stage::with(&text(0, false));
    stage.run("require('./game').sum = require('./m').sum");
    let mut sums = Vec::new();
    for (count, assigns) in [(12, false), (60, true), (3, true), (0, false), (30, false)] {
        let report = stage.save(&text(count, assigns));
        assert_eq!((report.moved, report.stale), (1, 0), "{count}: {report}");
        stage.step();
        stage.run("local m = require('./m') m.touch() eq(require('./game').sum(), m.sum())");
        stage.step();
        stage.vm.validate_heap();
        sums.push(stage.notes());
    }
    let sum = |count: usize| count * (count + 1) / 2;
    let seen = |own: usize, sum: usize| format!("{}:{sum}", own + sum);
    assert_eq!(sums[0], format!("1:0 {} {}", seen(2, sum(12)), seen(3, sum(12))));
    assert_eq!(sums[1], format!("{} {}", seen(4, sum(60)), seen(5, sum(60) + 1000)));
    assert_eq!(sums[2], format!("{} {}", seen(6, sum(3) + 1000), seen(7, sum(3) + 2000)));
    assert_eq!(sums[3], format!("{} {}", seen(8, 0), seen(9, 0)));
    // Nothing assigns to the first any more, so it is a constant of the file.
    assert_eq!(sums[4], format!("{} {}", seen(10, sum(30)), seen(11, sum(30))));
}

#[test]
fn s25_a_constant_of_the_module_is_new_at_once_everywhere() {
    let text = |speed: u32, name: &str| {
        format!(
            "local SPEED = {speed} local NAME = '{name}' local M = {{}}
             function M.get() return SPEED, NAME end
             function M.run() while true do note(SPEED, NAME) wait() end end return M"
        )
    };
    let stage = Stage::with(&text(5, "a"));
    stage.run("local g = require('./game') g.get = require('./m').get eq(g.get(), 5)");
    let report = stage.save(&text(8, "a"));
    assert_eq!(told(&report), ["now local SPEED 5 -> 8"]);
    stage.step();
    stage.run("eq(require('./game').get(), 8)");
    let report = stage.save(&text(9, "b"));
    assert_eq!(told(&report), ["now local NAME \"a\" -> \"b\"", "now local SPEED 8 -> 9"]);
    stage.step();
    assert_eq!(stage.notes(), "5:a 8:a 9:b");
}

#[test]
fn s22_nested_closures_use_new_helpers_and_constants_of_the_module() {
    let text = |declare: &str, result: &str| {
        format!(
            "{declare} local M = {{}}
             function M.run()
                 local own = 0
                 local function inner() own += 1 return (function() return {result} end)() end
                 while true do note(inner()) wait() end
             end return M"
        )
    };
    let stage = Stage::with(&text("local SPEED = 5", "own * SPEED"));
    for (declare, result) in [
        ("local SPEED = 8", "own * SPEED"),
        ("local SPEED, MORE = 8, 1000", "own * SPEED + MORE"),
        (
            "local SPEED, MORE = 9, 1000 local function double(n) return n * 2 end",
            "double(own * SPEED + MORE)",
        ),
        ("local MORE = 2000", "own + MORE"),
    ] {
        let report = stage.save(&text(declare, result));
        assert_eq!((report.moved, report.stale), (1, 0), "{report}");
        stage.step();
    }
    assert_eq!(stage.notes(), "5 16 1024 2072 2005");
}

#[test]
fn s23_what_a_forwarder_calls_can_become_one_itself() {
    // Each version gives a closure that is held more outer variables than it has slots, and than what it calls.
    let text = |count: usize| {
        let declare: String = (1..=count).map(|i| format!("local v{i} = {{ {i} }} ")).collect();
        let sum: String = (1..=count).map(|i| format!(" + v{i}[1]")).collect();
        format!("{declare} local M = {{}} function M.sum() return 0{sum} end function M.run() end return M")
    };
    let stage = Stage::with(&text(1));
    stage.run("require('./game').sum = require('./m').sum");
    for count in [4, 9, 2, 20, 3, 21, 22] {
        stage.save(&text(count));
        stage.vm.validate_heap();
        stage.step();
        stage.run(&format!("eq(require('./game').sum(), {})", count * (count + 1) / 2));
    }
}

#[test]
fn s25_a_variable_of_the_module_that_the_game_has_changed_is_kept() {
    let text = |speed: u32| {
        format!(
            "local speed = {speed} local M = {{}}
             function M.set(v) speed = v end
             function M.run() while true do note(speed) wait() end end return M"
        )
    };
    let stage = Stage::with(&text(5));
    stage.run("require('./m').set(42)");
    assert_eq!(told(&stage.save(&text(8))), ["kept local speed 42 (8)".replace(" (8)", " -> 8")]);
    stage.step();
    assert_eq!(stage.notes(), "5 42");
}

#[test]
fn s27_a_list_of_the_module_changes_in_place_under_a_loop_unless_the_game_has_touched_it() {
    let text = |points: &str| {
        format!(
            "local points = {{ {points} }} local M = {{ points = points }}
             function M.run() while true do note(table.concat(points, ',')) wait() end end return M"
        )
    };
    let stage = Stage::with(&text("1, 2, 3"));
    assert_eq!(told(&stage.save(&text("4, 5"))), ["now local points a table of 3 -> a table of 2"]);
    stage.step();
    stage.run("table.insert(require('./m').points, 'game')");
    assert_eq!(told(&stage.save(&text("6"))), ["kept local points a table of 3 -> a table of 1"]);
    stage.step();
    assert_eq!(stage.notes(), "1,2,3 4,5 4,5,game");
}

#[test]
fn s28_a_random_seed_that_was_not_edited_is_unchanged() {
    let text = |n: u32| {
        format!(
            "local seed = math.random() local M = {{ id = math.random(1000000), n = {n} }}
             function M.seed() return seed end return M"
        )
    };
    let stage = Stage::new([("m", &text(1)), ("game", "return {}")]);
    stage.run(
        "local m, game = require('./m'), require('./game')
        game.id, game.seed = m.id, m.seed() math.random()",
    );
    for n in 2..5 {
        assert_eq!(told(&stage.save(&text(n))), [format!("now M.n {} -> {n}", n - 1)]);
    }
    stage.run(
        "local m, game = require('./m'), require('./game') eq(m.id, game.id) eq(m.seed(), game.seed) eq(m.n, 4)",
    );
}

#[test]
fn s40_functions_that_are_renamed_with_their_uses_are_never_seen_half() {
    let a = |name: &str| format!("local M = {{}} function M.{name}(x) return x + 1 end return M");
    let b = |name: &str| {
        format!(
            "local A = require('./a') local M = {{}}
             function M.run() local n = 0 while true do n = A.{name}(n) note(n) wait() end end return M"
        )
    };
    let stage = Stage::build(Files::of([("a", &a("step")), ("b", &b("step"))]), |_| ());
    stage.start("b");
    stage.step();
    let report = stage.files.save(&stage.vm, [("a", &a("advance")), ("b", &b("advance"))]);
    assert_eq!((report.moved, report.stale), (1, 0), "{report}");
    stage.step();
    stage.run("local A = require('./a') eq(A.step, nil) eq(type(A.advance), 'function')");
    assert_eq!(stage.notes(), "1 2");
}

#[test]
fn s24_a_local_that_is_captured_by_value_and_then_shared_stays() {
    let old = forever("local n = 1 local f = function() return n end", "note(f(), n) wait()");
    let new = forever("local n = 1 local f = function() return n end", "note(f(), n) wait() n += 1");
    assert_eq!(live::edit(&old, 1, &new, 2), "1:1 | 1:1 1:1 [1 RL110]");
}
