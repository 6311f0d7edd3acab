//! Who waits for a rate, first come first served. The head holds the turn.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::signal::Signal;

#[derive(Debug)]
struct Waiter {
    number: u64,
    weight: u64,
    signal: Arc<Signal>,
    /// It lets others go first for now.
    aside: bool,
}

/// Waiters in the order they came. Their numbers ascend.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
}

impl Queue {
    /// Whether nobody waits, but for those who let others go first.
    pub(super) fn is_empty(&self) -> bool {
        self.in_line().next().is_none()
    }

    pub(super) fn push(&mut self, number: u64, weight: u64, signal: Arc<Signal>) {
        self.waiters.push_back(Waiter {
            number,
            weight,
            signal,
            aside: false,
        });
    }

    pub(super) fn is_head(&self, number: u64) -> bool {
        self.head().is_some_and(|head| head.number == number)
    }

    pub(super) fn weights(&self) -> impl Iterator<Item = u64> + '_ {
        self.in_line().map(|waiter| waiter.weight)
    }

    /// Lets others go before a waiter, or no more. Returns the signal of the one that became the
    /// head by its stepping aside, if any did.
    pub(super) fn step_aside(&mut self, number: u64, aside: bool) -> Option<Arc<Signal>> {
        let place = self.place(number)?;
        let was_head = self.is_head(number);
        self.waiters[place].aside = aside;
        self.new_head(was_head && aside)
    }

    /// Takes a waiter out. Returns the signal of the one that became the head by it, if any did.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<Signal>> {
        let place = self.place(number)?;
        let was_head = self.is_head(number);
        self.waiters.remove(place);
        self.new_head(was_head)
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.waiters
            .binary_search_by_key(&number, |waiter| waiter.number)
            .ok()
    }

    fn in_line(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().filter(|waiter| !waiter.aside)
    }

    fn head(&self) -> Option<&Waiter> {
        self.in_line().next()
    }

    fn new_head(&self, changed: bool) -> Option<Arc<Signal>> {
        self.head()
            .filter(|_| changed)
            .map(|head| Arc::clone(&head.signal))
    }
}
