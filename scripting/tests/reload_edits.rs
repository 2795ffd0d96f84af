//! Edits under a suspended tasklet, one after the other: what runs before and after, and why something stays on
//! old text. The numbers are those of the scenarios in the design of the reload.

mod live;
use live::{edit, forever};

#[test]
fn s01_a_number_changed_after_the_wait_is_used_at_once() {
    let old = &forever("local n = 0", "n += 1 note(n) wait() note('x', 1)");
    let new = &forever("local n = 0", "n += 1 note(n) wait() note('x', 2)");
    assert_eq!(edit(old, 2, new, 2), "1 x:1 2 | x:2 3 x:2 4");
}

#[test]
fn s02_a_statement_added_before_the_wait_runs_in_the_next_round() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 1 note('hi') note(n) wait()");
    assert_eq!(edit(old, 3, new, 2), "1 2 3 | hi 4 hi 5");
}

#[test]
fn s02_a_statement_added_after_the_wait_runs_at_once() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 1 note(n) wait() note('aft', n)");
    assert_eq!(edit(old, 3, new, 2), "1 2 3 | aft:3 4 aft:4 5");
}

#[test]
fn s02_a_local_added_after_the_wait_is_no_hindrance() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 1 note(n) wait() local k = n * 100 note(k)");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 200 3 300 4");
}

#[test]
fn s04_a_local_with_a_constant_above_the_loop_has_its_value() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0 local s = 5", "n = n + s note(n) wait()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 7 12");
}

#[test]
fn s04_also_where_registers_shift() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local s = 5 local n = 0", "n = n + s note(n) wait()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 7 12");
}

#[test]
fn s05_a_local_with_a_computed_value_lets_the_loop_finish_on_old_text() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local s = math.abs(-5) local n = 0", "n = n + s note(n) wait()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4 [1 RL104]");
}

#[test]
fn s07_a_renamed_local_keeps_its_value() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local hp = 0", "hp = hp + 10 note(hp) wait()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 12 22");
}

#[test]
fn s07_a_removed_local_shifts_the_others_down() {
    let old = &forever("local junk = self local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 10 note(n) wait()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 12 22");
}

#[test]
fn s07_swapped_locals_keep_their_values() {
    let old = &forever("local k = self - 6 local n = 0", "n = n + k note(n) wait()");
    let new = &forever("local n = 0 local k = self - 6", "n = n + k * 10 note(n) wait()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 12 22");
}

#[test]
fn s08_an_edited_constant_that_was_never_assigned_is_used_at_once() {
    let old = &forever("local speed = 5 local n = 0", "n = n + speed note(n) wait()");
    let new = &forever("local speed = 8 local n = 0", "n = n + speed note(n) wait()");
    assert_eq!(edit(old, 2, new, 2), "5 10 | 18 26");
}

#[test]
fn s09_an_edited_initial_value_does_not_touch_what_runs() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 100", "n = n + 1 note(n) wait()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4");
}

#[test]
fn s09_an_edited_initial_value_counts_where_the_game_has_not_changed_it() {
    let old = &forever("local n = 0", "note(n) wait() if self == 0 then n = 1 end");
    let new = &forever("local n = 100", "note(n) wait() if self == 0 then n = 1 end");
    assert_eq!(edit(old, 2, new, 2), "0 0 | 100 100");
}

#[test]
fn s10_the_body_wrapped_in_if() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "if n < 3 then n = n + 1 note(n) else note('big') end wait()");
    assert_eq!(edit(old, 2, new, 3), "1 2 | 3 big big");
}

#[test]
fn s10_the_wait_moved_inside_if() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 1 note(n) if n > 0 then wait() end note('e')");
    assert_eq!(edit(old, 2, new, 2), "1 2 | e 3 e 4");
}

#[test]
fn s11_a_wait_inserted_between_two_suspended_at_the_second() {
    let old = &forever("local n = 0", "note('a') wait() note('b') wait()");
    let new = &forever("local n = 0", "note('a') wait() note('x') wait() note('b') wait()");
    assert_eq!(edit(old, 2, new, 4), "a b | a x b a");
}

#[test]
fn s11_a_wait_inserted_between_two_suspended_at_the_first() {
    let old = &forever("local n = 0", "note('a') wait() note('b') wait()");
    let new = &forever("local n = 0", "note('a') wait() note('x') wait() note('b') wait()");
    assert_eq!(edit(old, 1, new, 4), "a | x b a x");
}

