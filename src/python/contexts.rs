//! The `contextvars` that a batch's operations see: those of the verb's caller, each operation in a
//! copy of its own.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The caller's context, as it was when the verb was called.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The bound method that copies it.
    copy: Py<PyAny>,
    /// `contextvars.Context.run`, to be called with such a copy.
    run: Py<PyAny>,
    /// No variable is set in it.
    pub(crate) empty: bool,
}

/// Tells whether an empty copy has stayed as good as a fresh one.
pub(crate) struct Untouched<'py> {
    copy: Bound<'py, PyAny>,
    references: isize,
}

/// Makes what is made only once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    class(py).map(|_| ())
}

fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CONTEXT.import(py, "contextvars", "Context")
}

impl Caller {
    pub(crate) fn new(context: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            copy: context.getattr("copy")?.unbind(),
            run: class(context.py())?.getattr("run")?.unbind(),
            empty: context.len()? == 0,
        })
    }

    /// Calls `job` in a copy.
    pub(crate) fn call(&self, job: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = job.py();
        self.run.call1(py, (self.copy.call0(py)?, job))
    }

    /// Calls `work` in a copy, with that.
    pub(crate) fn call_with_copy(&self, work: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = work.py();
        let copy = self.copy.call0(py)?;
        self.run.call1(py, (&copy, work, &copy))
    }
}

impl<'py> Untouched<'py> {
    /// Called in the copy, before anything else is.
    pub(crate) fn new(copy: Bound<'py, PyAny>) -> Self {
        let references = references_to(&copy);
        Self { copy, references }
    }

    /// Whether no variable is set in it, and nobody else has got hold of it (a greenlet may, and
    /// the token of a variable that was set does).
    #[inline(always)]
    pub(crate) fn holds(&self) -> bool {
        references_to(&self.copy) == self.references && self.copy.len().is_ok_and(|len| len == 0)
    }
}

#[inline(always)]
#[expect(deprecated)] // what is to be used instead is unsafe
fn references_to(copy: &Bound<'_, PyAny>) -> isize {
    copy.get_refcnt()
}
