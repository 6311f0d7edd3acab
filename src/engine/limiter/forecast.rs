//! What comes next at one rate, if everybody takes permits as early as they may.

use std::collections::{VecDeque, vec_deque};
use std::iter::Peekable;

use super::gate::Speed;
use super::pacing::Arrival;
use super::window::{Stamp, Window};
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
    given: Peekable<vec_deque::Iter<'a, Stamp>>,
    foreseen: VecDeque<Stamp>,
    window: &'a Window,
}

impl<'a> Forecast<'a> {
    /// From `now` on, at this speed, with what is in the window.
    pub(super) fn new(now: Time, speed: Speed, window: &'a Window) -> Self {
        Self {
            now,
            speed,
            used: window.used(),
            given: window.iter().peekable(),
            foreseen: VecDeque::new(),
            window,
        }
    }

    /// When `weight` permits may be given; [`Time::NEVER`] if the rate never allows so many.
    pub(super) fn due(&mut self, weight: u64) -> Time {
        if weight > self.speed.largest_weight() {
            return Time::NEVER;
        }
        self.speed.advance(self.now);
        while self.used > self.speed.capacity_for(weight) - weight {
            let Some(oldest) = self.oldest() else {
                return Time::NEVER;
            };
            let leaves = oldest.time + self.window.span();
            let grows = self.speed.next_step();
            if grows < leaves {
                self.advance_to(grows);
            } else {
                self.advance_to(leaves);
                self.used -= oldest.weight;
                self.drop_oldest();
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
            self.foreseen.push_back(Stamp { time: due, weight });
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

    fn oldest(&mut self) -> Option<Stamp> {
        self.given
            .peek()
            .map(|stamp| **stamp)
            .or_else(|| self.foreseen.front().copied())
    }

    fn drop_oldest(&mut self) {
        if self.given.next().is_none() {
            self.foreseen.pop_front();
        }
    }
}
