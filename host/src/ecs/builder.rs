//! Data of a given type out of [`Value`]s: the way from scripts and scenes to components.
//!
//! A walk never changes anything half: data is built aside, and put in its place when it is whole.

use super::dynamic::{Any, Key};
use super::nearest::{did_you_mean, enumerate, shorten};
use super::reflection::{Types, expectation, for_each_integer, is_option};
use super::value::{Value, ValueError};
use bevy_ecs::entity::Entity;
use bevy_reflect::array::DynamicArray;
use bevy_reflect::enums::{DynamicEnum, DynamicVariant, EnumInfo, VariantInfo};
use bevy_reflect::list::DynamicList;
use bevy_reflect::map::DynamicMap;
use bevy_reflect::set::DynamicSet;
use bevy_reflect::structs::{DynamicStruct, Struct};
use bevy_reflect::tuple::DynamicTuple;
use bevy_reflect::tuple_struct::DynamicTupleStruct;
use bevy_reflect::{NamedField, PartialReflect, Reflect, ReflectMut, ReflectOwned, TypeInfo};
use glam::{Vec2, Vec3, Vec3A};
use std::any::TypeId;
use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Finds entities by name.
pub(crate) type Named<'a> = &'a dyn Fn(&str) -> Option<Entity>;

/// Makes data of a given type out of [`Value`]s.
#[derive(Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub types: &'a Types,
    /// Finds the entity that a text stands for; only scenes name entities.
    pub named: Option<Named<'a>>,
}

