//! Being told of changes by the system, and finding those of which it does not tell.
//!
//! Two threads put what they find into an inbox that a poll empties: `notify`'s own one hears of events, ours
//! sweeps through the folders when asked to. Neither knows the time or reads a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind},
};
use serde::Serialize;

use crate::{
    folder::{Folder, Hint, Listing},
    name::Key,
};

/// How often to sweep when events come too: they can be lost.
const SAFETY_SWEEP: Duration = Duration::from_secs(2);
/// How often to sweep when there is nothing else.
const POLLING_SWEEP: Duration = Duration::from_millis(500);
/// How late an event may come for a change that a sweep has found.
const LATE: Duration = Duration::from_millis(500);

/// How the library learns of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum WatchState {
    /// It does not: [`Library::watch`](crate::Library::watch) was not called, or there is no folder.
    Off,
    /// The system tells of them, and a sweep every 2 s finds what it left out.
    Events,
    /// A sweep every 0.5 s finds them. Holds the reason why it isn't `Events`.
    Polling(String),
}

/// Tells that watching has become slower than it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WatchWarning {
    /// The code in reports: `RL301`.
    pub code: &'static str,
    /// What happened and what it means.
    pub message: String,
}

/// What has come in since the last poll. Sets, so that it stays small if nobody polls.
#[derive(Default)]
pub(crate) struct News {
    pub hints: BTreeSet<Hint>,
    /// Events were lost; anything may have changed.
    lost: bool,
    pub listings: Option<Vec<Listing>>,
    /// What the listings show could not have been told by events.
    pub excused: bool,
    /// Events won't come from here on.
    trouble: Option<String>,
}

#[derive(Default)]
struct Inbox {
    /// Spares the poll of a frame without news the lock.
    has_news: AtomicBool,
    news: Mutex<News>,
}

