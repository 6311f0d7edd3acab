//! Who waits for a rate, first come first served.

use std::collections::VecDeque;
use std::sync::Arc;

use super::forecast::{Forecast, Reservation};
use super::pacing::Arrival;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// How far one who waits keeps a rate from those who came later; the farthest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// Nobody goes first: it waits for this rate.
    Firm,
    /// Whoever leaves it its permits at that time may go first: it cannot start before, for the sake
    /// of another rate.
    Reserved(Time),
    /// Anybody may go first: nobody knows when it can start.
    Released,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    weight: u64,
    /// It waits for other rates too.
    combined: bool,
    hold: Hold,
    /// When it looks again by itself.
    until: Time,
    signal: Arc<Signal>,
}

impl Waiter {
    fn reservation(&self) -> Option<Reservation> {
        match self.hold {
            Hold::Reserved(start) => Some(Reservation {
                weight: self.weight,
                start,
            }),
            Hold::Firm | Hold::Released => None,
        }
    }
}

/// Waiters in the order they came. Their numbers ascend.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
}

impl Queue {
    /// The number of one who comes now and does not wait.
    pub(super) const LAST: u64 = u64::MAX;

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn push(&mut self, number: u64, weight: u64, combined: bool, signal: Arc<Signal>) {
        self.waiters.push_back(Waiter {
            number,
            weight,
            combined,
            hold: Hold::Firm,
            until: Time::NEVER,
            signal,
        });
    }

    /// The signals of all.
    pub(super) fn signals(&self) -> impl Iterator<Item = &Arc<Signal>> {
        self.waiters.iter().map(|waiter| &waiter.signal)
    }

    /// A permit leaves the window at `leaves`, which was to leave at `latest`. Returns the signal of
    /// whoever may have its turn by it: that is the first who waits for this rate, if it does not
    /// look again before.
    #[inline]
    pub(super) fn sooner(&self, leaves: Time, latest: Time) -> Option<Arc<Signal>> {
        let first = self.waiters.iter().find(|it| it.hold == Hold::Firm)?;
        let waits_for_it = leaves < first.until && first.until <= latest;
        let waits_for_others = first.until == Time::NEVER;
        (waits_for_it || waits_for_others).then(|| Arc::clone(&first.signal))
    }

    /// How many permits the first wants who waits for this rate.
    pub(super) fn first_weight(&self) -> Option<u64> {
        let first = self.waiters.iter().find(|it| it.hold == Hold::Firm);
        first.map(|first| first.weight)
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The signals of those who may have their turn by news from elsewhere: the first who waits for
    /// this rate, and all who wait for others too.
    pub(super) fn by_news(&self) -> Vec<Arc<Signal>> {
        let first = self.waiters.iter().find(|it| it.hold == Hold::Firm);
        let first = first.filter(|first| !first.combined);
        let signals = first.map(|first| &first.signal).into_iter();
        signals.chain(self.combined()).cloned().collect()
    }

    /// The signals of those who wait for other rates too.
    pub(super) fn combined(&self) -> impl Iterator<Item = &Arc<Signal>> {
        let combined = self.waiters.iter().filter(|waiter| waiter.combined);
        combined.map(|waiter| &waiter.signal)
    }

    /// What those keep who came before `number`, in the order of their times; None if one of them
    /// lets nobody go first.
    pub(super) fn reserved_before(&self, number: u64) -> Option<Vec<Reservation>> {
        let mut reserved = Vec::new();
        for waiter in &self.waiters {
            if waiter.number >= number {
                break;
            }
            if waiter.hold == Hold::Firm {
                return None;
            }
            reserved.extend(waiter.reservation());
        }
        reserved.sort_by_key(|reserved| reserved.start);
        Some(reserved)
    }

    /// When `weight` permits are due behind all who wait, as the forecast has it.
    pub(super) fn due_behind(&self, mut forecast: Forecast<'_>, weight: u64, now: Time) -> Time {
        let mut reserved = Vec::new();
        for waiter in &self.waiters {
            if waiter.hold == Hold::Firm {
                forecast.due_among(&mut reserved, waiter.weight, Arrival::Queued, now);
                forecast.give(waiter.weight, Arrival::Queued);
            }
            reserved.extend(waiter.reservation());
            reserved.sort_by_key(|reserved| reserved.start);
        }
        forecast.due_among(&mut reserved, weight, Arrival::Direct, now)
    }

    /// When `weight` permits are due behind those before `number` who wait for this rate alone.
    pub(super) fn earliest(&self, mut forecast: Forecast<'_>, number: u64, weight: u64) -> Time {
        let before = self.waiters.iter().take_while(|it| it.number < number);
        let alone = |waiter: &&Waiter| !waiter.combined && waiter.hold == Hold::Firm;
        for waiter in before.filter(alone) {
            forecast.give(waiter.weight, Arrival::Queued);
        }
        forecast.due(weight)
    }

    /// Changes how a waiter holds the rate until it looks again. Returns the signal of whoever may
    /// have its turn by it.
    pub(super) fn hold(&mut self, number: u64, hold: Hold, until: Time) -> Option<Arc<Signal>> {
        let place = self.place(number)?;
        self.waiters[place].until = until;
        let before = std::mem::replace(&mut self.waiters[place].hold, hold);
        self.next_from(place).filter(|_| hold > before)
    }

    /// Takes a waiter out. Returns the signal of whoever may have its turn by it.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<Signal>> {
        let place = self.place(number)?;
        let waiter = self.waiters.remove(place)?;
        self.next_from(place)
            .filter(|_| waiter.hold != Hold::Released)
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.waiters
            .binary_search_by_key(&number, |waiter| waiter.number)
            .ok()
    }

    /// The first who waits for this rate, if that is not one before `place`. Those who wait for
    /// another are told when that one changes.
    fn next_from(&self, place: usize) -> Option<Arc<Signal>> {
        let mut firm = self.waiters.iter().enumerate();
        let (next, waiter) = firm.find(|(_, waiter)| waiter.hold == Hold::Firm)?;
        (next >= place).then(|| Arc::clone(&waiter.signal))
    }
}
