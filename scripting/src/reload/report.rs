//! What a reload did.

use crate::luau::ModuleError;
use std::fmt;

/// A module that runs new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadedModule {
    /// Its name, such as `ai/util`.
    pub module: String,
    /// Its file, such as `ai/util.luau`.
    pub file: String,
    /// The version that it had.
    pub from: u32,
    /// The version that it has.
    pub to: u32,
}

/// A value that the new text defines differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub file: String,
    /// The field, such as `M.tune.jump`.
    pub path: String,
    /// What it was.
    pub before: String,
    /// What the file says now.
    pub after: String,
    /// The game had changed it, so it keeps what it has.
    pub kept: bool,
}

/// What a reload did, for programs; [`Display`](fmt::Display) is for people.
#[derive(Clone, Debug, Default)]
pub struct ReloadReport {
    /// The modules that run new text.
    pub modules: Vec<ReloadedModule>,
    /// Values that changed, or that the game keeps.
    pub differences: Vec<Difference>,
    /// What is wrong with the batch. If this isn't empty, nothing has changed.
    pub refused: Vec<ModuleError>,
    /// Modules that are fine, and wait for the refused ones of their batch (RL006).
    pub held: Vec<String>,
    /// Errors in `on_reload` functions.
    pub hook_errors: Vec<String>,
}

impl ReloadReport {
    /// The batch was refused.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// There was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty() && self.refused.is_empty()
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_refused() {
            for error in &self.refused {
                writeln!(f, "reload refused  {}", error.module)?;
                let mut lines = error.message.lines();
                writeln!(f, "  {}  {}", error.fault.code(), lines.next().unwrap_or_default())?;
                for line in lines {
                    writeln!(f, "    {line}")?;
                }
            }
            for module in &self.held {
                writeln!(f, "  RL006  {module} was saved with it and waits for it")?;
            }
            return Ok(());
        }
        let modules: Vec<String> =
            self.modules.iter().map(|m| format!("{} #{} -> #{}", m.file, m.from, m.to)).collect();
        writeln!(f, "reload  {}", modules.join(", "))?;
        for difference in &self.differences {
            let Difference { path, before, after, kept, .. } = difference;
            if *kept {
                writeln!(f, "  kept  {path} = {before} (the game changed it; file says {after})")?;
            } else {
                writeln!(f, "  now   {path} {before} -> {after}")?;
            }
        }
        for error in &self.hook_errors {
            writeln!(f, "  hook  {error}")?;
        }
        Ok(())
    }
}
