//! The helpers of `uthread` in Rust.

mod script;
use bluetick_scripting::uthread::{Source, Uthread};
use bluetick_scripting::{Error, ErrorKind, OwnerId, Tasklet, Vm, VmConfig};
use script::clock::Clock;
use script::{load, vm_with};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A VM with a clock, and what its tasklets have said.
struct Stage {
    vm: Rc<Vm>,
    clock: Clock,
    uthread: Uthread,
    said: Said,
}

#[derive(Clone, Default)]
struct Said(Rc<RefCell<Vec<String>>>);

impl Said {
    fn say(&self, word: impl ToString) {
        self.0.borrow_mut().push(word.to_string());
    }
}

impl Stage {
    fn new() -> Self {
        let clock = Clock::default();
        let vm = vm_with(VmConfig::default(), |vm| clock.install(vm));
        let uthread = vm.uthread().unwrap();
        Self { vm, clock, uthread, said: Said::default() }
    }

    /// A tasklet, which may not fail.
    fn act(&self, f: impl FnOnce(&Uthread, &Said) -> Result<(), Error> + 'static) -> Tasklet {
        let (uthread, said) = (self.uthread.clone(), self.said.clone());
        self.uthread.new(move || f(&uthread, &said)).unwrap().tasklet().clone()
    }

    /// Runs what is runnable, without any time passing; what was said.
    #[track_caller]
    fn run(&self) -> String {
        self.vm.run_ready(|| true);
        for ended in self.vm.take_ended() {
            if let Some(failure) = ended.failure {
                panic!("{}: {}\n{}", failure.name, failure.message, failure.traceback);
            }
        }
        self.said.0.take().join(" ")
    }

    /// Frames of a quarter of a second; what was said, a `|` between two.
    #[track_caller]
    fn frames(&self, count: usize) -> String {
        let mut said = Vec::new();
        for _ in 0..count {
            said.push(self.run());
            self.clock.tick(&self.vm);
        }
        said.join("|")
    }
}

const QUARTER: Duration = Duration::from_millis(250);

/// Sleeps for so many quarters of a second.
fn sleep(uthread: &Uthread, quarters: u32) -> Result<(), Error> {
    uthread.wait_until(|| Ok(false), Some(QUARTER * quarters)).map(drop)
}

fn kind<T>(result: Result<T, Error>) -> String {
    result.map_or_else(|error| error.kind.to_string(), |_| "none".into())
}

#[test]
fn u1_a_new_tasklet_is_appended_and_can_be_joined_for_what_it_returns() {
    let stage = Stage::new();
    let (said, uthread) = (stage.said.clone(), stage.uthread.clone());
    said.say("m0");
    let words = said.clone();
    let child = stage
        .uthread
        .new(move || {
            words.say("child");
            // What it returns needs not be known to scripts.
            Ok(Rc::new(Cell::new(5)))
        })
        .unwrap();
    said.say("m1");
    stage.act(move |_, said| {
        said.say(child.join()?.get());
        let fails = uthread.new(|| -> Result<(), _> { Err(Error::new(ErrorKind::Gone, "oh no")) })?;
        said.say(fails.join().unwrap_err());
        let killed = uthread.new(|| Ok(()))?;
        killed.tasklet().kill()?;
        said.say(kind(killed.join()));
        said.say(kind(uthread.join(&uthread.scheduler().current())));
        Ok(())
    });
    assert_eq!(stage.run(), "m0 m1 child 5 oh no cancelled current");
}

#[test]
fn an_error_that_nobody_joins_is_reported() {
    let stage = Stage::new();
    stage.uthread.worker(|| -> Result<(), _> { Err(Error::new(ErrorKind::Gone, "oh no")) }).unwrap();
    stage.uthread.pool(|| Err(Error::new(ErrorKind::Gone, "no job"))).unwrap();
    stage.vm.run_ready(|| true);
    let failures: Vec<_> = stage.vm.take_ended().into_iter().filter_map(|ended| ended.failure).collect();
    let messages: Vec<_> = failures.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(messages, ["oh no", "no job"]);
}

