//! What may stand in a batch: callables without arguments, and no coroutine functions.

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyFunction, PyList, PyType};

use super::interpreter::is_exception;
use super::showing::show;

/// `CO_COROUTINE` and `CO_ASYNC_GENERATOR` of a code object's flags.
const ASYNC: u32 = 0x80 | 0x200;

/// Remembers what was found last: a batch is mostly one function, bound many times.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    operation: Option<Py<PyAny>>,
    /// What a partial was made of.
    inner: Option<Py<PyAny>>,
    code: Option<Py<PyAny>>,
}

impl Seen {
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.operation)?;
        visit.call(&self.inner)?;
        visit.call(&self.code)
    }

    /// Whether it is as good as the one before, by what can be told without running its code.
    pub(crate) fn knows(&self, operation: &Bound<'_, PyAny>) -> bool {
        let is = |known: &Option<Py<PyAny>>, object: &Bound<'_, PyAny>| {
            known.as_ref().is_some_and(|known| known.is(object))
        };
        let py = operation.py();
        is(&self.operation, operation)
            || self.inner.is_some()
                && partial(py)
                    .is_ok_and(|partial| operation.get_type_ptr().cast() == partial.as_ptr())
                && operation
                    .getattr(pyo3::intern!(py, "func"))
                    .is_ok_and(|inner| is(&self.inner, &inner))
    }
}

/// Takes the operations of a list that is a whole batch.
pub(crate) fn take(operations: &Bound<'_, PyList>) -> PyResult<Vec<Py<PyAny>>> {
    let mut seen = Seen::default();
    let mut taken = Vec::with_capacity(operations.len());
    for (place, operation) in operations.iter().enumerate() {
        check_one(&operation, &mut seen, || place)?;
        taken.push(operation.unbind());
    }
    Ok(taken)
}

/// Refuses a list that holds what is no operation.
#[pyfunction]
pub(crate) fn check_operations(operations: &Bound<'_, PyList>) -> PyResult<()> {
    let mut seen = Seen::default();
    for (place, operation) in operations.iter().enumerate() {
        check_one(&operation, &mut seen, || place)?;
    }
    Ok(())
}

/// Refuses an operation that is none.
pub(crate) fn check_one(
    operation: &Bound<'_, PyAny>,
    seen: &mut Seen,
    index: impl Fn() -> usize,
) -> PyResult<()> {
    if seen.knows(operation) {
        return Ok(());
    }
    match problem_with(operation, seen)? {
        None => Ok(()),
        Some(problem) => {
            let message = format!("operation {} {problem}", index());
            Err(PyTypeError::new_err(message))
        }
    }
}

/// Refuses what is no operation, and stands alone.
#[pyfunction]
pub(crate) fn check_operation(operation: &Bound<'_, PyAny>) -> PyResult<()> {
    match problem_with(operation, &mut Seen::default())? {
        None => Ok(()),
        Some(problem) => Err(PyTypeError::new_err(format!("the operation {problem}"))),
    }
}

/// Says what is wrong with an operation. Whatever is raised meanwhile and is not an `Exception`,
/// such as Ctrl-C, is no fault of the operation's.
fn problem_with(operation: &Bound<'_, PyAny>, seen: &mut Seen) -> PyResult<Option<String>> {
    if !operation.is_callable() {
        return Ok(Some(format!("must be callable, not {}", show(operation)?)));
    }
    match is_async(operation, seen) {
        Err(error) if is_exception(operation.py(), &error) => {
            Ok(Some(format!("cannot be examined: {error}")))
        }
        Err(error) => Err(error),
        Ok(true) => Ok(Some(format!(
            "is a coroutine function, which a thread cannot run: {}; wrap it in a function that \
             runs it",
            show(operation)?
        ))),
        Ok(false) => {
            seen.operation = Some(operation.clone().unbind());
            Ok(None)
        }
    }
}

fn is_async(operation: &Bound<'_, PyAny>, seen: &mut Seen) -> PyResult<bool> {
    let py = operation.py();
    if operation.is_exact_instance_of::<PyFunction>() {
        let code = operation.getattr(pyo3::intern!(py, "__code__"))?;
        if seen.code.as_ref().is_some_and(|known| known.is(&code)) {
            return Ok(false);
        }
        let flags: u32 = code.getattr(pyo3::intern!(py, "co_flags"))?.extract()?;
        if flags & ASYNC == 0 {
            seen.code = Some(code.unbind());
            // inspect.markcoroutinefunction marks functions that are not async by themselves.
            return operation.hasattr(pyo3::intern!(py, "_is_coroutine_mark"));
        }
        return Ok(true);
    }
    if operation.is_exact_instance_of::<PyCFunction>() || operation.is_exact_instance_of::<PyType>()
    {
        return Ok(false);
    }
    if operation.get_type().is(partial(py)?) {
        let inner = operation.getattr(pyo3::intern!(py, "func"))?;
        let found = is_async(&inner, seen)?;
        if !found {
            seen.inner = Some(inner.unbind());
        }
        return Ok(found);
    }
    is_async_otherwise(py)?.call1((operation,))?.extract()
}

/// What tells it of any other callable, in Python.
fn is_async_otherwise(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static IS_ASYNC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    IS_ASYNC.import(py, "paceline._checks", "is_async")
}

/// Makes what is made only once: the names that are looked up as well.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let mut seen = Seen::default();
    for _ in 0..2 {
        let operation = partial(py)?.call1((is_async_otherwise(py)?,))?;
        check_one(&operation, &mut seen, || 0)?;
    }
    Ok(())
}

fn partial(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static PARTIAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    PARTIAL.import(py, "functools", "partial")
}
