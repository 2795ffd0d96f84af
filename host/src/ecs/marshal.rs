//! [`Value`]s out of the VM, and into it.

use super::bridge::Bridge;
use super::reference::Reference;
use super::value::{EXACT, MAX_DEPTH, MAX_VALUES, Value, ValueError};
use bluetick_scripting::Error;
use bluetick_scripting::raw::*;
use glam::Vec3;
use std::ffi::{c_int, c_void};

/// Copies the value at `index` out of the VM, tables with all that is in them. No metamethod is
/// called. `[-0, +0]`
///
/// # Errors
/// What has no plain form (functions, coroutines ...), a text that is not UTF-8, a table that contains
/// itself or is nested or filled beyond the limits.
///
/// # Safety
/// A live state of the bridge's VM, below a protected call; `index` is valid.
pub(super) unsafe fn read(bridge: &Bridge, L: *mut lua_State, index: c_int) -> Result<Value, ValueError> {
    let mut reader = Reader { bridge, L, open: Vec::new(), count: 0 };
    // SAFETY: as above; after an error, the pairs that were being read are taken off the stack.
    unsafe {
        let top = lua_gettop(L);
        // An argument that was not given is nil; `lua_absindex` wants one that was.
        let index = if index > 0 { index } else { lua_absindex(L, index) };
        let result = reader.read(index);
        lua_settop(L, top);
        result
    }
}

struct Reader<'a> {
    bridge: &'a Bridge,
    L: *mut lua_State,
    /// The tables that we are in, from the outside in.
    open: Vec<*const c_void>,
    count: usize,
}

impl Reader<'_> {
    /// # Safety
    /// As [`read`]; `index` is absolute.
    unsafe fn read(&mut self, index: c_int) -> Result<Value, ValueError> {
        let (L, bridge) = (self.L, self.bridge);
        self.count += 1;
        if self.count > MAX_VALUES {
            return Err(ValueError::new(format!("the table holds more than {MAX_VALUES} values")));
        }
        // SAFETY: the type of the value is checked before it is read as such.
        unsafe {
            Ok(match lua_type(L, index) {
                LUA_TNIL | LUA_TNONE => Value::Nil,
                LUA_TBOOLEAN => Value::Bool(lua_toboolean(L, index) != 0),
                LUA_TNUMBER => Value::Number(lua_tonumber(L, index)),
                LUA_TINTEGER => Value::Integer(lua_tointeger64(L, index, std::ptr::null_mut()).into()),
                LUA_TVECTOR => {
                    let lanes = lua_tovector(L, index).cast::<[f32; 3]>();
                    Value::Vector(Vec3::from_array(*lanes))
                }
                LUA_TSTRING => match to_bytes(L, index).map(std::str::from_utf8) {
                    Some(Ok(text)) => Value::String(text.to_owned()),
                    _ => return Err(ValueError::new("the string is not valid UTF-8")),
                },
                LUA_TTABLE => return self.read_table(index),
                LUA_TUSERDATA => {
                    if let Some(entity) = bridge.entity_at(L, index) {
                        Value::Entity(entity)
                    } else if let Some(copied) = bridge.copy_reference(L, index) {
                        return copied.map_err(|error| ValueError::new(error.message));
                    } else {
                        return Err(ValueError::new("this userdata is no plain value"));
                    }
                }
                LUA_TFUNCTION => return Err(ValueError::new("a function is no plain value")),
                LUA_TTHREAD => return Err(ValueError::new("a coroutine is no plain value")),
                LUA_TBUFFER => return Err(ValueError::new("a buffer is no plain value")),
                _ => return Err(ValueError::new("this is no plain value")),
            })
        }
    }

    /// # Safety
    /// As [`read`]; a table is at `index`.
    unsafe fn read_table(&mut self, index: c_int) -> Result<Value, ValueError> {
        let L = self.L;
        // SAFETY: room for a pair is asked for; each round takes its pair off the stack again, and the
        // table can't change meanwhile because no script runs.
        unsafe {
            let table = lua_topointer(L, index);
            if self.open.contains(&table) {
                return Err(ValueError::new("the table contains itself"));
            }
            if self.open.len() >= MAX_DEPTH || lua_checkstack(L, 3) == 0 {
                return Err(ValueError::new(format!("the table is nested more than {MAX_DEPTH} deep")));
            }
            self.open.push(table);
            let mut entries = Vec::new();
            let mut position = 0;
            loop {
                position = lua_rawiter(L, index, position);
                if position < 0 {
                    break;
                }
                let top = lua_gettop(L);
                let key = self.read(top - 1)?;
                let value = self.read(top).map_err(|error| match &key {
                    Value::String(name) => error.within(name),
                    Value::Number(number) if *number >= 1.0 => error.at(*number as usize - 1),
                    key => error.within(&key.to_string()),
                })?;
                lua_settop(L, top - 2);
                entries.push((key, value));
            }
            self.open.pop();
            Ok(arrange(entries))
        }
    }
}

