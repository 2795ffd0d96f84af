//! Tasklets as scripts see them: handles.

use super::super::ffi::*;
use super::super::machine::{Dropped, Machine};
use super::super::state;
use super::super::value::{push_str, raise};
use super::fields::{self, FIELDS};
use super::{
    call_without_suspending, check_bool, check_can_switch, check_room, end_turn, refuse, set_function,
    wrong_type,
};
use crate::scheduler::{Deferred, Error, ErrorKind, Handle, Life, Link, Place, Slot, Tasklet, TaskletId};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

const METHODS: [(&CStr, lua_CFunction); 13] = [
    (c"setup", setup),
    (c"bind", bind),
    (c"insert", insert),
    (c"remove", remove),
    (c"run", run),
    (c"switch", switch),
    (c"kill", kill),
    (c"throw", throw),
    (c"raise_exception", raise_exception),
    (c"set_atomic", set_atomic),
    (c"set_ignore_nesting", set_ignore_nesting),
    (c"retry", retry),
    (c"restart", restart),
];

/// Makes the type of handles. `[-0, +0]`
///
/// # Safety
/// `L` is a live state with its machine, below a protected call.
pub(super) unsafe fn install(L: *mut lua_State, machine: &Machine) -> Result<(), Error> {
    for (index, name) in FIELDS.iter().enumerate() {
        // The first names of a machine get the first numbers.
        let atom = machine.intern(name)?;
        debug_assert_eq!(atom as usize, index);
    }
    // SAFETY: balanced pushes and pops; the destructor is set before any handle exists.
    unsafe {
        machine.tasklet_atom.set(super::intern_methods(machine, &METHODS)?);
        lua_createtable(L, 0, METHODS.len() as c_int);
        for (name, f) in METHODS {
            set_function(L, name, f);
        }
        lua_setreadonly(L, -1, 1);
        machine.anchors().set(machine.constants.tasklet_methods, L, -1);
        lua_createtable(L, 0, 8);
        lua_pushcclosurek(L, namecall, c"__namecall".as_ptr(), 0, Some(namecall_goes_on));
        lua_rawsetfield(L, -2, c"__namecall".as_ptr());
        lua_pushvalue(L, -2);
        lua_pushcclosurek(L, fields::index, c"__index".as_ptr(), 1, None);
        lua_rawsetfield(L, -2, c"__index".as_ptr());
        set_function(L, c"__newindex", fields::newindex);
        set_function(L, c"__call", setup);
        set_function(L, c"__tostring", tostring);
        push_str(L, "tasklet");
        lua_rawsetfield(L, -2, c"__type".as_ptr());
        push_str(L, "The metatable is locked");
        lua_rawsetfield(L, -2, c"__metatable".as_ptr());
        lua_setreadonly(L, -1, 1);
        lua_setuserdatametatable(L, machine.tasklet_tag);
        lua_setuserdatadtor(L, machine.tasklet_tag, Some(forget));
        lua_settop(L, -2);
    }
    Ok(())
}

/// Called by the collector for a handle that nobody holds.
unsafe extern "C" fn forget(L: *mut lua_State, data: *mut c_void) {
    // SAFETY: the data of a handle is an id. The list is borrowed by nobody who allocates.
    unsafe {
        let id = *data.cast::<TaskletId>();
        Machine::of(L).note_dropped(Dropped::Tasklet(id));
    }
}

impl Machine {
    /// Pushes the handle of a tasklet, or nil if it is gone. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call.
    pub(crate) unsafe fn push_tasklet(&self, L: *mut lua_State, id: TaskletId) {
        // SAFETY: the handle is on the stack when the shelf keeps it.
        unsafe {
            let Some(tasklet) = self.scheduler().tasklets.get(id) else {
                lua_pushnil(L);
                return;
            };
            match tasklet.handle {
                Some(handle) => state::push_handle(self, L, handle),
                None => {
                    let data = self.push_new_handle(L);
                    data.write(id);
                    let tasklet = &mut self.scheduler().tasklets[id];
                    tasklet.holders += 1;
                    if tasklet.alive() {
                        self.keep_handle(L, -1, id);
                    }
                }
            }
        }
    }

    /// Pushes the handle of a tasklet that is in a queue. `[-0, +1]`
    ///
    /// # Safety
    /// As [`push_tasklet`](Self::push_tasklet).
    #[inline]
    pub(super) unsafe fn push_current(&self, L: *mut lua_State, link: Link<Tasklet>) {
        // SAFETY: the caller's.
        unsafe {
            match self.scheduler().member(link).handle {
                Some(handle) => state::push_handle(self, L, handle),
                None => self.push_tasklet(L, self.scheduler().id(link)),
            }
        }
    }

