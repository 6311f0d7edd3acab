//! What one process has of an executor, as the Python side drives it.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::apart::apart;
use super::batch_handle::BatchHandle;
use super::calls::{CallNames, exit_process, last_error, run_submitted, settle};
use super::contexts::Caller;
use super::errors::{after_exit, closed};
use super::foreign::ask_inside;
use super::giving_up::give_up;
use super::input_buffer::InputBuffer;
use super::job::Job;
use super::lifecycle;
use super::logging;
use super::nesting;
use super::options;
use super::places::Inbox;
use super::runtime::Runtime;
use super::seconds;
use super::tasks::TaskSlot;
use super::work::{BatchContext, PyBatch, SUBMITTED};
use super::worker::{WorkerThread, make_entry};
use crate::engine::lock::Guarded;
use crate::engine::model::EndReason;
use crate::engine::process::{Inherited, Owned};
use crate::engine::scheduler::Claim;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// What one process has of an executor, as Python sees it.
#[pyclass(frozen, weakref, module = "paceline._core")]
pub(crate) struct Handle(Owned<Arc<Runtime>>);

impl Handle {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self(Owned::new(runtime))
    }

    fn runtime(&self) -> Result<&Arc<Runtime>, Inherited> {
        self.0.get()
    }
}

impl Handle {
    /// Runs a submitted call on this thread, a worker, if it has not started; without a number the
    /// next one, while no other thread could.
    fn run_call(&self, py: Python<'_>, number: Option<usize>) -> PyResult<()> {
        let runtime = self.runtime()?;
        let scheduler = &runtime.scheduler;
        let signal = Arc::<Signal>::default();
        let mut worker = scheduler.nested_worker(Arc::clone(&signal), SUBMITTED, number);
        let ran = loop {
            let queued = match number {
                Some(number) => scheduler.with(SUBMITTED, |batch| batch.holds(number)),
                None => Some(scheduler.is_stuck(scheduler.now())),
            };
            if queued != Some(true) {
                break Ok(());
            }
            match scheduler
                .claim(&mut worker, None, runtime.scheduler.now())
                .1
            {
                Claim::Start(start) => {
                    let Some(lease) = worker.lease() else {
                        break Ok(());
                    };
                    let worker = lease.running.worker;
                    let outer = nesting::work_on(Some((runtime.id, SUBMITTED, worker)));
                    let finished = run_submitted(py, runtime, lease, start.job);
                    nesting::go_back_to(outer);
                    drop(scheduler.book(lease, finished, runtime.scheduler.now()));
                    break Ok(());
                }
                Claim::Ask(permit) => ask_inside(py, runtime, &permit),
                Claim::Rest(until) => {
                    // It may be cancelled, or taken by a worker, without a signal to this worker.
                    let until = until.min(runtime.scheduler.now() + Duration::from_millis(20));
                    if let Err(error) = lifecycle::wait(py, scheduler.clock(), &signal, until) {
                        break Err(error);
                    }
                }
                Claim::GiveUp => give_up(py, runtime),
                Claim::Ready | Claim::Exit | Claim::Collect => {}
            }
        };
        scheduler.leave(worker);
        ran
    }
}

#[pymethods]
impl Handle {
    /// Tells it from every other runtime, also from that which a forked child has in its place.
    fn number(&self) -> PyResult<u64> {
        Ok(self.runtime()?.id)
    }

    /// Says what asks the limiter that is not ours for a permit.
    fn ask_by(&self, asker: Py<PyAny>) -> PyResult<()> {
        drop(self.runtime()?.asker.set(asker));
        Ok(())
    }

    /// Whether it belongs to the process that asks.
    fn is_current(&self) -> bool {
        self.runtime().is_ok()
    }

    /// Ends a forked child, on a thread of the executor's that has gone on there.
    fn exit_if_forked(&self, py: Python<'_>) {
        if self.runtime().is_err() {
            exit_process(py);
        }
    }

    /// Raises in a forked child.
    fn check_process(&self) -> PyResult<()> {
        self.runtime()?;
        Ok(())
    }

    /// The workers cannot be set up: everything that has not started ends.
    fn break_down(&self) -> PyResult<()> {
        let scheduler = &self.runtime()?.scheduler;
        scheduler.close();
        drop(scheduler.end_where(EndReason::Broken, is_batch));
        Ok(())
    }

