//! Time without frames: `synchro` and `clock` for a VM that nobody ticks, by the machine's clock.
//!
//! A tasklet, the pump, is in the run queue while somebody sleeps, and has its turn like all others. Its turn is the
//! frame: the clocks advance, and who is due is woken. When all others wait, it waits for the first who is due. So
//! `scheduler.run()` ends when nobody sleeps any more, and whoever waits for a sleeper is in no deadlock.

use crate::clock::{ClockId, SharedClocks};
use crate::synchro::{self, Synchro};
use crate::time::RealTime;
use bluetick_scripting::{Error, Vm};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// How long a frame is in which somebody waits for the next one, and nobody has anything else to do, in seconds
/// (`semantics.md` 5.1).
const FRAME: f64 = 0.01;

/// Gives the scripts of a VM without a [host](crate::ScriptHost) the globals `synchro` and `clock`, by real time: what
/// a file has that `bluetick exec` runs. To be called before [`Vm::seal`].
///
/// A frame is a turn of the run queue: all clocks stand still in between. The main tasklet may sleep as well.
///
/// ```
/// use bluetick::Vm;
/// use bluetick_scripting::VmConfig;
///
/// let vm = Vm::new(VmConfig::default())?;
/// bluetick::install_real_time(&vm)?;
/// let main = vm.load("main.luau", "
///     local quick = uthread.new(function() synchro.sleep(0.001) return 'quick' end)
///     assert(uthread.join(quick) == 'quick')
/// ")?;
/// vm.run_main(&main, ()).map_err(|failure| failure.message)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Of kind `memory`.
pub fn install_real_time(vm: &Rc<Vm>) -> Result<(), Error> {
    install(vm, RealTime::default(), std::thread::sleep)
}

/// As [`install_real_time`], by some clock, and with what waits for it to go on.
fn install(vm: &Rc<Vm>, time: RealTime, wait: impl Fn(Duration) + 'static) -> Result<(), Error> {
    let clocks = SharedClocks::new(None);
    let synchro = Rc::new(RefCell::new(Synchro::default()));
    clocks.install(vm, || Ok(()))?;
    let pump = Pump(Rc::new(Inner {
        synchro: synchro.clone(),
        clocks: clocks.clone(),
        vm: Rc::downgrade(vm),
        last: Cell::new(time.now()),
        time: time.clone(),
        wait: Box::new(wait),
        runs: Cell::default(),
    }));
    synchro::install(vm, &synchro, &clocks, &time, Some(pump))
}

/// Makes time pass while somebody waits for it.
#[derive(Clone)]
pub(crate) struct Pump(Rc<Inner>);

struct Inner {
    synchro: Rc<RefCell<Synchro>>,
    clocks: SharedClocks,
    vm: Weak<Vm>,
    time: RealTime,
    /// Up to when the clocks have advanced.
    last: Cell<Duration>,
    wait: Box<dyn Fn(Duration)>,
    /// Its tasklet is there.
    runs: Cell<bool>,
}

impl Pump {
    /// Somebody is about to wait.
    #[inline]
    pub fn start(&self) -> Result<(), Error> {
        if self.0.runs.get() { Ok(()) } else { self.begin() }
    }

    #[cold]
    fn begin(&self) -> Result<(), Error> {
        /// The pump stops, be it that a script has killed it.
        struct Stop(Rc<Inner>);
        impl Drop for Stop {
            fn drop(&mut self) {
                self.0.runs.set(false);
            }
        }
        let Some(vm) = self.0.vm.upgrade() else { return Ok(()) };
        let stop = Stop(self.0.clone());
        let scheduler = vm.scheduler();
        let tasklet = scheduler.clone().spawn(move || -> Result<(), Error> {
            // Whoever has started it waits by now.
            while stop.0.frame() {
                scheduler.schedule()?;
                if scheduler.run_count() == 1 {
                    stop.0.idle();
                }
            }
            Ok(())
        })?;
        tasklet.set_name("the clock");
        self.0.runs.set(true);
        Ok(())
    }
}

impl Inner {
    /// A frame begins: who is due is runnable. False if nobody waits for time any more.
    fn frame(&self) -> bool {
        let Some(vm) = self.vm.upgrade() else { return false };
        let now = self.time.now();
        let passed = now.saturating_sub(self.last.replace(now));
        self.clocks.with(|clocks| clocks.advance(passed.as_secs_f64()));
        let mut synchro = self.synchro.borrow_mut();
        let mut woken = 0;
        for clock in 0..self.clocks.with(|clocks| clocks.len()) {
            let now = self.clocks.with(|clocks| clocks.now_of(clock));
            woken += synchro.sleepers.wake(&vm, clock, now);
        }
        woken += synchro.wake_yielders(&vm);
        woken > 0 || self.next_due(&vm, &mut synchro).is_some()
    }

    /// Nobody else is runnable: waits until somebody is due.
    fn idle(&self) {
        let Some(vm) = self.vm.upgrade() else { return };
        let mut synchro = self.synchro.borrow_mut();
        let passed = self.time.since(self.last.get()).as_secs_f64();
        let yielders = synchro.has_yielders().then_some(FRAME);
        let due = self.next_due(&vm, &mut synchro);
        if let Some(wait) = yielders.into_iter().chain(due).reduce(f64::min) {
            (self.wait)(Duration::from_secs_f64((wait - passed).max(0.0)));
        }
    }

