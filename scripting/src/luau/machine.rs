//! Scheduler and VM together: what every C function of scripts reaches from its state.
//!
//! # Who may hold what, and when
//!
//! The machine is shared by the loop and by the C functions that scripts call while the loop runs
//! one of them, all on one thread. So it hands out its parts as `&mut` for a moment only: **no such
//! borrow is held across a call that can run script code or finalisers** (resume, call, anything
//! that allocates in the VM). A C function that raises unwinds through its borrows, which ends them.
//! Finalisers run in the middle of allocations, so they touch nothing but [`Machine::dropped`].

use super::accounting::Accounting;
use super::anchor::{Anchor, Anchors};
use super::ffi::*;
use super::slice::SliceWatch;
use super::{stack, state, value};
use crate::native::{Native, StackSlab};
use crate::scheduler::{
    ChannelId, Error, ErrorKind, Frame, Link, OwnerId, Scheduler, Slot, Tasklet, TaskletId,
};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;

/// What a tasklet died of, for the host.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The tasklet.
    pub tasklet: TaskletId,
    /// Its name, or a number.
    pub name: String,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// What is wrong, beginning with `file:line:` where known.
    pub message: String,
    /// The calls that led there, one a line, innermost first: `file:line in function 'name'`.
    pub traceback: String,
}

/// How a watched tasklet ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The tasklet.
    pub tasklet: TaskletId,
    /// Whom it belonged to.
    pub owner: OwnerId,
    /// What it died of; `None` if its function returned or it was killed.
    pub failure: Option<Failure>,
}

/// A handle of scripts or of Rust that is gone, which finalisers leave for the loop to tidy up.
pub(crate) enum Dropped {
    Tasklet(TaskletId),
    Channel(ChannelId),
}

/// Values that scripts and the scheduler compare or push often, on the shelf.
pub(super) struct Constants {
    /// `scheduler.TaskletExit`.
    pub exit: Anchor,
    exit_pointer: *const c_void,
    /// `scheduler.StopIteration`.
    pub stop: Anchor,
    stop_pointer: *const c_void,
    /// Raised where memory ran out; made beforehand.
    pub memory: Anchor,
    memory_pointer: *const c_void,
    /// The last error that a slice beyond its limit was ended with.
    budget: Anchor,
    budget_pointer: Cell<*const c_void>,
    /// Methods of handles, by name: tables.
    pub tasklet_methods: Anchor,
    pub channel_methods: Anchor,
}

/// See [`Vm::guard_tasklets`](super::vm::Vm::guard_tasklets).
type Guard = dyn Fn(Option<OwnerId>, &str) -> Result<(), Error>;

