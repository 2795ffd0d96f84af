//! Names of scripts and scenes, and what a `require` specifier means.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::AssetError;

/// Which of the two sorts of file a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asset {
    /// A `*.luau` file anywhere below the scripts folder.
    Script,
    /// A `*.toml` file directly in the scenes folder.
    Scene,
}

impl Asset {
    /// The extension of its files, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Asset::Script => "luau",
            Asset::Scene => "toml",
        }
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Asset::Script => "script",
            Asset::Scene => "scene",
        })
    }
}

/// Names a script or scene by its path below its folder, without extension and with `/` between the parts on
/// every system: `goblin`, `ai/util`.
///
/// It reads as a `str` and compares with one. Upper and lower case differ, on file systems too which don't
/// tell them apart, so that a project that runs on one machine runs on all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct AssetName(Arc<str>);

impl AssetName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the module or of the folder with `init.luau` that `specifier` means in this
    /// module. Whether either exists is the library's question.
    pub(crate) fn join(&self, specifier: &str) -> Result<AssetName, AssetError> {
        let invalid = |reason| AssetError::InvalidSpecifier {
            specifier: specifier.to_owned(),
            requiring: self.clone(),
            reason,
        };
        if specifier.is_empty() {
            return Err(invalid("it is empty"));
        }
        if specifier.contains('\\') {
            return Err(invalid("the parts of a name are separated by /"));
        }
        if specifier.ends_with(".luau") {
            return Err(invalid("it has an extension"));
        }
        let (mut parts, path): (Vec<&str>, &str) = if let Some(path) = specifier.strip_prefix("@scripts/") {
            (Vec::new(), path)
        } else if specifier.starts_with("./") || specifier.starts_with("../") {
            (self.split('/').collect(), specifier)
        } else if specifier.starts_with('@') {
            return Err(invalid("the only alias is @scripts/"));
        } else if specifier.starts_with('/') || specifier.get(1..2) == Some(":") {
            return Err(invalid("it is an absolute path"));
        } else {
            return Err(invalid("it does not say where to look"));
        };
        // The last part of our own name is the file, not a folder.
        parts.pop();
        for part in path.split('/') {
            match part {
                "" => return Err(invalid("a part of it is empty")),
                "." => {}
                ".." if parts.pop().is_none() => return Err(invalid("it leads out of the scripts folder")),
                ".." => {}
                part => parts.push(part),
            }
        }
        Ok(parts.join("/").into())
    }
}

/// Returns the name among `names` that the writer of `wanted` most likely meant, if any is near enough.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a AssetName>) -> Option<AssetName> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let wanted_last = last(wanted);
    names
        .into_iter()
        // What one writes to get `ai/init` is `ai`.
        .map(|name| name.strip_suffix("/init").map_or_else(|| name.clone(), AssetName::from))
        .filter_map(|name| {
            let whole = edits(&wanted.to_lowercase(), &name.to_lowercase());
            // The right file in the wrong folder is as likely a slip as a wrong letter.
            let moved = 1 + edits(&wanted_last, &last(&name));
            let (distance, length) =
                if whole <= moved { (whole, wanted.len()) } else { (moved, wanted_last.len()) };
            (distance <= 1 + length / 4).then_some((distance, name))
        })
        .min()
        .map(|(_, name)| name)
}

