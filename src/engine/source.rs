//! A source of operations: one batch, or the calls submitted one by one.

use std::cmp::Reverse;
use std::fmt::Debug;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::ledger::{Keep, Ledger};
use super::retry::Budget;
use super::signal::Signal;
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

/// Who takes the permits of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The worker itself, from the engine's own limiter, or nobody.
    Worker,
    /// The thread that owns the source, from a limiter of its own.
    Owner,
    /// The dispatcher, for owners that must not block.
    Dispatcher,
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

/// Why a source ended before its input did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its deadline passed.
    Timeout,
    /// Too many operations failed.
    MaxFailures,
    /// An operation's failure was to end it.
    Operation,
    /// Its owner gave it up.
    Owner,
    /// The executor was shut down with everything that had not started.
    Cancelled,
    /// The limiter failed.
    Limiter,
    /// The workers could not be set up.
    Broken,
}

/// How a source is to be treated.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How its records are kept.
    pub keep: Keep,
    /// Who takes its permits.
    pub gate: Gate,
    /// Its owner stays in one call until it has ended.
    pub attended: bool,
    /// How many operations may have been read and not handed over (or, where nothing is handed
    /// over, not started): at first, and at most once operations have proved to be quick.
    pub ahead: (usize, usize),
    /// When it ends, finished or not.
    pub deadline: Time,
    /// Any failure ends it.
    pub stop_on_failure: bool,
    /// How many failures end it.
    pub failure_limit: Option<FailureLimit>,
}

/// Operations that take fewer nanoseconds are handed over many at a time.
const QUICK: u64 = 100_000;

/// An operation that has started and not ended.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Its place in the input.
    pub index: usize,
    /// Which call of it this is, from 1; 0 if it was refused a permit.
    pub attempt: u32,
    /// When it started.
    pub started: Time,
    /// Nanoseconds it waited for this permit.
    pub permit_wait: u64,
    /// Nanoseconds it waited for the permits of earlier attempts.
    pub waited_before: u64,
}

/// An operation that is to be tried again.
#[derive(Debug)]
struct Retry<J> {
    due: Time,
    index: usize,
    attempts: u32,
    waited: u64,
    job: J,
}

impl<J> PartialEq for Retry<J> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<J> Eq for Retry<J> {}

impl<J> PartialOrd for Retry<J> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<J> Ord for Retry<J> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.index).cmp(&(other.due, other.index))
    }
}

/// One batch, or the calls submitted one by one. All of it is guarded by the scheduler's lock.
#[derive(Debug)]
pub struct Source<W: Work> {
    pub(super) context: Arc<W::Context>,
    pub(super) owner: Arc<Signal>,
    pub(super) owner_waits: bool,
    pub(super) terms: Terms,
    pub(super) ledger: Ledger<W::Value, W::Error>,
    pub(super) ended: Option<End>,
    /// The operation whose failure ended it.
    ended_at: Option<usize>,
    /// What the limiter failed with.
    limiter_error: Option<W::Error>,
    pub(super) began: Time,
    /// Permits being asked for, and permits granted that nothing has used yet.
    pub(super) asking: usize,
    pub(super) granted: usize,
    granted_wait: u64,
    /// Index of the head of `queue`; where calls were cancelled, its entry is empty.
    head: usize,
    queue: VecDeque<Option<W::Job>>,
    live: usize,
    retries: BinaryHeap<Reverse<Retry<W::Job>>>,
    retry_is_next: bool,
    retries_spent: usize,
    running: Vec<Running>,
    complete: bool,
    taken: usize,
    ahead: usize,
    recent: VecDeque<bool>,
    /// Its owner has gone; it is removed when it has settled.
    pub(super) orphaned: bool,
}

