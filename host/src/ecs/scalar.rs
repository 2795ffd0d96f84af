//! Fields that take one load to read and one store to write: the path that every script runs hot.

use super::bridge::{Bridge, ComponentColumn, Slot};
use super::layout::Kind;
use super::value::EXACT;
use bevy_ecs::component::ComponentId;
use bevy_ecs::entity::Entity;
use bevy_ecs::storage::{Column, TableRow};
use bevy_ecs::world::World;
use bluetick_scripting::raw::*;
use glam::Vec2;
use std::ffi::c_int;
use std::panic::Location;

/// Where a component of an entity lies.
pub(super) enum Located {
    /// There is no world, or the entity is gone.
    Nowhere,
    /// The entity does not have it.
    Missing,
    At(*const u8),
}

/// Finds a component of an entity.
///
/// # Safety
/// `world` is null or, for as long as the result is used, valid and not used by anything else.
#[inline(always)]
pub(super) unsafe fn locate(world: *mut World, entity: Entity, column: ComponentColumn) -> Located {
    // SAFETY: the caller's.
    unsafe {
        if !column.sparse {
            return locate_in_table(world, entity, column.id);
        }
        let Some(Ok(there)) = world.as_ref().map(|world| world.get_entity(entity)) else {
            return Located::Nowhere;
        };
        match there.get_by_id(column.id) {
            Ok(data) => Located::At(data.as_ptr()),
            Err(_) => Located::Missing,
        }
    }
}

/// Finds a component of an entity that is stored in tables, if at all.
///
/// # Safety
/// As [`locate`].
#[inline(always)]
pub(super) unsafe fn locate_in_table(world: *mut World, entity: Entity, id: ComponentId) -> Located {
    // SAFETY: a location that the world gives is one of its rows.
    unsafe {
        let Some(world) = world.as_ref() else { return Located::Nowhere };
        let cell = world.as_unsafe_world_cell_readonly();
        let Ok(location) = cell.entities().get_spawned(entity) else { return Located::Nowhere };
        match cell.storages().tables.get(location.table_id).and_then(|table| table.get_column(id)) {
            Some(column) => Located::At(column.get_data_unchecked(location.table_row).as_ptr()),
            None => Located::Missing,
        }
    }
}

/// Pushes what lies at `at`, if this takes one load. `[-0, +1]`, or with `false` `[-0, +0]`.
///
/// # Safety
/// `at` points to a live value of this kind. A live state with room, below a protected call. For an entity, a
/// handle may be made, which may run the collector: nothing may borrow from the world.
#[inline(always)]
pub(super) unsafe fn push_scalar(bridge: &Bridge, L: *mut lua_State, kind: Kind, at: *const u8) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if kind == Kind::Entity {
            bridge.push_entity(L, at.cast::<Entity>().read());
            return true;
        }
        push_plain(L, kind, at)
    }
}

/// Pushes what lies at `at`, if this takes one load and calls nothing. `[-0, +1]`, or with `false` `[-0, +0]`.
///
/// # Safety
/// `at` points to a live value of this kind. Called in a C function of the VM, with room.
#[inline(always)]
pub(super) unsafe fn push_plain(L: *mut lua_State, kind: Kind, at: *const u8) -> bool {
    // SAFETY: the caller vouches for the kind, and so for type and alignment.
    unsafe {
        macro_rules! number {
            ($t:ty) => {
                stack::push_number(L, at.cast::<$t>().read() as f64)
            };
        }
        match kind {
            Kind::F32 => number!(f32),
            Kind::Vec3 => stack::push_vector(L, at.cast::<[f32; 3]>().read()),
            Kind::F64 => number!(f64),
            Kind::I32 => number!(i32),
            Kind::U32 => number!(u32),
            Kind::Bool => stack::push_boolean(L, at.read() != 0),
            Kind::U8 => number!(u8),
            Kind::U16 => number!(u16),
            Kind::I8 => number!(i8),
            Kind::I16 => number!(i16),
            Kind::U64 => {
                let number = at.cast::<u64>().read();
                if i128::from(number) > EXACT {
                    return false;
                }
                stack::push_number(L, number as f64);
            }
            Kind::I64 => {
                let number = at.cast::<i64>().read();
                if i128::from(number.unsigned_abs()) > EXACT {
                    return false;
                }
                stack::push_number(L, number as f64);
            }
            Kind::Vec2 => {
                let [x, y] = at.cast::<[f32; 2]>().read();
                stack::push_vector(L, [x, y, 0.0]);
            }
            Kind::Entity | Kind::Char | Kind::None | Kind::Node | Kind::Reflected => return false,
        }
        true
    }
}

