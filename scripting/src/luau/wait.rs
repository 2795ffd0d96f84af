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

    /// Has the memory that a tasklet asks for counted in this category, and that of the tasklets and coroutines
    /// which it makes; 0 is the VM's own.
    pub fn set_memory_category(&self, tasklet: TaskletId, category: u8) {
        if let Some(tasklet) = self.machine().scheduler().tasklets.get_mut(tasklet) {
            tasklet.category = category;
            if !tasklet.thread.is_null() {
                // SAFETY: a tasklet's coroutine is alive; a number is set.
                unsafe { super::ffi::lua_setmemcat(tasklet.thread, category.into()) };
            }
        }
    }

    /// Memory that is counted in this category, in bytes.
    pub fn memory_in(&self, category: u8) -> usize {
        // SAFETY: the VM is alive; a number is read.
        unsafe { super::ffi::lua_totalbytes(self.machine().helper, category.into()) }
    }

    /// For other threads to ask where this VM is.
    pub fn probe(&self) -> super::Probe {
        self.machine().watch.timer.probe()
    }
}
