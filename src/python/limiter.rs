//! `RateLimiter`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyInt, PyTuple};

use super::interpreter;
use super::showing::show;
use crate::engine::limiter::{Limiter, Rate, Turn};
use crate::engine::process;
use crate::engine::signal::Signal;
use crate::engine::time::{Monotonic, Time};

/// The longest wait or pause: 292 years, and a little more than `threading.TIMEOUT_MAX`.
const LONGEST_WAIT: Duration = Duration::from_nanos(1 << 63);

/// At most ``limit`` permits in any window of ``per`` seconds, first come first served.
#[pyclass(frozen, module = "paceline", weakref)]
pub(crate) struct RateLimiter {
    limiter: Limiter,
    makeup: Makeup,
}

enum Makeup {
    Single(Spec),
    /// Single ones, all older than the combination: there is no cycle for the collector to find.
    Combined(Vec<Py<RateLimiter>>),
}

/// A rate in the numbers that the user gave.
struct Spec {
    rate: Rate,
    per: f64,
    margin: Option<f64>,
}

impl RateLimiter {
    /// The limiter itself.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    fn spec(&self, name: &str) -> PyResult<&Spec> {
        match &self.makeup {
            Makeup::Single(spec) => Ok(spec),
            Makeup::Combined(_) => Err(PyAttributeError::new_err(format!(
                "a combined RateLimiter has no {name} of its own: see its parts"
            ))),
        }
    }

    fn parts_of(this: &Bound<'_, Self>) -> Vec<Py<Self>> {
        match &this.get().makeup {
            Makeup::Single(_) => vec![this.clone().unbind()],
            Makeup::Combined(parts) => parts.iter().map(|part| part.clone_ref(this.py())).collect(),
        }
    }

    fn checked(&self, weight: Given<'_>) -> PyResult<u64> {
        let weight = weight
            .0
            .map_or(Ok(1), |weight| whole("weight", &weight, u64::MAX))?;
        let largest = self.limiter.largest_weight();
        if weight > largest {
            return Err(PyValueError::new_err(format!(
                "weight must be at most {largest} to be granted ever, not {weight}"
            )));
        }
        Ok(weight)
    }

    /// Waits in the queue until `deadline`.
    fn wait_in_line(&self, py: Python<'_>, weight: u64, deadline: Time) -> PyResult<bool> {
        loop {
            let generation = process::generation();
            let signal = Arc::new(Signal::default());
            let mut ticket = self.limiter.enqueue(weight, Arc::clone(&signal));
            // A signal handler may fork: the child begins anew, in its own queue.
            while generation == process::generation() {
                let turn = ticket.try_start(Monotonic);
                let now = Time::now();
                let until = match turn {
                    Turn::Ready => return Ok(true),
                    Turn::At(due) if due > deadline => return Ok(false),
                    Turn::At(due) => due,
                    Turn::Behind if now >= deadline => return Ok(false),
                    Turn::Behind => deadline,
                };
                interpreter::wait(py, &signal, until)?;
            }
        }
    }
}

