//! Tasklets that run in the time that others leave, and work on other threads that tasklets wait for.

use bluetick::{Budget, FrameReport, GcPace};
use bluetick_tests::{Game, script};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A game by a clock that only `world:work(ms)` moves, whose frames are meant to take 10 ms and leave none to the
/// collector.
fn timed<const N: usize>(scripts: [(&str, &str); N]) -> Game {
    let now = Rc::new(Cell::new(Duration::ZERO));
    let (source, work) = (now.clone(), now);
    let scripts = scripts.map(|(name, body)| (name, script(body)));
    Game::build(scripts, |builder| {
        builder
            .time_source(move || source.get())
            .gc(GcPace { most: Duration::ZERO, frame: Duration::from_millis(10) })
            .function("work", move |_, milliseconds: u64| {
                work.set(work.get() + Duration::from_millis(milliseconds));
                Ok::<_, &str>(())
            })
    })
}

/// Works for 3 ms a turn, in the background, and prints its name.
const BACKGROUND: &str = "scheduler.getcurrent().background = true
    while true do world:work(3) print(self.name) scheduler.schedule() end";

fn named(game: &mut Game, name: &'static str, script: &str) {
    game.world.spawn((bevy_ecs::name::Name::new(name), bluetick::Script::new(script)));
}

/// What a frame prints, and its report.
fn frame(game: &mut Game) -> (String, FrameReport) {
    let report = game.frame();
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
    (game.printed(), report)
}

#[test]
fn a_background_tasklet_runs_in_the_time_that_others_leave_and_in_no_other() {
    let busy = "while true do world:work(self.state.ms or 1) print(self.name) synchro.yield() end";
    let mut game = timed([("low", BACKGROUND), ("busy", busy)]);
    named(&mut game, "a", "low");
    named(&mut game, "b", "low");
    game.world.spawn((bevy_ecs::name::Name::new("busy"), bluetick::Script::new("busy")));
    // The first slices are in the foreground: nobody has said anything else yet.
    assert_eq!(frame(&mut game).0, "a b busy a");
    // 1 ms, and then 3 ms each until 10 ms are over. They go on where the last frame has stopped.
    let (printed, report) = frame(&mut game);
    assert_eq!(printed, "busy b a b");
    assert_eq!((report.left_over, report.put_off, report.background, report.slices), (0, 0, 2, 4));
    let mut query = game.world.query::<(bevy_ecs::entity::Entity, &bevy_ecs::name::Name)>();
    let entity = query.iter(&game.world).find(|(_, name)| name.as_str() == "busy").unwrap().0;
    game.host.state(entity).unwrap().set("ms", 10).unwrap();
    for _ in 0..3 {
        let (printed, report) = frame(&mut game);
        assert_eq!((&*printed, report.background, report.left_over), ("busy", 2, 0));
    }
    game.host.state(entity).unwrap().set("ms", 9).unwrap();
    assert_eq!(frame(&mut game).0, "busy a");
    assert_eq!(frame(&mut game).0, "busy b");
}

#[test]
fn whoever_is_woken_by_a_background_tasklet_goes_before_the_next_one() {
    let mut game = timed([(
        "it",
        "local c = channel()
         c.preference = 0
         tasklet(function() for word in c do print(word) end end)()
         for n = 1, 2 do
             local t = tasklet(function() for i = 1, 2 do print(n) c:send('woken by ' .. n) scheduler.schedule() end end)()
             t.background = true
         end
         synchro.yield()
         print('yielder')",
    )]);
    game.spawn("it");
    assert_eq!(frame(&mut game).0, "1 woken by 1 2 woken by 2 1 woken by 1 2 woken by 2");
    assert_eq!(frame(&mut game).0, "yielder");
}

