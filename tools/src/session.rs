//! What the players need of a world: [`Session`].

use crate::{
    journal::Journal,
    snapshot::{EntityId, Snapshot},
};

/// Ticks a second of sim time, for both players.
pub const TICK_RATE: u32 = 60;

/// The sim time of one tick in seconds, what [`Session::tick`] is given.
pub const TICK: f64 = 1.0 / TICK_RATE as f64;

/// What is done about tasklets that are stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Parked ones go on from the statement that failed.
    Retry,
    /// They begin anew, in the newest text.
    Restart,
    /// They end.
    Kill,
}

/// A world that plays.
pub trait Session {
    /// Runs one frame of `dt` seconds of sim time. What happens in it goes to the journal.
    fn tick(&mut self, dt: f64);

    /// The world as it stands between two frames, with all about the entity `follow` if it is still there.
    fn snapshot(&mut self, follow: Option<EntityId>) -> Snapshot;

    /// Does something about the tasklets of [this number](crate::snapshot::StuckGroup::number), from the next tick on.
    fn remedy(&mut self, number: u64, remedy: Remedy);

    /// A number that is another one as soon as anything in the world is another one that the session knows of.
    fn digest(&self) -> u64;

    /// What has happened so far. Looked at after every tick, so it costs nothing when nothing happened.
    fn journal(&self) -> &Journal;
}
