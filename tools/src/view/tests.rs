//! Pictures, read as text.

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, style::Modifier};

use super::*;
use crate::{
    app::{Action, Towards},
    journal::Journal,
    sample::{self, Sample},
    session::{Session, TICK},
    snapshot::{Bounds, EntityId, Entry, Hue, Landmark, Snapshot, TaskletState},
};

fn buffer(app: &App, width: u16, height: u16, theme: Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test terminal");
    terminal.draw(|frame| draw(frame, app, theme)).expect("draws");
    terminal.backend().buffer().clone()
}

fn picture(app: &App, width: u16, height: u16) -> String {
    let buffer = buffer(app, width, height, Theme::COLOUR);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
}

/// The sample world after so many frames, with keys pressed then.
fn app(frames: u64, actions: &[Action]) -> App {
    let mut sample = Sample::new(42);
    let mut app = App::new(1.0);
    for frame in 0..frames {
        sample.tick(TICK);
        app.record_frame(std::time::Duration::from_micros(500 + frame % 40 * 50));
        app.observe(sample.snapshot(None), sample.journal());
    }
    for &action in actions {
        app.handle(action);
    }
    app.observe(sample.snapshot(app.follow()), sample.journal());
    app
}

#[track_caller]
fn assert_shows(picture: &str, parts: &[&str]) {
    for part in parts {
        assert!(picture.contains(part), "no {part:?} in\n{picture}");
    }
}

const SIZES: [(u16, u16); 3] = [(80, 24), (100, 30), (160, 50)];

#[test]
fn every_size_shows_what_matters() {
    let app = app(130, &[]);
    for (width, height) in SIZES {
        assert_shows(
            &picture(&app, width, height),
            &[
                " bluetick ",
                "arena",
                "seed 42",
                "▶ 1x",
                "2.2 s",
                "frame 130",
                "328 creatures",
                "last 0.9",
                "mean",
                "budget ━",
                "% of 4.0 ms",
                "slices",
                "tasklets 328",
                "runnable",
                "sleeping",
                "director",
                "Wave 1: twelve",
                "save a script",
                "flock 180",
                "$ shop",
                "! alarm",
                "▒▒▒",
                "space pause",
                "q quit",
            ],
        );
    }
}

#[test]
fn overload_shows_as_interrupted_slices_dilated_time_and_what_the_collector_takes() {
    for (width, height) in SIZES {
        let mut sample = Sample::new(42);
        let mut app = App::new(1.0);
        sample.tick(TICK);
        let mut snapshot = sample.snapshot(None);
        snapshot.load.gc = std::time::Duration::from_micros(1_234);
        app.observe(snapshot.clone(), sample.journal());
        let calm = picture(&app, width, height);
        assert_shows(&calm, &["frame time, ms (gc 1.2)"]);
        assert!(
            !calm.contains("cut") && !calm.contains("interrupted") && !calm.contains("time 0."),
            "{calm}"
        );
        (snapshot.load.interrupted, snapshot.load.dilation) = (17, 0.8254);
        app.observe(snapshot, sample.journal());
        let word = if width == 160 { "17 interrupted" } else { "17 cut" };
        assert_shows(&picture(&app, width, height), &["time 0.83x", word]);
    }
}

#[test]
fn the_curve_is_drawn_in_blocks() {
    let picture = picture(&app(130, &[]), 100, 30);
    assert!("▁▂▃▄▅▆▇█".chars().filter(|&block| picture.contains(block)).count() >= 6, "{picture}");
}

#[test]
fn an_error_shows_its_source_at_every_size() {
    let app = app(310, &[]);
    for (width, height) in SIZES {
        assert_shows(
            &picture(&app, width, height),
            &[
                "1 error",
                "failed  hunter.luau:27 in chase",
                "attempt to index nil with 'x'",
                ">   27 |     local d = dist(self.postion,",
                "✗",
            ],
        );
    }
    assert_shows(
        &picture(&app, 200, 60),
        &["2 times (first: entity 4v1, \"gate guard\")", "hunter.luau:12 in run"],
    );
}

