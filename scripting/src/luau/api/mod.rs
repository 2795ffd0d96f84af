//! What scripts see: `scheduler`, tasklets, channels, and the protected calls.

mod bounded;
mod channel;
mod debug;
mod fields;
mod protected;
mod queue;
mod scheduler;
mod select;
mod tasklet;
mod transfer;

use super::ffi::*;
use super::machine::Machine;
use super::value::raise;
use crate::scheduler::{Error, ErrorKind, Link, Tasklet, TaskletId, Turn};
use std::ffi::{CStr, c_int};

pub(super) use queue::new as new_queue;
pub(super) use select::{select, select_goes_on};

/// Puts everything into the globals. `[-0, +0]`
///
/// # Safety
/// `L` is the live main state with its machine, below a protected call.
pub(super) unsafe fn install(L: *mut lua_State) -> Result<(), Error> {
    // SAFETY: each part leaves the stack as it was, but for the library table it is given.
    unsafe {
        let machine = Machine::of(L);
        tasklet::install(L, machine)?;
        channel::install(L, machine)?;
        protected::install(L);
        debug::install(L);
        bounded::install(L);
        // With these a script could reach the globals of another one's functions, and of whatever
        // runs next on the same coroutine.
        for name in [c"getfenv", c"setfenv", c"loadstring"] {
            lua_pushnil(L);
            lua_setglobal(L, name.as_ptr());
        }
        super::coroutine::install(L);
        lua_setglobal(L, c"coroutine".as_ptr());
        scheduler::install(L);
        for name in [c"tasklet", c"channel"] {
            lua_getglobal(L, c"scheduler".as_ptr());
            lua_rawgetfield(L, -1, name.as_ptr());
            lua_setglobal(L, name.as_ptr());
            lua_settop(L, -2);
        }
    }
    Ok(())
}

/// Sets `name` in the table on top of the stack to a C function. `[-0, +0]`
unsafe fn set_function(L: *mut lua_State, name: &CStr, f: lua_CFunction) {
    // SAFETY: called by `install` functions with a table on top.
    unsafe {
        lua_pushcfunctiond(L, f, name.as_ptr());
        lua_rawsetfield(L, -2, name.as_ptr());
    }
}

/// Gives the names of methods numbers in a row; the result is the first one's.
fn intern_methods(machine: &Machine, methods: &[(&CStr, lua_CFunction)]) -> Result<i16, Error> {
    let mut numbers = Vec::new();
    for (name, _) in methods {
        numbers.push(machine.intern(&name.to_string_lossy())?);
    }
    let first = numbers.first().copied().unwrap_or_default();
    debug_assert!(numbers.iter().zip(first..).all(|(&number, expected)| number == expected));
    Ok(first)
}

/// Raises that a handle has no such method, and names those that it has.
unsafe fn no_method(L: *mut lua_State, what: &str, methods: &[(&CStr, lua_CFunction)]) -> ! {
    // SAFETY: called from a `__namecall` function of the VM.
    unsafe {
        let name = CStr::from_ptr(lua_namecallatom(L, std::ptr::null_mut())).to_string_lossy();
        let names: Vec<_> = methods.iter().map(|(name, _)| name.to_string_lossy()).collect();
        let text = format!("a {what} has no method '{name}'; it has {}", names.join(", "));
        drop((name, names));
        raise(L, ErrorKind::Type, text)
    }
}

/// Ends a C function whose slot is on top of the stack: the slot is its result, now or later.
///
/// # Safety
/// Called last in a C function of the running tasklet, which can block.
#[inline]
unsafe fn end_turn(machine: &Machine, L: *mut lua_State, me: Link<Tasklet>, turn: Turn) -> c_int {
    match turn {
        Turn::Keep => 1,
        // SAFETY: the caller's.
        Turn::Switch => unsafe { machine.suspend(L, me) },
    }
}

/// Raises why the scheduler refused `verb` on `whom`.
#[cold]
unsafe fn refuse(L: *mut lua_State, kind: ErrorKind, verb: &str, whom: TaskletId) -> ! {
    // SAFETY: called from a C function.
    unsafe {
        let text = Machine::of(L).scheduler().refusal(kind, verb, whom).message;
        raise(L, kind, text)
    }
}

/// Calls its first argument with the others. Unlike a C function with a continuation, it keeps what it
/// calls from suspending.
unsafe extern "C-unwind" fn call_without_suspending(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM with a function.
    unsafe {
        luaL_checkany(L, 1);
        lua_call(L, lua_gettop(L) - 1, 0);
        0
    }
}

