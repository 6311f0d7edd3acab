//! One batch, as the verbs drive it. It belongs to the thread that owns the batch.
//!
//! Long, as it is all that the verbs may do with a batch: one type, and its methods.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::apart::apart;
use super::errors::is_exception;
use super::foreign::ask_inside;
use super::giving_up::{Reason, give_up, told};
use super::input_buffer::InputBuffer;
use super::job::Job;
use super::late::Late;
use super::lifecycle;
use super::nesting;
use super::operations;
use super::options::name_of;
use super::outcome::Outcome;
use super::records::{Carrier, Records, Taken};
use super::refs::Refs;
use super::run_loop::run_ready;
use super::runtime::Runtime;
use super::seconds;
use super::work::{BatchContext, PyBatch};
use crate::engine::batch::Batch;
use crate::engine::lock::Guarded;
use crate::engine::model::{BatchId, BatchOptions, EndReason};
use crate::engine::process::{Inherited, Owned};
use crate::engine::scheduler::{Claim, Step as EngineStep, Worker};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// What the owner of a batch is to do next.
#[pyclass(
    frozen,
    eq,
    eq_int,
    module = "paceline._core",
    name = "Step",
    rename_all = "SCREAMING_SNAKE_CASE"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerStep {
    Feed,
    HandOver,
    /// There is nothing: it will be woken.
    Rest,
    Grow,
    Settled,
}

/// One batch. Its documentation is in the stub.
#[pyclass(frozen, module = "paceline._core", name = "Batch")]
pub(crate) struct BatchHandle(Owned<Open>);

/// What a batch is for the process that opened it.
pub(crate) struct Open {
    runtime: Arc<Runtime>,
    id: BatchId,
    owner: Arc<Signal>,
    closed: Guarded<Option<Py<Records>>>,
    input: Arc<InputBuffer>,
    /// It ends at a time of its own.
    timed: bool,
    /// It ends when too many fail, and its owner is then to raise at least one of the failures.
    limits_failures: bool,
    /// The last failure that was handed over, where failures are limited.
    last_failure: Guarded<Option<Py<PyBaseException>>>,
    /// When nobody holds the batch any more, what was read of it still runs.
    left_to_run: AtomicBool,
    /// Whoever takes its outcomes is done with it: no wait of its owner is to go on.
    left: AtomicBool,
    discarded: AtomicBool,
}

impl BatchHandle {
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        id: BatchId,
        owner: Arc<Signal>,
        input: Arc<InputBuffer>,
        options: &BatchOptions,
    ) -> Self {
        Self(Owned::new(Open {
            runtime,
            id,
            owner,
            closed: Guarded::new(None),
            input,
            timed: options.deadline != Time::NEVER,
            limits_failures: options.failure_limit.is_some(),
            last_failure: Guarded::new(None),
            left_to_run: AtomicBool::new(false),
            left: AtomicBool::new(false),
            discarded: AtomicBool::new(false),
        }))
    }

    /// Nobody gets at it in a forked child.
    pub(crate) fn open(&self) -> Result<&Open, Inherited> {
        self.0.get()
    }

    /// Ends it, whatever its owner does meanwhile: nothing more of it starts or is handed over. In a
    /// forked child nothing of it goes on.
    pub(crate) fn leave(&self) {
        if let Ok(open) = self.open() {
            open.leave();
        }
    }
}

impl Open {
    fn now(&self) -> Time {
        self.runtime.scheduler.now()
    }

    /// Whether its owner is a worker, and runs operations of it meanwhile. It could not leave one when
    /// the time of the batch is up.
    fn nested(&self) -> bool {
        !self.timed && nesting::works_for(self.runtime.id)
    }

