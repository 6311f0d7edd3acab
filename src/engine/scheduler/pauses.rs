//! The pauses that servers ask for, and a clock that stands still in them.

use std::time::Duration;

use crate::engine::time::Time;

/// What is known of the pauses that servers asked for, whoever keeps them.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// When the last one ends.
    until: Time,
    /// How long all of them are together, to their ends.
    total: Duration,
}

impl Pauses {
    /// Nothing is to start before `until`.
    pub(super) fn extend(&mut self, now: Time, until: Time) {
        self.total += until.since(self.until.max(now));
        self.until = self.until.max(until);
    }

    /// When the last one ends, or has ended.
    pub(super) fn until(&self) -> Time {
        self.until
    }

    /// What a clock shows at `now` that stands still while everybody pauses: how long somebody
    /// waited by that clock is not to be put down to a pause.
    pub(super) fn unpaused(&self, now: Time) -> Time {
        now.max(self.until) - self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Time {
        Time::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn the_clock_stands_still_in_pauses_and_goes_on_between_them() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.unpaused(second(7)), second(7));
        pauses.extend(second(10), second(15));
        for (now, shown) in [(10, 10), (12, 10), (15, 10), (16, 11)] {
            assert_eq!(pauses.unpaused(second(now)), second(shown));
        }
        pauses.extend(second(20), second(30));
        pauses.extend(second(24), second(28));
        pauses.extend(second(25), second(32));
        for (now, shown) in [(20, 15), (25, 15), (31, 15), (40, 23)] {
            assert_eq!(pauses.unpaused(second(now)), second(shown));
        }
        pauses.extend(second(50), Time::NEVER);
        assert_eq!(pauses.unpaused(second(60)), second(33));
    }
}
