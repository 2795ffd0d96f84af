//! Stacks for Rust bodies: fixed-size slots of a few mappings.
//!
//! On Linux the lowest page of each slot is a guard that faults on overflow. Where the kernel has
//! `MADV_GUARD_INSTALL` (6.13) guards cost no mapping each, so that a process can have a million
//! stacks under the default limit of 65 530 mappings; else they are made with `mprotect`, which splits
//! the mapping, and about 32 000 stacks fit under that limit. On other systems each stack is one of corosensei's.
//!
//! ```text
//!  limit                                        base end
//!  | guard | ... never touched ... | in use <------ | |    one slot
//!  | slot | slot | slot | slot | slot | slot | slot |     one mapping
//! ```
//!
//! A slot that is given back is taken again before any other, without a system call: its pages are
//! still there. Beyond [`WARM`] free slots their pages go back to the system at once.

#[cfg(target_os = "linux")]
pub(crate) use linux::{Slot, StackSlab};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Slot, StackSlab};

/// Bytes of address space for a stack, its guard included. Only what was touched takes memory.
///
/// Rust code may call scripts directly, with mlua's own functions, and a script may then nest as many
/// calls of C functions as the VM allows (200): that takes up to half of this.
pub(crate) const SLOT: usize = 1 << 20;

#[cfg(target_os = "linux")]
mod linux {
    use super::SLOT;
    use corosensei::stack::valgrind::ValgrindStackRegistration;
    use corosensei::stack::{Stack, StackPointer};
    use std::cell::RefCell;
    use std::io;
    use std::ptr::NonNull;
    use std::rc::Rc;

    /// Different offsets at which stacks begin: all of them within a quarter of a page.
    const COLORS: usize = 16;

    /// A line of the processor's cache, in bytes.
    const LINE: usize = 64;

    /// Free slots that keep their pages.
    const WARM: usize = 256;

    /// Slots of the first mapping; each further one has twice as many as the one before, up to
    /// [`MOST_SLOTS`].
    const FIRST_SLOTS: usize = 64;
    const MOST_SLOTS: usize = 4096;

    /// From the kernel's `mman-common.h`; not in `libc` yet for all targets.
    const MADV_GUARD_INSTALL: libc::c_int = 102;

    /// Gives out stacks. A clone is the same slab.
    #[derive(Clone, Default)]
    pub(crate) struct StackSlab(Rc<RefCell<Slab>>);

    #[derive(Default)]
    struct Slab {
        mappings: Vec<Mapping>,
        /// Slots of the last mapping that were ever given out.
        used: usize,
        /// The ends of free slots. Those that come last are warm.
        free: Vec<StackPointer>,
        /// How many at the end of `free` have pages.
        warm: usize,
        guards: Guards,
        /// Tells Valgrind, if the process runs in it, that these are stacks.
        known_to_valgrind: Vec<ValgrindStackRegistration>,
    }

