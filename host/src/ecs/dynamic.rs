//! Components that a script or a scene declares: tables, as real components of the world.
//!
//! ```lua
//! world:declare("Poison", { dps = 2, left = 5 })   -- what a value leaves out
//! self.Poison = { left = 3 }                        -- { dps = 2, left = 3 }
//! self.Poison.left -= clock.delta()                 -- in place, as any component
//! for entity, poison in world:query("Poison") do ... end
//! ```
//!
//! Declaring a name again sets its defaults anew, and nothing else; so a script may do it whenever it starts. A
//! component that was declared has no type in Rust: there it is read and written by name
//! ([`Registry::read`], [`Registry::insert`]). A table in it is a list if its keys were 1 to n; an empty one becomes a
//! list with `insert` or the key 1, and a map with any other key.

use super::component::{Registered, Registry};
use super::layout::Field;
use super::nearest::shorten;
use super::value::{Value, ValueError};
use bevy_ecs::component::{ComponentCloneBehavior, ComponentDescriptor, StorageType};
use bevy_ecs::entity::Entity;
use bevy_ecs::ptr::OwningPtr;
use bevy_ecs::world::World;
use bevy_reflect::std_traits::ReflectDefault;
use bevy_reflect::{Reflect, Typed};
use glam::Vec3;
use std::alloc::Layout;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// How many components may be declared: the world never forgets one.
const MOST: usize = 256;

/// The longest name of one, in bytes.
const LONGEST_NAME: usize = 64;

/// A component that was declared.
#[derive(Reflect, Clone, Debug, Default, PartialEq)]
#[reflect(Default)]
pub(crate) struct Declared(pub BTreeMap<Key, Any>);

/// A value in it.
#[derive(Reflect, Clone, Debug, Default, PartialEq)]
pub(crate) enum Any {
    #[default]
    Nil,
    Bool(bool),
    Number(f64),
    String(String),
    Vector(Vec3),
    Entity(Entity),
    List(Vec<Any>),
    Table(BTreeMap<Key, Any>),
}

/// A key of a table in it.
#[derive(Reflect, Clone, Debug)]
pub(crate) enum Key {
    Bool(bool),
    Number(f64),
    String(String),
    Entity(Entity),
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value().order(&other.value())
    }
}

impl Key {
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(number) => Value::Number(*number),
            Self::String(text) => Value::String(text.clone()),
            Self::Entity(entity) => Value::Entity(*entity),
        }
    }

    pub(super) fn of(value: &Value) -> Result<Self, ValueError> {
        match value {
            Value::Bool(flag) => Ok(Self::Bool(*flag)),
            Value::Integer(number) => Ok(Self::Number(*number as f64)),
            Value::Number(number) if !number.is_nan() => Ok(Self::Number(*number)),
            Value::String(text) => Ok(Self::String(text.clone())),
            Value::Entity(entity) => Ok(Self::Entity(*entity)),
            other => {
                Err(ValueError::mismatch("a string, a number, a boolean or an entity as the key", other))
            }
        }
    }
}

impl Any {
    /// The value, unless it is a table with insides of its own.
    pub(super) fn scalar(&self) -> Option<Value> {
        Some(match self {
            Self::Nil => Value::Nil,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(number) => Value::Number(*number),
            Self::String(text) => Value::String(text.clone()),
            Self::Vector(vector) => Value::Vector(*vector),
            Self::Entity(entity) => Value::Entity(*entity),
            Self::List(_) | Self::Table(_) => return None,
        })
    }

    /// The other of list and table, if that is wanted and nothing would be lost.
    pub(super) fn reshaped(&self, as_list: bool) -> Option<Self> {
        match self {
            Self::Table(table) if as_list && table.is_empty() => Some(Self::List(Vec::new())),
            Self::List(list) if !as_list && list.is_empty() => Some(Self::Table(BTreeMap::new())),
            _ => None,
        }
    }

