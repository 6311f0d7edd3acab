//! A source of operations: one batch, or the calls submitted one by one.

mod endings;
mod next;
mod owner;
mod repeat;
mod retries;
mod starting;
mod withdrawals;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

pub use self::owner::HandedOver;
use self::retries::Retries;
use super::ledger::Ledger;
use super::retry::Hopeless;
use super::schedule::SourceId;
use super::signal::Signal;
use super::terms::{End, Terms, Work};
use super::time::Time;

/// Operations that take fewer nanoseconds are handed over many at a time.
const READ_AHEAD_BELOW: u64 = 100_000;

/// One worker is left alone with operations that take fewer nanoseconds: it costs others as much to
/// be woken and to get at the interpreter.
const ONE_WORKER_BELOW: u64 = 10_000;

/// After so many, operations are taken for short again that once were not, and their input for
/// quick.
const PROBATION: usize = 4096;

/// An operation that has started and not ended.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Its place in the input.
    pub index: usize,
    /// The worker's seat.
    pub seat: u64,
    /// Which call of it this is, from 1; if it was refused a permit, how many there were before.
    pub attempt: u32,
    /// It was refused its permit, and is not called.
    pub refused: bool,
    /// When it started.
    pub started: Time,
    /// Nanoseconds it waited for this permit.
    pub permit_wait: u64,
    /// Nanoseconds it waited for the permits of earlier attempts.
    pub waited_before: u64,
}

impl Running {
    /// The seat of what no worker calls.
    const NOBODY: u64 = u64::MAX;