    /// Waits, or works on the batch where its owner is a worker itself, until there is something
    /// for the owner to do. None if that is to start a thread that works in its place meanwhile.
    fn next_step(
        &self,
        py: Python<'_>,
        worker: &mut Option<Worker>,
        may_grow: bool,
    ) -> PyResult<Option<EngineStep>> {
        let scheduler = &self.runtime.scheduler;
        loop {
            match scheduler.step(self.id, worker.is_some(), scheduler.now()) {
                EngineStep::Rest(mut until) => {
                    if let Some(own) = worker.take() {
                        let (own, claim) = run_ready(py, &self.runtime, own);
                        *worker = Some(own);
                        match claim {
                            Claim::Rest(time) => until = until.min(time),
                            Claim::Ask(permit) => {
                                ask_inside(py, &self.runtime, &permit);
                                continue;
                            }
                            Claim::GiveUp => {
                                give_up(py, &self.runtime);
                                continue;
                            }
                            _ => continue,
                        }
                        // What ran here has changed the batch without a signal.
                        match scheduler.step(self.id, true, scheduler.now()) {
                            EngineStep::Rest(time) => until = until.min(time),
                            step => return Ok(Some(step)),
                        }
                    }
                    if worker.is_some() {
                        // Others may need this worker, which would run what they submit.
                        scheduler.block(scheduler.now());
                        if may_grow && scheduler.wants_thread(scheduler.now()) {
                            scheduler.unblock();
                            return Ok(None);
                        }
                    }
                    let look_out = &self.runtime.look_out;
                    let first = || {
                        scheduler.catch_up(scheduler.now());
                        look_out.wait(|soon| self.owner.spin_until(soon.min(until)));
                    };
                    let waited =
                        lifecycle::wait_after(py, scheduler.clock(), first, &self.owner, until);
                    if worker.is_some() {
                        scheduler.unblock();
                    }
                    waited?;
                }
                step => return Ok(Some(step)),
            }
        }
    }

    /// What is to be done next, and for how many operations.
    fn step(
        &self,
        py: Python<'_>,
        mut worker: Option<Worker>,
        may_grow: bool,
    ) -> PyResult<(OwnerStep, usize)> {
        let step = self.next_step(py, &mut worker, may_grow);
        if let Some(worker) = worker {
            self.runtime.scheduler.leave(worker);
        }
        let Some(step) = step? else {
            return Ok((OwnerStep::Grow, 0));
        };
        Ok(match step {
            EngineStep::Feed(count) => (OwnerStep::Feed, count),
            EngineStep::HandOver => (OwnerStep::HandOver, 0),
            EngineStep::Settled | EngineStep::Rest(_) => (OwnerStep::Settled, 0),
        })
    }

    /// Takes the next outcome that is ready. None if there is none, or if all have been taken that
    /// were ready at first and more input is wanted.
    #[inline]
    pub(crate) fn hand_over(&self, py: Python<'_>) -> Option<Outcome> {
        let scheduler = &self.runtime.scheduler;
        let outcome = scheduler
            .with(self.id, |batch| batch.hand_over().map(Outcome::finished))
            .flatten()?;
        let origin = self.input.take_origin(py, outcome.index());
        let outcome = outcome.of(origin);
        if self.limits_failures
            && let Some(failure) = outcome.exception()
        {
            let failure = failure.clone_ref(py);
            drop(self.last_failure.with(|last| last.replace(failure)));
        }
        Some(outcome)
    }

