//! Everything the scheduler's lock guards, and the choices made under it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use super::asking::Asking;
use super::batches::Batches;
use super::claim::{Claim, LONG_WAIT, Lease, Leftover, Remains, Start, Worker};
use super::fast_path::FastPath;
use super::idle::{Duty, Idle, WakeList};
use super::pauses::Pauses;
use super::slots::Slots;
use super::stragglers::TakenOut;
use crate::engine::batch::{Batch, Completed};
use crate::engine::limiter::{LOOK_AGAIN, Limiter, Ticket, Turn};
use crate::engine::lock::lock;
use crate::engine::model::{BatchId, Finished, Work};
use crate::engine::recovery::Recovery;
use crate::engine::retry::GiveUp;
use crate::engine::time::Time;

#[derive(Debug)]
pub(super) struct State<W: Work> {
    pub(super) batches: Batches<W>,
    pub(super) slots: Slots,
    pub(super) idle: Idle,
    pub(super) asking: Asking,
    pub(super) fast: FastPath,
    /// What follows refusals, where there is no limiter that keeps it.
    pub(super) recovery: Recovery,
    pub(super) gives_up: Option<GiveUp>,
    pub(super) pauses: Pauses,
    /// The end of the last long wait for the limit that was told.
    told_until: Time,
    pub(super) closed: bool,
    /// The latest time it was told.
    pub(super) latest: Time,
}

impl<W: Work> State<W> {
    pub(super) fn new(workers: usize, submitted: Batch<W>) -> Self {
        Self {
            batches: Batches::new(submitted),
            slots: Slots::new(workers),
            idle: Idle::default(),
            asking: Asking::default(),
            fast: FastPath::default(),
            recovery: Recovery::default(),
            gives_up: None,
            pauses: Pauses::default(),
            told_until: Time::default(),
            closed: false,
            latest: Time::default(),
        }
    }

    /// Whether any operation could start if there were a permit and a slot.
    pub(super) fn can_start(&self, now: Time) -> bool {
        self.batches.live().any(|batch| batch.available(now))
    }

    /// There will never be anything to do.
    pub(super) fn over(&self) -> bool {
        self.closed && self.batches.live().all(Batch::over)
    }

    /// Takes a batch out, as its owner is done with it.
    pub(super) fn take_out(&mut self, id: BatchId, wanted: bool, now: Time) -> Option<TakenOut<W>> {
        let (mut batch, stragglers) = self.batches.take_out(id, wanted)?;
        batch.note_waiting(now, self.pauses.unpaused(now));
        let told = self.batches.end_inner(id, batch.running());
        self.idle.wake(told);
        self.reschedule(now);
        self.wake_joiners_if_drained();
        Some((batch, stragglers))
    }

    /// Books what the worker has called.
    #[inline(always)]
    pub(super) fn finish(
        &mut self,
        worker: &mut Worker,
        finished: Finished<W>,
        now: Time,
    ) -> Leftover<W> {
        let lease = worker.lease.as_ref()?;
        self.slots.free(worker);
        let leftover = self.book(lease, finished, now);
        worker.lease = None;
        leftover
    }

    /// Books an operation that has ended.
    #[inline(always)]
    pub(super) fn book(&mut self, lease: &Lease, finished: Finished<W>, now: Time) -> Leftover<W> {
        let leftover = self.complete(lease, finished, now);
        if self.closed || self.idle.has_joiners() {
            self.wake_joiners_if_drained();
        }
        leftover
    }

    #[inline(always)]
    fn complete(&mut self, lease: &Lease, finished: Finished<W>, now: Time) -> Leftover<W> {
        let (id, running) = (lease.batch, &lease.running);
        let monitored = self.idle.is_monitored();
        let Some(batch) = self.batches.get_mut(id) else {
            let (leftover, told) = self.batches.complete_straggler(id, running, finished);
            self.idle.wake(told);
            return leftover;
        };
        let leftover = match batch.complete(running, finished, now) {
            Completed::Recorded => None,
            Completed::Dropped(unkept) => Remains::of(unkept),
            Completed::Retried => {
                let told = batch.tell_working_owner();
                self.idle.wake(told);
                self.reschedule(now);
                return None;
            }
        };
        if !(monitored && batch.is_short()) {
            self.idle.wake(batch.tell_waiting_owner());
        }
        if batch.owner.is_gone() && batch.settled() {
            let batch = self.batches.remove(id);
            let batch = batch.map(|batch| Box::new(Remains::Batch(Box::new(batch))));
            return Remains::both(leftover, batch);
        }
        leftover
    }

