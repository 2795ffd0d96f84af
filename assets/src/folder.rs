//! A folder of scripts or scenes on disk: what is in it, and what is in a file.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{Asset, AssetError, AssetName, catalog::Look, name::Key};

/// One of the library's folders.
#[derive(Debug)]
pub(crate) struct Folder {
    pub asset: Asset,
    /// As it was given: what messages show.
    root: PathBuf,
    /// Without symbolic links: what the system's events speak of.
    pub canonical: PathBuf,
}

/// What is in a folder.
#[derive(Debug)]
pub(crate) struct Listing {
    pub asset: Asset,
    pub files: BTreeMap<Key, Stamp>,
    /// The folders below that could not be listed. Nothing is known about their files.
    pub unlisted: Vec<(Hint, AssetError)>,
}

/// The marks by which one sees that a file was written without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Device, inode and time of the last change to either. An editor can set the time of modification, but
    /// not these.
    identity: (u64, u64, i64, i64),
}

/// Some file or folder below one of the library's folders that may have changed. `/` separates its parts; the
/// folder itself is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hint {
    pub asset: Asset,
    below: String,
}

impl Hint {
    pub fn of(key: &Key) -> Self {
        Hint { asset: key.asset, below: fold(key.file()) }
    }

    pub fn all(asset: Asset) -> Self {
        Hint { asset, below: String::new() }
    }

    /// All hints that speak of this file: by its own name, by that of a folder around it, or of everything.
    pub fn about(key: &Key) -> impl Iterator<Item = Hint> {
        let around = |path: &String| match path.rfind('/') {
            Some(end) => Some(path[..end].to_owned()),
            None => (!path.is_empty()).then(String::new),
        };
        let asset = key.asset;
        std::iter::successors(Some(fold(key.file())), around).map(move |below| Hint { asset, below })
    }

    /// Whether it speaks of this file.
    pub fn covers(&self, key: &Key) -> bool {
        Hint::about(key).any(|hint| hint == *self)
    }
}

/// Where the file system does not tell cases apart, events may write a name in another way than the folder's
/// list does.
fn fold(path: String) -> String {
    if cfg!(any(windows, target_vendor = "apple")) { path.to_lowercase() } else { path }
}

impl Folder {
    pub fn open(asset: Asset, root: PathBuf) -> Result<Self, AssetError> {
        let unlisted = |source| match io::Error::kind(&source) {
            io::ErrorKind::NotFound => AssetError::NoFolder { path: root.clone() },
            _ => AssetError::Unlisted { path: root.clone(), source: Arc::new(source) },
        };
        let canonical = root.canonicalize().map_err(unlisted)?;
        if !canonical.is_dir() {
            return Err(AssetError::NotAFolder { path: root });
        }
        fs::read_dir(&canonical).map_err(unlisted)?;
        Ok(Folder { asset, root, canonical })
    }

    /// The path of a file, for messages.
    pub fn path(&self, name: &AssetName) -> PathBuf {
        // Not `set_extension`, which would cut `a.b` short.
        self.root.join(Key::new(self.asset, name).file())
    }

    /// Lists all scripts or scenes and reads none. Scenes lie in the folder itself, scripts in any below it
    /// too.
    pub fn list(&self) -> Listing {
        let mut listing = Listing { asset: self.asset, files: BTreeMap::new(), unlisted: Vec::new() };
        self.list_below(&mut Vec::new(), &mut vec![self.canonical.clone()], &mut listing);
        listing
    }

