//! What happened in a world, in order: announcements, reloads, errors, lines of the log.
//!
//! The journal is bounded in every direction: a script that errs or prints without end fills it, not the memory.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::snapshot::{EntityId, Place};

/// How many of each kind are kept.
const KEPT: usize = 200;

/// How long a text may be, in bytes, and how many lines a report may have.
const LONGEST_TEXT: usize = 2000;
const MOST_LINES: usize = 64;

/// When something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stamp {
    /// Its place in the order of all that happened, from 1.
    pub number: u64,
    /// The frame.
    pub frame: u64,
    /// The sim time in seconds.
    pub sim_time: f64,
}

/// Something in the journal, with its stamp.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped<T> {
    /// When.
    pub stamp: Stamp,
    /// What.
    pub what: T,
}

/// A reload that took effect or was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Reload {
    /// Which files: `guard.luau #3 -> #4`, or `guard.luau (still #4)` where it was refused.
    pub title: String,
    /// Whether nothing has changed, for the reason in the details.
    pub refused: bool,
    /// The modules that run new text; or those that are wrong, where it was refused.
    pub modules: Vec<String>,
    /// Modules that are right and wait for those that are wrong.
    pub held: Vec<String>,
    /// What it did, line by line: `212 tasklets moved`, `now    SPEED 5 -> 8`.
    pub details: Vec<String>,
    /// What it took by the wall clock.
    pub took: Option<Duration>,
}

/// What has become of the tasklets that had an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has ended them.
    Failed,
    /// They wait at the failing statement until their file is saved again.
    Parked,
    /// Their file has been saved well since.
    Mended,
    /// Somebody has had them try again.
    Retried,
    /// Somebody has had them begin anew.
    Restarted,
    /// Somebody has ended them.
    Killed,
}

impl Fate {
    /// In lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Mended => "mended",
            Self::Retried => "retried",
            Self::Restarted => "restarted",
            Self::Killed => "killed",
        }
    }

    /// Nobody has done anything about it yet.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Failed | Self::Parked)
    }
}

/// A line of source around an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// Its number, from 1.
    pub number: u32,
    /// Its text, without the line end.
    pub text: String,
}

/// A script's error.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptError {
    /// What has become of its tasklets.
    pub fate: Fate,
    /// The code in reports, such as `RL201`, if it has one.
    pub code: Option<&'static str>,
    /// What is wrong, without its place.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// The calls that led there, innermost first.
    pub traceback: Vec<String>,
    /// The source around the line of `place`.
    pub excerpt: Vec<SourceLine>,
    /// The entity whose script it is, and that entity's name.
    pub entity: Option<(EntityId, String)>,
    /// The tasklet's name.
    pub tasklet: Option<String>,
    /// The script that it has kept from starting.
    pub unstarted: Option<String>,
    /// More to know: where it goes on, its locals.
    pub notes: Vec<String>,
    /// How often it has happened. One that parks does so in another tasklet each time.
    pub count: u64,
}

/// How much has happened, with what the journal has forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Announcements of the director.
    pub announcements: u64,
    /// Reloads that took effect.
    pub reloads: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// Different errors: the same one at the same place is one, however often it comes back.
    pub errors: u64,
    /// How often one was raised.
    pub raised: u64,
}

