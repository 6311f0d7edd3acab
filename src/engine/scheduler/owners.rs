//! The scheduler's side towards those who own batches: they add them, ask what there is to do, end
//! them and take them out.

use std::sync::Arc;

use super::Scheduler;
use super::claim::Step;
use super::state::Locked;
use super::stragglers::TakenOut;
use crate::engine::batch::{Batch, LeftRecords};
use crate::engine::lock::LockSafe;
use crate::engine::model::{BatchId, BatchOptions, EndReason, Work};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// What is to be dropped when an owner has gone: the records so far, or all of the batch.
pub type Orphaned<W> = (
    Option<LeftRecords<<W as Work>::Value, <W as Work>::Error>>,
    Option<Batch<W>>,
);

impl<W: Work> Scheduler<W> {
    /// Takes up a batch; None after [`close`](Self::close). One that a running operation has begun,
    /// of the batch and by the worker in `outer`, ends with that batch if it is given up; if it
    /// has been already, at once.
    pub fn add(
        &self,
        context: Arc<W::Context>,
        owner: Arc<Signal>,
        options: BatchOptions,
        outer: Option<(BatchId, u64)>,
        now: Time,
    ) -> Option<BatchId> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let unpaused = state.pauses.unpaused(now);
        let mut batch = Batch::new(context, owner, &options, now, unpaused);
        if let Some((outer, worker)) = outer {
            if state.batches.is_given_up(outer, now) {
                batch.end(EndReason::Outer);
            } else if let Some(outer_batch) = state.batches.get(outer) {
                batch.begin_within(outer, outer_batch, worker);
            }
        }
        Some(state.batches.add(batch))
    }

    /// Looks at one batch, or takes its outcomes; None if it has been removed.
    ///
    /// `look` runs under the lock. It is `Send`, so that it holds nothing that belongs to one thread,
    /// such as the interpreter.
    pub fn with<T>(&self, id: BatchId, look: impl FnOnce(&mut Batch<W>) -> T + Send) -> Option<T> {
        // None of that changes what may start.
        Locked::new(&self.state).batches.get_mut(id).map(look)
    }

    /// The same with something lent to `look` that is not `Send`, and harmless.
    pub fn with_lent<L: LockSafe, T>(
        &self,
        id: BatchId,
        lent: L,
        look: impl FnOnce(&mut Batch<W>, L) -> T + Send,
    ) -> Option<T> {
        let mut state = Locked::new(&self.state);
        state.batches.get_mut(id).map(|batch| look(batch, lent))
    }

    /// What the owner of a batch is to do next. `nested` owners are workers themselves, and start
    /// operations of it meanwhile.
    pub fn step(&self, id: BatchId, nested: bool, now: Time) -> Step {
        let mut state = self.state();
        let opens = state.recovery.opens();
        if now < opens {
            state.end_if_hopeless(id, now);
        }
        let Some(batch) = state.batches.get_mut(id) else {
            return Step::Settled;
        };
        batch.owner.set_waiting(false);
        if now >= batch.deadline() && !batch.ready() {
            batch.expire();
        }
        if batch.ready() {
            return Step::HandOver;
        }
        if batch.ended().is_some() {
            state.reschedule(now);
            return Step::Settled;
        }
        let room = batch.room();
        if room > 0 {
            return Step::Feed(room);
        }
        if batch.settled() {
            return Step::Settled;
        }
        batch.owner.rest(nested);
        Step::Rest(batch.deadline())
    }

    /// Ends a batch: nothing more of it starts.
    pub fn end(&self, id: BatchId, end: EndReason, now: Time) {
        let mut state = self.state();
        if let Some(batch) = state.batches.get_mut(id) {
            batch.end(end);
            let told = batch.tell_owner();
            state.idle.wake([told]);
            state.reschedule(now);
        }
    }

    /// Whether something of the batch still runs; if so its owner will be signalled.
    pub fn runs(&self, id: BatchId) -> bool {
        let mut state = self.state();
        state.batches.get_mut(id).is_some_and(Batch::await_idle)
    }

    /// Whether an outcome may become ready that is not yet, and until when; if so its owner will be
    /// signalled.
    pub fn expects(&self, id: BatchId) -> Option<Time> {
        let mut state = self.state();
        let batch = state.batches.get_mut(id)?;
        batch.await_outcome().then_some(batch.deadline())
    }

    /// Takes a batch out. Nobody will ask what becomes of what it still runs.
    pub fn remove(&self, id: BatchId, now: Time) -> Option<Batch<W>> {
        let (batch, _) = self.state().take_out(id, false, now)?;
        Some(batch)
    }

    /// The owner has gone, and nobody will take the outcomes; what was read still runs. Returns what
    /// is to be dropped: the records so far, or the batch if all of it has run.
    pub fn orphan(&self, id: BatchId, now: Time) -> Orphaned<W> {
        let mut state = self.state();
        let Some(batch) = state.batches.get_mut(id) else {
            return (None, None);
        };
        if !batch.orphan() {
            return (
                None,
                state.batches.take_out(id, false).map(|(batch, _)| batch),
            );
        }
        let records = batch.take_left();
        // What its deadline held back may start.
        state.reschedule(now);
        (Some(records), None)
    }

    /// Takes an operation out of the queue, or out of the waiting retries; None if it has started.
    pub fn withdraw(&self, id: BatchId, index: usize) -> Option<W::Job> {
        let mut state = self.state();
        let job = state.batches.get_mut(id)?.withdraw(index);
        if job.is_some() {
            let now = state.latest;
            state.reschedule(now);
            state.wake_joiners_if_drained();
        }
        job
    }

    /// Takes everything of a batch that has not started.
    pub fn withdraw_all(&self, id: BatchId) -> Vec<(usize, W::Job)> {
        let mut state = self.state();
        let jobs = state
            .batches
            .get_mut(id)
            .map(Batch::withdraw_all)
            .unwrap_or_default();
        state.wake_joiners_if_drained();
        jobs
    }

    /// Takes a batch out for its report. What it still runs goes on, and what becomes of that is
    /// kept as long as somebody holds the stragglers.
    pub fn take_out(&self, id: BatchId, now: Time) -> Option<TakenOut<W>> {
        self.state().take_out(id, true, now)
    }

    /// Whether a batch is `outer`, or was begun by an operation of it, or of one that was.
    pub fn is_within(&self, batch: BatchId, outer: BatchId) -> bool {
        self.state().batches.is_within(batch, outer)
    }

    /// How many operations run, and how many more are to start that have not.
    pub fn unfinished(&self) -> (usize, usize) {
        self.state().batches.unfinished()
    }
}
