//! Work on other threads, for which tasklets wait (`semantics.md` 5.25, 6.22).
//!
//! A job that is done makes nobody runnable by itself: it is noted, and the next frame wakes who waits for it,
//! before everybody else. So scripts run on the host's thread alone, and never between two frames.

use bluetick_scripting::{Error, ErrorKind, Scheduler, Vm, Wait};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Threads that work at the same time, at most.
const MOST_THREADS: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// What the threads and the host share.
#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    called: Condvar,
}

#[derive(Default)]
struct Desk {
    /// Jobs that nobody has begun.
    jobs: VecDeque<Job>,
    /// Who waits for jobs that are done, in the order in which they were.
    done: Vec<Wait>,
    /// Threads that wait for a job.
    idle: usize,
    /// The host is gone.
    over: bool,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does jobs until the host is gone.
    fn work(&self) {
        let mut desk = self.desk();
        loop {
            if let Some(job) = desk.jobs.pop_front() {
                drop(desk);
                job();
                desk = self.desk();
            } else if desk.over {
                return;
            } else {
                desk.idle += 1;
                desk = self.called.wait(desk).unwrap_or_else(PoisonError::into_inner);
                desk.idle -= 1;
            }
        }
    }
}

/// Threads, started as they are needed, and who waits for them. A clone is the same one.
#[derive(Clone, Default)]
pub(crate) struct Workers(Rc<Inner>);

#[derive(Default)]
struct Inner {
    shared: Arc<Shared>,
    threads: Cell<usize>,
    /// Who waits for a job.
    waiting: RefCell<Vec<Wait>>,
}

impl Workers {
    /// Has a thread call `f`; the calling tasklet waits for what it returns, and goes on in the first frame that
    /// begins after that.
    ///
    /// # Errors
    /// Of kind `type` for a panic of `f`; of kind `boundary` where the caller can't wait; and what is thrown at the
    /// tasklet meanwhile: then `f` is not begun, or its result is dropped.
    pub fn offload<R: Send + 'static>(
        &self,
        scheduler: &Scheduler,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        /// The caller waits no longer: a job that has not begun is left out.
        struct Abandon(Arc<AtomicBool>);
        impl Drop for Abandon {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let result = Arc::new(Mutex::new(None));
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = Abandon(abandoned.clone());
        let (place, shared) = (result.clone(), self.0.shared.clone());
        scheduler.park("offload", |wait| {
            self.0.waiting.borrow_mut().push(wait);
            let job = Box::new(move || {
                if abandoned.load(Ordering::SeqCst) {
                    return;
                }
                let returned = catch_unwind(AssertUnwindSafe(f));
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(returned);
                shared.desk().done.push(wait);
            });
            scheduler.on_host_stack(|| self.submit(job));
        })?;
        let returned = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match returned {
            Some(Ok(value)) => Ok(value),
            Some(Err(panic)) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                Err(Error::new(ErrorKind::Type, format!("the work on another thread has panicked: {text}")))
            }
            // Somebody else has woken the tasklet.
            None => Err(Error::new(ErrorKind::Cancelled, "the work on another thread is not done")),
        }
    }

    fn submit(&self, job: Job) {
        let mut desk = self.0.shared.desk();
        desk.jobs.push_back(job);
        if desk.idle >= desk.jobs.len() {
            self.0.shared.called.notify_one();
            return;
        }
        drop(desk);
        if self.0.threads.get() == MOST_THREADS {
            return;
        }
        let shared = self.0.shared.clone();
        match thread::Builder::new().name("bluetick worker".into()).spawn(move || shared.work()) {
            Ok(_) => self.0.threads.set(self.0.threads.get() + 1),
            Err(error) if self.0.threads.get() == 0 => {
                // Late is better than never.
                tracing::warn!(
                    "there is no thread for work that tasklets wait for, it is done in the frame: {error}"
                );
                let job = self.0.shared.desk().jobs.pop_front();
                if let Some(job) = job {
                    job();
                }
            }
            Err(error) => tracing::warn!("no further thread for work that tasklets wait for: {error}"),
        }
    }

    /// Makes runnable who waits for jobs that are done, in the order in which they were done; how many.
    pub fn wake(&self, vm: &Vm) -> usize {
        if self.0.waiting.borrow().is_empty() {
            return 0;
        }
        let done = std::mem::take(&mut self.0.shared.desk().done);
        let woken = done.iter().filter(|wait| vm.wake(wait.tasklet, wait.parking)).count();
        self.0.waiting.borrow_mut().retain(|&wait| vm.is_waiting(wait));
        woken
    }

    /// How many tasklets wait for work on other threads.
    pub fn waiting(&self, vm: &Vm) -> usize {
        let mut waiting = self.0.waiting.borrow_mut();
        waiting.retain(|&wait| vm.is_waiting(wait));
        waiting.len()
    }

    /// Jobs that are done, and whose waiters no frame has woken yet.
    pub fn done(&self) -> usize {
        self.0.shared.desk().done.len()
    }
}

impl Drop for Inner {
    /// Threads end when they have done what they are at.
    fn drop(&mut self) {
        let mut desk = self.shared.desk();
        desk.over = true;
        desk.jobs.clear();
        self.shared.called.notify_all();
    }
}
