//! Time dilation: under overload simulated time passes more slowly, for all alike (`semantics.md` 5E, 5F).
//!
//! CCP's state machine: a server that has not got through its tasklets for long decides on a slower pace, some
//! seconds ahead, tells its clients, and all of them take it up at the same moment of simulated time.

use crate::clock::FARTHEST;
use std::collections::VecDeque;

/// When and how far time is dilated. What makes no sense is taken as the nearest that does: a pace is from 0.001 to
/// 1000, a step down makes it slower and a step up faster, and no time is negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeDilation {
    /// The slowest pace. Default: 0.1.
    pub min: f64,
    /// The fastest pace. Default: 1.
    pub max: f64,
    /// Seconds of overload, without a frame that got through, before a step down. Default: 10.
    pub overload: f64,
    /// Seconds without overload before a step up. Default: 2.
    pub underload: f64,
    /// What the pace is multiplied by in a step down. Default: 0.8254, a tenth in 12 steps.
    pub down: f64,
    /// What the pace is multiplied by in a step up. Default: 1.059254, ten times in 40 steps.
    pub up: f64,
    /// Seconds between a decision and when it takes effect, for clients to hear of it. Default: 2.
    pub lead: f64,
}

impl Default for TimeDilation {
    fn default() -> Self {
        Self { min: 0.1, max: 1.0, overload: 10.0, underload: 2.0, down: 0.8254, up: 1.059254, lead: 2.0 }
    }
}

impl TimeDilation {
    /// With numbers that make sense, so that time goes on whatever the game has set.
    fn sound(self) -> Self {
        let Self { min, max, overload, underload, down, up, lead } = Self::default();
        let or = |value: f64, default: f64| if value.is_nan() { default } else { value };
        let min = or(self.min, min).clamp(1e-3, 1e3);
        Self {
            min,
            max: or(self.max, max).clamp(min, 1e3),
            overload: or(self.overload, overload).max(0.0),
            underload: or(self.underload, underload).max(0.0),
            down: or(self.down, down).clamp(0.0, 1.0),
            up: or(self.up, up).max(1.0),
            lead: or(self.lead, lead).clamp(0.0, 1e6),
        }
    }
}

/// The pace changes: at this moment of both clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DilationEvent {
    /// The pace from then on.
    pub factor: f64,
    /// When, in seconds of wall time.
    pub wall: f64,
    /// When, in seconds of simulated time.
    pub sim: f64,
}

/// What a master's clock tells those that follow it; how it gets there is the game's business. Wall times are
/// the receiver's: the game knows by how much two machines differ.
#[derive(Clone, Debug, PartialEq)]
pub enum ClockMessage {
    /// How the master's clock stands: for who begins to follow.
    Init {
        /// Who is followed from now on.
        master: u64,
        /// How it stands: its pace, and a moment of both clocks.
        now: DilationEvent,
        /// The changes that it has decided on already.
        pending: Vec<DilationEvent>,
    },
    /// The pace will change.
    Update {
        /// Who says so; others than the one who is followed are ignored.
        master: u64,
        /// The change. One that is older than what is in effect is ignored.
        event: DilationEvent,
    },
    /// The master is not followed any more.
    Detach {
        /// Who says so; others than the one who is followed are ignored.
        master: u64,
    },
}

impl ClockMessage {
    /// All its numbers are some that a clock can show.
    pub(crate) fn is_sound(&self) -> bool {
        let sound = |event: &DilationEvent| {
            let times = [event.wall, event.sim];
            times.iter().all(|time| time.abs() <= FARTHEST) && (0.0..=1e6).contains(&event.factor)
        };
        match self {
            Self::Init { now, pending, .. } => sound(now) && pending.iter().all(sound),
            Self::Update { event, .. } => sound(event),
            Self::Detach { .. } => true,
        }
    }
}

/// Where simulated time comes from.
pub(crate) struct Timeline {
    settings: Option<TimeDilation>,
    mode: Mode,
    /// The pace, and a moment of both clocks from which it counts.
    base: DilationEvent,
    /// Changes that were decided on, in order.
    pending: VecDeque<DilationEvent>,
    /// When there last was overload, and when there last was none.
    over: f64,
    under: f64,
    wall: f64,
    sim: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Simulated time passes as wall time.
    Locked,
    /// It passes by the pace that is decided on here.
    Master,
    /// It follows another one's; `pace` is how fast it passed in the last frame.
    Follower { master: Option<u64>, pace: f64 },
}

