//! Functions of the host that scripts call, and that may make their caller wait.

use super::anchor::Anchor;
use super::ffi::*;
use super::machine::Machine;
use super::value::to_bytes;
use super::vm::Vm;
use super::{stack, state};
use crate::native::Height;
use crate::scheduler::{Channel, ChannelId, Error, ErrorKind, Link, Overflow, Tasklet, TaskletId, Turn};
use mlua::{FromLua, Function, IntoLua, Value};
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A tasklet's wait for the host. [`Vm::wake`] ends it; a wait that was ended otherwise, by a kill
/// say, can't be confused with a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// Who waits.
    pub tasklet: TaskletId,
    /// Which of its waits this is.
    pub parking: u32,
}

/// What a host function gives back to the script.
#[derive(Debug)]
pub enum Reply {
    /// No value.
    Nothing,
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
    /// Any value.
    Value(Value),
    /// So many values, which were pushed with [`Call::push`].
    Pushed(c_int),
    /// The caller waits; see [`Call::park`].
    Parked(Wait),
}

/// One call of a host function by a script.
pub struct Call<'a> {
    L: *mut lua_State,
    machine: &'a Machine,
    /// The head of the queue when it began: the caller, if that is a tasklet.
    head: Link<Tasklet>,
    /// How many results it has pushed.
    pushed: c_int,
    /// What it is to raise.
    error: Option<Error>,
}

/// How many results a host function may push: a C function has room for 20 values beside its arguments.
const MAX_RESULTS: c_int = 16;

/// A function of the host, as the userdata holds it that is the upvalue of [`call_host`].
struct HostFunction {
    machine: *const Machine,
    /// Returns how many results it has pushed, or one of the below. A [`Reply`] or an [`Error`] that is
    /// handed on through `dyn` and `catch_unwind` would be copied each time, for more than all the rest.
    f: Box<dyn Fn(&mut Call<'_>) -> c_int>,
}

/// The function has parked its caller.
const PARKED: c_int = -1;

/// The function has left an error in its [`Call`].
const FAILED: c_int = -2;

impl Call<'_> {
    /// The tasklet that calls.
    pub fn tasklet(&self) -> TaskletId {
        self.machine.running.get()
    }

    /// The clock that the calling tasklet lives by; see [`Vm::clock`].
    #[inline]
    pub fn clock(&self) -> u16 {
        let scheduler = self.machine.scheduler();
        scheduler.tasklets.get(self.machine.running.get()).map_or(0, |tasklet| tasklet.clock)
    }

    /// Has the calling tasklet live by another clock.
    pub fn set_clock(&mut self, clock: u16) {
        if let Some(tasklet) = self.machine.scheduler().tasklets.get_mut(self.machine.running.get()) {
            tasklet.clock = clock;
        }
    }

    /// The tasklet whose handle is the argument at `index`.
    pub fn tasklet_at(&self, index: c_int, what: &str) -> Result<TaskletId, Error> {
        // SAFETY: `L` is the state of the running call; only handles bear the tag, and their data is an id.
        unsafe {
            let data = lua_touserdatatagged(self.L, index, self.machine.tasklet_tag);
            if data.is_null() {
                return Err(self.wrong_type(index, what, "a tasklet"));
            }
            Ok(*data.cast::<TaskletId>())
        }
    }

    /// Whether the caller could wait here: in a tasklet, without a trap, where the VM can suspend it.
    pub fn can_park(&self) -> bool {
        let scheduler = self.machine.scheduler();
        let me = scheduler.current();
        let Some(tasklet) = scheduler.tasklets.get(me) else { return false };
        let is_host = me == scheduler.main && tasklet.thread.is_null();
        let outside = scheduler.in_callback || self.machine.running.get() != me || is_host;
        !outside
            && !tasklet.flags.block_trap
            && scheduler.switch_trap() == 0
            // SAFETY: `L` is the state of the running call.
            && unsafe { self.machine.can_block(self.L) }
    }

    /// The module whose function calls, in its newest or in an older text; `None` if it is of no module. A function
    /// of the VM between them, such as `pcall`, doesn't count.
    pub fn caller_module(&self) -> Option<String> {
        for level in 1.. {
            // SAFETY: `L` is the state of the running call; `lua_getinfo` fills `debug` if there is such a level.
            let file = unsafe {
                let mut debug: lua_Debug = std::mem::zeroed();
                if lua_getinfo(self.L, level, c"s".as_ptr(), &mut debug) == 0 {
                    return None;
                }
                if CStr::from_ptr(debug.what) == c"C" {
                    continue;
                }
                CStr::from_ptr(debug.short_src).to_string_lossy().into_owned()
            };
            return self.machine.vm()?.module_of_file(&file);
        }
        None
    }

