//! The loop: resumes the head of the run queue, again and again.

use super::ffi::*;
use super::machine::{Machine, protect};
use super::traceback::place;
use crate::native::{Native, Step};
use crate::scheduler::{Error, ErrorKind, Frame, Life, Link, Slot, Tasklet, TaskletId};
use std::ffi::c_int;

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
                    self.accounting.begin(scheduler.member(next).category);
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
}
