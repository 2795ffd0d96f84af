//! What may go wrong with the stacks of Rust bodies. What could end the process runs in a child process: this
//! test again, with a variable set.

use bluetick_scripting::{Error, ErrorKind, Reply, Scheduler, Vm, VmConfig};
use std::cell::Cell;
use std::process::{Command, Output};
use std::rc::Rc;

const CHILD: &str = "BLUETICK_CHILD";

/// `Some` in the parent: how the child ended that ran the test of this name alone. `None` in that child.
fn child(test: &str, variables: &[(&str, &str)]) -> Option<Output> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads=1", "--nocapture"]).env(CHILD, "1");
    Some(command.envs(variables.iter().copied()).output().unwrap())
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn start() -> (Rc<Vm>, Scheduler) {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let scheduler = vm.scheduler();
    (vm, scheduler)
}

/// Goes on until the stack is full.
#[inline(never)]
fn fill(depth: usize) -> usize {
    let page = std::hint::black_box([depth; 512]);
    if page[0] == usize::MAX { 0 } else { fill(depth + 1) + page[depth % 512] }
}

#[cfg(target_os = "linux")]
#[test]
fn a_body_that_overflows_its_stack_ends_the_process_at_the_guard() {
    use std::os::unix::process::ExitStatusExt;
    let name = "a_body_that_overflows_its_stack_ends_the_process_at_the_guard";
    let Some(output) = child(name, &[]) else {
        let (_vm, scheduler) = start();
        for _ in 0..10 {
            let inner = scheduler.clone();
            scheduler.spawn(move || inner.schedule_remove()).unwrap();
        }
        scheduler
            .spawn(|| {
                let _ = fill(0);
            })
            .unwrap();
        let _ = scheduler.run();
        return;
    };
    const SIGSEGV: i32 = 11;
    assert_eq!(output.status.signal(), Some(SIGSEGV), "{output:?}");
}

/// Each nests calls that need the stack, as deep as the VM allows.
const NESTING: [(&str, &str); 25] = [
    ("pcall", "local function f() probe() pcall(f) end f()"),
    ("scheduler.pcall", "local function f() probe() scheduler.pcall(f) end f()"),
    ("xpcall", "local function f() probe() xpcall(f, function() end) end f()"),
    ("error handler", "local function f() probe() xpcall(error, f) end f()"),
    (
        "__index",
        "local t t = setmetatable({}, { __index = function(_, k) probe() return t[k] end }) local _ = t.x",
    ),
    (
        "__newindex",
        "local t t = setmetatable({}, { __newindex = function(_, k) probe() t[k] = 1 end }) t.x = 1",
    ),
    (
        "__concat",
        "local t t = setmetatable({}, { __concat = function() probe() return t .. 'x' end }) return t .. 'x'",
    ),
    (
        "__eq",
        "local m = {} local function n() return setmetatable({}, m) end m.__eq = function() probe() return n() == n() end return n() == n()",
    ),
    (
        "__lt",
        "local m = {} local function n() return setmetatable({}, m) end m.__lt = function() probe() return n() < n() end return n() < n()",
    ),
    ("__len", "local t t = setmetatable({}, { __len = function() probe() return #t end }) return #t"),
    ("__call", "local t t = setmetatable({}, { __call = function() probe() pcall(t) end }) t()"),
    (
        "__tostring",
        "local t t = setmetatable({}, { __tostring = function() probe() return tostring(t) end }) tostring(t)",
    ),
    (
        "string.format",
        "local t t = setmetatable({}, { __tostring = function() probe() return string.format('%*', t) end }) tostring(t)",
    ),
    ("string.gsub", "local function f() probe() return (string.gsub('x', 'x', f)) end f()"),
    (
        "captures",
        "local p, s = string.rep('(x)', 30), string.rep('x', 30) local function f() probe() return (string.gsub(s, p, f)) end f()",
    ),
    ("table.sort", "local function f() probe() table.sort({ 1, 2, 3 }, f) end f()"),
    ("table.foreach", "local function f() probe() table.foreach({ 1 }, f) end f()"),
    ("coroutine.wrap", "local function f() probe() coroutine.wrap(f)() end f()"),
    ("coroutine.resume", "local function f() probe() coroutine.resume(coroutine.create(f)) end f()"),
    (
        "__iter",
        "local t t = setmetatable({}, { __iter = function() probe() for _ in t do end end }) for _ in t do end",
    ),
    ("scheduler.atomic", "local function f() probe() scheduler.atomic(f) end f()"),
    ("a plain function", "local function f() probe() plain(f) end f()"),
    ("a host function", "local function f() probe() host(f) end f()"),
    ("a function that may wait", "local function f() probe() waiting(f) end f()"),
    ("require", "probe() require('./deep')"),
];

