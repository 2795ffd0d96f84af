//! The scheduler in Rust.

use super::carrier::{Exchange, Of};
use super::channel::Channel;
use super::coroutine::{Native, Step, catch};
use super::tasklet::{IntoOutcome, Tasklet};
use crate::luau::ffi::*;
use crate::luau::{Anchor, Machine, Vm, state};
use crate::scheduler::{Deferred, Direction, Error, ErrorKind, Limit, TaskletId, Turn};
use mlua::{FromLua, IntoLua, Value};
use std::cell::Cell;
use std::fmt;
use std::hint::cold_path;
use std::rc::Rc;

/// The scheduler of a [`Vm`], for Rust: the same tasklets and channels as scripts have, with the same
/// verbs. A clone is the same scheduler.
///
/// Verbs that wait may be used in a tasklet whose body is Rust (anywhere in its call tree, but in what mlua calls for
/// it: [`call`](Self::call) calls a script's function that may wait), in a function made with
/// [`Vm::blocking_function`], and by the thread itself, which is the main tasklet: there, [`run`](Self::run) lets all
/// others run until none can.
///
/// The handle doesn't keep the VM alive. When that is gone, verbs return errors of kind `dead`.
#[derive(Clone)]
pub struct Scheduler {
    pub(super) machine: Rc<Machine>,
}

/// How long [`Scheduler::run_limited`] goes on (`semantics.md` 3B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunLimit {
    /// In ticks: safepoints of scripts (loop turns, calls, returns), and
    /// [`Scheduler::safepoint`]s of Rust code. 0 is no limit.
    pub ticks: u64,
    /// Interrupt nobody; return at the next yield after the limit.
    pub soft: bool,
    /// Count over the whole run, not for each slice anew.
    pub total: bool,
}

impl Scheduler {
    pub(super) fn new(machine: Rc<Machine>) -> Self {
        Self { machine }
    }

    /// A tasklet bound to `f`, not runnable yet: [`Tasklet::setup`] makes it so.
    ///
    /// `f` may return nothing, or a `Result<(), Error>` whose error ends the tasklet as an uncaught one.
    ///
    /// # Errors
    /// Of kind `memory` when there is no room for another stack, or as many as
    /// [`VmConfig::stack_limit`](crate::VmConfig::stack_limit) allows.
    pub fn tasklet<R: IntoOutcome>(&self, f: impl FnOnce() -> R + 'static) -> Result<Tasklet, Error> {
        let tasklet = self.unbound_tasklet();
        tasklet.bind(f)?;
        Ok(tasklet)
    }

    /// A tasklet without a function. It stores a copy of what its creator [stores](Tasklet::storage).
    pub fn unbound_tasklet(&self) -> Tasklet {
        let scheduler = self.machine.scheduler();
        let owner = scheduler.tasklets.get(self.machine.running.get()).map(|t| t.owner).unwrap_or_default();
        let id = scheduler.create(owner);
        let tasklet = Tasklet::of(self.machine.clone(), id);
        if self.machine.stores()
            && let Ok(vm) = self.vm()
        {
            let copied = self.machine.on_main_stack(|| {
                // SAFETY: below a protected call.
                vm.with_state(|L| unsafe { self.machine.inherit_storage(L, id) })
            });
            if let Err(error) = copied {
                tracing::warn!("a new tasklet stores nothing, as there is no memory for a copy: {error}");
            }
        }
        tasklet
    }

    /// A runnable tasklet that will call `f`, last in the run queue.
    ///
    /// # Errors
    /// As [`tasklet`](Self::tasklet).
    pub fn spawn<R: IntoOutcome>(&self, f: impl FnOnce() -> R + 'static) -> Result<Tasklet, Error> {
        let tasklet = self.tasklet(f)?;
        tasklet.setup()?;
        Ok(tasklet)
    }