    /// Pushes a handle of no tasklet yet; the caller writes the tasklet's id before it does anything
    /// else. `[-0, +1]`
    unsafe fn push_new_handle(&self, L: *mut lua_State) -> *mut TaskletId {
        // SAFETY: the type was installed with the machine; a null id is nobody's.
        unsafe {
            let data = lua_newuserdatataggedwithmetatable(L, size_of::<TaskletId>(), self.tasklet_tag)
                .cast::<TaskletId>();
            data.write(TaskletId::default());
            data
        }
    }

    /// The handle lives as long as the tasklet does.
    unsafe fn keep_handle(&self, L: *mut lua_State, index: c_int, id: TaskletId) {
        // SAFETY: as `push_tasklet`.
        unsafe {
            if self.scheduler().tasklets[id].handle.is_none() {
                let Some(data) = NonNull::new(lua_touserdata(L, index).cast()) else { return };
                let anchor = self.anchors().keep(L, index);
                self.scheduler().tasklets[id].handle = Some(Handle { anchor, data });
            }
        }
    }
}

impl Machine {
    /// The tasklet whose handle is at `index`, if one is there.
    ///
    /// # Safety
    /// `L` is a live state.
    pub(crate) unsafe fn tasklet_at(&self, L: *mut lua_State, index: c_int) -> Option<TaskletId> {
        // SAFETY: only handles bear the tag.
        unsafe { lua_touserdatatagged(L, index, self.tasklet_tag).cast::<TaskletId>().as_ref().copied() }
    }

    /// Writes the value at `index` to the slot of a tasklet, if that takes one. The slot of a running, an
    /// unstarted or a sending tasklet is not for others to write. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state with a value at `index`.
    pub(crate) unsafe fn write_tempval(&self, id: TaskletId, L: *mut lua_State, index: c_int) {
        let tasklet = &self.scheduler().tasklets[id];
        let sends = matches!(tasklet.place, Place::Channel(crate::scheduler::Direction::Send));
        if tasklet.life == Life::Started && id != self.running.get() && tasklet.slot == Slot::Value && !sends
        {
            // SAFETY: the caller's; the tasklet is suspended.
            unsafe { self.deliver(id, L, index, Slot::Value) }
        }
    }

    /// Takes function and frame from a tasklet that is in no queue, for Rust.
    pub(crate) fn unbind_from_rust(&self, id: TaskletId) -> Result<(), Error> {
        let vm = self.vm().ok_or_else(Self::gone)?;
        // SAFETY: below a protected call; the tasklet is suspended.
        self.on_main_stack(|| vm.with_state(|L| unsafe { self.unbind(L, id) }))?;
        match self.scheduler().tasklets[id].alive() {
            true => Err(self.scheduler().refusal(ErrorKind::Alive, "bind", id)),
            false => Ok(()),
        }
    }
}

/// The tasklet whose handle is at `index`; raises if it is something else.
pub(super) unsafe fn check(L: *mut lua_State, index: c_int, verb: &str) -> TaskletId {
    // SAFETY: called from a C function; only handles bear the tag.
    unsafe {
        let data = lua_touserdatatagged(L, index, Machine::of(L).tasklet_tag);
        if data.is_null() {
            wrong_type(L, index, verb, "a tasklet (call it with a colon)");
        }
        *data.cast::<TaskletId>()
    }
}

/// The tasklet whose handle is at `index`, if the running script may do this to it; raises otherwise.
pub(super) unsafe fn check_may(L: *mut lua_State, index: c_int, verb: &str) -> TaskletId {
    // SAFETY: as above; nothing is alive here that owns something.
    unsafe {
        let id = check(L, index, verb);
        Machine::of(L).ask_guard(L, Some(id), verb);
        id
    }
}

