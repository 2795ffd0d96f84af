//! What it costs that scripts can be interrupted.

use crate::harness::Row;
use bluetick_scripting::{OwnerId, SliceLimit, Vm, VmConfig};
use std::time::Duration;

const NOT: &str = "what nothing interrupts";

pub fn by_time() -> Row {
    let slice = SliceLimit::time(Duration::from_millis(5));
    Row::new(1, computing(slice)).limit(NOT, 1.03, computing(SliceLimit::default()))
}

pub fn by_ticks() -> Row {
    let slice = SliceLimit::ticks(1_000_000);
    Row::new(1, computing(slice)).limit(NOT, 1.3, computing(SliceLimit::default()))
}

/// A tasklet that computes for a while, in a VM with this limit on slices.
fn computing(slice: SliceLimit) -> impl FnMut() {
    let vm = Vm::new(VmConfig { slice, ..VmConfig::default() }).expect("a VM");
    let text = "
        local function fib(n) return if n < 2 then n else fib(n - 1) + fib(n - 2) end
        local sum = 0
        for i = 1, 10000 do sum += i % 7 end
        return fib(15) + sum";
    let body = vm.load("body", text).expect("a body");
    move || {
        vm.spawn(&body, (), OwnerId::default()).expect("a tasklet");
        vm.run_ready(|| true);
    }
}
