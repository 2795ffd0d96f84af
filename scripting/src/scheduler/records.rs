//! Where records of tasklets and channels lie: each at one address for as long as it is there.
//!
//! Who comes by its name (a generational key) finds a record or finds it gone. Queues name their members by
//! [`Link`], the bare address: following one takes no look-up, and however many records there are, none of
//! them moves when there is one more.

use slotmap::{Key, KeyData};
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Index, IndexMut};
use std::ptr::NonNull;

/// Records of a chunk, in bits of the index.
const CHUNK_BITS: u32 = 7;
const CHUNK: usize = 1 << CHUNK_BITS;

/// No slot.
const NONE: u32 = u32::MAX;

/// A line of the processor's cache, in bytes.
const LINE: usize = 64;

/// A place for a record. It holds one while `version` is odd.
#[repr(C, align(64))]
struct Slot<T> {
    /// Its own number while it holds a record, else that of the next free one.
    index: u32,
    version: u32,
    record: MaybeUninit<T>,
}

/// The address of a record that exists, or of none.
pub(crate) struct Link<T>(*mut Slot<T>);

impl<T> Link<T> {
    /// The link to nothing.
    pub const NONE: Self = Self(std::ptr::null_mut());

    /// How many lines of the processor's cache a record lies in.
    pub const LINES: usize = size_of::<Slot<T>>() / LINE;

    /// Where in these lines that lies which has this offset in the record.
    pub const fn offset(in_record: usize) -> usize {
        std::mem::offset_of!(Slot<T>, record) + in_record
    }

    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.0.is_null()
    }

    /// The record.
    ///
    /// # Safety
    /// It exists, and no other reference to it is used as long as this one.
    #[inline(always)]
    pub unsafe fn get<'a>(self) -> &'a mut T {
        // SAFETY: the caller's; a slot does not move.
        unsafe {
            std::hint::assert_unchecked(!self.is_none());
            debug_assert!((*self.0).version % 2 == 1);
            (*self.0).record.assume_init_mut()
        }
    }

    /// The name of the record; that of nothing for [`NONE`](Self::NONE).
    ///
    /// # Safety
    /// It exists, or there is none.
    #[inline(always)]
    pub unsafe fn key<K: Key>(self) -> K {
        if self.is_none() {
            return K::null();
        }
        // SAFETY: the caller's.
        unsafe { key((*self.0).index, (*self.0).version) }
    }

    /// Where the record is, for the cache of the processor.
    #[inline(always)]
    pub fn address(self) -> *const () {
        self.0.cast()
    }
}

impl<T> Clone for Link<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Link<T> {}

impl<T> PartialEq for Link<T> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Link<T> {}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[inline(always)]
fn key<K: Key>(index: u32, version: u32) -> K {
    K::from(KeyData::from_ffi(u64::from(version) << 32 | u64::from(index)))
}

#[inline(always)]
fn parts(key: impl Key) -> (u32, u32) {
    let bits = key.data().as_ffi();
    (bits as u32, (bits >> 32) as u32)
}

/// All records of a kind. A name is never used twice: a slot whose versions are used up is not used again.
pub(crate) struct Records<K, T> {
    chunks: Vec<NonNull<[Slot<T>; CHUNK]>>,
    /// Slots that were ever used; they come before all others.
    used: u32,
    /// The first of the used slots that are free.
    free: u32,
    len: usize,
    keys: PhantomData<(K, T)>,
}

