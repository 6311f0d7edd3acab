//! The binding: Python's arguments in, Python's objects out.

pub(crate) mod apart;
pub(crate) mod arguments;
pub(crate) mod batch_handle;
pub(crate) mod calls;
pub(crate) mod contexts;
pub(crate) mod errors;
pub(crate) mod executor;
pub(crate) mod failures;
pub(crate) mod foreign;
mod giving_up;
pub(crate) mod handle;
pub(crate) mod input_buffer;
pub(crate) mod job;
pub(crate) mod late;
pub(crate) mod leaving;
pub(crate) mod lifecycle;
pub(crate) mod limiter;
pub(crate) mod logging;
pub(crate) mod look_out;
pub(crate) mod nesting;
pub(crate) mod operations;
pub(crate) mod options;
pub(crate) mod origins;
pub(crate) mod outcome;
pub(crate) mod partials;
pub(crate) mod places;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod ready_outcomes;
pub(crate) mod records;
pub(crate) mod refs;
pub(crate) mod retrying;
pub(crate) mod run_loop;
pub(crate) mod runtime;
pub(crate) mod seconds;
mod shared;
pub(crate) mod status;
pub(crate) mod tasks;
pub(crate) mod work;
pub(crate) mod worker;

use pyo3::prelude::*;

/// Makes what is made once in a process. Called when the package is imported: were another thread
/// about it when the process forks, the child would wait for that thread for ever.
///
/// What pyo3 makes so (a `PyOnceLock`, a name by `intern!`) lets go of the interpreter meanwhile.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    lifecycle::prepare(py)?;
    seconds::prepare(py)?;
    partials::prepare(py);
    operations::prepare(py)?;
    calls::prepare(py);
    contexts::prepare(py)?;
    apart::prepare(py)?;
    policy::prepare(py);
    run_loop::prepare(py);
    leaving::prepare(py)?;
    look_out::prepare();
    // By rayon's threads, when they first look for work.
    crossbeam_epoch::default_collector();
    logging::install(py)
}
