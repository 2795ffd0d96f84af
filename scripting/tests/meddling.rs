//! Code of anybody's that runs in the middle of a switch, and changes who waits for what: callbacks, conversions, what the
//! host is asked between two slices.

mod script;

use bluetick_scripting::{Channel, Error, ErrorKind, Reply, Scheduler, TaskletId, Vm, VmConfig};
use mlua::{FromLua, IntoLua, Lua, Value};
use script::clock::Clock;
use script::{load, notes, run, run_in, spawn, vm, vm_with};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

#[test]
fn what_the_schedule_callback_throws_at_the_next_one_is_raised() {
    for (wait, wake) in [("c:receive()", "c.preference = 1 c:send('value')"), ("scheduler.schedule()", "")] {
        run(&format!(
            r#"
            local c = channel()
            local t = tasklet(function() note(pcall(function() return {wait} end)) end)()
            scheduler.schedule()
            local done = false
            scheduler.set_schedule_callback(function(_, next)
                if next == t and not done then done = true next:throw("boom", true) end
            end)
            {wake}
            scheduler.run()
            scheduler.set_schedule_callback()
            eq(notes(), "false:boom")
            local victim = tasklet(function() scheduler.schedule() note("survived") end)()
            scheduler.schedule()
            scheduler.set_schedule_callback(function(_, next) if next == victim then next:kill(true) end end)
            scheduler.run()
            scheduler.set_schedule_callback()
            eq(notes(), "")
            "#
        ));
    }
}

#[test]
fn whom_the_host_kills_when_it_is_asked_for_another_slice_ends() {
    let vm = vm();
    let victim = spawn(&vm, "scheduler.schedule() note('survived')");
    spawn(&vm, "scheduler.schedule()");
    let mut asked = 0;
    vm.run_ready(|| {
        asked += 1;
        if asked == 3 {
            assert!(vm.kill(victim).unwrap());
        }
        true
    });
    assert_eq!(notes(&vm), "");
    assert!(vm.scheduler().tasklet_of(victim).is_none_or(|tasklet| !tasklet.alive()));
}

thread_local! {
    static MEDDLES: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

fn meddle(f: impl FnOnce() + 'static) {
    MEDDLES.set(Some(Box::new(f)));
}

/// A number whose conversion does whatever it was told.
struct Meddler(f64);

impl FromLua for Meddler {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        if let Some(f) = MEDDLES.take() {
            f();
        }
        Ok(Self(f64::from_lua(value, lua)?))
    }
}

impl IntoLua for Meddler {
    fn into_lua(self, _: &Lua) -> mlua::Result<Value> {
        if let Some(f) = MEDDLES.take() {
            f();
        }
        Ok(Value::Number(self.0))
    }
}

/// The channel is one on which nobody waits, and it works.
fn check(vm: &Rc<Vm>, channel: &Channel<Meddler>) {
    assert_eq!(channel.balance(), 0);
    assert!(channel.queue().is_none());
    let got = Rc::new(Cell::new(0.0));
    let (inbox, seen) = (channel.clone(), got.clone());
    let receive = move || -> Result<(), Error> {
        seen.set(inbox.receive()?.0);
        Ok(())
    };
    vm.scheduler().spawn(receive).unwrap();
    let sender = load(vm, "local c = ... c:send(5)");
    vm.spawn(&sender, channel.clone(), Default::default()).unwrap();
    vm.run_ready(|| true);
    assert_eq!((got.get(), channel.balance()), (5.0, 0));
}

#[test]
fn a_conversion_may_kill_the_rust_tasklet_that_it_is_for() {
    for waits_to_send in [false, true] {
        let vm = vm();
        let channel: Channel<Meddler> = vm.scheduler().channel();
        let end = channel.clone();
        let body = move || -> Result<(), Error> {
            match waits_to_send {
                true => end.send(Meddler(1.0)),
                false => end.receive().map(drop),
            }
        };
        let partner = vm.scheduler().spawn(body).unwrap();
        vm.run_ready(|| true);
        let verb = if waits_to_send { "local c = ... note(c:receive())" } else { "local c = ... c:send(1)" };
        vm.spawn(&load(&vm, verb), channel.clone(), Default::default()).unwrap();
        let victim = partner.clone();
        meddle(move || victim.kill_pending().unwrap());
        vm.run_ready(|| true);
        assert!(!partner.alive());
        check(&vm, &channel);
    }
}

