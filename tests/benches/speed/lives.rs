//! Tasklets that come and go.

use crate::harness::{Row, vm};
use crate::peers::{bare, go, tokio};
use bluetick_scripting::raw::*;
use bluetick_scripting::{Error, OwnerId, Scheduler};
use std::ffi::c_int;

/// Tasklets in one call.
const N: usize = 1_000;

const RAW: &str = "raw lua_newthread and two resumes";

pub fn end() -> Row {
    Row::new(N, luau_end()).limit(RAW, 1.5, raw()).peer(tokio::spawn(N), None).peer(go::spawn(N), None)
}

pub fn kill() -> Row {
    Row::new(N, luau_kill())
        .limit("our spawn and end", 2.0, luau_end())
        .limit(RAW, None, raw())
        .peer(tokio::abort(N), None)
}

pub fn rust_end() -> Row {
    Row::new(N, rust_ends())
        .limit("corosensei on a kept stack, two resumes", None, bare::lives(N))
        .peer(tokio::spawn(N), None)
        .peer(go::spawn(N), None)
}

pub fn rust_kill() -> Row {
    Row::new(N, rust_kills())
        .limit("our spawn and end, Rust", None, rust_ends())
        .limit("corosensei on a kept stack, unwound", None, bare::unwound(N))
        .peer(tokio::abort(N), None)
}

/// A tasklet that does this line so often, for each call.
fn luau(line: &str) -> impl FnMut() + use<> {
    let vm = vm();
    let text = format!(
        "local n = ...
         local c, schedule = channel(), scheduler.schedule
         local function switches() schedule() end
         local function blocks() c:receive() end
         for i = 1, n do {line} end"
    );
    let body = vm.load("body", &text).expect("a body");
    move || {
        vm.spawn(&body, N, OwnerId::default()).expect("a tasklet");
        vm.run_ready(|| true);
    }
}

fn luau_end() -> impl FnMut() {
    luau("tasklet(switches)() schedule() schedule()")
}

fn luau_kill() -> impl FnMut() {
    luau("local t = tasklet(blocks)() schedule() t:kill()")
}

/// The same in Rust.
fn native(make: impl FnMut(&Scheduler) -> Result<(), Error> + Clone + 'static) -> impl FnMut() {
    let vm = vm();
    move || {
        let (scheduler, mut make) = (vm.scheduler(), make.clone());
        let body = move || (0..N).try_for_each(|_| make(&scheduler));
        vm.scheduler().spawn(body).expect("a tasklet");
        vm.run_ready(|| true);
    }
}

fn rust_ends() -> impl FnMut() {
    native(|scheduler| {
        let inner = scheduler.clone();
        drop(scheduler.spawn(move || inner.schedule())?);
        scheduler.schedule()?;
        scheduler.schedule()
    })
}

fn rust_kills() -> impl FnMut() {
    native(|scheduler| {
        let never = scheduler.channel::<u64>();
        let tasklet = scheduler.spawn(move || never.receive().map(drop))?;
        scheduler.schedule()?;
        tasklet.kill()
    })
}

fn raw() -> impl FnMut() {
    unsafe extern "C-unwind" fn raw_yield(L: *mut lua_State) -> c_int {
        // SAFETY: a C function called by the VM in a coroutine.
        unsafe { lua_yield(L, 0) }
    }
    let vm = vm();
    let body = vm.load("raw", "local yield = ... yield()").expect("a body");
    move || {
        // SAFETY: protected by mlua, which has pushed the body; each coroutine stays on the stack while it runs.
        unsafe {
            vm.lua()
                .exec_raw::<()>(&body, |L| {
                    for _ in 0..N {
                        let thread = lua_newthread(L);
                        lua_xpush(L, thread, 1);
                        lua_pushcfunctiond(thread, raw_yield, c"yield".as_ptr());
                        lua_resume_(thread, std::ptr::null_mut(), 1);
                        lua_resume_(thread, std::ptr::null_mut(), 0);
                        lua_settop(L, 1);
                    }
                    lua_settop(L, 0);
                })
                .expect("it runs");
        }
    }
}