    /// A new channel for values of one type.
    pub fn channel<T: 'static>(&self) -> Channel<T> {
        Channel::new(self.machine.clone())
    }

    /// To the end of the run queue; the next one runs (`semantics.md` 3.1).
    ///
    /// # Errors
    /// Of kind `switch_trap`; of kind `boundary` where the caller can't wait; and what is thrown at the
    /// tasklet meanwhile.
    #[inline(always)]
    pub fn schedule(&self) -> Result<(), Error> {
        let machine = &*self.machine;
        if let Some(frame) = machine.own_frame()
            && let Some(next) = machine.scheduler().rotate()
        {
            // SAFETY: the frame is the running one, and somebody else is the head of the queue.
            return unsafe { machine.wait_in(frame, next) };
        }
        cold_path();
        self.yield_turn("schedule", crate::scheduler::Scheduler::schedule, Exchange::Nothing)
    }

    /// As [`schedule`](Self::schedule): returns the value, unless somebody has written the tasklet's
    /// [`tempval`](Tasklet::set_tempval) meanwhile.
    ///
    /// # Errors
    /// As `schedule`.
    pub fn schedule_with<T: IntoLua + FromLua + 'static>(&self, value: T) -> Result<Option<T>, Error> {
        self.yield_value("schedule", crate::scheduler::Scheduler::schedule, value)
    }

    /// Out of the run queue, paused; the next one runs (`semantics.md` 3.2). Somebody has to
    /// [insert](Tasklet::insert) or [run](Tasklet::run) the tasklet again.
    ///
    /// # Errors
    /// As [`schedule`](Self::schedule), and of kind `deadlock` if nobody ever could.
    pub fn schedule_remove(&self) -> Result<(), Error> {
        self.yield_turn("schedule_remove", crate::scheduler::Scheduler::schedule_remove, Exchange::Nothing)
    }

    /// As [`schedule_remove`](Self::schedule_remove), with a value as in
    /// [`schedule_with`](Self::schedule_with).
    ///
    /// # Errors
    /// As `schedule_remove`.
    pub fn schedule_remove_with<T: IntoLua + FromLua + 'static>(&self, value: T) -> Result<Option<T>, Error> {
        self.yield_value("schedule_remove", crate::scheduler::Scheduler::schedule_remove, value)
    }

    fn yield_value<T: IntoLua + FromLua + 'static>(
        &self,
        verb: &str,
        operation: fn(&mut crate::scheduler::Scheduler) -> Result<Turn, ErrorKind>,
        value: T,
    ) -> Result<Option<T>, Error> {
        let mut place = Some(value);
        self.yield_turn(verb, operation, Exchange::Value((&raw mut place).cast(), Of::<T>::LUAU))?;
        Ok(place)
    }

    fn yield_turn(
        &self,
        verb: &str,
        operation: fn(&mut crate::scheduler::Scheduler) -> Result<Turn, ErrorKind>,
        exchange: Exchange,
    ) -> Result<(), Error> {
        let machine = &*self.machine;
        let frame = machine.waiting_frame(verb)?;
        // SAFETY: the frame is the running one; what it exchanges lies in the caller's frame.
        unsafe {
            match operation(machine.scheduler()) {
                // The host is asked between two slices whether to go on, so a tasklet that is all alone
                // has to end its slice as well.
                Ok(Turn::Keep) if !machine.host_rules() || (*frame).is_host() => Ok(()),
                Ok(_) => {
                    (*frame).exchange = exchange;
                    machine.wait(frame, Step::Blocked)
                }
                Err(kind) => Err(machine.scheduler().refusal(kind, verb, machine.scheduler().current())),
            }
        }
    }

    /// Runs everything else until nobody can run (`semantics.md` 3.4).
    ///
    /// # Errors
    /// The error that has ended another tasklet, unless an error handler has taken it; what is thrown at the
    /// tasklet meanwhile; of kind `boundary` where the caller can't wait, `switch_trap`.
    pub fn run(&self) -> Result<(), Error> {
        self.run_limited(RunLimit::default()).map(drop)
    }

    /// As [`run`](Self::run), with a limit. The tasklet that was interrupted, if one was.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_limited(&self, limit: RunLimit) -> Result<Option<Tasklet>, Error> {
        let machine = &*self.machine;
        let frame = machine.waiting_frame("run")?;
        let RunLimit { ticks, soft, total } = limit;
        let limit = (ticks > 0).then_some(Limit { ticks, soft, total });
        let mut stopped: Option<Tasklet> = None;
        // SAFETY: the frame is the running one; the place of the result lies in this frame.
        unsafe {
            let _run = NativeRun::begin(machine);
            let result = match machine.scheduler().enter_run(limit) {
                Ok(Turn::Keep) => {
                    machine.tidy();
                    Ok(())
                }
                Ok(Turn::Switch) => {
                    if machine.scheduler().limit().is_some() {
                        machine.arm_ticks();
                    }
                    (*frame).exchange = Exchange::Value((&raw mut stopped).cast(), Of::<Tasklet>::LUAU);
                    machine.wait(frame, Step::Blocked)
                }
                Err(kind) => Err(machine.scheduler().refusal(kind, "run", machine.scheduler().current())),
            };
            result.map(|()| stopped)
        }
    }

    /// Calls `f`, in which every verb that would wait is an error of kind `boundary`: for sections that
    /// hold on to something which others need.
    pub fn without_waiting<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Machine, *mut Native);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.native.set(self.1);
            }
        }
        let _restore = Restore(&self.machine, self.machine.native.replace(std::ptr::null_mut()));
        f()
    }

    /// Like [`without_waiting`](Self::without_waiting), on the stack of the host, where there is room for what would
    /// be too much for that of a tasklet.
    pub fn on_host_stack<R>(&self, f: impl FnOnce() -> R) -> R {
        self.machine.on_main_stack(f)
    }

    /// A tick of Rust code: a place where a limited run, or the end of its [slice](crate::SliceLimit), may
    /// interrupt the tasklet. To be called in loops that go on for long without another verb.
    ///
    /// # Errors
    /// What is thrown at the tasklet while it is stopped.
    pub fn safepoint(&self) -> Result<(), Error> {
        let machine = &*self.machine;
        if !machine.scheduler().is_limited() {
            if machine.is_slice_in_time() {
                return Ok(());
            }
            // Where the code can't wait, it is interrupted at its next safepoint that can.
            let Ok(frame) = machine.waiting_frame("safepoint") else { return Ok(()) };
            if machine.native_overrun()? {
                // SAFETY: the frame is the running one, and its tasklet has been put off.
                unsafe { machine.wait(frame, Step::Blocked)? };
            }
            return Ok(());
        }
        if !machine.scheduler().tick() {
            return Ok(());
        }
        // Where the caller can't wait, it isn't interrupted, as scripts aren't.
        let Ok(Some(frame)) = machine.frame("safepoint") else { return Ok(()) };
        let L = machine.scratch;
        // SAFETY: the frame is the running one; the scratch coroutine has room and gets back what it had.
        unsafe {
            crate::luau::protect(machine.helper, |helper| {
                machine.push_tasklet(helper, machine.running.get());
                lua_xmove(helper, L, 1);
            })?;
            machine.stop_running(L);
            machine.wait(frame, Step::Blocked)
        }
    }

    /// The tasklet that runs; the main one where none does.
    pub fn current(&self) -> Tasklet {
        // Between two slices it is the last one that did, of which nothing may be left.
        Tasklet::find(&self.machine, self.machine.running.get()).unwrap_or_else(|| self.main())
    }

    /// The main tasklet: the host itself, or the function that [`Vm::run_main`] was given.
    pub fn main(&self) -> Tasklet {
        Tasklet::of(self.machine.clone(), self.machine.scheduler().main)
    }

    /// The tasklet with this id, if there still is one.
    pub fn tasklet_of(&self, id: TaskletId) -> Option<Tasklet> {
        Tasklet::find(&self.machine, id)
    }

    /// How many tasklets are in the run queue, the running one included.
    pub fn run_count(&self) -> usize {
        self.machine.scheduler().queued
    }

    /// Adds to the level of the switch trap; the previous level. While it isn't 0, switching is an error.
    pub fn switch_trap(&self, delta: i32) -> i32 {
        let scheduler = self.machine.scheduler();
        let level = scheduler.switch_trap();
        scheduler.set_switch_trap(level.saturating_add(delta));
        level
    }

    /// Calls `f` without involuntary switches.
    pub fn atomic<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Machine, TaskletId, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                if let Some(tasklet) = self.0.scheduler().tasklets.get_mut(self.1) {
                    tasklet.flags.atomic = self.2;
                }
            }
        }
        let id = self.machine.scheduler().current();
        let flags = &mut self.machine.scheduler().tasklets[id].flags;
        let _restore = Restore(&self.machine, id, std::mem::replace(&mut flags.atomic, true));
        f()
    }

    /// Calls `f`; TaskletExit, which passes every `?`, stops here, as an error of kind `exit`.
    ///
    /// # Errors
    /// Those of `f`, and `exit`.
    pub fn pcall<R>(&self, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
        // SAFETY: the frame is the running one, if there is one.
        let result = unsafe { catch(self.machine.native.get(), f) };
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Has `f` called when the running tasklet ends, however it ends; last in, first out, after the
    /// destructors of its stack. `f` may not wait.
    pub fn defer(&self, f: impl FnOnce() + 'static) {
        let running = self.machine.running.get();
        if let Some(tasklet) = self.machine.scheduler().tasklets.get_mut(running) {
            tasklet.details_mut().deferred.push(Deferred::Rust(Box::new(f)));
        }
    }

    /// Has `f` called before each operation on a channel, with the channel's number, the tasklet, whether
    /// it sends, and whether it will block (`semantics.md` 2.23); `None` ends it. Errors of kind `callback`
    /// for verbs that switch or use channels in `f`. Scripts and Rust share the one callback.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn set_channel_callback(
        &self,
        f: Option<impl Fn(&Channel<Value>, &Tasklet, bool, bool) + 'static>,
    ) -> Result<(), Error> {
        let f = f.map(|f| {
            self.vm()?.function(c"channel callback", move |call| {
                f(&call.get(1)?, &call.get(2)?, call.get(3)?, call.get(4)?);
                Ok(crate::luau::Reply::Nothing)
            })
        });
        self.set_callback(&self.machine.channel_callback, f.transpose()?)
    }

    /// Has `f` called at each switch, with the tasklet that ran and the one that will (`semantics.md` 3.18);
    /// `None` ends it. Scripts and Rust share the one callback.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn set_schedule_callback(
        &self,
        f: Option<impl Fn(&Tasklet, &Tasklet) + 'static>,
    ) -> Result<(), Error> {
        let f = f.map(|f| {
            self.vm()?.function(c"schedule callback", move |call| {
                f(&call.get(1)?, &call.get(2)?);
                Ok(crate::luau::Reply::Nothing)
            })
        });
        self.set_callback(&self.machine.schedule_callback, f.transpose()?)
    }

    /// Has `f` called with each error that ends a tasklet, in the dying tasklet (`semantics.md` 1.36). The
    /// error ends there, unless `f` returns another one. Scripts and Rust share the one handler; but what a tasklet
    /// sets that belongs to somebody, as those of a game's scripts do, counts for the tasklets of that owner alone.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn set_error_handler(
        &self,
        f: Option<impl Fn(Error) -> Result<(), Error> + 'static>,
    ) -> Result<(), Error> {
        let f = f.map(|f| {
            self.vm()?.function(c"error handler", move |call| {
                f(call.error(1))?;
                Ok(crate::luau::Reply::Nothing)
            })
        });
        self.set_callback(&self.machine.error_handler, f.transpose()?)
    }

    fn set_callback(&self, cell: &Cell<Option<Anchor>>, f: Option<mlua::Function>) -> Result<(), Error> {
        let vm = self.vm()?;
        let anchor = match f {
            Some(f) => Some(vm.anchor(f)?),
            None => None,
        };
        self.machine.busy.set(true);
        if let Some(before) = cell.replace(anchor) {
            // SAFETY: the VM is alive, and nobody else has the anchor.
            unsafe { self.machine.anchors().release(before) };
        }
        Ok(())
    }

    pub(super) fn vm(&self) -> Result<&Vm, Error> {
        self.machine.vm().ok_or_else(Machine::gone)
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scheduler with {} runnable tasklets", self.run_count())
    }
}

