//! What a poll reports.

use std::sync::Arc;

use crate::{Asset, AssetError, AssetName, Source};

/// Everything that changed at once: what to reload together or not at all.
#[derive(Clone, Debug, Default)]
pub struct ChangeSet {
    /// The changes, at most one a file, in the order of their names.
    pub changes: Vec<Change>,
}

/// What became of one script or scene.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whether it is a script or a scene.
    pub asset: Asset,
    /// Its name; after a rename the new one.
    pub name: AssetName,
    /// What became of it.
    pub kind: ChangeKind,
}

/// The ways in which a file can change.
#[derive(Clone, Debug)]
pub enum ChangeKind {
    /// It has a new content. An empty file is reported so too, once it has stayed empty for a while.
    Modified {
        /// What was read before.
        old: Arc<Source>,
        /// What is read from now on.
        new: Arc<Source>,
    },
    /// It is new, or is back after having been removed.
    Added(Arc<Source>),
    /// Its file is gone. Reading it goes on to give the last content.
    Removed,
    /// Its file was given another name or folder, and the content is still the same.
    Renamed {
        /// The name before.
        from: AssetName,
        /// The same text under the new name.
        source: Arc<Source>,
    },
    /// Its file is there and can't be read. Reading it goes on to give the last content, if there was one.
    Unreadable(AssetError),
}

impl<'a> IntoIterator for &'a ChangeSet {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;
    fn into_iter(self) -> Self::IntoIter {
        self.changes.iter()
    }
}

impl IntoIterator for ChangeSet {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;
    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}
