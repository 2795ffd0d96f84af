//! The host's side: functions that scripts call, waits, inboxes, owners, and the loop.

mod script;
use bluetick_scripting::{Error, ErrorKind, Reply, TaskletId, Vm, VmConfig, Wait};
use script::{frame, load, notes, run_in, spawn, vm, vm_with};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

type Waits = Rc<RefCell<Vec<Wait>>>;

/// A VM with the functions that most tests here use: `park(text?)` waits, `add(a, b)` adds, and
/// `fail(kind)` and `panic(text)` do what they say.
fn hosted() -> (Rc<Vm>, Waits) {
    let waits = Waits::default();
    let vm = vm_with(VmConfig::default(), |vm| install(vm, &waits));
    (vm, waits)
}

fn install(vm: &Vm, waits: &Waits) {
    let sink = waits.clone();
    let functions = vec![
        (
            "park",
            vm.function(c"park", move |call| {
                let wait = call.park("host.park")?;
                sink.borrow_mut().push(wait);
                Ok(Reply::Parked(wait))
            }),
        ),
        (
            "add",
            vm.function(c"add", |call| {
                Ok(Reply::Number(call.number(1, "add: a")? + call.number(2, "add: b")?))
            }),
        ),
        ("fail", vm.function(c"fail", |_| Err(Error::new(ErrorKind::Gone, "the entity is gone")))),
        (
            "panic",
            vm.function(c"panic", |call| {
                let text = call.text(1, "panic")?;
                match call.len() {
                    1 => panic!("{text}"),
                    2 => std::panic::panic_any(7),
                    _ => panic!("no text"),
                }
            }),
        ),
        (
            "echo",
            vm.function(c"echo", |call| {
                for index in 1..=call.len() {
                    let value: mlua::Value = call.get(index)?;
                    call.push(value)?;
                }
                Ok(Reply::Pushed(call.len()))
            }),
        ),
    ];
    let functions =
        functions.into_iter().map(|(name, f)| (name, f.expect("a function can be made"))).collect();
    vm.library("host", functions).expect("a library can be set");
}

fn wake(vm: &Vm, wait: Wait) -> bool {
    vm.wake(wait.tasklet, wait.parking)
}

/// Tasklets that exist, when the garbage is gone: somebody may have held the handle of a dead one.
fn tasklets_left(vm: &Vm) -> usize {
    vm.lua().gc_collect().expect("garbage can be collected");
    vm.run_ready(|| true);
    vm.stats().tasklets
}

fn failures(vm: &Vm) -> Vec<String> {
    vm.take_ended().into_iter().filter_map(|ended| ended.failure).map(|failure| failure.message).collect()
}

