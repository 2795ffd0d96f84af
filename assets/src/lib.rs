//! The files of a Bluetick project: it finds, reads and versions scripts and scenes below their folders,
//! knows who requires whom, and watches them.
//!
//! In order of importance this crate is
//!
//! - *steady*: what [`Library::read`] returns changes only in [`Library::poll`], never in the middle of a frame;
//! - *honest*: no half-written file, no file cut short by an editor, no change without changed content;
//! - *quiet*: one save is one [`ChangeSet`], and so are several files saved together;
//! - *cheap*: a poll with nothing to tell costs a lock and a flag.
//!
//! It knows neither the VM that runs the scripts nor the entities which they animate.
//!
//! ```
//! use bluetick_assets::{ChangeKind, Library};
//! use std::time::Instant;
//!
//! // `Library::open("game/scripts")` and `library.watch()` for a real project.
//! let library = Library::in_memory([("goblin", "return {}"), ("ai/util", "return 1")]);
//! assert_eq!(library.resolve("goblin", "./ai/util")?, "ai/util");
//!
//! library.set("goblin", "return { hp = 7 }"); // a save
//! let changes = library.poll(Instant::now()).unwrap().changes;
//! assert!(matches!(&changes[0].kind, ChangeKind::Modified { new, .. } if new.version == 2));
//! # Ok::<(), bluetick_assets::AssetError>(())
//! ```

mod catalog;
mod change;
mod debounce;
mod error;
mod folder;
mod graph;
mod library;
mod name;
mod source;
mod watch;

pub use change::{Change, ChangeKind, ChangeSet};
pub use error::AssetError;
pub use library::{Builder, Library};
pub use name::{Asset, AssetName};
pub use source::{ContentHash, Source};
pub use watch::{WatchState, WatchWarning};
