//! Scenes: who is in the world at the beginning, as a TOML file.
//!
//! ```toml
//! [[entity]]
//! name = "the healer"                       # optional
//! script = "healer"                         # or scripts = ["healer", "torch"], or
//!                                           # { name = "healer", restart = "always", enabled = false }
//! Transform = { translation = [30, 15, 0] } # any registered component; what is left out is the default
//!
//! [[entity]]
//! name = "sheep"                            # they are "sheep 1" to "sheep 60"
//! count = 60                                # so many of them
//! script = "sheep"
//! Health = { max = 5 }
//! Patient = { of = "the healer" }           # a field that holds an entity, by its name
//! [entity.random]                           # anywhere between the two, anew for each of them
//! Transform.translation = [[5, 5, 0], [25, 20, 0]]
//! Health.current = [1, 5]
//!
//! [components]                              # components of its own, and what their values leave out
//! Poison = { dps = 2 }
//! ```
//!
//! Values have the shape that serde would give them: a newtype is what it wraps, a variant of an enum without data is
//! its name, one with data a table with one entry. A vector is a list of its numbers. A random field of an
//! integer type gets whole numbers, and the last is one of them.
//!
//! A whole scene is spawned, or nothing of it.

use crate::ecs::{Part, did_you_mean, enumerate, find_named};
use crate::ecs::{Registry, Segment, Value, ValueError};
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use fastrand::Rng;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a scene can't be read or spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneError {
    /// The file, as it was given to [`Scene::parse`].
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, in characters, counted from 1.
    pub column: usize,
    /// Which entity, which component, which field; what was expected and what was found.
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

/// Entities with their components and scripts, to be spawned into a world.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bevy_reflect::prelude::*;
/// use bluetick::{ecs::Registry, Scene};
///
/// #[derive(Component, Reflect, Default)]
/// #[reflect(Default)]
/// struct Health { current: f32, max: f32 }
///
/// let mut world = World::new();
/// let registry = Registry::builder().component::<Health>().build(&mut world)?;
/// let scene = Scene::parse("
///     [[entity]]
///     name = 'rat'
///     count = 3
///     Health = { max = 10 }
///     random.Health.current = [1, 9]
/// ", "rats.toml")?;
/// let rats = scene.spawn(&mut world, &registry, 7)?;
/// assert_eq!(rats.len(), 3);
/// assert_eq!(world.get::<Name>(rats[2]).unwrap().as_str(), "rat 3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scene {
    file: String,
    text: String,
    /// Components of its own, and what their values leave out.
    declared: Vec<(String, Value, Range<usize>)>,
    entities: Vec<Described>,
}

/// One `[[entity]]`.
#[derive(Clone, Debug)]
struct Described {
    name: Option<String>,
    count: usize,
    /// Components, and `Script` or `Scripts`.
    parts: Vec<(String, Value)>,
    random: Vec<Random>,
    source: Source,
}

/// A value that is drawn for each copy.
#[derive(Clone, Debug)]
struct Random {
    /// `Transform`, `translation`
    path: Vec<String>,
    low: Value,
    high: Value,
    span: Range<usize>,
}

/// Where a value stands in the text, and where its parts do.
#[derive(Clone, Debug)]
struct Source {
    /// Of the key if there is one, else of the value.
    span: Range<usize>,
    parts: Vec<(Segment, Source)>,
}

impl Source {
    /// The place of an error: as far in as it is known.
    fn find(&self, place: &[Segment], stray: Option<&str>) -> &Range<usize> {
        let part = |wanted: &Segment| self.parts.iter().find(|(segment, _)| segment == wanted);
        match place.split_first() {
            Some((first, rest)) => part(first).map_or(&self.span, |(_, source)| source.find(rest, stray)),
            None => {
                let stray = stray.and_then(|name| part(&Segment::Name(name.to_owned())));
                stray.map_or(&self.span, |(_, source)| &source.span)
            }
        }
    }
}

/// Most copies of one entity.
const MAX_COUNT: usize = 100_000;

/// What an entity may have besides components.
const KEYS: [&str; 5] = ["name", "script", "scripts", "count", "random"];

