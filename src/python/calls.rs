//! What is called, and where its result goes: a batch's to its records, a submitted call's to its
//! future.

use std::collections::HashSet;
use std::sync::Arc;

use pyo3::exceptions::{PyBaseException, PyBaseExceptionGroup, PyException};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::contexts::within;
use super::failures::Failure;
use super::job::Job;
use super::nesting::take_permit_wait;
use super::retrying::{Decision, decide, observe};
use super::runtime::Runtime;
use super::work::{BatchContext, Operations, PyBatch, SUBMITTED};
use crate::engine::model::{Ending, Finished, Running};
use crate::engine::scheduler::Lease;
use crate::engine::time::Time;

/// Calls one submitted call, which has its permit.
pub(crate) fn run_submitted(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    lease: &Lease,
    job: Job,
) -> Finished<Operations> {
    let result = call_submitted(job.object(py), &lease.running);
    exit_if_forked(py, runtime);
    let finished = conclude_call(py, runtime, &BatchContext::Submitted, lease, job, result);
    exit_if_forked(py, runtime);
    finished
}

/// Called when something of the user's has returned, which may have forked: an operation, what was
/// asked or told of its end, a destructor.
#[inline(always)]
pub(super) fn exit_if_forked(py: Python<'_>, runtime: &Runtime) {
    if !runtime.is_of_this_process() {
        // This is the child coming back from it: its executor is gone, and nobody waits for what it
        // would do next.
        exit_process(py);
    }
}

/// What follows from a call that has just ended.
pub(super) fn conclude_call(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    context: &BatchContext,
    lease: &Lease,
    job: Job,
    result: PyResult<Py<PyAny>>,
) -> Finished<Operations> {
    let ended = if lease.running.refused {
        lease.running.started
    } else {
        runtime.scheduler.now()
    };
    let waited = take_permit_wait();
    let result = result.and_then(|value| accept(py, runtime, context, lease, &job, value));
    let error = match result {
        Ok(value) => {
            let ending = conclude(py, context, job, Ok(value));
            return Finished {
                ended,
                ending,
                waited,
            };
        }
        Err(error) => error.into_value(py),
    };
    let ending = match judge(py, runtime, context, lease, &job, &error, ended) {
        Decision::Again(due) => Ending::Again(error, due, job),
        Decision::GiveUp => {
            if let BatchContext::Batch { input, .. } = context {
                input.note_failed(py, lease.running.index, &job);
            }
            conclude(py, context, job, Err(error))
        }
    };
    Finished {
        ended,
        ending,
        waited,
    }
}

/// Passes on what an operation returned, or fails with the exception that it stands for, such as a
/// response by which a server refuses. The user's rule sees the variables of the caller.
fn accept(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    context: &BatchContext,
    lease: &Lease,
    job: &Job,
    value: Py<PyAny>,
) -> PyResult<Py<PyAny>> {
    if !runtime.config.is_to_judge(value.bind(py)) {
        return Ok(value);
    }
    let (caller, judged) = (caller_of(py, context, job), value.clone_ref(py));
    let (runtime, lease) = (Arc::clone(runtime), *lease);
    let failure: PyResult<_> = within(py, caller, move |py| {
        let Some(retrying) = &runtime.config.retrying else {
            return Ok(None);
        };
        let judged = judged.bind(py);
        let failure = retrying.judge_result(judged)?;
        if failure.is_none() {
            observe(retrying, &runtime, &lease, judged);
        }
        Ok(failure)
    });
    match failure? {
        Some(failure) => Err(PyErr::from_value(failure.into_bound(py).into_any())),
        None => Ok(value),
    }
}

/// A copy of the context of the operation's caller.
fn caller_of<'py>(py: Python<'py>, context: &BatchContext, job: &Job) -> Option<Bound<'py, PyAny>> {
    match context {
        BatchContext::Batch { caller, .. } => caller.copy(py),
        BatchContext::Submitted => copied_context(job.object(py)).ok(),
    }
}

/// What is to become of an operation that has failed. The policy that is asked and the handlers of
/// what is logged see the variables that the operation's caller had set.
fn judge(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    context: &BatchContext,
    lease: &Lease,
    job: &Job,
    error: &Py<PyBaseException>,
    ended: Time,
) -> Decision {
    let failures = match context {
        BatchContext::Batch { failures, .. } => failures.clone(),
        BatchContext::Submitted => None,
    };
    if runtime.config.retrying.is_none() && failures.is_none() {
        return Decision::GiveUp;
    }
    let caller = caller_of(py, context, job);
    let (runtime, lease, error) = (Arc::clone(runtime), *lease, error.clone_ref(py));
    within(py, caller, move |py| {
        let decision = match &runtime.config.retrying {
            Some(retrying) if !lease.running.refused => {
                decide(py, retrying, &runtime, &lease, error.bind(py))
            }
            _ => Decision::GiveUp,
        };
        if let (Some(failures), Decision::GiveUp) = (&failures, &decision) {
            let running = &lease.running;
            failures.note(
                py,
                &Failure {
                    index: running.index,
                    seconds: ended.since(running.started).as_secs_f64(),
                    exception: error.bind(py),
                },
            );
        }
        decision
    })
}

/// A copy of the context of a submitted call.
pub(super) fn copied_context<'py>(job: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    job.get_item(3)?.call_method0(CallNames::new(job.py()).copy)
}

/// What is asked for by its name for each submitted call.
pub(super) struct CallNames<'py> {
    /// Of a future.
    pub(super) number: &'py Bound<'py, PyString>,
    pub(super) begin: &'py Bound<'py, PyString>,
    copy: &'py Bound<'py, PyString>,
    run: &'py Bound<'py, PyString>,
    set_result: &'py Bound<'py, PyString>,
    set_exception: &'py Bound<'py, PyString>,
}

