//! The host: what a game makes once, and ticks once a frame.

use crate::budget::FrameBudget;
use crate::clock::SharedClocks;
use crate::collector::{GcPace, Pacer};
use crate::dilation::TimeDilation;
use crate::ecs::{
    Access, Bridge, BridgeConfig, Functions, Registry, RegistryBuilder, RegistryError, ScriptHook,
    ScriptPart, Value, WorldAccess,
};
use crate::extension::{Extension, with_descendants};
use crate::failure::Failures;
use crate::history::History;
use crate::instances::Instances;
use crate::profile::Profiles;
use crate::reload::{Carried, ScriptReload};
use crate::reloader::Reloader;
use crate::script::{Dormant, Script, ScriptEvents};
use crate::signals::{self, Signals};
use crate::synchro::{self, Synchro};
use crate::ticker::Tickers;
use crate::time::RealTime;
use crate::watchdog::{Handler, StuckFrame, Watchdog};
use crate::wishes::{self, Wishes};
use crate::workers::Workers;
use bevy_ecs::component::{Component, Mutable};
use bevy_ecs::entity::Entity;
use bevy_ecs::message::{Message, Messages};
use bevy_ecs::resource::Resource;
use bevy_ecs::world::{EntityRef, EntityWorldMut, World};
use bevy_reflect::{FromReflect, GetTypeRegistration, Reflect, TypePath, Typed};
use bluetick_assets::{AssetError, Library};
use bluetick_scripting::{Budget, OwnerId, Reply, SliceLimit, Vm, VmConfig};
use mlua::IntoLua;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Why a host can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The script folder is missing or can't be read.
    #[error(transparent)]
    Assets(#[from] AssetError),
    /// A component, resource or function can't be registered.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The VM can't be set up.
    #[error("the VM can't be set up: {0}")]
    Vm(#[from] bluetick_scripting::Error),
}

/// Runs the scripts of a world's entities: made once, [ticked](Self::tick) once a frame.
///
/// ```
/// use bevy_ecs::prelude::*;
/// use bevy_reflect::prelude::*;
/// use bluetick::{Library, Script, ScriptHost};
///
/// #[derive(Component, Reflect, Default)]
/// #[reflect(Default)]
/// struct Health { current: f32 }
///
/// let scripts = Library::in_memory([("medic", "
///     local Medic = {}
///     function Medic.run(self)
///         while self.Health.current < 10 do
///             self.Health.current += 1
///             synchro.yield()
///         end
///     end
///     return Medic
/// ")]);
/// let mut world = World::new();
/// let mut host = ScriptHost::builder().library(scripts).component::<Health>().build(&mut world)?;
/// let patient = world.spawn((Health { current: 7.0 }, Script::new("medic"))).id();
/// for _ in 0..5 {
///     host.tick(&mut world, 1.0 / 60.0);
/// }
/// assert_eq!(world.get::<Health>(patient).map(|health| health.current), Some(10.0));
/// # Ok::<(), bluetick::BuildError>(())
/// ```
pub struct ScriptHost {
    // The order matters: what refers to the VM goes before it.
    pub(crate) instances: Rc<RefCell<Instances>>,
    pub(crate) synchro: Rc<RefCell<Synchro>>,
    pub(crate) workers: Workers,
    pub(crate) signals: Rc<RefCell<Option<Signals>>>,
    pub(crate) bridge: Rc<Bridge>,
    pub(crate) vm: Rc<Vm>,
    pub(crate) library: Rc<Library>,
    pub(crate) clocks: SharedClocks,
    pub(crate) tickers: Tickers,
    pub(crate) pacer: Pacer,
    pub(crate) history: History,
    pub(crate) watchdog: Option<Watchdog>,
    /// For whom deferred functions run now, whoever has caused that.
    pub(crate) acting: Rc<Cell<Option<OwnerId>>>,
    /// Whose profile was looked up last, and which that is.
    pub(crate) profiled: Rc<Cell<(OwnerId, Option<usize>)>>,
    pub(crate) reloader: Reloader,
    /// What scripts have wished for.
    pub(crate) wishes: Rc<RefCell<Wishes>>,
    pub(crate) carried: Carried,
    /// Those of the frame, to count the same ones.
    pub(crate) failures: Failures,
    /// Nobody else drops old messages of reloads.
    pub(crate) keeps_messages: bool,
    pub(crate) budget: FrameBudget,
    pub(crate) time: RealTime,
    /// The world has lost its resources once: it doesn't tell any more who gets and loses scripts.
    pub(crate) cleared: bool,
    /// Slices and messages when the last frame ended.
    pub(crate) counted: (u64, u64),
    /// How many frames in a row somebody has spent with turns of no use.
    pub(crate) spinning: u32,
    printed: Rc<RefCell<Vec<String>>>,
}

impl ScriptHost {
    /// Starts building a host.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            registry: Registry::builder(),
            source: Source::None,
            watch: true,
            vm: VmConfig::default(),
            slice: None,
            budget: Duration::from_millis(250).into(),
            time: RealTime::default(),
            dilation: None,
            gc: GcPace::default(),
            watchdog: None,
            workers: Workers::default(),
            accounting: false,
            slice_warning: Some(SLICE_WARNING),
            seed: None,
            printed: None,
            direct: true,
            park: true,
            profiles: Profiles::default(),
        }
    }

    /// The script files.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The VM, for what this type has no method for.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// What scripts may use of the world.
    pub fn registry(&self) -> &Registry {
        self.bridge.registry()
    }

    /// Sends a value to the inbox of an entity; false if it has no script.
    ///
    /// # Errors
    /// If the value can't be converted, or the VM's memory has run out.
    pub fn send(&self, entity: Entity, value: impl IntoLua) -> Result<bool, bluetick_scripting::Error> {
        let mut instances = self.instances.borrow_mut();
        let Some(&(channel, _)) = instances.inbox(&self.vm, entity)? else { return Ok(false) };
        self.vm.post(channel, value)?;
        Ok(true)
    }

    /// Despawns an entity, with its children, so that what their scripts have deferred still finds them: it runs before
    /// they go. (After `world.despawn`, it runs in the next tick, and finds them gone.) False if it is gone already.
    pub fn despawn(&self, world: &mut World, entity: Entity) -> bool {
        if world.get_entity(entity).is_err() {
            return false;
        }
        for entity in with_descendants(world, entity) {
            let owners = self.instances.borrow().owners(entity);
            for owner in owners {
                let outer = self.acting.replace(Some(owner));
                self.bridge.lend(world, || self.vm.run_deferred(owner));
                self.acting.set(outer);
            }
        }
        world.despawn(entity)
    }

    /// Where the tasklet of an entity's first script waits: `file:line in function 'name'`, the innermost
    /// call first, one a line. Empty if it has none.
    pub fn waits_at(&self, entity: Entity) -> String {
        let tasklet = self.instances.borrow().tasklet(entity);
        tasklet.map(|tasklet| self.vm.traceback(tasklet)).unwrap_or_default()
    }

    /// Whether the tasklet of an entity's first script sleeps, by whichever clock; else it runs, is about to, or waits
    /// for something other than a time.
    pub fn is_asleep(&self, entity: Entity) -> bool {
        let tasklet = self.instances.borrow().tasklet(entity);
        tasklet.is_some_and(|tasklet| self.synchro.borrow().sleepers.clock_of(&self.vm, tasklet).is_some())
    }

    /// The `state` table of an entity's first script.
    pub fn state(&self, entity: Entity) -> Option<mlua::Table> {
        let mut instances = self.instances.borrow_mut();
        let kept = instances.state(&self.vm, entity, Default::default()).ok()??;
        match self.vm.kept(kept) {
            Ok(mlua::Value::Table(table)) => Some(table),
            _ => None,
        }
    }

    /// What scripts have printed since the last call, if the host [keeps](HostBuilder::keep_printed) it.
    pub fn take_printed(&self) -> Vec<String> {
        std::mem::take(&mut *self.printed.borrow_mut())
    }

    /// How many scripts run, and how many have failed.
    pub fn script_counts(&self) -> (usize, usize) {
        self.instances.borrow().counts()
    }
}