    /// Opens a batch; refused after shutdown.
    ///
    /// `pool` lives as long as the batch has operations, whoever else forgets it. Its owner may be an
    /// event loop: then that number comes into its inbox where a thread would be woken.
    #[pyo3(signature = (caller, pool, logged, options, wake=None))]
    fn begin(
        &self,
        py: Python<'_>,
        caller: Bound<'_, PyAny>,
        pool: Py<PyAny>,
        logged: bool,
        options: &Bound<'_, PyAny>,
        wake: Option<(Bound<'_, Inbox>, u64)>,
    ) -> PyResult<BatchHandle> {
        let runtime = self.runtime()?;
        if lifecycle::is_exiting(py) {
            return Err(after_exit());
        }
        logging::refresh_levels(py);
        let options = options::read(options, runtime.scheduler.now())?;
        let owner = Arc::new(wake.map_or_else(Signal::default, |(inbox, number)| {
            inbox.get().signal(number)
        }));
        let input = Arc::new(InputBuffer::of(runtime.config.awaits));
        let context = Arc::new(BatchContext::Batch {
            caller: Caller::new(&caller)?,
            owner: lifecycle::thread_ident(py)?,
            failures: logged.then(Arc::default),
            pool,
            input: Arc::clone(&input),
            refusal: Guarded::default(),
        });
        let outer = nesting::works_on(runtime.id);
        let id = runtime
            .scheduler
            .add(
                context,
                Arc::clone(&owner),
                options,
                outer,
                runtime.scheduler.now(),
            )
            .ok_or_else(closed)?;
        Ok(BatchHandle::new(
            Arc::clone(runtime),
            id,
            owner,
            input,
            &options,
        ))
    }

    /// Queues a call, and gives its future its number there. Whether there is work for a further
    /// worker thread.
    fn submit(&self, py: Python<'_>, job: Bound<'_, PyTuple>) -> PyResult<bool> {
        let runtime = self.runtime()?;
        if lifecycle::is_exiting(py) {
            return Err(after_exit());
        }
        let now = runtime.scheduler.now();
        let future = job.get_item(0)?;
        let number = runtime
            .scheduler
            .submit(Job::new(job.into_any().unbind()), now)
            .map_err(|_job| closed())?;
        future.setattr(CallNames::new(py).number, number)?;
        Ok(runtime.scheduler.wants_thread(now))
    }

    /// Takes a call back that has not started, or waits to be tried again, and settles its future:
    /// with what it failed with the last time, or `error`, or as cancelled. Whether that; None if it
    /// runs or has ended.
    fn give_up(
        &self,
        py: Python<'_>,
        number: usize,
        error: Option<Py<PyBaseException>>,
    ) -> PyResult<Option<bool>> {
        let runtime = self.runtime()?;
        let Some(job) = runtime.scheduler.withdraw(SUBMITTED, number) else {
            return Ok(None);
        };
        let error = last_error(runtime, number).or(error);
        settle(py, &job, error.as_ref())?;
        Ok(Some(error.is_none()))
    }

    /// Gives all such calls up, those that were never tried with what `make_error` returns. What is
    /// raised meanwhile is raised when all are settled.
    fn give_up_all(&self, py: Python<'_>, make_error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let runtime = self.runtime()?;
        let mut raised = Ok(());
        for (number, job) in runtime.scheduler.withdraw_all(SUBMITTED) {
            // Were it not to be made, that is what its future fails with: none is left out.
            let made = || {
                let made = make_error?.call0().and_then(|error| Ok(error.extract()?));
                Some(made.unwrap_or_else(|error| error.into_value(py)))
            };
            let error = last_error(runtime, number).or_else(made);
            raised = raised.and(settle(py, &job, error.as_ref()));
        }
        raised
    }

    /// Whether there will never be anything to do any more.
    fn is_over(&self) -> PyResult<bool> {
        Ok(self.runtime()?.scheduler.is_over())
    }

    /// A worker thread to start, if there is work for a further one.
    fn reserve_thread(&self) -> PyResult<Option<WorkerThread>> {
        let runtime = self.runtime()?;
        if !runtime.scheduler.reserve_thread(runtime.scheduler.now()) {
            return Ok(None);
        }
        match make_entry(runtime) {
            Ok(entry) => Ok(Some(WorkerThread::new(Arc::clone(runtime), entry))),
            Err(error) => {
                runtime.scheduler.release_thread();
                Err(PyRuntimeError::new_err(format!(
                    "the worker threads cannot be made: {error}"
                )))
            }
        }
    }

    /// A slot for a task, if there is work for a further one. Its number comes into the inbox when it is
    /// to look for something.
    fn reserve_slot(&self, inbox: &Bound<'_, Inbox>, number: u64) -> PyResult<Option<TaskSlot>> {
        let runtime = self.runtime()?;
        let scheduler = &runtime.scheduler;
        let reserved = scheduler.reserve_thread(scheduler.now());
        Ok(reserved.then(|| TaskSlot::new(runtime, inbox.get(), number)))
    }

    /// Whether there is something to start now, and no thread to do it.
    fn is_stranded(&self) -> PyResult<bool> {
        let scheduler = &self.runtime()?.scheduler;
        Ok(scheduler.is_stranded(scheduler.now()))
    }

    /// Whether a worker asks a limiter that is not ours, and not inside an operation.
    fn is_asking(&self) -> PyResult<bool> {
        Ok(self.runtime()?.scheduler.is_asking())
    }

    /// Whether the calling thread is one of the workers.
    fn works_here(&self) -> PyResult<bool> {
        Ok(nesting::works_for(self.runtime()?.id))
    }

    /// Whether whoever joins the executor waits for the calling thread: a worker, or the owner of a
    /// batch that stays in one call until it has ended.
    fn is_joined_here(&self, py: Python<'_>) -> PyResult<bool> {
        let here = lifecycle::thread_ident(py)?;
        let is_owner = |context: &BatchContext| matches!(context, BatchContext::Batch { owner, .. } if *owner == here);
        Ok(self.works_here()? || self.runtime()?.scheduler.attends(is_owner))
    }

    /// On a worker: runs a submitted call here, if it has not started.
    fn run_here(slf: &Bound<'_, Self>, number: usize) -> PyResult<()> {
        nesting::check_stack()?;
        let handle = slf.clone().unbind();
        apart(slf.py(), move |py| handle.get().run_call(py, Some(number)))
    }

    /// On a worker that waits inside an operation: where all threads do so, runs the next submitted
    /// call here. Whether they do.
    fn run_next(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let scheduler = &slf.get().runtime()?.scheduler;
        if !scheduler.is_stuck(scheduler.now()) {
            return Ok(false);
        }
        nesting::check_stack()?;
        let handle = slf.clone().unbind();
        apart(slf.py(), move |py| handle.get().run_call(py, None))?;
        Ok(true)
    }

    /// A worker begins to wait for a call of its own executor.
    fn block(&self) -> PyResult<()> {
        let scheduler = &self.runtime()?.scheduler;
        scheduler.block(scheduler.now());
        Ok(())
    }

    fn unblock(&self) -> PyResult<()> {
        self.runtime()?.scheduler.unblock();
        Ok(())
    }

    /// Takes no more work. With `cancel`, nothing that has not started will start.
    fn close(&self, cancel: bool) -> PyResult<()> {
        let runtime = self.runtime()?;
        runtime.close();
        if cancel {
            drop(runtime.scheduler.end_where(EndReason::Cancelled, is_batch));
        }
        Ok(())
    }

    /// At exit: what waits for an owner that will not come back ends; submitted calls go on.
    fn close_at_exit(&self) -> PyResult<()> {
        let runtime = self.runtime()?;
        runtime.scheduler.close();
        let needs_owner = |batch: &PyBatch| batch.is_attended() || !batch.is_read_at_once();
        let ends = |batch: &PyBatch| is_batch(batch) && needs_owner(batch);
        drop(runtime.scheduler.end_where(EndReason::Owner, ends));
        runtime.scheduler.detach_owners();
        Ok(())
    }

    /// Waits until nothing waits or runs any more, or for so many seconds. Whether nothing does.
    #[pyo3(signature = (timeout=None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let runtime = self.runtime()?;
        let signal = Arc::<Signal>::default();
        let end = seconds::until(runtime.scheduler.clock(), timeout);
        while let Some(until) = runtime.scheduler.joined(&signal, runtime.scheduler.now()) {
            if runtime.scheduler.now() >= end {
                return Ok(false);
            }
            lifecycle::wait(py, runtime.scheduler.clock(), &signal, until.min(end))?;
        }
        Ok(true)
    }

    /// How many operations run, and how many more are to start that have not.
    fn unfinished(&self) -> PyResult<(usize, usize)> {
        Ok(self.runtime()?.scheduler.unfinished())
    }

    /// Waits until every worker thread is about to end. Not by `Thread.join` alone: until Python 3.12
    /// that takes a thread for ended where a signal's exception has interrupted it.
    fn join_threads(&self, py: Python<'_>) -> PyResult<()> {
        let signal = Arc::<Signal>::default();
        let scheduler = &self.runtime()?.scheduler;
        while !scheduler.deserted(&signal) {
            lifecycle::wait(py, scheduler.clock(), &signal, Time::NEVER)?;
        }
        Ok(())
    }
}

/// Whether it is not the calls that are submitted one by one.
fn is_batch(batch: &PyBatch) -> bool {
    !batch.is_submitted()
}

impl From<Inherited> for PyErr {
    fn from(_: Inherited) -> Self {
        PyRuntimeError::new_err(
            "this belongs to the process that this one was forked from; begin anew in this one, where \
             the executor can be used as before",
        )
    }
}
