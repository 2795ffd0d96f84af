//! Random programs against a model of ring and channels that is written for this test alone: lists,
//! searched and shifted, after `semantics.md` sections 0 to 3.
//!
//! A program is a list of moves. Before each slice the test decides which tasklet's next move it is,
//! by asking the scheduler who runs; that tasklet makes its move, and the model makes the same one.

mod script;
use bluetick_scripting::{Channel, Error, ErrorKind, Reply, Scheduler, Tasklet, Vm};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

const TASKLETS: usize = 5;
const CHANNELS: usize = 2;

/// What a running tasklet does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Send(usize),
    Receive(usize),
    Schedule,
    Remove,
    Insert(usize),
    Withdraw(usize),
    Run(usize),
    Switch(usize),
    Kill(usize),
    KillLater(usize),
    ThrowLater(usize),
    Start(usize),
    Preference(usize, i8),
    All(usize, bool),
    Close(usize),
    Open(usize),
    Trap(bool),
    End,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let t = 0..TASKLETS;
    let c = 0..CHANNELS;
    let one = prop_oneof![
        6 => c.clone().prop_map(Move::Send),
        6 => c.clone().prop_map(Move::Receive),
        3 => Just(Move::Schedule),
        2 => Just(Move::Remove),
        3 => t.clone().prop_map(Move::Insert),
        1 => t.clone().prop_map(Move::Withdraw),
        2 => t.clone().prop_map(Move::Run),
        1 => t.clone().prop_map(Move::Switch),
        1 => t.clone().prop_map(Move::Kill),
        1 => t.clone().prop_map(Move::KillLater),
        1 => t.clone().prop_map(Move::ThrowLater),
        4 => t.prop_map(Move::Start),
        1 => (c.clone(), -1i8..=1).prop_map(|(c, p)| Move::Preference(c, p)),
        1 => (c.clone(), any::<bool>()).prop_map(|(c, all)| Move::All(c, all)),
        1 => c.clone().prop_map(Move::Close),
        1 => c.prop_map(Move::Open),
        1 => any::<bool>().prop_map(Move::Trap),
        1 => Just(Move::End),
    ];
    prop::collection::vec(one, 1..120)
}

/// What comes of a blocking call, or of a move that doesn't block.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Value(Option<u32>),
    Error(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Dead,
    Paused,
    Queue,
    /// On a channel, as its sender (true) or receiver.
    Channel(usize, bool),
}

#[derive(Clone, Debug)]
struct Actor {
    at: At,
    /// It has run: a kill is an outcome that it sees. One that never ran just ends.
    started: bool,
    slot: Outcome,
    trap: bool,
}

#[derive(Clone, Debug, Default)]
struct Line {
    waiting: VecDeque<usize>,
    senders: bool,
    preference: i8,
    all: bool,
    closing: bool,
}

/// The run queue is a list whose first member runs; main is not in it, as it is in `run`.
struct Model {
    actors: Vec<Actor>,
    lines: Vec<Line>,
    queue: VecDeque<usize>,
    sent: u32,
}

impl Model {
    fn new() -> Self {
        let actor = Actor { at: At::Dead, started: false, slot: Outcome::Value(None), trap: false };
        let line = Line { preference: -1, ..Line::default() };
        Self { actors: vec![actor; TASKLETS], lines: vec![line; CHANNELS], queue: VecDeque::new(), sent: 0 }
    }

    fn append(&mut self, who: usize) {
        self.actors[who].at = At::Queue;
        self.queue.push_back(who);
    }

    /// Out of wherever it is.
    fn take_out(&mut self, who: usize) {
        match self.actors[who].at {
            At::Queue => self.queue.retain(|&other| other != who),
            At::Channel(c, _) => self.lines[c].waiting.retain(|&other| other != who),
            At::Paused | At::Dead => {}
        }
        self.actors[who].at = At::Paused;
    }

    /// The ring turns until `who` is first.
    fn rotate_to(&mut self, who: usize) {
        while self.queue[0] != who {
            self.queue.rotate_left(1);
        }
    }

    fn start(&mut self, who: usize) {
        self.actors[who] = Actor { at: At::Paused, started: false, slot: Outcome::Value(None), trap: false };
        self.append(who);
    }

