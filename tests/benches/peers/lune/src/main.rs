//! The scheduler of lune, mlua-luau-scheduler, as a peer of the benches: see `peers/lune.rs` for what it is asked.
//!
//! It has no call that lets the others run. Scripts wait in asynchronous functions, as lune's `task.wait` is one;
//! here it is one that waits for nothing but its next turn. The VM interprets, as in the bench: native code is off.

use futures_lite::future::{block_on, yield_now};
use mlua::prelude::*;
use mlua_luau_scheduler::{Functions, Scheduler};
use std::collections::HashMap;
use std::io::{BufRead, stdin};

/// A crowd of coroutines that give way so often each, whenever it is started.
const CROWD: &str = "
    local tasks, rounds = ...
    local defer, yield, let_others_run = defer, coroutine.yield, let_others_run
    local all = {}
    for i = 1, tasks do
        all[i] = coroutine.create(function()
            while true do
                for i = 1, rounds do let_others_run() turns += 1 end
                yield()
            end
        end)
    end
    return function() for _, each in all do defer(each) end end";

/// The processor time of this process in nanoseconds.
fn now() -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the time to where it is told.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn main() -> LuaResult<()> {
    println!("mlua-luau-scheduler 0.3.0");
    let lua = Lua::new();
    lua.enable_jit(false);
    let scheduler = Scheduler::new(lua.clone());
    lua.globals().set("defer", Functions::new(lua.clone())?.defer)?;
    let let_others_run = lua.create_async_function(|_, ()| async {
        yield_now().await;
        Ok(())
    })?;
    lua.globals().set("let_others_run", let_others_run)?;
    let mut crowds: HashMap<(usize, usize), LuaFunction> = HashMap::new();
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [tasks, rounds] = words[..] else { panic!("asked for '{line}'") };
        if !crowds.contains_key(&(tasks, rounds)) {
            // What other rows have needed is in nobody's way.
            crowds.clear();
            lua.gc_collect()?;
            crowds.insert((tasks, rounds), lua.load(CROWD).call((tasks, rounds))?);
        }
        lua.globals().set("turns", 0)?;
        let start = now();
        scheduler.push_thread_back(crowds[&(tasks, rounds)].clone(), ())?;
        block_on(scheduler.run());
        let took = now() - start;
        assert_eq!(lua.globals().get::<usize>("turns")?, tasks * rounds);
        println!("{took}");
    }
    Ok(())
}
