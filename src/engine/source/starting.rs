//! Which operation of a source starts next, and what is booked when it does.

use super::retries::Retry;
use super::{Running, Source};
use crate::engine::terms::Work;
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
        let next = self.next(now)?;
        let running = running(&next, seat, now, permit_wait);
        Some(self.enter(running, next.job))
    }

    /// Takes the next operation: first attempts and due retries in turn.
    #[inline(always)]
    fn next(&mut self, now: Time) -> Option<Retry<W::Job>> {
        let retry = self.is_retry_next(now);
        self.retry_is_next = !retry;
        if retry {
            return self.retries.pop();
        }
        let (index, job) = self.pop()?;
        Some(Retry::first(index, job))
    }

    /// Takes the operation at `index`, if it still waits for its first attempt.
    pub(in crate::engine) fn start_exactly(
        &mut self,
        index: usize,
        seat: u64,
        now: Time,
        permit_wait: u64,
    ) -> Option<(Running, W::Job)> {
        let next = Retry::first(index, self.withdraw(index)?);
        let running = running(&next, seat, now, permit_wait);
        Some(self.enter(running, next.job))
    }

    #[inline(always)]
    fn enter(&mut self, running: Running, job: W::Job) -> (Running, W::Job) {
        self.running.push(running);
        let totals = &mut self.ledger.totals;
        totals.permits += 1;
        totals.count_start(running.attempt > 1, running.permit_wait);
        self.waiting_since = None;
        (running, job)
    }

    /// Takes the next operation as one that was refused its permit.
    pub(in crate::engine) fn refuse(&mut self, now: Time) -> Option<(Running, W::Job)> {
        let next = self.next(now)?;
        let running = Running {
            attempt: next.attempts,
            refused: true,
            ..running(&next, Running::NOBODY, now, 0)
        };
        self.running.push(running);
        Some((running, next.job))
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

#[inline(always)]
fn running<J>(next: &Retry<J>, seat: u64, started: Time, permit_wait: u64) -> Running {
    Running {
        index: next.index,
        seat,
        attempt: next.attempts + 1,
        refused: false,
        started,
        permit_wait,
        waited_before: next.waited,
    }
}
