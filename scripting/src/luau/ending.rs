//! The end of a tasklet: its handlers, who hears of it, and what becomes of its record.

use super::ffi::*;
use super::library::End;
use super::machine::{Dropped, Ended, Failure, Machine, protect};
use super::value::describe;
use crate::scheduler::{ChannelId, Deferred, Error, ErrorKind, Life, Slot, TaskletId};
use std::ffi::c_int;

/// Freed handles whose records wait to be forgotten, at which that is not left for the end of the slice.
const MANY_DROPPED: usize = 1000;

/// Ends that are noted for a host that asks for none while it runs.
const MANY_ENDED: usize = 1000;

impl Machine {
    /// The body has returned or failed: deferred functions run, then the error handler, and then the
    /// tasklet is dead and the next one is the head of the queue (`semantics.md` 1E).
    ///
    /// # Safety
    /// `body` has returned or failed with this status, and is its only frame; the tasklet is the head of the queue.
    pub(super) unsafe fn finish(&self, id: TaskletId, status: c_int, body: *mut lua_State) {
        let is_main = id == self.scheduler().main;
        // SAFETY: `body` has stopped; its error, if any, is on top of its stack. What may run out of
        // memory is protected, and what follows it allocates nothing in the VM.
        unsafe {
            let flags = self.scheduler().tasklets[id].flags;
            if status == LUA_OK && !flags.observed {
                // What a body returns is nobody's; left there, it would make the body look suspended.
                lua_settop(body, 0);
            }
            if status != LUA_OK {
                self.restore_budget_error(body);
                self.forget_budget_error(body);
            }
            if self.host_takes_errors() {
                // Left set, a trap would keep all others from waiting.
                self.scheduler().set_switch_trap(0);
            }
            let mut failed = status != LUA_OK && !self.is_exit(body, -1) && !self.is_token(body, -1);
            let mut trace = if failed { self.origin(id, body) } else { String::new() };
            if failed && self.is_memory(body, status) {
                self.free_memory(id, body);
            } else if failed && self.parks(id, body, &trace) {
                return;
            }
            if self.scheduler().tasklets[id].details.as_ref().is_some_and(|d| !d.deferred.is_empty())
                && let Some(deeper) = self.run_deferred(id, body)
            {
                failed = true;
                trace = deeper;
            }
            let mut failure = None;
            if flags.observed {
                let end = match status {
                    _ if failed => End::Failed,
                    LUA_OK => End::Returned,
                    _ => End::Killed,
                };
                failed &= !self.tell_library(id, body, end, &trace);
                if status == LUA_OK && !failed {
                    lua_settop(body, 0);
                }
            }
            if failed && self.handle_error(id, body, &mut trace) {
                failed = false;
            }
            if failed && (self.host_takes_errors() || is_main || flags.detached) {
                failure = Some(self.failure(id, body, std::mem::take(&mut trace)));
                failed = false;
            }
            if is_main {
                *self.host_error.borrow_mut() = failure;
                self.scheduler().tasklets[id].life = Life::Unbound;
                return;
            }
            let next = self.scheduler().end_current(failed);
            let runner = self.scheduler().innermost_runner();
            if failed {
                let runner = self.scheduler().id(runner);
                self.pass_origin(runner, body, trace);
                self.deliver(runner, body, -1, Slot::Error);
            } else if next.is_none() {
                self.wake_hopeless_main();
            }
            self.bury(id, failure);
        }
    }

