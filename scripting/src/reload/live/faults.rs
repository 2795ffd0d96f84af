//! Known ways to get it wrong, which tests switch on to see that they are caught. Outside of the tests of this
//! crate all of this is nothing.

use super::frames::{Candidate, Move};
use super::internals::Internals;
use crate::luau::ffi::lua_State;

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

    pub(crate) fn check(_: Internals, _: &[*mut lua_State]) {}
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
                for (register, source) in there.sources.iter_mut().enumerate() {
                    *source = Source::Register(register as u8);
                }
            }
            Fault::WrongResultCount => {
                there.results = candidate.callee.map_or(there.results, |callee| callee.results);
            }
            Fault::OpenUpvalueNotRetargeted => {
                let open = candidate.internals.open_registers(candidate.thread, candidate.number);
                for source in &mut there.sources {
                    if let Source::Register(register) = *source
                        && open.has(register)
                    {
                        let (thread, number) = (candidate.thread, candidate.number);
                        *source = Source::Value(candidate.internals.register_slot(thread, number, register));
                    }
                }
            }
            _ => {}
        }
        Some(there)
    }

    /// Looks at all suspended coroutines: what each frame runs is what its closure keeps alive, and there
    /// is room for it.
    pub(crate) fn check(internals: Internals, threads: &[*mut lua_State]) {
        let mut found = Vec::new();
        for &thread in threads {
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
