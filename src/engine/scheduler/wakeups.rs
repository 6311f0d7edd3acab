//! Who is woken or told when something has changed.

#[cfg(debug_assertions)]
use std::collections::HashSet;
use std::sync::Arc;

#[cfg(debug_assertions)]
use super::claim::Worker;
use super::leader::Duty;
use super::state::State;
use crate::engine::batch::Batch;
use crate::engine::model::Work;
use crate::engine::time::Time;

/// What the check of wake-ups knows beside the state.
#[cfg(debug_assertions)]
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// When a worker looked last, or was to be woken.
    at: Option<Time>,
    /// The workers of workers that are awake, and look again before they rest.
    coming: HashSet<u64>,
}

#[cfg(debug_assertions)]
impl<W: Work> State<W> {
    fn note_look(&mut self, now: Time) {
        self.checked.at = self.checked.at.max(Some(now));
    }

    /// Notes when a worker looked, and whether it is awake, and looks again before it rests.
    pub(super) fn note_coming(&mut self, worker: &Worker, comes: bool, now: Time) {
        self.note_look(now);
        if comes && worker.only.is_none() {
            self.checked.coming.insert(worker.id);
        } else {
            self.checked.coming.remove(&worker.id);
        }
    }

    /// Notes that a worker asks for a permit, inside an operation or not, and claims next.
    pub(super) fn note_asker(&mut self, worker: &Worker) {
        self.checked.coming.insert(worker.id);
    }

    /// Panics if workers sleep through something that can start, as the lock is released: if an
    /// operation can start and a slot is free, a worker is awake or has been notified, or the leader
    /// wakes in time.
    pub(super) fn check_wakeups(&self) {
        let Some(now) = self.checked.at else { return };
        let asleep = !self.parked.is_empty();
        if std::thread::panicking() || !asleep || self.busy >= self.capacity || self.is_asking() {
            return;
        }
        let opens = now >= self.recovery.opens();
        let leader_wakes = self
            .leader
            .as_ref()
            .is_some_and(|leader| leader.duty != Duty::Retry);
        let awake = self.waking.is_some() || !self.checked.coming.is_empty();
        assert!(
            awake || leader_wakes || !opens || !self.live().any(|batch| batch.available(now)),
            "workers sleep beside what can start: {} parked, {} of {} busy, {:?}",
            self.parked.len(),
            self.busy,
            self.capacity,
            self.leader,
        );
    }
}

impl<W: Work> State<W> {
    pub(super) fn wants_thread(&self, now: Time) -> bool {
        if self.threads >= self.capacity {
            return false;
        }
        if self.threads == 0 {
            // Near the end of the process no thread may be had later, so one is there from the start.
            return self
                .live()
                .any(|batch| batch.startable(now, 1) > 0 || batch.ready_for_workers(now) > 0);
        }
        let idle = self.threads.saturating_sub(self.busy);
        let startable: usize = self.live().map(|it| it.ready_for_workers(now)).sum();
        // Where nobody is idle, nobody waits until the next retry is due.
        startable > idle || idle == 0 && self.next_retry_due(now).is_some()
    }

    pub(super) fn arrive(&mut self, worker: u64) {
        if self.waking == Some(worker) {
            self.waking = None;
        }
    }

    /// Wakes one worker if there is something for it to do. At most one is on its way at a time:
    /// each wakes the next when it starts, so those that would only queue for the interpreter sleep
    /// on.
    pub(super) fn wake_one(&mut self, now: Time) {
        #[cfg(debug_assertions)]
        {
            self.note_look(now);
        }
        if self.waking.is_some() || self.is_asking() {
            return;
        }
        match &self.leader {
            Some(leader) if matches!(leader.duty, Duty::Permit(_)) => return,
            Some(leader) if leader.duty == Duty::Watch && self.one_is_enough(now) => return,
            _ => {}
        }
        if self.busy >= self.capacity || self.parked.is_empty() && self.leader.is_none() {
            return;
        }
        if !self.live().any(|batch| batch.available(now)) {
            return;
        }
        if let Some(parked) = self.parked.pop() {
            self.waking = Some(parked.worker);
            self.notices.add(Arc::clone(&parked.signal));
        } else if self.watched() {
            self.end_watch();
        } else if let Some(leader) = &self.leader {
            self.notices.add(Arc::clone(&leader.signal));
        }
    }

    /// Something has changed: whoever may be concerned looks again.
    pub(super) fn reschedule(&mut self, now: Time) {
        self.wake_one(now);
        if let Some(leader) = &self.leader {
            // The leader looks again when what it waits for is gone, or expires earlier than it
            // looks by itself, or a retry is due earlier.
            let look_again = match leader.duty {
                Duty::Permit(until) => self.next_expiry(now).is_none_or(|at| at < until),
                Duty::Retry => true,
                Duty::Watch => false,
            };
            if look_again {
                self.notices.add(Arc::clone(&leader.signal));
            }
        } else {
            self.see_to_retries(now);
        }
        self.latest = self.latest.max(now);
        if !self.joiners.is_empty() {
            self.tell_joiners();
        }
    }

    /// Somebody is to wait for the next retry.
    pub(super) fn see_to_retries(&mut self, now: Time) {
        if let Some(parked) = self.parked.last()
            && self.waking.is_none()
            && self.next_retry_due(now).is_some()
        {
            self.notices.add(Arc::clone(&parked.signal));
            #[cfg(debug_assertions)]
            self.checked.coming.insert(parked.worker);
        }
    }

    pub(super) fn wake_all(&mut self) {
        let parked = self.parked.drain(..).map(|parked| parked.signal);
        self.notices.extend(parked);
        if let Some(leader) = &self.leader {
            self.notices.add(Arc::clone(&leader.signal));
        }
    }

    pub(super) fn tell_joiners(&mut self) {
        if self.drained() {
            self.notices.extend(self.joiners.drain(..));
            if self.over() {
                self.wake_all();
            }
        }
    }

    /// A worker thread has left, or was not started after all.
    pub(super) fn release_thread(&mut self) {
        self.threads = self.threads.saturating_sub(1);
        if self.deserted() {
            self.notices.extend(self.joiners.drain(..));
        }
    }

    /// Nothing waits or runs, but for batches that wait for their owner.
    pub(super) fn drained(&self) -> bool {
        self.stragglers.is_empty()
            && self
                .live()
                .all(|batch| !batch.is_attended() && batch.quiet())
    }

    /// There will never be anything to do.
    pub(super) fn over(&self) -> bool {
        self.closed && self.live().all(Batch::over)
    }
}
