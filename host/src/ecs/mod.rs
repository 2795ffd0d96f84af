//! Entities, components and resources, as scripts see them.
//!
//! The programmer says once what scripts may use ([`Registry`]), connects a VM to the world ([`Bridge`]),
//! and lends the world while scripts run ([`Bridge::lend`]). Everything else is found by name from
//! reflection:
//!
//! ```
//! use bevy_ecs::prelude::*;
//! use bevy_reflect::prelude::*;
//! use bluetick::ecs::{Bridge, BridgeConfig, Registry};
//! use bluetick_scripting::{Vm, VmConfig};
//! use std::rc::Rc;
//!
//! #[derive(Component, Reflect, Default)]
//! #[reflect(Default)]
//! struct Health { current: f32, max: f32 }
//!
//! let mut world = World::new();
//! world.spawn((Name::new("rat"), Health { current: 3.0, max: 10.0 }));
//!
//! let registry = Registry::builder().component::<Health>().build(&mut world)?;
//! let vm = Vm::new(VmConfig::default())?;
//! let bridge = Bridge::install(&vm, Rc::new(registry), BridgeConfig::default())?;
//!
//! let script = r#"
//!     local rat = world:named("rat")
//!     rat.Health.current -= 1
//!     for entity, health in world:query("Health", { without = "Health" }) do entity:despawn() end
//!     return rat.Health.current, rat.alive
//! "#;
//! let result: (f32, bool) = bridge.lend(&mut world, || vm.lua().load(script).eval())?;
//! assert_eq!(result, (2.0, true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What scripts can do with an entity is in `entity`, with a component in `reference` and `place`, with the world
//! in `world` and `query`.

mod bridge;
mod builder;
mod component;
mod digest;
mod dynamic;
mod entity;
mod extension;
mod function;
mod handle;
mod layout;
mod machinery;
mod marshal;
mod message;
mod nearest;
mod parts;
mod path;
mod place;
mod query;
mod reference;
mod reflection;
mod scalar;
mod script_part;
mod value;
mod world;

pub use bridge::{Bridge, BridgeConfig};
pub(crate) use builder::Builder;
pub(crate) use component::Part;
pub use component::{Registry, RegistryBuilder, RegistryError, ScriptHook};
pub use extension::{Access, Change, EntityExtension};
pub use function::{Functions, Handle, WorldAccess};
pub(crate) use nearest::{did_you_mean, enumerate};
pub use script_part::ScriptPart;
pub use value::{MAX_DEPTH, MAX_VALUES, Segment, Value, ValueError};
pub(crate) use world::find_named;

#[cfg(test)]
mod tests;
