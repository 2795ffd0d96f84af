//! The thread that notices when a slice takes too long, and has the VM call back only then.

use super::ffi::*;
use super::slice::Verdict;
use super::work_clock::WorkClock;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Looks in a slice's length. More find overruns sooner, and cost more.
const LOOKS: u32 = 4;

/// How often the thread looks at most: each look takes a few microseconds of some core.
const SHORTEST_PERIOD: Duration = Duration::from_micros(250);

/// How many looks find nobody running until the thread goes to sleep.
const IDLE_LOOKS: u32 = 200;

/// Where the VM has the callback that it calls at its next safepoint.
struct Interrupt(*mut AtomicPtr<()>);

// SAFETY: it is only used under the lock of `Shared`, and taken out of it before the VM goes.
unsafe impl Send for Interrupt {}

/// What the thread and the VM's own thread share.
struct Shared {
    /// The number of the slice under way, or of the last one.
    slice: AtomicU64,
    /// How often the thread has looked while a round was under way.
    looks: AtomicU64,
    /// A round is under way.
    running: AtomicBool,
    /// The last slice that was found to be used up.
    over: AtomicU64,
    /// The last slice that was found to be beyond the hard limit.
    overdue: AtomicU64,
    /// The thread sleeps until it is woken.
    asleep: AtomicBool,
    /// Somebody wants to know where the VM is.
    asked: AtomicBool,
    answer: Mutex<Option<Sighting>>,
    answered: Condvar,
    /// `None` once the VM is gone.
    interrupt: Mutex<Option<Interrupt>>,
}

/// Where a VM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The name of the tasklet that runs.
    pub name: String,
    /// The calls on its stack, one a line, innermost first.
    pub traceback: String,
}

/// Asks a VM from other threads where it is.
#[derive(Clone)]
pub struct Probe(Arc<Shared>);

impl Probe {
    /// What runs, if the VM comes to a safepoint within this time.
    pub fn sight(&self, within: Duration) -> Option<Sighting> {
        let mut answer = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner);
        *answer = None;
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.interrupt();
        let waited = self.0.answered.wait_timeout_while(answer, within, |answer| answer.is_none());
        self.0.asked.store(false, Ordering::SeqCst);
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// Times slices, on a thread that is started with the first of them.
pub(super) struct Timer {
    shared: Arc<Shared>,
    limits: Option<(Duration, Duration)>,
    thread: RefCell<Option<Thread>>,
}

impl Timer {
    /// A timer of slices of this length, and with this hard limit.
    pub fn new(length: Duration, hard: Duration) -> Self {
        Self { limits: Some((length, hard)), ..Self::idle() }
    }

    /// A timer that only counts slices.
    pub fn idle() -> Self {
        let shared = Shared {
            slice: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            running: AtomicBool::new(false),
            over: AtomicU64::new(u64::MAX),
            overdue: AtomicU64::new(u64::MAX),
            asleep: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            answer: Mutex::new(None),
            answered: Condvar::new(),
            interrupt: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), limits: None, thread: RefCell::default() }
    }

    /// Tells where the VM has its interrupt. Without it nothing is timed.
    ///
    /// # Safety
    /// `L` is a live state; [`detach`](Self::detach) is called before its VM goes.
    pub unsafe fn attach(&self, L: *mut lua_State) {
        // SAFETY: the caller's; the VM's callbacks don't move.
        let slot = unsafe { super::interrupt::slot(L) };
        *self.shared.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = Some(Interrupt(slot));
    }

    /// The VM goes; the thread ends.
    pub fn detach(&self) {
        *self.shared.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.borrow_mut().take() {
            thread.unpark();
        }
    }

    /// Slices are run from now on.
    pub fn start(&self) {
        let Some((length, hard)) = self.limits else { return };
        self.shared.running.store(true, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            if let Some(thread) = &*self.thread.borrow() {
                thread.unpark();
            }
            return;
        }
        if self.thread.borrow().is_none() {
            let (shared, clock) = (self.shared.clone(), WorkClock::of_this_thread());
            let watch = std::thread::Builder::new()
                .name("bluetick timer".into())
                .spawn(move || shared.watch(clock, length, hard));
            match watch {
                Ok(handle) => *self.thread.borrow_mut() = Some(handle.thread().clone()),
                Err(error) => tracing::warn!("slices can't be timed, there is no thread: {error}"),
            }
        }
    }

    /// No slices are run for now.
    pub fn stop(&self) {
        self.shared.running.store(false, Ordering::SeqCst);
    }

    /// For other threads to ask where the VM is.
    pub fn probe(&self) -> Probe {
        Probe(self.shared.clone())
    }

