//! Saving in all the ways that editors have, as a game sees it: one reload each, with the last text (scenarios 42
//! and 46; `assets/tests/files.rs` has them without a game). Events come when the system sends them, so these tests
//! go on until they have.

use bevy_ecs::prelude::*;
use bluetick::{FrameReport, Library, Script, ScriptHost};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

struct Desk {
    folder: tempfile::TempDir,
    world: World,
    host: ScriptHost,
}

/// A script that says which text it is in every frame.
fn text(n: u32) -> String {
    let padding = "-- a line of words that nobody reads\n".repeat(200);
    format!(
        "{padding}local M = {{}}\nfunction M.run(self)\nwhile true do\nself.state.text = {n}\nsynchro.yield()\nend\nend\nreturn M"
    )
}

impl Desk {
    fn new(open: impl FnOnce(&Path) -> Library) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("m.luau"), text(1)).expect("it can be written");
        let mut world = World::new();
        let library = open(folder.path());
        let host = ScriptHost::builder().library(library).build(&mut world).expect("a host");
        let mut desk = Self { folder, world, host };
        desk.world.spawn(Script::new("m"));
        desk.tick();
        assert_eq!(desk.running(), 1);
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn tick(&mut self) -> FrameReport {
        let report = self.host.tick(&mut self.world, 0.01);
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
        report
    }

    fn running(&mut self) -> u32 {
        let entity =
            self.world.query_filtered::<Entity, With<Script>>().single(&self.world).expect("one entity");
        self.host.state(entity).expect("it has a state").get("text").expect("it says its text")
    }

    #[track_caller]
    fn until_it_runs(&mut self, n: u32) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.running() != n {
            assert!(Instant::now() < deadline, "text {n} never came");
            self.tick();
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

fn watched(folder: &Path) -> Library {
    Library::open(folder).expect("a library")
}

#[test]
fn s42_each_way_of_saving_is_one_reload_with_the_last_text() {
    let mut desk = Desk::new(watched);
    let (file, other, backup) = (desk.file("m.luau"), desk.file("m.luau.tmp"), desk.file("m.luau~"));
    let jet = (desk.file("m.luau___jb_tmp___"), desk.file("m.luau___jb_old___"));
    let write = |path: &Path, n: u32| fs::write(path, text(n)).expect("it can be written");
    let rename = |from: &Path, to: &Path| fs::rename(from, to).expect("it can be renamed");
    let ways: [(&str, &dyn Fn(u32)); 5] = [
        ("in place, as VS Code", &|n| write(&file, n)),
        ("a file in its place, as sed -i", &|n| {
            write(&other, n);
            rename(&other, &file);
        }),
        ("with a backup, as vim", &|n| {
            rename(&file, &backup);
            write(&file, n);
            fs::remove_file(&backup).expect("it can be removed");
        }),
        ("in two steps, as IntelliJ", &|n| {
            write(&jet.0, n);
            rename(&file, &jet.1);
            rename(&jet.0, &file);
            fs::remove_file(&jet.1).expect("it can be removed");
        }),
        ("removed and made anew, as git checkout", &|n| {
            fs::remove_file(&file).expect("it can be removed");
            write(&file, n);
        }),
    ];
    let mut n = 1;
    for (way, save) in ways {
        n += 1;
        save(n);
        desk.until_it_runs(n);
        assert_eq!(desk.host.vm().module_version("m"), n, "{way}: one reload each");
    }
}

#[test]
fn s46_without_events_a_look_through_the_folders_finds_what_was_saved() {
    let mut desk =
        Desk::new(|folder| Library::builder().scripts(folder).polling().open().expect("a library"));
    fs::write(desk.file("m.luau"), text(2)).expect("it can be written");
    desk.until_it_runs(2);
    assert_eq!(desk.host.vm().module_version("m"), 2);
}
