use super::*;

#[test]
fn a_field_is_read_and_written_in_place() {
    for mut game in Game::both() {
        let e = game.world.spawn(Health { current: 3.0, max: 10.0 }).id();
        let read: f32 =
            game.run(e, "e.Health.current -= 1 local h = e.Health h.max = h.current * 4 return h.max");
        assert_eq!(read, 8.0);
        assert_eq!(game.world.get::<Health>(e), Some(&Health { current: 2.0, max: 8.0 }));
    }
}

#[test]
fn every_kind_of_field_goes_both_ways() {
    for mut game in Game::both() {
        let other = game.world.spawn_empty().id();
        let e = game.world.spawn(Everything::default()).id();
        game.vm.lua().globals().set("other", Handle(other)).unwrap();
        game.run::<()>(
            e,
            "local t = e.Everything
             local function both(name, value)
                 t[name] = value
                 assert(t[name] == value, name .. ' is ' .. tostring(t[name]))
             end
             both('flag', true) both('letter', 'é')
             both('a', 255) both('b', 65535) both('c', 4294967295) both('d', 2^53)
             both('e', -128) both('f', -32768) both('g', -2147483648) both('h', -2^53) both('i', 7)
             both('j', 0.5) both('k', 1/3) both('big', 12)
             both('v2', vector.create(1, 2, 0)) both('v3', vector.create(1, 2, 3))
             both('v3a', vector.create(4, 5, 6)) both('text', 'hello')
             both('target', other) both('target', nil) both('target', other)
             both('meters', 2.5)
             t.flag = true t.letter = 'y' t.a = 1 t.k = t.k + 1 t.v3 = t.v3 * 2 -- the direct handlers
             assert(t.flag == true and t.letter == 'y' and t.a == 1 and t.v3.z == 6)
             t.v4.x = 1 t.v4.w = 4 assert(t.v4.x == 1 and t.v4.w == 4)
             t.v4 = { x = 9 } assert(t.v4.x == 9 and t.v4.w == 0)
             t.v4 = { 1, 2, 3, 4 } assert(t.v4.w == 4)
             t.inner.depth = 3 t.inner.deeper.x = 1.5 assert(t.inner.deeper.x == 1.5)
             t.pair[1] = 7 t.pair[2] = 0.5 assert(t.pair[1] == 7 and #t.pair == 2)
             t.array[3] = -5 assert(t.array[3] == -5 and #t.array == 3)
             t.array = { 1, 2, 3 }",
        );
        let there = game.world.get::<Everything>(e).unwrap();
        let expected = Everything {
            flag: true,
            letter: 'y',
            a: 1,
            b: 65535,
            c: 4294967295,
            d: 1 << 53,
            e: -128,
            f: -32768,
            g: -2147483648,
            h: -(1 << 53),
            i: 7,
            j: 0.5,
            k: 1.0 / 3.0 + 1.0,
            big: 12,
            v2: Vec2::new(1.0, 2.0),
            v3: Vec3::new(2.0, 4.0, 6.0),
            v3a: Vec3A::new(4.0, 5.0, 6.0),
            v4: Vec4::new(1.0, 2.0, 3.0, 4.0),
            target: other,
            text: "hello".into(),
            inner: Inner { depth: 3, deeper: Deeper { x: 1.5 } },
            pair: (7, 0.5),
            array: [1, 2, 3],
            meters: Meters(2.5),
        };
        assert_eq!(*there, expected);
    }
}

#[test]
fn a_number_that_is_not_exact_is_a_string_of_digits_and_goes_back_as_such() {
    for mut game in Game::both() {
        let e = game.world.spawn(Everything { d: u64::MAX, h: i64::MIN, ..Everything::default() }).id();
        let read: (String, String) = game.run(e, "return e.Everything.d, e.Everything.h");
        assert_eq!(read, (u64::MAX.to_string(), i64::MIN.to_string()));
        game.run::<()>(e, "local t = e.Everything t.d, t.h, t.big = t.h:sub(2), t.h, t.d");
        let there = game.world.get::<Everything>(e).unwrap();
        assert_eq!((there.d, there.h, there.big), (1 << 63, i64::MIN, u64::MAX.into()));
    }
}

#[test]
fn a_value_that_does_not_fit_is_an_error_and_changes_nothing() {
    for mut game in Game::both() {
        let e = game.world.spawn(Everything::default()).id();
        for (field, value, expected) in [
            ("a", "256", "a whole number from 0 to 255 (u8)"),
            ("a", "-1", "a whole number from 0 to 255 (u8)"),
            ("a", "0.5", "a whole number from 0 to 255 (u8)"),
            ("a", "0/0", "number nan"),
            ("g", "2147483648", "i32"),
            ("g", "1/0", "number inf"),
            ("d", "2^64", "u64"),
            ("d", "-1", "u64"),
            ("h", "2^63", "i64"),
            ("h", "'12x'", "got string \"12x\""),
            ("c", "'abc'", "u32"),
            ("j", "'5'", "a number (f32), got string \"5\""),
            ("j", "true", "got true"),
            ("j", "nil", "got nil"),
            ("k", "{}", "got an empty table"),
            ("flag", "0", "a boolean (bool), got number 0"),
            ("flag", "nil", "got nil"),
            ("letter", "'ab'", "a string of one character (char)"),
            ("letter", "''", "char"),
            ("text", "12", "a string (String), got number 12"),
            ("text", "'\\xff'", "not valid UTF-8"),
            ("v3", "12", "a vector (Vec3), got number 12"),
            ("v3", "{ 1, 2 }", "a vector (Vec3), got a list of 2"),
            ("v3", "{ x = 'a' }", "Everything.v3.x: expected a number (f32), got string \"a\""),
            ("v2", "vector.create(1, 2, 3)", "a vector with z = 0 (Vec2), got vector 1, 2, 3"),
            ("v4", "vector.create(1, 2, 3)", "a table (Vec4)"),
            ("v4", "{ q = 1 }", "Vec4 has no field 'q'"),
            ("target", "'e'", "expected an entity, got string \"e\""),
            ("inner", "3", "a table (Inner)"),
            ("inner", "{ dept = 3 }", "Inner has no field 'dept' (did you mean 'depth'?)"),
            ("inner", "{ deeper = { x = 'q' } }", "Everything.inner.deeper.x: expected a number (f64)"),
            ("inner", "{ 1, 2 }", "a table (Inner), got a list of 2"),
            ("pair", "{ 1 }", "a list of 2"),
            ("pair", "{ 1, 'a' }", "Everything.pair[2]: expected a number (f32)"),
            ("array", "{ 1, 2, 3, 4 }", "a list of 3"),
            ("array", "{ 1, 2, 99999 }", "Everything.array[3]: expected a whole number"),
            ("big", "-1", "u128"),
            ("a", "print", "a function is no plain value"),
            ("a", "coroutine.create(print)", "a coroutine is no plain value"),
            ("text", "buffer.create(1)", "a buffer is no plain value"),
        ] {
            let name = format!("Everything.{field}");
            game.fails(e, &format!("e.Everything.{field} = {value}"), "type", &["test:1: ", &name, expected]);
            game.fails(e, &format!("e.Everything['{field}'] = {value}"), "type", &[&name, expected]);
        }
        assert_eq!(game.world.get::<Everything>(e), Some(&Everything::default()));
    }
}

#[test]
fn an_unknown_field_is_an_error_with_the_nearest_name() {
    for mut game in Game::both() {
        let e = game.world.spawn(Health::default()).id();
        let parts = ["Health has no field 'curent' (did you mean 'current'?); it has current and max"];
        game.fails(e, "return e.Health.curent", "type", &parts);
        game.fails(e, "e.Health.curent = 1", "type", &parts);
        // A name that other components know, but this one does not.
        game.fails(e, "return e.Health.translation", "type", &["Health has no field 'translation'"]);
        game.fails(e, "return e.Health[1]", "type", &["Health has no field '1'"]);
        game.fails(e, "return e.Health[{}]", "type", &["Health has no field 'table'"]);
        game.fails(e, "e.Health[nil] = 1", "type", &["Health has no field"]);
        game.fails(e, "return e.Health:current()", "string", &["attempt to call"]);
        game.fails(e, "return #e.Health", "type", &["no length"]);
    }
}

#[test]
fn elements_of_a_tuple_are_numbered() {
    for mut game in Game::both() {
        let e = game.world.spawn(Everything::default()).id();
        game.fails(e, "return e.Everything.pair[3]", "type", &["Everything.pair: has 2 elements, not 3"]);
        game.fails(e, "e.Everything.pair[0] = 1", "type", &["has 2 elements, not 0"]);
        game.fails(e, "return e.Everything.pair[1.5]", "type", &["not 1.5"]);
        game.fails(e, "return e.Everything.pair.x", "type", &["has no field 'x'"]);
        game.fails(e, "return e.Everything.pair[0/0]", "type", &["not NaN"]);
    }
}

#[test]
fn a_vector_is_a_value() {
    let mut game = Game::new();
    let e = game.world.spawn(Transform::default()).id();
    game.run::<()>(e, "local t = e.Transform t.translation += vector.create(1, 2, 3)");
    assert_eq!(game.world.get::<Transform>(e).unwrap().translation, Vec3::new(1.0, 2.0, 3.0));
    game.fails(e, "e.Transform.translation.x = 5", "string", &["attempt to"]);
}

#[test]
fn writing_marks_the_component_changed_and_reading_does_not() {
    for mut game in Game::both() {
        let e = game.world.spawn((Everything::default(), Speed(1.0), Inventory::default())).id();
        let changed = |world: &mut World| {
            let there = world.entity(e);
            let result = (
                there.get_ref::<Everything>().unwrap().is_changed(),
                there.get_ref::<Speed>().unwrap().is_changed(),
                there.get_ref::<Inventory>().unwrap().is_changed(),
            );
            world.clear_trackers();
            result
        };
        game.world.clear_trackers();
        game.run::<()>(
            e,
            "local t, _ = e.Everything, e.Speed
             _ = t.a, t.v3, t.text, t.inner.deeper.x, t.pair[1], e:get('Everything'), tostring(t)
             for k, v in t do end
             _ = #e.Inventory.items, e.Inventory.prices.x, e.Inventory.mood
             for k, v in e.Inventory.items do end
             assert(not pcall(function() t.a = -1 end))
             assert(not pcall(function() t.inner = { q = 1 } end))
             assert(not pcall(function() e.Inventory.items[5] = {} end))
             assert(not pcall(function() e.Speed = 'x' end))",
        );
        assert_eq!(changed(&mut game.world), (false, false, false));
        game.run::<()>(e, "e.Everything.a = 0");
        assert_eq!(changed(&mut game.world), (true, false, false));
        game.run::<()>(e, "e.Everything.text = 'x'");
        assert_eq!(changed(&mut game.world), (true, false, false));
        game.run::<()>(e, "e.Everything.inner.deeper.x = 1 e.Speed += 1 e.Inventory.items[1] = {}");
        assert_eq!(changed(&mut game.world), (true, true, true));
    }
}

#[test]
fn a_reference_whose_entity_is_gone_says_so() {
    for mut game in Game::both() {
        let e = game.world.spawn((Health::default(), Everything::default(), Inventory::default())).id();
        game.run::<()>(e, "h, inner, items = e.Health, e.Everything.inner, e.Inventory.items old = e");
        game.world.despawn(e);
        let gone = format!("entity {e} is gone");
        game.fails(e, "return h.current", "gone", &["Health.current", &gone]);
        game.fails(e, "h.current = 1", "gone", &["Health.current", &gone]);
        game.fails(e, "h.current = 'x'", "gone", &["Health.current", &gone]);
        game.fails(e, "return inner.deeper", "gone", &["Everything.inner.deeper", &gone]);
        game.fails(e, "return #items", "gone", &["Inventory.items", &gone]);
        game.fails(e, "items[1] = {}", "gone", &["Inventory.items", &gone]);
        game.fails(e, "return e.Health", "gone", &["Health", &gone]);
        game.fails(e, "e.Health = {}", "gone", &["Health", &gone]);
        game.fails(e, "e:despawn()", "gone", &["despawn", &gone]);
        game.run::<()>(e, "assert(e.alive == false and e == old and tostring(h) == 'Health (gone)')");
        // Another entity in the same place is another entity.
        let young = game.spawn_in_place_of(e, || Health { current: 5.0, max: 5.0 });
        game.fails(e, "return h.current", "gone", &["Health.current", &gone]);
        game.fails(e, "h.current = 0", "gone", &[&gone]);
        assert_eq!(game.world.get::<Health>(young).unwrap().current, 5.0);
        game.run::<()>(young, "assert(e ~= old and e.Health.current == 5 and not old.alive and e.alive)");
    }
}

#[test]
fn a_reference_whose_component_is_gone_says_so_and_works_again_when_it_is_back() {
    for mut game in Game::both() {
        let e = game.world.spawn((Health::default(), Sparse { value: 1 }, Inventory::default())).id();
        game.run::<()>(e, "h, s, items = e.Health, e.Sparse, e.Inventory.items s.value += 1");
        game.world.entity_mut(e).remove::<(Health, Sparse, Inventory)>();
        game.fails(
            e,
            "return h.current",
            "gone",
            &[&format!("Health.current: entity {e} has no Health any more")],
        );
        game.fails(e, "h.current = 3", "gone", &["has no Health any more"]);
        game.fails(e, "return s.value", "gone", &["Sparse.value"]);
        game.fails(e, "return items[1]", "gone", &["Inventory.items"]);
        game.run::<()>(e, "assert(e.Health == nil and e.Sparse == nil and e.Inventory == nil)");
        game.world.entity_mut(e).insert(Health { current: 7.0, max: 7.0 });
        game.run::<()>(e, "assert(h.current == 7 and e.Health == h)");
    }
}

#[test]
fn an_immutable_component_is_replaced_as_a_whole() {
    for mut game in Game::both() {
        let e = game.world.spawn(Fixed { value: 1 }).id();
        game.fails(e, "e.Fixed.value = 2", "type", &["Fixed.value: Fixed is immutable"]);
        game.run::<()>(e, "e.Fixed = { value = e.Fixed.value + 1 }");
        assert_eq!(game.world.get::<Fixed>(e), Some(&Fixed { value: 2 }));
    }
}

#[test]
fn a_newtype_is_what_it_wraps() {
    for mut game in Game::both() {
        let e = game.world.spawn(Speed(1.5)).id();
        game.run::<()>(
            e,
            "assert(e.Speed == 1.5) e.Speed += 1 assert(e.Speed == 2.5 and e:get('Speed') == 2.5)",
        );
        game.fails(e, "e.Speed = 'fast'", "type", &["Speed: expected a number (f32), got string \"fast\""]);
        game.run::<()>(e, "e.Speed = nil assert(e.Speed == nil) e.Speed = 4");
        assert_eq!(game.world.get::<Speed>(e), Some(&Speed(4.0)));
    }
}

#[test]
fn a_reference_is_copied_where_a_value_is_wanted() {
    let mut game = Game::new();
    let e = game.world.spawn((Health { current: 1.0, max: 2.0 }, Everything::default())).id();
    let other = game.world.spawn_empty().id();
    game.vm.lua().globals().set("other", Handle(other)).unwrap();
    game.run::<()>(
        e,
        "other.Health = e.Health
         e.Health = e.Health                             -- to itself
         e.Everything.inner.depth = 4
         other.Everything = { inner = e.Everything.inner }",
    );
    assert_eq!(game.world.get::<Health>(other), Some(&Health { current: 1.0, max: 2.0 }));
    assert_eq!(game.world.get::<Health>(e), Some(&Health { current: 1.0, max: 2.0 }));
    assert_eq!(game.world.get::<Everything>(other).unwrap().inner.depth, 4);
}

#[test]
fn a_reference_iterates_over_its_fields_and_prints_them() {
    let mut game = Game::new();
    let e = game.world.spawn((Health { current: 1.0, max: 2.0 }, Everything::default())).id();
    let text: String = game.run(
        e,
        "local out = {}
         for name, value in e.Health do table.insert(out, name .. '=' .. value) end
         for i, value in e.Everything.array do table.insert(out, i .. ':' .. value) end
         table.insert(out, tostring(e.Health))
         return table.concat(out, ' ')",
    );
    assert_eq!(text, "current=1 max=2 1:0 2:0 3:0 Health { current = 1, max = 2 }");
}

#[test]
fn metatables_are_locked_and_a_foreign_self_is_an_error() {
    for mut game in Game::both() {
        let e = game.world.spawn((Health::default(), Inventory::default())).id();
        game.run::<()>(
            e,
            "for _, v in { e, e.Health, e.Inventory.items, world:query('Health'), world } do
                 assert(getmetatable(v) == 'locked')
                 assert(not pcall(setmetatable, v, {}))
             end
             assert(typeof(e) == 'entity' and typeof(e.Health) == 'component')",
        );
        game.fails(e, "world.x = 1", "string", &["readonly"]);
        game.fails(e, "local f = e.has f(1, 'Health')", "type", &["expected an entity as self, got 1"]);
        game.fails(e, "local f = e.has f()", "type", &["expected an entity as self"]);
        game.fails(
            e,
            "local f = e.Inventory.items.insert f(e, 1)",
            "type",
            &["expected a part of a component"],
        );
        game.fails(e, "return e.Health + 1", "string", &["arithmetic"]);
        game.fails(e, "return e()", "string", &["attempt to call"]);
    }
}

#[test]
fn references_outlive_the_bridge_and_the_world() {
    let mut game = Game::new();
    let e = game.world.spawn((Health::default(), Inventory::default())).id();
    game.run::<()>(e, "h, items, q = e.Health, e.Inventory.items, world:query('Health')");
    let Game { world, vm, bridge } = game;
    drop(bridge);
    drop(world);
    let error = |script: &str| {
        let script =
            format!("local ok, err = pcall(function() {script} end) return ok, err.kind, err.message");
        vm.lua().load(script).eval::<(bool, String, String)>().unwrap()
    };
    for script in [
        "return h.current",
        "h.current = 1",
        "return items[1]",
        "return e.Health",
        "for x in q do end",
        "world:spawn {}",
        "e:despawn()",
    ] {
        let (ok, kind, message) = error(script);
        assert!(!ok && kind == "type", "{script}: {kind}");
        assert!(message.contains("the world can only be used while the game runs a frame"), "{message}");
    }
    assert!(vm.lua().load("return e.alive == false and e.id ~= nil").eval::<bool>().unwrap());
}
