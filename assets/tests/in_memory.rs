//! A library without a disk: what higher layers test reloading with.

use std::time::Instant;

use bluetick_assets::{Asset, AssetError, ChangeKind, ChangeSet, Library, WatchState};

fn goblins() -> Library {
    Library::in_memory([
        ("goblin", "return 'goblin'"),
        ("ai/util", "return 'util'"),
        ("ai/guard", "return 'guard'"),
        ("ai/path/init", "return 'path'"),
    ])
}

fn names(changes: Option<ChangeSet>) -> Vec<String> {
    changes.into_iter().flatten().map(|change| change.name.into()).collect()
}

#[test]
fn scripts_are_listed_in_order_and_read_by_name() {
    let library = goblins();
    assert_eq!(library.scripts(), ["ai/guard", "ai/path/init", "ai/util", "goblin"]);
    let source = library.read("ai/util").unwrap();
    assert_eq!((&*source.text, source.version), ("return 'util'", 1));
    assert_eq!(source.name, "ai/util");
    assert_eq!(source.path.to_str(), Some("ai/util.luau"));
    assert!(library.scenes().is_empty());
}

#[test]
fn what_was_set_is_seen_from_the_next_poll_on() {
    let library = goblins();
    let now = Instant::now();
    assert!(library.poll(now).is_none());
    library.set("goblin", "return 2");
    library.set("goblin", "return 3");
    library.set("dragon", "return 'dragon'");
    library.set("ai/util", "return 'util'");
    assert_eq!(library.read("goblin").unwrap().version, 1);

    let changes = library.poll(now).unwrap();
    let [dragon, goblin] = &changes.changes[..] else { panic!("{changes:?}") };
    assert!(matches!(&dragon.kind, ChangeKind::Added(new) if dragon.name == "dragon" && new.version == 1));
    assert!(matches!(&goblin.kind, ChangeKind::Modified { old, new }
        if (old.version, new.version) == (1, 2) && &*new.text == "return 3"));
    assert_eq!(library.read("goblin").unwrap().version, 2);
    assert!(library.poll(now).is_none());
}

#[test]
fn clones_speak_of_the_same_library() {
    let library = goblins();
    library.clone().set("goblin", "");
    assert_eq!(names(library.poll(Instant::now())), ["goblin"]);
}

#[test]
fn scenes_and_scripts_of_one_name_are_two() {
    let library = goblins();
    library.set_scene("goblin", "seed = 1");
    let changes = library.poll(Instant::now()).unwrap();
    assert_eq!(changes.changes[0].asset, Asset::Scene);
    assert_eq!(library.scenes(), ["goblin"]);
    assert_eq!(&*library.scene("goblin").unwrap().text, "seed = 1");
    assert_eq!(&*library.read("goblin").unwrap().text, "return 'goblin'");
    let message = library.scene("goblim").unwrap_err().to_string();
    assert_eq!(message, "there is no scene `goblim`; did you mean `goblin`?");
}

#[test]
fn removing_and_setting_the_same_text_elsewhere_is_a_rename() {
    let library = goblins();
    library.remove("goblin");
    library.set("monsters/goblin", "return 'goblin'");
    let changes = library.poll(Instant::now()).unwrap();
    let [change] = &changes.changes[..] else { panic!("{changes:?}") };
    assert!(matches!(&change.kind, ChangeKind::Renamed { from, source }
        if *from == "goblin" && source.name == "monsters/goblin" && source.version == 1));
    library.remove("ai/util");
    assert!(matches!(library.poll(Instant::now()).unwrap().changes[0].kind, ChangeKind::Removed));
}

#[test]
fn specifiers_lead_to_scripts() {
    let library = goblins();
    for (requiring, specifier, found) in [
        ("goblin", "./ai/util", "ai/util"),
        ("ai/guard", "./util", "ai/util"),
        ("ai/guard", "../goblin", "goblin"),
        ("ai/guard", "@scripts/goblin", "goblin"),
        ("goblin", "./ai/path", "ai/path/init"),
        ("ai/path/init", "../util", "ai/util"),
    ] {
        assert_eq!(library.resolve(requiring, specifier).unwrap(), found);
    }
}

#[test]
fn a_missing_module_is_reported_with_all_that_helps_to_find_the_slip() {
    let library = goblins();
    let message = |requiring, specifier| library.resolve(requiring, specifier).unwrap_err().to_string();
    assert_eq!(
        message("ai/guard", "./utli"),
        "`ai/guard` cannot require \"./utli\": there is no `ai/utli.luau` and no `ai/utli/init.luau`; \
         did you mean `ai/util`?"
    );
    assert!(message("goblin", "./util").ends_with("did you mean `ai/util`?"));
    assert!(message("goblin", "./ai/pat").ends_with("did you mean `ai/path`?"));
    assert!(message("goblin", "./dragon").ends_with("no `dragon/init.luau`"));
    assert!(message("goblin", "../goblin").contains("leads out of the scripts folder"));
}

#[test]
fn a_file_and_a_folder_of_one_name_are_not_guessed_between() {
    let library = goblins();
    library.set("ai/path", "return 'file'");
    library.poll(Instant::now());
    let error = library.resolve("goblin", "./ai/path").unwrap_err();
    assert!(matches!(error, AssetError::Ambiguous { .. }));
    assert!(error.to_string().contains("both `ai/path.luau` and `ai/path/init.luau` exist"));
    library.remove("ai/path/init");
    library.poll(Instant::now());
    assert_eq!(library.resolve("goblin", "./ai/path").unwrap(), "ai/path");
}

#[test]
fn dependents_come_after_what_they_require() {
    let library = goblins();
    library.depends("goblin", "ai/guard");
    library.record_dependencies("ai/guard", ["ai/util", "ai/path/init"]);
    assert_eq!(library.dependencies("ai/guard"), ["ai/path/init", "ai/util"]);
    assert_eq!(library.dependents("ai/util"), ["ai/guard", "goblin"]);
    assert_eq!(library.affected(["goblin", "ai/util"]), ["ai/util", "ai/guard", "goblin"]);
    library.record_dependencies("ai/guard", ["ai/path/init"]);
    assert!(library.dependents("ai/util").is_empty());
}

#[test]
fn there_is_nothing_to_watch() {
    let library = goblins();
    assert_eq!(library.watch(), WatchState::Off);
    library.rescan();
    assert!(library.poll(Instant::now()).is_none());
}
