//! New text under live tasklets.
//!
//! A batch of changed files is evaluated aside, each file once, with the others of the batch in
//! place; if one of them fails, nothing changes. Then all is planned, and then it is changed: the fresh
//! values are merged into the live ones, whose identity is kept; closures run the new text in place, and
//! suspended tasklets go on in it.
//!
//! | file | what |
//! |---|---|
//! | `merge.rs` | three-way merge: what the old file said, what the game has now, what the new file says |
//! | `variables.rs` | the functions of a module and the local variables of its top level |
//! | `report.rs` | what happened, for people and programs |
//! | `live/` | closures and suspended calls in the VM itself; has a picture of it |
//! | `without.rs` | stands in for `live/` in builds without the feature `reload` |
//!
//! Without `live/`, or where the VM is not built as it knows it, calls through a module run its new
//! functions and running calls finish on the old ones.

#[cfg(feature = "reload")]
mod live;
#[cfg(not(feature = "reload"))]
#[path = "without.rs"]
mod live;
mod merge;
mod report;
mod variables;

use crate::luau::{ModuleError, ModuleFault, ModuleText, Staged, Vm};
pub(crate) use live::Live;
use live::Swap;
pub use merge::Snapshot;
use mlua::{Function, IntoLuaMulti, Table, Value};
pub use report::{Difference, ParkCode, Parked, Pin, PinCode, Reason, ReloadReport, ReloadedModule, Stale};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;
pub(crate) use variables::snapshot_variables;

/// Earlier texts of a module that can be brought back.
const KEPT_TEXTS: usize = 8;

/// A file name and the version that messages add to the name of text that isn't current any more.
pub(crate) fn split_version(file: &str) -> (&str, Option<u32>) {
    match file.rsplit_once('#').map(|(name, version)| (name, version.parse())) {
        Some((name, Ok(version))) => (name, Some(version)),
        _ => (file, None),
    }
}

impl Vm {
    /// Replaces the text of modules. Those that were never required are left out: their new text is
    /// read when they are. All others change together or, if one of them is refused, not at all.
    ///
    /// To be called between two runs of the scheduler; while a script runs, it is refused.
    pub fn reload(&self, changes: Vec<(String, ModuleText)>) -> ReloadReport {
        let began = Instant::now();
        let mut report = ReloadReport::default();
        if self.machine().is_looping() {
            report.refused.extend(changes.into_iter().map(|(module, text)| ModuleError {
                module,
                message: format!("{}: a file can't be reloaded while a script runs", text.file),
                line: None,
                fault: ModuleFault::Load,
            }));
            return report;
        }
        let known = self.module_pointers();
        let before: BTreeSet<String> = self.modules.borrow().loaded.keys().cloned().collect();
        let names: Vec<String> = {
            let mut modules = self.modules.borrow_mut();
            let changes: Vec<_> =
                changes.into_iter().filter(|(name, _)| modules.loaded.contains_key(name)).collect();
            let names = changes.iter().map(|(name, _)| name.clone()).collect();
            let staged = changes.into_iter().map(|(name, text)| (name, Staged::of(text)));
            modules.staged = Some(staged.collect());
            names
        };
        for name in &names {
            if let Err(error) = self.stage(name)
                && !report.refused.iter().any(|known| known.message == error.message)
            {
                report.refused.push(error);
            }
        }
        let staged = self.modules.borrow_mut().staged.take().unwrap_or_default();
        if !report.refused.is_empty() {
            self.refuse(&names, &before, &mut report);
        } else if !names.is_empty() {
            // Everything is evaluated; from here on nothing is refused. What it takes of memory is given
            // back, so the limit on scripts' memory does not hold for it.
            let limit = self.lua().set_memory_limit(0);
            let roots = self.roots(&staged, &before);
            let done = self.moves_frames() && self.swap(&staged, roots.clone(), &known, &mut report);
            if !done {
                self.replace(&staged, roots, &known, &mut report);
            }
            if let Ok(limit) = limit {
                let _ = self.lua().set_memory_limit(limit);
            }
            let reloaded: Vec<&str> = names.iter().map(String::as_str).collect();
            report.resumed = self.retry_in(&reloaded);
            report.parked = self.parked_ids().len();
            self.call_hooks(&mut report);
        }
        report.took = began.elapsed();
        report
    }

