//! The table `scheduler`.

use super::super::ffi::*;
use super::super::interrupt;
use super::super::machine::Machine;
use super::super::state;
use super::{check_bool, check_can_switch, check_int, end_turn, protected, refuse, set_function, wrong_type};
use crate::scheduler::{Deferred, Limit, Turn};
use std::ffi::{CStr, c_int};

/// Makes the table and its global. `[-0, +0]`
///
/// # Safety
/// `L` is a live state with its machine, below a protected call.
pub(super) unsafe fn install(L: *mut lua_State) {
    // SAFETY: balanced pushes and pops.
    unsafe {
        lua_createtable(L, 0, 24);
        for (name, f) in [
            (c"tasklet", super::tasklet::new as lua_CFunction),
            (c"channel", super::channel::new),
            (c"run", run),
            (c"schedule", schedule),
            (c"schedule_remove", schedule_remove),
            (c"getcurrent", getcurrent),
            (c"getmain", getmain),
            (c"getruncount", getruncount),
            (c"switch_trap", switch_trap),
            (c"set_channel_callback", set_channel_callback),
            (c"get_channel_callback", get_channel_callback),
            (c"set_schedule_callback", set_schedule_callback),
            (c"get_schedule_callback", get_schedule_callback),
            (c"set_error_handler", set_error_handler),
            (c"defer", defer),
        ] {
            set_function(L, name, f);
        }
        lua_pushcclosurek(L, timer, c"timer".as_ptr(), 0, Some(timer_ends));
        lua_rawsetfield(L, -2, c"timer".as_ptr());
        lua_pushcclosurek(L, atomic, c"atomic".as_ptr(), 0, Some(atomic_ends));
        lua_rawsetfield(L, -2, c"atomic".as_ptr());
        protected::push_stopping_pcall(L);
        lua_rawsetfield(L, -2, c"pcall".as_ptr());
        let machine = Machine::of(L);
        for (name, constant) in
            [(c"TaskletExit", machine.constants.exit), (c"StopIteration", machine.constants.stop)]
        {
            machine.anchors().push(constant, L);
            lua_rawsetfield(L, -2, name.as_ptr());
        }
        lua_setglobal(L, c"scheduler".as_ptr());
    }
}

unsafe extern "C-unwind" fn schedule(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM, with room for a value.
    unsafe {
        let machine = Machine::of(L);
        if machine.is_unhindered(L) && state::height(L) == 0 {
            let me = machine.scheduler().head;
            if let Some(handle) = machine.scheduler().member(me).handle
                && machine.scheduler().rotate().is_some()
            {
                state::push_handle(machine, L, handle);
                return machine.suspend_body(L, me);
            }
        }
        schedule_with_care(L)
    }
}

#[cold]
unsafe fn schedule_with_care(L: *mut lua_State) -> c_int {
    // SAFETY: called from a C function.
    unsafe { yield_turn(L, "schedule", crate::scheduler::Scheduler::schedule) }
}

unsafe extern "C-unwind" fn schedule_remove(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe { yield_turn(L, "schedule_remove", crate::scheduler::Scheduler::schedule_remove) }
}

/// Both kinds of `schedule`: the slot is the argument, or the tasklet itself.
#[inline(always)]
unsafe fn yield_turn(
    L: *mut lua_State,
    verb: &str,
    operation: impl Fn(&mut crate::scheduler::Scheduler) -> Result<Turn, crate::ErrorKind>,
) -> c_int {
    // SAFETY: called from a C function.
    unsafe {
        let machine = Machine::of(L);
        let me = machine.scheduler().head;
        check_can_switch(machine, L, verb);
        match lua_gettop(L) {
            0 => machine.push_current(L, me),
            1 => {}
            _ => lua_settop(L, 1),
        }
        match operation(machine.scheduler()) {
            // The host is asked between two slices whether to go on, so a tasklet that is all alone
            // has to end its slice as well.
            Ok(Turn::Keep) if machine.host_rules() => machine.suspend(L, me),
            Ok(turn) => end_turn(machine, L, me, turn),
            Err(kind) => refuse(L, kind, verb, machine.scheduler().id(me)),
        }
    }
}

