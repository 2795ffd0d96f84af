//! Why the scheduler refused something, for people.

use super::Scheduler;
use super::channel::Direction;
use super::error::{Error, ErrorKind};
use super::tasklet::{Place, TaskletId};

/// Waiting tasklets that a deadlock error names.
const NAMED_WAITERS: usize = 10;

impl Scheduler {
    /// The error for `verb` on the tasklet `whom`.
    pub(crate) fn refusal(&self, kind: ErrorKind, verb: &str, whom: TaskletId) -> Error {
        Error::new(kind, self.refusal_text(kind, verb, whom))
    }

    fn refusal_text(&self, kind: ErrorKind, verb: &str, whom: TaskletId) -> String {
        let name = self.name_of(whom);
        match kind {
            ErrorKind::Dead if whom == self.main => format!(
                "{verb}: the main tasklet is the host itself here, in which no script can raise anything"
            ),
            ErrorKind::Dead => format!(
                "{verb}: {name} is dead or was given no arguments; call it or bind it with arguments first"
            ),
            ErrorKind::Blocked => {
                format!("{verb}: {name} is blocked on a channel or asleep; kill or throw can end its wait")
            }
            ErrorKind::Alive => {
                format!("{verb}: {name} is alive; it can be given a function again when it has ended")
            }
            ErrorKind::Current => format!("{verb}: {name} is the current tasklet"),
            ErrorKind::Unbound => format!("{verb}: {name} has no function; bind one first"),
            ErrorKind::BlockTrap => format!("{verb}: {name} would block, but its block_trap is set"),
            ErrorKind::SwitchTrap => format!(
                "{verb}: switching is not allowed while the switch trap is set (level {})",
                self.switch_trap
            ),
            ErrorKind::Deadlock => self.deadlock_text(verb, whom),
            ErrorKind::Callback => format!("{verb}: a scheduler callback can't switch or use channels"),
            kind => format!("{verb}: {kind}"),
        }
    }

    /// Says that nobody could ever wake `whom`, and lists who waits on which channel.
    fn deadlock_text(&self, verb: &str, whom: TaskletId) -> String {
        let mut text = format!("{verb}: deadlock: {} is the last runnable tasklet", self.name_of(whom));
        let waiting: Vec<String> = self
            .tasklets
            .iter()
            .filter_map(|(id, tasklet)| match tasklet.place {
                Place::Channel(direction) => {
                    let waits = if direction == Direction::Send { "send on" } else { "receive from" };
                    Some(format!(
                        "{} waits to {waits} channel {}",
                        self.name_of(self.waiter_id(self.link(id))),
                        self.channel_number(tasklet.channel)
                    ))
                }
                _ => None,
            })
            .take(NAMED_WAITERS)
            .collect();
        if !waiting.is_empty() {
            text += &format!(" ({})", waiting.join("; "));
        }
        text
    }
}
