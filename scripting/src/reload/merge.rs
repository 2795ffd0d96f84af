//! Three-way merge of module values: **if the game changed a value, the game keeps it; otherwise the
//! file wins.**
//!
//! `base` is what the old text defined, `live` what the game has now, `fresh` what the new text
//! defines. Records are merged field by field, lists as a whole; the identity of live tables is kept.

use super::report::Difference;
use mlua::{Table, Value};
use std::collections::HashMap;
use std::ffi::c_void;

/// Tables in tables are looked at to this depth; deeper ones count as unchanged values.
const DEPTH: usize = 8;

/// Tables in tables are merged to this depth; deeper ones stay as the game has them.
const MERGE_DEPTH: usize = 64;

/// What a value was at one moment: tables by their contents, the rest by identity.
#[derive(Clone, Debug, Default)]
pub enum Snapshot {
    /// Nil, or deeper than is looked at.
    #[default]
    Nothing,
    /// A boolean, number, string, vector, function or other value.
    Value(Value),
    /// A table: which one it was, its fields, and its metatable if it had one.
    Table(*const c_void, Vec<(Value, Snapshot)>, Option<Box<Snapshot>>),
}

const NOTHING: &Snapshot = &Snapshot::Nothing;

impl Snapshot {
    /// A snapshot of a value.
    pub fn of(value: &Value) -> Self {
        Self::take(value, &mut Vec::new(), &|value| value)
    }

    /// A snapshot in which other values stand for functions and tables.
    fn take(value: &Value, path: &mut Vec<*const c_void>, stand_in: &dyn Fn(Value) -> Value) -> Self {
        match value {
            Value::Nil => Self::Nothing,
            Value::Table(table) => {
                let identity = stand_in(value.clone()).to_pointer();
                if path.len() == DEPTH || path.contains(&identity) {
                    return Self::Table(identity, Vec::new(), None);
                }
                path.push(identity);
                let fields = fields(table)
                    .map(|(key, value)| (stand_in(key), Self::take(&value, path, stand_in)))
                    .collect();
                let meta =
                    table.metatable().map(|meta| Box::new(Self::take(&Value::Table(meta), path, stand_in)));
                path.pop();
                Self::Table(identity, fields, meta)
            }
            value => Self::Value(stand_in(value.clone())),
        }
    }

    /// The field with this key. It is likely to be the one with this number, as tables that were made
    /// in the same way have the same order.
    fn field(&self, number: usize, key: &Value) -> &Self {
        let Self::Table(_, fields, _) = self else { return NOTHING };
        let likely = fields.get(number).filter(|(k, _)| same(k, key));
        likely.or_else(|| fields.iter().find(|(k, _)| same(k, key))).map_or(NOTHING, |(_, value)| value)
    }

    /// The metatable.
    fn metatable(&self) -> &Self {
        match self {
            Self::Table(_, _, Some(meta)) => meta,
            _ => NOTHING,
        }
    }

    /// A value still is what it was, the contents of tables included.
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Nothing, Value::Nil) => true,
            (Self::Value(before), value) => same(before, value),
            (Self::Table(_, before, _), Value::Table(table)) => self.holds_fields(before, table, 0),
            _ => false,
        }
    }

    fn holds_fields(&self, before: &[(Value, Self)], table: &Table, depth: usize) -> bool {
        let mut count = 0;
        let all = fields(table).all(|(key, value)| {
            let before = self.field(count, &key);
            count += 1;
            match (before, &value) {
                (Self::Table(identity, deeper, _), Value::Table(inner)) => {
                    deeper.is_empty() && *identity == inner.to_pointer()
                        || depth < DEPTH && before.holds_fields(deeper, inner, depth + 1)
                }
                (before, value) => before.holds(value),
            }
        });
        all && count == before.len()
    }
}

/// All fields of a table, without metamethods.
fn fields(table: &Table) -> impl Iterator<Item = (Value, Value)> {
    table.pairs::<Value, Value>().filter_map(Result::ok)
}

