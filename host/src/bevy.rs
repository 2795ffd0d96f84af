//! The plugin for a Bevy app (feature `bevy`).

use crate::{BuildError, FrameReport, HostBuilder, ScriptFailure, ScriptHost, ScriptReload};
use bevy_app::{App, Plugin, Update};
use bevy_ecs::component::{Component, Mutable};
use bevy_ecs::error::BevyError;
use bevy_ecs::intern::Interned;
use bevy_ecs::message::Message;
use bevy_ecs::resource::Resource;
use bevy_ecs::schedule::{IntoScheduleConfigs, ScheduleLabel, SystemSet};
use bevy_ecs::world::World;
use bevy_reflect::{FromReflect, GetTypeRegistration, Reflect, TypePath, Typed};
use bevy_time::Time;
use mlua::{FromLuaMulti, IntoLuaMulti};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The set of the one system that runs scripts. Order your systems before or after it, or give it a run
/// condition; a frame in which it doesn't run does not exist for scripts.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScriptSystems;

/// What happened in the last frame of scripts.
#[derive(Resource, Debug, Default)]
pub struct LastFrame(pub FrameReport);

/// A script has failed: written for each of [`FrameReport::failures`].
#[derive(Message, Clone, Debug)]
pub struct ScriptFailed(pub ScriptFailure);

/// What a game adds to the host before it is built.
type Setup = Box<dyn FnOnce(HostBuilder) -> HostBuilder + Send>;

/// Runs scripts in a Bevy app: once an `Update`, on the time of the app.
///
/// Time is that of [`Time`] in the schedule: in `Update` that is Bevy's virtual time, so pausing it or changing
/// its speed does the same to scripts. While it is paused, frames go on with no time passing, as they do for systems:
/// sleepers sleep, `synchro.yield` returns, files are reloaded. A run condition on [`ScriptSystems`] stops them
/// altogether.
///
/// ```
/// use bevy_app::prelude::*;
/// use bevy_ecs::prelude::*;
/// use bevy_reflect::prelude::*;
/// use bevy_time::TimePlugin;
/// use bluetick::{BluetickPlugin, Library, Script};
///
/// #[derive(Component, Reflect, Default)]
/// #[reflect(Default)]
/// struct Health { current: f32 }
///
/// # let library = Library::in_memory([("troll", "return { run = function(self) self.Health.current = 7 end }")]);
/// let scripts = BluetickPlugin::new("scripts").component::<Health>(); // assets/scripts
/// # let scripts = scripts.setup(|host| host.library(library));
/// let mut app = App::new();
/// app.add_plugins((TimePlugin, scripts));
/// let troll = app.world_mut().spawn((Health::default(), Script::new("troll"))).id();
/// app.update();
/// assert_eq!(app.world().get::<Health>(troll).unwrap().current, 7.0);
/// ```
///
/// The host is built in the first frame, for the world as it is then. Other plugins can add to it until then, with
/// [`ScriptApp::script_setup`]. It is a non-send resource: `Option<NonSend<ScriptHost>>` in a system.
pub struct BluetickPlugin {
    folder: PathBuf,
    asset_root: PathBuf,
    schedule: Interned<dyn ScheduleLabel>,
    /// Taken when the plugin is added, which happens once.
    setups: Mutex<Vec<Setup>>,
    messages: Vec<fn(&mut App)>,
}