/// `scheduler.tasklet(f?)`.
pub(super) unsafe extern "C-unwind" fn new(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        lua_settop(L, 1);
        if !matches!(lua_type(L, 1), LUA_TNIL | LUA_TFUNCTION) {
            wrong_type(L, 1, "tasklet", "a function or nothing");
        }
        let machine = Machine::of(L);
        machine.tidy_at_times();
        // The handle comes first: without memory for it, nothing has been made.
        let data = machine.push_new_handle(L);
        let scheduler = machine.scheduler();
        let owner = scheduler.tasklets.get(machine.running.get()).map(|t| t.owner).unwrap_or_default();
        let id = scheduler.create(owner);
        data.write(id);
        scheduler.tasklets[id].holders += 1;
        if lua_type(L, 1) == LUA_TFUNCTION {
            give_function(L, machine, id, 1);
        }
        machine.inherit_storage(L, id);
        if machine.accounting.is_on() {
            let place = super::super::traceback::place(L, 1);
            let place = place.trim_end_matches([':', ' ']);
            machine.scheduler().tasklets[id].details_mut().callsite = Some(place.into());
        }
        1
    }
}

impl Machine {
    /// The running tasklet stores something.
    pub(crate) fn stores(&self) -> bool {
        let running = self.scheduler().tasklets.get(self.running.get());
        running
            .is_some_and(|running| running.details.as_ref().is_some_and(|details| details.storage.is_some()))
    }

    /// Gives a new tasklet a copy of what its creator, the running one, stores (`semantics.md` 5.20). `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state with room for two values, below a protected call.
    pub(crate) unsafe fn inherit_storage(&self, L: *mut lua_State, id: TaskletId) {
        // SAFETY: storage is a table.
        unsafe {
            let creator = self.scheduler().tasklets.get(self.running.get());
            if let Some(storage) = creator.and_then(|creator| creator.details.as_ref()?.storage) {
                self.anchors().push(storage, L);
                lua_clonetable(L, -1);
                let copy = self.anchors().keep(L, -1);
                self.scheduler().tasklets[id].details_mut().storage = Some(copy);
                lua_settop(L, -3);
            }
        }
    }

    /// Notes where the running tasklet has called what makes a new one, if time is measured.
    ///
    /// # Safety
    /// The VM is alive.
    pub(crate) unsafe fn note_callsite(&self, id: TaskletId) {
        let creator = self.scheduler().tasklets.get(self.running.get()).map(|creator| creator.thread);
        if let Some(thread) = creator.filter(|thread| self.accounting.is_on() && !thread.is_null()) {
            // SAFETY: the coroutine runs what has called; nothing is left on it.
            let place = unsafe { super::super::traceback::place(thread, 1) };
            let place = place.trim_end_matches([':', ' ']);
            self.scheduler().tasklets[id].details_mut().callsite = Some(place.into());
        }
    }

    /// Pushes the table in which a tasklet stores what is its own. `[-0, +1]`
    ///
    /// # Safety
    /// As [`inherit_storage`](Self::inherit_storage); the tasklet exists.
    pub(crate) unsafe fn push_storage(&self, L: *mut lua_State, id: TaskletId) {
        // SAFETY: the caller's.
        unsafe {
            match self.scheduler().tasklets[id].details.as_ref().and_then(|details| details.storage) {
                Some(storage) => self.anchors().push(storage, L),
                None => {
                    lua_createtable(L, 0, 0);
                    let storage = self.anchors().keep(L, -1);
                    self.scheduler().tasklets[id].details_mut().storage = Some(storage);
                }
            }
        }
    }
}

/// Gives the tasklet the function at `index`, in place of any it had.
unsafe fn give_function(L: *mut lua_State, machine: &Machine, id: TaskletId, index: c_int) {
    // SAFETY: called from a C function; a tasklet that is only bound has nothing but its function on
    // its body's stack.
    unsafe {
        if machine.scheduler().tasklets[id].thread.is_null() {
            // It may have had a Rust body that never ran.
            machine.release_body(id);
            let (thread, body) = machine.new_body(L);
            let tasklet = &mut machine.scheduler().tasklets[id];
            tasklet.thread = thread;
            tasklet.body = Some(body);
            lua_setmemcat(thread, tasklet.category.into());
        }
        let tasklet = &mut machine.scheduler().tasklets[id];
        lua_settop(tasklet.thread, 0);
        lua_xpush(L, tasklet.thread, index);
        tasklet.life = Life::Bound;
    }
}

/// Gives a bound tasklet the `n` arguments on top of the stack: it is alive, and paused.
unsafe fn give_arguments(L: *mut lua_State, machine: &Machine, id: TaskletId, n: c_int) {
    // SAFETY: as `give_function`; the handle is at index 1.
    unsafe {
        let thread = machine.scheduler().tasklets[id].thread;
        if thread.is_null() {
            if n > 0 {
                raise(
                    L,
                    ErrorKind::Type,
                    "setup: the function of this tasklet is Rust's and takes no arguments",
                );
            }
            machine.keep_handle(L, 1, id);
        } else {
            check_room(L, thread, n);
            machine.keep_handle(L, 1, id);
            lua_xmove(L, thread, n);
        }
        let tasklet = &mut machine.scheduler().tasklets[id];
        tasklet.arguments = n as u32;
        tasklet.slot = Slot::Value;
        tasklet.life = Life::Ready;
        tasklet.switches = 0;
        machine.scheduler().enlist(id);
    }
}