impl<'py> CallNames<'py> {
    #[inline(always)]
    pub(super) fn new(py: Python<'py>) -> Self {
        Self {
            number: intern!(py, "number"),
            begin: intern!(py, "set_running_or_notify_cancel"),
            copy: intern!(py, "copy"),
            run: intern!(py, "run"),
            set_result: intern!(py, "set_result"),
            set_exception: intern!(py, "set_exception"),
        }
    }
}

/// Makes what is made only once.
pub(super) fn prepare(py: Python<'_>) {
    CallNames::new(py);
}

/// Whether what an operation has raised is its failure, and does not end the batch. So is
/// `asyncio.CancelledError`, though it is no `Exception`: what was cancelled is something of the
/// operation's own. So is a group of nothing but these.
fn is_failure(error: &Bound<'_, PyBaseException>) -> bool {
    is_single_failure(error) || is_group_of_failures(error).unwrap_or(false)
}

fn is_single_failure(error: &Bound<'_, PyBaseException>) -> bool {
    let is_cancelled = || -> PyResult<bool> {
        // Where it was never imported, nothing can be one.
        let modules = error.py().import("sys")?.getattr("modules")?;
        let module = modules.get_item("asyncio.exceptions")?;
        error.is_instance(&module.getattr("CancelledError")?)
    };
    error.is_instance_of::<PyException>() || is_cancelled().unwrap_or(false)
}

fn is_group_of_failures(error: &Bound<'_, PyBaseException>) -> PyResult<bool> {
    // What the group was made of, whatever its class says: finitely many exceptions, though one may
    // be in several groups.
    let class = error.py().get_type::<PyBaseExceptionGroup>();
    let members = class.getattr("exceptions")?;
    let mut known = HashSet::new();
    let mut left = vec![error.clone()];
    while let Some(next) = left.pop() {
        if is_single_failure(&next) || !known.insert(next.as_ptr().addr()) {
            continue;
        }
        if !next.is_instance(&class)? {
            return Ok(false);
        }
        let exceptions = members.call_method1("__get__", (&next,))?;
        for exception in exceptions.cast::<PyTuple>()? {
            left.push(exception.cast_into()?);
        }
    }
    Ok(true)
}

/// What a submitted call failed with the last time, if it was called.
pub(super) fn last_error(runtime: &Runtime, number: usize) -> Option<Py<PyBaseException>> {
    let history = |batch: &mut PyBatch| batch.history_of(number);
    // The earlier ones are dropped here, not under the lock.
    let mut attempts = runtime.scheduler.with(SUBMITTED, history)?;
    attempts.pop().map(|attempt| attempt.error)
}

/// Settles the future of a call that was taken back. A signal handler or a callback may raise
/// meanwhile: nobody else would settle it then.
pub(super) fn settle(
    py: Python<'_>,
    job: &Job,
    error: Option<&Py<PyBaseException>>,
) -> PyResult<()> {
    let future = job.object(py).get_item(0)?;
    let settle = || future.call_method1("settle", (error,)).map(|_| ());
    settle().or_else(|raised| {
        settle()?;
        Err(raised)
    })
}

/// Hands a result on: a batch's to its records, a submitted call's to its future.
pub(crate) fn conclude(
    py: Python<'_>,
    context: &BatchContext,
    job: Job,
    result: Result<Py<PyAny>, Py<PyBaseException>>,
) -> Ending<Operations> {
    match context {
        BatchContext::Batch { .. } => {
            let fatal = result
                .as_ref()
                .is_err_and(|error| !is_failure(error.bind(py)));
            Ending::Result(result, fatal)
        }
        BatchContext::Submitted => {
            let failed = result.is_err();
            if let Err(error) = fulfil(job.object(py), result) {
                error.write_unraisable(py, Some(job.object(py)));
            }
            Ending::Delivered(failed)
        }
    }
}

/// The submitted call's parts: its future, the function with its arguments, and its context.
type CallParts<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyTuple>,
    Bound<'py, PyDict>,
    Bound<'py, PyAny>,
);

pub(super) fn call_submitted(job: &Bound<'_, PyAny>, running: &Running) -> PyResult<Py<PyAny>> {
    let py = job.py();
    let names = CallNames::new(py);
    let (future, call, kwargs, context): CallParts<'_> = job.extract()?;
    if running.attempt == 1 {
        future.call_method0(names.begin)?;
    }
    // Each attempt has a copy of its own.
    context
        .call_method0(names.copy)?
        .call_method(names.run, call, Some(&kwargs))
        .map(Bound::unbind)
}

fn fulfil(job: &Bound<'_, PyAny>, result: Result<Py<PyAny>, Py<PyBaseException>>) -> PyResult<()> {
    let future = job.get_item(0)?;
    let names = CallNames::new(job.py());
    match result {
        Ok(value) => future.call_method1(names.set_result, (value,))?,
        Err(error) => future.call_method1(names.set_exception, (error,))?,
    };
    Ok(())
}

/// Ends a forked child as those of `multiprocessing` end, so that what was submitted here is done.
pub(super) fn exit_process(py: Python<'_>) -> ! {
    for (module, path) in [
        ("threading", "_shutdown"),
        ("sys", "stdout.flush"),
        ("sys", "stderr.flush"),
    ] {
        let call = || -> PyResult<()> {
            let module = py.import(module)?.into_any();
            let function = path
                .split('.')
                .try_fold(module, |it, name| it.getattr(name))?;
            function.call0().map(drop)
        };
        drop(call());
    }
    drop(
        py.import("os")
            .and_then(|os| os.call_method1("_exit", (0,))),
    );
    std::process::exit(0)
}
