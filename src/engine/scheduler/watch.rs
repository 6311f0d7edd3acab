//! Leaving one worker alone with short operations.
//!
//! Where threads share an interpreter that one of them has at a time, a worker keeps it from one
//! short operation to the next. Whoever is woken meanwhile only queues for it, which costs more
//! than many such operations. So the others sleep on, and one of them keeps *watch* without the
//! interpreter: it looks every millisecond whether anything has started since, and goes to work
//! itself as soon as the operation under way has turned out not to be short.
use std::sync::Arc;
use std::time::Duration;

use super::claim::{Claim, Worker};
use super::leader::{Duty, Leader};
use super::state::State;
use crate::engine::batch::Batch;
use crate::engine::model::Work;
use crate::engine::time::Time;

/// How often the watch looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What the one that keeps watch goes by.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Operations do not run side by side, but where they wait for something.
    pub(super) one_at_a_time: bool,
    pub(super) last_start: Time,
    last_look: Time,
}

impl<W: Work> State<W> {
    /// Whether somebody keeps watch.
    pub(super) fn watched(&self) -> bool {
        self.leader
            .as_ref()
            .is_some_and(|leader| leader.duty == Duty::Watch)
    }

    /// Whether a worker is at short operations, and there is nothing else to do.
    pub(super) fn one_is_enough(&self, now: Time) -> bool {
        self.watch.one_at_a_time && self.busy > 0 && self.only_short(now)
    }

    fn only_short(&self, now: Time) -> bool {
        self.live()
            .all(|batch| batch.is_short() || !batch.available(now))
    }

    /// For a worker that could start something: whether it keeps watch, or sleeps on, instead.
    pub(super) fn stand_back(&mut self, worker: &mut Worker, now: Time) -> Option<Claim<W>> {
        if worker.only.is_some() || !self.one_is_enough(now) {
            return None;
        }
        let watched = self.watched();
        if self.leader.is_some() && !watched {
            return None;
        }
        // Its turn at the limiter may have come: it is not to keep that from others.
        worker.ticket = None;
        if watched {
            return Some(self.park(worker));
        }
        self.take_lead(worker, Duty::Watch);
        Some(self.watch_on(now))
    }

    /// Has one of those who sleep keep watch, where another is left to work.
    pub(super) fn post_watch(&mut self) {
        if !self.watch.one_at_a_time || self.leader.is_some() || self.parked.len() < 2 {
            return;
        }
        let parked = self.parked.remove(0);
        self.notices.add(Arc::clone(&parked.signal));
        self.leader = Some(Leader {
            worker: parked.worker,
            signal: parked.signal,
            duty: Duty::Watch,
        });
        // As nothing may have started just now, it is not to give up when it looks first.
        self.watch.last_look = Time::default();
    }

    /// For the one that keeps watch: whether it goes on with that.
    pub(super) fn keep_watch(&mut self, worker: &Worker, now: Time) -> Option<Claim<W>> {
        if !self.watched() || self.leader.as_ref()?.worker != worker.id {
            return None;
        }
        let started = self.watch.last_start > self.watch.last_look;
        if started && self.only_short(now) && !self.reads_long(now) && !self.over() {
            return Some(self.watch_on(now));
        }
        self.leader = None;
        if !started && self.busy > 0 {
            for (_, batch) in self.batches.iter_mut().flatten() {
                batch.was_not_short();
            }
        }
        None
    }

    /// Whether an owner has read for long in one go, whatever else has started meanwhile.
    fn reads_long(&self, now: Time) -> bool {
        let began = self.live().filter_map(Batch::reading_since);
        began
            .min()
            .is_some_and(|began| now.since(began) >= LOOK_EVERY * 2)
    }

    /// Whether an owner waits for its input, and nobody keeps watch any more.
    pub(super) fn collect_reading(&self, worker: &Worker) -> Option<Claim<W>> {
        let may = worker.only.is_none() && !self.watched();
        (may && self.live().any(|batch| batch.reading_since().is_some())).then_some(Claim::Collect)
    }

    fn watch_on(&mut self, now: Time) -> Claim<W> {
        self.watch.last_look = now;
        Claim::Rest(now + LOOK_EVERY)
    }

    /// Has the one that keeps watch look for work as everybody else.
    pub(super) fn end_watch(&mut self) {
        if self.watched()
            && let Some(leader) = self.leader.take()
        {
            self.notices.add(leader.signal);
        }
    }

    /// Tells the owners who wait what they were not told while one worker was left alone.
    pub(super) fn tell_owners(&mut self) {
        for (_, batch) in self.batches.iter_mut().flatten() {
            self.notices.extend(batch.tell_waiting_owner());
        }
    }
}