/// A module whose text nests as deep as the parser allows, and then deeper.
struct Deep;

impl bluetick_scripting::Loader for Deep {
    fn resolve(&self, _: &str, specifier: &str) -> Result<String, String> {
        Ok(specifier.trim_start_matches("./").to_owned())
    }

    fn read(&self, _: &str) -> Result<bluetick_scripting::ModuleText, String> {
        let depth = 5000;
        let text = format!("return {}1{}", "-(function() return (".repeat(depth), ") end)()".repeat(depth));
        Ok(bluetick_scripting::ModuleText { file: "deep.luau".into(), text: text.into() })
    }
}

#[test]
fn a_script_that_rust_code_calls_directly_can_not_overflow_the_stack() {
    let name = "a_script_that_rust_code_calls_directly_can_not_overflow_the_stack";
    if let Some(output) = child(name, &[]) {
        assert_success(&output);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in report.lines().filter(|line| line.starts_with("depth")) {
            println!("{line}");
        }
        return;
    }
    let (vm, scheduler) = start();
    vm.set_loader(Deep);
    let lowest = Rc::new(Cell::new(usize::MAX));
    let sink = lowest.clone();
    let globals = vm.lua().globals();
    let probe = vm.lua().create_function(move |_, ()| {
        let local = 0u8;
        sink.set(sink.get().min(std::hint::black_box(&raw const local) as usize));
        Ok(())
    });
    globals.set("probe", probe.unwrap()).unwrap();
    let plain = vm.lua().create_function(|_, f: mlua::Function| f.call::<()>(()));
    globals.set("plain", plain.unwrap()).unwrap();
    let host = vm.function(c"host", |call| {
        call.get::<mlua::Function>(1)?.call::<()>(())?;
        Ok(Reply::Nothing)
    });
    globals.set("host", host.unwrap()).unwrap();
    let waiting = vm.blocking_function(c"waiting", |scheduler: &Scheduler, f: mlua::Function| {
        scheduler.call::<()>(&f, ())
    });
    globals.set("waiting", waiting.unwrap()).unwrap();
    for directly in [true, false] {
        for (name, text) in NESTING {
            let script = vm.load("nesting.luau", text).unwrap();
            let (inner, lowest) = (scheduler.clone(), lowest.clone());
            scheduler
                .spawn(move || {
                    let local = 0u8;
                    let base = std::hint::black_box(&raw const local) as usize;
                    lowest.set(usize::MAX);
                    if !directly {
                        let _ = inner.call::<()>(&script, ());
                        return;
                    }
                    let _ = script.call::<()>(());
                    let depth = base - lowest.get();
                    println!("depth {depth:7} {name}");
                    // What the innermost call needs beyond the probe has to fit as well.
                    assert!(depth < 700 << 10, "{name} takes {depth} bytes");
                })
                .unwrap();
            scheduler.run().unwrap();
        }
    }
}

#[inline(never)]
fn panic_below(depth: u32) -> u32 {
    assert!(depth > 0, "at the bottom");
    std::hint::black_box(panic_below(depth - 1)) + 1
}

