//! One frame: what [`ScriptHost::tick`] does, in which order, and what it tells of it.

use crate::collector::Scripts;
use crate::dilation::DilationEvent;
use crate::failure::{ParkedAt, ScriptFailure};
use crate::host::ScriptHost;
use crate::instances::StartFailure;
use crate::overrun::ScriptOverrun;
use crate::script::{ScriptEvent, ScriptEvents, ScriptStatus};
use crate::signals::SlowListener;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bluetick_scripting::{Budget, Ended, Failure, LongestSlice, Overrun, ReloadReport, SlowSlice};
use std::collections::HashSet;
use std::time::Duration;

/// How often in a row the tasklets of despawned entities are given a turn, when ending one despawns another
/// entity, and so on.
const ENDING_ROUNDS: usize = 8;

/// What happened in a frame.
#[derive(Clone, Debug, Default)]
pub struct FrameReport {
    /// The number of the frame; the first one is 1.
    pub frame: u64,
    /// Seconds of simulated time since the start.
    pub sim_time: f64,
    /// What the wall clock shows: the sum of the frame times.
    pub clock_time: f64,
    /// How fast simulated time passes by time dilation; 1 is as fast as the wall clock.
    pub dilation: f64,
    /// The pace will change, for [clients](crate::ClockMessage::Update) to be told.
    pub dilation_event: Option<DilationEvent>,
    /// How long the tick took.
    pub wall_time: Duration,
    /// How long the scripts among it took.
    pub script_time: Duration,
    /// How long scripts have run after the budget was used up: until the end of a slice.
    pub overshoot: Duration,
    /// How long the garbage collector took, in time of its own.
    pub gc_time: Duration,
    /// Memory in use by scripts when the frame was over, what will be found to be garbage included, in bytes.
    pub memory: usize,
    /// How long they may take.
    pub budget: Budget,
    /// The longest slice, if time is [measured](crate::HostBuilder::accounting).
    pub longest_slice: Option<LongestSlice>,
    /// Slices that were [warned of](crate::HostBuilder::slice_warning), the first 100 of them, if time is measured.
    pub slow_slices: Vec<SlowSlice>,
    /// Slices that were used up, the first 100 of them: their tasklets were interrupted.
    pub overruns: Vec<ScriptOverrun>,
    /// Tasklets in the run queue before and after the scripts ran; those after are left for the next frame.
    pub runnable_before: usize,
    /// See [`runnable_before`](Self::runnable_before).
    pub left_over: usize,
    /// Those among the ones left over that have used up their slice.
    pub put_off: usize,
    /// Background tasklets that are runnable, and wait for a frame that has time left.
    pub background: usize,
    /// How often a tasklet was given control.
    pub slices: u64,
    /// Values handed over on channels.
    pub messages: u64,
    /// Who waited for work on other threads that is done, sleepers that were due, and yielders of the last frame.
    pub woken: usize,
    /// Tasklets asleep, by whichever clock.
    pub sleeping: usize,
    /// Those of them that sleep by the wall clock.
    pub sleeping_by_wall: usize,
    /// Those of them that sleep by the clock of a group; [`ScriptHost::sleepers`] has the number for each.
    pub sleeping_in_groups: usize,
    /// Tasklets that wait for work on [other threads](crate::HostBuilder::offloaded).
    pub offloaded: usize,
    /// Tasklets that wait for the next frame.
    pub yielding: usize,
    /// Tasklets that wait for a message or a change, without a time-out.
    pub listening: usize,
    /// Listeners that have lost values, because they did not receive those that waited.
    pub slow_listeners: Vec<SlowListener>,
    /// Errors that have stopped tasklets, or have kept scripts from starting: each once, with the number of
    /// tasklets that it has met.
    pub failures: Vec<ScriptFailure>,
    /// Scripts that had failed, or had not even started, and have started again: each once, however many entities
    /// have it.
    pub recovered: Vec<String>,
    /// Tasklets that have failed, in this frame or before, and wait at their place for their code to be mended;
    /// [`ScriptHost::stuck`] has them.
    pub parked: usize,
    /// What was reloaded or refused, if a script file has changed.
    pub reload: Option<ReloadReport>,
    /// How long reloading took.
    pub reload_time: Duration,
    /// Things to tell that are no errors, such as a script file that was deleted.
    pub notes: Vec<String>,
    /// Scripts whose files are not there any more under this name: deleted, or renamed. Who runs them goes on.
    pub gone: Vec<String>,
}

