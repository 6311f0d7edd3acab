//! The usual case, made short: a worker that is left alone with short operations of one batch has
//! ended one and starts the next.
//!
//! Nearly all that a claim looks at is then as it was at the claim before, as long as nobody has
//! taken the lock in between. So it is looked at once, and after that each operation is booked and
//! the next one taken, without more.
use super::Scheduler;
use super::asking::Asking;
use super::claim::Worker;
use super::locked::Locked;
use super::state::State;
use crate::engine::model::Work;
use crate::engine::time::Time;

impl<W: Work> Scheduler<W> {
    /// Books what the operation that was claimed last has returned, and starts the next one of its
    /// batch, if there is nothing else to see to. Otherwise it gives the value back, for
    /// [`claim`](Self::claim).
    ///
    /// The permit is stamped here, so call it immediately before the operation.
    #[inline(always)]
    pub fn repeat(
        &self,
        worker: &mut Worker,
        value: W::Value,
        now: Time,
    ) -> Result<W::Job, W::Value> {
        if !worker.may_repeat {
            return Err(value);
        }
        let mut state = Locked::new(&self.state);
        let state = &mut *state;
        if state.repeater != Some(worker.id) {
            return Err(value);
        }
        let Some(lease) = &mut worker.lease else {
            return Err(value);
        };
        let Some(Some((_, batch))) = state.batches.get_mut(lease.batch.slot) else {
            return Err(value);
        };
        if !batch.can_repeat(&lease.running, now) {
            return Err(value);
        }
        let started = lease.running.started;
        if let Some(limiter) = &self.limiter {
            let ended = limiter.learns().then(|| lease.end(now, true)).flatten();
            if !limiter.try_start(1, ended.as_ref(), now) {
                return Err(value);
            }
        }
        lease.goes_on();
        state.watch.last_start = now;
        let next = batch.repeat(&mut lease.running, value, now);
        if let Some(limiter) = self.limiter.as_ref().filter(|it| it.recovers()) {
            limiter.ended(started, true, now);
        }
        next
    }
}

impl<W: Work> State<W> {
    /// Notes whether the worker, which has just claimed, may [`repeat`](Scheduler::repeat) that.
    #[inline(always)]
    pub(super) fn note_repeater(&mut self, worker: &mut Worker) {
        worker.may_repeat =
            self.watched() && !self.recovery.is_active() && self.only_serves(worker);
        if worker.may_repeat {
            self.repeater = Some(worker.id);
        }
    }

    /// Whether there is no other batch to start from than the one that the worker has started from,
    /// and nobody to be told when that has ended.
    fn only_serves(&self, worker: &Worker) -> bool {
        let Some(lease) = &worker.lease else {
            return false;
        };
        let mut batches = self.batches.iter().enumerate();
        worker.only.is_none()
            && self.asking == Asking::Never
            && batches.all(|(slot, entry)| match entry {
                Some((_, batch)) if slot == lease.batch.slot => batch.is_repeatable(),
                Some((_, other)) => other.quiet(),
                None => true,
            })
    }
}
