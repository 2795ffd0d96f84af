//! The text of a module as the VM runs it, read into plain data: functions, instructions, variables.

use super::internals::{Constant, Internals, Proto, ProtoFacts, Slot};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Opcodes; `internals.cpp` checks that the VM numbers them so.
pub(super) mod op {
    pub const LOADNIL: u8 = 2;
    pub const LOADB: u8 = 3;
    pub const LOADN: u8 = 4;
    pub const LOADK: u8 = 5;
    pub const MOVE: u8 = 6;
    pub const GETGLOBAL: u8 = 7;
    pub const SETGLOBAL: u8 = 8;
    pub const GETUPVAL: u8 = 9;
    pub const SETUPVAL: u8 = 10;
    pub const CLOSEUPVALS: u8 = 11;
    pub const GETIMPORT: u8 = 12;
    pub const GETTABLE: u8 = 13;
    pub const SETTABLE: u8 = 14;
    pub const GETTABLEKS: u8 = 15;
    pub const SETTABLEKS: u8 = 16;
    pub const GETTABLEN: u8 = 17;
    pub const SETTABLEN: u8 = 18;
    pub const NEWCLOSURE: u8 = 19;
    pub const NAMECALL: u8 = 20;
    pub const CALL: u8 = 21;
    pub const RETURN: u8 = 22;
    pub const JUMP: u8 = 23;
    pub const JUMPBACK: u8 = 24;
    pub const JUMPIF: u8 = 25;
    pub const JUMPIFNOT: u8 = 26;
    pub const JUMPIFEQ: u8 = 27;
    pub const JUMPIFNOTLT: u8 = 32;
    pub const ADD: u8 = 33;
    pub const POW: u8 = 38;
    pub const ADDK: u8 = 39;
    pub const POWK: u8 = 44;
    pub const AND: u8 = 45;
    pub const OR: u8 = 46;
    pub const ANDK: u8 = 47;
    pub const ORK: u8 = 48;
    pub const CONCAT: u8 = 49;
    pub const NOT: u8 = 50;
    pub const LENGTH: u8 = 52;
    pub const NEWTABLE: u8 = 53;
    pub const DUPTABLE: u8 = 54;
    pub const SETLIST: u8 = 55;
    pub const FORNPREP: u8 = 56;
    pub const FORNLOOP: u8 = 57;
    pub const FORGLOOP: u8 = 58;
    pub const FORGPREP_INEXT: u8 = 59;
    pub const FASTCALL3: u8 = 60;
    pub const FORGPREP_NEXT: u8 = 61;
    pub const GETVARARGS: u8 = 63;
    pub const DUPCLOSURE: u8 = 64;
    pub const PREPVARARGS: u8 = 65;
    pub const LOADKX: u8 = 66;
    pub const JUMPX: u8 = 67;
    pub const FASTCALL: u8 = 68;
    pub const COVERAGE: u8 = 69;
    pub const CAPTURE: u8 = 70;
    pub const SUBRK: u8 = 71;
    pub const DIVRK: u8 = 72;
    pub const FASTCALL1: u8 = 73;
    pub const FASTCALL2: u8 = 74;
    pub const FASTCALL2K: u8 = 75;
    pub const FORGPREP: u8 = 76;
    pub const JUMPXEQKNIL: u8 = 77;
    pub const JUMPXEQKB: u8 = 78;
    pub const JUMPXEQKN: u8 = 79;
    pub const JUMPXEQKS: u8 = 80;
    pub const IDIV: u8 = 81;
    pub const IDIVK: u8 = 82;
    pub const GETUDATAKS: u8 = 83;
    pub const SETUDATAKS: u8 = 84;
    pub const NAMECALLUDATA: u8 = 85;
}

/// A set of registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Registers([u64; 4]);

impl Registers {
    pub fn from_bits(bits: [u64; 4]) -> Self {
        Self(bits)
    }

    pub fn add(&mut self, register: u8) {
        self.0[register as usize / 64] |= 1 << (register % 64);
    }

    /// Adds those from `first` up to, but not with, `end`.
    pub fn add_range(&mut self, first: u32, end: u32) {
        (first..end.min(256)).for_each(|register| self.add(register as u8));
    }

    pub fn has(&self, register: u8) -> bool {
        self.0[register as usize / 64] & (1 << (register % 64)) != 0
    }

    pub fn union(&mut self, other: &Self) -> bool {
        let before = *self;
        self.0.iter_mut().zip(other.0).for_each(|(mine, others)| *mine |= others);
        *self != before
    }

