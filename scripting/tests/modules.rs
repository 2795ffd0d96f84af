//! Script files as modules, and the sandbox that they live in.

mod script;
use bluetick_scripting::{ModuleFault, VmConfig};
use script::{Files, frame, load, notes, run, run_in, spawn, vm, vm_with};

#[test]
fn a_module_is_evaluated_once_for_the_whole_vm() {
    let vm = Files::of([
        ("a", "note('a') return { name = 'a', b = require('./b') }"),
        ("b", "note('b') return { name = 'b' }"),
        ("main", "local a, b = require('./a'), require('./b') eq(a.b, b) eq(require('./a'), a) return {}"),
    ])
    .vm();
    let main = vm.require("main").expect("it loads");
    assert_eq!(notes(&vm), "a b");
    assert_eq!(vm.require("main").expect("it is loaded"), main);
    assert_eq!(vm.module("b"), Some(vm.require("b").expect("it is loaded")));
    assert!(vm.module("c").is_none());
    assert_eq!((vm.module_version("a"), vm.module_version("c")), (1, 0));
    assert_eq!(notes(&vm), "");
}

#[test]
fn specifiers_are_relative_to_the_file_that_requires_at_any_time_and_through_pcall() {
    let vm = Files::of([
        (
            "ai/guard",
            "return { late = function() return require('./util'), select(2, pcall(require, '../shared')), \
                      coroutine.wrap(function() return require('./util') end)() end }",
        ),
        ("ai/util", "return 'ai/util'"),
        ("util", "return 'util'"),
        ("shared", "return 'shared'"),
        (
            "main",
            "local late = require('./ai/guard').late local a, b, c = late() note(a, b, c) \
                  tasklet(function() note(require('./ai/guard').late()) end)() return {}",
        ),
    ])
    .vm();
    vm.require("main").expect("it loads");
    assert_eq!(notes(&vm), "ai/util:shared:ai/util");
    frame(&vm);
    assert_eq!(notes(&vm), "ai/util:shared:ai/util");
}

#[test]
fn a_circle_is_reported_with_its_path() {
    let vm = Files::of([
        ("a", "return require('./b')"),
        ("b", "return require('./c')"),
        ("c", "return require('./a')"),
        ("own", "return require('./own')"),
    ])
    .vm();
    let error = vm.require("a").expect_err("it is a circle");
    assert!(
        error.message.contains("modules require each other in a circle: a -> b -> c -> a"),
        "{}",
        error.message
    );
    let error = vm.require("own").expect_err("it is a circle");
    assert!(error.message.contains("own -> own"), "{}", error.message);
    assert!(vm.module("a").is_none());
    // The same once more: nothing is left in between.
    assert!(vm.require("b").expect_err("it is a circle").message.contains("b -> c -> a -> b"));
}

#[test]
fn a_module_that_is_broken_is_reported_with_its_place_and_an_excerpt() {
    let files = Files::of([
        ("syntax", "local x = 1\nlocal y = = 2\nreturn {}"),
        ("raises", "local M = {}\nlocal n = nil\nM.x = n.field\nreturn M"),
        ("raises_value", "error({ message = 'a table' })"),
        ("raises_nil", "error()"),
        ("nothing", "local M = {}"),
        ("empty", ""),
        ("nil", "return nil"),
        ("two", "return {}, 1"),
        ("blocks", "channel():receive() return {}"),
        ("schedules", "scheduler.schedule() return {}"),
        ("yields", "coroutine.yield() return {}"),
        ("exits", "error(scheduler.TaskletExit)"),
        ("recurses", "local function f() return f() + 1 end return f()"),
        ("missing", "return require('./not_there')"),
        ("bad_specifier", "return require('not_there')"),
        ("wrong_type", "return require(42)"),
        ("middle", "local M = {}\nM.x = require('./raises')\nreturn M"),
    ]);
    let vm = files.vm();
    for (name, fault, line, texts) in [
        (
            "syntax",
            ModuleFault::Syntax,
            Some(2),
            &["syntax.luau:2:", ">    2 | local y = = 2", "    1 | local x = 1"][..],
        ),
        (
            "raises",
            ModuleFault::Load,
            Some(3),
            &["raises.luau:3: attempt to index nil", ">    3 | M.x = n.field"],
        ),
        ("raises_value", ModuleFault::Load, None, &["a table"]),
        ("raises_nil", ModuleFault::Load, None, &["nil"]),
        (
            "nothing",
            ModuleFault::Return,
            None,
            &["nothing.luau: a script has to return one value", "returns nothing"],
        ),
        ("empty", ModuleFault::Empty, None, &["empty.luau: the file is empty"]),
        ("nil", ModuleFault::Return, None, &["returns 1 values or nil"]),
        ("two", ModuleFault::Return, None, &["returns 2 values"]),
        (
            "blocks",
            ModuleFault::Load,
            Some(1),
            &["receive is only possible in a tasklet", "the top level of a script"],
        ),
        (
            "schedules",
            ModuleFault::Load,
            Some(1),
            &["schedule is only possible in a tasklet", "the top level of a script"],
        ),
        ("yields", ModuleFault::Load, None, &["attempt to yield"]),
        ("exits", ModuleFault::Load, None, &["TaskletExit"]),
        ("recurses", ModuleFault::Load, Some(1), &["stack overflow"]),
        ("missing", ModuleFault::Load, Some(1), &["no module 'not_there' (for './not_there' in missing)"]),
        ("bad_specifier", ModuleFault::Load, Some(1), &["begins with ./"]),
        ("wrong_type", ModuleFault::Load, Some(1), &["string expected, got number"]),
        (
            "middle",
            ModuleFault::Load,
            Some(2),
            &["middle.luau:2:", "raises.luau:3:", ">    3 | M.x = n.field"],
        ),
        ("absent", ModuleFault::Unreadable, None, &["no file for the module 'absent'"]),
    ] {
        let error = vm.require(name).expect_err(name);
        assert_eq!(error.module, name);
        assert_eq!(error.fault, fault, "{name}: {}", error.message);
        assert_eq!(error.line, line, "{name}: {}", error.message);
        for text in texts {
            assert!(error.message.contains(text), "{name}: {text:?} is missing in {}", error.message);
        }
        assert!(vm.module(name).is_none());
    }
    // The mended file loads.
    files.write("raises", "return {}");
    vm.require("middle").expect("it loads");
    assert!(vm.require("x").is_err());
}

