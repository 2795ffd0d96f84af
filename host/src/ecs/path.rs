//! Ways into reflected data, and what a script's key means at the end of one.

use super::builder::{Builder, put, unknown_field, unknown_field_of};
use super::nearest::did_you_mean;
use super::place::Keys;
use super::reflection::{Seen, Types, is_option};
use super::value::{MAX_VALUES, Value, ValueError};
use bevy_reflect::enums::Enum;
use bevy_reflect::{PartialReflect, ReflectMut, ReflectRef, TypeInfo};
use std::rc::Rc;

/// One step into data.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The field or element with this number; also the only field of a newtype or of `Some`.
    Field(u32),
    /// The value under this key of a map.
    Key(Rc<dyn PartialReflect>),
    /// Into the enum, as long as it is this variant; its fields come next.
    Variant(u32),
}

/// Follows `steps` into `data`; `None` where there is no way (any more).
pub(crate) fn walk<'a>(data: &'a dyn PartialReflect, steps: &[Step]) -> Option<&'a dyn PartialReflect> {
    steps.iter().try_fold(data, |data, step| match (step, data.reflect_ref()) {
        (&Step::Field(i), ReflectRef::Struct(fields)) => fields.field_at(i as usize),
        (&Step::Field(i), ReflectRef::TupleStruct(fields)) => fields.field(i as usize),
        (&Step::Field(i), ReflectRef::Tuple(fields)) => fields.field(i as usize),
        (&Step::Field(i), ReflectRef::List(items)) => items.get(i as usize),
        (&Step::Field(i), ReflectRef::Array(items)) => items.get(i as usize),
        (&Step::Field(i), ReflectRef::Enum(variant)) => variant.field_at(i as usize),
        (Step::Key(key), ReflectRef::Map(map)) => map.get(&**key),
        (&Step::Variant(i), ReflectRef::Enum(variant)) => {
            (variant.variant_index() == i as usize).then_some(data)
        }
        _ => None,
    })
}

/// Like [`walk`], to change what is there.
pub(crate) fn walk_mut<'a>(
    data: &'a mut dyn PartialReflect,
    steps: &[Step],
) -> Option<&'a mut dyn PartialReflect> {
    steps.iter().try_fold(data, |data, step| {
        if let (&Step::Variant(i), ReflectRef::Enum(variant)) = (step, data.reflect_ref()) {
            return if variant.variant_index() == i as usize { Some(data) } else { None };
        }
        match (step, data.reflect_mut()) {
            (&Step::Field(i), ReflectMut::Struct(fields)) => fields.field_at_mut(i as usize),
            (&Step::Field(i), ReflectMut::TupleStruct(fields)) => fields.field_mut(i as usize),
            (&Step::Field(i), ReflectMut::Tuple(fields)) => fields.field_mut(i as usize),
            (&Step::Field(i), ReflectMut::List(items)) => items.get_mut(i as usize),
            (&Step::Field(i), ReflectMut::Array(items)) => items.get_mut(i as usize),
            (&Step::Field(i), ReflectMut::Enum(variant)) => variant.field_at_mut(i as usize),
            (Step::Key(key), ReflectMut::Map(map)) => map.get_mut(&**key),
            _ => None,
        }
    })
}

/// What a key means at a place.
enum Child {
    /// There is something, these steps further in, called this.
    There(Vec<Step>, String),
    /// Nothing is there, but it could be.
    Absent,
    /// The element of a set, which is there or not.
    Member(bool),
}

fn unknown_key(data: &dyn PartialReflect, key: &Value) -> ValueError {
    ValueError::new(format!("a {} has no field {}", data.reflect_short_type_path(), key.describe()))
}

/// The number of a list's element, counted from 0, that a script means by `key`.
fn index(key: &Value) -> Option<usize> {
    let number = key.as_number()?;
    (number >= 1.0 && number.trunc() == number && number <= f64::from(u32::MAX)).then(|| number as usize - 1)
}

fn there(i: usize, label: String) -> Child {
    // An index beyond u32 has no element: lists of that length don't fit into memory here.
    Child::There(vec![Step::Field(u32::try_from(i).unwrap_or(u32::MAX))], label)
}

