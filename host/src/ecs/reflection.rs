//! The two walks between [`Value`]s and reflected data: [`Builder`] makes data out of values,
//! [`Types::read`] makes values out of data.
//!
//! A walk never changes anything half: data is built aside and put in its place when it is whole.

use super::nearest::{did_you_mean, enumerate};
use super::value::{MAX_DEPTH, Value, ValueError};
use bevy_ecs::entity::Entity;
use bevy_reflect::array::DynamicArray;
use bevy_reflect::enums::{DynamicEnum, DynamicVariant, EnumInfo, VariantInfo, VariantType};
use bevy_reflect::list::DynamicList;
use bevy_reflect::map::DynamicMap;
use bevy_reflect::set::DynamicSet;
use bevy_reflect::std_traits::ReflectDefault;
use bevy_reflect::structs::{DynamicStruct, Struct};
use bevy_reflect::tuple::DynamicTuple;
use bevy_reflect::tuple_struct::DynamicTupleStruct;
use bevy_reflect::{
    NamedField, PartialReflect, Reflect, ReflectFromReflect, ReflectMut, ReflectOwned, ReflectRef, TypeInfo,
    TypeRegistry,
};
use glam::{Vec2, Vec3, Vec3A};
use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// How values of an opaque type are read and made; the programmer gives it.
pub(crate) struct Conversion {
    pub to_value: Box<dyn Fn(&dyn Reflect) -> Value>,
    pub from_value: Box<dyn Fn(&Value) -> Result<Box<dyn Reflect>, String>>,
}

/// All types that components are made of.
#[derive(Default)]
pub(crate) struct Types {
    pub registry: TypeRegistry,
    pub conversions: HashMap<TypeId, Conversion>,
}

/// What a place in reflected data holds, seen from a script.
pub(crate) enum Seen {
    /// Something that is copied out: a number, a text, nil ...
    Value(Value),
    /// Something with insides, which a script refers to in place, within so many wrappers that scripts
    /// don't see: newtypes and `Some`.
    Container(usize),
}

macro_rules! for_each_integer {
    ($macro:ident) => {
        $macro!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize)
    };
}

/// The words by which a message asks for a value of this type.
pub(crate) fn expectation(info: &TypeInfo) -> String {
    let name = info.type_path_table().short_path();
    let id = info.type_id();
    macro_rules! integers {
        ($($t:ty)*) => { $(if id == TypeId::of::<$t>() {
            return format!("a whole number from {} to {} ({name})", <$t>::MIN, <$t>::MAX);
        })* };
    }
    for_each_integer!(integers);
    let noun = if id == TypeId::of::<f32>() || id == TypeId::of::<f64>() {
        "a number"
    } else if id == TypeId::of::<bool>() {
        "a boolean"
    } else if id == TypeId::of::<char>() {
        "a string of one character"
    } else if id == TypeId::of::<String>()
        || id == TypeId::of::<Cow<'static, str>>()
        || id == TypeId::of::<PathBuf>()
    {
        "a string"
    } else if id == TypeId::of::<Vec2>() {
        "a vector with z = 0"
    } else if id == TypeId::of::<Vec3>() || id == TypeId::of::<Vec3A>() {
        "a vector"
    } else if id == TypeId::of::<Entity>() {
        return "an entity".into();
    } else if id == TypeId::of::<Duration>() {
        "a number of seconds"
    } else {
        match info {
            TypeInfo::Enum(info) if is_option(info) => match option_content(info) {
                Some(content) => return expectation(content) + " or nil",
                None => "a value or nil",
            },
            TypeInfo::Enum(info) => {
                return format!("{} ({name})", enumerate_alternatives(info));
            }
            TypeInfo::List(_) | TypeInfo::Set(_) | TypeInfo::Tuple(_) => "a list",
            TypeInfo::Array(info) => return format!("a list of {} ({name})", info.capacity()),
            TypeInfo::TupleStruct(info) if info.field_len() == 1 => {
                if let Some(inner) = info.field_at(0).and_then(|field| field.type_info()) {
                    return expectation(inner);
                }
                "a value"
            }
            TypeInfo::TupleStruct(_) => "a list",
            TypeInfo::Struct(_) | TypeInfo::Map(_) => "a table",
            TypeInfo::Opaque(_) => "a value",
        }
    };
    format!("{noun} ({name})")
}