#[test]
fn stuck_tasklets_are_shown_with_what_to_do_at_every_size() {
    let plain = app(325, &[]);
    assert_shows(&picture(&plain, 160, 50), &["6 stuck", "parked 3 x guard.luau:21 in patrol  RL201"]);
    let parked = app(325, &[Action::Stuck]);
    for (width, height) in [(60, 15), (80, 24), (100, 30), (160, 50)] {
        assert_shows(
            &picture(&parked, width, height),
            &["stuck 1 of 2", "parked  guard.luau:21 in patrol", "y retry", "s restart", "k kill"],
        );
    }
    let old = app(325, &[Action::Stuck, Action::Stuck]);
    for (width, height) in SIZES {
        let picture = picture(&old, width, height);
        assert_shows(&picture, &["stuck 2 of 2", "guard.luau#3:21 in patrol", "RL104", "s restart"]);
        assert!(!picture.contains("y retry"), "what is not parked can't be retried\n{picture}");
    }
    for (width, height) in SIZES {
        let source = ["20 |     while true do", ">   21 |         rest()", "22 |     end"];
        assert_shows(&picture(&old, width, height), &source);
        assert_shows(&picture(&old, width, height), &["give it a constant"]);
        assert_shows(&picture(&parked, width, height), &source);
        assert_shows(&picture(&parked, width, height), &["it goes on from line 21 when guard.luau is"]);
    }
}

#[test]
fn a_reload_tells_what_it_did() {
    let at_once = app(160, &[]);
    assert_shows(
        &picture(&at_once, 160, 50),
        &["reload  hunter.luau #1 -> #2", "4.1 ms", "16 tasklets moved", "now    SPEED 5 -> 8"],
    );
    // The column of the smaller ones has few and short rows.
    let told = app(340, &[]);
    assert_shows(&picture(&told, 80, 24), &["1 refused", "1 error"]);
    let mut journal = Journal::default();
    let mut sample = Sample::new(42);
    journal.reload(sample::refused());
    let mut alone = App::new(1.0);
    alone.observe(sample.snapshot(None), &journal);
    assert_shows(&picture(&alone, 80, 24), &["1 refused", "refused  guard.luau:33:"]);
    let refused = app(340, &[Action::Reloads]);
    for (width, height) in SIZES {
        assert_shows(
            &picture(&refused, width, height),
            &["reload 2 of 2", "reload refused  guard.luau (still #4)", "RL001 syntax"],
        );
    }
}

#[test]
fn one_creature_is_no_creatures() {
    let mut snapshot = Snapshot::empty();
    for (index, title) in (0..2).zip(["1 creature ", "2 creatures "]) {
        snapshot.creatures.push(sample::creature(index, "wolf", 0.0, 0.0));
        let mut app = App::new(1.0);
        app.observe(snapshot.clone(), &Journal::default());
        assert_shows(&(picture(&app, 100, 30).replace('\n', " \n")), &[title]);
    }
}

#[test]
fn the_followed_creature_is_marked_and_told_about() {
    let app = app(200, &[Action::Follow(Towards::Next)]);
    for (width, height) in SIZES {
        assert_shows(
            &picture(&app, width, height),
            &[
                "▸v◂",
                "flock 40 40v1",
                "flock.luau #2",
                "sleeping, 0.4 s",
                "at hunter.luau:27",
                "state",
                "mode",
                "\"chase\"",
            ],
        );
        let buffer = buffer(&app, width, height, Theme::COLOUR);
        let reversed = buffer.content.iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED));
        assert_eq!(reversed.map(|cell| cell.symbol()).collect::<Vec<_>>(), ["v"]);
    }
    assert_shows(&picture(&app, 160, 50), &["components", "Transform", "translation", "health ━"]);
}

