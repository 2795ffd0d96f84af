//! Places in a component that have no fixed offset: lists, maps, sets, enums with data, and what is in
//! them, used in place.
//!
//! ```lua
//! self.Inventory.items[3].count += 1
//! #self.Inventory.items                     -- how many
//! for i, item in self.Inventory.items do ... end
//! self.Inventory.items[#self.Inventory.items + 1] = { name = "rope", count = 1 }
//! self.Inventory.items:insert(1, item)  self.Inventory.items:remove(2)  self.Inventory.items:clear()
//! self.Prices.by_name.rope = 12             -- a map; nil removes
//! self.Tags.all.hidden = true               -- a set; nil or false removes
//! if self.State == "Idle" then ...          -- a variant without data is its name
//! self.State.Chasing.target                 -- a variant with data; nil while the state is another
//! ```
//!
//! A place is a way into a component, walked by reflection at each access; it allocates. Element 3 of a list is
//! whatever is third then; if there is nothing any more, access is an error of kind `gone`. Maps and
//! sets are iterated in order of their keys, the same in each run. Adding and removing elements while
//! iterating is allowed; what is new is not visited, what is gone is skipped.

use super::bridge::{Bridge, bridge_of, finish, set_metatable};
use super::builder::{Builder, put};
use super::dynamic::Any;
use super::entity::any_text;
use super::marshal;
use super::nearest::did_you_mean;
use super::path::{self, Edit, Reading, Step, walk, walk_mut};
use super::value::{MAX_DEPTH, Value, ValueError};
use bevy_ecs::entity::Entity;
use bevy_reflect::enums::Enum;
use bevy_reflect::{PartialReflect, ReflectRef};
use bluetick_scripting::raw::*;
use bluetick_scripting::{Error, ErrorKind};
use std::ffi::{c_int, c_void};
use std::ptr;

/// The insides of a place.
pub(super) struct Place {
    bridge: *const Bridge,
    entity: Entity,
    component: u16,
    steps: Box<[Step]>,
    /// `Inventory.items[3]`
    label: Box<str>,
}

/// The insides of an iteration.
struct Cursor {
    next: u32,
    count: u32,
}

/// Where the function of an iteration has its keys: a list, or nil if they are the numbers from 1 on.
const KEYS_UPVALUE: c_int = lua_upvalueindex(4);

/// The longest way into a component: each table on it takes up to three steps.
const MOST_STEPS: usize = 3 * MAX_DEPTH;

/// The methods of lists, maps and sets.
const METHODS: [&str; 3] = ["insert", "remove", "clear"];

/// Makes the metatables of places and iterations. `[-0, +0]`
///
/// # Safety
/// A live state below a protected call; the bridge lives as long as the VM.
pub(super) unsafe fn install(bridge: &Bridge, L: *mut lua_State) {
    unsafe extern "C" fn drop_place(_: *mut lua_State, data: *mut c_void) {
        // SAFETY: the VM calls this once for each userdata with this tag, all of which hold a place.
        unsafe { ptr::drop_in_place(data.cast::<Place>()) }
    }
    // SAFETY: as above.
    unsafe {
        set_metatable(
            L,
            bridge,
            bridge.tags.place,
            "component",
            0,
            &[
                (c"__index", index),
                (c"__newindex", new_index),
                (c"__namecall", namecall),
                (c"__len", length),
                (c"__iter", iterate),
                (c"__eq", equal),
                (c"__tostring", to_string),
            ],
        );
        lua_setuserdatadtor(L, bridge.tags.place, Some(drop_place));
        set_metatable(L, bridge, bridge.tags.cursor, "iteration", 0, &[]);
    }
}

/// Pushes the place which is the whole component, within so many wrappers. `[-0, +1]`
///
/// # Safety
/// A live state with room, below a protected call.
pub(super) unsafe fn push_root(
    bridge: &Bridge,
    L: *mut lua_State,
    entity: Entity,
    component: u16,
    wrappers: usize,
) {
    let label = bridge.registry().components[usize::from(component)].name.to_string();
    // SAFETY: as above.
    unsafe { push_field(bridge, L, entity, component, &[], wrappers, label) }
}

