//! Userdata that stand for entities and components: handles and references, and how they are found again.
//!
//! A handle is a userdata with the entity's id. It is canonical: as long as a script holds the handle of
//! an entity, every other way to that entity leads to the same handle, so that handles can be compared
//! and be keys of tables. A reference is a userdata with the entity's id and what of its component is meant; as long
//! as the collector has not taken it, `self.Health` finds it instead of making another, and so allocates nothing.
//!
//! Both are found again in *chunks*: tables with weak values, one for [`CHUNK`] indices of entities, since one big
//! table would be one long step of the collector. A chunk is at the same time the metatable of its handles, which
//! makes it the one thing that a handle leads to without a search. Its numbered part has a place for each kind of thing
//! of each of its entities: kind 0 are the handles, each other kind the references to one node. The places of
//! [`GROUP`] kinds of an entity lie side by side, and so do those of the entity after it: a loop over many entities walks
//! through memory in one direction.
//!
//! An index is used again for a younger entity. The handle that has the place then moves to a table of stale handles,
//! by its whole id, and the references that are not of the entity are taken out; so whoever comes from the handle of a
//! living entity finds references to that entity only.
//!
//! The collector goes through everything in weak tables in one step that can't be divided. So in a cycle that a frame
//! paces, most chunks hold what is in them, and are traversed as other tables are, one at a time; the chunks of one
//! *share* are weak. A handle that nobody has any more is gone when its share has had its turn.

use super::bridge::{Bridge, ComponentTable};
use super::layout::Kind;
use super::reference::Reference;
use super::reflection::Seen;
use super::scalar::{Located, locate, locate_in_table, push_scalar};
use super::value::Value;
use super::{marshal, place};
use bevy_ecs::entity::Entity;
use bluetick_scripting::raw::*;
use bluetick_scripting::{Error, Vm};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};

/// The insides of a handle, and the beginning of those of a reference.
#[repr(C)]
pub(super) struct EntityData {
    pub bridge: *const Bridge,
    pub entity: Entity,
}

/// How many indices of entities share a table: few enough that a table is soon traversed by the collector, and enough
/// that a loop over many entities seldom comes to another one, which lies somewhere else in memory.
const CHUNK: u32 = 64;

/// How many kinds of an entity lie side by side: as many as fill a cache line.
const GROUP: c_int = 4;

/// So many groups of kinds have their places in the array part of a chunk from the start; further ones are found by
/// a hash, a little slower. A group takes 64 bytes for each index.
const DENSE: usize = 2;

/// How many places the metatable of handles has, which chunks are copies of.
pub(super) fn dense_places(bridge: &Bridge) -> c_int {
    let groups = (bridge.nodes.len() + 1).div_ceil(GROUP as usize).min(DENSE);
    groups as c_int * GROUP * CHUNK as c_int
}

/// Into how many shares chunks are divided: so many cycles of the collector at most until each handle that nobody has is
/// gone, and such a part of all handles in one of its steps.
const SHARES: usize = 8;

/// The most values of a row that are found at once.
const ROW: usize = 8;

/// Where the values of a row lie in a chunk, but for the entity's part in it.
#[derive(Clone, Copy)]
pub(super) struct RowShape {
    bases: [c_int; ROW],
    count: usize,
}

/// Beyond this index, nothing is found again but handles, and these by their whole id.
const LIMIT: u32 = 1 << 24;

/// The field of a metatable that says whether a table is weak, and what it is then.
const MODE: &CStr = c"__mode";
const WEAK: &str = "v";

