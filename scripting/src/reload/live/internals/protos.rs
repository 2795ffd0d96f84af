//! Prototypes: what a function's code is.

use super::raw::*;
use super::{Internals, Slot};
use std::ffi::c_int;

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

/// What a prototype says of itself, where it says it.
fn raw_proto(proto: *const Proto) -> RawProto {
    let mut raw = RawProto::default();
    // SAFETY: a living prototype (2), and a place for what is read.
    unsafe { bluetick_read_proto(proto, &mut raw) };
    raw
}

/// The elements of an array of a living prototype.
fn array<T: Copy>(first: *const T, count: c_int) -> Vec<T> {
    if first.is_null() {
        return Vec::new();
    }
    // SAFETY: pointer and count are of one array of a living prototype (2), and nothing writes to it now.
    unsafe { std::slice::from_raw_parts(first, count as usize) }.to_vec()
}

impl Internals {
    /// What the closure runs.
    pub fn proto_of(self, closure: *mut Closure) -> *mut Proto {
        // SAFETY: a living closure of a script (2).
        unsafe { bluetick_proto_of(closure) }
    }

    /// The id of what the closure runs.
    pub fn id_of(self, closure: *mut Closure) -> u64 {
        raw_proto(self.proto_of(closure)).id
    }

    /// A main function's prototype and all below it, each before those that it makes.
    pub fn protos(self, main: *mut Proto) -> Vec<*mut Proto> {
        let mut protos = vec![main];
        let mut next = 0;
        while next < protos.len() {
            let raw = raw_proto(protos[next]);
            protos.extend(array(raw.children, raw.children_len));
            next += 1;
        }
        protos
    }

    /// All that a prototype says of itself.
    pub fn read_proto(self, proto: *const Proto) -> ProtoFacts {
        let raw = raw_proto(proto);
        let local = |index| {
            let mut local = RawLocal::default();
            // SAFETY: a living prototype (2), and a number below its count of locals (5).
            unsafe { bluetick_read_local(proto, index, &mut local) };
            (local.name.read(), local.start as u32, local.end as u32, local.reg as u8)
        };
        // SAFETY: a living prototype (2), and a number below its count of names (5).
        let upvalue_name = |index| unsafe { bluetick_upvalue_name(proto, index) }.read();
        ProtoFacts {
            name: raw.name.read(),
            words: array(raw.code, raw.code_len),
            plain_ops: array(raw.plain_ops, raw.code_len),
            children: array(raw.children, raw.children_len),
            locals: (0..raw.locals_len).map(local).collect(),
            constants: (0..raw.constants_len).map(|index| constant(proto, index)).collect(),
            upvalue_names: (0..raw.names_len).map(upvalue_name).collect(),
            upvalues: raw.upvalues as usize,
            parameters: raw.parameters,
            vararg: raw.vararg != 0,
            stack: raw.stack,
        }
    }

    /// The line of the word `pc`.
    pub fn line(self, proto: *mut Proto, pc: u32) -> u32 {
        // SAFETY: a living prototype (2); `pc` is a word of its code (5).
        unsafe { bluetick_line(proto, pc as c_int).max(0) as u32 }
    }

    /// The opcode of the instruction that the word before `pc` belongs to.
    pub fn op_before(self, proto: *const Proto, pc: u32) -> u8 {
        // SAFETY: a living prototype (2); `pc` is a position in its code (5), and code begins with an instruction.
        unsafe { bluetick_op_before(proto, pc as c_int) as u8 }
    }

    /// How many words an instruction has.
    pub fn op_length(self, op: u8) -> usize {
        // SAFETY: a table look-up, for any number.
        unsafe { bluetick_op_length(c_int::from(op)) as usize }
    }

    /// Gives it a number by which it is known again.
    pub fn set_id(self, proto: *mut Proto, id: u64) {
        // SAFETY: a living prototype (2); the VM itself never reads the field.
        unsafe { bluetick_set_id(proto, id) }
    }