    /// `parts` leads from the root to the folder to list, and `inside` holds that and all around it without
    /// links: a link to one of them would lead round for ever.
    fn list_below(&self, parts: &mut Vec<String>, inside: &mut Vec<PathBuf>, listing: &mut Listing) {
        let mut folder = self.root.clone();
        folder.extend(&*parts);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let hint = Hint { asset: self.asset, below: fold(parts.join("/")) };
                let error = AssetError::Unlisted { path: folder, source: Arc::new(error) };
                listing.unlisted.push((hint, error));
                return;
            }
        };
        for entry in entries.flatten() {
            let Ok(file_name) = entry.file_name().into_string() else {
                tracing::debug!(path = %entry.path().display(), "left out: its name is not UTF-8");
                continue;
            };
            if is_litter(&file_name) {
                continue;
            }
            let name = file_name.strip_suffix(self.asset.extension()).and_then(|name| name.strip_suffix('.'));
            // Follows links; of a link to nothing there is nothing to say.
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => Some(metadata),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => None,
            };
            if metadata.as_ref().is_some_and(fs::Metadata::is_dir) {
                let Some(around) = inside.last().filter(|_| self.asset == Asset::Script) else { continue };
                let is_link = entry.file_type().is_ok_and(|sort| sort.is_symlink());
                let real = if is_link { entry.path().canonicalize() } else { Ok(around.join(&file_name)) };
                if let Ok(real) = real
                    && !inside.contains(&real)
                {
                    parts.push(file_name);
                    inside.push(real);
                    self.list_below(parts, inside, listing);
                    inside.pop();
                    parts.pop();
                }
            } else if let Some(name) = name
                // A pipe would keep its reader waiting.
                && metadata.as_ref().is_none_or(fs::Metadata::is_file)
            {
                let name: String = parts.iter().map(|part| format!("{part}/")).collect::<String>() + name;
                let stamp = metadata.as_ref().map(Stamp::of).unwrap_or_default();
                listing.files.insert(Key::new(self.asset, name), stamp);
            }
        }
    }

    /// Reads a file, and its stamp as it was both before and after.
    pub fn look(&self, name: &AssetName) -> (Look, Stamp) {
        let path = self.path(name);
        for _ in 0..3 {
            let read = fs::metadata(&path).and_then(|before| {
                let bytes = fs::read(&path)?;
                Ok((bytes, Stamp::of(&before), Stamp::of(&fs::metadata(&path)?)))
            });
            match read {
                Ok((bytes, before, after)) if before == after => return (decode(bytes, path), after),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return (Look::Gone, Stamp::default());
                }
                Err(error) => {
                    let stamp = fs::metadata(&path).as_ref().map(Stamp::of).unwrap_or_default();
                    let error = AssetError::Unreadable { path, source: Arc::new(error) };
                    return (Look::Unreadable(error), stamp);
                }
            }
        }
        (Look::InMotion, Stamp::default())
    }

    /// What an event about this path hints at, unless it lies elsewhere or is of no interest.
    pub fn hint(&self, path: &Path, is_file: bool) -> Option<Hint> {
        let below = path.strip_prefix(&self.canonical).ok()?;
        let parts: Vec<&str> = below.iter().map(OsStr::to_str).collect::<Option<_>>()?;
        let of_no_interest = is_file && below.extension() != Some(OsStr::new(self.asset.extension()));
        if of_no_interest || parts.iter().any(|part| is_litter(part)) {
            return None;
        }
        Some(Hint { asset: self.asset, below: fold(parts.join("/")) })
    }

    /// Whether no symbolic link lies between the folder and the file. Links can lead to where no events come
    /// from.
    pub fn is_direct(&self, name: &AssetName) -> bool {
        // The folder itself may be a link, which may since lead elsewhere.
        let Ok(root) = self.root.canonicalize() else { return false };
        let real = root.join(Key::new(self.asset, name).file());
        match self.path(name).canonicalize() {
            Ok(path) => path == real,
            // It is gone: the folder around it has to do.
            Err(_) => {
                real.parent().is_some_and(|around| around.canonicalize().is_ok_and(|path| path == around))
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let identity = (0, 0, 0, 0);
        Stamp { len: metadata.len(), modified: metadata.modified().ok(), identity }
    }

    /// Whether a file with this stamp can be written again, now or later, without its stamp showing it:
    /// clocks of file systems tick every few milliseconds, some only every two seconds.
    pub fn is_fresh(&self) -> bool {
        self.modified.is_none_or(|modified| {
            // A fraction shows that the clock can do better than seconds.
            let whole_seconds =
                modified.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|t| t.subsec_nanos() == 0);
            let tick = if whole_seconds { Duration::from_secs(2) } else { Duration::from_millis(50) };
            let age = SystemTime::now().duration_since(modified);
            // A time yet to come is off by more than a tick; waiting for it would be in vain.
            age.unwrap_or_else(|ahead| ahead.duration()) < tick
        })
    }
}

/// Whether a file or folder of this name is one that editors leave behind, or is hidden.
fn is_litter(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    name.starts_with('.')
        || name.starts_with('#')
        || name.ends_with('~')
        // vim writes it to see whether it can.
        || name == "4913"
        || matches!(extension, Some("swp" | "swo" | "swx" | "tmp"))
}

