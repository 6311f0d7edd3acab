//! The workers: rayon threads that Python knows as its own, each in one resident loop.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

use super::contexts::{Caller, Untouched};
use super::interpreter::{attach_worker, detach, work_for};
use super::logging;
use super::reading::Reading;
use super::retrying::Decision;
use super::runtime::Runtime;
use crate::engine::schedule::{Claim, Ending, Finished, Ongoing, Seat};
use crate::engine::source::Running;
use crate::engine::terms::Work;
use crate::engine::time::Time;

/// How long a worker goes on without letting other threads at the interpreter.
///
/// Less than `sys.getswitchinterval()` is by default: whoever has waited for that long begins to
/// wait anew, behind all others, and may be held up for many turns.
const SWITCH_INTERVAL: Duration = Duration::from_millis(2);

/// How long it then stays away: a thread that was waiting has to wake up before it can take over.
const AWAY: Duration = Duration::from_micros(50);

/// The engine's words for Python's objects.
#[derive(Debug)]
pub(crate) struct Operations;

impl Work for Operations {
    type Context = Context;
    type Job = Py<PyAny>;
    type Value = Py<PyAny>;
    type Error = Py<PyBaseException>;
}

/// What the operations of one source share.
#[derive(Debug)]
pub(crate) enum Context {
    /// A batch: its jobs are the operations.
    Batch {
        /// Who called the verb.
        caller: Caller,
        /// Failures are recorded, so they are logged.
        logged: bool,
        /// Who asks the limiter for its permits, if that is not ours.
        pool: Py<PyAny>,
        /// What its owner reads it by.
        reading: Arc<Reading>,
    },
    /// Submitted calls: each job is a tuple of future, function, arguments, keywords and context;
    /// where its permit was refused, of the future and the exception.
    Calls,
}

impl Context {
    fn is_batch(&self) -> bool {
        matches!(self, Self::Batch { .. })
    }
}

/// The threads of an executor. The rayon pool exists from the first start; its threads are started
/// one by one, as there is work for them.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    rayon: Option<ThreadPool>,
    waiting: Vec<ThreadBuilder>,
}

/// Where a new thread begins.
#[derive(Debug)]
pub(crate) enum Entry {
    /// As one of the threads of the rayon pool, with a job there for it that is taken once.
    Rayon(ThreadBuilder, Arc<AtomicBool>),
    /// On its own, in the place of a worker that waits inside its operation.
    Spare,
}

impl Pool {
    /// Takes the entry of a thread that is not yet started.
    pub(crate) fn take_entry(&mut self, runtime: &Arc<Runtime>) -> io::Result<Entry> {
        if self.rayon.is_none() {
            let builders = Arc::new(Mutex::new(Vec::new()));
            let collect = Arc::clone(&builders);
            let pool = ThreadPoolBuilder::new()
                .num_threads(runtime.max_workers)
                .panic_handler(|_| {})
                .spawn_handler(move |builder| {
                    collect
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(builder);
                    Ok(())
                })
                .build()
                .map_err(io::Error::other)?;
            let mut builders = builders.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting = builders.drain(..).rev().collect();
            self.rayon = Some(pool);
        }
        Ok(match (self.waiting.pop(), &self.rayon) {
            (Some(builder), Some(pool)) => {
                // Its thread holds the runtime while it works; a job that is never run must not.
                let runtime = Arc::downgrade(runtime);
                let taken = Arc::new(AtomicBool::new(false));
                let entry = Entry::Rayon(builder, Arc::clone(&taken));
                pool.spawn(move || {
                    if !taken.swap(true, Ordering::SeqCst)
                        && let Some(runtime) = runtime.upgrade()
                    {
                        work(&runtime, runtime.scheduler.seat());
                    }
                });
                entry
            }
            _ => Entry::Spare,
        })
    }

    /// No thread began there. Returns whether nobody did its job either: a thread of the pool that
    /// has nothing more to do may have.
    pub(crate) fn put_back(&mut self, entry: Entry) -> bool {
        match entry {
            Entry::Rayon(builder, taken) => {
                self.waiting.push(builder);
                !taken.swap(true, Ordering::SeqCst)
            }
            Entry::Spare => true,
        }
    }
}

