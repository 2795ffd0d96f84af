//! The state of the terminal's player: what keys change and what the panels show.

use std::sync::Arc;

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::{
    frame_times::FrameTimes,
    journal::Journal,
    rates::{RateMeter, Rates},
    session::Remedy,
    snapshot::{Creature, EntityId, Kind, Snapshot},
};

/// The slowest speed, in sim seconds a wall second.
pub const SLOWEST: f64 = 0.25;

/// The fastest speed.
pub const FASTEST: f64 = 8.0;

/// Which creature to follow, seen from the one that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// The next one, through all of a behaviour and then the next behaviour.
    Next,
    /// The one before.
    Previous,
    /// The first of the next behaviour.
    NextKind,
    /// The first of the behaviour before.
    PreviousKind,
    /// The nearest westward.
    Left,
    /// The nearest eastward.
    Right,
    /// The nearest northward.
    Up,
    /// The nearest southward.
    Down,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End.
    Quit,
    /// Stop the sim clock, or let it go on.
    TogglePause,
    /// Stop the sim clock and run one tick.
    Step,
    /// Twice the speed.
    Faster,
    /// Half the speed.
    Slower,
    /// Follow a creature.
    Follow(Towards),
    /// Leave what was opened last: help, the chosen report, the followed creature.
    Back,
    /// Show the newest error, then older ones, then none.
    Errors,
    /// Show the newest reload, then older ones, then none.
    Reloads,
    /// Show the first tasklets that are stuck, then others, then none.
    Stuck,
    /// Do something about the tasklets that are shown.
    Remedy(Remedy),
    /// Show or hide the keys.
    Help,
    /// The terminal has another size.
    Redraw,
}

impl Action {
    /// What `event` asks for, if anything.
    pub fn from_event(event: &Event) -> Option<Self> {
        let key = match event {
            Event::Resize(..) => return Some(Self::Redraw),
            // Some terminals tell releases too.
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            _ => return None,
        };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Some(Self::Quit),
                KeyCode::Char('l') => Some(Self::Redraw),
                _ => None,
            };
        }
        Some(match key.code {
            KeyCode::Char('q' | 'Q') => Self::Quit,
            KeyCode::Char(' ' | 'p') => Self::TogglePause,
            KeyCode::Char('.' | 'n') => Self::Step,
            // `=` is `+` without shift.
            KeyCode::Char('+' | '=') => Self::Faster,
            KeyCode::Char('-' | '_') => Self::Slower,
            KeyCode::Char('f') => Self::Follow(Towards::Next),
            KeyCode::Char('F') => Self::Follow(Towards::Previous),
            KeyCode::Tab => Self::Follow(Towards::NextKind),
            KeyCode::BackTab => Self::Follow(Towards::PreviousKind),
            KeyCode::Left => Self::Follow(Towards::Left),
            KeyCode::Right => Self::Follow(Towards::Right),
            KeyCode::Up => Self::Follow(Towards::Up),
            KeyCode::Down => Self::Follow(Towards::Down),
            KeyCode::Esc => Self::Back,
            KeyCode::Char('e') => Self::Errors,
            KeyCode::Char('r') => Self::Reloads,
            KeyCode::Char('t') => Self::Stuck,
            KeyCode::Char('y') => Self::Remedy(Remedy::Retry),
            KeyCode::Char('s') => Self::Remedy(Remedy::Restart),
            KeyCode::Char('k') => Self::Remedy(Remedy::Kill),
            KeyCode::Char('?' | 'h') => Self::Help,
            _ => return None,
        })
    }
}

/// The report that was chosen by key. It is known by its number, so that it stays while newer ones come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// An error.
    Error(u64),
    /// A reload.
    Reload(u64),
    /// Tasklets that are stuck.
    Stuck(u64),
}

/// The creature that is followed, and enough of it to find a neighbour when it is gone.
#[derive(Debug, Clone, PartialEq)]
struct Followee {
    entity: EntityId,
    behaviour: Arc<str>,
    at: [f64; 2],
}

impl Followee {
    fn new(creature: &Creature) -> Self {
        Self { entity: creature.entity, behaviour: creature.behaviour.clone(), at: [creature.x, creature.y] }
    }

