//! The library of scripts, `uthread`, and what it is given that scripts are not.
//!
//! It is Luau (`lib/`): each file is called with the files before it, by name, and with the functions
//! below; the last one returns the global. Its functions may count on a promise: **nobody runs between two
//! of its lines**, unless one of them blocks or calls a function of a script. So what they change in one
//! go is changed for everybody at once. [`runs`] keeps the interrupt from breaking it.

use super::anchor::Anchor;
use super::ffi::*;
use super::machine::{Machine, protect};
use super::traceback::{place, traceback};
use super::value::{describe, push_error, push_str, to_bytes};
use crate::scheduler::{Error, ErrorKind, Flags, Origin, TaskletId};
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::OnceLock;

/// What the names of its files begin with, in messages and tracebacks.
const PREFIX: &CStr = c"=[uthread] ";

/// Its files, in the order in which they need each other.
const FILES: [(&str, &str); 15] = [
    ("timer", include_str!("lib/timer.luau")),
    ("held", include_str!("lib/held.luau")),
    ("waiters", include_str!("lib/waiters.luau")),
    ("timeout", include_str!("lib/timeout.luau")),
    ("task", include_str!("lib/task.luau")),
    ("group", include_str!("lib/group.luau")),
    ("pool", include_str!("lib/pool.luau")),
    ("select", include_str!("lib/select.luau")),
    ("queue", include_str!("lib/queue.luau")),
    ("semaphore", include_str!("lib/semaphore.luau")),
    ("lock", include_str!("lib/lock.luau")),
    ("condition", include_str!("lib/condition.luau")),
    ("event", include_str!("lib/event.luau")),
    ("barrier", include_str!("lib/barrier.luau")),
    ("uthread", include_str!("lib/uthread.luau")),
];

/// The code of the files, which is the same in every VM.
fn code() -> &'static [(CString, Vec<u8>)] {
    static CODE: OnceLock<Vec<(CString, Vec<u8>)>> = OnceLock::new();
    CODE.get_or_init(|| {
        let compile = |&(name, text): &(&str, &str)| {
            let file = format!("{}{name}.luau", PREFIX.to_string_lossy());
            let mut options = lua_CompileOptions::default();
            options.debugLevel = 1;
            options.optimizationLevel = 1;
            // SAFETY: the text and the options outlive the call.
            let code = unsafe { luau_compile(text.as_bytes(), options) };
            (CString::new(file).unwrap_or_default(), code)
        };
        FILES.iter().map(compile).collect()
    })
}

/// Loads the library and sets its global. `[-0, +0]`
///
/// # Safety
/// `L` is the live main state with its machine and the globals that the library uses, below a protected call.
pub(super) unsafe fn install(L: *mut lua_State) -> Result<(), Error> {
    // SAFETY: balanced pushes and pops; the bytecode comes from the compiler.
    unsafe {
        luaL_checkstack(L, 8, std::ptr::null());
        push_native(L);
        lua_createtable(L, 0, FILES.len() as c_int);
        for ((file, code), (name, _)) in code().iter().zip(FILES) {
            if luau_load(L, file.as_ptr(), code.as_ptr().cast::<c_char>(), code.len(), 0) != LUA_OK {
                return Err(Error::wrong_type(describe(L, -1)));
            }
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -4);
            lua_call(L, 2, 1);
            push_str(L, name);
            lua_insert(L, -2);
            lua_rawset(L, -3);
        }
        lua_rawgetfield(L, -1, c"uthread".as_ptr());
        lua_setreadonly(L, -1, 1);
        lua_setglobal(L, c"uthread".as_ptr());
        let machine = Machine::of(L);
        machine.library.set(Some(machine.anchors().keep(L, -1)));
        lua_settop(L, -3);
    }
    Ok(())
}

