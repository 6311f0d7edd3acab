//! Reading a batch's input: what was read is checked, and added for the workers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::operations::{Seen, check_one};
use super::work::Operations;
use crate::engine::lock::lock;
use crate::engine::schedule::{Scheduler, SourceId};
use crate::engine::time::Time;

/// How many operations are examined before the first of them can start: that may take long.
const EXAMINED_AT_ONCE: usize = 64;

/// What the input of one batch is read by.
///
/// The thread that owns the batch reads. While operations are short it reads many in one go, without
/// telling the workers of each; if one of them is long in coming, a worker adds those before it.
#[derive(Debug)]
pub(crate) struct Reading {
    /// What was read and not added.
    inbox: Py<PyList>,
    /// As many exhausted iterators as operations are to be read in one go. Emptied, it ends that.
    turns: Py<PyList>,
    seen: Mutex<Seen>,
    added: AtomicUsize,
}

impl Reading {
    pub(crate) fn new(py: Python<'_>) -> Self {
        Self {
            inbox: PyList::empty(py).unbind(),
            turns: PyList::empty(py).unbind(),
            seen: Mutex::default(),
            added: AtomicUsize::new(0),
        }
    }

    /// How many operations were added since it was last asked.
    pub(crate) fn take_added(&self) -> usize {
        self.added.swap(0, Ordering::Relaxed)
    }

    /// Adds one operation that was read; whether there is something to do before the next is.
    #[inline]
    pub(crate) fn add_one(
        &self,
        operation: &Bound<'_, PyAny>,
        scheduler: &Scheduler<Operations>,
        id: SourceId,
    ) -> PyResult<bool> {
        if !lock(&self.seen).knows(operation) {
            let index = || scheduler.with(id, |source| source.read()).unwrap_or(0);
            self.examine(std::slice::from_ref(operation), index).1?;
        }
        self.added.fetch_add(1, Ordering::Relaxed);
        let read = std::iter::once(operation.clone().unbind());
        Ok(scheduler.feed_some(id, read, Time::now()))
    }

    /// Where `count` operations are to be read to, and the turns that this may take.
    pub(crate) fn begin<'py>(
        &self,
        py: Python<'py>,
        count: usize,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let turns = self.turns.bind(py);
        // As a rule the last ones are left, as many as are wanted again.
        let left = turns.len().min(count);
        let exhausted = PyTuple::empty(py).try_iter()?;
        let fresh = PyList::new(py, std::iter::repeat_n(exhausted, count - left))?;
        turns.set_slice(left, turns.len(), fresh.as_any())?;
        Ok((self.inbox.bind(py).clone(), turns.clone()))
    }

    /// Has the owner read no more than the operation that it waits for.
    pub(crate) fn cut_short(&self, py: Python<'_>) -> PyResult<()> {
        let turns = self.turns.bind(py);
        turns.del_slice(0, turns.len())
    }

    /// Adds what was read. The owner may be reading on, and a worker may do the same.
    pub(crate) fn add_inbox(
        &self,
        py: Python<'_>,
        scheduler: &Scheduler<Operations>,
        id: SourceId,
    ) -> PyResult<()> {
        let inbox = self.inbox.bind(py);
        while !inbox.is_empty() {
            let mut jobs = self.known(inbox);
            let mut checked = Ok(());
            // Dropped last: it may be the only one to hold what others have added and run.
            let mut read = Vec::new();
            if jobs.is_empty() {
                let first = scheduler.with(id, |source| source.read()).unwrap_or(0);
                read.extend(inbox.iter().take(EXAMINED_AT_ONCE));
                let good;
                (good, checked) = self.examine(&read, || first);
                // Of those that are good others may have added some meanwhile.
                let left = read.iter().take(good).zip(inbox.iter());
                let left = left.take_while(|(good, left)| good.is(left));
                jobs.extend(left.map(|(_, left)| left.unbind()));
            }
            // Up to where they are added nobody else comes in between, as no code of Python's runs.
            inbox.del_slice(0, jobs.len())?;
            if !jobs.is_empty() {
                self.added.fetch_add(jobs.len(), Ordering::Relaxed);
                scheduler.feed_some(id, jobs.into_iter(), Time::now());
            }
            checked?;
        }
        Ok(())
    }

    /// Takes what was read and not added, checked or not.
    pub(crate) fn take_inbox(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let inbox = self.inbox.bind(py);
        let taken = inbox.iter().map(Bound::unbind).collect();
        inbox.del_slice(0, inbox.len())?;
        Ok(taken)
    }

    /// Takes what the operations were examined by.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *lock(&self.seen))
    }

    /// The operations at the head of the inbox that need no examination.
    fn known(&self, inbox: &Bound<'_, PyList>) -> Vec<Py<PyAny>> {
        let seen = lock(&self.seen);
        let mut known = Vec::with_capacity(inbox.len());
        let at_head = inbox.iter().take_while(|operation| seen.knows(operation));
        known.extend(at_head.map(Bound::unbind));
        known
    }

    /// Examines operations, of which the first has the index `first`: how many are good, and what is
    /// wrong with the one after them.
    fn examine(
        &self,
        operations: &[Bound<'_, PyAny>],
        first: impl Fn() -> usize,
    ) -> (usize, PyResult<()>) {
        // Not under the lock: what examines them may run code of anybody's.
        let mut seen = self.take_seen();
        let mut good = 0;
        let checked = operations.iter().try_for_each(|operation| {
            check_one(operation, &mut seen, || first() + good)?;
            good += 1;
            Ok(())
        });
        // Nor is what another thread has put there meanwhile dropped under it.
        let _others = std::mem::replace(&mut *lock(&self.seen), seen);
        (good, checked)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.inbox)?;
        lock(&self.seen).traverse(visit)
    }
}
