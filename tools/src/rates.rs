//! Totals turned into rates.

use std::collections::VecDeque;

use crate::snapshot::Snapshot;

/// How often things happen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Slices a frame.
    pub slices_per_frame: f64,
    /// Messages a second of sim time.
    pub messages_per_second: f64,
}

/// Measures [`Rates`] over the last second of sim time.
#[derive(Debug, Default)]
pub struct RateMeter {
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    frame: u64,
    sim_time: f64,
    slices: u64,
    messages: u64,
}

impl RateMeter {
    /// Takes the totals of `snapshot`. Returns the rates since about one sim second before it, zero at first.
    pub fn observe(&mut self, snapshot: &Snapshot) -> Rates {
        let last = Sample {
            frame: snapshot.frame,
            sim_time: snapshot.sim_time,
            slices: snapshot.slices,
            messages: snapshot.messages,
        };
        // A paused world is observed again and again in one frame.
        if self.samples.back().is_none_or(|sample| sample.frame != last.frame) {
            self.samples.push_back(last);
        }
        // A hair over a second, for a second made of sixty rounded ticks.
        while self.samples.len() > 2 && last.sim_time - self.samples[1].sim_time >= 0.999 {
            self.samples.pop_front();
        }
        let first = self.samples.front().copied().unwrap_or(last);
        let frames = last.frame.saturating_sub(first.frame) as f64;
        let seconds = last.sim_time - first.sim_time;
        let per = |total: u64, of: f64| if of > 0.0 { total as f64 / of } else { 0.0 };
        Rates {
            slices_per_frame: per(last.slices.saturating_sub(first.slices), frames),
            messages_per_second: per(last.messages.saturating_sub(first.messages), seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_sim_second() {
        let mut meter = RateMeter::default();
        let mut snapshot = Snapshot::empty();
        assert_eq!(meter.observe(&snapshot), Rates::default());
        for frame in 1..=180 {
            snapshot.frame = frame;
            snapshot.sim_time = frame as f64 / 60.0;
            snapshot.slices += if frame <= 120 { 5 } else { 10 };
            snapshot.messages += 2;
            meter.observe(&snapshot);
        }
        let rates = meter.observe(&snapshot);
        assert_eq!(rates.slices_per_frame, 10.0);
        assert!((rates.messages_per_second - 120.0).abs() < 1e-6, "{rates:?}");
    }
}
