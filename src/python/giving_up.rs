//! Giving up a server that goes on refusing: what ends by that is told to those who wait for it.

use std::sync::Arc;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::calls::{last_error, settle};
use super::failures::Failure;
use super::logging;
use super::refs::Refs;
use super::runtime::Runtime;
use super::seconds::seconds;
use super::work::{BatchContext, Operations, PyAttempt};
use crate::engine::recovery::Refusal;
use crate::engine::retry::Hopeless;
use crate::engine::scheduler::{GivenUp, Lease, Refused};
use crate::engine::time::Time;

/// What an operation has failed with that is not called again, with what it shares with others, its
/// index, and how long its last call took.
type Failed = (Arc<BatchContext>, usize, Py<PyBaseException>, u64);

/// A call was refused: everybody pauses, and what gives up the server by that ends.
pub(crate) fn refused(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    lease: &Lease,
    refusal: &Refusal<'_>,
    exception: &Bound<'_, PyBaseException>,
    now: Time,
) -> Refused {
    let mut failed = Vec::new();
    let collect = |context: &Arc<BatchContext>, index, last: &PyAttempt, refs: Refs<'_>| {
        let error = refs.clone(&last.error);
        failed.push((Arc::clone(context), index, error, last.duration));
    };
    let (refused, given_up) =
        runtime
            .scheduler
            .refused(lease.batch, refusal, Refs::new(py), collect, now);
    // Their owners wait for the call that was refused, so they ask later.
    for context in &given_up.ended {
        if let BatchContext::Batch { refusal: last, .. } = &**context {
            let exception = exception.clone().unbind();
            drop(last.with(|last| last.replace(exception)));
        }
    }
    if refused.pause.begins {
        logging::rate_limited(py, refused.pause.until.since(now).as_secs_f64());
    }
    settle_all(py, runtime, failed, given_up, Some(exception));
    refused
}

/// Ends what does not wait for the server any more, though this executor was not refused now.
pub(crate) fn give_up(py: Python<'_>, runtime: &Arc<Runtime>) {
    let mut failed = Vec::new();
    let collect = |context: &Arc<BatchContext>, index, last: &PyAttempt, refs: Refs<'_>| {
        let error = refs.clone(&last.error);
        failed.push((Arc::clone(context), index, error, last.duration));
    };
    let given_up = runtime
        .scheduler
        .give_up(Refs::new(py), collect, runtime.scheduler.now());
    settle_all(py, runtime, failed, given_up, None);
}

/// Writes what has failed, and settles the futures of the calls that will not be made.
fn settle_all(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    failed: Vec<Failed>,
    given_up: GivenUp<Operations>,
    refusal: Option<&Bound<'_, PyBaseException>>,
) {
    for (context, index, error, duration) in failed {
        if let BatchContext::Batch {
            failures: Some(log),
            ..
        } = &*context
        {
            let (seconds, exception) = (seconds(duration), error.bind(py));
            log.note(
                py,
                &Failure {
                    index,
                    seconds,
                    exception,
                },
            );
        }
    }
    for (number, job, why) in given_up.calls {
        // Were the error not to be made, that is what its future fails with: none is left out.
        let made = || {
            let made = make_error(py, refusal, why);
            made.unwrap_or_else(|error| error.into_value(py))
        };
        let error = last_error(runtime, number).unwrap_or_else(made);
        if let Err(error) = settle(py, &job, Some(&error)) {
            error.write_unraisable(py, Some(job.object(py)));
        }
    }
}

/// What a submitted call fails with that was never made.
fn make_error(
    py: Python<'_>,
    refusal: Option<&Bound<'_, PyBaseException>>,
    why: Hopeless,
) -> PyResult<Py<PyBaseException>> {
    let errors = py.import("paceline._errors")?;
    let (refusals, pause) = told(why);
    let error = errors.call_method1("refused_for_good", (refusal, refusals, pause))?;
    Ok(error.extract()?)
}

/// Why a server was given up: how many refusals in a row, or how many seconds of a pause.
pub(crate) type Reason = (Option<usize>, Option<f64>);

pub(crate) fn told(why: Hopeless) -> Reason {
    match why {
        Hopeless::Refusals(refusals) => (Some(refusals), None),
        Hopeless::Pause(pause) => (None, Some(pause.as_secs_f64())),
    }
}
