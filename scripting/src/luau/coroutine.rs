//! The library `coroutine` of scripts, made so that a tasklet can block inside any of them.
//!
//! A blocked coroutine breaks (`lua_break`): the break goes out through every `resume` on the way,
//! each of which breaks its own coroutine, until it reaches the loop. The loop resumes the innermost
//! one; when that yields, ends or fails, the next one out goes on in the continuation of its
//! `resume`. To the script a blocked coroutine is `normal`, so it cannot be resumed or closed.

use super::ffi::*;
use super::machine::Machine;
use super::value::{push_str, raise};
use crate::scheduler::ErrorKind;
use std::ffi::{c_char, c_int};

/// Puts the library into the table on top of the stack. `[-0, +0]`
///
/// # Safety
/// `L` is a live state below a protected call.
pub(super) unsafe fn install(L: *mut lua_State) {
    // SAFETY: balanced pushes and pops on a live state.
    unsafe {
        lua_createtable(L, 0, 8);
        for (name, f, continuation) in [
            (c"create", create as lua_CFunction, None),
            (c"resume", resume, Some(resume_goes_on as lua_Continuation)),
            (c"wrap", wrap, None),
            (c"yield", yield_, None),
            (c"running", running, None),
            (c"status", status, None),
            (c"isyieldable", isyieldable, None),
            (c"close", close, None),
        ] {
            lua_pushcclosurek(L, f, name.as_ptr(), 0, continuation);
            lua_rawsetfield(L, -2, name.as_ptr());
        }
    }
}

/// The coroutine at `index`; raises if it is something else.
unsafe fn check_thread(L: *mut lua_State, index: c_int) -> *mut lua_State {
    // SAFETY: called from a C function with its state.
    unsafe {
        let co = lua_tothread(L, index);
        if co.is_null() {
            luaL_typeerror(L, index, c"thread".as_ptr());
        }
        co
    }
}

unsafe extern "C-unwind" fn create(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM; the new coroutine is on the stack while it is filled.
    unsafe {
        luaL_checktype(L, 1, LUA_TFUNCTION);
        let co = lua_newthread(L);
        lua_xpush(L, co, 1);
        1
    }
}

unsafe extern "C-unwind" fn wrap(L: *mut lua_State) -> c_int {
    // SAFETY: as `create`; the coroutine becomes the closure's only upvalue.
    unsafe {
        create(L);
        lua_pushcclosurek(L, wrapped, c"wrap".as_ptr(), 1, Some(wrapped_goes_on));
        1
    }
}

/// What came of resuming a coroutine.
enum Resumed {
    /// So many results are on the resumer's stack.
    Results(c_int),
    /// An error value is on the resumer's stack.
    Failed,
    /// It blocked; the resumer has to break too.
    Blocked,
}

/// Moves the outcome of `co` to `L`. An exit is no outcome for a script: it goes on outward.
unsafe fn outcome(L: *mut lua_State, co: *mut lua_State, status: c_int) -> Resumed {
    // SAFETY: `co` has just stopped running with this status, so its results or its error are on
    // top of its stack; room is asked for before they are moved.
    unsafe {
        match status {
            LUA_OK | LUA_YIELD => {
                let n = lua_gettop(co);
                if lua_checkstack(L, n + 1) == 0 {
                    luaL_error(L, c"too many results to resume".as_ptr());
                }
                lua_xmove(co, L, n);
                Resumed::Results(n)
            }
            LUA_BREAK => Resumed::Blocked,
            _ => {
                lua_rawcheckstack(L, 2);
                lua_xmove(co, L, 1);
                let machine = Machine::of(L);
                machine.restore_budget_error(L);
                if machine.is_memory(L, status) {
                    // What it holds is given back; it stays dead.
                    machine.reset(co);
                    machine.name_memory(L, status);
                }
                if machine.is_final(L, -1) {
                    lua_error(L);
                }
                Resumed::Failed
            }
        }
    }
}

/// Resumes `co` with the `n` values on top of the stack.
unsafe fn enter(L: *mut lua_State, co: *mut lua_State, n: c_int) -> Resumed {
    // SAFETY: `co` is suspended, so it has room after `lua_checkstack`. The note of the resumer is
    // taken back on every way out but a break, on which the loop takes it over.
    unsafe {
        let state = lua_costatus(L, co);
        if state != LUA_COSUS {
            lua_settop(L, -n - 1);
            push_str(L, &format!("cannot resume {} coroutine", status_name(state)));
            return Resumed::Failed;
        }
        if lua_checkstack(co, n + 1) == 0 {
            luaL_error(L, c"too many arguments to resume".as_ptr());
        }
        lua_xmove(L, co, n);
        let machine = Machine::of(L);
        machine.nest().push(L);
        let status = lua_resume_(co, L, n);
        if status != LUA_BREAK {
            machine.nest().pop();
        }
        outcome(L, co, status)
    }
}

unsafe extern "C-unwind" fn resume(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let co = check_thread(L, 1);
        let result = enter(L, co, lua_gettop(L) - 1);
        resume_result(L, result)
    }
}

unsafe extern "C-unwind" fn resume_goes_on(L: *mut lua_State, _status: c_int) -> c_int {
    // SAFETY: the loop goes on with this coroutine when the one at index 1 has stopped.
    unsafe {
        let co = lua_tothread(L, 1);
        let result = outcome(L, co, lua_status(co));
        resume_result(L, result)
    }
}

