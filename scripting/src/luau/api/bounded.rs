//! Functions of the standard library that would take seconds, or hours, with arguments of the wrong size.
//!
//! A C function can't be interrupted on its way. Most need memory for what they do, so the VM's limit bounds
//! their time; the others are bounded here. Their work is counted beforehand: who asks for more gets an error of
//! kind `budget`.
//!
//! What is left takes about as long as this for 512 MiB, a VM's memory by default: `table.sort` without
//! a comparator 2 s (15 million elements), `string.rep`, `gsub` and `split` 0.6 s, `table.concat`, `create` and
//! `clone` 0.3 s. Patterns, callbacks and comparators are interrupted; but not within the steps of a pattern, of which
//! one can take as long as the text and the pattern together have it.

use super::super::ffi::*;
use super::super::value::raise;
use crate::scheduler::ErrorKind;
use std::cell::Cell;
use std::ffi::{CStr, c_int};

/// Elements that `table.move` moves at most: it goes through indices, whether anything is there or not.
const MOST_MOVED: f64 = 1e7;

/// Bytes that a search for a plain text compares at most, in the worst case.
const MOST_COMPARED: f64 = 4e9;

/// Bytes that a step of a pattern compares at most, in the worst case: each of the text with each of a set.
const MOST_MATCHED: f64 = 1e9;

thread_local! {
    // The VM's own functions: the same in every VM, and without upvalues.
    static MOVE: Cell<Option<lua_CFunction>> = const { Cell::new(None) };
    static FIND: Cell<Option<lua_CFunction>> = const { Cell::new(None) };
    static SPLIT: Cell<Option<lua_CFunction>> = const { Cell::new(None) };
    static MATCH: Cell<Option<lua_CFunction>> = const { Cell::new(None) };
    static GMATCH: Cell<Option<lua_CFunction>> = const { Cell::new(None) };
    static GSUB: Cell<Option<lua_CFunction>> = const { Cell::new(None) };
}

/// Replaces the VM's. `[-0, +0]`
///
/// # Safety
/// `L` is a live state with the libraries `table` and `string`, below a protected call.
pub(super) unsafe fn install(L: *mut lua_State) {
    // SAFETY: balanced pushes and pops.
    unsafe {
        for (library, name, original, f) in [
            (c"table", c"move", &MOVE, move_ as lua_CFunction),
            (c"string", c"find", &FIND, find),
            (c"string", c"split", &SPLIT, split),
            (c"string", c"match", &MATCH, match_),
            (c"string", c"gmatch", &GMATCH, gmatch),
            (c"string", c"gsub", &GSUB, gsub),
        ] {
            lua_getglobal(L, library.as_ptr());
            lua_rawgetfield(L, -1, name.as_ptr());
            original.set(lua_tocfunction(L, -1));
            lua_settop(L, -2);
            lua_pushcfunctiond(L, f, name.as_ptr());
            lua_rawsetfield(L, -2, name.as_ptr());
            lua_settop(L, -2);
        }
    }
}

/// Calls the VM's own function in place of the one that was called.
unsafe fn call(
    L: *mut lua_State,
    original: &'static std::thread::LocalKey<Cell<Option<lua_CFunction>>>,
) -> c_int {
    match original.get() {
        // SAFETY: it is called as the VM would have, with the same arguments.
        Some(f) => unsafe { f(L) },
        None => 0,
    }
}

unsafe extern "C-unwind" fn move_(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM; numbers are read from whatever there is.
    unsafe {
        let count = lua_tonumber(L, 3) - lua_tonumber(L, 2) + 1.0;
        if count > MOST_MOVED {
            let text = format!(
                "table.move: {count} elements are more than can be moved without letting others run; \
                 the most are {MOST_MOVED}"
            );
            raise(L, ErrorKind::Budget, text);
        }
        call(L, &MOVE)
    }
}

unsafe extern "C-unwind" fn find(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let is_plain = lua_toboolean(L, 4) != 0;
        check_search(L, c"string.find", if is_plain { MOST_COMPARED } else { MOST_MATCHED });
        call(L, &FIND)
    }
}

unsafe extern "C-unwind" fn split(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        check_search(L, c"string.split", MOST_COMPARED);
        call(L, &SPLIT)
    }
}

unsafe extern "C-unwind" fn match_(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        check_search(L, c"string.match", MOST_MATCHED);
        call(L, &MATCH)
    }
}

unsafe extern "C-unwind" fn gmatch(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        check_search(L, c"string.gmatch", MOST_MATCHED);
        call(L, &GMATCH)
    }
}

unsafe extern "C-unwind" fn gsub(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        check_search(L, c"string.gsub", MOST_MATCHED);
        call(L, &GSUB)
    }
}

/// Raises if the string at index 1 is too long to look for the one at index 2 in it: if `most` is less than the product
/// of their lengths.
unsafe fn check_search(L: *mut lua_State, verb: &CStr, most: f64) {
    // SAFETY: called from a C function; only lengths of strings are read.
    unsafe {
        let length =
            |index| if lua_type(L, index) == LUA_TSTRING { lua_objlen(L, index) as f64 } else { 0.0 };
        let (text, pattern) = (length(1), length(2));
        if text * pattern > most {
            let text = format!(
                "{}: to look for {pattern} bytes in {text} may take too long to let others run; \
                 the most is a product of {most}",
                verb.to_string_lossy()
            );
            raise(L, ErrorKind::Budget, text);
        }
    }
}
