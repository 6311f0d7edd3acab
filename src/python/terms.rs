//! On what terms a verb has its batch run, and why that ended, in words that Python understands.

use std::time::Duration;

use pyo3::prelude::*;

use crate::engine::ledger::Keep;
use crate::engine::terms::{End, FailureLimit, Gate, Terms as EngineTerms};
use crate::engine::time::Time;

/// How a batch is to be treated.
#[derive(FromPyObject)]
pub(crate) struct Terms {
    keep: u8,
    gate: u8,
    attended: bool,
    ahead: (usize, usize),
    timeout: Option<f64>,
    stop_on_failure: bool,
    max_failures: Option<(f64, usize)>,
}

impl From<Terms> for EngineTerms {
    fn from(terms: Terms) -> Self {
        let failure_limit = terms.max_failures.map(|(share, of)| {
            if share == 0.0 {
                FailureLimit::Count(of)
            } else {
                FailureLimit::Share { share, of }
            }
        });
        let after = terms
            .timeout
            .and_then(|timeout| Duration::try_from_secs_f64(timeout).ok());
        Self {
            keep: match terms.keep {
                0 => Keep::All,
                1 => Keep::Ordered,
                _ => Keep::Completed,
            },
            gate: match terms.gate {
                0 => Gate::Worker,
                1 => Gate::Owner,
                _ => Gate::Dispatcher,
            },
            attended: terms.attended,
            ahead: terms.ahead,
            deadline: after.map_or(Time::NEVER, |after| Time::now() + after),
            stop_on_failure: terms.stop_on_failure,
            failure_limit,
        }
    }
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
