//! A batch that has ended: its values, its outcomes and its totals.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::logging;
use super::outcome::{Outcome, PySource, Status, seconds};
use crate::engine::terms::End;
use crate::engine::time::Time;

/// A batch that was taken out of its scheduler.
pub(super) struct Closed {
    pub(super) source: PySource,
    pub(super) at: Time,
}

impl Closed {
    /// The value of each operation, in input order; of a failed one what `failed` makes of its
    /// index and exception, or the exception itself. Takes the records.
    pub(super) fn values(
        &mut self,
        py: Python<'_>,
        failed: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyList>> {
        let left = self.source.ledger().take_left();
        let values = PyList::empty(py);
        for (index, record) in left.slots.into_iter().enumerate() {
            let Some(record) = record else { continue };
            match (record.result, &failed) {
                (Ok(value), _) => values.append(value)?,
                (Err(error), Some(failed)) => {
                    let text = logging::describe(error.bind(py));
                    values.append(failed.call1(py, (text, error, index))?)?;
                }
                (Err(error), None) => values.append(error)?,
            }
        }
        Ok(values.unbind())
    }

    /// The outcome of every operation that was not handed over, in input order. Takes the records.
    pub(super) fn outcomes(&mut self, py: Python<'_>) -> PyResult<Py<PyList>> {
        let read = self.source.read();
        let cancelled = self.source.ended() == Some(End::Cancelled);
        let rest = if cancelled {
            Status::Cancelled
        } else {
            Status::NotStarted
        };
        let waiting = self.source.waiting_retries();
        let mut left = self.source.ledger().take_left();
        let mut known: Vec<(usize, Outcome)> = Vec::new();
        let history = &mut left.history;
        let slots = left
            .slots
            .into_iter()
            .enumerate()
            .filter_map(|(slot, record)| Some((left.base + slot, record?)));
        for (index, record) in slots.chain(left.completed) {
            let earlier = history.remove(&index).unwrap_or_default();
            known.push((index, Outcome::finished(index, record, earlier)));
        }
        for running in self.source.running() {
            known.push((running.index, Outcome::running(running, self.at)));
        }
        for index in waiting {
            let attempts = history.remove(&index).unwrap_or_default();
            known.push((index, Outcome::given_up(index, attempts)));
        }
        for index in self.source.unstarted() {
            known.push((index, Outcome::unfinished(index, rest)));
        }
        known.sort_unstable_by_key(|(index, _)| *index);
        debug_assert!(known.len() <= read);
        Ok(PyList::new(py, known.into_iter().map(|(_, outcome)| outcome))?.unbind())
    }

    /// Sums over the batch; times in seconds.
    pub(super) fn totals(&mut self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let elapsed = self.at.nanos_since(self.source.began());
        let totals = self.source.ledger().totals;
        let dict = PyDict::new(py);
        dict.set_item("done", totals.done)?;
        dict.set_item("failed", totals.failed)?;
        dict.set_item("permits", totals.permits)?;
        dict.set_item("attempts", totals.attempts)?;
        dict.set_item("retries", totals.retries)?;
        dict.set_item("pauses", totals.pauses)?;
        dict.set_item("paused", seconds(totals.paused.min(elapsed)))?;
        dict.set_item("permit_wait", seconds(totals.permit_wait))?;
        dict.set_item("working", seconds(totals.working))?;
        dict.set_item("elapsed", seconds(elapsed))?;
        Ok(dict.unbind())
    }
}