    /// Undoes what evaluating a batch aside has left, and says what goes on.
    fn refuse(&self, names: &[String], before: &BTreeSet<String>, report: &mut ReloadReport) {
        report.held = names
            .iter()
            .filter(|name| report.refused.iter().all(|error| error.module != **name))
            .cloned()
            .collect();
        let mut modules = self.modules.borrow_mut();
        // Modules that only this batch has required may hold what was evaluated aside.
        modules.loaded.retain(|name, module| {
            let stays = before.contains(name);
            if !stays {
                self.disown(module.generation);
            }
            stays
        });
        report.still =
            names.iter().filter_map(|name| Some((name.clone(), modules.loaded.get(name)?.version))).collect();
    }

    /// What was evaluated: from it all that is new can be reached.
    fn roots(&self, staged: &BTreeMap<String, Staged>, before: &BTreeSet<String>) -> Vec<Value> {
        let mut roots: Vec<Value> = staged
            .values()
            .flat_map(|staged| [staged.value.clone(), staged.env.clone().map(Value::Table)])
            .flatten()
            .collect();
        for (name, module) in &self.modules.borrow().loaded {
            if !before.contains(name) {
                roots.push(module.value.clone());
                roots.extend(module.env.clone().map(Value::Table));
            }
        }
        roots
    }

    /// The tables of modules that were evaluated aside, and the live ones in their places.
    fn module_tables(&self, staged: &BTreeMap<String, Staged>) -> merge::Living {
        let pairs = staged.iter().filter_map(|(name, staged)| match (self.module(name), &staged.value) {
            (Some(live @ Value::Table(_)), Some(fresh @ Value::Table(_))) => {
                Some((fresh.to_pointer(), (fresh.clone(), live)))
            }
            _ => None,
        });
        pairs.collect()
    }

    /// Brings the staged texts in, down to closures and suspended calls; false if a script is running.
    fn swap(
        &self,
        staged: &BTreeMap<String, Staged>,
        roots: Vec<Value>,
        known: &[*const std::ffi::c_void],
        report: &mut ReloadReport,
    ) -> bool {
        self.prune_parked();
        let done = self.with_internals(|internals| {
            let mut generations = BTreeMap::new();
            for (name, staged) in staged {
                let version = self.module_version(name) + 1;
                if let Some(main) = &staged.main {
                    generations.insert(name.as_str(), self.adopt(name, version, &staged.text, main));
                }
            }
            let numbers: Vec<u32> = generations.values().copied().collect();
            let mut swap = Swap::plan(self, internals, &numbers);
            let places = swap.places();
            let mut living = self.module_tables(staged);
            for (name, staged) in staged {
                let Some(fresh) = staged.value.clone() else { continue };
                let mut modules = self.modules.borrow_mut();
                let Some(module) = modules.loaded.get_mut(name) else { continue };
                let mut merge =
                    merge::Merge { living: &mut living, places: &places, differences: Vec::new(), depth: 0 };
                let base_variables =
                    swap.merge_variables(self, internals, name, &module.base_variables, &mut merge);
                module.merge(&fresh, staged.env.as_ref(), &mut merge);
                module.base_variables = base_variables;
                module.generation = generations.get(name.as_str()).copied().unwrap_or(0);
                module.renew(name, &staged.text, merge.differences, report);
            }
            variables::relink(self, roots, &living, known);
            swap.apply(self, internals, report);
        });
        done.is_some()
    }