    /// Ends it, whatever its owner does meanwhile: nothing more of it starts or is handed over.
    fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        let scheduler = &self.runtime.scheduler;
        scheduler.end(self.id, EndReason::Owner, scheduler.now());
        self.input.cut_short();
    }

    fn is_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Whether nothing of it will be handed over any more.
    pub(crate) fn is_discarded(&self) -> bool {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Takes it out of the executor for its report, in one go: whichever thread comes first, each gets
    /// the same records. The first gets what is left of the batch as well, to be dropped.
    fn take_out(
        &self,
        py: Python<'_>,
        fresh: &Py<Records>,
        error: Option<&Py<PyBaseException>>,
        carrier: &mut Option<Carrier>,
    ) -> PyResult<(Py<Records>, Option<PyBatch>)> {
        let taken = self.closed.with_lent(Refs::new(py), |closed, refs| {
            if let Some(records) = &*closed {
                return Some((refs.clone(records), None));
            }
            let runtime = &self.runtime;
            let at = runtime.scheduler.now();
            let (mut batch, stragglers) = runtime.scheduler.take_out(self.id, at)?;
            let late = stragglers.map(|them| Late::new(them, batch.running(), runtime, self.id));
            let mut records = Taken::of(&mut batch, late, at);
            if let (Some(error), Some(it)) = (error, carrier.take()) {
                *carrier = records.let_go_of(error, it, refs);
            }
            fresh.get().fill(records);
            *closed = Some(refs.clone(fresh));
            Some((refs.clone(fresh), Some(batch)))
        });
        taken.ok_or_else(|| PyRuntimeError::new_err("the batch was discarded"))
    }

    /// Ends it, as its owner will raise `error`, and adds what was read and not checked, so that it
    /// is in the report.
    fn end_with(
        &self,
        py: Python<'_>,
        error: &PyErr,
        operations: impl ExactSizeIterator<Item = Py<PyAny>> + Send,
    ) {
        let end = end_of(is_exception(py, error));
        self.runtime.scheduler.end(self.id, end, self.now());
        let jobs = operations.map(Job::new);
        self.runtime.scheduler.feed_some(self.id, jobs, self.now());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.left_to_run.load(Ordering::Relaxed) {
            drop(self.runtime.scheduler.orphan(self.id, self.now()));
        } else {
            drop(self.runtime.scheduler.remove(self.id, self.now()));
        }
    }
}

#[pymethods]
impl BatchHandle {
    /// Raises in a forked child.
    fn check_process(&self) -> PyResult<()> {
        self.open()?;
        Ok(())
    }

    /// Ends it, whatever its owner does meanwhile: nothing more of it starts or is handed over.
    #[pyo3(name = "leave")]
    fn leave_here(&self) {
        self.leave();
    }

    /// Adds all operations that there will be, after checking each.
    fn feed(&self, operations: &Bound<'_, PyList>) -> PyResult<()> {
        let open = self.open()?;
        match operations::take(operations, open.runtime.config.awaits) {
            Ok(operations) => {
                let scheduler = &open.runtime.scheduler;
                let now = scheduler.now();
                let jobs = operations.into_iter().map(Job::new);
                scheduler.feed(open.id, jobs, true, now);
                Ok(())
            }
            Err(error) => {
                let all: Vec<_> = operations.iter().map(Bound::unbind).collect();
                open.end_with(operations.py(), &error, all.into_iter());
                Err(error)
            }
        }
    }

    /// What its operations are to be known by: the list or tuple that it is; of a stream over anything
    /// else None, so that each is kept until its outcome is handed over.
    fn know(&self, sequence: Option<Py<PyAny>>) -> PyResult<()> {
        self.open()?.input.know(sequence);
        Ok(())
    }

    /// Adds what was read and not added, and moves what was checked before, and will not be read any
    /// more, as the batch has ended, out of a list.
    fn feed_rest(&self, operations: &Bound<'_, PyList>) -> PyResult<()> {
        let open = self.open()?;
        open.input.add_inbox(&open.runtime.scheduler, open.id);
        let rest: Vec<_> = operations.iter().map(Bound::unbind).collect();
        let jobs = rest.into_iter().map(Job::new);
        let scheduler = &open.runtime.scheduler;
        scheduler.feed(open.id, jobs, true, scheduler.now());
        operations.del_slice(0, operations.len())
    }

    /// Begins to read `count` operations: in one go, if a worker keeps watch meanwhile.
    fn begin_reading(&self, count: usize) -> PyResult<()> {
        let open = self.open()?;
        let scheduler = &open.runtime.scheduler;
        let now = scheduler.now();
        let in_one_go = scheduler.begin_reading(open.id, count, now);
        open.input.begin(count, in_one_go, now);
        Ok(())
    }