impl Builder<'_> {
    /// Makes a value of the type that `info` describes. What a table leaves out of a struct comes from
    /// the default of the struct; without one, every field must be given, but options.
    ///
    /// Arrays and tuples come out as dynamic ones, because the registry can't make others; [`put`] and
    /// `FromReflect` take them as such.
    pub(crate) fn build(
        &self,
        info: &'static TypeInfo,
        value: &Value,
    ) -> Result<Box<dyn PartialReflect>, ValueError> {
        if let Some(scalar) = self.scalar(info, value) {
            return scalar;
        }
        match info {
            TypeInfo::Enum(info) => self.build_enum(info, value),
            TypeInfo::List(list) => {
                let items = self.items(info, value)?;
                let mut result = self.empty(info, &DynamicList::default())?;
                if let ReflectMut::List(result) = result.reflect_mut() {
                    for (i, item) in items.iter().enumerate() {
                        let item = self.build_part(list.item_info(), item).map_err(|e| e.at(i))?;
                        result.push(item);
                    }
                }
                Ok(result)
            }
            TypeInfo::Set(set) => {
                let items = self.items(info, value)?;
                let item_info = self.types.registry.get_type_info(set.value_ty().id());
                let mut result = self.empty(info, &DynamicSet::default())?;
                if let ReflectMut::Set(result) = result.reflect_mut() {
                    for (i, item) in items.iter().enumerate() {
                        let item = self.build_part(item_info, item).map_err(|e| e.at(i))?;
                        result.insert_boxed(item);
                    }
                }
                Ok(result)
            }
            TypeInfo::Map(map) => {
                let mut result = self.empty(info, &DynamicMap::default())?;
                let numbered: Vec<(Value, Value)>;
                let entries = match value {
                    Value::Map(entries) => entries,
                    // A map with the keys 1 to n looks like a list.
                    Value::List(list) => {
                        let keys = (1..).map(Value::Integer);
                        numbered = keys.zip(list.iter().cloned()).collect();
                        &numbered
                    }
                    other => return Err(self.mismatch(info, other)),
                };
                if let ReflectMut::Map(result) = result.reflect_mut() {
                    for (key, value) in entries {
                        let name = match key {
                            Value::String(name) => name.clone(),
                            key => key.to_string(),
                        };
                        let in_key = |e: ValueError| ValueError::new(format!("key {name}: {e}"));
                        let key = self.build_part(map.key_info(), key).map_err(in_key)?;
                        let value = self.build_part(map.value_info(), value).map_err(|e| e.within(&name))?;
                        result.insert_boxed(key, value);
                    }
                }
                Ok(result)
            }
            TypeInfo::Array(array) => {
                let items = self.items(info, value)?;
                if items.len() != array.capacity() {
                    return Err(self.mismatch(info, value));
                }
                let parts = items.iter().enumerate().map(|(i, item)| {
                    let item = self.build_part(array.item_info(), item).map_err(|e| e.at(i))?;
                    Ok(item)
                });
                Ok(Box::new(DynamicArray::new(parts.collect::<Result<Vec<_>, ValueError>>()?.into())))
            }
            TypeInfo::Tuple(tuple) => {
                let items = self.exactly(info, value, tuple.field_len())?;
                let mut data = DynamicTuple::default();
                for (i, (item, field)) in items.iter().zip(tuple.iter()).enumerate() {
                    let part = self.build_part(field.type_info(), item).map_err(|e| e.at(i))?;
                    data.insert_boxed(part);
                }
                Ok(Box::new(data))
            }
            TypeInfo::TupleStruct(tuple) => {
                let mut data = DynamicTupleStruct::default();
                if let (1, Some(field)) = (tuple.field_len(), tuple.field_at(0)) {
                    let inner = self.build_part(field.type_info(), value)?;
                    data.insert_boxed(inner);
                } else {
                    let items = self.exactly(info, value, tuple.field_len())?;
                    for (i, (item, field)) in items.iter().zip(tuple.iter()).enumerate() {
                        let part = self.build_part(field.type_info(), item).map_err(|e| e.at(i))?;
                        data.insert_boxed(part);
                    }
                }
                self.concrete(info, &data)
            }
            TypeInfo::Struct(fields) => {
                // A struct without fields is there or not: `Dead = true`.
                let flag = fields.field_len() == 0 && *value == Value::Bool(true);
                if let Some(mut result) = self.types.default_of(info.type_id()) {
                    if !flag {
                        self.assign(&mut *result, value)?;
                    }
                    return Ok(result);
                }
                let entries = if flag { Vec::new() } else { self.entries(info, value)? };
                let mut data = DynamicStruct::default();
                for (name, value) in entries {
                    let field = fields.field(name).ok_or_else(|| {
                        unknown_field(info, name, &mut fields.field_names().iter().copied())
                    })?;
                    let part = self.build_part(field.type_info(), value).map_err(|e| e.within(name))?;
                    data.insert_boxed(field.name(), part);
                }
                self.add_options(fields.iter(), &mut data);
                let made = self.types.concrete(info.type_id(), &data);
                made.ok_or_else(|| missing_fields(info, fields.field_names(), &data))
            }
            TypeInfo::Opaque(_) => Err(ValueError::new(format!(
                "{} is opaque; give its registry a conversion to use it in scripts",
                info.type_path_table().short_path()
            ))),
        }
    }

    /// Puts `value` in the place of `target`; tables are merged into structs, so what they leave out stays.
    /// After an error, some fields may be changed: assign to something that is not in use yet.
    fn assign(&self, target: &mut dyn PartialReflect, value: &Value) -> Result<(), ValueError> {
        let info = target
            .get_represented_type_info()
            .ok_or_else(|| ValueError::new("has a type without type information"))?;
        if let Some(scalar) = self.scalar(info, value) {
            return put(target, scalar?);
        }
        match (target.reflect_mut(), value) {
            (ReflectMut::Struct(fields), Value::List(list)) if is_positional(info) && !list.is_empty() => {
                if list.len() != fields.field_len() {
                    return Err(self.mismatch(info, value));
                }
                for (i, value) in list.iter().enumerate() {
                    if let Some(field) = fields.field_at_mut(i) {
                        self.assign(field, value).map_err(|e| e.at(i))?;
                    }
                }
                return Ok(());
            }
            (ReflectMut::Struct(fields), value) => {
                for (name, value) in self.entries(info, value)? {
                    let Some(field) = fields.field_mut(name) else {
                        let names = fields.get_represented_struct_info().map(|info| info.field_names());
                        let mut names = names.unwrap_or_default().iter().copied();
                        return Err(unknown_field(info, name, &mut names));
                    };
                    self.assign(field, value).map_err(|e| e.within(name))?;
                }
                return Ok(());
            }
            (ReflectMut::TupleStruct(newtype), value) if newtype.field_len() == 1 => {
                if let Some(inner) = newtype.field_mut(0) {
                    return self.assign(inner, value);
                }
            }
            _ => {}
        }
        let made = self.build(info, value)?;
        put(target, made)
    }

    fn build_part(
        &self,
        info: Option<&'static TypeInfo>,
        value: &Value,
    ) -> Result<Box<dyn PartialReflect>, ValueError> {
        match info {
            Some(info) => self.build(info, value),
            None => Err(ValueError::new("has a type without type information")),
        }
    }

    fn build_enum(
        &self,
        info: &'static EnumInfo,
        value: &Value,
    ) -> Result<Box<dyn PartialReflect>, ValueError> {
        let whole = self.types.registry.get_type_info(info.type_id());
        let mismatch = || ValueError::mismatch(&whole.map_or("a value".into(), expectation), value);
        let (name, content) = if is_option(info) {
            match value {
                Value::Nil => ("None", None),
                value => ("Some", Some(value)),
            }
        } else {
            match value {
                Value::String(name) => (name.as_str(), None),
                Value::Map(entries) => match entries.as_slice() {
                    [(Value::String(name), content)] => (name.as_str(), Some(content)),
                    _ => return Err(mismatch()),
                },
                _ => return Err(mismatch()),
            }
        };
        let Some(variant) = info.variant(name) else {
            let near = did_you_mean(name, info.variant_names().iter().copied());
            return Err(ValueError::new(format!("{}{near}", mismatch().problem)));
        };
        let data = match (variant, content) {
            (VariantInfo::Unit(_), None) => DynamicVariant::Unit,
            (VariantInfo::Unit(_), Some(content)) if content.is_empty_table() => DynamicVariant::Unit,
            (VariantInfo::Unit(_), Some(_)) => {
                return Err(ValueError::new(format!("the variant {name} has no data: write \"{name}\"")));
            }
            (_, None) => {
                return Err(ValueError::new(format!(
                    "the variant {name} has data: write {{ {name} = ... }}"
                )));
            }
            (VariantInfo::Tuple(variant), Some(content)) => {
                let mut data = DynamicTuple::default();
                // `Some` is invisible in a path, as it is in a value.
                let inside = |e: ValueError| if is_option(info) { e } else { e.within(name) };
                if let (1, Some(field)) = (variant.field_len(), variant.field_at(0)) {
                    let part = self.build_part(field.type_info(), content).map_err(inside)?;
                    data.insert_boxed(part);
                } else {
                    let Value::List(items) = content else {
                        return Err(ValueError::mismatch(
                            &format!("a list of {}", variant.field_len()),
                            content,
                        )
                        .within(name));
                    };
                    if items.len() != variant.field_len() {
                        let expected = format!("a list of {}", variant.field_len());
                        return Err(ValueError::mismatch(&expected, content).within(name));
                    }
                    for (i, (item, field)) in items.iter().zip(variant.iter()).enumerate() {
                        let part =
                            self.build_part(field.type_info(), item).map_err(|e| e.at(i).within(name))?;
                        data.insert_boxed(part);
                    }
                }
                DynamicVariant::Tuple(data)
            }
            (VariantInfo::Struct(variant), Some(content)) => {
                let Some(entries) = named_entries(content) else {
                    return Err(ValueError::mismatch("a table", content).within(name));
                };
                let mut data = DynamicStruct::default();
                for (field_name, value) in entries.map_err(|e| e.within(name))? {
                    let Some(field) = variant.field(field_name) else {
                        let owner = format!("the variant {name}");
                        let mut names = variant.field_names().iter().copied();
                        return Err(unknown_field_of(&owner, field_name, &mut names));
                    };
                    let part = self
                        .build_part(field.type_info(), value)
                        .map_err(|e| e.within(field_name).within(name))?;
                    data.insert_boxed(field.name(), part);
                }
                self.add_options(variant.iter(), &mut data);
                DynamicVariant::Struct(data)
            }
        };
        let missing = match (&data, variant) {
            (DynamicVariant::Struct(data), VariantInfo::Struct(variant)) => {
                Some(missing_names(variant.field_names(), data))
            }
            _ => None,
        };
        let made = self.types.concrete(info.type_id(), &DynamicEnum::new(name, data));
        made.ok_or_else(|| match missing {
            Some(names) if !names.is_empty() => {
                ValueError::new(format!("the variant {name} needs {} as well", enumerate(names)))
            }
            _ => mismatch(),
        })
    }

    /// `None` if a value of this type is not made by one step.
    fn scalar(
        &self,
        info: &'static TypeInfo,
        value: &Value,
    ) -> Option<Result<Box<dyn PartialReflect>, ValueError>> {
        fn boxed<T: Reflect>(value: T) -> Box<dyn PartialReflect> {
            Box::new(value)
        }
        let id = info.type_id();
        if id == TypeId::of::<Any>() {
            return Some(Any::of(value).map(boxed));
        }
        if id == TypeId::of::<Key>() {
            return Some(Key::of(value).map(boxed));
        }
        if let Some(conversion) = self.types.conversions.get(&id) {
            return Some((conversion.from_value)(self, value).map(|made| made.into_partial_reflect()));
        }
        macro_rules! integers {
            ($($t:ty)*) => { $(if id == TypeId::of::<$t>() {
                return Some(integer::<$t>(value).map(boxed).ok_or_else(|| self.mismatch(info, value)));
            })* };
        }
        for_each_integer!(integers);
        let text = || match value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        };
        let made = if id == TypeId::of::<f32>() {
            value.as_number().map(|number| boxed(number as f32))
        } else if id == TypeId::of::<f64>() {
            value.as_number().map(boxed)
        } else if id == TypeId::of::<Vec3>() && !matches!(value, Value::Map(_)) {
            vector(value).map(boxed)
        } else if id == TypeId::of::<Vec2>() && !matches!(value, Value::Map(_)) {
            vector2(value).map(boxed)
        } else if id == TypeId::of::<Vec3A>() && !matches!(value, Value::Map(_)) {
            vector(value).map(|vector| boxed(Vec3A::from(vector)))
        } else if id == TypeId::of::<bool>() {
            match value {
                Value::Bool(flag) => Some(boxed(*flag)),
                _ => None,
            }
        } else if id == TypeId::of::<String>() {
            text().map(boxed)
        } else if id == TypeId::of::<Cow<'static, str>>() {
            text().map(|text| boxed(Cow::<'static, str>::Owned(text)))
        } else if id == TypeId::of::<PathBuf>() {
            text().map(|text| boxed(PathBuf::from(text)))
        } else if id == TypeId::of::<char>() {
            text().and_then(|text| {
                let mut letters = text.chars();
                letters.next().filter(|_| letters.next().is_none()).map(boxed)
            })
        } else if id == TypeId::of::<Duration>() {
            let seconds = value.as_number();
            seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(boxed)
        } else if id == TypeId::of::<Entity>() {
            match (value, self.named) {
                (Value::Entity(entity), _) => Some(boxed(*entity)),
                (Value::Nil, _) => Some(boxed(Entity::PLACEHOLDER)),
                (Value::String(name), Some(named)) => match named(name) {
                    Some(entity) => Some(boxed(entity)),
                    None => return Some(Err(ValueError::new(format!("no entity is named {name:?}")))),
                },
                _ => None,
            }
        } else {
            return None;
        };
        Some(made.ok_or_else(|| self.mismatch(info, value)))
    }

    fn mismatch(&self, info: &TypeInfo, value: &Value) -> ValueError {
        ValueError::mismatch(&expectation(info), value)
    }

    fn entries<'v>(
        &self,
        info: &TypeInfo,
        value: &'v Value,
    ) -> Result<Vec<(&'v str, &'v Value)>, ValueError> {
        named_entries(value).unwrap_or_else(|| Err(self.mismatch(info, value)))
    }

    fn items<'v>(&self, info: &TypeInfo, value: &'v Value) -> Result<&'v [Value], ValueError> {
        match value {
            Value::List(items) => Ok(items),
            Value::Map(entries) if entries.is_empty() => Ok(&[]),
            other => Err(self.mismatch(info, other)),
        }
    }

    fn exactly<'v>(
        &self,
        info: &TypeInfo,
        value: &'v Value,
        count: usize,
    ) -> Result<&'v [Value], ValueError> {
        let items = self.items(info, value)?;
        if items.len() == count {
            return Ok(items);
        }
        let name = info.type_path_table().short_path();
        Err(ValueError::mismatch(&format!("a list of {count} ({name})"), value))
    }

    fn empty(
        &self,
        info: &TypeInfo,
        nothing: &dyn PartialReflect,
    ) -> Result<Box<dyn PartialReflect>, ValueError> {
        match self.types.default_of(info.type_id()) {
            Some(made) => Ok(made),
            None => self.concrete(info, nothing),
        }
    }

    fn concrete(
        &self,
        info: &TypeInfo,
        data: &dyn PartialReflect,
    ) -> Result<Box<dyn PartialReflect>, ValueError> {
        self.types.concrete(info.type_id(), data).ok_or_else(|| {
            ValueError::new(format!("{} can't be made out of parts", info.type_path_table().short_path()))
        })
    }

    /// Gives the fields that are options and missing: in a table, none is no key.
    fn add_options<'f>(&self, fields: impl Iterator<Item = &'f NamedField>, data: &mut DynamicStruct) {
        for field in fields {
            if let Some(TypeInfo::Enum(info)) = field.type_info()
                && is_option(info)
                && data.field(field.name()).is_none()
                && let Ok(none) = self.build_enum(info, &Value::Nil)
            {
                data.insert_boxed(field.name(), none);
            }
        }
    }
}

