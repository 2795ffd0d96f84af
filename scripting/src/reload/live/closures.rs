//! Which closure runs what from now on, and where it finds its outer variables.
//!
//! A closure keeps its identity: whoever holds it, be it a table, a coroutine or the host, has the new code
//! at the next call. Its slots can't be added to, so where the new code has other outer variables
//!
//! - in another order, or fewer: it runs a private prototype whose instructions find them where they are,
//! - more: it becomes a forwarder, which calls a new closure that shares the cells.
//!
//! Outer variables are found again by what they are, which function declares them and which of its locals they
//! are, never by their number. Those of the top level are the module's; a closure that never had one gets it.

use super::Live;
use super::align::Matching;
use super::code::{Body, Variable};
use super::internals::{Closure, Heap, Internals, Proto, Slot};
use crate::reload::report::Reason;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Where a new upvalue's cell or value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A local of the module's top level.
    Module(usize),
    /// A slot of the closure itself.
    Own(usize),
    /// A slot of the closure that it forwards to.
    Forwarded(usize),
}

/// What becomes of a closure.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It runs the new body: its slots are right.
    Direct,
    /// It runs a private prototype; upvalue i of the body is at this slot.
    Relocated(Vec<u8>),
    /// It calls a new closure.
    Forwards,
    /// It stays as it is.
    Stays(Reason),
}

/// A closure of old text, and what becomes of it.
pub(super) struct ClosurePlan {
    pub closure: *mut Closure,
    /// Whose upvalues its slots are.
    pub layout: (u32, usize),
    /// The batch's text that it belongs to, and the body there that it will run, if it has one.
    pub text: usize,
    pub body: Option<usize>,
    pub fate: Fate,
    /// One for each upvalue of the new body.
    pub origins: Rc<[Origin]>,
    /// A constant of its creator's code that no code has used yet: its slots are empty.
    pub unused: bool,
    pub forwards_to: Option<*mut Closure>,
    /// A variable in it was a plain value, and the new text assigns to it.
    pub promotes: bool,
}

/// A variable of a module's top level.
#[derive(Default)]
pub(super) struct ModuleVariable {
    /// What old closures share, and by which text's name; the newest text's if it had several.
    pub live: Option<(Slot, u32, usize)>,
    /// What the new text's own closures share.
    pub fresh: Option<Slot>,
    pub by_reference: bool,
}

/// The new text of one module, and how old texts fit on it.
pub(super) struct NewText {
    pub generation: Rc<super::Generation>,
    /// The module's older generations that something still runs.
    pub matchings: BTreeMap<u32, Matching>,
    /// By number of the local of the top level.
    pub variables: BTreeMap<usize, ModuleVariable>,
    /// What old closures share and no function of this text uses, by what people call it: the slot, and the
    /// newest text whose closures have it.
    pub orphans: BTreeMap<String, (Slot, u32)>,
    /// Closures of the new text itself, made when it was evaluated.
    pub fresh: Vec<(*mut Closure, usize, bool)>,
}

impl NewText {
    pub fn body(&self, index: usize) -> &Body {
        &self.generation.code.bodies[index]
    }

    /// The variable of the new text that an upvalue of an older one has become.
    fn counterpart(&self, live: &Live, layout: (u32, usize), upvalue: usize) -> Option<Variable> {
        let old = live.generations.get(&layout.0)?;
        let variable = old.code.bodies[layout.1].upvalues.get(upvalue)?.variable?;
        let matching = self.matchings.get(&layout.0)?;
        matching.variable(&old.code, &self.generation.code, variable)
    }
}

