//! Who runs next: every operation that may switch, as decisions about queues alone.
//!
//! Nothing here touches the VM. An operation that switches has put its caller where it waits and
//! made the target the head of the run queue; the caller then returns to the [loop](super::run),
//! which resumes the head. An operation that is refused has changed nothing.

use super::Scheduler;
use super::channel::{ChannelId, Direction};
use super::error::ErrorKind;
use super::tasklet::{Life, Place, Slot, TaskletId};

/// What an operation means for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes on.
    Keep,
    /// It has to return to the loop; somebody else is the head of the queue now.
    Switch,
}

/// A hand-over that can take place at once: who waits at the other end, and what becomes of the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting {
    pub partner: TaskletId,
    /// Its place in the channel's queue: itself, or an arm of it.
    place: TaskletId,
    /// Who runs next.
    target: TaskletId,
}

impl Meeting {
    /// Somebody else than `me` runs next.
    pub fn switches(&self, me: TaskletId) -> bool {
        self.target != me
    }
}

impl Scheduler {
    /// Makes `next` the head of the run queue, wherever it was; null means that nobody is left.
    #[inline]
    pub(crate) fn switch(&mut self, prev: TaskletId, next: TaskletId) -> Result<Turn, ErrorKind> {
        if next == TaskletId::default() {
            return self.nobody_left(prev);
        }
        self.may_switch(prev, next)?;
        if self.member(next).place != Place::Queue {
            self.unlink(next);
            self.append(next);
        }
        let next = if self.limited { self.soft_stop(prev, next) } else { next };
        self.current = next;
        Ok(if prev == next { Turn::Keep } else { Turn::Switch })
    }

    /// Neither a trap nor a limit has a say in switches: one to a member of the run queue comes to no more
    /// than making it the head.
    #[inline]
    fn is_unconstrained(&self) -> bool {
        self.switch_trap == 0 && !self.limited
    }

    /// The switch trap forbids every switch to somebody else.
    #[inline]
    pub(crate) fn may_switch(&self, prev: TaskletId, next: TaskletId) -> Result<(), ErrorKind> {
        if self.switch_trap != 0 && prev != next {
            return Err(ErrorKind::SwitchTrap);
        }
        Ok(())
    }

    /// `prev` has left the run queue and it is empty: the innermost `run` returns, or main goes on;
    /// if main is blocked nothing can ever happen again (`semantics.md` 2.18, 10.3).
    #[cold]
    fn nobody_left(&mut self, prev: TaskletId) -> Result<Turn, ErrorKind> {
        let waiter = self.innermost_runner();
        if self.tasklets[waiter].place != Place::Floating {
            return Err(ErrorKind::Deadlock);
        }
        self.switch(prev, waiter)
    }

    /// The tasklet that gets control when the run queue is empty, and the errors that nobody handles.
    pub(crate) fn innermost_runner(&self) -> TaskletId {
        self.runners.last().map_or(self.main, |runner| runner.tasklet)
    }

    /// Undoes taking the caller out of the run queue, and a wake-up since.
    pub(crate) fn stay(&mut self, me: TaskletId) {
        self.unlink(me);
        self.prepend(me);
    }

    /// To the end of the queue; the next one runs (`semantics.md` 3.1).
    #[inline]
    pub(crate) fn schedule(&mut self) -> Result<Turn, ErrorKind> {
        let me = self.current;
        let next = self.member(me).next;
        if self.is_unconstrained() {
            self.current = next;
            return Ok(if next == me { Turn::Keep } else { Turn::Switch });
        }
        self.switch(me, next)
    }

    /// Out of the queue, paused; the next one runs (`semantics.md` 3.2).
    pub(crate) fn schedule_remove(&mut self) -> Result<Turn, ErrorKind> {
        let me = self.current;
        self.unqueue(me);
        self.switch(me, self.current).inspect_err(|_| self.stay(me))
    }

