//! Programs under a collector that runs after every slice, and under errors at every point where they
//! can be suspended; long runs with memory flat; and VMs that are dropped in the middle.

mod script;
use bluetick_scripting::{Reply, Vm, VmConfig, Wait};
use script::{frame, load, notes, run_in, spawn, vm, vm_with};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Programs that come to rest by themselves. Each puts its tasklets into the global `all`, notes what
/// it does, and has nobody waiting in the end. `quiet` is a protected call that a kill passes.
const PROGRAMS: &[(&str, &str)] = &[
    (
        "ping-pong",
        r##"
        local a, b = channel(), channel()
        start(function() for i = 1, 5 do a:send(i) note("got", b:receive()) end end)
        start(function() for i = 1, 5 do b:send(a:receive() * 2) end end)
        "##,
    ),
    (
        "pipeline of coroutines",
        r##"
        local c, d = channel(), channel()
        local function numbers() for i = 1, 4 do coroutine.yield(c:receive()) end end
        start(function() for v in coroutine.wrap(function()
            for v in coroutine.wrap(numbers) do coroutine.yield(v + 1) end
        end) do d:send({ v }) end end)
        start(function() for i = 1, 4 do c:send(i) scheduler.schedule() end end)
        start(function() for _ = 1, 4 do note(d:receive()[1]) end end)
        "##,
    ),
    (
        "protected calls",
        r##"
        local c = channel()
        start(function()
            for i = 1, 4 do
                local ok, err = pcall(function()
                    local v = select(2, xpcall(c.receive, function(e) return e end, c))
                    if v % 2 == 0 then error({ v }) end
                    note("odd", v)
                end)
                if not ok and type(err) == "table" and err[1] then note("even", err[1]) end
            end
        end)
        start(function() for i = 1, 4 do c:send(i) end end)
        "##,
    ),
    (
        "nested runs",
        r##"
        start(function()
            for i = 1, 2 do
                start(function() scheduler.schedule() note("inner", i) end)
                scheduler.run()
            end
            note("outer")
        end)
        start(function() for i = 1, 3 do scheduler.schedule() end note("beside") end)
        "##,
    ),
    (
        "parents and children",
        r##"
        local c = channel()
        start(function()
            local children = {}
            for i = 1, 3 do
                children[i] = start(function() c:send(i) end)
            end
            scheduler.schedule()
            children[2]:kill()
            local sum = 0
            for _ = 1, 2 do sum += c:receive() end
            note("sum", sum)
        end)
        "##,
    ),
    (
        "atomic sections, sequences and loops",
        r##"
        local c = channel()
        start(function()
            local n = scheduler.atomic(function() return c:send_sequence({ "a", "b", "c" }) end)
            c:close()
            note("sent", n)
        end)
        start(function() for v in c do note(v) if v == "c" then break end end end)
        "##,
    ),
    (
        "every preference",
        r##"
        local c = channel()
        start(function() for i = 1, 6 do c.preference = i % 3 - 1 c.schedule_all = i > 4 c:send(i) end end)
        start(function() for i = 1, 6 do note(c:receive()) scheduler.schedule() end end)
        "##,
    ),
];

const START: &str = r##"
all = {}
ends = 0
local function start(f)
    local t = tasklet(function()
        scheduler.defer(function() ends += 1 end)
        f()
    end)
    table.insert(all, t)
    return t()
end
"##;

/// The program as text; its tasklets start when it runs.
fn program(text: &str) -> String {
    format!("{START}\n{text}")
}

fn collect(vm: &Vm) {
    vm.lua().gc_collect().expect("garbage can be collected");
}

#[test]
fn a_collection_after_every_slice_changes_nothing() {
    for (name, text) in PROGRAMS {
        let run = |stress: bool| {
            let vm = vm();
            let f = load(&vm, &program(text));
            vm.spawn(&f, (), Default::default()).expect("a tasklet can be made");
            let mut slices = 0;
            vm.run_ready(|| {
                if stress {
                    collect(&vm);
                }
                slices += 1;
                true
            });
            assert!(vm.take_ended().is_empty(), "{name}");
            assert_eq!(vm.stats().waiting, 0, "{name}");
            (notes(&vm), slices)
        };
        let expected = run(false);
        assert!(!expected.0.is_empty(), "{name}");
        assert_eq!(run(true), expected, "{name}");
    }
}

