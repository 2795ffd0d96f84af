//! Tasklets in Rust.

use super::carrier::{Exchange, Of};
use super::coroutine::Step;
use crate::luau::ffi::*;
use crate::luau::{Dropped, Machine};
use crate::scheduler::{Error, ErrorKind, Life, Place, Slot, TaskletId, Turn, number};
use mlua::{FromLua, IntoLua, Lua, Value};
use std::fmt;
use std::rc::Rc;

/// What the function of a tasklet may return.
pub trait IntoOutcome {
    /// How the tasklet ends: an error ends it as an uncaught one, or silently if its kind is `exit`.
    fn into_outcome(self) -> Result<(), Error>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<(), Error> {
        Ok(())
    }
}

impl IntoOutcome for Result<(), Error> {
    fn into_outcome(self) -> Result<(), Error> {
        self
    }
}

/// A tasklet, whether its body is Rust or Luau. A clone is the same tasklet.
///
/// Converts to and from the tasklets of scripts.
pub struct Tasklet {
    machine: Rc<Machine>,
    id: TaskletId,
}

impl Tasklet {
    /// A handle of a tasklet that exists.
    pub(super) fn of(machine: Rc<Machine>, id: TaskletId) -> Self {
        if let Some(tasklet) = machine.scheduler().tasklets.get_mut(id) {
            tasklet.holders += 1;
        }
        Self { machine, id }
    }

    /// The tasklet with this id, if it exists.
    pub(super) fn find(machine: &Rc<Machine>, id: TaskletId) -> Option<Self> {
        machine.scheduler().tasklets.contains_key(id).then(|| Self::of(machine.clone(), id))
    }

    fn get(&self) -> &crate::scheduler::Tasklet {
        &self.machine.scheduler().tasklets[self.id]
    }

    fn refusal(&self, kind: ErrorKind, verb: &str) -> Error {
        self.machine.scheduler().refusal(kind, verb, self.id)
    }

    /// Names the tasklet for as long as the VM lives.
    pub fn id(&self) -> TaskletId {
        self.id
    }

    /// Gives it a function in place of any that it had: it is bound, and runs after
    /// [`setup`](Self::setup) (`semantics.md` 1.8, 1.10).
    ///
    /// # Errors
    /// Of kind `current`, `blocked` or `alive` for a tasklet that is in use, or paused with Rust frames on
    /// its stack; of kind `memory` when there is no room for another stack. Nothing is changed then.
    pub fn bind<R: IntoOutcome>(&self, f: impl FnOnce() -> R + 'static) -> Result<(), Error> {
        self.may_unbind()?;
        let body = move || f().into_outcome().map(|()| mlua::MultiValue::new());
        let native = self.machine.new_frame("bind", body)?;
        if let Err(error) = self.machine.unbind_from_rust(self.id) {
            // SAFETY: the frame is new, and nobody knows it.
            unsafe { self.machine.free_frame(native) };
            return Err(error);
        }
        let tasklet = &mut self.machine.scheduler().tasklets[self.id];
        tasklet.native = native;
        tasklet.life = Life::Bound;
        Ok(())
    }

    /// As [`bind`](Self::bind), but the tasklet is alive and paused, as with arguments in a script's `bind`:
    /// [`insert`](Self::insert) or [`run`](Self::run) start it.
    ///
    /// # Errors
    /// As `bind`.
    pub fn bind_paused<R: IntoOutcome>(&self, f: impl FnOnce() -> R + 'static) -> Result<(), Error> {
        self.bind(f)?;
        self.machine.make_ready(self.id);
        Ok(())
    }

