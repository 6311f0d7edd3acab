//! A worker's run loop: from one operation to the next without letting go of Python.

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::calls::{call_submitted, conclude_call, exit_if_forked};
use super::contexts::{Caller, Untouched};
use super::job::Job;
use super::lifecycle::detach;
use super::nesting;
use super::operations::{is_plain, is_suspended, refuse_suspended};
use super::runtime::Runtime;
use super::seconds;
use super::work::{BatchContext, Operations};
use crate::engine::lock::Guarded;
use crate::engine::model::{Ending, Finished};
use crate::engine::scheduler::{Claim, Lease, Leftover, Worker};
use crate::engine::time::Time;

/// How long a worker goes on without releasing the interpreter to other threads.
///
/// Less than `sys.getswitchinterval()` is by default: whoever has waited for that long begins to
/// wait anew, behind all others, and may be held up for many turns.
const SWITCH_INTERVAL: Duration = Duration::from_millis(2);

/// How long it then stays away: a thread that was waiting has to wake up before it can take over.
const AWAY: Duration = Duration::from_micros(50);

/// Runs what can start at once, one operation after another, without letting go of Python. Gives
/// the worker back, and what it is to do now.
pub(crate) fn run_ready(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    mut worker: Worker,
) -> (Worker, Claim<Operations>) {
    // Whatever comes first brings its context with it.
    worker.forget();
    let outer = nesting::work_on(None);
    let (_, first) = runtime
        .scheduler
        .claim(&mut worker, None, runtime.scheduler.now());
    let mut run_loop = Box::new(RunLoop::new(Arc::clone(runtime), worker));
    let mut next = run_loop.begin(first);
    loop {
        (run_loop, next) = match next {
            Err(nothing) => {
                nesting::go_back_to(outer);
                return (run_loop.worker, nothing);
            }
            Ok(job) => run_loop.call(py, job),
        };
    }
}

/// What a worker goes on with from one operation to the next, without letting go of Python.
///
/// An operation may run a batch, whose operations do so again: what lies beneath a call on the
/// stack is kept small.
struct RunLoop {
    runtime: Arc<Runtime>,
    worker: Worker,
    /// Of the operation that was claimed last.
    context: Arc<BatchContext>,
    /// Of the one before, if that was another: it may be the last to hold it, and what is dropped
    /// with it may run code of the user's, which is not to come between a permit and its call.
    former: Option<Arc<BatchContext>>,
    /// The type of the value that was asked about last and is one: mostly, the next is of it as well.
    fine: Option<Py<PyType>>,
    /// When it releases the interpreter to others.
    until: Time,
}

/// The operation to call, or what else the worker is to do.
type Next = Result<Job, Claim<Operations>>;

/// A run loop, and what comes next in it.
type Going = (Box<RunLoop>, Next);

impl RunLoop {
    fn new(runtime: Arc<Runtime>, worker: Worker) -> Self {
        let until = runtime.scheduler.now() + SWITCH_INTERVAL;
        Self {
            runtime,
            worker,
            context: Arc::new(BatchContext::Submitted),
            former: None,
            fine: None,
            until,
        }
    }

    /// The operation to call, if there is one.
    #[inline(always)]
    fn begin(&mut self, claim: Claim<Operations>) -> Next {
        let Claim::Start(start) = claim else {
            return Err(claim);
        };
        if let Some(new) = start.context {
            let executor = self.runtime.id;
            let works_on = |lease: &Lease| (executor, lease.batch, lease.running.worker);
            nesting::work_on(self.worker.lease().map(works_on));
            self.former = Some(mem::replace(&mut self.context, new));
        }
        Ok(start.job)
    }

    /// Calls the operation, and as many after it as can be called in the same context.
    #[inline(never)]
    fn call(self: Box<Self>, py: Python<'_>, job: Job) -> Going {
        let context = Arc::clone(&self.context);
        let result = match &*context {
            BatchContext::Batch { caller, .. } if caller.empty => {
                return self.call_in_one_context(py, caller, job);
            }
            BatchContext::Batch { caller, .. } => caller.call(py, &job),
            BatchContext::Submitted => match self.worker.lease() {
                Some(lease) => call_submitted(job.object(py), &lease.running),
                None => Ok(py.None()),
            },
        };
        self.go_on_after(py, job, result)
    }