    /// A first attempt that did not wait for its permit.
    #[inline(always)]
    fn first(index: usize, seat: u64, started: Time) -> Self {
        Self {
            index,
            seat,
            attempt: 1,
            refused: false,
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

/// One batch, or the calls submitted one by one. All of it is guarded by the scheduler's lock.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Source<W: Work> {
    pub(super) context: Arc<W::Context>,
    pub(super) owner: Arc<Signal>,
    /// The source and the place of the operation that has begun it, if one has.
    pub(super) outer: Option<(SourceId, usize)>,
    /// Its deadline is that of `outer`.
    pub(super) ends_with_outer: bool,
    pub(super) owner_waits: bool,
    pub(super) terms: Terms,
    pub(super) ledger: Ledger<W::Value, W::Error>,
    /// From then on nothing more of it starts. See [`ended`](Self::ended).
    pub(super) ended: Option<End>,
    /// The operation whose failure ended it.
    ended_at: Option<usize>,
    /// Why the server was given up that it waited for, if it was ended by that.
    hopeless: Option<Hopeless>,
    /// What the limiter failed with.
    limiter_error: Option<W::Error>,
    pub(super) began: Time,
    /// The same by the clock that stands still in pauses.
    pub(super) began_unpaused: Time,
    /// Refusals that were met before do not tell it that the server is to be given up.
    pub(super) hopeful_since: Time,
    /// Since when a worker waits for the permit of what is next, by the same clock.
    pub(super) waiting_since: Option<Time>,
    /// Its owner is a worker itself, and runs operations of it while it waits.
    pub(super) owner_works: bool,
    /// Index of the head of `queue`; where calls were cancelled, its entry is empty.
    head: usize,
    queue: VecDeque<Option<W::Job>>,
    live: usize,
    retries: Retries<W::Job>,
    retry_is_next: bool,
    retries_spent: usize,
    /// Those that were to be tried again when it had ended: they have failed instead.
    unretried: Vec<usize>,
    running: Vec<Running>,
    complete: bool,
    /// Since when its owner reads many operations in one go.
    pub(super) reading_since: Option<Time>,
    handed_over: usize,
    /// While records are being taken: how many more before input is looked at.
    round: Option<usize>,
    ahead: usize,
    /// Those read last cost little while they wait.
    reads_light: bool,
    /// Not taken for short before so many starts.
    short_from: usize,
    /// Its input is not taken for quick before so many were read.
    quick_from: usize,
    recent: VecDeque<bool>,
    /// Its owner has gone; it is removed when it has settled.
    pub(super) orphaned: bool,
}

impl<W: Work> Source<W> {
    pub(super) fn new(
        context: Arc<W::Context>,
        owner: Arc<Signal>,
        terms: Terms,
        now: Time,
        unpaused: Time,
    ) -> Self {
        Self {
            context,
            owner,
            outer: None,
            ends_with_outer: false,
            owner_waits: false,
            ledger: Ledger::new(terms.keep),
            ended: None,
            ended_at: None,
            hopeless: None,
            limiter_error: None,
            began: now,
            began_unpaused: unpaused,
            hopeful_since: now,
            waiting_since: None,
            owner_works: false,
            head: 0,
            queue: VecDeque::new(),
            live: 0,
            retries: Retries::new(),
            retry_is_next: false,
            retries_spent: 0,
            unretried: Vec::new(),
            running: Vec::new(),
            complete: false,
            reading_since: None,
            handed_over: 0,
            round: None,
            ahead: terms.ahead.least,
            reads_light: false,
            short_from: 0,
            quick_from: 0,
            recent: VecDeque::new(),
            orphaned: false,
            terms,
        }
    }

    /// An operation of `outer` that runs on the worker in that seat has begun it.
    pub(super) fn begin_within(&mut self, id: SourceId, outer: &Self, seat: u64) {
        let Some(running) = outer.running.iter().find(|each| each.seat == seat) else {
            return;
        };
        self.outer = Some((id, running.index));
        self.hopeful_since = outer.hopeful_since;
        self.ends_with_outer = outer.terms.deadline < self.terms.deadline;
        self.terms.deadline = self.terms.deadline.min(outer.terms.deadline);
    }

    /// How many operations have been read from the input.
    #[must_use]
    pub fn read(&self) -> usize {
        self.head + self.queue.len()
    }

    pub(super) fn feed(&mut self, jobs: impl ExactSizeIterator<Item = W::Job>, complete: bool) {
        if self.live == 0 && self.ledger.typical() < READ_AHEAD_BELOW {
            self.ahead = self.ahead.saturating_mul(2).min(self.most_ahead());
        }
        self.queue
            .reserve_exact(if complete { jobs.len() } else { 0 });
        self.live += jobs.len();
        self.ledger.reserve(jobs.len());
        self.queue.extend(jobs.map(Some));
        self.complete = complete;
    }

    pub(super) fn finish_input(&mut self) {
        self.complete = true;
    }

    /// Whether its operations are short, as far as one can tell.
    pub(super) fn is_short(&self) -> bool {
        self.ledger.typical() < ONE_WORKER_BELOW && self.ledger.totals.attempts >= self.short_from
    }

    /// An operation took long though they were taken for short.
    pub(super) fn was_not_short(&mut self) {
        self.short_from = self.ledger.totals.attempts + PROBATION;
    }

    /// Whether the operation at `index` waits for its first attempt.
    #[must_use]
    pub fn holds(&self, index: usize) -> bool {
        self.ended.is_none() && self.queued(index)
    }

    /// Whether the operation at `index` waits in the queue.
    fn queued(&self, index: usize) -> bool {
        let place = index.checked_sub(self.head);
        place.is_some_and(|place| matches!(self.queue.get(place), Some(Some(_))))
    }

    pub(super) fn leave(&mut self, index: usize) {
        if let Some(place) = self
            .running
            .iter()
            .position(|running| running.index == index)
        {
            self.running.swap_remove(place);
        }
    }

    /// What its operations share.
    #[must_use]
    pub fn context(&self) -> &W::Context {
        &self.context
    }

    /// Shows every object that is held for the source: operations, values and errors.
    pub fn visit<F>(
        &self,
        mut job: impl FnMut(&W::Job) -> Result<(), F>,
        value: impl FnMut(&W::Value) -> Result<(), F>,
        mut error: impl FnMut(&W::Error) -> Result<(), F>,
    ) -> Result<(), F> {
        self.queue.iter().flatten().try_for_each(&mut job)?;
        self.retries.iter().try_for_each(|retry| job(&retry.job))?;
        self.limiter_error.iter().try_for_each(&mut error)?;
        self.ledger.visit(value, error)
    }

    /// The operations that have started and not ended.
    #[must_use]
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// The indexes of the operations that were read and never started.
    pub fn unstarted(&self) -> impl Iterator<Item = usize> {
        let queued = (self.head..).zip(&self.queue);
        queued.filter_map(|(index, job)| job.as_ref().map(|_| index))
    }

    /// The records of its operations.
    pub fn ledger(&mut self) -> &mut Ledger<W::Value, W::Error> {
        &mut self.ledger
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Time {
        self.began
    }
}
