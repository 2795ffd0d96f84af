//! Real time, as budgets and measurements see it.

use std::rc::Rc;
use std::time::{Duration, Instant};

/// Where real time comes from: the machine's clock, or one that tests drive.
#[derive(Clone)]
pub(crate) struct RealTime(Rc<dyn Fn() -> Duration>);

impl RealTime {
    pub fn new(source: impl Fn() -> Duration + 'static) -> Self {
        Self(Rc::new(source))
    }

    /// The time since some start.
    #[inline]
    pub fn now(&self) -> Duration {
        (self.0)()
    }

    /// The time since then.
    pub fn since(&self, then: Duration) -> Duration {
        self.now().saturating_sub(then)
    }
}

impl Default for RealTime {
    fn default() -> Self {
        let start = Instant::now();
        Self::new(move || start.elapsed())
    }
}
