//! Slices that are used up: who does not give control away is interrupted, wherever it is.

mod script;

use bluetick_scripting::{OverrunPolicy, OwnerId, SliceLimit, TaskletId, Vm, VmConfig};
use script::{load, vm_with};
use std::rc::Rc;
use std::time::Duration;

const SLICE: u64 = 500;

fn sliced(slice: SliceLimit) -> Rc<Vm> {
    vm_with(VmConfig { slice, ..VmConfig::default() }, |_| ())
}

fn spawn(vm: &Vm, text: &str) -> TaskletId {
    vm.spawn(&load(vm, text), (), OwnerId::default()).expect("a tasklet")
}

/// The failures since the last time, which are cleared.
fn failures(vm: &Vm) -> Vec<String> {
    vm.take_ended().into_iter().filter_map(|ended| ended.failure).map(|failure| failure.message).collect()
}

fn notes(vm: &Vm) -> String {
    load(vm, "return notes()").call::<String>(()).expect("notes")
}

#[test]
fn an_endless_loop_goes_on_in_the_next_round_and_the_others_run_in_this_one() {
    let vm = sliced(SliceLimit::ticks(SLICE));
    spawn(&vm, "note('busy')\nwhile true do\nend");
    spawn(&vm, "note('other')");
    for round in 1..=5 {
        vm.run_ready(|| true);
        let overruns = vm.take_overruns();
        assert_eq!(overruns.len(), 1);
        assert_eq!((overruns[0].in_a_row, overruns[0].stopped), (round, false));
        assert!(["test.luau:2", "test.luau:3"].contains(&&*overruns[0].place), "{}", overruns[0].place);
        assert_eq!(vm.runnable(), 1);
        spawn(&vm, "note('next')");
    }
    assert_eq!(notes(&vm), "busy other next next next next");
    assert_eq!(vm.overruns(), 5);
    assert_eq!(failures(&vm), [] as [&str; 0]);
}

#[test]
fn those_put_off_keep_their_order_and_go_before_those_who_come_later() {
    let vm = sliced(SliceLimit::ticks(SLICE));
    for name in ["a", "b", "c"] {
        spawn(&vm, &format!("for turn = 1, 3 do note('{name}' .. turn) for i = 1, {SLICE} do end end"));
    }
    vm.run_ready(|| true);
    spawn(&vm, "note('d')");
    vm.run_ready(|| true);
    vm.run_ready(|| true);
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "a1 b1 c1 a2 b2 c2 d a3 b3 c3");
    assert_eq!(vm.runnable(), 0);
}

#[test]
fn a_round_that_ends_early_leaves_those_who_had_no_turn_before_those_put_off() {
    let vm = sliced(SliceLimit::ticks(SLICE));
    for name in ["a", "b", "c"] {
        spawn(&vm, &format!("while true do note('{name}') for i = 1, {SLICE} do end end"));
    }
    for _ in 0..3 {
        let mut left = 2;
        vm.run_ready(|| {
            left -= 1;
            left >= 0
        });
    }
    assert_eq!(notes(&vm), "a b c a b c");
}

