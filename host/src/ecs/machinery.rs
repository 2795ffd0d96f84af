//! Entities that are not the game's but the world's own: what holds resources, observers and registered systems. Scripts
//! neither find them nor reach them by their ids.

use bevy_ecs::component::ComponentId;
use bevy_ecs::observer::Observer;
use bevy_ecs::resource::IS_RESOURCE;
use bevy_ecs::system::SystemIdMarker;
use bevy_ecs::world::World;

/// What such entities are known by.
pub(super) struct Machinery([Option<ComponentId>; 3]);

impl Machinery {
    pub(super) fn of(world: &World) -> Self {
        Self([Some(IS_RESOURCE), world.component_id::<Observer>(), world.component_id::<SystemIdMarker>()])
    }

    /// Whether something that has these components is one of them.
    pub(super) fn includes(&self, has: impl Fn(ComponentId) -> bool) -> bool {
        self.0.iter().flatten().any(|&id| has(id))
    }
}
