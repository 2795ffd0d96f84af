//! What a switch reads and writes of a coroutine.
//!
//! Through the VM's public interface each of these is a call. With the feature `fast-switch` they are done in
//! place, in the fields that `lua_State` and `TValue` have in the private headers that `switch.cpp` is compiled
//! against; that file says where its fields are, and no VM is made in which they are elsewhere.

use super::ffi::*;
use crate::scheduler::Handle;
use std::ffi::{c_int, c_void};

#[cfg(feature = "fast-switch")]
pub(crate) use fields::*;
#[cfg(not(feature = "fast-switch"))]
pub(crate) use interface::*;

#[cfg(feature = "fast-switch")]
mod fields {
    use super::*;
    use std::hint::cold_path;
    use std::mem::offset_of;

    /// A value on a stack.
    #[derive(Clone, Copy)]
    #[repr(C)]
    pub(in super::super) struct TValue {
        pub value: *mut c_void,
        pub extra: c_int,
        pub tag: c_int,
    }

    /// The first fields of `lua_State`, and the last one.
    #[repr(C)]
    pub(in super::super) struct State {
        tag: u8,
        marked: u8,
        memory_category: u8,
        status: u8,
        active_memory_category: u8,
        is_active: bool,
        single_step: bool,
        pub top: *mut TValue,
        pub base: *mut TValue,
        global: *mut c_void,
        call: *mut c_void,
        stack_last: *mut TValue,
        stack: *mut TValue,
        end_of_calls: *mut c_void,
        calls: *mut c_void,
        stack_size: c_int,
        calls_size: c_int,
        c_calls: u16,
        base_c_calls: u16,
        cached_slot: c_int,
        globals: *mut c_void,
        open_upvalues: *mut c_void,
        gray: *mut c_void,
        namecall: *mut c_void,
        finalizers: *mut c_void,
        thread_data: *mut c_void,
    }

    /// The bit of `marked` that says that the collector is through with an object.
    const BLACK: u8 = 1 << 2;

    /// Where in a userdata its data is.
    const DATA: usize = 16;

    const FIELDS: [usize; 13] = [
        offset_of!(State, marked),
        offset_of!(State, status),
        offset_of!(State, top),
        offset_of!(State, base),
        offset_of!(State, global),
        offset_of!(State, c_calls),
        offset_of!(State, base_c_calls),
        offset_of!(State, gray),
        offset_of!(State, thread_data),
        offset_of!(TValue, tag),
        size_of::<TValue>(),
        BLACK as usize,
        DATA,
    ];

    unsafe extern "C" {
        static bluetick_fields: [usize; FIELDS.len()];
        /// The offset in `global_State` of the list of objects that the collector has to look at again.
        static bluetick_grayagain: usize;
    }

    /// The fields are where this file takes them to be.
    ///
    /// # Panics
    /// If they aren't: the build was not one for this machine.
    pub fn check() {
        // SAFETY: constants of switch.cpp.
        assert_eq!(unsafe { bluetick_fields }, FIELDS, "the VM's layout is another one");
    }

    #[inline(always)]
    pub(in super::super) fn state(L: *mut lua_State) -> *mut State {
        L.cast()
    }

    /// Fetches what a resume touches beside the state itself, which has been fetched before; nothing for null.
    ///
    /// # Safety
    /// `L` is a live state or null.
    #[inline(always)]
    pub unsafe fn prefetch(L: *mut lua_State) {
        if !L.is_null() {
            // SAFETY: the caller's.
            unsafe {
                crate::scheduler::prefetch((*state(L)).top);
                crate::scheduler::prefetch((*state(L)).call);
            }
        }
    }

    /// What the coroutine's creator has attached to it, or null.
    ///
    /// # Safety
    /// `L` is a live state, as in all that follow.
    #[inline(always)]
    pub unsafe fn thread_data(L: *mut lua_State) -> *mut c_void {
        // SAFETY: the caller's; `check` has compared the fields.
        unsafe { (*state(L)).thread_data }
    }

