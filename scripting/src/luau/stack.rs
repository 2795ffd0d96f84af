//! The stack of a running C function, for those that scripts call the most: what they are called with, and what they
//! return.
//!
//! Through the VM's public interface each of these is a call or two. With the feature `fast-switch` they are done in
//! place, as `state.rs` does it for switches; `stack.cpp` says where the fields are that only this file knows.
//!
//! All of them are for a C function that the VM has called, so that there is room for values, and none of them raises
//! or allocates.

use super::ffi::*;
use std::ffi::{c_int, c_void};

#[cfg(feature = "fast-switch")]
pub use fields::*;
#[cfg(not(feature = "fast-switch"))]
pub use interface::*;

#[cfg(feature = "fast-switch")]
mod fields {
    use super::super::machine::NOT_ASKED;
    use super::super::state::{State, TValue, is_black, state};
    use super::*;
    use std::mem::offset_of;

    /// The head of a userdata; its data follows.
    #[repr(C)]
    struct Userdata {
        head: [u8; 3],
        tag: u8,
        length: c_int,
        metatable: *mut Table,
    }

    /// The first fields of a table, and its array.
    #[repr(C)]
    struct Table {
        head: [u8; 8],
        array_size: c_int,
        boundary: c_int,
        metatable: *mut Table,
        array: *mut TValue,
    }

    /// The first fields of a string.
    #[repr(C)]
    struct Text {
        head: [u8; 4],
        atom: i16,
    }

    /// A C function with upvalues.
    #[repr(C)]
    struct Function {
        head: [usize; 6],
        upvalue: TValue,
    }

    const FIELDS: [usize; 8] = [
        offset_of!(Userdata, tag),
        offset_of!(Userdata, metatable),
        size_of::<Userdata>(),
        offset_of!(Table, array_size),
        offset_of!(Table, array),
        offset_of!(Text, atom),
        offset_of!(Function, upvalue),
        offset_of!(TValue, value),
    ];

    unsafe extern "C" {
        static bluetick_stack_fields: [usize; FIELDS.len()];
    }

    /// The fields are where this file takes them to be.
    ///
    /// # Panics
    /// If they aren't: the build was not one for this machine.
    pub fn check() {
        // SAFETY: constants of stack.cpp.
        assert_eq!(unsafe { bluetick_stack_fields }, FIELDS, "the VM's layout is another one");
    }

    #[inline(always)]
    unsafe fn push(L: *mut lua_State, value: TValue) {
        // SAFETY: the caller's: there is room for a value, and the collector knows it.
        unsafe {
            let state: *mut State = state(L);
            (*state).top.write(value);
            (*state).top = (*state).top.add(1);
        }
    }

    /// The argument with this number, if there are so many.
    #[inline(always)]
    unsafe fn argument(L: *mut lua_State, number: usize) -> Option<TValue> {
        // SAFETY: the caller's; what is between base and top are values.
        unsafe {
            let at = (*state(L)).base.add(number - 1);
            (at < (*state(L)).top).then(|| *at)
        }
    }

    /// Pushes a number. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is the state of the running C function, with room for a value, as in all that follow.
    #[inline(always)]
    pub unsafe fn push_number(L: *mut lua_State, number: f64) {
        // SAFETY: the caller's.
        unsafe {
            let value = std::ptr::without_provenance_mut(number.to_bits() as usize);
            push(L, TValue { value, extra: 0, tag: LUA_TNUMBER });
        }
    }

    /// Pushes a boolean. `[-0, +1]`
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn push_boolean(L: *mut lua_State, boolean: bool) {
        // SAFETY: the caller's.
        unsafe {
            let value = std::ptr::without_provenance_mut(usize::from(boolean));
            push(L, TValue { value, extra: 0, tag: LUA_TBOOLEAN });
        }
    }

    /// Pushes a vector. `[-0, +1]`
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn push_vector(L: *mut lua_State, [x, y, z]: [f32; 3]) {
        // SAFETY: the caller's; a vector is its three numbers, in the value and what is next to it.
        unsafe {
            let first = u64::from(x.to_bits()) | u64::from(y.to_bits()) << 32;
            let value = std::ptr::without_provenance_mut(first as usize);
            push(L, TValue { value, extra: z.to_bits().cast_signed(), tag: LUA_TVECTOR });
        }
    }