/// Pushes the table of functions that only the library gets. `[-0, +1]`
unsafe fn push_native(L: *mut lua_State) {
    // SAFETY: called by `install`.
    unsafe {
        lua_createtable(L, 0, 12);
        for (name, f) in [
            (c"fail", fail as lua_CFunction),
            (c"rethrow", rethrow),
            (c"token", token),
            (c"watch", watch),
            (c"detach", detach),
            (c"empty", empty),
            (c"on_end", on_end),
            (c"on_ask", on_ask),
            (c"owner", owner),
            (c"check_block", check_block),
            (c"queue", super::api::new_queue),
        ] {
            lua_pushcfunctiond(L, f, name.as_ptr());
            lua_rawsetfield(L, -2, name.as_ptr());
        }
        lua_pushcfunctiond(L, note_origin, c"error handler".as_ptr());
        lua_pushcclosurek(L, pcall, c"pcall".as_ptr(), 1, Some(pcall_ends));
        lua_rawsetfield(L, -2, c"pcall".as_ptr());
        lua_pushcclosurek(L, super::api::select, c"select".as_ptr(), 0, Some(super::api::select_goes_on));
        lua_rawsetfield(L, -2, c"select".as_ptr());
        lua_setreadonly(L, -1, 1);
    }
}

/// The function that runs is one of the library, in which nobody is interrupted.
///
/// # Safety
/// `L` is a live state at a safepoint of the VM.
pub(super) unsafe fn runs(L: *mut lua_State) -> bool {
    // SAFETY: `lua_getinfo` fills `debug`.
    unsafe {
        let mut debug: lua_Debug = std::mem::zeroed();
        lua_getinfo(L, 0, c"s".as_ptr(), &mut debug) != 0 && is_library(&debug)
    }
}

/// The function is one of the library.
///
/// # Safety
/// The VM has filled `debug` for a function that is alive.
pub(super) unsafe fn is_library(debug: &lua_Debug) -> bool {
    // SAFETY: the name of a chunk ends with a zero and lives as long as the function.
    unsafe {
        !debug.source.is_null() && CStr::from_ptr(debug.source).to_bytes().starts_with(PREFIX.to_bytes())
    }
}

/// How a tasklet has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Returned,
    Failed,
    Killed,
}

impl Machine {
    /// Tells the library that a tasklet ends, and what with: results are all of the body's stack, an error
    /// is on top of it. Whether somebody else gets the error. `[-0, +0]`
    ///
    /// # Safety
    /// The body has stopped; the helper is idle.
    pub(super) unsafe fn tell_library(
        &self,
        id: TaskletId,
        body: *mut lua_State,
        end: End,
        trace: &str,
    ) -> bool {
        let Some(on_end) = self.on_end.get() else { return false };
        // SAFETY: the caller's.
        let tell = || unsafe { self.tell(on_end, id, body, end, trace) };
        let told = tell().or_else(|error| {
            // Those that wait for the end would wait for ever: once more, with what memory there is to find.
            // SAFETY: no coroutine runs, and the collector allocates nothing.
            unsafe { lua_gc(self.helper, LUA_GCCOLLECT, 0) };
            if error.kind == ErrorKind::Memory { tell() } else { Err(error) }
        });
        told.unwrap_or_else(|error| {
            tracing::error!("uthread could not take note of the end of a tasklet: {error}");
            false
        })
    }

    unsafe fn tell(
        &self,
        on_end: Anchor,
        id: TaskletId,
        body: *mut lua_State,
        end: End,
        trace: &str,
    ) -> Result<bool, Error> {
        let mut handled = false;
        // SAFETY: the caller's; the closure owns nothing.
        unsafe {
            protect(self.helper, |L| {
                let results = if end == End::Returned { lua_gettop(body) } else { 0 };
                luaL_checkstack(L, results + 6, std::ptr::null());
                self.anchors().push(on_end, L);
                self.push_tasklet(L, id);
                push_str(L, end.name());
                let values = match end {
                    End::Returned => {
                        (1..=results).for_each(|index| lua_xpush(body, L, index));
                        results
                    }
                    End::Failed => {
                        lua_xpush(body, L, -1);
                        push_str(L, trace);
                        2
                    }
                    End::Killed => 0,
                };
                lua_call(L, 2 + values, 1);
                handled = lua_toboolean(L, -1) != 0;
            })?;
        }
        Ok(handled)
    }

