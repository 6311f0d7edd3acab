//! The words for what can become of an operation.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::errors::show;

/// What an outcome can be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    Failed,
    Running,
    #[default]
    NotStarted,
    Cancelled,
}

impl Status {
    /// In the order in which they are counted.
    pub(crate) const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed,
        Self::Running,
        Self::NotStarted,
        Self::Cancelled,
    ];

    /// The status of that name.
    pub(super) fn named(name: &Bound<'_, PyAny>) -> PyResult<Self> {
        let word = name.extract::<String>().ok();
        let found = Self::ALL
            .into_iter()
            .find(|status| word.as_deref() == Some(status.name()));
        let names = || {
            Self::ALL
                .map(|status| format!("'{}'", status.name()))
                .join(", ")
        };
        match found {
            Some(status) => Ok(status),
            None => Err(PyValueError::new_err(format!(
                "status must be one of {}, not {}",
                names(),
                show(name)?
            ))),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::NotStarted => "not_started",
            Self::Cancelled => "cancelled",
        }
    }
}
