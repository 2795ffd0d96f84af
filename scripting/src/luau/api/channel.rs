//! Channels as scripts see them: handles.

use super::super::ffi::*;
use super::super::machine::{Dropped, Machine};
use super::super::state;
use super::super::value::{push_str, raise};
use super::transfer::{transfer, transfer_value};
use super::{check_bool, check_int, set_function, wrong_type};
use crate::scheduler::{Channel, ChannelId, Direction, Error, ErrorKind, Link, Slot};
use std::ffi::{CStr, c_int, c_void};

/// Fields of a handle that are not methods, in the order of their atoms.
const FIELDS: [&str; 6] = ["balance", "closing", "closed", "queue", "preference", "schedule_all"];

/// `send_sequence` comes last and has no atom: the VM does not call it straight, but through `namecall`, for
/// it needs a continuation, which would cost the others time each time they wait.
const METHODS: [(&CStr, lua_CFunction); 7] = [
    (c"send", send),
    (c"receive", receive),
    (c"send_exception", send_exception),
    (c"send_throw", send_exception),
    (c"open", open),
    (c"close", close),
    (c"send_sequence", send_sequence),
];

/// What a handle holds.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(in crate::luau) struct ChannelHandle {
    pub id: ChannelId,
    /// It keeps the channel, so this is never one that is gone.
    pub link: Link<Channel>,
}

/// What a C function returns that has called something which suspended.
const SUSPENDED: c_int = -1;

/// What a step of a loop over a channel is called in messages.
pub(super) const ITERATION: &str = "for";

/// Makes the type of handles. `[-0, +0]`
///
/// # Safety
/// `L` is a live state with its machine, below a protected call.
pub(super) unsafe fn install(L: *mut lua_State, machine: &Machine) -> Result<(), Error> {
    // SAFETY: balanced pushes and pops; the destructor is set before any handle exists.
    unsafe {
        machine.channel_atom.set(super::intern_methods(machine, &METHODS[..STRAIGHT])?);
        for name in FIELDS {
            machine.intern(name)?;
        }
        lua_createtable(L, 0, METHODS.len() as c_int);
        for (name, f) in METHODS {
            set_function(L, name, f);
        }
        lua_pushcclosurek(L, send_sequence, c"send_sequence".as_ptr(), 0, Some(sequence_goes_on));
        lua_rawsetfield(L, -2, c"send_sequence".as_ptr());
        lua_setreadonly(L, -1, 1);
        machine.anchors().set(machine.constants.channel_methods, L, -1);
        lua_createtable(L, 0, 8);
        set_function(L, c"__namecall", namecall);
        lua_pushvalue(L, -2);
        lua_pushcclosurek(L, index, c"__index".as_ptr(), 1, None);
        lua_rawsetfield(L, -2, c"__index".as_ptr());
        set_function(L, c"__newindex", newindex);
        set_function(L, c"__iter", iterate);
        set_function(L, c"__tostring", tostring);
        set_function(L, c"__len", length);
        push_str(L, "channel");
        lua_rawsetfield(L, -2, c"__type".as_ptr());
        push_str(L, "The metatable is locked");
        lua_rawsetfield(L, -2, c"__metatable".as_ptr());
        lua_setreadonly(L, -1, 1);
        lua_setuserdatametatable(L, machine.channel_tag);
        lua_setuserdatadtor(L, machine.channel_tag, Some(forget));
        // The frame of a direct call has the `__namecall` that is there now; those that fall back get the
        // one with a continuation.
        lua_registeruserdatadirectaccess(L, machine.channel_tag, direct_get, direct_set, direct_namecall);
        lua_getuserdatametatable(L, machine.channel_tag);
        lua_setreadonly(L, -1, 0);
        lua_pushcclosurek(L, namecall, c"__namecall".as_ptr(), 0, Some(sequence_goes_on));
        lua_rawsetfield(L, -2, c"__namecall".as_ptr());
        lua_setreadonly(L, -1, 1);
        lua_settop(L, -3);
    }
    Ok(())
}

