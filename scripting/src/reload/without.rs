//! Stands in for `live/` in builds without the feature `reload`: nothing of the VM's insides is known.

use super::merge::{Merge, Place, Snapshot};
use super::report::{Parked, ReloadReport, Stale};
use crate::luau::ffi::lua_State;
use crate::luau::{Failure, ModuleText, Vm};
use crate::scheduler::TaskletId;
use mlua::Function;
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::rc::Rc;

/// What the reload remembers of a VM.
#[derive(Default)]
pub(crate) struct Live;

/// Why a failed tasklet can't be parked.
pub(crate) enum ParkFault {
    Off,
}

/// A reload that was planned. There is none here, since [`Vm::with_internals`] runs nothing.
pub(crate) struct Swap;

#[derive(Clone, Copy)]
pub(super) struct Internals;

impl Swap {
    pub(super) fn plan(_: &Vm, _: Internals, _: &[u32]) -> Self {
        Self
    }

    pub(super) fn places(&self) -> HashMap<*const c_void, Place> {
        HashMap::new()
    }

    pub(super) fn merge_variables(
        &mut self,
        _: &Vm,
        _: Internals,
        _: &str,
        _: &BTreeMap<String, Snapshot>,
        _: &mut Merge<'_>,
    ) -> BTreeMap<String, Snapshot> {
        BTreeMap::new()
    }

    pub(super) fn apply(self, _: &Vm, _: Internals, _: &mut ReloadReport) {}
}

impl Vm {
    pub(crate) fn start_live(&self) {}

    /// Reloads act on live closures and suspended tasklets: not in this build, which is without the
    /// feature `reload`.
    pub fn moves_frames(&self) -> bool {
        false
    }

    pub(super) fn with_internals<R>(&self, _: impl FnOnce(Internals) -> R) -> Option<R> {
        None
    }

    pub(crate) fn adopt(&self, _: &str, _: u32, _: &ModuleText, _: &Function) -> u32 {
        0
    }

    pub(crate) fn disown(&self, _: u32) {}

    pub(crate) fn random_state(&self) -> u64 {
        0
    }

    pub(crate) fn set_random_state(&self, _: u64) {}

    /// Has the VM check all its objects; does nothing without the feature `reload`.
    #[doc(hidden)]
    pub fn validate_heap(&self) {}

    /// For tests: nothing is checked in this build.
    #[doc(hidden)]
    pub fn pretend_self_check_failed(&self) {}

    /// Has tasklets that fail wait for their code to be mended; has no effect without the feature `reload`.
    pub fn park_failed(&self, _: bool) {}

    /// Whether tasklets that fail are parked: not without the feature `reload`.
    pub fn parks_failed(&self) -> bool {
        false
    }

    pub(crate) fn park(&self, _: *mut lua_State, _: Failure) -> Result<(), ParkFault> {
        Err(ParkFault::Off)
    }

    pub(crate) fn name_nil(&self, _: *mut lua_State, _: std::ffi::c_int, _: &str) -> String {
        String::new()
    }

    pub(super) fn prune_parked(&self) {}

    /// The tasklets that have failed and wait for their code to be mended: none without the feature `reload`.
    pub fn parked_tasklets(&self) -> Vec<Parked> {
        Vec::new()
    }

    /// Whether a tasklet has failed and waits for its code to be mended: never without the feature `reload`.
    pub fn is_parked(&self, _: TaskletId) -> bool {
        false
    }

    /// Which tasklets are parked: none without the feature `reload`.
    pub fn parked_ids(&self) -> Vec<TaskletId> {
        Vec::new()
    }

    /// Whether a call of the tasklet runs text that is not current any more: not known without the feature
    /// `reload`.
    pub fn is_stale(&self, _: TaskletId) -> bool {
        false
    }

    /// The version of the text in which the tasklet has begun: not known without the feature `reload`.
    pub fn version_of(&self, _: TaskletId) -> Option<u32> {
        None
    }

    /// The tasklets that finish a call on old text: not known without the feature `reload`.
    pub fn stale_tasklets(&self) -> Vec<Stale> {
        Vec::new()
    }

    pub(crate) fn beginning_of(&self, _: TaskletId) -> Option<Rc<Function>> {
        None
    }

    pub(super) fn rename_generations(&self, _: &str, _: &str, _: &str) {}

    /// Those that have failed since the last call.
    pub fn take_parked(&self) -> Vec<Parked> {
        Vec::new()
    }

    /// Has a parked tasklet go on; there are none without the feature `reload`.
    pub fn retry(&self, _: TaskletId) -> bool {
        false
    }

    pub(super) fn retry_in(&self, _: &[&str]) -> usize {
        0
    }

    /// The source that a message means by a file name: not kept without the feature `reload`.
    pub fn source_of(&self, _: &str) -> Option<Rc<str>> {
        None
    }
}
