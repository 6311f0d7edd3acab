//! Operations that still run though their batch was taken out, and what becomes of them.
//!
//! They are counted until they end, so that whoever waits for the executor waits for them too. What
//! they return is kept as long as somebody holds the [`Stragglers`], and then given back to the
//! worker to be dropped.
use std::mem;
use std::sync::{Arc, Mutex};

use super::claim::Leftover;
use super::state::{State, both};
use super::{Remains, Scheduler};
use crate::engine::batch::Batch;
use crate::engine::lock::{LockSafe, lock};
use crate::engine::model::{BatchId, Ending, Finished, Record, Running, Work};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// What an operation came to after its batch was taken out.
#[derive(Debug)]
pub struct Late<W: Work> {
    /// Its place in the input.
    pub index: usize,
    /// What became of it.
    pub record: Record<W::Value, W::Error>,
    /// Nanoseconds that it waited for permits inside.
    pub waited: u64,
    /// It was to be tried again, and has failed instead.
    pub unretried: bool,
}

/// A batch that was taken out, and what it still runs, if somebody may ask what became of that.
pub type TakenOut<W> = (Batch<W>, Option<Arc<Stragglers<W>>>);

/// The operations of one batch that still ran when it was taken out.
#[derive(Debug)]
pub struct Stragglers<W: Work>(Mutex<Inner<W>>);

#[derive(Debug)]
struct Inner<W: Work> {
    running: usize,
    /// Somebody may ask what became of them.
    wanted: bool,
    ended: Vec<Late<W>>,
    waiting: Vec<Arc<Signal>>,
}

impl<W: Work> Stragglers<W> {
    fn new(running: usize, wanted: bool) -> Self {
        Self(Mutex::new(Inner {
            running,
            wanted,
            ended: Vec::new(),
            waiting: Vec::new(),
        }))
    }

    /// Takes what has ended since this was last called, and how many still run. If some do, `waiting`
    /// is signalled when the last of them has ended.
    pub fn take(&self, waiting: &Arc<Signal>) -> (Vec<Late<W>>, usize) {
        let mut inner = lock(&self.0);
        let known = |other| Arc::ptr_eq(other, waiting);
        if inner.running > 0 && !inner.waiting.iter().any(known) {
            inner.waiting.push(Arc::clone(waiting));
        }
        (mem::take(&mut inner.ended), inner.running)
    }

    /// Nobody will ask any more; gives what is to be dropped.
    #[must_use]
    pub fn forget(&self) -> Vec<Late<W>> {
        let mut inner = lock(&self.0);
        inner.wanted = false;
        mem::take(&mut inner.ended)
    }

    /// Does not signal somebody any more.
    pub fn leave(&self, waiting: &Arc<Signal>) {
        let others = |other: &Arc<Signal>| !Arc::ptr_eq(other, waiting);
        lock(&self.0).waiting.retain(others);
    }

    /// Looks at what has ended since it was last taken, under the lock, with something lent to `look`.
    pub fn with_ended<L: LockSafe, T>(
        &self,
        lent: L,
        look: impl FnOnce(&[Late<W>], L) -> T + Send,
    ) -> T {
        look(&lock(&self.0).ended, lent)
    }
}

impl<W: Work> State<W> {
    /// Takes a batch out, as its owner is done with it.
    pub(super) fn remove(&mut self, id: BatchId, wanted: bool, now: Time) -> Option<TakenOut<W>> {
        let (mut batch, stragglers) = self.take_out(id, wanted)?;
        batch.note_waiting(now, self.pauses.unpaused(now));
        self.end_inner(id, batch.running());
        self.reschedule(now);
        self.tell_joiners();
        Some((batch, stragglers))
    }

    /// Takes a batch out of its slot. What it still runs is counted on, and what becomes of that
    /// kept, where `wanted`.
    pub(super) fn take_out(&mut self, id: BatchId, wanted: bool) -> Option<TakenOut<W>> {
        self.batch(id)?;
        let (serial, batch) = self.batches[id.slot].take()?;
        let running = batch.running().len();
        if running == 0 {
            return Some((batch, None));
        }
        let stragglers = Arc::new(Stragglers::new(running, wanted));
        self.stragglers.insert(serial, Arc::clone(&stragglers));
        Some((batch, wanted.then_some(stragglers)))
    }

    /// Books an operation whose batch was taken out.
    pub(super) fn enter_straggler(
        &mut self,
        id: BatchId,
        running: &Running,
        finished: Finished<W>,
    ) -> Leftover<W> {
        let Finished {
            ended,
            ending,
            waited,
        } = finished;
        let unretried = matches!(ending, Ending::Again(..));
        let (mut result, job) = ending.into_parts();
        if let Some(stragglers) = self.stragglers.get(&id.serial) {
            let mut inner = lock(&stragglers.0);
            inner.running = inner.running.saturating_sub(1);
            if inner.wanted
                && let Some(result) = result.take()
            {
                let record = Record::of(result, &running.having_waited(waited), ended);
                inner.ended.push(Late {
                    index: running.index,
                    record,
                    waited,
                    unretried,
                });
            }
            if inner.running == 0 {
                self.notices.extend(inner.waiting.drain(..));
                drop(inner);
                // Whoever else holds them has what they came to, or has forgotten it.
                self.stragglers.remove(&id.serial);
            }
        }
        both(
            result.map(|result| Box::new(Remains::Result(result))),
            job.map(|job| Box::new(Remains::Job(job))),
        )
    }
}

impl<W: Work> Scheduler<W> {
    /// Takes a batch out for its report. What it still runs goes on, and what becomes of that is
    /// kept as long as somebody holds the stragglers.
    pub fn take_out(&self, id: BatchId, now: Time) -> Option<TakenOut<W>> {
        self.state().remove(id, true, now)
    }

    /// Whether a batch is `outer`, or was begun by an operation of it, or of one that was.
    pub fn is_within(&self, batch: BatchId, outer: BatchId) -> bool {
        let mut state = self.state();
        let mut next = Some(batch);
        while let Some(id) = next {
            if id == outer {
                return true;
            }
            next = state.batch(id).and_then(|it| it.outer()).map(|(id, _)| id);
        }
        false
    }

    /// How many operations run, and how many more are to start that have not.
    pub fn unfinished(&self) -> (usize, usize) {
        let state = self.state();
        let stragglers = state.stragglers.values();
        let late: usize = stragglers.map(|each| lock(&each.0).running).sum();
        let running: usize = state.live().map(|batch| batch.running().len()).sum();
        (late + running, state.live().map(Batch::to_start).sum())
    }
}
