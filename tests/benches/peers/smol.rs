//! Channels between two tasks of async-executor, which is smol's.

use crate::harness::{Side, version_of};
use async_executor::LocalExecutor;
use futures_lite::future::block_on;
use std::hint::black_box;

/// flume's channel without a buffer: the sender waits for the receiver.
pub fn flume(values: usize) -> Side {
    let executor = LocalExecutor::new();
    Side::new(format!("flume {} without a buffer on smol", version_of("flume")), values, move || {
        let (sender, receiver) = flume::bounded::<usize>(0);
        let sending = executor.spawn(async move {
            for value in 0..values {
                sender.send_async(value).await.expect("a receiver");
            }
        });
        block_on(executor.run(async {
            while let Ok(value) = receiver.recv_async().await {
                black_box(value);
            }
            sending.await;
        }));
    })
}

/// async-channel, which has no channel without a buffer.
pub fn async_channel(values: usize) -> Side {
    let executor = LocalExecutor::new();
    let name = format!("async-channel {} with a buffer of 1 on smol", version_of("async-channel"));
    Side::new(name, values, move || {
        let (sender, receiver) = async_channel::bounded::<usize>(1);
        let sending = executor.spawn(async move {
            for value in 0..values {
                sender.send(value).await.expect("a receiver");
            }
        });
        block_on(executor.run(async {
            while let Ok(value) = receiver.recv().await {
                black_box(value);
            }
            sending.await;
        }));
    })
}
