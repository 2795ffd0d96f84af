//! Waiting for time to pass: the library `synchro` of scripts, and the same for Rust tasklets.

use crate::clock::{ClockId, SharedClocks};
use crate::pump::Pump;
use crate::sleepers::Sleepers;
use crate::time::RealTime;
use bluetick_scripting::{Budget, Call, Error, Reply, Scheduler, Tasklet, TaskletId, Vm, Wait};
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// The longest sleep by simulated time, in seconds: a day (`semantics.md` 5.9).
pub(crate) const LONGEST: f64 = 24.0 * 3600.0;

/// The longest sleep by the wall clock, in seconds: two days (`semantics.md` 5.9).
const LONGEST_WALL: f64 = 48.0 * 3600.0;

/// How long a tasklet that is nice goes on, in seconds, unless it says otherwise (`semantics.md` 5.18) or slices are
/// so short that it would be interrupted before.
const NICE: f64 = 0.015;

/// The part of its slice after which a tasklet that is nice gives the rest away.
const NICE_PART: f64 = 0.5;

/// Who waits for time to pass.
#[derive(Default)]
pub(crate) struct Synchro {
    pub sleepers: Sleepers,
    yielders: Vec<Wait>,
    /// Nobody waits any more.
    over: bool,
    /// The slice in which somebody was nice, and since when it has gone on.
    nice: Option<(u64, Duration)>,
}

impl Synchro {
    /// Makes runnable who has yielded, in the order in which they did.
    pub fn wake_yielders(&mut self, vm: &Vm) -> usize {
        self.yielders.drain(..).map(|wait| usize::from(vm.wake(wait.tasklet, wait.parking))).sum()
    }

    /// How many sleep, and how many have yielded. Of those that are parked, `others` wait for something else; so
    /// the rest tells how many entries of waits that ended otherwise are still listed.
    pub fn counts(&mut self, vm: &Vm, others: usize) -> (usize, usize) {
        let parked = vm.parked().saturating_sub(others);
        let mut yielding = self.yielders.len();
        if parked != self.sleepers.entries() + yielding {
            yielding = self.yielders.iter().filter(|&&wait| vm.is_waiting(wait)).count();
        }
        let sleeping = parked.saturating_sub(yielding);
        self.sleepers.tidy(vm, sleeping);
        (sleeping, yielding)
    }

    /// Somebody waits for the next frame.
    pub fn has_yielders(&self) -> bool {
        !self.yielders.is_empty()
    }

    /// Everybody who waits ends, the yielders first, then the sleepers by their clocks and times; whoever
    /// waits from now on goes on at once (`semantics.md` 5.14).
    pub fn shut_down(&mut self, vm: &Vm) -> Vec<TaskletId> {
        self.over = true;
        let yielders = self.yielders.drain(..).filter(|&wait| vm.is_waiting(wait)).map(|wait| wait.tasklet);
        yielders.chain(self.sleepers.all(vm)).collect()
    }

    /// Whether the running slice has gone on for so long since it was nice for the first time; if nothing is said, for
    /// 15 ms, or half of what a slice may take.
    fn was_long(&mut self, vm: &Vm, time: &RealTime, seconds: Option<f64>) -> bool {
        let seconds = match (seconds, vm.slice_limit().length) {
            // In a game that is the same on every machine no clock is asked.
            (seconds, Budget::Ticks(_)) if seconds.is_none_or(|seconds| seconds > 0.0) => {
                return vm.slice_used().is_some_and(|part| part >= NICE_PART);
            }
            (Some(seconds), _) => seconds,
            (None, Budget::Time(length)) => NICE.min(length.as_secs_f64() * NICE_PART),
            (None, Budget::Unlimited | Budget::Ticks(_)) => NICE,
        };
        let (slice, now) = (vm.work_done().0, time.now());
        match self.nice {
            Some((of, since)) if of == slice => now.saturating_sub(since).as_secs_f64() >= seconds,
            _ => {
                self.nice = Some((slice, now));
                seconds <= 0.0
            }
        }
    }
}

