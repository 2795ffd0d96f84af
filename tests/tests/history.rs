//! Bugs of the past (`semantics.md` 8) that a host's clock and frames can have; those of tasklets and channels
//! alone are in `scripting/tests/history.rs`.

use bluetick::{Budget, ClockId, TimeDilation};
use bluetick_tests::{Game, script};

/// Every frame kills a sleeper and starts another in the same turn, which must not lose its wake-up to the
/// clean-up of the killed one.
#[test]
fn s8_01_sleeping_beauty() {
    let mut game = Game::new([(
        "beauty",
        script(
            r#"
            _ = self
            local woken, started = 0, 0
            for round = 1, 1000 do
                local killed = tasklet(function() synchro.sleep(1) error("slept although it was killed") end)()
                scheduler.schedule()
                tasklet(function()
                    killed:kill()
                    started += 1
                    synchro.sleep(0.25)
                    woken += 1
                end)()
                if round % 20 == 0 then synchro.yield() end
            end
            synchro.sleep(1)
            print(started, woken)
            "#,
        ),
    )]);
    game.spawn("beauty");
    game.frames(60);
    assert_eq!(game.printed().split_whitespace().collect::<Vec<_>>(), ["1000", "1000"]);
    assert_eq!(game.frame().sleeping, 0);
}

/// What a frame reports is its own, also after one in which scripts have failed.
#[test]
fn s8_20_a_frame_that_failed_leaves_nothing_stale() {
    let mut game = Game::new([
        ("fails", script("_ = self synchro.yield() error('once')")),
        ("sleeps", script("_ = self synchro.sleep(2) print('awake')")),
    ]);
    game.spawn("fails");
    game.spawn("sleeps");
    game.frames(1);
    let failure = game.failure();
    assert!(failure.to_string().contains("once"), "{failure}");
    let report = game.frame();
    assert!(report.failures.is_empty());
    assert_eq!((report.sleeping, report.left_over), (1, 0));
    game.frames(8);
    assert_eq!(game.printed(), "awake");
}

/// The statistics of a frame in which something has failed are that frame's, so time dilation judges by them: CCP's
/// kept those of the frame before.
#[test]
fn s8_20_time_dilation_does_not_judge_a_frame_that_failed_by_an_old_one() {
    let dilation = TimeDilation { overload: 1.0, lead: 0.0, ..TimeDilation::default() };
    let work = "while not self.state.done do for i = 1, 100 do end synchro.yield() end";
    let mut game = Game::build(
        [
            ("work", script(work)),
            ("fails", script("while true do tasklet(error)('again') synchro.yield() end")),
        ],
        |builder| builder.budget(Budget::Ticks(250)).time_dilation(dilation),
    );
    let workers: Vec<_> = (0..8).map(|_| game.spawn("work")).collect();
    for _ in 0..4 {
        assert!(game.frame().left_over > 0);
    }
    // From now on each frame fails, and gets through its queue.
    for &worker in &workers {
        game.host.state(worker).unwrap().set("done", true).unwrap();
    }
    game.spawn("fails");
    let mut failed = 0;
    for _ in 0..40 {
        let report = game.frame();
        failed += report.failures.len();
        assert_eq!(report.dilation_event, None);
    }
    assert!(failed > 20, "{failed}");
    assert_eq!(game.host.clock().dilation, 1.0);
}

#[test]
fn s8_20_a_shutdown_forgets_no_sleeper_by_whichever_clock() {
    let mut game = Game::new([(
        "it",
        script(
            "local function ends(name, f)
                 tasklet(function() scheduler.defer(function() print(name) end) f(99) end)()
             end
             ends('sim', synchro.sleep)
             ends('wall', synchro.sleep_wall)
             clock.join('menu')
             ends('group', synchro.sleep)",
        ),
    )]);
    game.host.add_clock("menu", ClockId::SIM).unwrap();
    game.spawn("it");
    game.frames(1);
    assert_eq!(game.host.shut_down(&mut game.world), []);
    assert_eq!(game.printed(), "wall sim group");
    assert_eq!(game.frame().sleeping, 0);
}

#[test]
fn s8_20_a_clock_that_is_set_anew_takes_its_sleepers_along() {
    let mut game = Game::new([(
        "it",
        script(
            "local function sleeper(name, f) tasklet(function() f(1) print(name, clock.frame()) end)() end
             sleeper('sim', synchro.sleep)
             sleeper('wall', synchro.sleep_wall)
             clock.join('menu')
             sleeper('group', synchro.sleep)",
        ),
    )]);
    let menu = game.host.add_clock("menu", ClockId::SIM).unwrap();
    game.spawn("it");
    game.frames(1);
    for (clock, to) in [(ClockId::SIM, 1e6), (ClockId::WALL, -1e6), (menu, 500.0)] {
        game.host.reset_clock(clock, to).unwrap();
    }
    game.frames(3);
    assert_eq!(game.printed(), "");
    game.frames(1);
    assert_eq!(game.printed(), "wall\t5 sim\t5 group\t5");
}

#[test]
fn s8_20_whoever_is_woken_gets_the_value_that_it_is_woken_with() {
    let mut game = Game::new([(
        "it",
        script(
            "local t = tasklet(function() print(synchro.sleep(9)) print(synchro.sleep_wall(9)) print(synchro.sleep(9)) end)()
             for _, wake in { synchro.wakeup, function(t, v) synchro.wakeup_at_wall(t, 0, v) end, function(t, v) synchro.wakeup_at(t, 0, v) end } do
                 synchro.yield()
                 wake(t, 'up')
             end",
        ),
    )]);
    game.spawn("it");
    game.frames(5);
    assert_eq!(game.printed(), "up up up");
}
