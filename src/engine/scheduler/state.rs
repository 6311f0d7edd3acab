//! Everything the scheduler's lock guards, and the choices made under it.
use std::collections::HashMap;
use std::sync::Arc;

use super::asking::Asking;
use super::claim::{Claim, Lease, Leftover, Remains, Start, Worker};
use super::leader::{Duty, Leader, Parked};
use super::locked::Notices;
use super::pauses::Pauses;
use super::stragglers::Stragglers;
use super::watch::Watch;
use crate::engine::batch::{Batch, Completed, Unkept};
use crate::engine::limiter::{Limiter, Turn};
use crate::engine::model::{BatchId, EndReason, Finished, Running, Work};
use crate::engine::recovery::Recovery;
use crate::engine::retry::GiveUp;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

#[derive(Debug)]
pub(super) struct State<W: Work> {
    pub(super) batches: Vec<Option<(u64, Batch<W>)>>,
    /// By the serial number of the batch that was taken out while they ran.
    pub(super) stragglers: HashMap<u64, Arc<Stragglers<W>>>,
    pub(super) serials: u64,
    /// Where the next turn begins.
    pub(super) turn: usize,
    pub(super) parked: Vec<Parked>,
    pub(super) waking: Option<u64>,
    pub(super) leader: Option<Leader>,
    pub(super) joiners: Vec<Arc<Signal>>,
    /// How many run at once, beside those that wait for others.
    pub(super) workers: usize,
    pub(super) capacity: usize,
    pub(super) threads: usize,
    pub(super) busy: usize,
    /// What follows refusals, where there is no limiter that keeps it.
    pub(super) recovery: Recovery,
    pub(super) gives_up: Option<GiveUp>,
    pub(super) pauses: Pauses,
    /// The end of the last long wait for the limit that was told.
    pub(super) told_until: Time,
    pub(super) closed: bool,
    /// The latest time it was told.
    pub(super) latest: Time,
    pub(super) asking: Asking,
    /// The workers that wait inside an operation until a permit was granted or refused.
    pub(super) await_answer: Vec<Arc<Signal>>,
    pub(super) watch: Watch,
    /// The worker that may repeat its last claim; None as soon as the lock is taken for anything else.
    pub(super) repeater: Option<u64>,
    /// Given when the lock is released.
    pub(super) notices: Notices,
    #[cfg(debug_assertions)]
    pub(super) checked: super::wakeups::Checked,
}

impl<W: Work> State<W> {
    pub(super) fn batch(&mut self, id: BatchId) -> Option<&mut Batch<W>> {
        match self.batches.get_mut(id.slot) {
            Some(Some((serial, batch))) if *serial == id.serial => Some(batch),
            _ => None,
        }
    }

    /// The batches that there are.
    pub(super) fn live(&self) -> impl Iterator<Item = &Batch<W>> {
        self.batches.iter().flatten().map(|(_, batch)| batch)
    }

    /// When the next retry is due that a worker is to wait for.
    pub(super) fn next_retry_due(&self, now: Time) -> Option<Time> {
        let due = self.live().map(|batch| batch.next_due(now));
        due.flatten().min()
    }

