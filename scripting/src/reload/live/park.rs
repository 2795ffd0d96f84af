//! A tasklet whose code has raised goes back to the beginning of the statement that failed, and waits there
//! until that is mended.
//!
//! A failed coroutine still has all its calls. Those above the innermost call of a module's function are
//! dropped; that one is put back to the last place at which no expression was half done. Where the VM itself
//! stood in between (a metamethod, a comparator of `table.sort`) nothing above that can go on, so the
//! statement further out begins anew. A coroutine of the script's own that has failed, and has taken the one
//! that has resumed it along, is put back as well, with those around it waiting for it again.

use super::code::{Body, Registers, op};
use super::internals::{Frame as Call, Internals};
use crate::luau::ffi::lua_State;
use crate::luau::{Failure, Vm};
use crate::reload::merge::show;
use crate::reload::report::{ParkCode, Parked};
use crate::scheduler::{Frame, TaskletId};
use std::collections::HashSet;
use std::ffi::c_int;

/// Tasklets that are parked at most; further ones end. What fails over and over must not fill the memory.
const MOST_PARKED: usize = 1 << 16;

/// Locals that are told of a parked tasklet.
const TOLD_LOCALS: usize = 8;

/// A call that was begun from outside of the interpreter.
const CALLED_FROM_OUTSIDE: u32 = 1;

/// What is remembered of a parked tasklet.
pub(super) struct Record {
    pub parked: Parked,
    thread: *mut lua_State,
    /// How often it had been given control when it was parked: it has not run since while that is so.
    switches: u32,
    told: bool,
    /// A reload has put it further out, where it begins in new text.
    pub anew: bool,
}

/// A tasklet that has gone on after a fix.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    /// How often it had been given control before.
    switches: u32,
    /// How many statements further out it had been put.
    out: u32,
    /// Where it has begun: the number of the call on this coroutine, and the word of its code.
    place: (*mut lua_State, c_int, u32),
}

/// Why a failed tasklet can't be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParkFault {
    /// Tasklets are not parked in this VM, or no more of them.
    Off,
    /// None of its calls is of a module's function that can begin a statement anew (RL203).
    NoPlace,
}

/// A frame that can be put back.
struct Spot {
    thread: *mut lua_State,
    number: c_int,
    pc: u32,
    registers: u8,
    frame: Call,
}

impl super::Live {
    /// The coroutines whose innermost frame begins a statement.
    pub(super) fn parked_threads(&self) -> HashSet<*mut lua_State> {
        self.parked.values().map(|record| record.thread).collect()
    }
}

impl Vm {
    /// Has tasklets that fail wait for their code to be mended, instead of ending them. Only those in the
    /// functions of modules, and only while the host runs the scheduler. Has no effect where suspended frames
    /// [can't be moved](Self::moves_frames).
    pub fn park_failed(&self, park: bool) {
        self.live.borrow_mut().parks = park;
    }

    /// Whether tasklets that fail are parked.
    pub fn parks_failed(&self) -> bool {
        let live = self.live.borrow();
        live.parks && live.works
    }

    /// Parks the tasklet whose body has failed, with the error on top of its stack.
    pub(crate) fn park(&self, body: *mut lua_State, failure: Failure) -> Result<(), ParkFault> {
        let name = failure.name.clone();
        let message = failure.message.clone();
        let parked = self.park_where_it_can(body, failure);
        if parked == Err(ParkFault::NoPlace) {
            tracing::warn!(
                "RL203 tasklet '{name}' has failed and can't wait for a fix, as no statement of a module around can \
                 begin anew; it has ended, and has to be started again: {message}"
            );
        }
        parked
    }