    /// Pushes the userdata at this place of the metatable of the first argument; with `false` nothing, because none is
    /// there, or not in the array part of the table. `[-0, +1]`, or with `false` `[-0, +0]`
    ///
    /// # Safety
    /// As above. The first argument is a userdata that has a metatable.
    #[inline(always)]
    pub unsafe fn push_sibling(L: *mut lua_State, place: c_int) -> bool {
        // SAFETY: the caller's; the place is one of the table's array.
        unsafe {
            let table = (*(*(*state(L)).base).value.cast::<Userdata>()).metatable;
            let at = (place as u32).wrapping_sub(1);
            if at >= (*table).array_size as u32 {
                return false;
            }
            let value = (*table).array.add(at as usize);
            if (*value).tag != LUA_TUSERDATA || is_black(L) {
                return false;
            }
            // As a whole: the VM takes it from the stack as a whole, for which it would wait if it came in parts.
            (*state(L)).top.copy_from_nonoverlapping(value, 1);
            (*state(L)).top = (*state(L)).top.add(1);
            true
        }
    }

    /// Pushes the userdata at these places of the table that is the upvalue with this number; with `false` nothing, because
    /// one of them is no userdata, or not in the array part of the table. `[-0, +n]`, or with `false` `[-0, +0]`
    ///
    /// # Safety
    /// As above, with room for all of them; there are so many upvalues.
    #[inline(always)]
    pub unsafe fn push_places(L: *mut lua_State, upvalue: usize, places: &[c_int]) -> bool {
        // SAFETY: the caller's; each place is one of the table's array.
        unsafe {
            let table = *upvalue_at(L, upvalue);
            if table.tag != LUA_TTABLE || is_black(L) {
                return false;
            }
            let table = table.value.cast::<Table>();
            let top = (*state(L)).top;
            for (i, &place) in places.iter().enumerate() {
                let at = (place as u32).wrapping_sub(1);
                if at >= (*table).array_size as u32 {
                    return false;
                }
                let value = (*table).array.add(at as usize);
                if (*value).tag != LUA_TUSERDATA {
                    return false;
                }
                top.add(i).copy_from_nonoverlapping(value, 1);
            }
            (*state(L)).top = top.add(places.len());
            true
        }
    }

    /// The upvalue of the running function with this number.
    #[inline(always)]
    unsafe fn upvalue_at(L: *mut lua_State, number: usize) -> *mut TValue {
        // SAFETY: the caller's; the function is below its first argument.
        unsafe {
            let function = (*(*state(L)).base.sub(1)).value.cast::<Function>();
            (&raw mut (*function).upvalue).add(number - 1)
        }
    }

    /// The data of the userdata that the running function has as its first upvalue.
    ///
    /// # Safety
    /// As above; it has one.
    #[inline(always)]
    pub unsafe fn userdata_upvalue(L: *mut lua_State) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { (*upvalue_at(L, 1)).value.cast::<Userdata>().add(1).cast() }
    }

    /// The data of the first argument, if it is a userdata with this tag; otherwise null.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn self_argument(L: *mut lua_State, tag: c_int) -> *mut c_void {
        // SAFETY: the caller's; the tag of the value says what it points to.
        unsafe {
            match argument(L, 1) {
                Some(value) if value.tag == LUA_TUSERDATA => {
                    let userdata = value.value.cast::<Userdata>();
                    let is_one = c_int::from((*userdata).tag) == tag;
                    if is_one { userdata.add(1).cast() } else { std::ptr::null_mut() }
                }
                _ => std::ptr::null_mut(),
            }
        }
    }

    /// The atom of the second argument; −1 if it is no string that has one.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn key_argument(L: *mut lua_State) -> c_int {
        // SAFETY: the caller's; the tag of the value says what it points to.
        unsafe {
            match argument(L, 2) {
                Some(value) if value.tag == LUA_TSTRING => match (*value.value.cast::<Text>()).atom {
                    NOT_ASKED => asked_atom(L, 2),
                    atom => c_int::from(atom),
                },
                _ => -1,
            }
        }
    }

    /// The number that is the argument with this number.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn number_argument(L: *mut lua_State, number: usize) -> Option<f64> {
        // SAFETY: the caller's.
        let value = unsafe { argument(L, number) }.filter(|value| value.tag == LUA_TNUMBER)?;
        Some(f64::from_bits(value.value.addr() as u64))
    }

    /// The vector that is the argument with this number.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn vector_argument(L: *mut lua_State, number: usize) -> Option<[f32; 3]> {
        // SAFETY: the caller's.
        let value = unsafe { argument(L, number) }.filter(|value| value.tag == LUA_TVECTOR)?;
        let first = value.value.addr() as u64;
        Some([first as u32, (first >> 32) as u32, value.extra.cast_unsigned()].map(f32::from_bits))
    }

    /// The pointer that the running function has as its first upvalue.
    ///
    /// # Safety
    /// As above; it has one.
    #[inline(always)]
    pub unsafe fn pointer_upvalue(L: *mut lua_State) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { (*upvalue_at(L, 1)).value }
    }
}