    /// Waits for something outside the scheduler: [`wake`](Self::wake) ends it.
    #[inline]
    pub(crate) fn park(&mut self) -> Result<Turn, ErrorKind> {
        let me = self.current;
        let tasklet = &mut self.tasklets[me];
        if tasklet.flags.block_trap {
            return Err(ErrorKind::BlockTrap);
        }
        tasklet.parkings = tasklet.parkings.wrapping_add(1);
        self.leave_queue(me, Place::Parked);
        self.parked += 1;
        if self.current != TaskletId::default() && self.is_unconstrained() {
            return Ok(Turn::Switch);
        }
        self.switch(me, self.current).inspect_err(|_| self.stay(me))
    }

    /// Makes a parked tasklet runnable, last; false if it isn't parked any more in the wait with this
    /// number.
    #[inline]
    pub(crate) fn wake(&mut self, id: TaskletId, parking: u32) -> bool {
        match self.tasklets.get_mut(id) {
            Some(tasklet) if tasklet.place == Place::Parked && tasklet.parkings == parking => {
                tasklet.place = Place::Floating;
                self.parked -= 1;
                self.append(id);
                true
            }
            _ => false,
        }
    }

    /// Runs everything else until the queue is empty (`semantics.md` 3.4).
    pub(crate) fn enter_run(&mut self, limit: Option<super::limits::Limit>) -> Result<Turn, ErrorKind> {
        let me = self.current;
        let next = self.tasklets[me].next;
        if next == me {
            return Ok(Turn::Keep);
        }
        self.may_switch(me, next)?;
        self.unqueue(me);
        self.tasklets[me].flags.running = true;
        self.push_runner(me, limit);
        self.switch(me, self.current)
    }

    /// `tasklet:run()`, and with `leave` `tasklet:switch()` (`semantics.md` 1.17, 1.21).
    pub(crate) fn run_tasklet(&mut self, id: TaskletId, leave: bool) -> Result<Turn, ErrorKind> {
        let me = self.current;
        self.runnable(id)?;
        if id == me {
            return Ok(Turn::Keep);
        }
        self.may_switch(me, id)?;
        if self.tasklets[id].place == Place::Floating {
            self.append(id);
        }
        if leave {
            self.unqueue(me);
        }
        self.switch(me, id)
    }

    /// Whether a tasklet may be queued or run at all.
    fn runnable(&self, id: TaskletId) -> Result<(), ErrorKind> {
        let tasklet = &self.tasklets[id];
        if !tasklet.alive() {
            Err(ErrorKind::Dead)
        } else if tasklet.blocked() {
            Err(ErrorKind::Blocked)
        } else {
            Ok(())
        }
    }

    /// To the end of the queue, unless it is in there (`semantics.md` 1.14).
    pub(crate) fn insert(&mut self, id: TaskletId) -> Result<(), ErrorKind> {
        self.runnable(id)?;
        if self.tasklets[id].place == Place::Floating {
            self.append(id);
        }
        Ok(())
    }

    /// Out of the run queue, paused (`semantics.md` 1.15).
    pub(crate) fn remove(&mut self, id: TaskletId) -> Result<(), ErrorKind> {
        let tasklet = &self.tasklets[id];
        if id == self.current {
            return Err(ErrorKind::Current);
        }
        if tasklet.blocked() {
            return Err(ErrorKind::Blocked);
        }
        if matches!(tasklet.place, Place::Queue | Place::Low) {
            self.unlink(id);
        }
        Ok(())
    }

    /// Makes a tasklet that has got an error runnable: at the end of the queue, out of any channel.
    pub(crate) fn interrupt_wait(&mut self, id: TaskletId) {
        if self.tasklets[id].place != Place::Queue {
            self.unlink(id);
            self.append(id);
        }
    }

