//! Errors of scripts, as people get to see them.

use bevy_ecs::entity::Entity;
use std::fmt;

/// An error that has ended a tasklet, or has kept a script from starting.
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
}

impl fmt::Display for ScriptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        for line in self.excerpt.lines() {
            writeln!(f, "    {line}")?;
        }
        write!(f, "  in {}", self.tasklet)?;
        for line in self.traceback.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}