/// Nobody has a reason to have so many turns in one frame.
const SPINNING_TURNS: u64 = 1000;

impl ScriptHost {
    /// Runs one frame: `dt` seconds of simulated time pass, changed scripts are reloaded, scripts of new
    /// entities start, who is due is woken, and everything runnable runs, within the budget. Scripts of
    /// entities that are gone end in the same frame.
    ///
    /// Order (`semantics.md` 5.1-5.7): clock; reloads; endings and starts; messages, components that came and
    /// went, changes; who waited for work on other threads; sleepers by time, those of the wall clock first; tickers;
    /// yielders; the run, in which leftovers of the last frame come first, and background tasklets if there is time
    /// left; endings again; time dilation; and the garbage collector. (Reloads come first, and not in the time left, so that
    /// what was saved is there in the very next frame.)
    ///
    /// The world is the game's: outside of a Bevy app, which does so itself, the game calls
    /// [`World::clear_trackers`] once a frame, or the world's notes of removed components grow without end.
    pub fn tick(&mut self, world: &mut World, dt: f64) -> FrameReport {
        let began = self.time.now();
        let clock = self.clocks.with(|clocks| clocks.advance(dt));
        let mut report = FrameReport {
            frame: clock.frame,
            sim_time: clock.sim,
            clock_time: clock.wall,
            dilation: clock.dilation,
            budget: self.budget.limit,
            ..FrameReport::default()
        };
        if let Some(watchdog) = &self.watchdog {
            watchdog.begin(clock.frame);
        }
        self.failures.clear();
        self.begin_reloads(world, &mut report);
        let failed = self.instances.borrow_mut().begin_frame(world, &self.vm, clock.sim);
        self.note_unstarted(failed, &mut report);
        self.follow_entities(world, true, &mut report);
        report.recovered = self.instances.borrow_mut().take_recovered();
        self.tell_signals(world);

        self.wake(world, &mut report);
        report.runnable_before = self.vm.runnable();

        let running = self.time.now();
        self.run_scripts(world, began);
        if let Budget::Time(limit) = report.budget {
            report.overshoot = self.time.since(running).saturating_sub(limit);
        }
        self.note_ended(world, &mut report);
        self.follow_entities(world, false, &mut report);
        self.note_parked(world, &mut report);
        report.overruns = self.vm.take_overruns().into_iter().map(|overrun| self.overrun(overrun)).collect();
        self.instances.borrow_mut().bury(&self.vm);
        report.script_time = self.time.since(running);

        self.note_listeners(&mut report);
        self.count_waiting(&mut report);
        (report.left_over, report.put_off) = (self.vm.runnable(), self.vm.put_off());
        report.background = self.vm.background();
        let (slices, messages) = self.vm.work_done();
        report.slices = slices - self.counted.0;
        report.messages = messages - self.counted.1;
        self.counted = (slices, messages);
        for failure in &report.failures {
            tracing::error!("{failure}");
        }
        // Who never gives control away is no overload: the frame got through all the same.
        let overloaded = report.left_over > report.put_off;
        self.note_spinning(&mut report, overloaded);
        report.dilation_event = self.clocks.with(|clocks| clocks.timeline().judge(overloaded));
        let mut heap = Scripts { vm: &self.vm, bridge: &self.bridge };
        report.gc_time = self.pacer.collect(&mut heap, &self.time, began);
        report.memory = self.vm.memory();
        report.longest_slice = self.vm.take_longest_slice();
        report.slow_slices = self.vm.take_slow_slices();
        report.wall_time = self.time.since(began);
        self.history.add(&report);
        if let Some(watchdog) = &self.watchdog {
            watchdog.end();
        }
        report
    }

    /// Everything runnable runs, within the budget; and background tasklets if that leaves time.
    fn run_scripts(&mut self, world: &mut World, began: Duration) {
        let (bridge, vm, limit) = (self.bridge.clone(), self.vm.clone(), self.budget.limit);
        let mut in_time = self.budget.go_on(&vm, &self.time);
        bridge.lend(world, || {
            vm.run_ready(&mut in_time);
            if vm.background() > 0 && vm.runnable() == vm.put_off() {
                vm.run_background(|| in_time() && self.pacer.has_time(limit, &self.time, began));
            }
        });
    }