/// Pushes the place at the end of `steps` and so many wrappers. `[-0, +1]`
///
/// # Safety
/// A live state with room, below a protected call.
pub(super) unsafe fn push_field(
    bridge: &Bridge,
    L: *mut lua_State,
    entity: Entity,
    component: u16,
    steps: &[Step],
    wrappers: usize,
    label: String,
) {
    let steps = steps.iter().cloned().chain((0..wrappers).map(|_| Step::Field(0))).collect();
    // SAFETY: as above.
    unsafe { push(L, bridge.tags.place, Place { bridge, entity, component, steps, label: label.into() }) }
}

/// Pushes a userdata with a Rust value in it. `[-0, +1]`
///
/// # Safety
/// A live state with room, below a protected call; the tag has a metatable, and the destructor of `T`.
unsafe fn push<T>(L: *mut lua_State, tag: c_int, value: T) {
    // The VM aligns userdata to 16.
    const { assert!(align_of::<T>() <= 16) };
    // SAFETY: if the allocation raises, `value` is dropped here; else it belongs to the userdata.
    unsafe {
        let data = lua_newuserdatataggedwithmetatable(L, size_of::<T>(), tag);
        data.cast::<T>().write(value);
    }
}

/// The keys of an iteration.
pub(super) enum Keys {
    /// 1 to so many.
    Numbers(usize),
    These(Vec<Value>),
}

/// Pushes the function that a `for` loop calls over the userdata at 1 and these keys of it. `[-0, +1]`
///
/// # Safety
/// Called in a C function of the VM.
pub(super) unsafe fn push_iteration(bridge: &Bridge, L: *mut lua_State, keys: &Keys) {
    let count = match keys {
        Keys::Numbers(count) => *count,
        Keys::These(keys) => keys.len(),
    };
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    // SAFETY: there is room; the closure takes its four upvalues off the stack.
    unsafe {
        lua_pushlightuserdatatagged(L, ptr::from_ref(bridge).cast_mut().cast(), 0);
        lua_pushvalue(L, 1);
        push(L, bridge.tags.cursor, Cursor { next: 0, count });
        match keys {
            Keys::Numbers(_) => lua_pushnil(L),
            // In the VM, whose memory is counted.
            Keys::These(keys) => {
                lua_createtable(L, c_int::try_from(count).unwrap_or(0), 0);
                for (i, key) in (1..).zip(keys) {
                    marshal::push(bridge, L, key);
                    lua_rawseti_(L, -2, i);
                }
            }
        }
        lua_pushcclosurek(L, step, c"next".as_ptr(), 4, None);
    }
}

unsafe extern "C-unwind" fn step(L: *mut lua_State) -> c_int {
    // SAFETY: made by `push_iteration` with these upvalues. The cursor is not borrowed while the value is read,
    // which may raise.
    unsafe {
        let bridge = bridge_of(L);
        let cursor = lua_touserdatatagged(L, lua_upvalueindex(3), bridge.tags.cursor).cast::<Cursor>();
        loop {
            lua_settop(L, 0);
            if (*cursor).next == (*cursor).count {
                lua_pushnil(L);
                return 1;
            }
            (*cursor).next += 1;
            let next = (*cursor).next;
            if lua_type(L, KEYS_UPVALUE) == LUA_TTABLE {
                lua_rawgeti_(L, KEYS_UPVALUE, next as c_int);
            } else {
                lua_pushnumber(L, f64::from(next));
            }
            lua_pushvalue(L, 1);
            if lua_gettable(L, lua_upvalueindex(2)) != LUA_TNIL {
                return 2;
            }
        }
    }
}

impl Place {
    fn bridge(&self) -> &Bridge {
        // SAFETY: invariant 1 of the bridge: it outlives every userdata.
        unsafe { &*self.bridge }
    }

