//! The text of a file at one version.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::{Serialize, Serializer};

use crate::AssetName;

/// One version of a script or scene.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in the library.
    pub name: AssetName,
    /// Its file, below the folder as that was given to the library; for text in memory the path which it
    /// would have.
    pub path: PathBuf,
    /// The whole text, without a byte order mark.
    pub text: Arc<str>,
    /// The hash of `text`.
    pub hash: ContentHash,
    /// Counts 1, 2, 3... with the contents that this file has had. It never goes back, not even when an
    /// earlier content returns or the file is deleted and made again. A renamed file goes on from its old
    /// name's version.
    pub version: u32,
}

// The text would drown everything else in a log.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { name, path, text, hash, version } = self;
        write!(f, "Source({name} #{version}, {} bytes, hash {hash}, {})", text.len(), path.display())
    }
}

/// Tells contents apart: equal for equal text, on every machine and in every build.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(u64);

impl ContentHash {
    /// Hashes a text.
    ///
    /// It is FNV-1a with 64 bits. The standard library's hasher may change with each release of Rust, while
    /// reports and recordings keep hashes. The files are small and nobody gains from a collision, so neither
    /// a faster hash nor a cryptographic one is worth a dependency.
    pub fn of(text: &str) -> Self {
        ContentHash(
            text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            }),
        )
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// As text, since not every format has numbers of 64 bits.
impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_fnv_1a() {
        assert_eq!(ContentHash::of("").to_string(), "cbf29ce484222325");
        assert_eq!(ContentHash::of("a").to_string(), "af63dc4c8601ec8c");
        assert_eq!(ContentHash::of("foobar").to_string(), "85944171f73967e8");
    }
}
