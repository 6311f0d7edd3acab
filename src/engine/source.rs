//! A source of operations: one batch, or the calls submitted one by one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use super::ledger::{Attempt, Keep, Ledger, Record};
use super::retry::Budget;
use super::signal::Signal;
use super::terms::{End, FailureLimit, Gate, Terms, Work};
use super::time::Time;

/// Operations that take fewer nanoseconds are handed over many at a time.
const QUICK: u64 = 100_000;

/// One worker is left alone with operations that take fewer nanoseconds: it costs others as much to
/// be woken and to get at the interpreter.
const SHORT: u64 = 10_000;

/// After so many starts, operations are taken for short again that once were not.
const PROBATION: usize = 4096;

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

/// An operation that has its permit and no worker yet.
#[derive(Debug)]
struct Granted<J> {
    index: usize,
    attempts: u32,
    waited: u64,
    permit_wait: u64,
    job: J,
}

/// What is handed over of one operation.
#[derive(Debug)]
pub struct HandedOver<W: Work> {
    /// Its place in the input.
    pub index: usize,
    /// What became of it.
    pub record: Record<W::Value, W::Error>,
    /// Its earlier attempts, if it was tried again.
    pub earlier: Vec<Attempt<W::Error>>,
}

/// One batch, or the calls submitted one by one. All of it is guarded by the scheduler's lock.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
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
    /// Its owner works on it while it waits.
    pub(super) owner_works: bool,
    /// Permits being asked for.
    pub(super) asking: usize,
    /// The operations that permits were granted for, in that order.
    granted: VecDeque<Granted<W::Job>>,
    /// Permits whose operation was withdrawn; the next one uses them.
    spare_permits: usize,
    /// Index of the head of `queue`; where calls were cancelled, its entry is empty.
    head: usize,
    queue: VecDeque<Option<W::Job>>,
    live: usize,
    retries: BinaryHeap<Reverse<Retry<W::Job>>>,
    retry_is_next: bool,
    retries_spent: usize,
    running: Vec<Running>,
    complete: bool,
    handed_over: usize,
    /// Records are being taken, one after another.
    handing_over: bool,
    ahead: usize,
    /// Not taken for short before so many starts.
    short_from: usize,
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
    ) -> Self {
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
            owner_works: false,
            granted: VecDeque::new(),
            spare_permits: 0,
            head: 0,
            queue: VecDeque::new(),
            live: 0,
            retries: BinaryHeap::new(),
            retry_is_next: false,
            retries_spent: 0,
            running: Vec::new(),
            complete: false,
            handed_over: 0,
            handing_over: false,
            ahead: terms.ahead.0,
            short_from: 0,
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
        self.ledger.typical() < SHORT
            && self.terms.gate == Gate::Worker
            && self.ledger.totals.attempts >= self.short_from
    }

    /// An operation took long though they were taken for short.
    pub(super) fn was_not_short(&mut self) {
        self.short_from = self.ledger.totals.attempts + PROBATION;
    }

    /// Operations that could start now if there were permits.
    pub(super) fn startable(&self, now: Time) -> usize {
        if self.ended.is_some() || now >= self.terms.deadline {
            return 0;
        }
        self.live
            + self
                .retries
                .iter()
                .filter(|retry| retry.0.due <= now)
                .count()
    }

    /// Whether a worker could start something now.
    pub(super) fn available(&self, now: Time) -> bool {
        if !self.granted.is_empty() && self.uses_its_permits() {
            return self.ended.is_some() || now < self.terms.deadline;
        }
        self.ended.is_none()
            && now < self.terms.deadline
            && (self.terms.gate == Gate::Worker || self.spare_permits > 0)
            && (self.live > 0 || self.retry_due(now))
    }

    /// Whether operations that have their permit still start: what waits for running operations
    /// waits for these as well.
    fn uses_its_permits(&self) -> bool {
        matches!(
            self.ended,
            None | Some(End::Operation | End::MaxFailures | End::Limiter | End::Failed)
        )
    }

    /// Permits that were granted or asked for, and are not used yet.
    pub(super) fn reserved(&self, now: Time) -> usize {
        if !self.uses_its_permits() {
            return 0;
        }
        // Whoever asked has told so by ending the source.
        let given_up = matches!(self.ended, Some(End::Limiter | End::Failed));
        let asking = if given_up { 0 } else { self.asking };
        asking + self.granted.len() + self.spare_permits.min(self.startable(now))
    }

    /// Operations that a further worker could start.
    pub(super) fn ready_for_workers(&self, now: Time) -> usize {
        match self.terms.gate {
            Gate::Worker if self.startable(now) == 0 => 0,
            Gate::Worker => self.live + self.retries.len(),
            Gate::Owner | Gate::Dispatcher => {
                self.granted.len() + self.spare_permits.min(self.startable(now))
            }
        }
    }

    fn retry_due(&self, now: Time) -> bool {
        self.retries.peek().is_some_and(|retry| retry.0.due <= now)
    }

    /// When a worker is to look for the next retry, if that is a worker's to do.
    pub(super) fn next_due_for_workers(&self, now: Time) -> Option<Time> {
        let theirs = now < self.terms.deadline
            && (self.terms.gate == Gate::Worker || self.spare_permits > 0);
        if theirs { self.next_due() } else { None }
    }

    /// When the next retry is due, if one waits.
    pub(super) fn next_due(&self) -> Option<Time> {
        if self.ended.is_some() {
            return None;
        }
        let due = self.retries.peek().map(|retry| retry.0.due);
        due.filter(|due| *due < self.terms.deadline)
    }

    /// Whether the operation at `index` waits for its first attempt.
    #[must_use]
    pub fn holds(&self, index: usize) -> bool {
        let queued = || {
            let place = index.checked_sub(self.head)?;
            self.queue.get(place)?.as_ref()
        };
        self.ended.is_none()
            && (queued().is_some() || self.granted.iter().any(|granted| granted.index == index))
    }

    /// Starts the next operation.
    #[inline(always)]
    pub(super) fn start(&mut self, now: Time, permit_wait: u64) -> Option<(Running, W::Job)> {
        let next = if let Some(granted) = self.granted.pop_front() {
            granted
        } else {
            let next = self.next(now, permit_wait)?;
            if self.terms.gate != Gate::Worker {
                self.spare_permits = self.spare_permits.saturating_sub(1);
            }
            next
        };
        Some(self.enter(next, now))
    }

    /// Takes the next operation: first attempts and due retries in turn.
    #[inline(always)]
    fn next(&mut self, now: Time, permit_wait: u64) -> Option<Granted<W::Job>> {
        let retry = self.retry_due(now) && (self.retry_is_next || self.live == 0);
        self.retry_is_next = !retry;
        if retry {
            let Reverse(Retry {
                index,
                attempts,
                waited,
                job,
                ..
            }) = self.retries.pop()?;
            return Some(Granted {
                index,
                attempts,
                waited,
                permit_wait,
                job,
            });
        }
        let (index, job) = self.pop()?;
        Some(Granted {
            index,
            attempts: 0,
            waited: 0,
            permit_wait,
            job,
        })
    }

    /// Takes the operation at `index`, if it still waits for its first attempt.
    pub(super) fn start_exactly(
        &mut self,
        index: usize,
        now: Time,
        permit_wait: u64,
    ) -> Option<(Running, W::Job)> {
        let job = self.withdraw(index)?;
        if self.terms.gate != Gate::Worker {
            self.spare_permits = self.spare_permits.saturating_sub(1);
        }
        let next = Granted {
            index,
            attempts: 0,
            waited: 0,
            permit_wait,
            job,
        };
        Some(self.enter(next, now))
    }

    #[inline(always)]
    fn enter(&mut self, next: Granted<W::Job>, started: Time) -> (Running, W::Job) {
        let Granted {
            index,
            attempts,
            waited: waited_before,
            permit_wait,
            job,
        } = next;
        let running = Running {
            index,
            attempt: attempts + 1,
            started,
            permit_wait,
            waited_before,
        };
        let totals = &mut self.ledger.totals;
        totals.permits += 1;
        totals.attempts += 1;
        totals.retries += usize::from(attempts > 0);
        totals.permit_wait += permit_wait;
        self.running.push(running);
        (running, job)
    }

    /// Takes the next operation as one that was refused its permit.
    pub(super) fn refuse(&mut self, now: Time) -> Option<(Running, W::Job)> {
        let next = self.next(now, 0)?;
        let running = Running {
            index: next.index,
            attempt: next.attempts,
            started: now,
            permit_wait: 0,
            waited_before: next.waited,
        };
        self.running.push(running);
        Some((running, next.job))
    }

    #[inline(always)]
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
        if let Some(place) = self
            .granted
            .iter()
            .position(|granted| granted.index == index)
        {
            self.spare_permits += 1;
            return self.granted.remove(place).map(|granted| granted.job);
        }
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
        self.spare_permits += self.granted.len();
        let granted = std::mem::take(&mut self.granted)
            .into_iter()
            .map(|granted| (granted.index, granted.job));
        granted.chain(queued).chain(retries).collect()
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
        if let Some(place) = self
            .running
            .iter()
            .position(|running| running.index == index)
        {
            self.running.swap_remove(place);
        }
    }

    /// Ends the source, unless it has run to its end or was ended before.
    pub(super) fn end(&mut self, end: End) {
        if !self.settled() {
            self.ended.get_or_insert(end);
        }
    }

    /// What its operations share.
    #[must_use]
    pub fn context(&self) -> &W::Context {
        &self.context
    }

    /// Shows every object that is held for the source: operations, values and errors.
    pub fn visit(
        &self,
        mut job: impl FnMut(&W::Job),
        value: impl FnMut(&W::Value),
        mut error: impl FnMut(&W::Error),
    ) {
        self.granted.iter().for_each(|granted| job(&granted.job));
        self.queue.iter().flatten().for_each(&mut job);
        self.retries.iter().for_each(|retry| job(&retry.0.job));
        self.limiter_error.iter().for_each(&mut error);
        self.ledger.visit(value, error);
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

    /// How many more operations its owner may read now.
    pub fn room(&mut self) -> usize {
        if self.complete || self.ended.is_some() {
            return 0;
        }
        let least = self.terms.ahead.0;
        if self.ledger.typical() >= QUICK {
            self.ahead = least;
        }
        let outstanding = match self.terms.keep {
            Keep::Ordered | Keep::Completed => self.read() - self.handed_over,
            Keep::All | Keep::Nothing => self.live + self.granted.len(),
        };
        let room = self.ahead.saturating_sub(outstanding);
        // Few ahead means slow operations: each place is filled at once. Many are filled together,
        // while there is enough left for every worker.
        let worthwhile = self.ahead.saturating_sub(least.max(self.ahead / 16));
        if room >= worthwhile.max(1) { room } else { 0 }
    }

    /// Takes the next record that is ready. After the first there is None while more input is to be
    /// read.
    #[inline]
    pub fn hand_over(&mut self) -> Option<HandedOver<W>> {
        let first = !std::mem::take(&mut self.handing_over);
        if self.ended.is_some() || !first && self.room() > 0 {
            return None;
        }
        let (index, record) = self.ledger.hand_over()?;
        self.handed_over += 1;
        self.handing_over = true;
        Some(HandedOver {
            index,
            record,
            earlier: self.ledger.history_of(index),
        })
    }

    /// Whether its owner, or the dispatcher, is to ask for one more permit.
    pub(super) fn wants_permit(&self, now: Time) -> bool {
        self.asking == 0 && self.startable(now) > self.spare_permits
    }

    /// A permit was granted: it is for the next operation, whichever worker will start it.
    pub(super) fn grant(&mut self, waited: u64, now: Time) {
        self.asking = self.asking.saturating_sub(1);
        match self.next(now, waited) {
            Some(granted) => self.granted.push_back(granted),
            None => self.spare_permits += 1,
        }
    }

    /// A permit was granted for an operation that its caller will start itself.
    pub fn add_permit(&mut self) {
        self.spare_permits += 1;
    }

    /// Whether its owner has been granted a permit that is not used yet.
    pub(super) fn has_permit(&self) -> bool {
        !self.granted.is_empty() || self.spare_permits > 0
    }

    pub(super) fn owner_has_something(&mut self, now: Time) -> bool {
        self.ended.is_some()
            || self.ledger.ready()
            || self.settled()
            || self.terms.gate == Gate::Owner && self.owner_works && self.wants_permit(now)
            || self.room() > 0
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
        self.idle() && (self.ended.is_some() || self.live == 0 && self.retries.is_empty())
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

    /// Whether nothing of it runs, or is about to.
    pub(super) fn idle(&self) -> bool {
        self.running.is_empty() && (self.granted.is_empty() || !self.uses_its_permits())
    }

    /// The indexes of the operations that wait to be tried again.
    #[must_use]
    pub fn waiting_retries(&self) -> Vec<usize> {
        let granted = self.granted.iter().filter(|granted| granted.attempts > 0);
        let waiting = self.retries.iter().map(|retry| retry.0.index);
        waiting
            .chain(granted.map(|granted| granted.index))
            .collect()
    }

    /// The indexes of the operations that were read and never started.
    pub fn unstarted(&self) -> impl Iterator<Item = usize> {
        let queued = (self.head..).zip(&self.queue);
        let queued = queued.filter_map(|(index, job)| job.as_ref().map(|_| index));
        self.granted
            .iter()
            .filter(|granted| granted.attempts == 0)
            .map(|granted| granted.index)
            .chain(queued)
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