#[test]
fn a_conversion_may_kill_the_script_that_it_is_for() {
    for (waits, rust_sends) in [
        ("note(pcall(c.receive, c))", true),
        ("note(pcall(uthread.select, { c, channel() }))", true),
        ("c:send(1) note('sent')", false),
    ] {
        let vm = vm();
        let channel: Channel<Meddler> = vm.scheduler().channel();
        let script = load(&vm, &format!("local c = ... {waits} note('survived')"));
        let victim = vm.spawn(&script, channel.clone(), Default::default()).unwrap();
        vm.run_ready(|| true);
        assert_eq!(channel.balance(), if rust_sends { -1 } else { 1 });
        let killer = vm.clone();
        meddle(move || assert!(killer.kill(victim).unwrap()));
        let end = channel.clone();
        let act = move || -> Result<(), Error> {
            match rust_sends {
                true => end.send(Meddler(1.0)),
                false => end.receive().map(drop),
            }
        };
        vm.scheduler().spawn(act).unwrap();
        vm.run_ready(|| true);
        assert_eq!(notes(&vm), "", "{waits}");
        check(&vm, &channel);
    }
}

#[test]
fn a_conversion_may_serve_the_partner_itself() {
    let vm = vm();
    let channel: Channel<Meddler> = vm.scheduler().channel();
    let inbox = channel.clone();
    vm.scheduler().spawn(move || inbox.receive().map(drop)).unwrap();
    vm.run_ready(|| true);
    let quick = channel.clone();
    meddle(move || quick.send(Meddler(7.0)).unwrap());
    let sender = load(&vm, "local c = ... pcall(c.send, c, 1)");
    vm.spawn(&sender, channel.clone(), Default::default()).unwrap();
    vm.run_ready(|| true);
    check(&vm, &channel);
}

#[test]
fn a_host_that_ends_tasklets_from_inside_of_one_is_refused() {
    let victim: Rc<Cell<Option<TaskletId>>> = Rc::default();
    let (whom, handle): (_, Rc<RefCell<Option<Rc<Vm>>>>) = (victim.clone(), Rc::default());
    let holder = handle.clone();
    let vm = vm_with(VmConfig::default(), move |vm| {
        let finish = vm.lua().create_function(move |_, ()| {
            let vm = holder.borrow().clone().expect("the VM");
            let error = vm.end(&[whom.get().expect("somebody")]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Current);
            Ok(())
        });
        vm.lua().globals().raw_set("finish", finish.unwrap()).unwrap();
    });
    *handle.borrow_mut() = Some(vm.clone());
    victim.set(Some(spawn(&vm, "pcall(function() channel():receive() end) note('ended')")));
    vm.run_ready(|| true);
    spawn(
        &vm,
        "scheduler.defer(function() finish() note('deferred') end) finish() scheduler.schedule() note('over')",
    );
    spawn(&vm, "note('other')");
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "other over deferred");
    assert_eq!(vm.end(&[victim.get().unwrap()]).unwrap(), 1);
    run_in(&vm, "note('alive') eq(notes(), 'alive')");
    handle.take();
}

#[test]
fn tasklets_of_a_vm_that_is_gone_take_no_errors() {
    let vm = vm();
    let scheduler = vm.scheduler();
    let id = spawn(&vm, "channel():receive()");
    vm.run_ready(|| true);
    let waiting = scheduler.tasklet_of(id).unwrap();
    drop(vm);
    assert_eq!(waiting.kill_pending().unwrap_err().kind, ErrorKind::Dead);
    assert_eq!(waiting.throw_pending(Error::new(ErrorKind::Raised, "x")).unwrap_err().kind, ErrorKind::Dead);
}

#[test]
fn a_tasklet_that_drops_the_last_handle_of_its_vm_goes_on_without_it() {
    let vm = vm();
    let scheduler = vm.scheduler();
    let (inner, seen) = (scheduler.clone(), Rc::new(Cell::new(None)));
    let noted = seen.clone();
    scheduler
        .spawn(move || {
            drop(vm);
            noted.set(Some(inner.schedule().is_ok()));
        })
        .unwrap();
    let _ = scheduler.run();
    assert_eq!(seen.get(), Some(true));
}

/// A VM whose scripts can call `go`, which lets all others run.
fn going_vm(waits: bool) -> Rc<Vm> {
    vm_with(VmConfig::default(), |vm| {
        let scheduler = vm.scheduler();
        let go = match waits {
            true => vm.blocking_function(c"go", |scheduler: &Scheduler, ()| scheduler.run()),
            false => Ok(vm
                .lua()
                .create_function(move |_, ()| scheduler.run().map_err(mlua::Error::external))
                .unwrap()),
        };
        vm.lua().globals().raw_set("go", go.unwrap()).unwrap();
    })
}

