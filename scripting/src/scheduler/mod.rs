//! The machine: run queue, channels, and who runs next.
//!
//! | file | what |
//! |---|---|
//! | `tasklet.rs` | what is known of a tasklet: how far it has come and where it is |
//! | `records.rs` | where tasklets and channels lie |
//! | `ring.rs` | the run queue |
//! | `channel.rs` | channels and their queues |
//! | `switch.rs` | every operation that may switch, as decisions about the queues |
//! | `select.rs` | waiting on several channels at once |
//! | `limits.rs` | `run` and its limits |
//! | `owners.rs` | whose tasklets are alive |
//! | `freeze.rs` | tasklets that don't run for now |
//! | `background.rs` | tasklets that run in the time that others leave |
//! | `error.rs`, `refusal.rs` | what the scheduler raises, and what it says to people |

mod background;
mod channel;
mod error;
mod freeze;
mod limits;
mod owners;
mod records;
mod refusal;
mod ring;
mod select;
mod switch;
mod tasklet;

use crate::luau::state;
use slotmap::SlotMap;
use std::collections::{HashSet, VecDeque};

pub(crate) use channel::{Channel, Direction};
pub use channel::{ChannelId, Overflow};
pub(crate) use error::Thrown;
pub use error::{Error, ErrorKind};
pub(crate) use limits::{Limit, Runner};
pub(crate) use owners::Members;
pub(crate) use records::{Link, Records};
pub(crate) use switch::{Meeting, Turn};
pub(crate) use tasklet::{Deferred, Flags, Frame, Handle, Life, Origin, Place, Slot, Tasklet};
pub use tasklet::{OwnerId, TaskletId};

/// The whole state of the machine.
///
/// The head of the run queue runs. The others follow it in order; `main` and other
/// tasklets inside `run` float beside the ring, and come back when it is empty.
pub(crate) struct Scheduler {
    pub tasklets: Records<TaskletId, Tasklet>,
    pub channels: Records<ChannelId, Channel>,
    /// The head of the run queue; none for a moment when it is empty.
    pub head: Link<Tasklet>,
    /// How many are in the run queue, the running one included.
    pub queued: usize,
    /// How many wait for something outside the scheduler.
    pub parked: usize,
    pub main: TaskletId,
    /// Its record, which is never removed.
    pub main_link: Link<Tasklet>,
    /// The tasklets inside `run`, the innermost last.
    pub runners: Vec<Runner>,
    /// While it isn't 0 nobody may switch.
    switch_trap: i32,
    /// One of the runners has a limit.
    limited: bool,
    /// Either of them: what every switch looks at.
    constrained: bool,
    /// What is left of the limit of the `run` that has one.
    pub ticks_left: i64,
    /// The tasklet that a limit has stopped, until `run` returns it.
    pub interrupted: Option<TaskletId>,
    /// Those whose slice was used up in this round: their turn comes in the next one.
    pub put_off: Vec<TaskletId>,
    /// The low queue: background tasklets whose turn comes when there is time left.
    pub low: VecDeque<TaskletId>,
    /// A scheduler callback is running: it may not switch.
    pub in_callback: bool,
    /// The living tasklets of each owner.
    pub owners: SlotMap<OwnerId, Members>,
    /// Owners whose tasklets don't run for now.
    pub frozen: HashSet<OwnerId>,
    /// Slices run, over all time.
    pub slices: u64,
    /// Values handed over on channels, over all time.
    pub messages: u64,
}

