//! The permits of the last stretch of time, each with its instant: the exact sliding window.

use std::collections::{VecDeque, vec_deque};
use std::time::Duration;

use crate::engine::time::Time;

/// Room kept for permits however few there are, so that a small window never reallocates.
const SMALLEST_CAPACITY: usize = 1024;

/// Permits given at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) time: Time,
    pub(super) weight: u64,
}

/// What was permitted in the last `span`, oldest first.
#[derive(Debug)]
pub(super) struct Window {
    /// Nanoseconds: durations are slower to add, and this is done for every permit.
    span: u64,
    stamps: VecDeque<Stamp>,
    used: u64,
    newest: Time,
    /// When the oldest leaves.
    next_leaves: Time,
}

impl Window {
    pub(super) fn new(span: Duration) -> Self {
        Self {
            span: u64::try_from(span.as_nanos()).unwrap_or(u64::MAX),
            stamps: VecDeque::new(),
            used: 0,
            newest: Time::default(),
            next_leaves: Time::NEVER,
        }
    }

    pub(super) const fn span(&self) -> Duration {
        Duration::from_nanos(self.span)
    }

    /// The sum of the weights in the window.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn iter(&self) -> vec_deque::Iter<'_, Stamp> {
        self.stamps.iter()
    }

    /// Lets go of the permits that have left the window by `now`.
    #[inline]
    pub(super) fn expire(&mut self, now: Time) {
        if now >= self.next_leaves {
            self.expire_oldest(now);
        }
    }

    fn expire_oldest(&mut self, now: Time) {
        if now.nanos_since(self.newest) >= self.span {
            self.stamps.clear();
            self.used = 0;
        } else {
            while let Some(stamp) = self.stamps.front()
                && now.nanos_since(stamp.time) >= self.span
            {
                self.used -= stamp.weight;
                self.stamps.pop_front();
            }
        }
        if self.stamps.capacity() > SMALLEST_CAPACITY
            && self.stamps.len() < self.stamps.capacity() / 8
        {
            self.stamps
                .shrink_to((self.stamps.len() * 2).max(SMALLEST_CAPACITY));
        }
        self.next_leaves = self
            .stamps
            .front()
            .map_or(Time::NEVER, |oldest| oldest.time + self.span());
    }

    /// Records permits given at `time`, which is not before any other.
    #[inline]
    pub(super) fn stamp(&mut self, time: Time, weight: u64) {
        if self.stamps.is_empty() {
            self.next_leaves = time + self.span();
        }
        self.used += weight;
        if self.newest == time
            && let Some(last) = self.stamps.back_mut()
        {
            last.weight += weight;
        } else {
            self.newest = time;
            self.stamps.push_back(Stamp { time, weight });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn permits_leave_after_the_span_each_at_its_time() {
        let mut window = Window::new(Duration::from_nanos(100));
        for (time, weight) in [(10, 1), (20, 5), (20, 2), (30, 1)] {
            window.stamp(at(time), weight);
        }
        for (now, used) in [
            (109, 9),
            (110, 8),
            (119, 8),
            (120, 1),
            (129, 1),
            (130, 0),
            (999, 0),
        ] {
            window.expire(at(now));
            assert_eq!(window.used(), used, "at {now}");
        }
    }

    #[test]
    fn memory_follows_the_permits_in_the_window() {
        let mut window = Window::new(Duration::from_millis(1));
        for time in 0..1_000_000 {
            window.stamp(at(time), 1);
        }
        assert_eq!(size_of::<Stamp>(), 16);
        assert!(window.stamps.capacity() < 2_100_000);
        for time in 1_000_000..5_000_000 {
            window.expire(at(time));
            window.stamp(at(time), 1);
        }
        assert!(window.stamps.capacity() < 2_100_000);
        window.expire(at(5_990_000));
        assert_eq!(window.used(), 9_999);
        assert!(window.stamps.capacity() < 100_000);
        window.expire(at(9_000_000));
        assert!(window.stamps.capacity() <= 2 * SMALLEST_CAPACITY);
    }

    #[test]
    fn permits_of_one_instant_are_one_stamp() {
        let mut window = Window::new(Duration::from_nanos(100));
        for _ in 0..1000 {
            window.stamp(at(7), 3);
        }
        assert_eq!(
            window.iter().collect::<Vec<_>>(),
            [&Stamp {
                time: at(7),
                weight: 3000
            }]
        );
    }
}
