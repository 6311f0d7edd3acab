//! What may stand in a batch: callables without arguments that do their work when they are called,
//! not later, when somebody awaits or iterates over what they return.

use std::iter;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyCFunction, PyDict, PyFloat, PyFunction, PyInt, PyList, PyString, PyTuple,
    PyType,
};

use super::errors::describe;
use super::errors::is_exception;

/// `CO_GENERATOR`, `CO_COROUTINE` and `CO_ASYNC_GENERATOR` of a code object's flags.
const SUSPENDED: u32 = 0x20 | 0x80 | 0x200;

/// So many partials and bound methods around one function are taken for a circle of them.
const MOST_LAYERS: usize = 100;

/// Remembers what was found last: a batch is mostly one function, bound many times.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What the last operation calls in the end.
    function: Option<Py<PyAny>>,
    /// The code of the last function that is written in Python.
    code: Option<Py<PyAny>>,
    /// What operations return is awaited: coroutine functions are operations.
    awaits: bool,
}

impl Seen {
    pub(crate) fn of(awaits: bool) -> Self {
        Self {
            awaits,
            ..Self::default()
        }
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.code)
    }

    /// Whether this is what the last operation calls.
    #[inline]
    pub(crate) fn is(&self, function: &Py<PyAny>) -> bool {
        self.function
            .as_ref()
            .is_some_and(|known| known.is(function))
    }

    /// Whether it calls the same function as the one before.
    fn knows(&self, operation: &Bound<'_, PyAny>) -> bool {
        let is = |function: &Bound<'_, PyAny>| self.is(function.as_unbound());
        // As a rule, no more than a partial of a method.
        is(operation)
            || beneath(operation)
                .is_some_and(|inner| is(&inner) || beneath(&inner).is_some_and(|it| is(&it)))
    }
}

/// What a partial or a bound method was made of.
#[inline]
pub(crate) fn beneath<'py>(operation: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = operation.py();
    let class = operation.get_type_ptr().cast();
    let attribute = if class == partial(py).ok()?.as_ptr() {
        pyo3::intern!(py, "func")
    } else if class == method(py).ok()?.as_ptr() {
        pyo3::intern!(py, "__func__")
    } else {
        return None;
    };
    operation.getattr(attribute).ok()
}

/// What an operation calls in the end. None if that is not to be found.
fn function_of<'py>(operation: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let layers = iter::successors(Some(operation.clone()), beneath);
    let function = layers.take(MOST_LAYERS).last()?;
    beneath(&function).is_none().then_some(function)
}

/// Takes the operations of a list that is a whole batch.
pub(crate) fn take(operations: &Bound<'_, PyList>, awaits: bool) -> PyResult<Vec<Py<PyAny>>> {
    let mut seen = Seen::of(awaits);
    let mut taken = Vec::with_capacity(operations.len());
    for (place, operation) in operations.iter().enumerate() {
        check_one(&operation, &mut seen, || place)?;
        taken.push(operation.unbind());
    }
    Ok(taken)
}

/// Refuses a list that holds what is no operation.
#[pyfunction]
#[pyo3(signature = (operations, awaits=false))]
pub(crate) fn check_operations(operations: &Bound<'_, PyList>, awaits: bool) -> PyResult<()> {
    take(operations, awaits).map(drop)
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
    examine(operation, seen, index)
}

/// The same for one that is not known.
pub(crate) fn examine(
    operation: &Bound<'_, PyAny>,
    seen: &mut Seen,
    index: impl Fn() -> usize,
) -> PyResult<()> {
    match problem_with(operation, seen)? {
        None => Ok(()),
        Some(problem) => {
            let message = format!("operation {} {problem}", index());
            Err(PyTypeError::new_err(message))
        }
    }
}

/// Refuses what is no operation, and stands alone: an argument of that name.
#[pyfunction]
pub(crate) fn check_operation(name: &str, operation: &Bound<'_, PyAny>) -> PyResult<()> {
    match problem_with(operation, &mut Seen::default())? {
        None => Ok(()),
        Some(problem) => Err(PyTypeError::new_err(format!("{name} {problem}"))),
    }
}

