//! The VM's insides: what `internals.cpp` does, as Rust sees it. All `unsafe` of the reload that knows the
//! layout of the VM is behind these functions.
//!
//! # Invariants
//!
//! An [`Internals`] exists only while [`Vm::with_internals`] runs, which keeps them:
//!
//! 1. *No coroutine runs.* The interpreter holds the closure, constants and position of a running frame in
//!    local variables; changing them behind its back would be undefined. The loop is not at work, and
//!    threads that are active all the same are never given to a function that changes them.
//! 2. *The collector is stopped.* So every pointer obtained through an `Internals` is valid as long as it
//!    lives: pointers are plain `*mut`, handed out by the walk of the heap (which leaves dead objects out),
//!    by reading a living object, or by making an object.
//! 3. *No exception leaves C++.* Functions that allocate say so by their result.
//! 4. *Write barriers* are C++'s, in the functions that write.

use crate::luau::Vm;
use crate::luau::ffi::*;
use mlua::{Function, Value};
use std::ffi::{c_char, c_int, c_void};

/// A value in a register or an upvalue's slot, as the VM keeps it; it may be a cell that closures share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Slot([u64; 2]);

#[derive(Clone, Copy)]
#[repr(C)]
struct Text {
    data: *const c_char,
    len: usize,
}

impl Text {
    fn read(self) -> String {
        if self.data.is_null() {
            return String::new();
        }
        // SAFETY: a string of the VM, which is alive by invariant 2.
        let bytes = unsafe { std::slice::from_raw_parts(self.data.cast::<u8>(), self.len) };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

#[repr(C)]
struct RawProto {
    code: *const u32,
    plain_ops: *const u8,
    children: *const *mut Proto,
    name: Text,
    id: u64,
    code_len: c_int,
    children_len: c_int,
    locals_len: c_int,
    constants_len: c_int,
    names_len: c_int,
    line: c_int,
    upvalues: u8,
    parameters: u8,
    vararg: u8,
    stack: u8,
}

#[repr(C)]
struct RawLocal {
    name: Text,
    start: c_int,
    end: c_int,
    reg: c_int,
}

#[repr(C)]
struct RawConstant {
    kind: c_int,
    bits: u64,
    text: Text,
}

/// A prototype of the VM.
#[repr(C)]
pub(crate) struct Proto {
    _opaque: [u8; 0],
}

/// A closure of the VM.
#[repr(C)]
pub(crate) struct Closure {
    _opaque: [u8; 0],
}

#[repr(C)]
pub(crate) struct Environment {
    _opaque: [u8; 0],
}

/// A coroutine, between two resumes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct ThreadState {
    pub status: c_int,
    pub active: c_int,
    /// How many calls are on it; the outermost has number 1.
    pub frames: c_int,
    pub capacity: c_int,
}

impl ThreadState {
    pub fn is_suspended(&self) -> bool {
        self.active == 0 && (self.status == LUA_YIELD || self.status == LUA_BREAK)
    }

    pub fn has_failed(&self) -> bool {
        self.active == 0 && !matches!(self.status, LUA_OK | LUA_YIELD | LUA_BREAK)
    }
}

/// A call on a coroutine.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Frame {
    /// What it runs; null if that is a C function.
    pub closure: *mut Closure,
    pub proto: *mut Proto,
    pub native: *mut Closure,
    pub id: u64,
    /// In words, behind the instruction that it is in.
    pub pc: c_int,
    pub func: c_int,
    pub base: c_int,
    pub top: c_int,
    pub results: c_int,
    pub flags: u32,
}

impl Frame {
    pub fn is_script(&self) -> bool {
        !self.closure.is_null()
    }
}

/// The frame was suspended in the iterator of a generic `for`.
pub(crate) const IN_ITERATOR: u32 = 1 << 3;

/// What a register of a moved frame gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Nil,
    Register(u8),
    Value(Slot),
}

#[repr(C)]
struct RawSource {
    kind: c_int,
    reg: c_int,
    value: Slot,
}