    /// How many arguments there are.
    pub fn len(&self) -> c_int {
        // SAFETY: `L` is the state of the running call.
        unsafe { lua_gettop(self.L) }
    }

    /// There are no arguments.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The argument at `index`, counted from 1, as a number. An error of kind `type` if it is missing
    /// or something else; a number in a string is something else.
    pub fn number(&self, index: c_int, what: &str) -> Result<f64, Error> {
        let number = usize::try_from(index).ok().filter(|&number| number > 0);
        // SAFETY: `L` is the state of the running call.
        let number = number.and_then(|number| unsafe { stack::number_argument(self.L, number) });
        number.ok_or_else(|| self.wrong_type(index, what, "a number"))
    }

    /// Like [`number`](Self::number); `None` if the argument is missing or nil.
    pub fn optional_number(&self, index: c_int, what: &str) -> Result<Option<f64>, Error> {
        // SAFETY: `L` is the state of the running call.
        match unsafe { lua_type(self.L, index) } {
            LUA_TNONE | LUA_TNIL => Ok(None),
            _ => self.number(index, what).map(Some),
        }
    }

    /// The argument at `index` as text; invalid UTF-8 is replaced.
    pub fn text(&self, index: c_int, what: &str) -> Result<String, Error> {
        // SAFETY: the string stays on the stack while it is copied.
        let bytes = unsafe { to_bytes(self.L, index) };
        match bytes {
            Some(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            None => Err(self.wrong_type(index, what, "a string")),
        }
    }

    /// The argument at `index` as anything mlua converts to; nil if it is missing.
    pub fn get<T: FromLua>(&self, index: c_int) -> Result<T, Error> {
        let vm = self.machine.vm().ok_or_else(|| Error::wrong_type("the VM is not ready"))?;
        Ok(vm.lua().exec_raw_lua(|raw| {
            // SAFETY: mlua's own stack has room for one more value, which is popped at once.
            unsafe {
                if lua_type(self.L, index) == LUA_TNONE {
                    return T::from_lua(Value::Nil, vm.lua());
                }
                let _height = Height::of(raw.state());
                lua_xpush(self.L, raw.state(), index);
                raw.pop::<T>()
            }
        })?)
    }

    /// The argument at `index` as the error that it is.
    pub fn error(&self, index: c_int) -> Error {
        // SAFETY: `L` is the state of the running call, which has room.
        unsafe { self.machine.read_thrown(self.L, index) }
    }

    /// Pushes a result, to be counted in [`Reply::Pushed`]; an error when there are 16 already.
    pub fn push(&mut self, value: impl IntoLua) -> Result<(), Error> {
        let vm = self.machine.vm().ok_or_else(|| Error::wrong_type("the VM is not ready"))?;
        if self.pushed == MAX_RESULTS {
            return Err(Error::wrong_type(format!("a host function has at most {MAX_RESULTS} results")));
        }
        let value = value.into_lua(vm.lua())?;
        // SAFETY: mlua pushes to its own stack; the value is moved from there.
        vm.lua().exec_raw_lua(|raw| unsafe {
            raw.push_value(&value)?;
            if raw.state() != self.L {
                lua_xmove(raw.state(), self.L, 1);
            }
            Ok::<_, mlua::Error>(())
        })?;
        self.pushed += 1;
        Ok(())
    }

    /// Takes the calling tasklet out of the run queue until [`Vm::wake`]. The function then has to
    /// return [`Reply::Parked`] with the result. An error, and no change, where the VM can't suspend,
    /// outside of a tasklet, and under the block trap or the switch trap.
    #[inline]
    pub fn park(&mut self, verb: &str) -> Result<Wait, Error> {
        let scheduler = self.machine.scheduler();
        let me = scheduler.head;
        // SAFETY: `L` is the state of the running call.
        if me != self.head || !unsafe { self.machine.is_unhindered(self.L) } {
            self.check_place(verb)?;
        }
        match scheduler.park() {
            Ok(Turn::Switch) => {
                Ok(Wait { tasklet: scheduler.id(me), parking: scheduler.member(me).parkings })
            }
            Ok(Turn::Keep) => Err(Self::outside(verb)),
            Err(kind) => Err(self.refused(verb, kind)),
        }
    }

    /// An error if the caller can't wait where it is.
    #[cold]
    fn check_place(&self, verb: &str) -> Result<(), Error> {
        let scheduler = self.machine.scheduler();
        let me = scheduler.current();
        if scheduler.in_callback
            || self.machine.running.get() != me
            || me == scheduler.main && self.machine.main_is_host()
        {
            return Err(Self::outside(verb));
        }
        // SAFETY: `L` is the state of the running call.
        if unsafe { self.machine.can_block(self.L) } { Ok(()) } else { Err(self.boundary(verb)) }
    }

    #[cold]
    fn outside(verb: &str) -> Error {
        Error::new(
            ErrorKind::Boundary,
            format!(
                "{verb} is only possible in a tasklet; a script's top level, a callback and a function \
                 that the host calls between frames are none"
            ),
        )
    }

    #[cold]
    fn boundary(&self, verb: &str) -> Error {
        // SAFETY: `L` is the state of the running call.
        let place = unsafe { super::coroutine::boundary_name(self.L) };
        Error::new(ErrorKind::Boundary, format!("{verb} would wait, but the VM can't suspend inside {place}"))
    }

    #[cold]
    fn refused(&self, verb: &str, kind: ErrorKind) -> Error {
        let scheduler = self.machine.scheduler();
        let name = scheduler.name_of(scheduler.current());
        let text = match kind {
            ErrorKind::BlockTrap => format!("{verb}: {name} would block, but its block_trap is set"),
            ErrorKind::SwitchTrap => format!("{verb}: the switch trap is set"),
            _ => format!("{verb}: deadlock: nobody is left who could wake {name}"),
        };
        Error::new(kind, text)
    }

    /// Pushes what the function has replied; how many values that are, or how else it ends.
    #[inline(always)]
    fn answer(&mut self, reply: Result<Reply, Error>) -> c_int {
        // SAFETY: a C function has room for a result.
        unsafe {
            match reply {
                Ok(Reply::Parked(_)) => PARKED,
                Ok(Reply::Nothing) => 0,
                Ok(Reply::Number(number)) => {
                    stack::push_number(self.L, number);
                    1
                }
                Ok(Reply::Boolean(truth)) => {
                    stack::push_boolean(self.L, truth);
                    1
                }
                Ok(Reply::Pushed(n)) => n.clamp(0, self.pushed),
                Ok(Reply::Value(value)) => match self.push(value) {
                    Ok(()) => 1,
                    Err(error) => self.fail(error),
                },
                Err(error) => self.fail(error),
            }
        }
    }

    #[cold]
    fn fail(&mut self, error: Error) -> c_int {
        self.error = Some(error);
        FAILED
    }

    /// An error that says which argument was of the wrong type.
    pub fn wrong_type(&self, index: c_int, what: &str, expected: &str) -> Error {
        // SAFETY: the name of a type is a constant of the VM.
        let got = unsafe {
            if lua_type(self.L, index) == LUA_TNONE {
                "nothing".into()
            } else {
                CStr::from_ptr(luaL_typename(self.L, index)).to_string_lossy()
            }
        };
        Error::wrong_type(format!("{what}: expected {expected}, got {got}"))
    }
}

/// A value kept alive for the host, until it is [let go](Vm::release).
#[derive(Debug)]
pub struct Kept(Anchor);

impl Vm {
    /// Makes a function for scripts. What it returns as an error is raised in the caller with its
    /// place; a panic in it becomes an error too.
    pub fn function(
        &self,
        name: &'static CStr,
        f: impl Fn(&mut Call<'_>) -> Result<Reply, Error> + 'static,
    ) -> Result<Function, Error> {
        let f = Box::new(move |call: &mut Call<'_>| {
            let reply = f(call);
            call.answer(reply)
        });
        let mut f = Some(HostFunction { machine: self.machine(), f });
        // SAFETY: the userdata owns the function, and the closure keeps the userdata.
        let function = unsafe {
            self.lua().exec_raw::<Function>((), |L| {
                let data = lua_newuserdatadtor(L, size_of::<HostFunction>(), drop_function);
                if let Some(f) = f.take() {
                    data.cast::<HostFunction>().write(f);
                }
                lua_pushcclosurek(L, call_host, name.as_ptr(), 1, None);
            })?
        };
        Ok(function)
    }