fn enumerate_alternatives(info: &EnumInfo) -> String {
    let names: Vec<String> = info
        .iter()
        .map(|variant| match variant.variant_type() {
            VariantType::Unit => format!("\"{}\"", variant.name()),
            _ => format!("{{ {} = ... }}", variant.name()),
        })
        .collect();
    format!("one of {}", enumerate(names.iter().map(String::as_str)))
}

pub(crate) fn is_option(info: &EnumInfo) -> bool {
    info.type_path_table().module_path() == Some("core::option") && info.variant_len() == 2
}

fn option_content(info: &EnumInfo) -> Option<&'static TypeInfo> {
    info.variant("Some")?.as_tuple_variant().ok()?.field_at(0)?.type_info()
}

/// glam's types may be given as lists of their fields, as scene files like to.
fn is_positional(info: &TypeInfo) -> bool {
    info.type_path_table().crate_name() == Some("glam")
}

fn integer<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    let number = match value {
        Value::Integer(number) => *number,
        // Beyond 2^126 no type below can hold it but by chance; the cast would saturate.
        Value::Number(number) if number.trunc() == *number && number.abs() < 2f64.powi(126) => {
            *number as i128
        }
        // What a number could not hold exactly was handed out as digits.
        Value::String(digits) if digits.len() <= 40 => digits.parse().ok()?,
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

impl Types {
    fn default_of(&self, id: TypeId) -> Option<Box<dyn PartialReflect>> {
        Some(self.registry.get_type_data::<ReflectDefault>(id)?.default().into_partial_reflect())
    }

    fn concrete(&self, id: TypeId, data: &dyn PartialReflect) -> Option<Box<dyn PartialReflect>> {
        let made = self.registry.get_type_data::<ReflectFromReflect>(id)?.from_reflect(data)?;
        Some(made.into_partial_reflect())
    }

    /// A value of the type, whatever its content: for looking at its layout, never at its content. Arrays and
    /// tuples stay dynamic (see [`Builder::build`]).
    pub(crate) fn any_value(&self, info: &'static TypeInfo, depth: usize) -> Option<Box<dyn PartialReflect>> {
        if depth > MAX_DEPTH {
            return None;
        }
        if let Some(value) = self.default_of(info.type_id()) {
            return Some(value);
        }
        if info.type_id() == TypeId::of::<Entity>() {
            return Some(Box::new(Entity::PLACEHOLDER));
        }
        let inner = |info: Option<&'static TypeInfo>| self.any_value(info?, depth + 1);
        let data: Box<dyn PartialReflect> = match info {
            TypeInfo::Struct(info) => {
                let mut data = DynamicStruct::default();
                for field in info.iter() {
                    data.insert_boxed(field.name(), inner(field.type_info())?);
                }
                Box::new(data)
            }
            TypeInfo::TupleStruct(info) => {
                let mut data = DynamicTupleStruct::default();
                for field in info.iter() {
                    data.insert_boxed(inner(field.type_info())?);
                }
                Box::new(data)
            }
            TypeInfo::Tuple(info) => {
                let mut data = DynamicTuple::default();
                for field in info.iter() {
                    data.insert_boxed(inner(field.type_info())?);
                }
                return Some(Box::new(data));
            }
            TypeInfo::Array(array) => {
                let items: Option<Vec<_>> = (0..array.capacity()).map(|_| inner(array.item_info())).collect();
                return Some(Box::new(DynamicArray::new(items?.into())));
            }
            TypeInfo::List(_) => Box::new(DynamicList::default()),
            TypeInfo::Map(_) => Box::new(DynamicMap::default()),
            TypeInfo::Set(_) => Box::new(DynamicSet::default()),
            TypeInfo::Enum(info) => {
                let unit = info.iter().find(|variant| variant.variant_type() == VariantType::Unit);
                let variant = unit.or_else(|| info.variant_at(0))?;
                let content = match variant {
                    VariantInfo::Unit(_) => DynamicVariant::Unit,
                    VariantInfo::Tuple(variant) => {
                        let mut data = DynamicTuple::default();
                        for field in variant.iter() {
                            data.insert_boxed(inner(field.type_info())?);
                        }
                        DynamicVariant::Tuple(data)
                    }
                    VariantInfo::Struct(variant) => {
                        let mut data = DynamicStruct::default();
                        for field in variant.iter() {
                            data.insert_boxed(field.name(), inner(field.type_info())?);
                        }
                        DynamicVariant::Struct(data)
                    }
                };
                Box::new(DynamicEnum::new(variant.name(), content))
            }
            TypeInfo::Opaque(_) => return None,
        };
        self.concrete(info.type_id(), &*data)
    }

    /// What a script sees of `data`, without its insides.
    pub(crate) fn see(&self, data: &dyn PartialReflect) -> Result<Seen, ValueError> {
        if let Some(value) = self.scalar(data) {
            return Ok(Seen::Value(value));
        }
        let wrapped = |inner| {
            Ok(match self.see(inner)? {
                Seen::Container(wrappers) => Seen::Container(wrappers + 1),
                seen => seen,
            })
        };
        match data.reflect_ref() {
            ReflectRef::TupleStruct(newtype) if newtype.field_len() == 1 => match newtype.field(0) {
                Some(inner) => wrapped(inner),
                None => Ok(Seen::Value(Value::Nil)),
            },
            ReflectRef::Enum(data) => match (data.get_represented_enum_info(), data.field_at(0)) {
                (Some(info), None) if is_option(info) => Ok(Seen::Value(Value::Nil)),
                (Some(info), Some(inner)) if is_option(info) => wrapped(inner),
                _ if data.variant_type() == VariantType::Unit => {
                    Ok(Seen::Value(Value::String(data.variant_name().to_owned())))
                }
                _ => Ok(Seen::Container(0)),
            },
            ReflectRef::Opaque(data) => Err(ValueError::new(format!(
                "{} is opaque; give its registry a conversion to use it in scripts",
                data.reflect_short_type_path()
            ))),
            _ => Ok(Seen::Container(0)),
        }
    }

    /// Copies `data` out, with everything in it. What is opaque is left out.
    pub(crate) fn read(&self, data: &dyn PartialReflect) -> Result<Value, ValueError> {
        self.read_within(data, 0).map(|value| value.unwrap_or_default())
    }

    /// `None` for what is opaque.
    fn read_within(&self, data: &dyn PartialReflect, depth: usize) -> Result<Option<Value>, ValueError> {
        if depth > MAX_DEPTH {
            return Err(ValueError::new(format!("is nested more than {MAX_DEPTH} deep")));
        }
        if let Some(value) = self.scalar(data) {
            return Ok(Some(value));
        }
        let inner = |data: &dyn PartialReflect| self.read_within(data, depth + 1);
        let list = |items: &mut dyn Iterator<Item = &dyn PartialReflect>| {
            let mut list = Vec::new();
            for (i, item) in items.enumerate() {
                list.push(inner(item).map_err(|e| e.at(i))?.unwrap_or_default());
            }
            Ok(Some(Value::List(list)))
        };
        let fields = |fields: &mut dyn Iterator<Item = (&str, &dyn PartialReflect)>| {
            let mut map = Vec::new();
            for (name, field) in fields {
                match inner(field).map_err(|e: ValueError| e.within(name))? {
                    // In a table, a key without a value is no key.
                    None | Some(Value::Nil) => {}
                    Some(value) => map.push((Value::String(name.to_owned()), value)),
                }
            }
            Ok(Some(Value::Map(map)))
        };
        match data.reflect_ref() {
            ReflectRef::Struct(data) => {
                let names = (0..data.field_len()).filter_map(|i| Some((data.name_at(i)?, data.field_at(i)?)));
                fields(&mut { names })
            }
            ReflectRef::TupleStruct(data) if data.field_len() == 1 => data.field(0).map_or(Ok(None), inner),
            ReflectRef::TupleStruct(data) => list(&mut data.iter_fields()),
            ReflectRef::Tuple(data) => list(&mut data.iter_fields()),
            ReflectRef::List(data) => list(&mut data.iter()),
            ReflectRef::Array(data) => list(&mut data.iter()),
            ReflectRef::Map(data) => {
                let mut map = Vec::new();
                for (key, value) in data.iter() {
                    let key = inner(key)?.unwrap_or_default();
                    let value = inner(value).map_err(|e| e.within(&key.to_string()))?.unwrap_or_default();
                    map.push((key, value));
                }
                // A hash map of Rust has another order in every run.
                map.sort_by(|(a, _), (b, _)| a.order(b));
                Ok(Some(Value::Map(map)))
            }
            ReflectRef::Set(data) => {
                let mut list = Vec::new();
                for item in data.iter() {
                    list.push(inner(item)?.unwrap_or_default());
                }
                list.sort_by(Value::order);
                Ok(Some(Value::List(list)))
            }
            ReflectRef::Enum(data) => {
                let content = match data.variant_type() {
                    _ if data.get_represented_enum_info().is_some_and(is_option) => {
                        return data.field_at(0).map_or(Ok(Some(Value::Nil)), inner);
                    }
                    VariantType::Unit => return Ok(Some(Value::String(data.variant_name().to_owned()))),
                    VariantType::Tuple if data.field_len() == 1 => data.field_at(0).map_or(Ok(None), inner),
                    VariantType::Tuple => list(&mut data.iter_fields().map(|field| field.value())),
                    VariantType::Struct => {
                        let names =
                            (0..data.field_len()).filter_map(|i| Some((data.name_at(i)?, data.field_at(i)?)));
                        fields(&mut { names })
                    }
                };
                let content = content.map_err(|e| e.within(data.variant_name()))?.unwrap_or_default();
                Ok(Some(Value::Map(vec![(Value::String(data.variant_name().to_owned()), content)])))
            }
            ReflectRef::Opaque(_) => Ok(None),
        }
    }

    /// The value of something that has no insides for a script.
    fn scalar(&self, data: &dyn PartialReflect) -> Option<Value> {
        let data = data.try_as_reflect()?;
        if let Some(conversion) = self.conversions.get(&data.as_any().type_id()) {
            return Some((conversion.to_value)(data));
        }
        macro_rules! integers {
            ($($t:ty)*) => { $(if let Some(number) = data.downcast_ref::<$t>() {
                return Some(match i128::try_from(*number) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => Value::String(number.to_string()),
                });
            })* };
        }
        for_each_integer!(integers);
        Some(if let Some(number) = data.downcast_ref::<f32>() {
            Value::Number(f64::from(*number))
        } else if let Some(number) = data.downcast_ref::<f64>() {
            Value::Number(*number)
        } else if let Some(vector) = data.downcast_ref::<Vec3>() {
            Value::Vector(*vector)
        } else if let Some(vector) = data.downcast_ref::<Vec2>() {
            Value::Vector(vector.extend(0.0))
        } else if let Some(vector) = data.downcast_ref::<Vec3A>() {
            Value::Vector(Vec3::from(*vector))
        } else if let Some(flag) = data.downcast_ref::<bool>() {
            Value::Bool(*flag)
        } else if let Some(text) = data.downcast_ref::<String>() {
            Value::String(text.clone())
        } else if let Some(text) = data.downcast_ref::<Cow<'static, str>>() {
            Value::String(text.clone().into_owned())
        } else if let Some(path) = data.downcast_ref::<PathBuf>() {
            Value::String(path.to_string_lossy().into_owned())
        } else if let Some(entity) = data.downcast_ref::<Entity>() {
            if *entity == Entity::PLACEHOLDER { Value::Nil } else { Value::Entity(*entity) }
        } else if let Some(letter) = data.downcast_ref::<char>() {
            Value::String(letter.to_string())
        } else if let Some(duration) = data.downcast_ref::<Duration>() {
            Value::Number(duration.as_secs_f64())
        } else {
            return None;
        })
    }
}

