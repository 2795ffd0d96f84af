//! Who runs next: every operation that may switch, as decisions about queues alone.
//!
//! Nothing here touches the VM. An operation that switches has put its caller where it waits and
//! made the target the head of the run queue; the caller then returns to the loop (`luau/run.rs`),
//! which resumes the head. An operation that is refused has changed nothing.

use super::Scheduler;
use super::channel::{Channel, Direction};
use super::error::ErrorKind;
use super::records::Link;
use super::tasklet::{Life, Place, Slot, Tasklet, TaskletId};

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
    pub partner: Link<Tasklet>,
    /// Its place in the channel's queue: itself, or an arm of it.
    place: Link<Tasklet>,
    /// Who runs next.
    target: Link<Tasklet>,
    /// The name of the place: converting a value is code of anybody's, which may have ended the wait.
    id: TaskletId,
}

impl Meeting {
    /// Who runs next.
    pub fn target(&self) -> Link<Tasklet> {
        self.target
    }

    /// Somebody else than `me` runs next.
    pub fn switches(&self, me: Link<Tasklet>) -> bool {
        self.target != me
    }
}

impl Scheduler {
    /// Makes `next` the head of the run queue, wherever it was; none means that nobody is left.
    #[inline]
    pub(crate) fn switch(&mut self, prev: Link<Tasklet>, next: Link<Tasklet>) -> Result<Turn, ErrorKind> {
        if next.is_none() {
            return self.nobody_left(prev);
        }
        self.may_switch(prev, next)?;
        if self.member(next).place != Place::Queue {
            self.unlink(next);
            self.append(next);
        }
        let next = if self.limited { self.soft_stop(prev, next) } else { next };
        self.head = next;
        Ok(if prev == next { Turn::Keep } else { Turn::Switch })
    }

    /// Neither a trap nor a limit has a say in switches: one to a member of the run queue comes to no more
    /// than making it the head.
    #[inline(always)]
    fn is_unconstrained(&self) -> bool {
        !self.constrained
    }

    /// The level of the switch trap: while it isn't 0 nobody may switch.
    #[inline]
    pub(crate) fn switch_trap(&self) -> i32 {
        self.switch_trap
    }

    /// Sets that level.
    pub(crate) fn set_switch_trap(&mut self, level: i32) {
        self.switch_trap = level;
        self.constrained = level != 0 || self.limited;
    }

