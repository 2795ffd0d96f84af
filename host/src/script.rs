//! The component that gives an entity its scripts.

use crate::clock::ClockId;
use crate::ecs::ScriptPart;
use bevy_ecs::component::Component;
use bevy_ecs::entity::Entity;
use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::query::With;
use bevy_ecs::resource::Resource;
use bevy_ecs::world::{DeferredWorld, World};
use bluetick_scripting::OwnerId;

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
    restart: Restart,
}

/// When a script starts again that an error has ended. A script that has returned does not.
///
/// As long as failed tasklets are [parked](crate::HostBuilder::park_failed), which they are unless the host is told
/// otherwise, an error ends hardly any: a parked script is not started again by itself, under whatever policy,
/// because it would lose its place and its locals. It goes on from the statement that failed when its file is mended,
/// or begins anew when somebody [restarts](crate::ScriptHost::restart) it. A game that nobody edits switches parking
/// off, so that these policies meet every failure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Restart {
    /// When its file, or one that it requires, changes.
    #[default]
    OnChange,
    /// Then, and by itself: after `first` seconds of simulated time, twice as long after each further failure, but at
    /// most `longest`. Whoever has run for that long without failing begins with `first` again.
    Always {
        /// Seconds; not below 0.
        first: f64,
        /// Seconds; not below `first`.
        longest: f64,
    },
    /// Not before its entity gets scripts anew.
    Never,
}

impl Restart {
    /// [`Always`](Self::Always), after 1 to 60 seconds.
    pub const ALWAYS: Self = Self::Always { first: 1.0, longest: 60.0 };
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
    /// An error has stopped it. It waits at the statement that failed, with its locals, and goes on from there when
    /// its file, or one that it requires, is mended.
    Parked {
        /// What is wrong, with `file:line:` where known.
        message: String,
        /// The calls that led there, innermost first, one a line.
        traceback: String,
    },
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
        let entry =
            |name: String| Entry { name, status: ScriptStatus::Starting, restart: Restart::default() };
        Self { entries: names.into_iter().map(|name| entry(name.into())).collect() }
    }

    /// Says when its scripts start again that have failed.
    ///
    /// ```
    /// use bluetick::{Restart, Script};
    ///
    /// let scripts = Script::new("goblin").restart(Restart::Never).and(Script::new("torch"));
    /// assert_eq!(scripts.names().collect::<Vec<_>>(), ["goblin", "torch"]);
    /// ```
    pub fn restart(mut self, policy: Restart) -> Self {
        for entry in &mut self.entries {
            entry.restart = policy;
        }
        self
    }

    /// As a scene or a script describes them.
    pub(crate) fn described(parts: &[ScriptPart]) -> Self {
        let one = |part: &ScriptPart| Self::new(&part.name).restart(part.restart);
        parts.iter().map(one).fold(Self { entries: Vec::new() }, Self::and)
    }

    /// Adds the scripts of another component, as they are.
    pub fn and(mut self, others: Self) -> Self {
        self.entries.extend(others.entries);
        self
    }

    pub(crate) fn policy(&self, index: usize) -> Restart {
        self.entries.get(index).map(|entry| entry.restart).unwrap_or_default()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.name)
    }

    /// How the scripts are doing, in the same order.
    pub fn statuses(&self) -> impl Iterator<Item = &ScriptStatus> {
        self.entries.iter().map(|entry| &entry.status)
    }

    /// The file of a script has another name.
    pub(crate) fn rename(&mut self, index: usize, name: &str) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.name = name.to_owned();
        }
    }

    pub(crate) fn set_status(&mut self, index: usize, status: ScriptStatus) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.status = status;
        }
    }
}