/// Where scripts come from.
enum Source {
    None,
    Folder(PathBuf),
    Library(Library),
}

/// Builds a [`ScriptHost`].
pub struct HostBuilder {
    registry: RegistryBuilder,
    source: Source,
    watch: bool,
    vm: VmConfig,
    slice: Option<SliceLimit>,
    budget: Budget,
    time: RealTime,
    dilation: Option<TimeDilation>,
    gc: GcPace,
    watchdog: Option<(Duration, Handler)>,
    workers: Workers,
    accounting: bool,
    slice_warning: Option<Duration>,
    seed: Option<u64>,
    printed: Option<Rc<RefCell<Vec<String>>>>,
    direct: bool,
    park: bool,
    profiles: Profiles,
}

/// How long a slice may be if nothing is said.
const SLICE: Duration = Duration::from_millis(5);

/// But no longer than this part of the budget, so that others have a turn in the same frame; and no shorter than this.
const SLICES_A_FRAME: u32 = 4;
const SHORTEST_SLICE: Duration = Duration::from_micros(250);

fn default_slice(budget: Budget) -> SliceLimit {
    SliceLimit::time(match budget {
        Budget::Time(budget) => SLICE.min(budget / SLICES_A_FRAME).max(SHORTEST_SLICE),
        Budget::Ticks(_) | Budget::Unlimited => SLICE,
    })
}

