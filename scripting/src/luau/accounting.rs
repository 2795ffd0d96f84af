//! Where time goes: run time of tasklets, the longest slice, named timers (`semantics.md` 5.21-5.23).
//!
//! Off unless the host asks for it: it reads the clock twice a slice.

use super::machine::Machine;
use super::vm::Vm;
use crate::scheduler::{OwnerId, TaskletId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// How deep timers of one tasklet may be nested, and how many names there may be below each other.
const MOST_TIMERS: usize = 10_000;

/// Slow slices that are kept for [`Vm::take_slow_slices`].
const KEPT_SLOW: usize = 100;

/// The longest slice of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongestSlice {
    /// Whose it was.
    pub tasklet: TaskletId,
    /// Its name, or a number.
    pub name: String,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// How long it took.
    pub time: Duration,
}

/// A slice that was [warned of](Vm::set_slice_warning).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowSlice {
    /// Whose it was.
    pub tasklet: TaskletId,
    /// Its name, or a number.
    pub name: String,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// How long it took.
    pub time: Duration,
    /// The timers that the tasklet was in at its end, outermost first.
    pub timers: Vec<String>,
}

/// A named timer, summed over all tasklets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The names of the timers around it, outermost first, and its own.
    pub path: Vec<String>,
    /// How often it was entered.
    pub calls: u64,
    /// Time in it, without timers inside of it and without the time that its tasklet was switched away.
    pub own: Duration,
    /// Time from entering to leaving, with all of that.
    pub real: Duration,
    /// How often its tasklet was switched away in it.
    pub switches: u64,
}

/// A place in the tree of timers.
struct Node {
    name: Rc<str>,
    parent: Option<usize>,
    timing: Timing,
}

/// A timer that a tasklet has entered.
#[derive(Clone, Copy)]
struct Open {
    node: usize,
    entered: Duration,
}

/// Where time goes.
#[derive(Default)]
pub(super) struct Accounting {
    source: RefCell<Option<Rc<dyn Fn() -> Duration>>>,
    /// Since when the slice under way, or the timer that it is in, has gone on.
    since: Cell<Duration>,
    began: Cell<Duration>,
    in_slice: Cell<bool>,
    /// What the memory of the slice's tasklet counts among.
    category: Cell<u8>,
    /// Slices of each such category, and how long they took.
    by_category: RefCell<Vec<(u64, Duration)>>,
    longest: RefCell<Option<LongestSlice>>,
    /// Slices that are longer are warned of; if there is a limit.
    warning: Cell<Option<Duration>>,
    /// The longest slice so far that was warned of, by what its memory counts among (a script, for a host) and
    /// the timer that it ended in.
    worst: RefCell<HashMap<(u8, Option<usize>), Duration>>,
    slow: RefCell<Vec<SlowSlice>>,
    nodes: RefCell<Vec<Node>>,
    open: RefCell<HashMap<TaskletId, Vec<Open>>>,
}

impl Accounting {
    #[inline]
    pub fn is_on(&self) -> bool {
        // Nobody holds the source for longer than a call.
        self.source.borrow().is_some()
    }

    fn now(&self) -> Duration {
        self.source.borrow().as_ref().map_or(Duration::ZERO, |source| source())
    }

    /// A slice begins, of a tasklet whose memory counts among that of this category.
    pub fn begin(&self, category: u8) {
        let now = self.now();
        self.category.set(category);
        self.began.set(now);
        self.since.set(now);
        self.in_slice.set(true);
    }

    /// Time since the last call goes to the timer that the tasklet is in.
    fn settle(&self, id: TaskletId, now: Duration) {
        let since = self.since.replace(now);
        if let Some(open) = self.open.borrow().get(&id).and_then(|open| open.last())
            && let Some(node) = self.nodes.borrow_mut().get_mut(open.node)
        {
            node.timing.own += now.saturating_sub(since);
        }
    }

    fn node(&self, parent: Option<usize>, name: &str) -> Option<usize> {
        let mut nodes = self.nodes.borrow_mut();
        let known = nodes.iter().position(|node| node.parent == parent && &*node.name == name);
        if known.is_some() || nodes.len() >= MOST_TIMERS {
            return known;
        }
        nodes.push(Node { name: name.into(), parent, timing: Timing::default() });
        Some(nodes.len() - 1)
    }

    /// The names from the outermost timer to this one.
    fn path(nodes: &[Node], mut index: usize) -> Vec<String> {
        let mut path = vec![nodes[index].name.to_string()];
        while let Some(parent) = nodes[index].parent {
            path.push(nodes[parent].name.to_string());
            index = parent;
        }
        path.reverse();
        path
    }
}

impl Machine {
    /// A slice of the tasklet is over.
    pub(super) fn account(&self, id: TaskletId) {
        let now = self.accounting.now();
        let took = now.saturating_sub(self.accounting.began.get());
        self.accounting.settle(id, now);
        self.accounting.in_slice.set(false);
        let category = usize::from(self.accounting.category.get());
        let mut sums = self.accounting.by_category.borrow_mut();
        if sums.len() <= category {
            sums.resize(category + 1, Default::default());
        }
        let (slices, time) = &mut sums[category];
        (*slices, *time) = (*slices + 1, *time + took);
        drop(sums);
        let scheduler = self.scheduler();
        let node = self.accounting.open.borrow().get(&id).and_then(|open| open.last()).map(|open| open.node);
        let tasklet = scheduler.tasklets.get_mut(id);
        let (owner, alive) = tasklet.map_or_else(Default::default, |tasklet| {
            tasklet.details_mut().run_time += took;
            (tasklet.owner, tasklet.alive())
        });
        if !alive {
            self.accounting.open.borrow_mut().remove(&id);
        } else if let Some(node) = node {
            self.accounting.nodes.borrow_mut()[node].timing.switches += 1;
        }
        let mut longest = self.accounting.longest.borrow_mut();
        if longest.as_ref().is_none_or(|longest| took > longest.time) {
            *longest = Some(LongestSlice { tasklet: id, name: scheduler.name_of(id), owner, time: took });
        }
        drop(longest);
        if self.accounting.warning.get().is_some_and(|limit| took > limit) {
            self.warn_of_slice(id, owner, took, node);
        }
    }

