//! The scripts that entities run: which tasklets, states and inboxes belong to which entity.

use crate::ecs::Handle;
use crate::script::{Dormant, Restart, RustOwner, Script, ScriptClock, ScriptEvents, ScriptStatus};
use bevy_ecs::entity::Entity;
use bevy_ecs::name::Name;
use bevy_ecs::world::World;
use bluetick_scripting::{ChannelId, Error, ErrorKind, Kept, OwnerId, TaskletId, Vm};
use mlua::{Function, Value};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

/// Values that may wait in an entity's inbox; a further one drops the oldest.
const INBOX_CAPACITY: usize = 1024;

/// How often a tasklet is killed that survives it.
const KILL_ATTEMPTS: u8 = 10;

/// One script of one entity.
struct Instance {
    owner: OwnerId,
    tasklet: Option<TaskletId>,
    failed: bool,
    /// Simulated time at which it was last started.
    started: f64,
    /// How often in a row it has failed soon after it was started.
    failures: u32,
}

/// The place among an entity's scripts of its Rust tasklets, which are none.
const RUST: usize = usize::MAX;

/// What tasklets of a script find until the last of them has ended, be their entity gone.
struct Estate {
    entity: Entity,
    index: usize,
    script: String,
    /// Made when it is first asked for.
    state: Option<Kept>,
}

/// The tasklets of a script whose entity has lost it.
struct Dying {
    owner: OwnerId,
    attempts: u8,
}

/// All scripts of all entities.
#[derive(Default)]
pub(crate) struct Instances {
    by_entity: HashMap<Entity, Vec<Instance>>,
    estates: HashMap<OwnerId, Estate>,
    inboxes: HashMap<Entity, (ChannelId, Kept)>,
    dying: Vec<Dying>,
    /// What the memory of each script's tasklets is counted in.
    categories: HashMap<String, u8>,
    /// Scripts that could not be loaded, and why, until a file changes.
    unloadable: HashMap<String, String>,
    /// Owners whose scripts have ended or begin anew, for others who know something of them.
    over: Vec<OwnerId>,
    /// Scripts that start again by themselves.
    restarts: Vec<Due>,
    /// Scripts that had failed and have started again since the last report.
    recovered: BTreeSet<String>,
    /// Scripts whose main tasklet has failed and is parked.
    parked: Vec<(Entity, usize, TaskletId)>,
    /// Simulated time.
    now: f64,
}

/// A script that starts again at a time, if it has not before.
struct Due {
    at: f64,
    entity: Entity,
    index: usize,
    owner: OwnerId,
}

/// Why a script of an entity did not start.
pub(crate) struct StartFailure {
    pub entity: Entity,
    pub script: String,
    pub message: String,
}

impl Instances {
    /// Starts the scripts of an entity that has just got them.
    pub fn arrive(&mut self, world: &mut World, vm: &Vm, entity: Entity) -> Vec<StartFailure> {
        let Some(script) = world.get::<Script>(entity) else { return Vec::new() };
        if self.by_entity.contains_key(&entity) {
            return Vec::new();
        }
        let scripts: Vec<String> = script.names().map(str::to_owned).collect();
        let mut instances = Vec::with_capacity(scripts.len());
        for (index, script) in scripts.into_iter().enumerate() {
            let owner = vm.new_owner();
            self.estates.insert(owner, Estate { entity, index, script, state: None });
            instances.push(Instance { owner, tasklet: None, failed: false, started: 0.0, failures: 0 });
        }
        let count = instances.len();
        self.by_entity.insert(entity, instances);
        self.switch(world, vm, entity);
        (0..count).filter_map(|index| self.start(world, vm, entity, index).err()).collect()
    }

