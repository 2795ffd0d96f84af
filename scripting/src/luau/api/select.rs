//! Receiving from whichever of several channels is served first.

use super::super::ffi::*;
use super::super::machine::Machine;
use super::channel::{ChannelHandle, check};
use super::transfer::{announce, transfer};
use super::{check_can_switch, check_running, end_turn, refuse};
use crate::scheduler::{Channel, Direction, Link, Slot};
use std::ffi::c_int;

const VERB: &str = "select";

/// `select(channels)` of the library: the index of a channel in the list, and what was received from it.
/// The first in the list wins of those that have something already, be it only that they are closed.
/// The list keeps the channels alive, so nobody else may have it.
pub(in crate::luau) unsafe extern "C-unwind" fn select(L: *mut lua_State) -> c_int {
    // SAFETY: a C function with the continuation below, called by the library with a list.
    unsafe {
        let machine = Machine::of(L);
        check_running(machine, L, VERB);
        let count = lua_objlen(L, 1) as c_int;
        for index in 1..=count {
            lua_settop(L, 1);
            lua_rawgeti_(L, 1, index);
            let channel = check(machine, L, 2, VERB);
            let queue = &machine.scheduler().open_channel(channel);
            if queue.has_partner(Direction::Receive) || queue.buffered() > 0 || queue.closing {
                return take(L, machine, channel, index);
            }
        }
        block(L, machine, count)
    }
}

/// Receives from the channel at index 2. What is left for the continuation is the channel, the index and
/// the slot.
unsafe fn take(L: *mut lua_State, machine: &Machine, channel: Link<Channel>, index: c_int) -> c_int {
    // SAFETY: called from the C function.
    unsafe {
        lua_replace(L, 1);
        lua_pushnumber(L, f64::from(index));
        lua_pushnil(L);
        let before = machine.scheduler().current();
        let result = transfer(machine, L, channel, Direction::Receive, Slot::Value, VERB);
        if machine.scheduler().current() != before || result < 0 {
            return result;
        }
        results(L)
    }
}

/// Waits on all of the channels. What is left for the continuation is the list, 0 and the slot.
unsafe fn block(L: *mut lua_State, machine: &Machine, count: c_int) -> c_int {
    // SAFETY: called from the C function. The ids are gone before anything can be raised.
    unsafe {
        let me = machine.scheduler().head;
        check_can_switch(machine, L, VERB);
        if machine.channel_callback.get().is_some() {
            for index in 1..=count {
                lua_settop(L, 1);
                lua_rawgeti_(L, 1, index);
                let channel = check(machine, L, 2, VERB);
                announce(L, 2, machine, channel, Direction::Receive);
            }
        }
        lua_settop(L, 1);
        let turn = {
            let mut channels = Vec::with_capacity(count as usize);
            for index in 1..=count {
                lua_rawgeti_(L, 1, index);
                // What is in the list has been checked; nothing of a script has run since.
                let handle = lua_touserdatatagged(L, -1, machine.channel_tag).cast::<ChannelHandle>();
                if let Some(handle) = handle.as_ref() {
                    channels.push(handle.link);
                }
                lua_settop(L, 1);
            }
            machine.scheduler().block_on_all(&channels)
        };
        lua_pushnumber(L, 0.0);
        lua_pushnil(L);
        match turn {
            Ok(turn) => end_turn(machine, L, me, turn),
            Err(kind) => refuse(L, kind, VERB, machine.scheduler().id(me)),
        }
    }
}

/// The wait is over: what was received is on top.
pub(in crate::luau) unsafe extern "C-unwind" fn select_goes_on(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `select`.
    unsafe {
        if status != LUA_OK {
            lua_error(L);
        }
        results(L)
    }
}

/// The index at 2, or that of the arm that was served, and the value on top.
unsafe fn results(L: *mut lua_State) -> c_int {
    // SAFETY: called with index, and value on top.
    unsafe {
        let mut index = lua_tonumber(L, 2);
        if index == 0.0 {
            let scheduler = Machine::of(L).scheduler();
            let details = scheduler.tasklets[scheduler.current()].details.as_ref();
            index = details.map_or(0.0, |details| details.served as f64 + 1.0);
        }
        lua_pushnumber(L, index);
        lua_insert(L, -2);
        2
    }
}
