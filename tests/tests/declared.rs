//! Components that scripts and scenes declare (`ecs.md`): tables, but real components of the world.

use bevy_ecs::prelude::*;
use bluetick::ecs::Value;
use bluetick::{Scene, Script};
use bluetick_tests::{Game, script};

fn game(body: &str) -> (Game, Entity) {
    let mut game = Game::new([("it", script(body)), ("other", script("self:wait_for('x')"))]);
    let entity = game.world.spawn((Name::new("me"), Script::new("it"))).id();
    (game, entity)
}

#[track_caller]
fn prints(body: &str, expected: &str) {
    let (mut game, entity) = game(body);
    game.frames(3);
    assert_eq!(game.printed(), expected.replace("ID", &entity.to_string()));
}

#[test]
fn a_declared_component_is_used_in_place_by_its_name() {
    prints(
        r#"
        print(pcall(function() return self.Poison end))
        world:declare("Poison", { dps = 2, left = 5, stacks = { 1, 2 }, by = { who = self } })
        print(self.Poison, self:has("Poison"))
        self.Poison = { left = 3 }
        self.Poison.left -= 0.5
        self.Poison.stacks[3] = 7
        self.Poison.by.who = nil
        self.Poison.by.note = "x"
        self.Poison.new = { deep = { vector.one } }
        print(self.Poison.dps, self.Poison.left, #self.Poison.stacks, self.Poison.stacks[3], self.Poison.by.who,
            self.Poison.by.note, self.Poison.new.deep[1], self.Poison.nothing, self:has("Poison"))
        local copy = self:get("Poison")
        copy.left = 99
        print(type(copy), self.Poison.left)
        self.Poison = nil
        print(self.Poison, self:has("Poison"))
        "#,
        [
            "false\tit.luau:2: there is no component, field or method 'Poison'; entity ID has nothing",
            "nil\tfalse",
            "2\t2.5\t3\t7\tnil\tx\tvector(1, 1, 1)\tnil\ttrue",
            "table\t2.5",
            "nil\tfalse",
        ]
        .join(" ")
        .as_str(),
    );
}

