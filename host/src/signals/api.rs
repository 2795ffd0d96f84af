//! What scripts call.
//!
//! ```lua
//! world:send("Damage", { to = prey, amount = 3 })
//! world:messages("Damage" [, { to = self, capacity = 64, overflow = "error" }]) -> channel
//! world:added("Health" [, options])  world:removed("Health" [, options]) -> channel of entities
//! self:wait_for("Damage" [, seconds])      the next one to this entity, or to nobody in particular; nil after so long
//! self:changed("Health", ... [, seconds])  the name of the first that has changed, come or gone; nil after so long
//! ```

use super::change::ChangeWait;
use super::{Lifecycle, Listener, Signals, Waiter};
use crate::clock::SharedClocks;
use crate::ecs::{Access, Bridge, Builder, Value, ValueError, did_you_mean};
use crate::synchro::{LONGEST, Synchro};
use bevy_ecs::entity::Entity;
use bluetick_scripting::{Call, Error, ErrorKind, Overflow, Reply, Vm};
use mlua::Function;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// How many values wait for a listener that does not say how many may.
const CAPACITY: usize = 1024;

/// The most that may wait for one.
const MOST: f64 = 65536.0;

/// What the functions share. The bridge comes to exist after them.
#[derive(Clone)]
pub(crate) struct Context {
    pub vm: Weak<Vm>,
    pub bridge: Rc<std::cell::OnceCell<Weak<Bridge>>>,
    pub signals: Rc<RefCell<Option<Signals>>>,
}

impl Context {
    /// Calls `f` with everything, if `world` is what the method was called on.
    fn with<R>(
        &self,
        call: &Call<'_>,
        method: &str,
        f: impl FnOnce(&Vm, &Bridge, &mut Signals) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let gone = || Error::wrong_type("the host is gone");
        let vm = self.vm.upgrade().ok_or_else(gone)?;
        let bridge = self.bridge.get().and_then(Weak::upgrade).ok_or_else(gone)?;
        bridge.check_world(&call.get::<mlua::Value>(1)?, method)?;
        let mut signals = self.signals.borrow_mut();
        f(&vm, &bridge, signals.as_mut().ok_or_else(gone)?)
    }
}

/// The methods of `world` by which scripts send and listen.
pub(crate) fn methods(vm: &Vm, context: &Context) -> Result<Vec<(&'static str, Function)>, Error> {
    let make = |name, f: fn(&Context, &mut Call<'_>) -> Result<Reply, Error>| {
        let context = context.clone();
        vm.function(name, move |call| f(&context, call))
    };
    Ok(vec![
        ("send", make(c"send", send)?),
        ("messages", make(c"messages", messages)?),
        ("added", make(c"added", |context, call| lifecycle(context, call, "added", Lifecycle::Added))?),
        (
            "removed",
            make(c"removed", |context, call| lifecycle(context, call, "removed", Lifecycle::Removed))?,
        ),
    ])
}

/// The argument that has to be a name.
fn name(call: &Call<'_>, index: i32, method: &str, what: &str) -> Result<String, Error> {
    call.text(index, &format!("{method}: the name of {what}"))
}

fn send(context: &Context, call: &mut Call<'_>) -> Result<Reply, Error> {
    context.with(call, "send", |vm, bridge, signals| {
        let name = name(call, 2, "send", "a message")?;
        let value: Value = call.get(3)?;
        let value = if value == Value::Nil { Value::Map(Vec::new()) } else { value };
        let registry = bridge.registry();
        let number = registry.message(&name)?;
        bridge.may(Access::Message(&name))?;
        let kind = &registry.messages[number];
        let message = Builder { types: &registry.types, named: None }
            .build(kind.info, &value)
            .map_err(|e| e.within(&name))?;
        bridge.with_world(|world| Ok(kind.write(world, message)?))?;
        if !signals.topics[number].is_idle() {
            signals.pass_on(vm, bridge)?;
        }
        Ok(Reply::Nothing)
    })
}