    fn order(&self) -> (&str, EntityId) {
        (&self.behaviour, self.entity)
    }
}

fn order(creature: &Creature) -> (&str, EntityId) {
    (&creature.behaviour, creature.entity)
}

/// The player's state.
#[derive(Debug)]
pub struct App {
    snapshot: Snapshot,
    kinds: Vec<Kind>,
    journal: Journal,
    meter: RateMeter,
    rates: Rates,
    frame_times: FrameTimes,
    paused: bool,
    speed: f64,
    /// Ticks asked for one by one and not yet run.
    steps: u32,
    behind: bool,
    followee: Option<Followee>,
    focus: Option<Focus>,
    /// What is to be done about tasklets that are stuck.
    remedies: Vec<(u64, Remedy)>,
    help: bool,
    quitting: bool,
}

impl App {
    /// The state before the first frame, playing at `speed` sim seconds a wall second.
    pub fn new(speed: f64) -> Self {
        Self {
            snapshot: Snapshot::empty(),
            kinds: Vec::new(),
            journal: Journal::default(),
            meter: RateMeter::default(),
            rates: Rates::default(),
            frame_times: FrameTimes::default(),
            paused: false,
            speed: if speed.is_nan() { 1.0 } else { speed.clamp(SLOWEST, FASTEST) },
            steps: 0,
            behind: false,
            followee: None,
            focus: None,
            remedies: Vec::new(),
            help: false,
            quitting: false,
        }
    }

    /// Does what a key asked for.
    pub fn handle(&mut self, action: Action) {
        match action {
            Action::Quit => self.quitting = true,
            Action::TogglePause => self.paused = !self.paused,
            Action::Step => {
                self.paused = true;
                self.steps = self.steps.saturating_add(1);
            }
            Action::Faster => self.speed = (self.speed * 2.0).min(FASTEST),
            Action::Slower => self.speed = (self.speed / 2.0).max(SLOWEST),
            Action::Follow(towards) => {
                if let Some(found) = self.neighbour(towards) {
                    self.followee = Some(Followee::new(found));
                }
            }
            Action::Back if self.help => self.help = false,
            Action::Back if self.focus.is_some() => self.focus = None,
            Action::Back => self.followee = None,
            Action::Errors => {
                let chosen = match self.focus {
                    Some(Focus::Error(number)) => number,
                    _ => u64::MAX,
                };
                let mut numbers = self.journal.errors().iter().rev().map(|error| error.stamp.number);
                self.focus = numbers.find(|&number| number < chosen).map(Focus::Error);
            }
            Action::Reloads => {
                let chosen = match self.focus {
                    Some(Focus::Reload(number)) => number,
                    _ => u64::MAX,
                };
                let mut numbers = self.journal.reloads().iter().rev().map(|reload| reload.stamp.number);
                self.focus = numbers.find(|&number| number < chosen).map(Focus::Reload);
            }
            Action::Stuck => self.focus = self.next_stuck().map(Focus::Stuck),
            Action::Remedy(remedy) => match self.focus {
                Some(Focus::Stuck(number)) => self.remedies.push((number, remedy)),
                // First it is shown what would be done to whom.
                _ => self.focus = self.next_stuck().map(Focus::Stuck).or(self.focus),
            },
            Action::Help => self.help = !self.help,
            Action::Redraw => {}
        }
    }

    /// Takes in the world after a frame, and what has happened.
    pub fn observe(&mut self, snapshot: Snapshot, journal: &Journal) {
        self.rates = self.meter.observe(&snapshot);
        self.kinds = snapshot.kinds();
        self.snapshot = snapshot;
        if self.journal.revision() != journal.revision() {
            self.journal = journal.clone();
        }
        if let Some(Focus::Stuck(number)) = self.focus
            && !self.snapshot.stuck.iter().any(|group| group.number == number)
        {
            // They are not stuck any more.
            self.focus = None;
        }
        if let Some(creature) = self.followed_creature() {
            self.followee = Some(Followee::new(creature));
        }
    }

    /// Takes in what a frame took by the wall clock.
    pub fn record_frame(&mut self, took: std::time::Duration) {
        self.frame_times.record(took);
    }

    /// Says whether ticks had to be left out to stay responsive.
    pub fn set_behind(&mut self, behind: bool) {
        self.behind = behind;
    }

