//! What of a batch could start, and what does.

use super::Batch;
use super::retries::Retry;
use crate::engine::model::{Running, Work};
use crate::engine::time::Time;

impl<W: Work> Batch<W> {
    /// How many operations could start now if there were permits, up to `most`.
    pub(in crate::engine) fn startable(&self, now: Time, most: usize) -> usize {
        if self.end.keeps_from_starting(now) {
            return 0;
        }
        let first = self.input.waiting().min(most);
        first + self.retries.count_due(now, most - first)
    }

    /// Whether a worker could start something now.
    #[inline(always)]
    pub(in crate::engine) fn available(&self, now: Time) -> bool {
        !self.end.keeps_from_starting(now) && (self.input.waiting() > 0 || self.retries.is_due(now))
    }

    /// Whether a worker could start the operation at `index` now, and for the first time.
    pub(in crate::engine) fn available_first(&self, index: usize, now: Time) -> bool {
        !self.end.keeps_from_starting(now) && self.input.holds(index)
    }

    /// Whether the operation at `index` waits for its first attempt.
    #[must_use]
    pub fn holds(&self, index: usize) -> bool {
        !self.end.has_come() && self.input.holds(index)
    }

    /// How many of its operations are to start that have not, or are to be tried again.
    pub(in crate::engine) fn to_start(&self) -> usize {
        if self.end.has_come() {
            0
        } else {
            self.waiting()
        }
    }

    /// How many operations wait, for their first attempt or another.
    pub(super) fn waiting(&self) -> usize {
        self.input.waiting() + self.retries.len()
    }

    /// How many of its operations run, or will.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.running.len() + self.to_start()
    }

    /// Operations that a further worker could start.
    pub(in crate::engine) fn ready_for_workers(&self, now: Time) -> usize {
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
    pub(in crate::engine) fn next_due(&self, now: Time) -> Option<Time> {
        if self.end.keeps_from_starting(now) {
            return None;
        }
        let due = self.retries.first_due();
        due.filter(|due| *due < self.end.deadline())
    }

    /// When the next retry is due of those that are not yet; never, if there is none.
    pub(in crate::engine) fn next_due_after(&self, now: Time) -> Time {
        if self.end.has_come() {
            return Time::NEVER;
        }
        let due = self.retries.first_due_after(now);
        due.filter(|due| *due < self.end.deadline())
            .unwrap_or(Time::NEVER)
    }

    /// Starts the next operation.
    #[inline(always)]
    pub(in crate::engine) fn start(
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
    pub(in crate::engine) fn start_exactly(
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
    pub(in crate::engine) fn refuse(&mut self, now: Time) -> Option<(Running, W::Job)> {
        let next = self.next(now)?;
        let running = Running {
            attempt: next.attempts,
            refused: true,
            cancelled: false,
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
    pub(in crate::engine) fn wait_since(&mut self, unpaused: Time) {
        self.waiting_since.get_or_insert(unpaused);
    }

    /// The same, whatever was before.
    pub(in crate::engine) const fn wait_anew(&mut self, unpaused: Time) {
        self.waiting_since = Some(unpaused);
    }

    /// The wait of a worker is over that has begun then; returns since when it was for this batch.
    pub(in crate::engine) fn end_wait(&mut self, since: Time) -> Time {
        self.waiting_since = None;
        since.max(self.began_unpaused)
    }

    /// Counts how long a worker has waited for a permit that no operation starts with.
    pub(in crate::engine) fn book_wait(&mut self, unpaused: Time) {
        if let Some(since) = self.waiting_since.take() {
            self.totals.permit_wait += unpaused.nanos_since(since);
        }
    }

    /// Takes an operation out of those that wait; None if it has started or gone.
    pub(in crate::engine) fn withdraw(&mut self, index: usize) -> Option<W::Job> {
        let first = self.input.withdraw(index);
        first.or_else(|| self.retries.withdraw(index))
    }

    /// Takes everything that has not started, or waits to be tried again.
    pub(in crate::engine) fn withdraw_all(&mut self) -> Vec<(usize, W::Job)> {
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
        cancelled: false,
        started,
        permit_wait,
        waited_before: next.waited,
    }
}