unsafe extern "C" {
    fn bt_self_check(L: *mut lua_State) -> c_int;
    fn bt_self_check_function(L: *mut lua_State, index: c_int) -> c_int;
    fn bt_visit(
        L: *mut lua_State,
        context: *mut c_void,
        on_closure: extern "C" fn(*mut c_void, *mut Closure, u64, c_int),
        on_thread: extern "C" fn(*mut c_void, *mut lua_State),
        on_proto: extern "C" fn(*mut c_void, *mut Proto, u64),
    );
    fn bt_validate(L: *mut lua_State);
    fn bt_random(L: *mut lua_State) -> u64;
    fn bt_set_random(L: *mut lua_State, state: u64);
    fn bt_closure_at(L: *mut lua_State, index: c_int) -> *mut Closure;
    fn bt_proto_of(closure: *mut Closure) -> *mut Proto;
    fn bt_read_proto(proto: *const Proto, out: *mut RawProto);
    fn bt_read_local(proto: *const Proto, i: c_int, out: *mut RawLocal);
    fn bt_upvalue_name(proto: *const Proto, i: c_int) -> Text;
    fn bt_line(proto: *mut Proto, pc: c_int) -> c_int;
    fn bt_op_length(op: c_int) -> c_int;
    fn bt_read_constant(proto: *const Proto, i: c_int, out: *mut RawConstant);
    fn bt_set_id(proto: *mut Proto, id: u64);
    fn bt_set_source(L: *mut lua_State, proto: *mut Proto, index: c_int);
    fn bt_set_child(L: *mut lua_State, proto: *mut Proto, i: c_int, child: *mut Proto);
    fn bt_loaded_constant(proto: *const Proto, pc: c_int, out: *mut Slot) -> c_int;
    fn bt_is_cell(slot: *const Slot) -> c_int;
    fn bt_push(L: *mut lua_State, slot: *mut Slot);
    fn bt_value_at(L: *mut lua_State, index: c_int, out: *mut Slot);
    fn bt_set_cell(L: *mut lua_State, slot: *mut Slot, index: c_int);
    fn bt_new_cell(L: *mut lua_State, index: c_int, out: *mut Slot) -> c_int;
    fn bt_closure_slots(closure: *const Closure) -> c_int;
    fn bt_slot(closure: *const Closure, i: c_int, out: *mut Slot);
    fn bt_set_slot(L: *mut lua_State, closure: *mut Closure, i: c_int, slot: *mut Slot);
    fn bt_repoint(L: *mut lua_State, closure: *mut Closure, proto: *mut Proto);
    fn bt_environment(closure: *const Closure) -> *mut Environment;
    fn bt_set_environment(L: *mut lua_State, closure: *mut Closure, env: *mut Environment);
    fn bt_new_closure(L: *mut lua_State, proto: *mut Proto, like: *const Closure) -> *mut Closure;
    fn bt_make_forwarder(
        L: *mut lua_State,
        index: c_int,
        other: *mut Proto,
        to: *mut Closure,
        slots: c_int,
    ) -> *mut Proto;
    fn bt_relocate_upvalues(L: *mut lua_State, proto: *mut Proto, places: *const u8, slots: c_int) -> c_int;
    fn bt_share_children(L: *mut lua_State, proto: *mut Proto, like: *const Proto);
    fn bt_template(proto: *const Proto, i: c_int) -> *mut Closure;
    fn bt_set_template(L: *mut lua_State, proto: *mut Proto, i: c_int, closure: *mut Closure, unused: c_int);
    fn bt_read_thread(thread: *const lua_State, out: *mut ThreadState);
    fn bt_read_frame(thread: *mut lua_State, frame: c_int, out: *mut Frame);
    fn bt_wrapped_thread(native: *const Closure) -> *mut lua_State;
    fn bt_has_continuation(native: *const Closure) -> c_int;
    fn bt_open_registers(thread: *mut lua_State, frame: c_int, bits: *mut u64);
    fn bt_register_is(thread: *mut lua_State, frame: c_int, reg: c_int, slot: *mut Slot) -> c_int;
    fn bt_push_register(L: *mut lua_State, thread: *mut lua_State, frame: c_int, reg: c_int);
    fn bt_reserve(thread: *mut lua_State, size: c_int) -> c_int;
    fn bt_set_frame_closure(L: *mut lua_State, thread: *mut lua_State, frame: c_int, closure: *mut Closure);
    fn bt_move_frame(
        L: *mut lua_State,
        thread: *mut lua_State,
        frame: c_int,
        closure: *mut Closure,
        code: *mut Proto,
        pc: c_int,
        old_registers: c_int,
        results: c_int,
        sources: *const RawSource,
        registers: c_int,
    );
    fn bt_park(L: *mut lua_State, thread: *mut lua_State, frame: c_int, pc: c_int, registers: c_int)
    -> c_int;
    fn bt_park_in_call(thread: *mut lua_State, frame: c_int);
}

