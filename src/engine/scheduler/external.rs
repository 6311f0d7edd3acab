//! Permits of a limiter that is not ours: one worker at a time asks for one, and then starts what is
//! next with it.
//!
//! Asking may take any time, so it is done without the lock: [`Claim::Ask`] has a worker do so, and
//! [`grant`](Scheduler::grant), [`refuse`](Scheduler::refuse) or [`fail`](Scheduler::fail) tells the
//! answer. Nothing else starts meanwhile, as all permits come from there. A permit is used by the
//! next start, whichever worker's; one that comes when nothing is left to start is lost.

use std::sync::Arc;

use super::Scheduler;
use super::asking::{Asking, Stage};
use super::claim::{Ask, Claim, Lease, Start, Worker};
use super::state::State;
use crate::engine::batch::Batch;
use crate::engine::model::{BatchId, EndReason, Work};
use crate::engine::time::Time;

impl<W: Work> Scheduler<W> {
    /// Says whether workers are to [ask](Claim::Ask) for their permits, of a limiter that is not ours.
    #[must_use]
    pub fn asking(self, asks: bool) -> Self {
        self.state().asking = Asking::new(asks);
        self
    }

    /// The permit was granted that a worker was to [ask](Claim::Ask) for. It is to claim next.
    pub fn grant(&self) {
        self.state().asking.grant();
    }

    /// Whether a worker asks, and not inside an operation: it may never be answered.
    pub fn is_asking(&self) -> bool {
        self.state().asking.may_never_return()
    }

    /// The permit was refused. Takes the next operation of the batch as one that is not called: it
    /// is booked by [`book`](Self::book).
    pub fn refuse(&self, id: BatchId, now: Time) -> Option<(Lease, Start<W>)> {
        let mut state = self.state();
        let refused = state.batches.get_mut(id).and_then(|batch| {
            let (running, job) = batch.refuse(now)?;
            let context = Some(batch.share_context());
            Some((Lease::new(id, running, true), Start { context, job }))
        });
        state.stop_asking(id, now);
        refused
    }

    /// The limiter has failed: what it was asked for ends.
    pub fn fail(&self, id: BatchId, now: Time) {
        let mut state = self.state();
        if let Some(batch) = state.batches.get_mut(id) {
            batch.end(EndReason::Limiter);
            let told = batch.tell_owner();
            state.idle.wake([told]);
        }
        state.stop_asking(id, now);
    }
}

impl<W: Work> State<W> {
    /// For a worker that could start something of that batch: what it does instead, until there is a
    /// permit.
    #[inline(always)]
    pub(super) fn ask_or_wait(
        &mut self,
        worker: &mut Worker,
        id: BatchId,
        now: Time,
        attached: bool,
    ) -> Option<Claim<W>> {
        match self.asking.stage()? {
            Stage::Granted => None,
            Stage::Nobody if !attached => None,
            Stage::Nobody if self.hands_over_first(worker) => {
                self.leave_lead(worker, now);
                self.wake_one(now);
                Some(Claim::Rest(now))
            }
            Stage::Nobody => self.ask(worker, id, now),
            Stage::Worker { .. } => {
                self.leave_lead(worker, now);
                if worker.only.is_none() {
                    return Some(self.park(worker));
                }
                self.asking.await_answer(Arc::clone(&worker.signal));
                Some(Claim::Rest(Time::NEVER))
            }
        }
    }

    /// Whether the worker is the owner of a stream and has an outcome to hand over. That is not to wait
    /// for the answer.
    fn hands_over_first(&self, worker: &Worker) -> bool {
        match worker.only {
            Some((id, None)) => self.batches.get(id).is_some_and(Batch::ready),
            _ => false,
        }
    }

    fn ask(&mut self, worker: &mut Worker, id: BatchId, now: Time) -> Option<Claim<W>> {
        self.leave_lead(worker, now);
        let nested = worker.only.is_some();
        let unpaused = self.pauses.unpaused(now);
        let batch = self.batches.get_mut(id)?;
        self.asking.begin(nested);
        worker.waiting_since = Some(unpaused);
        batch.wait_anew(unpaused);
        Some(Claim::Ask(Ask {
            batch: id,
            context: batch.share_context(),
            nested,
        }))
    }

    /// Nothing is left to start with a permit that was granted, or it was used.
    #[inline(always)]
    pub(super) fn spend_permit(&mut self) {
        if self.asking.is_granted() {
            self.idle.wake(self.asking.end());
        }
    }

    fn stop_asking(&mut self, id: BatchId, now: Time) {
        let unpaused = self.pauses.unpaused(now);
        if let Some(batch) = self.batches.get_mut(id) {
            batch.book_wait(unpaused);
        }
        self.idle.wake(self.asking.end());
        self.reschedule(now);
    }
}
