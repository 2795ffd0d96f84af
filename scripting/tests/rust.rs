//! Tasklets whose body is Rust.

use bluetick_scripting::{Channel, Error, ErrorKind, Scheduler, Tasklet, Vm, VmConfig};
use std::cell::RefCell;
use std::rc::Rc;

/// What tasklets have said, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn say(&self, word: impl ToString) {
        self.0.borrow_mut().push(word.to_string());
    }

    fn take(&self) -> String {
        self.0.take().join(" ")
    }
}

/// A VM, its scheduler and a log.
fn start() -> (Rc<Vm>, Scheduler, Log) {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let scheduler = vm.scheduler();
    (vm, scheduler, Log::default())
}

#[test]
fn bodies_run_in_the_order_of_their_start() {
    let (_vm, scheduler, log) = start();
    for name in ["a", "b", "c"] {
        let log = log.clone();
        scheduler.spawn(move || log.say(name)).unwrap();
    }
    assert_eq!(scheduler.run_count(), 4);
    scheduler.run().unwrap();
    assert_eq!((log.take().as_str(), scheduler.run_count()), ("a b c", 1));
}

#[test]
fn a_value_moves_from_one_body_to_another() {
    let (_vm, scheduler, log) = start();
    let channel = scheduler.channel::<Box<str>>();
    let (inbox, ears) = (channel.clone(), log.clone());
    scheduler
        .spawn(move || -> Result<(), Error> {
            ears.say(inbox.receive()?);
            ears.say("received");
            Ok(())
        })
        .unwrap();
    let mouth = log.clone();
    scheduler
        .spawn(move || -> Result<(), Error> {
            channel.send("hello".into())?;
            mouth.say("sent");
            Ok(())
        })
        .unwrap();
    scheduler.run().unwrap();
    assert_eq!(log.take(), "hello received sent");
}

#[test]
fn bodies_block_anywhere_in_their_call_tree() {
    fn deep(scheduler: &Scheduler, level: u32) -> Result<u32, Error> {
        scheduler.schedule()?;
        if level == 0 { Ok(0) } else { Ok(deep(scheduler, level - 1)? + 1) }
    }
    let (_vm, scheduler, log) = start();
    for _ in 0..3 {
        let (inner, log) = (scheduler.clone(), log.clone());
        scheduler
            .spawn(move || -> Result<(), Error> {
                log.say(deep(&inner, 100)?);
                Ok(())
            })
            .unwrap();
    }
    scheduler.run().unwrap();
    assert_eq!(log.take(), "100 100 100");
}

/// Says so when it is dropped.
struct Guard(Log, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

#[test]
fn a_kill_unwinds_the_stack_and_then_runs_what_was_deferred() {
    let (_vm, scheduler, log) = start();
    let never = scheduler.channel::<()>();
    let (inner, words, wait) = (scheduler.clone(), log.clone(), never.clone());
    let victim = scheduler
        .spawn(move || -> Result<(), Error> {
            let _outer = Guard(words.clone(), "outer");
            let deferred = words.clone();
            inner.defer(move || deferred.say("deferred"));
            let _inner = Guard(words.clone(), "inner");
            let result = wait.receive();
            words.say(format!("went on with {result:?}"));
            result
        })
        .unwrap();
    scheduler.run().unwrap();
    assert!(victim.blocked());
    assert_eq!(never.balance(), -1);
    victim.kill().unwrap();
    assert_eq!(log.take(), "inner outer deferred");
    assert!(!victim.alive());
    assert_eq!(never.balance(), 0);
}

#[test]
fn pcall_stops_an_exit() {
    let (_vm, scheduler, log) = start();
    let (inner, words) = (scheduler.clone(), log.clone());
    let victim = scheduler
        .spawn(move || -> Result<(), Error> {
            let result = inner.pcall(|| inner.schedule_remove());
            words.say(result.unwrap_err().kind);
            inner.schedule_remove()?;
            words.say("lives");
            Ok(())
        })
        .unwrap();
    scheduler.run().unwrap();
    victim.kill().unwrap();
    assert!(victim.alive() && victim.paused());
    victim.run().unwrap();
    assert_eq!(log.take(), "exit lives");
}

fn something() -> bool {
    std::hint::black_box(false)
}

#[test]
fn a_panic_ends_its_tasklet_as_an_error() {
    let (_vm, scheduler, log) = start();
    let words = log.clone();
    scheduler
        .spawn(move || {
            let _guard = Guard(words, "dropped");
            assert!(something(), "there is nothing");
        })
        .unwrap();
    let words = log.clone();
    scheduler.spawn(move || words.say("other")).unwrap();
    let error = scheduler.run().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Panic);
    assert!(error.message.contains("there is nothing"), "{error}");
    assert_eq!(log.take(), "dropped");
    scheduler.run().unwrap();
    assert_eq!(log.take(), "other");
}