    pub fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    pub fn below(&self, end: u8) -> Self {
        let mut result = Self::default();
        result.add_range(0, u32::from(end));
        Self(std::array::from_fn(|i| self.0[i] & result.0[i]))
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    pub fn iter(&self) -> impl Iterator<Item = u8> {
        let bits = *self;
        (0..=255).filter(move |&register| bits.has(register))
    }
}

/// An instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    /// Where it begins, in words.
    pub pc: u32,
    pub op: u8,
    word: u32,
    pub aux: u32,
    /// The same for instructions that do the same in the same words of the language.
    pub meaning: u64,
}

impl Instruction {
    pub fn a(&self) -> u8 {
        (self.word >> 8) as u8
    }

    pub fn b(&self) -> u8 {
        (self.word >> 16) as u8
    }

    pub fn c(&self) -> u8 {
        (self.word >> 24) as u8
    }

    pub fn d(&self) -> i32 {
        self.word as i32 >> 16
    }

    fn e(&self) -> i32 {
        self.word as i32 >> 8
    }

    /// The word that it may jump to.
    fn target(&self) -> Option<i64> {
        use op::*;
        let next = i64::from(self.pc) + 1;
        match self.op {
            LOADB if self.c() != 0 => Some(next + i64::from(self.c())),
            JUMP
            | JUMPBACK
            | JUMPIF..=JUMPIFNOTLT
            | FORNPREP
            | FORNLOOP
            | FORGLOOP
            | FORGPREP_INEXT
            | FORGPREP_NEXT
            | FORGPREP
            | JUMPXEQKNIL..=JUMPXEQKS => Some(next + i64::from(self.d())),
            JUMPX => Some(next + i64::from(self.e())),
            _ => None,
        }
    }

    fn falls_through(&self) -> bool {
        use op::*;
        match self.op {
            RETURN | JUMP | JUMPBACK | JUMPX | FORGPREP | FORGPREP_INEXT | FORGPREP_NEXT => false,
            LOADB => self.c() == 0,
            _ => true,
        }
    }

    /// The registers that it reads and those that it sets; `None` for an instruction that scripts
    /// can't have.
    pub fn effects(&self) -> Option<(Registers, Registers)> {
        use op::*;
        let (mut uses, mut sets) = (Registers::default(), Registers::default());
        let (a, b, c) = (u32::from(self.a()), u32::from(self.b()), u32::from(self.c()));
        let aux = |shift: u32| (self.aux >> shift) as u8;
        match self.op {
            0 | CLOSEUPVALS | JUMP | JUMPBACK | JUMPX | PREPVARARGS | COVERAGE | FASTCALL => {}
            LOADNIL | LOADB | LOADN | LOADK | LOADKX | GETGLOBAL | GETUPVAL | GETIMPORT | NEWCLOSURE
            | DUPCLOSURE | NEWTABLE | DUPTABLE => sets.add(self.a()),
            SETGLOBAL | SETUPVAL | JUMPIF | JUMPIFNOT | JUMPXEQKNIL..=JUMPXEQKS => uses.add(self.a()),
            MOVE | GETTABLEKS | GETUDATAKS | GETTABLEN | ADDK..=POWK | IDIVK | ANDK | ORK | NOT..=LENGTH => {
                uses.add(self.b());
                sets.add(self.a());
            }
            GETTABLE | ADD..=POW | IDIV | AND | OR => {
                uses.add(self.b());
                uses.add(self.c());
                sets.add(self.a());
            }
            SUBRK | DIVRK => {
                uses.add(self.c());
                sets.add(self.a());
            }
            SETTABLE => {
                uses.add(self.a());
                uses.add(self.b());
                uses.add(self.c());
            }
            SETTABLEKS | SETUDATAKS | SETTABLEN => {
                uses.add(self.a());
                uses.add(self.b());
            }
            NAMECALL | NAMECALLUDATA => {
                uses.add(self.b());
                sets.add_range(a, a + 2);
            }
            CALL => {
                uses.add_range(a, if b == 0 { 256 } else { a + b });
                sets.add_range(a, 256);
            }
            RETURN => uses.add_range(a, if b == 0 { 256 } else { a + b - 1 }),
            JUMPIFEQ..=JUMPIFNOTLT => {
                uses.add(self.a());
                uses.add(aux(0));
            }
            CONCAT => {
                uses.add_range(b, c + 1);
                sets.add(self.a());
            }
            SETLIST => {
                uses.add(self.a());
                uses.add_range(b, if c == 0 { 256 } else { b + c - 1 });
            }
            FORNPREP => {
                uses.add_range(a, a + 3);
                sets.add_range(a, a + 3);
            }
            FORNLOOP => {
                uses.add_range(a, a + 3);
                sets.add(self.a() + 2);
            }
            FORGPREP | FORGPREP_INEXT | FORGPREP_NEXT => {
                uses.add_range(a, a + 3);
                sets.add_range(a, a + 3);
            }
            FORGLOOP => {
                uses.add_range(a, a + 3);
                sets.add_range(a + 2, 256);
            }
            FASTCALL1 | FASTCALL2K => uses.add(self.b()),
            FASTCALL2 => {
                uses.add(self.b());
                uses.add(aux(0));
            }
            FASTCALL3 => {
                uses.add(self.b());
                uses.add(aux(0));
                uses.add(aux(8));
            }
            GETVARARGS => sets.add_range(a, if b == 0 { 256 } else { a + b - 1 }),
            CAPTURE if self.a() != UPVALUE => uses.add(self.b()),
            CAPTURE => {}
            _ => return None,
        }
        Some((uses, sets))
    }
}

