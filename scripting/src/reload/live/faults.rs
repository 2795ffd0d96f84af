//! Known ways to get it wrong, which tests switch on to see that they are caught. Outside of the tests of this
//! crate all of this is nothing.

use super::Live;
use super::frames::{Candidate, Move};
use super::internals::{Heap, Internals};

/// A way to get it wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))] // the tests make them
pub(super) enum Fault {
    PositionUnchanged,
    NoCloneForPinned,
    RegistersOneToOne,
    StackNotGrown,
    OpenUpvalueNotRetargeted,
    UpvaluesInOldOrder,
    WrongResultCount,
    FreshNotJoined,
    UnfinishedExpressionIgnored,
}

pub(super) use switch::{check, plan, skips};

#[cfg(test)]
mod tests;

#[cfg(not(test))]
mod switch {
    use super::*;

    pub(crate) fn skips(_: Fault) -> bool {
        false
    }

    pub(crate) fn plan(_: &Candidate<'_>) -> Option<Move> {
        None
    }

    pub(crate) fn check(_: Internals, _: &Live, _: &Heap) {}
}

#[cfg(test)]
pub(super) mod switch {
    use super::super::internals::Source;
    use super::*;
    use std::cell::{Cell, RefCell};

    thread_local! {
        pub(crate) static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
        /// What is wrong with the coroutines after a reload.
        pub(crate) static FOUND: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
        static PLANNING: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn skips(fault: Fault) -> bool {
        FAULT.get() == Some(fault)
    }

    /// The plan of a frame, made wrong.
    pub(crate) fn plan(candidate: &Candidate<'_>) -> Option<Move> {
        let fault = FAULT.get()?;
        if PLANNING.get() {
            return None;
        }
        PLANNING.set(true);
        let planned = candidate.plan();
        PLANNING.set(false);
        let mut there = planned.ok()?;
        match fault {
            Fault::PositionUnchanged => there.pc = candidate.frame.pc as u32,
            Fault::RegistersOneToOne => {
                there.sources = (0..there.sources.len()).map(|r| Source::Register(r as u8)).collect();
            }
            Fault::WrongResultCount => {
                there.results = candidate.callee.map_or(there.results, |callee| callee.results);
            }
            Fault::OpenUpvalueNotRetargeted => {
                let (thread, number) = candidate.place;
                let value = |register| candidate.internals.register_slot(thread, number, register);
                let spoil = |source: &Source| match *source {
                    Source::Register(register) if candidate.open.has(register) => {
                        Source::Value(value(register))
                    }
                    source => source,
                };
                there.sources = there.sources.iter().map(spoil).collect();
            }
            _ => {}
        }
        Some(there)
    }

    /// Looks at all suspended coroutines: what each frame runs is what its closure keeps alive, and there
    /// is room for it. And at forwarders: what is remembered to be called is what they keep alive.
    pub(crate) fn check(internals: Internals, live: &Live, heap: &Heap) {
        let mut found = Vec::new();
        for &(proto, id) in &heap.protos {
            if let Some(to) = live.special(id).and_then(|special| special.forwards_to)
                && internals.templates(proto).iter().all(|&(_, closure)| closure != to)
            {
                found.push("a forwarder doesn't keep alive what it is said to call".into());
            }
        }
        for &thread in &heap.threads {
            let state = internals.thread(thread);
            for number in 1..=state.frames {
                let frame = internals.frame(thread, number);
                if frame.is_script() && frame.proto != internals.proto_of(frame.closure) {
                    found.push(format!("frame {number} runs code that its closure doesn't keep alive"));
                }
                if frame.top > state.capacity {
                    found.push(format!("frame {number} ends at {} of {}", frame.top, state.capacity));
                }
                if frame.func > frame.base || frame.base > frame.top {
                    found.push(format!("frame {number} is upside down"));
                }
            }
        }
        FOUND.with_borrow_mut(|all| all.append(&mut found));
    }
}
