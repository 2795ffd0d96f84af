//! When to look at what, and when to believe it: hints and times in, trusted looks out.
//!
//! A save is a burst of events, and reading in its middle finds nothing, half of the text, or no file. So a
//! batch of hints is looked at once it has been quiet for [`QUIET`], or [`AT_MOST`] after it began. If what
//! is found is doubtful, the *whole* batch is looked at again [`RECHECK`] later, since files that were saved
//! together belong together. What stays doubtful for that long is true. A file that goes on changing must not
//! hold up the others: [`HOLD`] after the batch began it is left to a batch of its own.
//!
//! Nothing in here reads a clock or a file.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{folder::Hint, name::Key};

/// A burst is over when there was no event for so long.
pub(crate) const QUIET: Duration = Duration::from_millis(60);
/// A burst is looked at so long after its first event even when it goes on.
pub(crate) const AT_MOST: Duration = Duration::from_millis(400);
/// A doubtful look is repeated after so long.
pub(crate) const RECHECK: Duration = Duration::from_millis(150);
/// A batch that is still doubtful so long after its first event goes without the doubtful files.
pub(crate) const HOLD: Duration = Duration::from_secs(1);

/// Who says that something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Sweep,
    Event,
}

/// How far to trust a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It can be believed at once.
    Sure,
    /// It can be believed if it stays so.
    Doubtful,
    /// It can't be believed: the file changed while it was read.
    Torn,
}

/// Gathers hints into batches.
#[derive(Default)]
pub(crate) struct Debouncer {
    batch: Option<Batch>,
}

struct Batch {
    hints: BTreeMap<Hint, (Origin, Instant)>,
    first: Instant,
    last: Instant,
    /// After a doubtful look: when to look again.
    rest: Option<Instant>,
    /// The files whose looks were doubtful, and since when they have been so without a hint in between.
    doubts: BTreeMap<Key, Instant>,
}

/// What may be believed, and the hints that led to it.
pub(crate) struct Believed<T> {
    pub looks: BTreeMap<Key, T>,
    hints: BTreeMap<Hint, (Origin, Instant)>,
}

impl<T> Believed<T> {
    /// Whether an event, and not only a sweep, spoke of this file.
    pub fn was_announced(&self, key: &Key) -> bool {
        Hint::about(key).any(|hint| matches!(self.hints.get(&hint), Some((Origin::Event, _))))
    }

    /// Keeps the looks for which `keep` returns something, as that.
    pub fn filter_map<U>(self, mut keep: impl FnMut(&Key, T) -> Option<U>) -> Believed<U> {
        let looks = self.looks.into_iter();
        let looks = looks.filter_map(|(key, look)| keep(&key, look).map(|look| (key, look)));
        Believed { looks: looks.collect(), hints: self.hints }
    }
}

impl Debouncer {
    /// Takes note that something may have changed.
    pub fn hint(&mut self, hint: Hint, origin: Origin, now: Instant) {
        let batch = self.batch.get_or_insert_with(|| Batch::new(now));
        batch.last = batch.last.max(now);
        let (known, at) = batch.hints.entry(hint).or_insert((origin, now));
        *known = origin.max(*known);
        // A sweep repeats itself until the file has been read.
        if origin == Origin::Event {
            *at = now.max(*at);
        }
    }

    /// Whether it is time to look at the files that were [hinted at](Debouncer::is_hinted_at). What is found
    /// is to be given to [`Debouncer::judge`].
    pub fn is_due(&self, now: Instant) -> bool {
        self.batch.as_ref().is_some_and(|batch| {
            let is_rested = batch.rest.is_none_or(|until| now >= until);
            let is_quiet = now >= batch.last + QUIET || now >= batch.first + AT_MOST;
            is_rested && is_quiet
        })
    }

    /// Whether the batch speaks of this file.
    pub fn is_hinted_at(&self, key: &Key) -> bool {
        self.batch.as_ref().is_some_and(|batch| Hint::about(key).any(|hint| batch.hints.contains_key(&hint)))
    }