/// How a script wants to listen.
struct Options {
    to: Option<Entity>,
    capacity: usize,
    overflow: Overflow,
}

impl Options {
    fn parse(value: &Value, may_be_addressed: bool) -> Result<Self, ValueError> {
        let mut options = Self { to: None, capacity: CAPACITY, overflow: Overflow::DropOldest };
        let entries = match value {
            Value::Nil => return Ok(options),
            Value::Map(entries) => entries,
            other => return Err(ValueError::mismatch("a table of options", other)),
        };
        for (key, value) in entries {
            let Value::String(key) = key else {
                return Err(ValueError::mismatch("the name of an option", key));
            };
            match (&**key, value) {
                ("to", &Value::Entity(entity)) if may_be_addressed => options.to = Some(entity),
                ("to", _) if !may_be_addressed => {
                    return Err(ValueError::new(
                        "is never meant for one entity: it has no field 'to' for one",
                    ));
                }
                ("to", other) => return Err(ValueError::mismatch("an entity", other).within("to")),
                ("capacity", value) => match value.as_number() {
                    Some(number) if (1.0..=MOST).contains(&number) && number.trunc() == number => {
                        options.capacity = number as usize;
                    }
                    _ => {
                        let expected = format!("a whole number from 1 to {MOST}");
                        return Err(ValueError::mismatch(&expected, value).within("capacity"));
                    }
                },
                ("overflow", Value::String(what)) if what == "error" => options.overflow = Overflow::Error,
                ("overflow", Value::String(what)) if what == "drop_oldest" => {
                    options.overflow = Overflow::DropOldest;
                }
                ("overflow", other) => {
                    let expected = "\"drop_oldest\" or \"error\"";
                    return Err(ValueError::mismatch(expected, other).within("overflow"));
                }
                (key, _) => {
                    let near = did_you_mean(key, ["to", "capacity", "overflow"]);
                    return Err(ValueError::new(format!(
                        "there is no option '{key}'{near}; there are to, capacity and overflow"
                    )));
                }
            }
        }
        Ok(options)
    }
}

/// Makes the channel of a listener.
fn listen(vm: &Vm, signals: &mut Signals, topic: usize, options: &Options) -> Result<Reply, Error> {
    let (channel, handle) = vm.new_listener(options.capacity, options.overflow)?;
    signals.listen(vm, topic, Listener { channel, owner: vm.current_owner(), to: options.to, reported: 0 });
    Ok(Reply::Value(handle))
}

fn messages(context: &Context, call: &mut Call<'_>) -> Result<Reply, Error> {
    context.with(call, "messages", |vm, bridge, signals| {
        let name = name(call, 2, "messages", "a message")?;
        let registry = bridge.registry();
        let number = registry.message(&name)?;
        bridge.may(Access::Message(&name))?;
        let kind = &registry.messages[number];
        let options = Options::parse(&call.get(3)?, kind.addressed).map_err(|e| e.within(&name))?;
        if signals.topics[number].is_idle() {
            signals.topics[number].read = bridge.with_world(|world| Ok(kind.written(world)))?;
        }
        listen(vm, signals, number, &options)
    })
}

fn lifecycle(
    context: &Context,
    call: &mut Call<'_>,
    method: &str,
    what: fn(u16) -> Lifecycle,
) -> Result<Reply, Error> {
    context.with(call, method, |vm, bridge, signals| {
        let name = name(call, 2, method, "a component")?;
        let registry = bridge.registry();
        let component = registry.component(&name)?;
        bridge.may(Access::Read(&name))?;
        let options = Options::parse(&call.get(3)?, false).map_err(|e| e.within(method))?;
        let topic =
            bridge.with_world(|world| Ok(signals.lifecycle_topic(registry, world, what(component))))?;
        listen(vm, signals, topic, &options)
    })
}

