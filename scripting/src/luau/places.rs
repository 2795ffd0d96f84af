//! Several values of a table at once: with the feature `fast-switch` by one look into the table, in `places.cpp`; without
//! it by the VM's public functions.

use super::ffi::*;
use std::ffi::c_int;

#[cfg(feature = "fast-switch")]
unsafe extern "C" {
    fn bt_push_places(L: *mut lua_State, index: c_int, places: *const c_int, count: c_int) -> c_int;
}

/// Pushes the userdata at these places of the table at `index`; with `false` nothing, because one of them is no
/// userdata, or not in the array part of the table. `[-0, +n]`, or with `false` `[-0, +0]`. Raises nothing.
///
/// # Safety
/// A live state with room for them; a table is at `index`, which may be an upvalue.
#[inline(always)]
pub unsafe fn push_places(L: *mut lua_State, index: c_int, places: &[c_int]) -> bool {
    #[cfg(feature = "fast-switch")]
    // SAFETY: as above; the places are as many as it is told.
    unsafe {
        bt_push_places(L, index, places.as_ptr(), places.len() as c_int) != 0
    }
    #[cfg(not(feature = "fast-switch"))]
    // SAFETY: as above. An index into the stack is from its bottom, or an upvalue's.
    unsafe {
        let top = lua_gettop(L);
        let all = places.iter().all(|&place| lua_rawgeti_(L, index, place) == LUA_TUSERDATA);
        if !all {
            lua_settop(L, top);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vm, VmConfig};

    #[test]
    fn all_places_hold_userdata_or_nothing_is_pushed() {
        let vm = Vm::new(VmConfig::default()).unwrap();
        vm.with_state(|L| {
            // SAFETY: a protected call with room; what is pushed is taken off again.
            unsafe {
                lua_createtable(L, 4, 0);
                for place in [1, 2, 4] {
                    lua_newuserdata(L, 8);
                    lua_rawseti_(L, -2, place);
                }
                let table = lua_gettop(L);
                assert!(push_places(L, table, &[4, 1, 2]));
                assert_eq!(lua_gettop(L), table + 3);
                for (index, place) in [(1, 4), (2, 1), (3, 2)] {
                    lua_rawgeti_(L, table, place);
                    assert_eq!(lua_touserdata(L, -1), lua_touserdata(L, table + index));
                    lua_settop(L, -2);
                }
                lua_settop(L, table);
                for places in [&[1, 3][..], &[5], &[0], &[-1], &[c_int::MAX], &[c_int::MIN]] {
                    assert!(!push_places(L, table, places), "{places:?}");
                    assert_eq!(lua_gettop(L), table, "{places:?}");
                }
                assert!(push_places(L, table, &[]));
                lua_settop(L, 0);
            }
        })
        .unwrap();
    }
}
