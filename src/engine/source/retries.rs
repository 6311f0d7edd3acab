//! Operations that are to be tried again.

use std::cmp::Reverse;

use super::{Running, Source};
use crate::engine::retry::Budget;
use crate::engine::terms::{Acquirer, Work};
use crate::engine::time::Time;

/// An operation that is to be tried again.
#[derive(Debug)]
pub(super) struct Retry<J> {
    pub(super) due: Time,
    pub(super) index: usize,
    pub(super) attempts: u32,
    pub(super) waited: u64,
    pub(super) job: J,
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

impl<W: Work> Source<W> {
    pub(in crate::engine) fn retry(&mut self, running: &Running, due: Time, job: W::Job) {
        self.retries.push(Reverse(Retry {
            due,
            index: running.index,
            attempts: running.attempt,
            waited: running.waited_before + running.permit_wait,
            job,
        }));
    }

    /// Notes that an operation was to be tried again, and has failed as the source had ended.
    pub(in crate::engine) fn note_unretried(&mut self, index: usize) {
        self.unretried.push(index);
    }

    /// Takes the retry of the operation at `index` out of the waiting ones.
    pub(in crate::engine) fn withdraw_retry(&mut self, index: usize) -> Option<W::Job> {
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

    /// Spends one repetition of the budget, if it allows one and the source goes on.
    pub fn spend_retry(&mut self, budget: Option<Budget>) -> bool {
        let allowed = self.ended.is_none()
            && budget.is_none_or(|budget| budget.allows(self.retries_spent, self.read()));
        self.retries_spent += usize::from(allowed);
        allowed
    }

    /// How many retries could start now. Mostly none of many: then it is known by the first.
    pub(super) fn retries_due(&self, now: Time) -> usize {
        if !self.retry_due(now) {
            return 0;
        }
        let due = |retry: &&Reverse<Retry<W::Job>>| retry.0.due <= now;
        self.retries.iter().filter(due).count()
    }

    pub(super) fn retry_due(&self, now: Time) -> bool {
        self.retries.peek().is_some_and(|retry| retry.0.due <= now)
    }

    /// When a worker is to look for the next retry, if that is a worker's to do.
    pub(in crate::engine) fn next_due_for_workers(&self, now: Time) -> Option<Time> {
        let theirs = now < self.terms.deadline
            && (self.terms.acquirer == Acquirer::Worker || self.spare_permits > 0);
        if theirs { self.next_due() } else { None }
    }

    /// When the next retry is due, if one waits.
    fn next_due(&self) -> Option<Time> {
        if self.ended.is_some() {
            return None;
        }
        let due = self.retries.peek().map(|retry| retry.0.due);
        due.filter(|due| *due < self.terms.deadline)
    }

    /// When the next retry is due of those that are not yet; never, if there is none.
    pub(in crate::engine) fn next_due_after(&self, now: Time) -> Time {
        if self.ended.is_some() {
            return Time::NEVER;
        }
        if !self.retry_due(now) {
            return self.next_due().unwrap_or(Time::NEVER);
        }
        let dues = self.retries.iter().map(|retry| retry.0.due);
        dues.filter(|due| *due > now && *due < self.terms.deadline)
            .min()
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
        let granted = self.granted.iter().filter(|granted| granted.attempts > 0);
        let waiting = self.retries.iter().map(|retry| retry.0.index);
        waiting
            .chain(granted.map(|granted| granted.index))
            .collect()
    }
}