/// A slice that takes longer is warned of, unless something else is said (`semantics.md` 5.23).
const SLICE_WARNING: Duration = Duration::from_millis(200);

/// How many lines that scripts have printed are kept until somebody takes them.
const PRINTED_LINES: usize = 1000;

impl HostBuilder {
    /// Takes scripts from a folder, and watches it.
    pub fn scripts(mut self, folder: impl Into<PathBuf>) -> Self {
        self.source = Source::Folder(folder.into());
        self
    }

    /// Takes scripts from a library, which may be in memory.
    pub fn library(mut self, library: Library) -> Self {
        self.source = Source::Library(library);
        self
    }

    /// Whether a script folder is watched for changes. Default: yes.
    pub fn watch(mut self, watch: bool) -> Self {
        self.watch = watch;
        self
    }

    /// Whether a tasklet that an error has stopped waits at the failing statement, with its locals, until its file is
    /// mended; else the error ends it. Default: yes. A game that nobody edits any more had better say no: what is
    /// parked stays in memory, and is not [started again](crate::Restart) by itself.
    ///
    /// It has no effect in builds without the feature `reload`. An error that somebody else
    /// gets, by `pcall` or by `uthread.join` say, parks nobody.
    ///
    /// ```
    /// use bevy_ecs::prelude::*;
    /// use bluetick::{Library, Script, ScriptHost};
    ///
    /// let text = |word: &str| format!("
    ///     local Guard = {{}}
    ///     function Guard.run(self)
    ///         self.state.steps = 1
    ///         self.state.word = string.{word}('done')
    ///     end
    ///     return Guard");
    /// let scripts = Library::in_memory([("guard", text("uper"))]);
    /// let mut world = World::new();
    /// let mut host = ScriptHost::builder().library(scripts.clone()).build(&mut world)?;
    /// let guard = world.spawn(Script::new("guard")).id();
    /// let report = host.tick(&mut world, 0.1);
    /// assert_eq!(report.failures[0].parked.as_ref().unwrap().line, 5);
    ///
    /// scripts.set("guard", text("upper"));
    /// host.tick(&mut world, 0.1);
    /// assert_eq!(host.state(guard).unwrap().get::<String>("word")?, "DONE");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn park_failed(mut self, park: bool) -> Self {
        self.park = park;
        self
    }

    /// Makes a component usable from scripts, under the short name of its type.
    pub fn component<T>(mut self) -> Self
    where
        T: Component + Reflect + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.registry = self.registry.component::<T>();
        self
    }

    /// Makes a resource usable from scripts as `world:resource("Name")`.
    pub fn resource<T>(mut self) -> Self
    where
        T: Resource
            + Component<Mutability = Mutable>
            + Reflect
            + FromReflect
            + GetTypeRegistration
            + TypePath
            + Typed,
    {
        self.registry = self.registry.resource::<T>();
        self
    }

    /// Makes a kind of messages usable from scripts, in both directions; see [`RegistryBuilder::message`].
    pub fn message<T>(mut self) -> Self
    where
        T: Message + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.registry = self.registry.message::<T>();
        self
    }

    /// Says how scripts see the values of an opaque type; see [`RegistryBuilder::conversion`].
    pub fn conversion<T: Reflect + GetTypeRegistration>(
        mut self,
        to_value: impl Fn(&T) -> Value + 'static,
        from_value: impl Fn(&Value) -> Result<T, String> + 'static,
    ) -> Self {
        self.registry = self.registry.conversion(to_value, from_value);
        self
    }

    /// Says that scripts see an opaque type as the `U` that it holds behind a pointer; see
    /// [`RegistryBuilder::seen_as`].
    pub fn seen_as<T, U>(mut self, look: fn(&T) -> &U, make: fn(U) -> T) -> Self
    where
        T: Reflect + GetTypeRegistration,
        U: FromReflect + GetTypeRegistration + Typed,
    {
        self.registry = self.registry.seen_as(look, make);
        self
    }

    /// Registers a type that is no component but lies in one behind a pointer or a trait object.
    pub fn register_type<T: GetTypeRegistration>(mut self) -> Self {
        self.registry = self.registry.register_type::<T>();
        self
    }

    /// Says what scripts may do that are not to be trusted with everything; see [`profile`](crate::profile).
    pub fn profiles(mut self, profiles: Profiles) -> Self {
        self.profiles = profiles;
        self
    }

    /// Whether the VM reaches components by its direct handlers, which are experimental in it, or by plain
    /// metamethods, which do the same at half the speed. Default: direct.
    pub fn direct_access(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// Makes a Rust function callable as `world:name(...)`; see [`RegistryBuilder::function`].
    pub fn function<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(&mut World, A) -> Result<R, E> + 'static,
        A: mlua::FromLuaMulti + 'static,
        R: mlua::IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.registry = self.registry.function(name, f);
        self
    }

    /// Makes a Rust function callable as `world:name(...)` that looks at the world without changing it.
    pub fn view<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(&World, A) -> Result<R, E> + 'static,
        A: mlua::FromLuaMulti + 'static,
        R: mlua::IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.registry = self.registry.view(name, f);
        self
    }

    /// Makes a Rust function callable as `world:name(...)` that may wait; see [`RegistryBuilder::blocking`].
    pub fn blocking<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(&WorldAccess<'_>, A) -> Result<R, E> + 'static,
        A: mlua::FromLuaMulti + 'static,
        R: mlua::IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.registry = self.registry.blocking(name, f);
        self
    }

    /// Makes a Rust function callable as `world:name(...)` that is called on another thread: for files, the network,
    /// and long calculations. The script waits meanwhile, everybody else goes on; it has the result in the first
    /// frame that begins when the function has returned. Of a script that is killed meanwhile the result is dropped.
    /// In which order several end is up to the machine.
    ///
    /// ```
    /// use bluetick::ScriptHost;
    ///
    /// let builder = ScriptHost::builder()
    ///     .offloaded("read_file", |path: String| std::fs::read_to_string(path).map_err(|error| error.to_string()));
    /// ```
    pub fn offloaded<A, R, E, F>(mut self, name: &str, f: F) -> Self
    where
        F: Fn(A) -> Result<R, E> + Send + Sync + 'static,
        A: mlua::FromLuaMulti + Send + 'static,
        R: mlua::IntoLuaMulti + Send + 'static,
        E: std::fmt::Display + 'static,
    {
        let (workers, f) = (self.workers.clone(), Arc::new(f));
        self.registry = self.registry.blocking(name, move |access: &WorldAccess<'_>, arguments: A| {
            let f = f.clone();
            let result =
                workers.offload(access.scheduler(), move || f(arguments).map_err(|error| error.to_string()));
            result.map_err(Box::<dyn std::error::Error>::from)?.map_err(Box::<dyn std::error::Error>::from)
        });
        self
    }

    /// Makes a table of Rust functions a global of scripts: `name.function(...)`.
    pub fn module(mut self, name: &str, functions: Functions) -> Self {
        self.registry = self.registry.module(name, functions);
        self
    }

    /// The most memory that scripts may use, in bytes. Default: 512 MiB.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.vm.memory_limit = bytes;
        self
    }

    /// How long scripts may run in a frame before those that are left wait for the next one. Default:
    /// 0.25 s (`semantics.md` 5.2).
    ///
    /// In ticks, with slices in ticks too, the same inputs give the same order of switches on every
    /// machine.
    pub fn budget(mut self, budget: impl Into<Budget>) -> Self {
        self.budget = budget.into();
        self.vm.count_ticks = matches!(self.budget, Budget::Ticks(_));
        self
    }

    /// How long a tasklet may run without giving control away, and what becomes of one that does not.
    /// Default: after 5 ms, or after a quarter of the [budget](Self::budget) if that is less, it is interrupted and goes on
    /// in the next frame; where the VM can't suspend it, it gets an error of kind `budget` after ten times as long,
    /// which its `pcall` doesn't stop. One slice as long as the budget would leave nothing of a frame to all others.
    ///
    /// ```
    /// use bluetick::{OverrunPolicy, ScriptHost, SliceLimit};
    /// use std::time::Duration;
    ///
    /// let slice = SliceLimit::time(Duration::from_millis(2)).policy(OverrunPolicy::Kill { after: 10 });
    /// let builder = ScriptHost::builder().slice(slice);
    /// ```
    pub fn slice(mut self, slice: SliceLimit) -> Self {
        self.slice = Some(slice);
        self
    }

    /// Dilates time under overload. Default: it doesn't.
    pub fn time_dilation(mut self, dilation: TimeDilation) -> Self {
        self.dilation = Some(dilation);
        self
    }

    /// Has a thread tell of a frame that does not end: once, with the tasklet that runs and where it is, as far as the
    /// VM comes to a safepoint (`semantics.md` 5.35). The thread looks after each such time, and tells of a frame that
    /// it sees the second time: when that has lasted between once and twice as long. Without this nobody watches.
    ///
    /// ```
    /// use bluetick::ScriptHost;
    /// use std::time::Duration;
    ///
    /// let builder = ScriptHost::builder().watchdog(Duration::from_secs(5), |stuck| eprintln!("{stuck}"));
    /// ```
    pub fn watchdog(mut self, timeout: Duration, handler: impl FnMut(StuckFrame) + Send + 'static) -> Self {
        self.watchdog = Some((timeout, Box::new(handler)));
        self
    }

    /// Measures how long tasklets run, and what scripts name with `scheduler.timer(name, f, ...)`: for the field
    /// `run_time` of a tasklet, its `parent_callsite`, [`FrameReport::longest_slice`](crate::FrameReport::longest_slice)
    /// and [`Vm::timings`]. It costs two looks at the clock for each slice. Default: no.
    pub fn accounting(mut self, accounting: bool) -> Self {
        self.accounting = accounting;
        self
    }

    /// Warns of slices that are longer than this, once for each new maximum of a script and timer, while time is
    /// [measured](Self::accounting): they are logged, and in the frame's report as
    /// [`slow_slices`](crate::FrameReport::slow_slices). `None` warns of none. Default: 200 ms (`semantics.md` 5.23).
    pub fn slice_warning(mut self, longer_than: Option<Duration>) -> Self {
        self.slice_warning = longer_than;
        self
    }

    /// How much time a frame gives to the garbage collector.
    pub fn gc(mut self, pace: GcPace) -> Self {
        self.gc = pace;
        self
    }

    /// Where real time comes from, for budgets and measurements: the time since some start. Default: the
    /// machine's clock. Tests drive one of their own.
    pub fn time_source(mut self, source: impl Fn() -> Duration + 'static) -> Self {
        self.time = RealTime::new(source);
        self
    }

    /// Seeds `math.random` of scripts, so that the same inputs give the same game.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps what scripts print for [`ScriptHost::take_printed`], instead of writing it to standard output.
    pub fn keep_printed(self) -> Self {
        self.keep_printed_in(Rc::default())
    }

    /// [Keeps](Self::keep_printed) what scripts print in this list, where functions of the game see how much there is:
    /// so they know what was printed before they were called.
    pub fn keep_printed_in(mut self, list: Rc<RefCell<Vec<String>>>) -> Self {
        self.printed = Some(list);
        self
    }

    /// Builds the host for a world.
    ///
    /// # Errors
    /// A missing script folder, two components of one name, a type without reflection.
    pub fn build(self, world: &mut World) -> Result<ScriptHost, BuildError> {
        let library = Rc::new(match self.source {
            Source::None => Library::in_memory([] as [(&str, &str); 0]),
            Source::Folder(folder) => Library::open(folder)?,
            Source::Library(library) => library,
        });
        let slice = self.slice.unwrap_or_else(|| default_slice(self.budget));
        let vm = Vm::new(VmConfig { slice, ..self.vm })?;
        let clocks = SharedClocks::new(self.dilation);
        let synchro = Rc::new(RefCell::new(Synchro::default()));
        let instances = Rc::new(RefCell::new(Instances::default()));
        let there = ScriptEvents::of_those_there(world);
        world.insert_resource(there);
        let registry = self.registry.scripts(Rc::new(Attach(library.clone()))).build(world)?;
        let signals = Rc::new(RefCell::new(Some(Signals::new(&registry))));
        let profiles = Rc::new(self.profiles);
        let acting = Rc::new(Cell::new(None));
        let profiled = Rc::new(Cell::default());
        let extension = Extension {
            instances: instances.clone(),
            vm: Rc::downgrade(&vm),
            signals: signals.clone(),
            synchro: synchro.clone(),
            clocks: clocks.clone(),
            profiles: profiles.clone(),
            profiled: profiled.clone(),
            acting: acting.clone(),
            ending: Cell::new(0),
        };
        let context =
            signals::Context { vm: Rc::downgrade(&vm), bridge: Rc::default(), signals: signals.clone() };
        let extension = Rc::new(extension);
        let config = BridgeConfig {
            extension: Some(extension.clone()),
            methods: signals::methods(&vm, &context)?,
            direct: self.direct,
        };
        let bridge = Bridge::install(&vm, Rc::new(registry), config)?;
        let _ = context.bridge.set(Rc::downgrade(&bridge));
        let wishes = wishes::install(&vm, &bridge, &instances)?;
        vm.park_failed(self.park);
        let guard = Rc::downgrade(&bridge);
        clocks.install(&vm, move || match guard.upgrade() {
            Some(bridge) => bridge.may(Access::Call("clock")),
            None => Ok(()),
        })?;
        if !profiles.is_empty() {
            vm.guard_tasklets(move |owner, verb| extension.may_interfere(owner, verb));
        }
        synchro::install(&vm, &synchro, &clocks, &self.time, None)?;
        if let Some(printed) = &self.printed {
            install_print(&vm, printed.clone())?;
        }
        vm.set_loader(Loader { library: library.clone(), profiles });
        if let Some(seed) = self.seed {
            seed_random(&vm, seed)?;
        }
        if self.accounting {
            let time = self.time.clone();
            vm.set_accounting(Some(Rc::new(move || time.now())));
            vm.set_slice_warning(self.slice_warning);
        }
        let watchdog = match self.watchdog {
            Some((timeout, handler)) => Watchdog::start(timeout, vm.probe(), handler)
                .inspect_err(|error| {
                    tracing::warn!("nobody watches over frames, there is no thread: {error}")
                })
                .ok(),
            None => None,
        };
        vm.seal()?;
        let keeps_messages = !world.contains_resource::<Messages<ScriptReload>>();
        world.init_resource::<Messages<ScriptReload>>();
        if self.watch {
            library.watch();
        }
        Ok(ScriptHost {
            instances,
            synchro,
            workers: self.workers,
            signals,
            bridge,
            vm,
            library,
            clocks,
            tickers: Tickers::default(),
            pacer: Pacer::new(self.gc),
            history: History::default(),
            watchdog,
            profiled,
            reloader: Reloader::default(),
            wishes,
            carried: Carried::default(),
            failures: Failures::default(),
            keeps_messages,
            budget: FrameBudget::new(self.budget),
            time: self.time,
            cleared: false,
            acting,
            counted: (0, 0),
            spinning: 0,
            printed: self.printed.unwrap_or_default(),
        })
    }
}