/// What is done to a tasklet at some point.
const INJECTIONS: [&str; 6] = [
    "t:kill()",
    "t:kill(true)",
    "t:throw('injected')",
    "t:throw('injected', true)",
    "t:throw(scheduler.StopIteration)",
    "t:kill(true) t:throw('injected', true) t:kill()",
];

#[test]
fn a_kill_or_throw_at_every_turn_of_every_program_leaves_all_in_order() {
    for (name, text) in PROGRAMS {
        for injection in INJECTIONS {
            let text = format!(
                r##"
                local turn, which = ...
                {START}
                (function() {text} end)()
                for _ = 1, turn do pcall(scheduler.schedule) end
                local t = all[which]
                local alive = t ~= nil and t.alive
                if t then pcall(function() {injection} end) end
                -- Errors come here one by one; who waits for a victim is ended then.
                repeat local ok = pcall(scheduler.run) until ok
                for _, t in all do
                    while t.alive do
                        pcall(t.kill, t)
                        repeat local ok = pcall(scheduler.run) until ok
                    end
                    eq(t.blocked, false)
                    eq(t.next, nil)
                end
                eq(scheduler.getruncount(), 1)
                return alive
                "##
            );
            let vm = vm();
            let f = load(&vm, &text);
            let outcome = Rc::new(Cell::new(false));
            let sink = outcome.clone();
            let keep = vm
                .function(c"keep", move |call| {
                    sink.set(call.get(1)?);
                    Ok(Reply::Nothing)
                })
                .expect("a function can be made");
            let call = load(&vm, "local f, keep, turn, which = ... keep(f(turn, which))");
            for which in 1..=4 {
                for turn in 0..60 {
                    outcome.set(false);
                    vm.run_main(&call, (f.clone(), keep.clone(), turn, which)).unwrap_or_else(|failure| {
                        panic!("{name}: {injection} of {which} at turn {turn}: {}", failure.message)
                    });
                    if turn % 7 == 0 {
                        collect(&vm);
                    }
                    assert_eq!(vm.stats().waiting, 0, "{name}: {injection} of {which} at turn {turn}");
                    assert_eq!(vm.runnable(), 0, "{name}: {injection} of {which} at turn {turn}");
                    if !outcome.get() {
                        break;
                    }
                }
            }
            notes(&vm);
            drop((f, call));
            collect(&vm);
            vm.run_ready(|| true);
            collect(&vm);
            vm.run_ready(|| true);
            assert_eq!(vm.stats().tasklets, 0, "{name}: {injection}");
        }
    }
}

#[test]
fn a_kill_by_the_host_after_every_slice_leaves_all_in_order() {
    for (name, text) in PROGRAMS {
        let text = program(text);
        for stop in 0..100 {
            let vm = vm();
            let owner = vm.new_owner();
            vm.spawn(&load(&vm, &text), (), owner).expect("a tasklet can be made");
            let mut slices = 0;
            vm.run_ready(|| {
                slices += 1;
                slices <= stop
            });
            let owned = vm.owned_by(owner);
            let done = owned.is_empty();
            for tasklet in owned {
                assert!(vm.kill(tasklet).expect("it can be killed"), "{name}: slice {stop}");
                collect(&vm);
            }
            vm.run_ready(|| {
                collect(&vm);
                true
            });
            assert_eq!(vm.owned_by(owner), [], "{name}: slice {stop}");
            assert!(vm.take_ended().is_empty(), "{name}: slice {stop}");
            let stats = vm.stats();
            assert_eq!((stats.waiting, stats.parked, stats.runnable), (0, 0, 0), "{name}: slice {stop}");
            if done {
                break;
            }
        }
    }
}

