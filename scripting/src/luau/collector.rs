//! The VM's garbage collector, stepped by hand.
//!
//! A cycle of it *marks* what can be reached, coroutines and tables one at a time. Those that have run or were written to
//! since they were marked are then marked again, the *remark*. The *atomic step* does the same once more for what has
//! changed meanwhile, and goes through all tables with weak keys or values; it can't be divided, so it is as long as
//! there are coroutines that ran since the remark, and values in weak tables. In the end the *sweep* frees what was not
//! marked.

use super::ffi::*;
use super::interrupt;
use super::vm::Vm;

/// What the collector has done in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcStep {
    /// Began a cycle, or marked some of what can be reached.
    Mark,
    /// Marked again some of what has changed since it was marked.
    Remark,
    /// Ended the marking. No other step of it is as long.
    Atomic,
    /// Freed some of what was not marked.
    Sweep,
    /// Ended the cycle.
    Last,
}

/// What the VM calls these phases, from the first on (`lgc.h`).
const PHASES: [GcStep; 5] = [GcStep::Mark, GcStep::Mark, GcStep::Remark, GcStep::Atomic, GcStep::Sweep];

/// How much the VM traverses at a time, in KiB.
const AT_A_TIME: u32 = 2;

impl Vm {
    /// Has the collector do some work now, and tells the last that was done: about so many KiB are traversed or freed, but
    /// no more once that is another kind of work than it was at first, or was the atomic step. `None` if a script has
    /// called, which has nothing collected. Work that was done by hand is not done by the VM itself when scripts
    /// allocate.
    ///
    /// A table is traversed in one go, and so is the stack of a coroutine; [`GcStep::Atomic`] can't be divided either.
    pub fn collect_step(&self, kib: u32) -> Option<GcStep> {
        if self.machine().is_looping() {
            return None;
        }
        let (helper, phase) = (self.machine().helper, &self.machine().collecting);
        // SAFETY: the VM is alive, and no coroutine runs; the collector neither raises nor runs scripts.
        unsafe {
            interrupt::watch_collector(helper, || {
                let mut before = None;
                for _ in 0..kib.div_ceil(AT_A_TIME).max(1) {
                    // Nothing is owed, so one thing is done.
                    if lua_gc(helper, LUA_GCSTEP, 0) != 0 {
                        return Some(GcStep::Last);
                    }
                    let step = PHASES.get(phase.get() as usize).copied();
                    if step == Some(GcStep::Atomic) || *before.get_or_insert(step) != step {
                        return step;
                    }
                }
                before.flatten()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VmConfig;

    #[test]
    fn a_cycle_marks_marks_again_ends_that_in_one_step_and_sweeps() {
        let vm = Vm::new(VmConfig::default()).unwrap();
        vm.lua().load("kept = {} for i = 1, 1000 do kept[i] = { i } end").exec().unwrap();
        vm.lua().gc_collect().unwrap();
        for _ in 0..3 {
            let mut phases = Vec::new();
            let mut atomic_steps = 0;
            loop {
                let step = vm.collect_step(2).unwrap();
                atomic_steps += u32::from(step == GcStep::Atomic);
                if phases.last() != Some(&step) {
                    phases.push(step);
                }
                if step == GcStep::Last {
                    break;
                }
            }
            use GcStep::*;
            assert_eq!(phases, [Mark, Remark, Atomic, Sweep, Last]);
            assert_eq!(atomic_steps, 1);
        }
    }

    #[test]
    fn a_step_of_any_size_goes_no_further_than_into_the_next_phase() {
        let vm = Vm::new(VmConfig::default()).unwrap();
        vm.lua().gc_collect().unwrap();
        use GcStep::*;
        let steps: Vec<_> = (0..7).map(|_| vm.collect_step(u32::MAX).unwrap()).collect();
        assert!(steps == [Remark, Atomic, Last, Remark, Atomic, Last, Remark], "{steps:?}");
    }
}
