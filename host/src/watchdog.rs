//! The watchdog: a thread that tells of a frame that does not end (`semantics.md` 5G).

use bluetick_scripting::{Probe, Sighting};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long the VM is given to come to a safepoint and say where it is.
const SIGHT: Duration = Duration::from_millis(200);

/// A frame that has not ended for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckFrame {
    /// Its number.
    pub frame: u64,
    /// How long the watchdog has waited for it at least.
    pub waited: Duration,
    /// The tasklet that runs and where it is, if it came to a safepoint of the VM meanwhile. `None` if the
    /// frame is stuck in Rust code or in a function of the VM's library.
    pub tasklet: Option<Sighting>,
}

impl fmt::Display for StuckFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {} has not ended for {} s", self.frame, self.waited.as_secs_f64())?;
        let Some(Sighting { name, traceback }) = &self.tasklet else {
            return f.write_str(", and is in Rust code or a library function");
        };
        write!(f, ", in {name}")?;
        for line in traceback.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

pub(crate) type Handler = Box<dyn FnMut(StuckFrame) + Send>;

/// What the thread and the host share.
#[derive(Default)]
struct Shared {
    /// The number of the frame that runs or has run last.
    frame: AtomicU64,
    in_frame: AtomicBool,
    over: Mutex<bool>,
    ended: Condvar,
}

/// Looks whether frames go by.
struct Look {
    shared: Arc<Shared>,
    /// The frame that was under way at the last look.
    seen: Option<u64>,
    /// The frame that was told of.
    told: Option<u64>,
}

impl Look {
    /// The frame that is to be told of: it was under way at the last look already, and was not told of.
    fn look(&mut self) -> Option<u64> {
        let frame = self.shared.frame.load(Ordering::SeqCst);
        let running = self.shared.in_frame.load(Ordering::SeqCst).then_some(frame);
        let stuck = running.filter(|_| running == self.seen && running != self.told);
        self.seen = running;
        self.told = stuck.or(self.told);
        stuck
    }
}

/// The watchdog of a host.
pub(crate) struct Watchdog(Arc<Shared>);

impl Watchdog {
    /// Tells the handler, on a thread of its own, of each frame that is under way at two looks: once. A look is taken
    /// after each such time.
    pub fn start(timeout: Duration, probe: Probe, mut handler: Handler) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut look = Look { shared: shared.clone(), seen: None, told: None };
        std::thread::Builder::new().name("bluetick watchdog".into()).spawn(move || {
            loop {
                let over = look.shared.over.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = look.shared.ended.wait_timeout_while(over, timeout, |over| !*over);
                if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
                if let Some(frame) = look.look() {
                    let tasklet = probe.sight(SIGHT);
                    handler(StuckFrame { frame, waited: timeout, tasklet });
                }
            }
        })?;
        Ok(Self(shared))
    }

    /// A frame begins.
    pub fn begin(&self, frame: u64) {
        self.0.frame.store(frame, Ordering::SeqCst);
        self.0.in_frame.store(true, Ordering::SeqCst);
    }

    /// The frame has ended.
    pub fn end(&self) {
        self.0.in_frame.store(false, Ordering::SeqCst);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.0.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F14.
    #[test]
    fn f14_a_stuck_frame_is_told_of_once_and_the_next_one_again() {
        let shared = Arc::new(Shared::default());
        let watchdog = Watchdog(shared.clone());
        let mut look = Look { shared, seen: None, told: None };
        assert_eq!([look.look(), look.look()], [None, None], "between frames nothing is stuck");
        watchdog.begin(1);
        assert_eq!([look.look(), look.look(), look.look()], [None, Some(1), None]);
        watchdog.end();
        assert_eq!([look.look(), look.look()], [None, None]);
        watchdog.begin(2);
        assert_eq!(look.look(), None);
        watchdog.end();
        watchdog.begin(3);
        assert_eq!([look.look(), look.look(), look.look()], [None, Some(3), None]);
    }
}