#[test]
fn u2_results_of_parallel_are_in_the_order_of_the_calls_and_errors_leave_nobody_behind() {
    let stage = Stage::new();
    stage.act(|uthread, said| {
        let job = |n: u32| {
            let uthread = uthread.clone();
            move || {
                sleep(&uthread, 4 - n)?;
                Ok(n)
            }
        };
        said.say(format!("{:?}", uthread.parallel((1..4).map(job), 2)?));
        said.say(format!("{:?}", uthread.all((1..4).map(job))?));
        struct Cleaned(Said);
        impl Drop for Cleaned {
            fn drop(&mut self) {
                self.0.say("cleaned");
            }
        }
        let (inner, words) = (uthread.clone(), said.clone());
        let waits = move || {
            let _cleaned = Cleaned(words);
            sleep(&inner, 100)
        };
        let inner = uthread.clone();
        let fails = move || {
            sleep(&inner, 1)?;
            Err(Error::new(ErrorKind::Gone, "oh no"))
        };
        type Call = Box<dyn FnOnce() -> Result<(), Error>>;
        let calls: [Call; 2] = [Box::new(waits), Box::new(fails)];
        said.say(uthread.all(calls).unwrap_err());
        said.say(kind(uthread.parallel([|| Ok(())], 0)));
        Ok(())
    });
    assert_eq!(
        stage.frames(12).replace('|', " ").split_whitespace().collect::<Vec<_>>().join(" "),
        "[1, 2, 3] [1, 2, 3] cleaned oh no type"
    );
}

#[test]
fn u3_a_killed_waiter_of_a_semaphore_takes_nothing_with_it() {
    let stage = Stage::new();
    let permits = stage.uthread.semaphore(1, Some(1)).unwrap();
    let job = |name: &'static str| {
        let permits = permits.clone();
        stage.act(move |uthread, said| {
            permits.acquire()?;
            said.say(name);
            uthread.scheduler().schedule_remove()?;
            permits.release()
        })
    };
    let (a, b, c) = (job("a"), job("b"), job("c"));
    assert_eq!(stage.run(), "a");
    b.kill_pending().unwrap();
    assert_eq!(permits.waiting().unwrap(), 1);
    a.insert().unwrap();
    assert_eq!(stage.run(), "c");
    c.insert().unwrap();
    assert_eq!(stage.run(), "");
    assert_eq!(permits.available().unwrap(), 1);
    assert_eq!(kind(permits.release()), "owner");
    assert!(permits.acquire_within(Duration::ZERO).unwrap());
    assert!(!permits.acquire_within(Duration::ZERO).unwrap());
}

#[test]
fn u4_a_lock_of_rust_and_scripts_is_one_lock_and_with_lets_it_go() {
    let stage = Stage::new();
    let lock = stage.uthread.rlock().unwrap();
    let script = stage
        .vm
        .load("holder.luau", "local lock = ... lock:with(function() scheduler.schedule_remove() end)")
        .unwrap();
    let holder = stage.vm.spawn(&script, &lock, OwnerId::default()).unwrap();
    let mine = lock.clone();
    let waiter = stage.act(move |uthread, said| {
        let (inner, scheduler, words) = (mine.clone(), uthread.scheduler().clone(), said.clone());
        mine.with(move || {
            words.say(inner.held()?);
            inner.with(move || scheduler.schedule_remove())
        })
    });
    assert_eq!(stage.run(), "");
    assert!(lock.locked().unwrap());
    stage.vm.kill(holder).unwrap();
    assert_eq!(stage.run(), "true");
    assert_eq!(kind(lock.release()), "owner");
    waiter.kill_pending().unwrap();
    assert_eq!(stage.run(), "");
    assert!(!lock.locked().unwrap());
}