#[test]
fn a_background_tasklet_can_be_killed_thrown_at_removed_and_brought_to_the_foreground() {
    let mut game = timed([(
        "it",
        "local function low(name)
             local t = tasklet(function()
                 scheduler.getcurrent().background = true
                 local ok, err = scheduler.pcall(scheduler.schedule)
                 print(name, if ok then 'ran' else err.kind or err)
             end)()
             scheduler.schedule()
             return t
         end
         local waiting, killed, thrown = low('waiting'), low('killed'), low('thrown')
         world:work(10)
         synchro.yield()
         -- No time was left: they wait for some.
         print(waiting.scheduled, waiting.paused, waiting.blocked, waiting.alive, waiting.background, waiting.next)
         print(pcall(waiting.bind, waiting, nil))
         killed:kill()
         thrown:throw('oops', true)
         waiting:remove()
         print(waiting.paused, waiting.scheduled)
         waiting:insert()
         world:work(10)
         synchro.yield()
         waiting.background = false
         scheduler.schedule()
         print('now', waiting.alive, waiting.background)
         print(pcall(function() waiting.background = 1 end))
         world:work(10)",
    )]);
    game.spawn("it");
    assert_eq!(frame(&mut game).0, "");
    let printed = frame(&mut game).0;
    assert!(printed.starts_with("true\tfalse\tfalse\ttrue\ttrue\tnil false\t"), "{printed}");
    assert!(printed.contains("bind"), "{printed}");
    assert!(printed.ends_with(" killed\texit true\tfalse thrown\toops"), "{printed}");
    let printed = frame(&mut game).0;
    assert!(printed.starts_with("waiting\tran now\tfalse\tfalse false\t"), "{printed}");
    assert!(printed.contains("background"), "{printed}");
}

#[test]
fn an_entity_takes_its_background_tasklets_along_and_endless_ones_are_interrupted() {
    let endless = "scheduler.defer(function() print('over') end)
        scheduler.getcurrent().background = true
        scheduler.schedule()
        while true do end";
    let mut game = Game::build([("endless", script(endless))], |builder| {
        builder.budget(Budget::Ticks(10_000)).slice(bluetick::SliceLimit::ticks(1_000))
    });
    let endless = game.spawn("endless");
    let reports: Vec<FrameReport> = (0..3).map(|_| game.frame()).collect();
    assert!(reports.iter().all(|report| report.overruns.len() == 1), "{reports:#?}");
    // It is put off, and so no overload.
    assert!(reports.iter().all(|report| report.left_over == report.put_off), "{reports:#?}");
    game.world.despawn(endless);
    assert_eq!(frame(&mut game).0, "over");
    assert_eq!((game.host.vm().runnable(), game.host.vm().background()), (0, 0));
}

#[test]
fn with_a_budget_in_ticks_background_tasklets_get_what_is_left_of_it_whatever_the_machine() {
    let run = || {
        let low = "scheduler.getcurrent().background = true
            while true do for i = 1, 60 do end print(self.name) scheduler.schedule() end";
        let busy = "local n = 0 while true do n += 1 for i = 1, 60 * (n % 7) do end print(self.name) synchro.yield() end";
        let mut game = Game::build([("low", script(low)), ("busy", script(busy))], |builder| {
            builder.budget(Budget::Ticks(300))
        });
        for name in ["a", "b", "c"] {
            named(&mut game, name, "low");
        }
        named(&mut game, "busy", "busy");
        (0..20).map(|_| frame(&mut game).0).collect::<Vec<_>>()
    };
    let frames = run();
    assert_eq!(frames, run());
    assert!(frames[1..].iter().all(|frame| frame.starts_with("busy")), "{frames:?}");
    let low = |frame: &String| frame.split(' ').count() - 1;
    assert!(
        frames.iter().any(|frame| low(frame) == 0) && frames.iter().any(|frame| low(frame) >= 4),
        "{frames:?}"
    );
}

/// Loops until so many jobs are done; their threads run when the machine lets them.
fn until_done(game: &Game, jobs: usize) {
    while game.host.work_done() < jobs {
        std::thread::yield_now();
    }
}

