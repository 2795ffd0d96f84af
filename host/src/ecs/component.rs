//! What scripts may use of the world: components, resources and functions, registered by the programmer.

use super::builder::{Builder, Named};
use super::dynamic::Declared;
use super::function::{Call, Function, Functions as ModuleFunctions, ScriptFunction, WorldAccess, blocking};
use super::layout::{Field, Layout, Node};
use super::message::MessageKind;
use super::nearest::{did_you_mean, enumerate, shorten};
use super::reflection::{Conversion, Types, is_whole};
use super::script_part::ScriptPart;
use super::value::{Value, ValueError};
use bevy_ecs::component::{Component, ComponentId, Mutable, StorageType};
use bevy_ecs::entity::Entity;
use bevy_ecs::message::Message;
use bevy_ecs::ptr::{OwningPtr, Ptr, PtrMut};
use bevy_ecs::resource::Resource;
use bevy_ecs::world::{EntityRef, EntityWorldMut, World, WorldId};
use bevy_reflect::{
    FromReflect, GetTypeRegistration, PartialReflect, Reflect, TypeInfo, TypePath, TypeRegistry, Typed,
};
use elsa::FrozenVec;
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How the host attaches scripts to entities: what `Script = "goblin"` and `Scripts = { ... }` mean where
/// an entity is described, in a scene or by a script.
pub trait ScriptHook {
    /// Says what is wrong with the name of a script, before anything is spawned.
    fn check(&self, script: &str) -> Result<(), String>;

    /// Makes `scripts` the scripts of the entity.
    fn attach(&self, entity: &mut EntityWorldMut<'_>, scripts: &[ScriptPart]) -> Result<(), String>;

    /// Takes all scripts from the entity; whether there was one.
    fn detach(&self, entity: &mut EntityWorldMut<'_>) -> bool;

    /// The scripts of the entity.
    fn scripts(&self, entity: EntityRef<'_>) -> Vec<String>;
}

/// Why a [`Registry`] can't be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two registrations have the same name.
    #[error("the name '{name}' is registered twice: for {first} and for {second}")]
    Duplicate {
        /// The name in question.
        name: String,
        /// What has it already.
        first: String,
        /// What wants it, too.
        second: String,
    },
    /// A name means something else already.
    #[error("the name '{name}' of {owner} is taken: scripts know it as {meaning}")]
    Reserved {
        /// The name in question.
        name: String,
        /// What wants it.
        owner: String,
        /// What has it already.
        meaning: &'static str,
    },
    /// A type whose reflection tells nothing that scripts could use.
    #[error("{name} can't be used from scripts: {reason}")]
    Unusable {
        /// The type.
        name: String,
        /// What is missing.
        reason: String,
    },
    /// More components than a reference can number.
    #[error("more than {} components and resources are registered", u16::MAX)]
    TooMany,
}

/// A component or resource that scripts may use.
pub(crate) struct Registered {
    pub name: Box<str>,
    pub id: ComponentId,
    pub info: &'static TypeInfo,
    /// The whole component as if it were a field.
    pub root: Field,
    pub mutable: bool,
    /// Stored in a sparse set.
    pub sparse: bool,
    pub resource: bool,
    pub functions: Functions,
    /// Of one that a script or a scene has declared: what its values leave out.
    pub defaults: Option<RefCell<Vec<(Value, Value)>>>,
}

/// What is done with a component whose type only its registration knew.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    /// Safety: the id is that of the registered type.
    insert: unsafe fn(&mut EntityWorldMut<'_>, ComponentId, Box<dyn PartialReflect>) -> bool,
    /// Safety: the pointer is to a live component of the registered type.
    reflect: for<'a> unsafe fn(Ptr<'a>) -> &'a dyn Reflect,
    /// Safety: the pointer is to a live component of the registered type.
    reflect_mut: for<'a> unsafe fn(PtrMut<'a>) -> &'a mut dyn Reflect,
}

impl Functions {
    fn of<T: Component + FromReflect>() -> Self {
        Self {
            insert: |entity, _, value| match T::take_from_reflect(value) {
                Ok(value) => {
                    entity.insert(value);
                    true
                }
                Err(_) => false,
            },
            // SAFETY: the caller of the function pointer vouches for the type.
            reflect: |pointer| unsafe { pointer.deref::<T>() },
            // SAFETY: the caller of the function pointer vouches for the type.
            reflect_mut: |pointer| unsafe { pointer.deref_mut::<T>() },
        }
    }
}