#[test]
fn u5_notify_wakes_the_first_and_they_have_the_lock_again() {
    let stage = Stage::new();
    let condition = stage.uthread.condition().unwrap();
    for n in 1..4 {
        let condition = condition.clone();
        stage.act(move |_, said| {
            condition.acquire()?;
            said.say(format!("{n} {}", condition.wait(None)?));
            condition.release()
        });
    }
    assert_eq!(stage.run(), "");
    let notify = |count| {
        let condition = condition.clone();
        stage.act(move |_, _| {
            let inner = condition.clone();
            condition.with(move || inner.notify(count))
        });
    };
    notify(2);
    assert_eq!(stage.run(), "1 true 2 true");
    notify(5);
    assert_eq!(stage.run(), "3 true");
    let grown = Rc::new(Cell::new(0));
    let (waits, size) = (condition.clone(), grown.clone());
    stage.act(move |_, said| {
        let inner = waits.clone();
        said.say(waits.with(move || inner.wait_for(move || Ok(size.get() > 1), None))?);
        Ok(())
    });
    for expected in ["", "true"] {
        assert_eq!(stage.run(), "");
        grown.set(grown.get() + 1);
        notify(1);
        assert_eq!(stage.run(), expected);
    }
    assert_eq!(kind(condition.notify_all()), "owner");
}

#[test]
fn u6_a_barrier_lets_all_pass_and_breaks_when_one_runs_out_of_time() {
    let stage = Stage::new();
    let words = stage.said.clone();
    let barrier = stage
        .uthread
        .barrier_with(2, None, move || {
            words.say("action");
            Ok(())
        })
        .unwrap();
    let comes = |limit| {
        let barrier = barrier.clone();
        stage.act(move |_, said| {
            said.say(barrier.wait(limit).map_or_else(|error| error.kind.to_string(), |n| n.to_string()));
            Ok(())
        });
    };
    comes(None);
    comes(None);
    assert_eq!(stage.run(), "action 1 0");
    comes(Some(QUARTER));
    assert_eq!(stage.frames(3), "|timeout|");
    assert!(barrier.broken().unwrap());
    comes(None);
    assert_eq!(stage.run(), "broken");
    barrier.reset().unwrap();
    comes(None);
    assert_eq!(stage.run(), "");
    barrier.abort().unwrap();
    assert_eq!(stage.run(), "broken");
}

#[test]
fn u7_events_wake_all_that_wait_in_order() {
    let stage = Stage::new();
    let (dawn, verdict) = (stage.uthread.event().unwrap(), stage.uthread.value_event::<String>().unwrap());
    for n in 1..4 {
        let (dawn, verdict) = (dawn.clone(), verdict.clone());
        stage.act(move |_, said| {
            said.say(format!("{n} {}", dawn.wait(None)?));
            said.say(format!("{n} {}", verdict.wait(None)?));
            Ok(())
        });
    }
    assert_eq!(stage.run(), "");
    dawn.set().unwrap();
    assert_eq!(stage.run(), "1 true 2 true 3 true");
    verdict.set("guilty".into()).unwrap();
    assert_eq!(stage.run(), "1 guilty 2 guilty 3 guilty");
    assert_eq!(kind(verdict.set("not".into())), "set");
    dawn.clear().unwrap();
    assert!(!dawn.is_set().unwrap());
    let failed = stage.uthread.value_event::<u32>().unwrap();
    #[derive(Debug, thiserror::Error)]
    #[error("lost")]
    struct Lost;
    failed.set_error(Error::raised(Lost)).unwrap();
    assert!(failed.is_set().unwrap());
    stage.act(move |_, said| {
        said.say(failed.wait(None).unwrap_err().downcast_ref::<Lost>().is_some());
        said.say(dawn.wait(Some(QUARTER))?);
        Ok(())
    });
    assert_eq!(stage.frames(2), "true|false");
}

