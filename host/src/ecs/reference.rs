//! Component references: `self.Health`, whose fields are read and written in place.
//!
//! A reference names an entity and a component (or a struct in one), never an address: each access
//! looks both up, and finds the component of that very entity or nothing.
//!
//! What scripts read from and write to a field:
//!
//! | in Rust | in a script |
//! |---|---|
//! | integers, floats | number; 64 bits and more: a string of digits where a number is not exact (beyond 2⁵³) |
//! | `bool`, `char`, `String` | boolean, string of one character, string |
//! | `Vec3`, `Vec3A` | vector |
//! | `Vec2` | vector with z = 0 |
//! | `Vec4`, `Quat`, colours, any struct | reference: `rotation.x` in place; a table replaces the whole |
//! | tuple, array | reference by number: `pair[1]` in place; a list replaces the whole |
//! | `Entity` | the entity's handle, nil for `Entity::PLACEHOLDER` |
//! | newtype | what it wraps |
//! | list, map, set, enum with data | see [`place`](super::place) |
//!
//! A vector is a value: `t.translation = t.translation + step` moves something, `t.translation.x = 1` is
//! an error of the VM.

use super::bridge::{Bridge, NodeTable, Slot, bridge_of, finish, set_metatable};
use super::entity::any_text;
use super::layout::{Field, Kind, Node};
use super::path::{walk, walk_mut};
use super::reflection::{Builder, Seen, put, unknown_field_of};
use super::value::{EXACT, Value, ValueError};
use super::{marshal, place};
use bevy_ecs::component::ComponentId;
use bevy_ecs::entity::Entity;
use bluetick_scripting::Error;
use bluetick_scripting::raw::*;
use glam::Vec2;
use std::ffi::{c_int, c_void};

/// The insides of a reference.
#[repr(C)]
pub(super) struct Reference {
    bridge: *const Bridge,
    entity: Entity,
    node: u32,
    /// Whether the metatable is its own, and keeps the references to structs in this one.
    owns: bool,
}

impl Reference {
    fn node<'a>(&self, bridge: &'a Bridge) -> &'a Node {
        &bridge.registry().nodes[self.node as usize]
    }

    /// Copies what it refers to.
    pub(super) fn read(&self, bridge: &Bridge) -> Result<Value, Error> {
        let node = self.node(bridge);
        bridge.look(self.entity, node.component, &node.label, |data| {
            let data = walk(data, &node.steps).ok_or_else(|| ValueError::new("is gone"))?;
            bridge.registry().types.read(data)
        })
    }
}

/// Makes the metatable of references. `[-0, +0]`
///
/// # Safety
/// A live state below a protected call; the bridge lives as long as the VM.
pub(super) unsafe fn install(bridge: &Bridge, L: *mut lua_State, direct: bool) {
    // SAFETY: as above.
    unsafe {
        set_metatable(
            L,
            bridge,
            bridge.tags.reference,
            "component",
            0,
            &[
                (c"__index", index),
                (c"__newindex", new_index),
                (c"__len", length),
                (c"__iter", iterate),
                (c"__tostring", to_string),
            ],
        );
        if direct {
            lua_registeruserdatadirectaccess(L, bridge.tags.reference, direct_get, direct_set, no_method);
        }
    }
}

/// Pushes the reference that the userdata at `owner` keeps in `slot`. `[-0, +1]`, or with `false` `[-0, +0]`.
///
/// # Safety
/// A live state with room; at `owner` is a handle or a reference.
#[inline(always)]
pub(super) unsafe fn push_kept(L: *mut lua_State, owner: c_int, slot: c_int) -> bool {
    // SAFETY: handles and references have metatables; their numbered entries are references.
    unsafe {
        lua_getmetatable(L, owner);
        if lua_rawgeti_(L, -1, slot) == LUA_TUSERDATA {
            lua_replace(L, -2);
            true
        } else {
            lua_settop(L, -3);
            false
        }
    }
}

