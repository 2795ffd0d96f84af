//! A number that stands for everything in a world that scripts may use: two runs that should be the same have the same.

use super::component::Registry;
use super::value::Value;
use bevy_ecs::entity::Entity;
use bevy_ecs::name::Name;
use bevy_ecs::world::World;

/// FNV-1a: it stays what it is from release to release, which the standard library's hash does not promise.
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn word(&mut self, word: u64) {
        word.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    /// With its length, so that two texts in a row are no other two.
    fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        text.bytes().for_each(|byte| self.byte(byte));
    }

    /// With a tag for each kind, for the same reason.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Nil => self.byte(0),
            Value::Bool(flag) => {
                self.byte(1);
                self.byte(u8::from(*flag));
            }
            Value::Integer(number) => {
                self.byte(2);
                number.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
            }
            Value::Number(number) => {
                self.byte(3);
                self.word(number.to_bits());
            }
            Value::String(text) => {
                self.byte(4);
                self.text(text);
            }
            Value::Vector(vector) => {
                self.byte(5);
                vector.to_array().into_iter().for_each(|lane| self.word(lane.to_bits().into()));
            }
            Value::Entity(entity) => {
                self.byte(6);
                self.word(entity.to_bits());
            }
            Value::List(list) => {
                self.byte(7);
                self.word(list.len() as u64);
                list.iter().for_each(|value| self.value(value));
            }
            Value::Map(map) => {
                self.byte(8);
                self.word(map.len() as u64);
                for (key, value) in map {
                    self.value(key);
                    self.value(value);
                }
            }
        }
    }
}

impl Registry {
    /// A number that is another one as soon as an entity is there or not, or a value differs in one bit: of a component
    /// or a resource that is registered or was declared, or of the name or the scripts of an entity. In what order they
    /// lie in memory makes no difference.
    ///
    /// What scripts keep in tables of their own (`self.state`, say) is not in it, nor what is opaque without a
    /// conversion, nor entities that have nothing of all this.
    ///
    /// ```
    /// # use bevy_ecs::prelude::*;
    /// # use bevy_reflect::prelude::*;
    /// # use bluetick::ecs::Registry;
    /// # #[derive(Component, Reflect, Default)]
    /// # #[reflect(Default)]
    /// # struct Health { current: f32, max: f32 }
    /// let mut world = World::new();
    /// let registry = Registry::builder().component::<Health>().build(&mut world)?;
    /// let rat = world.spawn(Health { current: 1.0, max: 2.0 }).id();
    /// let before = registry.digest(&world);
    /// assert_eq!(before, registry.digest(&world));
    /// world.get_mut::<Health>(rat).unwrap().current = 0.5;
    /// assert_ne!(before, registry.digest(&world));
    /// # Ok::<(), bluetick::ecs::RegistryError>(())
    /// ```
    pub fn digest(&self, world: &World) -> u64 {
        let mut digest = Digest::new();
        let mut entities: Vec<Entity> = world
            .archetypes()
            .iter()
            .flat_map(|archetype| archetype.entities())
            .map(|row| row.id())
            .collect();
        entities.sort_unstable_by_key(|entity| (entity.index_u32(), entity.generation().to_bits()));
        for entity in entities {
            let Ok(there) = world.get_entity(entity) else { continue };
            let mut is_new = true;
            let mut part = |digest: &mut Digest, name: &str, value: &Value| {
                if std::mem::take(&mut is_new) {
                    digest.word(entity.to_bits());
                }
                digest.text(name);
                digest.value(value);
            };
            if let Some(name) = there.get::<Name>() {
                part(&mut digest, "Name", &Value::String(name.as_str().to_owned()));
            }
            let scripts = self.hook.as_ref().map(|hook| hook.scripts(there)).unwrap_or_default();
            if !scripts.is_empty() {
                let scripts = scripts.into_iter().map(Value::String).collect();
                part(&mut digest, "Scripts", &Value::List(scripts));
            }
            // A resource is the component of an entity.
            for registered in &self.components {
                match self.read_component(registered, there) {
                    None => {}
                    Some(Ok(value)) => part(&mut digest, &registered.name, &value),
                    // It is there, and can't be copied.
                    Some(Err(_)) => part(&mut digest, &registered.name, &Value::Nil),
                }
            }
        }
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bevy_ecs::prelude::*;
    use bevy_reflect::Reflect;
    use bevy_reflect::std_traits::ReflectDefault;
    use std::collections::HashMap;

    #[derive(Component, Reflect, Default)]
    #[reflect(Default)]
    struct Bag {
        prices: HashMap<String, f32>,
        words: Vec<String>,
    }

    #[derive(Resource, Reflect, Default)]
    #[reflect(Default)]
    struct Score(i64);

    #[derive(Component)]
    struct Unseen;

    #[test]
    fn whatever_scripts_may_use_makes_a_difference_and_nothing_else_does() {
        let mut world = World::new();
        let registry = Registry::builder().component::<Bag>().resource::<Score>().build(&mut world).unwrap();
        let e = world.spawn(Bag::default()).id();
        let mut seen = vec![registry.digest(&world)];
        let mut differs = |world: &World, what: &str| {
            let digest = registry.digest(world);
            assert!(!seen.contains(&digest), "{what}");
            assert_eq!(digest, registry.digest(world), "{what}");
            seen.push(digest);
            digest
        };
        let bag = |world: &mut World, words: &[&str]| {
            world.get_mut::<Bag>(e).unwrap().words = words.iter().map(|word| word.to_string()).collect();
        };
        bag(&mut world, &["ab", "c"]);
        differs(&world, "a list");
        bag(&mut world, &["a", "bc"]);
        differs(&world, "where a text ends");
        world.get_mut::<Bag>(e).unwrap().prices.insert("x".into(), 0.0);
        differs(&world, "a map");
        world.get_mut::<Bag>(e).unwrap().prices.insert("x".into(), -0.0);
        differs(&world, "one bit");
        world.entity_mut(e).insert(Name::new("bag"));
        differs(&world, "a name");
        world.insert_resource(Score(1));
        let without_other = differs(&world, "a resource");
        let other = world.spawn(Bag::default()).id();
        differs(&world, "another entity");
        registry.declare(&mut world, "Poison", &Value::Nil).unwrap();
        registry.insert(&mut world, other, "Poison", &Value::Map(vec![])).unwrap();
        let last = differs(&world, "a declared component");
        world.spawn(Unseen);
        world.entity_mut(e).insert(Unseen);
        assert_eq!(registry.digest(&world), last, "what scripts can't see, and where it lies");
        world.despawn(other);
        assert_eq!(registry.digest(&world), without_other, "all is as it was");
    }

    #[test]
    fn a_hash_map_has_the_same_digest_whatever_its_order() {
        let digest = |keys: &mut dyn Iterator<Item = u32>| {
            let mut world = World::new();
            let registry = Registry::builder().component::<Bag>().build(&mut world).unwrap();
            let prices = keys.map(|key| (key.to_string(), key as f32)).collect();
            world.spawn(Bag { prices, words: Vec::new() });
            registry.digest(&world)
        };
        assert_eq!(digest(&mut (0..100)), digest(&mut (0..100).rev()));
    }
}