/// U12, on threads of the host; and F1: who waited for work is woken first of all.
#[test]
fn u12_work_on_other_threads_overlaps_keeps_nobody_waiting_and_wakes_before_the_sleepers() {
    // Each of the two can only end when the other one has begun.
    let meet = Arc::new(std::sync::Barrier::new(2));
    let mut game = Game::build(
        [
            ("asks", script("print(self.name, world:double(if self.name == 'one' then 1 else 2))")),
            (
                "ticks",
                script(
                    "for n = 1, 2 do synchro.sleep(0.25) print('tick') end synchro.yield() print('yielder')",
                ),
            ),
        ],
        |builder| {
            builder.offloaded("double", move |number: f64| {
                meet.wait();
                Ok::<_, String>(number * 2.0)
            })
        },
    );
    named(&mut game, "one", "asks");
    named(&mut game, "two", "asks");
    game.spawn("ticks");
    let (printed, report) = frame(&mut game);
    assert_eq!((&*printed, report.offloaded, report.sleeping, report.yielding), ("", 2, 1, 0));
    until_done(&game, 2);
    let (printed, report) = frame(&mut game);
    let mut words: Vec<&str> = printed.split(' ').collect();
    // In which order the two have ended is up to the machine.
    words[..2].sort_unstable();
    assert_eq!((words, report.offloaded, report.woken), (vec!["one\t2", "two\t4", "tick"], 0, 3));
    assert_eq!(frame(&mut game).0, "tick");
    assert_eq!(frame(&mut game).0, "yielder");
}

/// U13, on threads of the host.
#[test]
fn u13_who_is_killed_while_it_waits_for_a_thread_ends_and_its_result_is_dropped() {
    struct Counted(Arc<AtomicU32>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (begun, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (begins, count) = (begun.clone(), dropped.clone());
    let mut game = Game::build(
        [(
            "it",
            script(
                "local t = tasklet(function() scheduler.defer(function() print('gone') end) world:slow() print('never') end)()
                 synchro.yield()
                 t:kill()
                 print(t.alive)
                 world:slow()
                 print('other')",
            ),
        )],
        |builder| {
            builder.offloaded("slow", move |(): ()| {
                begins.fetch_add(1, Ordering::SeqCst);
                let _counted = Counted(count.clone());
                gate.lock().unwrap().recv().map_err(|error| error.to_string())
            })
        },
    );
    game.spawn("it");
    assert_eq!(frame(&mut game).0, "");
    // What nobody has begun would be left out.
    while begun.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let (printed, report) = frame(&mut game);
    assert_eq!((&*printed, report.offloaded), ("gone false", 1));
    go.send(()).unwrap();
    go.send(()).unwrap();
    until_done(&game, 2);
    assert_eq!(frame(&mut game).0, "other");
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    assert_eq!(game.host.work_done(), 0);
}

#[test]
fn what_goes_wrong_on_another_thread_is_an_error_of_the_script_that_waits_for_it() {
    let mut game = Game::build(
        [(
            "it",
            script(
                "for _, how in { 'fail', 'panic', 'x' } do print(pcall(function() return world:risky(how) end)) end\nworld:risky('fail')",
            ),
        )],
        |builder| {
            builder.offloaded("risky", |how: String| match &*how {
                "fail" => Err("no such file".to_owned()),
                "panic" => panic!("out of its mind"),
                _ => Ok(how.len()),
            })
        },
    );
    game.spawn("it");
    for _ in 0..3 {
        game.frames(1);
        until_done(&game, 1);
    }
    game.frames(1);
    let printed = game.printed();
    until_done(&game, 1);
    let failure = game.failure();
    assert!(printed.starts_with("false\t") && printed.contains("no such file"), "{printed}");
    assert!(printed.contains("the work on another thread has panicked: out of its mind"), "{printed}");
    assert!(printed.ends_with("true\t1"), "{printed}");
    assert!(
        failure.message.starts_with("it.luau:2: ") && failure.message.ends_with("no such file"),
        "{failure}"
    );
}

#[test]
fn a_host_goes_while_its_threads_work() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let mut game = Game::build([("it", script("world:slow()"))], |builder| {
        builder.offloaded("slow", move |(): ()| {
            let _ = gate.lock().unwrap().recv();
            Ok::<(), String>(())
        })
    });
    game.spawn("it");
    game.frames(1);
    drop(game);
    // The thread is still there to be told to go on, or has given up its end.
    let _ = go.send(());
}
