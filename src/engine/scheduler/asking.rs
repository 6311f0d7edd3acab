//! Permits of a limiter that is not ours: one worker at a time asks for one, and then starts what is
//! next with it.
//!
//! Asking may take any time, so it is done without the lock: [`Claim::Ask`] has a worker do so, and
//! [`grant`](Scheduler::grant), [`refuse`](Scheduler::refuse) or [`fail`](Scheduler::fail) tells the
//! answer. Nothing else starts meanwhile, as all permits come from there. A permit is used by the
//! next start, whichever worker's; one that comes when nothing is left to start is lost.
use std::sync::Arc;

use super::Scheduler;
use super::claim::{Ask, Claim, Lease, Start, Worker};
use super::state::State;
use crate::engine::model::{BatchId, EndReason, Work};
use crate::engine::time::Time;

/// How far asking for the next permit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Permits come from a limiter of ours, or none are needed.
    Never,
    /// Nobody asks.
    Nobody,
    /// A worker does: between two operations, or `nested` inside one.
    Worker { nested: bool },
    /// A permit was granted, which the next start uses.
    Granted,
}

impl<W: Work> Scheduler<W> {
    /// The permit was granted that a worker was to [ask](Claim::Ask) for. It is to claim next.
    pub fn grant(&self) {
        self.state().asking = Asking::Granted;
    }

    /// Whether a worker asks, and not inside an operation: it may never be answered.
    pub fn is_asking(&self) -> bool {
        self.state().asking == Asking::Worker { nested: false }
    }

    /// The permit was refused. Takes the next operation of the batch as one that is not called: it
    /// is booked by [`book`](Self::book).
    pub fn refuse(&self, id: BatchId, now: Time) -> Option<(Lease, Start<W>)> {
        let mut state = self.state();
        let refused = state.batch(id).and_then(|batch| {
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
        if let Some(batch) = state.batch(id) {
            batch.end(EndReason::Limiter);
            let told = batch.tell_owner();
            state.notices.add(told);
        }
        state.stop_asking(id, now);
    }
}

impl<W: Work> State<W> {
    /// For a worker that could start something of the batch in that slot: what it does instead,
    /// until there is a permit.
    pub(super) fn ask_or_wait(
        &mut self,
        worker: &mut Worker,
        slot: usize,
        now: Time,
        attached: bool,
    ) -> Option<Claim<W>> {
        let asking = self.asking;
        match asking {
            Asking::Never | Asking::Granted => None,
            Asking::Worker { .. } => {
                self.leave_lead(worker, now);
                if worker.only.is_none() {
                    return Some(self.park(worker));
                }
                self.await_answer.push(Arc::clone(&worker.signal));
                Some(Claim::Rest(Time::NEVER))
            }
            Asking::Nobody if !attached => None,
            Asking::Nobody if self.hands_over_first(worker) => {
                self.leave_lead(worker, now);
                self.wake_one(now);
                Some(Claim::Rest(now))
            }
            Asking::Nobody => {
                self.leave_lead(worker, now);
                let nested = worker.only.is_some();
                let unpaused = self.pauses.unpaused(now);
                let (serial, batch) = self.batches[slot].as_mut()?;
                self.asking = Asking::Worker { nested };
                worker.waiting_since = Some(unpaused);
                batch.wait_anew(unpaused);
                Some(Claim::Ask(Ask {
                    batch: BatchId {
                        slot,
                        serial: *serial,
                    },
                    context: batch.share_context(),
                    nested,
                }))
            }
        }
    }

    /// Whether the worker is the owner of a stream and has an outcome to hand over. That is not to wait
    /// for the answer.
    fn hands_over_first(&mut self, worker: &Worker) -> bool {
        match worker.only {
            Some((id, None)) => self.batch(id).is_some_and(|batch| batch.ready()),
            _ => false,
        }
    }

    /// Nothing is left to start with a permit that was granted, or it was used.
    #[inline(always)]
    pub(super) fn spend_permit(&mut self) {
        if self.asking == Asking::Granted {
            self.asking = Asking::Nobody;
            self.notices.extend(self.await_answer.drain(..));
        }
    }

    fn stop_asking(&mut self, id: BatchId, now: Time) {
        let unpaused = self.pauses.unpaused(now);
        if let Some(batch) = self.batch(id) {
            batch.book_wait(unpaused);
        }
        self.asking = Asking::Nobody;
        self.notices.extend(self.await_answer.drain(..));
        self.reschedule(now);
    }

    /// Whether a worker asks for a permit, so that nothing can start before its answer.
    #[inline(always)]
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.asking, Asking::Worker { .. })
    }

    /// Whether no worker thread is left but one that asks, which may never be answered.
    pub(super) fn deserted(&self) -> bool {
        let asks = self.asking == Asking::Worker { nested: false };
        self.threads <= usize::from(asks)
    }
}
