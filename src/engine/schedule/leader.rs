//! Idle workers: the *leader* sleeps until the next event, the others are parked until one wakes them.

use std::sync::Arc;
use std::time::Duration;

use super::claim::{Claim, Seat};
use super::state::State;
use crate::engine::signal::Signal;
use crate::engine::terms::Work;
use crate::engine::time::Time;

/// A wait for the limit that is longer is told when it begins.
pub const LONG_WAIT: Duration = Duration::from_secs(10);

/// What one worker does on behalf of all while it rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It waits for a permit, and looks again at that time.
    Permit(Time),
    /// It waits until a retry is due.
    Retry,
    /// It looks whether another worker, left alone, gets on.
    Watch,
}

#[derive(Debug)]
pub(super) struct Leader {
    pub(super) seat: u64,
    pub(super) signal: Arc<Signal>,
    pub(super) duty: Duty,
}

/// A worker that sleeps until it is woken.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) seat: u64,
    pub(super) signal: Arc<Signal>,
    /// A spare thread that is to look whether it is still needed, when it is told to.
    pub(super) spare: bool,
}

impl<W: Work> State<W> {
    pub(super) fn wait_for_permit(
        &mut self,
        seat: &mut Seat,
        slot: usize,
        until: Time,
        now: Time,
    ) -> Claim<W> {
        let unpaused = self.pauses.unpaused(now);
        seat.waiting_since.get_or_insert(unpaused);
        if let Some((_, source)) = &mut self.sources[slot] {
            source.waiting_since.get_or_insert(unpaused);
        }
        self.tell_long_wait(seat, until, now);
        // What has expired is not to keep a place in the limiter's queue, though its owner may be
        // away and not end it.
        let until = self.next_expiry(now).unwrap_or(until).min(until);
        if seat.only.is_none() {
            if self.another_waits(seat) {
                self.leave_lead(seat, now);
                return self.park(seat);
            }
            self.take_lead(seat, Duty::Permit(until));
        }
        Claim::Rest(until)
    }

    /// Has the seat's thread tell of a wait for the limit that is long, once. What a server has asked
    /// for is told where it is heard.
    fn tell_long_wait(&mut self, seat: &mut Seat, until: Time, now: Time) {
        let known = (self.told_until + LONG_WAIT / 10).max(self.pauses.until());
        if seat.only.is_none() && until > (now + LONG_WAIT).max(known) && until != Time::NEVER {
            self.told_until = until;
            seat.long_wait = Some(until);
        }
    }

    /// How long an operation has waited for its permit that starts now. The seat may have begun to
    /// wait for another source, when there was not yet this one.
    #[inline(always)]
    pub(super) fn permit_wait(&mut self, seat: &Seat, slot: usize, now: Time) -> u64 {
        let unpaused = self.pauses.unpaused(now);
        let (Some(since), Some((_, source))) = (seat.waiting_since, &mut self.sources[slot]) else {
            return 0;
        };
        source.waiting_since = None;
        unpaused.nanos_since(since.max(source.began_unpaused))
    }

    /// Books what sources have waited for in vain, as the worker who did so for them now leaves off.
    fn book_waits(&mut self, now: Time) {
        let unpaused = self.pauses.unpaused(now);
        for (_, source) in self.sources.iter_mut().flatten() {
            source.book_wait(unpaused);
        }
    }

    pub(super) fn take_lead(&mut self, seat: &Seat, duty: Duty) {
        self.leader = Some(Leader {
            seat: seat.id,
            signal: Arc::clone(&seat.signal),
            duty,
        });
    }

    pub(super) fn leave_lead(&mut self, seat: &mut Seat, now: Time) {
        seat.ticket = None;
        seat.waiting_since = None;
        if self
            .leader
            .as_ref()
            .is_some_and(|leader| leader.seat == seat.id)
        {
            self.leader = None;
            self.book_waits(now);
        }
    }

    pub(super) fn park(&mut self, seat: &Seat) -> Claim<W> {
        self.parked.push(Parked {
            seat: seat.id,
            signal: Arc::clone(&seat.signal),
            spare: seat.spare,
        });
        Claim::Rest(Time::NEVER)
    }

    pub(super) fn unpark(&mut self, seat: u64) {
        if let Some(place) = self.parked.iter().rposition(|parked| parked.seat == seat) {
            self.parked.remove(place);
        }
    }

    /// Another worker waits for a permit on behalf of all.
    pub(super) fn another_waits(&self, seat: &Seat) -> bool {
        self.leader
            .as_ref()
            .is_some_and(|leader| matches!(leader.duty, Duty::Permit(_)) && leader.seat != seat.id)
    }

    /// When the first of the sources expires that have something to start now, if any has.
    pub(super) fn next_expiry(&self, now: Time) -> Option<Time> {
        let available = self.live().filter(|source| source.available(now));
        let expiries = available.map(|source| match source.ended {
            None => source.terms.deadline,
            Some(_) => Time::NEVER,
        });
        expiries.min()
    }
}
