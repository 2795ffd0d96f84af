#![doc = include_str!("../../luau/lib/README.md")]
//!
//! # In Rust
//!
//! [`Uthread`] has the same helpers for Rust, under the same names. They are the same objects: a lock that is given
//! to a script is one lock, and what was said above holds whoever holds it. Limits of time are
//! [`Duration`](std::time::Duration)s; `None` is no limit. Indexes count from 0.
//!
//! They wait where Rust can: in tasklets whose body is Rust, and in functions made with
//! [`Vm::blocking_function`]. Functions that are given to them run on stacks of their own, so they own what they use.
//!
//! ```
//! use bluetick_scripting::{Vm, VmConfig};
//!
//! let vm = Vm::new(VmConfig::default())?;
//! let uthread = vm.uthread()?;
//! let (kitchen, spoons) = (uthread.clone(), uthread.semaphore(1, None)?);
//! let cooks = uthread.new(move || {
//!     let calls = ["soup", "salad"].map(|dish| {
//!         let spoons = spoons.clone();
//!         move || spoons.with(move || Ok(format!("{dish} is ready")))
//!     });
//!     kitchen.all(calls)
//! })?;
//! vm.scheduler().run()?;
//! assert_eq!(cooks.take()?, Some(vec!["soup is ready".to_string(), "salad is ready".to_string()]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod event;
mod group;
mod lock;

pub use event::{Barrier, Event, ValueEvent};
pub use group::Group;
pub use lock::{Condition, Lock, RLock, Semaphore};

use super::channel::Channel;
use super::scheduler::Scheduler;
use super::tasklet::Tasklet;
use crate::luau::{Machine, Vm};
use crate::scheduler::Error;
use mlua::{FromLua, FromLuaMulti, Function, IntoLua, IntoLuaMulti, Table, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The helpers of [`uthread`](self) for Rust; made by [`Vm::uthread`].
#[derive(Clone)]
pub struct Uthread {
    scheduler: Scheduler,
    /// The files of the library, by name.
    library: Table,
}

/// A tasklet that returns an `R`.
pub struct Task<R> {
    tasklet: Tasklet,
    /// Scripts' handle of it, which knows how it has ended.
    handle: Value,
    uthread: Uthread,
    result: Slot<R>,
}

/// Where the result of a function is kept.
type Slot<R> = Rc<RefCell<Option<R>>>;

/// What [`Uthread::select`] waits for.
#[derive(Clone, Debug)]
pub struct Source(Value);

impl Vm {
    /// The helpers on top of tasklets and channels, for Rust.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn uthread(&self) -> Result<Uthread, Error> {
        let scheduler = self.scheduler();
        let machine = scheduler.machine.clone();
        let library = machine.on_main_stack(|| {
            let anchor = machine.library.get().ok_or_else(Machine::gone)?;
            // SAFETY: protected by mlua.
            Ok::<_, Error>(unsafe {
                self.lua().exec_raw::<Table>((), |L| machine.anchors().push(anchor, L))
            }?)
        })?;
        Ok(Uthread { scheduler, library })
    }
}