/// What a walk of the heap has found: only what belongs to a module's text.
#[derive(Default)]
pub(crate) struct Heap {
    /// Closures, the ids of what they run, and whether they are templates that no code has used yet.
    pub closures: Vec<(*mut Closure, u64, bool)>,
    pub threads: Vec<*mut lua_State>,
    pub protos: Vec<(*mut Proto, u64)>,
}

/// A constant of a prototype.
pub(crate) enum Constant {
    Nil,
    Boolean(bool),
    Number(u64),
    Text(String),
    Function(*mut Proto),
    Other(u64),
}

/// What a prototype says of itself.
pub(crate) struct ProtoFacts {
    pub name: String,
    pub words: Vec<u32>,
    /// Opcodes, where a breakpoint may hide them in `words`; empty if there never was one.
    pub plain_ops: Vec<u8>,
    pub children: Vec<*mut Proto>,
    pub locals: Vec<(String, u32, u32, u8)>,
    pub constants: Vec<Constant>,
    pub upvalue_names: Vec<String>,
    pub upvalues: usize,
    pub parameters: u8,
    pub vararg: bool,
    pub stack: u8,
}

/// Access to the VM's insides. See the invariants at the top of the file.
#[derive(Clone, Copy)]
pub(crate) struct Internals {
    L: *mut lua_State,
}

impl Vm {
    /// Runs `f` with access to the VM's insides; `None` if a script is running.
    pub(in crate::reload) fn with_internals<R>(&self, f: impl FnOnce(Internals) -> R) -> Option<R> {
        if self.machine().is_looping() {
            return None;
        }
        /// Has the collector run again, if it did before.
        struct Collector(*mut lua_State, bool);
        impl Drop for Collector {
            fn drop(&mut self) {
                if self.1 {
                    // SAFETY: the VM outlives the borrow that this lives in.
                    unsafe { lua_gc(self.0, LUA_GCRESTART, 0) };
                }
            }
        }
        let L = self.machine().helper_state();
        // SAFETY: the helper is a live coroutine that nobody runs on now.
        let running = unsafe { lua_gc(L, LUA_GCISRUNNING, 0) != 0 };
        // SAFETY: as above.
        unsafe { lua_gc(L, LUA_GCSTOP, 0) };
        let _collector = Collector(L, running);
        Some(f(Internals { L }))
    }

    /// Compares what the headers say of the VM with what its public functions say; `Err` says where they differ.
    pub(super) fn check_internals(&self) -> Result<(), c_int> {
        let sample = self.load("self-check", "local a = {} return function(x, ...) return a, x, ... end");
        let function = sample.and_then(|sample| Ok(sample.call::<Function>(())?));
        let Ok(function) = function else { return Err(30) };
        let mut failed = 0;
        // SAFETY: protected by mlua, which has pushed the function alone; both functions only read.
        let ran = unsafe {
            self.lua().exec_raw::<()>(function, |L| {
                failed = bt_self_check(L);
                if failed == 0 {
                    failed = bt_self_check_function(L, 1);
                }
                lua_settop(L, 0);
            })
        };
        match (ran, failed) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), failed) => Err(failed),
            (Err(_), _) => Err(31),
        }
    }

    /// The state of the VM's random numbers.
    pub(crate) fn random_state(&self) -> u64 {
        // SAFETY: reads a number of the VM.
        unsafe { bt_random(self.machine().helper_state()) }
    }

    /// Has the VM check all its objects, which ends the process if one is wrong; for tests, in builds of the VM
    /// with its assertions on. In others it does nothing.
    #[doc(hidden)]
    pub fn validate_heap(&self) {
        // SAFETY: only reads.
        unsafe { bt_validate(self.machine().helper_state()) }
    }

    /// Sets it.
    pub(crate) fn set_random_state(&self, state: u64) {
        // SAFETY: any number is a state.
        unsafe { bt_set_random(self.machine().helper_state(), state) }
    }
}

