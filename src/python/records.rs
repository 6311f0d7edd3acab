//! What became of the operations of a batch that has ended. Values, outcomes and totals are made of
//! the records when they are asked for, so an interrupt loses nothing, and operations that never
//! started cost nothing.
//!
//! Long, as records are read in many ways, by a report and by its parts: one type, and its methods.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::exceptions::{PyBaseException, PyIndexError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyWeakrefMethods, PyWeakrefReference};

use super::failures::{Failure, FailureLog};
use super::late::{Late, Waited};
use super::logging;
use super::origins::Origins;
use super::outcome::{Outcome, Status, copy_of};
use super::refs::Refs;
use super::seconds::seconds;
use super::work::{BatchContext, PyAttempt, PyBatch, PyRecord};
use crate::engine::batch::{HandedOver, History, LeftRecords, Totals};
use crate::engine::model::{Delivery, EndReason, Running};
use crate::engine::time::Time;

/// An operation that has begun and has no record.
#[derive(Debug)]
enum Unfinished {
    Running(Running),
    /// It waited to be tried again.
    GivenUp,
}

/// An operation's exception that carries the report of these very records. Held here, it would hold
/// itself, and by its traceback all that its frames know, until Python's collector comes.
#[derive(Debug)]
pub(crate) struct Carrier {
    /// None if it cannot be weakly referred to.
    itself: Option<Py<PyWeakrefReference>>,
    /// What is in its place wherever these records had it.
    stand_in: Py<PyBaseException>,
}

impl Carrier {
    pub(super) fn new(error: &Bound<'_, PyBaseException>, stand_in: Py<PyBaseException>) -> Self {
        Self {
            itself: PyWeakrefReference::new(error).map(Bound::unbind).ok(),
            stand_in,
        }
    }
}

/// The records of a batch that was taken out of its scheduler. Its documentation is in the stub.
///
/// The object is made before the batch is taken out: nothing of Python's runs between that and here.
#[pyclass(frozen, generic, module = "paceline._core")]
#[derive(Default)]
pub(crate) struct Records(OnceLock<Taken>);

/// What was taken out.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Where `indices` does not say it, the operation in the first place has this index.
    base: usize,
    /// The indexes of the operations, where those between were handed over in another order.
    indices: Vec<usize>,
    /// By place; None, or nothing at all, for what has not finished.
    slots: VecDeque<Option<PyRecord>>,
    /// By index.
    unfinished: HashMap<usize, Unfinished>,
    history: History<Py<PyBaseException>>,
    carrier: Option<Carrier>,
    given_up: usize,
    /// Those whose failure was not final before the batch ended, and is still to be logged.
    unlogged: Vec<usize>,
    /// What they are logged by.
    failures: Option<Arc<FailureLog>>,
    /// Which operations they are of.
    origins: Origins,
    unstarted: usize,
    /// What is to be said of those that never started.
    unstarted_are: Status,
    len: usize,
    totals: Totals,
    at: Time,
    elapsed: u64,
    /// The outcomes that were asked for, by place: who asks again gets the same.
    made: OnceLock<Vec<OnceLock<Py<Outcome>>>>,
    /// Those that still ran.
    late: Option<Late>,
}

impl Deref for Records {
    type Target = Taken;

    fn deref(&self) -> &Taken {
        self.0.get_or_init(Taken::default)
    }
}

impl Records {
    /// Holds from now on what was taken out.
    pub(super) fn fill(&self, taken: Taken) {
        self.0.get_or_init(|| taken);
    }
}

