//! What the scheduler knows of a tasklet.

use super::channel::{Channel, Direction};
use super::records::Link;
use crate::luau::Anchor;
use crate::luau::ffi::lua_State;
use crate::native::Native;
use std::mem::offset_of;
use std::ptr::NonNull;

slotmap::new_key_type! {
    /// Names a tasklet. Never reused, so it can be kept after the tasklet has ended.
    pub struct TaskletId;

    /// Names who a tasklet belongs to; tasklets inherit the owner of the one that creates them.
    pub struct OwnerId;
}

/// How far a tasklet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Life {
    /// No function: new, unbound, or dead.
    Unbound,
    /// A function but no arguments; its coroutine's stack holds the function.
    Bound,
    /// A function and its arguments on the coroutine's stack; never ran.
    Ready,
    /// Ran at least once; between its slices the top of its innermost coroutine's stack is its slot.
    Started,
}

/// Where a tasklet is. It is in exactly one place; `next` and `prev` are its neighbours there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In no queue: paused if alive. The main tasklet is here while it is inside `run`.
    Floating,
    /// In the run queue; the running tasklet is its head.
    Queue,
    /// In the low queue: runnable, but only when there is time left.
    Low,
    /// In the queue of a channel, on this side of it; [`Tasklet::channel`] says of which.
    Channel(Direction),
    /// Waiting in the queues of several channels, for whichever is served first.
    Select,
    /// Waiting for something outside the scheduler, such as the clock.
    Parked,
}

/// What the next resume delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Slot {
    /// The value on top of the stack is what the blocking call returns. Before the first slice:
    /// the arguments, so many of them.
    Value,
    /// The value on top of the stack is an error that the blocking call raises.
    Error,
    /// Nothing: the tasklet was interrupted between two instructions.
    Nothing,
}

/// Attributes that are single bits. The first ones are looked at in each turn, all at once.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Flags {
    /// It does not run for now, whatever wakes it.
    pub frozen: bool,
    /// It runs only in the time that others leave.
    pub background: bool,
    /// It is inside `run`.
    pub running: bool,
    /// It was suspended inside of a coroutine that its script has made, or of a Rust function.
    pub nested: bool,
    /// Blocked in a loop over a channel, which a StopIteration ends quietly.
    pub iterating: bool,
    /// Its slice was used up: it goes on in the next round.
    pub put_off: bool,
    /// A blocking call is an error.
    pub block_trap: bool,
    /// No involuntary switches.
    pub atomic: bool,
    /// What a script has set; there are native frames that the VM can't leave, whatever it is.
    pub ignore_nesting: bool,
    /// Its coroutine was seen by a script, so it can't be used again.
    pub exposed: bool,
    /// Its end is noted in [`Scheduler::ended`](super::Scheduler::ended).
    pub watched: bool,
    /// The library is told of its end.
    pub observed: bool,
    /// Errors that leave it are reported, and never raised in another tasklet.
    pub detached: bool,
    /// Its turn came while it was frozen.
    pub held: bool,
    /// Its turn in the background has come.
    pub has_time: bool,
}

/// The handle by which scripts know a tasklet that is alive: a userdata, which does not move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    pub anchor: Anchor,
    #[cfg_attr(not(feature = "fast-switch"), allow(dead_code))]
    pub data: NonNull<TaskletId>,
}

/// One tasklet. What a switch touches comes first, to be in one line of the processor's cache; all of it is in two.
#[repr(C)]
pub(crate) struct Tasklet {
    /// The innermost Luau coroutine, which the next slice resumes; null if the innermost frame is Rust's
    /// or there is no body.
    pub thread: *mut lua_State,
    /// The innermost Rust frame, which the next slice resumes if `thread` is null. The main tasklet has
    /// one of its own without a stack, for when its body is the host itself.
    pub native: *mut Native,
    pub next: Link<Tasklet>,
    pub prev: Link<Tasklet>,
    /// Where it waits, or has waited last.
    pub channel: Link<Channel>,
    /// How often it was switched to.
    pub switches: u32,
    /// The clock that it lives by: a number that means something to the host.
    pub clock: u16,
    /// What its memory counts among.
    pub category: u8,
    pub place: Place,
    pub life: Life,
    pub slot: Slot,
    pub flags: Flags,
    /// How often it was parked; tells a stale wake-up from a current one.
    pub parkings: u32,
    /// Keeps the handle that scripts hold alive while the tasklet is.
    pub handle: Option<Handle>,
    /// Arguments on the stack while [`Life::Ready`].
    pub arguments: u32,
    /// Keeps the body's coroutine alive.
    pub body: Option<Anchor>,
    /// Handles that know it, those of scripts and of Rust: its record stays as long as there is one.
    pub holders: u32,
    pub owner: OwnerId,
    /// Its place in the list of its owner's, while it is alive.
    pub seat: u32,
    /// What few tasklets have.
    pub details: Option<Box<Details>>,
}

/// A part of a tasklet's stack that is resumed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A Luau coroutine: the body, one that a script has made, or a function that Rust has called.
    Luau(*mut lua_State),
    /// A Rust body, or a Rust function that a script has called.
    Native(*mut Native),
}

/// What a tasklet has to do when it ends.
pub(crate) enum Deferred {
    /// A function of a script.
    Luau,
    Rust(Box<dyn FnOnce()>),
}

