//! Queues: channels that keep values, up to a limit, and make who sends more than that wait.
//!
//! What is kept lies in a table, by numbers that count up; for an error, `true` lies at the negative number.

use super::super::ffi::*;
use super::super::machine::Machine;
use super::super::value::{push_error, raise};
use super::channel::ITERATION;
use crate::scheduler::{Channel, Direction, ErrorKind, Link, Slot};
use std::ffi::c_int;

/// `queue(capacity?)` of the library, which has checked the number.
pub(in crate::luau) unsafe extern "C-unwind" fn new(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library.
    unsafe {
        let machine = Machine::of(L);
        let capacity = if lua_type(L, 1) == LUA_TNUMBER { lua_tonumber(L, 1) as u64 } else { u64::MAX };
        let channel = machine.push_new_channel(L);
        lua_createtable(L, 0, 0);
        let values = machine.anchors().keep(L, -1);
        lua_settop(L, -2);
        machine.scheduler().channels[channel].queue_in(values, capacity);
        1
    }
}

/// Sends the value on top of the stack to a queue, or receives one from it; `None` to wait like in any
/// channel, or to meet somebody who does. Switches to nobody.
pub(super) unsafe fn pass(
    L: *mut lua_State,
    machine: &Machine,
    channel: Link<Channel>,
    direction: Direction,
    slot: Slot,
    verb: &str,
) -> Option<c_int> {
    // SAFETY: called from a C function; a value to send is on top of its stack.
    unsafe {
        luaL_checkstack(L, 6, std::ptr::null());
        if direction == Direction::Send {
            let queue = &machine.scheduler().open_channel(channel);
            if queue.has_partner(Direction::Send) {
                return None;
            }
            if queue.closing {
                raise(
                    L,
                    ErrorKind::Closed,
                    format!("{verb}: queue {} is closed", machine.scheduler().channel_number(channel)),
                );
            }
            if queue.buffer.as_ref().is_some_and(|buffer| buffer.len() == buffer.capacity) {
                return None;
            }
            machine.put_queued(L, channel, slot);
            machine.scheduler().messages += 1;
            lua_pushnil(L);
            return Some(1);
        }
        machine.refill(L, channel, verb);
        if machine.take_queued(L, channel)? == Slot::Error {
            if verb != ITERATION || !machine.is_stop(L, -1) {
                lua_error(L);
            }
            // The loop ends quietly: the stop arrives as the nil that ends it.
            lua_pushnil(L);
        }
        Some(1)
    }
}

impl Machine {
    /// Closes a channel. Those that wait to receive from a queue go on: a loop ends, a call raises an error of kind
    /// `closed`. In any other channel they stay (`semantics.md` 2.15). `[-0, +0]`, raises when memory runs out.
    ///
    /// # Safety
    /// `L` is a live state with room for 6 values, below a protected call.
    pub(crate) unsafe fn close_channel(&self, L: *mut lua_State, channel: Link<Channel>) {
        let scheduler = self.scheduler();
        scheduler.open_channel(channel).closing = true;
        if !self.is_queue(channel) {
            return;
        }
        while scheduler.open_channel(channel).balance < 0 {
            let first = scheduler.open_channel(channel).first;
            let receiver = scheduler.waiter_id(first);
            // SAFETY: the caller's; a receiver waits with its slot on top of its stack, or in its Rust frame.
            unsafe {
                if scheduler.tasklets[receiver].flags.iterating {
                    self.push_constant(L, ErrorKind::Stop);
                } else {
                    let text = format!("receive: queue {} is closed", scheduler.channel_number(channel));
                    push_error(L, ErrorKind::Closed, &text);
                }
                self.scheduler().note_served(first);
                self.deliver(receiver, L, -1, Slot::Error);
                lua_settop(L, -2);
            }
            self.scheduler().interrupt_wait(receiver);
        }
    }

    /// Keeps the value on top of the stack. `[-0, +0]`, raises when memory runs out; nothing is kept then.
    ///
    /// # Safety
    /// `L` is a live state with room for 4 values, below a protected call.
    pub(crate) unsafe fn put_queued(&self, L: *mut lua_State, channel: Link<Channel>, slot: Slot) {
        let Some(buffer) = &self.scheduler().open_channel(channel).buffer else { return };
        let (table, place) = (buffer.values, buffer.next as f64);
        // SAFETY: the buffer is a table; room was asked for.
        unsafe {
            self.anchors().push(table, L);
            if slot == Slot::Error {
                lua_pushnumber(L, -place);
                lua_pushboolean(L, 1);
                lua_rawset(L, -3);
            }
            lua_pushnumber(L, place);
            lua_pushvalue(L, -3);
            lua_rawset(L, -3);
            lua_settop(L, -2);
        }
        if let Some(buffer) = &mut self.scheduler().open_channel(channel).buffer {
            buffer.next += 1;
        }
    }

    /// Keeps the value of the first sender that waits, which then waits no longer: the oldest value is
    /// about to be taken. `[-0, +0]`, raises when memory runs out.
    ///
    /// # Safety
    /// As [`put_queued`](Self::put_queued), with room for 6 values.
    pub(crate) unsafe fn refill(&self, L: *mut lua_State, channel: Link<Channel>, verb: &str) {
        loop {
            let queue = &self.scheduler().open_channel(channel);
            if queue.balance <= 0 || queue.buffered() == 0 {
                return;
            }
            let first = queue.first;
            let sender = self.scheduler().id(first);
            let tasklet = self.scheduler().member(first);
            let (thread, slot) = (tasklet.thread, tasklet.slot);
            // SAFETY: a sender waits with its value on top of its stack, or in its Rust frame.
            unsafe {
                if thread.is_null() {
                    // One whose value can't be converted has been told so, and is gone.
                    let traded =
                        self.trade_with_rust(L, channel, Direction::Receive, Slot::Value, sender, verb);
                    let Some(slot) = traded else { continue };
                    self.put_queued(L, channel, slot);
                } else {
                    lua_xpush(thread, L, -1);
                    self.put_queued(L, channel, slot);
                    lua_settop(thread, -2);
                    lua_pushnil(thread);
                    self.scheduler().member(first).slot = Slot::Value;
                }
                lua_settop(L, -2);
            }
            self.scheduler().interrupt_wait(sender);
            return;
        }
    }

    /// Pushes what has been kept longest, a value or an error; `None`, and nothing, if there is nothing.
    /// `[-0, +(0|1)]`
    ///
    /// # Safety
    /// As [`put_queued`](Self::put_queued).
    pub(crate) unsafe fn take_queued(&self, L: *mut lua_State, channel: Link<Channel>) -> Option<Slot> {
        let buffer = self.scheduler().open_channel(channel).buffer.as_mut()?;
        if buffer.len() == 0 {
            return None;
        }
        let (table, place) = (buffer.values, buffer.first as f64);
        buffer.first += 1;
        if buffer.len() == 0 {
            (buffer.first, buffer.next) = (1, 1);
        }
        // SAFETY: the buffer is a table; what is taken out of it needs no memory.
        unsafe {
            self.anchors().push(table, L);
            lua_pushnumber(L, -place);
            let fails = lua_rawget(L, -2) != LUA_TNIL;
            lua_settop(L, -2);
            if fails {
                lua_pushnumber(L, -place);
                lua_pushnil(L);
                lua_rawset(L, -3);
            }
            lua_pushnumber(L, place);
            lua_rawget(L, -2);
            lua_pushnumber(L, place);
            lua_pushnil(L);
            lua_rawset(L, -4);
            lua_remove(L, -2);
            Some(if fails { Slot::Error } else { Slot::Value })
        }
    }
}
