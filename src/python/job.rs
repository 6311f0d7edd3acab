//! What a worker calls.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::operations::partial;
use super::partials::Parts;
use super::refs::Refs;

/// One operation of a batch, or the tuple that stands for a submitted call.
#[derive(Debug)]
pub(crate) struct Job {
    object: Py<PyAny>,
    /// Where the object is the function of a partial, the tuple of its arguments; or the only one,
    /// if that is no tuple itself.
    arguments: Option<Py<PyAny>>,
}

impl Job {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self {
            object,
            arguments: None,
        }
    }

    /// A partial, without the objects that held its parts together. While hundreds of operations
    /// wait, Python's collector has none of them to look at, and the worker, which may be on
    /// another core, does not have to fetch and to free them.
    pub(crate) fn of_parts(parts: Parts<'_>) -> Self {
        let Parts {
            function,
            arguments,
        } = parts;
        let only = match arguments.len() {
            1 => arguments.get_item(0).ok(),
            _ => None,
        };
        let only = only.filter(|it| !it.is_exact_instance_of::<PyTuple>());
        Self {
            object: function.unbind(),
            arguments: Some(only.unwrap_or(arguments.into_any()).unbind()),
        }
    }

    #[inline]
    pub(crate) fn clone_ref(&self, refs: Refs<'_>) -> Self {
        Self {
            object: refs.clone(&self.object),
            arguments: self.arguments.as_ref().map(|it| refs.clone(it)),
        }
    }

    /// What is called: the operation, or the function of a partial.
    #[inline]
    pub(crate) fn callee(&self) -> &Py<PyAny> {
        &self.object
    }

    /// The operation: as it was given, or a partial like it.
    pub(crate) fn operation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some(arguments) = &self.arguments else {
            return Ok(self.object.bind(py).clone());
        };
        let mut all = vec![self.object.bind(py).clone()];
        match arguments.bind(py).cast_exact::<PyTuple>() {
            Ok(arguments) => all.extend(arguments.iter()),
            Err(_) => all.push(arguments.bind(py).clone()),
        }
        partial(py)?.call1(PyTuple::new(py, all)?)
    }

    /// The operation or the tuple, as it was given.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.object.bind(py)
    }

    /// Calls an operation.
    #[inline(always)]
    pub(crate) fn call(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Some(arguments) = &self.arguments else {
            return self.object.call0(py);
        };
        match arguments.bind(py).cast_exact::<PyTuple>() {
            Ok(all) => self.object.call1(py, all),
            Err(_) => self.object.call1(py, (arguments,)),
        }
    }

    /// Has an operation called within a context, by that context's class's `run`.
    pub(crate) fn call_in(
        &self,
        run: &Bound<'_, PyAny>,
        context: Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let py = run.py();
        let Some(arguments) = &self.arguments else {
            return run.call1((context, &self.object)).map(Bound::unbind);
        };
        let mut all = vec![context, self.object.bind(py).clone()];
        match arguments.bind(py).cast_exact::<PyTuple>() {
            Ok(arguments) => all.extend(arguments.iter()),
            Err(_) => all.push(arguments.bind(py).clone()),
        }
        run.call1(PyTuple::new(py, all)?).map(Bound::unbind)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object)?;
        visit.call(&self.arguments)
    }
}