/// A field of the table of limits, or a default; raises if it is of the wrong type.
unsafe fn limit_flag(L: *mut lua_State, name: &CStr) -> bool {
    // SAFETY: called with the table at index 1.
    unsafe {
        let found = lua_rawgetfield(L, 1, name.as_ptr()) != LUA_TNIL;
        let set = found && check_bool(L, -1, &format!("run: {}", name.to_string_lossy()));
        lua_settop(L, -2);
        set
    }
}

unsafe extern "C-unwind" fn run(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        let me = machine.scheduler().head;
        check_can_switch(machine, L, "run");
        let mut limit = Limit { ticks: 0, soft: false, total: false };
        let ticks = match lua_type(L, 1) {
            LUA_TNONE | LUA_TNIL => 0,
            LUA_TNUMBER => check_int(L, 1, "run: limit"),
            LUA_TTABLE => {
                limit.soft = limit_flag(L, c"soft");
                limit.total = limit_flag(L, c"totaltimeout");
                // Both are Stackless's, and nothing comes of them here.
                limit_flag(L, c"ignore_nesting");
                limit_flag(L, c"threadblock");
                lua_rawgetfield(L, 1, c"timeout".as_ptr());
                if lua_type(L, -1) == LUA_TNIL { 0 } else { check_int(L, -1, "run: timeout") }
            }
            _ => wrong_type(L, 1, "run: limit", "a number of ticks or a table"),
        };
        if ticks < 0 {
            wrong_type(L, 1, "run: limit", "a number of ticks that is not negative");
        }
        limit.ticks = ticks as u64;
        lua_settop(L, 0);
        lua_pushnil(L);
        let limit = Some(limit).filter(|limit| limit.ticks > 0);
        match machine.scheduler().enter_run(limit) {
            Ok(turn) => {
                if machine.scheduler().limit().is_some() {
                    interrupt::arm(L);
                }
                end_turn(machine, L, me, turn)
            }
            Err(kind) => refuse(L, kind, "run", machine.scheduler().id(me)),
        }
    }
}

unsafe extern "C-unwind" fn getcurrent(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        machine.push_tasklet(L, machine.running.get());
        1
    }
}

unsafe extern "C-unwind" fn getmain(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        machine.push_tasklet(L, machine.scheduler().main);
        1
    }
}

unsafe extern "C-unwind" fn getruncount(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        lua_pushnumber(L, Machine::of(L).scheduler().queued as f64);
        1
    }
}

unsafe extern "C-unwind" fn switch_trap(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let delta = check_int(L, 1, "switch_trap: delta");
        let scheduler = Machine::of(L).scheduler();
        let level = scheduler.switch_trap();
        let sum = i64::from(level) + delta;
        scheduler.set_switch_trap(sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
        lua_pushnumber(L, f64::from(level));
        1
    }
}

/// Sets one of the callbacks to the function at index 1, or to none; returns the one before.
unsafe fn set_callback(
    L: *mut lua_State,
    what: &str,
    cell: &std::cell::Cell<Option<super::super::anchor::Anchor>>,
) -> c_int {
    // SAFETY: called from a C function.
    unsafe {
        let machine = Machine::of(L);
        let before = cell.get();
        lua_settop(L, 1);
        let after = match lua_type(L, 1) {
            LUA_TNIL => None,
            LUA_TFUNCTION => Some(machine.anchors().keep(L, 1)),
            _ => wrong_type(L, 1, what, "a function or nil"),
        };
        cell.set(after);
        machine.busy.set(true);
        match before {
            Some(anchor) => {
                machine.anchors().push(anchor, L);
                machine.anchors().release(anchor);
            }
            None => lua_pushnil(L),
        }
        1
    }
}

/// Pushes one of the callbacks.
unsafe fn get_callback(
    L: *mut lua_State,
    cell: &std::cell::Cell<Option<super::super::anchor::Anchor>>,
) -> c_int {
    // SAFETY: called from a C function.
    unsafe {
        match cell.get() {
            Some(anchor) => Machine::of(L).anchors().push(anchor, L),
            None => lua_pushnil(L),
        }
        1
    }
}

unsafe extern "C-unwind" fn set_channel_callback(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        machine.ask_guard(L, None, "set_channel_callback");
        set_callback(L, "set_channel_callback", &machine.channel_callback)
    }
}

unsafe extern "C-unwind" fn get_channel_callback(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe { get_callback(L, &Machine::of(L).channel_callback) }
}