    /// Brings the staged texts in where closures and suspended calls can't be touched: module values get new
    /// functions, which use the live variables.
    fn replace(
        &self,
        staged: &BTreeMap<String, Staged>,
        roots: Vec<Value>,
        known: &[*const std::ffi::c_void],
        report: &mut ReloadReport,
    ) {
        let mut living = self.module_tables(staged);
        let places = HashMap::new();
        for (name, staged) in staged {
            let Some(fresh) = staged.value.clone() else { continue };
            let (env, file) = (staged.env.as_ref(), staged.text.file.as_str());
            let pointers = self.module_pointers();
            let mut modules = self.modules.borrow_mut();
            let Some(module) = modules.loaded.get_mut(name) else { continue };
            let mut merge =
                merge::Merge { living: &mut living, places: &places, differences: Vec::new(), depth: 0 };
            let functions = variables::functions_of(self, &fresh, env, file, &pointers);
            let base_variables = variables::snapshot_variables(self, &fresh, env, file, &pointers);
            let outside: Vec<_> =
                pointers.iter().copied().filter(|&p| p != module.value.to_pointer()).collect();
            let running =
                variables::functions_of(self, &module.value, module.env.as_ref(), &module.file, &outside);
            let live_variables = variables::module_variables(self, &running);
            self.join(&functions, &live_variables, module.env.as_ref(), &module.base_variables, &mut merge);
            module.merge(&fresh, env, &mut merge);
            module.base_variables = base_variables;
            module.renew(name, &staged.text, merge.differences, report);
        }
        variables::relink(self, roots, &living, known);
    }

    /// Evaluates the staged text of one module.
    fn stage(&self, name: &str) -> Result<(), ModuleError> {
        let fresh = self.require(name)?;
        let modules = self.modules.borrow();
        let Some(live) = modules.loaded.get(name) else { return Ok(()) };
        // To scripts all numbers are of one kind.
        let kind = |value: &mlua::Value| match value.type_name() {
            "integer" => "number",
            kind => kind,
        };
        let (before, now) = (kind(&live.value), kind(&fresh));
        if before == now {
            return Ok(());
        }
        Err(ModuleError {
            module: name.into(),
            message: format!(
                "{}: returned a {before} before and returns a {now} now; restart the game to change that",
                live.file,
            ),
            line: None,
            fault: ModuleFault::Return,
        })
    }

    /// Has fresh functions use what the game has: the live module tables, the module's globals, and the
    /// local variables of the top level, each merged with what the new text says.
    fn join(
        &self,
        functions: &[Function],
        live: &BTreeMap<String, Value>,
        env: Option<&Table>,
        base: &BTreeMap<String, Snapshot>,
        merge: &mut merge::Merge<'_>,
    ) {
        let fresh = variables::module_variables(self, functions);
        let mut merged: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in fresh {
            let value = match (live.get(&name), base.get(&name)) {
                // A function is code: the file's, always.
                _ if matches!(value, Value::Function(_)) => value,
                (Some(now), Some(base)) => merge.value(base, now, value, &format!("local {name}")),
                _ => merge.living(value),
            };
            merged.insert(name, value);
        }
        for f in functions {
            for (index, (name, value)) in variables::outer_variables(self, f).into_iter().enumerate() {
                let target = merged.get(&name).cloned().unwrap_or_else(|| merge.living(value.clone()));
                if !merge::same(&target, &value) {
                    variables::set_outer_variable(self, f, index, &target);
                }
            }
            if let Some(env) = env
                && f.set_environment(env.clone()).is_err()
            {
                tracing::warn!("reload: a function could not be given the module's globals");
            }
        }
    }

    /// The values of all modules, by identity.
    pub(crate) fn module_pointers(&self) -> Vec<*const std::ffi::c_void> {
        self.modules.borrow().loaded.values().map(|module| module.value.to_pointer()).collect()
    }

    /// Calls `on_reload` of each module that has one. An error in it is reported and undoes nothing.
    fn call_hooks(&self, report: &mut ReloadReport) {
        for index in 0..report.modules.len() {
            let ReloadedModule { module, from, to, .. } = report.modules[index].clone();
            let info = self.lua().create_table_from([
                (
                    "module",
                    Value::String(match self.lua().create_string(&module) {
                        Ok(name) => name,
                        Err(_) => continue,
                    }),
                ),
                ("from", Value::Number(f64::from(from))),
                ("to", Value::Number(f64::from(to))),
            ]);
            let Ok(info) = info else { continue };
            if let Some(Err(error)) = self.call_hook(&module, "on_reload", info) {
                report.hook_errors.push(format!("{module}: on_reload: {error}"));
            }
        }
    }

