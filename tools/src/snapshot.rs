//! The plain data of one moment of a world, enough to draw it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// An entity, as reports write it: `4v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId {
    /// Which row of the world.
    pub index: u32,
    /// Which user of that row.
    pub generation: u32,
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

/// What a tasklet is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskletState {
    /// In the run queue, or yielded until the next frame.
    Runnable,
    /// Due at a time of the sim clock.
    Sleeping,
    /// Blocked on a channel or for an event.
    Waiting,
    /// Ended by an error, or parked at one.
    Failed,
}

impl TaskletState {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Runnable, Self::Sleeping, Self::Waiting, Self::Failed];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runnable => "runnable",
            Self::Sleeping => "sleeping",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

/// How many tasklets are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskletCounts {
    /// See [`TaskletState::Runnable`].
    pub runnable: usize,
    /// See [`TaskletState::Sleeping`].
    pub sleeping: usize,
    /// See [`TaskletState::Waiting`].
    pub waiting: usize,
    /// See [`TaskletState::Failed`].
    pub failed: usize,
}

impl TaskletCounts {
    /// How many are in `state`.
    pub fn of(&self, state: TaskletState) -> usize {
        match state {
            TaskletState::Runnable => self.runnable,
            TaskletState::Sleeping => self.sleeping,
            TaskletState::Waiting => self.waiting,
            TaskletState::Failed => self.failed,
        }
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        TaskletState::ALL.iter().fold(0, |sum, &state| sum.saturating_add(self.of(state)))
    }
}

/// A colour that every terminal theme, dark or light, has its own legible version of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hue {
    /// The terminal's own text colour.
    #[default]
    Plain,
    /// Red.
    Red,
    /// Green.
    Green,
    /// Yellow.
    Yellow,
    /// Blue.
    Blue,
    /// Magenta.
    Magenta,
    /// Cyan.
    Cyan,
}

impl Hue {
    /// The hue of that name in lower case, as scenes write it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "plain" => Self::Plain,
            "red" => Self::Red,
            "green" => Self::Green,
            "yellow" => Self::Yellow,
            "blue" => Self::Blue,
            "magenta" => Self::Magenta,
            "cyan" => Self::Cyan,
            _ => return None,
        })
    }
}

/// The part of the world that the map shows, in world units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// West and south.
    pub min: [f64; 2],
    /// East and north: y grows upward on the map.
    pub max: [f64; 2],
}

/// Something on the map that has no tasklet and stays where it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Landmark {
    /// A straight wall.
    Wall {
        /// Its one end.
        from: [f64; 2],
        /// Its other end.
        to: [f64; 2],
    },
    /// A place with a name: the shop, the alarm.
    Spot {
        /// Written beside it.
        name: String,
        /// Where it is.
        at: [f64; 2],
        /// How it is drawn.
        glyph: char,
        /// Its colour.
        hue: Hue,
    },
}

/// An entity on the map.
#[derive(Debug, Clone, PartialEq)]
pub struct Creature {
    /// Which one.
    pub entity: EntityId,
    /// Its own name, or its behaviour's where it has none.
    pub name: Arc<str>,
    /// World units, eastward.
    pub x: f64,
    /// World units, northward.
    pub y: f64,
    /// How it is drawn: a character one cell wide.
    pub glyph: char,
    /// Its colour.
    pub hue: Hue,
    /// Its behaviour or faction: creatures of one behaviour are counted together.
    pub behaviour: Arc<str>,
    /// Health, from 0 to 1, where it has any.
    pub health: Option<f32>,
    /// What its script's tasklet does, where it has a script.
    pub tasklet: Option<TaskletState>,
}

/// All creatures of one behaviour.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// The behaviour.
    pub name: Arc<str>,
    /// How the first of them is drawn.
    pub glyph: char,
    /// The colour of the first of them.
    pub hue: Hue,
    /// How many there are.
    pub count: usize,
}

/// The wall time that scripts may take in a frame, and what they took in the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// May.
    pub limit: Duration,
    /// Took.
    pub used: Duration,
}

/// A place in a script: `guard.luau:27 in patrol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, below the script root, with its version where it is not the newest: `guard.luau#3`.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The function, where it has a name.
    pub function: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        match &self.function {
            Some(function) => write!(f, " in {function}"),
            None => Ok(()),
        }
    }
}

