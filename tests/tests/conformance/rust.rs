//! Operations in Rust.

use crate::item::{Item, Raised};
use crate::scenario::{Op, Term};
use crate::stage::{Language, Stage, kind_of};
use bluetick_scripting::{Error, RunLimit, Scheduler};
use mlua::Value;
use std::rc::Rc;

/// About as many ticks as an operation takes in a script; the limits of scenarios allow for that.
const TICKS: u32 = 10;

/// The function of a tasklet.
pub fn body(stage: &Rc<Stage>, name: &str) -> impl FnOnce() -> Result<(), Error> + 'static {
    let (stage, name) = (stage.clone(), name.to_owned());
    move || run_ops(&stage, &name, &stage.scenario.tasklets[&name])
}

/// What the main tasklet does, in the thread itself.
pub fn run_main(stage: &Rc<Stage>) {
    for op in &stage.scenario.main {
        if let Err(error) = stage.scheduler.pcall(|| run_op(stage, "main", op)) {
            stage.log(format!("main!{}", kind_of(&error)));
        }
    }
}

pub fn run_ops(stage: &Rc<Stage>, who: &str, ops: &[Op]) -> Result<(), Error> {
    ops.iter().try_for_each(|op| run_op(stage, who, op))
}

fn run_op(stage: &Rc<Stage>, who: &str, op: &Op) -> Result<(), Error> {
    if !stage.step() {
        return Err(Error::exit());
    }
    (0..TICKS).try_for_each(|_| stage.scheduler.safepoint())?;
    if stage.crosses() {
        return stage.actors.call_op(stage, who, &op.source);
    }
    play_op(stage, who, op)
}