impl Scheduler {
    /// A scheduler whose main tasklet has no body yet and is the only member of the run queue.
    pub fn new() -> Self {
        let mut scheduler = Self {
            tasklets: Records::new(),
            channels: Records::new(),
            head: Link::NONE,
            queued: 0,
            parked: 0,
            main: TaskletId::default(),
            main_link: Link::NONE,
            runners: Vec::new(),
            switch_trap: 0,
            limited: false,
            constrained: false,
            ticks_left: 0,
            interrupted: None,
            put_off: Vec::new(),
            low: VecDeque::new(),
            in_callback: false,
            owners: SlotMap::with_key(),
            frozen: HashSet::new(),
            slices: 0,
            messages: 0,
        };
        scheduler.main = scheduler.create(OwnerId::default());
        scheduler.tasklets[scheduler.main].life = Life::Started;
        scheduler.main_link = scheduler.link(scheduler.main);
        scheduler.append(scheduler.main_link);
        scheduler
    }

    /// A tasklet that is in a queue, or runs: such a one exists.
    #[inline(always)]
    pub fn member(&mut self, link: Link<Tasklet>) -> &mut Tasklet {
        // SAFETY: a record is only removed when its tasklet is dead, and the dead are in no queue: `unqueue`,
        // `dequeue` and `wake` have unlinked them from their neighbours before. Callers pass links of
        // queues, the head, or a tasklet whose record they have just seen. The scheduler is borrowed as long as
        // the record.
        unsafe { link.get() }
    }

    /// Somebody's turn comes next: fetches what it takes into the processor's cache while somebody else runs, one step
    /// for each of those that follow. What a step needs, the one before has fetched when that turn was further away.
    #[inline(always)]
    pub fn prefetch(&mut self, link: Link<Tasklet>) {
        let Tasklet { thread, next, .. } = *self.member(link);
        // SAFETY: a member's coroutine is alive.
        unsafe { state::prefetch(thread) };
        let then = self.member(next);
        prefetch(then.thread);
        prefetch(then.next.address());
    }

    /// A channel whose handle somebody holds: such a one exists.
    #[inline(always)]
    pub fn open_channel(&mut self, link: Link<Channel>) -> &mut Channel {
        // SAFETY: a record is only removed when its last handle is gone; callers have one, or come from a
        // waiter, whose stack holds one. As above.
        unsafe { link.get() }
    }

    /// The name of a member.
    #[inline(always)]
    pub fn id(&self, link: Link<Tasklet>) -> TaskletId {
        // SAFETY: as `member`.
        unsafe { link.key() }
    }

    /// The name of an open channel.
    #[inline(always)]
    pub fn channel_id(&self, link: Link<Channel>) -> ChannelId {
        // SAFETY: as `open_channel`.
        unsafe { link.key() }
    }

    /// The number by which people know the channel.
    pub fn channel_number(&self, link: Link<Channel>) -> u64 {
        number(self.channel_id(link))
    }

    /// The head of the run queue, which runs.
    #[inline]
    pub fn current(&self) -> TaskletId {
        self.id(self.head)
    }

    /// The link to a tasklet that is there.
    pub fn link(&self, id: TaskletId) -> Link<Tasklet> {
        let link = self.tasklets.link(id);
        assert!(!link.is_none(), "the record is there");
        link
    }

    /// A new, unbound tasklet, which lives by the clock of the one that creates it, and whose memory counts
    /// among that one's.
    pub fn create(&mut self, owner: OwnerId) -> TaskletId {
        let (clock, category) =
            self.tasklets.get(self.current()).map_or((0, 0), |creator| (creator.clock, creator.category));
        self.tasklets.insert(Tasklet { clock, category, ..Tasklet::new(owner) })
    }

    /// What people call the tasklet in messages.
    pub fn name_of(&self, id: TaskletId) -> String {
        if id == self.main {
            return "the main tasklet".into();
        }
        match self.tasklets.get(id).and_then(|t| t.details.as_ref()).and_then(|d| d.name.as_deref()) {
            Some(name) => format!("tasklet '{name}'"),
            None => format!("tasklet {}", number(id)),
        }
    }
}

/// For the cache of the processor: what lies there is needed soon.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The number by which people know something with a generational key.
pub(crate) fn number(key: impl slotmap::Key) -> u64 {
    key.data().as_ffi() & 0xffff_ffff
}
