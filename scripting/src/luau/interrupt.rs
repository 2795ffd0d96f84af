//! The VM's interrupt: what it calls at its safepoints (loop turns, calls and returns) while it is set.
//!
//! One callback serves limits that are counted in ticks: of `scheduler.run`, of slices, of a frame. Another
//! one is set by the [timer](super::timer) when a slice is due, a third one while the top level of a file
//! runs, and a fourth one while the collector is stepped. The place where the VM has its callback is written by two threads, so it is an atomic here. The
//! VM itself reads it as a plain pointer: an aligned word, of which it sees the old value or the new one.

use super::ffi::*;
use super::machine::Machine;
use super::slice::Verdict;
use crate::scheduler::Slot;
use std::ffi::c_int;
use std::sync::atomic::{AtomicPtr, Ordering};

type Callback = unsafe extern "C-unwind" fn(*mut lua_State, c_int);

/// What the timer sets.
pub(super) const DUE: Callback = on_due;

/// Where the VM has its callback.
///
/// # Safety
/// `L` is a live state. The result is valid as long as its VM.
pub(super) unsafe fn slot(L: *mut lua_State) -> *mut AtomicPtr<()> {
    // SAFETY: an optional function is a pointer that may be null; an atomic one has the same layout.
    unsafe { (&raw mut (*lua_callbacks(L)).interrupt).cast() }
}

unsafe fn set(L: *mut lua_State, callback: Option<Callback>) -> *mut () {
    let callback = callback.map_or(std::ptr::null_mut(), |callback| callback as *mut ());
    // SAFETY: the callback may be set at any time; every other access is atomic or the VM's own.
    unsafe { (*slot(L)).swap(callback, Ordering::Relaxed) }
}

/// A run with a limit has begun: the VM calls [`on_tick`] at every safepoint, and the loop looks at the limit between
/// two slices.
///
/// # Safety
/// `L` is a live state with its machine.
pub(super) unsafe fn arm(L: *mut lua_State) {
    // SAFETY: the caller's.
    unsafe {
        Machine::of(L).busy.set(true);
        set(L, Some(on_tick));
    }
}

/// Goes on as it has to be now: with ticks if something is limited by them, and else without a callback.
///
/// # Safety
/// `L` is a live state with its machine.
pub(super) unsafe fn rest(L: *mut lua_State) {
    // SAFETY: the caller's.
    unsafe {
        let machine = Machine::of(L);
        let ticks = machine.watch.needs_ticks() || machine.scheduler().is_limited();
        set(L, ticks.then_some(on_tick as Callback));
    }
}

/// Ends all of it.
///
/// # Safety
/// `L` is a live state.
pub(super) unsafe fn clear(L: *mut lua_State) {
    // SAFETY: the caller's.
    unsafe { set(L, None) };
}

unsafe extern "C-unwind" fn on_tick(L: *mut lua_State, gc: c_int) {
    // SAFETY: called by the VM at a safepoint of `L`, or with `gc` >= 0 from within the collector.
    unsafe {
        if gc >= 0 {
            return;
        }
        let machine = Machine::of(L);
        let due = machine.watch.tick();
        machine.answer(L);
        // Of slices in real time the timer knows.
        if !due && !machine.scheduler().is_limited() || super::library::runs(L) {
            return;
        }
        if machine.scheduler().is_limited() && machine.scheduler().tick() && machine.can_block(L) {
            return_runaway(machine, L);
            return;
        }
        if !due {
            return;
        }
        match machine.watch.verdict() {
            Verdict::InTime => {}
            verdict => {
                machine.overrun(L, verdict);
            }
        }
    }
}

/// A limit of `scheduler.run` is reached: that `run` returns the running tasklet.
unsafe fn return_runaway(machine: &Machine, L: *mut lua_State) {
    // SAFETY: called at a safepoint of `L`, which can be suspended.
    unsafe {
        let me = machine.scheduler().head;
        // What may run out of memory comes before anything is changed.
        machine.push_tasklet(L, machine.scheduler().id(me));
        machine.stop_running(L);
        let _ = machine.suspend(L, me);
        machine.scheduler().member(me).slot = Slot::Nothing;
    }
}

unsafe extern "C-unwind" fn on_due(L: *mut lua_State, gc: c_int) {
    // SAFETY: as `on_tick`.
    unsafe {
        if gc >= 0 {
            return;
        }
        let machine = Machine::of(L);
        machine.answer(L);
        let verdict = if super::library::runs(L) { Verdict::InTime } else { machine.watch.verdict() };
        // The timer sets it again, if the slice still goes on. Who is beyond the hard limit meets it at
        // every safepoint.
        if verdict != Verdict::Overdue {
            rest(L);
        }
        if verdict != Verdict::InTime && machine.overrun(L, verdict) {
            rest(L);
        }
    }
}

/// Calls `f`, which runs no scripts, and has the VM note in the machine what each step of the collector is about.
///
/// # Safety
/// `L` is a live state with its machine. `f` does not unwind.
pub(super) unsafe fn watch_collector<R>(L: *mut lua_State, f: impl FnOnce() -> R) -> R {
    // SAFETY: the callback that is put back is one of this file's, or none.
    unsafe {
        let outer = set(L, Some(on_collector_step));
        let result = f();
        (*slot(L)).swap(outer, Ordering::SeqCst);
        Machine::of(L).watch.timer.remind();
        result
    }
}

unsafe extern "C-unwind" fn on_collector_step(L: *mut lua_State, gc: c_int) {
    // SAFETY: called by the VM before and after a step of the collector; after it with the state in which it was begun.
    unsafe { Machine::of(L) }.collecting.set(gc);
}

impl Machine {
    /// A limit has stopped the running tasklet, whose handle is on top of the stack: the `run` with the
    /// limit returns it. `[-1, +0]`
    ///
    /// # Safety
    /// `L` is a live state.
    pub(crate) unsafe fn stop_running(&self, L: *mut lua_State) {
        self.scheduler().stop_current();
        let runner = self.scheduler().current();
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
pub(super) struct Outer(*mut (), i64);

/// From now on code may run for so many ticks; then it gets an error.
///
/// # Safety
/// `L` is a live state with its machine.
pub(super) unsafe fn limit_load(L: *mut lua_State, ticks: u64) -> Outer {
    // SAFETY: the caller's.
    unsafe {
        let scheduler = Machine::of(L).scheduler();
        let left = std::mem::replace(&mut scheduler.ticks_left, ticks as i64);
        Outer(set(L, Some(on_load_tick)), left)
    }
}

/// Puts back what was in force before [`limit_load`].
///
/// # Safety
/// As `limit_load`.
pub(super) unsafe fn end_limit(L: *mut lua_State, outer: Outer) {
    // SAFETY: the callback is one of this file's, or none.
    unsafe {
        (*slot(L)).store(outer.0, Ordering::Relaxed);
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
