//! The global `world`.
//!
//! ```lua
//! world:spawn { Transform = { translation = vector.create(1, 2, 0) }, Name = "gate", Script = "gate" } -> entity
//! world:query("Transform", "Velocity", { with = "Alive", without = { "Dead", "Asleep" } })   see query.rs
//! world:count("Health", { without = "Dead" }) -> number
//! world:entity("4v1") -> entity or nil      the one with this id, if it is there
//! world:named("gate") -> entity or nil      the first with this name, in the order of queries
//! world:resource("Score") -> reference or nil
//! world:declare("Poison", { dps = 2 })      a component of the script's own: see dynamic.rs
//! ```
//!
//! and every function that the programmer registered.

use super::bridge::{Bridge, bridge_of, finish, push_function};
use super::component::Part;
use super::entity::{any_text, text};
use super::extension::{Access, Change};
use super::layout::Kind;
use super::machinery::Machinery;
use super::nearest::{did_you_mean, shorten};
use super::parts::granted_as;
use super::query::{self, Filter};
use super::reflection::Seen;
use super::value::{Value, ValueError};
use super::{marshal, place};
use bevy_ecs::archetype::Archetype;
use bevy_ecs::entity::{Entity, EntityGeneration, EntityIndex};
use bevy_ecs::name::Name;
use bevy_ecs::world::World;
use bluetick_scripting::Error;
use bluetick_scripting::raw::*;
use std::ffi::c_int;

/// The methods that are here.
const METHODS: [&str; 7] = ["spawn", "query", "count", "entity", "named", "resource", "declare"];

/// The methods that a host adds.
pub(crate) const HOST_METHODS: [&str; 4] = ["send", "messages", "added", "removed"];

/// Whether functions can't have this name.
pub(super) fn is_method(name: &str) -> bool {
    METHODS.contains(&name) || HOST_METHODS.contains(&name)
}

/// Makes the table `world`, which is a global until something else puts it elsewhere. `[-0, +0]`
///
/// # Safety
/// A live state below a protected call; the bridge lives as long as the VM.
pub(super) unsafe fn install(bridge: &Bridge, L: *mut lua_State) {
    // SAFETY: balanced pushes and pops.
    unsafe {
        let functions: [(_, lua_CFunction); 7] = [
            (c"declare", declare),
            (c"spawn", spawn),
            (c"query", query),
            (c"count", count),
            (c"entity", entity),
            (c"named", named),
            (c"resource", resource),
        ];
        lua_createtable(L, 0, functions.len() as c_int);
        for (name, f) in functions {
            push_function(L, bridge, f, name);
            lua_rawsetfield(L, -2, name.as_ptr());
        }
        bridge.world_table.set(lua_topointer(L, -1));
        lua_createtable(L, 0, 3);
        push_function(L, bridge, unknown, c"__index");
        lua_rawsetfield(L, -2, c"__index".as_ptr());
        push_str(L, "world");
        lua_rawsetfield(L, -2, c"__type".as_ptr());
        push_str(L, "locked");
        lua_rawsetfield(L, -2, c"__metatable".as_ptr());
        lua_setmetatable(L, -2);
        lua_setfield(L, LUA_GLOBALSINDEX, c"world".as_ptr());
    }
}

/// The bridge, if `world` is the first argument: `world:spawn`, not `world.spawn`.
///
/// # Safety
/// Called in a C function that knows the bridge.
pub(super) unsafe fn self_argument<'a>(L: *mut lua_State, method: &str) -> Result<&'a Bridge, Error> {
    // SAFETY: as above.
    unsafe {
        let bridge = bridge_of(L);
        if lua_topointer(L, 1) == bridge.world_table.get() {
            Ok(bridge)
        } else {
            Err(Error::wrong_type(format!("call it as world:{method}(...), with a colon")))
        }
    }
}

/// A method that is not there.
unsafe extern "C-unwind" fn unknown(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let result = {
            let functions =
                bridge_of(L).registry().functions.iter().filter(|function| function.module.is_none());
            let functions = functions.map(|function| function.name.as_str());
            let name = any_text(L, 2);
            let near = did_you_mean(&name, METHODS.into_iter().chain(HOST_METHODS).chain(functions));
            Err(Error::wrong_type(format!("world has no method '{}'{near}", shorten(&name))))
        };
        finish(L, result)
    }
}

