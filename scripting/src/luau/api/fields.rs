//! Fields of tasklets as scripts see them: what the scheduler knows, and what a script has set.

use super::super::ffi::*;
use super::super::machine::Machine;
use super::super::value::{push_str, raise, to_bytes};
use super::tasklet::{check, check_may};
use super::{check_bool, wrong_type};
use crate::scheduler::{ErrorKind, Life, Slot, number};
use std::ffi::{CStr, c_int};

/// Fields of a handle that are not methods, in the order of their atoms.
pub(super) const FIELDS: [&str; 23] = [
    "alive",
    "paused",
    "blocked",
    "scheduled",
    "restorable",
    "atomic",
    "ignore_nesting",
    "is_current",
    "is_main",
    "thread_id",
    "next",
    "prev",
    "times_switched_to",
    "run_time",
    "parent_callsite",
    "block_trap",
    "background",
    "storage",
    "tempval",
    "name",
    "id",
    "version",
    "stale",
];

/// Methods are in the upvalue; the rest is a field, or was set by a script.
pub(super) unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM with a handle and a key.
    unsafe {
        let id = check(L, 1, "index");
        let machine = Machine::of(L);
        let tasklet = &machine.scheduler().tasklets[id];
        let flags = tasklet.flags;
        let mut atom = -1;
        if lua_type(L, 2) == LUA_TSTRING {
            lua_tostringatom(L, 2, &mut atom);
        }
        let truth = match usize::try_from(atom).ok().and_then(|atom| FIELDS.get(atom)).copied() {
            Some("alive") => tasklet.alive(),
            Some("paused") => tasklet.paused(),
            Some("blocked") => tasklet.blocked(),
            Some("scheduled") => tasklet.scheduled() && tasklet.alive(),
            Some("restorable") => tasklet.alive() && !tasklet.has_native_frames(),
            Some("atomic") => flags.atomic,
            Some("ignore_nesting") => flags.ignore_nesting,
            Some("block_trap") => flags.block_trap,
            Some("background") => flags.background,
            Some("is_current") => id == machine.running.get(),
            Some("is_main") => id == machine.scheduler().main,
            Some("stale") => machine.vm().is_some_and(|vm| vm.is_stale(id)),
            Some("version") => {
                match machine.vm().and_then(|vm| vm.version_of(id)) {
                    Some(version) => lua_pushnumber(L, f64::from(version)),
                    None => lua_pushnil(L),
                }
                return 1;
            }
            Some("thread_id") => {
                lua_pushnumber(L, 1.0);
                return 1;
            }
            Some(side @ ("next" | "prev")) => {
                let neighbour = if side == "next" { tasklet.next } else { tasklet.prev };
                machine.push_tasklet(L, machine.scheduler().waiter_id(neighbour));
                return 1;
            }
            Some("times_switched_to") => {
                lua_pushnumber(L, f64::from(tasklet.switches));
                return 1;
            }
            Some("run_time") => {
                lua_pushnumber(L, machine.run_time(id).as_secs_f64());
                return 1;
            }
            Some("storage") => {
                machine.push_storage(L, id);
                return 1;
            }
            Some("parent_callsite") => {
                push_optional(L, tasklet.details.as_ref().and_then(|d| d.callsite.as_deref()));
                return 1;
            }
            Some("name") => {
                push_optional(L, tasklet.details.as_ref().and_then(|d| d.name.as_deref()));
                return 1;
            }
            Some("id") => {
                lua_pushnumber(L, number(id) as f64);
                return 1;
            }
            Some("tempval") => {
                let (thread, slot, started) = (tasklet.thread, tasklet.slot, tasklet.life == Life::Started);
                if started && id != machine.running.get() && slot == Slot::Value && !thread.is_null() {
                    lua_xpush(thread, L, -1);
                } else {
                    lua_pushnil(L);
                }
                return 1;
            }
            _ => {
                lua_pushvalue(L, 2);
                if lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL {
                    return 1;
                }
                if push_fields(L) {
                    lua_pushvalue(L, 2);
                    lua_rawget(L, -2);
                }
                return 1;
            }
        };
        lua_pushboolean(L, c_int::from(truth));
        1
    }
}

