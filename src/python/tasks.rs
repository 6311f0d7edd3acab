//! The operations of an event loop: each has a slot, which is to a task what a worker is to a thread.
//!
//! The loop asks a slot for what is next, makes a task of it, and tells the slot how that ended. When
//! there may be something to start again, the slot's number comes into the inbox of the loop.

use std::sync::Arc;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::calls::conclude_call;
use super::foreign::hand_on;
use super::giving_up::give_up;
use super::job::Job;
use super::logging;
use super::operations::{is_plain, is_suspended, refuse_suspended};
use super::places::Inbox;
use super::runtime::Runtime;
use super::work::{BatchContext, Operations};
use super::worker::{collect, log_events, missed_permit, take_events};
use crate::engine::lock::Guarded;
use crate::engine::model::{Ending, Finished};
use crate::engine::process::Owned;
use crate::engine::scheduler::{Claim, Start, Worker};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// A slot for one operation at a time. Its documentation is in the stub.
#[pyclass(frozen, immutable_type, module = "paceline._core")]
pub(crate) struct TaskSlot(Owned<Slot>);

struct Slot {
    runtime: Arc<Runtime>,
    signal: Arc<Signal>,
    /// While nothing runs in it.
    worker: Guarded<Option<Worker>>,
    running: Guarded<Option<Call>>,
}

/// An operation that has its permit.
struct Call {
    worker: Worker,
    context: Arc<BatchContext>,
    job: Job,
}

/// What is to run in the slot: for whom, and in which context.
type Started<'py> = (Py<PyAny>, Bound<'py, PyAny>);

impl TaskSlot {
    /// A slot whose number comes into the inbox when it is to look. One more worker has been counted.
    pub(super) fn new(runtime: &Arc<Runtime>, inbox: &Inbox, number: u64) -> Self {
        let signal = Arc::new(inbox.signal(number));
        let worker = runtime.scheduler.worker_on(Arc::clone(&signal));
        Self(Owned::new(Slot {
            runtime: Arc::clone(runtime),
            signal,
            worker: Guarded::new(Some(worker)),
            running: Guarded::new(None),
        }))
    }
}

/// What a look at what can start has come to.
enum Next {
    Start(Start<Operations>),
    Rest(Time),
    Exit,
}

impl Slot {
    fn claim(&self, py: Python<'_>, worker: &mut Worker) -> Next {
        let (runtime, scheduler) = (&self.runtime, &self.runtime.scheduler);
        // Whatever comes first brings its context with it.
        worker.forget();
        loop {
            let (leftover, mut claim) = scheduler.claim(worker, None, scheduler.now());
            drop(leftover);
            if matches!(claim, Claim::Rest(_)) {
                claim = scheduler.look(worker, scheduler.now());
            }
            match claim {
                Claim::Start(start) => return Next::Start(start),
                Claim::Rest(until) => {
                    log_events(py, &take_events(runtime));
                    match missed_permit(runtime, worker) {
                        Some((batch, error)) => {
                            hand_on(py, runtime, batch, Err(error.into_value(py)));
                        }
                        None => return Next::Rest(until),
                    }
                }
                Claim::Exit => return Next::Exit,
                Claim::GiveUp => give_up(py, runtime),
                Claim::Collect => collect(runtime),
                // There is no limiter of another make here.
                Claim::Ready | Claim::Ask(_) => {}
            }
        }
    }
}

#[pymethods]
impl TaskSlot {
    /// Takes the next operation, if one may start: whose it is, and in which context it is to run. True
    /// if there will never be one, so that the slot is to be forgotten; None if there may be later.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let slot = self.0.get()?;
        let Some(mut worker) = slot.worker.with(Option::take) else {
            return Ok(py.None().into_bound(py));
        };
        let next = slot.claim(py, &mut worker);
        if let Some(until) = worker.take_long_wait() {
            logging::waiting_for_limit(py, until.since(slot.runtime.scheduler.now()));
        }
        match next {
            Next::Start(start) => {
                let context = start
                    .context
                    .unwrap_or_else(|| Arc::new(BatchContext::Submitted));
                let call = Call {
                    worker,
                    context: Arc::clone(&context),
                    job: start.job,
                };
                slot.running.with(|running| *running = Some(call));
                let started: Started<'py> = match &*context {
                    BatchContext::Batch { caller, pool, .. } => {
                        (pool.clone_ref(py), caller.fresh_copy(py)?)
                    }
                    BatchContext::Submitted => (py.None(), py.None().into_bound(py)),
                };
                Ok(started.into_pyobject(py)?.into_any())
            }
            Next::Rest(until) => {
                slot.worker.with(|held| *held = Some(worker));
                if until != Time::NEVER {
                    slot.runtime.scheduler.clock().give_at(&slot.signal, until);
                }
                Ok(py.None().into_bound(py))
            }
            Next::Exit => Ok(true.into_pyobject(py)?.to_owned().into_any()),
        }
    }

    /// Calls the operation, in its task.
    fn call(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let slot = self.0.get()?;
        let job = slot
            .running
            .with_lent(super::refs::Refs::new(py), |call, refs| {
                call.as_ref().map(|call| call.job.clone_ref(refs))
            });
        match job {
            Some(job) => job.call(py),
            None => Ok(py.None()),
        }
    }

    /// Books how the operation ended: with a value, or an exception.
    #[pyo3(signature = (value, error=None))]
    fn done(
        &self,
        py: Python<'_>,
        value: Py<PyAny>,
        error: Option<Py<PyBaseException>>,
    ) -> PyResult<()> {
        let slot = self.0.get()?;
        let Some(Call {
            mut worker,
            context,
            job,
        }) = slot.running.with(Option::take)
        else {
            return Ok(());
        };
        let scheduler = &slot.runtime.scheduler;
        let error = match error {
            Some(error) if is_cancelled(error.bind(py))? => {
                let finished = Finished {
                    ended: scheduler.now(),
                    ending: Ending::Cancelled(error),
                    waited: 0,
                };
                drop(scheduler.finish(&mut worker, finished, scheduler.now()));
                slot.worker.with(|held| *held = Some(worker));
                return Ok(());
            }
            error => error,
        };
        let result = match error {
            Some(error) => Err(PyErr::from_value(error.into_bound(py).into_any())),
            None if !is_plain(value.bind(py)) && is_suspended(value.bind(py)) => {
                Err(refuse_suspended(value.bind(py)))
            }
            None => Ok(value),
        };
        let finished = worker
            .lease()
            .map(|lease| conclude_call(py, &slot.runtime, &context, lease, job, result));
        if let Some(finished) = finished {
            drop(scheduler.finish(&mut worker, finished, scheduler.now()));
        }
        slot.worker.with(|held| *held = Some(worker));
        Ok(())
    }
}

/// Whether a task was cancelled.
fn is_cancelled(error: &Bound<'_, PyBaseException>) -> PyResult<bool> {
    static CANCELLED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CANCELLED.import(error.py(), "asyncio", "CancelledError")?;
    error.is_instance(class)
}
