//! The VM's C interface: what `mlua` declares, and what it leaves out.
//!
//! Everything here is raw. A function that may raise does so by unwinding (`C-unwind`); it must be
//! called with a protected call further out, that is inside a running script or below
//! [`protect`](super::vm::protect). `[-n, +m]` in a comment says how many values a function pops
//! and pushes.

pub use mlua::ffi::*;
use std::ffi::{c_char, c_int, c_void};

/// Reads or writes a field of a tagged userdata without a call frame; a read pushes exactly one value.
pub type DirectAccess = unsafe extern "C-unwind" fn(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    slot: *mut u16,
    tag: c_int,
);

/// Calls a method of a tagged userdata without looking it up; returns the number of results.
pub type DirectNamecall = unsafe extern "C-unwind" fn(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    slot: *mut u16,
    tag: c_int,
) -> c_int;

unsafe extern "C-unwind" {
    /// Installs direct handlers for the userdata tag. The tag's metatable must be set already and
    /// hold `__index`, `__newindex` and `__namecall`; returns 0 if there is none.
    pub fn lua_registeruserdatadirectaccess(
        L: *mut lua_State,
        tag: c_int,
        get: DirectAccess,
        set: DirectAccess,
        namecall: DirectNamecall,
    ) -> c_int;

    /// Installs a handler for one field of a userdata tag; it gets no state, so it cannot raise.
    pub fn lua_registeruserdatadirectfieldget(
        L: *mut lua_State,
        tag: c_int,
        field: *const c_char,
        get: unsafe extern "C" fn(data: *mut c_void, result: *mut c_void),
    );
}