/// Makes room for `n` values on a coroutine's stack, and for an error above them; raises in `L`, and
/// not in the coroutine, if there is none.
///
/// # Safety
/// `L` is a live state below a protected call, `thread` a coroutine that doesn't run.
pub(super) unsafe fn check_room(L: *mut lua_State, thread: *mut lua_State, n: c_int) {
    // SAFETY: the caller's.
    unsafe {
        if lua_checkstack(thread, n + 2) == 0 {
            raise(L, ErrorKind::Memory, format!("there is no room for {n} arguments"));
        }
    }
}

/// Raises if the calling place can't suspend, or belongs to no running tasklet. To be called before
/// anything is changed by an operation that switches.
#[inline]
unsafe fn check_can_switch(machine: &Machine, L: *mut lua_State, verb: &str) {
    // SAFETY: called from a C function.
    unsafe {
        check_running(machine, L, verb);
        if machine.body.get().is_null() || !machine.can_block(L) {
            refuse_to_switch(machine, L, verb);
        }
    }
}

#[cold]
unsafe fn refuse_to_switch(machine: &Machine, L: *mut lua_State, verb: &str) -> ! {
    // SAFETY: as `check_can_switch`.
    unsafe {
        if machine.body.get().is_null() {
            outside(L, verb);
        }
        let place = super::coroutine::boundary_name(L);
        raise(
            L,
            ErrorKind::Boundary,
            format!(
                "{verb} would switch, but the VM can't suspend inside {place}; do it outside of that call"
            ),
        );
    }
}

/// Raises unless the running tasklet may wait here, for what is named by the text at index 1.
///
/// # Safety
/// Called from a C function.
pub(super) unsafe fn check_may_block(L: *mut lua_State) -> c_int {
    // SAFETY: the caller's. The text stays on the stack.
    unsafe {
        let machine = Machine::of(L);
        let verb =
            super::value::to_bytes(L, 1).and_then(|verb| std::str::from_utf8(verb).ok()).unwrap_or("wait");
        check_can_switch(machine, L, verb);
        let scheduler = machine.scheduler();
        let me = scheduler.current();
        if scheduler.tasklets[me].flags.block_trap {
            refuse(L, ErrorKind::BlockTrap, verb, me);
        }
        if scheduler.switch_trap() != 0 {
            refuse(L, ErrorKind::SwitchTrap, verb, me);
        }
        0
    }
}

/// Raises unless a tasklet runs that may use queues: not in a scheduler callback, nor in a function
/// that the host has called between two frames.
#[inline]
unsafe fn check_running(machine: &Machine, L: *mut lua_State, verb: &str) {
    // SAFETY: called from a C function.
    unsafe {
        let scheduler = machine.scheduler();
        if scheduler.in_callback || machine.running.get() != scheduler.current() {
            refuse_outside(machine, L, verb);
        }
    }
}

#[cold]
unsafe fn refuse_outside(machine: &Machine, L: *mut lua_State, verb: &str) -> ! {
    // SAFETY: as `check_running`.
    unsafe {
        if machine.scheduler().in_callback {
            refuse(L, ErrorKind::Callback, verb, machine.scheduler().current());
        }
        outside(L, verb);
    }
}

/// Raises that no tasklet runs.
unsafe fn outside(L: *mut lua_State, verb: &str) -> ! {
    // SAFETY: called from a C function.
    unsafe {
        raise(
            L,
            ErrorKind::Boundary,
            format!(
                "{verb} is only possible in a tasklet; the top level of a script, and a function that \
                 the host calls between two frames, are none"
            ),
        )
    }
}

/// The number at `index` as a whole number; raises if it is something else.
unsafe fn check_int(L: *mut lua_State, index: c_int, what: &str) -> i64 {
    // SAFETY: called from a C function.
    unsafe {
        let number = lua_tonumber(L, index);
        if lua_type(L, index) != LUA_TNUMBER || number.fract() != 0.0 || number.abs() > 1e15 {
            wrong_type(L, index, what, "a whole number");
        }
        number as i64
    }
}

/// The boolean at `index`; raises if it is something else.
unsafe fn check_bool(L: *mut lua_State, index: c_int, what: &str) -> bool {
    // SAFETY: called from a C function.
    unsafe {
        if lua_type(L, index) != LUA_TBOOLEAN {
            wrong_type(L, index, what, "a boolean");
        }
        lua_toboolean(L, index) != 0
    }
}

/// Raises that `what` should have been `expected`.
unsafe fn wrong_type(L: *mut lua_State, index: c_int, what: &str, expected: &str) -> ! {
    // SAFETY: called from a C function.
    unsafe {
        let got = if lua_type(L, index) == LUA_TNONE {
            "nothing".into()
        } else {
            CStr::from_ptr(luaL_typename(L, index)).to_string_lossy()
        };
        raise(L, ErrorKind::Type, format!("{what}: expected {expected}, got {got}"))
    }
}
