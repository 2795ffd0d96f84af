//! A project that plays: a world with the host that runs its scripts, as the players see it.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bevy_ecs::prelude::*;
use bluetick::ecs::Value;
use bluetick::{
    FrameReport, Library, ReloadReport, Scene, Script, ScriptFailure, ScriptHost, ScriptStatus, SliceLimit,
    Stuck, TimeDilation, Which,
};

use crate::arena::{self, Arena, Glyph, Health, Said, Team, Transform};
use crate::journal::{Fate, Journal, Reload, ScriptError, SourceLine};
use crate::session::{Remedy, Session};
use crate::snapshot::{
    Bounds, Budget, Creature, EntityId, Entry, Followed, Hue, Load, Place, Snapshot, StuckGroup,
    TaskletCounts, TaskletState,
};

/// The deepest that a state table is shown.
const DEPTH: usize = 4;

/// The most entries of a state table that are shown.
const MOST_ENTRIES: usize = 60;

/// Frames between two looks at the tasklets that are stuck, while there are some.
const LOOK_EVERY: u32 = 20;

/// What to play, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The project folder, with `scripts` and `scenes` in it; without one, the demo.
    pub dir: Option<PathBuf>,
    /// The scene; without one, the first by name.
    pub scene: Option<String>,
    /// The seed; without one, 1.
    pub seed: Option<u64>,
    /// Whether files are watched.
    pub watch: bool,
    /// Whether how fast the machine is may show: if not, budgets are in ticks, and the same seed gives the same game.
    pub reproducible: bool,
    /// Whether sim time slows down under overload.
    pub dilate: bool,
}

/// Ticks that a slice may have in a reproducible game. A call or a round of a loop is one, and most take some 10 ns,
/// so it is about the 5 ms that a slice has otherwise.
const SLICE: u64 = 500_000;

/// Ticks that the scripts of a frame may have in a reproducible game, for the 250 ms that they have otherwise: fewer than
/// are as long, because to switch, and to make tasklets, takes longer than a tick.
const FRAME: u64 = 10 * SLICE;

/// A project that plays.
pub struct Live {
    world: World,
    host: ScriptHost,
    said: Said,
    journal: Journal,
    scene: String,
    seed: u64,
    slices: u64,
    messages: u64,
    budget: Option<Budget>,
    load: Load,
    sleeping: usize,
    yielding: usize,
    /// As of the last look, since to look takes time.
    stuck: Vec<Stuck>,
    /// Frames until the next look.
    next_look: u32,
    /// How many have failed and wait to be mended.
    parked: usize,
}

impl Live {
    /// Opens a project and spawns its scene.
    ///
    /// # Errors
    /// Says what is wrong with the folder or the scene, and where.
    pub fn open(options: Options) -> Result<Self, String> {
        let dir = match options.dir {
            Some(dir) => dir,
            None => demo_folder()?,
        };
        let library = Library::builder()
            .scripts(dir.join("scripts"))
            .scenes(dir.join("scenes"))
            .open()
            .map_err(|error| error.to_string())?;
        let scene = match options.scene {
            Some(scene) => scene,
            None => match library.scenes().first() {
                Some(first) => first.as_str().to_owned(),
                None => return Err(format!("{}: no scene, that is no file scenes/*.toml", dir.display())),
            },
        };
        let source = library.scene(scene.as_str()).map_err(|error| {
            let scenes = library.scenes();
            let names: Vec<&str> = scenes.iter().map(|name| name.as_str()).collect();
            format!("{error}; {} has the scenes {}", dir.join("scenes").display(), names.join(", "))
        })?;
        let seed = options.seed.unwrap_or(1);
        let said = Said::default();
        let mut world = World::new();
        arena::set_up(&mut world);
        let mut builder = ScriptHost::builder().library(library).watch(options.watch).seed(seed);
        if options.reproducible {
            builder = builder.budget(bluetick::Budget::Ticks(FRAME)).slice(SliceLimit::ticks(SLICE));
        }
        if options.dilate {
            builder = builder.time_dilation(TimeDilation::default());
        }
        let host = arena::register(builder, &said).build(&mut world).map_err(|error| error.to_string())?;
        let parsed =
            Scene::parse(&source.text, &source.path.to_string_lossy()).map_err(|error| error.to_string())?;
        parsed.spawn(&mut world, host.registry(), seed).map_err(|error| error.to_string())?;
        Ok(Self {
            world,
            host,
            said,
            journal: Journal::default(),
            scene,
            seed,
            slices: 0,
            messages: 0,
            budget: None,
            load: Load::default(),
            sleeping: 0,
            yielding: 0,
            stuck: Vec::new(),
            next_look: 0,
            parked: 0,
        })
    }

