//! What the scheduler raises: a kind for programs, a text for people.

use std::fmt;
use std::rc::Rc;

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
    /// The time that was given for it has passed.
    Timeout,
    /// What was waited for was cancelled: the tasklet was killed.
    Cancelled,
    /// The barrier is broken: somebody who was to come to it won't.
    Broken,
    /// Who lets a lock go does not hold it.
    Owner,
    /// The value was set before.
    Set,
    /// It takes a clock, and this VM has none.
    Clock,
    /// The entity or component is gone.
    Gone,
    /// The host does not grant it to this script.
    Denied,
    /// Values were lost because their receiver was too slow.
    Overflow,
    /// The script used up its budget and did not yield.
    Budget,
    /// The VM's memory limit is reached, or the system has no memory left for a stack.
    Memory,
    /// An error that a script or a Rust function has raised itself.
    Raised,
    /// A Rust body or function has panicked.
    Panic,
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
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Broken => "broken",
            Self::Owner => "owner",
            Self::Set => "set",
            Self::Clock => "clock",
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Overflow => "overflow",
            Self::Budget => "budget",
            Self::Memory => "memory",
            Self::Raised => "raised",
            Self::Panic => "panic",
        }
    }
}

impl ErrorKind {
    /// All kinds, in the order of their definition.
    const ALL: [Self; 28] = [
        Self::Dead,
        Self::Blocked,
        Self::Alive,
        Self::Current,
        Self::Unbound,
        Self::BlockTrap,
        Self::SwitchTrap,
        Self::Deadlock,
        Self::Callback,
        Self::WrongThread,
        Self::Closed,
        Self::Boundary,
        Self::Type,
        Self::Exit,
        Self::Stop,
        Self::Timeout,
        Self::Cancelled,
        Self::Broken,
        Self::Owner,
        Self::Set,
        Self::Clock,
        Self::Gone,
        Self::Denied,
        Self::Overflow,
        Self::Budget,
        Self::Memory,
        Self::Raised,
        Self::Panic,
    ];

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error of the scheduler or of the VM that it runs scripts in, or one that a tasklet has raised.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong, for programs.
    pub kind: ErrorKind,
    /// What went wrong, for people: names the tasklet, the channel and the place where known.
    pub message: String,
    #[source]
    thrown: Option<Thrown>,
}

/// What was raised, where that was more than a kind and a text. It arrives as itself wherever it is
/// caught, however many scripts and Rust functions it has passed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Thrown {
    /// By Rust.
    #[error(transparent)]
    Rust(Rc<dyn std::error::Error>),
    /// By a script.
    #[error("an error value of a script")]
    Luau(mlua::Value),
}

impl Error {
    /// An error of `kind` with a text for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), thrown: None }
    }

    /// An error about an argument or a value of the wrong type.
    pub fn wrong_type(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Type, message)
    }

    /// An error of Rust code, to be raised in a tasklet: [`downcast_ref`](Self::downcast_ref) gives it
    /// back at the other end. Its text is that of the error and of its sources.
    pub fn raised(error: impl std::error::Error + 'static) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message += &format!(": {cause}");
            source = cause.source();
        }
        Self { kind: ErrorKind::Raised, message, thrown: Some(Thrown::Rust(Rc::new(error))) }
    }

    /// `TaskletExit`: ends the tasklet that it is raised in, silently.
    pub fn exit() -> Self {
        Self::new(ErrorKind::Exit, "TaskletExit: the tasklet is being killed")
    }

    /// `StopIteration`: ends the loop over a channel that it arrives in.
    pub fn stop() -> Self {
        Self::new(ErrorKind::Stop, "StopIteration: the channel's iteration ends")
    }

    /// The error that [`raised`](Self::raised) was given, if it was an `E`.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match &self.thrown {
            Some(Thrown::Rust(error)) => error.downcast_ref(),
            _ => None,
        }
    }

    /// The value that a script has raised, if one did.
    pub fn value(&self) -> Option<&mlua::Value> {
        match &self.thrown {
            Some(Thrown::Luau(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn thrown(&self) -> Option<&Thrown> {
        self.thrown.as_ref()
    }

    pub(crate) fn with_thrown(self, thrown: Thrown) -> Self {
        Self { thrown: Some(thrown), ..self }
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