impl Uthread {
    /// The scheduler that these are helpers of.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// A runnable tasklet that will call `f`. Its error is reported, unless somebody joins it.
    ///
    /// # Errors
    /// Of kind `memory`.
    #[allow(clippy::new_ret_no_self)] // it is the verb, as in scripts
    pub fn new<R: 'static>(&self, f: impl FnOnce() -> Result<R, Error> + 'static) -> Result<Task<R>, Error> {
        let result = Slot::<R>::default();
        let place = result.clone();
        let tasklet = self.scheduler.spawn(move || -> Result<(), Error> {
            let value = f()?;
            *place.borrow_mut() = Some(value);
            Ok(())
        })?;
        let machine = &self.scheduler.machine;
        if let Some(record) = machine.scheduler().tasklets.get_mut(tasklet.id()) {
            record.flags.observed = true;
            record.flags.detached = true;
        }
        let handle = self.value(tasklet.clone())?;
        Ok(Task { tasklet, handle, uthread: self.clone(), result })
    }

    /// As [`new`](Self::new), for work that has nothing to do with whoever starts it: the tasklet gets no copy of
    /// what its creator [stores](Tasklet::storage).
    ///
    /// # Errors
    /// As `new`.
    pub fn worker<R: 'static>(
        &self,
        f: impl FnOnce() -> Result<R, Error> + 'static,
    ) -> Result<Task<R>, Error> {
        let task = self.new(f)?;
        if self.scheduler.machine.stores() {
            let table = task.tasklet.storage()?;
            self.scheduler.machine.on_main_stack(|| table.clear())?;
        }
        Ok(task)
    }

    /// Has a helper do a job. Its error is reported.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn pool(&self, job: impl FnOnce() -> Result<(), Error> + 'static) -> Result<(), Error> {
        let (job, _) = self.function(job)?;
        self.call("pool", "pool", job)
    }

    /// Waits for the end of a tasklet, whatever its body is. Of one that has ended already nothing is known.
    ///
    /// # Errors
    /// What has ended it; of kind `cancelled` if it was killed, `current` for the calling tasklet.
    pub fn join(&self, tasklet: &Tasklet) -> Result<(), Error> {
        self.call("task", "join", tasklet.clone())
    }

    /// Calls `f`, for so long at most.
    ///
    /// # Errors
    /// Those of `f`; of kind `timeout` if the time is over, `clock` where there is no clock.
    pub fn timeout<R: 'static>(
        &self,
        limit: Option<Duration>,
        f: impl FnOnce() -> Result<R, Error> + 'static,
    ) -> Result<R, Error> {
        let (f, result) = self.function(f)?;
        self.call::<()>("timeout", "timeout", (seconds(limit), f))?;
        taken(&result)
    }

    /// Waits until the predicate, which is called now and then once a frame, returns true; false when the
    /// time is over.
    ///
    /// # Errors
    /// Those of the predicate; of kind `clock`.
    pub fn wait_until(
        &self,
        predicate: impl FnMut() -> Result<bool, Error> + 'static,
        limit: Option<Duration>,
    ) -> Result<bool, Error> {
        let predicate = self.repeated(c"predicate", predicate)?;
        self.call("timeout", "wait_until", (predicate, seconds(limit)))
    }

    /// Receives from a channel; `None` if nothing has come in time.
    ///
    /// # Errors
    /// As [`Channel::receive`]; of kind `clock`.
    pub fn receive<T: 'static>(
        &self,
        channel: &Channel<T>,
        limit: Option<Duration>,
    ) -> Result<Option<T>, Error> {
        let Some(limit) = limit.filter(|_| channel.balance() <= 0 && !channel.closing()) else {
            return channel.receive().map(Some);
        };
        if limit.is_zero() {
            return Ok(None);
        }
        let from = channel.clone();
        let (wait, value) = self.function(move || from.receive())?;
        let arguments = (limit.as_secs_f64(), "receive", wait);
        let received: bool = self.call("timer", "within", arguments)?;
        if received { taken(&value).map(Some) } else { Ok(None) }
    }

    /// Waits for whichever happens first: the index of its source, and what was received from it or returned
    /// by it.
    ///
    /// # Errors
    /// What a channel or a tasklet raises; of kind `closed`, `clock`, `type` for no sources.
    pub fn select(&self, sources: &[Source]) -> Result<(usize, Value), Error> {
        let sources: Vec<Value> = sources.iter().map(|source| source.0.clone()).collect();
        let (index, value): (usize, Value) = self.call("select", "select", sources)?;
        Ok((index - 1, value))
    }

    /// A channel that keeps so many values; `None` is no limit, and 0 a plain channel.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn queue_channel<T: IntoLua + FromLua + 'static>(
        &self,
        capacity: Option<usize>,
    ) -> Result<Channel<T>, Error> {
        self.call("queue", "QueueChannel", capacity)
    }

    /// Calls a function of the library.
    fn call<R: FromLuaMulti>(
        &self,
        file: &str,
        name: &str,
        arguments: impl IntoLuaMulti,
    ) -> Result<R, Error> {
        let f = self
            .scheduler
            .machine
            .on_main_stack(|| self.library.get::<Table>(file)?.get::<Function>(name))?;
        self.scheduler.call(&f, arguments)
    }

    /// Makes something of the library.
    fn make(&self, file: &str, name: &str, arguments: impl IntoLuaMulti) -> Result<Object, Error> {
        let table = self.call(file, name, arguments)?;
        Ok(Object { uthread: self.clone(), table })
    }

    /// A function for scripts that calls `f`, once, and keeps the result.
    fn function<R: 'static>(
        &self,
        f: impl FnOnce() -> Result<R, Error> + 'static,
    ) -> Result<(Function, Slot<R>), Error> {
        let result = Slot::<R>::default();
        let (place, mut f) = (result.clone(), Some(f));
        let function = self.repeated(c"function", move || {
            let f = f.take().ok_or_else(|| Error::wrong_type("the function was called before"))?;
            let value = f()?;
            *place.borrow_mut() = Some(value);
            Ok(())
        })?;
        Ok((function, result))
    }

    /// A function for scripts that calls `f`; not while a call of it goes on.
    fn repeated<R: IntoLuaMulti>(
        &self,
        name: &'static std::ffi::CStr,
        f: impl FnMut() -> Result<R, Error> + 'static,
    ) -> Result<Function, Error> {
        let f = RefCell::new(f);
        let vm = self.scheduler.vm()?;
        self.scheduler.machine.on_main_stack(|| {
            vm.blocking_function(name, move |_, ()| {
                let mut f =
                    f.try_borrow_mut().map_err(|_| Error::wrong_type("the function is being called"))?;
                f()
            })
        })
    }
}