/// Pushes a new reference, which the userdata at `owner` keeps in `slot` from now on. `[-0, +1]`
///
/// # Safety
/// A live state with room, below a protected call; `owner` is the absolute index of a handle or a reference,
/// `owns` the flag in it that tells whether its metatable is its own.
pub(super) unsafe fn push_new(
    bridge: &Bridge,
    L: *mut lua_State,
    owner: c_int,
    owns: *mut bool,
    slot: c_int,
    entity: Entity,
    node: u32,
) {
    // SAFETY: pushes and pops are balanced but for the result. The userdata at `owner` is on the stack, so it
    // stays where it is, and `owns` with it.
    unsafe {
        lua_getmetatable(L, owner);
        if !*owns {
            lua_clonetable(L, -1);
            lua_replace(L, -2);
            lua_pushvalue(L, -1);
            lua_setmetatable(L, owner);
            *owns = true;
        }
        let data = lua_newuserdatataggedwithmetatable(L, size_of::<Reference>(), bridge.tags.reference);
        data.cast::<Reference>().write(Reference { bridge, entity, node, owns: false });
        lua_pushvalue(L, -1);
        lua_rawseti_(L, -3, slot);
        lua_replace(L, -2);
    }
}

/// Pushes a reference that nothing keeps. `[-0, +1]`
///
/// # Safety
/// A live state with room, below a protected call.
pub(super) unsafe fn push_single(bridge: &Bridge, L: *mut lua_State, entity: Entity, node: u32) {
    // SAFETY: as above; the tag has a metatable.
    unsafe {
        let data = lua_newuserdatataggedwithmetatable(L, size_of::<Reference>(), bridge.tags.reference);
        data.cast::<Reference>().write(Reference { bridge, entity, node, owns: false });
    }
}

/// Pushes what lies at `at`, if this takes one load. `[-0, +1]`, or with `false` `[-0, +0]`.
///
/// # Safety
/// `at` points to a live value of this kind. A live state with room, below a protected call. For an entity, a
/// handle may be made, which may run the collector: nothing may borrow from the world.
#[inline(always)]
pub(super) unsafe fn push_scalar(bridge: &Bridge, L: *mut lua_State, kind: Kind, at: *const u8) -> bool {
    // SAFETY: the caller vouches for the kind, and so for type and alignment.
    unsafe {
        macro_rules! number {
            ($t:ty) => {
                lua_pushnumber(L, at.cast::<$t>().read() as f64)
            };
        }
        match kind {
            Kind::F32 => number!(f32),
            Kind::Vec3 => {
                let [x, y, z] = at.cast::<[f32; 3]>().read();
                lua_pushvector(L, x, y, z);
            }
            Kind::F64 => number!(f64),
            Kind::I32 => number!(i32),
            Kind::U32 => number!(u32),
            Kind::Bool => lua_pushboolean(L, c_int::from(at.read() != 0)),
            Kind::U8 => number!(u8),
            Kind::U16 => number!(u16),
            Kind::I8 => number!(i8),
            Kind::I16 => number!(i16),
            Kind::U64 => {
                let number = at.cast::<u64>().read();
                if i128::from(number) > EXACT {
                    return false;
                }
                lua_pushnumber(L, number as f64);
            }
            Kind::I64 => {
                let number = at.cast::<i64>().read();
                if i128::from(number.unsigned_abs()) > EXACT {
                    return false;
                }
                lua_pushnumber(L, number as f64);
            }
            Kind::Vec2 => {
                let [x, y] = at.cast::<[f32; 2]>().read();
                lua_pushvector(L, x, y, 0.0);
            }
            Kind::Entity => bridge.push_entity(L, at.cast::<Entity>().read()),
            Kind::Char | Kind::None | Kind::Node | Kind::Reflected => return false,
        }
        true
    }
}

/// Stores a value in a component and marks it changed; `false`, and nothing done, if that can't be.
///
/// # Safety
/// `T` is what the component has at the offset. See [`write_scalar`].
#[inline(always)]
unsafe fn store<T>(bridge: &Bridge, entity: Entity, id: ComponentId, offset: u32, value: T) -> bool {
    let world = bridge.world();
    if world.is_null() {
        return false;
    }
    // SAFETY: invariant 2 of the bridge: the pointer is valid, and nothing else uses the world. The id leads to
    // a component of the type that the offset was found for.
    unsafe {
        let Ok(mut there) = (*world).get_entity_mut(entity) else { return false };
        let Ok(mut data) = there.get_mut_by_id(id) else { return false };
        data.as_mut().as_ptr().add(offset as usize).cast::<T>().write(value);
        true
    }
}