    /// Takes one operation that was read; whether there is something to do before the next is.
    fn read(&self, operation: &Bound<'_, PyAny>) -> PyResult<bool> {
        let open = self.open()?;
        let scheduler = &open.runtime.scheduler;
        let taken = open.input.take(operation, scheduler, open.id);
        if let Err(error) = &taken {
            open.input.add_inbox(scheduler, open.id);
            let read = std::iter::once(operation.clone().unbind());
            open.end_with(operation.py(), error, read);
        }
        taken
    }

    /// Adds what was read in one go.
    fn end_reading(&self) -> PyResult<()> {
        let open = self.open()?;
        let scheduler = &open.runtime.scheduler;
        scheduler.end_reading(open.id, open.input.is_light());
        open.input.add_inbox(scheduler, open.id);
        Ok(())
    }

    /// Waits for an outcome before the input is asked for more, which may take long: at most so many
    /// seconds. Whether there is something else to do first.
    fn wait_ready(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let open = self.open()?;
        let scheduler = &open.runtime.scheduler;
        let until = seconds::until(scheduler.clock(), Some(seconds));
        while let Some(deadline) = scheduler.expects(open.id) {
            let now = scheduler.now();
            if now >= until.min(deadline) {
                // When the time of the batch is up, its end is what comes first.
                return Ok(now >= deadline);
            }
            let until = until.min(deadline);
            let catch_up = || scheduler.catch_up(scheduler.now());
            lifecycle::wait_after(py, scheduler.clock(), catch_up, &open.owner, until)?;
        }
        let waits = |batch: &mut PyBatch| batch.has_for_owner();
        Ok(scheduler.with(open.id, waits).unwrap_or(true))
    }

    /// Tells that the input has come to its end.
    fn finish_input(&self) -> PyResult<()> {
        let open = self.open()?;
        open.runtime.scheduler.finish_input(open.id);
        Ok(())
    }

    /// Waits until there is something for the owner to do: what, and for how many operations.
    fn step(slf: &Bound<'_, Self>, may_grow: bool) -> PyResult<(OwnerStep, usize)> {
        let (py, open) = (slf.py(), slf.get().open()?);
        if !open.nested() {
            return open.step(py, None, may_grow);
        }
        nesting::check_stack()?;
        let batch = slf.clone().unbind();
        apart(py, move |py| {
            let open = batch.get().open()?;
            let owner = Arc::clone(&open.owner);
            let worker = open.runtime.scheduler.nested_worker(owner, open.id, None);
            open.step(py, Some(worker), may_grow)
        })
    }

    /// What the owner is to do next, without waiting: if that is nothing, it will be woken.
    fn look(&self) -> PyResult<(OwnerStep, usize)> {
        let open = self.open()?;
        let scheduler = &open.runtime.scheduler;
        Ok(match scheduler.step(open.id, false, scheduler.now()) {
            EngineStep::Feed(count) => (OwnerStep::Feed, count),
            EngineStep::HandOver => (OwnerStep::HandOver, 0),
            EngineStep::Settled => (OwnerStep::Settled, 0),
            EngineStep::Rest(until) => {
                scheduler.catch_up(scheduler.now());
                if until != Time::NEVER {
                    scheduler.clock().give_at(&open.owner, until);
                }
                (OwnerStep::Rest, 0)
            }
        })
    }

    /// Whether an outcome may become ready that is not; if so its owner will be woken.
    fn expects(&self) -> PyResult<bool> {
        let open = self.open()?;
        let scheduler = &open.runtime.scheduler;
        let until = scheduler.expects(open.id);
        if let Some(until) = until.filter(|until| *until != Time::NEVER) {
            scheduler.clock().give_at(&open.owner, until);
        }
        Ok(until.is_some())
    }

