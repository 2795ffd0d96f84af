//! What the library knows of each file, and how a look at the files changes that.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    Asset, AssetError, AssetName, Change, ChangeKind, ChangeSet, ContentHash, Source, name, name::Key,
};

/// What a look at one file found.
#[derive(Clone, Debug)]
pub(crate) enum Look {
    /// The whole text.
    Text(Arc<str>),
    /// There is no such file.
    Gone,
    /// There is one, and its text can't be had.
    Unreadable(AssetError),
    /// It was being written while it was read.
    InMotion,
}

/// All scripts and scenes that there are or ever were. It touches no disk and knows no time.
#[derive(Default)]
pub(crate) struct Catalog {
    entries: BTreeMap<Key, Entry>,
}

struct Entry {
    /// The last good content. It outlives the file, so that deleting a file stops nothing and versions never
    /// go back.
    source: Option<Arc<Source>>,
    state: State,
}

enum State {
    Present,
    Unreadable(AssetError),
    Removed,
    /// The content lives on under this name.
    Moved(AssetName),
}

impl Entry {
    fn is_there(&self) -> bool {
        matches!(self.state, State::Present | State::Unreadable(_))
    }

    /// The source with this text: the one we have if the text is the same, else its next version.
    fn next(&self, key: &Key, path: PathBuf, text: Arc<str>) -> Arc<Source> {
        let hash = ContentHash::of(&text);
        match &self.source {
            Some(source) if source.hash == hash => source.clone(),
            last => {
                let version = last.as_ref().map_or(0, |source| source.version) + 1;
                Arc::new(Source { name: key.name.clone(), path, text, hash, version })
            }
        }
    }
}

impl Catalog {
    /// The names of the files that are there.
    pub fn names(&self, asset: Asset) -> impl Iterator<Item = &AssetName> {
        let there = self.entries.iter().filter(move |(key, entry)| key.asset == asset && entry.is_there());
        there.map(|(key, _)| &key.name)
    }

    /// The last good content, or why there is none.
    pub fn read(&self, key: &Key) -> Result<Arc<Source>, AssetError> {
        let not_found = |nearest| AssetError::NotFound { asset: key.asset, name: key.name.clone(), nearest };
        match self.entries.get(key) {
            Some(Entry { state: State::Moved(to), .. }) => Err(not_found(Some(to.clone()))),
            Some(Entry { source: Some(source), .. }) => Ok(source.clone()),
            Some(Entry { state: State::Unreadable(error), .. }) => Err(error.clone()),
            _ => Err(not_found(name::nearest(&key.name, self.names(key.asset)))),
        }
    }

    /// Finds the script that `specifier` means in the script `requiring`.
    pub fn resolve(&self, requiring: &AssetName, specifier: &str) -> Result<AssetName, AssetError> {
        let module = requiring.join(specifier)?;
        // The path of the folder that holds all is empty.
        let inside: AssetName =
            if module.is_empty() { "init".into() } else { format!("{module}/init").into() };
        // A deleted script can still be required (by its last content), but not one that has moved.
        let known = |name: &AssetName| {
            let entry = self.entries.get(&Key::new(Asset::Script, name));
            entry.is_some_and(|entry| !matches!(entry.state, State::Moved(_)))
        };
        let there =
            |name: &AssetName| self.entries.get(&Key::new(Asset::Script, name)).is_some_and(Entry::is_there);
        let requiring = requiring.clone();
        let specifier = specifier.to_owned();
        match (known(&module), known(&inside)) {
            (true, true) => match (there(&module), there(&inside)) {
                (true, true) => Err(AssetError::Ambiguous { specifier, requiring, module }),
                (false, true) => Ok(inside),
                _ => Ok(module),
            },
            (true, false) => Ok(module),
            (false, true) => Ok(inside),
            (false, false) => {
                let nearest = name::nearest(&module, self.names(Asset::Script));
                let looked_for = [&module, &inside].into_iter().filter(|name| !name.is_empty());
                let looked_for = looked_for.map(|name| Key::new(Asset::Script, name).file()).collect();
                Err(AssetError::NoModule { specifier, requiring, looked_for, nearest })
            }
        }
    }

    /// Whether a look found the file worse than before in a way that often passes: editors empty, remove and
    /// lock files on the way to writing them.
    pub fn doubts(&self, key: &Key, look: &Look) -> bool {
        let entry = self.entries.get(key);
        match look {
            Look::InMotion => true,
            Look::Gone => entry.is_some_and(Entry::is_there),
            Look::Unreadable(_) => entry.is_none_or(|entry| !matches!(entry.state, State::Unreadable(_))),
            Look::Text(text) => {
                let source = entry.and_then(|entry| entry.source.as_ref());
                text.is_empty() && source.is_none_or(|source| !source.text.is_empty())
            }
        }
    }

