//! Real files: opening a project, and saving in it in all the ways that editors have. Numbers are those of the
//! scenarios in the design of hot reload.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use bluetick_assets::{AssetError, ChangeKind, ChangeSet, Library, WatchState};

const MS: Duration = Duration::from_millis(1);

/// A project on disk with a watched library.
struct Project {
    dir: tempfile::TempDir,
    library: Library,
    /// The time given to polls.
    now: Instant,
}

impl Project {
    /// Writes the files (paths below the project) and watches them.
    fn new(files: &[(&str, &str)]) -> Self {
        Project::opened(files, |dir| {
            Library::builder().scripts(dir.join("scripts")).scenes(dir.join("scenes")).open().unwrap()
        })
    }

    fn opened(files: &[(&str, &str)], open: impl FnOnce(&Path) -> Library) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["scripts", "scenes"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for (file, text) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let library = open(dir.path());
        library.watch();
        let mut project = Project { dir, library, now: Instant::now() };
        // Whatever the system still has to tell about the above.
        project.nothing_happens();
        project
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join("scripts").join(file)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).unwrap();
    }

    fn text(&self, name: &str) -> String {
        self.library.read(name).unwrap().text.to_string()
    }

    /// A frame of a millisecond, in which the system may deliver its events. This clock is never ahead of the
    /// world's, so events that come late for the world are not late for the library.
    fn frame(&mut self) -> Option<ChangeSet> {
        thread::park_timeout(MS);
        self.now += MS;
        self.library.poll(self.now)
    }

    /// Polls for so long and collects what is reported.
    fn frames(&mut self, ms: u32) -> Vec<String> {
        (0..ms).filter_map(|_| self.frame()).map(|changes| in_words(&changes)).collect()
    }

    /// The next change set, in words.
    fn change(&mut self) -> String {
        let changes = (0..10_000).find_map(|_| self.frame());
        in_words(&changes.expect("no change was reported"))
    }

    fn nothing_happens(&mut self) {
        assert_eq!(self.frames(300), [""; 0]);
    }

    /// The next change set is this one, and no other follows.
    #[track_caller]
    fn changes_once(&mut self, expected: &str) {
        assert_eq!(self.change(), expected);
        self.nothing_happens();
        assert_eq!(self.library.watch_state(), WatchState::Events);
    }
}

/// `goblin 1 -> 2, +dragon 1, -shop, a => b 1, ?rat`.
fn in_words(changes: &ChangeSet) -> String {
    let words = changes.into_iter().map(|change| match &change.kind {
        ChangeKind::Modified { old, new } => format!("{} {} -> {}", change.name, old.version, new.version),
        ChangeKind::Added(new) => format!("+{} {}", change.name, new.version),
        ChangeKind::Removed => format!("-{}", change.name),
        ChangeKind::Renamed { from, source } => format!("{from} => {} {}", change.name, source.version),
        ChangeKind::Unreadable(_) => format!("?{}", change.name),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_project_is_read_from_its_two_folders() {
    let project = Project::new(&[
        ("scripts/goblin.luau", "return 1"),
        ("scripts/ai/util.luau", "return 2"),
        ("scripts/README.md", "no script"),
        ("scenes/arena.toml", "seed = 1"),
        ("scenes/old/arena.toml", "too deep"),
    ]);
    assert_eq!(project.library.scripts(), ["ai/util", "goblin"]);
    assert_eq!(project.library.scenes(), ["arena"]);
    let source = project.library.read("ai/util").unwrap();
    assert_eq!(source.path, project.path("ai/util.luau"));
    assert_eq!(&*project.library.scene("arena").unwrap().text, "seed = 1");
    assert_eq!(project.library.resolve("ai/util", "../goblin").unwrap(), "goblin");
}

#[test]
fn a_missing_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("scripts");
    let message = Library::open(&missing).err().unwrap().to_string();
    assert_eq!(message, format!("there is no folder `{}`", missing.display()));
    fs::write(&missing, "").unwrap();
    let message = Library::open(&missing).err().unwrap().to_string();
    assert_eq!(message, format!("`{}` is not a folder", missing.display()));
    let scenes = Library::builder().scripts(dir.path()).scenes(dir.path().join("scenes")).open();
    assert!(matches!(scenes.err(), Some(AssetError::NoFolder { path }) if path.ends_with("scenes")));
}

#[test]
fn s42_a_file_written_in_place_is_one_change() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.write("goblin.luau", "2");
    project.changes_once("goblin 1 -> 2");
    assert_eq!(project.text("goblin"), "2");
}

#[test]
fn s42_a_file_renamed_over_is_one_change_every_time() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    for version in 1..4 {
        project.write("goblin.luau.tmp", &format!("text {version}"));
        project.rename("goblin.luau.tmp", "goblin.luau");
        project.changes_once(&format!("goblin {version} -> {}", version + 1));
    }
}

