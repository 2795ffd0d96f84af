//! Rust code on a stack of its own.

use super::carrier::Exchange;
use super::stack;
use crate::luau::Machine;
use crate::luau::ffi::*;
use crate::luau::value::push_error;
use crate::scheduler::{Error, ErrorKind, Link, Slot, Tasklet, Thrown};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_int;
use std::hint::cold_path;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null;

/// What unwinds a Rust stack when its tasklet is killed. Not an error that could be handled by mistake:
/// it passes every `?`, as TaskletExit passes every `pcall`.
struct TaskletExit;

/// Why a Rust frame has given control back to the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its tasklet waits, or lets others run.
    Blocked,
    /// It wants the function in [`Native::call`] to be called.
    Call,
    /// Its code is through; [`Native::outcome`] says how.
    Done,
}

/// A function of a script that a Rust frame has called: it is on the stack of `thread`, with its arguments.
#[derive(Clone, Copy)]
pub(crate) struct Callee {
    pub thread: *mut lua_State,
    pub arguments: c_int,
    /// How it ended.
    pub status: c_int,
}

/// One Rust frame.
pub(crate) struct Native {
    /// None for the main tasklet whose body is the host: it waits by running the loop itself.
    coroutine: Option<Coroutine<(), Link<Tasklet>, (), stack::Slot>>,
    /// Where the coroutine suspends; it is on its own stack.
    yielder: Cell<*const Yielder<(), Link<Tasklet>>>,
    /// What its current blocking call gives or takes.
    pub exchange: Exchange,
    /// The exit that unwinds its stack, or did last, if it is not the plain one: the library throws exits of its own.
    pub exit: Option<Box<Error>>,
    /// What its current blocking call raises.
    pub thrown: Option<Box<Error>>,
    /// The call that it waits for.
    pub call: Option<Callee>,
    /// It was called where the VM can't suspend: it may not wait.
    pub bound: bool,
    /// What came of its code.
    pub outcome: Result<mlua::MultiValue, Error>,
}

impl Native {
    /// A frame that will run `f` when it is first resumed. What `f` returns are its results, if it is a
    /// function that a script has called.
    pub fn new(
        stack: stack::Slot,
        f: impl FnOnce() -> Result<mlua::MultiValue, Error> + 'static,
    ) -> *mut Self {
        let this = Self::without_stack();
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            // SAFETY: the frame outlives its coroutine, which it owns. Whoever resumes the coroutine has
            // borrowed no other field.
            unsafe {
                (*this).yielder.set(yielder);
                let outcome = catch(this, f).unwrap_or_else(|panic| Err(panicked(&*panic)));
                (*this).exit = None;
                // What was thrown too late to be raised ends with the frame.
                (*this).thrown = None;
                (*this).outcome = outcome;
            }
        });
        // SAFETY: the frame is new, and nobody else's yet.
        unsafe { (*this).coroutine = Some(coroutine) };
        this
    }

    /// The frame of a main tasklet whose body is the host.
    pub fn without_stack() -> *mut Self {
        Box::into_raw(Box::new(Self {
            coroutine: None,
            yielder: Cell::new(null()),
            exchange: Exchange::Nothing,
            exit: None,
            thrown: None,
            call: None,
            bound: false,
            outcome: Ok(mlua::MultiValue::new()),
        }))
    }

    /// Frees a frame; destructors on its stack run if it has not ended.
    ///
    /// # Safety
    /// The frame was made by [`new`](Self::new) or [`without_stack`](Self::without_stack), does not run,
    /// and is not used again.
    pub unsafe fn free(this: *mut Self) {
        // SAFETY: the caller's.
        drop(unsafe { Box::from_raw(this) });
    }

    /// Nothing is on its stack that would have to be dropped: it never ran, or has ended.
    pub fn is_idle(&self) -> bool {
        self.coroutine.as_ref().is_none_or(|coroutine| !coroutine.started() || coroutine.done())
    }

    /// It is the host itself.
    pub fn is_host(&self) -> bool {
        self.coroutine.is_none()
    }
}

