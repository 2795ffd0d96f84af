//! A tasklet whose code has raised waits at the statement that failed, and goes on from there when that is
//! mended (scenarios 31 to 33).

mod live;
use bluetick_scripting::{ParkCode, Parked};
use live::{Stage, forever};

/// The module `m` in three texts, the second of which raises: what is noted, with `ERR` where a tasklet was parked.
#[track_caller]
fn mend(first: &str, steps: usize, broken: &str, mended: &str, after: usize) -> String {
    let stage = Stage::new([("m", first)]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.steps(steps);
    let note_parked = || {
        for Parked { code, line, .. } in stage.vm.take_parked() {
            stage.note(&format!("{}@{line}", code.as_str()));
        }
    };
    stage.save(broken);
    stage.step();
    note_parked();
    let report = stage.save(mended);
    let codes = live::codes(&report);
    if !codes.is_empty() {
        stage.note(&format!("[{codes}]"));
    }
    for _ in 0..after {
        stage.step();
        note_parked();
    }
    stage.vm.validate_heap();
    stage.notes()
}

/// Like [`forever`] with `local n = 0` before.
fn counting(body: &str) -> String {
    forever("local n = 0", body)
}

#[test]
fn s31_a_failed_tasklet_goes_on_when_the_typo_is_mended() {
    let trace = mend(
        &counting("n = n + 1\nnote(n)\nwait()"),
        2,
        &counting("n = n + 1\nnote(self.pos.x)\nwait()"),
        &counting("n = n + 1\nnote('ok', n)\nwait()"),
        2,
    );
    assert_eq!(trace, "1 2 RL201@6 ok:3 ok:4");
}

#[test]
fn s33_what_was_done_before_the_failing_statement_is_not_done_again() {
    let trace = mend(
        &counting("n = n + 1\nwait()"),
        2,
        &counting("n = n + 1\nnote('side', n)\nnote(self.pos.x)\nwait()"),
        &counting("n = n + 1\nnote('side', n)\nnote(n * 10)\nwait()"),
        2,
    );
    assert_eq!(trace, "side:3 RL201@7 30 side:4 40");
}

#[test]
fn s31_errors_of_c_functions_and_of_error_are_parked_too() {
    let trace = mend(
        &counting("n = n + 1\nwait()"),
        2,
        &counting("n = n + 1\nnote(string.rep('x', {}))\nwait()"),
        &counting("n = n + 1\nnote(string.rep('x', n))\nwait()"),
        2,
    );
    assert_eq!(trace, "RL201@6 xxx xxxx");
    let trace = mend(
        &counting("n = n + 1\nwait()"),
        2,
        &counting("n = n + 1\nif n > 2 then error('too big') end\nwait()"),
        &counting("n = n + 1\nif n > 200 then error('too big') end\nnote(n)\nwait()"),
        2,
    );
    // The branch that it is in raises as before; there is nothing further out, and it is not lost.
    assert_eq!(trace, "RL201@6 RL201@6");
}

#[test]
fn s31_a_failing_statement_may_be_deleted_or_get_a_new_local_with_a_constant() {
    let trace = mend(
        &counting("n = n + 1\nwait()"),
        2,
        &counting("n = n + 1\nboom()\nnote('after', n)\nwait()"),
        &counting("n = n + 1\nnote('after', n)\nwait()"),
        2,
    );
    assert_eq!(trace, "RL201@6 after:3 after:4");
    let trace = mend(
        &counting("n = n + 1\nwait()"),
        2,
        &counting("n = n + 1\nnote(n * k)\nwait()"),
        &forever("local k = 10\nlocal n = 0", "n = n + 1\nnote(n * k)\nwait()"),
        2,
    );
    assert_eq!(trace, "RL201@6 30 40");
}

#[test]
fn s31_inside_loops_and_with_locals_that_closures_share() {
    let trace = mend(
        &counting("n = n + 1\nwait()"),
        2,
        &counting("n = n + 1\nfor i = 1, 3 do\nnote(i, q.z)\nend\nwait()"),
        &counting("n = n + 1\nfor i = 1, 3 do\nnote(i, n)\nend\nwait()"),
        2,
    );
    assert_eq!(trace, "RL201@7 1:3 2:3 3:3 1:4 2:4 3:4");
    let trace = mend(
        &counting("n = n + 1\nwait()"),
        2,
        &counting(
            "n = n + 1\ndo\nlocal t = n\nlocal f = function() t += 1 return t end\nnote(t.x.y, f())\nend\nwait()",
        ),
        &counting(
            "n = n + 1\ndo\nlocal t = n\nlocal f = function() t += 1 return t end\nnote(t, f())\nend\nwait()",
        ),
        2,
    );
    assert_eq!(trace, "RL201@9 3:4 4:5");
}

#[test]
fn s32_a_fix_that_fails_again_puts_it_one_statement_further_out() {
    let text = |limit: u32| {
        format!(
            "local M = {{}}
local function check(v)
    if v > {limit} then
        error('too big')
    end
    return v
end
function M.run(self)
    local n = 0
    while true do
        n = n + 1
        note(check(n))
        wait()
    end
end
return M"
        )
    };
    let stage = Stage::new([("m", &text(2))]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.steps(3);
    let parked = stage.vm.take_parked();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].code, parked[0].line, parked[0].function.as_str()), (ParkCode::Parked, 4, "check"));
    assert_eq!(parked[0].failure.message, "m.luau:4: too big");
    assert_eq!(parked[0].locals, [("v".to_string(), "3".to_string())]);
    // The branch that it is in still raises.
    assert_eq!(stage.save(&text(200)).resumed, 1);
    stage.step();
    let parked = stage.vm.take_parked();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].code, parked[0].line), (ParkCode::FurtherOut, 12));
    assert_eq!(stage.save(&text(300)).resumed, 1);
    stage.steps(2);
    assert_eq!(stage.notes(), "1 2 3 4");
}

