//! One batch, or the calls submitted one by one: what waits, runs and is retried, and how it ends.
//!
//! A batch is made of parts that each own their fields: the [`Input`] that was read, the [`Retries`],
//! the [`Results`], the [`Owner`], and what may end it [early](EarlyEnd). What concerns more than
//! one of them is in the files named after what happens: starting, completing, serving the owner,
//! ending. All of it is guarded by the scheduler's lock; what wakes an owner is returned.

mod completing;
mod early_end;
mod ending;
mod input;
mod owner;
mod repeating;
mod results;
mod retries;
mod serving;
mod starting;
mod totals;

use std::fmt::Debug;
use std::sync::Arc;

use self::early_end::EarlyEnd;
use self::input::{Input, ReadAhead};
use self::owner::Owner;
use self::results::Results;
pub use self::results::{HandedOver, History, LeftRecords};
use self::retries::Retries;
pub use self::totals::Totals;
use self::totals::TypicalDuration;
use super::model::{Attempt, BatchId, BatchOptions, CallResult, Delivery, Ending, Running, Work};
use super::signal::Signal;
use super::time::Time;

/// What an operation of a batch has come to when it was booked.
pub(super) enum Completed<W: Work> {
    /// It is to be called again.
    Retried,
    /// Its record is kept.
    Recorded,
    /// It has ended, and this of it is to be dropped.
    Dropped(Unkept<W>),
}

/// What is not kept of an operation that has ended, each to be dropped without the lock.
pub(super) struct Unkept<W: Work> {
    pub(super) result: Option<CallResult<W>>,
    pub(super) job: Option<W::Job>,
    pub(super) attempts: Vec<Attempt<W::Error>>,
}

impl<W: Work> From<Ending<W>> for Unkept<W> {
    /// Of a call whose batch keeps nothing.
    fn from(ending: Ending<W>) -> Self {
        let (result, job) = match ending {
            Ending::Result(result, _) => (Some(result), None),
            Ending::Cancelled(error) => (Some(Err(error)), None),
            Ending::Again(error, _, job) => (Some(Err(error)), Some(job)),
            Ending::Delivered(_) => (None, None),
        };
        Self {
            result,
            job,
            attempts: Vec::new(),
        }
    }
}

/// One batch, or the calls submitted one by one.
#[derive(Debug)]
pub struct Batch<W: Work> {
    context: Arc<W::Context>,
    pub(super) owner: Owner,
    /// The batch and the place of the operation that has begun this one, if one has.
    outer: Option<(BatchId, usize)>,
    delivery: Delivery,
    input: Input<W::Job>,
    pub(super) ahead: ReadAhead,
    retries: Retries<W::Job>,
    running: Vec<Running>,
    results: Results<W::Value, W::Error>,
    totals: Totals,
    typical: TypicalDuration,
    end: EarlyEnd<W::Error>,
    began: Time,
    /// The same by the clock that stands still in pauses.
    began_unpaused: Time,
    /// Since when a worker waits for the permit of what is next, by the same clock.
    waiting_since: Option<Time>,
    /// Refusals that were met before do not tell it that the server is to be given up.
    hopeful_since: Time,
}

impl<W: Work> Batch<W> {
    pub(super) fn new(
        context: Arc<W::Context>,
        owner: Arc<Signal>,
        options: &BatchOptions,
        now: Time,
        unpaused: Time,
    ) -> Self {
        Self {
            context,
            owner: Owner::new(owner, options.attended),
            outer: None,
            delivery: options.delivery,
            input: Input::new(),
            ahead: ReadAhead::new(options.ahead),
            retries: Retries::new(),
            running: Vec::new(),
            results: Results::new(options.delivery),
            totals: Totals::default(),
            typical: TypicalDuration::default(),
            end: EarlyEnd::new(options),
            began: now,
            began_unpaused: unpaused,
            waiting_since: None,
            hopeful_since: now,
        }
    }

    /// An operation of `outer` that runs on that worker has begun it.
    pub(super) fn begin_within(&mut self, id: BatchId, outer: &Self, worker: u64) {
        let Some(running) = outer.running.iter().find(|each| each.worker == worker) else {
            return;
        };
        self.outer = Some((id, running.index));
        self.hopeful_since = outer.hopeful_since;
        self.end.bring_forward(outer.end.deadline());
    }

    /// The batch and the place of the operation that has begun it, if one has.
    pub(super) const fn outer(&self) -> Option<(BatchId, usize)> {
        self.outer
    }

    /// Whether it is the calls that are submitted one by one.
    #[must_use]
    pub fn is_submitted(&self) -> bool {
        self.delivery == Delivery::Nowhere
    }

    /// What its operations share.
    #[must_use]
    pub fn context(&self) -> &W::Context {
        &self.context
    }

    /// The same, to be held.
    #[inline(always)]
    pub(super) fn share_context(&self) -> Arc<W::Context> {
        Arc::clone(&self.context)
    }

    /// When it began.
    #[must_use]
    pub const fn began(&self) -> Time {
        self.began
    }

    /// The operations that have started and not ended.
    #[must_use]
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// The indexes of the operations that were read and never started.
    pub fn unstarted(&self) -> impl Iterator<Item = usize> {
        self.input.indexes()
    }

    /// The indexes of the operations that wait to be tried again.
    #[must_use]
    pub fn waiting_retries(&self) -> Vec<usize> {
        self.retries.iter().map(|retry| retry.index).collect()
    }

    /// The indexes of the operations that failed when they were to be tried again, as it had ended.
    #[must_use]
    pub fn unretried(&self) -> &[usize] {
        self.retries.unretried()
    }

    /// Its sums.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes the records that were not handed over, and keeps no more from now on.
    #[must_use]
    pub fn take_left(&mut self) -> LeftRecords<W::Value, W::Error> {
        self.results.take_left()
    }

    /// Takes the earlier attempts of one operation.
    #[must_use]
    pub fn history_of(&mut self, index: usize) -> Vec<Attempt<W::Error>> {
        self.results.history_of(index)
    }

    /// Shows every object that is held for the batch: operations, values and errors.
    pub fn visit<F>(
        &self,
        mut job: impl FnMut(&W::Job) -> Result<(), F>,
        value: impl FnMut(&W::Value) -> Result<(), F>,
        mut error: impl FnMut(&W::Error) -> Result<(), F>,
    ) -> Result<(), F> {
        self.input.jobs().try_for_each(&mut job)?;
        self.retries.iter().try_for_each(|retry| job(&retry.job))?;
        self.end
            .limiter_error()
            .into_iter()
            .try_for_each(&mut error)?;
        self.results.visit(value, error)
    }
}
