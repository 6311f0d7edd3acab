//! Everything the scheduler's lock guards, and the choices made under it.

use std::collections::HashMap;
use std::sync::Arc;

use super::asking::Asking;
use super::claim::{Claim, Ending, Finished, Leftover, Ongoing, Remains, Seat, SourceId, Start};
use super::leader::{Duty, Leader, Parked};
use super::locked::Notices;
use super::pauses::Pauses;
use super::stragglers::Stragglers;
use super::watch::Watch;
use crate::engine::ledger::Attempt;
use crate::engine::limiter::{Limiter, Turn};
use crate::engine::recovery::Recovery;
use crate::engine::retry::GiveUp;
use crate::engine::signal::Signal;
use crate::engine::source::{Running, Source};
use crate::engine::terms::{End, Work};
use crate::engine::time::Time;

#[derive(Debug)]
pub(super) struct State<W: Work> {
    pub(super) sources: Vec<Option<(u64, Source<W>)>>,
    /// By the serial number of the source that was taken out while they ran.
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
    /// The seat that may repeat its last claim; None as soon as the lock is taken for anything else.
    pub(super) repeater: Option<u64>,
    /// Given when the lock is released.
    pub(super) notices: Notices,
    #[cfg(debug_assertions)]
    pub(super) checked: super::wakeups::Checked,
}

impl<W: Work> State<W> {
    pub(super) fn source(&mut self, id: SourceId) -> Option<&mut Source<W>> {
        match self.sources.get_mut(id.slot) {
            Some(Some((serial, source))) if *serial == id.serial => Some(source),
            _ => None,
        }
    }

    /// The sources that there are.
    pub(super) fn live(&self) -> impl Iterator<Item = &Source<W>> {
        self.sources.iter().flatten().map(|(_, source)| source)
    }

    /// When the next retry is due that a worker is to wait for.
    pub(super) fn next_retry_due(&self, now: Time) -> Option<Time> {
        let due = self.live().map(|source| source.next_due(now));
        due.flatten().min()
    }

