//! Rust functions that scripts call as `world:name(...)`, and the conversions of their arguments.

use super::bridge::{Bridge, Keep, finish};
use super::marshal;
use super::value::Value;
use super::world::self_argument;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bluetick_scripting::raw::*;
use bluetick_scripting::{Error, Vm};
use mlua::{FromLua, FromLuaMulti, IntoLua, IntoLuaMulti, Lua, MultiValue};
use std::ffi::c_int;
use std::marker::PhantomData;
use std::rc::Rc;

/// An entity as the argument or the result of a function: what scripts hold as a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub Entity);

impl From<Entity> for Handle {
    fn from(entity: Entity) -> Self {
        Self(entity)
    }
}

impl FromLua for Handle {
    fn from_lua(value: mlua::Value, lua: &Lua) -> mlua::Result<Self> {
        let found = value.type_name();
        match Value::from_lua(value, lua) {
            Ok(Value::Entity(entity)) => Ok(Self(entity)),
            _ => Err(mlua::Error::external(Error::wrong_type(format!("expected an entity, got {found}")))),
        }
    }
}

impl IntoLua for Handle {
    fn into_lua(self, lua: &Lua) -> mlua::Result<mlua::Value> {
        Value::Entity(self.0).into_lua(lua)
    }
}

fn bridge_in(lua: &Lua) -> mlua::Result<Rc<Bridge>> {
    let keep = lua.app_data_ref::<Keep>().map(|keep| Rc::clone(&keep.0));
    keep.ok_or_else(|| mlua::Error::external(Error::wrong_type("this VM has no world")))
}

/// Any plain value; tables are copied.
impl FromLua for Value {
    fn from_lua(value: mlua::Value, lua: &Lua) -> mlua::Result<Self> {
        let bridge = bridge_in(lua)?;
        let mut result = Ok(Self::Nil);
        // SAFETY: mlua protects the call; the value is the only one on the stack of this function.
        unsafe {
            lua.exec_raw::<()>(value, |L| {
                result = marshal::read(&bridge, L, -1);
                lua_settop(L, 0);
            })?;
        }
        result.map_err(|error| mlua::Error::external(Error::from(error)))
    }
}

impl IntoLua for Value {
    fn into_lua(self, lua: &Lua) -> mlua::Result<mlua::Value> {
        let bridge = bridge_in(lua)?;
        // SAFETY: mlua protects the call and takes the one value that is pushed.
        unsafe { lua.exec_raw((), |L| marshal::push(&bridge, L, &self)) }
    }
}

/// A registered function under its name.
pub(crate) struct ScriptFunction {
    pub name: String,
    pub call: Rc<dyn Callable>,
}

/// A function whose types only its registration knew.
pub(crate) trait Callable {
    fn call(&self, lua: &Lua, bridge: &Bridge, arguments: MultiValue) -> Result<MultiValue, Error>;
}

pub(super) struct Function<F, A, R, E> {
    f: F,
    types: PhantomData<fn(A) -> Result<R, E>>,
}

impl<F, A, R, E> Function<F, A, R, E> {
    pub(super) fn new(f: F) -> Self {
        Self { f, types: PhantomData }
    }
}

impl<F, A, R, E> Callable for Function<F, A, R, E>
where
    F: Fn(&mut World, A) -> Result<R, E>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
    E: Into<Box<dyn std::error::Error>>,
{
    fn call(&self, lua: &Lua, bridge: &Bridge, arguments: MultiValue) -> Result<MultiValue, Error> {
        let arguments = A::from_lua_multi(arguments, lua).map_err(|error| explain(&error))?;
        let result =
            bridge.with_world(|world| (self.f)(world, arguments).map_err(|error| explain(&*error.into())))?;
        result.into_lua_multi(lua).map_err(|error| explain(&error))
    }
}

/// An error with all its sources; ours keep their kind.
fn explain(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut next = Some(error);
    let mut text = String::new();
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Error::new(ours.kind, text + &ours.message);
        }
        if let Some(mlua::Error::ExternalError(inner)) = error.downcast_ref::<mlua::Error>() {
            next = Some(&**inner);
            continue;
        }
        next = error.source();
        let message = error.to_string();
        // Many errors print their source themselves.
        if !next.is_some_and(|source| message.contains(&source.to_string())) {
            text.push_str(&message);
            if next.is_some() {
                text.push_str(": ");
            }
        } else {
            text.push_str(&message);
            break;
        }
    }
    Error::wrong_type(text)
}

/// Puts the registered functions into the table `world`, and closes it.
pub(super) fn install(
    bridge: &Rc<Bridge>,
    vm: &Vm,
    methods: Vec<(&'static str, mlua::Function)>,
) -> Result<(), Error> {
    let table: mlua::Table = vm.lua().globals().get("world")?;
    for function in &bridge.registry().functions {
        let (call, name, at_call) = (Rc::clone(&function.call), function.name.clone(), Rc::clone(bridge));
        let inner = vm.lua().create_function(move |lua, arguments: MultiValue| {
            // mlua would wrap our error; it waits for the C function around this one, which raises it.
            Ok(call.call(lua, &at_call, arguments).unwrap_or_else(|mut error| {
                error.message.insert_str(0, &format!("world:{name}: "));
                at_call.failure.replace(Some(error));
                MultiValue::new()
            }))
        })?;
        let pointer: &Bridge = bridge;
        // SAFETY: mlua protects the call; the closure takes its upvalues off the stack and is the one result.
        let outer: mlua::Function = unsafe {
            vm.lua().exec_raw(inner, |L| {
                lua_pushlightuserdatatagged(L, std::ptr::from_ref(pointer).cast_mut().cast(), 0);
                lua_insert(L, 1);
                lua_pushcclosurek(L, call_function, c"world function".as_ptr(), 2, None);
            })?
        };
        table.raw_set(function.name.as_str(), outer)?;
    }
    for (name, method) in methods {
        table.raw_set(name, method)?;
    }
    table.set_readonly(true);
    Ok(())
}

unsafe extern "C-unwind" fn call_function(L: *mut lua_State) -> c_int {
    // SAFETY: made by `install` with these upvalues; what it is called with is checked.
    unsafe {
        match self_argument(L, "name") {
            Err(error) => finish(L, Err(error)),
            Ok(bridge) => {
                lua_pushvalue(L, lua_upvalueindex(2));
                lua_replace(L, 1);
                lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
                match bridge.failure.take() {
                    None => lua_gettop(L),
                    Some(error) => finish(L, Err(error)),
                }
            }
        }
    }
}
