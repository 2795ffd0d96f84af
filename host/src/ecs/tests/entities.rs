use super::*;

#[test]
fn handles_are_canonical() {
    for mut game in Game::both() {
        let a = game.world.spawn((Health::default(), Burning { dps: 1.0, by: Entity::PLACEHOLDER })).id();
        let b = game.world.spawn(Burning { dps: 1.0, by: a }).id();
        game.vm.lua().globals().set("b", Handle(b)).unwrap();
        game.run::<()>(
            a,
            "local seen = { [e] = 'a' }
             assert(seen[b.Burning.by] == 'a' and b.Burning.by == e and e ~= b)
             assert(world:entity(e.id) == e)
             for entity in world:query('Health') do assert(entity == e) end
             assert(e.Burning.by == nil)
             assert(e.Health == e.Health and e.Health ~= b.Health)
             e.Burning.by = e assert(e.Burning.by == e)",
        );
        // Also after the collector took those that nobody holds.
        game.run::<()>(a, "local keep = e collectgarbage() collectgarbage() assert(b.Burning.by == keep)");
    }
}

#[test]
fn a_dead_entity_keeps_its_one_handle_while_its_index_is_used_again() {
    let mut game = Game::new();
    let old = game.world.spawn_empty().id();
    let holder = game.world.spawn(Burning { dps: 0.0, by: old }).id();
    game.vm.lua().globals().set("old", Handle(old)).unwrap();
    game.world.despawn(old);
    let young = game.spawn_in_place_of(old, Health::default);
    game.vm.lua().globals().set("young", Handle(young)).unwrap();
    game.run::<()>(
        holder,
        "for i = 1, 3 do
             assert(e.Burning.by == old and old ~= young and not old.alive and young.alive)
             for entity in world:query('Health') do assert(entity == young) end
             local t = { [old] = 1, [young] = 2 }
             assert(t[e.Burning.by] == 1)
             collectgarbage()
         end",
    );
}

#[test]
fn a_young_entity_never_gets_the_references_of_the_dead_one_with_its_index() {
    for mut game in Game::both() {
        let bundle = |current| (Health { current, max: 0.0 }, Transform::default(), Everything::default());
        let old = game.world.spawn(bundle(1.0)).id();
        game.run::<()>(old, "kept = { e.Health, e.Transform, e.Everything.inner } old = e");
        game.world.despawn(old);
        let young = game.spawn_in_place_of(old, || bundle(2.0));
        game.run::<()>(
            young,
            "assert(e.Health.current == 2 and e.Health ~= kept[1])
             for entity, health, transform in world:query('Health', 'Transform') do
                 assert(entity == e and health == e.Health and health.current == 2 and transform == e.Transform)
             end
             e.Everything.inner.depth = 5
             e.Transform.translation = vector.one
             assert(e.Transform.rotation ~= nil and not pcall(function() return kept[3].depth end))
             collectgarbage()
             assert(e.Health.current == 2 and not old.alive)",
        );
        assert_eq!(game.world.get::<Everything>(young).unwrap().inner.depth, 5);
    }
}

#[test]
fn many_entities_keep_their_own_handles_and_references_through_collections() {
    let mut game = Game::new();
    for i in 0..2_000 {
        game.world.spawn((Health { current: i as f32, max: 0.0 }, Speed(i as f32), Everything::default()));
    }
    let e = game.world.spawn_empty().id();
    game.run::<()>(
        e,
        "local keep = {}
         for round = 1, 4 do
             local n = 0
             for entity, health, speed, everything in world:query('Health', 'Speed', 'Everything') do
                 assert(health.current == speed and entity.Health == health and entity.Everything == everything)
                 everything.inner.depth += 1
                 assert(everything.inner.depth == round)
                 assert(keep[entity] == nil or keep[entity] == health)
                 if n % 7 == 0 then keep[entity] = health end
                 n += 1
                 if n % 500 == 0 then collectgarbage() end
             end
             assert(n == 2000)
         end",
    );
}