    /// Sets a global table of host functions.
    pub fn library(&self, name: &str, functions: Vec<(&str, Function)>) -> Result<(), Error> {
        let table = self.lua().create_table()?;
        for (name, f) in functions {
            table.raw_set(name, f)?;
        }
        table.set_readonly(true);
        Ok(self.lua().globals().raw_set(name, table)?)
    }

    /// Makes a channel whose `send` never blocks: up to `capacity` values wait in it, and a further one
    /// drops the oldest.
    pub fn new_inbox(&self, capacity: usize) -> Result<(ChannelId, Kept), Error> {
        let mut made = None;
        self.with_state(|L| {
            // SAFETY: below a protected call.
            unsafe {
                let channel = self.machine().push_new_channel(L);
                lua_createtable(L, 0, 0);
                let values = self.machine().anchors().keep(L, -1);
                let handle = self.machine().anchors().keep(L, -2);
                self.machine().scheduler().channels[channel].buffer_in(
                    values,
                    capacity,
                    Overflow::DropOldest,
                );
                made = Some((channel, Kept(handle)));
            }
        })?;
        made.ok_or_else(|| Error::wrong_type("the channel could not be made"))
    }

    /// Sends to an inbox from outside of any tasklet.
    pub fn post(&self, inbox: ChannelId, value: impl IntoLua) -> Result<(), Error> {
        let value = value.into_lua(self.lua())?;
        let link = self.machine().scheduler().channels.link(inbox);
        if link.is_none() {
            return Ok(());
        }
        // SAFETY: protected by mlua, which has pushed the value alone. Nothing of a script runs before the inbox
        // is used, so it is there.
        unsafe {
            self.lua().exec_raw::<()>(value, |L| {
                self.machine().post(L, link);
                lua_settop(L, 0);
            })
        }?;
        Ok(())
    }