    /// Ends the sources whose deadline has passed; whether there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let mut any = false;
        for (_, source) in self.sources.iter_mut().flatten() {
            if now >= source.terms.deadline && source.ended().is_none() && !source.settled() {
                source.expire();
                self.notices.add(source.tell_owner());
                any = true;
            }
        }
        any
    }

    /// Whether nobody waits for the operations of a source any more, though they may still run.
    pub(super) fn is_given_up(&mut self, id: SourceId, now: Time) -> bool {
        !self
            .source(id)
            .is_some_and(|source| source.is_patient() && now < source.terms.deadline)
    }

    /// Ends what the running operations of a source have begun, which is given up, and theirs in
    /// turn; but for what nobody will take, as that was left to run.
    pub(super) fn end_inner(&mut self, id: SourceId, running: &[Running]) {
        let begun_by = |id, running: &[Running]| -> Vec<_> {
            running.iter().map(|each| (id, each.index)).collect()
        };
        let mut given_up = begun_by(id, running);
        while let Some(outer) = given_up.pop() {
            for (slot, entry) in self.sources.iter_mut().enumerate() {
                if let Some((serial, source)) = entry
                    && source.outer == Some(outer)
                    && !source.orphaned
                {
                    source.end(End::Outer);
                    self.notices.add(source.tell_owner());
                    let serial = *serial;
                    given_up.extend(begun_by(SourceId { slot, serial }, source.running()));
                }
            }
        }
    }

    /// When the next source is to end that has not.
    pub(super) fn next_deadline(&self) -> Time {
        let waiting = self.live().filter(|source| source.ended().is_none());
        let deadlines = waiting.map(|source| source.terms.deadline);
        deadlines.min().unwrap_or(Time::NEVER)
    }

    /// The slots of the sources, beginning with the one whose turn it is.
    pub(super) fn turns(&self) -> impl Iterator<Item = usize> + use<W> {
        let count = self.sources.len();
        let turn = if self.turn < count { self.turn } else { 0 };
        (turn..turn + count).map(move |slot| if slot < count { slot } else { slot - count })
    }

    /// Books what the seat has called.
    #[inline(always)]
    pub(super) fn finish(
        &mut self,
        seat: &mut Seat,
        finished: Finished<W>,
        now: Time,
    ) -> Leftover<W> {
        let ongoing = seat.ongoing.as_ref()?;
        if seat.only.is_none() {
            self.busy -= 1;
        }
        let leftover = self.book(ongoing, finished, now);
        seat.ongoing = None;
        leftover
    }

    #[inline(always)]
    pub(super) fn book(
        &mut self,
        ongoing: &Ongoing,
        finished: Finished<W>,
        now: Time,
    ) -> Leftover<W> {
        let leftover = self.enter(ongoing, finished, now);
        if self.closed || !self.joiners.is_empty() {
            self.tell_joiners();
        }
        leftover
    }

    #[inline(always)]
    pub(super) fn enter(
        &mut self,
        ongoing: &Ongoing,
        finished: Finished<W>,
        now: Time,
    ) -> Leftover<W> {
        let Ongoing {
            source: id,
            running,
            ..
        } = ongoing;
        let watched = self.watched();
        let Some(source) = self.source(*id) else {
            return self.enter_straggler(*id, running, finished);
        };
        let Finished {
            ended,
            ending,
            waited,
        } = finished;
        let running = &running.having_waited(waited);
        source.leave(running.index);
        if !running.refused {
            source
                .ledger
                .book(ended.nanos_since(running.started), waited);
        }
        let mut leftover = None;
        match ending {
            Ending::Again(error, due, job) if source.ended.is_none() => {
                source
                    .ledger
                    .remember(running.index, Attempt::of(error, running, ended));
                source.retry(running, due, job);
                let wanted = source.owner_waits && source.owner_works;
                let told = wanted.then(|| source.tell_owner());
                self.notices.extend(told);
                self.reschedule(now);
                return leftover;
            }
            Ending::Again(error, _, job) => {
                let result = source
                    .ledger
                    .enter(running, Err(error), ended)
                    .map(|result| Box::new(Remains::Result(result)));
                source.judge(running.index, true, false);
                source.note_unretried(running.index);
                leftover = both(result, Some(Box::new(Remains::Job(job))));
            }
            Ending::Result(result, fatal) => {
                let failed = result.is_err();
                leftover = source
                    .ledger
                    .enter(running, result, ended)
                    .map(|result| Box::new(Remains::Result(result)));
                if failed && !fatal && now >= source.terms.deadline {
                    source.fail_late();
                } else {
                    source.judge(running.index, failed, fatal);
                }
            }
            Ending::Delivered(failed) => {
                source.ledger.count(failed);
                let earlier = source.ledger.history_of(running.index);
                leftover = (!earlier.is_empty()).then(|| Box::new(Remains::Attempts(earlier)));
            }
        }
        let tell =
            source.owner_waits && !(watched && source.is_short()) && source.owner_has_something();
        let told = tell.then(|| source.tell_owner());
        if source.orphaned
            && source.settled()
            && let Some((_, source)) = self.sources[id.slot].take()
        {
            leftover = both(leftover, Some(Box::new(Remains::Source(Box::new(source)))));
        }
        self.notices.extend(told);
        leftover
    }

    #[inline(always)]
    pub(super) fn claim(
        &mut self,
        seat: &mut Seat,
        limiter: Option<&Limiter>,
        now: Time,
        attached: bool,
    ) -> Claim<W> {
        let Some(slot) = self.pick(seat, now) else {
            return self.nothing_to_start(seat, now);
        };
        if seat.only.is_none() && self.busy >= self.capacity {
            self.leave_lead(seat, now);
            return self.park(seat);
        }
        let opens = self.recovery.opens();
        if now < opens {
            if self.is_to_give_up(limiter, now) {
                return Claim::GiveUp;
            }
            return self.wait_for_permit(seat, slot, opens, now);
        }
        if let Some(claim) = self.ask_or_wait(seat, slot, now, attached) {
            return claim;
        }
        if let Some(limiter) = limiter {
            if seat.ticket.is_none() && seat.only.is_none() && self.another_waits(seat) {
                return self.park(seat);
            }
            let turn = turn_of(seat, limiter, now, attached);
            if turn != Turn::Ready && self.is_to_give_up(Some(limiter), now) {
                return Claim::GiveUp;
            }
            match turn {
                Turn::Ready => {}
                Turn::At(time) => return self.wait_for_permit(seat, slot, time, now),
                Turn::Behind => return self.wait_for_permit(seat, slot, Time::NEVER, now),
            }
        }
        if !attached {
            return self.stand_back(seat, now).unwrap_or(Claim::Ready);
        }
        let permit_wait = self.permit_wait(seat, slot, now);
        self.leave_lead(seat, now);
        if seat.only.is_none() {
            // What others start of their own source is nobody's turn.
            self.turn = slot + 1;
        }
        let Some(start) = self.start(seat, slot, now, permit_wait) else {
            return self.nothing_to_start(seat, now);
        };
        if !seat
            .ongoing()
            .is_some_and(|ongoing| ongoing.running.refused)
        {
            self.note_start(now);
        }
        self.busy += usize::from(seat.only.is_none());
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
        seat: &mut Seat,
        slot: usize,
        now: Time,
        permit_wait: u64,
    ) -> Option<Start<W>> {
        let watched = self.watched();
        let (serial, source) = self.sources[slot].as_mut()?;
        let (running, job) = match seat.only {
            Some((_, Some(index))) => source.start_exactly(index, seat.id, now, permit_wait)?,
            _ => source.start(seat.id, now, permit_wait)?,
        };
        if source.owner_waits && !(watched && source.is_short()) && source.room() > 0 {
            self.notices.add(source.tell_owner());
        }
        let id = SourceId {
            slot,
            serial: *serial,
        };
        let known = seat.serves.replace(id) == Some(id);
        let context = if known {
            None
        } else {
            Some(Arc::clone(&source.context))
        };
        let first = !std::mem::replace(&mut seat.experienced, true);
        seat.ongoing = Some(Ongoing::new(id, running, first));
        Some(Start { context, job })
    }

    #[inline(always)]
    pub(super) fn pick(&self, seat: &Seat, now: Time) -> Option<usize> {
        if let Some((id, index)) = seat.only {
            let (serial, source) = self.sources.get(id.slot)?.as_ref()?;
            let available = match index {
                Some(index) => source.available_first(index, now),
                None => source.available(now),
            };
            return (*serial == id.serial && available).then_some(id.slot);
        }
        self.turns().find(|slot| {
            self.sources[*slot]
                .as_ref()
                .is_some_and(|(_, source)| source.available(now))
        })
    }

    pub(super) fn nothing_to_start(&mut self, seat: &mut Seat, now: Time) -> Claim<W> {
        self.leave_lead(seat, now);
        if let Some((id, _)) = seat.only {
            if self.asking == Asking::Granted {
                // Others may use the permit.
                self.wake_one(now);
            }
            let due = self.source(id).map(|source| source.next_due_after(now));
            return Claim::Rest(due.unwrap_or(Time::NEVER));
        }
        self.spend_permit();
        if self.over() {
            return Claim::Exit;
        }
        match self.next_retry_due(now) {
            Some(due) if self.leader.is_none() => {
                self.take_lead(seat, Duty::Retry);
                Claim::Rest(due.max(now))
            }
            _ => self.park(seat),
        }
    }
}

/// Whether the seat's turn has come at the limiter; if it is attached, it takes the permit. From when
/// it has to wait it stands in the queue.
#[inline(always)]
fn turn_of(seat: &mut Seat, limiter: &Limiter, now: Time, attached: bool) -> Turn {
    if seat.ticket.is_none() {
        let free = if attached {
            limiter.try_start(1, seat.ended.take().as_ref(), now)
        } else {
            limiter.is_free(1, now)
        };
        if free {
            return Turn::Ready;
        }
    }
    let enqueue = || limiter.enqueue_call(1, Arc::clone(&seat.signal));
    let ticket = seat.ticket.get_or_insert_with(enqueue);
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

/// What a call has come to, if that has not gone elsewhere.
type Outcome<W> = Option<Result<<W as Work>::Value, <W as Work>::Error>>;

/// What a call has come to, and the operation, if that was to be called again.
pub(super) fn parts_of<W: Work>(ending: Ending<W>) -> (Outcome<W>, Option<W::Job>) {
    match ending {
        Ending::Result(result, _) => (Some(result), None),
        Ending::Again(error, _, job) => (Some(Err(error)), Some(job)),
        Ending::Delivered(_) => (None, None),
    }
}