/// Called by the collector for a handle that nobody holds; a waiter would hold it.
unsafe extern "C" fn forget(L: *mut lua_State, data: *mut c_void) {
    // SAFETY: the data of a handle is an id. The list is borrowed by nobody who allocates.
    unsafe {
        let ChannelHandle { id, .. } = *data.cast();
        Machine::of(L).note_dropped(Dropped::Channel(id));
    }
}

impl Machine {
    /// Makes a channel and pushes its handle. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call.
    pub(crate) unsafe fn push_new_channel(&self, L: *mut lua_State) -> ChannelId {
        // SAFETY: the type was installed with the machine.
        unsafe {
            self.tidy_at_times();
            let data = self.push_new_handle_of_channel(L);
            let id = self.scheduler().channels.insert(Channel { holders: 1, ..Channel::new() });
            data.write(ChannelHandle { id, link: self.scheduler().channels.link(id) });
            id
        }
    }

    /// Pushes a handle of no channel yet; the caller writes the channel's before it does anything else.
    /// `[-0, +1]`
    unsafe fn push_new_handle_of_channel(&self, L: *mut lua_State) -> *mut ChannelHandle {
        // SAFETY: the type was installed with the machine; a null id is nobody's.
        unsafe {
            let data = lua_newuserdatataggedwithmetatable(L, size_of::<ChannelHandle>(), self.channel_tag)
                .cast::<ChannelHandle>();
            data.write(ChannelHandle::default());
            data
        }
    }

    /// Pushes the handle of a channel that Rust has, or nil if it is gone. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call.
    pub(crate) unsafe fn push_channel(&self, L: *mut lua_State, id: ChannelId) {
        // SAFETY: the handle is on the stack when the shelf keeps it.
        unsafe {
            let Some(channel) = self.scheduler().channels.get(id) else {
                lua_pushnil(L);
                return;
            };
            if let Some(handle) = channel.handle {
                self.anchors().push(handle, L);
                return;
            }
            let data = self.push_new_handle_of_channel(L);
            data.write(ChannelHandle { id, link: self.scheduler().channels.link(id) });
            self.scheduler().channels[id].holders += 1;
            self.keep_channel(L, -1, id);
        }
    }

    /// The handle at `index` stays the one of its channel as long as Rust has handles. `[-0, +0]`
    ///
    /// # Safety
    /// As [`push_channel`](Self::push_channel).
    pub(crate) unsafe fn keep_channel(&self, L: *mut lua_State, index: c_int, id: ChannelId) {
        if self.scheduler().channels[id].handle.is_none() {
            // SAFETY: the caller's.
            let handle = unsafe { self.anchors().keep(L, index) };
            self.scheduler().channels[id].handle = Some(handle);
        }
    }

    /// The channel whose handle is at `index`, if one is there.
    ///
    /// # Safety
    /// `L` is a live state.
    pub(crate) unsafe fn channel_at(&self, L: *mut lua_State, index: c_int) -> Option<ChannelId> {
        // SAFETY: only handles bear the tag.
        let data = unsafe { lua_touserdatatagged(L, index, self.channel_tag).cast::<ChannelHandle>() };
        // SAFETY: as above.
        unsafe { data.as_ref() }.map(|handle| handle.id)
    }
}

/// `scheduler.channel()`.
pub(super) unsafe extern "C-unwind" fn new(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        Machine::of(L).push_new_channel(L);
        1
    }
}

/// The channel whose handle is at `index`; raises if it is something else.
pub(super) unsafe fn check(machine: &Machine, L: *mut lua_State, index: c_int, verb: &str) -> Link<Channel> {
    // SAFETY: called from a C function; only handles bear the tag.
    unsafe {
        let data = lua_touserdatatagged(L, index, machine.channel_tag);
        if data.is_null() {
            wrong_type(L, index, verb, "a channel (call it with a colon)");
        }
        (*data.cast::<ChannelHandle>()).link
    }
}

