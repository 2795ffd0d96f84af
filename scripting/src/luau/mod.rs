//! Tasklets whose body is Luau, and the VM that runs them.

mod accounting;
mod anchor;
mod api;
mod call;
mod collector;
mod coroutine;
pub mod ffi;
mod interrupt;
mod library;
mod listener;
mod machine;
mod module;
mod restart;
mod run;
mod slice;
pub mod stack;
pub(crate) mod state;
mod switch;
mod timer;
pub mod value;
mod vm;
mod wait;
mod work_clock;

pub use accounting::{LongestSlice, SlowSlice, Timing};
pub(crate) use anchor::Anchor;
pub use call::{Call, Kept, Reply, Wait, host_call};
pub use collector::GcStep;
pub use listener::Listening;
pub(crate) use machine::{Dropped, Machine, protect};
pub use machine::{Ended, Failure};
pub use module::{Loader, ModuleError, ModuleFault, ModuleText, excerpt};
pub(crate) use module::{Module, Staged};
pub use slice::{Overrun, OverrunPolicy, SliceLimit};
pub use timer::{Probe, Sighting};
pub use vm::{SchedulerStats, Vm, VmConfig};
