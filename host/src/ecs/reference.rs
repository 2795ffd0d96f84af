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

use super::bridge::{Bridge, bridge_of, finish, set_metatable};
use super::builder::{Builder, put, unknown_field_of};
use super::entity::any_text;
use super::layout::{Field, Kind, Node};
use super::path::{walk, walk_mut};
use super::place::Keys;
use super::reflection::Seen;
use super::scalar::{Located, locate, locate_in_table, push_plain, push_scalar, write_scalar};
use super::value::{Value, ValueError};
use super::{marshal, place};
use bevy_ecs::entity::Entity;
use bluetick_scripting::Error;
use bluetick_scripting::raw::*;
use std::ffi::{c_int, c_void};

/// The insides of a reference.
#[repr(C)]
pub(super) struct Reference {
    // Begins as `EntityData` does.
    pub bridge: *const Bridge,
    pub entity: Entity,
    pub node: u32,
}

impl Reference {
    fn node<'a>(&self, bridge: &'a Bridge) -> &'a Node {
        &bridge.registry().nodes[self.node as usize]
    }

    /// Copies what it refers to.
    pub(super) fn read(&self, bridge: &Bridge) -> Result<Value, Error> {
        let node = self.node(bridge);
        bridge.may_read(node.component)?;
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

/// Pushes a field if this calls nothing that may fail. `[-0, +1]`, perhaps with one more below it; or with `false`
/// `[-0, +0]`.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn push_fast(bridge: &Bridge, L: *mut lua_State, reference: &Reference, atom: c_int) -> bool {
    let table = &bridge.nodes[reference.node as usize];
    let slot = table.slot(atom);
    // SAFETY: invariants 2 and 4 of the bridge. The place in the world is not used once something is pushed.
    unsafe {
        let Located::At(data) = locate(bridge.world(), reference.entity, table.column) else { return false };
        if slot.kind == Kind::Node {
            bridge.push_reference(L, reference.entity, slot.node);
            return true;
        }
        push_scalar(bridge, L, slot.kind, data.add(slot.offset as usize))
    }
}

/// Pushes a field if this takes no more than a look-up and a load. `[-0, +1]`, or with `false` `[-0, +0]`.
///
/// # Safety
/// Called in a C function of the VM.
#[inline(always)]
unsafe fn push_load(bridge: &Bridge, L: *mut lua_State, reference: &Reference, atom: c_int) -> bool {
    let table = &bridge.nodes[reference.node as usize];
    if table.column.sparse {
        return false;
    }
    let slot = table.slot(atom);
    // SAFETY: invariants 2 and 4 of the bridge.
    unsafe {
        match locate_in_table(bridge.world(), reference.entity, table.column.id) {
            Located::At(data) => push_plain(L, slot.kind, data.add(slot.offset as usize)),
            _ => false,
        }
    }
}

/// Pushes any field, the reference being at 1. `[-0, +1]` if it succeeds.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn push_field(
    bridge: &Bridge,
    L: *mut lua_State,
    reference: *const Reference,
    i: usize,
) -> Result<(), Error> {
    // SAFETY: the reference is on the stack.
    unsafe {
        let entity = (*reference).entity;
        let node = (*reference).node(bridge);
        let field = &node.fields[i];
        let label = field_label(node, field);
        bridge.may_read(node.component)?;
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
                bridge.push_reference(L, entity, field.node);
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
    bridge.may_write(node.component)?;
    // SAFETY: the value is on the stack.
    let value = unsafe { marshal::read(bridge, L, 3) }.map_err(|error| error.within(&label))?;
    let builder = Builder { types: &bridge.registry().types, named: None };
    // Gone comes before wrong: whoever holds a reference to something dead should hear that.
    bridge.look(reference.entity, node.component, &label, |_| Ok(()))?;
    let info = field.info.ok_or_else(|| Error::wrong_type(format!("{label}: its type is unknown")))?;
    let made = Bridge::guard(|| Ok(builder.build(info, &value).map_err(|error| error.within(&label))?))?;
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
    // SAFETY: as above.
    unsafe {
        match lua_type(L, 2) {
            LUA_TSTRING => {
                let slot = bridge.nodes[reference.node as usize].slot(stack::key_argument(L));
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
unsafe fn dispatch_get(L: *mut lua_State, reference: *const Reference, atom: c_int) {
    /// What takes calls, so that the rest is free of them.
    #[inline(never)]
    unsafe fn other(L: *mut lua_State, reference: *const Reference, atom: c_int) {
        // SAFETY: as above.
        unsafe {
            let bridge = &*(*reference).bridge;
            let component = (*reference).node(bridge).component;
            if bridge.may_read(component).is_ok() && push_fast(bridge, L, &*reference, atom) {
                return;
            }
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
        if bridge.guarded || !push_load(bridge, L, &*reference, atom) {
            other(L, reference, atom);
        }
    }
}

/// Writes the value at 3 to the field that the atom or, if there is none, the key at 2 names.
///
/// # Safety
/// Called in a C function of the VM whose frame owns nothing, the reference at 1.
#[inline(always)]
unsafe fn dispatch_set(L: *mut lua_State, reference: *const Reference, atom: c_int) {
    #[cold]
    unsafe fn slow(L: *mut lua_State, reference: *const Reference) {
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
        let may_write = !bridge.guarded || bridge.may_write((*reference).node(bridge).component).is_ok();
        if !may_write || !write_scalar(bridge, L, (*reference).entity, table.column, table.slot(atom)) {
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
    unsafe { dispatch_get(L, data.cast::<Reference>(), atom) }
}

unsafe extern "C-unwind" fn direct_set(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _: *mut u16,
    _: c_int,
) {
    // SAFETY: the VM calls this with the insides of a reference, which has this tag.
    unsafe { dispatch_set(L, data.cast::<Reference>(), atom) }
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
unsafe fn self_argument(L: *mut lua_State) -> Result<*const Reference, Error> {
    // SAFETY: the tag says what the userdata is.
    unsafe {
        let reference = stack::self_argument(L, bridge_of(L).tags.reference).cast::<Reference>().cast_const();
        if reference.is_null() {
            return Err(Error::wrong_type(format!("expected a component, got {}", any_text(L, 1))));
        }
        Ok(reference)
    }
}

unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        match self_argument(L) {
            Ok(reference) => {
                dispatch_get(L, reference, stack::key_argument(L));
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
                dispatch_set(L, reference, stack::key_argument(L));
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
                    Keys::Numbers(node.fields.len())
                } else {
                    let names = node.fields.iter().map(|field| Value::String(field.name.to_string()));
                    Keys::These(names.collect())
                };
                place::push_iteration(bridge, L, &keys);
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
