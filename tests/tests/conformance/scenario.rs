//! Scenarios as the files have them.

use crate::item::{Item, load};
use bluetick_scripting::{RunLimit, Vm};
use mlua::{Table, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// A small program of tasklets and channels, and the trace that Stackless Python makes of it.
pub struct Scenario {
    pub name: String,
    /// Made before.
    pub channels: Vec<String>,
    pub tasklets: BTreeMap<String, Vec<Op>>,
    pub main: Vec<Op>,
    pub expect: String,
    /// All of it as scripts read it.
    pub table: Table,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    pub name: String,
    pub arguments: Vec<Term>,
    /// The same as scripts read it: a table, or just the name.
    pub source: Value,
}

/// An argument of an operation.
#[derive(Clone, Debug)]
pub enum Term {
    Item(Item),
    Truth(bool),
    /// A list whose members are operations or items: which, its operation knows.
    List(Table),
    Limit(RunLimit),
}

impl Scenario {
    /// The scenarios of a file.
    pub fn read_all(vm: &Vm, path: &Path) -> Vec<Self> {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().and_then(|name| name.to_str()).expect("a file name");
        let list: Table = load(vm, name, &text).call(()).expect("the file returns a table");
        list.sequence_values().map(|scenario| Self::read(scenario.expect("a scenario is a table"))).collect()
    }

    fn read(table: Table) -> Self {
        let text = |key| table.get::<String>(key).expect("a text");
        let tasklets: Option<Table> = table.get("tasklets").expect("a table");
        Self {
            name: text("name"),
            channels: table.get::<Option<_>>("channels").expect("a list of names").unwrap_or_default(),
            tasklets: tasklets
                .iter()
                .flat_map(Table::pairs)
                .map(|pair| pair.map(|(name, ops): (String, Table)| (name, Op::read_all(&ops))))
                .collect::<Result<_, _>>()
                .expect("lists of operations"),
            main: Op::read_all(&table.get("main").expect("a list of operations")),
            expect: text("expect"),
            table,
        }
    }
}

impl Op {
    /// The operations of a list.
    pub fn read_all(list: &Table) -> Vec<Self> {
        list.sequence_values().map(|source| Self::read(source.expect("a list has no holes"))).collect()
    }

    /// An operation as scripts have it.
    pub fn read(source: Value) -> Self {
        let table = match &source {
            Value::String(name) => {
                let name = name.to_string_lossy();
                return Self { name, arguments: Vec::new(), source };
            }
            Value::Table(table) => table,
            other => panic!("{other:?} is no operation"),
        };
        let name = table.get(1).expect("the name of an operation");
        let arguments =
            table.sequence_values().skip(1).map(|argument| Term::read(argument.expect("a value")));
        Self { name, arguments: arguments.collect(), source }
    }
}

impl Term {
    fn read(value: Value) -> Self {
        match value {
            Value::Boolean(truth) => Self::Truth(truth),
            Value::Integer(number) => Self::Item(Item::Number(number as f64)),
            Value::Number(number) => Self::Item(Item::Number(number)),
            Value::String(text) => Self::Item(Item::Text(text.to_string_lossy())),
            Value::Table(table) => match table.get::<Option<u64>>("timeout").expect("a number of ticks") {
                None => Self::List(table),
                Some(ticks) => {
                    let flag = |name| table.get::<Option<bool>>(name).expect("a flag").unwrap_or_default();
                    Self::Limit(RunLimit { ticks, soft: flag("soft"), total: flag("totaltimeout") })
                }
            },
            other => panic!("{other:?} is no argument"),
        }
    }
}
