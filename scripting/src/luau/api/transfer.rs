//! Hand-overs: a value from a script to whoever receives it, and the other way round.

use super::super::ffi::*;
use super::super::machine::Machine;
use super::super::state;
use super::super::value::raise;
use super::channel::ITERATION;
use super::{call_without_suspending, check_can_switch, check_running, refuse};
use crate::native::{Carrier, Exchange};
use crate::scheduler::{Channel, Direction, ErrorKind, Link, Meeting, Slot, Turn};
use std::ffi::c_int;

/// Sends the value on top of the stack, or receives one into its place. Here it takes no more than to move a value
/// from one script to another, or to wait: calls come last, so that there are no registers to save.
///
/// # Safety
/// As [`transfer`].
#[inline(always)]
pub(super) unsafe fn transfer_value(
    machine: &Machine,
    L: *mut lua_State,
    channel: Link<Channel>,
    direction: Direction,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let scheduler = machine.scheduler();
        if !machine.is_unhindered(L)
            || machine.channel_callback.get().is_some()
            || scheduler.open_channel(channel).buffer.is_some()
        {
            return transfer_otherwise(machine, L, channel, direction);
        }
        let me = scheduler.head;
        let Some(meeting) = scheduler.simple_meeting(channel, direction) else {
            if scheduler.block_simply(channel, direction).is_none() {
                return transfer_otherwise(machine, L, channel, direction);
            }
            return machine.suspend_body(L, me);
        };
        let partner = scheduler.member(meeting.partner);
        let thread = partner.thread;
        if partner.slot != Slot::Value {
            return transfer_otherwise(machine, L, channel, direction);
        }
        if thread.is_null() {
            return transfer_number(machine, L, channel, direction, meeting);
        }
        match direction {
            Direction::Send => state::move_slot(L, thread),
            Direction::Receive => state::move_slot(thread, L),
        }
        meet_simply(machine, L, channel, direction, meeting)
    }
}

/// As [`transfer_value`], with a Rust tasklet: a number goes to it or comes from it by itself.
///
/// # Safety
/// As [`transfer`]; the meeting is that of the channel.
#[inline(never)]
unsafe fn transfer_number(
    machine: &Machine,
    L: *mut lua_State,
    channel: Link<Channel>,
    direction: Direction,
    meeting: Meeting,
) -> c_int {
    // SAFETY: the caller's. The partner waits, and its exchange points to a place of the carrier's type, in a frame
    // that stays until it is resumed.
    unsafe {
        let partner = machine.scheduler().member(meeting.partner);
        let moved = match (*partner.native).exchange {
            Exchange::Value(place, carrier) => move_number(L, direction, place, carrier),
            _ => None,
        };
        match moved {
            Some(()) => meet_simply(machine, L, channel, direction, meeting),
            None => transfer_otherwise(machine, L, channel, direction),
        }
    }
}

/// Moves a number between the slot of a script and a place of Rust's; `None`, and nothing, if there is none.
///
/// # Safety
/// The place is one of the carrier's.
#[inline(always)]
unsafe fn move_number(
    L: *mut lua_State,
    direction: Direction,
    place: *mut (),
    carrier: &Carrier,
) -> Option<()> {
    // SAFETY: the caller's.
    unsafe {
        match direction {
            Direction::Send => {
                if !carrier.put_number(place, state::number_on_top(L)?) {
                    return None;
                }
                state::set_nil(L);
            }
            Direction::Receive => state::set_number(L, carrier.take_number(place)?),
        }
    }
    Some(())
}

/// The value has moved.
///
/// # Safety
/// As [`transfer`]; the meeting is that of the channel.
#[inline(always)]
unsafe fn meet_simply(
    machine: &Machine,
    L: *mut lua_State,
    channel: Link<Channel>,
    direction: Direction,
    meeting: Meeting,
) -> c_int {
    let scheduler = machine.scheduler();
    let me = scheduler.head;
    scheduler.messages += 1;
    match scheduler.meet_simply(channel, direction, meeting) {
        Turn::Keep => 1,
        // SAFETY: the caller's.
        Turn::Switch => unsafe { machine.suspend_body(L, me) },
    }
}

/// As [`transfer_value`], in all cases.
///
/// # Safety
/// As [`transfer`].
#[cold]
unsafe fn transfer_otherwise(
    machine: &Machine,
    L: *mut lua_State,
    channel: Link<Channel>,
    direction: Direction,
) -> c_int {
    let verb = match direction {
        Direction::Send => "send",
        Direction::Receive => "receive",
    };
    // SAFETY: the caller's.
    unsafe { transfer(machine, L, channel, direction, Slot::Value, verb) }
}

