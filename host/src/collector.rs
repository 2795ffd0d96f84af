//! Garbage collection, paced by frames.
//!
//! The VM collects while scripts allocate, in small steps, and so takes time from whoever runs. The
//! host does that work ahead, when the scripts are through: in the time that a frame has left, and when garbage
//! grows faster than that, in so much of every frame as keeps up. What is done ahead the VM does not do
//! again; it goes on by itself only if a script allocates more than that within a frame.
//!
//! One step of a cycle can't be divided, the atomic one at the end of the marking. It takes in all tasklets that have
//! run since they were marked (0.1 µs each, if they are many) and everything in weak tables (0.02 µs). So
//! that a frame has little else to do when it does that, and that step is short:
//!
//! - The remark, in which tasklets are marked again that have run since, waits for the next frame once a frame has
//!   marked anything, and the atomic step follows at once: no tasklet runs in between, for which it would be longer.
//! - The tables in which entities find their handles are weak by turns, an eighth of them in each cycle:
//!   [`Bridge::hold_handles`].
//!
//! Near the limit of memory garbage is dear: whoever asks for the rest of it gets an error, however much of what is in
//! use is garbage. So it is measured by the room that is left; and where that is nearly used up the frame collects all
//! of it, however long that takes.

use crate::ecs::Bridge;
use crate::time::RealTime;
use bluetick_scripting::{Budget, GcStep, Vm};
use std::time::Duration;

/// Garbage up to this part of what was live after the last cycle is left alone; or of half of the room that was left
/// then, if that is less.
const CALM: f64 = 0.5;

/// At this part, each frame gives as much time as it may.
const PRESSURE: f64 = 1.5;

/// At this part of the room, a frame collects all of it.
const URGENT: f64 = 0.875;

/// But for this part of the limit: who has come so near to it gains nothing by collecting again and again.
const HOPELESS: f64 = 1.0 / 64.0;

/// Memory that is as good as none.
const SMALL: f64 = 256.0 * 1024.0;

/// Work between two looks at the time, in KiB: ten microseconds of marking, a hundred of freeing.
const STEP: u32 = 32;

/// How much time a frame gives to the garbage collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcPace {
    /// The most that a frame gives, unless memory has nearly run out; and but for the step that ends the marking, which can't be divided: it is done by a frame
    /// that has done nothing else but prepare it. Default: 1.5 ms. With that and 100 000 tasklets, the longest of 2000
    /// frames was 2 ms where up to 20 000 of them run in every frame, and 7 ms with 30 000: preparing took more than one
    /// frame then, and what had run meanwhile fell to that step.
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

/// What is collected.
pub(crate) trait Heap {
    /// Bytes in use.
    fn memory(&self) -> usize;

    /// How many there may be.
    fn limit(&self) -> usize;

    /// Has the collector do a little.
    fn step(&mut self) -> Option<GcStep>;

    /// A cycle is about to begin.
    fn begin(&mut self);

    /// The marking is over.
    fn marked(&mut self);
}

/// The VM's, and the handles in it.
pub(crate) struct Scripts<'a> {
    pub vm: &'a Vm,
    pub bridge: &'a Bridge,
}

impl Heap for Scripts<'_> {
    fn memory(&self) -> usize {
        self.vm.memory()
    }

    fn limit(&self) -> usize {
        self.vm.memory_limit()
    }

    fn step(&mut self) -> Option<GcStep> {
        self.vm.collect_step(STEP)
    }

    fn begin(&mut self) {
        self.bridge.hold_handles(self.vm);
    }

    fn marked(&mut self) {
        self.bridge.release_handles(self.vm);
    }
}

/// Paces the collector.
pub(crate) struct Pacer {
    pace: GcPace,
    /// Memory after the last cycle, in bytes.
    live: f64,
    /// A cycle was begun.
    collecting: bool,
    /// Its marking is not over, as far as has been seen.
    marking: bool,
}

impl Pacer {
    pub fn new(pace: GcPace) -> Self {
        Self { pace, live: 0.0, collecting: false, marking: false }
    }

    /// Whether a frame that began then has time for a slice of a background tasklet. A budget in ticks has nothing to
    /// do with real time.
    pub fn has_time(&self, budget: Budget, time: &RealTime, began: Duration) -> bool {
        matches!(budget, Budget::Ticks(_))
            || time.since(began) < self.pace.frame.saturating_sub(self.pace.most)
    }