    /// What the worker is to do next. If it is `attached` to the interpreter, it takes its permit and
    /// starts an operation where it can; otherwise nothing is taken.
    #[inline(always)]
    pub(super) fn claim(
        &mut self,
        worker: &mut Worker,
        limiter: Option<&Limiter>,
        now: Time,
        attached: bool,
    ) -> Claim<W> {
        let Some(id) = self.pick(worker, now) else {
            return self.nothing_to_start(worker, now);
        };
        if worker.only.is_none() && !self.slots.is_one_free() {
            self.leave_lead(worker, now);
            return self.park(worker);
        }
        let opens = self.recovery.opens();
        if now < opens {
            if self.is_to_give_up(limiter, now) {
                return Claim::GiveUp;
            }
            return self.wait_for_permit(worker, id, opens, now);
        }
        if let Some(claim) = self.ask_or_wait(worker, id, now, attached) {
            return claim;
        }
        if let Some(limiter) = limiter {
            if worker.ticket.is_none() && worker.only.is_none() && self.idle.another_waits(worker) {
                return self.park(worker);
            }
            let turn = turn_of(worker, limiter, now, attached);
            if turn != Turn::Ready && self.is_to_give_up(Some(limiter), now) {
                return Claim::GiveUp;
            }
            match turn {
                Turn::Ready => {}
                Turn::At(time) => return self.wait_for_permit(worker, id, time, now),
                Turn::Behind => return self.wait_for_permit(worker, id, Time::NEVER, now),
            }
        }
        if !attached {
            return self.stand_back(worker, now).unwrap_or(Claim::Ready);
        }
        let permit_wait = self.permit_wait(worker, id, now);
        self.leave_lead(worker, now);
        if worker.only.is_none() {
            // What others start of their own batch is no batch's turn.
            self.batches.had_turn(id);
        }
        let Some(start) = self.start(worker, id, now, permit_wait) else {
            return self.nothing_to_start(worker, now);
        };
        self.note_start(now);
        self.slots.take(worker);
        self.spend_permit();
        self.fast.note_start(now);
        // A monitor sees soon enough if there is more to do than that.
        if !self.idle.is_monitored() {
            self.wake_one(now);
            if self.idle.duty().is_none() {
                self.see_to_retries(now);
            }
        }
        Claim::Start(start)
    }

    /// From which batch the worker could start something.
    #[inline(always)]
    fn pick(&self, worker: &Worker, now: Time) -> Option<BatchId> {
        let Some((id, index)) = worker.only else {
            return self.batches.next_available(now);
        };
        let batch = self.batches.get(id)?;
        let available = match index {
            Some(index) => batch.available_first(index, now),
            None => batch.available(now),
        };
        available.then_some(id)
    }

    #[inline(always)]
    fn start(
        &mut self,
        worker: &mut Worker,
        id: BatchId,
        now: Time,
        permit_wait: u64,
    ) -> Option<Start<W>> {
        let monitored = self.idle.is_monitored();
        let batch = self.batches.get_mut(id)?;
        let (running, job) = match worker.only {
            Some((_, Some(index))) => batch.start_exactly(index, worker.id, now, permit_wait)?,
            _ => batch.start(worker.id, now, permit_wait)?,
        };
        if !(monitored && batch.is_short()) {
            self.idle.wake(batch.tell_reader());
        }
        let known = worker.serves.replace(id) == Some(id);
        let context = (!known).then(|| batch.share_context());
        let first = !std::mem::replace(&mut worker.experienced, true);
        worker.lease = Some(Lease::new(id, running, first));
        Some(Start { context, job })
    }

    fn nothing_to_start(&mut self, worker: &mut Worker, now: Time) -> Claim<W> {
        self.leave_lead(worker, now);
        if let Some((id, _)) = worker.only {
            if self.asking.is_granted() {
                // Others may use the permit.
                self.wake_one(now);
            }
            let due = self.batches.get(id).map(|batch| batch.next_due_after(now));
            return Claim::Rest(due.unwrap_or(Time::NEVER));
        }
        self.spend_permit();
        if self.over() {
            return Claim::Exit;
        }
        match self.batches.next_retry_due(now) {
            Some(due) if self.idle.duty().is_none() => {
                self.idle.take_lead(worker, Duty::Retry);
                Claim::Rest(due.max(now))
            }
            _ => self.park(worker),
        }
    }

