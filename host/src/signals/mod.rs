//! What happens in the world, told to scripts: messages, components that come and go, components that change.
//!
//! A **topic** is something that scripts can listen to: a kind of messages, or a component's coming or going. A
//! script listens on a channel of its own (`world:messages`, `world:added`, `world:removed`), in which a bounded number
//! of values waits, or a tasklet waits for one message (`entity:wait_for`). A topic that nobody listens to is not
//! looked at, and has no observer in the world.
//!
//! What scripts cause reaches listeners at once: whoever waits is runnable, and runs in the same frame. What Rust causes
//! reaches them when the next frame begins. Within a topic, order is that in which things happened; among listeners,
//! that in which they began to listen.

mod api;
mod change;
mod lifecycle;

use crate::ecs::{Bridge, Registry, Value};
use bevy_ecs::change_detection::Tick;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bluetick_scripting::{ChannelId, Error, ErrorKind, OwnerId, TaskletId, Vm, Wait};
use change::ChangeWait;
pub(crate) use lifecycle::Lifecycle;
use std::collections::{BTreeMap, HashMap};

pub(crate) use api::{Context, Waiting, methods};

/// Frames between two clean-ups of waits that were ended otherwise, by a kill say.
const CLEAN_UP: u64 = 64;

/// So many queries for changes are remembered of one tasklet; what it asks beyond, it asks for the first time.
const MOST_LOOKS: usize = 128;

/// A listener that has lost values in a frame, because it did not receive those that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowListener {
    /// What it listens to: `Damage`, `added Health`.
    pub topic: String,
    /// The entity whose script listens, if it belongs to one.
    pub entity: Option<Entity>,
    /// The script's name; empty if the listener belongs to no entity.
    pub script: String,
    /// How many values were lost since the last frame's report.
    pub lost: u64,
}

/// One channel that listens.
struct Listener {
    channel: ChannelId,
    /// Whose script listens; the listener ends with it.
    owner: OwnerId,
    /// Only what is meant for this entity, or for nobody in particular.
    to: Option<Entity>,
    /// How many of its losses were reported.
    reported: u64,
}

/// A tasklet that waits for one message.
struct Waiter {
    wait: Wait,
    entity: Entity,
    /// It sleeps as well, so that it wakes at its deadline.
    timed: bool,
}

/// Something to listen to.
#[derive(Default)]
struct Topic {
    /// How many messages were passed on or skipped.
    read: usize,
    listeners: Vec<Listener>,
    waiters: Vec<Waiter>,
}

impl Topic {
    fn is_idle(&self) -> bool {
        self.listeners.is_empty() && self.waiters.is_empty()
    }
}

/// A value on its way to who listens to a topic.
pub(crate) struct Delivery {
    topic: usize,
    /// `None`: for everybody.
    to: Option<Entity>,
    value: Value,
}

/// When a tasklet has last made a query with a filter for changes.
struct Look {
    filter: Box<[u32]>,
    at: Tick,
}

/// Who listens to what.
pub(crate) struct Signals {
    /// Those of messages first, in the order of their kinds; then those of components.
    topics: Vec<Topic>,
    /// The topics of components, and the entities of their observers.
    lifecycle: BTreeMap<Lifecycle, (usize, Entity)>,
    changes: Vec<ChangeWait>,
    /// When tasklets have last looked at what a query with a filter for changes finds.
    looks: HashMap<TaskletId, Vec<Look>>,
    frames: u64,
}

impl Signals {
    pub fn new(registry: &Registry) -> Self {
        Self {
            topics: (0..registry.messages.len()).map(|_| Topic::default()).collect(),
            lifecycle: BTreeMap::new(),
            changes: Vec::new(),
            looks: HashMap::new(),
            frames: 0,
        }
    }

    /// A frame begins: what Rust has caused since the last one is told.
    pub fn begin_frame(&mut self, vm: &Vm, registry: &Registry, world: &mut World) {
        self.frames += 1;
        self.watch_over_observers(vm, world, registry);
        let deliveries = self.collect(registry, world);
        self.deliver(vm, deliveries);
        self.wake_changed(vm, registry, world);
        for kind in registry.messages.iter().filter(|kind| kind.kept_by_host) {
            kind.drop_old(world);
        }
        for topic in &mut self.topics {
            let all = self.frames.is_multiple_of(CLEAN_UP);
            topic.waiters.retain(|waiter| {
                if world.get_entity(waiter.entity).is_err() {
                    let text = format!("wait_for: entity {} is gone", waiter.entity);
                    if let Err(error) = vm.wake_with_error(waiter.wait, &Error::new(ErrorKind::Gone, text)) {
                        tracing::error!("a tasklet could not be told that its entity is gone: {error}");
                    }
                    return false;
                }
                !all || vm.is_waiting(waiter.wait)
            });
        }
        if self.frames.is_multiple_of(CLEAN_UP) {
            self.looks.retain(|&tasklet, _| vm.is_alive(tasklet));
        }
    }

