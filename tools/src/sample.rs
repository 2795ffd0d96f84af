//! A world for tests: creatures that walk by a seed, and all that a journal can hold.

use std::time::Duration;

use crate::{
    journal::{Fate, Journal, Reload, ScriptError, SourceLine},
    session::{Remedy, Session},
    snapshot::{
        Bounds, Budget, Creature, EntityId, Entry, Followed, Hue, Landmark, Load, Place, Snapshot,
        StuckGroup, TaskletCounts, TaskletState,
    },
};

/// What walks in the sample: behaviour, glyph, colour, how many.
const KINDS: [(&str, char, Hue, u32); 7] = [
    ("patrol", 'p', Hue::Blue, 24),
    ("hunter", 'h', Hue::Red, 16),
    ("flock", 'v', Hue::Green, 180),
    ("leader", 'L', Hue::Yellow, 6),
    ("shopper", 's', Hue::Cyan, 60),
    ("sleeper", 'z', Hue::Plain, 30),
    ("raider", 'r', Hue::Magenta, 12),
];

pub(crate) fn creature(index: u32, behaviour: &str, x: f64, y: f64) -> Creature {
    Creature {
        entity: EntityId { index, generation: 1 },
        name: format!("{behaviour} {index}").into(),
        x,
        y,
        glyph: behaviour.chars().next().unwrap_or('?'),
        hue: Hue::Plain,
        behaviour: behaviour.into(),
        health: Some(1.0),
        tasklet: Some(TaskletState::Sleeping),
    }
}

pub(crate) fn error(file: &str, line: u32) -> ScriptError {
    let source = |number, text: &str| SourceLine { number, text: text.into() };
    ScriptError {
        fate: Fate::Failed,
        code: None,
        message: "attempt to index nil with 'x'".into(),
        place: Some(Place { file: file.into(), line, function: Some("chase".into()) }),
        traceback: vec![format!("{file}:{line} in chase"), format!("{file}:12 in run")],
        excerpt: vec![
            source(line.saturating_sub(1), "function Hunter.chase(self, prey)"),
            source(line, "    local d = dist(self.postion, prey)"),
            source(line + 1, "    if d < 2 then"),
        ],
        entity: Some((EntityId { index: 4, generation: 1 }, "gate guard".into())),
        tasklet: Some("hunter 4".into()),
        unstarted: None,
        notes: vec![],
        count: 1,
    }
}

/// Three tasklets on old text, or parked.
pub(crate) fn stuck(number: u64, parked: bool) -> StuckGroup {
    let source = |number, text: &str| SourceLine { number, text: text.into() };
    let excerpt = vec![source(20, "    while true do"), source(21, "        rest()"), source(22, "    end")];
    StuckGroup {
        number,
        parked,
        code: if parked { "RL201" } else { "RL104" },
        place: if parked { "guard.luau:21 in patrol".into() } else { "guard.luau#3:21 in patrol".into() },
        line: 21,
        count: 3,
        first: "guard of entity 4v1".into(),
        message: match parked {
            true => "attempt to index nil with 'x'".into(),
            false => "new local 'target' has no value at this wait".into(),
        },
        excerpt,
        advice: match parked {
            true => "it goes on from line 21 when guard.luau is saved again;  locals: hp=57".into(),
            false => "give it a constant ('local target = nil'), or restart guard.luau".into(),
        },
    }
}

pub(crate) fn reload(title: &str) -> Reload {
    Reload {
        title: title.into(),
        refused: false,
        modules: vec![],
        held: vec![],
        details: vec![
            "16 tasklets moved, 1 finishes on old text".into(),
            "now    SPEED 5 -> 8;  M.waypoints (4 items)".into(),
            "kept   M.score = 42 (the game changed it; file says 7)".into(),
        ],
        took: Some(Duration::from_micros(4_100)),
    }
}

pub(crate) fn refused() -> Reload {
    Reload {
        title: "guard.luau (still #4)".into(),
        refused: true,
        modules: vec!["guard".into()],
        held: vec!["ai/util".into()],
        details: vec![
            "RL001 syntax  guard.luau:33: expected 'end' (to close 'while' at line 12)".into(),
            "RL006 ai/util.luau was saved with it and waits for it".into(),
        ],
        took: None,
    }
}

/// The sample world.
pub(crate) struct Sample {
    seed: u64,
    random: u64,
    frame: u64,
    sim_time: f64,
    creatures: Vec<Creature>,
    slices: u64,
    messages: u64,
    stuck: Vec<StuckGroup>,
    journal: Journal,
}

impl Sample {
    pub(crate) fn new(seed: u64) -> Self {
        let mut sample = Self {
            seed,
            random: seed,
            frame: 0,
            sim_time: 0.0,
            creatures: Vec::new(),
            slices: 0,
            messages: 0,
            stuck: Vec::new(),
            journal: Journal::default(),
        };
        for (behaviour, glyph, hue, count) in KINDS {
            for _ in 0..count {
                let (x, y) = (sample.random() * 76.0 - 38.0, sample.random() * 46.0 - 23.0);
                let mut new = creature(sample.creatures.len() as u32, behaviour, x, y);
                (new.glyph, new.hue) = (glyph, hue);
                new.health = Some(sample.random() as f32);
                new.tasklet = Some(TaskletState::ALL[(sample.random() * 3.0) as usize]);
                sample.creatures.push(new);
            }
        }
        sample
    }

