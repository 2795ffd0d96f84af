//! What components cost scripts, as ratios to the VM's own ways measured in one run.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench components
//! ```
//!
//! See `README.md` in this folder for how to read the table, and for the words after `--`. "Raw C" is a userdata
//! whose `__index` and `__newindex` are C functions that read and write a float of a struct, and ask for no key.
#![allow(non_snake_case)] // `L` is what every text on the VM calls its state

mod harness;

use bevy_ecs::prelude::*;
use bevy_reflect::GetPath;
use bevy_reflect::prelude::*;
use bluetick::ecs::{Bridge, BridgeConfig, Handle, Registry};
use bluetick::{Library, Script, ScriptHost};
use bluetick_scripting::raw::*;
use bluetick_scripting::{Vm, VmConfig};
use glam::Vec3;
use harness::{RawCoroutines, Row, Side};
use mlua::Function;
use std::cell::RefCell;
use std::ffi::c_int;
use std::process::ExitCode;
use std::rc::Rc;

/// Accesses in one call of either side.
const N: usize = 20_000;

fn main() -> ExitCode {
    harness::run(
        "components",
        &[
            ("read of an f32 by a held reference", read_float),
            ("read of a Vec3 by a held reference", read_vector),
            ("write of an f32 by a held reference", write_float),
            ("read of self.Health.current", read_from_entity),
            ("read of an f32 by plain metamethods", read_float_plain),
            ("tick of 10 000: two components read, one written", tick_of_movers),
            ("query of 100 000, two components", query_many),
            ("message from Rust to a script that listens", message_from_rust),
            ("message from a script to another one", message_between_scripts),
        ],
    )
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Health {
    current: f32,
    max: f32,
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Position {
    at: Vec3,
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Velocity {
    linear: Vec3,
}

/// A world with one entity, and a loop over this line: `h` is its health, `p` its position.
fn access(line: &str, direct: bool) -> impl FnMut() + use<> {
    let mut world = World::new();
    let registry = Registry::builder().component::<Health>().component::<Position>().build(&mut world);
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let config = BridgeConfig { direct, ..BridgeConfig::default() };
    let bridge = Bridge::install(&vm, Rc::new(registry.expect("a registry")), config).expect("a bridge");
    let entity = world.spawn((Health::default(), Position::default())).id();
    let text = format!(
        "local self, n = ...
         local h, p = self.Health, self.Position
         local x
         for i = 1, n do {line} end"
    );
    let run = vm.load("it", &text).expect("a loop");
    move || {
        bridge.lend(&mut world, || run.call::<()>((Handle(entity), N))).expect("it runs");
        let _ = &vm;
    }
}

#[repr(C)]
struct Raw {
    x: f32,
    y: f32,
}

unsafe extern "C-unwind" fn raw_index(L: *mut lua_State) -> c_int {
    // SAFETY: called by the VM as a metamethod of the userdata below.
    unsafe {
        lua_pushnumber(L, f64::from((*lua_touserdata(L, 1).cast::<Raw>()).x));
        1
    }
}

unsafe extern "C-unwind" fn raw_newindex(L: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        (*lua_touserdata(L, 1).cast::<Raw>()).y = lua_tonumber(L, 3) as f32;
        0
    }
}

/// A userdata with raw C metamethods.
fn raw_userdata(vm: &Vm) -> mlua::Value {
    // SAFETY: protected by mlua, which takes the one value that is left.
    unsafe {
        vm.lua()
            .exec_raw((), |L| {
                lua_newuserdata(L, size_of::<Raw>()).cast::<Raw>().write(Raw { x: 1.0, y: 2.0 });
                lua_createtable(L, 0, 2);
                lua_pushcfunctiond(L, raw_index, c"__index".as_ptr());
                lua_rawsetfield(L, -2, c"__index".as_ptr());
                lua_pushcfunctiond(L, raw_newindex, c"__newindex".as_ptr());
                lua_rawsetfield(L, -2, c"__newindex".as_ptr());
                lua_setmetatable(L, -2);
            })
            .expect("a userdata")
    }
}

/// A loop over this line, in which `u` is such a userdata.
fn raw(line: &str) -> impl FnMut() + use<> {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let userdata = raw_userdata(&vm);
    let text = format!("local u, n = ... local x, t = nil, {{ x = 1, y = 2 }} for i = 1, n do {line} end");
    let run: Function = vm.load("raw", &text).expect("a loop");
    move || {
        run.call::<()>((&userdata, N)).expect("it runs");
        let _ = &vm;
    }
}

fn read(goal: f64, ours: impl FnMut() + 'static) -> Row {
    Row::new(N, ours).limit("raw C `__index`", goal, raw("x = u.x")).limit(
        "Luau table field",
        None,
        raw("x = t.x"),
    )
}

fn read_float() -> Row {
    // What bevy_mod_scripting 0.23 does for a field, which is for this Bevy, but brings another mlua along: two of them
    // can't be linked into one program. So it is done here, and at its least: the component is found without a search.
    let name = "mlua userdata, field found by reflection";
    read(0.8, access("x = h.current", true)).peer(Side::new(name, N, reflected()), None)
}

/// A component behind an mlua userdata, whose fields are found by reflection at each access.
struct Reflected {
    world: Rc<RefCell<World>>,
    entity: Entity,
}

impl mlua::UserData for Reflected {
    fn add_methods<M: mlua::UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(mlua::MetaMethod::Index, |_, this, name: String| {
            let world = this.world.borrow();
            let health = world.get::<Health>(this.entity);
            let field = health.and_then(|health| health.reflect_path(&*name).ok());
            let number = field.and_then(|field| field.try_downcast_ref::<f32>());
            number.copied().ok_or_else(|| mlua::Error::runtime(format!("no field {name}")))
        });
    }
}

fn reflected() -> impl FnMut() + use<> {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let mut world = World::new();
    let entity = world.spawn(Health::default()).id();
    let world = Rc::new(RefCell::new(world));
    let userdata = vm.lua().create_userdata(Reflected { world, entity }).expect("a userdata");
    let run = vm.load("reflected", "local u, n = ... local x for i = 1, n do x = u.current end");
    let run = run.expect("a loop");
    move || {
        run.call::<()>((&userdata, N)).expect("it runs");
        let _ = &vm;
    }
}

fn read_vector() -> Row {
    read(0.8, access("x = p.at", true))
}

fn write_float() -> Row {
    Row::new(N, access("h.current = i", true)).limit("raw C `__newindex`", 0.9, raw("u.x = i")).limit(
        "Luau table field",
        None,
        raw("t.x = i"),
    )
}

fn read_from_entity() -> Row {
    read(1.6, access("x = self.Health.current", true))
}

fn read_float_plain() -> Row {
    read(1.5, access("x = h.current", false))
}

fn tick_of_movers() -> Row {
    const MOVERS: usize = 10_000;
    let script = "
        local It = {}
        function It.run(self)
            local position, velocity = self.Position, self.Velocity
            while true do
                position.at += velocity.linear
                synchro.yield()
            end
        end
        return It";
    let mut world = World::new();
    let library = Library::in_memory([("it", script)]);
    let builder = ScriptHost::builder().library(library).component::<Position>().component::<Velocity>();
    let mut host = builder.build(&mut world).expect("a host");
    for _ in 0..MOVERS {
        world.spawn((Position::default(), Velocity { linear: Vec3::ONE }, Script::new("it")));
    }
    for _ in 0..3 {
        let report = host.tick(&mut world, 0.01);
        assert!(report.failures.is_empty(), "{:?}", report.failures);
    }
    let raw = RawCoroutines::with(
        MOVERS,
        "local yield, u = ... while true do u.x = u.x + u.y yield() end",
        raw_userdata,
    );
    let ours = move || {
        let report = host.tick(&mut world, 0.01);
        assert_eq!(report.slices, MOVERS as u64);
    };
    Row::new(MOVERS, ours).limit("raw resume, three raw accesses", 1.6, move || raw.resume_all())
}

fn query_many() -> Row {
    const ENTITIES: usize = 100_000;
    let mut world = World::new();
    let registry = Registry::builder().component::<Health>().component::<Position>().build(&mut world);
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let bridge = Bridge::install(&vm, Rc::new(registry.expect("a registry")), BridgeConfig::default());
    let bridge = bridge.expect("a bridge");
    let mut entities = Vec::new();
    for _ in 0..ENTITIES {
        entities.push(world.spawn((Health::default(), Position::default())).id());
    }
    let text = "
        local first, all = ...
        local count = 0
        if all then
            for entity, health, position in world:query('Health', 'Position') do count += 1 end
        else
            local h = first.Health
            local x
            for i = 1, 100000 do x = h.current count += 1 end
        end
        return count";
    let run: Function = vm.load("it", text).expect("a loop");
    let keep = "local kept = {} for e, h, p in world:query('Health', 'Position') do kept[e] = { h, p } end return kept";
    let keep: Function = vm.load("keep", keep).expect("a loop");
    // Tasklets hold the handles and references that they use; without that, each loop would make them anew.
    let kept: mlua::Table = bridge.lend(&mut world, || keep.call(())).expect("it runs");
    vm.lua().set_named_registry_value("kept", kept).expect("kept");
    let first = entities[0];
    let shared = Rc::new(std::cell::RefCell::new(world));
    let side = move |all: bool,
                     world: Rc<std::cell::RefCell<World>>,
                     bridge: Rc<Bridge>,
                     run: Function,
                     vm: Rc<Vm>| {
        move || {
            let count: usize =
                bridge.lend(&mut world.borrow_mut(), || run.call((Handle(first), all))).expect("it runs");
            assert_eq!(count, ENTITIES);
            let _ = &vm;
        }
    };
    Row::new(ENTITIES, side(true, shared.clone(), bridge.clone(), run.clone(), vm.clone())).limit(
        "a read by a held reference",
        3.0,
        side(false, shared, bridge, run, vm),
    )
}

#[derive(Message, Reflect, Default)]
#[reflect(Default)]
struct Wave {
    number: f32,
}

/// Messages in a frame.
const WAVES: usize = 1_000;

/// A game with one entity that listens to waves, and scripts besides.
fn shore(others: &[(&str, &str)]) -> (World, ScriptHost) {
    let ear = "return { run = function(self)
        local heard = 0
        for wave in world:messages('Wave') do heard += wave.number self.state.heard = heard end
    end }";
    let library = Library::in_memory([("ear", ear)].into_iter().chain(others.iter().copied()));
    let mut world = World::new();
    let builder = ScriptHost::builder().library(library).message::<Wave>();
    let mut host = builder.build(&mut world).expect("a host");
    for name in ["ear"].into_iter().chain(others.iter().map(|other| other.0)) {
        world.spawn(Script::new(name));
    }
    host.tick(&mut world, 0.01);
    (world, host)
}

