//! What a reload takes with tasklets suspended inside of the file.
//!
//! ```sh
//! cargo bench -p bluetick-tests --bench reload
//! cargo bench -p bluetick-tests --bench reload -- shift      # rows with this word
//! ```
//!
//! Each row saves two texts by turns, so that every frame moves at every reload. The goals are for what is beyond
//! compiling and evaluating: the time with the tasklets, less the time of the same save without any.

use bluetick_scripting::{Loader, ModuleText, OwnerId, Reply, Vm, VmConfig};
use mlua::{Function, Table, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// Reloads of a row, beside a few that warm up.
const ROUNDS: usize = 41;

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

struct Row {
    what: &'static str,
    tasklets: usize,
    /// The most that it may take beyond compiling, in milliseconds.
    goal: f64,
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

fn rows() -> Vec<Row> {
    let plain = [patrol("", "wait() M.alarms += 1"), patrol("", "wait() M.alarms += 2")];
    let shift = [patrol("", "wait()"), patrol("local fear, mood = 3, 'calm'", "wait() lap += fear")];
    let nested = |k: u32| patrol(&format!("local function rest(n) wait(n) lap_{k} = n end"), "rest(lap)");
    let closures = |k: u32| {
        patrol("", &format!("local function inner() lap += {k} return lap end inner() wait() inner()"))
    };
    let row = |what, tasklets, goal, texts: &[String; 2]| Row { what, tasklets, goal, texts: texts.clone() };
    vec![
        row("registers stay", 100, 0.5, &plain),
        row("registers stay", 10_000, 16.0, &plain),
        row("registers shift", 100, 0.5, &shift),
        row("registers shift", 10_000, 16.0, &shift),
        row("two frames each, a closure each", 10_000, f64::INFINITY, &[nested(1), nested(2)]),
        row("a shared local each", 10_000, f64::INFINITY, &[closures(1), closures(2)]),
    ]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    println!("{ROUNDS} reloads, medians, ms");
    println!("{:<36} {:>9} {:>9} {:>9} {:>9} {:>7}", "what", "tasklets", "reload", "empty", "beyond", "goal");
    for row in rows().into_iter().filter(|row| words.iter().all(|word| row.what.contains(&**word))) {
        let (with, without) = (measure(&row.texts, row.tasklets), measure(&row.texts, 0));
        let beyond = with - without;
        let mark = if beyond <= row.goal { "" } else { "  over its goal" };
        let Row { what, tasklets, goal, .. } = row;
        println!("{what:<36} {tasklets:>9} {with:>9.3} {without:>9.3} {beyond:>9.3} {goal:>7.1}{mark}");
    }
}

/// How long a reload takes with so many tasklets suspended inside.
fn measure(texts: &[String; 2], tasklets: usize) -> f64 {
    let vm = Vm::new(VmConfig::default()).expect("a VM");
    let waiting = Rc::new(RefCell::new(Vec::new()));
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
    let file = File(Rc::new(RefCell::new(texts[0].clone())));
    vm.set_loader(file.clone());
    let Ok(Value::Table(module)) = vm.require("patrol") else { panic!("a module") };
    let run: Function = Table::get(&module, "run").expect("a function");
    for number in 0..tasklets {
        vm.spawn(&run, number as f64, OwnerId::default()).expect("memory");
    }
    vm.run_ready(|| true);
    let mut times = Vec::new();
    for round in 0..ROUNDS + 4 {
        *file.0.borrow_mut() = texts[(round + 1) % 2].clone();
        let change = vec![("patrol".to_owned(), file.read("patrol").expect("a text"))];
        let start = Instant::now();
        let report = vm.reload(change);
        let took = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!((report.moved, report.stale), (tasklets, 0), "{report}");
        if round >= 4 {
            times.push(took);
        }
        for wait in waiting.take() {
            vm.wake(wait.tasklet, wait.parking);
        }
        vm.run_ready(|| true);
        vm.lua().gc_collect().expect("a cycle");
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