/// A later time by more than rounding. Wall times are sums of frame times.
fn later(a: f64, b: f64) -> bool {
    a - b > 1e-7
}

impl Timeline {
    pub fn new(settings: Option<TimeDilation>) -> Self {
        Self {
            settings: settings.map(TimeDilation::sound),
            mode: if settings.is_some() { Mode::Master } else { Mode::Locked },
            base: DilationEvent { factor: 1.0, wall: 0.0, sim: 0.0 },
            pending: VecDeque::new(),
            over: 0.0,
            under: 0.0,
            wall: 0.0,
            sim: 0.0,
        }
    }

    /// How fast simulated time passes.
    pub fn factor(&self) -> f64 {
        match self.mode {
            Mode::Locked => 1.0,
            Mode::Master => self.base.factor,
            Mode::Follower { pace, .. } => pace,
        }
    }

    /// A frame begins; how much simulated time has passed (5.27).
    pub fn advance(&mut self, wall: f64, delta: f64) -> f64 {
        let before = self.sim;
        self.wall = wall;
        while let Some(&event) = self.pending.front()
            && later(wall, event.wall)
        {
            self.base = event;
            self.pending.pop_front();
        }
        let expected = self.base.sim + (wall - self.base.wall) * self.base.factor;
        self.sim = match &mut self.mode {
            Mode::Locked => before + delta,
            Mode::Master => expected,
            Mode::Follower { master: Some(_), pace } => {
                // What is missed is made up for within some seconds; time never goes back.
                let error = before + delta * *pace - expected;
                *pace = (self.base.factor - error / 4.0).clamp(0.0, 2.0 * self.base.factor);
                before + delta * *pace
            }
            Mode::Follower { master: None, pace } => before + delta * *pace,
        };
        self.sim - before
    }

    /// A frame has run; with `overloaded` it has not got through its tasklets. A change that was decided
    /// on (5.31-5.33).
    pub fn judge(&mut self, overloaded: bool) -> Option<DilationEvent> {
        let settings = self.settings.filter(|_| self.mode == Mode::Master)?;
        if overloaded {
            self.over = self.wall;
        } else {
            self.under = self.wall;
        }
        if !self.pending.is_empty() {
            return None;
        }
        let TimeDilation { min, max, overload, underload, down, up, lead } = settings;
        let pace = self.base.factor;
        let factor = if pace < min {
            min
        } else if pace > max {
            max
        } else if self.over > self.under {
            if pace <= min || !later(self.wall - self.under, overload) {
                return None;
            }
            (pace * down).max(min)
        } else {
            if pace >= max || !later(self.wall - self.over, underload) {
                return None;
            }
            (pace * up).min(max)
        };
        let event = DilationEvent { factor, wall: self.wall + lead, sim: self.sim + lead * pace };
        self.pending.push_back(event);
        (self.over, self.under) = (self.wall, self.wall);
        Some(event)
    }

    /// Time is dilated from now on, or not any more.
    pub fn set_dilation(&mut self, settings: Option<TimeDilation>) {
        self.settings = settings.map(TimeDilation::sound);
        self.mode = if settings.is_some() { Mode::Master } else { Mode::Locked };
        self.pending.clear();
        let factor = if settings.is_some() { self.base.factor } else { 1.0 };
        self.base = DilationEvent { factor, wall: self.wall, sim: self.sim };
        (self.over, self.under) = (self.wall, self.wall);
    }

    pub fn message(&self, master: u64, wall: f64) -> ClockMessage {
        let now = DilationEvent { factor: self.factor(), wall, sim: self.sim };
        ClockMessage::Init { master, now, pending: self.pending.iter().copied().collect() }
    }