    pub(super) fn of(value: &Value) -> Result<Self, ValueError> {
        Ok(match value {
            Value::Nil => Self::Nil,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Integer(number) => Self::Number(*number as f64),
            Value::Number(number) => Self::Number(*number),
            Value::String(text) => Self::String(text.clone()),
            Value::Vector(vector) => Self::Vector(*vector),
            Value::Entity(entity) => Self::Entity(*entity),
            Value::List(list) => {
                let items = list.iter().enumerate().map(|(i, item)| Self::of(item).map_err(|e| e.at(i)));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Value::Map(map) => Self::Table(table(map)?),
        })
    }
}

fn table(entries: &[(Value, Value)]) -> Result<BTreeMap<Key, Any>, ValueError> {
    let mut table = BTreeMap::new();
    for (key, value) in entries {
        let value = Any::of(value).map_err(|error| match key {
            Value::String(name) => error.within(name),
            key => error.within(&key.to_string()),
        })?;
        if value != Any::Nil {
            table.insert(Key::of(key)?, value);
        }
    }
    Ok(table)
}

impl Registry {
    /// Declares a component by name, whose values are tables; `defaults` is what they leave out. See
    /// `world:declare` of scripts. For a name that was declared before, sets the defaults.
    ///
    /// # Errors
    /// A name that is none or means something else, too many of them, or defaults that are no table.
    pub fn declare(&self, world: &mut World, name: &str, defaults: &Value) -> Result<(), ValueError> {
        let defaults = match defaults {
            Value::Nil => Vec::new(),
            Value::Map(entries) => {
                table(entries).map_err(|error| error.within(name))?;
                entries.clone()
            }
            other => return Err(ValueError::mismatch("a table of defaults", other).within(&shorten(name))),
        };
        if let Some(number) = self.find(name, false) {
            let known = &self.components[usize::from(number)];
            let Some(known) = &known.defaults else {
                return Err(ValueError::new(format!(
                    "'{name}' is a component of the game, and can't be declared"
                )));
            };
            known.replace(defaults);
            return Ok(());
        }
        let mut letters = name.chars();
        let is_name = letters.next().is_some_and(|first| first.is_ascii_uppercase())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && name.len() <= LONGEST_NAME;
        if !is_name {
            return Err(ValueError::new(format!(
                "'{}' can't be the name of a component: it has to begin with a capital, and go on with letters, digits \
                 and _, at most {LONGEST_NAME} of them",
                shorten(name)
            )));
        }
        if self.is_reserved(name) {
            return Err(ValueError::new(format!("'{name}' means something else, and can't be declared")));
        }
        if self.components.iter().filter(|component| component.defaults.is_some()).count() >= MOST {
            return Err(ValueError::new(format!("more than {MOST} components are declared")));
        }
        let number = u16::try_from(self.components.len())
            .map_err(|_| ValueError::new("the world has no room for another component"))?;
        unsafe fn drop_declared(value: OwningPtr<'_>) {
            // SAFETY: the world calls this for values of the component, which are of this type.
            unsafe { value.drop_as::<Declared>() }
        }
        // SAFETY: the layout and the destructor are those of the type whose values are inserted; it is `Send` and
        // `Sync`.
        let descriptor = unsafe {
            ComponentDescriptor::new_with_layout(
                name.to_owned(),
                StorageType::Table,
                Layout::new::<Declared>(),
                Some(drop_declared),
                true,
                false,
                ComponentCloneBehavior::Ignore,
                None,
            )
        };
        let id = world.register_component_with_descriptor(descriptor);
        self.components.push(Box::new(Registered {
            name: name.into(),
            id,
            info: Declared::type_info(),
            root: Field::reflected(name, Declared::type_info()),
            mutable: true,
            sparse: false,
            resource: false,
            functions: super::component::Functions::declared(),
            defaults: Some(defaults.into()),
        }));
        self.enter(name, number);
        Ok(())
    }
}
