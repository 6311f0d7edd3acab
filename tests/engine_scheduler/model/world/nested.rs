//! What workers have called, while it waits for a call of the same executor.

use std::sync::Arc;

use paceline::engine::model::BatchId;
use paceline::engine::scheduler::{Claim, Worker};
use paceline::engine::time::Time;

use super::{Post, UNIT, World, peek};
use crate::fixture::{SUBMITTED, Started, woken};

/// Whoever waits looks again after so many units, as nobody tells it that the call was cancelled.
const LOOK_AGAIN: u64 = 20;

/// A wait for the call at `index`.
#[derive(Debug)]
pub(super) struct Nested {
    index: usize,
    does: Does,
}

#[derive(Debug)]
enum Does {
    /// It would call that itself, and rests until a time.
    Look(Worker, Time),
    /// It is in a limiter that takes as long as it likes, for what is next of a batch.
    Ask(Worker, BatchId),
    Call(Worker, Started),
    /// It waits until that has ended; another works in its place.
    StandAside,
}

impl Nested {
    pub(super) fn stands_aside(&self) -> bool {
        matches!(self.does, Does::StandAside)
    }

    pub(super) fn asks(&self) -> bool {
        matches!(self.does, Does::Ask(..))
    }

    /// It was answered, if it asks: for which batch.
    pub(super) fn answered(&mut self) -> Option<BatchId> {
        let Does::Ask(_, batch) = self.does else {
            return None;
        };
        let does = std::mem::replace(&mut self.does, Does::StandAside);
        if let Does::Ask(worker, _) = does {
            self.does = Does::Look(worker, Time::default());
        }
        Some(batch)
    }

    pub(super) fn calls(&self) -> bool {
        matches!(self.does, Does::Call(..))
    }

    pub(super) fn rests_until(&self) -> Option<Time> {
        match self.does {
            Does::Look(_, until) => Some(until),
            _ => None,
        }
    }
}

impl World {
    /// A call waits for later ones only, so no two wait for each other.
    pub(super) fn nest(&mut self, which: usize, helps: bool) {
        let read = self.accounts[0].read;
        let calling: Vec<_> = (0..self.threads.len())
            .filter(|place| self.threads[*place].nested.is_none())
            .filter_map(|place| match &self.threads[place].post {
                Post::Calling(start) => Some((place, start)),
                _ => None,
            })
            .collect();
        if calling.is_empty() || read == 0 {
            return;
        }
        let (place, start) = calling[which % calling.len()];
        let index = read - 1 - which % read.min(4);
        let earlier = start.batch == SUBMITTED && index <= start.running.index;
        if earlier || self.accounts[0].finished.contains_key(&index) {
            return;
        }
        if helps {
            self.look_inside(place, index);
        } else {
            self.stand_aside(place, index);
        }
    }

    fn look_inside(&mut self, place: usize, index: usize) {
        let worker = self
            .scheduler
            .nested_worker(Arc::default(), SUBMITTED, Some(index));
        let does = Does::Look(worker, Time::default());
        self.threads[place].nested = Some(Nested { index, does });
    }

    fn stand_aside(&mut self, place: usize, index: usize) {
        let does = Does::StandAside;
        self.threads[place].nested = Some(Nested { index, does });
        self.scheduler.block(self.now());
        self.grow();
    }

    pub(super) fn is_awake_inside(&self, nested: &Nested) -> bool {
        match &nested.does {
            Does::Look(worker, until) => *until <= self.now() || peek(worker),
            Does::StandAside => self.accounts[0].finished.contains_key(&nested.index),
            Does::Ask(..) | Does::Call(..) => false,
        }
    }

    pub(super) fn wait_inside(&mut self, place: usize) {
        let now = self.now();
        let Some(Nested { index, does }) = self.threads[place].nested.take() else {
            return;
        };
        let mut worker = match does {
            Does::Look(worker, _) => worker,
            Does::StandAside => return self.scheduler.unblock(),
            busy => panic!("nobody acts who is to {busy:?}"),
        };
        woken(&worker);
        let holds = |batch: &mut paceline::engine::batch::Batch<_>| batch.holds(index);
        if self.scheduler.with(SUBMITTED, holds) != Some(true) {
            self.scheduler.leave(worker);
            return self.helped(place, index);
        }
        let does = match self.scheduler.claim(&mut worker, None, now).1 {
            claim @ Claim::Start(_) => {
                let start = Started::by(&worker, claim).unwrap();
                self.started(&start, true);
                Does::Call(worker, start)
            }
            Claim::Ask(ask) => {
                assert!(ask.nested);
                self.asks(ask.batch);
                Does::Ask(worker, ask.batch)
            }
            Claim::Rest(until) => {
                let again = Time::from_nanos(self.now + LOOK_AGAIN * UNIT);
                Does::Look(worker, until.min(again))
            }
            other => panic!("a claim only looked: {other:?}"),
        };
        self.threads[place].nested = Some(Nested { index, does });
    }

    /// The call is not to be called here any more.
    fn helped(&mut self, place: usize, index: usize) {
        if !self.accounts[0].finished.contains_key(&index) {
            self.stand_aside(place, index);
        }
    }

    /// What was called inside has ended.
    pub(super) fn finish_inside(&mut self, place: usize, verdict: super::Verdict) {
        let now = self.now();
        let Some(Nested { index, does }) = self.threads[place].nested.take() else {
            return;
        };
        let Does::Call(worker, start) = does else {
            panic!("it calls nothing");
        };
        let (finished, _) = self.ended_as(&start, verdict);
        self.scheduler.book(&start.lease(), finished, now);
        self.scheduler.leave(worker);
        self.helped(place, index);
    }
}
