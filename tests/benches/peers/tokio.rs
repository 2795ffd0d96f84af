//! Tasks of tokio's current-thread runtime, its channels, and its timers, which a wheel keeps.

use crate::harness::{Random, Side, version_of};
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet, yield_now};
use tokio::time;

fn name(of: &str) -> String {
    format!("tokio {} {of}", version_of("tokio"))
}

/// Its clock moves when it is told to.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// Waits for all of these.
async fn all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("it ends");
    }
}

/// So many tasks that each yield so often.
pub fn yield_now_in_turn(tasks: usize, rounds: usize) -> Side {
    let runtime = runtime();
    Side::new(name("yield_now"), tasks * rounds, move || {
        let task = || async move {
            for _ in 0..rounds {
                yield_now().await;
            }
        };
        runtime.block_on(async { all((0..tasks).map(|_| tokio::spawn(task())).collect()).await });
    })
}

/// Values through a channel with a buffer of one; it has none without.
pub fn mpsc(values: usize) -> Side {
    let runtime = runtime();
    Side::new(name("mpsc with a buffer of 1"), values, move || {
        let (sender, mut receiver) = mpsc::channel::<usize>(1);
        let send = async move {
            for value in 0..values {
                sender.send(value).await.expect("a receiver");
            }
        };
        let receive = async move {
            while let Some(value) = receiver.recv().await {
                black_box(value);
            }
        };
        runtime.block_on(async { all(vec![tokio::spawn(receive), tokio::spawn(send)]).await });
    })
}

/// A value, and where the next one will come.
struct Message {
    value: usize,
    next: oneshot::Receiver<Message>,
}

/// Values that each have a oneshot channel of their own; the sender lets the receiver run after each.
pub fn oneshot(values: usize) -> Side {
    let runtime = runtime();
    Side::new(name("oneshot, one for each value"), values, move || {
        let (mut sender, mut receiver) = oneshot::channel::<Message>();
        let send = async move {
            for value in 0..values {
                let (next_sender, next) = oneshot::channel();
                assert!(sender.send(Message { value, next }).is_ok());
                sender = next_sender;
                yield_now().await;
            }
        };
        let receive = async move {
            while let Ok(Message { value, next }) = receiver.await {
                black_box(value);
                receiver = next;
            }
        };
        runtime.block_on(async { all(vec![tokio::spawn(receive), tokio::spawn(send)]).await });
    })
}

/// Tasks that yield once and end, one after the other.
pub fn spawn(count: usize) -> Side {
    let runtime = runtime();
    Side::new(name("spawn"), count, move || {
        runtime.block_on(async {
            let made = tokio::spawn(async move {
                for _ in 0..count {
                    drop(tokio::spawn(yield_now()));
                    yield_now().await;
                    yield_now().await;
                }
            });
            made.await.expect("it ends");
        });
    })
}

/// Tasks that are ended while they wait, one after the other.
pub fn abort(count: usize) -> Side {
    let runtime = runtime();
    Side::new(name("spawn and abort"), count, move || {
        runtime.block_on(async {
            let made = tokio::spawn(async move {
                for _ in 0..count {
                    let task = tokio::spawn(std::future::pending::<()>());
                    yield_now().await;
                    task.abort();
                    assert!(task.await.is_err());
                }
            });
            made.await.expect("it ends");
        });
    })
}

const FRAME: Duration = Duration::from_millis(10);

/// A frame in which so many tasks sleep until the next one, while others sleep for long.
pub fn ticks(asleep: usize, awake: usize) -> Side {
    let runtime = runtime();
    let woken = Rc::new(Cell::new(0));
    let tasks = LocalSet::new();
    for i in 0..asleep as u64 {
        let longer = Duration::from_millis(i * 7919 % 1_000_003);
        tasks.spawn_local(async move { time::sleep(Duration::from_secs(80_000) + longer).await });
    }
    for _ in 0..awake {
        let woken = woken.clone();
        tasks.spawn_local(async move {
            loop {
                woken.set(woken.get() + 1);
                time::sleep(FRAME).await;
            }
        });
    }
    // They sleep before the clock moves: those that sleep for long were made before, and so ran before.
    runtime.block_on(tasks.run_until(async {
        while woken.get() < awake {
            yield_now().await;
        }
    }));
    let tick = async move || {
        woken.set(0);
        time::advance(FRAME).await;
        while woken.get() < awake {
            yield_now().await;
        }
    };
    Side::new(name("time wheel, as many"), 1, move || runtime.block_on(tasks.run_until(tick())))
}

/// A frame of tasks that sleep for up to so many frames, again and again.
pub fn storm(tasks: usize, longest: u64, woken: usize) -> Side {
    let runtime = runtime();
    let most = longest * FRAME.as_nanos() as u64;
    let set = LocalSet::new();
    let sleeps = Rc::new(Cell::new(0));
    for i in 0..tasks as u64 {
        let (sleeps, mut random) = (sleeps.clone(), Random::new(i));
        set.spawn_local(async move {
            loop {
                sleeps.set(sleeps.get() + 1);
                time::sleep(Duration::from_nanos(random.below(most))).await;
            }
        });
    }
    let frame = async move || {
        time::advance(FRAME).await;
        // Until nobody is left that could run.
        let mut before = usize::MAX;
        while sleeps.get() != before {
            before = sleeps.get();
            yield_now().await;
            yield_now().await;
        }
    };
    for _ in 0..2 * longest {
        runtime.block_on(set.run_until(frame()));
    }
    Side::new(name("time wheel"), woken, move || runtime.block_on(set.run_until(frame())))
}

/// So many tasks that wait with three numbers.
pub fn waiting(count: usize) -> (Runtime, Arc<Notify>) {
    let (runtime, word) = (runtime(), Arc::new(Notify::new()));
    for i in 0..count as u64 {
        let word = word.clone();
        runtime.spawn(async move {
            let numbers = black_box([i, i + 1, i + 2]);
            word.notified().await;
            black_box(numbers.iter().sum::<u64>());
        });
    }
    runtime.block_on(yield_now());
    while runtime.metrics().global_queue_depth() > 0 {
        runtime.block_on(yield_now());
    }
    (runtime, word)
}
