//! What an executor does about an operation that failed: call it again, and when.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference};

use super::logging;
use super::operations::is_plain;
use super::refusals::refused;
use super::runtime::Runtime;
use crate::engine::recovery::Refusal;
use crate::engine::retry::{Budget, GiveUp, Longer, Policy};
use crate::engine::scheduler::Lease;
use crate::engine::time::Time;

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

/// What is to become of an operation that failed.
pub(crate) enum Decision {
    /// It has failed for good.
    GiveUp,
    /// It is to be called again, not before this time.
    Again(Time),
}

/// Whether the policy allows another attempt, whether a limit was hit, the wait in seconds, and
/// whether no waiting helps.
type Verdict = (bool, bool, Option<f64>, bool);

/// The names that the policy is asked by.
struct Names<'py> {
    decide: &'py Bound<'py, PyString>,
    judge_result: &'py Bound<'py, PyString>,
    remaining: &'py Bound<'py, PyString>,
}

impl<'py> Names<'py> {
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
    Names::new(py);
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
        match self.ask(Names::new(value.py()).judge_result, value)? {
            Some(failure) if !failure.is_none() => {
                Ok(Some(failure.cast_into::<PyBaseException>()?.unbind()))
            }
            _ => Ok(None),
        }
    }

    /// Follows what a returned value tells of the server's limit. Where the user's rule for that
    /// raises, nothing is told, and the error goes where Python shows those that nobody handles.
    pub(crate) fn observe(&self, runtime: &Runtime, lease: &Lease, value: &Bound<'_, PyAny>) {
        if !self.observes {
            return;
        }
        let py = value.py();
        let told = self.ask(Names::new(py).remaining, value);
        let told = told.and_then(|told| match told {
            Some(told) => told.extract::<Option<(u64, f64)>>(),
            None => Ok(None),
        });
        match told {
            Ok(None) => {}
            Ok(Some((remaining, seconds))) => {
                let (started, now) = (lease.running.started, Time::now());
                let until = now + duration(seconds);
                runtime.scheduler.hear(started, remaining, until, now);
            }
            Err(error) => error.write_unraisable(py, None),
        }
    }

    /// When a server is given up.
    pub(crate) fn give_up(&self) -> GiveUp {
        self.policy.give_up()
    }

    /// Decides, pauses everybody where the server asks for it, and says both in the log.
    pub(crate) fn decide(
        &self,
        py: Python<'_>,
        runtime: &Arc<Runtime>,
        lease: &Lease,
        exception: &Bound<'_, PyBaseException>,
    ) -> Decision {
        if !exception.is_instance_of::<PyException>() {
            return Decision::GiveUp;
        }
        let verdict = self.ask(Names::new(py).decide, exception);
        let verdict: PyResult<Option<Verdict>> =
            verdict.and_then(|it| it.map(|it| it.extract()).transpose());
        let (again, throttled, wait, is_final) = match verdict {
            Ok(Some(verdict)) => verdict,
            Ok(None) => return Decision::GiveUp,
            Err(error) => {
                let note =
                    format!("paceline: not tried again, because the retry policy raised {error}");
                if let Err(error) = exception.call_method1("add_note", (note,)) {
                    error.write_unraisable(py, None);
                }
                return Decision::GiveUp;
            }
        };
        let running = &lease.running;
        let now = Time::now();
        let (due, goes_on) = if throttled {
            let refusal = Refusal {
                policy: &self.policy,
                started: running.started,
                retry_after: wait.map(duration),
            };
            let refused = refused(py, runtime, lease, &refusal, exception, now);
            (refused.pause.until.max(now), refused.goes_on)
        } else {
            if !is_final {
                runtime.scheduler.answered(lease, now);
            }
            let backoff = self.policy.backoff_after(running.attempt, fastrand::f64());
            (now + backoff, true)
        };
        let again = again
            && goes_on
            && running.attempt < self.policy.attempts
            && runtime
                .scheduler
                .with(lease.batch, |batch| batch.spend_retry(self.policy.budget))
                .unwrap_or(false);
        if again {
            let seconds = due.since(now).as_secs_f64();
            logging::operation_retried(py, running, seconds, exception);
            Decision::Again(due)
        } else {
            Decision::GiveUp
        }
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
