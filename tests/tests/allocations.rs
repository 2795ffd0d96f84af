//! A switch, a value from one tasklet to another, and an access to a field of a component allocate nothing: not in
//! Rust, and not in the VM.

use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use bevy_reflect::std_traits::ReflectDefault;
use bluetick::ecs::{Bridge, BridgeConfig, Handle, Registry};
use bluetick_scripting::{Channel, Error, OwnerId, Vm, VmConfig};
use glam::{Quat, Vec3};
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

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Health {
    current: f32,
    hits: u32,
    safe: bool,
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Transform {
    translation: Vec3,
    rotation: Quat,
}

#[derive(Component, Reflect, Default)]
struct Speed(f32);

#[derive(Component, Reflect)]
struct Target(Entity);

#[test]
fn an_access_to_a_field_allocates_nothing() {
    for direct in [true, false] {
        let mut world = World::new();
        let registry = Registry::builder()
            .component::<Health>()
            .component::<Transform>()
            .component::<Speed>()
            .component::<Target>()
            .build(&mut world)
            .unwrap();
        let vm = Vm::new(VmConfig::default()).unwrap();
        let bridge =
            Bridge::install(&vm, Rc::new(registry), BridgeConfig { direct, ..BridgeConfig::default() })
                .unwrap();
        let other = world.spawn_empty().id();
        let e = world.spawn((Health::default(), Transform::default(), Speed(1.0), Target(other))).id();
        let lua = vm.lua();
        lua.globals().set("e", Handle(e)).unwrap();
        lua.globals().set("other", Handle(other)).unwrap();

        for body in [
            "local x = health.current",
            "health.current = i",
            "health.hits += 1 health.safe = not health.safe",
            "transform.translation += vector.one",
            "transform.rotation.x += 1",
            "local x = e.Health.current",
            "e.Health.current -= 1",
            "e.Speed += 1",
            "local x = e.alive and e.Target == other",
            "e.Target = e e.Target = other",
            "e.Transform.rotation.w = 1",
            "local x = e:has('Health')",
        ] {
            let script = format!(
                "local health, transform = e.Health, e.Transform
                 return function(n) for i = 1, n do {body} end end"
            );
            let run: mlua::Function = bridge.lend(&mut world, || lua.load(script).eval().unwrap());
            let mut count = |n: u32| {
                let before = ALLOCATIONS.get();
                bridge.lend(&mut world, || run.call::<()>(n).unwrap());
                ALLOCATIONS.get() - before
            };
            count(10);
            assert_eq!(count(10), count(10_000), "{body}, direct: {direct}");
        }
    }
}

#[derive(bevy_ecs::message::Message, Reflect, Clone)]
struct Rumour {
    words: Vec<String>,
}

#[test]
fn messages_that_no_script_listens_to_are_not_looked_at() {
    use bluetick::{Library, Script, ScriptHost};

    let listener = "return { run = function(self) for rumour in world:messages('Rumour', { capacity = 4096 }) do end end }";
    let library = Library::in_memory([("listener", listener)]);
    let mut world = World::new();
    let mut host = ScriptHost::builder().library(library).message::<Rumour>().build(&mut world).unwrap();
    let rumours = |world: &mut World| {
        for _ in 0..1_000 {
            world.write_message(Rumour { words: vec!["psst".into()] });
        }
    };
    let mut tick = |world: &mut World| {
        let before = ALLOCATIONS.get();
        let report = host.tick(world, 0.1);
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
        ALLOCATIONS.get() - before
    };
    for _ in 0..10 {
        tick(&mut world);
    }
    let quiet = (0..10).map(|_| tick(&mut world)).max().unwrap();
    let mut unheard = 0;
    for _ in 0..10 {
        rumours(&mut world);
        unheard = unheard.max(tick(&mut world));
    }
    assert!(
        unheard <= quiet,
        "{unheard} allocations in a tick with a thousand messages, {quiet} in one without"
    );
    world.spawn(Script::new("listener"));
    tick(&mut world);
    rumours(&mut world);
    let heard = tick(&mut world);
    assert!(heard > 1_000, "{heard}: each message was copied for the listener");
}