/// The rarely used rest of a tasklet.
#[derive(Default)]
pub(crate) struct Details {
    pub name: Option<Box<str>>,
    /// The frames around the innermost one, the outermost first.
    pub outer: Vec<Frame>,
    /// What `defer` was given, in order.
    pub deferred: Vec<Deferred>,
    /// Those of them that are functions of scripts: a table, in which each has its place in `deferred`.
    pub defers: Option<Anchor>,
    /// Where it was created, while time is measured.
    pub callsite: Option<Box<str>>,
    /// How long it has run, while time is measured.
    pub run_time: std::time::Duration,
    /// What it stores: a table of its own.
    pub storage: Option<Anchor>,
    /// Its places in the queues of several channels, while it waits in all of them.
    pub arms: Vec<TaskletId>,
    /// Which of them was served last, counted from 0.
    pub served: usize,
    /// This is no tasklet, but such a place of one.
    pub arm_of: Option<Link<Tasklet>>,
    /// An error that the library has stopped on its way, and where it came from.
    pub origin: Option<Origin>,
    /// How many slices in a row it has used up, as of the last one, and how often it had been switched to then.
    pub overruns: (u32, u32),
}

/// Where an error was raised. It is told by its text whether the error is still that one.
pub(crate) struct Origin {
    pub error: String,
    pub traceback: String,
}

impl Tasklet {
    pub fn new(owner: OwnerId) -> Self {
        Self {
            next: Link::NONE,
            prev: Link::NONE,
            channel: Link::NONE,
            thread: std::ptr::null_mut(),
            native: std::ptr::null_mut(),
            place: Place::Floating,
            life: Life::Unbound,
            slot: Slot::Nothing,
            flags: Flags::default(),
            arguments: 0,
            switches: 0,
            parkings: 0,
            clock: 0,
            category: 0,
            body: None,
            handle: None,
            holders: 0,
            owner,
            seat: 0,
            details: None,
        }
    }

    /// Its turn takes no more than to resume it with a value: it has begun, and nothing about it is special.
    #[inline(always)]
    pub fn is_ordinary(&self) -> bool {
        /// Life, slot and the first six flags of an ordinary one.
        const ORDINARY: u64 = u64::from_ne_bytes([Life::Started as u8, Slot::Value as u8, 0, 0, 0, 0, 0, 0]);
        const LIFE: usize = offset_of!(Tasklet, life);
        const {
            assert!(offset_of!(Tasklet, slot) == LIFE + 1 && offset_of!(Tasklet, flags) == LIFE + 2);
            assert!(offset_of!(Flags, put_off) == 5 && offset_of!(Flags, block_trap) == 6);
            assert!(Link::<Tasklet>::LINES == 2 && Link::<Tasklet>::offset(LIFE + 8) == 64);
        }
        // SAFETY: these eight bytes are fields of a byte each, without gaps.
        let bits = unsafe { (&raw const *self).cast::<u8>().add(LIFE).cast::<u64>().read_unaligned() };
        bits == ORDINARY
    }

    /// It has a frame: it can still run.
    pub fn alive(&self) -> bool {
        matches!(self.life, Life::Ready | Life::Started)
    }

    /// Alive and in no queue.
    pub fn paused(&self) -> bool {
        self.alive() && self.place == Place::Floating
    }

    /// Waiting on a channel or for the outside.
    pub fn blocked(&self) -> bool {
        matches!(self.place, Place::Channel(..) | Place::Select | Place::Parked)
    }

    /// In a queue, be it the run queue or a channel's (Stackless's meaning).
    pub fn scheduled(&self) -> bool {
        self.place != Place::Floating
    }

    /// It is no tasklet, but a place of one in the queue of a channel.
    pub fn is_arm(&self) -> bool {
        self.details.as_ref().is_some_and(|details| details.arm_of.is_some())
    }

    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// The frames around the innermost one, the outermost first.
    pub fn outer(&self) -> &[Frame] {
        self.details.as_ref().map_or(&[], |d| &d.outer)
    }

    /// The outermost of the Luau coroutines that are around the innermost frame without a Rust frame
    /// between them: what its scripts take for the tasklet's own body.
    pub fn base(&self) -> *mut lua_State {
        let luau = |frame: &Frame| match frame {
            Frame::Luau(thread) => Some(*thread),
            Frame::Native(_) => None,
        };
        self.outer().iter().rev().map_while(luau).last().unwrap_or(self.thread)
    }

    /// The Luau coroutine in which it has begun; null if it has begun in Rust, or has no body.
    pub fn outermost(&self) -> *mut lua_State {
        match self.outer().first() {
            Some(Frame::Luau(thread)) => *thread,
            Some(Frame::Native(_)) => std::ptr::null_mut(),
            None => self.thread,
        }
    }

    /// A Rust frame is somewhere on its stack.
    pub fn has_native_frames(&self) -> bool {
        self.alive()
            && (self.thread.is_null() || self.outer().iter().any(|frame| matches!(frame, Frame::Native(_))))
    }

    /// It has used up its slice; how many in a row.
    pub fn count_overrun(&mut self) -> u32 {
        let switches = self.switches;
        let overruns = &mut self.details_mut().overruns;
        let (before, at) = *overruns;
        let in_a_row =
            if before > 0 && switches == at.wrapping_add(1) { before.saturating_add(1) } else { 1 };
        *overruns = (in_a_row, switches);
        in_a_row
    }
}