/// Says what is wrong with an operation. Whatever is raised meanwhile and is not an `Exception`,
/// such as Ctrl-C, is no fault of the operation's.
fn problem_with(operation: &Bound<'_, PyAny>, seen: &mut Seen) -> PyResult<Option<String>> {
    if !operation.is_callable() {
        return Ok(Some(format!(
            "must be callable, not {}; {}",
            describe(operation)?,
            instead_of(operation, seen.awaits)
        )));
    }
    let Some(function) = function_of(operation) else {
        return Ok(Some(format!(
            "must have fewer than {MOST_LAYERS} partials and methods around it"
        )));
    };
    match is_suspended_function(&function, seen) {
        Err(error) if is_exception(operation.py(), &error) => {
            Ok(Some(format!("cannot be examined: {error}")))
        }
        Err(error) => Err(error),
        Ok(true) if is_generator_function(&function)? => Ok(Some(format!(
            "is a generator function, which does nothing yet when it is called: {}; pass a \
             function that runs it to its end, such as lambda: list(...)",
            describe(&function)?
        ))),
        Ok(true) if seen.awaits && is_async_generator_function(&function)? => Ok(Some(format!(
            "is an asynchronous generator function, which returns nothing to await: {}; pass an \
             async function that runs it to its end",
            describe(&function)?
        ))),
        Ok(true) if seen.awaits => {
            seen.function = Some(function.unbind());
            Ok(None)
        }
        Ok(true) => Ok(Some(format!(
            "is a coroutine function, which a thread cannot run: {}; wrap it in a function that \
             runs it, such as lambda: asyncio.run(...), or give it to an AsyncBatchExecutor",
            describe(&function)?
        ))),
        Ok(false) => {
            seen.function = Some(function.unbind());
            Ok(None)
        }
    }
}

/// What to write in the place of what cannot be called.
fn instead_of(operation: &Bound<'_, PyAny>, awaits: bool) -> &'static str {
    let py = operation.py();
    if awaits && coroutine(py).is_ok_and(|class| operation.is_exact_instance(class)) {
        "pass a function that makes it, such as functools.partial(function, ...), in the place of \
         function(...)"
    } else if coroutine(py).is_ok_and(|class| operation.is_exact_instance(class)) {
        "pass a function that makes and runs it, such as lambda: asyncio.run(...)"
    } else if operation.is_instance_of::<PyTuple>() {
        "for a function with its arguments, pass functools.partial(function, ...)"
    } else {
        "if that is what a call has returned, pass functools.partial(function, ...) and leave the \
         call to a worker"
    }
}

/// Whether to call it gives something that has still to be run: a coroutine, or a generator.
fn is_suspended_function(function: &Bound<'_, PyAny>, seen: &mut Seen) -> PyResult<bool> {
    if function.is_exact_instance_of::<PyFunction>() && !is_marked(function)? {
        return has_suspended_code(function, seen);
    }
    if function.is_exact_instance_of::<PyCFunction>() || function.is_exact_instance_of::<PyType>() {
        return Ok(false);
    }
    is_suspended_otherwise(function.py())?
        .call1((function,))?
        .extract()
}

fn is_generator_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let checks = function.py().import("paceline._checks")?;
    let is_one = checks.getattr("is_generator_function")?;
    is_one.call1((function,))?.extract()
}

fn is_async_generator_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let inspect = function.py().import("inspect")?;
    let is_one = inspect.getattr("isasyncgenfunction")?;
    is_one.call1((function,))?.extract()
}

fn has_suspended_code(function: &Bound<'_, PyAny>, seen: &mut Seen) -> PyResult<bool> {
    let py = function.py();
    let code = function.getattr(pyo3::intern!(py, "__code__"))?;
    if seen.code.as_ref().is_some_and(|known| known.is(&code)) {
        return Ok(false);
    }
    let flags: u32 = code.getattr(pyo3::intern!(py, "co_flags"))?.extract()?;
    let found = flags & SUSPENDED != 0;
    if !found {
        seen.code = Some(code.unbind());
    }
    Ok(found)
}

