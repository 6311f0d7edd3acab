//! What this process has taken, to tell a server that has lost it.

use std::collections::BTreeMap;

use crate::engine::time::Time;

/// Permits that leave within one of so many parts of a window are kept as one.
const PARTS: u64 = 64;

/// Weights by when they leave the window; those that leave at about the same time as one, with the
/// latest of their times.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Nanoseconds.
    part: u64,
    parts: BTreeMap<u64, (Time, u64)>,
}

impl Ledger {
    pub(super) fn new(stays: u64) -> Self {
        Self {
            part: (stays / PARTS).max(1),
            parts: BTreeMap::new(),
        }
    }

    pub(super) fn put(&mut self, weight: u64, leaves: Time, now: Time) {
        self.forget(now);
        let part = leaves.as_nanos() / self.part;
        let (latest, sum) = self.parts.entry(part).or_default();
        *latest = leaves.max(*latest);
        *sum += weight;
    }

    fn forget(&mut self, now: Time) {
        while let Some(first) = self.parts.first_entry()
            && first.get().0 <= now
        {
            first.remove();
        }
    }

    /// What has not left by now.
    pub(super) fn current(&mut self, now: Time) -> impl ExactSizeIterator<Item = (Time, u64)> {
        self.forget(now);
        self.parts.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_numbers_hold_many_permits() {
        let at = Time::from_nanos;
        let mut ledger = Ledger::new(6400);
        for number in 0..10_000 {
            ledger.put(2, at(number + 6400), at(number));
        }
        let kept: Vec<_> = ledger.current(at(9_999)).collect();
        assert!((64..=66).contains(&kept.len()));
        assert_eq!(kept.last(), Some(&(at(16_399), 200)));
        let sum: u64 = kept.iter().map(|(_, weight)| weight).sum();
        assert!((12_800..=13_000).contains(&sum), "{sum}");
        assert_eq!(ledger.current(at(16_399)).len(), 0);
    }
}