#[test]
fn s31_a_typo_that_hits_ten_thousand_tasklets_loses_none() {
    let good = counting("n = n + 1\nwait()");
    let mut stage = Stage::new([("m", &good)]);
    stage.collects = false;
    stage.vm.park_failed(true);
    for _ in 0..10_000 {
        stage.start("m");
    }
    stage.step();
    stage.save(&counting("n = n + 1\nM.total = self.pos.x\nwait()"));
    stage.step();
    assert_eq!(stage.vm.take_parked().len(), 10_000);
    assert_eq!(stage.vm.parked_tasklets().len(), 10_000);
    let report = stage.save(&counting("n = n + 1\nM.total = (M.total or 0) + n\nwait()"));
    assert_eq!((report.resumed, report.moved, report.stale, report.parked), (10_000, 10_000, 0, 0));
    stage.step();
    stage.run("eq(require('./m').total, 2 * 10000)");
    stage.step();
    stage.run("eq(require('./m').total, (2 + 3) * 10000)");
    assert_eq!(stage.notes(), "");
}

#[test]
fn a_parked_tasklet_can_be_retried_and_killed() {
    let broken = counting("n = n + 1\nnote('try', n)\nlocal x = self.pos.x\nwait()");
    let stage = Stage::new([("m", &broken)]);
    stage.vm.park_failed(true);
    let tasklet = stage.start("m");
    stage.step();
    assert_eq!(stage.vm.parked_tasklets().len(), 1);
    assert!(stage.vm.retry(tasklet));
    assert!(!stage.vm.retry(tasklet), "it is not parked any more");
    stage.step();
    let parked = stage.vm.parked_tasklets();
    assert_eq!((parked.len(), parked[0].code, parked[0].line), (1, ParkCode::Parked, 7));
    assert_eq!(stage.notes(), "try:1");
    assert!(stage.vm.kill(tasklet).expect("it can be killed"));
    stage.step();
    assert!(stage.vm.parked_tasklets().is_empty());
    assert_eq!(stage.vm.stats().tasklets, 0);
}