#[test]
fn values_go_to_the_host_and_back() {
    let (vm, _) = hosted();
    run_in(
        &vm,
        r##"
        eq(host.add(1, 2), 3)
        local t, f = {}, function() end
        local results = table.pack(host.echo(1, "x", nil, true, t, f, vector.create(1, 2, 3)))
        eq(#results, 7)
        eq(results[3], nil)
        eq(results[5], t)
        eq(results[6], f)
        eq(select("#", host.echo()), 0)
        eq(select("#", host.echo(table.unpack(table.create(16, 1)))), 16)
        refused("type", { "at most 16 results", "test.luau:12:" }, function()
            host.echo(table.unpack(table.create(17, 1)))
        end)
        eq(pcall(function() host.add = 1 end), false)
        "##,
    );
}

#[test]
fn what_a_host_function_returns_as_an_error_or_panics_with_is_raised_in_the_caller() {
    let (vm, _) = hosted();
    run_in(
        &vm,
        r##"
        refused("gone", { "test.luau:3: the entity is gone" }, function()
            host.fail()
        end)
        refused("type", { "add: b: expected a number, got string" }, host.add, 1, "2")
        refused("type", { "add: a: expected a number, got nothing" }, host.add)
        refused("panic", { "panicked: oh no", "test.luau:8:" }, function()
            host.panic("oh no")
        end)
        refused("panic", { "panicked: no text" }, host.panic, "x", 2)
        refused("type", { "panic: expected a string, got nil" }, host.panic, nil)
        tasklet(function() host.panic("in a tasklet") end)()
        refused("panic", { "in a tasklet" }, scheduler.run)
        coroutine.wrap(function() refused("gone", {}, host.fail) end)()
        eq(host.add(1, 1), 2)
        "##,
    );
}

#[test]
fn a_parked_tasklet_waits_until_it_is_woken_while_others_run() {
    let (vm, waits) = hosted();
    let id = spawn(&vm, "note('before') eq(host.park(), nil) note('after')");
    spawn(&vm, "note('other')");
    frame(&vm);
    assert_eq!(notes(&vm), "before other");
    let wait = waits.borrow()[0];
    assert_eq!(wait.tasklet, id);
    assert_eq!((vm.stats().parked, vm.stats().waiting, vm.stats().runnable), (1, 0, 0));
    frame(&vm);
    assert_eq!(notes(&vm), "");
    assert!(vm.traceback(id).starts_with("test.luau:1"), "{}", vm.traceback(id));
    assert!(wake(&vm, wait));
    assert!(!wake(&vm, wait), "it does not wait any more");
    frame(&vm);
    assert_eq!(notes(&vm), "after");
    assert!(!wake(&vm, wait), "it has ended");
    assert_eq!(vm.stats().tasklets, 0);
}

#[test]
fn a_wake_up_that_comes_too_late_does_not_end_a_later_wait() {
    let (vm, waits) = hosted();
    let id = spawn(&vm, "scheduler.pcall(host.park) note('killed') host.park() note('woken')");
    frame(&vm);
    assert!(vm.kill(id).expect("it can be killed"));
    assert!(!wake(&vm, waits.borrow()[0]), "the kill has ended this wait");
    frame(&vm);
    assert_eq!(notes(&vm), "killed");
    assert!(!wake(&vm, waits.borrow()[0]), "this is another wait");
    frame(&vm);
    assert_eq!(notes(&vm), "");
    assert!(wake(&vm, waits.borrow()[1]));
    frame(&vm);
    assert_eq!(notes(&vm), "woken");
    // The same tasklet object in its next life.
    let script = "local t = tasklet(function() host.park() note('first') end)()
        scheduler.schedule() t:kill()
        t:bind(function() host.park() note('second') end)()";
    waits.borrow_mut().clear();
    spawn(&vm, script);
    frame(&vm);
    let (first, second) = (waits.borrow()[0], waits.borrow()[1]);
    assert_eq!(first.tasklet, second.tasklet);
    assert!(!wake(&vm, first));
    assert!(wake(&vm, second));
    frame(&vm);
    assert_eq!(notes(&vm), "second");
}

#[test]
fn a_parked_tasklet_is_blocked_for_scripts_and_can_be_killed_or_thrown_at() {
    let (vm, waits) = hosted();
    spawn(
        &vm,
        r##"
        local t = tasklet(function()
            scheduler.defer(function() note("deferred") end)
            local ok, err = pcall(host.park)
            note(tostring(ok), err)
            coroutine.wrap(function() pcall(host.park) end)()
        end)()
        scheduler.schedule()
        eq(t.blocked, true)
        eq(t.scheduled, true)
        refused("blocked", { "insert" }, t.insert, t)
        refused("blocked", { "bind" }, t.bind, t)
        t:throw("thrown")
        eq(t.blocked, true)
        t:kill()
        eq(t.alive, false)
        "##,
    );
    frame(&vm);
    assert_eq!(notes(&vm), "false:thrown deferred");
    let stale: Vec<bool> = waits.borrow().iter().map(|&wait| wake(&vm, wait)).collect();
    assert_eq!(stale, [false, false]);
}

#[test]
fn parking_works_in_coroutines_and_is_refused_where_the_vm_cant_suspend() {
    let (vm, waits) = hosted();
    spawn(
        &vm,
        r##"
        eq(coroutine.wrap(function() return select("#", host.park()) end)(), 1)
        for _ in host.park do end
        note("on")
        refused("boundary", { "host.park", "'sort'" }, function() table.sort({ 2, 1 }, host.park) end)
        refused("boundary", { "host.park", "metamethod" }, function()
            return setmetatable({}, { __index = host.park }).x
        end)
        scheduler.getcurrent().block_trap = true
        refused("block_trap", { "host.park" }, host.park)
        scheduler.getcurrent().block_trap = false
        scheduler.switch_trap(1)
        refused("switch_trap", { "host.park" }, host.park)
        scheduler.switch_trap(-1)
        scheduler.defer(function() refused("boundary", { "host.park" }, host.park) note("deferred") end)
        "##,
    );
    frame(&vm);
    assert!(wake(&vm, waits.borrow()[0]));
    frame(&vm);
    assert!(wake(&vm, waits.borrow()[1]));
    frame(&vm);
    assert_eq!(notes(&vm), "on deferred");
    assert_eq!(waits.borrow().len(), 2, "a refused wait is none");
    // Called by the host, outside of any tasklet.
    let outside = load(&vm, "refused('boundary', { 'host.park' }, host.park)");
    outside.call::<()>(()).expect("it is refused");
    let thread = vm.lua().create_thread(outside).expect("a thread can be made");
    thread.resume::<()>(()).expect("it is refused in a thread of the host's too");
    assert_eq!(vm.stats().parked, 0);
}

#[test]
fn main_can_park_when_it_has_a_body_only_if_others_can_run() {
    let (vm, waits) = hosted();
    run_in(
        &vm,
        r##"
        refused("deadlock", { "host.park", "deadlock" }, host.park)
        local t = tasklet(function() host.park() end)()
        scheduler.run()
        eq(t.blocked, true)
        t:kill()
        "##,
    );
    assert_eq!(waits.borrow().len(), 1);
}

#[test]
fn a_function_that_parks_and_then_changes_its_mind_leaves_its_caller_running() {
    let seen = Rc::new(Cell::new(None));
    let sink = seen.clone();
    let vm = vm_with(VmConfig::default(), |vm| {
        let odd = vm
            .function(c"odd", move |call| {
                let way = call.text(1, "way")?;
                if way == "invent" {
                    return Ok(Reply::Parked(sink.get().expect("another one has parked")));
                }
                let wait = call.park("odd")?;
                sink.set(Some(wait));
                match way.as_str() {
                    "nothing" => Ok(Reply::Nothing),
                    "number" => Ok(Reply::Number(1.0)),
                    "error" => Err(Error::wrong_type("changed")),
                    "twice" => call.park("odd").map(Reply::Parked),
                    _ => panic!("after it has parked"),
                }
            })
            .expect("a function can be made");
        vm.lua().globals().set("odd", odd).expect("a global can be set");
    });
    spawn(
        &vm,
        r##"
        for _, way in { "nothing", "number", "error", "twice", "panic", "invent" } do
            local ok = pcall(odd, way)
            note(way, tostring(ok))
            eq(scheduler.getcurrent().blocked, false)
            scheduler.schedule()
        end
        "##,
    );
    spawn(&vm, "for _ = 1, 6 do note('other') scheduler.schedule() end");
    frame(&vm);
    assert_eq!(
        notes(&vm),
        "nothing:true other number:true other error:false other twice:false other panic:false other \
         invent:false other"
    );
    assert_eq!(tasklets_left(&vm), 0);
}

#[test]
fn the_host_cannot_enter_the_loop_twice_nor_kill_who_is_running() {
    let vm = vm();
    let weak = Rc::downgrade(&vm);
    let enter = vm
        .function(c"enter", move |call| {
            let vm = weak.upgrade().expect("the VM is alive");
            vm.run_ready(|| true);
            let f = load(&vm, "note('never')");
            let failure = vm.run_main(&f, ()).expect_err("it is refused");
            assert!(failure.message.contains("running already"), "{}", failure.message);
            let error = vm.kill(call.tasklet()).expect_err("it is refused");
            assert_eq!(error.kind, ErrorKind::Current);
            Ok(Reply::Nothing)
        })
        .expect("a function can be made");
    let f = load(&vm, "local enter = ... tasklet(function() note('later') end)() enter() note('first')");
    vm.spawn(&f, enter.clone(), Default::default()).expect("a tasklet can be made");
    frame(&vm);
    assert_eq!(notes(&vm), "first later");
    vm.run_main(&f, enter).expect("it ends well");
    assert_eq!(notes(&vm), "first");
    // From the question between two slices.
    let mut first = true;
    spawn(&vm, "note('once')");
    vm.run_ready(|| {
        if std::mem::take(&mut first) {
            vm.run_ready(|| true);
        }
        true
    });
    assert_eq!(notes(&vm), "later once");
}

#[test]
fn a_frame_that_is_stopped_in_the_middle_goes_on_in_order() {
    let vm = vm();
    for name in ["a", "b", "c", "d"] {
        spawn(&vm, &format!("for i = 0, 2 do note('{name}', i) scheduler.schedule() end"));
    }
    let mut all = Vec::new();
    while vm.runnable() > 0 {
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 3
        });
        all.push(notes(&vm));
    }
    assert_eq!(all, ["a:0 b:0 c:0", "d:0 a:1 b:1", "c:1 d:1 a:2", "b:2 c:2 d:2", "", ""]);
    vm.run_ready(|| false);
    assert_eq!(tasklets_left(&vm), 0);
}

