//! Odd types that a programmer may register, and what a script may do that means harm.

use super::*;
use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::world::DeferredWorld;

/// Holds itself.
#[derive(Component, Reflect, Default, Debug, PartialEq, Clone)]
#[reflect(Default)]
struct Tree {
    name: String,
    children: Vec<Tree>,
}

#[derive(Component, Reflect)]
#[reflect(Default)]
struct Moody {
    value: f32,
}

impl Default for Moody {
    fn default() -> Self {
        panic!("not today")
    }
}

#[derive(Reflect, Clone, Default)]
#[reflect(opaque)]
#[reflect(Default)]
struct Touchy;

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct WithTouchy {
    touchy: Touchy,
    list: Vec<Touchy>,
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
#[component(on_insert = explode)]
struct Mine {
    armed: bool,
}

fn explode(_: DeferredWorld<'_>, _: HookContext) {
    panic!("boom")
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
#[component(on_insert = vanish)]
struct Ghost;

fn vanish(mut world: DeferredWorld<'_>, context: HookContext) {
    world.commands().entity(context.entity).despawn();
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Grudge(Vec<u8>);

impl Drop for Grudge {
    fn drop(&mut self) {
        if self.0.first() == Some(&13) {
            panic!("never forget")
        }
    }
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Partly {
    seen: u8,
    #[reflect(ignore)]
    hidden: u8,
    last: u8,
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Generic<T: Reflect + bevy_reflect::TypePath + Default> {
    value: T,
}

#[derive(Component, Reflect, Default, Debug, PartialEq)]
#[reflect(Default)]
struct Keyed {
    by_entity: HashMap<Entity, u8>,
    by_place: HashMap<(i8, i8), u8>,
    places: HashSet<[i8; 2]>,
    empty: [u8; 0],
    unit: (),
}

fn game() -> Game {
    let add = |builder: RegistryBuilder| {
        builder
            .component::<Tree>()
            .component::<WithTouchy>()
            .component::<Mine>()
            .component::<Ghost>()
            .component::<Partly>()
            .component::<Keyed>()
            .component::<ChildOf>()
            .component_named::<Generic<f32>>("GenericFloat")
            .component_named::<Generic<String>>("GenericText")
            .conversion::<Touchy>(
                |_| panic!("don't look at me"),
                |value| if *value == Value::Bool(true) { Ok(Touchy) } else { panic!("don't touch me") },
            )
    };
    Game::with(add, true)
}

#[test]
fn a_panic_in_code_of_the_game_is_an_error_of_the_script_that_ran_into_it() {
    let mut game = game();
    let e = game.world.spawn((WithTouchy::default(), Health::default())).id();
    let (look, touch) = ("Rust code panicked: don't look at me", "Rust code panicked: don't touch me");
    game.fails(e, "return e.WithTouchy.touchy", "type", &[look]);
    game.fails(e, "return e:get('WithTouchy')", "type", &[look]);
    game.fails(e, "e.WithTouchy.touchy = 1", "type", &[touch]);
    game.fails(e, "e.WithTouchy = { touchy = 1 }", "type", &[touch]);
    game.fails(e, "e:insert('WithTouchy', { list = { 1 } })", "type", &[touch]);
    game.fails(e, "world:spawn { WithTouchy = { touchy = 1 } }", "type", &[touch]);
    game.fails(e, "e.WithTouchy.list[1] = 1", "type", &[touch]);
    game.fails(e, "e.WithTouchy.list:insert(1)", "type", &[touch]);
    game.run::<()>(e, "e.WithTouchy.list:insert(true)");
    game.fails(e, "return e.WithTouchy.list[1]", "type", &[look]);
    game.fails(e, "return e.WithTouchy.list:remove()", "type", &[look]);
    game.run::<()>(e, "assert(#e.WithTouchy.list == 0 and tostring(e.WithTouchy) == 'WithTouchy (gone)')");
    // A hook of the world's.
    game.fails(e, "e.Mine = {}", "type", &["Rust code panicked: boom"]);
    game.run::<()>(e, "assert(e.alive and e.Health.current == 0)");
}

#[test]
fn a_default_that_panics_does_so_when_the_type_is_registered_and_not_in_a_script() {
    let build = || {
        let mut world = World::new();
        Registry::builder().component::<Moody>().build(&mut world).map(drop)
    };
    let panic = std::panic::catch_unwind(build).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"not today"));
}

#[test]
fn a_component_that_despawns_its_entity_or_panics_when_it_is_dropped_harms_nobody() {
    let mut game = Game::with(|builder| builder.component::<Ghost>().component::<Grudge>(), true);
    let e = game.world.spawn(Health::default()).id();
    game.run::<()>(
        e,
        "local ok = pcall(function() return world:spawn { Ghost = {}, Health = {} } end)
         local other = world:spawn { Health = {} }
         pcall(function() other.Ghost = {} end)
         assert(not other.alive and e.alive and world:count('Health') == 1)",
    );
    game.run::<()>(e, "e.Grudge = { 13 }");
    game.fails(e, "e.Grudge = { 1 }", "type", &["Rust code panicked: never forget"]);
    game.run::<()>(e, "assert(e.alive and e.Health.current == 0)");
}

#[test]
fn a_type_that_holds_itself_is_used_in_place_to_a_depth_and_no_further() {
    let mut game = game();
    let e = game.world.spawn(Tree::default()).id();
    game.run::<()>(
        e,
        "e.Tree.children:insert({ name = 'a', children = { { name = 'b' } } })
         assert(e.Tree.children[1].children[1].name == 'b')
         e.Tree.children[1].children[1].children[1] = { name = 'c' }
         assert(e:get('Tree').children[1].children[1].children[1].name == 'c')",
    );
    // Something this deep could not be dropped again without running out of stack.
    let deepen =
        "local node = e.Tree for i = 1, 100000 do node.children:insert(1, {}) node = node.children[1] end";
    game.fails(e, deepen, "type", &["is nested more than 32 deep"]);
    let depth = |mut tree: &Tree| {
        let mut depth = 0;
        while let Some(child) = tree.children.first() {
            (tree, depth) = (child, depth + 1);
        }
        depth
    };
    assert!((32..200).contains(&depth(game.world.get::<Tree>(e).unwrap())));
    game.run::<()>(e, "e.Tree = {} assert(#e.Tree.children == 0)");
}

#[test]
fn a_declared_component_is_not_nested_without_end_either() {
    let mut game = game();
    let e = game.world.spawn_empty().id();
    game.run::<()>(e, "world:declare('Box') e.Box = {}");
    let deepen = "local box = e.Box for i = 1, 100000 do box.x = {} box = box.x end";
    game.fails(e, deepen, "type", &["is nested more than 32 deep"]);
    let lists = "e.Box = { x = {} } local x = e.Box.x for i = 1, 100000 do x:insert({}) x = x[1] end";
    game.fails(e, lists, "type", &["is nested more than 32 deep"]);
    game.run::<()>(e, "e.Box = { x = 1 } assert(e.Box.x == 1) e.Box = nil");
}

#[test]
fn fields_that_reflection_ignores_are_not_there_and_those_beside_them_are() {
    let mut game = game();
    let e = game.world.spawn(Partly { seen: 1, hidden: 2, last: 3 }).id();
    game.run::<()>(e, "e.Partly.seen += 10 e.Partly.last += 10");
    game.fails(
        e,
        "return e.Partly.hidden",
        "type",
        &["Partly has no field 'hidden'", "it has seen and last"],
    );
    game.fails(e, "e.Partly.hidden = 1", "type", &["Partly has no field 'hidden'"]);
    assert_eq!(game.world.get::<Partly>(e), Some(&Partly { seen: 11, hidden: 2, last: 13 }));
}

#[test]
fn generic_types_have_the_names_that_they_are_given() {
    let mut game = game();
    let e = game.world.spawn((Generic { value: 1.5f32 }, Generic { value: "x".to_owned() })).id();
    game.run::<()>(
        e,
        "e.GenericFloat.value *= 2 e.GenericText.value ..= 'y'
         assert(e.GenericFloat.value == 3 and e.GenericText.value == 'xy')",
    );
}

#[test]
fn keys_of_maps_may_be_entities_and_tuples_and_empty_things_are_empty() {
    let mut game = game();
    let e = game.world.spawn(Keyed::default()).id();
    game.run::<()>(
        e,
        "local k = e.Keyed
         k.by_entity[e] = 4 assert(k.by_entity[e] == 4 and #k.by_entity == 1)
         for entity, value in k.by_entity do assert(entity == e and value == 4) end
         k.by_place[{ 1, -2 }] = 9 assert(k.by_place[{ 1, -2 }] == 9 and k.by_place[{ 2, 2 }] == nil)
         k.by_place[{ 1, -2 }] += 1 k.by_place[{ 2, 2 }] = 3 assert(#k.by_place == 2 and k.by_place[{ 1, -2 }] == 10)
         k.by_place:remove({ 2, 2 }) k.by_place[{ 3, 3 }] = nil assert(#k.by_place == 1)
         k.places[{ 1, 2 }] = true k.places:insert({ 3, 4 }) k.places[{ 5, 6 }] = nil
         assert(k.places[{ 1, 2 }] and k.places[{ 3, 4 }] and not k.places[{ 2, 1 }] and #k.places == 2)
         k.places[{ 1, 2 }] = nil k.places:remove({ 3, 4 }) assert(#k.places == 0)
         assert(#k.empty == 0 and #k.unit == 0)
         k.empty = {} k.unit = {}",
    );
    game.fails(e, "e.Keyed.by_place[{ 1 }] = 1", "type", &["the key: expected a list of 2"]);
    game.fails(e, "e.Keyed.by_entity['e'] = 1", "type", &["the key: expected an entity"]);
    game.fails(e, "e.Keyed.empty[1] = 1", "type", &["has 0 elements, not 1"]);
}

#[test]
fn entities_of_the_world_itself_are_neither_found_nor_despawned() {
    let mut game = game();
    let system = game.world.register_system(|| {}).entity();
    let observer = game.world.add_observer(|_: On<bevy_ecs::lifecycle::Add<Health>>| {}).id();
    game.world.init_resource::<Score>();
    let resource = game.world.resource_entity::<Score>().unwrap();
    game.world.entity_mut(observer).insert(Name::new("watcher"));
    let e = game.world.spawn(Health::default()).id();
    for machinery in [system, observer, resource] {
        game.run::<()>(e, &format!("assert(world:entity('{machinery}') == nil)"));
        game.vm.lua().globals().set("it", Handle(machinery)).unwrap();
        game.fails(e, "it:despawn()", "type", &["belongs to the world itself"]);
    }
    game.run::<()>(
        e,
        "assert(world:named('watcher') == nil and world:count() == 1 and #world:query() == 1)
         for entity in world:query() do entity:despawn() end",
    );
    assert!([system, observer, resource].into_iter().all(|entity| game.world.get_entity(entity).is_ok()));
}

#[test]
fn queries_take_memory_of_the_vm_only() {
    let mut game = game();
    for _ in 0..5_000 {
        game.world.spawn(Health::default());
    }
    let e = game.world.spawn_empty().id();
    let bytes: f64 = game.run(
        e,
        "local keep, before = {}, gcinfo()
         for i = 1, 100 do keep[i] = world:query('Health') end
         return (gcinfo() - before) * 1024",
    );
    assert!(bytes > 90.0 * 5_000.0 * 8.0, "{bytes}");
    let more: f64 = game.run(
        e,
        "e.Keyed = {} e.Tree = {}
         local slots = {} for i = 1, 20000 do slots[i] = i % 100 end
         world:declare('Big') e.Big = { slots = slots, map = { x = 1 } }
         local keep, before = {}, gcinfo()
         local function start(t) for k in t do coroutine.yield() end end
         for i = 1, 100 do keep[i] = coroutine.wrap(start) keep[i](e.Big.slots) end
         return (gcinfo() - before) * 1024",
    );
    // The numbers of a list are counted, not kept.
    assert!(more < 100.0 * 5_000.0, "{more}");
}
