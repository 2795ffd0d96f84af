//! Entities as scripts hold them: handles.
//!
//! A handle is a userdata with the entity's id. It is canonical: as long as a script holds the handle of
//! an entity, every other way to that entity leads to the same handle, so that handles can be compared
//! and be keys of tables. They are found again in chunks of [`CHUNK`] handles by the index of the entity,
//! each a table with weak values; one big table would be one long step of the collector. A handle whose
//! entity is dead may have to give its place in the chunk to a younger one with the same index; then it
//! moves to a table of stale handles, by its whole id.
//!
//! A handle keeps the references to its components, so that `self.Health` makes one only once. It keeps
//! them in the array part of a metatable of its own, a copy of the shared one, made with the first
//! reference: a metatable is the one thing that a userdata keeps alive without help.

use super::bridge::{Bridge, bridge_of, finish, set_metatable};
use super::layout::Kind;
use super::nearest::{did_you_mean, shorten};
use super::reference;
use super::reflection::Seen;
use super::value::Value;
use super::{marshal, place};
use bevy_ecs::entity::Entity;
use bevy_ecs::name::Name;
use bevy_ecs::resource::IsResource;
use bevy_ecs::world::World;
use bluetick_scripting::raw::*;
use bluetick_scripting::{Error, ErrorKind};
use std::ffi::{c_int, c_void};

/// What changed about an entity through a script; see [`EntityExtension::changed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// `world:spawn` made it.
    Spawned,
    /// This component was inserted or replaced as a whole.
    Inserted(&'a str),
    /// This component was removed.
    Removed(&'a str),
}

/// What a host adds to the handles of entities: fields such as `state`, methods such as `wait_for`.
///
/// # Safety
/// The unsafe methods are called in C functions of the VM and talk to it directly. They may raise, and
/// [`call`](Self::call) and [`despawned`](Self::despawned) may suspend (by returning what `lua_yield`
/// or `lua_break` does); nothing that owns something may be alive then.
pub trait EntityExtension {
    /// The names of the fields. Asked for once.
    fn fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The names of the methods. Asked for once.
    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    /// Pushes the value of `fields()[field]`: exactly one value. The entity may be gone.
    ///
    /// # Safety
    /// `L` is running a C function of the bridge's VM, with room for 10 values.
    unsafe fn get(&self, bridge: &Bridge, L: *mut lua_State, entity: Entity, field: usize) {
        let _ = (bridge, entity, field);
        // SAFETY: there is room.
        unsafe { lua_pushnil(L) }
    }

    /// Sets `fields()[field]` to the value at stack index 3.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    unsafe fn set(
        &self,
        bridge: &Bridge,
        L: *mut lua_State,
        entity: Entity,
        field: usize,
    ) -> Result<(), Error> {
        let _ = (bridge, L);
        Err(Error::wrong_type(format!("'{}' of entity {entity} can't be assigned to", self.fields()[field])))
    }

    /// Calls `methods()[method]` with the arguments from stack index 2 on; returns the number of results.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    unsafe fn call(&self, bridge: &Bridge, L: *mut lua_State, entity: Entity, method: usize) -> c_int {
        let _ = (bridge, L, entity, method);
        0
    }

    /// A script is about to despawn the entity, which is still whole.
    fn despawning(&self, bridge: &Bridge, entity: Entity) {
        let _ = (bridge, entity);
    }

    /// A script despawned the entity with `entity:despawn()`; returns the number of results of that call.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    unsafe fn despawned(&self, bridge: &Bridge, L: *mut lua_State, entity: Entity) -> c_int {
        let _ = (bridge, L, entity);
        0
    }

    /// A script changed what an entity consists of. The world is lent, and free to be borrowed.
    fn changed(&self, bridge: &Bridge, entity: Entity, change: Change<'_>) {
        let _ = (bridge, entity, change);
    }
}

/// What a name is to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Unknown,
    /// A component, by its number in the registry.
    Component(u16),
    Id,
    Alive,
    Name,
    /// `Script`, or `Scripts` if true.
    Scripts(bool),
    Method(Method),
    /// A field of the extension.
    Field(u16),
    /// A method of the extension.
    Extension(u16),
}

/// The methods that every entity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Has,
    Get,
    Insert,
    Remove,
    Despawn,
}

