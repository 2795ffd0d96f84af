//! Slices that are too long: how long one may be, and what becomes of a tasklet that goes on.
//!
//! A slice has a number of its own. Its length is counted in ticks by the VM's interrupt, or in time
//! by the [timer's](super::timer) thread, which sets the interrupt only when a slice is over: one in time
//! costs a store. What runs too long is put at the end of the queue and goes on in the next round; where
//! it can't be suspended it is tried again, and after the hard limit it gets an error instead.

use super::ffi::*;
use super::machine::Machine;
use super::timer::{Sighting, Timer};
use super::value::push_error;
use super::vm::Vm;
use crate::budget::Budget;
use crate::scheduler::{Error, ErrorKind, OwnerId, Slot, TaskletId};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Overruns that are kept for [`Vm::take_overruns`](super::Vm::take_overruns); more are only counted.
const KEPT_OVERRUNS: usize = 100;

/// How long a tasklet may run without giving control away, and what becomes of one that goes on. It
/// counts in [`Vm::run_ready`](super::Vm::run_ready) alone: a main tasklet is never interrupted.
///
/// ```
/// use bluetick_scripting::{OverrunPolicy, OwnerId, SliceLimit, Vm, VmConfig};
///
/// let slice = SliceLimit::ticks(1000).policy(OverrunPolicy::Kill { after: 3 });
/// let vm = Vm::new(VmConfig { slice, ..VmConfig::default() })?;
/// let body = vm.load("loop.luau", "while true do end")?;
/// vm.spawn(&body, (), OwnerId::default())?;
/// for _ in 0..3 {
///     vm.run_ready(|| true);
/// }
/// let failure = vm.take_ended()[0].failure.clone().unwrap();
/// assert!(failure.message.starts_with("loop.luau:1: the tasklet did not give control away"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceLimit {
    /// How long a slice may be. Default: unlimited.
    pub length: Budget,
    /// After so many times the length, a tasklet that can't be suspended where it is gets an error of
    /// kind `budget`, which its `pcall` doesn't stop: in a metamethod, in the comparator of
    /// `table.sort`, in `scheduler.atomic`. Default: 10.
    pub hard: u32,
    /// What becomes of a tasklet that goes on. Default: it continues in the next round.
    pub policy: OverrunPolicy,
}

impl Default for SliceLimit {
    fn default() -> Self {
        Self { length: Budget::Unlimited, hard: 10, policy: OverrunPolicy::Continue }
    }
}

impl SliceLimit {
    /// Slices of so much time that the thread has a processor; of so much real time where the system does not tell that
    /// (anywhere but on Linux).
    pub fn time(length: Duration) -> Self {
        Self { length: length.into(), ..Self::default() }
    }

    /// Slices of so many ticks: the same inputs give the same order of switches.
    pub fn ticks(length: u64) -> Self {
        Self { length: Budget::Ticks(length), ..Self::default() }
    }

    /// With another policy.
    pub fn policy(self, policy: OverrunPolicy) -> Self {
        Self { policy, ..self }
    }

    /// With another hard limit, in lengths.
    pub fn hard(self, hard: u32) -> Self {
        Self { hard, ..self }
    }

    /// A tasklet that has overrun so often in a row is to end.
    fn ends_after(&self, in_a_row: u32) -> bool {
        matches!(self.policy, OverrunPolicy::Kill { after } if in_a_row >= after.max(1))
    }

    /// How long a slice may be at most, in what its length is counted.
    fn hard_limit(&self) -> Budget {
        let times = self.hard.max(1);
        match self.length {
            Budget::Unlimited => Budget::Unlimited,
            Budget::Time(length) => Budget::Time(length.saturating_mul(times)),
            Budget::Ticks(length) => Budget::Ticks(length.saturating_mul(times.into())),
        }
    }
}

/// What becomes of a tasklet whose slice is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverrunPolicy {
    /// It is put at the end of the queue, and goes on in the next round.
    #[default]
    Continue,
    /// As `Continue`; and a warning is logged, each time that a tasklet overruns twice as often in a row.
    Warn,
    /// As `Continue`; and when it has overrun so often in a row it gets an error of kind `budget`, which
    /// its `pcall` doesn't stop.
    Kill {
        /// How often in a row; 0 counts as 1.
        after: u32,
    },
}