    fn tell(&mut self, report: FrameReport) {
        self.journal.set_time(report.frame, report.sim_time);
        let mut announced = self.said.announced.take().into_iter().peekable();
        for (index, line) in self.host.take_printed().into_iter().enumerate() {
            while let Some((_, text)) = announced.next_if(|&(before, _)| before <= index) {
                self.journal.announce(text);
            }
            self.journal.log(line);
        }
        announced.for_each(|(_, text)| self.journal.announce(text));
        for note in report.notes {
            self.journal.log(note);
        }
        for module in &report.gone {
            self.journal.forget(module);
        }
        // One that was retried and has failed again leaves their number as it was.
        let has_failed = report.failures.iter().any(|failure| failure.parked.is_some());
        let has_changed = report.reload.is_some() || report.parked != self.parked || has_failed;
        self.parked = report.parked;
        if let Some(reload) = report.reload {
            self.tell_reload(&reload, report.reload_time);
        }
        // One that goes on and on is told of at its first slice, its second, its fourth ...
        for overrun in report.overruns.iter().filter(|overrun| overrun.in_a_row.is_power_of_two()) {
            self.journal.log(overrun.to_string());
        }
        for script in &report.recovered {
            self.journal.start(script);
        }
        for failure in report.failures {
            self.journal.error(script_error(&self.world, failure));
        }
        self.load = Load {
            interrupted: self.host.vm().overruns(),
            left_over: report.left_over,
            gc: report.gc_time,
            gc_max: self.load.gc_max.max(report.gc_time),
            gc_total: self.load.gc_total + report.gc_time,
            dilation: report.dilation,
        };
        self.next_look = self.next_look.saturating_sub(1);
        if has_changed || self.next_look == 0 && !self.stuck.is_empty() {
            self.look_for_stuck();
        }
        self.slices += report.slices;
        self.messages += report.messages;
        self.budget = match report.budget {
            bluetick::Budget::Time(limit) => Some(Budget { limit, used: report.script_time }),
            _ => None,
        };
        (self.sleeping, self.yielding) = (report.sleeping, report.yielding);
    }

    fn tell_reload(&mut self, reload: &ReloadReport, took: Duration) {
        let refused = reload.is_refused();
        let text = reload.to_string();
        let mut lines = text.lines();
        let title = lines.next().unwrap_or_default();
        let title = title.trim_start_matches("reload refused").trim_start_matches("reload").trim().to_owned();
        let mut details = Vec::new();
        let mut pins = reload.pins.iter();
        for line in lines {
            // Deeper than the report's own lines stands the source below what was refused; it keeps its indentation.
            details.push(match line.strip_prefix("    ") {
                Some(source) if refused => format!("  {source}"),
                _ => line.trim().to_owned(),
            });
            let line = line.trim_start();
            // Below each place at which somebody finishes on old text stands that text.
            if line.starts_with("old ")
                && let Some(pin) = pins.next()
            {
                let source = self.host.excerpt(&format!("{}#{}", pin.file, pin.version), pin.line);
                details.extend(source.lines().map(|line| format!("  {line}")));
            }
        }
        if !refused {
            for module in &reload.modules {
                self.journal.mend(&module.file);
            }
        }
        let modules = match refused {
            true => reload.refused.iter().map(|error| error.module.clone()).collect(),
            false => reload.modules.iter().map(|module| module.module.clone()).collect(),
        };
        let held = reload.held.clone();
        self.journal.reload(Reload { title, refused, modules, held, details, took: Some(took) });
    }

    fn look_for_stuck(&mut self) {
        self.stuck = self.host.stuck();
        self.next_look = LOOK_EVERY;
    }