/// Scheduler and VM together.
pub(crate) struct Machine {
    scheduler: UnsafeCell<Scheduler>,
    anchors: UnsafeCell<Anchors>,
    /// Coroutines of the running tasklet that have resumed another one in this slice, outermost first.
    nest: UnsafeCell<Vec<*mut lua_State>>,
    /// A coroutine to call functions on that may not block: callbacks, handlers, deferred functions.
    pub(crate) helper: *mut lua_State,
    /// The VM's first coroutine, on which mlua calls functions.
    pub(crate) outside: *mut lua_State,
    /// How deep calls on it were when the loop began: deeper, and there is one on the stack that is in use.
    pub(crate) depth_outside: Cell<u16>,
    /// A coroutine for values on their way between Rust and a tasklet; it runs no code.
    pub(crate) scratch: *mut lua_State,
    /// The frame of the main tasklet while its body is the host itself.
    pub(crate) host: *mut Native,
    /// The Rust frame that runs; null while the loop's own stack is in use.
    pub(crate) native: Cell<*mut Native>,
    pub(crate) stacks: StackSlab,
    /// Stacks in use, and how many may be.
    pub(crate) stacks_used: Cell<usize>,
    pub(crate) stack_limit: Cell<usize>,
    /// Where on its stack the outermost of the calls of scripts is that Rust makes without waiting; 0: none.
    pub(crate) outermost_call: Cell<usize>,
    /// A Rust function has suspended its caller to have a function of a script called: the tasklet goes on.
    pub(crate) goes_on: Cell<bool>,
    /// Marks errors of Rust code inside of error values.
    pub(crate) source_tag: c_int,
    pub(super) constants: Constants,
    pub(super) tasklet_tag: c_int,
    pub(super) channel_tag: c_int,
    /// Of errors that the library throws for itself: no `pcall` of a script stops them.
    pub(super) token_tag: c_int,
    /// The numbers of the first methods of each; the others follow.
    pub(super) tasklet_atom: Cell<i16>,
    pub(super) channel_atom: Cell<i16>,
    /// The body of the running tasklet, its outermost coroutine; null between two slices.
    pub(crate) body: Cell<*mut lua_State>,
    /// The loop is at work, further out.
    pub(super) looping: Cell<bool>,
    /// Whose turn it is or was last; differs from the head of the queue between two slices.
    pub(crate) running: Cell<TaskletId>,
    /// Slices that are too long.
    pub(super) watch: SliceWatch,
    /// What the last step of the collector was about, by the VM's number.
    pub(super) collecting: Cell<c_int>,
    /// Where time goes.
    pub(super) accounting: Accounting,
    /// The handler of errors that the host has set, or a script outside of any host.
    pub(crate) error_handler: Cell<Option<Anchor>>,
    /// Those of scripts that belong to somebody: each hears the errors of its own tasklets alone.
    error_handlers: RefCell<Vec<(OwnerId, Anchor)>>,
    /// Tasklets that scripts want to begin anew, if somebody hears of it.
    pub(super) restarts: RefCell<Vec<TaskletId>>,
    pub(super) hears_restarts: Cell<bool>,
    /// Says whether the running script may interfere with others, if it may not always.
    guard: RefCell<Option<Rc<Guard>>>,
    /// The most memory that the VM may use, in bytes.
    pub(super) memory_limit: Cell<usize>,
    /// The files of the library, by name.
    pub(crate) library: Cell<Option<Anchor>>,
    /// The library's function that is told of the ends of tasklets.
    pub(crate) on_end: Cell<Option<Anchor>>,
    /// The library's function that knows whether somebody waits for the end of a tasklet.
    pub(crate) on_ask: Cell<Option<Anchor>>,
    pub(crate) schedule_callback: Cell<Option<Anchor>>,
    pub(crate) channel_callback: Cell<Option<Anchor>>,
    /// Between two slices there is more to do than to resume the next one: handles were dropped, a callback wants to
    /// know of the switch, time is measured, or a run has a limit.
    pub(crate) busy: Cell<bool>,
    pub(crate) dropped: RefCell<Vec<Dropped>>,
    /// The handle of a tasklet that has just ended, until the schedule callback has heard of it.
    pub(super) farewell: Cell<Option<(TaskletId, Anchor)>>,
    /// Bodies of ended tasklets, ready for the next.
    pub(super) spare: RefCell<Vec<(*mut lua_State, Anchor)>>,
    /// Errors that leave a tasklet go to the host instead of to main, if it wants them.
    pub(crate) host_wants_errors: Cell<bool>,
    /// Calls of `run` in Rust under way: errors go to them, also where a host usually takes them.
    pub(crate) native_runs: Cell<u32>,
    /// Watched tasklets that have ended.
    pub(super) ended: RefCell<Vec<Ended>>,
    /// An error that reached a main tasklet without a body.
    pub(super) host_error: RefCell<Option<Failure>>,
    /// The VM itself, for what is done with mlua; null until it has its place.
    pub(super) vm: Cell<*const super::vm::Vm>,
    atoms: RefCell<HashMap<Box<[u8]>, i16>>,
    /// The sandbox is closed: no handler learns a further name.
    pub(super) sealed: Cell<bool>,
    next_tag: Cell<c_int>,
}

/// Tags 0 and 1 belong to the VM and to mlua.
const FIRST_TAG: c_int = 2;

