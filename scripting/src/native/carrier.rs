//! How a value gets from a tasklet that waits to its partner.
//!
//! A Rust tasklet that waits leaves the address of its value, or of the place where it wants one, in its
//! [`Exchange`]; both are an `Option<T>` in the frame of the waiting call. A Rust partner with the same
//! `T` moves the value there or from there: nothing is allocated or converted. A Luau partner, or a Rust
//! partner with another type, goes through the VM; but a number goes to a script's stack or from there by itself.

use crate::luau::ffi::{lua_State, lua_gettop, lua_settop, lua_xmove, lua_xpush};
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
    /// Takes the value if it is a number that scripts have exactly.
    take_number: unsafe fn(*mut ()) -> Option<f64>,
    /// Puts a number there; false, and nothing, if values are none, or if it is out of range.
    put_number: unsafe fn(*mut (), f64) -> bool,
    /// How its values get into the VM and out of it otherwise, if they do.
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
    pub const RUST: &'static Carrier = &Self::carrier(None);

    const fn carrier(luau: Option<LuauSide>) -> Carrier {
        Carrier {
            type_id: TypeId::of::<T>(),
            type_name: std::any::type_name::<T>,
            take_number: take_number::<T>,
            put_number: put_number::<T>,
            luau,
        }
    }
}

impl<T: IntoLua + FromLua + 'static> Of<T> {
    /// For values that scripts may get as well.
    pub const LUAU: &'static Carrier = &Self::carrier(Some(LuauSide { push: push::<T>, take: take::<T> }));
}

impl Carrier {
    /// Values of this carrier are those of another one: as a rule it is the same.
    #[inline(always)]
    pub fn is_that_of(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.same_type(other)
    }

    /// Both carry the same type.
    pub fn same_type(&self, other: &Self) -> bool {
        self.type_id == other.type_id
    }

    /// Its values can be given to scripts.
    pub fn reaches_luau(&self) -> bool {
        self.luau.is_some()
    }

    /// Takes the value at `place`, an `Option<T>` that is `None` afterwards, if it is a number that a script gets as
    /// the very same; `None`, and nothing, if not.
    ///
    /// # Safety
    /// `place` is the address of an `Option<T>` of this carrier.
    #[inline(always)]
    pub unsafe fn take_number(&self, place: *mut ()) -> Option<f64> {
        // SAFETY: the caller's.
        unsafe { (self.take_number)(place) }
    }

    /// Puts a number into `place`, an `Option<T>`, if its values are such; false, and nothing, if not.
    ///
    /// # Safety
    /// As [`take_number`](Self::take_number).
    #[inline(always)]
    pub unsafe fn put_number(&self, place: *mut (), number: f64) -> bool {
        // SAFETY: the caller's.
        unsafe { (self.put_number)(place, number) }
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

/// A number of Rust's as one of a script, which is an `f64`; `None` where mlua has to decide.
trait Number: Copy {
    fn to_script(self) -> Option<f64>;
    fn from_script(number: f64) -> Option<Self>;
}

/// Integers up to this are the same ones in an `f64`.
const EXACT: i64 = 1 << f64::MANTISSA_DIGITS;

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Number for $integer {
            #[inline(always)]
            fn to_script(self) -> Option<f64> {
                let integer = i64::try_from(self).ok()?;
                (-EXACT..=EXACT).contains(&integer).then_some(integer as f64)
            }

            #[inline(always)]
            fn from_script(number: f64) -> Option<Self> {
                if number.abs() > EXACT as f64 || number.is_nan() {
                    return None;
                }
                // SAFETY: it is in the range of the type.
                let integer = unsafe { number.to_int_unchecked::<i64>() };
                if integer as f64 == number { integer.try_into().ok() } else { None }
            }
        }
    )*};
}

macro_rules! floats {
    ($($float:ty)*) => {$(
        impl Number for $float {
            #[inline(always)]
            fn to_script(self) -> Option<f64> {
                Some(self.into())
            }

            #[inline(always)]
            fn from_script(number: f64) -> Option<Self> {
                Some(number as Self)
            }
        }
    )*};
}

integers!(i8 u8 i16 u16 i32 u32 i64 u64 isize usize);
floats!(f32 f64);

/// What the call with the type `T` gives, if that is a number, else the other value.
macro_rules! with_number {
    ($T:ident, $f:ident $arguments:tt, $otherwise:expr) => {
        with_number!($T, $f $arguments, $otherwise, i8 u8 i16 u16 i32 u32 i64 u64 isize usize f32 f64)
    };
    ($T:ident, $f:ident $arguments:tt, $otherwise:expr, $($number:ident)*) => {{
        let kind = TypeId::of::<$T>();
        $(if kind == TypeId::of::<$number>() {
            $f::<$number> $arguments
        } else)* {
            $otherwise
        }
    }};
}