/// What the functions of the library share.
#[derive(Clone)]
struct Library {
    synchro: Rc<RefCell<Synchro>>,
    clocks: SharedClocks,
    time: RealTime,
    vm: Weak<Vm>,
    /// What makes time pass where there are no frames.
    pump: Option<Pump>,
}

impl Library {
    fn vm(&self) -> Result<Rc<Vm>, Error> {
        self.vm.upgrade().ok_or_else(|| Error::wrong_type("the host is gone"))
    }

    /// Somebody is about to wait: time has to pass.
    #[inline]
    fn keep_time(&self) -> Result<(), Error> {
        match &self.pump {
            Some(pump) => pump.start(),
            None => Ok(()),
        }
    }

    /// The caller waits for the next frame, and it is its turn to.
    fn yield_(&self, call: &mut Call<'_>, verb: &str, synchro: &mut Synchro) -> Result<Reply, Error> {
        self.keep_time()?;
        let wait = call.park(verb)?;
        synchro.yielders.push(wait);
        Ok(Reply::Parked(wait))
    }

    /// The caller sleeps until its clock, or the wall clock, shows what `due` makes of the time now.
    #[inline]
    fn sleep(
        &self,
        call: &mut Call<'_>,
        verb: &str,
        wall: bool,
        due: impl FnOnce(f64) -> f64,
    ) -> Result<Reply, Error> {
        let (clock, now) = self.clocks.with(|clocks| {
            let clock = if wall { ClockId::WALL } else { clocks.of(call.clock()) };
            (clock, clocks.now(clock))
        });
        let mut synchro = self.synchro.borrow_mut();
        if synchro.over {
            return Ok(Reply::Nothing);
        }
        self.keep_time()?;
        let wait = call.park(verb)?;
        synchro.sleepers.sleep(wait, clock.index(), due(now));
        Ok(Reply::Parked(wait))
    }

    /// `wakeup(tasklet, value?)` and, by a clock, `wakeup_at(tasklet, when, value?)`.
    fn wake(&self, call: &Call<'_>, verb: &str, wall: Option<bool>) -> Result<Reply, Error> {
        let tasklet = call.tasklet_at(1, &format!("{verb}: tasklet"))?;
        let at = match wall {
            Some(wall) => Some((wall, time(call, 2, verb)?)),
            None => None,
        };
        if let Some(wait) = self.due_now(verb, tasklet, at)? {
            let value: mlua::Value = call.get(if at.is_some() { 3 } else { 2 })?;
            self.vm()?.wake_with(wait, value)?;
        }
        Ok(Reply::Nothing)
    }

    /// The wait of a sleeper that is to be woken at once; with a time, by the wall clock or not, that is not over
    /// yet, it sleeps until then.
    fn due_now(
        &self,
        verb: &str,
        tasklet: TaskletId,
        at: Option<(bool, f64)>,
    ) -> Result<Option<Wait>, Error> {
        let vm = self.vm()?;
        let wall = at.map(|(wall, _)| wall);
        let asleep = self.synchro.borrow().sleepers.clock_of(&vm, tasklet);
        let by_wall = |clock| clock == ClockId::WALL.index();
        let Some((wait, clock)) = asleep.filter(|&(_, clock)| wall.is_none_or(|wall| wall == by_wall(clock)))
        else {
            let by = match wall {
                None => "",
                Some(true) => " by the wall clock",
                Some(false) => " by simulated time",
            };
            return Err(Error::wrong_type(format!("{verb}: the tasklet is not asleep{by}")));
        };
        if let Some((_, when)) = at {
            let id = self.clocks.with(|clocks| if clock == 0 { ClockId::WALL } else { clocks.of(clock) });
            if when > self.clocks.with(|clocks| clocks.now(id)) {
                self.synchro.borrow_mut().sleepers.sleep(wait, clock, when);
                return Ok(None);
            }
        }
        Ok(Some(wait))
    }
}