/// A local variable has its cell captured.
pub(super) const BY_REFERENCE: u8 = 1;
/// An outer variable of the creator is captured.
const UPVALUE: u8 = 2;

/// A local variable, and where in its function it is alive.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub name: String,
    /// The first word at which it has its value.
    pub start: u32,
    pub end: u32,
    pub register: u8,
}

impl Local {
    pub fn is_alive(&self, pc: u32) -> bool {
        self.start <= pc && pc < self.end
    }
}

/// The variable that an upvalue stands for: which function declares it, and which of its locals it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Variable {
    pub function: usize,
    pub local: usize,
}

/// An upvalue of a function.
#[derive(Clone, Debug)]
pub(super) struct Upvalue {
    pub name: String,
    /// `None` if that can't be told.
    pub variable: Option<Variable>,
    /// It is assigned to somewhere, so that closures share its cell.
    pub by_reference: bool,
}

/// A loop with hidden registers around a place: the registers begin at `register`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loop {
    /// Its last instruction, by number.
    pub end: usize,
    pub op: u8,
    pub register: u8,
    /// It goes through a list in the way of `ipairs`.
    pub list: bool,
}

/// A function of a module's text.
pub(super) struct Body {
    /// Its place: how its creator names it, or empty.
    pub place: String,
    /// What messages call it.
    pub name: String,
    /// Its creator, and the number of the instruction there that makes it.
    pub creator: Option<(usize, usize)>,
    pub instructions: Vec<Instruction>,
    pub locals: Vec<Local>,
    pub upvalues: Vec<Upvalue>,
    /// The functions that it makes, by the number of the prototype among its children.
    pub children: Vec<usize>,
    pub parameters: u8,
    pub vararg: bool,
    pub stack: u8,
    /// The registers that are read before they are set, at the start of each instruction; empty if that
    /// can't be told.
    live: Vec<Registers>,
}

impl Body {
    /// The instruction that the word `pc` belongs to.
    pub fn at(&self, pc: u32) -> Option<usize> {
        match self.instructions.binary_search_by_key(&pc, |i| i.pc) {
            Ok(found) => Some(found),
            Err(0) => None,
            Err(after) => Some(after - 1),
        }
    }

    /// The instruction behind which execution goes on at the word `pc`.
    pub fn before(&self, pc: u32) -> Option<usize> {
        self.at(pc.checked_sub(1)?)
    }

    /// The word at which the instruction after this one begins.
    pub fn next_pc(&self, index: usize) -> u32 {
        match self.instructions.get(index + 1) {
            Some(next) => next.pc,
            None => self.instructions[index].pc + 1,
        }
    }

    /// The number of the instruction that this one may jump to.
    pub fn target(&self, index: usize) -> Option<usize> {
        let target = u32::try_from(self.instructions[index].target()?).ok()?;
        self.instructions.binary_search_by_key(&target, |i| i.pc).ok()
    }

    /// The registers that will still be read, at the start of an instruction; `None` if that can't be told.
    pub fn live(&self, index: usize) -> Option<Registers> {
        self.live.get(index).copied()
    }

    /// The locals that are alive at a word, by number.
    pub fn alive(&self, pc: u32) -> impl Iterator<Item = usize> {
        let locals = self.locals.iter().enumerate();
        locals.filter(move |(_, local)| local.is_alive(pc)).map(|(index, _)| index)
    }

