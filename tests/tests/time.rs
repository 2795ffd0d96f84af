//! Time: sleeping, yielding, and what a frame's budget leaves over (`semantics.md` 5).

use bevy_ecs::prelude::*;
use bluetick::Script;
use bluetick_tests::{Game, script};
use std::time::Duration;

/// A game with one script `it`, which runs on one entity.
fn alone(body: &str) -> Game {
    let mut game = Game::new([("it", script(body))]);
    game.spawn("it");
    game
}

#[test]
fn sleepers_wake_in_the_order_of_their_time_and_among_equals_first_come_first_served() {
    let mut game = alone(
        r#"
        local function sleeper(name, ...)
            tasklet(function(...)
                for _, seconds in { ... } do synchro.sleep(seconds) end
                print(name, clock.sim())
            end)(...)
        end
        sleeper("a", 0.75)
        sleeper("b", 0.5)
        sleeper("c", 0.75)
        sleeper("d", 0.625)
        sleeper("e", 0.5)
        sleeper("f", 0.25, 0.25) -- due with b and e, but asleep later than they
        sleeper("g", 0.6)
        "#,
    );
    game.frames(1);
    assert_eq!(game.frame().sleeping, 7);
    game.frames(1);
    assert_eq!(game.printed(), "b\t0.75 e\t0.75 f\t0.75");
    game.frames(1);
    // All of one frame, by their time: g was due at 0.85, d at 0.875, a and c at 1.
    assert_eq!(game.printed(), "g\t1 d\t1 a\t1 c\t1");
    assert_eq!(game.frame().sleeping, 0);
}

#[test]
fn a_yield_waits_for_the_next_frame_and_no_longer() {
    let mut game = alone("while true do print(clock.frame()) synchro.yield() end");
    for frame in 1..=5 {
        let report = game.frame();
        assert_eq!(game.printed(), frame.to_string());
        assert_eq!((report.yielding, report.slices), (1, 1));
    }
}

#[test]
fn yielders_go_on_in_the_order_in_which_they_yielded_after_the_sleepers() {
    let mut game = alone(
        r#"
        for _, name in { "a", "b", "c" } do
            tasklet(function() synchro.yield() print(name) synchro.yield() print(name) end)()
        end
        tasklet(function() synchro.sleep(0) print("sleeper") synchro.sleep(0.25) print("sleeper") end)()
        tasklet(function() synchro.yield() print("d") end)()
        "#,
    );
    game.frames(1);
    let report = game.frame();
    assert_eq!(report.woken, 5);
    assert_eq!(game.printed(), "sleeper a b c d");
    assert_eq!(game.frame().woken, 4);
    assert_eq!(game.printed(), "sleeper a b c");
}

/// F4; and less than no time is no time (5.8).
#[test]
fn f4_to_sleep_for_no_time_is_to_wait_for_the_next_frame() {
    let body = "local waits = { synchro.sleep, synchro.sleep_wall }
        for turn = 1, 9 do print(clock.frame()) waits[turn % 2 + 1](if turn < 3 then 0 else -turn) end";
    let mut game = alone(body);
    for frame in 1..=4 {
        assert_eq!(game.frame().slices, 1);
        assert_eq!(game.printed(), frame.to_string());
    }
    // Even if no time passes.
    let report = game.host.tick(&mut game.world, 0.0);
    assert_eq!((report.slices, game.printed()), (1, "5".into()));
}

#[test]
fn while_no_time_passes_sleepers_sleep_on_and_yielders_go_on() {
    let mut game = alone(
        r#"
        tasklet(function() synchro.sleep(0.1) print("slept") end)()
        for i = 1, 4 do print(i, clock.sim(), clock.delta()) synchro.yield() end
        "#,
    );
    for dt in [0.0, f64::NAN, -1.0, f64::INFINITY] {
        game.host.tick(&mut game.world, dt);
    }
    assert_eq!(game.printed(), "1\t0\t0 2\t0\t0 3\t0\t0 4\t0\t0");
    game.frames(1);
    assert_eq!(game.printed(), "slept");
}

#[test]
fn nobody_wakes_early_or_later_than_the_first_frame_after_its_time() {
    let mut game = alone(
        r#"
        for i = 0, 400 do
            tasklet(function()
                local seconds = i / 97
                local before = clock.sim()
                synchro.sleep(seconds)
                local slept = clock.sim() - before
                assert(slept >= seconds - 1e-6, `woke early: {slept} for {seconds}`)
                assert(seconds == 0 or slept - clock.delta() < seconds, `woke late: {slept} for {seconds}`)
                print(1)
            end)()
        end
        "#,
    );
    for frame in 0..600 {
        let dt = [0.016, 0.017, 0.004, 0.1, 0.0][frame % 5];
        let report = game.host.tick(&mut game.world, dt);
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
    }
    assert_eq!(game.printed().split(' ').count(), 401);
}

