//! Which suspended frame goes on where in the new text, or why it doesn't.
//!
//! A frame moves if all of this is certain:
//!
//! - it waits in a call (or in the iterator of a `for`), and the call has a counterpart that calls the same; or it
//!   is to begin a statement that has failed, and what leads there is unchanged: what comes before it, the jumps
//!   to it, or the beginning of the function;
//! - it has the same parameters, and the same loops with hidden registers are around it;
//! - nothing else of an expression is unfinished, or all of that is unchanged;
//! - each local that is alive there in the new text has a value: it is the same variable as one of the old
//!   text, by name or renamed, or it begins with a constant;
//! - locals that closures share are still shared, and in the same order;
//! - each register that the new code will read is among those.

use super::align::Alignment;
use super::code::{BY_REFERENCE, Body, Registers, op};
use super::faults::Fault;
use super::internals::{Frame, IN_ITERATOR, Internals, Proto, Slot, Source};
use crate::luau::ffi::lua_State;
use crate::reload::report::Reason;
use std::borrow::Cow;
use std::ffi::c_int;
use std::rc::Rc;

/// Where frames go on. It is the same for all that are [alike](Alike), however many there are.
#[derive(Clone)]
pub(super) struct Move {
    /// The word of the new code.
    pub pc: u32,
    /// The registers of the old frame below the call.
    pub old_registers: u8,
    pub results: c_int,
    pub sources: Rc<[Source]>,
    pub edits: Rc<[Edit]>,
}

/// A local whose initial constant was edited. If it still has the one of the old text, the file wins.
pub(super) struct Edit {
    from: u8,
    to: u8,
    before: Slot,
    after: Slot,
}

impl Move {
    /// What the registers of one of the frames get.
    pub fn sources(&self, internals: Internals, thread: *mut lua_State, number: c_int) -> Cow<'_, [Source]> {
        let mut sources = Cow::Borrowed(&*self.sources);
        for edit in &*self.edits {
            if internals.register_is(thread, number, edit.from, &edit.before) {
                sources.to_mut()[usize::from(edit.to)] = Source::Value(edit.after);
            }
        }
        sources
    }
}

/// What the plan of a frame depends on.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Alike {
    id: u64,
    pc: c_int,
    /// Where the function that it called is, above its base.
    callee: Option<c_int>,
    in_iterator: bool,
    parked: bool,
    open: Registers,
}

/// What is to be known of a frame and its two texts.
pub(super) struct Candidate<'a> {
    pub internals: Internals,
    /// Whose frame it is; only the fault injection asks.
    #[cfg_attr(not(test), allow(dead_code))]
    pub place: (*mut lua_State, c_int),
    pub frame: Frame,
    /// The call that it made; `None` if it is the innermost frame.
    pub callee: Option<Frame>,
    /// It was parked at the beginning of a statement.
    pub parked: bool,
    /// The registers that open upvalues refer to.
    pub open: Registers,
    pub old: &'a Body,
    pub new: &'a Body,
    /// Of the new body.
    pub new_proto: *mut Proto,
    pub alignment: &'a Alignment,
}

/// A place in one of the two texts at which a frame is suspended.
struct Place {
    /// The instruction that it is in, or will begin with.
    index: usize,
    pc: u32,
    /// Registers below the call; all that it needs if it is parked.
    registers: u8,
    /// Those that will be read.
    live: Registers,
}

