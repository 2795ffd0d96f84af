//! Brings changed script files into the running game.

use bluetick_assets::{ChangeKind, ChangeSet, Library, Source};
use bluetick_scripting::{ModuleText, ReloadReport, Vm};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What became of a change set.
#[derive(Default)]
pub(crate) struct Reloaded {
    /// What was reloaded or refused; empty if no loaded script was concerned.
    pub report: ReloadReport,
    /// The scripts whose text, or that of one they require, is another now: failed ones may try again.
    pub changed: Vec<String>,
    /// Files came or went, so that scripts may find what they require.
    pub moved: bool,
    /// Things to tell that are no errors: new and deleted files, unreadable ones.
    pub notes: Vec<String>,
    /// Scripts that go on under another name.
    pub renamed: Vec<(String, String)>,
    /// Scripts whose files are not there any more under this name.
    pub gone: Vec<String>,
}

/// Remembers what is still to be reloaded.
#[derive(Default)]
pub(crate) struct Reloader {
    /// Scripts whose newest text was refused, or was held by one that was.
    waiting: BTreeSet<String>,
}

impl Reloader {
    /// Reloads what has changed, together with what requires it.
    pub fn apply(&mut self, vm: &Vm, library: &Library, changes: ChangeSet) -> Reloaded {
        let mut reloaded = Reloaded::default();
        let mut names = BTreeSet::new();
        for change in changes {
            if change.asset != bluetick_assets::Asset::Script {
                continue;
            }
            reloaded.moved |= !matches!(change.kind, ChangeKind::Modified { .. } | ChangeKind::Unreadable(_));
            let name = change.name.as_str().to_owned();
            let is_loaded = vm.module(&name).is_some();
            match change.kind {
                ChangeKind::Modified { .. } => {
                    names.insert(change.name);
                }
                ChangeKind::Added(_) => {
                    if !is_loaded {
                        reloaded.notes.push(format!("{name}.luau is new"));
                    }
                    names.insert(change.name);
                }
                ChangeKind::Renamed { from, .. } => {
                    let from = from.as_str().to_owned();
                    reloaded.notes.push(format!("{from}.luau is {name}.luau now"));
                    reloaded.gone.push(from.clone());
                    if vm.rename_module(&from, &name, &format!("{name}.luau")) {
                        self.waiting.remove(&from);
                        reloaded.renamed.push((from, name));
                    }
                    names.insert(change.name);
                }
                ChangeKind::Removed => {
                    reloaded.notes.push(match is_loaded {
                        true => format!("RL005  {name} was deleted; its last version goes on"),
                        false => format!("{name}.luau was deleted; nobody has used it"),
                    });
                    // A text that was refused waits no longer.
                    self.waiting.remove(&name);
                    reloaded.gone.push(name);
                }
                ChangeKind::Unreadable(error) => reloaded.notes.push(format!("RL007  {error}")),
            }
        }
        if names.is_empty() {
            return reloaded;
        }
        let affected = |names: &BTreeSet<_>| -> Vec<String> {
            library
                .affected(names.iter().cloned())
                .iter()
                .map(|name: &bluetick_assets::AssetName| name.as_str().to_owned())
                .collect()
        };
        let fresh = affected(&names);
        let mut all: BTreeSet<_> = names;
        all.extend(self.waiting.iter().map(|name| bluetick_assets::AssetName::from(name.as_str())));
        let batch = affected(&all);
        reloaded.report = self.reload(vm, library, &batch);
        reloaded.changed = batch;
        if reloaded.report.is_refused() && reloaded.changed.len() > fresh.len() {
            // What was refused before must not hold up what is saved now.
            reloaded.report = self.reload(vm, library, &fresh);
            reloaded.changed = fresh;
        }
        if reloaded.report.is_refused() {
            // What has been loaded once goes on as it is; for the rest a refusal changes nothing.
            reloaded.changed.retain(|name| vm.module(name).is_none());
        }
        reloaded
    }

    fn reload(&mut self, vm: &Vm, library: &Library, names: &[String]) -> ReloadReport {
        let texts = names
            .iter()
            .filter_map(|name| Some((name.clone(), module_text(&*library.read(name.as_str()).ok()?))))
            .collect();
        let report = vm.reload(texts);
        if report.is_refused() {
            let loaded = names.iter().filter(|name| vm.module(name).is_some());
            self.waiting.extend(loaded.cloned());
        } else {
            for name in names {
                self.waiting.remove(name);
            }
        }
        report
    }
}

/// A source as the VM wants it.
pub(crate) fn module_text(source: &Source) -> ModuleText {
    ModuleText { file: format!("{}.luau", source.name.as_str()), text: Rc::from(&*source.text) }
}
