//! Each fault is caught: by an edit whose trace or whose coroutines it spoils, and by the random programs.

use super::Fault;
use super::switch::{FAULT, FOUND};
use fuzz::live::{Stage, codes, forever};
use fuzz::{Author, Campaign};
use std::process::Command;

#[path = "../../../../tests/fuzz/mod.rs"]
mod fuzz;

const FAULTS: [Fault; 9] = [
    Fault::PositionUnchanged,
    Fault::NoCloneForPinned,
    Fault::RegistersOneToOne,
    Fault::StackNotGrown,
    Fault::OpenUpvalueNotRetargeted,
    Fault::UpvaluesInOldOrder,
    Fault::WrongResultCount,
    Fault::FreshNotJoined,
    Fault::UnfinishedExpressionIgnored,
];

/// What is noted before and after an edit that is made wrong, with the codes of what was pinned; if coroutines
/// are wrong after it, what is wrong with them.
fn edit(fault: Option<Fault>, old: &str, new: &str) -> Result<String, Vec<String>> {
    FOUND.take();
    let mut stage = Stage::with(old);
    stage.step();
    let mut seen = stage.notes();
    // Not before what the coroutines are like is known: the collector goes through them.
    stage.collects = false;
    FAULT.set(fault);
    let report = stage.save(new);
    FAULT.set(None);
    let found = FOUND.take();
    if !found.is_empty() {
        // Nothing of this VM may be used any more.
        std::mem::forget(stage);
        return Err(found);
    }
    stage.collects = true;
    stage.vm.validate_heap();
    stage.steps(2);
    seen += " | ";
    seen += &stage.notes();
    let codes = codes(&report);
    if !codes.is_empty() {
        seen += &format!(" [{codes}]");
    }
    Ok(seen)
}

/// The edit does this, and with the fault that.
#[track_caller]
fn spoils_the_trace(fault: Fault, old: &str, new: &str, right: &str, wrong: &str) {
    assert_eq!(edit(None, old, new).as_deref(), Ok(right));
    assert_eq!(edit(Some(fault), old, new).as_deref(), Ok(wrong));
}

/// The edit does this, and with the fault a coroutine is wrong.
#[track_caller]
fn spoils_a_coroutine(fault: Fault, old: &str, new: &str, right: &str, found: &str) {
    assert_eq!(edit(None, old, new).as_deref(), Ok(right));
    let told = edit(Some(fault), old, new).expect_err("it is not noticed");
    assert!(told.iter().any(|told| told.contains(found)), "{told:?}");
}

#[test]
fn a_position_that_was_carried_over_shows_in_the_trace() {
    // Behind the call of the old text there is the call itself in the new one.
    spoils_the_trace(
        Fault::PositionUnchanged,
        &forever("local n, k = 0, 0", "wait() n = n + 1 note(n)"),
        &forever("local n, k = 0, 0", "k = 1 k = 2 k = 3 wait() n = n + 1 note(n)"),
        "1 | 2 3",
        "1 | 2",
    );
}

#[test]
fn a_pinned_frame_without_a_closure_of_its_own_is_found() {
    spoils_a_coroutine(
        Fault::NoCloneForPinned,
        &forever("local n = 0", "n = n + 1 note(n) wait()"),
        &forever("local s = math.abs(-5) local n = 0", "n = n + s note(n) wait()"),
        "1 2 | 3 4 [1 RL104]",
        "runs code that its closure doesn't keep alive",
    );
}

#[test]
fn registers_that_were_copied_one_to_one_show_in_the_trace() {
    spoils_the_trace(
        Fault::RegistersOneToOne,
        &forever("local k = self - 6 local n = 0", "n = n + k note(n) wait()"),
        &forever("local n = 0 local k = self - 6", "n = n + k * 10 note(n) wait()"),
        "1 2 | 12 22",
        "1 2 | 21 41",
    );
}

#[test]
fn a_stack_that_was_not_grown_is_found() {
    let many = "n,".repeat(200);
    spoils_a_coroutine(
        Fault::StackNotGrown,
        &forever("local n = 0", "n = n + 1 note(n) wait()"),
        &forever("local n = 0", &format!("n = n + 1 note(n, select('#', {many} n)) wait()")),
        "1 2 | 3:201 4:201",
        "ends at",
    );
}