impl Entry {
    /// Works until there is nothing more to do. Called detached, on the new thread.
    pub(crate) fn run(self, runtime: &Arc<Runtime>) {
        match self {
            Self::Rayon(builder, _) => builder.run(),
            Self::Spare => work(runtime, runtime.scheduler.spare_seat()),
        }
    }
}

/// A worker's resident loop. Called detached, once on each thread of the pool.
fn work(runtime: &Arc<Runtime>, mut seat: Seat) {
    work_for(runtime.id, || {
        loop {
            match runtime.scheduler.look(&mut seat, Time::now()) {
                Claim::Exit => break,
                Claim::Rest(until) => seat.rest(until),
                Claim::Ready | Claim::Start(_) => {
                    attach_worker(|py| drop(run_ready(py, runtime, &mut seat)));
                }
                Claim::Collect => attach_worker(|py| {
                    collect(py, runtime);
                    drop(run_ready(py, runtime, &mut seat));
                }),
            }
        }
    });
    runtime.release_pool();
}

/// Adds what owners have read who wait for more.
fn collect(py: Python<'_>, runtime: &Arc<Runtime>) {
    while let Some((source, context)) = runtime.scheduler.take_reading() {
        if let Context::Batch { reading, .. } = &*context {
            // What cannot be added is left to the owner, who raises it.
            let _ = reading
                .cut_short(py)
                .and_then(|()| reading.add_inbox(py, &runtime.scheduler, source));
        }
    }
}

/// Runs what can start at once, one operation after another, without letting go of Python.
pub(crate) fn run_ready(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    seat: &mut Seat,
) -> Claim<Operations> {
    // Whatever comes first brings its context with it.
    seat.forget();
    let mut context = Arc::new(Context::Calls);
    let mut untouched = Untouched::default();
    let (_, first) = runtime.scheduler.claim(seat, None, Time::now());
    let mut job = match begin(first, &mut context) {
        Ok(job) => job,
        Err(nothing) => return nothing,
    };
    let mut until = Time::now() + SWITCH_INTERVAL;
    while let Some(ongoing) = seat.ongoing() {
        let next = match call(py, runtime, &context, ongoing, &job, &mut untouched) {
            // The usual case: when this one ends the next one starts.
            Ok(value) if context.is_batch() => {
                drop(job);
                let now = Time::now();
                let ending = Ending::Result(Ok(value), false);
                let finished = Finished { ended: now, ending };
                if now < until {
                    let (leftover, claim) = runtime.scheduler.claim(seat, Some(finished), now);
                    let next = begin(claim, &mut context);
                    drop(leftover);
                    next
                } else {
                    let claim = claim_after_others(py, runtime, seat, finished);
                    until = Time::now() + SWITCH_INTERVAL;
                    begin(claim, &mut context)
                }
            }
            result => {
                let claim = claim_after(py, runtime, &context, seat, job, result);
                begin(claim, &mut context)
            }
        };
        job = match next {
            Ok(job) => job,
            Err(nothing) => return nothing,
        };
    }
    Claim::Exit
}

/// The operation to call, if there is one.
#[inline(always)]
fn begin(
    claim: Claim<Operations>,
    context: &mut Arc<Context>,
) -> Result<Py<PyAny>, Claim<Operations>> {
    let Claim::Start(start) = claim else {
        return Err(claim);
    };
    if let Some(new) = start.context {
        *context = new;
    }
    Ok(start.job)
}

/// Lets other threads at the interpreter first. Operations that are not written in Python never do.
#[inline(never)]
fn claim_after_others(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    seat: &mut Seat,
    finished: Finished<Operations>,
) -> Claim<Operations> {
    drop(runtime.scheduler.finish(seat, finished, Time::now()));
    detach(py, || thread::sleep(AWAY));
    runtime.scheduler.claim(seat, None, Time::now()).1
}

#[inline(never)]
fn claim_after(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    context: &Context,
    seat: &mut Seat,
    job: Py<PyAny>,
    result: Result<Py<PyAny>, Py<PyBaseException>>,
) -> Claim<Operations> {
    let finished = seat
        .ongoing()
        .map(|ongoing| conclude_call(py, runtime, context, ongoing, job, result));
    let (leftover, claim) = runtime.scheduler.claim(seat, finished, Time::now());
    drop(leftover);
    claim
}

