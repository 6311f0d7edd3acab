//! Until when nothing starts, whatever is free.

use super::server_clock::ServerClock;
use crate::engine::time::Time;

/// For a pause, or as the server has lost what it had granted.
#[derive(Debug, Default)]
pub(super) struct Closed {
    paused_until: Time,
    /// The same by the server's clock, in microseconds, as far as it was told.
    paused_there: i64,
    learns_until: Time,
}

impl Closed {
    pub(super) const fn paused_until(&self) -> Time {
        self.paused_until
    }

    /// Until when nothing is granted.
    pub(super) const fn learns_until(&self) -> Time {
        self.learns_until
    }

    pub(super) fn opens(&self) -> Time {
        self.paused_until.max(self.learns_until)
    }

    /// Pauses here. Whether that lengthens the pause.
    pub(super) fn pause(&mut self, until: Time) -> bool {
        let is_longer = until > self.paused_until;
        self.paused_until = self.paused_until.max(until);
        is_longer
    }

    /// What the server is to be told of a pause until then.
    pub(super) fn tell(&mut self, until: Time, clock: &ServerClock, now: Time) -> i64 {
        let there = clock.there(until, now);
        self.paused_there = self.paused_there.max(there);
        there
    }

    /// All pause until then, by the server's clock.
    pub(super) fn hear_pause(&mut self, there: i64, clock: &ServerClock, now: Time) {
        // What is known is not heard as a little later again.
        if there > self.paused_there {
            self.paused_there = there;
            self.paused_until = self.paused_until.max(clock.here(there, now));
        }
    }

    /// Nothing is granted until then.
    pub(super) const fn learn(&mut self, until: Time) {
        self.learns_until = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_comes_back_from_the_server_is_the_same() {
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let mut clock = ServerClock::default();
        clock.hear(at(100), at(140), 7_000_000);
        let mut closed = Closed::default();
        assert!(closed.pause(at(500)));
        assert!(!closed.pause(at(400)));
        let there = closed.tell(at(500), &clock, at(150));
        closed.hear_pause(there, &clock, at(200));
        assert_eq!(closed.paused_until(), at(500));
        closed.hear_pause(there + 1000, &clock, at(200));
        assert!(closed.opens() > at(500));
    }
}