#[test]
fn frame_times_that_are_no_binary_fractions_add_up() {
    let mut game = alone("for i = 1, 10 do synchro.sleep(0.1) print(clock.frame()) end");
    for _ in 0..101 {
        game.host.tick(&mut game.world, 0.01);
    }
    assert_eq!(game.printed(), "11 21 31 41 51 61 71 81 91 101");
}

#[test]
fn a_wrong_argument_to_sleep_is_an_error_with_its_place_and_harms_nobody_else() {
    for (argument, expected) in [
        ("0/0", "got nan"),
        ("math.huge", "got inf"),
        ("-math.huge", "got -inf"),
        ("86401", "got 86401"),
        ("1e300", "(a day)"),
        ("\"x\"", "expected a number, got string"),
        ("\"1\"", "expected a number, got string"),
        ("nil", "expected a number, got nil"),
        ("", "expected a number, got nothing"),
        ("{}", "expected a number, got table"),
        ("true", "expected a number, got boolean"),
        ("self", "expected a number, got "),
        ("vector.one", "expected a number, got vector"),
    ] {
        let mut game = Game::new([
            ("bad", script(&format!("\n    synchro.sleep({argument})\n    print('never')"))),
            ("good", script("while true do synchro.yield() print('good') end")),
        ]);
        game.spawn("good");
        let bad = game.spawn("bad");
        game.spawn("good");
        let failure = game.failure();
        assert_eq!(failure.entity, Some(bad));
        assert!(failure.message.starts_with("bad.luau:2: synchro.sleep: seconds"), "{failure}");
        assert!(failure.message.to_lowercase().contains(expected), "sleep({argument}): {failure}");
        assert!(failure.traceback.starts_with("bad.luau:2 in function 'run'"), "{failure}");
        assert!(failure.excerpt.contains(argument), "{failure}");
        game.frames(1);
        assert_eq!(game.printed(), "good good");
    }
}

#[test]
fn a_script_can_catch_what_is_wrong_with_an_argument() {
    let mut game = alone(
        r#"
        local ok, err = pcall(synchro.sleep, math.huge)
        print(ok, err.kind)
        synchro.sleep(86400)
        "#,
    );
    game.frames(2);
    assert_eq!(game.printed(), "false\ttype");
    assert_eq!(game.frame().sleeping, 1);
}

#[test]
fn tasklets_wait_inside_of_coroutines_protected_calls_and_iterators() {
    let mut game = alone(
        r#"
        local inner = coroutine.wrap(function()
            coroutine.yield(pcall(function()
                synchro.sleep(0.25)
                synchro.yield()
                return clock.frame()
            end))
        end)
        print(inner())
        for frame in function(_, last) synchro.yield() return if last < 5 then clock.frame() else nil end, nil, 0 do
            print(frame)
        end
        "#,
    );
    game.frames(8);
    assert_eq!(game.printed(), "true\t3 4 5");
}

#[test]
fn where_the_vm_cannot_wait_sleeping_is_an_error_that_names_the_place() {
    for (body, place) in [
        ("table.sort({ 3, 1, 2 }, function(a, b) synchro.sleep(1) return a < b end)", "sort"),
        ("string.gsub('a', 'a', function() synchro.yield() end)", "gsub"),
        ("return setmetatable({}, { __index = function() synchro.sleep(1) end }).x", "__index"),
        ("return tostring(setmetatable({}, { __tostring = function() synchro.yield() end }))", "tostring"),
    ] {
        let mut game = alone(body);
        let failure = game.failure();
        assert!(failure.message.starts_with("it.luau:1: synchro."), "{failure}");
        assert!(failure.message.contains("the VM can't suspend inside"), "{failure}");
        assert!(failure.message.contains(place), "{failure}");
        let report = game.frame();
        assert_eq!((report.sleeping, report.yielding, report.slices), (0, 0, 0));
    }
}

#[test]
fn the_top_level_of_a_file_cannot_wait() {
    for call in ["synchro.sleep(1)", "synchro.yield()"] {
        let mut game = Game::new([("it", format!("{call}\nreturn {{ run = function() end }}"))]);
        game.spawn("it");
        let failure = game.failure();
        assert!(failure.message.starts_with("it.luau:1: synchro."), "{failure}");
        assert!(failure.message.contains("is only possible in a tasklet"), "{failure}");
    }
}

#[test]
fn a_blocked_trap_forbids_waiting() {
    let mut game = alone(
        r#"
        scheduler.getcurrent().block_trap = true
        local ok, err = pcall(synchro.sleep, 1)
        print(ok, err.kind)
        ok, err = pcall(synchro.yield)
        print(ok, err.kind)
        scheduler.getcurrent().block_trap = false
        synchro.yield()
        print("on")
        "#,
    );
    game.frames(1);
    assert_eq!(game.printed(), "false\tblock_trap false\tblock_trap");
    game.frames(1);
    assert_eq!(game.printed(), "on");
}