/// An operation that was counted already.
pub fn play_op(stage: &Rc<Stage>, who: &str, op: &Op) -> Result<(), Error> {
    let arguments = Arguments { stage, op };
    let scheduler = &stage.scheduler;
    let log = |text: String| {
        stage.log(text);
        Ok(())
    };
    match op.name.as_str() {
        "log" => log(arguments.text(0)),
        "spin" => {
            let Some(Term::Item(Item::Number(turns))) = arguments.get(0) else { panic!("{op:?}") };
            (0..*turns as u64).try_for_each(|_| scheduler.safepoint())
        }

        "schedule" | "schedule_remove" => match (arguments.item(0), &*op.name) {
            (None, "schedule") => scheduler.schedule(),
            (None, _) => scheduler.schedule_remove(),
            (Some(item), name) => {
                let got = match name {
                    "schedule" => scheduler.schedule_with(item)?,
                    _ => scheduler.schedule_remove_with(item)?,
                };
                log(format!("{who}={}", got.map_or("nil".into(), |item| item.to_string())))
            }
        },
        "run_scheduler" => match arguments.get(0) {
            None => scheduler.run(),
            Some(term) => {
                let limit = match term {
                    Term::Limit(limit) => *limit,
                    Term::Item(Item::Number(ticks)) => {
                        RunLimit { ticks: *ticks as u64, ..RunLimit::default() }
                    }
                    _ => panic!("{op:?}"),
                };
                let stopped = scheduler.run_limited(limit)?;
                log(format!("run={}", stage.name_of(stopped.as_ref())))
            }
        },
        "runcount" => log(format!("runcount={}", scheduler.run_count())),
        "current" => log(format!("current={}", stage.name_of(Some(&scheduler.current())))),
        "switch_trap" => {
            let Some(Term::Item(Item::Number(delta))) = arguments.get(0) else { panic!("{op:?}") };
            log(format!("trap={}", scheduler.switch_trap(*delta as i32)))
        }
        "atomic" => {
            scheduler.current().set_atomic(arguments.truth(0));
            Ok(())
        }

        "start" | "bind" | "new" | "rebind" | "bind_function" => match stage.next_body() {
            Language::Rust => give_body(stage, &op.name, &arguments.text(0)),
            Language::Luau => stage.actors.give_body(stage, &op.name, &arguments.text(0)),
        },
        "setup" => arguments.tasklet().setup(),
        "unbind" => arguments.tasklet().unbind(),
        "insert" => arguments.tasklet().insert(),
        "remove" => arguments.tasklet().remove(),
        "run" => arguments.tasklet().run(),
        "switch" => arguments.tasklet().switch(),
        "kill" if arguments.get(1).is_some() => arguments.tasklet().kill_pending(),
        "kill" => arguments.tasklet().kill(),
        "throw" if arguments.get(2).is_some() => arguments.tasklet().throw_pending(arguments.error(1)),
        "throw" => arguments.tasklet().throw(arguments.error(1)),
        "raise_exception" => arguments.tasklet().raise_exception(arguments.error(1)),
        "block_trap" => {
            arguments.tasklet().set_block_trap(arguments.truth(1));
            Ok(())
        }
        "tempval" => {
            arguments.tasklet().set_tempval(arguments.item(1).expect("a value"));
            Ok(())
        }
        "state" => {
            let t = arguments.tasklet();
            let flags = [
                ("alive", t.alive()),
                ("paused", t.paused()),
                ("scheduled", t.scheduled()),
                ("blocked", t.blocked()),
            ];
            log(format!("{}:{}", stage.name_of(Some(&t)), set(&flags, "dead")))
        }
        "next" | "prev" => {
            let t = arguments.tasklet();
            let neighbour = if op.name == "next" { t.next() } else { t.prev() };
            log(format!("{}.{}={}", stage.name_of(Some(&t)), op.name, stage.name_of(neighbour.as_ref())))
        }

        "send" => arguments.channel().send(arguments.item(1).expect("a value")),
        "receive" => log(format!("{who}={}", arguments.channel().receive()?)),
        "send_exception" => arguments.channel().send_exception(arguments.error(1)),
        "send_throw" => arguments.channel().send_throw(arguments.error(1)),
        "send_sequence" => {
            let Some(Term::List(items)) = arguments.get(1) else { panic!("{op:?}") };
            let items: Vec<Item> = items.sequence_values().collect::<Result<_, _>>()?;
            log(format!("{who}.sent={}", arguments.channel().send_sequence(items)?))
        }
        "iterate" => {
            let each = arguments.ops(1);
            for item in arguments.channel().iter() {
                let item = item?;
                if !stage.step() {
                    return Err(Error::exit());
                }
                stage.log(format!("{who}={item}"));
                run_ops(stage, who, &each)?;
            }
            log(format!("{who}.end"))
        }
        "close" => {
            arguments.channel().close();
            Ok(())
        }
        "open" => {
            arguments.channel().open();
            Ok(())
        }
        "pref" => {
            let Some(Term::Item(Item::Number(preference))) = arguments.get(1) else { panic!("{op:?}") };
            arguments.channel().set_preference(*preference as i8);
            Ok(())
        }
        "schedule_all" => {
            arguments.channel().set_schedule_all(arguments.truth(1));
            Ok(())
        }
        "preference" => log(format!("{}.pref={}", arguments.text(0), arguments.channel().preference())),
        "balance" => log(format!("{}:{}", arguments.text(0), arguments.channel().balance())),
        "channel" => {
            let c = arguments.channel();
            let flags = [("closing", c.closing()), ("closed", c.closed())];
            log(format!("{}:{}", arguments.text(0), set(&flags, "open")))
        }
        "queue" => {
            let first = arguments.channel().queue();
            log(format!("{}.queue={}", arguments.text(0), stage.name_of(first.as_ref())))
        }

        "raise" => Err(arguments.error(0)),
        "try" => match run_ops(stage, who, &arguments.ops(0)) {
            Err(error) if error.kind != bluetick_scripting::ErrorKind::Exit => {
                handle(stage, who, &arguments, &error)
            }
            result => result,
        },
        "catch" => match scheduler.pcall(|| run_ops(stage, who, &arguments.ops(0))) {
            Err(error) => handle(stage, who, &arguments, &error),
            result => result,
        },
        "cleanup" => {
            let result = scheduler.pcall(|| run_ops(stage, who, &arguments.ops(0)));
            run_ops(stage, who, &arguments.ops(1))?;
            result
        }
        "defer" => {
            let (stage, who, ops) = (stage.clone(), who.to_owned(), arguments.ops(0));
            scheduler.defer(move || {
                if !stage.is_over() {
                    run_ops(&stage, &who, &ops).expect("nothing of this waits");
                }
            });
            Ok(())
        }
        "loop" => {
            let Some(Term::Item(Item::Number(turns))) = arguments.get(0) else { panic!("{op:?}") };
            (0..*turns as u32).try_for_each(|_| run_ops(stage, who, &arguments.ops(1)))
        }

        "set_error_handler" => set_error_handler(stage, &arguments),
        "trace_schedule" => {
            let stage = stage.clone();
            scheduler.set_schedule_callback(arguments.truth(0).then_some(move |prev: &_, next: &_| {
                stage.log(format!("{}>{}", stage.name_of(Some(prev)), stage.name_of(Some(next))));
            }))
        }
        "trace_channels" => {
            let stage = stage.clone();
            scheduler.set_channel_callback(arguments.truth(0).then_some(
                move |channel: &bluetick_scripting::Channel<Value>, tasklet: &_, sending, blocks| {
                    let (channel, tasklet) =
                        (stage.name_of_channel(channel.id()), stage.name_of(Some(tasklet)));
                    let verb = if sending { "send" } else { "receive" };
                    let waits = if blocks { "block" } else { "ready" };
                    stage.log(format!("{channel}.{tasklet}.{verb}.{waits}"));
                },
            ))
        }
        other => panic!("no operation {other}"),
    }
}

