//! The library `uthread` where no time passes (`semantics.md` section 6). With a clock it is tested in the
//! whole-system tests.

mod script;
use bluetick_scripting::{Reply, SliceLimit, Vm, VmConfig, Wait};
use script::{failure, frame, notes, run_in, spawn, vm, vm_with};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;

/// Runs a script as the main tasklet; neither it nor any tasklet that it makes may fail.
#[track_caller]
fn run(text: &str) {
    let vm = vm();
    run_in(&vm, text);
    for ended in vm.take_ended() {
        if let Some(failure) = ended.failure {
            panic!("{}: {}\n{}", failure.name, failure.message, failure.traceback);
        }
    }
}

#[test]
fn u1_a_new_tasklet_is_appended_and_its_error_is_reported_and_harms_nobody() {
    let vm = vm();
    run_in(
        &vm,
        r##"
        note("m0")
        local t = uthread.new(function(a, b) note("child", a, b) error("oh no") end, 1, 2)
        note("m1")
        scheduler.run()
        eq(t.alive, false)
        uthread.worker(function() note("worker") error("oh no") end)
        scheduler.run()
        eq(notes(), "m0 m1 child:1:2 worker")
    "##,
    );
    let failures: Vec<_> = vm.take_ended().into_iter().filter_map(|ended| ended.failure).collect();
    assert_eq!(failures.len(), 2);
    assert_eq!(failures[0].message, "test.luau:3: oh no");
    assert_eq!(failures[0].traceback, "test.luau:3 in the main chunk or an unnamed function\n");
}

