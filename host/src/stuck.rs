//! Tasklets that need somebody: those that have failed and are parked, and those that finish on old text.

use crate::failure::of_any_entity;
use crate::host::ScriptHost;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bluetick_scripting::{Error, ParkCode, PinCode, TaskletId, excerpt};
use std::collections::BTreeMap;
use std::fmt;

/// Tasklets that wait to be mended at one place, for one reason.
///
/// ```
/// # use bevy_ecs::prelude::*;
/// use bluetick::{Library, Script, ScriptHost, Stuck, Which};
///
/// let library = Library::in_memory([("guard", "
///     local Guard = {}
///     function Guard.run(self)
///         print(self.postion.x)
///     end
///     return Guard
/// ")]);
/// let mut world = World::new();
/// let mut host = ScriptHost::builder().library(library).build(&mut world)?;
/// world.spawn_batch([Script::new("guard"), Script::new("guard")]);
/// host.tick(&mut world, 0.1);
///
/// let stuck: Vec<Stuck> = host.stuck();
/// assert_eq!((stuck[0].code(), stuck[0].line, stuck[0].tasklets.len()), ("RL201", 4, 2));
/// println!("{}", stuck[0]); // with the excerpt, the locals, and what can be done
/// host.restart(&mut world, Which::File("guard.luau"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Why they are not where their author wants them.
    pub why: Why,
    /// The tasklets, in a fixed order.
    pub tasklets: Vec<TaskletId>,
    /// The entity of the first of them, if it belongs to one.
    pub entity: Option<Entity>,
    /// The script of that entity, such as `ai/guard`, or nothing.
    pub script: String,
    /// The name of the first of them.
    pub tasklet: String,
    /// The file that they run.
    pub file: String,
    /// The version of its text that they run.
    pub version: u32,
    /// The line in that text.
    pub line: u32,
    /// The function, if it has a name.
    pub function: String,
    /// What is wrong.
    pub message: String,
    /// That line and its neighbours, in the text that they run.
    pub excerpt: String,
    /// What can be done, and the locals of the first of them if it is parked.
    pub advice: String,
}

/// Why a tasklet is [stuck](Stuck).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has failed, and waits for its code to be mended.
    Parked(ParkCode),
    /// It finishes a call on old text.
    Stale(PinCode),
}

impl Stuck {
    /// The code in reports, such as `RL201`.
    pub fn code(&self) -> &'static str {
        match self.why {
            Why::Parked(code) => code.as_str(),
            Why::Stale(code) => code.as_str(),
        }
    }

    /// They have failed.
    pub fn is_parked(&self) -> bool {
        matches!(self.why, Why::Parked(_))
    }

    /// Where they are: `guard.luau:27 in patrol`, with the version of text that is not current any more.
    pub fn place(&self) -> String {
        let version = if self.is_parked() { String::new() } else { format!("#{}", self.version) };
        let function =
            if self.function.is_empty() { String::new() } else { format!(" in {}", self.function) };
        format!("{}{version}:{}{function}", self.file, self.line)
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_parked() { "parked" } else { "old" };
        let count = match self.tasklets.len() {
            1 => format!("1 tasklet ({})", self.tasklet),
            more => format!("{more} tasklets (first: {})", self.tasklet),
        };
        writeln!(f, "{what}  {}   {count}   {}", self.place(), self.code())?;
        for line in self.message.lines() {
            writeln!(f, "  {line}")?;
        }
        for line in self.excerpt.lines() {
            writeln!(f, "    {line}")?;
        }
        write!(f, "  {}", self.advice)
    }
}

/// Which tasklets to retry, to restart or to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// This one. To be restarted or killed it need not be stuck.
    One(TaskletId),
    /// These, such as those of a [`Stuck`].
    Those(&'a [TaskletId]),
    /// All stuck ones of an entity.
    Entity(Entity),
    /// All that are stuck in this file, `ai/guard.luau` or `ai/guard`, or belong to a script of that name.
    File(&'a str),
    /// All that are stuck.
    All,
}

/// What is told of a stuck tasklet; the same of those that are together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    why: Why,
    file: String,
    version: u32,
    line: u32,
    function: String,
    message: String,
}

impl ScriptHost {
    /// The tasklets that have failed and are parked, and those that finish on old text, with their reason and what
    /// can be done. Takes time proportional to how many there are.
    pub fn stuck(&self) -> Vec<Stuck> {
        let mut groups: BTreeMap<Place, Stuck> = BTreeMap::new();
        for parked in self.vm.parked_tasklets() {
            let whose = self.instances.borrow().whose(parked.owner);
            let place = Place {
                why: Why::Parked(parked.code),
                file: parked.file.clone(),
                version: parked.version,
                line: parked.line,
                function: parked.function.clone(),
                message: of_any_entity(&parked.failure.message, whose.as_ref().map(|(entity, _)| *entity)),
            };
            let name = &parked.failure.name;
            self.add(&mut groups, place, parked.tasklet, whose, name, || parked.advice());
        }
        for stale in self.vm.stale_tasklets() {
            let whose = self.instances.borrow().whose(stale.owner);
            let pin = &stale.pin;
            let place = Place {
                why: Why::Stale(pin.reason.code),
                file: pin.file.clone(),
                version: pin.version,
                line: pin.line,
                function: pin.function.clone(),
                message: pin.reason.text.clone(),
            };
            self.add(&mut groups, place, stale.tasklet, whose, &stale.name, || pin.advice());
        }
        groups.into_values().collect()
    }

