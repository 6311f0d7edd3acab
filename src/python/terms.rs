//! On what terms a verb has its batch run, and why that ended, in words that Python understands.

use std::time::Duration;

use pyo3::prelude::*;

use crate::engine::ledger::Keep;
use crate::engine::terms::{End, FailureLimit, Gate, Terms as EngineTerms};
use crate::engine::time::Time;

/// Reads how a batch is to be treated.
pub(crate) fn read(terms: &Bound<'_, PyAny>) -> PyResult<EngineTerms> {
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
    Ok(EngineTerms {
        keep: match terms.getattr("keep")?.extract()? {
            0_u8 => Keep::All,
            1 => Keep::Ordered,
            _ => Keep::Completed,
        },
        gate: match terms.getattr("gate")?.extract()? {
            0_u8 => Gate::Worker,
            1 => Gate::Owner,
            _ => Gate::Dispatcher,
        },
        attended: terms.getattr("attended")?.extract()?,
        ahead: terms.getattr("ahead")?.extract()?,
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
        Some(End::Owner | End::Failed) => "owner",
        Some(End::Cancelled) => "shutdown",
        Some(End::Limiter) => "limiter",
        Some(End::Broken) => "broken",
    }
}