// SAFETY of all below: the invariants at the top of the file, kept by `with_internals`, and for each function
// what its own comment says of its arguments, kept by its callers in this folder.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Internals {
    /// For reading what doesn't run, and for a coroutine that has failed: while a C function or the loop is at
    /// work, and nothing is allocated in the VM between reading and use.
    pub fn for_reading(vm: &Vm) -> Self {
        Self { L: vm.machine().helper_state() }
    }

    pub fn heap(self) -> Heap {
        extern "C" fn closure(heap: *mut c_void, closure: *mut Closure, id: u64, template: c_int) {
            // SAFETY: the context is the heap below.
            unsafe { (*heap.cast::<Heap>()).closures.push((closure, id, template != 0)) }
        }
        extern "C" fn thread(heap: *mut c_void, thread: *mut lua_State) {
            // SAFETY: as above.
            unsafe { (*heap.cast::<Heap>()).threads.push(thread) }
        }
        extern "C" fn proto(heap: *mut c_void, proto: *mut Proto, id: u64) {
            // SAFETY: as above.
            unsafe { (*heap.cast::<Heap>()).protos.push((proto, id)) }
        }
        let mut heap = Heap::default();
        unsafe { bt_visit(self.L, (&raw mut heap).cast(), closure, thread, proto) };
        heap
    }

    /// The closure of a script's function; null for a C function.
    pub fn closure_of(self, vm: &Vm, function: &Function) -> *mut Closure {
        let mut closure = std::ptr::null_mut();
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(function, |L| {
                closure = bt_closure_at(L, 1);
                lua_settop(L, 0);
            })
        };
        if pushed.is_err() { std::ptr::null_mut() } else { closure }
    }

    pub fn proto_of(self, closure: *mut Closure) -> *mut Proto {
        unsafe { bt_proto_of(closure) }
    }

    /// The id of what the closure runs.
    pub fn id_of(self, closure: *mut Closure) -> u64 {
        unsafe {
            let mut raw: RawProto = std::mem::zeroed();
            bt_read_proto(bt_proto_of(closure), &mut raw);
            raw.id
        }
    }

    /// A main function's prototype and all below it, each before those that it makes.
    pub fn protos(self, main: *mut Proto) -> Vec<*mut Proto> {
        let mut protos = vec![main];
        let mut next = 0;
        while next < protos.len() {
            unsafe {
                let mut raw: RawProto = std::mem::zeroed();
                bt_read_proto(protos[next], &mut raw);
                protos.extend((0..raw.children_len as usize).map(|i| *raw.children.add(i)));
            }
            next += 1;
        }
        protos
    }

    pub fn read_proto(self, proto: *const Proto) -> ProtoFacts {
        unsafe {
            let mut raw: RawProto = std::mem::zeroed();
            bt_read_proto(proto, &mut raw);
            let len = raw.code_len as usize;
            let plain_ops = if raw.plain_ops.is_null() {
                Vec::new()
            } else {
                std::slice::from_raw_parts(raw.plain_ops, len).to_vec()
            };
            ProtoFacts {
                name: raw.name.read(),
                words: std::slice::from_raw_parts(raw.code, len).to_vec(),
                plain_ops,
                children: (0..raw.children_len as usize).map(|i| *raw.children.add(i)).collect(),
                locals: (0..raw.locals_len)
                    .map(|i| {
                        let mut local: RawLocal = std::mem::zeroed();
                        bt_read_local(proto, i, &mut local);
                        (local.name.read(), local.start as u32, local.end as u32, local.reg as u8)
                    })
                    .collect(),
                constants: (0..raw.constants_len).map(|i| self.constant(proto, i)).collect(),
                upvalue_names: (0..raw.names_len).map(|i| bt_upvalue_name(proto, i).read()).collect(),
                upvalues: raw.upvalues as usize,
                parameters: raw.parameters,
                vararg: raw.vararg != 0,
                stack: raw.stack,
            }
        }
    }

    fn constant(self, proto: *const Proto, index: c_int) -> Constant {
        unsafe {
            let mut raw: RawConstant = std::mem::zeroed();
            bt_read_constant(proto, index, &mut raw);
            match raw.kind {
                0 => Constant::Nil,
                1 => Constant::Boolean(raw.bits != 0),
                2 => Constant::Number(raw.bits),
                3 => Constant::Text(raw.text.read()),
                4 => Constant::Function(raw.bits as usize as *mut Proto),
                _ => Constant::Other(raw.bits),
            }
        }
    }

    pub fn line(self, proto: *mut Proto, pc: u32) -> u32 {
        unsafe { bt_line(proto, pc as c_int).max(0) as u32 }
    }

    pub fn op_length(self, op: u8) -> usize {
        unsafe { bt_op_length(c_int::from(op)) as usize }
    }

    pub fn set_id(self, proto: *mut Proto, id: u64) {
        unsafe { bt_set_id(proto, id) }
    }

    /// Has messages name the text of these prototypes `source`; false without memory.
    pub fn set_source(self, protos: &[*mut Proto], source: &str) -> bool {
        if protos.is_empty() {
            return true;
        }
        let named = unsafe {
            crate::luau::protect(self.L, |L| {
                crate::luau::value::push_str(L, source);
                for &proto in protos {
                    bt_set_source(L, proto, -1);
                }
            })
        };
        named.is_ok()
    }

    /// `child` has the same upvalues, captured in the same way, as the one before.
    pub fn set_child(self, proto: *mut Proto, index: usize, child: *mut Proto) {
        unsafe { bt_set_child(self.L, proto, index as c_int, child) }
    }

    /// The constant that the instruction at this word loads into a register.
    pub fn loaded_constant(self, proto: *const Proto, pc: u32) -> Option<Slot> {
        let mut slot = Slot::default();
        (unsafe { bt_loaded_constant(proto, pc as c_int, &mut slot) } != 0).then_some(slot)
    }

    pub fn is_cell(self, slot: &Slot) -> bool {
        unsafe { bt_is_cell(slot) != 0 }
    }

    /// The value in a slot, or in its cell.
    pub fn value(self, vm: &Vm, slot: &Slot) -> Value {
        let mut slot = *slot;
        let pushed = unsafe {
            vm.lua().exec_raw::<Value>((), |L| {
                luaL_checkstack(L, 1, std::ptr::null());
                bt_push(L, &mut slot);
            })
        };
        pushed.unwrap_or(Value::Nil)
    }

    /// The value of a register of a suspended frame.
    pub fn register(self, vm: &Vm, thread: *mut lua_State, frame: c_int, reg: u8) -> Value {
        let pushed = unsafe {
            vm.lua().exec_raw::<Value>((), |L| {
                luaL_checkstack(L, 1, std::ptr::null());
                bt_push_register(L, thread, frame, c_int::from(reg));
            })
        };
        pushed.unwrap_or(Value::Nil)
    }

    /// The value as a slot without a cell has it. The caller keeps it alive.
    pub fn slot_of(self, vm: &Vm, value: &Value) -> Slot {
        let mut slot = Slot::default();
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(value, |L| {
                bt_value_at(L, 1, &mut slot);
                lua_settop(L, 0);
            })
        };
        if pushed.is_err() { Slot::default() } else { slot }
    }

    /// Sets what a cell holds.
    pub fn set_cell(self, vm: &Vm, cell: &Slot, value: &Value) {
        let mut cell = *cell;
        let set = unsafe {
            vm.lua().exec_raw::<()>(value, |L| {
                bt_set_cell(L, &mut cell, 1);
                lua_settop(L, 0);
            })
        };
        if let Err(error) = set {
            tracing::error!("reload: an outer variable could not be set: {error}");
        }
    }

    /// A cell with this value; `None` without memory.
    pub fn new_cell(self, vm: &Vm, value: &Value) -> Option<Slot> {
        let mut slot = Slot::default();
        let mut made = false;
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(value, |L| {
                made = bt_new_cell(L, 1, &mut slot) != 0;
                lua_settop(L, 0);
            })
        };
        (pushed.is_ok() && made).then_some(slot)
    }

    pub fn slot_count(self, closure: *const Closure) -> usize {
        unsafe { bt_closure_slots(closure) as usize }
    }

    pub fn slot(self, closure: *const Closure, index: usize) -> Slot {
        let mut slot = Slot::default();
        unsafe { bt_slot(closure, index as c_int, &mut slot) };
        slot
    }

    pub fn set_slot(self, closure: *mut Closure, index: usize, mut slot: Slot) {
        unsafe { bt_set_slot(self.L, closure, index as c_int, &mut slot) }
    }

    /// `proto` has as many upvalues as the closure has slots.
    pub fn repoint(self, closure: *mut Closure, proto: *mut Proto) {
        unsafe { bt_repoint(self.L, closure, proto) }
    }

    pub fn environment(self, closure: *const Closure) -> *mut Environment {
        unsafe { bt_environment(closure) }
    }

    pub fn set_environment(self, closure: *mut Closure, env: *mut Environment) {
        unsafe { bt_set_environment(self.L, closure, env) }
    }

    /// A closure of `proto` with the environment of `like` and empty slots; `None` without memory.
    pub fn new_closure(self, proto: *mut Proto, like: *const Closure) -> Option<*mut Closure> {
        let closure = unsafe { bt_new_closure(self.L, proto, like) };
        (!closure.is_null()).then_some(closure)
    }

    /// A closure that is as `closure` is now; `None` without memory.
    pub fn clone_closure(self, closure: *mut Closure) -> Option<*mut Closure> {
        let clone = self.new_closure(self.proto_of(closure), closure)?;
        for index in 0..self.slot_count(closure) {
            self.set_slot(clone, index, self.slot(closure, index));
        }
        Some(clone)
    }

    /// A prototype that calls `to`, for closures with so many slots. `stub` is a function that was loaded
    /// for this alone and calls its only string constant; it becomes one of `other`, without upvalues too.
    pub fn make_forwarder(
        self,
        vm: &Vm,
        stub: &Function,
        other: *mut Proto,
        to: *mut Closure,
        slots: usize,
    ) -> Option<*mut Proto> {
        let mut proto = std::ptr::null_mut();
        let pushed = unsafe {
            vm.lua().exec_raw::<()>(stub, |L| {
                proto = bt_make_forwarder(L, 1, other, to, slots as c_int);
                lua_settop(L, 0);
            })
        };
        (pushed.is_ok() && !proto.is_null()).then_some(proto)
    }

    /// Has a prototype that nothing runs yet find its upvalues at `places` of `slots`; false without memory.
    pub fn relocate_upvalues(self, proto: *mut Proto, places: &[u8], slots: usize) -> bool {
        unsafe { bt_relocate_upvalues(self.L, proto, places.as_ptr(), slots as c_int) != 0 }
    }

    /// Both were loaded from the same text.
    pub fn share_children(self, proto: *mut Proto, like: *const Proto) {
        unsafe { bt_share_children(self.L, proto, like) }
    }

    /// The closures among the constants of a prototype, and the numbers of the constants.
    pub fn templates(self, proto: *const Proto) -> Vec<(c_int, *mut Closure)> {
        unsafe {
            let mut raw: RawProto = std::mem::zeroed();
            bt_read_proto(proto, &mut raw);
            (0..raw.constants_len)
                .map(|index| (index, bt_template(proto, index)))
                .filter(|(_, closure)| !closure.is_null())
                .collect()
        }
    }

    /// Puts a closure in the place of one among the constants; `unused` if no code has filled its slots.
    pub fn set_template(self, proto: *mut Proto, index: c_int, closure: *mut Closure, unused: bool) {
        unsafe { bt_set_template(self.L, proto, index, closure, c_int::from(unused)) }
    }

    pub fn thread(self, thread: *mut lua_State) -> ThreadState {
        let mut state = ThreadState::default();
        unsafe { bt_read_thread(thread, &mut state) };
        state
    }

    /// `frame` counts from 1, the outermost, to the number of frames of the thread.
    pub fn frame(self, thread: *mut lua_State, frame: c_int) -> Frame {
        unsafe {
            let mut out: Frame = std::mem::zeroed();
            bt_read_frame(thread, frame, &mut out);
            out
        }
    }

    /// The coroutine that a function of `coroutine.wrap` resumes.
    pub fn wrapped_thread(self, native: *const Closure) -> Option<*mut lua_State> {
        let thread = unsafe { bt_wrapped_thread(native) };
        (!thread.is_null()).then_some(thread)
    }

    pub fn has_continuation(self, native: *const Closure) -> bool {
        unsafe { bt_has_continuation(native) != 0 }
    }

    /// The registers of a frame that open upvalues refer to.
    pub fn open_registers(self, thread: *mut lua_State, frame: c_int) -> super::code::Registers {
        let mut bits = [0; 4];
        unsafe { bt_open_registers(thread, frame, bits.as_mut_ptr()) };
        super::code::Registers::from_bits(bits)
    }

    /// The value of a register as a slot without a cell has it.
    #[cfg(test)]
    pub fn register_slot(self, thread: *mut lua_State, frame: c_int, reg: u8) -> Slot {
        let mut slot = Slot::default();
        unsafe {
            bt_push_register(self.L, thread, frame, c_int::from(reg));
            bt_value_at(self.L, -1, &mut slot);
            lua_settop(self.L, -2);
        }
        slot
    }

    pub fn register_is(self, thread: *mut lua_State, frame: c_int, reg: u8, slot: &Slot) -> bool {
        let mut slot = *slot;
        unsafe { bt_register_is(thread, frame, c_int::from(reg), &mut slot) != 0 }
    }

    /// Makes room for `size` values on a suspended coroutine; false without memory.
    pub fn reserve(self, thread: *mut lua_State, size: c_int) -> bool {
        unsafe { bt_reserve(thread, size) != 0 }
    }

    /// The closure runs the same prototype as the one before.
    pub fn set_frame_closure(self, thread: *mut lua_State, frame: c_int, closure: *mut Closure) {
        unsafe { bt_set_frame_closure(self.L, thread, frame, closure) }
    }

    /// Moves a suspended frame to word `pc` of `code`, which `closure` runs or will run when all is done.
    /// `old_registers` is where the call that it waits in has its function, or the whole frame if it is
    /// the innermost one. Room was reserved; the sources of open registers rise as their registers do.
    #[allow(clippy::too_many_arguments)]
    pub fn move_frame(
        self,
        thread: *mut lua_State,
        frame: c_int,
        closure: *mut Closure,
        code: *mut Proto,
        pc: u32,
        old_registers: u8,
        results: c_int,
        sources: &[Source],
    ) {
        let raw: Vec<RawSource> = sources
            .iter()
            .map(|source| match *source {
                Source::Nil => RawSource { kind: 0, reg: 0, value: Slot::default() },
                Source::Register(reg) => RawSource { kind: 1, reg: c_int::from(reg), value: Slot::default() },
                Source::Value(value) => RawSource { kind: 2, reg: 0, value },
            })
            .collect();
        unsafe {
            bt_move_frame(
                self.L,
                thread,
                frame,
                closure,
                code,
                pc as c_int,
                c_int::from(old_registers),
                results,
                raw.as_ptr(),
                raw.len() as c_int,
            );
        }
    }

    /// Suspends a failed coroutine at word `pc` of a frame, which keeps its first `registers`; false
    /// without memory.
    pub fn park(self, thread: *mut lua_State, frame: c_int, pc: u32, registers: u8) -> bool {
        unsafe { bt_park(self.L, thread, frame, pc as c_int, c_int::from(registers)) != 0 }
    }

    /// Suspends a failed coroutine in the C function of `frame`, which has a continuation.
    pub fn park_in_call(self, thread: *mut lua_State, frame: c_int) {
        unsafe { bt_park_in_call(thread, frame) }
    }
}