/// Calls `f`; TaskletExit comes back as an error, a panic as a panic. Which exit it is the frame knows, if there is one;
/// an error of that kind that `f` returns by itself is another one.
///
/// # Safety
/// The frame is the running one, or null.
pub(crate) unsafe fn catch<R>(
    frame: *mut Native,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<Result<R, Error>, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f)).or_else(|payload| match payload.downcast::<TaskletExit>() {
        Ok(_) => {
            // SAFETY: the caller's; only the coroutine's field is borrowed while its code runs.
            let exit = if frame.is_null() { None } else { unsafe { (*frame).exit.take() } };
            Ok(Err(exit.map_or_else(Error::exit, |exit| *exit)))
        }
        Err(panic) => Err(panic),
    })
}

/// The error that a panic becomes.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    Error::new(ErrorKind::Panic, format!("Rust code has panicked: {text}"))
}

impl Machine {
    /// A frame that will run `f`, on a stack of its own.
    pub(super) fn new_frame(
        &self,
        what: &str,
        f: impl FnOnce() -> Result<mlua::MultiValue, Error> + 'static,
    ) -> Result<*mut Native, Error> {
        let (used, limit) = (self.stacks_used.get(), self.stack_limit.get());
        if used >= limit {
            let text =
                format!("{what}: {used} Rust stacks are in use, all that VmConfig::stack_limit allows");
            return Err(Error::new(ErrorKind::Memory, text));
        }
        let stack = self.stacks.take().map_err(|error| {
            Error::new(
                ErrorKind::Memory,
                format!("{what}: the system has no room for another stack: {error}"),
            )
        })?;
        self.stacks_used.set(used + 1);
        Ok(Native::new(stack, f))
    }

    /// Frees a frame of [`new_frame`](Self::new_frame); destructors on its stack run if it has not ended.
    ///
    /// # Safety
    /// As [`Native::free`].
    pub(crate) unsafe fn free_frame(&self, native: *mut Native) {
        self.stacks_used.set(self.stacks_used.get() - 1);
        // SAFETY: the caller's.
        unsafe { Native::free(native) };
    }

    /// Lets a Rust frame run until it waits or ends.
    ///
    /// # Safety
    /// The frame is alive and not running. The caller is on the loop's stack, or on that of a frame which
    /// has called into the VM.
    pub(crate) unsafe fn enter(&self, native: *mut Native) -> Step {
        let outer = self.native.get();
        // SAFETY: the caller's.
        let suspended = unsafe { self.enter_from_loop(native) };
        self.native.set(outer);
        self.step_of(suspended)
    }

    /// What a frame has come to that was [entered](Self::enter_from_loop).
    pub(crate) fn step_of(&self, suspended: Option<Link<Tasklet>>) -> Step {
        match suspended {
            None => Step::Done,
            Some(_) if self.goes_on.take() => Step::Call,
            Some(_) => Step::Blocked,
        }
    }

    /// As [`enter`](Self::enter), for the loop, which is nobody's frame. `None` if the frame is through; if it only
    /// waits, and knows who is the head of the queue now, that one: it comes in a register, where the loop would wait
    /// for memory.
    ///
    /// # Safety
    /// As `enter`.
    #[inline(always)]
    pub(crate) unsafe fn enter_from_loop(&self, native: *mut Native) -> Option<Link<Tasklet>> {
        self.native.set(native);
        // SAFETY: only the coroutine's field is borrowed while its code runs, and that code uses the
        // others alone. Only the host's frame is without a coroutine, and nobody enters that.
        let suspended = unsafe {
            match (*native).coroutine.as_mut().unwrap_unchecked().resume(()) {
                CoroutineResult::Yield(next) => Some(next),
                CoroutineResult::Return(()) => None,
            }
        };
        self.native.set(std::ptr::null_mut());
        suspended
    }

    /// The running Rust frame gives control to the loop; returns when it is resumed. What was thrown at
    /// its tasklet meanwhile is raised.
    ///
    /// # Safety
    /// Called by the code of the frame, which is the running one, or which is the host's while no loop
    /// is at work. No borrow of the machine's parts is held.
    pub(crate) unsafe fn wait(&self, native: *mut Native, step: Step) -> Result<(), Error> {
        // SAFETY: the caller's.
        unsafe {
            if (*native).is_host() {
                return self.run_others(native);
            }
            self.goes_on.set(step == Step::Call);
            (*(*native).yielder.get()).suspend(Link::NONE);
            self.go_on(native)
        }
    }