    /// From 0 to 1, by the seed (SplitMix64).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happen(&mut self) {
        match self.frame {
            90 => self.journal.announce("Wave 1: twelve raiders from the north"),
            150 => self.journal.reload(reload("hunter.luau #1 -> #2")),
            200 => self.journal.log("shop.luau: sold 3 potions to shopper 211"),
            240 | 300 => {
                self.creatures[30].tasklet = Some(TaskletState::Failed);
                self.journal.error(error("hunter.luau", 27));
            }
            330 => self.journal.reload(refused()),
            320 => self.stuck = vec![stuck(1, true), stuck(2, false)],
            400 => self.journal.announce("The alarm sleeps again; 9 raiders fled"),
            _ => {}
        }
    }
}

impl Session for Sample {
    fn tick(&mut self, dt: f64) {
        self.frame += 1;
        self.sim_time += dt;
        self.journal.set_time(self.frame, self.sim_time);
        for index in 0..self.creatures.len() {
            let (dx, dy) = (self.random() - 0.5, self.random() - 0.5);
            let creature = &mut self.creatures[index];
            creature.x = (creature.x + dx).clamp(-39.0, 39.0);
            creature.y = (creature.y + dy).clamp(-24.0, 24.0);
        }
        self.slices += 40 + (self.random() * 20.0) as u64;
        self.messages += (self.random() * 5.0) as u64;
        self.happen();
    }

    fn snapshot(&mut self, follow: Option<EntityId>) -> Snapshot {
        let mut tasklets = TaskletCounts::default();
        for creature in &self.creatures {
            match creature.tasklet {
                Some(TaskletState::Runnable) => tasklets.runnable += 1,
                Some(TaskletState::Sleeping) => tasklets.sleeping += 1,
                Some(TaskletState::Waiting) => tasklets.waiting += 1,
                Some(TaskletState::Failed) => tasklets.failed += 1,
                None => {}
            }
        }
        let followed = self.creatures.iter().find(|creature| Some(creature.entity) == follow);
        let entry = |depth, key: &str, value: &str| Entry { depth, key: key.into(), value: value.into() };
        let spot = |name: &str, at, glyph, hue| Landmark::Spot { name: name.into(), at, glyph, hue };
        let wall = |from, to| Landmark::Wall { from, to };
        Snapshot {
            scene: "arena".into(),
            seed: self.seed,
            frame: self.frame,
            sim_time: self.sim_time,
            bounds: Bounds { min: [-40.0, -25.0], max: [40.0, 25.0] },
            landmarks: vec![
                wall([-20.0, 10.0], [-4.0, 10.0]),
                wall([4.0, 10.0], [20.0, 10.0]),
                wall([-20.0, -12.0], [-20.0, 10.0]),
                wall([20.0, -2.0], [20.0, 10.0]),
                spot("shop", [28.0, -14.0], '$', Hue::Yellow),
                spot("alarm", [-30.0, 18.0], '!', Hue::Red),
            ],
            creatures: self.creatures.clone(),
            budget: Some(Budget {
                limit: Duration::from_millis(4),
                used: Duration::from_micros(900 + (self.frame * 37) % 3_500),
            }),
            load: Load {
                interrupted: self.frame / 200,
                gc: Duration::from_micros(self.frame % 7 * 100),
                ..Load::default()
            },
            tasklets,
            slices: self.slices,
            messages: self.messages,
            stuck: self.stuck.clone(),
            followed: followed.map(|creature| Followed {
                entity: creature.entity,
                name: creature.name.to_string(),
                script: format!("{}.luau #2", creature.behaviour),
                tasklet: creature.tasklet,
                status: "sleeping, 0.4 s to go".into(),
                waits_at: Some(Place {
                    file: "hunter.luau".into(),
                    line: 27,
                    function: Some("chase".into()),
                }),
                state: vec![
                    entry(0, "mode", "\"chase\""),
                    entry(0, "waypoints", ""),
                    entry(1, "1", "(12.5, 3.0)"),
                    entry(1, "2", "(-4.0, 8.5)"),
                    entry(0, "kills", "3"),
                ],
                components: vec![
                    entry(0, "Health", ""),
                    entry(1, "current", "57"),
                    entry(1, "max", "100"),
                    entry(0, "Transform", ""),
                    entry(1, "translation", &format!("({:.1}, {:.1})", creature.x, creature.y)),
                ],
            }),
        }
    }

    fn remedy(&mut self, number: u64, remedy: Remedy) {
        self.stuck.retain(|group| group.number != number || remedy == Remedy::Retry && !group.parked);
    }

    fn digest(&self) -> u64 {
        let words = self.creatures.iter().flat_map(|creature| [creature.x.to_bits(), creature.y.to_bits()]);
        words.fold(0, |digest: u64, word| (digest.rotate_left(7) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }
}