    /// Hands out the ticks that were asked for one by one.
    pub fn take_steps(&mut self) -> u32 {
        std::mem::take(&mut self.steps)
    }

    /// Hands out what is to be done about tasklets that are stuck.
    pub fn take_remedies(&mut self) -> Vec<(u64, Remedy)> {
        std::mem::take(&mut self.remedies)
    }

    /// The tasklets that are shown after those that are shown now.
    fn next_stuck(&self) -> Option<u64> {
        let groups = &self.snapshot.stuck;
        let next = match self.focus {
            Some(Focus::Stuck(number)) => groups.iter().position(|group| group.number == number)? + 1,
            _ => 0,
        };
        groups.get(next).map(|group| group.number)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Its behaviours.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// What has happened.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Slices and messages.
    pub fn rates(&self) -> Rates {
        self.rates
    }

    /// What frames took by the wall clock.
    pub fn frame_times(&self) -> &FrameTimes {
        &self.frame_times
    }

    /// Whether the sim clock stands still.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Sim seconds a wall second.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Whether the machine is too slow for that speed.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// The followed entity. It may be gone.
    pub fn follow(&self) -> Option<EntityId> {
        self.followee.as_ref().map(|followee| followee.entity)
    }

    /// The report chosen by key.
    pub fn focus(&self) -> Option<Focus> {
        self.focus
    }

    /// Whether the keys are shown.
    pub fn shows_help(&self) -> bool {
        self.help
    }

    /// Whether to end.
    pub fn is_quitting(&self) -> bool {
        self.quitting
    }

    fn followed_creature(&self) -> Option<&Creature> {
        let entity = self.follow()?;
        self.snapshot.creatures.iter().find(|creature| creature.entity == entity)
    }

    fn neighbour(&self, towards: Towards) -> Option<&Creature> {
        let all = || self.snapshot.creatures.iter();
        let first = || all().min_by(|a, b| order(a).cmp(&order(b)));
        let last = || all().max_by(|a, b| order(a).cmp(&order(b)));
        let Some(from) = &self.followee else {
            return match towards {
                Towards::Next | Towards::NextKind => first(),
                Towards::Previous => last(),
                Towards::PreviousKind => self.first_of(self.kinds.last()?),
                _ => self.central(),
            };
        };
        let ahead = |creature: &&Creature| -> Option<f64> {
            let (x, y) = (creature.x - from.at[0], creature.y - from.at[1]);
            let (along, across) = match towards {
                Towards::Left => (-x, y),
                Towards::Right => (x, y),
                Towards::Up => (y, x),
                _ => (-y, x),
            };
            // Within 45 degrees of the arrow, and rather straight ahead than near.
            (along > 0.0 && across.abs() <= along).then_some(along + across.abs() * 2.0)
        };
        let kind = |step: fn(&[Kind], &str) -> Option<usize>| {
            let index = step(&self.kinds, &from.behaviour).unwrap_or_default();
            self.first_of(self.kinds.get(index)?)
        };
        match towards {
            Towards::Next => {
                let next = all().filter(|creature| order(creature) > from.order());
                next.min_by(|a, b| order(a).cmp(&order(b))).or_else(first)
            }
            Towards::Previous => {
                let previous = all().filter(|creature| order(creature) < from.order());
                previous.max_by(|a, b| order(a).cmp(&order(b))).or_else(last)
            }
            Towards::NextKind => kind(|kinds, name| kinds.iter().position(|kind| &*kind.name > name)),
            Towards::PreviousKind => kind(|kinds, name| {
                kinds.iter().rposition(|kind| &*kind.name < name).or(kinds.len().checked_sub(1))
            }),
            Towards::Left | Towards::Right | Towards::Up | Towards::Down => all()
                .filter_map(|creature| Some((ahead(&creature)?, creature)))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, creature)| creature),
        }
    }

    fn first_of(&self, kind: &Kind) -> Option<&Creature> {
        let of_kind = self.snapshot.creatures.iter().filter(|creature| creature.behaviour == kind.name);
        of_kind.min_by_key(|creature| creature.entity)
    }

    fn central(&self) -> Option<&Creature> {
        let bounds = self.snapshot.bounds;
        let middle = [0, 1].map(|axis| bounds.min[axis] / 2.0 + bounds.max[axis] / 2.0);
        let distance = |creature: &Creature| (creature.x - middle[0]).hypot(creature.y - middle[1]);
        self.snapshot.creatures.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;
    use crate::sample;

    fn key(code: KeyCode) -> Option<Action> {
        Action::from_event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    /// Two kinds in a cross: `a` in the middle and west, `b` east, north and south.
    fn app() -> App {
        let mut snapshot = Snapshot::empty();
        snapshot.bounds = crate::snapshot::Bounds { min: [-10.0; 2], max: [10.0; 2] };
        let at = [("a", 0.0, 0.0), ("b", 5.0, 1.0), ("a", -5.0, 0.0), ("b", 0.0, 5.0), ("b", 0.0, -5.0)];
        snapshot.creatures = (1..)
            .zip(at)
            .map(|(index, (behaviour, x, y))| sample::creature(index, behaviour, x, y))
            .collect();
        let mut app = App::new(1.0);
        app.observe(snapshot, &Journal::default());
        app
    }

    fn followed_after(app: &mut App, towards: Towards) -> u32 {
        app.handle(Action::Follow(towards));
        app.follow().expect("someone is followed").index
    }

    #[test]
    fn keys_mean_what_the_help_says() {
        use Towards::*;
        let keys = [
            (KeyCode::Char(' '), Action::TogglePause),
            (KeyCode::Char('.'), Action::Step),
            (KeyCode::Char('n'), Action::Step),
            (KeyCode::Char('+'), Action::Faster),
            (KeyCode::Char('='), Action::Faster),
            (KeyCode::Char('-'), Action::Slower),
            (KeyCode::Char('f'), Action::Follow(Next)),
            (KeyCode::Tab, Action::Follow(NextKind)),
            (KeyCode::BackTab, Action::Follow(PreviousKind)),
            (KeyCode::Up, Action::Follow(Up)),
            (KeyCode::Esc, Action::Back),
            (KeyCode::Char('e'), Action::Errors),
            (KeyCode::Char('r'), Action::Reloads),
            (KeyCode::Char('t'), Action::Stuck),
            (KeyCode::Char('y'), Action::Remedy(Remedy::Retry)),
            (KeyCode::Char('s'), Action::Remedy(Remedy::Restart)),
            (KeyCode::Char('k'), Action::Remedy(Remedy::Kill)),
            (KeyCode::Char('?'), Action::Help),
            (KeyCode::Char('h'), Action::Help),
            (KeyCode::Char('q'), Action::Quit),
        ];
        for (code, action) in keys {
            assert_eq!(key(code), Some(action), "{code:?}");
        }
        assert_eq!(key(KeyCode::Char('z')), None);
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(Action::from_event(&Event::Key(control)), Some(Action::Quit));
        let release = KeyEvent { kind: KeyEventKind::Release, ..KeyEvent::from(KeyCode::Char('q')) };
        assert_eq!(Action::from_event(&Event::Key(release)), None);
    }

    #[test]
    fn a_step_pauses_and_gives_one_tick() {
        let mut app = App::new(1.0);
        app.handle(Action::Step);
        assert!(app.is_paused());
        assert_eq!((app.take_steps(), app.take_steps()), (1, 0));
        app.handle(Action::TogglePause);
        assert!(!app.is_paused());
    }

    #[test]
    fn speed_goes_by_halves_and_doubles_from_a_quarter_to_eight() {
        let mut app = App::new(1.0);
        let speeds = [Action::Faster; 5].map(|action| {
            app.handle(action);
            app.speed()
        });
        assert_eq!(speeds, [2.0, 4.0, 8.0, 8.0, 8.0]);
        (0..9).for_each(|_| app.handle(Action::Slower));
        assert_eq!(app.speed(), SLOWEST);
        assert_eq!(App::new(f64::NAN).speed(), 1.0);
    }

    #[test]
    fn next_goes_through_a_behaviour_and_then_the_next_and_wraps() {
        let mut app = app();
        let order = [Towards::Next; 6].map(|towards| followed_after(&mut app, towards));
        assert_eq!(order, [1, 3, 2, 4, 5, 1]);
        let order = [Towards::Previous; 6].map(|towards| followed_after(&mut app, towards));
        assert_eq!(order, [5, 4, 2, 3, 1, 5]);
    }

    #[test]
    fn tab_goes_through_the_behaviours() {
        let mut app = app();
        assert_eq!([Towards::NextKind; 3].map(|towards| followed_after(&mut app, towards)), [1, 2, 1]);
        assert_eq!([Towards::PreviousKind; 3].map(|towards| followed_after(&mut app, towards)), [2, 1, 2]);
    }

    #[test]
    fn arrows_go_to_the_nearest_that_way_from_the_middle() {
        let mut app = app();
        assert_eq!(followed_after(&mut app, Towards::Up), 1);
        assert_eq!(followed_after(&mut app, Towards::Up), 4);
        assert_eq!(followed_after(&mut app, Towards::Up), 4);
        assert_eq!(followed_after(&mut app, Towards::Down), 1);
        assert_eq!(followed_after(&mut app, Towards::Right), 2);
        assert_eq!(followed_after(&mut app, Towards::Left), 1);
        assert_eq!(followed_after(&mut app, Towards::Left), 3);
    }

    #[test]
    fn the_place_of_the_followed_is_kept_when_it_is_gone() {
        let mut app = app();
        assert_eq!([Towards::Next; 3].map(|towards| followed_after(&mut app, towards)), [1, 3, 2]);
        let mut without = app.snapshot().clone();
        without.creatures.retain(|creature| creature.entity.index != 2);
        app.observe(without, &Journal::default());
        assert_eq!(app.follow().map(|entity| entity.index), Some(2));
        assert_eq!(followed_after(&mut app, Towards::Next), 4);
        app.observe(Snapshot::empty(), &Journal::default());
        assert_eq!(followed_after(&mut app, Towards::Next), 4);
    }

    #[test]
    fn errors_and_reloads_are_cycled_from_the_newest_to_none() {
        let mut journal = Journal::default();
        journal.error(sample::error("a.luau", 1));
        journal.reload(sample::reload("a.luau #1 -> #2"));
        journal.error(sample::error("b.luau", 1));
        let mut app = App::new(1.0);
        app.observe(Snapshot::empty(), &journal);
        let focus =
            [Action::Errors, Action::Errors, Action::Reloads, Action::Errors, Action::Errors, Action::Errors]
                .map(|action| {
                    app.handle(action);
                    app.focus()
                });
        use Focus::*;
        assert_eq!(
            focus,
            [Some(Error(3)), Some(Error(1)), Some(Reload(2)), Some(Error(3)), Some(Error(1)), None]
        );
    }

    #[test]
    fn stuck_tasklets_are_cycled_and_mended_only_when_they_are_shown() {
        let mut app = App::new(1.0);
        let mut snapshot = Snapshot::empty();
        snapshot.stuck = vec![sample::stuck(7, true), sample::stuck(9, false)];
        app.observe(snapshot.clone(), &Journal::default());
        app.handle(Action::Remedy(Remedy::Kill));
        assert_eq!((app.focus(), app.take_remedies()), (Some(Focus::Stuck(7)), vec![]));
        app.handle(Action::Remedy(Remedy::Kill));
        assert_eq!(app.take_remedies(), [(7, Remedy::Kill)]);
        app.handle(Action::Stuck);
        assert_eq!(app.focus(), Some(Focus::Stuck(9)));
        app.handle(Action::Stuck);
        assert_eq!(app.focus(), None);
        app.handle(Action::Stuck);
        snapshot.stuck.remove(0);
        app.observe(snapshot, &Journal::default());
        assert_eq!(app.focus(), None, "they are not stuck any more");
    }

    #[test]
    fn escape_leaves_what_was_opened_last() {
        let mut journal = Journal::default();
        journal.error(sample::error("a.luau", 1));
        let mut app = app();
        app.observe(app.snapshot().clone(), &journal);
        for action in [Action::Follow(Towards::Next), Action::Errors, Action::Help, Action::Back] {
            app.handle(action);
        }
        assert!(!app.shows_help() && app.focus().is_some());
        app.handle(Action::Back);
        assert!(app.focus().is_none() && app.follow().is_some());
        app.handle(Action::Back);
        assert_eq!(app.follow(), None);
    }
}
