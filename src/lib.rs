//! Runs batches of Python calls in parallel, as fast as a rate limit allows and never faster.

pub mod engine;
mod python;

/// The compiled half of the package.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::python::batch_handle::{BatchHandle, OwnerStep};
    #[pymodule_export]
    use crate::python::errors::show;
    #[pymodule_export]
    use crate::python::executor::BatchExecutor;
    #[pymodule_export]
    use crate::python::handle::Handle;
    #[pymodule_export]
    use crate::python::leaving::Exit;
    #[pymodule_export]
    use crate::python::lifecycle::{at_exit, forked};
    #[pymodule_export]
    use crate::python::limiter::RateLimiter;
    #[pymodule_export]
    use crate::python::logging::{log_batch, logged_exception};
    #[pymodule_export]
    use crate::python::operations::{check_operation, check_operations};
    #[pymodule_export]
    use crate::python::options::DeliveryChoice;
    #[pymodule_export]
    use crate::python::outcome::Outcome;
    #[pymodule_export]
    use crate::python::places::{Inbox, Place};
    #[pymodule_export]
    use crate::python::ready_outcomes::ReadyOutcomes;
    #[pymodule_export]
    use crate::python::records::Records;
    #[pymodule_export]
    use crate::python::tasks::TaskSlot;
    #[pymodule_export]
    use crate::python::worker::WorkerThread;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("UNBOUNDED", crate::engine::model::BatchOptions::UNBOUNDED)?;
        crate::python::prepare(module.py())
    }
}
