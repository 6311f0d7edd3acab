//! `Outcome`: what became of one operation.

use pyo3::exceptions::PyBaseException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::interpreter::monotonic;
use super::worker::Operations;
use crate::engine::ledger::{Attempt, Record};
use crate::engine::source::Running;
use crate::engine::time::Time;

type PyRecord = Record<Py<PyAny>, Py<PyBaseException>>;
type PyAttempt = Attempt<Py<PyBaseException>>;

/// What an outcome can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    Failed,
    Running,
    NotStarted,
    Cancelled,
}

impl Status {
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

/// What became of one operation. Its documentation is in the stub.
#[pyclass(frozen, generic, module = "paceline")]
#[derive(Debug)]
pub(crate) struct Outcome {
    #[pyo3(get)]
    index: usize,
    status: Status,
    value: Option<Py<PyAny>>,
    exception: Option<Py<PyBaseException>>,
    #[pyo3(get)]
    attempts: u32,
    #[pyo3(get)]
    permit_wait: f64,
    #[pyo3(get)]
    started_at: Option<f64>,
    #[pyo3(get)]
    duration: f64,
    earlier: Vec<EarlierAttempt>,
}

#[derive(Debug)]
struct EarlierAttempt {
    exception: Py<PyBaseException>,
    started_at: f64,
    duration: f64,
    permit_wait: f64,
}

impl Outcome {
    pub(crate) fn finished(
        py: Python<'_>,
        index: usize,
        record: PyRecord,
        earlier: Vec<PyAttempt>,
    ) -> PyResult<Self> {
        let (status, value, exception) = match record.result {
            Ok(value) => (Status::Done, Some(value), None),
            Err(error) => (Status::Failed, None, Some(error)),
        };
        Ok(Self {
            index,
            status,
            value,
            exception,
            attempts: record.attempts,
            permit_wait: seconds(record.permit_wait),
            started_at: if record.attempts == 0 {
                None
            } else {
                Some(monotonic(py, record.started)?)
            },
            duration: seconds(record.duration),
            earlier: earlier
                .into_iter()
                .map(|each| EarlierAttempt::new(py, each))
                .collect::<PyResult<_>>()?,
        })
    }

    /// One that waited to be tried again when its batch ended: it has failed, as its last attempt.
    pub(crate) fn given_up(
        py: Python<'_>,
        index: usize,
        mut attempts: Vec<PyAttempt>,
    ) -> PyResult<Self> {
        let mut outcome = Self::unfinished(index, Status::Failed);
        outcome.attempts = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        outcome.permit_wait = seconds(attempts.iter().map(|each| each.permit_wait).sum());
        if let Some(last) = attempts.pop() {
            outcome.started_at = Some(monotonic(py, last.started)?);
            outcome.duration = seconds(last.duration);
            outcome.exception = Some(last.error);
        }
        outcome.earlier = attempts
            .into_iter()
            .map(|each| EarlierAttempt::new(py, each))
            .collect::<PyResult<_>>()?;
        Ok(outcome)
    }

    pub(crate) fn running(py: Python<'_>, running: &Running, now: Time) -> PyResult<Self> {
        let mut outcome = Self::unfinished(running.index, Status::Running);
        outcome.attempts = running.attempt;
        outcome.permit_wait = seconds(running.waited_before + running.permit_wait);
        outcome.started_at = Some(monotonic(py, running.started)?);
        outcome.duration = now.since(running.started).as_secs_f64();
        Ok(outcome)
    }

    pub(crate) const fn unfinished(index: usize, status: Status) -> Self {
        Self {
            index,
            status,
            value: None,
            exception: None,
            attempts: 0,
            permit_wait: 0.0,
            started_at: None,
            duration: 0.0,
            earlier: Vec::new(),
        }
    }
}

impl EarlierAttempt {
    fn new(py: Python<'_>, attempt: PyAttempt) -> PyResult<Self> {
        Ok(Self {
            exception: attempt.error,
            started_at: monotonic(py, attempt.started)?,
            duration: seconds(attempt.duration),
            permit_wait: seconds(attempt.permit_wait),
        })
    }
}

#[pymethods]
impl Outcome {
    #[getter]
    fn status(&self) -> &'static str {
        self.status.name()
    }

    #[getter]
    fn value(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.value.as_ref().map(|value| value.clone_ref(py))
    }

    #[getter]
    fn exception(&self, py: Python<'_>) -> Option<Py<PyBaseException>> {
        self.exception
            .as_ref()
            .map(|exception| exception.clone_ref(py))
    }

    #[getter]
    fn earlier_attempts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let rows = self.earlier.iter().map(|each| {
            (
                each.exception.clone_ref(py),
                each.started_at,
                each.duration,
                each.permit_wait,
            )
        });
        PyTuple::new(py, rows.collect::<Vec<_>>())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut parts = vec![
            format!("index={}", self.index),
            format!("status='{}'", self.status.name()),
        ];
        if let Some(value) = &self.value {
            parts.push(format!("value={}", value.bind(py).repr()?));
        }
        if let Some(exception) = &self.exception {
            let exception = exception.bind(py);
            parts.push(match exception.repr() {
                Ok(shown) => format!("exception={shown}"),
                Err(_) => format!("exception={}", exception.get_type().name()?),
            });
        }
        if self.attempts > 0 {
            parts.push(format!("attempts={}", self.attempts));
            parts.push(format!("permit_wait={:.6}", self.permit_wait));
            parts.push(format!("duration={:.6}", self.duration));
        }
        Ok(format!("Outcome({})", parts.join(", ")))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.value)?;
        visit.call(&self.exception)?;
        for each in &self.earlier {
            visit.call(&each.exception)?;
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss)] // 2^52 ns are 52 days; beyond, microseconds are lost
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// The parts of one batch, as the binding names them.
pub(crate) type PySource = crate::engine::source::Source<Operations>;