#[derive(Debug, thiserror::Error)]
#[error("the door is locked")]
struct Locked;

#[test]
fn an_error_of_rust_arrives_as_itself_even_through_a_script() {
    let (vm, scheduler, log) = start();
    let fail = vm.blocking_function(c"fail", |_: &Scheduler, (): ()| -> Result<(), Error> {
        Err(Error::raised(Locked))
    });
    vm.lua().globals().set("fail", fail.unwrap()).unwrap();
    let script = vm.load("s.luau", "local ok, err = pcall(fail) assert(not ok and err.kind == 'raised') assert(tostring(err) == 'the door is locked', tostring(err)) error(err)").unwrap();
    let (inner, words) = (scheduler.clone(), log.clone());
    scheduler
        .spawn(move || {
            let error = inner.call::<()>(&script, ()).unwrap_err();
            assert!(error.downcast_ref::<Locked>().is_some(), "{error:?}");
            words.say(error.kind);
        })
        .unwrap();
    scheduler.run().unwrap();
    assert_eq!(log.take(), "raised");
}

#[test]
fn a_script_and_rust_meet_on_a_channel_from_both_ends() {
    let (vm, scheduler, log) = start();
    let numbers = scheduler.channel::<u32>();
    let texts = scheduler.channel::<String>();
    vm.lua().globals().set("numbers", &numbers).unwrap();
    vm.lua().globals().set("texts", texts.clone()).unwrap();
    let script = vm
        .load(
            "s.luau",
            r#"
        for n in numbers do
            texts:send("number " .. n)
        end
        texts:send("end")
    "#,
        )
        .unwrap();
    vm.spawn(&script, (), Default::default()).unwrap();
    scheduler
        .spawn(move || -> Result<(), Error> {
            for n in [1, 2, 3] {
                numbers.send(n)?;
            }
            numbers.send_exception(Error::stop())
        })
        .unwrap();
    let words = log.clone();
    scheduler
        .spawn(move || -> Result<(), Error> {
            while let Some(text) = texts.next()? {
                let end = text == "end";
                words.say(text);
                if end {
                    break;
                }
            }
            Ok(())
        })
        .unwrap();
    scheduler.run().unwrap();
    assert_eq!(log.take(), "number 1 number 2 number 3 end");
}

#[test]
fn a_value_that_cannot_be_converted_is_an_error_of_its_sender_and_the_receiver_goes_on_waiting() {
    for receiver_first in [true, false] {
        let (vm, scheduler, log) = start();
        let numbers = scheduler.channel::<u32>();
        vm.lua().globals().set("numbers", &numbers).unwrap();
        let script = vm
            .load(
                "s.luau",
                r#"
            local ok, err = pcall(function() numbers:send("many") end)
            assert(not ok and err.kind == "type", tostring(err))
            _G.said = tostring(err)
            numbers:send(7)
        "#,
            )
            .unwrap();
        let words = log.clone();
        let receive = move || -> Result<(), Error> {
            words.say(numbers.receive()?);
            Ok(())
        };
        if receiver_first {
            scheduler.spawn(receive).unwrap();
            vm.spawn(&script, (), Default::default()).unwrap();
        } else {
            vm.spawn(&script, (), Default::default()).unwrap();
            scheduler.spawn(receive).unwrap();
        }
        scheduler.run().unwrap();
        assert_eq!(log.take(), "7");
        let said: String = vm.lua().globals().get("said").unwrap();
        assert!(said.contains("u32") && said.contains("string"), "{said}");
    }
}

