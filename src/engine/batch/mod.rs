//! One batch, or the calls submitted one by one: what waits, runs and is retried, and how it ends.
//!
//! A batch is made of parts that each own their fields: the [`Input`] that was read, the [`Retries`],
//! the [`Results`], the [`Owner`], and what may end it [early](EarlyEnd). Here is what concerns more
//! than one of them. All of it is guarded by the scheduler's lock; what wakes an owner is returned.

mod early_end;
mod fast_path;
mod input;
mod owner;
mod results;
mod retries;
mod totals;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use self::early_end::EarlyEnd;
use self::input::{Input, ReadAhead};
use self::owner::Owner;
use self::results::Results;
pub use self::results::{HandedOver, History, LeftRecords};
use self::retries::{Retries, Retry};
pub use self::totals::Totals;
use self::totals::TypicalDuration;
use super::model::{
    Attempt, BatchId, BatchOptions, CallResult, Delivery, Dropped, EndReason, Ending, Finished,
    Running, Work,
};
use super::retry::{Budget, Hopeless};
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
    owner: Owner,
    /// The batch and the place of the operation that has begun this one, if one has.
    outer: Option<(BatchId, usize)>,
    delivery: Delivery,
    input: Input<W::Job>,
    ahead: ReadAhead,
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

/// What it is made of and what it holds.
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

/// What could start, and what does.
impl<W: Work> Batch<W> {
    /// How many operations could start now if there were permits, up to `most`.
    pub(super) fn startable(&self, now: Time, most: usize) -> usize {
        if self.end.keeps_from_starting(now) {
            return 0;
        }
        let first = self.input.waiting().min(most);
        first + self.retries.count_due(now, most - first)
    }

    /// Whether a worker could start something now.
    #[inline(always)]
    pub(super) fn available(&self, now: Time) -> bool {
        !self.end.keeps_from_starting(now) && (self.input.waiting() > 0 || self.retries.is_due(now))
    }

    /// Whether a worker could start the operation at `index` now, and for the first time.
    pub(super) fn available_first(&self, index: usize, now: Time) -> bool {
        !self.end.keeps_from_starting(now) && self.input.holds(index)
    }

    /// Whether the operation at `index` waits for its first attempt.
    #[must_use]
    pub fn holds(&self, index: usize) -> bool {
        !self.end.has_come() && self.input.holds(index)
    }

    /// How many of its operations are to start that have not, or are to be tried again.
    pub(super) fn to_start(&self) -> usize {
        if self.end.has_come() {
            0
        } else {
            self.waiting()
        }
    }

    /// How many operations wait, for their first attempt or another.
    fn waiting(&self) -> usize {
        self.input.waiting() + self.retries.len()
    }

