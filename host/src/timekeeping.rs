//! What a game does with the clocks of its host.

use crate::clock::{Clock, ClockId};
use crate::dilation::{ClockMessage, TimeDilation};
use crate::failure::ScriptFailure;
use crate::frame::FrameReport;
use crate::history::FrameSample;
use crate::host::ScriptHost;
use crate::script::ScriptClock;
use crate::synchro::SynchroHandle;
use crate::ticker::{TickerContext, TickerId};
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bluetick_scripting::Error;
use std::time::Duration;

/// How long the tasklets of a script have run; see [`ScriptHost::script_times`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptTime {
    /// The script, by its path under the script folder.
    pub script: String,
    /// Their turns.
    pub slices: u64,
    /// How long these took, all together.
    pub time: Duration,
}

impl ScriptHost {
    /// The clocks, as they stood in the last frame.
    pub fn clock(&self) -> Clock {
        self.clocks.world()
    }

    /// A new clock group: a clock that is as fast as its parent until it is [scaled](Self::set_clock_scale) or
    /// [paused](Self::pause_clock). Scripts name it in `clock.join(name)`, `clock.scale(name, factor)`,
    /// `clock.pause(name)` and `clock.resume(name)`.
    ///
    /// # Errors
    /// If there is a clock of that name, or there are a thousand.
    pub fn add_clock(&mut self, name: &str, parent: ClockId) -> Result<ClockId, Error> {
        self.clocks.with(|clocks| clocks.add(name, parent))
    }

    /// The clock with this name.
    ///
    /// # Errors
    /// If there is none; the text names those that there are.
    pub fn clock_named(&self, name: &str) -> Result<ClockId, Error> {
        self.clocks.named(name)
    }

    /// What a clock shows, in seconds.
    pub fn clock_time(&self, clock: ClockId) -> f64 {
        self.clocks.with(|clocks| clocks.now(clock))
    }

    /// Makes a clock so many times as fast as its parent, from the next frame on. Who sleeps by it, or by one of
    /// its children, wakes when it shows the time.
    ///
    /// # Errors
    /// For a scale that is negative or no number, and for the wall clock.
    pub fn set_clock_scale(&mut self, clock: ClockId, scale: f64) -> Result<(), Error> {
        self.clocks.with(|clocks| clocks.set_scale(clock, scale))
    }

    /// Stops a clock: nobody who sleeps by it wakes. Who doesn't sleep runs on.
    ///
    /// # Errors
    /// For the wall clock.
    pub fn pause_clock(&mut self, clock: ClockId) -> Result<(), Error> {
        self.clocks.with(|clocks| clocks.set_paused(clock, true))
    }

    /// Has a clock go on.
    ///
    /// # Errors
    /// For the wall clock.
    pub fn resume_clock(&mut self, clock: ClockId) -> Result<(), Error> {
        self.clocks.with(|clocks| clocks.set_paused(clock, false))
    }

    /// Has all scripts of an entity live by a clock, at once: who sleeps does so for as long as was left, by
    /// the new clock.
    pub fn set_entity_clock(&mut self, world: &mut World, entity: Entity, clock: ClockId) {
        if let Ok(mut entity) = world.get_entity_mut(entity) {
            entity.insert(ScriptClock(clock));
        }
        let to = (clock.index(), self.clock_time(clock));
        let mut synchro = self.synchro.borrow_mut();
        for owner in self.instances.borrow().owners(entity) {
            for tasklet in self.vm.owned_by(owner) {
                let from = self.clocks.with(|clocks| clocks.of(self.vm.clock(tasklet)));
                synchro.sleepers.change_clock(tasklet, (from.index(), self.clock_time(from)), to);
                self.vm.set_clock(tasklet, clock.index());
            }
        }
    }

    /// Sets a clock to another time: who sleeps by it sleeps as long as before (`semantics.md` 5.13, for
    /// both kinds of sleepers).
    ///
    /// # Errors
    /// For a time that is no time.
    pub fn reset_clock(&mut self, clock: ClockId, to: f64) -> Result<(), Error> {
        let by = self.clocks.with(|clocks| clocks.jump(clock, to))?;
        self.synchro.borrow_mut().sleepers.shift(clock.index(), by);
        Ok(())
    }

    /// Has the wall clock gain or lose so many seconds, in at most 2 % of each frame's time
    /// (`semantics.md` 5.26). Replaces what is left of an earlier correction.
    ///
    /// # Errors
    /// For a time that is no time.
    pub fn correct_clock(&mut self, by: f64) -> Result<(), Error> {
        self.clocks.with(|clocks| clocks.correct(by))
    }

    /// Dilates time under overload from now on, or not any more (`semantics.md` 5.29).
    pub fn set_time_dilation(&mut self, dilation: Option<TimeDilation>) {
        self.clocks.with(|clocks| clocks.timeline().set_dilation(dilation));
    }

    /// What a client has to be told to follow this host's clock. Later changes are in
    /// [`FrameReport::dilation_event`].
    pub fn clock_message(&self, master: u64) -> ClockMessage {
        self.clocks.with(|clocks| clocks.message(master))
    }

