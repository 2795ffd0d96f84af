//! Channels in Rust.

use super::carrier::{Carrier, Exchange, Of};
use super::coroutine::{Native, Step};
use super::tasklet::Tasklet;
use crate::luau::ffi::*;
use crate::luau::{Dropped, Machine, state};
use crate::scheduler::{
    Channel as Queue, ChannelId, Direction, Error, ErrorKind, Link, Meeting, Slot, Tasklet as TaskletRecord,
    TaskletId, Turn, number,
};
use mlua::{FromLua, IntoLua, Lua, Value};
use std::fmt;
use std::hint::cold_path;
use std::marker::PhantomData;
use std::rc::Rc;

/// Where two tasklets meet: one sends a `T`, the other receives it, and whoever comes first waits.
///
/// Made by [`Scheduler::channel`](super::Scheduler::channel), or taken from a script: a `Channel<T>`
/// converts to and from the channels of scripts if `T` converts to and from values of scripts. A clone is
/// the same channel.
///
/// Between two Rust tasklets the value itself moves. Between a script and Rust it is converted; if that
/// fails, the sender gets an error of kind `type`, and the receiver goes on waiting.
///
/// Code that can't wait (a plain function that a script has called, a callback, the host between two
/// frames) can use a channel all the same, as long as somebody waits at its other end; that one becomes
/// runnable then, and the caller goes on whatever the preference is.
pub struct Channel<T> {
    machine: Rc<Machine>,
    id: ChannelId,
    link: Link<Queue>,
    carrier: &'static Carrier,
    values: PhantomData<fn(T) -> T>,
}

