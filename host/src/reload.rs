//! Edited scripts in a running game: what the host does about them, and what a game can ask of it.

use crate::ecs::Handle;
use crate::frame::FrameReport;
use crate::host::ScriptHost;
use crate::reloader::Reloaded;
use crate::wishes::{Again, Wishes, no_earlier_text};
use bevy_ecs::message::{Message, Messages};
use bevy_ecs::world::World;
use bluetick_assets::ChangeSet;
use bluetick_scripting::{Error, ReloadReport};
use mlua::{Function, MultiValue, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Script files were saved, and reloaded or refused: a message in the world, for games that want to know.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bevy_ecs::message::Messages;
/// use bluetick::{Library, Script, ScriptHost, ScriptReload};
///
/// let scripts = Library::in_memory([("guard", "return { SPEED = 5, run = function() synchro.sleep(60) end }")]);
/// let mut world = World::new();
/// let mut host = ScriptHost::builder().library(scripts.clone()).build(&mut world)?;
/// world.spawn(Script::new("guard"));
/// host.tick(&mut world, 0.1);
///
/// scripts.set("guard", "return { SPEED = 8, run = function() synchro.sleep(60) end }");
/// host.tick(&mut world, 0.1);
/// let mut messages = world.resource_mut::<Messages<ScriptReload>>();
/// let reload = messages.drain().next().expect("a script was reloaded").0;
/// assert_eq!(reload.differences[0].path, "M.SPEED");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Message, Clone, Debug)]
pub struct ScriptReload(pub ReloadReport);

/// Why a script can't be rolled back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", no_earlier_text(.0))]
pub struct RollbackError(String);

/// What is told in the report of the next frame, because it has happened between two.
#[derive(Default)]
pub(crate) struct Carried(FrameReport);

impl ScriptHost {
    /// Reloads all scripts that differ from their files, at once: without this a save takes effect when its files
    /// have been quiet for a moment. `None` if there was nothing to do.
    ///
    /// What else there is to tell is in the report of the next frame.
    pub fn reload_now(&mut self, world: &mut World) -> Option<ReloadReport> {
        let changes = self.library.look_now()?;
        self.take_in_between(world, changes)
    }

    /// Brings back the text that a script had before its current one, as a new version: `ai/guard` or
    /// `ai/guard.luau`. A second call brings the other one back. The file stays as it is, and takes its place back
    /// when it is saved with another content.
    ///
    /// # Errors
    /// The script is not loaded, or has had no other text.
    pub fn rollback(&mut self, world: &mut World, path: &str) -> Result<ReloadReport, RollbackError> {
        let name = path.strip_suffix(".luau").unwrap_or(path);
        let text = self.vm.previous_text(name).ok_or_else(|| RollbackError(name.to_owned()))?;
        self.library.set(name, &text.text);
        let changes = self.library.poll(Instant::now()).unwrap_or_default();
        Ok(self.take_in_between(world, changes).unwrap_or_default())
    }

    fn take_in_between(&mut self, world: &mut World, changes: ChangeSet) -> Option<ReloadReport> {
        let mut report = std::mem::take(&mut self.carried.0);
        self.failures.clear();
        self.take_in(world, changes, &mut report);
        let reload = report.reload.take();
        self.carried.0 = report;
        reload
    }

    /// A frame begins: changed files come in, and what scripts have wished for comes true.
    pub(crate) fn begin_reloads(&mut self, world: &mut World, report: &mut FrameReport) {
        let Carried(carried) = std::mem::take(&mut self.carried);
        report.notes.extend(carried.notes);
        report.gone.extend(carried.gone);
        report.failures.extend(carried.failures);
        if let Some(mut messages) =
            world.get_resource_mut::<Messages<ScriptReload>>().filter(|_| self.keeps_messages)
        {
            messages.update();
        }
        if let Some(warning) = self.library.take_warning() {
            report.notes.push(format!("{}  {}", warning.code, warning.message));
        }
        let Wishes { now, rollbacks, again } = std::mem::take(&mut *self.wishes.borrow_mut());
        for name in rollbacks {
            if let Some(text) = self.vm.previous_text(&name) {
                self.library.set(name, &text.text);
            }
        }
        let changes = if now { self.library.look_now() } else { self.library.poll(Instant::now()) };
        if let Some(changes) = changes {
            self.take_in(world, changes, report);
        }
        for tasklet in self.vm.take_restarts() {
            if let Err(error) = self.restart_one(world, tasklet) {
                report.notes.push(error.to_string());
            }
        }
        for wish in again {
            if let Err(error) = self.begin_again(world, wish) {
                report.notes.push(error.to_string());
            }
        }
        self.instances.borrow_mut().follow_parked(world, &self.vm);
    }

    /// Brings changed files in, and starts again what has failed because of them.
    fn take_in(&mut self, world: &mut World, changes: ChangeSet, report: &mut FrameReport) {
        let began = Instant::now();
        let Reloaded { report: mut reload, changed, moved, notes, renamed, gone } =
            self.reloader.apply(&self.vm, &self.library, changes);
        for (from, to) in renamed {
            self.instances.borrow_mut().rename(world, &self.vm, &from, &to);
            // What a script may do goes by where its file is.
            self.profiled.take();
        }
        report.notes.extend(notes);
        report.gone.extend(gone);
        if !reload.is_refused() {
            self.restart_instead(world, &mut reload);
            self.migrate(world, &mut reload);
        }
        if !reload.is_empty() {
            tracing::info!("{reload}");
            world.get_resource_or_init::<Messages<ScriptReload>>().write(ScriptReload(reload.clone()));
            report.reload = Some(reload);
        }
        let failed = self.instances.borrow_mut().restart_failed(world, &self.vm, &changed, moved);
        self.note_unstarted(failed, report);
        self.instances.borrow_mut().follow_parked(world, &self.vm);
        report.reload_time += began.elapsed();
    }

    /// Modules that say `M.reload = "restart"` have their tasklets begin anew where they would finish on old text.
    fn restart_instead(&mut self, world: &mut World, report: &mut ReloadReport) {
        let files: BTreeSet<String> = report.pins.iter().map(|pin| pin.file.clone()).collect();
        let wants = |file: &String| {
            let module = self.vm.module_of_file(file);
            module.and_then(|module| self.vm.reload_policy(&module)).as_deref() == Some("restart")
        };
        let files: BTreeSet<String> = files.into_iter().filter(wants).collect();
        if files.is_empty() {
            return;
        }
        for stale in self.vm.stale_tasklets() {
            if !files.contains(&stale.pin.file) || self.restart_one(world, stale.tasklet).is_err() {
                continue;
            }
            report.restarted += 1;
            report.stale = report.stale.saturating_sub(1);
            let same = |pin: &&mut bluetick_scripting::Pin| {
                (&pin.file, pin.version, pin.line, &pin.function, &pin.reason)
                    == (
                        &stale.pin.file,
                        stale.pin.version,
                        stale.pin.line,
                        &stale.pin.function,
                        &stale.pin.reason,
                    )
            };
            if let Some(pin) = report.pins.iter_mut().find(same) {
                pin.count = pin.count.saturating_sub(1);
            }
        }
        report.pins.retain(|pin| pin.count > 0);
    }

    /// Calls `migrate` of each module that was reloaded and has one, for each entity that runs it. An error in it
    /// is reported and undoes nothing.
    fn migrate(&mut self, world: &mut World, report: &mut ReloadReport) {
        for index in 0..report.modules.len() {
            let module = report.modules[index].clone();
            let has_one = match self.vm.module(&module.module) {
                Some(Value::Table(table)) => {
                    table.raw_get::<Value>("migrate").is_ok_and(|migrate| migrate.is_function())
                }
                _ => false,
            };
            if !has_one {
                continue;
            }
            let mut errors: BTreeMap<String, usize> = BTreeMap::new();
            let running = self.instances.borrow().running(&module.module);
            for (entity, owner) in running {
                let outer = self.acting.replace(Some(owner));
                let called = self.bridge.lend(world, || {
                    self.vm.call_hook(&module.module, "migrate", (Handle(entity), module.from, module.to))
                });
                self.acting.set(outer);
                if let Some(Err(error)) = called {
                    *errors.entry(error).or_default() += 1;
                }
            }
            report.hook_errors.extend(errors.into_iter().map(|(error, count)| {
                let times = if count == 1 { String::new() } else { format!(" ({count} entities)") };
                format!("{}: migrate: {error}{times}", module.module)
            }));
        }
    }

    /// A tasklet that has called `reload.again` begins what it has named.
    fn begin_again(&mut self, world: &mut World, wish: Again) -> Result<(), Error> {
        let Again { tasklet, owner, clock, place, module, function, arguments } = wish;
        let list = self.vm.kept(&arguments);
        self.vm.release(arguments);
        if !self.vm.is_owner(owner) && owner != Default::default() {
            // Its entity is gone.
            return Ok(());
        }
        if self.vm.is_alive(tasklet) {
            // It has stopped its own end.
            self.vm.kill(tasklet)?;
        }
        let found: Option<Function> = match self.vm.module(&module) {
            Some(Value::Table(table)) => table.raw_get(function.as_str()).ok(),
            _ => None,
        };
        let found = found.ok_or_else(|| {
            Error::wrong_type(format!("reload.again: {module}.luau has no function '{function}' any more"))
        })?;
        let Value::Table(list) = list? else { return Ok(()) };
        let count: i32 = list.raw_get("n")?;
        let arguments: MultiValue = (1..=count).map(|index| list.raw_get(index)).collect::<Result<_, _>>()?;
        let next = self.vm.spawn(&found, arguments, owner)?;
        self.vm.set_clock(next, clock);
        if let Some(place) = place {
            self.instances.borrow_mut().follow(world, &self.vm, place, owner, next);
        }
        Ok(())
    }

    /// Tasklets that have failed in this frame and are parked.
    pub(crate) fn note_parked(&mut self, world: &mut World, report: &mut FrameReport) {
        for parked in self.vm.take_parked() {
            let failure = &parked.failure;
            let (message, traceback) = (&failure.message, &failure.traceback);
            self.instances.borrow_mut().parked(world, parked.owner, parked.tasklet, message, traceback);
            self.note_failure(failure.clone(), Some((&parked).into()), report);
        }
        self.instances.borrow_mut().follow_parked(world, &self.vm);
        report.parked = self.vm.parked_ids().len();
    }
}
