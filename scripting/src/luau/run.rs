//! The loop: resumes the head of the run queue, again and again.

use super::anchor::Anchor;
use super::ffi::*;
use super::library::End;
use super::machine::{Dropped, Ended, Failure, Machine, protect};
use super::value::describe;
use crate::native::{Native, Step};
use crate::scheduler::{
    ChannelId, Deferred, Error, ErrorKind, Frame, Life, Link, OwnerId, Slot, Tasklet, TaskletId,
};
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;

/// Freed handles whose records wait to be forgotten, at which that is not left for the end of the slice.
const MANY_DROPPED: usize = 1000;

/// Ends that are noted for a host that asks for none while it runs.
const MANY_ENDED: usize = 1000;

/// Memory that resetting a coroutine may take for a moment, in bytes: a page of the VM's, and more.
const RESET_MARGIN: usize = 256 << 10;

/// Bodies of ended tasklets that are kept for later ones.
const SPARE_BODIES: usize = 1024;

/// What the innermost frame has come to.
enum Stop {
    /// The status of a Luau coroutine.
    Luau(c_int),
    Native(Step),
}

impl Machine {
    /// Runs slices until the main tasklet is the head of the queue and has no body to resume, or
    /// until it ends; `go_on` is asked before each slice.
    ///
    /// # Safety
    /// The VM is alive and none of its coroutines is running.
    pub(crate) unsafe fn run_slices(&self, mut go_on: impl FnMut() -> bool) {
        /// Notes that the loop is at work, even if `go_on` panics.
        struct Looping<'a>(&'a Machine);
        impl Drop for Looping<'_> {
            fn drop(&mut self) {
                self.0.looping.set(false);
            }
        }
        self.looping.set(true);
        let _looping = Looping(self);
        // SAFETY: the VM is alive.
        self.depth_outside.set(unsafe { super::state::depth(self.outside) });
        loop {
            let scheduler = self.scheduler();
            let mut next = scheduler.head;
            // As a rule that is all.
            while !self.busy.get() && next != scheduler.main_link && scheduler.member(next).is_ordinary() {
                if !go_on() {
                    self.running.set(scheduler.main);
                    return;
                }
                // SAFETY: the caller's; the head of the queue is suspended.
                match unsafe { self.slice(next) } {
                    Some(then) => next = then,
                    None => return,
                }
            }
            let busy = self.busy.get();
            if busy {
                self.tidy();
            }
            let scheduler = self.scheduler();
            if !scheduler.put_off.is_empty() && !scheduler.skip_put_off() {
                self.running.set(scheduler.main);
                return;
            }
            let next = scheduler.head;
            if !scheduler.member(next).is_ordinary() && self.holds(next) {
                continue;
            }
            if busy {
                self.announce_switch(scheduler.id(next));
                self.busy.set(
                    self.schedule_callback.get().is_some()
                        || self.accounting.is_on()
                        || self.scheduler().is_limited(),
                );
            }
            let scheduler = self.scheduler();
            if next == scheduler.main_link && self.main_is_host() {
                self.running.set(scheduler.main);
                let main = scheduler.member(next);
                main.switches = main.switches.wrapping_add(1);
                if main.flags.running {
                    // A script may have ended the frame from inside of a run with a limit.
                    if scheduler.set_limited(false) {
                        // SAFETY: the VM is alive.
                        unsafe { super::interrupt::rest(self.helper) };
                    }
                    scheduler.leave_run(scheduler.main);
                }
                return;
            }
            if !go_on() {
                self.running.set(scheduler.main);
                return;
            }
            // SAFETY: the caller's; the head of the queue is suspended.
            let then = unsafe {
                if scheduler.is_limited() && self.running.get() != scheduler.id(next) {
                    scheduler.restart_ticks();
                }
                if busy && self.accounting.is_on() {
                    let id = scheduler.id(next);
                    self.accounting.begin();
                    let then = self.slice(next);
                    self.account(id);
                    then
                } else {
                    self.slice(next)
                }
            };
            if then.is_none() {
                return;
            }
        }
    }

    /// The turn of a tasklet that may be frozen or a background one has come; false if it runs now.
    #[cold]
    fn holds(&self, link: Link<Tasklet>) -> bool {
        let scheduler = self.scheduler();
        let flags = scheduler.member(link).flags;
        if flags.frozen {
            return scheduler.hold(link);
        }
        // Where nobody runs the low queue, everybody is in the foreground.
        flags.background && self.host_rules() && scheduler.wait_for_time(link)
    }

    /// Runs the head of the queue until it switches or ends; who is the head then, `None` if it was main, and has ended.
    #[inline(always)]
    unsafe fn slice(&self, link: Link<Tasklet>) -> Option<Link<Tasklet>> {
        // SAFETY: the caller's.
        unsafe {
            if self.scheduler().member(link).is_ordinary() {
                return self.ordinary_slice(link);
            }
            let id = self.begin_slice(link);
            let main_ended = self.first_or_odd_slice(id);
            self.body.set(std::ptr::null_mut());
            (!main_ended).then(|| self.scheduler().head)
        }
    }

    /// As [`slice`](Self::slice), for one [that is no more than resumed](Tasklet::is_ordinary).
    #[inline(always)]
    unsafe fn ordinary_slice(&self, link: Link<Tasklet>) -> Option<Link<Tasklet>> {
        let id = self.begin_slice(link);
        let tasklet = self.scheduler().member(link);
        let thread = tasklet.thread;
        // SAFETY: `thread` is suspended with its slot on top, or the innermost frame is Rust's and suspended.
        unsafe {
            if thread.is_null() {
                let suspended = self.enter_from_loop(tasklet.native);
                if let Some(next) = suspended
                    && !next.is_none()
                {
                    debug_assert_eq!(next, self.scheduler().head);
                    return Some(next);
                }
                return self.settle_native(id, self.step_of(suspended));
            }
            let next = tasklet.next;
            self.scheduler().prefetch(next);
            self.body.set(thread);
            let status = self.resume(thread, 1);
            let main_ended =
                (status != LUA_BREAK || self.goes_on.get()) && self.settle(id, Stop::Luau(status));
            self.body.set(std::ptr::null_mut());
            (!main_ended).then(|| self.scheduler().head)
        }
    }

    /// A slice of the head of the queue begins.
    #[inline(always)]
    fn begin_slice(&self, link: Link<Tasklet>) -> TaskletId {
        let scheduler = self.scheduler();
        let id = scheduler.id(link);
        scheduler.slices += 1;
        self.watch.begin_slice();
        self.running.set(id);
        let tasklet = scheduler.member(link);
        tasklet.switches = tasklet.switches.wrapping_add(1);
        id
    }

    /// As [`slice`](Self::slice), for a tasklet that begins, that gets an error or nothing at all, whose frames
    /// are nested, or which comes back out of `run`.
    #[cold]
    unsafe fn first_or_odd_slice(&self, id: TaskletId) -> bool {
        let scheduler = self.scheduler();
        if scheduler.tasklets[id].flags.running {
            scheduler.leave_run(id);
            if !scheduler.is_limited() {
                // SAFETY: the VM is alive.
                unsafe { super::interrupt::rest(self.helper) };
            }
        }
        let tasklet = &mut scheduler.tasklets[id];
        let thread = tasklet.thread;
        self.body.set(if tasklet.flags.nested { tasklet.base() } else { thread });
        let fresh = std::mem::replace(&mut tasklet.life, Life::Started) == Life::Ready;
        let iterating = std::mem::take(&mut tasklet.flags.iterating);
        let slot = tasklet.slot;
        let arguments = if fresh { tasklet.arguments as c_int } else { 1 };
        let none = std::ptr::null_mut();
        // SAFETY: `thread` is suspended with its slot on top (see `suspend`), or has its function
        // and arguments there; or the innermost frame is Rust's and suspended, or new.
        unsafe {
            if thread.is_null() {
                tasklet.slot = Slot::Value;
                if !(fresh && slot == Slot::Error) {
                    let step = self.enter(tasklet.native);
                    return self.settle_native(id, step).is_none();
                }
                // It never begins, as an error was thrown at it before.
                let native = tasklet.native;
                let error = (*native).thrown.take().map_or_else(Error::exit, |error| *error);
                (*native).outcome = Err(error);
                return self.settle(id, Stop::Native(Step::Done));
            }
            let status = match slot {
                Slot::Value => self.resume(thread, arguments),
                Slot::Nothing => lua_resume_(thread, none, 0),
                Slot::Error if fresh => LUA_ERRRUN,
                Slot::Error if iterating && self.is_stop(thread, -1) => {
                    lua_settop(thread, -2);
                    lua_pushnil(thread);
                    lua_resume_(thread, none, 1)
                }
                Slot::Error => lua_resumeerror(thread, none),
            };
            (status != LUA_BREAK || self.goes_on.get()) && self.settle(id, Stop::Luau(status))
        }
    }

    /// As [`settle`](Self::settle), for a tasklet whose innermost frame is Rust's; what comes of it as for
    /// [`ordinary_slice`](Self::ordinary_slice).
    #[cold]
    unsafe fn settle_native(&self, id: TaskletId, step: Step) -> Option<Link<Tasklet>> {
        // SAFETY: the caller's.
        let main_ended = step != Step::Blocked && unsafe { self.settle(id, Stop::Native(step)) };
        self.body.set(std::ptr::null_mut());
        (!main_ended).then(|| self.scheduler().head)
    }

    /// The innermost frame has stopped: the frames around it go on, or the one that it has asked for, until
    /// the tasklet suspends or ends; whether it was main, and has ended.
    #[cold]
    unsafe fn settle(&self, id: TaskletId, mut stop: Stop) -> bool {
        let none = std::ptr::null_mut();
        // SAFETY: each frame waits for the one inside of it, which has just stopped with this outcome.
        unsafe {
            loop {
                let Some(tasklet) = self.scheduler().tasklets.get_mut(id) else { return false };
                stop = match stop {
                    Stop::Luau(LUA_BREAK) if self.goes_on.take() => self.begin_call(id),
                    Stop::Luau(LUA_BREAK) | Stop::Native(Step::Blocked) => return false,
                    Stop::Native(Step::Call) => self.begin_call(id),
                    Stop::Luau(status) => match tasklet.details.as_mut().and_then(|d| d.outer.pop()) {
                        None => {
                            let body = tasklet.thread;
                            self.finish(id, status, body);
                            return id == self.scheduler().main;
                        }
                        // It broke in its `resume`, whose continuation picks up what came of the inner one.
                        Some(Frame::Luau(outer)) => {
                            tasklet.thread = outer;
                            self.body.set(tasklet.base());
                            Stop::Luau(lua_resume_(outer, none, 0))
                        }
                        Some(Frame::Native(native)) => {
                            tasklet.thread = none;
                            tasklet.native = native;
                            if let Some(callee) = &mut (*native).call {
                                callee.status = status;
                            }
                            Stop::Native(self.enter(native))
                        }
                    },
                    Stop::Native(Step::Done) => {
                        match tasklet.details.as_mut().and_then(|details| details.outer.pop()) {
                            Some(Frame::Luau(caller)) => {
                                let native = std::mem::replace(&mut tasklet.native, none.cast());
                                tasklet.thread = caller;
                                self.body.set(tasklet.base());
                                Stop::Luau(self.return_to(caller, native))
                            }
                            _ => {
                                self.finish_native(id);
                                return id == self.scheduler().main;
                            }
                        }
                    }
                };
            }
        }
    }

    /// The innermost frame, which is Rust's, wants a function to be called.
    unsafe fn begin_call(&self, id: TaskletId) -> Stop {
        let tasklet = &mut self.scheduler().tasklets[id];
        let native = std::mem::replace(&mut tasklet.native, std::ptr::null_mut());
        // SAFETY: the frame has suspended with a call that has not begun.
        unsafe {
            let Some(callee) = (*native).call else { return Stop::Native(Step::Blocked) };
            tasklet.flags.nested = true;
            tasklet.details_mut().outer.push(Frame::Native(native));
            tasklet.thread = callee.thread;
            self.body.set(callee.thread);
            Stop::Luau(lua_resume_(callee.thread, std::ptr::null_mut(), callee.arguments))
        }
    }

    /// A Rust function is through: its caller, which has broken in it, goes on.
    unsafe fn return_to(&self, caller: *mut lua_State, native: *mut Native) -> c_int {
        let none = std::ptr::null_mut();
        // SAFETY: the frame has ended; the caller is suspended in a C function.
        unsafe {
            match self.push_results(native, caller) {
                Ok(n) => lua_resume_(caller, none, n),
                Err(error) => {
                    let error = match error.thrown() {
                        None if !matches!(error.kind, ErrorKind::Exit | ErrorKind::Stop) => {
                            Error::new(error.kind, place(caller, 1) + &error.message)
                        }
                        _ => error,
                    };
                    let pushed = protect(self.scratch, |L| {
                        self.push_thrown(L, &error);
                        lua_xmove(L, caller, 1);
                    });
                    if pushed.is_err() {
                        self.push_constant(caller, ErrorKind::Memory);
                    }
                    drop(error);
                    lua_resumeerror(caller, none)
                }
            }
        }
    }

    /// A Rust body is through.
    unsafe fn finish_native(&self, id: TaskletId) {
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

    /// The body has returned or failed: deferred functions run, then the error handler, and then the
    /// tasklet is dead and the next one is the head of the queue (`semantics.md` 1E).
    unsafe fn finish(&self, id: TaskletId, status: c_int, body: *mut lua_State) {
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
            message += &vm.name_nil(body, &message);
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

    /// Tidies up within a slice too if there is much to do: a script may make and drop handles for
    /// long without ever giving up its turn.
    pub(super) fn tidy_at_times(&self) {
        if self.dropped.borrow().len() >= MANY_DROPPED {
            self.tidy();
        }
    }

    /// Removes the record of a tasklet that nobody can name any more, and what it stores.
    fn forget(&self, id: TaskletId) {
        let Some(tasklet) = self.scheduler().tasklets.remove(id) else { return };
        if let Some(storage) = tasklet.details.and_then(|details| details.storage) {
            // SAFETY: the table is not used again.
            unsafe { self.anchors().release(storage) };
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

    /// Calls the schedule callback for a switch from whoever ran last.
    #[cold]
    fn announce_switch(&self, next: TaskletId) {
        let prev = self.running.get();
        let Some(callback) = self.schedule_callback.get().filter(|_| prev != next) else { return };
        self.scheduler().in_callback = true;
        self.watch.begin_slice();
        let farewell = self.farewell.take();
        // SAFETY: no coroutine runs, so the helper is idle.
        let result = unsafe {
            protect(self.helper, |L| {
                self.anchors().push(callback, L);
                match farewell {
                    Some((id, handle)) if id == prev => self.anchors().push(handle, L),
                    _ => self.push_tasklet(L, prev),
                }
                self.push_tasklet(L, next);
                lua_call(L, 2, 0);
            })
        };
        self.scheduler().in_callback = false;
        if let Some((_, handle)) = farewell {
            // SAFETY: the tasklet has given it up.
            unsafe { self.anchors().release(handle) };
        }
        if let Err(error) = result {
            tracing::warn!("the schedule callback failed: {error}");
        }
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
}

/// The calls on a suspended tasklet's stack, all its frames together, innermost first, one a line.
///
/// # Safety
/// The tasklet is alive and does not run.
pub(crate) unsafe fn traceback_of(tasklet: &Tasklet) -> String {
    let innermost =
        if tasklet.thread.is_null() { Frame::Native(tasklet.native) } else { Frame::Luau(tasklet.thread) };
    let frames = std::iter::once(innermost).chain(tasklet.outer().iter().rev().copied());
    frames
        .map(|frame| match frame {
            // SAFETY: the coroutine is suspended.
            Frame::Luau(thread) => unsafe { traceback(thread) },
            Frame::Native(_) => "in Rust\n".into(),
        })
        .collect()
}

/// The calls on a coroutine's stack, innermost first, one a line.
///
/// # Safety
/// `L` is a coroutine that is suspended, has failed, or is running the caller.
pub(crate) unsafe fn traceback(L: *mut lua_State) -> String {
    let mut out = String::new();
    // SAFETY: `lua_getinfo` fills `debug` for each level that it reports.
    unsafe {
        let mut debug: lua_Debug = std::mem::zeroed();
        for level in 0..64 {
            if lua_getinfo(L, level, c"sln".as_ptr(), &mut debug) == 0 {
                return out;
            }
            if text(debug.what) == "C" {
                continue;
            }
            let _ = write!(out, "{}:{}", text(debug.short_src), debug.currentline);
            match text(debug.name) {
                "" => out.push_str(" in the main chunk or an unnamed function\n"),
                name => {
                    let _ = writeln!(out, " in function '{name}'");
                }
            }
        }
    }
    out.push_str("...\n");
    out
}

/// `file:line: ` of a call on a coroutine's stack, counted from the innermost; empty if it is unknown.
///
/// # Safety
/// As [`traceback`].
pub(super) unsafe fn place(L: *mut lua_State, level: c_int) -> String {
    // SAFETY: `lua_getinfo` fills `debug` for each level that it reports.
    unsafe {
        let mut debug: lua_Debug = std::mem::zeroed();
        let mut in_library = false;
        for level in level.. {
            if lua_getinfo(L, level, c"sl".as_ptr(), &mut debug) == 0 {
                break;
            }
            // What is wrong for the library is wrong where a script has called it.
            in_library |= super::library::is_library(&debug);
            if debug.currentline > 0 && !super::library::is_library(&debug) {
                return format!("{}:{}: ", text(debug.short_src), debug.currentline);
            }
            if !in_library {
                break;
            }
        }
        String::new()
    }
}

/// A C string of the VM that may be missing.
pub(super) unsafe fn text<'a>(s: *const c_char) -> &'a str {
    // SAFETY: the VM's debug strings end with a zero and live as long as the function they describe.
    unsafe { if s.is_null() { "" } else { CStr::from_ptr(s).to_str().unwrap_or("?") } }
}
