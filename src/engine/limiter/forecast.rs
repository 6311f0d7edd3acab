//! What comes next at one rate, if everybody takes permits as early as they may.

use std::collections::VecDeque;
use std::iter::Peekable;

use super::pacing::Arrival;
use super::speed::Speed;
use super::window::{InOrder, Stamp};
use crate::engine::time::Time;

/// Permits that one who waits is to have at a time, whatever others take before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reservation {
    pub(super) weight: u64,
    pub(super) start: Time,
}

/// What is given until somebody has its permits, its own among it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// So many permits at least,
    pub(super) least: u64,
    /// and so many at most,
    pub(super) most: u64,
    /// of which so many at once at most.
    pub(super) heaviest: u64,
}

/// A future in which permits are given one after the other, each as early as it may be.
#[derive(Clone)]
pub(super) struct Forecast<'a> {
    now: Time,
    speed: Speed,
    used: u64,
    given: Peekable<InOrder<'a>>,
    foreseen: VecDeque<Stamp>,
    /// Nanoseconds that what is foreseen to be given stays.
    span: u64,
    /// When all that was given has left.
    empty: Time,
}

impl<'a> Forecast<'a> {
    /// From `now` on, at this speed, with so many permits in the window. What is given after them
    /// stays for `span` nanoseconds.
    pub(super) fn new(
        now: Time,
        speed: Speed,
        given: InOrder<'a>,
        (used, span): (u64, u64),
    ) -> Self {
        Self {
            now,
            speed,
            used,
            empty: given.last_leaves(),
            given: given.peekable(),
            foreseen: VecDeque::new(),
            span,
        }
    }

    /// When `weight` permits may be given; [`Time::NEVER`] if the rate never allows so many.
    pub(super) fn due(&mut self, weight: u64) -> Time {
        if weight > self.speed.largest_weight() {
            return Time::NEVER;
        }
        self.speed.advance(self.now);
        while self.used > self.speed.capacity_for(weight) - weight {
            let Some(first) = self.first_to_leave() else {
                return Time::NEVER;
            };
            let grows = self.speed.next_step();
            if grows < first.leaves {
                self.advance_to(grows);
            } else {
                self.advance_to(first.leaves);
                self.used -= first.weight;
                self.drop_first(first);
            }
        }
        loop {
            let due = self.speed.due(weight, self.now);
            if due <= self.now || due == Time::NEVER {
                return due;
            }
            self.advance_to(due.min(self.speed.next_step()));
        }
    }

    /// Whether all that is ahead is given after `deadline`, if bounds tell; nothing was foreseen yet.
    pub(super) fn bounds(&self, ahead: &Ahead, deadline: Time) -> Option<bool> {
        if self.surely_not_before(ahead) > deadline {
            return Some(true);
        }
        (self.all_given_by(ahead)? <= deadline).then_some(false)
    }

    /// All that is ahead is given then or later.
    fn surely_not_before(&self, ahead: &Ahead) -> Time {
        if let Some(due) = self.due_one_by_one(ahead, ahead.least) {
            return due;
        }
        // No more than the limit is given in each span, of which the first begins now.
        let spans = ahead.least.saturating_sub(1) / self.speed.rate().limit();
        let by_window = self.now.plus_nanos(spans.saturating_mul(self.span));
        match self.speed.pacing() {
            // What is cut may be given faster when it has grown.
            Some(pacing) if !self.is_cut() => by_window.max(pacing.due_in_all(ahead.least)),
            _ => by_window,
        }
    }

    /// When the last of so many is due, where all are single permits and nothing but the window holds
    /// them up. Each is given when another leaves, and that stays as long as all others: so they are
    /// given round by round, and every round like the one before.
    fn due_one_by_one(&self, ahead: &Ahead, permits: u64) -> Option<Time> {
        let limit = self.speed.rate().limit();
        let free = limit.checked_sub(self.used)?;
        let only_window = self.speed.pacing().is_none()
            && !self.is_cut()
            && !self.speed.waits_for_server(self.now);
        let one_round = self.empty <= self.now.plus_nanos(self.span);
        if ahead.heaviest > 1 || !only_window || !one_round {
            return None;
        }
        let before = permits.saturating_sub(1);
        let (rounds, rest) = (before / limit, before % limit + 1);
        let first = if rest <= free {
            self.now
        } else {
            let mut to_leave = rest - free;
            let mut given = self.given.clone();
            let last = given.find(|it| {
                to_leave = to_leave.saturating_sub(it.weight);
                to_leave == 0
            })?;
            self.now.max(last.leaves)
        };
        Some(first.plus_nanos(rounds.saturating_mul(self.span)))
    }