#[test]
fn s42_a_save_by_vim_is_one_change() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.write(".goblin.luau.swp", "swap");
    project.write("4913", "");
    project.remove("4913");
    project.rename("goblin.luau", "goblin.luau~");
    project.write("goblin.luau", "2");
    project.remove("goblin.luau~");
    project.remove(".goblin.luau.swp");
    project.changes_once("goblin 1 -> 2");
}

#[test]
fn s43_a_file_emptied_and_written_later_is_never_seen_empty() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1"), ("scripts/shop.luau", "1")]);
    project.write("goblin.luau", "");
    project.write("shop.luau", "2");
    assert_eq!(project.frames(150), [""; 0]);
    project.write("goblin.luau", "2");
    project.changes_once("goblin 1 -> 2, shop 1 -> 2");
}

#[test]
fn s43_a_file_written_in_two_chunks_is_one_change() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.write("goblin.luau", "local half =");
    assert_eq!(project.frames(30), [""; 0]);
    project.write("goblin.luau", "local half = 1 return half");
    project.changes_once("goblin 1 -> 2");
    assert_eq!(project.text("goblin"), "local half = 1 return half");
}

#[test]
fn a_file_that_stays_empty_is_reported_as_empty() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.write("goblin.luau", "");
    project.changes_once("goblin 1 -> 2");
    assert_eq!(project.text("goblin"), "");
    project.write("new.luau", "");
    project.changes_once("+new 1");
}

#[test]
fn s44_a_touched_file_is_no_change() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1"), ("scripts/shop.luau", "1")]);
    project.write("goblin.luau", "1");
    let file = fs::File::options().write(true).open(project.path("goblin.luau")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    project.nothing_happens();
    project.write("shop.luau", "2");
    project.changes_once("shop 1 -> 2");
}

#[test]
fn s45_a_deleted_file_goes_and_comes_back() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.remove("goblin.luau");
    project.changes_once("-goblin");
    assert!(project.library.scripts().is_empty());
    assert_eq!(project.text("goblin"), "1", "what runs can still be read");
    project.write("goblin.luau", "2");
    project.changes_once("+goblin 2");
}

#[test]
fn s45_a_file_deleted_and_made_again_at_once_is_a_change_of_content_or_none() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.remove("goblin.luau");
    project.frames(100);
    project.write("goblin.luau", "1");
    project.nothing_happens();
    project.remove("goblin.luau");
    project.frames(100);
    project.write("goblin.luau", "2");
    project.changes_once("goblin 1 -> 2");
}

#[test]
fn s45_a_renamed_file_is_the_same_script() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.write("goblin.luau", "2");
    project.changes_once("goblin 1 -> 2");
    project.rename("goblin.luau", "hobgoblin.luau");
    project.changes_once("goblin => hobgoblin 2");
    let error = project.library.read("goblin").unwrap_err().to_string();
    assert_eq!(error, "there is no script `goblin`; did you mean `hobgoblin`?");
    project.write("hobgoblin.luau", "3");
    project.changes_once("hobgoblin 2 -> 3");
}

#[test]
fn s45_a_renamed_folder_takes_its_scripts_along_and_is_watched_on() {
    let mut project = Project::new(&[("scripts/ai/a.luau", "1"), ("scripts/ai/deep/b.luau", "2")]);
    project.rename("ai", "brains");
    project.changes_once("ai/a => brains/a 1, ai/deep/b => brains/deep/b 1");
    project.write("brains/deep/b.luau", "3");
    project.changes_once("brains/deep/b 1 -> 2");
}

#[test]
fn a_new_folder_is_watched_with_all_in_it() {
    let mut project = Project::new(&[]);
    project.write("new/deep/a.luau", "1");
    project.changes_once("+new/deep/a 1");
    project.write("new/deep/a.luau", "2");
    project.changes_once("new/deep/a 1 -> 2");
    fs::remove_dir_all(project.path("new")).unwrap();
    project.changes_once("-new/deep/a");
}

#[test]
fn s42_many_files_saved_together_are_one_change_set() {
    let mut project = Project::new(&[("scripts/goblin.luau", "0"), ("scenes/arena.toml", "seed = 1")]);
    for number in 0..200 {
        project.write(&format!("wave/m{number:03}.luau"), &format!("return {number}"));
    }
    project.write("goblin.luau", "1");
    fs::write(project.dir.path().join("scenes/arena.toml"), "seed = 2").unwrap();
    let added: Vec<String> = (0..200).map(|number| format!("+wave/m{number:03} 1")).collect();
    project.changes_once(&format!("arena 1 -> 2, goblin 1 -> 2, {}", added.join(", ")));
}

#[test]
fn an_unreadable_file_is_reported_and_the_last_text_stays() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    fs::write(project.path("goblin.luau"), b"\xff\xfe").unwrap();
    project.changes_once("?goblin");
    assert_eq!(project.text("goblin"), "1");
    project.write("goblin.luau", "2");
    project.changes_once("goblin 1 -> 2");

    fs::write(project.path("bad.luau"), b"-- ok\n\xff").unwrap();
    project.changes_once("?bad");
    let message = project.library.read("bad").unwrap_err().to_string();
    assert!(message.contains("bad.luau:2: not UTF-8 text"), "{message}");
    project.write("bad.luau", "good");
    project.changes_once("+bad 1");
}

