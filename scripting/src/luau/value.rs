//! Error values, and values on their way between the two sides of the VM boundary.

use super::ffi::*;
use crate::scheduler::ErrorKind;
use std::ffi::{CStr, c_char, c_int};

/// Name, in the registry, of the metatable that all error values of the scheduler share.
const ERROR_METATABLE: &CStr = c"bluetick.error";

/// Pushes a string. `[-0, +1]`, raises when memory runs out.
///
/// # Safety
/// `L` is a live state with room for one value, below a protected call.
pub unsafe fn push_str(L: *mut lua_State, text: &str) {
    // SAFETY: pointer and length come from one `&str`; the VM copies the bytes.
    unsafe { lua_pushlstring_(L, text.as_ptr().cast::<c_char>(), text.len()) }
}

/// The text at `index` if it is a string; its bytes live as long as the value stays on the stack.
///
/// # Safety
/// `L` is a live state; the caller keeps the value on the stack while it uses the slice.
pub unsafe fn to_bytes<'a>(L: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: only a value that is a string already is asked for its text, so nothing is converted
    // in place; the VM returns a pointer to `length` readable bytes.
    unsafe {
        if lua_type(L, index) != LUA_TSTRING {
            return None;
        }
        let mut length = 0;
        let text = lua_tolstring(L, index, &mut length);
        Some(std::slice::from_raw_parts(text.cast::<u8>(), length))
    }
}

/// Makes the metatable of error values. `[-0, +0]`
///
/// # Safety
/// `L` is a live state below a protected call.
pub(crate) unsafe fn install_error_metatable(L: *mut lua_State) {
    unsafe extern "C-unwind" fn error_to_string(L: *mut lua_State) -> c_int {
        // SAFETY: called by the VM with the error value as first argument.
        unsafe {
            luaL_checktype(L, 1, LUA_TTABLE);
            lua_rawgetfield(L, 1, c"message".as_ptr());
            1
        }
    }
    // SAFETY: balanced pushes and pops on a live state.
    unsafe {
        lua_createtable(L, 0, 2);
        lua_pushcfunctiond(L, error_to_string, c"__tostring".as_ptr());
        lua_rawsetfield(L, -2, c"__tostring".as_ptr());
        push_str(L, "error");
        lua_rawsetfield(L, -2, c"__type".as_ptr());
        lua_setreadonly(L, -1, 1);
        lua_rawsetfield(L, LUA_REGISTRYINDEX, ERROR_METATABLE.as_ptr());
    }
}

/// Pushes an error value: a read-only table with `kind` and `message`, which prints as its message.
/// `[-0, +1]`
///
/// # Safety
/// `L` is a live state below a protected call.
pub unsafe fn push_error(L: *mut lua_State, kind: ErrorKind, message: &str) {
    // SAFETY: room is asked for first; pushes and pops are balanced but for the result.
    unsafe {
        luaL_checkstack(L, 4, std::ptr::null());
        lua_createtable(L, 0, 2);
        push_str(L, kind.name());
        lua_rawsetfield(L, -2, c"kind".as_ptr());
        push_str(L, message);
        lua_rawsetfield(L, -2, c"message".as_ptr());
        lua_rawgetfield(L, LUA_REGISTRYINDEX, ERROR_METATABLE.as_ptr());
        lua_setmetatable(L, -2);
        lua_setreadonly(L, -1, 1);
    }
}

/// Raises an error value of `kind` whose message begins with the place of the caller (`file:line:`).
/// Takes the text by value, and frees it before it unwinds.
///
/// # Safety
/// Called from a C function of the VM. Nothing in the caller's frame may rely on running after it.
pub unsafe fn raise(L: *mut lua_State, kind: ErrorKind, message: impl Into<String>) -> ! {
    // SAFETY: the caller's.
    unsafe { raise_at(L, 1, kind, message) }
}

/// As [`raise`]; the place is that of so many calls further out.
///
/// # Safety
/// As `raise`, or at a safepoint of the VM with `level` 0.
pub(super) unsafe fn raise_at(
    L: *mut lua_State,
    level: c_int,
    kind: ErrorKind,
    message: impl Into<String>,
) -> ! {
    // SAFETY: as above; the inner scope ends every Rust value before `lua_error` unwinds.
    unsafe {
        {
            let message = message.into();
            push_error(L, kind, &(super::traceback::place(L, level) + &message));
        }
        lua_error(L)
    }
}