    /// Has messages name the text of these prototypes `source`; false without memory.
    pub fn set_source(self, protos: &[*mut Proto], source: &str) -> bool {
        if protos.is_empty() {
            return true;
        }
        // SAFETY: the helper's stack is the protected call's alone. Only the push may raise, and nothing
        // in the block has a destructor (3). The prototypes are alive (2), and the string is on top.
        let named = unsafe {
            crate::luau::protect(self.L, |L| {
                crate::luau::value::push_str(L, source);
                for &proto in protos {
                    bluetick_set_source(L, proto, -1);
                }
            })
        };
        named.is_ok()
    }

    /// Has `proto` make another function. `child` has the same upvalues, captured in the same way, as the one
    /// before.
    pub fn set_child(self, proto: *mut Proto, index: usize, child: *mut Proto) {
        // SAFETY: living prototypes (2), a number below the count of children (5); the barrier is there (4).
        // That the captures fit the child is the caller's.
        unsafe { bluetick_set_child(self.L, proto, index as c_int, child) }
    }

    /// The constant that the instruction at this word loads into a register.
    pub fn loaded_constant(self, proto: *const Proto, pc: u32) -> Option<Slot> {
        let mut slot = Slot::default();
        // SAFETY: a living prototype (2); `pc` is the first word of one of its instructions (5).
        (unsafe { bluetick_loaded_constant(proto, pc as c_int, &mut slot) } != 0).then_some(slot)
    }

    /// Has a prototype that nothing runs yet find its upvalues at `places` of `slots`; false without memory.
    pub fn relocate_upvalues(self, proto: *mut Proto, places: &[u8], slots: usize) -> bool {
        // SAFETY: a living prototype (2) of `places.len()` upvalues, each place below `slots`: both are of the
        // same plan of a closure. No frame is in the code that is changed, as it was just loaded.
        unsafe { bluetick_relocate_upvalues(self.L, proto, places.as_ptr(), slots as c_int) != 0 }
    }

    /// Has `proto` make what `like` makes. Both were loaded from the same text.
    pub fn share_children(self, proto: *mut Proto, like: *const Proto) {
        // SAFETY: living prototypes (2), which have as many children and constants, as their text is the same;
        // barriers are there (4).
        unsafe { bluetick_share_children(self.L, proto, like) }
    }

    /// The closures among the constants of a prototype, and the numbers of the constants.
    pub fn templates(self, proto: *const Proto) -> Vec<(c_int, *mut Closure)> {
        // SAFETY: a living prototype (2), and a number below its count of constants (5).
        let template = |index| (index, unsafe { bluetick_template(proto, index) });
        let raw = raw_proto(proto);
        (0..raw.constants_len).map(template).filter(|(_, closure)| !closure.is_null()).collect()
    }

    /// Puts a closure in the place of one among the constants; `unused` if no code has filled its slots.
    pub fn set_template(self, proto: *mut Proto, index: c_int, closure: *mut Closure, unused: bool) {
        // SAFETY: both are alive (2), the number came from `templates` (5), the barrier is there (4). The
        // closure is a clone of the one that was there, so it has the same upvalues.
        unsafe { bluetick_set_template(self.L, proto, index, closure, c_int::from(unused)) }
    }
}

fn constant(proto: *const Proto, index: c_int) -> Constant {
    let mut raw = RawConstant::default();
    // SAFETY: a living prototype (2), and a number below its count of constants (5).
    unsafe { bluetick_read_constant(proto, index, &mut raw) };
    match raw.kind {
        0 => Constant::Nil,
        1 => Constant::Boolean(raw.bits != 0),
        2 => Constant::Number(raw.bits),
        3 => Constant::Text(raw.text.read()),
        4 => Constant::Function(raw.bits as usize as *mut Proto),
        _ => Constant::Other(raw.bits),
    }
}
