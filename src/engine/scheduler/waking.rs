//! When which worker is woken, and the check that none sleeps beside what it could start.
//!
//! Why this is enough is in the engine's README.

use super::idle::Duty;
use super::state::State;
use crate::engine::batch::Batch;
use crate::engine::model::Work;
use crate::engine::time::Time;

impl<W: Work> State<W> {
    /// Wakes one worker if there is something for it to do. At most one is on its way at a time:
    /// each wakes the next when it starts, so those that would only queue for the interpreter sleep
    /// on.
    pub(super) fn wake_one(&mut self, now: Time) {
        #[cfg(debug_assertions)]
        self.idle.note_look(now);
        if self.idle.is_one_waking() || self.asking.is_under_way() {
            return;
        }
        match self.idle.duty() {
            Some(Duty::Permit(_)) => return,
            Some(Duty::Monitor) if self.one_is_enough(now) => return,
            _ => {}
        }
        if !self.idle.is_one_asleep() || !self.slots.is_one_free() || !self.can_start(now) {
            return;
        }
        if !self.idle.wake_parked() {
            if self.idle.is_monitored() {
                self.idle.relieve_leader();
            } else {
                self.idle.wake_leader();
            }
        }
    }

    /// Something has changed: whom it may concern looks again.
    pub(super) fn reschedule(&mut self, now: Time) {
        self.wake_one(now);
        match self.idle.duty() {
            // The leader looks again when what it waits for is gone, or expires earlier than it looks
            // by itself, or a retry is due earlier.
            Some(Duty::Permit(until)) => {
                if self.next_expiry(now).is_none_or(|at| at < until) {
                    self.idle.wake_leader();
                }
            }
            Some(Duty::Retry) => self.idle.wake_leader(),
            Some(Duty::Monitor) => {}
            None => self.see_to_retries(now),
        }
        self.latest = self.latest.max(now);
        if self.idle.has_joiners() {
            self.wake_joiners_if_drained();
        }
    }

    /// Where no worker leads, one is to wait for the next retry.
    pub(super) fn see_to_retries(&mut self, now: Time) {
        if !self.idle.is_one_waking() && self.batches.next_retry_due(now).is_some() {
            self.idle.nudge_parked();
        }
    }

    /// Wakes those who wait for everything to end, if it has.
    pub(super) fn wake_joiners_if_drained(&mut self) {
        if self.batches.drained() {
            self.idle.wake_joiners();
            if self.over() {
                self.idle.wake_all();
            }
        }
    }

    /// When the first of the batches expires that have something to start now, if any has.
    pub(super) fn next_expiry(&self, now: Time) -> Option<Time> {
        let available = self.batches.live().filter(|batch| batch.available(now));
        available.map(Batch::expires).min()
    }
}

#[cfg(debug_assertions)]
impl<W: Work> State<W> {
    /// Panics if workers sleep through something that can start, as the lock is released: if an
    /// operation can start and a slot is free, a worker is awake or has been notified, or the leader
    /// wakes in time.
    pub(super) fn check_wakeups(&self) {
        let Some(now) = self.idle.looked_beside_parked() else {
            return;
        };
        let one_free = self.slots.is_one_free() && !self.asking.is_under_way();
        let opens = now >= self.recovery.opens();
        assert!(
            std::thread::panicking()
                || self.idle.is_one_coming()
                || !(one_free && opens && self.can_start(now)),
            "workers sleep beside what can start: {:?}, {:?}",
            self.idle,
            self.slots,
        );
    }
}
