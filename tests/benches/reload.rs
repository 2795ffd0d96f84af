//! What a reload takes with tasklets suspended inside of the file.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench reload
//! ```
//!
//! Two texts are saved by turns, so that every frame moves at every reload. What is shown is beyond compiling and
//! evaluating: the time with the tasklets, less the time of the same save without any.

mod harness;

use bluetick_scripting::{Loader, ModuleText, OwnerId, Reply, Vm, Wait};
use harness::{Measured, Options, Report, nanoseconds, quantile, vm};
use mlua::{Function, Table, Value};
use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;

/// One file, as it is now.
#[derive(Clone)]
struct File(Rc<RefCell<String>>);

impl Loader for File {
    fn resolve(&self, _: &str, specifier: &str) -> Result<String, String> {
        Ok(specifier.into())
    }

    fn read(&self, module: &str) -> Result<ModuleText, String> {
        Ok(ModuleText { file: format!("{module}.luau"), text: self.0.borrow().as_str().into() })
    }
}

struct Case {
    what: &'static str,
    tasklets: usize,
    /// The most that it may take beyond compiling, in nanoseconds.
    most: Option<f64>,
    texts: [String; 2],
}

fn patrol(before: &str, body: &str) -> String {
    format!(
        "local M = {{ alarms = 0 }}
         local SPEED, SIGHT = 5, 20
         local function distance(a, b) return math.abs(a - b) end
         local function step(from, to) return from + math.sign(to - from) * SPEED end
         function M.see(at, target) return distance(at, target) < SIGHT end
         function M.run(self)
             {before}
             local at, target, lap = self, 100, 0
             while true do
                 at = step(at, target)
                 if M.see(at, target) then lap += 1 target = -target end
                 {body}
             end
         end
         return M"
    )
}

fn cases() -> Vec<Case> {
    let plain = [patrol("", "wait() M.alarms += 1"), patrol("", "wait() M.alarms += 2")];
    let shift = [patrol("", "wait()"), patrol("local fear, mood = 3, 'calm'", "wait() lap += fear")];
    let nested = |k: u32| {
        patrol("local kept = 0 local function rest(n) wait(n) kept = n end", &format!("rest(lap + {k})"))
    };
    let shared = |k: u32| {
        patrol("", &format!("local function inner() lap += {k} return lap end inner() wait() inner()"))
    };
    let case = |what, tasklets, most: Option<f64>, texts: &[String; 2]| Case {
        what,
        tasklets,
        most,
        texts: texts.clone(),
    };
    vec![
        case("registers stay", 100, Some(0.5e6), &plain),
        case("registers stay", 10_000, Some(16e6), &plain),
        case("registers shift", 100, None, &shift),
        case("registers shift", 10_000, None, &shift),
        case("two frames and a closure each", 10_000, None, &[nested(1), nested(2)]),
        case("a closure that shares a local each", 10_000, None, &[shared(1), shared(2)]),
    ]
}

fn main() -> ExitCode {
    let options = Options::from_command_line();
    let mut report = Report::new("reload", &options);
    for case in cases() {
        let what = format!("reload under {} tasklets, {}", case.tasklets, case.what);
        if options.asks_for(&what) {
            report.add(measure(what, &case, &options));
        }
    }
    report.finish()
}

fn measure(what: String, case: &Case, options: &Options) -> Measured {
    let rounds = if options.quick { 9 } else { 41 };
    let (crowd, nobody) = (Stage::new(case, case.tasklets), Stage::new(case, 0));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 1..=rounds + 4 {
        let text = &case.texts[round % 2];
        let times = (crowd.save(text), nobody.save(text));
        // The first rounds warm up.
        if round > 4 {
            with.push(times.0);
            without.push(times.1);
        }
    }
    let (with, without) = (quantile(&mut with, 0.5), quantile(&mut without, 0.5));
    println!("\n    the whole of it {:.3} ms, without tasklets {:.3} ms", with / 1e6, without / 1e6);
    Measured { what, unit: "ns", ours: with - without, most: case.most, against: Vec::new(), rounds }
}

/// A VM with one file, and so many tasklets that wait in it.
struct Stage {
    vm: Rc<Vm>,
    file: File,
    tasklets: usize,
    waiting: Rc<RefCell<Vec<Wait>>>,
}

impl Stage {
    fn new(case: &Case, tasklets: usize) -> Self {
        let vm = vm();
        let waiting: Rc<RefCell<Vec<Wait>>> = Rc::default();
        let list = waiting.clone();
        let wait = vm
            .function(c"wait", move |call| {
                let wait = call.park("wait")?;
                list.borrow_mut().push(wait);
                Ok(Reply::Parked(wait))
            })
            .expect("memory");
        vm.lua().globals().raw_set("wait", wait).expect("globals are open");
        vm.seal().expect("memory");
        let file = File(Rc::new(RefCell::new(case.texts[0].clone())));
        vm.set_loader(file.clone());
        let Ok(Value::Table(module)) = vm.require("patrol") else { panic!("a module") };
        let run: Function = Table::get(&module, "run").expect("a function");
        for number in 0..tasklets {
            vm.spawn(&run, number as f64, OwnerId::default()).expect("memory");
        }
        vm.run_ready(|| true);
        Self { vm, file, tasklets, waiting }
    }

    /// Nanoseconds of a reload with this text, after which all run to their next wait in it.
    fn save(&self, text: &str) -> f64 {
        text.clone_into(&mut self.file.0.borrow_mut());
        let change = vec![("patrol".to_owned(), self.file.read("patrol").expect("a text"))];
        let start = nanoseconds();
        let report = self.vm.reload(change);
        let took = nanoseconds() - start;
        assert_eq!((report.moved, report.stale), (self.tasklets, 0), "{report}");
        for wait in self.waiting.take() {
            self.vm.wake(wait.tasklet, wait.parking);
        }
        self.vm.run_ready(|| true);
        self.vm.lua().gc_collect().expect("a cycle");
        took
    }
}
