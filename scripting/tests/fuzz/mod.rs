//! Random programs, and edits of them at random while they run (scenario 49).
#![allow(dead_code)] // each test file uses its part

#[path = "../live/mod.rs"]
pub mod live;

use bluetick_scripting::Reply;
use live::Stage;
use live::script::Files;
use mlua::Function;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 1 to `n`.
    fn upto(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize + 1
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.upto(from.len()) - 1]
    }
}

#[derive(Clone, Debug)]
enum Statement {
    Line(String),
    Local(String, String),
    If(String, Vec<Statement>, Option<Vec<Statement>>),
    For(String, usize, usize, Vec<Statement>),
    ForIn(String, String, String, Vec<Statement>),
    While(String, usize, Vec<Statement>),
    Repeat(String, usize, Vec<Statement>),
    Do(Vec<Statement>),
    Pcall(Vec<Statement>, bool),
    Coroutine(Vec<Statement>),
    Callback(String, usize),
}

impl Statement {
    fn blocks(&mut self) -> Vec<&mut Vec<Statement>> {
        use Statement::*;
        match self {
            Line(_) | Local(..) | Callback(..) => vec![],
            If(_, a, Some(b)) => vec![a, b],
            If(_, a, None)
            | For(_, _, _, a)
            | ForIn(_, _, _, a)
            | While(_, _, a)
            | Repeat(_, _, a)
            | Do(a)
            | Pcall(a, _)
            | Coroutine(a) => vec![a],
        }
    }
}

#[derive(Clone)]
struct Routine {
    head: &'static str,
    vararg: bool,
    before: String,
    body: Vec<Statement>,
    is_run: bool,
}

#[derive(Clone)]
pub struct Program {
    /// Functions of the top level that edits have added.
    helpers: Vec<String>,
    routines: Vec<Routine>,
    names: BTreeMap<String, String>,
}

/// What may be used at a place.
#[derive(Clone, Default)]
struct Scope {
    readable: Vec<String>,
    constant: Vec<String>,
    callees: Vec<&'static str>,
    vararg: bool,
}

impl Scope {
    fn with(&self, names: &[&str]) -> Self {
        let mut inner = self.clone();
        inner.readable.extend(names.iter().map(|name| (*name).to_owned()));
        inner
    }

    fn assignable(&self) -> Vec<String> {
        self.readable.iter().filter(|name| !self.constant.contains(name)).cloned().collect()
    }
}

/// Writes programs and edits them.
pub struct Author {
    random: Random,
    names: usize,
}

impl Author {
    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn expression(&mut self, scope: &Scope, depth: usize) -> String {
        match self.random.upto(10) {
            1..=3 => (self.random.upto(10) - 1).to_string(),
            4..=7 => self.random.pick(&scope.readable).clone(),
            _ if depth == 0 => self.random.pick(&scope.readable).clone(),
            _ => {
                let (a, b) = (self.expression(scope, depth - 1), self.expression(scope, depth - 1));
                format!("({a} {} {b}) % 1000", self.random.pick(&["+", "-", "*"]))
            }
        }
    }

    fn block(&mut self, scope: &Scope, depth: usize) -> Vec<Statement> {
        let mut scope = scope.clone();
        (0..self.random.upto(4)).map(|_| self.statement(&mut scope, depth)).collect()
    }