    /// Takes what was found at the files of the batch and gives back what may be believed. It is nothing if
    /// all of it is to be looked at again.
    pub fn judge<T>(&mut self, looks: BTreeMap<Key, (Trust, T)>, now: Instant) -> Option<Believed<T>> {
        let mut batch = self.batch.take()?;
        batch.doubt(&looks, now);
        let unsure = |key: &Key, trust| match batch.doubts.get(key) {
            Some(since) => trust == Trust::Torn || now < *since + RECHECK,
            None => false,
        };
        let (unsure, sure): (BTreeMap<_, _>, BTreeMap<_, _>) =
            looks.into_iter().partition(|(key, (trust, _))| unsure(key, *trust));

        batch.rest = Some(now + RECHECK);
        if !unsure.is_empty() && now < batch.first + HOLD {
            self.batch = Some(batch);
            return None;
        }
        if !unsure.is_empty() {
            let mut left = Batch::new(now);
            left.rest = batch.rest;
            left.doubts = batch.doubts;
            left.doubts.retain(|key, _| unsure.contains_key(key));
            let hints = unsure.keys().flat_map(Hint::about);
            left.hints =
                hints.filter_map(|hint| batch.hints.get(&hint).map(|known| (hint, *known))).collect();
            self.batch = Some(left);
        }
        let looks = sure.into_iter().map(|(key, (_, look))| (key, look)).collect();
        Some(Believed { looks, hints: batch.hints })
    }
}

impl Batch {
    fn new(now: Instant) -> Self {
        Batch { hints: BTreeMap::new(), first: now, last: now, rest: None, doubts: BTreeMap::new() }
    }

