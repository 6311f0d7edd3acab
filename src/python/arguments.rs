//! Numbers, durations and flags that Python passes, each checked and named where it is wrong.

use std::convert::Infallible;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyDict, PyInt, PyTuple};

use super::errors::show;
use crate::engine::limiter::Rate;

/// The longest wait or pause: 292 years, and a little more than `threading.TIMEOUT_MAX`.
const LONGEST_WAIT: Duration = Duration::from_nanos(1 << 63);

/// An argument whose default is not None: it takes None as given, and refuses it.
pub(super) struct Given<'py>(pub(super) Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = Infallible;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(Some(given.to_owned())))
    }
}

/// A time in seconds as a Python number.
#[derive(Clone, Copy)]
pub(super) struct Seconds {
    pub(super) number: f64,
    pub(super) duration: Duration,
}

/// Refuses what `name` has no arguments for, in words that say what to write instead.
pub(super) fn refuse(
    name: &str,
    more: &Bound<'_, PyTuple>,
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let py = more.py();
    match unknown {
        None if more.is_empty() => Ok(()),
        None => advice(py, "refuse", (name, more, PyTuple::empty(py))).map(drop),
        Some(unknown) => advice(py, "refuse", (name, more, unknown)).map(drop),
    }
}

/// The two numbers of a rate: how many permits, and in what time.
pub(super) fn rate(limit: Given<'_>, per: Given<'_>) -> PyResult<(u64, Seconds)> {
    let Some(limit) = limit.0 else {
        let message =
            "RateLimiter() needs a limit: write RateLimiter(200, per=60) for 200 a minute";
        return Err(PyTypeError::new_err(message));
    };
    let py = limit.py();
    let rewritten = |error: PyErr| {
        if !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        match advice(py, "write_rate", (&limit, per.0.as_ref())) {
            Ok(advice) => PyTypeError::new_err(format!("{}{advice}", error.value(py))),
            Err(error) => error,
        }
    };
    let number = whole("limit", &limit, Rate::LARGEST_LIMIT).map_err(rewritten)?;
    let Some(per) = &per.0 else {
        return Err(PyTypeError::new_err(format!(
            "RateLimiter() needs per, the seconds that its limit is for: write RateLimiter({number}, \
             per=60) for {number} a minute, or per=1 for {number} a second"
        )));
    };
    Ok((number, period(per).map_err(rewritten)?))
}

/// What the module that knows it says.
pub(super) fn advice<'py>(
    py: Python<'py>,
    function: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("paceline._arguments")?
        .call_method1(function, arguments)
}

/// The `per` of a rate.
fn period(value: &Bound<'_, PyAny>) -> PyResult<Seconds> {
    let per = seconds_from("per", value, "at least a nanosecond", Rate::LONGEST)?;
    if per.duration.is_zero() {
        return Err(PyValueError::new_err(format!(
            "per must be at least a nanosecond, not {}",
            show(value)?
        )));
    }
    Ok(per)
}

pub(super) fn flag(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "{name} must be a bool, not {}",
            show(value)?
        ))),
    }
}

/// A whole number from 1 to `largest`.
pub(super) fn whole(name: &str, value: &Bound<'_, PyAny>, largest: u64) -> PyResult<u64> {
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

/// A whole number from 0 to `largest`.
pub(super) fn count(name: &str, value: &Bound<'_, PyAny>, largest: u64) -> PyResult<usize> {
    let number = match value.extract::<u64>() {
        Ok(0) if !value.is_instance_of::<PyBool>() => 0,
        _ if value.is_instance_of::<PyInt>() && value.lt(0)? => {
            return Err(PyValueError::new_err(format!(
                "{name} must be at least 0, not {}",
                show(value)?
            )));
        }
        _ => whole(name, value, largest)?,
    };
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// A time from 0 to `longest`, as a number of seconds or a `timedelta`.
pub(super) fn seconds(
    name: &str,
    value: &Bound<'_, PyAny>,
    longest: Duration,
) -> PyResult<Seconds> {
    seconds_from(name, value, "0 seconds or more", longest)
}

fn seconds_from(
    name: &str,
    value: &Bound<'_, PyAny>,
    least: &str,
    longest: Duration,
) -> PyResult<Seconds> {
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
        return wrong_value(least);
    }
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if duration <= longest => Ok(Seconds { number, duration }),
        _ => wrong_value(&format!("at most {} seconds", longest.as_secs())),
    }
}

/// How long to wait, from 0 on.
pub(super) fn wait(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    seconds(name, value, LONGEST_WAIT).map(|wait| wait.duration)
}