#[cfg(not(feature = "fast-switch"))]
mod interface {
    use super::*;

    /// Nothing is taken for granted here.
    pub fn check() {}

    /// Pushes a number. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is the state of the running C function, with room for a value, as in all that follow.
    #[inline(always)]
    pub unsafe fn push_number(L: *mut lua_State, number: f64) {
        // SAFETY: the caller's.
        unsafe { lua_pushnumber(L, number) }
    }

    /// Pushes a boolean. `[-0, +1]`
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn push_boolean(L: *mut lua_State, boolean: bool) {
        // SAFETY: the caller's.
        unsafe { lua_pushboolean(L, c_int::from(boolean)) }
    }

    /// Pushes a vector. `[-0, +1]`
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn push_vector(L: *mut lua_State, [x, y, z]: [f32; 3]) {
        // SAFETY: the caller's.
        unsafe { lua_pushvector(L, x, y, z) }
    }

    /// Pushes the userdata at this place of the metatable of the first argument; with `false` nothing, because none is
    /// there. `[-0, +1]`, or with `false` `[-0, +0]`
    ///
    /// # Safety
    /// As above, with room for two. The first argument is a userdata that has a metatable.
    pub unsafe fn push_sibling(L: *mut lua_State, place: c_int) -> bool {
        // SAFETY: the caller's.
        unsafe {
            lua_getmetatable(L, 1);
            let is_there = lua_rawgeti_(L, -1, place) == LUA_TUSERDATA;
            if is_there {
                lua_replace(L, -2);
            } else {
                lua_settop(L, -3);
            }
            is_there
        }
    }

    /// Pushes the userdata at these places of the table that is the upvalue with this number; with `false` nothing, because
    /// one of them is no userdata. `[-0, +n]`, or with `false` `[-0, +0]`
    ///
    /// # Safety
    /// As above, with room for all of them; there are so many upvalues.
    pub unsafe fn push_places(L: *mut lua_State, upvalue: usize, places: &[c_int]) -> bool {
        // SAFETY: the caller's.
        unsafe {
            let top = lua_gettop(L);
            let index = lua_upvalueindex(upvalue as c_int);
            let all = lua_type(L, index) == LUA_TTABLE
                && places.iter().all(|&place| lua_rawgeti_(L, index, place) == LUA_TUSERDATA);
            if !all {
                lua_settop(L, top);
            }
            all
        }
    }

