//! The component that gives an entity its scripts.

use bevy_ecs::component::Component;
use bevy_ecs::entity::Entity;
use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::query::With;
use bevy_ecs::resource::Resource;
use bevy_ecs::world::{DeferredWorld, World};

/// The scripts of an entity: each is a tasklet that runs the function `run` of a script file.
///
/// Adding it starts the scripts in the next tick, in the order in which the components were added;
/// removing it, or despawning the entity, ends them in the tick in which that happens, or in the next
/// one if it happens between two.
///
/// ```
/// use bluetick::Script;
///
/// let one = Script::new("goblin");
/// let two = Script::many(["goblin", "ai/torch"]);
/// assert_eq!(two.names().collect::<Vec<_>>(), ["goblin", "ai/torch"]);
/// ```
#[derive(Component, Clone, Debug)]
#[component(on_insert = arrived, on_discard = left)]
pub struct Script {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    status: ScriptStatus,
}

/// How one script of an entity is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScriptStatus {
    /// It starts in the next tick.
    #[default]
    Starting,
    /// Its tasklet is alive.
    Running,
    /// Its function has returned.
    Finished,
    /// It could not be loaded, or an error has ended it. It starts anew when its file, or one that it
    /// requires, changes.
    Failed {
        /// What is wrong, with `file:line:` where known.
        message: String,
        /// The calls that led there, innermost first, one a line.
        traceback: String,
    },
}

impl Script {
    /// One script, named by its path below the script folder without its ending: `goblin`, `ai/torch`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::many([name])
    }

    /// Several scripts, each with a tasklet and a `state` of its own.
    pub fn many(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let entry = |name: String| Entry { name, status: ScriptStatus::Starting };
        Self { entries: names.into_iter().map(|name| entry(name.into())).collect() }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.name)
    }

    /// How the scripts are doing, in the same order.
    pub fn statuses(&self) -> impl Iterator<Item = &ScriptStatus> {
        self.entries.iter().map(|entry| &entry.status)
    }

    pub(crate) fn set_status(&mut self, index: usize, status: ScriptStatus) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.status = status;
        }
    }
}

/// What has happened to `Script` components since the host last looked, in order.
#[derive(Resource, Default)]
pub(crate) struct ScriptEvents(pub Vec<ScriptEvent>);

impl ScriptEvents {
    /// As if all that have scripts had just got them, in the order of the entities.
    pub fn of_those_there(world: &mut World) -> Self {
        let mut there: Vec<Entity> = world.query_filtered::<Entity, With<Script>>().iter(world).collect();
        there.sort_unstable_by_key(|entity| entity.index_u32());
        Self(there.into_iter().map(ScriptEvent::Arrived).collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptEvent {
    /// The entity has got a `Script`.
    Arrived(Entity),
    /// It was removed or replaced, or the entity despawned.
    Left(Entity),
}

fn arrived(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut events) = world.get_resource_mut::<ScriptEvents>() {
        events.0.push(ScriptEvent::Arrived(context.entity));
    }
}

fn left(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut events) = world.get_resource_mut::<ScriptEvents>() {
        events.0.push(ScriptEvent::Left(context.entity));
    }
}