/// Where handles and references are found again.
pub(super) struct Directory {
    /// By the number of the chunk: its key in the VM's registry; 0 if there is none yet.
    chunks: RefCell<Vec<c_int>>,
    /// By node: where references to it have their places in a chunk, before the entity is added; 0 if there was none yet.
    /// Kinds are numbered as they come, so that chunks are dense.
    bases: Box<[Cell<c_int>]>,
    /// The highest kind so far.
    last_kind: Cell<c_int>,
    /// By the index of an entity: the generation of the one whose handle is in its place, if one is there. Loops over
    /// many entities look here rather than into each handle, which lie anywhere in memory.
    generations: RefCell<Vec<u32>>,
    /// Key of the table of stale handles.
    stale: Cell<c_int>,
    /// By share: key of the metatable that makes its chunks weak, or not.
    shares: [Cell<c_int>; SHARES],
    /// The share that is weak in the next cycle of the collector.
    turn: Cell<usize>,
}

impl Directory {
    /// For so many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            chunks: RefCell::default(),
            bases: (0..nodes).map(|_| Cell::new(0)).collect(),
            last_kind: Cell::new(0),
            generations: RefCell::default(),
            stale: Cell::new(LUA_NOREF),
            shares: [const { Cell::new(LUA_NOREF) }; SHARES],
            turn: Cell::new(0),
        }
    }

    /// Makes what does not depend on entities. `[-0, +0]`
    ///
    /// # Safety
    /// A live state below a protected call.
    pub(super) unsafe fn install(&self, L: *mut lua_State) {
        // SAFETY: balanced pushes and pops.
        unsafe {
            lua_createtable(L, 0, 0);
            lua_createtable(L, 0, 1);
            push_str(L, WEAK);
            lua_rawsetfield(L, -2, MODE.as_ptr());
            lua_setmetatable(L, -2);
            self.stale.set(lua_ref(L, -1));
            lua_settop(L, -2);
            for share in &self.shares {
                lua_createtable(L, 0, 1);
                push_str(L, WEAK);
                lua_rawsetfield(L, -2, MODE.as_ptr());
                share.set(lua_ref(L, -1));
                lua_settop(L, -2);
            }
        }
    }

    /// Has the chunks of some shares hold what is in them, and the others be weak. `[-0, +0]`, raises when memory runs
    /// out.
    ///
    /// # Safety
    /// A live state of the bridge's VM with room, below a protected call.
    unsafe fn hold(&self, L: *mut lua_State, is_held: impl Fn(usize) -> bool) {
        // SAFETY: balanced pushes and pops.
        unsafe {
            for (number, share) in self.shares.iter().enumerate() {
                lua_rawgeti_(L, LUA_REGISTRYINDEX, share.get());
                // Not nil: then the field would be gone, and setting it would take memory.
                push_str(L, if is_held(number) { "" } else { WEAK });
                lua_rawsetfield(L, -2, MODE.as_ptr());
                lua_settop(L, -2);
            }
        }
    }

    /// The handle of the entity is in its place from now on.
    fn note_handle(&self, entity: Entity) {
        let index = entity.index_u32() as usize;
        let mut generations = self.generations.borrow_mut();
        if generations.len() <= index {
            generations.resize(index + 1, u32::MAX);
        }
        generations[index] = entity.generation().to_bits();
    }

    /// Whether the handle in the entity's place, if one is there, is this entity's.
    #[inline(always)]
    fn is_noted(&self, entity: Entity) -> bool {
        let generations = self.generations.borrow();
        generations.get(entity.index_u32() as usize) == Some(&entity.generation().to_bits())
    }

    /// Where things of this kind have their places in a chunk, before the entity is added.
    #[inline(always)]
    fn base(kind: c_int) -> c_int {
        kind / GROUP * CHUNK as c_int * GROUP + kind % GROUP + 1
    }

    /// What the entity adds to the places of all its things.
    #[inline(always)]
    fn within(entity: Entity) -> c_int {
        (entity.index_u32() % CHUNK) as c_int * GROUP
    }

    /// Where a thing of this kind has its place in the chunk of the entity.
    #[inline(always)]
    fn place(entity: Entity, kind: c_int) -> c_int {
        Self::base(kind) + Self::within(entity)
    }

    /// Where the reference of the entity to the node has its place; `None` if there never was one to the node.
    #[inline(always)]
    fn known_place(&self, entity: Entity, node: u32) -> Option<c_int> {
        let base = self.bases[node as usize].get();
        (base != 0).then(|| base + Self::within(entity))
    }

    /// Where the reference of the entity to the node has its place from now on.
    fn new_place(&self, entity: Entity, node: u32) -> c_int {
        let base = &self.bases[node as usize];
        if base.get() == 0 {
            self.last_kind.set(self.last_kind.get() + 1);
            base.set(Self::base(self.last_kind.get()));
        }
        base.get() + Self::within(entity)
    }

    /// Pushes the chunk of the entity, if there is one. `[-0, +1]`, or with `false` `[-0, +0]`.
    ///
    /// # Safety
    /// A live state of the bridge's VM, with room.
    #[inline(always)]
    unsafe fn push_chunk(&self, L: *mut lua_State, entity: Entity) -> bool {
        let key = self.chunks.borrow().get((entity.index_u32() / CHUNK) as usize).copied().unwrap_or(0);
        if key != 0 {
            // SAFETY: as above.
            unsafe { lua_rawgeti_(L, LUA_REGISTRYINDEX, key) };
        }
        key != 0
    }

    /// Pushes the chunk of the entity, which is made if need be. `[-0, +1]`, raises when memory runs out.
    ///
    /// # Safety
    /// A live state of the bridge's VM with room, below a protected call. The index is below `LIMIT`.
    unsafe fn push_or_make_chunk(&self, L: *mut lua_State, entity: Entity, tag: c_int) {
        // SAFETY: the tag has a metatable. It keeps the functions in it alive, which a chunk with its weak values
        // does not.
        unsafe {
            if self.push_chunk(L, entity) {
                return;
            }
            lua_getuserdatametatable(L, tag);
            lua_clonetable(L, -1);
            lua_replace(L, -2);
            let number = (entity.index_u32() / CHUNK) as usize;
            lua_rawgeti_(L, LUA_REGISTRYINDEX, self.shares[number % SHARES].get());
            lua_setmetatable(L, -2);
            let key = lua_ref(L, -1);
            let mut chunks = self.chunks.borrow_mut();
            if chunks.len() <= number {
                chunks.resize(number + 1, 0);
            }
            chunks[number] = key;
        }
    }

    /// Pushes the stale handle of the entity, or nil. `[-0, +1]`
    ///
    /// # Safety
    /// A live state of the bridge's VM, with room.
    unsafe fn push_stale(&self, L: *mut lua_State, entity: Entity) {
        // SAFETY: balanced pushes and pops but for the result.
        unsafe {
            lua_rawgeti_(L, LUA_REGISTRYINDEX, self.stale.get());
            lua_rawgetptagged(L, -1, whole_id(entity), 0);
            lua_replace(L, -2);
        }
    }

    /// Enters the handle on top of the stack as stale. `[-0, +0]`, raises when memory runs out.
    ///
    /// # Safety
    /// A live state of the bridge's VM with room, below a protected call. A handle is on top.
    unsafe fn enter_stale(&self, L: *mut lua_State) {
        // SAFETY: balanced pushes and pops.
        unsafe {
            lua_rawgeti_(L, LUA_REGISTRYINDEX, self.stale.get());
            lua_pushvalue(L, -2);
            lua_rawsetptagged(L, -2, whole_id(entity_of(L, -1)), 0);
            lua_settop(L, -2);
        }
    }

    /// Takes references that are not of the entity out of its places in the chunk on top of the stack. `[-0, +0]`
    ///
    /// # Safety
    /// A live state of the bridge's VM with room, below a protected call.
    unsafe fn take_strangers_out(&self, L: *mut lua_State, entity: Entity) {
        // SAFETY: balanced pushes and pops; userdata in a chunk are handles and references.
        unsafe {
            for kind in 1..=self.last_kind.get() {
                let place = Self::place(entity, kind);
                let is_strange = lua_rawgeti_(L, -1, place) == LUA_TUSERDATA && entity_of(L, -1) != entity;
                lua_settop(L, -2);
                if is_strange {
                    lua_pushnil(L);
                    lua_rawseti_(L, -2, place);
                }
            }
        }
    }
}