impl<T: 'static> Channel<T> {
    /// A new channel of the machine.
    pub(super) fn new(machine: Rc<Machine>) -> Self {
        let id = machine.scheduler().channels.insert(Queue::new());
        Self::of(machine, id, Of::<T>::RUST)
    }

    /// One more handle of a channel that is there.
    fn of(machine: Rc<Machine>, id: ChannelId, carrier: &'static Carrier) -> Self {
        let link = machine.scheduler().channels.link(id);
        machine.scheduler().channels[id].holders += 1;
        Self { machine, id, link, carrier, values: PhantomData }
    }

    /// Names the channel, for logs.
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// Sends a value: waits until somebody receives it (`semantics.md` 2.4 to 2.6).
    ///
    /// # Errors
    /// Of kind `closed`, `block_trap`, `deadlock`, `switch_trap` where waiting or switching is not possible,
    /// with nothing changed; of kind `type` if the receiver is a script and the value can't be converted;
    /// and whatever is thrown at the tasklet while it waits. The value is dropped then.
    #[inline(always)]
    pub fn send(&self, value: T) -> Result<(), Error> {
        self.transfer(&mut Some(value), Direction::Send, "send")
    }

    /// Receives a value: waits until somebody sends one.
    ///
    /// # Errors
    /// As [`send`](Self::send), and what a sender sends with
    /// [`send_exception`](Self::send_exception).
    #[inline(always)]
    pub fn receive(&self) -> Result<T, Error> {
        let mut value = None;
        self.transfer(&mut value, Direction::Receive, "receive")?;
        // Nobody wakes a receiver but with a value or an error.
        value.ok_or_else(|| Error::new(ErrorKind::Gone, "receive: the value was lost"))
    }

    /// Receives the next value in a loop; `None` when somebody sends StopIteration, or when the channel is
    /// closing and nobody waits to send (`semantics.md` 2.12, 2.16).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn next(&self) -> Result<Option<T>, Error> {
        let queue = &self.machine.scheduler().open_channel(self.link);
        if queue.closing && queue.balance() <= 0.0 {
            return Ok(None);
        }
        match self.receive() {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind == ErrorKind::Stop => Ok(None),
            // It was closed while this waited.
            Err(error) if error.kind == ErrorKind::Closed && self.machine.is_queue(self.link) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A loop over what is received: `for value in channel.iter()`. Ends after an error.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { channel: self, ended: false }
    }

    /// Sends each item as a send of its own; how many there were.
    ///
    /// # Errors
    /// As [`send`](Self::send); the items after that one are dropped.
    pub fn send_sequence(&self, items: impl IntoIterator<Item = T>) -> Result<usize, Error> {
        let mut sent = 0;
        for item in items {
            self.transfer(&mut Some(item), Direction::Send, "send_sequence")?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Has the receiver's call raise an error (`semantics.md` 2.9). Waits as [`send`](Self::send) does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_exception(&self, error: Error) -> Result<(), Error> {
        let machine = &*self.machine;
        let mut offer = Some(error);
        let frame = machine.begin(self.link, Direction::Send, "send_exception")?;
        if machine.is_queue(self.link) {
            if machine.queue_error(self.link, &mut offer)? {
                return Ok(());
            }
        } else if machine.scheduler().open_channel(self.link).buffer.is_some() {
            return Err(Error::wrong_type("send_exception: an inbox takes values, not errors"));
        }
        match machine.partner(self.link, Direction::Send, frame, "send_exception")? {
            Some(meeting) => {
                if let Some(error) = offer.take() {
                    machine.deliver_error(machine.scheduler().id(meeting.partner()), error);
                }
                machine.meet(self.link, Direction::Send, frame, meeting)
            }
            None => machine.block_on(
                self.link,
                Direction::Send,
                frame,
                Exchange::Error(&raw mut offer),
                "send_exception",
            ),
        }
    }

    /// As [`send_exception`](Self::send_exception): in Stackless `send_throw` keeps the traceback, which an
    /// [`Error`] carries anyway.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_throw(&self, error: Error) -> Result<(), Error> {
        self.send_exception(error)
    }

    /// Forbids waiting on the channel; those that wait already can still be served (`semantics.md` 2.15), but for those
    /// that wait to receive from a queue: their calls return an error of kind `closed`, their loops end.
    pub fn close(&self) {
        let machine = &*self.machine;
        machine.scheduler().open_channel(self.link).closing = true;
        if machine.is_queue(self.link) && machine.scheduler().open_channel(self.link).balance < 0 {
            // SAFETY: the helper is idle, or further out on the stack of this very call, and has room.
            let closed = unsafe {
                crate::luau::protect(machine.helper, |helper| machine.close_channel(helper, self.link))
            };
            if let Err(error) = closed {
                tracing::warn!("{self:?} was closed, but not all who wait could be told: {error}");
            }
        }
    }

    /// Takes [`close`](Self::close) back.
    pub fn open(&self) {
        self.machine.scheduler().open_channel(self.link).closing = false;
    }

    /// It was closed.
    pub fn closing(&self) -> bool {
        self.machine.scheduler().open_channel(self.link).closing
    }

    /// It was closed, and nobody waits any more.
    pub fn closed(&self) -> bool {
        self.machine.scheduler().open_channel(self.link).closed()
    }

    /// +n: n senders wait, or values in an inbox; −n: n receivers wait.
    pub fn balance(&self) -> i64 {
        self.machine.scheduler().open_channel(self.link).balance() as i64
    }

    /// The first of those that wait.
    pub fn queue(&self) -> Option<Tasklet> {
        let scheduler = self.machine.scheduler();
        let first = scheduler.open_channel(self.link).first;
        Tasklet::find(&self.machine, scheduler.waiter_id(first))
    }

    /// Who goes on at once after a hand-over: −1 the receiver (at first), 1 the sender, 0 whoever came last.
    pub fn preference(&self) -> i8 {
        self.machine.scheduler().open_channel(self.link).preference
    }

    /// Sets the [preference](Self::preference); what is beyond −1 or 1 counts as these.
    pub fn set_preference(&self, preference: i8) {
        self.machine.scheduler().open_channel(self.link).preference = preference.clamp(-1, 1);
    }

    /// After each hand-over the next in the run queue runs, whoever it is.
    pub fn schedule_all(&self) -> bool {
        self.machine.scheduler().open_channel(self.link).schedule_all
    }

    /// Sets [`schedule_all`](Self::schedule_all).
    pub fn set_schedule_all(&self, all: bool) {
        self.machine.scheduler().open_channel(self.link).schedule_all = all;
    }

    /// Sends what is in `mine`, or receives into it.
    #[inline(always)]
    fn transfer(&self, mine: &mut Option<T>, direction: Direction, verb: &str) -> Result<(), Error> {
        match self.transfer_simply(mine, direction) {
            Simply::Done => Ok(()),
            // SAFETY: the frame is the running one, and somebody else is the head of the queue.
            Simply::Waits(frame, next) => unsafe { self.machine.wait_in(frame, next) },
            Simply::Not => {
                cold_path();
                self.transfer_otherwise(mine, direction, verb)
            }
        }
    }

    /// [`transfer`](Self::transfer) where it takes no more than to move the value from one Rust tasklet to
    /// another, or to wait.
    #[inline(always)]
    fn transfer_simply(&self, mine: &mut Option<T>, direction: Direction) -> Simply {
        let machine = &*self.machine;
        let Some(frame) = machine.own_frame() else {
            cold_path();
            return Simply::Not;
        };
        let scheduler = machine.scheduler();
        if machine.channel_callback.get().is_some() || scheduler.open_channel(self.link).buffer.is_some() {
            cold_path();
            return Simply::Not;
        }
        let Some(meeting) = scheduler.simple_meeting(self.link, direction) else {
            let Some(next) = scheduler.block_simply(self.link, direction) else {
                cold_path();
                return Simply::Not;
            };
            // SAFETY: the frame is the running one; the exchange points into its stack, which stays until it goes
            // on.
            unsafe { (*frame).exchange = self.exchange(mine) };
            return Simply::Waits(frame, next);
        };
        let partner = scheduler.member(meeting.partner);
        let thread = partner.thread;
        // SAFETY: a waiting script has its slot on top of its stack. A waiting Rust tasklet's exchange points to an
        // `Option` of its carrier's type in a frame that stays until it is resumed.
        unsafe {
            if !thread.is_null() {
                if partner.slot != Slot::Value || !self.move_number(mine, direction, thread) {
                    return Simply::Not;
                }
                return self.meet_simply(frame, direction, meeting);
            }
            let Exchange::Value(theirs, carrier) = (*partner.native).exchange else {
                cold_path();
                return Simply::Not;
            };
            if !carrier.is_that_of(self.carrier) {
                cold_path();
                return Simply::Not;
            }
            let theirs = &mut *theirs.cast::<Option<T>>();
            match direction {
                Direction::Send => *theirs = mine.take(),
                Direction::Receive => *mine = theirs.take(),
            }
        }
        self.meet_simply(frame, direction, meeting)
    }

    /// The value has moved.
    #[inline(always)]
    fn meet_simply(&self, frame: *mut Native, direction: Direction, meeting: Meeting) -> Simply {
        let scheduler = self.machine.scheduler();
        scheduler.messages += 1;
        match scheduler.meet_simply(self.link, direction, meeting) {
            Turn::Keep => Simply::Done,
            Turn::Switch => Simply::Waits(frame, meeting.target()),
        }
    }

    /// Moves a number to a script that waits, or from it; false, and nothing, if that takes more.
    ///
    /// # Safety
    /// The script has its slot on top of its stack.
    #[inline(always)]
    unsafe fn move_number(&self, mine: &mut Option<T>, direction: Direction, thread: *mut lua_State) -> bool {
        let place = (&raw mut *mine).cast();
        // SAFETY: the caller's; the place is one of the carrier's type.
        unsafe {
            match direction {
                Direction::Send => match self.carrier.take_number(place) {
                    Some(number) => state::set_number(thread, number),
                    None => return false,
                },
                Direction::Receive => {
                    let Some(number) = state::number_on_top(thread) else { return false };
                    if !self.carrier.put_number(place, number) {
                        return false;
                    }
                    state::set_nil(thread);
                }
            }
        }
        true
    }

    /// [`transfer`](Self::transfer) in all cases.
    #[cold]
    fn transfer_otherwise(
        &self,
        mine: &mut Option<T>,
        direction: Direction,
        verb: &str,
    ) -> Result<(), Error> {
        let machine = &*self.machine;
        let frame = machine.begin(self.link, direction, verb)?;
        if machine.scheduler().open_channel(self.link).buffer.is_some()
            && machine.use_buffer(self.link, direction, self.exchange(mine), verb)?
        {
            return Ok(());
        }
        loop {
            let Some(meeting) = machine.partner(self.link, direction, frame, verb)? else {
                let exchange = self.exchange(mine);
                return machine.block_on(self.link, direction, frame, exchange, verb);
            };
            let partner = machine.scheduler().member(meeting.partner());
            // SAFETY: a waiting Rust tasklet's exchange points to an `Option` of its carrier's type in a
            // frame that stays until it is resumed.
            let theirs = unsafe {
                match (partner.thread.is_null(), partner.native.as_ref().map(|native| native.exchange)) {
                    (true, Some(Exchange::Value(theirs, carrier))) if carrier.is_that_of(self.carrier) => {
                        Some(&mut *theirs.cast::<Option<T>>())
                    }
                    _ => None,
                }
            };
            let raised = match theirs {
                Some(theirs) => {
                    match direction {
                        Direction::Send => *theirs = mine.take(),
                        Direction::Receive => *mine = theirs.take(),
                    }
                    None
                }
                None => {
                    match machine.trade(
                        self.link,
                        direction,
                        machine.scheduler().id(meeting.partner()),
                        self.exchange(mine),
                        verb,
                    )? {
                        Trade::Done => None,
                        Trade::Raised(error) => Some(error),
                        Trade::Refused => continue,
                    }
                }
            };
            machine.meet(self.link, direction, frame, meeting)?;
            return raised.map_or(Ok(()), Err);
        }
    }

    fn exchange(&self, mine: &mut Option<T>) -> Exchange {
        Exchange::Value((&raw mut *mine).cast(), self.carrier)
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        if let Some(channel) = self.machine.scheduler().channels.get_mut(self.id) {
            channel.holders += 1;
        }
        Self {
            machine: self.machine.clone(),
            id: self.id,
            link: self.link,
            carrier: self.carrier,
            values: PhantomData,
        }
    }
}

