//! What the owner of a source reads and is handed.

use std::sync::Arc;

use super::{PROBATION, READ_AHEAD_BELOW, Source};
use crate::engine::ledger::{Attempt, Keep, Record};
use crate::engine::signal::Signal;
use crate::engine::terms::{End, Work};
use crate::engine::time::Time;

/// Nobody is woken to keep watch while fewer operations are read.
const WORTH_A_WATCH: usize = 128;

/// What is handed over of one operation.
#[derive(Debug)]
pub struct HandedOver<W: Work> {
    /// Its place in the input.
    pub index: usize,
    /// What became of it.
    pub record: Record<W::Value, W::Error>,
    /// Its earlier attempts, if it was tried again.
    pub earlier: Vec<Attempt<W::Error>>,
}

impl<W: Work> Source<W> {
    /// How many more operations its owner may read now.
    pub fn room(&mut self) -> usize {
        if self.complete || self.ended.is_some() {
            return 0;
        }
        let least = self.terms.ahead.least;
        if self.ledger.typical() >= READ_AHEAD_BELOW {
            self.ahead = least;
        }
        let outstanding = match self.terms.keep {
            Keep::Ordered | Keep::Completed => self.outstanding(),
            Keep::All | Keep::Nothing => self.live,
        };
        let room = self.ahead.saturating_sub(outstanding);
        // Few ahead means slow operations: each place is filled at once. Many are filled together,
        // while there is enough left for every worker.
        let worthwhile = self.ahead.saturating_sub(least.max(self.ahead / 16));
        if room >= worthwhile.max(1) { room } else { 0 }
    }

    /// How many operations were read and not handed over.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.read() - self.handed_over
    }

    /// The same, at a time: from its deadline on nothing more is read.
    pub fn room_at(&mut self, now: Time) -> usize {
        if now < self.terms.deadline {
            self.room()
        } else {
            0
        }
    }

    /// How far ahead it may be read once its operations have proved to be quick.
    pub(super) fn most_ahead(&self) -> usize {
        if self.reads_light {
            self.terms.ahead.light
        } else {
            self.terms.ahead.heavy
        }
    }

    /// What has just been read costs little while it waits, or does not.
    pub(in crate::engine) fn end_reading(&mut self, light: bool) {
        self.reading_since = None;
        self.reads_light = light;
        self.ahead = self.ahead.min(self.most_ahead());
    }

    /// Whether somebody is to be woken to keep watch while so many are read: that takes as long as
    /// to add a good hundred one by one.
    pub(in crate::engine) fn deserves_watch(&self, count: usize) -> bool {
        self.is_short() && count >= WORTH_A_WATCH && self.read() >= self.quick_from
    }

    /// Its owner is to read no more in one go, if it does, as the next operation is long in coming.
    pub(in crate::engine) fn cut_short(&mut self) -> bool {
        let cut = self.reading_since.take().is_some();
        if cut {
            self.quick_from = self.read() + PROBATION;
        }
        cut
    }

    /// Whether there is something to hand over. After an early end that is what was ready before,
    /// where the owner has had no sign of that end: up to the failure that ended it.
    pub(in crate::engine) fn ready(&self) -> bool {
        let Some(next) = self.ledger.ready() else {
            return false;
        };
        match self.ended() {
            None | Some(End::Cancelled) => true,
            Some(End::Operation) => self.ended_at != Some(next),
            Some(_) => false,
        }
    }

    /// Whether its owner is to hand something over, or to end it.
    #[must_use]
    pub fn has_for_owner(&self) -> bool {
        self.ended.is_some() || self.ready()
    }

    /// Takes the next record that is ready. None ends a round: after all that were ready when it
    /// began, while more input is to be read.
    #[inline(always)]
    pub fn hand_over(&mut self) -> Option<HandedOver<W>> {
        let round = self.round.take();
        if !self.ready() || round == Some(0) && self.room() > 0 {
            return None;
        }
        let left = match round {
            None | Some(0) => self.ledger.count_ready(),
            Some(left) => left,
        };
        let (index, record) = self.ledger.hand_over()?;
        self.handed_over += 1;
        self.round = Some(left - 1);
        Some(HandedOver {
            index,
            record,
            earlier: self.ledger.history_of(index),
        })
    }

    pub(in crate::engine) fn owner_has_something(&mut self) -> bool {
        self.ended().is_some() || self.ready() || self.settled() || self.room() > 0
    }

    /// Has its owner told that there is something for it to do: gives its signal.
    #[must_use]
    pub(in crate::engine) fn tell_owner(&mut self) -> Arc<Signal> {
        self.owner_waits = false;
        Arc::clone(&self.owner)
    }
}
