//! Who waits for a rate, first come first served.

use std::collections::VecDeque;
use std::sync::Arc;

use super::forecast::{Ahead, Forecast, Reservation};
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
    /// The weights of all who came before it for this rate alone, whether they wait yet or not.
    before: u64,
    /// It waits for other rates too.
    combined: bool,
    hold: Hold,
    /// When it looks again by itself.
    until: Time,
    signal: Arc<Signal>,
}

impl Waiter {
    /// Whether it is sure to go before those behind it.
    fn goes_first(&self) -> bool {
        !self.combined && self.hold == Hold::Firm
    }

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
    /// The weights of all who ever came for this rate alone,
    came: u64,
    /// and the largest weight of those who came since the queue was last empty.
    heaviest: u64,
    /// How many wait who are not sure to go before those behind them.
    let_pass: usize,
}

impl Queue {
    /// The number of one who comes now and does not wait.
    pub(super) const LAST: u64 = u64::MAX;

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn push(&mut self, number: u64, weight: u64, combined: bool, signal: Arc<Signal>) {
        if self.waiters.is_empty() {
            (self.came, self.heaviest) = (0, 0);
        }
        let before = self.came;
        if combined {
            self.let_pass += 1;
        } else {
            self.came = before.saturating_add(weight);
        }
        self.heaviest = self.heaviest.max(weight);
        self.waiters.push_back(Waiter {
            number,
            weight,
            before,
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

    /// Whether `weight` permits are due after `deadline` behind those before `number` who wait for this
    /// rate alone.
    ///
    /// Of many who wait each asks this when it comes, so bounds decide where they can, and the walk ends
    /// where the deadline is missed.
    pub(super) fn comes_after(
        &self,
        mut forecast: Forecast<'_>,
        (number, weight): (u64, u64),
        deadline: Time,
    ) -> bool {
        if let Some(comes_after) = forecast.bounds(&self.ahead(number, weight), deadline) {
            return comes_after;
        }
        let before = self.waiters.iter().take_while(|it| it.number < number);
        for waiter in before.filter(|waiter| waiter.goes_first()) {
            if forecast.give(waiter.weight, Arrival::Queued) > deadline {
                return true;
            }
        }
        forecast.due(weight) > deadline
    }

    /// How much is given until `weight` permits are that wait with this number.
    fn ahead(&self, number: u64, weight: u64) -> Ahead {
        let place = self.waiters.partition_point(|it| it.number < number);
        let came = self.waiters.get(place).map_or(self.came, |it| it.before);
        let left = self.waiters.front().map_or(came, |first| first.before);
        let others = place.saturating_sub(self.let_pass) as u64;
        Ahead {
            least: others.saturating_add(weight),
            most: (came - left).saturating_add(weight),
            heaviest: self.heaviest.max(weight),
        }
    }

    /// Changes how a waiter holds the rate until it looks again. Returns the signal of whoever may
    /// have its turn by it.
    pub(super) fn hold(&mut self, number: u64, hold: Hold, until: Time) -> Option<Arc<Signal>> {
        let place = self.place(number)?;
        self.waiters[place].until = until;
        let waiter = &mut self.waiters[place];
        let went_first = waiter.goes_first();
        let before = std::mem::replace(&mut waiter.hold, hold);
        match (went_first, waiter.goes_first()) {
            (true, false) => self.let_pass += 1,
            (false, true) => self.let_pass -= 1,
            _ => {}
        }
        self.next_from(place).filter(|_| hold > before)
    }

    /// Takes a waiter out. Returns the signal of whoever may have its turn by it.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<Signal>> {
        let place = self.place(number)?;
        let waiter = self.waiters.remove(place)?;
        self.let_pass -= usize::from(!waiter.goes_first());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::gate::{Gate, Taker};
    use super::super::rate::{Rate, RateError};
    use super::*;

    const MS: u64 = 1_000_000;

    /// What [`Queue::comes_after`] is to tell from: everybody's permits, one after the other.
    fn earliest(queue: &Queue, mut forecast: Forecast<'_>, number: u64, weight: u64) -> Time {
        let before = queue.waiters.iter().take_while(|it| it.number < number);
        for waiter in before.filter(|it| it.goes_first()) {
            forecast.give(waiter.weight, Arrival::Queued);
        }
        forecast.due(weight)
    }

    fn some_gate(chance: &mut fastrand::Rng, limit: u64) -> Result<Gate, RateError> {
        let burst = chance.bool().then(|| chance.u64(1..=limit));
        let margin = chance.bool().then(|| Duration::from_millis(5));
        let rate = Rate::new(limit, Duration::from_millis(100), burst, margin)?;
        let mut gate = Gate::new(if chance.bool() {
            rate.adaptive()?
        } else {
            rate
        });
        for _ in 0..chance.u64(0..8) {
            let now = Time::from_nanos(chance.u64(100 * MS..190 * MS));
            let taker = chance.choice([Taker::Call, Taker::Anybody]);
            gate.try_take(1, now, taker.unwrap_or(Taker::Anybody));
        }
        if chance.u8(0..4) == 0 {
            gate.slow_down(Time::from_nanos(190 * MS));
        }
        if chance.u8(0..4) == 0 {
            gate.pause_until(Time::from_nanos(300 * MS), Time::from_nanos(190 * MS));
        }
        Ok(gate)
    }

    fn some_queue(chance: &mut fastrand::Rng, limit: u64) -> Queue {
        let (mut queue, signal) = (Queue::default(), Arc::new(Signal::default()));
        let largest = if chance.bool() {
            chance.u64(1..=limit)
        } else {
            1
        };
        for number in 1..chance.u64(2..60) {
            let (weight, combined) = (chance.u64(1..=largest), chance.u8(0..8) == 0);
            queue.push(number, weight, combined, Arc::clone(&signal));
            match chance.u8(0..8) {
                0 => drop(queue.leave(chance.u64(1..=number))),
                1 => {
                    let hold = chance.choice([Hold::Firm, Hold::Released]);
                    let hold = hold.unwrap_or(Hold::Firm);
                    queue.hold(chance.u64(1..=number), hold, Time::NEVER);
                }
                _ => {}
            }
        }
        queue
    }

    #[test]
    fn bounds_tell_what_a_walk_tells() -> Result<(), RateError> {
        let mut chance = fastrand::Rng::with_seed(7);
        let now = Time::from_nanos(195 * MS);
        let mut bounded = 0;
        for _ in 0..20_000 {
            let limit = chance.u64(1..12);
            let (mut gate, queue) = (
                some_gate(&mut chance, limit)?,
                some_queue(&mut chance, limit),
            );
            let number = chance
                .choice([Queue::LAST, 1, 7, 20])
                .unwrap_or(Queue::LAST);
            // More than the limit is never given.
            let any = chance.u64(1..=limit + 1);
            let weight = chance.choice([1, any]).unwrap_or(1);
            let due = earliest(&queue, gate.earliest_forecast(now), number, weight);
            let some = now.plus_nanos(chance.u64(0..2_000 * MS));
            let just_before = Time::from_nanos(due.as_nanos() - 1);
            for deadline in [due, just_before, some, now, Time::NEVER] {
                let forecast = gate.earliest_forecast(now);
                let ahead = queue.ahead(number, weight);
                bounded += u64::from(forecast.bounds(&ahead, deadline).is_some());
                assert_eq!(
                    queue.comes_after(forecast, (number, weight), deadline),
                    due > deadline,
                    "{weight} due at {due:?} behind {queue:?} of {gate:?}, by {deadline:?}"
                );
            }
        }
        assert!(bounded > 30_000, "bounds have told {bounded} times");
        Ok(())
    }
}
