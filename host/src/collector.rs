//! Garbage collection, paced by frames.
//!
//! The VM collects while scripts allocate, in small steps, and so takes time from whoever runs. The
//! host does that work ahead, when the scripts are through: in the time that a frame has left, and when garbage
//! grows faster than that, in so much of every frame as keeps up. What is done ahead the VM does not do
//! again; it goes on by itself only if a script allocates more than that within a frame.

use crate::time::RealTime;
use bluetick_scripting::{Budget, Vm};
use std::time::Duration;

/// Garbage up to this part of what was live after the last cycle is left alone.
const CALM: f64 = 0.5;

/// At this part, each frame gives as much time as it may.
const PRESSURE: f64 = 1.5;

/// Memory that is as good as none.
const SMALL: f64 = 256.0 * 1024.0;

/// Work between two looks at the time, in KiB.
const STEP: u32 = 64;

/// How much time a frame gives to the garbage collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcPace {
    /// The most that a frame gives, but for a step that can't be divided. Default: 1.5 ms, to which
    /// the longest such step added 2.4 ms with 100 000 scripts.
    pub most: Duration,
    /// How long a frame may take with everything: what the tick leaves of it is given to background tasklets, but
    /// for `most`, and then to the collector, up to `most`. Default: 10 ms.
    pub frame: Duration,
}

impl Default for GcPace {
    fn default() -> Self {
        Self { most: Duration::from_micros(1500), frame: Duration::from_millis(10) }
    }
}

/// Paces the collector.
pub(crate) struct Pacer {
    pace: GcPace,
    /// Memory after the last cycle, in bytes.
    live: f64,
    /// A cycle was begun.
    collecting: bool,
}

impl Pacer {
    pub fn new(pace: GcPace) -> Self {
        Self { pace, live: 0.0, collecting: false }
    }

    /// Whether a frame that began then has time for a slice of a background tasklet. A budget in ticks has nothing to
    /// do with real time.
    pub fn has_time(&self, budget: Budget, time: &RealTime, began: Duration) -> bool {
        matches!(budget, Budget::Ticks(_))
            || time.since(began) < self.pace.frame.saturating_sub(self.pace.most)
    }

    /// A frame that began then is through; how long the collector has taken.
    pub fn collect(&mut self, vm: &Vm, time: &RealTime, began: Duration) -> Duration {
        let memory = vm.memory() as f64;
        if self.live == 0.0 || memory < self.live {
            // The first frame, or the VM has ended a cycle by itself.
            self.live = memory;
        }
        let garbage = (memory - self.live) / self.live.max(SMALL);
        if !self.collecting && garbage < CALM {
            return Duration::ZERO;
        }
        self.collecting = true;
        let start = time.now();
        let left = self.pace.frame.saturating_sub(start.saturating_sub(began));
        let pressure = ((garbage - CALM) / (PRESSURE - CALM)).clamp(0.0, 1.0);
        let given = left.max(self.pace.most.mul_f64(pressure)).min(self.pace.most);
        loop {
            if time.since(start) >= given {
                break;
            }
            if vm.collect_step(STEP) {
                self.collecting = false;
                self.live = vm.memory() as f64;
                break;
            }
        }
        time.since(start)
    }
}
