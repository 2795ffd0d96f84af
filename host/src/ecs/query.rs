//! Queries: which entities have these components, for a script to loop over.
//!
//! ```lua
//! for entity, transform, velocity in world:query("Transform", "Velocity", { without = "Dead" }) do
//!     transform.translation += velocity.linear
//! end
//! ```
//!
//! A query is a list of entities, made at once: those that match then, in the order of the world's archetypes and,
//! within one, of their rows. The same program meets the same order in each run. A loop skips the entities
//! that are gone by the time it comes to them, or have lost one of the components that it yields. Between two
//! of them it may block, spawn and despawn: it holds nothing of the world. A query may be looped over again,
//! and `#query` counts what it found.
//!
//! With `{ changed = "Health" }` or `{ added = { "Health", "Dead" } }` only those are found of which one of these
//! components was written, or came, since the tasklet has asked the same the last time; the first time, all. What a
//! loop writes itself is news the next time.
//!
//! Entities that are not the game's own (resources, observers, registered systems) are not found; entities with a disabling component only if the query names it.

use super::bridge::{Bridge, bridge_of, finish, set_metatable};
use super::component::Registry;
use super::entity::any_text;
use super::handle::{RowShape, chunk_of};
use super::layout::Kind;
use super::machinery::Machinery;
use super::marshal;
use super::nearest::did_you_mean;
use super::scalar::{Located, locate, push_scalar};
use super::value::{Value, ValueError};
use bevy_ecs::component::ComponentId;
use bevy_ecs::entity::Entity;
use bevy_ecs::entity_disabling::DefaultQueryFilters;
use bevy_ecs::storage::TableId;
use bevy_ecs::world::World;
use bluetick_scripting::Error;
use bluetick_scripting::raw::*;
use std::ffi::c_int;
use std::{ptr, slice};

/// What entities must and must not have.
#[derive(Default)]
pub(super) struct Filter {
    /// The components that the loop yields, by their numbers in the registry.
    yields: Box<[u16]>,
    /// All that it names.
    named: Vec<u16>,
    with: Vec<ComponentId>,
    without: Vec<ComponentId>,
    /// One of them has changed since the last look, or if true was added.
    news: Vec<(ComponentId, bool)>,
}

impl Filter {
    /// Understands the arguments of `world:query` and `world:count`: names, then perhaps options.
    pub(super) fn parse(registry: &Registry, arguments: &[Value]) -> Result<Self, ValueError> {
        let id = |number: u16| registry.components[usize::from(number)].id;
        let named = |value: &Value| match value {
            Value::String(name) => registry.component(name),
            other => Err(ValueError::mismatch("the name of a component", other)),
        };
        let mut filter = Self::default();
        let (names, options) = match arguments {
            [names @ .., Value::Map(options)] => (names, options.as_slice()),
            names => (names, &[][..]),
        };
        filter.yields = names.iter().map(named).collect::<Result<_, _>>()?;
        filter.named = filter.yields.to_vec();
        filter.with = filter.yields.iter().copied().map(id).collect();
        for (key, value) in options {
            let list = match value {
                Value::List(list) => list.as_slice(),
                name => std::slice::from_ref(name),
            };
            let numbers: Result<Vec<u16>, ValueError> = list.iter().map(named).collect();
            filter.named.extend(numbers.iter().flatten());
            let ids = list.iter().map(|name| named(name).map(id));
            match key {
                Value::String(key) if key == "with" => {
                    filter.with.extend(ids.collect::<Result<Vec<_>, _>>().map_err(|e| e.within("with"))?);
                }
                Value::String(key) if key == "without" => {
                    filter
                        .without
                        .extend(ids.collect::<Result<Vec<_>, _>>().map_err(|e| e.within("without"))?);
                }
                Value::String(key) if key == "changed" || key == "added" => {
                    let ids = ids.collect::<Result<Vec<_>, _>>().map_err(|e| e.within(key))?;
                    filter.with.extend(if ids.len() == 1 { ids.as_slice() } else { &[] });
                    filter.news.extend(ids.into_iter().map(|id| (id, key == "added")));
                }
                key => {
                    let name = match key {
                        Value::String(name) => name.as_str(),
                        _ => "",
                    };
                    let near = did_you_mean(name, ["with", "without", "changed", "added"]);
                    return Err(ValueError::new(format!(
                        "a query has no option {key}{near}; it has 'with', 'without', 'changed' and 'added'"
                    )));
                }
            }
        }
        Ok(filter)
    }

