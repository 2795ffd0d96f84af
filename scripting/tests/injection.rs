//! Programs of Rust bodies, and of scripts and Rust functions that call each other: kills and errors at every
//! point where one of their tasklets can be suspended, a collection at every switch, and a long run with
//! random kills whose memory stays flat. `stress.rs` has the same for scripts alone.

use bluetick_scripting::{Channel, Error, ErrorKind, Scheduler, Tasklet, Vm};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[derive(Debug, thiserror::Error)]
#[error("injected")]
struct Injected;

/// A value that counts how many of it there are; scripts see its number.
struct Counted(u32, Rc<Cell<i64>>);

thread_local! {
    static COUNT: Rc<Cell<i64>> = Rc::default();
}

impl Counted {
    fn new(number: u32) -> Self {
        let count = COUNT.with(Rc::clone);
        count.set(count.get() + 1);
        Self(number, count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.set(self.1.get() - 1);
    }
}

impl mlua::IntoLua for Counted {
    fn into_lua(self, lua: &mlua::Lua) -> mlua::Result<mlua::Value> {
        self.0.into_lua(lua)
    }
}

impl mlua::FromLua for Counted {
    fn from_lua(value: mlua::Value, lua: &mlua::Lua) -> mlua::Result<Self> {
        u32::from_lua(value, lua).map(Self::new)
    }
}

/// A VM, the channels that its programs use, and the tasklets that they start.
struct Stage {
    vm: Rc<Vm>,
    scheduler: Scheduler,
    a: Channel<Counted>,
    b: Channel<Counted>,
    all: Rc<RefCell<Vec<Tasklet>>>,
}

impl Stage {
    fn new() -> Self {
        let vm = Vm::new(Default::default()).unwrap();
        let scheduler = vm.scheduler();
        let stage =
            Self { a: scheduler.channel(), b: scheduler.channel(), all: Rc::default(), scheduler, vm };
        let globals = stage.vm.lua().globals();
        globals.set("a", &stage.a).unwrap();
        globals.set("b", &stage.b).unwrap();
        let inbox = stage.a.clone();
        let receive = stage.vm.blocking_function(c"receive", move |scheduler: &Scheduler, (): ()| {
            let _local = Counted::new(0);
            scheduler.schedule()?;
            inbox.receive()
        });
        globals.set("receive", receive.unwrap()).unwrap();
        let call = stage.vm.blocking_function(c"call", |scheduler: &Scheduler, f: mlua::Function| {
            let _local = Counted::new(0);
            scheduler.schedule()?;
            let result: Option<u32> = scheduler.call(&f, ())?;
            scheduler.schedule()?;
            Ok(result)
        });
        globals.set("call", call.unwrap()).unwrap();
        stage
    }

    fn rust(&self, f: impl FnOnce(&Scheduler) -> Result<(), Error> + 'static) {
        let (scheduler, local) = (self.scheduler.clone(), Counted::new(0));
        let tasklet = self.scheduler.spawn(move || {
            let _local = local;
            let deferred = Counted::new(0);
            scheduler.defer(move || drop(deferred));
            f(&scheduler)
        });
        self.all.borrow_mut().push(tasklet.unwrap());
    }

