//! Whole-system tests live in `tests/tests`, benches in `tests/benches`. Here is what they share: a small game
//! with scripts in memory, a clock that only [`Game::frame`] moves, and a few components.

use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bluetick::{
    FrameReport, HostBuilder, Library, Script, ScriptFailure, ScriptHost, ScriptStatus, SliceLimit,
};
use glam::Vec3;
use std::time::Duration;

/// A component of numbers.
#[derive(Component, Reflect, Default, Clone, Copy, Debug, PartialEq)]
#[reflect(Default)]
pub struct Health {
    /// What is left.
    pub current: f32,
    /// What there may be.
    pub max: f32,
}

/// A component with a vector.
#[derive(Component, Reflect, Default, Clone, Copy, Debug, PartialEq)]
#[reflect(Default)]
pub struct Position {
    /// Where it is.
    pub at: Vec3,
}

/// A component without fields.
#[derive(Component, Reflect, Default, Clone, Copy, Debug, PartialEq, Eq)]
#[reflect(Default)]
pub struct Marked;

/// A world, its host and its scripts.
pub struct Game {
    /// The entities.
    pub world: World,
    /// Runs their scripts; keeps what they print.
    pub host: ScriptHost,
    /// The script files.
    pub library: Library,
}

impl Game {
    /// A game with these script files (names without `.luau`, and texts).
    pub fn new<N: AsRef<str>, T: AsRef<str>>(scripts: impl IntoIterator<Item = (N, T)>) -> Self {
        Self::build(scripts, |builder| builder)
    }

    /// A game as its designers play it: scripts that fail are parked.
    pub fn edited<N: AsRef<str>, T: AsRef<str>>(scripts: impl IntoIterator<Item = (N, T)>) -> Self {
        Self::build(scripts, |builder| builder.park_failed(true))
    }

    /// As [`new`](Self::new), with a host to which `add` has added what it needs.
    pub fn build<N: AsRef<str>, T: AsRef<str>>(
        scripts: impl IntoIterator<Item = (N, T)>,
        add: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Self {
        let scripts = scripts.into_iter().map(|(name, text)| (name.as_ref().to_owned(), text));
        let library = Library::in_memory(scripts);
        let builder = ScriptHost::builder()
            .library(library.clone())
            .component::<Health>()
            .component::<Position>()
            .component::<Marked>()
            .seed(1)
            // How fast the machine is shows in no test that doesn't ask for it.
            .budget(Duration::MAX)
            .slice(SliceLimit::ticks(20_000_000))
            // Most tests want to see how tasklets end.
            .park_failed(false)
            .keep_printed();
        let mut world = World::new();
        let host = add(builder).build(&mut world).expect("the host can be built");
        Self { world, host, library }
    }

    /// An entity with one script.
    pub fn spawn(&mut self, script: &str) -> Entity {
        self.world.spawn(Script::new(script)).id()
    }

    /// A frame of a quarter of a second, which floats add up without error.
    pub fn frame(&mut self) -> FrameReport {
        self.host.tick(&mut self.world, 0.25)
    }

    /// Several frames, in which nothing may fail.
    #[track_caller]
    pub fn frames(&mut self, count: usize) {
        for _ in 0..count {
            let report = self.frame();
            assert!(report.failures.is_empty(), "{}", report.failures[0]);
        }
    }

    /// A frame in which exactly one thing fails.
    #[track_caller]
    pub fn failure(&mut self) -> ScriptFailure {
        let mut report = self.frame();
        assert_eq!(report.failures.len(), 1, "{:#?}", report.failures);
        report.failures.remove(0)
    }

    /// What scripts have printed since the last time, in one line.
    pub fn printed(&self) -> String {
        self.host.take_printed().join(" ")
    }

    /// How the first script of an entity is doing.
    pub fn status(&self, entity: Entity) -> ScriptStatus {
        let script = self.world.get::<Script>(entity).expect("the entity has a script");
        script.statuses().next().expect("the component names a script").clone()
    }

    /// Saves a script file; the next frame sees it.
    pub fn save(&self, name: &str, text: impl AsRef<str>) {
        self.library.set(name, text);
    }
}

/// A script whose `run` has this body; its first line is line 1.
pub fn script(body: &str) -> String {
    format!("local M = {{}} function M.run(self) {body}\nend return M")
}

/// A script whose tasklet loops: `before` the loop and `body` in it.
pub fn looping(before: &str, body: &str) -> String {
    looping_with("", before, body)
}

/// The same, with `more` in its module.
pub fn looping_with(more: &str, before: &str, body: &str) -> String {
    format!(
        "local M = {{}} {more}
function M.run(self)
{before}
while true do
{body}
synchro.yield()
end
end
return M"
    )
}
