//! Idle workers: the leader, those that are parked, and which of them are to be woken.
//!
//! One idle worker is the *leader*: it sleeps until the next event, on behalf of all. The others are
//! parked, without a timeout, until one is needed. What is to be woken is noted in the [`WakeList`] and
//! woken when the lock is released.

#[cfg(debug_assertions)]
use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use super::claim::Worker;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// What the leader waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// A permit: it looks again at that time.
    Permit(Time),
    /// The time when a retry is due.
    Retry,
    /// It looks whether another worker, left alone with short operations, gets on.
    Monitor,
}

#[derive(Debug)]
struct Leader {
    worker: u64,
    signal: Arc<Signal>,
    duty: Duty,
}

/// A worker that sleeps until it is woken.
#[derive(Debug)]
struct Parked {
    worker: u64,
    signal: Arc<Signal>,
    /// A spare thread that is to look whether it is still needed, when it is told to.
    spare: bool,
}

/// The threads that sleep, and those that are to be woken when the lock is released.
#[derive(Debug, Default)]
pub(super) struct Idle {
    leader: Option<Leader>,
    /// Last in, first out: the warmest cache goes first.
    parked: Vec<Parked>,
    /// A worker that was woken and has not looked yet. It wakes the next one when it starts.
    waking: Option<u64>,
    /// Threads that wait until nothing runs any more, or until all workers have left.
    joiners: Vec<Arc<Signal>>,
    wakes: WakeList,
    #[cfg(debug_assertions)]
    awake: Awake,
}

impl Idle {
    /// What the leader waits for, if there is one.
    #[inline(always)]
    pub(super) fn duty(&self) -> Option<Duty> {
        self.leader.as_ref().map(|leader| leader.duty)
    }

    /// Whether a worker was woken that has not looked yet.
    #[inline(always)]
    pub(super) const fn is_one_waking(&self) -> bool {
        self.waking.is_some()
    }

    /// Whether any worker sleeps.
    pub(super) const fn is_one_asleep(&self) -> bool {
        !self.parked.is_empty() || self.leader.is_some()
    }

    /// Whether the leader looks after a worker that is left alone.
    #[inline(always)]
    pub(super) fn is_monitored(&self) -> bool {
        self.duty() == Some(Duty::Monitor)
    }

    /// What the worker waits for on behalf of all, if it leads.
    pub(super) fn duty_of(&self, worker: &Worker) -> Option<Duty> {
        let leader = self.leader.as_ref().filter(|it| it.worker == worker.id);
        leader.map(|leader| leader.duty)
    }

    /// Whether another worker waits for a permit on behalf of all.
    #[inline(always)]
    pub(super) fn another_waits(&self, worker: &Worker) -> bool {
        let waits = matches!(self.duty(), Some(Duty::Permit(_)));
        waits && self.duty_of(worker).is_none()
    }

    pub(super) fn take_lead(&mut self, worker: &Worker, duty: Duty) {
        self.leader = Some(Leader {
            worker: worker.id,
            signal: Arc::clone(&worker.signal),
            duty,
        });
    }

    /// The worker leads no more; whether it did.
    pub(super) fn leave_lead(&mut self, worker: &Worker) -> bool {
        let led = self.duty_of(worker).is_some();
        if led {
            self.leader = None;
        }
        led
    }

    /// Whoever leads does so no more, and sleeps on until it is told or looks by itself.
    pub(super) fn forget_leader(&mut self) {
        self.leader = None;
    }

