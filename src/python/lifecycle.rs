//! Waiting without the interpreter, and what its end means for those who wait.
//!
//! Until Python 3.13 a thread that attaches while the interpreter is being finalized is killed, and
//! its Rust frames turn that into an abort. So once the process exits, whoever still waits here is
//! parked for ever instead; only the main thread and our own workers, which are joined before, go
//! on, and until then those who wait for a permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::exceptions::{PyImportError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::look_out;
use super::nesting::{note_stack, work_for, works_for_any};
use crate::engine::clock::Clock;
use crate::engine::process::{self, Inherited};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// How long the main thread may be deaf to Ctrl-C.
const SLICE: Duration = Duration::from_millis(20);

/// How often the end of the process is begun anew that a signal handler has interrupted.
const MOST_INTERRUPTIONS: usize = 1000;

/// What works for no executor, and is waited for all the same.
const NO_EXECUTOR: u64 = u64::MAX;

/// The process exits: only the main thread, workers and those who wait for permits come back to
/// Python.
static EXITING: AtomicBool = AtomicBool::new(false);
/// The workers have ended: nobody but the main thread comes back.
static FINISHED: AtomicBool = AtomicBool::new(false);
/// The identity of the main thread, as `threading` tells it.
static MAIN_THREAD: AtomicU64 = AtomicU64::new(0);
/// Threads on their way back to Python.
static RETURNING: AtomicUsize = AtomicUsize::new(0);

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ThreadKind {
    Main,
    /// A worker, or one whom workers may wait for: it comes back until they have ended.
    Worker,
    Other,
}

impl ThreadKind {
    fn here(py: Python<'_>) -> Self {
        if works_for_any() {
            Self::Worker
        } else if is_main_thread(py) {
            Self::Main
        } else {
            Self::Other
        }
    }

    /// Called detached, before attaching again; [`returned`] is to be called after. One who does not
    /// come back calls `leave` before it is parked.
    fn comes_back(self, leave: impl FnOnce()) {
        RETURNING.fetch_add(1, Ordering::SeqCst);
        let stays = match self {
            Self::Main => false,
            Self::Worker => FINISHED.load(Ordering::SeqCst),
            Self::Other => EXITING.load(Ordering::SeqCst),
        };
        if stays {
            returned();
            leave();
            park_for_ever();
        }
    }
}

fn returned() {
    RETURNING.fetch_sub(1, Ordering::SeqCst);
}

/// Runs `wait` with the interpreter released.
pub(crate) fn detach<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    detach_as(py, ThreadKind::here(py), wait, || ())
}

/// Runs a worker's whole life with the interpreter released. Its stack has so many bytes.
pub(crate) fn detach_worker<T: Send>(
    py: Python<'_>,
    stack: usize,
    work: impl FnOnce() -> T + Send,
) -> T {
    note_stack(stack);
    detach_as(py, ThreadKind::Worker, work, || ())
}

fn detach_as<T: Send>(
    py: Python<'_>,
    who: ThreadKind,
    wait: impl FnOnce() -> T + Send,
    leave: impl FnOnce() + Send,
) -> T {
    let result = py.detach(|| {
        let result = wait();
        who.comes_back(leave);
        result
    });
    returned();
    result
}

/// Attaches a worker for `work`.
pub(crate) fn attach_worker<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    ThreadKind::Worker.comes_back(|| ());
    #[expect(clippy::disallowed_methods)] // a worker holds no lock between its operations
    let result = Python::try_attach(|py| {
        returned();
        work(py)
    });
    result.unwrap_or_else(|| park_for_ever())
}

/// Waits detached for `signal` or until `until`. On the main thread it may return early, so that
/// signal handlers run; what they raise is raised here. Where one has forked, its child has nothing
/// to wait for: that is raised there.
pub(crate) fn wait(
    py: Python<'_>,
    clock: &Clock,
    signal: &Arc<Signal>,
    until: Time,
) -> PyResult<()> {
    wait_after(py, clock, || (), signal, until)
}

/// [`wait`], having done `first` as soon as the interpreter is released.
pub(crate) fn wait_after(
    py: Python<'_>,
    clock: &Clock,
    first: impl FnOnce() + Send,
    signal: &Arc<Signal>,
    until: Time,
) -> PyResult<()> {
    let slice = slice(py);
    detach(py, || {
        first();
        clock.wait(signal, until, slice);
    });
    let process = process::generation();
    py.check_signals()?;
    if process::generation() != process {
        return Err(Inherited.into());
    }
    Ok(())
}

/// [`wait`] in a line, where others may stand behind, and without running signal handlers: those are
/// to run when these others may go first. `leave` leaves the line, detached, if this thread is never
/// to come back.
///
/// Workers may need what this thread does next: a limiter that one of them asks may ask one of ours,
/// and any thread may hold a lock of the user's. So it comes back for as long as they run.
pub(crate) fn wait_in_line(
    py: Python<'_>,
    clock: &Clock,
    signal: &Arc<Signal>,
    until: Time,
    leave: impl FnOnce() + Send,
) {
    let who = match ThreadKind::here(py) {
        ThreadKind::Other => ThreadKind::Worker,
        who => who,
    };
    let slice = slice(py);
    detach_as(py, who, || clock.wait(signal, until, slice), leave);
}

/// How long a thread may wait in one go: the main thread is to look for signals.
fn slice(py: Python<'_>) -> Option<Duration> {
    is_main_thread(py).then_some(SLICE)
}

