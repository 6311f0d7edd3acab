//! A worker asks a limiter that is not ours for a permit.

use std::sync::Arc;

use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;

use super::calls::{CallNames, conclude_call, copied_context, exit_if_forked};
use super::contexts::within;
use super::job::Job;
use super::nesting;
use super::refs::Refs;
use super::runtime::Runtime;
use super::work::{BatchContext, Operations, PyBatch, SUBMITTED};
use crate::engine::model::BatchId;
use crate::engine::scheduler::Ask;

/// What a limiter has answered: the permit was granted, or what it was refused with; or what it has
/// raised.
pub(crate) type Answer = Result<Option<Py<PyBaseException>>, Py<PyBaseException>>;

/// Asks for a permit on a worker that waits inside an operation, and hands the answer on.
pub(crate) fn ask_inside(py: Python<'_>, runtime: &Arc<Runtime>, ask: &Ask<Operations>) {
    // What it waits for, and begins, is not the operation's.
    let works_on = nesting::work_on(None);
    let answer = caller_of(py, runtime, ask.batch, &ask.context).and_then(|caller| {
        let runtime = Arc::clone(runtime);
        within(py, caller, move |py| match runtime.asker.get() {
            Some(asker) => Ok(asker.call0(py)?.extract(py)?),
            // Whoever made the executor's threads has said whom to ask: nothing starts without that.
            None => Err(PyRuntimeError::new_err("there is no limiter to ask")),
        })
    });
    nesting::go_back_to(works_on);
    let answer = answer.map_err(|error| error.into_value(py));
    hand_on(py, runtime, ask.batch, answer);
}

/// Hands an answer on. A batch whose limiter raises ends by that; an operation whose permit is refused,
/// or a submitted call whose limiter raises, fails without having been called.
pub(crate) fn hand_on(py: Python<'_>, runtime: &Arc<Runtime>, batch: BatchId, answer: Answer) {
    exit_if_forked(py, runtime);
    match answer {
        Ok(None) => runtime.scheduler.grant(),
        Ok(Some(refusal)) => refuse(py, runtime, batch, refusal),
        Err(error) if batch == SUBMITTED => refuse(py, runtime, batch, error),
        Err(error) => {
            let fail = |batch: &mut PyBatch| batch.fail_limiter(error);
            drop(runtime.scheduler.with(batch, fail));
            runtime.scheduler.fail(batch, runtime.scheduler.now());
        }
    }
}

/// A copy of the context of the caller whose operation is next: the limiter sees its variables.
pub(crate) fn caller_of<'py>(
    py: Python<'py>,
    runtime: &Runtime,
    batch: BatchId,
    context: &BatchContext,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match context {
        BatchContext::Batch { caller, .. } => caller.fresh_copy(py).map(Some),
        BatchContext::Submitted => next_call(py, runtime, batch)
            .map(|job| copied_context(job.object(py)))
            .transpose(),
    }
}

/// The submitted call that is next.
fn next_call(py: Python<'_>, runtime: &Runtime, calls: BatchId) -> Option<Job> {
    let now = runtime.scheduler.now();
    let next = |batch: &mut PyBatch, refs| Some(batch.next_job(now)?.clone_ref(refs));
    runtime.scheduler.with_lent(calls, Refs::new(py), next)?
}

/// Books the next operation of a batch as failed without having been called.
fn refuse(py: Python<'_>, runtime: &Arc<Runtime>, batch: BatchId, error: Py<PyBaseException>) {
    let refused = runtime.scheduler.refuse(batch, runtime.scheduler.now());
    let Some((lease, start)) = refused else {
        return;
    };
    let Some(context) = start.context else {
        return;
    };
    if batch == SUBMITTED && lease.running.attempt == 0 {
        let name = CallNames::new(py).begin;
        let future = start.job.object(py).get_item(0);
        if let Err(error) = future.and_then(|future| future.call_method0(name)) {
            error.write_unraisable(py, Some(start.job.object(py)));
        }
    }
    let error = PyErr::from_value(error.into_bound(py).into_any());
    let finished = conclude_call(py, runtime, &context, &lease, start.job, Err(error));
    exit_if_forked(py, runtime);
    drop(
        runtime
            .scheduler
            .book(&lease, finished, runtime.scheduler.now()),
    );
}
