//! Clocks: they advance once a frame, and are constant within it.

use crate::dilation::{ClockMessage, TimeDilation, Timeline};
use bluetick_scripting::{Call, Error, Reply, Vm};
use std::cell::RefCell;
use std::rc::Rc;

/// The most clock groups that there may be.
const MOST_GROUPS: usize = 1000;

/// The most time that passes in a frame, by whichever clock, in seconds: some thirty years. So no clock ever shows
/// what is no number, and all go on, whatever they are told.
const LONGEST_FRAME: f64 = 1e9;

/// The farthest time that a clock can be set to, in seconds, before or after its start.
pub(crate) const FARTHEST: f64 = 1e12;

/// How much of a frame's time a correction of the wall clock may add or take (`semantics.md` 5.26).
const CORRECTION: f64 = 0.02;

/// The clocks of the world, as they stand in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// Frames since the start; the first one is 1.
    pub frame: u64,
    /// Seconds of simulated time since the start.
    pub sim: f64,
    /// Seconds since the start, which no dilation, scale or pause changes: the sum of the frame times.
    pub wall: f64,
    /// Seconds of simulated time that the last frame added.
    pub delta: f64,
    /// How fast simulated time passes by time dilation: 1 is as fast as the wall clock.
    pub dilation: f64,
}

/// Names one of a host's clocks: the wall clock, the world's simulated time, or a
/// [group's](crate::ScriptHost::add_clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClockId(u16);

impl ClockId {
    /// The sum of the frame times.
    pub const WALL: Self = Self(0);
    /// The world's simulated time, by which scripts live unless they are given another clock.
    pub const SIM: Self = Self(1);

    pub(crate) fn index(self) -> u16 {
        self.0
    }
}

/// One clock: so many times as fast as its parent.
struct Group {
    name: String,
    /// One that was made before.
    parent: u16,
    scale: f64,
    paused: bool,
    now: f64,
    delta: f64,
}

impl Group {
    fn new(name: &str, parent: u16) -> Self {
        Self { name: name.into(), parent, scale: 1.0, paused: false, now: 0.0, delta: 0.0 }
    }

    fn advance(&mut self, parents: f64) {
        self.delta = if self.paused { 0.0 } else { (parents * self.scale).min(LONGEST_FRAME) };
        self.now += self.delta;
    }
}

/// All clocks of a host.
pub(crate) struct Clocks {
    frame: u64,
    /// The wall clock, the world's, and the groups, each after its parent.
    groups: Vec<Group>,
    timeline: Timeline,
    /// What is still to be added to the wall clock.
    correction: f64,
}

impl Clocks {
    pub fn new(dilation: Option<TimeDilation>) -> Self {
        let groups = vec![Group::new("wall", 0), Group::new("sim", 0)];
        Self { frame: 0, groups, timeline: Timeline::new(dilation), correction: 0.0 }
    }

    pub fn world(&self) -> Clock {
        let [wall, sim] = [&self.groups[0], &self.groups[1]];
        Clock {
            frame: self.frame,
            sim: sim.now,
            wall: wall.now,
            delta: sim.delta,
            dilation: self.timeline.factor(),
        }
    }

    /// The next frame begins. A time that is no time counts as none.
    pub fn advance(&mut self, dt: f64) -> Clock {
        let dt = if dt.is_finite() { dt.clamp(0.0, LONGEST_FRAME) } else { 0.0 };
        let most = dt * CORRECTION;
        let corrected = self.correction.clamp(-most, most);
        self.correction -= corrected;
        self.frame += 1;
        self.groups[0].advance(dt + corrected);
        let (wall, delta) = (self.groups[0].now, self.groups[0].delta);
        let passed = self.timeline.advance(wall, delta);
        self.groups[1].advance(passed);
        for index in 2..self.groups.len() {
            let parents = self.groups[usize::from(self.groups[index].parent)].delta;
            self.groups[index].advance(parents);
        }
        self.world()
    }

