//! Rust tasklets that wait for the host.

use super::coroutine::Step;
use super::scheduler::Scheduler;
use crate::luau::Wait;
use crate::scheduler::{Error, ErrorKind, Turn};

impl Scheduler {
    /// Takes the calling tasklet out of the run queue until [`Vm::wake`](crate::Vm::wake); `begin` is told
    /// of the wait before it begins.
    ///
    /// # Errors
    /// Of kind `boundary` where the caller can't wait, as the host itself can't; `block_trap` and `switch_trap`
    /// where one is set; and what is thrown at the tasklet meanwhile.
    pub fn park(&self, verb: &str, begin: impl FnOnce(Wait)) -> Result<(), Error> {
        let machine = &*self.machine;
        let frame = machine.waiting_frame(verb)?;
        // SAFETY: the frame is the running one.
        if unsafe { (*frame).is_host() } {
            return Err(Error::new(
                ErrorKind::Boundary,
                format!("{verb}: the host itself can't wait, as it is the one who wakes"),
            ));
        }
        let me = machine.scheduler().current();
        match machine.scheduler().park() {
            Ok(Turn::Switch) => {
                begin(Wait { tasklet: me, parking: machine.scheduler().tasklets[me].parkings });
                // SAFETY: the frame is the running one, and its tasklet waits.
                unsafe { machine.wait(frame, Step::Blocked) }
            }
            Ok(Turn::Keep) => Err(machine.cannot_wait(verb)),
            Err(kind) => Err(machine.scheduler().refusal(kind, verb, me)),
        }
    }
}
