//! Variables of a module's top level that no function of the current text uses: if one does again, by an undo
//! or a rollback, it finds what they held.

use super::closures::NewText;
use super::internals::{Internals, Slot};
use super::{KEPT_VERSIONS, Live};
use crate::luau::Vm;
use crate::reload::merge::Snapshot;
use mlua::Function;
use std::collections::BTreeMap;

/// A closure that does nothing but hold on to a variable.
const KEEPER: &str = "local variable variable = nil return function() return variable end";

/// A variable that is out of use.
struct Dormant {
    /// Has its cell or value in its only slot.
    keeper: Function,
    /// What the file said of it when it was last in use.
    base: Option<Snapshot>,
    /// The version of the module in which it went out of use.
    since: u32,
}

/// Those of all modules: by module, and by what people call them.
#[derive(Default)]
pub(super) struct Dormants(BTreeMap<String, BTreeMap<String, Dormant>>);

impl Dormants {
    /// A module has another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(kept) = self.0.remove(from) {
            self.0.insert(to.into(), kept);
        }
    }

    /// What a variable of a module held when it went out of use, and what the file said of it then.
    pub fn find(
        &self,
        vm: &Vm,
        internals: Internals,
        module: &str,
        label: &str,
    ) -> Option<(Slot, Option<Snapshot>)> {
        let dormant = self.0.get(module)?.get(label)?;
        let closure = internals.closure_of(vm, &dormant.keeper);
        (!closure.is_null()).then(|| (internals.slot(closure, 0), dormant.base.clone()))
    }
}

impl Live {
    /// Keeps what goes out of use with this text, and forgets what is in use again or has been out of it for too
    /// long.
    pub(super) fn keep_orphans(
        &mut self,
        vm: &Vm,
        internals: Internals,
        text: &NewText,
        base: &BTreeMap<String, Snapshot>,
    ) {
        let version = text.generation.version;
        let mut kept = self.dormants.0.remove(&text.generation.module).unwrap_or_default();
        for local in text.variables.keys() {
            kept.remove(&text.generation.code.label(*local));
        }
        kept.retain(|_, dormant| version <= dormant.since + KEPT_VERSIONS);
        for (label, &(slot, _)) in &text.orphans {
            match keeper(vm, internals, slot) {
                Some(keeper) => {
                    let since = kept.get(label).map_or(version, |known| known.since);
                    let base = match kept.remove(label) {
                        Some(known) => known.base,
                        None => base.get(label).cloned(),
                    };
                    kept.insert(label.clone(), Dormant { keeper, base, since });
                }
                None => tracing::warn!("reload: no memory to keep the variable '{label}'"),
            }
        }
        if !kept.is_empty() {
            self.dormants.0.insert(text.generation.module.clone(), kept);
        }
    }
}

fn keeper(vm: &Vm, internals: Internals, slot: Slot) -> Option<Function> {
    let keeper: Function = vm.load("a variable that no function uses", KEEPER).ok()?.call(()).ok()?;
    let closure = internals.closure_of(vm, &keeper);
    if closure.is_null() {
        return None;
    }
    internals.set_slot(closure, 0, slot);
    Some(keeper)
}
