//! Operations that are to be tried again.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use super::{Running, Source};
use crate::engine::ledger::Attempt;
use crate::engine::retry::Budget;
use crate::engine::terms::{Dropped, Work};
use crate::engine::time::Time;

/// An operation that is to be tried again, or for the first time.
#[derive(Debug)]
pub(super) struct Retry<J> {
    pub(super) index: usize,
    /// How many there were.
    pub(super) attempts: u32,
    /// Nanoseconds that these have waited for their permits.
    pub(super) waited: u64,
    pub(super) job: J,
}

impl<J> Retry<J> {
    pub(super) const fn first(index: usize, job: J) -> Self {
        Self {
            index,
            attempts: 0,
            waited: 0,
            job,
        }
    }
}

/// The operations that wait to be tried again.
#[derive(Debug)]
pub(super) struct Retries<J> {
    /// By when they are due, and their index.
    waiting: BTreeMap<(Time, usize), Retry<J>>,
    /// When each is due, by its index.
    dues: HashMap<usize, Time>,
}

impl<J> Retries<J> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            dues: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// In the order in which they are due.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Retry<J>> {
        self.waiting.values()
    }

    fn add(&mut self, due: Time, retry: Retry<J>) {
        self.dues.insert(retry.index, due);
        self.waiting.insert((due, retry.index), retry);
    }

    /// Takes the one that is due first.
    pub(super) fn pop(&mut self) -> Option<Retry<J>> {
        let (_, first) = self.waiting.pop_first()?;
        self.dues.remove(&first.index);
        Some(first)
    }

    /// Takes that of the operation at `index`.
    fn remove(&mut self, index: usize) -> Option<Retry<J>> {
        let due = self.dues.remove(&index)?;
        self.waiting.remove(&(due, index))
    }

    /// When the first is due.
    fn first_due(&self) -> Option<Time> {
        let (&(due, _), _) = self.waiting.first_key_value()?;
        Some(due)
    }

    /// How many are due, up to `most`.
    pub(super) fn count_due(&self, now: Time, most: usize) -> usize {
        let due = self.waiting.range(..=(now, usize::MAX));
        due.take(most).count()
    }

    /// When the first is due of those that are not yet.
    fn first_due_after(&self, now: Time) -> Option<Time> {
        let mut later = self.waiting.range((Excluded((now, usize::MAX)), Unbounded));
        later.next().map(|(&(due, _), _)| due)
    }
}

impl<W: Work> Source<W> {
    pub(in crate::engine) fn retry(&mut self, running: &Running, due: Time, job: W::Job) {
        let retry = Retry {
            index: running.index,
            attempts: running.attempt,
            waited: running.waited_before + running.permit_wait,
            job,
        };
        self.retries.add(due, retry);
    }

    /// Takes those that wait to be tried again for failed, and shows `failed` with what. Returns what
    /// is to be dropped: the operations, and the results of which no record is kept.
    pub(in crate::engine) fn fail_retries(
        &mut self,
        mut failed: impl FnMut(usize, &Attempt<W::Error>),
    ) -> Vec<Dropped<W>> {
        let waiting: Vec<_> = std::iter::from_fn(|| self.retries.pop()).collect();
        let mut dropped = Vec::with_capacity(waiting.len());
        for retry in waiting {
            let mut attempts = self.ledger.history_of(retry.index);
            let Some(last) = attempts.pop() else {
                // Those of a source whose owner has gone are not kept.
                self.ledger.count(true);
                dropped.push((retry.job, None));
                continue;
            };
            for attempt in attempts {
                self.ledger.remember(retry.index, attempt);
            }
            let running = Running {
                index: retry.index,
                seat: Running::NOBODY,
                attempt: retry.attempts,
                refused: false,
                started: last.started,
                permit_wait: last.permit_wait,
                waited_before: retry.waited.saturating_sub(last.permit_wait),
            };
            let ended = last.started + Duration::from_nanos(last.duration);
            failed(retry.index, &last);
            let result = self.ledger.enter(&running, Err(last.error), ended);
            dropped.push((retry.job, result));
            self.judge(retry.index, true, false);
        }
        dropped
    }

    /// Notes that an operation was to be tried again, and has failed as the source had ended.
    pub(in crate::engine) fn note_unretried(&mut self, index: usize) {
        self.unretried.push(index);
    }

    /// Takes the retry of the operation at `index` out of the waiting ones.
    pub(in crate::engine) fn withdraw_retry(&mut self, index: usize) -> Option<W::Job> {
        self.retries.remove(index).map(|retry| retry.job)
    }

    /// Spends one repetition of the budget, if it allows one and the source goes on.
    pub fn spend_retry(&mut self, budget: Option<Budget>) -> bool {
        let allowed = self.ended.is_none()
            && budget.is_none_or(|budget| budget.allows(self.retries_spent, self.read()));
        self.retries_spent += usize::from(allowed);
        allowed
    }

    pub(super) fn retry_due(&self, now: Time) -> bool {
        self.retries.first_due().is_some_and(|due| due <= now)
    }

    /// When a worker is to look for the next retry, if one waits.
    pub(in crate::engine) fn next_due(&self, now: Time) -> Option<Time> {
        if self.ended.is_some() || now >= self.terms.deadline {
            return None;
        }
        let due = self.retries.first_due();
        due.filter(|due| *due < self.terms.deadline)
    }

    /// When the next retry is due of those that are not yet; never, if there is none.
    pub(in crate::engine) fn next_due_after(&self, now: Time) -> Time {
        if self.ended.is_some() {
            return Time::NEVER;
        }
        let due = self.retries.first_due_after(now);
        due.filter(|due| *due < self.terms.deadline)
            .unwrap_or(Time::NEVER)
    }

    /// The indexes of the operations that failed when they were to be tried again, as it had ended.
    #[must_use]
    pub fn unretried(&self) -> &[usize] {
        &self.unretried
    }

    /// The indexes of the operations that wait to be tried again.
    #[must_use]
    pub fn waiting_retries(&self) -> Vec<usize> {
        self.retries.iter().map(|retry| retry.index).collect()
    }
}