#[test]
fn a_sleeper_that_was_killed_or_thrown_at_does_not_wake_again() {
    let mut game = alone(
        r#"
        local function sleeper(name)
            return tasklet(function()
                local ok, err = pcall(synchro.sleep, 1)
                print(name, ok, err)
                if not ok then synchro.sleep(2) print(name, "second") end
            end)()
        end
        local killed, thrown, left = sleeper("killed"), sleeper("thrown"), sleeper("left")
        synchro.yield()
        killed:kill()
        thrown:throw("up")
        synchro.yield()
        "#,
    );
    game.frames(2);
    assert_eq!(game.printed(), "thrown\tfalse\tup");
    // `left` at 1.25 s, `thrown` at 2.5 s; the wait that the error has ended does not end the new one.
    game.frames(2);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), "left\ttrue\tnil");
    game.frames(4);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), "thrown\tsecond");
}

/// CCP's bug of 2017: a sleeper is killed, another one goes to sleep in the same frame and gets what the
/// first one had been known by, and never wakes (`semantics.md` 8.1).
#[test]
fn thousands_of_kills_and_new_sleeps_in_one_frame_lose_nobody() {
    let mut game = Game::build(
        [(
            "it",
            script(
                r#"
        local ROUNDS, EACH = 20, 500
        local woke, meant = 0, 0
        local function sleeper(seconds, name)
            meant += 1
            return tasklet(function()
                local before = clock.sim()
                synchro.sleep(seconds)
                woke += 1
                assert(math.abs(clock.sim() - before - seconds) < 0.01, name)
            end)()
        end
        local sleepers = {}
        for _ = 1, ROUNDS do
            for i = 1, EACH do
                local old = sleepers[i]
                if old and old.alive and i % 3 ~= 0 then
                    old:kill(i % 2 == 0)
                    meant -= 1
                end
                sleepers[i] = sleeper(0.25 * (1 + i % 7), `sleeper {i}`)
            end
            synchro.yield()
        end
        synchro.sleep(2)
        print(woke == meant, woke > ROUNDS * EACH / 10, woke < ROUNDS * EACH)
        for _, t in sleepers do assert(not t.alive) end
        "#,
            ),
        )],
        |builder| builder.budget(Duration::MAX),
    );
    game.spawn("it");
    game.frames(40);
    assert_eq!(game.printed(), "true\ttrue\ttrue");
    let report = game.frame();
    assert_eq!((report.sleeping, report.yielding), (0, 0));
    assert_eq!(game.host.vm().stats().parked, 0);
}

#[test]
fn the_same_holds_when_the_sleepers_are_entities_that_come_and_go() {
    let mut game = Game::new([("it", script("synchro.sleep(0.5) print(1)"))]);
    let mut meant = 0;
    let mut before: Vec<Entity> = Vec::new();
    for _ in 0..50 {
        let now: Vec<Entity> = (0..40).map(|_| game.spawn("it")).collect();
        // Half of those that went to sleep in the last frame never wake.
        meant += now.len() - before.len() / 2;
        for entity in before.iter().step_by(2) {
            game.world.despawn(*entity);
        }
        game.frames(1);
        before = now;
    }
    game.frames(4);
    assert_eq!(game.printed().split(' ').count(), meant.min(1000));
    assert_eq!(game.frame().sleeping, 0);
}

#[test]
fn the_frame_report_counts_only_those_who_still_wait() {
    let mut game = Game::new([("it", script("synchro.sleep(1000)")), ("yielder", script("synchro.yield()"))]);
    let sleepers: Vec<Entity> = (0..100).map(|_| game.spawn("it")).collect();
    assert_eq!(game.frame().sleeping, 100);
    for entity in &sleepers[..60] {
        game.world.despawn(*entity);
    }
    assert_eq!(game.frame().sleeping, 40);
    let yielder = game.spawn("yielder");
    let report = game.frame();
    assert_eq!((report.sleeping, report.yielding), (40, 1));
    game.world.despawn(yielder);
    let report = game.frame();
    assert_eq!((report.sleeping, report.yielding), (40, 0));
}

#[test]
fn what_the_budget_leaves_over_keeps_its_order_and_runs_first_in_the_next_frame() {
    let mut game = Game::build(
        [
            ("worker", script("print(self.name) synchro.yield() print('again', self.name)")),
            ("sleeper", script("synchro.sleep(0.25) print('woken')")),
        ],
        |builder| builder.budget(Duration::ZERO),
    );
    game.spawn("sleeper");
    for number in 0..40 {
        game.world.spawn((Name::new(number.to_string()), Script::new("worker")));
    }
    let mut words = Vec::new();
    let mut left = Vec::new();
    for _ in 0..40 {
        let report = game.frame();
        assert!(report.failures.is_empty());
        assert_eq!(report.runnable_before as u64, report.slices + report.left_over as u64);
        left.push(report.left_over);
        words.push(game.printed());
        if report.left_over == 0 && report.yielding == 0 {
            break;
        }
    }
    assert!(left[0] > 0, "no budget is spent at once: {left:?}");
    let words = words.join(" ");
    let words: Vec<&str> = words.split_whitespace().collect();
    let started: Vec<usize> = words
        .iter()
        .enumerate()
        .filter(|&(at, _)| at == 0 || words[at - 1] != "again")
        .filter_map(|(_, word)| word.parse().ok())
        .collect();
    assert_eq!(started, (0..40).collect::<Vec<_>>(), "in order");
    let place = |word: &str| words.iter().position(|there| *there == word).unwrap();
    assert!(place("39") < place("woken"), "those left over go before those woken: {words:?}");
    assert!(place("39") < place("again"), "{words:?}");
    assert_eq!(words.iter().filter(|word| **word == "again").count(), 40);
}