    /// A frame that began then is through; how long the collector has taken.
    pub fn collect(&mut self, heap: &mut impl Heap, time: &RealTime, began: Duration) -> Duration {
        let memory = heap.memory() as f64;
        if self.live == 0.0 || memory < self.live {
            // The first frame, or the VM has ended a cycle by itself.
            self.live = memory;
        }
        let room = (heap.limit() as f64 - self.live).max(1.0);
        let garbage = (memory - self.live) / self.live.max(SMALL).min(room / 2.0);
        if !self.collecting && garbage < CALM {
            return Duration::ZERO;
        }
        let start = time.now();
        self.begin(heap);
        if self.is_urgent(heap) {
            // The cycle under way knows nothing of what has become garbage since it was begun.
            self.finish(heap);
            if self.is_urgent(heap) {
                self.begin(heap);
                self.finish(heap);
            }
            return time.since(start);
        }
        let left = self.pace.frame.saturating_sub(start.saturating_sub(began));
        let pressure = ((garbage - CALM) / (PRESSURE - CALM)).clamp(0.0, 1.0);
        let given = left.max(self.pace.most.mul_f64(pressure)).min(self.pace.most);
        let mut has_marked = false;
        while time.since(start) < given {
            match self.step(heap) {
                Some(GcStep::Mark) => has_marked = true,
                Some(GcStep::Remark) if has_marked => break,
                Some(GcStep::Last) | None => break,
                Some(GcStep::Remark | GcStep::Atomic | GcStep::Sweep) => {}
            }
        }
        time.since(start)
    }

    /// A cycle begins, unless one is under way.
    fn begin(&mut self, heap: &mut impl Heap) {
        if !self.collecting {
            (self.collecting, self.marking) = (true, true);
            heap.begin();
        }
    }

    /// Does a step of the cycle.
    fn step(&mut self, heap: &mut impl Heap) -> Option<GcStep> {
        let step = heap.step()?;
        let is_over = matches!(step, GcStep::Atomic | GcStep::Sweep | GcStep::Last);
        if is_over && std::mem::replace(&mut self.marking, false) {
            heap.marked();
        }
        if step == GcStep::Last {
            self.collecting = false;
            self.live = heap.memory() as f64;
        }
        Some(step)
    }

    /// Does what is left of the cycle.
    fn finish(&mut self, heap: &mut impl Heap) {
        while self.step(heap).is_some_and(|step| step != GcStep::Last) {}
    }

