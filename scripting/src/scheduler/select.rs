//! Waiting on several channels at once: whichever is served first ends the wait.
//!
//! A tasklet that does so has a place in each channel's queue, among those that wait there alone. Such a
//! place, an **arm**, is a record of its own that stands in the queue for the tasklet. Who serves an arm
//! serves the tasklet, which leaves all its arms in the same moment: nobody can serve a second one.

use super::channel::{Channel, Direction};
use super::error::ErrorKind;
use super::records::Link;
use super::switch::Turn;
use super::tasklet::{Place, Tasklet, TaskletId};
use super::{OwnerId, Scheduler};

impl Scheduler {
    /// The tasklet that waits at this place of a channel's queue.
    #[inline]
    pub(crate) fn waiter(&self, place: Link<Tasklet>) -> Link<Tasklet> {
        if place.is_none() {
            return place;
        }
        // SAFETY: as `member`.
        match unsafe { &place.get().details } {
            Some(details) => details.arm_of.unwrap_or(place),
            None => place,
        }
    }

    /// The name of that tasklet; that of nobody if there is none.
    pub(crate) fn waiter_id(&self, place: Link<Tasklet>) -> TaskletId {
        self.id(self.waiter(place))
    }

    /// Waits at the end of all these channels' queues, to receive.
    pub(crate) fn block_on_all(&mut self, channels: &[Link<Channel>]) -> Result<Turn, ErrorKind> {
        let me = self.head;
        if self.member(me).flags.block_trap {
            return Err(ErrorKind::BlockTrap);
        }
        self.leave_queue(me, Place::Select);
        for &channel in channels {
            let arm = self.create(OwnerId::default());
            let place = self.link(arm);
            self.member(place).details_mut().arm_of = Some(me);
            self.member(me).details_mut().arms.push(arm);
            self.enqueue(channel, Direction::Receive, place);
        }
        self.switch(me, self.head).inspect_err(|_| self.stay(me))
    }

    /// Who waits at the first place of a queue is about to be served there.
    pub(crate) fn note_served(&mut self, place: Link<Tasklet>) {
        let waiter = self.waiter(place);
        if waiter == place {
            return;
        }
        let arm = self.id(place);
        if let Some(details) = &mut self.member(waiter).details {
            details.served = details.arms.iter().position(|&other| other == arm).unwrap_or(usize::MAX);
        }
    }

    /// Takes a tasklet out of all the queues in which it waits.
    pub(super) fn leave_all(&mut self, link: Link<Tasklet>) {
        self.member(link).place = Place::Floating;
        for arm in std::mem::take(&mut self.member(link).details_mut().arms) {
            let place = self.link(arm);
            let Tasklet { place: at, channel, .. } = *self.member(place);
            if let Place::Channel(direction) = at {
                self.dequeue(channel, direction, place);
            }
            self.tasklets.remove(arm);
        }
    }
}