/// The very same value. Unlike `==` this runs no metamethods, and NaN is the same as NaN.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Boolean(a), Value::Boolean(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Vector(a), Value::Vector(b)) => a == b,
        (Value::Integer(_) | Value::Number(_), Value::Integer(_) | Value::Number(_)) => {
            let number = |value: &Value| match value {
                Value::Integer(n) => *n as f64,
                Value::Number(n) => *n,
                _ => 0.0,
            };
            let (a, b) = (number(a), number(b));
            a == b || a.is_nan() && b.is_nan()
        }
        (a, b) => a.type_name() == b.type_name() && a.to_pointer() == b.to_pointer(),
    }
}

/// How much of a text a report shows.
const SHOWN_TEXT: usize = 60;

/// How a value reads in a report.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Nil => "nothing".into(),
        Value::Boolean(b) => b.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => {
            let text = s.to_string_lossy();
            let shown: String = text.chars().take(SHOWN_TEXT).collect();
            format!("{shown:?}{}", if shown.len() < text.len() { "..." } else { "" })
        }
        Value::Vector(v) => format!("({}, {}, {})", v.x(), v.y(), v.z()),
        Value::Table(t) => format!("a table of {}", fields(t).count()),
        other => format!("a {}", other.type_name()),
    }
}

/// Tables and functions that were evaluated aside, by identity: each, kept alive, and the live one in its
/// place.
pub(super) type Living = HashMap<*const c_void, (Value, Value)>;

/// Where a function stands in the new text: which of the texts of a batch, and which function of it.
pub(crate) type Place = (usize, usize);

/// One merge.
pub(super) struct Merge<'a> {
    /// Those of modules, and those that were merged: a table that refers to itself is merged once.
    pub living: &'a mut Living,
    /// Where functions stand that run the new text, whoever holds them: those of one place are one.
    pub places: &'a HashMap<*const c_void, Place>,
    pub differences: Vec<Difference>,
    /// How many tables are being merged, each inside of the one before.
    pub depth: usize,
}

