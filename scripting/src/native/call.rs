//! Calls between scripts and Rust that may wait on either side.

use super::coroutine::{Callee, Native, Step, panicked};
use super::scheduler::Scheduler;
use crate::luau::ffi::*;
use crate::luau::{Machine, Vm};
use crate::scheduler::{Error, ErrorKind, Frame};
use mlua::{FromLuaMulti, Function, IntoLuaMulti, MultiValue};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// A Rust function that may wait, as the userdata holds it that is the upvalue of [`call_blocking`].
struct BlockingFunction {
    machine: *const Machine,
    /// Makes a frame for a call with the arguments that are the whole stack of a state.
    begin: Box<dyn Fn(*mut lua_State) -> Result<*mut Native, Error>>,
}

impl BlockingFunction {
    fn new<A, R>(machine: *const Machine, f: impl Fn(&Scheduler, A) -> Result<R, Error> + 'static) -> Self
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti,
    {
        let f = Rc::new(f);
        let begin = move |L: *mut lua_State| -> Result<*mut Native, Error> {
            // SAFETY: the function belongs to the machine's VM, and is called by it.
            let machine = unsafe { &*machine };
            let vm = machine.vm().ok_or_else(Machine::gone)?;
            // SAFETY: the arguments are the whole stack.
            let arguments = unsafe { vm.take_all(L)? };
            let arguments = A::from_lua_multi(arguments, vm.lua())?;
            let (f, scheduler) = (f.clone(), vm.scheduler());
            machine.new_frame("a Rust function that may wait", move || {
                let results = f(&scheduler, arguments)?;
                let vm = scheduler.vm()?;
                Ok(scheduler.machine.on_main_stack(|| results.into_lua_multi(vm.lua()))?)
            })
        };
        Self { machine, begin: Box::new(begin) }
    }
}

impl Vm {
    /// Makes a function for scripts that may wait: in it, everything on the [`Scheduler`] and on channels
    /// can be used as in a tasklet whose body is Rust. Its caller waits meanwhile, and others run.
    ///
    /// Where the VM can't suspend its caller (in a metamethod, in a comparator of `table.sort`), it runs as
    /// well, and its waiting calls are errors of kind `boundary`.
    ///
    /// ```
    /// use bluetick_scripting::{OwnerId, Vm, VmConfig};
    ///
    /// let vm = Vm::new(VmConfig::default())?;
    /// let answers = vm.scheduler().channel::<u32>();
    /// let inbox = answers.clone();
    /// let ask = vm.blocking_function(c"ask", move |_scheduler, question: String| {
    ///     // Waits: others run until somebody answers.
    ///     Ok(format!("{question}? {}", inbox.receive()?))
    /// })?;
    /// vm.lua().globals().set("ask", ask)?;
    /// let script = vm.load("asker.luau", "_G.answer = ask('How many')")?;
    /// vm.spawn(&script, (), OwnerId::default())?;
    /// vm.scheduler().run()?;
    /// answers.send(42)?;
    /// vm.scheduler().run()?;
    /// assert_eq!(vm.lua().globals().get::<String>("answer")?, "How many? 42");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Of kind `memory`.
    pub fn blocking_function<A, R>(
        &self,
        name: &'static CStr,
        f: impl Fn(&Scheduler, A) -> Result<R, Error> + 'static,
    ) -> Result<Function, Error>
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti,
    {
        let mut f = Some(BlockingFunction::new(self.machine(), f));
        // SAFETY: the userdata owns the function, and the closure keeps the userdata.
        let function = unsafe {
            self.lua().exec_raw::<Function>((), |L| {
                let data = lua_newuserdatadtor(L, size_of::<BlockingFunction>(), drop_function);
                if let Some(f) = f.take() {
                    data.cast::<BlockingFunction>().write(f);
                }
                lua_pushcclosurek(L, call_blocking, name.as_ptr(), 1, None);
            })?
        };
        Ok(function)
    }