#[test]
fn a_panic_with_a_full_backtrace_fits_on_the_stack_of_a_body() {
    let name = "a_panic_with_a_full_backtrace_fits_on_the_stack_of_a_body";
    if let Some(output) = child(name, &[("RUST_BACKTRACE", "full")]) {
        assert_success(&output);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("stack backtrace:") && text.contains("panic_below"), "{text}");
        return;
    }
    let (_vm, scheduler) = start();
    scheduler
        .spawn(|| {
            let _ = panic_below(100);
        })
        .unwrap();
    assert_eq!(scheduler.run().unwrap_err().kind, ErrorKind::Panic);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_rust_tasklets_wait_at_once_in_little_more_than_two_pages_each() {
    const TASKLETS: usize = 100_000;
    let name = "a_hundred_thousand_rust_tasklets_wait_at_once_in_little_more_than_two_pages_each";
    if let Some(output) = child(name, &[]) {
        assert_success(&output);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in report.lines().filter(|line| line.contains("each")) {
            println!("{line}");
        }
        return;
    }
    let status = |field: &str| -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    };
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let (_vm, scheduler) = start();
    let gate = scheduler.channel::<u64>();
    let sum = Rc::new(Cell::new(0));
    let body = {
        let (gate, sum) = (gate.clone(), sum.clone());
        move || {
            let (gate, sum) = (gate.clone(), sum.clone());
            scheduler.spawn(move || -> Result<(), Error> {
                let number = gate.receive()?;
                sum.set(sum.get() + number);
                Ok(())
            })?;
            scheduler.run()
        }
    };
    body().unwrap();
    let (before, maps_before) = (status("VmRSS:"), mappings());
    for made in 1..TASKLETS {
        if let Err(error) = body() {
            // Each guard is a mapping of its own there.
            println!("skipped after {made} tasklets: this kernel has no MADV_GUARD_INSTALL ({error})");
            assert!(made > 20_000, "{error}");
            return;
        }
    }
    let (each, tables) = ((status("VmRSS:") - before) / TASKLETS, status("VmPTE:") / TASKLETS);
    println!("{each} bytes each, and {tables} of page tables; {} more mappings", mappings() - maps_before);
    assert_eq!(gate.balance(), -(TASKLETS as i64));
    assert!(each <= 2 * 4096 + 256, "{each} bytes each");
    assert!(mappings() - maps_before < 1000);
    gate.set_preference(-1);
    for number in 1..=TASKLETS as u64 {
        gate.send(number).unwrap();
    }
    assert_eq!(sum.get(), TASKLETS as u64 * (TASKLETS as u64 + 1) / 2);
    println!("{} bytes each when all have ended", (status("VmRSS:").saturating_sub(before)) / TASKLETS);
}

#[test]
fn when_there_are_no_more_stacks_the_verbs_say_so_and_nothing_is_changed() {
    let vm = Vm::new(VmConfig { stack_limit: 3, ..VmConfig::default() }).unwrap();
    let scheduler = vm.scheduler();
    let gate = scheduler.channel::<()>();
    let waiter = || {
        let gate = gate.clone();
        move || gate.receive()
    };
    for _ in 0..2 {
        scheduler.spawn(waiter()).unwrap();
    }
    let third = scheduler.tasklet(waiter()).unwrap();
    let error = scheduler.spawn(waiter()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Memory);
    assert!(error.message.contains("3 Rust stacks") && error.message.contains("stack_limit"), "{error}");
    assert_eq!(third.bind(waiter()).unwrap_err().kind, ErrorKind::Memory);
    third.setup().unwrap();
    scheduler.run().unwrap();
    assert_eq!(gate.balance(), -3);
    let wait = vm.blocking_function(c"wait", |scheduler: &Scheduler, (): ()| scheduler.schedule()).unwrap();
    vm.lua().globals().set("wait", wait).unwrap();
    let script = "local ok, err = pcall(wait) assert(not ok and err.kind == 'memory', tostring(err))";
    vm.run_main(&vm.load("s.luau", script).unwrap(), ()).map_err(|failure| failure.message).unwrap();
    gate.send(()).unwrap();
    scheduler.run().unwrap();
    scheduler.spawn(waiter()).unwrap();
    vm.run_main(&vm.load("s.luau", script).unwrap(), ()).map_err(|failure| failure.message).unwrap();
    for _ in 0..3 {
        gate.send(()).unwrap();
    }
    scheduler.run().unwrap();
    vm.run_main(&vm.load("s.luau", "for _ = 1, 100 do wait() end").unwrap(), ())
        .map_err(|failure| failure.message)
        .unwrap();
}

#[test]
fn a_tasklet_whose_calls_nest_without_end_gets_an_error_and_all_of_its_stacks_go_back() {
    let vm = Vm::new(VmConfig { stack_limit: 1000, ..VmConfig::default() }).unwrap();
    let scheduler = vm.scheduler();
    let call = vm
        .blocking_function(c"call", |scheduler: &Scheduler, f: mlua::Function| {
            scheduler.schedule()?;
            scheduler.call::<()>(&f, ())
        })
        .unwrap();
    vm.lua().globals().set("call", call).unwrap();
    let script = r#"
        local depth = 0
        local function f() depth += 1 call(f) end
        local ok, err = pcall(f)
        assert(not ok and err.kind == "memory", tostring(err))
        assert(depth > 100, depth)
    "#;
    for _ in 0..20 {
        vm.run_main(&vm.load("s.luau", script).unwrap(), ()).map_err(|failure| failure.message).unwrap();
        scheduler.run().unwrap();
    }
}