    fn add(
        &self,
        groups: &mut BTreeMap<Place, Stuck>,
        place: Place,
        tasklet: TaskletId,
        whose: Option<(Entity, String)>,
        name: &str,
        advice: impl FnOnce() -> String,
    ) {
        if let Some(group) = groups.get_mut(&place) {
            group.tasklets.push(tasklet);
            return;
        }
        let (entity, script) = whose.map_or((None, String::new()), |(entity, script)| (Some(entity), script));
        let stuck = Stuck {
            why: place.why,
            tasklets: vec![tasklet],
            entity,
            script,
            tasklet: name.to_owned(),
            file: place.file.clone(),
            version: place.version,
            line: place.line,
            function: place.function.clone(),
            message: place.message.clone(),
            excerpt: self.excerpt(&format!("{}#{}", place.file, place.version), place.line),
            advice: advice(),
        };
        groups.insert(place, stuck);
    }

    /// A line of a script file and its neighbours, as messages show them; of an older text, if the file is
    /// `guard.luau#3`. Empty if there is no such text any more.
    pub fn excerpt(&self, file: &str, line: u32) -> String {
        if let Some(source) = self.vm.source_of(file) {
            return excerpt(&source, line);
        }
        let name = file.split('#').next().unwrap_or(file);
        let source = self.library.read(name.strip_suffix(".luau").unwrap_or(name));
        source.map(|source| excerpt(&source.text, line)).unwrap_or_default()
    }

    /// Has parked tasklets go on from the statement that failed, in the next tick; how many.
    pub fn retry(&mut self, world: &mut World, which: Which<'_>) -> usize {
        let chosen = self.choose(which, true);
        let retried = chosen.into_iter().filter(|&tasklet| self.vm.retry(tasklet)).count();
        self.instances.borrow_mut().follow_parked(world, &self.vm);
        retried
    }

    /// Has stuck tasklets begin anew, in the newest text, in the next tick; how many. What they have deferred runs
    /// before. The main tasklet of a script begins the script anew, and ends the tasklets that it has spawned.
    pub fn restart(&mut self, world: &mut World, which: Which<'_>) -> usize {
        let chosen = self.choose(which, false);
        let mut count = 0;
        for tasklet in chosen {
            match self.restart_one(world, tasklet) {
                Ok(()) => count += 1,
                Err(error) => tracing::warn!("{error}"),
            }
        }
        self.instances.borrow_mut().follow_parked(world, &self.vm);
        count
    }

    /// Ends stuck tasklets, in the next tick; how many. What they have deferred runs.
    pub fn kill(&mut self, world: &mut World, which: Which<'_>) -> usize {
        let chosen = self.choose(which, false);
        let killed = chosen.into_iter().filter(|&tasklet| self.vm.kill(tasklet).unwrap_or(false)).count();
        self.instances.borrow_mut().follow_parked(world, &self.vm);
        killed
    }

    pub(crate) fn restart_one(&mut self, world: &mut World, tasklet: TaskletId) -> Result<(), Error> {
        let place = self.instances.borrow().place_of(self.vm.owner_of(tasklet), tasklet);
        match place {
            Some((entity, index)) => {
                let started = self.instances.borrow_mut().start(world, &self.vm, entity, index);
                started.map_err(|failure| Error::wrong_type(failure.message))
            }
            None => self.vm.restart(tasklet).map(drop),
        }
    }

    /// The tasklets that are meant; for a retry only parked ones.
    fn choose(&self, which: Which<'_>, parked_only: bool) -> Vec<TaskletId> {
        let bare = |file: &str| file.strip_suffix(".luau").unwrap_or(file).to_owned();
        let whose = |tasklet| self.instances.borrow().whose(self.vm.owner_of(tasklet));
        let fits = |stuck: &Stuck, tasklet: TaskletId| match which {
            Which::Entity(entity) => whose(tasklet).is_some_and(|(other, _)| other == entity),
            Which::File(file) => {
                let file = bare(file);
                bare(&stuck.file) == file || whose(tasklet).is_some_and(|(_, script)| script == file)
            }
            _ => true,
        };
        let mut chosen: Vec<TaskletId> = match which {
            Which::One(tasklet) => vec![tasklet],
            Which::Those(tasklets) => tasklets.to_vec(),
            Which::All | Which::Entity(_) | Which::File(_) => {
                let stuck = self.stuck();
                let stuck = stuck.iter().filter(|stuck| stuck.is_parked() || !parked_only);
                let all = stuck.flat_map(|stuck| stuck.tasklets.iter().map(move |&tasklet| (stuck, tasklet)));
                all.filter(|(stuck, tasklet)| fits(stuck, *tasklet)).map(|(_, tasklet)| tasklet).collect()
            }
        };
        // One that is parked in old text is in there twice.
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }
}