impl Inbox {
    fn put(&self, put: impl FnOnce(&mut News)) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut news);
        self.has_news.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<News> {
        let has_news = self.has_news.swap(false, Ordering::Acquire);
        has_news.then(|| std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Watches the folders of a library.
pub(crate) struct Watch {
    state: WatchState,
    warning: Option<WatchWarning>,
    inbox: Arc<Inbox>,
    folders: Arc<[Folder]>,
    /// Dropping it ends the events.
    events: Option<RecommendedWatcher>,
    /// Asks the sweeping thread for a sweep; dropping it ends the thread.
    sweeper: Option<mpsc::Sender<()>>,
    is_sweeping: bool,
    next_sweep: Option<Instant>,
    /// So many of the next sweeps may find what no event has told.
    excused_sweeps: u32,
    /// The changes of which only a sweep told, and until when an event may still come for them.
    unannounced: BTreeMap<Key, Instant>,
}

impl Watch {
    /// Starts to watch. If the system refuses, only sweeps remain.
    pub fn start(folders: Arc<[Folder]>, with_events: bool) -> Self {
        let inbox = Arc::new(Inbox::default());
        let mut watch = Watch {
            state: WatchState::Events,
            warning: None,
            events: None,
            sweeper: start_sweeper(folders.clone(), inbox.clone()),
            inbox,
            folders,
            is_sweeping: false,
            next_sweep: None,
            // Nobody listened until now.
            excused_sweeps: 1,
            unannounced: BTreeMap::new(),
        };
        if !with_events {
            watch.state = WatchState::Polling("it was asked for".into());
            return watch;
        }
        match listen(&watch.folders, &watch.inbox) {
            Ok(events) => watch.events = Some(events),
            Err(error) => watch.fall_back(format!("the system refuses to watch the folders: {error}")),
        }
        watch
    }

    pub fn state(&self) -> &WatchState {
        &self.state
    }

    pub fn take_warning(&mut self) -> Option<WatchWarning> {
        self.warning.take()
    }

    /// Empties the inbox, and has the folders swept if it is time. Costs next to nothing otherwise.
    pub fn news(&mut self, now: Instant) -> Option<News> {
        if !self.is_sweeping && self.next_sweep.is_none_or(|next| now >= next) {
            let every = if self.state == WatchState::Events { SAFETY_SWEEP } else { POLLING_SWEEP };
            self.next_sweep = Some(now + every);
            self.is_sweeping = true;
            self.sweep();
        }
        let mut news = self.inbox.take()?;
        if news.listings.is_some() {
            self.is_sweeping = false;
            news.excused = self.excused_sweeps > 0;
            self.excused_sweeps = self.excused_sweeps.saturating_sub(1);
        }
        if news.lost {
            // A sweep under way may have been too early.
            self.excused_sweeps = 1 + u32::from(self.is_sweeping);
            self.unannounced.clear();
            self.sweep_soon();
        }
        self.unannounced.retain(|key, _| !Hint::about(key).any(|hint| news.hints.contains(&hint)));
        if let Some(trouble) = news.trouble.take() {
            self.fall_back(trouble);
        }
        Some(news)
    }

    /// Makes the next call for news sweep.
    pub fn sweep_soon(&mut self) {
        self.next_sweep = None;
    }

    fn sweep(&self) {
        let asked = self.sweeper.as_ref().is_some_and(|sweeper| sweeper.send(()).is_ok());
        if !asked {
            sweep(&self.folders, &self.inbox);
        }
    }

    /// Takes note of a change that only a sweep found.
    pub fn found_unannounced(&mut self, key: Key, now: Instant) {
        if self.state == WatchState::Events {
            self.unannounced.entry(key).or_insert(now + LATE);
        }
    }

    /// Stops relying on events if one has failed to come.
    pub fn check(&mut self, now: Instant) {
        let overdue = self.unannounced.iter().find(|(_, until)| now >= **until);
        if let Some((key, _)) = overdue {
            let reason = format!("the system did not tell that {} `{}` has changed", key.asset, key.name);
            self.fall_back(reason);
        }
    }

    fn fall_back(&mut self, reason: String) {
        self.unannounced.clear();
        if self.state != WatchState::Events {
            return;
        }
        let message =
            format!("{reason}; looking through the folders every {} ms instead", POLLING_SWEEP.as_millis());
        tracing::warn!(code = "RL301", "{message}");
        self.warning = Some(WatchWarning { code: "RL301", message });
        self.state = WatchState::Polling(reason);
        self.next_sweep = None;
    }

    /// Makes the system silent, as it is on network drives.
    #[cfg(test)]
    pub fn deafen(&mut self) {
        self.events = None;
    }
}

/// Starts the events. It is folders that are watched, not files: a watch on a file goes with the file when an
/// editor puts another in its place.
fn listen(folders: &Arc<[Folder]>, inbox: &Arc<Inbox>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = {
        let (folders, inbox) = (folders.clone(), inbox.clone());
        notify::recommended_watcher(move |event| hear(event, &folders, &inbox))?
    };
    for (place, folder) in folders.iter().enumerate() {
        // A second watch on the same folder would replace the first.
        let around = folders.iter().enumerate().any(|(other_place, other)| {
            folder.canonical.starts_with(&other.canonical)
                && (folder.canonical != other.canonical || other_place < place)
        });
        if !around {
            watcher.watch(&folder.canonical, RecursiveMode::Recursive)?;
        }
    }
    Ok(watcher)
}

fn hear(event: notify::Result<Event>, folders: &[Folder], inbox: &Inbox) {
    let event = match event {
        Ok(event) => event,
        Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
            inbox.put(|news| news.trouble = Some(format!("a new folder can't be watched: {error}")));
            return;
        }
        Err(_) => {
            inbox.put(|news| news.lost = true);
            return;
        }
    };
    if event.need_rescan() {
        inbox.put(|news| news.lost = true);
    }
    if !is_hint(event.kind) {
        return;
    }
    let is_file = matches!(
        event.kind,
        EventKind::Create(CreateKind::File)
            | EventKind::Remove(RemoveKind::File)
            | EventKind::Modify(ModifyKind::Data(_))
            | EventKind::Access(_)
    );
    let hints: Vec<Hint> = event
        .paths
        .iter()
        .flat_map(|path| folders.iter().filter_map(move |folder| folder.hint(path, is_file)))
        .collect();
    if !hints.is_empty() {
        inbox.put(|news| news.hints.extend(hints));
    }
}

/// Whether something may have changed. To read a file is to open and close it, so those events would never
/// end.
fn is_hint(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Starts the thread that sweeps: on a slow drive that takes longer than a frame may.
fn start_sweeper(folders: Arc<[Folder]>, inbox: Arc<Inbox>) -> Option<mpsc::Sender<()>> {
    let (sender, asked) = mpsc::channel();
    let thread = std::thread::Builder::new().name("bluetick-sweep".into());
    let started = thread.spawn(move || {
        while asked.recv().is_ok() {
            sweep(&folders, &inbox);
        }
    });
    started.is_ok().then_some(sender)
}

fn sweep(folders: &[Folder], inbox: &Inbox) {
    let listings = folders.iter().map(Folder::list).collect();
    inbox.put(|news| news.listings = Some(listings));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Asset;
    use notify::event::{DataChange, Flag, RenameMode};
    use std::path::PathBuf;

    fn heard(kind: EventKind, file: &str) -> Option<News> {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(Asset::Script, dir.path().into()).unwrap();
        let inbox = Inbox::default();
        let event = Event::new(kind).add_path(folder.canonical.join(file));
        hear(Ok(event), &[folder], &inbox);
        inbox.take()
    }

    #[test]
    fn reading_and_litter_are_no_news() {
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(heard(written, "a.luau").is_some());
        assert!(heard(EventKind::Modify(ModifyKind::Name(RenameMode::To)), "ai").is_some());
        assert!(heard(EventKind::Modify(ModifyKind::Data(DataChange::Any)), "log.txt").is_none());
        assert!(heard(EventKind::Access(AccessKind::Open(AccessMode::Any)), "a.luau").is_none());
        assert!(heard(EventKind::Access(AccessKind::Close(AccessMode::Read)), "a.luau").is_none());
        for litter in ["4913", ".a.luau.swp", ".a.luau.swx", "a.luau~", ".#a.luau", ".git/index"] {
            assert!(heard(EventKind::Create(CreateKind::Any), litter).is_none(), "{litter}");
        }
    }

    #[test]
    fn an_overflow_or_an_error_means_that_anything_may_have_changed() {
        let inbox = Inbox::default();
        hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &[], &inbox);
        assert!(inbox.take().unwrap().lost);
        hear(Err(notify::Error::generic("what?")), &[], &inbox);
        assert!(inbox.take().unwrap().lost);
        assert!(inbox.take().is_none());
    }

    #[test]
    fn lost_events_are_made_up_for_by_a_sweep_that_blames_nobody() {
        let mut watch = Watch::start(Arc::new([]), true);
        let now = Instant::now();
        let sweep = |watch: &mut Watch| loop {
            match watch.news(now) {
                Some(news) if news.listings.is_some() => return news.excused,
                _ => std::thread::yield_now(),
            }
        };
        assert!(sweep(&mut watch), "the first finds what happened before");
        watch.sweep_soon();
        assert!(!sweep(&mut watch));
        watch.inbox.put(|news| news.lost = true);
        assert!(sweep(&mut watch));
    }

    #[test]
    fn a_limit_reached_later_on_falls_back_once() {
        let mut watch = Watch::start(Arc::new([]), true);
        assert_eq!(*watch.state(), WatchState::Events);
        let now = Instant::now();
        for _ in 0..2 {
            let error = notify::Error::new(notify::ErrorKind::MaxFilesWatch).add_path(PathBuf::from("ai"));
            hear(Err(error), &[], &watch.inbox);
            watch.news(now);
        }
        assert!(matches!(watch.state(), WatchState::Polling(reason) if reason.contains("can't be watched")));
        assert_eq!(watch.take_warning().unwrap().code, "RL301");
        assert_eq!(watch.take_warning(), None);
    }
}