    /// Takes function and frame from it: its destructors and what it has deferred run.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn unbind(&self) -> Result<(), Error> {
        self.may_unbind()?;
        self.machine.unbind_from_rust(self.id)
    }

    fn may_unbind(&self) -> Result<(), Error> {
        let scheduler = self.machine.scheduler();
        let tasklet = &scheduler.tasklets[self.id];
        let kind = if self.id == self.machine.running.get() {
            Some(ErrorKind::Current)
        } else if tasklet.blocked() {
            Some(ErrorKind::Blocked)
        } else if matches!(tasklet.place, Place::Queue | Place::Low)
            || tasklet.flags.running
            || self.id == scheduler.main
            || tasklet.life == Life::Started && tasklet.has_native_frames()
        {
            Some(ErrorKind::Alive)
        } else {
            None
        };
        match kind {
            Some(kind) => Err(self.refusal(kind, "bind")),
            None => Ok(()),
        }
    }

    /// Makes a bound tasklet runnable, last in the run queue (`semantics.md` 1.9). In a script this is the
    /// call `t()`.
    ///
    /// # Errors
    /// Of kind `unbound` without a function, `alive` if it is alive.
    pub fn setup(&self) -> Result<(), Error> {
        match self.get().life {
            Life::Unbound => return Err(self.refusal(ErrorKind::Unbound, "setup")),
            Life::Ready | Life::Started => return Err(self.refusal(ErrorKind::Alive, "setup")),
            Life::Bound => {}
        }
        self.machine.make_ready(self.id);
        self.machine.scheduler().insert(self.id).map_err(|kind| self.refusal(kind, "setup"))
    }

    /// Puts it at the end of the run queue, unless it is in there (`semantics.md` 1.14).
    ///
    /// # Errors
    /// Of kind `dead` or `blocked`.
    pub fn insert(&self) -> Result<(), Error> {
        self.machine.scheduler().insert(self.id).map_err(|kind| self.refusal(kind, "insert"))
    }

    /// Takes it out of the run queue: it is paused (`semantics.md` 1.15).
    ///
    /// # Errors
    /// Of kind `current` or `blocked`.
    pub fn remove(&self) -> Result<(), Error> {
        self.machine.scheduler().remove(self.id).map_err(|kind| self.refusal(kind, "remove"))
    }

    /// Switches to it at once (`semantics.md` 1.17).
    ///
    /// # Errors
    /// Of kind `dead`, `blocked` or `switch_trap`; and what is thrown at the caller meanwhile.
    pub fn run(&self) -> Result<(), Error> {
        self.run_or_switch("run", false)
    }

    /// As [`run`](Self::run), and the caller is paused (`semantics.md` 1.21).
    ///
    /// # Errors
    /// As `run`.
    pub fn switch(&self) -> Result<(), Error> {
        self.run_or_switch("switch", true)
    }

    fn run_or_switch(&self, verb: &str, leave: bool) -> Result<(), Error> {
        let frame = self.machine.waiting_frame(verb)?;
        match self.machine.scheduler().run_tasklet(self.id, leave) {
            Ok(Turn::Keep) => Ok(()),
            // SAFETY: the frame is the running one.
            Ok(Turn::Switch) => unsafe { self.machine.wait(frame, Step::Blocked) },
            Err(kind) => Err(self.refusal(kind, verb)),
        }
    }

    /// Raises TaskletExit in it, at once: it runs until it yields, waits or ends (`semantics.md` 1.23). On
    /// the calling tasklet itself this does not return.
    ///
    /// # Errors
    /// Of kind `switch_trap`; and what is thrown at the caller meanwhile.
    pub fn kill(&self) -> Result<(), Error> {
        self.throw_now(Error::exit(), "kill")
    }

    /// Raises TaskletExit in it at its next turn.
    ///
    /// # Errors
    /// None for a tasklet that has ended.
    pub fn kill_pending(&self) -> Result<(), Error> {
        self.throw_later(Error::exit(), "kill")
    }

    /// Raises an error in it, at once: what it waits for returns the error (`semantics.md` 1.25).
    ///
    /// # Errors
    /// Of kind `dead` for a tasklet that has ended; else as [`kill`](Self::kill).
    pub fn throw(&self, error: Error) -> Result<(), Error> {
        self.throw_now(error, "throw")
    }

    /// Raises an error in it at its next turn (`semantics.md` 1.26).
    ///
    /// # Errors
    /// Of kind `dead` for a tasklet that has ended.
    pub fn throw_pending(&self, error: Error) -> Result<(), Error> {
        self.throw_later(error, "throw")
    }

    /// As [`throw`](Self::throw).
    ///
    /// # Errors
    /// As `throw`.
    pub fn raise_exception(&self, error: Error) -> Result<(), Error> {
        self.throw_now(error, "raise_exception")
    }

    fn throw_now(&self, error: Error, verb: &str) -> Result<(), Error> {
        let machine = &*self.machine;
        if !self.takes_errors(&error, verb)? {
            return Ok(());
        }
        let me = machine.running.get();
        let frame = machine.waiting_frame(verb)?;
        if self.id == me {
            // SAFETY: the frame is the running one, and none but its own code asks.
            return unsafe { machine.raise_here(frame, error) };
        }
        let scheduler = machine.scheduler();
        let (from, to) = (scheduler.link(me), scheduler.link(self.id));
        scheduler.may_switch(from, to).map_err(|kind| self.refusal(kind, verb))?;
        machine.deliver_error(self.id, error);
        match machine.scheduler().switch(from, to) {
            Ok(Turn::Keep) => Ok(()),
            // SAFETY: as above.
            Ok(Turn::Switch) => unsafe { machine.wait(frame, Step::Blocked) },
            Err(kind) => Err(self.refusal(kind, verb)),
        }
    }

    fn throw_later(&self, error: Error, verb: &str) -> Result<(), Error> {
        let machine = &*self.machine;
        if machine.vm().is_none() {
            return Err(Machine::gone());
        }
        if !self.takes_errors(&error, verb)? {
            return Ok(());
        }
        if self.id == machine.running.get() {
            let frame = machine.waiting_frame(verb)?;
            // SAFETY: the frame is the running one.
            return unsafe { machine.raise_here(frame, error) };
        }
        machine.deliver_error(self.id, error);
        machine.scheduler().interrupt_wait(self.id);
        Ok(())
    }

    /// Whether there is something that an error can be raised in; TaskletExit is nothing to the dead.
    fn takes_errors(&self, error: &Error, verb: &str) -> Result<bool, Error> {
        // The thread itself, as main, raises in its own call; from elsewhere nothing can be raised in it.
        let own = self.id == self.machine.running.get();
        if self.get().alive() && (own || !self.machine.is_frameless_host(self.id)) {
            return Ok(true);
        }
        match error.kind {
            ErrorKind::Exit => Ok(false),
            _ => Err(self.refusal(ErrorKind::Dead, verb)),
        }
    }

    /// It has a frame: it was set up and has not ended.
    pub fn alive(&self) -> bool {
        self.get().alive()
    }

    /// Alive, and in no queue.
    pub fn paused(&self) -> bool {
        self.get().paused()
    }

    /// Waiting on a channel, or for the host.
    pub fn blocked(&self) -> bool {
        self.get().blocked()
    }

    /// In a queue, be it the run queue or a channel's.
    pub fn scheduled(&self) -> bool {
        self.get().scheduled() && self.get().alive()
    }

    /// It has no Rust frame on its stack.
    pub fn restorable(&self) -> bool {
        self.get().alive() && !self.get().has_native_frames()
    }

    /// It is the one that runs.
    pub fn is_current(&self) -> bool {
        self.id == self.machine.running.get()
    }

    /// It is the main tasklet.
    pub fn is_main(&self) -> bool {
        self.id == self.machine.scheduler().main
    }

    /// The one behind it in its queue.
    pub fn next(&self) -> Option<Self> {
        Self::find(&self.machine, self.machine.scheduler().waiter_id(self.get().next))
    }

    /// The one before it in its queue.
    pub fn prev(&self) -> Option<Self> {
        Self::find(&self.machine, self.machine.scheduler().waiter_id(self.get().prev))
    }

    /// How often it was switched to since it was set up.
    pub fn times_switched_to(&self) -> u32 {
        self.get().switches
    }

    /// A blocking call of it is an error.
    pub fn block_trap(&self) -> bool {
        self.get().flags.block_trap
    }

    /// Sets the [block trap](Self::block_trap).
    pub fn set_block_trap(&self, trap: bool) {
        self.machine.scheduler().tasklets[self.id].flags.block_trap = trap;
    }

    /// It runs only in the time that others leave.
    pub fn background(&self) -> bool {
        self.get().flags.background
    }

    /// Has it run only in the time that others leave, or with everybody else again. Where nobody runs tasklets by
    /// the frame it makes no difference; see [`Vm::run_background`](crate::Vm::run_background).
    pub fn set_background(&self, background: bool) {
        self.machine.scheduler().set_background(self.id, background);
    }

    /// Keeps it from being switched away from against its will; the previous setting.
    pub fn set_atomic(&self, atomic: bool) -> bool {
        std::mem::replace(&mut self.machine.scheduler().tasklets[self.id].flags.atomic, atomic)
    }

    /// Sets what scripts see as `ignore_nesting`; the previous setting. It is there for programs written for Stackless
    /// and changes nothing: a tasklet is not interrupted inside of a native frame that the VM can't leave, and
    /// otherwise it is (`semantics.md` 3.13).
    pub fn set_ignore_nesting(&self, ignore: bool) -> bool {
        std::mem::replace(&mut self.machine.scheduler().tasklets[self.id].flags.ignore_nesting, ignore)
    }

    /// What it stores for its own use: a table, of which the tasklets that it makes get a copy when it makes them
    /// (`semantics.md` 5.20). In a script this is `t.storage`.
    ///
    /// # Errors
    /// Of kind `memory`; of kind `dead` when the VM is gone.
    pub fn storage(&self) -> Result<mlua::Table, Error> {
        let vm = self.machine.vm().ok_or_else(Machine::gone)?;
        // SAFETY: protected by mlua.
        let pushed =
            || unsafe { vm.lua().exec_raw::<mlua::Table>((), |L| self.machine.push_storage(L, self.id)) };
        Ok(self.machine.on_main_stack(pushed)?)
    }

    /// How long it has run so far, if time is [measured](crate::Vm::set_accounting) (`semantics.md` 5.21).
    pub fn run_time(&self) -> std::time::Duration {
        self.machine.run_time(self.id)
    }

    /// Where a script has made it, if time was [measured](crate::Vm::set_accounting) then.
    pub fn parent_callsite(&self) -> Option<String> {
        self.get().details.as_ref().and_then(|details| details.callsite.as_deref().map(str::to_owned))
    }

    /// Its name, for messages.
    pub fn name(&self) -> Option<String> {
        self.get().details.as_ref().and_then(|details| details.name.as_deref().map(str::to_owned))
    }

    /// Names it, for messages.
    pub fn set_name(&self, name: &str) {
        self.machine.scheduler().tasklets[self.id].details_mut().name = Some(name.into());
    }

    /// Writes what its current call will return, if that is one that returns a value it got from
    /// elsewhere: [`schedule_with`](super::Scheduler::schedule_with) say, or a script's `schedule`. Nothing
    /// happens otherwise, or if the value is of another type.
    pub fn set_tempval<T: IntoLua + FromLua + 'static>(&self, value: T) {
        let machine = &*self.machine;
        let mut value = Some(value);
        // SAFETY: the scratch coroutine has room and gets back what it had; a suspended tasklet takes what
        // is delivered to it.
        unsafe {
            let L = machine.scratch;
            if Of::<T>::LUAU.push(machine, L, (&raw mut value).cast()).is_ok() {
                machine.write_tempval(self.id, L, -1);
                lua_settop(L, -2);
            }
        }
    }
}

