//! The player for terminals: [`play`] drives a [`Session`] with keys and a picture.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    app::{Action, App},
    pacer::Pacer,
    screen::Screen,
    session::{Session, TICK},
};

/// Wall time between two pictures: about thirty a second.
const PICTURE: Duration = Duration::from_millis(33);

/// The part of it that ticks may fill, so that keys are heard however much a tick costs.
const TICKING: Duration = Duration::from_millis(24);

/// How to play.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Sim seconds a wall second, to begin with.
    pub speed: f64,
    /// End after so many frames, if ever.
    pub frames: Option<u64>,
}

/// Eyes, ears and watch of the player: the terminal, or a test in its place.
pub(crate) trait Console {
    fn now(&self) -> Instant;

    /// Waits for a key at most `timeout`.
    fn wait(&mut self, timeout: Duration) -> io::Result<Option<Action>>;

    fn draw(&mut self, app: &App) -> io::Result<()>;
}

/// Plays `session` in the terminal until someone quits or `settings.frames` have run.
///
/// While it plays, the terminal is its own: what scripts print belongs into the session's journal.
///
/// # Errors
/// Where the terminal can't be set up, read from or written to. It is restored in any case.
pub fn play(session: &mut impl Session, settings: Settings) -> io::Result<()> {
    let mut screen = Screen::open()?;
    play_on(session, &mut screen, settings)
}

fn play_on(session: &mut impl Session, console: &mut impl Console, settings: Settings) -> io::Result<()> {
    let mut app = App::new(settings.speed);
    let mut pacer = Pacer::default();
    let mut left = settings.frames.unwrap_or(u64::MAX);
    let mut shown = console.now();
    app.observe(session.snapshot(None), session.journal());
    console.draw(&app)?;

    loop {
        listen(&mut app, console, shown + PICTURE)?;
        if app.is_quitting() {
            return Ok(());
        }
        for (number, remedy) in app.take_remedies() {
            session.remedy(number, remedy);
        }
        let now = console.now();
        let elapsed = now.saturating_duration_since(shown);
        shown = now;

        let due = if app.is_paused() { app.take_steps() } else { pacer.advance(elapsed, app.speed()) };
        let due = u64::from(due).min(left);
        left -= run_ticks(&mut app, session, console, due);
        app.observe(session.snapshot(app.follow()), session.journal());
        console.draw(&app)?;
        if left == 0 {
            return Ok(());
        }
    }
}

/// Acts on keys until `deadline`.
fn listen(app: &mut App, console: &mut impl Console, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(console.now());
        match console.wait(left)? {
            Some(action) => app.handle(action),
            None => return Ok(()),
        }
        // A held key may come in faster than it is acted on; the picture goes on all the same.
        if app.is_quitting() || left.is_zero() {
            return Ok(());
        }
    }
}

