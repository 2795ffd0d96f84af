//! Waiting on several channels at once: whichever is served first ends the wait.
//!
//! A tasklet that does so has a place in each channel's queue, among those that wait there alone. Such a
//! place, an **arm**, is a record of its own that stands in the queue for the tasklet. Who serves an arm
//! serves the tasklet, which leaves all its arms in the same moment: nobody can serve a second one.

use super::channel::{ChannelId, Direction};
use super::error::ErrorKind;
use super::switch::Turn;
use super::tasklet::{Place, Tasklet, TaskletId};
use super::{OwnerId, Scheduler};

impl Scheduler {
    /// The tasklet that waits at this place of a channel's queue.
    #[inline]
    pub(crate) fn waiter(&self, place: TaskletId) -> TaskletId {
        let arm_of = |tasklet: &Tasklet| tasklet.details.as_ref().and_then(|details| details.arm_of);
        self.tasklets.get(place).and_then(arm_of).unwrap_or(place)
    }

    /// Waits at the end of all these channels' queues, to receive.
    pub(crate) fn block_on_all(&mut self, channels: &[ChannelId]) -> Result<Turn, ErrorKind> {
        let me = self.current;
        if self.tasklets[me].flags.block_trap {
            return Err(ErrorKind::BlockTrap);
        }
        self.leave_queue(me, Place::Select);
        for &channel in channels {
            let arm = self.create(OwnerId::default());
            self.tasklets[arm].details_mut().arm_of = Some(me);
            self.tasklets[me].details_mut().arms.push(arm);
            self.enqueue(channel, Direction::Receive, arm);
        }
        self.switch(me, self.current).inspect_err(|_| self.stay(me))
    }

    /// Who waits at the first place of a queue is about to be served there.
    pub(crate) fn note_served(&mut self, place: TaskletId) {
        let waiter = self.waiter(place);
        if waiter == place {
            return;
        }
        if let Some(details) = self.tasklets.get_mut(waiter).and_then(|tasklet| tasklet.details.as_mut()) {
            details.served = details.arms.iter().position(|&arm| arm == place).unwrap_or(usize::MAX);
        }
    }

    /// Takes a tasklet out of all the queues in which it waits.
    pub(super) fn leave_all(&mut self, id: TaskletId) {
        self.tasklets[id].place = Place::Floating;
        for arm in std::mem::take(&mut self.tasklets[id].details_mut().arms) {
            if let Place::Channel(channel, direction) = self.tasklets[arm].place {
                self.dequeue(channel, direction, arm);
            }
            self.tasklets.remove(arm);
        }
    }
}
