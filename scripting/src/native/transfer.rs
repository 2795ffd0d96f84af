//! Hand-overs of Rust code that take more than to move a value from one Rust frame to another.

use super::carrier::{Carrier, Exchange};
use super::coroutine::{Native, Step};
use crate::luau::Machine;
use crate::luau::ffi::*;
use crate::scheduler::{
    Channel as Queue, Direction, Error, ErrorKind, Link, Meeting, Slot, Tasklet as TaskletRecord, TaskletId,
    Turn,
};

/// What came of a hand-over that is not just a move.
pub(super) enum Trade {
    /// The value is where it belongs.
    Done,
    /// The partner has sent an error.
    Raised(Error),
    /// The partner's value can't be converted, which it has been told: it waits no longer.
    Refused,
}

/// A caller that meets a waiting partner.
pub(super) enum Encounter {
    /// As the preference has it.
    Switching(Meeting),
    /// The caller can't switch, so it goes on.
    Quiet(Meeting),
}

impl Encounter {
    pub fn partner(&self) -> Link<TaskletRecord> {
        match self {
            Self::Switching(meeting) | Self::Quiet(meeting) => meeting.partner,
        }
    }
}

impl Machine {
    /// Begins a channel operation of Rust code: the frame that can wait, if any; the callback is called.
    #[inline]
    pub(super) fn begin(
        &self,
        channel: Link<Queue>,
        direction: Direction,
        verb: &str,
    ) -> Result<Option<*mut Native>, Error> {
        let frame = self.frame(verb)?;
        if self.channel_callback.get().is_some() {
            self.announce_transfer(self.scheduler().channel_id(channel), direction);
        }
        Ok(frame)
    }

    /// Whom the operation meets; `None` if it has to wait, and may.
    #[inline]
    pub(super) fn partner(
        &self,
        channel: Link<Queue>,
        direction: Direction,
        frame: Option<*mut Native>,
        verb: &str,
    ) -> Result<Option<Encounter>, Error> {
        let scheduler = self.scheduler();
        if frame.is_none() {
            return match scheduler.quiet_meeting(channel, direction) {
                Some(meeting) => Ok(Some(Encounter::Quiet(meeting))),
                None => Err(self.cannot_wait(verb)),
            };
        }
        match scheduler.meeting(channel, direction) {
            Ok(meeting) => Ok(meeting.map(Encounter::Switching)),
            Err(kind) => Err(self.refused_transfer(kind, channel, verb)),
        }
    }

    #[cold]
    fn refused_transfer(&self, kind: ErrorKind, channel: Link<Queue>, verb: &str) -> Error {
        if kind == ErrorKind::Closed {
            let text = format!(
                "{verb}: channel {} is closed, and nobody waits at its other end",
                self.scheduler().channel_number(channel)
            );
            return Error::new(kind, text);
        }
        self.scheduler().refusal(kind, verb, self.scheduler().current())
    }

    /// The hand-over has taken place: the partner is runnable, and whoever is preferred goes on.
    #[inline]
    pub(super) fn meet(
        &self,
        channel: Link<Queue>,
        direction: Direction,
        frame: Option<*mut Native>,
        encounter: Encounter,
    ) -> Result<(), Error> {
        let scheduler = self.scheduler();
        scheduler.messages += 1;
        match (encounter, frame) {
            (Encounter::Switching(meeting), Some(frame)) => match scheduler.meet(channel, direction, meeting)
            {
                Turn::Keep => Ok(()),
                // SAFETY: the frame is the running one.
                Turn::Switch => unsafe { self.wait(frame, Step::Blocked) },
            },
            (Encounter::Switching(meeting) | Encounter::Quiet(meeting), _) => {
                scheduler.meet_quietly(channel, direction, meeting);
                Ok(())
            }
        }
    }

    /// Waits on the channel with something to give or to take.
    #[inline]
    pub(super) fn block_on(
        &self,
        channel: Link<Queue>,
        direction: Direction,
        frame: Option<*mut Native>,
        exchange: Exchange,
        verb: &str,
    ) -> Result<(), Error> {
        let Some(frame) = frame else { return Err(self.cannot_wait(verb)) };
        // SAFETY: the frame is the running one; the exchange points into its stack, or the host's, which
        // stays until it goes on.
        unsafe {
            (*frame).exchange = exchange;
            match self.scheduler().block(channel, direction) {
                Ok(_) => self.wait(frame, Step::Blocked),
                Err(kind) => {
                    (*frame).exchange = Exchange::Nothing;
                    Err(self.refused_transfer(kind, channel, verb))
                }
            }
        }
    }