/// Makes `print` of scripts append to a list; the oldest lines go when nobody takes them.
fn install_print(vm: &Vm, printed: Rc<RefCell<Vec<String>>>) -> Result<(), bluetick_scripting::Error> {
    let print = vm.function(c"print", move |call| {
        let mut line = String::new();
        for index in 1..=call.len() {
            if index > 1 {
                line.push('\t');
            }
            line += &call.get::<mlua::Value>(index)?.to_string()?;
        }
        let mut printed = printed.borrow_mut();
        if printed.len() == PRINTED_LINES {
            printed.remove(0);
        }
        printed.push(line);
        Ok(Reply::Nothing)
    })?;
    Ok(vm.lua().globals().raw_set("print", print)?)
}

fn seed_random(vm: &Vm, seed: u64) -> Result<(), bluetick_scripting::Error> {
    let math: mlua::Table = vm.lua().globals().get("math")?;
    let randomseed: mlua::Function = math.get("randomseed")?;
    // The VM takes 32 bits of it.
    randomseed.call::<()>((seed ^ seed >> 32) as u32 as f64)?;
    Ok(())
}

/// What `Script = "goblin"` means where an entity is described.
struct Attach(Rc<Library>);

impl ScriptHook for Attach {
    fn check(&self, script: &str) -> Result<(), String> {
        self.0.read(script).map(drop).map_err(|error| error.to_string())
    }