#[test]
fn an_open_upvalue_that_was_not_retargeted_shows_in_the_trace() {
    let text = |before: &str| {
        let before = format!("{before} local n = 0 local f = function() n = n + 100 end");
        forever(&before, "n = n + 1 note(n) wait() f()")
    };
    spoils_the_trace(
        Fault::OpenUpvalueNotRetargeted,
        &text(""),
        &text("local s = 2"),
        "1 102 | 203 304",
        "1 102 | 103 104",
    );
}

#[test]
fn upvalues_in_the_old_order_show_in_the_trace() {
    let text = |first: &str, second: &str| {
        format!(
            "local M = {{}} local a, b = 1, 2
             function M.set(x, y) a, b = x, y end
             function M.show() note('{first}', {first}) note('{second}', {second}) end
             function M.run() while true do M.show() wait() end end return M"
        )
    };
    spoils_the_trace(
        Fault::UpvaluesInOldOrder,
        &text("a", "b"),
        &text("b", "a"),
        "a:1 b:2 a:1 b:2 | b:2 a:1 b:2 a:1",
        "a:1 b:2 a:1 b:2 | b:1 a:2 b:1 a:2",
    );
}

#[test]
fn a_wrong_count_of_results_shows_in_the_trace() {
    let text = |wait: &str| forever("local n = 0", &format!("n = n + 1 note(n) {wait}"));
    let (old, new) = (text("wait()"), text("local r = wait() note(type(r))"));
    // Where the result should be, there still is the function that was called.
    spoils_the_trace(Fault::WrongResultCount, &old, &new, "1 2 | nil 3 nil 4", "1 2 | function 3 nil 4");
}

#[test]
fn new_closures_that_were_not_joined_to_old_variables_show_in_the_trace() {
    let text = |more: &str, call: &str| {
        format!(
            "local M = {{}} local total = 0
             {more}
             function M.run() while true do total = total + 1 note(total) wait() {call} end end return M"
        )
    };
    spoils_the_trace(
        Fault::FreshNotJoined,
        &text("", ""),
        &text("function M.get() return total end", "note('get', M.get())"),
        "1 2 | get:2 3 get:3 4",
        "1 2 | get:0 3 get:0 4",
    );
}

#[test]
fn an_unfinished_expression_that_was_ignored_shows_in_the_trace() {
    let text = |k: u32| forever("local n = 0", &format!("n = n + 1 note(n * {k} + (wait() or 0))"));
    spoils_the_trace(
        Fault::UnfinishedExpressionIgnored,
        &text(2),
        &text(3),
        "2 | 4 6 [1 RL103]",
        "2 | ERR m.luau:5: attempt to perform arithmetic (add) on nil and number",
    );
}

/// Runs random programs with a fault, in a process of its own since it may crash; it has found something.
fn fuzz_finds(fault: Option<Fault>) -> bool {
    let program = std::env::current_exe().expect("this program");
    let fault = fault.map_or("none".into(), |fault| format!("{fault:?}"));
    let name = "reload::live::faults::tests::random_programs_with_the_fault_that_is_asked_for";
    let ran = Command::new(program)
        .args(["--exact", name, "--ignored", "--test-threads=1"])
        .env("BLUETICK_FAULT", &fault)
        .output()
        .expect("it can be started");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(told.contains("running 1 test"), "{told}");
    !ran.status.success()
}

#[test]
fn random_programs_find_each_fault() {
    assert!(!fuzz_finds(None), "they find something where there is no fault");
    for fault in FAULTS {
        assert!(fuzz_finds(Some(fault)), "{fault:?} is not found");
    }
}

#[test]
#[ignore = "started by the test above, with a fault in its environment"]
fn random_programs_with_the_fault_that_is_asked_for() {
    let asked = std::env::var("BLUETICK_FAULT").unwrap_or_default();
    let campaign = Campaign {
        first: 0,
        count: 400,
        seed: 1,
        parks: false,
        edit: Author::rephrase,
        compare: true,
        shows: false,
        check: || FOUND.with_borrow(|found| assert!(found.is_empty(), "{found:?}")),
    };
    FAULT.set(FAULTS.into_iter().find(|fault| format!("{fault:?}") == asked));
    let counts = campaign.run();
    println!("{counts:?}");
}
