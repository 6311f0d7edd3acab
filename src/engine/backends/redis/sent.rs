//! A request under way.

use super::request::Want;
use crate::engine::time::Time;

/// What is reckoned for two clocks drifting apart while a request is under way, in nanoseconds.
const SLACK: u64 = 1_000_000;

/// What its reply is to be read by.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) want: Option<Want>,
    /// The generation it was sent to.
    pub(super) generation: i64,
    /// Whether something was asked beside.
    pub(super) asks: bool,
    /// Nanoseconds: how late it may be known here that a permit is due,
    pub(super) lag: u64,
    /// and what was not known of the server's clock.
    pub(super) uncertainty: u64,
}

impl Sent {
    /// How late the server has to reckon that a permit may start, beside what the one who takes it may
    /// be late.
    pub(super) const fn late(&self) -> u64 {
        self.uncertainty + SLACK + self.lag
    }

    /// Whether a permit that is due then is known in time: no later than the server reckons with.
    pub(super) const fn is_in_time(&self, due: Time, now: Time, uncertainty: u64) -> bool {
        uncertainty <= self.uncertainty + SLACK && now.nanos_since(due) <= self.lag
    }
}