#[test]
fn s11_an_equal_wait_inserted_above_with_what_comes_behind_it() {
    let old = &forever("local n = 0", "n = n + 1 wait() note(n)");
    let new = &forever("local n = 0", "if n < 0 then wait() note('x') end n = n + 1 wait() note(n)");
    assert_eq!(edit(old, 2, new, 2), "1 | 2 3");
}

#[test]
fn s12_the_wait_deleted() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = "local M = {} function M.run(self) note('new') end return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4 [1 RL101]");
}

#[test]
fn s12_the_wait_calls_something_else() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 1 note(n) scheduler.schedule()");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4 [1 RL101]");
}

#[test]
fn s13_the_function_deleted() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = "local M = {} return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4 [1 RL102]");
}

#[test]
fn s12_the_loop_removed_and_the_wait_kept() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new =
        "local M = {} function M.run(self) local n = 0 n = n + 1 note(n) wait() note('done') end return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | done");
}

#[test]
fn s14_a_running_numeric_loop_has_its_old_bound_and_its_new_body() {
    let old = "local M = {} function M.run() for i = 1, 3 do note(i) wait() end note('end') end return M";
    let new =
        "local M = {} function M.run() for i = 1, 9 do note(i * 10) wait() end note('END') end return M";
    assert_eq!(edit(old, 2, new, 3), "1 2 | 30 END");
}

#[test]
fn s14_a_loop_variable_that_is_assigned_to_now() {
    let old = "local M = {} function M.run() for i = 1, 4 do note(i) wait() end note('end') end return M";
    let new = "local M = {} function M.run() for i = 1, 4 do note('i', i) wait() i = i + 10 note('w', i) end note('END') end return M";
    assert_eq!(edit(old, 2, new, 3), "1 2 | w:12 i:3 w:13 i:4 w:14 END");
}

#[test]
fn s14_a_running_generic_loop() {
    let old = "local M = {} function M.run() for k, v in ipairs({7,8,9}) do note(v) wait() end note('end') end return M";
    let new = "local M = {} function M.run() local z = 1 for k, v in ipairs({7,8,9}) do note('v', v, z) wait() end note('END') end return M";
    assert_eq!(edit(old, 2, new, 3), "7 8 | v:9:1 END");
}

#[test]
fn s15_a_numeric_loop_that_is_generic_now() {
    let old = "local M = {} function M.run() for i = 1, 4 do note(i) wait() end end return M";
    let new = "local M = {} function M.run() for _, i in ipairs({9,9,9}) do note(i) wait() end end return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4 [1 RL106]");
}

#[test]
fn s15_a_loop_wrapped_around() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = "local M = {} function M.run(self) local n = 0 for k = 1, 2 do while true do n = n + 1 note(n) wait() end end end return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4 [1 RL106]");
}

#[test]
fn s16_a_wait_in_a_helper_edited_with_its_caller() {
    let old = "local M = {} local function step(n) local z = n * 2 note('s', n) wait() note('t', n, z) end function M.run() local n = 0 while true do n = n + 1 step(n) end end return M";
    let new = "local M = {} local function step(n) local z = n * 2 note('S', n) wait() note('T', n, z) end function M.run() local q = 'q' local r = 3 local n = 0 while true do n = n + 10 step(n) note(q, r) end end return M";
    assert_eq!(edit(old, 2, new, 2), "s:1 t:1:2 s:2 | T:2:4 q:3 S:12 T:12:24 q:3 S:22");
}

#[test]
fn s17_the_inner_call_does_not_fit_and_the_outer_does() {
    let old = "local M = {} local function step(n) note('s', n) wait() note('t', n) end function M.run() local n = 0 while true do n = n + 1 step(n) end end return M";
    let new = "local M = {} local function step(n) note('gone') end function M.run() local n = 0 while true do n = n + 10 step(n) note('o', n) wait() end end return M";
    assert_eq!(edit(old, 2, new, 2), "s:1 t:1 s:2 | t:2 o:2 gone o:12 [1 RL101]");
}