fn park_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Whether this is the thread on which Python runs signal handlers.
///
/// No Python code runs here: a handler would run in it, and what that raises would be lost.
pub(crate) fn is_main_thread(py: Python<'_>) -> bool {
    thread_ident(py).is_ok_and(|ident| ident == MAIN_THREAD.load(Ordering::Relaxed))
}

/// The identity of this thread, as `threading` tells it.
pub(crate) fn thread_ident(py: Python<'_>) -> PyResult<u64> {
    static GET_IDENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET_IDENT
        .import(py, "_thread", "get_ident")?
        .call0()?
        .extract()
}

/// Notes which thread is the main one, and makes what is made only once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    refuse_others(py)?;
    let main = py.import("threading")?.call_method0("main_thread")?;
    MAIN_THREAD.store(main.getattr("ident")?.extract()?, Ordering::Relaxed);
    thread_ident(py)?;
    Ok(())
}

/// Refuses every interpreter of the process but the first that asks. How the process exits is noted
/// once: what one of them has ended would be over for the others.
fn refuse_others(py: Python<'_>) -> PyResult<()> {
    static FIRST: AtomicUsize = AtomicUsize::new(0);
    let here = py.import("builtins")?.as_ptr().addr();
    match FIRST.compare_exchange(0, here, Ordering::SeqCst, Ordering::SeqCst) {
        Err(first) if first != here => Err(PyImportError::new_err(
            "paceline is in use by another interpreter of this process, and supports only one",
        )),
        _ => Ok(()),
    }
}

/// Whether one thread at a time runs Python, as in all but free-threaded builds.
pub(crate) fn gil_enabled(py: Python<'_>) -> PyResult<bool> {
    // While the interpreter ends, not even that can be imported.
    let Ok(sys) = py.import("sys") else {
        return Ok(true);
    };
    sys.getattr_opt("_is_gil_enabled")?
        .map_or(Ok(true), |enabled| enabled.call0()?.extract())
}

/// Called in a child process that was just forked, before anything else there.
#[pyfunction]
pub(crate) fn forked(py: Python<'_>) -> PyResult<()> {
    // Where a handler of `atexit` forks, nobody is left to wait for what the child would begin.
    let ends = FINISHED.load(Ordering::SeqCst) && is_main_thread(py);
    MAIN_THREAD.store(thread_ident(py)?, Ordering::Relaxed);
    EXITING.store(ends, Ordering::SeqCst);
    FINISHED.store(ends, Ordering::SeqCst);
    RETURNING.store(0, Ordering::SeqCst);
    look_out::forked();
    process::forked();
    Ok(())
}

/// Called when the process exits. From now on no thread comes back to Python but the main thread
/// and, until it has waited for them with `wait`, our workers and those who wait for permits.
///
/// Whatever a signal handler raises is raised in one of these calls, as no other code of Python's runs
/// here. Then `give_up` ends the process: it must not go on while workers run.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>, wait: &Bound<'_, PyAny>, give_up: &Bound<'_, PyAny>) {
    if FINISHED.load(Ordering::SeqCst) {
        return;
    }
    EXITING.store(true, Ordering::SeqCst);
    wait_for_returning(py);
    // Whichever thread this is, it comes back from waiting for the workers.
    let waited = work_for(NO_EXECUTOR, || {
        let mut process = process::generation();
        let mut waited = wait.call0();
        for _ in 0..MOST_INTERRUPTIONS {
            if process != process::generation() {
                // A signal handler has forked: the child waits for what it has begun itself.
                process = process::generation();
                EXITING.store(true, Ordering::SeqCst);
                waited = match (wait.call0(), waited) {
                    (Ok(_), Err(error)) if !is_inherited(py, &error) => Err(error),
                    (own, _) => own,
                };
                continue;
            }
            match waited {
                Ok(_) => break,
                // It comes back only if it is interrupted itself.
                Err(error) => waited = give_up.call1((error.into_value(py),)),
            }
        }
        waited
    });
    if waited.is_err() {
        std::process::exit(1);
    }
    FINISHED.store(true, Ordering::SeqCst);
    wait_for_returning(py);
}

/// Whether it says no more than that what was waited for is the parent's.
fn is_inherited(py: Python<'_>, error: &PyErr) -> bool {
    let says = |error: &PyErr| error.value(py).str().ok().map(|text| text.to_string());
    error.is_instance_of::<PyRuntimeError>(py) && says(error) == says(&PyErr::from(Inherited))
}

fn wait_for_returning(py: Python<'_>) {
    // Where another interpreter of the process ends together with it, whoever lets go of Python does
    // not come back.
    if RETURNING.load(Ordering::SeqCst) == 0 {
        return;
    }
    py.detach(|| {
        while RETURNING.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    });
}

/// A thread that the process does not wait for when it exits does not come back from this then.
pub(crate) fn park_if_exiting(py: Python<'_>) {
    if EXITING.load(Ordering::SeqCst) && ThreadKind::here(py) == ThreadKind::Other {
        py.detach(|| park_for_ever());
    }
}

/// Whether the process exits, for a thread that it waits for: see [`park_if_exiting`].
#[must_use]
pub(crate) fn is_exiting(py: Python<'_>) -> bool {
    park_if_exiting(py);
    EXITING.load(Ordering::SeqCst)
}