/// A line of a nested table, in the order in which it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How deep it is nested, from 0.
    pub depth: usize,
    /// The key, or the name of a component or field.
    pub key: String,
    /// The value; empty for a table whose entries follow.
    pub value: String,
}

/// Tasklets that need somebody, at one place and for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct StuckGroup {
    /// Stays the same while they are there.
    pub number: u64,
    /// They have failed and are parked; else they finish on old text.
    pub parked: bool,
    /// The code in reports, such as `RL201`.
    pub code: &'static str,
    /// Where they are: `guard.luau:27 in patrol`.
    pub place: String,
    /// The line of that place.
    pub line: u32,
    /// How many.
    pub count: usize,
    /// The name of the first of them.
    pub first: String,
    /// What is wrong.
    pub message: String,
    /// The source around the line, in the text that they run.
    pub excerpt: Vec<crate::journal::SourceLine>,
    /// What can be done.
    pub advice: String,
}

/// All about the entity that is followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// Which one.
    pub entity: EntityId,
    /// Its name.
    pub name: String,
    /// Its script and the version that it runs: `guard.luau #4`.
    pub script: String,
    /// What its tasklet does, where it has a script.
    pub tasklet: Option<TaskletState>,
    /// The same in words: `sleeping, 0.4 s to go`.
    pub status: String,
    /// Where its tasklet waits.
    pub waits_at: Option<Place>,
    /// The script's state table.
    pub state: Vec<Entry>,
    /// Its components.
    pub components: Vec<Entry>,
}

/// How hard a world is at work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// How often a tasklet was interrupted so far, because it did not give control away.
    pub interrupted: u64,
    /// Runnable tasklets that the last frame had no time for.
    pub left_over: usize,
    /// How long the garbage collector took in the last frame.
    pub gc: Duration,
    /// The longest that it took in a frame.
    pub gc_max: Duration,
    /// How long it took in all frames together.
    pub gc_total: Duration,
    /// How fast sim time passes by time dilation; 1 is as fast as it should.
    pub dilation: f64,
}

impl Default for Load {
    fn default() -> Self {
        let zero = Duration::ZERO;
        Self { interrupted: 0, left_over: 0, gc: zero, gc_max: zero, gc_total: zero, dilation: 1.0 }
    }
}

/// A world between two frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The scene's name.
    pub scene: String,
    /// The seed of its random numbers.
    pub seed: u64,
    /// Frames so far.
    pub frame: u64,
    /// Sim time so far in seconds.
    pub sim_time: f64,
    /// What the map shows.
    pub bounds: Bounds,
    /// What stands on it.
    pub landmarks: Vec<Landmark>,
    /// Who moves on it.
    pub creatures: Vec<Creature>,
    /// The scripts' budget, where they have one in wall time.
    pub budget: Option<Budget>,
    /// What the last frames were like for the host.
    pub load: Load,
    /// The tasklets.
    pub tasklets: TaskletCounts,
    /// Slices (turns that a tasklet got) since the start.
    pub slices: u64,
    /// Messages delivered since the start.
    pub messages: u64,
    /// The tasklets that need somebody.
    pub stuck: Vec<StuckGroup>,
    /// The followed entity, if it was asked for and is still there.
    pub followed: Option<Followed>,
}

impl Snapshot {
    /// A world without anything in it.
    pub fn empty() -> Self {
        Self {
            scene: String::new(),
            seed: 0,
            frame: 0,
            sim_time: 0.0,
            bounds: Bounds { min: [0.0; 2], max: [1.0; 2] },
            landmarks: Vec::new(),
            creatures: Vec::new(),
            budget: None,
            load: Load::default(),
            tasklets: TaskletCounts::default(),
            slices: 0,
            messages: 0,
            stuck: Vec::new(),
            followed: None,
        }
    }

    /// The behaviours and how many creatures have each, by name.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds = BTreeMap::<&str, Kind>::new();
        for creature in &self.creatures {
            kinds
                .entry(&creature.behaviour)
                .or_insert_with(|| Kind {
                    name: creature.behaviour.clone(),
                    glyph: creature.glyph,
                    hue: creature.hue,
                    count: 0,
                })
                .count += 1;
        }
        kinds.into_values().collect()
    }
}