    /// Most of the room beside what was live after the last cycle is used up, and it was worth something.
    fn is_urgent(&self, heap: &impl Heap) -> bool {
        let (limit, garbage) = (heap.limit() as f64, heap.memory() as f64 - self.live);
        garbage > (limit - self.live) * URGENT && garbage > limit * HOPELESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// How long a step takes, and the atomic one for each tasklet that has run since it was marked.
    const A_STEP: Duration = Duration::from_micros(50);
    const A_TASKLET: Duration = Duration::from_micros(25);

    /// Tasklets that run in every frame.
    const TASKLETS: u32 = 100;

    const LIVE: usize = 10 << 20;

    /// A heap with a clock that its steps advance.
    struct Fake {
        now: Rc<Cell<Duration>>,
        /// The next step, and how many more of its kind there are in this cycle.
        next: GcStep,
        more: u32,
        garbage: usize,
        limit: usize,
        /// Of this, so much is freed by the sweep.
        found: usize,
        /// Tasklets that ran since they were marked.
        ran: u32,
        /// Handles are held.
        held: bool,
        /// What was done in the frame.
        done: Vec<GcStep>,
        cycles: u32,
    }

    impl Fake {
        fn new() -> Self {
            Self {
                now: Rc::default(),
                next: GcStep::Mark,
                more: 200,
                garbage: 0,
                limit: usize::MAX,
                found: 0,
                ran: 0,
                held: false,
                done: Vec::new(),
                cycles: 0,
            }
        }

        fn pass(&self, time: Duration) {
            self.now.set(self.now.get() + time);
        }

        /// A frame whose scripts take so long, and leave so many bytes of garbage; what the collector takes of it.
        fn frame(&mut self, pacer: &mut Pacer, scripts: Duration, garbage: usize) -> Duration {
            let now = self.now.clone();
            let (time, began) = (RealTime::new(move || now.get()), self.now.get());
            self.pass(scripts);
            self.garbage += garbage;
            self.ran = TASKLETS;
            self.done.clear();
            pacer.collect(self, &time, began)
        }
    }

    impl Heap for Fake {
        fn memory(&self) -> usize {
            LIVE + self.garbage
        }

        fn limit(&self) -> usize {
            self.limit
        }

        fn step(&mut self) -> Option<GcStep> {
            let step = self.next;
            self.pass(A_STEP);
            self.done.push(step);
            if self.more > 0 {
                self.more -= 1;
            } else {
                (self.next, self.more) = match step {
                    GcStep::Mark => (GcStep::Remark, 10),
                    GcStep::Remark => (GcStep::Atomic, 0),
                    GcStep::Atomic => (GcStep::Sweep, 50),
                    GcStep::Sweep => (GcStep::Last, 0),
                    GcStep::Last => (GcStep::Mark, 200),
                };
            }
            match step {
                GcStep::Mark => assert!(self.held),
                // The last step of it has seen who ran.
                GcStep::Remark if self.next == GcStep::Atomic => self.ran = 0,
                GcStep::Remark => {}
                GcStep::Atomic => {
                    self.pass(A_TASKLET * self.ran);
                    self.found = self.garbage;
                }
                GcStep::Sweep => assert!(!self.held),
                GcStep::Last => {
                    self.garbage -= self.found;
                    self.cycles += 1;
                }
            }
            Some(step)
        }

        fn begin(&mut self) {
            assert!(!std::mem::replace(&mut self.held, true));
        }

        fn marked(&mut self) {
            assert!(std::mem::replace(&mut self.held, false));
        }
    }

    const SHORT: Duration = Duration::from_millis(1);
    const OVERLOADED: Duration = Duration::from_millis(30);

    #[test]
    fn the_atomic_step_comes_in_a_frame_that_has_only_prepared_it() {
        let (mut heap, mut pacer) = (Fake::new(), Pacer::new(GcPace::default()));
        for _ in 0..1000 {
            let took = heap.frame(&mut pacer, SHORT, 100 << 10);
            assert!(took <= pacer.pace.most + A_STEP, "{took:?}, with {:?}", heap.done);
            if let Some(atomic) = heap.done.iter().position(|&step| step == GcStep::Atomic) {
                assert!(heap.done[..atomic].iter().all(|&step| step == GcStep::Remark), "{:?}", heap.done);
                assert!(atomic > 0, "it follows the remark at once");
            }
        }
        assert!(heap.cycles > 10, "{}", heap.cycles);
    }

    #[test]
    fn a_remark_that_a_frame_has_no_time_for_is_gone_on_with_in_the_next() {
        let mut heap = Fake::new();
        let mut pacer = Pacer::new(GcPace { most: A_STEP * 4, ..GcPace::default() });
        for _ in 0..1000 {
            let took = heap.frame(&mut pacer, SHORT, 100 << 10);
            assert!(took <= A_STEP * 5 + A_TASKLET * TASKLETS, "{took:?}, with {:?}", heap.done);
        }
        assert!(heap.cycles > 3, "{}", heap.cycles);
    }

    #[test]
    fn little_garbage_is_left_alone() {
        let (mut heap, mut pacer) = (Fake::new(), Pacer::new(GcPace::default()));
        heap.frame(&mut pacer, SHORT, 0);
        for _ in 0..49 {
            assert_eq!(heap.frame(&mut pacer, SHORT, LIVE / 100), Duration::ZERO);
        }
        heap.frame(&mut pacer, SHORT, LIVE / 50);
        assert!(!heap.done.is_empty());
    }

    #[test]
    fn garbage_never_reaches_the_limit_however_near_that_is() {
        for scripts in [SHORT, OVERLOADED] {
            for room in [LIVE * 2, LIVE / 2, LIVE / 8] {
                let (mut heap, mut pacer) = (Fake::new(), Pacer::new(GcPace::default()));
                heap.limit = LIVE + room;
                for _ in 0..2000 {
                    heap.frame(&mut pacer, scripts, 100 << 10);
                    assert!(heap.memory() + (100 << 10) < heap.limit, "{room}: {}", heap.garbage);
                }
                assert!(heap.cycles > 10, "{}", heap.cycles);
            }
        }
    }

    #[test]
    fn who_is_at_the_limit_anyway_does_not_collect_everything_in_each_frame() {
        let (mut heap, mut pacer) = (Fake::new(), Pacer::new(GcPace::default()));
        heap.limit = LIVE + LIVE / 100;
        for _ in 0..100 {
            let took = heap.frame(&mut pacer, SHORT, LIVE / 1000);
            assert!(took <= pacer.pace.most + A_STEP * 2 + A_TASKLET * TASKLETS, "{took:?}");
        }
    }

    #[test]
    fn memory_stays_bounded_under_steady_garbage() {
        for scripts in [SHORT, OVERLOADED] {
            let (mut heap, mut pacer) = (Fake::new(), Pacer::new(GcPace::default()));
            let mut peak = 0;
            for _ in 0..2000 {
                heap.frame(&mut pacer, scripts, 200 << 10);
                peak = peak.max(heap.memory());
            }
            assert!(peak < 3 * LIVE, "{scripts:?}: {peak}");
        }
    }

    #[test]
    fn a_cycle_ends_although_every_frame_is_overloaded() {
        let (mut heap, mut pacer) = (Fake::new(), Pacer::new(GcPace::default()));
        // As little as possible above what is left alone.
        heap.frame(&mut pacer, OVERLOADED, 0);
        heap.frame(&mut pacer, OVERLOADED, LIVE * 51 / 100);
        for _ in 0..300 {
            let took = heap.frame(&mut pacer, OVERLOADED, 0);
            assert!(took <= pacer.pace.most + A_STEP + A_TASKLET * TASKLETS);
        }
        assert_eq!((heap.cycles, heap.garbage), (1, 0));
    }
}
