//! Even spacing after a burst: governor's GCRA, decided on times that we give it.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::engine::time::Time;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

/// How late a start may be and still be booked at the time it was due.
///
/// A start comes late because the system woke its thread late or because it waited for the
/// interpreter. Were the pace to continue from there, every start would lose that time again and
/// the rate would never be reached.
const TOLERANCE: Duration = Duration::from_millis(1);

/// Whether a permit was waited for or asked for at that instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Arrival {
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
pub(in crate::engine) struct Pacing {
    burst: NonZeroU32,
    interval: Duration,
    /// When all permits given so far will have been earned (the theoretical arrival time).
    earned: Time,
}

impl Pacing {
    pub(in crate::engine) fn new(burst: NonZeroU32, interval: Duration) -> Self {
        Self {
            burst,
            interval,
            earned: Time::default(),
        }
    }

    /// The same pace where so much is owed.
    pub(in crate::engine) const fn owing(self, earned: Time) -> Self {
        Self { earned, ..self }
    }

    /// When all permits given so far will have been earned.
    pub(in crate::engine) const fn earned(&self) -> Time {
        self.earned
    }

    /// Between permits.
    pub(in crate::engine) const fn interval(&self) -> Duration {
        self.interval
    }

    /// When the last of so many may start at the earliest, at this interval.
    pub(in crate::engine) fn due_in_all(&self, permits: u64) -> Time {
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let takes = permits.saturating_mul(interval);
        let at_once = self.interval.saturating_mul(self.burst.get());
        self.earned.plus_nanos(takes) - at_once
    }

    /// When `weight` permits may start, not before `now`.
    pub(in crate::engine) fn due(&self, weight: u64, now: Time) -> Time {
        match self.decide(weight, now) {
            Ok(_) => now,
            Err(earliest) => earliest,
        }
    }

    /// Charges `weight` permits that start at `now`, which is not before they were due.
    pub(in crate::engine) fn charge(&mut self, weight: u64, now: Time, arrival: Arrival) {
        let tolerance = match arrival {
            Arrival::Queued => TOLERANCE.max(self.interval / 2),
            Arrival::Direct => TOLERANCE,
        };
        // Booked at `earned`, the next is due as if this one had started when it was due. Asked
        // for the beginning of time, governor tells when that was.
        let due = self.due(weight, Time::default());
        let on_time = now.since(due) <= tolerance;
        if let Ok(earned) = self.decide(weight, if on_time { self.earned } else { now }) {
            self.earned = earned;
        }
    }

    /// Continues at another interval; what is owed at `now` is owed at the new interval.
    pub(in crate::engine) fn change_interval(&mut self, interval: Duration, now: Time) {
        let owed = self.earned.since(now).as_nanos() * interval.as_nanos()
            / self.interval.as_nanos().max(1);
        if self.earned > now {
            self.earned = now + Duration::from_nanos(u64::try_from(owed).unwrap_or(u64::MAX));
        }
        self.interval = interval;
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
        // governor's sums are not checked: whoever waits until the end of time waits for ever.
        let whole_burst = self.interval.saturating_mul(self.burst.get());
        if self.earned.max(at) + whole_burst == Time::NEVER {
            return Err(Time::NEVER);
        }
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(
            quota.allow_burst(self.burst),
            Earned(Cell::new(self.earned)),
            SetClock(Cell::new(Time::default())),
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
struct SetClock(Cell<Time>);

impl Clock for SetClock {
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn pacing(burst: u32, interval_ms: u64) -> Pacing {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Pacing::new(burst, Duration::from_millis(interval_ms))
    }

    /// Starts `count` permits, each `late` after it is due, and returns when they started.
    fn starts(pacing: &mut Pacing, count: usize, late: u64, arrival: Arrival) -> Vec<u64> {
        let mut now = at(1_000 * MS);
        let mut starts = Vec::new();
        for _ in 0..count {
            now = pacing.due(1, now) + Duration::from_nanos(late);
            pacing.charge(1, now, arrival);
            starts.push(now.as_nanos());
        }
        starts
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_in_step() {
        let starts = starts(&mut pacing(3, 10), 6, 0, Arrival::Queued);
        let after: Vec<_> = starts
            .iter()
            .map(|start| (start - starts[0]) / MS)
            .collect();
        assert_eq!(after, [0, 0, 0, 10, 20, 30]);
    }

    #[test]
    fn lateness_of_the_queue_does_not_add_up() {
        // 0.9 of the tolerance of long intervals, of short ones, and of a burst.
        for (burst, interval, late) in [(1, 100, 45 * MS), (1, 1, 9 * MS / 10), (4, 20, 9 * MS)] {
            let starts = starts(&mut pacing(burst, interval), 1001, late, Arrival::Queued);
            let paced = 1000 - u64::from(burst - 1);
            let took = starts[1000] - starts[0];
            assert!(
                took <= paced * interval * MS + late,
                "{took} ns at {interval} ms"
            );
        }
    }

    #[test]
    fn a_start_that_is_too_late_begins_the_pace_anew() {
        for (arrival, late) in [(Arrival::Queued, 51 * MS), (Arrival::Direct, 2 * MS)] {
            let starts = starts(&mut pacing(1, 100), 11, late, arrival);
            assert_eq!(starts[10] - starts[0], 10 * (100 * MS + late));
        }
    }

    #[test]
    fn a_weight_is_that_many_permits() {
        let mut pacing = pacing(4, 10);
        let now = at(1_000 * MS);
        pacing.charge(4, now, Arrival::Direct);
        assert_eq!(pacing.due(1, now), now + Duration::from_millis(10));
        assert_eq!(pacing.due(4, now), now + Duration::from_millis(40));
        assert_eq!(pacing.due(5, now), Time::NEVER);
    }

    #[test]
    fn the_end_of_time_is_never_reached() {
        let mut pacing = Pacing::new(NonZeroU32::MIN, Duration::from_nanos(1 << 62));
        for start in 0..3 {
            let due = pacing.due(1, at(0));
            assert_eq!(due, at(0) + Duration::from_nanos(1 << 62) * start);
            pacing.charge(1, due, Arrival::Queued);
        }
        assert_eq!(pacing.due(1, at(0)), Time::NEVER);
        assert_eq!(pacing.due(1, Time::NEVER), Time::NEVER);
    }

    #[test]
    fn what_is_owed_scales_with_the_interval() {
        let mut pacing = pacing(2, 10);
        let now = at(1_000 * MS);
        pacing.charge(2, now, Arrival::Direct);
        pacing.change_interval(Duration::from_millis(30), now);
        assert_eq!(pacing.due(1, now), now + Duration::from_millis(30));
        pacing.change_interval(Duration::from_millis(10), now + Duration::from_millis(30));
        assert_eq!(pacing.due(2, now), now + Duration::from_millis(40));
    }
}