/// What programs compute when they are interrupted at every few instructions is what they compute otherwise.
#[test]
fn results_do_not_depend_on_where_a_program_is_interrupted() {
    let program = r#"
        local out = {}
        local function add(...) table.insert(out, table.concat({ ... }, ",")) end
        local function fib(n) return if n < 2 then n else fib(n - 1) + fib(n - 2) end
        add(fib(11))
        add(pcall(function()
            local sum = 0
            for i = 1, 60 do sum += i end
            error(setmetatable({ sum }, { __tostring = function(e) return "e" .. e[1] end }) and sum, 0)
        end) and "yes" or "no")
        local generator = coroutine.wrap(function(first)
            local got = first
            for i = 1, 20 do
                local inner = coroutine.wrap(function() for j = 1, 3 do coroutine.yield(i * j) end end)
                got = coroutine.yield(got + inner() + inner())
            end
            return "done"
        end)
        for i = 1, 22 do
            local ok, value = pcall(generator, i)
            add(i, tostring(value))
            if not ok then break end
        end
        for k, v in (function() local n = 0 return function() n += 1 if n < 20 then return n, n * n end end end)() do
            add(k, v)
        end
        local proxy = setmetatable({}, {
            __index = function(_, k) local s = 0 for i = 1, k do s += i end return s end,
            __add = function(_, n) for i = 1, 30 do n += 1 end return n end,
            __call = function(_, n) for i = 1, 30 do n += 1 end return n end,
            __iter = function() return next, { 5 } end,
        })
        add(proxy[40], proxy + 1, proxy(2))
        for _, v in proxy do add(v) end
        local list = {}
        for i = 1, 40 do list[i] = (i * 37) % 41 end
        table.sort(list, function(a, b) return a < b end)
        add(table.unpack(list))
        add((string.gsub("a b c d e f", "%w", function(c) local s = c for i = 1, 4 do s ..= c end return s end)))
        local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) error("in co " .. b, 0) end)
        add(tostring(select(2, coroutine.resume(co, 1))), tostring(select(2, coroutine.resume(co, 2))))
        add(select(2, xpcall(function() local x = nil return x.y end, function(e) return "handled" end)))
        return table.concat(out, ";")
    "#;
    let text = format!("note((function() {program} end)())");
    let whole = sliced(SliceLimit::default());
    spawn(&whole, &text);
    whole.run_ready(|| true);
    let expected = notes(&whole);
    assert!(expected.contains("handled"), "{:?} {expected}", failures(&whole));
    for slice in (1..60).chain([100, 1000]) {
        // What can't be interrupted is short, but counts in slices as short as these.
        let vm = sliced(SliceLimit::ticks(slice).hard(1_000_000));
        spawn(&vm, &text);
        let mut rounds = 0;
        while vm.runnable() > 0 {
            vm.run_ready(|| true);
            rounds += 1;
        }
        assert_eq!(failures(&vm), [] as [&str; 0]);
        assert_eq!(notes(&vm), expected, "in slices of {slice}");
        assert!(rounds > 1 || slice > 500, "{rounds} rounds in slices of {slice}");
    }
}

#[test]
fn who_can_not_be_suspended_is_interrupted_afterwards() {
    let vm = sliced(SliceLimit::ticks(SLICE).hard(100));
    spawn(
        &vm,
        &format!(
            "local t = setmetatable({{}}, {{ __index = function() for i = 1, {SLICE} * 3 do end return 7 end }})
             local x = t.x
             note('x', x)"
        ),
    );
    vm.run_ready(|| true);
    let overruns = vm.take_overruns();
    assert_eq!(overruns.len(), 1);
    assert_eq!(overruns[0].place, "test.luau:3", "after the metamethod");
    assert_eq!(notes(&vm), "");
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "x:7");
}

#[test]
fn who_can_not_be_suspended_for_long_gets_an_error_that_no_pcall_stops() {
    for (body, place, why) in [
        ("return setmetatable({}, { __index = function()\nwhile true do end end }).x", 2, "metamethod"),
        ("return setmetatable({}, { __add = function()\nwhile true do end end }) + 1", 2, "metamethod"),
        ("table.sort({ 3, 1, 2 }, function(a, b)\nwhile true do end end)", 2, "sort"),
        ("string.gsub('a', 'a', function()\nwhile true do end end)", 2, "gsub"),
        ("for x in setmetatable({}, { __iter = function()\nwhile true do end end }) do end", 2, "metamethod"),
        ("scheduler.atomic(function()\nwhile true do end end)", 2, "scheduler.atomic"),
        ("xpcall(error, function()\nwhile true do end end)", 2, ""),
        ("scheduler.switch_trap(1)\nwhile true do end", 2, "switch trap"),
        (
            "\nstring.find(string.rep('a', 3000), string.rep('a?', 30) .. string.rep('a', 30) .. 'b')",
            2,
            "find",
        ),
    ] {
        for catch in ["pcall", "scheduler.pcall", "xpcall", "coroutine", "deep"] {
            let call = match catch {
                "xpcall" => {
                    format!("xpcall(function() {body} end, function(e) note('handled') return e end)")
                }
                "coroutine" => format!("coroutine.resume(coroutine.create(function() {body} end))"),
                "deep" => format!(
                    "pcall(function() return coroutine.wrap(function() return pcall(function() {body} end) end)() end)"
                ),
                pcall => format!("{pcall}(function() {body} end)"),
            };
            let vm = sliced(SliceLimit::ticks(SLICE));
            spawn(&vm, &format!("scheduler.defer(function() note('cleaned') end) {call} note('went on')"));
            spawn(&vm, "note('other')");
            for _ in 0..4 {
                vm.run_ready(|| true);
            }
            let failures = failures(&vm);
            assert_eq!(failures.len(), 1, "{catch}: {body}: {failures:?}");
            let start = format!("test.luau:{place}: the tasklet did not give control away within 5000 ticks");
            assert!(failures[0].starts_with(&start), "{catch}: {}", failures[0]);
            assert!(failures[0].contains(why), "{catch}: {}", failures[0]);
            assert_eq!(notes(&vm), "cleaned other", "{catch}: {body}");
            assert_eq!(vm.runnable(), 0);
            assert!(vm.take_overruns().iter().all(|overrun| overrun.stopped));
        }
    }
}