impl Scene {
    /// Reads a scene; `file` is for messages.
    ///
    /// # Errors
    /// The text is not TOML, or does not describe entities. Components are not looked at before
    /// [`spawn`](Self::spawn), which knows them.
    pub fn parse(text: &str, file: &str) -> Result<Self, SceneError> {
        let mut scene =
            Self { file: file.to_owned(), text: text.to_owned(), declared: Vec::new(), entities: Vec::new() };
        let document = DeTable::parse(text).map_err(|error| {
            scene.error(&error.span().unwrap_or_default(), error.message().trim_end().to_owned())
        })?;
        for (key, value) in document.get_ref() {
            if key.get_ref() == "components" {
                let table = value.get_ref().as_table().ok_or_else(|| {
                    let found = value.get_ref().type_str();
                    scene.error(
                        &value.span(),
                        format!("components: expected a table of tables, got a {found}"),
                    )
                })?;
                for (name, defaults) in table {
                    let read = read(defaults, name.span());
                    let (defaults, _) = read.map_err(|(span, message)| scene.error(&span, message))?;
                    scene.declared.push((name.get_ref().to_string(), defaults, name.span()));
                }
                continue;
            }
            if key.get_ref() != "entity" {
                let near = did_you_mean(key.get_ref(), ["entity", "components"]);
                let message =
                    format!("a scene has no '{}'{near}; it has [[entity]] and [components]", key.get_ref());
                return Err(scene.error(&key.span(), message));
            }
            let list = value.get_ref().as_array().ok_or_else(|| {
                scene.error(&value.span(), "write [[entity]] with two brackets: a scene has many".to_owned())
            })?;
            for (i, entity) in list.iter().enumerate() {
                let table = entity.get_ref().as_table().ok_or_else(|| {
                    let found = entity.get_ref().type_str();
                    scene.error(&entity.span(), format!("entity {}: expected a table, got a {found}", i + 1))
                })?;
                let described = describe(table, entity.span()).map_err(|(span, message)| {
                    let name = table.get("name").and_then(|name| name.get_ref().as_str());
                    scene.error(&span, format!("{}: {message}", label(name, i)))
                })?;
                scene.entities.push(described);
            }
        }
        Ok(scene)
    }