/// Pauses scripts of an entity without ending them: while the entity has this component, their tasklets don't run.
///
/// They keep their places meanwhile: who waits on a channel gets the value that is sent, whose sleep is over is due,
/// and when the component is removed all that were due go on, in the order in which they came to life. A script
/// that would start begins then. Removing [`Script`] or despawning the entity ends them as always.
///
/// Scripts see it as `entity.enabled`, which they may set; that meets all scripts of the entity.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bluetick::{Dormant, Library, Script, ScriptHost};
///
/// let library = Library::in_memory([("it", "return { run = function(self) self.state.ran = true end }")]);
/// let mut world = World::new();
/// let mut host = ScriptHost::builder().library(library).build(&mut world)?;
/// let entity = world.spawn((Script::new("it"), Dormant::all())).id();
/// host.tick(&mut world, 0.1);
/// assert_eq!(host.state(entity).unwrap().get::<Option<bool>>("ran")?, None);
/// world.entity_mut(entity).remove::<Dormant>();
/// host.tick(&mut world, 0.1);
/// assert_eq!(host.state(entity).unwrap().get::<Option<bool>>("ran")?, Some(true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Component, Clone, Debug, PartialEq, Eq)]
#[component(on_insert = switched, on_remove = switched)]
pub struct Dormant {
    only: Option<Vec<String>>,
}

impl Dormant {
    /// Pauses all scripts of the entity.
    pub fn all() -> Self {
        Self { only: None }
    }

    /// Pauses those of its scripts that have these names.
    pub fn only(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { only: Some(names.into_iter().map(Into::into).collect()) }
    }

    /// Pauses those that are described as not enabled; `None` if the descriptions leave that open, and an empty one if
    /// they leave nothing to pause.
    pub(crate) fn described(parts: &[ScriptPart]) -> Option<Option<Self>> {
        if parts.iter().all(|part| part.enabled.is_none()) {
            return None;
        }
        let paused: Vec<&str> =
            parts.iter().filter(|part| part.enabled == Some(false)).map(|part| &*part.name).collect();
        Some(match paused.len() {
            0 => None,
            all if all == parts.len() => Some(Self::all()),
            _ => Some(Self::only(paused)),
        })
    }

    /// Whether it pauses the script with this name.
    pub fn pauses(&self, script: &str) -> bool {
        self.only.as_ref().is_none_or(|names| names.iter().any(|name| name == script))
    }
}

/// The clock by which the scripts of an entity live from their start: they sleep by it, and `clock.sim()` and
/// `clock.delta()` show it. Without this component that is the world's simulated time.
///
/// [`ScriptHost::set_entity_clock`](crate::ScriptHost::set_entity_clock) changes it later.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bluetick::{ClockId, Script, ScriptClock, ScriptHost};
///
/// let mut world = World::new();
/// let mut host = ScriptHost::builder().build(&mut world)?;
/// let dream = host.add_clock("dream", ClockId::SIM)?;
/// host.set_clock_scale(dream, 0.1)?;
/// world.spawn((Script::new("goblin"), ScriptClock(dream)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptClock(pub ClockId);

/// What has happened to `Script` components since the host last looked, in order.
#[derive(Resource, Default)]
pub(crate) struct ScriptEvents(pub Vec<ScriptEvent>);

impl ScriptEvents {
    /// As if all that have scripts had just got them, in the order of the entities.
    pub fn of_those_there(world: &mut World) -> Self {
        Self(Self::those_there(world).into_iter().map(ScriptEvent::Arrived).collect())
    }

    /// All that have scripts, in the order of the entities.
    pub fn those_there(world: &mut World) -> Vec<Entity> {
        let mut there: Vec<Entity> = world.query_filtered::<Entity, With<Script>>().iter(world).collect();
        there.sort_unstable_by_key(|entity| entity.index_u32());
        there
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptEvent {
    /// The entity has got a `Script`.
    Arrived(Entity),
    /// It was removed or replaced, or the entity despawned.
    Left(Entity),
    /// It has got or lost a [`Dormant`].
    Switched(Entity),
    /// The entity that Rust tasklets belong to despawned.
    Orphaned(OwnerId),
}

/// Whom the Rust tasklets of an entity belong to.
#[derive(Component)]
#[component(on_discard = orphaned)]
pub(crate) struct RustOwner(pub OwnerId);

fn orphaned(mut world: DeferredWorld<'_>, context: HookContext) {
    let Some(&RustOwner(owner)) = world.get(context.entity) else { return };
    if let Some(mut events) = world.get_resource_mut::<ScriptEvents>() {
        events.0.push(ScriptEvent::Orphaned(owner));
    }
}

fn switched(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut events) = world.get_resource_mut::<ScriptEvents>() {
        events.0.push(ScriptEvent::Switched(context.entity));
    }
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
