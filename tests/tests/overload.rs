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

/// A loop that ends never, with the default policy: its frame ends, the others run on, and the report says where it
/// is. Either it goes on, frame after frame, or it has failed once, with its line.
fn goes_on_or_fails(body: &str) {
    let (mut game, bad) = game(body, SliceLimit::ticks(SLICE));
    let reports = frames(&mut game, 6);
    let first = &reports[0];
    assert_eq!(first.overruns.len(), 1, "{:#?}", first.overruns);
    let overrun = &first.overruns[0];
    assert_eq!((overrun.entity, &*overrun.script), (Some(bad), "bad"));
    assert!(["bad.luau:1", "bad.luau:2"].contains(&&*overrun.place), "{overrun}");
    assert!(overrun.traceback.contains("bad.luau:2") || overrun.place == "bad.luau:1", "{overrun}");
    let failures: Vec<_> = reports.iter().flat_map(|report| &report.failures).collect();
    if overrun.stopped {
        assert_eq!(failures.len(), 1, "{failures:#?}");
        assert!(failures[0].message.starts_with("bad.luau:2: the tasklet did not give"), "{}", failures[0]);
        assert!(failures[0].excerpt.contains("2 | "), "{}", failures[0]);
        assert!(matches!(game.status(bad), ScriptStatus::Failed { .. }));
    } else {
        assert_eq!(failures.len(), 0, "{failures:#?}");
        assert_eq!(game.status(bad), ScriptStatus::Running);
        assert!(reports.iter().all(|report| report.overruns.len() == 1));
        assert_eq!((reports[5].overruns[0].in_a_row, reports[5].left_over), (6, 1));
    }
}

/// The same with the policy that ends it: once, at its line, after so many frames.
fn is_killed(body: &str) {
    let slice = SliceLimit::ticks(SLICE).policy(OverrunPolicy::Kill { after: 3 });
    let (mut game, bad) = game(body, slice);
    let reports = frames(&mut game, 6);
    let failures: Vec<_> = reports.iter().flat_map(|report| &report.failures).collect();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    let failure = failures[0];
    assert_eq!(failure.entity, Some(bad));
    assert!(failure.message.contains("the tasklet did not give control away"), "{failure}");
    assert!(failure.message.starts_with("bad.luau:"), "{failure}");
    assert!(reports[3..].iter().all(|report| report.overruns.is_empty()));
    assert_eq!(game.host.vm().runnable(), 0);
}

