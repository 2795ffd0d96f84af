//! A script of an entity as a scene or a script describes it.
//!
//! ```lua
//! world:spawn { Script = "goblin" }
//! world:spawn { Script = { name = "goblin", restart = "always", enabled = false } }
//! world:spawn { Scripts = { "goblin", { name = "torch", restart = { first = 0.5, longest = 8 } } } }
//! ```
//!
//! `restart` is `"on_change"`, `"always"`, `"never"` or a table of seconds; see [`Restart`]. `enabled = false` pauses
//! the script before it has begun; see [`Dormant`](crate::Dormant). Read back, a script is its name.

use super::nearest::did_you_mean;
use super::value::{Value, ValueError};
use crate::script::Restart;

/// A script that an entity is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptPart {
    /// Its path below the script folder, without its ending.
    pub name: String,
    /// When it starts again that has failed.
    pub restart: Restart,
    /// Whether it runs. `None` leaves to the entity what it is.
    pub enabled: Option<bool>,
}

const KEYS: [&str; 3] = ["name", "restart", "enabled"];

impl ScriptPart {
    /// Understands a name, or a table with more.
    pub(crate) fn parse(value: &Value) -> Result<Self, ValueError> {
        let entries = match value {
            Value::String(name) => {
                return Ok(Self { name: name.clone(), restart: Restart::default(), enabled: None });
            }
            Value::Map(entries) => entries,
            other => return Err(ValueError::mismatch("a string, or a table with a name", other)),
        };
        let (mut name, mut restart, mut enabled) = (None, Restart::default(), None);
        for (key, value) in entries {
            let Value::String(key) = key else { return Err(ValueError::mismatch("a name", key)) };
            match (&**key, value) {
                ("name", Value::String(text)) => name = Some(text.clone()),
                ("name", other) => return Err(ValueError::mismatch("a string", other).within("name")),
                ("restart", value) => restart = parse_restart(value).map_err(|e| e.within("restart"))?,
                ("enabled", &Value::Bool(flag)) => enabled = Some(flag),
                ("enabled", other) => {
                    return Err(ValueError::mismatch("true or false", other).within("enabled"));
                }
                (key, _) => return Err(unknown(key, KEYS)),
            }
        }
        let name = name.ok_or_else(|| ValueError::new("needs a name as well"))?;
        Ok(Self { name, restart, enabled })
    }

    /// Understands one, or a list of them.
    pub(crate) fn parse_all(value: &Value) -> Result<Vec<Self>, ValueError> {
        match value {
            Value::List(list) => {
                list.iter().enumerate().map(|(i, value)| Self::parse(value).map_err(|e| e.at(i))).collect()
            }
            empty if empty.is_empty_table() => Ok(Vec::new()),
            value => Ok(vec![Self::parse(value)?]),
        }
    }
}

fn parse_restart(value: &Value) -> Result<Restart, ValueError> {
    const NAMES: [&str; 3] = ["on_change", "always", "never"];
    let entries = match value {
        Value::String(name) => {
            return match name.as_str() {
                "on_change" => Ok(Restart::OnChange),
                "always" => Ok(Restart::ALWAYS),
                "never" => Ok(Restart::Never),
                other => {
                    let near = did_you_mean(other, NAMES);
                    Err(ValueError::mismatch("\"on_change\", \"always\", \"never\" or a table", value)
                        .with_hint(&near))
                }
            };
        }
        Value::Map(entries) => entries,
        other => {
            return Err(ValueError::mismatch("\"on_change\", \"always\", \"never\" or a table", other));
        }
    };
    let Restart::Always { mut first, mut longest } = Restart::ALWAYS else { return Ok(Restart::ALWAYS) };
    let mut has_longest = false;
    for (key, value) in entries {
        let seconds = || match value.as_number() {
            Some(seconds) if seconds >= 0.0 && seconds.is_finite() => Ok(seconds),
            _ => Err(ValueError::mismatch("a number of seconds", value)),
        };
        match key {
            Value::String(key) if key == "first" => first = seconds().map_err(|e| e.within(key))?,
            Value::String(key) if key == "longest" => {
                longest = seconds().map_err(|e| e.within(key))?;
                has_longest = true;
            }
            Value::String(key) => return Err(unknown(key, ["first", "longest"])),
            key => return Err(ValueError::mismatch("first or longest", key)),
        }
    }
    if !has_longest {
        longest = longest.max(first);
    }
    if longest < first {
        return Err(ValueError::new(format!("the longest wait, {longest}, is below the first, {first}")));
    }
    Ok(Restart::Always { first, longest })
}