#[test]
fn those_that_only_reschedule_themselves_do_not_keep_a_frame_from_ending() {
    let mut game = Game::build(
        [(
            "busy",
            script("while true do self.state.turns = (self.state.turns or 0) + 1 scheduler.schedule() end"),
        )],
        |builder| builder.budget(bluetick::Budget::Ticks(500)),
    );
    let busy: Vec<Entity> = (0..3).map(|_| game.spawn("busy")).collect();
    for _ in 0..3 {
        let report = game.frame();
        assert_eq!(report.left_over, 3);
        assert!(report.slices > 3);
    }
    let turns: Vec<u64> =
        busy.iter().map(|&entity| game.host.state(entity).unwrap().get("turns").unwrap()).collect();
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    assert!(most - least <= 1, "all get their turns: {turns:?}");
}

/// A game in which a frame is so many seconds of the wall clock.
fn frame(game: &mut Game, seconds: f64) -> bluetick::FrameReport {
    let report = game.host.tick(&mut game.world, seconds);
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
    report
}

/// F1.
#[test]
fn f1_a_frame_runs_leftovers_then_wall_sleepers_sim_sleepers_what_tickers_make_and_yielders() {
    let mut game = Game::new([(
        "it",
        script(
            r#"
        tasklet(function() print("y0") synchro.yield() print("y1") synchro.yield() print("y2") end)()
        tasklet(function() print("w0") synchro.sleep_wall(10) print("w1") end)()
        tasklet(function() print("s0") synchro.sleep(10) print("s1") end)()
        tasklet(function() print("v0") synchro.sleep_wall(5) print("v1") end)()
        "#,
        ),
    )]);
    game.spawn("it");
    frame(&mut game, 0.0);
    assert_eq!(game.printed(), "y0 w0 s0 v0");
    let maker = game.host.vm().load("made", "print('ticker-made')").unwrap();
    let speaker = |game: &Game, word: &str| {
        let body = game.host.vm().load("left", &format!("print('{word}')")).unwrap();
        game.host.vm().spawn(&body, (), Default::default()).unwrap();
    };
    speaker(&game, "left1");
    speaker(&game, "left2");
    game.host.add_ticker("maker", move |context| {
        context.vm.spawn(&maker, (), Default::default())?;
        context.unregister();
        Ok(())
    });
    frame(&mut game, 10.0);
    assert_eq!(game.printed(), "left1 left2 v1 w1 s1 ticker-made y1");
    frame(&mut game, 10.0);
    assert_eq!(game.printed(), "y2");
}

/// F2, with a budget of two slices: in ticks, of which each of these slices has some.
#[test]
fn f2_a_budget_goes_round_among_the_yielders_over_the_frames() {
    let body = "for turn = 0, 2 do print(self.name .. turn) for i = 1, 100 do end synchro.yield() end";
    let mut game =
        Game::build([("it", script(body))], |builder| builder.budget(bluetick::Budget::Ticks(250)));
    for name in ["a", "b", "c", "d"] {
        game.world.spawn((Name::new(name), Script::new("it")));
    }
    let mut frames = Vec::new();
    for _ in 0..4 {
        game.frame();
        frames.push(game.printed());
    }
    assert_eq!(frames, ["a0 b0 c0", "d0 a1 b1", "c1 d1 a2", "b2 c2 d2"]);
}

/// F3.
#[test]
fn f3_a_sleeper_that_is_killed_asleep_or_just_woken_ends_and_is_no_sleeper_any_more() {
    let mut game = alone(
        r#"
        local function sleeper(name, seconds)
            return tasklet(function()
                local ok, err = scheduler.pcall(synchro.sleep, seconds)
                print(name, if ok then "woke" else err.kind)
            end)()
        end
        local asleep, woken = sleeper("asleep", 100), sleeper("woken", 0.25)
        synchro.yield()
        asleep:kill()
        "#,
    );
    game.frames(1);
    assert_eq!(game.host.sleepers(bluetick::ClockId::SIM), 2);
    // The yielder runs after the sleeper was woken and has run.
    game.frames(1);
    assert_eq!(game.printed(), "woken\twoke asleep\texit");
    assert_eq!((game.frame().sleeping, game.host.sleepers(bluetick::ClockId::SIM)), (0, 0));
    let mut game = alone(
        r#"
        local victim
        tasklet(function() synchro.sleep(0.25) victim:kill() end)()
        victim = tasklet(function()
            local ok, err = scheduler.pcall(synchro.sleep, 0.25)
            print(if ok then "woke" else err.kind)
        end)()
        "#,
    );
    game.frames(2);
    assert_eq!(game.printed(), "exit", "woken in this frame, but killed before it ran");
    assert_eq!(game.frame().sleeping, 0);
}

