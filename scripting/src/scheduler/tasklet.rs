//! What the scheduler knows of a tasklet.

use super::channel::{ChannelId, Direction};
use crate::luau::Anchor;
use crate::luau::ffi::lua_State;

slotmap::new_key_type! {
    /// Names a tasklet. Never reused, so it can be kept after the tasklet has ended.
    pub struct TaskletId;

    /// Names who a tasklet belongs to; tasklets inherit the owner of the one that creates them.
    pub struct OwnerId;
}

/// How far a tasklet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// In the queue of a channel.
    Channel(ChannelId, Direction),
    /// Waiting for something outside the scheduler, such as the clock.
    Parked,
}

/// What the next resume delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The value on top of the stack is what the blocking call returns. Before the first slice:
    /// the arguments, so many of them.
    Value,
    /// The value on top of the stack is an error that the blocking call raises.
    Error,
    /// Nothing: the tasklet was interrupted between two instructions.
    Nothing,
}

/// Attributes that are single bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// A blocking call is an error.
    pub block_trap: bool,
    /// No involuntary switches.
    pub atomic: bool,
    /// Involuntary switches in spite of native frames.
    pub ignore_nesting: bool,
    /// Blocked in a loop over a channel, which a StopIteration ends quietly.
    pub iterating: bool,
    /// Its coroutine was seen by a script, so it can't be used again.
    pub exposed: bool,
    /// It was suspended inside of a coroutine that its script has made.
    pub nested: bool,
    /// It is inside `run`.
    pub running: bool,
    /// Its end is noted in [`Scheduler::ended`](super::Scheduler::ended).
    pub watched: bool,
}

/// One tasklet.
pub(crate) struct Tasklet {
    pub next: TaskletId,
    pub prev: TaskletId,
    /// The innermost coroutine, which the next slice resumes; null without a body.
    pub thread: *mut lua_State,
    pub place: Place,
    pub life: Life,
    pub slot: Slot,
    pub flags: Flags,
    /// Arguments on the stack while [`Life::Ready`].
    pub arguments: u32,
    /// How often it was switched to.
    pub switches: u32,
    /// How often it was parked; tells a stale wake-up from a current one.
    pub parkings: u32,
    /// Keeps the body's coroutine alive.
    pub body: Option<Anchor>,
    /// Keeps the handle that scripts hold alive while the tasklet is.
    pub handle: Option<Anchor>,
    pub owner: OwnerId,
    /// What few tasklets have.
    pub details: Option<Box<Details>>,
}

/// The rarely used rest of a tasklet.
#[derive(Default)]
pub(crate) struct Details {
    pub name: Option<Box<str>>,
    /// Coroutines of the script around the innermost one, from the inside out; the last is the body.
    pub outer: Vec<*mut lua_State>,
    /// Functions given to `defer`, a table.
    pub defers: Option<Anchor>,
    pub deferred: u32,
    /// Where it was created.
    pub callsite: Option<Box<str>>,
}

impl Tasklet {
    pub fn new(owner: OwnerId) -> Self {
        Self {
            next: TaskletId::default(),
            prev: TaskletId::default(),
            thread: std::ptr::null_mut(),
            place: Place::Floating,
            life: Life::Unbound,
            slot: Slot::Nothing,
            flags: Flags::default(),
            arguments: 0,
            switches: 0,
            parkings: 0,
            body: None,
            handle: None,
            owner,
            details: None,
        }
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
        matches!(self.place, Place::Channel(..) | Place::Parked)
    }

    /// In a queue, be it the run queue or a channel's (Stackless's meaning).
    pub fn scheduled(&self) -> bool {
        self.place != Place::Floating
    }

    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// Coroutines of the script around the innermost one, from the inside out.
    pub fn outer(&self) -> &[*mut lua_State] {
        self.details.as_ref().map_or(&[], |d| &d.outer)
    }
}
