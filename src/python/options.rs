//! The options of a batch as a verb gives them, and why it ended, in words that Python understands.

use std::time::Duration;

use pyo3::prelude::*;

use crate::engine::model::{self, Ahead, BatchOptions, EndReason, FailureLimit};
use crate::engine::time::Time;

/// How the outcomes of a batch reach its owner.
#[pyclass(
    frozen,
    module = "paceline._core",
    name = "Delivery",
    rename_all = "SCREAMING_SNAKE_CASE"
)]
#[derive(Debug)]
pub(crate) enum DeliveryChoice {
    AtEnd,
    InOrder,
    AsCompleted,
}

/// Reads how a batch is to be treated.
pub(crate) fn read(options: &Bound<'_, PyAny>, now: Time) -> PyResult<BatchOptions> {
    let max_failures: Option<(f64, usize)> = options.getattr("max_failures")?.extract()?;
    let failure_limit = max_failures.map(|(share, of)| {
        if share == 0.0 {
            FailureLimit::Count(of)
        } else {
            FailureLimit::Share { share, of }
        }
    });
    let timeout: Option<f64> = options.getattr("timeout")?.extract()?;
    let after = timeout.and_then(|timeout| Duration::try_from_secs_f64(timeout).ok());
    Ok(BatchOptions {
        delivery: match options.getattr("delivery")?.cast()?.get() {
            DeliveryChoice::AtEnd => model::Delivery::AtEnd,
            DeliveryChoice::InOrder => model::Delivery::InOrder,
            DeliveryChoice::AsCompleted => model::Delivery::AsCompleted,
        },
        attended: options.getattr("attended")?.extract()?,
        ahead: {
            let (least, heavy, light) = options.getattr("ahead")?.extract()?;
            Ahead {
                least,
                heavy,
                light,
            }
        },
        deadline: after.map_or(Time::NEVER, |after| now + after),
        stop_on_failure: options.getattr("stop_on_failure")?.extract()?,
        failure_limit,
    })
}

/// Why a batch ended.
pub(crate) const fn name_of(end: Option<EndReason>) -> &'static str {
    match end {
        None => "completed",
        Some(EndReason::Timeout) => "timeout",
        Some(EndReason::MaxFailures) => "max_failures",
        Some(EndReason::Operation) => "operation",
        Some(EndReason::Owner | EndReason::Failed) => "exit",
        Some(EndReason::Cancelled) => "shutdown",
        Some(EndReason::Limiter) => "limiter",
        Some(EndReason::Refused) => "refused",
        Some(EndReason::Broken) => "broken",
        Some(EndReason::Outer) => "outer",
    }
}