#[test]
fn litter_and_other_files_are_no_change() {
    let mut project = Project::new(&[]);
    for litter in [".#a.luau", "a.luau~", "a.luau.swp", "#a.luau#", "README.md", ".git/x.luau", "x.toml"] {
        project.write(litter, "litter");
    }
    project.nothing_happens();
}

#[test]
fn what_changed_before_the_watch_began_is_reported() {
    let mut project =
        Project::opened(&[("scripts/goblin.luau", "1")], |dir| Library::open(dir.join("scripts")).unwrap());
    let library = Library::open(project.dir.path().join("scripts")).unwrap();
    project.write("goblin.luau", "2");
    library.watch();
    project.library = library;
    project.changes_once("goblin 1 -> 2");
}

#[test]
fn a_library_that_watches_nothing_looks_when_told_to() {
    let mut project =
        Project::opened(&[("scripts/goblin.luau", "1")], |dir| Library::open(dir.join("scripts")).unwrap());
    project.library = Library::open(project.dir.path().join("scripts")).unwrap();
    project.write("goblin.luau", "2");
    project.nothing_happens();
    project.library.rescan();
    assert_eq!(project.change(), "goblin 1 -> 2");
}

#[test]
fn s46_polling_finds_what_events_would_tell() {
    let mut project = Project::opened(&[("scripts/goblin.luau", "1"), ("scripts/ai/a.luau", "2")], |dir| {
        Library::builder().scripts(dir.join("scripts")).polling().open().unwrap()
    });
    assert!(matches!(project.library.watch_state(), WatchState::Polling(_)));
    assert_eq!(project.library.take_warning(), None, "it was asked for");
    project.write("goblin.luau", "2");
    assert_eq!(project.change(), "goblin 1 -> 2");
    project.rename("ai", "brains");
    assert_eq!(project.change(), "ai/a => brains/a 1");
    project.remove("goblin.luau");
    assert_eq!(project.change(), "-goblin");
}

#[test]
fn s46_a_system_that_cannot_watch_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let scripts = dir.path().join("scripts");
    fs::create_dir(&scripts).unwrap();
    let library = Library::open(&scripts).unwrap();
    fs::remove_dir(&scripts).unwrap();
    assert!(matches!(library.watch(), WatchState::Polling(_)));
    let warning = library.take_warning().unwrap();
    assert_eq!(warning.code, "RL301");
    assert!(warning.message.contains("refuses to watch"), "{warning:?}");
    assert_eq!(library.take_warning(), None);

    fs::create_dir(&scripts).unwrap();
    fs::write(scripts.join("late.luau"), "1").unwrap();
    let mut project = Project { dir, library, now: Instant::now() };
    assert_eq!(project.change(), "+late 1");
}

#[test]
fn a_text_set_in_place_of_a_file_holds_until_the_file_is_saved_anew() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    project.write("goblin.luau", "2");
    project.changes_once("goblin 1 -> 2");
    project.library.set("goblin", "1");
    project.changes_once("goblin 2 -> 3");
    project.write("goblin.luau", "2");
    project.library.rescan();
    project.nothing_happens();
    assert_eq!(project.text("goblin"), "1");
    project.write("goblin.luau", "4");
    project.changes_once("goblin 3 -> 4");
}

#[test]
fn a_scripts_folder_that_was_replaced_is_still_followed() {
    let mut project = Project::new(&[("scripts/goblin.luau", "1")]);
    fs::remove_dir_all(project.path("")).unwrap();
    project.write("goblin.luau", "2");
    assert_eq!(project.change(), "goblin 1 -> 2");
    project.write("goblin.luau", "3");
    assert_eq!(project.change(), "goblin 2 -> 3");
}

#[cfg(unix)]
#[test]
fn a_folder_given_by_a_link_is_watched() {
    let mut project = Project::opened(&[("scripts/goblin.luau", "1")], |dir| {
        std::os::unix::fs::symlink("scripts", dir.join("link")).unwrap();
        Library::open(dir.join("link")).unwrap()
    });
    assert!(project.library.read("goblin").unwrap().path.ends_with("link/goblin.luau"));
    project.write("goblin.luau", "2");
    project.changes_once("goblin 1 -> 2");
}

#[cfg(unix)]
#[test]
fn a_linked_file_is_followed_by_the_sweep_without_a_warning() {
    let mut project = Project::opened(&[("shared.luau", "1")], |dir| {
        std::os::unix::fs::symlink("../shared.luau", dir.join("scripts/shared.luau")).unwrap();
        Library::open(dir.join("scripts")).unwrap()
    });
    fs::write(project.dir.path().join("shared.luau"), "2").unwrap();
    assert_eq!(project.change(), "shared 1 -> 2");
    project.frames(600);
    assert_eq!(project.library.watch_state(), WatchState::Events);
}