/// Writes the value at `index` of the stack to a field of a component, if it fits and takes one store;
/// otherwise nothing is done. `[-0, +0]`
///
/// # Safety
/// A live state; the slot belongs to this component.
#[inline(always)]
pub(super) unsafe fn write_scalar(
    bridge: &Bridge,
    L: *mut lua_State,
    index: c_int,
    entity: Entity,
    id: ComponentId,
    slot: &Slot,
) -> bool {
    // SAFETY: each arm stores what the kind of the slot says.
    unsafe {
        // Not a string of digits, which `lua_tonumber` would take as well.
        let number = || (lua_type(L, index) == LUA_TNUMBER).then(|| lua_tonumber(L, index));
        macro_rules! whole {
            ($t:ty) => {{
                let Some(number) = number() else { return false };
                // For 64 bits, the highest number rounds up to one too many.
                let most = <$t>::MAX as f64;
                let fits =
                    number >= <$t>::MIN as f64 && (number < most || (number == most && size_of::<$t>() < 8));
                if !fits || number.trunc() != number {
                    return false;
                }
                store(bridge, entity, id, slot.offset, number as $t)
            }};
        }
        match slot.kind {
            Kind::F32 => match number() {
                Some(number) => store(bridge, entity, id, slot.offset, number as f32),
                None => false,
            },
            Kind::Vec3 => {
                let lanes = lua_tovector(L, index);
                !lanes.is_null()
                    && store::<[f32; 3]>(bridge, entity, id, slot.offset, lanes.cast::<[f32; 3]>().read())
            }
            Kind::F64 => match number() {
                Some(number) => store(bridge, entity, id, slot.offset, number),
                None => false,
            },
            Kind::I32 => whole!(i32),
            Kind::U32 => whole!(u32),
            Kind::Bool => {
                lua_type(L, index) == LUA_TBOOLEAN
                    && store(bridge, entity, id, slot.offset, lua_toboolean(L, index) != 0)
            }
            Kind::U8 => whole!(u8),
            Kind::U16 => whole!(u16),
            Kind::U64 => whole!(u64),
            Kind::I8 => whole!(i8),
            Kind::I16 => whole!(i16),
            Kind::I64 => whole!(i64),
            Kind::Vec2 => {
                let lanes = lua_tovector(L, index);
                if lanes.is_null() {
                    return false;
                }
                let [x, y, z] = lanes.cast::<[f32; 3]>().read();
                z == 0.0 && store(bridge, entity, id, slot.offset, Vec2::new(x, y))
            }
            Kind::Entity => match bridge.entity_at(L, index) {
                Some(value) => store(bridge, entity, id, slot.offset, value),
                None => false,
            },
            Kind::Char | Kind::None | Kind::Node | Kind::Reflected => false,
        }
    }
}

/// Pushes a field if this takes no more than a look-up and a load. `[-0, +1]`, or with `false` `[-0, +0]`.
/// The reference is at 1.
///
/// # Safety
/// Called in a C function of the VM.
#[inline(always)]
unsafe fn push_fast(
    bridge: &Bridge,
    L: *mut lua_State,
    reference: &Reference,
    table: &NodeTable,
    slot: Slot,
) -> bool {
    let world = bridge.world();
    if world.is_null() {
        return false;
    }
    // SAFETY: invariants 2 and 4 of the bridge. `there` is not used after something was pushed.
    unsafe {
        let Ok(there) = (*world).get_entity(reference.entity) else { return false };
        let Ok(data) = there.get_by_id(table.id) else { return false };
        if slot.kind == Kind::Node {
            return push_kept(L, 1, c_int::from(slot.index) + 1);
        }
        push_scalar(bridge, L, slot.kind, data.as_ptr().add(slot.offset as usize))
    }
}

/// Pushes any field, the reference being at 1. `[-0, +1]` if it succeeds.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn push_field(
    bridge: &Bridge,
    L: *mut lua_State,
    reference: *mut Reference,
    i: usize,
) -> Result<(), Error> {
    // SAFETY: the reference is on the stack.
    unsafe {
        let entity = (*reference).entity;
        let node = (*reference).node(bridge);
        let field = &node.fields[i];
        let label = field_label(node, field);
        let seen = bridge.look(entity, node.component, &label, |data| {
            if field.kind == Kind::Node {
                return Ok(Seen::Container(0));
            }
            let data = walk(data, &field.steps).ok_or_else(|| ValueError::new("is gone"))?;
            bridge.registry().types.see(data)
        })?;
        match seen {
            Seen::Value(value) => marshal::push(bridge, L, &value),
            Seen::Container(_) if field.kind == Kind::Node => {
                let owns = &raw mut (*reference).owns;
                push_new(bridge, L, 1, owns, i as c_int + 1, entity, field.node);
            }
            Seen::Container(wrappers) => {
                place::push_field(bridge, L, entity, node.component, &field.steps, wrappers, label);
            }
        }
        Ok(())
    }
}