#[test]
fn whoever_waits_for_a_tasklet_that_was_ended_so_may_stop_its_error() {
    let vm = sliced(SliceLimit::ticks(100).hard(10));
    spawn(
        &vm,
        "local function endless() table.sort({ 3, 2, 1 }, function() while true do end end) end
         local ward = uthread.new(endless)
         local ok, err = pcall(uthread.join, ward)
         note(ok, err.kind)
         note(pcall(uthread.all, { endless, scheduler.schedule }))
         note('on')
         pcall(endless)
         note('never')",
    );
    for _ in 0..10 {
        vm.run_ready(|| true);
    }
    let notes = notes(&vm);
    assert!(notes.starts_with("false:budget false:") && notes.ends_with(" on"), "{notes}");
    assert_eq!(failures(&vm).len(), 1, "the error of a slice of one's own is stopped by nobody");
}

#[test]
fn the_error_has_its_kind() {
    let vm = sliced(SliceLimit::ticks(SLICE));
    let text = "scheduler.set_error_handler(function(e) note(e.kind) end)
        scheduler.atomic(function() while true do end end)";
    spawn(&vm, text);
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "budget");
    assert_eq!(failures(&vm), [] as [&str; 0]);
}

#[test]
fn after_so_many_slices_in_a_row_the_policy_kills() {
    let vm = sliced(SliceLimit::ticks(SLICE).policy(OverrunPolicy::Kill { after: 3 }));
    spawn(&vm, "pcall(function()\nwhile true do end end) note('went on')");
    for round in 1..=2 {
        vm.run_ready(|| true);
        assert_eq!(failures(&vm), [] as [&str; 0], "round {round}");
    }
    vm.run_ready(|| true);
    let failures = failures(&vm);
    assert!(
        failures[0].starts_with("test.luau:2: the tasklet did not give control away in 3 slices"),
        "{failures:?}"
    );
    assert_eq!(notes(&vm), "");
    let last = vm.take_overruns().pop().unwrap();
    assert!(last.stopped && last.in_a_row == 3);
}

