use super::*;

#[test]
fn a_query_yields_entities_with_their_components() {
    for mut game in Game::both() {
        let e = game.world.spawn((Health { current: 1.0, max: 9.0 }, Speed(2.0), Inventory::default())).id();
        game.world.spawn((Health { current: 2.0, max: 9.0 }, Dead));
        game.world.spawn(Speed(1.0));
        game.run::<()>(
            e,
            "local n, sum = 0, 0
             for entity, health in world:query('Health') do n += 1 sum += health.current assert(entity.Health == health) end
             assert(n == 2 and sum == 3)
             for entity, health, speed, inventory in world:query('Health', 'Speed', 'Inventory', { without = 'Dead' }) do
                 assert(entity == e and health.max == 9 and speed == 2 and #inventory.items == 0)
                 health.current = 7
             end
             assert(e.Health.current == 7)
             for entity in world:query('Health', { without = { 'Speed', 'Sparse' }, with = 'Dead' }) do assert(entity ~= e) end
             assert(#world:query('Health') == 2 and #world:query({ with = { 'Speed' } }) == 2 and #world:query() == 3)
             assert(world:count('Speed') == 2 and world:count() == 3 and world:count('Health', { without = 'Dead' }) == 1)
             local q = world:query('Dead')
             local function first() for entity in q do return entity end end
             assert(first() == first())",
        );
    }
}

#[test]
fn a_query_survives_despawning_spawning_and_removal_while_it_runs() {
    for mut game in Game::both() {
        for i in 0..10 {
            game.world.spawn((Health { current: i as f32, max: 0.0 }, Speed(i as f32)));
        }
        let e = game.world.spawn_empty().id();
        let visited: String = game.run(
            e,
            "local seen, all = {}, {}
             for entity in world:query('Health') do table.insert(all, entity) end
             for entity, health, speed in world:query('Health', 'Speed') do
                 local n = health.current
                 table.insert(seen, n)
                 if n == 0 then all[2]:despawn() all[4].Speed = nil e:insert('Health') e.Speed = 1 end
                 if n == 4 then entity:despawn() all[7]:despawn() world:spawn { Health = {}, Speed = 3 } end
                 if n == 7 then for other in world:query('Health') do other:despawn() end end
             end
             return table.concat(seen, ' ')",
        );
        assert_eq!(visited, "0 2 4 5 7");
    }
}

#[test]
fn a_query_does_not_find_resources_nor_disabled_entities() {
    let mut game = Game::new();
    game.world.init_resource::<Score>();
    let e = game.world.spawn((Health::default(), bevy_ecs::entity_disabling::Disabled)).id();
    game.run::<()>(e, "assert(world:count() == 0 and world:count('Health') == 0 and e.Health.max == 0)");
}

#[test]
fn mistakes_in_a_query_are_errors() {
    let mut game = Game::new();
    let e = game.world.spawn_empty().id();
    game.fails(
        e,
        "world:query('Helth')",
        "type",
        &["there is no component 'Helth' (did you mean 'Health'?)"],
    );
    game.fails(e, "world:query(1)", "type", &["expected the name of a component, got number 1"]);
    game.fails(
        e,
        "world:query('Health', { wihtout = 'Dead' })",
        "type",
        &["no option \"wihtout\"", "'without'"],
    );
    game.fails(
        e,
        "world:query('Health', { without = 'Daed' })",
        "type",
        &["without: there is no component 'Daed'"],
    );
    game.fails(
        e,
        "world:query('Health', { without = 3 })",
        "type",
        &["without: expected the name of a component"],
    );
    game.fails(e, "world.query('Health')", "type", &["call it as world:query(...), with a colon"]);
    game.fails(e, "world:qurey('Health')", "type", &["world has no method 'qurey' (did you mean 'query'?)"]);
    game.fails(e, "for a in world:query('Score') do end", "type", &["no component 'Score'"]);
    game.fails(e, "world:query('Name')", "type", &["'Name' is no component", "see entity.name"]);
}

#[test]
fn a_query_costs_nothing_of_the_world_between_two_steps() {
    let mut game = Game::new();
    for _ in 0..3 {
        game.world.spawn(Health::default());
    }
    let e = game.world.spawn_empty().id();
    game.run::<()>(
        e,
        "co = coroutine.wrap(function() for entity, health in world:query('Health') do coroutine.yield(health) end end)
         co()",
    );
    let entities: Vec<Entity> =
        game.world.query::<(Entity, &Health)>().iter(&game.world).map(|(e, _)| e).collect();
    game.world.despawn(entities[1]);
    game.run::<()>(e, "assert(co().current == 0) assert(co() == nil)");
}

#[test]
fn spawning_is_all_or_nothing() {
    let mut game = Game::new();
    let e = game.world.spawn_empty().id();
    game.run::<()>(
        e,
        "local gate = world:spawn { Name = 'gate', Health = { max = 3 }, Speed = 2, Dead = true, State = { Waiting = 1 } }
         assert(world:named('gate') == gate and gate.Health.max == 3 and gate.Speed == 2 and gate.Dead)
         assert(world:spawn().alive and world:spawn({}).alive)
         gate:despawn() assert(world:named('gate') == nil)",
    );
    let count = game.world.entities().count_spawned();
    game.fails(
        e,
        "world:spawn { Health = {}, Spede = 3 }",
        "type",
        &["no component 'Spede' (did you mean 'Speed'?)"],
    );
    game.fails(e, "world:spawn { Health = { max = {} } }", "type", &["Health.max: expected a number (f32)"]);
    game.fails(e, "world:spawn { 'Health' }", "type", &["a table of components"]);
    game.fails(e, "world:spawn(3)", "type", &["world:spawn: expected a table of components"]);
    game.fails(e, "world:spawn { Script = 'x' }", "type", &["Script: this world has no scripts"]);
    game.fails(e, "world:spawn { [e] = 1 }", "type", &["expected the name of a component, got entity"]);
    game.fails(e, "world.spawn {}", "type", &["with a colon"]);
    assert_eq!(game.world.entities().count_spawned(), count);
}

#[test]
fn entities_are_found_by_id() {
    let mut game = Game::new();
    game.world.init_resource::<Score>();
    let e = game.world.spawn_empty().id();
    let resource = game.world.resource_entity::<Score>().unwrap();
    game.run::<()>(
        e,
        &format!(
            "assert(world:entity('{e}') == e and world:entity('999v0') == nil and world:entity('{resource}') == nil)"
        ),
    );
    for id in ["", "v", "1", "-1v0", "1v-1", "99999999999v0", "1v0v0", "x", "4294967295v0"] {
        game.fails(e, &format!("world:entity('{id}')"), "type", &["expected the id of an entity"]);
    }
    game.fails(e, "world:entity(4)", "type", &["expected the id of an entity, such as \"4v1\", got 4"]);
    game.fails(e, "world:named(nil)", "type", &["world:named: expected the name of an entity"]);
}

#[test]
fn a_resource_is_used_in_place() {
    for mut game in Game::both() {
        let e = game.world.spawn_empty().id();
        game.run::<()>(e, "assert(world:resource('Score') == nil)");
        game.world.init_resource::<Score>();
        game.run::<()>(
            e,
            "score = world:resource('Score') score.points += 5 score.names[1] = 'a'
             assert(world:resource('Score').points == 5 and score.names[1] == 'a')",
        );
        assert_eq!(game.world.resource::<Score>(), &Score { points: 5, names: vec!["a".into()] });
        game.fails(e, "score.points = 'x'", "type", &["Score.points: expected a whole number"]);
        game.fails(e, "world:resource('Scroe')", "type", &["no resource 'Scroe' (did you mean 'Score'?)"]);
        game.fails(e, "world:resource('Health')", "type", &["no resource 'Health'"]);
        game.world.remove_resource::<Score>();
        game.fails(e, "return score.points", "gone", &["Score.points: the resource Score is gone"]);
        game.world.insert_resource(Score { points: 1, names: vec![] });
        game.run::<()>(e, "assert(score.points == 1)");
    }
}
