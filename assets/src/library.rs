//! The library: all of the above put together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    Asset, AssetError, AssetName, ChangeSet, ContentHash, Source, WatchState, WatchWarning,
    catalog::{Catalog, Look},
    debounce::{Believed, Debouncer, Origin, Trust},
    folder::{Folder, Hint, Listing, Stamp},
    graph::Graph,
    name::Key,
    watch::Watch,
};

/// The scripts and scenes of a project, as they were at the last [`poll`](Library::poll).
///
/// It is a handle: clones speak of the same library, and it may be used from several threads.
#[derive(Clone)]
pub struct Library {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    catalog: Catalog,
    graph: Graph,
    folders: Arc<[Folder]>,
    /// Each file as it was when last read, whatever was put in its place since.
    seen: BTreeMap<Key, Seen>,
    debouncer: Debouncer,
    /// Texts put in place by [`Library::set`] and not yet reported.
    set: BTreeMap<Key, Look>,
    /// The next poll is to take everything as hinted at.
    rescan: bool,
    with_events: bool,
    watch: Option<Watch>,
}

struct Seen {
    stamp: Stamp,
    /// The stamp was too new to tell the next write from the last.
    was_fresh: bool,
    /// Of its text, if it could be read.
    hash: Option<ContentHash>,
}

/// Says where the files of a library are. See [`Library::builder`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    scripts: Option<PathBuf>,
    scenes: Option<PathBuf>,
    polling: bool,
}

impl Builder {
    /// Takes scripts from `*.luau` in this folder and all below it.
    pub fn scripts(mut self, folder: impl Into<PathBuf>) -> Self {
        self.scripts = Some(folder.into());
        self
    }

    /// Takes scenes from `*.toml` in this folder, and not from those below it.
    pub fn scenes(mut self, folder: impl Into<PathBuf>) -> Self {
        self.scenes = Some(folder.into());
        self
    }

    /// Makes [`Library::watch`] do without the system's events: it looks through the folders every 0.5 s, in
    /// a thread of its own. For drives on which events are known to fail.
    pub fn polling(mut self) -> Self {
        self.polling = true;
        self
    }

    /// Reads all files.
    ///
    /// A file that can't be read is no error here, but one when it is [read](Library::read).
    ///
    /// # Errors
    ///
    /// A folder that is missing, is no folder, or can't be listed.
    pub fn open(self) -> Result<Library, AssetError> {
        let given = [(Asset::Script, self.scripts), (Asset::Scene, self.scenes)];
        let given = given.into_iter().filter_map(|(asset, root)| Some((asset, root?)));
        let folders = given.map(|(asset, root)| Folder::open(asset, root)).collect::<Result<_, _>>()?;
        let mut state = State { folders, with_events: !self.polling, ..State::default() };
        state.read_all();
        Ok(Library::new(state))
    }
}

