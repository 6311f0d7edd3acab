//! The base of `BatchExecutor`: an immutable configuration, and a state for each process.
//!
//! The verbs are in `python/paceline/_executor.py`; what they stand on is in `handle.rs`.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::handle::Handle;
use super::lifecycle;
use super::limiter::RateLimiter;
use super::policy::Retrying;
use super::runtime::{Config, Runtime};
use crate::engine::clock::Clock;
use crate::engine::process::PerProcess;

/// The base of `BatchExecutor`. Its documentation is in the stub.
#[pyclass(subclass, frozen, weakref, module = "paceline._core")]
pub(crate) struct BatchExecutor {
    made: OnceLock<(Arc<Config>, PerProcess<Runtime>)>,
}

impl Drop for BatchExecutor {
    fn drop(&mut self) {
        if let Some(runtime) = self.made.get().and_then(|(_, state)| state.current()) {
            runtime.scheduler.close();
        }
    }
}

#[pymethods]
impl BatchExecutor {
    /// Takes any arguments, so that a subclass can have an `__init__` of its own.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            made: OnceLock::new(),
        }
    }

    #[pyo3(signature = (max_workers, limiter, foreign, retry, awaits=false))]
    fn _configure(
        &self,
        py: Python<'_>,
        max_workers: usize,
        limiter: Option<Bound<'_, RateLimiter>>,
        foreign: bool,
        retry: Option<Bound<'_, PyAny>>,
        awaits: bool,
    ) -> PyResult<()> {
        let retrying = retry.map(|retry| Retrying::new(&retry)).transpose()?;
        let raises_when_lost = limiter.as_ref().is_some_and(|it| it.get().raises(py));
        let limiter = limiter.map(|limiter| limiter.get().limiter().clone());
        let config = Arc::new(Config {
            max_workers,
            limiter,
            raises_when_lost,
            foreign,
            retrying,
            clock: Clock::default(),
            one_at_a_time: lifecycle::gil_enabled(py)?,
            awaits,
            shut: AtomicBool::new(false),
        });
        let state = PerProcess::new(Runtime::new(Arc::clone(&config)));
        self.made
            .set((config, state))
            .map_err(|_| PyRuntimeError::new_err("BatchExecutor.__init__() was called twice"))
    }

    /// The state that this process has of the executor.
    fn _runtime(&self) -> PyResult<Handle> {
        let (config, state) = self.made.get().ok_or_else(|| {
            PyRuntimeError::new_err("BatchExecutor.__init__() has not been called")
        })?;
        let runtime = state.get(|| Runtime::new(Arc::clone(config)));
        Ok(Handle::new(runtime))
    }
}