/// Stores a value in a component and marks it changed; `false`, and nothing done, if that can't be.
///
/// # Safety
/// `T` is what the component has at the offset. See [`write_scalar`].
#[inline(always)]
unsafe fn store<T>(
    world: *mut World,
    entity: Entity,
    column: ComponentColumn,
    offset: u32,
    value: T,
) -> bool {
    // SAFETY: see `locate`. The id leads to a component of the type that the offset was found for; nothing else
    // uses the world.
    unsafe {
        if column.sparse {
            let Some(world) = world.as_mut() else { return false };
            let Ok(there) = world.as_unsafe_world_cell().get_entity(entity) else { return false };
            let Ok(mut data) = there.get_mut_by_id(column.id) else { return false };
            data.as_mut().as_ptr().add(offset as usize).cast::<T>().write(value);
            return true;
        }
        let Some((column, row)) = find_row(world, entity, column.id) else { return false };
        column.get_data_unchecked(row).assert_unique().as_ptr().add(offset as usize).cast::<T>().write(value);
        mark_changed(&*world, column, row);
        true
    }
}

/// The column of a component that is stored in tables, and the entity's row in it.
///
/// # Safety
/// `world` is null or, for as long as the column is used, valid and used by nothing else.
#[inline(always)]
unsafe fn find_row<'w>(world: *mut World, entity: Entity, id: ComponentId) -> Option<(&'w Column, TableRow)> {
    // SAFETY: the caller has the world to itself; a location that the world gives is one of its rows.
    unsafe {
        let cell = world.as_mut()?.as_unsafe_world_cell();
        let location = cell.entities().get_spawned(entity).ok()?;
        let column = cell.storages().tables.get(location.table_id)?.get_column(id)?;
        Some((column, location.table_row))
    }
}

/// What a mutable access of the world's own does.
///
/// # Safety
/// As [`find_row`], of which the row is.
#[inline(always)]
#[track_caller]
unsafe fn mark_changed(world: &World, column: &Column, row: TableRow) {
    let tick = world.read_change_tick();
    // SAFETY: the caller has the world to itself, so nothing else has a reference to the ticks.
    unsafe {
        *column.get_changed_tick_unchecked(row).get() = tick;
        column.get_changed_by_unchecked(row).map(|by| *by.get() = Location::caller());
    }
    if let Some(summary) = column.get_summary_tick() {
        summary.set(tick);
    }
}

/// The argument that a C function is to write.
const VALUE: usize = 3;

/// Writes the value at 3 to a field of a component, if it fits and takes one store; otherwise nothing is done.
/// `[-0, +0]`
///
/// # Safety
/// Called in a C function of the VM; the slot belongs to this component.
#[inline(always)]
pub(super) unsafe fn write_scalar(
    bridge: &Bridge,
    L: *mut lua_State,
    entity: Entity,
    column: ComponentColumn,
    slot: Slot,
) -> bool {
    if !column.mutable {
        return false;
    }
    let world = bridge.world();
    // SAFETY: each arm stores what the kind of the slot says.
    unsafe {
        let number = || stack::number_argument(L, VALUE);
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
                store(world, entity, column, slot.offset, number as $t)
            }};
        }
        match slot.kind {
            Kind::F32 => match number() {
                Some(number) => store(world, entity, column, slot.offset, number as f32),
                None => false,
            },
            Kind::Vec3 => match stack::vector_argument(L, VALUE) {
                Some(lanes) => store(world, entity, column, slot.offset, lanes),
                None => false,
            },
            Kind::F64 => match number() {
                Some(number) => store(world, entity, column, slot.offset, number),
                None => false,
            },
            Kind::I32 => whole!(i32),
            Kind::U32 => whole!(u32),
            Kind::Bool => {
                lua_type(L, VALUE as c_int) == LUA_TBOOLEAN
                    && store(world, entity, column, slot.offset, lua_toboolean(L, VALUE as c_int) != 0)
            }
            Kind::U8 => whole!(u8),
            Kind::U16 => whole!(u16),
            Kind::U64 => whole!(u64),
            Kind::I8 => whole!(i8),
            Kind::I16 => whole!(i16),
            Kind::I64 => whole!(i64),
            Kind::Vec2 => match stack::vector_argument(L, VALUE) {
                Some([x, y, z]) => z == 0.0 && store(world, entity, column, slot.offset, Vec2::new(x, y)),
                None => false,
            },
            Kind::Entity => match bridge.entity_at(L, VALUE as c_int) {
                Some(value) => store(world, entity, column, slot.offset, value),
                None => false,
            },
            Kind::Char | Kind::None | Kind::Node | Kind::Reflected => false,
        }
    }
}