#[test]
fn a_million_switches_with_random_kills_leave_memory_flat() {
    let vm = vm();
    spawn(
        &vm,
        r##"
        local random = 12345
        local function next_random(n)
            random = (random * 1103515245 + 12345) % 2147483648
            return random // 65536 % n + 1
        end
        local channels = {}
        for i = 1, 4 do channels[i] = channel() end
        local workers = {}
        local function work()
            scheduler.defer(function() end)
            while true do
                local c = channels[next_random(4)]
                local what = next_random(6)
                if what <= 2 then
                    c:send({ what })
                elseif what <= 4 then
                    c:receive()
                elseif what == 5 then
                    coroutine.wrap(function() scheduler.schedule() coroutine.yield() end)()
                else
                    scheduler.schedule()
                end
            end
        end
        for i = 1, 50 do workers[i] = tasklet(work)() end
        while true do
            for _ = 1, 5 do
                local i = next_random(50)
                local t = workers[i]
                local what = next_random(4)
                if what == 1 then
                    t:kill()
                elseif what == 2 then
                    t:kill(true)
                elseif t.paused then
                    t:insert()
                elseif not t.blocked and what == 3 then
                    t:remove()
                end
                if not t.alive then
                    if what == 4 then t:bind(work)() else workers[i] = tasklet(work)() end
                end
            end
            -- Whoever waits in vain is freed, so that there is always somebody to run.
            for _, c in channels do
                while c.balance > 5 do c:receive() end
                while c.balance < -5 do c:send(1) end
            end
            scheduler.schedule()
        end
        "##,
    );
    let run = |slices: u64| {
        let mut left = slices;
        vm.run_ready(|| {
            left -= 1;
            left > 0
        });
        let ended = vm.take_ended();
        assert!(ended.is_empty(), "{ended:?}");
    };
    let settled = || {
        for _ in 0..2 {
            collect(&vm);
            run(2);
        }
        (vm.memory(), vm.stats().tasklets)
    };
    run(100_000);
    let before = settled();
    run(900_000);
    let after = settled();
    assert!(vm.stats().slices >= 1_000_000);
    assert!(after.0 < before.0 + before.0 / 4 + 100_000, "memory: {before:?} -> {after:?}");
    assert!(after.1 <= 52, "tasklets: {before:?} -> {after:?}");
}

