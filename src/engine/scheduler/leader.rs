//! Idle workers: the *leader* sleeps until the next event, the others are parked until one wakes them.
use std::sync::Arc;
use std::time::Duration;

use super::claim::{Claim, Worker};
use super::state::State;
use crate::engine::batch::Batch;
use crate::engine::model::Work;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// A wait for the limit that is longer is told when it begins.
pub const LONG_WAIT: Duration = Duration::from_secs(10);

/// What one worker does on behalf of all while it rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It waits for a permit, and looks again at that time.
    Permit(Time),
    /// It waits until a retry is due.
    Retry,
    /// It looks whether another worker, left alone, gets on.
    Watch,
}

#[derive(Debug)]
pub(super) struct Leader {
    pub(super) worker: u64,
    pub(super) signal: Arc<Signal>,
    pub(super) duty: Duty,
}

/// A worker that sleeps until it is woken.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) worker: u64,
    pub(super) signal: Arc<Signal>,
    /// A spare thread that is to look whether it is still needed, when it is told to.
    pub(super) spare: bool,
}

impl<W: Work> State<W> {
    pub(super) fn wait_for_permit(
        &mut self,
        worker: &mut Worker,
        slot: usize,
        until: Time,
        now: Time,
    ) -> Claim<W> {
        let unpaused = self.pauses.unpaused(now);
        worker.waiting_since.get_or_insert(unpaused);
        if let Some((_, batch)) = &mut self.batches[slot] {
            batch.wait_since(unpaused);
        }
        self.tell_long_wait(worker, until, now);
        // What has expired is not to keep a place in the limiter's queue, though its owner may be
        // away and not end it.
        let until = self.next_expiry(now).unwrap_or(until).min(until);
        if worker.only.is_none() {
            if self.another_waits(worker) {
                self.leave_lead(worker, now);
                return self.park(worker);
            }
            self.take_lead(worker, Duty::Permit(until));
        }
        Claim::Rest(until)
    }

    /// Has the worker's thread tell of a wait for the limit that is long, once. What a server has asked
    /// for is told where it is heard.
    fn tell_long_wait(&mut self, worker: &mut Worker, until: Time, now: Time) {
        let known = (self.told_until + LONG_WAIT / 10).max(self.pauses.until());
        if worker.only.is_none() && until > (now + LONG_WAIT).max(known) && until != Time::NEVER {
            self.told_until = until;
            worker.long_wait = Some(until);
        }
    }

    /// How long an operation has waited for its permit that starts now. The worker may have begun to
    /// wait for another batch, when there was not yet this one.
    #[inline(always)]
    pub(super) fn permit_wait(&mut self, worker: &Worker, slot: usize, now: Time) -> u64 {
        let unpaused = self.pauses.unpaused(now);
        let (Some(since), Some((_, batch))) = (worker.waiting_since, &mut self.batches[slot])
        else {
            return 0;
        };
        unpaused.nanos_since(batch.end_wait(since))
    }

    /// Books what batches have waited for in vain, as the worker who did so for them now leaves off.
    fn book_waits(&mut self, now: Time) {
        let unpaused = self.pauses.unpaused(now);
        for (_, batch) in self.batches.iter_mut().flatten() {
            batch.book_wait(unpaused);
        }
    }

    pub(super) fn take_lead(&mut self, worker: &Worker, duty: Duty) {
        self.leader = Some(Leader {
            worker: worker.id,
            signal: Arc::clone(&worker.signal),
            duty,
        });
    }

    pub(super) fn leave_lead(&mut self, worker: &mut Worker, now: Time) {
        worker.ticket = None;
        worker.waiting_since = None;
        if self
            .leader
            .as_ref()
            .is_some_and(|leader| leader.worker == worker.id)
        {
            self.leader = None;
            self.book_waits(now);
        }
    }

    pub(super) fn park(&mut self, worker: &Worker) -> Claim<W> {
        self.parked.push(Parked {
            worker: worker.id,
            signal: Arc::clone(&worker.signal),
            spare: worker.spare,
        });
        Claim::Rest(Time::NEVER)
    }

    pub(super) fn unpark(&mut self, worker: u64) {
        if let Some(place) = self
            .parked
            .iter()
            .rposition(|parked| parked.worker == worker)
        {
            self.parked.remove(place);
        }
    }

    /// Another worker waits for a permit on behalf of all.
    pub(super) fn another_waits(&self, worker: &Worker) -> bool {
        self.leader.as_ref().is_some_and(|leader| {
            matches!(leader.duty, Duty::Permit(_)) && leader.worker != worker.id
        })
    }

    /// When the first of the batches expires that have something to start now, if any has.
    pub(super) fn next_expiry(&self, now: Time) -> Option<Time> {
        let available = self.live().filter(|batch| batch.available(now));
        let expiries = available.map(Batch::expires);
        expiries.min()
    }
}
