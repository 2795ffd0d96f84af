//! Scripts that mean harm: whatever they do with entities, components, queries and messages, the others run in every
//! frame, and the process stays within bounds (`ecs.md`, Capabilities).

use bevy_ecs::hierarchy::ChildOf;
use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::{Script, SliceLimit};
use bluetick_tests::{Game, Health, Marked, Position, script};

#[derive(Message, Reflect, Default)]
#[reflect(Default)]
struct Wave {
    number: u32,
}

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Bag {
    items: Vec<u32>,
    names: Vec<String>,
}

const WITNESS: &str = "while true do self.state.n = (self.state.n or 0) + 1 synchro.yield() end";

/// What the VM may use.
const LIMIT: usize = 48 << 20;

/// Runs a body as a script of its own for some frames, and asks whether all others are well.
#[track_caller]
fn survives(body: &str) {
    let mut game = Game::build([("bad", script(body)), ("witness", script(WITNESS))], |host| {
        host.component::<ChildOf>()
            .component::<Bag>()
            .message::<Wave>()
            .memory_limit(LIMIT)
            .slice(SliceLimit::ticks(3_000))
    });
    let first = game.spawn("witness");
    for _ in 0..500 {
        game.world.spawn((Health::default(), Position::default(), Marked));
    }
    let bundle = (Name::new("bad"), Health::default(), Bag::default(), Script::new("bad"));
    game.world.spawn(bundle);
    let second = game.spawn("witness");
    let before = resident();
    for frame in 1..=6u32 {
        let report = game.frame();
        for failure in &report.failures {
            assert_eq!(failure.script, "bad", "{body}: {failure}");
        }
        for witness in [first, second] {
            let seen: u32 = game.host.state(witness).unwrap().get("n").unwrap();
            assert_eq!(seen, frame, "{body}: {:?}", report.failures);
        }
        let used = game.host.vm().memory();
        assert!(used <= LIMIT, "{body}: {used} bytes");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 512 << 20, "{body}: {grown} bytes more");
}

/// Bytes of memory that the process has, where the system tells.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
fn who_asks_without_end_only_harms_itself() {
    for body in [
        "while true do world:query('Health') end",
        "local all = {} while true do table.insert(all, world:query('Health')) end",
        "while true do world:query('Health', { changed = 'Health', with = 'Position' }) end",
        "local n = 0 while true do n += 1 local with = {} for i = 1, n % 40 do with[i] = 'Health' end
            world:query('Health', { changed = 'Health', with = with }) end",
        "local names = {} for i = 1, 5000 do names[i] = 'Health' end while true do
            for e in world:query(table.unpack(names)) do end end",
        "while true do for e, h, p in world:query('Health', 'Position') do local x = { e, h, p } end end",
        "while true do world:count('Health', { without = { 'Marked', 'Bag' } }) end",
        "while true do world:entity('7v0') world:named('bad') end",
        "while true do pcall(world.entity, world, tostring(math.random(1e9)) .. 'v0') end",
        "while true do local x = self.Bag.items pcall(function() return x[1].y.z end) end",
        "local all = {} while true do table.insert(all, self.Bag.items) end",
        "self.Bag.items = table.create(50000, 1) while true do for i in self.Bag.items do break end end",
        "while true do tostring(self.Bag) self:get('Bag') end",
    ] {
        survives(body);
    }
}

#[test]
fn who_changes_the_world_without_end_only_harms_itself() {
    for body in [
        "while true do world:spawn {} end",
        "while true do world:spawn({ Health = {} }):despawn() end",
        "while true do self.Marked = {} self.Marked = nil end",
        "while true do self.Health = { current = 1 } end",
        "while true do self.Bag.items:insert(1) end",
        "while true do self.Bag.items:insert(1, 1) self.Bag.items:remove(1) end",
        "local n = 0 while true do n += 1 pcall(world.declare, world, 'D' .. n, { n = n }) end",
        "local e = self while true do e = world:spawn { ChildOf = e } end",
        "local e = self for i = 1, 3000 do e = world:spawn { ChildOf = e } end self:despawn()",
        "local a, b = world:spawn {}, world:spawn {} a.ChildOf = b b.ChildOf = a a:despawn() b:despawn()",
        "self.ChildOf = self self:despawn()",
        "for e in world:query('Health') do e.ChildOf = self end self:despawn()",
        "while true do self.name = ('x'):rep(1000) end",
        "while true do self.enabled = false self.enabled = true end",
        "self.Script = { 'bad', 'bad', 'bad' }",
        "scheduler.defer(function() self:despawn() end) self:despawn() synchro.yield()",
        "scheduler.defer(function() world:spawn { Script = 'bad' } end) self:despawn() synchro.yield()",
    ] {
        survives(body);
    }
}

#[test]
fn who_sends_and_listens_without_end_only_harms_itself() {
    for body in [
        "while true do world:send('Wave') end",
        "local all = {} while true do table.insert(all, world:messages('Wave')) end",
        "while true do world:messages('Wave') end",
        "while true do world:added('Health') world:removed('Marked') end",
        "local c = world:messages('Wave', { capacity = 65536 }) while true do world:send('Wave') end",
        "for i = 1, 100 do world:messages('Wave', { capacity = 65536 }) end while true do world:send('Wave') end",
        "while true do tasklet(function() self:wait_for('Wave') end)() end",
        "while true do tasklet(function() self:changed('Health', 1) end)() end",
        "while true do self.inbox:send({ self, self.Health }) end",
        "for m in world:messages('Wave') do world:send('Wave') end",
        "tasklet(function() for m in world:messages('Wave') do world:send('Wave') end end)() world:send('Wave')
            for e in world:added('Marked') do world:spawn { Marked = {} } end",
        "tasklet(function() for e in world:added('Marked') do e.Marked = nil e.Marked = {} end end)() self.Marked = {}",
    ] {
        survives(body);
    }
}