impl Taken {
    pub(super) fn of(batch: &mut PyBatch, late: Option<Late>, at: Time) -> Self {
        let unstarted_are = match batch.ended() {
            Some(EndReason::Cancelled) => Status::Cancelled,
            _ => Status::NotStarted,
        };
        let waiting = batch.waiting_retries();
        let given_up = waiting.len();
        let mut unlogged = Vec::new();
        let mut failures = None;
        let origins = match batch.context() {
            BatchContext::Batch { input, .. } => input.take_origins(),
            BatchContext::Submitted => Origins::default(),
        };
        if let BatchContext::Batch {
            failures: Some(log),
            ..
        } = batch.context()
        {
            failures = Some(Arc::clone(log));
            unlogged.extend(waiting.iter().chain(batch.unretried()));
            unlogged.sort_unstable();
        }
        let mut unfinished: HashMap<_, _> = waiting
            .into_iter()
            .map(|index| (index, Unfinished::GivenUp))
            .collect();
        let still = |each: &Running| at.nanos_since(each.started);
        let still_working: u64 = batch.running().iter().map(still).sum();
        let running = batch.running().iter();
        unfinished.extend(running.map(|each| (each.index, Unfinished::Running(*each))));
        let LeftRecords {
            delivery,
            mut base,
            mut slots,
            completed,
            history,
        } = batch.take_left();
        let mut totals = batch.totals();
        let mut indices: Vec<_> = Vec::new();
        let mut len = batch.read() - base;
        let unstarted = batch.unstarted().count();
        if delivery == Delivery::AsCompleted {
            let mut completed = Vec::from(completed);
            completed.sort_unstable_by_key(|(index, _)| *index);
            indices.extend(batch.unstarted());
            indices.extend(unfinished.keys());
            indices.extend(completed.iter().map(|(index, _)| index));
            indices.sort_unstable();
            let mut completed = completed.into_iter().peekable();
            let places = indices.iter().map_while(|index| {
                completed.peek()?;
                Some(completed.next_if(|(at, _)| at == index).map(|(_, it)| it))
            });
            slots = places.collect();
            (base, len) = (0, indices.len());
        } else {
            // There was room for those that never started.
            slots.shrink_to_fit();
        }
        totals.working += still_working;
        Self {
            base,
            indices,
            slots,
            unfinished,
            history,
            carrier: None,
            given_up,
            unlogged,
            failures,
            origins,
            unstarted,
            unstarted_are,
            len,
            totals,
            at,
            elapsed: at.nanos_since(batch.began()),
            made: OnceLock::new(),
            late,
        }
    }

    /// Lets go of `error`, which is to carry their report, wherever it is among them; gives the
    /// carrier back if it is not. Nothing is dropped here, as somebody else holds it.
    pub(super) fn let_go_of(
        &mut self,
        error: &Py<PyBaseException>,
        carrier: Carrier,
        refs: Refs<'_>,
    ) -> Option<Carrier> {
        let slots = self.slots.iter_mut().flatten();
        let last = slots.filter_map(|record| record.result.as_mut().err());
        let earlier = self.history.values_mut().flatten();
        let all = last.chain(earlier.map(|attempt| &mut attempt.error));
        let mut held = false;
        for each in all.filter(|each| each.is(error)) {
            *each = refs.clone(&carrier.stand_in);
            held = true;
        }
        if !held {
            return Some(carrier);
        }
        self.carrier.replace(carrier)
    }

    /// An exception as it was raised, where these records have it or what stands for it.
    fn raised(&self, py: Python<'_>, error: &Py<PyBaseException>) -> Py<PyBaseException> {
        let carrier = self.carrier.as_ref().filter(|it| it.stand_in.is(error));
        let itself = carrier.and_then(|it| it.itself.as_ref()?.bind(py).upgrade());
        let itself = itself.and_then(|it| it.cast_into().ok());
        itself.map_or_else(|| error.clone_ref(py), Bound::unbind)
    }

    /// Whether the operation in one place has raised the exception that carries the report.
    fn is_carried_by(&self, place: usize) -> bool {
        let Some(Carrier { stand_in, .. }) = &self.carrier else {
            return false;
        };
        let last = self.slots.get(place).and_then(Option::as_ref);
        let last = last.and_then(|record| record.result.as_ref().err());
        let earlier = self.history.get(&self.index_at(place));
        let earlier = earlier.into_iter().flatten().map(|each| &each.error);
        last.into_iter().chain(earlier).any(|it| it.is(stand_in))
    }

    fn index_at(&self, place: usize) -> usize {
        self.indices
            .get(place)
            .copied()
            .unwrap_or(self.base + place)
    }

    fn place_of(&self, index: usize) -> Option<usize> {
        if self.indices.is_empty() {
            index.checked_sub(self.base)
        } else {
            self.indices.binary_search(&index).ok()
        }
    }

    /// Of the operation in one place, if it has ended.
    fn record(&self, place: usize, index: usize) -> Option<&PyRecord> {
        let slot = self.slots.get(place).and_then(Option::as_ref);
        slot.or_else(|| self.late.as_ref()?.record(index))
    }

    /// The records of the operations that have ended, with their places, in input order.
    fn finished(&self) -> impl Iterator<Item = (usize, &PyRecord)> {
        let slots = self.slots.iter().enumerate();
        let mut slots = slots.filter_map(|(place, record)| Some((place, record.as_ref()?)));
        let late = self.late.iter().flat_map(Late::finished);
        let late = late.filter_map(|(index, record)| Some((self.place_of(index)?, record)));
        let mut late = late.peekable();
        let mut next = None;
        std::iter::from_fn(move || {
            next = next.take().or_else(|| slots.next());
            let place = next.map_or(usize::MAX, |(place, _)| place);
            late.next_if(|(at, _)| *at < place).or_else(|| next.take())
        })
    }