    /// Closes an inbox whose owner is gone: whoever waits for a value gets the error.
    pub fn close_inbox(&self, inbox: ChannelId, error: &Error) -> Result<(), Error> {
        let Some(queue) = self.machine().scheduler().channels.get_mut(inbox) else { return Ok(()) };
        queue.closing = true;
        self.with_state(|L| {
            loop {
                let scheduler = self.machine().scheduler();
                let Some(first) = scheduler.channels.get(inbox).map(|queue| queue.first) else { return };
                if first.is_none() {
                    return;
                }
                let receiver = scheduler.waiter_id(first);
                // SAFETY: below a protected call; a receiver is suspended.
                unsafe {
                    super::value::push_error(L, error.kind, &error.message);
                    self.machine().deliver(receiver, L, -1, crate::scheduler::Slot::Error);
                    lua_settop(L, -2);
                }
                self.machine().scheduler().interrupt_wait(receiver);
            }
        })
    }

    /// Keeps a value alive for the machine.
    pub(crate) fn anchor(&self, value: impl IntoLua) -> Result<Anchor, Error> {
        self.keep(value).map(|Kept(anchor)| anchor)
    }

    /// Keeps a value alive that can be pushed again fast.
    pub fn keep(&self, value: impl IntoLua) -> Result<Kept, Error> {
        let value = value.into_lua(self.lua())?;
        let mut kept = None;
        // SAFETY: protected by mlua, which has pushed the value alone.
        unsafe {
            self.lua().exec_raw::<()>(value, |L| {
                kept = Some(Kept(self.machine().anchors().keep(L, -1)));
                lua_settop(L, 0);
            })
        }?;
        kept.ok_or_else(|| Error::wrong_type("the value could not be kept"))
    }

    /// The kept value.
    pub fn kept(&self, kept: &Kept) -> Result<Value, Error> {
        // SAFETY: protected by mlua.
        Ok(unsafe { self.lua().exec_raw::<Value>((), |L| self.machine().anchors().push(kept.0, L)) }?)
    }

    /// Pushes a kept value. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state of this VM with room for one value.
    pub unsafe fn push_kept(&self, L: *mut lua_State, kept: &Kept) {
        // SAFETY: the caller's.
        unsafe { self.machine().anchors().push(kept.0, L) }
    }

    /// Lets a kept value go.
    pub fn release(&self, kept: Kept) {
        // SAFETY: the VM is alive; nobody else has this anchor.
        unsafe { self.machine().anchors().release(kept.0) }
    }
}

unsafe extern "C" fn drop_function(_: *mut lua_State, data: *mut c_void) {
    // SAFETY: the data was written when the userdata was made, and is dropped once.
    unsafe { data.cast::<HostFunction>().drop_in_place() }
}

unsafe extern "C-unwind" fn call_host(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM; its upvalue is the function, whose machine outlives the
    // VM.
    unsafe {
        let function = &*stack::userdata_upvalue(L).cast::<HostFunction>();
        perform(L, &*function.machine, |call| (function.f)(call))
    }
}

/// Does what a host function does, in a C function that is one in another way: the arguments are those of the
/// C function, and what this returns it has to return.
///
/// # Safety
/// Called last in a C function of a VM that [`Vm::new`] has made, whose frame owns nothing: this may raise.
pub unsafe fn host_call(L: *mut lua_State, f: impl FnOnce(&mut Call<'_>) -> Result<Reply, Error>) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        perform(L, Machine::of(L), |call| {
            let reply = f(call);
            call.answer(reply)
        })
    }
}