impl BluetickPlugin {
    /// Takes scripts from a folder below the asset root, and watches it.
    ///
    /// The asset root is the folder `assets`, found as Bevy finds it: below `BEVY_ASSET_ROOT`, or else below
    /// the crate that Cargo runs (`CARGO_MANIFEST_DIR`), or else beside the executable.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            asset_root: "assets".into(),
            schedule: Update.intern(),
            setups: Mutex::default(),
            messages: Vec::new(),
        }
    }

    /// The asset root, where it is not called `assets`: what the app's `AssetPlugin` has as its `file_path`.
    pub fn asset_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.asset_root = root.into();
        self
    }

    /// Runs scripts in another schedule, on its time: in `FixedUpdate`, say.
    pub fn in_schedule(mut self, schedule: impl ScheduleLabel) -> Self {
        self.schedule = schedule.intern();
        self
    }

    /// Adds to the host whatever [`HostBuilder`] offers.
    pub fn setup(self, f: impl FnOnce(HostBuilder) -> HostBuilder + Send + 'static) -> Self {
        self.setups.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(Box::new(f));
        self
    }

    /// Makes a component usable from scripts; see [`HostBuilder::component`].
    pub fn component<T>(self) -> Self
    where
        T: Component + Reflect + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.setup(HostBuilder::component::<T>)
    }

    /// Makes a resource usable from scripts; see [`HostBuilder::resource`].
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
        self.setup(HostBuilder::resource::<T>)
    }

    /// Makes a kind of messages usable from scripts, and registers it with the app, which from then on drops old
    /// ones; see [`HostBuilder::message`].
    pub fn message<T>(mut self) -> Self
    where
        T: Message + FromReflect + GetTypeRegistration + TypePath + Typed,
    {
        self.messages.push(|app| {
            app.add_message::<T>();
        });
        self.setup(HostBuilder::message::<T>)
    }

    /// Makes a Rust function callable as `world:name(...)`; see [`HostBuilder::function`].
    pub fn function<A, R, E, F>(self, name: &str, f: F) -> Self
    where
        F: Fn(&mut World, A) -> Result<R, E> + Send + 'static,
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        let name = name.to_owned();
        self.setup(move |host| host.function(&name, f))
    }
}

impl Plugin for BluetickPlugin {
    fn build(&self, app: &mut App) {
        for register in &self.messages {
            register(app);
        }
        app.add_message::<ScriptFailed>().add_message::<ScriptReload>().init_resource::<LastFrame>();
        let folder = asset_base().join(&self.asset_root).join(&self.folder);
        let mut pending = pending(app.world_mut());
        pending.folder = folder;
        let setups =
            std::mem::take(&mut *self.setups.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        pending.setups.extend(setups);
        app.world_mut().insert_non_send(pending);
        app.add_systems(self.schedule, run_scripts.in_set(ScriptSystems));
    }
}

/// What plugins that bring components for scripts add to an app.
pub trait ScriptApp {
    /// Adds to the script host of [`BluetickPlugin`], whichever of the two is added first. To be called before the
    /// app's first frame.
    ///
    /// # Panics
    /// When the host was built already.
    fn script_setup(&mut self, f: impl FnOnce(HostBuilder) -> HostBuilder + Send + 'static) -> &mut Self;
}

impl ScriptApp for App {
    fn script_setup(&mut self, f: impl FnOnce(HostBuilder) -> HostBuilder + Send + 'static) -> &mut Self {
        assert!(
            self.world().get_non_send::<ScriptHost>().is_none(),
            "script_setup: the script host was built already, in the app's first frame"
        );
        let mut pending = pending(self.world_mut());
        pending.setups.push(Box::new(f));
        self.world_mut().insert_non_send(pending);
        self
    }
}

/// A host that is still to be built.
#[derive(Default)]
struct Pending {
    folder: PathBuf,
    setups: Vec<Setup>,
}

fn pending(world: &mut World) -> Pending {
    world.remove_non_send().unwrap_or_default()
}

impl Pending {
    fn build(self, world: &mut World) -> Result<ScriptHost, BuildError> {
        let builder = ScriptHost::builder().scripts(self.folder);
        self.setups.into_iter().fold(builder, |builder, setup| setup(builder)).build(world)
    }
}

/// Where Bevy looks for the asset root.
fn asset_base() -> PathBuf {
    ["BEVY_ASSET_ROOT", "CARGO_MANIFEST_DIR"].into_iter().find_map(std::env::var_os).map_or_else(
        || {
            let beside = std::env::current_exe().ok();
            beside.and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default()
        },
        PathBuf::from,
    )
}

/// One frame of scripts. The host is out of the world meanwhile.
///
/// # Errors
/// The host can't be built, in the first frame.
fn run_scripts(world: &mut World) -> Result<(), BevyError> {
    let mut host = match (world.remove_non_send::<ScriptHost>(), world.remove_non_send::<Pending>()) {
        (Some(host), _) => host,
        (None, Some(pending)) => pending.build(world).map_err(|error| format!("BluetickPlugin: {error}"))?,
        (None, None) => return Ok(()),
    };
    let dt = world.get_resource::<Time>().map_or(0.0, Time::delta_secs_f64);
    let report = host.tick(world, dt);
    for failure in &report.failures {
        world.write_message(ScriptFailed(failure.clone()));
    }
    world.insert_resource(LastFrame(report));
    world.insert_non_send(host);
    Ok(())
}