#[test]
fn what_the_host_does_between_two_halves_of_a_frame_is_in_order_too() {
    let vm = vm();
    let (inbox, handle) = vm.new_inbox(4).expect("an inbox can be made");
    let c = vm.kept(&handle).expect("the handle is kept");
    let f = load(&vm, "local c = ... for v in c do note(v) end");
    let reader = vm.spawn(&f, c, Default::default()).expect("a tasklet can be made");
    spawn(&vm, "note('second')");
    let third = spawn(&vm, "note('third')");
    let mut slices = 0;
    vm.run_ready(|| {
        slices += 1;
        slices <= 1
    });
    // In between: the reader waits, two are still to run.
    vm.post(inbox, "posted").expect("it can be posted");
    assert!(vm.kill(third).expect("it can be killed"));
    spawn(&vm, "note('new')");
    load(&vm, "refused('boundary', {}, scheduler.schedule)").call::<()>(()).expect("it is refused");
    frame(&vm);
    assert_eq!(notes(&vm), "second posted new");
    assert_eq!(vm.runnable(), 0);
    assert!(vm.kill(reader).expect("it can be killed"));
    frame(&vm);
    vm.release(handle);
}

#[test]
fn a_nested_run_survives_frames() {
    let vm = vm();
    spawn(
        &vm,
        r##"
        for i = 1, 2 do tasklet(function() note("child", i) scheduler.schedule() note("child", i) end)() end
        note("run")
        scheduler.run()
        note("ran")
        "##,
    );
    spawn(&vm, "note('sibling') scheduler.schedule() note('sibling')");
    let mut frames = 0;
    while vm.runnable() > 0 || frames == 0 {
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 2
        });
        frames += 1;
        assert!(frames < 50);
    }
    assert_eq!(notes(&vm), "run sibling child:1 child:2 sibling child:1 child:2 ran");
    assert_eq!(tasklets_left(&vm), 0);
    assert!(frames > 2);
}