    /// Takes over what was found and says what that changes.
    pub fn apply(&mut self, looks: impl IntoIterator<Item = (Key, PathBuf, Look)>) -> ChangeSet {
        let mut changes = Vec::new();
        for (key, path, look) in looks {
            if let Some(kind) = self.apply_one(&key, path, look) {
                changes.push(Change { asset: key.asset, name: key.name, kind });
            }
        }
        self.pair_renames(&mut changes);
        changes.sort_by(|a, b| (&a.name, a.asset).cmp(&(&b.name, b.asset)));
        ChangeSet { changes }
    }

    fn apply_one(&mut self, key: &Key, path: PathBuf, look: Look) -> Option<ChangeKind> {
        match look {
            Look::InMotion => None,
            Look::Gone => {
                let entry = self.entries.get_mut(key).filter(|entry| entry.is_there())?;
                entry.state = State::Removed;
                Some(ChangeKind::Removed)
            }
            Look::Unreadable(error) => {
                let entry = self.entry(key);
                if let State::Unreadable(known) = &entry.state
                    && known.to_string() == error.to_string()
                {
                    return None;
                }
                entry.state = State::Unreadable(error.clone());
                Some(ChangeKind::Unreadable(error))
            }
            Look::Text(text) => {
                let entry = self.entry(key);
                let new = entry.next(key, path, text);
                let was_there = entry.is_there();
                entry.state = State::Present;
                match entry.source.replace(new.clone()) {
                    Some(old) if was_there => {
                        (old.hash != new.hash).then_some(ChangeKind::Modified { old, new })
                    }
                    _ => Some(ChangeKind::Added(new)),
                }
            }
        }
    }

    fn entry(&mut self, key: &Key) -> &mut Entry {
        self.entries.entry(key.clone()).or_insert(Entry { source: None, state: State::Removed })
    }

    /// Makes a removal and an addition of the same content one rename.
    fn pair_renames(&mut self, changes: &mut Vec<Change>) {
        let mut left: BTreeMap<(Asset, ContentHash), Vec<AssetName>> = BTreeMap::new();
        for change in changes.iter().filter(|change| matches!(change.kind, ChangeKind::Removed)) {
            if let Some(source) = &self.entries[&Key::new(change.asset, &change.name)].source {
                left.entry((change.asset, source.hash)).or_default().push(change.name.clone());
            }
        }
        let mut moved = BTreeSet::new();
        // A moved folder may hold equal files: those that kept their own name are paired first.
        for same_file_name in [true, false] {
            for change in changes.iter_mut() {
                let ChangeKind::Added(new) = &change.kind else { continue };
                let Some(names) = left.get_mut(&(change.asset, new.hash)) else { continue };
                let is_same = |name: &AssetName| name.rsplit('/').next() == change.name.rsplit('/').next();
                let place = names.iter().position(|name| !same_file_name || is_same(name));
                let Some(from) = place.map(|place| names.remove(place)) else { continue };
                let from_key = Key::new(change.asset, &from);
                let source = self.rename(&from_key, &Key::new(change.asset, &change.name), new.clone());
                change.kind = ChangeKind::Renamed { from, source };
                moved.insert(from_key);
            }
        }
        changes.retain(|change| {
            let is_removal = matches!(change.kind, ChangeKind::Removed);
            !(is_removal && moved.contains(&Key::new(change.asset, &change.name)))
        });
    }

