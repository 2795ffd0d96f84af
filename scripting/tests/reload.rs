//! New text under live tasklets, as far as any VM can do it (`hot-reload.md`): calls through a module
//! run the new functions, and its state is merged.

mod script;
use bluetick_scripting::{Difference, ModuleFault, ReloadReport};
use script::{Files, frame, notes, run_in, spawn};

/// The differences as lines: `now path before -> after` or `kept path before (after)`.
fn told(report: &ReloadReport) -> Vec<String> {
    assert!(!report.is_refused(), "{report}");
    assert!(report.hook_errors.is_empty(), "{report}");
    let tell = |d: &Difference| match d.kept {
        false => format!("now {} {} -> {}", d.path, d.before, d.after),
        true => format!("kept {} {} ({})", d.path, d.before, d.after),
    };
    report.differences.iter().map(tell).collect()
}

#[test]
fn a_call_through_the_module_runs_the_new_function_and_state_is_kept() {
    let files = Files::of([(
        "m",
        "local M = { count = 0 } function M.step() M.count += 1 note('old', M.count) end return M",
    )]);
    let vm = files.vm();
    spawn(&vm, "local m = require('./m') while true do m.step() scheduler.schedule_remove() end");
    let owner = vm.new_owner();
    let f = script::load(&vm, "local m = require('./m') for i = 1, 3 do m.step() scheduler.schedule() end");
    vm.spawn(&f, (), owner).expect("a tasklet can be made");
    let mut slices = 0;
    vm.run_ready(|| {
        slices += 1;
        slices <= 2
    });
    let report = files.save(
        &vm,
        [("m", "local M = { count = 0 } function M.step() M.count += 10 note('new', M.count) end return M")],
    );
    assert_eq!(told(&report), Vec::<String>::new());
    assert_eq!(report.modules.len(), 1);
    assert_eq!((report.modules[0].from, report.modules[0].to), (1, 2));
    assert_eq!(report.to_string(), "reload  m.luau #1 -> #2\n");
    frame(&vm);
    assert_eq!(notes(&vm), "old:1 old:2 new:12 new:22");
    assert_eq!(vm.module_version("m"), 2);
}

#[test]
fn a_module_that_is_a_number_stays_one_with_or_without_a_fraction() {
    let files = Files::of([("speed", "return 3")]);
    let vm = files.vm();
    run_in(&vm, "eq(require('./speed'), 3)");
    let report = files.save(&vm, [("speed", "return 3.5")]);
    assert!(!report.is_refused(), "{report}");
    let report = files.save(&vm, [("speed", "return 'fast'")]);
    let text = report.to_string();
    assert!(
        text.contains("returned a number before and returns a string now; restart the game to change that"),
        "{text}"
    );
}

#[test]
fn modules_that_nobody_has_required_are_left_out() {
    let files = Files::of([("m", "return { v = 1 }")]);
    let vm = files.vm();
    assert!(files.save(&vm, [("m", "return { v = 2 }")]).is_empty());
    run_in(&vm, "eq(require('./m').v, 2)");
    assert_eq!(vm.module_version("m"), 1);
    assert!(vm.reload(Vec::new()).is_empty());
}

#[test]
fn s26_what_the_game_has_changed_it_keeps_and_otherwise_the_file_wins() {
    let files = Files::of([(
        "m",
        "return { speed = 5, score = 0, name = 'a', flag = true, gone = 1, kept_gone = 1, same = 1, seed = math.random() }",
    )]);
    let vm = files.vm();
    run_in(
        &vm,
        "m = require('./m') m.score = 42 m.kept_gone = 2 m.added = 'by the game' m.flag = nil m.seed = 0.5 m.same = 7",
    );
    let report = files.save(
        &vm,
        [("m", "return { speed = 8, score = 7, name = 'b', flag = false, new = 'x', same = 1, seed = math.random() }")],
    );
    assert_eq!(
        told(&report),
        [
            "kept M.flag nothing (false)",
            "now M.name \"a\" -> \"b\"",
            "now M.new nothing -> \"x\"",
            "kept M.score 42 (7)",
            "now M.speed 5 -> 8",
        ]
    );
    run_in(
        &vm,
        r##"
        local m = require("./m")
        eq(m.speed, 8)
        eq(m.score, 42)
        eq(m.name, "b")
        eq(m.flag, nil)
        eq(m.gone, nil)
        eq(m.kept_gone, 2)
        eq(m.new, "x")
        eq(m.added, "by the game")
        eq(m.same, 7)
        "##,
    );
    // What was kept is still the game's at the next save; what the game sets back is the file's again.
    run_in(&vm, "require('./m').score = 7");
    let report = files
        .save(&vm, [("m", "return { speed = 8, score = 9, name = 'b', flag = false, new = 'x', same = 1 }")]);
    assert!(told(&report).contains(&"now M.score 7 -> 9".to_string()), "{report}");
}

