//! What scripts may do: everything that is registered, unless a profile says less.
//!
//! ```
//! use bluetick::Profiles;
//!
//! let profiles = Profiles::from_toml(r#"
//!     [guest]
//!     scripts = ["mods/*", "visitor"]      # folders and single scripts
//!     read = ["Transform", "Health"]       # components and resources; what is left out is everything
//!     write = ["Transform"]
//!     functions = ["nearest", "paths.*"]
//!     modules = ["lib/*"]
//!     messages = []
//!     despawn = false
//! "#)?;
//! assert_eq!(profiles.of("mods/dragon").map(|profile| profile.name.as_str()), Some("guest"));
//! assert!(profiles.of("guard").is_none());
//! # Ok::<(), bluetick::ProfileError>(())
//! ```
//!
//! Tasklets of a script with another profile, or of the game, can't be killed or changed from a script that has one.
//!
//! A profile is that of the script whose tasklet runs, in whichever file the function is that it calls; only for
//! `require` it is that of the file with the `require`. A module that a profile grants is shared with all others that
//! require it: grant those only that may be changed by whoever has the profile.

use bluetick_scripting::{Error, ErrorKind};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Names that a profile grants: all, or those that are listed. `ai/*` are all that begin with `ai/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    only: Option<Vec<String>>,
}

impl Grant {
    /// Everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// These names, and nothing else.
    pub fn only(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { only: Some(names.into_iter().map(Into::into).collect()) }
    }

    /// Whether it grants this name.
    pub fn allows(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|pattern| matches(pattern, name)))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// What scripts of some kind may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What error messages call it.
    pub name: String,
    /// The scripts that it is for: names, or beginnings with a `*`. Of several that fit, the longest counts.
    pub scripts: Vec<String>,
    /// Components and resources that they may read; `Script` for `entity.Script` and `entity.enabled`. Names of entities
    /// are free to read.
    pub read: Grant,
    /// Components and resources that they may write, insert and remove; `Script` for starting and pausing scripts, `Name`
    /// for naming entities.
    pub write: Grant,
    /// Functions of `world`, and `module.name` for those in a module; `reload` for `reload.now` and `reload.rollback`,
    /// `clock` for scaling and pausing clocks, `scheduler` for callbacks of the scheduler.
    pub functions: Grant,
    /// Scripts that they may require, by their names below the script folder.
    pub modules: Grant,
    /// Messages that they may send and receive.
    pub messages: Grant,
    /// Whether they may spawn entities.
    pub spawn: bool,
    /// Whether they may despawn entities.
    pub despawn: bool,
}

impl Profile {
    /// A profile that grants everything, for these scripts.
    pub fn new(name: impl Into<String>, scripts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            scripts: scripts.into_iter().map(Into::into).collect(),
            read: Grant::everything(),
            write: Grant::everything(),
            functions: Grant::everything(),
            modules: Grant::everything(),
            messages: Grant::everything(),
            spawn: true,
            despawn: true,
        }
    }

    /// An error of kind `denied`, unless it is granted.
    pub(crate) fn check(&self, is_granted: bool, capability: &str) -> Result<(), Error> {
        if is_granted {
            return Ok(());
        }
        let text = format!("the profile '{}' of this script does not grant: {capability}", self.name);
        Err(Error::new(ErrorKind::Denied, text))
    }
}

/// Why a text describes no profiles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("profiles: {0}")]
pub struct ProfileError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    scripts: Vec<String>,
    read: Option<Vec<String>>,
    write: Option<Vec<String>>,
    functions: Option<Vec<String>>,
    modules: Option<Vec<String>>,
    messages: Option<Vec<String>>,
    #[serde(default = "granted")]
    spawn: bool,
    #[serde(default = "granted")]
    despawn: bool,
}

fn granted() -> bool {
    true
}

/// The profiles of a game. A script that none of them is for may do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    all: Vec<Profile>,
}

impl Profiles {
    /// Reads profiles, a table each, as at the top of this page.
    ///
    /// # Errors
    /// What is no such text, with its place.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let described: BTreeMap<String, Described> =
            toml::from_str(text).map_err(|error| ProfileError(error.to_string().trim_end().to_owned()))?;
        let grant = |names: Option<Vec<String>>| Grant { only: names };
        let profile = |(name, described): (String, Described)| Profile {
            name,
            scripts: described.scripts,
            read: grant(described.read),
            write: grant(described.write),
            functions: grant(described.functions),
            modules: grant(described.modules),
            messages: grant(described.messages),
            spawn: described.spawn,
            despawn: described.despawn,
        };
        Ok(Self { all: described.into_iter().map(profile).collect() })
    }

    /// Adds a profile.
    pub fn add(&mut self, profile: Profile) {
        self.all.push(profile);
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The profile of a script; `None` if it may do everything.
    pub fn of(&self, script: &str) -> Option<&Profile> {
        self.number_of(script).map(|number| &self.all[number])
    }

    pub(crate) fn number_of(&self, script: &str) -> Option<usize> {
        let fits = |profile: &Profile| {
            let patterns = profile.scripts.iter().filter(|pattern| matches(pattern, script));
            // A name says more than a beginning of the same length.
            patterns.map(|pattern| (pattern.trim_end_matches('*').len(), !pattern.ends_with('*'))).max()
        };
        let best = self.all.iter().enumerate().filter_map(|(number, profile)| Some((fits(profile)?, number)));
        best.max_by_key(|&(fit, _)| fit).map(|(_, number)| number)
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Profile> {
        self.all.get(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_fit_counts_and_a_name_more_than_a_folder() {
        let mut profiles = Profiles::default();
        for (name, pattern) in [("all", "*"), ("mods", "mods/*"), ("one", "mods/a"), ("many", "mods/a*")] {
            profiles.add(Profile::new(name, [pattern]));
        }
        let of = |script| profiles.of(script).map(|profile| profile.name.as_str());
        assert_eq!(of("x"), Some("all"));
        assert_eq!(of("mods/x"), Some("mods"));
        assert_eq!(of("mods/a"), Some("one"));
        assert_eq!(of("mods/ab"), Some("many"));
        assert_eq!(Profiles::default().of("x"), None);
    }

    #[test]
    fn a_mistake_in_a_text_is_named_with_its_place() {
        for (text, parts) in [
            ("[a]\nread = []", ["missing field `scripts`", "1"]),
            ("[a]\nscripts = ['x']\nraed = []", ["unknown field `raed`", "line 3"]),
            ("[a]\nscripts = 'x'", ["invalid type", "line 2"]),
            ("[a", ["line 1", "a"]),
        ] {
            let error = Profiles::from_toml(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }
}