    fn rename(&mut self, from: &Key, to: &Key, new: Arc<Source>) -> Arc<Source> {
        let left = self.entry(from);
        left.state = State::Moved(to.name.clone());
        // The module that moves is at the version which it had, unless the new name has been further.
        let version = left.source.as_ref().map_or(1, |old| old.version).max(new.version);
        let source = Arc::new(Source { version, ..Source::clone(&new) });
        self.entry(to).source = Some(source.clone());
        source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Asset::Script, name)
    }

    fn text(text: &str) -> Look {
        Look::Text(text.into())
    }

    fn unreadable() -> Look {
        let source = Arc::new(std::io::Error::other("locked"));
        Look::Unreadable(AssetError::Unreadable { path: "a.luau".into(), source })
    }

    /// Applies the looks and writes each change in a word or two.
    fn apply(catalog: &mut Catalog, looks: &[(&str, Look)]) -> Vec<String> {
        let looks = looks.iter().map(|(name, look)| (key(name), PathBuf::from(*name), look.clone()));
        let changes = catalog.apply(looks);
        let words = changes.into_iter().map(|Change { name, kind, .. }| match kind {
            ChangeKind::Modified { old, new } => format!("{name} #{} -> #{}", old.version, new.version),
            ChangeKind::Added(new) => format!("+{name} #{}", new.version),
            ChangeKind::Removed => format!("-{name}"),
            ChangeKind::Renamed { from, source } => format!("{from} -> {name} #{}", source.version),
            ChangeKind::Unreadable(_) => format!("?{name}"),
        });
        words.collect()
    }

    #[test]
    fn versions_count_contents_and_never_go_back() {
        let mut catalog = Catalog::default();
        assert_eq!(apply(&mut catalog, &[("a", text("1"))]), ["+a #1"]);
        assert_eq!(apply(&mut catalog, &[("a", text("1"))]), [""; 0]);
        assert_eq!(apply(&mut catalog, &[("a", text("2"))]), ["a #1 -> #2"]);
        assert_eq!(apply(&mut catalog, &[("a", text("1"))]), ["a #2 -> #3"]);
        assert_eq!(apply(&mut catalog, &[("a", Look::Gone)]), ["-a"]);
        assert_eq!(apply(&mut catalog, &[("a", Look::Gone)]), [""; 0]);
        assert_eq!(apply(&mut catalog, &[("a", text("1"))]), ["+a #3"]);
        assert_eq!(apply(&mut catalog, &[("a", Look::Gone)]), ["-a"]);
        assert_eq!(apply(&mut catalog, &[("a", text("4"))]), ["+a #4"]);
    }

    #[test]
    fn a_deleted_script_is_not_listed_but_still_read_and_required() {
        let mut catalog = Catalog::default();
        apply(&mut catalog, &[("a", text("1"))]);
        apply(&mut catalog, &[("a", Look::Gone)]);
        assert_eq!(catalog.names(Asset::Script).count(), 0);
        assert_eq!(&*catalog.read(&key("a")).unwrap().text, "1");
        assert_eq!(catalog.resolve(&"b".into(), "./a").unwrap(), "a");
    }

    #[test]
    fn an_unreadable_file_is_reported_once_and_leaves_the_last_content() {
        let mut catalog = Catalog::default();
        assert_eq!(apply(&mut catalog, &[("a", unreadable())]), ["?a"]);
        assert!(catalog.read(&key("a")).unwrap_err().to_string().contains("locked"));
        assert_eq!(apply(&mut catalog, &[("a", text("1"))]), ["+a #1"]);
        assert_eq!(apply(&mut catalog, &[("a", unreadable())]), ["?a"]);
        assert_eq!(apply(&mut catalog, &[("a", unreadable())]), [""; 0]);
        assert_eq!(&*catalog.read(&key("a")).unwrap().text, "1");
        assert_eq!(apply(&mut catalog, &[("a", text("1"))]), [""; 0]);
        assert_eq!(apply(&mut catalog, &[("a", unreadable())]), ["?a"]);
        assert_eq!(apply(&mut catalog, &[("a", text("2"))]), ["a #1 -> #2"]);
    }

    #[test]
    fn the_same_content_leaving_and_arriving_is_a_rename_that_keeps_the_version() {
        let mut catalog = Catalog::default();
        apply(&mut catalog, &[("a", text("1"))]);
        apply(&mut catalog, &[("a", text("2"))]);
        assert_eq!(apply(&mut catalog, &[("a", Look::Gone), ("b", text("2"))]), ["a -> b #2"]);
        let message = catalog.read(&key("a")).unwrap_err().to_string();
        assert_eq!(message, "there is no script `a`; did you mean `b`?");
        assert!(catalog.resolve(&"c".into(), "./a").is_err());
        assert_eq!(catalog.read(&key("b")).unwrap().name, "b");
        assert_eq!(apply(&mut catalog, &[("b", text("3"))]), ["b #2 -> #3"]);
        assert_eq!(apply(&mut catalog, &[("b", Look::Gone), ("a", text("3"))]), ["b -> a #3"]);
    }

    #[test]
    fn other_content_arriving_is_no_rename() {
        let mut catalog = Catalog::default();
        apply(&mut catalog, &[("a", text("1"))]);
        assert_eq!(apply(&mut catalog, &[("a", Look::Gone), ("b", text("2"))]), ["-a", "+b #1"]);
    }

    #[test]
    fn equal_files_of_a_moved_folder_keep_their_own_names() {
        let mut catalog = Catalog::default();
        let (there, gone) = (|| text("same"), || Look::Gone);
        apply(&mut catalog, &[("old/a", there()), ("old/b", there()), ("old/c", there())]);
        let moved =
            [("new/b", there()), ("new/d", there()), ("old/a", gone()), ("old/b", gone()), ("old/c", gone())];
        assert_eq!(apply(&mut catalog, &moved), ["old/b -> new/b #1", "old/a -> new/d #1", "-old/c"]);
    }

    #[test]
    fn a_look_that_often_passes_is_doubted() {
        let mut catalog = Catalog::default();
        let a = key("a");
        assert!(!catalog.doubts(&a, &Look::Gone), "not known to be there");
        assert!(catalog.doubts(&a, &text("")));
        apply(&mut catalog, &[("a", text("1"))]);
        for look in [text(""), Look::Gone, Look::InMotion, unreadable()] {
            assert!(catalog.doubts(&a, &look), "{look:?}");
        }
        assert!(!catalog.doubts(&a, &text("2")));
        apply(&mut catalog, &[("a", text(""))]);
        assert!(!catalog.doubts(&a, &text("")));
    }
}