impl Candidate<'_> {
    pub fn alike(&self) -> Alike {
        Alike {
            id: self.frame.id,
            pc: self.frame.pc,
            callee: self.callee.map(|callee| callee.func - self.frame.base),
            in_iterator: self.in_iterator(),
            parked: self.parked,
            open: self.open,
        }
    }

    pub fn plan(&self) -> Result<Move, Reason> {
        let (old, new) = (self.old, self.new);
        if old.parameters != new.parameters || old.vararg != new.vararg {
            return Err(Reason::parameters());
        }
        let (from, to, results) = match self.callee {
            None => self.statement()?,
            Some(callee) => self.wait(callee)?,
        };
        let mut sources = vec![Source::Nil; usize::from(to.registers)];
        let mut filled = Registers::default();
        let mut known = Registers::default();
        for (old_loop, new_loop) in self.loops(&from, &to)? {
            for hidden in 0..3 {
                if new_loop + hidden < to.registers {
                    sources[usize::from(new_loop + hidden)] = Source::Register(old_loop + hidden);
                    filled.add(new_loop + hidden);
                }
                known.add(old_loop + hidden);
            }
        }
        let edits = self.locals(&from, &to, &mut sources, &mut filled, &mut known)?;
        self.temporaries(&from, &to, &mut sources, &mut filled, &known)?;
        let ignored = super::faults::skips(Fault::UnfinishedExpressionIgnored);
        if !ignored && !to.live.below(to.registers).without(&filled).is_empty() {
            return Err(Reason::unfinished_expression());
        }
        self.shared(&from, &to, &sources)?;
        let pc = if self.callee.is_some() && !self.in_iterator() {
            new.next_pc(to.index)
        } else if self.in_iterator() {
            // The VM picks the loop up behind its first word.
            to.pc + 1
        } else {
            to.pc
        };
        Ok(Move { pc, old_registers: from.registers, results, sources: sources.into(), edits: edits.into() })
    }

    fn in_iterator(&self) -> bool {
        self.callee.is_some() && self.frame.flags & IN_ITERATOR != 0
    }

    /// The call that the frame waits in, and its counterpart.
    fn wait(&self, callee: Frame) -> Result<(Place, Place, c_int), Reason> {
        let (old, new) = (self.old, self.new);
        let index = old.before(self.frame.pc as u32).ok_or_else(Reason::interrupted)?;
        let waits = old.instructions[index];
        let above = match waits.op {
            op::CALL if !self.in_iterator() => 0,
            op::FORGLOOP if self.in_iterator() => 3,
            _ => return Err(Reason::interrupted()),
        };
        if callee.func - self.frame.base != c_int::from(waits.a()) + above {
            return Err(Reason::interrupted());
        }
        let to = self.alignment.instructions[index].ok_or_else(Reason::wait_removed)?;
        let goes_on = new.instructions[to];
        if goes_on.op != waits.op {
            return Err(Reason::wait_removed());
        }
        let results = if above == 0 {
            c_int::from(goes_on.c()) - 1
        } else {
            if goes_on.aux >> 31 != waits.aux >> 31 {
                return Err(Reason::loops());
            }
            (goes_on.aux & 0xff) as c_int
        };
        let place = |body: &Body, index: usize| -> Result<Place, Reason> {
            let i = body.instructions[index];
            let registers = i.a() + above as u8;
            // A loop's own registers are read again by itself, so what it sets is no loss.
            let after = if above == 0 { index + 1 } else { index };
            let live = body.live(after).ok_or_else(Reason::interrupted)?;
            Ok(Place { index, pc: i.pc, registers, live: live.below(registers) })
        };
        Ok((place(old, index)?, place(new, to)?, results))
    }

    /// The statement that a parked frame will begin with, and the place in the new text where it begins now.
    fn statement(&self) -> Result<(Place, Place, c_int), Reason> {
        if !self.parked {
            return Err(Reason::interrupted());
        }
        let (old, new) = (self.old, self.new);
        let index = old.at(self.frame.pc as u32).ok_or_else(Reason::interrupted)?;
        let to = self
            .beginning(index)
            .filter(|&to| to < new.instructions.len())
            .ok_or_else(Reason::statement_removed)?;
        let place = |body: &Body, index: usize| -> Result<Place, Reason> {
            let pc = body.instructions[index].pc;
            let live = body.live(index).ok_or_else(Reason::interrupted)?;
            Ok(Place { index, pc, registers: body.first_temporary(pc), live })
        };
        let (from, to) = (place(old, index)?, place(new, to)?);
        // It begins anew, so nothing may be half done there.
        let mut above = Registers::default();
        above.add_range(u32::from(to.registers), 256);
        if !above.without(&above.without(&to.live)).is_empty() {
            return Err(Reason::unfinished_expression());
        }
        Ok((from, to, -1))
    }

    /// Where the statement that begins at an instruction begins in the new text, whatever it is there: where one
    /// gets to from what is unchanged, so that what was added in between is run.
    fn beginning(&self, index: usize) -> Option<usize> {
        let before = match index.checked_sub(1) {
            // Whatever the function begins with, its beginning is the beginning of the new one.
            None => Some(0),
            Some(before) => Some(before)
                .filter(|&before| {
                    let op = self.old.instructions[before].op;
                    !matches!(op, op::JUMP | op::JUMPBACK | op::JUMPX | op::RETURN)
                })
                .and_then(|before| self.alignment.instructions[before])
                .map(|counterpart| counterpart + 1),
        };
        let all = 0..self.old.instructions.len();
        let mut jumps = all.filter(|&jump| self.old.target(jump) == Some(index)).peekable();
        let Some(before) = before else {
            return self.jumped_to(jumps).or(self.alignment.instructions[index]);
        };
        // What an earlier round of a loop has done may stand before the loop now.
        while jumps.next_if(|&jump| jump < index).is_some() {}
        if jumps.peek().is_none() {
            return Some(before);
        }
        let head = self.jumped_to(jumps);
        let known = self.alignment.instructions.iter().flatten().filter(|&&now| now >= before).min();
        match head.or_else(|| self.first_loop(before)) {
            Some(first) if known.is_some_and(|&known| known < first) => head,
            _ => Some(before),
        }
    }

    /// The first beginning of a loop in the new text that isn't before an instruction.
    fn first_loop(&self, from: usize) -> Option<usize> {
        let new = self.new;
        let back = (0..new.instructions.len()).filter_map(|jump| new.target(jump).filter(|&to| to <= jump));
        back.filter(|&to| to >= from).min()
    }

    /// Where these jumps go in the new text, if all of them are there with what comes before them, and go to one place.
    fn jumped_to(&self, jumps: impl Iterator<Item = usize>) -> Option<usize> {
        let mut found = None;
        for jump in jumps {
            // One jump is like another, so it takes more to know it again.
            let now = self.alignment.instructions[jump]?;
            let same = match jump.checked_sub(1) {
                Some(before) => self.alignment.instructions[before].map(|before| before + 1) == Some(now),
                None => now == 0,
            };
            let to = self.new.target(now).filter(|&to| same && found.is_none_or(|found| found == to))?;
            found = Some(to);
        }
        found
    }

    /// The hidden registers of the loops around both places, which have to be the same loops.
    fn loops(&self, from: &Place, to: &Place) -> Result<Vec<(u8, u8)>, Reason> {
        let (olds, news) = (self.old.loops_at(from.pc), self.new.loops_at(to.pc));
        let same = olds.len() == news.len()
            && olds.iter().zip(&news).all(|(a, b)| {
                a.op == b.op && a.list == b.list && self.alignment.instructions[a.end] == Some(b.end)
            });
        if !same {
            return Err(Reason::loops());
        }
        Ok(olds.iter().zip(&news).map(|(a, b)| (a.register, b.register)).collect())
    }

    /// The value of each local that is alive in the new text.
    fn locals(
        &self,
        from: &Place,
        to: &Place,
        sources: &mut [Source],
        filled: &mut Registers,
        known: &mut Registers,
    ) -> Result<Vec<Edit>, Reason> {
        let mut edits = Vec::new();
        for local in self.old.alive(from.pc) {
            known.add(self.old.locals[local].register);
        }
        for local in self.new.alive(to.pc) {
            let register = self.new.locals[local].register;
            let was = self.old.alive(from.pc).find(|&was| self.alignment.locals[was] == Some(local));
            let source = match was {
                Some(was) => {
                    let from = self.old.locals[was].register;
                    if !self.open.has(from)
                        && let Some((before, after)) = self.edited_constant(was, local)
                    {
                        edits.push(Edit { from, to: register, before, after });
                    }
                    Source::Register(from)
                }
                None => match self.constant(self.new, self.new_proto, local) {
                    Some(constant) => Source::Value(constant),
                    None => return Err(Reason::new_local(&self.new.locals[local].name)),
                },
            };
            match sources.get_mut(usize::from(register)) {
                Some(place) => *place = source,
                None => return Err(Reason::unfinished_expression()),
            }
            filled.add(register);
        }
        Ok(edits)
    }

    /// The constant that a local begins with.
    fn constant(&self, body: &Body, proto: *mut Proto, local: usize) -> Option<Slot> {
        let index = body.initialiser(local)?;
        self.internals.loaded_constant(proto, body.instructions[index].pc)
    }

    /// The constants that a local begins with in both texts, if that was edited.
    fn edited_constant(&self, was: usize, local: usize) -> Option<(Slot, Slot)> {
        let old = self.constant(self.old, self.frame.proto, was)?;
        let new = self.constant(self.new, self.new_proto, local)?;
        (old != new).then_some((old, new))
    }

    /// Values of an expression that isn't finished, which go on if all of it is the same.
    fn temporaries(
        &self,
        from: &Place,
        to: &Place,
        sources: &mut [Source],
        filled: &mut Registers,
        known: &Registers,
    ) -> Result<(), Reason> {
        let old = from.live.below(from.registers).without(known);
        let new = to.live.below(to.registers).without(filled);
        if old.is_empty() && new.is_empty() || super::faults::skips(Fault::UnfinishedExpressionIgnored) {
            return Ok(());
        }
        let (old_base, new_base) = (self.old.first_temporary(from.pc), self.new.first_temporary(to.pc));
        let moved: Option<Vec<(u8, u8)>> = old
            .iter()
            .map(|register| Some((register, register.checked_sub(old_base)?.checked_add(new_base)?)))
            .collect();
        let moved = moved.ok_or_else(Reason::unfinished_expression)?;
        let mut arrived = Registers::default();
        moved.iter().for_each(|&(_, to)| arrived.add(to));
        if arrived != new || !self.unchanged_since_statement(from.index, to.index) {
            return Err(Reason::unfinished_expression());
        }
        for (register, to) in moved {
            sources[usize::from(to)] = Source::Register(register);
            filled.add(to);
        }
        Ok(())
    }

    /// All instructions from one before which nothing was unfinished are the same in both texts.
    fn unchanged_since_statement(&self, old_index: usize, new_index: usize) -> bool {
        let clean = |body: &Body, index: usize| {
            let pc = body.instructions[index].pc;
            let mut above = Registers::default();
            above.add_range(u32::from(body.first_temporary(pc)), 256);
            let live = body.live(index).unwrap_or(above);
            live.without(&live.without(&above)).is_empty()
        };
        for back in 1..=old_index.min(new_index) {
            let (a, b) = (old_index - back, new_index - back);
            let (i, j) = (self.old.instructions[a], self.new.instructions[b]);
            let same_shape = match i.op {
                op::CALL => i.b() == j.b() && i.c() == j.c(),
                op::JUMP | op::JUMPBACK | op::JUMPIF..=op::JUMPIFNOTLT => i.d() == j.d(),
                op::JUMPXEQKNIL..=op::JUMPXEQKS => i.d() == j.d(),
                _ => true,
            };
            if self.alignment.instructions[a] != Some(b) || i.op != j.op || !same_shape {
                return false;
            }
            if clean(self.old, a) && clean(self.new, b) {
                return true;
            }
        }
        false
    }

    /// Locals that closures share have to be shared in the new text, and be in the same order.
    fn shared(&self, from: &Place, to: &Place, sources: &[Source]) -> Result<(), Reason> {
        let open = self.open.below(from.registers);
        let mut last = None;
        for register in open.iter() {
            let was = self.old.alive(from.pc).filter(|&l| self.old.locals[l].register == register).last();
            let name = was.map_or("", |was| &self.old.locals[was].name);
            let now = was.and_then(|was| self.alignment.locals[was]).filter(|&now| {
                self.new.locals[now].is_alive(to.pc) && self.new.captured(now) == Some(BY_REFERENCE)
            });
            let Some(now) = now else { return Err(Reason::captured(name)) };
            let place = self.new.locals[now].register;
            let follows = sources.get(usize::from(place)) == Some(&Source::Register(register));
            let first = sources.iter().position(|source| *source == Source::Register(register));
            if !follows || first != Some(usize::from(place)) || last.is_some_and(|last| last >= place) {
                return Err(Reason::captured(name));
            }
            last = Some(place);
        }
        // A closure that has the value alone would not see what the new code assigns, nor the code what it does.
        for was in self.old.alive(from.pc) {
            let Some(now) = self.alignment.locals[was].filter(|&now| self.new.locals[now].is_alive(to.pc))
            else {
                continue;
            };
            let by_value = self.old.captured(was).is_some_and(|kind| kind != BY_REFERENCE);
            if by_value && self.new.captured(now) == Some(BY_REFERENCE) {
                return Err(Reason::captured(&self.old.locals[was].name));
            }
        }
        Ok(())
    }
}