#[test]
fn values_die_after_the_end_the_kill_the_receive_and_the_kill_of_their_sender() {
    let slot: Rc<RefCell<Option<Rc<Vm>>>> = Rc::default();
    let inner = slot.clone();
    let vm = vm_with(VmConfig::default(), |vm| {
        let f = vm
            .function(c"collect", move |_| {
                collect(inner.borrow().as_ref().expect("the VM is there"));
                Ok(Reply::Nothing)
            })
            .expect("a function can be made");
        vm.lua().globals().set("collect", f).expect("a global can be set");
    });
    *slot.borrow_mut() = Some(vm.clone());
    run_in(
        &vm,
        r##"
        local weak = setmetatable({}, { __mode = "v" })
        local c = channel()
        local cases = {
            argument_after_end = function() tasklet(function() end)(weak.x) scheduler.run() end,
            argument_after_kill = function() local t = tasklet(function() end)(weak.x) t:kill() end,
            local_after_end = function() local x = weak.x tasklet(function() local y = x end)() scheduler.run() end,
            local_after_kill = function()
                local t = tasklet(function(y) scheduler.schedule_remove() return y end)(weak.x)
                scheduler.run()
                t:kill()
            end,
            received = function()
                tasklet(function(x) c:send(x) end)(weak.x)
                tasklet(function() c:receive() end)()
                scheduler.run()
            end,
            received_by_a_waiter = function()
                tasklet(function() c:receive() end)()
                tasklet(function(x) c:send(x) end)(weak.x)
                scheduler.run()
            end,
            killed_sender = function()
                local t = tasklet(function(x) c:send(x) end)(weak.x)
                scheduler.run()
                t:kill()
            end,
            handed_over_and_killed = function()
                local t = tasklet(function() c:receive() end)()
                scheduler.run()
                c.preference = 1
                c:send(weak.x)
                t:kill(true)
                scheduler.run()
                c.preference = -1
            end,
            thrown = function()
                local t = tasklet(function() pcall(c.receive, c) end)()
                scheduler.run()
                t:throw(weak.x)
            end,
            thrown_and_replaced = function()
                local t = tasklet(function() c:receive() end)()
                scheduler.run()
                t:throw(weak.x, true)
                t:kill(true)
                scheduler.run()
            end,
            sent_as_an_error = function()
                tasklet(function() pcall(c.receive, c) end)()
                scheduler.run()
                c:send_exception(weak.x)
                scheduler.run()
            end,
            raised = function() tasklet(function(x) error(x) end)(weak.x) pcall(scheduler.run) end,
            returned = function() tasklet(function(x) return x end)(weak.x) scheduler.run() end,
            scheduled = function() tasklet(function(x) scheduler.schedule(x) end)(weak.x) scheduler.run() end,
            tempval = function()
                local t = tasklet(function() scheduler.schedule_remove() end)()
                scheduler.run()
                t.tempval = weak.x
                t:kill()
            end,
            deferred = function()
                local x = weak.x
                tasklet(function() scheduler.defer(function() return x end) end)()
                scheduler.run()
            end,
            unbound = function() tasklet(function() end):bind(nil, { weak.x }):bind() end,
            rebound = function()
                local x = weak.x
                local t = tasklet(function() return x end)
                t:bind(function() end)
            end,
            sequence = function() tasklet(function(x) c:send_sequence({ x }) end)(weak.x) c:receive() scheduler.run() end,
            field = function() local t = tasklet() t.field = weak.x end,
            field_of_a_dead_one = function() local t = tasklet(function() end) t.field = weak.x t() scheduler.run() end,
            in_a_coroutine = function()
                local t = tasklet(function(x) coroutine.wrap(function() c:receive() return x end)() end)(weak.x)
                scheduler.run()
                t:kill()
            end,
            callback = function()
                local x = weak.x
                scheduler.set_channel_callback(function() return x end)
                scheduler.set_schedule_callback(function() return x end)
                scheduler.set_error_handler(function() return x end)
                tasklet(function() pcall(error) end)()
                scheduler.run()
                scheduler.set_channel_callback()
                scheduler.set_schedule_callback()
                scheduler.set_error_handler()
            end,
            atomic = function()
                local t = tasklet(function(x) scheduler.atomic(function() c:receive() return x end) end)(weak.x)
                scheduler.run()
                t:throw(scheduler.TaskletExit)
            end,
        }
        for name, case in cases do
            (function()
                weak.x = { name }
                local held = weak.x
                case()
                held = nil
            end)()
            -- Others use the bodies and stacks again.
            for _ = 1, 3 do tasklet(function() coroutine.wrap(function() end)() end)() end
            scheduler.run()
            collect()
            tasklet(function() end)()
            scheduler.run()
            collect()
            if weak.x then error(name .. ": the value is still there") end
            eq(c.balance, 0)
        end
        "##,
    );
    slot.borrow_mut().take();
}

#[test]
fn handles_that_are_dropped_take_their_records_with_them() {
    let vm = vm();
    let settle = || {
        for _ in 0..3 {
            collect(&vm);
            vm.run_ready(|| true);
        }
        vm.stats().tasklets
    };
    for text in [
        "tasklet()",
        "tasklet(function() end)",
        "tasklet(function() end)()",
        "local t = tasklet(function() end) t.me = t t.own = { t }",
        "local t = tasklet(function() end) t.f = function() return t end t() scheduler.schedule()",
        "local t = tasklet(function() end) t.name = 'x' t()",
        "tasklet(function() scheduler.defer(function() end) scheduler.schedule() end)()",
        "tasklet(function() end):bind(nil, {}):bind()",
        "tasklet(function() scheduler.schedule_remove() end)():kill()",
        "local t = tasklet(function() scheduler.schedule_remove() end)() scheduler.schedule() t:bind()",
        "local t t = tasklet(function() return t end)()",
    ] {
        let f = load(&vm, &format!("for _ = 1, 500 do (function() {text} end)() end"));
        vm.spawn(&f, (), Default::default()).expect("a tasklet can be made");
        frame(&vm);
        assert_eq!(settle(), 0, "{text}");
    }
}