impl Merge<'_> {
    /// Merges the fields of a table, and its metatable.
    pub fn table(&mut self, base: &Snapshot, live: &Table, fresh: &Table, path: &str) {
        for (number, (key, value)) in fields(fresh).collect::<Vec<_>>().into_iter().enumerate() {
            let path = join(path, &key);
            self.field(base.field(number, &key), live, &key, value, &path);
        }
        // What the old file defined and the new one doesn't.
        if let Snapshot::Table(_, before, _) = base {
            for (key, before) in before {
                let gone = matches!(fresh.raw_get::<Value>(key.clone()), Ok(Value::Nil));
                if gone && live.raw_get::<Value>(key.clone()).is_ok_and(|value| before.holds(&value)) {
                    let _ = live.raw_set(key.clone(), Value::Nil);
                }
            }
        }
        if let Some(new) = fresh.metatable() {
            let now = live.metatable().map_or(Value::Nil, Value::Table);
            let merged =
                self.value(base.metatable(), &now, Value::Table(new), &format!("{path}'s metatable"));
            if let Value::Table(meta) = &merged
                && !same(&now, &merged)
                && !live.is_readonly()
            {
                let _ = live.set_metatable(Some(meta.clone()));
            }
        }
    }

    fn field(&mut self, base: &Snapshot, live: &Table, key: &Value, fresh: Value, path: &str) {
        let Ok(now) = live.raw_get::<Value>(key.clone()) else { return };
        let merged = self.value(base, &now, fresh, path);
        if !same(&merged, &now) {
            let _ = live.raw_set(key.clone(), merged);
        }
    }

    /// What the game has from now on: what it had, or what the new text defines. A table stays the
    /// same one and gets new contents.
    pub fn value(&mut self, base: &Snapshot, now: &Value, fresh: Value, path: &str) -> Value {
        let evaluated = fresh.to_pointer();
        let fresh = self.living(fresh);
        let is_new = fresh.to_pointer() == evaluated;
        match (now, &fresh) {
            // It runs the new text already, and is the one that others hold.
            (Value::Function(_), Value::Function(_)) if is_new && self.is_same_place(now, &fresh) => {
                self.living.insert(evaluated, (fresh.clone(), now.clone()));
            }
            // A function that the game has put there itself stays.
            (Value::Function(_) | Value::Nil, Value::Function(_)) if base.holds(now) => return fresh,
            (Value::Table(inner), Value::Table(new)) if is_new && !same(now, &fresh) => {
                self.living.insert(evaluated, (fresh.clone(), now.clone()));
                if is_list(inner) || is_list(new) {
                    self.list(base, inner, new, path);
                } else if self.depth < MERGE_DEPTH {
                    self.depth += 1;
                    self.table(base, inner, new, path);
                    self.depth -= 1;
                }
            }
            // A channel, tasklet or coroutine that the top level makes is made once: others wait on it.
            (Value::UserData(_), Value::UserData(_)) | (Value::Thread(_), Value::Thread(_)) => {}
            _ if same(now, &fresh) || base.holds(&fresh) => {}
            _ if base.holds(now) => {
                self.note(path, now, &fresh, false);
                return fresh;
            }
            _ => self.note(path, now, &fresh, true),
        }
        now.clone()
    }

    /// A list is taken whole, in place.
    fn list(&mut self, base: &Snapshot, live: &Table, fresh: &Table, path: &str) {
        let (now, new) = (Value::Table(live.clone()), Value::Table(fresh.clone()));
        if base.holds(&new) || Snapshot::of(&now).holds(&new) {
            return;
        }
        if !base.holds(&now) {
            self.note(path, &now, &new, true);
            return;
        }
        self.note(path, &now, &new, false);
        let _ = live.clear();
        for (key, value) in fields(fresh).collect::<Vec<_>>() {
            let _ = live.raw_set(key, self.living(value));
        }
    }

    /// What the game has from now on of a value of which it isn't known what the old text said.
    #[cfg_attr(not(feature = "reload"), allow(dead_code))]
    pub fn unknown(&mut self, now: &Value, fresh: Value, path: &str) -> Value {
        match (now, &fresh) {
            (Value::Function(_), Value::Function(_)) | (Value::Table(_), Value::Table(_)) => {
                self.value(&Snapshot::of(now), now, fresh, path)
            }
            _ => now.clone(),
        }
    }

    /// Takes note of a value that is the file's, whatever the game has made of it.
    #[cfg_attr(not(feature = "reload"), allow(dead_code))]
    pub fn constant(&mut self, now: &Value, fresh: &Value, path: &str) {
        if !same(now, fresh) {
            self.note(path, now, fresh, false);
        }
    }

    fn is_same_place(&self, a: &Value, b: &Value) -> bool {
        let place = |value: &Value| self.places.get(&value.to_pointer());
        place(a).is_some() && place(a) == place(b)
    }

    /// The live table or function in place of one that was evaluated aside.
    pub fn living(&self, value: Value) -> Value {
        match &value {
            Value::Table(_) | Value::Function(_) => match self.living.get(&value.to_pointer()) {
                Some((_, live)) => live.clone(),
                None => value,
            },
            _ => value,
        }
    }

    /// What a value that was evaluated aside is now: what lives in its place.
    pub fn snapshot(&self, fresh: &Value) -> Snapshot {
        Snapshot::take(fresh, &mut Vec::new(), &|value| self.living(value))
    }

    fn note(&mut self, path: &str, before: &Value, after: &Value, kept: bool) {
        self.differences.push(Difference {
            file: String::new(),
            path: path.into(),
            before: show(before),
            after: show(after),
            kept,
        });
    }
}

fn is_list(table: &Table) -> bool {
    table.raw_len() > 0
}

fn join(path: &str, key: &Value) -> String {
    match key {
        Value::String(name) => format!("{path}.{}", name.to_string_lossy()),
        key => format!("{path}[{}]", show(key)),
    }
}