/// Makes the global `synchro` of scripts. Time is made to pass by frames, or by a pump.
pub(crate) fn install(
    vm: &Rc<Vm>,
    synchro: &Rc<RefCell<Synchro>>,
    clocks: &SharedClocks,
    time: &RealTime,
    pump: Option<Pump>,
) -> Result<(), Error> {
    let library = || Library {
        synchro: synchro.clone(),
        clocks: clocks.clone(),
        time: time.clone(),
        vm: Rc::downgrade(vm),
        pump: pump.clone(),
    };
    let sleep = {
        let library = library();
        vm.function(c"sleep", move |call| {
            let seconds = seconds(call, "synchro.sleep", LONGEST, "a day")?;
            library.sleep(call, "synchro.sleep", false, |now| now + seconds)
        })?
    };
    let sleep_wall = {
        let library = library();
        vm.function(c"sleep_wall", move |call| {
            let seconds = seconds(call, "synchro.sleep_wall", LONGEST_WALL, "two days")?;
            library.sleep(call, "synchro.sleep_wall", true, |now| now + seconds)
        })?
    };
    let sleep_until = |name, verb: &'static str, wall: bool| {
        let library = library();
        vm.function(name, move |call| {
            let when = self::time(call, 1, verb)?;
            library.sleep(call, verb, wall, |now| when.max(now))
        })
    };
    let yield_ = {
        let library = library();
        vm.function(c"yield", move |call| {
            let mut synchro = library.synchro.borrow_mut();
            if synchro.over {
                return Ok(Reply::Nothing);
            }
            library.yield_(call, "synchro.yield", &mut synchro)
        })?
    };
    let be_nice = {
        let library = library();
        vm.function(c"be_nice", move |call| {
            let seconds = call.optional_number(1, "synchro.be_nice: seconds")?;
            if seconds.is_some_and(f64::is_nan) {
                return Err(Error::wrong_type("synchro.be_nice: seconds has to be a number, got nan"));
            }
            let vm = library.vm()?;
            let mut synchro = library.synchro.borrow_mut();
            if synchro.over || !call.can_park() || !synchro.was_long(&vm, &library.time, seconds) {
                return Ok(Reply::Nothing);
            }
            library.yield_(call, "synchro.be_nice", &mut synchro)
        })?
    };
    let wake = |name, verb: &'static str, wall: Option<bool>| {
        let library = library();
        vm.function(name, move |call| library.wake(call, verb, wall))
    };
    let shutdown = {
        let library = library();
        vm.function(c"shutdown", move |call| {
            let vm = library.vm()?;
            let waiting = library.synchro.borrow_mut().shut_down(&vm);
            for tasklet in waiting.into_iter().filter(|&tasklet| tasklet != call.tasklet()) {
                vm.kill(tasklet)?;
            }
            Ok(Reply::Nothing)
        })?
    };
    vm.library(
        "synchro",
        vec![
            ("sleep", sleep),
            ("sleep_wall", sleep_wall),
            ("sleep_until", sleep_until(c"sleep_until", "synchro.sleep_until", false)?),
            ("sleep_until_wall", sleep_until(c"sleep_until_wall", "synchro.sleep_until_wall", true)?),
            ("yield", yield_),
            ("be_nice", be_nice),
            ("wakeup", wake(c"wakeup", "synchro.wakeup", None)?),
            ("wakeup_at", wake(c"wakeup_at", "synchro.wakeup_at", Some(false))?),
            ("wakeup_at_wall", wake(c"wakeup_at_wall", "synchro.wakeup_at_wall", Some(true))?),
            ("shutdown", shutdown),
        ],
    )
}

/// How long the caller wants to sleep; an error says what is wrong with it.
fn seconds(call: &Call<'_>, verb: &str, longest: f64, that_is: &str) -> Result<f64, Error> {
    check_seconds(number(call, 1, verb, "seconds")?, verb, longest, that_is)
}