#[test]
fn in_paced_cycles_handles_that_nobody_has_are_gone_when_their_share_has_had_its_turn() {
    let mut game = Game::new();
    for _ in 0..5_000 {
        game.world.spawn(Health::default());
    }
    let e = game.world.spawn(Health::default()).id();
    // What is in use, by the VM's own count: the host's is one of pages.
    let used = |game: &Game| game.vm.lua().load("return gcinfo() * 1024").eval::<f64>().unwrap();
    let collected = |game: &Game| {
        game.vm.lua().gc_collect().unwrap();
        used(game)
    };
    let cycle = |game: &Game| {
        game.bridge.hold_handles(&game.vm);
        loop {
            match game.vm.collect_step(16).unwrap() {
                GcStep::Atomic => game.bridge.release_handles(&game.vm),
                GcStep::Last => break,
                _ => {}
            }
        }
        used(game)
    };
    game.run::<()>(e, "for entity, health in world:query('Health') do end");
    let least = collected(&game);
    game.vm.lua().gc_stop();
    game.run::<()>(
        e,
        "keep = {}
         for entity, health in world:query('Health') do if #keep < 200 then table.insert(keep, { entity, health }) end end",
    );
    game.vm.lua().gc_restart();
    let after: Vec<f64> = (0..9).map(|_| cycle(&game)).collect();
    let share = (after[0] - after[7]) / 7.0;
    assert!(share > 4_800.0 * 64.0 / 8.0, "{after:?}");
    for turn in after[..8].windows(2) {
        assert!((turn[0] - turn[1] - share).abs() < share / 5.0, "{after:?}");
    }
    assert_eq!(after[7], after[8], "{after:?}");
    // Who has one still finds the same.
    game.run::<()>(
        e,
        "local n = 0
         for entity, health in world:query('Health') do
             n += 1
             if n <= 200 then assert(keep[n][1] == entity and keep[n][2] == health) end
         end
         keep = nil",
    );
    // Outside of such cycles one frees them all.
    let left = collected(&game);
    assert!(left < least + 5_000.0, "{left}, {least} at first");
}

#[test]
fn members_of_an_entity() {
    for mut game in Game::both() {
        let e = game.world.spawn(Name::new("gate")).id();
        game.run::<()>(
            e,
            &format!(
                "assert(e.id == '{e}' and e.alive == true and e.name == 'gate')
                 assert(tostring(e) == 'entity {e} \"gate\"')
                 e.name = 'door' assert(e.name == 'door' and world:named('door') == e and not world:named('gate'))
                 e.name = nil assert(e.name == nil and tostring(e) == 'entity {e}')
                 e:insert('Name', 'x') assert(e:has('Name') and e:get('Name') == 'x' and e:remove('Name'))
                 assert(not e:has('Name'))"
            ),
        );
        game.fails(e, "e.id = 'x'", "type", &["'id' of entity", "can't be assigned to"]);
        game.fails(e, "e.has = 1", "type", &["'has' of entity", "can't be assigned to"]);
        game.fails(e, "e.name = 1", "type", &["Name: expected a string, got number 1"]);
        game.fails(e, "return e:alive()", "type", &["'alive' of an entity is no method"]);
    }
}

#[test]
fn components_are_inserted_replaced_and_removed() {
    for mut game in Game::both() {
        let e = game.world.spawn_empty().id();
        game.run::<()>(
            e,
            "assert(e.Health == nil and not e:has('Health'))
             e.Health = { max = 5 }
             assert(e.Health.max == 5 and e.Health.current == 0 and e:has('Health'))
             e.Health.current = 4
             e.Health = { max = 6 }                      -- a table is a whole value
             assert(e.Health.current == 0 and e.Health.max == 6)
             e:insert('Dead') e.Sparse = {} e.Transform = { translation = { 1, 2, 3 }, rotation = { w = 0.5 } }
             assert(e:has('Dead', 'Sparse') and not e:has('Dead', 'Speed') and e.Dead)
             assert(e.Transform.translation.z == 3 and e.Transform.rotation.w == 0.5)
             e.Dead = nil e.Dead = true
             assert(e:remove('Dead') == true and e:remove('Dead') == false and e.Dead == nil)
             e.Burning = { dps = 2, by = e }
             e.State = 'Idle'
             e.Speed = nil",
        );
        let there = game.world.entity(e);
        assert_eq!(there.get::<Burning>(), Some(&Burning { dps: 2.0, by: e }));
        assert_eq!(there.get::<State>(), Some(&State::Idle));
        assert!(!there.contains::<Dead>() && !there.contains::<Speed>());
    }
}

