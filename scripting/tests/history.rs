//! Bugs that Stackless, Carbon or PyPy once had (`semantics.md` 8), each in Luau and in Rust where it applies.
//! The words of each trace are those of `semantics.md`. Those of a host's clock are in `tests/tests/history.rs`.

mod script;

use bluetick_scripting::{Channel, Error, ErrorKind, Reply, Scheduler, Tasklet, Vm, VmConfig, Wait};
use script::{run, run_in, vm, vm_with};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What Rust bodies have: the scheduler, and what they have said, in order.
#[derive(Clone)]
struct Stage {
    scheduler: Scheduler,
    said: Rc<RefCell<Vec<String>>>,
    /// Kept by the test's own stage alone.
    vm: Option<Rc<Vm>>,
}

impl Stage {
    fn new() -> Self {
        let vm = Vm::new(VmConfig::default()).unwrap();
        Self { scheduler: vm.scheduler(), said: Rc::default(), vm: Some(vm) }
    }

    fn say(&self, word: impl ToString) {
        self.said.borrow_mut().push(word.to_string());
    }

    /// What was said since the last time.
    fn said(&self) -> String {
        self.said.take().join(" ")
    }

    /// A runnable tasklet; its body gets the stage.
    fn spawn(&self, f: impl FnOnce(&Self) -> Result<(), Error> + 'static) -> Tasklet {
        let stage = Self { vm: None, ..self.clone() };
        self.scheduler.spawn(move || f(&stage)).unwrap()
    }

    fn run(&self) {
        assert!(self.vm.is_some(), "bodies run others by themselves");
        self.scheduler.run().unwrap();
    }
}

/// A place for a tasklet that others are to find.
fn place() -> Rc<RefCell<Option<Tasklet>>> {
    Rc::default()
}

fn at(place: &Rc<RefCell<Option<Tasklet>>>) -> Tasklet {
    place.borrow().clone().expect("the tasklet was put there")
}

/// A VM whose scripts can wait for the host with `park()`, and the waits.
fn parking_vm() -> (Rc<Vm>, Rc<RefCell<Vec<Wait>>>) {
    let waits: Rc<RefCell<Vec<Wait>>> = Rc::default();
    let list = waits.clone();
    let vm = vm_with(VmConfig::default(), |vm| {
        let park = vm.function(c"park", move |call| {
            let wait = call.park("park")?;
            list.borrow_mut().push(wait);
            Ok(Reply::Parked(wait))
        });
        vm.lua().globals().set("park", park.unwrap()).unwrap();
    });
    (vm, waits)
}

#[test]
fn s8_01_sleeping_beauty() {
    let (vm, waits) = parking_vm();
    let sleeper = script::load(&vm, "park() note('up')");
    for _ in 0..3000 {
        let killed = vm.spawn(&sleeper, (), Default::default()).unwrap();
        script::frame(&vm);
        assert!(vm.kill(killed).unwrap());
        // A new one, in the same turn in which the killed one's wait is cleaned up.
        vm.spawn(&sleeper, (), Default::default()).unwrap();
        script::frame(&vm);
    }
    assert_eq!(vm.parked(), 3000);
    let woken = waits.take().into_iter().filter(|wait| vm.wake(wait.tasklet, wait.parking)).count();
    assert_eq!(woken, 3000);
    script::frame(&vm);
    assert_eq!((vm.parked(), script::notes(&vm).split(' ').count()), (0, 3000));
}

#[test]
fn s8_02_what_is_keyed_by_an_address_is_found_by_a_newcomer() {
    let (vm, waits) = parking_vm();
    let sleeper = script::load(&vm, "park()");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let id = vm.spawn(&sleeper, (), Default::default()).unwrap();
        script::frame(&vm);
        assert!(seen.insert(id), "a tasklet's id was used again");
        let wait = waits.borrow_mut().pop().unwrap();
        assert!(vm.wake(wait.tasklet, wait.parking));
        script::frame(&vm);
        assert!(!vm.wake(wait.tasklet, wait.parking) && !vm.is_waiting(wait));
    }
    let scheduler = vm.scheduler();
    let ids: std::collections::HashSet<_> = (0..1000).map(|_| scheduler.channel::<u8>().id()).collect();
    assert_eq!(ids.len(), 1000);
}

