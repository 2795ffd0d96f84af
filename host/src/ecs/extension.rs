//! What a host adds to entities.

use super::bridge::Bridge;
use bevy_ecs::change_detection::Tick;
use bevy_ecs::entity::Entity;
use bluetick_scripting::Error;
use bluetick_scripting::raw::*;
use std::ffi::c_int;

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

/// What a script is about to do, for a host that does not grant everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access<'a> {
    /// Read a component or resource, or learn which entities have it.
    Read(&'a str),
    /// Write, insert or remove it.
    Write(&'a str),
    /// Call a function, `name` or `module.name`.
    Call(&'a str),
    /// Send or receive messages of this kind.
    Message(&'a str),
    /// Spawn an entity.
    Spawn,
    /// Despawn one.
    Despawn,
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

    /// Whether [`may`](Self::may) ever says no. Asked for once; if not, `may` isn't asked.
    fn is_guard(&self) -> bool {
        false
    }

    /// Whether the running script may do this; else an error of kind `denied`.
    fn may(&self, access: Access<'_>) -> Result<(), Error> {
        let _ = access;
        Ok(())
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

    /// When the running tasklet has last asked a query for changes with this filter; it asks now. `None` for
    /// the first time, when all that match are meant.
    fn last_look(&self, filter: &[u32], now: Tick) -> Option<Tick> {
        let _ = (filter, now);
        None
    }

    /// A script changed what an entity consists of. The world is lent, and free to be borrowed.
    fn changed(&self, bridge: &Bridge, entity: Entity, change: Change<'_>) {
        let _ = (bridge, entity, change);
    }
}
