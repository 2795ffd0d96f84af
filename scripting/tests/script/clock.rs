//! Time in tests: it passes when the test says so.

use bluetick_scripting::{Reply, Vm, Wait};
use std::cell::RefCell;
use std::rc::Rc;

/// A clock of frames of a quarter of a second.
#[derive(Clone, Default)]
pub struct Clock(Rc<RefCell<Time>>);

#[derive(Default)]
struct Time {
    now: f64,
    sleepers: Vec<(f64, Wait)>,
}

impl Clock {
    /// Makes it the `synchro` of scripts.
    pub fn install(&self, vm: &Vm) {
        let sleep = |name, seconds: Option<f64>| {
            let clock = self.clone();
            vm.function(name, move |call| {
                let seconds = seconds.map_or_else(|| call.number(1, "sleep: seconds"), Ok)?;
                let wait = call.park("sleep")?;
                let mut time = clock.0.borrow_mut();
                let due = time.now + seconds;
                time.sleepers.push((due, wait));
                Ok(Reply::Parked(wait))
            })
            .expect("a function can be made")
        };
        let functions = vec![("sleep", sleep(c"sleep", None)), ("yield", sleep(c"yield", Some(0.0)))];
        vm.library("synchro", functions).expect("globals can be set");
    }

    /// A frame passes: whoever is due is runnable.
    pub fn tick(&self, vm: &Vm) {
        let mut due = {
            let mut time = self.0.borrow_mut();
            time.now += 0.25;
            let now = time.now;
            let (due, rest) = time.sleepers.drain(..).partition::<Vec<_>, _>(|sleeper| sleeper.0 <= now);
            time.sleepers = rest;
            due
        };
        due.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, wait) in due {
            vm.wake(wait.tasklet, wait.parking);
        }
    }
}