/// `inside`: whether the last step went into a variant, so that its fields are meant.
fn child(types: &Types, data: &dyn PartialReflect, inside: bool, key: &Value) -> Result<Child, ValueError> {
    let numbered = |count: usize| match index(key) {
        Some(i) if i < count => Ok(there(i, format!("[{}]", i + 1))),
        Some(i) => Err(ValueError::new(format!("has {count} elements, not {}", i + 1))),
        None => Err(unknown_key(data, key)),
    };
    match (data.reflect_ref(), key) {
        (ReflectRef::Struct(fields), Value::String(name)) => match fields.index_of_name(name) {
            Some(i) => Ok(there(i, format!(".{name}"))),
            None => Err(match data.get_represented_type_info() {
                Some(info) => {
                    let names = fields.get_represented_struct_info().map(|info| info.field_names());
                    unknown_field(info, name, &mut names.unwrap_or_default().iter().copied())
                }
                None => unknown_key(data, key),
            }),
        },
        (ReflectRef::TupleStruct(fields), _) => numbered(fields.field_len()),
        (ReflectRef::Tuple(fields), _) => numbered(fields.field_len()),
        (ReflectRef::Array(items), _) => numbered(items.len()),
        (ReflectRef::List(items), _) => match index(key) {
            Some(i) if i < items.len() => Ok(there(i, format!("[{}]", i + 1))),
            Some(_) => Ok(Child::Absent),
            None if key.as_number().is_some() => Ok(Child::Absent),
            None => Err(ValueError::new(format!("expected a number as the index, got {}", key.describe()))),
        },
        (ReflectRef::Map(map), _) => {
            let info = map.get_represented_map_info().and_then(|info| info.key_info());
            let made = known(build_key(types, info, key)?, &mut map.iter().map(|(key, _)| key));
            Ok(match map.get(&*made) {
                None => Child::Absent,
                Some(_) => Child::There(vec![Step::Key(made.into())], format!("[{key}]")),
            })
        }
        (ReflectRef::Set(set), _) => {
            let made = known(build_key(types, set_item(types, data), key)?, &mut set.iter());
            Ok(Child::Member(set.contains(&*made)))
        }
        (ReflectRef::Enum(variant), Value::String(name)) if inside => match variant.index_of(name) {
            Some(i) => Ok(there(i, format!(".{name}"))),
            None => {
                let mut names = (0..variant.field_len()).filter_map(|i| variant.name_at(i));
                Err(unknown_field_of(&format!("the variant {}", variant.variant_name()), name, &mut names))
            }
        },
        (ReflectRef::Enum(variant), _) if inside => numbered(variant.field_len()),
        (ReflectRef::Enum(variant), Value::String(name)) => enter_variant(data, variant, name),
        _ => Err(unknown_key(data, key)),
    }
}

/// `state.Chasing`: the content of that variant, or nil while the enum is another.
fn enter_variant(data: &dyn PartialReflect, variant: &dyn Enum, name: &str) -> Result<Child, ValueError> {
    let names = variant.get_represented_enum_info().map(|info| info.variant_names()).unwrap_or_default();
    if !names.contains(&name) {
        let near = did_you_mean(name, names.iter().copied());
        let owner = data.reflect_short_type_path();
        let name = super::nearest::shorten(name);
        return Err(ValueError::new(format!("{owner} has no variant '{name}'{near}")));
    }
    if variant.variant_name() != name {
        return Ok(Child::Absent);
    }
    let mut steps = vec![Step::Variant(variant.variant_index() as u32)];
    // As in a value, the only field of a tuple variant stands for the whole of it.
    if variant.field_len() == 1 && variant.name_at(0).is_none() {
        steps.push(Step::Field(0));
    }
    Ok(Child::There(steps, format!(".{name}")))
}

fn set_item(types: &Types, data: &dyn PartialReflect) -> Option<&'static TypeInfo> {
    let info = data.get_represented_type_info()?.as_set().ok()?;
    types.registry.get_type_info(info.value_ty().id())
}

fn build_key(
    types: &Types,
    info: Option<&'static TypeInfo>,
    key: &Value,
) -> Result<Box<dyn PartialReflect>, ValueError> {
    let info = info.ok_or_else(|| ValueError::new("has keys without type information"))?;
    Builder { types, named: None }.build(info, key).map_err(|e| ValueError::new(format!("the key: {e}")))
}

/// The key in the form in which a map or set can look it up. A tuple or array comes out of a builder as a dynamic one,
/// which these don't find; so it is looked for, and taken from where it is.
fn known(
    key: Box<dyn PartialReflect>,
    keys: &mut dyn Iterator<Item = &dyn PartialReflect>,
) -> Box<dyn PartialReflect> {
    if !key.is_dynamic() {
        return key;
    }
    for known in keys {
        if key.reflect_partial_eq(known) == Some(true)
            && let Ok(known) = known.reflect_clone()
        {
            return known.into_partial_reflect();
        }
    }
    key
}

/// What a script gets that reads `key` at a place.
pub(crate) enum Reading {
    Value(Value),
    /// Something with insides, these steps further in, called this.
    Container(Vec<Step>, String),
}

