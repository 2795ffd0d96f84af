//! New text under live tasklets.
//!
//! A batch of changed files is evaluated aside, each file once, with the others of the batch in
//! place; if one of them fails, nothing changes. Then the fresh values are merged into the live ones,
//! whose identity is kept: whoever calls through the module runs the new functions from then on.
//!
//! | file | what |
//! |---|---|
//! | `merge.rs` | three-way merge: what the old file said, what the game has now, what the new file says |
//! | `variables.rs` | the functions of a module and the local variables of its top level |
//! | `report.rs` | what happened, for people and programs |

mod merge;
mod report;
mod variables;

use crate::luau::{ModuleError, ModuleFault, ModuleText, Staged, Vm};
pub use merge::Snapshot;
use mlua::{Function, Table, Value};
pub use report::{Difference, ReloadReport, ReloadedModule};
use std::collections::{BTreeMap, BTreeSet};
pub(crate) use variables::snapshot_variables;

impl Vm {
    /// Replaces the text of modules. Those that were never required are left out: their new text is
    /// read when they are. All others change together or, if one of them is refused, not at all.
    pub fn reload(&self, changes: Vec<(String, ModuleText)>) -> ReloadReport {
        let mut report = ReloadReport::default();
        let known = self.module_pointers();
        let before: BTreeSet<String> = self.modules.borrow().loaded.keys().cloned().collect();
        let names: Vec<String> = {
            let mut modules = self.modules.borrow_mut();
            let changes: Vec<_> =
                changes.into_iter().filter(|(name, _)| modules.loaded.contains_key(name)).collect();
            let names = changes.iter().map(|(name, _)| name.clone()).collect();
            let staged =
                changes.into_iter().map(|(name, text)| (name, Staged { text, value: None, env: None }));
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
            report.held =
                names.into_iter().filter(|name| report.refused.iter().all(|e| e.module != *name)).collect();
            // Modules that only this batch has required may hold what was evaluated aside.
            self.modules.borrow_mut().loaded.retain(|name, _| before.contains(name));
            return report;
        }
        // Everything is evaluated; from here on nothing is refused.
        let mut living: merge::Living = staged
            .iter()
            .filter_map(|(name, staged)| match (self.module(name), &staged.value) {
                (Some(Value::Table(live)), Some(Value::Table(fresh))) => {
                    Some((fresh.to_pointer(), (fresh.clone(), live)))
                }
                _ => None,
            })
            .collect();
        let mut roots: Vec<Value> = staged
            .values()
            .flat_map(|staged| [staged.value.clone(), staged.env.clone().map(Value::Table)])
            .flatten()
            .collect();
        for (name, staged) in staged {
            if let Some(fresh) = staged.value {
                self.commit(&name, fresh, staged.env, &staged.text.file, &mut living, &mut report);
            }
        }
        for (name, module) in &self.modules.borrow().loaded {
            if !before.contains(name) {
                roots.push(module.value.clone());
                roots.extend(module.env.clone().map(Value::Table));
            }
        }
        variables::relink(self, roots, &living, &known);
        self.call_hooks(&names, &mut report);
        report
    }

    /// Evaluates the staged text of one module.
    fn stage(&self, name: &str) -> Result<(), ModuleError> {
        let fresh = self.require(name)?;
        let modules = self.modules.borrow();
        let Some(live) = modules.loaded.get(name) else { return Ok(()) };
        if live.value.type_name() == fresh.type_name() {
            return Ok(());
        }
        Err(ModuleError {
            module: name.into(),
            message: format!(
                "{}: returned a {} before and returns a {} now; restart to change that",
                live.file,
                live.value.type_name(),
                fresh.type_name()
            ),
            line: None,
            fault: ModuleFault::Return,
        })
    }

    /// Puts the fresh value of one module into the live one.
    fn commit(
        &self,
        name: &str,
        fresh: Value,
        env: Option<Table>,
        file: &str,
        living: &mut merge::Living,
        report: &mut ReloadReport,
    ) {
        let known = self.module_pointers();
        let mut modules = self.modules.borrow_mut();
        let Some(module) = modules.loaded.get_mut(name) else { return };
        let mut merge = merge::Merge { living, differences: Vec::new(), depth: 0 };
        let functions = variables::functions_of(self, &fresh, env.as_ref(), file, &known);
        let base_variables = variables::snapshot_variables(self, &fresh, env.as_ref(), file, &known);
        let outside: Vec<_> = known.iter().copied().filter(|&p| p != module.value.to_pointer()).collect();
        let running =
            variables::functions_of(self, &module.value, module.env.as_ref(), &module.file, &outside);
        let live_variables = variables::module_variables(self, &running);
        let base = Snapshot::of(&fresh);
        self.join(&functions, &live_variables, module.env.as_ref(), &module.base_variables, &mut merge);
        match (&module.value, &fresh) {
            (Value::Table(live), Value::Table(fresh)) => merge.table(&module.base, live, fresh, "M"),
            _ => module.value = merge.value(&module.base, &module.value, fresh, "M"),
        }
        module.base = base;
        module.base_variables = base_variables;
        if let (Some(live), Some(fresh)) = (&module.env, &env) {
            let base = Snapshot::of(&Value::Table(fresh.clone()));
            merge.table(&module.env_base, live, fresh, "_G");
            module.env_base = base;
        }
        module.version += 1;
        module.file = file.into();
        report.modules.push(ReloadedModule {
            module: name.into(),
            file: file.into(),
            from: module.version - 1,
            to: module.version,
        });
        // The order of fields in a table is nobody's to rely on.
        merge.differences.sort_by(|a, b| a.path.cmp(&b.path));
        report
            .differences
            .extend(merge.differences.into_iter().map(|d| Difference { file: file.into(), ..d }));
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
    fn call_hooks(&self, names: &[String], report: &mut ReloadReport) {
        for name in names {
            let Some(Value::Table(module)) = self.module(name) else { continue };
            let Ok(Value::Function(hook)) = module.raw_get("on_reload") else { continue };
            let info = self.lua().create_table_from([("module", name.as_str())]);
            let called =
                info.map_err(|error| error.to_string()).and_then(|info| self.call_briefly(&hook, info));
            if let Err(error) = called {
                report.hook_errors.push(format!("{name}: on_reload: {error}"));
            }
        }
    }

    /// How often the text of a module has been replaced, plus one; 0 if it was never required.
    pub fn module_version(&self, name: &str) -> u32 {
        self.modules.borrow().loaded.get(name).map_or(0, |module| module.version)
    }
}
