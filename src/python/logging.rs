//! Rust events to Python's `logging`, under the logger `paceline`.
//!
//! A handler or filter may raise. The bridge leaves such an exception pending, where the next
//! Python call would stumble over it; so every event goes through [`event`], which takes it. It
//! goes to `sys.unraisablehook`, for it is not to change what becomes of a batch; but on the thread
//! of a batch's owner the program's signal handlers may run meanwhile, and Ctrl-C is the caller's.
//! Call only while attached, and with no lock held.

use std::cell::RefCell;
use std::time::Duration;

use log::Level;
use log::kv::Value;
use pyo3::exceptions::{PyBaseException, PyRecursionError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};
use pyo3_log::{Caching, Logger, ResetHandle};

use super::errors::is_exception;
use super::failures::{Failure, Untold};
use crate::engine::limiter::Event;
use crate::engine::model::Running;

const TARGET: &str = "paceline";

thread_local! {
    /// What the event that is being logged is about: the bridge carries text only.
    static LOGGED: RefCell<Option<Py<PyBaseException>>> = const { RefCell::new(None) };
}

static LEVELS: PyOnceLock<Option<ResetHandle>> = PyOnceLock::new();

/// Connects the two halves; where another part of the process has done so, nothing is changed.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    LEVELS.get_or_try_init(py, || -> PyResult<_> {
        Ok(Logger::new(py, Caching::LoggersAndLevels)?.install().ok())
    })?;
    Ok(())
}

/// Looks at the levels of Python's loggers anew: once for each batch, and before what is told rarely.
pub(crate) fn refresh_levels(py: Python<'_>) {
    if let Some(Some(levels)) = LEVELS.get(py) {
        levels.reset();
    }
}

/// Whether anybody wants to be told of failures.
pub(crate) fn writes_failures() -> bool {
    log::log_enabled!(target: TARGET, Level::Error)
}

/// An operation has failed, and its failure is only recorded. What is raised meanwhile and is not an
/// `Exception`, such as Ctrl-C, is returned.
pub(crate) fn operation_failed(py: Python<'_>, failure: &Failure<'_, '_>) -> PyResult<()> {
    let exception = failure.exception;
    let (error, error_type) = text_and_type(exception);
    let fields = [
        ("error", Value::from(error.as_str())),
        ("error_type", Value::from(error_type.as_str())),
        ("index", Value::from(failure.index as u64)),
        ("seconds", Value::from(failure.seconds)),
    ];
    let former = LOGGED.replace(Some(exception.clone().unbind()));
    let logged = event(py, Level::Error, "batch_operation_failed", &fields);
    drop(LOGGED.replace(former));
    match logged {
        // What fails for want of stack leaves none to log that on.
        Err(error)
            if error.is_instance_of::<PyRecursionError>(py)
                && exception.is_instance_of::<PyRecursionError>() =>
        {
            Ok(())
        }
        logged => tell(py, logged),
    }
}

/// More operations have failed than are told of one by one.
pub(crate) fn failures_counted(py: Python<'_>, untold: Option<Untold>) -> PyResult<()> {
    let Some(untold) = untold else {
        return Ok(());
    };
    let kinds = untold.in_words();
    let fields = [
        ("count", Value::from(untold.count)),
        ("seconds", Value::from(untold.seconds)),
        ("error_types", Value::from(kinds.as_str())),
    ];
    tell(
        py,
        event(py, Level::Error, "more_operations_failed", &fields),
    )
}

/// The exception that the event is about which is being logged on this thread, if it is about one.
#[pyfunction]
pub(crate) fn logged_exception(py: Python<'_>) -> Option<Py<PyBaseException>> {
    LOGGED.with_borrow(|logged| logged.as_ref().map(|it| it.clone_ref(py)))
}

/// An operation has failed, and is called again, in so many seconds at the earliest. For a worker.
pub(crate) fn operation_retried(
    py: Python<'_>,
    running: &Running,
    seconds: f64,
    exception: &Bound<'_, PyBaseException>,
) {
    refresh_levels(py);
    if !log::log_enabled!(target: TARGET, Level::Info) {
        return;
    }
    let (error, error_type) = text_and_type(exception);
    let fields = [
        ("error", Value::from(error.as_str())),
        ("error_type", Value::from(error_type.as_str())),
        ("index", Value::from(running.index as u64)),
        ("attempt", Value::from(running.attempt)),
        ("seconds", Value::from(seconds)),
    ];
    if let Err(error) = event(py, Level::Info, "operation_retried", &fields) {
        error.write_unraisable(py, None);
    }
}

