//! Freezing: the tasklets of an owner stay where they are until they are thawed.
//!
//! A frozen tasklet can be woken, sent to and queued like any other; when its turn comes, the loop takes it
//! out of the queue instead. Whose turn came is queued again when it thaws, in the order in which
//! tasklets came to life.

use super::Scheduler;
use super::records::Link;
use super::tasklet::{OwnerId, Place, Tasklet, TaskletId};

impl Scheduler {
    /// Keeps the tasklets of an owner from running, those included that it will get.
    pub(crate) fn freeze(&mut self, owner: OwnerId) {
        let Some(members) = self.owners.get(owner) else { return };
        self.frozen.insert(owner);
        for id in members.iter() {
            self.tasklets[id].flags.frozen = true;
        }
    }

    /// Lets them run again.
    pub(crate) fn thaw(&mut self, owner: OwnerId) {
        if !self.frozen.remove(&owner) {
            return;
        }
        for id in self.owned_by(owner) {
            self.thaw_tasklet(id);
        }
    }

    /// Lets one tasklet run again: it is to end.
    pub(crate) fn thaw_tasklet(&mut self, id: TaskletId) {
        let link = self.link(id);
        let tasklet = self.member(link);
        tasklet.flags.frozen = false;
        let was_held = std::mem::take(&mut tasklet.flags.held);
        if was_held && tasklet.paused() {
            self.append(link);
        }
    }

    /// The turn of a frozen tasklet has come: the next one becomes the head of the queue; false if
    /// there is nobody who could.
    pub(crate) fn hold(&mut self, link: Link<Tasklet>) -> bool {
        let runner = self.innermost_runner();
        if self.queued == 1 && self.member(runner).place != Place::Floating {
            return false;
        }
        self.unqueue(link);
        self.member(link).flags.held = true;
        if self.head.is_none() {
            self.append(runner);
        }
        true
    }
}
