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

#[test]
fn to_sleep_for_no_time_is_to_wait_for_the_next_frame() {
    let mut game = alone("while true do print(clock.frame()) synchro.sleep(0) end");
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
        ("-1", "got -1"),
        ("-1e-9", "got -"),
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
        local ok, err = pcall(synchro.sleep, -1)
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
        |builder| builder.budget(Duration::from_millis(1)),
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