    /// One of the runners has a limit.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.limited
    }

    /// Notes it; whether it was so before.
    pub(crate) fn set_limited(&mut self, limited: bool) -> bool {
        self.constrained = limited || self.switch_trap != 0;
        std::mem::replace(&mut self.limited, limited)
    }

    /// The switch trap forbids every switch to somebody else.
    #[inline]
    pub(crate) fn may_switch(&self, prev: Link<Tasklet>, next: Link<Tasklet>) -> Result<(), ErrorKind> {
        if self.switch_trap != 0 && prev != next {
            return Err(ErrorKind::SwitchTrap);
        }
        Ok(())
    }

    /// `prev` has left the run queue and it is empty: the innermost `run` returns, or main goes on;
    /// if main is blocked nothing can ever happen again (`semantics.md` 2.18, 10.3).
    #[cold]
    fn nobody_left(&mut self, prev: Link<Tasklet>) -> Result<Turn, ErrorKind> {
        let waiter = self.innermost_runner();
        if self.member(waiter).place != Place::Floating {
            return Err(ErrorKind::Deadlock);
        }
        self.switch(prev, waiter)
    }

    /// The tasklet that gets control when the run queue is empty, and the errors that nobody handles.
    pub(crate) fn innermost_runner(&self) -> Link<Tasklet> {
        self.link(self.runners.last().map_or(self.main, |runner| runner.tasklet))
    }

    /// Undoes taking the caller out of the run queue, and a wake-up since.
    pub(crate) fn stay(&mut self, me: Link<Tasklet>) {
        self.unlink(me);
        self.prepend(me);
    }

    /// To the end of the queue; the next one runs (`semantics.md` 3.1).
    #[inline]
    pub(crate) fn schedule(&mut self) -> Result<Turn, ErrorKind> {
        let me = self.head;
        let next = self.member(me).next;
        if self.is_unconstrained() {
            self.head = next;
            return Ok(if next == me { Turn::Keep } else { Turn::Switch });
        }
        self.switch(me, next)
    }

    /// [`schedule`](Self::schedule) where nothing can come of it but a switch: to whom; nothing anywhere else.
    #[inline(always)]
    pub(crate) fn rotate(&mut self) -> Option<Link<Tasklet>> {
        let me = self.head;
        let next = self.member(me).next;
        if next == me || !self.is_unconstrained() {
            return None;
        }
        self.head = next;
        Some(next)
    }

    /// Out of the queue, paused; the next one runs (`semantics.md` 3.2).
    pub(crate) fn schedule_remove(&mut self) -> Result<Turn, ErrorKind> {
        let me = self.head;
        self.unqueue(me);
        self.switch(me, self.head).inspect_err(|_| self.stay(me))
    }

    /// Waits for something outside the scheduler: [`wake`](Self::wake) ends it.
    #[inline]
    pub(crate) fn park(&mut self) -> Result<Turn, ErrorKind> {
        let me = self.head;
        let tasklet = self.member(me);
        if tasklet.flags.block_trap {
            return Err(ErrorKind::BlockTrap);
        }
        tasklet.parkings = tasklet.parkings.wrapping_add(1);
        self.leave_queue(me, Place::Parked);
        self.parked += 1;
        if !self.head.is_none() && self.is_unconstrained() {
            return Ok(Turn::Switch);
        }
        self.switch(me, self.head).inspect_err(|_| self.stay(me))
    }

    /// Makes a parked tasklet runnable, last; false if it isn't parked any more in the wait with this
    /// number.
    #[inline]
    pub(crate) fn wake(&mut self, id: TaskletId, parking: u32) -> bool {
        let link = self.tasklets.link(id);
        if link.is_none() {
            return false;
        }
        let tasklet = self.member(link);
        if tasklet.place != Place::Parked || tasklet.parkings != parking {
            return false;
        }
        tasklet.place = Place::Floating;
        super::prefetch(tasklet.thread);
        self.parked -= 1;
        self.append(link);
        true
    }

    /// Runs everything else until the queue is empty (`semantics.md` 3.4).
    pub(crate) fn enter_run(&mut self, limit: Option<super::limits::Limit>) -> Result<Turn, ErrorKind> {
        let me = self.head;
        let next = self.member(me).next;
        if next == me {
            return Ok(Turn::Keep);
        }
        self.may_switch(me, next)?;
        self.unqueue(me);
        self.member(me).flags.running = true;
        self.push_runner(self.id(me), limit);
        self.switch(me, self.head)
    }

    /// `tasklet:run()`, and with `leave` `tasklet:switch()` (`semantics.md` 1.17, 1.21).
    pub(crate) fn run_tasklet(&mut self, id: TaskletId, leave: bool) -> Result<Turn, ErrorKind> {
        let me = self.head;
        self.runnable(id)?;
        let target = self.link(id);
        if target == me {
            return Ok(Turn::Keep);
        }
        self.may_switch(me, target)?;
        if self.member(target).place == Place::Floating {
            self.append(target);
        }
        if leave {
            self.unqueue(me);
        }
        self.switch(me, target)
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
            self.append(self.link(id));
        }
        Ok(())
    }

    /// Out of the run queue, paused (`semantics.md` 1.15).
    pub(crate) fn remove(&mut self, id: TaskletId) -> Result<(), ErrorKind> {
        let tasklet = &self.tasklets[id];
        if id == self.current() {
            return Err(ErrorKind::Current);
        }
        if tasklet.blocked() {
            return Err(ErrorKind::Blocked);
        }
        if matches!(tasklet.place, Place::Queue | Place::Low) {
            self.unlink(self.link(id));
        }
        Ok(())
    }

    /// Makes a tasklet that has got an error runnable: at the end of the queue, out of any channel.
    pub(crate) fn interrupt_wait(&mut self, id: TaskletId) {
        let link = self.link(id);
        if self.member(link).place != Place::Queue {
            self.unlink(link);
            self.append(link);
        }
    }

    /// Whether the channel operation can take place at once, and if so what it will lead to. Changes
    /// nothing yet: the caller hands the value over and then calls [`meet`](Self::meet).
    #[inline]
    pub(crate) fn meeting(
        &mut self,
        channel: Link<Channel>,
        direction: Direction,
    ) -> Result<Option<Meeting>, ErrorKind> {
        let me = self.head;
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
        let id = self.id(place);
        Ok(Some(Meeting { partner, place, target, id }))
    }

    /// [`meeting`](Self::meeting) where that can't be refused, the preference alone says who goes on, and the
    /// partner waits on this channel alone.
    #[inline(always)]
    pub(crate) fn simple_meeting(&mut self, channel: Link<Channel>, direction: Direction) -> Option<Meeting> {
        let queue = self.open_channel(channel);
        if !queue.has_partner(direction) || queue.schedule_all {
            return None;
        }
        let partner = queue.first;
        let prefers_partner = i32::from(queue.preference) == -direction.sign();
        if !self.is_unconstrained() || self.waiter(partner) != partner {
            return None;
        }
        let target = if prefers_partner { partner } else { self.head };
        Some(Meeting { partner, place: partner, target, id: TaskletId::default() })
    }

    /// [`meet`](Self::meet) after [`simple_meeting`](Self::simple_meeting).
    #[inline(always)]
    pub(crate) fn meet_simply(
        &mut self,
        channel: Link<Channel>,
        direction: Direction,
        meeting: Meeting,
    ) -> Turn {
        let Meeting { partner, target, .. } = meeting;
        let me = self.head;
        self.dequeue_first(channel, direction.opposite(), partner);
        let successor = if target == partner { self.member(me).next } else { me };
        self.insert_before(successor, partner);
        self.head = target;
        if target == me { Turn::Keep } else { Turn::Switch }
    }

    /// [`block`](Self::block) where nobody waits at the other end, and where nothing can come of it but a
    /// switch: to whom; nothing anywhere else.
    #[inline(always)]
    pub(crate) fn block_simply(
        &mut self,
        channel: Link<Channel>,
        direction: Direction,
    ) -> Option<Link<Tasklet>> {
        let me = self.head;
        let queue = self.open_channel(channel);
        if queue.has_partner(direction) || queue.closing {
            return None;
        }
        let tasklet = self.member(me);
        let (prev, next) = (tasklet.prev, tasklet.next);
        if tasklet.flags.block_trap || next == me || !self.is_unconstrained() {
            return None;
        }
        // It is the head of a queue in which it is not alone, and gets another place at once.
        self.member(prev).next = next;
        self.member(next).prev = prev;
        self.queued -= 1;
        self.head = next;
        self.enqueue(channel, direction, me);
        Some(next)
    }

    /// Takes the partner off the channel and decides who goes on (`semantics.md` 2.6).
    #[inline]
    pub(crate) fn meet(&mut self, channel: Link<Channel>, direction: Direction, meeting: Meeting) -> Turn {
        let me = self.head;
        if !self.still_waits(channel, direction, meeting) {
            return Turn::Keep;
        }
        let Meeting { partner, place, target, .. } = meeting;
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
        self.head = if all && self.limited { self.soft_stop(me, target) } else { target };
        if self.head == me { Turn::Keep } else { Turn::Switch }
    }

    /// Nothing has taken the partner off the channel since the meeting was arranged.
    fn still_waits(&self, channel: Link<Channel>, direction: Direction, meeting: Meeting) -> bool {
        let waits =
            |place: &Tasklet| place.place == Place::Channel(direction.opposite()) && place.channel == channel;
        self.tasklets.get(meeting.id).is_some_and(waits)
    }

    /// A hand-over for a caller that can't switch, if somebody waits at the other end: whatever the preference, the
    /// caller goes on.
    pub(crate) fn quiet_meeting(&mut self, channel: Link<Channel>, direction: Direction) -> Option<Meeting> {
        let queue = self.open_channel(channel);
        let place = queue.has_partner(direction).then_some(queue.first)?;
        let (partner, id) = (self.waiter(place), self.id(place));
        Some(Meeting { partner, place, target: self.head, id })
    }

    /// Takes the partner of a [quiet meeting](Self::quiet_meeting) off the channel and makes it runnable, last.
    pub(crate) fn meet_quietly(&mut self, channel: Link<Channel>, direction: Direction, meeting: Meeting) {
        if self.still_waits(channel, direction, meeting) {
            self.note_served(meeting.place);
            self.unlink(meeting.partner);
            self.append(meeting.partner);
        }
    }

    /// Waits at the end of the channel's queue (`semantics.md` 2.5).
    #[inline]
    pub(crate) fn block(&mut self, channel: Link<Channel>, direction: Direction) -> Result<Turn, ErrorKind> {
        let me = self.head;
        self.unqueue(me);
        self.enqueue(channel, direction, me);
        if !self.head.is_none() && self.is_unconstrained() {
            return Ok(Turn::Switch);
        }
        self.switch(me, self.head).inspect_err(|_| self.stay(me))
    }

    /// The running tasklet has stopped where it can go on, and is paused: whoever is next becomes the head.
    /// `None` as in [`end_current`](Self::end_current).
    pub(crate) fn set_aside(&mut self) -> Option<TaskletId> {
        let me = self.head;
        let next = self.end_current(false);
        let tasklet = self.member(me);
        tasklet.life = Life::Started;
        tasklet.slot = Slot::Nothing;
        next
    }

    /// The running tasklet has ended: whoever is next becomes the head. With `failed` that is the
    /// innermost runner, ahead of the queue, wherever it is (`semantics.md` 1.36). `None` means that
    /// the queue is empty and main is blocked for ever.
    pub(crate) fn end_current(&mut self, failed: bool) -> Option<TaskletId> {
        let me = self.head;
        self.unqueue(me);
        self.member(me).life = Life::Unbound;
        let runner = self.innermost_runner();
        if failed {
            if self.member(runner).place != Place::Queue {
                self.unlink(runner);
                self.append(runner);
            }
            self.head = runner;
        } else if self.head.is_none() {
            if self.member(runner).place != Place::Floating {
                return None;
            }
            self.append(runner);
        } else {
            self.head = self.soft_stop(me, self.head);
        }
        Some(self.current())
    }
}