#[test]
fn a_script_that_the_host_calls_runs_no_tasklets_inside_of_its_coroutines_or_on_a_rust_stack() {
    for (waits, script) in
        [(false, "local ok = coroutine.wrap(pcall)(go) note(ok)"), (true, "local ok = pcall(go) note(ok)")]
    {
        let vm = going_vm(waits);
        spawn(&vm, "coroutine.wrap(function() scheduler.schedule() note('in') end)() note('out')");
        spawn(&vm, "scheduler.schedule() note('other')");
        let script = load(&vm, script);
        vm.scheduler().call::<()>(&script, ()).unwrap();
        assert_eq!(notes(&vm), "false");
        vm.scheduler().run().unwrap();
        assert_eq!(notes(&vm), "in out other");
    }
}

#[test]
fn no_error_is_lost_when_one_who_runs_the_others_is_killed() {
    for (killed, error) in (3..12).flat_map(|killed| (1..12).map(move |error| (killed, error))) {
        let vm = vm();
        let scheduler = vm.scheduler();
        let run = || {
            let inner = vm.scheduler();
            scheduler.spawn(move || inner.run()).unwrap()
        };
        // One inside of the other, and the outer one goes first.
        let (outer, inner) = (run(), run());
        spawn(&vm, &format!("for _ = 1, {error} do scheduler.schedule() end error('mine')"));
        spawn(&vm, "for _ = 1, 20 do scheduler.schedule() end note('over')");
        let mut turns = 0;
        vm.run_ready(|| {
            turns += 1;
            // Else it has got the error of the inner one, and would end with what came last.
            if turns == killed && inner.alive() {
                outer.kill_pending().unwrap();
            }
            true
        });
        assert!(!outer.alive() && !inner.alive());
        // It has ended the one who has got it, if somebody has.
        let failures: Vec<_> = vm.take_ended().into_iter().filter_map(|ended| ended.failure).collect();
        assert_eq!((failures.len(), notes(&vm).as_str()), (1, "over"), "killed {killed}, error {error}");
        assert!(failures[0].message.contains("mine"), "{}", failures[0].message);
    }
}

#[test]
fn one_who_runs_the_others_gets_their_errors_in_the_next_round_too() {
    let vm = vm();
    let (scheduler, got) = (vm.scheduler(), Rc::new(Cell::new(false)));
    let seen = got.clone();
    let inner = scheduler.clone();
    scheduler.spawn(move || seen.set(inner.run().is_err())).unwrap();
    spawn(&vm, "for _ = 1, 3 do scheduler.schedule() end error('mine')");
    spawn(&vm, "for _ = 1, 9 do scheduler.schedule() end");
    let mut turns = 0;
    vm.run_ready(|| {
        turns += 1;
        turns < 4
    });
    vm.run_ready(|| true);
    assert!(got.get());
    assert!(vm.take_ended().iter().all(|ended| ended.failure.is_none()));
}

#[test]
fn the_host_is_asked_whether_one_goes_on_who_is_alone_while_somebody_runs_it() {
    for rust in [false, true] {
        let vm = vm();
        let scheduler = vm.scheduler();
        let inner = scheduler.clone();
        scheduler.spawn(move || inner.run()).unwrap();
        if rust {
            let inner = scheduler.clone();
            let body = move || -> Result<(), Error> {
                for _ in 0..1000 {
                    inner.schedule()?;
                }
                Ok(())
            };
            scheduler.spawn(body).unwrap();
        } else {
            spawn(&vm, "for _ = 1, 1000 do scheduler.schedule() end");
        }
        let mut turns = 0;
        vm.run_ready(|| {
            turns += 1;
            turns < 10
        });
        assert_eq!(turns, 10);
    }
}

#[test]
fn a_host_may_ask_between_two_slices_who_runs() {
    let vm = vm();
    let scheduler = vm.scheduler();
    scheduler.spawn(|| ()).unwrap();
    spawn(&vm, "note('gone')");
    let mut alive = 0;
    vm.run_ready(|| {
        alive += u32::from(scheduler.current().alive());
        true
    });
    assert!(alive > 0);
}

