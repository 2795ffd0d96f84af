//! `pcall` and `xpcall` of scripts: they stop every error but the exit of a tasklet, and the end of one that
//! ran too long.

use super::super::ffi::*;
use super::super::machine::Machine;
use std::ffi::c_int;

/// Replaces the VM's. `[-0, +0]`
///
/// # Safety
/// `L` is a live state below a protected call.
pub(super) unsafe fn install(L: *mut lua_State) {
    // SAFETY: balanced pushes and pops.
    unsafe {
        lua_pushcclosurek(L, pcall, c"pcall".as_ptr(), 0, Some(pcall_ends));
        lua_setglobal(L, c"pcall".as_ptr());
        lua_pushcclosurek(L, xpcall, c"xpcall".as_ptr(), 0, Some(xpcall_ends));
        lua_setglobal(L, c"xpcall".as_ptr());
    }
}

/// `scheduler.pcall`, which stops the exit too. Pushes it. `[-0, +1]`
///
/// # Safety
/// As [`install`].
pub(super) unsafe fn push_stopping_pcall(L: *mut lua_State) {
    // SAFETY: as `install`.
    unsafe { lua_pushcclosurek(L, pcall, c"pcall".as_ptr(), 0, Some(stopping_pcall_ends)) }
}

unsafe extern "C-unwind" fn pcall(L: *mut lua_State) -> c_int {
    // SAFETY: a C function with a continuation, called by the VM.
    unsafe {
        luaL_checkany(L, 1);
        lua_pcallyieldable(L, lua_gettop(L) - 1, LUA_MULTRET, 0)
    }
}

/// Leaves `true` and the results, or `false` and the error on top.
unsafe fn ends(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: the called function's results are the whole stack, or its error is on top.
    unsafe {
        lua_rawcheckstack(L, 2);
        if status == LUA_OK {
            lua_pushboolean(L, 1);
            lua_insert(L, 1);
            return lua_gettop(L);
        }
        // What the failed function has left below its error may be what has filled the memory.
        lua_insert(L, 1);
        lua_settop(L, 1);
        Machine::of(L).name_memory(L, status);
        lua_pushboolean(L, 0);
        lua_insert(L, 1);
        2
    }
}

unsafe extern "C-unwind" fn pcall_ends(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `pcall`.
    unsafe {
        if status != LUA_OK {
            Machine::of(L).restore_budget_error(L);
            if Machine::of(L).is_final(L, -1) {
                lua_error(L);
            }
        }
        ends(L, status)
    }
}

unsafe extern "C-unwind" fn stopping_pcall_ends(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `pcall`.
    unsafe {
        if status != LUA_OK {
            Machine::of(L).restore_budget_error(L);
            if Machine::of(L).is_budget(L, -1) {
                lua_error(L);
            }
        }
        ends(L, status)
    }
}

unsafe extern "C-unwind" fn xpcall(L: *mut lua_State) -> c_int {
    // SAFETY: a C function with a continuation, called by the VM. The stack becomes: handler,
    // function, arguments.
    unsafe {
        luaL_checktype(L, 2, LUA_TFUNCTION);
        lua_pushvalue(L, 2);
        lua_pushcclosurek(L, handle, c"xpcall handler".as_ptr(), 1, None);
        lua_pushvalue(L, 1);
        lua_replace(L, 2);
        lua_replace(L, 1);
        lua_pcallyieldable(L, lua_gettop(L) - 2, LUA_MULTRET, 1)
    }
}

/// Calls the script's handler, its upvalue, but not for the exit.
unsafe extern "C-unwind" fn handle(L: *mut lua_State) -> c_int {
    // SAFETY: called by the VM with the error.
    unsafe {
        luaL_checkany(L, 1);
        if !Machine::of(L).is_final(L, 1) {
            lua_pushvalue(L, lua_upvalueindex(1));
            lua_insert(L, 1);
            lua_call(L, 1, 1);
        }
        1
    }
}

unsafe extern "C-unwind" fn xpcall_ends(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `xpcall`; the handler is still at index 1.
    unsafe {
        if status == LUA_OK {
            lua_pushboolean(L, 1);
            lua_replace(L, 1);
            return lua_gettop(L);
        }
        pcall_ends(L, status)
    }
}
