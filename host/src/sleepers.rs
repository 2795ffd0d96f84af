//! Who sleeps until when, by which clock.

use bluetick_scripting::{TaskletId, Vm, Wait};
use slotmap::SecondaryMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

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

/// Seconds of its clock before which a sleeper is in the way of nobody who sleeps for less.
const NEAR: f64 = 1.0;

/// The entries of a clock, in two heaps: most sleeps are short, and would have to be sorted in each frame among all the
/// long ones.
#[derive(Default)]
struct Queue {
    /// Who is due before the horizon, or soon after it.
    near: BinaryHeap<Reverse<Entry>>,
    /// Nobody who is due before the horizon.
    far: BinaryHeap<Reverse<Entry>>,
    /// What the clock last showed, and [`NEAR`].
    horizon: f64,
}

impl Queue {
    #[inline]
    fn push(&mut self, entry: Entry) {
        let heap = if entry.due < self.horizon { &mut self.near } else { &mut self.far };
        heap.push(Reverse(entry));
    }

    /// The clock shows this.
    fn advance(&mut self, now: f64) {
        self.horizon = now + NEAR;
        while let Some(first) = self.far.peek_mut()
            && first.0.due < self.horizon
        {
            self.near.push(PeekMut::pop(first));
        }
    }

    /// The first one, if it is due by then.
    fn pop_due(&mut self, by: f64) -> Option<Entry> {
        let first = self.near.peek_mut().filter(|first| first.0.due <= by)?;
        Some(PeekMut::pop(first).0)
    }

    fn len(&self) -> usize {
        self.near.len() + self.far.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.near.iter().chain(&self.far).map(|Reverse(entry)| entry)
    }

    fn retain(&mut self, mut stays: impl FnMut(&Entry) -> bool) {
        self.near.retain(|Reverse(entry)| stays(entry));
        self.far.retain(|Reverse(entry)| stays(entry));
    }

    fn shift(&mut self, by: f64) {
        for heap in [&mut self.near, &mut self.far] {
            let shifted = std::mem::take(heap).into_vec().into_iter().map(|Reverse(mut entry)| {
                entry.due += by;
                Reverse(entry)
            });
            *heap = shifted.collect();
        }
        self.horizon += by;
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
    clocks: Vec<Queue>,
    asleep: SecondaryMap<TaskletId, Asleep>,
    slept: u64,
    /// Those that are due, while they are woken.
    due: Vec<Entry>,
}

impl Sleepers {
    /// The tasklet sleeps until the clock shows `due`, instead of any time before.
    #[inline]
    pub fn sleep(&mut self, wait: Wait, clock: u16, due: f64) {
        self.slept += 1;
        let number = self.slept;
        let index = usize::from(clock);
        if index >= self.clocks.len() {
            self.clocks.resize_with(index + 1, Queue::default);
        }
        self.clocks[index].push(Entry { due, number, wait });
        self.asleep.insert(wait.tasklet, Asleep { number, due, clock, wait });
    }

    /// Makes runnable who is due by this clock, in the order of their times; how many.
    pub fn wake(&mut self, vm: &Vm, clock: u16, now: f64) -> usize {
        let Some(sleepers) = self.clocks.get_mut(usize::from(clock)) else { return 0 };
        let mut woken = 0;
        sleepers.advance(now);
        // Two loops: in the second one no branch is hard to foresee, so the processor waits for the memory of several
        // tasklets at once.
        self.due.extend(std::iter::from_fn(|| sleepers.pop_due(now + TOLERANCE)));
        for Entry { wait, number, .. } in self.due.drain(..) {
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
        let mut due = None;
        for heap in [&mut sleepers.near, &mut sleepers.far] {
            while let Some(first) = heap.peek_mut()
                && !self.counts(vm, &first.0)
            {
                PeekMut::pop(first);
            }
            // Whoever is far is due later than all who are near, but where the clock has been turned back.
            let first = heap.peek().map(|Reverse(entry)| entry.due);
            due = [due, first].into_iter().flatten().reduce(f64::min);
        }
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
            sleepers.shift(by);
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
            let mut entries: Vec<&Entry> = sleepers.iter().collect();
            entries.sort();
            all.extend(entries.into_iter().filter(|entry| self.counts(vm, entry)).map(|e| e.wait.tasklet));
        }
        all
    }

    /// How many sleep by this clock.
    pub fn count(&self, vm: &Vm, clock: u16) -> usize {
        let Some(sleepers) = self.clocks.get(usize::from(clock)) else { return 0 };
        sleepers.iter().filter(|entry| self.counts(vm, entry)).count()
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
        self.clocks.iter().map(Queue::len).sum()
    }

    /// Forgets entries that wake nobody, if they are many beside the `sleeping`.
    pub fn tidy(&mut self, vm: &Vm, sleeping: usize) {
        if self.entries() <= 2 * sleeping + STALE {
            return;
        }
        let mut clocks = std::mem::take(&mut self.clocks);
        for sleepers in &mut clocks {
            sleepers.retain(|entry| self.counts(vm, entry));
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_queue_gives_its_entries_by_their_times_and_equal_ones_by_their_numbers(
            steps in prop::collection::vec((0u8..4, 0u32..400), 0..300),
        ) {
            let mut queue = Queue::default();
            let mut model: Vec<(f64, u64)> = Vec::new();
            let (mut now, mut number) = (0.0, 0);
            for (what, amount) in steps {
                let seconds = f64::from(amount) / 100.0;
                match what {
                    0 | 1 => {
                        number += 1;
                        queue.push(Entry { due: now + seconds, number, wait: Wait { tasklet: TaskletId::default(), parking: 0 } });
                        model.push((now + seconds, number));
                    }
                    2 => {
                        now += seconds;
                        queue.advance(now);
                        let mut due: Vec<_> = model.iter().copied().filter(|&(due, _)| due <= now).collect();
                        due.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
                        model.retain(|&(due, _)| due > now);
                        let given: Vec<_> = std::iter::from_fn(|| queue.pop_due(now)).map(|e| (e.due, e.number)).collect();
                        prop_assert_eq!(given, due);
                    }
                    _ => {
                        // The clock jumps, backwards too, and all that wait for it with it.
                        let by = seconds - 2.0;
                        now += by;
                        queue.shift(by);
                        model.iter_mut().for_each(|(due, _)| *due += by);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.iter().count(), model.len());
            }
        }
    }
}