    /// How many of its operations run, or will.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.running.len() + self.to_start()
    }

    /// Operations that a further worker could start.
    pub(super) fn ready_for_workers(&self, now: Time) -> usize {
        if self.startable(now, 1) == 0 {
            0
        } else {
            self.waiting()
        }
    }

    /// The operation that starts next, if one can.
    #[must_use]
    pub fn next_job(&self, now: Time) -> Option<&W::Job> {
        if self.retries.is_next(now, self.input.waiting()) {
            return self.retries.iter().next().map(|retry| &retry.job);
        }
        self.input.jobs().next()
    }

    /// When a worker is to look for the next retry, if one waits.
    pub(super) fn next_due(&self, now: Time) -> Option<Time> {
        if self.end.keeps_from_starting(now) {
            return None;
        }
        let due = self.retries.first_due();
        due.filter(|due| *due < self.end.deadline())
    }

    /// When the next retry is due of those that are not yet; never, if there is none.
    pub(super) fn next_due_after(&self, now: Time) -> Time {
        if self.end.has_come() {
            return Time::NEVER;
        }
        let due = self.retries.first_due_after(now);
        due.filter(|due| *due < self.end.deadline())
            .unwrap_or(Time::NEVER)
    }

    /// Starts the next operation.
    #[inline(always)]
    pub(super) fn start(
        &mut self,
        worker: u64,
        now: Time,
        permit_wait: u64,
    ) -> Option<(Running, W::Job)> {
        let next = self.next(now)?;
        let running = running(&next, worker, now, permit_wait);
        Some(self.begin(running, next.job))
    }

    /// Starts the operation at `index`, if it still waits for its first attempt.
    pub(super) fn start_exactly(
        &mut self,
        index: usize,
        worker: u64,
        now: Time,
        permit_wait: u64,
    ) -> Option<(Running, W::Job)> {
        let next = Retry::first(index, self.input.withdraw(index)?);
        let running = running(&next, worker, now, permit_wait);
        Some(self.begin(running, next.job))
    }

    /// Takes the next operation as one that was refused its permit.
    pub(super) fn refuse(&mut self, now: Time) -> Option<(Running, W::Job)> {
        let next = self.next(now)?;
        let running = Running {
            attempt: next.attempts,
            refused: true,
            ..running(&next, Running::NOBODY, now, 0)
        };
        self.running.push(running);
        Some((running, next.job))
    }

    /// Takes the next operation: first attempts and due retries in turn.
    #[inline(always)]
    fn next(&mut self, now: Time) -> Option<Retry<W::Job>> {
        let retry = self.retries.is_next(now, self.input.waiting());
        self.retries.had_turn(retry);
        if retry {
            return self.retries.pop();
        }
        let (index, job) = self.input.pop()?;
        Some(Retry::first(index, job))
    }

    #[inline(always)]
    fn begin(&mut self, running: Running, job: W::Job) -> (Running, W::Job) {
        self.running.push(running);
        let retry = running.attempt > 1;
        self.totals.count_start(retry, running.permit_wait);
        self.waiting_since = None;
        (running, job)
    }

    /// A worker waits for the permit of what is next, since then by the clock that stands still in
    /// pauses, if none has before.
    pub(super) fn wait_since(&mut self, unpaused: Time) {
        self.waiting_since.get_or_insert(unpaused);
    }

    /// The same, whatever was before.
    pub(super) const fn wait_anew(&mut self, unpaused: Time) {
        self.waiting_since = Some(unpaused);
    }

    /// The wait of a worker is over that has begun then; returns since when it was for this batch.
    pub(super) fn end_wait(&mut self, since: Time) -> Time {
        self.waiting_since = None;
        since.max(self.began_unpaused)
    }

    /// Counts how long a worker has waited for a permit that no operation starts with.
    pub(super) fn book_wait(&mut self, unpaused: Time) {
        if let Some(since) = self.waiting_since.take() {
            self.totals.permit_wait += unpaused.nanos_since(since);
        }
    }

    /// Takes an operation out of those that wait; None if it has started or gone.
    pub(super) fn withdraw(&mut self, index: usize) -> Option<W::Job> {
        let first = self.input.withdraw(index);
        first.or_else(|| self.retries.withdraw(index))
    }

    /// Takes everything that has not started, or waits to be tried again.
    pub(super) fn withdraw_all(&mut self) -> Vec<(usize, W::Job)> {
        let first = self.input.withdraw_all();
        let retries = self.retries.take_all();
        first
            .chain(retries.map(|retry| (retry.index, retry.job)))
            .collect()
    }
}

#[inline(always)]
fn running<J>(next: &Retry<J>, worker: u64, started: Time, permit_wait: u64) -> Running {
    Running {
        index: next.index,
        worker,
        attempt: next.attempts + 1,
        refused: false,
        started,
        permit_wait,
        waited_before: next.waited,
    }
}

