//! The frames and registers of coroutines that don't run.

use super::raw::*;
use super::{Internals, Slot};
use crate::luau::Vm;
use crate::luau::ffi::*;
use crate::reload::live::code::Registers;
use mlua::Value;
use std::ffi::c_int;

impl Internals {
    /// How a coroutine is.
    pub fn thread(self, thread: *mut lua_State) -> ThreadState {
        let mut state = ThreadState::default();
        // SAFETY: a living coroutine (2), and a place for what is read.
        unsafe { bluetick_read_thread(thread, &mut state) };
        state
    }

    /// `frame` counts from 1, the outermost, to the number of frames of the thread.
    pub fn frame(self, thread: *mut lua_State, frame: c_int) -> Frame {
        let mut out = Frame::default();
        // SAFETY: a living coroutine (2), one of its frames (5), and a place for what is read.
        unsafe { bluetick_read_frame(thread, frame, &mut out) };
        out
    }

    /// The coroutine that a function of `coroutine.wrap` resumes.
    pub fn wrapped_thread(self, native: *const Closure) -> Option<*mut lua_State> {
        // SAFETY: a living closure of a C function (2), as the frame that it is of has said.
        let thread = unsafe { bluetick_wrapped_thread(native) };
        (!thread.is_null()).then_some(thread)
    }

    /// The C function can be suspended in a call that it makes.
    pub fn has_continuation(self, native: *const Closure) -> bool {
        // SAFETY: as above.
        unsafe { bluetick_has_continuation(native) != 0 }
    }

    /// The registers of a frame that open upvalues refer to.
    pub fn open_registers(self, thread: *mut lua_State, frame: c_int) -> Registers {
        let mut bits = [0; 4];
        // SAFETY: a living coroutine (2), one of its frames (5), and room for 256 bits.
        unsafe { bluetick_open_registers(thread, frame, bits.as_mut_ptr()) };
        Registers::from_bits(bits)
    }

    /// The value of a register of a suspended frame.
    pub fn register(self, vm: &Vm, thread: *mut lua_State, frame: c_int, reg: u8) -> Value {
        // SAFETY: protected by mlua; there is room for the value. The frame is one of a living coroutine's, and
        // the register one that a local of its code is alive in (5), so there is a value in it.
        let pushed = unsafe {
            vm.lua().exec_raw::<Value>((), |L| {
                luaL_checkstack(L, 1, std::ptr::null());
                bluetick_push_register(L, thread, frame, c_int::from(reg));
            })
        };
        pushed.unwrap_or(Value::Nil)
    }

    /// The value of a register as a slot without a cell has it.
    #[cfg(test)]
    pub fn register_slot(self, thread: *mut lua_State, frame: c_int, reg: u8) -> Slot {
        let mut slot = Slot::default();
        // SAFETY: as above, on the stack of the helper, which has room for one value at any time; it is
        // taken off again.
        unsafe {
            bluetick_push_register(self.L, thread, frame, c_int::from(reg));
            bluetick_value_at(self.L, -1, &mut slot);
            lua_settop(self.L, -2);
        }
        slot
    }

    /// The register holds this very value.
    pub fn register_is(self, thread: *mut lua_State, frame: c_int, reg: u8, slot: &Slot) -> bool {
        let mut slot = *slot;
        // SAFETY: as for `register`; compared without metamethods.
        unsafe { bluetick_register_is(thread, frame, c_int::from(reg), &mut slot) != 0 }
    }

    /// Makes room for `size` values on a suspended coroutine; false without memory.
    pub fn reserve(self, thread: *mut lua_State, size: c_int) -> bool {
        // SAFETY: a living coroutine (2) that doesn't run (1), so that nobody holds addresses in its stack;
        // what the VM itself refers to in it, it corrects. It catches what allocating raises (3).
        unsafe { bluetick_reserve(thread, size) != 0 }
    }

    /// The frame goes on with another closure, which runs the same prototype as the one before.
    pub fn set_frame_closure(self, thread: *mut lua_State, frame: c_int, closure: *mut Closure) {
        // SAFETY: a living coroutine that doesn't run (1, 2), one of its frames (5), a living closure. The frame's
        // code is that of the clone by the caller's word, so it stays alive; the barrier is there (4).
        unsafe { bluetick_set_frame_closure(self.L, thread, frame, closure) }
    }

    /// Moves a suspended frame to word `pc` of `code`, which `closure` runs or will run when all is done.
    /// `old_registers` is where the call that it waits in has its function, or the whole frame if it is
    /// the innermost one. Room was reserved; the sources of open registers rise as their registers do.
    #[allow(clippy::too_many_arguments)]
    pub fn move_frame(
        self,
        thread: *mut lua_State,
        frame: c_int,
        closure: *mut Closure,
        code: *mut Proto,
        pc: u32,
        old_registers: u8,
        results: c_int,
        sources: &[Source],
    ) {
        let raw: Vec<RawSource> = sources.iter().map(|source| RawSource::from(*source)).collect();
        // SAFETY: a suspended coroutine (1, 2), one of its frames, registers below `old_registers` (5), at most
        // 256 of them as registers are bytes. `pc` is the first word of an instruction of `code` behind a call,
        // or of a statement, by the plan of the frame, which also says that all that is read from there on is
        // among the sources. `code` is alive (2), and is kept so by `closure`, which the frame refers to from
        // now on. The stack has room by `reserve`. Barriers are there (4).
        unsafe {
            bluetick_move_frame(
                self.L,
                thread,
                frame,
                closure,
                code,
                pc as c_int,
                c_int::from(old_registers),
                results,
                raw.as_ptr(),
                raw.len() as c_int,
            );
        }
    }

    /// Suspends a failed coroutine at word `pc` of a frame, which keeps its first `registers`; false
    /// without memory.
    pub fn park(self, thread: *mut lua_State, frame: c_int, pc: u32, registers: u8) -> bool {
        // SAFETY: a failed coroutine that nobody resumes any more, one of its frames of a script (5); `pc` begins
        // an instruction before which nothing but those registers is read later. It catches what growing
        // the stack raises (3), before it changes anything.
        unsafe { bluetick_park(self.L, thread, frame, pc as c_int, c_int::from(registers)) != 0 }
    }

    /// Suspends a failed coroutine in the C function of `frame`, which has a continuation.
    pub fn park_in_call(self, thread: *mut lua_State, frame: c_int) {
        // SAFETY: a failed coroutine that nobody resumes any more, and a frame of a C function that can be
        // resumed, as `has_continuation` has said (5).
        unsafe { bluetick_park_in_call(thread, frame) }
    }
}