    /// The values that are the whole stack of a C function. `[-all, +0]`
    ///
    /// # Safety
    /// `L` is the state of a C function of this VM.
    unsafe fn take_all(&self, L: *mut lua_State) -> Result<MultiValue, Error> {
        // SAFETY: the caller's.
        unsafe {
            let mut values = MultiValue::new();
            for index in 1..=lua_gettop(L) {
                values.push_back(self.read_value(L, index)?);
            }
            lua_settop(L, 0);
            Ok(values)
        }
    }
}

unsafe extern "C" fn drop_function(_: *mut lua_State, data: *mut c_void) {
    // SAFETY: the data was written when the userdata was made, and is dropped once.
    unsafe { data.cast::<BlockingFunction>().drop_in_place() }
}

/// Frames of one tasklet, of scripts and of Rust: as many calls as the VM lets C functions nest, and each
/// of them by a script.
const MOST_FRAMES: usize = 400;

/// How much of a stack calls that can't wait may take, beside what the innermost one takes.
const MOST_NESTED_BYTES: usize = 128 << 10;

/// What the C function does that has called Rust.
enum Ending {
    Results(c_int),
    Raise(Error),
    Suspend,
}

unsafe extern "C-unwind" fn call_blocking(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the VM; its upvalue is the function, whose machine outlives the VM.
    // Nothing but plain data is alive when an error is raised.
    unsafe {
        let function = &*lua_touserdata(L, lua_upvalueindex(1)).cast::<BlockingFunction>();
        (*function.machine).call_blocking(L, function)
    }
}

impl Machine {
    /// Calls the function with the arguments that are the whole stack.
    ///
    /// # Safety
    /// Called last in a C function.
    unsafe fn call_blocking(&self, L: *mut lua_State, function: &BlockingFunction) -> c_int {
        // SAFETY: nothing but plain data is alive when an error is raised.
        unsafe {
            let ending = catch_unwind(AssertUnwindSafe(|| self.begin_blocking(L, function)));
            match ending.unwrap_or_else(|panic| Ending::Raise(panicked(&*panic))) {
                Ending::Results(n) => n,
                Ending::Raise(error) => self.raise_error(L, error),
                Ending::Suspend => lua_break(L),
            }
        }
    }

    /// Runs the function until it waits or is through.
    unsafe fn begin_blocking(&self, L: *mut lua_State, function: &BlockingFunction) -> Ending {
        let me = self.running.get();
        if self.scheduler().tasklets.get(me).is_some_and(|tasklet| tasklet.outer().len() >= MOST_FRAMES) {
            return Ending::Raise(Self::too_deep());
        }
        let native = match (function.begin)(L) {
            Ok(native) => native,
            Err(error) => return Ending::Raise(error),
        };
        // SAFETY: `L` is the state of the running call; the frame is new.
        unsafe {
            (*native).bound = self.scheduler().in_callback
                || self.body.get().is_null()
                || me != self.scheduler().current()
                || !self.can_block(L);
            let step = self.enter(native);
            if step == Step::Done {
                return match self.push_results(native, L) {
                    Ok(n) => Ending::Results(n),
                    Err(error) => Ending::Raise(error),
                };
            }
            self.outward(me, L);
            let tasklet = &mut self.scheduler().tasklets[me];
            tasklet.details_mut().outer.push(Frame::Luau(L));
            tasklet.thread = std::ptr::null_mut();
            tasklet.native = native;
            self.goes_on.set(step == Step::Call);
            Ending::Suspend
        }
    }