/// Whether it has what tells `inspect` that a function may be async though its code is not: the mark
/// of `inspect.markcoroutinefunction`, or the `partialmethod` that it was made by.
fn is_marked(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    static VERSION: PyOnceLock<(u8, u8)> = PyOnceLock::new();
    let py = function.py();
    let version = *VERSION.get_or_init(py, || {
        let version = py.version_info();
        (version.major, version.minor)
    });
    let mark = pyo3::intern!(py, "_is_coroutine_marker");
    let partialmethod = pyo3::intern!(py, "__partialmethod__");
    Ok(version >= (3, 12) && function.getattr_opt(mark)?.is_some()
        || version >= (3, 13) && function.getattr_opt(partialmethod)?.is_some())
}

/// What tells it of any other callable, in Python.
fn is_suspended_otherwise(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static IS_SUSPENDED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    IS_SUSPENDED.import(py, "paceline._checks", "is_suspended")
}

/// Whether an operation has returned what somebody would have to await, or to iterate over, for it
/// to do anything: a coroutine, or a generator of either kind, also of another type, as compiled
/// modules and libraries have them. Or a context manager that does nothing before it is entered.
#[inline(never)]
pub(crate) fn is_suspended(value: &Bound<'_, PyAny>) -> bool {
    kind_of(value).is_ok_and(|kind| kind.is_some())
}

fn kind_of(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    suspended_kind(value.py())?.call1((value,))?.extract()
}

fn suspended_kind(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static SUSPENDED_KIND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    SUSPENDED_KIND.import(py, "paceline._checks", "suspended_kind")
}

/// Whether a value is of a type of which it is known without asking what its instances are.
#[inline(always)]
pub(crate) fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBytes>()
}

/// The failure of an operation that has returned such a thing: it has not done its work.
pub(crate) fn refuse_suspended(value: &Bound<'_, PyAny>) -> PyErr {
    let refuse = || {
        let shown = describe(value)?;
        if value.is_exact_instance(generator(value.py())?) {
            return Ok(PyTypeError::new_err(format!(
                "the operation returned a generator, which does nothing before it is iterated \
                 over: {shown}; wrap it in a function that does so, such as lambda: list(...)"
            )));
        }
        if value.is_exact_instance(async_generator(value.py())?) {
            return Ok(PyTypeError::new_err(format!(
                "the operation returned an asynchronous generator, which a thread cannot run: \
                 {shown}; wrap it in a function that runs it, such as lambda: asyncio.run(...)"
            )));
        }
        if !value.is_exact_instance(coroutine(value.py())?) {
            let kind = kind_of(value)?.unwrap_or_default();
            return Ok(PyTypeError::new_err(format!(
                "the operation returned {kind}, which does nothing by itself: {shown}; wrap it in a \
                 function that runs it, iterates over it or enters it"
            )));
        }
        // Closed, it does not warn that it was never awaited. Somebody may run one that has begun.
        let begun = value.getattr("cr_suspended")?.is_truthy()?;
        if !begun && !value.getattr("cr_running")?.is_truthy()? {
            value.call_method0("close")?;
        }
        Ok(PyTypeError::new_err(format!(
            "the operation returned a coroutine, which a thread cannot run: {shown}; wrap it in a \
             function that runs it, such as lambda: asyncio.run(...)"
        )))
    };
    refuse().unwrap_or_else(|error| error)
}

/// Makes what is made only once: the names that are looked up as well.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    coroutine(py)?;
    generator(py)?;
    async_generator(py)?;
    kind_of(&py.get_type::<PyAny>())?;
    let mut seen = Seen::default();
    let as_method = method(py)?.call1((is_suspended_otherwise(py)?, 0))?;
    for _ in 0..2 {
        let operation = partial(py)?.call1((&as_method,))?;
        check_one(&operation, &mut seen, || 0)?;
    }
    Ok(())
}

pub(super) fn partial(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static PARTIAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    PARTIAL.import(py, "functools", "partial")
}

fn coroutine(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static COROUTINE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    COROUTINE.import(py, "types", "CoroutineType")
}

fn generator(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static GENERATOR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GENERATOR.import(py, "types", "GeneratorType")
}

fn async_generator(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static ASYNC_GENERATOR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ASYNC_GENERATOR.import(py, "types", "AsyncGeneratorType")
}

fn method(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static METHOD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    METHOD.import(py, "types", "MethodType")
}
