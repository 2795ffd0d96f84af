//! Overload: what scripts, and a game, may count on when there is more to do than time.
//!
//! # What ends a frame
//!
//! The scripts of a frame run until nobody is runnable, or until the [budget](crate::HostBuilder::budget) is used
//! up: at the first look that finds it so, between two slices. There is a look after 32 slices at most, after every
//! slice that was interrupted, and whenever a quarter of what a slice may take has passed (1.25 ms; a thread tells, as
//! far as it gets a core). So a frame exceeds its budget by little more than what a slice may take
//! ([`overshoot`](crate::FrameReport::overshoot)): 5 ms, or 50 ms of one that can't be suspended. With a budget below 20
//! ms a slice is no longer than a quarter of it, unless the game says otherwise, so that a tasklet that never gives control
//! away leaves the most of each frame to the others.
//!
//! A slice is limited too ([`HostBuilder::slice`](crate::HostBuilder::slice)): a tasklet that does not give control
//! away is interrupted after 5 ms, wherever the VM can suspend it, in `pcall` and in coroutines of its own as well. (Time
//! that other processes take from the thread is not the tasklet's, where the system tells it apart, as Linux does.)
//! It is put off: it goes on in the next frame, and no sooner, however much time there is. Where the VM can't
//! suspend it (metamethods, comparators, callbacks of `gsub`, deferred functions, error handlers,
//! [`scheduler.atomic`]) it is interrupted at the next place where it can, or ends with an error of kind `budget`
//! at the hard limit, after 50 ms. No `pcall` stops that error. Rust code is interrupted where it calls
//! `Scheduler::safepoint`, and nowhere else.
//!
//! [`scheduler.atomic`]: bluetick_scripting::SliceLimit::hard
//!
//! # What waits for time
//!
//! A tasklet with `tasklet.background = true` (in Rust, `Tasklet::set_background`) runs when nobody else is runnable
//! and its frame has lasted less than [`GcPace::frame`](crate::GcPace::frame) without the collector's share: 8.5 ms by
//! default. A budget in ticks gives it what is left of that, and no clock is asked. Background tasklets take turns among
//! each other; whom they wake goes before the next one. Under overload they don't run at all, so what others wait for
//! does not belong there. An error that is thrown at one, a kill above all, reaches it all the same.
//! [`background`](crate::FrameReport::background) counts those that wait; they are neither left over nor overload.
//!
//! Work for other threads ([`HostBuilder::offloaded`](crate::HostBuilder::offloaded)) takes no time of the frame. Who
//! waits for it is woken in the first frame that begins when it is done, before all others.
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
//! where it does no harm: when half of the slice is used up, and so before it is interrupted. Of dilation: `clock.dilation()` below 1, and the wall clock
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
//! [longest slice](crate::FrameReport::longest_slice) with its tasklet and [slices that were warned
//! of](crate::FrameReport::slow_slices) (if time is [measured](crate::HostBuilder::accounting)), the [pace of
//! time](crate::FrameReport::dilation), the time of the [garbage collector](crate::FrameReport::gc_time), and who sleeps
//! by [which clock](crate::FrameReport::sleeping_by_wall); [`ScriptHost::history`](crate::ScriptHost::history)
//! has the last frames, and a [watchdog](crate::HostBuilder::watchdog) tells of a frame that does not end at all.
//!
//! # Determinism
//!
//! Budgets in real time end frames where the machine's speed has them end. With budgets in ticks
//! ([`Budget::Ticks`](crate::Budget::Ticks)), of frames and of slices, the same inputs give the same order of
//! switches everywhere; but for tasklets that wait for other threads, which end when they end. A tick is a call or a
//! round of a loop, and however long the function of the library takes that is called: so where slices are in ticks,
//! a loop that sorts long lists, or a pattern with `%b` in a long text, takes the time that it takes.
