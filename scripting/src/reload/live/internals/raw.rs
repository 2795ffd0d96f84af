//! What `internals.cpp` gives to Rust: its structures, field by field as there, and its functions. All of them
//! are `unsafe`: what they ask for is said in the files beside, where they are called.

use crate::luau::ffi::*;
use std::ffi::{c_char, c_int, c_void};

/// A value in a register or an upvalue's slot, as the VM keeps it; it may be a cell that closures share.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Slot([u64; 2]);

impl PartialEq for Slot {
    /// The same value, or the same object. What a value of its type has no use for may be anything.
    fn eq(&self, other: &Self) -> bool {
        let (Self([one, rest]), Self([other, other_rest])) = (self, other);
        let tag = (rest >> 32) as c_int;
        tag == (other_rest >> 32) as c_int
            && match tag {
                LUA_TNIL => true,
                LUA_TBOOLEAN => *one as u32 == *other as u32,
                // The third number, or the tag.
                LUA_TVECTOR | LUA_TLIGHTUSERDATA => one == other && *rest as u32 == *other_rest as u32,
                _ => one == other,
            }
    }
}

impl Eq for Slot {}

/// A string of the VM, or none.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Text {
    data: *const c_char,
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { data: std::ptr::null(), len: 0 }
    }
}

impl Text {
    /// A copy of it. It was read from a living object, and nothing was changed since.
    pub fn read(self) -> String {
        if self.data.is_null() {
            return String::new();
        }
        // SAFETY: data and length of a string whose owner is alive by invariant 2.
        let bytes = unsafe { std::slice::from_raw_parts(self.data.cast::<u8>(), self.len) };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

#[repr(C)]
pub(super) struct RawProto {
    pub code: *const u32,
    pub plain_ops: *const u8,
    pub children: *const *mut Proto,
    pub name: Text,
    pub id: u64,
    pub code_len: c_int,
    pub children_len: c_int,
    pub locals_len: c_int,
    pub constants_len: c_int,
    pub names_len: c_int,
    pub line: c_int,
    pub upvalues: u8,
    pub parameters: u8,
    pub vararg: u8,
    pub stack: u8,
}

#[derive(Default)]
#[repr(C)]
pub(super) struct RawLocal {
    pub name: Text,
    pub start: c_int,
    pub end: c_int,
    pub reg: c_int,
}

#[derive(Default)]
#[repr(C)]
pub(super) struct RawConstant {
    pub kind: c_int,
    pub bits: u64,
    pub text: Text,
}

impl Default for RawProto {
    fn default() -> Self {
        // SAFETY: numbers and pointers; a null pointer stands for nothing of the kind.
        unsafe { std::mem::zeroed() }
    }
}

/// A prototype of the VM.
#[repr(C)]
pub(crate) struct Proto {
    _opaque: [u8; 0],
}

/// A closure of the VM.
#[repr(C)]
pub(crate) struct Closure {
    _opaque: [u8; 0],
}

#[repr(C)]
pub(crate) struct Environment {
    _opaque: [u8; 0],
}

/// A coroutine, between two resumes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct ThreadState {
    pub status: c_int,
    pub active: c_int,
    /// How many calls are on it; the outermost has number 1.
    pub frames: c_int,
    pub capacity: c_int,
}

impl ThreadState {
    pub fn is_suspended(&self) -> bool {
        self.active == 0 && (self.status == LUA_YIELD || self.status == LUA_BREAK)
    }

    pub fn has_failed(&self) -> bool {
        self.active == 0 && !matches!(self.status, LUA_OK | LUA_YIELD | LUA_BREAK)
    }
}

/// A call on a coroutine.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Frame {
    /// What it runs; null if that is a C function.
    pub closure: *mut Closure,
    pub proto: *mut Proto,
    pub native: *mut Closure,
    pub id: u64,
    /// In words, behind the instruction that it is in.
    pub pc: c_int,
    pub func: c_int,
    pub base: c_int,
    pub top: c_int,
    pub results: c_int,
    pub flags: u32,
}

