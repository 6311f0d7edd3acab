//! Operations come in: those of a batch as its owner reads them, and submitted calls.

use super::Scheduler;
use crate::engine::model::{BatchId, Work};
use crate::engine::time::Time;

impl<W: Work> Scheduler<W> {
    /// Adds operations; with `complete`, the last ones.
    pub fn feed(
        &self,
        id: BatchId,
        jobs: impl ExactSizeIterator<Item = W::Job> + Send,
        complete: bool,
        now: Time,
    ) {
        let mut state = self.state();
        if let Some(batch) = state.batches.get_mut(id) {
            batch.feed(jobs, complete);
            state.reschedule(now);
        }
    }

    /// Adds operations that were read. Returns whether there is something to do before the next is
    /// read: a further worker thread is wanted, outcomes can be handed over, or the batch ends.
    pub fn feed_some(
        &self,
        id: BatchId,
        jobs: impl ExactSizeIterator<Item = W::Job> + Send,
        now: Time,
    ) -> bool {
        let mut state = self.state();
        let Some(batch) = state.batches.get_mut(id) else {
            return false;
        };
        batch.feed(jobs, false);
        // It may have been ended by others. Beyond its deadline nothing more of it will be ready.
        let ready = batch.ready() || batch.ended().is_some() || now >= batch.deadline();
        let short = batch.is_short();
        if short && state.idle.is_monitored() {
            // A worker that is woken would wait until the interpreter is let go, so there is time.
            return ready;
        }
        // What is new can start at once; retries that have become due meanwhile wake by themselves.
        state.reschedule(now);
        ready || state.wants_thread(now)
    }

    /// Adds one call, unless the scheduler is closed; returns its index.
    pub fn submit(&self, job: W::Job, now: Time) -> Result<usize, W::Job> {
        let mut state = self.state();
        if state.closed {
            return Err(job);
        }
        let Some(batch) = state.batches.get_mut(Self::SUBMITTED) else {
            return Err(job);
        };
        let index = batch.read();
        batch.feed(std::iter::once(job), false);
        state.reschedule(now);
        Ok(index)
    }

    /// Tells that nothing more will be read from the input.
    pub fn finish_input(&self, id: BatchId) {
        if let Some(batch) = self.state().batches.get_mut(id) {
            batch.finish_input();
        }
    }
}
