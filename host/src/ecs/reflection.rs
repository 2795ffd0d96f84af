//! What reflection tells about the types that components are made of, and [`Value`]s out of their data: the way from
//! components to scripts.

use super::builder::Builder;
use super::dynamic::{Any, Key};
use super::nearest::enumerate;
use super::value::{MAX_DEPTH, Value, ValueError};
use bevy_ecs::entity::Entity;
use bevy_reflect::array::DynamicArray;
use bevy_reflect::enums::{DynamicEnum, DynamicVariant, EnumInfo, VariantInfo, VariantType};
use bevy_reflect::list::DynamicList;
use bevy_reflect::map::DynamicMap;
use bevy_reflect::set::DynamicSet;
use bevy_reflect::std_traits::ReflectDefault;
use bevy_reflect::structs::DynamicStruct;
use bevy_reflect::tuple::DynamicTuple;
use bevy_reflect::tuple_struct::DynamicTupleStruct;
use bevy_reflect::{PartialReflect, Reflect, ReflectFromReflect, ReflectRef, TypeInfo, TypeRegistry};
use glam::{Vec2, Vec3, Vec3A};
use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

type ToValue = dyn Fn(&Types, &dyn Reflect) -> Value;
type FromValue = dyn Fn(&Builder<'_>, &Value) -> Result<Box<dyn Reflect>, ValueError>;

/// How values of an opaque type are read and made; the programmer gives it.
pub(crate) struct Conversion {
    pub to_value: Box<ToValue>,
    pub from_value: Box<FromValue>,
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
pub(crate) use for_each_integer;

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

/// Whether all numbers in a value of this type are whole.
pub(crate) fn is_whole(info: &TypeInfo) -> bool {
    let id = info.type_id();
    macro_rules! integers {
        ($($t:ty)*) => { [$(TypeId::of::<$t>()),*].contains(&id) };
    }
    match info {
        _ if for_each_integer!(integers) => true,
        TypeInfo::Struct(info) if info.field_len() > 0 => {
            info.iter().all(|field| field.type_info().is_some_and(is_whole))
        }
        TypeInfo::TupleStruct(info) if info.field_len() > 0 => {
            info.iter().all(|field| field.type_info().is_some_and(is_whole))
        }
        TypeInfo::Array(info) => info.item_info().is_some_and(is_whole),
        _ => false,
    }
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

pub(crate) fn option_content(info: &EnumInfo) -> Option<&'static TypeInfo> {
    info.variant("Some")?.as_tuple_variant().ok()?.field_at(0)?.type_info()
}

impl Types {
    pub(crate) fn default_of(&self, id: TypeId) -> Option<Box<dyn PartialReflect>> {
        Some(self.registry.get_type_data::<ReflectDefault>(id)?.default().into_partial_reflect())
    }

    pub(crate) fn concrete(&self, id: TypeId, data: &dyn PartialReflect) -> Option<Box<dyn PartialReflect>> {
        let made = self.registry.get_type_data::<ReflectFromReflect>(id)?.from_reflect(data)?;
        Some(made.into_partial_reflect())
    }

    /// A value of the type, whatever its content: for looking at its layout, never at its content. Arrays and
    /// tuples stay dynamic (see [`Builder::build`](super::builder::Builder::build)).
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
        if let Some(any) = data.try_downcast_ref::<Any>() {
            return Ok(match any.scalar() {
                Some(value) => Seen::Value(value),
                None => Seen::Container(1),
            });
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
        match data.try_downcast_ref::<Any>() {
            Some(Any::List(list)) => return inner(list),
            Some(Any::Table(table)) => return inner(table),
            _ => {}
        }
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
        if let Some(any) = data.downcast_ref::<Any>() {
            return any.scalar();
        }
        if let Some(key) = data.downcast_ref::<Key>() {
            return Some(key.value());
        }
        if let Some(conversion) = self.conversions.get(&data.as_any().type_id()) {
            return Some((conversion.to_value)(self, data));
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
