//! The last frames, in numbers (`semantics.md` 5.12).

use crate::frame::FrameReport;
use std::collections::VecDeque;
use std::time::Duration;

/// Frames that are kept.
const FRAMES: usize = 5_000;

/// A frame in numbers: a [`FrameReport`] without its texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameSample {
    /// See [`FrameReport::frame`].
    pub frame: u64,
    /// See [`FrameReport::clock_time`].
    pub clock_time: f64,
    /// See [`FrameReport::wall_time`].
    pub wall_time: Duration,
    /// See [`FrameReport::script_time`].
    pub script_time: Duration,
    /// See [`FrameReport::gc_time`].
    pub gc_time: Duration,
    /// See [`FrameReport::overshoot`].
    pub overshoot: Duration,
    /// See [`FrameReport::runnable_before`].
    pub runnable_before: usize,
    /// See [`FrameReport::left_over`].
    pub left_over: usize,
    /// See [`FrameReport::put_off`].
    pub put_off: usize,
    /// See [`FrameReport::background`].
    pub background: usize,
    /// See [`FrameReport::slices`].
    pub slices: u64,
    /// See [`FrameReport::messages`].
    pub messages: u64,
    /// See [`FrameReport::sleeping`].
    pub sleeping: usize,
    /// See [`FrameReport::yielding`].
    pub yielding: usize,
    /// See [`FrameReport::dilation`].
    pub dilation: f64,
}

impl From<&FrameReport> for FrameSample {
    fn from(report: &FrameReport) -> Self {
        Self {
            frame: report.frame,
            clock_time: report.clock_time,
            wall_time: report.wall_time,
            script_time: report.script_time,
            gc_time: report.gc_time,
            overshoot: report.overshoot,
            runnable_before: report.runnable_before,
            left_over: report.left_over,
            put_off: report.put_off,
            background: report.background,
            slices: report.slices,
            messages: report.messages,
            sleeping: report.sleeping,
            yielding: report.yielding,
            dilation: report.dilation,
        }
    }
}

/// The last frames.
#[derive(Default)]
pub(crate) struct History(VecDeque<FrameSample>);

impl History {
    pub fn add(&mut self, report: &FrameReport) {
        if self.0.len() == FRAMES {
            self.0.pop_front();
        }
        self.0.push_back(report.into());
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &FrameSample> + ExactSizeIterator {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_frame_goes_when_a_new_one_comes() {
        let mut history = History::default();
        for frame in 1..=FRAMES as u64 + 3 {
            history.add(&FrameReport { frame, ..FrameReport::default() });
        }
        assert_eq!(history.iter().len(), FRAMES);
        assert_eq!(history.iter().next().map(|sample| sample.frame), Some(4));
    }
}
