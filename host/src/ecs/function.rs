//! Rust functions that scripts call as `world:name(...)` or, in a module of them, `module.name(...)`, and the conversions of their arguments.

use super::bridge::{Bridge, Keep, bridge_of, finish};
use super::extension::Access;
use super::marshal;
use super::value::Value;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bluetick_scripting::raw::*;
use bluetick_scripting::{Error, Scheduler, Vm};
use mlua::{FromLua, FromLuaMulti, IntoLua, IntoLuaMulti, Lua, MultiValue};
use std::ffi::c_int;
use std::marker::PhantomData;
use std::rc::{Rc, Weak};

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
    /// The global table that it is in; `None` for a method of `world`.
    pub module: Option<String>,
    pub name: String,
    pub call: Call,
}

impl ScriptFunction {
    /// What messages and profiles call it: `nearest`, `paths.find`.
    pub fn full_name(&self) -> String {
        match &self.module {
            Some(module) => format!("{module}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// How a script calls it: `world:nearest`, `paths.find`.
    fn as_called(&self) -> String {
        if self.module.is_some() { self.full_name() } else { format!("world:{}", self.name) }
    }
}

/// How a function is called.
pub(crate) enum Call {
    /// It runs to its end at once.
    Plain(Rc<dyn Callable>),
    /// It runs on a stack of its own, and may wait. Makes its function for scripts.
    Blocking(Box<MakeFunction>),
}

/// Makes the function for scripts of a VM.
type MakeFunction = dyn Fn(&Vm, Guard) -> Result<mlua::Function, Error>;

/// What stands before a function that may wait: the bridge, and how the function is called.
#[derive(Clone)]
pub(crate) struct Guard {
    bridge: Weak<Bridge>,
    name: Rc<str>,
    as_called: Rc<str>,
    is_method: bool,
}

impl Guard {
    /// The bridge, if the function may be called, with `first` as its first argument if it is a method.
    fn pass(&self, first: impl FnOnce() -> mlua::Value) -> Result<Rc<Bridge>, Error> {
        let bridge = self.bridge.upgrade().ok_or_else(|| Error::wrong_type("the host is gone"))?;
        if self.is_method {
            bridge.check_world(&first(), &self.name)?;
        }
        bridge.may(Access::Call(&self.name))?;
        Ok(bridge)
    }
}

/// The world, for a Rust function that a script has called and that may wait.
///
/// It is lent for a moment at a time: between two [`with`](Self::with) the function may wait on channels, and others
/// change the world meanwhile.
pub struct WorldAccess<'a> {
    bridge: &'a Bridge,
    scheduler: &'a Scheduler,
}

impl<'a> WorldAccess<'a> {
    pub(crate) fn new(bridge: &'a Bridge, scheduler: &'a Scheduler) -> Self {
        Self { bridge, scheduler }
    }

    /// Borrows the world for as long as `f` runs, which can't wait: verbs that would are errors of kind `boundary`. It
    /// runs on the host's stack.
    ///
    /// # Errors
    /// Of kind `type`, while no frame runs, and for a panic of `f`.
    pub fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> Result<R, Error> {
        self.scheduler.on_host_stack(|| self.bridge.with_world(|world| Ok(f(world))))
    }

    /// The scheduler, whose channels and tasklets the function may wait for.
    pub fn scheduler(&self) -> &Scheduler {
        self.scheduler
    }
}

/// The arguments of a blocking function, after `world` if it is a method.
struct Arguments<A> {
    first: mlua::Value,
    rest: Result<A, Error>,
}

/// As [`Arguments`], of a function in a module.
struct AllArguments<A>(Result<A, Error>);

impl<A: FromLuaMulti> FromLuaMulti for Arguments<A> {
    fn from_lua_multi(mut values: MultiValue, lua: &Lua) -> mlua::Result<Self> {
        let first = values.pop_front().unwrap_or(mlua::Value::Nil);
        Ok(Self { first, rest: A::from_lua_multi(values, lua).map_err(|error| explain(&error)) })
    }
}

impl<A: FromLuaMulti> FromLuaMulti for AllArguments<A> {
    fn from_lua_multi(values: MultiValue, lua: &Lua) -> mlua::Result<Self> {
        Ok(Self(A::from_lua_multi(values, lua).map_err(|error| explain(&error))))
    }
}

/// Makes the function for scripts out of one that may wait.
pub(super) fn blocking<A, R, E, F>(f: F) -> Call
where
    F: Fn(&WorldAccess<'_>, A) -> Result<R, E> + 'static,
    A: FromLuaMulti + 'static,
    R: IntoLuaMulti + 'static,
    E: Into<Box<dyn std::error::Error>> + 'static,
{
    let f = Rc::new(f);
    Call::Blocking(Box::new(move |vm, guard| {
        let f = f.clone();
        let run =
            move |guard: &Guard, scheduler: &Scheduler, bridge: &Bridge, arguments: Result<A, Error>| {
                let arguments = arguments.map_err(|error| within(error, &guard.as_called))?;
                let access = WorldAccess::new(bridge, scheduler);
                f(&access, arguments).map_err(|error| within(explain(&*error.into()), &guard.as_called))
            };
        if guard.is_method {
            vm.blocking_function(c"world function", move |scheduler, arguments: Arguments<A>| {
                let bridge = guard.pass(|| arguments.first)?;
                run(&guard, scheduler, &bridge, arguments.rest)
            })
        } else {
            vm.blocking_function(c"module function", move |scheduler, arguments: AllArguments<A>| {
                let bridge = guard.pass(|| mlua::Value::Nil)?;
                run(&guard, scheduler, &bridge, arguments.0)
            })
        }
    }))
}

/// The error, with the name of the function that it comes from.
fn within(mut error: Error, function: &str) -> Error {
    error.message.insert_str(0, &format!("{function}: "));
    error
}

/// A function whose types only its registration knew.
pub(crate) trait Callable {
    fn call(&self, lua: &Lua, bridge: &Bridge, arguments: MultiValue) -> Result<MultiValue, Error>;
}

/// A table of Rust functions, which scripts know as a global: `paths.find(from, to)`.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bluetick::ecs::Functions;
/// use std::convert::Infallible;
///
/// let paths = Functions::new()
///     .function("count", |world: &mut World, _: ()| Ok::<_, Infallible>(world.entities().len()))
///     .plain("double", |number: f64| Ok::<_, Infallible>(2.0 * number));
/// let builder = bluetick::ScriptHost::builder().module("paths", paths);
/// ```
#[derive(Default)]
pub struct Functions {
    pub(super) all: Vec<(String, Call)>,
}

impl Functions {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A function that gets the world; see [`RegistryBuilder::function`](super::RegistryBuilder::function).
    pub fn function<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(&mut World, A) -> Result<R, E> + 'static,
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.all.push((name.to_owned(), Call::Plain(Rc::new(Function::new(f)))));
        self
    }

    /// A function that looks at the world without changing it.
    pub fn view<A, R, E, F>(self, name: &str, f: F) -> Self
    where
        F: Fn(&World, A) -> Result<R, E> + 'static,
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.function(name, move |world: &mut World, arguments: A| f(world, arguments))
    }

    /// A function that has nothing to do with the world.
    pub fn plain<A, R, E, F>(self, name: &str, f: F) -> Self
    where
        F: Fn(A) -> Result<R, E> + 'static,
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.function(name, move |_: &mut World, arguments: A| f(arguments))
    }