impl Machine {
    /// The machine of a VM, with nothing installed for scripts yet. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is the live main state, below a protected call. The caller keeps the result at its place
    /// as long as the VM lives.
    pub(super) unsafe fn new(L: *mut lua_State, watch: SliceWatch) -> Rc<Self> {
        state::check();
        stack::check();
        // SAFETY: pushes and pops are balanced; the helper is kept by the registry.
        let machine = unsafe {
            value::install_error_metatable(L);
            let mut anchors = Anchors::new(L);
            let helper = lua_newthread(L);
            lua_ref(L, -1);
            let scratch = lua_newthread(L);
            lua_ref(L, -1);
            lua_settop(L, -3);
            let mut constant = |kind, message| {
                value::push_error(L, kind, message);
                let kept = (anchors.keep(L, -1), lua_topointer(L, -1));
                lua_settop(L, -2);
                kept
            };
            let (exit, exit_pointer) = constant(ErrorKind::Exit, "TaskletExit: the tasklet is being killed");
            let (stop, stop_pointer) =
                constant(ErrorKind::Stop, "StopIteration: the channel's iteration ends");
            let (memory, memory_pointer) = constant(
                ErrorKind::Memory,
                "not enough memory: the script's VM has reached its memory limit; \
                 look for a table or string that grows without end",
            );
            lua_pushnil(L);
            let budget = anchors.keep(L, -1);
            let tasklet_methods = anchors.keep(L, -1);
            let channel_methods = anchors.keep(L, -1);
            lua_settop(L, -2);
            let mut scheduler = Scheduler::new();
            let main = scheduler.main;
            let host = Native::without_stack();
            scheduler.tasklets[main].native = host;
            Rc::new(Self {
                scheduler: UnsafeCell::new(scheduler),
                anchors: UnsafeCell::new(anchors),
                nest: UnsafeCell::default(),
                helper,
                outside: lua_mainthread(L),
                depth_outside: Cell::new(0),
                scratch,
                host,
                native: Cell::new(std::ptr::null_mut()),
                stacks: StackSlab::default(),
                stacks_used: Cell::new(0),
                stack_limit: Cell::new(usize::MAX),
                outermost_call: Cell::new(0),
                goes_on: Cell::new(false),
                source_tag: FIRST_TAG + 2,
                constants: Constants {
                    exit,
                    exit_pointer,
                    stop,
                    stop_pointer,
                    memory,
                    memory_pointer,
                    budget,
                    budget_pointer: Cell::new(std::ptr::null()),
                    tasklet_methods,
                    channel_methods,
                },
                tasklet_tag: FIRST_TAG,
                channel_tag: FIRST_TAG + 1,
                token_tag: FIRST_TAG + 3,
                tasklet_atom: Cell::default(),
                channel_atom: Cell::default(),
                body: Cell::new(std::ptr::null_mut()),
                looping: Cell::default(),
                running: Cell::default(),
                watch,
                collecting: Cell::default(),
                accounting: Accounting::default(),
                error_handler: Cell::default(),
                error_handlers: RefCell::default(),
                restarts: RefCell::default(),
                hears_restarts: Cell::default(),
                guard: RefCell::default(),
                memory_limit: Cell::new(usize::MAX),
                library: Cell::default(),
                on_end: Cell::default(),
                on_ask: Cell::default(),
                schedule_callback: Cell::default(),
                channel_callback: Cell::default(),
                busy: Cell::new(false),
                dropped: RefCell::default(),
                farewell: Cell::default(),
                spare: RefCell::default(),
                host_wants_errors: Cell::new(false),
                native_runs: Cell::new(0),
                ended: RefCell::default(),
                host_error: RefCell::default(),
                vm: Cell::new(std::ptr::null()),
                atoms: RefCell::default(),
                sealed: Cell::new(false),
                next_tag: Cell::new(FIRST_TAG + 4),
            })
        };
        // SAFETY: an `Rc`'s contents don't move, and the caller keeps them as long as the VM lives.
        unsafe {
            lua_setthreaddata(lua_mainthread(L), (&raw const *machine).cast_mut().cast());
            (*lua_callbacks(L)).useratom = Some(atom_of);
            machine.install_source(L);
        }
        machine.running.set(machine.scheduler().main);
        machine
    }

