//! The bridge between one VM and one world: tables that lead from names to places, and the loan of
//! the world.
//!
//! # Invariants
//!
//! 1. **The bridge outlives every userdata that points to it.** The VM's application data holds an
//!    [`Rc`] of it, which mlua drops after it has closed the VM. So a handle or a reference may be kept
//!    by a script for as long as it likes, and needs no destructor.
//! 2. **The pointer to the world is valid while it is set.** Only [`Bridge::lend`] sets it, from a
//!    `&mut World` that it holds until it resets it, unwinding or not. [`Bridge::with_world`] takes it
//!    away while Rust code has a `&mut World`, so there is never a second one.
//! 3. **Nothing that borrows from the world lives across a call into the VM** that could run a script
//!    or the collector (which runs destructors of whatever the host put into the VM).
//! 4. **Component ids belong to one world.** `lend` refuses any other, and `with_world` checks that
//!    the world was not swapped for another; so an id leads to a component of the type that the
//!    [`Registry`] knows.

use super::component::{Registered, Registry};
use super::entity::{Member, Method};
use super::extension::{Access, EntityExtension};
use super::handle::Directory;
use super::layout::{Field, Kind};
use super::value::ValueError;
use super::{entity, function, place, query, reference, world};
use bevy_ecs::change_detection::DetectChangesMut;
use bevy_ecs::component::ComponentId;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bevy_reflect::PartialReflect;
use bluetick_scripting::raw::*;
use bluetick_scripting::{Error, ErrorKind, Vm};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

/// How a [`Bridge`] is made.
pub struct BridgeConfig {
    /// Whether the VM calls the handlers of fields and methods without a call frame. Default: yes. The
    /// plain metamethods, which do the same at half the speed, are there for the day on which a new
    /// version of the VM takes the experimental handlers away.
    pub direct: bool,
    /// What the host adds to the handles of entities.
    pub extension: Option<Rc<dyn EntityExtension>>,
    /// What the host adds to `world`: functions that get it as their first argument.
    pub methods: Vec<(&'static str, mlua::Function)>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self { direct: true, extension: None, methods: Vec::new() }
    }
}

/// Where the field that an atom names lies: all that a read or a write of it needs.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub kind: Kind,
    /// The place among the node's fields.
    pub index: u16,
    pub offset: u32,
    /// Of a struct: its node.
    pub node: u32,
}

impl Slot {
    const NONE: Self = Self { kind: Kind::None, index: 0, offset: 0, node: 0 };

    fn of(field: &Field, index: usize) -> Self {
        Self { kind: field.kind, index: index as u16, offset: field.offset, node: field.node }
    }
}

/// Where the values of a component lie in the world.
#[derive(Clone, Copy)]
pub(super) struct ComponentColumn {
    pub id: ComponentId,
    /// In a sparse set, rather than in the tables.
    pub sparse: bool,
    /// Whether values may be changed in place.
    pub mutable: bool,
}

/// A [`Node`](super::layout::Node) as the handlers see it.
pub(super) struct NodeTable {
    pub column: ComponentColumn,
    /// By atom.
    slots: Box<[Slot]>,
}

impl NodeTable {
    /// The slot of the field that `atom` names; its kind is `None` if there is none.
    #[inline(always)]
    pub(super) fn slot(&self, atom: c_int) -> Slot {
        self.slots.get(atom as usize).copied().unwrap_or(Slot::NONE)
    }
}

/// A component as the handlers see it.
#[derive(Clone, Copy)]
pub(super) struct ComponentTable {
    pub column: ComponentColumn,
    pub root: Slot,
}

impl ComponentTable {
    /// No component: of its kind nothing is read or written.
    const NONE: Self = Self {
        column: ComponentColumn { id: ComponentId::new(0), sparse: false, mutable: false },
        root: Slot::NONE,
    };
}

/// The userdata tags of the VM that belong to this bridge.
#[derive(Clone, Copy)]
pub(super) struct Tags {
    pub entity: c_int,
    pub reference: c_int,
    pub place: c_int,
    pub query: c_int,
    pub cursor: c_int,
    pub rows: c_int,
}