    pub fn timeline(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// What a client has to be told to follow this clock.
    pub fn message(&self, master: u64) -> ClockMessage {
        self.timeline.message(master, self.groups[0].now)
    }

    /// How many clocks there are.
    pub fn len(&self) -> u16 {
        self.groups.len() as u16
    }

    /// The clock by which a tasklet with this number lives: its group's, or else the world's.
    pub fn of(&self, number: u16) -> ClockId {
        if number == 0 || usize::from(number) >= self.groups.len() { ClockId::SIM } else { ClockId(number) }
    }

    pub fn now_of(&self, index: u16) -> f64 {
        self.now(ClockId(index))
    }

    pub fn now(&self, clock: ClockId) -> f64 {
        self.groups.get(usize::from(clock.0)).map_or(0.0, |group| group.now)
    }

    /// How fast a clock goes beside the wall clock, as things stand.
    pub fn pace(&self, clock: ClockId) -> f64 {
        let own = |group: &Group| if group.paused { 0.0 } else { group.scale };
        let mut index = usize::from(clock.0);
        let mut pace = 1.0;
        while index > 0 {
            pace *= own(&self.groups[index]);
            if index == 1 {
                pace *= self.timeline.factor();
            }
            index = usize::from(self.groups[index].parent);
        }
        pace
    }

    fn delta(&self, clock: ClockId) -> f64 {
        self.groups.get(usize::from(clock.0)).map_or(0.0, |group| group.delta)
    }

    pub fn named(&self, name: &str) -> Option<ClockId> {
        let index = self.groups.iter().position(|group| group.name == name)?;
        Some(ClockId(index as u16))
    }

    fn check(&self, clock: ClockId) -> Result<usize, Error> {
        let index = usize::from(clock.0);
        if index < self.groups.len() {
            Ok(index)
        } else {
            Err(Error::wrong_type("this host has no such clock"))
        }
    }

    pub fn add(&mut self, name: &str, parent: ClockId) -> Result<ClockId, Error> {
        self.check(parent)?;
        if self.named(name).is_some() {
            return Err(Error::wrong_type(format!("there is a clock '{name}' already")));
        }
        if self.groups.len() >= MOST_GROUPS {
            return Err(Error::wrong_type(format!("there are {MOST_GROUPS} clocks already")));
        }
        self.groups.push(Group::new(name, parent.0));
        Ok(ClockId((self.groups.len() - 1) as u16))
    }

    pub fn set_scale(&mut self, clock: ClockId, scale: f64) -> Result<(), Error> {
        let index = self.check(clock)?;
        if index == 0 {
            return Err(Error::wrong_type("the wall clock can't be scaled"));
        }
        if !(0.0..=1e6).contains(&scale) {
            return Err(Error::wrong_type(format!(
                "a clock's scale has to be from 0 to 1000000, got {scale}"
            )));
        }
        self.groups[index].scale = scale;
        Ok(())
    }

    pub fn set_paused(&mut self, clock: ClockId, paused: bool) -> Result<(), Error> {
        let index = self.check(clock)?;
        if index == 0 {
            return Err(Error::wrong_type("the wall clock can't be paused"));
        }
        self.groups[index].paused = paused;
        Ok(())
    }

    /// Sets a clock; the difference to what it showed.
    pub fn jump(&mut self, clock: ClockId, to: f64) -> Result<f64, Error> {
        let index = self.check(clock)?;
        if !(-FARTHEST..=FARTHEST).contains(&to) {
            return Err(Error::wrong_type(format!("a clock can't show {to:e}")));
        }
        let by = to - self.groups[index].now;
        self.groups[index].now = to;
        match index {
            0 => self.timeline.shift_wall(by),
            1 => self.timeline.shift_sim(by),
            _ => {}
        }
        Ok(by)
    }

    /// The world's simulated time has jumped, as a master says.
    pub fn show_sim(&mut self, now: f64) {
        self.groups[1].now = now;
    }

    pub fn correct(&mut self, by: f64) -> Result<(), Error> {
        if !by.is_finite() {
            return Err(Error::wrong_type(format!("a clock can't be corrected by {by}")));
        }
        self.correction = by;
        Ok(())
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<&str> = self.groups.iter().map(|group| &*group.name).collect();
        Error::wrong_type(format!("there is no clock '{name}'; there are {}", known.join(", ")))
    }
}

/// The clocks as host and scripts share them.
#[derive(Clone)]
pub(crate) struct SharedClocks(Rc<RefCell<Clocks>>);

impl SharedClocks {
    pub fn new(dilation: Option<TimeDilation>) -> Self {
        Self(Rc::new(RefCell::new(Clocks::new(dilation))))
    }

