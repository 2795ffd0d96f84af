//! Bodies and operations in Luau: what the script of this folder gets from Rust, and how Rust calls it.

use crate::item::load;
use crate::rust;
use crate::scenario::Op;
use crate::stage::{Language, Stage};
use bluetick_scripting::{Channel, Error, Scheduler, Tasklet, Vm};
use mlua::{Function, Table, Value};
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// The script's functions.
pub struct Actors {
    /// What is played.
    stage: Rc<RefCell<Weak<Stage>>>,
    /// `(who, operation)`
    play_op: Function,
    /// `(how, name)`
    give_body: Function,
    /// `(operations)`
    run_main: Function,
}

impl Actors {
    /// Loads the script.
    pub fn new(vm: &Rc<Vm>) -> Rc<Self> {
        let stage: Rc<RefCell<Weak<Stage>>> = Rc::default();
        let functions = functions(vm, &stage).expect("the functions for the script can be made");
        let script: Table = load(vm, "actors.luau", include_str!("actors.luau"))
            .call(functions)
            .expect("the script returns its functions");
        let function = |name| script.get::<Function>(name).expect("the script has this function");
        Rc::new(Self {
            play_op: function("play_op"),
            give_body: function("give_body"),
            run_main: function("run_main"),
            stage,
        })
    }

    /// From now on this is what is played.
    pub fn enter(&self, stage: &Rc<Stage>) {
        *self.stage.borrow_mut() = Rc::downgrade(stage);
    }

    /// Has the script play an operation, in the running tasklet.
    pub fn call_op(&self, stage: &Stage, who: &str, op: &Value) -> Result<(), Error> {
        stage.scheduler.call(&self.play_op, (who, op))
    }

    /// Has the script give a tasklet a body.
    pub fn give_body(&self, stage: &Stage, how: &str, name: &str) -> Result<(), Error> {
        stage.scheduler.call(&self.give_body, (how, name))
    }

    /// The scenario's main tasklet is the script's function.
    pub fn run_main(&self, vm: &Vm, stage: &Stage) {
        let ops: Table = stage.scenario.table.get("main").expect("a list of operations");
        if let Err(failure) = vm.run_main(&self.run_main, ops) {
            stage.log(format!("(main_failed:_{})", failure.message.replace(' ', "_")));
        }
    }
}

/// What the script gets.
fn functions(vm: &Vm, stage: &Rc<RefCell<Weak<Stage>>>) -> Result<Table, Error> {
    let lua = vm.lua();
    let table = lua.create_table()?;
    let with = || {
        let stage = stage.clone();
        move || stage.borrow().upgrade().expect("the stage is there as long as its actors play")
    };
    let stage = with();
    table.set(
        "log",
        lua.create_function(move |_, text: String| {
            stage().log(text);
            Ok(())
        })?,
    )?;
    let stage = with();
    table.set("step", lua.create_function(move |_, ()| Ok(stage().step()))?)?;
    let stage = with();
    table.set("is_over", lua.create_function(move |_, ()| Ok(stage().is_over()))?)?;
    let stage = with();
    table.set("crosses", lua.create_function(move |_, ()| Ok(stage().crosses()))?)?;
    let stage = with();
    table.set(
        "next_body_is_rust",
        lua.create_function(move |_, ()| Ok(stage().next_body() == Language::Rust))?,
    )?;
    let stage = with();
    table.set(
        "operations",
        lua.create_function(move |_, name: String| {
            let tasklets: Table = stage().scenario.table.get("tasklets")?;
            tasklets.get::<Table>(name)
        })?,
    )?;
    let stage = with();
    table.set(
        "register",
        lua.create_function(move |_, (name, tasklet): (String, Tasklet)| {
            stage().register(&name, tasklet);
            Ok(())
        })?,
    )?;
    let stage = with();
    table.set("find_tasklet", lua.create_function(move |_, name: String| Ok(stage().tasklet(&name)))?)?;
    let stage = with();
    table.set(
        "name_of",
        lua.create_function(move |_, tasklet: Option<Tasklet>| Ok(stage().name_of(tasklet.as_ref())))?,
    )?;
    let stage = with();
    table.set(
        "find_channel",
        lua.create_function(move |_, name: String| Ok(stage().channel(&name).clone()))?,
    )?;
    let stage = with();
    table.set(
        "name_of_channel",
        lua.create_function(move |_, channel: Channel<Value>| Ok(stage().name_of_channel(channel.id())))?,
    )?;
    let stage = with();
    let play_op = vm.blocking_function(c"play_op", move |_: &Scheduler, (who, op): (String, Value)| {
        rust::play_op(&stage(), &who, &Op::read(op))
    })?;
    table.set("rust_play_op", play_op)?;
    let stage = with();
    let give_body = vm
        .blocking_function(c"give_body", move |_: &Scheduler, (how, name): (String, String)| {
            rust::give_body(&stage(), &how, &name)
        })?;
    table.set("rust_give_body", give_body)?;
    Ok(table)
}