    fn park_where_it_can(&self, body: *mut lua_State, failure: Failure) -> Result<(), ParkFault> {
        let live = &mut *self.live.borrow_mut();
        if !live.parks || !live.works || live.parked.len() >= MOST_PARKED {
            return Err(ParkFault::Off);
        }
        let internals = Internals::for_reading(self);
        let id = failure.tasklet;
        let switches = self.machine().scheduler().tasklets[id].switches;
        let (around, thread) = innermost_failed(internals, body);
        let mut spots = spots(internals, live, thread);
        // The very slice in which it went on after a fix, and the statement with which it began is not through. What
        // fails in a later one is another failure.
        let begun_at = |spot: &Spot, place| (spot.thread, spot.number, spot.pc) == place;
        let again = live.attempts.remove(&id).filter(|attempt| {
            attempt.switches + 1 == switches && spots.iter().any(|spot| begun_at(spot, attempt.place))
        });
        let further = again.map_or(0, |attempt| attempt.out + 1);
        if spots.is_empty() {
            return Err(ParkFault::NoPlace);
        }
        let out = (further as usize).min(spots.len() - 1);
        let spot = spots.swap_remove(out);
        let Some(special) = live.special(spot.frame.id) else { return Err(ParkFault::NoPlace) };
        let Some(generation) = live.generations.get(&special.runs.0) else { return Err(ParkFault::NoPlace) };
        let code = &generation.code.bodies[special.runs.1];
        let locals = code
            .alive(spot.pc)
            .take(TOLD_LOCALS)
            .map(|local| {
                let local = &code.locals[local];
                let value = internals.register(self, spot.thread, spot.number, local.register);
                (local.name.clone(), show(&value))
            })
            .collect();
        let parked = Parked {
            tasklet: id,
            owner: failure.owner,
            code: if out > 0 { ParkCode::FurtherOut } else { ParkCode::Parked },
            file: generation.text.file.clone(),
            version: generation.version,
            line: internals.line(spot.frame.proto, spot.pc),
            function: code.name.clone(),
            locals,
            failure,
        };
        if !internals.park(spot.thread, spot.number, spot.pc, spot.registers) {
            return Err(ParkFault::NoPlace);
        }
        for &(thread, number) in &around {
            internals.park_in_call(thread, number);
        }
        let tasklet = &mut self.machine().scheduler().tasklets[id];
        tasklet.thread = thread;
        if !around.is_empty() {
            tasklet.flags.nested = true;
            tasklet.details_mut().outer = around.iter().map(|&(thread, _)| Frame::Luau(thread)).collect();
        }
        live.attempts_out.insert(id, out as u32);
        live.parked.insert(id, Record { parked, thread, switches, told: false, anew: false });
        live.untold = true;
        Ok(())
    }

    /// Forgets parked tasklets that were killed, or made to go on otherwise.
    pub(in crate::reload) fn prune_parked(&self) {
        let live = &mut *self.live.borrow_mut();
        let scheduler = self.machine().scheduler();
        live.parked.retain(|&id, record| {
            scheduler.tasklets.get(id).is_some_and(|tasklet| {
                tasklet.alive() && !tasklet.scheduled() && tasklet.switches == record.switches
            })
        });
        let parked = &live.parked;
        live.attempts_out.retain(|id, _| parked.contains_key(id));
        live.attempts.retain(|&id, _| scheduler.tasklets.get(id).is_some_and(|t| t.alive()));
        live.pins.retain(|&id, _| scheduler.tasklets.get(id).is_some_and(|t| t.alive()));
        let pins = &live.pins;
        live.beginnings.retain(|id, _| pins.contains_key(id));
    }

    /// The tasklets that have failed and wait for their code to be mended, in a fixed order.
    pub fn parked_tasklets(&self) -> Vec<Parked> {
        self.prune_parked();
        self.live.borrow().parked.values().map(|record| record.parked.clone()).collect()
    }

    /// Whether a tasklet has failed and waits for its code to be mended.
    pub fn is_parked(&self, tasklet: TaskletId) -> bool {
        let live = self.live.borrow();
        let Some(record) = live.parked.get(&tasklet) else { return false };
        let known = self.machine().scheduler().tasklets.get(tasklet);
        known.is_some_and(|known| known.alive() && !known.scheduled() && known.switches == record.switches)
    }

    /// Which tasklets are parked, in a fixed order.
    pub fn parked_ids(&self) -> Vec<TaskletId> {
        self.prune_parked();
        self.live.borrow().parked.keys().copied().collect()
    }

    /// Those that have failed since the last call.
    pub fn take_parked(&self) -> Vec<Parked> {
        if !std::mem::take(&mut self.live.borrow_mut().untold) {
            return Vec::new();
        }
        self.prune_parked();
        let live = &mut *self.live.borrow_mut();
        let fresh = live.parked.values_mut().filter(|record| !record.told);
        fresh
            .map(|record| {
                record.told = true;
                record.parked.clone()
            })
            .collect()
    }

    /// Has a parked tasklet go on from the statement that failed; false if it isn't parked.
    pub fn retry(&self, tasklet: TaskletId) -> bool {
        let parked = self.is_parked(tasklet);
        parked
            && self.live.borrow_mut().parked.remove(&tasklet).is_some()
            && self.machine().scheduler().insert(tasklet).is_ok()
    }