    fn statement(&mut self, scope: &mut Scope, depth: usize) -> Statement {
        use Statement::*;
        let line = |text: String| Line(text);
        match self.random.upto(60) {
            1 => {
                let (a, b) = (self.name("w"), self.name("w"));
                scope.readable.push(a.clone());
                return line(format!("local {a}, {b} = wait() or 2, 7"));
            }
            2 if scope.vararg => return line("note(select('#', ...), ...)".into()),
            3 => return line("note(tostring(wait()))".into()),
            4 => return line("M.n = (M.n or 0) + 1 note(M.n)".into()),
            5 => return line("total = (total + p) % 1000".into()),
            6 => return line("tally.count = (tally.count or 0) + 1 note(tally.count)".into()),
            _ => {}
        }
        let nested = depth > 0;
        match self.random.upto(100) {
            1..=14 => {
                let prefix = *self.random.pick(&["a", "b", "v"]);
                let name = self.name(prefix);
                let value = match self.random.upto(3) {
                    1 => (self.random.upto(10) - 1).to_string(),
                    _ => self.expression(scope, 2),
                };
                scope.readable.push(name.clone());
                Local(name, value)
            }
            15..=30 => {
                let targets = scope.assignable();
                if targets.is_empty() {
                    return line("note(0)".into());
                }
                let target = self.random.pick(&targets).clone();
                line(format!("{target} = {}", self.expression(scope, 2)))
            }
            31..=44 => line(format!("note({})", self.expression(scope, 1))),
            45..=58 => line("wait()".into()),
            59..=61 => {
                let name = self.name("w");
                scope.readable.push(name.clone());
                line(format!("local {name} = wait() or 3"))
            }
            62..=64 => line(format!("note({} + (wait() or 1) * 2)", self.expression(scope, 1))),
            65..=66 => {
                let (a, b) = (self.expression(scope, 1), self.expression(scope, 1));
                line(format!("note(table.concat({{ {a}, wait() or 5, {b} }}, '/'))"))
            }
            67..=72 if nested => {
                let condition = format!("{} % 2 == 0", self.expression(scope, 1));
                let a = self.block(scope, depth - 1);
                let b = (self.random.upto(2) == 1).then(|| self.block(scope, depth - 1));
                If(condition, a, b)
            }
            73..=77 if nested => {
                let name = self.name("i");
                let mut inner = scope.with(&[&name]);
                inner.constant.push(name.clone());
                let (low, high) = (self.random.upto(2), self.random.upto(3) + 1);
                For(name, low, high, self.block(&inner, depth - 1))
            }
            78..=81 if nested => {
                let (key, value) = (self.name("k"), self.name("x"));
                let list = format!("{{ {}, {}, 3 }}", self.expression(scope, 1), self.random.upto(9));
                let inner = scope.with(&[&value]);
                let list = match self.random.upto(3) {
                    1 => list,
                    2 => format!("pairs({list})"),
                    _ => format!("ipairs({list})"),
                };
                ForIn(key, value, list, self.block(&inner, depth - 1))
            }
            82..=84 if nested => {
                let name = self.name("c");
                let mut inner = scope.with(&[&name]);
                inner.constant.push(name.clone());
                let rounds = self.random.upto(4);
                let body = self.block(&inner, depth - 1);
                if self.random.upto(2) == 1 { While(name, rounds, body) } else { Repeat(name, rounds, body) }
            }
            85..=87 if nested => Do(self.block(scope, depth - 1)),
            88..=91 => {
                let targets = scope.assignable();
                if targets.is_empty() {
                    return line("note(7)".into());
                }
                let target = self.random.pick(&targets).clone();
                Callback(target, self.random.upto(5))
            }
            92..=93 => line(format!("callback({})", self.random.upto(9))),
            94..=96 if !scope.callees.is_empty() => {
                let callee = *self.random.pick(&scope.callees);
                let (a, b) = (self.expression(scope, 1), self.expression(scope, 1));
                match self.random.upto(2) {
                    1 => line(format!("note({callee}({a}, {b}))")),
                    _ => line(format!("local _r = ({callee}({a}, {b}))")),
                }
            }
            97..=98 if nested => {
                let inner = Scope { vararg: false, ..scope.clone() };
                let body = self.block(&inner, depth - 1);
                Pcall(body, self.random.upto(3) == 1)
            }
            99..=100 if nested => {
                let inner = Scope { vararg: false, ..scope.clone() };
                Coroutine(self.block(&inner, depth - 1))
            }
            _ => line("note(8)".into()),
        }
    }

    fn program(&mut self) -> Program {
        let mut routine = |head, callees: &[&'static str], depth, extra, is_run| {
            let vararg = self.random.upto(6) == 1;
            let readable = ["p", "q", "total"].map(str::to_owned).to_vec();
            let mut scope = Scope { readable, callees: callees.to_vec(), vararg, ..Scope::default() };
            let mut body = Vec::new();
            for _ in 0..self.random.upto(4) + extra {
                body.push(self.statement(&mut scope, depth));
            }
            Routine { head, vararg, before: String::new(), body, is_run }
        };
        let routines = vec![
            routine("local function first", &[], 1, 0, false),
            routine("function M.second", &["first"], 1, 0, false),
            routine("function M.run", &["first", "M.second"], 3, 4, true),
        ];
        Program { helpers: Vec::new(), routines, names: BTreeMap::new() }
    }