    /// A Rust body is through; then as [`finish`](Self::finish).
    ///
    /// # Safety
    /// The tasklet's innermost frame is Rust's, its only one, and has ended; it is the head of the queue.
    pub(super) unsafe fn finish_native(&self, id: TaskletId) {
        // SAFETY: the frame has ended; its error is put where that of a Luau body would be.
        unsafe {
            let native = self.scheduler().tasklets[id].native;
            let outcome = std::mem::replace(&mut (*native).outcome, Ok(mlua::MultiValue::new()));
            let body = self.scratch;
            let status = match outcome {
                Ok(_) => LUA_OK,
                Err(error) => {
                    if protect(body, |L| {
                        self.push_thrown(L, &error);
                        lua_xmove(L, self.helper, 1);
                    })
                    .is_ok()
                    {
                        lua_xmove(self.helper, body, 1);
                    } else {
                        self.push_constant(body, ErrorKind::Memory);
                    }
                    LUA_ERRRUN
                }
            };
            self.finish(id, status, body);
            lua_settop(body, 0);
        }
    }

    /// Has a tasklet whose body has failed wait for its code to be mended, if the host wants that and it can
    /// be done; then the next one is the head of the queue already.
    unsafe fn parks(&self, id: TaskletId, body: *mut lua_State, trace: &str) -> bool {
        let wanted =
            self.host_takes_errors() && id != self.scheduler().main && self.handler_for(id).is_none();
        let Some(vm) = self.vm().filter(|vm| wanted && vm.parks_failed()) else { return false };
        // An error that somebody waits for is theirs.
        // SAFETY: between two slices the helper is idle.
        if self.scheduler().tasklets[id].flags.observed && unsafe { self.is_awaited(id) } {
            return false;
        }
        // SAFETY: the error is on top of the stack.
        let failure = unsafe { self.failure(id, body, trace.to_owned()) };
        if vm.park(body, failure).is_err() {
            return false;
        }
        if self.scheduler().set_aside().is_none() {
            // SAFETY: as in `finish`.
            unsafe { self.wake_hopeless_main() };
        }
        true
    }

    /// Memory ran out in a tasklet: what it held is given back before anything else is done, so that
    /// what it has deferred, and all others, can go on. The error becomes the one with a kind.
    unsafe fn free_memory(&self, id: TaskletId, body: *mut lua_State) {
        // SAFETY: the body has failed, so it may be reset; no coroutine runs, and the collector
        // allocates nothing. A body that a script has seen has to stay failed for it.
        unsafe {
            if self.scheduler().tasklets[id].flags.exposed || body == self.scratch {
                lua_settop(body, -2);
            } else {
                self.reset(body);
            }
            self.anchors().push(self.constants.memory, body);
            lua_gc(self.helper, LUA_GCCOLLECT, 0);
        }
    }

    /// The queue is empty and main waits on a channel that nobody can use any more (`semantics.md` 2.19).
    unsafe fn wake_hopeless_main(&self) {
        let main = self.scheduler().main;
        let text = match self.scheduler().tasklets[main].place {
            crate::scheduler::Place::Channel(crate::scheduler::Direction::Send) => {
                "deadlock: the main tasklet is sending, and no tasklet is left that could receive"
            }
            _ => "deadlock: the main tasklet is receiving, and no tasklet is left that could send",
        };
        self.scheduler().interrupt_wait(main);
        // SAFETY: the helper is idle; main is suspended. Without memory for the text, the error that
        // was made beforehand is raised.
        unsafe {
            let pushed = protect(self.helper, |L| {
                super::value::push_error(L, ErrorKind::Deadlock, text);
                self.deliver(main, L, -1, Slot::Error);
            });
            if pushed.is_err() {
                self.anchors().push(self.constants.memory, self.helper);
                self.deliver(main, self.helper, -1, Slot::Error);
                lua_settop(self.helper, -2);
            }
        }
    }

