//! Where the reload meets something else: Rust on the stack, a VM that it doesn't know, a build without it.

mod live;
use bluetick_scripting::{Error, Scheduler};
use live::script::{Files, notes};
use live::{Stage, codes, forever};
use mlua::Function;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// A stage with `through(f, ...)`: a function of Rust that calls `f`, on a stack of its own.
fn with_rust(files: Files) -> Stage {
    Stage::build(files, |vm| {
        let through = vm.blocking_function(c"through", |scheduler: &Scheduler, (f, n): (Function, f64)| {
            scheduler.call::<f64>(&f, n)
        });
        vm.lua().globals().raw_set("through", through.expect("memory")).expect("globals are open");
    })
}

#[test]
#[cfg_attr(not(feature = "reload"), ignore = "frames do not move")]
fn s52_frames_around_a_function_of_rust_move_each_by_itself() {
    let text = |above: &str, inner: &str, step: u32, say: &str| {
        format!(
            "local M = {{}}
             local function inner(n) {inner} local k = n * 2 note('{say}', n) wait() note('{say}', k) return n + {step} end
             function M.run() {above} local n = 0 while true do n = through(inner, n) note('{say}o', n) end end
             return M"
        )
    };
    let computed = "local t = math.abs(-5)";
    for (above, inner, expected) in [
        ("", "", " b:2 bo:11 b:11 [] b:22 bo:21 b:21"),
        ("local s, t = 1, 2", "local z = 'z'", " b:2 bo:11 b:11 [] b:22 bo:21 b:21"),
        // The outer one stays, and calls what its local is, which runs the new text.
        (computed, "", " b:2 ao:11 b:11 [1 RL104] b:22 ao:21 b:21"),
        ("", computed, " a:2 bo:2 b:2 [1 RL104] b:4 bo:12 b:12"),
        (computed, computed, " a:2 ao:2 b:2 [2 RL104] b:4 ao:12 b:12"),
    ] {
        let stage = with_rust(Files::of([("m", &text("", "", 1, "a"))]));
        stage.start("m");
        stage.steps(2);
        assert_eq!(stage.notes(), "a:0 a:0 ao:1 a:1");
        let report = stage.save(&text(above, inner, 10, "b"));
        stage.vm.validate_heap();
        stage.step();
        let mut seen = format!(" {} [{}]", stage.notes(), codes(&report));
        stage.step();
        seen += &format!(" {}", stage.notes());
        assert_eq!(seen, expected, "{above} / {inner}");
        assert_eq!(report.moved + report.stale, 1, "one tasklet, whatever its frames do");
    }
}

#[test]
#[cfg_attr(not(feature = "reload"), ignore = "frames do not move")]
fn s52_a_tasklet_of_rust_waits_in_a_function_that_is_edited() {
    let text = |above: &str, step: u32| {
        format!(
            "local M = {{}} function M.turn(n) {above} local k = n + {step} note(k) wait() return k + {step} end return M"
        )
    };
    let stage = Stage::new([("m", &text("", 1))]);
    let Ok(mlua::Value::Table(module)) = stage.vm.require("m") else { panic!("it is a table") };
    let turn: Function = module.get("turn").expect("a function");
    let scheduler = stage.vm.scheduler();
    let inside = scheduler.clone();
    let body = move || -> Result<(), Error> {
        let mut n = 0.0;
        for _ in 0..4 {
            n = inside.call::<f64>(&turn, n)?;
        }
        Ok(())
    };
    scheduler.spawn(body).expect("a tasklet can be made");
    stage.step();
    let report = stage.save(&text("local s, t = 1, 2", 10));
    assert_eq!((codes(&report).as_str(), report.moved), ("", 1), "{report}");
    stage.step();
    let report = stage.save(&text("local q = math.abs(-1)", 100));
    assert_eq!((codes(&report).as_str(), report.stale), ("1 RL104", 1), "{report}");
    stage.steps(3);
    // 0+1, then the wait ends in the new text (+10); 11+10; it stays and adds 10; 31+100, +100.
    assert_eq!(notes(&stage.vm), "1 21 131 331");
    assert_eq!(stage.vm.stats().tasklets, 0);
}

