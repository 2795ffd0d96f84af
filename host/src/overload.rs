//! Overload: what scripts, and a game, may count on when there is more to do than time.
//!
//! # What ends a frame
//!
//! The scripts of a frame run until nobody is runnable, or until the [budget](crate::HostBuilder::budget) is used
//! up: at the first look that finds it so, between two slices. There is a look after every slice that takes
//! long, and after 32 that don't. So a frame exceeds its budget by what a slice may take, and no more
//! ([`overshoot`](crate::FrameReport::overshoot)).
//!
//! A slice is limited too ([`HostBuilder::slice`](crate::HostBuilder::slice)): a tasklet that does not give control
//! away is interrupted after 5 ms, wherever the VM can suspend it, in `pcall` and in coroutines of its own as well.
//! It is put off: it goes on in the next frame, and no sooner, however much time there is. Where the VM can't
//! suspend it (metamethods, comparators, callbacks of `gsub`, deferred functions, error handlers,
//! [`scheduler.atomic`]) it is interrupted at the next place where it can, or ends with an error of kind `budget`
//! at the hard limit, after 50 ms. No `pcall` stops that error. Rust code is interrupted where it calls
//! `Scheduler::safepoint`, and nowhere else.
//!
//! [`scheduler.atomic`]: bluetick_scripting::SliceLimit::hard
//!
//! # What is guaranteed
//!
//! - **Order.** Who is left over keeps its place. The leftovers of a frame run before anybody who is woken in the
//!   next one, in the order in which they would have run. Who was put off is behind those who had no
//!   turn, in the order in which they were put off.
//! - **Nobody starves.** The queue is a ring: each runnable tasklet has a turn before anybody has a second one that
//!   was not in the queue before it. With `n` in the queue, and `k` slices in a frame, it waits for at most
//!   `n / k` frames, rounded up. A tasklet that sleeps or yields is woken in the first frame in which it is due,
//!   overload or not; from then on it waits for its turn like everybody else.
//! - **No frame is skipped.** A sleeper that is due in several frames' time is woken once, late by at most the frame
//!   in which it falls. Times are those of the frame: `clock.sim()` does not move while scripts run.
//! - **Nothing is lost.** Messages, values on channels and wake-ups wait for those whose turn has not come.
//!
//! # What a script sees
//!
//! Of leftovers: more frames between its turns (`clock.frame()`), and more simulated time that has passed
//! (`clock.sim()`; `clock.delta()` is that of the last frame alone, so use differences of `clock.sim()`). Of being
//! interrupted: that the world has changed between two instructions. A section that must not see that is called
//! with `scheduler.atomic(f, ...)`, and has to be short. `synchro.be_nice()` in a long loop gives the frame up
//! where it does no harm, before the slice is used up. Of dilation: `clock.dilation()` below 1, and the wall clock
//! going faster than its own.
//!
//! # Time dilation
//!
//! With [`HostBuilder::time_dilation`](crate::HostBuilder::time_dilation) a host that does not get through its
//! queue for 10 seconds slows simulated time down, step by step to a tenth; when it gets through again, time gets
//! faster again. Everybody who sleeps by simulated time sleeps longer in wall time, so there is less to
//! do in a frame, and it is the same for all. [`ClockMessage`](crate::ClockMessage) has clients take part.
//! Those put off don't count: who loops for ever is no overload.
//!
//! # What the game gets to know
//!
//! Each [`FrameReport`](crate::FrameReport) has the queue [before](crate::FrameReport::runnable_before) and
//! [after](crate::FrameReport::left_over), [slices](crate::FrameReport::slices),
//! [overshoot](crate::FrameReport::overshoot), [who has used up a slice](crate::FrameReport::overruns) and where, the
//! [longest slice](crate::FrameReport::longest_slice), the [pace of time](crate::FrameReport::dilation) and the time
//! of the [garbage collector](crate::FrameReport::gc_time); [`ScriptHost::history`](crate::ScriptHost::history)
//! has the last frames, and a [watchdog](crate::HostBuilder::watchdog) tells of a frame that does not end at all.
//!
//! # Determinism
//!
//! Budgets in real time end frames where the machine's speed has them end. With budgets in ticks
//! ([`Budget::Ticks`](crate::Budget::Ticks)), of frames and of slices, the same inputs give the same order of
//! switches everywhere.