    /// Starts one script, from the top of its function. If it was running, it and all that it has spawned ends.
    pub fn start(
        &mut self,
        world: &mut World,
        vm: &Vm,
        entity: Entity,
        index: usize,
    ) -> Result<(), StartFailure> {
        let Some(instance) = self.by_entity.get_mut(&entity).and_then(|all| all.get_mut(index)) else {
            return Ok(());
        };
        let Some(Estate { script, .. }) = self.estates.get(&instance.owner) else { return Ok(()) };
        self.over.push(instance.owner);
        // What an earlier life of the script has spawned ends with it.
        for left in vm.owned_by(instance.owner) {
            if let Err(error) = vm.kill(left) {
                tracing::error!("a tasklet could not be killed: {error}");
            }
        }
        let started = entry_point(vm, script, &mut self.unloadable).and_then(|run| {
            let tasklet = vm.spawn(&run, Handle(entity), instance.owner).map_err(|error| error.message)?;
            vm.watch(tasklet);
            let next = u8::try_from(self.categories.len() + 1).unwrap_or(u8::MAX);
            let category = *self.categories.entry(script.clone()).or_insert(next);
            vm.set_memory_category(tasklet, category);
            if let Some(ScriptClock(clock)) = world.get(entity) {
                vm.set_clock(tasklet, clock.index());
            }
            vm.set_name(tasklet, &tasklet_name(world, entity, script));
            Ok(tasklet)
        });
        let had_failed = std::mem::replace(&mut instance.failed, started.is_err());
        if had_failed && started.is_ok() && !self.recovered.contains(script) {
            self.recovered.insert(script.clone());
        }
        instance.started = self.now;
        self.restarts.retain(|due| (due.entity, due.index) != (entity, index));
        let (status, result) = match started {
            Ok(tasklet) => {
                instance.tasklet = Some(tasklet);
                (ScriptStatus::Running, Ok(()))
            }
            Err(message) => (
                ScriptStatus::Failed { message: message.clone(), traceback: String::new() },
                Err(StartFailure { entity, script: script.clone(), message }),
            ),
        };
        set_status(world, entity, index, status);
        if result.is_err() {
            self.plan_restart(world, entity, index);
        }
        result
    }

    /// A frame begins at this time: starts those again whose time has come, in the order of their times.
    pub fn begin_frame(&mut self, world: &mut World, vm: &Vm, now: f64) -> Vec<StartFailure> {
        self.now = now;
        if !self.restarts.iter().any(|due| due.at <= now) {
            return Vec::new();
        }
        let restarts = std::mem::take(&mut self.restarts);
        let (mut due, later): (Vec<Due>, Vec<Due>) = restarts.into_iter().partition(|due| due.at <= now);
        self.restarts = later;
        due.sort_by(|a, b| a.at.total_cmp(&b.at));
        due.retain(|due| {
            let instance = self.by_entity.get(&due.entity).and_then(|all| all.get(due.index));
            instance.is_some_and(|instance| instance.owner == due.owner && instance.failed)
        });
        due.iter().filter_map(|due| self.start(world, vm, due.entity, due.index).err()).collect()
    }

    /// The script whose main tasklet this is.
    pub fn place_of(&self, owner: OwnerId, tasklet: TaskletId) -> Option<(Entity, usize)> {
        let estate = self.estates.get(&owner)?;
        let instance = self.by_entity.get(&estate.entity)?.get(estate.index)?;
        (instance.owner == owner && instance.tasklet == Some(tasklet))
            .then_some((estate.entity, estate.index))
    }

    /// The main tasklet of a script goes on as this one.
    pub fn follow(
        &mut self,
        world: &mut World,
        vm: &Vm,
        (entity, index): (Entity, usize),
        owner: OwnerId,
        next: TaskletId,
    ) {
        let instance = self.by_entity.get_mut(&entity).and_then(|all| all.get_mut(index));
        let (Some(instance), Some(estate)) = (instance, self.estates.get(&owner)) else { return };
        if instance.owner == owner {
            instance.tasklet = Some(next);
            instance.failed = false;
            vm.watch(next);
            vm.set_name(next, &tasklet_name(world, entity, &estate.script));
            if let Some(&category) = self.categories.get(&estate.script) {
                vm.set_memory_category(next, category);
            }
            set_status(world, entity, index, ScriptStatus::Running);
        }
    }

    /// A tasklet has failed and is parked: of a script it may be the main one.
    pub fn parked(
        &mut self,
        world: &mut World,
        owner: OwnerId,
        tasklet: TaskletId,
        message: &str,
        traceback: &str,
    ) {
        let Some((entity, index)) = self.place_of(owner, tasklet) else { return };
        self.parked.push((entity, index, tasklet));
        let status = ScriptStatus::Parked { message: message.to_owned(), traceback: traceback.to_owned() };
        set_status(world, entity, index, status);
    }

    /// Takes note of parked scripts that go on, or have ended.
    pub fn follow_parked(&mut self, world: &mut World, vm: &Vm) {
        if self.parked.is_empty() {
            return;
        }
        for (entity, index, tasklet) in std::mem::take(&mut self.parked) {
            let known = self.by_entity.get(&entity).and_then(|all| all.get(index));
            if known.and_then(|instance| instance.tasklet) != Some(tasklet) {
                continue;
            }
            if vm.is_parked(tasklet) {
                self.parked.push((entity, index, tasklet));
            } else if vm.is_alive(tasklet) {
                set_status(world, entity, index, ScriptStatus::Running);
            }
        }
    }

