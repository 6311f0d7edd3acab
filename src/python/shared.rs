//! Limits that other processes share, as Python names, copies and shows them.

use std::path::PathBuf;

#[cfg(feature = "redis")]
use pyo3::exceptions::PyConnectionError;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::errors::show;
use super::limiter::RateLimiter;
use crate::engine::backends::host_file::{HostClock, HostFile, Place};
#[cfg(feature = "redis")]
use crate::engine::backends::redis::{Patience, RedisLimit};
use crate::engine::clock::Clock;
use crate::engine::limiter::{Limiter, OpenError, Rate, Why};

/// Where a limit is shared, as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Where {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Path,
    Server,
}

/// How addresses of servers begin.
const SERVERS: [&str; 7] = [
    "redis",
    "rediss",
    "redis+unix",
    "valkey",
    "valkeys",
    "valkey+unix",
    "unix",
];

impl Where {
    /// From the argument `shared`: the address of a server, a name, or a path if it has a separator or
    /// is one.
    pub(super) fn from(shared: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = shared.cast::<PyString>() {
            let text = text.to_str()?.to_owned();
            let kind = match text.split_once("://") {
                Some((scheme, _)) if SERVERS.contains(&scheme) => Kind::Server,
                Some((scheme, _)) => {
                    return Err(PyValueError::new_err(format!(
                        "shared must be a name, a path, or an address as redis://host:6379/0#name, \
                         not one that begins with {scheme:?}"
                    )));
                }
                None if text.contains(std::path::is_separator) => Kind::Path,
                None => Kind::Name,
            };
            return Ok(Self { text, kind });
        }
        let path: PyResult<PathBuf> = shared.extract();
        let text = path
            .ok()
            .filter(|_| shared.hasattr("__fspath__").unwrap_or(false))
            .and_then(|path| path.into_os_string().into_string().ok());
        match text {
            Some(text) => Ok(Self {
                text,
                kind: Kind::Path,
            }),
            None => Err(PyTypeError::new_err(format!(
                "shared must be a name, a path or an address, as in shared=\"descope\", \
                 shared=Path(\"/srv/limits/descope\") or shared=\"redis://host:6379/0#descope\", not {}",
                show(shared)?
            ))),
        }
    }

    /// The limiter that all who open it share.
    pub(super) fn open(&self, py: Python<'_>, rate: Rate, clock: &Clock) -> PyResult<Limiter> {
        let place = match self.kind {
            Kind::Path => Place::Path(PathBuf::from(&self.text)),
            Kind::Name => Place::Name(self.text.clone()),
            Kind::Server => return self.open_at_server(py, rate),
        };
        let host_clock = match clock {
            Clock::Monotonic => HostClock::System,
            Clock::Virtual(_) => HostClock::Engine,
        };
        let file = py.detach(|| HostFile::open(&place, rate, host_clock, clock.now()));
        file.map(HostFile::limiter).map_err(refused)
    }

    #[cfg(feature = "redis")]
    fn open_at_server(&self, py: Python<'_>, rate: Rate) -> PyResult<Limiter> {
        let limiter = py.detach(|| RedisLimit::open(&self.text, rate, Patience::default()));
        limiter.map_err(|error| match error {
            OpenError::Value(message) => PyValueError::new_err(message),
            OpenError::System(message) | OpenError::Busy(message) => {
                PyConnectionError::new_err(message)
            }
        })
    }

    #[cfg(not(feature = "redis"))]
    #[allow(clippy::unused_self)] // with the feature it is used
    fn open_at_server(&self, _: Python<'_>, _: Rate) -> PyResult<Limiter> {
        Err(PyValueError::new_err(
            "this build of paceline has no Redis in it; its wheels have",
        ))
    }

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = PyString::new(py, &self.text);
        if self.kind == Kind::Path {
            py.import("pathlib")?.call_method1("Path", (text,))
        } else {
            Ok(text.into_any())
        }
    }
}

/// As it is written in a `repr`.
impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = without_password(&self.text);
        let quoted = text.replace('\\', "\\\\").replace('\'', "\\'");
        let name = self.kind == Kind::Path && !self.text.contains(std::path::is_separator);
        let folder = if name { "./" } else { "" };
        write!(f, "'{folder}{quoted}'")
    }
}

/// An address as it is shown, without the password.
fn without_password(text: &str) -> String {
    #[cfg(feature = "redis")]
    {
        crate::engine::backends::redis::without_password(text)
    }
    #[cfg(not(feature = "redis"))]
    {
        text.to_owned()
    }
}

pub(super) fn refused(error: OpenError) -> PyErr {
    match error {
        OpenError::Value(message) => PyValueError::new_err(message),
        OpenError::System(message) | OpenError::Busy(message) => PyOSError::new_err(message),
    }
}

/// From the argument `when_lost`.
pub(super) fn raises_when_lost(when_lost: &Bound<'_, PyAny>) -> PyResult<bool> {
    let text = when_lost.cast::<PyString>().ok();
    match text.map(|text| text.to_str()).transpose()? {
        Some("wait") => Ok(false),
        Some("raise") => Ok(true),
        Some(_) => Err(PyValueError::new_err(format!(
            "when_lost must be \"wait\" or \"raise\", not {}",
            show(when_lost)?
        ))),
        None => Err(PyTypeError::new_err(format!(
            "when_lost must be \"wait\" or \"raise\", not {}",
            show(when_lost)?
        ))),
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
    options.set_item("when_lost", this.when_lost())?;
    let partial = py.import("functools")?.getattr("partial")?;
    let make = partial.call((limiter.get_type(),), Some(&options))?;
    let arguments = (limiter.getattr("limit")?, limiter.getattr("per")?);
    Ok((make, arguments.into_pyobject(py)?))
}

/// What `RateLimiter.stats()` tells.
pub(super) fn stats<'py>(limiter: &Bound<'py, RateLimiter>) -> PyResult<Bound<'py, PyAny>> {
    let py = limiter.py();
    let this = limiter.get();
    let told = this.who_shares(py);
    let module = py.import("paceline._stats")?;
    let holder = module.getattr("LimiterHolder")?;
    let host = py.import("socket")?.call_method0("gethostname")?;
    let host: String = host.extract()?;
    let holders: Vec<_> = told
        .holders
        .iter()
        .map(|it| {
            let host = it.host.as_ref().unwrap_or(&host);
            holder.call1((host, it.process, it.since, it.waits_for))
        })
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