    /// A function that may wait; see [`RegistryBuilder::blocking`](super::RegistryBuilder::blocking).
    pub fn blocking<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(&WorldAccess<'_>, A) -> Result<R, E> + 'static,
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.all.push((name.to_owned(), blocking(f)));
        self
    }
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
    let world: mlua::Table = vm.lua().globals().get("world")?;
    let mut modules: Vec<(&str, mlua::Table)> = Vec::new();
    for function in &bridge.registry().functions {
        let table = match &function.module {
            None => world.clone(),
            Some(module) => match modules.iter().find(|(name, _)| name == module) {
                Some((_, table)) => table.clone(),
                None => {
                    if vm.lua().globals().contains_key(module.as_str())? {
                        let text =
                            format!("a module can't be called '{module}': scripts know it as something else");
                        return Err(Error::wrong_type(text));
                    }
                    let table = vm.lua().create_table()?;
                    modules.push((module, table.clone()));
                    table
                }
            },
        };
        let is_method = function.module.is_none();
        let (name, as_called) = (Rc::from(function.full_name()), Rc::from(function.as_called()));
        let guard = Guard { bridge: Rc::downgrade(bridge), name, as_called, is_method };
        let call = match &function.call {
            Call::Plain(call) => Rc::clone(call),
            Call::Blocking(make) => {
                table.raw_set(function.name.as_str(), make(vm, guard)?)?;
                continue;
            }
        };
        let inner = vm.lua().create_function(move |lua, mut arguments: MultiValue| {
            let first = || {
                if is_method { arguments.pop_front().unwrap_or(mlua::Value::Nil) } else { mlua::Value::Nil }
            };
            let bridge = match guard.pass(first) {
                Ok(bridge) => bridge,
                Err(error) => {
                    if let Some(bridge) = guard.bridge.upgrade() {
                        bridge.failure.replace(Some(error));
                    }
                    return Ok(MultiValue::new());
                }
            };
            // mlua would wrap our error; it waits for the C function around this one, which raises it.
            Ok(call.call(lua, &bridge, arguments).unwrap_or_else(|error| {
                bridge.failure.replace(Some(within(error, &guard.as_called)));
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
        world.raw_set(name, method)?;
    }
    world.set_readonly(true);
    for (name, table) in modules {
        table.set_readonly(true);
        vm.lua().globals().raw_set(name, table)?;
    }
    Ok(())
}

unsafe extern "C-unwind" fn call_function(L: *mut lua_State) -> c_int {
    // SAFETY: made by `install` with these upvalues; what it is called with is checked.
    unsafe {
        let bridge = bridge_of(L);
        lua_pushvalue(L, lua_upvalueindex(2));
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
        match bridge.failure.take() {
            None => lua_gettop(L),
            Some(error) => finish(L, Err(error)),
        }
    }
}