/// Finds what closures of old and new text share of each variable of the top level. `protos` are those of the
/// new texts, in the order of their bodies.
pub(super) fn gather_variables(
    internals: Internals,
    live: &Live,
    heap: &Heap,
    texts: &mut [NewText],
    protos: &[Vec<*mut Proto>],
) {
    let by_generation: HashMap<u32, usize> = texts
        .iter()
        .enumerate()
        .flat_map(|(index, text)| text.matchings.keys().map(move |&number| (number, index)))
        .collect();
    for (text, protos) in texts.iter_mut().zip(protos) {
        let code = &text.generation.code;
        for body in &code.bodies {
            for upvalue in &body.upvalues {
                if let Some(Variable { function: 0, local }) = upvalue.variable {
                    let variable = text.variables.entry(local).or_default();
                    variable.by_reference |= upvalue.by_reference;
                }
            }
        }
        for &(closure, body, unused) in &text.fresh {
            for (index, upvalue) in code.bodies[body].upvalues.iter().enumerate() {
                if let Some(Variable { function: 0, local }) = upvalue.variable
                    && !unused
                    && let Some(variable) = text.variables.get_mut(&local)
                {
                    variable.fresh.get_or_insert_with(|| internals.slot(closure, index));
                }
            }
        }
        // Constants that only functions in functions use were given to no closure yet.
        for (&local, variable) in &mut text.variables {
            if variable.fresh.is_none() {
                variable.fresh = code.initial_value(internals, protos[0], local);
            }
        }
    }
    // What an upvalue of an old layout is in the new text is the same for all its closures.
    let mut known: HashMap<(u32, usize), Vec<Became>> = HashMap::new();
    for &(closure, id, unused) in &heap.closures {
        let Some(special) = live.special(id).filter(|_| !unused) else { continue };
        let layout = special.layout;
        let Some(&text) = by_generation.get(&layout.0) else { continue };
        let text = &mut texts[text];
        let became = known.entry(layout).or_insert_with(|| {
            (0..internals.slot_count(closure)).map(|upvalue| became(live, text, layout, upvalue)).collect()
        });
        for (index, became) in became.iter().enumerate() {
            let local = match became {
                Became::Variable(local) => local,
                Became::Orphan(label) => {
                    let known =
                        text.orphans.get(label).is_some_and(|&(_, generation)| generation >= layout.0);
                    if !known {
                        text.orphans.insert(label.clone(), (internals.slot(closure, index), layout.0));
                    }
                    continue;
                }
                Became::Other => continue,
            };
            let Some(variable) = text.variables.get_mut(local) else { continue };
            let newer = variable.live.is_none_or(|(known, generation, _)| {
                generation < layout.0
                    || generation == layout.0
                        && !internals.is_cell(&known)
                        && internals.is_cell(&internals.slot(closure, index))
            });
            if newer && let Some(old) = live.generations.get(&layout.0) {
                let declared = old.code.bodies[layout.1].upvalues[index].variable;
                let local = declared.map_or(0, |variable| variable.local);
                variable.live = Some((internals.slot(closure, index), layout.0, local));
            }
        }
    }
    for text in texts {
        let used: BTreeSet<String> =
            text.variables.keys().map(|&local| text.generation.code.label(local)).collect();
        text.orphans.retain(|label, _| !used.contains(label));
    }
}

/// What an upvalue of an old layout is in the new text.
enum Became {
    /// A local of the top level, by number.
    Variable(usize),
    /// A local of the old top level that no function of the new text uses, by what people call it.
    Orphan(String),
    /// A local of a function, or unknown.
    Other,
}

fn became(live: &Live, text: &NewText, layout: (u32, usize), upvalue: usize) -> Became {
    if let Some(Variable { function: 0, local }) = text.counterpart(live, layout, upvalue)
        && text.variables.contains_key(&local)
    {
        return Became::Variable(local);
    }
    let Some(old) = live.generations.get(&layout.0) else { return Became::Other };
    match old.code.bodies[layout.1].upvalues.get(upvalue).and_then(|upvalue| upvalue.variable) {
        Some(Variable { function: 0, local }) => Became::Orphan(old.code.label(local)),
        _ => Became::Other,
    }
}

/// How closures of one layout, running one old body, fit on new text.
struct Shape {
    text: usize,
    body: Option<usize>,
    origins: Rc<[Origin]>,
    fate: Fate,
    /// A variable was a plain value in the old text and is shared in the new one.
    promotes: bool,
}

