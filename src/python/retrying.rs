//! What an executor does about an operation that failed: call it again, and when.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::runtime::Runtime;
use crate::engine::schedule::SourceId;
use crate::engine::source::Running;
use crate::engine::time::Time;

/// The user's policy.
#[derive(Debug)]
pub(crate) struct Retrying {}

/// What is to become of an operation that failed.
pub(crate) enum Decision {
    /// It has failed for good.
    GiveUp,
    /// It is to be called again, not before this time.
    Again(Time),
}

impl Retrying {
    pub(crate) fn new(_policy: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {})
    }

    #[allow(clippy::unused_self, clippy::too_many_arguments)]
    pub(crate) fn decide(
        &self,
        _py: Python<'_>,
        _runtime: &Runtime,
        _source: SourceId,
        _running: &Running,
        _ended: Time,
        _exception: &Bound<'_, PyBaseException>,
    ) -> Decision {
        Decision::GiveUp
    }
}