/// Seconds to sleep: less than none is none (`semantics.md` 5.8); more than the longest, or what is no number of
/// seconds, is an error.
fn check_seconds(seconds: f64, verb: &str, longest: f64, that_is: &str) -> Result<f64, Error> {
    if !seconds.is_finite() || seconds > longest {
        return Err(Error::wrong_type(format!(
            "{verb}: seconds has to be a number up to {longest} ({that_is}), got {seconds}"
        )));
    }
    Ok(seconds.max(0.0))
}

/// A time of a clock; an error says what is wrong with it.
fn time(call: &Call<'_>, index: i32, verb: &str) -> Result<f64, Error> {
    check_time(number(call, index, verb, "time")?, verb)
}

fn check_time(time: f64, verb: &str) -> Result<f64, Error> {
    if !time.is_finite() {
        return Err(Error::wrong_type(format!("{verb}: time has to be a finite number, got {time}")));
    }
    Ok(time)
}

/// An argument; the words are made only for an error, because this is done for each sleep.
fn number(call: &Call<'_>, index: i32, verb: &str, argument: &str) -> Result<f64, Error> {
    call.number(index, argument).or_else(|_| call.number(index, &what(verb, argument)))
}

fn what(verb: &str, argument: &str) -> String {
    format!("{verb}: {argument}")
}

/// Waiting for time to pass, in tasklets whose body is Rust: the functions of `synchro` under the same names, but for
/// its shutdown, which is the [host's](crate::ScriptHost::shut_down).
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bluetick::{Error, ScriptHost};
/// use std::{cell::Cell, rc::Rc};
///
/// let mut world = World::new();
/// let mut host = ScriptHost::builder().build(&mut world)?;
/// let (synchro, seen) = (host.synchro(), Rc::new(Cell::new(0)));
/// let count = seen.clone();
/// host.vm().scheduler().spawn(move || -> Result<(), Error> {
///     loop {
///         synchro.sleep(1.0)?;
///         count.set(count.get() + 1);
///     }
/// })?;
/// for _ in 0..9 {
///     host.tick(&mut world, 0.5);
/// }
/// assert_eq!(seen.get(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SynchroHandle {
    library: Library,
    scheduler: Scheduler,
}

impl SynchroHandle {
    pub(crate) fn new(
        vm: &Rc<Vm>,
        synchro: &Rc<RefCell<Synchro>>,
        clocks: &SharedClocks,
        time: &RealTime,
    ) -> Self {
        let library = Library {
            synchro: synchro.clone(),
            clocks: clocks.clone(),
            time: time.clone(),
            vm: Rc::downgrade(vm),
            pump: None,
        };
        Self { library, scheduler: vm.scheduler() }
    }

    /// Sleeps for so many seconds of the tasklet's clock; for less than none as for none, until the next frame.
    ///
    /// # Errors
    /// Of kind `type` for a time that is no time or longer than a day; of kind `boundary` where the caller can't
    /// wait; and what is thrown at the tasklet meanwhile.
    pub fn sleep(&self, seconds: f64) -> Result<(), Error> {
        let seconds = check_seconds(seconds, "sleep", LONGEST, "a day")?;
        self.sleep_by(false, |now| now + seconds)
    }

    /// Sleeps for so many seconds of the wall clock.
    ///
    /// # Errors
    /// As [`sleep`](Self::sleep); two days are the longest.
    pub fn sleep_wall(&self, seconds: f64) -> Result<(), Error> {
        let seconds = check_seconds(seconds, "sleep_wall", LONGEST_WALL, "two days")?;
        self.sleep_by(true, |now| now + seconds)
    }

    /// Sleeps until the tasklet's clock shows this time; until the next frame if it does so already.
    ///
    /// # Errors
    /// As [`sleep`](Self::sleep).
    pub fn sleep_until(&self, time: f64) -> Result<(), Error> {
        let time = check_time(time, "sleep_until")?;
        self.sleep_by(false, |now| time.max(now))
    }