    /// The move of the first in the queue. `Some` if it goes on at once with this outcome.
    fn make(&mut self, mv: Move) -> Option<Outcome> {
        use Outcome::{Error, Value};
        let me = self.queue[0];
        let done = Some(Value(None));
        let refused = |kind| Some(Error(kind));
        match mv {
            Move::Send(c) => {
                self.sent += 1;
                return self.transfer(me, c, true, Some(self.sent));
            }
            Move::Receive(c) => return self.transfer(me, c, false, None),
            Move::Schedule => {
                self.actors[me].slot = Value(None);
                self.queue.rotate_left(1);
            }
            Move::Remove => {
                self.actors[me].slot = Value(None);
                self.take_out(me);
            }
            Move::Insert(t) => match self.actors[t].at {
                At::Dead => return refused("dead"),
                At::Channel(..) => return refused("blocked"),
                At::Paused => {
                    self.append(t);
                    return done;
                }
                At::Queue => return done,
            },
            Move::Withdraw(t) => match self.actors[t].at {
                _ if t == me => return refused("current"),
                At::Channel(..) => return refused("blocked"),
                At::Queue => {
                    self.take_out(t);
                    return done;
                }
                At::Paused | At::Dead => return done,
            },
            Move::Run(t) | Move::Switch(t) => {
                match self.actors[t].at {
                    At::Dead => return refused("dead"),
                    At::Channel(..) => return refused("blocked"),
                    _ if t == me => return done,
                    At::Paused => self.append(t),
                    At::Queue => {}
                }
                self.actors[me].slot = Value(None);
                if matches!(mv, Move::Switch(_)) {
                    self.take_out(me);
                }
                self.rotate_to(t);
            }
            Move::Kill(t) => {
                if self.actors[t].at == At::Dead {
                    return done;
                }
                if t == me {
                    return refused("exit");
                }
                self.actors[me].slot = Value(None);
                self.throw(t, "exit");
                self.rotate_to(t);
            }
            Move::KillLater(t) | Move::ThrowLater(t) => {
                let kind = if matches!(mv, Move::KillLater(_)) { "exit" } else { "thrown" };
                if self.actors[t].at == At::Dead {
                    return if kind == "exit" { done } else { refused("dead") };
                }
                if t == me {
                    return refused(kind);
                }
                self.throw(t, kind);
                return done;
            }
            Move::Start(t) => {
                if self.actors[t].at != At::Dead {
                    return refused("alive");
                }
                self.start(t);
                return done;
            }
            Move::Preference(c, preference) => {
                self.lines[c].preference = preference;
                return done;
            }
            Move::All(c, all) => {
                self.lines[c].all = all;
                return done;
            }
            Move::Close(c) => {
                self.lines[c].closing = true;
                return done;
            }
            Move::Open(c) => {
                self.lines[c].closing = false;
                return done;
            }
            Move::Trap(trap) => {
                self.actors[me].trap = trap;
                return done;
            }
            Move::End => {
                self.take_out(me);
                self.actors[me].at = At::Dead;
            }
        }
        None
    }

    fn throw(&mut self, t: usize, kind: &'static str) {
        self.actors[t].slot = Outcome::Error(kind);
        if self.actors[t].at != At::Queue {
            self.take_out(t);
            self.append(t);
        }
    }

    fn transfer(&mut self, me: usize, c: usize, sends: bool, value: Option<u32>) -> Option<Outcome> {
        let line = &mut self.lines[c];
        let mine = if sends { Outcome::Value(None) } else { Outcome::Value(value) };
        if line.waiting.is_empty() || line.senders == sends {
            if self.actors[me].trap {
                return Some(Outcome::Error("block_trap"));
            }
            if line.closing {
                return Some(Outcome::Error("closed"));
            }
            line.senders = sends;
            self.take_out(me);
            self.lines[c].waiting.push_back(me);
            // A sender waits with its value in the slot, and gets nothing for it.
            self.actors[me].slot = Outcome::Value(value);
            self.actors[me].at = At::Channel(c, sends);
            return None;
        }
        let partner = line.waiting[0];
        let (preference, all) = (line.preference, line.all);
        self.take_out(partner);
        let mine = if sends {
            self.actors[partner].slot = Outcome::Value(value);
            mine
        } else {
            std::mem::replace(&mut self.actors[partner].slot, Outcome::Value(None))
        };
        self.actors[me].slot = mine.clone();
        self.actors[partner].at = At::Queue;
        let prefers_partner = preference == if sends { -1 } else { 1 };
        if all {
            self.queue.push_back(partner);
            self.queue.rotate_left(1);
        } else if prefers_partner {
            self.queue.insert(1, partner);
            self.queue.rotate_left(1);
        } else {
            self.queue.push_back(partner);
            return Some(mine);
        }
        None
    }