/// A list if the keys are 1 to n, else a map sorted by key.
fn arrange(mut entries: Vec<(Value, Value)>) -> Value {
    entries.sort_by(|(a, _), (b, _)| a.order(b));
    let is_list = !entries.is_empty()
        && entries.iter().enumerate().all(|(i, (key, _))| *key == Value::Number(i as f64 + 1.0));
    if is_list {
        Value::List(entries.into_iter().map(|(_, value)| value).collect())
    } else {
        Value::Map(entries)
    }
}

/// Pushes a value; tables are made anew. `[-0, +1]`, raises when memory runs out.
///
/// # Safety
/// A live state of the bridge's VM, below a protected call.
pub(super) unsafe fn push(bridge: &Bridge, L: *mut lua_State, value: &Value) {
    // SAFETY: room is asked for, and each arm pushes one value.
    unsafe {
        luaL_checkstack(L, 8, std::ptr::null());
        match value {
            Value::Nil => lua_pushnil(L),
            Value::Bool(flag) => lua_pushboolean(L, c_int::from(*flag)),
            Value::Integer(number) if (-EXACT..=EXACT).contains(number) => lua_pushnumber(L, *number as f64),
            Value::Integer(number) => push_str(L, &number.to_string()),
            Value::Number(number) => lua_pushnumber(L, *number),
            Value::String(text) => push_str(L, text),
            Value::Vector(vector) => lua_pushvector(L, vector.x, vector.y, vector.z),
            Value::Entity(entity) => bridge.push_entity(L, *entity),
            Value::List(list) => {
                lua_createtable(L, c_int::try_from(list.len()).unwrap_or(0), 0);
                for (i, value) in (1..).zip(list) {
                    push(bridge, L, value);
                    lua_rawseti_(L, -2, i);
                }
            }
            Value::Map(map) => {
                lua_createtable(L, 0, c_int::try_from(map.len()).unwrap_or(0));
                for (key, value) in map {
                    // Nil and not-a-number can't be keys.
                    if matches!(key, Value::Nil) || matches!(key, Value::Number(n) if n.is_nan()) {
                        continue;
                    }
                    push(bridge, L, key);
                    push(bridge, L, value);
                    lua_rawset(L, -3);
                }
            }
        }
    }
}

impl Bridge {
    /// Copies what the component reference at `index` refers to; `None` if there is something else.
    ///
    /// # Safety
    /// As [`read`].
    unsafe fn copy_reference(&self, L: *mut lua_State, index: c_int) -> Option<Result<Value, Error>> {
        // SAFETY: the tag says what the userdata is.
        unsafe {
            let reference = lua_touserdatatagged(L, index, self.tags.reference).cast::<Reference>();
            if !reference.is_null() {
                return Some((*reference).read(self));
            }
            let place = lua_touserdatatagged(L, index, self.tags.place).cast::<super::place::Place>();
            if !place.is_null() {
                return Some((*place).read());
            }
            None
        }
    }
}