#[test]
fn a_wrong_whole_value_is_an_error_with_the_path_and_changes_nothing() {
    for mut game in Game::both() {
        let e = game.world.spawn(Health { current: 1.0, max: 2.0 }).id();
        game.fails(
            e,
            "e.Health = { max = 'x' }",
            "type",
            &["Health.max: expected a number (f32), got string \"x\""],
        );
        game.fails(
            e,
            "e.Health = { max = 3, curent = 1 }",
            "type",
            &["Health: Health has no field 'curent' (did you mean 'current'?)"],
        );
        game.fails(e, "e.Health = 3", "type", &["Health: expected a table (Health), got number 3"]);
        game.fails(e, "e.Health = { 1, 2 }", "type", &["Health: expected a table (Health), got a list of 2"]);
        game.fails(e, "e.Health = { [{}] = 1 }", "type", &["Health: expected names of fields"]);
        game.fails(
            e,
            "e:insert('Health', { max = print })",
            "type",
            &["Health.max: a function is no plain value"],
        );
        game.fails(
            e,
            "e.Burning = { dps = 1 }",
            "type",
            &["Burning: Burning has no default, so it needs by as well"],
        );
        game.fails(e, "e.Burning = {}", "type", &["needs dps and by as well"]);
        game.fails(
            e,
            "e.Burning = { dps = 1, by = 2 }",
            "type",
            &["Burning.by: expected an entity, got number 2"],
        );
        game.fails(e, "e.Dead = false", "type", &["Dead: expected a table (Dead), got false"]);
        assert_eq!(game.world.get::<Health>(e), Some(&Health { current: 1.0, max: 2.0 }));
        assert!(game.world.get::<Burning>(e).is_none());
    }
}

#[test]
fn an_unknown_name_is_an_error_with_the_nearest_and_what_there_is() {
    for mut game in Game::both() {
        let e = game.world.spawn((Health::default(), Speed(1.0))).id();
        let parts = [
            "there is no component, field or method 'Helth' (did you mean 'Health'?)",
            &format!("entity {e} has Health and Speed"),
        ];
        game.fails(e, "return e.Helth", "type", &parts);
        game.fails(e, "e.Helth = {}", "type", &parts);
        game.fails(e, "return e:despwan()", "type", &["'despwan' (did you mean 'despawn'?)"]);
        game.fails(e, "return e:current()", "type", &["'current'"]);
        game.fails(e, "return e[1]", "type", &["'1'"]);
        game.fails(e, "return e[{}]", "type", &["'table'"]);
        game.fails(
            e,
            "return e:has('Helth')",
            "type",
            &["there is no component 'Helth' (did you mean 'Health'?)"],
        );
        game.fails(e, "return e:has(1)", "type", &["has: expected the name of a component, got 1"]);
        game.fails(e, "return e:has()", "type", &["has: expected the name of a component"]);
        game.fails(e, "return e:get('Transfrom')", "type", &["did you mean 'Transform'?"]);
        game.fails(e, "e:insert('x' .. ('y'):rep(1e6))", "type", &["there is no component 'xyyy"]);
        game.fails(e, "return e.Score", "type", &["'Score'"]);
        game.fails(e, "e.Script = 'x'", "type", &["'Script'"]);
    }
}

#[test]
fn get_copies_deeply() {
    let mut game = Game::new();
    let inventory = Inventory {
        items: vec![Item { name: "rope".into(), count: 2 }],
        prices: [("rope".into(), 1.5)].into(),
        tags: ["b".into(), "a".into()].into(),
        mood: State::Chasing { target: None, speed: 2.0 },
        ..Inventory::default()
    };
    let e = game.world.spawn(inventory).id();
    game.run::<()>(
        e,
        "local t = e:get('Inventory')
         assert(type(t) == 'table' and t.items[1].name == 'rope' and t.prices.rope == 1.5)
         assert(t.tags[1] == 'a' and t.tags[2] == 'b' and t.mood.Chasing.speed == 2 and t.best == nil)
         t.items[1].count = 99
         assert(e.Inventory.items[1].count == 2)
         e.Inventory = t                                 -- and back
         assert(e.Inventory.items[1].count == 99 and e.Inventory.tags.a)
         assert(e:get('Health') == nil)",
    );
}