    /// The first in the queue gets its turn: what its blocking call returns, or `None` if it ends
    /// without running its function.
    fn turn(&mut self) -> Option<Outcome> {
        let me = self.queue[0];
        let actor = &mut self.actors[me];
        let outcome = std::mem::replace(&mut actor.slot, Outcome::Value(None));
        if !std::mem::replace(&mut actor.started, true) && matches!(outcome, Outcome::Error(_)) {
            self.take_out(me);
            self.actors[me].at = At::Dead;
            return None;
        }
        Some(outcome)
    }
}

/// Every tasklet asks for its next move, makes it, and tells what came of it.
const PROGRAM: &str = r##"
local ask, tell, rust_is_next, start_rust, tasklets, channels = ...
local function value_of(v) return if type(v) == "number" then v else nil end
local moves = {
    send = function(me, c, v) channels[c]:send(v) end,
    receive = function(me, c) return channels[c]:receive() end,
    schedule = function() scheduler.schedule(nil) end,
    remove = function() scheduler.schedule_remove(nil) end,
    insert = function(me, t) tasklets[t]:insert() end,
    withdraw = function(me, t) tasklets[t]:remove() end,
    run = function(me, t) tasklets[t]:run() end,
    switch = function(me, t) tasklets[t]:switch() end,
    kill = function(me, t) tasklets[t]:kill() end,
    kill_later = function(me, t) tasklets[t]:kill(true) end,
    throw_later = function(me, t) tasklets[t]:throw({ kind = "thrown", message = "thrown" }, true) end,
    preference = function(me, c, p) channels[c].preference = p end,
    all = function(me, c, all) channels[c].schedule_all = all == 1 end,
    close = function(me, c) channels[c]:close() end,
    open = function(me, c) channels[c]:open() end,
    trap = function(me, _, on) tasklets[me].block_trap = on == 1 end,
}
local body
function moves.start(me, t)
    if tasklets[t].alive then tasklets[t]:setup() end -- refused
    if rust_is_next() then
        start_rust(t)
    else
        tasklets[t]:bind(body)(t)
    end
end
function body(me)
    tell(me, "started", -1)
    while true do
        local name, a, b = ask(me)
        if name == "end" then return end
        local ok, result = scheduler.pcall(moves[name], me, a, b)
        if ok then
            tell(me, "value", value_of(result) or -1)
        else
            tell(me, if type(result) == "table" then result.kind else tostring(result), -1)
        end
    end
end
return {
    start_luau = function(t) tasklets[t]:bind(body)(t) end,
    main = function()
        for i = 1, 3 do moves.start(0, i) end
        scheduler.run()
    end,
}
"##;

/// A value of Rust's that counts how many of them there are.
struct Token(u32, Rc<Cell<i64>>);

thread_local! {
    /// The count of the tokens that come out of the VM.
    static TOKENS: Rc<Cell<i64>> = Rc::default();
}

impl Token {
    fn new(number: u32) -> Self {
        let count = TOKENS.with(Rc::clone);
        count.set(count.get() + 1);
        Self(number, count)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.1.set(self.1.get() - 1);
    }
}

impl mlua::IntoLua for Token {
    fn into_lua(self, lua: &mlua::Lua) -> mlua::Result<mlua::Value> {
        self.0.into_lua(lua)
    }
}

impl mlua::FromLua for Token {
    fn from_lua(value: mlua::Value, lua: &mlua::Lua) -> mlua::Result<Self> {
        u32::from_lua(value, lua).map(Self::new)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("thrown")]
struct Thrown;

/// What Rust bodies see of the program.
struct Stage {
    scheduler: Scheduler,
    tasklets: Vec<Tasklet>,
    channels: Vec<Channel<Token>>,
    run: RefCell<Run>,
    start_luau: RefCell<Option<mlua::Function>>,
    /// The languages of the bodies, one bit each, and how many were started.
    languages: u64,
    started: Cell<u32>,
}

impl Stage {
    fn rust_is_next(&self) -> bool {
        let number = self.started.replace(self.started.get() + 1);
        self.languages >> (number % 64) & 1 == 1
    }

    fn start_rust(self: &Rc<Self>, t: usize) -> Result<(), Error> {
        let (stage, token) = (self.clone(), Token::new(0));
        self.tasklets[t].bind(move || {
            let _token = token;
            stage.body(t);
        })?;
        self.tasklets[t].setup()
    }