unsafe fn take_number<T: 'static>(place: *mut ()) -> Option<f64> {
    unsafe fn take<N: Number>(place: *mut ()) -> Option<f64> {
        // SAFETY: `Carrier::take_number`; `T` is `N`.
        let value = unsafe { &mut *place.cast::<Option<N>>() };
        let number = (*value)?.to_script()?;
        *value = None;
        Some(number)
    }
    // SAFETY: the caller's.
    unsafe { with_number!(T, take(place), None) }
}

unsafe fn put_number<T: 'static>(place: *mut (), number: f64) -> bool {
    unsafe fn put<N: Number>(place: *mut (), number: f64) -> bool {
        let value = N::from_script(number);
        if value.is_some() {
            // SAFETY: `Carrier::put_number`; `T` is `N`, and there is nothing to drop.
            unsafe { *place.cast::<Option<N>>() = value };
        }
        value.is_some()
    }
    // SAFETY: the caller's.
    unsafe { with_number!(T, put(place, number), false) }
}

/// Puts a stack back to the height that it has now: mlua leaves a value there that it can't convert.
pub(crate) struct Height(*mut lua_State, c_int);

impl Height {
    /// # Safety
    /// `L` is a live state, and what is on its stack now stays there until this is dropped.
    pub unsafe fn of(L: *mut lua_State) -> Self {
        // SAFETY: the caller's.
        Self(L, unsafe { lua_gettop(L) })
    }
}

impl Drop for Height {
    fn drop(&mut self) {
        // SAFETY: as it was made.
        unsafe { lua_settop(self.0, self.1) }
    }
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
            let _height = Height::of(raw.state());
            lua_xpush(L, raw.state(), index);
            raw.pop::<T>()
        })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vm, VmConfig};

    /// What has become of a number, both by itself and by mlua; both the same.
    fn both_ways<T: IntoLua + FromLua + Copy + PartialEq + std::fmt::Debug + 'static>(vm: &Vm, values: &[T]) {
        let lua = vm.lua();
        let same = "return function(a, b) return type(a) == type(b) and a == b end";
        let same: mlua::Function = lua.load(same).eval().expect("a function");
        for &value in values {
            let mut place = Some(value);
            // SAFETY: the place is one of that type.
            let Some(number) = (unsafe { take_number::<T>((&raw mut place).cast()) }) else {
                assert_eq!(place, Some(value), "nothing was taken");
                continue;
            };
            assert_eq!(place, None);
            assert!(same.call::<bool>((number, value)).expect("it runs"), "{value:?} became {number}");
        }
        for number in [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            127.0,
            128.0,
            255.0,
            256.0,
            -129.0,
            65_536.0,
            4e9,
            5e9,
            EXACT as f64,
            1e19,
            f64::NAN,
            f64::INFINITY,
        ] {
            let mut place: Option<T> = None;
            // SAFETY: as above.
            let put = unsafe { put_number::<T>((&raw mut place).cast(), number) };
            let converted = lua.convert::<T>(number);
            if put {
                assert_eq!(format!("{place:?}"), format!("{:?}", converted.ok()), "{number}");
            } else {
                assert_eq!(place, None);
                assert!(converted.is_err() || number.abs() > EXACT as f64, "{number} is one of them");
            }
        }
    }

    #[test]
    fn a_number_that_goes_by_itself_is_the_one_that_mlua_makes() {
        let vm = Vm::new(VmConfig::default()).expect("a VM");
        both_ways(&vm, &[0i8, -128, 127]);
        both_ways(&vm, &[0u8, 255]);
        both_ways(&vm, &[0i32, i32::MIN, i32::MAX]);
        both_ways(&vm, &[0u32, u32::MAX]);
        both_ways(&vm, &[0i64, -1, 1 << 53, (1 << 53) + 1, i64::MIN, i64::MAX]);
        both_ways(&vm, &[0u64, 1 << 53, (1 << 53) + 1, u64::MAX]);
        both_ways(&vm, &[0usize, usize::MAX]);
        both_ways(&vm, &[0.0f32, -0.5, f32::MAX, f32::INFINITY]);
        both_ways(&vm, &[0.0f64, -0.5, f64::MAX, f64::NEG_INFINITY]);
        let mut text = Some(String::from("7"));
        let place = (&raw mut text).cast();
        // SAFETY: the place is one of that type, which is no number.
        assert!(unsafe { take_number::<String>(place).is_none() && !put_number::<String>(place, 7.0) });
        assert_eq!(text.as_deref(), Some("7"));
    }
}