#[test]
fn a_script_can_not_harm_a_main_tasklet_that_is_the_host() {
    let vm = vm();
    for script in [
        "scheduler.getmain():kill()",
        "scheduler.getmain():kill(true)",
        "refused('dead', { 'the host' }, function() scheduler.getmain():throw('x') end)",
        "refused('dead', { 'the host' }, function() scheduler.getmain():throw('x', true) end)",
        "refused('alive', {}, function() scheduler.getmain():bind() end)",
        "refused('alive', {}, function() scheduler.getmain():bind(print, {}) end)",
        "refused('alive', {}, function() scheduler.getmain()(1) end)",
        "scheduler.getmain().tempval = 1 eq(scheduler.getmain().tempval, nil)",
        "scheduler.getmain():remove()",
        "scheduler.getmain():insert()",
        "scheduler.getmain():insert():remove()",
        "scheduler.getmain():run()",
        "tasklet(function() scheduler.getmain():run() end)() scheduler.run()",
        "scheduler.getmain().block_trap = true",
        "scheduler.getmain():set_atomic(true)",
        "scheduler.getmain().name = 'x'",
        "scheduler.switch_trap(5)",
        "tasklet(function() while true do end end)() eq(scheduler.run(100).paused, true)",
        "tasklet(function() scheduler.run(100) end)() scheduler.getmain():run()",
    ] {
        for _ in 0..2 {
            spawn(&vm, script);
            spawn(&vm, "note('on')");
            for _ in 0..4 {
                vm.run_ready(|| true);
            }
            assert_eq!(failures(&vm), Vec::<String>::new(), "{script}");
            assert_eq!(notes(&vm), "on", "{script}");
        }
    }
    let switched = spawn(&vm, "scheduler.getmain():switch() note('inserted again')");
    frame(&vm);
    spawn(&vm, "note('on')");
    frame(&vm);
    assert_eq!(notes(&vm), "on");
    assert!(vm.kill(switched).expect("it can be killed"));
    frame(&vm);
    // The host's own errors name the main tasklet's id.
    let f = load(&vm, "error('x')");
    let main = vm.run_main(&f, ()).expect_err("it fails").tasklet;
    assert!(!vm.kill(main).expect("there is nothing to kill"));
    frame(&vm);
}