#[test]
fn who_waits_for_more_from_a_queue_goes_on_when_it_is_closed_from_either_side() {
    for by_script in [false, true] {
        let stage = Stage::new();
        let queue = stage.uthread.queue_channel::<u32>(None).unwrap();
        let (looping, waiting) = (queue.clone(), queue.clone());
        stage.act(move |_, said| {
            for n in looping.iter() {
                said.say(n?);
            }
            said.say("home");
            Ok(())
        });
        stage.act(move |_, said| {
            said.say(kind(waiting.receive().map(drop)));
            Ok(())
        });
        let script = stage.vm.load("looper.luau", "local q = ... for n in q do end").unwrap();
        stage.vm.spawn(&script, &queue, OwnerId::default()).unwrap();
        assert_eq!(stage.run(), "");
        assert_eq!(queue.balance(), -3);
        if by_script {
            let closer = stage.vm.load("closer.luau", "local q = ... q:close()").unwrap();
            stage.vm.spawn(&closer, &queue, OwnerId::default()).unwrap();
        } else {
            queue.close();
        }
        assert_eq!(stage.run(), "home closed");
        assert!(queue.closed());
    }
}

#[test]
fn u8_u9_a_queue_between_rust_and_scripts_keeps_values_and_errors() {
    let stage = Stage::new();
    let queue = stage.uthread.queue_channel::<u32>(Some(1)).unwrap();
    let sender = queue.clone();
    let sending = stage.act(move |_, said| {
        for n in 1..4 {
            sender.send(n)?;
            said.say(format!("sent {n}"));
        }
        sender.send_exception(Error::new(ErrorKind::Gone, "oh no"))?;
        said.say("sent all");
        sender.send(5)
    });
    assert_eq!(stage.run(), "sent 1");
    assert_eq!(queue.balance(), 2);
    let script = stage
        .vm
        .load("taker.luau", "local q, take = ... take(#q) take(q:receive()) take(q:receive())")
        .unwrap();
    let words = stage.said.clone();
    let take = stage
        .vm
        .lua()
        .create_function(move |_, n: u32| {
            words.say(n);
            Ok(())
        })
        .unwrap();
    stage.vm.spawn(&script, (&queue, take), OwnerId::default()).unwrap();
    assert_eq!(stage.run(), "1 1 2 sent 2 sent 3");
    let receiver = queue.clone();
    stage.act(move |uthread, said| {
        said.say(receiver.receive()?);
        uthread.scheduler().schedule()?;
        said.say(receiver.receive().unwrap_err());
        said.say(format!("{:?}", uthread.receive(&receiver, Some(QUARTER))?));
        said.say(format!("{:?}", uthread.receive(&receiver, Some(QUARTER))?));
        Ok(())
    });
    assert_eq!(stage.frames(2), "3 sent all oh no Some(5)|None");
    assert!(!sending.alive());
    // A receiver that waits gets it at once; one that is killed takes nothing.
    let receiver = queue.clone();
    stage.act(move |_, said| {
        said.say(receiver.receive()?);
        Ok(())
    });
    assert_eq!(stage.run(), "");
    let script = stage.vm.load("giver.luau", "local q = ... q:send(7) q:send(8) q:close()").unwrap();
    stage.vm.spawn(&script, &queue, OwnerId::default()).unwrap();
    assert_eq!(stage.run(), "7");
    assert_eq!(queue.balance(), 1);
    let receiver = queue.clone();
    stage.act(move |_, said| {
        said.say(kind(receiver.send(9)));
        for n in receiver.iter() {
            said.say(n?);
        }
        Ok(())
    });
    assert_eq!(stage.run(), "closed 8");
    assert!(queue.closed());
}

#[test]
fn u10_the_limit_of_the_outer_call_passes_through_the_inner_one_and_through_rust() {
    let stage = Stage::new();
    stage.act(|uthread, said| {
        let (inner, words) = (uthread.clone(), said.clone());
        let outer = uthread.timeout(Some(QUARTER * 2), move || {
            let deep = inner.clone();
            let result = inner.timeout(Some(QUARTER * 20), move || sleep(&deep, 100));
            words.say(format!("never {}", kind(result)));
            Ok(())
        });
        said.say(kind(outer));
        let inner = uthread.clone();
        said.say(uthread.timeout(Some(QUARTER * 9), move || {
            let deep = inner.clone();
            let result = inner.timeout(Some(QUARTER), move || sleep(&deep, 100));
            Ok(format!("inner {}", kind(result)))
        })?);
        said.say(uthread.timeout(None, || Ok("no limit"))?);
        Ok(())
    });
    assert_eq!(stage.frames(4), "||timeout|inner timeout no limit");
    assert_eq!(stage.vm.parked(), 0);
}