    /// How many entities it has.
    pub fn len(&self) -> usize {
        self.entities.iter().map(|described| described.count).sum()
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Spawns the whole scene, in the order of the file. The same seed gives the same random values.
    ///
    /// # Errors
    /// An unknown component or field, a value that does not fit, a name that nothing has, a script that is
    /// refused.
    pub fn spawn(
        &self,
        world: &mut World,
        registry: &Registry,
        seed: u64,
    ) -> Result<Vec<Entity>, SceneError> {
        for (name, defaults, span) in &self.declared {
            registry.declare(world, name, defaults).map_err(|error| self.error(span, error.to_string()))?;
        }
        // Ids first: entities may refer to each other.
        let entities: Vec<Entity> = (0..self.len()).map(|_| world.spawn_empty().id()).collect();
        let result = self.build(world, registry, seed, &entities).and_then(|built| {
            for (&entity, (i, mut parts)) in entities.iter().zip(built) {
                registry.fill(world, entity, &mut parts).map_err(|error| self.refuse(i, &error))?;
            }
            Ok(())
        });
        match result {
            Ok(()) => Ok(entities),
            Err(error) => {
                for entity in entities {
                    let _ = world.try_despawn(entity);
                }
                Err(error)
            }
        }
    }

    /// Converts everything, for all entities; with each, which description it comes from.
    fn build(
        &self,
        world: &World,
        registry: &Registry,
        seed: u64,
        entities: &[Entity],
    ) -> Result<Vec<(usize, Vec<Part>)>, SceneError> {
        let mut names: HashMap<String, Entity> = HashMap::new();
        let mut rest = entities.iter();
        for described in &self.entities {
            for (copy, &entity) in (0..described.count).zip(rest.by_ref()) {
                if let Some(name) = &described.name {
                    names.entry(name.clone()).or_insert(entity);
                    names.entry(described.copy_name(name, copy)).or_insert(entity);
                }
            }
        }
        let named = |name: &str| names.get(name).copied().or_else(|| find_named(world, name));
        let mut built = Vec::with_capacity(entities.len());
        for (i, described) in self.entities.iter().enumerate() {
            // Each description draws from numbers of its own, so that a change of one leaves the others in place.
            let mut rng = Rng::with_seed(seed ^ (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for copy in 0..described.count {
                let mut values = described.parts.clone();
                for random in &described.random {
                    random.draw(&mut rng, registry, &mut values);
                }
                let mut parts = Vec::with_capacity(values.len() + 1);
                if let Some(name) = &described.name {
                    parts.push(Part::Name(described.copy_name(name, copy)));
                }
                for (name, value) in values {
                    let part = registry.part(&name, &value, Some(&named));
                    parts.push(part.map_err(|error| self.refuse(i, &with_keys(error, &name, registry)))?);
                }
                built.push((i, parts));
            }
        }
        Ok(built)
    }

    /// An error in the description number `i`.
    fn refuse(&self, i: usize, error: &ValueError) -> SceneError {
        let described = &self.entities[i];
        let mut span = described.source.find(&error.place, error.stray.as_deref());
        // A random value stands elsewhere.
        let names = error.place.iter().map_while(|segment| match segment {
            Segment::Name(name) => Some(name),
            Segment::Index(_) => None,
        });
        let names: Vec<&String> = names.chain(&error.stray).collect();
        let is_it = |random: &&Random| random.path.iter().eq(names.iter().copied());
        // The error may be further out than the value: a component that nothing else names is unknown, say.
        let is_in_it = |random: &&Random| {
            names.len() <= random.path.len()
                && names.iter().zip(&random.path).all(|(name, step)| *name == step)
        };
        let is_written = described.parts.iter().any(|(part, _)| Some(&part) == names.first());
        let all = &described.random;
        let random = all.iter().find(is_it);
        if let Some(random) =
            random.or_else(|| all.iter().find(is_in_it).filter(|_| !is_written && !names.is_empty()))
        {
            span = &random.span;
        }
        self.error(span, format!("{}: {error}", label(described.name.as_deref(), i)))
    }

    fn error(&self, span: &Range<usize>, message: String) -> SceneError {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        SceneError {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
            excerpt: self.text[line_start..].lines().next().unwrap_or_default().to_owned(),
        }
    }
}

/// An unknown component may be meant to be one of the other keys.
fn with_keys(error: ValueError, name: &str, registry: &Registry) -> ValueError {
    if error.stray.as_deref() != Some(name) || !error.place.is_empty() {
        return error;
    }
    let near = did_you_mean(name, registry.component_names().chain(KEYS));
    let problem =
        format!("there is no component '{name}'{near}; an entity has {} and components", enumerate(KEYS));
    ValueError { problem, ..error }
}

fn label(name: Option<&str>, i: usize) -> String {
    match name {
        Some(name) => format!("entity \"{name}\""),
        None => format!("entity {}", i + 1),
    }
}

impl Described {
    fn copy_name(&self, name: &str, copy: usize) -> String {
        if self.count == 1 { name.to_owned() } else { format!("{name} {}", copy + 1) }
    }
}

type Problem = (Range<usize>, String);

/// Understands one `[[entity]]`.
fn describe(table: &DeTable<'_>, span: Range<usize>) -> Result<Described, Problem> {
    let mut described = Described {
        name: None,
        count: 1,
        parts: Vec::new(),
        random: Vec::new(),
        source: Source { span, parts: Vec::new() },
    };
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let expected = |what: &str| {
            Err((value.span(), format!("{name}: expected {what}, got a {}", value.get_ref().type_str())))
        };
        match name {
            "name" => match value.get_ref().as_str() {
                Some(name) => described.name = Some(name.to_owned()),
                None => return expected("a string"),
            },
            "count" => {
                let count = value
                    .get_ref()
                    .as_integer()
                    .and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
                match count {
                    Some(count) if count <= MAX_COUNT => described.count = count,
                    _ if !value.get_ref().is_integer() => return expected("a whole number"),
                    _ => {
                        return Err((
                            value.span(),
                            format!("count: expected a number from 0 to {MAX_COUNT}"),
                        ));
                    }
                }
            }
            "random" => match value.get_ref().as_table() {
                Some(table) => read_random(table, &mut Vec::new(), &mut described.random)?,
                None => return expected("a table of fields such as { Health.current = [1, 9] }"),
            },
            component => {
                let (part, source) = read(value, key.span())?;
                let component = match component {
                    "script" => "Script",
                    "scripts" => "Scripts",
                    component => component,
                };
                described.source.parts.push((Segment::Name(component.to_owned()), source));
                described.parts.push((component.to_owned(), part));
            }
        }
    }
    Ok(described)
}

/// Finds the pairs of ends, however deep the names lead; `"Health.current"` is the same as `Health.current`.
fn read_random(table: &DeTable<'_>, path: &mut Vec<String>, found: &mut Vec<Random>) -> Result<(), Problem> {
    for (key, value) in table {
        let before = path.len();
        path.extend(key.get_ref().split('.').map(|name| name.trim().to_owned()));
        match value.get_ref() {
            DeValue::Table(inner) => read_random(inner, path, found)?,
            _ => {
                let wrong = |problem: &str| (value.span(), format!("random.{}: {problem}", path.join(".")));
                let (ends, _) = read(value, value.span())?;
                let Value::List(ends) = ends else {
                    return Err(wrong("expected the two ends, [5, 10] or [[0, 0], [9, 9]]"));
                };
                let Ok([low, high]) = <[Value; 2]>::try_from(ends) else {
                    return Err(wrong("expected two ends, [5, 10] or [[0, 0], [9, 9]]"));
                };
                check_ends(&low, &high).map_err(|problem| wrong(&problem))?;
                found.push(Random { path: path.clone(), low, high, span: key.span() });
            }
        }
        path.truncate(before);
    }
    Ok(())
}

/// Whether something can be drawn between the two.
fn check_ends(low: &Value, high: &Value) -> Result<(), String> {
    match (low, high) {
        (Value::List(low), Value::List(high)) if low.len() == high.len() => {
            low.iter().zip(high).try_for_each(|(low, high)| check_ends(low, high))
        }
        (Value::List(_), _) | (_, Value::List(_)) => Err("the two ends differ in their shape".to_owned()),
        (low, high) => match (number(low), number(high)) {
            (Some(a), Some(b)) if a <= b && (b - a).is_finite() => Ok(()),
            (Some(_), Some(_)) => Err(format!("{low} is not below {high}")),
            _ => Err("expected numbers, or lists of numbers".to_owned()),
        },
    }
}

fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Integer(number) => Some(number as f64),
        Value::Number(number) => Some(number),
        _ => None,
    }
}