    /// The entities with this script whose main tasklet lives, and whom that belongs to, in the order of the
    /// entities.
    pub fn running(&self, script: &str) -> Vec<(Entity, OwnerId)> {
        let all = self.by_entity.iter().flat_map(|(&entity, all)| all.iter().map(move |one| (entity, one)));
        let mut running: Vec<(Entity, OwnerId)> = all
            .filter(|(_, instance)| instance.tasklet.is_some())
            .filter(|(_, one)| self.estates.get(&one.owner).is_some_and(|estate| estate.script == script))
            .map(|(entity, one)| (entity, one.owner))
            .collect();
        // Two scripts of one entity were made in their order.
        running.sort_by_key(|&(entity, owner)| (entity.index_u32(), owner));
        running
    }

    /// The file of a script has another name: those who run it, or will, know it by that.
    pub fn rename(&mut self, world: &mut World, vm: &Vm, from: &str, to: &str) {
        if let Some(category) = self.categories.remove(from) {
            self.categories.entry(to.to_owned()).or_insert(category);
        }
        let mut concerned = Vec::new();
        for (&owner, estate) in &mut self.estates {
            if estate.script == from {
                estate.script = to.to_owned();
                concerned.push((owner, estate.entity, estate.index));
            }
        }
        for (owner, entity, index) in concerned {
            if let Some(mut script) = world.get_mut::<Script>(entity) {
                script.rename(index, to);
            }
            let instance = self.by_entity.get(&entity).and_then(|all| all.get(index));
            if let Some(tasklet) = instance.filter(|one| one.owner == owner).and_then(|one| one.tasklet) {
                vm.set_name(tasklet, &tasklet_name(world, entity, to));
            }
        }
    }

    /// A script has failed: it starts again by itself if it is to.
    fn plan_restart(&mut self, world: &World, entity: Entity, index: usize) {
        let policy = world.get::<Script>(entity).map(|script| script.policy(index)).unwrap_or_default();
        let instance = self.by_entity.get_mut(&entity).and_then(|all| all.get_mut(index));
        let (Restart::Always { first, longest }, Some(instance)) = (policy, instance) else { return };
        if self.now - instance.started >= longest {
            instance.failures = 0;
        }
        // A back-off that is no time would restart in every frame, or never.
        let first = if first.is_finite() { first.max(0.0) } else { 1.0 };
        let longest = if longest.is_finite() { longest.max(first) } else { f64::MAX };
        let wait = (first * 2f64.powi(instance.failures.min(1000) as i32)).min(longest);
        instance.failures += 1;
        let (at, owner) = (self.now + wait, instance.owner);
        self.restarts.push(Due { at, entity, index, owner });
    }

    /// Pauses those of an entity's scripts that are to pause, and lets the others run.
    pub fn switch(&mut self, world: &World, vm: &Vm, entity: Entity) {
        let dormant = world.get::<Dormant>(entity);
        for instance in self.by_entity.get(&entity).into_iter().flatten() {
            let Some(estate) = self.estates.get(&instance.owner) else { continue };
            if dormant.is_some_and(|dormant| dormant.pauses(&estate.script)) {
                vm.freeze(instance.owner);
            } else {
                vm.thaw(instance.owner);
            }
        }
    }

    /// Looks for itself who has scripts and who has not any more, in a world that tells nobody; those that are new.
    pub fn compare(&mut self, world: &mut World, vm: &Vm) -> Vec<Entity> {
        let mut known: Vec<Entity> = self.by_entity.keys().copied().collect();
        known.sort_unstable_by_key(|entity| entity.index_u32());
        for entity in known {
            if world.get::<Script>(entity).is_none() {
                self.leave(vm, entity);
            } else {
                self.switch(world, vm, entity);
            }
        }
        for owner in self.adopted() {
            let entity = self.estates.get(&owner).map(|estate| estate.entity);
            if entity.is_none_or(|entity| world.get::<RustOwner>(entity).is_none_or(|there| there.0 != owner))
            {
                self.orphan(owner);
            }
        }
        let mut there = ScriptEvents::those_there(world);
        there.retain(|entity| !self.by_entity.contains_key(entity));
        there
    }

    /// The world has thrown all entities away without telling anybody.
    pub fn leave_all(&mut self, vm: &Vm) {
        let mut entities: Vec<Entity> = self.by_entity.keys().copied().collect();
        entities.sort_unstable_by_key(|entity| entity.index_u32());
        for entity in entities {
            self.leave(vm, entity);
        }
        for owner in self.adopted() {
            self.orphan(owner);
        }
    }

