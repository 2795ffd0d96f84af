//! Tasklets whose body is Rust, and Rust functions that block.
//!
//! | file | what |
//! |---|---|
//! | `scheduler.rs`, `tasklet.rs`, `channel.rs` | the API: the same verbs as in scripts |
//! | `park.rs` | how it waits for the host |
//! | `coroutine.rs` | Rust code on a stack of its own: how it is entered, waits and ends |
//! | `stack.rs` | those stacks |
//! | `transfer.rs` | hand-overs that take more than to move a value between two Rust frames |
//! | `carrier.rs` | how a value of some type gets from one end of a channel to the other |
//! | `queue.rs` | channels that keep values |
//! | `uthread/` | the helpers on top of channels: those of scripts, for Rust |
//! | `call.rs` | Rust functions that scripts call and that may block; functions of scripts that Rust calls |
//!
//! # Frames
//!
//! A tasklet's stack is a row of *frames*: Luau coroutines and Rust coroutines, each of which waits for
//! the next one inwards. Only the innermost is ever resumed, and always from the loop's own stack, so
//! that no script runs on the small stack of a Rust frame:
//!
//! ```text
//!   body: Luau  ->  blocking Rust function  ->  Luau function  ->  blocking Rust function   <- resumed
//!   outer[0]        outer[1]                    outer[2]           `native`, as `thread` is null
//! ```
//!
//! A Rust frame that wants to call a script's function suspends and asks the loop to do so; when that
//! function is through, the loop resumes it with the outcome.

mod call;
mod carrier;
mod channel;
mod coroutine;
mod park;
mod queue;
mod scheduler;
mod stack;
mod tasklet;
mod transfer;
pub mod uthread;

pub(crate) use carrier::{Carrier, Exchange, Height};
pub use channel::{Channel, Iter};
pub(crate) use coroutine::{Native, Step, panicked};
pub use scheduler::{RunLimit, Scheduler};
pub(crate) use stack::StackSlab;
pub use tasklet::{IntoOutcome, Tasklet};