/// What was logged in this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{value:?}");
            }
        }
        let mut message = Message(format!("{} ", event.metadata().level()));
        event.record(&mut message);
        self.0.lock().expect("nobody panics").push(message.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn s48_where_the_self_check_fails_running_calls_finish_on_old_text_and_the_log_says_so() {
    let text = |speed: u32, step: u32| {
        format!(
            "local SPEED = {speed} local M = {{ score = 0, speed = {speed} }}
             function M.step(n) M.score += {step} return n + {step} end
             function M.get() return SPEED end
             function M.run() local n = 0 while true do n = M.step(n) note('s{step}', n) wait() end end return M"
        )
    };
    let log = Log::default();
    let stage = Stage::new([("m", &text(5, 1))]);
    tracing::subscriber::with_default(log.clone(), || stage.vm.pretend_self_check_failed());
    let told = log.0.lock().expect("nobody panics").join("\n");
    if cfg!(feature = "reload") {
        assert!(
            told.starts_with("WARN ") && told.contains("running tasklets finish on the old text"),
            "{told}"
        );
    }
    assert!(!stage.vm.moves_frames());
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    let report = stage.save(&text(8, 10));
    assert_eq!((report.moved, report.stale, report.parked), (0, 0, 0));
    assert_eq!(report.to_string().lines().next(), Some("reload  m.luau #1 -> #2"));
    assert!(report.to_string().contains("now   M.speed 5 -> 8"), "{report}");
    stage.start("m");
    stage.steps(2);
    // The first goes on in its old text, whose calls through the module are new.
    assert_eq!(stage.notes(), "s1:1 s10:10 s1:11 s10:20 s1:21");
    stage.run("local m = require('./m') eq(m.speed, 8) eq(m.get(), 8) eq(m.score, 1 + 40)");
    // A tasklet that fails ends, as nothing can be parked.
    stage.save(&text(8, 10).replace("M.score +=", "M.score.x +="));
    stage.step();
    assert!(stage.vm.parked_tasklets().is_empty());
    assert_eq!(stage.vm.stats().tasklets, 0);
}

/// Reloads act on live closures and suspended tasklets in this build.
const MOVES: bool = cfg!(feature = "reload") && !cfg!(feature = "native-code");

#[test]
fn s51_with_native_code_generation_the_weaker_semantics_hold_and_the_log_says_so() {
    let log = Log::default();
    let stage = tracing::subscriber::with_default(log.clone(), || {
        Stage::with(&forever("local n = 0", "n = n + 1 note(n) wait()"))
    });
    let told = log.0.lock().expect("nobody panics").join("\n");
    assert_eq!(told.contains("check 9 failed"), cfg!(feature = "native-code") && cfg!(feature = "reload"));
    assert_eq!(stage.vm.moves_frames(), MOVES);
    let report = stage.save(&forever("local n = 0", "n = n + 10 note(n) wait()"));
    assert_eq!(report.moved, usize::from(MOVES));
    stage.start("m");
    stage.step();
    assert_eq!(stage.notes(), if MOVES { "1 10 11" } else { "1 10 2" });
}

#[cfg(feature = "reload")]
#[test]
fn what_fails_outside_of_every_module_can_not_be_parked_and_the_log_says_so() {
    let stage = Stage::new([("m", "local M = {} function M.compare(a, b) return a.x < b end return M")]);
    stage.vm.park_failed(true);
    for text in ["local x = nil + 1", "table.sort({ 2, 1 }, require('./m').compare)"] {
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || {
            live::script::spawn(&stage.vm, text);
            stage.vm.run_ready(|| true);
        });
        let told = log.0.lock().expect("nobody panics").join("\n");
        assert!(told.starts_with("WARN RL203 tasklet ") && told.contains("attempt to"), "{told}");
        assert!(stage.vm.parked_tasklets().is_empty());
        assert_eq!(stage.vm.stats().tasklets, 0, "it has ended");
        assert_eq!(stage.vm.take_ended().into_iter().filter(|ended| ended.failure.is_some()).count(), 1);
    }
}

/// The program's own symbols, which it has on this system, say what is linked into it.
#[cfg(target_os = "linux")]
#[test]
fn s50_a_build_without_the_feature_has_nothing_of_it_inside() {
    let program = std::fs::read(std::env::current_exe().expect("this program")).expect("it can be read");
    // In two parts, so that this text is not what is found.
    for name in ["move_frame", "set_source", "visit", "self_check", "repoint"] {
        let symbol = [b"\0bluetick_", name.as_bytes(), b"\0"].concat();
        let inside = program.windows(symbol.len()).any(|window| window == symbol);
        assert_eq!(inside, cfg!(feature = "reload"), "bluetick_{name}");
    }
}