impl Method {
    pub(super) const ALL: [Self; 5] = [Self::Has, Self::Get, Self::Insert, Self::Remove, Self::Despawn];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Has => "has",
            Self::Get => "get",
            Self::Insert => "insert",
            Self::Remove => "remove",
            Self::Despawn => "despawn",
        }
    }
}

/// The insides of a handle.
#[repr(C)]
pub(super) struct EntityData {
    bridge: *const Bridge,
    entity: Entity,
    /// Whether the metatable is its own.
    owns: bool,
}

/// Handles in one chunk.
const CHUNK: u32 = 256;

/// How many references a handle keeps in the array part of its metatable.
const KEPT: c_int = 8;

/// Makes the metatable of handles, and the tables in which they are found again. `[-0, +0]`
///
/// # Safety
/// A live state below a protected call; the bridge lives as long as the VM.
pub(super) unsafe fn install(bridge: &Bridge, L: *mut lua_State, direct: bool) {
    // SAFETY: balanced pushes and pops.
    unsafe {
        set_metatable(
            L,
            bridge,
            bridge.tags.entity,
            "entity",
            KEPT.min(bridge.components.len() as c_int),
            &[
                (c"__index", index),
                (c"__newindex", new_index),
                (c"__namecall", namecall),
                (c"__tostring", to_string),
            ],
        );
        if direct {
            lua_registeruserdatadirectaccess(L, bridge.tags.entity, direct_get, direct_set, direct_call);
        }
        lua_createtable(L, 16, 0);
        lua_createtable(L, 0, 1);
        push_str(L, "v");
        lua_rawsetfield(L, -2, c"__mode".as_ptr());
        // The list of chunks keeps their metatable at 0; chunks count from 1.
        lua_pushvalue(L, -1);
        lua_rawseti_(L, -3, 0);
        lua_createtable(L, 0, 0);
        lua_insert(L, -2);
        lua_setmetatable(L, -2);
        bridge.stale.set(lua_ref(L, -1));
        lua_settop(L, -2);
        bridge.handles.set(lua_ref(L, -1));
        lua_settop(L, -2);
    }
}

impl Bridge {
    /// Pushes the handle of an entity, dead or alive; nil for [`Entity::PLACEHOLDER`]. `[-0, +1]`, raises
    /// when memory runs out.
    ///
    /// # Safety
    /// `L` is a live state of the bridge's VM with room for 6 values, below a protected call.
    pub unsafe fn push_entity(&self, L: *mut lua_State, entity: Entity) {
        let index = entity.index_u32();
        let (chunk, place) = ((index / CHUNK) as c_int + 1, (index % CHUNK) as c_int + 1);
        // SAFETY: `install` made the list; the comments say what is on the stack.
        unsafe {
            if entity == Entity::PLACEHOLDER {
                return lua_pushnil(L);
            }
            lua_rawgeti_(L, LUA_REGISTRYINDEX, self.handles.get());
            if lua_rawgeti_(L, -1, chunk) == LUA_TTABLE {
                if lua_rawgeti_(L, -1, place) == LUA_TUSERDATA {
                    let data = lua_touserdatatagged(L, -1, self.tags.entity).cast::<EntityData>();
                    if !data.is_null() && (*data).entity == entity {
                        // list, chunk, handle
                        lua_replace(L, -3);
                        return lua_settop(L, -2);
                    }
                }
            } else {
                // list, nil
                lua_settop(L, -2);
                lua_createtable(L, CHUNK as c_int, 0);
                lua_rawgeti_(L, -2, 0);
                lua_setmetatable(L, -2);
                lua_pushvalue(L, -1);
                lua_rawseti_(L, -3, chunk);
                lua_pushnil(L);
            }
            // list, chunk, nil or another handle
            self.find_or_make_entity(L, entity, place);
            lua_replace(L, -3);
            lua_settop(L, -2);
        }
    }

