//! What an entity consists of, changed and copied by name: components, its name, its scripts.

use super::bridge::Bridge;
use super::entity::Method;
use super::extension::{Access, Change};
use super::nearest::{did_you_mean, shorten};
use super::value::Value;
use bevy_ecs::entity::Entity;
use bevy_ecs::name::Name;
use bevy_ecs::world::{EntityRef, World};
use bluetick_scripting::{Error, ErrorKind};

impl Bridge {
    /// The entity, or an error of kind `gone` that says what was wanted of it.
    pub(super) fn living<'w>(
        &self,
        world: &'w World,
        entity: Entity,
        label: &str,
    ) -> Result<EntityRef<'w>, Error> {
        world
            .get_entity(entity)
            .map_err(|_| Error::new(ErrorKind::Gone, format!("{label}: entity {entity} is gone")))
    }

    /// Error: an entity has nothing of this name, with which it was used like a table, or called.
    pub(super) fn unknown_member(&self, entity: Entity, name: &str, as_table: bool) -> Error {
        let registry = self.registry();
        let extension = self.extension.as_deref();
        let known = registry
            .component_names()
            .chain(["id", "alive", "name"])
            .chain(Method::ALL.map(Method::name))
            .chain(extension.map(|e| e.fields()).unwrap_or_default().iter().copied())
            .chain(extension.map(|e| e.methods()).unwrap_or_default().iter().copied());
        let near = did_you_mean(name, known);
        let has = self.with_world(|world| {
            Ok(world.get_entity(entity).map(|there| registry.enumerate_components(there)).unwrap_or_default())
        });
        let has = has.ok().filter(|has| !has.is_empty()).map(|has| format!("; entity {entity} has {has}"));
        let name = shorten(name);
        // A variable's name that is like no other was meant as one.
        let is_variable = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_own = as_table && near.is_empty() && is_variable;
        let keeps = extension.is_some_and(|extension| extension.fields().contains(&"state"));
        let own = match is_own && keeps {
            true => format!("; what a script keeps for itself is in self.state.{name}"),
            false => String::new(),
        };
        Error::wrong_type(format!(
            "there is no component, field or method '{name}'{near}{own}{}",
            has.unwrap_or_default()
        ))
    }

    /// Inserts, replaces or removes a component, the name or the scripts of an entity.
    pub(super) fn set_part(&self, entity: Entity, name: &str, value: &Value) -> Result<(), Error> {
        if *value == Value::Nil {
            return self.remove_part(entity, name).map(|_| ());
        }
        self.may(Access::Write(granted_as(name)))?;
        let part = Self::guard(|| Ok(self.registry().part(name, value, None)?))?;
        self.with_world(|world| {
            self.living(world, entity, name)?;
            Ok(self.registry().insert_part(&mut world.entity_mut(entity), part)?)
        })?;
        self.tell(entity, Change::Inserted(name));
        Ok(())
    }

    /// Whether there was something to be removed.
    pub(super) fn remove_part(&self, entity: Entity, name: &str) -> Result<bool, Error> {
        let registry = self.registry();
        let hook = registry.hook.as_ref();
        let component = match name {
            "Name" | "name" | "Script" | "Scripts" => None,
            name => Some(registry.components[usize::from(registry.component(name)?)].id),
        };
        self.may(Access::Write(granted_as(name)))?;
        let removed = self.with_world(|world| {
            self.living(world, entity, name)?;
            let mut entity = world.entity_mut(entity);
            Ok(match component {
                Some(id) => {
                    let has = entity.contains_id(id);
                    entity.remove_by_id(id);
                    has
                }
                None if name.eq_ignore_ascii_case("name") => entity.take::<Name>().is_some(),
                None => hook.is_some_and(|hook| hook.detach(&mut entity)),
            })
        })?;
        if removed {
            self.tell(entity, Change::Removed(name));
        }
        Ok(removed)
    }

    /// Tells the extension.
    pub(super) fn tell(&self, entity: Entity, change: Change<'_>) {
        if let Some(extension) = &self.extension {
            extension.changed(self, entity, change);
        }
    }

    /// Copies a component, the name or the scripts of an entity out.
    pub(super) fn copy_part(&self, entity: Entity, name: &str) -> Result<Value, Error> {
        let registry = self.registry();
        let component = match name {
            "Name" | "Script" | "Scripts" => None,
            name => Some(&registry.components[usize::from(registry.component(name)?)]),
        };
        if name != "Name" {
            self.may(Access::Read(granted_as(name)))?;
        }
        self.with_world(|world| {
            let there = self.living(world, entity, name)?;
            match component {
                Some(registered) => {
                    Ok(registry.read_component(registered, there).transpose()?.unwrap_or_default())
                }
                None if name == "Name" => Ok(there.get::<Name>().map(name_value).unwrap_or_default()),
                None => {
                    let scripts = registry.hook.as_ref().map(|hook| hook.scripts(there)).unwrap_or_default();
                    let mut scripts = scripts.into_iter().map(Value::String);
                    Ok(match name {
                        "Script" => scripts.next().unwrap_or_default(),
                        _ => Value::List(scripts.collect()),
                    })
                }
            }
        })
    }
}

/// The name by which profiles grant it.
pub(super) fn granted_as(name: &str) -> &str {
    match name {
        "Scripts" => "Script",
        "name" => "Name",
        name => name,
    }
}

fn name_value(name: &Name) -> Value {
    Value::String(name.as_str().to_owned())
}