/// Scripts' access to one world.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bevy_reflect::prelude::*;
/// use bluetick::ecs::{Bridge, BridgeConfig, Registry};
/// use bluetick_scripting::{Vm, VmConfig};
/// use std::rc::Rc;
///
/// #[derive(Component, Reflect, Default)]
/// #[reflect(Default)]
/// struct Health { current: f32, max: f32 }
///
/// let mut world = World::new();
/// let registry = Rc::new(Registry::builder().component::<Health>().build(&mut world)?);
/// let vm = Vm::new(VmConfig::default())?;
/// let bridge = Bridge::install(&vm, registry, BridgeConfig::default())?;
///
/// let script = "world:spawn { Health = { max = 10 } }.Health.current = 7";
/// bridge.lend(&mut world, || vm.lua().load(script).exec())?;
/// assert_eq!(world.query::<&Health>().single(&world)?.current, 7.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Bridge {
    registry: Rc<Registry>,
    pub(super) extension: Option<Rc<dyn EntityExtension>>,
    /// The extension does not grant everything, so nothing is done without asking it.
    pub(super) guarded: bool,
    /// Null while the world is not lent, and while Rust code has it.
    world: Cell<*mut World>,
    /// Whether the pointer is null because Rust code has the world.
    busy: Cell<bool>,
    pub(super) tags: Tags,
    components: Box<[ComponentTable]>,
    /// The same by the atom of the component's name.
    named: Box<[ComponentTable]>,
    pub(super) nodes: Box<[NodeTable]>,
    /// What the names are that an entity has, by atom.
    members: Box<[Member]>,
    /// Where handles and references are found again.
    pub(super) directory: Directory,
    /// Where queries are put together.
    pub(super) workspace: RefCell<query::Workspace>,
    /// The error of the registered function that has just failed.
    pub(super) failure: Cell<Option<Error>>,
    /// Address of the table that scripts know as `world`.
    pub(super) world_table: Cell<*const c_void>,
}

/// Keeps the bridge for as long as the VM: see the module's first invariant.
pub(super) struct Keep(pub Rc<Bridge>);

impl Bridge {
    /// Gives the scripts of `vm` access to the world of `registry`: the global `world`, and all that one
    /// reaches from there. Must be called before the first script is loaded, because the VM numbers the
    /// names in a script when it loads it.
    ///
    /// # Errors
    /// Of kind `type`: the VM has a bridge already, no more tags or numbers for names, or two things of an
    /// entity have the same name. Of kind `memory`.
    pub fn install(vm: &Vm, registry: Rc<Registry>, config: BridgeConfig) -> Result<Rc<Self>, Error> {
        if vm.lua().app_data_ref::<Keep>().is_some() {
            return Err(Error::wrong_type("this VM has a world already"));
        }
        let no_tag = || Error::wrong_type("no userdata tag is left in this VM");
        let tags = Tags {
            entity: vm.new_tag().ok_or_else(no_tag)?,
            reference: vm.new_tag().ok_or_else(no_tag)?,
            place: vm.new_tag().ok_or_else(no_tag)?,
            query: vm.new_tag().ok_or_else(no_tag)?,
            cursor: vm.new_tag().ok_or_else(no_tag)?,
            rows: vm.new_tag().ok_or_else(no_tag)?,
        };
        let table = |c: &Registered| ComponentTable { column: column(c), root: Slot::of(&c.root, 0) };
        let components = registry.components.iter().map(table).collect();
        let mut nodes = Vec::with_capacity(registry.nodes.len());
        for node in &registry.nodes {
            let mut slots = Vec::new();
            for (i, field) in node.fields.iter().enumerate().filter(|_| !node.numbered) {
                set_at(&mut slots, vm.intern(&field.name)?, Slot::NONE, Slot::of(field, i));
            }
            let column = column(&registry.components[usize::from(node.component)]);
            nodes.push(NodeTable { column, slots: slots.into() });
        }
        let directory = Directory::new(nodes.len());
        let members = entity_members(vm, &registry, config.extension.as_deref())?;
        let named = members.iter().map(|member| match *member {
            Member::Component(number) => table(&registry.components[usize::from(number)]),
            _ => ComponentTable::NONE,
        });
        let named = named.collect();
        let bridge = Rc::new(Self {
            registry,
            guarded: config.extension.as_ref().is_some_and(|extension| extension.is_guard()),
            extension: config.extension,
            world: Cell::new(ptr::null_mut()),
            busy: Cell::new(false),
            tags,
            components,
            named,
            nodes: nodes.into(),
            members: members.into(),
            directory,
            workspace: RefCell::default(),
            failure: Cell::new(None),
            world_table: Cell::new(ptr::null()),
        });
        vm.lua().set_app_data(Keep(Rc::clone(&bridge)));
        let pointer = &*bridge;
        vm.with_state(|L| {
            // SAFETY: a live state below a protected call; the bridge outlives the VM by `Keep`.
            unsafe {
                pointer.directory.install(L);
                entity::install(pointer, L, config.direct);
                reference::install(pointer, L, config.direct);
                place::install(pointer, L);
                query::install(pointer, L);
                world::install(pointer, L);
            }
        })?;
        function::install(&bridge, vm, config.methods)?;
        Ok(bridge)
    }

