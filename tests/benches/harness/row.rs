//! A row: what is ours, what bounds it, and what people would use instead, timed by turns.

use super::clock::nanoseconds;
use super::options::Options;
use super::quantile;
use super::report::{Against, Kind, Measured};
use std::time::{Duration, Instant};

/// Something that does so many operations in one call.
pub struct Side {
    name: String,
    operations: usize,
    /// Nanoseconds that one call took.
    run: Box<dyn FnMut() -> f64>,
}

impl Side {
    /// Timed here. A call should take about a millisecond, so that few are disturbed by other processes.
    pub fn new(name: impl Into<String>, operations: usize, mut work: impl FnMut() + 'static) -> Self {
        Self::timing_itself(name, operations, move || {
            let start = nanoseconds();
            work();
            nanoseconds() - start
        })
    }

    /// `work` returns the nanoseconds that it took: for what has to be set up anew each time, and for what runs
    /// in another process.
    pub fn timing_itself(
        name: impl Into<String>,
        operations: usize,
        work: impl FnMut() -> f64 + 'static,
    ) -> Self {
        Self { name: name.into(), operations, run: Box::new(work) }
    }

    /// Nanoseconds of an operation.
    fn time(&mut self) -> f64 {
        (self.run)() / self.operations as f64
    }
}

/// What is compared with what.
pub struct Row {
    ours: Side,
    others: Vec<(Kind, Side, Option<f64>)>,
}

impl Row {
    /// What is ours, with the number of operations in one call.
    pub fn new(operations: usize, ours: impl FnMut() + 'static) -> Self {
        Self::of(Side::new("ours", operations, ours))
    }

    /// What is ours.
    pub fn of(ours: Side) -> Self {
        Self { ours, others: Vec::new() }
    }

    /// What bounds it, with as many operations in one call; the goal is how many times the limit ours may take.
    pub fn limit(
        self,
        name: impl Into<String>,
        goal: impl Into<Option<f64>>,
        limit: impl FnMut() + 'static,
    ) -> Self {
        let operations = self.ours.operations;
        self.against(Kind::Limit, Some(Side::new(name, operations, limit)), goal)
    }

    /// What people would use instead; the goal is how many times as long as ours it has to take.
    /// A peer that is not there is left out.
    pub fn peer(self, peer: impl Into<Option<Side>>, goal: impl Into<Option<f64>>) -> Self {
        self.against(Kind::Peer, peer.into(), goal)
    }

    /// Any other side.
    pub fn against(mut self, kind: Kind, side: Option<Side>, goal: impl Into<Option<f64>>) -> Self {
        self.others.extend(side.map(|side| (kind, side, goal.into())));
        self
    }

    /// Runs the side of this name for ten seconds.
    pub(super) fn run_alone(mut self, name: &str) {
        let mut sides =
            std::iter::once(&mut self.ours).chain(self.others.iter_mut().map(|other| &mut other.1));
        let Some(side) = sides.find(|side| side.name.starts_with(name)) else { return };
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            side.time();
        }
    }

    /// Times all sides by turns.
    pub(super) fn measure(mut self, what: &str, options: &Options) -> Measured {
        let (fewest, most) = options.rounds();
        // The first round sets up what is made at the first use, the second one tells how long rounds take.
        self.round();
        let start = Instant::now();
        self.round();
        let fitting = options.time_of_a_row().as_secs_f64() / start.elapsed().as_secs_f64();
        let rounds = (fitting as usize).clamp(fewest, most) | 1;

        let mut ours = Vec::with_capacity(rounds);
        let mut others = vec![Vec::with_capacity(rounds); self.others.len()];
        for _ in 0..rounds {
            let (our_time, other_times) = self.round();
            ours.push(our_time);
            for (times, time) in others.iter_mut().zip(other_times) {
                times.push(time);
            }
        }

        let against = std::iter::zip(self.others, &mut others).map(|((kind, side, goal), times)| {
            // Of each round, so that what slows a whole round down does not count.
            let mut ratios: Vec<f64> = std::iter::zip(&ours, &*times)
                .map(|(ours, other)| if kind == Kind::Limit { ours / other } else { other / ours })
                .collect();
            let spread = (quantile(&mut ratios, 0.25), quantile(&mut ratios, 0.75));
            Against {
                kind,
                name: side.name,
                value: quantile(times, 0.5),
                ratio: quantile(&mut ratios, 0.5),
                spread: Some(spread),
                goal,
            }
        });
        let against = against.collect();
        Measured {
            what: what.into(),
            unit: "ns",
            ours: quantile(&mut ours, 0.5),
            most: None,
            against,
            rounds,
        }
    }

    /// Nanoseconds of an operation: ours, and all others in order.
    fn round(&mut self) -> (f64, Vec<f64>) {
        let ours = self.ours.time();
        (ours, self.others.iter_mut().map(|(_, side, _)| side.time()).collect())
    }
}