#[test]
fn a_followed_creature_that_is_gone_is_said_to_be() {
    let mut app = app(10, &[Action::Follow(Towards::Next)]);
    app.observe(Snapshot::empty(), &Journal::default());
    assert_shows(&picture(&app, 80, 24), &["40v1", "is gone", "f follows the next"]);
}

#[test]
fn pause_and_help_are_seen() {
    let app = app(10, &[Action::TogglePause, Action::Help]);
    for (width, height) in [(60, 15), (80, 24), (160, 50)] {
        assert_shows(
            &picture(&app, width, height),
            &["‖ paused", " keys ", "follow the nearest that way", "quit"],
        );
    }
}

#[test]
fn a_tiny_terminal_gets_a_notice() {
    let app = app(10, &[]);
    assert_shows(&picture(&app, 59, 15), &["needs 60 x 15 cells;", "here are 59 x 15.", "q quits"]);
    assert_shows(&picture(&app, 60, 15), &["bluetick", "frame", "q quit"]);
}

#[test]
fn without_colours_there_are_none() {
    let app = app(310, &[Action::Follow(Towards::Next)]);
    let plain = |theme| {
        let buffer = buffer(&app, 160, 50, theme);
        buffer
            .content
            .iter()
            .all(|cell| cell.fg == ratatui::style::Color::Reset && cell.bg == ratatui::style::Color::Reset)
    };
    assert!(plain(Theme::PLAIN));
    assert!(!plain(Theme::COLOUR));
}

#[test]
fn backgrounds_are_the_terminals_own() {
    let buffer = buffer(&app(310, &[Action::Help]), 160, 50, Theme::COLOUR);
    assert!(buffer.content.iter().all(|cell| cell.bg == ratatui::style::Color::Reset));
}

#[test]
fn of_several_in_a_cell_the_most_important_is_seen() {
    let mut snapshot = Snapshot::empty();
    snapshot.bounds = Bounds { min: [-10.0; 2], max: [10.0; 2] };
    let add = |snapshot: &mut Snapshot, behaviour: &str, x: f64| {
        let index = snapshot.creatures.len() as u32;
        snapshot.creatures.push(sample::creature(index, behaviour, x, 0.0));
    };
    for _ in 0..5 {
        add(&mut snapshot, "many", 0.0);
    }
    add(&mut snapshot, "few", 0.0);
    let map = |snapshot: &Snapshot, actions: &[Action]| {
        let mut app = App::new(1.0);
        app.observe(snapshot.clone(), &Journal::default());
        for &action in actions {
            app.handle(action);
        }
        let picture = picture(&app, 80, 24);
        let inside =
            picture.lines().skip(2).take(20).map(|row| row.chars().skip(1).take(48).collect::<String>());
        inside
            .flat_map(|row| row.chars().collect::<Vec<_>>())
            .filter(|c| c.is_alphabetic())
            .collect::<String>()
    };
    assert_eq!(map(&snapshot, &[]), "f");
    snapshot.creatures[2].tasklet = Some(TaskletState::Failed);
    assert_eq!(map(&snapshot, &[]), "m");
    assert_eq!(map(&snapshot, &[Action::Follow(Towards::Next)]), "f");
}

/// Numbers as bad as a script can make them.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -50.0..50.0_f64,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 1e300, -0.0, f64::MIN_POSITIVE]),
    ]
}

/// Texts as bad as a script can make them.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z ]{0,12}",
        1 => Just("日本語の名前👩‍👩‍👧‍👦🏳️‍🌈".repeat(20)),
        1 => Just("\u{1b}[2J\0\t\n\u{200b}\u{301}\u{202e}".to_string()),
        1 => Just("x".repeat(5_000)),
        1 => any::<String>(),
    ]
}

