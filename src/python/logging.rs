//! Rust events to Python's `logging`, under the logger `paceline`.
//!
//! A handler or filter may raise. The bridge leaves such an exception pending, where the next
//! Python call would stumble over it; so every event goes through [`event`], which hands it to
//! `sys.unraisablehook` instead. Call only while attached, and with no lock held.

use log::Level;
use log::kv::Value;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use pyo3_log::{Caching, Logger, ResetHandle};

const TARGET: &str = "paceline";

static LEVELS: PyOnceLock<Option<ResetHandle>> = PyOnceLock::new();

/// Connects the two halves; where another part of the process has done so, nothing is changed.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    LEVELS.get_or_try_init(py, || -> PyResult<_> {
        Ok(Logger::new(py, Caching::LoggersAndLevels)?.install().ok())
    })?;
    Ok(())
}

/// Looks at the levels of Python's loggers anew.
pub(crate) fn refresh_levels(py: Python<'_>) {
    if let Some(Some(levels)) = LEVELS.get(py) {
        levels.reset();
    }
}

/// An operation has failed, and its failure is only recorded.
pub(crate) fn operation_failed(
    py: Python<'_>,
    index: usize,
    exception: &Bound<'_, PyBaseException>,
) {
    if !log::log_enabled!(target: TARGET, Level::Error) {
        return;
    }
    let error = describe(exception).to_string_lossy().into_owned();
    let error_type = exception
        .get_type()
        .name()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let index = index as u64;
    event(
        py,
        Level::Error,
        "batch_operation_failed",
        &[
            ("error", Value::from(error.as_str())),
            ("error_type", Value::from(error_type.as_str())),
            ("index", Value::from(index)),
        ],
    );
}

/// A server asked everybody to wait.
pub(crate) fn rate_limited(py: Python<'_>, seconds: f64) {
    event(
        py,
        Level::Warn,
        "rate_limited",
        &[("seconds", Value::from(seconds))],
    );
}

/// A batch has ended.
pub(crate) fn batch_ended(py: Python<'_>, counts: &[(&str, usize)], elapsed: f64, ended_by: &str) {
    if !log::log_enabled!(target: TARGET, Level::Debug) {
        return;
    }
    let mut fields: Vec<_> = counts
        .iter()
        .map(|(name, count)| (*name, Value::from(*count as u64)))
        .collect();
    fields.push(("elapsed", Value::from(elapsed)));
    fields.push(("ended_by", Value::from(ended_by)));
    event(py, Level::Debug, "batch_ended", &fields);
}

fn event(py: Python<'_>, level: Level, message: &str, fields: &[(&str, Value<'_>)]) {
    log::logger().log(
        &log::Record::builder()
            .target(TARGET)
            .level(level)
            .args(format_args!("{message}"))
            .key_values(&fields)
            .file(Some(TARGET))
            .build(),
    );
    if let Some(error) = PyErr::take(py) {
        error.write_unraisable(py, None);
    }
}

/// The exception's text; of one that has none, its type and why.
pub(crate) fn describe<'py>(exception: &Bound<'py, PyBaseException>) -> Bound<'py, PyString> {
    let py = exception.py();
    match exception.str() {
        Ok(text) => text,
        Err(error) => {
            let name = |kind: &Bound<'_, pyo3::types::PyType>| {
                kind.name()
                    .map_or_else(|_| "?".to_owned(), |name| name.to_string())
            };
            let (kind, raised) = (name(&exception.get_type()), name(&error.get_type(py)));
            PyString::new(py, &format!("<{kind}: its str() raised {raised}>"))
        }
    }
}
