//! The wall time of frames.

use std::{collections::VecDeque, time::Duration};

/// How many frames the history keeps: wider than any terminal's curve.
const HISTORY: usize = 240;

/// What frames took by the wall clock.
#[derive(Debug, Clone, Default)]
pub struct FrameTimes {
    history: VecDeque<Duration>,
    count: u32,
    total: Duration,
    max: Duration,
}

impl FrameTimes {
    /// Takes in one frame.
    pub fn record(&mut self, took: Duration) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(took);
        self.count = self.count.saturating_add(1);
        self.total = self.total.saturating_add(took);
        self.max = self.max.max(took);
    }

    /// The last few seconds of frames, newest last.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = Duration> + ExactSizeIterator + '_ {
        self.history.iter().copied()
    }

    /// The newest frame.
    pub fn last(&self) -> Duration {
        self.history.back().copied().unwrap_or_default()
    }

    /// The mean of the last few seconds.
    pub fn recent_mean(&self) -> Duration {
        let sum: Duration = self.history.iter().sum();
        sum.checked_div(self.history.len() as u32).unwrap_or_default()
    }

    /// The longest of the last few seconds.
    pub fn recent_max(&self) -> Duration {
        self.history.iter().copied().max().unwrap_or_default()
    }

    /// The mean of all frames.
    pub fn mean(&self) -> Duration {
        self.total.checked_div(self.count).unwrap_or_default()
    }

    /// The longest of all frames.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// All frames together.
    pub fn total(&self) -> Duration {
        self.total
    }
}

/// A duration as reports write it: `4.1 ms`.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_figures_forget_what_the_whole_run_remembers() {
        let mut times = FrameTimes::default();
        assert_eq!((times.last(), times.recent_mean(), times.max()), Default::default());
        times.record(Duration::from_millis(90));
        for _ in 0..HISTORY {
            times.record(Duration::from_millis(2));
        }
        assert_eq!(times.history().len(), HISTORY);
        assert_eq!(milliseconds(times.recent_max()), "2.0 ms");
        assert_eq!(milliseconds(times.recent_mean()), "2.0 ms");
        assert_eq!(milliseconds(times.max()), "90.0 ms");
    }
}
