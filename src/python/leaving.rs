//! How a stream is left that was used as a context manager.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::batch_handle::BatchHandle;

/// The `__exit__` of streams, which no signal handler comes before: what that raised would leave the
/// stream as if its block went on.
#[pyclass(frozen, module = "paceline._core")]
pub(crate) struct Exit;

#[pymethods]
impl Exit {
    #[new]
    fn new() -> Self {
        Self
    }

    /// Binds it to a stream, as a function would be.
    fn __get__<'py>(
        slf: Bound<'py, Self>,
        stream: Option<Bound<'py, PyAny>>,
        _owner: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match stream {
            Some(stream) => method(slf.py())?.call1((slf, stream)),
            None => Ok(slf.into_any()),
        }
    }

    /// Ends the batch of `stream`, has its report made, and `error`, if that is what ended it, carry
    /// the report.
    #[allow(clippy::unused_self)] // it is called as a method
    fn __call__(
        &self,
        stream: &Bound<'_, PyAny>,
        _kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let batch = stream.getattr("_batch")?.cast_into::<BatchHandle>()?;
        batch.get().leave();
        match stream.call_method1("_exit", (error,)) {
            Ok(_) => Ok(()),
            // A signal handler has raised meanwhile: that is what leaves the block now.
            Err(raised) => {
                let py = stream.py();
                stream.call_method1("_exit", (raised.value(py),))?;
                Err(raised)
            }
        }
    }
}

fn method(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static METHOD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    METHOD.import(py, "types", "MethodType")
}

/// Makes what is made only once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    method(py).map(|_| ())
}