    /// The data of the userdata that the running function has as its first upvalue.
    ///
    /// # Safety
    /// As above; it has one.
    #[inline(always)]
    pub unsafe fn userdata_upvalue(L: *mut lua_State) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { lua_touserdata(L, lua_upvalueindex(1)) }
    }

    /// The data of the first argument, if it is a userdata with this tag; otherwise null.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn self_argument(L: *mut lua_State, tag: c_int) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { lua_touserdatatagged(L, 1, tag) }
    }

    /// The atom of the second argument; −1 if it is no string that has one.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn key_argument(L: *mut lua_State) -> c_int {
        // SAFETY: the caller's.
        unsafe { asked_atom(L, 2) }
    }

    /// The number that is the argument with this number.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn number_argument(L: *mut lua_State, number: usize) -> Option<f64> {
        let index = number as c_int;
        // SAFETY: the caller's. Not a string of digits, which `lua_tonumber` would take as well.
        unsafe { (lua_type(L, index) == LUA_TNUMBER).then(|| lua_tonumber(L, index)) }
    }

    /// The vector that is the argument with this number.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn vector_argument(L: *mut lua_State, number: usize) -> Option<[f32; 3]> {
        // SAFETY: the caller's; a vector is three numbers.
        unsafe { lua_tovector(L, number as c_int).cast::<[f32; 3]>().as_ref().copied() }
    }

    /// The pointer that the running function has as its first upvalue.
    ///
    /// # Safety
    /// As above; it has one.
    #[inline(always)]
    pub unsafe fn pointer_upvalue(L: *mut lua_State) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { lua_tolightuserdata(L, lua_upvalueindex(1)) }
    }
}