#[test]
fn s17_the_outer_call_does_not_fit_and_the_inner_does() {
    let old = "local M = {} local function step(n) note('s', n) wait() note('t', n) end function M.run() local n = 0 while true do n = n + 1 step(n) end end return M";
    let new = "local M = {} local function step(n) note('S', n) wait() note('T', n) end function M.run() local a = os.time() local n = 0 while true do n = n + 10 step(n) end end return M";
    assert_eq!(edit(old, 2, new, 2), "s:1 t:1 s:2 | T:2 S:3 T:3 S:4 [1 RL104]");
}

#[test]
fn s18_a_wait_inside_pcall() {
    let old = "local M = {} function M.run() local n = 0 while true do n = n + 1 local ok, e = pcall(function() note('p', n) wait() if n == 2 then error('boom', 0) end end) note(tostring(ok), tostring(e)) end end return M";
    let new = "local M = {} function M.run() local a, b, c = 1, 2, 3 local n = 0 while true do n = n + 1 local ok, e = pcall(function() note('P', n) wait() if n == 2 then error('BOOM', 0) end end) note('r', tostring(ok), tostring(e), a, b, c) end end return M";
    assert_eq!(edit(old, 2, new, 2), "p:1 true:nil p:2 | r:false:BOOM:1:2:3 P:3 r:true:nil:1:2:3 P:4");
}

#[test]
fn s18_a_wait_inside_xpcall() {
    let old = "local M = {} function M.run() local n = 0 while true do n = n + 1 local ok, e = xpcall(function() note('p', n) wait() if n == 2 then error('boom', 0) end end, function(m) return 'H' .. m end) note(tostring(ok), tostring(e)) end end return M";
    let new = "local M = {} function M.run() local z = 9 local n = 0 while true do n = n + 1 local ok, e = xpcall(function() note('P', n) wait() if n == 2 then error('BOOM', 0) end end, function(m) return 'h' .. m end) note('r', tostring(ok), tostring(e), z) end end return M";
    assert_eq!(edit(old, 2, new, 2), "p:1 true:nil p:2 | r:false:hBOOM:9 P:3 r:true:nil:9 P:4");
}

#[test]
fn s19_an_unfinished_expression_that_is_unchanged() {
    let old = &forever("local n = 0", "n = n + 1 note(n + #{ n, wait() })");
    let new = &forever("local n = 0", "n = n + 10 note(n + #{ n, wait() })");
    assert_eq!(edit(old, 2, new, 2), "2 | 3 13");
}

#[test]
fn s19_an_unfinished_expression_that_was_edited() {
    let old = &forever("local n = 0", "n = n + 1 note(n * 2 + #{ n, wait() })");
    let new = &forever("local n = 0", "n = n + 10 note(n * 3 + #{ n, wait() })");
    assert_eq!(edit(old, 2, new, 2), "3 | 5 7 [1 RL103]");
}

#[test]
fn s19_a_table_that_is_half_made() {
    let old = &forever(
        "local n = 0",
        "n = n + 1 local t = { n, tostring(wait()), 'z' } note(table.concat(t, '-'))",
    );
    let new = &forever(
        "local n = 0",
        "n = n + 10 local t = { n, tostring(wait()), 'z' } note('T', table.concat(t, '-'))",
    );
    assert_eq!(edit(old, 2, new, 2), "1-nil-z | T:2-nil-z T:12-nil-z");
}

#[test]
fn s07_a_parameter_added_lets_the_call_finish_on_old_text() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = "local M = {}\nfunction M.run(self, extra)\nlocal n = 0\nwhile true do\nn = n + 10 note(n) wait()\nend\nend\nreturn M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4 [1 RL105]");
}

#[test]
fn s07_varargs_are_kept() {
    let old = "local M = {} function M.run(...) local n = 0 while true do n = n + 1 note(n, ...) wait() end end return M";
    let new = "local M = {} function M.run(...) local s = 9 local n = 0 while true do n = n + 10 note('v', n, s, ...) wait() end end return M";
    assert_eq!(edit(old, 2, new, 2), "1:7 2:7 | v:12:9:7 v:22:9:7");
}

#[test]
fn s02_the_result_of_the_wait_is_used_now() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 1 note(n) local r = wait() note('r', tostring(r))");
    assert_eq!(edit(old, 2, new, 2), "1 2 | r:nil 3 r:nil 4");
}