/// Calls one submitted call, which has its permit.
pub(crate) fn run_submitted(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    ongoing: &Ongoing,
    job: Py<PyAny>,
) -> Finished<Operations> {
    let result = call(
        py,
        runtime,
        &Context::Calls,
        ongoing,
        &job,
        &mut Untouched::default(),
    );
    conclude_call(py, runtime, &Context::Calls, ongoing, job, result)
}

/// Calls one operation, which has its permit.
#[inline(always)]
fn call(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    context: &Context,
    ongoing: &Ongoing,
    job: &Py<PyAny>,
    untouched: &mut Untouched,
) -> Result<Py<PyAny>, Py<PyBaseException>> {
    let result = match context {
        Context::Batch { caller, .. } => caller.call(job.bind(py), untouched),
        Context::Calls => call_submitted(py, job.bind(py), &ongoing.running),
    };
    let result = result.map_err(|error| error.into_value(py));
    if !runtime.is_of_this_process() {
        // The operation has forked, and this is the child coming back from it: its executor is
        // gone, and nobody waits for what it would do next.
        leave_process(py);
    }
    result
}

/// What follows from a call that has just ended.
fn conclude_call(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    context: &Context,
    ongoing: &Ongoing,
    job: Py<PyAny>,
    result: Result<Py<PyAny>, Py<PyBaseException>>,
) -> Finished<Operations> {
    let ended = Time::now();
    let error = match result {
        Ok(value) => {
            let ending = conclude(py, context, job, Ok(value));
            return Finished { ended, ending };
        }
        Err(error) => error,
    };
    let decision = match &runtime.retrying {
        Some(retrying) if !ongoing.running.refused => {
            retrying.decide(py, runtime, ongoing, error.bind(py))
        }
        _ => Decision::GiveUp,
    };
    let ending = match decision {
        Decision::Again(due) => Ending::Again(error, due, job),
        Decision::GiveUp => {
            if let Context::Batch { logged: true, .. } = context {
                logging::operation_failed(py, ongoing.running.index, error.bind(py));
            }
            conclude(py, context, job, Err(error))
        }
    };
    Finished { ended, ending }
}

/// Hands a result on: a batch's to its records, a submitted call's to its future.
pub(crate) fn conclude(
    py: Python<'_>,
    context: &Context,
    job: Py<PyAny>,
    result: Result<Py<PyAny>, Py<PyBaseException>>,
) -> Ending<Operations> {
    match context {
        Context::Batch { .. } => {
            let fatal = result
                .as_ref()
                .is_err_and(|error| !error.bind(py).is_instance_of::<PyException>());
            Ending::Result(result, fatal)
        }
        Context::Calls => {
            let failed = result.is_err();
            if let Err(error) = fulfil(job.bind(py), result) {
                error.write_unraisable(py, Some(job.bind(py)));
            }
            Ending::Delivered(failed)
        }
    }
}

/// The submitted call's parts.
type Call<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyTuple>,
    Bound<'py, PyDict>,
    Bound<'py, PyAny>,
);

/// What is left of a call that was refused its permit: its future, and what that fails with.
type Refused<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

fn call_submitted(
    py: Python<'_>,
    job: &Bound<'_, PyAny>,
    running: &Running,
) -> PyResult<Py<PyAny>> {
    if running.refused {
        let (future, error): Refused<'_> = job.extract()?;
        if running.attempt == 0 {
            future.call_method0("set_running_or_notify_cancel")?;
        }
        return Err(PyErr::from_value(error));
    }
    let (future, function, args, kwargs, context): Call<'_> = job.extract()?;
    if running.attempt == 1 {
        future.call_method0("set_running_or_notify_cancel")?;
    }
    let mut all = vec![function];
    all.extend(args.iter());
    context
        .call_method("run", PyTuple::new(py, all)?, Some(&kwargs))
        .map(Bound::unbind)
}

fn fulfil(job: &Bound<'_, PyAny>, result: Result<Py<PyAny>, Py<PyBaseException>>) -> PyResult<()> {
    let future = job.get_item(0)?;
    match result {
        Ok(value) => future.call_method1("set_result", (value,))?,
        Err(error) => future.call_method1("set_exception", (error,))?,
    };
    Ok(())
}

fn leave_process(py: Python<'_>) -> ! {
    let exit = || -> PyResult<()> {
        py.import("sys")?.getattr("stdout")?.call_method0("flush")?;
        py.import("os")?.call_method1("_exit", (0,))?;
        Ok(())
    };
    drop(exit());
    std::process::exit(0)
}