fn unknown<const N: usize>(key: &str, known: [&str; N]) -> ValueError {
    let near = did_you_mean(key, known);
    let key_shown = super::nearest::shorten(key);
    let known = super::nearest::enumerate(known);
    ValueError::new(format!("there is no '{key_shown}'{near}; there are {known}")).about(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Map(entries.into_iter().map(|(key, value)| (Value::String(key.into()), value)).collect())
    }

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn a_name_stands_for_a_table_with_it() {
        let plain = ScriptPart { name: "a".into(), restart: Restart::OnChange, enabled: None };
        assert_eq!(ScriptPart::parse(&text("a")), Ok(plain.clone()));
        assert_eq!(ScriptPart::parse(&map([("name", text("a"))])), Ok(plain));
        let all = map([("name", text("a")), ("restart", text("never")), ("enabled", Value::Bool(false))]);
        let part = ScriptPart { name: "a".into(), restart: Restart::Never, enabled: Some(false) };
        assert_eq!(ScriptPart::parse_all(&all), Ok(vec![part.clone()]));
        assert_eq!(ScriptPart::parse_all(&Value::List(vec![all.clone(), all])), Ok(vec![part.clone(), part]));
        assert_eq!(ScriptPart::parse_all(&Value::Map(vec![])), Ok(vec![]));
    }

    #[test]
    fn a_back_off_is_a_name_or_its_seconds() {
        let of = |value| parse_restart(&value).map_err(|error| error.to_string());
        assert_eq!(of(text("always")), Ok(Restart::ALWAYS));
        assert_eq!(of(Value::Map(vec![])), Ok(Restart::ALWAYS));
        let number = Value::Number;
        assert_eq!(
            of(map([("first", number(0.5)), ("longest", Value::Integer(8))])),
            Ok(Restart::Always { first: 0.5, longest: 8.0 })
        );
        assert_eq!(of(map([("first", number(90.0))])), Ok(Restart::Always { first: 90.0, longest: 90.0 }));
        for (value, part) in [
            (text("alway"), "did you mean 'always'?"),
            (Value::Bool(true), "expected \"on_change\""),
            (map([("first", number(-1.0))]), "first: expected a number of seconds, got number -1"),
            (map([("first", number(f64::NAN))]), "first: expected a number of seconds, got number nan"),
            (map([("first", number(2.0)), ("longest", number(1.0))]), "the longest wait, 1, is below"),
            (map([("frist", number(2.0))]), "there is no 'frist' (did you mean 'first'?)"),
        ] {
            let error = of(value).unwrap_err();
            assert!(error.contains(part), "{error} does not say {part}");
        }
    }

    #[test]
    fn a_mistake_in_a_description_names_its_place() {
        for (value, part) in [
            (Value::Integer(3), "expected a string, or a table with a name, got number 3"),
            (Value::List(vec![text("a"), Value::Nil]), "[2]: expected a string"),
            (map([("restart", text("never"))]), "needs a name as well"),
            (map([("name", Value::Integer(3))]), "name: expected a string, got number 3"),
            (map([("name", text("a")), ("enabled", text("no"))]), "enabled: expected true or false"),
            (
                map([("name", text("a")), ("restrat", text("no"))]),
                "there is no 'restrat' (did you mean 'restart'?)",
            ),
            (map([("name", text("a")), ("restart", text("no"))]), "restart: expected \"on_change\""),
        ] {
            let error = ScriptPart::parse_all(&value).unwrap_err().to_string();
            assert!(error.contains(part), "{error} does not say {part}");
        }
    }
}