    /// A function's frame is through: its results go to its caller. `[-0, +n]`, or `[-0, +0]` on an error.
    ///
    /// # Safety
    /// The frame has ended and is not used again. `L` is the state of the C function that has called it.
    pub(crate) unsafe fn push_results(&self, native: *mut Native, L: *mut lua_State) -> Result<c_int, Error> {
        // SAFETY: the caller's.
        unsafe {
            let outcome = std::mem::replace(&mut (*native).outcome, Ok(MultiValue::new()));
            self.free_frame(native);
            let results = outcome?;
            let vm = self.vm().ok_or_else(Self::gone)?;
            let n = results.len() as c_int;
            if lua_checkstack(L, n + 2) == 0 {
                return Err(Error::new(ErrorKind::Memory, format!("there is no room for {n} results")));
            }
            let top = lua_gettop(L);
            for value in &results {
                if let Err(error) = vm.push_value(L, value) {
                    lua_settop(L, top);
                    return Err(error);
                }
            }
            Ok(n)
        }
    }
}

impl Scheduler {
    /// Calls a function of a script, which may wait: the calling tasklet waits with it. TaskletExit that
    /// passes the function goes on in the caller.
    ///
    /// Where the caller can't wait, the function is called as well, and its waiting calls are errors of
    /// kind `boundary`.
    ///
    /// # Errors
    /// What the function raises; of kind `type` if arguments or results can't be converted.
    pub fn call<R: FromLuaMulti>(&self, f: &Function, arguments: impl IntoLuaMulti) -> Result<R, Error> {
        let machine = &*self.machine;
        let vm = self.vm()?;
        let frame = machine.frame("call")?;
        let mut values = machine.on_main_stack(|| arguments.into_lua_multi(vm.lua()))?;
        values.push_front(mlua::Value::Function(f.clone()));
        let arguments = values.len() as c_int - 1;
        // SAFETY: mlua protects the call and has pushed the function and its arguments alone. The coroutine
        // is released when the call is over, whichever way; until then the anchor keeps it.
        unsafe {
            let mut made = None;
            machine.on_main_stack(|| {
                vm.lua().exec_raw::<()>(values, |L| made = Some(machine.new_filled_body(L)))
            })?;
            let Some((thread, anchor)) = made else { return Err(Machine::gone()) };
            let _callee = Release { machine, thread, anchor };
            let mut callee = Callee { thread, arguments, status: LUA_OK };
            match frame {
                Some(frame) if !(*frame).is_host() => {
                    (*frame).call = Some(callee);
                    machine.wait(frame, Step::Call)?;
                    callee = (*frame).call.take().unwrap_or(callee);
                }
                _ => {
                    callee.status = machine.on_main_stack(|| machine.call_here(thread, arguments))?;
                }
            }
            if callee.status == LUA_OK {
                let results = machine.on_main_stack(|| {
                    let results = vm.take_all(thread)?;
                    R::from_lua_multi(results, vm.lua()).map_err(Error::from)
                });
                return results;
            }
            machine.name_memory(thread, callee.status);
            let error = machine.read_thrown(thread, -1);
            match frame {
                Some(frame) if error.kind == ErrorKind::Exit => {
                    machine.raise_here(frame, error)?;
                    Err(Error::exit())
                }
                _ => Err(error),
            }
        }
    }
}

impl Machine {
    /// Calls the function on `thread` on the stack that is in use now. An error if such calls are nested
    /// so deep that the stack might not suffice: each of them may use as much as the VM allows.
    unsafe fn call_here(&self, thread: *mut lua_State, arguments: c_int) -> Result<c_int, Error> {
        struct Restore<'a>(&'a Cell<usize>, usize);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        let mark = 0u8;
        let here = std::hint::black_box(&raw const mark) as usize;
        let outermost = self.outermost_call.get();
        if outermost == 0 {
            self.outermost_call.set(here);
        } else if outermost.wrapping_sub(here) > MOST_NESTED_BYTES {
            return Err(Self::too_deep());
        }
        let _restore = Restore(&self.outermost_call, outermost);
        // SAFETY: the caller's.
        Ok(unsafe { lua_pcall(thread, arguments, LUA_MULTRET, 0) })
    }

    fn too_deep() -> Error {
        let text = "stack overflow: scripts and Rust functions call each other too deep";
        Error::new(ErrorKind::Memory, text)
    }
}

/// Gives a coroutine back to the machine.
struct Release<'a> {
    machine: &'a Machine,
    thread: *mut lua_State,
    anchor: crate::luau::Anchor,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        // SAFETY: the call on the coroutine is over: it has ended, or failed, or never began.
        unsafe { self.machine.release_callee(self.thread, self.anchor) }
    }
}
