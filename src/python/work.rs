//! What the engine carries for Python: its operations, and what those of one batch share.

use std::sync::Arc;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::contexts::Caller;
use super::failures::FailureLog;
use super::input_buffer::InputBuffer;
use super::job::Job;
use crate::engine::batch::Batch;
use crate::engine::lock::Guarded;
use crate::engine::model::{Attempt, BatchId, Record, Work};
use crate::engine::scheduler::Scheduler;

/// The engine's words for Python's objects.
#[derive(Debug)]
pub(crate) struct Operations;

impl Work for Operations {
    type Context = BatchContext;
    type Job = Job;
    type Value = Py<PyAny>;
    type Error = Py<PyBaseException>;
}

/// The batch of the calls that are submitted one by one.
pub(crate) const SUBMITTED: BatchId = Scheduler::<Operations>::SUBMITTED;

/// What the operations of one batch share.
#[derive(Debug)]
pub(crate) enum BatchContext {
    /// A batch: its jobs are the operations.
    Batch {
        /// Who called the verb.
        caller: Caller,
        /// The thread on which it was called.
        owner: u64,
        /// Where failures are recorded, so that they are logged.
        failures: Option<Arc<FailureLog>>,
        /// Held for those who ask the limiter for its permits, if that is not ours, and the retry
        /// policy, and do not hold these themselves.
        pool: Py<PyAny>,
        /// What its owner has read and not added.
        input: Arc<InputBuffer>,
        /// The last refusal that it was ended by, if it was.
        refusal: Guarded<Option<Py<PyBaseException>>>,
    },
    /// The submitted calls: each job is a tuple of future, function with arguments, keywords and
    /// context; where its permit was refused, of the future and the exception.
    Submitted,
}

impl BatchContext {
    pub(super) fn is_batch(&self) -> bool {
        matches!(self, Self::Batch { .. })
    }
}

/// A batch of Python's operations.
pub(crate) type PyBatch = Batch<Operations>;
pub(crate) type PyRecord = Record<Py<PyAny>, Py<PyBaseException>>;
pub(crate) type PyAttempt = Attempt<Py<PyBaseException>>;