    /// Changes that mean nothing.
    pub fn rephrase(&mut self, program: &mut Program) {
        for _ in 0..self.random.upto(6) {
            let kind = self.random.upto(11);
            if kind == 11 {
                // The call that is waited in gives a result now, or none.
                let block = self.some_block(program);
                let used = "do local _w = wait() if _w then note('waited') end end";
                for statement in block {
                    if let Statement::Line(line) = statement {
                        match &**line {
                            "wait()" => *line = used.into(),
                            line if line == used => *statement = Statement::Line("wait()".into()),
                            _ => {}
                        }
                    }
                }
                continue;
            }
            if kind == 9 {
                // New functions share the module's variables with those that run.
                let name = self.name("see");
                program.helpers.push(format!("local function {name}() return total, tally end"));
                let line = format!(
                    "do local t, y = {name}() if t ~= total or y ~= tally then note('apart') end end"
                );
                let block = self.some_block(program);
                let place = self.random.upto(block.len() + 1) - 1;
                block.insert(place, Statement::Line(line));
                continue;
            }
            if kind == 10 {
                // The outer variables of the function come in another order, and all are assigned to; or its
                // frames are larger.
                let number = self.random.upto(program.routines.len()) - 1;
                let line = match self.random.upto(3) {
                    1 => "tally, total = tally, total".into(),
                    2 => "total, tally = total, tally".into(),
                    _ => format!("note(p{})", ", q".repeat(self.random.upto(200))),
                };
                let line = format!("if p == -1.5 then {line} end");
                program.routines[number].body.insert(0, Statement::Line(line));
                continue;
            }
            if kind == 6 {
                let number = self.random.upto(program.routines.len()) - 1;
                let name = self.name("u");
                let lines = "\n".repeat(self.random.upto(200));
                program.routines[number].before = format!("local {name} = {{}} --{lines}");
                continue;
            }
            if kind == 7 {
                let prefix = *self.random.pick(&["a", "b", "v", "w", "i", "k", "x", "c"]);
                let old = format!("{prefix}{}", self.random.upto(self.names.max(1)));
                let new = self.name("r");
                program.names.insert(old, new);
                continue;
            }
            let line = match kind {
                1 | 2 => {
                    let name = self.name("z");
                    format!("local {name} = {}", self.random.pick(&["1", "2.5", "'s'", "true", "nil"]))
                }
                3 => format!("do local {} = tostring(5) end", self.name("z")),
                4 => "-- nothing\n\n".into(),
                5 => format!("local {}, {} = 1, 2", self.name("z"), self.name("z")),
                _ => format!("if false then {}() end", self.name("g")),
            };
            let block = self.some_block(program);
            let place = self.random.upto(block.len() + 1) - 1;
            block.insert(place, Statement::Line(line));
        }
    }

    /// Changes that mean anything.
    pub fn mutate(&mut self, program: &mut Program) {
        use Statement::*;
        for _ in 0..self.random.upto(5) {
            let readable = ["p", "q", "total"].map(str::to_owned).to_vec();
            let mut scope = Scope { readable, ..Scope::default() };
            let kind = self.random.upto(13);
            if kind == 9 {
                let number = self.random.upto(program.routines.len()) - 1;
                program.routines[number].vararg ^= self.random.upto(3) == 1;
                continue;
            }
            if kind == 10 && self.random.upto(6) == 1 {
                program.routines[1].body = vec![Line("note('gone')".into())];
                continue;
            }
            let fresh = self.statement(&mut scope, 2);
            let name = self.name("y");
            let value = *self.random.pick(&["1", "tostring(p)", "p + 1"]);
            let fault = *self.random.pick(&[
                "note(nil + p)",
                "error('boom')",
                "local t = {} note(t.x.y)",
                "note(('x'):rep({}))",
                "undefined(p, q)",
            ]);
            let wrapper = self.random.upto(6);
            let block = self.some_block(program);
            let place = self.random.upto(block.len().max(1)) - 1;
            match kind {
                1..=3 => block.insert(place, fresh),
                4 | 5 if block.len() > 1 => drop(block.remove(place)),
                6 if !block.is_empty() => {
                    let other = self.random.upto(block.len()) - 1;
                    block.swap(place, other);
                }
                7 if !block.is_empty() => {
                    let inner = vec![block[place].clone()];
                    block[place] = match wrapper {
                        1 => Do(inner),
                        2 => If("p % 2 == 0".into(), inner, None),
                        3 => For(name, 1, 2, inner),
                        4 => While(name, 2, inner),
                        5 => Coroutine(inner),
                        _ => Pcall(inner, false),
                    };
                }
                8 => block.insert(place, Local(name, value.into())),
                11 if !block.is_empty() => {
                    if let Local(known, _) = &mut block[place] {
                        *known = name;
                    }
                }
                12 => block.insert(place, Line(fault.into())),
                _ => {}
            }
        }
    }

