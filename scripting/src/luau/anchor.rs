//! Keeps values alive for Rust, in tables of [`CHUNK`] each.
//!
//! One big table would be one indivisible step of the collector (`luau-internals.md`, GC); the
//! chunks lie on the stack of a coroutine that never runs, the shelf, so that they can be reached
//! by index.

use super::ffi::*;
use std::ffi::c_int;
use std::num::NonZeroU32;

/// Values in one table.
const CHUNK: u32 = 512;

/// A place on the shelf that holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor(NonZeroU32);

impl Anchor {
    /// Where on the shelf the chunk lies, and the value in it.
    fn place(self) -> (c_int, c_int) {
        let index = self.0.get() - 1;
        ((index / CHUNK + 1) as c_int, (index % CHUNK + 1) as c_int)
    }
}

/// The shelf.
pub(crate) struct Anchors {
    shelf: *mut lua_State,
    free: Vec<Anchor>,
    /// How many places were ever used.
    used: u32,
}

impl Anchors {
    /// An empty shelf, kept in the VM's registry. `[-0, +0]`
    ///
    /// # Safety
    /// `L` is a live state below a protected call, and outlives the shelf.
    pub unsafe fn new(L: *mut lua_State) -> Self {
        // SAFETY: the reference in the registry keeps the coroutine alive as long as the VM.
        unsafe {
            let shelf = lua_newthread(L);
            lua_ref(L, -1);
            lua_settop(L, -2);
            Self { shelf, free: Vec::new(), used: 0 }
        }
    }

    /// Keeps the value at `index`. `[-0, +0]`, raises when memory runs out; nothing is kept then.
    ///
    /// # Safety
    /// `L` is a state of the shelf's VM, below a protected call.
    pub unsafe fn keep(&mut self, L: *mut lua_State, index: c_int) -> Anchor {
        // SAFETY: the shelf's stack holds the chunks and, for a moment, one value above them.
        unsafe {
            let anchor = match self.free.pop() {
                Some(anchor) => anchor,
                None => {
                    if self.used.is_multiple_of(CHUNK) {
                        // Whatever is raised has to be raised in `L`.
                        luaL_checkstack(L, 1, std::ptr::null());
                        lua_createtable(L, CHUNK as c_int, 0);
                        if lua_checkstack(self.shelf, 4) == 0 {
                            luaL_error(L, c"there is no room to keep more values".as_ptr());
                        }
                        lua_xmove(L, self.shelf, 1);
                    }
                    self.used += 1;
                    // `used` is at least 1 here.
                    Anchor(NonZeroU32::new(self.used).unwrap_or(NonZeroU32::MIN))
                }
            };
            self.set(anchor, L, index);
            anchor
        }
    }

    /// Keeps the value at `index` in the place of the one before. `[-0, +0]`
    ///
    /// # Safety
    /// As [`keep`](Self::keep); the anchor is in use.
    pub unsafe fn set(&mut self, anchor: Anchor, L: *mut lua_State, index: c_int) {
        let (chunk, place) = anchor.place();
        // SAFETY: the chunk was made with all its places, so setting one allocates nothing.
        unsafe {
            lua_xpush(L, self.shelf, index);
            lua_rawseti_(self.shelf, chunk, place);
        }
    }

    /// Pushes the kept value. `[-0, +1]`
    ///
    /// # Safety
    /// As [`keep`](Self::keep); the anchor is in use.
    pub unsafe fn push(&self, anchor: Anchor, L: *mut lua_State) {
        let (chunk, place) = anchor.place();
        // SAFETY: the shelf's stack is back to the chunks alone afterwards.
        unsafe {
            lua_rawgeti_(self.shelf, chunk, place);
            lua_xmove(self.shelf, L, 1);
        }
    }

    /// Lets the value go.
    ///
    /// # Safety
    /// The shelf's VM is alive; the anchor is in use and is not used again.
    pub unsafe fn release(&mut self, anchor: Anchor) {
        let (chunk, place) = anchor.place();
        // SAFETY: as in `set`.
        unsafe {
            lua_pushnil(self.shelf);
            lua_rawseti_(self.shelf, chunk, place);
        }
        self.free.push(anchor);
    }
}