#[test]
fn a_vm_without_a_loader_says_so() {
    let vm = vm();
    let error = vm.require("x").expect_err("there is no loader");
    assert!(error.message.contains("no loader"), "{}", error.message);
    run_in(&vm, "refused('type', { 'no loader' }, require, './x')");
}

#[test]
fn an_error_in_a_module_is_an_ordinary_error_for_the_tasklet_that_requires_it() {
    let vm = Files::of([("bad", "local x = nil\nreturn x.y"), ("good", "return 1")]).vm();
    spawn(
        &vm,
        r##"
        refused("type", { "test.luau:3:", "bad.luau:2: attempt to index nil" }, function()
            require("./bad")
        end)
        eq(require("./good"), 1)
        coroutine.wrap(function() eq(pcall(require, "./bad"), false) end)()
        note("on")
        "##,
    );
    frame(&vm);
    assert_eq!(notes(&vm), "on");
}

#[test]
fn a_top_level_that_never_ends_is_ended() {
    let vm = Files::of([
        ("loop", "while true do end"),
        ("protected", "while true do pcall(function() while true do end end) end"),
        ("handled", "xpcall(function() while true do end end, function() while true do end end)"),
        ("coroutine", "coroutine.wrap(function() while true do end end)()"),
        ("sort", "table.sort({ 3, 2, 1 }, function() while true do end end)"),
        ("requires", "return require('./loop')"),
        (
            "pattern",
            "return string.find(string.rep('a', 100), string.rep('a?', 100) .. string.rep('a', 100))",
        ),
        ("good", "for i = 1, 1000 do end return {}"),
    ])
    .vm();
    for name in ["loop", "protected", "handled", "coroutine", "sort", "requires", "pattern"] {
        let error = vm.require(name).expect_err(name);
        assert!(error.message.contains("runs without end") || name == "handled", "{name}: {}", error.message);
        vm.require("good").expect("others load");
    }
    // Whoever requires it has its own limit back.
    spawn(
        &vm,
        "local t = tasklet(function() pcall(require, './loop') while true do end end)() eq(scheduler.run(1000), t) t:kill()",
    );
    frame(&vm);
    // And without a limit none applies.
    run_in(&vm, "pcall(require, './loop') for i = 1, 3e7 do end");
}

#[test]
fn a_long_chain_of_modules_loads_or_is_refused_in_order() {
    let files = Files::default();
    for n in 0..400 {
        files.write(&format!("m{n}"), &format!("return {{ next = require('./m{}') }}", n + 1));
    }
    files.write("m400", "return {}");
    let vm = files.vm();
    vm.require("m370").expect("a chain of thirty loads");
    let outcome = vm.require("m0");
    if let Err(error) = outcome {
        assert!(
            error.message.contains("stack overflow"),
            "{}",
            &error.message[..500.min(error.message.len())]
        );
    }
    run_in(&vm, "eq(require('./m400'), require('./m399').next)");
}

#[test]
fn every_file_has_globals_of_its_own_and_the_common_ones_are_read_only() {
    let vm = Files::of([
        ("a", "shared = 'a' function helper() return shared end return { get = function() return shared, helper() end }"),
        ("b", "eq(shared, nil) shared = 'b' eq(helper, nil) return { get = function() return shared end }"),
        ("overrides", "print = function() note('own print') end print() math = { floor = function() return 'own' end } \
                       note(math.floor(1.5)) return {}"),
        ("uses", "note(math.floor(1.5)) return {}"),
    ])
    .vm();
    run_in(
        &vm,
        r##"
        local a, b = require("./a"), require("./b")
        local shared, helped = a.get()
        eq(shared, "a")
        eq(helped, "a")
        eq(b.get(), "b")
        require("./overrides")
        require("./uses")
        eq(notes(), "own print own 1")
        eq(shared, "a")
        "##,
    );
    spawn(&vm, "leak = 1");
    spawn(&vm, "eq(leak, nil)");
    frame(&vm);
}