#[test]
fn nested_records_are_merged_field_by_field_and_keep_their_identity() {
    let files =
        Files::of([("m", "return { tune = { jump = 3, run = { fast = 1, slow = 2 } }, other = {} }")]);
    let vm = files.vm();
    run_in(
        &vm,
        "local m = require('./m') m.held = { m.tune, m.tune.run } m.tune.run.slow = 20 m.other.x = 1",
    );
    let report = files.save(
        &vm,
        [("m", "return { tune = { jump = 4, run = { fast = 10, slow = 3, new = {} } }, other = {} }")],
    );
    assert_eq!(
        told(&report),
        [
            "now M.tune.jump 3 -> 4",
            "now M.tune.run.fast 1 -> 10",
            "now M.tune.run.new nothing -> a table of 0",
            "kept M.tune.run.slow 20 (3)",
        ]
    );
    run_in(
        &vm,
        r##"
        local m = require("./m")
        eq(m.held[1], m.tune)
        eq(m.held[2], m.tune.run)
        eq(m.tune.run.slow, 20)
        eq(m.tune.run.fast, 10)
        eq(m.other.x, 1)
        "##,
    );
}

#[test]
fn s27_lists_are_taken_whole_and_in_place_unless_the_game_has_touched_them() {
    let files = Files::of([("m", "return { a = { 1, 2, 3 }, b = { 1, 2 }, c = { 'x' }, d = {} }")]);
    let vm = files.vm();
    run_in(&vm, "local m = require('./m') m.held = m.a table.insert(m.b, 'game') table.insert(m.d, 'game')");
    let report = files.save(&vm, [("m", "return { a = { 4, 5 }, b = { 9 }, c = { 'x' }, d = { 'file' } }")]);
    assert_eq!(
        told(&report),
        [
            "now M.a a table of 3 -> a table of 2",
            "kept M.b a table of 3 (a table of 1)",
            "kept M.d a table of 1 (a table of 1)"
        ]
    );
    run_in(
        &vm,
        r##"
        local m = require("./m")
        eq(m.held, m.a)
        eq(table.concat(m.a, ","), "4,5")
        eq(table.concat(m.b, ","), "1,2,game")
        eq(table.concat(m.d, ","), "game")
        "##,
    );
}

#[test]
fn s29_a_bad_save_changes_nothing_and_is_reported_with_its_place() {
    let good = "local M = { v = 1 } function M.f() return 'good' end return M";
    let files = Files::of([("m", good), ("on", "local m = require('./m') return { m = m }")]);
    let vm = files.vm();
    run_in(&vm, "require('./on').m.v = 5");
    for (text, code, place) in [
        ("local M = {\nfunction", "RL001", Some(2)),
        ("local M = {}\nM.x = nil + 1\nreturn M", "RL002", Some(2)),
        ("while true do end", "RL002", Some(1)),
        ("channel():receive()", "RL002", Some(1)),
        ("return 42", "RL003", None),
        ("return function() end", "RL003", None),
        ("", "RL004", None),
        ("-- nothing but words", "RL003", None),
        ("return nil", "RL003", None),
        ("return {}, {}", "RL003", None),
        ("return require('./m')", "RL002", Some(1)),
        ("return require('./not_there')", "RL002", Some(1)),
    ] {
        let report = files.save(&vm, [("m", text)]);
        assert!(report.is_refused(), "{text}");
        let fault = &report.refused[0];
        assert_eq!(
            (fault.module.as_str(), fault.fault.code(), fault.line),
            ("m", code, place),
            "{text}: {report}"
        );
        assert!(report.to_string().starts_with("reload refused  m (still #1)\n"), "{report}");
        assert!(report.to_string().contains(code), "{report}");
        if place.is_some() {
            assert!(report.to_string().contains(" | "), "an excerpt is missing: {report}");
        }
        assert!(report.modules.is_empty());
        run_in(&vm, "local m = require('./on').m eq(m, require('./m')) eq(m.v, 5) eq(m.f(), 'good')");
        assert_eq!(vm.module_version("m"), 1);
    }
    let report = files.save(&vm, [("m", &good.replace("good", "mended"))]);
    assert_eq!(told(&report), Vec::<String>::new());
    run_in(&vm, "local m = require('./on').m eq(m.v, 5) eq(m.f(), 'mended')");
}