    /// Calls what the tasklet has deferred, last in first out. An error in one of them replaces the
    /// tasklet's own; the others are called all the same.
    pub(super) unsafe fn run_deferred(&self, id: TaskletId, body: *mut lua_State) -> Option<String> {
        let mut trace = None;
        // All of them together may take as long as a slice.
        self.watch.begin_slice();
        loop {
            let details = self.scheduler().tasklets[id].details_mut();
            let Some(deferred) = details.deferred.pop() else { return trace };
            let (index, table) = (details.deferred.len() as c_int + 1, details.defers);
            let failure = match deferred {
                Deferred::Rust(f) => std::panic::catch_unwind(std::panic::AssertUnwindSafe(f))
                    .err()
                    .map(|panic| crate::native::panicked(&*panic)),
                Deferred::Luau => None,
            };
            // SAFETY: the table holds the function at its place; the helper is idle. Nothing but the
            // function itself allocates or raises.
            unsafe {
                let L = self.helper;
                let top = lua_gettop(L);
                if let Some(error) = failure {
                    let pushed = protect(L, |L| {
                        self.push_thrown(L, &error);
                        lua_xmove(L, self.scratch, 1);
                    });
                    if pushed.is_ok() {
                        trace = Some(String::new());
                        lua_xmove(self.scratch, body, 1);
                    }
                } else if let Some(table) = table {
                    self.anchors().push(table, L);
                    lua_rawgeti_(L, -1, index);
                    lua_pushnil(L);
                    lua_rawseti_(L, -3, index);
                    if lua_type(L, -1) == LUA_TNIL {
                        lua_settop(L, top);
                        continue;
                    }
                    if lua_pcall(L, 0, 0, 0) != LUA_OK && !self.is_exit(L, -1) && lua_checkstack(body, 2) != 0
                    {
                        trace = Some(String::new());
                        lua_xmove(L, body, 1);
                    }
                }
                lua_settop(L, top);
            }
        }
    }

    /// Calls the error handler in the dying tasklet; true if the error ends there. An error in the
    /// handler takes the place of the tasklet's own; an exit in it is a silent end.
    unsafe fn handle_error(&self, id: TaskletId, body: *mut lua_State, trace: &mut String) -> bool {
        let Some(handler) = self.handler_for(id) else { return false };
        let mut handled = false;
        self.watch.begin_slice();
        // SAFETY: the helper is idle; the error is on top of the body's stack.
        let _ = unsafe {
            protect(self.helper, |L| {
                self.anchors().push(handler, L);
                lua_xpush(body, L, -1);
                super::value::push_str(L, trace);
                match lua_pcall(L, 2, 0, 0) {
                    LUA_OK => handled = true,
                    _ => {
                        trace.clear();
                        lua_xmove(L, body, 1);
                        handled = self.is_exit(body, -1);
                    }
                }
            })
        };
        handled
    }

    /// What the host gets to know of the error on top of `body`.
    pub(super) unsafe fn failure(&self, id: TaskletId, body: *mut lua_State, traceback: String) -> Failure {
        let scheduler = self.scheduler();
        // SAFETY: the error is on top of the stack.
        let (mut message, out_of_memory) = unsafe { (describe(body, -1), self.is_memory(body, LUA_OK)) };
        if out_of_memory && let Some((place, _)) = traceback.split_once(" in ") {
            message.insert_str(0, &format!("{place}: "));
        }
        if let Some(vm) = self.vm() {
            message += &vm.name_nil(body, 0, &message);
        }
        Failure {
            tasklet: id,
            name: scheduler.name_of(id),
            owner: scheduler.tasklets[id].owner,
            message,
            traceback,
        }
    }

    /// The tasklet is dead and in no queue: everything that it held is let go. Its record stays as
    /// long as a script holds its handle.
    unsafe fn bury(&self, id: TaskletId, failure: Option<Failure>) {
        let scheduler = self.scheduler();
        let tasklet = &mut scheduler.tasklets[id];
        let owner = tasklet.owner;
        let room = self.host_takes_errors() || self.ended.borrow().len() < MANY_ENDED;
        if room && (tasklet.flags.watched || failure.is_some()) {
            self.ended.borrow_mut().push(Ended { tasklet: id, owner, failure });
        }
        scheduler.discharge(id);
        // SAFETY: nothing refers to the body any more but perhaps a script, and then it is exposed.
        unsafe {
            self.release_body(id);
            let tasklet = &mut self.scheduler().tasklets[id];
            match tasklet.handle.take() {
                // The schedule callback is still to hear of it.
                Some(handle) if self.schedule_callback.get().is_some() => {
                    self.farewell.set(Some((id, handle.anchor)));
                }
                Some(handle) => self.anchors().release(handle.anchor),
                None if tasklet.holders == 0 => {
                    self.forget(id);
                }
                None => {}
            }
        }
        self.tidy();
    }