#[test]
fn a_script_can_change_nothing_that_others_see() {
    let vm = vm();
    run_in(
        &vm,
        r##"
        local function readonly(t, name)
            eq(pcall(function() t.planted = 1 end), false)
            eq(pcall(rawset, t, "planted", 1), false)
            eq(pcall(table.insert, t, 1), false)
            eq(pcall(table.clear, t), false)
            eq(pcall(setmetatable, t, {}), false)
            eq(rawget(t, "planted"), nil)
        end
        for _, t in {
            string, table, math, coroutine, scheduler, bit32, utf8, os, debug, buffer, vector, _G,
            getmetatable("").__index, getmetatable(""),
        } do
            readonly(t)
        end
        own = 1
        eq(own, 1)
        eq(_G.own, nil)
        "##,
    );
    run_in(
        &vm,
        r##"
        eq(planted, nil)
        eq(own, nil)
        eq(_G.planted, nil)
        eq(string.upper("a"), "A")
        eq(("x"):rep(3), "xxx")
        "##,
    );
}

#[test]
fn what_could_reach_out_of_the_sandbox_is_not_there() {
    run(r##"
        for _, value in { io or 0, package or 0, dofile or 0, loadfile or 0, load or 0, loadstring or 0, getfenv or 0,
            setfenv or 0, ffi or 0, jit or 0 } do
            eq(value, 0)
        end
        for _, name in { "execute", "exit", "getenv", "remove", "rename", "setlocale", "tmpname" } do
            eq(os[name], nil)
        end
        for _, option in { "collect", "stop", "restart", "step", "setpause", "generational" } do
            eq(pcall(collectgarbage, option), false)
        end
        eq(type(collectgarbage("count")), "number")
        eq(string.dump, nil)
        eq(getmetatable("").__metatable ~= nil or pcall(setmetatable, "", {}) == false, true)
    "##);
}

#[test]
fn builtins_that_are_overridden_in_one_environment_stay_in_it() {
    let vm = vm();
    run_in(
        &vm,
        r##"
        local function f() return math.floor(1.5) end
        eq(f(), 1)
        math = { floor = function() return "own" end }
        eq(f(), "own")
        pcall = function() return "own" end
        eq(pcall(), "own")
        "##,
    );
    run_in(&vm, "eq(math.floor(1.5), 1) eq(pcall(error), false)");
}

#[test]
fn loading_in_a_full_memory_is_an_error() {
    let files = Files::of([
        ("big", "local t = {} while true do t = { t } end"),
        ("good", "return {}"),
        ("data", "local t = {} for i = 1, 1e6 do t[i] = { i } end return t"),
    ]);
    let vm = vm_with(VmConfig { memory_limit: 6 << 20, ..VmConfig::default() }, |_| ());
    vm.set_loader(files);
    for name in ["big", "data", "big"] {
        let error = vm.require(name).expect_err("it fills the memory");
        assert!(error.message.contains("not enough memory"), "{}", error.message);
    }
    vm.lua().gc_collect().expect("garbage can be collected");
    vm.require("good").expect("it loads");
    let f = load(&vm, "refused('type', { 'not enough memory' }, require, './big') note('on')");
    vm.run_main(&f, ()).expect("it goes on");
    assert_eq!(notes(&vm), "on");
}

#[test]
fn a_module_of_any_size_and_shape_can_be_required() {
    let vm = Files::of([
        (
            "large",
            "local t = {} for i = 1, 200000 do t[i] = { name = 'n' .. i, f = function() end } end return t",
        ),
        ("deep", "local t = {} for i = 1, 100000 do t = { t } end return t"),
        ("cyclic", "local t = {} t.t = t t[t] = t return setmetatable(t, t)"),
        (
            "odd_keys",
            "return { [1.5] = 1, [vector.create(1, 2, 3)] = 2, [true] = 3, [print] = 4, ['a\\0b'] = 5 }",
        ),
        ("frozen", "return table.freeze({ x = table.freeze({}) })"),
        (
            "proxy",
            "return setmetatable({}, { __index = error, __newindex = error, __iter = error, __len = error, \
                   __metatable = false })",
        ),
        ("number", "return 42"),
        ("function", "return function() return 1 end"),
        ("channel", "return channel()"),
        ("thread", "return coroutine.create(print)"),
        ("false", "return false"),
        ("buffer", "return buffer.create(10)"),
    ])
    .vm();
    for name in [
        "large", "deep", "cyclic", "odd_keys", "frozen", "proxy", "number", "function", "channel", "thread",
        "false", "buffer",
    ] {
        vm.require(name).unwrap_or_else(|error| panic!("{name}: {}", error.message));
    }
}
