//! What time it is at the server, as far as replies tell.
//!
//! A reply's time was read between the instant its request was sent and the instant it arrived. So the
//! server's clock is ahead of ours by something between two bounds, and every reply narrows them down
//! (D. L. Mills, "Internet time synchronization", 1991). Where a time of the server's must not be taken
//! for an earlier one, the bound that makes it latest is used.

use std::time::Duration;

use crate::engine::time::Time;

/// How far two clocks may drift apart, as one part in this many: what clocks of computers do, and half
/// of what a clock does at most that is being corrected.
const DRIFT: u64 = 4_000;
/// A clock that moves by more, against another, has jumped.
const JUMP: u64 = 100_000_000;

/// Bounds in nanoseconds of how far the server's clock is ahead.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    least: i64,
    most: i64,
    as_of: Time,
}

impl Ahead {
    /// The bounds by now.
    fn at(&self, now: Time) -> (i64, i64) {
        let drift = signed(now.nanos_since(self.as_of) / DRIFT);
        (self.least - drift, self.most + drift)
    }
}

/// The server's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServerClock(Option<Ahead>);

impl ServerClock {
    /// Learns from a reply. Returns by how much one of the clocks has jumped since the last.
    pub(super) fn hear(&mut self, sent: Time, arrived: Time, micros: i64) -> Option<Duration> {
        let nanos = micros * 1000;
        let least = nanos - signed(arrived.as_nanos());
        let most = nanos + 1000 - signed(sent.as_nanos());
        let Some(known) = self.0 else {
            self.set(least, most, arrived);
            return None;
        };
        let (known_least, known_most) = known.at(arrived);
        if known_least.max(least) <= known_most.min(most) {
            self.set(known_least.max(least), known_most.min(most), arrived);
            return None;
        }
        self.set(least, most, arrived);
        let apart = (least - known_most).max(known_least - most).unsigned_abs();
        (apart > JUMP).then(|| Duration::from_nanos(apart))
    }

    fn set(&mut self, least: i64, most: i64, as_of: Time) {
        self.0 = Some(Ahead { least, most, as_of });
    }

    /// Whether it is known at all.
    pub(super) const fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// How much is not known, in nanoseconds.
    pub(super) fn uncertainty(&self, now: Time) -> u64 {
        self.0.map_or(0, |ahead| {
            let (least, most) = ahead.at(now);
            (most - least).unsigned_abs()
        })
    }

    /// When the server's clock surely shows that time.
    pub(super) fn here(&self, micros: i64, now: Time) -> Time {
        let least = self.0.map_or(0, |ahead| ahead.at(now).0);
        let nanos = micros.saturating_mul(1000).saturating_sub(least);
        Time::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// The latest that the server's clock may show at a time.
    pub(super) fn there(&self, time: Time, now: Time) -> i64 {
        let most = self.0.map_or(0, |ahead| ahead.at(now).1);
        let nanos = signed(time.as_nanos()).saturating_add(most);
        nanos / 1000 + 1
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ours shows so many milliseconds,
    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * MS)
    }

    /// when the server's shows that.
    fn there(ms: i64) -> i64 {
        (1_000_000 + ms) * 1000
    }

    #[test]
    fn every_reply_narrows_it_down() {
        let mut clock = ServerClock::default();
        assert!(!clock.is_known());
        assert_eq!(clock.hear(at(100), at(140), there(110)), None);
        assert_eq!(clock.uncertainty(at(140)), 40 * MS + 1000);
        // It was read before the reply came: at 140 at the latest.
        assert_eq!(clock.here(there(110), at(140)), at(140));
        assert!(clock.there(at(140), at(140)) >= there(150));
        assert_eq!(clock.hear(at(150), at(160), there(155)), None);
        assert!(clock.uncertainty(at(160)) < 11 * MS);
        assert!(clock.here(there(155), at(160)) <= at(160));
        assert_eq!(clock.hear(at(170), at(900), there(400)), None);
        assert!(
            clock.uncertainty(at(900)) < 12 * MS,
            "a slow one spoils nothing"
        );
    }

    #[test]
    fn a_clock_that_jumps_is_noticed_both_ways() {
        for by in [-200, 200] {
            let mut clock = ServerClock::default();
            clock.hear(at(100), at(101), there(100));
            let jumped = clock.hear(at(200), at(201), there(200 + by));
            assert!(jumped.is_some_and(|by| by > Duration::from_millis(195)));
            assert_eq!(clock.hear(at(300), at(301), there(300 + by)), None);
        }
    }

    #[test]
    fn a_clock_that_is_corrected_slowly_has_not_jumped() {
        let mut clock = ServerClock::default();
        clock.hear(at(100), at(101), there(100));
        for second in 1..100_i64 {
            let ours = second.unsigned_abs() * 1000;
            let theirs = there(second * 1001);
            assert_eq!(clock.hear(at(ours), at(ours + 1), theirs), None);
            assert!(clock.here(theirs, at(ours + 1)) <= at(ours + 1));
        }
    }
}