#[test]
fn s39_of_two_files_saved_together_neither_changes_if_one_is_broken() {
    let files = Files::of([("a", "return { v = 'a1' }"), ("b", "return { v = 'b1' }")]);
    let vm = files.vm();
    run_in(&vm, "require('./a') require('./b')");
    let report = files.save(&vm, [("a", "return { v = 'a2' }"), ("b", "return { v = }")]);
    assert!(report.is_refused());
    assert_eq!(report.held, ["a"]);
    assert_eq!(report.refused.len(), 1);
    assert_eq!((report.refused[0].module.as_str(), report.refused[0].fault), ("b", ModuleFault::Syntax));
    assert!(report.to_string().contains("RL006  a was saved with it and waits for it"), "{report}");
    run_in(&vm, "eq(require('./a').v, 'a1') eq(require('./b').v, 'b1')");
    let report = files.save(&vm, [("a", "return { v = 'a3' }"), ("b", "return { v = 'b3' }")]);
    assert_eq!(told(&report), ["now M.v \"a1\" -> \"a3\"", "now M.v \"b1\" -> \"b3\""]);
    run_in(&vm, "eq(require('./a').v, 'a3') eq(require('./b').v, 'b3')");
}

#[test]
fn a_fault_in_one_file_of_a_batch_is_told_once_with_those_that_need_it() {
    let files = Files::of([("a", "return { b = require('./b') }"), ("b", "return {}")]);
    let vm = files.vm();
    run_in(&vm, "require('./a')");
    let report =
        files.save(&vm, [("a", "local b = require('./b') return { b = b }"), ("b", "return nil + 1")]);
    assert!(report.is_refused());
    let modules: Vec<&str> = report.refused.iter().map(|error| error.module.as_str()).collect();
    assert!(modules.contains(&"b"), "{report}");
    assert_eq!(
        report.to_string().matches("attempt to perform arithmetic").count(),
        modules.len(),
        "{report}"
    );
}

#[test]
fn new_functions_see_the_live_module_and_the_live_modules_of_the_batch() {
    let a = |v: u32| {
        format!(
            "local B = require('./b') local M = {{ n = 0, B = B, list = {{ B }} }}
             function M.bump() M.n += {v} return M.n end
             function M.other() return B end
             function M.nested() return (function() return M, B end)() end
             M.deep = {{ f = function() return M end }}
             return M"
        )
    };
    let b = |v: u32| format!("local M = {{ v = {v} }} function M.me() return M end return M");
    let files = Files::of([("a", &a(1)), ("b", &b(1))]);
    let vm = files.vm();
    run_in(&vm, "local a = require('./a') a.bump()");
    for version in 2..5 {
        let report = files.save(&vm, [("a", &a(version)), ("b", &b(version))]);
        assert!(!report.is_refused(), "{report}");
        run_in(
            &vm,
            r##"
            local a, b = require("./a"), require("./b")
            eq(a.other(), b)
            eq(a.B, b)
            eq(a.list[1], b)
            eq(b.me(), b)
            local x, y = a.nested()
            eq(x, a)
            eq(y, b)
            eq(a.deep.f(), a)
            local before = a.n
            a.bump()
            eq(a.n > before, true)
            "##,
        );
    }
    run_in(&vm, "eq(require('./a').n, 1 + 2 + 3 + 4) eq(require('./b').v, 4)");
    // One alone: what it requires is the live one.
    files.save(&vm, [("a", &a(7))]);
    run_in(&vm, "eq(require('./a').other(), require('./b')) eq(require('./a').B, require('./b'))");
}