/// Gives a tasklet a body in Rust, in one of the ways in which there are.
pub fn give_body(stage: &Rc<Stage>, how: &str, name: &str) -> Result<(), Error> {
    let body = body(stage, name);
    match how {
        "start" => {
            let tasklet = stage.scheduler.tasklet(body)?;
            stage.register(name, tasklet.clone());
            tasklet.setup()
        }
        "new" => {
            stage.register(name, stage.scheduler.tasklet(body)?);
            Ok(())
        }
        "bind" => {
            let tasklet = stage.scheduler.unbound_tasklet();
            stage.register(name, tasklet.clone());
            tasklet.bind_paused(body)
        }
        "rebind" => stage.tasklet(name).bind_paused(body),
        "bind_function" => stage.tasklet(name).bind(body),
        other => panic!("no way {other} to give a body"),
    }
}

fn handle(stage: &Rc<Stage>, who: &str, arguments: &Arguments<'_>, error: &Error) -> Result<(), Error> {
    stage.log(format!("{who}!{}", kind_of(error)));
    run_ops(stage, who, &arguments.ops(1))
}

fn set_error_handler(stage: &Rc<Stage>, arguments: &Arguments<'_>) -> Result<(), Error> {
    let raised = match &*arguments.text(0) {
        "off" => return end_error_handler(&stage.scheduler),
        "raise" => Some(arguments.text(1)),
        _ => None,
    };
    let inner = stage.clone();
    stage.scheduler.set_error_handler(Some(move |error: Error| {
        let current = inner.name_of(Some(&inner.scheduler.current()));
        inner.log(format!("handler:{current}:{}", kind_of(&error)));
        raised.as_deref().map_or(Ok(()), |kind| Err(error_of(kind)))
    }))
}

fn end_error_handler(scheduler: &Scheduler) -> Result<(), Error> {
    scheduler.set_error_handler(None::<fn(Error) -> Result<(), Error>>)
}

/// Ends all callbacks.
pub fn end_callbacks(scheduler: &Scheduler) {
    let ended = end_error_handler(scheduler)
        .and_then(|()| scheduler.set_schedule_callback(None::<fn(&_, &_)>))
        .and_then(|()| scheduler.set_channel_callback(None::<fn(&_, &_, bool, bool)>));
    ended.expect("ending callbacks takes no memory");
}

fn error_of(kind: &str) -> Error {
    match kind {
        "TaskletExit" => Error::exit(),
        "StopIteration" => Error::stop(),
        kind => Error::raised(Raised(kind.into())),
    }
}

/// The names whose flag is set.
fn set(flags: &[(&str, bool)], none: &str) -> String {
    let names: Vec<&str> = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    if names.is_empty() { none.into() } else { names.join("+") }
}

/// The arguments of an operation, as what it takes them for.
struct Arguments<'a> {
    stage: &'a Rc<Stage>,
    op: &'a Op,
}

impl Arguments<'_> {
    fn get(&self, index: usize) -> Option<&Term> {
        self.op.arguments.get(index)
    }

    fn item(&self, index: usize) -> Option<Item> {
        match self.get(index) {
            Some(Term::Item(item)) => Some(item.clone()),
            None => None,
            Some(other) => panic!("{:?}: {other:?} is no item", self.op),
        }
    }

    fn text(&self, index: usize) -> String {
        self.item(index).map(|item| item.to_string()).unwrap_or_else(|| panic!("{:?}", self.op))
    }

    fn truth(&self, index: usize) -> bool {
        match self.get(index) {
            Some(Term::Truth(truth)) => *truth,
            _ => panic!("{:?}", self.op),
        }
    }

    /// A list of operations; none where there is no such argument.
    fn ops(&self, index: usize) -> Vec<Op> {
        match self.get(index) {
            Some(Term::List(list)) => Op::read_all(list),
            _ => Vec::new(),
        }
    }

    fn tasklet(&self) -> bluetick_scripting::Tasklet {
        self.stage.tasklet(&self.text(0))
    }

    fn channel(&self) -> &bluetick_scripting::Channel<Item> {
        self.stage.channel(&self.text(0))
    }

    fn error(&self, index: usize) -> Error {
        error_of(&self.text(index))
    }
}