/// `t:method(...)`: the method is called in place of this function, on the same stack.
unsafe extern "C-unwind" fn namecall(L: *mut lua_State) -> c_int {
    // SAFETY: the VM calls this with a handle and the arguments.
    unsafe {
        let mut atom = -1;
        lua_namecallatom(L, &mut atom);
        let method = atom - c_int::from(Machine::of(L).tasklet_atom.get());
        match usize::try_from(method).ok().and_then(|method| METHODS.get(method)) {
            Some((_, method)) => method(L),
            // A field that the script has set itself may be a function.
            None => call_field(L),
        }
    }
}

/// Calls the function that a script has set as a field of the tasklet, which may suspend.
unsafe fn call_field(L: *mut lua_State) -> c_int {
    // SAFETY: called from `namecall`, which has a continuation. A mark goes below the function, to
    // tell the continuation that what is above it are results.
    unsafe {
        check(L, 1, "call");
        luaL_checkstack(L, 3, std::ptr::null());
        if !fields::push_fields(L) {
            super::no_method(L, "tasklet", &METHODS);
        }
        lua_rawgetfield(L, -1, lua_namecallatom(L, std::ptr::null_mut()));
        lua_remove(L, -2);
        if lua_type(L, -1) != LUA_TFUNCTION {
            super::no_method(L, "tasklet", &METHODS);
        }
        lua_insert(L, 1);
        lua_pushlightuserdata(L, std::ptr::null_mut());
        lua_insert(L, 1);
        lua_callyieldable(L, lua_gettop(L) - 2, LUA_MULTRET)
    }
}

/// A method that has suspended goes on: what was delivered is on top. Or a field's function is through.
unsafe extern "C-unwind" fn namecall_goes_on(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `namecall`; only `call_field` puts a light userdata first.
    unsafe {
        if status != LUA_OK {
            lua_error(L);
        }
        if lua_type(L, 1) == LUA_TLIGHTUSERDATA { lua_gettop(L) - 1 } else { 1 }
    }
}

/// `t(...)`, `t:setup(...)`.
unsafe extern "C-unwind" fn setup(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "setup");
        let machine = Machine::of(L);
        match machine.scheduler().tasklets[id].life {
            Life::Unbound => refuse(L, ErrorKind::Unbound, "setup", id),
            Life::Ready | Life::Started => refuse(L, ErrorKind::Alive, "setup", id),
            Life::Bound => {}
        }
        give_arguments(L, machine, id, lua_gettop(L) - 1);
        if let Err(kind) = machine.scheduler().insert(id) {
            refuse(L, kind, "setup", id);
        }
        lua_settop(L, 1);
        1
    }
}

/// `t:bind(f?, args?)`.
unsafe extern "C-unwind" fn bind(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "bind");
        lua_settop(L, 3);
        if !matches!(lua_type(L, 2), LUA_TNIL | LUA_TFUNCTION) {
            wrong_type(L, 2, "bind", "a function or nil");
        }
        if !matches!(lua_type(L, 3), LUA_TNIL | LUA_TTABLE) {
            wrong_type(L, 3, "bind: arguments", "a table made by table.pack, or nil");
        }
        let machine = Machine::of(L);
        let tasklet = &machine.scheduler().tasklets[id];
        if id == machine.running.get() {
            refuse(L, ErrorKind::Current, "bind", id);
        }
        if tasklet.blocked() {
            refuse(L, ErrorKind::Blocked, "bind", id);
        }
        // A tasklet inside `run` is needed there, and main can't be without its frame.
        let queued = matches!(tasklet.place, Place::Queue | Place::Low);
        if queued || tasklet.flags.running || id == machine.scheduler().main {
            refuse(L, ErrorKind::Alive, "bind", id);
        }
        let keeps_function = lua_type(L, 2) == LUA_TNIL && lua_type(L, 3) == LUA_TTABLE;
        if keeps_function && tasklet.life == Life::Unbound {
            refuse(L, ErrorKind::Unbound, "bind", id);
        }
        // Rust frames can't be dropped but by unwinding them, which a kill does.
        let native = tasklet.life == Life::Started && tasklet.has_native_frames();
        if keeps_function && tasklet.alive() || native {
            refuse(L, ErrorKind::Alive, "bind", id);
        }
        if !keeps_function {
            machine.unbind(L, id);
            // What was deferred may have bound it itself.
            if machine.scheduler().tasklets[id].alive() {
                refuse(L, ErrorKind::Alive, "bind", id);
            }
        }
        if lua_type(L, 2) == LUA_TFUNCTION {
            give_function(L, machine, id, 2);
        }
        if lua_type(L, 3) == LUA_TTABLE {
            lua_rawgetfield(L, 3, c"n".as_ptr());
            let n =
                if lua_type(L, -1) == LUA_TNUMBER { lua_tonumber(L, -1) } else { lua_objlen(L, 3) as f64 };
            if !(0.0..=250.0).contains(&n) {
                wrong_type(L, 3, "bind: arguments", "at most 250 of them");
            }
            let n = n as c_int;
            luaL_checkstack(L, n, std::ptr::null());
            for i in 1..=n {
                lua_rawgeti_(L, 3, i);
            }
            give_arguments(L, machine, id, n);
        }
        lua_settop(L, 1);
        1
    }
}