    /// Calls a batch's operations from `job` on in one copy of the caller's context, which is
    /// empty, for as long as they succeed and leave it so: to enter a context takes as long as a
    /// short operation.
    fn call_in_one_context(self: Box<Self>, py: Python<'_>, caller: &Caller, job: Job) -> Going {
        let within = match Bound::new(py, InOneContext::default()) {
            Ok(within) => within,
            Err(error) => return self.go_on_after(py, job, Err(error)),
        };
        let runtime = Arc::clone(&self.runtime);
        within.get().put((self, Within::Begun(job)));
        let returned = caller.call_with_copy(within.as_any());
        let state = within.get().take();
        let Some((run_loop, within)) = state else {
            // The call always leaves it there. Were it lost, the worker would go on in a new place.
            let worker = runtime.scheduler.worker();
            return (Box::new(Self::new(runtime, worker)), Err(Claim::Ready));
        };
        match within {
            Within::Begun(job) => run_loop.go_on_after(py, job, returned),
            Within::Ended(job, result) => run_loop.go_on_after(py, job, result),
            Within::Left(next) => {
                if let Err(error) = returned {
                    // The context could not be left: that is no fault of what comes next.
                    error.write_unraisable(py, None);
                }
                (run_loop, next)
            }
        }
    }

    fn call_while_untouched(
        &mut self,
        py: Python<'_>,
        untouched: &Untouched<'_>,
        job: Job,
    ) -> Within {
        let context = Arc::clone(&self.context);
        let mut job = job;
        loop {
            let value = match job.call(py) {
                Ok(value)
                    if untouched.holds()
                        && !self.is_suspended(value.bind(py))
                        && !self.runtime.config.is_to_judge(value.bind(py)) =>
                {
                    value
                }
                result => return Within::Ended(job, result),
            };
            match self.go_on_with(py, job, value) {
                Ok(next) if Arc::ptr_eq(&self.context, &context) => job = next,
                next => return Within::Left(next),
            }
        }
    }

    /// Whether what an operation has returned has still to be run.
    #[inline(always)]
    fn is_suspended(&mut self, value: &Bound<'_, PyAny>) -> bool {
        let class = value.get_type_ptr();
        if is_plain(value)
            || self
                .fine
                .as_ref()
                .is_some_and(|it| it.as_ptr() == class.cast())
        {
            return false;
        }
        let found = is_suspended(value);
        if !found {
            self.fine = Some(value.get_type().unbind());
        }
        found
    }

    #[inline(never)]
    fn go_on_after(
        mut self: Box<Self>,
        py: Python<'_>,
        job: Job,
        result: PyResult<Py<PyAny>>,
    ) -> Going {
        let next = self.go_on(py, job, result);
        (self, next)
    }

    /// Books what has become of the operation that was claimed last, and claims the next one.
    fn go_on(&mut self, py: Python<'_>, job: Job, result: PyResult<Py<PyAny>>) -> Next {
        let result = match result {
            Ok(value) if self.context.is_batch() && self.is_suspended(value.bind(py)) => {
                Err(refuse_suspended(value.bind(py)))
            }
            result => result,
        };
        match result {
            Ok(value)
                if self.context.is_batch() && !self.runtime.config.is_to_judge(value.bind(py)) =>
            {
                self.go_on_with(py, job, value)
            }
            result => {
                self.come_back(py);
                self.claim_after(py, job, result)
            }
        }
    }

    /// The usual case: a batch's operation has returned, and the next one starts.
    #[inline(always)]
    fn go_on_with(&mut self, py: Python<'_>, job: Job, value: Py<PyAny>) -> Next {
        self.come_back(py);
        drop(job);
        exit_if_forked(py, &self.runtime);
        let now = self.runtime.scheduler.now();
        let waited = nesting::take_permit_wait();
        if now >= self.until && self.is_to_step_aside(py, now) {
            return self.claim_after_others(py, returned(value, now, waited));
        }
        if waited > 0 {
            return self.claim(py, Some(returned(value, now, waited)), now);
        }
        match self.runtime.scheduler.repeat(&mut self.worker, value, now) {
            Ok(next) => Ok(next),
            Err(value) => self.claim(py, Some(returned(value, now, 0)), now),
        }
    }