#[pymethods]
impl RateLimiter {
    #[new]
    #[pyo3(
        signature = (limit, per=Given(None), *, burst=None, margin=None, adaptive=Given(None)),
        text_signature = "(limit, per=1.0, *, burst=None, margin=None, adaptive=False)"
    )]
    fn new(
        limit: &Bound<'_, PyAny>,
        per: Given<'_>,
        burst: Option<&Bound<'_, PyAny>>,
        margin: Option<&Bound<'_, PyAny>>,
        adaptive: Given<'_>,
    ) -> PyResult<Self> {
        let limit = whole("limit", limit, Rate::LARGEST_LIMIT)?;
        let per = per.0.map_or(Ok(Seconds::ONE), |per| period(&per))?;
        let adaptive = adaptive
            .0
            .map_or(Ok(false), |adaptive| flag("adaptive", &adaptive))?;
        let burst = burst
            .map(|burst| whole("burst", burst, u64::MAX))
            .transpose()?;
        let margin = margin
            .map(|margin| seconds("margin", margin, Rate::LONGEST))
            .transpose()?;
        let rate = Rate::new(
            limit,
            per.duration,
            burst,
            margin.map(|margin| margin.duration),
        )
        .and_then(|rate| if adaptive { rate.adaptive() } else { Ok(rate) })
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self {
            limiter: Limiter::new(rate),
            makeup: Makeup::Single(Spec {
                rate,
                per: per.number,
                margin: margin.map(|margin| margin.number),
            }),
        })
    }

    /// Waits for a permit and takes it. False if it was not to be had within ``timeout`` seconds.
    #[pyo3(
        signature = (weight=Given(None), *, timeout=None),
        text_signature = "($self, weight=1, *, timeout=None)"
    )]
    fn acquire(
        &self,
        py: Python<'_>,
        weight: Given<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let weight = self.checked(weight)?;
        let timeout = timeout
            .map(|timeout| wait("timeout", timeout))
            .transpose()?;
        if self.limiter.try_acquire(weight, Monotonic) {
            return Ok(true);
        }
        let Some(timeout) = timeout else {
            return self.wait_in_line(py, weight, Time::NEVER);
        };
        if self.limiter.wait_time(weight, Monotonic) > timeout {
            return Ok(false);
        }
        self.wait_in_line(py, weight, Time::now() + timeout)
    }

    /// Takes a permit if there is one now, without waiting. False while anyone waits.
    #[pyo3(signature = (weight=Given(None)), text_signature = "($self, weight=1)")]
    fn try_acquire(&self, weight: Given<'_>) -> PyResult<bool> {
        Ok(self.limiter.try_acquire(self.checked(weight)?, Monotonic))
    }

    /// The least seconds until a permit would be granted, without taking it.
    #[pyo3(signature = (weight=Given(None)), text_signature = "($self, weight=1)")]
    fn wait_time(&self, weight: Given<'_>) -> PyResult<f64> {
        Ok(self
            .limiter
            .wait_time(self.checked(weight)?, Monotonic)
            .as_secs_f64())
    }

    /// Gives no permit to anybody for so many seconds. Only ever lengthens a pause.
    fn pause(&self, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let pause = wait("seconds", seconds)?;
        self.limiter.pause_until(Time::now() + pause);
        Ok(())
    }

    /// Permits in any window.
    #[getter]
    fn limit(&self) -> PyResult<u64> {
        Ok(self.spec("limit")?.rate.limit())
    }

    /// Length of the window in seconds.
    #[getter]
    fn per(&self) -> PyResult<f64> {
        Ok(self.spec("per")?.per)
    }

    /// Permits that may follow each other at once; None if they are not paced.
    #[getter]
    fn burst(&self) -> PyResult<Option<u64>> {
        Ok(self.spec("burst")?.rate.burst())
    }

    /// How much longer than ``per`` the window is kept, in seconds.
    #[getter]
    fn margin(&self) -> PyResult<f64> {
        let spec = self.spec("margin")?;
        Ok(spec
            .margin
            .unwrap_or_else(|| spec.rate.margin().as_secs_f64()))
    }

    /// Whether refusals lower the limit in effect.
    #[getter]
    fn adaptive(&self) -> PyResult<bool> {
        Ok(self.spec("adaptive")?.rate.is_adaptive())
    }

    /// Permits in any window as of now.
    #[getter]
    fn effective_limit(&self) -> PyResult<u64> {
        self.spec("effective_limit")?;
        Ok(self.limiter.effective_limit(Monotonic))
    }

    /// The limiters it was combined from, or itself alone.
    #[getter]
    fn parts(slf: &Bound<'_, Self>) -> PyResult<Py<PyTuple>> {
        PyTuple::new(slf.py(), Self::parts_of(slf)).map(Bound::unbind)
    }

    fn __and__(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        let mut parts = Self::parts_of(slf);
        for part in Self::parts_of(other) {
            if !parts.iter().any(|known| known.is(&part)) {
                parts.push(part);
            }
        }
        if let [only] = &parts[..] {
            return Ok(only.clone_ref(slf.py()));
        }
        let limiter = Limiter::all_of(parts.iter().map(|part| &part.get().limiter));
        Py::new(
            slf.py(),
            Self {
                limiter,
                makeup: Makeup::Combined(parts),
            },
        )
    }

    fn __repr__(&self) -> String {
        match &self.makeup {
            Makeup::Single(spec) => spec.to_string(),
            Makeup::Combined(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| part.get().__repr__()).collect();
                parts.join(" & ")
            }
        }
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // `{:?}` writes a float so that it reads back as the same float.
        write!(f, "RateLimiter({}, per={:?}", self.rate.limit(), self.per)?;
        if let Some(burst) = self.rate.burst() {
            write!(f, ", burst={burst}")?;
        }
        if let Some(margin) = self.margin
            && self.rate.margin() != Rate::default_margin(self.rate.per())
        {
            write!(f, ", margin={margin:?}")?;
        }
        if self.rate.is_adaptive() {
            f.write_str(", adaptive=True")?;
        }
        f.write_char(')')
    }
}