    /// Follows another host's clock (`semantics.md` 5.28): simulated time takes up its pace, without jumps but
    /// for the first message, with which sleepers are shifted.
    ///
    /// # Errors
    /// For a message with numbers that are none; it is ignored.
    ///
    /// ```
    /// use bevy_ecs::prelude::*;
    /// use bluetick::{ClockMessage, ScriptHost, TimeDilation};
    ///
    /// let (mut world, mut other_world) = (World::new(), World::new());
    /// let mut server = ScriptHost::builder().time_dilation(TimeDilation::default()).build(&mut world)?;
    /// let mut client = ScriptHost::builder().build(&mut other_world)?;
    /// client.hear_clock(server.clock_message(1))?;
    /// for _ in 0..100 {
    ///     let report = server.tick(&mut world, 0.1);
    ///     if let Some(event) = report.dilation_event {
    ///         client.hear_clock(ClockMessage::Update { master: 1, event })?;
    ///     }
    ///     client.tick(&mut other_world, 0.1);
    /// }
    /// assert!((server.clock().sim - client.clock().sim).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hear_clock(&mut self, message: ClockMessage) -> Result<(), Error> {
        if !message.is_sound() {
            return Err(Error::wrong_type(format!("a clock can't follow {message:?}")));
        }
        let sim = self.clock_time(ClockId::SIM);
        let by = self.clocks.with(|clocks| clocks.timeline().hear(message));
        if by != 0.0 {
            self.clocks.with(|clocks| clocks.show_sim(sim + by));
            self.synchro.borrow_mut().sleepers.shift(ClockId::SIM.index(), by);
        }
        Ok(())
    }

    /// The last 5000 frames, oldest first (`semantics.md` 5.12).
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &FrameSample> + ExactSizeIterator {
        self.history.iter()
    }

    /// Memory that the tasklets of a script, of all entities together, have asked for and that is still in use, in
    /// bytes. What its top level has made counts as the VM's. Of more than 254 scripts the later ones are
    /// counted together.
    pub fn script_memory(&self, script: &str) -> usize {
        let category = self.instances.borrow().memory_category(script);
        category.map_or(0, |category| self.vm.memory_in(category))
    }

    /// Who takes the time: how long the tasklets of each script have run so far, of all entities together, those first
    /// that took longest. Measured with [`HostBuilder::accounting`](crate::HostBuilder::accounting); without it
    /// nobody took any. What Rust functions take that a script has called is its own. Of more than 254 scripts the later
    /// ones are counted together, under the name of one of them.
    ///
    /// ```
    /// use bevy_ecs::world::World;
    /// use bluetick::{Library, Script, ScriptHost};
    ///
    /// let npc = "return { run = function(self) while true do synchro.yield() end end }";
    /// let mut world = World::new();
    /// let builder = ScriptHost::builder().library(Library::in_memory([("npc", npc)])).accounting(true);
    /// let mut host = builder.build(&mut world)?;
    /// world.spawn(Script::new("npc"));
    /// for _ in 0..10 {
    ///     host.tick(&mut world, 0.02);
    /// }
    /// let npc = &host.script_times()[0];
    /// assert_eq!((npc.script.as_str(), npc.slices), ("npc", 10));
    /// println!("{} took {:?} in all", npc.script, npc.time);
    /// # Ok::<(), bluetick::BuildError>(())
    /// ```
    pub fn script_times(&self) -> Vec<ScriptTime> {
        let instances = self.instances.borrow();
        let mut scripts: Vec<_> = instances.memory_categories().collect();
        scripts.sort_unstable_by_key(|&(script, category)| (category, script));
        scripts.dedup_by_key(|&mut (_, category)| category);
        let times = scripts.into_iter().map(|(script, category)| {
            let (slices, time) = self.vm.time_in(category);
            ScriptTime { script: script.into(), slices, time }
        });
        let mut times: Vec<_> = times.collect();
        times.sort_by(|one, other| other.time.cmp(&one.time).then_with(|| one.script.cmp(&other.script)));
        times
    }

    /// How many tasklets sleep by a clock. Takes time proportional to them.
    pub fn sleepers(&self, clock: ClockId) -> usize {
        self.synchro.borrow().sleepers.count(&self.vm, clock.index())
    }

    /// Jobs on [other threads](crate::HostBuilder::offloaded) that are done, and whose results the next frame hands
    /// over.
    pub fn work_done(&self) -> usize {
        self.workers.done()
    }

    /// Waiting for time to pass, for tasklets whose body is Rust.
    pub fn synchro(&self) -> SynchroHandle {
        SynchroHandle::new(&self.vm, &self.synchro, &self.clocks, &self.time)
    }

    /// Has a function called once a frame, after sleepers were woken and before yielders are. An error that
    /// it returns is in the frame's [failures](FrameReport::failures); it is called again all the same.
    pub fn add_ticker(
        &mut self,
        name: &str,
        call: impl FnMut(&mut TickerContext<'_>) -> Result<(), Box<dyn std::error::Error>> + 'static,
    ) -> TickerId {
        self.tickers.add(name, Box::new(call))
    }

    /// Takes a ticker off; false if there is none.
    pub fn remove_ticker(&mut self, ticker: TickerId) -> bool {
        self.tickers.remove(ticker)
    }

    /// Ends everybody who waits for time: those that wait for the next frame, then sleepers by the wall clock, then
    /// by simulated time, each with TaskletExit and a turn. Tickers are dropped. Whoever sleeps or yields
    /// from then on goes on at once (`semantics.md` 5.14, with the sleepers that CCP's forgets).
    pub fn shut_down(&mut self, world: &mut World) -> Vec<ScriptFailure> {
        self.tickers.clear();
        self.failures.clear();
        let mut report = FrameReport::default();
        let waiting = self.synchro.borrow_mut().shut_down(&self.vm);
        let ended = self.bridge.lend(world, || self.vm.end(&waiting));
        if let Err(error) = ended {
            tracing::error!("a tasklet could not be killed: {error}");
        }
        self.note_ended(world, &mut report);
        self.note_parked(world, &mut report);
        report.failures
    }
}