#[test]
fn module_tables_in_values_that_are_new_are_the_live_ones() {
    let files = Files::of([("a", "return {}"), ("b", "return { v = 1 }")]);
    let vm = files.vm();
    run_in(&vm, "require('./a') require('./b')");
    let report = files.save(
        &vm,
        [
            (
                "a",
                "local B = require('./b') local M = {}
                 M.config = { handlers = { B }, me = M }
                 M.object = setmetatable({}, { __index = B, owner = M })
                 M.closure = (function() local inner = { b = B } return function() return inner.b end end)()
                 return M",
            ),
            ("b", "return { v = 2 }"),
        ],
    );
    assert!(!report.is_refused(), "{report}");
    run_in(
        &vm,
        r##"
        local a, b = require("./a"), require("./b")
        eq(a.config.handlers[1], b)
        eq(a.config.me, a)
        b.v = "changed"
        eq(a.object.v, "changed")
        eq(getmetatable(a.object).owner, a)
        eq(a.closure(), b)
        "##,
    );
}

#[test]
fn a_module_that_is_new_in_a_batch_gets_the_live_modules_and_goes_with_a_refused_batch() {
    let files = Files::of([("a", "return { v = 1 }"), ("b", "return {}")]);
    let vm = files.vm();
    run_in(&vm, "require('./a') require('./b')");
    files.write("c", "local A = require('./a') return { a = A, get = function() return A end }");
    // Refused: the new module must not stay with what was evaluated aside.
    let report =
        files.save(&vm, [("a", "return { v = 2 }"), ("b", "local C = require('./c') return nil + 1")]);
    assert!(report.is_refused());
    run_in(&vm, "eq(require('./c').a, require('./a')) eq(require('./c').get().v, 1)");

    let vm = files.vm();
    files.write("b", "return {}");
    files.write("a", "return { v = 1 }");
    run_in(&vm, "require('./a') require('./b')");
    let report =
        files.save(&vm, [("a", "return { v = 2 }"), ("b", "local C = require('./c') return { c = C }")]);
    assert!(!report.is_refused(), "{report}");
    run_in(
        &vm,
        "local c = require('./c') eq(require('./b').c, c) eq(c.a, require('./a')) eq(c.get(), require('./a'))",
    );
}

#[test]
fn globals_of_a_file_are_kept_and_its_global_functions_replaced() {
    let text = |v: u32| {
        format!(
            "count = 0 limit = {v} function step() count += {v} return count, limit end return {{ step = function() return step() end }}"
        )
    };
    let files = Files::of([("m", &text(1))]);
    let vm = files.vm();
    run_in(&vm, "eq(require('./m').step(), 1)");
    let report = files.save(&vm, [("m", &text(10))]);
    assert_eq!(told(&report), ["now _G.limit 1 -> 10"]);
    run_in(&vm, "local count, limit = require('./m').step() eq(count, 11) eq(limit, 10)");
    files.save(&vm, [("m", &text(100))]);
    run_in(&vm, "local count, limit = require('./m').step() eq(count, 111) eq(limit, 100) eq(step, nil)");
}

#[test]
fn instances_of_classes_get_the_new_methods() {
    let class = |say: &str| {
        format!(
            "local Guard = {{}} Guard.__index = Guard
             function Guard.new(name) return setmetatable({{ name = name }}, Guard) end
             function Guard:say() return '{say} ' .. self.name end
             function Guard.__tostring(self) return '{say}' end
             function Guard.__eq(a, b) return a.name == b.name end
             return Guard"
        )
    };
    let derived = |v: &str| {
        format!(
            "local Guard = require('./guard')
             local Chief = setmetatable({{}}, {{ __index = Guard, __call = function(c, name) return c.new(name) end }})
             Chief.__index = Chief
             function Chief.new(name) return setmetatable(Guard.new(name), Chief) end
             function Chief:order() return '{v} ' .. self:say() end
             return Chief"
        )
    };
    let files = Files::of([("guard", &class("old")), ("chief", &derived("old"))]);
    let vm = files.vm();
    spawn(
        &vm,
        r##"
        local Guard, Chief = require("./guard"), require("./chief")
        local g, c = Guard.new("g"), Chief("c")
        while true do
            note(g:say(), tostring(g), c:say(), c:order())
            eq(getmetatable(g), Guard)
            eq(getmetatable(c), Chief)
            eq(Guard.new("g") == g, true)
            scheduler.schedule()
        end
        "##,
    );
    let step = || {
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 1
        });
        let ended = vm.take_ended();
        assert!(ended.iter().all(|ended| ended.failure.is_none()), "{ended:?}");
        notes(&vm)
    };
    assert_eq!(step(), "old g:old:old c:old old c");
    files.save(&vm, [("guard", &class("new"))]);
    assert_eq!(step(), "new g:new:new c:old new c");
    files.save(&vm, [("chief", &derived("new"))]);
    assert_eq!(step(), "new g:new:new c:new new c");
    files.save(&vm, [("guard", &class("last")), ("chief", &derived("last"))]);
    assert_eq!(step(), "last g:last:last c:last last c");
}