impl<W: Work> Source<W> {
    pub(super) fn new(context: Arc<W::Context>, owner: Arc<Signal>, terms: Terms, now: Time) -> Self {
        Self {
            context,
            owner,
            owner_waits: false,
            ledger: Ledger::new(terms.keep),
            ended: None,
            ended_at: None,
            limiter_error: None,
            began: now,
            asking: 0,
            granted: 0,
            granted_wait: 0,
            head: 0,
            queue: VecDeque::new(),
            live: 0,
            retries: BinaryHeap::new(),
            retry_is_next: false,
            retries_spent: 0,
            running: Vec::new(),
            complete: false,
            taken: 0,
            ahead: terms.ahead.0,
            recent: VecDeque::new(),
            orphaned: false,
            terms,
        }
    }

    /// How many operations have been read from the input.
    #[must_use]
    pub fn read(&self) -> usize {
        self.head + self.queue.len()
    }

    pub(super) fn feed(&mut self, jobs: impl ExactSizeIterator<Item = W::Job>, complete: bool) {
        if self.live == 0 && self.ledger.typical() < QUICK {
            self.ahead = self.ahead.saturating_mul(2).min(self.terms.ahead.1);
        }
        self.queue.reserve_exact(if complete { jobs.len() } else { 0 });
        self.live += jobs.len();
        self.ledger.expect(jobs.len());
        self.queue.extend(jobs.map(Some));
        self.complete = complete;
    }

    pub(super) fn finish_input(&mut self) {
        self.complete = true;
    }

    /// Operations that could start now if there were permits.
    pub(super) fn startable(&self, now: Time) -> usize {
        if self.ended.is_some() {
            return 0;
        }
        self.live + self.retries.iter().filter(|retry| retry.0.due <= now).count()
    }

    /// Whether a worker could start something now.
    pub(super) fn available(&self, now: Time) -> bool {
        self.ended.is_none()
            && now < self.terms.deadline
            && (self.terms.gate == Gate::Worker || self.granted > 0)
            && (self.live > 0 || self.retry_due(now))
    }

    fn retry_due(&self, now: Time) -> bool {
        self.retries.peek().is_some_and(|retry| retry.0.due <= now)
    }

    /// When the next retry is due, if one waits.
    pub(super) fn next_due(&self) -> Option<Time> {
        if self.ended.is_some() { None } else { self.retries.peek().map(|retry| retry.0.due) }
    }

    /// Whether the operation at `index` waits for its first attempt.
    #[must_use]
    pub fn holds(&self, index: usize) -> bool {
        self.ended.is_none()
            && index
                .checked_sub(self.head)
                .and_then(|place| self.queue.get(place))
                .is_some_and(Option::is_some)
    }

    /// Takes the next operation: first attempts and due retries in turn.
    pub(super) fn start(&mut self, now: Time, permit_wait: u64) -> Option<(Running, W::Job)> {
        let retry = self.retry_due(now) && (self.retry_is_next || self.live == 0);
        self.retry_is_next = !retry;
        let (index, attempts, waited_before, job) = if retry {
            let Reverse(retry) = self.retries.pop()?;
            self.ledger.totals.retries += 1;
            (retry.index, retry.attempts, retry.waited, retry.job)
        } else {
            let (index, job) = self.pop()?;
            (index, 0, 0, job)
        };
        Some((self.enter(index, attempts, waited_before, now, permit_wait), job))
    }

    /// Takes the operation at `index`, if it still waits for its first attempt.
    pub(super) fn start_exactly(
        &mut self,
        index: usize,
        now: Time,
        permit_wait: u64,
    ) -> Option<(Running, W::Job)> {
        let job = self.withdraw(index)?;
        Some((self.enter(index, 0, 0, now, permit_wait), job))
    }

    fn enter(
        &mut self,
        index: usize,
        attempts: u32,
        waited_before: u64,
        started: Time,
        permit_wait: u64,
    ) -> Running {
        let running =
            Running { index, attempt: attempts + 1, started, permit_wait, waited_before };
        self.ledger.totals.permits += 1;
        self.ledger.totals.attempts += 1;
        self.ledger.totals.permit_wait += permit_wait;
        self.running.push(running);
        running
    }

