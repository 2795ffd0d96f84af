//! Simulated time, which advances once a frame and is constant within it.

use bluetick_scripting::{Error, Reply, Vm};
use std::cell::Cell;
use std::rc::Rc;

/// The clock of the world.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// Frames since the start; the first one is 1.
    pub frame: u64,
    /// Seconds of simulated time since the start.
    pub sim: f64,
    /// Seconds that the last frame added.
    pub delta: f64,
}

/// The clock as host and scripts share it.
#[derive(Clone, Default)]
pub(crate) struct SharedClock(Rc<Cell<Clock>>);

impl SharedClock {
    pub fn get(&self) -> Clock {
        self.0.get()
    }

    /// The next frame begins. A time that is no time counts as none.
    pub fn advance(&self, dt: f64) -> Clock {
        let delta = if dt.is_finite() { dt.max(0.0) } else { 0.0 };
        let Clock { frame, sim, .. } = self.0.get();
        self.0.set(Clock { frame: frame + 1, sim: sim + delta, delta });
        self.0.get()
    }

    /// Makes the global `clock` of scripts: `clock.sim()`, `clock.frame()` and `clock.delta()`.
    pub fn install(&self, vm: &Vm) -> Result<(), Error> {
        let reader = |name, read: fn(Clock) -> f64| {
            let clock = self.clone();
            vm.function(name, move |_| Ok(Reply::Number(read(clock.get()))))
        };
        vm.library(
            "clock",
            vec![
                ("sim", reader(c"sim", |clock| clock.sim)?),
                ("frame", reader(c"frame", |clock| clock.frame as f64)?),
                ("delta", reader(c"delta", |clock| clock.delta)?),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_time_that_is_no_time_does_not_move_the_clock() {
        let clock = SharedClock::default();
        for dt in [f64::NAN, f64::INFINITY, -1.0] {
            clock.advance(dt);
        }
        assert_eq!(clock.get(), Clock { frame: 3, sim: 0.0, delta: 0.0 });
    }
}