    /// What scripts may use of the world.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Lends the world to scripts while `f` runs. Loans may nest: the inner one ends first, and the outer
    /// one is as it was.
    ///
    /// # Panics
    /// If `world` is not the world that the registry was built for.
    pub fn lend<R>(&self, world: &mut World, f: impl FnOnce() -> R) -> R {
        assert!(
            world.id() == self.registry.world,
            "this world is not the one that the registry was built for"
        );
        struct Return<'a>(&'a Bridge, *mut World, bool);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                self.0.world.set(self.1);
                self.0.busy.set(self.2);
            }
        }
        // The borrow of `world` lasts as long as this function, so the pointer is valid until `_return`
        // puts back what was there before.
        let _return = Return(self, self.world.replace(world), self.busy.replace(false));
        f()
    }

    /// Borrows the lent world for as long as `f` runs. Scripts that `f` calls can't use the world.
    ///
    /// # Errors
    /// Of kind `type` if the world is not lent, or borrowed already; what `f` returns; a panic of `f`,
    /// with its message.
    pub fn with_world<R>(&self, f: impl FnOnce(&mut World) -> Result<R, Error>) -> Result<R, Error> {
        struct Return<'a>(&'a Bridge, *mut World);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                self.0.world.set(self.1);
                self.0.busy.set(false);
            }
        }
        let pointer = self.world.replace(ptr::null_mut());
        if pointer.is_null() {
            return Err(self.no_world());
        }
        self.busy.set(true);
        let mut back = Return(self, pointer);
        // SAFETY: `lend` set the pointer from a `&mut World` that it still holds; it was taken out of the
        // cell, so this is the only reference that is made from it until `back` is dropped.
        let world = unsafe { &mut *pointer };
        let result = Self::guard(|| f(world));
        if world.id() != self.registry.world {
            back.1 = ptr::null_mut();
            return Err(Error::wrong_type("the world was swapped for another one"));
        }
        result
    }

    /// Runs what may call the game's own code, a default or a conversion of a type, say.
    ///
    /// # Errors
    /// What `f` returns; a panic of `f`, with its message.
    pub(crate) fn guard<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
        catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let error = Error::wrong_type(format!("Rust code panicked: {text}"));
            // What was thrown may throw in turn when it is dropped.
            std::mem::forget(panic);
            Err(error)
        })
    }

    /// An error unless `value` is the table that scripts know as `world`.
    pub(crate) fn check_world(&self, value: &mlua::Value, method: &str) -> Result<(), Error> {
        if value.to_pointer() == self.world_table.get() {
            Ok(())
        } else {
            Err(Error::wrong_type(format!("call it as world:{method}(...), with a colon")))
        }
    }

    /// Whether a world is lent now.
    pub fn is_lent(&self) -> bool {
        !self.world.get().is_null() || self.busy.get()
    }

    /// The lent world, for one access that calls nothing; null if there is none.
    #[inline(always)]
    pub(super) fn world(&self) -> *mut World {
        self.world.get()
    }

    /// Why there is no world.
    pub(super) fn no_world(&self) -> Error {
        if self.busy.get() {
            Error::wrong_type("the world can't be used by a script which Rust code calls that uses it itself")
        } else {
            Error::wrong_type("the world can only be used while the game runs a frame")
        }
    }

    /// An error of kind `denied` unless the running script may do this.
    #[inline(always)]
    pub(crate) fn may(&self, access: Access<'_>) -> Result<(), Error> {
        match &self.extension {
            Some(extension) if self.guarded => extension.may(access),
            _ => Ok(()),
        }
    }

    /// The same for a component by its number.
    pub(super) fn may_read(&self, component: u16) -> Result<(), Error> {
        self.may(Access::Read(&self.registry.components[usize::from(component)].name))
    }

    /// The same for a component by its number.
    pub(super) fn may_write(&self, component: u16) -> Result<(), Error> {
        self.may(Access::Write(&self.registry.components[usize::from(component)].name))
    }

    /// A component by its number, as the handlers see it.
    #[inline(always)]
    pub(super) fn component_table(&self, number: u16) -> ComponentTable {
        match self.components.get(usize::from(number)) {
            Some(table) => *table,
            None => {
                let registered = &self.registry.components[usize::from(number)];
                ComponentTable { column: column(registered), root: Slot::of(&registered.root, 0) }
            }
        }
    }

    /// The component that an entity has by this name; none if it is the name of something else.
    #[inline(always)]
    pub(super) fn named_component(&self, atom: c_int) -> &ComponentTable {
        self.named.get(atom as usize).unwrap_or(&ComponentTable::NONE)
    }

    /// What the name with this number is to an entity.
    #[inline(always)]
    pub(super) fn member(&self, atom: c_int) -> Member {
        self.members.get(atom as usize).copied().unwrap_or(Member::Unknown)
    }

    /// Whether the entity is there now; false while no world is lent.
    pub(super) fn is_alive(&self, entity: Entity) -> bool {
        let world = self.world.get();
        // SAFETY: invariant 2; nothing is called while the reference lives.
        !world.is_null() && unsafe { (*world).get_entity(entity).is_ok() }
    }

    /// Looks at a component.
    ///
    /// # Errors
    /// Of kind `gone`, if the entity or the component is; what `f` returns, inside of `label`.
    pub(super) fn look<R>(
        &self,
        entity: Entity,
        component: u16,
        label: &str,
        f: impl FnOnce(&dyn PartialReflect) -> Result<R, ValueError>,
    ) -> Result<R, Error> {
        let registered = &self.registry.components[usize::from(component)];
        self.with_world(|world| {
            let there = self.living(world, entity, label)?;
            let data = there.get_by_id(registered.id).map_err(|_| without(entity, label, registered))?;
            // SAFETY: the component has the id under which this world registered the type.
            let data = unsafe { registered.reflect(data) };
            f(data.as_partial_reflect()).map_err(|error| error.within(label).into())
        })
    }

    /// Changes a component, and marks it changed unless `f` fails.
    ///
    /// # Errors
    /// As [`look`](Self::look); of kind `type` if the component is immutable.
    pub(super) fn change<R>(
        &self,
        entity: Entity,
        component: u16,
        label: &str,
        f: impl FnOnce(&mut dyn PartialReflect) -> Result<R, ValueError>,
    ) -> Result<R, Error> {
        let registered = &self.registry.components[usize::from(component)];
        self.with_world(|world| {
            self.living(world, entity, label)?;
            if !registered.mutable {
                let name = &registered.name;
                return Err(Error::wrong_type(format!(
                    "{label}: {name} is immutable; assign a whole {name} to the entity instead"
                )));
            }
            let mut there = world.entity_mut(entity);
            let mut data =
                there.get_mut_by_id(registered.id).map_err(|_| without(entity, label, registered))?;
            // SAFETY: the component has the id under which this world registered the type.
            let reflected = unsafe { registered.reflect_mut(data.bypass_change_detection().reborrow()) };
            let result = f(reflected.as_partial_reflect_mut()).map_err(|error| error.within(label))?;
            data.set_changed();
            Ok(result)
        })
    }
}

