//! What was nil where a script has failed, by its name there. The VM says `attempt to call a nil value` or `attempt to
//! index nil with 'x'`, and no more.

use super::code::{Body, Instruction, op, text_constant};
use super::internals::{Frame, Internals, ProtoFacts};
use super::park::innermost_failed;
use crate::luau::Vm;
use crate::luau::ffi::lua_State;
use crate::nearest::did_you_mean;
use mlua::{Table, Value};
use std::ffi::c_int;

/// What scripts of other engines call, and what they would call here.
const ELSEWHERE: [(&str, &str); 5] = [
    ("wait", "synchro.sleep(seconds)"),
    ("sleep", "synchro.sleep(seconds)"),
    ("delay", "synchro.sleep(seconds) in a self:spawn(f)"),
    ("spawn", "self:spawn(f)"),
    ("task", "synchro.sleep(seconds) and self:spawn(f)"),
];

/// How far the globals of scripts are behind tables of their own.
const DEEPEST: usize = 4;

/// What was told last: ten thousand tasklets that fail at one place look for its name once.
pub(super) struct Told {
    /// The prototype, by its id, and the position in it.
    at: (u64, c_int),
    hint: String,
}

impl Vm {
    /// What to add to the message of a body that has failed because something was nil:
    /// `: there is no global 'prnt' (did you mean 'print'?)`. Empty where that has no name, and for other messages.
    /// So many frames are above the one that has failed.
    pub(crate) fn name_nil(&self, body: *mut lua_State, above: c_int, message: &str) -> String {
        let called = message.ends_with("attempt to call a nil value");
        if !called && !message.contains("attempt to index nil with ") {
            return String::new();
        }
        let Ok(live) = self.live.try_borrow() else { return String::new() };
        if !live.works {
            return String::new();
        }
        let internals = Internals::for_reading(self);
        let (_, thread) = innermost_failed(internals, body);
        let number = internals.thread(thread).frames - above;
        if number <= 0 {
            return String::new();
        }
        let frame = internals.frame(thread, number);
        let at = (frame.id, frame.pc);
        match &live.told_callee {
            Some(told) if told.at == at && frame.id != 0 => return told.hint.clone(),
            _ => drop(live),
        }
        let failed = Failed::of(internals, frame).filter(|failed| failed.is_call() == called);
        let hint = failed.and_then(|failed| failed.hint(self, thread, number));
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

/// An instruction that has failed.
struct Failed {
    internals: Internals,
    frame: Frame,
    facts: ProtoFacts,
    body: Body,
    /// The number of its instruction.
    index: usize,
}

impl Failed {
    fn of(internals: Internals, frame: Frame) -> Option<Self> {
        if !frame.is_script() {
            return None;
        }
        let facts = internals.read_proto(frame.proto);
        let body = Body::new(internals, &facts);
        let index = body.before(frame.pc as u32)?;
        Some(Self { internals, frame, facts, body, index })
    }

    fn is_call(&self) -> bool {
        self.body.instructions[self.index].op == op::CALL
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
        let failed = self.body.instructions[self.index];
        let (index, source) = match failed.op {
            op::CALL => self.setter(failed.a(), self.index)?,
            // It reads several fields at once.
            op::GETIMPORT => (self.index, failed),
            op::GETTABLE
            | op::GETTABLEKS
            | op::GETTABLEN
            | op::NAMECALL
            | op::SETTABLE
            | op::SETTABLEKS
            | op::SETTABLEN => {
                if let Some(name) = self.local(failed.b()) {
                    return Some(format!(": '{name}' is nil"));
                }
                self.setter(failed.b(), self.index)?
            }
            _ => return None,
        };
        match source.op {
            op::GETGLOBAL => Some(missing_global(vm, text_constant(&self.facts, source.aux))),
            op::GETIMPORT => {
                let part = |n: u32| text_constant(&self.facts, source.aux >> (20 - 10 * n) & 0x3ff);
                let path: Vec<&str> = (0..source.aux >> 30).map(part).collect();
                let (first, fields) = path.split_first()?;
                let Some((_, mut of)) = vm.global_names().into_iter().find(|(name, _)| name == first) else {
                    return Some(missing_global(vm, first));
                };
                for (n, name) in fields.iter().enumerate() {
                    match field(&of, name) {
                        Some(value) if !value.is_nil() => of = value,
                        _ => return Some(missing_field(&path[..=n].join("."), Some(&of), name)),
                    }
                }
                None
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
    let mut names = globals.iter().map(|(name, _)| name.as_str());
    if let Some((_, here)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name)
        && names.clone().any(|name| name == "synchro")
    {
        return format!(": there is no global '{name}'; here that is {here}");
    }
    format!(": there is no global '{name}'{}", did_you_mean(name, &mut names))
}

fn missing_field(of: &str, value: Option<&Value>, name: &str) -> String {
    let known = match value {
        Some(Value::Table(table)) => entries(table),
        _ => Vec::new(),
    };
    let names = known.iter().map(|(name, _)| name.as_str());
    format!(": '{of}' has no '{name}'{}", did_you_mean(name, names))
}

fn field(of: &Value, name: &str) -> Option<Value> {
    of.as_table()?.raw_get(name).ok()
}

/// What is in a table by names, without what its metatable adds.
fn entries(table: &Table) -> Vec<(String, Value)> {
    let pairs = table.pairs::<Value, Value>().filter_map(Result::ok);
    pairs.filter_map(|(key, value)| Some((key.as_string()?.to_str().ok()?.to_owned(), value))).collect()
}