fn draw(rng: &mut Rng, low: &Value, high: &Value, whole: bool) -> Value {
    match (low, high) {
        (Value::List(low), Value::List(high)) => {
            Value::List(low.iter().zip(high).map(|(low, high)| draw(rng, low, high, whole)).collect())
        }
        (&Value::Integer(low), &Value::Integer(high)) if whole => Value::Integer(rng.i128(low..=high)),
        (low, high) => {
            let (low, high) = (number(low).unwrap_or_default(), number(high).unwrap_or_default());
            Value::Number(low + (high - low) * rng.f64())
        }
    }
}

impl Random {
    /// Draws a value and puts it into the component that it belongs to.
    fn draw(&self, rng: &mut Rng, registry: &Registry, parts: &mut Vec<(String, Value)>) {
        let drawn = draw(rng, &self.low, &self.high, registry.is_whole(&self.path));
        let Some((component, path)) = self.path.split_first() else { return };
        let at = parts.iter().position(|(name, _)| name == component).unwrap_or_else(|| {
            parts.push((component.clone(), Value::Map(Vec::new())));
            parts.len() - 1
        });
        let mut place = &mut parts[at].1;
        for name in path {
            if !matches!(place, Value::Map(_)) {
                *place = Value::Map(Vec::new());
            }
            let Value::Map(entries) = place else { return };
            let at = entries.iter().position(|(key, _)| *key == Value::String(name.clone()));
            let at = at.unwrap_or_else(|| {
                entries.push((Value::String(name.clone()), Value::Nil));
                entries.len() - 1
            });
            place = &mut entries[at].1;
        }
        *place = drawn;
    }
}

