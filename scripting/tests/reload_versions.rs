//! Several versions in a row under suspended tasklets: what was pinned moves later, what was deleted comes back,
//! and what nobody runs any more is freed.

mod live;
use bluetick_scripting::{SliceLimit, VmConfig};
use live::script::Files;
use live::{Stage, codes, forever};

/// Counts in steps of `step`; with `before` above its only local.
fn counting(before: &str, step: u32) -> String {
    forever(&format!("{before} local n = 0"), &format!("n = n + {step} note(n) wait()"))
}

/// A local that has no value in a running frame.
const COMPUTED: &str = "local target = math.abs(-5)";

#[test]
fn s03_comments_above_move_nothing_but_the_lines_of_errors() {
    let stage = Stage::with(&counting("", 1));
    let comments = "-- what a guard does\n".repeat(200);
    let text = forever("local n = 0", "n = n + 1 note(n)\nif n > 2 then error('late') end\nwait()");
    let report = stage.save(&(comments + &text));
    assert_eq!((report.moved, report.stale), (1, 0));
    stage.steps(2);
    assert_eq!(stage.notes(), "1 2 3 ERR m.luau:206: late");
}

#[test]
fn s06_what_is_on_old_text_moves_as_soon_as_a_version_fits() {
    let stage = Stage::with(&counting("", 1));
    let report = stage.save(&counting(COMPUTED, 10));
    assert_eq!((codes(&report).as_str(), report.moved, report.stale), ("1 RL104", 0, 1));
    stage.step();
    let report = stage.save(&counting(COMPUTED, 20));
    assert_eq!((codes(&report).as_str(), report.moved, report.stale), ("1 RL104", 0, 1));
    assert_eq!(report.pins[0].version, 1, "it still is on the first text");
    stage.step();
    let report = stage.save(&counting("", 100));
    assert_eq!((codes(&report).as_str(), report.moved, report.stale), ("", 1, 0));
    stage.step();
    assert_eq!(stage.notes(), "1 2 3 103");
}

#[test]
fn s06_a_new_tasklet_runs_the_new_text_beside_one_that_stays() {
    let stage = Stage::with(&counting("", 1));
    stage.save(&counting(COMPUTED, 10));
    stage.start("m");
    stage.steps(2);
    assert_eq!(stage.notes(), "1 10 2 20 3");
}

#[test]
fn s30_deleted_functions_that_come_back_find_their_variables_and_tasklets() {
    let text = "local M = {} local count = 0 local seen = {}
        local function bump() count += 1 seen[count] = true return count, #seen end
        function M.bump() return bump() end
        function M.run() local n = 0 while true do n += 1 note(n, bump()) wait() end end
        return M";
    let stage = Stage::with(text);
    stage.step();
    let report = stage.save("local M = {} return M");
    assert_eq!(codes(&report), "1 RL102");
    stage.run("local m = require('./m') eq(m.bump, nil) eq(m.run, nil)");
    stage.step();
    let report = stage.save(text);
    assert_eq!((codes(&report).as_str(), report.moved), ("", 1));
    stage.step();
    assert_eq!(stage.notes(), "1:1:1 2:2:2 3:3:3 4:4:4");
    stage.run("eq(require('./m').bump(), 5)");
}

#[test]
fn s30_variables_come_back_even_if_nobody_has_kept_a_function_that_uses_them() {
    let text = |more: &str| {
        format!(
            "local M = {{}} local count, names, limit = 0, {{}}, 10
             function M.bump(name) count += 1 table.insert(names, name) return count, #names, limit end
             {more} return M"
        )
    };
    let stage = Stage::new([("m", &text(""))]);
    stage.run("local m = require('./m') m.bump('a') m.bump('b')");
    for nothing in ["local M = {} return M", "local M = {} -- still nothing\nreturn M"] {
        stage.save(nothing);
        stage.step();
        stage.run("eq(require('./m').bump, nil)");
    }
    // What the game has not touched is the file's.
    let edited = text("function M.more() return limit end").replace("0, {}, 10", "0, {}, 20");
    let report = stage.save(&edited);
    let told: Vec<_> = report.differences.iter().map(|d| (&*d.path, &*d.before, &*d.after, d.kept)).collect();
    assert_eq!(told, [("local limit", "10", "20", false)]);
    stage.run(
        "local m = require('./m')
        local count, names, limit = m.bump('c')
        eq(count, 3) eq(names, 3) eq(limit, 20) eq(m.more(), 20)",
    );
    // And shared by all again, over a further version.
    stage.save(&text("function M.reset() count = 0 end"));
    stage.run("local m = require('./m') m.reset() eq(m.bump('d'), 1)");
}