    /// What became of the operation in one place.
    fn make(&self, py: Python<'_>, place: usize) -> Outcome {
        let index = self.index_at(place);
        let outcome = if let Some(record) = self.record(place, index) {
            let mut record = copy_of(py, record);
            record.result = record.result.map_err(|error| self.raised(py, &error));
            Outcome::finished(HandedOver {
                index,
                record,
                earlier: self.earlier(py, index),
            })
        } else {
            match self.unfinished.get(&index) {
                Some(Unfinished::Running(running)) => Outcome::running(running, self.at),
                Some(Unfinished::GivenUp) => Outcome::given_up(index, self.earlier(py, index)),
                None => Outcome::unfinished(index, self.unstarted_are),
            }
        };
        outcome.of(self.origins.get(py, index))
    }

    fn earlier(&self, py: Python<'_>, index: usize) -> Vec<PyAttempt> {
        let attempts = self.history.get(&index).into_iter().flatten();
        attempts
            .map(|each| PyAttempt {
                error: self.raised(py, &each.error),
                ..*each
            })
            .collect()
    }

    /// Logs the failures that nobody could log before the batch ended. On the thread of its owner:
    /// what is raised meanwhile and is not an `Exception` is returned for the caller.
    pub(super) fn log_given_up(&self, py: Python<'_>) -> PyResult<()> {
        self.log(py, &self.unlogged)?;
        self.failures.as_ref().map_or(Ok(()), |log| log.end(py))
    }

    fn log(&self, py: Python<'_>, indexes: &[usize]) -> PyResult<()> {
        let Some(log) = &self.failures else {
            return Ok(());
        };
        for index in indexes.iter().copied() {
            if let Some((error, duration)) = self.failure_of(index) {
                let error = self.raised(py, error);
                let (seconds, exception) = (seconds(duration), error.bind(py));
                log.note_here(
                    py,
                    &Failure {
                        index,
                        seconds,
                        exception,
                    },
                )?;
            }
        }
        Ok(())
    }

    /// What an operation has failed with, for good or as it was given up, and after how long.
    fn failure_of(&self, index: usize) -> Option<(&Py<PyBaseException>, u64)> {
        if let Some(record) = self.record(self.place_of(index)?, index) {
            return Some((record.result.as_ref().err()?, record.duration));
        }
        let last = self.history.get(&index)?.last()?;
        Some((&last.error, last.duration))
    }

    /// The records that have an exception, with their places: of those that failed, or were cancelled.
    fn raised_records(&self) -> impl Iterator<Item = (usize, &PyRecord)> {
        let any = self.totals.failed + self.totals.cancelled > 0 || self.late.is_some();
        let finished = any.then(|| self.finished()).into_iter().flatten();
        finished.filter(|(_, record)| record.result.is_err())
    }

    /// The records of those that have ended since the batch was taken out.
    fn late(&self) -> impl Iterator<Item = &PyRecord> {
        let late = self.late.iter().flat_map(Late::finished);
        late.map(|(_, record)| record)
    }

    /// Where the outcome in one place is kept.
    fn kept(&self, place: usize) -> Option<&OnceLock<Py<Outcome>>> {
        let late = self.late.as_ref();
        if let Some(kept) = late.and_then(|late| late.outcome(self.index_at(place))) {
            return Some(kept);
        }
        let empty = || std::iter::repeat_with(OnceLock::new).take(self.len);
        self.made.get_or_init(|| empty().collect()).get(place)
    }
}

#[pymethods]
impl Records {
    fn __len__(&self) -> usize {
        self.len
    }

    fn __getitem__(&self, py: Python<'_>, place: usize) -> PyResult<Py<Outcome>> {
        if self.is_carried_by(place) {
            // Kept here, it would hold the exception that holds these records.
            return Py::new(py, self.make(py, place));
        }
        let kept = self
            .kept(place)
            .ok_or_else(|| PyIndexError::new_err("there are not so many outcomes"))?;
        if let Some(outcome) = kept.get() {
            return Ok(outcome.clone_ref(py));
        }
        let outcome = Py::new(py, self.make(py, place))?;
        // Another thread may have been quicker.
        drop(kept.set(outcome.clone_ref(py)));
        Ok(kept.get().unwrap_or(&outcome).clone_ref(py))
    }