/// Something that happened, borrowed from the journal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// The director announced this.
    Announcement(&'a str),
    /// Files were saved.
    Reload(&'a Reload),
    /// A script erred. It is told once; later ones like it only count.
    Error(&'a ScriptError),
    /// A script printed this.
    Log(&'a str),
}

/// The order of events.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    now: Stamp,
    revision: u64,
    totals: Totals,
    /// Modules whose newest text was refused.
    refused: BTreeSet<String>,
    announcements: VecDeque<Stamped<String>>,
    reloads: VecDeque<Stamped<Reload>>,
    errors: VecDeque<Stamped<ScriptError>>,
    log: VecDeque<Stamped<String>>,
}

impl Journal {
    /// Sets the frame and sim time of what happens from now on.
    pub fn set_time(&mut self, frame: u64, sim_time: f64) {
        self.now = Stamp { frame, sim_time, ..self.now };
    }

    /// The director announces `text`.
    pub fn announce(&mut self, text: impl Into<String>) {
        self.totals.announcements += 1;
        let stamp = self.stamp();
        keep(&mut self.announcements, stamp, shortened(text.into()));
    }

    /// Files were reloaded, or refused.
    pub fn reload(&mut self, mut reload: Reload) {
        *if reload.refused { &mut self.totals.refused } else { &mut self.totals.reloads } += 1;
        for module in reload.modules.iter().chain(&reload.held) {
            self.refused.remove(module);
        }
        if reload.refused {
            self.refused.extend(reload.modules.iter().cloned());
        }
        reload.title = shortened(reload.title);
        shorten_lines(&mut reload.details);
        let stamp = self.stamp();
        keep(&mut self.reloads, stamp, reload);
    }

    /// The file of a module is gone, and with it a text of it that was refused.
    pub fn forget(&mut self, module: &str) {
        self.refused.remove(module);
    }

    /// A script erred. Where the same message came from the same place before and nobody has done anything about it
    /// since, that error counts on, so that a typo in ten thousand tasklets is one error.
    pub fn error(&mut self, mut error: ScriptError) {
        self.totals.raised += error.count;
        error.message = shortened(error.message);
        // What kept a script from starting before is gone if something else does now.
        if let Some(script) = &error.unstarted {
            let other = |old: &ScriptError| (&old.place, &old.message) != (&error.place, &error.message);
            let old = self.errors.iter_mut().filter(|old| old.what.unstarted.as_ref() == Some(script));
            for old in old.filter(|old| old.what.fate.is_open() && other(&old.what)) {
                old.what.fate = Fate::Mended;
            }
        }
        let same = |old: &&mut Stamped<ScriptError>| {
            old.what.place == error.place && old.what.message == error.message
        };
        match self.errors.iter_mut().rev().find(same) {
            Some(old) if old.what.fate.is_open() => {
                old.what.count += error.count;
                self.revision += 1;
                return;
            }
            Some(_) => {}
            None => self.totals.errors += 1,
        }
        shorten_lines(&mut error.traceback);
        shorten_lines(&mut error.notes);
        error.excerpt.truncate(MOST_LINES);
        for line in &mut error.excerpt {
            line.text = shortened(std::mem::take(&mut line.text));
        }
        let stamp = self.stamp();
        keep(&mut self.errors, stamp, error);
    }

    /// A good version of `file` runs: its errors so far are history.
    pub fn mend(&mut self, file: &str) {
        for error in &mut self.errors {
            // `guard.luau#3`, an older text of the file, is the same file.
            let of = error.what.place.as_ref().and_then(|place| place.file.split('#').next());
            if of == Some(file) && error.what.fate.is_open() {
                error.what.fate = Fate::Mended;
            }
        }
        self.revision += 1;
    }

    /// A script has started that could not before: what has kept it from that is history.
    pub fn start(&mut self, script: &str) {
        for Stamped { what: error, .. } in &mut self.errors {
            if error.unstarted.as_deref() == Some(script) && error.fate.is_open() {
                error.fate = Fate::Mended;
            }
        }
        self.revision += 1;
    }

    /// Somebody has done something about the tasklets that wait at an error: of this message, at this place if it is
    /// known. If they fail again, that is news.
    pub fn settle(&mut self, place: Option<&Place>, message: &str, fate: Fate) {
        let message = shortened(message.to_owned());
        for Stamped { what: error, .. } in &mut self.errors {
            let there = place.is_none_or(|place| {
                error.place.as_ref().is_some_and(|at| (&at.file, at.line) == (&place.file, place.line))
            });
            if error.fate == Fate::Parked && there && error.message == message {
                error.fate = fate;
            }
        }
        self.revision += 1;
    }

    /// A script or the host prints `line`.
    pub fn log(&mut self, line: impl Into<String>) {
        let stamp = self.stamp();
        keep(&mut self.log, stamp, shortened(line.into()));
    }

    /// Announcements, oldest first.
    pub fn announcements(&self) -> &VecDeque<Stamped<String>> {
        &self.announcements
    }

    /// Reloads, oldest first.
    pub fn reloads(&self) -> &VecDeque<Stamped<Reload>> {
        &self.reloads
    }

    /// Errors, oldest first.
    pub fn errors(&self) -> &VecDeque<Stamped<ScriptError>> {
        &self.errors
    }

    /// Lines of the log, oldest first.
    pub fn log_lines(&self) -> &VecDeque<Stamped<String>> {
        &self.log
    }

    /// Errors about which nobody has done anything.
    pub fn open_errors(&self) -> usize {
        self.errors.iter().filter(|error| error.what.fate.is_open()).count()
    }

    /// Files whose newest text was refused, so that they run an older one.
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// How much has happened.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The number of the newest event, 0 before the first.
    pub fn newest(&self) -> u64 {
        self.now.number
    }

    /// Another number after every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What has happened since the event of that `number` and is still kept, oldest first.
    pub fn since(&self, number: u64) -> Vec<(Stamp, Event<'_>)> {
        // Each list is in order, so the new ones are its end; most ticks end here, with nothing.
        if number == self.now.number {
            return Vec::new();
        }
        fn new<'a, T>(
            list: &'a VecDeque<Stamped<T>>,
            number: u64,
            event: impl Fn(&'a T) -> Event<'a>,
        ) -> impl Iterator<Item = (Stamp, Event<'a>)> {
            let start = list.partition_point(|entry| entry.stamp.number <= number);
            list.range(start..).map(move |entry| (entry.stamp, event(&entry.what)))
        }
        let mut events: Vec<_> = new(&self.announcements, number, |text| Event::Announcement(text))
            .chain(new(&self.reloads, number, Event::Reload))
            .chain(new(&self.errors, number, Event::Error))
            .chain(new(&self.log, number, |text| Event::Log(text)))
            .collect();
        events.sort_by_key(|(stamp, _)| stamp.number);
        events
    }

    fn stamp(&mut self) -> Stamp {
        self.now.number += 1;
        self.revision += 1;
        self.now
    }
}

fn keep<T>(list: &mut VecDeque<Stamped<T>>, stamp: Stamp, what: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(Stamped { stamp, what });
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push('…');
    }
    text
}

fn shorten_lines(lines: &mut Vec<String>) {
    lines.truncate(MOST_LINES);
    for line in lines {
        *line = shortened(std::mem::take(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn events_come_in_the_order_in_which_they_happened() {
        let mut journal = Journal::default();
        journal.set_time(60, 1.0);
        journal.log("a");
        journal.announce("b");
        let seen = journal.newest();
        assert_eq!(journal.since(seen), []);
        journal.set_time(61, 1.1);
        journal.log("c");
        journal.announce("d");
        journal.log("e");
        let stamp = |number| Stamp { number, frame: 61, sim_time: 1.1 };
        assert_eq!(
            journal.since(seen),
            [(stamp(3), Event::Log("c")), (stamp(4), Event::Announcement("d")), (stamp(5), Event::Log("e"))]
        );
    }

    #[test]
    fn the_same_error_counts_on_until_it_is_mended() {
        let mut journal = Journal::default();
        for _ in 0..10_000 {
            journal.error(sample::error("hunter.luau", 9));
        }
        assert_eq!((journal.errors().len(), journal.errors()[0].what.count), (1, 10_000));
        assert_eq!((journal.totals().errors, journal.totals().raised), (1, 10_000));
        journal.mend("shop.luau");
        assert_eq!(journal.open_errors(), 1);
        journal.mend("hunter.luau");
        assert_eq!(journal.open_errors(), 0);
        journal.error(sample::error("hunter.luau", 9));
        assert_eq!((journal.errors().len(), journal.open_errors()), (2, 1));
        assert_eq!(journal.totals().errors, 1, "it is the same error as before");
    }

    #[test]
    fn what_somebody_has_done_about_an_error_stays_so_and_the_next_failure_is_news() {
        let mut journal = Journal::default();
        let error = || ScriptError { fate: Fate::Parked, ..sample::error("hunter.luau", 9) };
        let settle = |journal: &mut Journal, fate| {
            let ScriptError { place, message, .. } = error();
            journal.settle(place.as_ref(), &message, fate);
        };
        for fate in [Fate::Retried, Fate::Killed, Fate::Restarted] {
            (0..3).for_each(|_| journal.error(error()));
            assert_eq!(journal.open_errors(), 1);
            settle(&mut journal, fate);
            assert_eq!(journal.open_errors(), 0);
        }
        journal.error(error());
        journal.mend("hunter.luau");
        let seen: Vec<_> = journal.errors().iter().map(|error| (error.what.fate, error.what.count)).collect();
        let (retried, killed) = ((Fate::Retried, 3), (Fate::Killed, 3));
        assert_eq!(seen, [retried, killed, (Fate::Restarted, 3), (Fate::Mended, 1)]);
    }

    #[test]
    fn an_error_in_an_older_text_of_a_file_is_mended_with_it() {
        let mut journal = Journal::default();
        journal.error(sample::error("hunter.luau#3", 9));
        journal.mend("hunter.luau");
        assert_eq!(journal.open_errors(), 0);
    }

    #[test]
    fn a_script_that_starts_has_mended_what_kept_it_from_that_and_nothing_else() {
        let mut journal = Journal::default();
        let unstarted = |line| ScriptError {
            unstarted: Some("hunter".into()),
            // The fault may be in a file that it requires.
            ..sample::error("util.luau", line)
        };
        journal.error(unstarted(3));
        journal.error(unstarted(3));
        assert_eq!((journal.open_errors(), journal.errors()[0].what.count), (1, 2));
        journal.error(unstarted(5));
        assert_eq!(journal.open_errors(), 1, "the one before is gone, or it would have come again");
        journal.error(sample::error("hunter.luau", 9));
        journal.start("wolf");
        assert_eq!(journal.open_errors(), 2);
        journal.start("hunter");
        let fates: Vec<Fate> = journal.errors().iter().map(|error| error.what.fate).collect();
        assert_eq!(fates, [Fate::Mended, Fate::Mended, Fate::Failed]);
    }

    #[test]
    fn a_refused_file_counts_until_it_is_taken_or_only_waits_for_another() {
        let mut journal = Journal::default();
        let reload = |refused, modules: &[&str], held: &[&str]| Reload {
            refused,
            modules: modules.iter().map(|&name| name.into()).collect(),
            held: held.iter().map(|&name| name.into()).collect(),
            ..sample::reload("some")
        };
        journal.reload(reload(true, &["guard"], &[]));
        journal.reload(reload(true, &["guard", "util"], &[]));
        assert_eq!(journal.refused(), 2);
        journal.reload(reload(false, &["wolf"], &[]));
        assert_eq!(journal.refused(), 2);
        journal.reload(reload(true, &["util"], &["guard"]));
        assert_eq!(journal.refused(), 1);
        journal.reload(reload(false, &["guard", "util"], &[]));
        assert_eq!(journal.refused(), 0);
        journal.reload(reload(true, &["guard", "util"], &[]));
        journal.forget("guard");
        assert_eq!(journal.refused(), 1, "its text is gone with its file");
    }

    #[test]
    fn endless_scripts_fill_the_journal_and_not_the_memory() {
        let mut journal = Journal::default();
        for line in 0..100_000 {
            journal.log(format!("{line} {}", "é".repeat(2_000)));
        }
        assert_eq!(journal.log_lines().len(), KEPT);
        assert!(journal.log_lines().iter().all(|line| line.what.len() < LONGEST_TEXT + 8));
    }
}