    /// Whom the Rust tasklets of an entity belong to; `None` if there is no such entity.
    pub fn adopt(&mut self, world: &mut World, vm: &Vm, entity: Entity) -> Option<OwnerId> {
        let mut entity_mut = world.get_entity_mut(entity).ok()?;
        if let Some(&RustOwner(owner)) = entity_mut.get() {
            return Some(owner);
        }
        let owner = vm.new_owner();
        entity_mut.insert(RustOwner(owner));
        self.estates.insert(owner, Estate { entity, index: RUST, script: String::new(), state: None });
        Some(owner)
    }

    /// The entity of Rust tasklets is gone: they end.
    pub fn orphan(&mut self, owner: OwnerId) {
        self.dying.push(Dying { owner, attempts: 0 });
    }

    /// The owners of Rust tasklets, in the order of their entities.
    fn adopted(&self) -> Vec<OwnerId> {
        let mut adopted: Vec<(Entity, OwnerId)> = (self.estates.iter())
            .filter(|(_, estate)| estate.index == RUST)
            .map(|(&owner, estate)| (estate.entity, owner))
            .collect();
        adopted.sort_unstable_by_key(|(entity, _)| entity.index_u32());
        adopted.into_iter().map(|(_, owner)| owner).collect()
    }

    /// Files have changed: starts the failed scripts again that are among `changed`, and with `moved`
    /// those that could not be loaded, in the order of their entities.
    pub fn restart_failed(
        &mut self,
        world: &mut World,
        vm: &Vm,
        changed: &[String],
        moved: bool,
    ) -> Vec<StartFailure> {
        self.unloadable.clear();
        let may_start = |instance: &Instance| {
            let script = self.estates.get(&instance.owner).map_or("", |estate| &estate.script);
            changed.iter().any(|name| name == script) || moved && vm.module(script).is_none()
        };
        let may_restart = |entity: Entity, index: usize| {
            let policy = world.get::<Script>(entity).map(|script| script.policy(index));
            policy != Some(Restart::Never)
        };
        let mut failed: Vec<(Entity, usize)> = self
            .by_entity
            .iter()
            .flat_map(|(&entity, all)| all.iter().enumerate().map(move |(index, one)| (entity, index, one)))
            .filter(|&(entity, index, one)| one.failed && may_start(one) && may_restart(entity, index))
            .map(|(entity, index, _)| (entity, index))
            .collect();
        failed.sort_unstable_by_key(|&(entity, index)| (entity.index_u32(), index));
        failed.into_iter().filter_map(|(entity, index)| self.start(world, vm, entity, index).err()).collect()
    }

    /// Ends all tasklets of an entity that has lost its scripts.
    pub fn leave(&mut self, vm: &Vm, entity: Entity) {
        for instance in self.by_entity.remove(&entity).unwrap_or_default() {
            self.dying.push(Dying { owner: instance.owner, attempts: 0 });
        }
        if let Some((channel, inbox)) = self.inboxes.remove(&entity) {
            let gone =
                Error::new(ErrorKind::Gone, format!("receive: entity {entity}, whose inbox it was, is gone"));
            if let Err(error) = vm.close_inbox(channel, &gone) {
                tracing::error!("the inbox of entity {entity} could not be closed: {error}");
            }
            vm.release(inbox);
        }
    }

    /// The owners whose scripts have ended or have begun anew since the last call.
    pub fn take_over(&mut self) -> Vec<OwnerId> {
        std::mem::take(&mut self.over)
    }

    /// The scripts that had failed and have started again since the last call.
    pub fn take_recovered(&mut self) -> Vec<String> {
        std::mem::take(&mut self.recovered).into_iter().collect()
    }

    /// The tasklets that have to end now.
    pub fn condemned(&mut self, vm: &Vm) -> Vec<TaskletId> {
        let mut tasklets = Vec::new();
        for dying in &mut self.dying {
            if dying.attempts < KILL_ATTEMPTS {
                dying.attempts += 1;
                tasklets.extend(vm.owned_by(dying.owner));
            }
        }
        tasklets
    }

    /// Forgets those of the dying that have ended. One that refuses to is left alone in the end.
    pub fn bury(&mut self, vm: &Vm) {
        for dying in std::mem::take(&mut self.dying) {
            let left = vm.owned_by(dying.owner).len();
            if left > 0 && dying.attempts < KILL_ATTEMPTS {
                self.dying.push(dying);
                continue;
            }
            if left > 0 {
                tracing::warn!(
                    "{left} tasklets of a script survived {KILL_ATTEMPTS} kills and are left alone"
                );
            }
            vm.remove_owner(dying.owner);
            self.over.push(dying.owner);
            if let Some(state) = self.estates.remove(&dying.owner).and_then(|estate| estate.state) {
                vm.release(state);
            }
        }
    }