    /// Takes the next operation as one that was refused its permit.
    pub(super) fn refuse(&mut self, now: Time) -> Option<(Running, W::Job)> {
        let (mut running, job) = self.start(now, 0)?;
        self.ledger.totals.permits -= 1;
        self.ledger.totals.attempts -= 1;
        running.attempt -= 1;
        Some((running, job))
    }

    fn pop(&mut self) -> Option<(usize, W::Job)> {
        loop {
            let entry = self.queue.pop_front()?;
            let index = self.head;
            self.head += 1;
            if let Some(job) = entry {
                self.live -= 1;
                return Some((index, job));
            }
        }
    }

    /// Takes an operation out of the queue; None if it has started or gone.
    pub(super) fn withdraw(&mut self, index: usize) -> Option<W::Job> {
        let job = self.queue.get_mut(index.checked_sub(self.head)?)?.take()?;
        self.live -= 1;
        while matches!(self.queue.front(), Some(None)) {
            self.queue.pop_front();
            self.head += 1;
        }
        Some(job)
    }

    /// Takes the retry of the operation at `index` out of the waiting ones.
    pub(super) fn withdraw_retry(&mut self, index: usize) -> Option<W::Job> {
        let mut found = None;
        let kept = std::mem::take(&mut self.retries);
        for Reverse(retry) in kept {
            if retry.index == index {
                found = Some(retry.job);
            } else {
                self.retries.push(Reverse(retry));
            }
        }
        found
    }

    /// Takes everything that has not started.
    pub(super) fn withdraw_all(&mut self) -> Vec<(usize, W::Job)> {
        let first = self.head;
        self.live = 0;
        self.head += self.queue.len();
        let queued = (first..)
            .zip(std::mem::take(&mut self.queue))
            .filter_map(|(index, job)| Some((index, job?)));
        let retries = std::mem::take(&mut self.retries)
            .into_iter()
            .map(|Reverse(retry)| (retry.index, retry.job));
        queued.chain(retries).collect()
    }

    pub(super) fn retry(&mut self, running: &Running, due: Time, job: W::Job) {
        self.retries.push(Reverse(Retry {
            due,
            index: running.index,
            attempts: running.attempt,
            waited: running.waited_before + running.permit_wait,
            job,
        }));
    }

    /// Spends one repetition of the budget, if it allows one and the source goes on.
    pub fn spend_retry(&mut self, budget: Option<Budget>) -> bool {
        let allowed = self.ended.is_none()
            && budget.is_none_or(|budget| budget.allows(self.retries_spent, self.read()));
        self.retries_spent += usize::from(allowed);
        allowed
    }

    pub(super) fn leave(&mut self, index: usize) {
        if let Some(place) = self.running.iter().position(|running| running.index == index) {
            self.running.swap_remove(place);
        }
    }

    /// Ends the source if its failures ask for it.
    pub(super) fn judge(&mut self, index: usize, failed: bool, fatal: bool) {
        if let Some(FailureLimit::Share { of, .. }) = self.terms.failure_limit {
            self.recent.push_back(failed);
            if self.recent.len() > of {
                self.recent.pop_front();
            }
        }
        if !failed || self.ended.is_some() {
            return;
        }
        let failures = self.ledger.totals.failed;
        if fatal || self.terms.stop_on_failure {
            self.ended = Some(End::Operation);
            self.ended_at = Some(index);
        } else if self.terms.failure_limit.is_some_and(|limit| match limit {
            FailureLimit::Count(count) => failures >= count,
            FailureLimit::Share { share, of } => {
                self.recent.len() == of && share_of(&self.recent) >= share
            }
        }) {
            self.ended = Some(End::MaxFailures);
        }
    }