impl Functions {
    /// Of components that were declared: the same type under different ids.
    pub(super) fn declared() -> Self {
        Self {
            insert: |entity, id, value| match Declared::take_from_reflect(value) {
                Ok(value) => {
                    // SAFETY: the caller of the function pointer vouches that the id is of such a component.
                    OwningPtr::make(value, |value| unsafe { entity.insert_by_id(id, value) });
                    true
                }
                Err(_) => false,
            },
            // SAFETY: the caller of the function pointer vouches for the type.
            reflect: |pointer| unsafe { pointer.deref::<Declared>() },
            // SAFETY: the caller of the function pointer vouches for the type.
            reflect_mut: |pointer| unsafe { pointer.deref_mut::<Declared>() },
        }
    }
}

impl Registered {
    /// Inserts `value`, which a [`Builder`] made of this component's type, or replaces the component by it.
    pub(crate) fn insert(
        &self,
        entity: &mut EntityWorldMut<'_>,
        value: Box<dyn PartialReflect>,
    ) -> Result<(), ValueError> {
        // SAFETY: the id is the one under which the type was registered.
        if unsafe { (self.functions.insert)(entity, self.id, value) } {
            Ok(())
        } else {
            Err(ValueError::new("a conversion made a value of another type").within(&self.name))
        }
    }

    /// The component as reflected data.
    ///
    /// # Safety
    /// `component` is a live component of this type.
    pub(crate) unsafe fn reflect<'a>(&self, component: Ptr<'a>) -> &'a dyn Reflect {
        // SAFETY: the caller keeps the promise that the function asks for.
        unsafe { (self.functions.reflect)(component) }
    }

    /// The component as reflected data, to be changed.
    ///
    /// # Safety
    /// `component` is a live component of this type.
    pub(crate) unsafe fn reflect_mut<'a>(&self, component: PtrMut<'a>) -> &'a mut dyn Reflect {
        // SAFETY: the caller keeps the promise that the function asks for.
        unsafe { (self.functions.reflect_mut)(component) }
    }
}

/// The components, resources and functions of one world that scripts may use.
///
/// Everything about a component's type is found out here, once: its name, its fields, and where they
/// lie.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bevy_reflect::prelude::*;
/// use bluetick::ecs::Registry;
///
/// #[derive(Component, Reflect, Default)]
/// #[reflect(Default)]
/// struct Health { current: f32, max: f32 }
///
/// let mut world = World::new();
/// let registry = Registry::builder().component::<Health>().build(&mut world)?;
/// assert_eq!(registry.component_names().collect::<Vec<_>>(), ["Health"]);
/// # Ok::<(), bluetick::ecs::RegistryError>(())
/// ```
pub struct Registry {
    pub(crate) world: WorldId,
    pub(crate) types: Types,
    /// Those that are declared later are added at the end.
    pub(crate) components: FrozenVec<Box<Registered>>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) functions: Vec<ScriptFunction>,
    pub(crate) messages: Vec<MessageKind>,
    pub(crate) hook: Option<Rc<dyn ScriptHook>>,
    /// Components and resources apart: a resource is no component of an entity.
    by_name: RefCell<HashMap<(Box<str>, bool), u16>>,
}

/// Names by which entities are described besides those of components.
const RESERVED: [(&str, &str); 3] =
    [("Name", "the name of an entity"), ("Script", "its script"), ("Scripts", "its scripts")];

/// One component (or the name, or scripts) of an entity that is about to be, ready to be inserted.
pub(crate) enum Part {
    Component(u16, Box<dyn PartialReflect>),
    Name(String),
    Scripts(Vec<ScriptPart>),
}

/// The table, with what it leaves out.
fn complete(value: &Value, defaults: &[(Value, Value)]) -> Value {
    let mut entries = match value {
        Value::Map(entries) => entries.clone(),
        Value::Bool(true) => Vec::new(),
        other => return other.clone(),
    };
    for (key, default) in defaults {
        if !entries.iter().any(|(known, _)| known == key) {
            entries.push((key.clone(), default.clone()));
        }
    }
    Value::Map(entries)
}

impl Registry {
    /// Starts a registry.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// The names of all components, as scripts write them, in order of registration.
    pub fn component_names(&self) -> impl Iterator<Item = &str> {
        self.components.iter().filter(|c| !c.resource).map(|c| &*c.name)
    }