    /// The first register above the locals that are alive at a word, and above hidden ones of loops.
    pub fn first_temporary(&self, pc: u32) -> u8 {
        let loops = self.loops_at(pc).into_iter().map(|l| l.register + 3);
        let locals = self.alive(pc).map(|local| self.locals[local].register + 1);
        locals.chain(loops).max().unwrap_or(0)
    }

    /// The loops with hidden registers around a word, the outermost first.
    pub fn loops_at(&self, pc: u32) -> Vec<Loop> {
        let mut loops: Vec<Loop> = self
            .instructions
            .iter()
            .enumerate()
            .filter(|(_, i)| matches!(i.op, op::FORNLOOP | op::FORGLOOP))
            .filter(|(_, i)| i.target().is_some_and(|start| start <= i64::from(pc)) && pc <= i.pc)
            .map(|(end, i)| Loop {
                end,
                op: i.op,
                register: i.a(),
                list: i.op == op::FORGLOOP && i.aux >> 31 != 0,
            })
            .collect();
        loops.reverse();
        loops.sort_by_key(|l| l.register);
        loops
    }

    /// How the closures made here capture a local: by reference, by value, or not at all.
    pub fn captured(&self, local: usize) -> Option<u8> {
        let Local { start, end, register, .. } = self.locals[local];
        self.instructions
            .iter()
            .filter(|i| i.op == op::CAPTURE && i.a() != UPVALUE && i.b() == register)
            // A local function captures itself just before it begins to be alive.
            .find(|i| start <= i.pc + 64 && self.variable_captured(i) == Some(local) && i.pc < end)
            .map(|i| i.a())
    }

    /// The local that a capture is of.
    fn variable_captured(&self, capture: &Instruction) -> Option<usize> {
        let register = capture.b();
        let at = |pc: u32| self.alive(pc).filter(|&local| self.locals[local].register == register).last();
        at(capture.pc).or_else(|| {
            let index = self.at(capture.pc)?;
            let rest = &self.instructions[index..];
            let after = rest.iter().find(|i| i.op != op::CAPTURE)?;
            at(after.pc)
        })
    }

    /// The number of the instruction that gives a local its initial value, if that is a constant.
    pub fn initialiser(&self, local: usize) -> Option<usize> {
        let Local { start, register, .. } = self.locals[local];
        let mut index = self.at(start)?;
        if self.instructions[index].pc != start {
            return None;
        }
        // `local a, b, c = 1, 2, 3` is a row of loads, after which all three begin.
        while index > 0 {
            index -= 1;
            let i = &self.instructions[index];
            if !matches!(i.op, op::LOADNIL | op::LOADB | op::LOADN | op::LOADK | op::LOADKX) {
                return None;
            }
            if i.a() == register {
                // A jump into the middle of such a row is the end of a condition.
                let jumped = self.instructions.iter().filter_map(Instruction::target);
                let between = i64::from(i.pc) + 1..=i64::from(start);
                let from_before = |target: i64| between.contains(&target) && target < i64::from(start);
                let skips = i.op == op::LOADB && i.c() != 0;
                return (!skips && !jumped.into_iter().any(from_before)).then_some(index);
            }
        }
        None
    }
}

/// The text of a module.
pub(super) struct Code {
    /// The main one first, each before those that it makes.
    pub bodies: Vec<Body>,
}

impl Code {
    /// Reads a main function's prototype and all below it; also those, in the order of the bodies.
    pub fn read(internals: Internals, main: *mut Proto) -> (Self, Vec<*mut Proto>) {
        let mut protos = vec![main];
        let mut bodies: Vec<Body> = Vec::new();
        let mut captures: Vec<Vec<(u8, u8)>> = vec![Vec::new()];
        let mut next = 0;
        let mut creators = vec![None];
        let mut places = vec![String::new()];
        while next < protos.len() {
            let facts = internals.read_proto(protos[next]);
            let mut body = Body::new(internals, &facts);
            body.creator = creators[next];
            body.place = std::mem::take(&mut places[next]);
            body.children = Vec::with_capacity(facts.children.len());
            for &child in &facts.children {
                body.children.push(protos.len());
                let made = body.maker(child, &facts);
                creators.push(made.map(|index| (next, index)));
                places.push(made.map(|index| body.place_of(index, &facts)).unwrap_or_default());
                captures.push(made.map(|index| body.captures(index)).unwrap_or_default());
                protos.push(child);
            }
            bodies.push(body);
            next += 1;
        }
        for index in 1..bodies.len() {
            for upvalue in 0..bodies[index].upvalues.len() {
                let found = resolve(&bodies, &captures, index, upvalue);
                if let Some((variable, by_reference)) = found {
                    bodies[index].upvalues[upvalue].variable = Some(variable);
                    bodies[index].upvalues[upvalue].by_reference = by_reference;
                }
            }
        }
        (Self { bodies }, protos)
    }

