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