    /// As [`wait`](Self::wait), for a frame with a stack of its own whose tasklet is blocked or has given its turn
    /// away, to `next`. All of it is meant to be part of the caller: the processor foresees where a switch goes, but not where
    /// the functions return to that were entered before it.
    ///
    /// # Safety
    /// As `wait`; `next` is the head of the queue.
    #[inline(always)]
    pub(super) unsafe fn wait_in(&self, native: *mut Native, next: Link<Tasklet>) -> Result<(), Error> {
        // SAFETY: the caller's; the yielder is valid while the frame's code runs.
        unsafe {
            (*(*native).yielder.get()).suspend(next);
            self.go_on(native)
        }
    }

    /// The running Rust frame goes on after a wait.
    #[inline(always)]
    unsafe fn go_on(&self, native: *mut Native) -> Result<(), Error> {
        // SAFETY: the caller's.
        unsafe {
            (*native).exchange = Exchange::Nothing;
            if (*native).thrown.is_some() {
                cold_path();
                return self.raise_thrown(native);
            }
            Ok(())
        }
    }

    /// The host waits: it runs the loop itself.
    #[cold]
    unsafe fn run_others(&self, native: *mut Native) -> Result<(), Error> {
        // SAFETY: the caller's: no loop is at work.
        unsafe {
            self.run_slices(|| true);
            let main = self.scheduler().main;
            self.scheduler().tasklets[main].slot = Slot::Value;
            self.go_on(native)
        }
    }

    /// A wait is over: what was thrown at the tasklet meanwhile is raised.
    ///
    /// # Safety
    /// As [`wait`](Self::wait).
    #[cold]
    unsafe fn raise_thrown(&self, native: *mut Native) -> Result<(), Error> {
        // SAFETY: the frame is the running one.
        unsafe {
            match (*native).thrown.take() {
                None => Ok(()),
                Some(error) => raise(native, *error),
            }
        }
    }

    /// Runs `f` on the loop's stack, where there is room for whatever the VM does. Blocking calls in it are
    /// errors.
    pub(crate) fn on_main_stack<R>(&self, f: impl FnOnce() -> R) -> R {
        let native = self.native.replace(std::ptr::null_mut());
        // SAFETY: the running frame is alive, and its yielder valid while its code runs.
        let yielder = unsafe { native.as_ref().and_then(|native| native.yielder.get().as_ref()) };
        struct Restore<'a>(&'a Machine, *mut Native);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.native.set(self.1);
            }
        }
        let _restore = Restore(self, native);
        /// Goes to another stack of the same thread only.
        struct SameThread<F>(F);
        // SAFETY: the parent stack belongs to the thread that runs the frame.
        unsafe impl<F> Send for SameThread<F> {}
        impl<R, F: FnOnce() -> R> SameThread<F> {
            fn call(self) -> R {
                (self.0)()
            }
        }
        let f = SameThread(f);
        match yielder {
            Some(yielder) => yielder.on_parent_stack(move || f.call()),
            None => f.call(),
        }
    }

    pub(crate) fn gone() -> Error {
        Error::new(ErrorKind::Dead, "the VM of this scheduler is gone")
    }

    /// Pushes what a script gets to see of an error: the value itself if a script has raised it, else
    /// an error value. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call, with room for 4 values. Raises when memory runs out;
    /// nothing in this frame needs to be dropped then.
    pub(crate) unsafe fn push_thrown(&self, L: *mut lua_State, error: &Error) {
        // SAFETY: the caller's.
        unsafe {
            match (error.kind, error.thrown()) {
                (_, Some(Thrown::Luau(value))) => {
                    let pushed = self.vm().ok_or_else(Self::gone).and_then(|vm| vm.push_value(L, value));
                    if pushed.is_err() {
                        self.push_constant(L, ErrorKind::Memory);
                    }
                }
                (kind @ (ErrorKind::Exit | ErrorKind::Stop), _) => self.push_constant(L, kind),
                (kind, None) => push_error(L, kind, &error.message),
                (kind, Some(Thrown::Rust(source))) => {
                    // The place for the source comes first: without memory for it nothing has to be dropped.
                    lua_pushnil(L);
                    let data =
                        lua_newuserdatatagged(L, size_of::<Source>(), self.source_tag).cast::<Source>();
                    data.write(None);
                    lua_replace(L, -2);
                    push_error(L, kind, &error.message);
                    lua_setreadonly(L, -1, 0);
                    lua_insert(L, -2);
                    lua_rawsetfield(L, -2, SOURCE.as_ptr());
                    lua_setreadonly(L, -1, 1);
                    data.write(Some(source.clone()));
                }
            }
        }
    }

    /// What Rust gets to see of the error value at `index`, which arrives in scripts as itself again.
    ///
    /// # Safety
    /// `L` is a live state with a value at `index` and room for 3 more.
    pub(crate) unsafe fn read_thrown(&self, L: *mut lua_State, index: c_int) -> Error {
        // SAFETY: the caller's; what is pushed is popped.
        unsafe {
            if self.is_exit(L, index) {
                return Error::exit();
            }
            if self.is_token(L, index) {
                return match self.vm().map(|vm| vm.read_value(L, index)) {
                    Some(Ok(token)) => Error::exit().with_thrown(Thrown::Luau(token)),
                    _ => Error::exit(),
                };
            }
            if self.is_stop(L, index) {
                return Error::stop();
            }
            let index = lua_absindex(L, index);
            let message = crate::luau::value::describe(L, index);
            let (kind, source) = self.read_fields(L, index);
            let error = Error::new(kind.unwrap_or(ErrorKind::Raised), message);
            if let Some(source) = source {
                return error.with_thrown(Thrown::Rust(source));
            }
            match self.vm().map(|vm| vm.read_value(L, index)) {
                Some(Ok(value)) => error.with_thrown(Thrown::Luau(value)),
                _ => error,
            }
        }
    }
}

