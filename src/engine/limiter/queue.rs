//! Who waits for a rate, first come first served. The head holds the turn.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::signal::Signal;

#[derive(Debug)]
struct Waiter {
    number: u64,
    weight: u64,
    signal: Arc<Signal>,
}

/// Waiters in the order they came. Their numbers ascend.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn push(&mut self, number: u64, weight: u64, signal: Arc<Signal>) {
        self.waiters.push_back(Waiter {
            number,
            weight,
            signal,
        });
    }

    pub(super) fn is_head(&self, number: u64) -> bool {
        self.waiters
            .front()
            .is_some_and(|head| head.number == number)
    }

    pub(super) fn weights(&self) -> impl Iterator<Item = u64> + '_ {
        self.waiters.iter().map(|waiter| waiter.weight)
    }

    /// Takes a waiter out. Returns the signal of the one that became the head by it, if any did.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<Signal>> {
        let place = self
            .waiters
            .binary_search_by_key(&number, |waiter| waiter.number)
            .ok()?;
        self.waiters.remove(place);
        if place > 0 {
            return None;
        }
        self.waiters.front().map(|head| Arc::clone(&head.signal))
    }
}
