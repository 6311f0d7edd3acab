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
    empty: bool,
}

/// A copy that an operation has left as it was, empty, so that it is as good as a fresh one.
#[derive(Debug, Default)]
pub(crate) struct Untouched(Option<Py<PyAny>>);

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
    #[inline(always)]
    pub(crate) fn call(
        &self,
        job: &Bound<'_, PyAny>,
        untouched: &mut Untouched,
    ) -> PyResult<Py<PyAny>> {
        let py = job.py();
        let copy = match untouched.0.take() {
            Some(copy) if self.empty => copy,
            _ => self.copy.call0(py)?,
        };
        let result = self.run.call1(py, (&copy, job));
        // With variables in it, nothing cheaper than a copy tells whether one of them was set.
        if self.empty && is_untouched(copy.bind(py)) {
            untouched.0 = Some(copy);
        }
        result
    }
}

/// Whether a copy is still empty, and nobody else has it (a greenlet may).
#[inline(always)]
#[expect(deprecated)] // what is to be used instead is unsafe
fn is_untouched(copy: &Bound<'_, PyAny>) -> bool {
    copy.get_refcnt() == 1 && copy.len().is_ok_and(|len| len == 0)
}