#[test]
fn u1_the_first_slice_of_a_new_tasklet_may_be_its_last() {
    run(r##"
        local t = uthread.new(function() note("never") end)
        t:kill()
        refused("cancelled", { "test.luau:4: ", "was killed" }, function() uthread.join(t) end)
        local u = uthread.new(function() note("never") end)
        local waits = uthread.new(function()
            refused("cancelled", { "was killed" }, uthread.join, u)
            note("told")
        end)
        u:kill(true)
        scheduler.run()
        eq(notes(), "told")
    "##);
}

#[test]
fn join_returns_what_the_tasklet_returns_however_late() {
    run(r##"
        local c = channel()
        local t = uthread.new(function(...) return c:receive(), ... end, nil, 3)
        for _ = 1, 2 do
            uthread.new(function() note(select("#", uthread.join(t)), (uthread.join(t))) end)
        end
        scheduler.run()
        eq(notes(), "")
        c:send("v")
        scheduler.run()
        eq(notes(), "3:v 3:v")
        eq(select("#", uthread.join(t)), 3)
        eq(select("#", uthread.join(uthread.new(function() end))), 0)
        -- A plain tasklet is as good, as long as it lives.
        local plain = tasklet(function() scheduler.schedule() return 7 end)()
        eq(uthread.join(plain), 7)
        eq(uthread.join(plain), 7)
        eq(select("#", uthread.join(tasklet())), 0)
        -- A second life has an end of its own.
        plain:bind(function() scheduler.schedule() return 8 end)
        plain()
        eq(uthread.join(plain), 8)
    "##);
}

#[test]
fn join_raises_what_the_tasklet_died_of_and_only_there() {
    let vm = vm();
    run_in(
        &vm,
        r##"
        local err = { "mine" }
        local t = uthread.new(function() scheduler.schedule() error(err) end)
        for _ = 1, 2 do
            uthread.new(function()
                local ok, got = pcall(uthread.join, t)
                eq(ok, false)
                eq(got, err)
                note("told")
            end)
        end
        scheduler.run()
        -- A plain tasklet's error would go to main.
        local plain = tasklet(function() error("oh no") end)()
        local ok, got = pcall(uthread.join, plain)
        eq(got, "test.luau:14: oh no")
        eq(notes(), "told told")
        refused("type", { "join: expected a tasklet, got nil" }, uthread.join)
        refused("current", { "join: ", "can't wait for its own end" }, function()
            uthread.join(scheduler.getcurrent())
        end)
        tasklet(function() refused("type", { "main tasklet" }, uthread.join, scheduler.getmain()) end)()
        scheduler.run()
    "##,
    );
    assert!(vm.take_ended().is_empty());
}

#[test]
fn an_error_of_a_joined_tasklet_tells_where_it_was_raised() {
    let failure = failure(
        "local function inner()\n error('oh no')\n end\n local function outer()\n inner()\n end
        uthread.join(uthread.new(outer))",
    );
    assert_eq!(failure.message, "test.luau:2: oh no");
    assert_eq!(
        failure.traceback,
        "test.luau:2 in function 'inner'\n\
         test.luau:5 in function 'outer'\n\
         awaited in\n\
         [uthread] task.luau:122 in function 'settle'\n\
         [uthread] task.luau:152 in function 'join'\n\
         test.luau:7 in the main chunk or an unnamed function\n"
            .replace("122", &line("task", "native.rethrow(outcome[1]"))
            .replace("152", &line("task", "record.outcome :: Outcome"))
    );
}

/// The line of a file of the library that has this text.
fn line(file: &str, text: &str) -> String {
    let path = format!("{}/src/luau/lib/{file}.luau", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(path).expect("the file is there");
    let line = file.lines().position(|line| line.contains(text)).expect("the text is there");
    (line + 1).to_string()
}

#[test]
fn an_error_that_passes_a_lock_or_a_group_keeps_its_traceback() {
    let failure = failure(
        "local lock = uthread.Lock()
        local function inner()
            error('oh no')
        end
        lock:with(function()
            inner()
        end)",
    );
    assert!(failure.traceback.starts_with("test.luau:3 in function 'inner'\ntest.luau:6 in "), "{failure:?}");
    assert!(failure.traceback.ends_with("test.luau:5 in the main chunk or an unnamed function\n"));
}

#[test]
fn u2_parallel_has_its_results_in_the_order_of_the_calls() {
    run(r##"
        local gate = { channel(), channel(), channel() }
        local function job(n) gate[n]:receive() note(n) return n * 10, "dropped" end
        local done
        uthread.new(function() done = uthread.parallel({ { job, 1 }, { job, 2 }, { job, 3 } }) end)
        scheduler.run()
        for _, n in { 3, 1, 2 } do
            eq(done, nil)
            gate[n]:send(nil)
            scheduler.run()
        end
        eq(notes(), "3 1 2")
        eq(done.n, 3)
        eq(table.concat(done, " "), "10 20 30")
        -- nil is a result.
        local none = uthread.parallel({ function() end, function() return 2 end })
        eq(none.n, 2)
        eq(none[1], nil)
        eq(none[2], 2)
        eq(uthread.parallel({}).n, 0)
        eq(uthread.all({}).n, 0)
    "##);
}

#[test]
fn u2_the_first_error_in_parallel_goes_to_the_caller_and_no_job_is_left() {
    let vm = vm();
    run_in(
        &vm,
        r##"
        local c = channel()
        local function waits(n)
            scheduler.defer(function() note("cleaned", n) end)
            c:receive()
        end
        for _, gather in { uthread.parallel, uthread.all } do
            local ok, err = pcall(gather, {
                { waits, 1 },
                function() scheduler.schedule() error({ "mine" }) end,
                { waits, 3 },
                function() scheduler.schedule() scheduler.schedule() error("the second is reported") end,
            })
            eq(ok, false)
            eq(err[1], "mine")
            eq(notes(), "cleaned:1 cleaned:3")
            eq(c.balance, 0)
            eq(scheduler.getruncount(), 1)
        end
    "##,
    );
    // The other one was killed before it could fail.
    assert!(vm.take_ended().is_empty());
}

#[test]
fn u2_parallel_runs_so_many_at_once_and_no_more() {
    run(r##"
        local running, most, order = 0, 0, {}
        local calls = {}
        for n = 1, 100 do
            calls[n] = function()
                running += 1
                most = math.max(most, running)
                for _ = 0, n % 5 do scheduler.schedule() end
                running -= 1
                return n
            end
        end
        for _, width in { 1, 7, 30, 1000 } do
            most = 0
            local results = uthread.parallel(calls, width)
            eq(most, math.min(width, 100))
            for n = 1, 100 do eq(results[n], n) end
        end
        most = 0
        uthread.parallel(calls)
        eq(most, 30)
        refused("type", { "parallel: how many at once" }, uthread.parallel, {}, 0)
        refused("type", { "parallel: how many at once" }, uthread.parallel, {}, 0 / 0)
        refused("type", { "parallel: expected a list of functions, got nil" }, uthread.parallel)
        refused("type", { "parallel: call 2: expected a function" }, uthread.parallel, { print, 5 })
        refused("type", { "all: call 1: expected a function" }, uthread.all, { {} })
    "##);
}

#[test]
fn a_result_of_parallel_is_not_lost_while_its_caller_does_something_else() {
    // The original's helper reported only to a parent that was waiting at that moment (6.3).
    run(r##"
        local results = uthread.parallel({
            function() return 1 end,
            function() return uthread.parallel({ function() return 2 end, function() return 3 end }) end,
            function() scheduler.schedule() return 4 end,
        }, 1)
        eq(results[1], 1)
        eq(results[2][2], 3)
        eq(results[3], 4)
    "##);
}

#[test]
fn u3_a_killed_waiter_of_a_semaphore_takes_nothing_with_it() {
    run(r##"
        for _, pending in { false, true } do
            local s = uthread.Semaphore()
            local function job(name)
                s:acquire()
                note(name)
                scheduler.schedule_remove()
                s:release()
            end
            local a, b, c = uthread.new(job, "a"), uthread.new(job, "b"), uthread.new(job, "c")
            scheduler.run()
            eq(tostring(s), "semaphore (0 free, 2 waiting)")
            b:kill(pending)
            eq(s:waiting(), 1)
            a:insert()
            scheduler.run()
            eq(s:waiting(), 0)
            eq(s:available(), 0)
            c:insert()
            scheduler.run()
            eq(s:available(), 1)
            eq(notes(), "a c")
        end
    "##);
}

#[test]
fn a_permit_that_was_given_to_a_waiter_killed_before_its_turn_goes_to_the_next() {
    run(r##"
        local s = uthread.Semaphore(0)
        local function job(name) s:acquire() note(name) end
        local a, b = uthread.new(job, "a"), uthread.new(job, "b")
        scheduler.run()
        s:release()
        eq(a.blocked, false)
        a:kill(true)
        scheduler.run()
        eq(notes(), "b")
        eq(s:available(), 0)
        local c = uthread.new(job, "c")
        scheduler.run()
        s:release()
        c:kill()
        eq(s:available(), 1)
        eq(notes(), "")
    "##);
}

#[test]
fn a_semaphore_is_fair_and_its_releaser_goes_on() {
    run(r##"
        local s = uthread.Semaphore(2)
        for n = 1, 5 do
            uthread.new(function()
                s:acquire()
                note("in", n)
                scheduler.schedule()
                s:release()
                note("out", n)
                -- It can't have it again before those that wait.
                s:acquire()
                note("again", n)
                s:release()
            end)
        end
        scheduler.run()
        eq(notes(), "in:1 in:2 out:1 out:2 in:3 in:4 out:3 out:4 in:5 again:1 out:5 again:2 again:3 again:4 again:5")
        eq(s:available(), 2)
        s:release(3)
        eq(s:available(), 5)
    "##);
}

#[test]
fn a_semaphore_refuses_what_makes_no_sense() {
    run(r##"
        refused("type", { "permits has to be a whole number from 0, got -1" }, uthread.Semaphore, -1)
        refused("type", { "permits" }, uthread.Semaphore, 0 / 0)
        refused("type", { "permits" }, uthread.Semaphore, "1")
        -- With so many nobody could tell one more.
        refused("type", { "permits" }, uthread.Semaphore, 1e300)
        refused("type", { "release: permits" }, uthread.Semaphore().release, uthread.Semaphore(), 1e300)
        refused("type", { "limit" }, uthread.Semaphore, 1, 0)
        refused("type", { "more than the limit of 2" }, uthread.Semaphore, 3, 2)
        local s = uthread.Semaphore(1, 1)
        refused("owner", { "more are released than were acquired" }, s.release, s)
        eq(s:acquire(0), true)
        eq(s:acquire(0), false)
        refused("type", { "seconds has to be a number" }, s.acquire, s, "1")
        refused("type", { "NaN" }, s.acquire, s, 0 / 0)
        refused("clock", { "acquire: it takes a clock" }, s.acquire, s, 1)
        refused("owner", {}, s.release, s, 2)
        s:release()
        eq(s:available(), 1)
        refused("type", { "with: expected a function" }, s.with, s)
        eq(getmetatable(s), "The metatable is locked")
    "##);
}

#[test]
fn u4_a_reentrant_lock_is_held_until_it_is_released_as_often() {
    run(r##"
        local lock = uthread.RLock()
        eq(lock:locked(), false)
        refused("owner", { "release: nobody holds the lock" }, lock.release, lock)
        eq(lock:acquire(), true)
        eq(lock:acquire(), true)
        local other = uthread.new(function()
            eq(lock:held(), false)
            refused("owner", { "test.luau:9: release: the main tasklet holds the lock" }, function() lock:release() end)
            note(lock:acquire(0))
            lock:acquire()
            note("got")
            lock:release()
        end)
        scheduler.run()
        lock:release()
        scheduler.run()
        eq(notes(), "false")
        lock:release()
        eq(tostring(lock), `reentrant lock (held by {other}, 0 waiting)`)
        scheduler.run()
        eq(notes(), "got")
        eq(lock:locked(), false)
    "##);
}

#[test]
fn u4_whoever_is_killed_in_with_lets_the_lock_go() {
    run(r##"
        for _, kind in { "Lock", "RLock" } do
            for _, pending in { false, true } do
                local lock = uthread[kind]()
                local holder = uthread.new(function()
                    lock:with(function() scheduler.schedule_remove() end)
                end)
                local waiter = uthread.new(function() return lock:with(function(...) return ... end, "v", nil) end)
                scheduler.run()
                eq(lock:locked(), true)
                holder:kill(pending)
                scheduler.run()
                eq(lock:locked(), false)
                eq(uthread.join(waiter), "v")
            end
        end
        local lock = uthread.Lock()
        local ok, err = pcall(lock.with, lock, function() error("oh no", 0) end)
        eq(err, "oh no")
        eq(lock:locked(), false)
        refused("owner", { "with: the lock was released before" }, lock.with, lock, function() lock:release() end)
        eq(lock:locked(), false)
    "##);
}

#[test]
fn a_lock_may_be_released_by_another_tasklet() {
    run(r##"
        local lock = uthread.Lock()
        lock:acquire()
        uthread.new(function() lock:acquire() note("got") end)
        uthread.new(function() lock:release() note("released") end)
        scheduler.run()
        eq(notes(), "released got")
    "##);
}

#[test]
fn locks_are_themselves_and_not_an_address() {
    // The originals kept locks in a table by the address of an object, which another one may get later (6.5).
    run(r##"
        for _ = 1, 200 do
            local lock = uthread.RLock()
            uthread.new(function() lock:acquire() end)
            scheduler.run()
            eq(lock:acquire(0), false)
            local fresh = uthread.RLock()
            eq(fresh:acquire(0), true)
        end
    "##);
}

#[test]
fn u5_notify_wakes_the_first_and_they_have_the_lock_again() {
    run(r##"
        local c = uthread.Condition()
        for n = 1, 3 do
            uthread.new(function()
                c:with(function()
                    eq(c:wait(), true)
                    eq(c.lock:held(), true)
                    note(n)
                end)
            end)
        end
        scheduler.run()
        eq(c:waiting(), 3)
        c:with(function() c:notify(2) note("notified") end)
        scheduler.run()
        eq(notes(), "notified 1 2")
        c:with(function() c:notify_all() c:notify(5) end)
        scheduler.run()
        eq(notes(), "3")
        refused("owner", { "wait: the main tasklet has to hold" }, c.wait, c)
        refused("owner", { "notify: " }, c.notify, c)
        refused("owner", { "notify_all: " }, c.notify_all, c)
        refused("owner", { "wait_for: " }, c.wait_for, c, print)
        refused("type", { "Condition: expected a Lock" }, uthread.Condition, {})
        c:acquire()
        refused("type", { "notify: how many" }, c.notify, c, 0 / 0)
        refused("type", { "wait_for: expected a function" }, c.wait_for, c)
        eq(c:wait_for(function() return "at once" end), "at once")
        eq(c:wait(0), false)
        c:release()
    "##);
}

#[test]
fn u5_a_killed_waiter_has_the_lock_again_before_it_unwinds() {
    run(r##"
        for _, kind in { "Lock", "RLock" } do
            local lock = uthread[kind]()
            local c = uthread.Condition(lock)
            local t = uthread.new(function()
                lock:acquire()
                if kind == "RLock" then lock:acquire() end
                local ok, err = scheduler.pcall(c.wait, c)
                eq(err, scheduler.TaskletExit)
                eq(lock:held(), true)
                note("unwinds")
                lock:release()
                if kind == "RLock" then eq(lock:held(), true) lock:release() end
                error(err)
            end)
            scheduler.run()
            lock:acquire()
            t:kill()
            -- It waits for the lock now, even if it is killed once more.
            eq(t.alive, true)
            eq(lock:waiting(), 1)
            t:kill()
            eq(lock:waiting(), 1)
            eq(notes(), "")
            lock:release()
            scheduler.run()
            eq(notes(), "unwinds")
            eq(t.alive, false)
            eq(lock:locked(), false)
            eq(c:waiting(), 0)
        end
    "##);
}

#[test]
fn a_notification_of_a_waiter_killed_before_its_turn_goes_to_the_next() {
    run(r##"
        local c = uthread.Condition()
        local function waits(n) c:with(function() c:wait() note(n) end) end
        local a, b = uthread.new(waits, "a"), uthread.new(waits, "b")
        scheduler.run()
        c:with(function() c:notify() end)
        a:kill(true)
        scheduler.run()
        eq(notes(), "b")
        eq(c.lock:locked(), false)
    "##);
}

#[test]
fn wait_for_waits_until_it_is_so() {
    run(r##"
        local c = uthread.Condition()
        local n = 0
        local t = uthread.new(function()
            return c:with(function() return c:wait_for(function() return n > 2 and n end) end)
        end)
        for _ = 1, 3 do
            scheduler.run()
            eq(t.alive, true)
            c:with(function() n += 1 c:notify() end)
        end
        eq(uthread.join(t), 3)
    "##);
}

#[test]
fn u6_a_barrier_lets_all_pass_together_again_and_again() {
    run(r##"
        local b = uthread.Barrier(3, function() note("action") end)
        for n = 1, 3 do
            uthread.new(function()
                for round = 1, 2 do note(n, round, b:wait()) end
            end)
        end
        scheduler.run()
        eq(notes(), "action 3:1:3 1:1:1 2:1:2 action 2:2:3 3:2:1 1:2:2")
        eq(tostring(b), "barrier (0 of 3 have come)")
        eq(uthread.Barrier(1):wait(), 1)
        refused("type", { "parties" }, uthread.Barrier, 0)
        refused("type", { "parties" }, uthread.Barrier, 1.5)
        refused("type", { "action" }, uthread.Barrier, 1, 5)
    "##);
}

#[test]
fn u6_a_barrier_is_broken_by_a_kill_an_abort_and_an_error_of_its_action() {
    run(r##"
        local b = uthread.Barrier(3, function() error("oh no", 0) end)
        local function comes(n)
            local ok, err = pcall(b.wait, b)
            note(n, if type(err) == "table" then err.kind else err)
        end
        local function two() return uthread.new(comes, 1), uthread.new(comes, 2) end
        local one, other = two()
        scheduler.run()
        eq(b:waiting(), 2)
        one:kill(true)
        scheduler.run()
        eq(notes(), "2:broken")
        eq(b:broken(), true)
        refused("broken", { "wait: the barrier is broken" }, b.wait, b)
        b:reset()
        two()
        scheduler.run()
        b:reset()
        scheduler.run()
        eq(notes(), "1:broken 2:broken")
        eq(b:broken(), false)
        two()
        scheduler.run()
        b:abort()
        scheduler.run()
        eq(notes(), "1:broken 2:broken")
        b:reset()
        two()
        uthread.new(comes, 3)
        scheduler.run()
        eq(notes(), "3:oh no 1:broken 2:broken")
        -- Whoever is killed after all have come breaks nothing.
        local passes = uthread.Barrier(2)
        local late = uthread.new(function() passes:wait() note("never") end)
        scheduler.run()
        eq(passes:wait(), 2)
        late:kill(true)
        scheduler.run()
        eq(passes:broken(), false)
        eq(notes(), "")
    "##);
}

#[test]
fn u7_an_event_wakes_all_that_wait_in_order_and_keeps_nobody_after() {
    run(r##"
        local e = uthread.Event()
        local gone
        for n = 1, 4 do
            local t = uthread.new(function() note(n, e:wait()) end)
            if n == 2 then gone = t end
        end
        scheduler.run()
        gone:kill()
        eq(tostring(e), "event (not set, 3 waiting)")
        e:set()
        note("set")
        e:clear()
        scheduler.run()
        eq(notes(), "set 1:true 3:true 4:true")
        eq(e:is_set(), false)
        eq(e:wait(0), false)
        e:set()
        eq(e:wait(), true)
        eq(e:wait(0), true)
    "##);
}

#[test]
fn u7_a_value_event_has_one_value_or_one_error_for_all() {
    run(r##"
        local e = uthread.ValueEvent()
        local mine = {}
        for n = 1, 2 do uthread.new(function() note(n, e:wait() == mine) end) end
        scheduler.run()
        refused("timeout", { "wait: 0 seconds" }, e.wait, e, 0)
        e:set(mine)
        scheduler.run()
        eq(notes(), "1:true 2:true")
        eq(e:wait(), mine)
        refused("set", { "set: the event has its value already" }, e.set, e, 2)
        refused("set", { "set_error: the event has its value already" }, e.set_error, e, 2)
        local f = uthread.ValueEvent()
        refused("type", { "set_error: expected an error value" }, f.set_error, f)
        eq(f:is_set(), false)
        uthread.new(function() local ok, err = pcall(f.wait, f) note(ok, err == mine) end)
        scheduler.run()
        f:set_error(mine)
        scheduler.run()
        eq(notes(), "false:true")
        eq(f:is_set(), true)
        local none = uthread.ValueEvent()
        none:set(nil)
        eq(none:wait(), nil)
    "##);
}

#[test]
fn u8_a_bounded_queue_makes_the_sender_wait_who_finds_it_full() {
    run(r##"
        local q = uthread.QueueChannel(1)
        uthread.new(function() for n = 1, 3 do q:send(n) note("sent", n) end end)
        scheduler.run()
        eq(notes(), "sent:1")
        eq(q.balance, 2)
        eq(#q, 1)
        eq(q:receive(), 1)
        note("received")
        eq(#q, 1)
        scheduler.run()
        eq(notes(), "received sent:2")
        eq(q:receive(), 2)
        eq(q:receive(), 3)
        scheduler.run()
        eq(notes(), "sent:3")
        eq(q.balance, 0)
        -- A sender that is killed while it waits has sent nothing.
        q:send("kept")
        local t = uthread.new(function() q:send("withdrawn") end)
        local u = uthread.new(function() q:send("second") end)
        scheduler.run()
        t:kill(true)
        eq(q.balance, 2)
        eq(q:receive(), "kept")
        eq(q:receive(), "second")
        eq(q.balance, 0)
        scheduler.run()
    "##);
}

#[test]
fn u9_what_a_closed_queue_keeps_can_still_be_received() {
    run(r##"
        for _, q in { uthread.QueueChannel(), uthread.QueueChannel(5) } do
            q:send(1)
            q:send(2)
            q:close()
            eq(q.closed, false)
            refused("closed", { "send: queue ", "is closed" }, q.send, q, 3)
            eq(q:receive(), 1)
            eq(q:receive(), 2)
            eq(q.closed, true)
            refused("closed", { "receive" }, q.receive, q)
            q:open()
            q:send(4)
            eq(q:receive(), 4)
        end
    "##);
}

#[test]
fn who_waits_for_more_from_a_queue_goes_on_when_it_is_closed() {
    run(r##"
        local q, plain = uthread.QueueChannel(2), channel()
        for name = 1, 2 do
            uthread.new(function() for v in q do note(name, v) end note(name, "home") end)
        end
        uthread.new(function()
            local ok, err = pcall(q.receive, q)
            note(ok, err.kind)
            refused("closed", { "receive" }, q.receive, q)
        end)
        uthread.new(function()
            local ok, err = pcall(uthread.select, { plain, q })
            note(ok, err.kind, plain.balance, q.balance)
        end)
        local killed = uthread.new(function() q:receive() end)
        scheduler.run()
        eq(q.balance, -5)
        killed:kill()
        q:send("a")
        q:close()
        eq(q.balance, 0)
        eq(q.closed, true)
        refused("closed", { "send: queue ", "is closed" }, q.send, q, 1)
        scheduler.run()
        eq(notes(), "1:a 1:home 2:home false:closed false:closed:0:0")
        -- Those that wait to send are still served.
        q = uthread.QueueChannel(1)
        uthread.new(function() for n = 1, 2 do q:send(n) end note("sent") end)
        scheduler.run()
        q:close()
        local sum = 0
        local ok, err = pcall(function() for n in q do sum += n scheduler.run() end end)
        eq(sum, 3)
        eq(ok, true)
        eq(notes(), "sent")
    "##);
}

#[test]
fn u9_a_queue_switches_to_nobody() {
    run(r##"
        local q = uthread.QueueChannel()
        eq(q.preference, 1)
        uthread.new(function() note("a") for v in q do note(v) end note("end") end)
        scheduler.run()
        uthread.new(function() q:send(1) q:send(2) note("b") end)
        uthread.new(function() note("c") end)
        scheduler.run()
        eq(notes(), "a b c 1 2")
        q:close()
        q:open()
        q:send_exception(scheduler.StopIteration)
        scheduler.run()
        eq(notes(), "end")
    "##);
}

#[test]
fn u9_a_queue_keeps_errors_like_values() {
    run(r##"
        for _, capacity in { 1, 3 } do
            local q = uthread.QueueChannel(capacity)
            uthread.new(function()
                q:send("v")
                q:send_exception("bad")
                q:send(nil)
                q:send_exception(scheduler.StopIteration)
                q:send("last")
            end)
            scheduler.run()
            eq(q:receive(), "v")
            local ok, err = pcall(q.receive, q)
            eq(ok, false)
            eq(err, "bad")
            eq(q:receive(), nil)
            for v in q do error("the loop ends at once") end
            eq(q:receive(), "last")
            eq(q.balance, 0)
        end
        eq(typeof(uthread.QueueChannel(0)), "channel")
        refused("type", { "QueueChannel: the capacity" }, uthread.QueueChannel, -1)
        refused("type", { "QueueChannel: the capacity" }, uthread.QueueChannel, 1.5)
        refused("type", { "QueueChannel: the capacity" }, uthread.QueueChannel, 0 / 0)
        refused("type", { "QueueChannel: the capacity" }, uthread.QueueChannel, "1")
        for _, capacity in { math.huge, 1e300 } do
            local q = uthread.QueueChannel(capacity)
            for n = 1, 1000 do q:send(n) end
            for n = 1, 1000 do eq(q:receive(), n) end
        end
    "##);
}

#[test]
fn u9_many_values_through_a_queue_that_is_never_empty_stay_in_order() {
    run(r##"
        local q = uthread.QueueChannel(100)
        local sent, received = 0, 0
        uthread.new(function() while sent < 20000 do q:send(sent) sent += 1 end end)
        scheduler.run()
        while received < 20000 do
            eq(q:receive(), received)
            received += 1
            if received % 50 == 0 then scheduler.run() end
        end
        eq(q.balance, 0)
    "##);
}

/// Jobs under way elsewhere, and who waits for which.
type Jobs = Rc<RefCell<Vec<(u32, Wait)>>>;

/// A VM with `offload(n)`, which waits until job `n` is done elsewhere, and who waits for which.
fn with_offload() -> (Rc<Vm>, Jobs) {
    let waiting: Jobs = Rc::default();
    let list = waiting.clone();
    let vm = vm_with(VmConfig::default(), |vm| {
        let offload = vm
            .function(c"offload", move |call| {
                let job = call.number(1, "offload: job")? as u32;
                let wait = call.park("offload")?;
                list.borrow_mut().push((job, wait));
                Ok(Reply::Parked(wait))
            })
            .expect("a function can be made");
        vm.lua().globals().raw_set("offload", offload).expect("globals can be set");
    });
    (vm, waiting)
}

#[test]
fn u12_blocking_work_on_threads_overlaps_and_keeps_nobody_from_running() {
    let (vm, waiting) = with_offload();
    spawn(
        &vm,
        "uthread.new(function()
            uthread.all({ { offload, 1 }, { offload, 2 } })
            note('both')
        end)
        for n = 1, 3 do note('tick', n) scheduler.schedule() end",
    );
    frame(&vm);
    assert_eq!(notes(&vm), "tick:1 tick:2 tick:3");
    // Each of the threads can only go on when the other one has begun.
    let (done, results) = mpsc::channel();
    let meet = std::sync::Arc::new(std::sync::Barrier::new(2));
    let jobs = waiting.take();
    assert_eq!(jobs.len(), 2);
    let threads: Vec<_> = jobs
        .iter()
        .map(|&(job, _)| {
            let (done, meet) = (done.clone(), meet.clone());
            std::thread::spawn(move || {
                meet.wait();
                done.send(job).expect("the test waits for it");
            })
        })
        .collect();
    for _ in &threads {
        let finished = results.recv().expect("the threads are at work");
        let &(_, wait) = jobs.iter().find(|(job, _)| *job == finished).expect("it is one of the two");
        assert!(vm.wake(wait.tasklet, wait.parking));
        assert_eq!(notes(&vm), "");
        frame(&vm);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("the thread has ended"));
    assert_eq!(notes(&vm), "both");
}

#[test]
fn u13_a_result_for_a_tasklet_that_was_killed_meanwhile_wakes_nobody() {
    let (vm, waiting) = with_offload();
    let caller = spawn(&vm, "scheduler.defer(function() note('gone') end) offload(1) note('never')");
    frame(&vm);
    let (_, wait) = waiting.take()[0];
    assert!(vm.kill(caller).expect("it does not run"));
    frame(&vm);
    spawn(&vm, "offload(2) note('other')");
    frame(&vm);
    assert!(!vm.wake(wait.tasklet, wait.parking));
    frame(&vm);
    assert_eq!(notes(&vm), "gone");
    let (_, wait) = waiting.take()[0];
    assert!(vm.wake(wait.tasklet, wait.parking));
    frame(&vm);
    assert_eq!(notes(&vm), "other");
}

#[test]
fn a_pool_gives_each_job_a_helper_and_keeps_the_helpers() {
    let vm = vm();
    run_in(
        &vm,
        r##"
        local seen, count = {}, 0
        local function job(n, c)
            local me = scheduler.getcurrent()
            if not seen[me] then seen[me] = true count += 1 end
            note(n)
            if c then c:receive() end
        end
        for n = 1, 3 do uthread.pool(job, n) scheduler.run() end
        eq(notes(), "1 2 3")
        eq(count, 1)
        -- Nobody waits for a helper that is busy.
        local c = channel()
        for n = 1, 3 do uthread.pool(job, n, c) end
        scheduler.run()
        eq(notes(), "1 2 3")
        eq(count, 3)
        for _ = 1, 3 do c:send(nil) end
        scheduler.run()
        -- One whose job has failed is replaced.
        uthread.pool(function() error("oh no", 0) end)
        uthread.pool(job, "fine")
        scheduler.run()
        eq(notes(), "fine")
        refused("type", { "pool: expected a function" }, uthread.pool)
    "##,
    );
    let failures: Vec<_> = vm.take_ended().into_iter().filter_map(|ended| ended.failure).collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].message, "oh no");
}

#[test]
fn a_job_that_was_given_to_a_helper_killed_before_its_turn_is_done_by_another() {
    run(r##"
        local helper
        uthread.pool(function() helper = scheduler.getcurrent() end)
        scheduler.run()
        uthread.pool(function(v) note(v) end, "done")
        helper:kill(true)
        scheduler.run()
        eq(notes(), "done")
        eq(helper.alive, false)
        -- And one that is idle leaves nothing behind.
        uthread.pool(function() helper = scheduler.getcurrent() end)
        scheduler.run()
        helper:kill()
        uthread.pool(note, "again")
        scheduler.run()
        eq(notes(), "again")
    "##);
}

#[test]
fn a_race_is_won_by_the_first_and_the_others_have_cleaned_up_when_it_is_over() {
    run(r##"
        local c = channel()
        local function loser(n)
            scheduler.defer(function() note("cleaned", n) end)
            local ok, err = scheduler.pcall(c.receive, c)
            -- Cleaning up may take its time.
            scheduler.schedule()
            note("stopped", n)
            error(err)
        end
        local winner, value, more = uthread.race({
            { loser, 1 },
            function() scheduler.schedule() return "v", "w" end,
            { loser, 3 },
        })
        eq(winner, 2)
        eq(value, "v")
        eq(more, "w")
        eq(notes(), "stopped:1 cleaned:1 stopped:3 cleaned:3")
        eq(c.balance, 0)
        -- A failure is a finish, too.
        local ok, err = pcall(uthread.race, { { loser, 1 }, function() error("oh no", 0) end })
        eq(err, "oh no")
        refused("type", { "race: there is nobody to win" }, uthread.race, {})
    "##);
}

#[test]
fn a_tie_goes_to_the_earlier_in_the_list() {
    run(r##"
        for _, pick in { uthread.race, uthread.any } do
            local first, second = channel(), channel()
            local result
            uthread.new(function()
                local winner, value = pick({
                    function() first:receive() return "first" end,
                    function() second:receive() return "second" end,
                })
                result = `{winner} {value}`
            end)
            scheduler.run()
            -- Both finish before the caller has its turn, and the second one finishes first.
            first.preference, second.preference = 1, 1
            second:send(nil)
            first:send(nil)
            scheduler.run()
            eq(result, "1 first")
            -- All that are there at once.
            eq(pick({ function() return 1 end, function() return 2 end }), 1)
        end
    "##);
}

#[test]
fn any_takes_the_first_that_succeeds() {
    run(r##"
        local function fails(text) scheduler.schedule() error(text, 0) end
        local winner, value = uthread.any({
            { fails, "a" },
            function() for _ = 1, 5 do scheduler.schedule() end return "v" end,
            { fails, "b" },
        })
        eq(winner, 2)
        eq(value, "v")
        local ok, err = pcall(uthread.any, { { fails, "a" }, { fails, "b" } })
        eq(err, "a")
        refused("type", { "any: none of no calls" }, uthread.any, {})
    "##);
}

#[test]
fn who_waits_for_something_that_was_killed_gets_a_defined_result() {
    run(r##"
        local victims
        local function victim() table.insert(victims, scheduler.getcurrent()) scheduler.schedule_remove() end
        local function waiting(pick, ...)
            victims = {}
            local calls = { ... }
            local result
            uthread.new(function() result = table.pack(pcall(pick, calls)) end)
            scheduler.run()
            for _, t in victims do t:kill() end
            scheduler.run()
            return result
        end
        -- `all` and `parallel` lack a result.
        for _, gather in { uthread.all, uthread.parallel } do
            local result = waiting(gather, function() return 1 end, victim)
            eq(result[2].kind, "cancelled")
            eq(string.find(result[2].message, "call 2 was killed", 1, true) ~= nil, true)
        end
        -- `any` and `race` go on with the others, if there are any.
        local c = channel()
        for _, pick in { uthread.any, uthread.race } do
            local result = waiting(pick, victim, function() c:receive() return "v" end)
            eq(result, nil)
            c:send(nil)
            scheduler.run()
            eq(waiting(pick, victim, victim)[2].kind, "cancelled")
        end
    "##);
}

#[test]
fn a_group_ends_when_its_members_have_ended() {
    run(r##"
        local kept
        local results = table.pack(uthread.group(function(group)
            kept = group
            for n = 1, 3 do
                group:new(function()
                    for _ = 1, n do scheduler.schedule() end
                    if n == 1 then group:new(function() scheduler.schedule() note("grandchild") end) end
                    note(n)
                end)
            end
            eq(group:size(), 3)
            return "a", nil
        end))
        eq(results.n, 2)
        eq(results[1], "a")
        eq(notes(), "1 2 grandchild 3")
        eq(tostring(kept), "group of 0 tasklets")
        refused("closed", { "group:new: the group is over" }, kept.new, kept, print)
        refused("type", { "group: expected a function" }, uthread.group)
        uthread.group(function(group)
            refused("type", { "group:new: expected a function" }, group.new, group)
            group:new(scheduler.schedule_remove)
            scheduler.schedule()
            group:cancel()
        end)
    "##);
}

#[test]
fn the_first_error_in_a_group_ends_all_of_it_and_is_raised_by_the_scope() {
    run(r##"
        local c = channel()
        local function waits(n)
            scheduler.defer(function() note("cleaned", n) end)
            c:receive()
        end
        -- A member fails while the function itself waits.
        local ok, err = pcall(uthread.group, function(group)
            group:new(waits, 1)
            group:new(function() scheduler.schedule() error("oh no", 0) end)
            group:new(waits, 3)
            local ok = pcall(c.receive, c)
            error("the plain pcall does not stop it")
        end)
        eq(err, "oh no")
        eq(notes(), "cleaned:1 cleaned:3")
        -- While the scope waits for its members.
        ok, err = pcall(uthread.group, function(group)
            group:new(waits, 1)
            group:new(function() scheduler.schedule() error("oh no", 0) end)
        end)
        eq(err, "oh no")
        eq(notes(), "cleaned:1")
        -- The function fails.
        ok, err = pcall(uthread.group, function(group)
            group:new(waits, 1)
            scheduler.schedule()
            error("oh no", 0)
        end)
        eq(err, "oh no")
        eq(notes(), "cleaned:1")
        eq(c.balance, 0)
        eq(scheduler.getruncount(), 1)
        -- A member that was killed is no error.
        uthread.group(function(group) group:new(waits, 1) scheduler.schedule() group:cancel() end)
        eq(notes(), "cleaned:1")
    "##);
}

#[test]
fn whoever_is_killed_takes_the_group_along() {
    run(r##"
        local c = channel()
        local function waits(n)
            scheduler.defer(function() note("cleaned", n) end)
            c:receive()
        end
        local programs = {
            function() uthread.group(function(group) group:new(waits, 1) group:new(waits, 2) end) end,
            function() uthread.group(function(group) group:new(waits, 1) group:new(waits, 2) c:receive() end) end,
            function() uthread.all({ { waits, 1 }, { waits, 2 } }) end,
            function() uthread.race({ { waits, 1 }, { waits, 2 } }) end,
            function() uthread.any({ { waits, 1 }, { waits, 2 } }) end,
            function() uthread.parallel({ { waits, 1 }, { waits, 2 }, { waits, 3 } }, 2) end,
        }
        for _, program in programs do
            for _, pending in { false, true } do
                local owner = uthread.new(function()
                    scheduler.defer(function() note("owner") end)
                    program()
                end)
                scheduler.run()
                owner:kill(pending)
                scheduler.run()
                eq(notes(), "cleaned:1 cleaned:2 owner")
                eq(owner.alive, false)
                eq(c.balance, 0)
            end
        end
    "##);
}

#[test]
fn select_takes_the_first_that_is_ready() {
    run(r##"
        local a, b = channel(), channel()
        uthread.new(function() b:send("b") end)
        scheduler.run()
        local index, value = uthread.select({ a, b })
        eq(index, 2)
        eq(value, "b")
        -- The earlier wins of two.
        uthread.new(function() b:send("b") end)
        uthread.new(function() a:send("a") end)
        scheduler.run()
        index, value = uthread.select({ a, b })
        eq(index, 1)
        eq(value, "a")
        eq(b.balance, 1)
        eq(b:receive(), "b")
        -- A tasklet that has ended, with what it returned.
        local done = uthread.new(function() return "r", "s" end)
        scheduler.run()
        local more
        index, value, more = uthread.select({ a, done })
        eq(index, 2)
        eq(value, "r")
        eq(more, "s")
        -- A look without waiting.
        eq(uthread.select({ a, 0 }), 2)
        scheduler.run()
    "##);
}

#[test]
fn select_waits_in_every_queue_and_leaves_all_at_once() {
    run(r##"
        local a, b, c = channel(), channel(), channel()
        for _, preference in { -1, 0, 1 } do
            a.preference, b.preference, c.preference = preference, preference, preference
            local t = uthread.new(function() note(uthread.select({ a, b, a, c })) end)
            local plain = uthread.new(function() note("plain", b:receive()) end)
            scheduler.run()
            eq(a.balance, -2)
            eq(b.balance, -2)
            eq(b.queue, t)
            eq(t.blocked, true)
            eq(t.scheduled, true)
            eq(t.next, nil)
            eq(plain.prev, t)
            -- Two senders in one slice: only the first one meets it.
            b:send("v")
            eq(a.balance, 0)
            eq(c.balance, 0)
            eq(b.balance, -1)
            b:send("w")
            scheduler.run()
            eq(notes(), "2:v plain:w")
            for _, kill in { false, true } do
                local u = uthread.new(function() uthread.select({ a, b, c }) end)
                scheduler.run()
                eq(a.balance + b.balance + c.balance, -3)
                u:kill(kill)
                eq(a.balance + b.balance + c.balance, 0)
                scheduler.run()
            end
        end
    "##);
}

#[test]
fn select_takes_errors_queues_tasklets_and_ends() {
    run(r##"
        local a, q = channel(), uthread.QueueChannel(1)
        local function selecting(...)
            local sources = { ... }
            local t = uthread.new(function()
                local result = table.pack(pcall(uthread.select, sources))
                local err = result[2]
                note(result[1], if type(err) == "table" then err.kind else err, tostring(result[3]))
            end)
            scheduler.run()
            return t
        end
        selecting(a, q)
        q:send("queued")
        scheduler.run()
        eq(notes(), "true:2:queued")
        selecting(a, q)
        q:send_exception("bad")
        scheduler.run()
        eq(notes(), "false:bad:nil")
        q:send("kept")
        selecting(a, q)
        eq(notes(), "true:2:kept")
        selecting(q, a)
        a:send_exception("bad")
        scheduler.run()
        eq(notes(), "false:bad:nil")
        -- Tasklets.
        local gate = channel()
        local function ends(how) return uthread.new(function() gate:receive() return how() end) end
        for _, case in { { function() return "r" end, "true:2:r" }, { function() error("oh no", 0) end, "false:oh no:nil" } } do
            selecting(a, ends(case[1]))
            gate:send(nil)
            scheduler.run()
            eq(notes(), case[2])
        end
        local t = ends(print)
        selecting(a, t)
        t:kill()
        scheduler.run()
        eq(notes(), "false:cancelled:nil")
        -- A channel that nobody can send on any more.
        a:close()
        selecting(q, a)
        eq(notes(), "false:closed:nil")
        a:open()
        selecting(a, a)
        a:close()
        eq(a.closed, false)
        a:send("last")
        scheduler.run()
        eq(notes(), "true:1:last")
        eq(a.closed, true)
        refused("type", { "select: expected a list" }, uthread.select)
        refused("type", { "select: there is nothing" }, uthread.select, {})
        refused("type", { "select: source 2: expected a channel, a tasklet or seconds, got string" }, uthread.select, { q, "1" })
        refused("type", { "NaN" }, uthread.select, { q, 0 / 0 })
        refused("clock", { "select: it takes a clock" }, uthread.select, { q, 1 })
        refused("deadlock", { "select: deadlock", "the main tasklet" }, uthread.select, { q, channel() })
        eq(q.balance, 0)
    "##);
}

#[test]
fn a_refused_wait_changes_nothing() {
    run(r##"
        local s, e, q, c = uthread.Semaphore(0), uthread.Event(), uthread.QueueChannel(), uthread.Condition()
        local l, b, v = uthread.Lock(), uthread.Barrier(2), uthread.ValueEvent()
        uthread.new(function() l:acquire() end)
        scheduler.run()
        local ends = uthread.new(scheduler.schedule_remove)
        scheduler.run()
        c:acquire()
        local waits = {
            function() s:acquire() end,
            function() e:wait() end,
            function() q:receive() end,
            function() uthread.receive(q) end,
            function() uthread.select({ q, channel() }) end,
            function() l:acquire() end,
            function() b:wait() end,
            function() v:wait() end,
            function() c:wait() end,
            function() c:wait_for(function() end) end,
            function() uthread.join(ends) end,
            function() uthread.all({ print }) end,
            function() uthread.race({ print }) end,
            function() uthread.any({ print }) end,
            function() uthread.parallel({ print }) end,
            function() uthread.group(function() end) end,
        }
        local function check(kind, count)
            for index = 1, count or #waits do
                local wait = waits[index]
                local ok, err = pcall(wait)
                eq(`{index} {ok} {err.kind}`, `{index} false {kind}`)
            end
            eq(tostring(s), "semaphore (0 free, 0 waiting)")
            eq(e:waiting() + v:waiting() + l:waiting() + c:waiting() + b:waiting(), 0)
            eq(tostring(b), "barrier (0 of 2 have come)")
            eq(c.lock:held(), true)
            eq(q.balance, 0)
        end
        local me = scheduler.getcurrent()
        me.block_trap = true
        check("block_trap")
        me.block_trap = false
        check("deadlock", 11)
        local spare = uthread.new(function() end)
        scheduler.switch_trap(1)
        check("switch_trap")
        scheduler.switch_trap(-1)
        -- A comparator can't be suspended.
        local checked = false
        table.sort({ 1, 2 }, function(x, y)
            if not checked then
                checked = true
                check("boundary")
            end
            return x < y
        end)
        eq(checked, true)
        eq(scheduler.getruncount(), 2)
        eq(spare.next, me)
    "##);
}

#[test]
fn nobody_is_interrupted_between_two_lines_of_the_library() {
    // With a limit at every tick, a tasklet that is killed wherever it was stopped leaves the locks right.
    run(r##"
        for limit = 1, 60 do
            local s, lock, e = uthread.Semaphore(1), uthread.RLock(), uthread.Event()
            local t = uthread.new(function()
                for _ = 1, 5 do
                    s:with(function() lock:with(function() for _ = 1, 3 do end end) end)
                end
            end)
            local stopped = scheduler.run(limit)
            if stopped then
                eq(stopped, t)
                t:kill()
            end
            eq(tostring(s), "semaphore (1 free, 0 waiting)")
            eq(tostring(lock), "reentrant lock (free, 0 waiting)")
        end
    "##);
}

#[test]
fn whoever_is_killed_where_its_slice_was_used_up_leaves_the_locks_right() {
    let mut interrupted = 0;
    for ticks in 1..80 {
        let slice = SliceLimit::ticks(ticks);
        let vm = vm_with(VmConfig { slice, ..VmConfig::default() }, |_| ());
        let state = script::load(
            &vm,
            "local s, lock, c = uthread.Semaphore(1), uthread.RLock(), uthread.Condition(uthread.Lock())
             return function()
                 for _ = 1, 5 do
                     s:with(function() lock:with(function() c:with(function() for _ = 1, 3 do end c:notify() end) end) end)
                 end
             end, function() return `{s} {lock} {c}` end",
        );
        let (work, tell): (mlua::Function, mlua::Function) = state.call(()).expect("both functions");
        let worker = vm.spawn(&work, (), Default::default()).expect("a tasklet");
        vm.run_ready(|| true);
        if vm.overruns() > 0 {
            interrupted += 1;
            vm.kill(worker).expect("it does not run");
            vm.run_ready(|| true);
        }
        let told: String = tell.call(()).expect("a text");
        assert_eq!(
            told,
            "semaphore (1 free, 0 waiting) reentrant lock (free, 0 waiting) \
             condition (0 waiting; lock (free, 0 waiting))",
            "{ticks} ticks"
        );
    }
    assert!(interrupted > 40, "{interrupted}");
}

#[test]
fn running_out_of_memory_loses_no_permit_and_leaves_nobody_waiting() {
    let vm = vm_with(VmConfig { memory_limit: 6 << 20, ..VmConfig::default() }, |_| ());
    let state = script::load(
        &vm,
        "local s, q, done = uthread.Semaphore(2), uthread.QueueChannel(3), 0
         local function hog()
             local kept = {}
             while true do table.insert(kept, string.rep(tostring(#kept), 5000)) end
         end
         return function()
             for n = 1, 40 do
                 uthread.new(function()
                     for lap = 1, 5 do
                         s:with(function()
                             scheduler.schedule()
                             if n % 4 == 0 then hog() end
                             pcall(uthread.all, { scheduler.schedule, hog })
                             q:send(lap)
                         end)
                     end
                     done += 1
                 end)
             end
             uthread.new(function() while true do local got = uthread.select({ q, channel() }) end end)
         end, function() return `{s} {done} {q.balance}` end",
    );
    let (work, tell): (mlua::Function, mlua::Function) = state.call(()).expect("both functions");
    vm.spawn(&work, (), Default::default()).expect("a tasklet");
    vm.run_ready(|| true);
    let failures = vm.take_ended().into_iter().filter_map(|ended| ended.failure).count();
    assert!(failures >= 10, "{failures}");
    vm.lua().gc_collect().expect("the collector runs");
    let told: String = tell.call(()).expect("a text");
    let [permits, done, balance]: [&str; 3] = {
        let mut words = told.rsplitn(3, ' ');
        let balance = words.next().unwrap();
        let done = words.next().unwrap();
        [words.next().unwrap(), done, balance]
    };
    assert_eq!(permits, "semaphore (2 free, 0 waiting)", "{told}");
    assert!(done.parse::<u32>().unwrap() + failures as u32 >= 40, "{told} {failures}");
    assert!(balance == "-1" || balance == "0", "{told}");
}

#[test]
fn a_tasklet_that_is_unbound_gives_back_what_it_holds_in_with_and_what_it_was_given() {
    run(r##"
        local s, l, r = uthread.Semaphore(1), uthread.Lock(), uthread.RLock()
        local t = uthread.new(function()
            s:with(function() l:with(function() r:with(function() r:with(scheduler.schedule_remove) end) end) end)
        end)
        scheduler.run()
        local others = {}
        for _, lock in { s, l, r } do table.insert(others, uthread.new(function() lock:with(function() note("has it") end) end)) end
        scheduler.run()
        eq(notes(), "")
        eq(t.paused, true)
        t:bind(nil)
        scheduler.run()
        eq(notes(), "has it has it has it")
        for _, lock in { s, l, r } do eq(string.find(tostring(lock), "free, 0 waiting") ~= nil or tostring(lock), true) end
        -- Given a permit, and unbound before its turn.
        s:acquire()
        t = uthread.new(function() s:acquire() note("never") end)
        local next_one = uthread.new(function() s:acquire() note("next") end)
        scheduler.run()
        s:release()
        t:remove()
        t:bind(nil)
        scheduler.run()
        eq(notes(), "next")
        eq(tostring(s), "semaphore (0 free, 0 waiting)")
        -- And whoever waits for its end is told.
        t = uthread.new(scheduler.schedule_remove)
        local joins = uthread.new(function() local ok, err = pcall(uthread.join, t) note(ok, err.kind) end)
        scheduler.run()
        t:bind(nil)
        scheduler.run()
        eq(notes(), "false:cancelled")
    "##);
}

#[test]
fn a_coroutine_that_is_left_inside_of_with_gives_the_lock_back_when_its_tasklet_ends() {
    run(r##"
        local l = uthread.Lock()
        uthread.new(function()
            local co = coroutine.wrap(function() l:with(function() coroutine.yield() end) end)
            co()
            -- Others come and go meanwhile, in no order.
            local first, second = uthread.Semaphore(1), uthread.Semaphore(1)
            local outer = coroutine.wrap(function() first:with(function() coroutine.yield() end) end)
            outer()
            second:with(outer)
            eq(first:available() + second:available(), 2)
            eq(l:locked(), true)
        end)
        scheduler.run()
        eq(tostring(l), "lock (free, 0 waiting)")
    "##);
}

#[test]
fn a_worker_stores_nothing_of_whoever_starts_it() {
    run(r##"
        local me = scheduler.getcurrent()
        me.storage.name = "parent"
        local function tell() note(tostring(scheduler.getcurrent().storage.name)) end
        uthread.new(tell)
        uthread.worker(tell)
        scheduler.run()
        eq(notes(), "parent nil")
        eq(me.storage.name, "parent")
    "##);
}

#[test]
fn a_select_on_many_channels_and_many_selects_on_one() {
    run(r##"
        local many = {}
        for n = 1, 2000 do many[n] = channel() end
        local got = {}
        for n = 1, 50 do uthread.new(function() table.insert(got, (uthread.select(many))) end) end
        scheduler.run()
        for n = 1, 2000 do eq(many[n].balance, -50) end
        for n = 1, 50 do many[n * 40]:send(n) scheduler.run() end
        for n = 1, 50 do eq(got[n], n * 40) end
        for n = 1, 2000 do eq(many[n].balance, 0) end
    "##);
}

#[test]
fn the_library_can_t_be_changed() {
    run(r##"
        eq(pcall(function() uthread.new = print end), false)
        eq(pcall(function() uthread.mine = print end), false)
        eq(table.isfrozen(uthread), true)
    "##);
}

#[test]
fn a_channel_callback_hears_that_a_queue_with_room_does_not_block() {
    run(r##"
        local q, heard = uthread.QueueChannel(2), {}
        scheduler.set_channel_callback(function(_, _, sends, blocks)
            table.insert(heard, `{if sends then "send" else "receive"} {blocks}`)
        end)
        uthread.new(function() for n = 1, 3 do q:send(n) end end)
        scheduler.run()
        for _ = 1, 3 do q:receive() end
        uthread.new(function() q:receive() end)
        scheduler.run()
        scheduler.set_channel_callback(nil)
        eq(table.concat(heard, ", "), "send false, send false, send true, "
            .. "receive false, receive false, receive false, receive true")
    "##);
}