/// Counts what is logged.
struct Logged(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl tracing::Subscriber for Logged {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn the_policy_warn_goes_on_and_warns_when_a_tasklet_overruns_twice_as_often_in_a_row() {
    let logged = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
    let vm = sliced(SliceLimit::ticks(100).policy(OverrunPolicy::Warn));
    let id = spawn(&vm, "while true do end");
    vm.set_name(id, "busy");
    tracing::subscriber::with_default(Logged(logged.clone()), || {
        for _ in 0..9 {
            vm.run_ready(|| true);
        }
    });
    assert_eq!(vm.runnable(), 1);
    let text = |n| format!("tasklet 'busy' has used up {n} slices in a row, and is at test.luau:1");
    assert_eq!(*logged.lock().unwrap(), [text(1), text(2), text(4), text(8)]);
}

#[test]
fn slices_in_a_row_are_counted_anew_when_a_tasklet_has_given_control_away() {
    let vm = sliced(SliceLimit::ticks(SLICE).policy(OverrunPolicy::Kill { after: 3 }));
    spawn(
        &vm,
        &format!(
            "for turn = 1, 5 do for i = 1, {SLICE} * 2 - 50 do end scheduler.schedule() end note('end')"
        ),
    );
    for _ in 0..20 {
        vm.run_ready(|| true);
    }
    assert_eq!(failures(&vm), [] as [&str; 0]);
    assert_eq!(notes(&vm), "end");
    assert!(vm.take_overruns().iter().all(|overrun| overrun.in_a_row == 1));
}

#[test]
fn an_interrupted_tasklet_can_be_killed_and_thrown_at() {
    let vm = sliced(SliceLimit::ticks(SLICE));
    spawn(
        &vm,
        r#"
        local function loop(name)
            return tasklet(function()
                scheduler.defer(function() note(name, "out") end)
                local ok, err = pcall(function() while true do end end)
                note(name, err)
            end)()
        end
        local killed, thrown, pending, removed = loop("killed"), loop("thrown"), loop("pending"), loop("removed")
        scheduler.schedule()
        killed:kill()
        thrown:throw("up")
        pending:kill(true)
        removed:remove()
        note(`{killed.alive}:{thrown.alive}:{pending.alive}:{removed.paused}`)
        scheduler.schedule()
        removed:insert()
        note("end")
        "#,
    );
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "killed:out thrown:up thrown:out false:false:true:true pending:out end");
    let before = vm.overruns();
    vm.run_ready(|| true);
    assert_eq!(vm.overruns(), before + 1);
    assert_eq!(failures(&vm), [] as [&str; 0]);
}

#[test]
fn what_follows_the_end_of_a_tasklet_is_limited_too() {
    for text in [
        "scheduler.defer(function() while true do end end) scheduler.defer(function() note('last') end)",
        "scheduler.defer(function() note('first') end) scheduler.defer(function() while true do end end)",
        "scheduler.set_error_handler(function() while true do end end) error('x')",
        "scheduler.set_error_handler(function() pcall(function() while true do end end) while true do end end) error('x')",
        "scheduler.set_schedule_callback(function() while true do end end) scheduler.schedule()",
        "scheduler.set_channel_callback(function() while true do end end) pcall(function() channel():receive() end)",
        "for i = 1, 50 do scheduler.defer(function() while true do end end) end",
        "scheduler.defer(function() scheduler.defer(function() while true do end end) while true do end end)",
    ] {
        let vm = sliced(SliceLimit::ticks(SLICE));
        spawn(&vm, text);
        spawn(&vm, "note('other')");
        for _ in 0..5 {
            vm.run_ready(|| true);
        }
        assert!(notes(&vm).contains("other"), "{text}");
        assert_eq!(vm.runnable(), 0, "{text}");
    }
}

#[test]
fn an_atomic_section_is_not_interrupted_and_what_follows_it_is() {
    let vm = sliced(SliceLimit::ticks(SLICE));
    spawn(
        &vm,
        &format!(
            "scheduler.atomic(function() for i = 1, {SLICE} * 3 do end note('whole') end)
             for i = 1, 10 do end
             note('after')"
        ),
    );
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "whole");
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "after");
}

#[test]
fn a_limit_of_run_inside_of_a_slice_returns_the_runaway_to_its_caller() {
    let vm = sliced(SliceLimit::ticks(SLICE));
    spawn(
        &vm,
        "local t = tasklet(function() while true do end end)()
         local returned = scheduler.run(100)
         note(`{returned == t}:{t.paused}`)
         t:kill()
         while true do end",
    );
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "true:true");
    assert_eq!(vm.overruns(), 1);
    vm.run_ready(|| true);
    assert_eq!(vm.overruns(), 2);
}

#[test]
fn a_main_tasklet_is_never_interrupted() {
    let vm = sliced(SliceLimit::ticks(10));
    script::run_in(
        &vm,
        "for i = 1, 10000 do end tasklet(function() for i = 1, 1000 do end end)() scheduler.run()",
    );
    assert_eq!(vm.overruns(), 0);
}

/// The thread that times slices; whatever the machine's load, it interrupts sooner or later.
#[test]
fn real_time_interrupts_as_well() {
    let vm = sliced(SliceLimit::time(Duration::from_millis(1)).hard(2));
    spawn(&vm, "while true do end");
    spawn(&vm, "pcall(function() table.sort({ 2, 1 }, function()\nwhile true do end end) end) note('never')");
    spawn(&vm, "coroutine.wrap(function() pcall(function() while true do end end) end)()");
    for round in 1..=5 {
        vm.run_ready(|| true);
        assert!(vm.runnable() >= 2, "in round {round}");
        spawn(&vm, "note('other')");
    }
    // A slice of the others may have been too long as well, on a machine that is busy enough.
    while vm.runnable() > 2 {
        vm.run_ready(|| true);
    }
    let failures = failures(&vm);
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].starts_with("test.luau:2: the tasklet did not give control away within 2 ms"),
        "{failures:?}"
    );
    assert_eq!(notes(&vm), "other other other other other");
}

#[test]
fn a_vm_can_go_while_its_timer_runs() {
    for _ in 0..50 {
        let vm = sliced(SliceLimit::time(Duration::from_micros(1)));
        spawn(&vm, "while true do end");
        vm.run_ready(|| true);
        drop(vm);
    }
}