    /// Called first when an operation has returned.
    #[inline(always)]
    fn come_back(&mut self, py: Python<'_>) {
        exit_if_forked(py, &self.runtime);
        drop(self.former.take());
    }

    /// Whether to release the interpreter to other threads: not where the operations have done so,
    /// since they mostly waited for something.
    #[inline(never)]
    fn is_to_step_aside(&mut self, py: Python<'_>, now: Time) -> bool {
        self.until = now + SWITCH_INTERVAL;
        seconds::has_computed(py, SWITCH_INTERVAL / 2)
    }

    /// Releases the interpreter to other threads first. Operations that are not written in Python
    /// never do.
    #[inline(never)]
    fn claim_after_others(&mut self, py: Python<'_>, finished: Finished<Operations>) -> Next {
        let scheduler = &self.runtime.scheduler;
        drop(scheduler.finish(&mut self.worker, finished, scheduler.now()));
        exit_if_forked(py, &self.runtime);
        detach(py, || thread::sleep(AWAY));
        let now = self.runtime.scheduler.now();
        self.until = now + SWITCH_INTERVAL;
        self.claim(py, None, now)
    }

    #[inline(never)]
    fn claim_after(&mut self, py: Python<'_>, job: Job, result: PyResult<Py<PyAny>>) -> Next {
        let (runtime, context) = (&self.runtime, &self.context);
        let finished = self
            .worker
            .lease()
            .map(|lease| conclude_call(py, runtime, context, lease, job, result));
        exit_if_forked(py, &self.runtime);
        let now = self.runtime.scheduler.now();
        self.claim(py, finished, now)
    }

    /// Books what was finished, and claims the operation to call next.
    #[inline(always)]
    fn claim(&mut self, py: Python<'_>, finished: Option<Finished<Operations>>, now: Time) -> Next {
        let scheduler = &self.runtime.scheduler;
        let claim = match scheduler.claim(&mut self.worker, finished, now) {
            (None, claim) => claim,
            (leftover, _) => self.claim_after_dropping(py, leftover),
        };
        self.begin(claim)
    }

    #[inline(never)]
    fn claim_after_dropping(
        &mut self,
        py: Python<'_>,
        leftover: Leftover<Operations>,
    ) -> Claim<Operations> {
        // Destructors do not belong to the operation that is over.
        let works_on = nesting::work_on(None);
        drop(leftover);
        nesting::go_back_to(works_on);
        exit_if_forked(py, &self.runtime);
        let scheduler = &self.runtime.scheduler;
        scheduler.claim(&mut self.worker, None, scheduler.now()).1
    }
}

fn returned(value: Py<PyAny>, now: Time, waited: u64) -> Finished<Operations> {
    Finished {
        ended: now,
        ending: Ending::Result(Ok(value), false),
        waited,
    }
}

/// How far a run loop has come in one context.
enum Within {
    /// This is to be called.
    Begun(Job),
    /// This has ended, and what follows may run more of the user's code, outside its context.
    Ended(Job, PyResult<Py<PyAny>>),
    Left(Next),
}

/// Makes what is made only once: the type.
pub(super) fn prepare(py: Python<'_>) {
    py.get_type::<InOneContext>();
}

/// What `Context.run` calls to go on with a run loop. Nobody else gets hold of it.
#[pyclass(frozen, module = "paceline._core")]
#[derive(Default)]
struct InOneContext(Guarded<Option<(Box<RunLoop>, Within)>>);

impl InOneContext {
    fn put(&self, state: (Box<RunLoop>, Within)) {
        drop(self.0.with(|held| held.replace(state)));
    }

    fn take(&self) -> Option<(Box<RunLoop>, Within)> {
        self.0.with(Option::take)
    }
}

#[pymethods]
impl InOneContext {
    fn __call__(&self, copy: Bound<'_, PyAny>) {
        let state = self.take();
        if let Some((mut run_loop, Within::Begun(job))) = state {
            let within =
                run_loop.call_while_untouched(copy.py(), &Untouched::new(copy.clone()), job);
            self.put((run_loop, within));
        }
    }
}
