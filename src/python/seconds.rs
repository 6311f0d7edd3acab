//! Python's clocks and the engine's, and seconds.

use std::cell::Cell;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::engine::clock::Clock;
use crate::engine::time::Time;

thread_local! {
    /// How much processor time this thread had used when it was last asked, in nanoseconds.
    static COMPUTED: Cell<u64> = const { Cell::new(0) };
}

/// When so many seconds have passed; never, if that is None.
pub(crate) fn until(clock: &Clock, timeout: Option<f64>) -> Time {
    let after = timeout.and_then(|timeout| Duration::try_from_secs_f64(timeout).ok());
    after.map_or(Time::NEVER, |after| clock.now() + after)
}

/// Seconds on Python's `time.monotonic()` for a time of the engine.
pub(crate) fn monotonic(py: Python<'_>, time: Time) -> PyResult<f64> {
    static OFFSET: PyOnceLock<f64> = PyOnceLock::new();
    let offset = OFFSET.get_or_try_init(py, || -> PyResult<f64> {
        let before = Time::now();
        let seconds: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
        Ok(seconds - before.since(Time::default()).as_secs_f64())
    })?;
    Ok(offset + seconds(time.as_nanos()))
}

/// Whether this thread has used so much processor time since it was last asked; yes where that cannot
/// be told.
pub(crate) fn has_computed(py: Python<'_>, at_least: Duration) -> bool {
    thread_time(py).map_or(true, |now| {
        u128::from(now.saturating_sub(COMPUTED.replace(now))) >= at_least.as_nanos()
    })
}

fn thread_time(py: Python<'_>) -> PyResult<u64> {
    static THREAD_TIME: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    THREAD_TIME
        .import(py, "time", "thread_time_ns")?
        .call0()?
        .extract()
}

#[allow(clippy::cast_precision_loss)] // 2^52 ns are 52 days; beyond, microseconds are lost
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Makes what is made only once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    has_computed(py, Duration::ZERO);
    monotonic(py, Time::now())?;
    Ok(())
}
