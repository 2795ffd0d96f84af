//! Whose tasklets are alive.

use super::Scheduler;
use super::tasklet::{OwnerId, TaskletId};

/// The living tasklets of an owner, in the order in which they came to life. Who leaves leaves a gap, so that
/// many can leave without each of them moving all others.
#[derive(Default)]
pub(crate) struct Members {
    seats: Vec<TaskletId>,
    gaps: usize,
}

impl Members {
    pub fn iter(&self) -> impl Iterator<Item = TaskletId> + '_ {
        self.seats.iter().copied().filter(|&id| id != TaskletId::default())
    }
}

impl Scheduler {
    /// The living tasklets of an owner, in the order in which they came to life.
    pub fn owned_by(&self, owner: OwnerId) -> Vec<TaskletId> {
        self.owners.get(owner).map(|members| members.iter().collect()).unwrap_or_default()
    }

    /// The tasklet has come to life: it counts among those of its owner.
    pub fn enlist(&mut self, id: TaskletId) {
        let tasklet = &mut self.tasklets[id];
        if let Some(members) = self.owners.get_mut(tasklet.owner) {
            tasklet.seat = members.seats.len() as u32;
            tasklet.flags.frozen = self.frozen.contains(&tasklet.owner);
            members.seats.push(id);
        }
    }

    /// The tasklet has ended: it is its owner's no longer, until it is given new life.
    pub fn discharge(&mut self, id: TaskletId) {
        let tasklet = &self.tasklets[id];
        let Some(members) = self.owners.get_mut(tasklet.owner) else { return };
        let Some(seat) = members.seats.get_mut(tasklet.seat as usize).filter(|seat| **seat == id) else {
            return;
        };
        *seat = TaskletId::default();
        members.gaps += 1;
        if members.gaps * 2 > members.seats.len() {
            members.seats.retain(|&id| id != TaskletId::default());
            members.gaps = 0;
            for (seat, &id) in members.seats.iter().enumerate() {
                self.tasklets[id].seat = seat as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_living_are_listed_in_the_order_in_which_they_came_to_life(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let mut scheduler = Scheduler::new();
            let owner = scheduler.owners.insert(Members::default());
            let mut model: Vec<TaskletId> = Vec::new();
            for (comes, which) in steps {
                if comes || model.is_empty() {
                    let id = scheduler.create(owner);
                    scheduler.enlist(id);
                    model.push(id);
                } else {
                    let id = model.remove(which.index(model.len()));
                    scheduler.discharge(id);
                    scheduler.discharge(id);
                }
                prop_assert_eq!(scheduler.owned_by(owner), model.clone());
                prop_assert!(scheduler.owners[owner].seats.len() <= 2 * model.len());
            }
        }
    }
}