unsafe fn push_optional(L: *mut lua_State, text: Option<&str>) {
    // SAFETY: called from a C function.
    unsafe {
        match text {
            Some(text) => push_str(L, text),
            None => lua_pushnil(L),
        }
    }
}

pub(super) unsafe extern "C-unwind" fn newindex(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM with a handle, a key and a value.
    unsafe {
        let id = check_may(L, 1, "assignment");
        let machine = Machine::of(L);
        let mut atom = -1;
        if lua_type(L, 2) == LUA_TSTRING {
            lua_tostringatom(L, 2, &mut atom);
        }
        match usize::try_from(atom).ok().and_then(|atom| FIELDS.get(atom)).copied() {
            Some("block_trap") => {
                machine.scheduler().tasklets[id].flags.block_trap = check_bool(L, 3, "block_trap");
            }
            Some("background") => {
                let background = check_bool(L, 3, "background");
                machine.scheduler().set_background(id, background);
            }
            Some("tempval") => {
                machine.write_tempval(id, L, 3);
            }
            Some("name") => {
                let name = match (lua_type(L, 3), to_bytes(L, 3)) {
                    (LUA_TNIL, _) => None,
                    // Names are kept outside of the VM, whose limit on memory does not count them.
                    (_, Some(text)) if text.len() > MAX_NAME => {
                        wrong_type(L, 3, "name", "at most 1000 bytes")
                    }
                    (_, Some(text)) => Some(String::from_utf8_lossy(text).into_owned().into_boxed_str()),
                    _ => wrong_type(L, 3, "name", "a string or nil"),
                };
                machine.scheduler().tasklets[id].details_mut().name = name;
            }
            Some(field) => {
                raise(L, ErrorKind::Type, format!("the field '{field}' of a tasklet can't be set"))
            }
            None => set_field(L, machine),
        }
        0
    }
}

/// Sets a field of the script's own: the key is at index 2, the value at 3.
unsafe fn set_field(L: *mut lua_State, machine: &Machine) {
    // SAFETY: called from a C function.
    unsafe {
        machine.anchors().push(machine.constants.tasklet_methods, L);
        lua_pushvalue(L, 2);
        if lua_rawget(L, -2) != LUA_TNIL {
            raise(L, ErrorKind::Type, "a method of a tasklet can't be set");
        }
        if !push_fields(L) {
            make_fields(L);
        }
        lua_pushvalue(L, 2);
        lua_pushvalue(L, 3);
        lua_settable(L, -3);
    }
}

/// Bytes in the name of a tasklet.
const MAX_NAME: usize = 1000;

/// Where a handle with fields of a script's own has them: in a metatable of its own. So the fields
/// belong to the handle, and a field that leads back to it keeps nothing alive.
const FIELDS_KEY: &CStr = c"fields";

/// Pushes the fields of the handle at index 1; false, and nothing, if it has none. `[-0, +(0|1)]`
///
/// # Safety
/// Called from a C function with a handle.
pub(super) unsafe fn push_fields(L: *mut lua_State) -> bool {
    // SAFETY: called from a C function with a handle, which has a metatable.
    unsafe {
        lua_getmetatable(L, 1);
        let found = lua_rawgetfield(L, -1, FIELDS_KEY.as_ptr()) == LUA_TTABLE;
        if found {
            lua_remove(L, -2);
        } else {
            lua_settop(L, -3);
        }
        found
    }
}

/// Gives the handle at index 1 fields, and pushes them. `[-0, +1]`
unsafe fn make_fields(L: *mut lua_State) {
    // SAFETY: called from a C function with a handle; its new metatable is a copy of the common one.
    unsafe {
        luaL_checkstack(L, 6, std::ptr::null());
        lua_createtable(L, 0, 1);
        lua_createtable(L, 0, 10);
        lua_getmetatable(L, 1);
        lua_pushnil(L);
        while lua_next(L, -2) != 0 {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -5);
        }
        lua_settop(L, -2);
        lua_pushvalue(L, -2);
        lua_rawsetfield(L, -2, FIELDS_KEY.as_ptr());
        lua_setreadonly(L, -1, 1);
        lua_setmetatable(L, 1);
    }
}