/// What an error value says to people. Runs no code of scripts.
///
/// # Safety
/// `L` is a live state with a value at `index` and room for two more.
pub unsafe fn describe(L: *mut lua_State, index: c_int) -> String {
    // SAFETY: reads strings, and fields of tables without metamethods; what is pushed is popped.
    unsafe {
        let index = lua_absindex(L, index);
        if let Some(text) = to_bytes(L, index) {
            return String::from_utf8_lossy(text).into_owned();
        }
        match lua_type(L, index) {
            LUA_TNUMBER => lua_tonumber(L, index).to_string(),
            LUA_TBOOLEAN => (lua_toboolean(L, index) != 0).to_string(),
            LUA_TTABLE => {
                lua_rawgetfield(L, index, c"message".as_ptr());
                let message = to_bytes(L, -1).map(|text| String::from_utf8_lossy(text).into_owned());
                lua_settop(L, -2);
                message.unwrap_or_else(|| {
                    format!("an error value that is a table: {}", describe_fields(L, index))
                })
            }
            LUA_TUSERDATA => match mlua_error(L, index) {
                Some(error) => error,
                None => "an error value that is a userdata".into(),
            },
            kind => {
                let name = CStr::from_ptr(lua_typename(L, kind)).to_string_lossy();
                format!("an error value that is {name}")
            }
        }
    }
}

/// How many fields of a table are shown, and how much of a text in one.
const SHOWN_FIELDS: usize = 8;
const SHOWN_TEXT: usize = 60;

/// A table's fields as its author would write them, in order; tables in it are only named.
///
/// # Safety
/// A table is at the absolute `index`; there is room for two values.
unsafe fn describe_fields(L: *mut lua_State, index: c_int) -> String {
    /// # Safety
    /// As above; the value is at `index`.
    unsafe fn show(L: *mut lua_State, index: c_int) -> String {
        // SAFETY: as above. Only strings are read as such, so nothing is converted.
        unsafe {
            match to_bytes(L, index).filter(|_| lua_type(L, index) == LUA_TSTRING) {
                Some(text) => {
                    let text = String::from_utf8_lossy(text);
                    let shown: String = text.chars().take(SHOWN_TEXT).collect();
                    let more = if shown.len() < text.len() { "..." } else { "" };
                    format!("{shown:?}{more}")
                }
                None => match lua_type(L, index) {
                    LUA_TNUMBER => lua_tonumber(L, index).to_string(),
                    LUA_TBOOLEAN => (lua_toboolean(L, index) != 0).to_string(),
                    kind => format!("<{}>", CStr::from_ptr(lua_typename(L, kind)).to_string_lossy()),
                },
            }
        }
    }
    let mut fields = Vec::new();
    // SAFETY: each round takes its pair off the stack again; no script runs meanwhile.
    unsafe {
        let mut position = 0;
        loop {
            position = lua_rawiter(L, index, position);
            if position < 0 {
                break;
            }
            let key = match to_bytes(L, -2).filter(|_| lua_type(L, -2) == LUA_TSTRING) {
                Some(name) => String::from_utf8_lossy(name).chars().take(SHOWN_TEXT).collect(),
                None => format!("[{}]", show(L, -2)),
            };
            fields.push(format!("{key} = {}", show(L, -1)));
            lua_settop(L, -3);
            if fields.len() > 10 * SHOWN_FIELDS {
                break;
            }
        }
    }
    // The VM's own order depends on what the table has been through.
    fields.sort();
    let more = if fields.len() > SHOWN_FIELDS { ", ..." } else { "" };
    fields.truncate(SHOWN_FIELDS);
    if fields.is_empty() { "{}".into() } else { format!("{{ {}{more} }}", fields.join(", ")) }
}

/// The text of an error that a function made with mlua has raised.
unsafe fn mlua_error(L: *mut lua_State, index: c_int) -> Option<String> {
    // SAFETY: mlua's state belongs to the same VM; the value is copied to its stack, which has
    // room, and taken off by `pop_value`.
    unsafe {
        let lua = mlua::Lua::get_or_init_from_ptr(L);
        let mut text = None;
        lua.exec_raw_lua(|raw| {
            lua_xpush(L, raw.state(), index);
            if let mlua::Value::Error(error) = raw.pop_value() {
                text = Some(error.to_string());
            }
        });
        text
    }
}