#[test]
fn an_inbox_never_blocks_its_senders_and_drops_the_oldest() {
    let vm = vm();
    let (inbox, handle) = vm.new_inbox(3).expect("an inbox can be made");
    for value in 1..=5 {
        vm.post(inbox, value).expect("it can be posted");
    }
    let f = load(
        &vm,
        r##"
        local c = ...
        eq(c.balance, 3)
        eq(c:receive(), 3)
        eq(c:send("own"), nil)
        eq(c:send(nil), nil)
        eq(c.balance, 3)
        eq(c:receive(), 5)
        eq(c:receive(), "own")
        eq(c:receive(), nil)
        eq(c.balance, 0)
        refused("type", { "takes values, not errors" }, c.send_exception, c, "x")
        eq(c:send_sequence({ 1, 2, 3, 4 }), 4)
        c:close()
        refused("closed", { "inbox is closed" }, c.send, c, 1)
        local n = 0
        for v in c do n += v end
        eq(n, 9)
        refused("closed", {}, c.receive, c)
        c:open()
        note("waits")
        note(c:receive())
        local t = tasklet(function() for v in c do note("loop", v) end end)()
        scheduler.schedule()
        eq(c.balance, -1)
        c:send("direct")
        scheduler.schedule()
        t:kill()
        eq(c.balance, 0)
        "##,
    );
    let c = vm.kept(&handle).expect("the handle is kept");
    vm.spawn(&f, c, Default::default()).expect("a tasklet can be made");
    frame(&vm);
    assert_eq!(notes(&vm), "waits");
    vm.post(inbox, "posted").expect("it can be posted");
    frame(&vm);
    assert_eq!(notes(&vm), "posted loop:direct");
    vm.release(handle);
    // Nobody can name it any more; what is posted to it then is nobody's.
    vm.lua().gc_collect().expect("garbage can be collected");
    frame(&vm);
    vm.post(inbox, 1).expect("it is no error");
}

#[test]
fn an_inbox_that_nobody_reads_takes_no_more_memory_than_it_may_hold() {
    let vm = vm();
    let (inbox, handle) = vm.new_inbox(10).expect("an inbox can be made");
    let settled = |vm: &Vm| {
        vm.lua().gc_collect().expect("garbage can be collected");
        vm.lua().gc_collect().expect("garbage can be collected");
        vm.memory()
    };
    for _ in 0..1000 {
        vm.post(inbox, "x".repeat(1000)).expect("it can be posted");
    }
    let before = settled(&vm);
    for n in 0..20_000 {
        vm.post(inbox, format!("{n}{}", "x".repeat(1000))).expect("it can be posted");
    }
    assert!(settled(&vm) < before + 65536, "{} -> {}", before, settled(&vm));
    vm.release(handle);
}