    /// Waits until nothing of it runs any more, or for so many seconds; how many still run.
    fn settle(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<usize> {
        let Some(late) = &self.late else {
            return Ok(0);
        };
        let mut waited = Waited::default();
        let interrupted = late.wait(py, timeout, &mut waited);
        self.log(py, &waited.unlogged)?;
        interrupted.map(|()| waited.running)
    }

    /// The places of the operations that failed, in input order.
    fn failed(&self) -> Vec<usize> {
        let failed = self
            .raised_records()
            .filter(|(_, record)| !record.cancelled);
        let mut places: Vec<_> = failed.map(|(place, _)| place).collect();
        let unfinished = self.unfinished.iter();
        let given_up = unfinished.filter(|(_, each)| matches!(each, Unfinished::GivenUp));
        places.extend(given_up.filter_map(|(index, _)| self.place_of(*index)));
        places.sort_unstable();
        places
    }

    /// The value of each operation that has finished, in input order; of a failed one what `failed`
    /// makes of its exception's text, the exception and its index, or the exception itself.
    fn values<'py>(
        &self,
        py: Python<'py>,
        failed: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        // Only this runs code of Python's, which may be interrupted.
        let mut entries = Vec::new();
        if let Some(failed) = failed {
            for (place, record) in self.raised_records() {
                let Err(error) = &record.result else {
                    continue;
                };
                let text = logging::describe(error.bind(py))?;
                entries.push(failed.call1((text, error, self.index_at(place)))?);
            }
        }
        let mut entries = entries.into_iter();
        let mut values = Vec::with_capacity(self.slots.len());
        let mut value_of = |record: &PyRecord| match &record.result {
            Ok(value) => value.bind(py).clone(),
            Err(error) => entries
                .next()
                .unwrap_or_else(|| error.bind(py).clone().into_any()),
        };
        if self.late.is_none() {
            values.extend(self.slots.iter().flatten().map(value_of));
        } else {
            values.extend(self.finished().map(|(_, record)| value_of(record)));
        }
        PyList::new(py, values)
    }

    /// How many operations there are of each status, with those that were handed over.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let late = self.late().count();
        let late_done = self.late().filter(|record| record.result.is_ok()).count();
        let counts = PyDict::new(py);
        for status in Status::ALL {
            let cancelled = self.totals.cancelled;
            let count = match status {
                Status::Done => self.totals.done + late_done,
                Status::Failed => self.totals.failed + self.given_up + late - late_done,
                Status::Running => self.unfinished.len() - self.given_up - late,
                Status::Cancelled if status == self.unstarted_are => self.unstarted + cancelled,
                Status::Cancelled => cancelled,
                _ if status == self.unstarted_are => self.unstarted,
                Status::NotStarted => 0,
            };
            counts.set_item(status.name(), count)?;
        }
        Ok(counts)
    }

    /// Sums over the batch; times in seconds.
    fn totals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let totals = &self.totals;
        // What ran on has been counted until the batch was taken out.
        let ran_on = |record: &PyRecord| {
            let ended = record.started + Duration::from_nanos(record.duration);
            ended.nanos_since(self.at.max(record.started))
        };
        let waited_on = self.late.as_ref().map_or(0, Late::waited);
        let worked_on = self
            .late()
            .map(ran_on)
            .sum::<u64>()
            .saturating_sub(waited_on);
        let went_on = self.late().map(ran_on).max().unwrap_or(0);
        let dict = PyDict::new(py);
        dict.set_item("permits", totals.permits)?;
        dict.set_item("attempts", totals.attempts)?;
        dict.set_item("retries", totals.retries)?;
        dict.set_item("pauses", totals.pauses)?;
        dict.set_item("paused", seconds(totals.paused))?;
        dict.set_item("permit_wait", seconds(totals.permit_wait))?;
        dict.set_item("waited_inside", seconds(totals.waited_inside + waited_on))?;
        dict.set_item("working", seconds(totals.working + worked_on))?;
        dict.set_item("elapsed", seconds(self.elapsed + went_on))?;
        Ok(dict)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(taken) = self.0.get() else {
            return Ok(());
        };
        if let Some(late) = &taken.late {
            late.traverse(&visit)?;
        }
        for record in taken.slots.iter().flatten() {
            match &record.result {
                Ok(value) => visit.call(value)?,
                Err(error) => visit.call(error)?,
            }
        }
        for attempt in taken.history.values().flatten() {
            visit.call(&attempt.error)?;
        }
        self.origins.traverse(&visit)?;
        for outcome in taken.made.get().into_iter().flatten() {
            visit.call(outcome.get())?;
        }
        if let Some(Carrier { itself, stand_in }) = &taken.carrier {
            visit.call(itself)?;
            visit.call(stand_in)?;
        }
        Ok(())
    }
}