    /// Somebody has asked.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Somebody may have asked while the VM's callback was another one, and no safepoint was to come.
    pub fn remind(&self) {
        if self.shared.asked.load(Ordering::SeqCst) {
            self.shared.interrupt();
        }
    }

    /// Answers who has asked.
    pub fn answer(&self, sighting: Sighting) {
        if self.shared.asked.swap(false, Ordering::SeqCst) {
            *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(sighting);
            self.shared.answered.notify_all();
        }
    }

    /// How often the thread has looked so far.
    #[inline]
    pub fn looks(&self) -> u64 {
        self.shared.looks.load(Ordering::Relaxed)
    }

    /// The number of the slice under way.
    pub fn slice(&self) -> u64 {
        self.shared.slice.load(Ordering::Relaxed)
    }

    /// A slice begins.
    #[inline]
    pub fn begin_slice(&self) {
        // Only this thread writes it.
        let slice = self.shared.slice.load(Ordering::Relaxed);
        self.shared.slice.store(slice + 1, Ordering::Relaxed);
    }

    /// How long the slice under way has taken, as far as the thread has noticed.
    pub fn verdict(&self) -> Verdict {
        let slice = self.slice();
        if self.shared.overdue.load(Ordering::Relaxed) == slice {
            Verdict::Overdue
        } else if self.shared.over.load(Ordering::Relaxed) == slice {
            Verdict::Over
        } else {
            Verdict::InTime
        }
    }
}

impl Shared {
    /// Until the VM is gone, looks whether the same slice is under way as at the last looks.
    fn watch(&self, clock: WorkClock, length: Duration, hard: Duration) {
        let period = (length / LOOKS).max(SHORTEST_PERIOD);
        let (mut seen, mut since, mut idle) = (0, Duration::ZERO, 0);
        loop {
            if self.running.load(Ordering::SeqCst) {
                idle = 0;
                self.looks.fetch_add(1, Ordering::Relaxed);
                let slice = self.slice.load(Ordering::Relaxed);
                let now = clock.now();
                let took = now.saturating_sub(since);
                if slice != seen {
                    (seen, since) = (slice, now);
                } else if took >= length {
                    if took >= hard {
                        self.overdue.store(slice, Ordering::Relaxed);
                    }
                    self.over.store(slice, Ordering::Relaxed);
                    if !self.interrupt() {
                        return;
                    }
                }
            } else {
                // The last slice is over, however long it took.
                seen = 0;
                idle += 1;
            }
            if idle < IDLE_LOOKS {
                std::thread::sleep(period);
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            // Who starts a round after this sees that the thread is asleep; who did before is seen here.
            while !self.running.load(Ordering::SeqCst) {
                if !self.has_vm() {
                    return;
                }
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    fn has_vm(&self) -> bool {
        self.interrupt.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Has the VM call back, unless it calls back already; false if it is gone.
    fn interrupt(&self) -> bool {
        let interrupt = self.interrupt.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Interrupt(slot)) = *interrupt else { return false };
        // SAFETY: the VM is alive while the lock is held and the slot is there.
        let slot = unsafe { &*slot };
        let due = super::interrupt::DUE as *mut ();
        let _ = slot.compare_exchange(std::ptr::null_mut(), due, Ordering::SeqCst, Ordering::SeqCst);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vm, VmConfig};

    #[test]
    fn the_thread_sleeps_when_nothing_runs_and_wakes_with_the_next_round() {
        let vm = Vm::new(VmConfig::default()).expect("a VM");
        let timer = Timer::new(Duration::from_micros(1), Duration::from_micros(1));
        // SAFETY: the timer is detached below.
        vm.with_state(|L| unsafe { timer.attach(L) }).expect("attached");
        for _ in 0..2 {
            timer.start();
            timer.begin_slice();
            while timer.verdict() != Verdict::Overdue {
                std::thread::yield_now();
            }
            timer.stop();
            while !timer.shared.asleep.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        }
        timer.detach();
    }

    #[test]
    fn who_asks_while_the_collector_is_stepped_is_answered_at_the_next_safepoint() {
        let vm = Vm::new(VmConfig::default()).expect("a VM");
        let timer = &vm.machine().watch.timer;
        vm.with_state(|L| {
            // SAFETY: a live state; nothing unwinds but the test.
            unsafe {
                let slot = &*crate::luau::interrupt::slot(L);
                let is_due = || slot.load(Ordering::SeqCst) == crate::luau::interrupt::DUE as *mut ();
                crate::luau::interrupt::watch_collector(L, || {
                    timer.shared.asked.store(true, Ordering::SeqCst);
                    timer.shared.interrupt();
                    assert!(!is_due());
                });
                assert!(is_due());
            }
        })
        .expect("a protected call");
        vm.lua().load("for _ = 1, 2 do end").exec().expect("a safepoint");
        assert!(!timer.is_asked());
    }
}