#[test]
fn an_empty_table_of_a_declared_component_becomes_a_list_or_a_map_as_it_is_used() {
    prints(
        r#"
        world:declare("Bag", { items = {}, prices = {} })
        self.Bag = {}
        local bag = self.Bag
        print(#bag.items, bag.items:remove(), bag.items[1], bag.items.rope)
        bag.items:insert("rope")
        bag.items:insert(1, "lamp")
        bag.items[3] = "axe"
        print(#bag.items, table.concat(self:get("Bag").items, " "), bag.items:remove(1))
        bag.items:clear()
        print(#bag.items, bag.items.rope)
        bag.items.rope = 2
        bag.items.lamp = 3
        print(#bag.items, bag.items.rope)
        bag.items:clear()
        bag.items[1] = "again"
        bag.items:insert("and again")
        print(#bag.items, bag.items[2])
        bag.prices[7] = "seven"
        print(#bag.prices, bag.prices[7], bag.prices[1], pcall(bag.prices.insert, bag.prices, 1))
        "#,
        [
            "0\tnil\tnil\tnil",
            "3\tlamp rope axe\tlamp",
            "0\tnil",
            "2\t2",
            "2\tand again",
            "1\tseven\tnil\tfalse\tattempt to call a nil value",
        ]
        .join(" ")
        .as_str(),
    );
    // What fails leaves it as it was.
    for (line, changed) in [
        ("self.Bag.items:insert(5, 'x')", "nil"),
        ("self.Bag.items:insert(print)", "nil"),
        ("self.Bag.items[1] = print", "nil"),
        ("self.Bag.items:insert('x')", "Bag"),
        ("self.Bag.items.x = 1", "Bag"),
    ] {
        prints(
            &format!(
                "world:declare('Bag', {{ items = {{}} }}) self.Bag = {{}}
                 tasklet(function() print(self:changed('Bag', 0.25)) end)()
                 scheduler.schedule()
                 pcall(function() {line} end)"
            ),
            changed,
        );
    }
}

#[test]
fn queries_lifecycle_and_change_detection_work_on_it() {
    prints(
        r#"
        world:declare("Tag")
        local added = world:added("Tag")
        tasklet(function() for e in added do print("added", e.name) end end)()
        world:spawn { Name = "a", Tag = { n = 1 } }
        world:spawn { Name = "b", Tag = {} }
        local names = {}
        for e, tag in world:query("Tag") do table.insert(names, e.name .. tostring(tag.n)) end
        print(table.concat(names, " "), world:count("Tag"), #world:query({ without = "Tag" }))
        tasklet(function() print("changed", world:named("a"):changed("Tag")) end)()
        scheduler.schedule()
        world:named("a").Tag.n = 2
        synchro.yield()
        local news = {}
        for e in world:query("Tag", { changed = "Tag" }) do table.insert(news, e.name) end
        world:named("b").Tag.n = 3
        for e, tag in world:query("Tag", { changed = "Tag" }) do table.insert(news, e.name .. tag.n) end
        print(table.concat(news, " "))
        "#,
        "a1 bnil\t2\t1 added\ta added\tb changed\tTag a b b3",
    );
}

#[test]
fn rust_reads_and_writes_it_by_name_and_it_dies_with_its_entity() {
    let (mut game, entity) = game("world:declare('Poison', { dps = 2 }) self.Poison = { left = { 1, 'x' } }");
    game.frames(1);
    let registry = game.host.registry();
    let value = registry.read(&game.world, entity, "Poison").unwrap();
    assert_eq!(value.to_string(), r#"{ dps = 2, left = { 1, "x" } }"#);
    let set = Value::Map(vec![(Value::String("dps".into()), Value::Integer(7))]);
    game.host.registry().insert(&mut game.world, entity, "Poison", &set).unwrap();
    let value = game.host.registry().read(&game.world, entity, "Poison").unwrap();
    assert_eq!(value.to_string(), "{ dps = 7 }");
    game.world.despawn(entity);
    assert!(game.host.registry().read(&game.world, entity, "Poison").is_none());
    game.frames(1);
}

#[test]
fn a_scene_declares_components() {
    let (mut game, _) = game("for e, p in world:query('Poison') do print(e.name, p.dps, p.left) end");
    let scene = Scene::parse(
        "[components]\nPoison = { dps = 2 }\n[[entity]]\nname = 'rat'\ncount = 2\nPoison = { left = 1 }\n",
        "s.toml",
    )
    .unwrap();
    scene.spawn(&mut game.world, game.host.registry(), 1).unwrap();
    game.frames(1);
    assert_eq!(game.printed(), "rat 1\t2\t1 rat 2\t2\t1");
    for (text, part) in [
        ("[components]\npoison = {}", "s.toml:2:1: 'poison' can't be the name of a component"),
        ("[components]\nHealth = {}", "s.toml:2:1: 'Health' is a component of the game"),
        ("components = 3", "s.toml:1:14: components: expected a table of tables"),
        ("[components]\nRage = 3", "s.toml:2:1: Rage: expected a table of defaults, got number 3"),
    ] {
        let scene = Scene::parse(text, "s.toml");
        let error = match scene {
            Err(error) => error,
            Ok(scene) => scene.spawn(&mut game.world, game.host.registry(), 1).unwrap_err(),
        };
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn declaring_again_sets_the_defaults_and_mistakes_are_told() {
    prints(
        r#"
        world:declare("P", { a = 1 })
        world:declare("P", { a = 2, b = 3 })
        self.P = true
        print(self.P.a, self.P.b)
        self.P = { a = 5 }
        print(self.P.a, self.P.b)
        "#,
        "2\t3 5\t3",
    );
    for (line, part) in [
        ("world:declare('Health', {})", "'Health' is a component of the game"),
        ("world:declare('Script', {})", "means something else"),
        ("world:declare('name', {})", "has to begin with a capital"),
        ("world:declare('A b', {})", "has to begin with a capital"),
        ("world:declare(('A'):rep(65), {})", "at most 64"),
        ("world:declare(3)", "expected the name of a component"),
        ("world:declare('P', 3)", "P: expected a table of defaults, got number 3"),
        ("world:declare('P', { f = print })", "P.f: a function is no plain value"),
        ("world:declare('P') self.P = 3", "P: expected a table"),
        ("world:declare('P') self.P = { [vector.one] = 1 }", "as the key"),
        ("world:declare('P') self.P = {} local p = self.P self.P = nil p.x = 1", "has no P any more"),
        ("for i = 1, 300 do world:declare('P' .. i) end", "more than 256 components are declared"),
        ("local t = {} t.t = t world:declare('P', t)", "contains itself"),
        ("world:declare('P') world:spawn { script = 'other' }", "did you mean 'Script'"),
    ] {
        let (mut game, _) =
            game(&format!("local ok, err = pcall(function() {line} end) print(err and err.message)"));
        game.frames(1);
        let printed = game.printed();
        assert!(printed.contains(part), "{line}: {printed} does not say {part}");
    }
}
