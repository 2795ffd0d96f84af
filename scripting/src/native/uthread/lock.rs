//! Semaphores, locks and conditions.

use super::{Object, Uthread, same_in_scripts, seconds};
use crate::scheduler::Error;
use std::time::Duration;

/// A number of permits, of which each can be had by one at a time; see [`Uthread::semaphore`].
#[derive(Clone)]
pub struct Semaphore(pub(super) Object);

/// Held by one tasklet at a time, and released by anybody; see [`Uthread::lock`].
#[derive(Clone)]
pub struct Lock(pub(super) Object);

/// As a [`Lock`], which its holder can acquire again, and nobody else can release; see [`Uthread::rlock`].
#[derive(Clone)]
pub struct RLock(pub(super) Object);

/// Waiting, without the lock, for whoever has it to say that something has changed; see
/// [`Uthread::condition`].
#[derive(Clone)]
pub struct Condition(pub(super) Object);

same_in_scripts!(Semaphore, Lock, RLock, Condition);

impl Uthread {
    /// A semaphore with so many permits, and never more than `limit`, if there is one.
    ///
    /// # Errors
    /// Of kind `type` if the limit is less than the permits.
    pub fn semaphore(&self, permits: usize, limit: Option<usize>) -> Result<Semaphore, Error> {
        self.make("semaphore", "Semaphore", (permits, limit)).map(Semaphore)
    }

    /// A lock.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn lock(&self) -> Result<Lock, Error> {
        self.make("lock", "Lock", ()).map(Lock)
    }

    /// A lock that its holder can acquire again.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn rlock(&self) -> Result<RLock, Error> {
        self.make("lock", "RLock", ()).map(RLock)
    }

    /// A condition with a lock of its own, an [`RLock`].
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn condition(&self) -> Result<Condition, Error> {
        self.make("condition", "Condition", ()).map(Condition)
    }

    /// A condition of this lock.
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn condition_of(&self, lock: &Lock) -> Result<Condition, Error> {
        self.make("condition", "Condition", lock).map(Condition)
    }
}

/// What they all have.
macro_rules! acquirable {
    ($($name:ident),*) => {$(
        impl $name {
            /// Waits until the caller has it.
            ///
            /// # Errors
            /// Where waiting is not possible; and what is thrown at the tasklet meanwhile.
            pub fn acquire(&self) -> Result<(), Error> {
                self.0.call("acquire", ())
            }

            /// As [`acquire`](Self::acquire), for so long at most; whether the caller has it. With a
            /// duration of zero it does not wait.
            ///
            /// # Errors
            /// As `acquire`, and of kind `clock`.
            pub fn acquire_within(&self, limit: Duration) -> Result<bool, Error> {
                self.0.call("acquire", seconds(Some(limit)))
            }

            /// Gives it to the one that has waited longest; the caller goes on.
            ///
            /// # Errors
            /// Of kind `owner` if the caller does not have it, or nobody has.
            pub fn release(&self) -> Result<(), Error> {
                self.0.call("release", ())
            }

            /// Calls `f`, and has it meanwhile; it is released however `f` ends.
            ///
            /// # Errors
            /// Those of `f`, and as [`acquire`](Self::acquire).
            pub fn with<R: 'static>(
                &self,
                f: impl FnOnce() -> Result<R, Error> + 'static,
            ) -> Result<R, Error> {
                self.0.call_with("with", f)
            }

            /// How many tasklets wait for it.
            ///
            /// # Errors
            /// Of kind `dead` if the VM is gone.
            pub fn waiting(&self) -> Result<usize, Error> {
                self.0.call("waiting", ())
            }
        }
    )*};
}

acquirable!(Semaphore, Lock, RLock, Condition);

impl Semaphore {
    /// Gives so many permits back.
    ///
    /// # Errors
    /// Of kind `owner` if there would be more than the limit.
    pub fn release_many(&self, permits: usize) -> Result<(), Error> {
        self.0.call("release", permits)
    }

    /// Permits that nobody has.
    ///
    /// # Errors
    /// Of kind `dead` if the VM is gone.
    pub fn available(&self) -> Result<usize, Error> {
        self.0.call("available", ())
    }
}

macro_rules! lockable {
    ($($name:ident),*) => {$(
        impl $name {
            /// Somebody holds it.
            ///
            /// # Errors
            /// Of kind `dead` if the VM is gone.
            pub fn locked(&self) -> Result<bool, Error> {
                self.0.call("locked", ())
            }

            /// The caller holds it.
            ///
            /// # Errors
            /// As [`locked`](Self::locked).
            pub fn held(&self) -> Result<bool, Error> {
                self.0.call("held", ())
            }
        }
    )*};
}

lockable!(Lock, RLock);

impl Condition {
    /// Releases the lock, waits to be notified, and has the lock again when it returns, however it does so;
    /// false if the time was over first.
    ///
    /// # Errors
    /// Of kind `owner` if the caller doesn't hold the lock; as [`acquire`](Self::acquire).
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool, Error> {
        self.0.call("wait", seconds(limit))
    }

    /// Waits until the predicate is true; false if the time was over first.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and those of the predicate.
    pub fn wait_for(
        &self,
        predicate: impl FnMut() -> Result<bool, Error> + 'static,
        limit: Option<Duration>,
    ) -> Result<bool, Error> {
        let predicate = self.0.uthread.repeated(c"predicate", predicate)?;
        self.0.call("wait_for", (predicate, seconds(limit)))
    }

    /// Wakes so many of those that have waited longest.
    ///
    /// # Errors
    /// Of kind `owner` if the caller doesn't hold the lock.
    pub fn notify(&self, count: usize) -> Result<(), Error> {
        self.0.call("notify", count)
    }

    /// Wakes all that wait.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_all(&self) -> Result<(), Error> {
        self.0.call("notify_all", ())
    }
}