    /// Makes runnable whose time has come: who waited for work that is done; sleepers by the wall clock, by
    /// simulated time and by its groups; what tickers make; and who has yielded in the last frame.
    fn wake(&mut self, world: &mut World, report: &mut FrameReport) {
        report.woken += self.workers.wake(&self.vm);
        let (clocks, clock) = self.clocks.with(|clocks| (clocks.len(), clocks.world()));
        for index in 0..clocks {
            let now = self.clocks.with(|clocks| clocks.now_of(index));
            report.woken += self.synchro.borrow_mut().sleepers.wake(&self.vm, index, now);
        }
        for (name, message) in self.tickers.call(world, &self.vm, clock) {
            let tasklet = format!("the ticker '{name}'");
            report.failures.push(ScriptFailure::unstarted(None, String::new(), tasklet, message));
        }
        report.woken += self.synchro.borrow_mut().wake_yielders(&self.vm);
    }

    /// Ends the scripts of entities that have lost theirs, in turns before everybody else's; and with
    /// `start` starts those of entities that had got some by now.
    fn follow_entities(&mut self, world: &mut World, start: bool, report: &mut FrameReport) {
        let (mut arrived, mut later) = (Vec::new(), Vec::new());
        if !world.contains_resource::<ScriptEvents>() {
            if !std::mem::replace(&mut self.cleared, true) {
                // `World::clear_entities` runs no hooks, and takes all resources along. The world can't have them back,
                // so from now on somebody has to look. Ids begin anew, so nothing that was there is there now.
                self.instances.borrow_mut().leave_all(&self.vm);
                if let Some(signals) = self.signals.borrow_mut().as_mut() {
                    signals.forget_observers();
                }
            }
            let new = self.instances.borrow_mut().compare(world, &self.vm);
            if start {
                arrived.extend(new);
            }
        }
        for round in 0..ENDING_ROUNDS {
            let events = world.get_resource_mut::<ScriptEvents>();
            for event in events.map(|mut events| std::mem::take(&mut events.0)).unwrap_or_default() {
                match event {
                    ScriptEvent::Left(entity) => self.instances.borrow_mut().leave(&self.vm, entity),
                    ScriptEvent::Switched(entity) => {
                        self.instances.borrow_mut().switch(world, &self.vm, entity);
                    }
                    ScriptEvent::Orphaned(owner) => self.instances.borrow_mut().orphan(owner),
                    ScriptEvent::Arrived(entity) if start && round == 0 => arrived.push(entity),
                    arrived => later.push(arrived),
                }
            }
            let dying = self.instances.borrow_mut().condemned(&self.vm);
            if dying.is_empty() {
                break;
            }
            let ended = self.bridge.lend(world, || self.vm.end(&dying));
            if let Err(error) = ended {
                tracing::error!("a tasklet could not be killed: {error}");
            }
            self.note_ended(world, report);
        }
        if let Some(mut events) = world.get_resource_mut::<ScriptEvents>() {
            events.0.splice(0..0, later);
        }
        for entity in latest(arrived) {
            let failed = self.instances.borrow_mut().arrive(world, &self.vm, entity);
            self.note_unstarted(failed, report);
        }
    }

    /// Tells those who listen what Rust has caused since the last frame.
    fn tell_signals(&mut self, world: &mut World) {
        let over = self.instances.borrow_mut().take_over();
        let mut signals = self.signals.borrow_mut();
        let Some(signals) = signals.as_mut() else { return };
        for owner in over {
            signals.forget(owner);
        }
        signals.begin_frame(&self.vm, self.bridge.registry(), world);
    }

    /// Who waits for time, and for work on other threads.
    fn count_waiting(&self, report: &mut FrameReport) {
        report.offloaded = self.workers.waiting(&self.vm);
        let mut synchro = self.synchro.borrow_mut();
        let others = report.listening + report.offloaded;
        (report.sleeping, report.yielding) = synchro.counts(&self.vm, others);
        (report.sleeping_by_wall, report.sleeping_in_groups) =
            synchro.sleepers.split(&self.vm, report.sleeping);
    }

    /// Who waits for what happens in the world, and who was too slow for it.
    fn note_listeners(&mut self, report: &mut FrameReport) {
        let mut signals = self.signals.borrow_mut();
        let Some(signals) = signals.as_mut() else { return };
        report.listening = signals.waiting(&self.vm);
        for (owner, mut slow) in signals.take_slow(&self.vm, self.bridge.registry()) {
            if let Some((entity, script)) = self.instances.borrow().whose(owner) {
                (slow.entity, slow.script) = (Some(entity), script);
            }
            tracing::warn!(
                "a listener to {} of script '{}' has lost {} values: it receives them too slowly",
                slow.topic,
                slow.script,
                slow.lost
            );
            report.slow_listeners.push(slow);
        }
    }