#[test]
fn the_metatable_of_a_module_itself_is_merged_too() {
    let text = |v: &str| {
        format!(
            "return setmetatable({{}}, {{ __call = function() return '{v}' end, __index = {{ x = '{v}' }} }})"
        )
    };
    let files = Files::of([("m", &text("old"))]);
    let vm = files.vm();
    run_in(&vm, "eq(require('./m')(), 'old')");
    files.save(&vm, [("m", &text("new"))]);
    run_in(&vm, "eq(require('./m')(), 'new') eq(require('./m').x, 'new')");
}

#[test]
fn a_function_that_was_deleted_is_gone_and_calls_and_references_finish_on_it() {
    let files = Files::of([(
        "m",
        "local M = {} function M.f() scheduler.schedule_remove() note('f ends') end function M.g() end return M",
    )]);
    let vm = files.vm();
    spawn(&vm, "local m = require('./m') t = scheduler.getcurrent() local f = m.f f() f() note('done')");
    frame(&vm);
    let report = files.save(&vm, [("m", "local M = {} function M.g() end return M")]);
    assert_eq!(told(&report), Vec::<String>::new());
    run_in(&vm, "eq(require('./m').f, nil) eq(type(require('./m').g), 'function')");
    // The game has put its own function there: it stays.
    run_in(&vm, "require('./m').g = function() return 'own' end");
    let report = files.save(&vm, [("m", "local M = {} function M.g() return 'file' end return M")]);
    assert_eq!(told(&report), ["kept M.g a function (a function)"]);
    run_in(&vm, "eq(require('./m').g(), 'own')");
}

#[test]
fn on_reload_is_called_after_the_commit_and_its_errors_undo_nothing() {
    let files = Files::of([("m", "return { v = 1 }"), ("n", "return {}")]);
    let vm = files.vm();
    run_in(&vm, "require('./m') require('./n')");
    let hook = "local M = { v = 2 } function M.on_reload(info) note('hook', info.module, M.v) end return M";
    assert!(!files.save(&vm, [("m", hook)]).is_refused());
    assert_eq!(notes(&vm), "hook:m:2");
    for (body, text) in [
        ("error('in the hook')", "in the hook"),
        ("error()", "nil"),
        ("error({})", "table"),
        ("channel():receive()", "receive"),
        ("scheduler.schedule()", "schedule"),
        ("scheduler.getcurrent():kill()", "TaskletExit"),
        ("local function f() return f() + 1 end f()", "stack overflow"),
        ("while true do end", "without end"),
        ("while true do pcall(function() while true do end end) end", "without end"),
    ] {
        let broken = format!("local M = {{ v = 3 }} function M.on_reload() {body} end return M");
        let report =
            files.save(&vm, [("m", &broken), ("n", "return { on_reload = function() note('other') end }")]);
        assert!(!report.is_refused());
        assert_eq!(report.hook_errors.len(), 1, "{body}");
        assert!(report.hook_errors[0].starts_with("m: on_reload: "), "{report}");
        assert!(report.hook_errors[0].contains(text), "{body}: {report}");
        assert!(report.to_string().contains("hook  m: on_reload"), "{report}");
        assert_eq!(notes(&vm), "other");
        run_in(&vm, "eq(require('./m').v, 3)");
    }
    spawn(&vm, "note('on')");
    frame(&vm);
    assert_eq!(notes(&vm), "on");
}

