//! The VM's garbage collector, stepped by hand.

use super::ffi::*;
use super::vm::Vm;
use std::ffi::c_int;

impl Vm {
    /// Has the collector do some work now: about so many KiB are traversed or freed; true if that ends
    /// a cycle. Work that was done by hand is not done by the VM itself when scripts allocate.
    ///
    /// One step can't be divided: a table, a coroutine's stack, and at the end of marking all coroutines that have
    /// run since they were marked.
    pub fn collect_step(&self, kib: u32) -> bool {
        if self.machine().is_looping() {
            return false;
        }
        // SAFETY: the VM is alive, and no coroutine runs; the collector neither raises nor runs scripts.
        unsafe { lua_gc(self.machine().helper, LUA_GCSTEP, c_int::try_from(kib).unwrap_or(c_int::MAX)) != 0 }
    }
}
