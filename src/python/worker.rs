//! The threads of the workers, each in one resident loop.

use std::io;
use std::sync::Arc;

use pyo3::exceptions::{PyBaseException, PyConnectionError, PyValueError};
use pyo3::prelude::*;

use super::foreign::{Answer, caller_of, hand_on};
use super::giving_up::give_up;
use super::lifecycle::{attach_worker, detach_worker};
use super::logging;
use super::nesting::work_for;
use super::pool::ThreadEntry;
use super::run_loop::run_ready;
use super::runtime::Runtime;
use super::work::{BatchContext, Operations};
use crate::engine::limiter::{Event, Limiter, Trouble};
use crate::engine::lock::Guarded;
use crate::engine::model::BatchId;
use crate::engine::process::Owned;
use crate::engine::scheduler::{Ask, Claim, Worker};
use crate::engine::time::Time;

/// A worker that is to ask for a permit, and then goes on.
struct Suspended {
    worker: Worker,
    permit: Ask<Operations>,
}

/// One worker thread that is to be started; its Python thread calls it.
#[pyclass(frozen, module = "paceline._core", name = "Worker")]
pub(crate) struct WorkerThread(Owned<Starting>);

/// What it is for the process that it was made in.
struct Starting {
    runtime: Arc<Runtime>,
    entry: Guarded<Option<ThreadEntry>>,
    asking: Guarded<Option<Suspended>>,
    /// Where it goes on when it was answered.
    worker: Guarded<Option<Worker>>,
}

impl WorkerThread {
    pub(crate) fn new(runtime: Arc<Runtime>, entry: ThreadEntry) -> Self {
        Self(Owned::new(Starting {
            runtime,
            entry: Guarded::new(Some(entry)),
            asking: Guarded::new(None),
            worker: Guarded::new(None),
        }))
    }
}

impl Starting {
    /// The thread was not started, unless it has begun. Returns whether it never will.
    fn abandon(&self) -> bool {
        let entry = self.entry.with(Option::take);
        let Some(entry) = entry else {
            return false;
        };
        if self.runtime.pool.abandon(entry) {
            self.runtime.scheduler.release_thread();
        }
        true
    }

    fn answer(&self, py: Python<'_>, answer: Answer) {
        match (self.asking.with(Option::take), answer) {
            (Some(Suspended { worker, permit }), answer) => {
                let runtime = &self.runtime;
                // What is told of a refusal may wait for what this worker would do.
                work_for(runtime.id, || hand_on(py, runtime, permit.batch, answer));
                self.worker.with(|held| *held = Some(worker));
            }
            // Nothing waits for it.
            (None, Err(error)) => {
                let error = PyErr::from_value(error.into_bound(py).into_any());
                error.write_unraisable(py, None);
            }
            (None, Ok(_)) => {}
        }
    }
}

#[pymethods]
impl WorkerThread {
    /// Works until there is nothing more to do. Called on the worker's own thread, whose stack has so
    /// many bytes.
    ///
    /// Returns what is to ask a limiter that is not ours for a permit, and is to be called before this
    /// is once more: so nothing of Rust is beneath a limiter that may never answer. Until Python 3.14
    /// a thread that comes back to an interpreter which ends is unwound, and Rust cannot be.
    fn __call__(&self, py: Python<'_>, stack: usize) -> PyResult<bool> {
        let starting = self.0.get()?;
        let runtime = &starting.runtime;
        let entry = starting.entry.with(Option::take);
        let worker = starting.worker.with(Option::take);
        let asking = match (entry, worker) {
            (Some(entry), _) => detach_worker(py, stack, || begin(runtime, entry)),
            (None, Some(worker)) => detach_worker(py, stack, || work(runtime, worker)),
            (None, None) => None,
        };
        let asks = asking.is_some();
        starting.asking.with(|held| *held = asking);
        Ok(asks)
    }

    /// A copy of the context of the caller for whose operation it asks.
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let starting = self.0.get()?;
        let asked = |asking: &mut Option<Suspended>| {
            let permit = &asking.as_ref()?.permit;
            Some((permit.batch, Arc::clone(&permit.context)))
        };
        match starting.asking.with(asked) {
            Some((batch, context)) => caller_of(py, &starting.runtime, batch, &context),
            None => Ok(None),
        }
    }

    /// Hands on what the limiter has answered: None for a permit, or what the operation fails with.
    fn answer(&self, py: Python<'_>, refusal: Option<Py<PyBaseException>>) -> PyResult<()> {
        self.0.get()?.answer(py, Ok(refusal));
        Ok(())
    }

    /// The limiter has raised, or this was thrown at the thread between operations.
    fn fail(&self, py: Python<'_>, error: Py<PyBaseException>) -> PyResult<()> {
        self.0.get()?.answer(py, Err(error));
        Ok(())
    }

    /// The thread was not started, unless it has begun. Returns whether it never will.
    fn abandon(&self) -> PyResult<bool> {
        Ok(self.0.get()?.abandon())
    }
}