    /// The machine that a state belongs to.
    ///
    /// # Safety
    /// `L` is a live state of a VM whose machine was made by [`new`](Self::new).
    #[inline]
    pub unsafe fn of<'a>(L: *mut lua_State) -> &'a Self {
        // SAFETY: `new` has put the pointer into the main coroutine; the others get it when they first
        // ask. The machine outlives the VM.
        unsafe {
            let mut machine = state::thread_data(L);
            if machine.is_null() {
                machine = lua_getthreaddata(lua_mainthread(L));
                lua_setthreaddata(L, machine);
            }
            &*machine.cast::<Self>()
        }
    }

    /// The machine of mlua's handle of the VM.
    pub(crate) fn of_lua(lua: &mlua::Lua) -> mlua::Result<Rc<Self>> {
        let machine = lua.app_data_ref::<Rc<Self>>();
        machine.map(|machine| machine.clone()).ok_or_else(|| {
            mlua::Error::runtime("this VM has no scheduler; it has to be made with bluetick_scripting::Vm")
        })
    }

    /// The queues. See the rule at the top of the file.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub fn scheduler(&self) -> &mut Scheduler {
        // SAFETY: one thread, and no borrow is held across anything that could take another.
        unsafe { &mut *self.scheduler.get() }
    }

    /// The shelf. See the rule at the top of the file.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(crate) fn anchors(&self) -> &mut Anchors {
        // SAFETY: as `scheduler`; finalisers don't touch the shelf.
        unsafe { &mut *self.anchors.get() }
    }

    /// The coroutines that have resumed another one in this slice.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(super) fn nest(&self) -> &mut Vec<*mut lua_State> {
        // SAFETY: as `scheduler`.
        unsafe { &mut *self.nest.get() }
    }

    /// Some coroutine has resumed another one in this slice, or outside of any.
    pub(crate) fn is_nested(&self) -> bool {
        !self.nest().is_empty()
    }

    /// Errors that leave a tasklet go to the host.
    pub(crate) fn host_takes_errors(&self) -> bool {
        let scheduler = self.scheduler();
        // Of those whose `run` is over, some may not have heard of it yet.
        let nobody_runs = self.native_runs.get() == 0
            || self.watch.is_active() && scheduler.innermost_runner() == scheduler.main_link;
        self.host_wants_errors.get() && nobody_runs
    }

    /// The host is asked between two slices whether to go on, and gives time to background tasklets.
    pub(crate) fn host_rules(&self) -> bool {
        self.watch.is_active() || self.host_takes_errors()
    }

    /// A live coroutine that runs nothing for long, for what is done with the VM itself.
    #[cfg(feature = "reload")]
    pub fn helper_state(&self) -> *mut lua_State {
        self.helper
    }

    /// Which coroutine belongs to which tasklet: bodies, and those that scripts have blocked in.
    #[cfg(feature = "reload")]
    pub fn threads_of_tasklets(&self) -> HashMap<*mut lua_State, TaskletId> {
        let tasklets = self.scheduler().tasklets.iter();
        let threads = tasklets.filter(|(_, tasklet)| tasklet.alive() && !tasklet.thread.is_null());
        threads
            .flat_map(|(id, tasklet)| {
                let outer = tasklet.outer().iter().filter_map(|frame| match frame {
                    crate::scheduler::Frame::Luau(thread) => Some(*thread),
                    crate::scheduler::Frame::Native(_) => None,
                });
                outer.chain([tasklet.thread]).map(move |thread| (thread, id))
            })
            .collect()
    }

    /// The loop is at work: whoever asks was called by a script, or by the loop itself.
    pub(crate) fn is_looping(&self) -> bool {
        self.looping.get()
    }

    /// The body of the main tasklet is the host itself, not a script.
    pub(crate) fn main_is_host(&self) -> bool {
        let scheduler = self.scheduler();
        let main = &scheduler.tasklets[scheduler.main];
        main.thread.is_null() && std::ptr::eq(main.native, self.host)
    }

    /// The VM, for what is done with mlua; `None` when the host has let it go.
    pub(crate) fn vm(&self) -> Option<&super::vm::Vm> {
        // SAFETY: a VM sets this to itself, and to null when it is dropped.
        unsafe { self.vm.get().as_ref() }
    }

    /// The handler that was set by a tasklet of this owner.
    pub(super) fn handler_of(&self, owner: OwnerId) -> Option<Anchor> {
        let handlers = self.error_handlers.borrow();
        handlers.iter().find(|(known, _)| *known == owner).map(|(_, handler)| *handler)
    }

    /// Sets it, or takes it away; the one before is the caller's to let go.
    pub(super) fn set_handler_of(&self, owner: OwnerId, handler: Option<Anchor>) {
        let mut handlers = self.error_handlers.borrow_mut();
        handlers.retain(|(known, _)| *known != owner);
        handlers.extend(handler.map(|handler| (owner, handler)));
    }

    /// Who is called with the errors of a tasklet.
    pub(super) fn handler_for(&self, id: TaskletId) -> Option<Anchor> {
        let owner = self.scheduler().tasklets.get(id).map(|tasklet| tasklet.owner).unwrap_or_default();
        self.handler_of(owner).or(self.error_handler.get())
    }

    /// `L` is the body of the running tasklet, not a coroutine that its script has made.
    pub(super) fn is_body(&self, L: *mut lua_State) -> bool {
        self.body.get() == L
    }

    /// A script gets to see the coroutine `L`: if it is a body, it won't serve another tasklet.
    pub(super) fn expose(&self, L: *mut lua_State) {
        if self.is_body(L) {
            let scheduler = self.scheduler();
            scheduler.member(scheduler.head).flags.exposed = true;
        }
    }

    /// The value at `index` is an error that no `pcall` of a script stops: the exit, or that a slice is
    /// beyond its limit.
    ///
    /// # Safety
    /// `L` is a live state with a value at `index`.
    pub(crate) unsafe fn is_final(&self, L: *mut lua_State, index: c_int) -> bool {
        // SAFETY: the caller's.
        unsafe { self.is_exit(L, index) || self.is_token(L, index) || self.is_budget(L, index) }
    }

    /// The value at `index` is `scheduler.TaskletExit`.
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final).
    pub(crate) unsafe fn is_exit(&self, L: *mut lua_State, index: c_int) -> bool {
        // SAFETY: reads a pointer only.
        unsafe { lua_topointer(L, index) == self.constants.exit_pointer }
    }

    /// The value at `index` is an error of the library's own.
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final).
    pub(crate) unsafe fn is_token(&self, L: *mut lua_State, index: c_int) -> bool {
        // SAFETY: reads a pointer only.
        unsafe { !lua_touserdatatagged(L, index, self.token_tag).is_null() }
    }

    /// The value at `index` is the last error with which a slice beyond its limit was ended.
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final).
    pub(super) unsafe fn is_budget(&self, L: *mut lua_State, index: c_int) -> bool {
        // SAFETY: reads a pointer only.
        unsafe {
            lua_type(L, index) == LUA_TTABLE && lua_topointer(L, index) == self.constants.budget_pointer.get()
        }
    }

    /// The error on top of the stack is the one that has ended the slice, if one has: it may have been
    /// lost in the handler of an error, or in a function of the host. `[-1, +1]`
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final); there is room for a value.
    pub(super) unsafe fn restore_budget_error(&self, L: *mut lua_State) {
        if self.watch.is_condemned() {
            // SAFETY: the caller's; nothing is allocated.
            unsafe {
                lua_settop(L, -2);
                self.anchors().push(self.constants.budget, L);
            }
        }
    }

    /// The error on top of the stack is one that no `pcall` stops, in place of the last one. `[-0, +0]`
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final).
    pub(super) unsafe fn set_budget_error(&self, L: *mut lua_State) {
        // SAFETY: the shelf keeps the value, so nothing else can get its address.
        unsafe {
            self.anchors().set(self.constants.budget, L, -1);
            self.constants.budget_pointer.set(lua_topointer(L, -1));
        }
    }

    /// The error on top of the stack has ended a tasklet: if it is the one that no `pcall` stops, it is an ordinary
    /// one from now on, which whoever has waited for that tasklet may stop. `[-0, +0]`
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final).
    pub(super) unsafe fn forget_budget_error(&self, L: *mut lua_State) {
        // SAFETY: the caller's.
        if unsafe { self.is_budget(L, -1) } {
            self.constants.budget_pointer.set(std::ptr::null());
        }
    }

    /// The error on top of the stack, with which a call has ended, says that memory ran out.
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final).
    pub(super) unsafe fn is_memory(&self, L: *mut lua_State, status: c_int) -> bool {
        // SAFETY: reads a pointer only.
        status == LUA_ERRMEM || unsafe { lua_topointer(L, -1) } == self.constants.memory_pointer
    }

    /// Gives the error on top of the stack, with which a call has ended, its kind if it says that
    /// memory ran out: the VM has no more than a text for it. Then collects: the VM would not, as it
    /// knows no limit, and whoever has caught the error would get the next one at once. `[-1, +1]`
    ///
    /// # Safety
    /// `L` is a live state with an error on top, in a C function or with no coroutine running.
    pub(crate) unsafe fn name_memory(&self, L: *mut lua_State, status: c_int) {
        // SAFETY: the value takes the place of the text. The collector neither allocates nor raises.
        unsafe {
            if self.is_memory(L, status) {
                lua_settop(L, -2);
                self.anchors().push(self.constants.memory, L);
                lua_gc(L, LUA_GCCOLLECT, 0);
            }
        }
    }

    /// The value at `index` is `scheduler.StopIteration`.
    ///
    /// # Safety
    /// As [`is_final`](Self::is_final).
    pub(crate) unsafe fn is_stop(&self, L: *mut lua_State, index: c_int) -> bool {
        // SAFETY: reads a pointer only.
        unsafe { lua_topointer(L, index) == self.constants.stop_pointer }
    }

    /// Puts the value at `index` into the slot of a tasklet that does not run, in place of what was
    /// there. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call; the tasklet has a coroutine.
    pub(crate) unsafe fn deliver(&self, id: TaskletId, L: *mut lua_State, index: c_int, slot: Slot) {
        let tasklet = &mut self.scheduler().tasklets[id];
        let thread = tasklet.thread;
        if thread.is_null() {
            // SAFETY: the caller's; the innermost frame is Rust's.
            unsafe {
                match slot {
                    Slot::Error => self.deliver_error(id, self.read_thrown(L, index)),
                    Slot::Value | Slot::Nothing => self.deliver_value(id, L, index),
                }
            }
            return;
        }
        // SAFETY: a suspended coroutine holds its slot on top of its stack, which `suspend` gave
        // room to; one that never ran holds its arguments there, and an error goes above them.
        unsafe {
            let occupied = match tasklet.life {
                crate::scheduler::Life::Started => tasklet.slot != Slot::Nothing,
                _ => tasklet.slot == Slot::Error,
            };
            if occupied {
                lua_settop(thread, -2);
            }
            lua_xpush(L, thread, index);
        }
        tasklet.slot = slot;
    }

    /// Suspends the running tasklet in a C function that has pushed its slot; the result is what the
    /// C function has to return. Another tasklet is the head of the queue already.
    ///
    /// # Safety
    /// Called last in a C function, after [`can_block`](Self::can_block).
    #[inline]
    pub(super) unsafe fn suspend(&self, L: *mut lua_State, me: Link<Tasklet>) -> c_int {
        let tasklet = self.scheduler().member(me);
        tasklet.thread = L;
        tasklet.slot = Slot::Value;
        if !self.nest().is_empty() {
            self.outward(self.scheduler().id(me), L);
        }
        // SAFETY: the VM was asked before whether it can suspend here.
        unsafe { state::suspended(L) }
    }

    /// As [`suspend`](Self::suspend), for a tasklet that is [unhindered](Self::is_unhindered).
    ///
    /// # Safety
    /// As `suspend`.
    #[inline(always)]
    pub(super) unsafe fn suspend_body(&self, L: *mut lua_State, me: Link<Tasklet>) -> c_int {
        let tasklet = self.scheduler().member(me);
        tasklet.thread = L;
        tasklet.slot = Slot::Value;
        // SAFETY: the caller's.
        unsafe { state::suspended(L) }
    }

    /// The coroutines that the running tasklet's script has resumed, and that wait for `L`, become
    /// frames.
    #[cold]
    pub(crate) fn outward(&self, id: TaskletId, L: *mut lua_State) {
        let tasklet = &mut self.scheduler().tasklets[id];
        debug_assert!(self.nest().last() != Some(&L));
        tasklet.flags.nested = true;
        tasklet.details_mut().outer.extend(self.nest().drain(..).map(Frame::Luau));
    }

    /// Pushes an error value that is always there. `[-0, +1]`
    ///
    /// # Safety
    /// `L` is a live state of the machine's VM with room for a value.
    pub(crate) unsafe fn push_constant(&self, L: *mut lua_State, kind: ErrorKind) {
        let constant = match kind {
            ErrorKind::Exit => self.constants.exit,
            ErrorKind::Stop => self.constants.stop,
            _ => self.constants.memory,
        };
        // SAFETY: the caller's.
        unsafe { self.anchors().push(constant, L) }
    }

    /// Raises an error of Rust code in a C function: with the caller's place in its text, unless it is a
    /// value that has its own.
    ///
    /// # Safety
    /// Called last in a C function; nothing but the error has to be dropped in its frames.
    pub(crate) unsafe fn raise_error(&self, L: *mut lua_State, error: Error) -> ! {
        // SAFETY: the caller's; the error is dropped before anything unwinds, but for want of memory.
        unsafe {
            if error.thrown().is_none() && !matches!(error.kind, ErrorKind::Exit | ErrorKind::Stop) {
                let Error { kind, message, .. } = error;
                value::raise(L, kind, message)
            }
            luaL_checkstack(L, 5, std::ptr::null());
            self.push_thrown(L, &error);
            drop(error);
            lua_error(L)
        }
    }

    /// Notes that a handle is gone; for finalisers, which may do nothing else.
    pub(crate) fn note_dropped(&self, handle: Dropped) {
        if let Ok(mut dropped) = self.dropped.try_borrow_mut() {
            dropped.push(handle);
            self.busy.set(true);
        }
    }

    /// The VM can suspend the running tasklet at this place, out through all its coroutines.
    ///
    /// # Safety
    /// `L` is the state of the calling C function.
    #[inline]
    pub(crate) unsafe fn can_block(&self, L: *mut lua_State) -> bool {
        // SAFETY: reads counters of live coroutines.
        unsafe { state::is_yieldable(L) && self.nest().iter().all(|&outer| state::is_yieldable(outer)) }
    }

    /// `L` is the body of the running tasklet itself, in a C function where it can suspend, and queues may be
    /// used.
    ///
    /// # Safety
    /// As [`can_block`](Self::can_block).
    #[inline(always)]
    pub(super) unsafe fn is_unhindered(&self, L: *mut lua_State) -> bool {
        let unhindered = self.body.get() == L
            && !self.scheduler().in_callback
            // SAFETY: the caller's.
            && unsafe { state::is_yieldable(L) };
        // No coroutine of a script is around a body, and what is run as one is the head of the queue.
        debug_assert!(!unhindered || self.running.get() == self.scheduler().current());
        debug_assert!(!unhindered || self.nest().is_empty());
        unhindered
    }

    /// Who is asked before a script interferes with tasklets or the scheduler.
    pub(super) fn set_guard(&self, guard: Rc<Guard>) {
        self.guard.replace(Some(guard));
    }

    /// Raises an error unless the running script may do this to the tasklet, or with `None` to the scheduler.
    ///
    /// # Safety
    /// Called in a C function whose frames own nothing.
    #[inline]
    pub(super) unsafe fn ask_guard(&self, L: *mut lua_State, tasklet: Option<TaskletId>, verb: &str) {
        let guard = match &*self.guard.borrow() {
            Some(guard) if tasklet != Some(self.running.get()) => Rc::clone(guard),
            _ => return,
        };
        let owner = tasklet.map(|id| self.scheduler().tasklets[id].owner);
        let result = guard(owner, verb);
        drop(guard);
        if let Err(error) = result {
            // SAFETY: the caller's; what this frame owned is dropped.
            unsafe { self.raise_error(L, error) }
        }
    }

    /// The number under which handlers know a name.
    pub fn intern(&self, name: &str) -> Result<i16, Error> {
        let mut atoms = self.atoms.borrow_mut();
        if let Some(&atom) = atoms.get(name.as_bytes()) {
            return Ok(atom);
        }
        let atom = i16::try_from(atoms.len())
            .map_err(|_| Error::new(ErrorKind::Type, format!("no number is left for the name '{name}'")))?;
        atoms.insert(name.as_bytes().into(), atom);
        Ok(atom)
    }

    /// A userdata tag that nobody else uses.
    pub fn new_tag(&self) -> Option<c_int> {
        let tag = self.next_tag.get();
        (tag < LUA_UTAG_LIMIT).then(|| {
            self.next_tag.set(tag + 1);
            tag
        })
    }
}