    /// Whether something of it runs; if so its owner will be woken.
    fn runs(&self) -> PyResult<bool> {
        let open = self.open()?;
        Ok(open.runtime.scheduler.runs(open.id))
    }

    /// Says whether what was read is to run when nobody holds the batch any more.
    fn leave_to_run(&self, leave: bool) -> PyResult<()> {
        let open = self.open()?;
        open.left_to_run.store(leave, Ordering::Relaxed);
        if leave {
            open.runtime.scheduler.catch_up(open.now());
        }
        Ok(())
    }

    /// How many more operations are wanted at once.
    fn room(&self) -> PyResult<usize> {
        let open = self.open()?;
        let now = open.now();
        let room = |batch: &mut PyBatch| batch.room_at(now);
        Ok(open.runtime.scheduler.with(open.id, room).unwrap_or(0))
    }

    /// The last failure that was handed over, where failures are limited.
    fn last_failure(&self, py: Python<'_>) -> PyResult<Option<Py<PyBaseException>>> {
        let open = self.open()?;
        let last = |last: &mut Option<_>, refs: Refs<'_>| last.as_ref().map(|it| refs.clone(it));
        Ok(open.last_failure.with_lent(Refs::new(py), last))
    }

    /// Nothing more of it starts. The owner will wait for what runs, or not.
    fn end(&self, patient: bool) {
        let end = end_of(patient);
        // In a forked child nothing of it goes on.
        if let Ok(open) = self.open() {
            open.runtime.scheduler.end(open.id, end, open.now());
        }
    }

