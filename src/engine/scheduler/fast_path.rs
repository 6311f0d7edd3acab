//! Short operations: one worker is left alone with them, and goes from one to the next the short way.
//!
//! Where threads share an interpreter that one of them has at a time, a worker keeps it from one
//! short operation to the next. A worker that is woken meanwhile only queues for it, which costs more
//! than many such operations. So the others sleep on, and the leader is a *monitor*, without the
//! interpreter: it looks every millisecond whether anything has started since, and goes to work
//! itself as soon as the operation under way has turned out not to be short.
//!
//! Nearly all that a claim looks at is then as it was at the claim before, as long as no other thread
//! has taken the lock in between. So it is looked at once, and after that each operation is booked and
//! the next one taken, without more.

use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use super::claim::{Claim, Worker};
use super::idle::Duty;
use super::state::{Locked, State};
use crate::engine::batch::Batch;
use crate::engine::model::{BatchId, Work};
use crate::engine::time::Time;

/// How often the monitor looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What is known of short operations.
#[derive(Debug, Default)]
pub(super) struct FastPath {
    /// Operations do not run side by side, but where they wait for something.
    one_at_a_time: bool,
    last_start: Time,
    last_look: Time,
    /// The worker that may repeat its last claim; None as soon as the lock is taken for anything else.
    repeater: Option<u64>,
}

impl FastPath {
    /// Something was started, if that is not the latest known.
    #[inline(always)]
    pub(super) const fn note_start(&mut self, now: Time) {
        self.last_start = now;
    }

    /// When something was started last.
    pub(super) const fn last_start(&self) -> Time {
        self.last_start
    }

    /// The lock was taken for something that may change what can start.
    #[inline(always)]
    pub(super) const fn close(&mut self) {
        self.repeater = None;
    }
}

impl<W: Work> Scheduler<W> {
    /// Says whether operations do not run side by side, but where they wait for something: so one
    /// worker is enough for those that are short.
    #[must_use]
    pub fn one_at_a_time(self, one: bool) -> Self {
        self.state().fast.one_at_a_time = one;
        self
    }

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
        if state.fast.repeater != Some(worker.id) {
            return Err(value);
        }
        let Some(lease) = &mut worker.lease else {
            return Err(value);
        };
        let Some(batch) = state.batches.get_mut(lease.batch) else {
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
        state.fast.last_start = now;
        let next = batch.repeat(&mut lease.running, value, now);
        if let Some(limiter) = self.limiter.as_ref().filter(|it| it.recovers()) {
            limiter.ended(started, true, now);
        }
        next
    }

    /// Whether the owner may read `count` operations before it adds them: a monitor is there, and
    /// tells by [`Claim::Collect`] to add them when one is long in coming.
    pub fn begin_reading(&self, id: BatchId, count: usize, now: Time) -> bool {
        let mut state = self.state();
        let Some(batch) = state.batches.get(id) else {
            return false;
        };
        let short = batch.is_short();
        if batch.deserves_monitor(count) {
            state.appoint_monitor();
        }
        let in_one_go = state.idle.is_monitored() && short;
        if let Some(batch) = state.batches.get_mut(id) {
            batch.ahead.begin(in_one_go.then_some(now));
        }
        in_one_go
    }

    /// The owner reads no more before it adds what it has read, which costs little while it waits,
    /// or does not.
    pub fn end_reading(&self, id: BatchId, light: bool) {
        if let Some(batch) = self.state().batches.get_mut(id) {
            batch.ahead.end(light);
        }
    }

    /// A batch whose owner is reading, and what its operations share: to be added by the caller.
    pub fn take_reading(&self) -> Option<(BatchId, Arc<W::Context>)> {
        let mut state = self.state();
        let mut batches = state.batches.with_ids_mut();
        batches.find_map(|(id, batch)| batch.cut_short().then(|| (id, batch.share_context())))
    }

    /// Wakes and tells those who were not, as they would only have queued for the interpreter.
    /// For an owner that has let go of it.
    pub fn catch_up(&self, now: Time) {
        let mut state = self.state();
        state.wake_one(now);
        state.tell_owners();
    }
}