impl<T> Drop for Channel<T> {
    fn drop(&mut self) {
        // This may run in a finaliser of the VM, so the loop does the rest.
        self.machine.note_dropped(Dropped::Channel(self.id));
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", number(self.id))
    }
}

impl<T> PartialEq for Channel<T> {
    /// The same channel.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.machine, &other.machine) && self.id == other.id
    }
}

impl<T> Eq for Channel<T> {}

impl<T: IntoLua + FromLua + 'static> IntoLua for Channel<T> {
    fn into_lua(self, _: &Lua) -> mlua::Result<Value> {
        self.to_value()
    }
}

impl<T: IntoLua + FromLua + 'static> IntoLua for &Channel<T> {
    fn into_lua(self, _: &Lua) -> mlua::Result<Value> {
        self.to_value()
    }
}

impl<T: IntoLua + FromLua + 'static> Channel<T> {
    fn to_value(&self) -> mlua::Result<Value> {
        let machine = &*self.machine;
        let vm = machine.vm().ok_or_else(|| mlua::Error::external(Machine::gone()))?;
        machine.scheduler().open_channel(self.link).learn(Of::<T>::LUAU);
        // SAFETY: protected by mlua.
        unsafe { vm.lua().exec_raw((), |L| machine.push_channel(L, self.id)) }
    }
}