impl Default for Frame {
    fn default() -> Self {
        // SAFETY: as for `RawProto`.
        unsafe { std::mem::zeroed() }
    }
}

impl Frame {
    pub fn is_script(&self) -> bool {
        !self.closure.is_null()
    }
}

/// The frame was suspended in the iterator of a generic `for`.
pub(crate) const IN_ITERATOR: u32 = 1 << 3;

/// What a register of a moved frame gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Nil,
    Register(u8),
    Value(Slot),
}

#[repr(C)]
pub(super) struct RawSource {
    pub kind: c_int,
    pub reg: c_int,
    pub value: Slot,
}

impl From<Source> for RawSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Nil => Self { kind: 0, reg: 0, value: Slot::default() },
            Source::Register(reg) => Self { kind: 1, reg: c_int::from(reg), value: Slot::default() },
            Source::Value(value) => Self { kind: 2, reg: 0, value },
        }
    }
}

unsafe extern "C" {
    pub fn bluetick_self_check(L: *mut lua_State) -> c_int;
    pub fn bluetick_self_check_function(L: *mut lua_State, index: c_int) -> c_int;
    pub fn bluetick_visit(
        L: *mut lua_State,
        context: *mut c_void,
        on_closure: extern "C" fn(*mut c_void, *mut Closure, u64, c_int),
        on_thread: extern "C" fn(*mut c_void, *mut lua_State),
        on_proto: extern "C" fn(*mut c_void, *mut Proto, u64),
    );
    pub fn bluetick_validate(L: *mut lua_State);
    pub fn bluetick_random(L: *mut lua_State) -> u64;
    pub fn bluetick_set_random(L: *mut lua_State, state: u64);
    pub fn bluetick_closure_at(L: *mut lua_State, index: c_int) -> *mut Closure;
    pub fn bluetick_proto_of(closure: *mut Closure) -> *mut Proto;
    pub fn bluetick_read_proto(proto: *const Proto, out: *mut RawProto);
    pub fn bluetick_read_local(proto: *const Proto, i: c_int, out: *mut RawLocal);
    pub fn bluetick_upvalue_name(proto: *const Proto, i: c_int) -> Text;
    pub fn bluetick_line(proto: *mut Proto, pc: c_int) -> c_int;
    pub fn bluetick_op_before(proto: *const Proto, pc: c_int) -> c_int;
    pub fn bluetick_op_length(op: c_int) -> c_int;
    pub fn bluetick_read_constant(proto: *const Proto, i: c_int, out: *mut RawConstant);
    pub fn bluetick_set_id(proto: *mut Proto, id: u64);
    pub fn bluetick_set_source(L: *mut lua_State, proto: *mut Proto, index: c_int);
    pub fn bluetick_set_child(L: *mut lua_State, proto: *mut Proto, i: c_int, child: *mut Proto);
    pub fn bluetick_loaded_constant(proto: *const Proto, pc: c_int, out: *mut Slot) -> c_int;
    pub fn bluetick_is_cell(slot: *const Slot) -> c_int;
    pub fn bluetick_push(L: *mut lua_State, slot: *mut Slot);
    pub fn bluetick_value_at(L: *mut lua_State, index: c_int, out: *mut Slot);
    pub fn bluetick_set_cell(L: *mut lua_State, slot: *mut Slot, index: c_int);
    pub fn bluetick_new_cell(L: *mut lua_State, index: c_int, out: *mut Slot) -> c_int;
    pub fn bluetick_closure_slots(closure: *const Closure) -> c_int;
    pub fn bluetick_slot(closure: *const Closure, i: c_int, out: *mut Slot);
    pub fn bluetick_set_slot(L: *mut lua_State, closure: *mut Closure, i: c_int, slot: *mut Slot);
    pub fn bluetick_repoint(L: *mut lua_State, closure: *mut Closure, proto: *mut Proto);
    pub fn bluetick_environment(closure: *const Closure) -> *mut Environment;
    pub fn bluetick_set_environment(L: *mut lua_State, closure: *mut Closure, env: *mut Environment);
    pub fn bluetick_new_closure(L: *mut lua_State, proto: *mut Proto, like: *const Closure) -> *mut Closure;
    pub fn bluetick_make_forwarder(
        L: *mut lua_State,
        index: c_int,
        other: *mut Proto,
        to: *mut Closure,
        slots: c_int,
    ) -> *mut Proto;
    pub fn bluetick_relocate_upvalues(
        L: *mut lua_State,
        proto: *mut Proto,
        places: *const u8,
        slots: c_int,
    ) -> c_int;
    pub fn bluetick_share_children(L: *mut lua_State, proto: *mut Proto, like: *const Proto);
    pub fn bluetick_template(proto: *const Proto, i: c_int) -> *mut Closure;
    pub fn bluetick_set_template(
        L: *mut lua_State,
        proto: *mut Proto,
        i: c_int,
        closure: *mut Closure,
        unused: c_int,
    );
    pub fn bluetick_read_thread(thread: *const lua_State, out: *mut ThreadState);
    pub fn bluetick_read_frame(thread: *mut lua_State, frame: c_int, out: *mut Frame);
    pub fn bluetick_wrapped_thread(native: *const Closure) -> *mut lua_State;
    pub fn bluetick_has_continuation(native: *const Closure) -> c_int;
    pub fn bluetick_open_registers(thread: *mut lua_State, frame: c_int, bits: *mut u64);
    pub fn bluetick_register_is(thread: *mut lua_State, frame: c_int, reg: c_int, slot: *mut Slot) -> c_int;
    pub fn bluetick_push_register(L: *mut lua_State, thread: *mut lua_State, frame: c_int, reg: c_int);
    pub fn bluetick_reserve(thread: *mut lua_State, size: c_int) -> c_int;
    pub fn bluetick_set_frame_closure(
        L: *mut lua_State,
        thread: *mut lua_State,
        frame: c_int,
        closure: *mut Closure,
    );
    pub fn bluetick_move_frame(
        L: *mut lua_State,
        thread: *mut lua_State,
        frame: c_int,
        closure: *mut Closure,
        code: *mut Proto,
        pc: c_int,
        old_registers: c_int,
        results: c_int,
        sources: *const RawSource,
        registers: c_int,
    );
    pub fn bluetick_park(
        L: *mut lua_State,
        thread: *mut lua_State,
        frame: c_int,
        pc: c_int,
        registers: c_int,
    ) -> c_int;
    pub fn bluetick_park_in_call(thread: *mut lua_State, frame: c_int);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value, as the VM lays it out: its bits, what vectors alone need, and its type.
    fn slot(value: u64, extra: u32, tag: c_int) -> Slot {
        Slot([value, u64::from(extra) | u64::from(tag.cast_unsigned()) << 32])
    }

    #[test]
    fn slots_are_equal_whatever_is_in_the_bytes_that_nobody_uses() {
        assert_eq!(slot(7, 1, LUA_TNUMBER), slot(7, 2, LUA_TNUMBER));
        assert_ne!(slot(7, 1, LUA_TNUMBER), slot(8, 1, LUA_TNUMBER));
        assert_ne!(slot(7, 1, LUA_TNUMBER), slot(7, 1, LUA_TSTRING));
        assert_eq!(slot(1 << 40, 1, LUA_TNIL), slot(2, 2, LUA_TNIL));
        assert_eq!(slot(1 << 40 | 1, 1, LUA_TBOOLEAN), slot(1, 2, LUA_TBOOLEAN));
        assert_ne!(slot(0, 1, LUA_TBOOLEAN), slot(1, 1, LUA_TBOOLEAN));
        assert_ne!(slot(7, 1, LUA_TVECTOR), slot(7, 2, LUA_TVECTOR));
        assert_eq!(slot(7, 1, LUA_TVECTOR), slot(7, 1, LUA_TVECTOR));
    }
}
