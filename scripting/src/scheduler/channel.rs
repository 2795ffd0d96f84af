//! Channels: a rendezvous, no buffer; and inboxes, which have one.

use super::Scheduler;
use super::records::Link;
use super::tasklet::{Place, Tasklet};
use crate::luau::Anchor;
use crate::native::Carrier;

slotmap::new_key_type! {
    /// Names a channel. Never reused.
    pub struct ChannelId;
}

/// Which side of a channel a tasklet is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Send,
    Receive,
}

impl Direction {
    /// That of the partner.
    pub fn opposite(self) -> Self {
        match self {
            Self::Send => Self::Receive,
            Self::Receive => Self::Send,
        }
    }

    /// What one waiter on this side adds to the balance.
    #[inline]
    pub fn sign(self) -> i32 {
        match self {
            Self::Send => 1,
            Self::Receive => -1,
        }
    }
}

/// One channel and its queue of waiters, which are all on the same side.
#[derive(Default)]
pub(crate) struct Channel {
    pub first: Link<Tasklet>,
    pub last: Link<Tasklet>,
    /// +n: n senders wait; −n: n receivers wait.
    pub balance: i32,
    /// Who goes on at once after a hand-over: −1 the receiver, 1 the sender, 0 whoever came last.
    pub preference: i8,
    pub schedule_all: bool,
    pub closing: bool,
    /// Makes it an inbox: sending never blocks.
    pub buffer: Option<Box<Buffer>>,
    /// Handles that know it: those of Rust, and one for that of scripts.
    pub holders: u32,
    /// Keeps the handle of scripts while Rust has handles.
    pub handle: Option<Anchor>,
    /// How its values get to scripts, for each type as which Rust knows it and has given it to them.
    pub carriers: Vec<&'static Carrier>,
}

/// Values that wait in an inbox: those with the numbers from `first` to before `next`.
pub(crate) struct Buffer {
    /// A table of them.
    pub values: Anchor,
    pub first: u64,
    pub next: u64,
    /// How many may wait.
    pub capacity: u64,
    /// What becomes of a further one.
    pub overflow: Overflow,
    /// How many were dropped.
    pub dropped: u64,
    /// Of these, how many the receiver has still to be told of.
    pub untold: u64,
    /// Makes it a queue: who sends what has no room waits. And errors are kept like values.
    pub waits: bool,
}

/// What happens to a value that is sent to an inbox in which as many wait as may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It takes the place of the oldest.
    #[default]
    DropOldest,
    /// It is lost, and the next receiver gets an error of kind `overflow`; those that wait stay.
    Error,
}

impl Buffer {
    pub fn len(&self) -> u64 {
        self.next - self.first
    }
}

impl Channel {
    pub fn new() -> Self {
        Self { preference: -1, ..Self::default() }
    }

    /// Makes it an inbox.
    pub fn buffer_in(&mut self, values: Anchor, capacity: usize, overflow: Overflow) {
        self.preference = 1;
        let capacity = capacity.max(1) as u64;
        let buffer =
            Buffer { values, first: 1, next: 1, capacity, overflow, dropped: 0, untold: 0, waits: false };
        self.buffer = Some(Box::new(buffer));
    }

    /// Makes it a queue; `u64::MAX` is room without end.
    pub fn queue_in(&mut self, values: Anchor, capacity: u64) {
        self.buffer_in(values, 1, Overflow::default());
        if let Some(buffer) = &mut self.buffer {
            (buffer.capacity, buffer.waits) = (capacity, true);
        }
    }

    /// Values that wait in the buffer.
    pub fn buffered(&self) -> u64 {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }

    /// Rust knows from now on how values of this type get to scripts.
    pub fn learn(&mut self, carrier: &'static Carrier) {
        if !self.carriers.iter().any(|known| known.same_type(carrier)) {
            self.carriers.push(carrier);
        }
    }

    /// The number that scripts see: waiting senders or values, or receivers below 0.
    pub fn balance(&self) -> f64 {
        f64::from(self.balance) + self.buffered() as f64
    }

    /// Closing, and nobody waits any more.
    pub fn closed(&self) -> bool {
        self.closing && self.balance() == 0.0
    }

    /// An operation has to wait: nobody does on the other side, and no buffer takes the value or has one.
    pub fn blocks(&self, direction: Direction) -> bool {
        let served = match (&self.buffer, direction) {
            (None, _) => false,
            (Some(buffer), Direction::Send) => !buffer.waits || buffer.len() < buffer.capacity,
            (Some(buffer), Direction::Receive) => buffer.len() > 0 || buffer.untold > 0,
        };
        !served && !self.has_partner(direction)
    }

    /// Somebody waits on the other side of `direction`.
    pub fn has_partner(&self, direction: Direction) -> bool {
        self.balance * direction.sign() < 0
    }
}

impl Scheduler {
    /// Puts a tasklet that is in no queue any more at the end of the channel's.
    #[inline]
    pub(super) fn enqueue(&mut self, channel: Link<Channel>, direction: Direction, link: Link<Tasklet>) {
        let queue = self.open_channel(channel);
        let last = std::mem::replace(&mut queue.last, link);
        if queue.first.is_none() {
            queue.first = link;
        }
        queue.balance += direction.sign();
        if !last.is_none() {
            self.member(last).next = link;
        }
        let tasklet = self.member(link);
        // Whoever blocks plainly comes straight from the run queue.
        debug_assert!(matches!(tasklet.place, Place::Floating | Place::Queue));
        tasklet.prev = last;
        tasklet.next = Link::NONE;
        tasklet.place = Place::Channel(direction);
        tasklet.channel = channel;
    }

    /// As [`dequeue`](Self::dequeue), for the first one.
    #[inline(always)]
    pub(super) fn dequeue_first(
        &mut self,
        channel: Link<Channel>,
        direction: Direction,
        link: Link<Tasklet>,
    ) {
        let tasklet = self.member(link);
        let next = tasklet.next;
        tasklet.place = Place::Floating;
        let queue = self.open_channel(channel);
        debug_assert_eq!(queue.first, link);
        queue.balance -= direction.sign();
        queue.first = next;
        match next.is_none() {
            true => queue.last = Link::NONE,
            false => self.member(next).prev = Link::NONE,
        }
    }

    /// Takes a waiter out of the channel's queue, wherever it stands; the others keep their order.
    #[inline]
    pub(super) fn dequeue(&mut self, channel: Link<Channel>, direction: Direction, link: Link<Tasklet>) {
        let tasklet = self.member(link);
        let (prev, next) = (tasklet.prev, tasklet.next);
        tasklet.prev = Link::NONE;
        tasklet.next = Link::NONE;
        tasklet.place = Place::Floating;
        self.open_channel(channel).balance -= direction.sign();
        match prev.is_none() {
            false => self.member(prev).next = next,
            true => self.open_channel(channel).first = next,
        }
        match next.is_none() {
            false => self.member(next).prev = prev,
            true => self.open_channel(channel).last = prev,
        }
    }
}