/// What becomes of the operations that have started.
impl<W: Work> Batch<W> {
    /// Books an operation that has ended.
    #[inline(always)]
    pub(super) fn complete(
        &mut self,
        running: &Running,
        finished: Finished<W>,
        now: Time,
    ) -> Completed<W> {
        let Finished {
            ended,
            ending,
            waited,
        } = finished;
        let running = &running.having_waited(waited);
        self.forget_running(running.index);
        if !running.refused {
            let nanos = ended.nanos_since(running.started);
            self.totals.count_time(nanos, waited);
            self.typical.see(nanos);
        }
        let (result, job) = match ending {
            Ending::Again(error, due, job) if !self.end.has_come() => {
                let attempt = Attempt::of(error, running, ended);
                self.results.remember(running.index, attempt);
                self.retries.add(running, due, job);
                return Completed::Retried;
            }
            Ending::Again(error, _, job) => {
                let unkept = self.record(running, Err(error), ended);
                self.judge(running.index, true, false);
                self.retries.note_unretried(running.index);
                (unkept, Some(job))
            }
            Ending::Result(result, fatal) => {
                let failed = result.is_err();
                let unkept = self.record(running, result, ended);
                if failed && !fatal && now >= self.end.deadline() {
                    self.fail_late();
                } else {
                    self.judge(running.index, failed, fatal);
                }
                (unkept, None)
            }
            Ending::Delivered(failed) => {
                self.totals.count_end(failed);
                let attempts = self.results.history_of(running.index);
                if attempts.is_empty() {
                    return Completed::Recorded;
                }
                return Completed::Dropped(Unkept {
                    result: None,
                    job: None,
                    attempts,
                });
            }
        };
        if result.is_none() && job.is_none() {
            return Completed::Recorded;
        }
        Completed::Dropped(Unkept {
            result,
            job,
            attempts: Vec::new(),
        })
    }

    #[inline(always)]
    fn forget_running(&mut self, index: usize) {
        let place = self.running.iter().position(|each| each.index == index);
        if let Some(place) = place {
            self.running.swap_remove(place);
        }
    }

    /// Keeps what an operation has come to, and counts it. Gives that back where no records are kept.
    #[inline(always)]
    fn record(
        &mut self,
        running: &Running,
        result: CallResult<W>,
        ended: Time,
    ) -> Option<CallResult<W>> {
        self.totals.count_end(result.is_err());
        self.results.keep(running, result, ended)
    }

    /// Ends the batch if an operation that has ended, or its failures so far, ask for it.
    #[inline(always)]
    fn judge(&mut self, index: usize, failed: bool, fatal: bool) {
        let may = self.ended().is_none();
        let ending = (index, failed, fatal);
        self.end.judge(ending, self.totals.failed, may);
    }

    /// Takes those that wait to be tried again for failed, and shows `failed` with what. Returns what
    /// is to be dropped: the operations, and the results of which no record is kept.
    pub(super) fn fail_retries(
        &mut self,
        mut failed: impl FnMut(usize, &Attempt<W::Error>),
    ) -> Vec<Dropped<W>> {
        let waiting: Vec<_> = self.retries.take_all().collect();
        let mut dropped = Vec::with_capacity(waiting.len());
        for retry in waiting {
            let mut attempts = self.results.history_of(retry.index);
            let Some(last) = attempts.pop() else {
                // Those of a batch whose owner has gone are not kept.
                self.totals.count_end(true);
                dropped.push((retry.job, None));
                continue;
            };
            for attempt in attempts {
                self.results.remember(retry.index, attempt);
            }
            let running = Running {
                index: retry.index,
                worker: Running::NOBODY,
                attempt: retry.attempts,
                refused: false,
                started: last.started,
                permit_wait: last.permit_wait,
                waited_before: retry.waited.saturating_sub(last.permit_wait),
            };
            let ended = last.started + Duration::from_nanos(last.duration);
            failed(retry.index, &last);
            let result = self.record(&running, Err(last.error), ended);
            dropped.push((retry.job, result));
            self.judge(retry.index, true, false);
        }
        dropped
    }