    /// What a script has just caused is told.
    pub fn pass_on(&mut self, vm: &Vm, bridge: &Bridge) -> Result<(), Error> {
        let deliveries = bridge.with_world(|world| Ok(self.collect(bridge.registry(), world)))?;
        self.deliver(vm, deliveries);
        Ok(())
    }

    /// Whether anything would come of [`pass_on`](Self::pass_on) after a change of entities.
    pub fn follows_entities(&self) -> bool {
        !self.lifecycle.is_empty()
    }

    /// Takes what is new for those who listen.
    fn collect(&mut self, registry: &Registry, world: &mut World) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for (number, (kind, topic)) in registry.messages.iter().zip(&mut self.topics).enumerate() {
            if topic.is_idle() {
                continue;
            }
            let written = kind.written(world);
            if topic.read > written {
                // All messages were thrown away together with their numbers.
                topic.read = 0;
            }
            if topic.read == written {
                continue;
            }
            kind.read(world, topic.read, &mut |message| match registry.types.read(message) {
                Ok(value) => {
                    let to = match value.get("to") {
                        Some(&Value::Entity(entity)) if kind.addressed => Some(entity),
                        _ => None,
                    };
                    deliveries.push(Delivery { topic: number, to, value });
                }
                Err(error) => tracing::error!("a message {} can't be told to scripts: {error}", kind.name),
            });
            topic.read = written;
        }
        self.collect_lifecycle(world, &mut deliveries);
        deliveries
    }

    /// Hands values on to who listens.
    fn deliver(&mut self, vm: &Vm, deliveries: Vec<Delivery>) {
        for Delivery { topic, to, value } in deliveries {
            let topic = &mut self.topics[topic];
            topic.listeners.retain(|listener| {
                if vm.listening(listener.channel).is_none() {
                    return false;
                }
                let is_meant = to.is_none() || listener.to.is_none() || to == listener.to;
                if is_meant && let Err(error) = vm.post(listener.channel, value.clone()) {
                    tracing::error!("a message could not be delivered: {error}");
                }
                true
            });
            topic.waiters.retain(|waiter| {
                if to.is_some_and(|to| to != waiter.entity) {
                    return true;
                }
                if let Err(error) = vm.wake_with(waiter.wait, value.clone()) {
                    tracing::error!("a message could not be delivered: {error}");
                }
                false
            });
        }
    }

    /// A tasklet listens to a topic from now on.
    fn listen(&mut self, vm: &Vm, topic: usize, listener: Listener) {
        let listeners = &mut self.topics[topic].listeners;
        if listeners.len() == listeners.capacity() {
            // Before the list grows, those go that were let go.
            listeners.retain(|listener| vm.listening(listener.channel).is_some());
        }
        listeners.push(listener);
    }

    /// The scripts of an owner have ended, or begin anew: nobody listens for them any more.
    pub fn forget(&mut self, owner: OwnerId) {
        for topic in &mut self.topics {
            topic.listeners.retain(|listener| listener.owner != owner);
        }
    }

    /// The listeners that have lost values since the last call: their topic, owner and losses.
    pub fn take_slow(&mut self, vm: &Vm, registry: &Registry) -> Vec<(OwnerId, SlowListener)> {
        let mut slow = Vec::new();
        let mut look = |topic: &mut Topic, name: &dyn Fn() -> String| {
            for listener in &mut topic.listeners {
                let lost = vm.listening(listener.channel).map_or(0, |listening| listening.lost);
                if lost > listener.reported {
                    let lost_now = lost - std::mem::replace(&mut listener.reported, lost);
                    let (topic, script) = (name(), String::new());
                    slow.push((listener.owner, SlowListener { topic, entity: None, script, lost: lost_now }));
                }
            }
        };
        for (kind, topic) in registry.messages.iter().zip(&mut self.topics) {
            look(topic, &|| kind.name.to_string());
        }
        for (lifecycle, &(topic, _)) in &self.lifecycle {
            look(&mut self.topics[topic], &|| lifecycle.describe(registry));
        }
        slow
    }

    /// How many tasklets wait for a message or a change, those left out that sleep as well.
    pub fn waiting(&self, vm: &Vm) -> usize {
        let messages = self.topics.iter().flat_map(|topic| &topic.waiters).filter(|waiter| !waiter.timed);
        let changes = self.changes.iter().filter(|wait| !wait.timed).map(|wait| wait.wait);
        messages.map(|waiter| waiter.wait).chain(changes).filter(|&wait| vm.is_waiting(wait)).count()
    }

    /// When the tasklet has last asked this, if it has; from now on that is `now`.
    pub fn last_look(&mut self, tasklet: TaskletId, filter: &[u32], now: Tick) -> Option<Tick> {
        let looks = self.looks.entry(tasklet).or_default();
        match looks.iter_mut().find(|look| *look.filter == *filter) {
            Some(look) => Some(std::mem::replace(&mut look.at, now)),
            None => {
                if looks.len() >= MOST_LOOKS {
                    looks.remove(0);
                }
                looks.push(Look { filter: filter.into(), at: now });
                None
            }
        }
    }
}