#[test]
fn s35_forty_versions_in_a_row_end_on_the_last() {
    let mut stage = Stage::with(&counting("", 1));
    stage.collects = false;
    stage.notes();
    for version in 2..=40 {
        // Each with another layout of the registers.
        let above: String = (0..version % 5).map(|i| format!("local l{i} = {i} ")).collect();
        let report = stage.save(&counting(&above, version));
        assert_eq!((report.moved, report.stale), (1, 0), "version {version}: {report}");
    }
    stage.step();
    assert_eq!(stage.notes(), "41");
    assert_eq!(stage.vm.module_version("m"), 40);
}

#[test]
fn s35_thousand_reloads_with_live_tasklets_leave_memory_flat_and_free_old_text() {
    let text = |version: usize| {
        // Some frames move, some stay for a while, closures get new outer variables and lose them again.
        let above = if version.is_multiple_of(7) { COMPUTED } else { "" };
        let outer = if version.is_multiple_of(3) { "a + b" } else { "b" };
        format!(
            "local M = {{ v = {version}, list = {{ {version} }} }} local a, b = 1, {version}
             function M.get() a += 0 return {outer} end
             function M.run(self) {above} local own = 0 local function inner() own += b return own end
             while true do M.last = inner() + M.get() wait() end end
             function M.short() wait() return {version} end
             return M"
        )
    };
    let mut stage = Stage::new([
        ("m", &text(0)),
        ("game", "return { run = function() while true do require('./m').short() end end }"),
    ]);
    stage.collects = false;
    for _ in 0..20 {
        stage.start("m");
        stage.start("game");
    }
    stage.step();
    let mut settled = Vec::new();
    for version in 1..=1000 {
        let report = stage.save(&text(version));
        assert_eq!(report.moved + report.stale, 40, "{report}");
        stage.step();
        if version % 100 == 99 {
            stage.vm.lua().gc_collect().expect("garbage can be collected");
            stage.vm.lua().gc_collect().expect("garbage can be collected");
            settled.push(stage.vm.memory());
        }
    }
    let (early, late) = (settled[1], settled[9]);
    assert!(late < early + early / 20, "{early} -> {late}: {settled:?}");
    let kept = (1..=1000).filter(|version| stage.vm.source_of(&format!("m.luau#{version}")).is_some());
    assert!(kept.count() <= 3, "texts of versions that nobody runs are still there");
    assert_eq!(stage.vm.source_of("m.luau").as_deref(), Some(&*text(1000)));
}

#[test]
fn s35_old_text_is_freed_when_its_last_frame_ends() {
    let old = "local M = {} function M.run() note('old') wait() wait() note('end') end return M";
    let stage = Stage::with(old);
    let report = stage.save(&old.replace("note('old')", &format!("{COMPUTED} note('new')")));
    assert_eq!(codes(&report), "1 RL104");
    stage.step();
    assert_eq!(stage.vm.source_of("m.luau#1").as_deref(), Some(old), "a frame still runs it");
    stage.step();
    assert_eq!(stage.notes(), "old end");
    // It is looked through at the next reload.
    stage.save("local M = {} function M.run() wait() end return M");
    assert_eq!(stage.vm.source_of("m.luau#1"), None);
    stage.save("local M = {} function M.run() wait() wait() end return M");
    assert_eq!(stage.vm.source_of("m.luau#2"), None, "nobody ever ran it");
}

