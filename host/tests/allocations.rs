//! An access to a field of a component allocates nothing, in Rust or in the VM.

use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use bevy_reflect::std_traits::ReflectDefault;
use bluetick::ecs::{Bridge, BridgeConfig, Handle, Registry};
use bluetick_scripting::{Vm, VmConfig};
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
