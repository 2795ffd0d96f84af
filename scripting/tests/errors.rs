//! Error values, and scripts that break whatever they can (`api-luau.md`, Errors).

mod script;
use bluetick_scripting::VmConfig;
use script::{failure, frame, load, notes, run, run_in, spawn, vm, vm_with};

#[test]
fn what_the_scheduler_raises_has_a_kind_a_text_and_a_place() {
    run(r##"
        local err = refused("closed", { "test.luau:5: receive: channel" }, function()
            local c = channel()
            c:close()
            c:receive()
        end)
        eq(type(err.message), "string")
        eq(tostring(err), err.message)
        eq(pcall(function() err.kind = "x" end), false)
        eq(scheduler.TaskletExit.kind, "exit")
        eq(scheduler.StopIteration.kind, "stop")
        eq(pcall(function() scheduler.TaskletExit.kind = "x" end), false)
        eq(pcall(rawset, scheduler.TaskletExit, "kind", "x"), false)
        eq(pcall(function() getmetatable(err).__tostring = nil end), false)
    "##);
}

#[test]
fn an_error_passes_through_a_wrap_as_the_same_value() {
    run(r##"
        local c = channel()
        c:close()
        local ok, err = pcall(coroutine.wrap(function() c:receive() end))
        eq(err.kind, "closed")
        local ok, inner, outer
        ok, outer = pcall(coroutine.wrap(function()
            ok, inner = pcall(c.receive, c)
            error(inner)
        end))
        eq(inner, outer)
    "##);
}

#[test]
fn a_failure_names_the_tasklet_the_place_and_the_calls() {
    let vm = vm();
    let id = spawn(
        &vm,
        "local function inner()\n  local x = nil\n  return x.field\nend\nlocal function outer() return (inner()) end\nouter()",
    );
    vm.set_name(id, "the broken one");
    vm.run_ready(|| true);
    let ended = vm.take_ended();
    let failure = ended[0].failure.as_ref().expect("it failed");
    assert_eq!(failure.tasklet, id);
    assert_eq!(failure.name, "tasklet 'the broken one'");
    assert!(
        failure.message.starts_with("test.luau:3: attempt to index nil with 'field'"),
        "{}",
        failure.message
    );
    assert_eq!(
        failure.traceback,
        "test.luau:3 in function 'inner'\ntest.luau:5 in function 'outer'\n\
         test.luau:6 in the main chunk or an unnamed function\n"
    );
}

#[test]
fn an_error_value_of_any_type_is_told_in_words() {
    for (value, text) in [
        ("nil", "an error value that is nil"),
        ("true", "true"),
        ("42", "42"),
        ("'text'", "text"),
        ("{}", "table"),
        ("setmetatable({}, { __tostring = function() error('no text') end })", "table"),
        ("setmetatable({}, { __tostring = function() while true do end end })", "table"),
        ("setmetatable({}, { __index = function() error('no field') end })", "table"),
        ("{ message = 'a message' }", "a message"),
        ("{ message = {} }", "table"),
        ("newproxy()", "userdata"),
        ("newproxy(true)", "userdata"),
        ("channel()", "userdata"),
        ("tasklet()", "userdata"),
        ("print", "function"),
        ("coroutine.create(print)", "thread"),
        ("vector.create(1, 2, 3)", "vector"),
        ("buffer.create(8)", "buffer"),
        ("'\\xff\\xfe'", "\u{fffd}\u{fffd}"),
        ("string.rep('x', 100000)", "xxx"),
    ] {
        let failed = failure(&format!("error({value}, 0)"));
        assert!(
            failed.message.contains(text),
            "error({value}): {}",
            &failed.message[..failed.message.len().min(200)]
        );
        let vm = vm();
        spawn(&vm, &format!("error({value}, 0)"));
        spawn(&vm, "note('next')");
        vm.run_ready(|| true);
        assert_eq!(vm.take_ended().len(), 1, "error({value})");
        assert_eq!(notes(&vm), "next");
    }
}

#[test]
fn infinite_recursion_is_an_error_wherever_it_happens() {
    run(r##"
        local function recurse() return recurse() + 1 end
        local mt = {}
        mt.__index = function(t, k) return t[k] end
        local function deep_pcall() return pcall(deep_pcall) end
        local function deep_wrap() return coroutine.wrap(deep_wrap)() end
        local function deep_sort() table.sort({ 1, 2 }, deep_sort) end
        local function deep_gsub() string.gsub("x", "x", deep_gsub) end
        local function deep_atomic() return scheduler.atomic(deep_atomic) end
        local function deep_xpcall() return xpcall(deep_xpcall, deep_xpcall) end
        local function handler() return xpcall(error, handler) end
        local all = {
            recurse = recurse,
            index = function() return setmetatable({}, mt).x end,
            pcall = deep_pcall,
            wrap = deep_wrap,
            sort = deep_sort,
            gsub = deep_gsub,
            atomic = deep_atomic,
            xpcall = deep_xpcall,
            handler = function() xpcall(error, handler) end,
            tostring = function() local t = setmetatable({}, {}) getmetatable(t).__tostring = tostring tostring(t) end,
            concat = function() local t = setmetatable({}, { __concat = function(a, b) return a .. b end }) return t .. 1 end,
            defer = function() scheduler.defer(recurse) end,
            unpack = function() return table.unpack({}, 1, 1e8) end,
            vararg = function() local function f(...) return f(1, ...) end f() end,
            call = function() local t = setmetatable({}, {}) getmetatable(t).__call = t t() end,
        }
        for name, f in all do
            if name ~= "defer" then pcall(f) end
            local t = tasklet(f)()
            pcall(scheduler.run)
            eq(t.alive, false)
            tasklet(function() coroutine.wrap(function() scheduler.schedule() f() end)() end)()
            pcall(scheduler.run)
        end
        tasklet(function() note("still here") end)()
        scheduler.run()
        eq(notes(), "still here")
    "##);
}

#[test]
fn tasklets_that_create_tasklets_without_end_end_by_the_limit_of_memory() {
    let vm = vm_with(VmConfig { memory_limit: 8 << 20, ..VmConfig::default() }, |_| ());
    for text in [
        "local all = {} while true do table.insert(all, tasklet(function() end)()) end",
        "local all = {} while true do table.insert(all, channel()) end",
        "local c = channel() while true do tasklet(function() c:receive() end)() end",
        "local function f() return tasklet(f)() end while true do f() end",
        "local t = scheduler.getcurrent() local i = 0 while true do i += 1 t['field' .. i] = i end",
        "while true do scheduler.defer(function() end) end",
        "local all = {} while true do table.insert(all, coroutine.create(function() end)) end",
        "local all = {} while true do local f = coroutine.wrap(function() coroutine.yield() end) f() table.insert(all, f) end",
    ] {
        let owner = vm.new_owner();
        let id = vm.spawn(&load(&vm, text), (), owner).expect("a tasklet can be made");
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 1
        });
        let ended = vm.take_ended();
        assert_eq!(ended.len(), 1, "{text}");
        assert_eq!(ended[0].tasklet, id, "{text}");
        let failure = ended[0].failure.as_ref().expect("it failed");
        assert!(failure.message.contains("not enough memory"), "{text}: {}", failure.message);
        for tasklet in vm.owned_by(owner) {
            assert!(vm.kill(tasklet).expect("a kill needs no memory"));
        }
        vm.run_ready(|| true);
        assert_eq!(vm.owned_by(owner), []);
        vm.lua().gc_collect().expect("garbage can be collected");
        vm.run_ready(|| true);
        spawn(&vm, "note('usable')");
        frame(&vm);
        assert_eq!(notes(&vm), "usable", "{text}");
    }
}

#[test]
fn a_script_that_fills_the_memory_is_ended_with_its_deferred_functions_and_others_go_on() {
    let vm = vm_with(VmConfig { memory_limit: 8 << 20, ..VmConfig::default() }, |_| ());
    for text in [
        "scheduler.defer(function() note('deferred') end) local t = {} while true do t = { t } end",
        "scheduler.defer(function() note('deferred') end) local t = {} while true do table.insert(t, {}) end",
        "scheduler.defer(function() note('deferred') end) local s = 'x' while true do s ..= s end",
        "scheduler.defer(function() note('deferred') end) local s = string.rep('x', 1e9)",
        "scheduler.defer(function() note('deferred') end) local t = {} for i = 1, 1e9 do t[i] = tostring(i) end",
        "scheduler.defer(function() note('deferred') end) buffer.create(1e9)",
    ] {
        let id = spawn(&vm, text);
        spawn(&vm, "note('next')");
        vm.run_ready(|| true);
        let ended = vm.take_ended();
        assert_eq!(ended.len(), 1, "{text}");
        assert_eq!(ended[0].tasklet, id);
        let failure = ended[0].failure.as_ref().expect("it failed");
        assert!(failure.message.contains("not enough memory"), "{text}: {}", failure.message);
        assert_eq!(notes(&vm), "deferred next", "{text}");
    }
}

#[test]
fn memory_that_runs_out_is_an_error_of_kind_memory_and_can_be_caught() {
    let vm = vm_with(VmConfig { memory_limit: 8 << 20, ..VmConfig::default() }, |_| ());
    run_in(
        &vm,
        r##"
        local function fill() local t = {} while true do t = { t } end end
        for _, f in {
            fill,
            function() string.rep("x", 2 ^ 30) end,
            function() coroutine.wrap(fill)() end,
            function() scheduler.atomic(fill) end,
            function() pcall(fill) fill() end,
        } do
            local err = refused("memory", { "memory limit" }, f)
            eq(typeof(tostring(err)), "string")
        end
        local ok, err = coroutine.resume(coroutine.create(fill))
        eq(ok, false)
        eq(err.kind, "memory")
        local handled
        xpcall(fill, function(e) handled = e end)
        eq(string.find(tostring(handled), "not enough memory", 1, true), 1)
        "##,
    );
}

#[test]
fn every_operation_survives_a_full_memory() {
    // The memory is filled to the last byte, and then each operation is tried in that state.
    let vm = vm_with(VmConfig { memory_limit: 4 << 20, ..VmConfig::default() }, |_| ());
    run_in(
        &vm,
        r##"
        local full
        local function fill()
            full = nil
            pcall(string.rep, "x", 2 ^ 30) -- the error that it raises has the VM collect
            full = {}
            local t = full
            pcall(function() while true do t.next = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 } t = t.next end end)
            pcall(function() while true do t.next = {} t = t.next end end)
            pcall(function() while true do table.insert(t, 1) end end)
        end
        local function nothing() end
        local c, d = channel(), channel()
        local paused = tasklet(scheduler.schedule_remove)()
        local receiver = tasklet(function() while true do scheduler.pcall(c.receive, c) end end)()
        local sender = tasklet(function() while true do scheduler.pcall(d.send, d, 1) end end)()
        scheduler.run()
        local operations = {
            function() return tasklet(nothing) end,
            function() return tasklet(nothing)(1, 2, 3) end,
            function() return channel() end,
            function() c:send(1) end,
            function() return d:receive() end,
            function() c:send_exception("x") end,
            function() c:send_sequence({ 1, 2 }) end,
            function() receiver:kill() end,
            function() receiver:throw("x", true) end,
            function() sender:throw("x") end,
            function() paused:insert() end,
            function() paused:remove() end,
            function() paused.field = 1 end,
            function() paused.name = "a long name for a tasklet, longer than any before it" end,
            function() return c.balance, c.queue, paused.next, tostring(c), tostring(paused) end,
            function() scheduler.schedule() end,
            function() scheduler.run() end,
            function() scheduler.run(10) end,
            function() return scheduler.getmain(), scheduler.getcurrent() end,
            function() scheduler.defer(nothing) end,
            function() scheduler.atomic(nothing) end,
            function() scheduler.set_error_handler(nothing) scheduler.set_error_handler() end,
            function() scheduler.set_channel_callback(nothing) c:send(1) end,
            function() scheduler.set_schedule_callback(nothing) scheduler.schedule() end,
            function() error("an error with a text that was not there before " .. tostring(math.random())) end,
            function() refused("closed", {}, function() local e = channel() e:close() e:receive() end) end,
            function() paused:kill() end,
            function() tasklet():bind(nothing, { 1, 2, 3 }) end,
            function() coroutine.wrap(nothing)() end,
            function() for v in d do break end end,
        }
        for i, operation in operations do
            fill()
            for _ = 1, 3 do
                pcall(operation)
                tasklet(nothing)
            end
            full = nil
            pcall(string.rep, "x", 2 ^ 30)
            scheduler.set_channel_callback()
            scheduler.set_schedule_callback()
            pcall(scheduler.run)
            local got
            local t = tasklet(function() local e = channel() tasklet(function() e:send(i) end)() got = e:receive() end)()
            scheduler.run()
            eq(got, i)
        end
        "##,
    );
    vm.lua().gc_collect().expect("garbage can be collected");
    run_in(&vm, "note('usable')");
    assert_eq!(notes(&vm), "usable");
}