#[test]
fn tables_that_are_too_much_are_errors() {
    let mut game = Game::new();
    let e = game.world.spawn(Inventory::default()).id();
    game.fails(
        e,
        "local t = {} t.items = t e.Inventory = t",
        "type",
        &["Inventory.items: the table contains itself"],
    );
    game.fails(
        e,
        "local t = {} t[1] = t world:spawn { Inventory = { items = t } }",
        "type",
        &["contains itself"],
    );
    game.fails(
        e,
        "local t = {} for i = 1, 200 do t = { t } end e.Inventory = t",
        "type",
        &["more than 32 deep"],
    );
    game.fails(
        e,
        "local t = { 1 } for i = 1, 25 do t = { t, t } end e.Inventory = t",
        "type",
        &["more than 1048576 values"],
    );
    game.run::<()>(
        e,
        "local items = {} for i = 1, 1e5 do items[i] = { name = 'x', count = i } end
         e.Inventory = { items = items } assert(#e.Inventory.items == 1e5)
         -- metamethods are not asked
         local odd = setmetatable({ limit = 3 }, { __index = error, __iter = error, __len = error })
         e.Inventory = odd assert(e.Inventory.limit == 3)",
    );
}

#[test]
fn despawning_takes_effect_at_once() {
    for mut game in Game::both() {
        let e = game.world.spawn(Health::default()).id();
        let child = game.world.spawn(ChildOf(e)).id();
        game.vm.lua().globals().set("child", Handle(child)).unwrap();
        game.run::<()>(
            e,
            "assert(child.alive) e:despawn() assert(not e.alive and not child.alive)
             local ok, err = pcall(e.despawn, e) assert(not ok and err.kind == 'gone')",
        );
        assert!(game.world.get_entity(e).is_err());
    }
}

#[test]
fn a_method_can_be_held_as_a_value() {
    let mut game = Game::new();
    let e = game.world.spawn(Health::default()).id();
    game.run::<()>(
        e,
        "local has = e.has assert(has(e, 'Health') and select(2, pcall(e.has, e, 'Dead')) == false)",
    );
}

#[test]
fn the_extension_adds_fields_and_methods_and_hears_of_changes() {
    use bluetick_scripting::raw::*;
    use std::cell::RefCell;
    use std::ffi::c_int;

    #[derive(Default)]
    struct Extension(RefCell<Vec<String>>);

    impl EntityExtension for Extension {
        fn fields(&self) -> &'static [&'static str] {
            &["state", "inbox"]
        }
        fn methods(&self) -> &'static [&'static str] {
            &["wait_for"]
        }
        unsafe fn get(&self, _: &Bridge, L: *mut lua_State, entity: Entity, field: usize) {
            // SAFETY: there is room.
            unsafe { push_str(L, &format!("{} of {entity}", self.fields()[field])) }
        }
        unsafe fn call(&self, bridge: &Bridge, L: *mut lua_State, entity: Entity, _: usize) -> c_int {
            // SAFETY: a C function.
            unsafe {
                if lua_type(L, 2) == LUA_TNIL {
                    raise(L, bluetick_scripting::ErrorKind::Blocked, "no name");
                }
                bridge.push_entity(L, entity);
                lua_pushvalue(L, 2);
                2
            }
        }
        fn despawning(&self, bridge: &Bridge, entity: Entity) {
            let there = bridge.with_world(|world| Ok(world.get_entity(entity).is_ok())).unwrap();
            self.0.borrow_mut().push(format!("despawning {there}"));
        }
        unsafe fn despawned(&self, bridge: &Bridge, L: *mut lua_State, _: Entity) -> c_int {
            let alive = bridge.with_world(|world| Ok(world.entities().len())).is_ok();
            self.0.borrow_mut().push(format!("despawned {alive}"));
            // SAFETY: there is room.
            unsafe { push_str(L, "bye") };
            1
        }
        fn changed(&self, bridge: &Bridge, _: Entity, change: Change<'_>) {
            bridge.with_world(|_| Ok(())).unwrap();
            self.0.borrow_mut().push(format!("{change:?}"));
        }
    }

    for direct in [true, false] {
        let mut world = World::new();
        let registry = Rc::new(Registry::builder().component::<Health>().build(&mut world).unwrap());
        let vm = Vm::new(VmConfig::default()).unwrap();
        let extension = Rc::new(Extension::default());
        let config = BridgeConfig { direct, extension: Some(extension.clone()), ..BridgeConfig::default() };
        let bridge = Bridge::install(&vm, registry, config).unwrap();
        let mut game = Game { world, vm, bridge };
        let e = game.world.spawn_empty().id();
        game.run::<()>(
            e,
            &format!(
                "assert(e.state == 'state of {e}' and e.inbox == 'inbox of {e}' and e['inbox'] == e.inbox)
                 local a, b = e:wait_for('x', 'y') assert(a == e and b == 'x')
                 local wait = e.wait_for assert(select(2, wait(e, 'z')) == 'z')
                 local ok, err = pcall(e.wait_for, e, nil) assert(not ok and err.kind == 'blocked')
                 world:spawn {{ Health = {{}} }}
                 e.Health = {{}} e:insert('Health') e.Health = nil e:remove('Health') e.name = 'x'
                 assert(e:despawn() == 'bye')"
            ),
        );
        game.fails(e, "e.state = 1", "type", &["'state' of entity", "can't be assigned to"]);
        game.fails(e, "e.stat = 1", "type", &["did you mean 'state'?"]);
        assert_eq!(
            *extension.0.borrow(),
            [
                "Spawned",
                "Inserted(\"Health\")",
                "Inserted(\"Health\")",
                "Removed(\"Health\")",
                "Inserted(\"Name\")",
                "despawning true",
                "despawned true"
            ]
        );
    }
}