fn decode(bytes: Vec<u8>, path: PathBuf) -> Look {
    match String::from_utf8(bytes) {
        Ok(text) => Look::Text(text.strip_prefix('\u{feff}').unwrap_or(&text).into()),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count();
            Look::Unreadable(AssetError::NotUtf8 { path, line, offset })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(files: &[&str]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "return {}").unwrap();
        }
        let folder = Folder::open(Asset::Script, dir.path().to_owned()).unwrap();
        (dir, folder)
    }

    fn names(folder: &Folder) -> Vec<String> {
        folder.list().files.into_keys().map(|key| key.name.into()).collect()
    }

    #[test]
    fn only_scripts_are_listed_and_no_litter() {
        let litter = [
            ".#a.luau",
            ".hidden.luau",
            ".git/x.luau",
            "a.luau~",
            "#a.luau#",
            "4913",
            "a.luau.swp",
            "a.luau.tmp",
        ];
        let (_dir, folder) = scripts(&litter);
        assert!(names(&folder).is_empty());
        let (_dir, folder) =
            scripts(&["a.luau", "ai/deep/b.luau", "v1.2/c.d.luau", "README.md", "noluau", "x.lua"]);
        assert_eq!(names(&folder), ["a", "ai/deep/b", "v1.2/c.d"]);
    }

    #[test]
    fn a_hint_covers_the_file_and_all_below_a_folder() {
        let (dir, folder) = scripts(&[]);
        let root = dir.path().canonicalize().unwrap();
        let covers = |hinted: &str, name: &str| {
            folder.hint(&root.join(hinted), false).unwrap().covers(&Key::new(Asset::Script, name))
        };
        assert!(covers("ai/util.luau", "ai/util"));
        assert!(covers("ai", "ai/util"));
        assert!(covers("", "ai/util"));
        assert!(!covers("a", "ai/util"));
        assert!(!covers("ai/util", "ai/util"), "that is a folder of this name");
        assert!(!covers("ai/util.luau", "ai/util2"));
        assert_eq!(folder.hint(Path::new("/elsewhere/a.luau"), false), None);
        assert_eq!(folder.hint(&root.join("ai/.git/x.luau"), false), None);
        assert_eq!(folder.hint(&root.join("debug.log"), true), None);
    }

    #[test]
    fn a_file_that_is_not_text_tells_where() {
        let (dir, folder) = scripts(&[]);
        fs::write(dir.path().join("a.luau"), b"one\ntwo\xff\n").unwrap();
        let (Look::Unreadable(error), _) = folder.look(&"a".into()) else { panic!() };
        let message = error.to_string();
        assert!(message.ends_with("a.luau:2: not UTF-8 text (byte 7 of the file)"), "{message}");
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let (dir, folder) = scripts(&[]);
        fs::write(dir.path().join("a.luau"), "\u{feff}return 1").unwrap();
        assert!(matches!(folder.look(&"a".into()), (Look::Text(text), _) if &*text == "return 1"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles() {
        use std::os::unix::fs::symlink;
        let (elsewhere, _) = scripts(&["c.luau"]);
        let (dir, folder) = scripts(&["a/x.luau", "b/y.luau"]);
        symlink(dir.path(), dir.path().join("a/top")).unwrap();
        symlink("../b", dir.path().join("a/l")).unwrap();
        symlink("../a", dir.path().join("b/m")).unwrap();
        symlink(elsewhere.path(), dir.path().join("far")).unwrap();
        symlink("nothing", dir.path().join("dangling.luau")).unwrap();
        assert_eq!(names(&folder), ["a/l/y", "a/x", "b/m/x", "b/y", "far/c"]);
        assert!(folder.is_direct(&"a/x".into()) && folder.is_direct(&"a/deleted".into()));
        assert!(!folder.is_direct(&"far/c".into()) && !folder.is_direct(&"far/deleted".into()));
    }

    #[test]
    fn a_stamp_is_fresh_for_as_long_as_the_clock_of_its_file_system_stands_still() {
        let is_fresh = |modified| Stamp { modified: Some(modified), ..Stamp::default() }.is_fresh();
        let now = SystemTime::now();
        let fraction = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
        let second = now - Duration::from_nanos(fraction.into());
        assert!(is_fresh(second), "by a clock of whole seconds it is still that second");
        assert!(!is_fresh(second - Duration::from_secs(5)));
        assert!(!is_fresh(second - Duration::from_millis(500)));
        assert!(!is_fresh(now + Duration::from_secs(3600)));
        assert!(Stamp::default().is_fresh(), "without a time nothing can be told");
    }

    #[cfg(unix)]
    #[test]
    fn a_stamp_shows_a_replaced_file_of_the_same_size_and_time() {
        let (dir, folder) = scripts(&["a.luau", "b.luau"]);
        let stamp = |folder: &Folder| folder.list().files[&Key::new(Asset::Script, "a")];
        let before = stamp(&folder);
        let time = fs::metadata(dir.path().join("a.luau")).unwrap().modified().unwrap();
        fs::File::options().write(true).open(dir.path().join("b.luau")).unwrap().set_modified(time).unwrap();
        fs::rename(dir.path().join("b.luau"), dir.path().join("a.luau")).unwrap();
        assert_ne!(before, stamp(&folder));
    }
}