    fn attach(&self, entity: &mut EntityWorldMut<'_>, scripts: &[ScriptPart]) -> Result<(), String> {
        match Dormant::described(scripts) {
            Some(Some(dormant)) => {
                entity.insert(dormant);
            }
            Some(None) => {
                entity.remove::<Dormant>();
            }
            None => {}
        }
        entity.insert(Script::described(scripts));
        Ok(())
    }

    fn detach(&self, entity: &mut EntityWorldMut<'_>) -> bool {
        entity.take::<Script>().is_some()
    }

    fn scripts(&self, entity: EntityRef<'_>) -> Vec<String> {
        entity.get::<Script>().map(|script| script.names().map(str::to_owned).collect()).unwrap_or_default()
    }
}

/// Modules are the scripts of the library.
struct Loader {
    library: Rc<Library>,
    profiles: Rc<Profiles>,
}

impl bluetick_scripting::Loader for Loader {
    fn resolve(&self, from: &str, specifier: &str) -> Result<String, String> {
        let name = self.library.resolve(from, specifier).map_err(|error| error.to_string())?;
        Ok(name.as_str().to_owned())
    }

    fn read(&self, module: &str) -> Result<bluetick_scripting::ModuleText, String> {
        let source = self.library.read(module).map_err(|error| error.to_string())?;
        Ok(crate::reloader::module_text(&source))
    }

    fn may_require(&self, from: &str, module: &str) -> Result<(), bluetick_scripting::Error> {
        match self.profiles.of(from) {
            Some(profile) => profile.check(profile.modules.allows(module), &format!("module {module}")),
            None => Ok(()),
        }
    }

    fn required(&self, from: &str, on: &str) {
        self.library.depends(from, on);
    }
}