    /// The constant that a local of the top level begins with, from the main function's prototype.
    pub fn initial_value(&self, internals: Internals, main: *const Proto, local: usize) -> Option<Slot> {
        let index = self.bodies[0].initialiser(local)?;
        internals.loaded_constant(main, self.bodies[0].instructions[index].pc)
    }

    /// What people call a local of the top level; unique, other than its name.
    pub fn label(&self, local: usize) -> String {
        let locals = &self.bodies[0].locals;
        let name = &locals[local].name;
        match locals[..local].iter().filter(|other| other.name == *name).count() {
            0 => name.clone(),
            before => format!("{name}#{}", before + 1),
        }
    }
}

/// The variable behind an upvalue: through the creators to the one that declares it.
fn resolve(
    bodies: &[Body],
    captures: &[Vec<(u8, u8)>],
    mut body: usize,
    mut upvalue: usize,
) -> Option<(Variable, bool)> {
    loop {
        let (creator, made) = bodies[body].creator?;
        let &(kind, from) = captures[body].get(upvalue)?;
        if kind == UPVALUE {
            (body, upvalue) = (creator, usize::from(from));
            continue;
        }
        let parent = &bodies[creator];
        let capture = &parent.instructions[made + 1 + upvalue];
        return match parent.variable_captured(capture) {
            Some(local) => Some((Variable { function: creator, local }, kind == BY_REFERENCE)),
            None => Some((constant_around(bodies, creator, &bodies[body].upvalues[upvalue].name)?, false)),
        };
    }
}

/// The local of that name which a function sees around itself: where it is a constant, the compiler doesn't hand
/// it down from creator to creator, but loads the constant where a function that captures it is made.
fn constant_around(bodies: &[Body], mut body: usize, name: &str) -> Option<Variable> {
    loop {
        let (creator, made) = bodies[body].creator?;
        let around = &bodies[creator];
        let pc = around.instructions[made].pc;
        if let Some(local) = around.alive(pc).filter(|&local| around.locals[local].name == name).last() {
            return around.initialiser(local).map(|_| Variable { function: creator, local });
        }
        body = creator;
    }
}

impl Body {
    pub fn new(internals: Internals, facts: &ProtoFacts) -> Self {
        let mut body = Self {
            place: String::new(),
            name: facts.name.clone(),
            creator: None,
            instructions: Vec::new(),
            locals: facts
                .locals
                .iter()
                .map(|(name, start, end, register)| Local {
                    name: name.clone(),
                    start: *start,
                    end: *end,
                    register: *register,
                })
                .collect(),
            upvalues: (0..facts.upvalues)
                .map(|i| Upvalue {
                    name: facts.upvalue_names.get(i).cloned().unwrap_or_default(),
                    variable: None,
                    by_reference: false,
                })
                .collect(),
            children: Vec::new(),
            parameters: facts.parameters,
            vararg: facts.vararg,
            stack: facts.stack,
            live: Vec::new(),
        };
        let mut pc = 0;
        while pc < facts.words.len() {
            let word = facts.words[pc];
            let op = facts.plain_ops.get(pc).copied().unwrap_or(word as u8);
            let length = internals.op_length(op);
            let aux = if length == 2 { facts.words.get(pc + 1).copied().unwrap_or(0) } else { 0 };
            body.instructions.push(Instruction { pc: pc as u32, op, word, aux, meaning: 0 });
            pc += length;
        }
        let meanings: Vec<u64> =
            (0..body.instructions.len()).map(|index| body.meaning(index, facts, 0)).collect();
        for (instruction, meaning) in body.instructions.iter_mut().zip(meanings) {
            instruction.meaning = meaning;
        }
        body.live = body.liveness().unwrap_or_default();
        body
    }