    /// Whether it is inside of a variant, rather than the enum.
    fn inside(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Variant(_)))
    }

    fn look<R>(&self, f: impl FnOnce(&dyn PartialReflect) -> Result<R, ValueError>) -> Result<R, Error> {
        self.bridge().may_read(self.component)?;
        let mut lost = false;
        let result = self.bridge().look(self.entity, self.component, &self.label, |data| {
            match walk(data, &self.steps) {
                Some(data) => f(data),
                None => {
                    lost = true;
                    Err(ValueError::new(""))
                }
            }
        });
        if lost { Err(self.lost()) } else { result }
    }

    /// Error: the way leads nowhere any more.
    fn lost(&self) -> Error {
        Error::new(ErrorKind::Gone, format!("{} of entity {} is gone", self.label, self.entity))
    }

    /// Copies what is there.
    pub(super) fn read(&self) -> Result<Value, Error> {
        let inside = self.inside();
        let value = self.look(|data| self.bridge().registry().types.read(data))?;
        match value {
            // Seen from within, the variant's name is not part of it.
            Value::Map(mut entries) if inside && entries.len() == 1 => Ok(entries.remove(0).1),
            value => Ok(value),
        }
    }

    fn get(&self, key: &Value) -> Result<Reading, Error> {
        let types = &self.bridge().registry().types;
        self.look(|data| path::read_child(types, data, &self.steps, key)).or_else(|error| {
            // An empty table has no key, whatever it was before.
            if self.reshaped(false)?.is_some() { Ok(Reading::Value(Value::Nil)) } else { Err(error) }
        })
    }

    /// What an empty table of a component that was declared becomes, if it is meant as the other of list and map.
    fn reshaped(&self, as_list: bool) -> Result<Option<Any>, Error> {
        let Some((_, outside)) = self.steps.split_last() else { return Ok(None) };
        self.bridge().look(self.entity, self.component, &self.label, |data| {
            let any = walk(data, outside).and_then(|data| data.try_downcast_ref::<Any>());
            Ok(any.and_then(|any| any.reshaped(as_list)))
        })
    }

    /// Prepares a change and makes it; returns what it took out. `as_list` says what an empty table is meant as that
    /// may be either; `None` if that does not matter.
    fn edit(
        &self,
        as_list: Option<bool>,
        prepare: impl FnOnce(&dyn PartialReflect) -> Result<Edit, ValueError>,
    ) -> Result<Option<Value>, Error> {
        let bridge = self.bridge();
        bridge.may_write(self.component)?;
        let reshaped = match as_list {
            Some(as_list) => self.reshaped(as_list)?,
            None => None,
        };
        let edit = match reshaped.as_ref().and_then(|any| any.field_at(0)) {
            Some(empty) => Bridge::guard(|| Ok(prepare(empty).map_err(|error| error.within(&self.label))?))?,
            None => self.look(prepare)?,
        };
        let removed = bridge.change(self.entity, self.component, &self.label, |data| {
            let gone = || ValueError::new("is gone");
            if let (Some(any), Some((_, outside))) = (reshaped, self.steps.split_last()) {
                put(walk_mut(data, outside).ok_or_else(gone)?, Box::new(any))?;
            }
            let data = walk_mut(data, &self.steps).ok_or_else(gone)?;
            path::apply(data, edit)
        })?;
        Ok(match removed {
            Some(data) => Some(Bridge::guard(|| Ok(bridge.registry().types.read(&*data)?))?),
            None => None,
        })
    }

    fn set(&self, key: &Value, value: &Value) -> Result<(), Error> {
        let types = &self.bridge().registry().types;
        let as_list = key.as_number() == Some(1.0);
        let shape = Some(as_list).filter(|_| *value != Value::Nil);
        self.edit(shape, |data| path::edit_child(types, data, &self.steps, key, value)).map(|_| ())
    }

    /// `list:insert([index,] value)`, `list:remove([index])`, `map:remove(key)`, `set:insert(value)`, `x:clear()`
    fn call(&self, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
        let types = &self.bridge().registry().types;
        let builder = Builder { types, named: None };
        let wrong = |usage: &str| ValueError::new(format!("call it as {usage}"));
        let as_list = (method == "insert" || method == "remove" && arguments.is_empty()).then_some(true);
        self.edit(as_list, |data| match (data.reflect_ref(), method, arguments) {
            (ReflectRef::List(items), "insert", [rest @ .., value]) if rest.len() <= 1 => {
                let count = items.len();
                path::check_room(count)?;
                let at = match rest.first().map(Value::as_number) {
                    None => count,
                    Some(Some(n)) if n.trunc() == n && n >= 1.0 && n <= count as f64 + 1.0 => n as usize - 1,
                    Some(_) => {
                        return Err(wrong(&format!(
                            "insert(index, value) with an index from 1 to {}",
                            count + 1
                        )));
                    }
                };
                let info = items.get_represented_list_info().and_then(|info| info.item_info());
                let info = info.ok_or_else(|| ValueError::new("has elements of an unknown type"))?;
                Ok(Edit::Insert(at, builder.build(info, value).map_err(|e| e.at(at))?))
            }
            (ReflectRef::List(items), "remove", []) => {
                Ok(items.len().checked_sub(1).map_or(Edit::Nothing, Edit::RemoveAt))
            }
            (ReflectRef::List(items), "remove", [key]) => match key.as_number() {
                Some(n) if n.trunc() == n && n >= 1.0 && n <= items.len() as f64 => {
                    Ok(Edit::RemoveAt(n as usize - 1))
                }
                _ => Err(ValueError::new(format!("has {} elements, not {key}", items.len()))),
            },
            (ReflectRef::Map(_) | ReflectRef::Set(_), "remove", [key]) => {
                path::edit_child(types, data, &self.steps, key, &Value::Nil)
            }
            (ReflectRef::Set(_), "insert", [item]) => {
                path::edit_child(types, data, &self.steps, item, &Value::Bool(true))
            }
            (ReflectRef::List(_) | ReflectRef::Map(_) | ReflectRef::Set(_), "clear", []) => Ok(Edit::Clear),
            (ReflectRef::List(_), "insert", _) => Err(wrong("insert(value) or insert(index, value)")),
            (ReflectRef::List(_) | ReflectRef::Map(_) | ReflectRef::Set(_), method, _)
                if METHODS.contains(&method) =>
            {
                Err(wrong(&format!("{method}(...) with other arguments")))
            }
            (_, method, _) => {
                let near = did_you_mean(method, METHODS);
                let method = super::nearest::shorten(method);
                Err(ValueError::new(format!("has no method '{method}'{near}")))
            }
        })
    }
}

