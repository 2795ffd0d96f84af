//! Tasklets that wait for the host, as the host sees them.

use super::call::Wait;
use super::vm::Vm;
use crate::scheduler::{Place, TaskletId};

impl Vm {
    /// The wait that a tasklet is in, if it waits for the host.
    pub fn wait_of(&self, tasklet: TaskletId) -> Option<Wait> {
        let found = self.machine().scheduler().tasklets.get(tasklet)?;
        (found.place == Place::Parked).then_some(Wait { tasklet, parking: found.parkings })
    }

    /// The clock that a tasklet lives by: a number that means something to the host, and that the tasklets
    /// which it creates inherit. 0 unless the host has [set](Self::set_clock) another.
    #[inline]
    pub fn clock(&self, tasklet: TaskletId) -> u16 {
        self.machine().scheduler().tasklets.get(tasklet).map_or(0, |tasklet| tasklet.clock)
    }

    /// Has a tasklet live by another clock; false if it is gone.
    pub fn set_clock(&self, tasklet: TaskletId, clock: u16) -> bool {
        match self.machine().scheduler().tasklets.get_mut(tasklet) {
            Some(tasklet) => {
                tasklet.clock = clock;
                true
            }
            None => false,
        }
    }

    /// The tasklet that runs, or the main one between two slices.
    pub fn current(&self) -> TaskletId {
        self.machine().running.get()
    }
}