    /// An error of kind `denied` unless the running script may know of all that it names.
    pub(super) fn check(&self, bridge: &Bridge) -> Result<(), Error> {
        self.named.iter().try_for_each(|&number| bridge.may_read(number))
    }

    /// Adds all entities that match now.
    fn find(&self, bridge: &Bridge, world: &mut World, entities: &mut Vec<Entity>) {
        let is_new = self.news(bridge, world);
        let world = &*world;
        self.each_archetype(world, |archetype| {
            let all = archetype.entities().iter().map(|row| row.id());
            match &is_new {
                None => entities.extend(all),
                Some(is_new) => entities.extend(all.filter(|&entity| is_new(world, entity))),
            }
        });
    }

    /// Which entities have news, if only these are meant; from now on only later ones are news to the tasklet that
    /// asks.
    fn news<'a>(
        &'a self,
        bridge: &Bridge,
        world: &mut World,
    ) -> Option<impl Fn(&World, Entity) -> bool + use<'a>> {
        if self.news.is_empty() {
            return None;
        }
        let now = world.change_tick();
        // What is written from now on is newer.
        world.increment_change_tick();
        let since =
            bridge.extension.as_ref().and_then(|extension| extension.last_look(&self.question(), now));
        let now = world.change_tick();
        Some(move |world: &World, entity: Entity| {
            let Ok(entity) = world.get_entity(entity) else { return false };
            self.news.iter().any(|&(id, added)| match (entity.get_change_ticks_by_id(id), since) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(ticks), Some(since)) if added => ticks.is_added(since, now),
                (Some(ticks), Some(since)) => ticks.is_changed(since, now),
            })
        })
    }

    /// What tells this filter from others.
    fn question(&self) -> Vec<u32> {
        let ids = |ids: &[ComponentId]| ids.iter().map(|id| id.index() as u32).collect::<Vec<_>>();
        let (mut all, without) = (ids(&self.with), ids(&self.without));
        all.push(u32::MAX);
        all.extend(without);
        all.push(u32::MAX);
        all.extend(self.news.iter().flat_map(|&(id, added)| [id.index() as u32, u32::from(added)]));
        all
    }

    /// How many entities match now.
    pub(super) fn count(&self, bridge: &Bridge, world: &mut World) -> usize {
        if !self.news.is_empty() {
            let mut entities = Vec::new();
            self.find(bridge, world, &mut entities);
            return entities.len();
        }
        let mut count = 0;
        self.each_archetype(world, |archetype| count += archetype.len() as usize);
        count
    }

    fn each_archetype(&self, world: &World, mut f: impl FnMut(&bevy_ecs::archetype::Archetype)) {
        let disabling: Vec<ComponentId> = world
            .get_resource::<DefaultQueryFilters>()
            .map(|filters| filters.disabling_ids().filter(|id| !self.with.contains(id)).collect())
            .unwrap_or_default();
        let machinery = Machinery::of(world);
        for archetype in world.archetypes().iter() {
            let matches = !archetype.is_empty()
                && self.with.iter().all(|&id| archetype.contains(id))
                && !self.without.iter().any(|&id| archetype.contains(id))
                && !disabling.iter().any(|&id| archetype.contains(id))
                && !machinery.includes(|id| archetype.contains(id));
            if matches {
                f(archetype);
            }
        }
    }
}

/// The beginning of the insides of a query: what it found follows, first the entities, then the numbers of the
/// components that a loop yields. So all of it is memory of the VM, which the VM counts and limits.
#[repr(C, align(8))]
struct Query {
    entities: usize,
    yields: usize,
}

impl Query {
    /// How many bytes such a query takes.
    fn size(entities: usize, yields: usize) -> usize {
        size_of::<Self>() + entities * size_of::<Entity>() + yields * size_of::<u16>()
    }

    /// The entities that it found.
    ///
    /// # Safety
    /// `this` is the start of the insides of a query, which are alive for `'a`.
    unsafe fn entities<'a>(this: *const Self) -> &'a [Entity] {
        // SAFETY: `push` has put so many there; they don't change.
        unsafe { slice::from_raw_parts(this.add(1).cast::<Entity>(), (*this).entities) }
    }

