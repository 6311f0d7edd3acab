//! On what terms a source is worked on, and why it may end early.

use std::fmt::Debug;

use super::ledger::Keep;
use super::time::Time;

/// The types that the engine carries and never looks into.
pub trait Work: Debug {
    /// What the operations of one source share.
    type Context: Debug;
    /// One operation.
    type Job: Debug;
    /// What an operation returns.
    type Value: Debug;
    /// What an operation fails with.
    type Error: Debug;
}

/// An operation that is not called again, and its result where no record is kept of that: both are
/// to be dropped without the lock.
pub type Dropped<W> = (
    <W as Work>::Job,
    Option<Result<<W as Work>::Value, <W as Work>::Error>>,
);

/// When too many operations have failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FailureLimit {
    /// At this many failures.
    Count(usize),
    /// When this share of the last `of` operations failed.
    Share {
        /// The share, above 0 and up to 1.
        share: f64,
        /// Over how many of the last operations.
        of: usize,
    },
}

/// Why a source ended before its input did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its deadline passed.
    Timeout,
    /// Too many operations failed.
    MaxFailures,
    /// An operation's failure was to end it.
    Operation,
    /// Its owner gave it up, and does not wait for it.
    Owner,
    /// Its owner could not go on reading its input or asking for its permits.
    Failed,
    /// The executor was shut down with everything that had not started.
    Cancelled,
    /// The limiter failed.
    Limiter,
    /// The server goes on refusing, or asks for a longer pause than it is given.
    Refused,
    /// The workers could not be set up.
    Broken,
    /// The source whose operation had begun it was given up.
    Outer,
}

/// How a source is to be treated.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How its records are kept.
    pub keep: Keep,
    /// Its owner stays in one call until it has ended.
    pub attended: bool,
    /// How far ahead its owner may read.
    pub ahead: Ahead,
    /// When it ends, finished or not.
    pub deadline: Time,
    /// Any failure ends it.
    pub stop_on_failure: bool,
    /// How many failures end it.
    pub failure_limit: Option<FailureLimit>,
}

/// How many operations may have been read and not handed over (or, where nothing is handed over, not
/// started).
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    /// At first, and while operations have not proved to be quick.
    pub least: usize,
    /// At most, once they have.
    pub heavy: usize,
    /// The same, where those read last cost little while they wait.
    pub light: usize,
}

impl Ahead {
    /// The same bound for all.
    #[must_use]
    pub const fn upto(most: usize) -> Self {
        Self {
            least: most,
            heavy: most,
            light: most,
        }
    }
}

impl Terms {
    /// For `ahead`: all of the input is read at once.
    pub const UNBOUNDED: usize = usize::MAX;

    /// Those of the calls that are submitted one by one.
    #[must_use]
    pub const fn calls() -> Self {
        Self {
            keep: Keep::Nothing,
            attended: false,
            ahead: Ahead::upto(0),
            deadline: Time::NEVER,
            stop_on_failure: false,
            failure_limit: None,
        }
    }
}
