//! How long replies take.

const MS: u64 = 1_000_000;
/// How late it may be known that a permit is due: the least that is reckoned with, and the most.
const LEAST: u64 = 2 * MS;
const MOST: u64 = 2_000 * MS;
/// More permits are asked for so long before the last of those held is due, beside two round trips.
const EARLY: u64 = 2 * MS;

/// What is learnt of it, in nanoseconds.
#[derive(Debug)]
pub(super) struct Lateness {
    lag: u64,
    round_trip: u64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self {
            lag: LEAST,
            round_trip: 0,
        }
    }
}

impl Lateness {
    /// How late it may be known here that a permit is due at once. What is known later is given back.
    pub(super) const fn lag(&self) -> u64 {
        self.lag
    }

    /// How long a reply takes.
    pub(super) const fn round_trip(&self) -> u64 {
        self.round_trip
    }

    /// How long before permits are needed they are to be asked for.
    pub(super) const fn early(&self) -> u64 {
        2 * self.round_trip + EARLY
    }

    /// A reply took so long.
    pub(super) fn hear(&mut self, trip: u64) {
        self.round_trip = self.round_trip - self.round_trip / 8 + trip / 8;
    }

    /// Of the permits it brought, one was due so long before that. Twice as much is reckoned with
    /// at once, and less again little by little.
    pub(super) fn see(&mut self, lag: u64) {
        let calmer = self.lag - self.lag / 32;
        self.lag = calmer.max(lag * 2).clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_late_once_is_reckoned_with_for_a_while() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.lag(), LEAST);
        lateness.see(30 * MS);
        assert_eq!(lateness.lag(), 60 * MS);
        for _ in 0..50 {
            lateness.see(MS);
        }
        assert!((10 * MS..15 * MS).contains(&lateness.lag()));
        lateness.see(u64::MAX / 4);
        assert_eq!(lateness.lag(), MOST);
    }
}
