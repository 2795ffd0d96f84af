//! Channels as scripts see them (`api-luau.md`, `semantics.md` section 2).

mod script;
use script::{failure, run};

#[test]
fn values_of_every_type_arrive_as_they_were_sent() {
    run(r##"
        local c = channel()
        local values = { 1, "text", true, false, { 1 }, print, function() end, vector.create(1, 2, 3), newproxy(),
            buffer.create(4), c, scheduler.getcurrent(), coroutine.create(print) }
        for _, preference in { -1, 0, 1 } do
            c.preference = preference
            for _, value in values do
                tasklet(function() eq(c:receive(), value) note("r") end)()
                scheduler.run()
                c:send(value)
                scheduler.run()
                eq(notes(), "r")
                tasklet(function() eq(c:send(value), nil) end)()
                scheduler.run()
                eq(c:receive(), value)
                scheduler.run()
            end
            tasklet(function() note(select("#", c:receive())) end)()
            scheduler.run()
            c:send()
            scheduler.run()
            eq(notes(), "1")
        end
    "##);
}

#[test]
fn a_channel_tells_its_state() {
    run(r##"
        local c = channel()
        eq(c.balance, 0)
        eq(c.queue, nil)
        eq(c.preference, -1)
        eq(c.schedule_all, false)
        eq(c.closing, false)
        eq(c.closed, false)
        eq(c.unknown, nil)
        eq(c[1], nil)
        eq(c[nil], nil)
        local a = tasklet(function() c:receive() end)()
        local b = tasklet(function() c:receive() end)()
        scheduler.run()
        eq(c.balance, -2)
        eq(c.queue, a)
        c:close()
        eq(c.closing, true)
        eq(c.closed, false)
        a:kill()
        eq(c.balance, -1)
        b:kill()
        eq(c.closed, true)
        c:open()
        eq(c.closing, false)
        eq(c.closed, false)
        eq(typeof(c), "channel")
        eq(string.match(tostring(c), "^channel %d+$") ~= nil, true)
        eq(getmetatable(c), "The metatable is locked")
        eq(c == c, true)
        eq(c == channel(), false)
    "##);
}

#[test]
fn preference_is_clamped_and_other_fields_can_t_be_set() {
    run(r##"
        local c = channel()
        c.preference = 5
        eq(c.preference, 1)
        c.preference = -7
        eq(c.preference, -1)
        c.schedule_all = true
        eq(c.schedule_all, true)
        refused("type", { "preference", "whole number" }, function() c.preference = 0.5 end)
        refused("type", { "preference" }, function() c.preference = "1" end)
        refused("type", { "preference" }, function() c.preference = 0 / 0 end)
        refused("type", { "preference" }, function() c.preference = math.huge end)
        refused("type", { "schedule_all" }, function() c.schedule_all = 1 end)
        for _, key in { "balance", "queue", "closing", "anything", 1, c } do
            refused("type", { "preference (-1, 0 or 1)" }, function() c[key] = 1 end)
        end
        refused("type", { "send: expected a channel (call it with a colon)" }, c.send, 1)
        refused("type", { "receive: expected a channel", "tasklet" }, c.receive, scheduler.getcurrent())
        refused("type", { "got nothing" }, c.close)
    "##);
}

#[test]
fn sent_errors_are_raised_at_the_receiver() {
    run(r##"
        local c = channel()
        for _, value in { "text", 42, { kind = "mine" }, scheduler.StopIteration, scheduler.TaskletExit } do
            for _, preference in { -1, 0, 1 } do
                c.preference = preference
                for _, verb in { "send_exception", "send_throw" } do
                    -- The receiver waits.
                    local t = tasklet(function()
                        local ok, err = scheduler.pcall(c.receive, c)
                        eq(ok, false)
                        eq(err, value)
                        note("r")
                    end)()
                    scheduler.run()
                    eq(c[verb](c, value), nil)
                    scheduler.run()
                    -- The sender waits.
                    tasklet(function() eq(c[verb](c, value), nil) note("s") end)()
                    scheduler.run()
                    local ok, err = scheduler.pcall(c.receive, c)
                    eq(ok, false)
                    eq(err, value)
                    scheduler.run()
                    eq(notes(), "r s")
                end
            end
        end
        refused("type", { "send_exception: expected an error value, got nil" }, c.send_exception, c)
        eq(c.balance, 0)
    "##);
}

#[test]
fn an_exit_that_is_sent_ends_its_receiver_in_silence() {
    run(r##"
        local c = channel()
        local t = tasklet(function()
            scheduler.defer(function() note("deferred") end)
            pcall(c.receive, c)
            note("never")
        end)()
        scheduler.run()
        c:send_exception(scheduler.TaskletExit)
        eq(t.alive, false)
        eq(notes(), "deferred")
    "##);
}

#[test]
fn a_sequence_is_sent_item_by_item() {
    run(r##"
        local c = channel()
        local function consume(n)
            return tasklet(function() for _ = 1, n do note(tostring(c:receive())) end end)()
        end
        consume(3)
        eq(c:send_sequence({ "a", false, "c" }), 3)
        scheduler.run()
        eq(notes(), "a false c")
        -- An iterator; it blocks in the middle, as there are fewer receivers than items.
        local sent
        local t = tasklet(function()
            local i = 0
            sent = c:send_sequence(function()
                i += 1
                return if i <= 5 then i * i else nil
            end)
        end)()
        consume(2)
        scheduler.run()
        eq(notes(), "1 4")
        eq(sent, nil)
        eq(t.blocked, true)
        consume(3)
        scheduler.run()
        eq(notes(), "9 16 25")
        eq(sent, 5)
        eq(c:send_sequence({}), 0)
        c:close()
        eq(c:send_sequence({}), 0)
        refused("closed", { "send_sequence", "closed" }, c.send_sequence, c, { 1 })
        refused("type", { "a list or an iterator" }, c.send_sequence, c, 1)
        refused("type", { "a list or an iterator", "nil" }, c.send_sequence, c)
        c:open()
        eq(c.balance, 0)
    "##);
}

#[test]
fn a_sequence_can_be_sent_from_within_a_coroutine_and_be_killed_there() {
    run(r##"
        local c = channel()
        local t = tasklet(function()
            scheduler.defer(function() note("deferred") end)
            local f = coroutine.wrap(function()
                local n = pcall(c.send_sequence, c, { 1, 2, 3 })
                coroutine.yield(n)
            end)
            note(tostring(f()))
            f = coroutine.wrap(function() return c:send_sequence(coroutine.wrap(function()
                for i = 1, 3 do coroutine.yield(i) end
            end)) end)
            note(f())
        end)()
        for i = 1, 3 do eq(c:receive(), i) end
        for i = 1, 2 do eq(c:receive(), i) end
        scheduler.run()
        eq(t.blocked, true)
        eq(c.balance, 1)
        t:kill()
        eq(c.balance, 0)
        eq(notes(), "true deferred")
        -- Its error is the sender's.
        local ok, err = pcall(c.send_sequence, c, function() error("iterator", 0) end)
        eq(err, "iterator")
        -- Nor can it be changed while it is sent.
        local list = { 1, 2, 3 }
        local s = tasklet(function() c:send_sequence(list) end)()
        scheduler.run()
        list[2] = nil
        eq(c:receive(), 1)
        scheduler.run()
        eq(s.alive, false)
    "##);
}

#[test]
fn the_iterator_of_a_sequence_may_block_or_yield_itself() {
    run(r##"
        local from, to = channel(), channel()
        local pipe = tasklet(function()
            note("sent", to:send_sequence(function() return from:receive() end))
        end)()
        local sum = 0
        local consumer = tasklet(function() for v in to do sum += v end end)()
        for i = 1, 100 do from:send(i) end
        from:send(nil)
        scheduler.run()
        eq(sum, 5050)
        eq(notes(), "sent:100")
        -- In a coroutine of the script's it yields to whoever resumes that.
        local f = coroutine.wrap(function()
            return to:send_sequence(function() return coroutine.yield("more?") end)
        end)
        eq(f(), "more?")
        eq(f(1), "more?")
        eq(f(2), "more?")
        eq(f(nil), 2)
        scheduler.run()
        eq(sum, 5053)
        -- Killed while the iterator waits, and while the send does.
        for _, wait in { function() return from:receive() end, function() return 1 end } do
            consumer:kill()
            local t = tasklet(function() to:send_sequence(wait) end)()
            scheduler.run()
            eq(t.blocked, true)
            t:kill()
            eq(t.alive, false)
        end
        eq(from.balance + to.balance, 0)
        -- Interrupted in the middle of the iterator.
        local n = 0
        local c = channel()
        tasklet(function() while true do n += c:receive() end end)()
        local t = tasklet(function()
            local i = 0
            c:send_sequence(function()
                i += 1
                for _ = 1, 100 do end
                if i <= 50 then return i end
            end)
        end)()
        local stops = 0
        while t.alive do
            if scheduler.run(70) then
                stops += 1
                t:insert()
            end
        end
        scheduler.run()
        eq(n, 1275)
        eq(stops > 10, true)
        -- The callback can't suspend, wherever the operation was called.
        scheduler.set_channel_callback(function()
            note(tostring(pcall(coroutine.yield)))
        end)
        coroutine.wrap(function() c:send_sequence({ 1 }) end)()
        scheduler.set_channel_callback()
        eq(notes(), "false false") -- the send, and the receive that follows it
    "##);
}

#[test]
fn a_loop_over_a_channel_ends_when_it_is_closed_or_gets_the_end_of_iteration() {
    run(r##"
        local c = channel()
        local function consume()
            return tasklet(function()
                for v in c do note(v) end
                note("end")
            end)()
        end
        local t = consume()
        scheduler.run()
        c:send(1)
        c:send(2)
        c:send_exception(scheduler.StopIteration)
        scheduler.run()
        eq(notes(), "1 2 end")
        -- The end waits at the other side, as a sender.
        tasklet(function() c:send("x") c:send_exception(scheduler.StopIteration) note("sent") end)()
        scheduler.run()
        consume()
        scheduler.run()
        eq(notes(), "x end sent")
        -- Closing: senders that wait are still served.
        tasklet(function() c:send("a") end)()
        tasklet(function() c:send("b") end)()
        scheduler.run()
        c:close()
        consume()
        scheduler.run()
        eq(notes(), "a b end")
        c:open()
        -- Close reaches a consumer that waits already with the next value only.
        t = consume()
        scheduler.run()
        c:close()
        eq(t.blocked, true)
        c:send("last")
        scheduler.run()
        eq(notes(), "last end")
        -- The end of iteration thrown at it.
        c:open()
        t = consume()
        scheduler.run()
        t:throw(scheduler.StopIteration)
        eq(notes(), "end")
        -- In receive it is an ordinary error.
        t = tasklet(function() refused("stop", {}, c.receive, c) note("refused") end)()
        scheduler.run()
        t:throw(scheduler.StopIteration)
        eq(notes(), "refused")
        -- nil ends a loop as well.
        t = consume()
        scheduler.run()
        c:send(nil)
        scheduler.run()
        eq(notes(), "end")
    "##);
}

#[test]
fn a_refused_step_of_a_loop_leaves_the_waiting_end_of_iteration_as_it_is() {
    run(r##"
        local c = channel()
        c.preference = 1
        tasklet(function() c:send_exception(scheduler.StopIteration) end)()
        scheduler.run()
        scheduler.switch_trap(1)
        refused("switch_trap", {}, function() for _ in c do end end)
        scheduler.switch_trap(-1)
        eq(c.balance, 1)
        refused("stop", {}, c.receive, c)
    "##);
}

#[test]
fn closed_channels_refuse_what_would_wait_and_name_the_channel() {
    run(r##"
        local c = channel()
        c:close()
        for _, verb in { "send", "receive", "send_exception" } do
            refused("closed", { verb .. ":", tostring(c), "test.luau:" }, function() c[verb](c, "x") end)
        end
        eq(c.balance, 0)
        c:open()
        tasklet(function() c:receive() end)()
        scheduler.run()
        c:close()
        c:send("still served")
        eq(c.balance, 0)
    "##);
}

#[test]
fn killing_a_waiter_takes_it_and_its_value_off_and_keeps_the_order() {
    run(r##"
        local c = channel()
        local senders = {}
        for i = 1, 3 do senders[i] = tasklet(function() c:send(i) end)() end
        scheduler.run()
        senders[2]:kill()
        eq(c.balance, 2)
        eq(c:receive(), 1)
        eq(c:receive(), 3)
        -- The value was handed over already, but its receiver never ran.
        local receiver = tasklet(function()
            local ok, err = scheduler.pcall(c.receive, c)
            note(tostring(ok), err.kind)
        end)()
        scheduler.run()
        c.preference = 1
        c:send("lost")
        receiver:kill(true)
        scheduler.run()
        eq(notes(), "false:exit")
        eq(c.balance, 0)
    "##);
}

#[test]
fn the_last_pending_error_wins_over_values_and_other_errors() {
    run(r##"
        local c = channel()
        local t = tasklet(function()
            local ok, err = scheduler.pcall(c.receive, c)
            note(tostring(err))
        end)()
        scheduler.run()
        t:throw("first", true)
        eq(c.balance, 0)
        t:kill(true)
        t:throw("last", true)
        t:remove()
        t:insert()
        scheduler.run()
        eq(notes(), "last")
    "##);
}

#[test]
fn main_can_wait_while_others_run() {
    run(r##"
        local c = channel()
        tasklet(function()
            for i = 1, 3 do
                scheduler.schedule()
                c:send(i)
            end
        end)()
        eq(c:receive() + c:receive() + c:receive(), 6)
    "##);
    let failed = failure(
        r##"
        local c = channel()
        tasklet(function() error("of another tasklet") end)()
        c:receive()
        "##,
    );
    assert_eq!(failed.message, "test.luau:3: of another tasklet");
}

#[test]
fn schedule_all_overrides_the_preference() {
    run(r##"
        local c = channel()
        c.schedule_all = true
        tasklet(function() note("r0") c:receive() note("r1") end)()
        tasklet(function() note("s0") c:send() note("s1") end)()
        tasklet(function() note("x") end)()
        scheduler.run()
        eq(notes(), "r0 s0 x r1 s1")
    "##);
}
