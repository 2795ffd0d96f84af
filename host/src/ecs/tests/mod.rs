//! Scripts against a world: what they can do, and what happens when they do it wrong.

mod entities;
mod functions;
mod kinds;
mod odd;
mod places;
mod queries;
mod references;

use super::*;
use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use bevy_reflect::std_traits::ReflectDefault;
use bluetick_scripting::{GcStep, Vm, VmConfig};
use glam::{Quat, Vec2, Vec3, Vec3A, Vec4};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Health {
    current: f32,
    max: f32,
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Transform {
    translation: Vec3,
    rotation: Quat,
    scale: Vec2,
}

#[derive(Component, Reflect, Debug, PartialEq)]
#[reflect(Default)]
struct Everything {
    flag: bool,
    letter: char,
    a: u8,
    b: u16,
    c: u32,
    d: u64,
    e: i8,
    f: i16,
    g: i32,
    h: i64,
    i: usize,
    j: f32,
    k: f64,
    big: u128,
    v2: Vec2,
    v3: Vec3,
    v3a: Vec3A,
    v4: Vec4,
    target: Entity,
    text: String,
    inner: Inner,
    pair: (i32, f32),
    array: [i16; 3],
    meters: Meters,
}

impl Default for Everything {
    fn default() -> Self {
        Self {
            flag: false,
            letter: 'x',
            a: 0,
            b: 0,
            c: 0,
            d: 0,
            e: 0,
            f: 0,
            g: 0,
            h: 0,
            i: 0,
            j: 0.0,
            k: 0.0,
            big: 0,
            v2: Vec2::ZERO,
            v3: Vec3::ZERO,
            v3a: Vec3A::ZERO,
            v4: Vec4::ZERO,
            target: Entity::PLACEHOLDER,
            text: String::new(),
            inner: Inner::default(),
            pair: (0, 0.0),
            array: [0; 3],
            meters: Meters(0.0),
        }
    }
}

#[derive(Reflect, Default, Debug, PartialEq, Clone)]
#[reflect(Default)]
struct Inner {
    depth: u32,
    deeper: Deeper,
}

#[derive(Reflect, Default, Debug, PartialEq, Clone)]
#[reflect(Default)]
struct Deeper {
    x: f64,
}

#[derive(Reflect, Default, Debug, PartialEq, Clone)]
struct Meters(f32);

/// Without a default.
#[derive(Component, Reflect, Debug, PartialEq)]
struct Burning {
    dps: f32,
    by: Entity,
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
struct Speed(f32);

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Dead;

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[component(immutable)]
#[reflect(Default)]
struct Fixed {
    value: i32,
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[component(storage = "SparseSet")]
#[reflect(Default)]
struct Sparse {
    value: i32,
}

#[derive(Component, Reflect, Default, Debug, PartialEq, Clone)]
enum State {
    #[default]
    Idle,
    Chasing {
        target: Option<Entity>,
        speed: f32,
    },
    Waiting(f64),
    Between(i32, i32),
}

#[derive(Reflect, Default, Debug, PartialEq, Clone)]
#[reflect(Default)]
struct Item {
    name: String,
    count: u32,
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Inventory {
    items: Vec<Item>,
    queue: VecDeque<i32>,
    prices: HashMap<String, f32>,
    slots: BTreeMap<i32, Item>,
    tags: HashSet<String>,
    best: Option<Item>,
    mood: State,
    limit: Option<f32>,
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
struct Route(Vec<Vec3>);

#[derive(Resource, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Score {
    points: i64,
    names: Vec<String>,
}

/// A world with a VM, in which scripts run.
struct Game {
    world: World,
    vm: Rc<Vm>,
    bridge: Rc<Bridge>,
}

impl Game {
    fn new() -> Self {
        Self::with(|builder| builder, true)
    }

    /// Two games: one with the VM's direct handlers, one with the plain metamethods.
    fn both() -> [Self; 2] {
        [Self::with(|builder| builder, true), Self::with(|builder| builder, false)]
    }

    fn with(more: impl FnOnce(RegistryBuilder) -> RegistryBuilder, direct: bool) -> Self {
        let mut world = World::new();
        let builder = Registry::builder()
            .component::<Health>()
            .component::<Transform>()
            .component::<Everything>()
            .component::<Burning>()
            .component::<Speed>()
            .component::<Dead>()
            .component::<Fixed>()
            .component::<Sparse>()
            .component::<State>()
            .component::<Inventory>()
            .component::<Route>()
            .resource::<Score>();
        let registry = Rc::new(more(builder).build(&mut world).unwrap());
        let vm = Vm::new(VmConfig::default()).unwrap();
        let bridge =
            Bridge::install(&vm, registry, BridgeConfig { direct, ..BridgeConfig::default() }).unwrap();
        Self { world, vm, bridge }
    }

    /// Runs a script; `e` is the entity.
    fn run<R: mlua::FromLuaMulti>(&mut self, entity: Entity, script: &str) -> R {
        self.try_run(entity, script).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_run<R: mlua::FromLuaMulti>(&mut self, entity: Entity, script: &str) -> mlua::Result<R> {
        let Self { world, vm, bridge } = self;
        bridge.lend(world, || {
            vm.lua().globals().set("e", Handle(entity))?;
            vm.lua().load(script).set_name("=test").eval()
        })
    }

    /// Runs a script that must fail; returns the kind and the message of its error value.
    fn fail(&mut self, entity: Entity, script: &str) -> (String, String) {
        let script = format!(
            "local ok, err = pcall(function() {script} end)
             if ok then return 'none', 'it succeeded' end
             if type(err) == 'string' then return 'string', err end
             return err.kind, err.message"
        );
        self.run(entity, &script)
    }

    /// Spawns an entity with the index of a dead one.
    fn spawn_in_place_of<B: Bundle>(&mut self, dead: Entity, bundle: impl Fn() -> B) -> Entity {
        for _ in 0..10_000 {
            let entity = self.world.spawn_empty().id();
            if entity.index() == dead.index() {
                self.world.entity_mut(entity).insert(bundle());
                return entity;
            }
            // The world uses indices again once enough of them are free.
            self.world.despawn(entity);
        }
        panic!("the index of {dead} was not used again");
    }

    /// Asserts the kind and parts of the message of a script's error.
    #[track_caller]
    fn fails(&mut self, entity: Entity, script: &str, kind: &str, parts: &[&str]) {
        let (found, message) = self.fail(entity, script);
        assert_eq!(found, kind, "{message}");
        for part in parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }
}
