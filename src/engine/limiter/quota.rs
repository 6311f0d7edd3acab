//! What a server says is left of its limit until that is reset, for those who listen to it.
//!
//! Answers overtake each other, and so do calls on their way to the server. Of answers to calls that
//! overlap, the one that says the least is the server's latest word; every call that is under way may
//! not have been counted by it.

use crate::engine::time::Time;

/// What an answer told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When the answered call started.
    pub started: Time,
    /// The calls left.
    pub remaining: u64,
    /// When that is reset.
    pub until: Time,
    /// The other calls that are under way.
    pub running: u64,
}

/// No more than so many permits until a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    left: u64,
    until: Time,
}

impl Quota {
    /// That holds nobody up.
    pub(super) const NONE: Self = Self {
        left: u64::MAX,
        until: Time::from_nanos(0),
    };

    /// When `weight` permits may be given, asked at `now`. More than a server ever has left at once
    /// are given with the next reset: waiting for longer would not end.
    #[inline(always)]
    pub(super) fn due(&self, weight: u64, now: Time) -> Time {
        if now >= self.until || weight <= self.left {
            now
        } else {
            self.until
        }
    }

    /// Whether anybody may have permits sooner by it than by `other`.
    pub(super) fn is_sooner_than(&self, other: &Self) -> bool {
        self.left > other.left || self.until < other.until
    }

    #[inline(always)]
    pub(super) fn charge(&mut self, weight: u64) {
        self.left = self.left.saturating_sub(weight);
    }
}

/// Listens to what answers tell.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// What the last answer said that was news, and when that came.
    remaining: u64,
    heard: Time,
    until: Time,
}

impl Listener {
    /// What follows from an answer that comes at `now`; None if it is no news.
    pub(super) fn hear(&mut self, told: &Told, now: Time) -> Option<Quota> {
        let is_later = told.started >= self.heard || now >= self.until;
        if !is_later && told.remaining > self.remaining {
            return None;
        }
        // An answer of before the last reset tells of that one.
        let until = if is_later {
            told.until
        } else {
            self.until.max(told.until)
        };
        *self = Self {
            remaining: told.remaining,
            heard: now,
            until,
        };
        Some(Quota {
            left: told.remaining.saturating_sub(told.running),
            until,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    /// What an answer leaves that comes at `now`, if it was news.
    fn left(
        listener: &mut Listener,
        now: u64,
        (started, remaining, running): (u64, u64, u64),
    ) -> Option<u64> {
        let told = Told {
            started: at(started),
            remaining,
            until: at(1000),
            running,
        };
        listener.hear(&told, at(now)).map(|quota| quota.left)
    }

    #[test]
    fn nobody_is_held_up_before_anything_is_told() {
        assert_eq!(Quota::NONE.due(u64::MAX, at(0)), at(0));
        assert_eq!(Quota::NONE.due(1, at(7)), at(7));
    }

    #[test]
    fn what_is_left_is_given_and_the_rest_after_the_reset() {
        let mut quota = Quota {
            left: 3,
            until: at(100),
        };
        assert_eq!(quota.due(3, at(10)), at(10));
        assert_eq!(quota.due(4, at(10)), at(100));
        quota.charge(2);
        assert_eq!(quota.due(1, at(10)), at(10));
        assert_eq!(quota.due(2, at(10)), at(100));
        assert_eq!(quota.due(2, at(100)), at(100));
        quota.charge(5);
        assert_eq!(quota.due(1, at(99)), at(100));
    }

    #[test]
    fn calls_under_way_may_not_be_counted_yet() {
        let mut listener = Listener::default();
        assert_eq!(left(&mut listener, 20, (10, 9, 4)), Some(5));
        // Overtaken on the way to the server, and back: the least is the latest.
        assert_eq!(left(&mut listener, 21, (12, 5, 3)), Some(2));
        assert_eq!(left(&mut listener, 22, (11, 8, 2)), None);
        assert_eq!(left(&mut listener, 23, (12, 5, 1)), Some(4));
        // A call that started after the last news knows more than that did.
        assert_eq!(left(&mut listener, 30, (25, 50, 0)), Some(50));
        assert_eq!(left(&mut listener, 31, (25, 0, 3)), Some(0));
        // So does whatever is heard when that was reset.
        assert_eq!(left(&mut listener, 1000, (1, 7, 7)), Some(0));
    }
}