/// F4: whoever was woken in a frame and waits again does so for another one, however it waits.
#[test]
fn f4_nobody_has_two_turns_in_a_frame_by_waiting_for_no_time() {
    let mut game = alone(
        "local function again(f) for i = 1, 5 do f(0) print(clock.frame()) end end
         tasklet(again)(synchro.sleep) tasklet(again)(synchro.sleep_wall) again(synchro.yield)",
    );
    game.frames(1);
    for frame in 2..=6 {
        assert_eq!(game.frame().slices, 3);
        assert_eq!(game.printed(), [frame.to_string(), frame.to_string(), frame.to_string()].join(" "));
    }
    assert_eq!(game.frame().slices, 0);
}

/// F5.
#[test]
fn f5_sleeping_has_limits_for_each_clock_and_times_in_the_past_are_now() {
    let mut game = alone(
        r#"
        for _, f in { synchro.sleep, synchro.sleep_wall, synchro.sleep_until, synchro.sleep_until_wall } do
            for _, wrong in { 0 / 0, math.huge, "1", {} } do
                local ok, err = pcall(f, wrong)
                assert(not ok and err.kind == "type", tostring(err))
            end
        end
        assert(not pcall(synchro.sleep, 86401) and not pcall(synchro.sleep_wall, 172801))
        tasklet(synchro.sleep_wall)(172800)
        synchro.sleep_until(-5)
        print(clock.frame())
        synchro.sleep_until_wall(0)
        print(clock.frame())
        synchro.sleep_until(clock.sim() + 0.5)
        print(clock.frame())
        "#,
    );
    game.frames(6);
    assert_eq!(game.printed(), "2 3 5");
    assert_eq!(game.host.sleepers(bluetick::ClockId::WALL), 1);
}

/// F6.
#[test]
fn f6_a_sleeper_can_be_woken_with_a_value_and_be_given_another_time() {
    let mut game = alone(
        r#"
        local function sleeper(name, seconds)
            return tasklet(function() print(name, clock.sim(), synchro.sleep(seconds), clock.sim()) end)()
        end
        local woken, later, sooner, past = sleeper("woken", 9), sleeper("later", 0.5), sleeper("sooner", 9), sleeper("past", 9)
        synchro.yield()
        synchro.wakeup(woken, "early")
        synchro.wakeup_at(later, 2)
        synchro.wakeup_at(sooner, 1)
        synchro.wakeup_at(past, 0.25, "value")
        for _, f in { synchro.wakeup, function(t) synchro.wakeup_at(t, 1) end, function(t) synchro.wakeup_at_wall(t, 1) end } do
            local ok, err = pcall(f, scheduler.getcurrent())
            print(ok, err.kind)
        end
        print(pcall(synchro.wakeup_at_wall, later, 9))
        print(pcall(synchro.wakeup, nil))
        "#,
    );
    game.frames(2);
    let printed = game.printed();
    assert!(printed.starts_with("false\ttype false\ttype false\ttype false\t"), "{printed}");
    assert!(
        printed.contains("synchro.wakeup_at_wall: the tasklet is not asleep by the wall clock"),
        "{printed}"
    );
    assert!(printed.contains("synchro.wakeup: tasklet: expected a tasklet, got nil"), "{printed}");
    assert!(printed.ends_with("woken\t0.25\tearly\t0.5 past\t0.25\tvalue\t0.5"), "{printed}");
    game.frames(2);
    assert_eq!(game.printed(), "sooner\t0.25\tnil\t1");
    game.frames(3);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), "later\t0.25\tnil\t2");
}

/// F7, and the same for simulated time.
#[test]
fn f7_sleepers_keep_what_is_left_when_their_clock_jumps() {
    let mut game = alone(
        r#"
        tasklet(function() synchro.sleep_wall(1) print("wall", clock.frame(), clock.wall()) end)()
        tasklet(function() synchro.sleep(1) print("sim", clock.frame(), clock.sim()) end)()
        "#,
    );
    game.frames(2);
    game.host.reset_clock(bluetick::ClockId::WALL, 1000.0).unwrap();
    game.host.reset_clock(bluetick::ClockId::SIM, -50.0).unwrap();
    assert!(game.host.reset_clock(bluetick::ClockId::SIM, f64::NAN).is_err());
    game.frames(4);
    assert_eq!(game.printed(), "wall\t5\t1000.75 sim\t5\t-49.25");
}

/// F8.
#[test]
fn f8_the_error_of_a_ticker_stops_neither_the_others_nor_the_frame() {
    let mut game = alone("while true do synchro.yield() print('script') end");
    game.frames(1);
    let calls = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    for name in ["first", "bad", "last"] {
        let calls = calls.clone();
        game.host.add_ticker(name, move |context| {
            calls.borrow_mut().push((name, context.clock.frame));
            if name == "bad" { Err("broken".into()) } else { Ok(()) }
        });
    }
    let extra = game.host.add_ticker("extra", |_| unreachable!("it is removed before it is called"));
    assert!(game.host.remove_ticker(extra) && !game.host.remove_ticker(extra));
    let failure = game.failure();
    assert_eq!((&*failure.tasklet, &*failure.message), ("the ticker 'bad'", "broken"));
    assert_eq!(*calls.borrow(), [("first", 2), ("bad", 2), ("last", 2)]);
    assert_eq!(game.printed(), "script");
}