    /// Whether somebody waits for the end of a tasklet that the library watches, and will get its error.
    ///
    /// # Safety
    /// The helper is idle.
    pub(super) unsafe fn is_awaited(&self, id: TaskletId) -> bool {
        let Some(on_ask) = self.on_ask.get() else { return false };
        let mut awaited = false;
        // SAFETY: the caller's; the closure owns nothing.
        let asked = unsafe {
            protect(self.helper, |L| {
                self.anchors().push(on_ask, L);
                self.push_tasklet(L, id);
                lua_call(L, 1, 1);
                awaited = lua_toboolean(L, -1) != 0;
            })
        };
        // Without memory to ask, it ends as it would have otherwise.
        asked.is_err() || awaited
    }

    /// Where the error on top of a body's stack comes from: where the library has stopped it first, or else
    /// where the body has ended.
    ///
    /// # Safety
    /// The body has stopped with an error.
    pub(super) unsafe fn origin(&self, id: TaskletId, body: *mut lua_State) -> String {
        let details = self.scheduler().tasklets[id].details.as_mut();
        // SAFETY: the caller's.
        unsafe {
            match details.and_then(|details| details.origin.take()) {
                Some(origin) if origin.error == describe(body, -1) => origin.traceback,
                _ => traceback(body),
            }
        }
    }

    /// The error on top of a body's stack goes on to another tasklet: if it ends that as well, it is still told
    /// with the place that it comes from.
    ///
    /// # Safety
    /// The body has stopped with an error.
    pub(super) unsafe fn pass_origin(&self, to: TaskletId, body: *mut lua_State, traceback: String) {
        if let Some(tasklet) = self.scheduler().tasklets.get_mut(to) {
            // SAFETY: the caller's.
            let error = unsafe { describe(body, -1) };
            tasklet.details_mut().origin = Some(Origin { error, traceback });
        }
    }

    /// The running tasklet has met an error that comes from there.
    fn set_origin(&self, origin: Origin) {
        if let Some(tasklet) = self.scheduler().tasklets.get_mut(self.running.get()) {
            tasklet.details_mut().origin = Some(origin);
        }
    }
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }
}

/// `pcall(f, ...)`: stops every error, so that what has to be put in order can be, and notes where it was
/// raised. The library raises it again. Its upvalue is the function that takes the note.
unsafe extern "C-unwind" fn pcall(L: *mut lua_State) -> c_int {
    // SAFETY: a C function with a continuation, called by the library.
    unsafe {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_pcallyieldable(L, lua_gettop(L) - 2, LUA_MULTRET, 1)
    }
}

unsafe extern "C-unwind" fn pcall_ends(L: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: continuation of `pcall`; the handler is still at index 1, and takes the place of the outcome.
    unsafe {
        if status == LUA_OK {
            lua_pushboolean(L, 1);
            lua_replace(L, 1);
            return lua_gettop(L);
        }
        lua_insert(L, 1);
        lua_settop(L, 1);
        Machine::of(L).name_memory(L, status);
        lua_pushboolean(L, 0);
        lua_insert(L, 1);
        2
    }
}

/// Called where an error was raised, with the error.
unsafe extern "C-unwind" fn note_origin(L: *mut lua_State) -> c_int {
    // SAFETY: called by the VM; nothing is raised while Rust values are alive.
    unsafe {
        let machine = Machine::of(L);
        if !machine.is_final(L, 1) {
            let error = describe(L, 1);
            let running = machine.scheduler().tasklets.get(machine.running.get());
            let known = running.and_then(|tasklet| tasklet.details.as_ref()?.origin.as_ref());
            if known.is_none_or(|known| known.error != error) {
                machine.set_origin(Origin { error, traceback: traceback(L) });
            }
        }
        lua_settop(L, 1);
        1
    }
}