/// Luau -> Rust -> Luau -> Rust, each of which waits.
fn nested(vm: &Rc<Vm>, scheduler: &Scheduler, log: &Log) -> (Tasklet, Channel<String>) {
    let gate = scheduler.channel::<String>();
    let (wait, words) = (gate.clone(), log.clone());
    let innermost = vm
        .blocking_function(c"innermost", move |_, (): ()| {
            let _guard = Guard(words.clone(), "rust2");
            wait.receive()
        })
        .unwrap();
    vm.lua().globals().set("innermost", innermost).unwrap();
    let middle = vm
        .load(
            "middle.luau",
            r#"
        scheduler.defer(function() say("deferred in middle") end)
        scheduler.schedule()
        local ok, result = pcall(innermost)
        if not ok then
            say("middle caught " .. tostring(result.kind))
            error(result)
        end
        return "middle(" .. result .. ")"
    "#,
        )
        .unwrap();
    let words = log.clone();
    let outer = vm
        .blocking_function(c"outer", move |scheduler: &Scheduler, (): ()| {
            let _guard = Guard(words.clone(), "rust1");
            scheduler.schedule()?;
            let result: String = scheduler.call(&middle, ())?;
            scheduler.schedule()?;
            Ok(format!("rust({result})"))
        })
        .unwrap();
    vm.lua().globals().set("outer", outer).unwrap();
    let words = log.clone();
    let say = vm
        .lua()
        .create_function(move |_, word: String| {
            words.say(word);
            Ok(())
        })
        .unwrap();
    vm.lua().globals().set("say", say).unwrap();
    let script = vm
        .load(
            "script.luau",
            r#"
        scheduler.defer(function() say("deferred in script") end)
        scheduler.schedule()
        local co = coroutine.wrap(function() return outer() end)
        local ok, result = pcall(co)
        say(if ok then "script(" .. result .. ")" else "script caught " .. tostring(result.kind))
    "#,
        )
        .unwrap();
    let id = vm.spawn(&script, (), Default::default()).unwrap();
    scheduler.run().unwrap();
    (scheduler.tasklet_of(id).unwrap(), gate)
}

#[test]
fn calls_nest_three_deep_and_block_on_every_level() {
    let (vm, scheduler, log) = start();
    let (tasklet, gate) = nested(&vm, &scheduler, &log);
    assert!(tasklet.blocked() && !tasklet.restorable());
    gate.send("hello".into()).unwrap();
    scheduler.run().unwrap();
    assert_eq!(log.take(), "rust2 rust1 script(rust(middle(hello))) deferred in middle deferred in script");
    assert!(!tasklet.alive());
}

#[test]
fn a_kill_arrives_at_the_innermost_call_and_passes_every_level() {
    let (vm, scheduler, log) = start();
    let (tasklet, gate) = nested(&vm, &scheduler, &log);
    tasklet.kill().unwrap();
    assert_eq!(log.take(), "rust2 rust1 deferred in middle deferred in script");
    assert!(!tasklet.alive());
    assert_eq!(gate.balance(), 0);
}

#[test]
fn a_thrown_error_arrives_at_the_innermost_call_and_can_be_caught_on_the_way() {
    let (vm, scheduler, log) = start();
    let (tasklet, _gate) = nested(&vm, &scheduler, &log);
    tasklet.throw(Error::new(ErrorKind::Gone, "lost")).unwrap();
    scheduler.run().unwrap();
    assert_eq!(
        log.take(),
        "rust2 middle caught gone rust1 script caught gone deferred in middle deferred in script"
    );
    assert!(!tasklet.alive());
}

#[test]
fn when_the_vm_goes_the_destructors_of_waiting_bodies_run() {
    let (vm, scheduler, log) = start();
    let channel = scheduler.channel::<u8>();
    let (words, wait) = (log.clone(), channel.clone());
    scheduler
        .spawn(move || {
            let _guard = Guard(words, "waiting");
            wait.receive().map(drop)
        })
        .unwrap();
    scheduler.run().unwrap();
    let words = log.clone();
    let guard = Guard(words, "never ran");
    let tasklet = scheduler.spawn(move || drop(guard)).unwrap();
    drop(vm);
    assert_eq!(log.take(), "waiting never ran");
    assert_eq!(scheduler.run().unwrap_err().kind, ErrorKind::Dead);
    assert_eq!(channel.send(1).unwrap_err().kind, ErrorKind::Dead);
    assert!(!tasklet.alive());
}