    /// Hears from a master (5.28). By how much simulated time has jumped.
    pub fn hear(&mut self, message: ClockMessage) -> f64 {
        match message {
            ClockMessage::Init { master, now, pending } => {
                let sim = now.sim + (self.wall - now.wall) * now.factor;
                let jump = sim - self.sim;
                self.mode = Mode::Follower { master: Some(master), pace: now.factor };
                self.base = now;
                self.pending = pending.into();
                self.sim = sim;
                jump
            }
            ClockMessage::Update { master, event } => {
                if self.follows(master) && event.wall >= self.base.wall {
                    let place = self.pending.partition_point(|other| other.wall <= event.wall);
                    self.pending.insert(place, event);
                }
                0.0
            }
            ClockMessage::Detach { master } => {
                if self.follows(master) {
                    self.mode = Mode::Follower { master: None, pace: 1.0 };
                    self.pending.clear();
                }
                0.0
            }
        }
    }

    fn follows(&self, whom: u64) -> bool {
        matches!(self.mode, Mode::Follower { master: Some(master), .. } if master == whom)
    }

    pub fn shift_wall(&mut self, by: f64) {
        for wall in [&mut self.wall, &mut self.over, &mut self.under, &mut self.base.wall]
            .into_iter()
            .chain(self.pending.iter_mut().map(|event| &mut event.wall))
        {
            *wall += by;
        }
    }

