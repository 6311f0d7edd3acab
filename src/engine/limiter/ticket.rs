//! A place in the queues of a limiter's rates.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::Limiter;
use super::gate::Taker;
use super::pacing::Arrival;
use super::part::{PartState, charge};
use super::queue::{Hold, Queue};
use crate::engine::process;
use crate::engine::signal::Signal;
use crate::engine::time::{Time, TimeSource};

/// When one looks again who has lost a permit to another process in the same instant.
const LOST_RACE: Duration = Duration::from_micros(50);

/// What the one who waits has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Start.
    Ready,
    /// Wait until then: nobody is in the way.
    At(Time),
    /// Wait for the signal.
    Behind,
}

/// A place in the queue. Dropped, it is left and nothing is taken.
#[derive(Debug)]
pub struct Ticket {
    limiter: Limiter,
    number: u64,
    weight: u64,
    taker: Taker,
    generation: u64,
    waiting: bool,
}

impl Ticket {
    pub(super) fn new(limiter: Limiter, number: u64, weight: u64, taker: Taker) -> Self {
        Self {
            limiter,
            number,
            weight,
            taker,
            generation: process::generation(),
            waiting: true,
        }
    }

    /// Whether the turn has come; takes nothing.
    pub fn turn(&self, clock: impl TimeSource) -> Turn {
        self.take_turn(clock, false)
    }

    /// Takes the permits if the turn has come, stamped with this instant, and leaves the queue.
    pub fn try_start(&mut self, clock: impl TimeSource) -> Turn {
        let turn = self.take_turn(clock, true);
        self.waiting &= turn != Turn::Ready;
        turn
    }

    fn take_turn(&self, clock: impl TimeSource, start: bool) -> Turn {
        let (turn, told) = self.limiter.locked(|states| {
            let now = clock.now();
            let (mut turn, holds) = self.look(states, now);
            let starts = start
                && turn == Turn::Ready
                && charge(states, self.weight, now, Arrival::Queued, self.taker);
            if start && turn == Turn::Ready && !starts {
                // Another process was first.
                turn = Turn::At(now + LOST_RACE);
            }
            let told = if starts {
                each(states, |queue| queue.leave(self.number))
            } else {
                let until = match turn {
                    Turn::Ready => now,
                    Turn::At(start) => start,
                    Turn::Behind => Time::NEVER,
                };
                let mut holds = holds.into_iter();
                let told = each(states, |queue| {
                    queue.hold(self.number, holds.next()?, until)
                });
                for state in states {
                    let waits_for = state.queue.first_weight();
                    let waiting = state.queue.len();
                    state.gate.tell_waiting(waits_for, waiting, Some(now));
                }
                told
            };
            (turn, told)
        });
        wake(&told);
        turn
    }

    /// Whether the turn has come, and how it holds each rate until it looks again: it lets others go
    /// first where that is not what it waits for.
    fn look(&self, states: &mut [MutexGuard<'_, PartState>], now: Time) -> (Turn, Vec<Hold>) {
        if !self.is_in_line() {
            return (Turn::Behind, Vec::new());
        }
        let due = dues(states, self.weight, now);
        let start = due.iter().copied().max().unwrap_or(now);
        let arrival = (start, Arrival::Queued);
        let free: Vec<_> = states
            .iter_mut()
            .map(|state| state.lets_in(self.number, self.weight, arrival, now))
            .collect();
        if free.contains(&false) {
            let hold = |free| if free { Hold::Released } else { Hold::Firm };
            return (Turn::Behind, free.into_iter().map(hold).collect());
        }
        if start <= now {
            return (Turn::Ready, vec![Hold::Firm; due.len()]);
        }
        let hold = |due| {
            if due == start {
                Hold::Firm
            } else {
                Hold::Reserved(start)
            }
        };
        (Turn::At(start), due.into_iter().map(hold).collect())
    }

    /// Whether who waits with it is to look again every [`LOOK_AGAIN`](super::LOOK_AGAIN).
    #[must_use]
    pub fn has_to_be_watched(&self) -> bool {
        self.limiter.has_to_be_watched()
    }

    /// The same for one that was told to do this: one behind another that waits for the same rate is told
    /// by that one, so that of many who wait only the first looks again and again.
    #[must_use]
    pub fn has_to_watch(&self, turn: Turn) -> bool {
        self.has_to_be_watched() && !(turn == Turn::Behind && self.is_told())
    }

    fn is_told(&self) -> bool {
        self.limiter.locked(|states| {
            let mut queues = states.iter().map(|state| &state.queue);
            queues.any(|queue| queue.reserved_before(self.number).is_none())
        })
    }

    /// Whether it is certain that the turn does not come by `deadline`, whatever calls end before.
    pub fn comes_after(&self, deadline: Time, clock: impl TimeSource) -> bool {
        self.limiter.locked(|states| {
            let now = clock.now();
            states
                .iter_mut()
                .any(|state| state.comes_after(self.number, self.weight, deadline, now))
        })
    }

    /// Lets others go first, as if it did not wait, until it asks for its turn again: it keeps its
    /// place. For one that is about to do what may need those behind it.
    pub fn step_aside(&self) {
        if self.is_in_line() {
            let released = |queue: &mut Queue| queue.hold(self.number, Hold::Released, Time::NEVER);
            wake(&self.limiter.locked(|states| each(states, released)));
        }
    }

    /// Leaves the queue, if it is still in it; nothing is taken. For one that may never be dropped.
    pub fn leave(&mut self) {
        if self.is_in_line() {
            let told = self.limiter.locked(|states| {
                let told = each(states, |queue| queue.leave(self.number));
                let empty = states.iter_mut().filter(|state| state.queue.is_empty());
                empty.for_each(|state| state.gate.tell_waiting(None, 0, None));
                told
            });
            wake(&told);
        }
        self.waiting = false;
    }

    /// A forked child has queues of its own, and a ticket of its parent is in none of them.
    fn is_in_line(&self) -> bool {
        self.waiting && self.generation == process::generation()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
    }
}

/// When each rate has its permits. Those that are asked for elsewhere are not to come before the others
/// have theirs.
fn dues(states: &mut [MutexGuard<'_, PartState>], weight: u64, now: Time) -> Vec<Time> {
    let mut due = vec![now; states.len()];
    let mut start = now;
    for of_others in [false, true] {
        for (state, due) in states.iter_mut().zip(&mut due) {
            if state.gate.is_shared() == of_others {
                *due = state.gate.due(weight, start, now).unwrap_or(now);
                start = start.max(*due);
            }
        }
    }
    due
}

/// Changes every queue. Returns the signals of those whose turn may have come by it.
fn each(
    states: &mut [MutexGuard<'_, PartState>],
    mut change: impl FnMut(&mut Queue) -> Option<Arc<Signal>>,
) -> Vec<Arc<Signal>> {
    states
        .iter_mut()
        .filter_map(|state| change(&mut state.queue))
        .collect()
}

pub(super) fn wake(told: &[Arc<Signal>]) {
    for signal in told {
        signal.notify();
    }
}
