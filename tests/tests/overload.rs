//! Overload: scripts that take more time than there is. The frame ends, others go on, and the report says who.

use bevy_ecs::prelude::*;
use bluetick::{Budget, FrameReport, OverrunPolicy, Script, ScriptStatus, SliceLimit};
use bluetick_tests::{Game, script};

const SLICE: u64 = 2_000;

/// A game with a script `bad` on an entity between two that count their frames.
fn game(body: &str, slice: SliceLimit) -> (Game, Entity) {
    let witness = "while true do self.state.frames = (self.state.frames or 0) + 1 synchro.yield() end";
    let mut game =
        Game::build([("bad", script(body)), ("witness", script(witness))], |builder| builder.slice(slice));
    game.spawn("witness");
    let bad = game.spawn("bad");
    game.spawn("witness");
    (game, bad)
}

/// Runs frames; those that count them have to have a turn in each.
#[track_caller]
fn frames(game: &mut Game, count: u32) -> Vec<FrameReport> {
    let mut query = game.world.query::<(Entity, &Script)>();
    let witnesses: Vec<Entity> = query
        .iter(&game.world)
        .filter(|(_, script)| script.names().eq(["witness"]))
        .map(|(entity, _)| entity)
        .collect();
    let seen = |game: &Game, witness| {
        game.host.state(witness).and_then(|state| state.get::<u32>("frames").ok()).unwrap_or(0)
    };
    let mut reports = Vec::new();
    for _ in 0..count {
        let before: Vec<u32> = witnesses.iter().map(|&witness| seen(game, witness)).collect();
        reports.push(game.frame());
        for (&witness, before) in witnesses.iter().zip(before) {
            assert_eq!(seen(game, witness), before + 1, "{:#?}", reports.last());
        }
    }
    reports
}

/// Ten shapes of loops that end never, each with the line at which it is.
const ENDLESS: [(&str, &str); 14] = [
    ("an empty loop", "\nwhile true do end"),
    ("recursion through pcall", "local function f() \nlocal ok, e = pcall(f) return f() end f()"),
    (
        "coroutines that resume each other",
        "while true do local co = coroutine.wrap(function() while true do\ncoroutine.yield() end end) for i = 1, 1e9 do co() end end",
    ),
    (
        "a metamethod",
        "local t = setmetatable({}, { __index = function(t, k)\nwhile true do end end }) return t.x",
    ),
    (
        "a metamethod that comes back",
        "local t t = setmetatable({}, { __index = function(_, k)\nfor i = 1, 100 do k += i end return k end }) while true do local x = t[1] end",
    ),
    ("a comparator", "table.sort({ 3, 2, 1 }, function(a, b)\nwhile true do end end)"),
    ("the callback of gsub", "string.gsub(string.rep('a', 100), 'a', function()\nwhile true do end end)"),
    ("a pattern", "\nstring.find(string.rep('a', 5000), string.rep('a?', 40) .. string.rep('a', 40) .. 'b')"),
    ("the building of a string", "local s while true do s = ''\nfor i = 1, 1000 do s ..= 'x' end end"),
    ("the handler of an error", "xpcall(function() error('x') end, function()\nwhile true do end end)"),
    ("a deferred function", "scheduler.defer(function()\nwhile true do end end)"),
    ("an iterator without a yield", "\nfor i in function() return 1 end do end"),
    ("an atomic section", "scheduler.atomic(function()\nwhile true do end end)"),
    ("errors that are caught", "while true do\npcall(error, 'x') end"),
];

