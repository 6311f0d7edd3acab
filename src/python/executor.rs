//! The base of `BatchExecutor`: an immutable configuration, and a state for each process.
//!
//! The verbs are in `python/paceline/_executor.py`; what they stand on is here.

use std::sync::{Arc, OnceLock, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::batch::{Batch, Terms};
use super::dispatcher::Dispatcher;
use super::interpreter;
use super::limiter::RateLimiter;
use super::logging;
use super::operations::check;
use super::retrying::Retrying;
use super::runtime::{Config, Runtime, Worker};
use super::worker::{Context, Operations, call, context_run};
use crate::engine::ledger::Keep;
use crate::engine::process::PerProcess;
use crate::engine::schedule::{Claim, Scheduler, SourceId};
use crate::engine::signal::Signal;
use crate::engine::source::{End, Source, Terms as EngineTerms};
use crate::engine::time::Time;

/// The base of `BatchExecutor`. Its documentation is in the stub.
#[pyclass(subclass, frozen, weakref, module = "paceline._core")]
pub(crate) struct BatchExecutor {
    made: OnceLock<(Config, PerProcess<Runtime>)>,
}

impl BatchExecutor {
    fn runtime(&self) -> PyResult<Arc<Runtime>> {
        let (config, state) = self.made.get().ok_or_else(|| {
            PyRuntimeError::new_err("BatchExecutor.__init__() has not been called")
        })?;
        Ok(state.get(|| Runtime::new(config)))
    }
}

impl Drop for BatchExecutor {
    fn drop(&mut self) {
        if let Some(runtime) = self.made.get().and_then(|(_, state)| state.current()) {
            runtime.scheduler.close();
        }
    }
}

#[pymethods]
impl BatchExecutor {
    /// Takes any arguments, so that a subclass can have an `__init__` of its own.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            made: OnceLock::new(),
        }
    }

    fn _configure(
        &self,
        max_workers: usize,
        limiter: Option<Bound<'_, RateLimiter>>,
        foreign: bool,
        retry: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let retrying = retry
            .map(|retry| Retrying::new(&retry))
            .transpose()?
            .map(Arc::new);
        let limiter = limiter.map(|limiter| limiter.get().limiter().clone());
        let config = Config {
            max_workers,
            limiter,
            foreign,
            retrying,
            shut: Arc::default(),
        };
        let state = PerProcess::new(Runtime::new(&config));
        self.made
            .set((config, state))
            .map_err(|_| PyRuntimeError::new_err("BatchExecutor.__init__() was called twice"))
    }

    /// The state that this process has of the executor.
    fn _runtime(&self) -> PyResult<Handle> {
        Ok(Handle(self.runtime()?))
    }

    /// Refuses what cannot be called.
    #[staticmethod]
    fn _check(operation: &Bound<'_, PyAny>) -> PyResult<()> {
        check(operation).map_err(|problem| PyTypeError::new_err(format!("the operation {problem}")))
    }
}

/// What one process has of an executor, as Python sees it.
#[pyclass(frozen, weakref, name = "Runtime", module = "paceline._core")]
pub(crate) struct Handle(Arc<Runtime>);

#[pymethods]
impl Handle {
    /// Whether it belongs to the process that asks.
    fn is_current(&self) -> bool {
        self.0.is_of_this_process()
    }

    /// The workers cannot be set up: everything that has not started ends.
    fn break_down(&self) {
        self.0.scheduler.close();
        let batches = |terms: &EngineTerms| terms.keep != Keep::Nothing;
        self.0.scheduler.end_where(End::Broken, batches);
    }

    /// Opens a batch; refused after shutdown.
    ///
    /// `pool` lives as long as the batch has operations, whoever else forgets it.
    fn begin(
        &self,
        py: Python<'_>,
        copy: Py<PyAny>,
        pool: Py<PyAny>,
        logged: bool,
        terms: Terms,
    ) -> PyResult<Batch> {
        let runtime = &self.0;
        if interpreter::is_exiting(py) {
            return Err(after_exit());
        }
        logging::refresh_levels(py);
        let owner = Arc::<Signal>::default();
        let context = Arc::new(Context::Batch {
            copy,
            run: context_run(py)?,
            logged,
            _pool: pool,
        });
        let id = runtime
            .scheduler
            .add(
                context,
                Arc::clone(&owner),
                EngineTerms::from(terms),
                Time::now(),
            )
            .ok_or_else(closed)?;
        Ok(Batch::new(Arc::clone(runtime), id, owner))
    }

    /// Queues a call; returns its number.
    fn submit(&self, job: Bound<'_, PyTuple>) -> PyResult<usize> {
        let runtime = &self.0;
        if interpreter::is_exiting(job.py()) {
            return Err(after_exit());
        }
        runtime
            .scheduler
            .submit(job.into_any().unbind(), Time::now())
            .map_err(|_job| closed())
    }

    /// Takes a call back that has not started, or waits to be tried again: None if it runs or has
    /// ended, else what it failed with before, or the call's tuple.
    fn withdraw(&self, number: usize) -> PyResult<Option<(Py<PyAny>, Option<Py<PyAny>>)>> {
        let runtime = &self.0;
        let Some(job) = runtime.scheduler.withdraw(CALLS, number) else {
            return Ok(None);
        };
        let error = runtime
            .scheduler
            .with(CALLS, |source| source.ledger().history_of(number).pop())
            .flatten()
            .map(|attempt| attempt.error.into_any());
        Ok(Some((job, error)))
    }

