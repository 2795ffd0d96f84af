//! Plain calls once a frame, between the sleepers and the yielders (`semantics.md` 5.5).

use crate::clock::Clock;
use bevy_ecs::world::World;
use bluetick_scripting::Vm;

/// Names a ticker, to take it off again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TickerId(u64);

/// What a ticker is called with.
pub struct TickerContext<'a> {
    /// The world.
    pub world: &'a mut World,
    /// The VM: tasklets that a ticker makes run in the same frame.
    pub vm: &'a Vm,
    /// The clock.
    pub clock: Clock,
    over: bool,
}

impl TickerContext<'_> {
    /// This ticker is not called again.
    pub fn unregister(&mut self) {
        self.over = true;
    }
}

type Call = Box<dyn FnMut(&mut TickerContext<'_>) -> Result<(), Box<dyn std::error::Error>>>;

struct Ticker {
    id: TickerId,
    name: String,
    call: Call,
}

/// All tickers of a host.
#[derive(Default)]
pub(crate) struct Tickers {
    tickers: Vec<Ticker>,
    made: u64,
}

impl Tickers {
    pub fn add(&mut self, name: &str, call: Call) -> TickerId {
        self.made += 1;
        let id = TickerId(self.made);
        self.tickers.push(Ticker { id, name: name.into(), call });
        id
    }

    pub fn remove(&mut self, id: TickerId) -> bool {
        let before = self.tickers.len();
        self.tickers.retain(|ticker| ticker.id != id);
        self.tickers.len() < before
    }

    pub fn clear(&mut self) {
        self.tickers.clear();
    }

    /// Calls each once, in the order in which they were added. What has failed, by name, with its message;
    /// those after it are called all the same.
    pub fn call(&mut self, world: &mut World, vm: &Vm, clock: Clock) -> Vec<(String, String)> {
        let mut failed = Vec::new();
        self.tickers.retain_mut(|Ticker { name, call, .. }| {
            let mut context = TickerContext { world: &mut *world, vm, clock, over: false };
            if let Err(error) = call(&mut context) {
                failed.push((name.clone(), error.to_string()));
            }
            !context.over
        });
        failed
    }
}