#[test]
fn s02_the_result_of_the_wait_is_not_used_any_more() {
    let old = &forever("local n = 0", "n = n + 1 note(n) local r = wait() note('r', tostring(r))");
    let new = &forever("local n = 0", "n = n + 1 note(n) wait() note('x')");
    assert_eq!(edit(old, 2, new, 2), "1 r:nil 2 | x 3 x 4");
}

#[test]
fn s02_the_wait_has_other_arguments() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = &forever("local n = 0", "n = n + 1 note(n) wait(n, 2)");
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3 4");
}

#[test]
fn s02_a_frame_that_needs_far_more_stack() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let many = "n, ".repeat(200);
    let new = &forever("local n = 0", &format!("n = n + 1 note(n, select('#', {many} n)) wait()"));
    assert_eq!(edit(old, 2, new, 2), "1 2 | 3:201 4:201");
}

#[test]
fn s22_a_new_helper_is_called_from_a_running_loop() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = "local M = {}\nlocal function twice(x) return x * 2 end\nfunction M.run(self)\nlocal n = 0\nwhile true do\nn = twice(n) note(n) wait()\nend\nend\nreturn M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 4 8");
}

#[test]
fn s22_a_new_field_of_the_module_is_called_from_a_running_loop() {
    let old = &forever("local n = 0", "n = n + 1 note(n) wait()");
    let new = "local M = {}\nfunction M.helper(x) return x + 100 end\nfunction M.run(self) local n = 0 while true do n = M.helper(n) note(n) wait() end end return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 102 202");
}

#[test]
fn s22_a_module_variable_that_the_loop_did_not_use() {
    let old = "local K = 5 local M = {} function M.get() K += 0 return K end function M.run() local n = 0 while true do n = n + 1 note(n) wait() end end return M";
    let new = "local K = 5 local M = {} function M.get() K += 0 return K end function M.run() local n = 0 while true do n = n + K note(n) wait() end end return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 7 12");
}

#[test]
fn s24_a_captured_local_that_is_captured_no_longer() {
    let old = "local M = {} function M.run() local n = 0 local f = function() n = n + 100 end f() while true do n = n + 1 note(n) wait() end end return M";
    let new =
        "local M = {} function M.run() local n = 0 while true do n = n + 1 note(n) wait() end end return M";
    assert_eq!(edit(old, 2, new, 2), "101 102 | 103 104 [1 RL110]");
}

#[test]
fn s21_a_captured_local_moves_with_the_closures_that_share_it() {
    let old = "local M = {} function M.run() local n = 0 local f = function() n = n + 100 end while true do n = n + 1 note(n) wait() f() end end return M";
    let new = "local M = {} function M.run() local s = 2 local n = 0 local f = function() n = n + 1000 end while true do n = n + s note(n) wait() f() end end return M";
    assert_eq!(edit(old, 2, new, 2), "1 102 | 1104 2106");
}

#[test]
fn s14_a_wait_in_the_iterator_of_a_loop() {
    let old = "local M = {} local function it(s, c) if c < 4 then wait() return c + 1 end end function M.run() for c in it, nil, 0 do note(c) end note('end') end return M";
    let new = "local M = {} local function it(s, c) if c < 4 then wait() note('it') return c + 1 end end function M.run() local z = 1 for c in it, nil, 0 do note('c', c, z) end note('END') end return M";
    assert_eq!(edit(old, 3, new, 3), "1 2 | it c:3:1 it c:4:1 END");
}

#[test]
fn s21_a_local_function_that_calls_itself() {
    let old = "local M = {} function M.run() local function fac(k) if k == 0 then return 1 end return k * fac(k - 1) end local n = 0 while true do n = n + 1 note(fac(n)) wait() end end return M";
    let new = "local M = {} function M.run() local function fac(k) if k == 0 then return 2 end return k * fac(k - 1) end local n = 0 while true do n = n + 1 note(fac(n)) wait() end end return M";
    assert_eq!(edit(old, 3, new, 2), "1 2 6 | 48 240");
}

#[test]
fn s11_a_method_call_waits() {
    let old = "local M = {} function M.run() local o = { w = function(self, x) return wait(x) end } local n = 0 while true do n = n + 1 note(n) o:w(1) end end return M";
    let new = "local M = {} function M.run() local o = { w = function(self, x) return wait(x) end } local n = 0 while true do n = n + 10 note(n) o:w(1) end end return M";
    assert_eq!(edit(old, 2, new, 2), "1 2 | 12 22");
}
