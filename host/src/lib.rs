//! Tasklets for entity scripts: a host that runs one Luau tasklet per entity script, a slice per frame,
//! and takes in edited scripts while the game runs.
//!
//! In order of importance it wants to be
//!
//! - *plain for designers*: a script is straight-line code that sleeps, waits and talks over channels;
//! - *safe for the game*: no mistake in a script harms the host, the world or another script;
//! - *fast*: a switch costs little more than the VM's own, an access to a component less than a table's;
//! - *small to embed*: one builder, one component, one call a frame.
//!
//! ```
//! use bevy_ecs::prelude::*;
//! use bluetick::{Library, Script, ScriptHost};
//!
//! let scripts = Library::in_memory([("clock", "
//!     local Clock = {}
//!     function Clock.run(self)
//!         while true do
//!             synchro.sleep(1)
//!             self.state.ticks = (self.state.ticks or 0) + 1
//!         end
//!     end
//!     return Clock
//! ")]);
//! let mut world = World::new();
//! let mut host = ScriptHost::builder().library(scripts).build(&mut world)?;
//! let clock = world.spawn(Script::new("clock")).id();
//! for _ in 0..12 {
//!     host.tick(&mut world, 0.25);
//! }
//! assert_eq!(host.state(clock).unwrap().get::<u32>("ticks")?, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | what | where |
//! |---|---|
//! | building and ticking a host | [`ScriptHost`], [`HostBuilder`], [`FrameReport`] |
//! | what is guaranteed under overload | [`overload`] |
//! | editing a running game | [`ReloadReport`], [`ScriptReload`], [`ScriptHost::stuck`], [`Stuck`] |
//! | time for a VM without a host | [`install_real_time`] |
//! | giving entities scripts | [`Script`], [`ScriptStatus`], [`Restart`], [`Dormant`] |
//! | what scripts reach in the world | [`ecs`], [`Scene`] |
//! | running in a Bevy app (feature `bevy`) | `BluetickPlugin` |
//! | what scripts may do | [`Profiles`] |
//! | files, their versions, watching | [`Library`] (crate `bluetick-assets`) |
//! | tasklets, channels, the VM | [`Vm`] (crate `bluetick-scripting`) |
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

#[cfg(feature = "bevy")]
mod bevy;
mod budget;
mod clock;
mod collector;
mod dilation;
pub mod ecs;
mod extension;
mod failure;
mod frame;
mod history;
mod host;
mod instances;
pub mod overload;
mod overrun;
pub mod profile;
mod pump;
mod reload;
mod reloader;
pub mod scene;
mod script;
mod signals;
mod sleepers;
mod stuck;
mod synchro;
mod tasklet;
mod ticker;
mod time;
mod timekeeping;
mod watchdog;
mod wishes;
mod workers;

#[cfg(feature = "bevy")]
pub use bevy::{BluetickPlugin, LastFrame, ScriptApp, ScriptFailed, ScriptSystems};
pub use bluetick_assets::{AssetError, Library};
pub use bluetick_scripting::{
    Budget, Channel, Error, ErrorKind, LongestSlice, OverrunPolicy, ParkCode, PinCode, ReloadReport,
    Scheduler, Sighting, SliceLimit, SlowSlice, Tasklet, TaskletId, Timing, Vm,
};
pub use clock::{Clock, ClockId};
pub use collector::GcPace;
pub use dilation::{ClockMessage, DilationEvent, TimeDilation};
pub use failure::{ParkedAt, ScriptFailure};
pub use frame::FrameReport;
pub use history::FrameSample;
pub use host::{BuildError, HostBuilder, ScriptHost};
pub use overrun::ScriptOverrun;
pub use profile::{Grant, Profile, ProfileError, Profiles};
pub use pump::install_real_time;
pub use reload::{RollbackError, ScriptReload};
pub use scene::{Scene, SceneError};
pub use script::{Dormant, Restart, Script, ScriptClock, ScriptStatus};
pub use signals::SlowListener;
pub use stuck::{Stuck, Which, Why};
pub use synchro::SynchroHandle;
pub use tasklet::TaskletContext;
pub use ticker::{TickerContext, TickerId};
pub use timekeeping::ScriptTime;
pub use watchdog::StuckFrame;
