//! The scripts that entities run: which tasklets, states and inboxes belong to which entity.

use crate::ecs::Handle;
use crate::script::{Script, ScriptStatus};
use bevy_ecs::entity::Entity;
use bevy_ecs::name::Name;
use bevy_ecs::world::World;
use bluetick_scripting::{ChannelId, Error, Kept, OwnerId, TaskletId, Vm};
use mlua::{Function, Value};
use std::collections::HashMap;

/// Values that may wait in an entity's inbox; a further one drops the oldest.
const INBOX_CAPACITY: usize = 1024;

/// How many frames in a row a tasklet that survives being killed is killed again.
const KILL_ATTEMPTS: u8 = 10;

/// One script of one entity.
struct Instance {
    script: String,
    owner: OwnerId,
    tasklet: Option<TaskletId>,
    state: Kept,
    failed: bool,
}

/// The tasklets of a script whose entity has lost it.
struct Dying {
    owner: OwnerId,
    state: Kept,
    attempts: u8,
}

/// All scripts of all entities.
#[derive(Default)]
pub(crate) struct Instances {
    by_entity: HashMap<Entity, Vec<Instance>>,
    owners: HashMap<OwnerId, (Entity, usize)>,
    inboxes: HashMap<Entity, (ChannelId, Kept)>,
    dying: Vec<Dying>,
}

/// Why a script of an entity did not start.
pub(crate) struct StartFailure {
    pub entity: Entity,
    pub script: String,
    pub message: String,
}

impl Instances {
    /// Starts the scripts of an entity that has just got them.
    pub fn arrive(&mut self, world: &mut World, vm: &Vm, entity: Entity) -> Result<Vec<StartFailure>, Error> {
        let Ok(found) = world.get_entity(entity) else { return Ok(Vec::new()) };
        let Some(script) = found.get::<Script>() else { return Ok(Vec::new()) };
        if self.by_entity.contains_key(&entity) {
            return Ok(Vec::new());
        }
        let scripts: Vec<String> = script.names().map(str::to_owned).collect();
        let mut instances = Vec::with_capacity(scripts.len());
        for (index, script) in scripts.into_iter().enumerate() {
            let owner = vm.new_owner();
            let state = vm.keep(vm.lua().create_table()?)?;
            self.owners.insert(owner, (entity, index));
            instances.push(Instance { script, owner, tasklet: None, state, failed: false });
        }
        let count = instances.len();
        self.by_entity.insert(entity, instances);
        Ok((0..count).filter_map(|index| self.start(world, vm, entity, index).err()).collect())
    }

    /// Starts one script, from the top of its function.
    fn start(&mut self, world: &mut World, vm: &Vm, entity: Entity, index: usize) -> Result<(), StartFailure> {
        let Some(instance) = self.by_entity.get_mut(&entity).and_then(|all| all.get_mut(index)) else {
            return Ok(());
        };
        let started = entry_point(vm, &instance.script).and_then(|run| {
            let tasklet = vm.spawn(&run, Handle(entity), instance.owner).map_err(|error| error.message)?;
            vm.watch(tasklet);
            vm.set_name(tasklet, &tasklet_name(world, entity, &instance.script));
            Ok(tasklet)
        });
        instance.failed = started.is_err();
        let (status, result) = match started {
            Ok(tasklet) => {
                instance.tasklet = Some(tasklet);
                (ScriptStatus::Running, Ok(()))
            }
            Err(message) => (
                ScriptStatus::Failed { message: message.clone(), traceback: String::new() },
                Err(StartFailure { entity, script: instance.script.clone(), message }),
            ),
        };
        set_status(world, entity, index, status);
        result
    }

    /// Starts the failed scripts again whose file is among `changed`, in the order of their entities.
    pub fn restart_failed(&mut self, world: &mut World, vm: &Vm, changed: &[String]) -> Vec<StartFailure> {
        let mut failed: Vec<(Entity, usize)> = self
            .by_entity
            .iter()
            .flat_map(|(&entity, all)| all.iter().enumerate().map(move |(index, one)| (entity, index, one)))
            .filter(|(_, _, one)| one.failed && changed.contains(&one.script))
            .map(|(entity, index, _)| (entity, index))
            .collect();
        failed.sort_unstable();
        failed.into_iter().filter_map(|(entity, index)| self.start(world, vm, entity, index).err()).collect()
    }

    /// Ends all tasklets of an entity that has lost its scripts.
    pub fn leave(&mut self, vm: &Vm, entity: Entity) {
        for instance in self.by_entity.remove(&entity).unwrap_or_default() {
            self.dying.push(Dying { owner: instance.owner, state: instance.state, attempts: 0 });
        }
        if let Some((_, inbox)) = self.inboxes.remove(&entity) {
            vm.release(inbox);
        }
    }

