//! Which operation of a source starts next, and what is booked when it does.

use super::permits::Granted;
use super::retries::Retry;
use super::{Running, Source};
use crate::engine::terms::{Acquirer, Work};
use crate::engine::time::Time;

impl<W: Work> Source<W> {
    /// Starts the next operation.
    #[inline(always)]
    pub(in crate::engine) fn start(
        &mut self,
        seat: u64,
        now: Time,
        permit_wait: u64,
    ) -> Option<(Running, W::Job)> {
        let next = if let Some(granted) = self.granted.pop_front() {
            granted
        } else {
            let next = self.next(now, permit_wait)?;
            self.use_spare_permit();
            next
        };
        Some(self.enter(next, seat, now))
    }

    /// Takes the next operation: first attempts and due retries in turn.
    #[inline(always)]
    pub(super) fn next(&mut self, now: Time, permit_wait: u64) -> Option<Granted<W::Job>> {
        let retry = self.retry_due(now) && (self.retry_is_next || self.live == 0);
        self.retry_is_next = !retry;
        if retry {
            let Retry {
                index,
                attempts,
                waited,
                job,
            } = self.retries.pop()?;
            return Some(Granted {
                index,
                attempts,
                waited,
                permit_wait,
                refused: false,
                job,
            });
        }
        let (index, job) = self.pop()?;
        Some(Granted::first(index, permit_wait, job))
    }

    /// Takes the operation at `index`, if it still waits for its first attempt.
    pub(in crate::engine) fn start_exactly(
        &mut self,
        index: usize,
        seat: u64,
        now: Time,
        permit_wait: u64,
    ) -> Option<(Running, W::Job)> {
        let next = if let Some(place) = self.granted_first(index) {
            self.granted.remove(place)?
        } else {
            let job = self.withdraw_queued(index)?;
            self.use_spare_permit();
            Granted::first(index, permit_wait, job)
        };
        Some(self.enter(next, seat, now))
    }

    #[inline(always)]
    fn enter(&mut self, next: Granted<W::Job>, seat: u64, started: Time) -> (Running, W::Job) {
        let Granted {
            index,
            attempts,
            waited: waited_before,
            permit_wait,
            refused,
            job,
        } = next;
        let running = Running {
            index,
            seat,
            attempt: attempts + u32::from(!refused),
            refused,
            started,
            permit_wait,
            waited_before,
        };
        self.running.push(running);
        if !refused {
            // Other permits are counted when they are granted.
            self.ledger.totals.permits += usize::from(self.terms.acquirer == Acquirer::Worker);
            self.ledger.totals.count_start(attempts > 0, permit_wait);
            self.waiting_since = None;
        }
        (running, job)
    }

    /// Takes the next operation as one that was refused its permit.
    pub(in crate::engine) fn refuse(&mut self, now: Time) -> Option<(Running, W::Job)> {
        let mut next = self.next(now, 0)?;
        next.refused = true;
        Some(self.enter(next, Running::NOBODY, now))
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<(usize, W::Job)> {
        loop {
            let entry = self.queue.pop_front()?;
            let index = self.head;
            self.head += 1;
            if let Some(job) = entry {
                self.live -= 1;
                return Some((index, job));
            }
        }
    }
}
