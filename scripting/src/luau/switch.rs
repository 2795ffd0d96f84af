//! Resuming a coroutine, which every switch does.
//!
//! `lua_resume` does half of its work for cases that a switch is not: coroutines that begin, or that wait
//! inside a `pcall`. With the feature `fast-switch`, `switch.cpp` does the other half alone, and hands
//! everything else to the VM. Both ways end in the same states.

use super::ffi::*;
use super::machine::Machine;
#[cfg(feature = "fast-switch")]
use crate::scheduler::ErrorKind;
use std::ffi::c_int;

#[cfg(feature = "fast-switch")]
unsafe extern "C-unwind" {
    fn bluetick_resume(L: *mut lua_State, nargs: c_int) -> c_int;
}

/// An error has been raised that the coroutine has not handled yet; it is on top of the stack.
#[cfg(feature = "fast-switch")]
const RAISED: c_int = -1;

/// The same, but memory has run out, and the error is still to be pushed.
#[cfg(feature = "fast-switch")]
const NO_MEMORY: c_int = -2;

impl Machine {
    /// Resumes a suspended coroutine with the values on top of its stack; its status afterwards.
    ///
    /// # Safety
    /// The coroutine is suspended or has its function and arguments on the stack, and has so many values on
    /// top; none of the VM's coroutines runs.
    #[inline]
    pub(super) unsafe fn resume(&self, thread: *mut lua_State, values: c_int) -> c_int {
        #[cfg(not(feature = "fast-switch"))]
        // SAFETY: the caller's.
        unsafe {
            lua_resume_(thread, std::ptr::null_mut(), values)
        }
        #[cfg(feature = "fast-switch")]
        // SAFETY: the caller's.
        unsafe {
            match bluetick_resume(thread, values) {
                status @ (RAISED | NO_MEMORY) => self.raise_in(thread, status),
                status => status,
            }
        }
    }

    /// Goes on where the coroutine handles errors, or ends it.
    #[cfg(feature = "fast-switch")]
    #[cold]
    unsafe fn raise_in(&self, thread: *mut lua_State, what: c_int) -> c_int {
        // SAFETY: `bluetick_resume` has left the coroutine as one that is suspended; the VM keeps room above
        // every stack for an error.
        unsafe {
            if what == NO_MEMORY {
                self.push_constant(thread, ErrorKind::Memory);
            }
            lua_resumeerror(thread, std::ptr::null_mut())
        }
    }
}
