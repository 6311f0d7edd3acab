//! The failures of one batch on their way to the log: the first of each second one by one, the
//! others as a number. An outage is not to fill a disk, nor to hide what else is written there.

use std::time::Duration;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::logging;
use crate::engine::lock::Guarded;
use crate::engine::time::Time;

/// How many failures of one second are written one by one.
const ONE_BY_ONE: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// So many kinds of exceptions are counted apart; the others together.
const MOST_KINDS: usize = 5;

/// An operation that has failed for good.
pub(crate) struct Failure<'a, 'py> {
    pub(crate) index: usize,
    /// Seconds that its last call took; 0 where it was refused its permit.
    pub(crate) seconds: f64,
    pub(crate) exception: &'a Bound<'py, PyBaseException>,
}

/// What is known of the failures of one batch that are being logged.
#[derive(Debug, Default)]
pub(crate) struct FailureLog(Guarded<Tally>);

#[derive(Debug, Default)]
struct Tally {
    /// When the present second began.
    since: Option<Time>,
    /// The batch has ended: what still runs is written as it fails, as nobody will ask again.
    ended: bool,
    written: u32,
    untold: Untold,
}

/// Failures that were not written one by one.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    pub(crate) count: u64,
    /// By the names of their types.
    pub(crate) kinds: Vec<(String, u64)>,
    /// Seconds from the first to the last of them, or less.
    pub(crate) seconds: f64,
}

impl FailureLog {
    /// Writes or counts a failure. On a worker, where what is raised meanwhile reaches nobody.
    pub(crate) fn note(&self, py: Python<'_>, failure: &Failure<'_, '_>) {
        if let Err(error) = self.note_here(py, failure) {
            error.write_unraisable(py, None);
        }
    }

    /// The same on the thread of an owner. What is raised meanwhile and is not an `Exception`, such
    /// as Ctrl-C, is returned for the caller.
    pub(crate) fn note_here(&self, py: Python<'_>, failure: &Failure<'_, '_>) -> PyResult<()> {
        if !logging::writes_failures() {
            return Ok(());
        }
        let now = Time::now();
        let (untold, write) = self.0.with(|state| state.admit(now));
        logging::failures_counted(py, untold)?;
        if write || !self.count(failure) {
            logging::operation_failed(py, failure)?;
        }
        Ok(())
    }

    /// Writes what was counted and not written, as the batch ends. On the thread of its owner.
    pub(crate) fn end(&self, py: Python<'_>) -> PyResult<()> {
        let untold = self.0.with(|state| state.end(Time::now()));
        logging::failures_counted(py, untold)
    }

    /// Counts a failure, unless nobody would ask for the count any more.
    fn count(&self, failure: &Failure<'_, '_>) -> bool {
        let kind = logging::type_name(failure.exception);
        self.0.with(|state| {
            if !state.ended {
                state.untold.count(kind);
            }
            !state.ended
        })
    }
}

impl Tally {
    /// What is to be written before a failure, and whether that is written itself, not counted.
    fn admit(&mut self, now: Time) -> (Option<Untold>, bool) {
        let mut before = None;
        if self.since.is_none_or(|since| now >= since + SECOND) {
            before = self.take_untold(now);
            self.since = Some(now);
            self.written = 0;
        }
        let write = self.ended || self.written < ONE_BY_ONE;
        self.written += u32::from(write);
        (before, write)
    }

    fn end(&mut self, now: Time) -> Option<Untold> {
        self.ended = true;
        self.take_untold(now)
    }

    fn take_untold(&mut self, now: Time) -> Option<Untold> {
        let mut untold = std::mem::take(&mut self.untold);
        untold.seconds = now.since(self.since?).as_secs_f64().min(1.0);
        (untold.count > 0).then_some(untold)
    }
}

impl Untold {
    fn count(&mut self, kind: String) {
        self.count += 1;
        if let Some((_, count)) = self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            *count += 1;
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push((kind, 1));
        }
    }

    /// How many there are of each kind, in words: `240 TimeoutError, 3 ValueError and 2 others`.
    pub(crate) fn in_words(&self) -> String {
        let told: Vec<_> = self
            .kinds
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let rest = self.count - self.kinds.iter().map(|(_, count)| count).sum::<u64>();
        match rest {
            0 => told.join(", "),
            rest => format!("{} and {rest} of other types", told.join(", ")),
        }
    }
}
