//! What a stream hands its consumer: outcomes while some are ready.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::batch_handle::BatchHandle;

/// An iterator over the outcomes of a batch. Its documentation is in the stub.
#[pyclass(frozen, module = "paceline._core")]
pub(crate) struct ReadyOutcomes {
    batch: Py<BatchHandle>,
    more: Py<PyAny>,
}

#[pymethods]
impl ReadyOutcomes {
    #[new]
    fn new(batch: Py<BatchHandle>, more: Py<PyAny>) -> Self {
        Self { batch, more }
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let batch = self.batch.get().open()?;
        if let Some(outcome) = batch.hand_over(py) {
            return Ok(Some(Py::new(py, outcome)?.into_any()));
        }
        Ok((!batch.is_discarded()).then(|| self.more.clone_ref(py)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.batch)?;
        visit.call(&self.more)
    }
}
