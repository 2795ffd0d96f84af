//! What a script finds on entities besides components: `state`, `inbox` and `spawn`.
//!
//! This file talks to the VM directly. It pushes values that the VM keeps alive, and raises only when
//! nothing is alive that owns something.

use crate::clock::SharedClocks;
use crate::ecs::{Access, Bridge, Change, EntityExtension};
use crate::instances::Instances;
use crate::profile::Profiles;
use crate::script::Dormant;
use crate::signals::{Signals, Waiting};
use crate::synchro::Synchro;
use bevy_ecs::change_detection::Tick;
use bevy_ecs::entity::Entity;
use bevy_ecs::hierarchy::Children;
use bevy_ecs::world::World;
use bluetick_scripting::raw::*;
use bluetick_scripting::{Call, Error, ErrorKind, OwnerId, Reply, Vm};
use mlua::{Function, MultiValue, Value};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_int;
use std::rc::{Rc, Weak};

/// The place of `enabled` among the fields.
const ENABLED: usize = 2;

/// What despawns further in than this meet runs what it has deferred when it ends, like what Rust despawns: the stack is
/// finite.
const ENDING_DEPTH: usize = 16;

/// The host's side of entity handles.
pub(crate) struct Extension {
    pub instances: Rc<RefCell<Instances>>,
    pub vm: Weak<Vm>,
    pub signals: Rc<RefCell<Option<Signals>>>,
    pub synchro: Rc<RefCell<Synchro>>,
    pub clocks: SharedClocks,
    pub profiles: Rc<Profiles>,
    /// Whose profile was looked up last, and which that is.
    pub profiled: Rc<Cell<(OwnerId, Option<usize>)>>,
    /// For whom deferred functions run now, whoever has caused that.
    pub acting: Rc<Cell<Option<OwnerId>>>,
    /// How many despawns are under way, each by what the one before has made a script defer.
    pub ending: Cell<usize>,
}

/// The entity and all that will be despawned with it because they are its children.
pub(crate) fn with_descendants(world: &World, entity: Entity) -> Vec<Entity> {
    let mut all = vec![entity];
    // Scripts can make an entity the child of its own child.
    let mut known = HashSet::from([entity]);
    let mut looked = 0;
    while let Some(&entity) = all.get(looked) {
        looked += 1;
        if let Some(children) = world.get::<Children>(entity) {
            all.extend(children.iter().copied().filter(|&child| known.insert(child)));
        }
    }
    all
}

