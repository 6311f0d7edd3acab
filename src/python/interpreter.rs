//! Waiting without the interpreter, and what its end means for those who wait.
//!
//! Until Python 3.13 a thread that attaches while the interpreter is being finalized is killed, and
//! its Rust frames turn that into an abort. So once the process exits, whoever still waits here is
//! parked for ever instead; only the main thread and our own workers, which are joined before, go
//! on.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::engine::process;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// How long the main thread may be deaf to Ctrl-C.
const SLICE: Duration = Duration::from_millis(50);

static EXITING: AtomicBool = AtomicBool::new(false);
static RETURNING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The executors whose operations run on this thread, innermost last.
    static WORKS_FOR: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Runs `wait` with the interpreter released.
pub(crate) fn detach<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    let exempt = is_main_thread(py) || works_for_any();
    let result = py.detach(|| {
        let result = wait();
        RETURNING.fetch_add(1, Ordering::SeqCst);
        if EXITING.load(Ordering::SeqCst) && !exempt {
            RETURNING.fetch_sub(1, Ordering::SeqCst);
            park_for_ever();
        }
        result
    });
    RETURNING.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Waits detached for `signal` or until `until`. On the main thread it may return early, so that
/// signal handlers run; what they raise is raised here.
pub(crate) fn wait(py: Python<'_>, signal: &Signal, until: Time) -> PyResult<()> {
    let until = if is_main_thread(py) { until.min(Time::now() + SLICE) } else { until };
    detach(py, || signal.wait_until(until));
    py.check_signals()
}

pub(crate) fn park_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Whether this is the thread on which Python runs signal handlers.
pub(crate) fn is_main_thread(py: Python<'_>) -> bool {
    static IDENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static MAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let ask = || -> PyResult<bool> {
        let ident = IDENT.import(py, "threading", "get_ident")?.call0()?;
        let main = MAIN.import(py, "threading", "main_thread")?.call0()?;
        ident.eq(main.getattr("ident")?)
    };
    ask().unwrap_or(false)
}

/// While `work` runs, this thread is a worker of the executor `id`.
pub(crate) fn work_for<T>(id: u64, work: impl FnOnce() -> T) -> T {
    WORKS_FOR.with_borrow_mut(|ids| ids.push(id));
    let result = work();
    WORKS_FOR.with_borrow_mut(Vec::pop);
    result
}

/// Whether this thread is a worker of the executor `id`.
pub(crate) fn works_for(id: u64) -> bool {
    WORKS_FOR.with_borrow(|ids| ids.contains(&id))
}

fn works_for_any() -> bool {
    WORKS_FOR.with_borrow(|ids| !ids.is_empty())
}

/// Seconds on Python's `time.monotonic()` for a time of the engine.
pub(crate) fn monotonic(py: Python<'_>, time: Time) -> PyResult<f64> {
    static OFFSET: PyOnceLock<f64> = PyOnceLock::new();
    let offset = OFFSET.get_or_try_init(py, || -> PyResult<f64> {
        let before = Time::now();
        let seconds: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
        Ok(seconds - before.since(Time::default()).as_secs_f64())
    })?;
    Ok(offset + time.since(Time::default()).as_secs_f64())
}

/// Called in a child process that was just forked, before anything else there.
#[pyfunction]
pub(crate) fn forked() {
    EXITING.store(false, Ordering::SeqCst);
    RETURNING.store(0, Ordering::SeqCst);
    process::forked();
}

/// Called when the process exits: from now on no thread comes back to Python but the main thread
/// and our workers. Returns when none is on its way.
#[pyfunction]
pub(crate) fn exiting(py: Python<'_>) {
    EXITING.store(true, Ordering::SeqCst);
    py.detach(|| {
        while RETURNING.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    });
}

pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::SeqCst)
}
