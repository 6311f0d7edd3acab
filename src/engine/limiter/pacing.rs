//! Even spacing after a burst: governor's GCRA, decided on times that we give it.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use crate::engine::time::Time;

/// How late a start may be and still be booked at the time it was due.
///
/// A start comes late because the system woke its thread late or because it waited for the
/// interpreter. Were the pace to continue from there, every start would lose that time again and
/// the rate would never be reached.
const TOLERANCE: Duration = Duration::from_millis(1);

/// Whether a permit was waited for or asked for at that instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It stood in the queue when the permit came due: all its lateness is the system's. Half an
    /// interval of it is made up for, so that starts are never less than half an interval apart
    /// (a millisecond's worth of them, where intervals are shorter than that).
    Queued,
    /// It came later than the permit: up to a millisecond is made up for, as a thread that takes
    /// permit after permit needs at high rates; beyond it the pace begins anew, because an unused
    /// moment is not a credit.
    Direct,
}

/// The pace of permits, as a value: deciding is reading, and charging makes the next value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pacing {
    burst: NonZeroU32,
    interval: Duration,
    /// When all permits given so far will have been earned (the theoretical arrival time).
    earned: Time,
}

impl Pacing {
    pub(super) fn new(burst: NonZeroU32, interval: Duration) -> Self {
        Self { burst, interval, earned: Time::default() }
    }

    /// When `weight` permits may start, not before `now`.
    pub(super) fn due(&self, weight: u64, now: Time) -> Time {
        match self.decide(weight, now) {
            Ok(_) => now,
            Err(earliest) => earliest,
        }
    }

    /// Charges `weight` permits that start at `now`, which is not before they were due.
    pub(super) fn charge(&mut self, weight: u64, now: Time, arrival: Arrival) {
        let tolerance = match arrival {
            Arrival::Queued => TOLERANCE.max(self.interval / 2),
            Arrival::Direct => TOLERANCE,
        };
        // Only a start after `earned` would shift later ones. Asked for the past, governor tells
        // when this one was due.
        let booked = if now > self.earned && now.since(self.first_due(weight)) <= tolerance {
            self.earned
        } else {
            now
        };
        if let Ok(earned) = self.decide(weight, booked).or_else(|_| self.decide(weight, now)) {
            self.earned = earned;
        }
    }

    /// Continues at another interval; what is owed at `now` is owed at the new interval.
    pub(super) fn change_interval(&mut self, interval: Duration, now: Time) {
        let owed = self.earned.since(now).as_nanos() * interval.as_nanos()
            / self.interval.as_nanos().max(1);
        if self.earned > now {
            self.earned = now + Duration::from_nanos(u64::try_from(owed).unwrap_or(u64::MAX));
        }
        self.interval = interval;
    }

    fn first_due(&self, weight: u64) -> Time {
        self.due(weight, Time::default())
    }

    /// When everything would be earned if `weight` permits started at `at`, or, if they may not,
    /// the earliest time that they may.
    fn decide(&self, weight: u64, at: Time) -> Result<Time, Time> {
        let Some(weight) = u32::try_from(weight).ok().and_then(NonZeroU32::new) else {
            return Err(Time::NEVER);
        };
        let Some(quota) = Quota::with_period(self.interval) else {
            return Err(Time::NEVER);
        };
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(
            quota.allow_burst(self.burst),
            Earned(Cell::new(self.earned)),
            Given(Cell::new(Time::default())),
        );
        limiter.clock().0.set(at);
        match limiter.check_n(weight) {
            Ok(Ok(())) => Ok(limiter.into_state_store().0.get()),
            Ok(Err(refusal)) => Err(Time::from_nanos(refusal.earliest_possible().as_u64())),
            Err(_) => Err(Time::NEVER),
        }
    }
}

/// governor's clock: shows the time it is set to, and its first reading is the engine's zero.
struct Given(Cell<Time>);

impl Clock for Given {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get().as_nanos())
    }
}

/// governor's state: one theoretical arrival time.
struct Earned(Cell<Time>);

impl StateStore for Earned {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, earned) = decide(Some(Nanos::new(self.0.get().as_nanos())))?;
        self.0.set(Time::from_nanos(earned.as_u64()));
        Ok(outcome)
    }
}