impl EntityExtension for Extension {
    fn fields(&self) -> &'static [&'static str] {
        &["state", "inbox", "enabled"]
    }

    fn methods(&self) -> &'static [&'static str] {
        &["spawn", "wait_for", "changed"]
    }

    unsafe fn get(&self, bridge: &Bridge, L: *mut lua_State, entity: Entity, field: usize) {
        // SAFETY: there is room for a value. What may raise is done last, with nothing borrowed.
        unsafe {
            if field == ENABLED {
                let enabled =
                    bridge.may(Access::Read("Script")).and_then(|()| self.is_enabled(bridge, entity));
                return match enabled {
                    Ok(enabled) => lua_pushboolean(L, c_int::from(enabled)),
                    Err(Error { kind, message, .. }) => raise(L, kind, message),
                };
            }
            let result = self.push_field(L, entity, field);
            if let Err(Error { kind, message, .. }) = result {
                raise(L, kind, message);
            }
        }
    }

    unsafe fn set(
        &self,
        bridge: &Bridge,
        L: *mut lua_State,
        entity: Entity,
        field: usize,
    ) -> Result<(), Error> {
        if field != ENABLED {
            let name = self.fields()[field];
            return Err(Error::wrong_type(format!("'{name}' of entity {entity} can't be assigned to")));
        }
        // SAFETY: the value is at 3.
        let enabled = unsafe {
            match lua_type(L, 3) {
                LUA_TBOOLEAN => lua_toboolean(L, 3) != 0,
                _ => return Err(Error::wrong_type("enabled: expected true or false")),
            }
        };
        let Some(vm) = self.vm.upgrade() else { return Err(Error::wrong_type("the host is gone")) };
        bridge.may(Access::Write("Script"))?;
        self.is_enabled(bridge, entity)?;
        bridge.with_world(|world| {
            let mut there = world.entity_mut(entity);
            if enabled {
                there.remove::<Dormant>();
            } else {
                there.insert(Dormant::all());
            }
            self.instances.borrow_mut().switch(world, &vm, entity);
            Ok(())
        })
    }

    unsafe fn call(&self, bridge: &Bridge, L: *mut lua_State, entity: Entity, method: usize) -> c_int {
        let waiting =
            Waiting { bridge, signals: &self.signals, synchro: &self.synchro, clocks: &self.clocks };
        // SAFETY: as `get`; what is alive here owns nothing.
        unsafe {
            match method {
                0 => host_call(L, |call| self.spawn(call, L, entity)),
                1 => host_call(L, |call| waiting.wait_for(call, entity)),
                _ => host_call(L, |call| waiting.changed(call, entity)),
            }
        }
    }

    fn is_guard(&self) -> bool {
        !self.profiles.is_empty()
    }

    fn may(&self, access: Access<'_>) -> Result<(), Error> {
        let Some(vm) = self.vm.upgrade() else { return Ok(()) };
        let profile = self.profile(self.running(&vm)).and_then(|number| self.profiles.get(number));
        let Some(profile) = profile else { return Ok(()) };
        let (is_granted, what, name) = match access {
            Access::Read(name) => (profile.read.allows(name), "read ", name),
            Access::Write(name) => (profile.write.allows(name), "write ", name),
            Access::Call(name) => (profile.functions.allows(name), "function ", name),
            Access::Message(name) => (profile.messages.allows(name), "messages ", name),
            Access::Spawn => (profile.spawn, "spawn", ""),
            Access::Despawn => (profile.despawn, "despawn", ""),
        };
        // Scripts ask at each access, so a text is made only for those that need it.
        if is_granted { Ok(()) } else { profile.check(false, &format!("{what}{name}")) }
    }

    fn despawning(&self, bridge: &Bridge, entity: Entity) {
        let Some(vm) = self.vm.upgrade() else { return };
        let depth = self.ending.get();
        if depth == ENDING_DEPTH {
            return;
        }
        self.ending.set(depth + 1);
        let going = bridge.with_world(|world| Ok(with_descendants(world, entity)));
        for entity in going.unwrap_or_default() {
            let owners = self.instances.borrow().owners(entity);
            for owner in owners {
                let outer = self.acting.replace(Some(owner));
                vm.run_deferred(owner);
                self.acting.set(outer);
            }
        }
        self.ending.set(depth);
    }

    unsafe fn despawned(&self, bridge: &Bridge, _: *mut lua_State, _: Entity) -> c_int {
        self.pass_on(bridge);
        0
    }

    fn changed(&self, bridge: &Bridge, _: Entity, _: Change<'_>) {
        self.pass_on(bridge);
    }

    fn last_look(&self, filter: &[u32], now: Tick) -> Option<Tick> {
        let vm = self.vm.upgrade()?;
        self.signals.borrow_mut().as_mut()?.last_look(vm.current_tasklet(), filter, now)
    }
}

impl Extension {
    /// For whom the code runs that is running.
    fn running(&self, vm: &Vm) -> OwnerId {
        self.acting.get().unwrap_or_else(|| vm.current_owner())
    }

    /// The profile of an owner's script.
    fn profile(&self, owner: OwnerId) -> Option<usize> {
        if self.profiles.is_empty() {
            return None;
        }
        let (known, number) = self.profiled.get();
        if known == owner {
            return number;
        }
        let script = self.instances.try_borrow().ok().and_then(|instances| instances.whose(owner));
        let number = script.and_then(|(_, script)| self.profiles.number_of(&script));
        self.profiled.set((owner, number));
        number
    }

    /// An error of kind `denied` if whoever runs has a profile, and the owner's is another.
    fn check_same_profile(&self, vm: &Vm, owner: OwnerId, capability: &str) -> Result<(), Error> {
        let mine = self.profile(self.running(vm));
        match mine.and_then(|number| self.profiles.get(number)) {
            Some(profile) => profile.check(mine == self.profile(owner), capability),
            None => Ok(()),
        }
    }