/// The place in the first argument.
///
/// # Safety
/// Called in a C function that knows the bridge.
unsafe fn self_argument<'a>(L: *mut lua_State) -> Result<&'a Place, Error> {
    // SAFETY: the tag says what the userdata is; it stays on the stack while the function runs.
    unsafe {
        let place = lua_touserdatatagged(L, 1, bridge_of(L).tags.place).cast::<Place>();
        match place.as_ref() {
            Some(place) => Ok(place),
            None => Err(Error::wrong_type(format!("expected a part of a component, got {}", any_text(L, 1)))),
        }
    }
}

/// # Safety
/// Called in a C function that knows the bridge; the key at 2.
unsafe fn get(L: *mut lua_State) -> Result<c_int, Error> {
    // SAFETY: as above.
    unsafe {
        let place = self_argument(L)?;
        let bridge = place.bridge();
        let key = marshal::read(bridge, L, 2).map_err(|error| error.within(&place.label))?;
        if let Value::String(name) = &key
            && METHODS.contains(&name.as_str())
            && place.look(|data| Ok(matches!(data.reflect_ref(), ReflectRef::List(_))))?
        {
            // For `pcall(list.insert, list, 1)`; maps and sets may have such keys.
            lua_pushvalue(L, 2);
            push_method(bridge, L);
            return Ok(1);
        }
        match place.get(&key)? {
            Reading::Value(value) => marshal::push(bridge, L, &value),
            Reading::Container(steps, label) => {
                let steps: Box<[Step]> = place.steps.iter().cloned().chain(steps).collect();
                // What scripts put into each other without end could be neither copied nor dropped.
                if steps.len() > MOST_STEPS {
                    let label = super::nearest::shorten(&place.label);
                    return Err(Error::wrong_type(format!("{label}: is nested more than {MAX_DEPTH} deep")));
                }
                let label = format!("{}{label}", place.label).into();
                let (entity, component) = (place.entity, place.component);
                push(L, bridge.tags.place, Place { bridge, entity, component, steps, label });
            }
        }
        Ok(1)
    }
}