    /// The names of all resources, as scripts write them, in order of registration.
    pub fn resource_names(&self) -> impl Iterator<Item = &str> {
        self.components.iter().filter(|c| c.resource).map(|c| &*c.name)
    }

    /// Copies a component of an entity out, as a plain value; `None` if there is no such component or
    /// the entity does not have it.
    pub fn read(&self, world: &World, entity: Entity, component: &str) -> Option<Value> {
        let registered = &self.components[usize::from(self.find(component, false)?)];
        let entity = world.get_entity(entity).ok()?;
        self.read_component(registered, entity).and_then(Result::ok)
    }

    /// Inserts or replaces a component by name; what the value leaves out comes from the type's default.
    ///
    /// # Errors
    /// An unknown component, or a value that does not fit its type; then nothing is changed. A dead
    /// entity is an error, too.
    pub fn insert(
        &self,
        world: &mut World,
        entity: Entity,
        component: &str,
        value: &Value,
    ) -> Result<(), ValueError> {
        let part = self.part(component, value, None)?;
        let mut entity = world
            .get_entity_mut(entity)
            .map_err(|_| ValueError::new(format!("entity {entity} is gone")).within(component))?;
        self.insert_part(&mut entity, part)
    }

    pub(crate) fn find(&self, name: &str, resource: bool) -> Option<u16> {
        self.by_name.borrow().get(&(Box::from(name), resource)).copied()
    }

    /// A component that was declared has this number.
    pub(super) fn enter(&self, name: &str, number: u16) {
        self.by_name.borrow_mut().insert((name.into(), false), number);
    }

    /// The name means something besides components.
    pub(super) fn is_reserved(&self, name: &str) -> bool {
        RESERVED.iter().any(|(reserved, _)| *reserved == name)
    }

    /// The component called `name`, or an error that names the nearest.
    pub(crate) fn component(&self, name: &str) -> Result<u16, ValueError> {
        self.find(name, false).ok_or_else(|| {
            if self.is_reserved(name) {
                let member = if name == "Name" { "name" } else { name };
                let text = format!("'{name}' is no component that scripts can ask for: see entity.{member}");
                return ValueError::new(text).about(name);
            }
            let known = || self.component_names().chain(RESERVED.map(|(name, _)| name));
            let near = match known().find(|known| known.eq_ignore_ascii_case(name)) {
                Some(known) => format!(" (did you mean '{known}'?)"),
                None => did_you_mean(name, known()),
            };
            ValueError::new(format!("there is no component '{}'{near}", shorten(name))).about(name)
        })
    }

    /// Whether the field at the end of this path, a component's name first, is of an integer type (or of several).
    pub(crate) fn is_whole(&self, path: &[String]) -> bool {
        let Some((component, names)) = path.split_first() else { return false };
        let component = self.find(component, false).map(|number| &self.components[usize::from(number)]);
        let info = names.iter().try_fold(component.map(|c| c.info), |info, name| {
            Some(info?.as_struct().ok()?.field(name)?.type_info())
        });
        info.flatten().is_some_and(is_whole)
    }

    pub(crate) fn read_component(
        &self,
        registered: &Registered,
        entity: EntityRef<'_>,
    ) -> Option<Result<Value, ValueError>> {
        let component = entity.get_by_id(registered.id).ok()?;
        // SAFETY: the component has the id under which this world registered the type.
        let data = unsafe { registered.reflect(component) };
        Some(self.types.read(data.as_partial_reflect()).map_err(|e| e.within(&registered.name)))
    }

