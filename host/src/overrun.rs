//! Slices that were too long, as people get to see them.

use bevy_ecs::entity::Entity;
use std::fmt;

/// A tasklet that did not give control away in its slice, and was interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptOverrun {
    /// The entity whose script it was, if it belonged to one.
    pub entity: Option<Entity>,
    /// The script's name, such as `ai/guard`; empty if the tasklet belonged to no entity.
    pub script: String,
    /// The tasklet's name.
    pub tasklet: String,
    /// Where it was interrupted: `file:line`.
    pub place: String,
    /// The calls that led there, innermost first, one a line: `file:line in function 'name'`.
    pub traceback: String,
    /// How many slices in a row it has used up.
    pub in_a_row: u32,
    /// It was ended with an error of kind `budget`, instead of going on in the next frame.
    pub stopped: bool,
}

impl fmt::Display for ScriptOverrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.stopped { "was ended" } else { "goes on in the next frame" };
        write!(f, "{}: {} has used up its slice ", self.place, self.tasklet)?;
        match self.in_a_row {
            1 => write!(f, "and {end}"),
            n => write!(f, "{n} times in a row and {end}"),
        }
    }
}
