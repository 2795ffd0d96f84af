//! Tasklets that belong together.

use super::{Object, Slot, Uthread, taken};
use crate::native::Tasklet;
use crate::scheduler::Error;
use mlua::{Function, Table};

/// Tasklets that end together; see [`Uthread::group`].
#[derive(Clone)]
pub struct Group(Object);

impl Uthread {
    /// Calls each in a tasklet of its own; their results in their order.
    ///
    /// # Errors
    /// The first error of one of them, when the others were killed and have cleaned up; of kind `cancelled`
    /// if somebody has killed one.
    pub fn all<R, F>(&self, calls: impl IntoIterator<Item = F>) -> Result<Vec<R>, Error>
    where
        R: 'static,
        F: FnOnce() -> Result<R, Error> + 'static,
    {
        let (calls, results) = self.calls(calls)?;
        self.call::<()>("group", "all", calls)?;
        results.iter().map(taken).collect()
    }

    /// As [`all`](Self::all), at most so many at once.
    ///
    /// # Errors
    /// As `all`; of kind `type` for none at once.
    pub fn parallel<R, F>(&self, calls: impl IntoIterator<Item = F>, width: usize) -> Result<Vec<R>, Error>
    where
        R: 'static,
        F: FnOnce() -> Result<R, Error> + 'static,
    {
        let (calls, results) = self.calls(calls)?;
        self.call::<()>("group", "parallel", (calls, width))?;
        results.iter().map(taken).collect()
    }

    /// Calls each in a tasklet of its own: which one was the first to succeed, and its result. The others
    /// were killed and have cleaned up then.
    ///
    /// # Errors
    /// If all fail, the error of the first in order; of kind `type` for no calls.
    pub fn any<R, F>(&self, calls: impl IntoIterator<Item = F>) -> Result<(usize, R), Error>
    where
        R: 'static,
        F: FnOnce() -> Result<R, Error> + 'static,
    {
        self.pick("any", calls)
    }

    /// As [`any`](Self::any), for the first to end, be it by an error.
    ///
    /// # Errors
    /// That of the first to end; of kind `type` for no calls.
    pub fn race<R, F>(&self, calls: impl IntoIterator<Item = F>) -> Result<(usize, R), Error>
    where
        R: 'static,
        F: FnOnce() -> Result<R, Error> + 'static,
    {
        self.pick("race", calls)
    }

    /// Calls `f` with a group; returns when `f` and all tasklets of the group have ended.
    ///
    /// # Errors
    /// The first error of `f` or of a member, when all were killed and have cleaned up.
    pub fn group<R: 'static>(
        &self,
        f: impl FnOnce(&Group) -> Result<R, Error> + 'static,
    ) -> Result<R, Error> {
        let result = Slot::<R>::default();
        let (place, uthread) = (result.clone(), self.clone());
        let f = std::cell::Cell::new(Some(f));
        let vm = self.scheduler.vm()?;
        let scope = self.scheduler.machine.on_main_stack(|| {
            vm.blocking_function(c"group", move |_, table: Table| {
                let f = f.take().ok_or_else(|| Error::wrong_type("the function was called before"))?;
                let value = f(&Group(Object { uthread: uthread.clone(), table }))?;
                *place.borrow_mut() = Some(value);
                Ok(())
            })
        })?;
        self.call::<()>("group", "group", scope)?;
        taken(&result)
    }

    fn pick<R, F>(&self, name: &str, calls: impl IntoIterator<Item = F>) -> Result<(usize, R), Error>
    where
        R: 'static,
        F: FnOnce() -> Result<R, Error> + 'static,
    {
        let (calls, results) = self.calls(calls)?;
        let winner = self.call::<usize>("group", name, calls)? - 1;
        let result = results.get(winner).map_or_else(|| Err(Error::wrong_type(name)), taken)?;
        Ok((winner, result))
    }

    /// Functions for the library, and where their results will be.
    fn calls<R, F>(&self, calls: impl IntoIterator<Item = F>) -> Result<(Vec<Function>, Vec<Slot<R>>), Error>
    where
        R: 'static,
        F: FnOnce() -> Result<R, Error> + 'static,
    {
        calls
            .into_iter()
            .map(|call| self.function(call))
            .collect::<Result<Vec<_>, _>>()
            .map(|calls| calls.into_iter().unzip())
    }
}

impl Group {
    /// A tasklet that belongs to the group.
    ///
    /// # Errors
    /// Of kind `closed` when the group is over.
    #[allow(clippy::new_ret_no_self)] // it is the verb, as in scripts
    pub fn new(&self, f: impl FnOnce() -> Result<(), Error> + 'static) -> Result<Tasklet, Error> {
        let (f, _) = self.0.uthread.function(f)?;
        self.0.call("new", f)
    }

    /// Kills its members, each at its next turn.
    ///
    /// # Errors
    /// Of kind `dead` if the VM is gone.
    pub fn cancel(&self) -> Result<(), Error> {
        self.0.call("cancel", ())
    }

    /// How many members have not ended.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn size(&self) -> Result<usize, Error> {
        self.0.call("size", ())
    }
}
