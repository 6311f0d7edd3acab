//! On what terms a verb has its batch run, and why that ended, in words that Python understands.

use std::time::Duration;

use pyo3::prelude::*;

use crate::engine;
use crate::engine::terms::{Ahead, End, FailureLimit, Terms};
use crate::engine::time::Time;

/// How the outcomes of a batch are kept until its owner takes them.
#[pyclass(frozen, module = "paceline._core", rename_all = "SCREAMING_SNAKE_CASE")]
#[derive(Debug)]
pub(crate) enum Keep {
    All,
    Ordered,
    Completed,
}

/// Reads how a batch is to be treated.
pub(crate) fn read(terms: &Bound<'_, PyAny>) -> PyResult<Terms> {
    let max_failures: Option<(f64, usize)> = terms.getattr("max_failures")?.extract()?;
    let failure_limit = max_failures.map(|(share, of)| {
        if share == 0.0 {
            FailureLimit::Count(of)
        } else {
            FailureLimit::Share { share, of }
        }
    });
    let timeout: Option<f64> = terms.getattr("timeout")?.extract()?;
    let after = timeout.and_then(|timeout| Duration::try_from_secs_f64(timeout).ok());
    Ok(Terms {
        keep: match terms.getattr("keep")?.cast()?.get() {
            Keep::All => engine::ledger::Keep::All,
            Keep::Ordered => engine::ledger::Keep::Ordered,
            Keep::Completed => engine::ledger::Keep::Completed,
        },
        attended: terms.getattr("attended")?.extract()?,
        ahead: {
            let (least, heavy, light) = terms.getattr("ahead")?.extract()?;
            Ahead {
                least,
                heavy,
                light,
            }
        },
        deadline: after.map_or(Time::NEVER, |after| Time::now() + after),
        stop_on_failure: terms.getattr("stop_on_failure")?.extract()?,
        failure_limit,
    })
}

/// Why a batch ended.
pub(crate) const fn name_of(end: Option<End>) -> &'static str {
    match end {
        None => "completed",
        Some(End::Timeout) => "timeout",
        Some(End::MaxFailures) => "max_failures",
        Some(End::Operation) => "operation",
        Some(End::Owner | End::Failed) => "exit",
        Some(End::Cancelled) => "shutdown",
        Some(End::Limiter) => "limiter",
        Some(End::Refused) => "refused",
        Some(End::Broken) => "broken",
        Some(End::Outer) => "outer",
    }
}