    /// Replaces what is on top of the stack, nil or the handle of an entity with the same index, by the
    /// handle of `entity`, in its place of the chunk below it as well. `[-1, +1]`
    ///
    /// # Safety
    /// As [`push_entity`](Self::push_entity).
    #[cold]
    unsafe fn find_or_make_entity(&self, L: *mut lua_State, entity: Entity, place: c_int) {
        let key = |entity: Entity| entity.to_bits() as usize as *mut c_void;
        // SAFETY: as the comments say what is on the stack.
        unsafe {
            lua_rawgeti_(L, LUA_REGISTRYINDEX, self.stale.get());
            let other = lua_touserdatatagged(L, -2, self.tags.entity).cast::<EntityData>();
            if !other.is_null() {
                lua_pushvalue(L, -2);
                lua_rawsetptagged(L, -2, key((*other).entity), 0);
            }
            // chunk, other, stale
            if lua_rawgetptagged(L, -1, key(entity), 0) != LUA_TUSERDATA {
                lua_settop(L, -2);
                let data = lua_newuserdatataggedwithmetatable(L, size_of::<EntityData>(), self.tags.entity);
                data.cast::<EntityData>().write(EntityData { bridge: self, entity, owns: false });
            }
            // chunk, other, stale, handle
            lua_pushvalue(L, -1);
            lua_rawseti_(L, -5, place);
            lua_replace(L, -3);
            lua_settop(L, -2);
        }
    }

    /// The entity whose handle is at `index`. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state of the bridge's VM, `index` valid.
    pub unsafe fn entity_at(&self, L: *mut lua_State, index: c_int) -> Option<Entity> {
        // SAFETY: only handles have this tag.
        unsafe {
            let data = lua_touserdatatagged(L, index, self.tags.entity).cast::<EntityData>();
            data.as_ref().map(|data| data.entity)
        }
    }

    /// Pushes the component for a script, or nil if the entity does not have it, if this can be done without
    /// calling anything that may fail. The handle of the entity is at `handle`. `[-0, +1]`, or with `false`
    /// `[-0, +0]`.
    ///
    /// # Safety
    /// As [`push_entity`](Self::push_entity).
    #[inline(always)]
    pub(super) unsafe fn push_component_fast(
        &self,
        L: *mut lua_State,
        handle: c_int,
        entity: Entity,
        component: u16,
    ) -> bool {
        let table = &self.components[usize::from(component)];
        let world = self.world();
        if world.is_null() {
            return false;
        }
        // SAFETY: invariant 2 of the bridge. What is pushed does not allocate, so nothing else runs.
        unsafe {
            let Ok(there) = (*world).get_entity(entity) else { return false };
            if table.root.kind == Kind::Node {
                if there.contains_id(table.id) {
                    return reference::push_kept(L, handle, c_int::from(component) + 1);
                }
                lua_pushnil(L);
                return true;
            }
            let Ok(data) = there.get_by_id(table.id) else {
                lua_pushnil(L);
                return true;
            };
            reference::push_scalar(self, L, table.root.kind, data.as_ptr().add(table.root.offset as usize))
        }
    }

    /// Like [`push_component_fast`](Self::push_component_fast), for every component. `[-0, +1]` if it succeeds.
    ///
    /// # Safety
    /// As [`push_entity`](Self::push_entity); `handle` is an absolute index.
    pub(super) unsafe fn push_component(
        &self,
        L: *mut lua_State,
        handle: c_int,
        entity: Entity,
        component: u16,
    ) -> Result<(), Error> {
        // SAFETY: as above; what is at `handle` is the handle of `entity`.
        unsafe {
            if self.push_component_fast(L, handle, entity, component) {
                return Ok(());
            }
            let registered = &self.registry().components[usize::from(component)];
            let seen = self.with_world(|world| {
                let there = self.living(world, entity, &registered.name)?;
                let Ok(data) = there.get_by_id(registered.id) else {
                    return Ok(Seen::Value(Value::Nil));
                };
                if registered.root.kind == Kind::Node {
                    return Ok(Seen::Container(0));
                }
                // SAFETY: the component has the id under which this world registered the type.
                let data = registered.reflect(data);
                let types = &self.registry().types;
                Ok(types.see(data.as_partial_reflect()).map_err(|e| e.within(&registered.name))?)
            })?;
            match seen {
                Seen::Value(value) => marshal::push(self, L, &value),
                Seen::Container(_) if registered.root.kind == Kind::Node => {
                    let data = lua_touserdatatagged(L, handle, self.tags.entity).cast::<EntityData>();
                    let owns = &raw mut (*data).owns;
                    let slot = c_int::from(component) + 1;
                    reference::push_new(self, L, handle, owns, slot, entity, registered.root.node);
                }
                Seen::Container(wrappers) => place::push_root(self, L, entity, component, wrappers),
            }
            Ok(())
        }
    }

