//! What of a source could start.

use super::Source;
use crate::engine::terms::{End, Work};
use crate::engine::time::Time;

impl<W: Work> Source<W> {
    /// How many operations could start now if there were permits, up to `most`.
    pub(in crate::engine) fn startable(&self, now: Time, most: usize) -> usize {
        if self.ended.is_some() || now >= self.terms.deadline {
            return 0;
        }
        let first = self.live.min(most);
        first + self.retries.count_due(now, most - first)
    }

    /// How many of its operations are to start that have not, or are to be tried again.
    pub(in crate::engine) fn to_start(&self) -> usize {
        match self.ended {
            None => self.live + self.retries.len(),
            Some(_) => 0,
        }
    }

    /// How many of its operations run, or will.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.running.len() + self.to_start()
    }

    /// Whether a worker could start something now.
    #[inline(always)]
    pub(in crate::engine) fn available(&self, now: Time) -> bool {
        self.ended.is_none() && now < self.terms.deadline && (self.live > 0 || self.retry_due(now))
    }

    /// Whether a worker could start the operation at `index` now, and for the first time.
    pub(in crate::engine) fn available_first(&self, index: usize, now: Time) -> bool {
        now < self.terms.deadline && self.holds(index)
    }

    /// The operation that starts next, if one can.
    #[must_use]
    pub fn next_job(&self, now: Time) -> Option<&W::Job> {
        if self.is_retry_next(now) {
            return self.retries.iter().next().map(|retry| &retry.job);
        }
        self.queue.iter().flatten().next()
    }

    /// First attempts and due retries go in turn.
    #[inline(always)]
    pub(super) fn is_retry_next(&self, now: Time) -> bool {
        self.retry_due(now) && (self.retry_is_next || self.live == 0)
    }

    /// Operations that a further worker could start.
    pub(in crate::engine) fn ready_for_workers(&self, now: Time) -> usize {
        if self.startable(now, 1) == 0 {
            0
        } else {
            self.live + self.retries.len()
        }
    }

    /// Whether its end waits for what runs: not where somebody has given it up.
    pub(in crate::engine) fn waits_for_running(&self) -> bool {
        matches!(
            self.ended,
            None | Some(End::Operation | End::MaxFailures | End::Limiter | End::Failed)
        )
    }

    /// Books how long a worker has waited for a permit that no operation starts with.
    pub(in crate::engine) fn book_wait(&mut self, unpaused: Time) {
        if let Some(since) = self.waiting_since.take() {
            self.ledger.totals.permit_wait += unpaused.nanos_since(since);
        }
    }
}