    /// Spends one repetition of the budget, if it allows one and the batch goes on.
    pub fn spend_retry(&mut self, budget: Option<Budget>) -> bool {
        !self.end.has_come() && self.retries.spend(budget, self.input.read())
    }

    /// Whether its operations are short, as far as one can tell.
    #[inline(always)]
    pub(super) const fn is_short(&self) -> bool {
        self.typical.is_short(self.totals.attempts)
    }

    /// An operation took long though they were taken for short.
    pub(super) const fn was_not_short(&mut self) {
        self.typical.was_not_short(self.totals.attempts);
    }

    /// Everybody pauses, as a server asks.
    pub(super) const fn count_pause(&mut self) {
        self.totals.pauses += 1;
    }
}

/// What its owner reads and is handed.
impl<W: Work> Batch<W> {
    /// How many operations have been read from the input.
    #[must_use]
    pub fn read(&self) -> usize {
        self.input.read()
    }

    /// Adds operations; with `complete`, the last ones.
    pub(super) fn feed(&mut self, jobs: impl ExactSizeIterator<Item = W::Job>, complete: bool) {
        if self.input.waiting() == 0 {
            self.ahead.ran_dry(self.typical.nanos());
        }
        self.results.reserve(jobs.len());
        self.input.feed(jobs, complete);
    }

    pub(super) const fn finish_input(&mut self) {
        self.input.finish();
    }

    /// Whether its input is read at once, not as its operations end.
    #[must_use]
    pub const fn is_read_at_once(&self) -> bool {
        self.ahead.is_unbounded()
    }

    /// How many more operations its owner may read now.
    pub fn room(&mut self) -> usize {
        if self.input.is_complete() || self.end.has_come() {
            return 0;
        }
        let outstanding = match self.delivery {
            Delivery::InOrder | Delivery::AsCompleted => self.outstanding(),
            Delivery::AtEnd | Delivery::Nowhere => self.input.waiting(),
        };
        self.ahead.room(outstanding, self.typical.nanos())
    }

    /// The same, at a time: from its deadline on nothing more is read.
    pub fn room_at(&mut self, now: Time) -> usize {
        if now < self.end.deadline() {
            self.room()
        } else {
            0
        }
    }

    /// How many operations were read and not handed over.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.input.read() - self.results.handed_over()
    }

    /// Whether there is something to hand over. After an early end that is what was ready before,
    /// where the owner has had no sign of that end: up to the failure that ended it.
    pub(super) fn ready(&self) -> bool {
        let Some(next) = self.results.ready() else {
            return false;
        };
        match self.ended() {
            None | Some(EndReason::Cancelled) => true,
            Some(EndReason::Operation) => self.end.operation() != Some(next),
            Some(_) => false,
        }
    }

    /// Whether its owner is to hand something over, or to end it.
    #[must_use]
    pub fn has_for_owner(&self) -> bool {
        self.end.has_come() || self.ready()
    }

    /// Takes the next record that is ready. None ends a round: after all that were ready when it
    /// began, while more input is to be read.
    #[inline(always)]
    pub fn hand_over(&mut self) -> Option<HandedOver<W::Value, W::Error>> {
        if !self.ready() || self.results.is_round_over() && self.room() > 0 {
            self.results.end_round();
            return None;
        }
        self.results.hand_over()
    }

    /// Its owner reads operations that it adds in one go, since then, or one by one.
    pub(super) const fn begin_reading(&mut self, since: Option<Time>) {
        self.ahead.begin(since);
    }

    /// What has just been read costs little while it waits, or does not.
    pub(super) fn end_reading(&mut self, light: bool) {
        self.ahead.end(light);
    }

    /// Since when its owner reads many operations in one go.
    pub(super) const fn reading_since(&self) -> Option<Time> {
        self.ahead.reading_since()
    }

    /// Whether a worker is to be woken to be the monitor while so many are read.
    pub(super) fn deserves_monitor(&self, count: usize) -> bool {
        self.is_short() && self.ahead.deserves_monitor(count, self.input.read())
    }

    /// Its owner is to read no more in one go, if it does, as the next operation is long in coming.
    pub(super) fn cut_short(&mut self) -> bool {
        self.ahead.cut_short(self.input.read())
    }
}

