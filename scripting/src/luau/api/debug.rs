//! `debug.info` without its option `f`.
//!
//! That option hands out whatever function is on the stack, C functions of the VM's users included,
//! which expect arguments that no script can give them.

use super::super::ffi::*;
use super::super::value::to_bytes;
use std::ffi::c_int;

/// Replaces the VM's. `[-0, +0]`
///
/// # Safety
/// `L` is a live state with the library `debug`, below a protected call.
pub(super) unsafe fn install(L: *mut lua_State) {
    // SAFETY: balanced pushes and pops.
    unsafe {
        lua_getglobal(L, c"debug".as_ptr());
        lua_rawgetfield(L, -1, c"info".as_ptr());
        lua_pushcclosurek(L, info, c"info".as_ptr(), 1, None);
        lua_rawsetfield(L, -2, c"info".as_ptr());
        lua_settop(L, -2);
    }
}

/// `debug.info([thread,] level or function, options)`; the VM's own is the upvalue.
unsafe extern "C-unwind" fn info(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let thread = lua_tothread(L, 1);
        let what = if thread.is_null() { 1 } else { 2 };
        if to_bytes(L, what + 1).is_some_and(|options| options.contains(&b'f')) {
            luaL_argerror(L, what + 1, c"option 'f' is not available to scripts".as_ptr());
        }
        let level = if lua_type(L, what) == LUA_TNUMBER { lua_tonumber(L, what) } else { -1.0 };
        if level >= 0.0 && (thread.is_null() || thread == L) {
            // This function is a level of its own.
            lua_pushnumber(L, level + 1.0);
            lua_replace(L, what);
        }
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
        lua_gettop(L)
    }
}
