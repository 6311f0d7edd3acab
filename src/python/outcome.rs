//! `Outcome`: what became of one operation.
//!
//! Long by its documentation, which is what users read of it.

#![allow(clippy::doc_markdown)] // what is public is documented for Python

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::exceptions::{
    PyAttributeError, PyBaseException, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arguments::{advice, count, refuse, seconds as seconds_of};
use super::errors::show;
use super::origins::{Origin, arguments_of, operation_of};
use super::seconds::{monotonic, seconds};
pub(crate) use super::status::Status;
use super::work::{PyAttempt, PyRecord};
use crate::engine::batch::HandedOver;
use crate::engine::model::{Record, Running};
use crate::engine::time::Time;

/// What became of one operation of a batch. It never changes.
///
/// Outcomes come from :meth:`BatchExecutor.run`, :meth:`BatchExecutor.stream`, and the
/// ``batch_report`` of an exception that ended a batch. They can also be made by hand, for tests of
/// code that takes them. All times are in seconds.
///
/// Two are equal if all that is below is, but for ``operation`` and ``earlier_attempts``, and
/// exceptions count as equal that are of one type with the same arguments. Pickled, an outcome
/// keeps what it is compared by.
///
/// Args:
///     index: The operation's place in its batch, from 0.
///     status: One of the words below.
///     value: What it returned, if it is done.
///     exception: What it raised; needed if it has failed.
///     attempts: How often it was called; by default once, or never if it did not start.
///     permit_wait: Seconds that it waited for permits.
///     started_at: When its last attempt started, on the clock of ``time.monotonic()``.
///     duration: Seconds that its last attempt took.
///     operation: What was called.
///
/// Raises:
///     TypeError: If an argument is of the wrong type.
///     ValueError: If a number is negative or not finite, ``status`` is no such word, or ``value``
///         or ``exception`` do not go with it.
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
    origin: Option<Origin>,
    /// Of one made by hand: when it started, on Python's clock.
    given_start: Option<f64>,
}