    pub fn with<R>(&self, f: impl FnOnce(&mut Clocks) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }

    pub fn world(&self) -> Clock {
        self.0.borrow().world()
    }

    /// Makes the global `clock` of scripts, which change a clock if `may` says so.
    pub fn install(
        &self,
        vm: &Vm,
        may: impl Fn() -> Result<(), Error> + Clone + 'static,
    ) -> Result<(), Error> {
        let world = |name, read: fn(Clock) -> f64| {
            let clocks = self.clone();
            vm.function(name, move |_| Ok(Reply::Number(read(clocks.world()))))
        };
        // What a tasklet sees of its own clock.
        let own = |name, read: fn(&Clocks, ClockId) -> f64| {
            let clocks = self.clone();
            vm.function(name, move |call| {
                Ok(Reply::Number(clocks.with(|clocks| read(clocks, clocks.of(call.clock())))))
            })
        };
        let set = |name, what: &'static str, set: fn(&mut Clocks, ClockId) -> Result<(), Error>| {
            let (clocks, may) = (self.clone(), may.clone());
            vm.function(name, move |call| {
                may()?;
                let clock = clocks.named(&call.text(1, what)?)?;
                clocks.with(|clocks| set(clocks, clock))?;
                Ok(Reply::Nothing)
            })
        };
        let scale = {
            let (clocks, may) = (self.clone(), may.clone());
            vm.function(c"scale", move |call| {
                may()?;
                let clock = clocks.named(&call.text(1, "clock.scale: name")?)?;
                let scale = call.number(2, "clock.scale: factor")?;
                clocks.with(|clocks| clocks.set_scale(clock, scale))?;
                Ok(Reply::Nothing)
            })?
        };
        let join = {
            let clocks = self.clone();
            vm.function(c"join", move |call| {
                let clock = clocks.named(&call.text(1, "clock.join: name")?)?;
                if clock == ClockId::WALL {
                    return Err(Error::wrong_type(
                        "clock.join: a tasklet lives by simulated time; synchro.sleep_wall sleeps by the wall clock",
                    ));
                }
                call.set_clock(clock.index());
                Ok(Reply::Nothing)
            })?
        };
        vm.library(
            "clock",
            vec![
                ("sim", own(c"sim", Clocks::now)?),
                ("delta", own(c"delta", Clocks::delta)?),
                ("world", world(c"world", |clock| clock.sim)?),
                ("wall", world(c"wall", |clock| clock.wall)?),
                ("frame", world(c"frame", |clock| clock.frame as f64)?),
                ("dilation", world(c"dilation", |clock| clock.dilation)?),
                ("scale", scale),
                (
                    "pause",
                    set(c"pause", "clock.pause: name", |clocks, clock| clocks.set_paused(clock, true))?,
                ),
                (
                    "resume",
                    set(c"resume", "clock.resume: name", |clocks, clock| clocks.set_paused(clock, false))?,
                ),
                ("join", join),
            ],
        )
    }

    /// What the calling tasklet's clock will show in so many seconds, and which clock that is.
    #[inline]
    pub fn due(&self, call: &Call<'_>, seconds: f64) -> (u16, f64) {
        self.with(|clocks| {
            let clock = clocks.of(call.clock());
            (clock.index(), clocks.now(clock) + seconds)
        })
    }

