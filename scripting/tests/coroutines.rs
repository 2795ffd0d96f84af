//! Blocking inside of whatever a script builds, and the `coroutine` library (`api-luau.md`, scheduler).

mod script;
use script::run;

#[test]
fn blocking_works_in_protected_calls_iterators_and_method_calls() {
    run(r##"
        local c = channel()
        local function wait() return c:receive() end
        local callable = setmetatable({}, { __call = function(_, x) return x, c:receive() end })
        local iterable = setmetatable({}, { __iter = function() return function(_, i)
            local v = c:receive()
            if v ~= "end" then return v end
        end end })
        local function iterator() local v = c:receive() if v ~= "end" then return v end end
        local t = tasklet(function()
            note(tostring(select(2, pcall(wait))))
            note(tostring(select(2, xpcall(wait, print))))
            note(tostring(select(2, scheduler.pcall(wait))))
            note(tostring(scheduler.atomic(wait)))
            note(callable("called"))
            for v in iterator do note(v) end
            for v in iterable do note(v) end
            for i, v in pairs({ 1, 2 }) do note(i, c:receive()) end
            local ok, err = pcall(function()
                wait()
                error("after the wait", 0)
            end)
            note(err)
            ok, err = xpcall(function() wait() error("x", 0) end, function(e) return e .. " handled" end)
            note(err)
        end)()
        for _, v in { "a", "b", "c", "d", "e", "f", "end", "g", "end", "h", "i", "j", "k" } do c:send(v) end
        eq(t.alive, false)
        eq(notes(), "a b c d called:e f g 1:h 2:i after the wait x handled")
        eq(c.balance, 0)
    "##);
}

#[test]
fn blocking_works_three_coroutines_deep() {
    run(r##"
        local c = channel()
        local function deep()
            local got = {}
            local inner = coroutine.wrap(function()
                table.insert(got, c:receive())
                coroutine.yield("inner yields")
                table.insert(got, c:receive())
                return "inner ends"
            end)
            local middle = coroutine.create(function(...)
                note("middle got", ...)
                note(inner())
                note(coroutine.yield("middle yields"))
                note(inner())
                return "middle", "ends"
            end)
            local outer = coroutine.wrap(function()
                note(tostring(select(2, coroutine.resume(middle, "x"))))
                table.insert(got, c:receive())
                note(select(2, coroutine.resume(middle, "y")))
                note(coroutine.status(middle))
                return got
            end)
            return outer()
        end
        local result
        tasklet(function() result = deep() end)()
        for _, v in { 1, 2, 3 } do c:send(v) end
        eq(table.concat(result, ","), "1,2,3")
        eq(notes(), "middle got:x inner yields middle yields y inner ends middle:ends dead")
    "##);
}

#[test]
fn coroutines_can_be_blocked_at_any_depth_and_killed_there() {
    run(r##"
        local c = channel()
        -- Deeper than C calls may be nested: each level blocks before it makes the next one.
        local function deep(n)
            c:receive()
            if n == 0 then return "bottom" end
            return coroutine.wrap(deep)(n - 1)
        end
        local result
        local t = tasklet(function() result = deep(2000) end)()
        for _ = 0, 2000 do c:send() end
        scheduler.run()
        eq(result, "bottom")
        t:bind(function() deep(2000) end)()
        for _ = 0, 1000 do c:send() end
        scheduler.run()
        eq(t.blocked, true)
        t:kill()
        eq(t.alive, false)
        t:bind(function() deep(2000) end)()
        for _ = 0, 1000 do c:send() end
        scheduler.run()
        local ok, err = pcall(t.throw, t, "thrown")
        eq(string.match(err, "thrown$"), "thrown")
        eq(c.balance, 0)
    "##);
}

#[test]
fn a_handler_of_xpcall_can_not_block() {
    run(r##"
        local c = channel()
        local function wait() c:receive() return "waited" end
        local ok, err = xpcall(error, wait, "x")
        eq(ok, false)
        eq(err, "error in error handling")
        tasklet(function()
            local ok, err = xpcall(function() scheduler.schedule() error("x") end, wait)
            note(tostring(ok), err)
            ok, err = xpcall(c.receive, function() scheduler.getcurrent():kill() end, c)
            note(tostring(ok), err)
        end)()
        scheduler.run()
        c.queue:throw("y")
        eq(notes(), "false:error in error handling false:error in error handling")
        eq(c.balance, 0)
    "##);
}

#[test]
fn an_error_thrown_at_the_innermost_point_passes_every_level() {
    run(r##"
        local c = channel()
        local function body()
            scheduler.defer(function() note("deferred 1") end)
            scheduler.defer(function() note("deferred 2") end)
            local a = coroutine.wrap(function()
                local b = coroutine.create(function()
                    local d = coroutine.wrap(function()
                        local ok, err = scheduler.pcall(c.receive, c)
                        note("d", tostring(ok), tostring(err))
                        error(err, 0)
                    end)
                    local ok, err = scheduler.pcall(d)
                    note("b", tostring(ok), tostring(err))
                    error(err, 0)
                end)
                local ok, err = scheduler.pcall(function()
                    local ok, err = coroutine.resume(b)
                    note("resume", tostring(ok), tostring(err))
                    error(err, 0)
                end)
                note("a", tostring(ok), tostring(err))
                error(err, 0)
            end)
            a()
        end
        local t = tasklet(body)()
        scheduler.run()
        local ok, err = pcall(t.throw, t, { "value" })
        eq(ok, false)
        eq(err[1], "value")
        local trace = notes()
        eq(#string.split(trace, "table"), 5) -- at d, b, resume and a
        eq(string.find(trace, "deferred 2 deferred 1", 1, true) ~= nil, true)
        -- A kill is not stopped by coroutine.resume: it is no error for a script.
        t = tasklet(body)()
        scheduler.run()
        t:kill()
        eq(string.gsub(notes(), "TaskletExit: the tasklet is being killed", "exit"),
            "d:false:exit b:false:exit a:false:exit deferred 2 deferred 1")
        eq(t.alive, false)
        eq(c.balance, 0)
    "##);
}

#[test]
fn a_tasklet_that_catches_the_kill_lives_on_at_any_depth() {
    run(r##"
        local c = channel()
        local t = tasklet(function()
            local f = coroutine.wrap(function()
                for i = 1, 3 do
                    local ok, err = scheduler.pcall(c.receive, c)
                    note(err.kind)
                    coroutine.yield(i)
                end
                return "done"
            end)
            repeat local v = f() note(v) until v == "done"
            note(c:receive())
        end)()
        scheduler.run()
        for _ = 1, 3 do t:kill() end
        eq(notes(), "exit 1 exit 2 exit 3 done")
        c:send("alive")
        eq(notes(), "alive")
    "##);
}

#[test]
fn a_coroutine_that_is_blocked_is_normal_and_can_t_be_resumed_or_closed_by_others() {
    run(r##"
        local c = channel()
        local co = coroutine.create(function() return c:receive() end)
        local t = tasklet(function()
            note(table.concat({ tostring(coroutine.resume(co)) }))
        end)()
        scheduler.run()
        eq(coroutine.status(co), "normal")
        local ok, err = coroutine.resume(co)
        eq(ok, false)
        eq(err, "cannot resume normal coroutine")
        eq(pcall(coroutine.close, co), false)
        c:send("x")
        eq(notes(), "true")
        eq(coroutine.status(co), "dead")
        eq(coroutine.close(co), true)
        -- Killed in it: it has failed.
        co = coroutine.create(function() return c:receive() end)
        t = tasklet(function() coroutine.resume(co) note("never") end)()
        scheduler.run()
        t:kill()
        eq(coroutine.status(co), "dead")
        eq(notes(), "")
        -- Its tasklet is unbound: nobody ever resumes it.
        co = coroutine.create(function() scheduler.schedule_remove() end)
        t = tasklet(function() coroutine.resume(co) end)()
        scheduler.run()
        t:bind()
        eq(coroutine.status(co), "normal")
        eq(coroutine.resume(co), false)
        eq(pcall(coroutine.close, co), false)
    "##);
}

#[test]
fn a_generator_can_be_shared_by_tasklets() {
    run(r##"
        local c = channel()
        local f = coroutine.wrap(function() while true do coroutine.yield(c:receive()) end end)
        local function user(name)
            return tasklet(function() note(name, f()) end)()
        end
        user("a")
        scheduler.run()
        c:send(1)
        user("b")
        scheduler.run()
        -- While it is blocked for one tasklet, it is no other's.
        tasklet(function() note(select(2, pcall(function() f() end))) end)()
        scheduler.run()
        c:send(2)
        scheduler.run()
        eq(notes(), "a:1 test.luau:13: cannot resume normal coroutine b:2")
    "##);
}

#[test]
fn a_body_that_its_script_has_seen_can_t_be_used_to_confuse_the_scheduler() {
    run(r##"
        local c = channel()
        local thread
        local function try(expected)
            eq(coroutine.status(thread), expected)
            eq(coroutine.resume(thread, 1), false)
            if expected ~= "dead" then eq(pcall(coroutine.close, thread), false) end
        end
        local t = tasklet(function()
            thread = coroutine.running()
            try("running")
            coroutine.wrap(function() try("normal") end)()
            c:receive()
            scheduler.schedule()
            scheduler.schedule_remove()
        end)()
        scheduler.run()
        try("normal") -- blocked
        tasklet(function() try("normal") end)()
        c:send(1)
        t:run()
        try("normal") -- paused
        scheduler.run()
        t:insert()
        scheduler.run()
        try("dead")
        -- Its body is not another tasklet's.
        for _ = 1, 100 do tasklet(function() eq(coroutine.running() == thread, false) end)() end
        scheduler.run()
        eq(coroutine.close(thread), true)
    "##);
}

#[test]
fn a_yield_in_a_tasklets_own_body_is_refused_with_advice() {
    run(r##"
        tasklet(function()
            refused("boundary", { "coroutine.yield", "scheduler.schedule()", "test.luau:4:" }, function()
                coroutine.yield(1)
            end)
            eq(coroutine.isyieldable(), false)
            coroutine.wrap(function()
                eq(coroutine.isyieldable(), true)
                coroutine.yield()
            end)()
            note("on")
        end)()
        scheduler.run()
        eq(notes(), "on")
    "##);
}

#[test]
fn every_place_where_the_vm_cant_suspend_is_named() {
    run(r##"
        local c = channel()
        tasklet(function() c:send("waits") end)()
        scheduler.run()
        local function wait() scheduler.schedule() end
        local mt = {}
        for _, event in { "__index", "__newindex", "__add", "__unm", "__len", "__eq", "__lt", "__le", "__concat" } do
            mt[event] = wait
        end
        local a, b = setmetatable({}, mt), setmetatable({}, mt)
        local places = {
            function() return a.x end,
            function() a.x = 1 end,
            function() return a + 1 end,
            function() return -a end,
            function() return #a end,
            function() return a == b end,
            function() return a < b end,
            function() return a <= b end,
            function() return a .. "x" end,
        }
        for i, f in places do
            refused("boundary", { "schedule would switch", "metamethod" }, f)
        end
        local iter = setmetatable({}, { __iter = wait })
        refused("boundary", { "schedule would switch" }, function() for _ in iter do end end)
        local text = setmetatable({}, { __tostring = wait })
        refused("boundary", { "'tostring'" }, tostring, text)
        refused("boundary", { "'sort'" }, function() table.sort({ 3, 2, 1 }, wait) end)
        refused("boundary", { "'gsub'" }, function() string.gsub("abc", "%w", wait) end)
        refused("boundary", { "'foreach'" }, function() table.foreach({ 1 }, wait) end)
        -- Every kind of blocking call; nothing has changed afterwards.
        local runnable = tasklet(function() note("ran") end)()
        local paused = tasklet():bind(function() end, {})
        for name, f in {
            schedule_remove = scheduler.schedule_remove,
            run = scheduler.run,
            receive = function() return channel():receive() end,
            send = function() return channel():send(1) end,
            send_sequence = function() channel():send_sequence({ 1 }) end,
            ["for"] = function() for _ in channel() do end end,
            kill = function() paused:kill() end,
            throw = function() paused:throw("x") end,
            switch = function() runnable:switch() end,
        } do
            refused("boundary", { name .. " would switch" }, function() table.sort({ 2, 1 }, f) end)
            refused("boundary", { name }, function() return setmetatable({}, { __index = f }).x end)
        end
        eq(paused.alive, true)
        eq(c.balance, 1)
        eq(scheduler.getruncount(), 2)
        -- What needs no switch works there.
        string.gsub("x", "x", function()
            eq(c:receive(), "waits")
            paused:kill(true)
            tasklet(function() note("new") end)()
        end)
        scheduler.run()
        eq(notes(), "ran new")
        eq(paused.alive, false)
    "##);
}

#[test]
fn a_boundary_in_a_coroutine_further_out_counts_too() {
    run(r##"
        local c = channel()
        refused("boundary", { "receive would switch" }, function()
            table.sort({ 2, 1 }, coroutine.wrap(function() c:receive() end))
        end)
        refused("boundary", { "receive would switch" }, function()
            return setmetatable({}, { __index = function()
                return coroutine.wrap(function() return coroutine.wrap(function() c:receive() end)() end)()
            end }).x
        end)
        eq(c.balance, 0)
    "##);
}

#[test]
fn pcall_in_a_place_that_can_t_suspend_still_protects() {
    run(r##"
        local ok, err
        table.sort({ 2, 1 }, function() ok, err = pcall(error, "x", 0) return false end)
        eq(ok, false)
        eq(err, "x")
        local t = setmetatable({}, { __index = function()
            return select(2, xpcall(error, function(e) return e .. "!" end, "y", 0))
        end })
        eq(t.x, "y!")
        eq(string.gsub("a", "a", function() return tostring(select(2, scheduler.pcall(error, "z", 0))) end), "z")
    "##);
}

/// What the library does, told by scripts that use nothing else.
const LIBRARY: &[&str] = &[
    // Values go in and out, in every number and of every type.
    r##"
    local co = coroutine.create(function(...)
        say(...)
        say(coroutine.yield())
        say(coroutine.yield(1, nil, "x", nil))
        return nil, false, nil
    end)
    say(coroutine.resume(co, 1, nil, nil))
    say(coroutine.resume(co))
    say(coroutine.resume(co, nil, nil))
    say(coroutine.resume(co, 1))
    say(coroutine.status(co))
    "##,
    r##"
    local f = coroutine.wrap(function(...)
        local n = select("#", ...)
        while true do n = coroutine.yield(n, select(n, ...)) end
    end)
    say(f("a", nil, "c"))
    say(pcall(f, 10))
    say(pcall(f))
    "##,
    r##"
    local many = table.create(5000, "v")
    local co = coroutine.create(function(...) say(select("#", ...)) say(select("#", coroutine.yield(...))) return ... end)
    say(select("#", coroutine.resume(co, table.unpack(many))))
    say(select("#", coroutine.resume(co, table.unpack(many))))
    local f = coroutine.wrap(function(...) return ... end)
    say(select("#", f(table.unpack(many))))
    "##,
    // Errors of every type.
    r##"
    for _, value in { "text", 42, true, {}, print, vector.create(1, 2, 3) } do
        local co = coroutine.create(error)
        local ok, err = coroutine.resume(co, value, 0)
        say(ok, type(err), err == value, coroutine.status(co))
        say(coroutine.resume(co))
        local ok, err = coroutine.close(co)
        say(ok, type(err), err == value)
        say(coroutine.close(co))
        ok, err = pcall(coroutine.wrap(function() error(value, 0) end))
        say(ok, type(err), if type(err) == "table" or type(err) == "function" then "?" else err)
    end
    say(coroutine.resume(coroutine.create(function() error() end)))
    say(pcall(coroutine.wrap(function() error(nil) end)))
    say(pcall(coroutine.wrap(function() error("place") end)))
    say(pcall(coroutine.wrap(function() local x = nil; return x.y end)))
    "##,
    // States.
    r##"
    local co
    co = coroutine.create(function()
        say(coroutine.status(co))
        say(coroutine.resume(co))
        say(pcall(coroutine.close, co))
        local inner = coroutine.create(function()
            say(coroutine.status(co))
            say(coroutine.resume(co))
            say(pcall(coroutine.close, co))
            say(coroutine.isyieldable())
            say(coroutine.running() == co)
        end)
        coroutine.resume(inner)
        say(coroutine.status(inner))
        coroutine.yield()
    end)
    say(coroutine.status(co))
    coroutine.resume(co)
    say(coroutine.status(co))
    say(coroutine.close(co))
    say(coroutine.status(co))
    say(coroutine.close(co))
    say(coroutine.resume(co))
    co = coroutine.create(print)
    say(coroutine.close(co))
    say(coroutine.resume(co))
    "##,
    // Yields where there is a C call in between.
    r##"
    local co = coroutine.create(function()
        say(pcall(coroutine.yield, 1, 2))
        say(pcall(pcall, coroutine.yield, 3))
        say(xpcall(coroutine.yield, function() return "handled" end, 4))
        say(pcall(table.sort, { 2, 1 }, coroutine.yield))
        say(pcall(string.gsub, "x", "x", coroutine.yield))
        say(pcall(function() return setmetatable({}, { __index = coroutine.yield }).x end))
        say(pcall(function() return setmetatable({}, { __call = coroutine.yield })(5) end))
        for a, b in coroutine.yield, 6, 7 do say(a, b) end
        say(pcall(error, coroutine.yield(8)))
    end)
    say(coroutine.resume(co))
    for i = 1, 20 do say(coroutine.resume(co, if i ~= 8 then "r" .. i else nil)) end
    "##,
    // Wrong arguments.
    r##"
    for _, name in { "create", "wrap", "resume", "status", "close" } do
        say(name, pcall(coroutine[name]))
        say(name, pcall(coroutine[name], 1))
        say(name, pcall(coroutine[name], {}))
        say(name, pcall(coroutine[name], setmetatable({}, { __call = print })))
    end
    "##,
    // Bodies that are C functions.
    r##"
    say(coroutine.resume(coroutine.create(coroutine.yield), 1, 2))
    local f = coroutine.wrap(coroutine.yield)
    say(f(1, 2))
    say(f(3, 4))
    say(pcall(f))
    say(coroutine.resume(coroutine.create(select), "#", 1, 2))
    say(coroutine.resume(coroutine.create(pcall), error, "x"))
    local g = coroutine.wrap(pcall)
    say(g(coroutine.yield, 1))
    say(g(2))
    say(coroutine.resume(coroutine.create(coroutine.resume), coroutine.create(select), 1, 2))
    local h = coroutine.wrap(coroutine.wrap(function(...) coroutine.yield(...) return "x" end))
    say(h(1))
    say(pcall(h))
    "##,
    // Depth.
    r##"
    local function deep(n) return if n == 0 then "bottom" else coroutine.wrap(deep)(n - 1) end
    say(pcall(deep, 100))
    local ok, err = pcall(deep, 10000)
    say(ok, string.match(err, "[^:]*$"))
    local co
    local function spiral() co = coroutine.create(spiral) return coroutine.resume(co) end
    local results = table.pack(spiral())
    say(results.n > 100)
    local function recurse() return recurse() + 1 end
    co = coroutine.create(recurse)
    ok, err = coroutine.resume(co)
    say(ok, string.match(err, "stack overflow"))
    say(coroutine.status(co))
    say(coroutine.close(co))
    "##,
    // pcall and xpcall.
    r##"
    say(pcall(error))
    say(pcall(error, nil))
    say(pcall(error, {}) == false)
    say(pcall(function(...) return ... end, nil, nil))
    say(pcall(pcall))
    say(pcall(nil))
    say(pcall(5, 6))
    say(xpcall(error, function(...) return select("#", ...), ... end, "x"))
    say(xpcall(function(...) return ... end, print, 1, nil))
    say(xpcall(error, error, "x"))
    say(pcall(xpcall, error))
    say(pcall(xpcall, error, 5))
    say(pcall(xpcall))
    say(xpcall(5, function(e) return "handled " .. e end))
    local ok, err = pcall(function() local function r() return r() + 1 end return r() end)
    say(ok, string.match(err, "stack overflow"))
    local ok, err = xpcall(function() local function r() return r() + 1 end return r() end, function(e) return e end)
    say(ok, string.match(err, "stack overflow"))
    say(xpcall(function() error("x", 0) end, function(e) local function r() return r() + 1 end return r() end))
    say(select("#", pcall(table.unpack, table.create(7000, 1))))
    say((pcall(table.unpack, table.create(20000, 1))))
    local depth = 0
    local function recurse() depth += 1 return pcall(recurse) end
    say(select("#", recurse()) > 100)
    say(depth > 100)
    "##,
];

/// What a script of [`LIBRARY`] says, one line a call.
const SAY: &str = r##"
local said = {}
local function say(...)
    local line = {}
    for i = 1, select("#", ...) do
        local v = (select(i, ...))
        table.insert(line, if type(v) == "table" or type(v) == "function" or type(v) == "thread" then type(v) else tostring(v))
    end
    table.insert(said, table.concat(line, " "))
end
local function whole(...)
"##;

#[test]
fn the_library_does_in_a_tasklet_what_luaus_own_does() {
    for (number, text) in LIBRARY.iter().enumerate() {
        let text = format!("{SAY}\n{text}\nend\nwhole()\nreturn table.concat(said, \"\\n\")");
        let plain = mlua::Lua::new();
        // In a coroutine of its own, as the body of a tasklet is one.
        let wrapped = format!("return coroutine.wrap(function()\n{text}\nend)()");
        let expected: String =
            plain.load(&wrapped).set_name("=test.luau").eval().expect("plain Luau runs it");

        let vm = script::vm();
        let store: std::rc::Rc<std::cell::RefCell<String>> = Default::default();
        let sink = store.clone();
        let keep = vm
            .function(c"keep", move |call| {
                *sink.borrow_mut() = call.text(1, "keep")?;
                Ok(bluetick_scripting::Reply::Nothing)
            })
            .expect("a function can be made");
        let f = script::load(
            &vm,
            &format!(
                "local keep = ...; tasklet(function() keep((function()\n{text}\nend)()) end)() scheduler.run()"
            ),
        );
        vm.run_main(&f, keep).unwrap_or_else(|e| panic!("script {number}: {}\n{}", e.message, e.traceback));
        let said = store.borrow();
        for (line, (ours, theirs)) in said.lines().zip(expected.lines()).enumerate() {
            assert_eq!(ours, theirs, "script {number}, line {line}");
        }
        assert_eq!(said.lines().count(), expected.lines().count(), "script {number}");
    }
}
