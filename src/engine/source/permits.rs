//! What could start, and the permits that were asked for or granted before a worker was there.

use std::sync::Arc;

use super::{Running, Source};
use crate::engine::signal::Signal;
use crate::engine::terms::{Acquirer, End, Work};
use crate::engine::time::Time;

/// An operation that has its permit, or was refused one, and no worker yet.
#[derive(Debug)]
pub(super) struct Granted<J> {
    pub(super) index: usize,
    pub(super) attempts: u32,
    pub(super) waited: u64,
    pub(super) permit_wait: u64,
    /// It is not to be called: a worker only tells that it was refused.
    pub(super) refused: bool,
    pub(super) job: J,
}

impl<J> Granted<J> {
    pub(super) const fn first(index: usize, permit_wait: u64, job: J) -> Self {
        Self {
            index,
            attempts: 0,
            waited: 0,
            permit_wait,
            refused: false,
            job,
        }
    }
}

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
        let with_permits = if self.uses_its_permits() {
            self.granted.len()
        } else {
            0
        };
        match self.ended {
            None => with_permits + self.live + self.retries.len() + self.held.len(),
            Some(_) => with_permits,
        }
    }

    /// How many of its operations run, or will.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.running.len() + self.to_start()
    }

    /// Whether a worker could start something now.
    pub(in crate::engine) fn available(&self, now: Time) -> bool {
        if !self.granted.is_empty() && self.uses_its_permits() {
            return self.ended.is_some() || now < self.terms.deadline;
        }
        self.ended.is_none()
            && now < self.terms.deadline
            && (self.terms.acquirer == Acquirer::Worker || self.spare_permits > 0)
            && (self.live > 0 || self.retry_due(now))
    }

    /// Whether a worker could start the operation at `index` now, and for the first time.
    pub(in crate::engine) fn available_first(&self, index: usize, now: Time) -> bool {
        self.ended.is_none()
            && now < self.terms.deadline
            && (self.granted_first(index).is_some()
                || self.queued(index)
                    && (self.terms.acquirer == Acquirer::Worker || self.spare_permits > 0))
    }

    /// Whether operations that have their permit still start: what waits for running operations
    /// waits for these as well.
    pub(in crate::engine) fn uses_its_permits(&self) -> bool {
        matches!(
            self.ended,
            None | Some(End::Operation | End::MaxFailures | End::Limiter | End::Failed)
        )
    }

    /// Permits that were granted or asked for, and are not used yet.
    pub(in crate::engine) fn reserved(&self, now: Time) -> usize {
        if !self.uses_its_permits() {
            return 0;
        }
        // Whoever asked has told so by ending the source.
        let given_up = matches!(self.ended, Some(End::Limiter | End::Failed));
        let asking = if given_up { 0 } else { self.asking };
        asking + self.granted.len() + self.startable(now, self.spare_permits)
    }

    /// Operations that a further worker could start.
    pub(in crate::engine) fn ready_for_workers(&self, now: Time) -> usize {
        match self.terms.acquirer {
            Acquirer::Worker if self.startable(now, 1) == 0 => 0,
            Acquirer::Worker => self.live + self.retries.len(),
            Acquirer::Owner | Acquirer::Dispatcher if !self.uses_its_permits() => 0,
            Acquirer::Owner | Acquirer::Dispatcher => {
                self.granted.len() + self.startable(now, self.spare_permits)
            }
        }
    }

    /// Whether its owner, or the dispatcher, is to ask for one more permit.
    pub(in crate::engine) fn wants_permit(&self, now: Time) -> bool {
        self.asking == 0 && self.startable(now, self.spare_permits + 1) > self.spare_permits
    }

    /// Its owner, or the dispatcher, asks for one more permit.
    pub(in crate::engine) fn ask(&mut self, unpaused: Time) {
        self.asking += 1;
        self.asking_since = unpaused;
    }

    /// A permit was granted: it is for the next operation, whichever worker will start it.
    pub(in crate::engine) fn grant(&mut self, now: Time, unpaused: Time) {
        self.ledger.totals.permits += 1;
        match self.next(now, unpaused.nanos_since(self.asking_since)) {
            Some(granted) => self.granted.push_back(granted),
            None => self.spare_permits += 1,
        }
    }

    /// The dispatcher, or the owner, has its answer; gives those who are to be told of it.
    #[must_use]
    pub(in crate::engine) fn asked(&mut self) -> Vec<Arc<Signal>> {
        self.asking = self.asking.saturating_sub(1);
        std::mem::take(&mut self.awaiting)
    }

    /// Books how long a worker has waited for a permit that no operation starts with.
    pub(in crate::engine) fn book_wait(&mut self, unpaused: Time) {
        if let Some(since) = self.waiting_since.take() {
            self.ledger.totals.permit_wait += unpaused.nanos_since(since);
        }
    }

    /// The same of those who ask for permits elsewhere.
    pub(super) fn book_asking(&mut self, unpaused: Time) {
        let granted = self.granted.iter().map(|granted| granted.permit_wait);
        let mut waited: u64 = granted.sum();
        if self.asking > 0 {
            waited += unpaused.nanos_since(self.asking_since);
        }
        self.ledger.totals.permit_wait += waited;
    }

    /// Takes the operation at `index` out of the queue for somebody who waits for it, and asks for
    /// its permit. Where one is asked for already that it will get, `waiting` is told of the answer
    /// instead.
    pub(in crate::engine) fn hold(
        &mut self,
        index: usize,
        waiting: &Arc<Signal>,
        now: Time,
    ) -> bool {
        if self.ended.is_some() || !self.queued(index) {
            return false;
        }
        if self.startable(now, self.asking + 1) <= self.asking {
            let told = |other| Arc::ptr_eq(other, waiting);
            if !self.awaiting.iter().any(told) {
                self.awaiting.push(Arc::clone(waiting));
            }
            return false;
        }
        let job = self.withdraw_queued(index);
        self.held.extend(job.map(|job| (index, job)));
        true
    }

    pub(super) fn withdraw_held(&mut self, index: usize) -> Option<W::Job> {
        let place = self.held.iter().position(|(held, _)| *held == index)?;
        Some(self.held.swap_remove(place).1)
    }

    /// A permit was granted for an operation that is held. If that was taken back meanwhile, the
    /// next one uses the permit.
    pub(in crate::engine) fn grant_held(&mut self, index: usize) {
        self.ledger.totals.permits += 1;
        match self.withdraw_held(index) {
            Some(job) => self.granted.push_back(Granted::first(index, 0, job)),
            None => self.spare_permits += 1,
        }
    }

    /// Leaves it to a worker to tell that an operation was refused its permit.
    pub(in crate::engine) fn leave_refusal(&mut self, running: &Running, job: W::Job) {
        self.leave(running.index);
        self.granted.push_back(Granted {
            index: running.index,
            attempts: running.attempt,
            waited: running.waited_before,
            permit_wait: 0,
            refused: true,
            job,
        });
    }

    /// An operation starts that was not granted a permit by itself.
    pub(super) fn use_spare_permit(&mut self) {
        self.spare_permits = self.spare_permits.saturating_sub(1);
    }

    /// Whether its owner has been granted a permit that is not used yet.
    pub(in crate::engine) fn has_permit(&self) -> bool {
        !self.granted.is_empty() || self.spare_permits > 0
    }
}