    /// The number of the instruction that makes a child.
    fn maker(&self, child: *mut Proto, facts: &ProtoFacts) -> Option<usize> {
        self.instructions.iter().position(|i| match i.op {
            op::NEWCLOSURE => facts.children.get(i.d() as usize) == Some(&child),
            op::DUPCLOSURE => {
                matches!(facts.constants.get(i.d() as usize), Some(Constant::Function(p)) if *p == child)
            }
            _ => false,
        })
    }

    /// The captures behind an instruction that makes a closure: kind and register or upvalue.
    fn captures(&self, made: usize) -> Vec<(u8, u8)> {
        let rest = self.instructions[made + 1..].iter();
        rest.take_while(|i| i.op == op::CAPTURE).map(|i| (i.a(), i.b())).collect()
    }

    /// How the creator names the function that it makes at this instruction: the local, field, global or outer
    /// variable that it goes to at once.
    fn place_of(&self, made: usize, facts: &ProtoFacts) -> String {
        let register = self.instructions[made].a();
        let mut after = made + 1;
        while self.instructions.get(after).is_some_and(|i| i.op == op::CAPTURE) {
            after += 1;
        }
        let Some(next) = self.instructions.get(after) else { return String::new() };
        let local = self.locals.iter().find(|l| l.start == next.pc && l.register == register);
        if let Some(local) = local {
            return format!("local {}", local.name);
        }
        if next.a() != register {
            return String::new();
        }
        match next.op {
            op::SETTABLEKS | op::SETUDATAKS => {
                let table = self.alive(next.pc).find(|&l| self.locals[l].register == next.b());
                let table = table.map_or("?", |l| &self.locals[l].name);
                format!("field {table}.{}", text_constant(facts, key_of(next)))
            }
            op::SETGLOBAL => format!("global {}", text_constant(facts, next.aux)),
            op::SETUPVAL => {
                let name = self.upvalues.get(usize::from(next.b())).map_or("?", |u| &u.name);
                format!("outer {name}")
            }
            _ => String::new(),
        }
    }

