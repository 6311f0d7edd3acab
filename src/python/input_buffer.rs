//! Reading a batch's input: what was read is checked, and added for the workers.

use std::time::Duration;
use std::{iter, mem};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::job::Job;
use super::operations::{Seen, beneath, examine};
use super::origins::{Origin, Origins};
use super::partials;
use super::refs::Refs;
use super::work::Operations;
use crate::engine::clock::Clock;
use crate::engine::lock::Guarded;
use crate::engine::model::BatchId;
use crate::engine::scheduler::Scheduler;
use crate::engine::time::Time;

/// An input that takes longer for one operation is asked again when there was time for outcomes.
const SLOW: Duration = Duration::from_millis(5);

/// What the input of one batch is read by.
///
/// The thread that owns the batch reads. While operations are short it reads many in one go, without
/// telling the workers of each; if one of them is long in coming, a worker adds those before it.
#[derive(Debug, Default)]
pub(crate) struct InputBuffer(Guarded<Buffered>);

#[derive(Debug, Default)]
struct Buffered {
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

/// An operation that was read.
struct Read<'py> {
    job: Job,
    /// It is a partial, of which no more is held than its parts.
    light: bool,
    /// What is beneath what it calls, as far as that mostly goes: a method.
    beneath: [Option<Bound<'py, PyAny>>; 2],
}

/// What has become of an operation that was read.
enum Added {
    /// It calls another function than the one before, so it is to be examined first.
    Unknown(Job),
    /// It is to be added at once, as of now. Whether there is something to do before the next is read.
    ToAdd(Job, Time, bool),
    /// It will be added with others. Whether there is something to do.
    Kept(bool),
}

impl<'py> Read<'py> {
    #[inline]
    fn new(operation: &Bound<'py, PyAny>) -> Self {
        let parts = partials::parts(operation);
        let light = parts.is_some();
        let job = match parts {
            Some(parts) => Job::of_parts(parts),
            None => Job::new(operation.clone().unbind()),
        };
        let inner = beneath(job.object(operation.py()));
        let innermost = inner.as_ref().and_then(beneath);
        Self {
            job,
            light,
            beneath: [inner, innermost],
        }
    }
}

impl Buffered {
    /// Takes an operation if it calls the same function as the one before; one that was `examined`
    /// in any case.
    #[inline]
    fn take(
        &mut self,
        refs: Refs<'_>,
        job: Job,
        light: bool,
        beneath: [Option<&Py<PyAny>>; 2],
        examined: bool,
        clock: &Clock,
    ) -> Added {
        let is_same = self.seen.is(job.callee());
        if !is_same && !examined && !beneath.into_iter().flatten().any(|it| self.seen.is(it)) {
            return Added::Unknown(job);
        }
        self.origins.note(refs, &job);
        self.light &= light && is_same && !examined;
        self.left = self.left.saturating_sub(1);
        let enough = self.left == 0;
        if !self.one_by_one {
            self.inbox.push(job);
            return Added::Kept(enough);
        }
        let now = clock.now();
        // Those who wait for outcomes go before an input that is long in coming.
        let slow = now.since(self.asked) > SLOW;
        self.asked = now;
        Added::ToAdd(job, now, enough || slow)
    }
}

impl InputBuffer {
    /// For operations whose returned values are awaited, or are not.
    pub(crate) fn of(awaits: bool) -> Self {
        let buffer = Self::default();
        buffer.0.with(|state| state.seen = Seen::of(awaits));
        buffer
    }

    /// The owner begins to read `count` operations, each to be added at once or all in one go.
    pub(crate) fn begin(&self, count: usize, in_one_go: bool, now: Time) {
        self.0.with(|state| {
            state.left = count;
            state.one_by_one = !in_one_go;
            state.asked = now;
            state.light = true;
        });
    }

    /// Takes one operation that was read; whether there is something to do before the next is.
    #[inline]
    pub(crate) fn take(
        &self,
        operation: &Bound<'_, PyAny>,
        scheduler: &Scheduler<Operations>,
        id: BatchId,
    ) -> PyResult<bool> {
        let (py, clock) = (operation.py(), scheduler.clock());
        let mut taken = self.enter(Read::new(operation), py, false, clock);
        if let Added::Unknown(job) = taken {
            drop(job);
            self.examine(operation, scheduler, id)?;
            // What has examined it may have run code of anybody's, which may change a partial.
            taken = self.enter(Read::new(operation), py, true, clock);
        }
        Ok(match taken {
            Added::ToAdd(job, now, something) => {
                scheduler.feed_some(id, iter::once(job), now) || something
            }
            Added::Kept(something) => something,
            // Not what was examined.
            Added::Unknown(_) => false,
        })
    }

