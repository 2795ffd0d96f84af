//! The VM's insides: what `internals.cpp` does, as Rust sees it. All `unsafe` of the reload that knows the
//! layout of the VM is behind the functions of this folder.
//!
//! | file | what |
//! |---|---|
//! | `internals.cpp` | primitive operations on the VM's own structures |
//! | `raw.rs` | its declarations for Rust |
//! | `protos.rs` | prototypes: what a function's code is |
//! | `closures.rs` | closures, and the slots in which they find their outer variables |
//! | `coroutines.rs` | the frames and registers of suspended coroutines |
//!
//! # Invariants
//!
//! An [`Internals`] exists only while [`Vm::with_internals`] runs, or was made by [`Internals::for_reading`],
//! whose caller promises the same. They keep these, to which the comments at each `unsafe` block refer:
//!
//! 1. *No coroutine runs.* The interpreter holds the closure, constants and position of a running frame in
//!    local variables; changing them behind its back would be undefined. The loop is not at work, and
//!    threads that are active all the same are never given to a function that changes them.
//! 2. *The collector is stopped.* So every pointer obtained through an `Internals` is valid as long as it
//!    lives: pointers are plain `*mut`, handed out by the walk of the heap (which leaves dead objects out),
//!    by reading a living object, or by making an object. Nothing outside of this folder makes one up.
//! 3. *No exception leaves C++.* What allocates catches the VM's exception and says so by its result; what
//!    may raise otherwise runs inside of `exec_raw` or `protect`, with nothing alive that has a destructor.
//! 4. *Write barriers* are C++'s, in the functions that write.
//! 5. *Numbers are in range*: of constants, locals, children, slots, registers and frames, since callers count
//!    them by what the same object has said of itself, and nothing has changed it since.

mod closures;
mod coroutines;
mod protos;
mod raw;

use crate::luau::Vm;
use crate::luau::ffi::*;
use mlua::Function;
pub(crate) use protos::{Constant, ProtoFacts};
pub(crate) use raw::{Closure, Frame, IN_ITERATOR, Proto, Slot, Source, ThreadState};
use raw::{
    bluetick_random, bluetick_self_check, bluetick_self_check_function, bluetick_set_random,
    bluetick_validate, bluetick_visit,
};
use std::ffi::{c_int, c_void};

/// What a walk of the heap has found: only what belongs to a module's text.
#[derive(Default)]
pub(crate) struct Heap {
    /// Closures, the ids of what they run, and whether they are templates that no code has used yet.
    pub closures: Vec<(*mut Closure, u64, bool)>,
    pub threads: Vec<*mut lua_State>,
    pub protos: Vec<(*mut Proto, u64)>,
}

/// Access to the VM's insides. See the invariants at the top of the file.
#[derive(Clone, Copy)]
pub(crate) struct Internals {
    L: *mut lua_State,
}

impl Vm {
    /// Runs `f` with access to the VM's insides; `None` if a script is running.
    pub(in crate::reload) fn with_internals<R>(&self, f: impl FnOnce(Internals) -> R) -> Option<R> {
        if self.machine().is_looping() {
            return None;
        }
        /// Has the collector run again, if it did before.
        struct Collector(*mut lua_State, bool);
        impl Drop for Collector {
            fn drop(&mut self) {
                if self.1 {
                    // SAFETY: the VM outlives the borrow that this lives in.
                    unsafe { lua_gc(self.0, LUA_GCRESTART, 0) };
                }
            }
        }
        let L = self.machine().helper_state();
        // SAFETY: the helper is a live coroutine that nobody runs on now.
        let running = unsafe { lua_gc(L, LUA_GCISRUNNING, 0) != 0 };
        // SAFETY: as above; stopping allocates nothing.
        unsafe { lua_gc(L, LUA_GCSTOP, 0) };
        let _collector = Collector(L, running);
        Some(f(Internals { L }))
    }

    /// Compares what the headers say of the VM with what its public functions say; `Err` says where they differ.
    pub(super) fn check_internals(&self) -> Result<(), c_int> {
        let sample = self.load("self-check", "local a = {} return function(x, ...) return a, x, ... end");
        let function = sample.and_then(|sample| Ok(sample.call::<Function>(())?));
        let Ok(function) = function else { return Err(30) };
        let mut failed = 0;
        // SAFETY: protected by mlua, which has pushed the function alone; both functions only read.
        let ran = unsafe {
            self.lua().exec_raw::<()>(function, |L| {
                failed = bluetick_self_check(L);
                if failed == 0 {
                    failed = bluetick_self_check_function(L, 1);
                }
                lua_settop(L, 0);
            })
        };
        match (ran, failed) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), failed) => Err(failed),
            (Err(_), _) => Err(31),
        }
    }

    /// The state of the VM's random numbers.
    pub(crate) fn random_state(&self) -> u64 {
        // SAFETY: reads a number of the VM.
        unsafe { bluetick_random(self.machine().helper_state()) }
    }

    /// Has the VM check all its objects, which ends the process if one is wrong; for tests, in builds of the VM
    /// with its assertions on. In others it does nothing.
    #[doc(hidden)]
    pub fn validate_heap(&self) {
        // SAFETY: only reads, in a VM in which nothing is half changed: no call of this crate returns then.
        unsafe { bluetick_validate(self.machine().helper_state()) }
    }

    /// Sets it.
    pub(crate) fn set_random_state(&self, state: u64) {
        // SAFETY: any number is a state.
        unsafe { bluetick_set_random(self.machine().helper_state(), state) }
    }
}

impl Internals {
    /// For reading what doesn't run, and for a coroutine that has failed: while a C function or the loop is at
    /// work, and nothing is allocated in the VM between reading and use.
    pub fn for_reading(vm: &Vm) -> Self {
        Self { L: vm.machine().helper_state() }
    }

    /// Walks the heap.
    pub fn heap(self) -> Heap {
        extern "C" fn closure(heap: *mut c_void, closure: *mut Closure, id: u64, template: c_int) {
            // SAFETY: the context is the heap below, which nobody else refers to while the walk goes on.
            unsafe { (*heap.cast::<Heap>()).closures.push((closure, id, template != 0)) }
        }
        extern "C" fn thread(heap: *mut c_void, thread: *mut lua_State) {
            // SAFETY: as above.
            unsafe { (*heap.cast::<Heap>()).threads.push(thread) }
        }
        extern "C" fn proto(heap: *mut c_void, proto: *mut Proto, id: u64) {
            // SAFETY: as above.
            unsafe { (*heap.cast::<Heap>()).protos.push((proto, id)) }
        }
        let mut heap = Heap::default();
        // SAFETY: the walk reads the pages of a VM in which nothing runs (1) or is freed (2); the callbacks fit
        // their context, and neither allocate in the VM nor unwind.
        unsafe { bluetick_visit(self.L, (&raw mut heap).cast(), closure, thread, proto) };
        heap
    }
}
