//! Tasklets, channels and the scheduler.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

mod luau;
mod reload;
mod scheduler;

pub use luau::{
    Call, Ended, Failure, Kept, Loader, ModuleError, ModuleFault, ModuleText, Reply, SchedulerStats, Vm,
    VmConfig, Wait, excerpt,
};
pub use reload::{Difference, ReloadReport, ReloadedModule};
pub use scheduler::{ChannelId, Error, ErrorKind, OwnerId, TaskletId};

/// The raw side of the VM, for the few files of `host` that own a part of its boundary.
#[doc(hidden)]
pub mod raw {
    pub use crate::luau::ffi::*;
    pub use crate::luau::value::{push_error, push_str, raise, to_bytes};
}
