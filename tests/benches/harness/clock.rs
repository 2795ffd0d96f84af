//! The clock of the benches: the time that this process has had a processor, in nanoseconds.
//!
//! On a machine that others use too, it leaves out the time that they had. Programs in `peers` measure theirs in
//! the same way, and with all of their threads, so that a collector beside does not run for nothing.

/// Now.
#[cfg(unix)]
pub fn nanoseconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the time to where it is told, which lives for longer than the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "the system counts no processor time");
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Now; time that others had counts here.
#[cfg(not(unix))]
pub fn nanoseconds() -> f64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as f64
}