/// glam's types may be given as lists of their fields, as scene files like to.
fn is_positional(info: &TypeInfo) -> bool {
    info.type_path_table().crate_name() == Some("glam")
}

fn integer<T: TryFrom<i128> + FromStr>(value: &Value) -> Option<T> {
    let number = match value {
        Value::Integer(number) => *number,
        // Beyond 2^126 no type below can hold it but by chance; the cast would saturate.
        Value::Number(number) if number.trunc() == *number && number.abs() < 2f64.powi(126) => {
            *number as i128
        }
        // What a number could not hold exactly was handed out as digits.
        Value::String(digits) if digits.len() <= 40 => return digits.parse().ok(),
        _ => return None,
    };
    T::try_from(number).ok()
}

fn vector(value: &Value) -> Option<Vec3> {
    let list = match value {
        Value::Vector(vector) => return Some(*vector),
        Value::List(list) if list.len() == 3 => list,
        _ => return None,
    };
    let mut numbers = list.iter().map(Value::as_number);
    Some(Vec3::new(numbers.next()?? as f32, numbers.next()?? as f32, numbers.next()?? as f32))
}

fn vector2(value: &Value) -> Option<Vec2> {
    match value {
        Value::Vector(vector) if vector.z == 0.0 => Some(vector.truncate()),
        Value::List(list) if list.len() == 2 => {
            Some(Vec2::new(list[0].as_number()? as f32, list[1].as_number()? as f32))
        }
        _ => None,
    }
}