unsafe extern "C-unwind" fn spawn(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn spawn(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let bridge = self_argument(L, "spawn")?;
            let description = marshal::read(bridge, L, 2).map_err(|error| error.within("world:spawn"))?;
            let entity = bridge.spawn(&description)?;
            bridge.tell(entity, Change::Spawned);
            bridge.push_entity(L, entity);
            Ok(1)
        }
    }
    // SAFETY: called by a script; what it is called with is checked.
    unsafe { finish(L, spawn(L)) }
}

impl Bridge {
    /// Spawns an entity from a table of components, name and scripts; or nothing.
    fn spawn(&self, description: &Value) -> Result<Entity, Error> {
        let registry = self.registry();
        self.may(Access::Spawn)?;
        let mut parts = Vec::new();
        match description {
            Value::Nil => {}
            Value::Map(entries) => {
                for (key, value) in entries {
                    match key {
                        Value::String(name) => {
                            self.may(Access::Write(granted_as(name)))?;
                            parts.push(Self::guard(|| Ok(registry.part(name, value, None)?))?);
                        }
                        key => return Err(ValueError::mismatch("the name of a component", key).into()),
                    }
                }
            }
            other => {
                let expected = "a table of components, such as { Health = { max = 10 } }";
                return Err(ValueError::mismatch(expected, other).within("world:spawn").into());
            }
        }
        self.with_world(|world| Ok(registry.spawn(world, parts)?))
    }

    /// Pushes the reference to a resource, or nil.
    ///
    /// # Safety
    /// Called in a C function of the VM.
    unsafe fn push_resource(&self, L: *mut lua_State, name: &str) -> Result<(), Error> {
        let registry = self.registry();
        let number = registry.find(name, true).ok_or_else(|| {
            let near = did_you_mean(name, registry.resource_names());
            Error::wrong_type(format!("there is no resource '{}'{near}", shorten(name)))
        })?;
        self.may_read(number)?;
        let registered = &registry.components[usize::from(number)];
        // A resource is the component of an entity that stays the same.
        let found = self.with_world(|world| {
            let Some(entity) = world.resource_entities().get(registered.id) else { return Ok(None) };
            let Ok(data) = world.entity(entity).get_by_id(registered.id) else { return Ok(None) };
            if registered.root.kind == Kind::Node {
                return Ok(Some((entity, Seen::Container(0))));
            }
            // SAFETY: the component has the id under which this world registered the type.
            let data = unsafe { registered.reflect(data) };
            Ok(Some((entity, registry.types.see(data.as_partial_reflect()).map_err(|e| e.within(name))?)))
        })?;
        // SAFETY: as above.
        unsafe {
            match found {
                None => lua_pushnil(L),
                Some((_, Seen::Value(value))) => marshal::push(self, L, &value),
                Some((entity, Seen::Container(_))) if registered.root.kind == Kind::Node => {
                    self.push_reference(L, entity, registered.root.node);
                }
                Some((entity, Seen::Container(wrappers))) => {
                    place::push_root(self, L, entity, number, wrappers)
                }
            }
        }
        Ok(())
    }
}

impl super::component::Registry {
    /// Spawns an entity with these parts, or nothing.
    pub(crate) fn spawn(&self, world: &mut World, mut parts: Vec<Part>) -> Result<Entity, ValueError> {
        let entity = world.spawn_empty().id();
        self.fill(world, entity, &mut parts).inspect_err(|_| {
            world.despawn(entity);
        })?;
        Ok(entity)
    }

    /// Inserts the parts in the order of their registration, the scripts last.
    pub(crate) fn fill(
        &self,
        world: &mut World,
        entity: Entity,
        parts: &mut Vec<Part>,
    ) -> Result<(), ValueError> {
        parts.sort_by_key(|part| match part {
            Part::Name(_) => (0, 0),
            Part::Component(number, _) => (1, *number),
            Part::Scripts(_) => (2, 0),
        });
        for part in parts.drain(..) {
            // What a hook does may have despawned it.
            let mut there = world
                .get_entity_mut(entity)
                .map_err(|_| ValueError::new(format!("entity {entity} was despawned as it was made")))?;
            self.insert_part(&mut there, part)?;
        }
        Ok(())
    }
}

unsafe extern "C-unwind" fn query(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn query(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let bridge = self_argument(L, "query")?;
            let filter = Filter::parse(bridge.registry(), &query::arguments(bridge, L, 2)?)?;
            filter.check(bridge)?;
            query::look(bridge, &filter)?;
            Ok(1)
        }
    }
    // SAFETY: called by a script; what it is called with is checked.
    unsafe {
        let count = finish(L, query(L));
        query::push(bridge_of(L), L);
        count
    }
}