    /// The entity, or an error of kind `gone` that says what was wanted of it.
    pub(super) fn living<'w>(
        &self,
        world: &'w World,
        entity: Entity,
        label: &str,
    ) -> Result<bevy_ecs::world::EntityRef<'w>, Error> {
        world
            .get_entity(entity)
            .map_err(|_| Error::new(ErrorKind::Gone, format!("{label}: entity {entity} is gone")))
    }

    /// Error: an entity has nothing of this name.
    fn unknown_member(&self, entity: Entity, name: &str) -> Error {
        let registry = self.registry();
        let extension = self.extension.as_deref();
        let known = registry
            .component_names()
            .chain(["id", "alive", "name"])
            .chain(Method::ALL.map(Method::name))
            .chain(extension.map(|e| e.fields()).unwrap_or_default().iter().copied())
            .chain(extension.map(|e| e.methods()).unwrap_or_default().iter().copied());
        let near = did_you_mean(name, known);
        let has = self.with_world(|world| {
            Ok(world.get_entity(entity).map(|there| registry.enumerate_components(there)).unwrap_or_default())
        });
        let has = has.ok().filter(|has| !has.is_empty()).map(|has| format!("; entity {entity} has {has}"));
        let name = shorten(name);
        Error::wrong_type(format!(
            "there is no component, field or method '{name}'{near}{}",
            has.unwrap_or_default()
        ))
    }

    /// Inserts, replaces or removes a component, the name or the scripts of an entity.
    fn set_part(&self, entity: Entity, name: &str, value: &Value) -> Result<(), Error> {
        if *value == Value::Nil {
            return self.remove_part(entity, name).map(|_| ());
        }
        let part = self.registry().part(name, value, None)?;
        self.with_world(|world| {
            self.living(world, entity, name)?;
            Ok(self.registry().insert_part(&mut world.entity_mut(entity), part)?)
        })?;
        self.tell(entity, Change::Inserted(name));
        Ok(())
    }

    /// Whether there was something to be removed.
    fn remove_part(&self, entity: Entity, name: &str) -> Result<bool, Error> {
        let registry = self.registry();
        let hook = registry.hook.as_ref();
        let component = match name {
            "Name" | "name" | "Script" | "Scripts" => None,
            name => Some(registry.components[usize::from(registry.component(name)?)].id),
        };
        let removed = self.with_world(|world| {
            self.living(world, entity, name)?;
            let mut entity = world.entity_mut(entity);
            Ok(match component {
                Some(id) => {
                    let has = entity.contains_id(id);
                    entity.remove_by_id(id);
                    has
                }
                None if name.eq_ignore_ascii_case("name") => entity.take::<Name>().is_some(),
                None => hook.is_some_and(|hook| hook.detach(&mut entity)),
            })
        })?;
        if removed {
            self.tell(entity, Change::Removed(name));
        }
        Ok(removed)
    }

    /// Tells the extension.
    pub(super) fn tell(&self, entity: Entity, change: Change<'_>) {
        if let Some(extension) = &self.extension {
            extension.changed(self, entity, change);
        }
    }

    /// Copies a component, the name or the scripts of an entity out.
    fn copy_part(&self, entity: Entity, name: &str) -> Result<Value, Error> {
        let registry = self.registry();
        let component = match name {
            "Name" | "Script" | "Scripts" => None,
            name => Some(&registry.components[usize::from(registry.component(name)?)]),
        };
        self.with_world(|world| {
            let there = self.living(world, entity, name)?;
            match component {
                Some(registered) => {
                    Ok(registry.read_component(registered, there).transpose()?.unwrap_or_default())
                }
                None if name == "Name" => Ok(there.get::<Name>().map(name_value).unwrap_or_default()),
                None => {
                    let scripts = registry.hook.as_ref().map(|hook| hook.scripts(there)).unwrap_or_default();
                    let mut scripts = scripts.into_iter().map(Value::String);
                    Ok(match name {
                        "Script" => scripts.next().unwrap_or_default(),
                        _ => Value::List(scripts.collect()),
                    })
                }
            }
        })
    }
}

fn name_value(name: &Name) -> Value {
    Value::String(name.as_str().to_owned())
}

