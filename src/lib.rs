//! Runs batches of Python calls in parallel, as fast as a rate limit allows and never faster.

pub mod engine;
mod python;

/// The compiled half of the package.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::python::limiter::RateLimiter;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::python::interpreter::watch_forks(module.py())
    }
}
