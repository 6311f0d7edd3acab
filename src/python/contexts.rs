//! The `contextvars` that a batch's operations see: those of the verb's caller, each operation in a
//! copy of its own.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyCFunction;

use super::job::Job;
use crate::engine::lock::Guarded;

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

    /// A copy of it; None if no variable is set in it, so that none is needed.
    pub(crate) fn copy<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let copy = (!self.empty).then(|| self.copy.bind(py).call0());
        copy?.ok()
    }

    /// A copy of it, whether one is needed or not: what is called there may set variables.
    pub(crate) fn fresh_copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copy.bind(py).call0()
    }

    /// Calls `job` in a copy.
    pub(crate) fn call(&self, py: Python<'_>, job: &Job) -> PyResult<Py<PyAny>> {
        job.call_in(self.run.bind(py), self.copy.bind(py).call0()?)
    }

    /// Calls `work` in a copy, with that.
    pub(crate) fn call_with_copy(&self, work: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = work.py();
        let copy = self.copy.call0(py)?;
        self.run.call1(py, (&copy, work, &copy))
    }
}

/// Does `work` in a context, which is nobody else's: what it calls sees the variables set there.
/// Without one, or if that cannot be entered, it is done all the same.
pub(crate) fn within<T: Send + 'static>(
    py: Python<'_>,
    context: Option<Bound<'_, PyAny>>,
    work: impl Fn(Python<'_>) -> T + Send + Sync + 'static,
) -> T {
    let Some(context) = context else {
        return work(py);
    };
    let work = Arc::new(work);
    let done = Arc::new(Guarded::new(None));
    let inside = {
        let (work, done) = (Arc::clone(&work), Arc::clone(&done));
        PyCFunction::new_closure(py, None, None, move |arguments, _| {
            let result = work(arguments.py());
            drop(done.with(|done| done.replace(result)));
        })
    };
    let entered = inside.and_then(|inside| context.call_method1("run", (inside,)));
    let result = done.with(Option::take);
    if let (Err(error), Some(_)) = (entered, &result) {
        error.write_unraisable(py, None);
    }
    result.unwrap_or_else(|| work(py))
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