/// The text at a stack index, if it is one in UTF-8.
///
/// # Safety
/// A live state, a valid index.
pub(super) unsafe fn text(L: *mut lua_State, index: c_int) -> Option<String> {
    // SAFETY: the bytes are copied while the value is on the stack.
    unsafe { to_bytes(L, index) }.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned)
}

/// The name at a stack index, for a message.
///
/// # Safety
/// A live state, a valid index.
pub(super) unsafe fn any_text(L: *mut lua_State, index: c_int) -> String {
    // SAFETY: as above; `lua_typename` returns a static text.
    unsafe {
        match to_bytes(L, index) {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None if lua_type(L, index) == LUA_TNUMBER => lua_tonumber(L, index).to_string(),
            None => {
                let name = std::ffi::CStr::from_ptr(lua_typename(L, lua_type(L, index)));
                name.to_string_lossy().into_owned()
            }
        }
    }
}

/// The argument `index` of a method, which must be the name of a component.
///
/// # Safety
/// Called in a C function.
pub(super) unsafe fn name_argument(L: *mut lua_State, index: c_int, method: &str) -> Result<String, Error> {
    // SAFETY: as above.
    unsafe {
        text(L, index).ok_or_else(|| {
            let found = any_text(L, index);
            Error::wrong_type(format!("{method}: expected the name of a component, got {found}"))
        })
    }
}

/// Reads a member of the entity; the key is at 2, the handle at 1. Pushes one value if it succeeds.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn get(bridge: &Bridge, L: *mut lua_State, entity: Entity, member: Member) -> Result<(), Error> {
    // SAFETY: as above; each arm pushes one value.
    unsafe {
        match member {
            Member::Component(component) => return bridge.push_component(L, 1, entity, component),
            Member::Alive => lua_pushboolean(L, c_int::from(bridge.is_alive(entity))),
            Member::Id => push_str(L, &entity.to_string()),
            Member::Name => {
                let name = bridge.copy_part(entity, "Name")?;
                marshal::push(bridge, L, &name);
            }
            Member::Scripts(all) => {
                let scripts = bridge.copy_part(entity, if all { "Scripts" } else { "Script" })?;
                marshal::push(bridge, L, &scripts);
            }
            Member::Method(_) | Member::Extension(_) => {
                // For `pcall(self.despawn, self)`: a function that calls the method.
                lua_pushlightuserdatatagged(L, std::ptr::from_ref(bridge).cast_mut().cast(), 0);
                lua_pushvalue(L, 2);
                lua_pushcclosurek(L, method_value, c"entity method".as_ptr(), 2, None);
            }
            Member::Field(field) => {
                // The dispatchers hand these on before they come here, because an extension may raise.
                debug_assert!(false, "field {field} of the extension");
                lua_pushnil(L);
            }
            Member::Unknown => return Err(bridge.unknown_member(entity, &any_text(L, 2))),
        }
        Ok(())
    }
}

/// Writes a member of the entity; the key is at 2, the value at 3.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn set(bridge: &Bridge, L: *mut lua_State, entity: Entity, member: Member) -> Result<(), Error> {
    // SAFETY: as above.
    unsafe {
        let read = |name: &str| marshal::read(bridge, L, 3).map_err(|e| Error::from(e.within(name)));
        match member {
            Member::Component(component) => {
                let registered = &bridge.registry().components[usize::from(component)];
                let value = read(&registered.name)?;
                bridge.set_part(entity, &registered.name, &value)
            }
            Member::Name => bridge.set_part(entity, "Name", &read("Name")?),
            Member::Scripts(_) => bridge.set_part(entity, "Scripts", &read("Scripts")?),
            Member::Field(field) => match &bridge.extension {
                Some(extension) => extension.set(bridge, L, entity, usize::from(field)),
                None => Ok(()),
            },
            Member::Id | Member::Alive | Member::Method(_) | Member::Extension(_) => {
                let name = any_text(L, 2);
                Err(Error::wrong_type(format!("'{name}' of entity {entity} can't be assigned to")))
            }
            Member::Unknown => Err(bridge.unknown_member(entity, &any_text(L, 2))),
        }
    }
}

