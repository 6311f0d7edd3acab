//! Operations that still run though their batch was taken out, and what becomes of them.
//!
//! They are counted until they end, so that whoever waits for the executor waits for them too. What
//! they return is kept as long as somebody holds the [`Stragglers`], and then given back to the
//! worker to be dropped.

use std::mem;
use std::sync::{Arc, Mutex};

use super::claim::Leftover;
use super::claim::Remains;
use crate::engine::batch::{Batch, Unkept};
use crate::engine::lock::{LockSafe, lock};
use crate::engine::model::{Ending, Finished, Record, Running, Work};
use crate::engine::signal::Signal;

/// What an operation came to after its batch was taken out.
#[derive(Debug)]
pub struct LateRecord<W: Work> {
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
    ended: Vec<LateRecord<W>>,
    waiting: Vec<Arc<Signal>>,
}

impl<W: Work> Stragglers<W> {
    pub(super) fn new(running: usize, wanted: bool) -> Self {
        Self(Mutex::new(Inner {
            running,
            wanted,
            ended: Vec::new(),
            waiting: Vec::new(),
        }))
    }

    /// How many still run.
    pub(super) fn running(&self) -> usize {
        lock(&self.0).running
    }

    /// Books one that has ended. Gives what is to be dropped, and, if it was the last, what wakes those
    /// who wait for that.
    pub(super) fn complete(
        &self,
        running: &Running,
        finished: Finished<W>,
    ) -> (Leftover<W>, Option<Vec<Arc<Signal>>>) {
        let Finished {
            ended,
            ending,
            waited,
        } = finished;
        let unretried = matches!(ending, Ending::Again(..));
        let mut unkept = Unkept::from(ending);
        let mut inner = lock(&self.0);
        inner.running = inner.running.saturating_sub(1);
        if inner.wanted
            && let Some(result) = unkept.result.take()
        {
            let record = Record::of(result, &running.having_waited(waited), ended);
            inner.ended.push(LateRecord {
                index: running.index,
                record,
                waited,
                unretried,
            });
        }
        let last = inner.running == 0;
        let told = last.then(|| mem::take(&mut inner.waiting));
        drop(inner);
        (Remains::of(unkept), told)
    }

    /// Takes what has ended since this was last called, and how many still run. If some do, `waiting`
    /// is signalled when the last of them has ended.
    pub fn take(&self, waiting: &Arc<Signal>) -> (Vec<LateRecord<W>>, usize) {
        let mut inner = lock(&self.0);
        let known = |other| Arc::ptr_eq(other, waiting);
        if inner.running > 0 && !inner.waiting.iter().any(known) {
            inner.waiting.push(Arc::clone(waiting));
        }
        (mem::take(&mut inner.ended), inner.running)
    }

    /// Nobody will ask any more; gives what is to be dropped.
    #[must_use]
    pub fn forget(&self) -> Vec<LateRecord<W>> {
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
        look: impl FnOnce(&[LateRecord<W>], L) -> T + Send,
    ) -> T {
        look(&lock(&self.0).ended, lent)
    }
}