#[test]
fn s8_03_a_kill_takes_the_waiter_out_of_the_channel() {
    run(r#"
        local c = channel()
        local t = tasklet(function() c:receive() end)()
        scheduler.run()
        t:kill()
        eq(c.balance, 0) eq(c.queue, nil) eq(t.alive, false)
        refused("deadlock", {}, function() c:send(1) end)
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<u8>();
    let inbox = c.clone();
    let t = stage.spawn(move |_| inbox.receive().map(drop));
    stage.run();
    t.kill().unwrap();
    assert!(c.balance() == 0 && c.queue().is_none() && !t.alive());
    assert_eq!(c.send(1).unwrap_err().kind, ErrorKind::Deadlock);
}

#[test]
fn s8_04_a_pending_throw_unlinks_at_once_and_no_send_is_swallowed() {
    run(r#"
        local c = channel()
        local v = tasklet(function() local ok, err = pcall(c.receive, c) note(err.kind) end)()
        scheduler.run()
        v:throw({ kind = "thrown" }, true)
        eq(c.balance, 0)
        tasklet(function() c:send(7) note("sent") end)()
        scheduler.run()
        eq(c.balance, 1) eq(notes(), "thrown") eq(c:receive(), 7)
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<u8>();
    let inbox = c.clone();
    let v = stage.spawn(move |stage| {
        stage.say(inbox.receive().unwrap_err().kind);
        Ok(())
    });
    stage.run();
    v.throw_pending(Error::new(ErrorKind::Gone, "thrown")).unwrap();
    assert_eq!(c.balance(), 0);
    let outbox = c.clone();
    stage.spawn(move |_| outbox.send(7));
    stage.run();
    assert_eq!((c.balance(), stage.said().as_str(), c.receive().unwrap()), (1, "gone", 7));
}

#[test]
fn s8_05_every_pending_kill_is_delivered_however_many_were_caught() {
    run(r#"
        local v = tasklet(function()
            for i = 1, 3 do
                local ok, err = scheduler.pcall(scheduler.schedule_remove)
                note("TE" .. i)
            end
        end)()
        scheduler.run()
        for i = 1, 3 do eq(v.alive, true) v:kill(true) scheduler.run() end
        eq(notes(), "TE1 TE2 TE3") eq(v.alive, false)
    "#);
    let stage = Stage::new();
    let v = stage.spawn(|stage| {
        for i in 1..=3 {
            let exit = stage.scheduler.pcall(|| stage.scheduler.schedule_remove()).unwrap_err();
            assert_eq!(exit.kind, ErrorKind::Exit);
            stage.say(format!("TE{i}"));
        }
        Ok(())
    });
    stage.run();
    for _ in 0..3 {
        assert!(v.alive());
        v.kill_pending().unwrap();
        stage.run();
    }
    assert_eq!((stage.said().as_str(), v.alive()), ("TE1 TE2 TE3", false));
}

#[test]
fn s8_06_a_child_outlives_the_parent_that_has_run_it() {
    run(r#"
        local c = channel()
        tasklet(function()
            tasklet(function() note("n2" .. c:receive()) note("n2" .. c:receive()) end):bind(nil, {}):run()
            note("n1-end")
        end)()
        scheduler.run()
        c:send("a") c:send("b")
        eq(notes(), "n1-end n2a n2b")
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<&str>();
    let inbox = c.clone();
    stage.spawn(move |stage| {
        let child = stage.spawn(move |stage| {
            for _ in 0..2 {
                let word = inbox.receive()?;
                stage.say(format!("n2{word}"));
            }
            Ok(())
        });
        child.run()?;
        stage.say("n1-end");
        Ok(())
    });
    stage.run();
    c.send("a").unwrap();
    c.send("b").unwrap();
    assert_eq!(stage.said(), "n1-end n2a n2b");
}

#[test]
fn s8_07_mutual_kill() {
    run(r#"
        local c, a, b = channel(), nil, nil
        a = tasklet(function()
            scheduler.pcall(c.receive, c)
            note("a") b:kill() note("a1")
        end)()
        b = tasklet(function()
            scheduler.pcall(c.receive, c)
            note("b") a:kill() note("ok") note("b1")
        end)()
        scheduler.run()
        a:kill()
        scheduler.run()
        eq(notes(), "a b ok b1") eq(a.alive, false) eq(b.alive, false) eq(c.balance, 0)
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<()>();
    let (a, b) = (place(), place());
    let (inbox, other) = (c.clone(), b.clone());
    *a.borrow_mut() = Some(stage.spawn(move |stage| {
        let _ = stage.scheduler.pcall(|| inbox.receive());
        stage.say("a");
        at(&other).kill()?;
        stage.say("a1");
        Ok(())
    }));
    let (inbox, other) = (c.clone(), a.clone());
    *b.borrow_mut() = Some(stage.spawn(move |stage| {
        let _ = stage.scheduler.pcall(|| inbox.receive());
        stage.say("b");
        at(&other).kill()?;
        stage.say("ok");
        stage.say("b1");
        Ok(())
    }));
    stage.run();
    at(&a).kill().unwrap();
    stage.run();
    assert_eq!(stage.said(), "a b ok b1");
    assert!(!at(&a).alive() && !at(&b).alive() && c.balance() == 0);
    drop((a.take(), b.take()));
}

#[test]
fn s8_08_a_child_kills_the_parent_that_is_killing_it() {
    run(r#"
        local c, parent, child = channel(), nil, nil
        child = tasklet(function()
            local ok = scheduler.pcall(c.receive, c)
            note("cTE") parent:kill() note("c1")
        end)()
        parent = tasklet(function()
            local ok = scheduler.pcall(child.kill, child)
            if not ok then note("pTE") end
        end)()
        scheduler.run()
        scheduler.run()
        eq(notes(), "cTE pTE c1") eq(parent.alive, false) eq(child.alive, false)
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<()>();
    let (parent, child) = (place(), place());
    let other = parent.clone();
    *child.borrow_mut() = Some(stage.spawn(move |stage| {
        let _ = stage.scheduler.pcall(|| c.receive());
        stage.say("cTE");
        at(&other).kill()?;
        stage.say("c1");
        Ok(())
    }));
    let other = child.clone();
    *parent.borrow_mut() = Some(stage.spawn(move |stage| {
        if stage.scheduler.pcall(|| at(&other).kill()).is_err() {
            stage.say("pTE");
        }
        Ok(())
    }));
    stage.run();
    stage.run();
    assert_eq!(stage.said(), "cTE pTE c1");
    assert!(!at(&parent).alive() && !at(&child).alive());
    drop((parent.take(), child.take()));
}

/// `o` runs the others behind it with `first`'s `run`; `meddle` does something in its turn there.
fn nested_run(meddle: impl FnOnce(&Stage, &Tasklet) -> Result<(), Error> + 'static) -> String {
    let stage = Stage::new();
    let first = place();
    let target = first.clone();
    let o = stage.spawn(move |stage| {
        stage.say("o0");
        at(&target).run()?;
        stage.say("o1");
        Ok(())
    });
    let b = place();
    let victim = b.clone();
    *first.borrow_mut() = Some(stage.spawn(move |stage| meddle(stage, &at(&victim))));
    *b.borrow_mut() = Some(stage.spawn(|stage| {
        stage.say("b");
        Ok(())
    }));
    let _ = o;
    stage.run();
    drop((first.take(), b.take()));
    stage.said()
}

#[test]
fn s8_09_a_run_whose_last_one_is_killed_goes_on_to_its_end() {
    run(r#"
        local k, x, b, c
        tasklet(function() note("o0") k:run() note("o1") end)()
        k = tasklet(function() note("k") x:kill() note("k1") end)()
        b = tasklet(function() note("b") end)()
        c = tasklet(function() note("c") end)()
        x = tasklet(function() note("never") end)()
        x:remove()
        scheduler.run()
        eq(notes(), "o0 k k1 b c o1")
    "#);
    let said = nested_run(|stage, b| {
        stage.say("k");
        b.kill()?;
        stage.say("k1");
        Ok(())
    });
    // The victim stands behind the runner, so the runner goes on after it as well.
    assert_eq!(said, "o0 k o1 k1");
}

#[test]
fn s8_10_the_last_one_of_a_run_is_removed_meanwhile() {
    run(r#"
        local rm, z
        tasklet(function() note("o0") rm:run() note("o1") z:insert() end)()
        rm = tasklet(function() note("rm") z:remove() end)()
        tasklet(function() note("b") end)()
        z = tasklet(function() note("z") end)()
        scheduler.run()
        eq(notes(), "o0 rm b o1 z")
    "#);
    assert_eq!(
        nested_run(|stage, b| {
            stage.say("rm");
            b.remove()
        }),
        "o0 rm o1"
    );
}

#[test]
fn s8_11_tasklets_that_are_made_inside_of_a_run_wait_for_their_turn() {
    run(r#"
        local function parent(name)
            return function() note(name) tasklet(function() note(name .. "child") end)() end
        end
        local a
        tasklet(function() note("o0") a:run() note("o1") end)()
        a = tasklet(parent("a"))()
        tasklet(parent("b"))()
        local z = tasklet(function() note("z") end)
        -- z stands before the others in the ring, behind the runner that is last.
        z()
        z:remove()
        tasklet(function() end)()
        scheduler.run()
        eq(notes(), "o0 a b o1 achild bchild")

        tasklet(function() note("o0") scheduler.run() note("o1") end)()
        tasklet(function() note("z") end)()
        tasklet(parent("a"))()
        tasklet(parent("b"))()
        scheduler.run()
        eq(notes(), "o0 z a b achild bchild o1")
    "#);
    let stage = Stage::new();
    stage.spawn(|stage| {
        stage.say("o0");
        stage.scheduler.run()?;
        stage.say("o1");
        Ok(())
    });
    for name in ["z", "a", "b"] {
        stage.spawn(move |stage| {
            stage.say(name);
            if name != "z" {
                stage.spawn(move |stage| {
                    stage.say(format!("{name}child"));
                    Ok(())
                });
            }
            Ok(())
        });
    }
    stage.run();
    assert_eq!(stage.said(), "o0 z a b achild bchild o1");
}

#[test]
fn s8_12_running_main_or_oneself_is_no_crash() {
    run(r#"
        tasklet(function() note("w0") scheduler.getcurrent():run() note("w1") scheduler.getmain():run() note("w2") end)()
        scheduler.run()
        note("|")
        scheduler.getmain():run()
        scheduler.run()
        eq(notes(), "w0 w1 | w2")
    "#);
    let stage = Stage::new();
    stage.spawn(|stage| {
        stage.say("w0");
        stage.scheduler.current().run()?;
        stage.say("w1");
        stage.scheduler.main().run()?;
        stage.say("w2");
        Ok(())
    });
    stage.run();
    stage.say("|");
    stage.scheduler.main().run().unwrap();
    stage.run();
    assert_eq!(stage.said(), "w0 w1 | w2");
}

#[test]
fn s8_13_insert_and_remove_in_odd_states_neither_leak_nor_drop_too_much() {
    let vm = vm();
    run_in(
        &vm,
        r#"
        local c = channel()
        local dead, paused = tasklet(function() end)(), tasklet(function() end):bind(nil, {})
        local waiting = tasklet(function() c:receive() end)()
        scheduler.run()
        for _ = 1, 1000 do
            eq(dead:remove(), dead) eq(paused:remove(), paused)
            refused("dead", {}, dead.insert, dead)
            refused("blocked", {}, waiting.insert, waiting)
            refused("blocked", {}, waiting.remove, waiting)
            paused:insert() paused:insert()
            eq(scheduler.getruncount(), 2)
            paused:remove()
        end
        paused:run() waiting:kill()
        eq(dead.alive or paused.alive or waiting.alive, false)
    "#,
    );
    let stage = Stage::new();
    let c = stage.scheduler.channel::<()>();
    let held = Rc::new(());
    let (kept, inbox) = (held.clone(), c.clone());
    let waiting = stage.spawn(move |_| {
        let _kept = kept;
        inbox.receive()
    });
    let dead = stage.spawn(|_| Ok(()));
    stage.run();
    let kept = held.clone();
    let paused = stage.spawn(move |_| {
        drop(kept);
        Ok(())
    });
    paused.remove().unwrap();
    for _ in 0..1000 {
        dead.remove().unwrap();
        paused.remove().unwrap();
        assert_eq!(dead.insert().unwrap_err().kind, ErrorKind::Dead);
        assert_eq!(waiting.insert().unwrap_err().kind, ErrorKind::Blocked);
        assert_eq!(waiting.remove().unwrap_err().kind, ErrorKind::Blocked);
        paused.insert().unwrap();
        paused.insert().unwrap();
        assert_eq!(stage.scheduler.run_count(), 2);
        paused.remove().unwrap();
    }
    assert_eq!(Rc::strong_count(&held), 3);
    paused.run().unwrap();
    waiting.kill().unwrap();
    assert_eq!(Rc::strong_count(&held), 1);
}

/// Counts how many of it there are.
struct Counted(Rc<Cell<i32>>);

impl Counted {
    fn new(count: &Rc<Cell<i32>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The Luau side is in `stress.rs`: weak references die after the end, the kill, the receive, and more.
#[test]
fn s8_14_arguments_and_values_do_not_leak_through_slots() {
    let stage = Stage::new();
    let count = Rc::new(Cell::new(0));
    let c = stage.scheduler.channel::<Counted>();
    for _ in 0..100 {
        let (left, right) = (c.clone(), c.clone());
        let ball = Counted::new(&count);
        // Ping-pong, and a kill while a value is on its way or waits.
        stage.spawn(move |_| {
            left.send(ball)?;
            let ball = left.receive()?;
            left.send(ball)
        });
        let player = stage.spawn(move |stage| {
            let ball = right.receive()?;
            right.send(ball)?;
            stage.scheduler.schedule()?;
            right.receive().map(drop)
        });
        stage.run();
        player.kill().unwrap();
        assert_eq!((count.get(), c.balance()), (0, 0));
        // Handed over, and then killed before its turn.
        let inbox = c.clone();
        let receiver = stage.spawn(move |_| inbox.receive().map(drop));
        stage.run();
        c.set_preference(1);
        c.send(Counted::new(&count)).unwrap();
        receiver.kill_pending().unwrap();
        stage.run();
        c.set_preference(-1);
        // A sender that is killed.
        let (outbox, value) = (c.clone(), Counted::new(&count));
        let sender = stage.spawn(move |_| outbox.send(value));
        stage.run();
        assert_eq!(count.get(), 1);
        sender.kill().unwrap();
        assert_eq!((count.get(), c.balance()), (0, 0));
    }
}

#[test]
fn s8_15_a_channel_that_only_its_waiter_knows_goes_with_it() {
    let vm = vm();
    run_in(
        &vm,
        r#"
        local waiters = {}
        for i = 1, 100 do
            waiters[i] = tasklet(function() channel():receive() end)()
        end
        scheduler.run()
        for _, t in waiters do eq(t.blocked, true) t:kill() eq(t.alive, false) end
    "#,
    );
    let stage = Stage::new();
    let count = Rc::new(Cell::new(0));
    let waiters: Vec<Tasklet> = (0..100)
        .map(|_| {
            let (c, value) = (stage.scheduler.channel::<Counted>(), Counted::new(&count));
            stage.spawn(move |_| c.send(value))
        })
        .collect();
    stage.run();
    for (ended, waiter) in (1..).zip(&waiters) {
        assert!(waiter.blocked());
        waiter.kill().unwrap();
        assert_eq!(count.get(), 100 - ended);
    }
}

#[test]
fn s8_16_what_fails_is_undone() {
    run(r#"
        local c = channel()
        local t = tasklet(function() note(c:receive()) end)()
        scheduler.run()
        scheduler.switch_trap(1)
        refused("switch_trap", {}, function() c:send("lost") end)
        scheduler.switch_trap(-1)
        eq(c.balance, -1) eq(c.queue, t) eq(t.blocked, true)
        c:close()
        refused("closed", {}, function() c:receive() end)
        eq(c.balance, -1)
        c:send("kept") eq(notes(), "kept")
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<&str>();
    let inbox = c.clone();
    let t = stage.spawn(move |stage| {
        stage.say(inbox.receive()?);
        Ok(())
    });
    stage.run();
    stage.scheduler.switch_trap(1);
    assert_eq!(c.send("lost").unwrap_err().kind, ErrorKind::SwitchTrap);
    stage.scheduler.switch_trap(-1);
    assert!(c.balance() == -1 && c.queue() == Some(t.clone()) && t.blocked());
    c.close();
    assert_eq!(c.receive().unwrap_err().kind, ErrorKind::Closed);
    assert_eq!(c.balance(), -1);
    c.send("kept").unwrap();
    assert_eq!(stage.said(), "kept");
}

#[test]
fn s8_17_flags_after_an_error_for_one_that_never_ran_and_a_pending_kill_of_a_paused_one() {
    run(r#"
        local t = tasklet(function() note("never") end)()
        local ok, err = pcall(t.throw, t, { kind = "thrown" })
        eq(ok, false) eq(err.kind, "thrown") eq(t.alive, false)
        local p = tasklet(function() note("never") end):bind(nil, {})
        eq(p.paused, true)
        p:kill(true)
        eq(p.paused, false) eq(p.scheduled, true)
        scheduler.run()
        eq(p.alive, false) eq(notes(), "")
    "#);
    let stage = Stage::new();
    let t = stage.spawn(|stage| {
        stage.say("never");
        Ok(())
    });
    assert_eq!(t.throw(Error::new(ErrorKind::Gone, "thrown")).unwrap_err().kind, ErrorKind::Gone);
    assert!(!t.alive());
    let p = stage.spawn(|stage| {
        stage.say("never");
        Ok(())
    });
    p.remove().unwrap();
    assert!(p.paused());
    p.kill_pending().unwrap();
    assert!(!p.paused() && p.scheduled());
    stage.run();
    assert_eq!((p.alive(), stage.said().as_str()), (false, ""));
}

#[test]
fn s8_18_one_that_can_not_be_killed_does_not_keep_its_vm() {
    let vm = vm();
    let stubborn = script::load(&vm, "while true do scheduler.pcall(scheduler.schedule_remove) end");
    vm.spawn(&stubborn, (), Default::default()).unwrap();
    let scheduler = vm.scheduler();
    let exits = Rc::new(Cell::new(0));
    let (inner, count) = (scheduler.clone(), exits.clone());
    scheduler
        .spawn(move || -> Result<(), Error> {
            loop {
                let _ = inner.pcall(|| inner.schedule_remove());
                count.set(count.get() + 1);
            }
        })
        .unwrap();
    script::frame(&vm);
    drop((stubborn, vm));
    assert!((1..=20).contains(&exits.get()), "{} exits", exits.get());
}

#[test]
fn s8_19_errors_of_callbacks_do_not_reach_those_that_they_watch() {
    run(r#"
        local c = channel()
        scheduler.set_channel_callback(function() error("from the callback") end)
        scheduler.set_schedule_callback(function() error("from the callback") end)
        tasklet(function() note(c:receive()) end)()
        tasklet(function() c:send("value") note("sent") end)()
        scheduler.run()
        eq(notes(), "value sent") eq(c.balance, 0)
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<&str>();
    stage
        .scheduler
        .set_channel_callback(Some(|_: &Channel<mlua::Value>, _: &Tasklet, _, _| panic!("from the callback")))
        .unwrap();
    stage.scheduler.set_schedule_callback(Some(|_: &Tasklet, _: &Tasklet| panic!("from it"))).unwrap();
    let inbox = c.clone();
    stage.spawn(move |stage| {
        stage.say(inbox.receive()?);
        Ok(())
    });
    let outbox = c.clone();
    stage.spawn(move |stage| {
        outbox.send("value")?;
        stage.say("sent");
        Ok(())
    });
    stage.run();
    assert_eq!((stage.said().as_str(), c.balance()), ("value sent", 0));
}

#[test]
fn s8_21_old_stackless() {
    run(r#"
        local c = channel()
        refused("deadlock", {}, function() c:receive() end)
        refused("deadlock", {}, function() for _ in c do end end)
        c:close()
        refused("closed", {}, function() c:receive() end)
        refused("closed", {}, function() c:send(1) end)
        scheduler.schedule("stale")
        tasklet(function() end)()
        eq(scheduler.run(), nil)
        local t = tasklet(function() end):bind(nil, {})
        eq(t:run(), nil)
        -- Only the queue knows it.
        tasklet(function() note("in") scheduler.schedule_remove() note("never") end)()
        scheduler.run()
        eq(notes(), "in") eq(scheduler.getruncount(), 1)
    "#);
    let stage = Stage::new();
    let c = stage.scheduler.channel::<u8>();
    assert_eq!(c.receive().unwrap_err().kind, ErrorKind::Deadlock);
    assert_eq!(c.next().unwrap_err().kind, ErrorKind::Deadlock);
    c.close();
    assert_eq!(c.receive().unwrap_err().kind, ErrorKind::Closed);
    assert_eq!(c.send(1).unwrap_err().kind, ErrorKind::Closed);
    assert!(c.next().unwrap().is_none());
    stage.scheduler.schedule_with(5.0).unwrap();
    stage.spawn(|_| Ok(()));
    assert_eq!(stage.scheduler.run_limited(Default::default()).unwrap(), None);
    stage.spawn(|stage| {
        stage.say("in");
        stage.scheduler.schedule_remove()?;
        stage.say("never");
        Ok(())
    });
    stage.run();
    assert_eq!((stage.said().as_str(), stage.scheduler.run_count()), ("in", 1));
}

#[test]
fn s8_22_a_kill_runs_what_its_victim_does_at_the_end_inside_of_the_killers_call() {
    run(r#"
        local service = {}
        local v = tasklet(function()
            scheduler.defer(function() note("deferred") end)
            scheduler.pcall(scheduler.schedule_remove)
            note("cleaning") service.victim = nil
            scheduler.schedule()
            note("later")
        end)()
        service.victim = v
        scheduler.run()
        local k = tasklet(function() note("k") service.victim:kill() note("k1", tostring(service.victim)) end)()
        scheduler.run()
        eq(notes(), "k cleaning k1:nil later deferred")
    "#);
    let stage = Stage::new();
    let victim = place();
    let own = victim.clone();
    *victim.borrow_mut() = Some(stage.spawn(move |stage| {
        let words = stage.said.clone();
        stage.scheduler.defer(move || words.borrow_mut().push("deferred".into()));
        let _ = stage.scheduler.pcall(|| stage.scheduler.schedule_remove());
        stage.say("cleaning");
        *own.borrow_mut() = None;
        stage.scheduler.schedule()?;
        stage.say("later");
        Ok(())
    }));
    stage.run();
    stage.spawn(move |stage| {
        stage.say("k");
        at(&victim).kill()?;
        stage.say(format!("k1:{}", victim.borrow().is_some()));
        Ok(())
    });
    stage.run();
    assert_eq!(stage.said(), "k cleaning k1:false later deferred");
}
