//! New text under live tasklets, in the VM itself: closures are re-pointed in place, suspended frames are
//! moved, failed tasklets are parked.
//!
//! | file | what |
//! |---|---|
//! | `internals/` | all that knows the layout of the VM, and why it is sound |
//! | `code.rs` | the text of a module as the VM runs it, as plain data |
//! | `align.rs` | what of the old text is what of the new |
//! | `closures.rs` | which closure runs what from now on, and where it finds its outer variables |
//! | `frames.rs` | which suspended frame goes on where, or why not |
//! | `dormant.rs` | variables that no function uses for the time being |
//! | `swap.rs` | all of it together: plan, then change |
//! | `park.rs` | a failed tasklet goes back to the beginning of the statement that failed |
//! | `stale.rs` | which text a tasklet runs |
//! | `callee.rs` | what a failed call was to call |
//!
//! # How a frame moves
//!
//! A suspended call is three things: a closure, a position in its code, and registers. Here `hunt` waits in
//! `rest()`, and a local has been added above:
//!
//! ```text
//!     old text                          new text
//!     local function hunt(prey)         local function hunt(prey)
//!                                           local fear = 3
//!         local n = 0                       local n = 0
//!         while true do                     while true do
//!             n += 1                            n += fear
//!             rest(n)      <- waits             rest(n)
//!
//!     before                            after
//!     +--------------+                  +--------------+
//!     | closure      |-> old code       | closure      |-> new code   the same closure
//!     +--------------+                  +--------------+
//!   0 | prey         |                0 | prey         |
//!   1 | n = 7        |                1 | fear = 3     |              its initial value is a constant
//!   2 | rest         | callee         2 | n = 7        |              the value follows the name
//!   3 |   7          |                3 | rest         | callee
//!     +--------------+                4 |   7          |
//!     | inner frames |                  +--------------+
//!                                       | inner frames |              all above moves along
//!     position: behind the call         position: behind the same call
//! ```
//!
//! It moves only where all of that is certain (`frames.rs` has the list); else it is *pinned*: it keeps the old
//! code behind a private clone of its closure, since the collector finds code through closures only, and
//! is looked at again at every later version.
//!
//! # Who is who over the versions
//!
//! Each prototype of a module's text bears an id in a field that the VM itself never reads: the
//! [generation](Generation) that it was loaded in, and its place among the functions of that text.
//! The [`Code`] of a generation is kept as long as any of its prototypes is alive.

mod align;
mod callee;
mod closures;
mod code;
mod dormant;
mod faults;
mod frames;
mod internals;
mod park;
mod stale;
mod swap;

use super::report::Pin;
use crate::luau::{ModuleText, Vm};
use crate::scheduler::TaskletId;
use code::Code;
use internals::Closure;
use mlua::Function;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::rc::Rc;
pub(crate) use swap::Swap;

/// The text of a module that was loaded once.
pub(crate) struct Generation {
    pub number: u32,
    pub module: String,
    pub version: u32,
    pub text: ModuleText,
    code: Code,
    /// The main function, which keeps all prototypes alive; only of the current version.
    main: RefCell<Option<Function>>,
}

/// What a prototype with an id of its own is: one that was made for closures of an older layout.
#[derive(Clone, Copy, Debug)]
struct Special {
    /// What it runs: generation and body.
    runs: (u32, usize),
    /// Whose upvalues the slots of its closures are.
    layout: (u32, usize),
    /// It calls another closure, which runs that.
    forwards_to: Option<*mut Closure>,
}

/// What the reload remembers of a VM.
#[derive(Default)]
pub(crate) struct Live {
    /// The self-check has passed.
    works: bool,
    told_callee: Option<callee::Told>,
    generations: BTreeMap<u32, Rc<Generation>>,
    specials: BTreeMap<u64, Special>,
    next_generation: u32,
    next_special: u64,
    /// Why tasklets are on old text, as of the last reloads; some may have left it since.
    pins: BTreeMap<TaskletId, Pin>,
    dormants: dormant::Dormants,
    /// The function with which such a tasklet has begun, where it runs a copy of that.
    beginnings: BTreeMap<TaskletId, Rc<Function>>,
    /// Tasklets that fail are parked.
    parks: bool,
    /// Some of the parked were not [told of](Vm::take_parked) yet.
    untold: bool,
    parked: BTreeMap<TaskletId, park::Record>,
    /// Tasklets that were parked and go on after a fix.
    attempts: BTreeMap<TaskletId, park::Attempt>,
    /// How many statements further out parked tasklets were put.
    attempts_out: BTreeMap<TaskletId, u32>,
}