    /// Sleeps until the wall clock shows this time; until the next frame if it does so already.
    ///
    /// # Errors
    /// As [`sleep`](Self::sleep).
    pub fn sleep_until_wall(&self, time: f64) -> Result<(), Error> {
        let time = check_time(time, "sleep_until_wall")?;
        self.sleep_by(true, |now| time.max(now))
    }

    /// Wakes a tasklet that sleeps by whichever clock, of Rust or of a script: it is the last in the run queue.
    ///
    /// # Errors
    /// Of kind `type` if it doesn't sleep.
    pub fn wakeup(&self, tasklet: &Tasklet) -> Result<(), Error> {
        self.wake("wakeup", tasklet, None)
    }

    /// Has a tasklet that sleeps by simulated time sleep until its clock shows this time instead; it wakes at once if
    /// it does so already.
    ///
    /// # Errors
    /// Of kind `type` if it doesn't sleep by simulated time, or for a time that is no time.
    pub fn wakeup_at(&self, tasklet: &Tasklet, time: f64) -> Result<(), Error> {
        self.wake("wakeup_at", tasklet, Some((false, check_time(time, "wakeup_at")?)))
    }

    /// As [`wakeup_at`](Self::wakeup_at), for one that sleeps by the wall clock.
    ///
    /// # Errors
    /// Of kind `type` if it doesn't sleep by the wall clock, or for a time that is no time.
    pub fn wakeup_at_wall(&self, tasklet: &Tasklet, time: f64) -> Result<(), Error> {
        self.wake("wakeup_at_wall", tasklet, Some((true, check_time(time, "wakeup_at_wall")?)))
    }

    fn wake(&self, verb: &str, tasklet: &Tasklet, at: Option<(bool, f64)>) -> Result<(), Error> {
        if let Some(wait) = self.library.due_now(verb, tasklet.id(), at)? {
            self.library.vm()?.wake(wait.tasklet, wait.parking);
        }
        Ok(())
    }

    fn sleep_by(&self, wall: bool, due: impl FnOnce(f64) -> f64) -> Result<(), Error> {
        if self.library.synchro.borrow().over {
            return Ok(());
        }
        let vm = self.library.vm()?;
        let (clock, now) = self.library.clocks.with(|clocks| {
            let clock = if wall { ClockId::WALL } else { clocks.of(vm.clock(vm.current())) };
            (clock, clocks.now(clock))
        });
        self.scheduler.park("sleep", |wait| {
            self.library.synchro.borrow_mut().sleepers.sleep(wait, clock.index(), due(now));
        })
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    /// As [`sleep`](Self::sleep).
    pub fn yield_(&self) -> Result<(), Error> {
        if self.library.synchro.borrow().over {
            return Ok(());
        }
        self.scheduler.park("yield", |wait| self.library.synchro.borrow_mut().yielders.push(wait))
    }

    /// Waits for the next frame if the slice has gone on for so many seconds since the first call
    /// (`semantics.md` 5.18). `None` is 0.015, or half of the time that a [slice](crate::HostBuilder::slice) may take
    /// if that is less; of a slice in ticks it is half of them, whatever the seconds. Does nothing where the caller
    /// can't wait.
    ///
    /// # Errors
    /// What is thrown at the tasklet meanwhile.
    pub fn be_nice(&self, seconds: impl Into<Option<f64>>) -> Result<(), Error> {
        let vm = self.library.vm()?;
        let mut synchro = self.library.synchro.borrow_mut();
        let was_long = synchro.was_long(&vm, &self.library.time, seconds.into());
        if synchro.over || !was_long {
            return Ok(());
        }
        drop(synchro);
        let mut waits = false;
        let waited = self.scheduler.park("be_nice", |wait| {
            waits = true;
            self.library.synchro.borrow_mut().yielders.push(wait);
        });
        if waits { waited } else { Ok(()) }
    }
}