/// The pairs of a table that stands for a struct.
fn named_entries(value: &Value) -> Option<Result<Vec<(&str, &Value)>, ValueError>> {
    match value {
        Value::Map(entries) => Some(
            entries
                .iter()
                .map(|(key, value)| match key {
                    Value::String(name) => Ok((name.as_str(), value)),
                    key => Err(ValueError::new(format!("expected names of fields, got the key {key}"))),
                })
                .collect(),
        ),
        Value::List(list) if list.is_empty() => Some(Ok(Vec::new())),
        _ => None,
    }
}

/// Replaces `target` by a value that a [`Builder`] made for its type.
pub(crate) fn put(target: &mut dyn PartialReflect, value: Box<dyn PartialReflect>) -> Result<(), ValueError> {
    let wrong = |name: &str| ValueError::new(format!("can't hold a {name}"));
    let value = match value.try_into_reflect() {
        Ok(value) if !value.is_dynamic() => {
            let target = target.try_as_reflect_mut().ok_or_else(|| wrong("value"))?;
            return target.set(value).map_err(|value| wrong(value.reflect_short_type_path()));
        }
        Ok(value) => value.into_partial_reflect(),
        Err(value) => value,
    };
    match (target.reflect_mut(), value.reflect_owned()) {
        (ReflectMut::Array(target), ReflectOwned::Array(items)) if target.len() == items.len() => {
            for (i, item) in items.drain().into_iter().enumerate() {
                put(target.get_mut(i).ok_or_else(|| wrong("list"))?, item)?;
            }
            Ok(())
        }
        (ReflectMut::Tuple(target), ReflectOwned::Tuple(items))
            if target.field_len() == items.field_len() =>
        {
            for (i, item) in items.drain().into_iter().enumerate() {
                put(target.field_mut(i).ok_or_else(|| wrong("tuple"))?, item)?;
            }
            Ok(())
        }
        _ => Err(wrong("value of another type")),
    }
}

pub(crate) fn unknown_field(
    info: &TypeInfo,
    name: &str,
    names: &mut dyn Iterator<Item = &'static str>,
) -> ValueError {
    unknown_field_of(info.type_path_table().short_path(), name, names)
}

/// Says what `owner` has instead of `name`.
pub(crate) fn unknown_field_of(owner: &str, name: &str, names: &mut dyn Iterator<Item = &str>) -> ValueError {
    let names: Vec<&str> = names.collect();
    let near = did_you_mean(name, names.iter().copied());
    let short = shorten(name);
    ValueError::new(format!("{owner} has no field '{short}'{near}; it has {}", enumerate(names))).about(name)
}

fn missing_names(names: &[&'static str], data: &DynamicStruct) -> Vec<&'static str> {
    names.iter().copied().filter(|name| data.field(name).is_none()).collect()
}

fn missing_fields(info: &TypeInfo, names: &[&'static str], data: &DynamicStruct) -> ValueError {
    let missing = missing_names(names, data);
    let name = info.type_path_table().short_path();
    ValueError::new(format!("{name} has no default, so it needs {} as well", enumerate(missing)))
}
