//! What the README shows is true.

use std::path::Path;

#[path = "../../host/examples/plain_loop.rs"]
mod plain_loop;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README")
}

/// The code blocks of the README in a language.
fn blocks(language: &str) -> Vec<String> {
    blocks_of(&readme(), language)
}

fn blocks_of(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_embedding_in_the_readme_is_the_example_that_compiles_and_runs() {
    let example = include_str!("../../host/examples/plain_loop.rs");
    let shown = example.split("from here on ---\n").nth(1).expect("the mark");
    // Public only so that this test can call it.
    let shown = shown.replace("pub fn main", "fn main");
    assert!(blocks("rust").contains(&shown), "README.md does not show host/examples/plain_loop.rs");
    assert!(shown.lines().filter(|line| !line.is_empty()).count() <= 30);
    // The example speaks of files by their path from the workspace.
    std::env::set_current_dir(root()).expect("the workspace");
    plain_loop::main().expect("the example runs");
}

#[test]
fn every_script_in_the_readme_compiles() {
    let vm = bluetick_scripting::Vm::new(Default::default()).expect("a VM");
    let scripts = blocks("lua");
    assert!(!scripts.is_empty());
    for script in scripts {
        vm.load("README.luau", &script).expect("a script that compiles");
    }
}

#[test]
fn the_script_in_the_chapter_on_editing_plays_and_is_told_of_its_reload() {
    let chapter = std::fs::read_to_string(root().join("assets/scripts/EDITING.md")).expect("the chapter");
    let scripts = blocks_of(&chapter, "lua");
    let [script] = &scripts[..] else { panic!("the chapter shows {} scripts", scripts.len()) };
    let mut game = bluetick_tests::Game::edited([("guard", script)]);
    game.spawn("guard");
    game.frames(2);
    game.save("guard", format!("{script}\n-- edited"));
    let report = game.frame();
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
    let reload = report.reload.expect("it was reloaded");
    assert!(reload.hook_errors.is_empty() && reload.moved == 1, "{reload}");
    assert_eq!(game.printed(), "guard\t1\t->\t2");
}

#[test]
fn the_script_in_the_chapter_on_time_plays_and_the_chapter_speaks_of_every_function() {
    let chapter = std::fs::read_to_string(root().join("assets/scripts/TIME.md")).expect("the chapter");
    let scripts = blocks_of(&chapter, "lua");
    let [text] = &scripts[..] else { panic!("the chapter shows {} scripts", scripts.len()) };
    let all =
        "for name in synchro do print('synchro', name) end for name in clock do print('clock', name) end";
    let mut game = bluetick_tests::Game::new([("miner", text.clone()), ("all", bluetick_tests::script(all))]);
    game.spawn("miner");
    game.frames(3);
    assert_eq!(game.printed(), "the\tnight\tshift is over 500\t2");
    game.spawn("all");
    game.frames(1);
    let names = game.printed();
    assert_eq!(names.split(' ').count(), 20, "{names}");
    for name in names.split(' ').filter_map(|line| line.split('\t').nth(1)) {
        assert!(chapter.contains(name), "TIME.md does not speak of {name}");
    }
}

#[test]
fn the_script_in_the_chapter_on_channels_plays() {
    let chapter = std::fs::read_to_string(root().join("assets/scripts/CHANNELS.md")).expect("the chapter");
    let scripts = blocks_of(&chapter, "lua");
    let [text] = &scripts[..] else { panic!("the chapter shows {} scripts", scripts.len()) };
    let mut game = bluetick_tests::Game::new([("kitchen", text.clone())]);
    game.spawn("kitchen");
    game.frames(2);
    assert_eq!(game.printed(), "cooking soup cooking stew closed 0\tfalse");
}

#[test]
fn every_scene_in_the_readme_can_be_read() {
    let scenes: Vec<_> = blocks("toml").into_iter().filter(|block| block.contains("[[entity]]")).collect();
    assert!(!scenes.is_empty());
    for scene in scenes {
        bluetick::Scene::parse(&scene, "README.toml").expect("a scene");
    }
}

#[test]
fn the_build_flags_in_the_readme_are_those_of_this_repository() {
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).expect("the configuration");
    let flags = blocks("toml").into_iter().find(|block| block.contains("LUAU_CXXFLAGS")).expect("a block");
    assert!(config.contains(&*flags), "the README shows {flags}");
}

