//! Tasklets, channels and the scheduler: Stackless Python's, for Luau and for Rust.
//!
//! A **tasklet** is a function that runs on a stack of its own, and gives control away only where it
//! says so. A **channel** is where two of them meet: whoever comes first waits for the other. The
//! **scheduler** is a queue of those that can run; there are no threads and no locks, and the same
//! program makes the same switches every time.
//!
//! A tasklet's function is written in Luau or in Rust. Nobody who meets one on a channel, runs it or kills
//! it can tell which. So each thing below is shown twice: as a script has it, and as Rust has it.
//!
//! # A tasklet
//!
//! `tasklet(f)` is given its arguments by a call, which puts it at the end of the run queue.
//! `scheduler.run` lets all others run until nobody can; `schedule` goes to the end of the queue.
//!
//! ```
//! # use bluetick_scripting::{Vm, VmConfig};
//! # let vm = Vm::new(VmConfig::default())?;
//! # let main = vm.load("main.luau", r#"
//! local said = {}
//! for _, name in { "Ada", "Bob" } do
//!     tasklet(function(greeting)
//!         table.insert(said, greeting .. ", " .. name)
//!         scheduler.schedule()                    -- the others first
//!         table.insert(said, name .. " leaves")
//!     end)("hello")
//! end
//! scheduler.run()
//! assert(table.concat(said, "; ") == "hello, Ada; hello, Bob; Ada leaves; Bob leaves")
//! # "#)?;
//! # vm.run_main(&main, ()).map_err(|failure| failure.message)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In Rust what a body needs is in its closure. It may wait anywhere in its call tree. Everything that can
//! wait returns a [`Result`], because the wait may end with an error.
//!
//! ```
//! use bluetick_scripting::{Error, Vm, VmConfig};
//! use std::{cell::RefCell, rc::Rc};
//!
//! let vm = Vm::new(VmConfig::default())?;
//! let scheduler = vm.scheduler();
//! let said: Rc<RefCell<Vec<String>>> = Rc::default();
//! for name in ["Ada", "Bob"] {
//!     let (scheduler, said) = (scheduler.clone(), said.clone());
//!     vm.scheduler().spawn(move || -> Result<(), Error> {
//!         said.borrow_mut().push(format!("hello, {name}"));
//!         scheduler.schedule()?;                  // the others first
//!         said.borrow_mut().push(format!("{name} leaves"));
//!         Ok(())
//!     })?;
//! }
//! scheduler.run()?;
//! assert_eq!(said.borrow().join("; "), "hello, Ada; hello, Bob; Ada leaves; Bob leaves");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whoever runs the others is the **main tasklet**: here a script given to [`Vm::run_main`], there the
//! thread itself.
//!
//! # A channel
//!
//! `send` waits for a receiver, `receive` for a sender. A loop over a channel receives until it is closed
//! and nobody waits to send, or until somebody sends `StopIteration`.
//!
//! ```
//! # use bluetick_scripting::{Vm, VmConfig};
//! # let vm = Vm::new(VmConfig::default())?;
//! # let main = vm.load("main.luau", r#"
//! local orders, said = channel(), {}
//! tasklet(function()
//!     for dish in orders do                       -- waits for each
//!         table.insert(said, "cooking " .. dish)
//!     end
//!     table.insert(said, "closed")
//! end)()
//! tasklet(function()
//!     orders:send("soup")                         -- the cook runs before this returns
//!     table.insert(said, "ordered")
//!     orders:send_exception(scheduler.StopIteration)
//! end)()
//! scheduler.run()
//! assert(table.concat(said, ", ") == "cooking soup, ordered, closed")
//! # "#)?;
//! # vm.run_main(&main, ()).map_err(|failure| failure.message)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A channel of Rust's has a type. Between two Rust tasklets the value itself moves: nothing is allocated
//! or converted.
//!
//! ```
//! # use bluetick_scripting::{Error, Vm, VmConfig};
//! # use std::{cell::RefCell, rc::Rc};
//! # let vm = Vm::new(VmConfig::default())?;
//! # let scheduler = vm.scheduler();
//! # let said: Rc<RefCell<Vec<String>>> = Rc::default();
//! let orders = scheduler.channel::<Box<str>>();
//! let (inbox, words) = (orders.clone(), said.clone());
//! scheduler.spawn(move || -> Result<(), Error> {
//!     for dish in inbox.iter() {                  // waits for each
//!         words.borrow_mut().push(format!("cooking {}", dish?));
//!     }
//!     words.borrow_mut().push("closed".into());
//!     Ok(())
//! })?;
//! let words = said.clone();
//! scheduler.spawn(move || -> Result<(), Error> {
//!     orders.send("soup".into())?;                // the cook runs before this returns
//!     words.borrow_mut().push("ordered".into());
//!     orders.send_exception(Error::stop())
//! })?;
//! scheduler.run()?;
//! assert_eq!(said.borrow().join(", "), "cooking soup, ordered, closed");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The cook runs first after a hand-over because a channel prefers its receiver. Its `preference` is −1;
//! with 1 the sender goes on, with 0 whoever came last. `balance` is how many wait: senders count up,
//! receivers down.
//!
//! # The end of a tasklet
//!
//! A tasklet ends when its function returns, when an error leaves it, or when it is killed. A kill raises
//! `TaskletExit` in what it waits for. No `pcall` stops that, only `scheduler.pcall` does; and what a
//! tasklet has deferred runs however it ends.
//!
//! ```
//! # use bluetick_scripting::{Vm, VmConfig};
//! # let vm = Vm::new(VmConfig::default())?;
//! # let main = vm.load("main.luau", r#"
//! local said, never = {}, channel()
//! local guard = tasklet(function()
//!     scheduler.defer(function() table.insert(said, "door closed") end)
//!     pcall(never.receive, never)
//!     table.insert(said, "not reached")
//! end)()
//! scheduler.run()
//! assert(guard.blocked and never.balance == -1)
//! guard:kill()
//! assert(not guard.alive and never.balance == 0)
//!
//! tasklet(function() error({ kind = "fire" }) end)()
//! local ok, err = pcall(scheduler.run)            -- an error goes to whoever runs the others
//! assert(not ok and err.kind == "fire" and said[1] == "door closed" and #said == 1)
//! # "#)?;
//! # vm.run_main(&main, ()).map_err(|failure| failure.message)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In Rust a kill unwinds the stack, so destructors run; it is no [`Error`] that a `match` could stop by
//! mistake. A panic ends its tasklet alone, as an error of kind [`Panic`](ErrorKind::Panic).
//!
//! ```
//! # use bluetick_scripting::{Error, ErrorKind, Vm, VmConfig};
//! # use std::{cell::RefCell, rc::Rc};
//! # let vm = Vm::new(VmConfig::default())?;
//! # let scheduler = vm.scheduler();
//! struct Door(Rc<RefCell<Vec<&'static str>>>);
//! impl Drop for Door {
//!     fn drop(&mut self) {
//!         self.0.borrow_mut().push("door closed");
//!     }
//! }
//!
//! let said: Rc<RefCell<Vec<&str>>> = Rc::default();
//! let never = scheduler.channel::<()>();
//! let (words, inbox) = (said.clone(), never.clone());
//! let guard = scheduler.spawn(move || {
//!     let _door = Door(words.clone());
//!     let _ = inbox.receive();
//!     words.borrow_mut().push("not reached");
//! })?;
//! scheduler.run()?;
//! assert!(guard.blocked() && never.balance() == -1);
//! guard.kill()?;
//! assert!(!guard.alive() && never.balance() == 0);
//!
//! scheduler.spawn(|| -> Result<(), Error> { Err(Error::raised(std::fmt::Error)) })?;
//! let error = scheduler.run().unwrap_err();       // an error goes to whoever runs the others
//! assert!(error.kind == ErrorKind::Raised && error.downcast_ref::<std::fmt::Error>().is_some());
//! assert_eq!(*said.borrow(), ["door closed"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A tasklet that nobody can reach any more, paused or waiting on a channel of its own, stays until its owner
//! ends (in a game, its entity) or the host ends it ([`Vm::end`]); what it has deferred runs then. The
//! collector never ends one: when it comes by is no part of a program, and the same program does the same
//! each time. [`SchedulerStats`] counts them.
//!
//! # Both together
//!
//! A [`Channel<T>`] whose `T` converts to and from Luau can be given to a script and used from both ends.
//! A function made with [`Vm::blocking_function`] may wait, and so may a script's function that Rust calls
//! with [`Scheduler::call`]: the caller waits with it, whoever that is, while others run.
//!
//! ```
//! use bluetick_scripting::{Error, OwnerId, Vm, VmConfig};
//!
//! let vm = Vm::new(VmConfig::default())?;
//! let scheduler = vm.scheduler();
//! let (questions, answers) = (scheduler.channel::<String>(), scheduler.channel::<u32>());
//! vm.lua().globals().set("questions", &questions)?;
//! let inbox = answers.clone();
//! let ask = vm.blocking_function(c"ask", move |_, question: String| {
//!     questions.send(question)?;
//!     inbox.receive()                             // the script waits until there is an answer
//! })?;
//! vm.lua().globals().set("ask", ask)?;
//! let script = vm.load("asker.luau", "_G.sum = ask('how many?') + ask('and then?')")?;
//! vm.spawn(&script, (), OwnerId::default())?;
//!
//! let oracle = vm.load("oracle.luau", "local q = questions:receive() return #q")?;
//! let inner = scheduler.clone();
//! scheduler.spawn(move || -> Result<(), Error> {
//!     loop {
//!         let length: u32 = inner.call(&oracle, ())?;     // the script waits for a question
//!         answers.send(length)?;
//!     }
//! })?;
//! scheduler.run()?;
//! assert_eq!(vm.lua().globals().get::<u32>("sum")?, 18);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A value that can't be converted is an error of its sender, and the receiver goes on waiting. An error
//! arrives as itself at the other side: a table that a script has raised is [`Error::value`] in Rust and the
//! same table in the next script; an error of Rust's is [`Error::downcast_ref`] wherever Rust catches it.
//!
//! What can't wait, because the VM or Rust can't leave it and come back: metamethods, `table.sort`'s
//! comparator, finalisers and destructors that run while a stack unwinds, callbacks of the scheduler, and
//! plain host functions. A waiting call there is an error of kind [`Boundary`](ErrorKind::Boundary) and
//! changes nothing.
//!
//! Locks, queues, limits of time, and tasklets that belong together are helpers on top of these: [`uthread`].
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
//! | `luau/lib/` | the library of scripts, [`uthread`], in Luau |
//! | `native/` | Rust bodies on stacks of their own, typed channels, calls between scripts and Rust; [`uthread`] for them |
//! | `reload/` | new text under live tasklets |
//!
//! A switch is a return to the loop: a tasklet that gives control away has decided in `scheduler/` who is
//! next, breaks out of its coroutine, and the loop resumes that one. The slot of a suspended Luau tasklet,
//! what its blocking call will return, is the top of its own Luau stack, so a value that is handed
//! over moves from stack to stack and is never converted or allocated for. A Rust tasklet leaves the address
//! where its call wants the value, or has it.
//!
//! [`costs`] says what all that takes, and how to stay where it takes least.
//!
//! [`semantics`] has the rules that the docs cite by numbers, as in "(`semantics.md` 2.6)": what happens exactly.
//!
//! A Rust stack is one MiB of address space, of which a waiting body holds a page or two in memory, with a
//! guard page below that faults on overflow. [`VmConfig::stack_limit`] says how many there may be.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