/// F9: a script that works for some milliseconds a turn, by a clock of the test's.
#[test]
fn f9_who_is_nice_goes_on_until_its_slice_is_long_and_then_in_the_next_frame() {
    let now = std::rc::Rc::new(std::cell::Cell::new(Duration::ZERO));
    let (source, work) = (now.clone(), now.clone());
    let body = r#"
        for turn = 1, 9 do
            print(turn, clock.frame())
            synchro.be_nice()
            world:work(4)
        end
        synchro.be_nice(1)
        print(pcall(synchro.be_nice, "x"))
        table.sort({ 2, 1 }, function(a, b) world:work(50) synchro.be_nice() return a < b end)
        scheduler.getcurrent().block_trap = true
        world:work(50)
        synchro.be_nice()
        print(clock.frame())
    "#;
    let mut game = Game::build([("it", script(body))], |builder| {
        let builder = builder.slice(bluetick::SliceLimit::default());
        builder.time_source(move || source.get()).function("work", move |_, milliseconds: f64| {
            work.set(work.get() + Duration::from_secs_f64(milliseconds / 1e3));
            Ok::<_, &str>(())
        })
    });
    game.spawn("it");
    game.frames(4);
    let printed = game.printed();
    let expected = "1\t1 2\t1 3\t1 4\t1 5\t1 6\t2 7\t2 8\t2 9\t2";
    assert!(printed.starts_with(expected), "{printed}");
    assert!(printed.contains("expected a number, got string"), "{printed}");
    assert!(printed.ends_with(" 2"), "where it can't wait it goes on: {printed}");
}

/// Being nice helps only whoever is so before it is interrupted: by ticks, at half of the slice.
#[test]
fn who_is_nice_gives_up_before_its_slice_is_used_up() {
    let body = "for turn = 1, 6 do print(turn, clock.frame()) synchro.be_nice() for i = 1, 100 do end end";
    let mut game =
        Game::build([("it", script(body))], |builder| builder.slice(bluetick::SliceLimit::ticks(500)));
    game.spawn("it");
    for _ in 0..3 {
        assert_eq!(frame(&mut game, 0.25).overruns, []);
    }
    assert_eq!(game.printed(), "1\t1 2\t1 3\t1 4\t1 5\t2 6\t2");
}

/// Whoever says how long it wants to go on is as nice: no clock is asked where slices are in ticks.
#[test]
fn in_slices_of_ticks_being_nice_asks_no_clock() {
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = asked.clone();
    let body =
        "for turn = 1, 6 do print(turn, clock.frame()) synchro.be_nice(1e-9) for i = 1, 100 do end end";
    let mut game = Game::build([("it", script(body))], |builder| {
        builder
            .slice(bluetick::SliceLimit::ticks(500))
            .budget(bluetick::Budget::Ticks(1_000_000))
            .time_source(
                // Each look finds that a second has passed.
                move || {
                    count.set(count.get() + 1);
                    Duration::from_secs(count.get())
                },
            )
    });
    game.spawn("it");
    game.frames(3);
    assert_eq!(game.printed(), "1\t1 2\t1 3\t1 4\t1 5\t2 6\t2");
    assert!(asked.get() > 0);
}

/// F6, in Rust.
#[test]
fn rust_sleeps_until_a_time_and_wakes_sleepers_of_either_language_or_gives_them_another_time() {
    let body = "world:hand_over(scheduler.getcurrent())
         print(synchro.sleep(50), clock.frame())
         synchro.sleep(50)
         print('second', clock.frame())
         synchro.sleep_wall(50)
         print('third', clock.frame())";
    let handed = std::rc::Rc::new(std::cell::RefCell::new(None));
    let place = handed.clone();
    let mut game = Game::build([("it", script(body))], |builder| {
        builder.function("hand_over", move |_, tasklet: bluetick::Tasklet| {
            *place.borrow_mut() = Some(tasklet);
            Ok::<_, &str>(())
        })
    });
    game.spawn("it");
    let (synchro, scheduler) = (game.host.synchro(), game.host.vm().scheduler());
    let woke = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let (mine, seen) = (synchro.clone(), woke.clone());
    let sleeper = scheduler
        .spawn(move || {
            mine.sleep_until(0.5)?;
            seen.borrow_mut().push("until");
            mine.sleep_until(-1.0)?;
            seen.borrow_mut().push("past");
            mine.sleep_until_wall(1e6)?;
            seen.borrow_mut().push("wall");
            Ok::<_, bluetick::Error>(())
        })
        .unwrap();
    game.frames(2);
    assert_eq!(*woke.borrow(), ["until"]);
    game.frames(2);
    assert_eq!(*woke.borrow(), ["until", "past"]);
    assert_eq!(synchro.wakeup_at(&sleeper, 0.0).unwrap_err().kind, bluetick::ErrorKind::Type);
    synchro.wakeup_at_wall(&sleeper, 1.25).unwrap();
    game.frames(1);
    assert_eq!(*woke.borrow(), ["until", "past", "wall"]);
    for wrong in [f64::NAN, f64::INFINITY] {
        assert!(synchro.wakeup_at(&sleeper, wrong).is_err());
    }
    assert!(synchro.wakeup(&sleeper).is_err(), "it has ended");

    let script = handed.take().expect("the script's tasklet");
    synchro.wakeup(&script).unwrap();
    game.frames(1);
    synchro.wakeup_at(&script, 1.75).unwrap();
    game.frames(1);
    synchro.wakeup_at_wall(&script, 0.0).unwrap();
    game.frames(1);
    assert_eq!(game.printed(), "nil\t6 second\t7 third\t8");
}

