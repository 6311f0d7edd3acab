//! The words that the engine's parts share: what a batch is, what it is to do, and what becomes of its
//! operations.

use std::fmt::Debug;

use super::time::Time;

/// The types that the engine carries and never looks into.
pub trait Work: Debug {
    /// What the operations of one batch share.
    type Context: Debug;
    /// One operation.
    type Job: Debug;
    /// What an operation returns.
    type Value: Debug;
    /// What an operation fails with.
    type Error: Debug;
}

/// What a call has returned or failed with.
pub type CallResult<W> = Result<<W as Work>::Value, <W as Work>::Error>;

/// An operation that is not called again, and its result where no record is kept of that: both are
/// to be dropped without the lock.
pub type Dropped<W> = (<W as Work>::Job, Option<CallResult<W>>);

/// Names a batch as long as it is with the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchId {
    pub(in crate::engine) slot: usize,
    pub(in crate::engine) serial: u64,
}

/// How the records of finished operations reach the owner of their batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// All at once, in input order, when the batch has ended.
    AtEnd,
    /// One by one, in input order.
    InOrder,
    /// One by one, in the order of completion.
    AsCompleted,
    /// Not at all: each result has gone elsewhere (into a future).
    Nowhere,
}

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

/// Why a batch ended before its input did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
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
    /// The batch whose operation had begun it was given up.
    Outer,
}

impl EndReason {
    /// Whether the end waits for what runs: not where the batch was given up.
    pub(in crate::engine) const fn waits_for_running(self) -> bool {
        matches!(
            self,
            Self::Operation | Self::MaxFailures | Self::Limiter | Self::Failed
        )
    }
}

/// How a batch is to be treated.
#[derive(Debug, Clone, Copy)]
pub struct BatchOptions {
    /// How its records reach its owner.
    pub delivery: Delivery,
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

impl BatchOptions {
    /// For `ahead`: all of the input is read at once.
    pub const UNBOUNDED: usize = usize::MAX;

    /// Those of the calls that are submitted one by one.
    #[must_use]
    pub const fn submitted() -> Self {
        Self {
            delivery: Delivery::Nowhere,
            attended: false,
            ahead: Ahead::upto(0),
            deadline: Time::NEVER,
            stop_on_failure: false,
            failure_limit: None,
        }
    }
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

/// An operation that has started and not ended.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Its place in the input.
    pub index: usize,
    /// The number of its worker.
    pub worker: u64,
    /// Which call of it this is, from 1; if it was refused a permit, how many there were before.
    pub attempt: u32,
    /// It was refused its permit, and is not called.
    pub refused: bool,
    /// It was cancelled while it ran.
    pub cancelled: bool,
    /// When it started.
    pub started: Time,
    /// Nanoseconds it waited for this permit.
    pub permit_wait: u64,
    /// Nanoseconds it waited for the permits of earlier attempts.
    pub waited_before: u64,
}

impl Running {
    /// In the place of a worker, for what none calls.
    pub(in crate::engine) const NOBODY: u64 = u64::MAX;

    /// A first attempt that did not wait for its permit.
    #[inline(always)]
    pub(in crate::engine) const fn first(index: usize, worker: u64, started: Time) -> Self {
        Self {
            index,
            worker,
            attempt: 1,
            refused: false,
            cancelled: false,
            started,
            permit_wait: 0,
            waited_before: 0,
        }
    }

    /// The same, when it has waited for permits inside as well.
    pub(in crate::engine) fn having_waited(mut self, nanos: u64) -> Self {
        self.permit_wait += nanos;
        self
    }
}

/// A failed attempt after which another was to follow.
#[derive(Debug)]
pub struct Attempt<E> {
    /// What it failed with.
    pub error: E,
    /// When it started.
    pub started: Time,
    /// Nanoseconds it ran.
    pub duration: u64,
    /// Nanoseconds it had waited for its permit.
    pub permit_wait: u64,
}

impl<E> Attempt<E> {
    pub(in crate::engine) fn of(error: E, running: &Running, ended: Time) -> Self {
        Self {
            error,
            started: running.started,
            duration: ended.nanos_since(running.started),
            permit_wait: running.permit_wait,
        }
    }
}

/// What became of one operation.
#[derive(Debug)]
pub struct Record<V, E> {
    /// Its value, or what its last attempt failed with.
    pub result: Result<V, E>,
    /// When its last attempt started.
    pub started: Time,
    /// Nanoseconds its last attempt ran.
    pub duration: u64,
    /// Nanoseconds it waited for permits, over all attempts.
    pub permit_wait: u64,
    /// How often it was called.
    pub attempts: u32,
    /// It was cancelled while it ran.
    pub cancelled: bool,
}

impl<V, E> Record<V, E> {
    #[inline]
    pub(in crate::engine) fn of(result: Result<V, E>, running: &Running, ended: Time) -> Self {
        Self {
            result,
            started: running.started,
            duration: ended.nanos_since(running.started),
            permit_wait: running.waited_before + running.permit_wait,
            attempts: running.attempt,
            cancelled: running.cancelled,
        }
    }
}

/// An operation that a worker has called.
#[derive(Debug)]
pub struct Finished<W: Work> {
    /// When it ended.
    pub ended: Time,
    /// How.
    pub ending: Ending<W>,
    /// Nanoseconds of its time in which it waited for permits that it asked for itself.
    pub waited: u64,
}

/// How a call ended.
#[derive(Debug)]
pub enum Ending<W: Work> {
    /// It returned, or failed for good; a fatal failure ends its batch.
    Result(CallResult<W>, bool),
    /// It was cancelled while it ran, which is no failure.
    Cancelled(W::Error),
    /// It failed and is to be called again, not before the time given.
    Again(W::Error, Time, W::Job),
    /// Its result has gone elsewhere; whether it failed.
    Delivered(bool),
}

impl<W: Work> Ending<W> {
    #[inline(always)]
    pub(in crate::engine) const fn is_success(&self) -> bool {
        matches!(self, Self::Result(Ok(_), _) | Self::Delivered(false))
    }
}
