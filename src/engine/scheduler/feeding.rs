//! Operations come in: those of a batch as its owner reads them, and submitted calls.
use std::sync::Arc;

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
        if let Some(batch) = state.batch(id) {
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
        let Some(batch) = state.batch(id) else {
            return false;
        };
        batch.feed(jobs, false);
        // It may have been ended by others. Beyond its deadline nothing more of it will be ready.
        let ready = batch.ready() || batch.ended().is_some() || now >= batch.deadline();
        let short = batch.is_short();
        if short && state.watched() {
            // Whoever is woken would wait until the interpreter is let go, so there is time.
            return ready;
        }
        // What is new can start at once; retries that have become due meanwhile wake by themselves.
        state.reschedule(now);
        ready || state.wants_thread(now)
    }

    /// Whether the owner may read `count` operations before it adds them: somebody keeps watch, and
    /// is told by [`Claim::Collect`](super::Claim::Collect) to add them when one is long in coming.
    pub fn begin_reading(&self, id: BatchId, count: usize, now: Time) -> bool {
        let mut state = self.state();
        if state.batch(id).is_some_and(|it| it.deserves_watch(count)) {
            state.post_watch();
        }
        let watched = state.watched();
        let Some(batch) = state.batch(id) else {
            return false;
        };
        let in_one_go = watched && batch.is_short();
        batch.begin_reading(in_one_go.then_some(now));
        in_one_go
    }

    /// The owner reads no more before it adds what it has read, which costs little while it waits,
    /// or does not.
    pub fn end_reading(&self, id: BatchId, light: bool) {
        if let Some(batch) = self.state().batch(id) {
            batch.end_reading(light);
        }
    }

    /// A batch whose owner is reading, and what its operations share: to be added by the caller.
    pub fn take_reading(&self) -> Option<(BatchId, Arc<W::Context>)> {
        let mut state = self.state();
        let mut entries = state.batches.iter_mut().enumerate();
        entries.find_map(|(slot, entry)| {
            let (serial, batch) = entry.as_mut()?;
            let id = BatchId {
                slot,
                serial: *serial,
            };
            batch.cut_short().then(|| (id, batch.share_context()))
        })
    }

    /// Adds one call, unless the scheduler is closed; returns its index.
    pub fn submit(&self, job: W::Job, now: Time) -> Result<usize, W::Job> {
        let mut state = self.state();
        if state.closed {
            return Err(job);
        }
        let Some(batch) = state.batch(Self::CALLS) else {
            return Err(job);
        };
        let index = batch.read();
        batch.feed(std::iter::once(job), false);
        state.reschedule(now);
        Ok(index)
    }

    /// Tells that nothing more will be read from the input.
    pub fn finish_input(&self, id: BatchId) {
        if let Some(batch) = self.state().batch(id) {
            batch.finish_input();
        }
    }
}
