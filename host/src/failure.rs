//! Errors of scripts, as people get to see them.

use bevy_ecs::entity::Entity;
use bluetick_scripting::{ParkCode, Parked};
use std::collections::HashMap;
use std::fmt;

/// An error that has stopped tasklets, or has kept a script from starting.
///
/// The same error of many tasklets in one frame is one of these, with a [count](Self::count).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptFailure {
    /// The entity whose script it was, if it belonged to one.
    pub entity: Option<Entity>,
    /// The script's name, such as `ai/guard`; empty if the tasklet belonged to no entity.
    pub script: String,
    /// The tasklet's name.
    pub tasklet: String,
    /// What is wrong, with `file:line:` where known.
    pub message: String,
    /// The calls that led there, innermost first, one a line: `file:line in function 'name'`.
    pub traceback: String,
    /// The line at fault and its neighbours, as far as the source is known.
    pub excerpt: String,
    /// In how many tasklets of the script it has happened in this frame. All the rest is of the first of them.
    pub count: usize,
    /// Whether the script had started; if not, the error has kept it from that.
    pub started: bool,
    /// Where the tasklet waits for its code to be mended; `None` if the error has ended it.
    pub parked: Option<ParkedAt>,
}

/// Where a tasklet that has failed waits for its code to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedAt {
    /// How far out it waits: RL201 at the statement that failed, RL202 further out.
    pub code: ParkCode,
    /// The file that it goes on in.
    pub file: String,
    /// The version of that file's text.
    pub version: u32,
    /// The line that it goes on from.
    pub line: u32,
    /// The function, if it has a name.
    pub function: String,
    /// Its first locals there, and their values as text.
    pub locals: Vec<(String, String)>,
    /// What can be done, for people.
    pub advice: String,
}

impl From<&Parked> for ParkedAt {
    fn from(parked: &Parked) -> Self {
        Self {
            code: parked.code,
            file: parked.file.clone(),
            version: parked.version,
            line: parked.line,
            function: parked.function.clone(),
            locals: parked.locals.clone(),
            advice: parked.advice(),
        }
    }
}

impl ScriptFailure {
    /// One that came before any tasklet ran: the message says all that is known.
    pub(crate) fn unstarted(
        entity: Option<Entity>,
        script: String,
        tasklet: String,
        message: String,
    ) -> Self {
        let (traceback, excerpt) = (String::new(), String::new());
        Self { entity, script, tasklet, message, traceback, excerpt, count: 1, started: false, parked: None }
    }
}

impl fmt::Display for ScriptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        for line in self.excerpt.lines() {
            writeln!(f, "    {line}")?;
        }
        write!(f, "  in {}", self.tasklet)?;
        if self.count > 1 {
            write!(f, " and {} more", self.count - 1)?;
        }
        if let Some(ParkedAt { code, advice, .. }) = &self.parked {
            write!(f, "\n  parked ({}): {advice}", code.as_str())?;
        }
        for line in self.traceback.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// A message that names its own entity is the same one in others.
pub(crate) fn of_any_entity(message: &str, entity: Option<Entity>) -> String {
    match entity {
        Some(entity) => message.replace(&format!("entity {entity} "), "this entity "),
        None => message.to_owned(),
    }
}

/// The failures of a frame, the same ones together.
#[derive(Default)]
pub(crate) struct Failures {
    known: HashMap<(String, String, bool), usize>,
}

impl Failures {
    /// A frame begins.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Counts the failure if the same one is in the list already; else where it is to be added.
    pub fn is_known(
        &mut self,
        list: &mut [ScriptFailure],
        script: &str,
        message: &str,
        entity: Option<Entity>,
        parked: bool,
    ) -> bool {
        let message = of_any_entity(message, entity);
        let place = self.known.entry((script.to_owned(), message, parked)).or_insert(list.len());
        match list.get_mut(*place) {
            Some(failure) => {
                failure.count += 1;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_counted_and_another_one_is_not() {
        let mut failures = Failures::default();
        let mut list = Vec::new();
        let entities = [Entity::from_raw_u32(4), Entity::from_raw_u32(5)];
        for entity in entities {
            for (script, text) in [("a", "x"), ("b", "x"), ("a", "x"), ("a", "y")] {
                let message =
                    entity.map(|entity| format!("{text}: entity {entity} is gone")).unwrap_or_default();
                if !failures.is_known(&mut list, script, &message, entity, false) {
                    list.push(ScriptFailure::unstarted(entity, script.into(), "t".into(), message));
                }
            }
        }
        let counts: Vec<_> = list.iter().map(|one| (one.script.as_str(), one.count)).collect();
        assert_eq!(counts, [("a", 4), ("b", 2), ("a", 2)]);
        failures.clear();
        assert!(!failures.is_known(&mut [], "a", "x", None, false));
    }
}
