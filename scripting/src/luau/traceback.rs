//! Where scripts are: the calls on their stacks, for people.

use super::ffi::*;
use crate::scheduler::{Frame, Tasklet};
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;

/// The calls on a suspended tasklet's stack, all its frames together, innermost first, one a line.
///
/// # Safety
/// The tasklet is alive and does not run.
pub(crate) unsafe fn traceback_of(tasklet: &Tasklet) -> String {
    let innermost =
        if tasklet.thread.is_null() { Frame::Native(tasklet.native) } else { Frame::Luau(tasklet.thread) };
    let frames = std::iter::once(innermost).chain(tasklet.outer().iter().rev().copied());
    frames
        .map(|frame| match frame {
            // SAFETY: the coroutine is suspended.
            Frame::Luau(thread) => unsafe { traceback(thread) },
            Frame::Native(_) => "in Rust\n".into(),
        })
        .collect()
}

/// The calls on a coroutine's stack, innermost first, one a line.
///
/// # Safety
/// `L` is a coroutine that is suspended, has failed, or is running the caller.
pub(crate) unsafe fn traceback(L: *mut lua_State) -> String {
    let mut out = String::new();
    // SAFETY: `lua_getinfo` fills `debug` for each level that it reports.
    unsafe {
        let mut debug: lua_Debug = std::mem::zeroed();
        for level in 0..64 {
            if lua_getinfo(L, level, c"sln".as_ptr(), &mut debug) == 0 {
                return out;
            }
            if text(debug.what) == "C" {
                continue;
            }
            let _ = write!(out, "{}:{}", text(debug.short_src), debug.currentline);
            match text(debug.name) {
                "" => out.push_str(" in the main chunk or an unnamed function\n"),
                name => {
                    let _ = writeln!(out, " in function '{name}'");
                }
            }
        }
    }
    out.push_str("...\n");
    out
}

/// `file:line: ` of a call on a coroutine's stack, counted from the innermost; empty if it is unknown.
///
/// # Safety
/// As [`traceback`].
pub(super) unsafe fn place(L: *mut lua_State, level: c_int) -> String {
    // SAFETY: `lua_getinfo` fills `debug` for each level that it reports.
    unsafe {
        let mut debug: lua_Debug = std::mem::zeroed();
        let mut in_library = false;
        for level in level.. {
            if lua_getinfo(L, level, c"sl".as_ptr(), &mut debug) == 0 {
                break;
            }
            // What is wrong for the library is wrong where a script has called it.
            in_library |= super::library::is_library(&debug);
            if debug.currentline > 0 && !super::library::is_library(&debug) {
                return format!("{}:{}: ", text(debug.short_src), debug.currentline);
            }
            if !in_library {
                break;
            }
        }
        String::new()
    }
}

/// A C string of the VM that may be missing.
pub(super) unsafe fn text<'a>(s: *const c_char) -> &'a str {
    // SAFETY: the VM's debug strings end with a zero and live as long as the function they describe.
    unsafe { if s.is_null() { "" } else { CStr::from_ptr(s).to_str().unwrap_or("?") } }
}