/// Calls a method of the bridge's own; arguments from 2 on.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn call(bridge: &Bridge, L: *mut lua_State, entity: Entity, method: Method) -> Result<c_int, Error> {
    // SAFETY: as above.
    unsafe {
        let registry = bridge.registry();
        match method {
            Method::Has => {
                let mut has_all = true;
                name_argument(L, 2, "has")?;
                for i in 2..=lua_gettop(L) {
                    let name = name_argument(L, i, "has")?;
                    has_all &= match name.as_str() {
                        "Name" | "Script" => bridge.copy_part(entity, &name)? != Value::Nil,
                        "Scripts" => !bridge.copy_part(entity, &name)?.is_empty_table(),
                        name => {
                            let id = registry.components[usize::from(registry.component(name)?)].id;
                            bridge
                                .with_world(|world| Ok(bridge.living(world, entity, name)?.contains_id(id)))?
                        }
                    };
                }
                lua_pushboolean(L, c_int::from(has_all));
                Ok(1)
            }
            Method::Get => {
                let name = name_argument(L, 2, "get")?;
                let value = bridge.copy_part(entity, &name)?;
                marshal::push(bridge, L, &value);
                Ok(1)
            }
            Method::Insert => {
                let name = name_argument(L, 2, "insert")?;
                let value = marshal::read(bridge, L, 3).map_err(|e| e.within(&name))?;
                let value = if value == Value::Nil { Value::Map(Vec::new()) } else { value };
                bridge.set_part(entity, &name, &value)?;
                Ok(0)
            }
            Method::Remove => {
                let name = name_argument(L, 2, "remove")?;
                let removed = bridge.remove_part(entity, &name)?;
                lua_pushboolean(L, c_int::from(removed));
                Ok(1)
            }
            Method::Despawn => {
                bridge.with_world(|world| {
                    if bridge.living(world, entity, "despawn")?.contains::<IsResource>() {
                        return Err(Error::wrong_type(format!("entity {entity} is a resource")));
                    }
                    Ok(())
                })?;
                if let Some(extension) = &bridge.extension {
                    extension.despawning(bridge, entity);
                }
                bridge.with_world(|world| {
                    // What `despawning` did may have despawned it already.
                    let _ = world.try_despawn(entity);
                    Ok(())
                })?;
                Ok(0)
            }
        }
    }
}

/// Reads a member, in a C function whose frame owns nothing. `[-0, +1]`
///
/// # Safety
/// As [`get`].
#[inline(always)]
unsafe fn dispatch_get(bridge: &Bridge, L: *mut lua_State, entity: Entity, member: Member) {
    // SAFETY: as above.
    unsafe {
        match (member, &bridge.extension) {
            (Member::Component(component), _) if bridge.push_component_fast(L, 1, entity, component) => {}
            (Member::Field(field), Some(extension)) => extension.get(bridge, L, entity, usize::from(field)),
            _ => {
                finish(L, get(bridge, L, entity, member).map(|()| 1));
            }
        }
    }
}

/// Writes a member, in a C function whose frame owns nothing. `[-0, +0]`
///
/// # Safety
/// As [`set`].
#[inline(always)]
unsafe fn dispatch_set(bridge: &Bridge, L: *mut lua_State, entity: Entity, member: Member) {
    // SAFETY: as above.
    unsafe {
        if let Member::Component(component) = member {
            let table = &bridge.components[usize::from(component)];
            if reference::write_scalar(bridge, L, 3, entity, table.id, &table.root) {
                return;
            }
        }
        finish(L, set(bridge, L, entity, member).map(|()| 0));
    }
}

/// Calls a method, in a C function whose frame owns nothing; the name is only for a message.
///
/// # Safety
/// As [`call`].
unsafe fn dispatch_call(
    bridge: &Bridge,
    L: *mut lua_State,
    entity: Entity,
    member: Member,
    name: *const std::ffi::c_char,
) -> c_int {
    // SAFETY: as above; the VM gives names as C strings.
    unsafe {
        match (member, &bridge.extension) {
            (Member::Extension(method), Some(extension)) => {
                extension.call(bridge, L, entity, usize::from(method))
            }
            (Member::Method(Method::Despawn), Some(extension)) => {
                finish(L, call(bridge, L, entity, Method::Despawn));
                extension.despawned(bridge, L, entity)
            }
            (Member::Method(method), _) => finish(L, call(bridge, L, entity, method)),
            _ => {
                let result = {
                    let name = std::ffi::CStr::from_ptr(name).to_string_lossy();
                    Err(match member {
                        Member::Unknown => bridge.unknown_member(entity, &name),
                        _ => Error::wrong_type(format!("'{name}' of an entity is no method")),
                    })
                };
                finish(L, result)
            }
        }
    }
}

