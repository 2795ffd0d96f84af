//! Costs: what each operation takes, why, and how to stay where it takes least.
//!
//! The counts are instructions on x86-64, with the default features and the VM's assertions off; beside them is what
//! bounds them, the same work without a scheduler. `cargo bench -p bluetick-tests --bench instructions` counts them
//! anew, and CI fails when one grows. Times follow them only roughly: what is not in the processor's cache costs more
//! than what is computed.
//!
//! | operation | about | bound |
//! |---|---|---|
//! | `schedule()` of a script, there and back | 280 | 300: `lua_resume` and a C function that yields |
//! | a value from script to script: two switches | 750 | 600: two of those |
//! | a number from a script to Rust or back: two switches | 580 | 330: one of either |
//! | `schedule()` in Rust | 90 | 35: a resume and a suspend of corosensei |
//! | a value from Rust to Rust: two switches | 280 | 70: two of those |
//! | a tasklet made, one switch, its end | 3100 | 2900: a new coroutine and two resumes |
//! | the same, but blocked and killed | 5200 | |
//! | `synchro.sleep` until the next frame, with its share of the tick | 1100 | |
//! | `synchro.yield`, likewise | 560 | |
//!
//! # Why
//!
//! A switch is a return to the loop ([crate docs](crate#how-it-is-built)). The loop looks at 64 bytes of the next
//! tasklet's record, which say in one comparison whether there is anything more to do than to resume it, and at one
//! flag of its own for everything that comes between two slices. Queues link records by address, and records never
//! move. No operation of the table allocates, but for making a tasklet. What the next three will need is fetched into the
//! cache while somebody else runs, a step for each: a ring of a million takes less time than a ring of a million bare
//! coroutines.
//!
//! A value moves from the sender's stack to the receiver's, or from one Rust frame to another, as it is. Between a
//! script and Rust a number goes by itself; everything else is converted by mlua, which takes longer
//! and may allocate.
//!
//! Who sleeps is in a heap, those that are due within a second in one of their own: a frame costs as much as it wakes,
//! however many sleep.
//!
//! A Luau tasklet that waits takes a coroutine of the VM, about 1.4 KB, and a record of 128 bytes; one in Rust a page or
//! two of its stack. Ended tasklets leave up to 1024 coroutines for later ones.
//!
//! # The short way
//!
//! Everything works everywhere; but the figures are those of the plain case, and other cases go a longer way. A switch is
//! plain if all of this holds:
//!
//! - It happens in the tasklet's own function or what that calls, not in a coroutine that the script has made, and not
//!   inside of `pcall`, a deferred function or a metamethod.
//! - The verb is called as one: `c:send(v)`, not `local send = c.send send(c, v)`. A loop `for v in c do` goes the
//!   longer way, `while true do local v = c:receive()` the short one.
//! - The channel is a rendezvous with any `preference`, not an inbox or a queue, without `schedule_all`; and the partner
//!   waits on it alone, not in a `select`.
//! - Nobody listens: no channel callback, no schedule callback, no [accounting](crate::Vm::set_accounting).
//! - Nothing is limited: no `run` with a limit is under way, and no switch trap is set. Slices may be limited, if it is
//!   in time; ticks are counted by every loop turn and call of a script, which makes scripts half as slow again, or slower.
//!
//! In Rust there is one more. When a tasklet goes on after a switch, the processor foresees that, but not where the
//! functions return to that were entered before it: each of them costs as much as the switch itself. So
//! [`Channel::send`](crate::Channel::send), [`receive`](crate::Channel::receive) and
//! [`Scheduler::schedule`](crate::Scheduler::schedule) are inlined into their caller; a loop that has to be fast calls
//! them itself, from the body's outermost function. And both ends of a channel have to know the same `T`.
//!
//! Without the feature `fast-switch` the VM is asked through its public interface alone, and each switch of a script
//! goes the longer way.
