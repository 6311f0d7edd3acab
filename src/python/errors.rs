//! Exceptions: which are errors, and how a value appears in the message of one.
//!
//! Of what may hold a caller's data nothing is shown but its type: a message goes into logs and
//! reports of errors, and an argument may be a password.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDelta, PyFloat, PyInt, PyNone, PyString, PyTuple, PyType,
};

/// How many characters of a value's repr are shown.
const LONGEST: usize = 100;

/// How many of a tuple's items have their types shown.
const MOST_ITEMS: usize = 5;

/// A setting that was refused: a number or a text as it is, cut short; of anything else its type.
#[pyfunction]
pub(crate) fn show(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let plain = value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyComplex>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBytes>()
        || value.is_exact_instance_of::<PyDelta>()
        || value.is_instance_of::<PyNone>();
    if !plain {
        return describe(value);
    }
    let text = match value.repr() {
        Ok(text) => text,
        // Of an integer with too many digits.
        Err(error) if is_exception(value.py(), &error) => return describe(value),
        Err(error) => return Err(error),
    };
    let text = text.to_string_lossy();
    Ok(match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    })
}

/// What a value is, without what it holds: "an int", "the function fetch", "a tuple (function, int)".
pub(crate) fn describe(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if value.is_none() {
        return Ok("None".to_owned());
    }
    if let Ok(class) = value.cast::<PyType>() {
        return Ok(format!("the class {}", class.name()?));
    }
    let class = value.get_type().name()?;
    let class = class.to_string_lossy();
    if matches!(
        &*class,
        "function" | "method" | "builtin_function_or_method" | "coroutine" | "generator"
    ) && let Ok(name) = value.getattr("__qualname__")
        && let Ok(name) = name.extract::<String>()
    {
        let class = class.split('_').next().unwrap_or(&class);
        return Ok(format!("the {class} {name}"));
    }
    let article = match class.chars().next() {
        Some('a' | 'e' | 'i' | 'o' | 'A' | 'E' | 'I' | 'O') => "an",
        _ => "a",
    };
    if let Ok(items) = value.cast_exact::<PyTuple>() {
        let names = items.iter().take(MOST_ITEMS);
        let names = names.map(|item| Ok(item.get_type().name()?.to_string_lossy().into_owned()));
        let mut names = names.collect::<PyResult<Vec<_>>>()?;
        if items.len() > MOST_ITEMS {
            names.push("...".to_owned());
        }
        return Ok(format!("{article} tuple ({})", names.join(", ")));
    }
    Ok(format!("{article} {class}"))
}

/// Whether an error is an `Exception`: what is not, such as Ctrl-C, is to reach the caller.
pub(crate) fn is_exception(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py)
}

/// What a verb of an executor raises that takes no more work.
pub(super) fn closed() -> PyErr {
    PyRuntimeError::new_err(
        "cannot schedule new futures after shutdown: leaving the executor's with block, or \
         shutdown(), has ended it; make another one, or call its verbs before that",
    )
}

/// What every verb raises when the interpreter ends.
pub(super) fn after_exit() -> PyErr {
    PyRuntimeError::new_err("cannot schedule new futures after interpreter shutdown")
}