    /// Ends the batches whose deadline has passed; whether there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let mut any = false;
        for (_, batch) in self.batches.iter_mut().flatten() {
            if batch.is_overdue(now) {
                batch.expire();
                self.notices.add(batch.tell_owner());
                any = true;
            }
        }
        any
    }

    /// Whether nobody waits for the operations of a batch any more, though they may still run.
    pub(super) fn is_given_up(&mut self, id: BatchId, now: Time) -> bool {
        !self
            .batch(id)
            .is_some_and(|batch| batch.is_patient() && now < batch.deadline())
    }

    /// Ends what the running operations of a batch have begun, which is given up, and theirs in
    /// turn; but for what nobody will take, as that was left to run.
    pub(super) fn end_inner(&mut self, id: BatchId, running: &[Running]) {
        let begun_by = |id, running: &[Running]| -> Vec<_> {
            running.iter().map(|each| (id, each.index)).collect()
        };
        let mut given_up = begun_by(id, running);
        while let Some(outer) = given_up.pop() {
            for (slot, entry) in self.batches.iter_mut().enumerate() {
                if let Some((serial, batch)) = entry
                    && batch.outer() == Some(outer)
                    && !batch.is_orphaned()
                {
                    batch.end(EndReason::Outer);
                    self.notices.add(batch.tell_owner());
                    let serial = *serial;
                    given_up.extend(begun_by(BatchId { slot, serial }, batch.running()));
                }
            }
        }
    }

    /// When the next batch is to end that has not.
    pub(super) fn next_deadline(&self) -> Time {
        let waiting = self.live().filter(|batch| batch.ended().is_none());
        let deadlines = waiting.map(Batch::deadline);
        deadlines.min().unwrap_or(Time::NEVER)
    }

    /// The slots of the batches, beginning with the one whose turn it is.
    pub(super) fn turns(&self) -> impl Iterator<Item = usize> + use<W> {
        let count = self.batches.len();
        let turn = if self.turn < count { self.turn } else { 0 };
        (turn..turn + count).map(move |slot| if slot < count { slot } else { slot - count })
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
        if worker.only.is_none() {
            self.busy -= 1;
        }
        let leftover = self.book(lease, finished, now);
        worker.lease = None;
        leftover
    }

    #[inline(always)]
    pub(super) fn book(&mut self, lease: &Lease, finished: Finished<W>, now: Time) -> Leftover<W> {
        let leftover = self.enter(lease, finished, now);
        if self.closed || !self.joiners.is_empty() {
            self.tell_joiners();
        }
        leftover
    }

    #[inline(always)]
    pub(super) fn enter(&mut self, lease: &Lease, finished: Finished<W>, now: Time) -> Leftover<W> {
        let Lease {
            batch: id, running, ..
        } = lease;
        let watched = self.watched();
        let Some(batch) = self.batch(*id) else {
            return self.enter_straggler(*id, running, finished);
        };
        let mut leftover = match batch.complete(running, finished, now) {
            Completed::Recorded => None,
            Completed::Dropped(unkept) => leftover_of(unkept),
            Completed::Retried => {
                let told = batch.tell_working_owner();
                self.notices.extend(told);
                self.reschedule(now);
                return None;
            }
        };
        let told = if watched && batch.is_short() {
            None
        } else {
            batch.tell_waiting_owner()
        };
        if batch.is_orphaned()
            && batch.settled()
            && let Some((_, batch)) = self.batches[id.slot].take()
        {
            leftover = both(leftover, Some(Box::new(Remains::Batch(Box::new(batch)))));
        }
        self.notices.extend(told);
        leftover
    }

    #[inline(always)]
    pub(super) fn claim(
        &mut self,
        worker: &mut Worker,
        limiter: Option<&Limiter>,
        now: Time,
        attached: bool,
    ) -> Claim<W> {
        let Some(slot) = self.pick(worker, now) else {
            return self.nothing_to_start(worker, now);
        };
        if worker.only.is_none() && self.busy >= self.capacity {
            self.leave_lead(worker, now);
            return self.park(worker);
        }
        let opens = self.recovery.opens();
        if now < opens {
            if self.is_to_give_up(limiter, now) {
                return Claim::GiveUp;
            }
            return self.wait_for_permit(worker, slot, opens, now);
        }
        if let Some(claim) = self.ask_or_wait(worker, slot, now, attached) {
            return claim;
        }
        if let Some(limiter) = limiter {
            if worker.ticket.is_none() && worker.only.is_none() && self.another_waits(worker) {
                return self.park(worker);
            }
            let turn = turn_of(worker, limiter, now, attached);
            if turn != Turn::Ready && self.is_to_give_up(Some(limiter), now) {
                return Claim::GiveUp;
            }
            match turn {
                Turn::Ready => {}
                Turn::At(time) => return self.wait_for_permit(worker, slot, time, now),
                Turn::Behind => return self.wait_for_permit(worker, slot, Time::NEVER, now),
            }
        }
        if !attached {
            return self.stand_back(worker, now).unwrap_or(Claim::Ready);
        }
        let permit_wait = self.permit_wait(worker, slot, now);
        self.leave_lead(worker, now);
        if worker.only.is_none() {
            // What others start of their own batch is nobody's turn.
            self.turn = slot + 1;
        }
        let Some(start) = self.start(worker, slot, now, permit_wait) else {
            return self.nothing_to_start(worker, now);
        };
        if !worker.lease().is_some_and(|lease| lease.running.refused) {
            self.note_start(now);
        }
        self.busy += usize::from(worker.only.is_none());
        self.spend_permit();
        self.watch.last_start = now;
        // Whoever keeps watch sees soon enough if there is more to do than that.
        if !self.watched() {
            self.wake_one(now);
            if self.leader.is_none() {
                self.see_to_retries(now);
            }
        }
        Claim::Start(start)
    }

    #[inline(always)]
    pub(super) fn start(
        &mut self,
        worker: &mut Worker,
        slot: usize,
        now: Time,
        permit_wait: u64,
    ) -> Option<Start<W>> {
        let watched = self.watched();
        let (serial, batch) = self.batches[slot].as_mut()?;
        let (running, job) = match worker.only {
            Some((_, Some(index))) => batch.start_exactly(index, worker.id, now, permit_wait)?,
            _ => batch.start(worker.id, now, permit_wait)?,
        };
        if !(watched && batch.is_short()) {
            self.notices.extend(batch.tell_reader());
        }
        let id = BatchId {
            slot,
            serial: *serial,
        };
        let known = worker.serves.replace(id) == Some(id);
        let context = if known {
            None
        } else {
            Some(batch.share_context())
        };
        let first = !std::mem::replace(&mut worker.experienced, true);
        worker.lease = Some(Lease::new(id, running, first));
        Some(Start { context, job })
    }

    #[inline(always)]
    pub(super) fn pick(&self, worker: &Worker, now: Time) -> Option<usize> {
        if let Some((id, index)) = worker.only {
            let (serial, batch) = self.batches.get(id.slot)?.as_ref()?;
            let available = match index {
                Some(index) => batch.available_first(index, now),
                None => batch.available(now),
            };
            return (*serial == id.serial && available).then_some(id.slot);
        }
        self.turns().find(|slot| {
            self.batches[*slot]
                .as_ref()
                .is_some_and(|(_, batch)| batch.available(now))
        })
    }

    pub(super) fn nothing_to_start(&mut self, worker: &mut Worker, now: Time) -> Claim<W> {
        self.leave_lead(worker, now);
        if let Some((id, _)) = worker.only {
            if self.asking == Asking::Granted {
                // Others may use the permit.
                self.wake_one(now);
            }
            let due = self.batch(id).map(|batch| batch.next_due_after(now));
            return Claim::Rest(due.unwrap_or(Time::NEVER));
        }
        self.spend_permit();
        if self.over() {
            return Claim::Exit;
        }
        match self.next_retry_due(now) {
            Some(due) if self.leader.is_none() => {
                self.take_lead(worker, Duty::Retry);
                Claim::Rest(due.max(now))
            }
            _ => self.park(worker),
        }
    }
}

/// Whether the worker's turn has come at the limiter; if it is attached, it takes the permit. From when
/// it has to wait it stands in the queue.
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

/// What is to be dropped of two things.
pub(super) fn both<W: Work>(one: Leftover<W>, other: Leftover<W>) -> Leftover<W> {
    match (one, other) {
        (None, only) | (only, None) => only,
        both => Some(Box::new(Remains::Both(both.0, both.1))),
    }
}

/// What is to be dropped of an operation that has ended.
#[inline(never)]
fn leftover_of<W: Work>(unkept: Unkept<W>) -> Leftover<W> {
    let Unkept {
        result,
        job,
        attempts,
    } = unkept;
    let result = result.map(|result| Box::new(Remains::Result(result)));
    let job = job.map(|job| Box::new(Remains::Job(job)));
    let attempts = (!attempts.is_empty()).then(|| Box::new(Remains::Attempts(attempts)));
    both(both(result, job), attempts)
}