/// Sends the value on top of the stack, or receives one into its place (`semantics.md` 2B).
#[cold]
pub(super) unsafe fn transfer(
    machine: &Machine,
    L: *mut lua_State,
    channel: Link<Channel>,
    direction: Direction,
    slot: Slot,
    verb: &str,
) -> c_int {
    // SAFETY: called from a C function whose last value is its slot. A partner waits with its own
    // slot on top of its stack, so the two values can be exchanged in place.
    unsafe {
        let me = machine.scheduler().head;
        check_running(machine, L, verb);
        if machine.channel_callback.get().is_some() {
            announce(L, 1, machine, channel, direction);
        }
        if machine.scheduler().open_channel(channel).buffer.is_some()
            && let Some(result) = use_buffer(L, machine, channel, direction, slot, verb)
        {
            return result;
        }
        let (meeting, theirs) = loop {
            let meeting = match machine.scheduler().meeting(channel, direction) {
                Ok(meeting) => meeting,
                Err(ErrorKind::Closed) => raise(
                    L,
                    ErrorKind::Closed,
                    format!(
                        "{verb}: channel {} is closed, and nobody waits at its other end",
                        machine.scheduler().channel_number(channel)
                    ),
                ),
                Err(kind) => refuse(L, kind, verb, machine.scheduler().id(me)),
            };
            let Some(meeting) = meeting else {
                check_can_switch(machine, L, verb);
                return match machine.scheduler().block(channel, direction) {
                    Ok(turn) => {
                        let result = super::end_turn(machine, L, me, turn);
                        machine.scheduler().member(me).slot = slot;
                        result
                    }
                    Err(kind) => refuse(L, kind, verb, machine.scheduler().id(me)),
                };
            };
            if meeting.switches(me) {
                check_can_switch(machine, L, verb);
            }
            let partner = machine.scheduler().member(meeting.partner);
            let thread = partner.thread;
            if thread.is_null() {
                let partner = machine.scheduler().id(meeting.partner);
                match machine.trade_with_rust(L, channel, direction, slot, partner, verb) {
                    Some(theirs) => break (meeting, theirs),
                    None => continue,
                }
            }
            let theirs = std::mem::replace(&mut partner.slot, Slot::Value);
            if direction == Direction::Send {
                partner.slot = slot;
                state::move_slot(L, thread);
            } else {
                state::move_slot(thread, L);
            }
            break (meeting, theirs);
        };
        machine.scheduler().messages += 1;
        let turn = machine.scheduler().meet(channel, direction, meeting);
        let mut raises = direction == Direction::Receive && theirs == Slot::Error;
        if raises && verb == ITERATION && machine.is_stop(L, -1) {
            // The loop ends quietly: the stop arrives as the nil that ends it.
            lua_settop(L, -2);
            lua_pushnil(L);
            raises = false;
        }
        match turn {
            Turn::Keep if raises => lua_error(L),
            Turn::Keep => 1,
            Turn::Switch => {
                let result = machine.suspend(L, me);
                if raises {
                    machine.scheduler().member(me).slot = Slot::Error;
                }
                result
            }
        }
    }
}

/// Sends to an inbox, or takes what waits in one; `None` to wait like in any channel.
unsafe fn use_buffer(
    L: *mut lua_State,
    machine: &Machine,
    channel: Link<Channel>,
    direction: Direction,
    slot: Slot,
    verb: &str,
) -> Option<c_int> {
    // SAFETY: called from a C function; a value to send is on top of its stack.
    unsafe {
        if machine.scheduler().open_channel(channel).buffer.as_ref().is_some_and(|buffer| buffer.waits) {
            return super::queue::pass(L, machine, channel, direction, slot, verb);
        }
        if direction == Direction::Receive {
            tell_of_losses(L, machine, channel, verb);
            return machine.take_buffered(L, channel).then_some(1);
        }
        if slot == Slot::Error {
            raise(L, ErrorKind::Type, format!("{verb}: an inbox takes values, not errors"));
        }
        if machine.scheduler().open_channel(channel).closing {
            raise(L, ErrorKind::Closed, format!("{verb}: the inbox is closed"));
        }
        machine.post(L, channel);
        lua_pushnil(L);
        Some(1)
    }
}

/// Raises an error if values were lost that the receiver has not been told of.
unsafe fn tell_of_losses(L: *mut lua_State, machine: &Machine, channel: Link<Channel>, verb: &str) {
    let Some(buffer) = &mut machine.scheduler().open_channel(channel).buffer else { return };
    let lost = std::mem::take(&mut buffer.untold);
    if lost > 0 {
        let capacity = buffer.capacity;
        let text = format!(
            "{verb}: {lost} values were lost, because {capacity} were waiting already and that is the most; \
             receive them faster, or ask for more room"
        );
        // SAFETY: called from a C function whose frame owns nothing; the borrow has ended.
        unsafe { raise(L, ErrorKind::Overflow, text) }
    }
}

/// Calls the channel callback. Its errors are reported and dropped; so is one for want of memory.
pub(super) unsafe fn announce(
    L: *mut lua_State,
    handle: c_int,
    machine: &Machine,
    channel: Link<Channel>,
    direction: Direction,
) {
    // SAFETY: called from a C function of the running tasklet with the channel's handle at that index.
    unsafe {
        let Some(callback) = machine.channel_callback.get() else { return };
        let blocks = machine.scheduler().open_channel(channel).blocks(direction);
        luaL_checkstack(L, 6, std::ptr::null());
        lua_pushcfunctiond(L, call_without_suspending, c"channel callback".as_ptr());
        machine.anchors().push(callback, L);
        lua_pushvalue(L, handle);
        machine.push_tasklet(L, machine.scheduler().current());
        lua_pushboolean(L, c_int::from(direction == Direction::Send));
        lua_pushboolean(L, c_int::from(blocks));
        // From here on nothing is raised past the line that takes it back.
        machine.scheduler().in_callback = true;
        let status = lua_pcall(L, 5, 0, 0);
        machine.scheduler().in_callback = false;
        if status != LUA_OK {
            tracing::warn!("the channel callback failed: {}", super::super::value::describe(L, -1));
            lua_settop(L, -2);
        }
    }
}