    /// How many more operations its owner may read now, with `held` outcomes taken and not yet
    /// handed on.
    pub fn room(&mut self, held: usize) -> usize {
        if self.complete || self.ended.is_some() {
            return 0;
        }
        let least = self.terms.ahead.0;
        if self.ledger.typical() >= QUICK {
            self.ahead = least;
        }
        let outstanding = match self.terms.keep {
            Keep::Ordered | Keep::Completed => self.read() - self.taken + held,
            Keep::All | Keep::Nothing => self.live,
        };
        let room = self.ahead.saturating_sub(outstanding);
        let worthwhile = if self.ahead == least { 1 } else { self.ahead / 2 };
        if room >= worthwhile { room } else { 0 }
    }

    /// Takes the records that are ready, with their indexes.
    pub fn hand_over(&mut self) -> Vec<(usize, super::ledger::Record<W::Value, W::Error>)> {
        let out = self.ledger.hand_over(usize::MAX);
        self.taken += out.len();
        out
    }

    /// Whether its owner, or the dispatcher, is to ask for one more permit.
    pub(super) fn wants_permit(&self, now: Time) -> bool {
        self.asking == 0 && self.startable(now) > self.granted
    }

    pub(super) fn grant(&mut self, waited: u64) {
        self.asking = self.asking.saturating_sub(1);
        self.granted += 1;
        self.granted_wait += waited;
    }

    /// Takes a granted permit; returns how many nanoseconds it was waited for.
    pub(super) fn use_grant(&mut self) -> u64 {
        self.granted = self.granted.saturating_sub(1);
        std::mem::take(&mut self.granted_wait)
    }

    pub(super) fn owner_has_something(&mut self, now: Time) -> bool {
        self.ended.is_some()
            || self.ledger.ready()
            || self.settled()
            || self.terms.gate == Gate::Owner && self.wants_permit(now)
            || self.room(0) > 0
    }

    pub(super) fn tell_owner(&mut self) {
        self.owner_waits = false;
        self.owner.notify();
    }

    /// There will never be anything of it to do.
    pub(super) fn over(&self) -> bool {
        self.quiet() && (self.ended.is_some() || self.complete || self.terms.keep == Keep::Nothing)
    }

    /// Nothing of it waits or runs.
    pub(super) fn quiet(&self) -> bool {
        self.running.is_empty()
            && (self.ended.is_some() || self.live == 0 && self.retries.is_empty())
    }

    /// It has run to the end of its input.
    pub(super) fn settled(&self) -> bool {
        self.complete && self.quiet()
    }

    /// The operations that have started and not ended.
    #[must_use]
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// Whether nothing of it runs.
    pub(super) fn idle(&self) -> bool {
        self.running.is_empty()
    }

    /// The indexes of the operations that wait to be tried again.
    #[must_use]
    pub fn waiting_retries(&self) -> Vec<usize> {
        self.retries.iter().map(|retry| retry.0.index).collect()
    }

    /// The indexes of the operations that were read and never started.
    pub fn unstarted(&self) -> impl Iterator<Item = usize> {
        (self.head..).zip(&self.queue).filter_map(|(index, job)| job.as_ref().map(|_| index))
    }

    /// Notes what the limiter failed with; the first failure counts.
    pub fn fail_limiter(&mut self, error: W::Error) -> Option<W::Error> {
        if self.limiter_error.is_some() {
            return Some(error);
        }
        self.limiter_error = Some(error);
        None
    }

    /// Takes what the limiter failed with.
    pub fn take_limiter_error(&mut self) -> Option<W::Error> {
        self.limiter_error.take()
    }

    /// What the operation failed with whose failure ended the source.
    #[must_use]
    pub fn ending_error(&self) -> Option<&W::Error> {
        self.ledger.error_at(self.ended_at?)
    }

    /// The records of its operations.
    pub fn ledger(&mut self) -> &mut Ledger<W::Value, W::Error> {
        &mut self.ledger
    }

    /// Why it ended early, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Time {
        self.began
    }
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn share_of(recent: &VecDeque<bool>) -> f64 {
    recent.iter().filter(|failed| **failed).count() as f64 / recent.len() as f64
}