// The unit tests use parts of those in `tests/`, which see the crate from outside.
#[cfg(test)]
extern crate self as bluetick_scripting;

mod budget;
pub mod costs;
mod luau;
mod native;
mod nearest;
mod reload;
mod scheduler;

#[doc = include_str!("../SEMANTICS.md")]
pub mod semantics {}

pub use budget::Budget;
pub use luau::{
    Call, Ended, Failure, GcStep, Kept, Listening, Loader, LongestSlice, ModuleError, ModuleFault,
    ModuleText, Overrun, OverrunPolicy, Probe, Reply, SchedulerStats, Sighting, SliceLimit, SlowSlice,
    Timing, Vm, VmConfig, Wait, excerpt,
};
pub use native::{Channel, IntoOutcome, Iter, RunLimit, Scheduler, Tasklet, uthread};
pub use nearest::did_you_mean;
pub use reload::{Difference, ParkCode, Parked, Pin, PinCode, Reason, ReloadReport, ReloadedModule, Stale};
pub use scheduler::{ChannelId, Error, ErrorKind, Overflow, OwnerId, TaskletId};

/// The raw side of the VM, for the few files of `host` that own a part of its boundary.
#[doc(hidden)]
pub mod raw {
    pub use crate::luau::ffi::*;
    pub use crate::luau::host_call;
    pub use crate::luau::stack;
    pub use crate::luau::value::{push_error, push_str, raise, to_bytes};
}
