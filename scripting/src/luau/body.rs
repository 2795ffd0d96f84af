//! Bodies of tasklets: coroutines that are made, given, and used again.

use super::anchor::Anchor;
use super::ffi::*;
use super::machine::Machine;
use crate::scheduler::{ErrorKind, Life, OwnerId, Slot, TaskletId};

/// Memory that resetting a coroutine may take for a moment, in bytes: a page of the VM's, and more.
const RESET_MARGIN: usize = 256 << 10;

/// Bodies of ended tasklets that are kept for later ones.
const SPARE_BODIES: usize = 1024;

impl Machine {
    /// Makes a tasklet of the function and arguments that are the whole stack of `L`, and queues it.
    /// `[-all, +0]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call.
    pub(crate) unsafe fn spawn(&self, L: *mut lua_State, owner: OwnerId) -> TaskletId {
        // SAFETY: the body gets all values of the stack, after room was made for them.
        unsafe {
            let n = lua_gettop(L);
            let (thread, body) = self.new_filled_body(L);
            let scheduler = self.scheduler();
            let id = scheduler.create(owner);
            let tasklet = &mut scheduler.tasklets[id];
            tasklet.thread = thread;
            tasklet.body = Some(body);
            tasklet.arguments = (n - 1) as u32;
            tasklet.life = Life::Ready;
            tasklet.slot = Slot::Value;
            lua_setmemcat(thread, tasklet.category.into());
            scheduler.enlist(id);
            // A floating tasklet that is alive can always be queued.
            let _ = scheduler.insert(id);
            id
        }
    }

    /// A coroutine with the function and arguments that are the whole stack of `L`. `[-all, +0]`
    pub(crate) unsafe fn new_filled_body(&self, L: *mut lua_State) -> (*mut lua_State, Anchor) {
        // SAFETY: all values of the stack are moved, when there is room for them.
        unsafe {
            let n = lua_gettop(L);
            let (thread, body) = self.new_body(L);
            if lua_checkstack(thread, n + 2) == 0 {
                self.anchors().release(body);
                super::value::raise(
                    L,
                    ErrorKind::Memory,
                    format!("there is no room for {} arguments", n - 1),
                );
            }
            lua_xmove(L, thread, n);
            (thread, body)
        }
    }

    /// A coroutine for a new tasklet. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call.
    pub(super) unsafe fn new_body(&self, L: *mut lua_State) -> (*mut lua_State, Anchor) {
        if let Some(spare) = self.spare.borrow_mut().pop() {
            return spare;
        }
        // SAFETY: the new coroutine is on the stack until the shelf keeps it.
        unsafe {
            let thread = lua_newthread(L);
            let anchor = self.anchors().keep(L, -1);
            lua_settop(L, -2);
            (thread, anchor)
        }
    }

    /// Takes the body from a tasklet, for another one if no script has seen it.
    ///
    /// # Safety
    /// The body is not running.
    pub(crate) unsafe fn release_body(&self, id: TaskletId) {
        let tasklet = &mut self.scheduler().tasklets[id];
        tasklet.life = Life::Unbound;
        tasklet.slot = Slot::Nothing;
        let exposed = std::mem::take(&mut tasklet.flags).exposed;
        let nested = !tasklet.outer().is_empty();
        let body = tasklet.base();
        tasklet.thread = std::ptr::null_mut();
        if id != self.scheduler().main && !tasklet.native.is_null() {
            let native = std::mem::replace(&mut tasklet.native, std::ptr::null_mut());
            // SAFETY: the frame has ended, or never began: nobody takes the function from a tasklet with a
            // Rust frame that is suspended.
            unsafe { self.free_frame(native) };
        }
        let tasklet = &mut self.scheduler().tasklets[id];
        if let Some(details) = &mut tasklet.details {
            details.outer.clear();
            details.deferred.clear();
            if let Some(defers) = details.defers.take() {
                // SAFETY: the table is not used again.
                unsafe { self.anchors().release(defers) };
            }
        }
        let Some(anchor) = tasklet.body.take() else { return };
        // SAFETY: a body that has ended, or never ran, or is suspended for good, may be reset: its
        // upvalues are closed first. One with coroutines inside is left to the collector.
        unsafe {
            if exposed || nested || self.spare.borrow().len() >= SPARE_BODIES {
                self.anchors().release(anchor);
            } else {
                self.reset(body);
                self.spare.borrow_mut().push((body, anchor));
            }
        }
    }

    /// Takes back a coroutine on which Rust has called a function.
    ///
    /// # Safety
    /// The coroutine has ended, or failed, or never began, and is not used again.
    pub(crate) unsafe fn release_callee(&self, thread: *mut lua_State, anchor: Anchor) {
        let exposed = self.scheduler().tasklets.get(self.running.get()).is_none_or(|t| t.flags.exposed);
        // SAFETY: the caller's.
        unsafe {
            if exposed || self.spare.borrow().len() >= SPARE_BODIES {
                self.anchors().release(anchor);
            } else {
                self.reset(thread);
                self.spare.borrow_mut().push((thread, anchor));
            }
        }
    }

    /// Resets a coroutine that does not run. That may move its stack to a smaller place, for which memory is
    /// asked: near the limit it would be refused, with an error that nobody could catch here. So there is
    /// no limit then, for a moment.
    ///
    /// # Safety
    /// The coroutine has ended, never ran, or is suspended for good.
    pub(super) unsafe fn reset(&self, thread: *mut lua_State) {
        let lua = self.vm().map(super::vm::Vm::lua);
        let near = |lua: &&mlua::Lua| lua.used_memory() + RESET_MARGIN > self.memory_limit.get();
        let lifted = lua.filter(near).and_then(|lua| Some((lua, lua.set_memory_limit(0).ok()?)));
        // SAFETY: the caller's.
        unsafe { lua_resetthread(thread) };
        if let Some((lua, limit)) = lifted {
            let _ = lua.set_memory_limit(limit);
        }
    }

    /// Gives the main tasklet a body: the function and arguments that are the whole stack of `L`.
    /// `[-all, +0]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call; main is the head of the queue and has no body.
    pub(crate) unsafe fn embody_main(&self, L: *mut lua_State) {
        // SAFETY: as `spawn`.
        unsafe {
            let n = lua_gettop(L);
            let (thread, body) = self.new_filled_body(L);
            let scheduler = self.scheduler();
            let main = &mut scheduler.tasklets[scheduler.main];
            main.thread = thread;
            main.body = Some(body);
            main.arguments = (n - 1) as u32;
            main.life = Life::Ready;
            main.slot = Slot::Value;
            // Whoever asks for main gets the same handle again, in every later run.
            self.push_tasklet(L, self.scheduler().main);
            lua_settop(L, -2);
        }
        self.host_wants_errors.set(false);
    }

    /// The body of the main tasklet has ended: it is the host's again.
    pub(crate) fn disembody_main(&self) {
        let main = self.scheduler().main;
        // SAFETY: the body has ended.
        unsafe { self.release_body(main) };
        let scheduler = self.scheduler();
        scheduler.leave_run(main);
        scheduler.tasklets[main].native = self.host;
        scheduler.tasklets[main].life = Life::Started;
        scheduler.tasklets[main].slot = Slot::Nothing;
        let _ = scheduler.insert(main);
        scheduler.head = scheduler.link(main);
        self.running.set(main);
    }
}