    /// As the program's `body`.
    fn body(self: &Rc<Self>, me: usize) {
        self.run.borrow_mut().told(me, "started", None);
        loop {
            self.compare();
            let (name, a, b) = self.run.borrow_mut().asked();
            if name == "end" {
                return;
            }
            let result = self.scheduler.pcall(|| self.make(me, name, a, b));
            let mut run = self.run.borrow_mut();
            match result {
                Ok(value) => run.told(me, "value", value),
                Err(error) => run.told(me, error.kind.name(), None),
            }
        }
    }

    fn make(self: &Rc<Self>, me: usize, name: &str, a: f64, b: f64) -> Result<Option<u32>, Error> {
        let index = (a as usize).wrapping_sub(1);
        let done = |()| None;
        match name {
            "send" => self.channels[index].send(Token::new(b as u32)).map(done),
            "receive" => self.channels[index].receive().map(|token| Some(token.0)),
            "schedule" => self.scheduler.schedule().map(done),
            "remove" => self.scheduler.schedule_remove().map(done),
            "insert" => self.tasklets[index].insert().map(done),
            "withdraw" => self.tasklets[index].remove().map(done),
            "run" => self.tasklets[index].run().map(done),
            "switch" => self.tasklets[index].switch().map(done),
            "kill" => self.tasklets[index].kill().map(done),
            "kill_later" => self.tasklets[index].kill_pending().map(done),
            "throw_later" => self.tasklets[index].throw_pending(Error::raised(Thrown)).map(done),
            "start" if self.tasklets[index].alive() => self.tasklets[index].setup().map(done),
            "start" if self.rust_is_next() => self.start_rust(index).map(done),
            "start" => {
                let start = self.start_luau.borrow().clone().expect("the program has given it");
                self.scheduler.call(&start, a).map(done)
            }
            "preference" => {
                self.channels[index].set_preference(b as i8);
                Ok(None)
            }
            "all" => {
                self.channels[index].set_schedule_all(b == 1.0);
                Ok(None)
            }
            "close" => {
                self.channels[index].close();
                Ok(None)
            }
            "open" => {
                self.channels[index].open();
                Ok(None)
            }
            _ => {
                self.tasklets[me].set_block_trap(b == 1.0);
                Ok(None)
            }
        }
    }

    /// Every tasklet is where the model has it, in its place there, and nowhere else; balances are the
    /// waiters.
    fn compare(&self) {
        let number = |tasklet: &Tasklet| self.tasklets.iter().position(|t| t == tasklet);
        let mut run = self.run.borrow_mut();
        for (who, tasklet) in self.tasklets.iter().enumerate() {
            let at = match run.model.actors[who].at {
                At::Dead => (false, false, false, false),
                At::Paused => (true, true, false, false),
                At::Queue => (true, false, true, false),
                At::Channel(..) => (true, false, true, true),
            };
            let got = (tasklet.alive(), tasklet.paused(), tasklet.scheduled(), tasklet.blocked());
            run.check(got == at, |_| format!("{who} is {got:?}, the model says {at:?}"));
        }
        for (c, channel) in self.channels.iter().enumerate() {
            let line = &run.model.lines[c];
            let waiting: Vec<Option<usize>> = line.waiting.iter().map(|&who| Some(who)).collect();
            let balance = if line.senders { waiting.len() as i64 } else { -(waiting.len() as i64) };
            let got: Vec<Option<usize>> =
                std::iter::successors(channel.queue(), Tasklet::next).take(9).map(|t| number(&t)).collect();
            run.check(got == waiting && channel.balance() == balance, |_| {
                format!("{got:?} wait at {c}, {}; the model says {waiting:?}", channel.balance())
            });
        }
        let first = self.scheduler.current();
        let mut got = vec![number(&first)];
        let others = std::iter::successors(first.next(), Tasklet::next).take_while(|t| *t != first).take(9);
        got.extend(others.map(|t| number(&t)));
        let queue: Vec<Option<usize>> = run.model.queue.iter().map(|&who| Some(who)).collect();
        run.check(got == queue, |_| format!("the queue is {got:?}, the model says {queue:?}"));
    }
}

/// One run: the model goes along with what the scripts do.
struct Run {
    model: Model,
    moves: Vec<Move>,
    made: usize,
    /// What each tasklet has received, so that no value comes twice.
    received: Vec<u32>,
    fault: Option<String>,
    /// The outcome that the model expects from the one that runs.
    expected: Option<Outcome>,
    running: Option<usize>,
}

impl Run {
    fn check(&mut self, ok: bool, text: impl FnOnce(&Self) -> String) {
        if !ok && self.fault.is_none() {
            self.fault = Some(format!("after move {}: {}", self.made, text(self)));
        }
    }