/// Reads the child under `key` of the data at the end of `steps`.
pub(crate) fn read_child(
    types: &Types,
    data: &dyn PartialReflect,
    steps: &[Step],
    key: &Value,
) -> Result<Reading, ValueError> {
    match child(types, data, matches!(steps.last(), Some(Step::Variant(_))), key)? {
        Child::Absent => Ok(Reading::Value(Value::Nil)),
        Child::Member(is) => Ok(Reading::Value(if is { Value::Bool(true) } else { Value::Nil })),
        Child::There(mut steps, label) => {
            let Some(child) = walk(data, &steps) else { return Ok(Reading::Value(Value::Nil)) };
            // The content of a variant with several fields is the enum itself, seen from within.
            if matches!(steps.last(), Some(Step::Variant(_))) {
                return Ok(Reading::Container(steps, label));
            }
            Ok(match types.see(child)? {
                Seen::Value(value) => Reading::Value(value),
                Seen::Container(wrappers) => {
                    steps.extend((0..wrappers).map(|_| Step::Field(0)));
                    Reading::Container(steps, label)
                }
            })
        }
    }
}

/// A change that is ready to be made and can't fail any more.
pub(crate) enum Edit {
    Put(Vec<Step>, Box<dyn PartialReflect>),
    Push(Box<dyn PartialReflect>),
    Insert(usize, Box<dyn PartialReflect>),
    RemoveAt(usize),
    MapInsert(Box<dyn PartialReflect>, Box<dyn PartialReflect>),
    MapRemove(Box<dyn PartialReflect>),
    SetInsert(Box<dyn PartialReflect>),
    SetRemove(Box<dyn PartialReflect>),
    Clear,
    Nothing,
}

/// Prepares `place[key] = value`, where `data` is at the end of `steps`.
pub(crate) fn edit_child(
    types: &Types,
    data: &dyn PartialReflect,
    steps: &[Step],
    key: &Value,
    value: &Value,
) -> Result<Edit, ValueError> {
    let builder = Builder { types, named: None };
    let inside = matches!(steps.last(), Some(Step::Variant(_)));
    let info_of = |info: Option<&'static TypeInfo>| {
        info.ok_or_else(|| ValueError::new("has a type without type information"))
    };
    match data.reflect_ref() {
        ReflectRef::List(items) => {
            let item = info_of(items.get_represented_list_info().and_then(|info| info.item_info()))?;
            let count = items.len();
            match (index(key), value) {
                (Some(i), Value::Nil) if i + 1 == count && !accepts_nil(item) => Ok(Edit::RemoveAt(i)),
                (Some(i), Value::Nil) if i >= count => Ok(Edit::Nothing),
                (Some(_), Value::Nil) if !accepts_nil(item) => Err(ValueError::new(
                    "only the last element can be set to nil; use remove(index), which closes the gap",
                )),
                (Some(i), value) if i < count => Ok(Edit::Put(
                    vec![Step::Field(i as u32)],
                    builder.build(item, value).map_err(|e| e.at(i))?,
                )),
                (Some(i), value) if i == count => {
                    check_room(count)?;
                    Ok(Edit::Push(builder.build(item, value).map_err(|e| e.at(i))?))
                }
                _ => Err(ValueError::new(format!(
                    "has {count} elements; only [1] to [{}] can be set, not [{key}]",
                    count + 1
                ))),
            }
        }
        ReflectRef::Map(map) => {
            let info = map.get_represented_map_info();
            let made_key = build_key(types, info.and_then(|info| info.key_info()), key)?;
            let made_key = known(made_key, &mut map.iter().map(|(key, _)| key));
            let item = info_of(info.and_then(|info| info.value_info()))?;
            if *value == Value::Nil && !accepts_nil(item) {
                return Ok(Edit::MapRemove(made_key));
            }
            check_room(map.len())?;
            let made = builder.build(item, value).map_err(|e| e.within(&key_name(key)))?;
            Ok(Edit::MapInsert(made_key, made))
        }
        ReflectRef::Set(set) => {
            let made = known(build_key(types, set_item(types, data), key)?, &mut set.iter());
            match value {
                Value::Bool(true) => {
                    check_room(set.len())?;
                    Ok(Edit::SetInsert(made))
                }
                Value::Bool(false) | Value::Nil => Ok(Edit::SetRemove(made)),
                other => Err(ValueError::mismatch("true, false or nil for an element of a set", other)),
            }
        }
        ReflectRef::Enum(_) if !inside => {
            let info = info_of(data.get_represented_type_info())?;
            let whole = Value::Map(vec![(key.clone(), value.clone())]);
            Ok(Edit::Put(Vec::new(), builder.build(info, &whole)?))
        }
        _ => match child(types, data, inside, key)? {
            Child::There(steps, label) => {
                let target = walk(data, &steps).and_then(|data| data.get_represented_type_info());
                let made =
                    builder.build(info_of(target)?, value).map_err(|e| match label.strip_prefix('.') {
                        Some(name) => e.within(name),
                        None => e.at(index(key).unwrap_or_default()),
                    })?;
                Ok(Edit::Put(steps, made))
            }
            Child::Absent | Child::Member(_) => Err(unknown_key(data, key)),
        },
    }
}