prop_compose! {
    fn world()(
        bounds in [number(), number(), number(), number()],
        creatures in prop::collection::vec((number(), number(), any::<char>(), words(), prop::option::of(-2.0_f32..3.0)), 0..40),
        copies in prop_oneof![4 => Just(1_usize), 1 => Just(250)],
        walls in prop::collection::vec([number(), number(), number(), number()], 0..6),
        spots in prop::collection::vec((words(), number(), number(), any::<char>()), 0..4),
        entries in prop::collection::vec((0..usize::MAX, words(), words()), 0..60),
        figures in (words(), any::<u64>(), any::<u64>(), number(), any::<usize>()),
        budget in prop::option::of((0..u64::MAX, 0..u64::MAX)),
    ) -> Snapshot {
        let mut snapshot = Sample::new(figures.1).snapshot(Some(EntityId { index: 0, generation: 1 }));
        snapshot.scene = figures.0.clone();
        snapshot.frame = figures.2;
        snapshot.slices = figures.1;
        snapshot.messages = figures.2;
        snapshot.sim_time = figures.3;
        snapshot.tasklets.sleeping = figures.4;
        snapshot.tasklets.failed = figures.4;
        snapshot.load.interrupted = figures.1;
        snapshot.load.dilation = figures.3;
        snapshot.load.gc = std::time::Duration::from_micros(figures.2);
        snapshot.budget = budget.map(|(limit, used)| crate::snapshot::Budget {
            limit: std::time::Duration::from_nanos(limit),
            used: std::time::Duration::from_micros(used),
        });
        snapshot.bounds = Bounds { min: [bounds[0], bounds[1]], max: [bounds[2], bounds[3]] };
        snapshot.creatures.clear();
        for copy in 0..copies {
            for (x, y, glyph, name, health) in &creatures {
                let mut new = sample::creature(snapshot.creatures.len() as u32, name, x + copy as f64, *y);
                (new.glyph, new.health) = (*glyph, *health);
                snapshot.creatures.push(new);
            }
        }
        snapshot.landmarks = walls.iter().map(|&[a, b, c, d]| Landmark::Wall { from: [a, b], to: [c, d] }).collect();
        for (name, x, y, glyph) in spots {
            snapshot.landmarks.push(Landmark::Spot { name, at: [x, y], glyph, hue: Hue::Red });
        }
        if let Some(followed) = &mut snapshot.followed {
            followed.name = figures.0.clone();
            followed.status = figures.0;
            followed.state = entries.iter().map(|(depth, key, value)| Entry { depth: *depth, key: key.clone(), value: value.clone() }).collect();
            followed.components = followed.state.clone();
        }
        snapshot
    }
}

fn keys() -> impl Strategy<Value = Vec<Action>> {
    let key = prop::sample::select(vec![
        Action::TogglePause,
        Action::Faster,
        Action::Follow(Towards::Next),
        Action::Follow(Towards::PreviousKind),
        Action::Follow(Towards::Left),
        Action::Follow(Towards::Down),
        Action::Errors,
        Action::Reloads,
        Action::Help,
        Action::Back,
    ]);
    prop::collection::vec(key, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_world_is_drawn_at_any_size(
        world in world(),
        size in (1..=200_u16, 1..=60_u16),
        keys in keys(),
        texts in prop::collection::vec(words(), 1..8),
        took in prop::collection::vec(any::<u64>(), 0..300),
    ) {
        let mut journal = Journal::default();
        journal.set_time(world.frame, world.sim_time);
        for text in &texts {
            journal.log(text);
            journal.announce(text);
            let mut error = sample::error(text, u32::MAX - 1);
            error.message = text.clone();
            error.excerpt[0].text = text.clone();
            error.notes = texts.clone();
            journal.error(error);
            let mut reload = sample::reload(text);
            reload.details = texts.clone();
            journal.reload(reload);
        }
        let mut app = App::new(1.0);
        for took in took {
            app.record_frame(std::time::Duration::from_nanos(took));
        }
        app.observe(world.clone(), &journal);
        for key in keys {
            app.handle(key);
        }
        app.observe(world, &journal);
        for theme in [Theme::COLOUR, Theme::PLAIN] {
            buffer(&app, size.0, size.1, theme);
        }
    }
}