    /// Nothing between the resume of the coroutine and its running C function keeps it from suspending.
    #[inline(always)]
    pub unsafe fn is_yieldable(L: *mut lua_State) -> bool {
        // SAFETY: as above.
        unsafe { (*state(L)).c_calls <= (*state(L)).base_c_calls }
    }

    /// How many calls of C functions are under way on it.
    #[inline(always)]
    pub unsafe fn depth(L: *mut lua_State) -> u16 {
        // SAFETY: as above.
        unsafe { (*state(L)).c_calls }
    }

    /// How many values the running function has on the stack.
    #[inline(always)]
    pub unsafe fn height(L: *mut lua_State) -> c_int {
        // SAFETY: as above; both point into the stack.
        unsafe { (*state(L)).top.offset_from((*state(L)).base) as c_int }
    }

    /// What a C function returns that suspends, which is possible.
    #[inline(always)]
    pub unsafe fn suspended(L: *mut lua_State) -> c_int {
        // SAFETY: as above.
        unsafe {
            debug_assert!(is_yieldable(L));
            (*state(L)).status = LUA_BREAK as u8;
        }
        -1
    }

    /// The collector is through with the coroutine, and has to hear of a value that its stack gets.
    #[inline(always)]
    pub(in super::super) unsafe fn is_black(L: *mut lua_State) -> bool {
        // SAFETY: as above.
        unsafe { (*state(L)).marked & BLACK != 0 }
    }

    /// The stack is about to get a value that the collector may not have seen.
    #[inline(always)]
    unsafe fn barrier(L: *mut lua_State) {
        // SAFETY: as above; this is what `luaC_barrierback` does, but for a call, for whose sake every user would have
        // to save its registers.
        unsafe {
            if is_black(L) {
                cold_path();
                let list = (*state(L)).global.byte_add(bluetick_grayagain).cast::<*mut c_void>();
                (*state(L)).marked &= !BLACK;
                (*state(L)).gray = *list;
                *list = L.cast();
            }
        }
    }

    /// Pushes nil, for what is to be delivered. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is the state of the running C function, with room for a value.
    #[inline(always)]
    pub unsafe fn push_slot(L: *mut lua_State) {
        // SAFETY: the caller's.
        unsafe {
            (*(*state(L)).top).tag = LUA_TNIL;
            (*state(L)).top = (*state(L)).top.add(1);
        }
    }

    /// Moves the value on top of one stack in place of the one on top of another; where it was is nil then.
    /// `[-0, +0]` in both.
    ///
    /// # Safety
    /// Two states of the VM, each with a value on top.
    #[inline(always)]
    pub unsafe fn move_slot(from: *mut lua_State, to: *mut lua_State) {
        // SAFETY: the caller's; below the top is a value.
        unsafe {
            barrier(to);
            let source = (*state(from)).top.sub(1);
            *(*state(to)).top.sub(1) = *source;
            (*source).tag = LUA_TNIL;
        }
    }

    /// The value on top, if it is a number. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state with a value on top, as in those below.
    #[inline(always)]
    pub unsafe fn number_on_top(L: *mut lua_State) -> Option<f64> {
        // SAFETY: the caller's; a number's bits are the value.
        unsafe {
            let TValue { value, tag, .. } = *(*state(L)).top.sub(1);
            (tag == LUA_TNUMBER).then(|| f64::from_bits(value as u64))
        }
    }

    /// Puts a number in place of the value on top. `[-0, +0]`
    #[inline(always)]
    pub unsafe fn set_number(L: *mut lua_State, number: f64) {
        // SAFETY: the caller's; the collector has nothing to do with numbers.
        unsafe {
            *(*state(L)).top.sub(1) =
                TValue { value: number.to_bits() as *mut c_void, extra: 0, tag: LUA_TNUMBER };
        }
    }

    /// Puts nil in place of the value on top. `[-0, +0]`
    #[inline(always)]
    pub unsafe fn set_nil(L: *mut lua_State) {
        // SAFETY: the caller's.
        unsafe { (*(*state(L)).top.sub(1)).tag = LUA_TNIL };
    }

