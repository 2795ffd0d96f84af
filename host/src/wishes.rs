//! The global `reload` of scripts: what they wish for takes effect when the next frame begins.
//!
//! ```lua
//! reload.now()                looks for changed files at once
//! reload.rollback("ai/guard") brings back the text that the file had before, as a new version
//! reload.again("run", ...)    ends this tasklet and begins the function `run` of its file, in the newest text
//! ```

use crate::ecs::{Access, Bridge};
use crate::instances::Instances;
use bevy_ecs::entity::Entity;
use bluetick_scripting::{Call, Error, ErrorKind, Kept, OwnerId, Reply, TaskletId, Vm};
use mlua::Value;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// What scripts have wished for since the last frame began.
#[derive(Default)]
pub(crate) struct Wishes {
    /// To look for changed files.
    pub now: bool,
    /// Scripts whose last text is to come back.
    pub rollbacks: Vec<String>,
    pub again: Vec<Again>,
}

/// A tasklet that ends to begin anew somewhere else.
pub(crate) struct Again {
    pub tasklet: TaskletId,
    pub owner: OwnerId,
    pub clock: u16,
    /// The script whose main tasklet it was.
    pub place: Option<(Entity, usize)>,
    pub module: String,
    pub function: String,
    /// A list, with the field `n`.
    pub arguments: Kept,
}

#[derive(Clone)]
struct Context {
    vm: Weak<Vm>,
    bridge: Weak<Bridge>,
    instances: Rc<RefCell<Instances>>,
    wishes: Rc<RefCell<Wishes>>,
}

/// Makes the global `reload`.
pub(crate) fn install(
    vm: &Rc<Vm>,
    bridge: &Rc<Bridge>,
    instances: &Rc<RefCell<Instances>>,
) -> Result<Rc<RefCell<Wishes>>, Error> {
    let wishes = Rc::new(RefCell::new(Wishes::default()));
    let context = Context {
        vm: Rc::downgrade(vm),
        bridge: Rc::downgrade(bridge),
        instances: instances.clone(),
        wishes: wishes.clone(),
    };
    let make = |name, f: fn(&Context, &mut Call<'_>) -> Result<Reply, Error>| {
        let context = context.clone();
        vm.function(name, move |call| f(&context, call))
    };
    vm.library(
        "reload",
        vec![
            ("now", make(c"now", now)?),
            ("rollback", make(c"rollback", rollback)?),
            ("again", make(c"again", again)?),
        ],
    )?;
    vm.hear_restarts();
    Ok(wishes)
}

impl Context {
    fn vm(&self) -> Result<Rc<Vm>, Error> {
        self.vm.upgrade().ok_or_else(|| Error::wrong_type("the host is gone"))
    }

    /// An error if the running script may not change what others run.
    fn check(&self) -> Result<(), Error> {
        match self.bridge.upgrade() {
            Some(bridge) => bridge.may(Access::Call("reload")),
            None => Err(Error::wrong_type("the host is gone")),
        }
    }
}

fn now(context: &Context, _: &mut Call<'_>) -> Result<Reply, Error> {
    context.check()?;
    context.wishes.borrow_mut().now = true;
    Ok(Reply::Nothing)
}

fn rollback(context: &Context, call: &mut Call<'_>) -> Result<Reply, Error> {
    let path = call.text(1, "reload.rollback: the path of a script")?;
    context.check()?;
    let name = path.strip_suffix(".luau").unwrap_or(&path);
    if context.vm()?.previous_text(name).is_none() {
        return Err(Error::wrong_type(format!("reload.rollback: {}", no_earlier_text(name))));
    }
    context.wishes.borrow_mut().rollbacks.push(name.to_owned());
    Ok(Reply::Nothing)
}

/// Why a script can't be rolled back.
pub(crate) fn no_earlier_text(name: &str) -> String {
    format!("'{name}' has had no other text since the game began, or is not loaded")
}

fn again(context: &Context, call: &mut Call<'_>) -> Result<Reply, Error> {
    let vm = context.vm()?;
    let function = call.text(1, "reload.again: the name of a function")?;
    if !call.can_park() {
        let text = "reload.again is only possible where a tasklet could wait";
        return Err(Error::new(ErrorKind::Boundary, text));
    }
    let module = call.caller_module().ok_or_else(|| {
        Error::wrong_type("reload.again: it begins a function of the file that calls it, and this is none")
    })?;
    let is_there = match vm.module(&module) {
        Some(Value::Table(table)) => table.raw_get::<Value>(function.as_str())?.is_function(),
        _ => false,
    };
    if !is_there {
        return Err(Error::wrong_type(format!("reload.again: {module}.luau has no function '{function}'")));
    }
    let arguments = vm.lua().create_table()?;
    for index in 2..=call.len() {
        arguments.raw_set(index - 1, call.get::<Value>(index)?)?;
    }
    arguments.raw_set("n", call.len() - 1)?;
    let (tasklet, owner) = (call.tasklet(), vm.current_owner());
    let place = context.instances.borrow().place_of(owner, tasklet);
    let arguments = vm.keep(arguments)?;
    let wish = Again { tasklet, owner, clock: call.clock(), place, module, function, arguments };
    context.wishes.borrow_mut().again.push(wish);
    // It ends here, as if it were killed; the next frame begins it anew.
    Err(Error::exit())
}