/// A server asked everybody to wait. For a worker.
pub(crate) fn rate_limited(py: Python<'_>, seconds: f64) {
    refresh_levels(py);
    let fields = [("seconds", Value::from(seconds))];
    if let Err(error) = event(py, Level::Warn, "rate_limited", &fields) {
        error.write_unraisable(py, None);
    }
}

/// A permit is to be had after a long wait. For a worker.
pub(crate) fn waiting_for_limit(py: Python<'_>, wait: Duration) {
    refresh_levels(py);
    if let Err(error) = waiting_for_limit_here(py, wait) {
        error.write_unraisable(py, None);
    }
}

/// The same for a thread of the caller's. What is raised meanwhile and is not an `Exception` is
/// returned for the caller.
pub(crate) fn waiting_for_limit_here(py: Python<'_>, wait: Duration) -> PyResult<()> {
    refresh_levels(py);
    let fields = [("seconds", Value::from(wait.as_secs_f64()))];
    tell(py, event(py, Level::Info, "waiting_for_limit", &fields))
}

/// A limiter was told to give no permits for a time. Returns what is raised meanwhile and is not an
/// `Exception`.
pub(crate) fn limiter_paused(py: Python<'_>, pause: Duration) -> PyResult<()> {
    refresh_levels(py);
    let fields = [("seconds", Value::from(pause.as_secs_f64()))];
    tell(py, event(py, Level::Info, "limiter_paused", &fields))
}

/// Something has happened to those who count for a limiter. Returns what is raised meanwhile and is not
/// an `Exception`.
pub(crate) fn limiter_event(py: Python<'_>, happened: &Event) -> PyResult<()> {
    refresh_levels(py);
    let mut fields = vec![
        ("shared", Value::from(happened.place.as_str())),
        ("reason", Value::from(happened.reason.as_str())),
    ];
    fields.extend(
        happened
            .seconds
            .map(|seconds| ("seconds", Value::from(seconds))),
    );
    tell(py, event(py, Level::Warn, happened.name, &fields))
}

/// A batch has ended. For its owner; what is raised meanwhile and is not an `Exception` is returned
/// for the caller.
#[pyfunction]
pub(crate) fn log_batch(
    py: Python<'_>,
    counts: Vec<(String, usize)>,
    elapsed: f64,
    ended_by: &str,
) -> PyResult<()> {
    let mut fields: Vec<_> = counts
        .iter()
        .map(|(name, count)| (name.as_str(), Value::from(*count as u64)))
        .collect();
    fields.push(("elapsed", Value::from(elapsed)));
    fields.push(("ended_by", Value::from(ended_by)));
    tell(py, event(py, Level::Debug, "batch_ended", &fields))
}

/// Tells what was raised meanwhile to `sys.unraisablehook`; returns it if it is no `Exception`.
fn tell(py: Python<'_>, logged: PyResult<()>) -> PyResult<()> {
    match logged {
        Err(error) if is_exception(py, &error) => error.write_unraisable(py, None),
        other => return other,
    }
    Ok(())
}

fn event(
    py: Python<'_>,
    level: Level,
    message: &str,
    fields: &[(&str, Value<'_>)],
) -> PyResult<()> {
    log::logger().log(
        &log::Record::builder()
            .target(TARGET)
            .level(level)
            .args(format_args!("{message}"))
            .key_values(&fields)
            .file(Some(TARGET))
            .build(),
    );
    PyErr::take(py).map_or(Ok(()), Err)
}

fn text_and_type(exception: &Bound<'_, PyBaseException>) -> (String, String) {
    let text = exception
        .str()
        .unwrap_or_else(|error| substitute(exception, &error));
    (text.to_string_lossy().into_owned(), type_name(exception))
}

/// The name of the exception's type.
pub(crate) fn type_name(exception: &Bound<'_, PyBaseException>) -> String {
    let name = exception.get_type().name();
    name.map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

/// The exception's text; of one whose `str()` raises an `Exception`, its type and why.
pub(crate) fn describe<'py>(
    exception: &Bound<'py, PyBaseException>,
) -> PyResult<Bound<'py, PyString>> {
    match exception.str() {
        Err(error) if is_exception(exception.py(), &error) => Ok(substitute(exception, &error)),
        text => text,
    }
}

fn substitute<'py>(exception: &Bound<'py, PyBaseException>, error: &PyErr) -> Bound<'py, PyString> {
    let py = exception.py();
    let name = |kind: &Bound<'_, PyType>| {
        kind.name()
            .map_or_else(|_| "?".to_owned(), |name| name.to_string())
    };
    let (kind, raised) = (name(&exception.get_type()), name(&error.get_type(py)));
    PyString::new(py, &format!("<{kind}: its str() raised {raised}>"))
}