impl<W: Work> State<W> {
    /// Notes whether the worker, which has just claimed, may [`repeat`](Scheduler::repeat) that.
    #[inline(always)]
    pub(super) fn note_repeater(&mut self, worker: &mut Worker) {
        worker.may_repeat =
            self.idle.is_monitored() && !self.recovery.is_active() && self.only_serves(worker);
        if worker.may_repeat {
            self.fast.repeater = Some(worker.id);
        }
    }

    /// Whether there is no other batch to start from than the one that the worker has started from,
    /// and no thread to be told when that has ended.
    fn only_serves(&self, worker: &Worker) -> bool {
        let Some(lease) = &worker.lease else {
            return false;
        };
        let mut batches = self.batches.with_ids();
        worker.only.is_none()
            && !self.asking.is_needed()
            && batches.all(|(id, batch)| {
                if id == lease.batch {
                    batch.is_repeatable()
                } else {
                    batch.quiet()
                }
            })
    }

    /// Whether a worker is at short operations, and there is nothing else to do.
    pub(super) fn one_is_enough(&self, now: Time) -> bool {
        self.fast.one_at_a_time && self.slots.is_one_busy() && self.only_short(now)
    }

    fn only_short(&self, now: Time) -> bool {
        let mut live = self.batches.live();
        live.all(|batch| batch.is_short() || !batch.available(now))
    }

    /// For a worker that could start something: whether it is the monitor, or sleeps on, instead.
    pub(super) fn stand_back(&mut self, worker: &mut Worker, now: Time) -> Option<Claim<W>> {
        if worker.only.is_some() || !self.one_is_enough(now) {
            return None;
        }
        match self.idle.duty() {
            Some(Duty::Monitor) => {
                // Its turn at the limiter may have come: it is not to keep that from others.
                worker.ticket = None;
                Some(self.park(worker))
            }
            Some(_) => None,
            None => {
                worker.ticket = None;
                self.idle.take_lead(worker, Duty::Monitor);
                Some(self.monitor_on(now))
            }
        }
    }

    /// Has one of the workers that sleep be the monitor, where another is left to work.
    fn appoint_monitor(&mut self) {
        if self.fast.one_at_a_time && self.idle.appoint_leader(Duty::Monitor) {
            // As nothing may have started just now, it is not to give up when it looks first.
            self.fast.last_look = Time::default();
        }
    }

    /// For the monitor: whether it goes on with that.
    pub(super) fn keep_monitoring(&mut self, worker: &Worker, now: Time) -> Option<Claim<W>> {
        if self.idle.duty_of(worker) != Some(Duty::Monitor) {
            return None;
        }
        let started = self.fast.last_start > self.fast.last_look;
        if started && self.only_short(now) && !self.reads_long(now) && !self.over() {
            return Some(self.monitor_on(now));
        }
        self.idle.forget_leader();
        if !started && self.slots.is_one_busy() {
            self.batches.live_mut().for_each(Batch::was_not_short);
        }
        None
    }

    fn monitor_on(&mut self, now: Time) -> Claim<W> {
        self.fast.last_look = now;
        Claim::Rest(now + LOOK_EVERY)
    }

    /// Whether an owner has read for long in one go, whatever else has started meanwhile.
    fn reads_long(&self, now: Time) -> bool {
        let began = self
            .batches
            .live()
            .filter_map(|batch| batch.ahead.reading_since());
        began
            .min()
            .is_some_and(|began| now.since(began) >= LOOK_EVERY * 2)
    }

    /// Whether an owner waits for its input, and there is no monitor any more.
    pub(super) fn collect_reading(&self, worker: &Worker) -> Option<Claim<W>> {
        let may = worker.only.is_none() && !self.idle.is_monitored();
        let mut live = self.batches.live();
        (may && live.any(|batch| batch.ahead.reading_since().is_some())).then_some(Claim::Collect)
    }

    /// Tells the owners who wait what they were not told while one worker was left alone.
    pub(super) fn tell_owners(&mut self) {
        let told = self.batches.live_mut();
        self.idle.wake(told.filter_map(Batch::tell_waiting_owner));
    }
}