impl Outcome {
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The same, of that operation.
    #[inline(always)]
    pub(crate) fn of(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    #[inline(always)]
    pub(crate) fn finished(handed_over: HandedOver<Py<PyAny>, Py<PyBaseException>>) -> Self {
        let HandedOver {
            index,
            record,
            earlier,
        } = handed_over;
        Self {
            index,
            status: match record.result {
                Ok(_) => Status::Done,
                Err(_) if record.cancelled => Status::Cancelled,
                Err(_) => Status::Failed,
            },
            result: Some(record.result),
            attempts: record.attempts,
            started: record.started,
            duration: record.duration,
            permit_wait: record.permit_wait,
            earlier,
            origin: None,
            given_start: None,
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
            origin: None,
            given_start: None,
        }
    }
}

#[pymethods]
impl Outcome {
    #[new]
    #[pyo3(
        signature = (
            index, status, *more, value=None, exception=None, attempts=None,
            permit_wait=None, started_at=None, duration=None, operation=None, **unknown
        ),
        text_signature = "(index, status, *, value=None, exception=None, attempts=None, \
                          permit_wait=0.0, started_at=None, duration=0.0, operation=None)"
    )]
    #[allow(clippy::too_many_arguments)] // by name, from Python
    fn new(
        index: &Bound<'_, PyAny>,
        status: &Bound<'_, PyAny>,
        more: &Bound<'_, PyTuple>,
        value: Option<Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        attempts: Option<&Bound<'_, PyAny>>,
        permit_wait: Option<&Bound<'_, PyAny>>,
        started_at: Option<&Bound<'_, PyAny>>,
        duration: Option<&Bound<'_, PyAny>>,
        operation: Option<Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        refuse("Outcome", more, unknown)?;
        let index = count("index", index, usize::MAX as u64)?;
        let status = Status::named(status)?;
        let wrong = |problem: &str| {
            let message = format!("{problem}, and the status is {:?}", status.name());
            Err(PyValueError::new_err(message))
        };
        let result = match (status, exception) {
            (Status::Failed, None) => return wrong("an exception is needed for one that failed"),
            (Status::Failed, Some(_)) if value.is_some() => {
                return wrong("only what is done has a value");
            }
            (Status::Failed, Some(exception)) => match exception.cast::<PyBaseException>() {
                Ok(exception) => Some(Err(exception.clone().unbind())),
                Err(_) => {
                    return Err(PyTypeError::new_err(format!(
                        "exception must be an exception, not {}",
                        show(exception)?
                    )));
                }
            },
            (_, Some(_)) => return wrong("only what failed has an exception"),
            (Status::Done, None) => Some(Ok(value.map_or_else(|| more.py().None(), Bound::unbind))),
            _ if value.is_some() => return wrong("only what is done has a value"),
            _ => None,
        };
        let nanos = |name, value: Option<&Bound<'_, PyAny>>| {
            let longest = std::time::Duration::from_nanos(u64::MAX / 2);
            let given = value.map(|value| seconds_of(name, value, longest));
            given.transpose().map(|it| {
                it.map_or(0, |it| {
                    u64::try_from(it.duration.as_nanos()).unwrap_or(u64::MAX)
                })
            })
        };
        let started = matches!(status, Status::Done | Status::Failed | Status::Running);
        let attempts = match attempts {
            Some(attempts) => count("attempts", attempts, u64::from(u32::MAX))?,
            None => usize::from(started),
        };
        let given_start = match started_at {
            Some(at) => Some(
                at.extract::<f64>()
                    .map_err(|_| PyTypeError::new_err("started_at must be a number of seconds"))?,
            ),
            None => None,
        };
        Ok(Self {
            index,
            status,
            result,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            started: Time::default(),
            duration: nanos("duration", duration)?,
            permit_wait: nanos("permit_wait", permit_wait)?,
            earlier: Vec::new(),
            origin: operation.map(|it| Origin::Given(it.unbind())),
            given_start: given_start.or(Some(f64::NAN)),
        })
    }

    /// Whether it is done.
    #[getter]
    fn ok(&self) -> bool {
        self.status == Status::Done
    }

    /// What the operation returned; raises what it has raised.
    ///
    /// Raises:
    ///     BaseException: What its last attempt raised, if it has failed.
    ///     RuntimeError: If it is neither done nor failed.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.result {
            Some(Ok(value)) => Ok(value.bind(py).clone()),
            Some(Err(error)) => Err(PyErr::from_value(error.bind(py).clone().into_any())),
            None => Err(PyRuntimeError::new_err(format!(
                "operation {} has no result: its status is {:?}",
                self.index,
                self.status.name()
            ))),
        }
    }

    /// The operation itself, as it stands in the list or tuple that was the batch.
    ///
    /// It is looked up there when it is asked for: so do not change a list that you still ask for.
    /// Of a batch that was read from an iterator, a stream knows it, and ``run`` where it failed;
    /// as it was given, or a partial like it. None where it is not known.
    #[getter]
    fn operation<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        operation_of(py, self.origin.as_ref(), self.index)
    }

    /// The arguments of an operation that is a ``functools.partial``; empty of any other.
    #[getter]
    fn args<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(arguments_of(py, self.operation(py).as_ref())?.0)
    }

    /// Its keyword arguments; empty of any other.
    #[getter]
    fn kwargs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(arguments_of(py, self.operation(py).as_ref())?.1)
    }

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
    ///
    /// The report that an exception carries only refers to that exception, so that neither keeps
    /// the other alive: when it is gone, a ``RuntimeError`` that names its type is here. For one of
    /// Python's own types, which cannot be weakly referred to, it is a copy from the beginning.
    #[getter]
    pub(crate) fn exception(&self) -> Option<&Py<PyBaseException>> {
        self.result.as_ref()?.as_ref().err()
    }

    /// When its last attempt started, in seconds on the clock of ``time.monotonic()``.
    ///
    /// None if it was never called.
    #[getter]
    fn started_at(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        if let Some(given) = self.given_start {
            return Ok((!given.is_nan()).then_some(given));
        }
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

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let Ok(other) = other.cast::<Self>() else {
            return Ok(py.NotImplemented());
        };
        let other = other.get();
        let same = self.index == other.index
            && self.status == other.status
            && self.attempts == other.attempts
            && self.permit_wait == other.permit_wait
            && self.duration == other.duration
            && self.started_at(py)? == other.started_at(py)?
            && match (&self.result, &other.result) {
                (Some(Ok(one)), Some(Ok(two))) => one.bind(py).eq(two)?,
                (Some(Err(one)), Some(Err(two))) => {
                    let (one, two) = (one.bind(py), two.bind(py));
                    one.is(two)
                        || one.get_type().is(two.get_type())
                            && one.getattr("args")?.eq(two.getattr("args")?)?
                }
                (one, two) => one.is_none() && two.is_none(),
            };
        Ok(same.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.index, self.status.name(), self.attempts).hash(&mut hasher);
        hasher.finish()
    }

    /// Called where there is no attribute of that name.
    #[allow(clippy::unused_self)] // Python passes it
    fn __getattr__(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let told = advice(py, "missing", ("Outcome", name))?;
        Err(PyAttributeError::new_err(told.unbind()))
    }

    /// What makes it anew where it is unpickled.
    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<((usize, &'static str), Bound<'py, PyDict>)> {
        let named = PyDict::new(py);
        if let Some(value) = self.value() {
            named.set_item("value", value)?;
        }
        if let Some(exception) = self.exception() {
            named.set_item("exception", exception)?;
        }
        named.set_item("attempts", self.attempts)?;
        named.set_item("permit_wait", self.permit_wait())?;
        named.set_item("started_at", self.started_at(py)?)?;
        named.set_item("duration", self.duration())?;
        Ok(((self.index, self.status.name()), named))
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
        match &self.origin {
            Some(origin) => origin.traverse(&visit),
            None => Ok(()),
        }
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