/// The handle in the first argument, for functions that scripts could call with another.
///
/// # Safety
/// Called in a C function that knows the bridge.
unsafe fn self_argument<'a>(L: *mut lua_State) -> Result<(&'a Bridge, Entity), Error> {
    // SAFETY: as above.
    unsafe {
        let bridge = bridge_of(L);
        match bridge.entity_at(L, 1) {
            Some(entity) => Ok((bridge, entity)),
            None => Err(Error::wrong_type(format!("expected an entity as self, got {}", any_text(L, 1)))),
        }
    }
}

unsafe extern "C-unwind" fn direct_get(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _: *mut u16,
    _: c_int,
) {
    // SAFETY: the VM calls this with the insides of a handle, which has this tag.
    unsafe {
        let data = &*data.cast::<EntityData>();
        let bridge = &*data.bridge;
        dispatch_get(bridge, L, data.entity, bridge.member(atom));
    }
}

unsafe extern "C-unwind" fn direct_set(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _: *mut u16,
    _: c_int,
) {
    // SAFETY: the VM calls this with the insides of a handle, which has this tag.
    unsafe {
        let data = &*data.cast::<EntityData>();
        let bridge = &*data.bridge;
        dispatch_set(bridge, L, data.entity, bridge.member(atom));
    }
}

unsafe extern "C-unwind" fn direct_call(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _: *mut u16,
    _: c_int,
) -> c_int {
    // SAFETY: the VM calls this with the insides of a handle, which has this tag.
    unsafe {
        let data = &*data.cast::<EntityData>();
        let bridge = &*data.bridge;
        let name = lua_namecallatom(L, std::ptr::null_mut());
        dispatch_call(bridge, L, data.entity, bridge.member(atom), name)
    }
}

/// What the key at 2 is to an entity.
///
/// # Safety
/// Called in a C function.
unsafe fn member_of_key(bridge: &Bridge, L: *mut lua_State) -> Member {
    // SAFETY: only a string is asked for its atom, so nothing is converted.
    unsafe {
        if lua_type(L, 2) != LUA_TSTRING {
            return Member::Unknown;
        }
        let mut atom = -1;
        lua_tostringatom(L, 2, &mut atom);
        bridge.member(atom)
    }
}

unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        match self_argument(L) {
            Ok((bridge, entity)) => dispatch_get(bridge, L, entity, member_of_key(bridge, L)),
            Err(error) => {
                finish(L, Err(error));
            }
        }
        1
    }
}

unsafe extern "C-unwind" fn new_index(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        match self_argument(L) {
            Ok((bridge, entity)) => dispatch_set(bridge, L, entity, member_of_key(bridge, L)),
            Err(error) => {
                finish(L, Err(error));
            }
        }
        0
    }
}

unsafe extern "C-unwind" fn namecall(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let mut atom = -1;
        let name = lua_namecallatom(L, &mut atom);
        match self_argument(L) {
            Ok((bridge, entity)) => dispatch_call(bridge, L, entity, bridge.member(atom), name),
            Err(error) => finish(L, Err(error)),
        }
    }
}

/// A method that was read as a field: the second upvalue is its name.
unsafe extern "C-unwind" fn method_value(L: *mut lua_State) -> c_int {
    // SAFETY: made by `get` with these upvalues; what it is called with is checked.
    unsafe {
        let mut atom = -1;
        let name = lua_tostringatom(L, lua_upvalueindex(2), &mut atom);
        match self_argument(L) {
            Ok((bridge, entity)) => dispatch_call(bridge, L, entity, bridge.member(atom), name),
            Err(error) => finish(L, Err(error)),
        }
    }
}

unsafe extern "C-unwind" fn to_string(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let result = match self_argument(L) {
            Ok((bridge, entity)) => {
                let text = match bridge.copy_part(entity, "Name") {
                    Ok(Value::String(name)) => format!("entity {entity} {name:?}"),
                    _ => format!("entity {entity}"),
                };
                push_str(L, &text);
                Ok(1)
            }
            Err(error) => Err(error),
        };
        finish(L, result)
    }
}