#[test]
fn handles_that_are_made_and_dropped_within_one_slice_are_forgotten_in_it() {
    let vm = vm();
    let most = Rc::new(Cell::new(0));
    let (weak, sink) = (Rc::downgrade(&vm), most.clone());
    let look = vm
        .function(c"look", move |_| {
            let exist = weak.upgrade().map_or(0, |vm| vm.stats().tasklets);
            sink.set(sink.get().max(exist));
            Ok(Reply::Nothing)
        })
        .expect("a function can be made");
    let f = load(
        &vm,
        r##"
        local look = ...
        for i = 1, 300000 do
            channel()
            tasklet()
            if i % 10000 == 0 then look() end
        end
        "##,
    );
    vm.spawn(&f, look, Default::default()).expect("a tasklet can be made");
    frame(&vm);
    assert!((1..50_000).contains(&most.get()), "{} existed at once", most.get());
}

#[test]
fn a_paused_tasklet_without_a_handle_lives_on_until_its_owner_ends() {
    let vm = vm();
    let owner = vm.new_owner();
    let f = load(
        &vm,
        "for _ = 1, 100 do tasklet(function() scheduler.defer(function() note('d') end) scheduler.schedule_remove() end)() end",
    );
    vm.spawn(&f, (), owner).expect("a tasklet can be made");
    frame(&vm);
    collect(&vm);
    frame(&vm);
    assert_eq!(vm.owned_by(owner).len(), 100);
    for tasklet in vm.owned_by(owner) {
        assert!(vm.kill(tasklet).expect("it can be killed"));
    }
    frame(&vm);
    assert_eq!(notes(&vm).len(), 199);
    collect(&vm);
    frame(&vm);
    assert_eq!(vm.stats().tasklets, 0);
}

#[test]
fn a_tasklet_that_is_bound_thousands_of_times_takes_no_more_memory() {
    let vm = vm();
    let f = load(
        &vm,
        r##"
        local t = tasklet()
        t.field = "kept"
        local n = 0
        for i = 1, 20000 do
            t:bind(function(x) n += x end, { 1 })
            if i % 4 == 0 then
                t:kill()
            elseif i % 4 == 1 then
                t:run()
            elseif i % 4 == 2 then
                t:insert()
                scheduler.schedule()
            else
                t:bind()
            end
            eq(t.alive, false)
            eq(t.field, "kept")
        end
        eq(n, 10000)
        "##,
    );
    let mut settled = Vec::new();
    for _ in 0..4 {
        vm.spawn(&f, (), Default::default()).expect("a tasklet can be made");
        frame(&vm);
        collect(&vm);
        frame(&vm);
        collect(&vm);
        settled.push(vm.memory());
        assert_eq!(vm.stats().tasklets, 0);
    }
    assert!(settled[3] <= settled[1] + 4096, "{settled:?}");
}

