//! Tasklets, channels and the scheduler: Stackless Python's, for Luau.
//!
//! A **tasklet** is a function that runs on a stack of its own, and gives control away only where it
//! says so. A **channel** is where two of them meet: whoever comes first waits for the other. The
//! **scheduler** is a queue of those that can run; there are no threads and no locks, and the same
//! program makes the same switches every time.
//!
//! # In a script
//!
//! ```
//! use bluetick_scripting::{Vm, VmConfig};
//!
//! let vm = Vm::new(VmConfig::default())?;
//! let main = vm.load("main.luau", r#"
//!     local said = {}
//!     local orders = channel()
//!
//!     tasklet(function()                     -- a cook, who waits for orders
//!         for order in orders do
//!             table.insert(said, "cooking " .. order)
//!         end
//!     end)()                                 -- the second pair of parentheses makes it runnable
//!
//!     tasklet(function(name)                 -- a guest; arguments go in there
//!         orders:send(name .. "'s soup")     -- waits until the cook takes it
//!         table.insert(said, name .. " has ordered")
//!     end)("Ada")
//!
//!     scheduler.run()                        -- everybody, until nobody can run
//!     assert(table.concat(said, ", ") == "cooking Ada's soup, Ada has ordered")
//! "#)?;
//! vm.run_main(&main, ()).map_err(|failure| failure.message)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The cook runs first after the hand-over because a channel prefers its receiver
//! (`orders.preference` is −1); the rules are those of Stackless, down to the order of each switch.
//!
//! # In a host
//!
//! A game makes tasklets itself, runs those that are runnable once a frame, and wakes those that wait
//! for it:
//!
//! ```
//! use bluetick_scripting::{OwnerId, Reply, Vm, VmConfig, Wait};
//! use std::{cell::RefCell, rc::Rc};
//!
//! let vm = Vm::new(VmConfig::default())?;
//! let waiting: Rc<RefCell<Vec<Wait>>> = Rc::default();
//! let list = waiting.clone();
//! let wait = vm.function(c"wait_for_frame", move |call| {
//!     let wait = call.park("wait_for_frame")?;
//!     list.borrow_mut().push(wait);
//!     Ok(Reply::Parked(wait))
//! })?;
//! vm.lua().globals().set("wait_for_frame", wait)?;
//! vm.lua().globals().set("frames", 0)?;
//! let body = vm.load("body.luau", "while true do _G.frames += 1 wait_for_frame() end")?;
//! vm.spawn(&body, (), OwnerId::default())?;
//! for _ in 0..3 {
//!     for wait in waiting.take() {
//!         vm.wake(wait.tasklet, wait.parking);
//!     }
//!     vm.run_ready(|| true);
//! }
//! assert_eq!(vm.lua().globals().get::<u32>("frames")?, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it is built
//!
//! | folder | what |
//! |---|---|
//! | `scheduler/` | the queues and who runs next; knows nothing of the VM |
//! | `luau/` | the VM, the loop that resumes coroutines, what scripts see, modules |
//! | `reload/` | new text under live tasklets |
//!
//! A switch is a return to the loop: a tasklet that gives control away has decided in `scheduler/` who is
//! next, breaks out of its coroutine, and the loop resumes that one. The slot of a suspended tasklet,
//! what its blocking call will return, is the top of its own Luau stack, so a value that is handed
//! over moves from stack to stack and is never converted or allocated for.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

mod budget;
mod luau;
mod native;
mod reload;
mod scheduler;

pub use budget::Budget;
pub use luau::{
    Call, Ended, Failure, Kept, Listening, Loader, ModuleError, ModuleFault, ModuleText, Overrun,
    OverrunPolicy, Reply, SchedulerStats, SliceLimit, Vm, VmConfig, Wait, excerpt,
};
pub use native::{Channel, IntoOutcome, Iter, RunLimit, Scheduler, Tasklet, uthread};
pub use reload::{Difference, ReloadReport, ReloadedModule};
pub use scheduler::{ChannelId, Error, ErrorKind, Overflow, OwnerId, TaskletId};

/// The raw side of the VM, for the few files of `host` that own a part of its boundary.
#[doc(hidden)]
pub mod raw {
    pub use crate::luau::ffi::*;
    pub use crate::luau::host_call;
    pub use crate::luau::value::{push_error, push_str, raise, to_bytes};
}