#[test]
fn s35_forty_versions_in_a_row_end_on_the_last_and_leave_memory_flat() {
    let text = |v: usize| {
        format!(
            "local N = {v} local M = {{ v = {v}, score = 0, list = {{ {v}, {v} }}, deep = {{ v = {v} }} }}
             M.__index = M
             function M.new() return setmetatable({{}}, M) end
             function M:get() return N, M.v, M.deep.v, M.list[1] end
             helper = function() return N end
             return M"
        )
    };
    let files = Files::of([
        ("m", &text(0)),
        ("user", "local M = require('./m') return { f = function() return M.new():get() end }"),
    ]);
    let vm = files.vm();
    run_in(&vm, "instance = require('./m').new() require('./m').score = 1 require('./user')");
    let owner = vm.new_owner();
    let f = script::load(
        &vm,
        "local m = require('./m') local i = m.new() while true do note(table.concat({ i:get() }, ',')) scheduler.schedule() end",
    );
    let tasklet = vm.spawn(&f, (), owner).expect("a tasklet can be made");
    let step = || {
        let mut slices = 0;
        vm.run_ready(|| {
            slices += 1;
            slices <= 1
        });
        notes(&vm)
    };
    let mut settled = Vec::new();
    for v in 1..=40 {
        let report = files.save(
            &vm,
            [
                ("m", &text(v)),
                ("user", "local M = require('./m') return { f = function() return M.new():get() end }"),
            ],
        );
        assert!(!report.is_refused(), "{report}");
        assert_eq!(step(), format!("{v},{v},{v},{v}"));
        vm.lua().gc_collect().expect("garbage can be collected");
        vm.lua().gc_collect().expect("garbage can be collected");
        settled.push(vm.memory());
    }
    assert!(vm.kill(tasklet).expect("it can be killed"));
    frame(&vm);
    run_in(
        &vm,
        "local a, b, c, d = require('./user').f() eq(a + b + c + d, 160) eq(require('./m').score, 1)",
    );
    assert_eq!(vm.module_version("m"), 41);
    let (early, late) = (settled[9], settled[39]);
    assert!(late < early + 4096, "{early} -> {late}: {settled:?}");
}

#[test]
fn modules_that_are_no_tables_are_replaced() {
    let files = Files::of([("f", "return function() return 1 end"), ("n", "return 1")]);
    let vm = files.vm();
    run_in(&vm, "require('./f') require('./n')");
    let report = files.save(&vm, [("f", "return function() return 2 end"), ("n", "return 2")]);
    assert!(!report.is_refused(), "{report}");
    run_in(&vm, "eq(require('./f')(), 2) eq(require('./n'), 2)");
}

#[test]
fn odd_modules_do_no_harm_to_a_reload() {
    for text in [
        "local t = {} t.t = t t[t] = t return setmetatable(t, t)",
        "return table.freeze({ x = table.freeze({ y = 1 }) })",
        "return setmetatable({}, { __index = error, __newindex = error, __iter = error, __len = error, __metatable = false })",
        "return { [1.5] = 1, [vector.create(1, 2, 3)] = 2, [true] = 3, ['a\\0b'] = 5, n = 0/0, h = math.huge }",
        "local t = {} for i = 1, 2000 do t = { t } end return t",
        "local t = {} for i = 1, 100000 do t[i] = i end return t",
        "local a, b = {}, {} a.b = b b.a = a return { a = a, b = b, f = function() return a end }",
        "local f f = function() return f end return { f = f, g = coroutine.wrap(f), c = channel(), t = tasklet(f) }",
        "return { scheduler = scheduler, string = string, G = _G }",
        "local M = {} M.M = M M.f = function() return M end M.list = { M, M } return M",
    ] {
        let files = Files::of([("m", text)]);
        let vm = files.vm();
        run_in(&vm, "require('./m')");
        for _ in 0..3 {
            let report = files.save(&vm, [("m", text)]);
            assert!(!report.is_refused(), "{text}: {report}");
            vm.lua().gc_collect().expect("garbage can be collected");
        }
        run_in(&vm, "require('./m') eq(string.upper('a'), 'A')");
    }
}

#[test]
fn a_reload_in_the_middle_of_a_frame_loses_no_tasklet() {
    let text = |v: u32| {
        format!(
            "local M = {{}} function M.turn(name) note(name, {v}) scheduler.schedule() note(name, {v}) end return M"
        )
    };
    let files = Files::of([("m", &text(1))]);
    let vm = files.vm();
    for name in ["a", "b"] {
        spawn(&vm, &format!("local m = require('./m') m.turn('{name}') m.turn('{name}')"));
    }
    let mut slices = 0;
    vm.run_ready(|| {
        slices += 1;
        slices <= 3
    });
    assert_eq!(notes(&vm), "a:1 b:1 a:1 a:1");
    files.save(&vm, [("m", &text(2))]);
    frame(&vm);
    assert_eq!(notes(&vm), "b:2 b:2 a:2 b:2");
}