    /// The main tasklet of a script has ended.
    pub fn ended(&mut self, world: &mut World, tasklet: TaskletId, owner: OwnerId, status: ScriptStatus) {
        let Some(&Estate { entity, index, .. }) = self.estates.get(&owner) else { return };
        let Some(instance) = self.by_entity.get_mut(&entity).and_then(|all| all.get_mut(index)) else {
            return;
        };
        if instance.owner == owner && instance.tasklet == Some(tasklet) {
            instance.tasklet = None;
            instance.failed = matches!(status, ScriptStatus::Failed { .. });
            let failed = instance.failed;
            set_status(world, entity, index, status);
            if failed {
                self.plan_restart(world, entity, index);
            }
        }
    }

    /// The scripts that have run, and what the memory of their tasklets is counted in.
    pub fn memory_categories(&self) -> impl Iterator<Item = (&str, u8)> {
        self.categories.iter().map(|(script, &category)| (script.as_str(), category))
    }

    /// What the memory of a script's tasklets is counted in.
    pub fn memory_category(&self, script: &str) -> Option<u8> {
        self.categories.get(script).copied()
    }

    /// The entity and the script that a tasklet's owner stands for.
    pub fn whose(&self, owner: OwnerId) -> Option<(Entity, String)> {
        self.estates.get(&owner).map(|estate| (estate.entity, estate.script.clone()))
    }

    /// The script of `entity` that `running` stands for, or its first one.
    fn of(&self, entity: Entity, running: OwnerId) -> Option<OwnerId> {
        if self.estates.get(&running).is_some_and(|estate| estate.entity == entity) {
            return Some(running);
        }
        self.by_entity.get(&entity)?.first().map(|instance| instance.owner)
    }

    /// The state of a script of `entity`: the running one's, or the first one's.
    pub fn state(&mut self, vm: &Vm, entity: Entity, running: OwnerId) -> Result<Option<&Kept>, Error> {
        let estate = self.of(entity, running).and_then(|owner| self.estates.get_mut(&owner));
        let Some(estate) = estate else { return Ok(None) };
        if estate.state.is_none() {
            estate.state = Some(vm.keep(vm.lua().create_table()?)?);
        }
        Ok(estate.state.as_ref())
    }

    /// Whom tasklets that are spawned for `entity` belong to.
    pub fn owner(&self, entity: Entity, running: OwnerId) -> Option<OwnerId> {
        self.of(entity, running)
    }

    /// Whom the tasklets of an entity's scripts belong to, in the order of the scripts.
    pub fn owners(&self, entity: Entity) -> Vec<OwnerId> {
        self.by_entity.get(&entity).into_iter().flatten().map(|instance| instance.owner).collect()
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
        Ok(Some(match self.inboxes.entry(entity) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(vm.new_inbox(INBOX_CAPACITY)?),
        }))
    }

    /// How many scripts run, and how many have failed, be they parked or ended.
    pub fn counts(&self) -> (usize, usize) {
        let all = self.by_entity.values().flatten();
        let (running, failed) = all.fold((0, 0), |(running, failed), instance| {
            (running + usize::from(instance.tasklet.is_some()), failed + usize::from(instance.failed))
        });
        (running.saturating_sub(self.parked.len()), failed + self.parked.len())
    }
}

/// The function `run` of a script.
fn entry_point(vm: &Vm, script: &str, unloadable: &mut HashMap<String, String>) -> Result<Function, String> {
    if let Some(message) = unloadable.get(script) {
        return Err(message.clone());
    }
    let module = vm.require(script).map_err(|error| {
        unloadable.insert(script.to_owned(), error.message.clone());
        error.message
    })?;
    match module {
        Value::Table(module) => match module.raw_get("run") {
            Ok(Value::Function(run)) => Ok(run),
            _ => Err(format!(
                "{script}.luau: a script of an entity needs a function 'run', as in: function {}.run(self) ... end",
                title(script)
            )),
        },
        other => {
            // It may return a table when it is read again.
            vm.unload(script);
            let message = format!(
                "{script}.luau: a script of an entity has to return its table, but it returns a {}",
                if other.is_number() || other.is_integer() { "number" } else { other.type_name() }
            );
            unloadable.insert(script.to_owned(), message.clone());
            Err(message)
        }
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