#[test]
fn a_loop_without_end_does_not_keep_a_frame_from_ending_and_is_reported_with_its_line() {
    for (shape, body) in ENDLESS {
        let (mut game, bad) = game(body, SliceLimit::ticks(SLICE));
        let reports = frames(&mut game, 6);
        let first = &reports[0];
        assert_eq!(first.overruns.len(), 1, "{shape}: {:#?}", first.overruns);
        let overrun = &first.overruns[0];
        assert_eq!((overrun.entity, &*overrun.script), (Some(bad), "bad"), "{shape}");
        assert!(["bad.luau:1", "bad.luau:2"].contains(&&*overrun.place), "{shape}: {overrun}");
        assert!(
            overrun.traceback.contains("bad.luau:2") || overrun.place == "bad.luau:1",
            "{shape}: {overrun}"
        );
        // Either it goes on, frame after frame, or it has failed once, with its line.
        let failures: Vec<_> = reports.iter().flat_map(|report| &report.failures).collect();
        if overrun.stopped {
            assert_eq!(failures.len(), 1, "{shape}: {failures:#?}");
            assert!(
                failures[0].message.starts_with("bad.luau:2: the tasklet did not give"),
                "{}",
                failures[0]
            );
            assert!(failures[0].excerpt.contains("2 | "), "{}", failures[0]);
            assert!(matches!(game.status(bad), ScriptStatus::Failed { .. }), "{shape}");
        } else {
            assert_eq!(failures.len(), 0, "{shape}: {failures:#?}");
            assert_eq!(game.status(bad), ScriptStatus::Running, "{shape}");
            assert!(reports.iter().all(|report| report.overruns.len() == 1), "{shape}");
            assert_eq!(reports[5].overruns[0].in_a_row, 6, "{shape}");
            assert_eq!(reports[5].left_over, 1, "{shape}");
        }
    }
}

#[test]
fn with_the_policy_kill_a_loop_without_end_fails_at_its_line_after_so_many_frames() {
    for (shape, body) in ENDLESS {
        let slice = SliceLimit::ticks(SLICE).policy(OverrunPolicy::Kill { after: 3 });
        let (mut game, bad) = game(body, slice);
        let reports = frames(&mut game, 6);
        let failures: Vec<_> = reports.iter().flat_map(|report| &report.failures).collect();
        assert_eq!(failures.len(), 1, "{shape}: {failures:#?}");
        let failure = failures[0];
        assert_eq!(failure.entity, Some(bad), "{shape}");
        assert!(failure.message.contains("the tasklet did not give control away"), "{shape}: {failure}");
        assert!(failure.message.starts_with("bad.luau:"), "{shape}: {failure}");
        assert!(reports[3..].iter().all(|report| report.overruns.is_empty()), "{shape}");
        assert_eq!(game.host.vm().runnable(), 0, "{shape}");
    }
}

#[test]
fn a_loop_that_is_removed_with_its_entity_ends() {
    let (mut game, bad) =
        game("scheduler.defer(function() print('out') end) while true do end", SliceLimit::ticks(SLICE));
    frames(&mut game, 2);
    game.world.despawn(bad);
    frames(&mut game, 1);
    assert_eq!(game.printed(), "out");
    assert_eq!(game.host.vm().runnable(), 0);
}

#[test]
fn a_loop_is_mended_by_an_edit_that_its_functions_see() {
    let text = |step: u32| {
        format!(
            "local M = {{}}\nfunction M.step(self) self.state.n = {step} end\nfunction M.run(self) while true do M.step(self) end end\nreturn M"
        )
    };
    let mut game = Game::build([("it", text(1))], |builder| builder.slice(SliceLimit::ticks(SLICE)));
    let it = game.spawn("it");
    game.frames(2);
    game.save("it", text(2));
    game.frames(2);
    assert_eq!(game.host.state(it).unwrap().get::<u32>("n").unwrap(), 2);
}

#[test]
fn a_frame_of_so_many_ticks_is_the_same_on_every_machine() {
    let run = || {
        let work = "local n = 0 while true do for i = 1, 50 + self.id.index do n += i end print(self.name) synchro.yield() end";
        let work = work.replace("self.id.index", "#self.name");
        let mut game = Game::build([("work", script(&work))], |builder| {
            builder.budget(Budget::Ticks(1_000)).slice(SliceLimit::ticks(100))
        });
        for number in 0..50 {
            game.world.spawn((Name::new("x".repeat(number)), Script::new("work")));
        }
        let mut trace = Vec::new();
        for _ in 0..30 {
            let report = game.frame();
            trace.push((report.slices, report.left_over, report.overruns.len(), game.printed()));
        }
        trace
    };
    let trace = run();
    assert!(trace.iter().all(|(slices, left, ..)| *slices > 5 && *left > 0), "{trace:?}");
    assert!(trace.iter().any(|(_, _, overruns, _)| *overruns > 0), "{trace:?}");
    assert_eq!(trace, run());
}
