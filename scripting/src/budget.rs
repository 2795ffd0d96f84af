//! How much of its time something may use up.

use std::time::Duration;

/// How much of its time something may use up: real time, or ticks, with which the same inputs give the
/// same order of switches on every machine.
///
/// A tick is a safepoint of the VM: a turn of a loop, a call or a return. A slice counts as one as well.
///
/// ```
/// use bluetick_scripting::Budget;
/// use std::time::Duration;
///
/// assert_eq!(Budget::from(Duration::from_millis(5)), Budget::Time(Duration::from_millis(5)));
/// assert_eq!(Budget::from(Duration::MAX), Budget::Unlimited);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// As much as it wants.
    #[default]
    Unlimited,
    /// So much real time.
    Time(Duration),
    /// So many ticks.
    Ticks(u64),
}

impl From<Duration> for Budget {
    /// [`Duration::MAX`] is no limit.
    fn from(time: Duration) -> Self {
        if time == Duration::MAX { Self::Unlimited } else { Self::Time(time) }
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Time(time) => write!(f, "{} ms", time.as_secs_f64() * 1e3),
            Self::Ticks(ticks) => write!(f, "{ticks} ticks"),
        }
    }
}
