//! A tasklet that has failed at the first statement of a function, of a loop or of a branch goes on at what that has
//! been changed to: there is no statement before it that could tell the place.

mod live;
use bluetick_scripting::{ParkCode, Parked, ReloadReport};
use live::Stage;

/// A tasklet whose helper `steer(self)` fails at once is parked there; `body` is all of that function.
fn text(body: &str) -> String {
    format!(
        "local M = {{}}
function M.step(self) note('step') end
function M.steer(self)
{body}
note('done')
end
local function missing(_, key) error('no ' .. key) end
function M.run()
    local self = setmetatable({{ Transform = {{ x = 1 }}, Health = {{ current = 10 }}, list = {{ {{}} }}, on = true }}, {{ __index = missing }})
    while true do
        note('round', self.Transform.x, self.Health.current)
        M.steer(self)
        wait()
    end
end
return M"
    )
}

struct Mended {
    parked: Vec<Parked>,
    report: ReloadReport,
    notes: String,
    again: Vec<Parked>,
}

/// What comes of `broken`, with which the tasklet begins, and `mended`, until it has waited twice.
#[track_caller]
fn mend(broken: &str, mended: &str) -> Mended {
    let stage = Stage::new([("m", broken)]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    let parked = stage.vm.take_parked();
    assert_eq!(parked.len(), 1, "it has failed once: {broken}");
    let report = stage.save(mended);
    stage.step();
    let again = stage.vm.take_parked();
    stage.vm.validate_heap();
    Mended { parked, report, notes: stage.notes(), again }
}

/// After its helper's body was mended so, it goes on in it; what is noted.
#[track_caller]
fn goes_on(broken: &str, mended: &str) -> String {
    let Mended { parked, report, notes, again } = mend(&text(broken), &text(mended));
    assert_eq!((parked[0].code, parked[0].function.as_str()), (ParkCode::Parked, "steer"), "{broken}");
    assert_eq!(live::codes(&report), "", "{broken}\n{report}");
    assert_eq!((report.resumed, report.moved, again.len()), (1, 1, 0), "{broken}\n{report}");
    notes.strip_prefix("round:1:10").expect("it has run once before").trim_start().to_owned()
}

#[test]
fn the_first_statement_of_a_function_is_run_as_it_is_now() {
    for (broken, mended, noted) in [
        ("self.Transfrom.x += 1", "self.Transform.x += 1 note(self.Transform.x)", "2 done"),
        ("self.Helth.current += 1", "self.Health.current += 1 note(self.Health.current)", "11 done"),
        ("self.Helth.current = 9", "self.Health.current = 9 note(self.Health.current)", "9 done"),
        ("local h = self.Helth note(h.current)", "local h = self.Health note(h.current)", "10 done"),
        (
            "local h = self.Helth note(h.current)",
            "local health = self.Health note(health.current)",
            "10 done",
        ),
        ("if self.Helth then note('yes') end", "if self.Health then note('yes') end", "yes done"),
        ("if self.Helth then note('yes') end", "if not self.Health then note('no') end", "done"),
        ("if self.on then return self.Helth.x end", "if self.on then return self.Health.x end", ""),
        ("task.wait(1)", "wait()", ""),
        ("M.stpe(self)", "M.step(self)", "step done"),
        ("M.stpe(self)", "self.Health.current = 5 note(self.Health.current)", "5 done"),
        ("print(self.Helth.current)", "note(self.Health.current)", "10 done"),
    ] {
        assert_eq!(goes_on(broken, mended), noted, "{broken} -> {mended}");
    }
    let returns = |field: &str| text("").replace("note('done')", &format!("return self.{field}.x"));
    let Mended { report, notes, again, .. } = mend(&returns("Helth"), &returns("Health"));
    assert_eq!((live::codes(&report).as_str(), again.len(), notes.as_str()), ("", 0, "round:1:10"));
}

#[test]
fn what_is_added_before_the_first_statement_is_run_too() {
    for (broken, mended, noted) in [
        ("self.Transfrom.x += 1", "local t = self.Transform t.x += 1 note(t.x)", "2 done"),
        ("self.Transfrom.x += 1", "note('new') self.Transform.x += 1", "new done"),
        ("self.Transfrom.x += 1", "if not self.on then return end self.Transform.x += 1", "done"),
        ("self.Transfrom.x += 1", "", "done"),
        ("print(self.Helth.current)", "note('new') print(self.Health.current)", "new done"),
    ] {
        assert_eq!(goes_on(broken, mended), noted, "{broken} -> {mended}");
    }
}

#[test]
fn the_first_statement_of_a_loop_is_run_as_it_is_now() {
    for (broken, mended, noted) in [
        (
            "while true do self.Transfrom.x += 1 wait() end",
            "while true do self.Transform.x += 1 note(self.Transform.x) wait() end",
            "2",
        ),
        (
            "while true do self.Transfrom.x += 1 wait() end",
            "local t = self.Transform while true do t.x += 1 note(t.x) wait() end",
            "2",
        ),
        (
            "while self.Helth.current > 9 do wait() end",
            "while self.Health.current > 10 do wait() end",
            "done",
        ),
        (
            "repeat self.Helth.current -= 1 until self.Health.current < 9",
            "repeat self.Health.current -= 1 note(self.Health.current) until self.Health.current < 9",
            "9 8 done",
        ),
        (
            "for i = 1, 3 do self.Transfrom.x += i end",
            "for i = 1, 3 do self.Transform.x += i note(self.Transform.x) end",
            "2 4 7 done",
        ),
        (
            "for _, name in { 'a', 'b' } do self.Helth[name] = 1 end",
            "for _, name in { 'a', 'b' } do self.Health[name] = 1 note(name) end",
            "a b done",
        ),
        (
            "for i = 1, 2 do if i == 2 then self.Helth.current = i end note(i) end",
            "for i = 1, 2 do if i == 2 then self.Health.current = i end note('i', i) end",
            "1 i:2 done",
        ),
        (
            "note('before') while true do self.Helth.current += 1 wait() end",
            "note('before') while true do self.Health.current += 1 note('in') wait() end",
            "before in",
        ),
    ] {
        assert_eq!(goes_on(broken, mended), noted, "{broken} -> {mended}");
    }
}

#[test]
fn a_later_round_of_a_loop_does_not_repeat_what_now_stands_before_it() {
    let broken = "while true do
        if self.Transform.x == 2 then self.Helth.x = 1 end
        self.Transform.x += 1 note(self.Transform.x)
        if self.Transform.x > 3 then break end
    end";
    let mended = broken.replace("Helth", "Health");
    assert_eq!(goes_on(broken, &mended), "2 3 4 done");
    // The first statement fails in the second round; what follows it was done in the first, and now stands before.
    let broken = "while true do
        self.list[self.Transform.x].y = 1
        self.Transform.x += 1 note(self.Transform.x)
        if self.Transform.x > 3 then break end
    end";
    let mended = "self.Transform.x += 1 note(self.Transform.x)
    while true do
        self.Health.current = 2 note('c') self.Transform.x += 10
        if self.Transform.x > 3 then break end
    end";
    assert_eq!(goes_on(broken, mended), "2 c done");
    // Where the end of the loop is another one as well, nothing tells where it begins now.
    let mended = mended.replace("> 3", ">= 12");
    let Mended { again, notes, .. } = mend(&text(broken), &text(&mended));
    assert_eq!((again.len(), notes.as_str()), (0, "round:1:10 2 3 c done"), "its function was called anew");
}

#[test]
fn the_first_statement_of_a_branch_or_after_a_guard_is_run_as_it_is_now() {
    for (broken, mended, noted) in [
        (
            "if not self.on then note('off') else self.Helth.current = 1 end",
            "if not self.on then note('off') else self.Health.current = 1 note('on') end",
            "on done",
        ),
        (
            "if not self.on then return end self.Helth.current = 1",
            "if not self.on then return end self.Health.current = 1 note('on')",
            "on done",
        ),
        (
            "if not self.on then return end self.Helth.current = 1",
            "if not self.on then return end note('new') self.Health.current = 1 note('on')",
            "new on done",
        ),
        (
            "while true do if self.on then break end end self.Helth.current = 1",
            "while true do if self.on then break end end self.Health.current = 1 note('on')",
            "on done",
        ),
        (
            "for i = 1, 2 do if i == 1 then continue end self.Helth.current = i end",
            "for i = 1, 2 do if i == 1 then continue end self.Health.current = i note(i) end",
            "2 done",
        ),
        (
            "if not self.on then return end while true do self.Helth.current = 1 wait() end",
            "if not self.on then return end while true do self.Health.current = 1 note('in') wait() end",
            "in",
        ),
    ] {
        assert_eq!(goes_on(broken, mended), noted, "{broken} -> {mended}");
    }
}

#[test]
fn parameters_outer_variables_and_shared_locals_keep_what_they_have() {
    let text = |line: &str| {
        format!(
            "local M = {{}}
local count = 0
function M.steer(self, speed, ...)
    {line}
    local more = function() speed += 1 return speed end
    note(self.x, more(), speed, count, ...)
end
function M.run()
    count += 1
    M.steer({{ x = 1 }}, 5, 'a', 'b')
end
return M"
        )
    };
    for varargs in ["a:b", ""] {
        let text = |line: &str| match varargs {
            "" => text(line).replace(", ...", ""),
            _ => text(line),
        };
        let Mended { parked, report, again, notes } =
            mend(&text("self.y.x = 2"), &text("self.x += speed count += 1"));
        assert_eq!((parked[0].function.as_str(), again.len()), ("steer", 0));
        assert_eq!(live::codes(&report), "");
        assert_eq!(notes, format!("6:6:6:2:{varargs}").trim_end_matches(':'));
    }
}

#[test]
fn where_nothing_tells_the_place_the_statement_around_the_call_begins_anew() {
    // Both the statement that has failed and the one before were changed.
    let broken = text("note('a') self.on = 1 self.Helth.current = 1");
    let mended = text("note('b') self.off = 2 self.Health.current = 3");
    let Mended { report, again, notes, .. } = mend(&broken, &mended);
    assert_eq!((live::codes(&report).as_str(), report.stale, report.moved, report.resumed), ("", 0, 1, 1));
    assert_eq!((again.len(), notes.as_str()), (0, "round:1:10 a b done"));
    // What fails in the new text is a failure of its own, and mended as such.
    let stage = Stage::new([("m", &broken)]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    stage.save(&text("note('b') self.off = 2 self.Hlth.current = 3"));
    stage.vm.take_parked();
    stage.step();
    let parked = stage.vm.take_parked();
    assert_eq!((parked.len(), parked[0].code, parked[0].function.as_str()), (1, ParkCode::Parked, "steer"));
    assert_eq!(live::codes(&stage.save(&text("note('b') self.off = 2 self.Health.current = 3"))), "");
    stage.steps(2);
    stage.vm.validate_heap();
    assert_eq!(stage.notes(), "round:1:10 a b done round:1:3 b done");
}

#[test]
fn it_begins_anew_as_far_in_as_it_fits() {
    // The call in between may not fit either, or be in a coroutine.
    let text = |line: &str, local: &str, middle: &str| {
        format!(
            "local M = {{}}
local function inner(n)
    {line}
    return n
end
local function middle(n)
    {local}
    note('middle', n)
    local value = {middle}
    return value
end
function M.run()
    local total = 0
    for n = 1, 2 do
        total += middle(n)
    end
    note('end', total)
end
return M"
        )
    };
    let (broken, mended) = ("local t = {} t.a = n t.b.c = n", "local t = {} t.c = n t.d = n");
    for (before, after, middle, noted) in [
        ("", "", "inner(n)", "middle:1 middle:2 end:3"),
        ("", "local t = os.clock()", "inner(n)", "middle:1 middle:1 middle:2 end:3"),
        ("", "", "coroutine.wrap(function() return inner(n) end)()", "middle:1 middle:2 end:3"),
    ] {
        let stage = Stage::new([("m", &text(broken, before, middle))]);
        stage.vm.park_failed(true);
        stage.start("m");
        stage.step();
        assert_eq!(stage.vm.take_parked()[0].function, "inner");
        assert_eq!(live::codes(&stage.save(&text(mended, after, middle))), "");
        stage.step();
        stage.vm.validate_heap();
        assert_eq!(stage.notes(), noted, "{middle} {after}");
    }
}

#[test]
fn where_nothing_around_it_fits_either_it_is_refused_and_says_so() {
    let text = |line: &str| format!("local M = {{}}\nfunction M.run(self)\n{line}\nend\nreturn M");
    let Mended { report, again, .. } =
        mend(&text("local t = {} t.a = 1 t.b.c = 1"), &text("local t = {} t.c = 1 t.d = 1"));
    assert_eq!(live::codes(&report), "1 RL101");
    let reason = &report.pins[0].reason;
    assert_eq!(
        reason.text,
        "the statement that has failed was removed or changed, and there is no place to go on"
    );
    assert_eq!(again.len(), 1);
}

/// The mended statement is through when a later one fails: that is another failure, at its own place, and what was
/// done before it is not done again.
#[test]
fn a_later_statement_that_fails_in_the_same_slice_is_parked_at_its_own_place() {
    let broken = "note('first', self.Helth.current)\nnote('second', self.Transfrom.x)";
    let half = "note('first', self.Health.current)\nnote('second', self.Transfrom.x)";
    let whole = "note('first', self.Health.current)\nnote('second', self.Transform.x)";
    let stage = Stage::new([("m", &text(broken))]);
    stage.vm.park_failed(true);
    stage.start("m");
    stage.step();
    assert_eq!(stage.vm.take_parked().len(), 1);
    stage.save(&text(half));
    stage.step();
    let again = stage.vm.take_parked();
    let place = again.iter().map(|parked| (parked.code, parked.line)).collect::<Vec<_>>();
    assert_eq!(place, [(ParkCode::Parked, 5)]);
    stage.save(&text(whole));
    stage.step();
    assert!(stage.vm.take_parked().is_empty());
    let notes = stage.notes();
    assert!(notes.starts_with("round:1:10 first:10 second:1 done"), "{notes}");
}
