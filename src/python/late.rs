//! What becomes of the operations that still ran when their batch was taken out for its report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::lifecycle;
use super::nesting;
use super::outcome::Outcome;
use super::runtime::Runtime;
use super::seconds;
use super::work::{Operations, PyRecord};
use crate::engine::clock::Clock;
use crate::engine::lock::Guarded;
use crate::engine::model::{BatchId, Running};
use crate::engine::process::Owned;
use crate::engine::scheduler::{LateRecord, Stragglers};
use crate::engine::signal::Signal;

/// Those operations, and what has become of them as far as somebody has waited for it.
///
/// That is written once, so it can be read without a lock, also in a forked child.
#[derive(Debug)]
pub(super) struct Late {
    stragglers: Owned<Arc<Stragglers<Operations>>>,
    clock: Clock,
    /// A report does not keep the threads of its executor.
    runtime: Weak<Runtime>,
    batch: BatchId,
    /// Nanoseconds that they waited for permits inside.
    waited: AtomicU64,
    /// Held by whoever moves records here from the stragglers.
    moving: Guarded<()>,
    /// By index.
    entries: BTreeMap<usize, LateEntry>,
}

#[derive(Debug, Default)]
struct LateEntry {
    record: OnceLock<PyRecord>,
    /// Made when it is first asked for: who asks again gets the same.
    outcome: OnceLock<Py<Outcome>>,
}

/// What a wait has come to.
#[derive(Debug, Default)]
pub(super) struct Waited {
    /// How many still run.
    pub(super) running: usize,
    /// The indexes of those that were to be tried again, and whose failure is still to be logged.
    pub(super) unlogged: Vec<usize>,
}

impl Late {
    pub(super) fn new(
        stragglers: Arc<Stragglers<Operations>>,
        running: &[Running],
        runtime: &Arc<Runtime>,
        batch: BatchId,
    ) -> Self {
        let indexes = running.iter().map(|each| each.index);
        Self {
            stragglers: Owned::new(stragglers),
            clock: runtime.scheduler.clock().clone(),
            runtime: Arc::downgrade(runtime),
            batch,
            waited: AtomicU64::new(0),
            moving: Guarded::default(),
            entries: indexes.map(|index| (index, LateEntry::default())).collect(),
        }
    }

    /// Waits until none of them runs any more, or for so many seconds.
    /// What it has come to is in `waited` also if the wait is interrupted.
    pub(super) fn wait(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        waited: &mut Waited,
    ) -> PyResult<()> {
        if self.finished().count() == self.entries.len() {
            return Ok(());
        }
        let until = seconds::until(&self.clock, timeout);
        let stragglers = self.stragglers.get()?;
        self.refuse_circle()?;
        let signal = Arc::<Signal>::default();
        let mut interrupted = Ok(());
        loop {
            self.take(stragglers, &signal, waited);
            if waited.running == 0 || interrupted.is_err() || self.clock.now() >= until {
                stragglers.leave(&signal);
                return interrupted;
            }
            interrupted = lifecycle::wait(py, &self.clock, &signal, until);
        }
    }

    /// Takes what has ended.
    fn take(&self, stragglers: &Stragglers<Operations>, signal: &Arc<Signal>, waited: &mut Waited) {
        // Whoever sees that none runs is to find all of them here.
        let unplaced = self.moving.with(|()| {
            let (ended, running) = stragglers.take(signal);
            waited.running = running;
            let place = |late: LateRecord<Operations>| {
                if late.unretried {
                    waited.unlogged.push(late.index);
                }
                self.waited.fetch_add(late.waited, Ordering::Relaxed);
                let entry = self.entries.get(&late.index);
                entry.map_or(Ok(()), |entry| entry.record.set(late.record))
            };
            let results = ended.into_iter().map(place);
            results.filter_map(Result::err).collect::<Vec<_>>()
        });
        // Each ends once, so there are none.
        drop(unplaced);
    }

    /// Refuses to wait for an operation that runs on this thread, or waits for one that does.
    fn refuse_circle(&self) -> PyResult<()> {
        let Some(runtime) = self.runtime.upgrade() else {
            return Ok(());
        };
        let here = nesting::works_on(runtime.id);
        if here.is_some_and(|(inner, _)| runtime.scheduler.is_within(inner, self.batch)) {
            return Err(PyRuntimeError::new_err(
                "settle() was called by an operation that it would wait for",
            ));
        }
        Ok(())
    }

    /// Nanoseconds that those which are known to have ended waited for permits inside.
    pub(super) fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// The records of those that are known to have ended, by index.
    pub(super) fn finished(&self) -> impl Iterator<Item = (usize, &PyRecord)> {
        let entries = self.entries.iter();
        entries.filter_map(|(index, entry)| Some((*index, entry.record.get()?)))
    }

    /// The record of the operation at `index`, if that is known to have ended.
    pub(super) fn record(&self, index: usize) -> Option<&PyRecord> {
        self.entries.get(&index)?.record.get()
    }

    /// Where its outcome is kept, if it is known to have ended.
    pub(super) fn outcome(&self, index: usize) -> Option<&OnceLock<Py<Outcome>>> {
        let entry = self.entries.get(&index)?;
        entry.record.get().map(|_| &entry.outcome)
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for entry in self.entries.values() {
            if let Some(record) = entry.record.get() {
                match &record.result {
                    Ok(value) => visit.call(value)?,
                    Err(error) => visit.call(error)?,
                }
            }
            if let Some(outcome) = entry.outcome.get() {
                visit.call(outcome)?;
            }
        }
        let Ok(stragglers) = self.stragglers.get() else {
            return Ok(());
        };
        stragglers.with_ended(visit, |ended, visit| {
            ended.iter().try_for_each(|late| match &late.record.result {
                Ok(value) => visit.call(value),
                Err(error) => visit.call(error),
            })
        })
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if let Ok(stragglers) = self.stragglers.get() {
            drop(stragglers.forget());
        }
    }
}