impl Clone for Tasklet {
    fn clone(&self) -> Self {
        Self::of(self.machine.clone(), self.id)
    }
}

impl Drop for Tasklet {
    fn drop(&mut self) {
        // This may run in a finaliser of the VM, so the loop does the rest.
        self.machine.note_dropped(Dropped::Tasklet(self.id));
    }
}

impl fmt::Debug for Tasklet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tasklet {}", number(self.id))
    }
}

impl fmt::Display for Tasklet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.machine.scheduler().name_of(self.id))
    }
}

impl PartialEq for Tasklet {
    /// The same tasklet.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.machine, &other.machine) && self.id == other.id
    }
}

impl Eq for Tasklet {}

impl IntoLua for Tasklet {
    fn into_lua(self, _: &Lua) -> mlua::Result<Value> {
        let machine = &*self.machine;
        let vm = machine.vm().ok_or_else(|| mlua::Error::external(Machine::gone()))?;
        // SAFETY: protected by mlua.
        unsafe { vm.lua().exec_raw((), |L| machine.push_tasklet(L, self.id)) }
    }
}

impl FromLua for Tasklet {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let machine = Machine::of_lua(lua)?;
        let name = value.type_name();
        let mut id = None;
        // SAFETY: protected by mlua, which has pushed the value alone.
        unsafe {
            lua.exec_raw::<()>(value, |L| {
                id = machine.tasklet_at(L, -1);
                lua_settop(L, 0);
            })?;
        }
        match id.and_then(|id| Self::find(&machine, id)) {
            Some(tasklet) => Ok(tasklet),
            None => {
                Err(mlua::Error::FromLuaConversionError { from: name, to: "tasklet".into(), message: None })
            }
        }
    }
}

