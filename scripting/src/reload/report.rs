//! What a reload did.

use crate::luau::{Failure, ModuleError};
use crate::scheduler::{OwnerId, TaskletId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A module that runs new text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Why something suspended can't go on in new text; each has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PinCode {
    /// RL101: the call that it waits in is gone, or calls something else; or the statement that has failed is
    /// another one, and nothing tells where that stood.
    WaitRemoved,
    /// RL102: the function is gone.
    FunctionRemoved,
    /// RL103: the rest of the expression that it waits in was edited.
    UnfinishedExpression,
    /// RL104: a local of the new text has no value yet at this place.
    NewLocal,
    /// RL105: the parameters are others.
    Parameters,
    /// RL106: the `for` loops around it are others.
    Loops,
    /// RL107: it would need outer variables that can't be found, or can't be shared.
    OuterVariables,
    /// RL108: it would need a variable of a call that has ended.
    CreatorGone,
    /// RL109: it was interrupted in the middle of a statement.
    Interrupted,
    /// RL110: a local that closures share is used otherwise.
    CapturedLocals,
}

impl PinCode {
    /// The code in reports, such as `RL104`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WaitRemoved => "RL101",
            Self::FunctionRemoved => "RL102",
            Self::UnfinishedExpression => "RL103",
            Self::NewLocal => "RL104",
            Self::Parameters => "RL105",
            Self::Loops => "RL106",
            Self::OuterVariables => "RL107",
            Self::CreatorGone => "RL108",
            Self::Interrupted => "RL109",
            Self::CapturedLocals => "RL110",
        }
    }
}

/// Why, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// Its code.
    pub code: PinCode,
    /// What the matter is.
    pub text: String,
    /// What would help, if something does.
    pub advice: String,
}

#[cfg_attr(not(feature = "reload"), allow(dead_code))]
impl Reason {
    fn new(code: PinCode, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code, text: text.into(), advice: advice.into() }
    }

    pub(crate) fn wait_removed() -> Self {
        Self::new(PinCode::WaitRemoved, "the call that it waits in was removed or changed", "")
    }

    pub(crate) fn statement_removed() -> Self {
        let text = "the statement that has failed was removed or changed, and there is no place to go on";
        Self::new(PinCode::WaitRemoved, text, "")
    }

    pub(crate) fn function_removed() -> Self {
        Self::new(PinCode::FunctionRemoved, "the function was removed", "")
    }

    pub(crate) fn unfinished_expression() -> Self {
        let text = "the expression that it is in the middle of was edited";
        Self::new(PinCode::UnfinishedExpression, text, "")
    }

    pub(crate) fn new_local(name: &str) -> Self {
        Self::new(
            PinCode::NewLocal,
            format!("new local '{name}' has no value at this wait"),
            format!("give it a constant ('local {name} = nil')"),
        )
    }

    pub(crate) fn parameters() -> Self {
        Self::new(PinCode::Parameters, "the function has other parameters now", "")
    }

    pub(crate) fn loops() -> Self {
        Self::new(PinCode::Loops, "the 'for' loops around this wait are others now", "")
    }

    pub(crate) fn outer(name: &str) -> Self {
        let text = format!("the outer variable '{name}' can't be shared with it");
        Self::new(PinCode::OuterVariables, text, "")
    }

    pub(crate) fn creator_gone(name: &str) -> Self {
        let text = format!("'{name}' is a local of the call that has made it, which has not kept it");
        Self::new(PinCode::CreatorGone, text, "")
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(PinCode::Interrupted, "it was interrupted between two statements", "")
    }

    pub(crate) fn captured(name: &str) -> Self {
        let text = format!("the local '{name}' is shared with closures in another way now");
        Self::new(PinCode::CapturedLocals, text, "")
    }
}

/// Tasklets (or coroutines of scripts) that finish a call on old text, at one place and for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// How many.
    pub count: usize,
    /// The module's file, such as `guard.luau`.
    pub file: String,
    /// The version of the text that they run.
    pub version: u32,
    /// The line in that text.
    pub line: u32,
    /// The function, if it has a name.
    pub function: String,
    /// Why.
    pub reason: Reason,
}

impl Pin {
    /// What can be done.
    pub fn advice(&self) -> String {
        let Self { file, reason, .. } = self;
        match &*reason.advice {
            // One that loops without end never gets to a wait.
            "" if reason.code == PinCode::Interrupted => {
                format!(
                    "restart {file} if it never waits; else it moves at the first save after it has waited"
                )
            }
            "" => format!("its next call runs the new text; or restart {file}"),
            advice => format!("{advice}, or restart {file}"),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, version, line, function, reason, .. } = self;
        write!(f, "{file}#{version}:{line}")?;
        if !function.is_empty() {
            write!(f, " in {function}")?;
        }
        write!(f, ": {} {}", reason.code.as_str(), reason.text)
    }
}