    fn is_cut(&self) -> bool {
        self.speed.effective_limit() < self.speed.rate().limit()
    }

    /// When all that is ahead is given at the latest: in portions which each fit into the window when
    /// the one before has left it.
    fn all_given_by(&self, ahead: &Ahead) -> Option<Time> {
        if let Some(due) = self.due_one_by_one(ahead, ahead.most) {
            return Some(due);
        }
        if ahead.heaviest > self.speed.largest_weight() || self.speed.waits_for_server(self.now) {
            return None;
        }
        let portions = ahead.most.div_ceil(self.speed.effective_limit().max(1));
        // Of two portions that follow each other, both are more than one alone can be.
        let portions = if ahead.heaviest > 1 {
            portions.checked_mul(2)?
        } else {
            portions
        };
        let begins = self.now.max(self.empty);
        let (begins, interval) = self.speed.pacing().map_or((begins, 0), |pacing| {
            let interval = u64::try_from(pacing.interval().as_nanos()).unwrap_or(u64::MAX);
            (begins.max(pacing.earned()), interval)
        });
        let takes = portions.saturating_sub(1).checked_mul(self.span)?;
        let paced = ahead.most.checked_mul(interval)?;
        Some(begins.plus_nanos(takes.checked_add(paced)?))
    }

    /// Gives `weight` permits at [`Forecast::due`], so that the next are forecast after them.
    pub(super) fn give(&mut self, weight: u64, arrival: Arrival) -> Time {
        let due = self.due(weight);
        if due == Time::NEVER {
            self.now = due;
        } else {
            self.speed.charge(weight, due, arrival);
            self.used += weight;
            let leaves = due.plus_nanos(self.span);
            self.foreseen.push_back(Stamp { leaves, weight });
        }
        due
    }

    /// Whether `weight` permits that are given at `start` leave all that is reserved its time; what is
    /// reserved is in the order of that.
    pub(super) fn lets_in(
        mut self,
        reserved: &[Reservation],
        weight: u64,
        (start, arrival): (Time, Arrival),
        now: Time,
    ) -> bool {
        // What is to start before does so, and is looked at again then.
        let before = if start > now {
            reserved.partition_point(|reserved| reserved.start <= start)
        } else {
            0
        };
        let (before, after) = reserved.split_at(before);
        for reserved in before {
            self.give_reserved(*reserved);
        }
        self.advance_to(start);
        self.keeps(after, weight, arrival)
    }

    /// When `weight` permits are due among what is reserved: what would come before them, or be made
    /// late by them, is given first.
    pub(super) fn due_among(
        &mut self,
        reserved: &mut Vec<Reservation>,
        weight: u64,
        arrival: Arrival,
        now: Time,
    ) -> Time {
        while let Some(first) = reserved.first().copied() {
            let due = self.clone().due(weight);
            let comes_before = due > now && due >= first.start;
            if !comes_before && self.keeps(reserved, weight, arrival) {
                break;
            }
            reserved.remove(0);
            self.give_reserved(first);
        }
        self.due(weight)
    }

    /// Whether nothing that is reserved comes later for `weight` permits that are given first. What is
    /// reserved together may be more than there is; that is nobody's fault who comes now.
    fn keeps(&self, reserved: &[Reservation], weight: u64, arrival: Arrival) -> bool {
        let (mut without, mut after) = (self.clone(), self.clone());
        let given = after.give(weight, arrival);
        reserved.iter().all(|reserved| {
            let kept = without.give_reserved(*reserved);
            after.give_reserved(*reserved) <= kept.max(given)
        })
    }

    fn give_reserved(&mut self, reserved: Reservation) -> Time {
        self.advance_to(reserved.start);
        self.give(reserved.weight, Arrival::Queued)
    }

    fn advance_to(&mut self, time: Time) {
        self.now = self.now.max(time);
        self.speed.advance(self.now);
    }

    fn first_to_leave(&mut self) -> Option<Stamp> {
        let (given, foreseen) = (self.given.peek().copied(), self.foreseen.front().copied());
        match (given, foreseen) {
            (Some(given), Some(foreseen)) if foreseen.leaves < given.leaves => Some(foreseen),
            (given, foreseen) => given.or(foreseen),
        }
    }

    fn drop_first(&mut self, first: Stamp) {
        if self.given.next_if_eq(&first).is_none() {
            self.foreseen.pop_front();
        }
    }
}