    /// Pushes a handle of a tasklet. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state with room for a value; something keeps the handle alive.
    #[inline(always)]
    pub unsafe fn push_handle(_: &super::super::machine::Machine, L: *mut lua_State, handle: Handle) {
        // SAFETY: the caller's; the data is that of a userdata, behind its head.
        unsafe {
            barrier(L);
            let userdata = handle.data.as_ptr().cast::<u8>().sub(DATA).cast();
            *(*state(L)).top = TValue { value: userdata, extra: 0, tag: LUA_TUSERDATA };
            (*state(L)).top = (*state(L)).top.add(1);
        }
    }
}

#[cfg(not(feature = "fast-switch"))]
mod interface {
    use super::*;

    /// Nothing is taken for granted here.
    pub fn check() {}

    /// Where a coroutine has what a resume touches is nobody's business here.
    ///
    /// # Safety
    /// None.
    pub unsafe fn prefetch(_: *mut lua_State) {}

    /// What the coroutine's creator has attached to it, or null.
    ///
    /// # Safety
    /// `L` is a live state, as in all that follow.
    #[inline(always)]
    pub unsafe fn thread_data(L: *mut lua_State) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { lua_getthreaddata(L) }
    }

    /// Nothing between the resume of the coroutine and its running C function keeps it from suspending.
    #[inline(always)]
    pub unsafe fn is_yieldable(L: *mut lua_State) -> bool {
        // SAFETY: the caller's.
        unsafe { lua_isyieldable(L) != 0 }
    }

    /// Whether calls of C functions are under way on it: 1 if so, however many.
    #[inline(always)]
    pub unsafe fn depth(L: *mut lua_State) -> u16 {
        // SAFETY: the caller's.
        unsafe { u16::from(!is_yieldable(L)) }
    }

    /// How many values the running function has on the stack.
    #[inline(always)]
    pub unsafe fn height(L: *mut lua_State) -> c_int {
        // SAFETY: the caller's.
        unsafe { lua_gettop(L) }
    }

    /// What a C function returns that suspends, which is possible.
    #[inline(always)]
    pub unsafe fn suspended(L: *mut lua_State) -> c_int {
        // SAFETY: the caller's.
        unsafe { lua_break(L) }
    }

    /// Pushes nil, for what is to be delivered. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is the state of the running C function, with room for a value.
    #[inline(always)]
    pub unsafe fn push_slot(L: *mut lua_State) {
        // SAFETY: the caller's.
        unsafe { lua_pushnil(L) }
    }

    /// Moves the value on top of one stack in place of the one on top of another; where it was is nil then.
    /// `[-0, +0]` in both.
    ///
    /// # Safety
    /// Two states of the VM, each with a value on top and room for one more.
    pub unsafe fn move_slot(from: *mut lua_State, to: *mut lua_State) {
        // SAFETY: the caller's.
        unsafe {
            lua_settop(to, -2);
            lua_xpush(from, to, -1);
            lua_settop(from, -2);
            lua_pushnil(from);
        }
    }

    /// The value on top, if it is a number. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state with a value on top, as in those below.
    pub unsafe fn number_on_top(L: *mut lua_State) -> Option<f64> {
        // SAFETY: the caller's.
        unsafe { (lua_type(L, -1) == LUA_TNUMBER).then(|| lua_tonumber(L, -1)) }
    }

    /// Puts a number in place of the value on top. `[-0, +0]`
    pub unsafe fn set_number(L: *mut lua_State, number: f64) {
        // SAFETY: the caller's; there is room for what has just gone.
        unsafe {
            lua_settop(L, -2);
            lua_pushnumber(L, number);
        }
    }

    /// Puts nil in place of the value on top. `[-0, +0]`
    pub unsafe fn set_nil(L: *mut lua_State) {
        // SAFETY: as `set_number`.
        unsafe {
            lua_settop(L, -2);
            lua_pushnil(L);
        }
    }

    /// Pushes a handle of a tasklet. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state with room for a value; something keeps the handle alive.
    pub unsafe fn push_handle(machine: &super::super::machine::Machine, L: *mut lua_State, handle: Handle) {
        // SAFETY: the caller's.
        unsafe { machine.anchors().push(handle.anchor, L) }
    }
}
