//! Scenes: who is in the world at the beginning, as a TOML file.
//!
//! ```toml
//! [[entity]]
//! name = "the healer"                       # optional
//! script = "healer"                         # or scripts = ["healer", "torch"]
//! Transform = { translation = [30, 15, 0] } # any registered component; what is left out is the default
//!
//! [[entity]]
//! count = 60                                # so many of them
//! script = "sheep"
//! Health = { max = 5 }
//! random = { "Transform.translation" = [[5, 5, 0], [25, 20, 0]] } # anywhere between the two
//! ```
//!
//! A whole scene is spawned, or nothing of it.

use crate::ecs::{Registry, Value, ValueError};
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The most entities of one entry.
const MOST: i128 = 1_000_000;

/// What is wrong with a scene, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneError {
    /// The file, as it was given to [`Scene::parse`].
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The line's text.
    pub excerpt: String,
}

impl std::error::Error for SceneError {}

impl fmt::Display for SceneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, excerpt } = self;
        write!(f, "{file}:{line}:{column}: {message}\n    {line:>4} | {excerpt}")
    }
}

/// A scene that has been read.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bevy_reflect::prelude::*;
/// use bluetick::Scene;
/// use bluetick::ecs::Registry;
///
/// #[derive(Component, Reflect, Default)]
/// #[reflect(Default)]
/// struct Health { current: f32, max: f32 }
///
/// let mut world = World::new();
/// let registry = Registry::builder().component::<Health>().build(&mut world)?;
/// let scene = Scene::parse("[[entity]]\ncount = 3\nHealth = { current = 7 }", "cave.toml")?;
/// assert_eq!(scene.spawn(&mut world, &registry, 1)?.len(), 3);
///
/// let scene = Scene::parse("[[entity]]\nHealth = { curent = 7 }", "cave.toml")?;
/// let error = scene.spawn(&mut world, &registry, 1).unwrap_err();
/// assert!(error.to_string().starts_with("cave.toml:2:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scene {
    file: String,
    text: String,
    entries: Vec<Entry>,
}

/// One `[[entity]]`.
#[derive(Clone, Debug)]
struct Entry {
    count: usize,
    /// Components by name, and `Name` and `Scripts`, each with the place of its value.
    parts: Vec<(String, Value, Range<usize>)>,
    random: Vec<Random>,
}

/// A field that gets a value of its own for each entity of an entry.
#[derive(Clone, Debug)]
struct Random {
    component: String,
    path: Vec<String>,
    /// The lowest and the highest of each number.
    between: Vec<(f64, f64)>,
    /// The field is a list of numbers, not one.
    list: bool,
    place: Range<usize>,
}

impl Scene {
    /// Reads a scene; `file` is its name in messages.
    ///
    /// # Errors
    /// The text is no TOML, or not of a scene's shape. Components are checked when it is spawned.
    pub fn parse(text: &str, file: &str) -> Result<Self, SceneError> {
        let mut scene = Self { file: file.into(), text: text.into(), entries: Vec::new() };
        let root = DeTable::parse(text)
            .map_err(|error| scene.error(error.span().unwrap_or(0..0), error.message()))?;
        for (key, value) in root.get_ref() {
            if key.get_ref() != "entity" {
                let key_name = key.get_ref();
                return Err(scene.error(
                    key.span(),
                    format!("a scene consists of [[entity]] entries; '{key_name}' is none"),
                ));
            }
            let entries = value.get_ref().as_array().ok_or_else(|| {
                scene.error(value.span(), "write [[entity]] with two brackets: a scene has a list of them")
            })?;
            for entry in entries {
                let entry = scene.entry(entry)?;
                scene.entries.push(entry);
            }
        }
        Ok(scene)
    }