#[test]
fn tasklets_that_die_of_full_memory_one_after_the_other_do_no_harm() {
    let vm = vm_with(VmConfig { memory_limit: 4 << 20, ..VmConfig::default() }, |_| ());
    // A table that stays full, and tasklets that die beside it, with handlers and deferred functions.
    run_in(
        &vm,
        r##"
        scheduler.set_error_handler(function(err, trace) note("handled") end)
        scheduler.set_schedule_callback(function(prev, next) local t = { prev, next } end)
        local full = {}
        local c = channel()
        for i = 1, 50 do
            tasklet(function()
                scheduler.defer(function() local t = { 1, 2, 3 } end)
                c:receive()
                local t = full
                while true do t.next = { i } t = t.next end
            end)()
        end
        scheduler.run()
        c.preference = 1
        for i = 1, 50 do pcall(c.send, c, i) end
        pcall(scheduler.run)
        scheduler.set_error_handler()
        scheduler.set_schedule_callback()
        while not pcall(scheduler.run) do end
        full = nil
        "##,
    );
    vm.lua().gc_collect().expect("garbage can be collected");
    notes(&vm);
    run_in(&vm, "tasklet(function() note('usable') end)() scheduler.run()");
    assert_eq!(notes(&vm), "usable");
}

#[test]
fn huge_results_and_arguments_are_errors_or_work() {
    run(r##"
        for _, n in { 249, 250, 251, 255, 256, 1000, 7000, 7999, 8000, 100000 } do
            local list = table.create(n, n)
            local c = channel()
            pcall(function()
                tasklet(function(...) note(select("#", ...)) end)(table.unpack(list))
            end)
            pcall(scheduler.run)
            pcall(function() tasklet(function(...) c:send(select("#", ...)) end):bind(nil, list):insert() end)
            pcall(scheduler.run)
            pcall(function() scheduler.pcall(function(...) return ... end, table.unpack(list)) end)
            pcall(function() scheduler.atomic(function(...) return ... end, table.unpack(list)) end)
            pcall(function() coroutine.wrap(function(...) coroutine.yield(...) end)(table.unpack(list)) end)
            pcall(function()
                local f = coroutine.wrap(function(...) scheduler.schedule() return ... end)
                tasklet(function() note(select("#", f(table.unpack(list)))) end)()
                scheduler.run()
            end)
            pcall(function() c:send_sequence(list) end)
            pcall(scheduler.run)
        end
        notes()
        note("still here")
        eq(notes(), "still here")
    "##);
}

#[test]
fn the_debug_library_sees_blocked_coroutines_and_changes_nothing() {
    run(r##"
        local c = channel()
        local threads = {}
        local t = tasklet(function()
            table.insert(threads, coroutine.running())
            coroutine.wrap(function()
                table.insert(threads, coroutine.running())
                c:receive()
                note("received")
            end)()
        end)()
        scheduler.run()
        for _, thread in threads do
            eq(type(debug.traceback(thread)), "string")
            for level = 0, 3 do
                pcall(debug.info, thread, level, "slnaf")
            end
        end
        for _, name in { "getupvalue", "setupvalue", "getlocal", "setlocal", "sethook", "getregistry", "setmetatable" } do
            eq(debug[name], nil)
        end
        c:send(1)
        eq(notes(), "received")
    "##);
}

#[test]
fn no_function_that_scripts_should_not_have_can_be_got_hold_of() {
    run(r##"
        local function look()
            for level = 0, 12 do
                local ok, err = pcall(debug.info, level, "f")
                eq(ok, false)
                eq(string.find(err, "option 'f' is not available", 1, true) ~= nil, true)
                pcall(debug.info, level, "sf")
                pcall(debug.info, coroutine.running(), level, "nf")
            end
        end
        look()
        xpcall(error, look)
        local t = tasklet()
        t.look = look
        t:look()
        scheduler.set_schedule_callback(look)
        scheduler.set_channel_callback(look)
        scheduler.set_error_handler(look)
        local c = channel()
        tasklet(function() scheduler.defer(look) c:receive() error("x") end)()
        tasklet(function() c:send(1) end)()
        scheduler.run()
        scheduler.set_schedule_callback()
        scheduler.set_channel_callback()
        scheduler.set_error_handler()
        -- The rest of it works as ever.
        local function where() return debug.info(2, "sl") end
        local file, line = where()
        eq(file, "test.luau")
        eq(line, 28)
        eq(debug.info(1, "n"), "")
        eq(debug.info(where, "n"), "where")
        eq(debug.info(print, "s"), "[C]")
        eq(debug.info(coroutine.running(), 1, "l"), 34)
        local co = coroutine.create(function() coroutine.yield() end)
        coroutine.resume(co)
        eq(debug.info(co, 1, "l"), 35)
        eq(debug.info(100, "s"), nil)
        for _, wrong in { {}, { 1 }, { "x", "s" }, { 1, "z" }, { 1, "ss" }, { -1, "s" }, { co }, { co, co, "s" } } do
            eq(pcall(debug.info, table.unpack(wrong)), false)
        end
    "##);
}

#[test]
fn a_tasklet_may_end_itself_in_every_way() {
    run(r##"
        local ways = {
            function(me) me:kill() end,
            function(me) me:kill(true) end,
            function(me) me:throw(scheduler.TaskletExit) end,
            function(me) me:raise_exception(scheduler.TaskletExit) end,
            function(me) error(scheduler.TaskletExit) end,
            function(me) coroutine.wrap(function() me:kill() end)() end,
            function(me) pcall(me.kill, me) end,
            function(me) table.sort({ 2, 1 }, function() me:kill() end) end,
            function(me) return setmetatable({}, { __index = function() me:kill() end }).x end,
            function(me) tostring(setmetatable({}, { __tostring = function() me:kill() end })) end,
            function(me) string.gsub("x", "x", function() me:kill() end) end,
            function(me) for _ in setmetatable({}, { __iter = function() me:kill() end }) do end end,
            function(me) xpcall(error, function() me:kill() end) me:kill() end,
            function(me) tasklet(function() me:kill() end)() scheduler.schedule() end,
            function(me) tasklet(function() me:kill() end)():run() end,
            function(me) tasklet(function() me:kill() end)() scheduler.run() end,
            function(me) scheduler.atomic(me.kill, me) end,
            function(me) me:remove() end,
        }
        for i, way in ways do
            local t
            t = tasklet(function()
                scheduler.defer(function() note(i) end)
                way(t)
                error("it lives on")
            end)()
            local ok, err = pcall(scheduler.run)
            if i == #ways then
                eq(err.kind, "current")
            else
                eq(ok, true)
            end
            eq(t.alive, false)
            eq(notes(), tostring(i))
        end
    "##);
}

#[test]
fn killers_that_are_killed_by_their_victims_end() {
    run(r##"
        local a, b
        a = tasklet(function()
            scheduler.defer(function() note("a ends") end)
            local ok, err = scheduler.pcall(scheduler.schedule_remove)
            b:kill()
            note("never")
        end)()
        b = tasklet(function()
            scheduler.defer(function() note("b ends") end)
            local ok, err = scheduler.pcall(scheduler.schedule_remove)
            a:kill()
            note("b goes on")
        end)()
        scheduler.run()
        a:kill()
        scheduler.run()
        eq(a.alive, false)
        eq(b.alive, false)
        eq(notes(), "a ends b goes on b ends")
        -- A tasklet that refuses to die, forever: the killer is not stuck.
        local c = channel()
        local stubborn = tasklet(function() while true do scheduler.pcall(c.receive, c) end end)()
        scheduler.run()
        for _ = 1, 1000 do stubborn:kill() end
        eq(stubborn.blocked, true)
        eq(c.balance, -1)
    "##);
}

#[test]
fn long_names_and_texts_do_no_harm() {
    run(r##"
        local t = tasklet(function() error(string.rep("long ", 100000)) end)
        t.name = string.rep("name", 250)
        refused("type", { "at most 1000 bytes" }, function() t.name = string.rep("name", 251) end)
        t()
        eq(pcall(scheduler.run), false)
        t.name = "with a \0 zero and \xff no text"
        eq(pcall(t.insert, t), false)
        eq(type(tostring(t)), "string")
    "##);
}

#[test]
fn deeply_nested_and_broken_source_is_an_error_not_a_crash() {
    let vm = vm();
    let deep = |open: &str, close: &str, n: usize| format!("return {}1{}", open.repeat(n), close.repeat(n));
    for text in [
        deep("(", ")", 100_000),
        deep("{", "}", 100_000),
        deep("-", "", 100_000),
        deep("not ", "", 100_000),
        deep("1 ..", "", 100_000),
        deep("1 ^", "", 100_000),
        deep("1 + ", "", 100_000),
        format!("return x{}", ".y".repeat(100_000)),
        format!("return x{}", "()".repeat(100_000)),
        format!("return x{}", "[1]".repeat(100_000)),
        "do ".repeat(100_000),
        "if true then ".repeat(100_000),
        format!("if a then {} end", "elseif b then ".repeat(100_000)),
        "function f() ".repeat(100_000),
        format!("local t = {{{}}}", "1,".repeat(300_000)),
        "local a = 1\n".repeat(300),
        format!("local x: {}number{}", "{".repeat(50_000), "}".repeat(50_000)),
        format!("return `{}`", "{`".repeat(10_000)),
        "--[[".into(),
        "'".into(),
        "\0".into(),
        "\u{feff}return 1".into(),
        "\x1bLua binary".into(),
        "\x06\x01\x00".into(),
    ] {
        let start: String = text.chars().take(20).collect();
        if let Ok(f) = vm.load("test.luau", &text) {
            // What compiles may fail, but in order.
            let _ = vm.run_main(&f, ());
        }
        run_in(
            &vm,
            &format!("note({start:?} ~= nil)")
                .replace("\\0", "")
                .replace("\\u{1b}", "")
                .replace("\\u{6}\\u{1}", "")
                .replace("\\u{feff}", "")
                .replace("note(", "note(tostring(")
                .replace("nil)", "nil))"),
        );
        assert_eq!(notes(&vm), "true");
    }
    assert!(vm.load("a\0b.luau", "return 1").is_err());
    let f = load(&vm, "return");
    vm.run_main(&f, ()).expect("an empty script is no error");
}

/// What a switch comes back to: an end, an error, a lack of memory, a `pcall`, an iterator, a coroutine.
#[test]
fn whatever_follows_a_switch_ends_as_if_there_had_been_none() {
    let vm = vm_with(VmConfig { memory_limit: 8 << 20, ..VmConfig::default() }, |_| ());
    let body = load(
        &vm,
        r##"
        local c = channel()
        local waits = { schedule = scheduler.schedule, channel = function() return c:receive() end }
        local function huge()
            local t = {}
            for i = 1, 1e9 do t[i] = { i } end
        end
        local ends = {
            value = function() return 7 end,
            error = function() error("plain", 0) end,
            table = function() error({ kind = "own" }) end,
            memory = huge,
        }
        for wait, pause in waits do
            for how, finish in ends do
                tasklet(function()
                    local ok, err = pcall(function()
                        pause()
                        return finish()
                    end)
                    local kind = if type(err) == "table" then err.kind else err
                    note(wait, how, ok, kind)
                end)()
                tasklet(function()
                    local co = coroutine.wrap(function()
                        pause()
                        coroutine.yield(1)
                        pause()
                        return finish()
                    end)
                    note(wait, how, "wrapped", co())
                    local ok, err = pcall(co)
                    note(wait, how, ok, if type(err) == "table" then err.kind else err)
                end)()
                tasklet(function()
                    for value in function() pause() return nil end do
                        note("never", value)
                    end
                    pause()
                    note(wait, how, "looped")
                end)()
            end
        end
        tasklet(function()
            while c.balance < 0 do
                c:send(nil)
                scheduler.schedule()
            end
        end)()
    "##,
    );
    vm.spawn(&body, (), Default::default()).unwrap();
    frame(&vm);
    let noted = notes(&vm);
    let mut lines: Vec<&str> = noted.split(' ').collect();
    lines.sort_unstable();
    let mut expected = Vec::new();
    for wait in ["schedule", "channel"] {
        for (how, ok, result) in [
            ("value", true, "7"),
            ("error", false, "plain"),
            ("table", false, "own"),
            ("memory", false, "memory"),
        ] {
            expected.push(format!("{wait}:{how}:{ok}:{result}"));
            expected.push(format!("{wait}:{how}:wrapped:1"));
            expected.push(format!("{wait}:{how}:{ok}:{result}"));
            expected.push(format!("{wait}:{how}:looped"));
        }
    }
    expected.sort_unstable();
    assert_eq!(lines, expected);

    for (text, expected) in [
        ("scheduler.schedule() error('loud', 0)", "loud"),
        ("channel():receive() ", ""),
        ("scheduler.schedule() local t = {} for i = 1, 1e9 do t[i] = { i } end", "memory"),
    ] {
        spawn(&vm, text);
        vm.run_ready(|| true);
        let ended = vm.take_ended();
        let message = ended.first().and_then(|ended| ended.failure.as_ref()).map(|failure| &*failure.message);
        assert!(message.unwrap_or_default().contains(expected), "{text}: {message:?}");
        assert_eq!(message.is_none(), expected.is_empty(), "{text}: {message:?}");
    }
}

#[test]
fn a_tasklets_error_that_ends_main_is_told_with_the_place_where_it_was_raised() {
    for (text, expected) in [
        ("scheduler.run()", "test.luau:2 in function 'boom'\ntest.luau:4 in function 'child'\n"),
        ("channel():receive()", "test.luau:2 in function 'boom'\ntest.luau:4 in function 'child'\n"),
        // Main has stopped it, and fails by itself.
        ("pcall(scheduler.run) error('own')", "test.luau:7 in the main chunk or an unnamed function\n"),
    ] {
        let vm = vm();
        let main = load(
            &vm,
            &format!(
                "local function boom()
                    error('oh')
                end
                local function child() boom() end
                tasklet(child)()
                note('on')
                {text}"
            ),
        );
        let failure = vm.run_main(&main, ()).expect_err("it fails");
        assert_eq!(failure.traceback, expected, "{text}: {}", failure.message);
    }
}

/// A tasklet with this text fails, and what it fails with ends so.
#[cfg(feature = "reload")]
#[track_caller]
fn fails_with(vm: &bluetick_scripting::Vm, text: &str, expected: &str) {
    spawn(vm, text);
    vm.run_ready(|| true);
    let failure = vm.take_ended().into_iter().find_map(|ended| ended.failure).expect("it fails");
    assert!(failure.message.ends_with(expected), "{text}: {}", failure.message);
}

/// The VM itself says `attempt to call a nil value` and no more. Names are read by the reload's knowledge of code.
#[cfg(feature = "reload")]
#[test]
fn a_call_of_nothing_is_told_with_its_name_and_the_nearest_that_there_is() {
    let vm = vm();
    for (text, expected) in [
        ("prnt('x')", ": there is no global 'prnt' (did you mean 'print'?)"),
        ("zzz()", ": there is no global 'zzz'"),
        ("local a = string.uper('x')", ": 'string' has no 'uper' (did you mean 'upper'?)"),
        ("M.hutn(1, prnt)", ": 'M' has no 'hutn' (did you mean 'hunt'?)"),
        ("local m = { bark = 1 } m.brak()", ": 'm' has no 'brak' (did you mean 'bark'?)"),
        ("M.inner.og()", ": 'inner' has no 'og'"),
        ("local f = M.inner.og f()", ": 'f' is nil"),
        ("f()", ": 'f' is nil"),
        ("M.hunt(prnt(1), 2)", ": there is no global 'prnt' (did you mean 'print'?)"),
        ("coroutine.wrap(function() prnt() end)()", ": there is no global 'prnt' (did you mean 'print'?)"),
        (
            "table.sort({ 2, 1 }, function() prnt() end)",
            ": there is no global 'prnt' (did you mean 'print'?)",
        ),
        ("scheduler.schedule() prnt()", ": there is no global 'prnt' (did you mean 'print'?)"),
        ("wait(1)", ": there is no global 'wait'"),
        // Nobody knows a name.
        ("(M.inner.og or nil)()", ""),
        ("M.hunt()()", ""),
        ("M[1]()", ""),
        ("pcall(nil) error('attempt to call a nil value')", ""),
    ] {
        let text = format!(
            "local M = {{ inner = {{}} }} function M.hunt() end local f = print f = nil (function() {text} end)()"
        );
        fails_with(&vm, &text, &format!("test.luau:1: attempt to call a nil value{expected}"));
    }
}

/// Who comes from another engine is told what its words are called here, where there is a clock to wait for.
#[cfg(feature = "reload")]
#[test]
fn a_word_of_other_engines_is_told_with_what_it_is_called_here() {
    let vm = bluetick_scripting::Vm::new(Default::default()).expect("a VM");
    vm.lua().globals().set("synchro", vm.lua().create_table().expect("a table")).expect("it is set");
    for (text, expected) in [
        ("wait(1)", "there is no global 'wait'; here that is synchro.sleep(seconds)"),
        ("task.wait(1)", "there is no global 'task'; here that is synchro.sleep(seconds) and self:spawn(f)"),
        ("spawn(print)", "there is no global 'spawn'; here that is self:spawn(f)"),
        ("wiat(1)", "there is no global 'wiat'"),
    ] {
        fails_with(&vm, text, expected);
    }
}

/// The VM says the name of the field, but not of what was nil.
#[cfg(feature = "reload")]
#[test]
fn a_field_of_nothing_is_told_with_the_name_of_what_is_nil() {
    let vm = vm();
    for (text, expected) in [
        ("task.wait(1)", "'wait': there is no global 'task'"),
        ("strnig.format('x')", "'format': there is no global 'strnig' (did you mean 'string'?)"),
        ("local x = strnig.format", "'format': there is no global 'strnig' (did you mean 'string'?)"),
        ("strnig:format()", "'format': there is no global 'strnig' (did you mean 'string'?)"),
        ("local x = string.foo.bar", "'bar': 'string' has no 'foo'"),
        ("local x = M.iner.og", "'og': 'M' has no 'iner' (did you mean 'inner'?)"),
        ("M.iner.og = 1", "'og': 'M' has no 'iner' (did you mean 'inner'?)"),
        ("M.iner:og()", "'og': 'M' has no 'iner' (did you mean 'inner'?)"),
        ("M.inner.a.b.c = 1", "'b': 'inner' has no 'a'"),
        ("local t local x = t.y", "'y': 't' is nil"),
        ("local t t.y = 1", "'y': 't' is nil"),
        ("local t t[1] = 1", "number: 't' is nil"),
        ("local t, i = nil, 2 local x = t[i]", "number: 't' is nil"),
        ("local t t:y()", "'y': 't' is nil"),
        ("f.y = 2", "'y': 'f' is nil"),
        ("M.hunt().y = 2", "'y'"),
        ("M.hunt():y()", "'y'"),
        ("error(\"attempt to index nil with 'y'\")", "'y'"),
    ] {
        let text = format!(
            "local M = {{ inner = {{}} }} function M.hunt() end local f = print f = nil (function() {text} end)()"
        );
        fails_with(&vm, &text, &format!("test.luau:1: attempt to index nil with {expected}"));
    }
}