/// F9, in Rust.
#[test]
fn who_is_nice_in_rust_gives_the_frame_up_and_where_it_can_t_wait_goes_on() {
    let mut game = Game::new([] as [(&str, &str); 0]);
    let frames = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let (seen, synchro, scheduler) = (frames.clone(), game.host.synchro(), game.host.vm().scheduler());
    game.host
        .vm()
        .scheduler()
        .spawn(move || {
            for turn in 0..4 {
                seen.borrow_mut().push(turn);
                synchro.be_nice(0.0)?;
            }
            scheduler.current().set_block_trap(true);
            synchro.be_nice(0.0)?;
            seen.borrow_mut().push(4);
            Ok::<_, bluetick::Error>(())
        })
        .unwrap();
    let lengths: Vec<usize> = (0..6)
        .map(|_| {
            game.frame();
            frames.borrow().len()
        })
        .collect();
    assert_eq!(lengths, [1, 2, 3, 4, 5, 5]);
    game.host.synchro().be_nice(0.0).expect("the host itself goes on");
}

/// F11.
#[test]
fn f11_a_shutdown_ends_yielders_and_sleepers_of_both_kinds_and_nobody_waits_any_more() {
    let body = r#"
        local function waiter(name, f, ...)
            tasklet(function(...)
                local ok, err = scheduler.pcall(f, ...)
                print(name, ok or err.kind)
            end)(...)
        end
        waiter("sim", synchro.sleep, 5)
        waiter("wall", synchro.sleep_wall, 5)
        waiter("yielder", synchro.yield)
        waiter("sooner", synchro.sleep_wall, 2)
    "#;
    let mut game = alone(body);
    game.frames(1);
    game.host.add_ticker("gone", |_| unreachable!("tickers are dropped"));
    assert_eq!(game.host.shut_down(&mut game.world), []);
    assert_eq!(game.printed(), "yielder\texit sooner\texit wall\texit sim\texit");
    game.spawn("it");
    game.frames(1);
    assert_eq!(game.printed(), "sim\ttrue wall\ttrue yielder\ttrue sooner\ttrue", "they return at once");
    let report = game.frame();
    assert_eq!((report.sleeping, report.yielding), (0, 0));
    // The same by a script.
    let mut game = alone(&format!(
        "{body} scheduler.schedule() synchro.shutdown() print('down') synchro.sleep(9) print('on')"
    ));
    game.frames(1);
    assert_eq!(game.printed(), "down on yielder\texit sooner\texit wall\texit sim\texit");
}

/// F12: the same numbers as the state machine's, by way of frames with leftovers.
#[test]
fn f12_overload_dilates_time_for_scripts_and_sleepers() {
    let dilation = bluetick::TimeDilation { overload: 1.0, underload: 0.5, lead: 0.5, ..Default::default() };
    let work = "while not self.state.done do for i = 1, 100 do end synchro.yield() end";
    let mut game = Game::build(
        [("work", script(work)), ("watch", script("synchro.sleep(10) print(clock.wall())"))],
        |builder| builder.budget(bluetick::Budget::Ticks(250)).time_dilation(dilation),
    );
    game.spawn("watch");
    let workers: Vec<Entity> = (0..8).map(|_| game.spawn("work")).collect();
    let mut events = Vec::new();
    let mut paces = Vec::new();
    for _ in 0..24 {
        let report = frame(&mut game, 0.25);
        events.extend(report.dilation_event.map(|event| event.factor));
        paces.push(report.dilation);
    }
    assert_eq!(events[..2], [0.8254, 0.8254 * 0.8254]);
    assert!(paces[0] == 1.0 && paces.contains(&0.8254), "{paces:?}");
    let clock = game.host.clock();
    assert!(clock.sim < clock.wall - 0.5, "{clock:?}");
    for worker in workers {
        game.host.state(worker).unwrap().set("done", true).unwrap();
    }
    for _ in 0..200 {
        frame(&mut game, 0.25);
    }
    assert_eq!(game.host.clock().dilation, 1.0);
    let woke: f64 = game.printed().parse().unwrap();
    assert!(woke > 10.5, "{woke}");
}

