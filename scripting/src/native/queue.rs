//! Queues, which keep values, as Rust uses them.

use super::carrier::Carrier;
use crate::luau::Machine;
use crate::luau::ffi::*;
use crate::scheduler::{Channel, Direction, Error, ErrorKind, Link, Slot};

impl Machine {
    /// The channel keeps values, and makes who sends more than it has room for wait.
    pub(crate) fn is_queue(&self, channel: Link<Channel>) -> bool {
        self.scheduler().open_channel(channel).buffer.as_ref().is_some_and(|buffer| buffer.waits)
    }

    /// Puts a value into a queue, or takes the oldest one out; false to wait like in any channel, or to meet
    /// somebody who does.
    pub(super) fn use_queue(
        &self,
        channel: Link<Channel>,
        direction: Direction,
        place: *mut (),
        carrier: &'static Carrier,
        verb: &str,
    ) -> Result<bool, Error> {
        let L = self.scratch;
        // SAFETY: `place` is the caller's, for a value of the carrier's type. The scratch coroutine has room,
        // and gets back what it had. What may run out of memory is protected.
        unsafe {
            if direction == Direction::Send {
                if !self.has_room(channel, verb)? {
                    return Ok(false);
                }
                carrier.push(self, L, place)?;
                let kept = self.put_from_scratch(channel, Slot::Value);
                lua_settop(L, -2);
                return kept.map(|()| true);
            }
            let mut taken = None;
            crate::luau::protect(self.helper, |helper| {
                self.refill(helper, channel, verb);
                taken = self.take_queued(helper, channel);
                if taken.is_some() {
                    lua_xmove(helper, L, 1);
                }
            })?;
            let result = match taken {
                None => return Ok(false),
                Some(Slot::Error) => Err(self.read_thrown(L, -1)),
                Some(_) => carrier.take(self, L, -1, place).map_err(|error| self.with_value(error, L)),
            };
            lua_settop(L, -2);
            result.map(|()| true)
        }
    }

    /// Puts an error into a queue, whose receiver's call will raise it; false as in
    /// [`use_queue`](Self::use_queue).
    pub(super) fn queue_error(
        &self,
        channel: Link<Channel>,
        offer: &mut Option<Error>,
    ) -> Result<bool, Error> {
        if !self.has_room(channel, "send_exception")? {
            return Ok(false);
        }
        let Some(error) = offer.take() else { return Ok(false) };
        let L = self.scratch;
        // SAFETY: as in `use_queue`.
        unsafe {
            crate::luau::protect(self.helper, |helper| {
                self.push_thrown(helper, &error);
                lua_xmove(helper, L, 1);
            })?;
            let kept = self.put_from_scratch(channel, Slot::Error);
            lua_settop(L, -2);
            kept.map(|()| true)
        }
    }

    /// What is sent can be kept at once: nobody waits for it, and there is room.
    fn has_room(&self, channel: Link<Channel>, verb: &str) -> Result<bool, Error> {
        let queue = &self.scheduler().open_channel(channel);
        if queue.has_partner(Direction::Send) {
            return Ok(false);
        }
        if queue.closing {
            let text = format!("{verb}: queue {} is closed", self.scheduler().channel_number(channel));
            return Err(Error::new(ErrorKind::Closed, text));
        }
        Ok(queue.buffer.as_ref().is_some_and(|buffer| buffer.len() < buffer.capacity))
    }

    /// Keeps the value on top of the scratch coroutine. `[-0, +0]`
    unsafe fn put_from_scratch(&self, channel: Link<Channel>, slot: Slot) -> Result<(), Error> {
        // SAFETY: `use_queue`.
        unsafe {
            crate::luau::protect(self.helper, |helper| {
                lua_xpush(self.scratch, helper, -1);
                self.put_queued(helper, channel, slot);
            })?;
        }
        self.scheduler().messages += 1;
        Ok(())
    }
}