impl Drop for Starting {
    /// A signal's exception may come before its thread is so much as made.
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Makes the entry of a further thread.
pub(super) fn make_entry(runtime: &Arc<Runtime>) -> io::Result<ThreadEntry> {
    if runtime.asker.get().is_some() {
        return Ok(ThreadEntry::Own);
    }
    // Its thread holds the runtime while it works; a job that is never run must not.
    let weak = Arc::downgrade(runtime);
    let job = move || {
        if let Some(runtime) = weak.upgrade() {
            drop(work(&runtime, runtime.scheduler.worker()));
        }
    };
    runtime.pool.make_entry(runtime.config.max_workers, job)
}

/// Works until there is nothing more to do, or a permit is to be asked for. Called detached, on the
/// new thread.
fn begin(runtime: &Arc<Runtime>, entry: ThreadEntry) -> Option<Suspended> {
    match entry {
        ThreadEntry::Rayon(builder, _) => {
            builder.run();
            None
        }
        ThreadEntry::Own => work(runtime, runtime.scheduler.spare_worker()),
    }
}

/// A worker's resident loop, until its thread is to end or a permit is to be asked for. Called
/// detached, on its thread.
fn work(runtime: &Arc<Runtime>, mut worker: Worker) -> Option<Suspended> {
    work_for(runtime.id, || {
        loop {
            match runtime.scheduler.look(&mut worker, runtime.scheduler.now()) {
                Claim::Exit => return None,
                Claim::Rest(until) => {
                    if let Some(granted) = worker.take_long_wait() {
                        attach_worker(|py| {
                            logging::waiting_for_limit(py, granted.since(runtime.scheduler.now()));
                        });
                    }
                    let events = take_events(runtime);
                    if !events.is_empty() {
                        attach_worker(|py| log_events(py, &events));
                    }
                    if fail_without_contact(runtime, &mut worker) {
                        continue;
                    }
                    runtime
                        .look_out
                        .wait(|soon| worker.look_out(soon.min(until)));
                    worker.rest(until, runtime.scheduler.clock());
                }
                Claim::GiveUp => {
                    worker = attach_worker(|py| {
                        give_up(py, runtime);
                        worker
                    });
                }
                next @ (Claim::Ready | Claim::Start(_) | Claim::Ask(_) | Claim::Collect) => {
                    let began = Time::now();
                    let (own, next) = attach_worker(|py| {
                        if matches!(next, Claim::Collect) {
                            collect(runtime);
                        }
                        run_ready(py, runtime, worker)
                    });
                    if let Claim::Ask(permit) = next {
                        return Some(Suspended {
                            worker: own,
                            permit,
                        });
                    }
                    worker = own;
                    runtime.look_out.note(Time::now().since(began));
                }
            }
        }
    })
}

/// Ends what the worker waits for, if no permit is to be had. Called detached.
pub(super) fn fail_without_contact(runtime: &Arc<Runtime>, worker: &mut Worker) -> bool {
    let Some((batch, error)) = missed_permit(runtime, worker) else {
        return false;
    };
    attach_worker(|py| hand_on(py, runtime, batch, Err(error.into_value(py))));
    true
}

/// What the worker waits for in vain: the limiter has lost contact with its server and is to raise
/// then, or others use it with other numbers.
pub(super) fn missed_permit(runtime: &Runtime, worker: &mut Worker) -> Option<(BatchId, PyErr)> {
    let batch = worker.take_waits_for()?;
    let shared = runtime
        .config
        .limiter
        .as_ref()
        .filter(|it| it.is_shared())?;
    match shared.trouble()? {
        Trouble::Refused(why) => Some((batch, PyValueError::new_err(why))),
        Trouble::Lost(why) if runtime.config.raises_when_lost => {
            Some((batch, PyConnectionError::new_err(why)))
        }
        Trouble::Lost(_) => None,
    }
}

/// Takes what has happened to those who count for the limiter, if others share it.
pub(super) fn take_events(runtime: &Runtime) -> Vec<Event> {
    let shared = runtime.config.limiter.as_ref().filter(|it| it.is_shared());
    shared.map_or_else(Vec::new, Limiter::take_events)
}

/// Logs what has happened.
pub(super) fn log_events(py: Python<'_>, events: &[Event]) {
    for event in events {
        if let Err(error) = logging::limiter_event(py, event) {
            error.write_unraisable(py, None);
        }
    }
}

/// Adds what owners have read who wait for more.
pub(super) fn collect(runtime: &Arc<Runtime>) {
    while let Some((batch, context)) = runtime.scheduler.take_reading() {
        if let BatchContext::Batch { input, .. } = &*context {
            input.cut_short();
            input.add_inbox(&runtime.scheduler, batch);
        }
    }
}
