//! corosensei's coroutines without anything around them: what bounds Rust tasklets.

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::hint::black_box;

fn suspends_forever(yielder: &Yielder<(), ()>, (): ()) {
    loop {
        yielder.suspend(());
    }
}

/// So many coroutines in turn, each so often: a resume and a suspend are one operation.
pub fn switches(coroutines: usize, rounds: usize) -> impl FnMut() {
    let mut all: Vec<_> = (0..coroutines).map(|_| Coroutine::<(), (), ()>::new(suspends_forever)).collect();
    move || {
        for _ in 0..rounds {
            for coroutine in &mut all {
                black_box(coroutine.resume(()));
            }
        }
    }
}

/// Coroutines one after the other on the same stack, each with one suspend in the middle.
pub fn lives(count: usize) -> impl FnMut() {
    one_after_the_other(count, |coroutine| {
        assert!(matches!(coroutine.resume(()), CoroutineResult::Return(())));
    })
}

/// The same, ended where they are suspended.
pub fn unwound(count: usize) -> impl FnMut() {
    one_after_the_other(count, Coroutine::force_unwind)
}

fn one_after_the_other(count: usize, end: impl Fn(&mut Coroutine<(), (), ()>)) -> impl FnMut() {
    let mut stack = Some(DefaultStack::default());
    move || {
        for _ in 0..count {
            let kept = stack.take().expect("given back");
            let body = |yielder: &Yielder<(), ()>, ()| yielder.suspend(());
            let mut coroutine = Coroutine::with_stack(kept, body);
            assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
            end(&mut coroutine);
            stack = Some(coroutine.into_stack());
        }
    }
}