impl<K: Key, T> Records<K, T> {
    pub fn new() -> Self {
        // People count from 1.
        Self { chunks: vec![Self::new_chunk()], used: 1, free: NONE, len: 0, keys: PhantomData }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> *mut Slot<T> {
        let chunk = self.chunks[(index >> CHUNK_BITS) as usize];
        // SAFETY: the index is within a chunk.
        unsafe { chunk.cast::<Slot<T>>().add(index as usize % CHUNK).as_ptr() }
    }

    /// A new record.
    pub fn insert(&mut self, record: T) -> K {
        let index = match self.free {
            NONE => {
                assert!(self.used < NONE, "2^32 records at once");
                if self.used as usize == self.chunks.len() * CHUNK {
                    self.chunks.push(Self::new_chunk());
                }
                self.used += 1;
                self.used - 1
            }
            free => free,
        };
        let slot = self.slot(index);
        // SAFETY: the slot is in a chunk, and free.
        unsafe {
            if index == self.free {
                self.free = (*slot).index;
            }
            (*slot).index = index;
            (*slot).version += 1;
            (*slot).record.write(record);
            self.len += 1;
            key(index, (*slot).version)
        }
    }

    fn new_chunk() -> NonNull<[Slot<T>; CHUNK]> {
        let mut chunk = Box::<[Slot<T>; CHUNK]>::new_uninit();
        let slots = chunk.as_mut_ptr().cast::<Slot<T>>();
        for index in 0..CHUNK {
            // SAFETY: within the chunk; the record is written when the slot is taken.
            unsafe {
                (&raw mut (*slots.add(index)).version).write(0);
                (&raw mut (*slots.add(index)).index).write(NONE);
            }
        }
        // SAFETY: all but the records, which may be uninitialised, was written.
        unsafe { NonNull::new_unchecked(Box::into_raw(chunk.assume_init())) }
    }

    /// Where the record is; [`Link::NONE`] if it is gone.
    #[inline]
    pub fn link(&self, id: K) -> Link<T> {
        let (index, version) = parts(id);
        if index >= self.used {
            return Link::NONE;
        }
        let slot = self.slot(index);
        // SAFETY: used slots have a version. Those of names are odd.
        if unsafe { (*slot).version } == version { Link(slot) } else { Link::NONE }
    }

    #[inline]
    pub fn get(&self, id: K) -> Option<&T> {
        let link = self.link(id);
        // SAFETY: a link that is found is one to a record; it is borrowed as the whole is.
        (!link.is_none()).then(|| unsafe { &*link.get() })
    }

    #[inline]
    pub fn get_mut(&mut self, id: K) -> Option<&mut T> {
        let link = self.link(id);
        // SAFETY: as `get`.
        (!link.is_none()).then(|| unsafe { link.get() })
    }

    pub fn contains_key(&self, id: K) -> bool {
        !self.link(id).is_none()
    }

    /// Takes the record out; links to it are not to be followed any more.
    pub fn remove(&mut self, id: K) -> Option<T> {
        let Link(slot) = self.link(id);
        if slot.is_null() {
            return None;
        }
        // SAFETY: the slot holds a record, and doesn't afterwards.
        unsafe {
            let index = (*slot).index;
            (*slot).version = (*slot).version.wrapping_add(1);
            // Version 0 comes again after 2^32.
            if (*slot).version != 0 {
                (*slot).index = self.free;
                self.free = index;
            }
            self.len -= 1;
            Some((*slot).record.assume_init_read())
        }
    }

    /// All of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        (0..self.used).filter_map(|index| {
            let slot = self.slot(index);
            // SAFETY: as `get`.
            unsafe {
                let version = (*slot).version;
                (version % 2 == 1).then(|| (key(index, version), (*slot).record.assume_init_ref()))
            }
        })
    }
}

impl<K: Key, T> Index<K> for Records<K, T> {
    type Output = T;

    fn index(&self, id: K) -> &T {
        self.get(id).expect("the record is there")
    }
}

impl<K: Key, T> IndexMut<K> for Records<K, T> {
    fn index_mut(&mut self, id: K) -> &mut T {
        self.get_mut(id).expect("the record is there")
    }
}

impl<K, T> Drop for Records<K, T> {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // SAFETY: made by `new_chunk`; slots with an odd version hold a record.
            unsafe {
                let mut chunk = Box::from_raw(chunk.as_ptr());
                for slot in chunk.iter_mut().filter(|slot| slot.version % 2 == 1) {
                    slot.record.assume_init_drop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::TaskletId;
    use proptest::prelude::*;
    use slotmap::SlotMap;
    use std::rc::Rc;

    proptest! {
        #[test]
        fn records_are_those_of_a_slot_map_and_stay_where_they_are(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..600),
        ) {
            let mut records: Records<TaskletId, Rc<usize>> = Records::new();
            let mut model: SlotMap<TaskletId, (TaskletId, Link<Rc<usize>>, usize)> = SlotMap::with_key();
            let (mut living, mut gone) = (Vec::new(), Vec::new());
            let counted = Rc::new(0);
            for (number, (comes, which)) in steps.into_iter().enumerate() {
                if comes || living.is_empty() {
                    let record = if number % 2 == 0 { counted.clone() } else { Rc::new(number) };
                    let value = *record;
                    let id = records.insert(record);
                    prop_assert!(!gone.contains(&id) && !living.iter().any(|&(_, other)| other == id));
                    living.push((model.insert((id, records.link(id), value)), id));
                } else {
                    let (in_model, id) = living.swap_remove(which.index(living.len()));
                    let (_, _, value) = model.remove(in_model).unwrap();
                    prop_assert_eq!(*records.remove(id).unwrap(), value);
                    prop_assert!(records.remove(id).is_none() && records.get(id).is_none());
                    gone.push(id);
                }
                prop_assert_eq!(records.len(), model.len());
            }
            for (_, (id, link, value)) in &model {
                prop_assert_eq!(*records[*id].as_ref(), *value);
                prop_assert_eq!(records.link(*id), *link);
                // SAFETY: the record exists.
                unsafe {
                    prop_assert_eq!(link.key::<TaskletId>(), *id);
                    prop_assert_eq!(*link.get().as_ref(), *value);
                }
            }
            prop_assert_eq!(records.iter().count(), model.len());
            for (id, record) in records.iter() {
                prop_assert!(Rc::ptr_eq(record, &records[id]));
            }
            prop_assert!(!records.contains_key(TaskletId::default()));
            drop(records);
            prop_assert_eq!(Rc::strong_count(&counted), 1);
        }
    }
}
