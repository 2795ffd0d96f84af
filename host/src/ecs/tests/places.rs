use super::*;

fn rich() -> Inventory {
    Inventory {
        items: vec![Item { name: "rope".into(), count: 2 }, Item { name: "lamp".into(), count: 1 }],
        queue: [5, 6, 7].into(),
        prices: [("rope".into(), 1.5), ("lamp".into(), 8.0), ("axe".into(), 12.0)].into(),
        slots: [(3, Item { name: "c".into(), count: 3 }), (-1, Item::default())].into(),
        tags: ["b".into(), "a".into()].into(),
        best: Some(Item { name: "crown".into(), count: 1 }),
        mood: State::Chasing { target: None, speed: 2.0 },
        limit: Some(9.0),
    }
}

#[test]
fn lists_are_used_in_place() {
    let mut game = Game::new();
    let e = game.world.spawn(rich()).id();
    game.run::<()>(
        e,
        "local items = e.Inventory.items
         assert(#items == 2 and items[1].name == 'rope' and items[3] == nil and items[0] == nil and items[-1] == nil)
         items[1].count += 3
         items[2] = { name = 'torch' }                           -- the rest by default
         items[#items + 1] = { name = 'axe', count = 1 }
         items:insert(1, { name = 'first' }) items:insert({ name = 'last' })
         local gone = items:remove(2)
         assert(gone.name == 'rope' and gone.count == 5)
         items[#items] = nil                                     -- the last
         local names = {}
         for i, item in items do names[i] = item.name end
         assert(table.concat(names, ' ') == 'first torch axe', table.concat(names, ' '))
         assert(items == e.Inventory.items and items ~= e.Inventory.queue)
         e.Inventory.queue[2] = 60 assert(e.Inventory.queue[2] == 60)
         assert(e.Inventory.queue:remove() == 7 and #e.Inventory.queue == 2)
         e.Inventory.queue:clear() assert(#e.Inventory.queue == 0 and e.Inventory.queue:remove() == nil)
         e.Inventory.queue = { 1, 2 }
         assert(tostring(e.Inventory.queue) == 'Inventory.queue { 1, 2 }')",
    );
    let there = game.world.get::<Inventory>(e).unwrap();
    assert_eq!(there.items[1], Item { name: "torch".into(), count: 0 });
    assert_eq!(there.queue, [1, 2]);
}

#[test]
fn mistakes_with_lists_are_errors() {
    let mut game = Game::new();
    let e = game.world.spawn(rich()).id();
    game.fails(
        e,
        "e.Inventory.items[4] = {}",
        "type",
        &["Inventory.items: has 2 elements; only [1] to [3] can be set, not [4]"],
    );
    game.fails(e, "e.Inventory.items[0] = {}", "type", &["not [0]"]);
    game.fails(e, "e.Inventory.items[1.5] = {}", "type", &["not [1.5]"]);
    game.fails(e, "e.Inventory.items.x = {}", "type", &["Inventory.items"]);
    game.fails(
        e,
        "return e.Inventory.items.x",
        "type",
        &["expected a number as the index, got string \"x\""],
    );
    game.fails(e, "e.Inventory.items[1] = nil", "type", &["only the last element can be set to nil"]);
    game.fails(
        e,
        "e.Inventory.items[1] = 3",
        "type",
        &["Inventory.items[1]: expected a table (Item), got number 3"],
    );
    game.fails(
        e,
        "e.Inventory.items[1].count = -1",
        "type",
        &["Inventory.items[1].count: expected a whole number"],
    );
    game.fails(
        e,
        "e.Inventory.items[1].cout = 1",
        "type",
        &["Inventory.items[1]: Item has no field 'cout' (did you mean 'count'?)"],
    );
    game.fails(e, "return e.Inventory.items[1].cout", "type", &["did you mean 'count'?"]);
    game.fails(
        e,
        "e.Inventory.items = { {}, { count = 'x' } }",
        "type",
        &["Inventory.items[2].count: expected"],
    );
    game.fails(
        e,
        "e.Inventory.items = 5",
        "type",
        &["Inventory.items: expected a list (Vec<Item>), got number 5"],
    );
    game.fails(e, "e.Inventory.items:insert(7, {})", "type", &["an index from 1 to 3"]);
    game.fails(e, "e.Inventory.items:insert()", "type", &["call it as insert(value)"]);
    game.fails(e, "e.Inventory.items:remove(3)", "type", &["has 2 elements, not 3"]);
    game.fails(e, "e.Inventory.items:push(3)", "type", &["has no method 'push'"]);
    game.fails(e, "e.Inventory.items:inser(3)", "type", &["did you mean 'insert'?"]);
    game.fails(e, "e.Inventory.items[e.Inventory] = 3", "type", &["Inventory.items"]);
    game.fails(e, "return #e.Inventory.items[1]", "type", &["no length"]);
    game.run::<()>(e, "item = e.Inventory.items[2] e.Inventory.items:clear()");
    game.fails(e, "return item.count", "gone", &[&format!("Inventory.items[2] of entity {e} is gone")]);
    game.fails(e, "item.count = 1", "gone", &["Inventory.items[2]"]);
}

#[test]
fn a_list_may_change_while_it_is_iterated() {
    let mut game = Game::new();
    let e = game.world.spawn(rich()).id();
    game.run::<()>(
        e,
        "local n = 0
         for i, item in e.Inventory.items do n += 1 e.Inventory.items:insert({}) end
         assert(n == 2 and #e.Inventory.items == 4)
         for i, item in e.Inventory.items do e.Inventory.items:clear() end
         for key, price in e.Inventory.prices do e.Inventory.prices:clear() end
         assert(#e.Inventory.items == 0 and #e.Inventory.prices == 0)",
    );
}

#[test]
fn maps_and_sets_are_used_in_place_in_order_of_their_keys() {
    let mut game = Game::new();
    let e = game.world.spawn(rich()).id();
    game.run::<()>(
        e,
        "local t = e.Inventory
         assert(t.prices.rope == 1.5 and t.prices.nothing == nil and #t.prices == 3)
         t.prices.rope = 2 t.prices['a b'] = 1 t.prices.lamp = nil t.prices.nothing = nil
         local out = {}
         for name, price in t.prices do table.insert(out, name .. '=' .. price) end
         assert(table.concat(out, ' ') == 'a b=1 axe=12 rope=2', table.concat(out, ' '))
         t.slots[3].count = 9 t.slots[7] = { name = 'new' } assert(t.slots[4] == nil)
         out = {}
         for i, item in t.slots do table.insert(out, i .. item.name) end
         assert(table.concat(out, ' ') == '-1 3c 7new', table.concat(out, ' '))
         assert(t.slots:remove(7) == nil and #t.slots == 2)
         assert(t.tags.a == true and t.tags.z == nil and #t.tags == 2)
         t.tags.z = true t.tags.a = nil t.tags.b = false t.tags:insert('y')
         out = {}
         for tag in t.tags do table.insert(out, tag) end
         assert(table.concat(out, ' ') == 'y z', table.concat(out, ' '))
         t.prices = { x = 1 } t.slots = { { name = 'one' } } t.tags = { 'q' }
         assert(t.prices.x == 1 and t.slots[1].name == 'one' and t.tags.q)",
    );
    game.fails(e, "e.Inventory.prices.x = 'dear'", "type", &["Inventory.prices.x: expected a number (f32)"]);
    game.fails(e, "e.Inventory.slots.x = {}", "type", &["Inventory.slots: the key: expected a whole number"]);
    game.fails(e, "return e.Inventory.slots[1.5]", "type", &["the key: expected a whole number"]);
    game.fails(e, "e.Inventory.tags.x = 3", "type", &["true, false or nil"]);
    game.fails(e, "e.Inventory.prices = { x = {} }", "type", &["Inventory.prices.x: expected a number"]);
    game.fails(
        e,
        "e.Inventory.prices = { [1] = 3 }",
        "type",
        &["Inventory.prices: key 1: expected a string"],
    );
}

#[test]
fn options_are_nil_or_what_they_hold() {
    let mut game = Game::new();
    let e = game.world.spawn(rich()).id();
    game.run::<()>(
        e,
        "local t = e.Inventory
         assert(t.limit == 9) t.limit = nil assert(t.limit == nil) t.limit = 3 assert(t.limit == 3)
         assert(t.best.name == 'crown') t.best.count += 1 assert(t.best.count == 2)
         best = t.best t.best = nil assert(t.best == nil)",
    );
    game.fails(e, "return best.count", "gone", &["Inventory.best"]);
    game.fails(
        e,
        "e.Inventory.limit = 'x'",
        "type",
        &["Inventory.limit: expected a number (f32), got string \"x\""],
    );
    game.run::<()>(e, "e.Inventory.best = { name = 'x' } assert(best.name == 'x')");
}

#[test]
fn enums_are_names_or_places_by_variant() {
    let mut game = Game::new();
    let e = game.world.spawn((rich(), State::Idle)).id();
    game.run::<()>(
        e,
        "assert(e.State == 'Idle' and e.State.Chasing == nil)
         e.State = { Chasing = { target = e, speed = 3 } }
         assert(e.State.Chasing.speed == 3 and e.State.Chasing.target == e and e.State.Waiting == nil)
         e.State.Chasing.speed += 1 e.State.Chasing.target = nil
         assert(e.State.Chasing.speed == 4 and e.State.Chasing.target == nil)
         for variant, content in e.State do assert(variant == 'Chasing' and content.speed == 4) end
         chasing = e.State.Chasing
         e.State = { Waiting = 2 } assert(e.State.Waiting == 2) e.State.Waiting = 3 assert(e.State.Waiting == 3)
         e.State = { Between = { 1, 2 } } assert(e.State.Between[2] == 2 and #e.State.Between == 2)
         e.State.Between[1] = 5 e.State.Between = { 7, 8 } assert(e.State.Between[1] == 7)
         e.Inventory.mood = 'Idle' assert(e.Inventory.mood == 'Idle')
         e.Inventory.mood = { Waiting = 1 } assert(e.Inventory.mood.Waiting == 1)
         assert(tostring(e.State) == 'State { Between = { 7, 8 } }')",
    );
    game.fails(e, "return chasing.speed", "gone", &["State.Chasing of entity"]);
    game.fails(e, "e.State = 'Idel'", "type", &["State: expected one of \"Idle\"", "did you mean 'Idle'?"]);
    game.fails(e, "e.State = 'Chasing'", "type", &["the variant Chasing has data"]);
    game.fails(e, "e.State = { Idle = 3 }", "type", &["the variant Idle has no data: write \"Idle\""]);
    game.fails(
        e,
        "e.State = { Chasing = { target = e } }",
        "type",
        &["the variant Chasing needs speed as well"],
    );
    game.fails(
        e,
        "e.State = { Chasing = { sped = 1 } }",
        "type",
        &["the variant Chasing has no field 'sped' (did you mean 'speed'?)"],
    );
    game.fails(e, "e.State = { Waiting = 'x' }", "type", &["State.Waiting: expected a number (f64)"]);
    game.fails(e, "e.State = { Between = { 1 } }", "type", &["State.Between: expected a list of 2"]);
    game.fails(e, "e.State = 5", "type", &["expected one of"]);
    game.fails(
        e,
        "return e.State.Wating",
        "type",
        &["State has no variant 'Wating' (did you mean 'Waiting'?)"],
    );
    game.fails(e, "e.State.Between[3] = 1", "type", &["has 2 elements, not 3"]);
    game.fails(e, "return e.State[1]", "type", &["State"]);
    assert_eq!(game.world.get::<State>(e), Some(&State::Between(7, 8)));
}

#[test]
fn a_newtype_of_a_list_is_a_list() {
    let mut game = Game::new();
    let e = game.world.spawn(Route(vec![Vec3::X])).id();
    game.run::<()>(
        e,
        "assert(#e.Route == 1 and e.Route[1].x == 1)
         e.Route[2] = vector.create(1, 2, 3)
         e.Route[1] = { 7, 8, 9 }
         local all = e:get('Route') assert(all[2].y == 2)
         e.Route = { all[2] } assert(#e.Route == 1)",
    );
    assert_eq!(game.world.get::<Route>(e), Some(&Route(vec![Vec3::new(1.0, 2.0, 3.0)])));
    game.fails(e, "e.Route[1] = 'x'", "type", &["Route[1]: expected a vector (Vec3), got string \"x\""]);
    game.fails(e, "e.Route = 'x'", "type", &["Route: expected a list (Vec<Vec3>)"]);
}