    /// A number for what an instruction means: registers by the names of locals, constants by value,
    /// upvalues by name. Calls mean what they call, too.
    fn meaning(&self, index: usize, facts: &ProtoFacts, depth: usize) -> u64 {
        use op::*;
        let i = &self.instructions[index];
        let mut hash = DefaultHasher::new();
        let plain = match i.op {
            GETUDATAKS => GETTABLEKS,
            SETUDATAKS => SETTABLEKS,
            NAMECALLUDATA => NAMECALL,
            op => op,
        };
        plain.hash(&mut hash);
        let read = |register: u8, hash: &mut DefaultHasher| self.register_meaning(register, i.pc).hash(hash);
        // A local that begins behind the instruction counts as a temporary still: it may have been renamed.
        let set = read;
        let constant = |index: u32, hash: &mut DefaultHasher| hash_constant(facts, index, hash);
        match plain {
            0 | JUMP | JUMPBACK | JUMPX | COVERAGE | PREPVARARGS => {}
            LOADNIL => set(i.a(), &mut hash),
            LOADB => {
                set(i.a(), &mut hash);
                i.b().hash(&mut hash);
            }
            LOADN => {
                set(i.a(), &mut hash);
                i.d().hash(&mut hash);
            }
            LOADK | DUPTABLE => {
                set(i.a(), &mut hash);
                constant(i.d() as u32, &mut hash);
            }
            LOADKX => {
                set(i.a(), &mut hash);
                constant(i.aux, &mut hash);
            }
            NEWCLOSURE => {
                set(i.a(), &mut hash);
                self.place_of(index, facts).hash(&mut hash);
            }
            DUPCLOSURE => {
                // The compiler chooses between the two by what the function captures.
                hash = DefaultHasher::new();
                NEWCLOSURE.hash(&mut hash);
                set(i.a(), &mut hash);
                self.place_of(index, facts).hash(&mut hash);
            }
            GETGLOBAL | SETGLOBAL => {
                set(i.a(), &mut hash);
                constant(i.aux, &mut hash);
            }
            GETIMPORT => {
                set(i.a(), &mut hash);
                for part in 0..i.aux >> 30 {
                    constant((i.aux >> (20 - 10 * part)) & 1023, &mut hash);
                }
            }
            GETUPVAL | SETUPVAL => {
                set(i.a(), &mut hash);
                self.upvalues.get(usize::from(i.b())).map_or("?", |u| &u.name).hash(&mut hash);
            }
            GETTABLEKS | NAMECALL => {
                if plain == GETTABLEKS {
                    set(i.a(), &mut hash);
                }
                read(i.b(), &mut hash);
                constant(key_of(i), &mut hash);
            }
            SETTABLEKS => {
                read(i.a(), &mut hash);
                read(i.b(), &mut hash);
                constant(key_of(i), &mut hash);
            }
            GETTABLEN | SETTABLEN => {
                set(i.a(), &mut hash);
                read(i.b(), &mut hash);
                i.c().hash(&mut hash);
            }
            ADDK..=POWK | IDIVK | ANDK | ORK => {
                set(i.a(), &mut hash);
                read(i.b(), &mut hash);
                constant(u32::from(i.c()), &mut hash);
            }
            SUBRK | DIVRK => {
                set(i.a(), &mut hash);
                constant(u32::from(i.b()), &mut hash);
                read(i.c(), &mut hash);
            }
            MOVE | NOT..=LENGTH => {
                set(i.a(), &mut hash);
                read(i.b(), &mut hash);
            }
            CONCAT => {
                set(i.a(), &mut hash);
                (i.c() - i.b()).hash(&mut hash);
            }
            GETTABLE | SETTABLE | ADD..=POW | IDIV | AND | OR => {
                set(i.a(), &mut hash);
                read(i.b(), &mut hash);
                read(i.c(), &mut hash);
            }
            JUMPIFEQ..=JUMPIFNOTLT => {
                read(i.a(), &mut hash);
                read(i.aux as u8, &mut hash);
            }
            JUMPIF | JUMPIFNOT | JUMPXEQKNIL => read(i.a(), &mut hash),
            JUMPXEQKB => {
                read(i.a(), &mut hash);
                i.aux.hash(&mut hash);
            }
            JUMPXEQKN | JUMPXEQKS => {
                read(i.a(), &mut hash);
                (i.aux >> 31).hash(&mut hash);
                constant(i.aux & 0xff_ffff, &mut hash);
            }
            CALL => {
                // A wait is found again by what it calls; arguments and uses of its results may be others.
                self.callee_meaning(index, facts, depth).hash(&mut hash);
            }
            RETURN | GETVARARGS => i.b().hash(&mut hash),
            FORNLOOP | FORGLOOP | FORNPREP | FORGPREP | FORGPREP_INEXT | FORGPREP_NEXT | CLOSEUPVALS => {}
            NEWTABLE => set(i.a(), &mut hash),
            SETLIST => {
                read(i.a(), &mut hash);
                i.c().hash(&mut hash);
            }
            CAPTURE => {
                i.a().hash(&mut hash);
                if i.a() == UPVALUE {
                    self.upvalues.get(usize::from(i.b())).map_or("?", |u| &u.name).hash(&mut hash);
                } else {
                    read(i.b(), &mut hash);
                }
            }
            _ => {
                i.a().hash(&mut hash);
                i.b().hash(&mut hash);
            }
        }
        hash.finish()
    }

    /// What the function of a call is: how its register was set, and so on back to names.
    fn callee_meaning(&self, call: usize, facts: &ProtoFacts, depth: usize) -> u64 {
        let mut hash = DefaultHasher::new();
        let register = self.instructions[call].a();
        let set_by = (0..call).rev().take(400).find(|&index| {
            let i = &self.instructions[index];
            i.effects().is_some_and(|(_, sets)| sets.has(register))
        });
        if let Some(index) = set_by.filter(|_| depth < 8) {
            let i = &self.instructions[index];
            i.op.hash(&mut hash);
            match i.op {
                // Where in the row of temporaries the function stands says nothing of what it is.
                op::GETTABLEKS | op::GETUDATAKS | op::NAMECALL | op::NAMECALLUDATA => {
                    hash = DefaultHasher::new();
                    matches!(i.op, op::NAMECALL | op::NAMECALLUDATA).hash(&mut hash);
                    text_constant(facts, key_of(i)).hash(&mut hash);
                    self.object_meaning(index, i.b(), facts, depth).hash(&mut hash);
                }
                op::GETIMPORT => {
                    for part in 0..i.aux >> 30 {
                        hash_constant(facts, (i.aux >> (20 - 10 * part)) & 1023, &mut hash);
                    }
                }
                op::GETGLOBAL => hash_constant(facts, i.aux, &mut hash),
                op::GETUPVAL => {
                    self.upvalues.get(usize::from(i.b())).map_or("?", |u| &u.name).hash(&mut hash);
                }
                op::MOVE => self.object_meaning(index, i.b(), facts, depth).hash(&mut hash),
                op::CALL => self.callee_meaning(index, facts, depth + 1).hash(&mut hash),
                op::NEWCLOSURE | op::DUPCLOSURE => "function".hash(&mut hash),
                _ => self.meaning(index, facts, depth + 1).hash(&mut hash),
            }
        }
        hash.finish()
    }

