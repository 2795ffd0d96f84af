//! Where the fields of a component lie in its memory, found out once when it is registered.
//!
//! # Why offsets are sound
//!
//! An offset is the distance between a value of the component and the field that its reflection hands
//! out, so it is right for that value. It is right for every value because reflection reports a *struct*
//! (a tuple, an array), and the fields of these have one place each. `derive(Reflect)` keeps this; a
//! `Reflect` written by hand for another kind of type that reports itself as a struct must hand out the
//! same field at the same place for every value, and what [`Registry`](super::Registry) documents so.
//! Fields that lie outside of the value itself (behind a pointer) get no offset.

use super::path::Step;
use super::reflection::Types;
use bevy_ecs::entity::Entity;
use bevy_reflect::{PartialReflect, Reflect, ReflectRef, TypeInfo};
use glam::{Vec2, Vec3, Vec3A};
use std::any::TypeId;

/// What lies at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// No field of this name.
    None,
    Bool,
    Char,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    Vec2,
    /// `Vec3`, and the first three lanes of a `Vec3A`.
    Vec3,
    Entity,
    /// A struct, tuple or array, whose fields have offsets in turn.
    Node,
    /// Reached by reflection at each access.
    Reflected,
}

impl Kind {
    fn of(id: TypeId) -> Option<(Self, usize)> {
        macro_rules! kinds {
            ($($t:ty => $kind:ident),*) => { $(if id == TypeId::of::<$t>() {
                return Some((Self::$kind, size_of::<$t>()));
            })* };
        }
        kinds!(bool => Bool, char => Char, u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8,
            i16 => I16, i32 => I32, i64 => I64, f32 => F32, f64 => F64, Vec2 => Vec2, Vec3 => Vec3,
            Entity => Entity);
        #[cfg(target_pointer_width = "64")]
        kinds!(usize => U64, isize => I64);
        #[cfg(target_pointer_width = "32")]
        kinds!(usize => U32, isize => I32);
        (id == TypeId::of::<Vec3A>()).then_some((Self::Vec3, size_of::<Vec3>()))
    }
}

/// A place in a component.
#[derive(Debug)]
pub(crate) struct Field {
    /// The field's name, or its place in a tuple or array, from 1.
    pub name: Box<str>,
    pub kind: Kind,
    /// From the start of the component; for `Node` and `Reflected` without meaning.
    pub offset: u32,
    /// The node that describes the insides; for other kinds than `Node` without meaning.
    pub node: u32,
    /// The way from the component by reflection: field, field of the field ...
    pub steps: Box<[Step]>,
    /// `None` if the type does not tell.
    pub info: Option<&'static TypeInfo>,
}

impl Field {
    /// A component of which no value can be made to look at, so that reflection finds its fields at
    /// each access.
    pub(crate) fn reflected(name: &str, info: &'static TypeInfo) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Reflected,
            offset: 0,
            node: 0,
            steps: [].into(),
            info: Some(info),
        }
    }
}

/// The insides of a component, or of a struct in it: fields in order.
#[derive(Debug)]
pub(crate) struct Node {
    /// Which component; an index into the registry's.
    pub component: u16,
    /// `Transform.rotation`
    pub label: Box<str>,
    /// The way to it from the component.
    pub steps: Box<[Step]>,
    /// Whether its fields are numbered rather than named.
    pub numbered: bool,
    pub fields: Box<[Field]>,
}

/// Arrays longer than this are reached by reflection, so that no table of places grows out of bounds.
const LONGEST_ARRAY: usize = 32;

/// Collects the nodes of all components.
#[derive(Default)]
pub(crate) struct Layout {
    pub nodes: Vec<Node>,
}

struct Sample<'a> {
    types: &'a Types,
    component: u16,
    start: usize,
    size: usize,
}

impl Layout {
    /// Describes the component number `component`, of which `value` is any value.
    pub(crate) fn add_component(
        &mut self,
        types: &Types,
        component: u16,
        name: &str,
        value: &dyn Reflect,
    ) -> Field {
        let start = std::ptr::from_ref(value).cast::<u8>().addr();
        let sample = Sample { types, component, start, size: size_of_val(value) };
        self.add(&sample, name, name, value.as_partial_reflect(), Vec::new())
    }

