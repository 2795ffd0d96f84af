//! A million entities with scripts that come and go, and what is left of them: nothing.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench soak              # a million
//! cargo bench -p bluetick-tests --bench soak -- --quick   # 150 000
//! cargo bench -p bluetick-tests --bench soak -- 100000    # so many
//! ```
//!
//! Prints memory as it goes, and fails if it is not flat at the end. A tenth of it is a test:
//! `a_hundred_thousand_lives_leave_nothing_behind`.

mod harness;

use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::{Library, Script, ScriptHost};
use std::time::Instant;

#[derive(Component, Reflect, Default)]
#[reflect(Default)]
struct Health {
    current: f32,
}

#[derive(Message, Reflect, Clone)]
struct Hit {
    to: Entity,
}

/// Entities in a generation.
const GENERATION: usize = 5_000;

/// Uses everything that could be left behind.
const MAYFLY: &str = r#"
    local Mayfly = {}
    function Mayfly.run(self)
        self.state.born = clock.sim()
        self:spawn(function() for word in self.inbox do self.Health.current += word end end)
        self:spawn(function() self:wait_for("Hit") self.Health.current = 0 end)
        self:spawn(function() self:changed("Health", 1) end)
        local hits = world:messages("Hit", { to = self, capacity = 2 })
        scheduler.defer(function() self.state.born = nil end)
        tasklet(function() synchro.sleep(50) end)()
        self.inbox:send(1)
        for hit in hits do self.Health.current -= 1 end
    end
    return Mayfly"#;

fn main() {
    let options = harness::Options::from_command_line();
    let all = if options.quick { 150_000 } else { 1_000_000 };
    let lives: usize = options.words.iter().find_map(|word| word.parse().ok()).unwrap_or(all);
    let mut world = World::new();
    let mut host = ScriptHost::builder()
        .library(Library::in_memory([("mayfly", MAYFLY)]))
        .component::<Health>()
        .message::<Hit>()
        .build(&mut world)
        .expect("a host");
    let generations = lives.div_ceil(GENERATION);
    let start = Instant::now();
    let mut settled = None;
    let mut all: Vec<Entity> = Vec::new();
    for generation in 0..=generations {
        for entity in all.drain(..) {
            world.despawn(entity);
        }
        if generation < generations {
            all.extend((0..GENERATION).map(|_| world.spawn((Health::default(), Script::new("mayfly"))).id()));
        }
        for _ in 0..2 {
            let report = host.tick(&mut world, 0.02);
            // Outside of an app nobody else drops the world's notes of what was removed.
            world.clear_trackers();
            assert!(report.failures.is_empty(), "{}", report.failures[0]);
            if let Some(&to) = all.first() {
                world.write_message(Hit { to });
            }
        }
        if generation % 20 == 0 || generation == generations {
            host.vm().lua().gc_collect().expect("collected");
            let (vm, resident) = (host.vm().memory(), resident());
            println!(
                "{:>9} lives  {:>6.1} s  VM {:>6.1} MB  process {:>6.1} MB  {} tasklets",
                generation * GENERATION,
                start.elapsed().as_secs_f64(),
                vm as f64 / 1e6,
                resident as f64 / 1e6,
                host.vm().stats().tasklets
            );
            if generation == 20 {
                settled = Some((vm, resident));
            }
        }
    }
    for _ in 0..3 {
        host.tick(&mut world, 0.02);
    }
    host.vm().lua().gc_collect().expect("collected");
    host.tick(&mut world, 0.02);
    assert_eq!(host.vm().stats().tasklets, 0, "tasklets are left");
    assert_eq!(host.script_counts(), (0, 0));
    if let Some((vm, resident_then)) = settled {
        let (now, resident) = (host.vm().memory(), resident());
        assert!(now < vm + vm / 10, "the VM has grown from {vm} to {now} bytes");
        assert!(
            resident < resident_then + resident_then / 4,
            "from {resident_then} to {resident} bytes resident"
        );
        println!("flat: VM {:.1} MB, process {:.1} MB", now as f64 / 1e6, resident as f64 / 1e6);
    }
}

/// Bytes of memory that the process has, where the system tells.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