/// `rethrow(error, traceback)`: raises in the running tasklet what another one has died of.
unsafe extern "C-unwind" fn rethrow(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library; every Rust value is gone when it raises.
    unsafe {
        {
            let inner = to_bytes(L, 2).map(String::from_utf8_lossy).unwrap_or_default();
            let traceback = format!("{inner}awaited in\n{}", traceback(L));
            Machine::of(L).set_origin(Origin { error: describe(L, 1), traceback });
        }
        lua_settop(L, 1);
        lua_error(L)
    }
}

/// `fail(kind, message)`: raises an error at the place where a script has called the library.
unsafe extern "C-unwind" fn fail(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library; every Rust value is gone when it raises.
    unsafe {
        {
            let kind = to_bytes(L, 1).and_then(|kind| ErrorKind::from_name(std::str::from_utf8(kind).ok()?));
            let message = to_bytes(L, 2).map(String::from_utf8_lossy).unwrap_or_default();
            let message = place(L, 1) + &message;
            push_error(L, kind.unwrap_or(ErrorKind::Type), &message);
        }
        lua_error(L)
    }
}

/// `token()`: an error that no `pcall` of a script stops; each is another one.
unsafe extern "C-unwind" fn token(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library.
    unsafe {
        lua_newuserdatatagged(L, 0, Machine::of(L).token_tag);
        1
    }
}

/// `watch(t)`: the library is to be told when the tasklet ends.
unsafe extern "C-unwind" fn watch(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library.
    unsafe { set_flag(L, |flags| flags.observed = true) }
}

/// `detach(t)`: errors of the tasklet are reported, and raised nowhere.
unsafe extern "C-unwind" fn detach(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library.
    unsafe { set_flag(L, |flags| flags.detached = true) }
}

/// `empty(t)`: the tasklet stores nothing from then on.
unsafe extern "C-unwind" fn empty(L: *mut lua_State) -> c_int {
    // SAFETY: called with a tasklet, which is alive; nobody else has the anchor.
    unsafe {
        let machine = Machine::of(L);
        if let Some(id) = machine.tasklet_at(L, 1)
            && let Some(storage) =
                machine.scheduler().tasklets[id].details.as_mut().and_then(|d| d.storage.take())
        {
            machine.anchors().release(storage);
        }
        0
    }
}

unsafe fn set_flag(L: *mut lua_State, set: fn(&mut Flags)) -> c_int {
    // SAFETY: called with a tasklet, which is alive.
    unsafe {
        let machine = Machine::of(L);
        let id = lua_touserdatatagged(L, 1, machine.tasklet_tag).cast::<TaskletId>();
        if !id.is_null()
            && let Some(tasklet) = machine.scheduler().tasklets.get_mut(*id)
        {
            set(&mut tasklet.flags);
        }
        0
    }
}

/// `on_end(f)`: what is called with a tasklet that was watched, how it has ended, and what with.
unsafe extern "C-unwind" fn on_end(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library with a function.
    unsafe {
        let machine = Machine::of(L);
        let anchor = machine.anchors().keep(L, 1);
        machine.on_end.set(Some(anchor));
        0
    }
}

/// `on_ask(f)`: what is called with a tasklet that was watched and has failed: whether somebody waits for its end.
unsafe extern "C-unwind" fn on_ask(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library with a function.
    unsafe {
        let machine = Machine::of(L);
        let anchor = machine.anchors().keep(L, 1);
        machine.on_ask.set(Some(anchor));
        0
    }
}

/// `owner()`: a number for whom the running tasklet belongs to.
unsafe extern "C-unwind" fn owner(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library.
    unsafe {
        let machine = Machine::of(L);
        let owner = machine.scheduler().tasklets.get(machine.running.get()).map(|tasklet| tasklet.owner);
        let number = slotmap::Key::data(&owner.unwrap_or_default()).as_ffi();
        lua_pushnumber(L, number as f64);
        1
    }
}

/// `check_block(verb)`: raises unless the running tasklet may wait here.
unsafe extern "C-unwind" fn check_block(L: *mut lua_State) -> c_int {
    // SAFETY: a C function called by the library.
    unsafe { super::api::check_may_block(L) }
}