#[test]
fn library_functions_whose_work_has_no_bound_refuse_too_much_of_it() {
    let vm = sliced(SliceLimit::default());
    script::run_in(
        &vm,
        r##"
        refused("budget", { "table.move: 2147483646 elements" }, table.move, {}, 1, 2147483646, 2, {})
        local long = string.rep("x", 1e6)
        local needle = string.rep("x", 5e5) .. "y"
        refused("budget", { "string.find: to look for 500001 bytes in 1000000" }, string.find, long, needle, 1, true)
        refused("budget", { "string.find" }, string.find, long, needle)
        refused("budget", { "string.split" }, string.split, long, needle)
        -- One step of a pattern: each byte with each of a set.
        local set = `[{needle}x]*`
        for _, name in { "find", "match", "gmatch", "gsub" } do
            refused("budget", { `string.{name}: to look for` }, string[name], long, set, "")
        end
        eq(("key = value"):match("^(%w+)%s*=%s*(%w+)$"), "key")
        eq((("hello"):gsub("[eo]", { e = "3", o = "0" })), "h3ll0")
        for word in ("a b"):gmatch("%a") do note(word) end
        eq(notes(), "a b")
        -- Everything else is as before.
        eq(table.concat(table.move({ 1, 2, 3 }, 1, 3, 2), ","), "1,1,2,3")
        eq(("hello"):find("l", 1, true), 3)
        eq(#("a,b,c"):split(","), 3)
        eq(#("abc"):split(""), 3)
        eq(select("#", string.find("abc", "(b)(c)")), 4)
        for _, f in { table.move, string.find, string.split, string.match, string.gsub, string.gmatch } do
            eq((pcall(f)), false)
        end
        eq(#string.rep("", 2147483647), 0)
        "##,
    );
}

#[test]
fn rust_code_is_interrupted_at_its_safepoints() {
    let vm = sliced(SliceLimit::ticks(100).policy(OverrunPolicy::Kill { after: 4 }));
    let rounds = Rc::new(std::cell::Cell::new(0));
    let (scheduler, seen) = (vm.scheduler(), rounds.clone());
    let inner = scheduler.clone();
    scheduler
        .spawn(move || -> Result<(), bluetick_scripting::Error> {
            loop {
                seen.set(seen.get() + 1);
                inner.safepoint()?;
            }
        })
        .unwrap();
    for round in 1..=3 {
        spawn(&vm, "note('other')");
        vm.run_ready(|| true);
        assert_eq!(failures(&vm), [] as [&str; 0], "round {round}");
        assert_eq!(vm.runnable(), 1);
    }
    assert_eq!(notes(&vm), "other other other");
    assert!(rounds.get() > 300, "{}", rounds.get());
    vm.run_ready(|| true);
    let failures = failures(&vm);
    assert!(
        failures[0].contains("did not give control away in 4 slices in a row (100 ticks each)"),
        "{failures:?}"
    );
    assert_eq!(vm.runnable(), 0);
}

#[test]
fn another_thread_can_ask_where_a_tasklet_is() {
    for slice in [SliceLimit::ticks(50_000_000), SliceLimit::default()] {
        let vm = sliced(slice);
        let probe = vm.probe();
        let (told, over) = std::sync::mpsc::channel();
        let asker = std::thread::spawn(move || {
            // The first sightings may find it on its way there.
            let sighting = loop {
                match probe.sight(Duration::from_secs(1)) {
                    Some(sighting) if sighting.traceback.contains("'deep'") => break sighting,
                    _ => {}
                }
            };
            told.send(()).unwrap();
            sighting
        });
        let done = Rc::new(std::cell::RefCell::new(over));
        let stop = vm.function(c"stop", move |_| {
            let over = done.borrow().try_recv().is_ok();
            Ok(bluetick_scripting::Reply::Boolean(over))
        });
        let body = load(&vm, "local stop = ...\nlocal function deep() repeat until stop() end\ndeep()");
        let id = vm.spawn(&body, stop.unwrap(), OwnerId::default()).unwrap();
        vm.set_name(id, "the busy one");
        while vm.runnable() > 0 {
            vm.run_ready(|| true);
        }
        let sighting = asker.join().unwrap();
        assert_eq!(sighting.name, "tasklet 'the busy one'");
        assert!(sighting.traceback.contains("test.luau:2 in function 'deep'"), "{}", sighting.traceback);
        assert_eq!(vm.probe().sight(Duration::ZERO), None, "nothing runs");
    }
}

/// F10.
#[test]
fn f10_what_a_tasklet_stores_is_copied_to_those_that_it_makes() {
    let vm = sliced(SliceLimit::default());
    script::run_in(
        &vm,
        r#"
        local me = scheduler.getcurrent()
        local shared = {}
        me.storage.name, me.storage.shared = "parent", shared
        local child = tasklet(function()
            local storage = scheduler.getcurrent().storage
            note(storage.name, if storage.shared == shared then "same" else "other")
            storage.name = "child"
            scheduler.schedule()
            note(storage.name)
            local grandchild = tasklet(function() note(scheduler.getcurrent().storage.name) end)()
            storage.name = "later"
        end)()
        me.storage.name = "changed"
        scheduler.run()
        note(me.storage.name, child.storage.name)
        eq(rawequal(tasklet().storage, me.storage), false)
        eq(tasklet().storage.name, "changed")
        eq(pcall(function() me.storage = {} end), false)
        "#,
    );
    assert_eq!(notes(&vm), "parent:same child child changed:later");
}

/// F15, and run times, by a clock of the test's.
#[test]
fn f15_timers_tell_own_time_from_real_time() {
    let now = Rc::new(std::cell::Cell::new(Duration::ZERO));
    let (source, work) = (now.clone(), now.clone());
    let vm = vm_with(VmConfig::default(), |vm| {
        let work = vm.function(c"work", move |call| {
            work.set(work.get() + Duration::from_millis(call.number(1, "work")? as u64));
            Ok(bluetick_scripting::Reply::Nothing)
        });
        vm.lua().globals().set("work", work.unwrap()).unwrap();
    });
    vm.set_accounting(Some(Rc::new(move || source.get())));
    let a = spawn(
        &vm,
        r##"
        local me = scheduler.getcurrent()
        work(1)
        scheduler.timer("outer", function()
            work(2)
            scheduler.timer("inner", function(...)
                work(4)
                scheduler.schedule()
                work(8)
            end, 1, 2)
            work(16)
        end)
        note(math.round(me.run_time * 1000))
        pcall(scheduler.timer, "fails", function() work(1) error("x") end)
        note(select("#", scheduler.timer("results", function(...) return ... end, 1, nil)))
        local made = tasklet(function() end)
        note(made.parent_callsite)
        scheduler.schedule_remove()
        "##,
    );
    spawn(&vm, "work(100) scheduler.timer('inner', work, 50)");
    vm.run_ready(|| true);
    let timings: Vec<_> = vm
        .timings()
        .into_iter()
        .map(|t| (t.path.join("/"), t.calls, t.own.as_millis(), t.real.as_millis(), t.switches))
        .collect();
    let row = |path: &str, calls, own, real, switches| (path.to_owned(), calls, own, real, switches);
    assert_eq!(
        timings,
        [
            row("outer", 1, 18, 180, 0),
            row("outer/inner", 1, 12, 162, 1),
            row("inner", 1, 50, 50, 0),
            row("fails", 1, 1, 1, 0),
            row("results", 1, 0, 0, 0),
        ]
    );
    assert_eq!(notes(&vm), "31 2 test.luau:16");
    assert_eq!(vm.run_time(a).as_millis(), 32);
    let longest = vm.take_longest_slice().unwrap();
    assert_eq!(longest.time.as_millis(), 150);
    assert_eq!(vm.take_longest_slice(), None);
    vm.set_accounting(None);
    spawn(&vm, "work(5) note(scheduler.getcurrent().run_time)");
    vm.run_ready(|| true);
    assert_eq!(notes(&vm), "0");
}

#[test]
fn the_slice_under_way_counts_in_rust_and_so_does_the_last_one() {
    let vm = vm_with(VmConfig::default(), |_| ());
    let clock = Rc::new(std::cell::Cell::new(Duration::ZERO));
    let source = clock.clone();
    vm.set_accounting(Some(Rc::new(move || source.get())));
    let (scheduler, seen) = (vm.scheduler(), Rc::new(std::cell::RefCell::new(Vec::new())));
    let looks = seen.clone();
    let work = move |seconds: u64| clock.set(clock.get() + Duration::from_secs(seconds));
    let body = move || -> Result<(), bluetick_scripting::Error> {
        let me = scheduler.current();
        for seconds in [10, 7] {
            work(seconds);
            looks.borrow_mut().push(me.run_time().as_secs());
            scheduler.schedule()?;
        }
        work(5);
        Ok(())
    };
    let tasklet = vm.scheduler().spawn(body).unwrap();
    vm.run_ready(|| true);
    assert!(!tasklet.alive());
    assert_eq!(*seen.borrow(), [10, 17]);
    assert_eq!(tasklet.run_time().as_secs(), 22);
}