impl Library {
    fn new(state: State) -> Self {
        Library { shared: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all scripts below the folder `root`.
    ///
    /// # Errors
    ///
    /// The folder is missing, is no folder, or can't be listed.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, AssetError> {
        Library::builder().scripts(root).open()
    }

    /// Opens a library with scenes too.
    ///
    /// ```no_run
    /// # use bluetick_assets::Library;
    /// let library = Library::builder().scripts("game/scripts").scenes("game/scenes").open()?;
    /// # Ok::<(), bluetick_assets::AssetError>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes a library of scripts that lie in no folder. [`set`](Library::set) changes them.
    pub fn in_memory<N: Into<AssetName>, T: AsRef<str>>(scripts: impl IntoIterator<Item = (N, T)>) -> Self {
        let mut state = State::default();
        for (name, text) in scripts {
            state.set.insert(Key::new(Asset::Script, name), Look::Text(text.as_ref().into()));
        }
        let set = std::mem::take(&mut state.set);
        state.apply(set);
        Library::new(state)
    }

    /// The names of all scripts that there are, in order.
    pub fn scripts(&self) -> Vec<AssetName> {
        self.lock().catalog.names(Asset::Script).cloned().collect()
    }

    /// The names of all scenes that there are, in order.
    pub fn scenes(&self) -> Vec<AssetName> {
        self.lock().catalog.names(Asset::Scene).cloned().collect()
    }

    /// Returns a script as it was at the last poll. No file is read for that.
    ///
    /// Of a file that has been deleted or can't be read any more this is the last good content.
    ///
    /// # Errors
    ///
    /// [`NotFound`](AssetError::NotFound) if there never was such a script or it has been renamed;
    /// [`Unreadable`](AssetError::Unreadable) or [`NotUtf8`](AssetError::NotUtf8) if it never could be read.
    pub fn read(&self, name: impl Into<AssetName>) -> Result<Arc<Source>, AssetError> {
        self.lock().catalog.read(&Key::new(Asset::Script, name))
    }

    /// Returns a scene as [`read`](Library::read) does a script.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Library::read).
    pub fn scene(&self, name: impl Into<AssetName>) -> Result<Arc<Source>, AssetError> {
        self.lock().catalog.read(&Key::new(Asset::Scene, name))
    }

    /// Finds the script that `require(specifier)` means in the script `requiring`: `./` and `../` start in
    /// the folder of `requiring`, `@scripts/` at the top. Where there is no script `x`, `x/init` is meant.
    ///
    /// # Errors
    ///
    /// The specifier is [invalid](AssetError::InvalidSpecifier), names [nothing](AssetError::NoModule), or
    /// names [both a file and a folder](AssetError::Ambiguous).
    pub fn resolve(&self, requiring: impl Into<AssetName>, specifier: &str) -> Result<AssetName, AssetError> {
        self.lock().catalog.resolve(&requiring.into(), specifier)
    }

    /// Takes note that `name` requires `on`, besides what it is known to require.
    pub fn depends(&self, name: impl Into<AssetName>, on: impl Into<AssetName>) {
        self.lock().graph.depends(name.into(), on.into());
    }

    /// Takes note that `name` requires `on` and nothing else.
    pub fn record_dependencies<N: Into<AssetName>>(
        &self,
        name: impl Into<AssetName>,
        on: impl IntoIterator<Item = N>,
    ) {
        self.lock().graph.record(name.into(), on.into_iter().map(Into::into));
    }

    /// What `name` itself requires, in the order of the names.
    pub fn dependencies(&self, name: impl AsRef<str>) -> Vec<AssetName> {
        self.lock().graph.dependencies(name.as_ref())
    }

    /// All scripts that require `name` or one that does, each after all that it requires; the order is the
    /// same in every run.
    pub fn dependents(&self, name: impl AsRef<str>) -> Vec<AssetName> {
        self.lock().graph.dependents(name.as_ref())
    }

    /// These scripts and all their [dependents](Library::dependents) in one such order: what to run again,
    /// and when, after these have changed.
    pub fn affected<N: Into<AssetName>>(&self, names: impl IntoIterator<Item = N>) -> Vec<AssetName> {
        self.lock().graph.affected(names.into_iter().map(Into::into))
    }

    /// Starts to watch the folders. What changed since they were read is reported too.
    ///
    /// Where the system can't watch them they are looked through instead, every 0.5 s and in a thread of its
    /// own. The state returned says so, and so does a [warning](Library::take_warning).
    pub fn watch(&self) -> WatchState {
        let state = &mut *self.lock();
        if state.watch.is_none() && !state.folders.is_empty() {
            state.watch = Some(Watch::start(state.folders.clone(), state.with_events));
        }
        state.watch_state()
    }

    /// How changes are found at present.
    pub fn watch_state(&self) -> WatchState {
        self.lock().watch_state()
    }

    /// Returns, once, the warning RL301: the system does not tell of changes, and the library has gone over
    /// to [`Polling`](WatchState::Polling). It is logged as well.
    pub fn take_warning(&self) -> Option<WatchWarning> {
        self.lock().watch.as_mut()?.take_warning()
    }

    /// Has all files compared with what is on disk, now and watched or not; the polls to come report what
    /// differs. A good moment is when the window gets the focus.
    pub fn rescan(&self) {
        let state = &mut *self.lock();
        match &mut state.watch {
            Some(watch) => watch.sweep_soon(),
            None => state.rescan = true,
        }
    }

    /// Returns what has changed, if something has. To be called once a frame with the time; it does not wait,
    /// and costs next to nothing when there is nothing to tell.
    ///
    /// A save is reported when its files have been quiet for 60 ms, at most 400 ms after it began. If a file
    /// is then empty, gone or unreadable, it and all that was saved with it are read again 150 ms later.
    pub fn poll(&self, now: Instant) -> Option<ChangeSet> {
        let state = &mut *self.lock();
        state.hear(now);
        let believed = state.look(now);
        let mut looks = believed.as_ref().map_or_else(BTreeMap::new, |believed| believed.looks.clone());
        looks.append(&mut state.set);
        let changes = if looks.is_empty() { ChangeSet::default() } else { state.apply(looks) };
        if let Some(believed) = believed {
            state.notice_silence(&changes, &believed, now);
        }
        if let Some(watch) = &mut state.watch {
            watch.check(now);
        }
        (!changes.changes.is_empty()).then_some(changes)
    }

    /// Compares all files with what is on disk and returns at once what differs, with what a poll would return: for
    /// when somebody says that all is saved. A file that is being written, or is empty or gone and was not before,
    /// is left to the polls to come, which look twice.
    pub fn look_now(&self) -> Option<ChangeSet> {
        let state = &mut *self.lock();
        let mut looks = BTreeMap::new();
        for folder in state.folders.clone().iter() {
            let listing = folder.list();
            let hints = state.differences(&listing);
            let keys: BTreeSet<Key> = state.seen.keys().chain(listing.files.keys()).cloned().collect();
            for key in keys.into_iter().filter(|key| key.asset == folder.asset) {
                if !hints.iter().any(|hint| hint.covers(&key)) {
                    continue;
                }
                let (look, stamp) = match listing.files.contains_key(&key) {
                    true => folder.look(&key.name),
                    false => (Look::Gone, Stamp::default()),
                };
                if matches!(look, Look::InMotion) || state.catalog.doubts(&key, &look) {
                    state.debouncer.hint(Hint::of(&key), Origin::Event, Instant::now());
                } else if state.notice(&key, &look, stamp) {
                    looks.insert(key, look);
                }
            }
        }
        looks.append(&mut state.set);
        let changes = if looks.is_empty() { ChangeSet::default() } else { state.apply(looks) };
        (!changes.changes.is_empty()).then_some(changes)
    }

    /// Puts a text in the place of a script's; the next poll reports it. It needs no file, and no time of
    /// quiet.
    ///
    /// If there is a file, it stays as it is, and takes its place back when it is saved with another content
    /// than before.
    pub fn set(&self, name: impl Into<AssetName>, text: impl AsRef<str>) {
        self.lock().set.insert(Key::new(Asset::Script, name), Look::Text(text.as_ref().into()));
    }

    /// Puts a text in the place of a scene's, as [`set`](Library::set) does for scripts.
    pub fn set_scene(&self, name: impl Into<AssetName>, text: impl AsRef<str>) {
        self.lock().set.insert(Key::new(Asset::Scene, name), Look::Text(text.as_ref().into()));
    }

    /// Takes a script away, as if its file had been deleted; the next poll reports it.
    pub fn remove(&self, name: impl Into<AssetName>) {
        self.lock().set.insert(Key::new(Asset::Script, name), Look::Gone);
    }
}

impl State {
    fn folder(&self, asset: Asset) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.asset == asset)
    }

    fn watch_state(&self) -> WatchState {
        self.watch.as_ref().map_or(WatchState::Off, |watch| watch.state().clone())
    }

    /// The first reading. There is nothing yet to be careful about.
    fn read_all(&mut self) {
        let mut looks = BTreeMap::new();
        for folder in self.folders.clone().iter() {
            let listing = folder.list();
            for (_, error) in &listing.unlisted {
                tracing::warn!("{error}");
            }
            for key in listing.files.into_keys() {
                let (look, stamp) = folder.look(&key.name);
                if self.notice(&key, &look, stamp) {
                    looks.insert(key, look);
                }
            }
        }
        self.apply(looks);
    }

    /// Turns what was heard and swept up since the last poll into hints.
    fn hear(&mut self, now: Instant) {
        if let Some(news) = self.watch.as_mut().and_then(|watch| watch.news(now)) {
            for hint in news.hints {
                self.debouncer.hint(hint, Origin::Event, now);
            }
            let origin = if news.excused { Origin::Event } else { Origin::Sweep };
            for listing in news.listings.iter().flatten() {
                for hint in self.differences(listing) {
                    self.debouncer.hint(hint, origin, now);
                }
            }
        }
        if std::mem::take(&mut self.rescan) {
            for folder in self.folders.iter() {
                self.debouncer.hint(Hint::all(folder.asset), Origin::Sweep, now);
            }
        }
    }

    /// The files whose stamps a sweep found to be other than when they were read.
    fn differences(&self, listing: &Listing) -> Vec<Hint> {
        let changed = listing.files.iter().filter(|(key, stamp)| {
            let seen = self.seen.get(key);
            seen.is_none_or(|seen| seen.stamp != **stamp || seen.was_fresh)
        });
        let missing = self.seen.keys().filter(|key| {
            let is_missing = key.asset == listing.asset && !listing.files.contains_key(key);
            is_missing && !listing.unlisted.iter().any(|(hint, _)| hint.covers(key))
        });
        let unlisted = listing.unlisted.iter().map(|(hint, _)| hint.clone());
        changed.map(|(key, _)| key).chain(missing).map(Hint::of).chain(unlisted).collect()
    }

    /// Looks at what has been hinted at, if it is time, and returns what may be believed and is new.
    fn look(&mut self, now: Instant) -> Option<Believed<Look>> {
        if !self.debouncer.is_due(now) {
            return None;
        }
        let mut looks = BTreeMap::new();
        for folder in self.folders.iter() {
            // The list decides on what there is: asked by name, some file systems say yes to another case
            // too.
            let listing = folder.list();
            let known = self.seen.keys().filter(|key| key.asset == folder.asset);
            let all: BTreeSet<&Key> = known.chain(listing.files.keys()).collect();
            for key in all.into_iter().filter(|key| self.debouncer.is_hinted_at(key)) {
                let unlisted = listing.unlisted.iter().find(|(hint, _)| hint.covers(key));
                let (look, stamp) = match unlisted {
                    _ if listing.files.contains_key(key) => folder.look(&key.name),
                    Some((_, error)) => (Look::Unreadable(error.clone()), Stamp::default()),
                    None => (Look::Gone, Stamp::default()),
                };
                let trust = match look {
                    Look::InMotion => Trust::Torn,
                    _ if self.catalog.doubts(key, &look) => Trust::Doubtful,
                    _ => Trust::Sure,
                };
                looks.insert(key.clone(), (trust, (look, stamp)));
            }
        }
        let believed = self.debouncer.judge(looks, now)?;
        Some(believed.filter_map(|key, (look, stamp)| self.notice(key, &look, stamp).then_some(look)))
    }

    /// Remembers how a file was found, and says whether that is another content than before.
    fn notice(&mut self, key: &Key, look: &Look, stamp: Stamp) -> bool {
        let hash = match look {
            Look::InMotion => return false,
            Look::Gone => {
                self.seen.remove(key);
                return true;
            }
            Look::Text(text) => Some(ContentHash::of(text)),
            Look::Unreadable(_) => None,
        };
        let before = self.seen.insert(key.clone(), Seen { stamp, was_fresh: stamp.is_fresh(), hash });
        hash.is_none() || before.is_none_or(|before| before.hash != hash)
    }

    fn apply(&mut self, looks: BTreeMap<Key, Look>) -> ChangeSet {
        let folders = self.folders.clone();
        self.catalog.apply(looks.into_iter().map(|(key, look)| {
            let folder = folders.iter().find(|folder| folder.asset == key.asset);
            let path = folder.map_or_else(|| key.file().into(), |folder| folder.path(&key.name));
            (key, path, look)
        }))
    }

    /// Tells the watch which changes on disk it should have heard of and has not.
    fn notice_silence(&mut self, changes: &ChangeSet, believed: &Believed<Look>, now: Instant) {
        for change in changes {
            let key = Key::new(change.asset, &change.name);
            if believed.looks.contains_key(&key)
                && !believed.was_announced(&key)
                && self.folder(key.asset).is_some_and(|folder| folder.is_direct(&key.name))
                && let Some(watch) = &mut self.watch
            {
                watch.found_unannounced(key, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChangeKind;
    use std::{fs, thread, time::Duration};

    /// A watched script and the clock of its test, which is never ahead of the world's.
    struct Watched {
        dir: tempfile::TempDir,
        library: Library,
        now: Instant,
    }

    impl Watched {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("a.luau"), "1").unwrap();
            let library = Library::open(dir.path()).unwrap();
            assert_eq!(library.watch(), WatchState::Events);
            let mut watched = Watched { dir, library, now: Instant::now() };
            // The first look at everything, of which no event can have told.
            watched.frames(200);
            watched
        }

        fn frame(&mut self) -> Option<ChangeSet> {
            thread::park_timeout(Duration::from_millis(1));
            self.now += Duration::from_millis(1);
            self.library.poll(self.now)
        }

        fn frames(&mut self, count: usize) {
            (0..count).for_each(|_| assert!(self.frame().is_none()));
        }

        /// Saves the script and returns the text of which the library then tells.
        fn save(&mut self, text: &str) -> Arc<str> {
            fs::write(self.dir.path().join("a.luau"), text).unwrap();
            let changes = (0..10_000).find_map(|_| self.frame()).expect("the change was not found");
            let ChangeKind::Modified { new, .. } = &changes.changes[0].kind else { panic!("{changes:?}") };
            new.text.clone()
        }
    }

    #[test]
    fn s46_a_change_of_which_the_system_does_not_tell_is_found_and_warned_of_once() {
        let mut watched = Watched::new();
        watched.library.lock().watch.as_mut().unwrap().deafen();

        assert_eq!(&*watched.save("22"), "22");
        assert_eq!(watched.library.watch_state(), WatchState::Events, "the event may only be late");
        watched.frames(600);
        assert!(matches!(watched.library.watch_state(), WatchState::Polling(_)));
        let warning = watched.library.take_warning().unwrap();
        assert_eq!(warning.code, "RL301");
        assert!(warning.message.contains("script `a`"), "{warning:?}");

        assert_eq!(&*watched.save("333"), "333");
        watched.frames(600);
        assert_eq!(watched.library.take_warning(), None);
    }

    #[test]
    fn a_system_that_tells_is_relied_upon() {
        let mut watched = Watched::new();
        for text in ["22", "333", "4444"] {
            assert_eq!(&*watched.save(text), text);
        }
        watched.frames(2600);
        assert_eq!(watched.library.watch_state(), WatchState::Events);
        assert_eq!(watched.library.take_warning(), None);
    }

    #[test]
    fn a_sweep_rereads_a_file_whose_stamp_was_too_new_to_tell() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.luau"), "1").unwrap();
        let library = Library::open(dir.path()).unwrap();
        let mut state = library.lock();
        state.seen.values_mut().for_each(|seen| seen.was_fresh = true);
        let listing = state.folders[0].list();
        assert_eq!(state.differences(&listing).len(), 1);
        state.seen.values_mut().for_each(|seen| seen.was_fresh = false);
        assert_eq!(state.differences(&listing).len(), 0);
    }
}
