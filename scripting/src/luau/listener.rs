//! What a host tells scripts: values for tasklets that wait for them, and for channels on which they listen.

use super::call::Wait;
use super::ffi::*;
use super::machine::Ended;
use super::vm::Vm;
use crate::scheduler::{ChannelId, Error, Overflow, OwnerId, Slot, TaskletId};
use mlua::{IntoLua, Value};

/// A channel on which a script listens to the host, which does not keep it alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// How many values wait in it.
    pub waiting: usize,
    /// How many were lost over all time, because too many were waiting.
    pub lost: u64,
}

impl Vm {
    /// Makes a channel to [`post`](Self::post) to, in which up to `capacity` values wait. It lives as long as a
    /// script holds it.
    pub fn new_listener(&self, capacity: usize, overflow: Overflow) -> Result<(ChannelId, Value), Error> {
        let mut made = None;
        // SAFETY: mlua protects the call and takes the one value that is left, the channel's handle.
        let handle = unsafe {
            self.lua().exec_raw::<Value>((), |L| {
                let channel = self.machine().push_new_channel(L);
                lua_createtable(L, 0, 0);
                let values = self.machine().anchors().keep(L, -1);
                lua_settop(L, -2);
                self.machine().scheduler().channels[channel].buffer_in(values, capacity, overflow);
                made = Some(channel);
            })?
        };
        let channel = made.ok_or_else(|| Error::wrong_type("the channel could not be made"))?;
        Ok((channel, handle))
    }

    /// How a listener stands; `None` when the script has closed it or let it go.
    pub fn listening(&self, channel: ChannelId) -> Option<Listening> {
        let queue = self.machine().scheduler().channels.get(channel).filter(|queue| !queue.closing)?;
        let buffer = queue.buffer.as_ref()?;
        Some(Listening { waiting: buffer.len() as usize, lost: buffer.dropped })
    }

    /// Like [`wake`](Self::wake); the blocking call returns `value`.
    pub fn wake_with(&self, wait: Wait, value: impl IntoLua) -> Result<bool, Error> {
        if !self.is_waiting(wait) {
            return Ok(false);
        }
        let value = value.into_lua(self.lua())?;
        // SAFETY: protected by mlua, which has pushed the value alone; who waits is suspended.
        unsafe {
            self.lua().exec_raw::<()>(value, |L| {
                self.machine().deliver(wait.tasklet, L, -1, Slot::Value);
                lua_settop(L, 0);
            })?;
        }
        Ok(self.wake(wait.tasklet, wait.parking))
    }

    /// Like [`wake`](Self::wake); the blocking call raises the error.
    pub fn wake_with_error(&self, wait: Wait, error: &Error) -> Result<bool, Error> {
        if !self.is_waiting(wait) {
            return Ok(false);
        }
        self.with_state(|L| {
            // SAFETY: below a protected call; who waits is suspended.
            unsafe {
                super::value::push_error(L, error.kind, &error.message);
                self.machine().deliver(wait.tasklet, L, -1, Slot::Error);
                lua_settop(L, -2);
            }
        })?;
        Ok(self.wake(wait.tasklet, wait.parking))
    }

    /// Keeps the tasklets of an owner from running, those included that it gets later. They can be woken, sent to
    /// and queued meanwhile; killing one ends it all the same.
    pub fn freeze(&self, owner: OwnerId) {
        self.machine().scheduler().freeze(owner);
    }

    /// Lets the tasklets of an owner run again: those whose turn has come meanwhile are queued, in the order in which
    /// they came to life.
    pub fn thaw(&self, owner: OwnerId) {
        self.machine().scheduler().thaw(owner);
    }

    /// The tasklets of an owner are about to end, because something is about to go that they may still want to see:
    /// calls what they have deferred, as their ends would. One of them may be the running tasklet, which goes on
    /// afterwards. An error is one of [`take_ended`](Self::take_ended).
    pub fn run_deferred(&self, owner: OwnerId) {
        let machine = self.machine();
        for id in self.owned_by(owner) {
            let has_deferred = |t: &crate::scheduler::Tasklet| {
                t.details.as_ref().is_some_and(|details| !details.deferred.is_empty())
            };
            if !machine.scheduler().tasklets.get(id).is_some_and(has_deferred) {
                continue;
            }
            // SAFETY: the tasklet is suspended, or has called this. The helper is idle or further out on the stack of
            // this very call; the scratch state holds an error only until it is described.
            unsafe {
                let L = machine.scratch;
                let top = lua_gettop(L);
                if let Some(trace) = machine.run_deferred(id, L) {
                    let failure = machine.failure(id, L, trace);
                    machine.ended.borrow_mut().push(Ended { tasklet: id, owner, failure: Some(failure) });
                }
                lua_settop(L, top);
            }
        }
    }

    /// Makes a tasklet belong to an owner, and to nobody else; it is to be paused or queued.
    pub fn give_to(&self, tasklet: TaskletId, owner: OwnerId) {
        let scheduler = self.machine().scheduler();
        if !scheduler.tasklets.contains_key(tasklet) {
            return;
        }
        scheduler.discharge(tasklet);
        scheduler.tasklets[tasklet].owner = owner;
        if scheduler.tasklets[tasklet].alive() {
            scheduler.enlist(tasklet);
        }
    }

    /// The tasklet has not ended.
    pub fn is_alive(&self, tasklet: TaskletId) -> bool {
        self.machine().scheduler().tasklets.get(tasklet).is_some_and(|tasklet| tasklet.alive())
    }

    /// The tasklet whose turn it is, or was last.
    pub fn current_tasklet(&self) -> TaskletId {
        self.machine().running.get()
    }

    /// An owner has not been [removed](Self::remove_owner).
    pub fn is_owner(&self, owner: OwnerId) -> bool {
        self.machine().scheduler().owners.contains_key(owner)
    }
}
