//! The budget of a frame: whether another slice is run.

use crate::time::RealTime;
use bluetick_scripting::{Budget, Vm};
use std::rc::Rc;
use std::time::Duration;

/// Slices between two looks at the time, at most.
const SLICES_A_LOOK: u32 = 32;

/// The slices between two looks are meant to take no longer than this, or than this part of the budget.
const TIME_A_LOOK: Duration = Duration::from_micros(500);
const PART_A_LOOK: u32 = 64;

/// Decides between two slices whether the frame goes on (`semantics.md` 3.23, without the two slices more):
/// it ends at the first look that finds the budget used up.
pub(crate) struct FrameBudget {
    pub limit: Budget,
    /// Slices between two looks, as they were quick or slow so far.
    stride: u32,
}

impl FrameBudget {
    pub fn new(limit: Budget) -> Self {
        Self { limit, stride: SLICES_A_LOOK / 4 }
    }

    /// What to ask before each slice of a run that begins now.
    pub fn go_on<'a>(&'a mut self, vm: &Rc<Vm>, time: &RealTime) -> impl FnMut() -> bool + use<'a> {
        let (vm, time) = (vm.clone(), time.clone());
        let began = time.now();
        let (ticks, mut overruns) = (vm.ticks(), vm.overruns());
        let (mut slices, mut looked, mut looks) = (0, began, vm.looks());
        move || {
            let limit = match self.limit {
                Budget::Unlimited => return true,
                Budget::Ticks(limit) => {
                    slices += 1;
                    return vm.ticks() - ticks + u64::from(slices) <= limit.max(1);
                }
                Budget::Time(limit) => limit,
            };
            slices += 1;
            // A slice that was used up took long, whatever the others take; and so did those in which the timer that
            // looks after slices has looked.
            if slices < self.stride && vm.overruns() == overruns && vm.looks() == looks {
                return true;
            }
            let now = time.now();
            let aim = TIME_A_LOOK.max(limit / PART_A_LOOK);
            self.stride = match now.saturating_sub(looked) {
                took if took > aim => (self.stride / 2).max(1),
                took if took < aim / 2 => (self.stride * 2).min(SLICES_A_LOOK),
                _ => self.stride,
            };
            (slices, looked, overruns, looks) = (0, now, vm.overruns(), vm.looks());
            now.saturating_sub(began) < limit
        }
    }
}
