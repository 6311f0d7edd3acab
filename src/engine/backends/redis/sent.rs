//! The requests that are sent, one after the other.

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

/// The requests so far, of which one is under way at most.
#[derive(Debug, Default)]
pub(super) struct Requests {
    under_way: Option<Sent>,
    made: u64,
    answered: u64,
}

impl Requests {
    /// The number of the next one.
    pub(super) const fn next_number(&self) -> u64 {
        self.made + 1
    }

    /// The number of the last that was answered.
    pub(super) const fn answered(&self) -> u64 {
        self.answered
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether permits of that weight are asked for.
    pub(super) fn asks_for(&self, weight: u64) -> bool {
        let want = self.under_way.as_ref().and_then(|sent| sent.want);
        want.is_some_and(|want| want.weight == weight)
    }

    /// Sends one.
    pub(super) fn begin(&mut self, sent: Sent) {
        self.made = sent.number;
        self.under_way = Some(sent);
    }

    /// It is answered.
    pub(super) fn end(&mut self) -> Option<Sent> {
        let sent = self.under_way.take()?;
        self.answered = sent.number;
        Some(sent)
    }
}