    fn add(
        &mut self,
        sample: &Sample<'_>,
        label: &str,
        name: &str,
        value: &dyn PartialReflect,
        steps: Vec<Step>,
    ) -> Field {
        let info = value.get_represented_type_info();
        let id = info.map(TypeInfo::type_id);
        let mut field = Field {
            name: name.into(),
            kind: Kind::Reflected,
            offset: 0,
            node: 0,
            steps: steps.as_slice().into(),
            info,
        };
        if id.is_some_and(|id| sample.types.conversions.contains_key(&id)) {
            return field;
        }
        if let Some((kind, size)) = id.and_then(Kind::of) {
            let place = std::ptr::from_ref(value).cast::<u8>().addr();
            if let Some(offset) = place.checked_sub(sample.start)
                && offset + size <= sample.size
                && let Ok(offset) = u32::try_from(offset)
            {
                (field.kind, field.offset) = (kind, offset);
            }
            return field;
        }
        let (numbered, inner): (bool, Vec<(String, &dyn PartialReflect)>) = match value.reflect_ref() {
            ReflectRef::Struct(fields) => {
                let names = (0..fields.field_len()).filter_map(|i| fields.name_at(i));
                (false, names.map(str::to_owned).zip(fields.iter_fields().map(|(_, field)| field)).collect())
            }
            ReflectRef::TupleStruct(newtype) if newtype.field_len() == 1 => {
                let Some(inner) = newtype.field(0) else { return field };
                let steps = steps.into_iter().chain([Step::Field(0)]).collect();
                return self.add(sample, label, name, inner, steps);
            }
            ReflectRef::TupleStruct(fields) => (true, number(fields.iter_fields())),
            ReflectRef::Tuple(fields) => (true, number(fields.iter_fields())),
            ReflectRef::Array(items) if items.len() <= LONGEST_ARRAY => (true, number(items.iter())),
            _ => return field,
        };
        let mut fields = Vec::with_capacity(inner.len());
        for (i, (name, value)) in (0u32..).zip(inner) {
            let label = if numbered { format!("{label}[{name}]") } else { format!("{label}.{name}") };
            let steps = steps.iter().cloned().chain([Step::Field(i)]).collect();
            fields.push(self.add(sample, &label, &name, value, steps));
        }
        let Ok(node) = u32::try_from(self.nodes.len()) else { return field };
        self.nodes.push(Node {
            component: sample.component,
            label: label.into(),
            steps: steps.into(),
            numbered,
            fields: fields.into(),
        });
        (field.kind, field.node) = (Kind::Node, node);
        field
    }
}

fn number<'a>(values: impl Iterator<Item = &'a dyn PartialReflect>) -> Vec<(String, &'a dyn PartialReflect)> {
    (1..).map(|i: u32| i.to_string()).zip(values).collect()
}

#[cfg(test)]
mod tests {
    use super::super::path::walk;
    use super::*;

    #[derive(Reflect, Default)]
    struct Inner {
        a: u8,
        b: f64,
    }

    #[derive(Reflect, Default)]
    struct Wrapped(Inner);

    #[derive(Reflect, Default)]
    struct Outer {
        flag: bool,
        inner: Inner,
        wrapped: Wrapped,
        pair: (u16, i64),
        list: Vec<f32>,
        array: [f32; 3],
        at: Vec3,
        meters: Option<f32>,
    }

    fn outer() -> (Layout, Field, Outer) {
        let types = Types::default();
        let mut layout = Layout::default();
        let value = Outer::default();
        let root = layout.add_component(&types, 0, "Outer", &value);
        (layout, root, value)
    }

    #[test]
    fn offsets_are_those_of_the_compiler() {
        let (layout, root, _) = outer();
        let node = &layout.nodes[root.node as usize];
        let field = |name: &str| node.fields.iter().find(|field| &*field.name == name).unwrap();
        assert_eq!(field("flag").offset as usize, std::mem::offset_of!(Outer, flag));
        assert_eq!(field("at").offset as usize, std::mem::offset_of!(Outer, at));
        let inner = &layout.nodes[field("inner").node as usize];
        assert_eq!(inner.fields[1].offset as usize, std::mem::offset_of!(Outer, inner.b));
        assert_eq!(&*inner.label, "Outer.inner");
        let wrapped = &layout.nodes[field("wrapped").node as usize];
        assert_eq!(wrapped.fields[0].offset as usize, std::mem::offset_of!(Outer, wrapped.0.a));
        let array = &layout.nodes[field("array").node as usize];
        assert_eq!(array.fields[2].offset as usize, std::mem::offset_of!(Outer, array) + 8);
        assert_eq!(field("list").kind, Kind::Reflected);
        assert_eq!(field("meters").kind, Kind::Reflected);
    }

    #[test]
    fn steps_lead_to_the_same_field_as_the_offset() {
        let (layout, root, mut value) = outer();
        value.wrapped.0.b = 2.5;
        let node = &layout.nodes[root.node as usize];
        let wrapped = &layout.nodes[node.fields[2].node as usize];
        let field = walk(&value, &wrapped.fields[1].steps).unwrap();
        assert_eq!(field.try_downcast_ref::<f64>(), Some(&2.5));
    }
}