/// So many messages, beside so many raw resumes of a coroutine that makes a table for each.
fn messages(ours: impl FnMut() + 'static) -> Row {
    let raw = RawCoroutines::with(
        1,
        "local yield = ... while true do local wave = { number = 1 } yield() end",
        |_| mlua::Value::Nil,
    );
    Row::new(WAVES, ours)
        .limit("raw resume, a table made", None, move || (0..WAVES).for_each(|_| raw.resume_all()))
}

fn message_from_rust() -> Row {
    let (mut world, mut host) = shore(&[]);
    messages(move || {
        for _ in 0..WAVES {
            world.write_message(Wave { number: 1.0 });
        }
        let report = host.tick(&mut world, 0.01);
        assert!(report.failures.is_empty() && report.slow_listeners.is_empty(), "{report:?}");
    })
}

fn message_between_scripts() -> Row {
    let mouth = "return { run = function(self)
        while true do
            for i = 1, 1000 do world:send('Wave', { number = 1 }) end
            synchro.yield()
        end
    end }";
    let (mut world, mut host) = shore(&[("mouth", mouth)]);
    messages(move || {
        let report = host.tick(&mut world, 0.01);
        assert!(report.failures.is_empty() && report.slow_listeners.is_empty(), "{report:?}");
    })
}