fn column(c: &Registered) -> ComponentColumn {
    ComponentColumn { id: c.id, sparse: c.sparse, mutable: c.mutable }
}

/// Error: the entity does not have the component (any more).
fn without(entity: Entity, label: &str, registered: &Registered) -> Error {
    let name = &registered.name;
    let text = if registered.resource {
        format!("{label}: the resource {name} is gone")
    } else {
        format!("{label}: entity {entity} has no {name} any more")
    };
    Error::new(ErrorKind::Gone, text)
}

fn set_at<T: Clone>(table: &mut Vec<T>, atom: i16, none: T, value: T) {
    let at = atom as usize;
    if table.len() <= at {
        table.resize(at + 1, none);
    }
    table[at] = value;
}

fn entity_members(
    vm: &Vm,
    registry: &Registry,
    extension: Option<&dyn EntityExtension>,
) -> Result<Vec<Member>, Error> {
    let mut members: Vec<Member> = Vec::new();
    let mut add = |name: &str, member| {
        let atom = vm.intern(name)?;
        if members.get(atom as usize).is_some_and(|taken| *taken != Member::Unknown) {
            return Err(Error::wrong_type(format!("an entity has two things called '{name}'")));
        }
        set_at(&mut members, atom, Member::Unknown, member);
        Ok(())
    };
    add("id", Member::Id)?;
    add("alive", Member::Alive)?;
    add("name", Member::Name)?;
    for method in Method::ALL {
        add(method.name(), Member::Method(method))?;
    }
    for (i, component) in (0..).zip(&registry.components) {
        if !component.resource {
            add(&component.name, Member::Component(i))?;
        }
    }
    if registry.hook.is_some() {
        add("Script", Member::Scripts(false))?;
        add("Scripts", Member::Scripts(true))?;
    }
    if let Some(extension) = extension {
        for (i, name) in (0..).zip(extension.fields()) {
            add(name, Member::Field(i))?;
        }
        for (i, name) in (0..).zip(extension.methods()) {
            add(name, Member::Extension(i))?;
        }
    }
    Ok(members)
}

