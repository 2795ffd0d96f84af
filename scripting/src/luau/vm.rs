//! The VM: made once per host, sandboxed, with a limit on its memory.

use super::call::Wait;
use super::ffi::*;
use super::machine::{Ended, Failure, Machine};
use super::module::Modules;
use super::slice::{Overrun, Round, SliceLimit, SliceWatch};
use crate::scheduler::{Error, ErrorKind, OwnerId, Place, TaskletId};
use mlua::{Function, IntoLuaMulti, Lua, LuaOptions, StdLib};
use std::cell::RefCell;
use std::ffi::c_int;
use std::rc::Rc;

/// How a [`Vm`] is made.
#[derive(Clone, Debug)]
pub struct VmConfig {
    /// The most memory that the VM may use, in bytes. An allocation beyond it is an error of kind
    /// `memory` in the script that asked for it. 0 is no limit. Default: 512 MiB.
    pub memory_limit: usize,
    /// How long a tasklet may run without giving control away. Default: without a limit.
    pub slice: SliceLimit,
    /// Counts [ticks](Vm::ticks), even if slices are not limited by them. It costs some percent of speed.
    /// Default: no.
    pub count_ticks: bool,
    /// The most Rust stacks at a time: one for each tasklet whose body is Rust, and for each call of a Rust
    /// function that may wait. A further one is an error of kind `memory`. Each takes two pages of memory
    /// or more. Default: 262 144.
    pub stack_limit: usize,
}

impl Default for VmConfig {
    fn default() -> Self {
        Self {
            memory_limit: 512 << 20,
            slice: SliceLimit::default(),
            count_ticks: false,
            stack_limit: 1 << 18,
        }
    }
}

/// A Luau VM with its scheduler.
pub struct Vm {
    pub(crate) modules: RefCell<Modules>,
    #[cfg_attr(not(feature = "reload"), allow(dead_code))]
    pub(crate) live: RefCell<crate::reload::Live>,
    // Finalisers of the VM still use the machine, so mlua keeps a second reference for as long as it
    // keeps the VM: a clone of `Lua` may outlive this.
    lua: Lua,
    machine: Rc<Machine>,
}

impl Vm {
    /// Makes a VM in which scripts find `scheduler`, `tasklet`, `channel` and the safe part of the
    /// standard library. [`seal`](Self::seal) closes its sandbox.
    pub fn new(config: VmConfig) -> Result<Rc<Self>, Error> {
        let libraries = StdLib::COROUTINE
            | StdLib::TABLE
            | StdLib::OS
            | StdLib::STRING
            | StdLib::UTF8
            | StdLib::BIT
            | StdLib::MATH
            | StdLib::BUFFER
            | StdLib::VECTOR
            | StdLib::DEBUG;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        lua.set_memory_limit(config.memory_limit)?;
        let mut machine = None;
        let mut watch = Some(SliceWatch::new(config.slice, config.count_ticks));
        let mut installed = Ok(());
        // SAFETY: mlua protects the call; the machine is kept as long as the VM, see below.
        unsafe {
            lua.exec_raw::<()>((), |L| {
                machine = watch.take().map(|watch| Machine::new(L, watch));
                installed = super::api::install(L).and_then(|()| super::library::install(L));
            })?;
        }
        installed?;
        let machine = machine.ok_or_else(|| Error::wrong_type("the VM could not be set up"))?;
        machine.stack_limit.set(config.stack_limit);
        lua.set_app_data(machine.clone());
        // What the machine refers to doesn't move any more from here on.
        let vm = Rc::new(Self { modules: RefCell::default(), live: RefCell::default(), lua, machine });
        vm.machine.vm.set(&raw const *vm);
        if config.memory_limit > 0 {
            vm.machine.memory_limit.set(config.memory_limit);
        }
        // SAFETY: detached when this is dropped.
        vm.with_state(|L| unsafe { vm.machine.watch.timer.attach(L) })?;
        vm.install_require()?;
        vm.start_live();
        Ok(vm)
    }

