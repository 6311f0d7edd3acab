//! How much longer than `per` a permit is kept.
//!
//! A server counts a call somewhere between its start and its end, and only what the way there took
//! longer than that of other calls can move two arrivals closer together than two starts. A call's
//! whole duration less the shortest is at least as much, so that is what its permit is kept for: its
//! *spread*, up to a bound. Then no window of `per` holds more arrivals than the limit. For let a
//! call take its place in the window from another one that started before. It starts no earlier than
//! the other's start + `per` + spread, and the other arrived no later than its start + the shortest
//! way + spread: so the two arrive at least `per` apart.

use super::rate::Rate;
use crate::engine::time::Time;

/// The shortest there can be is taken to be one part in this many shorter than the shortest seen.
const SHADE: u64 = 16;
/// After so many calls it is known how long the shortest take. Before, it counts as no time at all.
const ENOUGH: u32 = 16;
/// The shortest is the least of the last so many calls or twice as many, so that it follows a
/// network that has become slower.
const GENERATION: u32 = 1000;

/// A call that has ended, as its limiter is told.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// When its permits were asked for and given,
    pub started: Time,
    /// and how many they were.
    pub weight: u64,
    /// When it ended.
    pub ended: Time,
    /// Whether it was its worker's first: it has opened a connection that later ones use.
    pub first: bool,
    /// Whether its duration says how long calls take: one that failed may never have reached the
    /// server.
    pub typical: bool,
}

impl Ended {
    /// Whether something can be learnt of how long it took.
    #[inline(always)]
    pub(super) const fn is_usual(&self) -> bool {
        self.typical && !self.first
    }
}

/// How long permits are kept beyond `per`, in nanoseconds, and what is learnt for that.
#[derive(Debug)]
pub(super) struct Margin {
    /// Of a permit of which only the start is known; of every one, where the margin was given.
    of_start: u64,
    /// Of a call that still runs, and of any at most; None where the margin was given.
    bound: Option<u64>,
    /// Of a worker's first call at most, once it has ended.
    first_bound: u64,
    shortest: Shortest,
    largest: Largest,
}

impl Margin {
    pub(super) fn new(rate: &Rate) -> Self {
        let mut margin = Self {
            of_start: 0,
            bound: None,
            first_bound: 0,
            shortest: Shortest::default(),
            largest: Largest::default(),
        };
        margin.follow(rate);
        margin
    }

    /// Keeps permits as the rate has it from now on, and what was learnt.
    pub(super) fn follow(&mut self, rate: &Rate) {
        self.of_start = nanos(rate.margin());
        self.bound = rate.bound().map(nanos);
        self.first_bound = rate.first_bound().map_or(0, nanos);
        self.largest.every = nanos(rate.per());
    }

    pub(super) const fn of_start(&self) -> u64 {
        self.of_start
    }

    pub(super) const fn bound(&self) -> Option<u64> {
        self.bound
    }

    /// Learns from a call that took its permit at `started`; returns its spread.
    pub(super) fn spread(&mut self, started: Time, call: &Ended) -> u64 {
        let duration = call.ended.nanos_since(started);
        if call.is_usual() {
            self.shortest.learn(duration);
        }
        let spread = duration
            .checked_sub(self.shortest.known())
            .unwrap_or(duration);
        match self.bound {
            Some(_) if call.first => spread.min(self.first_bound),
            Some(bound) => spread.min(bound),
            None => self.of_start,
        }
    }

    /// Takes note of a usual call whose spread is not asked for, as another one has followed.
    #[inline(always)]
    pub(super) fn see(&mut self, call: &Ended) {
        self.shortest.see(call.ended.nanos_since(call.started));
    }

    /// Notes that a permit is kept for so much longer. Whether that changes the margin in effect.
    #[inline(always)]
    pub(super) fn note(&mut self, margin: u64, now: Time) -> bool {
        self.bound.is_some() && self.largest.note(margin, now)
    }

    /// The largest margin of the permits given lately.
    pub(super) fn in_effect(&self) -> u64 {
        let learnt = self.bound.and_then(|_| self.largest.get());
        learnt.unwrap_or(self.of_start)
    }
}

/// The least duration of late, in nanoseconds.
#[derive(Debug)]
struct Shortest {
    calls: u32,
    enough: bool,
    this_generation: u64,
    last_generation: u64,
}

impl Default for Shortest {
    fn default() -> Self {
        Self {
            calls: 0,
            enough: false,
            this_generation: u64::MAX,
            last_generation: u64::MAX,
        }
    }
}

impl Shortest {
    fn learn(&mut self, duration: u64) {
        if self.calls == GENERATION {
            self.calls = 0;
            self.last_generation = self.this_generation;
            self.this_generation = u64::MAX;
        }
        self.calls += 1;
        self.enough |= self.calls >= ENOUGH;
        self.see(duration);
    }

    #[inline(always)]
    fn see(&mut self, duration: u64) {
        self.this_generation = self.this_generation.min(duration);
    }