    /// Whoever should run by the model gets its turn in it, over those that end without running.
    fn next_turn(&mut self) {
        self.expected = None;
        self.running = None;
        while let Some(&next) = self.model.queue.front() {
            self.running = Some(next);
            let fresh = !self.model.actors[next].started;
            if let Some(outcome) = self.model.turn() {
                self.expected = if fresh { None } else { Some(outcome) };
                return;
            }
        }
    }

    /// A tasklet tells what its last move came to, or that it has started.
    fn told(&mut self, who: usize, what: &str, value: Option<u32>) {
        if self.running.is_none() {
            self.next_turn();
        }
        self.check(self.running == Some(who), |run| format!("{who} runs, the model says {:?}", run.running));
        if what == "started" {
            self.check(self.expected.is_none(), |run| format!("{who} starts, expected {:?}", run.expected));
            return;
        }
        let expected = self.expected.take();
        let got = match what {
            "value" => Outcome::Value(value),
            "raised" => Outcome::Error("thrown"),
            kind => Outcome::Error(
                ["exit", "thrown", "dead", "blocked", "current", "alive", "block_trap", "closed"]
                    .into_iter()
                    .find(|known| *known == kind)
                    .unwrap_or("another"),
            ),
        };
        self.check(expected.as_ref() == Some(&got), |_| {
            format!("{who} got {got:?} ({what}), expected {expected:?}")
        });
        if let Some(value) = value {
            self.check(!self.received.contains(&value), |_| format!("value {value} came twice"));
            self.received.push(value);
        }
    }

