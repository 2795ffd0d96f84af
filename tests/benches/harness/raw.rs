//! Coroutines without a scheduler: what bounds ours.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

use bluetick_scripting::raw::*;
use bluetick_scripting::{Vm, VmConfig};
use std::ffi::c_int;
use std::rc::Rc;

/// Enough memory for a million of anything.
pub const MEMORY: usize = 16 << 30;

/// A VM with enough memory for a million of anything.
pub fn vm() -> Rc<Vm> {
    Vm::new(VmConfig { memory_limit: MEMORY, ..VmConfig::default() }).expect("a VM")
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
        let vm = vm();
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

    /// Their VM.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Resumes each once.
    pub fn resume_all(&self) {
        for &thread in &self.threads {
            // SAFETY: the coroutine has yielded.
            unsafe { lua_resume_(thread, std::ptr::null_mut(), 0) };
        }
    }
}
