//! Tasklets know which text they run, and begin anew when asked to.

mod live;
use bluetick_scripting::ErrorKind;
use live::{Stage, forever};

/// A loop that finishes on its old text when a local with a computed value comes above its wait.
fn patrol(word: &str, above: &str) -> String {
    forever(&format!("{above}\nlocal n = self"), &format!("n += 1\nnote('{word}', n)\nwait()"))
}

#[test]
fn a_tasklet_knows_its_version_and_whether_it_is_stale() {
    let stage = Stage::new([("m", &patrol("old", ""))]);
    let moved = stage.start("m");
    assert_eq!((stage.vm.version_of(moved), stage.vm.is_stale(moved)), (None, false), "it has not begun");
    stage.step();
    assert_eq!((stage.vm.version_of(moved), stage.vm.is_stale(moved)), (Some(1), false));
    stage.save(&patrol("new", ""));
    assert_eq!((stage.vm.version_of(moved), stage.vm.is_stale(moved)), (Some(2), false), "it has moved");
    stage.save(&patrol("newer", "local t = os.clock()"));
    assert_eq!((stage.vm.version_of(moved), stage.vm.is_stale(moved)), (Some(2), true), "it was pinned");
    let stale = stage.vm.stale_tasklets();
    assert_eq!(stale.len(), 1);
    assert_eq!(
        (stale[0].tasklet, stale[0].pin.version, stale[0].pin.reason.code.as_str()),
        (moved, 2, "RL104")
    );
    assert!(stale[0].pin.advice().contains("local t = nil"), "{}", stale[0].pin.advice());
    stage.save(&patrol("newest", ""));
    assert!(stage.vm.stale_tasklets().is_empty(), "a later version fits");
    assert_eq!(stage.vm.version_of(moved), Some(4));
    stage.notes();
}

#[test]
fn what_a_script_asks_of_a_tasklet_is_the_same() {
    let text = forever("local me = scheduler.getcurrent()", "note(me.version, tostring(me.stale))\nwait()");
    let stage = Stage::with(&text);
    stage.save(&text.replace("local me", "local t = os.clock()\nlocal me"));
    stage.step();
    assert_eq!(stage.notes(), "1:false 1:true");
    stage.run("local t = tasklet(function() end) eq(t.version, nil) eq(t.stale, false)");
}

#[test]
fn a_tasklet_that_begins_anew_runs_the_new_text_with_its_arguments_and_ends_in_order() {
    let text = |word: &str, above: &str| {
        patrol(word, &format!("scheduler.defer(function() note('end {word}') end)\n{above}"))
    };
    let stage = Stage::new([("m", &text("old", ""))]);
    let old = stage.start("m");
    stage.vm.set_name(old, "the guard");
    stage.step();
    stage.save(&text("new", "local t = os.clock()"));
    stage.step();
    assert_eq!(stage.notes(), "old:8 old:9", "it finishes on its old text");
    let new = stage.vm.restart(old).expect("it can begin anew");
    assert_ne!(new, old);
    stage.step();
    assert_eq!(stage.notes(), "end new new:8", "what it has deferred comes before its next life");
    assert_eq!(stage.vm.name_of(new), "tasklet 'the guard'");
    assert!(!stage.vm.is_alive(old) && !stage.vm.is_stale(new));
    stage.vm.validate_heap();
    // And one that is not stale.
    let newer = stage.vm.restart(new).expect("it can begin anew");
    stage.step();
    assert_eq!(stage.notes(), "end new new:8");
    assert_eq!(stage.vm.restart(new).expect_err("it has ended").kind, ErrorKind::Dead);
    stage.vm.kill(newer).expect("it can be killed");
    stage.step();
    assert_eq!(stage.vm.stats().tasklets, 0);
}

#[test]
fn arguments_of_a_vararg_function_are_those_of_the_call() {
    let text = "local M = {} function M.run(...) note(select('#', ...), ...) wait() end return M";
    let stage = Stage::with(text);
    stage.run("local m = require('./m') t = tasklet(m.run)(1, nil, 'three')");
    let started = stage.vm.stats().tasklets;
    assert!(started >= 2);
    stage.notes();
    let stage = Stage::new([("m", text)]);
    let old = stage.start("m");
    stage.step();
    stage.vm.restart(old).expect("it can begin anew");
    stage.step();
    assert_eq!(stage.notes(), "1:7 1:7");
}

#[test]
fn a_parked_tasklet_can_begin_anew() {
    let broken = forever("note('begins', self)", "local x = nil + 1\nwait()");
    let stage = Stage::new([("m", &broken)]);
    stage.vm.park_failed(true);
    let old = stage.start("m");
    stage.step();
    assert_eq!(stage.vm.take_parked().len(), 1);
    assert!(stage.vm.take_parked().is_empty(), "it is told once");
    stage.vm.restart(old).expect("it can begin anew");
    stage.step();
    assert_eq!(stage.notes(), "begins:7 begins:7");
    assert_eq!(stage.vm.parked_ids().len(), 1, "it fails again, and is parked again");
}

#[test]
fn an_error_that_somebody_waits_for_parks_nobody() {
    let text = "local M = {}
        function M.run()
            local t = uthread.new(function() wait() error('for the one who waits') end)
            note(tostring(select(2, pcall(uthread.join, t))))
            uthread.new(function() error('for nobody') end)
        end
        return M";
    let stage = Stage::new([("m", text)]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.steps(2);
    assert!(stage.notes().contains("for the one who waits"));
    let parked = stage.vm.take_parked();
    assert_eq!(parked.len(), 1);
    assert!(parked[0].failure.message.contains("for nobody"));
}

#[test]
fn a_module_that_gets_another_name_takes_its_state_and_its_tasklets_along() {
    let stage = Stage::with(&patrol("old", ""));
    stage.run("require('./m').kept = 'kept'");
    assert!(!stage.vm.rename_module("nothing", "n", "n.luau"));
    assert!(stage.vm.rename_module("m", "n", "n.luau"));
    let report = stage.files.save(&stage.vm, [("n", patrol("new", "").as_str())]);
    assert_eq!((report.moved, report.stale), (1, 0), "{report}");
    assert_eq!(report.modules[0].file, "n.luau");
    stage.step();
    assert_eq!(stage.notes(), "old:8 new:9");
    stage.run("eq(require('./n').kept, 'kept')");
}

#[test]
fn a_rollback_brings_the_last_text_that_was_another_one() {
    let stage = Stage::with(&patrol("one", ""));
    stage.save(&patrol("two", ""));
    stage.save(&patrol("two", ""));
    stage.step();
    let report = stage.vm.rollback("m").expect("there was another text");
    assert!(!report.is_refused(), "{report}");
    stage.step();
    assert_eq!(stage.notes(), "one:8 two:9 one:10");
    assert_eq!(stage.vm.module_version("m"), 4);
}

#[test]
fn the_error_handler_of_one_owner_is_not_that_of_others() {
    let stage = Stage::new([
        (
            "m",
            "return { run = function() scheduler.set_error_handler(function() note('mine') end) error('a') end }",
        ),
        ("n", "return { run = function() error('b') end }"),
    ]);
    stage.start("m");
    stage.start("n");
    stage.step();
    let notes = stage.notes();
    assert!(notes.starts_with("mine ERR ") && notes.contains(": b"), "{notes}");
}