    /// The clock with this name; the error names those that there are.
    pub fn named(&self, name: &str) -> Result<ClockId, Error> {
        let clocks = self.0.borrow();
        clocks.named(name).ok_or_else(|| clocks.unknown(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_time_that_is_no_time_does_not_move_the_clock() {
        let mut clocks = Clocks::new(None);
        for dt in [f64::NAN, f64::INFINITY, -1.0] {
            clocks.advance(dt);
        }
        assert_eq!(clocks.world(), Clock { frame: 3, dilation: 1.0, ..Clock::default() });
    }

    #[test]
    fn huge_times_and_scales_leave_clocks_that_go_on() {
        let mut clocks = Clocks::new(None);
        let mut inner = ClockId::SIM;
        for name in ["a", "b", "c"] {
            inner = clocks.add(name, inner).unwrap();
            clocks.set_scale(inner, 1e6).unwrap();
        }
        for _ in 0..100 {
            clocks.advance(f64::MAX);
        }
        for clock in [ClockId::WALL, ClockId::SIM, inner] {
            let before = clocks.now(clock);
            clocks.advance(1.0);
            assert!(clocks.now(clock) > before && clocks.now(clock).is_finite(), "{before}");
        }
    }

    #[test]
    fn nested_groups_multiply() {
        let mut clocks = Clocks::new(None);
        let outer = clocks.add("outer", ClockId::SIM).unwrap();
        let inner = clocks.add("inner", outer).unwrap();
        clocks.set_scale(outer, 0.5).unwrap();
        clocks.set_scale(inner, 0.25).unwrap();
        clocks.advance(8.0);
        assert_eq!((clocks.now(ClockId::SIM), clocks.now(outer), clocks.now(inner)), (8.0, 4.0, 1.0));
        clocks.set_paused(outer, true).unwrap();
        clocks.advance(8.0);
        assert_eq!((clocks.now(ClockId::SIM), clocks.now(outer), clocks.now(inner)), (16.0, 4.0, 1.0));
        clocks.set_paused(outer, false).unwrap();
        clocks.set_scale(ClockId::SIM, 2.0).unwrap();
        clocks.advance(1.0);
        assert_eq!(
            (clocks.now(ClockId::WALL), clocks.now(ClockId::SIM), clocks.now(inner)),
            (17.0, 18.0, 1.25)
        );
    }

    #[test]
    fn what_no_clock_can_do_is_an_error_and_changes_nothing() {
        let mut clocks = Clocks::new(None);
        for scale in [f64::NAN, -1.0, f64::INFINITY, 1e7] {
            assert!(clocks.set_scale(ClockId::SIM, scale).is_err());
        }
        assert!(clocks.set_scale(ClockId::WALL, 1.0).is_err());
        assert!(clocks.set_paused(ClockId::WALL, true).is_err());
        assert!(clocks.jump(ClockId::SIM, f64::NAN).is_err());
        assert!(clocks.jump(ClockId::SIM, -1e300).is_err());
        assert!(clocks.correct(f64::INFINITY).is_err());
        assert!(clocks.add("sim", ClockId::SIM).is_err());
        assert!(clocks.set_scale(ClockId(7), 1.0).is_err());
        clocks.advance(1.0);
        assert_eq!(clocks.world().sim, 1.0);
    }

    /// `semantics.md` 5.26.
    #[test]
    fn a_correction_of_the_wall_clock_is_worked_off_in_small_parts_of_each_frame() {
        let mut clocks = Clocks::new(None);
        clocks.correct(0.05).unwrap();
        let mut shown = Vec::new();
        for _ in 0..4 {
            shown.push((clocks.advance(1.0).wall * 1000.0).round());
        }
        assert_eq!(shown, [1020.0, 2040.0, 3050.0, 4050.0]);
        clocks.correct(-10.0).unwrap();
        assert_eq!((clocks.advance(1.0).wall * 1000.0).round(), 5030.0);
    }
}