/// A slice that was too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The tasklet.
    pub tasklet: TaskletId,
    /// Its name, or a number.
    pub name: String,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// Where it was interrupted: `file:line`. Empty in Rust code.
    pub place: String,
    /// The calls that led there, one a line, innermost first.
    pub traceback: String,
    /// How many slices in a row it has used up.
    pub in_a_row: u32,
    /// It has got an error of kind `budget`.
    pub stopped: bool,
}

/// How the slice under way stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    InTime,
    /// Used up.
    Over,
    /// Beyond the hard limit.
    Overdue,
}

/// Watches over slices.
pub(super) struct SliceWatch {
    pub limit: SliceLimit,
    pub timer: Timer,
    /// Ticks are counted although slices are not limited by them.
    counts_ticks: bool,
    /// A round is under way.
    active: Cell<bool>,
    /// Ticks, over all time.
    ticks: Cell<u64>,
    /// How many of them a slice may have, and when the slice under way has had them.
    length: u64,
    check_at: Cell<u64>,
    /// The slice whose ticks are counted.
    counted: Cell<u64>,
    /// The last slice that was ended with an error.
    condemned: Cell<u64>,
    overruns: RefCell<Vec<Overrun>>,
    /// Overruns, over all time.
    count: Cell<u64>,
}

impl SliceWatch {
    pub fn new(limit: SliceLimit, counts_ticks: bool) -> Self {
        let timer = match (limit.length, limit.hard_limit()) {
            (Budget::Time(length), Budget::Time(hard)) => Timer::new(length, hard),
            _ => Timer::idle(),
        };
        Self {
            limit,
            timer,
            counts_ticks,
            active: Cell::default(),
            ticks: Cell::default(),
            length: if let Budget::Ticks(length) = limit.length { length } else { 0 },
            check_at: Cell::default(),
            counted: Cell::new(u64::MAX),
            condemned: Cell::new(u64::MAX),
            overruns: RefCell::default(),
            count: Cell::default(),
        }
    }

    /// The interrupt is needed at every safepoint of a round.
    pub fn needs_ticks(&self) -> bool {
        self.active.get() && (self.counts_ticks || matches!(self.limit.length, Budget::Ticks(_)))
    }

    /// A round is under way.
    pub fn is_active(&self) -> bool {
        self.active.get()
    }

    pub fn ticks(&self) -> u64 {
        self.ticks.get()
    }

    /// The part of its ticks that the slice under way has used.
    fn part_used(&self) -> Option<f64> {
        let Budget::Ticks(length) = self.limit.length else { return None };
        if self.counted.get() != self.timer.slice() {
            return Some(0.0);
        }
        let left = self.check_at.get().saturating_sub(self.ticks.get());
        Some(1.0 - left as f64 / length.max(1) as f64)
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn take_overruns(&self) -> Vec<Overrun> {
        self.overruns.take()
    }

    /// A slice begins, or what follows one and may take as long again.
    #[inline]
    pub fn begin_slice(&self) {
        self.timer.begin_slice();
    }

    /// The slice under way was ended with an error, whatever has become of that since.
    pub fn is_condemned(&self) -> bool {
        self.condemned.get() == self.timer.slice()
    }

    /// Counts a tick; true if the slice's are used up. Whoever is interrupted comes to the same safepoint
    /// again, so even a slice of one tick gets past it.
    #[inline]
    pub fn tick(&self) -> bool {
        let (ticks, slice) = (self.ticks.get() + 1, self.timer.slice());
        self.ticks.set(ticks);
        if self.counted.replace(slice) != slice {
            self.check_at.set((ticks - 1).saturating_add(self.length));
        }
        ticks > self.check_at.get()
    }

    pub fn verdict(&self) -> Verdict {
        if !self.active.get() {
            return Verdict::InTime;
        }
        let Budget::Ticks(hard) = self.limit.hard_limit() else { return self.timer.verdict() };
        match self.ticks.get().saturating_sub(self.check_at.get()) {
            0 => Verdict::InTime,
            more if more > hard - self.length => Verdict::Overdue,
            _ => Verdict::Over,
        }
    }

    fn note(&self, overrun: Overrun) {
        self.count.set(self.count.get() + 1);
        if self.limit.policy == OverrunPolicy::Warn && overrun.in_a_row.is_power_of_two() {
            let Overrun { name, place, in_a_row, .. } = &overrun;
            tracing::warn!("{name} has used up {in_a_row} slices in a row, and is at {place}");
        }
        let mut overruns = self.overruns.borrow_mut();
        if overruns.len() < KEPT_OVERRUNS {
            overruns.push(overrun);
        }
    }
}

impl Vm {
    /// How long slices may be, and what becomes of tasklets that go on.
    pub fn slice_limit(&self) -> SliceLimit {
        self.machine().watch.limit
    }