/// Sets any field to the value at 3, the reference being at 1.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn set_field(
    bridge: &Bridge,
    L: *mut lua_State,
    reference: &Reference,
    i: usize,
) -> Result<(), Error> {
    let node = reference.node(bridge);
    let field = &node.fields[i];
    let label = field_label(node, field);
    // SAFETY: the value is on the stack.
    let value = unsafe { marshal::read(bridge, L, 3) }.map_err(|error| error.within(&label))?;
    let builder = Builder { types: &bridge.registry().types, named: None };
    // Gone comes before wrong: whoever holds a reference to something dead should hear that.
    bridge.look(reference.entity, node.component, &label, |_| Ok(()))?;
    let info = field.info.ok_or_else(|| Error::wrong_type(format!("{label}: its type is unknown")))?;
    let made = builder.build(info, &value).map_err(|error| error.within(&label))?;
    bridge.change(reference.entity, node.component, &label, |data| {
        put(walk_mut(data, &field.steps).ok_or_else(|| ValueError::new("is gone"))?, made)
    })
}

/// `Health.current`, `Pair[1]`
fn field_label(node: &Node, field: &Field) -> String {
    if node.numbered {
        format!("{}[{}]", node.label, field.name)
    } else {
        format!("{}.{}", node.label, field.name)
    }
}

/// The number of the field that the key at 2 names.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn field_of_key(bridge: &Bridge, L: *mut lua_State, reference: &Reference) -> Result<usize, Error> {
    let node = reference.node(bridge);
    // SAFETY: only a string is asked for its atom, so nothing is converted.
    unsafe {
        match lua_type(L, 2) {
            LUA_TSTRING => {
                let mut atom = -1;
                lua_tostringatom(L, 2, &mut atom);
                let slot = bridge.nodes[reference.node as usize].slot(atom);
                if slot.kind != Kind::None {
                    return Ok(usize::from(slot.index));
                }
            }
            LUA_TNUMBER if node.numbered => {
                let number = lua_tonumber(L, 2);
                if number >= 1.0 && number.trunc() == number && number <= node.fields.len() as f64 {
                    return Ok(number as usize - 1);
                }
                let count = node.fields.len();
                let error = ValueError::new(format!("has {count} elements, not {number}"));
                return Err(error.within(&node.label).into());
            }
            _ => {}
        }
        let name = any_text(L, 2);
        Err(unknown_field_of(&node.label, &name, &mut node.fields.iter().map(|field| &*field.name)).into())
    }
}

/// Reads the field that the atom or, if there is none, the key at 2 names. `[-0, +1]`
///
/// # Safety
/// Called in a C function of the VM whose frame owns nothing, the reference at 1.
#[inline(always)]
unsafe fn dispatch_get(L: *mut lua_State, reference: *mut Reference, atom: c_int) {
    #[cold]
    unsafe fn slow(L: *mut lua_State, reference: *mut Reference) {
        // SAFETY: as above.
        unsafe {
            let bridge = &*(*reference).bridge;
            let result = match field_of_key(bridge, L, &*reference) {
                Ok(field) => push_field(bridge, L, reference, field),
                Err(error) => Err(error),
            };
            finish(L, result.map(|()| 1));
        }
    }
    // SAFETY: as above; the bridge outlives the reference.
    unsafe {
        let bridge = &*(*reference).bridge;
        let table = &bridge.nodes[(*reference).node as usize];
        if !push_fast(bridge, L, &*reference, table, table.slot(atom)) {
            slow(L, reference);
        }
    }
}