    fn luau(&self, text: &str) {
        let f = self.vm.load("program.luau", text).unwrap();
        let id = self.vm.spawn(&f, (), Default::default()).unwrap();
        self.all.borrow_mut().push(self.scheduler.tasklet_of(id).unwrap());
    }
}

type Program = fn(&Stage);

/// They come to rest by themselves, if nobody interferes.
const PROGRAMS: [(&str, Program); 8] = [
    ("ping-pong", |stage| {
        let (a, b) = (stage.a.clone(), stage.b.clone());
        stage.rust(move |_| {
            for number in 0..4 {
                a.send(Counted::new(number))?;
                b.receive()?;
            }
            Ok(())
        });
        let (a, b) = (stage.a.clone(), stage.b.clone());
        stage.rust(move |_| {
            for _ in 0..4 {
                let ball = a.receive()?;
                b.send(ball)?;
            }
            Ok(())
        });
    }),
    ("a script and a body", |stage| {
        let (a, b) = (stage.a.clone(), stage.b.clone());
        stage.rust(move |scheduler| {
            for item in a.iter() {
                scheduler.schedule()?;
                b.send(item?)?;
            }
            Ok(())
        });
        stage.luau("for i = 1, 4 do a:send(i) assert(b:receive() == i) end a:send_exception(scheduler.StopIteration)");
    }),
    ("calls three deep", |stage| {
        stage.luau(
            r#"
            scheduler.defer(function() end)
            for _ = 1, 2 do
                local got = call(function()
                    scheduler.defer(function() end)
                    scheduler.schedule()
                    return call(function() return receive() end)
                end)
                assert(got == 7)
            end
        "#,
        );
        let a = stage.a.clone();
        stage.rust(move |_| (0..2).try_for_each(|_| a.send(Counted::new(7))));
    }),
    ("calls in coroutines and protected calls", |stage| {
        stage.luau(
            r#"
            local co = coroutine.wrap(function()
                for _ = 1, 3 do
                    local ok, got = pcall(receive)
                    coroutine.yield(if ok then got else 0)
                end
                return -1
            end)
            while co() ~= -1 do pcall(call, function() scheduler.schedule() error("own") end) end
        "#,
        );
        let a = stage.a.clone();
        stage.rust(move |_| (0..3).try_for_each(|number| a.send(Counted::new(number))));
    }),
    ("nested runs and children", |stage| {
        let (a, all) = (stage.a.clone(), stage.all.clone());
        stage.rust(move |scheduler| {
            for round in 0..2 {
                let children = (0..2).map(|number| {
                    let (a, local) = (a.clone(), Counted::new(number));
                    scheduler.spawn(move || a.send(local))
                });
                let children = children.collect::<Result<Vec<_>, _>>()?;
                all.borrow_mut().extend(children.iter().cloned());
                scheduler.run()?;
                if round == 0 {
                    children[1].kill()?;
                    a.receive()?;
                } else {
                    a.receive()?;
                    a.receive()?;
                }
            }
            Ok(())
        });
        stage.rust(|scheduler| (0..3).try_for_each(|_| scheduler.schedule()));
    }),
    ("errors and exits are caught", |stage| {
        let a = stage.a.clone();
        stage.rust(move |scheduler| {
            for _ in 0..3 {
                let _ = scheduler.pcall(|| {
                    let _local = Counted::new(0);
                    a.receive()
                });
                scheduler.schedule()?;
            }
            Ok(())
        });
        let a = stage.a.clone();
        stage.rust(move |_| {
            a.send(Counted::new(1))?;
            a.send_exception(Error::raised(Injected))?;
            a.send_sequence([Counted::new(2)]).map(drop)
        });
    }),
    ("values that can't be converted", |stage| {
        let a = stage.a.clone();
        stage.rust(move |_| a.receive().map(drop));
        stage.luau(
            "for _, v in { 'x', -1, {}, 0.5 } do pcall(a.send, a, v) scheduler.schedule() end a:send(1)",
        );
    }),
    ("every preference", |stage| {
        let a = stage.a.clone();
        stage.rust(move |_| {
            for number in 0..6u32 {
                a.set_preference((number % 3) as i8 - 1);
                a.set_schedule_all(number > 3);
                a.send(Counted::new(number))?;
            }
            Ok(())
        });
        stage.luau("for _ = 1, 3 do a:receive() scheduler.schedule() end");
        let a = stage.a.clone();
        stage.rust(move |scheduler| {
            for _ in 0..3 {
                a.receive()?;
                scheduler.schedule()?;
            }
            Ok(())
        });
    }),
];

type Injection = fn(&Tasklet) -> Result<(), Error>;

const INJECTIONS: [(&str, Injection); 7] = [
    ("kill", Tasklet::kill),
    ("kill_pending", Tasklet::kill_pending),
    ("throw", |t| t.throw(Error::raised(Injected))),
    ("throw_pending", |t| t.throw_pending(Error::raised(Injected))),
    ("StopIteration", |t| t.throw(Error::stop())),
    ("kill over throw over kill", |t| {
        t.kill_pending()?;
        t.throw_pending(Error::raised(Injected))?;
        t.kill()
    }),
    ("remove, then kill", |t| {
        let _ = t.remove();
        t.kill()
    }),
];

/// Errors come to the thread one by one.
fn run_all(scheduler: &Scheduler) {
    while scheduler.run().is_err() {}
}

/// Plays a program for some turns, then `inject`s something into one of its tasklets, and lets all end. False
/// if that tasklet had ended before.
fn play(name: &str, program: Program, turns: u32, which: usize, inject: Injection, collects: bool) -> bool {
    COUNT.with(|count| count.set(0));
    let stage = Stage::new();
    let scheduler = &stage.scheduler;
    if collects {
        let vm = Rc::downgrade(&stage.vm);
        let collect = move |_: &Tasklet, _: &Tasklet| {
            if let Some(vm) = vm.upgrade() {
                vm.lua().gc_collect().unwrap();
            }
        };
        scheduler.set_schedule_callback(Some(collect)).unwrap();
    }
    program(&stage);
    for _ in 0..turns {
        let _ = scheduler.schedule();
    }
    let victim = stage.all.borrow().get(which).cloned();
    let alive = victim.as_ref().is_some_and(Tasklet::alive);
    if let Some(victim) = &victim {
        let _ = inject(victim);
    }
    run_all(scheduler);
    let all = stage.all.take();
    for tasklet in &all {
        for _ in 0..9 {
            if tasklet.alive() {
                let _ = tasklet.kill();
                run_all(scheduler);
            }
        }
        assert!(!tasklet.alive() && !tasklet.blocked() && tasklet.next().is_none(), "{name}: {tasklet}");
    }
    assert_eq!((stage.a.balance(), stage.b.balance(), scheduler.run_count()), (0, 0, 1), "{name}");
    drop((all, victim));
    for _ in 0..2 {
        stage.vm.lua().gc_collect().unwrap();
        scheduler.run().unwrap();
    }
    assert_eq!(stage.vm.stats().tasklets, 0, "{name}");
    assert_eq!(COUNT.with(|count| count.get()), 0, "{name}: values are left");
    alive
}

fn inject_everywhere(injections: &[(&str, Injection)], collects: bool) -> u32 {
    let mut points = 0;
    for (program_name, program) in PROGRAMS {
        for (injection, inject) in injections {
            for which in 0..6 {
                for turns in 0..80 {
                    let name = format!("{program_name}: {injection} of {which} after {turns} turns");
                    if !play(&name, program, turns, which, *inject, collects) {
                        break;
                    }
                    points += 1;
                }
            }
        }
    }
    points
}

#[test]
fn a_kill_or_throw_at_every_turn_leaves_all_in_order_and_drops_every_value_once() {
    let points = inject_everywhere(&INJECTIONS, false);
    println!("{points} injections");
    assert!(points > 500, "{points}");
}

#[test]
fn it_does_so_with_a_collection_at_every_switch() {
    let points = inject_everywhere(&INJECTIONS[..3], true);
    assert!(points > 200, "{points}");
}

#[test]
fn a_vm_that_is_dropped_at_any_turn_drops_every_value_once() {
    for (name, program) in PROGRAMS {
        for turns in 0..30 {
            COUNT.with(|count| count.set(0));
            let stage = Stage::new();
            program(&stage);
            for _ in 0..turns {
                let _ = stage.scheduler.schedule();
            }
            let Stage { vm, scheduler, a, b, all } = stage;
            drop(vm);
            assert_eq!(COUNT.with(|count| count.get()), 0, "{name}: values are left after {turns} turns");
            assert_eq!(scheduler.run().unwrap_err().kind, ErrorKind::Dead);
            drop((a, b, all));
        }
    }
}

/// Random numbers, the same ones every time.
#[derive(Clone)]
struct Random(Rc<Cell<u64>>);

impl Random {
    fn below(&self, n: u64) -> u64 {
        let next =
            self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.set(next);
        (next >> 33) % n
    }
}

/// One that meets others on channels for ever, in Rust or in a script that calls Rust functions which wait.
fn worker(stage: &Stage, script: &mlua::Function, random: &Random) -> Tasklet {
    if random.below(2) == 0 {
        let id = stage.vm.spawn(script, (), Default::default()).unwrap();
        return stage.scheduler.tasklet_of(id).unwrap();
    }
    let (a, b, random) = (stage.a.clone(), stage.b.clone(), random.clone());
    let (scheduler, local) = (stage.scheduler.clone(), Counted::new(0));
    let body = move || -> Result<(), Error> {
        let _local = local;
        scheduler.defer(|| ());
        loop {
            let channel = if random.below(2) == 0 { &a } else { &b };
            match random.below(5) {
                0 | 1 => channel.send(Counted::new(1))?,
                2 | 3 => drop(channel.receive()?),
                _ => scheduler.schedule()?,
            }
        }
    };
    stage.scheduler.spawn(body).unwrap()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Switches of the long run; `BLUETICK_SWITCHES` sets another number, such as 10000000.
const SWITCHES: u64 = 300_000;

#[test]
fn switches_with_random_kills_leave_memory_flat() {
    let switches = std::env::var("BLUETICK_SWITCHES").ok().and_then(|n| n.parse().ok()).unwrap_or(SWITCHES);
    COUNT.with(|count| count.set(0));
    let stage = Stage::new();
    let random = Random(Rc::new(Cell::new(1)));
    let dice = random.clone();
    let roll = stage.vm.lua().create_function(move |_, n: u64| Ok(dice.below(n)));
    stage.vm.lua().globals().set("roll", roll.unwrap()).unwrap();
    let script = r#"
        scheduler.defer(function() end)
        while true do
            local c = if roll(2) == 0 then a else b
            local what = roll(8)
            if what < 2 then c:send(1)
            elseif what < 4 then c:receive()
            elseif what == 4 then receive()
            elseif what == 5 then call(function() scheduler.schedule() end)
            elseif what == 6 then coroutine.wrap(function() call(receive) end)()
            else scheduler.schedule() end
        end
    "#;
    let script = stage.vm.load("worker.luau", script).unwrap();
    let mut workers: Vec<Tasklet> = (0..50).map(|_| worker(&stage, &script, &random)).collect();
    let mut kills = 0u64;
    let mut measures = Vec::new();
    let start = stage.vm.work_done().0;
    let mut next_measure = switches / 10;
    while stage.vm.work_done().0 - start < switches {
        for _ in 0..10 {
            let worker = &workers[random.below(50) as usize];
            match random.below(4) {
                0 => worker.kill().unwrap(),
                1 => worker.kill_pending().unwrap(),
                2 => drop(worker.throw(Error::raised(Injected))),
                _ => drop(worker.remove()),
            }
            kills += 1;
        }
        for slot in &mut workers {
            if !slot.alive() {
                *slot = worker(&stage, &script, &random);
            } else if slot.paused() {
                slot.insert().unwrap();
            }
        }
        // Whoever waits in vain is freed, so that there is always somebody to run.
        for channel in [&stage.a, &stage.b] {
            while channel.balance() > 5 {
                let _ = channel.receive();
            }
            while channel.balance() < -5 {
                let _ = channel.send(Counted::new(1));
            }
        }
        let _ = stage.scheduler.schedule();
        if stage.vm.work_done().0 - start >= next_measure {
            next_measure += switches / 10;
            stage.vm.lua().gc_collect().unwrap();
            stage.vm.lua().gc_collect().unwrap();
            let _ = stage.scheduler.schedule();
            measures.push((
                stage.vm.memory() >> 10,
                resident(),
                stage.vm.stats().tasklets,
                COUNT.with(|count| count.get()),
            ));
        }
    }
    println!("{} switches, {kills} kills, throws and removals", stage.vm.work_done().0 - start);
    println!("KiB in the VM, KiB resident, tasklets, values: {measures:?}");
    let (first, last) = (measures[1], measures[measures.len() - 1]);
    assert!(last.0 <= first.0 + 256 && last.1 <= first.1 + 4096, "{measures:?}");
    assert!(last.2 <= 80 && last.3 <= 400, "{measures:?}");
    for worker in &workers {
        let _ = worker.kill();
        run_all(&stage.scheduler);
    }
    drop(workers);
    assert_eq!(COUNT.with(|count| count.get()), 0);
}
