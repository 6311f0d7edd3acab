//! Which operation an outcome is of, for those who ask.

use std::collections::{HashMap, VecDeque};
use std::mem;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::job::Job;
use super::operations::partial;
use super::refs::Refs;

/// Where the operation of one outcome is to be found.
#[derive(Debug)]
pub(crate) enum Origin {
    /// In its place in the list or tuple that was the batch.
    Within(Py<PyAny>),
    /// It was read from an iterator.
    Read(Job),
    /// Known to whoever made the outcome.
    Given(Py<PyAny>),
}

impl Origin {
    /// The operation in that place. None if the list has been changed, and has none there.
    fn operation<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Within(operations) => operations.bind(py).get_item(index),
            Self::Read(job) => job.operation(py),
            Self::Given(operation) => Ok(operation.bind(py).clone()),
        }
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Within(object) | Self::Given(object) => visit.call(object),
            Self::Read(job) => job.traverse(visit),
        }
    }
}

/// The operation of an outcome, if it is known.
pub(crate) fn operation_of<'py>(
    py: Python<'py>,
    origin: Option<&Origin>,
    index: usize,
) -> Option<Bound<'py, PyAny>> {
    origin?.operation(py, index).ok()
}

/// The arguments of an operation that is a partial.
pub(crate) fn arguments_of<'py>(
    py: Python<'py>,
    operation: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    match operation {
        Some(operation) if operation.is_instance(partial(py)?)? => {
            Ok((operation.getattr("args")?, operation.getattr("keywords")?))
        }
        _ => Ok((PyTuple::empty(py).into_any(), PyDict::new(py).into_any())),
    }
}

/// The operations of one batch, as far as they are known without keeping more than there was.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// The list or tuple that is the batch, as the caller has it.
    sequence: Option<Py<PyAny>>,
    /// Whether it is a stream over an iterator: each operation is kept until its outcome is handed
    /// over.
    keeps: bool,
    /// Those operations, from the one at `base` on.
    read: VecDeque<Option<Job>>,
    base: usize,
    /// Of another batch that was read from an iterator: those that failed.
    failed: HashMap<usize, Job>,
}

impl Origins {
    /// The batch is this list or tuple; without one, operations are kept from when they are read
    /// until their outcomes are handed over. Returns what the batch was taken for before.
    pub(crate) fn know(&mut self, sequence: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        self.keeps = sequence.is_none();
        mem::replace(&mut self.sequence, sequence)
    }

    /// Notes what was read.
    #[inline]
    pub(crate) fn note(&mut self, refs: Refs<'_>, job: &Job) {
        if self.keeps && self.sequence.is_none() {
            self.read.push_back(Some(job.clone_ref(refs)));
        }
    }

    /// Notes what has failed for good. Returns what was noted before, if anything.
    pub(crate) fn note_failed(&mut self, refs: Refs<'_>, index: usize, job: &Job) -> Option<Job> {
        if self.keeps || self.sequence.is_some() {
            return None;
        }
        self.failed.insert(index, job.clone_ref(refs))
    }

    /// What the outcome that is handed over is of.
    #[inline]
    pub(crate) fn take(&mut self, refs: Refs<'_>, index: usize) -> Option<Origin> {
        if let Some(sequence) = &self.sequence {
            return Some(Origin::Within(refs.clone(sequence)));
        }
        let job = self.read.get_mut(index.checked_sub(self.base)?)?.take();
        while let Some(None) = self.read.front() {
            self.read.pop_front();
            self.base += 1;
        }
        job.map(Origin::Read)
    }

    /// What an outcome of a report is of.
    pub(crate) fn get(&self, py: Python<'_>, index: usize) -> Option<Origin> {
        if let Some(sequence) = &self.sequence {
            return Some(Origin::Within(sequence.clone_ref(py)));
        }
        let read = || self.read.get(index.checked_sub(self.base)?)?.as_ref();
        let job = read().or_else(|| self.failed.get(&index))?;
        Some(Origin::Read(job.clone_ref(Refs::new(py))))
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.sequence)?;
        let read = self.read.iter().flatten();
        read.chain(self.failed.values())
            .try_for_each(|job| job.traverse(visit))
    }
}
