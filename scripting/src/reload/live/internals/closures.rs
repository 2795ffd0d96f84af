//! Closures, and the slots in which they find their outer variables.

use super::raw::*;
use super::{Internals, Slot};
use crate::luau::Vm;
use crate::luau::ffi::*;
use mlua::{Function, Value};
use std::ffi::c_int;

impl Internals {
    /// The closure of a script's function; null for a C function.
    pub fn closure_of(self, vm: &Vm, function: &Function) -> *mut Closure {
        let mut closure = std::ptr::null_mut();
        // SAFETY: protected by mlua, which has pushed the function alone; only read, and nothing is left.
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(function, |L| {
                closure = bluetick_closure_at(L, 1);
                lua_settop(L, 0);
            })
        };
        if pushed.is_err() { std::ptr::null_mut() } else { closure }
    }

    /// How many slots it has.
    pub fn slot_count(self, closure: *const Closure) -> usize {
        // SAFETY: a living closure (2).
        unsafe { bluetick_closure_slots(closure) as usize }
    }

    /// What is in a slot.
    pub fn slot(self, closure: *const Closure, index: usize) -> Slot {
        let mut slot = Slot::default();
        // SAFETY: a living closure (2), and a number below its count of slots (5).
        unsafe { bluetick_slot(closure, index as c_int, &mut slot) };
        slot
    }

    /// Puts a value or a cell into a slot.
    pub fn set_slot(self, closure: *mut Closure, index: usize, mut slot: Slot) {
        // SAFETY: a living closure (2), and a number below its count of slots (5). What is in `slot` was
        // read or made since the collector was stopped, so it is alive; the barrier is there (4).
        unsafe { bluetick_set_slot(self.L, closure, index as c_int, &mut slot) }
    }

    /// Has it run another prototype from its next call on, which has as many upvalues as it has slots.
    pub fn repoint(self, closure: *mut Closure, proto: *mut Proto) {
        // SAFETY: both are alive (2), and fit by the caller's word, which the VM asserts in builds for tests. No
        // running interpreter has the closure's old code at hand (1); frames of suspended ones were moved to
        // other code or to a clone before. The barrier is there (4).
        unsafe { bluetick_repoint(self.L, closure, proto) }
    }

    /// Where it finds globals.
    pub fn environment(self, closure: *const Closure) -> *mut Environment {
        // SAFETY: a living closure (2).
        unsafe { bluetick_environment(closure) }
    }

    /// Has it find globals elsewhere.
    pub fn set_environment(self, closure: *mut Closure, env: *mut Environment) {
        // SAFETY: both are alive (2); the barrier is there (4).
        unsafe { bluetick_set_environment(self.L, closure, env) }
    }

    /// A closure of `proto` with the environment of `like` and empty slots; `None` without memory.
    pub fn new_closure(self, proto: *mut Proto, like: *const Closure) -> Option<*mut Closure> {
        // SAFETY: both are alive (2). It allocates, and catches what that raises (3); slots begin as nil. Until
        // somebody refers to the new closure, the stopped collector keeps it (2).
        let closure = unsafe { bluetick_new_closure(self.L, proto, like) };
        (!closure.is_null()).then_some(closure)
    }

    /// A closure that is as `closure` is now; `None` without memory.
    pub fn clone_closure(self, closure: *mut Closure) -> Option<*mut Closure> {
        let clone = self.new_closure(self.proto_of(closure), closure)?;
        for index in 0..self.slot_count(closure) {
            self.set_slot(clone, index, self.slot(closure, index));
        }
        Some(clone)
    }

    /// A prototype that calls `to`, for closures with so many slots. `stub` is a function that was loaded
    /// for this alone and calls its only string constant; it becomes one of `other`, without upvalues too.
    pub fn make_forwarder(
        self,
        vm: &Vm,
        stub: &Function,
        other: *mut Proto,
        to: *mut Closure,
        slots: usize,
    ) -> Option<*mut Proto> {
        let mut proto = std::ptr::null_mut();
        // SAFETY: protected by mlua, which has pushed the stub alone; nothing is left. `other` and `to` are alive
        // (2). Nobody runs the stub's prototype, whose count of upvalues changes: the stub itself is
        // given another that has as many as it has slots, none. Barriers are there (4).
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(stub, |L| {
                proto = bluetick_make_forwarder(L, 1, other, to, slots as c_int);
                lua_settop(L, 0);
            })
        };
        (pushed.is_ok() && !proto.is_null()).then_some(proto)
    }

    /// What is in it is a cell that closures share, or a value.
    pub fn is_cell(self, slot: &Slot) -> bool {
        // SAFETY: reads the tag of a value.
        unsafe { bluetick_is_cell(slot) != 0 }
    }

    /// The value in a slot, or in its cell.
    pub fn value(self, vm: &Vm, slot: &Slot) -> Value {
        let mut slot = *slot;
        // SAFETY: protected by mlua; there is room for the value, which is alive, as is its cell (2).
        let pushed = unsafe {
            vm.lua().exec_raw::<Value>((), |L| {
                luaL_checkstack(L, 1, std::ptr::null());
                bluetick_push(L, &mut slot);
            })
        };
        pushed.unwrap_or(Value::Nil)
    }

    /// The value as a slot without a cell has it. The caller keeps it alive.
    pub fn slot_of(self, vm: &Vm, value: &Value) -> Slot {
        let mut slot = Slot::default();
        // SAFETY: protected by mlua, which has pushed the value alone; nothing is left.
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(value, |L| {
                bluetick_value_at(L, 1, &mut slot);
                lua_settop(L, 0);
            })
        };
        if pushed.is_err() { Slot::default() } else { slot }
    }

    /// Sets what a cell holds.
    pub fn set_cell(self, vm: &Vm, cell: &Slot, value: &Value) {
        let mut cell = *cell;
        // SAFETY: protected by mlua, which has pushed the value alone; nothing is left. The slot is a cell by the
        // caller's `is_cell`, and alive (2); the barrier is there (4).
        let set = unsafe {
            vm.lua().exec_raw::<()>(value, |L| {
                bluetick_set_cell(L, &mut cell, 1);
                lua_settop(L, 0);
            })
        };
        if let Err(error) = set {
            tracing::error!("reload: an outer variable could not be set: {error}");
        }
    }

    /// A cell with this value; `None` without memory.
    pub fn new_cell(self, vm: &Vm, value: &Value) -> Option<Slot> {
        let mut slot = Slot::default();
        let mut made = false;
        // SAFETY: protected by mlua, which has pushed the value alone; nothing is left. It allocates, and catches
        // what that raises (3). Until a closure has the cell, the stopped collector keeps it (2).
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(value, |L| {
                made = bluetick_new_cell(L, 1, &mut slot) != 0;
                lua_settop(L, 0);
            })
        };
        (pushed.is_ok() && made).then_some(slot)
    }
}