unsafe extern "C-unwind" fn set_schedule_callback(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        machine.ask_guard(L, None, "set_schedule_callback");
        set_callback(L, "set_schedule_callback", &machine.schedule_callback)
    }
}

unsafe extern "C-unwind" fn get_schedule_callback(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe { get_callback(L, &Machine::of(L).schedule_callback) }
}

unsafe extern "C-unwind" fn set_error_handler(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM. What is alive when it raises owns nothing.
    unsafe {
        let machine = Machine::of(L);
        let owner = machine.scheduler().tasklets.get(machine.running.get()).map(|tasklet| tasklet.owner);
        let Some(owner) = owner.filter(|&owner| machine.scheduler().owners.contains_key(owner)) else {
            return set_callback(L, "set_error_handler", &machine.error_handler);
        };
        // What one script makes of its errors is nothing to the others of a game.
        let handler = std::cell::Cell::new(machine.handler_of(owner));
        let results = set_callback(L, "set_error_handler", &handler);
        machine.set_handler_of(owner, handler.get());
        results
    }
}

unsafe extern "C-unwind" fn defer(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM; the table holds `deferred` functions.
    unsafe {
        luaL_checktype(L, 1, LUA_TFUNCTION);
        let machine = Machine::of(L);
        let me = machine.running.get();
        if machine.scheduler().tasklets[me].details_mut().defers.is_none() {
            lua_createtable(L, 2, 0);
            let table = machine.anchors().keep(L, -1);
            lua_settop(L, -2);
            machine.scheduler().tasklets[me].details_mut().defers = Some(table);
        }
        let details = machine.scheduler().tasklets[me].details_mut();
        if let Some(table) = details.defers {
            let index = details.deferred.len() as c_int + 1;
            machine.anchors().push(table, L);
            lua_pushvalue(L, 1);
            lua_rawseti_(L, -2, index);
            machine.scheduler().tasklets[me].details_mut().deferred.push(Deferred::Luau);
        }
        0
    }
}

unsafe extern "C-unwind" fn atomic(L: *mut lua_State) -> c_int {
    // SAFETY: a C function with a continuation. The flag's old value goes below the function.
    unsafe {
        luaL_checktype(L, 1, LUA_TFUNCTION);
        let flags = &mut Machine::of(L).scheduler();
        let current = flags.current();
        let before = std::mem::replace(&mut flags.tasklets[current].flags.atomic, true);
        lua_pushboolean(L, c_int::from(before));
        lua_insert(L, 1);
        lua_pcallyieldable(L, lua_gettop(L) - 2, LUA_MULTRET, 0)
    }
}

unsafe extern "C-unwind" fn atomic_ends(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `atomic`; the flag's old value is still at index 1.
    unsafe {
        let scheduler = Machine::of(L).scheduler();
        let current = scheduler.current();
        scheduler.tasklets[current].flags.atomic = lua_toboolean(L, 1) != 0;
        if status != LUA_OK {
            lua_insert(L, 1);
            lua_settop(L, 1);
            Machine::of(L).name_memory(L, status);
            lua_error(L);
        }
        lua_gettop(L) - 1
    }
}

/// `scheduler.timer(name, f, ...)`: calls `f`, and measures how long it takes if time is measured
/// (`semantics.md` 5.22).
unsafe extern "C-unwind" fn timer(L: *mut lua_State) -> c_int {
    // SAFETY: a C function with a continuation. The stack becomes: function, arguments.
    unsafe {
        luaL_checktype(L, 2, LUA_TFUNCTION);
        let Some(name) = super::super::value::to_bytes(L, 1) else {
            wrong_type(L, 1, "timer: name", "a string")
        };
        Machine::of(L).enter_timer(&String::from_utf8_lossy(name));
        lua_remove(L, 1);
        lua_pcallyieldable(L, lua_gettop(L) - 1, LUA_MULTRET, 0)
    }
}

unsafe extern "C-unwind" fn timer_ends(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `timer`.
    unsafe {
        let machine = Machine::of(L);
        machine.leave_timer();
        if status != LUA_OK {
            lua_insert(L, 1);
            lua_settop(L, 1);
            machine.name_memory(L, status);
            lua_error(L);
        }
        lua_gettop(L)
    }
}