    /// A slice was slower than it may be: told once for each new maximum of its script and timer
    /// (`semantics.md` 5.23).
    #[cold]
    fn warn_of_slice(&self, id: TaskletId, owner: OwnerId, time: Duration, node: Option<usize>) {
        let scheduler = self.scheduler();
        let category = scheduler.tasklets.get(id).map_or(0, |tasklet| tasklet.category);
        let mut worst = self.accounting.worst.borrow_mut();
        let worst = worst.entry((category, node)).or_default();
        if time <= *worst {
            return;
        }
        *worst = time;
        let timers =
            node.map_or_else(Vec::new, |node| Accounting::path(&self.accounting.nodes.borrow(), node));
        let name = scheduler.name_of(id);
        let place = if timers.is_empty() { String::new() } else { format!(" in {}", timers.join(" / ")) };
        tracing::warn!("a slice of {name}{place} took {} ms", time.as_secs_f64() * 1e3);
        let mut slow = self.accounting.slow.borrow_mut();
        if slow.len() < KEPT_SLOW {
            slow.push(SlowSlice { tasklet: id, name, owner, time, timers });
        }
    }

    /// How long a tasklet has run so far, the slice under way included (`semantics.md` 5.21).
    pub(crate) fn run_time(&self, id: TaskletId) -> Duration {
        let Some(tasklet) = self.scheduler().tasklets.get(id) else { return Duration::ZERO };
        let before = tasklet.details.as_ref().map_or(Duration::ZERO, |details| details.run_time);
        if self.accounting.is_on() && self.running.get() == id && self.accounting.in_slice.get() {
            return before + self.accounting.now().saturating_sub(self.accounting.began.get());
        }
        before
    }

    /// The running tasklet enters a named timer.
    pub(super) fn enter_timer(&self, name: &str) {
        if !self.accounting.is_on() {
            return;
        }
        let (id, now) = (self.running.get(), self.accounting.now());
        self.accounting.settle(id, now);
        let mut open = self.accounting.open.borrow_mut();
        let open = open.entry(id).or_default();
        if open.len() >= MOST_TIMERS {
            return;
        }
        if let Some(node) = self.accounting.node(open.last().map(|open| open.node), name) {
            self.accounting.nodes.borrow_mut()[node].timing.calls += 1;
            open.push(Open { node, entered: now });
        }
    }

    /// The running tasklet leaves the timer that it has entered last.
    pub(super) fn leave_timer(&self) {
        if !self.accounting.is_on() {
            return;
        }
        let (id, now) = (self.running.get(), self.accounting.now());
        self.accounting.settle(id, now);
        if let Some(Open { node, entered }) =
            self.accounting.open.borrow_mut().get_mut(&id).and_then(Vec::pop)
        {
            self.accounting.nodes.borrow_mut()[node].timing.real += now.saturating_sub(entered);
        }
    }
}

impl Vm {
    /// How many slices tasklets of a [category](Self::set_memory_category) have run, and how long these took, all
    /// together, while time was [measured](Self::set_accounting).
    pub fn time_in(&self, category: u8) -> (u64, Duration) {
        self.machine().accounting.by_category.borrow().get(usize::from(category)).copied().unwrap_or_default()
    }

    /// Measures how long tasklets run, by this clock: the time since some start. With `None` not any more, which
    /// is the default. It costs two looks at the clock for each slice.
    pub fn set_accounting(&self, source: Option<Rc<dyn Fn() -> Duration>>) {
        let accounting = &self.machine().accounting;
        accounting.warning.set(None);
        accounting.worst.borrow_mut().clear();
        accounting.open.borrow_mut().clear();
        *accounting.source.borrow_mut() = source;
        self.machine().busy.set(true);
    }

    /// Warns of slices that are longer than this, while time is [measured](Self::set_accounting): once for each
    /// new maximum of a [category](Self::set_memory_category) and timer (`semantics.md` 5.23). They are logged, and
    /// are in [`take_slow_slices`](Self::take_slow_slices). `None` warns of none.
    pub fn set_slice_warning(&self, longer_than: Option<Duration>) {
        let accounting = &self.machine().accounting;
        accounting.warning.set(longer_than);
        accounting.worst.borrow_mut().clear();
    }

    /// The slices since the last call that were [warned of](Self::set_slice_warning), the first 100 of them.
    pub fn take_slow_slices(&self) -> Vec<SlowSlice> {
        self.machine().accounting.slow.take()
    }

    /// How long a tasklet has run so far, if time is [measured](Self::set_accounting) (`semantics.md` 5.21).
    pub fn run_time(&self, tasklet: TaskletId) -> Duration {
        self.machine().run_time(tasklet)
    }

    /// The longest slice since the last call, if time is [measured](Self::set_accounting).
    pub fn take_longest_slice(&self) -> Option<LongestSlice> {
        self.machine().accounting.longest.take()
    }

    /// What timers have measured, those that scripts enter with `scheduler.timer(name, f, ...)`, each after
    /// the one around it (`semantics.md` 5.22).
    pub fn timings(&self) -> Vec<Timing> {
        let nodes = self.machine().accounting.nodes.borrow();
        (0..nodes.len())
            .map(|index| Timing { path: Accounting::path(&nodes, index), ..nodes[index].timing.clone() })
            .collect()
    }
}
