//! Bugs of the past (`semantics.md` 8) that a host's clock and frames can have; those of tasklets and channels
//! alone are in `scripting/tests/history.rs`.

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