#[test]
fn the_readme_names_the_two_commands_and_ci_runs_the_second() {
    assert!(readme().contains("cargo run --release") && readme().contains("cargo test --workspace"));
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect("what CI runs");
    assert!(ci.contains("cargo test --workspace"));
}

#[test]
fn the_function_in_the_readme_compiles_and_works() {
    use bevy_ecs::prelude::*;
    use bluetick::ecs::Handle;
    use bluetick::{Library, Script, ScriptHost};
    use bluetick_tests::Health;

    let script = "local M = {} function M.run(self) self.state.now = world:heal(self, 2) world:heal(world:spawn {}, 1) end return M";
    let builder =
        ScriptHost::builder().function("heal", |world: &mut World, (patient, amount): (Handle, f32)| {
            let mut health = world.get_mut::<Health>(patient.0).ok_or("nobody to heal")?;
            health.current += amount;
            Ok::<f32, &str>(health.current)
        });
    let mut world = World::new();
    let library = Library::in_memory([("it", script)]);
    let mut host = builder.library(library).component::<Health>().build(&mut world).expect("a host");
    let it = world.spawn((Health { current: 3.0, max: 10.0 }, Script::new("it"))).id();
    let report = host.tick(&mut world, 0.1);
    assert_eq!(host.state(it).expect("its state").get::<f32>("now").ok(), Some(5.0));
    assert!(report.failures[0].message.contains("nobody to heal"), "{report:?}");

    // However the formatter breaks the lines.
    let plain = |text: &str| text.split_whitespace().collect::<String>().replace(",)", ")");
    let shown = blocks("rust").into_iter().find(|block| block.contains("\"heal\"")).expect("the block");
    assert!(plain(include_str!("readme.rs")).contains(&plain(&shown)), "the README shows something else");
}

#[test]
fn the_rust_tasklet_in_the_readme_compiles_and_works() {
    use bevy_ecs::prelude::*;
    use bluetick::{Error, Library, Script, ScriptHost};

    #[derive(Resource, Default)]
    struct Menu {
        served: Vec<String>,
    }

    fn open(host: &ScriptHost) -> Result<bluetick::Channel<String>, Error> {
        let scheduler = host.vm().scheduler();
        let orders = scheduler.channel::<String>(); // scripts get it as any value: host.send(cook, &orders)
        let inbox = orders.clone();
        host.tasklet("kitchen", move |context| -> Result<(), Error> {
            for order in inbox.iter() {
                let order = order?; // waits until somebody sends
                context.sleep(2.0)?; // simulated seconds
                context.world(|world| world.resource_mut::<Menu>().served.push(order))?;
            }
            Ok(())
        })?;
        Ok(orders)
    }

    let script = "local M = {} function M.run(self) local o = self.inbox:receive() o:send('soup') o:send('tea') end return M";
    let mut world = World::new();
    world.init_resource::<Menu>();
    let library = Library::in_memory([("guest", script)]);
    let mut host = ScriptHost::builder().library(library).build(&mut world).expect("a host");
    let guest = world.spawn(Script::new("guest")).id();
    let orders = open(&host).expect("a kitchen");
    host.tick(&mut world, 1.0);
    host.send(guest, &orders).expect("an inbox");
    for _ in 0..8 {
        host.tick(&mut world, 1.0);
    }
    assert_eq!(world.resource::<Menu>().served, ["soup", "tea"]);

    let plain = |text: &str| text.split_whitespace().collect::<String>();
    let shown = blocks("rust").into_iter().find(|block| block.contains("kitchen")).expect("the block");
    assert!(plain(include_str!("readme.rs")).contains(&plain(&shown)), "the README shows something else");
}
