//! Operations come in: those of a batch as its owner reads them, and submitted calls.

use std::sync::Arc;

use super::Scheduler;
use super::claim::SourceId;
use crate::engine::terms::Work;
use crate::engine::time::Time;

impl<W: Work> Scheduler<W> {
    /// Adds operations; with `complete`, the last ones.
    pub fn feed(
        &self,
        id: SourceId,
        jobs: impl ExactSizeIterator<Item = W::Job> + Send,
        complete: bool,
        now: Time,
    ) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.feed(jobs, complete);
            state.reschedule(now);
        }
    }

    /// Adds operations that were read. Returns whether there is something to do before the next is
    /// read: a further worker thread is wanted, outcomes can be handed over, or the source ends.
    pub fn feed_some(
        &self,
        id: SourceId,
        jobs: impl ExactSizeIterator<Item = W::Job> + Send,
        now: Time,
    ) -> bool {
        let mut state = self.state();
        let Some(source) = state.source(id) else {
            return false;
        };
        source.feed(jobs, false);
        // It may have been ended by others. Beyond its deadline nothing more of it will be ready.
        let ready = source.ready() || source.ended().is_some() || now >= source.terms.deadline;
        let short = source.is_short();
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
    pub fn begin_reading(&self, id: SourceId, count: usize, now: Time) -> bool {
        let mut state = self.state();
        if state.source(id).is_some_and(|it| it.deserves_watch(count)) {
            state.post_watch();
        }
        let watched = state.watched();
        let Some(source) = state.source(id) else {
            return false;
        };
        source.reading_since = (watched && source.is_short()).then_some(now);
        source.reading_since.is_some()
    }

    /// The owner reads no more before it adds what it has read, which costs little while it waits,
    /// or does not.
    pub fn end_reading(&self, id: SourceId, light: bool) {
        if let Some(source) = self.state().source(id) {
            source.end_reading(light);
        }
    }

    /// A source whose owner is reading, and what its operations share: to be added by the caller.
    pub fn take_reading(&self) -> Option<(SourceId, Arc<W::Context>)> {
        let mut state = self.state();
        let mut entries = state.sources.iter_mut().enumerate();
        entries.find_map(|(slot, entry)| {
            let (serial, source) = entry.as_mut()?;
            let id = SourceId {
                slot,
                serial: *serial,
            };
            source
                .cut_short()
                .then(|| (id, Arc::clone(&source.context)))
        })
    }

    /// Adds one call, unless the scheduler is closed; returns its index.
    pub fn submit(&self, job: W::Job, now: Time) -> Result<usize, W::Job> {
        let mut state = self.state();
        if state.closed {
            return Err(job);
        }
        let Some(source) = state.source(Self::CALLS) else {
            return Err(job);
        };
        let index = source.read();
        source.feed(std::iter::once(job), false);
        state.reschedule(now);
        Ok(index)
    }

    /// Tells that nothing more will be read from the input.
    pub fn finish_input(&self, id: SourceId) {
        if let Some(source) = self.state().source(id) {
            source.finish_input();
        }
    }
}
