//! The low queue: background tasklets, which run in the time that all others leave.
//!
//! A background tasklet is woken, sent to and queued like any other. When its turn comes in the run queue, the
//! loop moves it to the end of the low queue instead; the host takes the first one out of that when nobody else is
//! runnable and there is time left. An error that was thrown at it reaches it all the same.

use super::Scheduler;
use super::records::Link;
use super::tasklet::{Place, Slot, Tasklet, TaskletId};

impl Scheduler {
    /// The turn of a background tasklet has come: it waits in the low queue, and the next one becomes the head of the
    /// run queue; false if its turn is now.
    pub(crate) fn wait_for_time(&mut self, link: Link<Tasklet>) -> bool {
        let tasklet = self.member(link);
        if std::mem::take(&mut tasklet.flags.has_time) || tasklet.slot == Slot::Error {
            return false;
        }
        let runner = self.innermost_runner();
        if self.queued == 1 && self.member(runner).place != Place::Floating {
            // Nobody else could go on.
            return false;
        }
        self.leave_queue(link, Place::Low);
        self.low.push_back(self.id(link));
        if self.head.is_none() {
            self.append(runner);
        }
        true
    }

    /// There is time: the first background tasklet has a turn, last in the run queue. False if there is none.
    pub(crate) fn give_time(&mut self) -> bool {
        let Some(&id) = self.low.front() else { return false };
        let link = self.link(id);
        self.unlink(link);
        self.member(link).flags.has_time = true;
        self.append(link);
        true
    }

    /// Whether the tasklet runs in the background from now on.
    pub(crate) fn set_background(&mut self, id: TaskletId, background: bool) {
        let link = self.link(id);
        let tasklet = self.member(link);
        tasklet.flags.background = background;
        tasklet.flags.has_time = false;
        if !background && tasklet.place == Place::Low {
            self.unlink(link);
            self.append(link);
        }
    }

    /// Takes a tasklet out of the low queue, so that it floats.
    pub(super) fn leave_low(&mut self, link: Link<Tasklet>) {
        let id = self.id(link);
        // It is the first one as a rule.
        if self.low.front() == Some(&id) {
            self.low.pop_front();
        } else {
            self.low.retain(|&other| other != id);
        }
        self.member(link).place = Place::Floating;
    }
}
