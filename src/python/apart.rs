//! Operations that run beneath one that waits for them do not hold its frame.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyIterator, PyList};

use crate::engine::lock::Guarded;

/// Does `work` beneath a frame that nobody has called once it is done.
///
/// What fails on a worker beneath an operation that waits for it has frames which lead to those that
/// have called them: to that operation, and what it keeps of the failure would keep itself.
pub(crate) fn apart<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(Python<'_>) -> PyResult<T> + Send + 'static,
) -> PyResult<T> {
    let generator = take(py)?;
    let done = Arc::new(Guarded::new(None));
    let result = Arc::clone(&done);
    let once = move |py: Python<'_>| {
        let made = work(py);
        drop(result.with(|held| held.replace(made)));
    };
    let work = Bound::new(py, WorkOnce(Guarded::new(Some(Box::new(once)))))?;
    // Where something is thrown at this thread there, it is at its end, and not used again.
    generator.send(&work)?;
    idle(py).append(generator)?;
    done.with(Option::take)
        .unwrap_or_else(|| Err(PyRuntimeError::new_err("nothing was done")))
}

/// What is done by iterating over it, once. Nobody else gets hold of it.
#[pyclass(frozen, module = "paceline._core")]
struct WorkOnce(Guarded<Option<Once>>);

type Once = Box<dyn FnOnce(Python<'_>) + Send>;

#[pymethods]
impl WorkOnce {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> Option<()> {
        if let Some(work) = self.0.with(Option::take) {
            work(py);
        }
        None
    }
}

/// A generator that waits for what it is to iterate over. It is never closed: whoever closes it would
/// be held by it.
fn take(py: Python<'_>) -> PyResult<Bound<'_, PyIterator>> {
    let idle = idle(py);
    if !idle.is_empty()
        && let Ok(generator) = idle.call_method0("pop")
    {
        return Ok(generator.cast_into()?);
    }
    let generator: Bound<'_, PyIterator> = exhausting(py)?.call0()?.cast_into()?;
    generator.send(py.None().bind(py))?;
    Ok(generator)
}

fn idle(py: Python<'_>) -> &Bound<'_, PyList> {
    static IDLE: PyOnceLock<Py<PyList>> = PyOnceLock::new();
    IDLE.get_or_init(py, || PyList::empty(py).unbind()).bind(py)
}

fn exhausting(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static EXHAUSTING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    EXHAUSTING.import(py, "paceline._apart", "exhausting")
}

/// Makes what is made only once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    idle(py);
    py.get_type::<WorkOnce>();
    exhausting(py).map(drop)
}