/// A whole id as the VM takes it for a key: no number holds 64 bits.
fn whole_id(entity: Entity) -> *mut c_void {
    const { assert!(size_of::<*mut c_void>() == 8, "entities are keys of tables as pointers of 64 bits") };
    std::ptr::without_provenance_mut(entity.to_bits() as usize)
}

/// The entity of a handle or a reference.
///
/// # Safety
/// A live state; one of them is at `index`.
#[inline(always)]
unsafe fn entity_of(L: *mut lua_State, index: c_int) -> Entity {
    // SAFETY: both begin as `EntityData` does.
    unsafe { (*lua_touserdata(L, index).cast::<EntityData>()).entity }
}

/// The number of the chunk of an entity; no chunk has it that there can't be.
#[inline(always)]
pub(super) fn chunk_of(entity: Entity) -> u32 {
    entity.index_u32() / CHUNK
}

impl Bridge {
    /// A cycle of the collector begins: chunks hold their handles and references, but for those of the share whose turn
    /// it is. May be called at any time: a table that the cycle has met as a weak one is looked at again before it
    /// ends the marking.
    pub(crate) fn hold_handles(&self, vm: &Vm) {
        let turn = self.directory.turn.get();
        self.directory.turn.set((turn + 1) % SHARES);
        self.set_held(vm, |share| share != turn);
    }

