//! A value on its way between a component, a script and a scene file.

use bevy_ecs::entity::Entity;
use glam::Vec3;
use std::cmp::Ordering;
use std::fmt;

/// How deep lists and maps may nest in each other.
pub const MAX_DEPTH: usize = 32;

/// How many values one table may hold in all, however they nest.
pub const MAX_VALUES: usize = 1 << 20;

/// A plain value, without a type of its own: what scripts, scene files and reflected data have in
/// common.
///
/// Its shape is serde's: a struct is a map, a newtype is what it wraps, a unit variant of an enum is
/// its name, a variant with data is a map with one entry, `None` is nil.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: Luau's `nil`, Rust's `None`.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number that is known to be one. Scripts see it as a number, or as a string of digits
    /// where a number could not hold it exactly (beyond 2⁵³).
    Integer(i128),
    /// A number.
    Number(f64),
    /// A text.
    String(String),
    /// Luau's native vector.
    Vector(Vec3),
    /// An entity, dead or alive.
    Entity(Entity),
    /// Values in order.
    List(Vec<Value>),
    /// Pairs of key and value, sorted by key when they come from a script.
    Map(Vec<(Value, Value)>),
}

/// Numbers up to here are exact in an `f64`.
pub(crate) const EXACT: i128 = 1 << 53;

impl Value {
    /// The value under the text `key` of a map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(k, _)| matches!(k, Self::String(k) if k == key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Whether this is an empty table, which may stand for a list as well as for a map.
    pub(crate) fn is_empty_table(&self) -> bool {
        match self {
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            _ => false,
        }
    }

    /// The number, if it is one.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match *self {
            Self::Number(number) => Some(number),
            Self::Integer(number) => Some(number as f64),
            _ => None,
        }
    }

    /// What an error message says was found: `string "abc"`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Nil => "nil".into(),
            Self::Bool(value) => format!("{value}"),
            Self::Integer(value) => format!("number {value}"),
            Self::Number(value) if value.is_nan() => "number nan".into(),
            Self::Number(value) => format!("number {value}"),
            Self::String(value) => format!("string {:?}", super::nearest::shorten(value)),
            Self::Vector(value) => format!("vector {}, {}, {}", value.x, value.y, value.z),
            Self::Entity(value) => format!("entity {value}"),
            Self::List(list) => format!("a list of {}", list.len()),
            Self::Map(map) if map.is_empty() => "an empty table".into(),
            Self::Map(_) => "a table".into(),
        }
    }

    /// An order over all values, by which maps are iterated.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        fn rank(value: &Value) -> u8 {
            match value {
                Value::Nil => 0,
                Value::Bool(_) => 1,
                Value::Integer(_) | Value::Number(_) => 2,
                Value::String(_) => 3,
                Value::Vector(_) => 4,
                Value::Entity(_) => 5,
                Value::List(_) => 6,
                Value::Map(_) => 7,
            }
        }
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Entity(a), Self::Entity(b)) => a.to_bits().cmp(&b.to_bits()),
            (Self::Vector(a), Self::Vector(b)) => {
                a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)).then(a.z.total_cmp(&b.z))
            }
            (Self::List(a), Self::List(b)) => {
                let firsts = a.iter().zip(b).map(|(a, b)| a.order(b));
                firsts.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            _ => match (self.as_number(), other.as_number()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => rank(self).cmp(&rank(other)),
            },
        }
    }
}

/// As a script would write it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::String(value) => write!(f, "{value:?}"),
            Self::Vector(value) => write!(f, "({}, {}, {})", value.x, value.y, value.z),
            Self::Entity(value) => write!(f, "entity {value}"),
            Self::List(list) => {
                f.write_str("{")?;
                for (i, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { " " } else { ", " })?;
                }
                f.write_str(if list.is_empty() { "}" } else { " }" })
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (i, (key, value)) in map.iter().enumerate() {
                    f.write_str(if i == 0 { " " } else { ", " })?;
                    match key {
                        Self::String(key) => write!(f, "{key} = {value}")?,
                        key => write!(f, "[{key}] = {value}")?,
                    }
                }
                f.write_str(if map.is_empty() { "}" } else { " }" })
            }
        }
    }
}

/// One step from a value into its insides, as a message shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field or a key: `.name`.
    Name(String),
    /// The place in a list, from 1: `[3]`.
    Index(usize),
}

/// Why a value does not fit the type that it was meant for, and where in the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// From the outside in.
    pub place: Vec<Segment>,
    /// What was expected, what was found, and the nearest name where a name was wrong.
    pub problem: String,
    /// The name in that place that should not be there, if this is the problem.
    pub stray: Option<String>,
}

impl ValueError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { place: Vec::new(), problem: problem.into(), stray: None }
    }

    pub(crate) fn mismatch(expected: &str, found: &Value) -> Self {
        Self::new(format!("expected {expected}, got {}", found.describe()))
    }

    /// Adds a hint to the problem.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.problem.push_str(hint);
        self
    }

    /// Says which name should not be there.
    pub(crate) fn about(mut self, name: &str) -> Self {
        self.stray = Some(name.to_owned());
        self
    }

    /// Says that this happened inside the field or key `name`.
    pub(crate) fn within(mut self, name: &str) -> Self {
        self.place.insert(0, Segment::Name(name.to_owned()));
        self
    }

    /// Says that this happened at `index`, counted from 0, of a list.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.place.insert(0, Segment::Index(index + 1));
        self
    }

    /// `Transform.translation[2]`
    pub fn path(&self) -> String {
        let mut path = String::new();
        for segment in &self.place {
            match segment {
                Segment::Name(name) if path.is_empty() => path.push_str(name),
                Segment::Name(name) => path.extend([".", name]),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}

impl std::error::Error for ValueError {}

/// As a script sees it: an error of kind `type`.
impl From<ValueError> for bluetick_scripting::Error {
    fn from(error: ValueError) -> Self {
        Self::wrong_type(error.to_string())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.path())?;
        }
        f.write_str(&self.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_path_from_the_outside_in() {
        let error = ValueError::mismatch("a number (f32)", &Value::String("abc".into()));
        let error = error.at(1).within("points").within("Route");
        assert_eq!(error.to_string(), "Route.points[2]: expected a number (f32), got string \"abc\"");
    }

    #[test]
    fn a_value_prints_as_a_script_would_write_it() {
        let value = Value::Map(vec![
            (Value::String("a".into()), Value::List(vec![Value::Integer(1), Value::Nil])),
            (Value::Integer(2), Value::Vector(Vec3::new(1.0, 0.5, 0.0))),
        ]);
        assert_eq!(value.to_string(), "{ a = { 1, nil }, [2] = (1, 0.5, 0) }");
    }

    #[test]
    fn the_order_of_values_is_total_over_mixed_numbers() {
        let mut values =
            [Value::Number(2.5), Value::Integer(2), Value::String("a".into()), Value::Bool(true)];
        values.sort_by(Value::order);
        assert_eq!(
            values,
            [Value::Bool(true), Value::Integer(2), Value::Number(2.5), Value::String("a".into())]
        );
    }
}