    /// How long after the last frame the first sleeper is due, in seconds. There are no groups here, and no pace but
    /// that of the wall clock, unless a script has scaled or paused simulated time.
    fn next_due(&self, vm: &Vm, synchro: &mut Synchro) -> Option<f64> {
        let mut first = None;
        for clock in [ClockId::WALL, ClockId::SIM] {
            let Some(due) = synchro.sleepers.next_due(vm, clock.index()) else { continue };
            let (now, pace) = self.clocks.with(|clocks| (clocks.now(clock), clocks.pace(clock)));
            if pace > 0.0 {
                let wait = (due - now) / pace;
                first = Some(first.map_or(wait, |first: f64| first.min(wait)));
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bluetick_scripting::{Failure, Reply, VmConfig};

    /// Runs a main tasklet by a clock that only passes while everybody waits; what it has noted.
    fn run(text: &str) -> Result<String, Failure> {
        let vm = Vm::new(VmConfig::default()).expect("a VM");
        let now = Rc::new(Cell::new(Duration::from_secs(100)));
        let (source, wait) = (now.clone(), now);
        install(&vm, RealTime::new(move || source.get()), move |by| wait.set(wait.get() + by))
            .expect("installed");
        let notes = Rc::new(RefCell::new(Vec::new()));
        let list = notes.clone();
        let note = vm.function(c"note", move |call| {
            let words: Result<Vec<String>, Error> =
                (1..=call.len()).map(|index| Ok(call.get::<mlua::Value>(index)?.to_string()?)).collect();
            list.borrow_mut().push(words?.join(":"));
            Ok(Reply::Nothing)
        });
        vm.lua().globals().set("note", note.expect("a function")).expect("a global");
        vm.seal().expect("sealed");
        let main = vm.load("main.luau", text).expect("it compiles");
        vm.run_main(&main, ())?;
        Ok(notes.take().join(" "))
    }

    #[test]
    fn main_and_others_sleep_by_turns_and_time_passes_only_while_all_wait() {
        let noted = run("
            for _, name in { 'a', 'b' } do
                tasklet(function()
                    for i = 1, 3 do synchro.sleep(if name == 'a' then 1 else 1.5) note(name, clock.sim(), clock.wall()) end
                end)()
            end
            synchro.sleep_wall(2)
            note('main', clock.sim())
            scheduler.run()
            note('over', clock.sim(), scheduler.getruncount())
        ");
        // Of those due in one frame the sleepers by the wall clock are first.
        assert_eq!(noted.unwrap(), "a:1:1 b:1.5:1.5 main:2 a:2:2 b:3:3 a:3:3 b:4.5:4.5 over:4.5:1");
    }

    #[test]
    fn whoever_yields_has_a_frame_a_turn() {
        let noted = run("
            local first = clock.frame()
            tasklet(function() for i = 1, 3 do note('t', clock.frame() - first) synchro.yield() end end)()
            for i = 1, 3 do note('m', clock.frame() - first) synchro.yield() end
            scheduler.run()
        ");
        assert_eq!(noted.unwrap(), "m:0 t:0 m:1 t:1 m:2 t:2");
    }

    #[test]
    fn limits_of_time_work_and_the_file_ends_when_main_does() {
        let noted = run("
            local c = channel()
            note(uthread.receive(c, 5), clock.sim())
            tasklet(function() synchro.sleep(1) c:send('late') end)()
            note(c:receive(), clock.sim())
            note(pcall(uthread.timeout, 2, synchro.sleep, 60))
            note(uthread.wait_until(function() return clock.sim() > 20 end, 1), math.round(clock.sim()))
            tasklet(function() synchro.sleep(1) note('never') end)()
        ");
        let noted = noted.unwrap();
        assert!(
            noted.starts_with("false:5 late:6 false:main.luau:6: timeout: 2 seconds have passed"),
            "{noted}"
        );
        assert!(noted.ends_with(" false:9"), "{noted}");
    }

    #[test]
    fn where_nobody_sleeps_a_wait_for_nothing_is_a_deadlock_as_ever() {
        let noted = run("
            local c = channel()
            local ok, err = pcall(c.receive, c)
            note(ok, err.kind)
            tasklet(function() synchro.sleep(1) end)()
            ok, err = pcall(c.receive, c)
            note(ok, err.kind, clock.sim())
            -- The pump is a tasklet, and who kills it stops time.
            local sleeper = tasklet(function() synchro.sleep(1) end)()
            scheduler.schedule()
            local pump = scheduler.getcurrent().next
            pump:kill()
            ok, err = pcall(c.receive, c)
            note(ok, err.kind, sleeper.blocked)
            synchro.sleep(2)
            note(sleeper.alive, clock.sim())
        ");
        assert_eq!(noted.unwrap(), "false:deadlock false:deadlock:1 false:deadlock:true false:3");
    }

    #[test]
    fn a_paused_clock_wakes_nobody_and_keeps_nobody_waiting_for_it() {
        let noted = run("
            clock.scale('sim', 0.5)
            synchro.sleep(1)
            note(clock.sim(), clock.wall())
            clock.pause('sim')
            tasklet(function() synchro.sleep(1) note('never') end)()
            synchro.sleep_wall(3)
            note(clock.sim(), clock.wall())
            scheduler.run()
            note('nobody can wake it')
        ");
        assert_eq!(noted.unwrap(), "1:2 1:5 nobody can wake it");
    }
}