    /// Whether the channel operation can take place at once, and if so what it will lead to. Changes
    /// nothing yet: the caller hands the value over and then calls [`meet`](Self::meet).
    #[inline]
    pub(crate) fn meeting(
        &mut self,
        channel: ChannelId,
        direction: Direction,
    ) -> Result<Option<Meeting>, ErrorKind> {
        let me = self.current;
        let queue = self.open_channel(channel);
        if !queue.has_partner(direction) {
            let closing = queue.closing;
            if self.member(me).flags.block_trap {
                return Err(ErrorKind::BlockTrap);
            }
            return if closing { Err(ErrorKind::Closed) } else { Ok(None) };
        }
        let place = queue.first;
        let prefers_partner = i32::from(queue.preference) == -direction.sign();
        let schedule_all = queue.schedule_all;
        let partner = match &self.member(place).details {
            Some(details) => details.arm_of.unwrap_or(place),
            None => place,
        };
        let target = if schedule_all {
            let next = self.member(me).next;
            if next == me { partner } else { next }
        } else if prefers_partner {
            partner
        } else {
            me
        };
        self.may_switch(me, target)?;
        Ok(Some(Meeting { partner, place, target }))
    }

    /// Takes the partner off the channel and decides who goes on (`semantics.md` 2.6).
    #[inline]
    pub(crate) fn meet(&mut self, channel: ChannelId, direction: Direction, meeting: Meeting) -> Turn {
        let me = self.current;
        let Meeting { partner, place, target } = meeting;
        let all = self.open_channel(channel).schedule_all;
        if place == partner {
            self.dequeue(channel, direction.opposite(), partner);
        } else {
            self.note_served(place);
            self.unlink(partner);
        }
        if !all && target == partner {
            let successor = self.member(me).next;
            self.insert_before(successor, partner);
            // Alone in the ring the caller is its own successor, and the partner stands behind it
            // either way.
        } else {
            self.append(partner);
        }
        // A hand-over is no place for a soft stop.
        self.current = if all && self.limited { self.soft_stop(me, target) } else { target };
        if self.current == me { Turn::Keep } else { Turn::Switch }
    }

    /// Waits at the end of the channel's queue (`semantics.md` 2.5).
    #[inline]
    pub(crate) fn block(&mut self, channel: ChannelId, direction: Direction) -> Result<Turn, ErrorKind> {
        let me = self.current;
        self.unqueue(me);
        self.enqueue(channel, direction, me);
        if self.current != TaskletId::default() && self.is_unconstrained() {
            return Ok(Turn::Switch);
        }
        self.switch(me, self.current).inspect_err(|_| self.stay(me))
    }

    /// The running tasklet has stopped where it can go on, and is paused: whoever is next becomes the head.
    /// `None` as in [`end_current`](Self::end_current).
    pub(crate) fn set_aside(&mut self) -> Option<TaskletId> {
        let me = self.current;
        let next = self.end_current(false);
        let tasklet = &mut self.tasklets[me];
        tasklet.life = Life::Started;
        tasklet.slot = Slot::Nothing;
        next
    }

    /// The running tasklet has ended: whoever is next becomes the head. With `failed` that is the
    /// innermost runner, ahead of the queue, wherever it is (`semantics.md` 1.36). `None` means that
    /// the queue is empty and main is blocked for ever.
    pub(crate) fn end_current(&mut self, failed: bool) -> Option<TaskletId> {
        let me = self.current;
        self.unqueue(me);
        let tasklet = &mut self.tasklets[me];
        tasklet.life = Life::Unbound;
        let runner = self.innermost_runner();
        if failed {
            if self.tasklets[runner].place != Place::Queue {
                self.unlink(runner);
                self.append(runner);
            }
            self.current = runner;
        } else if self.current == TaskletId::default() {
            if self.tasklets[runner].place != Place::Floating {
                return None;
            }
            self.append(runner);
        } else {
            self.current = self.soft_stop(me, self.current);
        }
        Some(self.current)
    }
}
