//! How a value gets from a tasklet that waits to its partner.
//!
//! A Rust tasklet that waits leaves the address of its value, or of the place where it wants one, in its
//! [`Exchange`]; both are an `Option<T>` in the frame of the waiting call. A Rust partner with the same
//! `T` moves the value there or from there: nothing is allocated or converted. A Luau partner, or a Rust
//! partner with another type, goes through the VM.

use crate::luau::ffi::{lua_State, lua_xmove, lua_xpush};
use crate::luau::{Machine, Vm};
use crate::scheduler::{Error, ErrorKind};
use mlua::{FromLua, IntoLua};
use std::any::TypeId;
use std::ffi::c_int;
use std::marker::PhantomData;

/// What a waiting Rust tasklet gives or takes.
#[derive(Clone, Copy)]
pub(crate) enum Exchange {
    /// Nothing: it waits for its turn, or to be woken.
    Nothing,
    /// The address of an `Option<T>` of the type that the carrier is for.
    Value(*mut (), &'static Carrier),
    /// The address of an `Option<Error>` that its partner is to raise.
    Error(*mut Option<Error>),
}

/// What is known of a `T` whose values go over channels.
pub(crate) struct Carrier {
    type_id: TypeId,
    type_name: fn() -> &'static str,
    /// How its values get into the VM and out of it, if they do.
    luau: Option<LuauSide>,
}

/// Conversions of an `Option<T>`, of which only the address is known.
struct LuauSide {
    /// Pushes the value, which is gone afterwards. `[-0, +1]`, or `[-0, +0]` on an error.
    push: unsafe fn(&Vm, *mut lua_State, *mut ()) -> Result<(), Error>,
    /// Reads the value at an index. `[-0, +0]`
    take: unsafe fn(&Vm, *mut lua_State, c_int, *mut ()) -> Result<(), Error>,
}

/// Gives each type its carriers.
pub(crate) struct Of<T>(PhantomData<T>);

impl<T: 'static> Of<T> {
    /// For values that stay in Rust.
    pub const RUST: &'static Carrier =
        &Carrier { type_id: TypeId::of::<T>(), type_name: std::any::type_name::<T>, luau: None };
}

impl<T: IntoLua + FromLua + 'static> Of<T> {
    /// For values that scripts may get as well.
    pub const LUAU: &'static Carrier = &Carrier {
        type_id: TypeId::of::<T>(),
        type_name: std::any::type_name::<T>,
        luau: Some(LuauSide { push: push::<T>, take: take::<T> }),
    };
}

impl Carrier {
    /// Values of this carrier are `T`s.
    #[inline]
    pub fn is<T: 'static>(&self) -> bool {
        self.type_id == TypeId::of::<T>()
    }

    /// Both carry the same type.
    pub fn same_type(&self, other: &Self) -> bool {
        self.type_id == other.type_id
    }

    /// Its values can be given to scripts.
    pub fn reaches_luau(&self) -> bool {
        self.luau.is_some()
    }

    pub fn type_name(&self) -> &'static str {
        (self.type_name)()
    }

    fn luau(&self) -> Result<&LuauSide, Error> {
        self.luau.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Type,
                format!(
                    "values of type {} stay in Rust: the channel was never given to a script",
                    self.type_name()
                ),
            )
        })
    }

    /// Pushes the value at `place`, an `Option<T>` that is `None` afterwards. `[-0, +1]`, or `[-0, +0]`
    /// on an error.
    ///
    /// # Safety
    /// `place` is the address of an `Option<T>` of this carrier; `L` is a live state of the machine's VM
    /// with room for a value.
    pub unsafe fn push(&self, machine: &Machine, L: *mut lua_State, place: *mut ()) -> Result<(), Error> {
        let (side, vm) = (self.luau()?, machine.vm().ok_or_else(Machine::gone)?);
        // SAFETY: the caller's.
        machine.on_main_stack(|| unsafe { (side.push)(vm, L, place) })
    }

    /// Puts the value at `index` into `place`, an `Option<T>`. `[-0, +0]`
    ///
    /// # Safety
    /// As [`push`](Self::push).
    pub unsafe fn take(
        &self,
        machine: &Machine,
        L: *mut lua_State,
        index: c_int,
        place: *mut (),
    ) -> Result<(), Error> {
        let (side, vm) = (self.luau()?, machine.vm().ok_or_else(Machine::gone)?);
        // SAFETY: the caller's.
        machine.on_main_stack(|| unsafe { (side.take)(vm, L, index, place) })
    }
}

unsafe fn push<T: IntoLua>(vm: &Vm, L: *mut lua_State, place: *mut ()) -> Result<(), Error> {
    // SAFETY: `Carrier::push`.
    let Some(value) = (unsafe { (*place.cast::<Option<T>>()).take() }) else {
        return Err(Error::wrong_type("there is no value"));
    };
    let value = value.into_lua(vm.lua())?;
    // SAFETY: mlua pushes to its own stack; the value is moved from there.
    unsafe { vm.push_value(L, &value) }
}

unsafe fn take<T: FromLua>(vm: &Vm, L: *mut lua_State, index: c_int, place: *mut ()) -> Result<(), Error> {
    // SAFETY: `Carrier::take`.
    unsafe {
        *place.cast::<Option<T>>() = Some(vm.read_value(L, index)?);
    }
    Ok(())
}

impl Vm {
    /// Pushes a value of mlua's. `[-0, +1]`, or `[-0, +0]` on an error.
    ///
    /// # Safety
    /// `L` is a live state of this VM with room for a value.
    pub(crate) unsafe fn push_value(&self, L: *mut lua_State, value: &mlua::Value) -> Result<(), Error> {
        // SAFETY: mlua pushes to its own stack, which has room; the value is moved from there.
        self.lua().exec_raw_lua(|raw| unsafe {
            raw.push_value(value)?;
            if raw.state() != L {
                lua_xmove(raw.state(), L, 1);
            }
            Ok(())
        })
    }

    /// The value at `index`, as anything that mlua converts to. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state of this VM with a value at `index`.
    pub(crate) unsafe fn read_value<T: FromLua>(&self, L: *mut lua_State, index: c_int) -> Result<T, Error> {
        // SAFETY: mlua's own stack has room for one more value, which is popped at once.
        Ok(self.lua().exec_raw_lua(|raw| unsafe {
            lua_xpush(L, raw.state(), index);
            raw.pop::<T>()
        })?)
    }
}
