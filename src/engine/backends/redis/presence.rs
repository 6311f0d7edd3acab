//! What others are told of this process.

use super::stats::REFUSED;
use crate::engine::limiter::Why;

/// Since when it holds the limit, what it waits for, and why it has made everybody pause.
#[derive(Debug)]
pub(super) struct Presence {
    /// The server's time of the first reply; 0 before.
    since: i64,
    waits_for: u64,
    why: Why,
}

impl Presence {
    pub(super) const fn new() -> Self {
        Self {
            since: 0,
            waits_for: 0,
            why: Why::Asked,
        }
    }

    /// Whether the server has ever answered.
    pub(super) const fn is_known(&self) -> bool {
        self.since > 0
    }

    /// The server has answered at a time of its own.
    pub(super) const fn answer_at(&mut self, now: i64) {
        if self.since == 0 {
            self.since = now;
        }
    }

    pub(super) const fn wait_for(&mut self, weight: u64) {
        self.waits_for = weight;
    }

    pub(super) const fn pause_for(&mut self, why: Why) {
        self.why = why;
    }

    /// As it is kept there, behind the host and the process.
    pub(super) fn text(&self, who: &str) -> String {
        let why = match self.why {
            Why::Refused => REFUSED,
            Why::Asked => "asked",
        };
        format!("{who} {} {} {why}", self.since, self.waits_for)
    }
}
