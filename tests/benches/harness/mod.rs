//! What the benches of this folder share: rows of two things that are timed by turns, and raw coroutines.
#![allow(dead_code)] // each bench uses its own part

use bluetick_scripting::raw::*;
use bluetick_scripting::{Vm, VmConfig};
use std::ffi::c_int;
use std::rc::Rc;
use std::time::Instant;

/// Rounds of each row; every round times both sides once. A side takes a millisecond at most, so that
/// few rounds are interrupted by other processes.
pub const ROUNDS: usize = 201;

/// What a row compares.
pub struct Row {
    /// The most that the ratio is meant to be.
    pub goal: f64,
    /// Operations in one call of either side.
    pub operations: usize,
    /// Ours.
    pub ours: Box<dyn FnMut()>,
    /// What bounds it.
    pub limit: Box<dyn FnMut()>,
}

/// A row's short name, and what makes it.
pub type Named = (&'static str, fn() -> Row);

/// Measures the rows that the command line asks for.
pub fn run(rows: &[Named]) {
    println!("Luau {}, {ROUNDS} rounds, medians, ns an operation", mlua::ffi::luau_version().unwrap_or("?"));
    println!("{:<58} {:>9} {:>9} {:>7} {:>7}", "what", "ours", "limit", "ratio", "goal");
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (sides, words): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
    for &(what, row) in rows {
        if !words.iter().all(|word| what.contains(&***word)) {
            continue;
        }
        let mut row = row();
        match sides.first().map(|side| &***side) {
            Some("--ours") => (0..ROUNDS * 5).for_each(|_| (row.ours)()),
            Some("--limit") => (0..ROUNDS * 5).for_each(|_| (row.limit)()),
            _ => report(what, row),
        }
    }
}

fn report(what: &str, mut row: Row) {
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 3 {
        let (ours_took, limit_took) = (time(&mut row.ours), time(&mut row.limit));
        // The first rounds warm up.
        if round >= 3 {
            ours.push(ours_took / row.operations as f64);
            limits.push(limit_took / row.operations as f64);
        }
    }
    // Of each round, so that what slows a whole round down does not count.
    let ratio = median(ours.iter().zip(&limits).map(|(ours, limit)| ours / limit).collect());
    let (ours, limit) = (median(ours), median(limits));
    let mark = if ratio <= row.goal { "" } else { "  over its goal" };
    println!("{what:<58} {ours:>9.1} {limit:>9.1} {ratio:>7.2} {:>7.2}{mark}", row.goal);
}

fn time(f: &mut Box<dyn FnMut()>) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_nanos() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Coroutines that are resumed by the VM's own call.
pub struct RawCoroutines {
    vm: Rc<Vm>,
    threads: Vec<*mut lua_State>,
}

impl RawCoroutines {
    /// So many that do nothing but yield.
    pub fn new(count: usize) -> Self {
        Self::with(count, "local yield = ... while true do yield() end", |_| mlua::Value::Nil)
    }

    /// So many that run this text, which gets the function that yields, and a value of its own.
    pub fn with(count: usize, text: &str, own: impl Fn(&Vm) -> mlua::Value) -> Self {
        unsafe extern "C-unwind" fn raw_yield(L: *mut lua_State) -> c_int {
            // SAFETY: a C function called by the VM in a coroutine.
            unsafe { lua_yield(L, 0) }
        }
        let vm = Vm::new(VmConfig::default()).expect("a VM");
        let body = vm.load("raw", text).expect("a body");
        let mut threads = Vec::new();
        let registry = vm.lua().create_table().expect("a table");
        for _ in 0..count {
            // SAFETY: protected by mlua, which has pushed the table and the body; the table keeps each
            // coroutine alive.
            unsafe {
                vm.lua()
                    .exec_raw::<()>((&registry, &body, own(&vm)), |L| {
                        let thread = lua_newthread(L);
                        lua_xpush(L, thread, 2);
                        lua_pushcfunctiond(thread, raw_yield, c"yield".as_ptr());
                        lua_xpush(L, thread, 3);
                        lua_rawseti_(L, 1, threads.len() as c_int + 1);
                        threads.push(thread);
                        lua_settop(L, 0);
                    })
                    .expect("a coroutine");
            }
        }
        vm.lua().set_named_registry_value("threads", registry).expect("kept");
        for &thread in &threads {
            // SAFETY: the coroutine has its function and two arguments.
            let status = unsafe { lua_resume_(thread, std::ptr::null_mut(), 2) };
            assert_eq!(status, LUA_YIELD);
        }
        Self { vm, threads }
    }

    /// Resumes each once.
    pub fn resume_all(&self) {
        let _ = &self.vm;
        for &thread in &self.threads {
            // SAFETY: the coroutine has yielded.
            unsafe { lua_resume_(thread, std::ptr::null_mut(), 0) };
        }
    }
}