    /// How many entities it has.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|entry| entry.count).sum()
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Spawns the whole scene, in the order of the file. The same seed gives the same random values.
    ///
    /// # Errors
    /// An unknown component, field or script, or a value of the wrong type; nothing is spawned then.
    pub fn spawn(&self, world: &mut World, registry: &Registry, seed: u64) -> Result<Vec<Entity>, SceneError> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut ready = Vec::with_capacity(self.len());
        for entry in &self.entries {
            for _ in 0..entry.count {
                let mut parts = Vec::with_capacity(entry.parts.len());
                for (name, value, place) in entry.instance(self, &mut random)? {
                    let part = registry.part(&name, &value, None).map_err(|error| self.misfit(place.clone(), error))?;
                    parts.push((part, place));
                }
                ready.push(parts);
            }
        }
        let mut spawned = Vec::with_capacity(ready.len());
        for parts in ready {
            let mut entity = world.spawn_empty();
            spawned.push(entity.id());
            for (part, place) in parts {
                if let Err(error) = registry.insert_part(&mut entity, part) {
                    for entity in spawned {
                        world.despawn(entity);
                    }
                    return Err(self.misfit(place, error));
                }
            }
        }
        Ok(spawned)
    }

    fn entry(&self, entry: &Spanned<DeValue<'_>>) -> Result<Entry, SceneError> {
        let table = entry
            .get_ref()
            .as_table()
            .ok_or_else(|| self.error(entry.span(), "an entity is a table of its components"))?;
        let mut result = Entry { count: 1, parts: Vec::new(), random: Vec::new() };
        for (key, value) in table {
            let place = value.span();
            match (key.get_ref().as_ref(), self.value(value)?) {
                ("count", Value::Integer(count)) if (0..=MOST).contains(&count) => result.count = count as usize,
                ("count", _) => {
                    return Err(self.error(place, format!("count is a whole number from 0 to {MOST}")));
                }
                ("random", Value::Map(_)) => {
                    for (path, between) in value.get_ref().as_table().into_iter().flatten() {
                        result.random.push(self.random(path, between)?);
                    }
                }
                ("random", _) => {
                    return Err(self.error(
                        place,
                        "random is a table of fields: { \"Transform.translation\" = [[0, 0, 0], [9, 9, 0]] }",
                    ));
                }
                ("name", name) => result.parts.push(("Name".into(), name, place)),
                ("script", script) => result.parts.push(("Script".into(), script, place)),
                ("scripts", scripts) => result.parts.push(("Scripts".into(), scripts, place)),
                (component, value) => result.parts.push((component.into(), value, place)),
            }
        }
        // Scripts come last: they start with all the components there. Within a kind, the file's order.
        result.parts.sort_by_key(|(name, _, place)| (name.starts_with("Script"), place.start));
        Ok(result)
    }

    fn random(
        &self,
        path: &Spanned<std::borrow::Cow<'_, str>>,
        between: &Spanned<DeValue<'_>>,
    ) -> Result<Random, SceneError> {
        let wrong = || {
            self.error(
                between.span(),
                "a random field lies between two numbers, [5, 10], or two lists of as many numbers, [[0, 0], [9, 9]]",
            )
        };
        let mut names = path.get_ref().split('.').map(str::to_owned);
        let (component, names) = (names.next().unwrap_or_default(), names.collect::<Vec<_>>());
        if names.is_empty() {
            return Err(self.error(path.span(), "a random field is named by its component and its path: \"Health.current\""));
        }
        let Value::List(ends) = self.value(between)? else { return Err(wrong()) };
        let numbers = |value: &Value| match value {
            Value::List(list) => list.iter().map(number).collect::<Option<Vec<f64>>>(),
            value => number(value).map(|number| vec![number]),
        };
        let [low, high] = &*ends else { return Err(wrong()) };
        let list = matches!(low, Value::List(_));
        let (Some(low), Some(high)) = (numbers(low), numbers(high)) else { return Err(wrong()) };
        if low.len() != high.len() || low.iter().chain(&high).any(|number| !number.is_finite()) {
            return Err(wrong());
        }
        let between = low.into_iter().zip(high).collect();
        Ok(Random { component, path: names, between, list, place: path.span() })
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, SceneError> {
        let unreadable = |what: &str| self.error(value.span(), format!("this {what} can't be read"));
        Ok(match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(digits) => Value::Integer(
                i128::from_str_radix(digits.as_str(), digits.radix()).map_err(|_| unreadable("number"))?,
            ),
            DeValue::Float(digits) => {
                Value::Number(digits.as_str().parse().map_err(|_| unreadable("number"))?)
            }
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(_) => return Err(unreadable("date")),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            DeValue::Table(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(key, _)| key.span().start);
                let pair = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                    Ok((Value::String(key.get_ref().clone().into_owned()), self.value(value)?))
                };
                Value::Map(fields.into_iter().map(pair).collect::<Result<_, SceneError>>()?)
            }
        })
    }

    fn misfit(&self, place: Range<usize>, error: ValueError) -> SceneError {
        self.error(place, error.to_string())
    }

    fn error(&self, place: Range<usize>, message: impl Into<String>) -> SceneError {
        let start = (0..=place.start.min(self.text.len())).rev().find(|&at| self.text.is_char_boundary(at));
        let before = &self.text[..start.unwrap_or(0)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        SceneError {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            excerpt: self.text[line_start..].lines().next().unwrap_or_default().to_owned(),
        }
    }
}

impl Entry {
    /// The parts of one entity, with its own random values in them.
    fn instance(
        &self,
        scene: &Scene,
        random: &mut fastrand::Rng,
    ) -> Result<Vec<(String, Value, Range<usize>)>, SceneError> {
        let mut parts = self.parts.clone();
        for field in &self.random {
            let mut numbers = field.between.iter().map(|&(low, high)| {
                Value::Number(low + (high - low) * random.f64())
            });
            let value = match field.list {
                true => Value::List(numbers.collect()),
                false => numbers.next().unwrap_or_default(),
            };
            let at = match parts.iter().position(|(name, ..)| *name == field.component) {
                Some(at) => at,
                None => {
                    parts.insert(0, (field.component.clone(), Value::Map(Vec::new()), field.place.clone()));
                    0
                }
            };
            if !set(&mut parts[at].1, &field.path, value) {
                return Err(scene.error(
                    field.place.clone(),
                    format!("'{}' is given a value that has no fields", field.component),
                ));
            }
        }
        Ok(parts)
    }
}

/// Sets the field at `path`; false if something on the way is no table.
fn set(value: &mut Value, path: &[String], new: Value) -> bool {
    let [first, rest @ ..] = path else {
        *value = new;
        return true;
    };
    let Value::Map(fields) = value else { return false };
    let is_first = |(key, _): &(Value, Value)| matches!(key, Value::String(key) if key == first);
    let at = match fields.iter().position(is_first) {
        Some(at) => at,
        None => {
            fields.push((Value::String(first.clone()), Value::Map(Vec::new())));
            fields.len() - 1
        }
    };
    set(&mut fields[at].1, rest, new)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}
