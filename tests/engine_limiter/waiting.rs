//! One who waits, as the model sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use paceline::engine::limiter::Ticket;
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

pub(crate) fn signalled(signal: &Signal) -> bool {
    signal.wait_until(Time::default())
}

/// How one who waits holds a rate, as of its last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Firm,
    Reserved(u64),
    Released,
}

pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    pub(crate) signal: Arc<Signal>,
    pub(crate) weight: u64,
    /// Each rate that it waits for.
    pub(crate) holds: BTreeMap<usize, Hold>,
    /// The rates at which somebody was in the way when it looked.
    pub(crate) behind: Vec<usize>,
    /// It was signalled since.
    pub(crate) told: bool,
    /// When it was to start, being the first everywhere: nobody is to make that later.
    pub(crate) promised: Option<u64>,
}

impl Waiting {
    pub(crate) fn parts(&self) -> Vec<usize> {
        self.holds.keys().copied().collect()
    }
}