#[test]
fn a_kill_of_the_host_ends_a_tasklet_in_every_state() {
    let (vm, waits) = hosted();
    let defer = "scheduler.defer(function() note('deferred') end)";
    let never = spawn(&vm, "note('never')");
    assert!(vm.kill(never).expect("it can be killed"));
    frame(&vm);
    for script in [
        "channel():receive()",
        "channel():send(1)",
        "scheduler.schedule_remove()",
        "host.park()",
        "coroutine.wrap(function() host.park() end)()",
        "for _ in channel() do end",
        "tasklet(function() while true do scheduler.schedule() end end)() scheduler.run()",
    ] {
        let id = spawn(&vm, &format!("{defer} {script} note('went on')"));
        vm.watch(id);
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 1
        });
        assert!(vm.kill(id).expect("it can be killed"), "{script}");
        assert!(vm.kill(id).expect("it can be killed"), "{script}: once more does no harm");
        slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 20
        });
        let ended = vm.take_ended();
        assert_eq!(ended.len(), 1, "{script}");
        assert_eq!(ended[0].tasklet, id);
        assert!(ended[0].failure.is_none(), "{script}");
        assert_eq!(notes(&vm), "deferred", "{script}");
        assert!(!vm.kill(id).expect("it has ended"), "{script}");
    }
    assert!(waits.borrow().iter().all(|&wait| !wake(&vm, wait)));
    assert!(!vm.kill(TaskletId::default()).expect("nobody has this id"));
}

#[test]
fn a_tasklet_that_yields_all_alone_leaves_the_decision_to_the_host() {
    let vm = vm();
    let id = spawn(&vm, "while true do scheduler.schedule() note('turn') end");
    let mut slices = 0;
    vm.run_ready(|| {
        slices += 1;
        slices <= 4
    });
    assert_eq!(notes(&vm), "turn turn turn");
    assert_eq!(vm.runnable(), 1);
    assert!(vm.kill(id).expect("it can be killed"));
    frame(&vm);
    assert_eq!(vm.runnable(), 0);
}

#[test]
fn tasklets_inherit_the_owner_of_the_one_that_makes_them() {
    let vm = vm();
    let owner = vm.new_owner();
    let other = vm.new_owner();
    let f = load(
        &vm,
        r##"
        for i = 1, 2 do tasklet(function() tasklet(scheduler.schedule_remove)() scheduler.schedule_remove() end)() end
        local unstarted = tasklet(function() end)
        scheduler.schedule_remove()
        "##,
    );
    let id = vm.spawn(&f, (), owner).expect("a tasklet can be made");
    let stranger =
        vm.spawn(&load(&vm, "scheduler.schedule_remove()"), (), other).expect("a tasklet can be made");
    assert_eq!(vm.owned_by(owner), [id]);
    frame(&vm);
    assert_eq!(vm.owned_by(owner).len(), 5);
    assert_eq!(vm.owned_by(owner)[0], id);
    assert_eq!(vm.owned_by(other), [stranger]);
    assert_eq!(vm.owned_by(Default::default()), []);
    for tasklet in vm.owned_by(owner) {
        assert!(vm.kill(tasklet).expect("it can be killed"));
    }
    frame(&vm);
    assert_eq!(vm.owned_by(owner), []);
    vm.remove_owner(owner);
    assert_eq!(vm.owned_by(owner), []);
    vm.remove_owner(owner);
    assert_eq!(vm.owned_by(other), [stranger]);
}

#[test]
fn a_tasklet_that_is_bound_again_is_its_owners_again() {
    let vm = vm();
    let owner = vm.new_owner();
    let f = load(
        &vm,
        r##"
        local t = tasklet(function() end)()
        scheduler.schedule()
        eq(t.alive, false)
        t:bind(function() scheduler.schedule_remove() end)()
        scheduler.schedule()
        local u = tasklet(function() end):bind(print, {})
        u:bind()
        "##,
    );
    let id = vm.spawn(&f, (), owner).expect("a tasklet can be made");
    frame(&vm);
    let left = vm.owned_by(owner);
    assert_eq!(left.len(), 1);
    assert_ne!(left[0], id);
    assert!(vm.kill(left[0]).expect("it can be killed"));
    frame(&vm);
    assert_eq!(vm.owned_by(owner), []);
}