    /// A number that changes about four times in what a slice may take, while tasklets run and if slices are limited in
    /// real time: whoever counts time sees for the price of a load that some has passed.
    #[inline]
    pub fn looks(&self) -> u64 {
        self.machine().watch.timer.looks()
    }

    /// The part of its slice that the running tasklet has used, from 0 to 1; `None` if slices are not limited
    /// in ticks.
    pub fn slice_used(&self) -> Option<f64> {
        self.machine().watch.part_used()
    }
}

/// A round of slices that are watched; ends when it is dropped.
pub(super) struct Round<'a>(&'a Machine);

impl<'a> Round<'a> {
    pub fn begin(machine: &'a Machine) -> Self {
        machine.watch.active.set(true);
        machine.watch.timer.start();
        // SAFETY: the machine's VM is alive.
        unsafe { super::interrupt::rest(machine.helper) };
        Self(machine)
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.0.watch.active.set(false);
        self.0.watch.timer.stop();
        // SAFETY: the machine's VM is alive as long as somebody runs its tasklets.
        unsafe { super::interrupt::clear(self.0.helper) };
    }
}

impl Machine {
    /// Tells another thread where the running tasklet is, if one has asked.
    ///
    /// # Safety
    /// Called in the VM's interrupt at a safepoint of `L`.
    #[inline]
    pub(super) unsafe fn answer(&self, L: *mut lua_State) {
        if self.watch.timer.is_asked() {
            let name = self.scheduler().name_of(self.running.get());
            // SAFETY: at a safepoint the stack can be read.
            let traceback = unsafe { super::traceback::traceback(L) };
            self.watch.timer.answer(Sighting { name, traceback });
        }
    }

    /// The slice under way is used up: the running tasklet is interrupted here if that is possible, or
    /// raises if it is overdue. Whether there is nothing more to be done for this slice.
    ///
    /// # Safety
    /// Called last in the VM's interrupt at a safepoint of `L`, with nothing alive that owns something.
    pub(super) unsafe fn overrun(&self, L: *mut lua_State, verdict: Verdict) -> bool {
        let scheduler = self.scheduler();
        let me = scheduler.current();
        let interruptible = self.running.get() == me
            && !self.body.get().is_null()
            && scheduler.tasklets.get(me).is_some_and(|tasklet| !tasklet.flags.atomic)
            && scheduler.switch_trap() == 0
            // SAFETY: `L` is a live state.
            && unsafe { self.can_block(L) };
        // SAFETY: as above; this is a safepoint.
        if !interruptible && verdict != Verdict::Overdue || unsafe { super::library::runs(L) } {
            return false;
        }
        let me = self.running.get();
        let Some(tasklet) = scheduler.tasklets.get_mut(me) else { return true };
        let (in_a_row, owner) = (tasklet.count_overrun(), tasklet.owner);
        let stopped = !interruptible || self.watch.limit.ends_after(in_a_row);
        {
            // SAFETY: the interrupt is called at a safepoint, where the stack can be read.
            let traceback = unsafe { super::traceback::traceback(L) };
            let place = innermost(&traceback).to_owned();
            let name = scheduler.name_of(me);
            self.watch.note(Overrun { tasklet: me, name, owner, place, traceback, in_a_row, stopped });
        }
        // SAFETY: nothing that owns something is alive; an interrupted tasklet is the head of the queue.
        unsafe {
            if stopped {
                self.raise_budget(L, in_a_row, interruptible);
            }
            self.scheduler().put_off();
            let link = self.scheduler().link(me);
            let _ = self.suspend(L, link);
            self.scheduler().tasklets[me].slot = Slot::Nothing;
        }
        true
    }