    /// An error of kind `denied` unless whoever runs may do this to a tasklet of this owner, or to the scheduler.
    pub(crate) fn may_interfere(&self, owner: Option<OwnerId>, verb: &str) -> Result<(), Error> {
        let Some(vm) = self.vm.upgrade() else { return Ok(()) };
        match owner {
            Some(owner) if owner == self.running(&vm) => Ok(()),
            Some(owner) => self.check_same_profile(
                &vm,
                owner,
                &format!("{verb} tasklets of scripts with another profile"),
            ),
            None => self.may(Access::Call("scheduler")),
        }
    }

    /// Whether no script of the entity is paused.
    fn is_enabled(&self, bridge: &Bridge, entity: Entity) -> Result<bool, Error> {
        bridge.with_world(|world| match world.get_entity(entity) {
            Ok(there) => Ok(!there.contains::<Dormant>()),
            Err(_) => Err(Error::new(ErrorKind::Gone, format!("enabled: entity {entity} is gone"))),
        })
    }

    /// Tells those who listen to components that some have come or gone.
    fn pass_on(&self, bridge: &Bridge) {
        let mut signals = self.signals.borrow_mut();
        if let (Some(vm), Some(signals)) = (self.vm.upgrade(), signals.as_mut())
            && signals.follows_entities()
            && let Err(error) = signals.pass_on(&vm, bridge)
        {
            tracing::error!("a component that came or went could not be told of: {error}");
        }
    }

    /// Pushes `state` or `inbox`, or nothing and says why not.
    unsafe fn push_field(&self, L: *mut lua_State, entity: Entity, field: usize) -> Result<(), Error> {
        let Some(vm) = self.vm.upgrade() else { return Err(Error::wrong_type("the host is gone")) };
        let running = self.running(&vm);
        if field == 0
            && self.is_guard()
            && let Some(owner) = { self.instances.borrow().owner(entity, running) }
        {
            self.check_same_profile(&vm, owner, "state of scripts with another profile")?;
        }
        let mut instances = self.instances.borrow_mut();
        let kept = match field {
            0 => instances.state(&vm, entity, running)?,
            _ => instances.inbox(&vm, entity)?.map(|(_, handle)| handle),
        };
        match kept {
            // SAFETY: the extension is asked with room for the value, which needs no allocation.
            Some(kept) => unsafe { vm.push_kept(L, kept) },
            None => {
                let name = self.fields()[field];
                return Err(Error::new(
                    ErrorKind::Gone,
                    format!("'{name}': entity {entity} has no script any more, or never had one"),
                ));
            }
        }
        Ok(())
    }

    /// `entity:spawn(f, ...)`: a tasklet that belongs to the entity's script, and returns it.
    unsafe fn spawn(&self, call: &mut Call<'_>, L: *mut lua_State, entity: Entity) -> Result<Reply, Error> {
        let Some(vm) = self.vm.upgrade() else { return Err(Error::wrong_type("the host is gone")) };
        let owner = self.instances.borrow().owner(entity, self.running(&vm)).ok_or_else(|| {
            Error::new(
                ErrorKind::Gone,
                format!("spawn: entity {entity} has no script any more, or never had one"),
            )
        })?;
        self.check_same_profile(&vm, owner, "spawn tasklets of scripts with another profile")?;
        // SAFETY: the values from index 2 on are arguments; mlua's stack has room for one at a time.
        let mut arguments: MultiValue = unsafe {
            let n = lua_gettop(L);
            vm.lua().exec_raw_lua(|raw| {
                (2..=n)
                    .map(|index| {
                        lua_xpush(L, raw.state(), index);
                        raw.pop_value()
                    })
                    .collect()
            })
        };
        let Some(Value::Function(f)) = arguments.pop_front() else {
            return Err(Error::wrong_type("spawn: expected a function and its arguments"));
        };
        let f: Function = f;
        let spawned = vm.spawn(&f, arguments, owner)?;
        match vm.scheduler().tasklet_of(spawned) {
            Some(tasklet) => call.push(tasklet).map(|()| Reply::Pushed(1)),
            None => Ok(Reply::Nothing),
        }
    }
}
