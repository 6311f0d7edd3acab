//! The dispatcher's side: it asks a limiter that is not ours, for owners that must not block.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::calls::conclude;
use super::contexts::within;
use super::failures::Failure;
use super::interpreter;
use super::job::Job;
use super::refusals::give_up;
use super::runtime::Runtime;
use super::work::{CALLS, Context};
use crate::engine::lock::Guarded;
use crate::engine::process::Owned;
use crate::engine::schedule::{Dispatch, Finished, SourceId};
use crate::engine::terms::End;
use crate::engine::time::Time;

/// What the dispatcher thread of an executor drives. It belongs to that thread.
#[pyclass(frozen, module = "paceline._core")]
pub(crate) struct Dispatcher(Owned<Dispatching>);

/// What it is for the process that it was made in.
struct Dispatching {
    runtime: Arc<Runtime>,
    asking: Guarded<Option<SourceId>>,
    thread: Guarded<Thread>,
}

/// What has become of a dispatcher's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    ToStart,
    Begun,
    Abandoned,
}

impl Dispatcher {
    /// None while there is another one.
    pub(crate) fn reserve(runtime: &Arc<Runtime>) -> Option<Self> {
        let another = runtime.has_dispatcher.swap(true, Ordering::SeqCst);
        (!another).then(|| {
            Self(Owned::new(Dispatching {
                runtime: Arc::clone(runtime),
                asking: Guarded::new(None),
                thread: Guarded::new(Thread::ToStart),
            }))
        })
    }
}

impl Dispatching {
    /// Whether its thread may go on: nobody has given it up.
    fn begins(&self) -> bool {
        self.thread.with(|thread| {
            if *thread == Thread::ToStart {
                *thread = Thread::Begun;
            }
            *thread == Thread::Begun
        })
    }

    fn asked(&self) -> Option<SourceId> {
        self.asking.with(Option::take)
    }

    /// Lets the next operation of a source fail without having run.
    fn refuse_one(
        &self,
        py: Python<'_>,
        source: SourceId,
        error: Py<PyBaseException>,
    ) -> PyResult<()> {
        if source != CALLS {
            if let Err(error) = refuse(py, &self.runtime, source, error) {
                error.write_unraisable(py, None);
            }
            return Ok(());
        }
        let scheduler = &self.runtime.scheduler;
        if let Some((ongoing, start)) = scheduler.refuse(source, Time::now()) {
            // The callbacks of the future may wait for what needs the dispatcher, so a worker
            // runs them.
            let future = start.job.object(py).get_item(0)?;
            let refused = PyTuple::new(py, [future.as_any(), error.bind(py).as_any()])?;
            scheduler.leave_refusal(&ongoing, Job::new(refused.into_any().unbind()), Time::now());
        }
        Ok(())
    }
}

#[pymethods]
impl Dispatcher {
    /// The thread was not started, unless it has begun. Returns whether it never will.
    fn abandon(&self) -> PyResult<bool> {
        let this = self.0.get()?;
        Ok(this.thread.with(|thread| {
            let never_begins = *thread == Thread::ToStart;
            if never_begins {
                *thread = Thread::Abandoned;
                this.runtime.has_dispatcher.store(false, Ordering::SeqCst);
            }
            never_begins
        }))
    }

    /// Waits until a permit is to be asked for; False when there will be nothing more to dispatch.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        let this = self.0.get()?;
        if !this.begins() {
            return Ok(false);
        }
        let scheduler = &this.runtime.scheduler;
        let signal = scheduler.dispatcher_signal();
        loop {
            match scheduler.dispatch(Time::now()) {
                Dispatch::Exit => return Ok(false),
                Dispatch::GiveUp => give_up(py, &this.runtime),
                Dispatch::Acquire(source) => {
                    this.asking.with(|asking| *asking = Some(source));
                    return Ok(true);
                }
                Dispatch::Rest(until) => interpreter::work_for(this.runtime.id, || {
                    interpreter::wait(py, &signal, until)
                })?,
            }
        }
    }

    /// The permit was granted.
    fn grant(&self) -> PyResult<()> {
        let this = self.0.get()?;
        if let Some(source) = this.asked() {
            this.runtime.scheduler.grant(source, Time::now());
        }
        Ok(())
    }

    /// No permit will be asked for after all.
    fn give_up(&self) -> PyResult<()> {
        let this = self.0.get()?;
        if let Some(source) = this.asked() {
            this.runtime.scheduler.stop_asking(source, Time::now());
        }
        Ok(())
    }

    /// The permit was refused: the operation whose turn it is has failed with `error`.
    fn refuse(&self, py: Python<'_>, error: Py<PyBaseException>) -> PyResult<()> {
        let this = self.0.get()?;
        if let Some(source) = this.asked() {
            this.refuse_one(py, source, error)
        } else {
            Ok(())
        }
    }

    /// The limiter raised: what asked for the permit ends with that.
    fn fail(&self, py: Python<'_>, error: Py<PyBaseException>) -> PyResult<()> {
        let this = self.0.get()?;
        let Some(source) = this.asked() else {
            return Ok(());
        };
        if source == CALLS {
            return this.refuse_one(py, source, error);
        }
        let scheduler = &this.runtime.scheduler;
        drop(scheduler.with(source, |source| source.fail_limiter(error)));
        scheduler.end(source, End::Limiter, Time::now());
        Ok(())
    }
}

impl Drop for Dispatching {
    fn drop(&mut self) {
        if self.thread.with(|thread| *thread != Thread::Abandoned) {
            self.runtime.has_dispatcher.store(false, Ordering::SeqCst);
        }
    }
}

/// Books the next operation of a batch as failed without having run. Returns what a signal handler
/// raised meanwhile.
pub(crate) fn refuse(
    py: Python<'_>,
    runtime: &Runtime,
    source: SourceId,
    error: Py<PyBaseException>,
) -> PyResult<()> {
    let now = Time::now();
    let mut logged = Ok(());
    if let Some((ongoing, start)) = runtime.scheduler.refuse(source, now)
        && let Some(context) = start.context
    {
        if let Context::Batch {
            caller,
            failures: Some(failures),
            ..
        } = &*context
        {
            let (failures, index) = (Arc::clone(failures), ongoing.running.index);
            let error = error.clone_ref(py);
            logged = within(py, caller.copy(py), move |py| {
                let exception = error.bind(py);
                failures.note_here(
                    py,
                    &Failure {
                        index,
                        seconds: 0.0,
                        exception,
                    },
                )
            });
        }
        if let Context::Batch { reading, .. } = &*context {
            reading.note_failed(py, ongoing.running.index, &start.job);
        }
        let ending = conclude(py, &context, start.job, Err(error));
        drop(runtime.scheduler.book(
            &ongoing,
            Finished {
                ended: now,
                ending,
                waited: 0,
            },
            now,
        ));
    }
    logged
}
