//! What scenarios send over channels.

use bluetick_scripting::Vm;
use mlua::{FromLua, IntoLua, Lua, Value};
use std::fmt;

/// A value that has the same text in both languages.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Number(f64),
    Text(String),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl IntoLua for Item {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Self::Number(number) => number.into_lua(lua),
            Self::Text(text) => text.into_lua(lua),
        }
    }
}

impl FromLua for Item {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        match value {
            Value::String(_) => String::from_lua(value, lua).map(Self::Text),
            _ => f64::from_lua(value, lua).map(Self::Number),
        }
    }
}

/// What scenarios raise themselves.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Raised(pub String);

/// Loads a script; a mistake in it is one of the test's.
pub fn load(vm: &Vm, name: &str, text: &str) -> mlua::Function {
    vm.load(name, text).unwrap_or_else(|error| panic!("{name}: {error}"))
}