/// Ends a C function: hands the number of results on, or raises the error.
///
/// # Safety
/// Called as the last thing of a C function of the VM, whose frame owns nothing.
pub(super) unsafe fn finish(L: *mut lua_State, result: Result<c_int, Error>) -> c_int {
    match result {
        Ok(count) => count,
        // SAFETY: as above.
        Err(error) => unsafe { raise(L, error.kind, error.message) },
    }
}

/// The bridge of a C function that [`push_function`] made.
///
/// # Safety
/// Called from such a function. The bridge lives as long as the VM.
#[inline(always)]
pub(super) unsafe fn bridge_of<'a>(L: *mut lua_State) -> &'a Bridge {
    // SAFETY: the first upvalue is the bridge's address, which outlives the VM.
    unsafe { &*stack::pointer_upvalue(L).cast::<Bridge>() }
}

/// Pushes a C function that knows the bridge. `[-0, +1]`
///
/// # Safety
/// A live state with room, below a protected call; the bridge lives as long as the VM.
pub(super) unsafe fn push_function(L: *mut lua_State, bridge: &Bridge, f: lua_CFunction, name: &CStr) {
    // SAFETY: as above.
    unsafe {
        lua_pushlightuserdatatagged(L, ptr::from_ref(bridge).cast_mut().cast(), 0);
        lua_pushcclosurek(L, f, name.as_ptr(), 1, None);
    }
}

/// Makes the metatable of userdata with this tag: locked, with these functions, and with room for so many numbered
/// places. `[-0, +0]`
///
/// # Safety
/// A live state with room, below a protected call; the bridge lives as long as the VM.
pub(super) unsafe fn set_metatable(
    L: *mut lua_State,
    bridge: &Bridge,
    tag: c_int,
    type_name: &str,
    places: c_int,
    functions: &[(&CStr, lua_CFunction)],
) {
    // SAFETY: balanced pushes and pops; names are C strings.
    unsafe {
        lua_createtable(L, places, functions.len() as c_int + 2);
        for &(name, f) in functions {
            push_function(L, bridge, f, name);
            lua_rawsetfield(L, -2, name.as_ptr());
        }
        push_str(L, type_name);
        lua_rawsetfield(L, -2, c"__type".as_ptr());
        // Scripts must not reach these functions: they trust what the VM calls them with.
        push_str(L, "locked");
        lua_rawsetfield(L, -2, c"__metatable".as_ptr());
        lua_setuserdatametatable(L, tag);
    }
}