/// The least number of letters to insert, remove, replace or swap with their neighbour to make `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                let swapped: &Vec<usize> = &before;
                least = least.min(swapped[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

impl From<&str> for AssetName {
    fn from(name: &str) -> Self {
        AssetName(name.into())
    }
}

impl From<String> for AssetName {
    fn from(name: String) -> Self {
        AssetName(name.into())
    }
}

impl From<&AssetName> for AssetName {
    fn from(name: &AssetName) -> Self {
        name.clone()
    }
}

impl From<AssetName> for String {
    fn from(name: AssetName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl Deref for AssetName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for AssetName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for AssetName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for AssetName {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for AssetName {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for AssetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AssetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A script or a scene: what everything in this crate is filed under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub asset: Asset,
    pub name: AssetName,
}

impl Key {
    pub fn new(asset: Asset, name: impl Into<AssetName>) -> Self {
        Key { asset, name: name.into() }
    }

    /// The file's path below its folder.
    pub fn file(&self) -> String {
        format!("{}.{}", self.name, self.asset.extension())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn join(requiring: &str, specifier: &str) -> Result<String, String> {
        let joined = AssetName::from(requiring).join(specifier);
        joined.map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn a_relative_specifier_starts_in_the_folder_of_the_requiring_module() {
        assert_eq!(join("goblin", "./ai/util").unwrap(), "ai/util");
        assert_eq!(join("ai/guard", "./util").unwrap(), "ai/util");
        assert_eq!(join("ai/deep/guard", "../util").unwrap(), "ai/util");
        assert_eq!(join("ai/guard", "./../goblin").unwrap(), "goblin");
        assert_eq!(join("ai/guard", "./x/./y/../z").unwrap(), "ai/x/z");
        assert_eq!(join("ai/init", "./util").unwrap(), "ai/util");
    }

    #[test]
    fn the_alias_starts_at_the_top() {
        assert_eq!(join("ai/deep/guard", "@scripts/goblin").unwrap(), "goblin");
        assert_eq!(join("ai/deep/guard", "@scripts/ai/../goblin").unwrap(), "goblin");
    }

    #[test]
    fn no_specifier_escapes_the_scripts_folder() {
        for (requiring, specifier) in [
            ("goblin", "../x"),
            ("ai/guard", "../../x"),
            ("ai/guard", "@scripts/../x"),
            ("a/b", "./../../c/d"),
        ] {
            let message = join(requiring, specifier).unwrap_err();
            assert!(message.contains("out of the scripts folder"), "{message}");
        }
    }

    #[test]
    fn an_invalid_specifier_is_told_what_is_allowed() {
        for (specifier, reason) in [
            ("", "it is empty"),
            ("util", "does not say where"),
            ("/etc/passwd", "absolute"),
            ("C:/x", "absolute"),
            (".\\x", "separated by /"),
            ("@game/x", "only alias"),
            ("@scripts", "only alias"),
            ("./x.luau", "extension"),
            ("./a//b", "part of it is empty"),
            ("./a/", "part of it is empty"),
            ("./", "part of it is empty"),
        ] {
            let message = join("ai/guard", specifier).unwrap_err();
            for part in
                [reason, "`ai/guard`", &format!("\"{specifier}\""), "./name", "../name", "@scripts/name"]
            {
                assert!(message.contains(part), "{message} lacks {part}");
            }
        }
    }

    #[test]
    fn the_nearest_name_forgives_letters_case_and_folders_but_is_not_just_any() {
        let names = ["goblin", "ai/util", "ai/path/init", "shop"].map(AssetName::from);
        let nearest = |wanted| nearest(wanted, &names).map(String::from);
        assert_eq!(nearest("golbin").as_deref(), Some("goblin"));
        assert_eq!(nearest("Goblin").as_deref(), Some("goblin"));
        assert_eq!(nearest("util").as_deref(), Some("ai/util"));
        assert_eq!(nearest("lib/utli").as_deref(), Some("ai/util"));
        assert_eq!(nearest("ai/pth").as_deref(), Some("ai/path"));
        assert_eq!(nearest("dragon"), None);
        assert_eq!(nearest(""), None);
    }

    proptest! {
        #[test]
        fn a_joined_name_never_has_empty_or_dot_parts(
            requiring in "[a-c](/[a-c]){0,3}", specifier in r"(\./|\.\./|@scripts/)?([a-c.@/:]|\.\.){0,8}"
        ) {
            if let Ok(name) = AssetName::from(requiring.as_str()).join(&specifier) {
                prop_assert!(name.is_empty() || name.split('/').all(|part| !["", ".", ".."].contains(&part)));
            }
        }

        #[test]
        fn edits_are_counted_the_same_both_ways(a in "[a-d]{0,6}", b in "[a-d]{0,6}") {
            prop_assert_eq!(edits(&a, &b), edits(&b, &a));
            prop_assert_eq!(edits(&a, &b) == 0, a == b);
        }
    }
}
