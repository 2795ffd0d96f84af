//! Tasklets that wait until a component changes, by the world's own change detection.

use super::Signals;
use crate::ecs::Registry;
use bevy_ecs::change_detection::Tick;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::{EntityRef, World};
use bluetick_scripting::{Error, ErrorKind, Vm, Wait};

/// A tasklet that waits for a change of one of some components of an entity.
pub(super) struct ChangeWait {
    pub wait: Wait,
    pub entity: Entity,
    /// Their numbers in the registry, and whether the entity had them.
    pub components: Box<[(u16, bool)]>,
    /// What is newer than this counts.
    pub since: Tick,
    /// It sleeps as well, so that it wakes at its deadline.
    pub timed: bool,
}

impl ChangeWait {
    /// The first component that has changed, come or gone.
    fn changed(&self, registry: &Registry, entity: EntityRef<'_>, now: Tick) -> Option<u16> {
        let changed = self.components.iter().find(|&&(number, had)| {
            let id = registry.components[usize::from(number)].id;
            match entity.get_change_ticks_by_id(id) {
                Some(ticks) => !had || ticks.is_changed(self.since, now),
                None => had,
            }
        });
        changed.map(|&(number, _)| number)
    }
}

impl Signals {
    /// Wakes those whose component has changed.
    pub(super) fn wake_changed(&mut self, vm: &Vm, registry: &Registry, world: &mut World) {
        let now = world.change_tick();
        self.changes.retain(|change| {
            if !vm.is_waiting(change.wait) {
                return false;
            }
            let woken = match world.get_entity(change.entity) {
                Ok(entity) => match change.changed(registry, entity, now) {
                    None => return true,
                    Some(number) => {
                        vm.wake_with(change.wait, &*registry.components[usize::from(number)].name)
                    }
                },
                Err(_) => {
                    let text = format!("changed: entity {} is gone", change.entity);
                    vm.wake_with_error(change.wait, &Error::new(ErrorKind::Gone, text))
                }
            };
            if let Err(error) = woken {
                tracing::error!("a tasklet could not be told of a change: {error}");
            }
            false
        });
    }
}