unsafe extern "C-unwind" fn count(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn count(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let bridge = self_argument(L, "count")?;
            let filter = Filter::parse(bridge.registry(), &query::arguments(bridge, L, 2)?)?;
            filter.check(bridge)?;
            let count = bridge.with_world(|world| Ok(filter.count(bridge, world)))?;
            lua_pushnumber(L, count as f64);
            Ok(1)
        }
    }
    // SAFETY: called by a script; what it is called with is checked.
    unsafe { finish(L, count(L)) }
}

unsafe extern "C-unwind" fn declare(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn declare(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let bridge = self_argument(L, "declare")?;
            let name = text(L, 2).ok_or_else(|| {
                let found = any_text(L, 2);
                Error::wrong_type(format!("world:declare: expected the name of a component, got {found}"))
            })?;
            bridge.may(Access::Write(&name))?;
            let defaults = marshal::read(bridge, L, 3).map_err(|error| error.within(&name))?;
            bridge.with_world(|world| Ok(bridge.registry().declare(world, &name, &defaults)?))?;
            Ok(0)
        }
    }
    // SAFETY: called by a script; what it is called with is checked.
    unsafe { finish(L, declare(L)) }
}

/// The entity whose id was written like this.
fn parse_id(text: &str) -> Option<Entity> {
    let (index, generation) = text.split_once('v')?;
    let index = EntityIndex::from_raw_u32(index.parse().ok()?)?;
    Some(Entity::from_index_and_generation(index, EntityGeneration::from_bits(generation.parse().ok()?)))
}

unsafe extern "C-unwind" fn entity(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn find(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let bridge = self_argument(L, "entity")?;
            let entity = text(L, 2).and_then(|text| parse_id(&text)).ok_or_else(|| {
                let found = shorten(&any_text(L, 2));
                Error::wrong_type(format!(
                    "world:entity: expected the id of an entity, such as \"4v1\", got {found}"
                ))
            })?;
            let is_there = bridge.with_world(|world| {
                let machinery = Machinery::of(world);
                let there = world.get_entity(entity);
                Ok(there.is_ok_and(|there| !machinery.includes(|id| there.contains_id(id))))
            })?;
            bridge.push_entity(L, if is_there { entity } else { Entity::PLACEHOLDER });
            Ok(1)
        }
    }
    // SAFETY: called by a script; what it is called with is checked.
    unsafe { finish(L, find(L)) }
}

/// The first entity with this name.
pub(crate) fn find_named(world: &World, name: &str) -> Option<Entity> {
    let id = world.component_id::<Name>()?;
    let machinery = Machinery::of(world);
    let is_game = |a: &&Archetype| a.contains(id) && !machinery.includes(|id| a.contains(id));
    let archetypes = world.archetypes().iter().filter(is_game);
    let mut entities = archetypes.flat_map(|archetype| archetype.entities()).map(|row| row.id());
    entities.find(|&entity| world.get::<Name>(entity).is_some_and(|there| there.as_str() == name))
}

unsafe extern "C-unwind" fn named(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn find(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let bridge = self_argument(L, "named")?;
            let name = text(L, 2).ok_or_else(|| {
                let found = any_text(L, 2);
                Error::wrong_type(format!("world:named: expected the name of an entity, got {found}"))
            })?;
            let entity = bridge.with_world(|world| Ok(find_named(world, &name)))?;
            bridge.push_entity(L, entity.unwrap_or(Entity::PLACEHOLDER));
            Ok(1)
        }
    }
    // SAFETY: called by a script; what it is called with is checked.
    unsafe { finish(L, find(L)) }
}

unsafe extern "C-unwind" fn resource(L: *mut lua_State) -> c_int {
    /// # Safety
    /// Called in a C function that knows the bridge.
    unsafe fn find(L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: as above.
        unsafe {
            let bridge = self_argument(L, "resource")?;
            let name = text(L, 2).ok_or_else(|| {
                let found = any_text(L, 2);
                Error::wrong_type(format!("world:resource: expected the name of a resource, got {found}"))
            })?;
            bridge.push_resource(L, &name)?;
            Ok(1)
        }
    }
    // SAFETY: called by a script; what it is called with is checked.
    unsafe { finish(L, find(L)) }
}