    /// The numbers of the components that a loop over it yields.
    ///
    /// # Safety
    /// As [`entities`](Self::entities).
    unsafe fn yields<'a>(this: *const Self) -> &'a [u16] {
        // SAFETY: as above.
        unsafe {
            let after = this.add(1).cast::<Entity>().add((*this).entities);
            slice::from_raw_parts(after.cast::<u16>(), (*this).yields)
        }
    }
}

/// Where queries are put together: kept, so that a query takes no memory but the VM's.
#[derive(Default)]
pub(super) struct Workspace {
    entities: Vec<Entity>,
    yields: Vec<u16>,
}

/// So many entities a workspace keeps room for.
const KEPT: usize = 1 << 20;

/// Makes the metatable of queries. `[-0, +0]`
///
/// # Safety
/// A live state below a protected call; the bridge lives as long as the VM.
pub(super) unsafe fn install(bridge: &Bridge, L: *mut lua_State) {
    // SAFETY: as above.
    unsafe {
        let functions: [(_, lua_CFunction); 2] = [(c"__iter", iterate), (c"__len", length)];
        set_metatable(L, bridge, bridge.tags.query, "query", 0, &functions);
        set_metatable(L, bridge, bridge.tags.rows, "iteration", 0, &[]);
    }
}

/// Looks for what the filter finds now, and leaves it in the bridge's workspace.
///
/// # Errors
/// There is no world.
pub(super) fn look(bridge: &Bridge, filter: &Filter) -> Result<(), Error> {
    let mut workspace = bridge.workspace.borrow_mut();
    let Workspace { entities, yields } = &mut *workspace;
    entities.clear();
    entities.shrink_to(KEPT);
    yields.clear();
    yields.extend_from_slice(&filter.yields);
    bridge.with_world(|world| {
        filter.find(bridge, world, entities);
        Ok(())
    })
}

/// Pushes a query for what is in the bridge's workspace. `[-0, +1]`, raises when memory runs out.
///
/// # Safety
/// Called in a C function of the VM whose frame owns nothing.
pub(super) unsafe fn push(bridge: &Bridge, L: *mut lua_State) {
    let (entities, yields) = {
        let workspace = bridge.workspace.borrow();
        (workspace.entities.len(), workspace.yields.len())
    };
    // SAFETY: the userdata has room for all this, and its memory is aligned to 16; nothing is alive that owns something
    // while it is made.
    unsafe {
        let size = Query::size(entities, yields);
        let query = lua_newuserdatataggedwithmetatable(L, size, bridge.tags.query).cast::<Query>();
        query.write(Query { entities, yields });
        let workspace = bridge.workspace.borrow();
        let to = query.add(1).cast::<Entity>();
        to.copy_from_nonoverlapping(workspace.entities.as_ptr(), entities);
        to.add(entities).cast::<u16>().copy_from_nonoverlapping(workspace.yields.as_ptr(), yields);
    }
}

/// The arguments of a C function from `first` on.
///
/// # Safety
/// Called in a C function of the VM.
pub(super) unsafe fn arguments(
    bridge: &Bridge,
    L: *mut lua_State,
    first: c_int,
) -> Result<Vec<Value>, ValueError> {
    // SAFETY: as above.
    unsafe { (first..=lua_gettop(L)).map(|i| marshal::read(bridge, L, i)).collect() }
}

unsafe extern "C-unwind" fn length(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked.
    unsafe {
        let query = lua_touserdatatagged(L, 1, bridge_of(L).tags.query).cast::<Query>();
        if query.is_null() {
            let error = Error::wrong_type(format!("expected a query, got {}", any_text(L, 1)));
            return finish(L, Err(error));
        }
        lua_pushnumber(L, (*query).entities as f64);
        1
    }
}

/// How far a loop over a query has come.
struct Loop {
    bridge: *const Bridge,
    /// Kept alive by the second upvalue of the loop's function.
    query: *const Query,
    passed: usize,
    /// A table that has all the components; what a table has doesn't change.
    table: TableId,
    /// The number of the chunk that is the third upvalue.
    chunk: u32,
    /// Where the values of a row lie in a chunk; `None` if they have to be found one by one.
    shape: Option<RowShape>,
}

/// Where the function of a loop has the chunk of the row before.
const CHUNK_UPVALUE: usize = 3;