/// Counts how often it is dropped.
struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_body_that_stops_every_exit_does_not_keep_its_vm() {
    let (vm, scheduler) = start();
    let exits = Rc::new(Cell::new(0));
    let (inner, count) = (scheduler.clone(), exits.clone());
    scheduler
        .spawn(move || -> Result<(), Error> {
            loop {
                if inner.pcall(|| inner.schedule_remove()).is_err() {
                    count.set(count.get() + 1);
                }
            }
        })
        .unwrap();
    let other = Rc::new(Cell::new(0));
    let (inner, counted) = (scheduler.clone(), Counted(other.clone()));
    scheduler
        .spawn(move || {
            let _counted = counted;
            inner.schedule_remove()
        })
        .unwrap();
    scheduler.run().unwrap();
    drop(vm);
    assert_eq!(other.get(), 1);
    assert!((1..=20).contains(&exits.get()), "{} exits", exits.get());
    assert_eq!(scheduler.schedule().unwrap_err().kind, ErrorKind::Dead);
}

#[test]
fn a_destructor_that_waits_gets_an_error_and_the_tasklet_ends() {
    struct Waits(Scheduler, Rc<Cell<Option<ErrorKind>>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.1.set(self.0.schedule().err().map(|error| error.kind));
        }
    }
    for drops_vm in [false, true] {
        let (vm, scheduler) = start();
        let kind = Rc::new(Cell::new(None));
        let (inner, waits) = (scheduler.clone(), Waits(scheduler.clone(), kind.clone()));
        let victim = scheduler
            .spawn(move || {
                let _waits = waits;
                inner.schedule_remove()
            })
            .unwrap();
        scheduler.run().unwrap();
        if drops_vm {
            drop(vm);
        } else {
            victim.kill().unwrap();
        }
        assert!(!victim.alive());
        assert_eq!(kind.get(), Some(ErrorKind::Boundary));
    }
}

#[test]
fn what_a_body_holds_is_dropped_exactly_once_however_it_ends() {
    type Way = fn(&Scheduler, Counted);
    let ways: [(&str, Way); 9] = [
        ("it returns", |scheduler, counted| {
            scheduler.spawn(move || drop(counted)).unwrap();
            scheduler.run().unwrap();
        }),
        ("it never ran, and its handle is dropped", |scheduler, counted| {
            drop(scheduler.tasklet(move || drop(counted)).unwrap());
            scheduler.run().unwrap();
        }),
        ("it is unbound before it ran", |scheduler, counted| {
            scheduler.tasklet(move || drop(counted)).unwrap().unbind().unwrap();
        }),
        ("it is given another one", |scheduler, counted| {
            let tasklet = scheduler.tasklet(move || drop(counted)).unwrap();
            tasklet.bind(|| ()).unwrap();
            tasklet.setup().unwrap();
            scheduler.run().unwrap();
        }),
        ("it is killed before it ran", |scheduler, counted| {
            scheduler.spawn(move || drop(counted)).unwrap().kill().unwrap();
        }),
        ("it is killed later", |scheduler, counted| {
            let inner = scheduler.clone();
            let tasklet = scheduler.spawn(move || {
                let _counted = counted;
                inner.schedule_remove()
            });
            scheduler.run().unwrap();
            tasklet.unwrap().kill_pending().unwrap();
            scheduler.run().unwrap();
        }),
        ("it panics", |scheduler, counted| {
            scheduler
                .spawn(move || {
                    let _counted = counted;
                    panic_below(0);
                })
                .unwrap();
            assert_eq!(scheduler.run().unwrap_err().kind, ErrorKind::Panic);
        }),
        ("it fails", |scheduler, counted| {
            scheduler
                .spawn(move || -> Result<(), Error> {
                    let _counted = counted;
                    Err(Error::new(ErrorKind::Gone, "failed"))
                })
                .unwrap();
            assert_eq!(scheduler.run().unwrap_err().kind, ErrorKind::Gone);
        }),
        ("its sender is killed", |scheduler, counted| {
            let channel = scheduler.channel::<Counted>();
            let tasklet = scheduler.spawn(move || channel.send(counted)).unwrap();
            scheduler.run().unwrap();
            tasklet.kill().unwrap();
        }),
    ];
    for (name, way) in ways {
        let (_vm, scheduler) = start();
        let drops = Rc::new(Cell::new(0));
        way(&scheduler, Counted(drops.clone()));
        assert_eq!(drops.get(), 1, "{name}");
    }
}