    /// The worker waits until then for a permit, on behalf of all.
    fn wait_for_permit(
        &mut self,
        worker: &mut Worker,
        id: BatchId,
        until: Time,
        now: Time,
    ) -> Claim<W> {
        let unpaused = self.pauses.unpaused(now);
        worker.waiting_since.get_or_insert(unpaused);
        if let Some(batch) = self.batches.get_mut(id) {
            batch.wait_since(unpaused);
        }
        worker.waits_for = Some(id);
        self.tell_long_wait(worker, until, now);
        // What has expired is not to keep a place in the limiter's queue, though its owner may be
        // away and not end it.
        let mut until = self.next_expiry(now).unwrap_or(until).min(until);
        let ticket = worker.ticket.as_ref();
        if ticket.is_some_and(Ticket::has_to_be_watched) {
            until = until.min(now + LOOK_AGAIN);
        }
        if worker.only.is_none() {
            if self.idle.another_waits(worker) {
                self.leave_lead(worker, now);
                return self.park(worker);
            }
            self.idle.take_lead(worker, Duty::Permit(until));
        }
        Claim::Rest(until)
    }

    /// Has the worker's thread tell of a wait for the limit that is long, once. What a server has
    /// asked for is told where it is heard.
    fn tell_long_wait(&mut self, worker: &mut Worker, until: Time, now: Time) {
        let known = (self.told_until + LONG_WAIT / 10).max(self.pauses.until());
        if worker.only.is_none() && until > (now + LONG_WAIT).max(known) && until != Time::NEVER {
            self.told_until = until;
            worker.long_wait = Some(until);
        }
    }

    /// How long an operation has waited for its permit that starts now. The worker may have begun to
    /// wait for another batch, when there was not yet this one.
    #[inline(always)]
    fn permit_wait(&mut self, worker: &Worker, id: BatchId, now: Time) -> u64 {
        let Some(since) = worker.waiting_since else {
            return 0;
        };
        let Some(batch) = self.batches.get_mut(id) else {
            return 0;
        };
        self.pauses.unpaused(now).nanos_since(batch.end_wait(since))
    }

    pub(super) fn park(&mut self, worker: &Worker) -> Claim<W> {
        self.idle.park(worker);
        Claim::Rest(Time::NEVER)
    }

    /// The worker waits no more: it leaves the limiter's queue, and does not lead. If it has led, what
    /// batches have waited for in vain is booked.
    #[inline(always)]
    pub(super) fn leave_lead(&mut self, worker: &mut Worker, now: Time) {
        worker.ticket = None;
        worker.waiting_since = None;
        if self.idle.leave_lead(worker) {
            let unpaused = self.pauses.unpaused(now);
            for batch in self.batches.live_mut() {
                batch.book_wait(unpaused);
            }
        }
    }
}

/// The state while its lock is held.
#[derive(Debug)]
pub(super) struct Locked<'a, W: Work> {
    // Fields are dropped in this order.
    state: MutexGuard<'a, State<W>>,
    wakes: Option<WakeList>,
}

impl<'a, W: Work> Locked<'a, W> {
    #[inline(always)]
    pub(super) fn new(state: &'a Mutex<State<W>>) -> Self {
        Self {
            state: lock(state),
            wakes: None,
        }
    }
}

impl<W: Work> Deref for Locked<'_, W> {
    type Target = State<W>;

    fn deref(&self) -> &State<W> {
        &self.state
    }
}

impl<W: Work> DerefMut for Locked<'_, W> {
    fn deref_mut(&mut self) -> &mut State<W> {
        &mut self.state
    }
}

impl<W: Work> Drop for Locked<'_, W> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        self.state.check_wakeups();
        self.wakes = self.state.idle.take_wakes();
    }
}

/// Whether the worker's turn has come at the limiter; if it is attached, it takes the permit. From
/// when it has to wait it stands in the queue.
#[inline(always)]
fn turn_of(worker: &mut Worker, limiter: &Limiter, now: Time, attached: bool) -> Turn {
    if worker.ticket.is_none() {
        let free = if attached {
            limiter.try_start(1, worker.ended.take().as_ref(), now)
        } else {
            limiter.is_free(1, now)
        };
        if free {
            return Turn::Ready;
        }
    }
    let enqueue = || limiter.enqueue_call(1, Arc::clone(&worker.signal));
    let ticket = worker.ticket.get_or_insert_with(enqueue);
    if attached {
        ticket.try_start(now)
    } else {
        ticket.turn(now)
    }
}