    /// The next move of the one that runs: its name and arguments.
    fn asked(&mut self) -> (&'static str, f64, f64) {
        let Some(&mv) = self.moves.get(self.made) else {
            // The program is over: everybody ends at its next move.
            self.model.make(Move::End);
            self.next_turn();
            return ("end", 0.0, 0.0);
        };
        self.made += 1;
        let first = |n: usize| (n + 1) as f64;
        let call = match mv {
            Move::Send(c) => ("send", first(c), f64::from(self.model.sent + 1)),
            Move::Receive(c) => ("receive", first(c), 0.0),
            Move::Schedule => ("schedule", 0.0, 0.0),
            Move::Remove => ("remove", 0.0, 0.0),
            Move::Insert(t) => ("insert", first(t), 0.0),
            Move::Withdraw(t) => ("withdraw", first(t), 0.0),
            Move::Run(t) => ("run", first(t), 0.0),
            Move::Switch(t) => ("switch", first(t), 0.0),
            Move::Kill(t) => ("kill", first(t), 0.0),
            Move::KillLater(t) => ("kill_later", first(t), 0.0),
            Move::ThrowLater(t) => ("throw_later", first(t), 0.0),
            Move::Start(t) => ("start", first(t), 0.0),
            Move::Preference(c, p) => ("preference", first(c), f64::from(p)),
            Move::All(c, all) => ("all", first(c), f64::from(u8::from(all))),
            Move::Close(c) => ("close", first(c), 0.0),
            Move::Open(c) => ("open", first(c), 0.0),
            Move::Trap(on) => ("trap", 0.0, f64::from(u8::from(on))),
            Move::End => ("end", 0.0, 0.0),
        };
        match self.model.make(mv) {
            Some(outcome) => self.expected = Some(outcome),
            None => self.next_turn(),
        }
        call
    }
}

fn play(moves: Vec<Move>, languages: u64) -> Result<(), String> {
    TOKENS.with(|count| count.set(0));
    let vm = script::vm();
    let result = play_in(&vm, moves, languages);
    drop(vm);
    let left = TOKENS.with(|count| count.get());
    if result.is_ok() && left != 0 {
        return Err(format!("{left} values are left when all is gone"));
    }
    result
}

fn play_in(vm: &Rc<Vm>, moves: Vec<Move>, languages: u64) -> Result<(), String> {
    let mut model = Model::new();
    for who in 0..3 {
        model.start(who);
    }
    let run = Run { model, moves, made: 0, received: Vec::new(), fault: None, expected: None, running: None };
    let scheduler = vm.scheduler();
    let stage = Rc::new(Stage {
        tasklets: (0..TASKLETS).map(|_| scheduler.unbound_tasklet()).collect(),
        channels: (0..CHANNELS).map(|_| scheduler.channel()).collect(),
        scheduler,
        run: RefCell::new(run),
        start_luau: RefCell::default(),
        languages,
        started: Cell::new(0),
    });
    let program: mlua::Table =
        script::load(vm, PROGRAM).call(words(vm, &stage)).map_err(|error| error.to_string())?;
    *stage.start_luau.borrow_mut() = Some(program.get("start_luau").expect("a function"));
    let main: mlua::Function = program.get("main").expect("a function");
    vm.spawn(&main, (), Default::default()).map_err(|error| error.to_string())?;
    let mut slices = 0;
    vm.run_ready(|| {
        slices += 1;
        slices < 2000 && stage.run.borrow().fault.is_none()
    });
    for ended in vm.take_ended() {
        // An error thrown at a tasklet that never ran is its failure.
        if let Some(failure) = ended.failure.filter(|failure| failure.message != "thrown") {
            return Err(format!("{}: {}", failure.name, failure.message));
        }
    }
    let mut run = stage.run.borrow_mut();
    if let Some(fault) = run.fault.take() {
        return Err(fault);
    }
    if !run.model.queue.is_empty() && slices < 2000 {
        return Err(format!("the scheduler is idle, the model has {:?}", run.model.queue));
    }
    // What was sent was received, waits with its sender, is on its way, or was lost in a kill or refusal.
    let waiting = vm.stats().waiting;
    let expected: usize = run.model.lines.iter().map(|line| line.waiting.len()).sum();
    if waiting != expected && slices < 2000 {
        return Err(format!("{waiting} wait, the model says {expected}"));
    }
    Ok(())
}

/// What the program gets.
fn words(vm: &Rc<Vm>, stage: &Rc<Stage>) -> mlua::MultiValue {
    let number = |n: f64| n as usize - 1;
    // The stage holds a function of the VM, so the VM's functions must not keep the stage.
    let with = || {
        let stage = Rc::downgrade(stage);
        move || stage.upgrade().ok_or_else(|| Error::new(ErrorKind::Gone, "the stage is gone"))
    };
    let stage_of = with();
    let ask = vm.function(c"ask", move |call| {
        let stage = stage_of()?;
        stage.compare();
        let (name, a, b) = stage.run.borrow_mut().asked();
        call.push(name)?;
        call.push(a)?;
        call.push(b)?;
        Ok(Reply::Pushed(3))
    });
    let stage_of = with();
    let tell = vm.function(c"tell", move |call| {
        let who = number(call.number(1, "who")?);
        let value = call.number(3, "value")?;
        let what = call.text(2, "what")?;
        stage_of()?.run.borrow_mut().told(who, &what, (value >= 0.0).then_some(value as u32));
        Ok(Reply::Nothing)
    });
    let stage_of = with();
    let rust_is_next = vm.function(c"rust_is_next", move |_| Ok(Reply::Boolean(stage_of()?.rust_is_next())));
    let stage_of = with();
    let start_rust = vm.function(c"start_rust", move |call| {
        stage_of()?.start_rust(number(call.number(1, "who")?))?;
        Ok(Reply::Nothing)
    });
    let mut words: Vec<mlua::Value> = [ask, tell, rust_is_next, start_rust]
        .map(|f| mlua::Value::Function(f.expect("a function can be made")))
        .into();
    let lua = vm.lua();
    let tasklets = lua.create_sequence_from(stage.tasklets.iter().cloned()).expect("a table can be made");
    let channels = lua.create_sequence_from(stage.channels.iter().cloned()).expect("a table can be made");
    words.extend([mlua::Value::Table(tasklets), mlua::Value::Table(channels)]);
    mlua::MultiValue::from_iter(words)
}

/// Runs random programs whose bodies are in the languages that the bits say.
fn check(cases: u32, languages: impl Strategy<Value = u64>) {
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner
        .run(&(moves(), languages), |(moves, languages)| play(moves, languages).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn the_scheduler_does_what_a_simple_model_does() {
    check(2000, Just(0));
}

#[test]
fn it_does_so_with_bodies_in_rust() {
    check(2000, Just(u64::MAX));
}

#[test]
fn it_does_so_with_bodies_in_both_languages() {
    check(2000, any::<u64>());
}