/// Whether its owner waits, and what wakes it.
impl<W: Work> Batch<W> {
    /// Whether its owner stays in one call until it has ended.
    #[must_use]
    pub const fn is_attended(&self) -> bool {
        self.owner.attends()
    }

    /// No owner will come back to it, so nothing is to wait for one.
    pub(super) const fn detach_owner(&mut self) {
        self.owner.detach();
    }

    /// The owner has gone, and nobody will take the outcomes: whether anything is left to run, after
    /// which the batch is to be removed.
    pub(super) fn orphan(&mut self) -> bool {
        self.input.finish();
        self.end.forget_deadline();
        let goes_on = !self.settled() && !self.end.has_come();
        if goes_on {
            self.owner.leave();
        }
        goes_on
    }

    pub(super) const fn is_orphaned(&self) -> bool {
        self.owner.is_gone()
    }

    /// Its owner is awake.
    pub(super) const fn owner_woke(&mut self) {
        self.owner.set_waiting(false);
    }

    /// Its owner rests until it is told, and starts operations of it meanwhile if it `works`.
    pub(super) const fn rest_owner(&mut self, works: bool) {
        self.owner.rest(works);
    }

    /// Whether something of it runs; its owner is then told when nothing does.
    pub(super) fn await_idle(&mut self) -> bool {
        let waits = !self.idle();
        self.owner.set_waiting(waits);
        waits
    }

    /// Whether an outcome may become ready that is not yet; its owner is then told of it.
    pub(super) fn await_outcome(&mut self) -> bool {
        let waits = !self.end.has_come() && !self.ready() && !self.quiet();
        self.owner.set_waiting(waits);
        waits
    }

    /// Has its owner told that there is something for it to do: gives its signal.
    #[must_use]
    pub(super) fn tell_owner(&mut self) -> Arc<Signal> {
        self.owner.tell()
    }

    /// The same, if it waits and there is something.
    #[inline(always)]
    pub(super) fn tell_waiting_owner(&mut self) -> Option<Arc<Signal>> {
        let tells = self.owner.waits() && self.owner_has_something();
        tells.then(|| self.owner.tell())
    }

    /// The same, if it waits and may read more.
    #[inline(always)]
    pub(super) fn tell_reader(&mut self) -> Option<Arc<Signal>> {
        let tells = self.owner.waits() && self.room() > 0;
        tells.then(|| self.owner.tell())
    }

    /// The same, if it waits and starts operations of the batch meanwhile.
    pub(super) fn tell_working_owner(&mut self) -> Option<Arc<Signal>> {
        self.owner.waits_and_works().then(|| self.owner.tell())
    }

    fn owner_has_something(&mut self) -> bool {
        self.ended().is_some() || self.ready() || self.settled() || self.room() > 0
    }
}

