//! A module under test, and a tasklet that runs its function `run`.
#![allow(dead_code)] // each test file uses its part

use bluetick_scripting::{ReloadReport, Reply, TaskletId, Vm, VmConfig, Wait};
use mlua::{Function, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

#[path = "../script/mod.rs"]
pub mod script;
use script::Files;

/// A VM with files, in which scripts can `wait()` for [`Stage::step`].
pub struct Stage {
    pub vm: Rc<Vm>,
    pub files: Files,
    waiting: Rc<RefCell<Vec<Wait>>>,
    /// Collect all garbage after each step.
    pub collects: bool,
}

impl Stage {
    pub fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self::build(Files::of(files), |_| ())
    }

    /// As [`new`](Self::new), with what `add` puts into the VM before it is sealed.
    pub fn build(files: Files, add: impl FnOnce(&Vm)) -> Self {
        Self::configured(VmConfig::default(), files, add)
    }

    /// As [`build`](Self::build), with a VM of this kind.
    pub fn configured(config: VmConfig, files: Files, add: impl FnOnce(&Vm)) -> Self {
        let waiting: Rc<RefCell<Vec<Wait>>> = Rc::default();
        let list = waiting.clone();
        let vm = script::vm_with(config, |vm| {
            let wait = vm
                .function(c"wait", move |call| {
                    let wait = call.park("wait")?;
                    list.borrow_mut().push(wait);
                    Ok(Reply::Parked(wait))
                })
                .expect("a function can be made");
            vm.lua().globals().raw_set("wait", wait).expect("globals are open");
            add(vm);
        });
        vm.set_loader(files.clone());
        Self { vm, files, waiting, collects: true }
    }

    /// A stage whose module `m` has this text, on which its `run(7)` runs to the first wait; a module `game`
    /// is an empty table for what tests put there.
    pub fn with(text: &str) -> Self {
        let stage = Self::new([("m", text), ("game", "return {}")]);
        stage.start("m");
        stage.step();
        stage
    }

    /// Another tasklet that runs `run(7)` of a module.
    pub fn start(&self, module: &str) -> TaskletId {
        let Ok(Value::Table(table)) = self.vm.require(module) else { panic!("{module} can't be loaded") };
        let run: Function = table.get("run").expect("it has a function run");
        let owner = self.vm.new_owner();
        self.vm.spawn(&run, 7, owner).expect("a tasklet can be made")
    }

    /// All that wait go on until they wait again.
    pub fn step(&self) {
        for wait in self.waiting.take() {
            self.vm.wake(wait.tasklet, wait.parking);
        }
        self.vm.run_ready(|| true);
        for ended in self.vm.take_ended() {
            if let Some(failure) = ended.failure {
                self.note(&format!("ERR {}", failure.message));
            }
        }
        if self.collects {
            self.vm.lua().gc_collect().expect("garbage can be collected");
            self.vm.lua().gc_collect().expect("garbage can be collected");
        }
    }

    /// Somebody waits.
    pub fn waits(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    pub fn steps(&self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    pub fn note(&self, text: &str) {
        let note: Function = self.vm.lua().globals().get("note").expect("a word");
        note.call::<()>(text).expect("it notes");
    }

    pub fn notes(&self) -> String {
        script::notes(&self.vm)
    }

    /// Saves the module `m`; it must not be refused.
    pub fn save(&self, text: &str) -> ReloadReport {
        let report = self.files.save(&self.vm, [("m", text)]);
        assert!(!report.is_refused(), "{report}");
        assert!(report.hook_errors.is_empty(), "{report}");
        if self.collects {
            self.vm.lua().gc_collect().expect("garbage can be collected");
        }
        report
    }

    /// Runs a script as a tasklet of its own; it has to end without an error.
    pub fn run(&self, text: &str) {
        script::run_in(&self.vm, text);
    }
}

/// Codes and numbers of what finishes on old text.
pub fn codes(report: &ReloadReport) -> String {
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for pin in &report.pins {
        *codes.entry(pin.reason.code.as_str()).or_default() += pin.count;
    }
    codes.iter().map(|(code, count)| format!("{count} {code}")).collect::<Vec<_>>().join(" ")
}

/// A function `run` that does this over and over; what is `before` comes first.
pub fn forever(before: &str, body: &str) -> String {
    format!("local M = {{}}\nfunction M.run(self)\n{before}\nwhile true do\n{body}\nend\nend\nreturn M")
}

/// What is noted before and after an edit, `steps` each, and the codes of pinned frames behind that.
#[track_caller]
pub fn edit(old: &str, before: usize, new: &str, after: usize) -> String {
    let stage = Stage::with(old);
    stage.steps(before - 1);
    let mut seen = stage.notes();
    let report = stage.save(new);
    stage.steps(after);
    seen += " | ";
    seen += &stage.notes();
    let codes = codes(&report);
    if !codes.is_empty() {
        seen += &format!(" [{codes}]");
    }
    seen
}
