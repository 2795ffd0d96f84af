//! Who sleeps until when, by which clock.

use bluetick_scripting::{TaskletId, Vm, Wait};
use slotmap::SecondaryMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Time is compared to this many seconds, so that sums of frame times don't miss it by a rounding error.
const TOLERANCE: f64 = 1e-7;

/// So many entries of sleeps that are over may stay listed, however few there are that still sleep.
const STALE: usize = 1024;

/// An entry of a sleeper. Ordered by when it is due, and among equals by who came first.
struct Entry {
    due: f64,
    number: u64,
    wait: Wait,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.total_cmp(&other.due).then(self.number.cmp(&other.number))
    }
}

/// The entry that counts for a tasklet.
#[derive(Clone, Copy)]
struct Asleep {
    number: u64,
    due: f64,
    clock: u16,
    wait: Wait,
}

/// Sleepers, by the clock that wakes them. A tasklet that was woken otherwise, or was given another time,
/// leaves an entry that wakes nobody: entries are never confused, because each has a number of its own
/// (`semantics.md` 8.1).
#[derive(Default)]
pub(crate) struct Sleepers {
    clocks: Vec<BinaryHeap<Reverse<Entry>>>,
    asleep: SecondaryMap<TaskletId, Asleep>,
    slept: u64,
}

impl Sleepers {
    /// The tasklet sleeps until the clock shows `due`, instead of any time before.
    #[inline]
    pub fn sleep(&mut self, wait: Wait, clock: u16, due: f64) {
        self.slept += 1;
        let number = self.slept;
        let index = usize::from(clock);
        if index >= self.clocks.len() {
            self.clocks.resize_with(index + 1, BinaryHeap::new);
        }
        self.clocks[index].push(Reverse(Entry { due, number, wait }));
        self.asleep.insert(wait.tasklet, Asleep { number, due, clock, wait });
    }

    /// Makes runnable who is due by this clock, in the order of their times; how many.
    pub fn wake(&mut self, vm: &Vm, clock: u16, now: f64) -> usize {
        let Some(sleepers) = self.clocks.get_mut(usize::from(clock)) else { return 0 };
        let mut woken = 0;
        while let Some(Reverse(entry)) = sleepers.peek()
            && entry.due <= now + TOLERANCE
        {
            let (wait, number) = (entry.wait, entry.number);
            sleepers.pop();
            if self.asleep.get(wait.tasklet).is_some_and(|asleep| asleep.number == number) {
                self.asleep.remove(wait.tasklet);
                woken += usize::from(vm.wake(wait.tasklet, wait.parking));
            }
        }
        woken
    }

    /// When the first one is due by this clock, if somebody sleeps by it.
    pub fn next_due(&mut self, vm: &Vm, clock: u16) -> Option<f64> {
        let mut sleepers = std::mem::take(self.clocks.get_mut(usize::from(clock))?);
        while let Some(Reverse(entry)) = sleepers.peek()
            && !self.counts(vm, entry)
        {
            sleepers.pop();
        }
        let due = sleepers.peek().map(|Reverse(entry)| entry.due);
        self.clocks[usize::from(clock)] = sleepers;
        due
    }

    /// The clock by which a tasklet sleeps; `None` if it doesn't.
    pub fn clock_of(&self, vm: &Vm, tasklet: TaskletId) -> Option<(Wait, u16)> {
        let asleep = self.asleep.get(tasklet)?;
        vm.is_waiting(asleep.wait).then_some((asleep.wait, asleep.clock))
    }

    /// The clock shows another time by a jump: who sleeps by it sleeps as long as before (5.13).
    pub fn shift(&mut self, clock: u16, by: f64) {
        if let Some(sleepers) = self.clocks.get_mut(usize::from(clock)) {
            let shifted = std::mem::take(sleepers).into_vec().into_iter().map(|Reverse(mut entry)| {
                entry.due += by;
                Reverse(entry)
            });
            *sleepers = shifted.collect();
        }
        for (_, asleep) in self.asleep.iter_mut().filter(|(_, asleep)| asleep.clock == clock) {
            asleep.due += by;
        }
    }

    /// A tasklet that sleeps by one clock sleeps by another one for what is left; nothing if it sleeps by
    /// neither.
    pub fn change_clock(&mut self, tasklet: TaskletId, from: (u16, f64), to: (u16, f64)) {
        match self.asleep.get(tasklet) {
            Some(&Asleep { clock, due, wait, .. }) if clock == from.0 => {
                self.sleep(wait, to.0, to.1 + (due - from.1).max(0.0));
            }
            _ => {}
        }
    }

    /// Who sleeps, in the order in which they would wake: by the first clock, the second one, and so on.
    pub fn all(&self, vm: &Vm) -> Vec<TaskletId> {
        let mut all = Vec::new();
        for sleepers in &self.clocks {
            let mut entries: Vec<&Entry> = sleepers.iter().map(|Reverse(entry)| entry).collect();
            entries.sort();
            all.extend(entries.into_iter().filter(|entry| self.counts(vm, entry)).map(|e| e.wait.tasklet));
        }
        all
    }

    /// How many sleep by this clock.
    pub fn count(&self, vm: &Vm, clock: u16) -> usize {
        let Some(sleepers) = self.clocks.get(usize::from(clock)) else { return 0 };
        sleepers.iter().filter(|Reverse(entry)| self.counts(vm, entry)).count()
    }

    /// Of `sleeping` altogether, how many sleep by the wall clock, and how many by the clocks of groups.
    pub fn split(&self, vm: &Vm, sleeping: usize) -> (usize, usize) {
        let all_count = self.entries() == sleeping;
        let of = |clock: usize| match self.clocks.get(clock) {
            Some(sleepers) if all_count => sleepers.len(),
            Some(_) => self.count(vm, clock as u16),
            None => 0,
        };
        (of(0), (2..self.clocks.len()).map(of).sum())
    }

    /// Entries, those that wake nobody included.
    pub fn entries(&self) -> usize {
        self.clocks.iter().map(BinaryHeap::len).sum()
    }

    /// Forgets entries that wake nobody, if they are many beside the `sleeping`.
    pub fn tidy(&mut self, vm: &Vm, sleeping: usize) {
        if self.entries() <= 2 * sleeping + STALE {
            return;
        }
        let mut clocks = std::mem::take(&mut self.clocks);
        for sleepers in &mut clocks {
            sleepers.retain(|Reverse(entry)| self.counts(vm, entry));
        }
        self.clocks = clocks;
        self.asleep.retain(|_, asleep| vm.is_waiting(asleep.wait));
    }

    /// The entry is its tasklet's last one, and the tasklet still sleeps.
    fn counts(&self, vm: &Vm, entry: &Entry) -> bool {
        self.asleep.get(entry.wait.tasklet).is_some_and(|asleep| asleep.number == entry.number)
            && vm.is_waiting(entry.wait)
    }
}