    fn known(&self) -> u64 {
        let least = self.this_generation.min(self.last_generation);
        if self.enough {
            least - least / SHADE
        } else {
            0
        }
    }
}

/// The largest of the values noted in the last stretch of time, or up to two.
#[derive(Debug, Default)]
struct Largest {
    /// The length of a stretch, in nanoseconds.
    every: u64,
    began: Time,
    this_stretch: Option<u64>,
    last_stretch: Option<u64>,
}

impl Largest {
    /// Whether the largest is another one now.
    #[inline(always)]
    fn note(&mut self, value: u64, now: Time) -> bool {
        let elapsed = now.nanos_since(self.began);
        if elapsed < self.every && self.this_stretch.is_some_and(|largest| value <= largest) {
            return false;
        }
        let before = self.get();
        if elapsed >= self.every {
            let recent = elapsed / 2 < self.every;
            self.last_stretch = self.this_stretch.filter(|_| recent);
            self.this_stretch = None;
            self.began = now;
        }
        self.this_stretch = self.this_stretch.max(Some(value));
        self.get() != before
    }

    fn get(&self) -> Option<u64> {
        self.this_stretch.max(self.last_stretch)
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rate::RateError;
    use super::*;

    const MS: u64 = 1_000_000;

    /// Of a rate of one a second; times are in milliseconds.
    struct Calls(Margin);

    impl Calls {
        fn new(margin: Option<Duration>) -> Result<Self, RateError> {
            let rate = Rate::new(1, Duration::from_secs(1), None, margin)?;
            Ok(Self(Margin::new(&rate)))
        }

        fn spread(&mut self, duration: u64, typical: bool) -> u64 {
            let started = Time::from_nanos(7 * MS);
            let call = Ended {
                started,
                weight: 1,
                ended: started.plus_nanos(duration * MS),
                first: false,
                typical,
            };
            self.0.spread(started, &call) / MS
        }

        fn many(&mut self, count: u32, duration: u64) {
            for _ in 0..count {
                self.spread(duration, true);
            }
        }
    }

    #[test]
    fn until_enough_is_known_all_of_a_call_is_spread() -> Result<(), RateError> {
        let mut calls = Calls::new(None)?;
        calls.many(ENOUGH - 2, 16);
        assert_eq!(calls.spread(16, false), 16, "a first one says nothing");
        assert_eq!(calls.spread(16, true), 16);
        // Known from now on, less a sixteenth.
        assert_eq!(calls.spread(16, true), 1);
        assert_eq!(calls.spread(46, false), 31);
        assert_eq!(calls.spread(500, true), 50, "bounded");
        Ok(())
    }

    #[test]
    fn one_that_is_shorter_and_says_nothing_is_all_spread() -> Result<(), RateError> {
        let mut calls = Calls::new(None)?;
        calls.many(ENOUGH, 32);
        assert_eq!(calls.spread(20, false), 20);
        assert_eq!(calls.spread(33, true), 3, "nothing was learnt of it");
        assert_eq!(calls.spread(16, true), 1, "this one is the shortest now");
        assert_eq!(calls.spread(33, true), 18);
        Ok(())
    }

    #[test]
    fn the_shortest_is_forgotten_when_no_call_is_as_short_any_more() -> Result<(), RateError> {
        let mut calls = Calls::new(None)?;
        calls.many(ENOUGH, 16);
        calls.many(2 * GENERATION - ENOUGH - 1, 48);
        assert_eq!(calls.spread(48, true), 33);
        assert_eq!(calls.spread(48, true), 3);
        calls.many(GENERATION * 2, 48);
        assert_eq!(calls.spread(48, true), 3);
        Ok(())
    }

    #[test]
    fn a_margin_that_was_given_is_in_effect_whatever_is_noted() -> Result<(), RateError> {
        let mut calls = Calls::new(Some(Duration::from_millis(20)))?;
        assert_eq!(calls.0.in_effect(), 20 * MS);
        assert!(!calls.0.note(30 * MS, Time::from_nanos(1)));
        assert_eq!(calls.0.in_effect(), 20 * MS);
        Ok(())
    }

    #[test]
    fn the_largest_of_late_is_in_effect() -> Result<(), RateError> {
        let mut margin = Calls::new(None)?.0;
        let at = |ms: u64| Time::from_nanos(10_000 * MS + ms * MS);
        assert_eq!(margin.in_effect(), 10 * MS, "nothing is known");
        for (now, noted, largest) in [
            (0, 3, 3),
            (500, 8, 8),
            (900, 2, 8),
            (1100, 1, 8),
            (2200, 2, 2),
            (2300, 1, 2),
            (9000, 1, 1),
        ] {
            let before = margin.in_effect();
            let changed = margin.note(noted * MS, at(now));
            assert_eq!(margin.in_effect(), largest * MS, "at {now} ms");
            assert_eq!(changed, before != largest * MS, "at {now} ms");
        }
        Ok(())
    }
}
