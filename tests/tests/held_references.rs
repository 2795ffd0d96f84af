//! References that scripts hold over frames, reloads, and the lives of other entities: whatever is spawned, despawned
//! and replaced meanwhile, a reference shows the data of its own entity or says that it is gone (`ecs.md`).

use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::Script;
use bluetick_tests::{Game, script};

/// Whose it is, so that a script sees if it reads another one's.
#[derive(Component, Reflect, Default, Clone, Debug, PartialEq)]
#[reflect(Default)]
struct Badge {
    owner: String,
    count: u32,
    inner: Inner,
    list: Vec<String>,
}

#[derive(Reflect, Default, Clone, Debug, PartialEq)]
#[reflect(Default)]
struct Inner {
    owner: String,
}

/// In a sparse set, which is another way to the data.
#[derive(Component, Reflect, Default, Clone, Debug, PartialEq)]
#[component(storage = "SparseSet")]
#[reflect(Default)]
struct Tag {
    owner: String,
}

/// A component that moves its entity to another table.
#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Ballast {
    weight: f32,
}

/// Holds references of everybody it has ever met, and looks at all of them in each frame.
const KEEPER: &str = r#"
    local held = {}
    local seen, gone = 0, 0
    local function look(entity, id, reference, read)
        local ok, owner = pcall(read, reference)
        if ok then
            if owner ~= nil and owner ~= id then
                error(`{id} was shown what is of {owner}`)
            end
            seen += 1
        else
            if owner.kind ~= "gone" then error(owner) end
            gone += 1
        end
    end
    local readers = {
        Badge = function(badge) badge.count += 1 return badge.owner end,
        Inner = function(inner) return inner.owner end,
        List = function(list) return list[1] end,
        Tag = function(tag) return tag.owner end,
    }
    while true do
        for entity, badge in world:query("Badge") do
            if not held[entity] then
                held[entity] = { Badge = badge, Inner = badge.inner, List = badge.list, Tag = entity.Tag }
            end
            -- Between two of them others run, spawn and despawn.
            if math.random(40) == 1 then scheduler.schedule() end
        end
        for entity, references in held do
            for name, reference in references do look(entity, entity.id, reference, readers[name]) end
            if entity.alive and entity.Badge then
                look(entity, entity.id, entity.Badge, readers.Badge)
            end
            if not entity.alive and math.random(30) == 1 then held[entity] = nil end
        end
        self.state.seen, self.state.gone = seen, gone
        synchro.yield()
    end"#;

/// Changes who is there and what they have, from a script.
const MEDDLER: &str = r#"
    while true do
        for entity in world:query("Badge") do
            local what = math.random(24)
            if what == 1 then entity:despawn()
            elseif what == 2 then entity.Ballast = {}
            elseif what == 3 then entity.Ballast = nil
            elseif what == 4 then
                entity.Badge = { owner = entity.id, inner = { owner = entity.id }, list = { entity.id } }
            elseif what == 5 then entity.Tag = nil
            elseif what == 6 then entity.Tag = { owner = entity.id }
            elseif what == 7 then
                local badge = entity:get("Badge")
                entity.Badge = nil
                scheduler.schedule()
                if entity.alive then entity.Badge = badge end
            end
        end
        synchro.yield()
    end"#;

fn populate(world: &mut World, count: usize) {
    for _ in 0..count {
        let entity = world.spawn_empty().id();
        let owner = entity.to_string();
        let badge = Badge {
            owner: owner.clone(),
            count: 0,
            inner: Inner { owner: owner.clone() },
            list: vec![owner.clone()],
        };
        world.entity_mut(entity).insert((badge, Tag { owner }));
    }
}

#[test]
fn a_held_reference_never_shows_what_is_of_another_entity() {
    for (direct, seed) in [(true, 1), (false, 2)] {
        let scripts = [("keeper", script(KEEPER)), ("meddler", script(MEDDLER))];
        let mut game = Game::build(scripts, |host| {
            host.component::<Badge>()
                .component::<Tag>()
                .component::<Ballast>()
                .direct_access(direct)
                .seed(seed)
        });
        let keeper = game.spawn("keeper");
        game.spawn("meddler");
        game.spawn("keeper");
        populate(&mut game.world, 60);
        let mut random = fastrand(seed);
        for frame in 0..100u32 {
            // Rust takes its part, so that indices are used again in all kinds of order.
            let all: Vec<Entity> =
                game.world.query_filtered::<Entity, With<Badge>>().iter(&game.world).collect();
            for &entity in &all {
                match random(20) {
                    0 => {
                        game.world.despawn(entity);
                    }
                    1 => {
                        game.world.entity_mut(entity).remove::<(Badge, Tag)>();
                    }
                    2 => {
                        game.world.entity_mut(entity).insert(Ballast::default());
                    }
                    _ => {}
                }
            }
            populate(&mut game.world, 60usize.saturating_sub(all.len()) + random(9) as usize);
            if frame % 25 == 24 {
                // A function of the running script becomes another one, which has the same references.
                game.save("keeper", script(&KEEPER.replace("seen += 1", &format!("seen += 1 -- {frame}"))));
            }
            if frame % 40 == 39 {
                game.host.vm().lua().gc_collect().unwrap();
            }
            game.frames(1);
        }
        let state = game.host.state(keeper).unwrap();
        let (seen, gone): (u32, u32) = (state.get("seen").unwrap(), state.get("gone").unwrap());
        assert!(seen > 5_000 && gone > 500, "{seen} reads, {gone} of what is gone");
        for badge in game.world.query::<(Entity, &Badge)>().iter(&game.world) {
            assert_eq!(badge.0.to_string(), badge.1.owner);
        }
    }
}

/// Whole numbers below a bound, the same in each run.
fn fastrand(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |bound| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    }
}

#[test]
fn a_reference_is_still_good_after_a_switch_a_sleep_a_channel_and_a_reload() {
    let body = r#"
        local badge, inner, list = self.Badge, self.Badge.inner, self.Badge.list
        local c = channel()
        tasklet(function() c:send(badge) end)()
        assert(c:receive() == badge)
        self.state.badge = badge
        while true do
            badge.count += 1
            assert(inner.owner == self.id and list[1] == self.id and self.Badge == badge and self.state.badge == badge)
            synchro.yield()
        end"#;
    let mut game = Game::build([("it", script(body))], |host| host.component::<Badge>());
    populate(&mut game.world, 3);
    let entity = game.world.query_filtered::<Entity, With<Badge>>().iter(&game.world).nth(1).unwrap();
    game.world.entity_mut(entity).insert(Script::new("it"));
    game.frames(3);
    game.save("it", script(&body.replace("badge.count += 1", "badge.count += 10")));
    // The tables are rearranged under it.
    let mut others = game.world.query_filtered::<Entity, (With<Badge>, Without<Script>)>();
    let others: Vec<Entity> = others.iter(&game.world).collect();
    for other in others {
        game.world.despawn(other);
    }
    game.world.entity_mut(entity).insert(Name::new("moved"));
    game.frames(3);
    let count = game.world.get::<Badge>(entity).unwrap().count;
    assert!(count >= 6, "it goes on with the same reference: {count}");
}