    /// How a page is made to fault.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) enum Guards {
        /// By advice, which needs no mapping of its own.
        #[default]
        Advice,
        /// By protection, where the kernel doesn't know the advice.
        Protection,
    }

    /// Address space for `slots` stacks.
    struct Mapping {
        start: NonNull<u8>,
        slots: usize,
    }

    impl Mapping {
        fn new(slots: usize) -> io::Result<Self> {
            let length = slots * SLOT;
            // SAFETY: an anonymous mapping at a place of the system's choice touches no other memory.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    length,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
                    -1,
                    0,
                )
            };
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            // A huge page would make every stack in it resident as a whole. Old kernels may refuse the
            // advice, which does no harm.
            // SAFETY: the mapping was just made and is ours.
            unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) };
            let start =
                NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
            Ok(Self { start, slots })
        }

        /// The lowest address of a slot.
        fn slot(&self, index: usize) -> *mut u8 {
            self.start.as_ptr().wrapping_add(index * SLOT)
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: the slab is dropped after the last of its slots, each of which holds it.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.slots * SLOT) };
        }
    }

    fn page() -> usize {
        // SAFETY: asks for a constant of the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    impl Guards {
        /// Makes the lowest page of a slot fault on every access.
        fn install(&mut self, limit: *mut u8) -> io::Result<()> {
            let page = page();
            if *self == Self::Advice {
                // SAFETY: the page is part of a slot that was never given out.
                if unsafe { libc::madvise(limit.cast(), page, MADV_GUARD_INSTALL) } == 0 {
                    return Ok(());
                }
                *self = Self::Protection;
            }
            // SAFETY: as above.
            if unsafe { libc::mprotect(limit.cast(), page, libc::PROT_NONE) } == 0 {
                return Ok(());
            }
            Err(io::Error::last_os_error())
        }
    }

    impl StackSlab {
        /// A stack. Fails when the system has no address space or no mapping left.
        pub fn take(&self) -> io::Result<Slot> {
            let mut slab = self.0.borrow_mut();
            let end = match slab.free.pop() {
                Some(end) => {
                    slab.warm = slab.warm.saturating_sub(1);
                    end
                }
                None => slab.fresh()?,
            };
            Ok(Slot { base: colored(end), end, slab: self.clone() })
        }

        /// A slab whose guards are made in this way.
        #[cfg(test)]
        pub fn with(guards: Guards) -> Self {
            Self(Rc::new(RefCell::new(Slab { guards, ..Slab::default() })))
        }

        /// How guards are made.
        #[cfg(test)]
        pub fn guards(&self) -> Guards {
            self.0.borrow().guards
        }

        /// How many stacks there are, and how many of them are free.
        #[cfg(test)]
        pub fn count(&self) -> (usize, usize) {
            let slab = self.0.borrow();
            let full: usize = slab.mappings.iter().rev().skip(1).map(|mapping| mapping.slots).sum();
            (full + slab.used, slab.free.len())
        }
    }

    impl Slab {
        /// A slot that was never given out before.
        fn fresh(&mut self) -> io::Result<StackPointer> {
            let full = self.mappings.last().is_none_or(|mapping| self.used == mapping.slots);
            if full {
                let slots = self.mappings.last().map_or(FIRST_SLOTS, |m| (m.slots * 2).min(MOST_SLOTS));
                self.mappings.push(Mapping::new(slots)?);
                self.used = 0;
            }
            let Some(mapping) = self.mappings.last() else {
                return Err(io::Error::from(io::ErrorKind::OutOfMemory));
            };
            let limit = mapping.slot(self.used);
            self.guards.install(limit)?;
            self.used += 1;
            self.known_to_valgrind.push(ValgrindStackRegistration::new(limit, SLOT));
            StackPointer::new(limit as usize + SLOT)
                .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
        }
    }

    /// Where code on the stack begins that ends there: a line further down than on the stack before. If it were the same
    /// place of a page on all, what they use most would compete for the same few places of the processor's caches; and
    /// in an order that is less even its prefetcher would not follow.
    fn colored(end: StackPointer) -> StackPointer {
        let color = end.get() / SLOT % COLORS;
        // SAFETY: within the slot, which is far from where addresses begin.
        unsafe { StackPointer::new_unchecked(end.get() - color * LINE) }
    }

    /// One stack; dropped, it goes back to its slab.
    pub(crate) struct Slot {
        /// Where code begins, and where the slot ends.
        base: StackPointer,
        end: StackPointer,
        slab: StackSlab,
    }

    // SAFETY: from `end`, which `base` is at or below, down to `limit` lie `SLOT` mapped bytes that belong to this slot
    // alone until it is dropped; the lowest page faults on every access. A slot's ends are multiples of the page size.
    unsafe impl Stack for Slot {
        #[inline]
        fn base(&self) -> StackPointer {
            self.base
        }

        #[inline]
        fn limit(&self) -> StackPointer {
            // SAFETY: `end` is `SLOT` above the start of a slot, which is not null.
            unsafe { StackPointer::new_unchecked(self.end.get() - SLOT) }
        }
    }

    impl Drop for Slot {
        fn drop(&mut self) {
            let mut slab = self.slab.0.borrow_mut();
            if slab.warm < WARM {
                slab.warm += 1;
                slab.free.push(self.end);
                return;
            }
            let (limit, page) = (self.end.get() - SLOT, page());
            // The guard stays: it is no page that could be given back.
            // SAFETY: nothing is on the stack any more; what is read there later is zero.
            unsafe { libc::madvise((limit + page) as *mut libc::c_void, SLOT - page, libc::MADV_DONTNEED) };
            let warm = slab.free.len() - slab.warm;
            slab.free.insert(warm, self.end);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::SLOT;
    use corosensei::stack::DefaultStack;

    /// One stack.
    pub(crate) type Slot = DefaultStack;

    /// Gives out stacks.
    #[derive(Clone, Default)]
    pub(crate) struct StackSlab;

    impl StackSlab {
        /// A stack. Fails when the system has none left.
        pub fn take(&self) -> std::io::Result<Slot> {
            DefaultStack::new(SLOT)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use corosensei::Coroutine;
    use corosensei::stack::Stack;

    #[test]
    fn slots_do_not_overlap_and_the_last_one_given_back_is_taken_first() {
        let slab = StackSlab::default();
        let slots: Vec<Slot> = (0..300).map(|_| slab.take().unwrap()).collect();
        let mut ends: Vec<(usize, usize)> = slots.iter().map(|s| (s.limit().get(), s.base().get())).collect();
        ends.sort_unstable();
        assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        assert!(ends.iter().all(|(limit, base)| (SLOT - 1024..=SLOT).contains(&(base - limit))));
        assert!(
            ends.windows(2).all(|pair| pair[0].1 % 1024 != pair[1].1 % 1024),
            "neighbours have other colors"
        );
        let last = slots[123].base();
        let mut slots = slots;
        drop(slots.remove(123));
        assert_eq!(slab.take().unwrap().base(), last);
    }

    #[test]
    fn slots_are_used_again_before_there_are_new_ones() {
        let slab = StackSlab::default();
        for _ in 0..3 {
            let slots: Vec<Slot> = (0..1000).map(|_| slab.take().unwrap()).collect();
            assert_eq!(slab.count(), (1000, 0));
            drop(slots);
            assert_eq!(slab.count(), (1000, 1000));
        }
    }

    #[test]
    fn what_is_on_a_stack_stays_when_others_come_and_go() {
        let slab = StackSlab::default();
        let mut coroutines: Vec<Coroutine<(), usize, (), Slot>> = (0..600usize)
            .map(|number| {
                Coroutine::with_stack(slab.take().unwrap(), move |yielder, ()| {
                    let local = [number; 64];
                    loop {
                        yielder.suspend(std::hint::black_box(&local).iter().sum::<usize>() / 64);
                    }
                })
            })
            .collect();
        for round in 0..4 {
            for (number, coroutine) in coroutines.iter_mut().enumerate() {
                assert_eq!(coroutine.resume(()).as_yield(), Some(number), "round {round}");
            }
        }
        coroutines.truncate(100);
        for (number, coroutine) in coroutines.iter_mut().enumerate() {
            assert_eq!(coroutine.resume(()).as_yield(), Some(number));
        }
    }

    /// Goes on until the stack is full.
    #[inline(never)]
    fn fill(depth: usize) -> usize {
        let page = std::hint::black_box([depth; 512]);
        if page[0] == usize::MAX { 0 } else { fill(depth + 1) + page[depth % 512] }
    }

    #[test]
    fn a_stack_that_overflows_faults_at_its_guard() {
        const CHILD: &str = "BLUETICK_OVERFLOWS";
        let ways = [linux::Guards::Advice, linux::Guards::Protection];
        if let Ok(way) = std::env::var(CHILD) {
            let slab = StackSlab::with(ways[way.parse::<usize>().unwrap()]);
            // The neighbours below would be written to without a guard, and the process would live.
            let slots: Vec<Slot> = (0..40).map(|_| slab.take().unwrap()).collect();
            if way == "1" {
                assert_eq!(slab.guards(), ways[1]);
            }
            let mut coroutine: Coroutine<(), (), usize, Slot> =
                Coroutine::with_stack(slots.into_iter().last().unwrap(), |_, ()| fill(0));
            coroutine.resume(());
            std::process::exit(0);
        }
        for way in ["0", "1"] {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "native::stack::tests::a_stack_that_overflows_faults_at_its_guard"])
                .args(["--test-threads=1", "--nocapture"])
                .env(CHILD, way)
                .output()
                .unwrap();
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(child.status.signal(), Some(libc::SIGSEGV), "{child:?}");
        }
    }
}