/// A variable that no function uses is kept for so many versions of its module: those that can be brought back.
const KEPT_VERSIONS: u32 = super::KEPT_TEXTS as u32;

const SPECIAL: u64 = 1 << 63;
const BODY_BITS: u32 = 24;

/// The id of a body's prototype.
fn plain_id(generation: u32, body: usize) -> u64 {
    u64::from(generation) << BODY_BITS | (body as u64 + 1)
}

impl Live {
    /// Generation and body that a prototype with this id runs, and whose slots its closures have.
    fn special(&self, id: u64) -> Option<Special> {
        if id & SPECIAL != 0 {
            return self.specials.get(&id).copied();
        }
        let place = ((id >> BODY_BITS) as u32, (id as usize & ((1 << BODY_BITS) - 1)).checked_sub(1)?);
        Some(Special { runs: place, layout: place, forwards_to: None })
    }

    fn new_special(&mut self, special: Special) -> u64 {
        self.next_special += 1;
        let id = SPECIAL | self.next_special;
        self.specials.insert(id, special);
        id
    }

    /// Forgets what none of the living prototypes bears the id of.
    fn forget(&mut self, alive: &BTreeSet<u64>) {
        self.specials.retain(|id, _| alive.contains(id));
        let current = self.generations.values().filter(|generation| generation.main.borrow().is_some());
        let mut used: BTreeSet<u32> = current.map(|generation| generation.number).collect();
        for special in alive.iter().filter_map(|&id| self.special(id)) {
            used.insert(special.runs.0);
            used.insert(special.layout.0);
        }
        self.generations.retain(|number, _| used.contains(number));
    }
}

impl Vm {
    /// Looks whether the VM's insides are as this crate knows them. If not, reloads replace what is called
    /// through modules and no more, and the log has a warning.
    pub(crate) fn start_live(&self) {
        self.trust_internals(self.check_internals());
    }

    fn trust_internals(&self, checked: Result<(), c_int>) {
        if let Err(number) = checked {
            tracing::warn!(
                "the VM is not built as bluetick knows it (check {number} failed): edited scripts take effect \
                 at the next call through their module, and running tasklets finish on the old text"
            );
        }
        self.live.borrow_mut().works = checked.is_ok();
    }

    /// Reloads act on live closures and suspended tasklets: the feature is on, and the VM is as expected.
    pub fn moves_frames(&self) -> bool {
        self.live.borrow().works
    }

    /// The texts of a module are known under another name.
    pub(in crate::reload) fn rename_generations(&self, from: &str, to: &str, file: &str) {
        let live = &mut *self.live.borrow_mut();
        live.dormants.rename(from, to);
        for generation in live.generations.values_mut() {
            // Between two reloads nobody else holds one.
            if generation.module == from
                && let Some(generation) = Rc::get_mut(generation)
            {
                generation.module = to.into();
                generation.text.file = file.into();
            }
        }
    }

    /// For tests: as if the self-check had failed.
    #[doc(hidden)]
    pub fn pretend_self_check_failed(&self) {
        self.trust_internals(Err(0));
    }

    /// The source that a message means by `guard.luau` or, for text that is not current any more,
    /// `guard.luau#3`, as long as something runs it.
    pub fn source_of(&self, file: &str) -> Option<Rc<str>> {
        let (file, version) = super::split_version(file);
        let live = self.live.borrow();
        let mut found = live.generations.values().filter(|g| g.text.file == file);
        let found = match version {
            Some(version) => found.find(|g| g.version == version),
            None => found.find(|g| g.main.borrow().is_some()),
        };
        found.map(|generation| generation.text.text.clone())
    }
}
