//! How long a thread has been at work.

use std::time::{Duration, Instant};

/// Time that a thread has had a processor, where the system tells: what others keep it waiting is not its own fault.
/// Elsewhere real time.
#[derive(Clone, Copy)]
pub(super) enum WorkClock {
    #[cfg(target_os = "linux")]
    Thread(libc::clockid_t),
    Real(Instant),
}

impl WorkClock {
    /// The clock of the calling thread, for any thread to read.
    pub fn of_this_thread() -> Self {
        #[cfg(target_os = "linux")]
        {
            let mut id = 0;
            // SAFETY: the calling thread is alive, and the id is written to a place of its type.
            if unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut id) } == 0 {
                return Self::Thread(id);
            }
        }
        Self::Real(Instant::now())
    }

    /// The time since some start. It stands still when the thread is gone.
    pub fn now(self) -> Duration {
        match self {
            #[cfg(target_os = "linux")]
            Self::Thread(id) => {
                let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                // SAFETY: the time is written to a place of its type; an id of a thread that is gone is an error.
                match unsafe { libc::clock_gettime(id, &mut time) } {
                    0 => Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
                    _ => Duration::ZERO,
                }
            }
            Self::Real(start) => start.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_at_work_is_seen_from_another_one() {
        let clock = WorkClock::of_this_thread();
        let (told, over) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            let start = clock.now();
            while clock.now() <= start + Duration::from_millis(1) {
                std::thread::yield_now();
            }
            told.send(()).expect("somebody listens");
        });
        while over.try_recv().is_err() {}
        other.join().expect("it has ended");
    }
}