    /// Makes a tasklet end at its next turn, and takes it out of what it waits for; false if it has
    /// ended already. One that never ran just ends.
    ///
    /// # Safety
    /// The VM is alive and its helper idle.
    pub(crate) unsafe fn kill_later(&self, id: TaskletId) -> Result<bool, Error> {
        // The main tasklet of a host has no body that could end.
        if !self
            .scheduler()
            .tasklets
            .get(id)
            .is_some_and(|tasklet| tasklet.alive() && !self.is_frameless_host(id))
        {
            return Ok(false);
        }
        if self.is_looping() && id == self.running.get() && id == self.scheduler().current() {
            let name = self.scheduler().name_of(id);
            return Err(Error::new(ErrorKind::Current, format!("kill: {name} is running")));
        }
        // SAFETY: the tasklet is suspended. Nothing here allocates; the helper, even if it runs, has
        // room for one more value.
        unsafe {
            let L = self.helper;
            self.anchors().push(self.constants.exit, L);
            self.deliver(id, L, -1, Slot::Error);
            lua_settop(L, -2);
        }
        self.scheduler().thaw_tasklet(id);
        self.scheduler().interrupt_wait(id);
        Ok(true)
    }

    /// Removes the record of a tasklet that nobody can name any more, and what it stores.
    fn forget(&self, id: TaskletId) {
        let Some(tasklet) = self.scheduler().tasklets.remove(id) else { return };
        if let Some(storage) = tasklet.details.and_then(|details| details.storage) {
            // SAFETY: the table is not used again.
            unsafe { self.anchors().release(storage) };
        }
    }

    /// Tidies up within a slice too if there is much to do: a script may make and drop handles for
    /// long without ever giving up its turn.
    pub(super) fn tidy_at_times(&self) {
        if self.dropped.borrow().len() >= MANY_DROPPED {
            self.tidy();
        }
    }

    /// Forgets the records of handles that the collector has freed.
    pub(crate) fn tidy(&self) {
        loop {
            let Some(dropped) = self.dropped.borrow_mut().pop() else { return };
            match dropped {
                Dropped::Channel(id) => self.drop_channel(id),
                Dropped::Tasklet(id) => {
                    let Some(tasklet) = self.scheduler().tasklets.get_mut(id) else { continue };
                    tasklet.holders -= 1;
                    if tasklet.holders > 0 || tasklet.alive() || id == self.scheduler().main {
                        continue;
                    }
                    // SAFETY: a tasklet that is not alive is in no queue, and nobody can name it any more.
                    unsafe { self.release_body(id) };
                    self.forget(id);
                }
            }
        }
    }

    /// One handle less of a channel. Rust's handles keep that of scripts, so that it stays the same one.
    fn drop_channel(&self, id: ChannelId) {
        let Some(channel) = self.scheduler().channels.get_mut(id) else { return };
        channel.holders -= 1;
        // SAFETY: nobody needs the handle any more but scripts that hold it.
        unsafe {
            if channel.holders == 1
                && let Some(handle) = channel.handle.take()
            {
                self.anchors().release(handle);
            }
            if self.scheduler().channels[id].holders == 0
                && let Some(buffer) = self.scheduler().channels.remove(id).and_then(|channel| channel.buffer)
            {
                self.anchors().release(buffer.values);
            }
        }
    }
}