#[test]
fn the_report_counts_sleepers_by_their_clocks() {
    let mut game = alone(
        "local killed = {}
         for n = 1, 3 do killed[n] = tasklet(synchro.sleep_wall)(50) end
         for n = 1, 2 do tasklet(synchro.sleep_wall)(50) end
         for n = 1, 4 do tasklet(synchro.sleep)(0.5) end
         clock.join('menu')
         local own = tasklet(synchro.sleep)(50)
         synchro.sleep(0.25)
         for _, t in killed do t:kill() end
         own:kill()
         synchro.sleep(50)",
    );
    game.host.add_clock("menu", bluetick::ClockId::SIM).unwrap();
    let counts = |game: &mut Game| {
        let report = game.frame();
        (report.sleeping, report.sleeping_by_wall, report.sleeping_in_groups)
    };
    assert_eq!(counts(&mut game), (11, 5, 2));
    assert_eq!(counts(&mut game), (7, 2, 1), "what the killed have left behind counts no more");
    assert_eq!(counts(&mut game), (3, 2, 1));
}

#[test]
fn who_never_gives_control_away_does_not_dilate_time() {
    let dilation = bluetick::TimeDilation { overload: 0.5, ..Default::default() };
    let mut game = Game::build([("loop", script("while true do end"))], |builder| {
        builder.slice(bluetick::SliceLimit::ticks(1000)).time_dilation(dilation)
    });
    game.spawn("loop");
    for _ in 0..20 {
        let report = frame(&mut game, 0.25);
        assert_eq!((report.left_over, report.put_off, report.dilation_event), (1, 1, None));
    }
}

#[test]
fn clock_groups_pause_and_scale_those_who_live_by_them_and_their_children() {
    let mut game = Game::new([(
        "it",
        script(
            r#"
        local function count(name)
            while true do
                local before = clock.sim()
                synchro.sleep(1)
                print(name, clock.frame(), clock.sim() - before, clock.delta())
            end
        end
        self:spawn(count, self.name .. "'s child")
        count(self.name)
        "#,
        ),
    )]);
    let slow = game.host.add_clock("slow", bluetick::ClockId::SIM).unwrap();
    game.host.set_clock_scale(slow, 0.5).unwrap();
    let inner = game.host.add_clock("inner", slow).unwrap();
    game.host.set_clock_scale(inner, 0.5).unwrap();
    game.world.spawn((Name::new("world"), Script::new("it")));
    game.world.spawn((Name::new("slow"), Script::new("it"), bluetick::ScriptClock(slow)));
    let entity = game.world.spawn((Name::new("inner"), Script::new("it"), bluetick::ScriptClock(inner))).id();
    game.frames(9);
    let world = "world\t5\t1\t0.25 world's child\t5\t1\t0.25";
    let slower = "world\t9\t1\t0.25 world's child\t9\t1\t0.25 slow\t9\t1\t0.125 slow's child\t9\t1\t0.125";
    assert_eq!(game.printed(), format!("{world} {slower}"));
    // Half of the inner ones' second is over; the other half passes at once by the world's clock.
    game.host.set_entity_clock(&mut game.world, entity, bluetick::ClockId::SIM);
    game.host.pause_clock(slow).unwrap();
    game.frames(2);
    // From the one clock's 0.0625 s to the other's 2.75 s.
    assert_eq!(game.printed(), "inner\t11\t2.6875\t0.25 inner's child\t11\t2.6875\t0.25");
    game.frames(20);
    assert!(!game.printed().contains("slow"));
    game.host.resume_clock(slow).unwrap();
    game.frames(8);
    assert!(game.printed().contains("slow\t39"));
    assert!(game.host.add_clock("slow", bluetick::ClockId::SIM).is_err());
}

#[test]
fn scripts_name_clocks_to_live_by_them_and_to_change_them() {
    let mut game = alone(
        r#"
        clock.join("menu")
        tasklet(function() synchro.sleep(0.25) print("menu", clock.frame(), clock.sim(), clock.world()) end)()
        clock.join("sim")
        clock.pause("menu")
        synchro.sleep(1)
        clock.resume("menu")
        clock.scale("menu", 0.5)
        print(pcall(clock.join, "nothing"))
        print(pcall(clock.join, "wall"))
        print(pcall(clock.scale, "menu", -1))
        print(pcall(clock.scale, "menu"))
        print(pcall(clock.pause, "wall"))
        "#,
    );
    game.host.add_clock("menu", bluetick::ClockId::SIM).unwrap();
    game.frames(5);
    let printed = game.printed();
    for text in [
        "there is no clock 'nothing'; there are wall, sim, menu",
        "lives by simulated time",
        "got -1",
        "expected a number",
        "can't be paused",
    ] {
        assert!(printed.contains(text), "{text}: {printed}");
    }
    game.frames(3);
    assert_eq!(game.printed(), "menu\t7\t0.5\t1.75");
}