    /// The marking is over, and with it what was held for. A full collection, which the game may ask for, then frees all
    /// that nobody has.
    pub(crate) fn release_handles(&self, vm: &Vm) {
        self.set_held(vm, |_| false);
    }

    fn set_held(&self, vm: &Vm, is_held: impl Fn(usize) -> bool) {
        // SAFETY: below a protected call.
        let result = vm.with_state(|L| unsafe { self.directory.hold(L, is_held) });
        if let Err(error) = result {
            // Each share is one or the other, and either is right at any time.
            tracing::debug!("handles are collected as before: {error}");
        }
    }

    /// Pushes the handle of an entity and the references that are in the same row, if they are all in their places in the
    /// chunk that is the upvalue with the number `chunk`. `[-0, +n]`, or with `false` `[-0, +0]`.
    ///
    /// # Safety
    /// Called in a C function of the VM, with room. The entity is alive, and its chunk is this upvalue.
    #[inline(always)]
    pub(super) unsafe fn push_row(
        &self,
        L: *mut lua_State,
        chunk: usize,
        entity: Entity,
        row: &RowShape,
    ) -> bool {
        if !self.directory.is_noted(entity) {
            return false;
        }
        let within = Directory::within(entity);
        let places = row.bases.map(|base| base + within);
        // SAFETY: as above; userdata in a chunk are handles and references.
        unsafe { stack::push_places(L, chunk, &places[..row.count]) }
    }

    /// The shape of rows of an entity and references to these nodes; `None` while there are none to one of them, or if
    /// they are too many.
    pub(super) fn row_shape(&self, mut nodes: impl Iterator<Item = Option<u32>>) -> Option<RowShape> {
        let mut shape = RowShape { bases: [Directory::base(0); ROW], count: 1 };
        nodes
            .try_for_each(|node| {
                let base = self.directory.bases[node? as usize].get();
                *shape.bases.get_mut(shape.count)? = base;
                shape.count += 1;
                (base != 0).then_some(())
            })
            .map(|()| shape)
    }

    /// Pushes the handle of an entity, dead or alive; nil for [`Entity::PLACEHOLDER`]. `[-0, +1]`, raises
    /// when memory runs out.
    ///
    /// # Safety
    /// `L` is a live state of the bridge's VM with room for 6 values, below a protected call.
    #[inline]
    pub unsafe fn push_entity(&self, L: *mut lua_State, entity: Entity) {
        // SAFETY: as above.
        unsafe {
            self.push_chunk_and_entity(L, entity);
            lua_replace(L, -2);
        }
    }