/// Runs `due` ticks, or as many as there is time for. Returns how many.
fn run_ticks(app: &mut App, session: &mut impl Session, console: &impl Console, due: u64) -> u64 {
    let start = console.now();
    let mut before = start;
    for tick in 0..due {
        session.tick(TICK);
        let after = console.now();
        app.record_frame(after - before);
        before = after;
        if after - start > TICKING && tick + 1 < due {
            app.set_behind(true);
            return tick + 1;
        }
    }
    if due > 0 {
        app.set_behind(false);
    }
    due
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;
    use crate::{
        app::Towards,
        journal::Journal,
        sample::Sample,
        session::Remedy,
        snapshot::{EntityId, Snapshot},
    };

    /// A console whose watch moves only when somebody waits, and whose keys come at known pictures.
    struct Script {
        now: Rc<Cell<Instant>>,
        keys: Vec<(usize, Action)>,
        pictures: Vec<(u64, bool)>,
    }

    impl Script {
        fn new(keys: &[(usize, Action)]) -> Self {
            Self { now: Rc::new(Cell::new(Instant::now())), keys: keys.to_vec(), pictures: Vec::new() }
        }

        fn frames(&self) -> Vec<u64> {
            self.pictures.iter().map(|&(frame, _)| frame).collect()
        }
    }

    impl Console for Script {
        fn now(&self) -> Instant {
            self.now.get()
        }

        fn wait(&mut self, timeout: Duration) -> io::Result<Option<Action>> {
            if let Some(next) = self.keys.iter().position(|&(picture, _)| picture <= self.pictures.len()) {
                return Ok(Some(self.keys.remove(next).1));
            }
            self.now.set(self.now.get() + timeout);
            assert!(self.pictures.len() < 1_000, "nobody quits");
            Ok(None)
        }

        fn draw(&mut self, app: &App) -> io::Result<()> {
            self.pictures.push((app.snapshot().frame, app.snapshot().followed.is_some()));
            Ok(())
        }
    }

    const AT_ONCE: Settings = Settings { speed: 1.0, frames: None };

    #[test]
    fn thirty_pictures_show_a_sim_second() {
        let mut console = Script::new(&[(32, Action::Quit)]);
        play_on(&mut Sample::new(1), &mut console, AT_ONCE).expect("plays");
        let last = *console.frames().last().expect("drew");
        assert!((60..=62).contains(&last), "{last}");
    }

    #[test]
    fn a_paused_world_stands_still_but_steps() {
        let keys = [(1, Action::TogglePause), (5, Action::Step), (7, Action::Step), (9, Action::Quit)];
        let mut console = Script::new(&keys);
        play_on(&mut Sample::new(1), &mut console, AT_ONCE).expect("plays");
        assert_eq!(console.frames(), [0, 0, 0, 0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn the_followed_entity_is_in_the_next_picture() {
        let keys = [(2, Action::Follow(Towards::Next)), (4, Action::Back), (5, Action::Quit)];
        let mut console = Script::new(&keys);
        play_on(&mut Sample::new(1), &mut console, AT_ONCE).expect("plays");
        let followed: Vec<bool> = console.pictures.iter().map(|&(_, followed)| followed).collect();
        assert_eq!(followed, [false, false, true, true, false]);
    }

    #[test]
    fn a_number_of_frames_ends_it() {
        let mut console = Script::new(&[]);
        play_on(&mut Sample::new(1), &mut console, Settings { speed: 8.0, frames: Some(50) }).expect("plays");
        assert_eq!(console.frames().last(), Some(&50));
    }

    #[test]
    fn a_key_mends_the_tasklets_that_are_shown() {
        let keys = [(170, Action::Stuck), (171, Action::Remedy(Remedy::Restart)), (175, Action::Quit)];
        let mut console = Script::new(&keys);
        let mut sample = Sample::new(1);
        play_on(&mut sample, &mut console, AT_ONCE).expect("plays");
        let left: Vec<u64> = sample.snapshot(None).stuck.iter().map(|group| group.number).collect();
        assert_eq!(left, [2]);
    }

    /// A world whose ticks take longer than there is time.
    struct Slow(Sample, Rc<Cell<Instant>>);

    impl Session for Slow {
        fn tick(&mut self, dt: f64) {
            self.1.set(self.1.get() + Duration::from_millis(20));
            self.0.tick(dt);
        }

        fn snapshot(&mut self, follow: Option<EntityId>) -> Snapshot {
            self.0.snapshot(follow)
        }

        fn remedy(&mut self, number: u64, remedy: Remedy) {
            self.0.remedy(number, remedy);
        }

        fn digest(&self) -> u64 {
            self.0.digest()
        }

        fn journal(&self) -> &Journal {
            self.0.journal()
        }
    }

    #[test]
    fn a_slow_world_loses_ticks_and_not_keys() {
        let mut console = Script::new(&[(20, Action::Quit)]);
        let start = console.now();
        let mut slow = Slow(Sample::new(1), console.now.clone());
        play_on(&mut slow, &mut console, Settings { speed: 8.0, frames: None }).expect("plays");
        assert_eq!(console.pictures.len(), 20);
        // Two ticks a picture, and no debt that grows.
        assert_eq!(console.frames().last(), Some(&38));
        assert!(console.now() - start < Duration::from_secs(2));
    }
}