    /// A safepoint of Rust code: a tick. Whether the slice under way may go on.
    #[inline]
    pub(crate) fn is_slice_in_time(&self) -> bool {
        if self.watch.needs_ticks() {
            self.watch.tick();
        }
        self.watch.verdict() == Verdict::InTime
    }

    /// The slice of the running Rust code is used up. True if it has been put off, and has to wait now. An
    /// error if it is to end.
    pub(crate) fn native_overrun(&self) -> Result<bool, Error> {
        let scheduler = self.scheduler();
        let (me, trap) = (self.running.get(), scheduler.switch_trap());
        let current = scheduler.current();
        let Some(tasklet) = scheduler.tasklets.get_mut(me) else { return Ok(false) };
        if tasklet.flags.atomic || trap != 0 || current != me {
            return Ok(false);
        }
        let (in_a_row, owner) = (tasklet.count_overrun(), tasklet.owner);
        let stopped = self.watch.limit.ends_after(in_a_row);
        let (name, place) = (scheduler.name_of(me), String::new());
        let traceback = String::new();
        self.watch.note(Overrun { tasklet: me, name, owner, place, traceback, in_a_row, stopped });
        if stopped {
            let each = self.watch.limit.length;
            let text =
                format!("the tasklet did not give control away in {in_a_row} slices in a row ({each} each)");
            return Err(Error::new(ErrorKind::Budget, text));
        }
        self.scheduler().put_off();
        Ok(true)
    }

    /// Raises the error of kind `budget`, which no `pcall` stops.
    unsafe fn raise_budget(&self, L: *mut lua_State, in_a_row: u32, interruptible: bool) -> ! {
        // SAFETY: the caller's; the inner scope ends every Rust value before `lua_error` unwinds.
        unsafe {
            {
                let limit = self.watch.limit;
                let how = if interruptible {
                    format!("in {in_a_row} slices in a row ({} each)", limit.length)
                } else {
                    format!("within {}, and can't be suspended: {}", limit.hard_limit(), self.obstacle(L))
                };
                let traceback = super::traceback::traceback(L);
                let text = format!(
                    "{}: the tasklet did not give control away {how}; a long loop needs a \
                     synchro.yield() or synchro.be_nice() in it",
                    innermost(&traceback)
                );
                push_error(L, ErrorKind::Budget, &text);
            }
            self.set_budget_error(L);
            self.watch.condemned.set(self.watch.timer.slice());
            lua_error(L)
        }
    }

    /// Why the running tasklet can't be suspended.
    unsafe fn obstacle(&self, L: *mut lua_State) -> String {
        let scheduler = self.scheduler();
        // SAFETY: `lua_getinfo` fills `debug`; its strings live as long as the function on the stack.
        unsafe {
            if scheduler.switch_trap() != 0 {
                return "the switch trap is set".into();
            }
            if self.can_block(L) {
                return "it is in scheduler.atomic".into();
            }
            let mut debug: lua_Debug = std::mem::zeroed();
            if lua_getinfo(L, 0, c"sn".as_ptr(), &mut debug) != 0
                && super::traceback::text(debug.what) == "C"
                && !debug.name.is_null()
            {
                return format!("it is in '{}'", super::traceback::text(debug.name));
            }
            format!("it is in {}", super::coroutine::boundary_name(L))
        }
    }
}

/// The place of the innermost call of a traceback: `file:line`.
fn innermost(traceback: &str) -> &str {
    traceback.split(" in ").next().unwrap_or_default()
}