/// The atom of the value at `index`, for which the VM may have to ask; −1 if it is no string that has one.
///
/// # Safety
/// As above.
#[inline(never)]
unsafe fn asked_atom(L: *mut lua_State, index: c_int) -> c_int {
    let mut atom = -1;
    // SAFETY: the caller's. Only a string is asked for its atom, so nothing is converted.
    unsafe {
        if lua_type(L, index) == LUA_TSTRING {
            lua_tostringatom(L, index, &mut atom);
        }
    }
    atom
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vm, VmConfig};
    use mlua::{Function, Value};

    /// A userdata's tag that nothing else has here.
    const TAG: c_int = 100;

    /// What a script gets from a C function that is called with these arguments, as an expression.
    fn called(f: lua_CFunction, arguments: &str) -> Value {
        let vm = Vm::new(VmConfig::default()).unwrap();
        // SAFETY: protected by mlua, which takes the values that are left.
        let function: Function = unsafe {
            vm.lua()
                .exec_raw((), |L| {
                    lua_createtable(L, 2, 0);
                    lua_newuserdata(L, 8);
                    lua_rawseti_(L, -2, 2);
                    lua_setuserdatametatable(L, TAG);
                    lua_pushlightuserdatatagged(L, std::ptr::without_provenance_mut(24), 0);
                    lua_pushcclosurek(L, f, c"f".as_ptr(), 1, None);
                })
                .unwrap()
        };
        // SAFETY: as above.
        let userdata: Value = unsafe {
            vm.lua()
                .exec_raw((), |L| {
                    lua_newuserdatataggedwithmetatable(L, 8, TAG).cast::<u64>().write(7);
                })
                .unwrap()
        };
        let text = format!("local f, u = ... return f({arguments})");
        let value = vm.load("it", &text).unwrap().call::<Value>((function, userdata)).unwrap();
        match value {
            Value::UserData(_) => Value::Boolean(true),
            value => value,
        }
    }

    #[test]
    fn arguments_are_taken_for_what_they_are() {
        unsafe extern "C-unwind" fn tagged(L: *mut lua_State) -> c_int {
            // SAFETY: called by the VM, as all that follow.
            unsafe {
                let data = self_argument(L, TAG).cast::<u64>().as_ref();
                push_number(L, data.map_or(-1.0, |&data| data as f64));
                1
            }
        }
        unsafe extern "C-unwind" fn atom(L: *mut lua_State) -> c_int {
            // SAFETY: as above.
            unsafe {
                let asked = asked_atom(L, 2);
                push_boolean(L, key_argument(L) == asked);
                1
            }
        }
        unsafe extern "C-unwind" fn number(L: *mut lua_State) -> c_int {
            // SAFETY: as above.
            unsafe {
                push_number(L, number_argument(L, 3).unwrap_or(-1.0));
                1
            }
        }
        unsafe extern "C-unwind" fn vector(L: *mut lua_State) -> c_int {
            // SAFETY: as above.
            unsafe {
                let vector = vector_argument(L, 3).map(|[x, y, z]| [z, x, y]);
                push_vector(L, vector.unwrap_or([-1.0; 3]));
                1
            }
        }
        for (arguments, expected) in
            [("u", 7.0), ("u, 1", 7.0), ("", -1.0), ("1", -1.0), ("newproxy()", -1.0)]
        {
            assert_eq!(called(tagged, arguments), Value::Number(expected), "{arguments}");
        }
        for arguments in ["", "u", "u, 1", "u, 'alive'", "u, 'name'", "u, `nobody asks for {1}`"] {
            assert_eq!(called(atom, arguments), Value::Boolean(true), "{arguments}");
        }
        for (arguments, expected) in
            [("1, 2, 3.5", 3.5), ("1, 2, '3'", -1.0), ("1, 2", -1.0), ("", -1.0), ("1, 2, nil", -1.0)]
        {
            assert_eq!(called(number, arguments), Value::Number(expected), "{arguments}");
        }
        let vectors = [("1, 2, vector.create(1, 2, 3)", [3.0, 1.0, 2.0]), ("1, 2, 3", [-1.0; 3])];
        for (arguments, [x, y, z]) in vectors {
            assert_eq!(called(vector, arguments), Value::Vector(mlua::Vector::new(x, y, z)), "{arguments}");
        }
    }

    #[test]
    fn a_sibling_is_a_userdata_in_the_metatable() {
        unsafe extern "C-unwind" fn sibling(L: *mut lua_State) -> c_int {
            // SAFETY: called by the VM with a userdata that has a metatable, and a number.
            unsafe {
                let place = number_argument(L, 2).unwrap_or(0.0) as c_int;
                let height = lua_gettop(L);
                let is_there = push_sibling(L, place);
                if lua_gettop(L) != height + c_int::from(is_there) {
                    push_number(L, -1.0);
                } else if !is_there {
                    push_boolean(L, false);
                }
                1
            }
        }
        for (place, expected) in
            [("2", true), ("1", false), ("0", false), ("-1", false), ("3", false), ("-2^31", false)]
        {
            assert_eq!(called(sibling, &format!("u, {place}")), Value::Boolean(expected), "{place}");
        }
    }

    #[test]
    fn all_places_hold_userdata_or_nothing_is_pushed() {
        unsafe extern "C-unwind" fn places(L: *mut lua_State) -> c_int {
            // SAFETY: called by the VM with two upvalues, of which the second is a table.
            unsafe {
                assert_eq!(*userdata_upvalue(L).cast::<u64>(), 7);
                let height = lua_gettop(L);
                assert!(push_places(L, 2, &[4, 1, 2]));
                assert_eq!(lua_gettop(L), height + 3);
                for (index, place) in [(1, 4), (2, 1), (3, 2)] {
                    lua_rawgeti_(L, lua_upvalueindex(2), place);
                    assert_eq!(lua_touserdata(L, -1), lua_touserdata(L, height + index));
                    lua_settop(L, -2);
                }
                lua_settop(L, height);
                for places in [&[1, 3][..], &[5], &[0], &[-1], &[c_int::MAX], &[c_int::MIN]] {
                    assert!(!push_places(L, 2, places), "{places:?}");
                    assert_eq!(lua_gettop(L), height, "{places:?}");
                }
                assert!(push_places(L, 2, &[]));
                assert!(!push_places(L, 1, &[1]));
                0
            }
        }
        let vm = Vm::new(VmConfig::default()).unwrap();
        vm.with_state(|L| {
            // SAFETY: a protected call with room; the closure takes its upvalues off the stack.
            unsafe {
                lua_newuserdata(L, 8).cast::<u64>().write(7);
                lua_createtable(L, 4, 0);
                for place in [1, 2, 4] {
                    lua_newuserdata(L, 8);
                    lua_rawseti_(L, -2, place);
                }
                lua_pushcclosurek(L, places, c"places".as_ptr(), 2, None);
                lua_call(L, 0, 0);
            }
        })
        .unwrap();
    }

    #[test]
    fn a_function_knows_its_first_upvalue() {
        unsafe extern "C-unwind" fn upvalue(L: *mut lua_State) -> c_int {
            // SAFETY: called by the VM, with an upvalue.
            unsafe {
                push_number(L, pointer_upvalue(L).addr() as f64);
                1
            }
        }
        assert_eq!(called(upvalue, ""), Value::Number(24.0));
        assert_eq!(called(upvalue, "1, 2, 3"), Value::Number(24.0));
    }
}