    /// A hand-over between Rust and a partner that is Luau, or Rust with another type, or has an error.
    #[cold]
    pub(super) fn trade(
        &self,
        channel: Link<Queue>,
        direction: Direction,
        partner: TaskletId,
        mine: Exchange,
        verb: &str,
    ) -> Result<Trade, Error> {
        let Exchange::Value(place, carrier) = mine else { return Ok(Trade::Done) };
        let carrier = self.luau_carrier(channel, carrier);
        let tasklet = &self.scheduler().tasklets[partner];
        let (thread, native, slot) = (tasklet.thread, tasklet.native, tasklet.slot);
        // A conversion is code of anybody's: it may have killed the partner, which then has an error where its slot was.
        let still_waits = || self.scheduler().tasklets.get(partner).is_some_and(TaskletRecord::blocked);
        // SAFETY: the partner is suspended: a Luau one with its slot on top of its stack, a Rust one with an
        // exchange that points into its stack. `place` is the caller's.
        unsafe {
            if thread.is_null() {
                return match (*native).exchange {
                    Exchange::Error(error) => Ok(Trade::Raised(
                        (*error).take().unwrap_or_else(|| Error::new(ErrorKind::Gone, verb)),
                    )),
                    Exchange::Value(theirs, other) => {
                        let other = self.luau_carrier(channel, other);
                        let (from, source, to, target) = match direction {
                            Direction::Send => (carrier, place, other, theirs),
                            Direction::Receive => (other, theirs, carrier, place),
                        };
                        match self.convert(from, source, to, target) {
                            Ok(()) => Ok(Trade::Done),
                            Err(error) => self.blame(direction, partner, channel, to, error, verb),
                        }
                    }
                    Exchange::Nothing => Ok(Trade::Done),
                };
            }
            if lua_checkstack(thread, 4) == 0 {
                return Err(Error::new(ErrorKind::Memory, format!("{verb}: no memory to move the value")));
            }
            match direction {
                Direction::Send => {
                    let L = self.scratch;
                    carrier.push(self, L, place)?;
                    if still_waits() {
                        lua_settop(thread, -2);
                        lua_xmove(L, thread, 1);
                        self.scheduler().tasklets[partner].slot = Slot::Value;
                    } else {
                        lua_settop(L, -2);
                    }
                }
                Direction::Receive if slot == Slot::Error => {
                    let error = self.read_thrown(thread, -1);
                    lua_settop(thread, -2);
                    lua_pushnil(thread);
                    self.scheduler().tasklets[partner].slot = Slot::Value;
                    return Ok(Trade::Raised(error));
                }
                Direction::Receive => {
                    let taken = carrier.take(self, thread, -1, place);
                    if !still_waits() {
                        return taken.map(|()| Trade::Done);
                    }
                    if let Err(error) = taken {
                        return self.blame(direction, partner, channel, carrier, error, verb);
                    }
                    lua_settop(thread, -2);
                    lua_pushnil(thread);
                }
            }
        }
        Ok(Trade::Done)
    }

    /// A hand-over between a script, whose value or slot is on top of the stack, and a Rust partner. What
    /// the partner has sent, a value or an error, is pushed; `None` if it could not be converted, which it
    /// has been told: it waits no longer. `[-0, +1]`
    ///
    /// # Safety
    /// Called from a C function with room for 5 values; nothing has to be dropped in its frames.
    #[cold]
    pub(crate) unsafe fn trade_with_rust(
        &self,
        L: *mut lua_State,
        channel: Link<Queue>,
        direction: Direction,
        slot: Slot,
        partner: TaskletId,
        verb: &str,
    ) -> Option<Slot> {
        // SAFETY: the caller's; the partner waits with an exchange that points into its stack.
        unsafe {
            luaL_checkstack(L, 6, std::ptr::null());
            let native = self.scheduler().tasklets[partner].native;
            if direction == Direction::Send {
                if slot == Slot::Error {
                    self.deliver_error(partner, self.read_thrown(L, -1));
                } else if let Exchange::Value(place, carrier) = (*native).exchange {
                    let carrier = self.luau_carrier(channel, carrier);
                    if let Err(error) = carrier.take(self, L, -1, place) {
                        match self.blame(direction, partner, channel, carrier, error, verb) {
                            Err(error) => self.raise_error(L, error),
                            Ok(_) => return None,
                        }
                    }
                }
                lua_pushnil(L);
                return Some(Slot::Value);
            }
            match (*native).exchange {
                Exchange::Error(place) => {
                    let error = (*place).take().unwrap_or_else(Error::exit);
                    let kept = std::mem::ManuallyDrop::new(error);
                    self.push_thrown(L, &kept);
                    drop(std::mem::ManuallyDrop::into_inner(kept));
                    Some(Slot::Error)
                }
                Exchange::Value(place, carrier) => {
                    let carrier = self.luau_carrier(channel, carrier);
                    match carrier.push(self, L, place) {
                        Ok(()) => Some(Slot::Value),
                        Err(error) => {
                            let text =
                                format!("send: the value can't be given to a script: {}", error.message);
                            self.deliver_error(partner, Error::new(error.kind, text));
                            self.scheduler().interrupt_wait(partner);
                            None
                        }
                    }
                }
                Exchange::Nothing => {
                    lua_pushnil(L);
                    Some(Slot::Value)
                }
            }
        }
    }

