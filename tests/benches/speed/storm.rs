//! Many that sleep at random, so that some wake up in every frame and sleep again.

use super::games::{Crowd, FRAME};
use crate::harness::{Random, RawCoroutines, Row};
use crate::peers::tokio;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const TASKLETS: usize = 100_000;

/// The longest sleep in frames; from none on, all are equally likely.
const LONGEST: u64 = 20;

/// How many wake up in a frame, on average: a sleep lasts for ten frames and the rest of the one that it begins in.
const WOKEN: usize = TASKLETS * 2 / (LONGEST as usize + 1);

pub fn sleeps() -> Row {
    let longest = LONGEST as f64 * FRAME;
    let mut crowd =
        Crowd::new(&format!("while true do synchro.sleep(math.random() * {longest}) end"), TASKLETS);
    let raw = RawCoroutines::new(WOKEN);
    let (mut heap, mut also_heap) = (Heap::new(), Heap::new());
    Row::new(WOKEN, move || crowd.tick(None))
        .limit("a binary heap of keys", None, move || heap.frame())
        .limit("the heap and raw resumes", None, move || {
            also_heap.frame();
            raw.resume_all();
        })
        .peer(tokio::storm(TASKLETS, LONGEST, WOKEN), None)
}

/// When who wakes up, and nothing else.
struct Heap {
    keys: BinaryHeap<Reverse<(u64, u32)>>,
    now: u64,
    random: Random,
}

/// Units of time in a frame.
const UNITS: u64 = 1 << 32;

impl Heap {
    fn new() -> Self {
        let mut heap = Self { keys: BinaryHeap::new(), now: 0, random: Random::new(1) };
        for id in 0..TASKLETS as u32 {
            let due = heap.random.below(LONGEST * UNITS);
            heap.keys.push(Reverse((due, id)));
        }
        heap
    }

    fn frame(&mut self) {
        self.now += UNITS;
        while let Some(&Reverse((due, id))) = self.keys.peek()
            && due <= self.now
        {
            self.keys.pop();
            self.keys.push(Reverse((self.now + self.random.below(LONGEST * UNITS).max(1), id)));
        }
    }
}