#[test]
fn an_exit_that_a_body_has_stopped_is_not_the_one_that_it_ends_with_later() {
    type Body = fn(&Scheduler) -> Result<(), Error>;
    let bodies: [(Body, &str); 5] = [
        // Its own: the tasklet ends.
        (
            |scheduler| {
                let _ = catch_unwind(AssertUnwindSafe(|| scheduler.schedule_remove()));
                scheduler.schedule()?;
                Err(Error::exit())
            },
            "",
        ),
        (
            |scheduler| {
                let _ = catch_unwind(AssertUnwindSafe(|| scheduler.schedule_remove()));
                Err(Error::exit())
            },
            "",
        ),
        (
            |scheduler| {
                let _ = scheduler.pcall(|| scheduler.schedule_remove());
                scheduler.current().kill()
            },
            "",
        ),
        // That of the limit, which it lets pass after a while.
        (
            |scheduler| {
                let exit = scheduler.pcall(|| scheduler.schedule_remove());
                scheduler.schedule()?;
                exit
            },
            "timeout",
        ),
        (
            |scheduler| {
                let exit = catch_unwind(AssertUnwindSafe(|| scheduler.schedule_remove()));
                scheduler.schedule()?;
                exit.unwrap_or_else(|exit| resume_unwind(exit))
            },
            "timeout",
        ),
    ];
    for (number, (body, outcome)) in bodies.into_iter().enumerate() {
        let clock = Clock::default();
        let vm = vm_with(VmConfig::default(), |vm| clock.install(vm));
        let (uthread, said) = (vm.uthread().unwrap(), Rc::new(RefCell::new(String::new())));
        let (scheduler, saying) = (vm.scheduler(), said.clone());
        let limited = move || -> Result<(), Error> {
            let result = uthread.timeout(Some(Duration::from_millis(250)), move || body(&scheduler));
            *saying.borrow_mut() = result.map_or_else(|error| error.kind.to_string(), |()| "none".into());
            Ok(())
        };
        let tasklet = vm.scheduler().spawn(limited).unwrap();
        spawn(&vm, "for _ = 1, 50 do scheduler.schedule() end");
        for _ in 0..3 {
            vm.run_ready(|| true);
            clock.tick(&vm);
        }
        assert_eq!((said.take().as_str(), tasklet.alive()), (outcome, false), "body {number}");
    }
}

#[test]
fn values_that_can_not_be_converted_leave_nothing_behind() {
    let vm = vm_with(VmConfig::default(), |vm| {
        let number = vm.function(c"number", |call| call.get::<u8>(1).map(|_| Reply::Nothing)).unwrap();
        vm.lua().globals().raw_set("number", number).unwrap();
    });
    // SAFETY: the state is alive.
    let height = || vm.lua().exec_raw_lua(|raw| unsafe { bluetick_scripting::raw::lua_gettop(raw.state()) });
    let before = height();
    let channel: Channel<u8> = vm.scheduler().channel();
    let inbox = channel.clone();
    vm.scheduler().spawn(move || inbox.receive().map(drop)).unwrap();
    let script = load(
        &vm,
        "local c = ... for _ = 1, 100 do note(pcall(c.send, c, 'text') or pcall(number, 'text')) end",
    );
    vm.spawn(&script, channel.clone(), Default::default()).unwrap();
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), ["false"; 100].join(" "));
    assert_eq!(height(), before);
    assert_eq!(channel.balance(), -1);
}

#[test]
fn a_body_does_not_wait_inside_of_a_call_that_it_has_made_with_mlua() {
    let vm = vm_with(VmConfig::default(), |vm| {
        let scheduler = vm.scheduler();
        let wait = vm
            .lua()
            .create_function(move |_, ()| Ok(scheduler.schedule().map_err(|error| error.kind) == Ok(())));
        vm.lua().globals().raw_set("wait", wait.unwrap()).unwrap();
    });
    let said: Rc<RefCell<Vec<bool>>> = Rc::default();
    for _ in 0..2 {
        let (script, scheduler, saying) = (load(&vm, "return wait()"), vm.scheduler(), said.clone());
        let body = move || -> Result<(), Error> {
            for _ in 0..2 {
                saying.borrow_mut().push(script.call(()).unwrap());
                scheduler.schedule()?;
            }
            Ok(())
        };
        vm.scheduler().spawn(body).unwrap();
    }
    spawn(&vm, "for _ = 1, 9 do scheduler.schedule() end note('over')");
    vm.run_ready(|| true);
    assert_eq!((said.take(), notes(&vm).as_str()), (vec![false; 4], "over"));
}
