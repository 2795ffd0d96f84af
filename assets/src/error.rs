//! What can go wrong with a project's files.

use std::{io, path::PathBuf, sync::Arc};

use crate::{Asset, AssetName};

/// Why a folder, a file or a required module can't be had. Every message names its place.
///
/// Cloning is cheap: the same error is kept, reported in a change set, and returned to each who reads the
/// file.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AssetError {
    /// The scripts or scenes folder does not exist.
    #[error("there is no folder `{}`", path.display())]
    NoFolder {
        /// The folder as it was given.
        path: PathBuf,
    },
    /// The path given for a folder leads to something else.
    #[error("`{}` is not a folder", path.display())]
    NotAFolder {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A folder exists but can't be listed.
    #[error("cannot list the folder `{}`: {source}", path.display())]
    Unlisted {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file exists but can't be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file holds something else than UTF-8 text.
    #[error("{}:{line}: not UTF-8 text (byte {offset} of the file)", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first offending byte, from 1.
        line: usize,
        /// The place of the first offending byte in the file, from 0.
        offset: usize,
    },
    /// There is no script or scene of this name.
    #[error("there is no {asset} `{name}`{}", did_you_mean(nearest))]
    NotFound {
        /// What was looked for.
        asset: Asset,
        /// The name that was asked for.
        name: AssetName,
        /// The name that comes nearest, or where the file has been moved to.
        nearest: Option<AssetName>,
    },
    /// A `require` with a text that can't name a module.
    #[error(
        "`{requiring}` cannot require \"{specifier}\": {reason}; a module is named by \"./name\" or \"../name\" \
         from the folder of the script, or by \"@scripts/name\" from the top, without `.luau`"
    )]
    InvalidSpecifier {
        /// The text given to `require`.
        specifier: String,
        /// The module that requires it.
        requiring: AssetName,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A `require` of a module that does not exist.
    #[error(
        "`{requiring}` cannot require \"{specifier}\": there is no `{}`{}",
        looked_for.join("` and no `"), did_you_mean(nearest)
    )]
    NoModule {
        /// The text given to `require`.
        specifier: String,
        /// The module that requires it.
        requiring: AssetName,
        /// The files that would have done, below the scripts folder.
        looked_for: Vec<String>,
        /// The module whose name comes nearest.
        nearest: Option<AssetName>,
    },
    /// A `require` that both `x.luau` and `x/init.luau` would answer.
    #[error(
        "`{requiring}` cannot require \"{specifier}\": both `{module}.luau` and `{module}/init.luau` exist; remove one"
    )]
    Ambiguous {
        /// The text given to `require`.
        specifier: String,
        /// The module that requires it.
        requiring: AssetName,
        /// The name shared by the file and the folder.
        module: AssetName,
    },
}

fn did_you_mean(nearest: &Option<AssetName>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