/// A call of [`Scheduler::run_limited`], until it returns or is unwound.
struct NativeRun<'a>(&'a Cell<u32>);

impl<'a> NativeRun<'a> {
    fn begin(machine: &'a Machine) -> Self {
        let runs = &machine.native_runs;
        runs.set(runs.get() + 1);
        Self(runs)
    }
}

impl Drop for NativeRun<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// How often a tasklet with Rust frames is killed when its VM goes, before it is given up on.
const LAST_KILLS: usize = 10;

impl Vm {
    /// The scheduler, for Rust.
    pub fn scheduler(&self) -> Scheduler {
        Scheduler::new(self.machine_rc())
    }

    /// Ends all tasklets with Rust frames. One that stops every exit stays as it is: what is on its stack
    /// is leaked with the stack.
    pub(crate) fn end_native_frames(&self) {
        let machine = self.machine();
        if machine.is_looping() {
            return;
        }
        let main = machine.scheduler().main;
        for _ in 0..LAST_KILLS {
            let left: Vec<TaskletId> = (machine.scheduler().tasklets.iter())
                .filter(|&(id, tasklet)| id != main && tasklet.has_native_frames())
                .map(|(id, _)| id)
                .collect();
            if left.is_empty() || self.end(&left).is_err() {
                break;
            }
        }
        let bound: Vec<TaskletId> = (machine.scheduler().tasklets.iter())
            .filter(|&(id, tasklet)| id != main && !tasklet.alive() && !tasklet.native.is_null())
            .map(|(id, _)| id)
            .collect();
        for id in bound {
            // SAFETY: its frame never ran, or has ended.
            unsafe { machine.release_body(id) };
        }
        machine.tidy();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let main = self.scheduler().main;
        for (id, tasklet) in self.scheduler().tasklets.iter() {
            if id == main {
                continue;
            }
            // SAFETY: a frame in a record is alive and does not run; those that can't be freed are leaked.
            unsafe {
                if tasklet.native.as_ref().is_some_and(Native::is_idle) {
                    Native::free(tasklet.native);
                }
            }
        }
        // SAFETY: nobody waits in the frame of the host, as it drops the machine.
        unsafe { Native::free(self.host) };
    }
}

