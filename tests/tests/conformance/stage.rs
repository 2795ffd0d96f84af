//! Where a scenario is played: its tasklets and channels by name, and its trace.

use crate::item::{Item, Raised};
use crate::luau::Actors;
use crate::rust;
use crate::scenario::Scenario;
use bluetick_scripting::{Channel, Error, ErrorKind, Scheduler, Tasklet, Vm};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Operations in one scenario; more means that it runs away.
const MOST_STEPS: u32 = 20_000;

/// How often what a scenario leaves behind is killed.
const MOST_KILLS: u32 = 10;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Luau,
    Rust,
}

/// Who plays.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The language of all bodies; `None`: chosen for each.
    pub bodies: Option<Language>,
    /// The main tasklet: a script, or the thread itself.
    pub main: Language,
    /// Of a hundred operations, how many are played by a function of the other language.
    pub crossing: u64,
    pub seed: u64,
}

/// A scenario that is played.
pub struct Stage {
    pub scenario: Scenario,
    pub scheduler: Scheduler,
    pub actors: Rc<Actors>,
    pub channels: BTreeMap<String, Channel<Item>>,
    style: Style,
    random: Cell<u64>,
    trace: RefCell<Vec<String>>,
    steps: Cell<u32>,
    /// The trace is complete, what still runs shall end.
    over: Cell<bool>,
    /// The newest tasklet of each name.
    tasklets: RefCell<BTreeMap<String, Tasklet>>,
    /// All of them, also those replaced.
    objects: RefCell<Vec<(String, Tasklet)>>,
}

impl Stage {
    /// Plays a scenario: its trace, and what is wrong with what it has left behind.
    pub fn play(
        vm: &Rc<Vm>,
        actors: &Rc<Actors>,
        scenario: Scenario,
        style: Style,
    ) -> (String, Option<String>) {
        let scheduler = vm.scheduler();
        let channels = scenario.channels.iter().map(|name| (name.clone(), scheduler.channel())).collect();
        let seed = scenario.name.bytes().fold(style.seed, |seed, byte| mix(seed ^ u64::from(byte)));
        let stage = Rc::new(Self {
            actors: actors.clone(),
            scenario,
            scheduler,
            channels,
            style,
            random: Cell::new(seed),
            trace: RefCell::default(),
            steps: Cell::default(),
            over: Cell::default(),
            tasklets: RefCell::default(),
            objects: RefCell::default(),
        });
        actors.enter(&stage);
        for name in stage.scenario.tasklets.keys() {
            stage.register(name, stage.scheduler.unbound_tasklet());
        }
        match style.main {
            Language::Luau => stage.actors.run_main(vm, &stage),
            Language::Rust => rust::run_main(&stage),
        }
        let trace = stage.trace.borrow().join(" ");
        (trace, stage.clean_up())
    }

    pub fn log(&self, text: impl Into<String>) {
        if !self.over.get() {
            self.trace.borrow_mut().push(text.into());
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Counts an operation; false if all has to end now.
    pub fn step(&self) -> bool {
        self.steps.set(self.steps.get() + 1);
        if !self.over.get() && self.steps.get() > MOST_STEPS {
            self.over.set(true);
            *self.trace.borrow_mut() = vec!["(too_many_steps)".into()];
        }
        !self.over.get()
    }

    fn choose(&self, sides: u64) -> u64 {
        self.random.set(mix(self.random.get()));
        self.random.get() % sides
    }

    /// The language of the next body.
    pub fn next_body(&self) -> Language {
        self.style.bodies.unwrap_or(if self.choose(2) == 0 { Language::Luau } else { Language::Rust })
    }

    /// The next operation is played by the other language.
    pub fn crosses(&self) -> bool {
        // The thread itself can't wait inside of a script's function.
        let thread = self.style.main == Language::Rust && self.scheduler.current().is_main();
        self.style.crossing > 0 && !self.over.get() && !thread && self.choose(100) < self.style.crossing
    }

    pub fn register(&self, name: &str, tasklet: Tasklet) {
        self.tasklets.borrow_mut().insert(name.into(), tasklet.clone());
        self.objects.borrow_mut().push((name.into(), tasklet));
    }

    pub fn tasklet(&self, name: &str) -> Tasklet {
        match name {
            "self" => self.scheduler.current(),
            "main" => self.scheduler.main(),
            name => self.tasklets.borrow().get(name).cloned().unwrap_or_else(|| panic!("no tasklet {name}")),
        }
    }

    pub fn channel(&self, name: &str) -> &Channel<Item> {
        &self.channels[name]
    }

    pub fn name_of(&self, tasklet: Option<&Tasklet>) -> String {
        let Some(tasklet) = tasklet else { return "nil".into() };
        if tasklet.is_main() {
            return "main".into();
        }
        let objects = self.objects.borrow();
        let found = objects.iter().rev().find(|(_, object)| object == tasklet);
        found.map_or("?".into(), |(name, _)| name.clone())
    }

    pub fn name_of_channel(&self, id: bluetick_scripting::ChannelId) -> String {
        let found = self.channels.iter().find(|(_, channel)| channel.id() == id);
        found.map_or("?".into(), |(name, _)| name.clone())
    }

    /// Ends what the scenario has left behind; what can't be ended.
    fn clean_up(&self) -> Option<String> {
        self.over.set(true);
        let scheduler = &self.scheduler;
        rust::end_callbacks(scheduler);
        scheduler.switch_trap(-scheduler.switch_trap(0));
        scheduler.main().set_block_trap(false);
        let mut alive = 0;
        for _ in 0..MOST_KILLS {
            let objects: Vec<Tasklet> =
                self.objects.borrow().iter().map(|(_, object)| object.clone()).collect();
            alive = 0;
            for object in objects.iter().filter(|object| object.alive()) {
                alive += 1;
                object.set_block_trap(false);
                let _ = object.kill();
            }
            let _ = scheduler.run();
            if alive == 0 {
                break;
            }
        }
        if alive > 0 {
            return Some(format!("{alive} tasklets survived {MOST_KILLS} kills"));
        }
        for (name, channel) in &self.channels {
            if channel.balance() != 0 {
                return Some(format!("the balance of {name} is {}", channel.balance()));
            }
        }
        let count = scheduler.run_count();
        (count != 1).then(|| format!("the run count is {count} after all tasklets have ended"))
    }
}

/// How traces name an error.
pub fn kind_of(error: &Error) -> String {
    if let Some(Raised(kind)) = error.downcast_ref() {
        return kind.clone();
    }
    if let Some(kind) =
        error.value().and_then(|value| value.as_table()?.get::<Option<String>>("user").ok()?)
    {
        return kind;
    }
    match error.kind {
        ErrorKind::Closed => "ValueError".into(),
        ErrorKind::Type => "TypeError".into(),
        ErrorKind::Exit => "TaskletExit".into(),
        ErrorKind::Stop => "StopIteration".into(),
        ErrorKind::Dead
        | ErrorKind::Blocked
        | ErrorKind::Alive
        | ErrorKind::Current
        | ErrorKind::Unbound
        | ErrorKind::BlockTrap
        | ErrorKind::SwitchTrap
        | ErrorKind::Deadlock
        | ErrorKind::Callback
        | ErrorKind::WrongThread => "RuntimeError".into(),
        kind => format!("{kind}({})", error.message.replace(' ', "_")),
    }
}

/// Splitmix: numbers that look random, the same ones every time.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
