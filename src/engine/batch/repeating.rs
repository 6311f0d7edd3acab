//! From one short operation to the next, where there is nothing else to see to: what the scheduler's
//! fast path needs of a batch.

use super::Batch;
use super::totals::ONE_WORKER_BELOW;
use crate::engine::model::{Running, Work};
use crate::engine::time::Time;

impl<W: Work> Batch<W> {
    /// Whether what its operations return is booked and no more.
    pub(in crate::engine) fn is_repeatable(&self) -> bool {
        self.is_short()
            && self.results.keeps_records()
            && self.retries.is_empty()
            && !self.end.judges_successes()
    }

    /// Whether there is a next one, and the one that ends now leaves the batch as short as it was:
    /// its moving average stays below what each is below.
    #[inline(always)]
    pub(in crate::engine) fn can_repeat(&self, ended: &Running, now: Time) -> bool {
        self.input.waiting() > 0
            && now < self.end.deadline()
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
        let Some((index, job)) = self.input.pop() else {
            return Err(value);
        };
        let ended = running.index;
        let nanos = now.nanos_since(running.started);
        self.totals.count_time(nanos, 0);
        self.typical.see(nanos);
        self.record(running, Ok(value), now);
        self.judge(ended, false, false);
        let next = Running::first(index, running.worker, now);
        if let Some(place) = self.running.iter_mut().find(|other| other.index == ended) {
            *place = next;
        }
        *running = next;
        self.totals.count_start(false, 0);
        self.retries.had_turn(false);
        Ok(job)
    }
}