/// Decides on each closure of old text.
pub(super) fn plan(internals: Internals, live: &Live, heap: &Heap, texts: &[NewText]) -> Vec<ClosurePlan> {
    let mut shapes: HashMap<u64, Option<Shape>> = HashMap::new();
    let mut plans = Vec::new();
    for &(closure, id, unused) in &heap.closures {
        let Some(special) = live.special(id) else { continue };
        let shape = shapes.entry(id).or_insert_with(|| shape(internals, live, &special, texts));
        let Some(shape) = shape else { continue };
        let mut fate = shape.fate.clone();
        if let Some(body) = shape.body {
            let text = &texts[shape.text];
            for (upvalue, origin) in text.body(body).upvalues.iter().zip(shape.origins.iter()) {
                // New code that assigns to a variable needs its cell.
                let slot = match *origin {
                    Origin::Module(_) => continue,
                    Origin::Own(index) => internals.slot(closure, index),
                    Origin::Forwarded(index) => match special.forwards_to {
                        Some(inner) => internals.slot(inner, index),
                        None => Slot::default(),
                    },
                };
                if upvalue.by_reference && !internals.is_cell(&slot) {
                    fate = Fate::Stays(Reason::outer(&upvalue.name));
                }
            }
            // What nobody has filled can't be handed on.
            if unused && matches!(fate, Fate::Forwards) {
                fate = Fate::Stays(Reason::outer(""));
            }
        }
        plans.push(ClosurePlan {
            closure,
            layout: special.layout,
            text: shape.text,
            body: shape.body,
            fate,
            origins: shape.origins.clone(),
            unused,
            forwards_to: special.forwards_to,
            promotes: shape.promotes,
        });
    }
    plans
}

fn shape(internals: Internals, live: &Live, special: &super::Special, texts: &[NewText]) -> Option<Shape> {
    let text_index = texts.iter().position(|text| text.matchings.contains_key(&special.runs.0))?;
    let text = &texts[text_index];
    let mut shape = Shape {
        text: text_index,
        body: None,
        origins: Rc::new([]),
        fate: Fate::Stays(Reason::function_removed()),
        promotes: false,
    };
    // The main function has run, and is not run again.
    if special.runs.1 == 0 {
        return Some(shape);
    }
    let Some(body) = text.matchings[&special.runs.0].bodies[special.runs.1] else { return Some(shape) };
    shape.body = Some(body);
    let old_layout = &live.generations.get(&special.layout.0)?.code.bodies[special.layout.1];
    let own: Vec<Option<Variable>> = (0..old_layout.upvalues.len())
        .map(|upvalue| text.counterpart(live, special.layout, upvalue))
        .collect();
    let forwarded = special.forwards_to.and_then(|inner| {
        let inner = live.special(internals.id_of(inner))?;
        let count = live.generations.get(&inner.layout.0)?.code.bodies[inner.layout.1].upvalues.len();
        Some((0..count).map(|i| text.counterpart(live, inner.layout, i)).collect::<Vec<_>>())
    });
    let mut origins = Vec::new();
    for upvalue in &text.body(body).upvalues {
        let position = |among: &[Option<Variable>]| {
            upvalue.variable.and_then(|wanted| among.iter().position(|known| *known == Some(wanted)))
        };
        let origin = match upvalue.variable {
            Some(Variable { function: 0, local }) => {
                let known = text.variables.get(&local);
                known.filter(|v| v.live.is_some() || v.fresh.is_some()).map(|_| Origin::Module(local))
            }
            Some(_) => position(&own)
                .map(Origin::Own)
                .or_else(|| forwarded.as_deref().and_then(position).map(Origin::Forwarded)),
            None => None,
        };
        let Some(origin) = origin else {
            shape.fate = Fate::Stays(match upvalue.variable {
                Some(_) => Reason::creator_gone(&upvalue.name),
                None => Reason::outer(&upvalue.name),
            });
            return Some(shape);
        };
        if let Some(index) = position(&own) {
            shape.promotes |= upvalue.by_reference && !old_layout.upvalues[index].by_reference;
        }
        origins.push(origin);
    }
    let new = &text.body(body).upvalues;
    let place = |index: usize| {
        let wanted = new[index].variable;
        own.iter().position(|known| known.is_some() && *known == wanted)
    };
    let places: Option<Vec<u8>> =
        (0..new.len()).map(|index| place(index).and_then(|place| u8::try_from(place).ok())).collect();
    shape.fate = match places {
        Some(places)
            if places.len() == old_layout.upvalues.len()
                && places.iter().enumerate().all(|(index, &place)| index == usize::from(place)) =>
        {
            Fate::Direct
        }
        Some(places) => Fate::Relocated(places),
        None => Fate::Forwards,
    };
    shape.origins = origins.into();
    Some(shape)
}