    fn creatures(&mut self) -> Vec<Creature> {
        let mut query = self.world.query::<(
            Entity,
            &Transform,
            &Glyph,
            Option<&Team>,
            Option<&Health>,
            Option<&Script>,
            Option<&Name>,
        )>();
        query
            .iter(&self.world)
            .map(|(entity, transform, glyph, team, health, script, name)| {
                let behaviour: Arc<str> = match (team, script) {
                    (_, Some(script)) => script.names().next().unwrap_or_default().into(),
                    (Some(team), None) => team.name.as_str().into(),
                    (None, None) => "thing".into(),
                };
                Creature {
                    entity: id(entity),
                    name: name.map_or_else(|| behaviour.clone(), |name| name.as_str().into()),
                    x: f64::from(transform.translation.x),
                    y: f64::from(transform.translation.y),
                    glyph: glyph.symbol,
                    hue: Hue::from_name(&glyph.hue).unwrap_or_default(),
                    behaviour,
                    health: health.map(|health| (health.current / health.max).clamp(0.0, 1.0)),
                    tasklet: script.and_then(state_of),
                }
            })
            .collect()
    }

    fn tasklets(&mut self) -> TaskletCounts {
        let stats = self.host.vm().stats();
        // Scripts that an error has ended, and all tasklets that are parked: those that scripts have spawned too.
        let mut scripts = self.world.query::<&Script>();
        let statuses = scripts.iter(&self.world).flat_map(Script::statuses);
        let ended = statuses.filter(|status| matches!(status, ScriptStatus::Failed { .. })).count();
        TaskletCounts {
            runnable: stats.runnable + self.yielding,
            sleeping: self.sleeping,
            waiting: stats.waiting,
            failed: ended + self.parked,
        }
    }

    fn followed(&self, follow: EntityId) -> Option<Followed> {
        let entity = self.world.iter_entities().map(|e| e.id()).find(|&entity| id(entity) == follow)?;
        let script = self.world.get::<Script>(entity);
        let waits = self.host.waits_at(entity);
        let state = script.and_then(state_of);
        let scripts: Vec<String> = script
            .map(|script| {
                script.names().map(|n| format!("{n}.luau #{}", self.host.vm().module_version(n))).collect()
            })
            .unwrap_or_default();
        let mut shown = Vec::new();
        if let Some(table) = self.host.state(entity) {
            show_table(&table, 0, &mut shown);
        }
        let mut components = Vec::new();
        for name in self.host.registry().component_names() {
            if let Some(value) = self.host.registry().read(&self.world, entity, name) {
                show_value(name, &value, 0, &mut components);
            }
        }
        Some(Followed {
            entity: follow,
            name: match self.world.get::<Name>(entity) {
                Some(name) => name.as_str().to_owned(),
                None => format!("entity {entity}"),
            },
            script: scripts.join(", "),
            tasklet: state,
            status: match script.and_then(|script| script.statuses().next()) {
                Some(ScriptStatus::Failed { message, .. }) => format!("failed: {message}"),
                Some(ScriptStatus::Parked { message, .. }) => format!("parked: {message}"),
                Some(ScriptStatus::Finished) => "finished".into(),
                Some(ScriptStatus::Starting) => "starting".into(),
                Some(ScriptStatus::Running) if self.host.is_asleep(entity) => "sleeping".into(),
                Some(ScriptStatus::Running) => "waiting".into(),
                None => String::new(),
            },
            waits_at: waits.lines().next().and_then(place),
            state: shown,
            components,
        })
    }
}

impl Session for Live {
    fn tick(&mut self, dt: f64) {
        let report = arena::step(&mut self.world, &mut self.host, dt);
        self.tell(report);
    }

    fn snapshot(&mut self, follow: Option<EntityId>) -> Snapshot {
        let Arena { min, max } = self.world.resource::<Arena>().clone();
        let clock = self.host.clock();
        Snapshot {
            scene: self.scene.clone(),
            seed: self.seed,
            frame: clock.frame,
            sim_time: clock.sim,
            bounds: Bounds {
                min: [f64::from(min.x), f64::from(min.y)],
                max: [f64::from(max.x), f64::from(max.y)],
            },
            landmarks: Vec::new(),
            creatures: self.creatures(),
            budget: self.budget,
            load: self.load,
            tasklets: self.tasklets(),
            slices: self.slices,
            messages: self.messages,
            stuck: self.stuck.iter().map(stuck_group).collect(),
            followed: follow.and_then(|follow| self.followed(follow)),
        }
    }