/// An argument whose default is not None: it takes None as given, and refuses it.
struct Given<'py>(Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = Infallible;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(Some(given.to_owned())))
    }
}

/// A time in seconds as a Python number.
#[derive(Clone, Copy)]
struct Seconds {
    number: f64,
    duration: Duration,
}

impl Seconds {
    const ONE: Self = Self {
        number: 1.0,
        duration: Duration::from_secs(1),
    };
}

/// The `per` of a rate.
fn period(value: &Bound<'_, PyAny>) -> PyResult<Seconds> {
    let per = seconds("per", value, Rate::LONGEST)?;
    if per.duration.is_zero() {
        return Err(PyValueError::new_err(format!(
            "per must be at least a nanosecond, not {}",
            show(value)?
        )));
    }
    Ok(per)
}

fn flag(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "{name} must be a bool, not {}",
            show(value)?
        ))),
    }
}

/// A whole number from 1 to `largest`.
fn whole(name: &str, value: &Bound<'_, PyAny>, largest: u64) -> PyResult<u64> {
    let index = if value.is_instance_of::<PyBool>() {
        None
    } else if value.is_instance_of::<PyInt>() {
        Some(value.clone())
    } else {
        value.call_method0("__index__").ok()
    };
    let Some(index) = index else {
        return Err(PyTypeError::new_err(format!(
            "{name} must be an int, not {}",
            show(value)?
        )));
    };
    match index.extract::<u64>() {
        Ok(number) if (1..=largest).contains(&number) => Ok(number),
        _ if index.lt(1)? => Err(PyValueError::new_err(format!(
            "{name} must be at least 1, not {}",
            show(value)?
        ))),
        _ => Err(PyValueError::new_err(format!(
            "{name} must be at most {largest}, not {}",
            show(value)?
        ))),
    }
}

/// A time from 0 to `longest`, as a number of seconds or a `timedelta`.
fn seconds(name: &str, value: &Bound<'_, PyAny>, longest: Duration) -> PyResult<Seconds> {
    let wrong_type = || {
        Err(PyTypeError::new_err(format!(
            "{name} must be a number of seconds or a timedelta, not {}",
            show(value)?
        )))
    };
    let wrong_value = |rule: &str| {
        let message = format!("{name} must be {rule}, not {}", show(value)?);
        Err(PyValueError::new_err(message))
    };
    let number = if value.is_instance_of::<PyDelta>() {
        value.call_method0("total_seconds")?.extract::<f64>()?
    } else if value.is_instance_of::<PyBool>() {
        return wrong_type();
    } else {
        match value.extract::<f64>() {
            Ok(number) => number,
            // An int that no float can hold.
            Err(_) if value.is_instance_of::<PyInt>() && value.gt(0)? => f64::MAX,
            Err(_) if value.is_instance_of::<PyInt>() => f64::MIN,
            Err(_) => return wrong_type(),
        }
    };
    if !number.is_finite() {
        return wrong_value("a finite number of seconds");
    }
    if number < 0.0 {
        return wrong_value("0 seconds or more");
    }
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if duration <= longest => Ok(Seconds { number, duration }),
        _ => wrong_value(&format!("at most {} seconds", longest.as_secs())),
    }
}

/// How long to wait, from 0 on.
fn wait(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    seconds(name, value, LONGEST_WAIT).map(|wait| wait.duration)
}
