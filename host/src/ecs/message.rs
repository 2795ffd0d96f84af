//! Messages: what Rust and scripts tell each other, in the world's own [`Messages`].

use super::component::Registry;
use super::nearest::{did_you_mean, shorten};
use super::reflection::option_content;
use super::value::ValueError;
use bevy_ecs::entity::Entity;
use bevy_ecs::message::{Message, Messages};
use bevy_ecs::world::World;
use bevy_reflect::{FromReflect, PartialReflect, TypeInfo, Typed};
use std::any::TypeId;

/// A kind of messages that scripts may send and receive.
pub(crate) struct MessageKind {
    pub name: Box<str>,
    pub info: &'static TypeInfo,
    /// It has a field `to` for the entity that it is meant for.
    pub addressed: bool,
    /// The world had none of this kind before, so nobody else drops the old ones.
    pub kept_by_host: bool,
    functions: Functions,
}

/// Looks at messages from a number on.
type Read = fn(&World, usize, &mut dyn FnMut(&dyn PartialReflect));

/// What is done with messages whose type only their registration knew.
#[derive(Clone, Copy)]
struct Functions {
    prepare: fn(&mut World) -> bool,
    write: fn(&mut World, Box<dyn PartialReflect>) -> bool,
    written: fn(&World) -> usize,
    read: Read,
    drop_old: fn(&mut World),
}

impl MessageKind {
    pub(super) fn of<M: Message + FromReflect + Typed>(name: &str) -> Self {
        let is_entity = |info: &TypeInfo| info.type_id() == TypeId::of::<Entity>();
        let to = M::type_info().as_struct().ok().and_then(|info| info.field("to")?.type_info());
        let addressed = to.is_some_and(|info| match info {
            TypeInfo::Enum(option) => option_content(option).is_some_and(is_entity),
            info => is_entity(info),
        });
        let functions = Functions {
            prepare: |world| {
                let is_new = !world.contains_resource::<Messages<M>>();
                world.init_resource::<Messages<M>>();
                is_new
            },
            write: |world, value| match M::take_from_reflect(value) {
                Ok(message) => {
                    // The resource may have been taken away since; then nobody would read it.
                    world.get_resource_or_init::<Messages<M>>().write(message);
                    true
                }
                Err(_) => false,
            },
            written: |world| {
                world
                    .get_resource::<Messages<M>>()
                    .map_or(0, |messages| messages.oldest_message_count() + messages.len())
            },
            read: |world, from, f| {
                let Some(messages) = world.get_resource::<Messages<M>>() else { return };
                let oldest = messages.oldest_message_count();
                for id in from.max(oldest)..oldest + messages.len() {
                    if let Some((message, _)) = messages.get_message(id) {
                        f(message.as_partial_reflect());
                    }
                }
            },
            drop_old: |world| {
                if let Some(mut messages) = world.get_resource_mut::<Messages<M>>() {
                    messages.update();
                }
            },
        };
        Self { name: name.into(), info: M::type_info(), addressed, kept_by_host: false, functions }
    }

    /// Makes sure that the world has them.
    pub(super) fn prepare(&mut self, world: &mut World) {
        self.kept_by_host = (self.functions.prepare)(world);
    }

    /// Writes a message that a [`Builder`](super::builder::Builder) made of this kind.
    pub(crate) fn write(&self, world: &mut World, value: Box<dyn PartialReflect>) -> Result<(), ValueError> {
        if (self.functions.write)(world, value) {
            Ok(())
        } else {
            Err(ValueError::new("a conversion made a value of another type").within(&self.name))
        }
    }

    /// How many were written so far.
    pub(crate) fn written(&self, world: &World) -> usize {
        (self.functions.written)(world)
    }

    /// Looks at those with the number `from` and later, as far as they are kept.
    pub(crate) fn read(&self, world: &World, from: usize, f: &mut dyn FnMut(&dyn PartialReflect)) {
        (self.functions.read)(world, from, f);
    }

    /// A frame begins: those of the frame before the last are dropped.
    pub(crate) fn drop_old(&self, world: &mut World) {
        (self.functions.drop_old)(world);
    }
}

impl Registry {
    /// The names of all kinds of messages, as scripts write them, in order of registration.
    pub fn message_names(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(|kind| &*kind.name)
    }

    /// The kind called `name`, or an error that names the nearest.
    pub(crate) fn message(&self, name: &str) -> Result<usize, ValueError> {
        self.messages.iter().position(|kind| &*kind.name == name).ok_or_else(|| {
            let near = did_you_mean(name, self.message_names());
            let none = if self.messages.is_empty() { "; none is registered" } else { "" };
            ValueError::new(format!("there is no message '{}'{near}{none}", shorten(name)))
        })
    }
}