    fn some_block<'a>(&mut self, program: &'a mut Program) -> &'a mut Vec<Statement> {
        let number = self.random.upto(program.routines.len()) - 1;
        let mut block = &mut program.routines[number].body;
        loop {
            let inner: Vec<usize> = block
                .iter_mut()
                .enumerate()
                .filter_map(|(index, statement)| (!statement.blocks().is_empty()).then_some(index))
                .collect();
            if inner.is_empty() || self.random.upto(2) == 1 {
                return block;
            }
            let index = *self.random.pick(&inner);
            let mut blocks = block[index].blocks();
            let which = self.random.upto(blocks.len()) - 1;
            block = blocks.swap_remove(which);
        }
    }
}

fn print(statements: &[Statement], out: &mut String) {
    use Statement::*;
    for statement in statements {
        let mut inner = |head: String, body: &[Statement], tail: &str| {
            let _ = writeln!(out, "{head}");
            print(body, out);
            let _ = writeln!(out, "{tail}");
        };
        match statement {
            Line(text) => {
                let _ = writeln!(out, "{text}");
            }
            Local(name, value) => {
                let _ = writeln!(out, "local {name} = {value}");
            }
            If(condition, a, None) => inner(format!("if {condition} then"), a, "end"),
            If(condition, a, Some(b)) => {
                inner(format!("if {condition} then"), a, "else");
                inner(String::new(), b, "end");
            }
            For(name, low, high, body) => inner(format!("for {name} = {low}, {high} do"), body, "end"),
            ForIn(key, value, list, body) => inner(format!("for {key}, {value} in {list} do"), body, "end"),
            While(name, rounds, body) => {
                inner(
                    format!("local {name} = 0 while {name} < {rounds} do {name} = {name} + 1"),
                    body,
                    "end",
                );
            }
            Repeat(name, rounds, body) => {
                let tail = format!("until {name} >= {rounds}");
                inner(format!("local {name} = 0 repeat {name} = {name} + 1"), body, &tail);
            }
            Do(body) => inner("do".into(), body, "end"),
            Pcall(body, fails) => {
                let tail = if *fails { "error('E', 0) end))" } else { "end))" };
                inner("note(outcome(function()".into(), body, tail);
            }
            Coroutine(body) => {
                inner(
                    "for co_value in coroutine.wrap(function()".into(),
                    body,
                    "coroutine.yield(1) end) do note('co') end",
                );
            }
            Callback(name, add) => {
                let _ =
                    writeln!(out, "remember(function() {name} = ({name} + {add}) % 1000 return {name} end)");
            }
        }
    }
}

impl Program {
    fn text(&self) -> String {
        // Somebody may assign to `total`: else the compiler takes it for a constant, leaves out what depends on it,
        // and has it again, waits and all, once an edit assigns to it.
        let mut out = String::from("local M = {} local total = 1 local tally = {}\n");
        out += "function M.set(v) total = v end\n";
        out += "local function outcome(f) local ok, e = pcall(f) return tostring(ok), tostring(e) end\n";
        for helper in &self.helpers {
            let _ = writeln!(out, "{helper}");
        }
        for Routine { head, vararg, before, body, is_run } in &self.routines {
            let parameters = if *vararg { "(p, q, ...)" } else { "(p, q)" };
            let _ = writeln!(out, "{before}\n{head}{parameters}");
            print(body, &mut out);
            if !is_run {
                out += "do return (p + q) % 1000 end\n";
            }
            out += "end\n";
        }
        out += "return M\n";
        rename(&out, &self.names)
    }
}

/// Replaces whole words.
fn rename(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for letter in text.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        let mut name = std::mem::take(&mut word);
        while let Some(new) = names.get(&name) {
            name = new.clone();
        }
        out += &name;
        out.push(letter);
    }
    out
}

/// What a campaign has done.
#[derive(Default, Debug)]
pub struct Counts {
    pub programs: usize,
    pub reloads: usize,
    pub refused: usize,
    pub moved: usize,
    pub pinned: usize,
    pub resumed: usize,
    pub parked: usize,
}