/// Calls `f`, and ends the C function as it wants.
///
/// # Safety
/// As [`host_call`].
#[inline(always)]
unsafe fn perform(L: *mut lua_State, machine: &Machine, f: impl FnOnce(&mut Call<'_>) -> c_int) -> c_int {
    // SAFETY: the caller's. Nothing but plain data is alive when an error is raised.
    unsafe {
        let head = machine.scheduler().head;
        let mut call = Call { L, machine, head, pushed: 0, error: None };
        let results = match catch_unwind(AssertUnwindSafe(|| f(&mut call))) {
            Ok(results) => results,
            Err(panic) => call.fail(crate::native::panicked(&*panic)),
        };
        if machine.scheduler().head != head {
            if results == PARKED {
                state::push_slot(L);
                return machine.suspend(L, head);
            }
            // It has parked its caller and then returned something else: it has changed its mind.
            machine.scheduler().stay(head);
        } else if results == PARKED {
            let text = "a function of the host returned a wait without parking its caller";
            call.fail(Error::wrong_type(text));
        }
        match call.error.take() {
            Some(error) => machine.raise_error(L, error),
            None => results,
        }
    }
}

impl Machine {
    /// Sends the value on top of the stack to a channel with a buffer: to the first receiver that
    /// waits, or into the buffer. Switches to nobody. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call.
    pub(crate) unsafe fn post(&self, L: *mut lua_State, channel: Link<Channel>) {
        let scheduler = self.scheduler();
        let queue = scheduler.open_channel(channel);
        let Some(buffer) = &queue.buffer else { return };
        let (table, oldest, place, full) =
            (buffer.values, buffer.first, buffer.next, buffer.len() == buffer.capacity);
        let first = queue.first;
        if full
            && buffer.overflow == Overflow::Error
            && let Some(buffer) = &mut scheduler.open_channel(channel).buffer
        {
            buffer.dropped += 1;
            buffer.untold += 1;
            return;
        }
        // SAFETY: a receiver waits with its slot on top of its stack; the buffer is a table. What is
        // full drops its oldest value before it takes one more, so that its table does not grow; if
        // memory runs out for that, it has neither.
        unsafe {
            if !first.is_none() {
                let receiver = scheduler.waiter_id(first);
                scheduler.note_served(first);
                self.deliver(receiver, L, -1, crate::scheduler::Slot::Value);
                self.scheduler().interrupt_wait(receiver);
            } else {
                self.anchors().push(table, L);
                if full {
                    lua_pushnil(L);
                    set_number(L, -2, oldest);
                    if let Some(buffer) = &mut self.scheduler().open_channel(channel).buffer {
                        buffer.first += 1;
                        buffer.dropped += 1;
                    }
                }
                lua_pushvalue(L, -2);
                set_number(L, -2, place);
                lua_settop(L, -2);
                if let Some(buffer) = &mut self.scheduler().open_channel(channel).buffer {
                    buffer.next += 1;
                }
            }
        }
        self.scheduler().messages += 1;
    }

    /// Pushes the oldest value of a buffer; false, and nothing, if there is none. `[-0, +(0|1)]`
    ///
    /// # Safety
    /// As [`post`](Self::post).
    pub(crate) unsafe fn take_buffered(&self, L: *mut lua_State, channel: Link<Channel>) -> bool {
        let Some(buffer) = &mut self.scheduler().open_channel(channel).buffer else { return false };
        if buffer.len() == 0 {
            return false;
        }
        let place = buffer.first;
        let table = buffer.values;
        buffer.first += 1;
        if buffer.len() == 0 {
            (buffer.first, buffer.next) = (1, 1);
        }
        // SAFETY: the buffer is a table; its value at `place` is replaced by nil.
        unsafe {
            self.anchors().push(table, L);
            lua_pushnumber(L, place as f64);
            lua_rawget(L, -2);
            lua_pushnil(L);
            set_number(L, -3, place);
            lua_remove(L, -2);
        }
        true
    }
}

/// `table[number] = value on top`. `[-1, +0]`
unsafe fn set_number(L: *mut lua_State, table: c_int, number: u64) {
    // SAFETY: called with the table at the relative index, below the value.
    unsafe {
        lua_pushnumber(L, number as f64);
        lua_insert(L, -2);
        lua_rawset(L, table - 1);
    }
}