/// How it comes to its end.
impl<W: Work> Batch<W> {
    /// Why it ended early, if it did: what was to keep the rest of it from starting has not ended it
    /// where there was none.
    #[inline(always)]
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.end.reason().filter(|end| {
            !matches!(end, EndReason::Cancelled | EndReason::Broken)
                || !self.input.is_complete()
                || self.waiting() + self.retries.unretried().len() > 0
        })
    }

    /// Ends the batch, unless it has run to its end or was ended before.
    pub(super) fn end(&mut self, reason: EndReason) {
        if !self.settled() && self.ended().is_none() {
            self.end.end(reason);
        }
    }

    #[inline(always)]
    pub(super) const fn deadline(&self) -> Time {
        self.end.deadline()
    }

    /// When it expires, if it has not ended.
    pub(super) const fn expires(&self) -> Time {
        if self.end.has_come() {
            Time::NEVER
        } else {
            self.end.deadline()
        }
    }

    /// Ends the batch as its deadline has passed.
    pub(super) fn expire(&mut self) {
        self.end(self.end.at_deadline());
    }

    /// Whether it is to expire, as its deadline has passed and it has not ended.
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        now >= self.end.deadline() && self.ended().is_none() && !self.settled()
    }

    /// An operation has failed from the deadline on, so perhaps because of it: that ends the batch,
    /// also if this was the last one.
    fn fail_late(&mut self) {
        if self.ended().is_none() {
            self.end.end(self.end.at_deadline());
        }
    }

    /// What the operation failed with whose failure ended the batch.
    #[must_use]
    pub fn ending_error(&self) -> Option<&W::Error> {
        self.results.error_at(self.end.operation()?)
    }

    /// Notes what the limiter failed with; the first failure counts.
    pub fn fail_limiter(&mut self, error: W::Error) -> Option<W::Error> {
        self.end.fail_limiter(error)
    }

    /// Takes what the limiter failed with.
    pub const fn take_limiter_error(&mut self) -> Option<W::Error> {
        self.end.take_limiter_error()
    }

    /// Ends it, as the server it waits for was given up.
    pub(super) fn give_up(&mut self, why: Hopeless) {
        self.end.note_hopeless(why);
        self.end(EndReason::Refused);
    }

    /// Why the server was given up, if the batch was ended by that.
    #[must_use]
    pub const fn hopeless(&self) -> Option<Hopeless> {
        self.end.hopeless()
    }

    /// Refusals that were met before do not tell it that the server is to be given up.
    pub(super) const fn hopeful_since(&self) -> Time {
        self.hopeful_since
    }

    /// Those met until now do not.
    pub(super) const fn hope_anew(&mut self, now: Time) {
        self.hopeful_since = now;
    }

    /// Counts how much of its time everybody paused, and how long it has waited for the permit that
    /// it will not use, as it ends now.
    pub(super) fn note_waiting(&mut self, now: Time, unpaused: Time) {
        let worked = unpaused.nanos_since(self.began_unpaused);
        self.totals.paused = now.nanos_since(self.began).saturating_sub(worked);
        // Otherwise that wait was over when the batch ended, which may be long ago.
        if !self.waits_for_running() {
            self.book_wait(unpaused - now.since(self.end.deadline()));
        }
    }

    /// Whether its end waits for what runs: not where it was given up.
    pub(super) fn waits_for_running(&self) -> bool {
        self.end.reason().is_none_or(EndReason::waits_for_running)
    }

    /// Whether what runs is waited for, whatever has ended it.
    pub(super) fn is_patient(&self) -> bool {
        self.waits_for_running() || self.end.reason() == Some(EndReason::Refused)
    }

    /// Whether something of it was not begun.
    pub(super) fn has_more(&self) -> bool {
        !self.input.is_complete() || self.input.waiting() > 0
    }

    /// Whether something of it may be called that does not run.
    pub(super) fn waits_for_server(&self) -> bool {
        let more = !self.input.is_complete() && !self.is_submitted();
        !self.end.has_come() && (self.waiting() > 0 || more)
    }

    /// Whether nothing of it runs.
    pub(super) const fn idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Nothing of it waits or runs.
    pub(super) fn quiet(&self) -> bool {
        self.idle() && (self.end.has_come() || self.waiting() == 0)
    }

    /// It has run to the end of its input.
    pub(super) fn settled(&self) -> bool {
        self.input.is_complete() && self.quiet()
    }

    /// There will never be anything of it to do.
    pub(super) fn over(&self) -> bool {
        self.quiet() && (self.end.has_come() || self.input.is_complete() || self.is_submitted())
    }
}
