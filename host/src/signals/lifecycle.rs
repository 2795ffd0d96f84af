//! Components that come and go: observers of the world, which exist while somebody listens.

use super::{Delivery, Signals, Topic};
use crate::ecs::{Registry, Value};
use bevy_ecs::component::ComponentId;
use bevy_ecs::entity::Entity;
use bevy_ecs::lifecycle::{Add, Remove};
use bevy_ecs::observer::{Observer, On};
use bevy_ecs::resource::Resource;
use bevy_ecs::system::ResMut;
use bevy_ecs::world::World;
use bluetick_scripting::Vm;

/// What can happen to a component, by its number in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lifecycle {
    /// An entity has got it, which it had not before.
    Added(u16),
    /// An entity has lost it, perhaps because it was despawned.
    Removed(u16),
}

impl Lifecycle {
    fn component(self) -> u16 {
        let (Self::Added(number) | Self::Removed(number)) = self;
        number
    }

    /// `added Health`
    pub fn describe(self, registry: &Registry) -> String {
        let what = if matches!(self, Self::Added(_)) { "added" } else { "removed" };
        format!("{what} {}", registry.components[usize::from(self.component())].name)
    }
}

/// What observers have seen since somebody last looked, in order.
#[derive(Resource, Default)]
struct Seen(Vec<(Lifecycle, Entity)>);

/// Lets the world note what happens to a component; the observer's entity.
fn observe(world: &mut World, what: Lifecycle, id: ComponentId) -> Entity {
    world.init_resource::<Seen>();
    let observer = match what {
        Lifecycle::Added(_) => {
            Observer::new(move |on: On<Add<()>>, mut seen: ResMut<Seen>| seen.0.push((what, on.entity)))
        }
        Lifecycle::Removed(_) => {
            Observer::new(move |on: On<Remove<()>>, mut seen: ResMut<Seen>| seen.0.push((what, on.entity)))
        }
    };
    let entity = world.spawn(observer.with_component(id)).id();
    world.flush();
    entity
}

impl Signals {
    /// The topic, which is observed from now on.
    pub(super) fn lifecycle_topic(
        &mut self,
        registry: &Registry,
        world: &mut World,
        what: Lifecycle,
    ) -> usize {
        if let Some(&(topic, _)) = self.lifecycle.get(&what) {
            return topic;
        }
        let observer = observe(world, what, registry.components[usize::from(what.component())].id);
        let of_messages = registry.messages.len();
        // A place that an earlier topic has left is used again.
        let taken = |topic: usize| self.lifecycle.values().any(|&(used, _)| used == topic);
        let topic = (of_messages..self.topics.len()).find(|&topic| !taken(topic)).unwrap_or_else(|| {
            self.topics.push(Topic::default());
            self.topics.len() - 1
        });
        self.lifecycle.insert(what, (topic, observer));
        topic
    }

    /// The world has thrown its observers away, and can't have new ones.
    pub fn forget_observers(&mut self) {
        self.lifecycle.clear();
    }

    /// Takes observers away that nobody needs any more, and puts those back that somebody has taken away.
    pub(super) fn watch_over_observers(&mut self, vm: &Vm, world: &mut World, registry: &Registry) {
        let topics = &mut self.topics;
        self.lifecycle.retain(|&what, (topic, observer)| {
            let topic = &mut topics[*topic];
            topic.listeners.retain(|listener| vm.listening(listener.channel).is_some());
            if topic.is_idle() {
                let _ = world.try_despawn(*observer);
                return false;
            }
            if world.get::<Observer>(*observer).is_none() || !world.contains_resource::<Seen>() {
                let _ = world.try_despawn(*observer);
                *observer = observe(world, what, registry.components[usize::from(what.component())].id);
            }
            true
        });
    }

    pub(super) fn collect_lifecycle(&mut self, world: &mut World, deliveries: &mut Vec<Delivery>) {
        if self.lifecycle.is_empty() {
            return;
        }
        let Some(mut seen) = world.get_resource_mut::<Seen>() else { return };
        for (what, entity) in seen.0.drain(..) {
            if let Some(&(topic, _)) = self.lifecycle.get(&what) {
                deliveries.push(Delivery { topic, to: None, value: Value::Entity(entity) });
            }
        }
    }
}