    /// The VM as mlua knows it, for everything that is not on a hot path.
    pub fn lua(&self) -> &Lua {
        &self.lua
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn machine_rc(&self) -> Rc<Machine> {
        self.machine.clone()
    }

    /// Calls `f` with the raw state, in a protected call: what `f` raises comes back as an error.
    pub fn with_state(&self, f: impl FnOnce(*mut lua_State)) -> Result<(), Error> {
        // SAFETY: mlua protects the call and restores the stack afterwards.
        unsafe { self.lua.exec_raw::<()>((), f) }.map_err(Error::from)
    }

    /// Makes the globals read-only. To be called when everything for scripts is in place.
    pub fn seal(&self) -> Result<(), Error> {
        self.machine.sealed.set(true);
        self.lua.sandbox(true)?;
        // mlua puts a table for writes before the globals, which all scripts would share.
        // SAFETY: below a protected call.
        self.with_state(|L| unsafe { lua_setreadonly(L, LUA_GLOBALSINDEX, 1) })
    }

    /// The number under which direct handlers see `name` (a field or a method). Names must be
    /// known before the first script is loaded.
    pub fn intern(&self, name: &str) -> Result<i16, Error> {
        self.machine.intern(name)
    }

    /// A userdata tag that nobody else uses, or `None` when all are taken.
    pub fn new_tag(&self) -> Option<c_int> {
        self.machine.new_tag()
    }

    /// Makes a runnable tasklet that will call `f` with `arguments`, last in the run queue. If a tasklet runs, it is the
    /// creator of the new one, which gets a copy of what that stores (`semantics.md` 5.20).
    pub fn spawn(
        &self,
        f: &Function,
        arguments: impl IntoLuaMulti,
        owner: OwnerId,
    ) -> Result<TaskletId, Error> {
        let mut arguments = arguments.into_lua_multi(&self.lua)?;
        arguments.push_front(mlua::Value::Function(f.clone()));
        let mut id = TaskletId::default();
        // SAFETY: mlua protects the call and has pushed the function and its arguments alone.
        unsafe {
            self.lua.exec_raw::<()>(arguments, |L| {
                id = self.machine.spawn(L, owner);
                self.machine.inherit_storage(L, id);
                self.machine.note_callsite(id);
            })
        }?;
        Ok(id)
    }

    /// A new owner, to which tasklets can be made to belong.
    pub fn new_owner(&self) -> OwnerId {
        self.machine.scheduler().owners.insert(crate::scheduler::Members::default())
    }

    /// Calls `f` as the main tasklet of this scheduler and runs until it returns: what `bluetick exec`
    /// does with a file. Errors of other tasklets go to main, as in Stackless.
    pub fn run_main(&self, f: &Function, arguments: impl IntoLuaMulti) -> Result<(), Failure> {
        let main = self.machine.scheduler().main;
        let failure = |error: Error| Failure {
            tasklet: main,
            name: "the main tasklet".into(),
            owner: OwnerId::default(),
            message: error.message,
            traceback: String::new(),
        };
        if self.machine.is_looping() {
            return Err(failure(Error::new(
                ErrorKind::Current,
                "run_main: the scheduler is running already",
            )));
        }
        let arguments = arguments.into_lua_multi(&self.lua).map_err(|error| failure(error.into()))?;
        let mut call = arguments;
        call.push_front(mlua::Value::Function(f.clone()));
        // SAFETY: mlua protects the call and has pushed the function and its arguments alone.
        let bound = unsafe { self.lua.exec_raw::<()>(call, |L| self.machine.embody_main(L)) };
        bound.map_err(|error| failure(error.into()))?;
        self.machine.scheduler().begin_round();
        // SAFETY: called from outside of the VM, so none of its coroutines runs.
        unsafe { self.machine.run_slices(|| true) };
        self.machine.disembody_main();
        self.machine.host_error.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Runs the tasklets that are runnable, in order, until none is left or `go_on` says no; it is
    /// asked before each slice. Those that are left stay in order and run first the next time. Does
    /// nothing in a function that a script has called.
    ///
    /// It is a round: a tasklet that does not give control away goes on in the next one, when its
    /// [slice](SliceLimit) is used up.
    pub fn run_ready(&self, go_on: impl FnMut() -> bool) {
        self.machine.scheduler().begin_round();
        self.run(go_on);
    }

    /// Runs background tasklets (`tasklet.background = true` in a script), which [`run_ready`](Self::run_ready)
    /// passes over: each a slice in turn, with everybody who becomes runnable by that, until none is left or
    /// `go_on` says no. Belongs to the round that `run_ready` has begun.
    ///
    /// ```
    /// use bluetick_scripting::{OwnerId, Vm, VmConfig};
    ///
    /// let vm = Vm::new(VmConfig::default())?;
    /// let body = vm.load("work.luau", "scheduler.getcurrent().background = true
    ///     for _ = 1, 10 do scheduler.schedule() end")?;
    /// vm.spawn(&body, (), OwnerId::default())?;
    /// vm.run_ready(|| true);
    /// assert_eq!((vm.runnable(), vm.background()), (0, 1));
    /// vm.run_background(|| true);
    /// assert_eq!(vm.background(), 0);
    /// # Ok::<(), bluetick_scripting::Error>(())
    /// ```
    pub fn run_background(&self, mut go_on: impl FnMut() -> bool) {
        if self.machine.is_looping() {
            return;
        }
        while go_on() && self.machine.scheduler().give_time() {
            // It has been asked for this slice already.
            let mut asked = true;
            self.run(|| std::mem::take(&mut asked) || go_on());
        }
    }

    /// How many background tasklets are runnable, and wait for time.
    pub fn background(&self) -> usize {
        self.machine.scheduler().low.len()
    }

    /// As [`run_ready`](Self::run_ready), within the round.
    fn run(&self, go_on: impl FnMut() -> bool) {
        if self.machine.is_looping() {
            tracing::error!("run_ready was called while the scheduler is running");
            return;
        }
        self.machine.host_wants_errors.set(true);
        self.machine.tidy();
        let scheduler = self.machine.scheduler();
        let main = scheduler.main;
        if scheduler.current() == main {
            // Main has no body: entering `run` can't be refused unless the trap is set.
            scheduler.set_switch_trap(0);
            if scheduler.enter_run(None) != Ok(crate::scheduler::Turn::Switch) {
                return;
            }
        }
        let _round = Round::begin(&self.machine);
        // SAFETY: called from outside of the VM, so none of its coroutines runs.
        unsafe { self.machine.run_slices(go_on) };
    }

    /// Makes a parked tasklet runnable, last in the run queue; false if it isn't parked (any more)
    /// in the wait that `parking` names.
    #[inline]
    pub fn wake(&self, tasklet: TaskletId, parking: u32) -> bool {
        self.machine.scheduler().wake(tasklet, parking)
    }

    /// A tasklet still is in this wait.
    pub fn is_waiting(&self, Wait { tasklet, parking }: Wait) -> bool {
        let tasklet = self.machine.scheduler().tasklets.get(tasklet);
        tasklet.is_some_and(|t| t.parkings == parking && t.place == Place::Parked)
    }

    /// How many tasklets wait for the host.
    pub fn parked(&self) -> usize {
        self.machine.scheduler().parked
    }

    /// Makes a tasklet end at its next turn, in the next [`run_ready`](Self::run_ready): its deferred
    /// functions run. False if it has ended already. An error of kind `current` for the tasklet that
    /// is running: a function that it has called may return an error of kind `exit` instead.
    pub fn kill(&self, tasklet: TaskletId) -> Result<bool, Error> {
        // SAFETY: no coroutine of the VM runs but perhaps the caller's, which is not the helper.
        unsafe { self.machine.kill_later(tasklet) }
    }

    /// Ends tasklets: each is killed and gets one turn, in this order and before everybody else, so that
    /// their deferred functions run. How many were still alive; those that stop their exit still are.
    ///
    /// # Errors
    /// Of kind `current` while tasklets run: to be called between two runs.
    pub fn end(&self, tasklets: &[TaskletId]) -> Result<usize, Error> {
        if self.machine.is_looping() {
            return Err(Error::new(ErrorKind::Current, "end: tasklets are running, and one of them calls"));
        }
        let mut turns = 0;
        let mut result = Ok(());
        for &tasklet in tasklets.iter().rev() {
            match self.kill(tasklet) {
                Ok(false) => {}
                Ok(true) => {
                    let scheduler = self.machine.scheduler();
                    scheduler.hasten(scheduler.link(tasklet));
                    turns += 1;
                }
                Err(error) => result = Err(error),
            }
        }
        let mut left = turns;
        self.run(|| {
            let go_on = left > 0;
            left -= usize::from(go_on);
            go_on
        });
        result.map(|()| turns)
    }

    /// The living tasklets that belong to `owner`, in the order in which they came to life.
    pub fn owned_by(&self, owner: OwnerId) -> Vec<TaskletId> {
        self.machine.scheduler().owned_by(owner)
    }

    /// Forgets an owner; its tasklets belong to nobody from then on.
    pub fn remove_owner(&self, owner: OwnerId) {
        if let Some(handler) = self.machine.handler_of(owner) {
            self.machine.set_handler_of(owner, None);
            // SAFETY: the VM is alive, and nobody else has the anchor.
            unsafe { self.machine.anchors().release(handler) };
        }
        self.machine.scheduler().owners.remove(owner);
        self.machine.scheduler().frozen.remove(&owner);
    }

    /// Whom the running tasklet belongs to.
    pub fn current_owner(&self) -> OwnerId {
        let scheduler = self.machine.scheduler();
        scheduler.tasklets.get(self.machine.running.get()).map(|t| t.owner).unwrap_or_default()
    }

    /// Whom a tasklet belongs to; nobody if it is gone.
    pub fn owner_of(&self, tasklet: TaskletId) -> OwnerId {
        self.machine.scheduler().tasklets.get(tasklet).map(|tasklet| tasklet.owner).unwrap_or_default()
    }

    /// What people call a tasklet: its name, or a number.
    pub fn name_of(&self, tasklet: TaskletId) -> String {
        self.machine.scheduler().name_of(tasklet)
    }

    /// Has the end of the tasklet noted in [`take_ended`](Self::take_ended).
    pub fn watch(&self, tasklet: TaskletId) {
        if let Some(tasklet) = self.machine.scheduler().tasklets.get_mut(tasklet) {
            tasklet.flags.watched = true;
        }
    }

    /// The watched tasklets that have ended since the last call, and all that have failed.
    pub fn take_ended(&self) -> Vec<Ended> {
        std::mem::take(&mut *self.machine.ended.borrow_mut())
    }

    /// Has `guard` asked before a script does something to a tasklet that is not the running one, whose owner it gets
    /// with the method's name, or hooks into the scheduler (`None`). What it returns as an error, the script gets.
    pub fn guard_tasklets(&self, guard: impl Fn(Option<OwnerId>, &str) -> Result<(), Error> + 'static) {
        self.machine.set_guard(Rc::new(guard));
    }

    /// Names a tasklet, for messages.
    pub fn set_name(&self, tasklet: TaskletId, name: &str) {
        if let Some(tasklet) = self.machine.scheduler().tasklets.get_mut(tasklet) {
            tasklet.details_mut().name = Some(name.into());
        }
    }

    /// Where a tasklet waits or was stopped, the innermost call first; empty if it has no body or runs.
    pub fn traceback(&self, tasklet: TaskletId) -> String {
        let scheduler = self.machine.scheduler();
        match scheduler.tasklets.get(tasklet) {
            Some(t) if t.alive() && tasklet != self.machine.running.get() => {
                // SAFETY: the frames are suspended.
                unsafe { super::traceback::traceback_of(t) }
            }
            _ => String::new(),
        }
    }

    /// How the scheduler stands.
    pub fn stats(&self) -> SchedulerStats {
        let scheduler = self.machine.scheduler();
        let mut stats = SchedulerStats {
            slices: scheduler.slices,
            messages: scheduler.messages,
            runnable: self.runnable(),
            tasklets: scheduler.tasklets.len() - 1,
            ..SchedulerStats::default()
        };
        for (_, tasklet) in scheduler.tasklets.iter() {
            match tasklet.place {
                Place::Channel(..) if tasklet.is_arm() => stats.tasklets -= 1,
                Place::Channel(..) | Place::Select => stats.waiting += 1,
                Place::Parked => stats.parked += 1,
                Place::Floating if tasklet.paused() => stats.paused += 1,
                Place::Queue | Place::Low | Place::Floating => {}
            }
        }
        stats
    }

    /// How many tasklets are in the run queue, the host's main one left out.
    pub fn runnable(&self) -> usize {
        let scheduler = self.machine.scheduler();
        scheduler.queued - usize::from(scheduler.tasklets[scheduler.main].scheduled())
    }

    /// Whose turn comes next, if anybody is in the run queue but the host's main one.
    pub fn next_runnable(&self) -> Option<TaskletId> {
        let scheduler = self.machine.scheduler();
        let head = scheduler.head;
        let next = if head == scheduler.main_link { scheduler.member(head).next } else { head };
        (!next.is_none() && next != scheduler.main_link).then(|| scheduler.id(next))
    }

    /// Slices run, and values handed over on channels, over all time.
    pub fn work_done(&self) -> (u64, u64) {
        let scheduler = self.machine.scheduler();
        (scheduler.slices, scheduler.messages)
    }

    /// Ticks over all time, if they are counted: safepoints of the VM that tasklets have come to.
    pub fn ticks(&self) -> u64 {
        self.machine.watch.ticks()
    }

    /// How often a slice was used up, over all time.
    pub fn overruns(&self) -> u64 {
        self.machine.watch.count()
    }

    /// How many tasklets in the run queue have used up their slice in this round, or in the last one.
    pub fn put_off(&self) -> usize {
        self.machine.scheduler().put_off.len()
    }

    /// Slices that were used up since the last call: the first 100 of them.
    pub fn take_overruns(&self) -> Vec<Overrun> {
        self.machine.watch.take_overruns()
    }

    /// How much memory the VM may use, in bytes.
    pub fn memory_limit(&self) -> usize {
        self.machine.memory_limit.get()
    }

    /// Memory in use by the VM, in bytes.
    pub fn memory(&self) -> usize {
        self.lua.used_memory()
    }
}

impl Drop for Vm {
    /// Rust frames are unwound: their destructors run. While one of its tasklets runs, a VM can't go: then it stays for
    /// ever.
    fn drop(&mut self) {
        if self.machine.is_looping() {
            tracing::error!("the last handle of a VM was dropped by one of its tasklets: its memory is lost");
            std::mem::forget(self.lua.clone());
        }
        self.end_native_frames();
        self.machine.watch.timer.detach();
        self.machine.vm.set(std::ptr::null());
    }
}

/// A look at the scheduler. Counting the waiting takes time proportional to all tasklets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Slices run, over all time.
    pub slices: u64,
    /// Values handed over on channels, over all time.
    pub messages: u64,
    /// In the run queue.
    pub runnable: usize,
    /// Waiting on a channel.
    pub waiting: usize,
    /// Waiting for the host: asleep, or until the next frame.
    pub parked: usize,
    /// In no queue: alive, and waiting for somebody who inserts, runs or kills them.
    pub paused: usize,
    /// All that exist, dead ones that a script still holds included.
    pub tasklets: usize,
}