/// Converts a value of the text; `span` is where an error in it as a whole is shown.
fn read(value: &Spanned<DeValue<'_>>, span: Range<usize>) -> Result<(Value, Source), Problem> {
    let mut parts = Vec::new();
    let bad = |what: &str| (value.span(), format!("this {what} is out of range"));
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let digits = i128::from_str_radix(number.as_str(), number.radix());
            Value::Integer(digits.map_err(|_| bad("number"))?)
        }
        DeValue::Float(number) => Value::Number(number.as_str().parse().map_err(|_| bad("number"))?),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(items) => {
            let mut list = Vec::new();
            for (i, item) in items.iter().enumerate() {
                let (item, source) = read(item, item.span())?;
                parts.push((Segment::Index(i + 1), source));
                list.push(item);
            }
            Value::List(list)
        }
        DeValue::Table(table) => {
            let mut map = Vec::new();
            for (key, value) in table {
                let name = key.get_ref().clone().into_owned();
                let (value, source) = read(value, key.span())?;
                parts.push((Segment::Name(name.clone()), source));
                map.push((Value::String(name), value));
            }
            Value::Map(map)
        }
    };
    Ok((value, Source { span, parts }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecs::{ScriptHook, ScriptPart};
    use bevy_ecs::component::Component;
    use bevy_ecs::name::Name;
    use bevy_ecs::world::{EntityRef, EntityWorldMut};
    use bevy_reflect::Reflect;
    use bevy_reflect::std_traits::ReflectDefault;
    use glam::Vec3;
    use std::rc::Rc;

    #[derive(Component, Reflect, Default, Debug, PartialEq)]
    #[reflect(Default)]
    struct Health {
        current: f32,
        max: f32,
        level: u8,
    }

    #[derive(Component, Reflect, Default, Debug, PartialEq)]
    #[reflect(Default)]
    struct Position {
        at: Vec3,
    }

    #[derive(Component, Reflect, Default, Debug, PartialEq)]
    struct Speed(f32);

    #[derive(Component, Reflect, Debug, PartialEq)]
    struct Follows {
        whom: Entity,
    }

    #[derive(Component, Reflect, Default, Debug, PartialEq)]
    #[reflect(Default)]
    struct Bag {
        items: Vec<Item>,
        mood: Mood,
    }

    #[derive(Reflect, Default, Debug, PartialEq)]
    #[reflect(Default)]
    struct Item {
        count: u32,
    }

    #[derive(Reflect, Default, Debug, PartialEq)]
    enum Mood {
        #[default]
        Calm,
        Angry {
            at: f32,
        },
    }

    #[derive(Component, Debug, PartialEq)]
    struct Attached(Vec<String>);

    struct Hook;

    impl ScriptHook for Hook {
        fn check(&self, script: &str) -> Result<(), String> {
            if script == "missing" { Err("there is no script 'missing'".to_owned()) } else { Ok(()) }
        }
        fn attach(&self, entity: &mut EntityWorldMut<'_>, scripts: &[ScriptPart]) -> Result<(), String> {
            let names: Vec<String> = scripts.iter().map(|script| script.name.clone()).collect();
            if names == ["late"] {
                return Err("this script came too late".to_owned());
            }
            entity.insert(Attached(names));
            Ok(())
        }
        fn detach(&self, entity: &mut EntityWorldMut<'_>) -> bool {
            entity.take::<Attached>().is_some()
        }
        fn scripts(&self, entity: EntityRef<'_>) -> Vec<String> {
            entity.get::<Attached>().map(|attached| attached.0.clone()).unwrap_or_default()
        }
    }

    fn stage() -> (World, Registry) {
        let mut world = World::new();
        let registry = Registry::builder()
            .component::<Health>()
            .component::<Position>()
            .component::<Speed>()
            .component::<Follows>()
            .component::<Bag>()
            .scripts(Rc::new(Hook))
            .build(&mut world)
            .unwrap();
        (world, registry)
    }

    /// The error of a scene, which leaves nothing behind.
    fn fail(text: &str) -> String {
        let (mut world, registry) = stage();
        let before = world.entities().count_spawned();
        let error = match Scene::parse(text, "s.toml") {
            Ok(scene) => scene.spawn(&mut world, &registry, 0).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(world.entities().count_spawned(), before, "{error}");
        error.to_string()
    }

    #[test]
    fn a_scene_gives_entities_components_names_and_scripts() {
        let (mut world, registry) = stage();
        let text = r#"
            [[entity]]
            name = "gate"
            script = "gate"
            Speed = 2
            Position.at = [1, 2.5, 3]
            [entity.Health]
            max = 10

            [[entity]]
            scripts = ["a", "b"]
            [entity.Follows]
            whom = "gate"
            [entity.Bag]
            items = [{ count = 3 }, {}]
            mood = { Angry = { at = 1 } }
        "#;
        let entities = Scene::parse(text, "s.toml").unwrap().spawn(&mut world, &registry, 0).unwrap();
        let (gate, other) = (world.entity(entities[0]), world.entity(entities[1]));
        assert_eq!(gate.get::<Name>().unwrap().as_str(), "gate");
        assert_eq!(gate.get::<Attached>(), Some(&Attached(vec!["gate".into()])));
        assert_eq!(gate.get::<Speed>(), Some(&Speed(2.0)));
        assert_eq!(gate.get::<Position>(), Some(&Position { at: Vec3::new(1.0, 2.5, 3.0) }));
        assert_eq!(gate.get::<Health>(), Some(&Health { current: 0.0, max: 10.0, level: 0 }));
        assert_eq!(other.get::<Attached>(), Some(&Attached(vec!["a".into(), "b".into()])));
        assert_eq!(other.get::<Follows>(), Some(&Follows { whom: entities[0] }));
        let bag = Bag { items: vec![Item { count: 3 }, Item { count: 0 }], mood: Mood::Angry { at: 1.0 } };
        assert_eq!(other.get::<Bag>(), Some(&bag));
    }

    #[test]
    fn copies_are_numbered_and_get_their_random_values_from_the_seed() {
        let text = r#"
            [[entity]]
            name = "sheep"
            count = 50
            Health.max = 5
            [entity.random]
            "Position.at" = [[-4, -2.0, 0], [4, 2, 0]]
            Health = { level = [3, 4], current = [1, 2] }
            Speed = [1, 1.5]
        "#;
        let scene = Scene::parse(text, "s.toml").unwrap();
        let spawn = |seed| {
            let (mut world, registry) = stage();
            let entities = scene.spawn(&mut world, &registry, seed).unwrap();
            assert_eq!(world.get::<Name>(entities[49]).unwrap().as_str(), "sheep 50");
            let values = entities.iter().map(|&entity| {
                let there = world.entity(entity);
                let (health, at, speed) = (
                    there.get::<Health>().unwrap(),
                    there.get::<Position>().unwrap().at,
                    there.get::<Speed>().unwrap(),
                );
                assert!(at.x.abs() <= 4.0 && at.y.abs() <= 2.0 && at.z == 0.0, "{at}");
                assert!((3..=4).contains(&health.level) && health.max == 5.0);
                assert!((1.0..=2.0).contains(&health.current) && (1.0..=1.5).contains(&speed.0));
                (at.x, at.y, health.level, health.current, speed.0)
            });
            values.collect::<Vec<_>>()
        };
        assert_eq!(scene.len(), 50);
        assert_eq!(spawn(1), spawn(1));
        assert_ne!(spawn(1), spawn(2));
        let first = spawn(1);
        assert!(first.iter().any(|value| *value != first[0]));
    }

    #[test]
    fn names_of_the_world_can_be_referred_to() {
        let (mut world, registry) = stage();
        let king = world.spawn(Name::new("king")).id();
        let text = "[[entity]]\nname = 'a'\ncount = 2\n[[entity]]\nFollows.whom = 'a 2'\n[[entity]]\nFollows.whom = 'king'";
        let entities = Scene::parse(text, "s.toml").unwrap().spawn(&mut world, &registry, 0).unwrap();
        assert_eq!(world.get::<Follows>(entities[2]), Some(&Follows { whom: entities[1] }));
        assert_eq!(world.get::<Follows>(entities[3]), Some(&Follows { whom: king }));
    }

    #[test]
    fn a_mistake_is_an_error_with_its_place() {
        for (text, expected) in [
            ("[[entity]]\nname = ", "s.toml:2:"),
            ("[[entiti]]", "s.toml:1:3: a scene has no 'entiti' (did you mean 'entity'?); it has [[entity]]"),
            ("[entity]\nname = 'a'", "s.toml:1:"),
            ("entity = [1]", "s.toml:1:11: entity 1: expected a table, got a integer"),
            ("[[entity]]\nname = 3", "s.toml:2:8: entity 1: name: expected a string, got a integer"),
            (
                "[[entity]]\nname = 'x'\ncount = -1",
                "s.toml:3:9: entity \"x\": count: expected a number from 0 to 100000",
            ),
            ("[[entity]]\ncount = 1.5", "s.toml:2:9: entity 1: count: expected a whole number, got a float"),
            ("[[entity]]\ncount = 1000000", "count: expected a number from 0 to 100000"),
            (
                "[[entity]]\nname='x'\nHelth.max = 1",
                "s.toml:3:1: entity \"x\": there is no component 'Helth' (did you mean 'Health'?)",
            ),
            (
                "[[entity]]\nnmae = 'x'",
                "s.toml:2:1: entity 1: there is no component 'nmae' (did you mean 'name'?)",
            ),
            (
                "[[entity]]\n[entity.Health]\nmax = 1\ncurent = 2",
                "s.toml:4:1: entity 1: Health: Health has no field 'curent' (did you mean 'current'?); it has current, max and level",
            ),
            (
                "[[entity]]\n[entity.Health]\nmax = 'x'",
                "s.toml:3:1: entity 1: Health.max: expected a number (f32), got string \"x\"",
            ),
            (
                "[[entity]]\nHealth.level = 256",
                "s.toml:2:8: entity 1: Health.level: expected a whole number from 0 to 255 (u8), got number 256",
            ),
            (
                "[[entity]]\nHealth = 3",
                "s.toml:2:1: entity 1: Health: expected a table (Health), got number 3",
            ),
            ("[[entity]]\nPosition.at = [1, 2]", "Position.at: expected a vector (Vec3), got a list of 2"),
            (
                "[[entity]]\nBag.items = [{}, { count = 'x' }]",
                "s.toml:2:20: entity 1: Bag.items[2].count: expected a whole number",
            ),
            (
                "[[entity]]\nBag.mood = 'Angri'",
                "Bag.mood: expected one of \"Calm\" and { Angry = ... } (Mood), got string \"Angri\" (did you mean 'Angry'?)",
            ),
            (
                "[[entity]]\nFollows.whom = 'nobody'",
                "s.toml:2:9: entity 1: Follows.whom: no entity is named \"nobody\"",
            ),
            ("[[entity]]\nFollows = {}", "Follows: Follows has no default, so it needs whom as well"),
            ("[[entity]]\nscript = 'missing'", "s.toml:2:1: entity 1: Script: there is no script 'missing'"),
            ("[[entity]]\nscript = 3", "Script: expected a string, or a table with a name, got number 3"),
            (
                "[[entity]]\nscript = { name = 'a', restart = 'alway' }",
                "Script.restart: expected \"on_change\", \"always\", \"never\" or a table, got string \"alway\" (did you mean",
            ),
            (
                "[[entity]]\nscripts = ['a', { nmae = 'b' }]",
                "Scripts[2]: there is no 'nmae' (did you mean 'name'?)",
            ),
            (
                "[[entity]]\nname = 'ok'\n[[entity]]\nscript = 'late'",
                "s.toml:4:1: entity 2: Script: this script came too late",
            ),
            ("[[entity]]\nrandom = 3", "random: expected a table of fields such as"),
            ("[[entity]]\nrandom.Speed = [1]", "random.Speed: expected two ends"),
            ("[[entity]]\nrandom.Speed = 1", "random.Speed: expected the two ends"),
            ("[[entity]]\nrandom.Speed = [2, 1]", "random.Speed: 2 is not below 1"),
            ("[[entity]]\nrandom.Speed = [[1], 1]", "random.Speed: the two ends differ in their shape"),
            ("[[entity]]\nrandom.Speed = ['a', 'b']", "random.Speed: expected numbers"),
            ("[[entity]]\nrandom.Speed = [nan, 1]", "random.Speed: NaN is not below 1"),
            (
                "[[entity]]\nrandom.Health.maxx = [0, 1]",
                "s.toml:2:15: entity 1: Health: Health has no field 'maxx'",
            ),
            (
                "[[entity]]\nrandom.Health.level = [-9, -8]",
                "s.toml:2:15: entity 1: Health.level: expected a whole number",
            ),
            ("[[entity]]\nrandom = { 'Health.maxx' = [1, 2] }", "Health: Health has no field 'maxx'"),
            ("[[entity]]\nSpeed = 1979-05-27", "Speed: expected a number (f32), got string \"1979-05-27\""),
        ] {
            let error = fail(text);
            assert!(error.contains(expected), "\n{text}\n  gave {error}\n  not  {expected}");
        }
    }

    #[test]
    fn an_empty_scene_is_empty() {
        let (mut world, registry) = stage();
        assert_eq!(Scene::parse("", "s.toml").unwrap().spawn(&mut world, &registry, 0), Ok(vec![]));
    }
}