impl Machine {
    /// The Rust frame that calls, which can wait; `None` for code that can't.
    ///
    /// # Errors
    /// Of kind `callback` in a callback of the scheduler, `dead` without a VM.
    #[inline(always)]
    pub(super) fn frame(&self, verb: &str) -> Result<Option<*mut Native>, Error> {
        match self.own_frame() {
            Some(frame) => Ok(Some(frame)),
            None => self.other_frame(verb),
        }
    }

    /// The running Rust frame, if it is one that can wait.
    #[inline(always)]
    pub(super) fn own_frame(&self) -> Option<*mut Native> {
        let native = self.native.get();
        // SAFETY: the running frame is alive, and so is the VM. A call that the frame has made with mlua can't be left.
        let can_wait = unsafe {
            native.as_ref().is_some_and(|frame| !frame.bound)
                && state::depth(self.outside) == self.depth_outside.get()
        };
        (can_wait && !std::thread::panicking()).then_some(native)
    }

    #[cold]
    fn other_frame(&self, verb: &str) -> Result<Option<*mut Native>, Error> {
        if self.vm().is_none() {
            return Err(Self::gone());
        }
        let scheduler = self.scheduler();
        if scheduler.in_callback {
            return Err(scheduler.refusal(ErrorKind::Callback, verb, scheduler.current()));
        }
        Ok((self.host_may_run_others() && !self.host_takes_errors()).then_some(self.host))
    }