/// `c:method(...)`: the method is called in place of this function, on the same stack.
unsafe extern "C-unwind" fn namecall(L: *mut lua_State) -> c_int {
    // SAFETY: the VM calls this with a handle and the arguments.
    unsafe {
        let mut atom = -1;
        lua_namecallatom(L, &mut atom);
        let method = atom - c_int::from(Machine::of(L).channel_atom.get());
        match usize::try_from(method).ok().and_then(|method| METHODS[..STRAIGHT].get(method)) {
            Some((_, method)) => method(L),
            None if CStr::from_ptr(lua_namecallatom(L, std::ptr::null_mut())) == c"send_sequence" => {
                send_sequence(L)
            }
            None => super::no_method(L, "channel", &METHODS),
        }
    }
}

/// A method that has suspended goes on. All but `send_sequence` are through then: what was delivered
/// is on top, above at most two arguments.
unsafe extern "C-unwind" fn sequence_goes_on(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation; the stack is as the method left it, with its slot on top.
    unsafe {
        if status != LUA_OK {
            lua_error(L);
        }
        if lua_gettop(L) > 3 { send_next(L) } else { 1 }
    }
}

/// The same, straight from the VM.
unsafe extern "C-unwind" fn direct_namecall(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _slot: *mut u16,
    _tag: c_int,
) -> c_int {
    // SAFETY: the VM calls this with the data of a handle, and its arguments on the stack.
    unsafe {
        if state::thread_data(L).is_null() {
            // A coroutine that asks for the first time.
            return namecall(L);
        }
        let machine = Machine::of(L);
        match atom - c_int::from(machine.channel_atom.get()) {
            SEND => send_on(machine, L, (*data.cast::<ChannelHandle>()).link),
            RECEIVE => receive_from(machine, L, (*data.cast::<ChannelHandle>()).link),
            _ => namecall(L),
        }
    }
}

/// How many of [`METHODS`] have an atom.
const STRAIGHT: usize = METHODS.len() - 1;

/// The places of the two in [`METHODS`].
const SEND: c_int = 0;
const RECEIVE: c_int = 1;

unsafe extern "C-unwind" fn send(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "send");
        send_on(machine, L, channel)
    }
}

unsafe fn send_on(machine: &Machine, L: *mut lua_State, channel: Link<Channel>) -> c_int {
    // SAFETY: called from a C function with a handle and a value, which may be missing.
    unsafe {
        if state::height(L) != 2 {
            return send_of(machine, L, channel);
        }
        transfer_value(machine, L, channel, Direction::Send)
    }
}

/// As [`send_on`], with too many values or none.
#[cold]
unsafe fn send_of(machine: &Machine, L: *mut lua_State, channel: Link<Channel>) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        lua_settop(L, 2);
        send_on(machine, L, channel)
    }
}

unsafe extern "C-unwind" fn receive(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "receive");
        receive_from(machine, L, channel)
    }
}

unsafe fn receive_from(machine: &Machine, L: *mut lua_State, channel: Link<Channel>) -> c_int {
    // SAFETY: called from a C function, which has room; the nil is its slot.
    unsafe {
        state::push_slot(L);
        transfer_value(machine, L, channel, Direction::Receive)
    }
}

unsafe extern "C-unwind" fn send_exception(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "send_exception");
        lua_settop(L, 2);
        if lua_type(L, 2) == LUA_TNIL {
            wrong_type(L, 2, "send_exception", "an error value");
        }
        transfer(machine, L, channel, Direction::Send, Slot::Error, "send_exception")
    }
}

/// `c:send_sequence(list_or_iterator)`: state on the stack is channel, list or iterator, count, and
/// whether the value above them is an item that the iterator has brought.
unsafe extern "C-unwind" fn send_sequence(L: *mut lua_State) -> c_int {
    // SAFETY: a C function with a continuation, called by the VM.
    unsafe {
        check(Machine::of(L), L, 1, "send_sequence");
        lua_settop(L, 2);
        if !matches!(lua_type(L, 2), LUA_TTABLE | LUA_TFUNCTION) {
            wrong_type(L, 2, "send_sequence", "a list or an iterator function");
        }
        lua_pushnumber(L, 0.0);
        lua_pushboolean(L, 0);
        send_next(L)
    }
}

