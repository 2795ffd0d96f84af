//! Scripts in a Bevy app (`ecs.md`, Bevy): an app of `bevy_app` with Bevy's time, as `MinimalPlugins` makes it.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use bevy_reflect::prelude::*;
use bevy_time::{TimePlugin, TimeUpdateStrategy, prelude::*};
use bluetick::{
    BluetickPlugin, LastFrame, Library, Script, ScriptApp, ScriptFailed, ScriptHost, ScriptSystems,
};
use bluetick_tests::{Health, Position, script};
use std::time::Duration;

#[derive(Message, Reflect, Debug, PartialEq, Clone)]
struct Ping {
    number: u32,
}

#[derive(Resource, Default)]
struct Heard(Vec<String>);

/// An app whose frames are a quarter of a second; scripts are in memory.
fn app(scripts: &[(&str, &str)], add: impl FnOnce(BluetickPlugin) -> BluetickPlugin) -> App {
    let library = Library::in_memory(scripts.iter().map(|(name, body)| (name.to_string(), script(body))));
    let plugin = BluetickPlugin::new("scripts")
        .component::<Health>()
        .setup(|host| host.library(library).keep_printed());
    let mut app = App::new();
    app.add_plugins((TimePlugin, add(plugin)));
    app.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_millis(250)));
    app
}

fn printed(app: &App) -> String {
    app.world().non_send::<ScriptHost>().take_printed().join(" ")
}

#[track_caller]
fn run(app: &mut App, frames: usize) {
    for _ in 0..frames {
        app.update();
        let failures = &app.world().resource::<LastFrame>().0.failures;
        assert!(failures.is_empty(), "{}", failures[0]);
    }
}

#[test]
fn scripts_run_on_bevys_virtual_time_paused_and_speeded_up_with_it() {
    let body = "while true do synchro.sleep(1) print(clock.sim()) end";
    let mut app = app(&[("sleeper", body)], |plugin| plugin);
    app.world_mut().spawn(Script::new("sleeper"));
    run(&mut app, 9);
    // The first frame of an app has no time in it.
    assert_eq!(printed(&app), "1 2");
    app.world_mut().resource_mut::<Time<Virtual>>().pause();
    run(&mut app, 20);
    assert_eq!(printed(&app), "");
    assert_eq!(app.world().resource::<LastFrame>().0.frame, 29);
    let mut time = app.world_mut().resource_mut::<Time<Virtual>>();
    time.unpause();
    time.set_relative_speed(4.0);
    time.set_max_delta(Duration::from_secs(1));
    run(&mut app, 3);
    assert_eq!(printed(&app), "3 4 5");
}

#[test]
fn scripts_in_fixed_update_run_on_its_time() {
    let body = "while true do synchro.yield() print(clock.delta()) end";
    let mut app = app(&[("counter", body)], |plugin| plugin.in_schedule(FixedUpdate));
    app.insert_resource(Time::<Fixed>::from_seconds(0.125));
    app.world_mut().spawn(Script::new("counter"));
    run(&mut app, 3);
    assert_eq!(printed(&app), "0.125 0.125 0.125");
}

#[test]
fn messages_of_the_app_go_both_ways_and_systems_are_ordered_against_scripts() {
    let body = r#"
        for ping in world:messages("Ping") do
            if ping.number < 10 then world:send("Ping", { number = ping.number + 10 }) end
        end
    "#;
    let mut app = app(&[("echo", body)], |plugin| plugin.message::<Ping>());
    app.init_resource::<Heard>();
    app.add_systems(
        Update,
        (
            (|mut pings: MessageWriter<Ping>, mut number: Local<u32>| {
                *number += 1;
                pings.write(Ping { number: *number });
            })
            .before(ScriptSystems),
            (|mut pings: MessageReader<Ping>, mut heard: ResMut<Heard>| {
                heard.0.extend(pings.read().map(|ping| ping.number.to_string()));
                heard.0.push("|".into());
            })
            .after(ScriptSystems),
        ),
    );
    app.world_mut().spawn(Script::new("echo"));
    run(&mut app, 3);
    assert_eq!(app.world().resource::<Heard>().0.join(" "), "1 | 2 12 | 3 13 |");
    // The app drops old messages, not the host.
    run(&mut app, 20);
    assert!(app.world().resource::<Messages<Ping>>().len() <= 4);
}

#[test]
fn a_run_condition_stops_scripts_and_their_clock() {
    #[derive(Resource, PartialEq)]
    struct Halted(bool);
    let body = "while true do synchro.yield() print(clock.frame()) end";
    let mut app = app(&[("counter", body)], |plugin| plugin);
    app.insert_resource(Halted(false));
    app.configure_sets(Update, ScriptSystems.run_if(|halted: Res<Halted>| !halted.0));
    app.world_mut().spawn(Script::new("counter"));
    run(&mut app, 2);
    app.world_mut().resource_mut::<Halted>().0 = true;
    run(&mut app, 5);
    app.world_mut().resource_mut::<Halted>().0 = false;
    run(&mut app, 1);
    assert_eq!(printed(&app), "2 3");
}

#[test]
fn other_plugins_add_to_the_host_before_and_after_the_plugin() {
    let body = r#"self.Position.at += vector.one * world:double(2) print(self.Position.at.x)"#;
    let library = Library::in_memory([("it", script(body))]);
    let mut app = App::new();
    app.script_setup(|host| host.component::<Position>());
    app.add_plugins(BluetickPlugin::new("scripts").setup(|host| host.library(library).keep_printed()));
    app.script_setup(|host| {
        host.function("double", |_: &mut World, number: f32| Ok::<_, std::convert::Infallible>(2.0 * number))
    });
    app.world_mut().spawn((Script::new("it"), Position::default()));
    run(&mut app, 1);
    assert_eq!(printed(&app), "4");
}

#[test]
fn a_failure_is_a_message_and_others_go_on() {
    let mut app =
        app(&[("bad", "error('oh no')"), ("good", "synchro.yield() print('well')")], |plugin| plugin);
    app.init_resource::<Heard>();
    app.add_systems(Last, |mut failures: MessageReader<ScriptFailed>, mut heard: ResMut<Heard>| {
        heard.0.extend(failures.read().map(|failed| failed.0.message.clone()));
    });
    app.world_mut().spawn(Script::new("bad"));
    app.world_mut().spawn(Script::new("good"));
    app.update();
    app.update();
    assert_eq!(app.world().resource::<Heard>().0, ["bad.luau:1: oh no"]);
    assert_eq!(printed(&app), "well");
}

#[test]
fn scripts_are_read_from_a_folder_below_the_asset_root() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data/ai")).unwrap();
    std::fs::write(folder.path().join("data/ai/it.luau"), script("print('here')")).unwrap();
    let mut app = App::new();
    // An absolute root stands for itself.
    let plugin = BluetickPlugin::new("ai").asset_root(folder.path().join("data"));
    app.add_plugins(plugin.setup(|host| host.keep_printed()));
    app.world_mut().spawn(Script::new("it"));
    run(&mut app, 1);
    assert_eq!(printed(&app), "here");
}

#[test]
fn a_missing_folder_is_an_error_of_the_system_that_names_it() {
    let result = std::panic::catch_unwind(|| {
        let mut app = App::new();
        app.add_plugins(BluetickPlugin::new("nowhere").asset_root("/nonexistent"));
        app.update();
    });
    let panic = result.expect_err("Bevy's default handler of errors panics");
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("nonexistent/nowhere"), "{text}");
}