    fn remedy(&mut self, number: u64, remedy: Remedy) {
        let Some(stuck) = self.stuck.iter().find(|stuck| stuck_number(stuck) == number).cloned() else {
            return;
        };
        let (world, which) = (&mut self.world, Which::Those(&stuck.tasklets));
        let (count, what, fate) = match remedy {
            Remedy::Retry => (self.host.retry(world, which), "go on", Fate::Retried),
            Remedy::Restart => (self.host.restart(world, which), "begin anew", Fate::Restarted),
            Remedy::Kill => (self.host.kill(world, which), "end", Fate::Killed),
        };
        if stuck.is_parked() && count > 0 {
            let (place, message) = said(&stuck.message);
            self.journal.settle(place.as_ref(), message, fate);
        }
        self.journal.log(format!("{}: {count} of {} tasklets {what}", stuck.place(), stuck.tasklets.len()));
        self.look_for_stuck();
    }

    fn digest(&self) -> u64 {
        self.host.registry().digest(&self.world)
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// By which the player knows tasklets that are stuck, as long as they are.
fn stuck_number(stuck: &Stuck) -> u64 {
    let text = format!("{} {} {}", stuck.code(), stuck.place(), stuck.message);
    let mut hasher = std::hash::DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn stuck_group(stuck: &Stuck) -> StuckGroup {
    // Where it is stands before it already.
    let message = match said(&stuck.message) {
        (Some(place), text) if (&*place.file, place.line) == (&*stuck.file, stuck.line) => text,
        _ => &stuck.message,
    };
    StuckGroup {
        number: stuck_number(stuck),
        parked: stuck.is_parked(),
        code: stuck.code(),
        place: stuck.place(),
        line: stuck.line,
        count: stuck.tasklets.len(),
        first: stuck.tasklet.clone(),
        message: message.to_owned(),
        excerpt: source_lines(&stuck.excerpt),
        advice: stuck.advice.clone(),
    }
}

/// An excerpt, line by line.
fn source_lines(excerpt: &str) -> Vec<SourceLine> {
    let lines = excerpt.lines().filter_map(|line| {
        let (number, text) = line.trim_start_matches('>').split_once(" | ")?;
        Some(SourceLine { number: number.trim().parse().ok()?, text: text.into() })
    });
    lines.collect()
}

/// The demo's folder: `assets` where one stands, or where the sources were when this was built.
fn demo_folder() -> Result<PathBuf, String> {
    let places = [Path::new("assets"), Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets"))];
    let found = places.iter().find(|place| place.join("scenes").is_dir());
    found.map(|place| place.to_path_buf()).ok_or_else(|| {
        "the demo's folder 'assets' is not here; name a project folder: bluetick run DIR".to_owned()
    })
}

fn id(entity: Entity) -> EntityId {
    EntityId { index: entity.index_u32(), generation: entity.generation().to_bits() }
}

fn state_of(script: &Script) -> Option<TaskletState> {
    script.statuses().next().map(|status| match status {
        ScriptStatus::Failed { .. } | ScriptStatus::Parked { .. } => TaskletState::Failed,
        ScriptStatus::Starting => TaskletState::Runnable,
        ScriptStatus::Running | ScriptStatus::Finished => TaskletState::Sleeping,
    })
}

/// `file:line in function 'name'` as a place.
fn place(line: &str) -> Option<Place> {
    let (file, rest) = line.trim().split_once(':')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(digits);
    let function = rest.split_once("function '").and_then(|(_, name)| name.strip_suffix('\''));
    Some(Place { file: file.into(), line: number.parse().ok()?, function: function.map(str::to_owned) })
}

/// The place that a message begins with, and the rest of it.
fn said(message: &str) -> (Option<Place>, &str) {
    let Some(place) = place(message) else { return (None, message) };
    match message.strip_prefix(&format!("{}:{}:", place.file, place.line)) {
        Some(text) => (Some(place), text.trim_start()),
        None => (None, message),
    }
}

fn script_error(world: &World, mut failure: ScriptFailure) -> ScriptError {
    // The same mistake in many entities is one mistake.
    if let Some(entity) = failure.entity {
        failure.message = failure.message.replace(&format!("entity {entity} "), "this entity ");
    }
    let at = place(failure.traceback.lines().next().unwrap_or_default());
    let (said_at, message) = said(&failure.message);
    let message = message.to_owned();
    let at = match said_at {
        Some(place) => at.filter(|at| at.line == place.line).or(Some(place)),
        None => at,
    };
    ScriptError {
        fate: if failure.parked.is_some() { Fate::Parked } else { Fate::Failed },
        code: failure.parked.as_ref().map(|parked| parked.code.as_str()),
        message,
        place: at,
        traceback: failure.traceback.lines().map(str::to_owned).collect(),
        excerpt: source_lines(&failure.excerpt),
        entity: failure.entity.map(|entity| {
            let name =
                world.get::<Name>(entity).map_or_else(|| failure.script.clone(), |n| n.as_str().to_owned());
            (id(entity), name)
        }),
        tasklet: Some(failure.tasklet),
        unstarted: (!failure.started).then_some(failure.script),
        notes: failure.parked.map(|parked| parked.advice).into_iter().collect(),
        count: failure.count as u64,
    }
}

/// Appends the entries of a state table, sorted by their keys.
fn show_table(table: &mlua::Table, depth: usize, out: &mut Vec<Entry>) {
    let mut entries: Vec<(String, mlua::Value)> = table
        .pairs::<mlua::Value, mlua::Value>()
        .filter_map(Result::ok)
        .map(|(key, value)| (plain(&key), value))
        .collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, value) in entries {
        if out.len() >= MOST_ENTRIES {
            return;
        }
        match &value {
            mlua::Value::Table(inner) if depth < DEPTH => {
                out.push(Entry { depth, key, value: String::new() });
                show_table(inner, depth + 1, out);
            }
            value => out.push(Entry { depth, key, value: plain(value) }),
        }
    }
}

/// A value in a few words, without running anything of a script.
fn plain(value: &mlua::Value) -> String {
    match value {
        mlua::Value::String(text) => text.to_string_lossy(),
        mlua::Value::Number(number) => format!("{}", (number * 1000.0).round() / 1000.0),
        mlua::Value::Integer(number) => number.to_string(),
        mlua::Value::Boolean(truth) => truth.to_string(),
        mlua::Value::Vector(v) => format!("({:.2}, {:.2}, {:.2})", v.x(), v.y(), v.z()),
        other => other.type_name().to_owned(),
    }
}

fn show_value(key: &str, value: &Value, depth: usize, out: &mut Vec<Entry>) {
    let mut entry = |value: String| out.push(Entry { depth, key: key.into(), value });
    match value {
        Value::Map(fields) => {
            entry(String::new());
            for (name, value) in fields {
                match name {
                    Value::String(name) => show_value(name, value, depth + 1, out),
                    name => show_value(&name.to_string(), value, depth + 1, out),
                }
            }
        }
        Value::List(items) => entry(format!("{} items", items.len())),
        value => entry(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Event;
    use tempfile::TempDir;

    /// A project of one script, `troll`, and one entity that has it.
    fn project(script: &str) -> TempDir {
        let dir = TempDir::new().expect("a folder");
        for folder in ["scripts", "scenes"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        std::fs::write(dir.path().join("scenes/a.toml"), "[[entity]]\nscript = \"troll\"\n")
            .expect("a scene");
        std::fs::write(dir.path().join("scripts/troll.luau"), script).expect("a script");
        dir
    }

    fn live(dir: &TempDir, reproducible: bool) -> Live {
        let dir = Some(dir.path().to_owned());
        Live::open(Options { dir, reproducible, ..Options::default() }).expect("a project")
    }

    #[test]
    fn a_slice_of_a_reproducible_game_has_about_as_many_ticks_as_another_has_in_5_ms() {
        let dir = project("return { run = function() while true do end end }");
        let mut live = live(&dir, true);
        for _ in 0..3 {
            let before = live.host.vm().ticks();
            live.tick(0.1);
            let ticks = live.host.vm().ticks() - before;
            assert!((100_000..1_000_000).contains(&ticks), "{ticks}");
        }
        assert_eq!(live.load.interrupted, 3);
    }

    #[test]
    fn a_frame_of_a_reproducible_game_ends_whatever_its_scripts_do() {
        let dir = project("return { run = function() while true do scheduler.schedule() end end }");
        let mut live = live(&dir, true);
        let before = live.host.vm().ticks();
        live.tick(0.1);
        assert!(live.host.vm().ticks() - before <= FRAME);
        assert_eq!(live.load.left_over, 1);
    }

    #[test]
    fn an_error_of_which_somebody_has_killed_the_tasklets_is_not_told_as_mended() {
        let text = "local Troll = {}
            function Troll.run(self)
                self.state.tries = (self.state.tries or 0) + 1
                local x = self.state.club.weight
            end
            return Troll";
        let dir = project(text);
        let mut live = live(&dir, true);
        live.tick(0.1);
        let fates = |live: &Live| -> Vec<_> {
            live.journal().errors().iter().map(|error| (error.what.fate, error.what.count)).collect()
        };
        assert_eq!(fates(&live), [(Fate::Parked, 1)]);
        for (remedy, fate) in [(Remedy::Retry, Fate::Retried), (Remedy::Restart, Fate::Restarted)] {
            let number = live.snapshot(None).stuck[0].number;
            live.remedy(number, remedy);
            let seen = fates(&live);
            assert_eq!(seen.last(), Some(&(fate, 1)), "the same tasklet again is one tasklet");
            live.tick(0.1);
            live.tick(0.1);
            assert_eq!(fates(&live).last(), Some(&(Fate::Parked, 1)), "{remedy:?}");
        }
        let number = live.snapshot(None).stuck[0].number;
        live.remedy(number, Remedy::Kill);
        live.tick(0.1);
        std::fs::write(dir.path().join("scripts/troll.luau"), text.replace("club.weight", "club"))
            .expect("saved");
        let report = live.host.reload_now(&mut live.world).expect("it was saved");
        live.tell_reload(&report, Duration::ZERO);
        let seen: Vec<Fate> = fates(&live).into_iter().map(|(fate, _)| fate).collect();
        assert_eq!(seen, [Fate::Retried, Fate::Restarted, Fate::Killed]);
        assert_eq!((live.journal().totals().errors, live.journal().totals().reloads), (1, 1));
    }

    const GOOD: &str = "local Troll = {}
function Troll.run(self)
    synchro.sleep(60)
end
return Troll
";

    /// Saves the script of the project, and tells of it as a tick does.
    fn save(live: &mut Live, dir: &TempDir, text: &str) {
        std::fs::write(dir.path().join("scripts/troll.luau"), text).expect("saved");
        if let Some(report) = live.host.reload_now(&mut live.world) {
            live.tell_reload(&report, Duration::ZERO);
        }
        live.tick(0.1);
    }

    #[test]
    fn a_script_that_did_not_start_is_mended_when_it_has() {
        for bad in ["local Troll = {", "return {}", "return 7", "error('no')"] {
            let dir = project(bad);
            let mut live = live(&dir, true);
            live.tick(0.1);
            assert_eq!(live.journal().open_errors(), 1, "{bad}");
            save(&mut live, &dir, &format!("{bad} -- still"));
            assert_eq!(live.journal().open_errors(), 1, "{bad}");
            save(&mut live, &dir, GOOD);
            let fates: Vec<Fate> = live.journal().errors().iter().map(|error| error.what.fate).collect();
            assert!(fates.iter().all(|&fate| fate == Fate::Mended), "{bad}: {fates:?}");
            assert_eq!(live.snapshot(None).tasklets.failed, 0);
        }
    }

    #[test]
    fn a_refused_save_counts_until_a_good_one_and_its_source_keeps_its_indentation() {
        let dir = project(GOOD);
        let mut live = live(&dir, true);
        live.tick(0.1);
        let bad = GOOD.replace("sleep(60)", "sleep(60");
        for good in [GOOD.replace("60", "50"), GOOD.replace("60", "50")] {
            save(&mut live, &dir, &bad);
            assert_eq!(live.journal().refused(), 1);
            let details = &live.journal().reloads().back().expect("it was refused").what.details;
            assert!(details[0].starts_with("RL001  troll.luau:4: "), "{details:?}");
            let source = ["       3 |     synchro.sleep(60", "  >    4 | end", "       5 | return Troll"];
            assert_eq!(details[1..], source);
            save(&mut live, &dir, &good);
            assert_eq!(live.journal().refused(), 0, "{:?}", live.journal().reloads());
        }
    }

    #[test]
    fn every_tasklet_that_is_parked_counts_as_failed_whoever_has_spawned_it() {
        let dir = project(
            "local Troll = {}
             function Troll.run(self)
                 for _ = 1, 3 do
                     self:spawn(function() self.state.x.y = 1 end)
                 end
                 self:spawn(function() synchro.sleep(100) end)
                 while true do synchro.yield() end
             end
             return Troll",
        );
        let mut live = live(&dir, true);
        (0..3).for_each(|_| live.tick(0.1));
        let tasklets = live.snapshot(None).tasklets;
        assert_eq!((tasklets.runnable, tasklets.sleeping, tasklets.failed), (1, 1, 3));
        assert_eq!(tasklets.total(), live.host.vm().stats().tasklets);
    }

    #[test]
    fn what_is_printed_and_announced_in_a_frame_is_told_in_that_order() {
        let dir = project(
            "return { run = function(self)
                world:announce('1')
                print('2') print('3')
                world:announce('4') world:announce('5')
                print('6')
                world:announce('7')
            end }",
        );
        let mut live = live(&dir, true);
        live.tick(0.1);
        let told = live.journal().since(0).into_iter().map(|(_, event)| match event {
            Event::Announcement(text) | Event::Log(text) => text.to_owned(),
            other => format!("{other:?}"),
        });
        assert_eq!(told.collect::<String>(), "1234567");
        live.tick(0.1);
        assert_eq!(live.journal().newest(), 7);
    }

    #[test]
    fn a_followed_sleeper_sleeps_and_who_waits_for_a_message_waits() {
        for (wait, expected) in [("synchro.sleep(60)", "sleeping"), ("self.inbox:receive()", "waiting")] {
            let dir = project(&format!("return {{ run = function(self) {wait} end }}"));
            let mut live = live(&dir, true);
            live.tick(0.1);
            let entity = live.world.query_filtered::<Entity, With<Script>>().single(&live.world);
            let followed = live.snapshot(Some(id(entity.expect("one troll")))).followed;
            assert_eq!(followed.expect("it is there").status, expected, "{wait}");
        }
    }

    fn open(dir: &str, scene: Option<&str>) -> Result<Live, String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dir);
        Live::open(Options { dir: Some(dir), scene: scene.map(str::to_owned), ..Options::default() })
    }

    #[test]
    fn a_scene_that_is_not_there_is_named_with_the_nearest_and_those_that_are() {
        let error = open("assets", Some("vally")).err().expect("no such scene");
        assert!(error.starts_with("there is no scene `vally`; did you mean `valley`?"), "{error}");
        let error = open("assets", Some("nope")).err().expect("no such scene");
        assert!(error.starts_with("there is no scene `nope`"), "{error}");
        assert!(error.contains("assets/scenes has the scenes ") && error.contains("valley"), "{error}");
    }

    #[test]
    fn a_folder_that_is_no_project_is_named() {
        let error = open("nowhere", None).err().expect("no such folder");
        assert!(error.contains("nowhere/scripts"), "{error}");
    }

    #[test]
    fn two_runs_with_one_seed_have_the_same_digest_and_a_wound_makes_another() {
        let run = |seed| {
            let dir = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets"));
            let options = Options { dir, seed: Some(seed), reproducible: true, ..Options::default() };
            let mut live = Live::open(options).expect("the demo");
            (0..30).for_each(|_| live.tick(1.0 / 60.0));
            live
        };
        let (mut first, second, other) = (run(1), run(1), run(2));
        assert_eq!(first.digest(), second.digest());
        assert_ne!(first.digest(), other.digest());
        let mut wounded = first.world.query::<&mut Health>();
        wounded.iter_mut(&mut first.world).next().expect("somebody").current -= 0.5;
        assert_ne!(first.digest(), second.digest());
    }
}