/// A tasklet that finishes a call on old text.
#[derive(Clone, Debug)]
pub struct Stale {
    /// The tasklet.
    pub tasklet: TaskletId,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// Its name, or a number.
    pub name: String,
    /// Where it was when that text was replaced, and why it could not go on in the new one.
    pub pin: Pin,
}

/// Why a tasklet is parked, or can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ParkCode {
    /// RL201: it waits at the statement that failed.
    Parked,
    /// RL202: it failed there again after a fix, and waits at the statement further out that led there.
    FurtherOut,
}

impl ParkCode {
    /// The code in reports, such as `RL201`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "RL201",
            Self::FurtherOut => "RL202",
        }
    }
}

impl Parked {
    /// What can be done, and what is known: `it goes on from line 27 when guard.luau is saved again;  locals: hp=57`.
    pub fn advice(&self) -> String {
        let mut text = format!("it goes on from line {} when {} is saved again", self.line, self.file);
        if !self.locals.is_empty() {
            let locals: Vec<String> =
                self.locals.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text += &format!(";  locals: {}", locals.join(" "));
        }
        text
    }
}

/// A tasklet that has failed and waits for its code to be mended.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The tasklet.
    pub tasklet: TaskletId,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// What it died of, with the calls that led there.
    pub failure: Failure,
    /// How far out it waits.
    pub code: ParkCode,
    /// The file that it goes on in.
    pub file: String,
    /// The version of that text.
    pub version: u32,
    /// The line that it goes on from.
    pub line: u32,
    /// The function, if it has a name.
    pub function: String,
    /// Its first locals there, and their values as text.
    pub locals: Vec<(String, String)>,
}

/// What a reload did, for programs; [`Display`](fmt::Display) is for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The modules that run new text.
    pub modules: Vec<ReloadedModule>,
    /// How long it took, evaluating the new text included.
    pub took: Duration,
    /// Tasklets that were suspended in the old text and go on in the new.
    pub moved: usize,
    /// Tasklets that finish a call on old text.
    pub stale: usize,
    /// Tasklets that begin anew instead of that, because their module wants it so.
    pub restarted: usize,
    /// Tasklets that had failed and go on with this.
    pub resumed: usize,
    /// Tasklets that have failed and wait for a fix.
    pub parked: usize,
    /// Where tasklets finish on old text, and why.
    pub pins: Vec<Pin>,
    /// Values that changed, or that the game keeps.
    pub differences: Vec<Difference>,
    /// What is wrong with the batch. If this isn't empty, nothing has changed.
    pub refused: Vec<ModuleError>,
    /// Modules that are fine, and wait for the refused ones of their batch (RL006).
    pub held: Vec<String>,
    /// The versions that go on, of those that were refused: file and version.
    pub still: Vec<(String, u32)>,
    /// Errors in `on_reload` and `migrate` functions.
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

    fn write_refused(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.refused {
            write!(f, "reload refused  {}", error.module)?;
            let still = self.still.iter().find(|(module, _)| *module == error.module);
            match still {
                Some((_, version)) => writeln!(f, " (still #{version})")?,
                None => writeln!(f)?,
            }
            let mut lines = error.message.lines();
            writeln!(f, "  {}  {}", error.fault.code(), lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(f, "    {line}")?;
            }
        }
        for module in &self.held {
            writeln!(f, "  RL006  {module} was saved with it and waits for it")?;
        }
        Ok(())
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_refused() {
            return self.write_refused(f);
        }
        let modules: Vec<String> =
            self.modules.iter().map(|m| format!("{} #{} -> #{}", m.file, m.from, m.to)).collect();
        writeln!(f, "reload  {}", modules.join(", "))?;
        let mut counts: Vec<String> = [
            (self.moved, "moved", "moved"),
            (self.stale, "finishes on old text", "finish on old text"),
            (self.restarted, "begins anew", "begin anew"),
            (self.resumed, "goes on after its error", "go on after their error"),
            (self.parked, "parked", "parked"),
        ]
        .into_iter()
        .filter(|&(count, ..)| count > 0)
        .map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }))
        .collect();
        if let Some(first) = counts.first_mut() {
            let (count, what) = first.split_once(' ').unwrap_or_default();
            *first = format!("{count} tasklet{} {what}", if count == "1" { "" } else { "s" });
            writeln!(f, "  {}", counts.join(", "))?;
        }
        for difference in &self.differences {
            let Difference { path, before, after, kept, .. } = difference;
            if *kept {
                writeln!(f, "  kept  {path} = {before} (the game changed it; file says {after})")?;
            } else {
                writeln!(f, "  now   {path} {before} -> {after}")?;
            }
        }
        for pin in &self.pins {
            writeln!(f, "  old   {} x {pin}", pin.count)?;
            writeln!(f, "        {}", pin.advice())?;
        }
        for error in &self.hook_errors {
            writeln!(f, "  hook  {error}")?;
        }
        Ok(())
    }
}
