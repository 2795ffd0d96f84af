//! What the scheduler raises: a kind for programs, a text for people.

use std::fmt;

/// Why the scheduler refused an operation; scripts read it as the field `kind` of the error value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The tasklet is dead, unbound or was given no arguments.
    Dead,
    /// The tasklet waits for something, so it can't be run, queued, removed or bound.
    Blocked,
    /// The tasklet is alive, so it can't be set up or bound again.
    Alive,
    /// The operation is not possible on the current tasklet.
    Current,
    /// The tasklet has no function.
    Unbound,
    /// The tasklet would block, but its `block_trap` is set.
    BlockTrap,
    /// A switch was asked for while the switch trap is set.
    SwitchTrap,
    /// Nothing could ever wake the caller.
    Deadlock,
    /// A scheduler callback tried to switch or to use a channel.
    Callback,
    /// The tasklet belongs to another scheduler.
    WrongThread,
    /// The channel is closing and nobody waits at its other end.
    Closed,
    /// A blocking call in a place where the VM can't suspend.
    Boundary,
    /// An argument of the wrong type or range.
    Type,
    /// The tasklet is being killed (`TaskletExit`).
    Exit,
    /// The end of a channel's iteration (`StopIteration`).
    Stop,
    /// The entity or component is gone.
    Gone,
    /// The script used up its budget and did not yield.
    Budget,
    /// The VM's memory limit is reached.
    Memory,
}

impl ErrorKind {
    /// The name by which scripts know this kind.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Blocked => "blocked",
            Self::Alive => "alive",
            Self::Current => "current",
            Self::Unbound => "unbound",
            Self::BlockTrap => "block_trap",
            Self::SwitchTrap => "switch_trap",
            Self::Deadlock => "deadlock",
            Self::Callback => "callback",
            Self::WrongThread => "wrong_thread",
            Self::Closed => "closed",
            Self::Boundary => "boundary",
            Self::Type => "type",
            Self::Exit => "exit",
            Self::Stop => "stop",
            Self::Gone => "gone",
            Self::Budget => "budget",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error of the scheduler or of the VM that it runs scripts in.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong, for programs.
    pub kind: ErrorKind,
    /// What went wrong, for people: names the tasklet, the channel and the place where known.
    pub message: String,
}

impl Error {
    /// An error of `kind` with a text for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An error about an argument or a value of the wrong type.
    pub fn wrong_type(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Type, message)
    }
}

impl From<mlua::Error> for Error {
    fn from(error: mlua::Error) -> Self {
        let kind = match error {
            mlua::Error::MemoryError(_) => ErrorKind::Memory,
            _ => ErrorKind::Type,
        };
        Self::new(kind, error.to_string())
    }
}
