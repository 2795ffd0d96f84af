//! Channels in Rust.

use super::carrier::{Carrier, Exchange, Of};
use super::coroutine::Native;
use super::tasklet::Tasklet;
use super::transfer::Trade;
use crate::luau::ffi::*;
use crate::luau::{Dropped, Machine, state};
use crate::scheduler::{
    Channel as Queue, ChannelId, Direction, Error, ErrorKind, Link, Meeting, Slot, Tasklet as TaskletRecord,
    Turn, number,
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
