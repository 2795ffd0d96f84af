//! Waiting for time to pass: `synchro.sleep` and `synchro.yield`.

use crate::clock::SharedClock;
use bluetick_scripting::{Call, Error, Reply, Vm, Wait};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// The longest sleep, in seconds: a day (`semantics.md` 5.9).
pub(crate) const LONGEST: f64 = 24.0 * 3600.0;

/// Time is compared to this many seconds, so that sums of frame times don't miss it by a rounding error.
const TOLERANCE: f64 = 1e-7;

/// So many sleepers that were killed may stay listed, however few there are that still sleep.
const ENDED_WAITS: usize = 1024;

/// A tasklet that sleeps. Ordered by when it is due, and among equals by who came first.
struct Sleeper {
    due: f64,
    number: u64,
    wait: Wait,
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Sleeper {}

impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.total_cmp(&other.due).then(self.number.cmp(&other.number))
    }
}

/// Who waits for time to pass. A wait that ended otherwise stays listed until it is due, and then
/// wakes nobody: waits are never confused, because each has a number of its own.
#[derive(Default)]
pub(crate) struct Synchro {
    sleepers: BinaryHeap<Reverse<Sleeper>>,
    yielders: Vec<Wait>,
    slept: u64,
}

/// How many were woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Woken {
    pub sleepers: usize,
    pub yielders: usize,
}

impl Synchro {
    /// Wakes who waits when it is due, with nothing.
    pub fn sleep(&mut self, wait: Wait, due: f64) {
        self.slept += 1;
        self.sleepers.push(Reverse(Sleeper { due, number: self.slept, wait }));
    }

    /// Makes runnable who is due: sleepers first, by time, then those that have yielded, in the order in
    /// which they did (`semantics.md` 5.5).
    pub fn wake(&mut self, vm: &Vm, now: f64) -> Woken {
        let mut woken = Woken::default();
        while let Some(Reverse(sleeper)) = self.sleepers.peek()
            && sleeper.due <= now + TOLERANCE
        {
            let wait = sleeper.wait;
            self.sleepers.pop();
            woken.sleepers += usize::from(vm.wake(wait.tasklet, wait.parking));
        }
        for wait in self.yielders.drain(..) {
            woken.yielders += usize::from(vm.wake(wait.tasklet, wait.parking));
        }
        woken
    }

    /// How many sleep, and how many have yielded. Of those that are parked, `others` wait for something else; so
    /// the rest tells how many entries of waits that ended otherwise are still listed.
    pub fn counts(&mut self, vm: &Vm, others: usize) -> (usize, usize) {
        let parked = vm.parked().saturating_sub(others);
        let mut yielding = self.yielders.len();
        if parked != self.sleepers.len() + yielding {
            yielding = self.yielders.iter().filter(|&&wait| vm.is_waiting(wait)).count();
        }
        let sleeping = parked.saturating_sub(yielding);
        if self.sleepers.len() > 2 * sleeping + ENDED_WAITS {
            self.sleepers.retain(|Reverse(sleeper)| vm.is_waiting(sleeper.wait));
        }
        (sleeping, yielding)
    }
}

/// Makes the global `synchro` of scripts.
pub(crate) fn install(vm: &Vm, synchro: &Rc<RefCell<Synchro>>, clock: &SharedClock) -> Result<(), Error> {
    let sleep = {
        let (synchro, clock) = (synchro.clone(), clock.clone());
        vm.function(c"sleep", move |call| {
            let due = clock.get().sim + seconds(call)?;
            let wait = call.park("synchro.sleep")?;
            synchro.borrow_mut().sleep(wait, due);
            Ok(Reply::Parked(wait))
        })?
    };
    let yield_ = {
        let synchro = synchro.clone();
        vm.function(c"yield", move |call| {
            let wait = call.park("synchro.yield")?;
            synchro.borrow_mut().yielders.push(wait);
            Ok(Reply::Parked(wait))
        })?
    };
    vm.library("synchro", vec![("sleep", sleep), ("yield", yield_)])
}

/// How long the caller wants to sleep; an error says what is wrong with it.
fn seconds(call: &Call<'_>) -> Result<f64, Error> {
    let seconds = call.number(1, "synchro.sleep: seconds")?;
    if !(0.0..=LONGEST).contains(&seconds) {
        return Err(Error::wrong_type(format!(
            "synchro.sleep: seconds has to be a number from 0 to {LONGEST} (a day), got {seconds}"
        )));
    }
    Ok(seconds)
}
