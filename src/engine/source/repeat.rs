//! From one operation to the next, where there is nothing else to see to.

use super::{ONE_WORKER_BELOW, Running, Source};
use crate::engine::terms::Work;
use crate::engine::time::Time;

impl<W: Work> Source<W> {
    /// Whether what its operations return is booked and no more.
    pub(in crate::engine) fn is_repeatable(&self) -> bool {
        self.is_short()
            && self.ledger.keeps_records()
            && self.retries.is_empty()
            && !self.judges_successes()
    }

    /// Whether there is a next one, and the one that ends now leaves the source as short as it was:
    /// its moving average stays below what each is below.
    #[inline(always)]
    pub(in crate::engine) fn can_repeat(&self, ended: &Running, now: Time) -> bool {
        self.live > 0
            && now < self.terms.deadline
            && now.nanos_since(ended.started) < ONE_WORKER_BELOW
    }

    /// Books what the one that ends now has returned, and starts the next, which takes its place in
    /// `running`. For when it [can](Self::can_repeat).
    #[inline(always)]
    pub(in crate::engine) fn repeat(
        &mut self,
        running: &mut Running,
        value: W::Value,
        now: Time,
    ) -> Result<W::Job, W::Value> {
        let Some((index, job)) = self.pop() else {
            return Err(value);
        };
        let ended = running.index;
        self.ledger.book(now.nanos_since(running.started), 0);
        self.ledger.enter(running, Ok(value), now);
        self.judge(ended, false, false);
        if let Some(place) = self.running.iter_mut().find(|other| other.index == ended) {
            *place = Running::first(index, running.seat, now);
        }
        *running = Running::first(index, running.seat, now);
        self.ledger.totals.permits += 1;
        self.ledger.totals.count_start(false, 0);
        self.retry_is_next = true;
        Ok(job)
    }
}