    #[inline]
    fn enter(&self, read: Read<'_>, py: Python<'_>, examined: bool, clock: &Clock) -> Added {
        let Read {
            job,
            light,
            beneath,
        } = read;
        let beneath = beneath
            .each_ref()
            .map(|it| it.as_ref().map(Bound::as_unbound));
        self.0.with_lent(Refs::new(py), |state, refs| {
            state.take(refs, job, light, beneath, examined, clock)
        })
    }

    /// Looks whether it is an operation, and remembers what it calls.
    #[inline(never)]
    fn examine(
        &self,
        operation: &Bound<'_, PyAny>,
        scheduler: &Scheduler<Operations>,
        id: BatchId,
    ) -> PyResult<()> {
        let mut seen = self.0.with(|state| mem::take(&mut state.seen));
        let examined = examine(operation, &mut seen, || self.next_index(scheduler, id));
        // Another thread may have put something there meanwhile.
        drop(self.0.with(|state| mem::replace(&mut state.seen, seen)));
        examined
    }

    /// The index of the operation that is read next.
    fn next_index(&self, scheduler: &Scheduler<Operations>, id: BatchId) -> usize {
        self.0.with(|state| {
            let added = scheduler.with(id, |batch| batch.read()).unwrap_or(0);
            added + state.inbox.len()
        })
    }

    /// Has the owner read no more than the operation that it waits for.
    pub(crate) fn cut_short(&self) {
        self.0.with(|state| state.left = state.left.min(1));
    }

    /// Adds what was read. A worker may do so while the owner reads on.
    pub(crate) fn add_inbox(&self, scheduler: &Scheduler<Operations>, id: BatchId) {
        // Under the lock, so that all are added in the order in which they were read.
        let left = self.0.with(|state| {
            let mut jobs = mem::take(&mut state.inbox).into_iter();
            if jobs.len() > 0 {
                scheduler.feed_some(id, &mut jobs, scheduler.now());
            }
            jobs
        });
        // Where the batch is gone they are dropped, and that may run code of anybody's.
        drop(left);
    }

    /// The batch is this list or tuple, where `sequence` is one; otherwise, if it is a stream, its
    /// operations are kept until their outcomes are handed over.
    pub(crate) fn know(&self, sequence: Option<Py<PyAny>>) {
        drop(self.0.with(|state| state.origins.know(sequence)));
    }

    /// Which operation the outcome is of that is handed over now.
    #[inline]
    pub(crate) fn take_origin(&self, py: Python<'_>, index: usize) -> Option<Origin> {
        let take = |state: &mut Buffered, refs: Refs<'_>| state.origins.take(refs, index);
        self.0.with_lent(Refs::new(py), take)
    }

    /// Keeps an operation that has failed for good, where it is known nowhere else.
    pub(crate) fn note_failed(&self, py: Python<'_>, index: usize, job: &Job) {
        let note =
            |state: &mut Buffered, refs: Refs<'_>| state.origins.note_failed(refs, index, job);
        drop(self.0.with_lent(Refs::new(py), note));
    }

    /// What is known of the operations, as the batch ends.
    pub(crate) fn take_origins(&self) -> Origins {
        self.0.with(|state| mem::take(&mut state.origins))
    }

    /// Whether operations like those read last may be read further ahead than others.
    pub(crate) fn is_light(&self) -> bool {
        self.0.with(|state| state.light)
    }

    /// Takes all that it holds.
    pub(crate) fn take_all(&self) -> (Seen, Vec<Job>, Origins) {
        self.0.with(|state| {
            (
                mem::take(&mut state.seen),
                mem::take(&mut state.inbox),
                mem::take(&mut state.origins),
            )
        })
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.with_lent(visit, |state, visit| {
            state.inbox.iter().try_for_each(|job| job.traverse(visit))?;
            state.seen.traverse(visit)?;
            state.origins.traverse(visit)
        })
    }
}