    /// Calls a function of a module outside of any tasklet, if the module has it. One that runs without end is
    /// ended.
    pub fn call_hook(
        &self,
        module: &str,
        name: &str,
        arguments: impl IntoLuaMulti,
    ) -> Option<Result<(), String>> {
        let Some(Value::Table(table)) = self.module(module) else { return None };
        let Ok(Value::Function(hook)) = table.raw_get(name) else { return None };
        Some(self.call_briefly(&hook, arguments).map(drop))
    }

    /// What a module says of how it wants to be reloaded: its field `reload`.
    pub fn reload_policy(&self, module: &str) -> Option<String> {
        let Some(Value::Table(table)) = self.module(module) else { return None };
        match table.raw_get("reload") {
            Ok(Value::String(policy)) => Some(policy.to_string_lossy()),
            _ => None,
        }
    }

    /// The file of a module was given another name or folder: the module goes on under the new name, with its
    /// state and whoever waits in it. False if it isn't loaded, or the new name is taken.
    pub fn rename_module(&self, from: &str, to: &str, file: &str) -> bool {
        let mut modules = self.modules.borrow_mut();
        if self.machine().is_looping() || modules.loaded.contains_key(to) {
            return false;
        }
        let Some(mut module) = modules.loaded.remove(from) else { return false };
        module.file = file.into();
        modules.loaded.insert(to.into(), module);
        self.rename_generations(from, to, file);
        true
    }

    /// The text that a module had before the current one.
    pub fn previous_text(&self, module: &str) -> Option<ModuleText> {
        self.modules.borrow().loaded.get(module)?.earlier.last().cloned()
    }

    /// The module whose text messages know by this name: `guard.luau`, or `guard.luau#3` for an older text.
    pub fn module_of_file(&self, file: &str) -> Option<String> {
        let (file, _) = split_version(file);
        let modules = self.modules.borrow();
        modules.loaded.iter().find(|(_, module)| module.file == file).map(|(name, _)| name.clone())
    }

    /// Brings the previous text of a module back, as a new version; `None` if it has none.
    pub fn rollback(&self, module: &str) -> Option<ReloadReport> {
        let text = self.previous_text(module)?;
        Some(self.reload(vec![(module.into(), text)]))
    }

    /// How often the text of a module has been replaced, plus one; 0 if it was never required.
    pub fn module_version(&self, name: &str) -> u32 {
        self.modules.borrow().loaded.get(name).map_or(0, |module| module.version)
    }
}

impl crate::luau::Module {
    /// Puts the fresh value and globals into the live ones.
    fn merge(&mut self, fresh: &Value, env: Option<&Table>, merge: &mut merge::Merge<'_>) {
        match (&self.value, fresh) {
            (Value::Table(live), Value::Table(fresh)) => merge.table(&self.base, live, fresh, "M"),
            _ => self.value = merge.value(&self.base, &self.value, fresh.clone(), "M"),
        }
        if let (Some(live), Some(fresh)) = (&self.env, env) {
            merge.table(&self.env_base, live, fresh, "_G");
            self.env_base = merge.snapshot(&Value::Table(fresh.clone()));
        }
        self.base = merge.snapshot(fresh);
    }

    /// It has new text.
    fn renew(
        &mut self,
        name: &str,
        text: &ModuleText,
        mut differences: Vec<Difference>,
        report: &mut ReloadReport,
    ) {
        let before = std::mem::replace(&mut self.text, text.clone());
        // It may have been evaluated anew for the sake of what it requires.
        if before.text != text.text {
            if self.earlier.len() == KEPT_TEXTS {
                self.earlier.remove(0);
            }
            self.earlier.push(before);
        }
        self.version += 1;
        self.file = text.file.clone();
        report.modules.push(ReloadedModule {
            module: name.into(),
            file: text.file.clone(),
            from: self.version - 1,
            to: self.version,
        });
        // The order of fields in a table is nobody's to rely on.
        differences.sort_by(|a, b| a.path.cmp(&b.path));
        report
            .differences
            .extend(differences.into_iter().map(|d| Difference { file: text.file.clone(), ..d }));
    }
}