    /// Takes every call back that has not started or waits to be tried again, each with what it
    /// failed with before.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<Py<PyList>> {
        let scheduler = &self.0.scheduler;
        let calls = scheduler
            .withdraw_all(CALLS)
            .into_iter()
            .map(|(number, job)| {
                let last = scheduler.with(CALLS, |source| source.ledger().history_of(number).pop());
                (job, last.flatten().map(|attempt| attempt.error))
            });
        Ok(PyList::new(py, calls.collect::<Vec<_>>())?.unbind())
    }

    /// Whether there will never be anything to do any more.
    fn is_over(&self) -> bool {
        self.0.scheduler.is_over()
    }

    /// A worker thread to start, if there is work for a further one.
    fn take_on(&self) -> PyResult<Option<Worker>> {
        let runtime = &self.0;
        if !runtime.scheduler.take_on(Time::now()) {
            return Ok(None);
        }
        let entry = runtime
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_entry(runtime);
        match entry {
            Ok(entry) => Ok(Some(Worker::new(Arc::clone(runtime), entry))),
            Err(error) => {
                runtime.scheduler.let_go();
                Err(PyRuntimeError::new_err(format!(
                    "the worker threads cannot be made: {error}"
                )))
            }
        }
    }

    /// Whether the calling thread is one of the workers.
    fn works_here(&self) -> PyResult<bool> {
        Ok(interpreter::works_for(self.0.id))
    }

    /// Whether a submitted call waits for its first start.
    fn holds(&self, number: usize) -> bool {
        self.0
            .scheduler
            .with(CALLS, |source| source.holds(number))
            .unwrap_or(false)
    }

    /// On a worker: runs a submitted call here, if it has not started. For a limiter that is not
    /// ours, `permit` says that its permit was granted.
    fn run_here(&self, py: Python<'_>, number: usize, permit: bool) -> PyResult<bool> {
        let runtime = &self.0;
        let scheduler = &runtime.scheduler;
        if permit {
            scheduler.with(CALLS, Source::add_permit);
        }
        let signal = Arc::<Signal>::default();
        let mut seat = scheduler.nested_seat(Arc::clone(&signal), CALLS, Some(number));
        let ran = loop {
            let queued = scheduler.with(CALLS, |source| source.holds(number));
            if queued != Some(true) {
                break Ok(false);
            }
            match scheduler.claim(&mut seat, None, Time::now()).1 {
                Claim::Start(start) => {
                    let Some(ongoing) = seat.ongoing() else {
                        break Ok(false);
                    };
                    let (finished, now) = call(py, runtime, &Context::Calls, ongoing, start.job);
                    drop(scheduler.book(ongoing, finished, now));
                    break Ok(true);
                }
                Claim::Rest(Time::NEVER) if permit => break Ok(false),
                Claim::Rest(until) => {
                    // It may be cancelled, or taken by a worker, without a signal to this seat.
                    let until = until.min(Time::now() + std::time::Duration::from_millis(20));
                    if let Err(error) = interpreter::wait(py, &signal, until) {
                        break Err(error);
                    }
                }
                Claim::Ready | Claim::Exit => {}
            }
        };
        scheduler.leave(seat);
        ran
    }

    /// A worker begins to wait for a call of its own executor.
    fn block(&self) -> PyResult<()> {
        self.0.scheduler.block(Time::now());
        Ok(())
    }

    fn unblock(&self) -> PyResult<()> {
        self.0.scheduler.unblock();
        Ok(())
    }

    /// The dispatcher's next step: waits until a permit is to be asked for. False when there will
    /// be nothing more to dispatch.
    fn dispatcher(&self) -> PyResult<Dispatcher> {
        Ok(Dispatcher::new(Arc::clone(&self.0)))
    }

    /// Takes no more work. With `cancel`, nothing that has not started will start.
    fn close(&self, cancel: bool) -> PyResult<()> {
        let runtime = &self.0;
        runtime.close();
        if cancel {
            let keep = |terms: &EngineTerms| terms.keep != Keep::Nothing;
            runtime.scheduler.end_where(End::Cancelled, keep);
        }
        Ok(())
    }

    /// At exit: what waits for an owner that will not come back ends; submitted calls go on.
    fn close_at_exit(&self) -> PyResult<()> {
        let runtime = &self.0;
        runtime.scheduler.close();
        let owned = |terms: &EngineTerms| terms.attended || terms.ahead.1 != usize::MAX;
        let calls = |terms: &EngineTerms| terms.keep == Keep::Nothing;
        runtime
            .scheduler
            .end_where(End::Owner, |terms| owned(terms) && !calls(terms));
        runtime.scheduler.detach_owners();
        Ok(())
    }

    fn closed(&self) -> PyResult<bool> {
        Ok(self.0.scheduler.closed())
    }

    /// Waits until nothing waits or runs any more.
    fn join(&self, py: Python<'_>) -> PyResult<()> {
        let runtime = &self.0;
        let signal = Arc::<Signal>::default();
        while !runtime.scheduler.joined(&signal) {
            interpreter::wait(py, &signal, Time::NEVER)?;
        }
        Ok(())
    }
}

const CALLS: SourceId = Scheduler::<Operations>::CALLS;

fn closed() -> PyErr {
    PyRuntimeError::new_err("cannot schedule new futures after shutdown")
}

fn after_exit() -> PyErr {
    PyRuntimeError::new_err("cannot schedule new futures after interpreter shutdown")
}