#[test]
fn what_a_tasklet_has_deferred_waits_as_long_as_it_is_parked() {
    let text = |line: &str| {
        format!(
            "local M = {{}}\nfunction M.run()\nscheduler.defer(function() note('end') end)\n{line}\nend\nreturn M"
        )
    };
    let stage = Stage::new([("m", &text("local x = nil + 1"))]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    assert_eq!((stage.notes().as_str(), stage.vm.take_parked().len()), ("", 1));
    stage.save(&text("note('mended')"));
    stage.step();
    assert_eq!(stage.notes(), "mended end");
}

#[test]
fn an_error_in_a_coroutine_of_the_script_parks_them_both() {
    let text = |line: &str| {
        format!(
            "local M = {{}}
function M.run()
    local inner = coroutine.wrap(function()
        coroutine.yield(1)
        {line}
        coroutine.yield(2)
    end)
    note(inner())
    note(inner())
end
return M"
        )
    };
    let stage = Stage::new([("m", &text("local x = nil + 1"))]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    let parked = stage.vm.take_parked();
    assert_eq!((parked.len(), parked[0].line), (1, 5));
    stage.save(&text("note('mended')"));
    stage.step();
    stage.vm.validate_heap();
    assert_eq!(stage.notes(), "1 mended 2");
}

#[test]
fn an_error_in_the_coroutine_that_a_loop_runs_through_parks_them_both() {
    // The first round fails before anything was suspended, the other one after.
    for round in ["1", "2"] {
        let text = |line: &str| {
            format!(
                "local M = {{}}
function M.run()
    for n in coroutine.wrap(function()
        for i = 1, 3 do
            if i == {round} then
                {line}
            end
            coroutine.yield(i)
        end
    end) do
        note(n)
    end
    note('end')
end
return M"
            )
        };
        let stage = Stage::new([("m", &text("local x = nil + 1"))]);
        stage.vm.park_failed(true);
        stage.start("m");
        stage.step();
        let parked = stage.vm.take_parked();
        assert_eq!((parked.len(), parked[0].line), (1, 6));
        stage.save(&text("note('mended')"));
        stage.step();
        stage.vm.validate_heap();
        let expected = if round == "1" { "mended 1 2 3 end" } else { "1 mended 2 3 end" };
        assert_eq!(stage.notes(), expected);
    }
}

#[test]
fn a_coroutine_that_the_vm_itself_has_called_is_not_parked_but_the_statement_around_it() {
    let dead = "m.luau:4: cannot resume dead coroutine";
    for (text, after, noted) in [
        (
            "local t = setmetatable({}, { __index = coroutine.wrap(function() LINE coroutine.yield('x') end) })\nnote(t.x)",
            dead,
            "",
        ),
        (
            "local t = setmetatable({}, { __add = coroutine.wrap(function() LINE coroutine.yield('x') end) })\nnote(t + 1)",
            dead,
            "",
        ),
        (
            "local t = { 2, 1 }\ntable.sort(t, coroutine.wrap(function(a, b) LINE while true do a, b = coroutine.yield(a < b) end end)) note('x')",
            "",
            "x",
        ),
        (
            "local t = { 2, 1 } local f = coroutine.wrap(function(a, b) LINE while true do a, b = coroutine.yield(a < b) end end)\ntable.sort(t, function(a, b) return f(a, b) end) note('x')",
            dead,
            "",
        ),
    ] {
        let text = |line: &str| {
            format!("local M = {{}}\nfunction M.run()\n{}\nend\nreturn M", text.replace("LINE", line))
        };
        let stage = Stage::new([("m", &text("local x = nil + 1"))]);
        stage.vm.park_failed(true);
        stage.start("m");
        stage.step();
        let parked = stage.vm.take_parked();
        assert_eq!((parked.len(), parked[0].line), (1, 4), "{}", text(""));
        // The coroutine itself has ended, and can't be resumed unless the statement makes a new one.
        stage.save(&text(""));
        stage.step();
        stage.vm.validate_heap();
        let again: Vec<String> = stage.vm.take_parked().into_iter().map(|p| p.failure.message).collect();
        assert_eq!((&*again.concat(), &*stage.notes()), (after, noted), "{}", text(""));
    }
}

#[test]
fn where_the_vm_stands_in_between_the_statement_further_out_is_begun_anew() {
    let text = |line: &str| {
        format!(
            "local M = {{}}
function M.run()
    local t = setmetatable({{}}, {{ __index = function(t, k) {line} return k end }})
    note('before')
    note(t.field)
end
return M"
        )
    };
    let stage = Stage::new([("m", &text("local x = nil + 1"))]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    let parked = stage.vm.take_parked();
    assert_eq!((parked.len(), parked[0].line), (1, 5));
    stage.save(&text("note('mended')"));
    stage.step();
    assert_eq!(stage.notes(), "before mended field");
}

#[test]
fn errors_that_a_script_catches_park_nobody() {
    let text = "local M = {} function M.run() note(tostring(pcall(error, 'x'))) end return M";
    let stage = Stage::new([("m", text)]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    assert!(stage.vm.parked_tasklets().is_empty());
    assert_eq!(stage.notes(), "false");
}

#[test]
fn without_the_wish_for_it_a_failed_tasklet_ends() {
    let stage = Stage::new([("m", "local M = {}\nfunction M.run()\nlocal x = nil + 1\nend\nreturn M")]);
    stage.start("m");
    stage.step();
    assert!(stage.vm.parked_tasklets().is_empty());
    assert!(stage.notes().starts_with("ERR m.luau:3: "), "the error is reported");
}
