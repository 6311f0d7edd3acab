//! Limits that other processes share, as Python names, copies and shows them.

use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::errors::show;
use super::limiter::RateLimiter;
use crate::engine::backends::host_file::{HostClock, HostFile, Place};
use crate::engine::clock::Clock;
use crate::engine::limiter::{Limiter, OpenError, Rate, Why};

/// Where a limit is shared, as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Where {
    text: String,
    is_path: bool,
}

impl Where {
    /// From the argument `shared`: a name, or a path if it has a separator or is one.
    pub(super) fn from(shared: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = shared.cast::<PyString>() {
            let text = text.to_str()?.to_owned();
            let is_path = text.contains(std::path::is_separator);
            if text.contains("://") {
                return Err(PyValueError::new_err(format!(
                    "shared must be a name or a path, not {text:?}"
                )));
            }
            return Ok(Self { text, is_path });
        }
        let path: PyResult<PathBuf> = shared.extract();
        let text = path
            .ok()
            .filter(|_| shared.hasattr("__fspath__").unwrap_or(false))
            .and_then(|path| path.into_os_string().into_string().ok());
        match text {
            Some(text) => Ok(Self {
                text,
                is_path: true,
            }),
            None => Err(PyTypeError::new_err(format!(
                "shared must be a name or a path, as in shared=\"descope\" or \
                 shared=Path(\"/srv/limits/descope\"), not {}",
                show(shared)?
            ))),
        }
    }

    /// The limiter that all who open it share.
    pub(super) fn open(&self, py: Python<'_>, rate: Rate, clock: &Clock) -> PyResult<Limiter> {
        let place = if self.is_path {
            Place::Path(PathBuf::from(&self.text))
        } else {
            Place::Name(self.text.clone())
        };
        let host_clock = match clock {
            Clock::Monotonic => HostClock::System,
            Clock::Virtual(_) => HostClock::Engine,
        };
        let file = py.detach(|| HostFile::open(&place, rate, host_clock, clock.now()));
        file.map(HostFile::limiter).map_err(refused)
    }

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = PyString::new(py, &self.text);
        if self.is_path {
            py.import("pathlib")?.call_method1("Path", (text,))
        } else {
            Ok(text.into_any())
        }
    }
}

/// As it is written in a `repr`.
impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted = self.text.replace('\\', "\\\\").replace('\'', "\\'");
        let name = self.is_path && !self.text.contains(std::path::is_separator);
        let folder = if name { "./" } else { "" };
        write!(f, "'{folder}{quoted}'")
    }
}

pub(super) fn refused(error: OpenError) -> PyErr {
    match error {
        OpenError::Value(message) => PyValueError::new_err(message),
        OpenError::System(message) => PyOSError::new_err(message),
    }
}

/// How a limiter is made again by `pickle` and `copy`: `(callable, arguments)`.
pub(super) fn reduced<'py>(
    limiter: &Bound<'py, RateLimiter>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
    let py = limiter.py();
    let parts = RateLimiter::parts_of(limiter);
    if parts.len() > 1 {
        let and = py.import("operator")?.getattr("and_")?;
        let arguments = (and, PyTuple::new(py, parts)?).into_pyobject(py)?;
        return Ok((py.import("functools")?.getattr("reduce")?, arguments));
    }
    let this = limiter.get();
    let Some(shared) = this.shared_where() else {
        return Err(PyTypeError::new_err(
            "cannot pickle 'RateLimiter' object: it counts in this process alone; one that is made \
             with shared=... can be",
        ));
    };
    let options = PyDict::new(py);
    options.set_item("burst", limiter.getattr("burst")?)?;
    options.set_item("margin", this.margin_given())?;
    options.set_item("adaptive", limiter.getattr("adaptive")?)?;
    options.set_item("shared", shared.to_python(py)?)?;
    let partial = py.import("functools")?.getattr("partial")?;
    let make = partial.call((limiter.get_type(),), Some(&options))?;
    let arguments = (limiter.getattr("limit")?, limiter.getattr("per")?);
    Ok((make, arguments.into_pyobject(py)?))
}

/// What `RateLimiter.stats()` tells.
pub(super) fn stats<'py>(limiter: &Bound<'py, RateLimiter>) -> PyResult<Bound<'py, PyAny>> {
    let py = limiter.py();
    let this = limiter.get();
    let told = this.who_shares();
    let module = py.import("paceline._stats")?;
    let holder = module.getattr("LimiterHolder")?;
    let host = py.import("socket")?.call_method0("gethostname")?;
    let holders: Vec<_> = told
        .holders
        .iter()
        .map(|it| holder.call1((&host, it.process, it.since, it.waits_for)))
        .collect::<PyResult<_>>()?;
    let (paused_for, why, by) = match told.pause {
        Some((left, why, by)) => {
            let why = match why {
                Why::Asked => "pause",
                Why::Refused => "refused",
            };
            (left.as_secs_f64(), Some(why), Some(by))
        }
        None => (0.0, None, None),
    };
    let fields = PyDict::new(py);
    fields.set_item("limit", limiter.getattr("limit")?)?;
    fields.set_item("per", limiter.getattr("per")?)?;
    fields.set_item("effective_limit", limiter.getattr("effective_limit")?)?;
    fields.set_item("permits", told.used)?;
    fields.set_item("paused_for", paused_for)?;
    fields.set_item("paused_because", why)?;
    fields.set_item("paused_by", by)?;
    fields.set_item("shared", told.place)?;
    fields.set_item("holders", PyTuple::new(py, holders)?)?;
    module.getattr("LimiterStats")?.call((), Some(&fields))
}
