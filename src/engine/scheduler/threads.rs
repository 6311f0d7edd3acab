//! When worker threads are started, and when they go.
//!
//! Each worker that waits inside an operation makes room for one more. When it goes on there is a
//! thread too many: a spare one that has nothing to do then stays for a moment, as the next may need
//! it, and goes.

use std::time::Duration;

use super::Scheduler;
use super::claim::{Claim, Worker};
use super::idle::Duty;
use super::state::State;
use crate::engine::model::Work;
use crate::engine::time::Time;

/// How long a spare thread stays that no operation needs.
const LINGER: Duration = Duration::from_millis(100);

impl<W: Work> State<W> {
    /// Whether a further thread would have something to do.
    pub(super) fn wants_thread(&self, now: Time) -> bool {
        if !self.slots.lack_thread() {
            return false;
        }
        let mut live = self.batches.live();
        if self.slots.threads() == 0 {
            // Near the end of the process no thread may be had later, so one is there from the start.
            return live.any(|it| it.startable(now, 1) > 0 || it.ready_for_workers(now) > 0);
        }
        let idle = self.slots.idle_threads();
        let startable: usize = live.map(|it| it.ready_for_workers(now)).sum();
        // Where no worker is idle, none waits until the next retry is due.
        startable > idle || idle == 0 && self.batches.next_retry_due(now).is_some()
    }

    /// A worker thread has left, or was not started after all.
    pub(super) fn release_thread(&mut self) {
        self.slots.remove_thread();
        if self.deserted() {
            self.idle.wake_joiners();
        }
    }

    /// Whether no worker thread is left but one that asks for a permit, which may never be answered.
    pub(super) const fn deserted(&self) -> bool {
        self.slots.threads() <= self.asking.may_never_return() as usize
    }

    /// For a thread that is about to rest: until when, or that it is to go.
    pub(super) fn rest_or_go(&mut self, worker: &mut Worker, until: Time, now: Time) -> Claim<W> {
        let duty = self.idle.duty_of(worker);
        let waits_for_all = duty.is_some_and(|duty| duty != Duty::Retry);
        if !worker.spare || waits_for_all || !self.slots.has_surplus() {
            worker.unneeded_since = None;
            return Claim::Rest(until);
        }
        let leaves = *worker.unneeded_since.get_or_insert(now) + LINGER;
        if now < leaves {
            self.idle.leave_spare_alone(worker);
            return Claim::Rest(until.min(leaves));
        }
        self.idle.unpark(worker);
        self.leave_lead(worker, now);
        self.see_to_retries(now);
        Claim::Exit
    }
}

impl<W: Work> Scheduler<W> {
    /// Whether a further worker thread would have something to do; counts it as started.
    pub fn reserve_thread(&self, now: Time) -> bool {
        let mut state = self.state();
        let wanted = state.wants_thread(now);
        if wanted {
            state.slots.add_thread();
        }
        wanted
    }

    /// Whether a further worker thread would have something to do.
    pub fn wants_thread(&self, now: Time) -> bool {
        self.state().wants_thread(now)
    }

    /// A worker thread could not be started.
    pub fn release_thread(&self) {
        self.state().release_thread();
    }

    /// How many worker threads there are.
    pub fn threads(&self) -> usize {
        self.state().slots.threads()
    }

    /// A worker waits inside an operation, so another may work in its place.
    pub fn block(&self, now: Time) {
        let mut state = self.state();
        state.slots.widen();
        if state.idle.is_monitored() {
            state.idle.relieve_leader();
        }
        state.reschedule(now);
    }

    /// That worker goes on.
    pub fn unblock(&self) {
        let mut state = self.state();
        state.slots.narrow();
        if state.slots.has_surplus() {
            state.idle.wake_spare();
        }
    }
}