/// Pops a name and pushes the function that calls the method of this name. `[-1, +1]`
///
/// # Safety
/// A live state with room, below a protected call.
unsafe fn push_method(bridge: &Bridge, L: *mut lua_State) {
    unsafe extern "C-unwind" fn method_value(L: *mut lua_State) -> c_int {
        // SAFETY: made below with these upvalues; what it is called with is checked.
        unsafe {
            let result = {
                let name = any_text(L, lua_upvalueindex(2));
                call(L, &name)
            };
            finish(L, result)
        }
    }
    // SAFETY: the closure takes its two upvalues off the stack.
    unsafe {
        lua_pushlightuserdatatagged(L, ptr::from_ref(bridge).cast_mut().cast(), 0);
        lua_insert(L, -2);
        lua_pushcclosurek(L, method_value, c"list method".as_ptr(), 2, None);
    }
}

/// # Safety
/// Called in a C function that knows the bridge; arguments from 2 on.
unsafe fn call(L: *mut lua_State, method: &str) -> Result<c_int, Error> {
    // SAFETY: as above.
    unsafe {
        let place = self_argument(L)?;
        let bridge = place.bridge();
        let arguments: Result<Vec<Value>, ValueError> =
            (2..=lua_gettop(L)).map(|i| marshal::read(bridge, L, i)).collect();
        let arguments = arguments.map_err(|error| error.within(&place.label))?;
        match place.call(method, &arguments)? {
            Some(value) => {
                marshal::push(bridge, L, &value);
                Ok(1)
            }
            None => Ok(0),
        }
    }
}

unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe { finish(L, get(L)) }
}

unsafe extern "C-unwind" fn new_index(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge; key at 2, value at 3.
    unsafe fn set(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let place = self_argument(L)?;
            let bridge = place.bridge();
            let key = marshal::read(bridge, L, 2).map_err(|error| error.within(&place.label))?;
            let value = marshal::read(bridge, L, 3).map_err(|error| error.within(&place.label))?;
            place.set(&key, &value)?;
            Ok(0)
        }
    }
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe { finish(L, set(L)) }
}

unsafe extern "C-unwind" fn namecall(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked. The VM's names are C strings.
    unsafe {
        let result = {
            let name = std::ffi::CStr::from_ptr(lua_namecallatom(L, ptr::null_mut()));
            call(L, &name.to_string_lossy())
        };
        finish(L, result)
    }
}

unsafe extern "C-unwind" fn length(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn count(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let place = self_argument(L)?;
            let count = place.look(|data| {
                path::length(data, place.inside()).ok_or_else(|| ValueError::new("has fields, but no length"))
            })?;
            lua_pushnumber(L, count as f64);
            Ok(1)
        }
    }
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe { finish(L, count(L)) }
}

unsafe extern "C-unwind" fn iterate(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn start(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let place = self_argument(L)?;
            let bridge = place.bridge();
            let keys = place.look(|data| path::keys(&bridge.registry().types, data, place.inside()))?;
            push_iteration(bridge, L, &keys);
            Ok(1)
        }
    }
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe { finish(L, start(L)) }
}

/// Two places are equal if they are the same one.
unsafe extern "C-unwind" fn equal(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let tag = bridge_of(L).tags.place;
        let a = lua_touserdatatagged(L, 1, tag).cast::<Place>().as_ref();
        let b = lua_touserdatatagged(L, 2, tag).cast::<Place>().as_ref();
        let same = a
            .zip(b)
            .is_some_and(|(a, b)| (a.entity, a.component, &a.label) == (b.entity, b.component, &b.label));
        lua_pushboolean(L, c_int::from(same));
        1
    }
}

unsafe extern "C-unwind" fn to_string(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let result = match self_argument(L) {
            Err(error) => Err(error),
            Ok(place) => {
                let text = match place.read() {
                    Ok(value) => format!("{} {value}", place.label),
                    Err(_) => format!("{} (gone)", place.label),
                };
                push_str(L, &text);
                Ok(1)
            }
        };
        finish(L, result)
    }
}