    /// Checks and converts one entry of an entity's description; changes nothing.
    pub(crate) fn part(
        &self,
        name: &str,
        value: &Value,
        named: Option<Named<'_>>,
    ) -> Result<Part, ValueError> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(ValueError::mismatch("a string", other).within(name)),
        };
        match (name, &self.hook) {
            ("Name", _) => Ok(Part::Name(text(value)?)),
            ("Script" | "Scripts", None) => {
                Err(ValueError::new("this world has no scripts for entities").within(name))
            }
            ("Script" | "Scripts", Some(hook)) => {
                let scripts = ScriptPart::parse_all(value).map_err(|error| error.within(name))?;
                for script in &scripts {
                    hook.check(&script.name).map_err(|problem| ValueError::new(problem).within(name))?;
                }
                Ok(Part::Scripts(scripts))
            }
            _ => {
                let component = self.component(name)?;
                let registered = &self.components[usize::from(component)];
                let builder = Builder { types: &self.types, named };
                let whole = registered.defaults.as_ref().map(|defaults| complete(value, &defaults.borrow()));
                let value = whole.as_ref().unwrap_or(value);
                let value = builder.build(registered.info, value).map_err(|e| e.within(name))?;
                Ok(Part::Component(component, value))
            }
        }
    }

    pub(crate) fn insert_part(&self, entity: &mut EntityWorldMut<'_>, part: Part) -> Result<(), ValueError> {
        match (part, &self.hook) {
            (Part::Component(component, value), _) => {
                self.components[usize::from(component)].insert(entity, value)
            }
            (Part::Name(name), _) => {
                entity.insert(bevy_ecs::name::Name::new(name));
                Ok(())
            }
            (Part::Scripts(scripts), Some(hook)) => {
                hook.attach(entity, &scripts).map_err(|problem| ValueError::new(problem).within("Script"))
            }
            (Part::Scripts(_), None) => Ok(()),
        }
    }

    /// What an entity has, in the words of a message.
    pub(crate) fn enumerate_components(&self, entity: EntityRef<'_>) -> String {
        let has = self.components.iter().filter(|c| !c.resource && entity.contains_id(c.id));
        enumerate(has.map(|c| &*c.name))
    }
}

/// Collects what a [`Registry`] is made of.
#[derive(Default)]
pub struct RegistryBuilder {
    pending: Vec<Pending>,
    types: TypeRegistry,
    conversions: HashMap<TypeId, Conversion>,
    functions: Vec<ScriptFunction>,
    messages: Vec<MessageKind>,
    hook: Option<Rc<dyn ScriptHook>>,
}

struct Pending {
    name: String,
    info: &'static TypeInfo,
    resource: bool,
    register: fn(&mut World) -> ComponentId,
    sample: fn(&Types) -> Option<Box<dyn Reflect>>,
    functions: Functions,
}