unsafe fn resume_result(L: *mut lua_State, result: Resumed) -> c_int {
    // SAFETY: `outcome` left room for one more value.
    unsafe {
        let (ok, n) = match result {
            Resumed::Results(n) => (1, n),
            Resumed::Failed => (0, 1),
            Resumed::Blocked => return lua_break(L),
        };
        lua_pushboolean(L, ok);
        lua_insert(L, -n - 1);
        n + 1
    }
}

unsafe extern "C-unwind" fn wrapped(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM; the upvalue is the coroutine.
    unsafe {
        let co = lua_tothread(L, lua_upvalueindex(1));
        let result = enter(L, co, lua_gettop(L));
        wrapped_result(L, result)
    }
}

unsafe extern "C-unwind" fn wrapped_goes_on(L: *mut lua_State, _status: c_int) -> c_int {
    // SAFETY: as `resume_goes_on`.
    unsafe {
        let co = lua_tothread(L, lua_upvalueindex(1));
        let result = outcome(L, co, lua_status(co));
        wrapped_result(L, result)
    }
}

unsafe fn wrapped_result(L: *mut lua_State, result: Resumed) -> c_int {
    // SAFETY: a failed outcome left one value on the stack.
    unsafe {
        match result {
            Resumed::Results(n) => n,
            Resumed::Blocked => lua_break(L),
            Resumed::Failed => {
                if matches!(lua_type(L, -1), LUA_TSTRING | LUA_TNUMBER) {
                    luaL_where(L, 1);
                    lua_insert(L, -2);
                    lua_concat(L, 2);
                }
                lua_error(L)
            }
        }
    }
}

unsafe extern "C-unwind" fn yield_(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        if Machine::of(L).is_body(L) {
            raise(
                L,
                ErrorKind::Boundary,
                "coroutine.yield in a tasklet's own body would give control to nobody; \
                 use scheduler.schedule() to let others run, or synchro.yield() to wait for the next frame",
            );
        }
        lua_yield(L, lua_gettop(L))
    }
}

unsafe extern "C-unwind" fn running(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        // A script that holds the coroutine of a body could confuse it with a later tasklet's.
        Machine::of(L).expose(L);
        if lua_pushthread(L) != 0 {
            lua_pushnil(L);
        }
        1
    }
}

fn status_name(state: c_int) -> &'static str {
    match state {
        LUA_CORUN => "running",
        LUA_COSUS => "suspended",
        LUA_CONOR => "normal",
        _ => "dead",
    }
}

unsafe extern "C-unwind" fn status(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let co = check_thread(L, 1);
        push_str(L, status_name(lua_costatus(L, co)));
        1
    }
}

unsafe extern "C-unwind" fn isyieldable(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let yieldable = lua_isyieldable(L) != 0 && !Machine::of(L).is_body(L);
        lua_pushboolean(L, c_int::from(yieldable));
        1
    }
}

unsafe extern "C-unwind" fn close(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM; only a coroutine that does not run is reset.
    unsafe {
        let co = check_thread(L, 1);
        // A body that has failed holds its error until its tasklet has ended.
        let state = if Machine::of(L).is_body(co) { LUA_CORUN } else { lua_costatus(L, co) };
        if !matches!(state, LUA_COFIN | LUA_COERR | LUA_COSUS) {
            luaL_where(L, 1);
            push_str(L, &format!("cannot close {} coroutine", status_name(state)));
            lua_concat(L, 2);
            lua_error(L);
        }
        let failed = state == LUA_COERR;
        lua_pushboolean(L, c_int::from(!failed));
        if failed && lua_gettop(co) > 0 {
            lua_rawcheckstack(L, 1);
            lua_xmove(co, L, 1);
        }
        Machine::of(L).reset(co);
        lua_gettop(L) - 1
    }
}

/// C functions in which what they call may suspend.
const SUSPENDABLE: [&str; 8] =
    ["pcall", "xpcall", "atomic", "timer", "resume", "wrap", "send_sequence", "__namecall"];

/// Names the place that keeps the running tasklet from suspending, for errors: that of the innermost
/// coroutine that can't, and in it the nearest C function that is to blame.
///
/// # Safety
/// `L` is the state of a running coroutine, in a C function.
pub(super) unsafe fn boundary_name(L: *mut lua_State) -> String {
    // SAFETY: `lua_getinfo` fills `debug` for each level that it reports; its strings live as long
    // as the functions on the stack.
    unsafe {
        let machine = Machine::of(L);
        let outward = std::iter::once(L).chain(machine.nest().iter().rev().copied());
        let stuck = outward.into_iter().find(|&co| lua_isyieldable(co) == 0).unwrap_or(L);
        let mut debug: lua_Debug = std::mem::zeroed();
        let mut innermost = None;
        for level in i32::from(stuck == L).. {
            if lua_getinfo(stuck, level, c"sn".as_ptr(), &mut debug) == 0 {
                break;
            }
            let name = text(debug.name);
            match (text(debug.what).as_deref(), name) {
                (Some("C"), Some(name)) if SUSPENDABLE.contains(&name.as_str()) => {}
                (Some("C"), Some(name)) => return format!("the callback of '{name}'"),
                (_, name) => innermost = innermost.or(name),
            }
        }
        if stuck == machine.helper {
            return "a deferred function, an error handler or a callback of the scheduler".into();
        }
        if stuck == lua_mainthread(L) {
            return "the top level of a script, or a function that the host calls".into();
        }
        match innermost {
            Some(name) => format!("a metamethod (in '{name}')"),
            None => "a metamethod".into(),
        }
    }
}

/// A copy of a C string that may be missing.
unsafe fn text(s: *const c_char) -> Option<String> {
    // SAFETY: the VM's debug strings end with a zero.
    (!s.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(s) }.to_string_lossy().into_owned())
}