    /// Kills what has to end; whether somebody has to run for that.
    pub fn kill_dying(&mut self, vm: &Vm) -> bool {
        let mut any = false;
        for dying in &mut self.dying {
            dying.attempts += 1;
            for tasklet in vm.owned_by(dying.owner) {
                match vm.kill(tasklet) {
                    Ok(killed) => any |= killed,
                    Err(error) => tracing::error!("a tasklet could not be killed: {error}"),
                }
            }
        }
        any
    }

    /// Forgets those of the dying that have ended. One that refuses to is left alone in the end.
    pub fn bury(&mut self, vm: &Vm) {
        let owners = &mut self.owners;
        for dying in std::mem::take(&mut self.dying) {
            let left = vm.owned_by(dying.owner).len();
            if left > 0 && dying.attempts < KILL_ATTEMPTS {
                self.dying.push(dying);
                continue;
            }
            if left > 0 {
                tracing::warn!("{left} tasklets of a script survived {KILL_ATTEMPTS} kills and are left alone");
            }
            owners.remove(&dying.owner);
            vm.remove_owner(dying.owner);
            vm.release(dying.state);
        }
    }

    /// The main tasklet of a script has ended.
    pub fn ended(&mut self, world: &mut World, tasklet: TaskletId, owner: OwnerId, status: ScriptStatus) {
        let Some(&(entity, index)) = self.owners.get(&owner) else { return };
        let Some(instance) = self.by_entity.get_mut(&entity).and_then(|all| all.get_mut(index)) else { return };
        if instance.owner == owner && instance.tasklet == Some(tasklet) {
            instance.tasklet = None;
            instance.failed = matches!(status, ScriptStatus::Failed { .. });
            set_status(world, entity, index, status);
        }
    }

    /// The entity and the script that a tasklet's owner stands for.
    pub fn whose(&self, owner: OwnerId) -> Option<(Entity, String)> {
        let &(entity, index) = self.owners.get(&owner)?;
        let instance = self.by_entity.get(&entity).and_then(|all| all.get(index));
        Some((entity, instance.map(|instance| instance.script.clone()).unwrap_or_default()))
    }

    /// The script of `entity` that `owner` stands for, or its first one.
    fn of(&self, entity: Entity, owner: OwnerId) -> Option<&Instance> {
        let all = self.by_entity.get(&entity)?;
        all.iter().find(|instance| instance.owner == owner).or(all.first())
    }

    /// The state of a script of `entity`: the running one's, or the first one's.
    pub fn state(&self, entity: Entity, running: OwnerId) -> Option<&Kept> {
        self.of(entity, running).map(|instance| &instance.state)
    }

    /// Whom tasklets that are spawned for `entity` belong to.
    pub fn owner(&self, entity: Entity, running: OwnerId) -> Option<OwnerId> {
        self.of(entity, running).map(|instance| instance.owner)
    }

    /// The main tasklet of the first script of `entity`.
    pub fn tasklet(&self, entity: Entity) -> Option<TaskletId> {
        self.by_entity.get(&entity)?.first()?.tasklet
    }

    /// The inbox of an entity that has a script.
    pub fn inbox(&mut self, vm: &Vm, entity: Entity) -> Result<Option<&(ChannelId, Kept)>, Error> {
        if !self.by_entity.contains_key(&entity) {
            return Ok(None);
        }
        if !self.inboxes.contains_key(&entity) {
            self.inboxes.insert(entity, vm.new_inbox(INBOX_CAPACITY)?);
        }
        Ok(self.inboxes.get(&entity))
    }

    /// How many scripts run, and how many have failed.
    pub fn counts(&self) -> (usize, usize) {
        let all = self.by_entity.values().flatten();
        all.fold((0, 0), |(running, failed), instance| {
            (running + usize::from(instance.tasklet.is_some()), failed + usize::from(instance.failed))
        })
    }
}

/// The function `run` of a script.
fn entry_point(vm: &Vm, script: &str) -> Result<Function, String> {
    match vm.require(script).map_err(|error| error.message)? {
        Value::Table(module) => match module.raw_get("run") {
            Ok(Value::Function(run)) => Ok(run),
            _ => Err(format!(
                "{script}.luau: a script of an entity needs a function 'run', as in: function {}.run(self) ... end",
                title(script)
            )),
        },
        other => Err(format!(
            "{script}.luau: a script of an entity has to return its table, but it returns a {}",
            other.type_name()
        )),
    }
}

/// A script's table as its author would call it.
fn title(script: &str) -> String {
    let name = script.rsplit('/').next().unwrap_or(script);
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What people read in messages: the script, and which entity it animates.
fn tasklet_name(world: &World, entity: Entity, script: &str) -> String {
    match world.get::<Name>(entity) {
        Some(name) => format!("{script} of entity {entity} \"{name}\""),
        None => format!("{script} of entity {entity}"),
    }
}

fn set_status(world: &mut World, entity: Entity, index: usize, status: ScriptStatus) {
    if let Some(mut script) = world.get_mut::<Script>(entity) {
        script.set_status(index, status);
    }
}