    /// Has those parked tasklets go on that have a call in one of these modules; how many.
    pub(in crate::reload) fn retry_in(&self, modules: &[&str]) -> usize {
        self.prune_parked();
        let internals = Internals::for_reading(self);
        let mut due = Vec::new();
        {
            let live = &mut *self.live.borrow_mut();
            for (&id, record) in &live.parked {
                let frames = internals.thread(record.thread).frames;
                let concerned = (1..=frames).any(|number| {
                    let special = live.special(internals.frame(record.thread, number).id);
                    let generation = special.and_then(|special| live.generations.get(&special.runs.0));
                    generation.is_some_and(|generation| modules.contains(&generation.module.as_str()))
                });
                if concerned {
                    let place = (record.thread, frames, internals.frame(record.thread, frames).pc as u32);
                    due.push((id, record.switches, record.anew, place));
                }
            }
            for &(id, switches, anew, place) in &due {
                live.parked.remove(&id);
                let out = live.attempts_out.remove(&id).unwrap_or(0);
                // What fails in the call that it makes then is another failure.
                if !anew {
                    live.attempts.insert(id, Attempt { switches, out, place });
                }
            }
        }
        due.iter().filter(|&&(id, ..)| self.machine().scheduler().insert(id).is_ok()).count()
    }
}

/// The coroutine in which the error was raised, and those that have resumed it, the outermost first, with the
/// calls of `coroutine.wrap`'s functions through which they did.
pub(super) fn innermost_failed(
    internals: Internals,
    body: *mut lua_State,
) -> (Vec<(*mut lua_State, c_int)>, *mut lua_State) {
    let mut around = Vec::new();
    let mut thread = body;
    loop {
        let frames = internals.thread(thread).frames;
        if frames == 0 {
            break;
        }
        let innermost = internals.frame(thread, frames);
        let waits = !innermost.native.is_null()
            && internals.has_continuation(innermost.native)
            && (2..=frames).all(|number| goes_on(internals, thread, number));
        if !waits {
            break;
        }
        let Some(inner) = internals.wrapped_thread(innermost.native) else { break };
        let state = internals.thread(inner);
        if !state.has_failed() || state.frames == 0 {
            break;
        }
        around.push((thread, frames));
        thread = inner;
    }
    (around, thread)
}

/// The frame that has called this one can go on when it is left, after the coroutine was suspended: not where the VM
/// itself or a C function without a continuation stood in between.
fn goes_on(internals: Internals, thread: *mut lua_State, number: c_int) -> bool {
    let (caller, frame) = (internals.frame(thread, number - 1), internals.frame(thread, number));
    match (caller.is_script(), frame.is_script()) {
        (true, true) => frame.flags & CALLED_FROM_OUTSIDE == 0,
        (true, false) => {
            let op = internals.op_before(caller.proto, caller.pc as u32);
            matches!(op, op::CALL | op::FORGLOOP)
        }
        (false, _) => !caller.native.is_null() && internals.has_continuation(caller.native),
    }
}

/// The frames that can be put back, the innermost first.
fn spots(internals: Internals, live: &super::Live, thread: *mut lua_State) -> Vec<Spot> {
    let mut spots = Vec::new();
    let frames = internals.thread(thread).frames;
    for number in 1..=frames {
        let frame = internals.frame(thread, number);
        if number > 1 && !goes_on(internals, thread, number) {
            break;
        }
        let Some(special) = live.special(frame.id).filter(|s| frame.is_script() && s.forwards_to.is_none())
        else {
            continue;
        };
        let Some(generation) = live.generations.get(&special.runs.0) else { continue };
        let body = &generation.code.bodies[special.runs.1];
        if let Some(pc) = beginning(body, frame.pc as u32) {
            let registers = body.first_temporary(pc);
            spots.push(Spot { thread, number, pc, registers, frame });
        }
    }
    spots.reverse();
    spots
}

/// The last place, up to the instruction that is behind `pc`, at which nothing was half done.
pub(super) fn beginning(body: &Body, pc: u32) -> Option<u32> {
    let mut index = body.before(pc.max(1))?;
    loop {
        let start = body.instructions[index].pc;
        let mut above = Registers::default();
        above.add_range(u32::from(body.first_temporary(start)), 256);
        let live = body.live(index)?;
        let is_capture = body.instructions[index].op == op::CAPTURE;
        if !is_capture && live.without(&live.without(&above)).is_empty() {
            // The values of varargs are put in order before anything else.
            return (body.instructions[index].op != op::PREPVARARGS).then_some(start);
        }
        index = index.checked_sub(1)?;
    }
}