/// Programs, each run as it is and with edits.
pub struct Campaign {
    /// The number of the first program.
    pub first: usize,
    pub count: usize,
    pub seed: u64,
    /// Tasklets that fail are parked.
    pub parks: bool,
    pub edit: fn(&mut Author, &mut Program),
    /// With edits the trace has to be the same as without.
    pub compare: bool,
    /// Each program is printed before it runs: the last one is the one that has ended the process.
    pub shows: bool,
    /// Called after each reload.
    pub check: fn(),
}

impl Campaign {
    /// Runs it.
    pub fn run(&self) -> Counts {
        let mut counts = Counts::default();
        for number in self.first..self.first + self.count {
            let random = Random(self.seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            let mut author = Author { random, names: 0 };
            let program = author.program();
            let text = program.text();
            // Here nothing is collected: with edits it is, at each step, which must make no difference either.
            let (plain, steps) = run(&text, &BTreeMap::new(), self, &mut Counts::default());
            if steps < 2 {
                continue;
            }
            counts.programs += 1;
            let mut edited = program;
            let mut edits: BTreeMap<usize, Vec<String>> = BTreeMap::new();
            let mut places: Vec<usize> =
                (0..author.random.upto(16)).map(|_| author.random.upto((steps - 1).min(20))).collect();
            places.sort_unstable();
            for place in places {
                (self.edit)(&mut author, &mut edited);
                edits.entry(place).or_default().push(edited.text());
            }
            let told = || {
                let mut told = format!("program {number} of seed {}:\n{text}\n", self.seed);
                for (place, text) in
                    edits.iter().flat_map(|(place, texts)| texts.iter().map(move |t| (place, t)))
                {
                    let _ = writeln!(told, "=== saved at step {place}\n{text}");
                }
                told
            };
            if self.shows {
                println!("{}", told());
            }
            let (trace, _) = run(&text, &edits, self, &mut counts);
            if self.compare && trace != plain {
                panic!("{}\nwithout a reload: {plain}\nwith reloads:     {trace}", told());
            }
        }
        counts
    }
}

/// Runs a program to its end with these edits; its trace, and how many steps it took.
fn run(
    text: &str,
    edits: &BTreeMap<usize, Vec<String>>,
    campaign: &Campaign,
    counts: &mut Counts,
) -> (String, usize) {
    let remembered: Rc<RefCell<Vec<Function>>> = Rc::default();
    let mut stage = Stage::build(Files::of([("m", text)]), |vm| {
        let list = remembered.clone();
        let remember = vm.function(c"remember", move |call| {
            if list.borrow().len() < 12 {
                list.borrow_mut().push(call.get(1)?);
            }
            Ok(Reply::Nothing)
        });
        let list = remembered.clone();
        let callback = vm.function(c"callback", move |call| {
            let index = call.number(1, "callback")? as usize;
            let Some(f) = list.borrow().get(index % 12).cloned() else { return Ok(Reply::Nothing) };
            f.call::<()>(())?;
            Ok(Reply::Nothing)
        });
        let globals = vm.lua().globals();
        globals.raw_set("remember", remember.expect("memory")).expect("open");
        globals.raw_set("callback", callback.expect("memory")).expect("open");
    });
    stage.collects = !edits.is_empty();
    stage.vm.park_failed(campaign.parks);
    let f: Result<mlua::Value, _> = stage.vm.require("m");
    let Ok(mlua::Value::Table(module)) = f else { return (String::new(), 0) };
    let main: Function = module.get("run").expect("it has run");
    for (p, q) in [(3, 4), (1, 2)] {
        let owner = stage.vm.new_owner();
        stage.vm.spawn(&main, (p, q), owner).expect("memory");
    }
    stage.step();
    let mut steps = 1;
    while steps < 40 && (stage.waits() || edits.range(steps..).next().is_some()) {
        for edit in edits.get(&steps).into_iter().flatten() {
            stage.files.write("m", edit);
            let report = stage.vm.reload(vec![stage.files.change("m")]);
            counts.reloads += 1;
            counts.refused += usize::from(report.is_refused());
            counts.moved += report.moved;
            counts.pinned += report.pins.iter().map(|pin| pin.count).sum::<usize>();
            counts.resumed += report.resumed;
            (campaign.check)();
            stage.vm.validate_heap();
        }
        stage.step();
        counts.parked += stage.vm.take_parked().len();
        steps += 1;
    }
    let mut trace = stage.notes();
    for f in remembered.take() {
        let value: Result<mlua::Value, _> = f.call(());
        let _ = write!(trace, " C{}", value.map_or("error".into(), |v| v.to_string().unwrap_or_default()));
    }
    stage.vm.validate_heap();
    (trace, steps)
}