/// An error if nothing more fits into a list, map or set with so many elements: as much as one assignment could put
/// there, so that no script fills the memory of the host.
pub(super) fn check_room(count: usize) -> Result<(), ValueError> {
    if count < MAX_VALUES {
        return Ok(());
    }
    Err(ValueError::new(format!("has {count} elements, and a script can't add to more than {MAX_VALUES}")))
}

/// Whether nil is a value of the type, rather than the absence of one.
fn accepts_nil(info: &TypeInfo) -> bool {
    matches!(info, TypeInfo::Enum(info) if is_option(info))
}

fn key_name(key: &Value) -> String {
    match key {
        Value::String(name) => name.clone(),
        key => key.to_string(),
    }
}

/// Makes the change; returns what it took out.
pub(crate) fn apply(
    data: &mut dyn PartialReflect,
    edit: Edit,
) -> Result<Option<Box<dyn PartialReflect>>, ValueError> {
    let wrong = || ValueError::new("is of another kind than it was");
    match (edit, data.reflect_mut()) {
        (Edit::Put(steps, value), _) => {
            put(walk_mut(data, &steps).ok_or_else(wrong)?, value)?;
        }
        (Edit::Push(value), ReflectMut::List(list)) => list.push(value),
        (Edit::Insert(i, value), ReflectMut::List(list)) if i <= list.len() => {
            list.insert(i, value);
        }
        (Edit::RemoveAt(i), ReflectMut::List(list)) if i < list.len() => return Ok(Some(list.remove(i))),
        (Edit::MapInsert(key, value), ReflectMut::Map(map)) => {
            map.insert_boxed(key, value);
        }
        (Edit::MapRemove(key), ReflectMut::Map(map)) => {
            map.remove(&*key);
        }
        (Edit::SetInsert(item), ReflectMut::Set(set)) => {
            set.insert_boxed(item);
        }
        (Edit::SetRemove(item), ReflectMut::Set(set)) => {
            set.remove(&*item);
        }
        (Edit::Clear, ReflectMut::List(list)) => drop(list.drain()),
        (Edit::Clear, ReflectMut::Map(map)) => drop(map.drain()),
        (Edit::Clear, ReflectMut::Set(set)) => drop(set.drain()),
        (Edit::Nothing, _) => {}
        _ => return Err(wrong()),
    }
    Ok(None)
}

/// How many elements a script counts at a place.
pub(crate) fn length(data: &dyn PartialReflect, inside: bool) -> Option<usize> {
    match data.reflect_ref() {
        ReflectRef::List(items) => Some(items.len()),
        ReflectRef::Array(items) => Some(items.len()),
        ReflectRef::Map(map) => Some(map.len()),
        ReflectRef::Set(set) => Some(set.len()),
        ReflectRef::TupleStruct(fields) => Some(fields.field_len()),
        ReflectRef::Tuple(fields) => Some(fields.field_len()),
        ReflectRef::Enum(variant) if inside && variant.name_at(0).is_none() => Some(variant.field_len()),
        _ => None,
    }
}

/// The keys by which a script iterates over a place; in an order that is the same in every run.
pub(super) fn keys(types: &Types, data: &dyn PartialReflect, inside: bool) -> Result<Keys, ValueError> {
    let name = |name: &str| Value::String(name.to_owned());
    Ok(Keys::These(match data.reflect_ref() {
        ReflectRef::Struct(fields) => {
            (0..fields.field_len()).filter_map(|i| fields.name_at(i)).map(name).collect()
        }
        ReflectRef::Map(map) => {
            let mut keys = Vec::with_capacity(map.len());
            for (key, _) in map.iter() {
                keys.push(types.read(key)?);
            }
            keys.sort_by(Value::order);
            keys
        }
        ReflectRef::Set(set) => {
            let mut keys = Vec::with_capacity(set.len());
            for key in set.iter() {
                keys.push(types.read(key)?);
            }
            keys.sort_by(Value::order);
            keys
        }
        ReflectRef::Enum(variant) if !inside => vec![name(variant.variant_name())],
        ReflectRef::Enum(variant) if variant.name_at(0).is_some() => {
            (0..variant.field_len()).filter_map(|i| variant.name_at(i)).map(name).collect()
        }
        _ => return Ok(Keys::Numbers(length(data, inside).unwrap_or_default())),
    }))
}