#[test]
fn a_rust_function_of_the_main_script_waits_like_any_other() {
    let (vm, scheduler, log) = start();
    let run = vm.blocking_function(c"run", |scheduler: &Scheduler, (): ()| scheduler.run());
    vm.lua().globals().set("run", run.unwrap()).unwrap();
    let words = log.clone();
    let say = vm.lua().create_function(move |_, word: String| {
        words.say(word);
        Ok(())
    });
    vm.lua().globals().set("say", say.unwrap()).unwrap();
    let main = vm
        .load(
            "main.luau",
            r#"
        tasklet(function() scheduler.schedule() say("a") scheduler.getmain():run() say("b") end)()
        run()
        say("main")
        run()
    "#,
        )
        .unwrap();
    for _ in 0..2 {
        vm.run_main(&main, ()).unwrap();
        assert_eq!(log.take(), "a main b");
        scheduler.run().unwrap();
    }
}

#[test]
fn the_thread_itself_can_be_stopped_at_again_after_an_error_has_reached_it() {
    let (_vm, scheduler, _log) = start();
    scheduler.spawn(|| Err(Error::new(ErrorKind::Gone, "first"))).unwrap();
    assert_eq!(scheduler.run().unwrap_err().kind, ErrorKind::Gone);
    let inner = scheduler.clone();
    let endless = scheduler.spawn(move || -> Result<(), Error> {
        loop {
            inner.safepoint()?;
        }
    });
    let limit = bluetick_scripting::RunLimit { ticks: 100, ..Default::default() };
    assert_eq!(scheduler.run_limited(limit).unwrap(), Some(endless.unwrap()));
}

#[test]
fn what_the_thread_itself_throws_at_itself_it_gets() {
    let (_vm, scheduler, _log) = start();
    let main = scheduler.main();
    assert_eq!(main.throw(Error::new(ErrorKind::Gone, "mine")).unwrap_err().kind, ErrorKind::Gone);
    assert_eq!(main.throw_pending(Error::stop()).unwrap_err().kind, ErrorKind::Stop);
    assert_eq!(main.kill().unwrap_err().kind, ErrorKind::Exit);
}

#[test]
fn a_channel_that_a_callback_has_seen_still_converts_its_own_type() {
    let (vm, scheduler, log) = start();
    let seen = log.clone();
    scheduler
        .set_channel_callback(Some(move |channel: &Channel<mlua::Value>, _: &Tasklet, _, _| {
            seen.say(channel.balance());
        }))
        .unwrap();
    let numbers = scheduler.channel::<u32>();
    let (inbox, words) = (numbers.clone(), log.clone());
    scheduler.spawn(move || inbox.receive().map(|number| words.say(number))).unwrap();
    scheduler.run().unwrap();
    vm.lua().globals().set("numbers", &numbers).unwrap();
    let script = vm.load("s.luau", "numbers:send(7)").unwrap();
    vm.spawn(&script, (), Default::default()).unwrap();
    scheduler.run().unwrap();
    assert_eq!(log.take(), "0 -1 7");
}

#[test]
fn a_body_waits_for_the_host_until_it_is_woken() {
    let (vm, scheduler, log) = start();
    let waits = Rc::new(RefCell::new(Vec::new()));
    let (inner, words, list) = (scheduler.clone(), log.clone(), waits.clone());
    let tasklet = scheduler
        .spawn(move || -> Result<(), Error> {
            inner.park("rest", |wait| list.borrow_mut().push(wait))?;
            words.say("woken");
            inner.park("rest", |wait| list.borrow_mut().push(wait))
        })
        .unwrap();
    vm.run_ready(|| true);
    assert!(tasklet.blocked() && vm.parked() == 1);
    let wait = waits.borrow_mut().remove(0);
    assert!(vm.wake(wait.tasklet, wait.parking));
    vm.run_ready(|| true);
    assert_eq!(log.take(), "woken");
    assert!(!vm.wake(wait.tasklet, wait.parking), "that wait is over");
    vm.kill(tasklet.id()).unwrap();
    vm.run_ready(|| true);
    assert!(!tasklet.alive() && vm.parked() == 0);
}

#[test]
fn nothing_waits_in_a_section_that_forbids_it() {
    let (_vm, scheduler, log) = start();
    let (inner, words) = (scheduler.clone(), log.clone());
    scheduler
        .spawn(move || -> Result<(), Error> {
            let refused = inner.without_waiting(|| inner.schedule()).unwrap_err();
            words.say(refused.kind);
            inner.schedule()
        })
        .unwrap();
    scheduler.run().unwrap();
    assert_eq!(log.take(), "boundary");
}