    /// Whoever leads does so no more, and looks for work as all others.
    pub(super) fn relieve_leader(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.wakes.add(leader.signal);
        }
    }

    /// The worker that has slept longest leads, if another is parked beside it. Whether one does.
    pub(super) fn appoint_leader(&mut self, duty: Duty) -> bool {
        if self.leader.is_some() || self.parked.len() < 2 {
            return false;
        }
        let Parked { worker, signal, .. } = self.parked.remove(0);
        self.wakes.add(Arc::clone(&signal));
        self.leader = Some(Leader {
            worker,
            signal,
            duty,
        });
        true
    }

    pub(super) fn park(&mut self, worker: &Worker) {
        self.parked.push(Parked {
            worker: worker.id,
            signal: Arc::clone(&worker.signal),
            spare: worker.spare,
        });
    }

    /// The worker looks for work: it is not parked any more.
    pub(super) fn unpark(&mut self, worker: &Worker) {
        let is_it = |parked: &Parked| parked.worker == worker.id;
        if let Some(place) = self.parked.iter().rposition(is_it) {
            self.parked.remove(place);
        }
    }

    /// The worker has looked: if it was woken, the next one may be.
    pub(super) fn arrive(&mut self, worker: &Worker) {
        if self.waking == Some(worker.id) {
            self.waking = None;
        }
    }

    /// Wakes the worker that was parked last. Whether one was.
    pub(super) fn wake_parked(&mut self) -> bool {
        let Some(parked) = self.parked.pop() else {
            return false;
        };
        self.waking = Some(parked.worker);
        self.wakes.add(parked.signal);
        true
    }

    /// Has the worker that was parked last look again, where it may go on sleeping, or lead.
    pub(super) fn nudge_parked(&mut self) {
        if let Some(parked) = self.parked.last() {
            self.wakes.add(Arc::clone(&parked.signal));
            #[cfg(debug_assertions)]
            self.awake.coming.insert(parked.worker);
        }
    }

    /// Has the leader look again.
    pub(super) fn wake_leader(&mut self) {
        if let Some(leader) = &self.leader {
            self.wakes.add(Arc::clone(&leader.signal));
        }
    }

    /// Wakes all workers.
    pub(super) fn wake_all(&mut self) {
        let parked = self.parked.drain(..).map(|parked| parked.signal);
        self.wakes.extend(parked);
        self.wake_leader();
    }

    /// Has a spare thread that sleeps look whether it is still needed. Each is told once.
    pub(super) fn wake_spare(&mut self) {
        if let Some(parked) = self.parked.iter_mut().find(|parked| parked.spare) {
            parked.spare = false;
            self.wakes.add(Arc::clone(&parked.signal));
        } else if self.duty() == Some(Duty::Retry) {
            self.wake_leader();
        }
    }

    /// The worker, a spare thread, looks by itself whether it is still needed.
    pub(super) fn leave_spare_alone(&mut self, worker: &Worker) {
        if let Some(parked) = self.parked.iter_mut().find(|it| it.worker == worker.id) {
            parked.spare = false;
        }
    }

    /// Wakes an owner, or another thread that waits for something.
    #[inline(always)]
    pub(super) fn wake(&mut self, signal: impl IntoIterator<Item = Arc<Signal>>) {
        self.wakes.extend(signal);
    }

    /// Somebody waits for all others.
    pub(super) fn join(&mut self, joiner: &Arc<Signal>) {
        if !self.joiners.iter().any(|other| Arc::ptr_eq(other, joiner)) {
            self.joiners.push(Arc::clone(joiner));
        }
    }

    pub(super) fn has_joiners(&self) -> bool {
        !self.joiners.is_empty()
    }

    pub(super) fn wake_joiners(&mut self) {
        self.wakes.extend(self.joiners.drain(..));
    }

    /// What is to be woken now that the lock is released.
    #[inline(always)]
    pub(super) fn take_wakes(&mut self) -> Option<WakeList> {
        (!self.wakes.0.is_empty()).then(|| mem::take(&mut self.wakes))
    }
}

/// Signals to be given when this is dropped, which is without the lock: those who wait for one go on
/// to take it.
#[derive(Debug, Default)]
pub(super) struct WakeList(Vec<Arc<Signal>>);

impl WakeList {
    fn add(&mut self, signal: Arc<Signal>) {
        self.0.push(signal);
    }
}

impl Extend<Arc<Signal>> for WakeList {
    fn extend<T: IntoIterator<Item = Arc<Signal>>>(&mut self, signals: T) {
        self.0.extend(signals);
    }
}

impl Drop for WakeList {
    fn drop(&mut self) {
        for signal in &self.0 {
            signal.notify();
        }
    }
}

/// What the check of wake-ups knows beside the state.
#[cfg(debug_assertions)]
#[derive(Debug, Default)]
struct Awake {
    /// When a worker looked last, or was to be woken.
    at: Option<Time>,
    /// The workers that are awake, and look again before they rest.
    coming: HashSet<u64>,
}

#[cfg(debug_assertions)]
impl Idle {
    pub(super) fn note_look(&mut self, now: Time) {
        self.awake.at = self.awake.at.max(Some(now));
    }

    /// When a worker looked last, if workers are parked beside it.
    pub(super) fn looked_beside_parked(&self) -> Option<Time> {
        self.awake.at.filter(|_| !self.parked.is_empty())
    }

    /// Whether a worker is awake, or was notified, or wakes by itself to look whether something can
    /// start.
    pub(super) fn is_one_coming(&self) -> bool {
        let leader_looks = self.duty().is_some_and(|duty| duty != Duty::Retry);
        leader_looks || self.waking.is_some() || !self.awake.coming.is_empty()
    }

    /// Notes when a worker looked, and whether it is awake, and looks again before it rests.
    pub(super) fn note_coming(&mut self, worker: &Worker, comes: bool, now: Time) {
        self.note_look(now);
        if comes && worker.only.is_none() {
            self.awake.coming.insert(worker.id);
        } else {
            self.awake.coming.remove(&worker.id);
        }
    }

    /// Notes that a worker asks for a permit, inside an operation or not, and claims next.
    pub(super) fn note_asker(&mut self, worker: &Worker) {
        self.awake.coming.insert(worker.id);
    }
}
