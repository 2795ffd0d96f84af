//! Which text a tasklet runs.

use super::internals::Internals;
use super::{Generation, Live};
use crate::luau::Vm;
use crate::reload::report::Stale;
use crate::scheduler::{Frame, TaskletId};
use mlua::Function;
use std::rc::Rc;

impl Vm {
    /// Whether a call of the tasklet runs text that is not current any more. It does so until the call ends, or
    /// until a later version fits.
    pub fn is_stale(&self, tasklet: TaskletId) -> bool {
        let live = self.live.borrow();
        let texts = self.texts_of(&live, tasklet);
        texts.iter().any(|generation| generation.main.borrow().is_none())
    }

    /// The version of the text in which the tasklet has begun; `None` if it has not begun yet or has ended, or if
    /// its function is not one of a module.
    pub fn version_of(&self, tasklet: TaskletId) -> Option<u32> {
        let live = self.live.borrow();
        self.texts_of(&live, tasklet).first().map(|generation| generation.version)
    }

    /// The tasklets that finish a call on old text since a reload, and why, in a fixed order.
    pub fn stale_tasklets(&self) -> Vec<Stale> {
        self.prune_parked();
        let pinned: Vec<TaskletId> = self.live.borrow().pins.keys().copied().collect();
        let stale: Vec<TaskletId> = pinned.into_iter().filter(|&id| self.is_stale(id)).collect();
        let live = &mut *self.live.borrow_mut();
        let mut kept = std::mem::take(&mut live.pins);
        live.pins = stale.iter().filter_map(|id| Some((*id, kept.remove(id)?))).collect();
        let pins = &live.pins;
        live.beginnings.retain(|id, _| pins.contains_key(id));
        let scheduler = self.machine().scheduler();
        live.pins
            .iter()
            .map(|(&tasklet, pin)| Stale {
                tasklet,
                owner: scheduler.tasklets[tasklet].owner,
                name: scheduler.name_of(tasklet),
                pin: pin.clone(),
            })
            .collect()
    }

    /// The function with which a tasklet has begun, if a call of it runs a copy of that.
    pub(crate) fn beginning_of(&self, tasklet: TaskletId) -> Option<Rc<Function>> {
        self.live.borrow().beginnings.get(&tasklet).cloned()
    }

    /// The texts that the calls of a tasklet run, the outermost first.
    fn texts_of<'a>(&self, live: &'a Live, tasklet: TaskletId) -> Vec<&'a Rc<Generation>> {
        let Some(tasklet) = self.machine().scheduler().tasklets.get(tasklet).filter(|t| t.alive()) else {
            return Vec::new();
        };
        let outer = tasklet.outer().iter().filter_map(|frame| match frame {
            Frame::Luau(thread) => Some(*thread),
            Frame::Native(_) => None,
        });
        let threads = outer.chain([tasklet.thread]).filter(|thread| !thread.is_null());
        let internals = Internals::for_reading(self);
        let frames = threads.flat_map(|thread| {
            (1..=internals.thread(thread).frames).map(move |number| internals.frame(thread, number))
        });
        let specials = frames.filter(|frame| frame.is_script()).filter_map(|frame| live.special(frame.id));
        specials
            .filter(|special| special.forwards_to.is_none())
            .filter_map(|special| live.generations.get(&special.runs.0))
            .collect()
    }
}
