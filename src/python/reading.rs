//! Reading a batch's input: what was read is checked, and added for the workers.

use std::sync::Mutex;
use std::time::Duration;
use std::{iter, mem};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::job::Job;
use super::operations::{Seen, examine};
use super::origins::{Origin, Origins};
use super::partials;
use super::work::Operations;
use crate::engine::lock::lock;
use crate::engine::schedule::{Scheduler, SourceId};
use crate::engine::time::Time;

/// An input that takes longer for one operation is asked again when there was time for outcomes.
const SLOW: Duration = Duration::from_millis(5);

/// What the input of one batch is read by.
///
/// The thread that owns the batch reads. While operations are short it reads many in one go, without
/// telling the workers of each; if one of them is long in coming, a worker adds those before it.
#[derive(Debug, Default)]
pub(crate) struct Reading(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    /// The operations, as far as they are known until the batch ends.
    origins: Origins,
    /// How many more are to be read before the owner looks for something else to do.
    left: usize,
    /// Each is to be added as it is read.
    one_by_one: bool,
    /// What was read and not added.
    inbox: Vec<Job>,
    /// When the owner asked for the one that is read next, where each is added at once.
    asked: Time,
    /// All that were read since the reading began are partials of one function: of each nothing is
    /// held but its arguments.
    light: bool,
}

impl Reading {
    /// The owner begins to read `count` operations, each to be added at once or all in one go.
    pub(crate) fn begin(&self, count: usize, in_one_go: bool) {
        let mut state = lock(&self.0);
        state.left = count;
        state.one_by_one = !in_one_go;
        state.asked = Time::now();
        state.light = true;
    }

    /// Takes one operation that was read; whether there is something to do before the next is.
    #[inline]
    pub(crate) fn take(
        &self,
        operation: &Bound<'_, PyAny>,
        scheduler: &Scheduler<Operations>,
        id: SourceId,
    ) -> PyResult<bool> {
        let mut parts = partials::parts(operation);
        let _former;
        let mut state = lock(&self.0);
        let light = parts.as_ref().is_some_and(|it| state.seen.is(&it.function));
        if !light && !state.seen.knows(operation) {
            let mut seen = mem::take(&mut state.seen);
            // What examines it may run code of anybody's, which may change a partial.
            drop(state);
            let examined = examine(operation, &mut seen, || self.next_index(scheduler, id));
            parts = partials::parts(operation);
            state = lock(&self.0);
            // Nor is what another thread has put there meanwhile dropped under the lock.
            _former = mem::replace(&mut state.seen, seen);
            examined?;
        }
        let job = match parts {
            Some(parts) => Job::of_parts(parts),
            None => Job::new(operation.clone().unbind()),
        };
        state.origins.note(operation.py(), &job);
        state.light &= light;
        state.left = state.left.saturating_sub(1);
        let enough = state.left == 0;
        if state.one_by_one {
            let now = Time::now();
            // Those who wait for outcomes go before an input that is long in coming.
            let slow = now.since(state.asked) > SLOW;
            state.asked = now;
            drop(state);
            let something = scheduler.feed_some(id, iter::once(job), now);
            return Ok(something || enough || slow);
        }
        state.inbox.push(job);
        Ok(enough)
    }

    /// The index of the operation that is read next.
    fn next_index(&self, scheduler: &Scheduler<Operations>, id: SourceId) -> usize {
        let state = lock(&self.0);
        let added = scheduler.with(id, |source| source.read()).unwrap_or(0);
        added + state.inbox.len()
    }

    /// Has the owner read no more than the operation that it waits for.
    pub(crate) fn cut_short(&self) {
        let mut state = lock(&self.0);
        state.left = state.left.min(1);
    }

    /// Adds what was read. A worker may do so while the owner reads on.
    pub(crate) fn add_inbox(&self, scheduler: &Scheduler<Operations>, id: SourceId) {
        let mut state = lock(&self.0);
        let mut jobs = mem::take(&mut state.inbox).into_iter();
        if jobs.len() > 0 {
            // Under the lock, so that all are added in the order in which they were read.
            scheduler.feed_some(id, &mut jobs, Time::now());
        }
        // Where the batch is gone they are dropped, and that may run code of anybody's.
        drop(state);
    }

    /// The batch is this list or tuple, where `sequence` is one; otherwise, if it is a stream, its
    /// operations are kept until their outcomes are handed over.
    pub(crate) fn know(&self, sequence: Option<Py<PyAny>>) {
        let mut state = lock(&self.0);
        match sequence {
            Some(sequence) => state.origins.are(sequence),
            None => state.origins.keep(),
        }
    }

    /// Which operation the outcome is of that is handed over now.
    #[inline]
    pub(crate) fn take_origin(&self, py: Python<'_>, index: usize) -> Option<Origin> {
        lock(&self.0).origins.take(py, index)
    }

    /// Keeps an operation that has failed for good, where it is known nowhere else.
    pub(crate) fn note_failed(&self, py: Python<'_>, index: usize, job: &Job) {
        lock(&self.0).origins.note_failed(py, index, job);
    }

    /// What is known of the operations, as the batch ends.
    pub(crate) fn take_origins(&self) -> Origins {
        mem::take(&mut lock(&self.0).origins)
    }

    /// Whether operations like those read last may be read further ahead than others.
    pub(crate) fn is_light(&self) -> bool {
        lock(&self.0).light
    }

    /// Takes all that it holds.
    pub(crate) fn take_all(&self) -> (Seen, Vec<Job>, Origins) {
        let mut state = lock(&self.0);
        (
            mem::take(&mut state.seen),
            mem::take(&mut state.inbox),
            mem::take(&mut state.origins),
        )
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = lock(&self.0);
        state.inbox.iter().try_for_each(|job| job.traverse(visit))?;
        state.seen.traverse(visit)?;
        state.origins.traverse(visit)
    }
}