/// Makes data of a given type out of [`Value`]s.
#[derive(Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub types: &'a Types,
    /// Finds the entity that a text stands for; only scenes name entities.
    pub named: Option<&'a dyn Fn(&str) -> Option<Entity>>,
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
        if let Some(conversion) = self.types.conversions.get(&id) {
            let made = (conversion.from_value)(value);
            return Some(made.map(|made| made.into_partial_reflect()).map_err(ValueError::new));
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
pub(crate) fn unknown_field_of<'n>(
    owner: &str,
    name: &str,
    names: &mut dyn Iterator<Item = &'n str>,
) -> ValueError {
    let names: Vec<&str> = names.collect();
    let near = did_you_mean(name, names.iter().copied());
    let name = super::nearest::shorten(name);
    ValueError::new(format!("{owner} has no field '{name}'{near}; it has {}", enumerate(names)))
}

fn missing_names(names: &[&'static str], data: &DynamicStruct) -> Vec<&'static str> {
    names.iter().copied().filter(|name| data.field(name).is_none()).collect()
}

fn missing_fields(info: &TypeInfo, names: &[&'static str], data: &DynamicStruct) -> ValueError {
    let missing = missing_names(names, data);
    let name = info.type_path_table().short_path();
    ValueError::new(format!("{name} has no default, so it needs {} as well", enumerate(missing)))
}
