//! `Outcome`: what became of one operation.

use pyo3::exceptions::PyBaseException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::interpreter::monotonic;
use super::work::{Operations, PyAttempt, PyRecord};
use crate::engine::ledger::Record;
use crate::engine::source::{HandedOver, Running};
use crate::engine::time::Time;

/// What an outcome can be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    Failed,
    Running,
    #[default]
    NotStarted,
    Cancelled,
}

impl Status {
    /// In the order in which they are counted.
    pub(crate) const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed,
        Self::Running,
        Self::NotStarted,
        Self::Cancelled,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::NotStarted => "not_started",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What became of one operation of a batch. It never changes.
///
/// All times are in seconds. Only the package makes outcomes: :meth:`BatchExecutor.run`,
/// :meth:`BatchExecutor.stream`, and the ``batch_report`` of an exception that ended a batch.
/// Like a lock it stays in its process: what is to go to another one, or into a file, are the
/// values of its attributes.
#[pyclass(frozen, generic, immutable_type, module = "paceline")]
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The operation's place in its batch, from 0.
    #[pyo3(get)]
    index: usize,
    status: Status,
    result: Option<Result<Py<PyAny>, Py<PyBaseException>>>,
    /// How often it was called; 0 if never, also when its permit was refused.
    #[pyo3(get)]
    attempts: u32,
    started: Time,
    /// Nanoseconds, as those of the record.
    duration: u64,
    permit_wait: u64,
    earlier: Vec<PyAttempt>,
}

impl Outcome {
    #[inline(always)]
    pub(crate) fn finished(handed_over: HandedOver<Operations>) -> Self {
        let HandedOver {
            index,
            record,
            earlier,
        } = handed_over;
        Self {
            index,
            status: if record.result.is_ok() {
                Status::Done
            } else {
                Status::Failed
            },
            result: Some(record.result),
            attempts: record.attempts,
            started: record.started,
            duration: record.duration,
            permit_wait: record.permit_wait,
            earlier,
        }
    }

    /// One that waited to be tried again when its batch ended: it has failed, as its last attempt.
    pub(crate) fn given_up(index: usize, mut attempts: Vec<PyAttempt>) -> Self {
        let mut outcome = Self::unfinished(index, Status::Failed);
        outcome.attempts = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        outcome.permit_wait = attempts.iter().map(|each| each.permit_wait).sum();
        if let Some(last) = attempts.pop() {
            outcome.started = last.started;
            outcome.duration = last.duration;
            outcome.result = Some(Err(last.error));
        }
        outcome.earlier = attempts;
        outcome
    }

    pub(crate) fn running(running: &Running, now: Time) -> Self {
        let mut outcome = Self::unfinished(running.index, Status::Running);
        outcome.attempts = running.attempt;
        outcome.permit_wait = running.waited_before + running.permit_wait;
        outcome.started = running.started;
        outcome.duration = now.nanos_since(running.started);
        outcome
    }

    pub(crate) fn unfinished(index: usize, status: Status) -> Self {
        Self {
            index,
            status,
            result: None,
            attempts: 0,
            started: Time::default(),
            duration: 0,
            permit_wait: 0,
            earlier: Vec::new(),
        }
    }
}

#[pymethods]
impl Outcome {
    /// What became of the operation.
    ///
    /// ``"done"``: it returned ``value``.
    /// ``"failed"``: it raised ``exception``, or its permit was refused; or it had failed and
    /// waited to be tried again when the batch ended.
    /// ``"running"``: it had started and not ended when the report was made; its thread runs on,
    /// and :meth:`BatchReport.settle` waits for what becomes of it.
    /// ``"not_started"``: the batch ended before its turn.
    /// ``"cancelled"``: it had not started when ``shutdown(cancel_futures=True)`` was called.
    #[getter]
    fn status(&self) -> &'static str {
        self.status.name()
    }

    /// What the operation returned; None also if it is not done, so look at ``status``.
    #[getter]
    fn value(&self) -> Option<&Py<PyAny>> {
        self.result.as_ref()?.as_ref().ok()
    }

    /// What its last attempt raised, with the traceback into it; None if it has not failed.
    #[getter]
    pub(crate) fn exception(&self) -> Option<&Py<PyBaseException>> {
        self.result.as_ref()?.as_ref().err()
    }

    /// When its last attempt started, in seconds on the clock of ``time.monotonic()``.
    ///
    /// None if it was never called.
    #[getter]
    fn started_at(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        (self.attempts > 0)
            .then(|| monotonic(py, self.started))
            .transpose()
    }

    /// Seconds that its last attempt took; if it still runs, until the report was made.
    ///
    /// Waiting for permits inside of it is part of that. 0.0 if it was never called.
    #[getter]
    fn duration(&self) -> f64 {
        seconds(self.duration)
    }

    /// Seconds that it waited for permits, over all attempts.
    ///
    /// That is with a worker free for it, and inside of it: when it called ``acquire()`` of a
    /// :class:`RateLimiter` itself. Pauses that a server asked this executor for are left out: the
    /// report has those.
    #[getter]
    fn permit_wait(&self) -> f64 {
        seconds(self.permit_wait)
    }

    /// The failed attempts before the last one, in their order.
    ///
    /// Each is a tuple of ``(exception, started_at, duration, permit_wait)``: what it raised,
    /// when it started on the clock of ``time.monotonic()``, how long it took and how long it
    /// waited for its permit, all in seconds.
    #[getter]
    fn earlier_attempts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let rows = self.earlier.iter().map(|each| {
            Ok((
                &each.error,
                monotonic(py, each.started)?,
                seconds(each.duration),
                seconds(each.permit_wait),
            ))
        });
        PyTuple::new(py, rows.collect::<PyResult<Vec<_>>>()?)
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut parts = vec![
            format!("index={}", self.index),
            format!("status='{}'", self.status.name()),
        ];
        if let Some(value) = self.value() {
            parts.push(format!("value={}", value.bind(py).repr()?));
        }
        if let Some(exception) = self.exception() {
            let exception = exception.bind(py);
            parts.push(match exception.repr() {
                Ok(shown) => format!("exception={shown}"),
                Err(_) => format!("exception={}", exception.get_type().name()?),
            });
        }
        if self.attempts > 0 {
            parts.push(format!("attempts={}", self.attempts));
            parts.push(format!("permit_wait={:.6}", self.permit_wait()));
            parts.push(format!("duration={:.6}", self.duration()));
        }
        Ok(format!("Outcome({})", parts.join(", ")))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.value())?;
        visit.call(self.exception())?;
        for each in &self.earlier {
            visit.call(&each.error)?;
        }
        Ok(())
    }
}

/// The same record once more, of the same objects.
pub(crate) fn copy_of(py: Python<'_>, record: &PyRecord) -> PyRecord {
    Record {
        result: match &record.result {
            Ok(value) => Ok(value.clone_ref(py)),
            Err(error) => Err(error.clone_ref(py)),
        },
        ..*record
    }
}

#[allow(clippy::cast_precision_loss)] // 2^52 ns are 52 days; beyond, microseconds are lost
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