impl Machine {
    /// Takes function and frame from a tasklet that is in no queue; what it has deferred runs, when
    /// there is nothing left that it could bring back to life. `[-0, +0]`
    unsafe fn unbind(&self, L: *mut lua_State, id: TaskletId) {
        // SAFETY: the tasklet is suspended, so its body may be reset; deferred functions can't block.
        unsafe {
            luaL_checkstack(L, 6, std::ptr::null());
            let observed = self.scheduler().tasklets[id].flags.observed;
            if observed {
                // The handle is the one that others know as long as it is alive.
                self.push_tasklet(L, id);
            } else {
                lua_pushnil(L);
            }
            let details = self.scheduler().tasklets[id].details.as_mut();
            let mut deferred = details.map_or_else(Vec::new, |details| std::mem::take(&mut details.deferred));
            lua_pushcfunctiond(L, call_without_suspending, c"bind".as_ptr());
            match self.scheduler().tasklets[id].details.as_ref().and_then(|details| details.defers) {
                Some(table) => self.anchors().push(table, L),
                None => lua_pushnil(L),
            }
            self.release_body(id);
            self.scheduler().discharge(id);
            if let Some(handle) = self.scheduler().tasklets[id].handle.take() {
                self.anchors().release(handle.anchor);
            }
            while let Some(next) = deferred.pop() {
                if let Deferred::Rust(f) = next {
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err() {
                        tracing::warn!("a deferred function of Rust has panicked");
                    }
                    continue;
                }
                lua_pushvalue(L, -2);
                lua_rawgeti_(L, -2, deferred.len() as c_int + 1);
                if lua_pcall(L, 1, 0, 0) != LUA_OK {
                    lua_settop(L, -2);
                }
            }
            lua_settop(L, -3);
            if observed && let Some(on_end) = self.on_end.get() {
                self.anchors().push(on_end, L);
                lua_pushvalue(L, -2);
                push_str(L, "killed");
                if lua_pcall(L, 2, 0, 0) != LUA_OK {
                    lua_settop(L, -2);
                }
            }
            lua_settop(L, -2);
        }
    }
}

unsafe extern "C-unwind" fn insert(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "insert");
        if let Err(kind) = Machine::of(L).scheduler().insert(id) {
            refuse(L, kind, "insert", id);
        }
        lua_settop(L, 1);
        1
    }
}

unsafe extern "C-unwind" fn remove(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "remove");
        if let Err(kind) = Machine::of(L).scheduler().remove(id) {
            refuse(L, kind, "remove", id);
        }
        lua_settop(L, 1);
        1
    }
}

unsafe extern "C-unwind" fn run(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe { run_or_switch(L, "run", false) }
}

unsafe extern "C-unwind" fn switch(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe { run_or_switch(L, "switch", true) }
}

unsafe fn run_or_switch(L: *mut lua_State, verb: &str, leave: bool) -> c_int {
    // SAFETY: called from a C function.
    unsafe {
        let id = check_may(L, 1, verb);
        let machine = Machine::of(L);
        let me = machine.scheduler().head;
        check_can_switch(machine, L, verb);
        lua_pushnil(L);
        match machine.scheduler().run_tasklet(id, leave) {
            Ok(turn) => end_turn(machine, L, me, turn),
            Err(kind) => refuse(L, kind, verb, id),
        }
    }
}

