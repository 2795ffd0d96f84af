//! Tasklets as scripts see them (`api-luau.md`, `semantics.md` section 1).

mod script;
use script::{failure, notes, run};

#[test]
fn the_flags_of_a_tasklet_tell_its_state() {
    run(r##"
        local c = channel()
        local function flags(t)
            local s = ""
            for _, name in { "alive", "paused", "scheduled", "blocked" } do
                s ..= if t[name] then "T" else "F"
            end
            return s
        end
        local t = tasklet()
        eq(flags(t), "FFFF") -- unbound
        t:bind(function() c:receive() end)
        eq(flags(t), "FFFF") -- bound without arguments
        t:bind(nil, {})
        eq(flags(t), "TTFF") -- paused
        t:insert()
        eq(flags(t), "TFTF") -- runnable
        scheduler.run()
        eq(flags(t), "TFTT") -- blocked
        c:send(1)
        scheduler.run()
        eq(flags(t), "FFFF") -- dead
        eq(flags(scheduler.getcurrent()), "TFTF")
        local seen
        tasklet(function() seen = flags(scheduler.getmain()) end)()
        scheduler.run()
        eq(seen, "TTFF") -- main inside run
    "##);
}

#[test]
fn a_call_gives_the_arguments_queues_the_tasklet_and_returns_it() {
    run(r##"
        local got
        local t = tasklet(function(...) got = table.pack(...) end)
        eq(t(1, nil, "x", nil), t)
        eq(got, nil)
        eq(scheduler.getruncount(), 2)
        scheduler.run()
        eq(got.n, 4)
        eq(got[1], 1)
        eq(got[3], "x")
        eq(t.alive, false)
    "##);
}

#[test]
fn setup_takes_more_arguments_than_a_c_function_has_room_for() {
    run(r##"
        local many = table.create(5000, 7)
        local sum = 0
        tasklet(function(...) for i = 1, select("#", ...) do sum += 1 end end)(table.unpack(many))
        scheduler.run()
        eq(sum, 5000)
    "##);
}

#[test]
fn bind_with_arguments_makes_a_paused_tasklet() {
    run(r##"
        local t = tasklet()
        eq(t:bind(function(a, b, c) note(a, tostring(b), c) end, table.pack(1, nil, 3)), t)
        eq(t.paused, true)
        scheduler.run()
        eq(notes(), "")
        t:run()
        eq(notes(), "1:nil:3")
        t:bind(function(...) note(select("#", ...)) end, { "a", "b" })
        t:insert()
        scheduler.run()
        eq(notes(), "2")
    "##);
}

#[test]
fn a_dead_tasklet_can_be_bound_again_and_stays_the_same_object() {
    run(r##"
        local t = tasklet(function() note("a") end)
        local known = { [t] = "mine" }
        t()
        scheduler.run()
        t:bind(function() note("b") end)()
        scheduler.run()
        t:bind(function(x) note(x) end, { "c" })
        t:run()
        eq(notes(), "a b c")
        eq(known[t], "mine")
        eq(t.times_switched_to, 1) -- counted anew since it was bound
    "##);
}

#[test]
fn bind_to_nothing_takes_the_frame_and_runs_what_was_deferred() {
    run(r##"
        local t = tasklet(function()
            scheduler.defer(function() note("deferred") end)
            scheduler.schedule_remove()
            note("never")
        end)()
        scheduler.run()
        eq(t.paused, true)
        eq(t:bind(), t)
        eq(t.alive, false)
        eq(notes(), "deferred")
        refused("dead", { "tasklet" }, t.insert, t)
        refused("unbound", { "setup" }, t)
    "##);
}

#[test]
fn what_a_tasklet_that_is_unbound_has_deferred_may_not_block() {
    run(r##"
        local function unbound_with(f)
            local t = tasklet(function()
                scheduler.defer(f)
                scheduler.schedule_remove()
            end)()
            scheduler.run()
            return t
        end
        local c = channel()
        for _, wait in { scheduler.schedule, scheduler.run, function() c:receive() end, function() c:send(1) end } do
            for _, bind in { function(t) t:bind() end, function(t) t.bind(t) end } do
                bind(unbound_with(function()
                    refused("boundary", { "'bind'" }, wait)
                    note("refused")
                end))
                coroutine.wrap(function()
                    bind(unbound_with(function() note(tostring(pcall(coroutine.yield))) end))
                end)()
                eq(notes(), "refused false")
            end
        end
        eq(c.balance, 0)
    "##);
}

#[test]
fn what_a_deferred_function_does_to_the_tasklet_that_is_unbound_can_t_revive_it() {
    run(r##"
        local t
        t = tasklet(function()
            scheduler.defer(function()
                note(tostring(pcall(t.insert, t)))
                note(tostring(pcall(t.run, t)))
                note(tostring(t.alive))
            end)
            scheduler.schedule_remove()
        end)()
        scheduler.run()
        t:bind()
        eq(notes(), "false false false")
        eq(t.alive, false)
        scheduler.run()

        -- It binds the tasklet itself: then the outer bind is the one that comes too late.
        t:bind(function()
            scheduler.defer(function()
                t:bind(function() note("from the deferred function") end, {})
                t:insert()
            end)
            scheduler.schedule_remove()
        end, {})
        t:run()
        refused("alive", { "bind" }, t.bind, t, function() note("outer") end, {})
        scheduler.run()
        eq(notes(), "from the deferred function")
    "##);
}

#[test]
fn the_state_decides_which_operations_are_refused() {
    run(r##"
        local c = channel()
        local function nothing() end
        local function all(kind, t, verbs)
            for _, verb in verbs do
                refused(kind, { verb .. ":", "test.luau:" }, function() t[verb](t) end)
            end
        end
        local unbound, bound = tasklet(), tasklet(nothing)
        local dead = tasklet(nothing)()
        local blocked = tasklet(function() c:receive() end)()
        scheduler.run()
        local queued = tasklet(nothing)()

        for _, t in { unbound, bound, dead } do
            all("dead", t, { "run", "insert", "switch" })
            refused("dead", { "throw:" }, t.throw, t, "oops")
            refused("dead", { "throw:" }, t.throw, t, "oops", true)
            refused("dead", { "raise_exception:" }, t.raise_exception, t, "oops")
            t:kill()
            t:kill(true)
            t:throw(scheduler.TaskletExit)
            eq(t:remove(), t)
        end
        all("blocked", blocked, { "run", "insert", "switch", "remove" })
        refused("blocked", { "bind:" }, blocked.bind, blocked)
        refused("blocked", { "bind:" }, blocked.bind, blocked, nothing)
        refused("alive", { "setup:" }, blocked.setup, blocked)
        refused("alive", { "setup:" }, queued)
        refused("alive", { "bind:" }, queued.bind, queued)
        refused("alive", { "bind:" }, queued.bind, queued, nothing)
        refused("unbound", { "setup:" }, unbound)
        refused("unbound", { "bind:" }, unbound.bind, unbound, nil, {})
        all("current", scheduler.getcurrent(), { "bind", "remove" })
        eq(queued:insert(), queued)
        eq(scheduler.getcurrent():insert(), scheduler.getcurrent())
        local paused = tasklet():bind(nothing, {})
        refused("alive", { "bind:" }, paused.bind, paused, nil, {})
        eq(paused:remove(), paused)
        eq(paused:bind(), paused)
        eq(c.balance, -1)
    "##);
}

#[test]
fn a_tasklet_inside_run_can_t_be_bound() {
    run(r##"
        local runner
        runner = tasklet(function()
            tasklet(function()
                eq(runner.paused, true)
                refused("alive", { "bind" }, runner.bind, runner)
                refused("alive", { "bind" }, runner.bind, runner, function() end, {})
                eq(runner:remove(), runner)
                note("inner")
            end)()
            scheduler.run()
            note("outer")
        end)()
        scheduler.run()
        eq(notes(), "inner outer")
        local main = scheduler.getmain()
        tasklet(function()
            refused("alive", { "bind" }, main.bind, main)
            refused("alive", { "bind" }, main.bind, main, print)
        end)()
        scheduler.run()
        -- Main is paused, and not inside run.
        tasklet(function()
            refused("alive", { "bind" }, main.bind, main)
            main:insert()
        end)()
        scheduler.schedule_remove()
    "##);
}

#[test]
fn arguments_of_the_wrong_type_are_named() {
    run(r##"
        refused("type", { "tasklet: expected a function or nothing, got number", "test.luau:3:" }, function()
            tasklet(7)
        end)
        local t = tasklet()
        refused("type", { "bind: expected a function or nil, got string" }, t.bind, t, "x")
        refused("type", { "arguments", "table.pack" }, t.bind, t, nil, 5)
        refused("type", { "at most 250" }, t.bind, t, print, { n = 1e9 })
        refused("type", { "at most 250" }, t.bind, t, print, { n = 0 / 0 })
        refused("type", { "at most 250" }, t.bind, t, print, { n = -1 })
        refused("type", { "throw: expected an error value, got nothing" }, t.throw, t)
        refused("type", { "raise_exception: expected an error value" }, t.raise_exception, t)
        refused("type", { "insert: expected a tasklet (call it with a colon)" }, t.insert)
        refused("type", { "insert: expected a tasklet", "channel" }, t.insert, channel())
        refused("type", { "set_atomic: expected a boolean" }, t.set_atomic, t, 1)
        refused("type", { "set_ignore_nesting: expected a boolean, got nothing" }, t.set_ignore_nesting, t)
        refused("type", { "block_trap: expected a boolean" }, function() t.block_trap = 1 end)
        refused("type", { "name: expected a string or nil" }, function() t.name = {} end)
        refused("type", { "switch_trap: delta" }, scheduler.switch_trap, "1")
        refused("type", { "whole number" }, scheduler.switch_trap, 0.5)
        refused("type", { "whole number" }, scheduler.switch_trap, 0 / 0)
        refused("type", { "run: limit" }, scheduler.run, "x")
        refused("type", { "run: limit" }, scheduler.run, -1)
        refused("type", { "whole number" }, scheduler.run, math.huge)
        refused("type", { "run: timeout" }, scheduler.run, { timeout = "x" })
        refused("type", { "run: soft" }, scheduler.run, { timeout = 5, soft = 1 })
        refused("type", { "set_error_handler" }, scheduler.set_error_handler, 1)
    "##);
}

#[test]
fn a_trapped_tasklet_is_refused_where_it_would_block_and_only_there() {
    run(r##"
        local c = channel()
        local t
        t = tasklet(function()
            t.block_trap = true
            refused("block_trap", { "receive:", "tasklet 'mine'", "block_trap", "test.luau:7:" }, function()
                return (c:receive())
            end)
            refused("block_trap", { "send:" }, c.send, c, 1)
            refused("block_trap", { "for:" }, function() for _ in c do end end)
            scheduler.schedule()
            eq(c:receive(), "there")
            scheduler.schedule_remove()
            t.block_trap = false
            note(c:receive())
        end)
        t.name = "mine"
        t()
        tasklet(function() c:send("there") end)()
        scheduler.run()
        eq(t.block_trap, true)
        t:insert()
        scheduler.run()
        eq(c.balance, -1)
        c:send("last")
        scheduler.run()
        eq(notes(), "last")
    "##);
}

#[test]
fn under_the_switch_trap_whatever_would_switch_is_refused_and_changes_nothing() {
    run(r##"
        local c, d = channel(), channel()
        local receiver = tasklet(function() note(c:receive()) end)()
        local sleeper = tasklet(function() scheduler.schedule_remove() end)()
        local sender = tasklet(function() d:send("value") end)()
        scheduler.run()
        local queued = tasklet(function() note("queued") end)()
        eq(scheduler.switch_trap(1), 0)
        eq(scheduler.switch_trap(0), 1)
        for name, f in {
            schedule = scheduler.schedule,
            schedule_remove = scheduler.schedule_remove,
            run = scheduler.run,
            send = function() c:send(1) end,
            kill = function() receiver:kill() end,
            throw = function() sleeper:throw("x") end,
            switch = function() queued:switch() end,
            receive = function() channel():receive() end,
        } do
            refused("switch_trap", { name .. ":", "level 1", "test.luau:" }, function() f() end)
        end
        refused("switch_trap", { "run:" }, queued.run, queued)
        eq(c.balance, -1)
        eq(sleeper.paused, true)
        eq(d:receive(), "value") -- the receiver is preferred: nobody switches
        scheduler.getcurrent():run()
        sleeper:kill(true)
        eq(scheduler.switch_trap(-1), 1)
        scheduler.run()
        eq(notes(), "queued")
        eq(sleeper.alive, false)
        c:send("got")
        scheduler.run()
        eq(notes(), "got")
    "##);
}

#[test]
fn a_deadlock_error_lists_who_waits_where() {
    let deadlock = failure(
        r##"
        local c, d = channel(), channel()
        local ann = tasklet(function() c:receive() end)
        ann.name = "ann"
        ann()
        local bob = tasklet(function() d:send(1) end)
        bob.name = "bob"
        bob()
        scheduler.run()
        channel():receive()
        "##,
    );
    assert!(deadlock.message.starts_with("test.luau:10: receive: deadlock"), "{}", deadlock.message);
    for text in ["the main tasklet", "'ann' waits to receive from channel", "'bob' waits to send on channel"]
    {
        assert!(deadlock.message.contains(text), "{text:?} is missing in {}", deadlock.message);
    }
}

#[test]
fn main_gets_an_error_when_nobody_is_left_who_could_wake_it() {
    run(r##"
        local c = channel()
        tasklet(function() scheduler.schedule() end)()
        refused("deadlock", { "receiving" }, c.receive, c)
        eq(c.balance, 0)
        tasklet(function() scheduler.schedule() end)()
        refused("deadlock", { "sending" }, c.send, c, 1)
        eq(c.balance, 0)
    "##);
}

#[test]
fn atomic_passes_arguments_and_results_and_sets_the_flag_back() {
    run(r##"
        local me = scheduler.getcurrent()
        local results = table.pack(scheduler.atomic(function(...)
            eq(me.atomic, true)
            scheduler.atomic(function() end)
            eq(me.atomic, true)
            return select("#", ...), ...
        end, 1, nil, nil))
        eq(results.n, 4)
        eq(results[1], 3)
        eq(me.atomic, false)
        local ok, err = pcall(scheduler.atomic, error, "oops", 0)
        eq(ok, false)
        eq(err, "oops")
        eq(me.atomic, false)
        -- It blocks inside, and an error ends the wait.
        local t
        t = tasklet(function()
            pcall(scheduler.atomic, function() channel():receive() end)
            eq(t.atomic, false)
            note("done")
        end)()
        scheduler.run()
        eq(t.atomic, true)
        t:throw("x")
        eq(notes(), "done")
        pcall(function() refused("type", {}, scheduler.atomic, 1) end)
        eq(me.atomic, false)
    "##);
}

#[test]
fn an_atomic_section_is_not_interrupted_and_what_comes_after_it_is() {
    run(r##"
        local t = tasklet(function()
            scheduler.atomic(function()
                for _ = 1, 2000 do end
                note("atomic section done")
            end)
            for _ = 1, 2000 do end
            note("never")
        end)()
        eq(scheduler.run(100), t)
        eq(notes(), "atomic section done")
        eq(t.paused, true)
        t:kill()
        eq(t.alive, false)
        eq(t:set_atomic(true), false)
        eq(t:set_atomic(false), true)
        eq(t:set_ignore_nesting(true), false)
        eq(t.ignore_nesting, true)
    "##);
}

#[test]
fn a_limited_run_interrupts_inside_coroutines_and_pcall_and_the_tasklet_goes_on_later() {
    run(r##"
        local sum = 0
        local t = tasklet(function()
            pcall(function()
                for n in coroutine.wrap(function()
                    for i = 1, 3000 do
                        if i % 1000 == 0 then coroutine.yield(i) end
                    end
                end) do
                    sum += n
                end
            end)
            note("end")
        end)()
        local stops = 0
        while t.alive do
            local stopped = scheduler.run(100)
            if stopped then
                eq(stopped, t)
                stops += 1
                t:insert()
            end
        end
        eq(sum, 6000)
        eq(notes(), "end")
        eq(stops > 10, true)
    "##);
}

#[test]
fn a_stopped_tasklet_gets_an_error_where_it_was_stopped() {
    run(r##"
        local t = tasklet(function()
            local ok, err = pcall(function()
                while true do end
            end)
            note(tostring(ok), err)
        end)()
        eq(scheduler.run(50), t)
        t:throw("enough")
        eq(notes(), "false:enough")
        local g = tasklet(function()
            local f = coroutine.wrap(function() while true do end end)
            f()
        end)()
        eq(scheduler.run(50), g)
        g:kill()
        eq(g.alive, false)
    "##);
}

#[test]
fn a_stopped_tasklet_can_be_bound_to_something_else() {
    run(r##"
        local t = tasklet(function()
            scheduler.defer(function() note("deferred") end)
            local x = { 1, 2, 3 }
            for i, v in x do
                while true do x[i] += 1 end
            end
        end)()
        for _ = 1, 20 do
            eq(scheduler.run(100), t)
            t:bind(function(v) note(v) end, { "new" })
            t:run()
            eq(notes(), "deferred new")
            t:bind(function()
                scheduler.defer(function() note("deferred") end)
                coroutine.wrap(function() while true do end end)()
            end)()
        end
        eq(scheduler.run(100), t)
        t:bind()
        scheduler.run()
    "##);
}

#[test]
fn tempval_is_what_the_blocking_call_returns() {
    run(r##"
        local t = tasklet(function()
            note(scheduler.schedule_remove("default"))
            note(scheduler.schedule_remove("default"))
            note(tostring(scheduler.schedule_remove(nil)))
        end)()
        eq(t.tempval, nil)
        t.tempval = "ignored before it has started"
        scheduler.run()
        eq(t.tempval, "default")
        t.tempval = "written"
        eq(t.tempval, "written")
        t:run()
        t:run()
        t.tempval = nil
        t:run()
        eq(notes(), "written default nil")
        t.tempval = "dead"
        eq(t.tempval, nil)
        -- A value that waits to be sent is not for others to change.
        local c = channel()
        local s = tasklet(function() c:send("mine") end)()
        scheduler.run()
        s.tempval = "other"
        eq(c:receive(), "mine")
        scheduler.getcurrent().tempval = 1
        eq(scheduler.getcurrent().tempval, nil)
    "##);
}

#[test]
fn scripts_may_set_fields_of_their_own_on_tasklets() {
    run(r##"
        local t = tasklet(function() end)
        t.job = "guard"
        t[1] = "one"
        t[t] = "itself"
        local key = {}
        t[key] = false
        eq(t.job, "guard")
        eq(t[1], "one")
        eq(t[t], "itself")
        eq(t[key], false)
        t()
        scheduler.run()
        eq(t.job, "guard") -- outlives the tasklet
        t.job = nil
        eq(t.job, nil)
        eq(t.unknown, nil)
        eq(t[nil], nil)
        local ok = pcall(function() t[nil] = 1 end)
        eq(ok, false)
        ok = pcall(function() t[0 / 0] = 1 end)
        eq(ok, false)
        refused("type", { "method" }, function() t.kill = 1 end)
        for _, field in { "alive", "paused", "blocked", "scheduled", "next", "is_main", "times_switched_to" } do
            refused("type", { field, "can't be set" }, function() t[field] = true end)
        end
        eq(typeof(t), "tasklet")
        eq(getmetatable(t), "The metatable is locked")
        eq(pcall(setmetatable, t, {}), false)
    "##);
}

#[test]
fn a_tasklet_is_known_by_its_name_in_messages() {
    run(r##"
        local t = tasklet(function() end)
        eq(t.name, nil)
        eq(string.match(tostring(t), "^tasklet %d+$") ~= nil, true)
        t.name = "gate guard"
        eq(t.name, "gate guard")
        eq(tostring(t), "tasklet 'gate guard'")
        refused("dead", { "insert: tasklet 'gate guard' is dead", "test.luau:9:" }, function()
            t:insert()
        end)
        t.name = nil
        eq(t.name, nil)
        eq(tostring(scheduler.getmain()), "the main tasklet")
    "##);
}

#[test]
fn next_and_prev_are_the_neighbours_in_the_queue() {
    run(r##"
        local function nothing() end
        local main = scheduler.getcurrent()
        eq(main.next, main)
        eq(main.prev, main)
        local a, b = tasklet(nothing)(), tasklet(nothing)()
        eq(main.next, a)
        eq(a.next, b)
        eq(b.next, main)
        eq(main.prev, b)
        a:remove()
        eq(a.next, nil)
        eq(a.prev, nil)
        eq(main.next, b)
        scheduler.run()
        eq(b.next, nil)
        local c = channel()
        local x = tasklet(function() c:receive() end)()
        local y = tasklet(function() c:receive() end)()
        scheduler.run()
        eq(c.queue, x)
        eq(x.next, y)
        eq(x.prev, nil)
        eq(y.prev, x)
        eq(y.next, nil)
        x:kill()
        eq(c.queue, y)
        eq(y.prev, nil)
    "##);
}

#[test]
fn a_tasklet_knows_how_often_it_ran_and_where_it_was_made() {
    run(r##"
        local t = tasklet(function() scheduler.schedule() end)
        eq(t.times_switched_to, 0)
        t()
        tasklet(function() end)()
        scheduler.run()
        eq(t.times_switched_to, 2)
        eq(t.is_current, false)
        eq(t.is_main, false)
        eq(scheduler.getcurrent().is_current, true)
        eq(scheduler.getmain().is_main, true)
        eq(type(t.thread_id), "number")
        eq(type(t.run_time), "number")
    "##);
}

#[test]
fn deferred_functions_run_last_in_first_out_however_the_tasklet_ends() {
    run(r##"
        local function body(how)
            return function()
                scheduler.defer(function() note("first") end)
                scheduler.defer(function() note("second") end)
                how()
            end
        end
        tasklet(body(function() end))()
        scheduler.run()
        eq(notes(), "second first")
        tasklet(body(function() error("oops") end))()
        eq(pcall(scheduler.run), false)
        eq(notes(), "second first")
        local t = tasklet(body(function() scheduler.schedule_remove() end))()
        scheduler.run()
        t:kill()
        eq(notes(), "second first")
        tasklet(body(function() scheduler.getcurrent():kill() end))()
        scheduler.run()
        eq(notes(), "second first")
        -- Not those of an earlier life.
        t:bind(function() end)()
        scheduler.run()
        eq(notes(), "")
    "##);
}

#[test]
fn deferred_functions_may_not_block_and_their_errors_stop_none_of_the_others() {
    run(r##"
        local c = channel()
        tasklet(function()
            scheduler.defer(function() note("last") end)
            scheduler.defer(function() error("in a deferred function") end)
            scheduler.defer(function()
                scheduler.defer(function() note("nested") end)
                refused("boundary", { "receive" }, c.receive, c)
                refused("boundary", { "schedule" }, scheduler.schedule)
                refused("boundary", { "run" }, scheduler.run)
                refused("current", {}, function() scheduler.getcurrent():bind() end)
                coroutine.wrap(function() refused("boundary", {}, c.receive, c) end)()
                note("refused")
            end)
        end)()
        local ok, err = pcall(scheduler.run)
        eq(ok, false)
        eq(err, "test.luau:5: in a deferred function")
        eq(notes(), "refused nested last")
        eq(c.balance, 0)
        -- The error of a deferred function takes the place of the tasklet's.
        tasklet(function()
            scheduler.defer(function() error("second", 0) end)
            error("first", 0)
        end)()
        ok, err = pcall(scheduler.run)
        eq(err, "second")
        -- An exit in one is none of the tasklet's.
        tasklet(function()
            scheduler.defer(function() scheduler.getcurrent():kill() end)
            error("first", 0)
        end)()
        ok, err = pcall(scheduler.run)
        eq(err, "first")
    "##);
}

#[test]
fn a_script_can_t_reach_the_body_of_a_tasklet_that_ends() {
    run(r##"
        local thread
        tasklet(function()
            thread = coroutine.running()
            scheduler.defer(function()
                note(coroutine.status(thread))
                note(tostring(pcall(coroutine.close, thread)))
                note(tostring(coroutine.resume(thread)))
            end)
            error("the error", 0)
        end)()
        local ok, err = pcall(scheduler.run)
        eq(err, "the error")
        eq(coroutine.status(thread), "dead")
        notes()
        -- What a body returns is nobody's: it can't be called by resuming it.
        tasklet(function()
            thread = coroutine.running()
            scheduler.defer(function() note(tostring(coroutine.resume(thread))) end)
            return function() note("called") end
        end)()
        scheduler.run()
        eq(coroutine.status(thread), "dead")
        eq(coroutine.resume(thread), false)
        eq(notes(), "false")
    "##);
}

#[test]
fn plain_pcall_and_xpcall_let_the_exit_pass_and_scheduler_pcall_stops_it() {
    run(r##"
        local handled = false
        local function victim(protected)
            return tasklet(function()
                protected(scheduler.schedule_remove, function() handled = true end)
                note("survived")
            end)()
        end
        local a, b, c = victim(pcall), victim(xpcall), victim(scheduler.pcall)
        scheduler.run()
        for _, t in { a, b, c } do t:kill() end
        eq(notes(), "survived")
        eq(handled, false)
        local ok, err = scheduler.pcall(error, scheduler.TaskletExit)
        eq(ok, false)
        eq(err, scheduler.TaskletExit)
        eq(err.kind, "exit")
        local results = table.pack(scheduler.pcall(function(...) return ... end, 1, nil))
        eq(results.n, 3)
        eq(pcall(scheduler.pcall), false)
    "##);
}

#[test]
fn an_exit_ends_a_tasklet_in_silence_and_any_other_error_reaches_main() {
    run(r##"
        tasklet(function() error(scheduler.TaskletExit) end)()
        scheduler.run()
        for _, value in { "text", 42, true, { 1 }, vector.create(1, 2, 3), newproxy(), print, channel() } do
            tasklet(function() error(value, 0) end)()
            local ok, err = pcall(scheduler.run)
            eq(ok, false)
            eq(err, value)
        end
        tasklet(function() error() end)()
        local ok, err = pcall(scheduler.run)
        eq(ok, false)
        eq(err, nil)
    "##);
}

#[test]
fn a_killed_tasklet_that_raises_another_error_raises_it_in_main() {
    run(r##"
        local t = tasklet(function()
            scheduler.defer(function() error("from the end", 0) end)
            scheduler.schedule_remove()
        end)()
        scheduler.run()
        local ok, err = pcall(t.kill, t)
        eq(ok, false)
        eq(err, "from the end")
    "##);
}

#[test]
fn killing_or_throwing_at_oneself_is_raised_at_once() {
    run(r##"
        for _, pending in { false, true } do
            local t = tasklet(function()
                local me = scheduler.getcurrent()
                local ok, err = pcall(me.throw, me, "mine", pending)
                eq(ok, false)
                eq(err, "mine")
                note("thrown")
                me:kill(pending)
                note("never")
            end)()
            scheduler.run()
            eq(t.alive, false)
        end
        eq(notes(), "thrown thrown")
    "##);
}

#[test]
fn the_error_handler_runs_in_the_dying_tasklet_with_its_traceback() {
    run(r##"
        local seen
        eq(scheduler.set_error_handler(function(err, traceback)
            seen = { err = err, traceback = traceback, current = scheduler.getcurrent() }
        end), nil)
        local t = tasklet(function()
            local function inner() error("oops") end
            inner()
        end)()
        tasklet(function() note("others go on") end)()
        scheduler.run()
        eq(seen.err, "test.luau:7: oops")
        eq(seen.current, t)
        eq(string.find(seen.traceback, "test.luau:7 in function 'inner'", 1, true), 1)
        eq(notes(), "others go on")
        -- Not for the exit.
        seen = nil
        local victim = tasklet(function() scheduler.schedule_remove() end)()
        scheduler.run()
        victim:kill()
        eq(seen, nil)
        -- An error in it takes the place of the tasklet's.
        local before = scheduler.set_error_handler(function() error("handler", 0) end)
        eq(type(before), "function")
        tasklet(function() error("tasklet", 0) end)()
        local ok, err = pcall(scheduler.run)
        eq(err, "handler")
        -- It can't block, and can't revive its tasklet.
        scheduler.set_error_handler(function()
            local me = scheduler.getcurrent()
            refused("boundary", {}, scheduler.schedule)
            refused("boundary", {}, scheduler.run)
            refused("current", {}, me.bind, me)
            note("refused")
        end)
        tasklet(function() error("tasklet", 0) end)()
        scheduler.run()
        eq(notes(), "refused")
        -- An exit in it is a silent end.
        scheduler.set_error_handler(function() scheduler.getcurrent():kill() end)
        tasklet(function() error("tasklet", 0) end)()
        scheduler.run()
        scheduler.set_error_handler(nil)
    "##);
}

#[test]
fn functions_of_the_vm_can_be_bodies() {
    run(r##"
        local c = channel()
        tasklet(c.receive)(c)
        tasklet(c.send)(c, 1)
        tasklet(scheduler.schedule)()
        tasklet(scheduler.run)()
        tasklet(scheduler.run)(5)
        tasklet(pcall)(c.receive, c)
        tasklet(xpcall)(c.receive, print, c)
        tasklet(scheduler.atomic)(c.receive, c)
        tasklet(coroutine.wrap(function() c:receive() end))()
        tasklet(coroutine.resume)(coroutine.create(function() c:receive() end))
        tasklet(c.send_sequence)(c, { 1, 2, 3, 4, 5 })
        tasklet(select)(2, "a", "b")
        tasklet(scheduler.getcurrent)()
        scheduler.run()
        eq(c.balance, 0)
        local y = tasklet(coroutine.yield)()
        refused("boundary", { "scheduler.schedule" }, scheduler.run)
        local r = tasklet(scheduler.schedule_remove)()
        scheduler.run()
        eq(r.paused, true)
        r:kill()
        tasklet(error)({})
        eq(pcall(scheduler.run), false)
    "##);
}

#[test]
fn blocking_in_a_callback_of_the_scheduler_is_refused_and_its_errors_are_dropped() {
    run(r##"
        local c = channel()
        local kinds = {}
        scheduler.set_schedule_callback(function(prev, next)
            local ok, err = pcall(scheduler.schedule)
            kinds[err.kind] = true
            ok, err = pcall(c.send, c, 1)
            kinds[err.kind] = true
            error("dropped")
        end)
        tasklet(function() scheduler.schedule() end)()
        scheduler.run()
        scheduler.set_schedule_callback(nil)
        eq(kinds.callback, true)
        local seen = {}
        scheduler.set_channel_callback(function(ch, t, sending, blocks)
            table.insert(seen, tostring(ch == c) .. tostring(t.is_current) .. tostring(sending) .. tostring(blocks))
            refused("callback", {}, c.receive, c)
            refused("callback", {}, coroutine.wrap(function() scheduler.schedule() end))
            error("dropped")
        end)
        tasklet(function() c:receive() end)()
        tasklet(function() c:send(1) end)()
        scheduler.run()
        eq(table.concat(seen, " "), "truetruefalsetrue truetruetruefalse")
        -- Infinite recursion in one.
        scheduler.set_channel_callback(function() local function f() return f() + 1 end f() end)
        tasklet(function() c:receive() end)()
        tasklet(function() c:send(1) end)()
        scheduler.run()
        scheduler.set_channel_callback(nil)
        refused("deadlock", {}, c.receive, c)
    "##);
}

#[test]
fn a_callback_may_kill_those_who_are_about_to_meet() {
    run(r##"
        local c = channel()
        local victim = tasklet(function() c:receive() note("never") end)()
        scheduler.run()
        scheduler.set_channel_callback(function(ch, t, sending)
            if sending then victim:kill(true) end
        end)
        local sender = tasklet(function() c:send(1) end)()
        scheduler.run()
        scheduler.set_channel_callback(nil)
        eq(victim.alive, false)
        eq(c.balance, 1)
        eq(c:receive(), 1)
        scheduler.run()
        -- The one that is about to run.
        local other = tasklet(function() note("never") end)()
        scheduler.set_schedule_callback(function(prev, next)
            if next == other then next:kill(true) end
        end)
        scheduler.run()
        scheduler.set_schedule_callback(nil)
        eq(other.alive, false)
        eq(notes(), "")
    "##);
}

/// T30: who forgets a tasklet does not kill it; its handlers run when its owner ends.
#[test]
fn a_tasklet_that_nobody_holds_ends_with_its_owner_and_not_when_the_collector_comes_by() {
    let vm = script::vm();
    let owner = vm.new_owner();
    let body = script::load(
        &vm,
        r##"
        local function forget(name, wait)
            tasklet(function()
                scheduler.defer(function() note(name, "deferred") end)
                local ok, err = scheduler.pcall(wait)
                note(name, ok, err == scheduler.TaskletExit)
            end)()
        end
        forget("paused", scheduler.schedule_remove)
        forget("blocked", function() channel():receive() end)
        tasklet(function() note("never") end):bind(nil, {})
    "##,
    );
    vm.spawn(&body, (), owner).unwrap();
    script::frame(&vm);
    for _ in 0..3 {
        vm.lua().gc_collect().unwrap();
        vm.run_ready(|| true);
    }
    assert_eq!(notes(&vm), "");
    let stats = vm.stats();
    assert_eq!((stats.paused, stats.waiting, stats.runnable), (2, 1, 0));
    let forgotten = vm.owned_by(owner);
    assert_eq!(vm.end(&forgotten).unwrap(), 3);
    assert_eq!(notes(&vm), "paused:false:true paused:deferred blocked:false:true blocked:deferred");
    vm.lua().gc_collect().unwrap();
    vm.run_ready(|| true);
    assert_eq!(vm.stats().tasklets, 0);
}