impl<R: 'static> Task<R> {
    /// The tasklet itself.
    pub fn tasklet(&self) -> &Tasklet {
        &self.tasklet
    }

    /// Waits for the end of the tasklet, and returns what its function has returned.
    ///
    /// # Errors
    /// What the tasklet has died of; of kind `cancelled` if it was killed.
    pub fn join(self) -> Result<R, Error> {
        self.uthread.call::<()>("task", "join", self.handle)?;
        taken(&self.result)
    }

    /// What the function has returned, if the tasklet has ended; without waiting.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn take(&self) -> Result<Option<R>, Error> {
        if self.tasklet.alive() {
            return Ok(None);
        }
        self.uthread.call::<()>("task", "join", &self.handle)?;
        Ok(self.result.borrow_mut().take())
    }
}

impl Source {
    /// A channel, from which a value is received.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn channel<T: IntoLua + FromLua + 'static>(
        uthread: &Uthread,
        channel: &Channel<T>,
    ) -> Result<Self, Error> {
        uthread.value(channel).map(Self)
    }

    /// A tasklet, which is joined.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn tasklet(uthread: &Uthread, tasklet: &Tasklet) -> Result<Self, Error> {
        uthread.value(tasklet.clone()).map(Self)
    }

    /// So much time that passes.
    pub fn after(time: Duration) -> Self {
        Self(Value::Number(time.as_secs_f64()))
    }
}

impl Uthread {
    fn value(&self, value: impl IntoLua) -> Result<Value, Error> {
        let vm = self.scheduler.vm()?;
        Ok(self.scheduler.machine.on_main_stack(|| value.into_lua(vm.lua()))?)
    }
}

/// Something of the library that has methods.
#[derive(Clone)]
struct Object {
    uthread: Uthread,
    table: Table,
}

impl Object {
    /// Calls a method.
    fn call<R: FromLuaMulti>(&self, method: &str, arguments: impl IntoLuaMulti) -> Result<R, Error> {
        let scheduler = &self.uthread.scheduler;
        let vm = scheduler.vm()?;
        let (f, arguments) = scheduler.machine.on_main_stack(|| {
            let mut arguments = arguments.into_lua_multi(vm.lua())?;
            arguments.push_front(Value::Table(self.table.clone()));
            Ok::<_, mlua::Error>((self.table.get::<Function>(method)?, arguments))
        })?;
        scheduler.call(&f, arguments)
    }

    /// Calls a method that calls `f`.
    fn call_with<R: 'static>(
        &self,
        method: &str,
        f: impl FnOnce() -> Result<R, Error> + 'static,
    ) -> Result<R, Error> {
        let (f, result) = self.uthread.function(f)?;
        self.call::<()>(method, f)?;
        taken(&result)
    }
}

/// The objects of the library are the same ones in scripts.
macro_rules! same_in_scripts {
    ($($name:ident),*) => {$(
        impl mlua::IntoLua for &$name {
            fn into_lua(self, _: &mlua::Lua) -> mlua::Result<mlua::Value> {
                Ok(mlua::Value::Table(self.0.table.clone()))
            }
        }

        impl mlua::IntoLua for $name {
            fn into_lua(self, lua: &mlua::Lua) -> mlua::Result<mlua::Value> {
                (&self).into_lua(lua)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
use same_in_scripts;

/// A limit of time as the library has it.
fn seconds(limit: Option<Duration>) -> Option<f64> {
    limit.map(|limit| limit.as_secs_f64())
}

/// What a function has left that has returned.
fn taken<R>(result: &Slot<R>) -> Result<R, Error> {
    result.borrow_mut().take().ok_or_else(|| Error::wrong_type("the function has left no result"))
}