#[test]
fn a_registry_refuses_names_that_clash() {
    #[derive(Component, Reflect)]
    struct Other;
    let build =
        |builder: RegistryBuilder| builder.build(&mut World::new()).map(|_| ()).unwrap_err().to_string();
    let error = build(Registry::builder().component::<Health>().component_named::<Other>("Health"));
    assert!(error.contains("'Health' is registered twice") && error.contains("::Other"), "{error}");
    let error = build(Registry::builder().component::<Health>().component::<Health>());
    assert!(error.contains("registered twice"), "{error}");
    let error = build(Registry::builder().component_named::<Other>("Name"));
    assert!(error.contains("is taken: scripts know it as the name of an entity"), "{error}");
    let error =
        build(Registry::builder().function("spawn", |_: &mut World, ()| Ok::<_, std::fmt::Error>(())));
    assert!(error.contains("'spawn' of a function is taken"), "{error}");

    #[derive(Component, Reflect, Clone)]
    #[reflect(opaque)]
    struct Opaque;
    let error = build(Registry::builder().component::<Opaque>());
    assert!(error.contains("Opaque can't be used from scripts: its reflection is opaque"), "{error}");

    let mut world = World::new();
    let registry = Registry::builder().component_named::<Other>("id").build(&mut world).unwrap();
    let vm = Vm::new(VmConfig::default()).unwrap();
    let error = Bridge::install(&vm, Rc::new(registry), BridgeConfig::default()).err().unwrap();
    assert!(error.message.contains("an entity has two things called 'id'"), "{error}");
}

#[test]
fn a_vm_has_one_world() {
    let game = Game::new();
    let registry = Registry::builder().build(&mut World::new()).unwrap();
    assert!(Bridge::install(&game.vm, Rc::new(registry), BridgeConfig::default()).is_err());
}

#[test]
#[should_panic(expected = "this world is not the one")]
fn another_world_is_not_lent() {
    Game::new().bridge.lend(&mut World::new(), || ());
}

#[test]
fn loans_nest_and_end_when_they_unwind() {
    let mut game = Game::new();
    let Game { world, bridge, .. } = &mut game;
    assert!(!bridge.is_lent());
    bridge.lend(world, || {
        assert!(bridge.is_lent());
        bridge
            .with_world(|world| {
                assert!(bridge.with_world(|_| Ok(())).is_err());
                bridge.lend(world, || bridge.with_world(|_| Ok(())).unwrap());
                assert!(bridge.with_world(|_| Ok(())).is_err());
                Ok(())
            })
            .unwrap();
        bridge.with_world(|_| Ok(())).unwrap();
    });
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bridge.lend(world, || panic!())));
    assert!(panic.is_err() && !bridge.is_lent());
}