#[test]
fn s36_frames_that_stay_survive_the_collector() {
    let mut stage = Stage::new([("m", &counting("", 1))]);
    for _ in 0..50 {
        stage.start("m");
    }
    stage.step();
    stage.notes();
    for version in 2..6 {
        let report = stage.save(&counting(COMPUTED, version));
        assert_eq!(codes(&report), "50 RL104");
        stage.vm.validate_heap();
        stage.step();
        // What old code makes is made of what only it keeps alive.
        stage.run("local t = {} for i = 1, 10000 do t[i] = { i } end");
    }
    assert_eq!(stage.notes(), ["2", "3", "4", "5"].map(|n| [n; 50].join(" ")).join(" "));
    stage.collects = false;
    assert_eq!(stage.save(&counting("", 100)).moved, 50);
    stage.step();
    assert_eq!(stage.notes(), ["105"; 50].join(" "));
}

#[test]
fn s37_an_interrupted_tasklet_stays_until_it_has_waited() {
    let text = |step: u32, rounds: u32| {
        forever(
            "local n = 0",
            &format!("for i = 1, {rounds} do n = n + {step} end note(n) wait() note('w', {step})"),
        )
    };
    let config = VmConfig { slice: SliceLimit::ticks(1000), ..VmConfig::default() };
    let stage = Stage::configured(config, Files::of([("m", &text(1, 1500))]), |_| ());
    stage.start("m");
    stage.vm.run_ready({
        let mut slices = 0;
        move || {
            slices += 1;
            slices <= 1
        }
    });
    assert_eq!(stage.notes(), "", "it is in the middle of its loop");
    let report = stage.save(&text(2, 1500));
    assert_eq!((codes(&report).as_str(), report.moved), ("1 RL109", 0), "{report}");
    assert!(report.to_string().contains("        restart m.luau if it never waits; else "), "{report}");
    stage.step();
    assert_eq!(stage.notes(), "1500", "it has finished the loop on old text");
    let report = stage.save(&text(3, 1500));
    assert_eq!((codes(&report).as_str(), report.moved), ("", 1), "{report}");
    stage.step();
    stage.step();
    assert!(stage.notes().starts_with("w:3 "));
}

#[test]
fn s38_collecting_all_garbage_at_each_step_makes_no_difference() {
    let trace = |collects: bool| {
        let mut stage = Stage::new([("m", &counting("", 1))]);
        stage.collects = collects;
        for _ in 0..3 {
            stage.start("m");
        }
        for version in 2..30 {
            stage.step();
            let (above, step) = match version % 4 {
                0 => (COMPUTED, version),
                1 => ("local a, b = {}, 'x' local function f() return a end", version),
                2 => ("local k = 1", version),
                _ => ("", version),
            };
            let report = stage.save(&counting(above, step));
            stage.note(&format!("[{}]", codes(&report)));
            if version == 15 {
                stage.start("m");
            }
        }
        stage.step();
        stage.notes()
    };
    let (with, without) = (trace(true), trace(false));
    assert_eq!(with, without);
    assert!(with.contains("RL104"), "{with}");
}

#[test]
fn s45_variables_that_are_out_of_use_go_with_their_module_when_it_is_renamed() {
    let text = "local M = {} local count = 0 function M.bump() count += 1 return count end return M";
    let stage = Stage::new([("m", text)]);
    stage.run("local m = require('./m') m.bump() m.bump()");
    stage.save("local M = {} return M");
    assert!(stage.vm.rename_module("m", "n", "n.luau"));
    assert!(!stage.files.save(&stage.vm, [("n", text)]).is_refused());
    stage.run("eq(require('./n').bump(), 3)");
}

#[test]
fn s47_a_rollback_is_the_previous_text_as_a_new_version() {
    let stage = Stage::with(&counting("", 1));
    assert!(stage.vm.rollback("m").is_none(), "there is none yet");
    stage.save(&counting("", 10));
    stage.step();
    let report = stage.vm.rollback("m").expect("there is a text before");
    assert_eq!((report.moved, report.modules[0].from, report.modules[0].to), (1, 2, 3));
    stage.step();
    assert_eq!(stage.notes(), "1 11 12");
}