impl RegistryBuilder {
    /// Makes a component usable from scripts, under the short name of its type (`Health`).
    ///
    /// The type derives `Component` and `Reflect`; with `#[reflect(Default)]` as well, scripts and scenes
    /// may leave fields out. A `Reflect` written by hand must hand out each field at the same place for
    /// every value, as the derived one does.
    pub fn component<T>(self) -> Self
    where
        T: Component + Reflect + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.component_named::<T>(T::short_type_path())
    }

    /// Like [`component`](Self::component), under a name of your choice.
    pub fn component_named<T>(self, name: &str) -> Self
    where
        T: Component + Reflect + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.add::<T>(name, false)
    }

    /// Makes a resource usable from scripts: `world:resource("Score")`.
    pub fn resource<T>(self) -> Self
    where
        T: Resource
            + Component<Mutability = Mutable>
            + Reflect
            + FromReflect
            + GetTypeRegistration
            + TypePath
            + Typed,
    {
        self.add::<T>(T::short_type_path(), true)
    }

    /// Makes a kind of messages usable from scripts: `world:send("Damage", {...})`, `world:messages("Damage")`.
    ///
    /// They are the world's own [`Messages<T>`](bevy_ecs::message::Messages): what Rust writes there reaches scripts,
    /// and what scripts send can be read there. A field `to` of type `Entity` or `Option<Entity>` says whom a message
    /// is meant for.
    pub fn message<T>(mut self) -> Self
    where
        T: Message + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.types.register::<T>();
        self.messages.push(MessageKind::of::<T>(T::short_type_path()));
        self
    }

    fn add<T>(mut self, name: &str, resource: bool) -> Self
    where
        T: Component + Reflect + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.types.register::<T>();
        self.pending.push(Pending {
            name: name.to_owned(),
            info: T::type_info(),
            resource,
            register: |world| world.register_component::<T>(),
            sample: |types| {
                let value = T::take_from_reflect(types.any_value(T::type_info(), 0)?);
                value.ok().map(|value| Box::new(value) as Box<dyn Reflect>)
            },
            functions: Functions::of::<T>(),
        });
        self
    }

    /// Registers a type that is no component but lies in one behind a pointer or a trait object, where
    /// reflection does not find it by itself.
    pub fn register_type<T: GetTypeRegistration>(mut self) -> Self {
        self.types.register::<T>();
        self
    }

    /// Says how scripts see the values of an opaque type: `to_value` reads one, `from_value` makes one or
    /// says what it expected instead.
    pub fn conversion<T: Reflect + GetTypeRegistration>(
        mut self,
        to_value: impl Fn(&T) -> Value + 'static,
        from_value: impl Fn(&Value) -> Result<T, String> + 'static,
    ) -> Self {
        self.types.register::<T>();
        let conversion = Conversion {
            to_value: Box::new(move |_, data| data.downcast_ref::<T>().map(&to_value).unwrap_or_default()),
            from_value: Box::new(move |_, value| {
                let made = from_value(value).map_err(ValueError::new)?;
                Ok(Box::new(made))
            }),
        };
        self.conversions.insert(TypeId::of::<T>(), conversion);
        self
    }

    /// Says that scripts see an opaque type as the `U` in it: for what holds its content behind a `Box` or an `Arc`,
    /// which reflection does not look into. Such a value is read and assigned as a whole, not in place.
    ///
    /// ```
    /// # use bevy_ecs::prelude::*;
    /// # use bevy_reflect::prelude::*;
    /// # use bluetick::ecs::Registry;
    /// #[derive(Reflect, Default, Clone)]
    /// #[reflect(Default)]
    /// struct Plan { steps: Vec<String> }
    ///
    /// #[derive(Component, Reflect, Default, Clone)]
    /// #[reflect(opaque)]
    /// #[reflect(Default)]
    /// struct Boxed(Box<Plan>);
    ///
    /// let builder = Registry::builder()
    ///     .component::<Boxed>() // entity.Boxed = { steps = { "dig" } }
    ///     .seen_as::<Boxed, Plan>(|boxed| &boxed.0, |plan| Boxed(Box::new(plan)));
    /// ```
    pub fn seen_as<T, U>(mut self, look: fn(&T) -> &U, make: fn(U) -> T) -> Self
    where
        T: Reflect + GetTypeRegistration,
        U: FromReflect + GetTypeRegistration + Typed,
    {
        self.types.register::<T>();
        self.types.register::<U>();
        let conversion = Conversion {
            to_value: Box::new(move |types, data| {
                data.downcast_ref::<T>().and_then(|data| types.read(look(data)).ok()).unwrap_or_default()
            }),
            from_value: Box::new(move |builder, value| {
                let made = U::take_from_reflect(builder.build(U::type_info(), value)?);
                let made = made.map_err(|_| ValueError::new("a conversion made a value of another type"))?;
                Ok(Box::new(make(made)))
            }),
        };
        self.conversions.insert(TypeId::of::<T>(), conversion);
        self
    }

    /// Makes a Rust function callable as `world:name(...)`. It borrows the world while it runs; its
    /// arguments and results convert as mlua's do, entities as [`Handle`](super::Handle). An error that
    /// it returns is raised in the script, with its sources.
    ///
    /// ```
    /// # use bevy_ecs::prelude::*;
    /// # use bluetick::ecs::{Handle, Registry};
    /// let builder = Registry::builder()
    ///     .function("is_alive", |world: &mut World, entity: Handle| {
    ///         Ok::<_, std::io::Error>(world.get_entity(entity.0).is_ok())
    ///     });
    /// ```
    pub fn function<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(&mut World, A) -> Result<R, E> + 'static,
        A: mlua::FromLuaMulti + 'static,
        R: mlua::IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        let call = Call::Plain(Rc::new(Function::new(f)));
        self.functions.push(ScriptFunction { module: None, name: name.to_owned(), call });
        self
    }

    /// Makes a Rust function callable as `world:name(...)` that looks at the world without changing it.
    pub fn view<A, R, E, F>(self, name: &str, f: F) -> Self
    where
        F: Fn(&World, A) -> Result<R, E> + 'static,
        A: mlua::FromLuaMulti + 'static,
        R: mlua::IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.function(name, move |world: &mut World, arguments: A| f(world, arguments))
    }

    /// Makes a Rust function callable as `world:name(...)` that may wait: it runs on a stack of its own, and the script
    /// that has called it waits meanwhile. It borrows the world only for moments.
    ///
    /// ```
    /// # use bevy_ecs::prelude::*;
    /// # use bluetick::{Error, ecs::{Registry, WorldAccess}};
    /// let builder = Registry::builder().blocking("census", |world: &WorldAccess<'_>, _: ()| {
    ///     world.scheduler().schedule()?; // others run
    ///     world.with(|world| world.entities().len())
    /// });
    /// ```
    pub fn blocking<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(&WorldAccess<'_>, A) -> Result<R, E> + 'static,
        A: mlua::FromLuaMulti + 'static,
        R: mlua::IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.functions.push(ScriptFunction { module: None, name: name.to_owned(), call: blocking(f) });
        self
    }

    /// Makes a table of Rust functions a global of scripts: `name.function(...)`.
    pub fn module(mut self, name: &str, functions: ModuleFunctions) -> Self {
        self.functions.extend(functions.all.into_iter().map(|(function, call)| ScriptFunction {
            module: Some(name.to_owned()),
            name: function,
            call,
        }));
        self
    }

    /// Says how scripts are attached to entities.
    pub fn scripts(mut self, hook: Rc<dyn ScriptHook>) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Resolves everything for `world`.
    ///
    /// # Errors
    /// A name that is registered twice or taken, or a type that reflection tells nothing about.
    pub fn build(self, world: &mut World) -> Result<Registry, RegistryError> {
        let mut types = Types { registry: self.types, conversions: self.conversions };
        types.registry.register::<Declared>();
        let mut layout = Layout::default();
        let mut components: Vec<Registered> = Vec::new();
        let mut by_name = HashMap::new();
        for pending in self.pending {
            let number = u16::try_from(components.len()).map_err(|_| RegistryError::TooMany)?;
            let path = pending.info.type_path();
            if let (Some((_, meaning)), false) =
                (RESERVED.iter().find(|(name, _)| *name == pending.name), pending.resource)
            {
                let (name, owner) = (pending.name, path.to_owned());
                return Err(RegistryError::Reserved { name, owner, meaning });
            }
            let key = (Box::from(pending.name.as_str()), pending.resource);
            if let Some(first) = by_name.insert(key, number) {
                let first: &Registered = &components[usize::from(first)];
                return Err(RegistryError::Duplicate {
                    name: pending.name,
                    first: first.info.type_path().to_owned(),
                    second: path.to_owned(),
                });
            }
            if matches!(pending.info, TypeInfo::Opaque(_))
                && !types.conversions.contains_key(&pending.info.type_id())
            {
                return Err(RegistryError::Unusable {
                    name: path.to_owned(),
                    reason: "its reflection is opaque, and it has no conversion".into(),
                });
            }
            let root = match (pending.sample)(&types) {
                Some(sample) => layout.add_component(&types, number, &pending.name, &*sample),
                None => Field::reflected(&pending.name, pending.info),
            };
            let id = (pending.register)(world);
            let info = world.components().get_info(id);
            let mutable = info.is_some_and(|info| info.mutable());
            let sparse = info.is_some_and(|info| info.storage_type() == StorageType::SparseSet);
            components.push(Registered {
                name: pending.name.into(),
                id,
                info: pending.info,
                root,
                mutable,
                sparse,
                resource: pending.resource,
                functions: pending.functions,
                defaults: None,
            });
        }
        let mut names = std::collections::HashSet::new();
        for function in &self.functions {
            if !names.insert(function.full_name()) {
                let what = || "a function".to_owned();
                let name = function.full_name();
                return Err(RegistryError::Duplicate { name, first: what(), second: what() });
            }
            if function.module.is_none() && super::world::is_method(&function.name) {
                return Err(RegistryError::Reserved {
                    name: function.name.clone(),
                    owner: "a function".into(),
                    meaning: "a method of world",
                });
            }
        }
        let mut messages: Vec<MessageKind> = Vec::new();
        for mut kind in self.messages {
            if let Some(first) = messages.iter().find(|known| known.name == kind.name) {
                return Err(RegistryError::Duplicate {
                    name: kind.name.to_string(),
                    first: first.info.type_path().to_owned(),
                    second: kind.info.type_path().to_owned(),
                });
            }
            kind.prepare(world);
            messages.push(kind);
        }
        Ok(Registry {
            world: world.id(),
            types,
            components: components.into_iter().map(Box::new).collect(),
            nodes: layout.nodes,
            functions: self.functions,
            messages,
            hook: self.hook,
            by_name: RefCell::new(by_name),
        })
    }
}