    /// What a register holds that a callee is taken from: a local by name, or how it was set.
    fn object_meaning(&self, index: usize, register: u8, facts: &ProtoFacts, depth: usize) -> u64 {
        let pc = self.instructions[index].pc;
        let mut hash = DefaultHasher::new();
        match self.alive(pc).filter(|&l| self.locals[l].register == register).last() {
            Some(local) => self.locals[local].name.hash(&mut hash),
            None => {
                let set_by = (0..index).rev().take(400).find(|&before| {
                    self.instructions[before].effects().is_some_and(|(_, sets)| sets.has(register))
                });
                if let Some(before) = set_by.filter(|_| depth < 8) {
                    let i = &self.instructions[before];
                    match i.op {
                        op::GETTABLEKS | op::GETUDATAKS => {
                            text_constant(facts, key_of(i)).hash(&mut hash);
                            self.object_meaning(before, i.b(), facts, depth + 1).hash(&mut hash);
                        }
                        op::GETUPVAL => {
                            self.upvalues.get(usize::from(i.b())).map_or("?", |u| &u.name).hash(&mut hash);
                        }
                        op::CALL => self.callee_meaning(before, facts, depth + 1).hash(&mut hash),
                        op => {
                            op.hash(&mut hash);
                            if let Some(aux) = (i.aux != 0).then_some(i.aux) {
                                for part in 0..aux >> 30 {
                                    hash_constant(facts, (aux >> (20 - 10 * part)) & 1023, &mut hash);
                                }
                            }
                        }
                    }
                }
            }
        }
        hash.finish()
    }

    /// A register's local by name, or how far it is above the locals.
    fn register_meaning(&self, register: u8, pc: u32) -> (bool, u64) {
        let mut hash = DefaultHasher::new();
        match self.alive(pc).filter(|&local| self.locals[local].register == register).last() {
            Some(local) => {
                self.locals[local].name.hash(&mut hash);
                (true, hash.finish())
            }
            None => {
                let above = self.alive(pc).map(|local| self.locals[local].register + 1).max().unwrap_or(0);
                (i32::from(register) - i32::from(above)).hash(&mut hash);
                (false, hash.finish())
            }
        }
    }

    /// For each instruction the registers that are read, from its start on, before they are set.
    fn liveness(&self) -> Option<Vec<Registers>> {
        let effects: Vec<_> = self.instructions.iter().map(Instruction::effects).collect::<Option<_>>()?;
        let targets: Vec<Option<usize>> = self
            .instructions
            .iter()
            .map(|i| i.target().and_then(|pc| self.at(u32::try_from(pc).ok()?)))
            .collect();
        let mut live = vec![Registers::default(); self.instructions.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for index in (0..self.instructions.len()).rev() {
                let mut after = Registers::default();
                if self.instructions[index].falls_through() && index + 1 < live.len() {
                    after.union(&live[index + 1]);
                }
                if let Some(target) = targets[index] {
                    after.union(&live[target]);
                }
                let (uses, sets) = &effects[index];
                let mut before = after.without(sets);
                before.union(uses);
                changed |= live[index].union(&before);
            }
        }
        Some(live)
    }
}

/// The constant with the key of a field instruction.
pub(super) fn key_of(i: &Instruction) -> u32 {
    match i.op {
        op::GETUDATAKS | op::SETUDATAKS | op::NAMECALLUDATA => i.aux & 0xffff,
        _ => i.aux,
    }
}

pub(super) fn text_constant(facts: &ProtoFacts, index: u32) -> &str {
    match facts.constants.get(index as usize) {
        Some(Constant::Text(text)) => text,
        _ => "?",
    }
}

fn hash_constant(facts: &ProtoFacts, index: u32, hash: &mut DefaultHasher) {
    match facts.constants.get(index as usize) {
        Some(Constant::Nil) | None => 0.hash(hash),
        Some(Constant::Boolean(b)) => (1, b).hash(hash),
        Some(Constant::Number(bits)) => (2, bits).hash(hash),
        Some(Constant::Text(text)) => (3, text).hash(hash),
        Some(Constant::Function(_)) => 4.hash(hash),
        Some(Constant::Other(bits)) => (5, bits).hash(hash),
    }
}
