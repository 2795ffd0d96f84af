//! The terminal side of the command `bluetick`.
//!
//! A [`session::Session`] is a world that plays: it ticks, it can be photographed into a [`snapshot::Snapshot`], and
//! it keeps a [`journal::Journal`] of what happened. Two players drive one, and neither knows what is behind it:
//!
//! - [`ui`] in a terminal: a map, panels and keys, drawn by [`view`] from the state in [`app`];
//! - [`headless`] without one: text whose every figure is the same for the same seed.
//!
//! [`live`] is the session that `bluetick run` plays, in the world of [`arena`]; [`exec`](mod@exec) runs a single file.
//! [`report`] holds the words that both use for reloads and errors; [`cli`] the command line.

pub mod app;
pub mod arena;
pub mod cli;
pub mod exec;
pub mod frame_times;
pub mod headless;
pub mod journal;
pub mod live;
pub mod pacer;
pub mod rates;
pub mod report;
mod screen;
pub mod session;
pub mod snapshot;
pub mod ui;
pub mod view;

#[cfg(test)]
mod sample;
