//! What an executor does about an operation that failed: call it again, and when.

use std::sync::Arc;

use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::prelude::*;

use super::giving_up::refused;
use super::logging;
use super::policy::Retrying;
use super::runtime::Runtime;
use crate::engine::recovery::Refusal;
use crate::engine::scheduler::Lease;
use crate::engine::time::Time;

/// What is to become of an operation that failed.
pub(crate) enum Decision {
    /// It has failed for good.
    GiveUp,
    /// It is to be called again, not before this time.
    Again(Time),
}

/// Follows what a returned value tells of the server's limit. Where the user's rule for that
/// raises, nothing is told, and the error goes where Python shows those that nobody handles.
pub(crate) fn observe(
    retrying: &Retrying,
    runtime: &Runtime,
    lease: &Lease,
    value: &Bound<'_, PyAny>,
) {
    match retrying.remaining(value) {
        Ok(None) => {}
        Ok(Some((remaining, after))) => {
            let (started, now) = (lease.running.started, runtime.scheduler.now());
            runtime.scheduler.hear(started, remaining, now + after, now);
        }
        Err(error) => error.write_unraisable(value.py(), None),
    }
}

/// Decides, pauses everybody where the server asks for it, and says both in the log.
pub(crate) fn decide(
    py: Python<'_>,
    retrying: &Retrying,
    runtime: &Arc<Runtime>,
    lease: &Lease,
    exception: &Bound<'_, PyBaseException>,
) -> Decision {
    if !exception.is_instance_of::<PyException>() {
        return Decision::GiveUp;
    }
    let verdict = match retrying.judge(exception) {
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
    let (running, policy, now) = (&lease.running, retrying.numbers(), runtime.scheduler.now());
    let (due, goes_on) = if verdict.throttled {
        let refusal = Refusal {
            policy,
            started: running.started,
            retry_after: verdict.wait,
        };
        let refused = refused(py, runtime, lease, &refusal, exception, now);
        (refused.pause.until.max(now), refused.goes_on)
    } else {
        if !verdict.is_final {
            runtime.scheduler.answered(lease, now);
        }
        let backoff = policy.backoff_after(running.attempt, fastrand::f64());
        (now + backoff, true)
    };
    let again = verdict.again
        && goes_on
        && running.attempt < policy.attempts
        && runtime
            .scheduler
            .with(lease.batch, |batch| batch.spend_retry(policy.budget))
            .unwrap_or(false);
    if again {
        let seconds = due.since(now).as_secs_f64();
        logging::operation_retried(py, running, seconds, exception);
        Decision::Again(due)
    } else {
        Decision::GiveUp
    }
}