#[test]
fn a_vm_can_be_dropped_with_tasklets_in_every_state() {
    let alive = Rc::new(Cell::new(0));
    struct Counted(Rc<Cell<i32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    for stop in [0, 1, 5, 1000] {
        let waits: Rc<RefCell<Vec<Wait>>> = Rc::default();
        let vm = vm_with(VmConfig::default(), |vm| {
            alive.set(alive.get() + 1);
            let (counted, sink) = (Counted(alive.clone()), waits.clone());
            let park = vm
                .function(c"park", move |call| {
                    let _ = &counted;
                    let wait = call.park("park")?;
                    sink.borrow_mut().push(wait);
                    Ok(Reply::Parked(wait))
                })
                .expect("a function can be made");
            vm.lua().globals().set("park", park).expect("a global can be set");
        });
        let (inbox, handle) = vm.new_inbox(4).expect("an inbox can be made");
        let c = vm.kept(&handle).expect("the handle is kept");
        let f = load(
            &vm,
            r##"
            local c, inbox = channel(), ...
            local function nothing() end
            held = { tasklet(), tasklet(nothing), tasklet():bind(nothing, { 1 }), tasklet(nothing)() }
            tasklet(function() c:receive() end)()
            tasklet(function() channel():send({}) end)()
            tasklet(function() scheduler.schedule_remove() end)()
            tasklet(function() park() end)()
            tasklet(function() coroutine.wrap(function() coroutine.wrap(function() park() end)() end)() end)()
            tasklet(function() for _ in inbox do end end)()
            tasklet(function() pcall(function() scheduler.defer(nothing) channel():receive() end) end)()
            tasklet(function() tasklet(function() while true do scheduler.schedule() end end)() scheduler.run() end)()
            local t = tasklet(function() c:receive() end)()
            t.me, t.name = t, "own"
            t:throw("pending", true)
            scheduler.set_error_handler(nothing)
            scheduler.set_channel_callback(nothing)
            scheduler.set_schedule_callback(nothing)
            scheduler.defer(function() end)
            scheduler.schedule()
            "##,
        );
        vm.spawn(&f, c, Default::default()).expect("a tasklet can be made");
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= stop
        });
        vm.post(inbox, "left").expect("it can be posted");
        let keeps_lua = stop == 5;
        let lua = keeps_lua.then(|| vm.lua().clone());
        drop(f);
        drop(vm);
        if let Some(lua) = lua {
            // The VM outlives its host's handle as long as somebody holds mlua's; then it is alone.
            lua.gc_collect().expect("garbage can be collected");
            let made: mlua::Result<mlua::Value> = lua.load("return tasklet(function() end)()").eval();
            assert!(made.is_ok(), "{made:?}");
            let required: mlua::Result<()> = lua.load("require('./x')").exec();
            assert!(required.is_err());
        }
        assert_eq!(alive.get(), 0, "after {stop} slices");
    }
}

#[test]
fn many_vms_live_side_by_side_and_in_several_threads() {
    let vms: Vec<_> = (0..20).map(|_| vm()).collect();
    for (number, vm) in vms.iter().enumerate() {
        spawn(
            vm,
            &format!("local c = channel() tasklet(function() c:send({number}) end)() note(c:receive())"),
        );
    }
    // Turn by turn.
    while vms.iter().any(|vm| vm.runnable() > 0) {
        for vm in &vms {
            let mut slices = 0;
            vm.run_ready(|| {
                slices += 1;
                slices <= 1
            });
        }
    }
    for (number, vm) in vms.iter().enumerate() {
        assert_eq!(notes(vm), number.to_string());
    }
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            std::thread::spawn(move || {
                for round in 0..5 {
                    let vm = vm();
                    for (_, text) in PROGRAMS {
                        spawn(&vm, &program(text));
                    }
                    let mut slices = 0;
                    vm.run_ready(|| {
                        slices += 1;
                        round % 2 == 0 || slices < 10 * (thread + 1)
                    });
                    assert!(vm.take_ended().is_empty());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
}

#[test]
fn a_vm_can_be_made_and_used_by_a_function_of_another_ones_script() {
    let outer = vm();
    let nested = outer
        .function(c"nested", |call| {
            let text = call.text(1, "nested")?;
            let inner = vm();
            spawn(&inner, &text);
            frame(&inner);
            call.push(notes(&inner))?;
            Ok(Reply::Pushed(1))
        })
        .expect("a function can be made");
    let f = load(
        &outer,
        "local nested = ... eq(nested('note(1) scheduler.schedule() note(2)'), '1 2') scheduler.schedule() note('outer')",
    );
    outer.spawn(&f, nested, Default::default()).expect("a tasklet can be made");
    frame(&outer);
    assert_eq!(notes(&outer), "outer");
}