/// Starts a loop: makes its function, which knows the loop and the query.
unsafe extern "C-unwind" fn iterate(L: *mut lua_State) -> c_int {
    // SAFETY: a metamethod; what it is called with is checked. The closure takes its upvalues off the stack.
    unsafe {
        let bridge = bridge_of(L);
        let query = lua_touserdatatagged(L, 1, bridge.tags.query).cast::<Query>();
        if query.is_null() {
            let error = Error::wrong_type(format!("expected a query, got {}", any_text(L, 1)));
            return finish(L, Err(error));
        }
        let data = lua_newuserdatataggedwithmetatable(L, size_of::<Loop>(), bridge.tags.rows);
        let none = (TableId::from_u32(u32::MAX - 1), u32::MAX);
        data.cast::<Loop>().write(Loop {
            bridge,
            query,
            passed: 0,
            table: none.0,
            chunk: none.1,
            shape: None,
        });
        lua_pushvalue(L, 1);
        lua_pushnil(L);
        lua_pushcclosurek(L, step, c"next entity".as_ptr(), 3, None);
        1
    }
}

unsafe extern "C-unwind" fn step(L: *mut lua_State) -> c_int {
    // SAFETY: made by `iterate` with these upvalues; scripts can't change them. The query's lists don't change.
    unsafe {
        let rows = stack::userdata_upvalue(L).cast::<Loop>();
        let bridge = &*(*rows).bridge;
        let (entities, yields) = (Query::entities((*rows).query), Query::yields((*rows).query));
        loop {
            let Some(&entity) = entities.get((*rows).passed) else {
                lua_pushnil(L);
                return 1;
            };
            (*rows).passed += 1;
            match push_row(bridge, L, &mut *rows, entity, yields) {
                Ok(false) => {}
                Ok(true) => return yields.len() as c_int + 1,
                Err(error) => return finish(L, Err(error)),
            }
        }
    }
}

/// Pushes the entity and its components, unless one of them is gone; below them its chunk.
///
/// # Safety
/// Called in a C function of the VM, with at most its arguments on the stack.
#[inline(always)]
unsafe fn push_row(
    bridge: &Bridge,
    L: *mut lua_State,
    rows: &mut Loop,
    entity: Entity,
    yields: &[u16],
) -> Result<bool, Error> {
    if bridge.guarded {
        yields.iter().try_for_each(|&number| bridge.may_read(number))?;
    }
    let world = bridge.world();
    if world.is_null() {
        return Err(bridge.no_world());
    }
    let table = |number: u16| bridge.component_table(number);
    // SAFETY: invariant 2 of the bridge. A place in the world is used only before something is pushed that could
    // run anything.
    unsafe {
        let Ok(location) = (*world).as_unsafe_world_cell_readonly().entities().get_spawned(entity) else {
            return Ok(false);
        };
        if location.table_id != rows.table {
            let mut is_in_table = true;
            for &number in yields {
                let column = table(number).column;
                if let Located::Missing = locate(world, entity, column) {
                    return Ok(false);
                }
                is_in_table &= !column.sparse;
            }
            if is_in_table {
                rows.table = location.table_id;
            }
        }
        // Most rows are of the chunk of the one before, and their references are there.
        let chunk = chunk_of(entity);
        if chunk == rows.chunk
            && let Some(shape) = &rows.shape
            && bridge.push_row(L, CHUNK_UPVALUE, entity, shape)
        {
            return Ok(true);
        }
        lua_settop(L, 0);
        // There is room for 20 values.
        if yields.len() > 8 {
            luaL_checkstack(L, yields.len() as c_int + 10, ptr::null());
        }
        let has_chunk = bridge.push_chunk_and_entity(L, entity);
        if has_chunk {
            lua_pushvalue(L, -2);
            lua_replace(L, lua_upvalueindex(CHUNK_UPVALUE as c_int));
            rows.chunk = chunk;
            let nodes = yields.iter().map(|&number| {
                let root = table(number).root;
                (root.kind == Kind::Node).then_some(root.node)
            });
            rows.shape = bridge.row_shape(nodes);
        }
        for (chunk, &number) in (2..).zip(yields) {
            let Located::At(data) = locate(world, entity, table(number).column) else {
                lua_settop(L, 0);
                return Ok(false);
            };
            let root = table(number).root;
            let pushed = if root.kind == Kind::Node {
                has_chunk && bridge.push_kept(L, -chunk, entity, root.node)
            } else {
                push_scalar(bridge, L, root.kind, data.add(root.offset as usize))
            };
            if !pushed {
                bridge.push_component(L, entity, number)?;
            }
        }
        Ok(true)
    }
}