/// Shapes of loops that end never. Each is in line 2, or in line 1.
macro_rules! endless {
    ($($shape:ident: $body:expr;)*) => {
        mod endless_loops_go_on_in_the_next_frame_or_fail_where_they_cannot {
            $(#[test] fn $shape() { super::goes_on_or_fails($body); })*
        }

        mod endless_loops_are_killed_at_their_line_if_the_policy_says_so {
            $(#[test] fn $shape() { super::is_killed($body); })*
        }
    };
}

endless! {
    an_empty_loop: "\nwhile true do end";
    recursion_through_pcall: "local function f() \nlocal ok, e = pcall(f) return f() end f()";
    coroutines_that_resume_each_other: "local a, b b = coroutine.create(function() while true do coroutine.yield() end end) a = coroutine.create(function()\nwhile true do coroutine.resume(b) coroutine.yield() end end) while true do coroutine.resume(a) end";
    a_generator_that_is_asked_for_ever: "while true do local co = coroutine.wrap(function() while true do\ncoroutine.yield() end end) for i = 1, 1e9 do co() end end";
    a_metamethod: "local t = setmetatable({}, { __index = function(t, k)\nwhile true do end end }) return t.x";
    a_metamethod_that_comes_back: "local t t = setmetatable({}, { __index = function(_, k)\nfor i = 1, 100 do k += i end return k end }) while true do local x = t[1] end";
    a_comparator: "table.sort({ 3, 2, 1 }, function(a, b)\nwhile true do end end)";
    the_callback_of_gsub: "string.gsub(string.rep('a', 100), 'a', function()\nwhile true do end end)";
    a_pattern: "\nstring.find(string.rep('a', 5000), string.rep('a?', 40) .. string.rep('a', 40) .. 'b')";
    the_building_of_a_string: "local s while true do s = ''\nfor i = 1, 1000 do s ..= 'x' end end";
    the_handler_of_an_error: "xpcall(function() error('x') end, function()\nwhile true do end end)";
    a_deferred_function: "scheduler.defer(function()\nwhile true do end end)";
    an_iterator_without_a_yield: "\nfor i in function() return 1 end do end";
    an_atomic_section: "scheduler.atomic(function()\nwhile true do end end)";
    errors_that_are_caught: "while true do\npcall(error, 'x') end";
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

#[test]
fn memory_is_accounted_to_the_scripts_whose_tasklets_asked_for_it() {
    let hoard = "local mine = {} for i = 1, 5000 do mine[i] = { i } end
        self:spawn(function() local more = coroutine.wrap(function() local t = {} for i = 1, 5000 do t[i] = { i } end coroutine.yield() return t end) more() synchro.sleep(99) return more end)
        synchro.sleep(99) return mine";
    let mut game = Game::build([("hoard", script(hoard)), ("modest", script("synchro.sleep(99)"))], |b| b);
    game.spawn("modest");
    game.frames(1);
    let modest = game.host.script_memory("modest");
    assert_eq!(game.host.script_memory("hoard"), 0);
    let hoarder = game.spawn("hoard");
    game.frames(2);
    let hoarded = game.host.script_memory("hoard");
    assert!(hoarded > 600_000, "{hoarded}");
    assert!(game.host.script_memory("modest") <= modest + 1000);
    game.world.despawn(hoarder);
    game.frames(1);
    game.host.vm().lua().gc_collect().unwrap();
    game.host.vm().lua().gc_collect().unwrap();
    let left = game.host.script_memory("hoard");
    assert!(left < hoarded / 10, "{hoarded}, then {left}");
    assert_eq!(game.host.script_memory("nothing"), 0);
}

#[test]
fn garbage_is_collected_between_frames_in_the_time_that_they_leave() {
    // By a clock that stands still there is time without end: each cycle ends in one frame.
    let litter = "while true do for i = 1, 2000 do local t = { i, { i } } end synchro.yield() end";
    let mut game = Game::build([("litter", script(litter))], |builder| {
        builder.time_source(|| std::time::Duration::ZERO)
    });
    game.spawn("litter");
    game.frames(20);
    let mut peak = 0;
    let live = game.host.vm().memory();
    for _ in 0..500 {
        game.frames(1);
        peak = peak.max(game.host.vm().memory());
    }
    assert!(peak < 3 * live.max(300_000), "{live} bytes, at most {peak}");
}

#[test]
fn the_report_and_the_history_tell_what_a_frame_was_like() {
    let now = std::rc::Rc::new(std::cell::Cell::new(std::time::Duration::ZERO));
    let (source, work) = (now.clone(), now.clone());
    let body = "while true do world:work(if self.name == 'slow' then 30 else 10) synchro.yield() end";
    let mut game = Game::build([("it", script(body))], |builder| {
        builder
            .budget(std::time::Duration::from_millis(35))
            .accounting(true)
            .time_source(move || source.get())
            .function("work", move |_, milliseconds: u64| {
                work.set(work.get() + std::time::Duration::from_millis(milliseconds));
                Ok::<_, &str>(())
            })
    });
    for name in ["a", "slow", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        game.world.spawn((Name::new(name), Script::new("it")));
    }
    let mut last = FrameReport::default();
    for _ in 0..12 {
        last = game.frame();
    }
    assert!(last.left_over > 0 && last.script_time.as_millis() >= 35, "{last:#?}");
    // Slices of 10 ms: the budget of 35 is looked at after each of them by now.
    assert!(last.overshoot.as_millis() <= 25, "{last:#?}");
    assert!(last.longest_slice.is_some_and(|longest| longest.time.as_millis() >= 10));
    let history: Vec<_> = game.host.history().collect();
    assert_eq!(history.len(), 12);
    assert_eq!(
        (history[11].frame, history[11].slices, history[11].left_over),
        (12, last.slices, last.left_over)
    );
    assert_eq!(history[11].overshoot, last.overshoot);
}

/// Every runnable tasklet has a turn within as many frames as the queue needs.
#[test]
fn nobody_starves_under_overload() {
    let body = "while true do self.state.turns = (self.state.turns or 0) + 1 for i = 1, 90 do end scheduler.schedule() end";
    let mut game = Game::build([("busy", script(body))], |builder| {
        builder.budget(Budget::Ticks(1_000)).slice(SliceLimit::ticks(5_000))
    });
    let all: Vec<Entity> = (0..100).map(|_| game.spawn("busy")).collect();
    let turns = |game: &Game| -> Vec<u64> {
        all.iter()
            .map(|&e| game.host.state(e).unwrap().get::<Option<u64>>("turns").unwrap().unwrap_or(0))
            .collect()
    };
    for _ in 0..20 {
        let report = game.frame();
        assert_eq!(report.left_over, 100);
        let turns = turns(&game);
        let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
        assert!(most - least <= 1, "{turns:?}");
    }
    assert!(turns(&game).iter().all(|&turns| turns > 0));
}

/// Warnings of slices: one for each new maximum of a script and timer (`semantics.md` 5.23).
#[test]
fn slow_slices_are_told_of_once_for_each_new_maximum_of_a_script_and_a_timer() {
    let now = std::rc::Rc::new(std::cell::Cell::new(std::time::Duration::ZERO));
    let (source, work) = (now.clone(), now.clone());
    let body = "while true do for _, ms in { 250, 210, 300, 100 } do world:work(ms) synchro.yield() end end";
    let timed = "while true do scheduler.timer('plan', function() world:work(220) synchro.yield() end) end";
    let mut game = Game::build([("a", script(body)), ("b", script(body)), ("c", script(timed))], |builder| {
        builder.accounting(true).time_source(move || source.get()).function(
            "work",
            move |_, milliseconds: u64| {
                work.set(work.get() + std::time::Duration::from_millis(milliseconds));
                Ok::<_, &str>(())
            },
        )
    });
    for name in ["a", "b", "c"] {
        game.spawn(name);
    }
    let mut told = Vec::new();
    for _ in 0..9 {
        told.push(
            game.frame()
                .slow_slices
                .iter()
                .map(|slow| (slow.time.as_millis(), slow.timers.concat()))
                .collect::<Vec<_>>(),
        );
    }
    let plain = |ms| (ms, String::new());
    assert_eq!(told[0], [plain(250), plain(250), (220, "plan".to_owned())]);
    assert_eq!(told[1], []);
    assert_eq!(told[2], [plain(300), plain(300)]);
    assert!(told[3..].iter().all(Vec::is_empty), "{told:?}");
}

/// F14, from the host's side: the frame is stuck until the watchdog has told of it.
#[test]
fn f14_a_watchdog_tells_of_a_stuck_frame_with_its_tasklet_and_the_calls_that_led_there() {
    let (tell, told) = std::sync::mpsc::channel();
    let found = std::rc::Rc::new(std::cell::RefCell::new(None));
    let place = found.clone();
    let body = "self:spawn(function() end)
        local function deep() repeat until world:told() end
        while true do deep() synchro.yield() end";
    let mut game = Game::build([("stuck", script(body))], |builder| {
        builder.watchdog(std::time::Duration::from_millis(1), move |stuck| drop(tell.send(stuck))).function(
            "told",
            move |_, _: ()| {
                let stuck = told.try_recv().ok();
                let is_told = stuck.is_some();
                if is_told {
                    *place.borrow_mut() = stuck;
                }
                Ok::<_, &str>(is_told)
            },
        )
    });
    game.spawn("stuck");
    // Of a frame the watchdog tells once, wherever the VM is then: perhaps not yet in the loop.
    let stuck = loop {
        let report = game.frame();
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
        match found.take() {
            Some(stuck) if stuck.to_string().contains("'deep'") => break stuck,
            _ => {}
        }
    };
    let sighting = stuck.tasklet.as_ref().expect("it was seen");
    assert!(sighting.name.contains("stuck"), "{}", sighting.name);
    assert!(sighting.traceback.contains("stuck.luau:2 in function 'deep'"), "{}", sighting.traceback);
    assert!(stuck.to_string().contains(&format!("frame {} has not ended", stuck.frame)), "{stuck}");
}

#[test]
fn under_pressure_garbage_is_collected_although_frames_leave_no_time_for_it() {
    let now = std::rc::Rc::new(std::cell::Cell::new(std::time::Duration::ZERO));
    let (source, work) = (now.clone(), now.clone());
    let litter =
        "while true do world:work(20) for i = 1, 2000 do local t = { i, { i } } end synchro.yield() end";
    let mut game = Game::build([("litter", script(litter))], |builder| {
        builder.time_source(move || source.get()).function("work", move |_, milliseconds: u64| {
            work.set(work.get() + std::time::Duration::from_millis(milliseconds));
            Ok::<_, &str>(())
        })
    });
    game.spawn("litter");
    game.frames(20);
    let live = game.host.vm().memory();
    let mut peak = 0;
    for _ in 0..500 {
        game.frames(1);
        peak = peak.max(game.host.vm().memory());
    }
    assert!(peak < 4 * live.max(300_000), "{live} bytes, at most {peak}");
}

/// Who waits with `scheduler.schedule()` for something that comes with a frame has its turn again in the same one.
#[test]
fn who_has_turn_upon_turn_in_a_frame_is_told_of() {
    let body = "\nwhile not self.state.done do scheduler.schedule() end";
    let idle = "while true do synchro.yield() end";
    let mut game = Game::build([("bad", script(body)), ("idle", script(idle))], |builder| {
        builder.budget(Budget::Ticks(100_000)).slice(SliceLimit::ticks(SLICE))
    });
    game.spawn("idle");
    let notes: Vec<String> = (0..3).flat_map(|_| game.frame().notes).collect();
    assert!(notes.is_empty(), "{notes:?}");
    game.spawn("bad");
    let notes: Vec<usize> = (0..10).map(|_| game.frame().notes.len()).collect();
    assert_eq!(notes.iter().sum::<usize>(), 4, "in the first, second, fourth and eighth frame: {notes:?}");
    game.spawn("bad");
    let notes: Vec<String> = (0..8).flat_map(|_| game.frame().notes).collect();
    let note = &notes[0];
    assert!(
        note.contains("tasklet 'bad of entity") && note.contains("bad.luau:2 in function 'run'"),
        "{note}"
    );
    assert!(note.ends_with("there is synchro.yield()"), "{note}");
}

/// A slice as long as the budget would be all of the frame.
#[test]
fn a_loop_without_end_leaves_others_their_turns_whatever_the_budget() {
    for millis in [1, 4, 20, 250] {
        let budget = std::time::Duration::from_millis(millis);
        let builder = bluetick::ScriptHost::builder().budget(budget);
        let host = builder.build(&mut World::new()).expect("a host");
        let bluetick::Budget::Time(slice) = host.vm().slice_limit().length else { panic!("it is a time") };
        assert!(slice <= budget / 4 && slice <= std::time::Duration::from_millis(5), "{millis}: {slice:?}");
    }
}
