//! The user's retry policy: what it judges, and by which numbers.

use std::time::Duration;

use pyo3::exceptions::PyBaseException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference};

use super::operations::is_plain;
use crate::engine::retry::{Budget, GiveUp, Longer, Policy};

/// The user's policy.
#[derive(Debug)]
pub(crate) struct Retrying {
    policy: Policy,
    /// The policy in Python. Workers hold this for as long as they live, and are not to keep what the
    /// user's rules hold: that may be the executor. Whatever is judged keeps the pool, and that keeps
    /// the policy.
    retry: Py<PyWeakrefReference>,
    /// Tells whether a value that is not of a plain type may be a response.
    may_be_response: Py<PyAny>,
    /// The user has a rule for returned values, which is asked about all of them.
    asks_about_all: bool,
    /// What a returned value tells of the server's limit is to be followed.
    observes: bool,
}

/// What the policy says of an exception.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// It allows another attempt.
    pub(crate) again: bool,
    /// A limit was hit.
    pub(crate) throttled: bool,
    /// The wait that the server asks for.
    pub(crate) wait: Option<Duration>,
    /// No waiting helps.
    pub(crate) is_final: bool,
}

/// The names that the policy is asked by.
struct PolicyNames<'py> {
    decide: &'py Bound<'py, PyString>,
    judge_result: &'py Bound<'py, PyString>,
    remaining: &'py Bound<'py, PyString>,
}

impl<'py> PolicyNames<'py> {
    fn new(py: Python<'py>) -> Self {
        Self {
            decide: intern!(py, "decide"),
            judge_result: intern!(py, "judge_result"),
            remaining: intern!(py, "remaining"),
        }
    }
}

/// Makes what is made only once.
pub(super) fn prepare(py: Python<'_>) {
    PolicyNames::new(py);
}

impl Retrying {
    pub(crate) fn new(retry: &Bound<'_, PyAny>) -> PyResult<Self> {
        let seconds =
            |name: &str| -> PyResult<Duration> { Ok(duration(retry.getattr(name)?.extract()?)) };
        let budget = retry.getattr("budget")?;
        let budget = match (budget.is_none(), budget.extract::<usize>()) {
            (true, _) => None,
            (false, Ok(count)) => Some(Budget::Count(count)),
            (false, Err(_)) => Some(Budget::Share(budget.extract()?)),
        };
        let policy = Policy {
            attempts: retry.getattr("attempts")?.extract()?,
            backoff: seconds("backoff")?,
            max_backoff: seconds("max_backoff")?,
            jitter: retry.getattr("jitter")?.extract()?,
            default_pause: retry
                .getattr("default_pause")?
                .extract::<Option<f64>>()?
                .map(duration),
            max_pause: seconds("max_pause")?,
            longer: match retry.getattr("longer")?.extract::<String>()?.as_str() {
                "cut" => Longer::Cut,
                _ => Longer::End,
            },
            budget,
        };
        let observe = retry.getattr("observe")?;
        Ok(Self {
            policy,
            retry: PyWeakrefReference::new(retry)?.unbind(),
            may_be_response: retry
                .py()
                .import("paceline.retry.responses")?
                .getattr("may_be_response")?
                .unbind(),
            asks_about_all: !retry.getattr("on_result")?.is_none() || observe.is_callable(),
            observes: observe.is_callable() || observe.is_truthy()?,
        })
    }

    /// Calls a method of the policy in Python. None if that has gone.
    fn ask<'py>(
        &self,
        method: &Bound<'py, PyString>,
        about: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let retry = self.retry.bind(about.py()).upgrade();
        retry
            .map(|retry| retry.call_method1(method, (about,)))
            .transpose()
    }

    /// Whether a returned value is to be judged. One of a plain type is no response.
    #[inline(always)]
    pub(crate) fn is_to_judge(&self, value: &Bound<'_, PyAny>) -> bool {
        self.asks_about_all
            || (!is_plain(value) || may_hold_response(value)) && self.may_be_response(value)
    }

    #[inline(never)]
    fn may_be_response(&self, value: &Bound<'_, PyAny>) -> bool {
        let answer = self.may_be_response.bind(value.py()).call1((value,));
        answer.is_ok_and(|answer| answer.is_truthy().unwrap_or(false))
    }

    /// The exception that a returned value stands for, if it does.
    pub(crate) fn judge_result(
        &self,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Py<PyBaseException>>> {
        match self.ask(PolicyNames::new(value.py()).judge_result, value)? {
            Some(failure) if !failure.is_none() => {
                Ok(Some(failure.cast_into::<PyBaseException>()?.unbind()))
            }
            _ => Ok(None),
        }
    }

    /// Judges an exception. None if the policy has gone.
    pub(crate) fn judge(
        &self,
        exception: &Bound<'_, PyBaseException>,
    ) -> PyResult<Option<Verdict>> {
        let decide = PolicyNames::new(exception.py()).decide;
        let Some(verdict) = self.ask(decide, exception)? else {
            return Ok(None);
        };
        let (again, throttled, wait, is_final) = verdict.extract()?;
        Ok(Some(Verdict {
            again,
            throttled,
            wait: Option::<f64>::map(wait, duration),
            is_final,
        }))
    }

    /// What a returned value tells of the server's limit, if that is to be followed: how much is left,
    /// and for how long.
    pub(crate) fn remaining(&self, value: &Bound<'_, PyAny>) -> PyResult<Option<(u64, Duration)>> {
        if !self.observes {
            return Ok(None);
        }
        let told = self.ask(PolicyNames::new(value.py()).remaining, value)?;
        let told: Option<(u64, f64)> = told.map_or(Ok(None), |told| told.extract())?;
        Ok(told.map(|(remaining, seconds)| (remaining, duration(seconds))))
    }

    /// Its numbers.
    pub(crate) const fn numbers(&self) -> &Policy {
        &self.policy
    }

    /// When a server is given up.
    pub(crate) fn give_up(&self) -> GiveUp {
        self.policy.give_up()
    }
}

/// A duration from seconds that Python has checked.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Whether a value is a pair or a triple with something in it that is of no plain type.
#[inline(always)]
fn may_hold_response(value: &Bound<'_, PyAny>) -> bool {
    let objects = |tuple: &Bound<'_, PyTuple>| {
        matches!(tuple.len(), 2 | 3) && tuple.iter_borrowed().any(|each| !is_plain(&each))
    };
    value.cast_exact::<PyTuple>().is_ok_and(objects)
}
