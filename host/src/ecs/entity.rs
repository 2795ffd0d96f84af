//! What scripts read from, write to and call on an entity.
//!
//! ```lua
//! self.id  self.alive  self.name
//! self.Health                                          a reference, or nil: see reference.rs
//! self.Health = { current = 1, max = 10 }              insert or replace; nil removes
//! self:has("Health", ...)  self:get("Health")          whether it has all of them; a copy
//! self:insert("Burning", { dps = 2 })  self:remove("Burning") -> whether it was there
//! self:despawn()                                       what its scripts have deferred runs first, and still finds it
//! ```
//!
//! and what the host adds by its [`EntityExtension`](super::EntityExtension). A table that is assigned is a whole
//! value: what it leaves out comes from the type's default, not from what was there.

use super::bridge::{Bridge, bridge_of, finish, set_metatable};
use super::extension::Access;
use super::handle::{self, EntityData};
use super::machinery::Machinery;
use super::value::Value;
use super::{marshal, scalar};
use crate::extension::with_descendants;
use bevy_ecs::entity::Entity;
use bluetick_scripting::Error;
use bluetick_scripting::raw::*;
use std::ffi::{c_int, c_void};

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

/// Makes the metatable of handles. `[-0, +0]`
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
            handle::dense_places(bridge),
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
    }
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
            Member::Component(component) => return bridge.push_component(L, entity, component),
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
            Member::Unknown => {
                let name = any_text(L, 2);
                // One that was declared after names were numbered.
                return match bridge.registry().find(&name, false) {
                    Some(component) => bridge.push_component(L, entity, component),
                    None => Err(bridge.unknown_member(entity, &name, lua_type(L, 2) == LUA_TSTRING)),
                };
            }
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
            Member::Unknown => {
                let name = any_text(L, 2);
                match bridge.registry().find(&name, false) {
                    Some(_) => bridge.set_part(entity, &name, &read(&name)?),
                    None => Err(bridge.unknown_member(entity, &name, lua_type(L, 2) == LUA_TSTRING)),
                }
            }
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
                            bridge.may(Access::Read(name))?;
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
                bridge.may(Access::Despawn)?;
                bridge.with_world(|world| {
                    let there = bridge.living(world, entity, "despawn")?;
                    if Machinery::of(world).includes(|id| there.contains_id(id)) {
                        let text =
                            format!("despawn: entity {entity} belongs to the world itself, not to the game");
                        return Err(Error::wrong_type(text));
                    }
                    Ok(())
                })?;
                if let Some(extension) = &bridge.extension {
                    extension.despawning(bridge, entity);
                }
                bridge.with_world(|world| {
                    // The world despawns children by a call within a call, and scripts may nest them deeper than the stack
                    // is: so the innermost go first. What `despawning` did may have despawned some already.
                    for entity in with_descendants(world, entity).into_iter().rev() {
                        let _ = world.try_despawn(entity);
                    }
                    Ok(())
                })?;
                Ok(0)
            }
        }
    }
}

/// Whether the entity has all components that the arguments from 2 on name; `None` if that is not all there is
/// to say.
///
/// # Safety
/// Called in a C function of the VM.
unsafe fn has_fast(bridge: &Bridge, L: *mut lua_State, entity: Entity) -> Option<bool> {
    let (world, mut has) = (bridge.world(), true);
    // SAFETY: invariant 2 of the bridge; nothing else runs meanwhile.
    unsafe {
        let there = world.as_ref()?.get_entity(entity).ok()?;
        let top = lua_gettop(L);
        for i in 2..=top {
            let Member::Component(component) = member_at(bridge, L, i) else { return None };
            bridge.may_read(component).ok()?;
            has &= there.contains_id(bridge.component_table(component).column.id);
        }
        (top >= 2).then_some(has)
    }
}

/// Reads the member that the atom or, if there is none, the key at 2 names, in a C function whose frame owns nothing.
/// `[-0, +1]`
///
/// # Safety
/// As [`get`].
#[inline(always)]
unsafe fn dispatch_get(bridge: &Bridge, L: *mut lua_State, entity: Entity, atom: c_int) {
    /// What takes calls, so that the rest is free of them.
    #[inline(never)]
    unsafe fn other(bridge: &Bridge, L: *mut lua_State, entity: Entity, atom: c_int) {
        // SAFETY: as above.
        unsafe {
            match (bridge.member(atom), &bridge.extension) {
                (Member::Component(component), _)
                    if bridge.may_read(component).is_ok()
                        && bridge.push_own_component(L, entity, bridge.named_component(atom)) => {}
                (Member::Field(field), Some(extension)) => {
                    extension.get(bridge, L, entity, usize::from(field));
                }
                (member, _) => {
                    finish(L, get(bridge, L, entity, member).map(|()| 1));
                }
            }
        }
    }
    // SAFETY: as above.
    unsafe {
        if bridge.guarded || !bridge.push_own_reference(L, entity, bridge.named_component(atom)) {
            other(bridge, L, entity, atom);
        }
    }
}

/// Writes the member that the atom or, if there is none, the key at 2 names, in a C function whose frame owns nothing.
/// `[-0, +0]`
///
/// # Safety
/// As [`set`].
#[inline(always)]
unsafe fn dispatch_set(bridge: &Bridge, L: *mut lua_State, entity: Entity, atom: c_int) {
    // SAFETY: as above.
    unsafe {
        let table = bridge.named_component(atom);
        let may_write = !bridge.guarded
            || matches!(bridge.member(atom), Member::Component(number) if bridge.may_write(number).is_ok());
        if !may_write || !scalar::write_scalar(bridge, L, entity, table.column, table.root) {
            finish(L, set(bridge, L, entity, bridge.member(atom)).map(|()| 0));
        }
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
            (Member::Method(Method::Has), _) if let Some(has) = has_fast(bridge, L, entity) => {
                lua_pushboolean(L, c_int::from(has));
                1
            }
            (Member::Method(method), _) => finish(L, call(bridge, L, entity, method)),
            _ => {
                let result = {
                    let name = std::ffi::CStr::from_ptr(name).to_string_lossy();
                    Err(match member {
                        Member::Unknown => bridge.unknown_member(entity, &name, false),
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
        match stack::self_argument(L, bridge.tags.entity).cast::<EntityData>().as_ref() {
            Some(data) => Ok((bridge, data.entity)),
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
        dispatch_get(bridge, L, data.entity, atom);
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
        dispatch_set(bridge, L, data.entity, atom);
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

/// What the name at a stack index is to an entity.
///
/// # Safety
/// Called in a C function.
unsafe fn member_at(bridge: &Bridge, L: *mut lua_State, index: c_int) -> Member {
    // SAFETY: only a string is asked for its atom, so nothing is converted.
    unsafe {
        if lua_type(L, index) != LUA_TSTRING {
            return Member::Unknown;
        }
        let mut atom = -1;
        lua_tostringatom(L, index, &mut atom);
        bridge.member(atom)
    }
}

unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        match self_argument(L) {
            Ok((bridge, entity)) => dispatch_get(bridge, L, entity, stack::key_argument(L)),
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
            Ok((bridge, entity)) => dispatch_set(bridge, L, entity, stack::key_argument(L)),
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
