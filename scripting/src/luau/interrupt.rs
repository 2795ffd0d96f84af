//! Counting ticks: for `scheduler.run` with a limit, and against files whose top level never ends.

use super::ffi::*;
use super::machine::Machine;
use crate::scheduler::Slot;
use std::ffi::c_int;

/// Has the VM call [`on_tick`] at every safepoint: loop turns, calls and returns.
///
/// # Safety
/// `L` is a live state.
pub(super) unsafe fn arm(L: *mut lua_State) {
    // SAFETY: the callback may be set at any time.
    unsafe { (*lua_callbacks(L)).interrupt = Some(on_tick) }
}

/// Ends it.
///
/// # Safety
/// `L` is a live state.
pub(super) unsafe fn disarm(L: *mut lua_State) {
    // SAFETY: as `arm`.
    unsafe { (*lua_callbacks(L)).interrupt = None }
}

unsafe extern "C-unwind" fn on_tick(L: *mut lua_State, gc: c_int) {
    // SAFETY: called by the VM at a safepoint of `L`, or with `gc` >= 0 from within the collector.
    unsafe {
        if gc >= 0 {
            return;
        }
        let machine = Machine::of(L);
        if !machine.scheduler().tick() || !machine.can_block(L) || super::library::runs(L) {
            return;
        }
        let me = machine.scheduler().current;
        // What may run out of memory comes before anything is changed.
        machine.push_tasklet(L, me);
        machine.stop_running(L);
        let _ = machine.suspend(L, me);
        machine.scheduler().tasklets[me].slot = Slot::Nothing;
    }
}

impl Machine {
    /// A limit has stopped the running tasklet, whose handle is on top of the stack: the `run` with the
    /// limit returns it. `[-1, +0]`
    ///
    /// # Safety
    /// `L` is a live state.
    pub(crate) unsafe fn stop_running(&self, L: *mut lua_State) {
        self.scheduler().stop_current();
        let runner = self.scheduler().current;
        // SAFETY: the runner is suspended in its `run`.
        unsafe {
            if self.scheduler().tasklets[runner].slot != Slot::Error {
                self.deliver(runner, L, -1, Slot::Value);
            }
            lua_settop(L, -2);
        }
    }

    /// Has the VM count ticks.
    pub(crate) fn arm_ticks(&self) {
        // SAFETY: the VM is alive as long as anything runs in it.
        unsafe { arm(self.helper) }
    }
}

/// The VM's callback and the count that were in force, for [`end_limit`].
pub(super) struct Outer(Option<unsafe extern "C-unwind" fn(*mut lua_State, c_int)>, i64);

/// From now on code may run for so many ticks; then it gets an error.
///
/// # Safety
/// `L` is a live state with its machine.
pub(super) unsafe fn limit_load(L: *mut lua_State, ticks: u64) -> Outer {
    // SAFETY: the callback may be set at any time.
    unsafe {
        let scheduler = Machine::of(L).scheduler();
        let outer = Outer((*lua_callbacks(L)).interrupt, scheduler.ticks_left);
        scheduler.ticks_left = ticks as i64;
        (*lua_callbacks(L)).interrupt = Some(on_load_tick);
        outer
    }
}

/// Puts back what was in force before [`limit_load`].
///
/// # Safety
/// As `limit_load`.
pub(super) unsafe fn end_limit(L: *mut lua_State, outer: Outer) {
    // SAFETY: as `limit_load`.
    unsafe {
        (*lua_callbacks(L)).interrupt = outer.0;
        Machine::of(L).scheduler().ticks_left = outer.1;
    }
}

unsafe extern "C-unwind" fn on_load_tick(L: *mut lua_State, gc: c_int) {
    // SAFETY: called by the VM at a safepoint of `L`, where an error may be raised.
    unsafe {
        if gc >= 0 {
            return;
        }
        let scheduler = Machine::of(L).scheduler();
        scheduler.ticks_left -= 1;
        if scheduler.ticks_left < 0 {
            super::value::raise_at(
                L,
                0,
                crate::scheduler::ErrorKind::Budget,
                "the top level of a script only defines, and on_reload only mends; this one runs without end",
            );
        }
    }
}
