//! The run queue: a ring whose head is the running tasklet.
//!
//! Switching to a member rotates the ring: nobody changes places, the head becomes the target. So
//! "the caller goes to the end" is what happens when it switches to its successor, and switching to
//! a later member leaves the caller in the middle (`semantics.md` 0.2).

use super::Scheduler;
use super::records::Link;
use super::tasklet::{Place, Tasklet};

impl Scheduler {
    /// Puts a floating tasklet just before the head, that is last.
    #[inline]
    pub(super) fn append(&mut self, link: Link<Tasklet>) {
        if self.head.is_none() {
            let tasklet = self.member(link);
            tasklet.next = link;
            tasklet.prev = link;
            tasklet.place = Place::Queue;
            self.head = link;
            self.queued += 1;
        } else {
            self.insert_before(self.head, link);
        }
    }

    /// Puts a floating tasklet at the head, before everyone else.
    pub(super) fn prepend(&mut self, link: Link<Tasklet>) {
        self.append(link);
        self.head = link;
    }

    /// Moves a tasklet to where its turn comes next, wherever it was. Not for the running one.
    pub(crate) fn hasten(&mut self, link: Link<Tasklet>) {
        self.unlink(link);
        let main = self.link(self.main);
        if self.head == main {
            // Main runs nothing itself: it is about to enter `run`.
            let successor = self.member(main).next;
            self.insert_before(successor, link);
        } else {
            self.prepend(link);
        }
    }

    /// Puts a floating tasklet between `successor` and the one before it.
    #[inline]
    pub(super) fn insert_before(&mut self, successor: Link<Tasklet>, link: Link<Tasklet>) {
        let predecessor = std::mem::replace(&mut self.member(successor).prev, link);
        self.member(predecessor).next = link;
        let tasklet = self.member(link);
        debug_assert_eq!(tasklet.place, Place::Floating);
        tasklet.prev = predecessor;
        tasklet.next = successor;
        tasklet.place = Place::Queue;
        self.queued += 1;
    }

    /// Takes a member out; if it was the head, its successor becomes the head.
    #[inline]
    pub(super) fn unqueue(&mut self, link: Link<Tasklet>) {
        self.leave_queue(link, Place::Floating);
    }

    /// As [`unqueue`](Self::unqueue); the member is in `place` from then on.
    #[inline]
    pub(super) fn leave_queue(&mut self, link: Link<Tasklet>, place: Place) {
        let tasklet = self.member(link);
        debug_assert_eq!(tasklet.place, Place::Queue);
        let (prev, next) = (tasklet.prev, tasklet.next);
        tasklet.prev = Link::NONE;
        tasklet.next = Link::NONE;
        tasklet.place = place;
        self.queued -= 1;
        if next == link {
            self.head = Link::NONE;
            return;
        }
        self.member(prev).next = next;
        self.member(next).prev = prev;
        if self.head == link {
            self.head = next;
        }
    }

    /// Takes a tasklet out of wherever it waits, so that it floats.
    pub(super) fn unlink(&mut self, link: Link<Tasklet>) {
        let tasklet = self.member(link);
        match tasklet.place {
            Place::Floating => {}
            Place::Queue => self.unqueue(link),
            Place::Channel(direction) => {
                let channel = tasklet.channel;
                self.dequeue(channel, direction, link);
            }
            Place::Select => self.leave_all(link),
            Place::Low => self.leave_low(link),
            Place::Parked => {
                self.member(link).place = Place::Floating;
                self.parked -= 1;
            }
        }
    }
}