    pub fn shift_sim(&mut self, by: f64) {
        for sim in [&mut self.sim, &mut self.base.sim]
            .into_iter()
            .chain(self.pending.iter_mut().map(|event| &mut event.sim))
        {
            *sim += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To six digits.
    fn digits(x: f64) -> f64 {
        (x * 1e6).round() / 1e6
    }

    /// Frames of 100 ms until `end`; the paces with the times at which they are taken up, the times at
    /// which they were decided on, and simulated time at the end.
    fn drive(end: f64, overloaded: impl Fn(f64) -> bool) -> (Vec<(f64, f64)>, Vec<f64>, f64) {
        let mut timeline = Timeline::new(Some(TimeDilation::default()));
        let (mut taken_up, mut decided) = (Vec::new(), Vec::new());
        let (mut wall, mut sim) = (0.0, 0.0);
        while later(end, wall) {
            wall += 0.1;
            let before = timeline.factor();
            sim += timeline.advance(wall, 0.1);
            if timeline.factor() != before {
                taken_up.push((digits(wall), digits(timeline.factor())));
            }
            if timeline.judge(overloaded(digits(wall))).is_some() {
                decided.push(digits(wall));
            }
        }
        (taken_up, decided, sim)
    }

    /// F12.
    #[test]
    fn long_overload_slows_time_down_in_12_steps_and_afterwards_it_gets_faster_in_40() {
        let (taken_up, decided, sim) = drive(260.0, |now| now <= 150.0);
        let down = [
            (12.2, 0.8254),
            (22.3, 0.681285),
            (32.4, 0.562333),
            (42.5, 0.464149),
            (52.6, 0.383109),
            (62.7, 0.316218),
            (72.8, 0.261006),
            (82.9, 0.215435),
            (93.0, 0.17782),
            (103.1, 0.146772),
            (113.2, 0.121146),
            (123.3, 0.1),
        ];
        assert_eq!(taken_up[..12], down);
        assert_eq!(decided[..3], [10.1, 20.2, 30.3]);
        assert_eq!(taken_up[12..15], [(154.2, 0.105925), (156.3, 0.112202), (158.4, 0.11885)]);
        assert_eq!(taken_up.len(), 12 + 40);
        for pair in taken_up[12..].windows(2) {
            assert_eq!(digits(pair[1].0 - pair[0].0), 2.1);
        }
        assert_eq!(taken_up.last(), Some(&(236.1, 1.0)));
        assert_eq!((sim * 1000.0).round() / 1000.0, 112.839);
    }

    /// F13.
    #[test]
    fn one_frame_that_gets_through_puts_the_step_down_off() {
        let (_, decided, _) = drive(20.0, |now| now != 9.0);
        assert_eq!(decided, [19.1]);
    }

    #[test]
    fn simulated_time_is_continuous_over_a_change_of_pace() {
        let mut timeline =
            Timeline::new(Some(TimeDilation { overload: 0.5, lead: 0.3, ..TimeDilation::default() }));
        let (mut wall, mut last) = (0.0, 0.0);
        for frame in 0..1000 {
            let dt = [0.016, 0.05, 0.001][frame % 3];
            wall += dt;
            let passed = timeline.advance(wall, dt);
            assert!(passed >= dt * 0.0999 && passed <= dt * 1.0001, "{passed} in {dt}");
            last += passed;
            timeline.judge(frame % 200 < 150);
        }
        assert!((last - timeline.sim).abs() < 1e-9);
    }

    #[test]
    fn a_follower_takes_up_each_pace_at_the_same_simulated_time() {
        let mut master = Timeline::new(Some(TimeDilation { overload: 1.0, ..TimeDilation::default() }));
        let mut follower = Timeline::new(None);
        let (mut wall, mut sims) = (0.0, [0.0, 0.0]);
        for frame in 0..3000_u32 {
            wall += 0.05;
            sims[0] += master.advance(wall, 0.05);
            sims[1] += follower.advance(wall, 0.05);
            if frame == 100 {
                sims[1] += follower.hear(master.message(7, wall));
            }
            if let Some(event) = master.judge(frame < 1500) {
                follower.hear(ClockMessage::Update { master: 7, event });
                // Nobody listens to others, or to old news.
                follower
                    .hear(ClockMessage::Update { master: 8, event: DilationEvent { factor: 9.0, ..event } });
                let old = DilationEvent { factor: 9.0, wall: -1.0, sim: 0.0 };
                follower.hear(ClockMessage::Update { master: 7, event: old });
            }
            if frame >= 100 {
                // A pace is taken up at a frame: less than a frame's difference is made up for in time.
                assert!((sims[0] - sims[1]).abs() < 0.01, "frame {frame}: {sims:?}");
            }
        }
        assert!((sims[0] - sims[1]).abs() < 1e-4, "{sims:?}");
        follower.hear(ClockMessage::Detach { master: 8 });
        assert!(follower.follows(7));
        follower.hear(ClockMessage::Detach { master: 7 });
        assert_eq!(follower.factor(), 1.0);
        assert_eq!(digits(follower.advance(wall + 1.0, 1.0)), 1.0);
    }

    #[test]
    fn a_follower_that_is_behind_catches_up_without_a_jump_and_one_ahead_waits() {
        for by in [-1.0, 1.0] {
            let mut follower = Timeline::new(None);
            let now = DilationEvent { factor: 0.5, wall: 0.0, sim: 100.0 };
            assert_eq!(follower.hear(ClockMessage::Init { master: 1, now, pending: Vec::new() }), 100.0);
            follower.sim += by;
            let mut wall = 0.0;
            for _ in 0..400 {
                wall += 0.1;
                let passed = follower.advance(wall, 0.1);
                assert!((0.0..=0.1 + 1e-9).contains(&passed), "never back, at most twice as fast: {passed}");
            }
            assert!((follower.sim - (100.0 + wall * 0.5)).abs() < 1e-3);
        }
    }

    #[test]
    fn settings_that_make_no_sense_neither_stop_time_nor_turn_it_back() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300] {
            let good = TimeDilation { overload: 0.5, underload: 0.5, lead: 0.2, ..TimeDilation::default() };
            for settings in [
                TimeDilation { min: value, ..good },
                TimeDilation { max: value, ..good },
                TimeDilation { down: value, ..good },
                TimeDilation { up: value, ..good },
                TimeDilation { lead: value, ..good },
                TimeDilation { overload: value, underload: value, ..good },
                TimeDilation { min: value, max: value, down: value, up: value, lead: value, ..good },
            ] {
                let mut timeline = Timeline::new(Some(settings));
                let mut wall = 0.0;
                for frame in 0..600 {
                    wall += 0.1;
                    let passed = timeline.advance(wall, 0.1);
                    assert!(passed > 0.0 && passed <= 0.1001 * 1e3, "{passed} with {settings:?}");
                    timeline.judge(frame % 300 < 150);
                }
            }
        }
        for time in [f64::NAN, -1e300, f64::INFINITY] {
            let now = DilationEvent { factor: 1.0, wall: time, sim: 0.0 };
            assert!(!ClockMessage::Init { master: 1, now, pending: Vec::new() }.is_sound());
        }
    }

    #[test]
    fn without_dilation_nothing_is_decided() {
        let mut timeline = Timeline::new(None);
        for frame in 1..1000 {
            assert_eq!(timeline.advance(f64::from(frame), 1.0), 1.0);
            assert_eq!(timeline.judge(true), None);
        }
    }
}