    /// Scripts that did not start: reported once a script, however many entities have it.
    pub(crate) fn note_unstarted(&mut self, failed: Vec<StartFailure>, report: &mut FrameReport) {
        for StartFailure { entity, script, message } in failed {
            let list = &mut report.failures;
            if !self.failures.is_known(list, &script, &message, Some(entity), false) {
                let tasklet = format!("{script} of entity {entity}, which did not start");
                list.push(ScriptFailure::unstarted(Some(entity), script, tasklet, message));
            }
        }
    }

    /// Tasklets that have ended in this frame.
    pub(crate) fn note_ended(&mut self, world: &mut World, report: &mut FrameReport) {
        for Ended { tasklet, owner, failure } in self.vm.take_ended() {
            let status = match &failure {
                None => ScriptStatus::Finished,
                Some(failure) => ScriptStatus::Failed {
                    message: failure.message.clone(),
                    traceback: failure.traceback.clone(),
                },
            };
            self.instances.borrow_mut().ended(world, tasklet, owner, status);
            if let Some(failure) = failure {
                self.note_failure(failure, None, report);
            }
        }
    }

    /// A tasklet has failed: the same failure of several is one, with a count.
    pub(crate) fn note_failure(
        &mut self,
        failure: Failure,
        parked: Option<ParkedAt>,
        report: &mut FrameReport,
    ) {
        let Failure { name, owner, message, traceback, .. } = failure;
        let whose = self.instances.borrow().whose(owner);
        let (entity, script) = whose.map_or((None, String::new()), |(e, s)| (Some(e), s));
        if self.failures.is_known(&mut report.failures, &script, &message, entity, parked.is_some()) {
            return;
        }
        let excerpt = self.excerpt_for(&message, &traceback);
        let tasklet = name;
        report.failures.push(ScriptFailure {
            entity,
            script,
            tasklet,
            message,
            traceback,
            excerpt,
            count: 1,
            started: true,
            parked,
        });
    }

    fn overrun(&self, overrun: Overrun) -> ScriptOverrun {
        let whose = self.instances.borrow().whose(overrun.owner);
        let (entity, script) = whose.map_or((None, String::new()), |(e, s)| (Some(e), s));
        let Overrun { name: tasklet, place, traceback, in_a_row, stopped, .. } = overrun;
        ScriptOverrun { entity, script, tasklet, place, traceback, in_a_row, stopped }
    }

    /// A frame that had to end by its budget, although all who were left had had many turns in it, was spent by somebody
    /// who gives control away and takes it back at once. That is told in the first such frame, the second, the fourth
    /// and so on.
    fn note_spinning(&mut self, report: &mut FrameReport, overloaded: bool) {
        if !overloaded || report.slices < SPINNING_TURNS * report.left_over as u64 {
            self.spinning = 0;
            return;
        }
        self.spinning += 1;
        if let Some(tasklet) = self.vm.next_runnable().filter(|_| self.spinning.is_power_of_two()) {
            let (name, traceback) = (self.vm.name_of(tasklet), self.vm.traceback(tasklet));
            let place = traceback.lines().find(|line| *line != "in Rust").unwrap_or("Rust code").to_owned();
            report.notes.push(format!(
                "scripts had {} turns in this frame, and its time was up: {name}, in {place}, lets others run and has \
                 its turn again at once; to wait for the next frame there is synchro.yield()",
                report.slices
            ));
        }
    }

    /// The lines of source that a message speaks of, or else the innermost call.
    fn excerpt_for(&self, message: &str, traceback: &str) -> String {
        let innermost = traceback.split(" in ").next().unwrap_or_default();
        let Some((file, line)) = place(message).or_else(|| place(innermost)) else { return String::new() };
        self.excerpt(file, line)
    }
}

/// The file and the line, if the text begins with `file:line`; the file of an older text is `guard.luau#3`.
fn place(text: &str) -> Option<(&str, u32)> {
    let mut parts = text.splitn(3, ':');
    let file = parts.next()?;
    file.split('#').next()?.ends_with(".luau").then_some((file, parts.next()?.parse().ok()?))
}

/// Each entity once, where it came last.
fn latest(mut entities: Vec<Entity>) -> Vec<Entity> {
    let mut seen = HashSet::new();
    entities.reverse();
    entities.retain(|&entity| seen.insert(entity));
    entities.reverse();
    entities
}
