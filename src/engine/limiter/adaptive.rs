//! The effective limit of an adaptive rate: additive increase, multiplicative decrease.
//!
//! D.-M. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for congestion
//! avoidance in computer networks", Computer Networks and ISDN Systems 17 (1989): of the linear
//! rules, only this one brings clients that do not know of each other to a fair share.

use std::time::Duration;

use crate::engine::time::Time;

/// A cut leaves one part in this many.
const CUT: u64 = 2;
/// Every window gives one part in this many of the limit back.
const STEPS: u64 = 20;

/// A limit that follows what the server accepts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adaptive {
    limit: u64,
    every: Duration,
    effective: u64,
    /// When the step under way began.
    since: Time,
    last_cut: Option<Time>,
    /// Whether anything started since the last cut: until then a refusal is no news.
    tried: bool,
}

impl Adaptive {
    pub(super) fn new(limit: u64, every: Duration) -> Self {
        Self {
            limit,
            every,
            effective: limit,
            since: Time::default(),
            last_cut: None,
            tried: true,
        }
    }

    pub(super) const fn effective(&self) -> u64 {
        self.effective
    }

    /// When the next step back towards the limit is due.
    pub(super) fn next_step(&self) -> Time {
        if self.effective < self.limit { self.since + self.every } else { Time::NEVER }
    }

    /// Takes the steps that are due by `now`. Returns whether there were any.
    pub(super) fn advance(&mut self, now: Time) -> bool {
        if self.next_step() > now {
            return false;
        }
        let every = self.every.as_nanos().max(1);
        let steps = u64::try_from(now.since(self.since).as_nanos() / every).unwrap_or(u64::MAX);
        let gain = (self.limit / STEPS).max(1).saturating_mul(steps);
        self.effective = self.effective.saturating_add(gain).min(self.limit);
        let taken = u128::from(steps) * every;
        self.since = self.since + Duration::from_nanos(u64::try_from(taken).unwrap_or(u64::MAX));
        true
    }

    /// Notes that something started.
    pub(super) const fn started(&mut self) {
        self.tried = true;
    }

    /// Cuts, unless the refusal belongs to an episode that was cut for already: one within the
    /// window after the last cut, or before anything started at the new speed.
    pub(super) fn cut(&mut self, now: Time) -> bool {
        let same_episode =
            !self.tried || self.last_cut.is_some_and(|cut| now < cut + self.every);
        if same_episode {
            return false;
        }
        self.effective = (self.effective / CUT).max(1);
        self.since = self.since.max(now);
        self.last_cut = Some(now);
        self.tried = false;
        true
    }

    /// Does not grow before `until`: nothing is learnt while nothing starts.
    pub(super) fn hold_until(&mut self, until: Time) {
        self.since = self.since.max(until);
    }
}
