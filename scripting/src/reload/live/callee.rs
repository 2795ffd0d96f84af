//! What a failed call was to call, by its name there. The VM says `attempt to call a nil value` and no more.

use super::code::{Body, Instruction, op, text_constant};
use super::internals::{Frame, Internals, ProtoFacts};
use super::park::innermost_failed;
use crate::luau::Vm;
use crate::luau::ffi::lua_State;
use crate::nearest::did_you_mean;
use mlua::{Table, Value};
use std::ffi::c_int;

/// How far the globals of scripts are behind tables of their own.
const DEEPEST: usize = 4;

/// What was told last: ten thousand tasklets that fail at one place look for its name once.
pub(super) struct Told {
    /// The prototype, by its id, and the position in it.
    at: (u64, c_int),
    hint: String,
}

impl Vm {
    /// What to add to the message of a body that has failed because it has called nothing:
    /// `: there is no global 'prnt' (did you mean 'print'?)`. Empty where that has no name.
    pub(crate) fn name_callee(&self, body: *mut lua_State) -> String {
        let Ok(live) = self.live.try_borrow() else { return String::new() };
        if !live.works {
            return String::new();
        }
        let internals = Internals::for_reading(self);
        let (_, thread) = innermost_failed(internals, body);
        let number = internals.thread(thread).frames;
        if number == 0 {
            return String::new();
        }
        let frame = internals.frame(thread, number);
        let at = (frame.id, frame.pc);
        match &live.told_callee {
            Some(told) if told.at == at && frame.id != 0 => return told.hint.clone(),
            _ => drop(live),
        }
        let hint = Call::of(internals, frame).and_then(|call| call.hint(self, thread, number));
        let hint = hint.unwrap_or_default();
        if let Ok(mut live) = self.live.try_borrow_mut() {
            live.told_callee = Some(Told { at, hint: hint.clone() });
        }
        hint
    }

    /// Global names of scripts, and their values.
    fn global_names(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        let mut table = Some(self.lua().globals());
        for _ in 0..DEEPEST {
            let Some(globals) = table else { break };
            found.extend(entries(&globals));
            table = globals.metatable().and_then(|meta| meta.raw_get::<Table>("__index").ok());
        }
        found
    }
}

/// A call that has failed.
struct Call {
    internals: Internals,
    frame: Frame,
    facts: ProtoFacts,
    body: Body,
    /// The number of its instruction.
    index: usize,
}

impl Call {
    fn of(internals: Internals, frame: Frame) -> Option<Self> {
        if !frame.is_script() {
            return None;
        }
        let facts = internals.read_proto(frame.proto);
        let body = Body::new(internals, &facts);
        let index = body.before(frame.pc as u32)?;
        (body.instructions[index].op == op::CALL).then_some(Self { internals, frame, facts, body, index })
    }

    /// The instruction before that one that has set a register.
    fn setter(&self, register: u8, before: usize) -> Option<(usize, Instruction)> {
        let before = self.body.instructions[..before].iter().enumerate().rev();
        for (index, instruction) in before {
            if instruction.effects()?.1.has(register) {
                return Some((index, *instruction));
            }
        }
        None
    }

    /// The local that is in a register at the call.
    fn local(&self, register: u8) -> Option<&str> {
        let pc = self.body.instructions[self.index].pc;
        let local = self.body.alive(pc).find(|&local| self.body.locals[local].register == register)?;
        Some(&self.body.locals[local].name)
    }

    fn hint(&self, vm: &Vm, thread: *mut lua_State, number: c_int) -> Option<String> {
        let (index, source) = self.setter(self.body.instructions[self.index].a(), self.index)?;
        match source.op {
            op::GETGLOBAL => Some(missing_global(vm, text_constant(&self.facts, source.aux))),
            op::GETIMPORT => {
                let count = source.aux >> 30;
                let part = |n: u32| text_constant(&self.facts, source.aux >> (20 - 10 * n) & 0x3ff);
                let Some(last) = count.checked_sub(1).filter(|&last| last > 0) else {
                    return Some(missing_global(vm, part(0)));
                };
                let globals = vm.global_names();
                let of = globals.into_iter().find(|(name, _)| name == part(0)).map(|(_, value)| value);
                let of = (1..last).fold(of, |of, n| field(of.as_ref(), part(n)));
                let path: Vec<&str> = (0..last).map(part).collect();
                Some(missing_field(&path.join("."), of.as_ref(), part(last)))
            }
            op::GETTABLEKS | op::GETUDATAKS => {
                let key = text_constant(&self.facts, super::code::key_of(&source));
                let (name, of) = self.object(vm, thread, number, index, source.b())?;
                Some(missing_field(&name, of.as_ref(), key))
            }
            op::MOVE => self.local(source.b()).map(|name| format!(": '{name}' is nil")),
            op::GETUPVAL => {
                let name = &self.body.upvalues.get(usize::from(source.b()))?.name;
                Some(format!(": '{name}' is nil"))
            }
            _ => None,
        }
    }

    /// What a field was read from: its name, and what it is if that is still known.
    fn object(
        &self,
        vm: &Vm,
        thread: *mut lua_State,
        number: c_int,
        index: usize,
        register: u8,
    ) -> Option<(String, Option<Value>)> {
        if let Some(name) = self.local(register) {
            return Some((name.to_owned(), Some(self.internals.register(vm, thread, number, register))));
        }
        let (_, source) = self.setter(register, index)?;
        match source.op {
            op::GETUPVAL => {
                let upvalue = usize::from(source.b());
                let name = self.body.upvalues.get(upvalue)?.name.clone();
                let slot = self.internals.slot(self.frame.closure, upvalue);
                Some((name, Some(self.internals.value(vm, &slot))))
            }
            op::GETGLOBAL => Some((text_constant(&self.facts, source.aux).to_owned(), None)),
            op::GETTABLEKS => Some((text_constant(&self.facts, source.aux).to_owned(), None)),
            _ => None,
        }
    }
}

fn missing_global(vm: &Vm, name: &str) -> String {
    let globals = vm.global_names();
    let names = globals.iter().map(|(name, _)| name.as_str());
    format!(": there is no global '{name}'{}", did_you_mean(name, names))
}

fn missing_field(of: &str, value: Option<&Value>, name: &str) -> String {
    let known = match value {
        Some(Value::Table(table)) => entries(table),
        _ => Vec::new(),
    };
    let names = known.iter().map(|(name, _)| name.as_str());
    format!(": '{of}' has no '{name}'{}", did_you_mean(name, names))
}

fn field(of: Option<&Value>, name: &str) -> Option<Value> {
    of?.as_table()?.raw_get(name).ok()
}

/// What is in a table by names, without what its metatable adds.
fn entries(table: &Table) -> Vec<(String, Value)> {
    let pairs = table.pairs::<Value, Value>().filter_map(Result::ok);
    pairs.filter_map(|(key, value)| Some((key.as_string()?.to_str().ok()?.to_owned(), value))).collect()
}