#[test]
fn a_limit_of_a_script_reaches_rust_code_that_waits_for_it() {
    let stage = Stage::new();
    let never = stage.vm.scheduler().channel::<u32>();
    let words = stage.said.clone();
    let wait = stage
        .vm
        .blocking_function(c"wait", move |_, ()| {
            struct Unwound(Said);
            impl Drop for Unwound {
                fn drop(&mut self) {
                    self.0.say("unwound");
                }
            }
            let _unwound = Unwound(words.clone());
            never.receive()
        })
        .unwrap();
    let words = stage.said.clone();
    let say = stage
        .vm
        .lua()
        .create_function(move |_, word: String| {
            words.say(word);
            Ok(())
        })
        .unwrap();
    let script = stage.vm.load(
        "limited.luau",
        "local wait, say = ... local ok, err = pcall(uthread.timeout, 0.25, wait) say(err.kind) say('goes on')",
    );
    stage.vm.spawn(&script.unwrap(), (wait, say), OwnerId::default()).unwrap();
    assert_eq!(stage.frames(3), "|unwound timeout goes on|");
}

#[test]
fn u14_a_timeout_and_a_send_in_the_same_frame_have_one_outcome_and_lose_no_value() {
    for preference in [-1, 0, 1] {
        for sender_first in [true, false] {
            let stage = Stage::new();
            let channel = stage.vm.scheduler().channel::<Box<str>>();
            channel.set_preference(preference);
            let send = || {
                let channel = channel.clone();
                stage.act(move |uthread, _| {
                    sleep(uthread, 2)?;
                    channel.send("v".into())
                });
            };
            let receive = || {
                let channel = channel.clone();
                stage.act(move |uthread, said| {
                    said.say(format!("{:?}", uthread.receive(&channel, Some(QUARTER * 2))?));
                    Ok(())
                });
            };
            if sender_first {
                send();
                receive();
            } else {
                receive();
                send();
            }
            let said = stage.frames(5).replace('|', "");
            assert!(matches!(said.as_str(), "None" | "Some(\"v\")"), "{said}");
            assert_eq!(channel.balance(), i64::from(said == "None"), "{said}");
        }
    }
}

#[test]
fn select_waits_for_the_first_of_several() {
    let stage = Stage::new();
    let (numbers, words) =
        (stage.vm.scheduler().channel::<u32>(), stage.uthread.queue_channel::<String>(None).unwrap());
    let (a, b) = (numbers.clone(), words.clone());
    stage.act(move |uthread, said| {
        let sources = [Source::channel(uthread, &a)?, Source::channel(uthread, &b)?, Source::after(QUARTER)];
        for _ in 0..3 {
            let (index, value) = uthread.select(&sources)?;
            said.say(format!("{index}:{}", value.to_string()?));
        }
        let task = uthread.new(|| Ok(()))?;
        let (index, _) = uthread.select(&[sources[0].clone(), Source::tasklet(uthread, task.tasklet())?])?;
        said.say(index);
        said.say(kind(uthread.select(&[])));
        Ok(())
    });
    assert_eq!(stage.run(), "");
    assert_eq!((numbers.balance(), words.balance()), (-1, -1));
    // From the host, which does not wait, and from another tasklet.
    numbers.send(5).unwrap();
    assert_eq!((numbers.balance(), words.balance()), (0, 0));
    assert_eq!(stage.run(), "0:5");
    let b = words.clone();
    stage.act(move |_, _| b.send("w".into()));
    assert_eq!(stage.run(), "1:w");
    assert_eq!(stage.frames(3), "|2:nil 1 type|");
    assert_eq!((numbers.balance(), words.balance()), (0, 0));
}

