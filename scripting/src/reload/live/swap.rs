//! One reload in the VM: all is planned first, then changed. From the first change on nothing is refused.

use super::align::Matching;
use super::closures::{ClosurePlan, Fate, ModuleVariable, NewText, Origin, gather_variables, plan};
use super::code::Code;
use super::frames::{Alike, Candidate, Move};
use super::internals::{Closure, Frame, Heap, Internals, Proto, Slot, ThreadState};
use super::park;
use super::{Generation, Live, Special, plain_id};
use crate::luau::ffi::lua_State;
use crate::luau::{ModuleText, Vm};
use crate::reload::merge::{self, Merge, Place, Snapshot};
use crate::reload::report::{Pin, Reason, ReloadReport};
use crate::scheduler::TaskletId;
use mlua::{Function, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{c_int, c_void};
use std::rc::Rc;

/// A frame of old text on a suspended coroutine.
struct FramePlan {
    thread: *mut lua_State,
    number: c_int,
    frame: Frame,
    verdict: Verdict,
    /// The tasklet whose coroutine it is, if it isn't one of a script's own.
    tasklet: Option<TaskletId>,
    /// What it is in the way of people: not for dead coroutines, nor for frames that only pass a call on.
    told: Option<Rc<Told>>,
}

/// A parked tasklet whose failed statement is gone, and the statement around that call, which begins anew.
struct FurtherOut {
    tasklet: TaskletId,
    /// The frame of that statement, among all that are planned.
    frame: usize,
    /// The word of the new code, and the registers that it has there.
    pc: u32,
    registers: u8,
}

enum Verdict {
    Move(Move),
    Pin(Reason),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    file: String,
    version: u32,
    line: u32,
    function: String,
}

/// What is known of frames that were planned before.
#[derive(Default)]
struct Planned {
    moves: HashMap<Alike, Result<Move, Reason>>,
    told: HashMap<(u64, c_int), Rc<Told>>,
    parked: HashSet<*mut lua_State>,
}

/// A reload that was planned.
pub(crate) struct Swap {
    texts: Vec<NewText>,
    /// The prototypes of each text, in the order of its bodies.
    protos: Vec<Vec<*mut Proto>>,
    closures: Vec<ClosurePlan>,
    by_closure: HashMap<*mut Closure, usize>,
    frames: Vec<FramePlan>,
    further_out: Vec<FurtherOut>,
    heap: Heap,
    /// Where variables of the top level are from now on.
    chosen: Vec<BTreeMap<usize, Slot>>,
}

impl Vm {
    /// Takes note of the text of a module that was just evaluated; the number of its generation.
    pub(crate) fn adopt(&self, module: &str, version: u32, text: &ModuleText, main: &Function) -> u32 {
        if !self.moves_frames() {
            return 0;
        }
        let internals = Internals::for_reading(self);
        let closure = internals.closure_of(self, main);
        if closure.is_null() {
            return 0;
        }
        let (code, protos) = Code::read(internals, internals.proto_of(closure));
        let mut live = self.live.borrow_mut();
        live.next_generation += 1;
        let number = live.next_generation;
        for (body, &proto) in protos.iter().enumerate() {
            internals.set_id(proto, plain_id(number, body));
        }
        let generation = Generation {
            number,
            module: module.into(),
            version,
            text: text.clone(),
            code,
            main: RefCell::new(Some(main.clone())),
        };
        live.generations.insert(number, Rc::new(generation));
        number
    }

    /// Forgets the text of a module that is not to be used.
    pub(crate) fn disown(&self, generation: u32) {
        self.live.borrow_mut().generations.remove(&generation);
    }
}

impl Swap {
    /// Plans to bring in the texts of these generations, which were adopted.
    pub(in crate::reload) fn plan(vm: &Vm, internals: Internals, numbers: &[u32]) -> Self {
        let heap = internals.heap();
        vm.live.borrow_mut().forget(&heap.protos.iter().map(|&(_, id)| id).collect());
        let live = vm.live.borrow();
        let used: BTreeSet<u32> = heap
            .protos
            .iter()
            .filter_map(|&(_, id)| live.special(id))
            .flat_map(|special| [special.runs.0, special.layout.0])
            .collect();
        let mut protos = Vec::new();
        let mut texts: Vec<NewText> = Vec::new();
        for number in numbers {
            let Some(generation) = live.generations.get(number) else { continue };
            let older = live.generations.values().filter(|old| {
                old.module == generation.module && old.number != *number && used.contains(&old.number)
            });
            let matchings =
                older.map(|old| (old.number, Matching::new(&old.code, &generation.code))).collect();
            let main = generation.main.borrow();
            let closure = main.as_ref().map_or(std::ptr::null_mut(), |main| internals.closure_of(vm, main));
            if closure.is_null() {
                continue;
            }
            protos.push(internals.protos(internals.proto_of(closure)));
            texts.push(NewText {
                generation: generation.clone(),
                matchings,
                variables: BTreeMap::new(),
                orphans: BTreeMap::new(),
                fresh: Vec::new(),
            });
        }
        for &(closure, id, unused) in &heap.closures {
            let Some(special) = live.special(id) else { continue };
            let text = texts.iter_mut().find(|text| text.generation.number == special.runs.0);
            if let Some(text) = text {
                text.fresh.push((closure, special.runs.1, unused));
            }
        }
        gather_variables(internals, &live, &heap, &mut texts, &protos);
        let closures = plan(internals, &live, &heap, &texts);
        let by_closure = closures.iter().enumerate().map(|(index, plan)| (plan.closure, index)).collect();
        let chosen = texts.iter().map(|_| BTreeMap::new()).collect();
        let (frames, further_out) = (Vec::new(), Vec::new());
        let mut swap = Self { texts, protos, closures, by_closure, frames, further_out, heap, chosen };
        swap.plan_frames(vm, internals, &live);
        swap
    }

    fn plan_frames(&mut self, vm: &Vm, internals: Internals, live: &Live) {
        let tasklets = vm.machine().threads_of_tasklets();
        let mut known = Planned { parked: live.parked_threads(), ..Planned::default() };
        for index in 0..self.heap.threads.len() {
            let thread = self.heap.threads[index];
            let state = internals.thread(thread);
            if state.frames == 0 || state.active != 0 {
                continue;
            }
            let mut height = 0;
            let mut rise = 0;
            let first = self.frames.len();
            for number in 1..=state.frames {
                let frame = internals.frame(thread, number);
                height = height.max(frame.top + rise);
                if !frame.is_script() {
                    continue;
                }
                let Some(&index) = self.by_closure.get(&frame.closure) else { continue };
                if frame.proto != internals.proto_of(frame.closure) {
                    // It can't be told what it runs: its closure is left alone.
                    self.closures[index].fate = Fate::Stays(Reason::interrupted());
                    continue;
                }
                let tasklet = tasklets.get(&thread).copied();
                let planned =
                    self.plan_frame(internals, live, &mut known, thread, number, frame, &state, index);
                let (verdict, told) = match planned {
                    Some((verdict, told)) => (verdict, state.is_suspended().then_some(told)),
                    None => (Verdict::Pin(Reason::interrupted()), None),
                };
                if let Verdict::Move(there) = &verdict {
                    rise += there.sources.len() as c_int - c_int::from(there.old_registers);
                    let body = self.closures[index].body.unwrap_or(0);
                    let stack = c_int::from(self.texts[self.closures[index].text].body(body).stack);
                    height = height.max(frame.base + rise.max(0) + stack);
                }
                self.frames.push(FramePlan { thread, number, frame, verdict, tasklet, told });
            }
            let moves = self.frames[first..].iter().any(|plan| matches!(plan.verdict, Verdict::Move(_)));
            // Frames that move down leave room; asking for a little more than needed costs nothing.
            let room = height.max(internals.frame(thread, state.frames).top + rise) + 8;
            if moves
                && !super::faults::skips(super::faults::Fault::StackNotGrown)
                && !internals.reserve(thread, room)
            {
                for plan in &mut self.frames[first..] {
                    plan.verdict = Verdict::Pin(Reason::interrupted());
                }
            }
            if known.parked.contains(&thread) {
                self.plan_further_out(first, state.frames);
            }
        }
    }

    /// What fails in old text would fail there again. Where the failed statement is gone, the innermost statement
    /// around it that fits begins anew.
    fn plan_further_out(&mut self, first: usize, innermost: c_int) {
        let Some(failed) = self.frames[first..].last().filter(|plan| plan.number == innermost) else {
            return;
        };
        let Some(tasklet) = failed.tasklet else { return };
        if !matches!(&failed.verdict, Verdict::Pin(reason) if *reason == Reason::statement_removed()) {
            return;
        }
        let fits = |plan: &FramePlan| matches!(plan.verdict, Verdict::Move(_));
        let Some(frame) = self.frames[first..].iter().rposition(fits).map(|place| first + place) else {
            return;
        };
        let Verdict::Move(there) = &self.frames[frame].verdict else { return };
        let closure = &self.closures[self.by_closure[&self.frames[frame].frame.closure]];
        let Some(body) = closure.body.map(|body| self.texts[closure.text].body(body)) else { return };
        let Some(pc) = park::beginning(body, there.pc) else { return };
        self.further_out.push(FurtherOut { tasklet, frame, pc, registers: body.first_temporary(pc) });
        for dropped in &mut self.frames[frame + 1..] {
            dropped.told = None;
        }
    }

    /// What becomes of a frame; `None` if it is nobody's business.
    #[allow(clippy::too_many_arguments)]
    fn plan_frame(
        &self,
        internals: Internals,
        live: &Live,
        known: &mut Planned,
        thread: *mut lua_State,
        number: c_int,
        frame: Frame,
        state: &ThreadState,
        index: usize,
    ) -> Option<(Verdict, Rc<Told>)> {
        let special = live.special(frame.id)?;
        if special.forwards_to.is_some() || !state.is_suspended() {
            return None;
        }
        let plan = &self.closures[index];
        let text = &self.texts[plan.text];
        let old = live.generations.get(&special.runs.0)?;
        let told = known.told.entry((frame.id, frame.pc)).or_insert_with(|| {
            Rc::new(Told {
                file: old.text.file.clone(),
                version: old.version,
                line: internals.line(frame.proto, (frame.pc as u32).saturating_sub(1)),
                function: old.code.bodies[special.runs.1].name.clone(),
            })
        });
        let told = told.clone();
        if let Fate::Stays(reason) = &plan.fate {
            return Some((Verdict::Pin(reason.clone()), told));
        }
        let body = plan.body?;
        let matching = text.matchings.get(&special.runs.0)?;
        let innermost = number == state.frames;
        let candidate = Candidate {
            internals,
            place: (thread, number),
            frame,
            callee: (!innermost).then(|| internals.frame(thread, number + 1)),
            parked: innermost && known.parked.contains(&thread),
            open: internals.open_registers(thread, number),
            old: &old.code.bodies[special.runs.1],
            new: text.body(body),
            new_proto: self.protos[plan.text][body],
            alignment: matching.alignment(&old.code, &text.generation.code, special.runs.1)?,
        };
        let planned = match super::faults::plan(&candidate) {
            Some(spoilt) => Ok(spoilt),
            None => known.moves.entry(candidate.alike()).or_insert_with(|| candidate.plan()).clone(),
        };
        let verdict = match planned {
            Ok(there) => Verdict::Move(there),
            Err(reason) => Verdict::Pin(reason),
        };
        Some((verdict, told))
    }

    /// Where functions are in the new text: those of old text that will run it, and its own.
    pub(crate) fn places(&self) -> HashMap<*const c_void, Place> {
        let mut places = HashMap::new();
        for plan in &self.closures {
            if let (Some(body), false) = (plan.body, matches!(plan.fate, Fate::Stays(_))) {
                places.insert(plan.closure.cast_const().cast(), (plan.text, body));
            }
        }
        for (index, text) in self.texts.iter().enumerate() {
            for &(closure, body, _) in &text.fresh {
                places.insert(closure.cast_const().cast(), (index, body));
            }
        }
        places
    }

    /// Merges the variables of a module's top level; what the file says of each, for the next time.
    pub(in crate::reload) fn merge_variables(
        &mut self,
        vm: &Vm,
        internals: Internals,
        module: &str,
        base: &BTreeMap<String, Snapshot>,
        merge: &mut Merge<'_>,
    ) -> BTreeMap<String, Snapshot> {
        let Some(index) = self.texts.iter().position(|text| text.generation.module == module) else {
            return BTreeMap::new();
        };
        let mut said = Vec::new();
        let live = vm.live.borrow();
        let text = &self.texts[index];
        for (&local, variable) in &text.variables {
            let ModuleVariable { live: known, fresh, by_reference } = variable;
            let label = text.generation.code.label(local);
            let fresh_value = fresh.map(|slot| internals.value(vm, &slot));
            // What the old text said of it, and where it is.
            let known = match known {
                Some((slot, generation, local)) => {
                    let old = live.generations.get(generation);
                    let said = old.and_then(|old| said_before(vm, internals, old, *local, base));
                    Some((*slot, said))
                }
                None => live.dormants.find(vm, internals, module, &label),
            };
            // What nobody assigns to is part of the new code itself, whatever the game has made of it before.
            let constant = match by_reference {
                false => text.generation.code.initial_value(internals, self.protos[index][0], local),
                true => None,
            };
            if let Some(constant) = constant {
                let value = internals.value(vm, &constant);
                if let Some((slot, _)) = known {
                    merge.constant(&internals.value(vm, &slot), &value, &format!("local {label}"));
                }
                self.chosen[index].insert(local, constant);
                said.push((label, value));
                continue;
            }
            let slot = match (known, fresh_value.clone()) {
                (None, None) => continue,
                (None, Some(value)) => {
                    let living = merge.living(value.clone());
                    self.put(vm, internals, *fresh, *fresh, *by_reference, &value, &living)
                }
                (Some((slot, _)), None) => {
                    let value = internals.value(vm, &slot);
                    self.put(vm, internals, Some(slot), None, *by_reference, &value, &value)
                }
                (Some((slot, base)), Some(fresh_value)) => {
                    let value = internals.value(vm, &slot);
                    let merged = match &base {
                        Some(base) => merge.value(base, &value, fresh_value, &format!("local {label}")),
                        None => merge.unknown(&value, fresh_value, &format!("local {label}")),
                    };
                    self.put(vm, internals, Some(slot), *fresh, *by_reference, &value, &merged)
                }
            };
            if let Some(slot) = slot {
                self.chosen[index].insert(local, slot);
            }
            if let Some(value) = fresh_value {
                said.push((label, value));
            }
        }
        drop(live);
        vm.live.borrow_mut().keep_orphans(vm, internals, &self.texts[index], base);
        // Only now is known what lives on in the place of what.
        said.into_iter().map(|(label, value)| (label, merge.snapshot(&value))).collect()
    }

    /// The slot for a variable that is to hold `value`: the cell that is there, or a new one if it needs one.
    #[allow(clippy::too_many_arguments)]
    fn put(
        &self,
        vm: &Vm,
        internals: Internals,
        known: Option<Slot>,
        fresh: Option<Slot>,
        by_reference: bool,
        before: &Value,
        value: &Value,
    ) -> Option<Slot> {
        let cell = known.filter(|slot| internals.is_cell(slot));
        if let Some(cell) = cell {
            if !merge::same(before, value) {
                internals.set_cell(vm, &cell, value);
            }
            return Some(cell);
        }
        if !by_reference {
            return Some(internals.slot_of(vm, value));
        }
        if let Some(cell) = fresh.filter(|slot| internals.is_cell(slot)) {
            internals.set_cell(vm, &cell, value);
            return Some(cell);
        }
        internals.new_cell(vm, value)
    }

    /// Changes what was planned.
    pub(in crate::reload) fn apply(mut self, vm: &Vm, internals: Internals, report: &mut ReloadReport) {
        let mut live = vm.live.borrow_mut();
        let mut targets = self.make_targets(vm, internals, &mut live);
        self.note_beginnings(vm, &mut live);
        self.pin_frames(internals, &mut targets);
        self.keep_templates(internals, &live, &targets);
        self.move_frames(internals, &targets);
        self.put_further_out(internals, &mut live);
        self.repoint_closures(internals, &targets);
        self.join_fresh(vm, internals, &live);
        self.replace_children(internals, &live);
        self.name_old_text(internals, &live);
        self.tell(&mut live, report);
        for text in &self.texts {
            for number in text.matchings.keys() {
                if let Some(old) = live.generations.get(number) {
                    old.main.replace(None);
                }
            }
        }
        super::faults::check(internals, &live, &self.heap);
    }

    /// Makes the prototypes and closures that the plan needs: for each closure what it is to run, and what
    /// its frames are to refer to. A closure for which there is no memory stays as it is.
    fn make_targets(
        &mut self,
        vm: &Vm,
        internals: Internals,
        live: &mut Live,
    ) -> HashMap<*mut Closure, (*mut Proto, *mut Closure)> {
        let mut targets = HashMap::new();
        // Prototypes with other places for their upvalues, by what they were made for.
        let mut relocated: HashMap<(usize, (u32, usize)), *mut Proto> = HashMap::new();
        // Spare copies of each text, and the bodies of them that are used.
        let mut spares: Vec<Vec<(Vec<*mut Proto>, BTreeSet<usize>)>> =
            self.texts.iter().map(|_| Vec::new()).collect();
        for index in 0..self.closures.len() {
            let plan = &self.closures[index];
            let Some(body) = plan.body else { continue };
            let text = &self.texts[plan.text];
            let missing = plan.origins.iter().any(|origin| {
                matches!(origin, Origin::Module(local) if !self.chosen[plan.text].contains_key(local))
            });
            let plain = self.protos[plan.text][body];
            let runs = (text.generation.number, body);
            let made = match &plan.fate {
                _ if missing => None,
                Fate::Stays(_) => continue,
                Fate::Direct => Some((plain, plan.closure)),
                Fate::Relocated(places) => {
                    let key = (body, plan.layout);
                    let known = relocated.get(&key).copied();
                    let proto = known.or_else(|| {
                        let spares = &mut spares[plan.text];
                        let all = &self.protos[plan.text];
                        let spare = spare_proto(vm, internals, text, spares, body, all)?;
                        let slots = internals.slot_count(plan.closure);
                        if !super::faults::skips(super::faults::Fault::UpvaluesInOldOrder)
                            && !internals.relocate_upvalues(spare, places, slots)
                        {
                            return None;
                        }
                        internals.share_children(spare, plain);
                        let special = Special { runs, layout: plan.layout, forwards_to: None };
                        internals.set_id(spare, live.new_special(special));
                        relocated.insert(key, spare);
                        Some(spare)
                    });
                    proto.map(|proto| (proto, plan.closure))
                }
                Fate::Forwards => self.make_forwarder(vm, internals, live, plan, runs, plain),
            };
            match made {
                Some(target) => {
                    targets.insert(plan.closure, target);
                }
                None => self.closures[index].fate = Fate::Stays(Reason::outer("")),
            }
        }
        for plan in &mut self.frames {
            if matches!(plan.verdict, Verdict::Move(_)) && !targets.contains_key(&plan.frame.closure) {
                plan.verdict = Verdict::Pin(Reason::outer(""));
            }
        }
        targets
    }

    fn make_forwarder(
        &self,
        vm: &Vm,
        internals: Internals,
        live: &mut Live,
        plan: &ClosurePlan,
        runs: (u32, usize),
        plain: *mut Proto,
    ) -> Option<(*mut Proto, *mut Closure)> {
        let inner = internals.new_closure(plain, plan.closure)?;
        for (index, origin) in plan.origins.iter().enumerate() {
            let slot = match *origin {
                Origin::Module(local) => *self.chosen[plan.text].get(&local)?,
                Origin::Own(slot) => internals.slot(plan.closure, slot),
                Origin::Forwarded(slot) => internals.slot(plan.forwards_to?, slot),
            };
            internals.set_slot(inner, index, slot);
        }
        let stub = vm.load("a function that has more outer variables now", FORWARD).ok()?;
        let main = self.protos[plan.text][0];
        let slots = internals.slot_count(plan.closure);
        let proto = internals.make_forwarder(vm, &stub, main, inner, slots)?;
        let special = Special { runs, layout: plan.layout, forwards_to: Some(inner) };
        internals.set_id(proto, live.new_special(special));
        Some((proto, inner))
    }

    /// A frame that stays has the old code through a closure of its own.
    fn pin_frames(
        &self,
        internals: Internals,
        targets: &mut HashMap<*mut Closure, (*mut Proto, *mut Closure)>,
    ) {
        if super::faults::skips(super::faults::Fault::NoCloneForPinned) {
            return;
        }
        let mut clones: HashMap<*mut Closure, *mut Closure> = HashMap::new();
        for plan in &self.frames {
            let closure = plan.frame.closure;
            if !targets.contains_key(&closure) || !matches!(plan.verdict, Verdict::Pin(_)) {
                continue;
            }
            let clone = match clones.get(&closure) {
                Some(&clone) => Some(clone),
                None => internals.clone_closure(closure),
            };
            match clone {
                Some(clone) => {
                    clones.insert(closure, clone);
                    internals.set_frame_closure(plan.thread, plan.number, clone);
                }
                // Without memory for one, the closure itself has to stay.
                None => {
                    targets.remove(&closure);
                }
            }
        }
    }

    /// Old code that still runs makes closures from templates among its constants. Where those can't make
    /// closures of the new text, they get a copy of the old one.
    fn keep_templates(
        &self,
        internals: Internals,
        live: &Live,
        targets: &HashMap<*mut Closure, (*mut Proto, *mut Closure)>,
    ) {
        for &(proto, id) in &self.heap.protos {
            // What a forwarder calls is a constant as well, but no template.
            let Some(special) = live.special(id).filter(|s| s.forwards_to.is_none()) else { continue };
            if !self.texts.iter().any(|text| text.matchings.contains_key(&special.runs.0)) {
                continue;
            }
            for (constant, template) in internals.templates(proto) {
                let Some(&index) = self.by_closure.get(&template) else { continue };
                let plan = &self.closures[index];
                let forwards = matches!(plan.fate, Fate::Forwards);
                if targets.contains_key(&template)
                    && (forwards || plan.promotes)
                    && let Some(clone) = internals.clone_closure(template)
                {
                    internals.set_template(proto, constant, clone, plan.unused);
                }
            }
        }
    }

    fn move_frames(&self, internals: Internals, targets: &HashMap<*mut Closure, (*mut Proto, *mut Closure)>) {
        for plan in &self.frames {
            let Verdict::Move(there) = &plan.verdict else { continue };
            let Some(&(proto, closure)) = targets.get(&plan.frame.closure) else { continue };
            let index = self.by_closure[&plan.frame.closure];
            let code = match self.closures[index].fate {
                Fate::Forwards => {
                    self.protos[self.closures[index].text][self.closures[index].body.unwrap_or(0)]
                }
                _ => proto,
            };
            internals.move_frame(
                plan.thread,
                plan.number,
                closure,
                code,
                there.pc,
                there.old_registers,
                there.results,
                &there.sources(internals, plan.thread, plan.number),
            );
        }
    }

    fn put_further_out(&self, internals: Internals, live: &mut Live) {
        let mut count = 0;
        for FurtherOut { tasklet, frame, pc, registers } in &self.further_out {
            let plan = &self.frames[*frame];
            if matches!(plan.verdict, Verdict::Move(_))
                && let Some(record) = live.parked.get_mut(tasklet)
                && internals.park(plan.thread, plan.number, *pc, *registers)
            {
                record.anew = true;
                count += 1;
            }
        }
        if count > 0 {
            tracing::warn!(
                "reload: {count} failed tasklet(s) can't go on at the statement that has failed, which was removed or \
                 changed; they begin the statement anew that has called its function"
            );
        }
    }

    fn repoint_closures(
        &self,
        internals: Internals,
        targets: &HashMap<*mut Closure, (*mut Proto, *mut Closure)>,
    ) {
        for plan in &self.closures {
            let Some(&(proto, _)) = targets.get(&plan.closure) else { continue };
            internals.repoint(plan.closure, proto);
            if plan.unused || matches!(plan.fate, Fate::Forwards) {
                continue;
            }
            for (index, origin) in plan.origins.iter().enumerate() {
                let Origin::Module(local) = origin else { continue };
                let place = match &plan.fate {
                    Fate::Relocated(places) => usize::from(places[index]),
                    _ => index,
                };
                if let Some(&slot) = self.chosen[plan.text].get(local)
                    && internals.slot(plan.closure, place) != slot
                {
                    internals.set_slot(plan.closure, place, slot);
                }
            }
        }
    }

    /// Closures of the new text share the module's variables and its globals.
    fn join_fresh(&self, vm: &Vm, internals: Internals, live: &Live) {
        for (index, text) in self.texts.iter().enumerate() {
            let current = text
                .matchings
                .keys()
                .rev()
                .filter_map(|number| live.generations.get(number)?.main.borrow().clone())
                .next();
            let environment = current.map(|main| internals.environment(internals.closure_of(vm, &main)));
            for &(closure, body, unused) in &text.fresh {
                if let Some(environment) = environment {
                    internals.set_environment(closure, environment);
                }
                if unused || super::faults::skips(super::faults::Fault::FreshNotJoined) {
                    continue;
                }
                for (slot, upvalue) in text.body(body).upvalues.iter().enumerate() {
                    let local = upvalue.variable.filter(|v| v.function == 0).map(|v| v.local);
                    if let Some(&chosen) = local.and_then(|local| self.chosen[index].get(&local)) {
                        internals.set_slot(closure, slot, chosen);
                    }
                }
            }
        }
    }

    /// Old code that still runs makes functions of the new text from now on, where they capture the same.
    fn replace_children(&self, internals: Internals, live: &Live) {
        for &(proto, id) in &self.heap.protos {
            let Some(special) = live.special(id).filter(|s| s.forwards_to.is_none()) else { continue };
            let (number, body) = special.runs;
            let Some(index) = self.texts.iter().position(|t| t.matchings.contains_key(&number)) else {
                continue;
            };
            let (text, Some(old)) = (&self.texts[index], live.generations.get(&number)) else { continue };
            let matching = &text.matchings[&number];
            for (place, &child) in old.code.bodies[body].children.iter().enumerate() {
                let Some(to) = matching.bodies[child] else { continue };
                let (before, after) = (&old.code.bodies[child].upvalues, &text.body(to).upvalues);
                let same = before.len() == after.len()
                    && before.iter().zip(after).all(|(before, after)| {
                        let became = before
                            .variable
                            .and_then(|v| matching.variable(&old.code, &text.generation.code, v));
                        became.is_some()
                            && became == after.variable
                            && before.by_reference == after.by_reference
                    });
                if same {
                    internals.set_child(proto, place, self.protos[index][to]);
                }
            }
        }
    }

    /// Messages name text that isn't current any more with its version.
    fn name_old_text(&self, internals: Internals, live: &Live) {
        for text in &self.texts {
            for number in text.matchings.keys() {
                let Some(old) = live.generations.get(number) else { continue };
                if old.main.borrow().is_none() {
                    continue;
                }
                let protos: Vec<*mut Proto> = self
                    .heap
                    .protos
                    .iter()
                    .filter(|&&(_, id)| live.special(id).is_some_and(|s| s.runs.0 == *number))
                    .map(|&(proto, _)| proto)
                    .collect();
                let name = format!("={}#{}", old.text.file, old.version);
                if !internals.set_source(&protos, &name) {
                    tracing::warn!("reload: no memory to name old text by its version");
                }
            }
        }
    }

    /// A tasklet whose first call stays runs a copy of its function from now on. To begin anew, it has to know the
    /// function itself, which gets the new text.
    fn note_beginnings(&self, vm: &Vm, live: &mut Live) {
        let mut functions: HashMap<*mut Closure, Rc<Function>> = HashMap::new();
        for plan in &self.frames {
            let Some(id) = plan.tasklet.filter(|_| plan.number == 1) else { continue };
            let begins_here = vm.machine().scheduler().tasklets[id].outermost() == plan.thread;
            let stays = matches!(plan.verdict, Verdict::Pin(_));
            if !begins_here || !stays || live.beginnings.contains_key(&id) {
                continue;
            }
            let known = functions.get(&plan.frame.closure).cloned();
            if let Some(function) = known.or_else(|| vm.first_function(id).map(Rc::new)) {
                functions.insert(plan.frame.closure, function.clone());
                live.beginnings.insert(id, function);
            }
        }
    }

    /// Counts, and why frames have stayed.
    fn tell(&self, live: &mut Live, report: &mut ReloadReport) {
        let mut moved: Vec<TaskletId> = Vec::new();
        let mut stale: BTreeSet<TaskletId> = BTreeSet::new();
        let mut groups: BTreeMap<(Rc<Told>, Reason), usize> = BTreeMap::new();
        for plan in &self.frames {
            let Some(told) = &plan.told else { continue };
            match &plan.verdict {
                Verdict::Move(_) => moved.extend(plan.tasklet),
                Verdict::Pin(reason) => {
                    *groups.entry((told.clone(), reason.clone())).or_default() += 1;
                    if let Some(tasklet) = plan.tasklet {
                        stale.insert(tasklet);
                        live.pins.insert(tasklet, told.pin(1, reason.clone()));
                    }
                }
            }
        }
        moved.sort_unstable();
        moved.dedup();
        moved.retain(|tasklet| !stale.contains(tasklet));
        for tasklet in &moved {
            live.pins.remove(tasklet);
        }
        report.moved += moved.len();
        report.stale += stale.len();
        report.pins.extend(groups.into_iter().map(|((told, reason), count)| told.pin(count, reason)));
    }
}

impl Told {
    fn pin(&self, count: usize, reason: Reason) -> Pin {
        let Self { file, version, line, function } = self;
        Pin { count, file: file.clone(), version: *version, line: *line, function: function.clone(), reason }
    }
}

/// What older text said of a local of its top level: as it was noted, or, where no function at hand used it then,
/// the constant that it begins with.
fn said_before(
    vm: &Vm,
    internals: Internals,
    old: &Generation,
    local: usize,
    noted: &BTreeMap<String, Snapshot>,
) -> Option<Snapshot> {
    if let Some(noted) = noted.get(&old.code.label(local)) {
        return Some(noted.clone());
    }
    let main = internals.closure_of(vm, old.main.borrow().as_ref()?);
    if main.is_null() {
        return None;
    }
    let constant = old.code.initial_value(internals, internals.proto_of(main), local)?;
    Some(Snapshot::of(&internals.value(vm, &constant)))
}

/// What a forwarder is loaded from; its constant is replaced by the closure that it calls.
const FORWARD: &str = "return ('target')(...)";

/// A prototype of one body that nobody runs: from a copy of the text, whose own prototypes are `plain`.
fn spare_proto(
    vm: &Vm,
    internals: Internals,
    text: &NewText,
    spares: &mut Vec<(Vec<*mut Proto>, BTreeSet<usize>)>,
    body: usize,
    plain: &[*mut Proto],
) -> Option<*mut Proto> {
    for (protos, used) in spares.iter_mut() {
        if used.insert(body) {
            return protos.get(body).copied();
        }
    }
    let main = vm.load(&text.generation.text.file, &text.generation.text.text).ok()?;
    let closure = internals.closure_of(vm, &main);
    if closure.is_null() {
        return None;
    }
    let protos = internals.protos(internals.proto_of(closure));
    // Closures among the constants of the copy have slots for the layout that its prototypes have now.
    for &proto in &protos {
        for (_, template) in internals.templates(proto) {
            let place = protos.iter().position(|&proto| proto == internals.proto_of(template));
            if let Some(&proto) = place.and_then(|place| plain.get(place)) {
                internals.repoint(template, proto);
            }
        }
    }
    let proto = protos.get(body).copied();
    spares.push((protos, BTreeSet::from([body])));
    proto
}