    /// Brings the doubts up to date. A doubt starts anew if the file has been spoken of since: being empty
    /// twice is not being empty all the while.
    fn doubt<T>(&mut self, looks: &BTreeMap<Key, (Trust, T)>, now: Instant) {
        let doubtful = looks.iter().filter(|(_, (trust, _))| *trust != Trust::Sure);
        let doubts = doubtful.map(|(key, _)| {
            let spoken_of =
                Hint::about(key).filter_map(|hint| self.hints.get(&hint)).map(|(_, at)| *at).max();
            let since = self.doubts.get(key).copied().filter(|since| spoken_of.is_none_or(|at| at <= *since));
            (key.clone(), since.unwrap_or(now))
        });
        self.doubts = doubts.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Asset;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn key(name: &str) -> Key {
        Key::new(Asset::Script, name)
    }

    fn look<const N: usize>(looks: [(&str, Trust); N]) -> BTreeMap<Key, (Trust, ())> {
        looks.into_iter().map(|(name, trust)| (key(name), (trust, ()))).collect()
    }

    fn names(believed: Option<Believed<()>>) -> Option<Vec<String>> {
        Some(believed?.looks.into_keys().map(|key| key.name.into()).collect())
    }

    /// A debouncer and the moment from which its test counts milliseconds.
    struct Clocked(Debouncer, Instant);

    impl Clocked {
        fn new() -> Self {
            Clocked(Debouncer::default(), Instant::now())
        }
        fn hint(&mut self, name: &str, ms: u32) {
            self.0.hint(Hint::of(&key(name)), Origin::Event, self.1 + MS * ms);
        }
        fn is_due(&self, ms: u32) -> bool {
            self.0.is_due(self.1 + MS * ms)
        }
        fn judge<const N: usize>(&mut self, ms: u32, looks: [(&str, Trust); N]) -> Option<Vec<String>> {
            assert!(self.is_due(ms), "not due at {ms} ms");
            names(self.0.judge(look(looks), self.1 + MS * ms))
        }
    }

    #[test]
    fn a_burst_is_looked_at_when_it_has_been_quiet() {
        let mut files = Clocked::new();
        assert!(!files.is_due(0));
        for ms in [0, 50, 100] {
            files.hint("a", ms);
            assert!(!files.is_due(ms + 59));
        }
        assert!(files.is_due(160));
        assert_eq!(files.judge(160, [("a", Trust::Sure)]), Some(vec!["a".into()]));
        assert!(!files.is_due(10_000));
    }

    #[test]
    fn a_burst_without_end_is_looked_at_all_the_same() {
        let mut files = Clocked::new();
        for ms in 0..=400 {
            assert!(!files.is_due(ms.min(399)));
            files.hint("a", ms);
        }
        assert!(files.is_due(400));
    }

    #[test]
    fn one_doubtful_file_makes_all_of_its_batch_wait() {
        let mut files = Clocked::new();
        files.hint("a", 0);
        files.hint("b", 0);
        assert_eq!(files.judge(60, [("a", Trust::Doubtful), ("b", Trust::Sure)]), None);
        assert!(!files.is_due(209));
        assert_eq!(
            files.judge(210, [("a", Trust::Sure), ("b", Trust::Sure)]),
            Some(vec!["a".into(), "b".into()])
        );
    }

    #[test]
    fn what_stays_doubtful_is_true() {
        let mut files = Clocked::new();
        files.hint("a", 0);
        assert_eq!(files.judge(60, [("a", Trust::Doubtful)]), None);
        assert_eq!(files.judge(210, [("a", Trust::Doubtful)]), Some(vec!["a".into()]));
    }

    #[test]
    fn a_doubt_starts_anew_when_the_file_is_spoken_of_again() {
        let mut files = Clocked::new();
        files.hint("a", 0);
        assert_eq!(files.judge(60, [("a", Trust::Doubtful)]), None);
        files.hint("a", 140);
        assert_eq!(files.judge(210, [("a", Trust::Doubtful)]), None);
        assert_eq!(files.judge(360, [("a", Trust::Doubtful)]), Some(vec!["a".into()]));
    }

    #[test]
    fn a_file_that_never_rests_does_not_hold_up_the_others() {
        let mut files = Clocked::new();
        files.hint("a", 0);
        files.hint("b", 0);
        let mut ms = 60;
        let believed = loop {
            files.hint("a", ms - 1);
            match files.is_due(ms).then(|| files.judge(ms, [("a", Trust::Torn), ("b", Trust::Sure)])) {
                Some(Some(believed)) => break believed,
                _ => ms += 10,
            }
        };
        assert_eq!(believed, ["b"]);
        assert!((1000..1200).contains(&ms), "after {ms} ms");
        assert_eq!(files.judge(ms + 200, [("a", Trust::Sure)]), Some(vec!["a".into()]));
    }

    #[test]
    fn a_sweep_announces_nothing() {
        let start = Instant::now();
        let mut debouncer = Debouncer::default();
        debouncer.hint(Hint::of(&key("a")), Origin::Sweep, start);
        debouncer.hint(Hint::of(&key("b")), Origin::Event, start);
        debouncer.hint(Hint::of(&key("b")), Origin::Sweep, start);
        let believed =
            debouncer.judge(look([("a", Trust::Sure), ("b", Trust::Sure)]), start + QUIET).unwrap();
        assert!(!believed.was_announced(&key("a")));
        assert!(believed.was_announced(&key("b")));
    }

    /// A save as careless editors do it: the file is empty for `gap` ms (less than [`RECHECK`]), then has new
    /// text.
    #[derive(Clone, Debug)]
    struct Save {
        pause: u32,
        gap: u32,
        file: usize,
    }

    fn save() -> impl Strategy<Value = Save> {
        (0u32..500, 0u32..150, 0usize..3).prop_map(|(pause, gap, file)| Save { pause, gap, file })
    }

    proptest! {
        /// Whatever the rhythm of saves and frames: no empty text is believed, the last text is, and soon.
        #[test]
        fn saves_in_any_rhythm_end_with_the_last_text_and_never_an_empty_one(
            saves in prop::collection::vec(save(), 1..20), frame in 1u32..50
        ) {
            // What each file holds from which millisecond on; 0 is empty.
            let mut script: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
            let mut ms = 1;
            for (number, Save { pause, gap, file }) in saves.into_iter().enumerate() {
                ms += pause + 1;
                script.insert(ms, (file, 0));
                ms += gap + 1;
                script.insert(ms, (file, number + 1));
            }
            let end = ms + (AT_MOST + HOLD + RECHECK + QUIET).as_millis() as u32 + 2 * frame;

            let start = Instant::now();
            let mut debouncer = Debouncer::default();
            let mut disk = [usize::MAX; 3];
            let mut known = disk;
            let mut ms = 0;
            while ms < end {
                for (_, (file, text)) in script.range(ms + 1..=ms + frame) {
                    disk[*file] = *text;
                    debouncer.hint(Hint::of(&key(&file.to_string())), Origin::Event, start + MS * (ms + frame));
                }
                ms += frame;
                let now = start + MS * ms;
                if debouncer.is_due(now) {
                    let looks = (0..3).map(|file| {
                        let trust = if disk[file] == 0 { Trust::Doubtful } else { Trust::Sure };
                        (key(&file.to_string()), (trust, disk[file]))
                    });
                    for (key, text) in debouncer.judge(looks.collect(), now).into_iter().flat_map(|all| all.looks) {
                        prop_assert_ne!(text, 0, "{:?} was believed to be empty at {} ms", key, ms);
                        known[key.name.parse::<usize>().unwrap()] = text;
                    }
                }
            }
            prop_assert_eq!(known, disk);
        }
    }
}