    /// Pushes the chunk of an entity, or nil if it has none, and the entity; whether it has one. `[-0, +2]`, raises when
    /// memory runs out.
    ///
    /// # Safety
    /// As [`push_entity`](Self::push_entity).
    #[inline(always)]
    pub(super) unsafe fn push_chunk_and_entity(&self, L: *mut lua_State, entity: Entity) -> bool {
        // SAFETY: as above; userdata in a chunk are handles and references.
        unsafe {
            if self.directory.push_chunk(L, entity) {
                let place = Directory::place(entity, 0);
                if lua_rawgeti_(L, -1, place) == LUA_TUSERDATA && entity_of(L, -1) == entity {
                    return true;
                }
                lua_settop(L, -3);
            }
            self.push_lost_entity(L, entity)
        }
    }

    /// Like [`push_chunk_and_entity`](Self::push_chunk_and_entity), if the handle is not in its place.
    ///
    /// # Safety
    /// As above.
    #[cold]
    unsafe fn push_lost_entity(&self, L: *mut lua_State, entity: Entity) -> bool {
        // SAFETY: as the comments say what is on the stack.
        unsafe {
            if entity == Entity::PLACEHOLDER {
                lua_pushnil(L);
                lua_pushnil(L);
                return false;
            }
            let is_far = entity.index_u32() >= LIMIT;
            if is_far {
                lua_pushnil(L);
            } else {
                self.directory.push_or_make_chunk(L, entity, self.tags.entity);
                if lua_rawgeti_(L, -1, Directory::place(entity, 0)) == LUA_TUSERDATA {
                    self.directory.enter_stale(L);
                }
                lua_settop(L, -2);
                self.directory.take_strangers_out(L, entity);
            }
            // chunk or nil
            self.directory.push_stale(L, entity);
            if lua_type(L, -1) != LUA_TUSERDATA {
                lua_settop(L, -2);
                let data = lua_newuserdatataggedwithmetatable(L, size_of::<EntityData>(), self.tags.entity);
                data.cast::<EntityData>().write(EntityData { bridge: self, entity });
            }
            // chunk or nil, handle
            if is_far {
                self.directory.enter_stale(L);
            } else {
                lua_pushvalue(L, -2);
                lua_setmetatable(L, -2);
                lua_pushvalue(L, -1);
                lua_rawseti_(L, -3, Directory::place(entity, 0));
                self.directory.note_handle(entity);
            }
            !is_far
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

    /// Pushes the reference to a node. `[-0, +1]`, raises when memory runs out.
    ///
    /// # Safety
    /// As [`push_entity`](Self::push_entity).
    pub(super) unsafe fn push_reference(&self, L: *mut lua_State, entity: Entity, node: u32) {
        // SAFETY: as the comments say what is on the stack. A reference begins as `EntityData` does.
        unsafe {
            let is_far = entity.index_u32() >= LIMIT;
            let place = self.directory.new_place(entity, node);
            if !is_far {
                self.directory.push_or_make_chunk(L, entity, self.tags.entity);
                if lua_rawgeti_(L, -1, place) == LUA_TUSERDATA && entity_of(L, -1) == entity {
                    return lua_replace(L, -2);
                }
                lua_settop(L, -2);
            }
            // chunk, or nothing
            let data = lua_newuserdatataggedwithmetatable(L, size_of::<Reference>(), self.tags.reference);
            data.cast::<Reference>().write(Reference { bridge: self, entity, node });
            if !is_far {
                lua_pushvalue(L, -1);
                lua_rawseti_(L, -3, place);
                lua_replace(L, -2);
            }
        }
    }

    /// Pushes the reference to a node of an entity out of its chunk, which is at `chunk`. `[-0, +1]`, or with
    /// `false` `[-0, +0]`.
    ///
    /// # Safety
    /// A live state of the bridge's VM, with room. The entity is alive, and its handle was pushed since it is.
    #[inline(always)]
    pub(super) unsafe fn push_kept(
        &self,
        L: *mut lua_State,
        chunk: c_int,
        entity: Entity,
        node: u32,
    ) -> bool {
        let Some(place) = self.directory.known_place(entity, node) else { return false };
        // SAFETY: as above; at the place is the reference, or nil.
        unsafe {
            let is_there = lua_rawgeti_(L, chunk, place) == LUA_TUSERDATA;
            if !is_there {
                lua_settop(L, -2);
            }
            is_there
        }
    }

    /// Pushes the reference to a component of the entity whose handle is at 1, if it has one and takes no more than a
    /// few loads to find. `[-0, +1]`, or with `false` `[-0, +0]`.
    ///
    /// # Safety
    /// Called in a C function of the VM.
    #[inline(always)]
    pub(super) unsafe fn push_own_reference(
        &self,
        L: *mut lua_State,
        entity: Entity,
        table: &ComponentTable,
    ) -> bool {
        if table.root.kind != Kind::Node || table.column.sparse {
            return false;
        }
        // SAFETY: invariants 2 and 4 of the bridge. The metatable of a handle is its chunk, or has no references; the
        // entity is alive, so its handle, which is at 1, was pushed since it is.
        unsafe {
            matches!(locate_in_table(self.world(), entity, table.column.id), Located::At(_))
                && self
                    .directory
                    .known_place(entity, table.root.node)
                    .is_some_and(|place| stack::push_sibling(L, place))
        }
    }

    /// Pushes a component of the entity whose handle is at 1, or nil if the entity does not have it, if this can be
    /// done without calling anything that may fail. `[-0, +1]`, perhaps with one more below it; or with `false`
    /// `[-0, +0]`.
    ///
    /// # Safety
    /// As [`push_entity`](Self::push_entity).
    #[inline(always)]
    pub(super) unsafe fn push_own_component(
        &self,
        L: *mut lua_State,
        entity: Entity,
        table: &ComponentTable,
    ) -> bool {
        // SAFETY: invariants 2 and 4 of the bridge. The place in the world is not used once something is pushed.
        // The metatable of a handle is its chunk, or has no references.
        unsafe {
            match locate(self.world(), entity, table.column) {
                Located::Nowhere => false,
                Located::Missing => {
                    lua_pushnil(L);
                    true
                }
                Located::At(_) if table.root.kind == Kind::Node => {
                    lua_getmetatable(L, 1);
                    if self.push_kept(L, -1, entity, table.root.node) {
                        return true;
                    }
                    lua_settop(L, -2);
                    false
                }
                Located::At(data) => {
                    push_scalar(self, L, table.root.kind, data.add(table.root.offset as usize))
                }
            }
        }
    }

    /// Pushes any component of an entity, or nil. `[-0, +1]` if it succeeds.
    ///
    /// # Safety
    /// As [`push_entity`](Self::push_entity).
    pub(super) unsafe fn push_component(
        &self,
        L: *mut lua_State,
        entity: Entity,
        component: u16,
    ) -> Result<(), Error> {
        self.may_read(component)?;
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
            let data = unsafe { registered.reflect(data) };
            let types = &self.registry().types;
            Ok(types.see(data.as_partial_reflect()).map_err(|e| e.within(&registered.name))?)
        })?;
        // SAFETY: as above.
        unsafe {
            match seen {
                Seen::Value(value) => marshal::push(self, L, &value),
                Seen::Container(_) if registered.root.kind == Kind::Node => {
                    self.push_reference(L, entity, registered.root.node);
                }
                Seen::Container(wrappers) => place::push_root(self, L, entity, component, wrappers),
            }
        }
        Ok(())
    }
}