/// What the VM takes for a string that it has not asked about.
pub(super) const NOT_ASKED: i16 = i16::MIN;

/// Gives a string its number when the VM first asks for it; −1 for names that no handler knows. Until the
/// sandbox is closed a handler may still learn a name, so that the VM has to ask again.
unsafe extern "C-unwind" fn atom_of(L: *mut lua_State, text: *const c_char, length: usize) -> i16 {
    // SAFETY: the VM calls this with one of its strings.
    unsafe {
        let name = std::slice::from_raw_parts(text.cast::<u8>(), length);
        let machine = Machine::of(L);
        let unknown = if machine.sealed.get() { -1 } else { NOT_ASKED };
        machine.atoms.try_borrow().ok().and_then(|atoms| atoms.get(name).copied()).unwrap_or(unknown)
    }
}

/// Runs `f` protected on `L`: what it raises comes back as an error, and the stack is as before.
///
/// # Safety
/// `L` is a live state that may be called on now. `f` does not panic.
pub(crate) unsafe fn protect<F: FnOnce(*mut lua_State)>(L: *mut lua_State, f: F) -> Result<(), Error> {
    unsafe extern "C-unwind" fn call<F: FnOnce(*mut lua_State)>(L: *mut lua_State) -> c_int {
        // SAFETY: the only argument points to the closure of the caller, which is taken once.
        unsafe {
            let f = lua_touserdata(L, 1).cast::<Option<F>>();
            lua_settop(L, 0);
            if let Some(f) = (*f).take() {
                f(L);
            }
            0
        }
    }
    let mut f = Some(f);
    // SAFETY: `lua_cpcall` allocates only inside its protection; on an error it leaves one value.
    unsafe {
        let top = lua_gettop(L);
        let status = lua_cpcall(L, call::<F>, (&raw mut f).cast());
        if status == LUA_OK {
            lua_settop(L, top);
            return Ok(());
        }
        let kind = if status == LUA_ERRMEM { ErrorKind::Memory } else { ErrorKind::Type };
        let error = Error::new(kind, value::describe(L, -1));
        lua_settop(L, top);
        Err(error)
    }
}