impl Machine {
    /// Raises an error in the code of the running frame.
    ///
    /// # Safety
    /// The frame is the running one.
    pub(crate) unsafe fn raise_here(&self, native: *mut Native, error: Error) -> Result<(), Error> {
        // SAFETY: the caller's.
        unsafe { raise(native, error) }
    }
}

/// Raises an error in the code of a frame: TaskletExit unwinds its stack, but for the host's.
#[cold]
unsafe fn raise(native: *mut Native, error: Error) -> Result<(), Error> {
    // SAFETY: the frame is the running one.
    if error.kind == ErrorKind::Exit && unsafe { !(*native).is_host() } {
        // SAFETY: as above. That of an exit which somebody has stopped counts no more.
        unsafe { (*native).exit = error.thrown().is_some().then(|| Box::new(error)) };
        resume_unwind(Box::new(TaskletExit));
    }
    Err(error)
}

/// The field of an error value in which the error of Rust code lies.
const SOURCE: &std::ffi::CStr = c"source";

type Source = Option<std::rc::Rc<dyn std::error::Error>>;

unsafe extern "C" fn drop_source(_: *mut lua_State, data: *mut std::ffi::c_void) {
    // SAFETY: the data was written when the userdata was made, and is dropped once.
    unsafe { data.cast::<Source>().drop_in_place() }
}

impl Machine {
    /// The kind and the source of an error value of the scheduler's; nothing of other values.
    unsafe fn read_fields(&self, L: *mut lua_State, index: c_int) -> (Option<ErrorKind>, Source) {
        // SAFETY: as `read_thrown`. Only sources bear the tag; strings of the C interface end with a zero.
        unsafe {
            if lua_type(L, index) != LUA_TTABLE {
                return (None, None);
            }
            lua_rawgetfield(L, index, c"kind".as_ptr());
            let kind = crate::luau::value::to_bytes(L, -1)
                .and_then(|name| std::str::from_utf8(name).ok())
                .and_then(ErrorKind::from_name);
            lua_settop(L, -2);
            lua_rawgetfield(L, index, SOURCE.as_ptr());
            let source = lua_touserdatatagged(L, -1, self.source_tag).cast::<Source>();
            let source = source.as_ref().and_then(Clone::clone);
            lua_settop(L, -2);
            (kind, source)
        }
    }

    /// Makes the type of what an error value of Rust's has as its source. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state of the machine's VM.
    pub(crate) unsafe fn install_source(&self, L: *mut lua_State) {
        // SAFETY: the destructor is set before any such userdata exists.
        unsafe { lua_setuserdatadtor(L, self.source_tag, Some(drop_source)) }
    }
}
