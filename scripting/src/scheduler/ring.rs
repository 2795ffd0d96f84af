//! The run queue: a ring whose head is the running tasklet.
//!
//! Switching to a member rotates the ring: nobody changes places, the head becomes the target. So
//! "the caller goes to the end" is what happens when it switches to its successor, and switching to
//! a later member leaves the caller in the middle (`semantics.md` 0.2).

use super::Scheduler;
use super::tasklet::{Place, TaskletId};

impl Scheduler {
    /// Puts a floating tasklet just before the head, that is last.
    #[inline]
    pub(super) fn append(&mut self, id: TaskletId) {
        if self.current == TaskletId::default() {
            let tasklet = self.member(id);
            tasklet.next = id;
            tasklet.prev = id;
            tasklet.place = Place::Queue;
            self.current = id;
            self.queued += 1;
        } else {
            self.insert_before(self.current, id);
        }
    }

    /// Puts a floating tasklet at the head, before everyone else.
    pub(super) fn prepend(&mut self, id: TaskletId) {
        self.append(id);
        self.current = id;
    }

    /// Moves a tasklet to where its turn comes next, wherever it was. Not for the running one.
    pub(crate) fn hasten(&mut self, id: TaskletId) {
        self.unlink(id);
        if self.current == self.main {
            // Main runs nothing itself: it is about to enter `run`.
            self.insert_before(self.tasklets[self.main].next, id);
        } else {
            self.prepend(id);
        }
    }

    /// Puts a floating tasklet between `successor` and the one before it.
    #[inline]
    pub(super) fn insert_before(&mut self, successor: TaskletId, id: TaskletId) {
        let predecessor = std::mem::replace(&mut self.member(successor).prev, id);
        self.member(predecessor).next = id;
        let tasklet = self.member(id);
        debug_assert_eq!(tasklet.place, Place::Floating);
        tasklet.prev = predecessor;
        tasklet.next = successor;
        tasklet.place = Place::Queue;
        self.queued += 1;
    }

    /// Takes a member out; if it was the head, its successor becomes the head.
    #[inline]
    pub(super) fn unqueue(&mut self, id: TaskletId) {
        self.leave_queue(id, Place::Floating);
    }

    /// As [`unqueue`](Self::unqueue); the member is in `place` from then on.
    #[inline]
    pub(super) fn leave_queue(&mut self, id: TaskletId, place: Place) {
        let tasklet = self.member(id);
        debug_assert_eq!(tasklet.place, Place::Queue);
        let (prev, next) = (tasklet.prev, tasklet.next);
        tasklet.prev = TaskletId::default();
        tasklet.next = TaskletId::default();
        tasklet.place = place;
        self.queued -= 1;
        if next == id {
            self.current = TaskletId::default();
            return;
        }
        self.member(prev).next = next;
        self.member(next).prev = prev;
        if self.current == id {
            self.current = next;
        }
    }

    /// Takes a tasklet out of wherever it waits, so that it floats.
    pub(super) fn unlink(&mut self, id: TaskletId) {
        match self.tasklets[id].place {
            Place::Floating => {}
            Place::Queue => self.unqueue(id),
            Place::Channel(channel, direction) => self.dequeue(channel, direction, id),
            Place::Select => self.leave_all(id),
            Place::Low => self.leave_low(id),
            Place::Parked => {
                self.tasklets[id].place = Place::Floating;
                self.parked -= 1;
            }
        }
    }
}