/// Writes the value at 3 to the field that the atom or, if there is none, the key at 2 names.
///
/// # Safety
/// Called in a C function of the VM whose frame owns nothing, the reference at 1.
#[inline(always)]
unsafe fn dispatch_set(L: *mut lua_State, reference: *mut Reference, atom: c_int) {
    #[cold]
    unsafe fn slow(L: *mut lua_State, reference: *mut Reference) {
        // SAFETY: as above.
        unsafe {
            let bridge = &*(*reference).bridge;
            let result = match field_of_key(bridge, L, &*reference) {
                Ok(field) => set_field(bridge, L, &*reference, field),
                Err(error) => Err(error),
            };
            finish(L, result.map(|()| 0));
        }
    }
    // SAFETY: as above; the bridge outlives the reference.
    unsafe {
        let bridge = &*(*reference).bridge;
        let table = &bridge.nodes[(*reference).node as usize];
        if !write_scalar(bridge, L, 3, (*reference).entity, table.id, &table.slot(atom)) {
            slow(L, reference);
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
    // SAFETY: the VM calls this with the insides of a reference, which has this tag.
    unsafe { dispatch_get(L, data.cast(), atom) }
}

unsafe extern "C-unwind" fn direct_set(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _: *mut u16,
    _: c_int,
) {
    // SAFETY: the VM calls this with the insides of a reference, which has this tag.
    unsafe { dispatch_set(L, data.cast(), atom) }
}

/// References have no methods, so the VM reads a field where a script calls one; it asks for this all the same.
unsafe extern "C-unwind" fn no_method(
    _: *mut lua_State,
    _: *mut c_void,
    _: c_int,
    _: *mut u16,
    _: c_int,
) -> c_int {
    0
}

/// The reference in the first argument, for functions that scripts could call with another.
///
/// # Safety
/// Called in a C function that knows the bridge.
unsafe fn self_argument(L: *mut lua_State) -> Result<*mut Reference, Error> {
    // SAFETY: the tag says what the userdata is.
    unsafe {
        let reference = lua_touserdatatagged(L, 1, bridge_of(L).tags.reference).cast::<Reference>();
        if reference.is_null() {
            return Err(Error::wrong_type(format!("expected a component, got {}", any_text(L, 1))));
        }
        Ok(reference)
    }
}

/// The atom of the key at 2; -1 if it is no known name.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn atom_of_key(L: *mut lua_State) -> c_int {
    let mut atom = -1;
    // SAFETY: only a string is asked for its atom, so nothing is converted.
    unsafe {
        if lua_type(L, 2) == LUA_TSTRING {
            lua_tostringatom(L, 2, &mut atom);
        }
    }
    atom
}

unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        match self_argument(L) {
            Ok(reference) => {
                dispatch_get(L, reference, atom_of_key(L));
                1
            }
            Err(error) => finish(L, Err(error)),
        }
    }
}

unsafe extern "C-unwind" fn new_index(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        match self_argument(L) {
            Ok(reference) => {
                dispatch_set(L, reference, atom_of_key(L));
                0
            }
            Err(error) => finish(L, Err(error)),
        }
    }
}

unsafe extern "C-unwind" fn length(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let result = match self_argument(L) {
            Err(error) => Err(error),
            Ok(reference) => {
                let node = (*reference).node(&*(*reference).bridge);
                if node.numbered {
                    lua_pushnumber(L, node.fields.len() as f64);
                    Ok(1)
                } else {
                    Err(Error::wrong_type(format!("{} has fields, but no length", node.label)))
                }
            }
        };
        finish(L, result)
    }
}

unsafe extern "C-unwind" fn iterate(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let result = match self_argument(L) {
            Err(error) => Err(error),
            Ok(reference) => {
                let bridge = &*(*reference).bridge;
                let node = (*reference).node(bridge);
                let keys = if node.numbered {
                    (1..=node.fields.len() as i128).map(Value::Integer).collect()
                } else {
                    node.fields.iter().map(|field| Value::String(field.name.to_string())).collect()
                };
                place::push_iteration(bridge, L, keys);
                Ok(1)
            }
        };
        finish(L, result)
    }
}

unsafe extern "C-unwind" fn to_string(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let result = match self_argument(L) {
            Err(error) => Err(error),
            Ok(reference) => {
                let bridge = &*(*reference).bridge;
                let node = (*reference).node(bridge);
                let text = match (*reference).read(bridge) {
                    Ok(value) => format!("{} {value}", node.label),
                    Err(_) => format!("{} (gone)", node.label),
                };
                push_str(L, &text);
                Ok(1)
            }
        };
        finish(L, result)
    }
}