/// What methods of entities need besides.
pub(crate) struct Waiting<'a> {
    pub bridge: &'a Bridge,
    pub signals: &'a RefCell<Option<Signals>>,
    pub synchro: &'a RefCell<Synchro>,
    pub clocks: &'a SharedClocks,
}

impl Waiting<'_> {
    /// When a wait with this time-out ends, by which clock; an error says what is wrong with it.
    fn deadline(
        &self,
        call: &Call<'_>,
        seconds: Option<f64>,
        method: &str,
    ) -> Result<Option<(u16, f64)>, Error> {
        match seconds {
            None => Ok(None),
            Some(seconds) if (0.0..=LONGEST).contains(&seconds) => Ok(Some(self.clocks.due(call, seconds))),
            Some(seconds) => Err(Error::wrong_type(format!(
                "{method}: the time-out has to be a number of seconds from 0 to {LONGEST} (a day), got {seconds}"
            ))),
        }
    }

    fn living(&self, entity: Entity, method: &str) -> Result<(), Error> {
        self.bridge.with_world(|world| match world.get_entity(entity) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(ErrorKind::Gone, format!("{method}: entity {entity} is gone"))),
        })
    }

    /// `entity:wait_for(message [, seconds])`
    pub fn wait_for(&self, call: &mut Call<'_>, entity: Entity) -> Result<Reply, Error> {
        let name = name(call, 2, "wait_for", "a message")?;
        let deadline = self.deadline(call, call.optional_number(3, "wait_for: seconds")?, "wait_for")?;
        let registry = self.bridge.registry();
        let number = registry.message(&name)?;
        self.bridge.may(Access::Message(&name))?;
        self.living(entity, "wait_for")?;
        let written = self.bridge.with_world(|world| Ok(registry.messages[number].written(world)))?;
        let mut signals = self.signals.borrow_mut();
        let Some(signals) = signals.as_mut() else { return Err(Error::wrong_type("the host is gone")) };
        let wait = call.park("wait_for")?;
        let topic = &mut signals.topics[number];
        if topic.is_idle() {
            topic.read = written;
        }
        topic.waiters.push(Waiter { wait, entity, timed: deadline.is_some() });
        if let Some((clock, due)) = deadline {
            self.synchro.borrow_mut().sleepers.sleep(wait, clock, due);
        }
        Ok(Reply::Parked(wait))
    }

    /// `entity:changed(component, ... [, seconds])`
    pub fn changed(&self, call: &mut Call<'_>, entity: Entity) -> Result<Reply, Error> {
        let registry = self.bridge.registry();
        let mut last = call.len();
        let mut seconds = None;
        let is_number = |value: mlua::Value| value.is_number() || value.is_integer();
        if last > 2 && is_number(call.get(last)?) {
            seconds = call.optional_number(last, "changed: seconds")?;
            last -= 1;
        }
        let deadline = self.deadline(call, seconds, "changed")?;
        let mut numbers = Vec::new();
        for index in 2..=last.max(2) {
            let name = name(call, index, "changed", "a component")?;
            numbers.push(registry.component(&name)?);
            self.bridge.may(Access::Read(&name))?;
        }
        self.living(entity, "changed")?;
        let (components, since) = self.bridge.with_world(|world| {
            let there = world.entity(entity);
            let has = |number: u16| there.contains_id(registry.components[usize::from(number)].id);
            let components = numbers.into_iter().map(|number| (number, has(number))).collect();
            // What is written from now on is newer.
            let since = world.change_tick();
            world.increment_change_tick();
            Ok((components, since))
        })?;
        let mut signals = self.signals.borrow_mut();
        let Some(signals) = signals.as_mut() else { return Err(Error::wrong_type("the host is gone")) };
        let wait = call.park("changed")?;
        signals.changes.push(ChangeWait { wait, entity, components, since, timed: deadline.is_some() });
        if let Some((clock, due)) = deadline {
            self.synchro.borrow_mut().sleepers.sleep(wait, clock, due);
        }
        Ok(Reply::Parked(wait))
    }
}