/// Sends items until one blocks, or the iterator does; then the continuation goes on.
unsafe fn send_next(L: *mut lua_State) -> c_int {
    // SAFETY: called with the state at indexes 1 to 4.
    unsafe {
        let machine = Machine::of(L);
        loop {
            let sent = lua_tonumber(L, 3);
            if lua_toboolean(L, 4) == 0 {
                lua_settop(L, 3);
                let calls = lua_type(L, 2) == LUA_TFUNCTION;
                lua_pushboolean(L, c_int::from(calls));
                if calls {
                    lua_pushvalue(L, 2);
                    lua_call(L, 0, 1);
                    if lua_status(L) != LUA_OK {
                        return SUSPENDED;
                    }
                } else {
                    lua_rawgeti_(L, 2, sent as c_int + 1);
                }
            }
            if lua_type(L, -1) == LUA_TNIL {
                lua_pushnumber(L, sent);
                return 1;
            }
            lua_pushnumber(L, sent + 1.0);
            lua_replace(L, 3);
            lua_pushboolean(L, 0);
            lua_replace(L, 4);
            let channel = check(Machine::of(L), L, 1, "send_sequence");
            let before = machine.scheduler().current();
            let result = transfer(machine, L, channel, Direction::Send, Slot::Value, "send_sequence");
            if machine.scheduler().current() != before || result < 0 {
                return result;
            }
        }
    }
}

unsafe extern "C-unwind" fn open(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let channel = check(Machine::of(L), L, 1, "open");
        Machine::of(L).scheduler().open_channel(channel).closing = false;
        0
    }
}

unsafe extern "C-unwind" fn close(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "close");
        machine.close_channel(L, channel);
        0
    }
}

/// `for v in c`: an iterator function and the channel.
unsafe extern "C-unwind" fn iterate(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        check(Machine::of(L), L, 1, "for");
        lua_settop(L, 1);
        lua_pushcfunctiond(L, next, c"channel iterator".as_ptr());
        lua_insert(L, 1);
        2
    }
}

unsafe extern "C-unwind" fn next(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM with the channel.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "for");
        lua_settop(L, 1);
        lua_pushnil(L);
        let queue = machine.scheduler().open_channel(channel);
        if queue.closing && queue.balance() <= 0.0 {
            return 1;
        }
        let me = machine.scheduler().current();
        let result = transfer(machine, L, channel, Direction::Receive, Slot::Value, ITERATION);
        if result < 0 {
            machine.scheduler().tasklets[me].flags.iterating = true;
        }
        result
    }
}

unsafe extern "C-unwind" fn tostring(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "tostring");
        push_str(L, &format!("channel {}", machine.scheduler().channel_number(channel)));
        1
    }
}

/// `#c`: how many values are kept in it.
unsafe extern "C-unwind" fn length(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "#");
        lua_pushnumber(L, machine.scheduler().open_channel(channel).buffered() as f64);
        1
    }
}

/// Methods are in the upvalue; the rest is a field.
unsafe extern "C-unwind" fn index(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM with a handle and a key.
    unsafe {
        let machine = Machine::of(L);
        let channel = check(machine, L, 1, "index");
        lua_pushvalue(L, 2);
        if lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL {
            let name = super::super::value::to_bytes(L, 2).unwrap_or_default();
            push_field(machine, L, channel, FIELDS.iter().position(|field| field.as_bytes() == name));
        }
        1
    }
}

/// `c.field`, straight from the VM.
unsafe extern "C-unwind" fn direct_get(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _slot: *mut u16,
    _tag: c_int,
) {
    // SAFETY: the VM calls this with the data of a handle, and expects one value.
    unsafe {
        let machine = Machine::of(L);
        let index = atom - c_int::from(machine.channel_atom.get());
        match usize::try_from(index) {
            Ok(method) if method < STRAIGHT => {
                machine.anchors().push(machine.constants.channel_methods, L);
                lua_rawgetfield(L, -1, METHODS[method].0.as_ptr());
                lua_remove(L, -2);
            }
            other => push_field(
                machine,
                L,
                (*data.cast::<ChannelHandle>()).link,
                other.ok().map(|index| index - STRAIGHT),
            ),
        }
    }
}

