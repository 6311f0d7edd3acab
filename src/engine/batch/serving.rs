//! What the owner of a batch reads and is handed, and what wakes it.

use std::sync::Arc;

use super::{Batch, HandedOver};
use crate::engine::model::{Delivery, EndReason, Work};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

impl<W: Work> Batch<W> {
    /// How many operations have been read from the input.
    #[must_use]
    pub fn read(&self) -> usize {
        self.input.read()
    }

    /// Adds operations; with `complete`, the last ones.
    pub(in crate::engine) fn feed(
        &mut self,
        jobs: impl ExactSizeIterator<Item = W::Job>,
        complete: bool,
    ) {
        if self.input.waiting() == 0 {
            self.ahead.ran_dry(self.typical.nanos());
        }
        self.results.reserve(jobs.len());
        self.input.feed(jobs, complete);
    }

    pub(in crate::engine) const fn finish_input(&mut self) {
        self.input.finish();
    }

    /// Whether its input is read at once, not as its operations end.
    #[must_use]
    pub const fn is_read_at_once(&self) -> bool {
        self.ahead.is_unbounded()
    }

    /// How many more operations its owner may read now.
    pub fn room(&mut self) -> usize {
        if self.input.is_complete() || self.end.has_come() {
            return 0;
        }
        let outstanding = match self.delivery {
            Delivery::InOrder | Delivery::AsCompleted => self.outstanding(),
            Delivery::AtEnd | Delivery::Nowhere => self.input.waiting(),
        };
        self.ahead.room(outstanding, self.typical.nanos())
    }

    /// The same, at a time: from its deadline on nothing more is read.
    pub fn room_at(&mut self, now: Time) -> usize {
        if now < self.end.deadline() {
            self.room()
        } else {
            0
        }
    }

    /// How many operations were read and not handed over.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.input.read() - self.results.handed_over()
    }

    /// Whether there is something to hand over. After an early end that is what was ready before,
    /// where the owner has had no sign of that end: up to the failure that ended it.
    pub(in crate::engine) fn ready(&self) -> bool {
        let Some(next) = self.results.ready() else {
            return false;
        };
        match self.ended() {
            None | Some(EndReason::Cancelled) => true,
            Some(EndReason::Operation) => self.end.operation() != Some(next),
            Some(_) => false,
        }
    }

    /// Whether its owner is to hand something over, or to end it.
    #[must_use]
    pub fn has_for_owner(&self) -> bool {
        self.end.has_come() || self.ready()
    }

    /// Takes the next record that is ready. None ends a round: after all that were ready when it
    /// began, while more input is to be read.
    #[inline(always)]
    pub fn hand_over(&mut self) -> Option<HandedOver<W::Value, W::Error>> {
        if !self.ready() || self.results.is_round_over() && self.room() > 0 {
            self.results.end_round();
            return None;
        }
        self.results.hand_over()
    }

    /// Whether a worker is to be woken to be the monitor while so many are read.
    pub(in crate::engine) fn deserves_monitor(&self, count: usize) -> bool {
        self.is_short() && self.ahead.deserves_monitor(count, self.input.read())
    }

    /// Its owner is to read no more in one go, if it does, as the next operation is long in coming.
    pub(in crate::engine) fn cut_short(&mut self) -> bool {
        self.ahead.cut_short(self.input.read())
    }

    /// Whether its owner stays in one call until it has ended.
    #[must_use]
    pub const fn is_attended(&self) -> bool {
        self.owner.attends()
    }

    /// The owner has gone, and nobody will take the outcomes: whether anything is left to run, after
    /// which the batch is to be removed.
    pub(in crate::engine) fn orphan(&mut self) -> bool {
        self.input.finish();
        self.end.forget_deadline();
        let goes_on = !self.settled() && !self.end.has_come();
        if goes_on {
            self.owner.leave();
        }
        goes_on
    }

    /// Whether something of it runs; its owner is then told when nothing does.
    pub(in crate::engine) fn await_idle(&mut self) -> bool {
        let waits = !self.idle();
        self.owner.set_waiting(waits);
        waits
    }

    /// Whether an outcome may become ready that is not yet; its owner is then told of it.
    pub(in crate::engine) fn await_outcome(&mut self) -> bool {
        let waits = !self.end.has_come() && !self.ready() && !self.quiet();
        self.owner.set_waiting(waits);
        waits
    }

    /// Has its owner told that there is something for it to do: gives its signal.
    #[must_use]
    pub(in crate::engine) fn tell_owner(&mut self) -> Arc<Signal> {
        self.owner.tell()
    }

    /// The same, if it waits and there is something.
    #[inline(always)]
    pub(in crate::engine) fn tell_waiting_owner(&mut self) -> Option<Arc<Signal>> {
        let tells = self.owner.waits() && self.owner_has_something();
        tells.then(|| self.owner.tell())
    }

    /// The same, if it waits and may read more.
    #[inline(always)]
    pub(in crate::engine) fn tell_reader(&mut self) -> Option<Arc<Signal>> {
        let tells = self.owner.waits() && self.room() > 0;
        tells.then(|| self.owner.tell())
    }

    /// The same, if it waits and starts operations of the batch meanwhile.
    pub(in crate::engine) fn tell_working_owner(&mut self) -> Option<Arc<Signal>> {
        self.owner.waits_and_works().then(|| self.owner.tell())
    }

    fn owner_has_something(&mut self) -> bool {
        self.ended().is_some() || self.ready() || self.settled() || self.room() > 0
    }
}