    /// A value could not be converted: its sender gets the error, whichever end that is.
    fn blame(
        &self,
        direction: Direction,
        partner: TaskletId,
        channel: Link<Queue>,
        target: &Carrier,
        error: Error,
        verb: &str,
    ) -> Result<Trade, Error> {
        let text = |verb: &str| {
            let (channel, wanted) = (self.scheduler().channel_number(channel), target.type_name());
            Error::new(
                error.kind,
                format!("{verb}: channel {channel} is received from as {wanted}: {}", error.message),
            )
        };
        if direction == Direction::Send {
            return Err(text(verb));
        }
        self.deliver_error(partner, text("send"));
        self.scheduler().interrupt_wait(partner);
        Ok(Trade::Refused)
    }

    /// Moves a value of one type to a place for another, through the VM.
    unsafe fn convert(
        &self,
        from: &Carrier,
        source: *mut (),
        to: &Carrier,
        target: *mut (),
    ) -> Result<(), Error> {
        let L = self.scratch;
        // SAFETY: the caller's places; the scratch coroutine has room, and gets back what it had.
        unsafe {
            from.push(self, L, source)?;
            let taken = to.take(self, L, -1, target);
            lua_settop(L, -2);
            taken
        }
    }

    /// What is known of the type beyond what the handle knew when it was made.
    #[inline]
    pub(crate) fn luau_carrier(&self, channel: Link<Queue>, carrier: &'static Carrier) -> &'static Carrier {
        if carrier.reaches_luau() {
            return carrier;
        }
        let known = &self.scheduler().open_channel(channel).carriers;
        known.iter().find(|known| known.same_type(carrier)).copied().unwrap_or(carrier)
    }

    /// Sends to an inbox, or takes what waits in one; false to wait like in any channel.
    #[cold]
    pub(super) fn use_buffer(
        &self,
        channel: Link<Queue>,
        direction: Direction,
        mine: Exchange,
        verb: &str,
    ) -> Result<bool, Error> {
        let Exchange::Value(place, carrier) = mine else { return Ok(false) };
        let carrier = self.luau_carrier(channel, carrier);
        if self.is_queue(channel) {
            return self.use_queue(channel, direction, place, carrier, verb);
        }
        if direction == Direction::Send && self.scheduler().open_channel(channel).closing {
            return Err(Error::new(ErrorKind::Closed, format!("{verb}: the inbox is closed")));
        }
        let L = self.scratch;
        // SAFETY: the scratch coroutine has room, and gets back what it had. What may run out of memory is
        // protected.
        unsafe {
            match direction {
                Direction::Send => {
                    carrier.push(self, L, place)?;
                    let posted = crate::luau::protect(self.helper, |helper| {
                        lua_xpush(L, helper, -1);
                        self.post(helper, channel);
                    });
                    lua_settop(L, -2);
                    posted.map(|()| true)
                }
                Direction::Receive => {
                    if !self.take_buffered(L, channel) {
                        return Ok(false);
                    }
                    let taken = carrier.take(self, L, -1, place).map_err(|error| self.with_value(error, L));
                    lua_settop(L, -2);
                    taken.map(|()| true)
                }
            }
        }
    }

    /// The error has the value on top of the stack, which would be lost else. `[-0, +0]`
    pub(super) unsafe fn with_value(&self, error: Error, L: *mut lua_State) -> Error {
        // SAFETY: the caller's.
        match self.vm().map(|vm| unsafe { vm.read_value(L, -1) }) {
            Some(Ok(value)) => error.with_thrown(crate::scheduler::Thrown::Luau(value)),
            _ => error,
        }
    }
}
