//! A value as it appears in the message of an exception.

use pyo3::prelude::*;

use super::interpreter::is_exception;

/// How many characters of a value's repr are shown.
const LONGEST: usize = 100;

/// The value's repr, cut short; of one whose repr raises an `Exception`, its type.
#[pyfunction]
pub(crate) fn show(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = match value.repr() {
        Ok(text) => text,
        Err(error) if is_exception(value.py(), &error) => {
            return Ok(format!(
                "a value of {} that cannot be shown",
                value.get_type()
            ));
        }
        Err(error) => return Err(error),
    };
    let text = text.to_string_lossy();
    Ok(match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    })
}
