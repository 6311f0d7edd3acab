//! What the binding asks of the interpreter itself.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::engine::process;

/// Runs `wait` with the interpreter left to others. Every wait goes through here.
pub(crate) fn detach<R: Send>(py: Python<'_>, wait: impl FnOnce() -> R + Send) -> R {
    py.detach(wait)
}

/// Whether this is the thread that Python handles signals in.
pub(crate) fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    static THREADING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let threading = THREADING
        .get_or_try_init(py, || py.import("threading").map(Bound::unbind))?
        .bind(py);
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    threading.call_method0("get_ident")?.eq(main)
}

/// Has every child that is forked from now on told so.
pub(crate) fn watch_forks(py: Python<'_>) -> PyResult<()> {
    match py.import("os")?.getattr("register_at_fork") {
        Ok(register) => {
            let hooks = PyDict::new(py);
            hooks.set_item("after_in_child", wrap_pyfunction!(after_fork_in_child, py)?)?;
            register.call((), Some(&hooks)).map(drop)
        }
        // Where processes cannot be forked.
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => Ok(()),
        Err(error) => Err(error),
    }
}

#[pyfunction]
fn after_fork_in_child() {
    process::forked();
}