    /// As [`frame`](Self::frame), for verbs that can do nothing where the caller can't wait.
    #[inline]
    pub(super) fn waiting_frame(&self, verb: &str) -> Result<*mut Native, Error> {
        match self.frame(verb)? {
            Some(frame) => Ok(frame),
            None => {
                // The thread itself may run the others, even if a host has done so before.
                if self.host_may_run_others() { Ok(self.host) } else { Err(self.cannot_wait(verb)) }
            }
        }
    }

    /// The caller is the thread itself, which may run the loop. Not so in a function that a script has called whose
    /// coroutines, or whose Rust frame, would be around those of the tasklets.
    fn host_may_run_others(&self) -> bool {
        !self.is_looping()
            && self.scheduler().current() == self.scheduler().main
            && self.main_is_host()
            && self.native.get().is_null()
            && !self.is_nested()
    }

    /// The error for a verb that would wait where the caller can't.
    #[cold]
    pub(super) fn cannot_wait(&self, verb: &str) -> Error {
        let place = if std::thread::panicking() {
            "a destructor that runs while its tasklet ends"
        } else if self.native.get().is_null() {
            "a plain host function, a callback, or the host between two frames; \
             Vm::blocking_function makes functions that can"
        } else {
            "a Rust function that was called where the VM can't suspend"
        };
        Error::new(ErrorKind::Boundary, format!("{verb} would wait, which is not possible in {place}"))
    }

    /// Calls the channel callback for an operation of Rust code.
    #[cold]
    pub(super) fn announce_transfer(&self, channel: crate::scheduler::ChannelId, direction: Direction) {
        let Some(callback) = self.channel_callback.get() else { return };
        let blocks = self.scheduler().channels[channel].blocks(direction);
        let result = self.on_main_stack(|| {
            self.scheduler().in_callback = true;
            // SAFETY: the helper is idle, or further out on the stack of this very call.
            let result = unsafe {
                crate::luau::protect(self.helper, |L| {
                    self.anchors().push(callback, L);
                    self.push_channel(L, channel);
                    self.push_tasklet(L, self.scheduler().current());
                    lua_pushboolean(L, i32::from(direction == Direction::Send));
                    lua_pushboolean(L, i32::from(blocks));
                    lua_call(L, 4, 0);
                })
            };
            self.scheduler().in_callback = false;
            result
        });
        if let Err(error) = result {
            tracing::warn!("the channel callback failed: {error}");
        }
    }
}
