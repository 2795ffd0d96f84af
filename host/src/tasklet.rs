//! Tasklets of the game whose body is Rust.

use crate::ecs::{Bridge, WorldAccess};
use crate::host::ScriptHost;
use crate::synchro::SynchroHandle;
use crate::workers::Workers;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use bluetick_scripting::{Error, ErrorKind, IntoOutcome, OwnerId, Scheduler, Tasklet};
use std::rc::{Rc, Weak};

/// What a tasklet whose body is Rust works with: the world, time, and the scheduler.
pub struct TaskletContext {
    bridge: Weak<Bridge>,
    scheduler: Scheduler,
    synchro: SynchroHandle,
    workers: Workers,
    entity: Option<Entity>,
}

impl TaskletContext {
    /// The entity that the tasklet belongs to, if it does to one.
    pub fn entity(&self) -> Option<Entity> {
        self.entity
    }

    /// Borrows the world for as long as `f` runs, which can't wait: verbs that would are errors of kind
    /// `boundary`. It runs on the host's stack. Between two calls others run and change the world.
    ///
    /// # Errors
    /// Of kind `type` while no frame runs, and for a panic of `f`; of kind `gone` when the host is.
    pub fn world<R>(&self, f: impl FnOnce(&mut World) -> R) -> Result<R, Error> {
        let bridge =
            self.bridge.upgrade().ok_or_else(|| Error::new(ErrorKind::Gone, "world: the host is gone"))?;
        WorldAccess::new(&bridge, &self.scheduler).with(f)
    }

    /// Sleeps for so many seconds of the tasklet's clock.
    ///
    /// # Errors
    /// As [`SynchroHandle::sleep`].
    pub fn sleep(&self, seconds: f64) -> Result<(), Error> {
        self.synchro.sleep(seconds)
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    /// As [`SynchroHandle::yield_`].
    pub fn next_frame(&self) -> Result<(), Error> {
        self.synchro.yield_()
    }

    /// Has another thread call `f`, and waits for what it returns: the result is there in the first frame that begins
    /// after that. Everybody else goes on meanwhile.
    ///
    /// # Errors
    /// Of kind `type` for a panic of `f`; of kind `boundary` where the caller can't wait; and what is thrown at the
    /// tasklet meanwhile: then `f` is not begun, or its result is dropped.
    ///
    /// ```
    /// use bevy_ecs::prelude::*;
    /// use bluetick::{Error, ScriptHost, TaskletContext};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let mut world = World::new();
    /// let mut host = ScriptHost::builder().build(&mut world)?;
    /// let found = Rc::new(Cell::new(0));
    /// let place = found.clone();
    /// host.tasklet("calculator", move |context: &TaskletContext| -> Result<(), Error> {
    ///     place.set(context.offload(|| (1..=1000).sum::<u32>())?);
    ///     Ok(())
    /// })?;
    /// while found.get() == 0 {
    ///     host.tick(&mut world, 0.01);
    /// }
    /// assert_eq!(found.get(), 500_500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn offload<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
        self.workers.offload(&self.scheduler, f)
    }

    /// All of `synchro`.
    pub fn synchro(&self) -> &SynchroHandle {
        &self.synchro
    }

    /// The scheduler: channels, further tasklets, functions of scripts.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }
}

impl ScriptHost {
    /// Makes a runnable tasklet whose body is Rust, for the next tick. It lives until it returns, fails or is
    /// killed; what it fails with is in the [report](crate::FrameReport::failures) of its frame.
    ///
    /// ```
    /// use bevy_ecs::prelude::*;
    /// use bluetick::{Error, ScriptHost, TaskletContext};
    ///
    /// #[derive(Resource)]
    /// struct Day(u32);
    ///
    /// let mut world = World::new();
    /// world.insert_resource(Day(0));
    /// let mut host = ScriptHost::builder().build(&mut world)?;
    /// host.tasklet("days", |context: &TaskletContext| -> Result<(), Error> {
    ///     loop {
    ///         context.sleep(10.0)?;
    ///         context.world(|world| world.resource_mut::<Day>().0 += 1)?;
    ///     }
    /// })?;
    /// for _ in 0..31 {
    ///     host.tick(&mut world, 1.0);
    /// }
    /// assert_eq!(world.resource::<Day>().0, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Of kind `memory` when the system has no room for a stack.
    pub fn tasklet<R: IntoOutcome>(
        &self,
        name: &str,
        f: impl FnOnce(&TaskletContext) -> R + 'static,
    ) -> Result<Tasklet, Error> {
        self.start_tasklet(name, None, OwnerId::default(), f)
    }

    /// As [`tasklet`](Self::tasklet), and the tasklet belongs to an entity: with that it ends, as the tasklets of
    /// scripts do, and so do those that it makes itself.
    ///
    /// # Errors
    /// As `tasklet`; of kind `gone` if there is no such entity.
    pub fn entity_tasklet<R: IntoOutcome>(
        &self,
        world: &mut World,
        entity: Entity,
        name: &str,
        f: impl FnOnce(&TaskletContext) -> R + 'static,
    ) -> Result<Tasklet, Error> {
        let owner = self.instances.borrow_mut().adopt(world, &self.vm, entity).ok_or_else(|| {
            Error::new(ErrorKind::Gone, format!("entity_tasklet: there is no entity {entity}"))
        })?;
        self.start_tasklet(name, Some(entity), owner, f)
    }

    fn start_tasklet<R: IntoOutcome>(
        &self,
        name: &str,
        entity: Option<Entity>,
        owner: OwnerId,
        f: impl FnOnce(&TaskletContext) -> R + 'static,
    ) -> Result<Tasklet, Error> {
        let context = TaskletContext {
            bridge: Rc::downgrade(&self.bridge),
            scheduler: self.vm.scheduler(),
            synchro: self.synchro(),
            workers: self.workers.clone(),
            entity,
        };
        let tasklet = self.vm.scheduler().tasklet(move || f(&context))?;
        tasklet.set_name(name);
        tasklet.setup()?;
        self.vm.give_to(tasklet.id(), owner);
        Ok(tasklet)
    }
}
