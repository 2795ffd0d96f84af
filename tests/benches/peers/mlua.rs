//! mlua's own coroutines, resumed from Rust: what a game without a scheduler does.

use crate::harness::{Side, version_of};
use mlua::{Lua, Thread};

/// So many coroutines in turn, each so often.
pub fn resume(coroutines: usize, rounds: usize) -> Side {
    // Its handles are references on one stack, which has room for a million at most.
    let coroutines = coroutines.min(990_000);
    let lua = Lua::new();
    let body = "local yield = coroutine.yield while true do yield() end";
    let body = lua.load(body).into_function().expect("a body");
    let threads: Vec<Thread> =
        (0..coroutines).map(|_| lua.create_thread(body.clone()).expect("a coroutine")).collect();
    let name = format!("mlua {} Thread::resume", version_of("mlua"));
    Side::new(name, coroutines * rounds, move || {
        let _ = &lua;
        for _ in 0..rounds {
            for thread in &threads {
                thread.resume::<()>(()).expect("it yields");
            }
        }
    })
}

/// So many coroutines that wait with three numbers.
pub fn started(count: usize) -> (Lua, Vec<Thread>) {
    let lua = Lua::new();
    let body = "local a, b, c = ... coroutine.yield() return a + b + c";
    let body = lua.load(body).into_function().expect("a body");
    let start = |i: usize| {
        let thread = lua.create_thread(body.clone()).expect("a coroutine");
        thread.resume::<()>((i, i + 1, i + 2)).expect("it yields");
        thread
    };
    let threads = (0..count).map(start).collect();
    lua.gc_collect().expect("collected");
    (lua, threads)
}
