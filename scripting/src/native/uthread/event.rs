//! Events and barriers.

use super::{Object, Uthread, same_in_scripts, seconds};
use crate::scheduler::Error;
use mlua::{FromLua, IntoLua};
use std::marker::PhantomData;
use std::time::Duration;

/// Happens once, and wakes all that wait for it; see [`Uthread::event`].
#[derive(Clone)]
pub struct Event(Object);

/// An event with a value for all that wait; see [`Uthread::value_event`].
pub struct ValueEvent<T> {
    object: Object,
    value: PhantomData<fn(T) -> T>,
}

/// Where so many tasklets meet; see [`Uthread::barrier`].
#[derive(Clone)]
pub struct Barrier(Object);

same_in_scripts!(Event, Barrier);

impl Uthread {
    /// An event that has not happened.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn event(&self) -> Result<Event, Error> {
        self.make("event", "Event", ()).map(Event)
    }

    /// An event without a value yet.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn value_event<T: IntoLua + FromLua>(&self) -> Result<ValueEvent<T>, Error> {
        let object = self.make("event", "ValueEvent", ())?;
        Ok(ValueEvent { object, value: PhantomData })
    }

    /// A barrier for so many; each waits for so long at most, if nothing else is said there.
    ///
    /// # Errors
    /// Of kind `type` for no parties.
    pub fn barrier(&self, parties: usize, limit: Option<Duration>) -> Result<Barrier, Error> {
        self.make("barrier", "Barrier", (parties, mlua::Value::Nil, seconds(limit))).map(Barrier)
    }

    /// As [`barrier`](Self::barrier); the last one to come calls the action before all pass.
    ///
    /// # Errors
    /// As `barrier`.
    pub fn barrier_with(
        &self,
        parties: usize,
        limit: Option<Duration>,
        action: impl FnMut() -> Result<(), Error> + 'static,
    ) -> Result<Barrier, Error> {
        let action = self.repeated(c"action", action)?;
        self.make("barrier", "Barrier", (parties, action, seconds(limit))).map(Barrier)
    }
}

impl Event {
    /// It has happened: wakes all that wait.
    ///
    /// # Errors
    /// Of kind `dead` if the VM is gone.
    pub fn set(&self) -> Result<(), Error> {
        self.0.call("set", ())
    }

    /// It has not happened.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn clear(&self) -> Result<(), Error> {
        self.0.call("clear", ())
    }

    /// Whether it has happened.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn is_set(&self) -> Result<bool, Error> {
        self.0.call("is_set", ())
    }

    /// Waits until it has happened; false if the time was over first.
    ///
    /// # Errors
    /// Where waiting is not possible; what is thrown at the tasklet; of kind `clock`.
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool, Error> {
        self.0.call("wait", seconds(limit))
    }
}

impl<T: IntoLua + FromLua> ValueEvent<T> {
    /// Gives it its value.
    ///
    /// # Errors
    /// Of kind `set` if it has one, or an error.
    pub fn set(&self, value: T) -> Result<(), Error> {
        let value = self.object.uthread.value(value)?;
        self.object.call("set", value)
    }

    /// Has all that wait raise an error.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_error(&self, error: Error) -> Result<(), Error> {
        let machine = self.object.uthread.scheduler.machine.clone();
        let vm = self.object.uthread.scheduler.vm()?;
        let value = machine.on_main_stack(|| {
            // SAFETY: protected by mlua.
            unsafe { vm.lua().exec_raw::<mlua::Value>((), |L| machine.push_thrown(L, &error)) }
        })?;
        self.object.call("set_error", value)
    }

    /// Whether it has a value, or an error.
    ///
    /// # Errors
    /// Of kind `dead` if the VM is gone.
    pub fn is_set(&self) -> Result<bool, Error> {
        self.object.call("is_set", ())
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// The error that it was given; of kind `timeout` if the time was over first; as [`Event::wait`].
    pub fn wait(&self, limit: Option<Duration>) -> Result<T, Error> {
        self.object.call("wait", seconds(limit))
    }
}

impl<T> Clone for ValueEvent<T> {
    fn clone(&self) -> Self {
        Self { object: self.object.clone(), value: PhantomData }
    }
}

impl<T> IntoLua for &ValueEvent<T> {
    fn into_lua(self, _: &mlua::Lua) -> mlua::Result<mlua::Value> {
        Ok(mlua::Value::Table(self.object.table.clone()))
    }
}

impl Barrier {
    /// Waits until all have come: in which order the caller came, counted from 0.
    ///
    /// # Errors
    /// Of kind `broken`; of kind `timeout` if the time was over first, which breaks it.
    pub fn wait(&self, limit: Option<Duration>) -> Result<usize, Error> {
        self.0.call::<usize>("wait", seconds(limit)).map(|place| place - 1)
    }

    /// Breaks it.
    ///
    /// # Errors
    /// Of kind `dead` if the VM is gone.
    pub fn abort(&self) -> Result<(), Error> {
        self.0.call("abort", ())
    }

    /// Makes it as new; those that wait get an error of kind `broken`.
    ///
    /// # Errors
    /// As [`abort`](Self::abort).
    pub fn reset(&self) -> Result<(), Error> {
        self.0.call("reset", ())
    }

    /// How many have come and wait.
    ///
    /// # Errors
    /// As [`abort`](Self::abort).
    pub fn waiting(&self) -> Result<usize, Error> {
        self.0.call("waiting", ())
    }

    /// It is broken.
    ///
    /// # Errors
    /// As [`abort`](Self::abort).
    pub fn broken(&self) -> Result<bool, Error> {
        self.0.call("broken", ())
    }
}
