//! `run` and its limits, counted in ticks: the VM's safepoints (loop turns, calls, returns). And the tasklets
//! that have used up their slice.

use super::Scheduler;
use super::records::Link;
use super::tasklet::{Place, Slot, Tasklet, TaskletId};

/// How long `run` may go on (`semantics.md` 3B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Ticks; more than 0.
    pub ticks: u64,
    /// Interrupt nobody; return at the next yield after the limit.
    pub soft: bool,
    /// Count over the whole run, not for each slice anew.
    pub total: bool,
}

/// A tasklet inside `run`.
pub(crate) struct Runner {
    pub tasklet: TaskletId,
    /// Only the outermost limit counts; those of inner runs are ignored while it is there.
    pub limit: Option<Limit>,
}

impl Scheduler {
    pub(super) fn push_runner(&mut self, tasklet: TaskletId, limit: Option<Limit>) {
        let limit = limit.filter(|_| self.limit().is_none());
        if let Some(limit) = limit {
            self.ticks_left = limit.ticks as i64;
            self.set_limited(true);
        }
        self.runners.push(Runner { tasklet, limit });
    }

    /// The runner whose limit counts, and the limit.
    pub(crate) fn limit(&self) -> Option<(TaskletId, Limit)> {
        self.runners.iter().find_map(|runner| runner.limit.map(|limit| (runner.tasklet, limit)))
    }

    /// `runner` goes on: its `run` is over, and so are those inside it; their tasklets become
    /// runnable, the innermost first (`semantics.md` 3.17).
    pub(crate) fn leave_run(&mut self, runner: TaskletId) {
        while let Some(Runner { tasklet, .. }) = self.runners.pop() {
            self.tasklets[tasklet].flags.running = false;
            if tasklet == runner {
                break;
            }
            let link = self.link(tasklet);
            if self.member(link).place == Place::Floating {
                self.append(link);
            }
        }
        self.set_limited(self.limit().is_some());
    }

    /// A switch took place: the count starts anew, unless it runs over the whole run, or a soft stop
    /// is due that the switch, a hand-over, was no place for.
    pub(crate) fn restart_ticks(&mut self) {
        if let Some((_, limit)) = self.limit()
            && !limit.total
            && !(limit.soft && self.ticks_left <= 0)
        {
            self.ticks_left = limit.ticks as i64;
        }
    }

    /// At a yield after a soft limit has passed, the runner goes on, and the one that would have run
    /// stays first in the queue.
    pub(super) fn soft_stop(&mut self, prev: Link<Tasklet>, next: Link<Tasklet>) -> Link<Tasklet> {
        if !self.limited {
            return next;
        }
        let Some((runner, limit)) = self.limit() else { return next };
        let runner = self.link(runner);
        let due = limit.soft && self.ticks_left <= 0 && prev != runner && next != runner;
        if !due || self.member(runner).place != Place::Floating {
            return next;
        }
        self.insert_before(next, runner);
        runner
    }

    /// A tick has passed in the running tasklet; true if it has to stop now.
    pub(crate) fn tick(&mut self) -> bool {
        self.ticks_left -= 1;
        if self.ticks_left > 0 {
            return false;
        }
        let Some((runner, limit)) = self.limit() else { return false };
        let current = self.current();
        !limit.soft && !self.tasklets[current].flags.atomic && self.switch_trap == 0 && current != runner
    }

    /// Stops the running tasklet: it is paused, and the `run` with the limit returns it.
    pub(crate) fn stop_current(&mut self) {
        let Some((runner, _)) = self.limit() else { return };
        let (me, runner) = (self.head, self.link(runner));
        self.unqueue(me);
        self.interrupted = Some(self.id(me));
        if self.member(runner).place != Place::Queue {
            self.unlink(runner);
            self.append(runner);
        }
        self.head = runner;
    }

    /// The running tasklet has used up its slice: its turn comes again in the next round.
    pub(crate) fn put_off(&mut self) {
        let tasklet = self.member(self.head);
        tasklet.flags.put_off = true;
        let next = tasklet.next;
        self.put_off.push(self.current());
        self.head = next;
    }

    /// Makes the next one whose turn may come in this round the head of the queue; false if there is
    /// none. Nobody changes places. An error that was thrown at a tasklet reaches it all the same.
    #[cold]
    pub(crate) fn skip_put_off(&mut self) -> bool {
        let first = self.head;
        loop {
            let tasklet = self.member(self.head);
            if !tasklet.flags.put_off || tasklet.slot == Slot::Error {
                return true;
            }
            self.head = tasklet.next;
            if self.head == first {
                return false;
            }
        }
    }

    /// A round begins: everybody's turn may come.
    pub(crate) fn begin_round(&mut self) {
        while let Some(id) = self.put_off.pop() {
            if let Some(tasklet) = self.tasklets.get_mut(id) {
                tasklet.flags.put_off = false;
            }
        }
    }
}
