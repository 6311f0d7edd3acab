//! Threads beyond the executor's workers, in the place of workers that wait inside an operation.
//!
//! Each worker that waits makes room for one more. When it goes on there is a thread too many: a
//! spare one that has nothing to do then stays for a moment, as the next may need it, and goes.
use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use super::claim::{Claim, Worker};
use super::leader::Duty;
use super::state::State;
use crate::engine::model::Work;
use crate::engine::time::Time;

/// How long a spare thread stays that nobody needs.
const LINGER: Duration = Duration::from_millis(100);

impl<W: Work> Scheduler<W> {
    /// A worker for a thread that may go before the executor ends.
    #[must_use]
    pub fn spare_worker(&self) -> Worker {
        let mut worker = self.make_worker(Arc::default(), None);
        worker.spare = true;
        worker
    }

    /// A worker waits inside an operation, so another may work in its place.
    pub fn block(&self, now: Time) {
        let mut state = self.state();
        state.capacity += 1;
        state.end_watch();
        state.reschedule(now);
    }

    /// That worker goes on.
    pub fn unblock(&self) {
        let mut state = self.state();
        state.capacity -= 1;
        state.release_spare();
    }
}

impl<W: Work> State<W> {
    fn has_surplus(&self) -> bool {
        self.threads > self.capacity
    }

    /// Has a spare thread that sleeps look whether it is still needed. Each is told once.
    fn release_spare(&mut self) {
        if !self.has_surplus() {
            return;
        }
        if let Some(parked) = self.parked.iter_mut().find(|parked| parked.spare) {
            parked.spare = false;
            self.notices.add(Arc::clone(&parked.signal));
        } else if let Some(leader) = self.leader.as_ref().filter(|it| it.duty == Duty::Retry) {
            self.notices.add(Arc::clone(&leader.signal));
        }
    }

    /// For a thread that is about to rest: until when, or that it is to go.
    pub(super) fn rest_or_go(&mut self, worker: &mut Worker, until: Time, now: Time) -> Claim<W> {
        let leader = self
            .leader
            .as_ref()
            .filter(|leader| leader.worker == worker.id);
        let waits_for_all = leader.is_some_and(|leader| leader.duty != Duty::Retry);
        if !worker.spare || waits_for_all || !self.has_surplus() {
            worker.unneeded_since = None;
            return Claim::Rest(until);
        }
        let leaves = *worker.unneeded_since.get_or_insert(now) + LINGER;
        if now < leaves {
            if let Some(parked) = self.parked.iter_mut().find(|it| it.worker == worker.id) {
                parked.spare = false;
            }
            return Claim::Rest(until.min(leaves));
        }
        self.unpark(worker.id);
        self.leave_lead(worker, now);
        self.see_to_retries(now);
        Claim::Exit
    }
}
