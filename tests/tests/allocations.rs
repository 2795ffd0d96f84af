//! A switch, and a value from one tasklet to another, allocate nothing: not in Rust, and not in the VM.

use bluetick_scripting::{Channel, Error, OwnerId, Vm, VmConfig};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;

struct Counting;

thread_local! {
    /// Those of this thread: the test harness has threads of its own, which allocate when they like.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate when its counter is gone already.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises that the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises that the system asks for.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises that the system asks for.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A channel from which a Rust tasklet receives for ever.
fn received_in_rust(vm: &Vm) -> Channel<u64> {
    let channel = vm.scheduler().channel::<u64>();
    let inbox = channel.clone();
    let body = move || -> Result<(), Error> {
        loop {
            inbox.receive()?;
        }
    };
    vm.scheduler().spawn(body).unwrap();
    channel
}

/// Fails if `begin`, which makes tasklets that do something so often, needs allocations each time that they do it
/// (a few that come with the tasklets themselves are no matter).
#[track_caller]
fn allocates_nothing(vm: &Rc<Vm>, begin: impl Fn(u64)) {
    let count = |times: u64| {
        let before = ALLOCATIONS.get();
        begin(times);
        vm.run_ready(|| true);
        ALLOCATIONS.get() - before
    };
    // Stacks and queues are as large afterwards as they will be.
    for _ in 0..10 {
        count(10);
    }
    let (few, many) = (count(10), count(10_000));
    // The collector may shrink a stack at any time, which the VM does by allocating.
    assert!(many < few + 100, "{few} allocations for ten times, {many} for ten thousand");
}

#[test]
fn a_switch_of_rust_tasklets_allocates_nothing() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    allocates_nothing(&vm, |times| {
        for _ in 0..2 {
            let scheduler = vm.scheduler();
            vm.scheduler().spawn(move || (0..times).try_for_each(|_| scheduler.schedule())).unwrap();
        }
    });
}

#[test]
fn a_value_from_rust_to_rust_allocates_nothing() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let channel = received_in_rust(&vm);
    allocates_nothing(&vm, |times| {
        let channel = channel.clone();
        vm.scheduler().spawn(move || (0..times).try_for_each(|value| channel.send(value))).unwrap();
    });
}

#[test]
fn an_access_to_a_field_that_a_profile_grants_allocates_nothing() {
    use bluetick::{Grant, Profile, Profiles};
    use bluetick_tests::{Game, Health, Position, script};
    let body = "local health, position, times = self.Health, self.Position, 10
        while true do
            for i = 1, times do
                health.current += 1
                position.at = vector.one * self.Health.current
                if not self:has('Health') then self.Health.current = 1 end
            end
            times = if times == 10 then 10000 else 10
            synchro.yield()
        end";
    for scripts in ["guest", "somebody else"] {
        let mut profile = Profile::new("guest", [scripts]);
        profile.read = Grant::only(["Marked", "Health", "Position"]);
        profile.write = Grant::only(["Health", "Position"]);
        let mut profiles = Profiles::default();
        profiles.add(profile);
        let mut game = Game::build([("guest", script(body))], |host| host.profiles(profiles));
        game.world.spawn((Health::default(), Position::default(), bluetick::Script::new("guest")));
        let mut count = || {
            let before = ALLOCATIONS.get();
            game.frames(1);
            ALLOCATIONS.get() - before
        };
        for _ in 0..10 {
            count();
        }
        let (few, many) = (count(), count());
        assert!(few.abs_diff(many) < 100, "{few} and {many} allocations, for {scripts}");
    }
}

#[test]
fn a_value_from_a_script_to_rust_allocates_nothing() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let channel = received_in_rust(&vm);
    let body = vm.load("body", "local c, n = ... for i = 1, n do c:send(i) end").unwrap();
    allocates_nothing(&vm, |times| {
        vm.spawn(&body, (&channel, times), OwnerId::default()).unwrap();
    });
}

#[test]
fn switches_and_values_between_scripts_allocate_nothing() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let receiver = "_G.c = channel() while true do c:receive() end";
    let receiver = vm.load("receiver", receiver).unwrap();
    vm.spawn(&receiver, (), OwnerId::default()).unwrap();
    vm.run_ready(|| true);
    let body = "local n = ... for i = 1, n do c:send(i) scheduler.schedule() end";
    let body = vm.load("body", body).unwrap();
    allocates_nothing(&vm, |times| {
        for _ in 0..2 {
            vm.spawn(&body, times, OwnerId::default()).unwrap();
        }
    });
}