#[test]
fn races_and_groups_leave_nobody_behind() {
    let stage = Stage::new();
    let alive = Rc::new(Cell::new(0));
    struct Life(Rc<Cell<i32>>);
    impl Life {
        fn begin(count: &Rc<Cell<i32>>) -> Self {
            count.set(count.get() + 1);
            Self(count.clone())
        }
    }
    impl Drop for Life {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let count = alive.clone();
    let act = move |uthread: &Uthread, said: &Said| {
        let sleeper = |quarters: u32| {
            let (uthread, count) = (uthread.clone(), count.clone());
            move || {
                let _life = Life::begin(&count);
                sleep(&uthread, quarters)?;
                Ok(quarters)
            }
        };
        said.say(format!("{:?}", uthread.race([sleeper(9), sleeper(1), sleeper(5)])?));
        said.say(count.get());
        said.say(format!("{:?}", uthread.any([sleeper(9), sleeper(1)])?));
        let (a, b, c) = (sleeper(9), sleeper(1), said.clone());
        let result = uthread.group(move |group| {
            group.new(move || a().map(drop))?;
            group.new(move || {
                b()?;
                Err(Error::new(ErrorKind::Gone, "oh no"))
            })?;
            c.say(group.size()?);
            Ok(())
        });
        said.say(result.unwrap_err());
        said.say(count.get());
        uthread.group({
            let a = sleeper(50);
            move |group| {
                group.new(move || a().map(drop))?;
                Ok(())
            }
        })
    };
    let owner = stage.act(act);
    assert_eq!(stage.frames(6), "|(1, 1) 0|(1, 1) 2|oh no 0||");
    assert_eq!(alive.get(), 1);
    owner.kill_pending().unwrap();
    stage.frames(2);
    assert!(!owner.alive());
    assert_eq!(alive.get(), 0);
    assert_eq!(stage.vm.parked(), 0);
}

/// F10, and 6.1: from scripts to Rust, and back.
#[test]
fn what_a_tasklet_stores_goes_to_those_that_it_makes_but_not_to_workers() {
    let stage = Stage::new();
    stage.act(|uthread, said| {
        let scheduler = uthread.scheduler().clone();
        scheduler.current().storage()?.set("name", "parent")?;
        let (inner, said) = (scheduler.clone(), said.clone());
        let tell = move || -> Result<(), Error> {
            let name: Option<String> = inner.current().storage()?.get("name")?;
            said.say(name.unwrap_or_else(|| "nothing".into()));
            inner.current().storage()?.set("name", "its own")?;
            Ok(())
        };
        let child = uthread.new(tell.clone())?;
        let worker = uthread.worker(tell.clone())?;
        scheduler.current().storage()?.set("name", "changed")?;
        child.join()?;
        worker.join()?;
        uthread.new(tell)?.join()
    });
    assert_eq!(stage.run(), "parent nothing changed");
}

/// A tasklet that Rust takes its function from is over for whoever waits for its end.
#[test]
fn who_joins_a_tasklet_that_is_unbound_by_rust_is_told() {
    let stage = Stage::new();
    let body = load(&stage.vm, "scheduler.schedule_remove()");
    let id = stage.vm.spawn(&body, (), Default::default()).unwrap();
    let tasklet = stage.vm.scheduler().tasklet_of(id).unwrap();
    stage.run();
    let joined = tasklet.clone();
    stage.act(move |uthread, said| {
        said.say(kind(uthread.join(&joined)));
        Ok(())
    });
    assert_eq!(stage.run(), "");
    tasklet.unbind().unwrap();
    assert_eq!(stage.run(), "cancelled");
}

#[test]
fn where_nobody_can_wait_a_wait_is_an_error() {
    let stage = Stage::new();
    let permits = stage.uthread.semaphore(0, None).unwrap();
    assert_eq!(kind(permits.acquire()), "boundary");
    assert_eq!(permits.waiting().unwrap(), 0);
    assert_eq!(kind(stage.uthread.all([|| Ok(())])), "boundary");
    assert_eq!(kind(stage.uthread.timeout(None, || Ok(()))), "none");
}
