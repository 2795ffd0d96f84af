//! Beginning anew: a tasklet ends, and another one calls the same function with the same arguments.

use super::ffi::*;
use super::machine::Machine;
use super::vm::Vm;
use crate::scheduler::{Error, ErrorKind, Life, TaskletId};
use mlua::{Function, MultiValue, Value};
use std::ffi::c_int;

impl Vm {
    /// Has a tasklet begin anew: it is killed, and a new one calls its function from the top, in its newest text,
    /// with the values that its parameters have now. The new one has the name, the owner and the clock of the
    /// old one, and its turn comes after what that one has deferred. One that never ran stays as it is.
    ///
    /// # Errors
    /// Of kind `dead` for one that has ended, `current` for the one that runs, `type` for the main tasklet and for
    /// one that has begun in Rust, `memory`.
    pub fn restart(&self, tasklet: TaskletId) -> Result<TaskletId, Error> {
        let machine = self.machine();
        let scheduler = machine.scheduler();
        let refuse = |kind, why: &str| {
            Error::new(kind, format!("restart: {} {why}", machine.scheduler().name_of(tasklet)))
        };
        let Some(old) = scheduler.tasklets.get(tasklet).filter(|old| old.alive()) else {
            return Err(Error::new(ErrorKind::Dead, "restart: the tasklet has ended"));
        };
        if tasklet == scheduler.main {
            return Err(refuse(ErrorKind::Type, "can't begin anew"));
        }
        if machine.is_looping() && tasklet == machine.running.get() {
            return Err(refuse(ErrorKind::Current, "is running"));
        }
        if old.outermost().is_null() {
            return Err(refuse(ErrorKind::Type, "has begun in Rust, so it can't begin anew"));
        }
        if old.life == Life::Ready {
            return Ok(tasklet);
        }
        let (owner, clock, category) = (old.owner, old.clock, old.category);
        let (watched, background) = (old.flags.watched, old.flags.background);
        let name = old.details.as_ref().and_then(|details| details.name.clone());
        let function = match self.beginning_of(tasklet) {
            Some(function) => Some((*function).clone()),
            None => self.first_function(tasklet),
        };
        let function = function.ok_or_else(|| refuse(ErrorKind::Type, "has no function of a script"))?;
        let arguments = self.first_arguments(tasklet)?;
        let new = self.spawn(&function, arguments, owner)?;
        let record = &mut machine.scheduler().tasklets[new];
        (record.clock, record.flags.watched, record.flags.background) = (clock, watched, background);
        if name.is_some() {
            record.details_mut().name = name;
        }
        self.set_memory_category(new, category);
        // Its end comes first: what it has deferred may be what its next life counts on.
        let waits = machine.scheduler().remove(new).is_ok();
        self.kill(tasklet)?;
        if waits {
            machine
                .scheduler()
                .insert(new)
                .map_err(|kind| Error::new(kind, "restart: the new tasklet can't run"))?;
        }
        Ok(new)
    }

    /// Whoever asks with `t:restart()` for a tasklet to begin anew is heard: it is in
    /// [`take_restarts`](Self::take_restarts). Otherwise that is an error.
    pub fn hear_restarts(&self) {
        self.machine().hears_restarts.set(true);
    }

    /// The tasklets that scripts have wanted to begin anew since the last call, in the order of their wishes.
    pub fn take_restarts(&self) -> Vec<TaskletId> {
        std::mem::take(&mut *self.machine().restarts.borrow_mut())
    }

    /// The function that the outermost call of a suspended tasklet runs.
    pub(crate) fn first_function(&self, tasklet: TaskletId) -> Option<Function> {
        match self.value_of_first_call(tasklet, |thread, level| {
            // SAFETY: the level is one of the thread's.
            unsafe {
                let mut debug: lua_Debug = std::mem::zeroed();
                lua_getinfo(thread, level, c"f".as_ptr(), &mut debug) != 0
            }
        }) {
            Ok(Some(Value::Function(function))) => Some(function),
            _ => None,
        }
    }

    /// What the parameters of the outermost call of a suspended tasklet hold.
    fn first_arguments(&self, tasklet: TaskletId) -> Result<MultiValue, Error> {
        let mut arguments = Vec::new();
        for number in 1.. {
            // SAFETY: the level is one of the thread's; it pushes one value if there is one.
            let next = self.value_of_first_call(tasklet, |thread, level| unsafe {
                lua_getargument(thread, level, number) != 0
            });
            match next? {
                Some(value) => arguments.push(value),
                None => break,
            }
        }
        Ok(arguments.into_iter().collect())
    }

    /// The value that `push` pushes on the tasklet's outermost coroutine, whose outermost call has this level.
    fn value_of_first_call(
        &self,
        tasklet: TaskletId,
        push: impl Fn(*mut lua_State, c_int) -> bool,
    ) -> Result<Option<Value>, Error> {
        let thread = self.machine().scheduler().tasklets.get(tasklet).map(|tasklet| tasklet.outermost());
        let Some(thread) = thread.filter(|thread| !thread.is_null()) else { return Ok(None) };
        let mut found = false;
        // SAFETY: protected by mlua. The coroutine is suspended; what is pushed above its values, for which there
        // is room, is moved away at once.
        let value = unsafe {
            self.lua().exec_raw::<Value>((), |L| {
                let depth = lua_stackdepth(thread);
                if depth > 0 && lua_checkstack(thread, 2) != 0 {
                    found = push(thread, depth - 1);
                }
                match found {
                    true => lua_xmove(thread, L, 1),
                    false => lua_pushnil(L),
                }
            })
        }?;
        Ok(found.then_some(value))
    }
}

impl Machine {
    /// `t:restart()`: false if nobody hears it.
    pub(super) fn wish_restart(&self, tasklet: TaskletId) -> bool {
        if !self.hears_restarts.get() {
            return false;
        }
        let mut restarts = self.restarts.borrow_mut();
        if !restarts.contains(&tasklet) {
            restarts.push(tasklet);
        }
        true
    }
}