#[test]
fn the_current_owner_and_tasklet_are_known_to_host_functions() {
    let seen: Rc<RefCell<Vec<_>>> = Default::default();
    let vm = vm();
    let (sink, weak) = (seen.clone(), Rc::downgrade(&vm));
    let who = vm
        .function(c"who", move |call| {
            let vm = weak.upgrade().expect("the VM is alive");
            sink.borrow_mut().push((call.tasklet(), vm.current_owner()));
            Ok(Reply::Boolean(call.is_empty()))
        })
        .expect("a function can be made");
    let owner = vm.new_owner();
    let f = load(&vm, "local who = ... eq(who(), true) scheduler.defer(who) coroutine.wrap(who)()");
    let a = vm.spawn(&f, who.clone(), owner).expect("a tasklet can be made");
    let b = vm.spawn(&f, who, Default::default()).expect("a tasklet can be made");
    frame(&vm);
    assert_eq!(
        *seen.borrow(),
        [
            (a, owner),
            (a, owner),
            (a, owner),
            (b, Default::default()),
            (b, Default::default()),
            (b, Default::default())
        ]
    );
}

#[test]
fn watched_ends_and_all_failures_are_noted_once() {
    let vm = vm();
    let watched = spawn(&vm, "return 1");
    vm.watch(watched);
    spawn(&vm, "return 1");
    let failing = spawn(&vm, "error('x')");
    vm.watch(failing);
    let silent = spawn(&vm, "error('y')");
    let killed = spawn(&vm, "scheduler.getcurrent():kill()");
    vm.watch(killed);
    vm.run_ready(|| true);
    let ended = vm.take_ended();
    let told: Vec<(TaskletId, Option<String>)> =
        ended.into_iter().map(|e| (e.tasklet, e.failure.map(|f| f.message))).collect();
    assert_eq!(
        told,
        [
            (watched, None),
            (failing, Some("test.luau:1: x".into())),
            (silent, Some("test.luau:1: y".into())),
            (killed, None),
        ]
    );
    assert!(vm.take_ended().is_empty());
    vm.watch(watched);
    vm.set_name(watched, "gone");
    assert_eq!(vm.traceback(watched), "");
}

#[test]
fn host_functions_that_call_scripts_that_call_host_functions_end_at_a_limit() {
    let vm = vm();
    let call = vm
        .function(c"call", |call| {
            let f: mlua::Function = call.get(1)?;
            let again: mlua::Function = call.get(1)?;
            Ok(f.call::<mlua::Value>(again).map(Reply::Value)?)
        })
        .expect("a function can be made");
    let f = load(
        &vm,
        r##"
        local call = ...
        eq(call(function() return "x" end), "x")
        local ok, err = pcall(call, function() scheduler.schedule() end)
        eq(ok, false)
        eq(string.find(err.message, "a function that the host calls", 1, true) ~= nil, true)
        local depth = 0
        local function deeper() depth += 1 return call(deeper) end
        eq(pcall(deeper), false)
        eq(depth > 10, true)
        note("on")
        "##,
    );
    vm.spawn(&f, call, Default::default()).expect("a tasklet can be made");
    frame(&vm);
    assert_eq!(notes(&vm), "on");
}

#[test]
fn functions_kept_and_called_by_the_host_run_outside_of_any_tasklet() {
    let vm = vm();
    let f = load(
        &vm,
        r##"
        local c = ...
        refused("boundary", {}, c.receive, c)
        refused("boundary", {}, scheduler.schedule)
        refused("boundary", {}, scheduler.run)
        local t = tasklet(function() note("made") end)()
        return t.alive
        "##,
    );
    let (_, handle) = vm.new_inbox(1).expect("an inbox can be made");
    let c = vm.kept(&handle).expect("the handle is kept");
    for _ in 0..2 {
        assert!(f.call::<bool>(c.clone()).expect("it works"));
        let thread = vm.lua().create_thread(f.clone()).expect("a thread can be made");
        assert!(thread.resume::<bool>(c.clone()).expect("it works in a thread of mlua's too"));
        frame(&vm);
        assert_eq!(notes(&vm), "made made");
        // With a frame stopped in the middle.
        spawn(&vm, "");
        spawn(&vm, "");
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 1
        });
        assert!(f.call::<bool>(c.clone()).expect("it works"));
        frame(&vm);
        assert_eq!(notes(&vm), "made");
    }
    vm.release(handle);
}