impl Machine {
    /// Gives a bound tasklet life: it is paused.
    pub(super) fn make_ready(&self, id: TaskletId) {
        let scheduler = self.scheduler();
        let tasklet = &mut scheduler.tasklets[id];
        tasklet.life = Life::Ready;
        tasklet.slot = Slot::Value;
        tasklet.arguments = 0;
        tasklet.switches = 0;
        scheduler.enlist(id);
    }

    /// The main tasklet of a host that takes errors itself: nothing can be raised in it.
    pub(crate) fn is_frameless_host(&self, id: TaskletId) -> bool {
        id == self.scheduler().main && self.main_is_host() && (self.host_takes_errors() || !self.is_looping())
    }

    /// Puts an error into the slot of a tasklet that does not run.
    pub(crate) fn deliver_error(&self, id: TaskletId, error: Error) {
        let tasklet = &mut self.scheduler().tasklets[id];
        if tasklet.thread.is_null() {
            tasklet.slot = Slot::Error;
            // SAFETY: a tasklet without an innermost coroutine that is alive has a Rust frame.
            unsafe { (*tasklet.native).thrown = Some(Box::new(error)) };
            return;
        }
        // SAFETY: the scratch coroutine runs no code and gets back what it had; the tasklet is suspended.
        // Without memory for the error, the one that was made beforehand is raised.
        unsafe {
            let L = self.scratch;
            let pushed = crate::luau::protect(L, |L| {
                self.push_thrown(L, &error);
                self.deliver(id, L, -1, Slot::Error);
            });
            if pushed.is_err() {
                self.push_constant(L, ErrorKind::Memory);
                self.deliver(id, L, -1, Slot::Error);
                lua_settop(L, -2);
            }
        }
    }

    /// Writes the value at `index` to where a suspended Rust tasklet expects one; nothing happens if it
    /// expects none, or one of another type. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state with a value at `index`; the tasklet's innermost frame is Rust's and suspended.
    pub(crate) unsafe fn deliver_value(&self, id: TaskletId, L: *mut lua_State, index: std::ffi::c_int) {
        let native = self.scheduler().tasklets[id].native;
        // SAFETY: the caller's; an exchange points into the frame's stack.
        unsafe {
            if let Exchange::Value(place, carrier) = (*native).exchange
                && carrier.reaches_luau()
            {
                let _ = carrier.take(self, L, index, place);
            }
        }
    }
}