    /// Waits until nothing of it runs, whoever takes its outcomes has left it, or for so many seconds.
    /// How many of its operations are waited for then.
    #[pyo3(signature = (timeout=None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<usize> {
        let open = self.open()?;
        let scheduler = &open.runtime.scheduler;
        let until = seconds::until(scheduler.clock(), timeout);
        while scheduler.runs(open.id) && !open.is_left() {
            if scheduler.now() >= until {
                let unfinished = |batch: &mut PyBatch| batch.unfinished();
                return Ok(scheduler.with(open.id, unfinished).unwrap_or(0));
            }
            lifecycle::wait(py, scheduler.clock(), &open.owner, until)?;
        }
        Ok(0)
    }

    /// Whether whoever takes its outcomes is done with it.
    fn is_left(&self) -> PyResult<bool> {
        Ok(self.open()?.is_left())
    }

    /// How many of its operations were read and not handed over.
    fn outstanding(&self) -> PyResult<usize> {
        let open = self.open()?;
        let outstanding = |batch: &mut PyBatch| batch.outstanding();
        let scheduler = &open.runtime.scheduler;
        Ok(scheduler.with(open.id, outstanding).unwrap_or(0))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(open) = self.open() else {
            return Ok(());
        };
        if open.left_to_run.load(Ordering::Relaxed) {
            return Ok(());
        }
        open.input.traverse(&visit)?;
        // The lock is waited for: whoever has it does not wait for Python, and what one pass of the
        // collector sees all of its passes must see.
        let scheduler = &open.runtime.scheduler;
        let show = |batch: &mut PyBatch, visit: &PyVisit<'_>| {
            // A worker may still copy the context's variables, so those are not to be cleared.
            if let BatchContext::Batch { pool, refusal, .. } = batch.context() {
                visit.call(pool)?;
                refusal.with_lent(visit, |refusal, visit| visit.call(&*refusal))?;
            }
            batch.visit(
                |job| job.traverse(visit),
                |value| visit.call(value),
                |error| visit.call(error),
            )
        };
        scheduler
            .with_lent(open.id, &visit, show)
            .unwrap_or(Ok(()))?;
        open.closed
            .with_lent(&visit, |closed, visit| visit.call(&*closed))?;
        open.last_failure
            .with_lent(&visit, |last, visit| visit.call(&*last))
    }

    fn __clear__(&self) {
        self.discard();
    }

    /// Takes it out of the executor, and drops whatever it still holds.
    fn discard(&self) {
        if let Ok(open) = self.open() {
            open.discarded.store(true, Ordering::Relaxed);
            let batch = open.runtime.scheduler.remove(open.id, open.now());
            let closed = open.closed.with(Option::take);
            let last_failure = open.last_failure.with(Option::take);
            drop((batch, closed, last_failure, open.input.take_all()));
        }
    }

    /// Takes it out of the executor: its records. The first time the failures are logged that became
    /// final with that. They do not hold `error`, which is to carry their report: where that is among
    /// them, `stand_in` is in its place.
    #[pyo3(signature = (error=None, stand_in=None))]
    fn close(
        &self,
        py: Python<'_>,
        error: Option<&Bound<'_, PyBaseException>>,
        stand_in: Option<Py<PyBaseException>>,
    ) -> PyResult<Py<Records>> {
        let open = self.open()?;
        let known =
            |closed: &mut Option<_>, refs: Refs<'_>| closed.as_ref().map(|it| refs.clone(it));
        if let Some(records) = open.closed.with_lent(Refs::new(py), known) {
            return Ok(records);
        }
        let carrier = error.zip(stand_in);
        let mut carrier = carrier.map(|(error, stand_in)| Carrier::new(error, stand_in));
        let fresh = Py::new(py, Records::default())?;
        let error = error.map(Bound::as_unbound);
        let (records, batch) = open.take_out(py, &fresh, error, &mut carrier)?;
        if batch.is_some() {
            drop(batch);
            records.get().log_given_up(py)?;
        }
        Ok(records)
    }

    /// Why it ended: a word.
    fn ended_by(&self, py: Python<'_>) -> PyResult<&'static str> {
        let open = self.open()?;
        // What the exit of the process has ended does not come back to tell.
        lifecycle::park_if_exiting(py);
        let ended = open.runtime.scheduler.with(open.id, |batch| batch.ended());
        Ok(match ended.flatten() {
            Some(EndReason::Owner) if open.is_left() => "consumer",
            ended => name_of(ended),
        })
    }

    /// What the limiter raised.
    fn limiter_error(&self) -> PyResult<Option<Py<PyBaseException>>> {
        let open = self.open()?;
        let error = open
            .runtime
            .scheduler
            .with(open.id, Batch::take_limiter_error);
        Ok(error.flatten())
    }

    /// The refusal that it was ended by, if that was met by the executor itself; of how many in a
    /// row, or of how many seconds.
    fn refusal(&self, py: Python<'_>) -> PyResult<(Option<Py<PyBaseException>>, Reason)> {
        let open = self.open()?;
        let copy = |batch: &mut PyBatch, refs: Refs<'_>| {
            let refusal = match batch.context() {
                BatchContext::Batch { refusal, .. } => refusal.with_lent(refs, |refusal, refs| {
                    refusal.as_ref().map(|error| refs.clone(error))
                }),
                BatchContext::Submitted => None,
            };
            (refusal, batch.hopeless().map(told).unwrap_or_default())
        };
        let scheduler = &open.runtime.scheduler;
        let known = scheduler.with_lent(open.id, Refs::new(py), copy);
        Ok(known.unwrap_or_default())
    }

    /// The error that ended it, if it was to be ended by one: the first failure that is fatal, or
    /// the first at all.
    fn first_failure(&self, py: Python<'_>) -> PyResult<Option<Py<PyBaseException>>> {
        let open = self.open()?;
        let copy = |batch: &mut PyBatch, refs: Refs<'_>| {
            batch.ending_error().map(|error| refs.clone(error))
        };
        let scheduler = &open.runtime.scheduler;
        Ok(scheduler.with_lent(open.id, Refs::new(py), copy).flatten())
    }
}

/// How a batch ends whose owner cannot go on, and waits for what runs, or does not.
const fn end_of(patient: bool) -> EndReason {
    if patient {
        EndReason::Failed
    } else {
        EndReason::Owner
    }
}