/// Pushes the field with this place in [`FIELDS`], or nil. `[-0, +1]`
unsafe fn push_field(machine: &Machine, L: *mut lua_State, channel: Link<Channel>, field: Option<usize>) {
    // SAFETY: called from a C function.
    unsafe {
        let queue = machine.scheduler().open_channel(channel);
        match field.and_then(|field| FIELDS.get(field)).copied() {
            Some("balance") => lua_pushnumber(L, queue.balance()),
            Some("closing") => lua_pushboolean(L, c_int::from(queue.closing)),
            Some("closed") => lua_pushboolean(L, c_int::from(queue.closed())),
            Some("queue") => {
                let place = queue.first;
                machine.push_tasklet(L, machine.scheduler().waiter_id(place));
            }
            Some("preference") => lua_pushnumber(L, f64::from(queue.preference)),
            Some("schedule_all") => lua_pushboolean(L, c_int::from(queue.schedule_all)),
            _ => lua_pushnil(L),
        }
    }
}

unsafe extern "C-unwind" fn newindex(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM with a handle, a key and a value.
    unsafe {
        let channel = check(Machine::of(L), L, 1, "assignment");
        let name = super::super::value::to_bytes(L, 2).unwrap_or_default();
        let field = FIELDS.iter().position(|field| field.as_bytes() == name);
        if !set_field(L, channel, field, 3) {
            let name = String::from_utf8_lossy(name).into_owned();
            refuse_field(L, name);
        }
        0
    }
}

/// `c.field = value`, straight from the VM, with the value on top of the stack.
unsafe extern "C-unwind" fn direct_set(
    L: *mut lua_State,
    data: *mut c_void,
    atom: c_int,
    _slot: *mut u16,
    _tag: c_int,
) {
    // SAFETY: the VM calls this with the data of a handle and a value.
    unsafe {
        let machine = Machine::of(L);
        let index = atom - c_int::from(machine.channel_atom.get());
        let field = usize::try_from(index).ok().and_then(|index| index.checked_sub(STRAIGHT));
        if !set_field(L, (*data.cast::<ChannelHandle>()).link, field, -1) {
            let method = usize::try_from(index).ok().and_then(|index| METHODS.get(index));
            let name = method.map(|(name, _)| name.to_string_lossy().into_owned());
            let name = name.or_else(|| FIELDS.get(field?).map(|name| (*name).to_owned()));
            refuse_field(L, name.unwrap_or_else(|| "of another type".into()));
        }
    }
}

/// Sets a field to the value at `index`; false if it is none that can be set.
unsafe fn set_field(L: *mut lua_State, channel: Link<Channel>, field: Option<usize>, index: c_int) -> bool {
    // SAFETY: called from a C function.
    unsafe {
        match field.and_then(|field| FIELDS.get(field)).copied() {
            Some("preference") => {
                let preference = check_int(L, index, "preference").clamp(-1, 1) as i8;
                Machine::of(L).scheduler().open_channel(channel).preference = preference;
            }
            Some("schedule_all") => {
                let all = check_bool(L, index, "schedule_all");
                Machine::of(L).scheduler().open_channel(channel).schedule_all = all;
            }
            _ => return false,
        }
        true
    }
}

#[cold]
unsafe fn refuse_field(L: *mut lua_State, name: String) -> ! {
    // SAFETY: called from a C function; the name is freed before the error is raised.
    unsafe {
        let text = format!(
            "a channel has no field '{name}' that can be set; \
             it has preference (-1, 0 or 1) and schedule_all (a boolean)"
        );
        drop(name);
        raise(L, ErrorKind::Type, text);
    }
}