unsafe extern "C-unwind" fn kill(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "kill");
        let pending = lua_toboolean(L, 2) != 0;
        let machine = Machine::of(L);
        machine.anchors().push(machine.constants.exit, L);
        throw_at(L, "kill", id, pending)
    }
}

unsafe extern "C-unwind" fn throw(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "throw");
        let pending = lua_toboolean(L, 3) != 0;
        if matches!(lua_type(L, 2), LUA_TNIL | LUA_TNONE) {
            wrong_type(L, 2, "throw", "an error value");
        }
        lua_pushvalue(L, 2);
        throw_at(L, "throw", id, pending)
    }
}

unsafe extern "C-unwind" fn raise_exception(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "raise_exception");
        if matches!(lua_type(L, 2), LUA_TNIL | LUA_TNONE) {
            wrong_type(L, 2, "raise_exception", "an error value");
        }
        lua_pushvalue(L, 2);
        throw_at(L, "raise_exception", id, false)
    }
}

/// Raises the error on top of the stack in a tasklet (`semantics.md` 1D).
unsafe fn throw_at(L: *mut lua_State, verb: &str, id: TaskletId, pending: bool) -> c_int {
    // SAFETY: called from a C function; the error is on top of its stack.
    unsafe {
        let machine = Machine::of(L);
        let exits = machine.is_exit(L, -1) || machine.is_token(L, -1);
        let tasklet = &machine.scheduler().tasklets[id];
        let (alive, bodiless) = (tasklet.alive(), machine.is_frameless_host(id));
        let me = machine.running.get();
        if id == me && alive {
            lua_error(L);
        }
        // The main tasklet of a host has no body in which anything could be raised.
        if !alive || bodiless {
            if exits {
                return 0;
            }
            refuse(L, ErrorKind::Dead, verb, id);
        }
        if pending {
            machine.deliver(id, L, -1, Slot::Error);
            machine.scheduler().interrupt_wait(id);
            return 0;
        }
        check_can_switch(machine, L, verb);
        let (me, target) = (machine.scheduler().link(me), machine.scheduler().link(id));
        if let Err(kind) = machine.scheduler().may_switch(me, target) {
            refuse(L, kind, verb, id);
        }
        machine.deliver(id, L, -1, Slot::Error);
        lua_pushnil(L);
        match machine.scheduler().switch(me, target) {
            Ok(turn) => end_turn(machine, L, me, turn),
            Err(kind) => refuse(L, kind, verb, id),
        }
    }
}

unsafe extern "C-unwind" fn set_atomic(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe { set_flag(L, "set_atomic", |flags| &mut flags.atomic) }
}

unsafe extern "C-unwind" fn set_ignore_nesting(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe { set_flag(L, "set_ignore_nesting", |flags| &mut flags.ignore_nesting) }
}

/// `t:retry()`: a parked tasklet goes on from the statement that failed; false if it isn't parked.
unsafe extern "C-unwind" fn retry(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM. What looks into the VM neither runs nor raises anything.
    unsafe {
        let id = check_may(L, 1, "retry");
        let retried = Machine::of(L).vm().is_some_and(|vm| vm.retry(id));
        lua_pushboolean(L, c_int::from(retried));
        1
    }
}

/// `t:restart()`: the tasklet begins anew at the end of the frame.
unsafe extern "C-unwind" fn restart(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check_may(L, 1, "restart");
        let machine = Machine::of(L);
        if !machine.scheduler().tasklets[id].alive() {
            refuse(L, ErrorKind::Dead, "restart", id);
        }
        if !machine.wish_restart(id) {
            raise(L, ErrorKind::Type, "restart: there is no game here in which a tasklet could begin anew");
        }
        0
    }
}

unsafe fn set_flag(
    L: *mut lua_State,
    verb: &str,
    flag: fn(&mut crate::scheduler::Flags) -> &mut bool,
) -> c_int {
    // SAFETY: called from a C function.
    unsafe {
        let id = check_may(L, 1, verb);
        let value = check_bool(L, 2, verb);
        let flag = flag(&mut Machine::of(L).scheduler().tasklets[id].flags);
        let before = std::mem::replace(flag, value);
        lua_pushboolean(L, c_int::from(before));
        1
    }
}

unsafe extern "C-unwind" fn tostring(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let id = check(L, 1, "tostring");
        push_str(L, &Machine::of(L).scheduler().name_of(id));
        1
    }
}