impl<T: IntoLua + FromLua + 'static> FromLua for Channel<T> {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let machine = Machine::of_lua(lua)?;
        let name = value.type_name();
        // SAFETY: protected by mlua, which has pushed the value alone. The handle is kept as long as Rust
        // has one.
        let id = unsafe {
            let mut id = None;
            lua.exec_raw::<()>(value, |L| {
                id = machine.channel_at(L, -1);
                if let Some(id) = id {
                    machine.keep_channel(L, -1, id);
                }
                lua_settop(L, 0);
            })?;
            id
        };
        let id = id.ok_or_else(|| mlua::Error::FromLuaConversionError {
            from: name,
            to: "channel".into(),
            message: None,
        })?;
        machine.scheduler().channels[id].learn(Of::<T>::LUAU);
        Ok(Self::of(machine, id, Of::<T>::LUAU))
    }
}

/// A loop over what a channel receives; see [`Channel::iter`].
pub struct Iter<'a, T> {
    channel: &'a Channel<T>,
    ended: bool,
}

impl<T: 'static> Iterator for Iter<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.channel.next().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// What came of an attempt at a hand-over that takes no more than to move a value.
enum Simply {
    /// It is done.
    Done,
    /// It is done, or will be, and the caller's tasklet has to wait in this frame; the other one is next.
    Waits(*mut Native, Link<TaskletRecord>),
    /// It takes more, and nothing was done.
    Not,
}

/// What came of a hand-over that is not just a move.
enum Trade {
    /// The value is where it belongs.
    Done,
    /// The partner has sent an error.
    Raised(Error),
    /// The partner's value can't be converted, which it has been told: it waits no longer.
    Refused,
}

/// A caller that meets a waiting partner.
enum Encounter {
    /// As the preference has it.
    Switching(Meeting),
    /// The caller can't switch, so it goes on.
    Quiet(Meeting),
}

impl Encounter {
    fn partner(&self) -> Link<TaskletRecord> {
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
    fn partner(
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
    fn meet(
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
    fn block_on(
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
    fn trade(
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
    fn use_buffer(
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
